/*
 * credits_pg.c
 *		Loading what a calculation works on (credits_pg.h).
 *
 * Plans, assignments and the ledger's postings are read as the extension's owner; credits, reps and their managers through
 * the contract views as the caller, so that the caller's privileges and row-level security hold. Credits come in one
 * unordered pass into one array and are sorted here: a third of the time that the server's sort of text keys takes.
 * Memory: about 100 bytes a credit, all periods asked for together.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rls.h"

#include "commission/credits_pg.h"
#include "commission/decimal_pg.h"
#include "core/progress.h"
#include "core/relation.h"
#include "core/spi.h"

#define MAX_LISTED 50			/* problems listed before the rest are counted only */
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
credits_rep(Calculation *calculation, const char *id)
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

/* Order of rep ids: bytes, the same in every collation */
static int
compare_reps(const ListCell *a, const ListCell *b)
{
	return strcmp(((Rep *) lfirst(a))->id, ((Rep *) lfirst(b))->id);
}

/* All reps, in order */
List *
credits_all_reps(Calculation *calculation)
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

/* 64 bits of an id */
uint64
credits_hash(const char *id)
{
	return hash_bytes_extended((const unsigned char *) id, strlen(id), 0x5a1e50b5);
}

/* The first eight bytes of an id as a number of the same order: spares most comparisons a look at the id */
static uint64
id_prefix(const char *id)
{
	uint64		prefix = 0;

	for (int i = 0; i < 8; i++)
	{
		prefix = prefix << 8 | (unsigned char) *id;
		if (*id)
			id++;
	}
	return prefix;
}

/* ---- problems ----------------------------------------------------------------------------------------------------- */

/* One more problem; after the first so many they are only counted. */
static bool
may_list(Calculation *calculation)
{
	if (calculation->problems.count < MAX_LISTED)
		return true;
	calculation->problems.count++;
	return false;
}

/* Raise what has gathered. */
static void
raise_problems(Calculation *calculation)
{
	if (calculation->problems.count > MAX_LISTED)
		appendStringInfo(&calculation->problems.text, "\nand %d more", calculation->problems.count - MAX_LISTED);
	problems_raise(&calculation->problems, ERRCODE_INVALID_PARAMETER_VALUE,
				   "Nothing was written. Correct the credits, or leave them out by the plan's \"where\".",
				   "commissions cannot be calculated");
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

/* The reps asked for as an argument, NULL for all */
static SpiArg
only_argument(const Calculation *calculation)
{
	return spi_datum(TEXTARRAYOID, PointerGetDatum(calculation->only), calculation->only == NULL);
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
								   1, (SpiArg[]) {only_argument(calculation)});

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
credits_closed_until(const Calculation *calculation, DateADT date)
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
								   (SpiArg[]) {only_argument(calculation)});

	for (uint64 i = 0; i < rows; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(calculation->context);
		Assignment *assignment = palloc0(sizeof(Assignment));
		Rep		   *rep = credits_rep(calculation, spi_get_text(i, 1));

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
credits_version(Calculation *calculation, const char *plan, DateADT date)
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
credits_segment(const PlanVersion *version, DateADT date, DateADT *from, DateADT *to)
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
	account->closed = credits_closed_until(calculation, account->from) >= account->to;
	account->process = (account->from < calculation->to && account->to > calculation->from) ||
		(account->closed && !calculation->dry && account->from >= calculation->from - LOOK_BACK_DAYS && account->from < calculation->to);
}

