/*
 * calculate_pg.c
 *		Doors of the calculation: calculate_commissions, calculate_commission, close_commission_period, simulate_commissions.
 *
 * Here is the whole: what is loaded, which accounts come from others' credits (overrides of managers, bonuses with a shared
 * budget), in which order accounts are settled. What one account's lines are is settle_pg.c's business.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rangetypes.h"
#include "utils/snapmgr.h"
#include "utils/typcache.h"

#include "commission/settle_pg.h"
#include "core/progress.h"
#include "core/spi.h"

PG_FUNCTION_INFO_V1(salesops_calculate_commissions);
PG_FUNCTION_INFO_V1(salesops_calculate_commission);
PG_FUNCTION_INFO_V1(salesops_close_commission_period);
PG_FUNCTION_INFO_V1(salesops_simulate_commissions);

/* ---- accounts that come from others' credits ---------------------------------------------------------------------- */

/* The managers above a credit's rep each have an override account of the rep's plan. */
static void
add_overrides(Calculation *calculation)
{
	int64		ncredits = calculation->ncredits;

	for (int64 i = 0; i < ncredits; i++)
	{
		Credit		source = calculation->credits[i];
		CreditAccount *account = source.account;
		const PlanDefinition *plan = account->version->definition;
		Rep		   *rep = account->rep;
		Credit	   *added;

		if (account->purpose != PURPOSE_CREDIT || plan->override_rate == NULL || !account->process)
			continue;
		for (int level = 0; level < plan->override_levels && rep->manager; level++)
		{
			rep = scope_rep(calculation, rep->manager);
			if (rep == account->rep)
				break;			/* a circle in the hierarchy */
			added = credits_add(calculation, scope_account(calculation, rep, account->plan, account->from, account->to,
															 account->currency, PURPOSE_OVERRIDE));
			source.account = added->account;
			source.component = plan->override_rates ? level : 0;
			*added = source;
		}
	}
}

/* By plan and bonus, then (credited_on, credit_id): the order in which a budget is used up */
static int
compare_bonus_credits(const void *a, const void *b)
{
	const Credit *x = *(Credit *const *) a;
	const Credit *y = *(Credit *const *) b;
	int			order = strcmp(x->account->plan, y->account->plan);

	if (order != 0)
		return order;
	if (x->account->purpose != y->account->purpose)
		return x->account->purpose - y->account->purpose;
	if (x->date != y->date)
		return x->date < y->date ? -1 : 1;
	return strcmp(x->id, y->id);
}

/* What a bonus's budget has left: all of it, less what other periods' accounts were paid */
static CommissionInt
budget_left(Calculation *calculation, const CreditAccount *account, const PlanBonus *bonus, int exponent)
{
	Numeric		left = bonus->budget;
	CommissionInt minor;
	SpiScope	scope;
	ListCell   *cell;

	if (calculation->dry)
		left = bonus->budget;
	else
	{
		MemoryContext context = CurrentMemoryContext;
		bool		isnull;

		spi_open(&scope, SPI_AS_OWNER);
		(void) spi_execute(SPI_OK_SELECT, "SELECT coalesce(sum(earned), 0) FROM salesops.commission_posting WHERE plan = $1 AND purpose = $2",
						   2, (SpiArg[]) {spi_text(account->plan), spi_int4(account->purpose)});
		MemoryContextSwitchTo(context);
		left = decimal_sub(left, DatumGetNumericCopy(spi_get_datum(0, 1, &isnull)));
		spi_close(&scope);
	}
	foreach(cell, calculation->accounts)
	{
		CreditAccount *other = lfirst(cell);

		if (other->purpose == account->purpose && other->process && strcmp(other->plan, account->plan) == 0)
			left = decimal_add(left, other->prior_earned);
	}
	if (!decimal_from_numeric(decimal_round(left, exponent), exponent, &minor))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("a bonus budget of %s is out of range", decimal_text(left))));
	return minor;
}

