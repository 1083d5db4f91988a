/*
 * scope_pg.c
 *		What a calculation reaches over: plans, closed periods, assignments, what the ledger holds, reps and their managers.
 *
 * salesops's own tables are read as the extension's owner, reps through their contract view as the caller.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "commission/credits_pg.h"
#include "commission/decimal_pg.h"
#include "core/relation.h"
#include "core/spi.h"

#define LOOK_BACK_DAYS 366		/* closed periods that are looked at again for later changes */

/* ---- reps by id --------------------------------------------------------------------------------------------------- */

typedef struct RepEntry
{
	const char *id;
	Rep		   *rep;
	uint32		hash;
	char		status;
} RepEntry;

#define SH_PREFIX rephash
#define SH_ELEMENT_TYPE RepEntry
#define SH_KEY_TYPE const char *
#define SH_KEY id
#define SH_HASH_KEY(table, key) hash_bytes((const unsigned char *) (key), strlen(key))
#define SH_EQUAL(table, a, b) (strcmp(a, b) == 0)
#define SH_STORE_HASH
#define SH_GET_HASH(table, entry) (entry)->hash
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* Find or make a rep */
Rep *
scope_rep(Calculation *calculation, const char *id)
{
	bool		found;
	RepEntry   *entry = rephash_lookup(calculation->reps, id);

	if (entry == NULL)
	{
		Rep		   *rep = MemoryContextAllocZero(calculation->context, sizeof(Rep));

		rep->id = MemoryContextStrdup(calculation->context, id);
		entry = rephash_insert(calculation->reps, rep->id, &found);
		entry->rep = rep;
	}
	return entry->rep;
}

/* A rep who is known already, or NULL */
Rep *
scope_find_rep(Calculation *calculation, const char *id)
{
	RepEntry   *entry = rephash_lookup(calculation->reps, id);

	return entry ? entry->rep : NULL;
}

/* Order of rep ids: bytes, the same in every collation */
static int
compare_reps(const ListCell *a, const ListCell *b)
{
	return strcmp(((Rep *) lfirst(a))->id, ((Rep *) lfirst(b))->id);
}

/* All reps, in order */
List *
scope_all_reps(Calculation *calculation)
{
	rephash_iterator iterator;
	RepEntry   *entry;
	List	   *result = NIL;

	rephash_start_iterate(calculation->reps, &iterator);
	while ((entry = rephash_iterate(calculation->reps, &iterator)) != NULL)
		result = lappend(result, entry->rep);
	list_sort(result, compare_reps);
	return result;
}

/* ---- plans, periods, assignments (as the owner) ------------------------------------------------------------------- */

/* A date column; as open a bound as it may be */
static DateADT
get_date(uint64 row, int column)
{
	bool		isnull;

	return DatumGetDateADT(spi_get_datum(row, column, &isnull));
}

/* A numeric column copied out, NULL where it is */
static Numeric
get_numeric(uint64 row, int column)
{
	bool		isnull;
	Datum		value = spi_get_datum(row, column, &isnull);

	return isnull ? NULL : DatumGetNumericCopy(value);
}

/* A text column copied to the calculation's context (spi_open made another current) */
static char *
get_text(Calculation *calculation, uint64 row, int column)
{
	char	   *value = spi_get_text(row, column);

	return value ? MemoryContextStrdup(calculation->context, value) : NULL;
}