/* Find or make an account */
CreditAccount *
credits_account(Calculation *calculation, Rep *rep, const char *plan, DateADT from, DateADT to,
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
	account->version = credits_version(calculation, plan, from);
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
								   (SpiArg[]) {only_argument(calculation),
											   spi_datum(DATEOID, DateADTGetDatum(calculation->read_from), false),
											   spi_datum(DATEOID, DateADTGetDatum(calculation->to), false)});

	for (uint64 i = 0; i < rows; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(calculation->context);
		PriorPosting *prior = palloc(sizeof(PriorPosting));
		CreditAccount *account;
		bool		isnull;

		account = credits_account(calculation, credits_rep(calculation, spi_get_text(i, 1)), spi_get_text(i, 2),
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
								   (SpiArg[]) {only_argument(calculation)});

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
					   (SpiArg[]) {only_argument(calculation)});
	for (uint64 i = 0; i < rows; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(calculation->context);
		Rep		   *rep = credits_rep(calculation, spi_get_text(i, 1));

		rep->manager = get_text(calculation, i, 2);
		rep->has_left = spi_get_bool(i, 3);
		MemoryContextSwitchTo(old);
	}
	spi_close(&scope);
}

/* ---- currencies --------------------------------------------------------------------------------------------------- */

typedef struct RateKey
{
	char		from[4];
	char		to[4];
	DateADT		date;
} RateKey;

typedef struct RateEntry
{
	RateKey		key;
	Numeric		rate;			/* NULL: none is known */
	char		status;
} RateEntry;

#define SH_PREFIX ratehash
#define SH_ELEMENT_TYPE RateEntry
#define SH_KEY_TYPE RateKey
#define SH_KEY key
#define SH_HASH_KEY(table, key) hash_bytes((const unsigned char *) &(key), sizeof(RateKey))
#define SH_EQUAL(table, a, b) (memcmp(&(a), &(b), sizeof(RateKey)) == 0)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* The rate of a date, or the newest before it; NULL where there is none. Kept for the calculation. */
static Numeric
exchange_rate(Calculation *calculation, const char *from, const char *to, DateADT date)
{
	RateKey		key;
	RateEntry  *entry;
	SpiScope	scope;
	bool		found;

	memset(&key, 0, sizeof(key));
	strlcpy(key.from, from, sizeof(key.from));
	strlcpy(key.to, to, sizeof(key.to));
	key.date = date;
	entry = ratehash_insert(calculation->rates, key, &found);
	if (found)
		return entry->rate;
	entry->rate = NULL;
	spi_open(&scope, SPI_AS_OWNER);
	if (spi_execute(SPI_OK_SELECT,
					"SELECT rate FROM salesops.exchange_rate WHERE from_currency = $1 AND to_currency = $2 AND valid_on <= $3 "
					"ORDER BY valid_on DESC LIMIT 1", 3,
					(SpiArg[]) {spi_text(from), spi_text(to), spi_datum(DATEOID, DateADTGetDatum(date), false)}) > 0)
	{
		MemoryContext old = MemoryContextSwitchTo(calculation->context);

		entry->rate = get_numeric(0, 1);
		MemoryContextSwitchTo(old);
	}
	spi_close(&scope);
	return entry->rate;
}

/* ---- credits (as the caller) -------------------------------------------------------------------------------------- */

/* Columns of the contract view commission_credit, from 0; the query adds one */
enum
{
	CREDIT_ID, CREDIT_REP, CREDIT_AMOUNT, CREDIT_DATE, CREDIT_OPPORTUNITY, CREDIT_CURRENCY, CREDIT_PRODUCT,
	CREDIT_DEAL_TYPE, CREDIT_SPLIT, CREDIT_ORIGIN_DATE
};

/* A text column as C string in the current context */
static char *
column_text(TupleTableSlot *slot, int column)
{
	return slot->tts_isnull[column] ? NULL : TextDatumGetCString(slot->tts_values[column]);
}

/* Deal types that may be negative: they take back a credit */
static bool
is_refund(TupleTableSlot *slot)
{
	static const char *const types[] = {"refund", "cancellation", "credit_note", "chargeback", "non_payment"};
	text	   *type;

	if (slot->tts_isnull[CREDIT_DEAL_TYPE])
		return false;
	type = DatumGetTextPP(slot->tts_values[CREDIT_DEAL_TYPE]);
	for (size_t i = 0; i < lengthof(types); i++)
		if (VARSIZE_ANY_EXHDR(type) == strlen(types[i]) && memcmp(VARDATA_ANY(type), types[i], strlen(types[i])) == 0)
			return true;
	return false;
}