/* What a credit's bonus pays before its limits, in minor units */
static CommissionInt
bonus_pay(const Credit *credit, const PlanBonus *bonus, int exponent)
{
	Numeric		amount = bonus->amount;
	CommissionInt pay;

	/* nothing of it counts */
	if (credit->unpaid && credit->amount == 0 && credit->exact == NULL)
		return 0;
	if (bonus->rate)
		amount = decimal_mul(bonus->rate, credit->exact ? credit->exact :
							 decimal_to_numeric(credit->amount, COMMISSION_AMOUNT_DIGITS, 0));
	if (!decimal_from_numeric(decimal_round(amount, exponent), exponent, &pay))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("a bonus of %s is out of range", decimal_text(amount))));
	return pay;
}

/* The same held to what the rep may still have in the period */
static CommissionInt
within_bonus_cap(CreditAccount *account, const PlanBonus *bonus, CommissionInt pay, int exponent)
{
	CommissionInt cap;

	if (bonus->cap == NULL)
		return pay;
	if (!decimal_from_numeric(decimal_round(bonus->cap, exponent), exponent, &cap))
		cap = PG_INT64_MAX;
	return Min(pay, Max(cap - account->bonus_paid, 0));
}

/* What each credit's bonus pays, within the budget and the rep's cap */
static void
preset_bonuses(Calculation *calculation)
{
	Credit	  **order = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Credit *) * (calculation->ncredits + 1));
	CreditAccount *last = NULL;
	CommissionInt left = 0;
	int64		count = 0;

	for (int64 i = 0; i < calculation->ncredits; i++)
		if (calculation->credits[i].account->purpose >= PURPOSE_BONUS && calculation->credits[i].account->process)
			order[count++] = &calculation->credits[i];
	qsort(order, count, sizeof(Credit *), compare_bonus_credits);
	for (int64 i = 0; i < count; i++)
	{
		CreditAccount *account = order[i]->account;
		const PlanBonus *bonus = &account->version->definition->bonuses[account->purpose - PURPOSE_BONUS];
		int			exponent = commission_currency_exponent(account->currency);
		CommissionInt pay = within_bonus_cap(account, bonus, bonus_pay(order[i], bonus, exponent), exponent);

		if (bonus->budget)
		{
			if (last == NULL || last->purpose != account->purpose || strcmp(last->plan, account->plan) != 0)
				left = budget_left(calculation, account, bonus, exponent);
			pay = Min(pay, Max(left, 0));
			left -= pay;
		}
		order[i]->preset = (int64) pay;
		account->bonus_paid += pay;
		last = account;
	}
	pfree(order);
}

/* Whether a plan pays a rep who has no credit: a floor, a draw, a bonus from 0 on */
static bool
pays_without_credits(const PlanDefinition *plan)
{
	for (int i = 0; i < plan->nbonuses; i++)
		if (plan->bonuses[i].at && decimal_is_zero(plan->bonuses[i].at))
			return true;
	return plan->floor || plan->draw;
}

/* Accounts that pay without a credit */
static void
add_empty_accounts(Calculation *calculation)
{
	ListCell   *cell;
	ListCell   *inner;

	foreach(cell, scope_all_reps(calculation))
	{
		Rep		   *rep = lfirst(cell);

		foreach(inner, rep->assignments)
		{
			Assignment *assignment = lfirst(inner);
			DateADT		date = Max(assignment->from, calculation->from);

			while (date < Min(assignment->to, calculation->to))
			{
				PlanVersion *version = scope_version(calculation, assignment->plan, date);
				DateADT		from;
				DateADT		to;

				if (version == NULL)
					break;
				scope_segment(version, date, &from, &to);
				if (pays_without_credits(version->definition))
					(void) scope_account(calculation, rep, assignment->plan, from, to,
										   strcmp(version->definition->currency, "credit") == 0 ? "USD" : version->definition->currency,
										   PURPOSE_CREDIT);
				date = to;
			}
		}
	}
}

/* ---- a calculation ------------------------------------------------------------------------------------------------ */