/* All versions of the plans in question, with the date until which each holds */
static void
load_plans(Calculation *calculation)
{
	uint64		rows = spi_execute(SPI_OK_SELECT,
								   "SELECT plan, version, effective_from, coalesce(pg_catalog.lead(effective_from) OVER "
								   "(PARTITION BY plan ORDER BY version), 'infinity'), definition FROM salesops.commission_plan "
								   "WHERE $1 IS NULL OR plan IN (SELECT a.plan FROM salesops.commission_assignment a WHERE a.rep_id = ANY ($1) "
								   "UNION SELECT p.plan FROM salesops.commission_posting p WHERE p.rep_id = ANY ($1)) ORDER BY plan, version",
								   1, (SpiArg[]) {scope_only(calculation)});

	for (uint64 i = 0; i < rows; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(calculation->context);
		PlanVersion *version = palloc0(sizeof(PlanVersion));
		Problems	problems;
		bool		isnull;

		version->plan = get_text(calculation, i, 1);
		version->version = DatumGetInt32(spi_get_datum(i, 2, &isnull));
		version->from = get_date(i, 3);
		version->to = get_date(i, 4);
		if (calculation->simulated_plan && strcmp(calculation->simulated_plan, version->plan) == 0)
			version->definition = calculation->simulated;
		else
		{
			problems_init(&problems);
			version->definition = plan_parse(DatumGetJsonbPCopy(spi_get_datum(i, 5, &isnull)), &problems);
			problems_raise(&problems, ERRCODE_INVALID_PARAMETER_VALUE, NULL, "invalid commission plan \"%s\"", version->plan);
		}
		calculation->versions = lappend(calculation->versions, version);
		MemoryContextSwitchTo(old);
	}
}

/* Closed periods in order, adjacent ones joined */
static void
load_closed(Calculation *calculation)
{
	uint64		rows = spi_execute(SPI_OK_SELECT,
								   "SELECT pg_catalog.lower(r), pg_catalog.upper(r) FROM (SELECT pg_catalog.unnest(pg_catalog.range_agg(period)) "
								   "FROM salesops.commission_period) u(r) ORDER BY 1", 0, NULL);

	calculation->nclosed = (int) rows;
	calculation->closed_from = MemoryContextAlloc(calculation->context, sizeof(DateADT) * (rows + 1));
	calculation->closed_to = MemoryContextAlloc(calculation->context, sizeof(DateADT) * (rows + 1));
	for (uint64 i = 0; i < rows; i++)
	{
		calculation->closed_from[i] = get_date(i, 1);
		calculation->closed_to[i] = get_date(i, 2);
	}
}

/* End of the closed range that covers a date, or the date itself */
DateADT
scope_closed_until(const Calculation *calculation, DateADT date)
{
	for (int i = 0; i < calculation->nclosed; i++)
		if (calculation->closed_from[i] <= date && date < calculation->closed_to[i])
			return calculation->closed_to[i];
	return date;
}

/* Who has which plan when */
static void
load_assignments(Calculation *calculation)
{
	uint64		rows = spi_execute(SPI_OK_SELECT,
								   "SELECT rep_id, plan, coalesce(pg_catalog.lower(effective), '-infinity'), "
								   "coalesce(pg_catalog.upper(effective), 'infinity'), quota FROM salesops.commission_assignment "
								   "WHERE $1 IS NULL OR rep_id = ANY ($1) ORDER BY rep_id, effective", 1,
								   (SpiArg[]) {scope_only(calculation)});

	for (uint64 i = 0; i < rows; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(calculation->context);
		Assignment *assignment = palloc0(sizeof(Assignment));
		Rep		   *rep = scope_rep(calculation, spi_get_text(i, 1));

		assignment->plan = get_text(calculation, i, 2);
		assignment->from = get_date(i, 3);
		assignment->to = get_date(i, 4);
		assignment->quota = get_numeric(i, 5);
		rep->assignments = lappend(rep->assignments, assignment);
		MemoryContextSwitchTo(old);
	}
}

/* The version of a plan that holds on a date, or NULL */
PlanVersion *
scope_version(Calculation *calculation, const char *plan, DateADT date)
{
	ListCell   *cell;

	foreach(cell, calculation->versions)
	{
		PlanVersion *version = lfirst(cell);

		if (version->from <= date && date < version->to && strcmp(version->plan, plan) == 0)
			return version;
	}
	return NULL;
}

/* The plan's period that holds a date, cut where the version begins and ends */
void
scope_segment(const PlanVersion *version, DateADT date, DateADT *from, DateADT *to)
{
	DateADT		start = plan_period_start(version->definition->period, date);

	*to = Min(plan_period_next(version->definition->period, start), version->to);
	*from = Max(start, version->from);
}

