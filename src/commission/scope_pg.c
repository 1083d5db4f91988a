/*
 * scope_pg.c
 *		What a calculation reaches over: plans, closed periods, assignments, what the ledger holds, reps and their managers.
 *
 * salesops's own tables are read directly (own.h), reps through their contract view as the caller.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"

#include "commission/credits_pg.h"
#include "commission/decimal_pg.h"
#include "core/own.h"
#include "core/relation.h"
#include "core/spi.h"

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
		Size		head = MAXALIGN(strlen(id) + 1);
		char	   *room = MemoryContextAllocZero(calculation->context, head + sizeof(Rep));
		Rep		   *rep = (Rep *) (room + head);

		/* the id right before what is looked at next */
		rep->id = strcpy(room, id);
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

/* How many there are */
int
scope_rep_count(const Calculation *calculation)
{
	return (int) calculation->reps->members;
}

/* ---- plans, periods, assignments (salesops's own tables) ---------------------------------------------------------- */

/* Columns of the tables, from 0; the ledger's are in ledger_pg.h */
enum
{
	PLAN_NAME, PLAN_VERSION, PLAN_FROM, PLAN_DEFINITION
};
enum
{
	ASSIGNMENT_ID, ASSIGNMENT_REP, ASSIGNMENT_PLAN, ASSIGNMENT_EFFECTIVE, ASSIGNMENT_QUOTA
};

/* The one copy of a plan's name that all of the calculation points to: most comparisons are then of pointers */
static const char *
intern_plan(Calculation *calculation, const char *plan)
{
	ListCell   *cell;

	foreach(cell, calculation->plans)
		if (strcmp(lfirst(cell), plan) == 0)
			return lfirst(cell);
	calculation->plans = lappend(calculation->plans, MemoryContextStrdup(calculation->context, plan));
	return llast(calculation->plans);
}

/* One version of a plan */
static void
take_plan(const Datum *values, const bool *nulls, void *arg)
{
	Calculation *calculation = arg;
	PlanVersion *version = palloc0(sizeof(PlanVersion));
	Problems	problems;

	version->plan = intern_plan(calculation, TextDatumGetCString(values[PLAN_NAME]));
	version->version = DatumGetInt32(values[PLAN_VERSION]);
	version->from = DatumGetDateADT(values[PLAN_FROM]);
	version->to = DATEVAL_NOEND;
	if (calculation->simulated_plan && strcmp(calculation->simulated_plan, version->plan) == 0)
		version->definition = calculation->simulated;
	else
	{
		problems_init(&problems);
		version->definition = plan_parse(DatumGetJsonbPCopy(values[PLAN_DEFINITION]), &problems);
		problems_raise(&problems, ERRCODE_INVALID_PARAMETER_VALUE, NULL, "invalid commission plan \"%s\"", version->plan);
	}
	calculation->versions = lappend(calculation->versions, version);
}

/* By plan, then number */
static int
compare_versions(const ListCell *a, const ListCell *b)
{
	const PlanVersion *x = lfirst(a);
	const PlanVersion *y = lfirst(b);
	int			order = x->plan == y->plan ? 0 : strcmp(x->plan, y->plan);

	return order != 0 ? order : x->version - y->version;
}

/* All versions of the plans in question (those met so far, where one rep is asked for), with the date until which each holds */
static void
load_plans(Calculation *calculation)
{
	PlanVersion *last = NULL;
	ListCell   *cell;

	if (calculation->only == NULL)
		own_scan("commission_plan", NULL, false, 0, NULL, take_plan, calculation);
	else
		foreach(cell, calculation->plans)
		{
			OwnKey		key = {PLAN_NAME + 1, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(lfirst(cell))};

			own_scan("commission_plan", "commission_plan_pkey", false, 1, &key, take_plan, calculation);
		}
	list_sort(calculation->versions, compare_versions);
	foreach(cell, calculation->versions)
	{
		PlanVersion *version = lfirst(cell);

		if (last && last->plan == version->plan)
			last->to = version->from;
		last = version;
	}
}

typedef struct Range
{
	DateADT		from;
	DateADT		to;
} Range;