/* By rep, period, plan, purpose, currency: the order in which the ledger is written */
static int
compare_accounts(const ListCell *a, const ListCell *b)
{
	const CreditAccount *x = lfirst(a);
	const CreditAccount *y = lfirst(b);
	int			order = strcmp(x->rep->id, y->rep->id);

	if (order == 0 && x->from != y->from)
		order = x->from < y->from ? -1 : 1;
	if (order == 0)
		order = strcmp(x->plan, y->plan);
	if (order == 0)
		order = x->purpose - y->purpose;
	return order != 0 ? order : strcmp(x->currency, y->currency);
}

/*
 * One snapshot for all that a calculation reads, taken after the ledger's lock: what the writer before has committed is in it,
 * and credits that are read a second time are those of the first.
 */
static void
push_snapshot(void)
{
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
}

/* Load, and bring into order, all that is to be processed. */
static void
prepare(Calculation *calculation)
{
	calculation->context = CurrentMemoryContext;
	credits_load(calculation);
	add_empty_accounts(calculation);
	if (calculation->has_override && calculation->only == NULL)
		add_overrides(calculation);
	list_sort(calculation->accounts, compare_accounts);
	credits_gather(calculation);
	preset_bonuses(calculation);
	if (calculation->only == NULL)
		contest_settle(calculation);
}

/* Calculate and write; *first_new is the number of the first line written. The caller holds the ledger's lock. */
static void
calculate(Calculation *calculation, int64 *first_new)
{
	MemoryContext work = AllocSetContextCreate(CurrentMemoryContext, "commission account", ALLOCSET_DEFAULT_SIZES);
	LedgerWriter *writer;
	int64		done = 0;
	ListCell   *cell;

	progress_start("calculate_commissions", "");
	push_snapshot();
	prepare(calculation);
	writer = ledger_open();
	*first_new = ledger_next_line(writer);
	progress_phase("writing lines", list_length(calculation->accounts));
	foreach(cell, calculation->accounts)
	{
		CreditAccount *account = lfirst(cell);
		MemoryContext old = MemoryContextSwitchTo(work);
		int			exponent;

		if (account->process)
			(void) settle_account(calculation, account, writer, &exponent);
		MemoryContextSwitchTo(old);
		MemoryContextReset(work);
		progress_update((double) ++done, list_length(calculation->accounts));
		CHECK_FOR_INTERRUPTS();
	}
	ledger_close(writer);
	unchanged_note(calculation);
	PopActiveSnapshot();
	progress_end();
}

/* A period from an argument; it must have both ends. */
static void
period_argument(Datum value, DateADT *from, DateADT *to)
{
	RangeType  *range = DatumGetRangeTypeP(value);
	RangeBound	lower;
	RangeBound	upper;
	bool		empty;

	range_deserialize(lookup_type_cache(DATERANGEOID, TYPECACHE_RANGE_INFO), range, &lower, &upper, &empty);
	if (empty || lower.infinite || upper.infinite ||
		DATE_NOT_FINITE(DatumGetDateADT(lower.val)) || DATE_NOT_FINITE(DatumGetDateADT(upper.val)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a period needs a first day and an end"),
				 errhint("Give a half-open range such as '[2027-01-01,2027-04-01)'.")));
	*from = DatumGetDateADT(lower.val);
	*to = DatumGetDateADT(upper.val);
}