/* Whether an expression over the credit is true; one that is not given is. */
static bool
filter_met(CompiledExpression *filter, TupleTableSlot *slot)
{
	bool		isnull;
	Datum		value;

	if (filter == NULL)
		return true;
	value = expression_evaluate(filter, slot, &isnull);
	return !isnull && DatumGetBool(value);
}

/* The assignment that holds on a date, or NULL */
static Assignment *
assignment_on(const Rep *rep, DateADT date)
{
	ListCell   *cell;

	foreach(cell, rep->assignments)
	{
		Assignment *assignment = lfirst(cell);

		if (assignment->from <= date && date < assignment->to)
			return assignment;
	}
	return NULL;
}

/* Currency of the account that a credit belongs to */
static const char *
account_currency(const PlanDefinition *plan, const char *currency)
{
	if (strcmp(plan->currency, "credit") != 0)
		return plan->currency;
	return currency ? currency : "USD";
}

/* Whether an account that is there already is the one of a credit: found without looking at the plan's versions */
static bool
holds_credit(const CreditAccount *account, const Assignment *assignment, DateADT date, TupleTableSlot *slot)
{
	return account->from <= date && date < account->to && account->purpose == PURPOSE_CREDIT &&
		account->version && account->version->from <= date && date < account->version->to && account->is_segment &&
		strcmp(account->plan, assignment->plan) == 0 &&
		(slot->tts_isnull[CREDIT_CURRENCY] || strcmp(account->version->definition->currency, "credit") != 0);
}

/* The account of a credit, or NULL where no plan holds */
static CreditAccount *
account_of(Calculation *calculation, Rep *rep, DateADT date, TupleTableSlot *slot)
{
	CreditAccount *last = rep->last;
	Assignment *assignment = assignment_on(rep, date);
	ListCell   *cell;
	PlanVersion *version;
	DateADT		from;
	DateADT		to;
	bool		own_currency;

	if (assignment == NULL)
		return NULL;
	if (last && holds_credit(last, assignment, date, slot))
		return last;
	foreach(cell, rep->accounts)
	{
		last = lfirst(cell);
		if (holds_credit(last, assignment, date, slot))
			return rep->last = last;
	}
	version = credits_version(calculation, assignment->plan, date);
	if (version == NULL)
		return NULL;
	credits_segment(version, date, &from, &to);
	own_currency = strcmp(version->definition->currency, "credit") == 0;
	rep->last = credits_account(calculation, rep, assignment->plan, from, to,
								account_currency(version->definition, own_currency ? column_text(slot, CREDIT_CURRENCY) : NULL),
								PURPOSE_CREDIT);
	rep->last->is_segment = true;
	return rep->last;
}

/* Append a credit to an account */
Credit *
credits_add(Calculation *calculation, CreditAccount *account)
{
	Credit	   *credit;

	if (calculation->ncredits == calculation->capacity)
	{
		calculation->capacity = Max(calculation->capacity * 2, 1024);
		calculation->credits = calculation->credits == NULL ?
			MemoryContextAllocHuge(calculation->context, sizeof(Credit) * calculation->capacity) :
			repalloc_huge(calculation->credits, sizeof(Credit) * calculation->capacity);
	}
	credit = &calculation->credits[calculation->ncredits++];
	memset(credit, 0, sizeof(Credit));
	credit->account = account;
	account->count++;
	return credit;
}

/* The date whose exchange rate holds */
static DateADT
rate_date(const CreditAccount *account, DateADT date)
{
	switch ((PlanRateDate) account->version->definition->rate_date)
	{
		case RATE_PERIOD_START:
			return account->from;
		case RATE_PERIOD_END:
			return account->to - 1;
		case RATE_CREDITED_ON:
			break;
	}
	return date;
}