/* One closed period */
static void
take_closed(const Datum *values, const bool *nulls, void *arg)
{
	List	  **ranges = arg;
	Range	   *range = palloc(sizeof(Range));

	ledger_period(values[0], &range->from, &range->to);
	*ranges = lappend(*ranges, range);
}

/* By first day */
static int
compare_ranges(const ListCell *a, const ListCell *b)
{
	DateADT		x = ((Range *) lfirst(a))->from;
	DateADT		y = ((Range *) lfirst(b))->from;

	return x < y ? -1 : x > y;
}

/* Closed periods in order, adjacent ones joined */
static void
load_closed(Calculation *calculation)
{
	List	   *ranges = NIL;
	int			count = 0;
	ListCell   *cell;

	own_scan("commission_period", NULL, false, 0, NULL, take_closed, &ranges);
	list_sort(ranges, compare_ranges);
	calculation->closed_from = palloc(sizeof(DateADT) * (list_length(ranges) + 1));
	calculation->closed_to = palloc(sizeof(DateADT) * (list_length(ranges) + 1));
	foreach(cell, ranges)
	{
		Range	   *range = lfirst(cell);

		if (count > 0 && calculation->closed_to[count - 1] >= range->from)
			calculation->closed_to[count - 1] = Max(calculation->closed_to[count - 1], range->to);
		else
		{
			calculation->closed_from[count] = range->from;
			calculation->closed_to[count++] = range->to;
		}
	}
	calculation->nclosed = count;
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

/* One assignment */
static void
take_assignment(const Datum *values, const bool *nulls, void *arg)
{
	Calculation *calculation = arg;
	Assignment *assignment = palloc0(sizeof(Assignment));
	Rep		   *rep = scope_rep(calculation, TextDatumGetCString(values[ASSIGNMENT_REP]));

	assignment->plan = intern_plan(calculation, TextDatumGetCString(values[ASSIGNMENT_PLAN]));
	ledger_period(values[ASSIGNMENT_EFFECTIVE], &assignment->from, &assignment->to);
	assignment->quota = nulls[ASSIGNMENT_QUOTA] ? NULL : DatumGetNumericCopy(values[ASSIGNMENT_QUOTA]);
	rep->assignments = lappend(rep->assignments, assignment);
}

/* By first day */
static int
compare_assignments(const ListCell *a, const ListCell *b)
{
	DateADT		x = ((Assignment *) lfirst(a))->from;
	DateADT		y = ((Assignment *) lfirst(b))->from;

	return x < y ? -1 : x > y;
}

/* Who has which plan when */
static void
load_assignments(Calculation *calculation)
{
	rephash_iterator iterator;
	RepEntry   *entry;

	if (calculation->only)
	{
		OwnKey		key = {ASSIGNMENT_REP + 1, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(calculation->only)};

		own_scan("commission_assignment", "commission_assignment_rep", false, 1, &key, take_assignment, calculation);
	}
	else
		own_scan("commission_assignment", NULL, false, 0, NULL, take_assignment, calculation);
	rephash_start_iterate(calculation->reps, &iterator);
	while ((entry = rephash_iterate(calculation->reps, &iterator)) != NULL)
		list_sort(entry->rep->assignments, compare_assignments);
}

/* The version of a plan that holds on a date, or NULL */
PlanVersion *
scope_version(Calculation *calculation, const char *plan, DateADT date)
{
	ListCell   *cell;

	foreach(cell, calculation->versions)
	{
		PlanVersion *version = lfirst(cell);

		if (version->from <= date && date < version->to && (version->plan == plan || strcmp(version->plan, plan) == 0))
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

/* Days before what is asked for in which closed periods are looked at again: a year, and the longest wait for a payment */
int
scope_look_back(const Calculation *calculation)
{
	int			days = 0;
	ListCell   *cell;

	foreach(cell, calculation->versions)
		days = Max(days, ((PlanVersion *) lfirst(cell))->definition->unpaid_days);
	return LOOK_BACK_DAYS + days;
}

/* From which date credits are needed: whole periods of every plan, the year for gates, closed periods to look at again */
static void
choose_read_from(Calculation *calculation)
{
	DateADT		earliest = calculation->from;
	DateADT		back = calculation->from - scope_look_back(calculation);
	ListCell   *cell;

	for (int i = 0; i < calculation->nclosed && !calculation->dry && !calculation->closed_unchanged; i++)
		if (calculation->closed_from[i] < calculation->to && calculation->closed_to[i] > back)
			earliest = Min(earliest, Max(calculation->closed_from[i], back));
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
		(account->closed && !calculation->dry && !calculation->closed_unchanged &&
		 account->from >= calculation->from - scope_look_back(calculation) && account->from < calculation->to);
}

/* Whether an account depends on other reps' credits: left alone where one rep is calculated */
static bool
is_shared(const CreditAccount *account)
{
	const PlanDefinition *plan = account->version ? account->version->definition : NULL;
	int			bonus = account->purpose - PURPOSE_BONUS;

	return account->purpose == PURPOSE_OVERRIDE || (plan && bonus >= 0 && bonus < plan->nbonuses && plan->bonuses[bonus].budget);
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
			(account->plan == plan || strcmp(account->plan, plan) == 0) && strcmp(account->currency, currency) == 0)
			return account;
	}
	old = MemoryContextSwitchTo(calculation->context);
	account = palloc0(sizeof(CreditAccount));
	account->rep = rep;
	account->plan = intern_plan(calculation, plan);
	account->version = scope_version(calculation, account->plan, from);
	account->from = from;
	account->to = to;
	account->currency = pstrdup(currency);
	account->purpose = purpose;
	account->covered_to = calculation->to;
	account->prior_to = DATEVAL_NOBEGIN;
	account->prior_earned = decimal_zero();
	account->prior_credited = decimal_zero();
	set_scope(calculation, account);
	if (calculation->only && is_shared(account))
		account->process = false;
	rep->accounts = lappend(rep->accounts, account);
	calculation->accounts = lappend(calculation->accounts, account);
	MemoryContextSwitchTo(old);
	return account;
}

/* A posting of an account in reach */
static void
hold_posting(Calculation *calculation, Rep *rep, const Datum *values, DateADT from, DateADT to)
{
	PriorPosting *prior = palloc(sizeof(PriorPosting));
	CreditAccount *account = scope_account(calculation, rep, TextDatumGetCString(values[POSTING_PLAN]), from, to,
										   TextDatumGetCString(values[POSTING_CURRENCY]), DatumGetInt16(values[POSTING_PURPOSE]));
	DateADT		paid_from;
	DateADT		paid_to;

	ledger_period(values[POSTING_PERIOD], &paid_from, &paid_to);
	prior->posting_id = DatumGetInt64(values[POSTING_ID]);
	prior->first_line = DatumGetInt64(values[POSTING_FIRST_LINE]);
	prior->nlines = DatumGetInt32(values[POSTING_LINES]);
	account->prior = lappend(account->prior, prior);
	if (prior->posting_id > account->newest_prior)
	{
		account->newest_prior = prior->posting_id;
		account->prior_fingerprint = DatumGetInt64(values[POSTING_FINGERPRINT]);
	}
	account->prior_to = Max(account->prior_to, paid_to);
	account->covered_to = Max(account->covered_to, Min(paid_to, account->to));
	account->prior_earned = decimal_add(account->prior_earned, DatumGetNumeric(values[POSTING_EARNED]));
	account->prior_credited = decimal_add(account->prior_credited, DatumGetNumeric(values[POSTING_CREDITED]));
	if (account->process)
		calculation->read_to = Max(calculation->read_to, account->covered_to);
}

/* One posting of the ledger: what an account in reach holds; and of any period what was drawn, whose balance is carried over */
static void
take_posting(const Datum *values, const bool *nulls, void *arg)
{
	Calculation *calculation = arg;
	bool		is_drawn = !decimal_is_zero(DatumGetNumeric(values[POSTING_DRAWN]));
	DateADT		from;
	DateADT		to;
	Rep		   *rep;

	ledger_period(values[POSTING_FOR], &from, &to);
	if (!is_drawn && (from >= calculation->to || to <= calculation->read_from))
		return;
	rep = scope_rep(calculation, TextDatumGetCString(values[POSTING_REP]));
	if (is_drawn)
	{
		DrawnBefore *drawn = palloc(sizeof(DrawnBefore));

		drawn->plan = intern_plan(calculation, TextDatumGetCString(values[POSTING_PLAN]));
		drawn->currency = pstrdup(TextDatumGetCString(values[POSTING_CURRENCY]));
		drawn->from = from;
		drawn->amount = DatumGetNumericCopy(values[POSTING_DRAWN]);
		rep->drawn = lappend(rep->drawn, drawn);
	}
	if (from < calculation->to && to > calculation->read_from)
		hold_posting(calculation, rep, values, from, to);
}

/* A plan that the ledger holds lines of for the rep asked for */
static void
take_posting_plan(const Datum *values, const bool *nulls, void *arg)
{
	(void) intern_plan(arg, TextDatumGetCString(values[POSTING_PLAN]));
}

/* Postings of the rep asked for, or all, in no order */
void
scope_scan_postings(const Calculation *calculation, OwnRow callback, void *arg)
{
	if (calculation->only)
	{
		OwnKey		key = {POSTING_REP + 1, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(calculation->only)};

		own_scan("commission_posting", "commission_posting_rep", false, 1, &key, callback, arg);
	}
	else
		own_scan("commission_posting", NULL, false, 0, NULL, callback, arg);
}

/* In the order of posting */
static int
compare_priors(const ListCell *a, const ListCell *b)
{
	int64		x = ((PriorPosting *) lfirst(a))->posting_id;
	int64		y = ((PriorPosting *) lfirst(b))->posting_id;

	return x < y ? -1 : x > y;
}

/*
 * Whether an account may be compared with the ledger by its fingerprint before its credits are kept: when this scope of it
 * was calculated before, and no other account is made from its credits.
 */
static bool
may_be_light(const Calculation *calculation, const CreditAccount *account)
{
	const PlanDefinition *plan = account->version ? account->version->definition : NULL;

	if (plan == NULL || !account->process || account->prior == NIL || account->purpose != PURPOSE_CREDIT)
		return false;
	if (plan->draw || plan->nbonuses > 0 || plan->override_rate || calculation->has_gate)
		return false;
	return account->closed || (calculation->only == NULL && account->prior_to >= Min(account->to, calculation->to));
}

/* What the ledger holds */
static void
load_postings(Calculation *calculation)
{
	ListCell   *cell;

	if (calculation->dry)
		return;
	scope_scan_postings(calculation, take_posting, calculation);
	foreach(cell, calculation->accounts)
	{
		CreditAccount *account = lfirst(cell);

		list_sort(account->prior, compare_priors);
		account->light = may_be_light(calculation, account);
	}
}

/* Everything of salesops's own */
static void
load_own(Calculation *calculation)
{
	ListCell   *cell;

	load_assignments(calculation);
	if (calculation->only && !calculation->dry)
		scope_scan_postings(calculation, take_posting_plan, calculation);
	load_plans(calculation);
	load_closed(calculation);
	unchanged_decide(calculation);
	choose_read_from(calculation);
	foreach(cell, calculation->versions)
	{
		PlanVersion *version = lfirst(cell);

		calculation->has_override |= version->definition->override_rate != NULL;
		calculation->has_gate |= version->definition->gate_at != NULL;
	}
	load_postings(calculation);
	foreach(cell, calculation->versions)
	{
		PlanVersion *version = lfirst(cell);

		if (version->from < calculation->read_to && version->to > calculation->read_from)
			calculation->mutable |= plan_compile(version->definition, version->plan);
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
	if (calculation->only)
		rows = spi_execute_kept(SPI_OK_SELECT,
								"SELECT rep_id, manager_id, is_active IS FALSE FROM salesops.sales_rep "
								"WHERE rep_id OPERATOR(pg_catalog.=) $1", 1, (SpiArg[]) {spi_text(calculation->only)});
	else
		rows = spi_execute(SPI_OK_SELECT,
						   "SELECT rep_id, manager_id, is_active IS FALSE FROM salesops.sales_rep WHERE rep_id IS NOT NULL", 0, NULL);
	for (uint64 i = 0; i < rows; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(calculation->context);
		Rep		   *rep = scope_rep(calculation, spi_get_text(i, 1));

		rep->manager = spi_get_text(i, 2);
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
