/*
 * report_pg.c
 *		Stage criteria looked at without writing: unmet_criteria, check_all; and the bypasses' definitions.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/timestamp.h"

#include "core/compat.h"
#include "core/errors.h"
#include "core/relation.h"
#include "core/spi.h"
#include "pipeline/criteria_pg.h"

PG_FUNCTION_INFO_V1(salesops_unmet_criteria);
PG_FUNCTION_INFO_V1(salesops_check_all);
PG_FUNCTION_INFO_V1(salesops_row_is_visible);
PG_FUNCTION_INFO_V1(salesops_bypass_criteria);
PG_FUNCTION_INFO_V1(salesops_end_bypass);

/* One report: the criteria asked about, and where its rows go */
typedef struct Report
{
	Criteria   *criteria;
	List	   *asked;			/* of Criterion, numbered from 1 in the query */
	ReturnSetInfo *result;
	bool		with_key;		/* check_all's columns */
	uint64		rows;
} Report;

/* The criterion's expression and bound stages as a CASE that gives its number where it is unmet */
static void
append_case(StringInfo sql, const Report *report, const Criterion *criterion, int number, const char *stage)
{
	ListCell   *cell;
	bool		any = false;

	appendStringInfo(sql, "%sCASE WHEN CASE WHEN %s IN (", number > 1 ? ", " : "", stage);
	foreach(cell, report->criteria->stages)
	{
		const char *name = ((Stage *) lfirst(cell))->name;

		if (!criterion_binds(report->criteria, criterion, name))
			continue;
		appendStringInfo(sql, "%s%s", any ? ", " : "", sql_literal(name));
		any = true;
	}
	appendStringInfo(sql, "%s) THEN (%s) IS NOT TRUE END THEN %d END", any ? "" : "NULL",
					 expression_deparse(criterion->expression->tree, report->criteria->relid, "new"), number);
}

/* Leave out the criteria that are not in force now. */
static List *
criteria_in_force(const Criteria *criteria)
{
	TimestampTz now = GetCurrentTransactionStartTimestamp();
	List	   *result = NIL;
	ListCell   *cell;

	foreach(cell, criteria->criteria)
	{
		Criterion  *criterion = lfirst(cell);

		if (criterion->effective_from <= now && now < criterion->effective_until)
			result = lappend(result, criterion);
	}
	return result;
}

/* The query: a row's key, its stage, the number of a criterion that it does not meet; and NULL once for every row read */
static char *
report_query(const Report *report, const char *key, const char *stage, const char *condition)
{
	StringInfoData sql;
	ListCell   *cell;
	int			number = 0;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT x.key, x.stage, u.number FROM (SELECT %s AS key, %s AS stage, ARRAY[NULL::pg_catalog.int4",
					 key, stage);
	foreach(cell, report->asked)
	{
		if (++number == 1)
			appendStringInfoString(&sql, ", ");
		append_case(&sql, report, lfirst(cell), number, stage);
	}
	appendStringInfo(&sql, "] AS unmet FROM %s AS new%s) x,"
					 " pg_catalog.unnest(x.unmet) WITH ORDINALITY AS u (number, place) WHERE u.number IS NOT NULL OR u.place = 1",
					 relation_sql_name(report->criteria->relid), condition);
	return sql.data;
}

/* text or NULL as a value of the result */
static Datum
text_value(const char *text, bool *isnull)
{
	*isnull = text == NULL;
	return text ? CStringGetTextDatum(text) : (Datum) 0;
}

/* One row of the query into one row of the answer */
static void
put_row(TupleTableSlot *slot, void *arg)
{
	Report	   *report = arg;
	Criterion  *criterion;
	Datum		values[7];
	bool		nulls[7] = {false};
	int			column = 0;

	if (slot->tts_isnull[2])
	{
		report->rows++;
		return;
	}
	criterion = list_nth(report->asked, DatumGetInt32(slot->tts_values[2]) - 1);
	if (report->with_key)
		for (; column < 2; column++)
		{
			values[column] = slot->tts_values[column];
			nulls[column] = slot->tts_isnull[column];
		}
	values[column++] = CStringGetTextDatum(criterion->name);
	values[column++] = CStringGetTextDatum(criterion->stage);
	values[column++] = CStringGetTextDatum(criterion->text);
	values[column] = text_value(criterion->message, &nulls[column]);
	column++;
	values[column++] = CStringGetTextDatum(criterion->action);
	tuplestore_putvalues(report->result->setResult, report->result->setDesc, values, nulls);
}

/* Load the criteria and find the stage column, by which the caller may be told to name it. */
static Criteria *
load_for_report(Oid relid)
{
	Criteria   *criteria;

	relation_require_select(relid);
	criteria = criteria_load(relid);
	if (criteria->stage_column == NULL)
		criteria->stage_column = criteria_choose_stage_column(relid);
	if (criteria->stage_column == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("no column of %s is known to hold the stage", relation_sql_name(relid)),
				 errhint("A column called stage is found by itself; salesops.enforce_stage_criteria(relation, stage_column) names another.")));
	return criteria;
}

