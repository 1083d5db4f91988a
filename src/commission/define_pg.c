/*
 * define_pg.c
 *		Doors for definitions: commission(), plans and their versions, who has which plan when, shares of an amount.
 *
 * Everything is checked before anything is written, and every mistake is listed. Versions of a plan are never changed: a
 * new definition is a new version with the date from which it holds.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rangetypes.h"
#include "utils/resowner.h"

#include "commission/decimal_pg.h"
#include "commission/ledger_pg.h"
#include "commission/plan_pg.h"
#include "core/kernel_pg.h"
#include "core/options.h"
#include "core/relation.h"
#include "core/spi.h"

PG_FUNCTION_INFO_V1(salesops_commission);
PG_FUNCTION_INFO_V1(salesops_create_commission_plan);
PG_FUNCTION_INFO_V1(salesops_replace_commission_plan);
PG_FUNCTION_INFO_V1(salesops_assign_commission_plan);
PG_FUNCTION_INFO_V1(salesops_split_amount);

/* ---- commission(before, after, tiers, method) --------------------------------------------------------------------- */

/* The last tiers and method that commission() was called with, kept with the call site */
typedef struct CommissionCache
{
	Jsonb	   *json;
	char	   *method;
	NumericTiers tiers;
	CommissionPiece *pieces;	/* NULL where they do not fit the kernel */
	MemoryContext context;
} CommissionCache;

/* Index of a method's name, or an error. */
static PlanMethod
method_of(const char *name)
{
	for (int i = 0; plan_methods[i]; i++)
		if (strcmp(plan_methods[i], name) == 0)
			return i;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("commission method \"%s\" does not exist", name),
			 errhint("The methods are: marginal, retroactive.")));
}

/* Parse and keep the tiers in the call site's context. */
static void
fill_cache(CommissionCache *cache, Jsonb *json, char *method)
{
	PlanTierList list;
	Problems	problems;
	PlanMethod	kind = method_of(method);
	MemoryContext old;

	MemoryContextReset(cache->context);
	cache->json = NULL;
	old = MemoryContextSwitchTo(cache->context);
	problems_init(&problems);
	plan_parse_tiers(json, "tiers", &list, &problems);
	problems_raise(&problems, ERRCODE_INVALID_PARAMETER_VALUE,
				   "Tiers are a list such as [{\"from\": 0, \"rate\": 0.05}, {\"from\": 100000, \"rate\": 0.08}].",
				   "invalid commission tiers");
	plan_pieces(&list, kind, NULL, NULL, NULL, NULL, NULL, NULL, &cache->tiers);
	cache->pieces = plan_fixed_pieces(&cache->tiers);
	cache->method = pstrdup(method);
	cache->json = (Jsonb *) DatumGetPointer(PointerGetDatum(memcpy(palloc(VARSIZE(json)), json, VARSIZE(json))));
	MemoryContextSwitchTo(old);
}

/* The cache of this call site, up to date for these arguments. */
static CommissionCache *
commission_cache(FmgrInfo *flinfo, Jsonb *json, char *method)
{
	CommissionCache *cache = flinfo->fn_extra;

	if (cache == NULL)
	{
		cache = MemoryContextAllocZero(flinfo->fn_mcxt, sizeof(CommissionCache));
		cache->context = AllocSetContextCreate(flinfo->fn_mcxt, "commission tiers", ALLOCSET_SMALL_SIZES);
		flinfo->fn_extra = cache;
	}
	if (cache->json == NULL || VARSIZE(cache->json) != VARSIZE(json) ||
		memcmp(cache->json, json, VARSIZE(json)) != 0 || strcmp(cache->method, method) != 0)
		fill_cache(cache, json, method);
	return cache;
}

/*
 * commission(before numeric, after numeric, tiers jsonb, method text) -> numeric
 *
 * F(after) - F(before), unrounded, F being the cumulative commission of the tiers. Amounts in the currency's unit; tiers
 * as in a plan's definition. after may be less than before: the difference is then negative.
 */
