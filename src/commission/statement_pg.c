/*
 * statement_pg.c
 *		What the ledger pays with a period, by rep and plan: the rows that a calculation answers with.
 *
 * One pass over the postings of the rep asked for, or of all; the view commission_statement says more, by SQL.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "commission/decimal_pg.h"
#include "commission/settle_pg.h"

/* One row of the answer */
typedef struct StatementRow
{
	char	   *rep;
	char	   *plan;
	char	   *currency;
	Numeric		credited;
	Numeric		earned;
	int			lines;			/* added by this calculation */
} StatementRow;

typedef struct Statement
{
	const Calculation *calculation;
	int64		first_new;
	List	   *rows;
} Statement;

/* A posting that is paid with the period, or was just made */
static void
take_posting(const Datum *values, const bool *nulls, void *arg)
{
	Statement  *statement = arg;
	bool		is_new = DatumGetInt64(values[POSTING_FIRST_LINE]) >= statement->first_new;
	StatementRow *row;
	DateADT		from;
	DateADT		to;
	bool		in_period;

	ledger_period(values[POSTING_PERIOD], &from, &to);
	in_period = from < statement->calculation->to && to > statement->calculation->from;
	if (!in_period && !is_new)
		return;
	row = palloc(sizeof(StatementRow));
	row->rep = TextDatumGetCString(values[POSTING_REP]);
	row->plan = TextDatumGetCString(values[POSTING_PLAN]);
	row->currency = TextDatumGetCString(values[POSTING_CURRENCY]);
	row->credited = in_period && DatumGetInt16(values[POSTING_PURPOSE]) == PURPOSE_CREDIT ?
		DatumGetNumericCopy(values[POSTING_CREDITED]) : decimal_zero();
	row->earned = in_period ? DatumGetNumericCopy(values[POSTING_EARNED]) : decimal_zero();
	row->lines = is_new ? DatumGetInt32(values[POSTING_LINES]) : 0;
	statement->rows = lappend(statement->rows, row);
}

/* By rep, plan, currency, as bytes */
static int
compare_rows(const ListCell *a, const ListCell *b)
{
	const StatementRow *x = lfirst(a);
	const StatementRow *y = lfirst(b);
	int			order = strcmp(x->rep, y->rep);

	if (order == 0)
		order = strcmp(x->plan, y->plan);
	return order != 0 ? order : strcmp(x->currency, y->currency);
}

/* One row into the function's result */
static void
put_row(ReturnSetInfo *rsinfo, const StatementRow *row)
{
	bool		nulls[5] = {false};
	Datum		values[5];

	values[0] = CStringGetTextDatum(row->rep);
	values[1] = CStringGetTextDatum(row->plan);
	values[2] = NumericGetDatum(row->credited);
	values[3] = NumericGetDatum(row->earned);
	values[4] = Int32GetDatum(row->lines);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* What the ledger holds for the period, and how many lines this calculation added; see settle_pg.h. */
void
statement_return(ReturnSetInfo *rsinfo, const Calculation *calculation, int64 first_new)
{
	Statement	statement = {calculation, first_new, NIL};
	StatementRow *sum = NULL;
	ListCell   *cell;

	scope_scan_postings(calculation, take_posting, &statement);
	list_sort(statement.rows, compare_rows);
	foreach(cell, statement.rows)
	{
		StatementRow *row = lfirst(cell);

		if (sum == NULL || strcmp(sum->rep, row->rep) != 0 || strcmp(sum->plan, row->plan) != 0 ||
			strcmp(sum->currency, row->currency) != 0)
		{
			if (sum)
				put_row(rsinfo, sum);
			sum = row;
			continue;
		}
		sum->credited = decimal_add(sum->credited, row->credited);
		sum->earned = decimal_add(sum->earned, row->earned);
		sum->lines += row->lines;
	}
	if (sum)
		put_row(rsinfo, sum);
}