/* Run the query as the caller, with names resolved in pg_catalog only: what was deparsed is qualified for that. */
static void
run_report(Report *report, const char *key, const char *stage, const char *condition, int nargs, const SpiArg *args)
{
	SpiScope	scope;
	MemoryContext context = CurrentMemoryContext;
	char	   *sql = report_query(report, key, stage, condition);

	spi_open(&scope, SPI_PINNED_AS_CALLER);
	MemoryContextSwitchTo(context);
	(void) spi_stream(sql, nargs, args, true, put_row, report);
	spi_close(&scope);
	MemoryContextSwitchTo(context);
}

/* new.column::text */
static char *
column_text(const char *column)
{
	return psprintf("new.%s::pg_catalog.text", quote_identifier(column));
}

/*
 * check_all(relation) -> setof (key, row_stage, criterion, stage, expression, message, action)
 *
 * What today's rows do not meet, in one pass. The key is the primary key's value, or the row's ctid where there is none.
 */
Datum
salesops_check_all(PG_FUNCTION_ARGS)
{
	Report		report = {.with_key = true};
	char	   *key;

	InitMaterializedSRF(fcinfo, 0);
	report.result = (ReturnSetInfo *) fcinfo->resultinfo;
	report.criteria = load_for_report(PG_GETARG_OID(0));
	report.asked = criteria_in_force(report.criteria);
	key = criteria_key_column(report.criteria->relid);
	run_report(&report, column_text(key ? key : "ctid"), column_text(report.criteria->stage_column), "", 0, NULL);
	return (Datum) 0;
}

/*
 * unmet_criteria(relation, key, stage) -> setof (criterion, stage, expression, message, action)
 *
 * In the row's own stage, or as if it were in another. Errors: 22023 unknown stage or no key, P0002 no such row.
 */
Datum
salesops_unmet_criteria(PG_FUNCTION_ARGS)
{
	Report		report = {0};
	char	   *key;
	char	   *wanted;
	char	   *stage;
	char	   *condition;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		return (Datum) 0;
	report.result = (ReturnSetInfo *) fcinfo->resultinfo;
	report.criteria = load_for_report(PG_GETARG_OID(0));
	report.asked = criteria_in_force(report.criteria);
	key = criteria_key_column(report.criteria->relid);
	wanted = text_to_cstring(PG_GETARG_TEXT_PP(1));
	stage = PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2));
	if (key == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s has no key of one column", relation_sql_name(report.criteria->relid)),
				 errhint("Give it a primary key, or use salesops.check_all().")));
	if (stage && pipeline_find_stage(report.criteria->stages, stage) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("stage \"%s\" does not exist in pipeline \"%s\"", stage, report.criteria->pipeline)));
	condition = psprintf(" WHERE new.%s = $1::%s", quote_identifier(key),
						 format_type_be_qualified(get_atttype(report.criteria->relid, get_attnum(report.criteria->relid, key))));
	run_report(&report, column_text(key),
			   stage ? psprintf("%s::pg_catalog.text", sql_literal(stage)) : column_text(report.criteria->stage_column),
			   condition, 1, (SpiArg[]) {spi_text(wanted)});
	if (report.rows == 0)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("%s has no row with %s = %s that you may see", relation_sql_name(report.criteria->relid), key, wanted)));
	return (Datum) 0;
}

/* Is there a row of this key for the caller? */
static bool
row_exists(Oid relid, const char *key_column, const char *key)
{
	SpiScope	scope;
	uint64		rows;

	spi_open(&scope, SPI_AS_CALLER);
	rows = spi_execute(SPI_OK_SELECT,
					   psprintf("SELECT 1 FROM %s x WHERE x.%s OPERATOR(pg_catalog.=) $1::%s", relation_sql_name(relid),
								quote_identifier(key_column),
								format_type_be_qualified(get_atttype(relid, get_attnum(relid, key_column)))),
					   1, (SpiArg[]) {spi_text(key)});
	spi_close(&scope);
	return rows > 0;
}

/*
 * row_is_visible(relation, key) -> boolean
 *
 * Without row-level security on the relation the right to SELECT decides, at once; with it the row is looked for.
 */
Datum
salesops_row_is_visible(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_ARGISNULL(0) ? InvalidOid : PG_GETARG_OID(0);
	char	   *key_column;

	if (!OidIsValid(relid) || get_rel_name(relid) == NULL ||
		pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) != ACLCHECK_OK)
		PG_RETURN_BOOL(false);
	if (check_enable_rls(relid, InvalidOid, true) != RLS_ENABLED)
		PG_RETURN_BOOL(true);
	key_column = criteria_key_column(relid);
	if (key_column == NULL || PG_ARGISNULL(1))
		PG_RETURN_BOOL(false);
	PG_RETURN_BOOL(row_exists(relid, key_column, text_to_cstring(PG_GETARG_TEXT_PP(1))));
}