Datum
salesops_commission(PG_FUNCTION_ARGS)
{
	Numeric		before = PG_GETARG_NUMERIC(0);
	Numeric		after = PG_GETARG_NUMERIC(1);
	CommissionCache *cache = commission_cache(fcinfo->flinfo, PG_GETARG_JSONB_P(2), text_to_cstring(PG_GETARG_TEXT_PP(3)));
	CommissionTiers tiers = {cache->tiers.count, cache->pieces};
	CommissionInt x;
	CommissionInt y;
	CommissionInt low;
	CommissionInt high;

	if (numeric_is_nan(before) || numeric_is_inf(before) || numeric_is_nan(after) || numeric_is_inf(after))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("a commission's amounts must be finite")));
	if (cache->pieces &&
		decimal_from_numeric(before, COMMISSION_AMOUNT_DIGITS, &x) &&
		decimal_from_numeric(after, COMMISSION_AMOUNT_DIGITS, &y) &&
		commission_cumulative(&tiers, x, &low) && commission_cumulative(&tiers, y, &high) &&
		!__builtin_sub_overflow(high, low, &high))
		PG_RETURN_NUMERIC(decimal_to_numeric(high, COMMISSION_VALUE_DIGITS, 2));
	PG_RETURN_NUMERIC(decimal_sub(plan_cumulative(&cache->tiers, after), plan_cumulative(&cache->tiers, before)));
}

/* ---- plans -------------------------------------------------------------------------------------------------------- */

/* Check one expression without ending the command: its error becomes a problem. */
static void
check_expression(const char *source, Oid type, const char *what, Problems *problems)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;

	if (source == NULL)
		return;
	BeginInternalSubTransaction(NULL);
	PG_TRY();
	{
		(void) expression_parse(source, contract_view("commission_credit"), type, 0, what);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED || error->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN)
			ReThrowError(error);
		problems_add(problems, "%s: %s", what, error->message);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
}

/* Parse a definition and check all of it; an error lists every mistake. */
static void
require_definition(const char *plan, Jsonb *json)
{
	Problems	problems;
	PlanDefinition *definition;

	problems_init(&problems);
	if (plan[0] == '\0')
		problems_add(&problems, "a plan needs a name");
	definition = plan_parse(json, &problems);
	check_expression(definition->where, BOOLOID, "where", &problems);
	check_expression(definition->amount, NUMERICOID, "amount", &problems);
	check_expression(definition->unpaid_paid_on, DATEOID, "non_payment.paid_on", &problems);
	for (int i = 0; i < definition->ncomponents; i++)
		check_expression(definition->components[i].where, BOOLOID, psprintf("rates[%d].where", i), &problems);
	for (int i = 0; i < definition->nbonuses; i++)
		check_expression(definition->bonuses[i].where, BOOLOID, psprintf("bonuses[%d].where", i), &problems);
	problems_raise(&problems, ERRCODE_INVALID_PARAMETER_VALUE,
				   "The schema of a definition is in doc/commission_plan.schema.json.",
				   "invalid commission plan \"%s\"", plan);
}

/* Write a version; 'since' NULL is the first version, from ever. */
static int
store_version(const char *plan, int version, Jsonb *json, const char *since)
{
	(void) spi_execute(SPI_OK_INSERT,
					   "INSERT INTO salesops.commission_plan (plan, version, effective_from, definition, created_by) "
					   "VALUES ($1, $2, coalesce($3::pg_catalog.date, '-infinity'), $4, $5::pg_catalog.name)",
					   5, (SpiArg[]) {spi_text(plan), spi_int4(version), spi_text(since), spi_jsonb(json),
									  spi_text(ledger_caller())});
	return version;
}

/* create_commission_plan(plan text, definition jsonb) -> integer: the version, 1. Errors: 42710, 22023 with all mistakes. */
Datum
salesops_create_commission_plan(PG_FUNCTION_ARGS)
{
	char	   *plan = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Jsonb	   *json = PG_GETARG_JSONB_P(1);
	SpiScope	scope;

	require_definition(plan, json);
	ledger_lock();
	spi_open(&scope, SPI_AS_OWNER);
	if (spi_execute(SPI_OK_SELECT, "SELECT FROM salesops.commission_plan WHERE plan = $1", 1, (SpiArg[]) {spi_text(plan)}) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("commission plan \"%s\" already exists", plan),
				 errhint("Use salesops.replace_commission_plan(plan, definition, effective_from) for a new version.")));
	(void) store_version(plan, 1, json, NULL);
	spi_close(&scope);
	PG_RETURN_INT32(1);
}

/* Why a new version may not hold from this date on. */
static void
check_effective_from(const char *plan, const char *since, Problems *problems)
{
	uint64		rows = spi_execute(SPI_OK_SELECT,
								   "SELECT version, effective_from::pg_catalog.text FROM salesops.commission_plan "
								   "WHERE plan = $1 AND effective_from > $2::pg_catalog.date",
								   2, (SpiArg[]) {spi_text(plan), spi_text(since)});

	for (uint64 i = 0; i < rows; i++)
		problems_add(problems, "version %s already holds from %s on", spi_get_text(i, 1), spi_get_text(i, 2));
	rows = spi_execute(SPI_OK_SELECT,
					   "SELECT period::pg_catalog.text FROM salesops.commission_period "
					   "WHERE pg_catalog.upper(period) > $1::pg_catalog.date ORDER BY period",
					   1, (SpiArg[]) {spi_text(since)});
	for (uint64 i = 0; i < rows; i++)
		problems_add(problems, "the period %s is closed", spi_get_text(i, 1));
}