/* From which date credits are needed: whole periods of every plan, the year for gates, closed periods to look at again */
static void
choose_read_from(Calculation *calculation)
{
	DateADT		earliest = calculation->from;
	ListCell   *cell;

	for (int i = 0; i < calculation->nclosed && !calculation->dry; i++)
		if (calculation->closed_from[i] < calculation->to && calculation->closed_to[i] > calculation->from - LOOK_BACK_DAYS)
			earliest = Min(earliest, Max(calculation->closed_from[i], calculation->from - LOOK_BACK_DAYS));
	calculation->read_from = earliest;
	foreach(cell, calculation->versions)
	{
		PlanVersion *version = lfirst(cell);
		PlanPeriod	period = version->definition->gate_at ? PLAN_YEAR : version->definition->period;

		calculation->read_from = Min(calculation->read_from, plan_period_start(period, earliest));
	}
	calculation->read_to = calculation->to;
}

/* ---- accounts ----------------------------------------------------------------------------------------------------- */

/* Whether an account's period is asked for, or closed and to be looked at again */
static void
set_scope(Calculation *calculation, CreditAccount *account)
{
	account->closed = scope_closed_until(calculation, account->from) >= account->to;
	account->process = (account->from < calculation->to && account->to > calculation->from) ||
		(account->closed && !calculation->dry && account->from >= calculation->from - LOOK_BACK_DAYS && account->from < calculation->to);
}

/* Find or make an account */
CreditAccount *
scope_account(Calculation *calculation, Rep *rep, const char *plan, DateADT from, DateADT to,
				const char *currency, int purpose)
{
	ListCell   *cell;
	CreditAccount *account;
	MemoryContext old;

	foreach(cell, rep->accounts)
	{
		account = lfirst(cell);
		if (account->from == from && account->to == to && account->purpose == purpose &&
			strcmp(account->currency, currency) == 0 && strcmp(account->plan, plan) == 0)
			return account;
	}
	old = MemoryContextSwitchTo(calculation->context);
	account = palloc0(sizeof(CreditAccount));
	account->rep = rep;
	account->plan = pstrdup(plan);
	account->version = scope_version(calculation, plan, from);
	account->from = from;
	account->to = to;
	account->currency = pstrdup(currency);
	account->purpose = purpose;
	account->covered_to = calculation->to;
	account->prior_earned = decimal_zero();
	account->prior_credited = decimal_zero();
	set_scope(calculation, account);
	rep->accounts = lappend(rep->accounts, account);
	calculation->accounts = lappend(calculation->accounts, account);
	MemoryContextSwitchTo(old);
	return account;
}

/* What the ledger holds for the periods in reach */
static void
load_postings(Calculation *calculation)
{
	uint64		rows = spi_execute(SPI_OK_SELECT,
								   "SELECT rep_id, plan, pg_catalog.lower(for_period), pg_catalog.upper(for_period), currency, purpose::int4, "
								   "first_line, line_count, fingerprint, pg_catalog.upper(period), earned, credited FROM salesops.commission_posting "
								   "WHERE for_period && pg_catalog.daterange($2, $3) AND ($1 IS NULL OR rep_id = ANY ($1) AND purpose = 0) "
								   "ORDER BY posting_id", 3,
								   (SpiArg[]) {scope_only(calculation),
											   spi_datum(DATEOID, DateADTGetDatum(calculation->read_from), false),
											   spi_datum(DATEOID, DateADTGetDatum(calculation->to), false)});

	for (uint64 i = 0; i < rows; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(calculation->context);
		PriorPosting *prior = palloc(sizeof(PriorPosting));
		CreditAccount *account;
		bool		isnull;

		account = scope_account(calculation, scope_rep(calculation, spi_get_text(i, 1)), spi_get_text(i, 2),
								  get_date(i, 3), get_date(i, 4), spi_get_text(i, 5),
								  DatumGetInt32(spi_get_datum(i, 6, &isnull)));
		prior->first_line = spi_get_int8(i, 7);
		prior->nlines = DatumGetInt32(spi_get_datum(i, 8, &isnull));
		account->prior = lappend(account->prior, prior);
		account->prior_fingerprint = spi_get_int8(i, 9);
		account->covered_to = Max(account->covered_to, Min(get_date(i, 10), account->to));
		account->prior_earned = decimal_add(account->prior_earned, get_numeric(i, 11));
		account->prior_credited = decimal_add(account->prior_credited, get_numeric(i, 12));
		if (account->process)
			calculation->read_to = Max(calculation->read_to, account->covered_to);
		MemoryContextSwitchTo(old);
	}
}