/* The credited amount in the account's currency: share and factor applied, converted; false with a problem otherwise */
static bool
credited_amount(Calculation *calculation, Credit *credit, TupleTableSlot *slot, Numeric factor)
{
	Numeric		amount = DatumGetNumeric(slot->tts_values[CREDIT_AMOUNT]);
	char	   *currency = column_text(slot, CREDIT_CURRENCY);

	if (credit->account->version->definition->negative == NEGATIVE_ZERO && !credit->refund &&
		decimal_compare(amount, decimal_zero()) < 0)
		amount = decimal_zero();

	if (slot->tts_isnull[CREDIT_SPLIT] && factor == NULL && (currency == NULL || strcmp(currency, credit->account->currency) == 0) &&
		decimal_from_numeric(amount, COMMISSION_AMOUNT_DIGITS, &credit->amount))
		return true;
	if (!slot->tts_isnull[CREDIT_SPLIT])
		amount = decimal_mul(amount, DatumGetNumeric(slot->tts_values[CREDIT_SPLIT]));
	if (factor)
		amount = decimal_mul(amount, factor);
	if (currency && strcmp(currency, credit->account->currency) != 0)
	{
		DateADT		date = rate_date(credit->account, credit->date);
		Numeric		rate = exchange_rate(calculation, currency, credit->account->currency, date);

		if (rate == NULL)
		{
			if (may_list(calculation))
				problems_add(&calculation->problems, "credit \"%s\" of rep \"%s\": no exchange rate from %s to %s on or before %s",
							 credit->id, credit->account->rep->id, currency, credit->account->currency,
							 DatumGetCString(DirectFunctionCall1(date_out, DateADTGetDatum(date))));
			return false;
		}
		amount = decimal_mul(amount, rate);
	}
	if (!decimal_from_numeric(amount, COMMISSION_AMOUNT_DIGITS, &credit->amount))
	{
		MemoryContext old = MemoryContextSwitchTo(calculation->context);

		credit->exact = DatumGetNumericCopy(NumericGetDatum(amount));
		MemoryContextSwitchTo(old);
	}
	return true;
}

/* What is wrong with a credit's row, if anything */
static bool
check_credit(Calculation *calculation, TupleTableSlot *slot, Rep *rep, CreditAccount *account)
{
	const char *problem = NULL;
	Numeric		amount = slot->tts_isnull[CREDIT_AMOUNT] ? NULL : DatumGetNumeric(slot->tts_values[CREDIT_AMOUNT]);
	Numeric		split = slot->tts_isnull[CREDIT_SPLIT] ? NULL : DatumGetNumeric(slot->tts_values[CREDIT_SPLIT]);

	if (slot->tts_isnull[CREDIT_ID])
		problem = "it has no credit_id";
	else if (amount == NULL)
		problem = "its amount is not known (NULL)";
	else if (numeric_is_nan(amount) || numeric_is_inf(amount))
		problem = "its amount is not finite";
	else if (split && (numeric_is_nan(split) || numeric_is_inf(split) || decimal_compare(split, decimal_zero()) < 0))
		problem = "its split is not a share of 0 or more";
	else if (account->version->definition->negative == NEGATIVE_REJECT && !is_refund(slot) && decimal_compare(amount, decimal_zero()) < 0)
		problem = "its amount is negative, and its deal_type is not refund, cancellation, credit_note, chargeback or non_payment";
	if (problem == NULL)
		return true;
	if (may_list(calculation))
		problems_add(&calculation->problems, "credit \"%s\" of rep \"%s\": %s",
					 slot->tts_isnull[CREDIT_ID] ? "" : column_text(slot, CREDIT_ID), rep->id, problem);
	return false;
}