/*
 * replace_commission_plan(plan text, definition jsonb, effective_from date) -> integer: the new version.
 * Errors: 42704 no such plan, 22023 with all mistakes; a date in a closed period or before the last version is one.
 */
Datum
salesops_replace_commission_plan(PG_FUNCTION_ARGS)
{
	char	   *plan = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Jsonb	   *json = PG_GETARG_JSONB_P(1);
	char	   *since = DatumGetCString(DirectFunctionCall1(date_out, PG_GETARG_DATUM(2)));
	Problems	problems;
	SpiScope	scope;
	int			version;

	require_definition(plan, json);
	ledger_lock();
	problems_init(&problems);
	spi_open(&scope, SPI_AS_OWNER);
	(void) spi_execute(SPI_OK_SELECT, "SELECT coalesce(max(version), 0)::pg_catalog.int8 FROM salesops.commission_plan WHERE plan = $1",
					   1, (SpiArg[]) {spi_text(plan)});
	version = (int) spi_get_int8(0, 1) + 1;
	if (version == 1)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("commission plan \"%s\" does not exist", plan),
				 errhint("Use salesops.create_commission_plan(plan, definition) first.")));
	check_effective_from(plan, since, &problems);
	problems_raise(&problems, ERRCODE_INVALID_PARAMETER_VALUE,
				   "Choose a later date: what is closed was paid by the plan as it was; correct it by credits, which become true-ups.",
				   "commission plan \"%s\" cannot change from %s on", plan, since);
	(void) store_version(plan, version, json, since);
	spi_close(&scope);
	PG_RETURN_INT32(version);
}

/* ---- assignments -------------------------------------------------------------------------------------------------- */

/* Whether the sales reps are attached, and what they say about this one (as the caller). */
static void
check_rep(const char *rep, Problems *problems)
{
	SpiScope	scope;

	if (!OidIsValid(contract_relation("sales_rep")))
		return;
	spi_open(&scope, SPI_AS_CALLER);
	if (spi_execute(SPI_OK_SELECT, "SELECT is_active IS FALSE FROM salesops.sales_rep WHERE rep_id OPERATOR(pg_catalog.=) $1",
					1, (SpiArg[]) {spi_text(rep)}) == 0)
		problems_add(problems, "rep \"%s\" is not in salesops.sales_rep", rep);
	else if (spi_get_bool(0, 1))
		problems_add(problems, "rep \"%s\" has left (is_active is false)", rep);
	spi_close(&scope);
}

/* The plan, its need for a quota, and the rep's other plans in the range (as the owner). */
static void
check_assignment(const char *rep, const char *plan, const char *effective, bool has_quota, Problems *problems)
{
	uint64		rows = spi_execute(SPI_OK_SELECT,
								   "SELECT bool_or(definition->>'measure' = 'attainment') FROM salesops.commission_plan WHERE plan = $1 "
								   "HAVING count(*) > 0", 1, (SpiArg[]) {spi_text(plan)});

	if (rows == 0)
		problems_add(problems, "commission plan \"%s\" does not exist", plan);
	else if (spi_get_bool(0, 1) && !has_quota)
		problems_add(problems, "commission plan \"%s\" measures attainment: it needs a quota", plan);
	rows = spi_execute(SPI_OK_SELECT,
					   "SELECT plan, effective::pg_catalog.text FROM salesops.commission_assignment "
					   "WHERE rep_id = $1 AND effective && $2::pg_catalog.daterange ORDER BY effective",
					   2, (SpiArg[]) {spi_text(rep), spi_text(effective)});
	for (uint64 i = 0; i < rows; i++)
		problems_add(problems, "rep \"%s\" already has plan \"%s\" in %s", rep, spi_get_text(i, 1), spi_get_text(i, 2));
}

/*
 * assign_commission_plan(rep_id text, plan text, effective daterange, quota numeric DEFAULT NULL) -> bigint: its id.
 * quota is for one period of the plan, in the plan's currency. Errors: 22023 with all mistakes.
 */