/* A calculation in memory of its own, which goes when the statement is returned */
static void
calculate_into(FunctionCallInfo fcinfo, Datum period, const char *only)
{
	MemoryContext old = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(old, "commission calculation", ALLOCSET_DEFAULT_SIZES);
	Calculation calculation = {0};
	int64		first_new;

	period_argument(period, &calculation.from, &calculation.to);
	calculation.only = only;
	InitMaterializedSRF(fcinfo, 0);
	ledger_lock();
	MemoryContextSwitchTo(context);
	calculate(&calculation, &first_new);
	push_snapshot();
	statement_return((ReturnSetInfo *) fcinfo->resultinfo, &calculation, first_new);
	PopActiveSnapshot();
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

/*
 * calculate_commissions(period daterange) -> setof (rep_id, plan, credited numeric, earned numeric, lines integer)
 *
 * Brings the ledger up to date with the credits of the period, and with later changes to periods closed in the year before.
 * credited and earned are what the ledger then pays with the period (without draws), lines how many lines were added: none
 * the second time. Errors: 22023 with all that is wrong with the credits; nothing is written then.
 */
Datum
salesops_calculate_commissions(PG_FUNCTION_ARGS)
{
	calculate_into(fcinfo, PG_GETARG_DATUM(0), NULL);
	return (Datum) 0;
}

/*
 * calculate_commission(rep_id text, period daterange) -> as calculate_commissions, of one rep: what changed in one deal.
 * Overrides of managers are left to the next calculation of all.
 */
Datum
salesops_calculate_commission(PG_FUNCTION_ARGS)
{
	calculate_into(fcinfo, PG_GETARG_DATUM(1), text_to_cstring(PG_GETARG_TEXT_PP(0)));
	return (Datum) 0;
}

/* ---- closing ------------------------------------------------------------------------------------------------------ */

/* A closed period may not overlap another. */
static void
check_overlap(const Calculation *calculation)
{
	Problems	problems;
	uint64		rows;

	problems_init(&problems);
	rows = spi_execute(SPI_OK_SELECT,
					   "SELECT period::pg_catalog.text FROM salesops.commission_period WHERE period && pg_catalog.daterange($1, $2) "
					   "ORDER BY period", 2,
					   (SpiArg[]) {spi_datum(DATEOID, DateADTGetDatum(calculation->from), false),
								   spi_datum(DATEOID, DateADTGetDatum(calculation->to), false)});
	for (uint64 i = 0; i < rows; i++)
		problems_add(&problems, "it overlaps %s, which is closed", spi_get_text(i, 1));
	problems_raise(&problems, ERRCODE_INVALID_PARAMETER_VALUE, "Periods that are closed must not overlap.",
				   "the period cannot be closed");
}

/*
 * close_commission_period(period daterange) -> bigint: lines that the closed period holds
 *
 * Calculates the period one last time and closes it: nothing is ever paid with it again. Later changes to its credits become
 * true-up lines in the next open period. Errors: 22023 where it overlaps a closed one.
 */
Datum
salesops_close_commission_period(PG_FUNCTION_ARGS)
{
	MemoryContext old = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(old, "commission calculation", ALLOCSET_DEFAULT_SIZES);
	Calculation calculation = {0};
	SpiScope	scope;
	int64		first_new;
	int64		lines;

	period_argument(PG_GETARG_DATUM(0), &calculation.from, &calculation.to);
	ledger_lock();
	spi_open(&scope, SPI_AS_OWNER);
	check_overlap(&calculation);
	spi_close(&scope);
	MemoryContextSwitchTo(context);
	calculate(&calculation, &first_new);
	MemoryContextSwitchTo(old);
	spi_open(&scope, SPI_AS_OWNER);
	(void) spi_execute(SPI_OK_INSERT,
					   "INSERT INTO salesops.commission_period (period, closed_by) VALUES (pg_catalog.daterange($1, $2), $3::pg_catalog.name)",
					   3, (SpiArg[]) {spi_datum(DATEOID, DateADTGetDatum(calculation.from), false),
									  spi_datum(DATEOID, DateADTGetDatum(calculation.to), false),
									  spi_text(ledger_caller())});
	(void) spi_execute(SPI_OK_SELECT,
					   "SELECT coalesce(sum(line_count), 0)::pg_catalog.int8 FROM salesops.commission_posting "
					   "WHERE period <@ pg_catalog.daterange($1, $2)", 2,
					   (SpiArg[]) {spi_datum(DATEOID, DateADTGetDatum(calculation.from), false),
								   spi_datum(DATEOID, DateADTGetDatum(calculation.to), false)});
	lines = spi_get_int8(0, 1);
	spi_close(&scope);
	MemoryContextDelete(context);
	PG_RETURN_INT64(lines);
}

/* ---- what if ------------------------------------------------------------------------------------------------------ */

/* What a rep comes to now and with the changed plan */
typedef struct Outcome
{
	char	   *rep;
	CommissionInt current;
	CommissionInt simulated;
	int			exponent;
} Outcome;

/* A rep's outcome, made where there is none yet; the list is in the order of rep ids */
static Outcome *
outcome_of(List **outcomes, const char *rep, int exponent)
{
	ListCell   *cell;
	Outcome    *outcome;

	/* accounts come rep by rep: the last one is nearly always it */
	if (*outcomes != NIL && strcmp(((Outcome *) llast(*outcomes))->rep, rep) == 0)
		return llast(*outcomes);
	foreach(cell, *outcomes)
		if (strcmp(((Outcome *) lfirst(cell))->rep, rep) == 0)
			return lfirst(cell);
	outcome = palloc0(sizeof(Outcome));
	outcome->rep = pstrdup(rep);
	outcome->exponent = exponent;
	*outcomes = lappend(*outcomes, outcome);
	return outcome;
}

/* Compute everything of one plan from scratch, writing nothing. */
static void
run_dry(Calculation *calculation, const char *plan, bool simulated, List **outcomes)
{
	MemoryContext work = AllocSetContextCreate(CurrentMemoryContext, "commission account", ALLOCSET_DEFAULT_SIZES);
	ListCell   *cell;

	calculation->dry = true;
	prepare(calculation);
	foreach(cell, calculation->accounts)
	{
		CreditAccount *account = lfirst(cell);
		MemoryContext old;
		CommissionInt due;
		Outcome    *outcome;
		int			exponent = 2;

		if (!account->process || account->version == NULL || strcmp(account->plan, plan) != 0)
			continue;
		old = MemoryContextSwitchTo(work);
		due = settle_account(calculation, account, NULL, &exponent);
		MemoryContextSwitchTo(old);
		MemoryContextReset(work);
		outcome = outcome_of(outcomes, account->rep->id, exponent);
		if (simulated)
			outcome->simulated += due;
		else
			outcome->current += due;
	}
	MemoryContextDelete(work);
}

/* The changed definition, checked as for a plan */
static PlanDefinition *
simulated_definition(const char *plan, Jsonb *json)
{
	Problems	problems;
	PlanDefinition *definition;

	problems_init(&problems);
	definition = plan_parse(json, &problems);
	problems_raise(&problems, ERRCODE_INVALID_PARAMETER_VALUE,
				   "The schema of a definition is in doc/commission_plan.schema.json.",
				   "invalid commission plan \"%s\"", plan);
	return definition;
}

/* By rep id */
static int
compare_outcomes(const ListCell *a, const ListCell *b)
{
	return strcmp(((Outcome *) lfirst(a))->rep, ((Outcome *) lfirst(b))->rep);
}

/*
 * simulate_commissions(period daterange, plan text, definition jsonb) -> setof (rep_id, current numeric, simulated numeric)
 *
 * What every rep of the plan comes to in the period, from scratch, by the plan as it is and by the changed definition;
 * overrides, bonuses and floors are in it, draws (an advance, no cost) are not. Writes nothing.
 */
Datum
salesops_simulate_commissions(PG_FUNCTION_ARGS)
{
	char	   *plan = text_to_cstring(PG_GETARG_TEXT_PP(1));
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Calculation now = {0};
	Calculation then = {0};
	List	   *outcomes = NIL;
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, 0);
	period_argument(PG_GETARG_DATUM(0), &now.from, &now.to);
	then.from = now.from;
	then.to = now.to;
	then.simulated_plan = plan;
	then.simulated = simulated_definition(plan, PG_GETARG_JSONB_P(2));
	push_snapshot();
	run_dry(&now, plan, false, &outcomes);
	run_dry(&then, plan, true, &outcomes);
	PopActiveSnapshot();
	list_sort(outcomes, compare_outcomes);
	foreach(cell, outcomes)
	{
		Outcome    *outcome = lfirst(cell);
		Datum		values[3];
		bool		nulls[3] = {false, false, false};

		values[0] = CStringGetTextDatum(outcome->rep);
		values[1] = NumericGetDatum(decimal_to_numeric(outcome->current, outcome->exponent, outcome->exponent));
		values[2] = NumericGetDatum(decimal_to_numeric(outcome->simulated, outcome->exponent, outcome->exponent));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