/* A rep who left, yet whose assignment goes on; or whose assignments have all ended before the credit */
static void
check_left(Calculation *calculation, TupleTableSlot *slot, Rep *rep, Assignment *assignment, DateADT date)
{
	bool		ended = assignment == NULL && rep->assignments != NIL &&
		((Assignment *) llast(rep->assignments))->to <= date;
	bool		left = assignment != NULL && rep->has_left && assignment->to == DATEVAL_NOEND;

	if ((!ended && !left) || date < calculation->from || date >= calculation->to || !may_list(calculation))
		return;
	problems_add(&calculation->problems, "credit \"%s\" of rep \"%s\", who %s", slot->tts_isnull[CREDIT_ID] ? "" : column_text(slot, CREDIT_ID),
				 rep->id, left ? "has left (is_active is false) while the assignment has no end" : "has no plan any more on its date");
}

/* The component that a credit belongs to */
static int
component_of(const PlanDefinition *plan, TupleTableSlot *slot)
{
	for (int i = 0; i < plan->ncomponents; i++)
		if (filter_met(plan->components[i].filter, slot))
			return i + 1;
	return 0;
}

/* A refund after its window: the commission is kept. */
static bool
past_clawback(const PlanDefinition *plan, TupleTableSlot *slot, DateADT date)
{
	if (plan->clawback_days < 0 || slot->tts_isnull[CREDIT_ORIGIN_DATE] || !is_refund(slot))
		return false;
	return date > DatumGetDateADT(slot->tts_values[CREDIT_ORIGIN_DATE]) + plan->clawback_days;
}

/* Bonuses of a credit: each is an account of its own, paid after all credits are read */
static void
add_bonuses(Calculation *calculation, TupleTableSlot *slot, const Credit *credit)
{
	CreditAccount *account = credit->account;
	const PlanDefinition *plan = account->version->definition;
	Credit		source = *credit;

	for (int i = 0; i < plan->nbonuses; i++)
	{
		const PlanBonus *bonus = &plan->bonuses[i];
		Credit	   *added;

		if (bonus->at || (bonus->from && source.date < *bonus->from) || (bonus->to && source.date >= *bonus->to) ||
			!filter_met(bonus->filter, slot))
			continue;
		added = credits_add(calculation, credits_account(calculation, account->rep, account->plan, account->from,
														 account->to, account->currency, PURPOSE_BONUS + i));
		source.account = added->account;
		source.component = 0;
		*added = source;
	}
}

/* One row of the contract view */
static void
receive_credit(TupleTableSlot *slot, void *arg)
{
	Calculation *calculation = arg;
	CreditAccount *account;
	Credit	   *credit;
	Rep		   *rep;
	RepEntry   *entry;
	DateADT		date;
	int			component;

	if (slot->tts_isnull[CREDIT_REP] || slot->tts_isnull[CREDIT_DATE])
		return;
	entry = rephash_lookup(calculation->reps, column_text(slot, CREDIT_REP));
	if (entry == NULL || entry->rep->assignments == NIL)
		return;
	rep = entry->rep;
	date = DatumGetDateADT(slot->tts_values[CREDIT_DATE]);
	account = account_of(calculation, rep, date, slot);
	if (account == NULL || rep->has_left)
		check_left(calculation, slot, rep, assignment_on(rep, date), date);
	if (account == NULL || date >= account->covered_to || !filter_met(account->version->definition->filter, slot))
		return;
	if (!check_credit(calculation, slot, rep, account) || past_clawback(account->version->definition, slot, date))
		return;
	component = component_of(account->version->definition, slot);
	credit = credits_add(calculation, account);
	credit->id = MemoryContextStrdup(calculation->context, TextDatumGetCString(slot->tts_values[CREDIT_ID]));
	credit->hash = credits_hash(credit->id);
	credit->prefix = id_prefix(credit->id);
	credit->date = date;
	credit->component = component;
	credit->refund = is_refund(slot);
	if (!credited_amount(calculation, credit, slot,
						 component > 0 ? account->version->definition->components[component - 1].factor : NULL))
		return;
	if (component > 0 && !account->version->definition->components[component - 1].own_tiers)
		credit->component = 0;
	if (account->version->definition->nbonuses > 0)
		add_bonuses(calculation, slot, credit);
}