Datum
salesops_assign_commission_plan(PG_FUNCTION_ARGS)
{
	Problems	problems;
	SpiScope	scope;
	char	   *rep;
	char	   *plan;
	char	   *effective;
	int64		id;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("rep_id, plan and effective must not be NULL")));
	rep = text_to_cstring(PG_GETARG_TEXT_PP(0));
	plan = text_to_cstring(PG_GETARG_TEXT_PP(1));
	effective = OidOutputFunctionCall(F_RANGE_OUT, PG_GETARG_DATUM(2));
	problems_init(&problems);
	if (rep[0] == '\0')
		problems_add(&problems, "rep_id is empty");
	if (RangeIsEmpty(PG_GETARG_RANGE_P(2)))
		problems_add(&problems, "the range of dates is empty");
	if (!PG_ARGISNULL(3) && (numeric_is_nan(PG_GETARG_NUMERIC(3)) || numeric_is_inf(PG_GETARG_NUMERIC(3)) ||
							 decimal_compare(PG_GETARG_NUMERIC(3), decimal_zero()) <= 0))
		problems_add(&problems, "the quota must be more than 0, not %s", decimal_text(PG_GETARG_NUMERIC(3)));
	check_rep(rep, &problems);
	ledger_lock();
	spi_open(&scope, SPI_AS_OWNER);
	check_assignment(rep, plan, effective, !PG_ARGISNULL(3), &problems);
	problems_raise(&problems, ERRCODE_INVALID_PARAMETER_VALUE,
				   "End an earlier assignment with salesops.end_commission_assignment(rep_id, plan, on_date).",
				   "cannot assign commission plan \"%s\" to rep \"%s\"", plan, rep);
	(void) spi_execute(SPI_OK_INSERT_RETURNING,
					   "INSERT INTO salesops.commission_assignment (rep_id, plan, effective, quota, created_by) "
					   "VALUES ($1, $2, $3::pg_catalog.daterange, $4, $5::pg_catalog.name) RETURNING assignment_id",
					   5, (SpiArg[]) {spi_text(rep), spi_text(plan), spi_text(effective),
									  spi_datum(NUMERICOID, PG_ARGISNULL(3) ? (Datum) 0 : PG_GETARG_DATUM(3), PG_ARGISNULL(3)),
									  spi_text(ledger_caller())});
	id = spi_get_int8(0, 1);
	spi_close(&scope);
	PG_RETURN_INT64(id);
}

/* ---- shares ------------------------------------------------------------------------------------------------------- */

/* Weights as integers of 10^-9, or an error. */
static CommissionInt *
weights_of(Datum *elements, bool *nulls, int count)
{
	CommissionInt *weights = palloc(sizeof(CommissionInt) * Max(count, 1));

	for (int i = 0; i < count; i++)
		if (nulls[i] || !decimal_from_numeric(DatumGetNumeric(elements[i]), COMMISSION_AMOUNT_DIGITS, &weights[i]) || weights[i] < 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("weight %d must be a number that is not negative, of at most nine decimal digits", i + 1)));
	return weights;
}

/*
 * split_amount(amount numeric, weights numeric[], currency text DEFAULT 'USD') -> numeric[]
 *
 * Shares an amount in proportion to weights, in minor units of the currency, so that the shares add up to it: largest
 * remainder (Hamilton), ties to the earlier share.
 */
Datum
salesops_split_amount(PG_FUNCTION_ARGS)
{
	char	   *currency = text_to_cstring(PG_GETARG_TEXT_PP(2));
	int			digits = commission_currency_exponent(currency);
	KernelEnv	env = kernel_env_pg(CurrentMemoryContext);
	CommissionInt total;
	CommissionInt *shares;
	Datum	   *elements;
	bool	   *nulls;
	int			count;

	if (digits < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is not an ISO 4217 currency code", currency)));
	if (!decimal_from_numeric(PG_GETARG_NUMERIC(0), digits, &total))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the amount %s is no whole number of minor units of %s", decimal_text(PG_GETARG_NUMERIC(0)), currency),
				 errhint("Round it first: round(amount, %d).", digits)));
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), NUMERICOID, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
	shares = palloc(sizeof(CommissionInt) * Max(count, 1));
	if (count == 0 || !commission_share(&env, total, count, weights_of(elements, nulls, count), shares))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("weights must not be empty or all zero, and their product with the amount must fit 128 bits")));
	for (int i = 0; i < count; i++)
		elements[i] = NumericGetDatum(decimal_to_numeric(shares[i], digits, digits));
	PG_RETURN_ARRAYTYPE_P(construct_array(elements, count, NUMERICOID, -1, false, TYPALIGN_INT));
}