/* Draws that the ledger holds, of all periods: their balance is carried over */
static void
load_drawn(Calculation *calculation)
{
	uint64		rows = spi_execute(SPI_OK_SELECT,
								   "SELECT rep_id, plan, pg_catalog.lower(for_period), sum(drawn) FROM salesops.commission_posting "
								   "WHERE drawn <> 0 AND ($1 IS NULL OR rep_id = ANY ($1)) GROUP BY 1, 2, 3 ORDER BY 1, 2, 3", 1,
								   (SpiArg[]) {scope_only(calculation)});

	for (uint64 i = 0; i < rows; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(calculation->context);
		DrawnBefore *drawn = palloc(sizeof(DrawnBefore));

		drawn->rep = get_text(calculation, i, 1);
		drawn->plan = get_text(calculation, i, 2);
		drawn->from = get_date(i, 3);
		drawn->amount = get_numeric(i, 4);
		calculation->drawn = lappend(calculation->drawn, drawn);
		MemoryContextSwitchTo(old);
	}
}

/* Everything of salesops's own */
static void
load_own(Calculation *calculation)
{
	SpiScope	scope;
	ListCell   *cell;

	spi_open(&scope, SPI_AS_OWNER);
	load_plans(calculation);
	load_closed(calculation);
	choose_read_from(calculation);
	load_assignments(calculation);
	if (!calculation->dry)
	{
		load_postings(calculation);
		load_drawn(calculation);
	}
	spi_close(&scope);
	foreach(cell, calculation->versions)
	{
		PlanVersion *version = lfirst(cell);

		calculation->has_override |= version->definition->override_rate != NULL;
		if (version->from < calculation->read_to && version->to > calculation->read_from)
			plan_compile(version->definition, version->plan);
	}
}

/* ---- reps (as the caller) ----------------------------------------------------------------------------------------- */

/* Managers, and who has left */
static void
load_reps(Calculation *calculation)
{
	SpiScope	scope;
	uint64		rows;

	if (!OidIsValid(contract_relation("sales_rep")))
		return;
	spi_open(&scope, SPI_AS_CALLER);
	rows = spi_execute(SPI_OK_SELECT,
					   "SELECT rep_id, manager_id, is_active IS FALSE FROM salesops.sales_rep WHERE rep_id IS NOT NULL "
					   "AND ($1 IS NULL OR rep_id OPERATOR(pg_catalog.=) ANY ($1))", 1,
					   (SpiArg[]) {scope_only(calculation)});
	for (uint64 i = 0; i < rows; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(calculation->context);
		Rep		   *rep = scope_rep(calculation, spi_get_text(i, 1));

		rep->manager = get_text(calculation, i, 2);
		rep->has_left = spi_get_bool(i, 3);
		MemoryContextSwitchTo(old);
	}
	spi_close(&scope);
}

/* All of it, in the calculation's memory context */
void
scope_load(Calculation *calculation)
{
	calculation->reps = rephash_create(calculation->context, 1024, NULL);
	load_own(calculation);
	load_reps(calculation);
}

/* The reps asked for as an argument, NULL for all */
SpiArg
scope_only(const Calculation *calculation)
{
	return spi_datum(TEXTARRAYOID, PointerGetDatum(calculation->only), calculation->only == NULL);
}