typedef struct CreditStream
{
	Calculation *calculation;
	MemoryContext row;
	int64		count;
} CreditStream;

/* A row's own scratch memory, and now and then a look at interrupts */
static void
receive_row(TupleTableSlot *slot, void *arg)
{
	CreditStream *stream = arg;
	Calculation *calculation = stream->calculation;
	MemoryContext old = MemoryContextSwitchTo(stream->row);

	receive_credit(slot, calculation);
	MemoryContextSwitchTo(old);
	if ((++stream->count & 1023) == 0)
	{
		MemoryContextReset(stream->row);
		CHECK_FOR_INTERRUPTS();
		progress_update((double) stream->count, 0);
	}
}

/* Whether any plan has a clawback window: then a refund's original date is looked up */
static bool
needs_origin(const Calculation *calculation)
{
	ListCell   *cell;

	foreach(cell, calculation->versions)
		if (((PlanVersion *) lfirst(cell))->definition->clawback_days >= 0)
			return true;
	return false;
}

#define RANGE_CONDITION \
	"c.credited_on OPERATOR(pg_catalog.>=) $1 AND c.credited_on OPERATOR(pg_catalog.<) $2 " \
	"AND ($3 IS NULL OR c.rep_id OPERATOR(pg_catalog.=) ANY ($3))"

/* Read all credits in reach. */
static void
load_credits(Calculation *calculation)
{
	CreditStream stream = {calculation, NULL, 0};
	SpiArg		args[3];
	SpiScope	scope;

	stream.row = AllocSetContextCreate(calculation->context, "commission credit", ALLOCSET_DEFAULT_SIZES);
	args[0] = spi_datum(DATEOID, DateADTGetDatum(calculation->read_from), false);
	args[1] = spi_datum(DATEOID, DateADTGetDatum(calculation->read_to), false);
	args[2] = only_argument(calculation);
	spi_open(&scope, SPI_AS_CALLER);
	(void) spi_stream(needs_origin(calculation) ?
					  "SELECT c.*, CASE WHEN c.amount OPERATOR(pg_catalog.<) 0 THEN (SELECT pg_catalog.max(o.credited_on) "
					  "FROM salesops.commission_credit o WHERE o.opportunity_id OPERATOR(pg_catalog.=) c.opportunity_id "
					  "AND o.rep_id OPERATOR(pg_catalog.=) c.rep_id AND o.amount OPERATOR(pg_catalog.>) 0) END "
					  "FROM salesops.commission_credit c WHERE " RANGE_CONDITION :
					  "SELECT c.*, NULL::pg_catalog.date FROM salesops.commission_credit c WHERE " RANGE_CONDITION,
					  3, args, false, receive_row, &stream);
	spi_close(&scope);
	MemoryContextDelete(stream.row);
}

/* Splits of one deal that do not add up to the whole; overlays (deal_type overlay) are on top and need not */
static void
check_splits(Calculation *calculation)
{
	SpiScope	scope;
	uint64		rows;

	spi_open(&scope, SPI_AS_CALLER);
	rows = spi_execute(SPI_OK_SELECT,
					   "SELECT c.opportunity_id, pg_catalog.round(pg_catalog.sum(coalesce(c.split, 1)) OPERATOR(pg_catalog.*) 100, 2) "
					   "FROM salesops.commission_credit c WHERE c.credited_on OPERATOR(pg_catalog.>=) $1 "
					   "AND c.credited_on OPERATOR(pg_catalog.<) $2 AND c.opportunity_id IS NOT NULL "
					   "AND c.deal_type IS DISTINCT FROM 'overlay' GROUP BY c.opportunity_id, c.credited_on, c.product, c.deal_type "
					   "HAVING pg_catalog.count(c.split) OPERATOR(pg_catalog.>) 0 AND pg_catalog.abs(pg_catalog.sum(coalesce(c.split, 1)) "
					   "OPERATOR(pg_catalog.-) 1) OPERATOR(pg_catalog.>) 0.0001 ORDER BY 1, 2", 2,
					   (SpiArg[]) {spi_datum(DATEOID, DateADTGetDatum(calculation->from), false),
								   spi_datum(DATEOID, DateADTGetDatum(calculation->to), false)});
	for (uint64 i = 0; i < rows; i++)
		if (may_list(calculation))
			problems_add(&calculation->problems, "opportunity \"%s\": its splits add up to %s %%, not 100 %%",
						 spi_get_text(i, 1), spi_get_text(i, 2));
	spi_close(&scope);
}