/* ---- bypasses ---- */

/* Everything that is wrong with a bypass, in one error */
static void
check_bypass(FunctionCallInfo fcinfo, const Criteria *criteria)
{
	Problems	problems;
	List	   *names = PG_ARGISNULL(5) ? NIL : pipeline_text_array(PG_GETARG_DATUM(5));
	ListCell   *cell;
	ListCell   *other;

	problems_init(&problems);
	if (PG_ARGISNULL(1) || VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(1)) == 0)
		problems_add(&problems, "a reason is needed");
	if (PG_ARGISNULL(2) || !(PG_GETARG_TIMESTAMPTZ(2) > GetCurrentTimestamp()) || TIMESTAMP_NOT_FINITE(PG_GETARG_TIMESTAMPTZ(2)))
		problems_add(&problems, "expires_at must be a time to come");
	if (PG_ARGISNULL(3) && PG_ARGISNULL(4))
		problems_add(&problems, "role_name or row_key must say who is let off");
	if (!PG_ARGISNULL(3) && !OidIsValid(get_role_oid(NameStr(*PG_GETARG_NAME(3)), true)))
		problems_add(&problems, "role \"%s\" does not exist", NameStr(*PG_GETARG_NAME(3)));
	foreach(cell, names)
	{
		char	   *name = lfirst(cell);
		bool		known = strcmp(name, "creation") == 0 || strcmp(name, "move") == 0;

		foreach(other, criteria->criteria)
			known |= strcmp(((Criterion *) lfirst(other))->name, name) == 0;
		if (!known)
			problems_add(&problems, "criterion \"%s\" does not exist", name);
	}
	problems_raise(&problems, ERRCODE_INVALID_PARAMETER_VALUE,
				   "SELECT salesops.bypass_criteria('deals', 'import of old deals', now() + interval '1 day', role_name => 'importer');",
				   "invalid bypass for %s", relation_sql_name(criteria->relid));
}

/* bypass_criteria(relation, reason, expires_at, role_name, row_key, criteria) -> bigint; the relation's owner grants it */
Datum
salesops_bypass_criteria(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_ARGISNULL(0) ? InvalidOid : PG_GETARG_OID(0);
	SpiScope	scope;
	int64		id;

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"relation\" must not be NULL")));
	relation_require_owner(relid);
	check_bypass(fcinfo, criteria_load(relid));
	spi_open(&scope, SPI_AS_OWNER);
	(void) spi_execute(SPI_OK_INSERT_RETURNING,
					   "INSERT INTO salesops.criterion_bypass (relation, reason, expires_at, role_name, row_key, criteria)"
					   " VALUES ($1, $2, $3, $4, $5, $6) RETURNING bypass_id", 6,
					   (SpiArg[]) {spi_oid(relid), spi_datum(TEXTOID, PG_GETARG_DATUM(1), false),
								   spi_timestamptz(PG_GETARG_TIMESTAMPTZ(2)),
								   spi_datum(NAMEOID, PG_GETARG_DATUM(3), PG_ARGISNULL(3)),
								   spi_datum(TEXTOID, PG_GETARG_DATUM(4), PG_ARGISNULL(4)),
								   spi_datum(TEXTARRAYOID, PG_GETARG_DATUM(5), PG_ARGISNULL(5))});
	id = spi_get_int8(0, 1);
	spi_close(&scope);
	PG_RETURN_INT64(id);
}

/* end_bypass(id) -> boolean: only the owner of its relation may; false where there is none in force */
Datum
salesops_end_bypass(PG_FUNCTION_ARGS)
{
	int64		id = PG_GETARG_INT64(0);
	SpiArg		args[] = {spi_int8(id)};
	SpiScope	scope;
	Oid			relid = InvalidOid;

	spi_open(&scope, SPI_AS_OWNER);
	if (spi_execute(SPI_OK_SELECT, "SELECT b.relation FROM salesops.criterion_bypass b WHERE b.bypass_id = $1"
					" AND b.ended_at IS NULL AND b.expires_at > now()", 1, args) > 0)
		relid = spi_get_oid(0, 1);
	spi_close(&scope);
	if (!OidIsValid(relid))
		PG_RETURN_BOOL(false);
	relation_require_owner(relid);
	spi_open(&scope, SPI_AS_OWNER);
	(void) spi_execute(SPI_OK_UPDATE, "UPDATE salesops.criterion_bypass b SET ended_at = now() WHERE b.bypass_id = $1", 1, args);
	spi_close(&scope);
	PG_RETURN_BOOL(true);
}