/* ---- order -------------------------------------------------------------------------------------------------------- */

/* (credited_on, credit_id), then component for the rare id that is there twice */
static int
compare_credits(const void *a, const void *b)
{
	const Credit *x = a;
	const Credit *y = b;

	if (x->date != y->date)
		return x->date < y->date ? -1 : 1;
	if (x->prefix != y->prefix)
		return x->prefix < y->prefix ? -1 : 1;
	return strcmp(x->id, y->id);
}

/* One account's credits in order; only accounts in which something changed need it */
void
credits_order(Credit *credits, int64 count)
{
	qsort(credits, count, sizeof(Credit), compare_credits);
}

/* Credits of an account side by side: a counting sort */
void
credits_gather(Calculation *calculation)
{
	Credit	   *sorted = MemoryContextAllocHuge(calculation->context, sizeof(Credit) * Max(calculation->ncredits, 1));
	int64		start = 0;
	ListCell   *cell;

	foreach(cell, calculation->accounts)
	{
		CreditAccount *account = lfirst(cell);

		account->start = start;
		start += account->count;
		account->count = 0;
	}
	for (int64 i = 0; i < calculation->ncredits; i++)
	{
		CreditAccount *account = calculation->credits[i].account;

		sorted[account->start + account->count++] = calculation->credits[i];
	}
	if (calculation->credits)
		pfree(calculation->credits);
	calculation->credits = sorted;
	calculation->capacity = calculation->ncredits;
}

/* Credits hidden from the caller would look like credits taken back: all or nothing. */
static void
require_all_rows(void)
{
	Oid			relid = contract_relation("commission_credit");

	if (!OidIsValid(relid))
		relid = contract_relation("opportunity");
	if (OidIsValid(relid) && check_enable_rls(relid, InvalidOid, true) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("row-level security on %s hides credits from you", relation_sql_name(relid)),
				 errdetail("What is hidden would look like credits that were taken back."),
				 errhint("Calculate as a role that sees all rows.")));
}

/* No credit at all where the ledger holds some: the source was detached or dropped, not every deal of everyone cancelled. */
static void
require_some_credits(const Calculation *calculation)
{
	ListCell   *cell;

	if (calculation->ncredits > 0 || calculation->only != NULL)
		return;
	foreach(cell, calculation->accounts)
	{
		const CreditAccount *account = lfirst(cell);

		if (account->prior == NIL || !account->process || decimal_is_zero(account->prior_credited))
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("salesops.commission_credit shows no credit at all, while the ledger holds some"),
				 errdetail("The ledger holds a credited sum of %s for rep \"%s\", for example.",
						   decimal_text(account->prior_credited), account->rep->id),
				 errhint("Attach what the credits come from: salesops.attach('commission_credit', 'your_table').")));
	}
}

/* Load everything; see credits_pg.h. */
void
credits_load(Calculation *calculation)
{
	calculation->context = CurrentMemoryContext;
	calculation->reps = rephash_create(CurrentMemoryContext, 1024, NULL);
	calculation->rates = ratehash_create(CurrentMemoryContext, 16, NULL);
	problems_init(&calculation->problems);
	require_all_rows();
	load_own(calculation);
	load_reps(calculation);
	progress_phase("reading credits", 0);
	load_credits(calculation);
	if (calculation->only == NULL && contract_source_column("commission_credit", "split") != NULL)
		check_splits(calculation);
	raise_problems(calculation);
	require_some_credits(calculation);
}
