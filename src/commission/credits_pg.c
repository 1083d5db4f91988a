/*
 * credits_pg.c
 *		Reading the credits: through the contract view, as the caller, each checked and put to its account.
 *
 * The caller's privileges and row-level security hold; credits that the latter hides are an error. They come in one unordered
 * pass into one array and are sorted here: a third of the time that the server's sort of text keys takes.
 * Memory: about 100 bytes a credit of accounts that are new or changed. Of an account that the ledger holds, only the fingerprint
 * is taken at first ("light"); where it is another one, that rep's credits are read once more, under the same snapshot.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/rls.h"

#include "commission/credits_pg.h"
#include "commission/decimal_pg.h"
#include "commission/settle_pg.h"
#include "core/progress.h"
#include "core/relation.h"
#include "core/spi.h"

#define MAX_LISTED 50			/* problems listed before the rest are counted only */

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

/* ---- ids ---------------------------------------------------------------------------------------------------------- */

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

/* ---- fingerprints ------------------------------------------------------------------------------------------------- */

/* Mix a value into a hash */
uint64
credits_mix(uint64 hash, uint64 value)
{
	hash ^= value + UINT64CONST(0x9e3779b97f4a7c15) + (hash << 6) + (hash >> 2);
	return hash * UINT64CONST(0xff51afd7ed558ccd);
}

/* Mix a number in; unlike scales of the same amount are the same amount */
uint64
credits_mix_numeric(uint64 hash, Numeric value)
{
	return credits_mix(hash, value ? DatumGetUInt32(DirectFunctionCall1(hash_numeric, NumericGetDatum(value))) : 1);
}

/* What a credit comes to; see credits_pg.h. */
uint64
credits_print(const Credit *credit)
{
	uint64		print = credits_mix(credit->hash, (uint64) credit->amount);

	print = credits_mix(print, (uint64) (credit->amount >> 64));
	print = credits_mix(print, (uint64) credit->date << 16 | (uint16) credit->component);
	print = credits_mix(print, (uint64) credit->preset);
	return credit->exact ? credits_mix_numeric(print, credit->exact) : print;
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
	bool		isnull;

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

		entry->rate = DatumGetNumericCopy(spi_get_datum(0, 1, &isnull));
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
	CREDIT_DEAL_TYPE, CREDIT_SPLIT, CREDIT_SEGMENT, CREDIT_EVENT, CREDIT_ATTRIBUTES, CREDIT_ORIGIN_DATE
};

/* A text column as C string in the current context */
static char *
column_text(TupleTableSlot *slot, int column)
{
	return slot->tts_isnull[column] ? NULL : TextDatumGetCString(slot->tts_values[column]);
}

/* Index of a text column's value in a list, -1 where it is NULL or none of it */
static int
column_choice(TupleTableSlot *slot, int column, const char *const *choices)
{
	text	   *value;

	if (slot->tts_isnull[column])
		return -1;
	value = DatumGetTextPP(slot->tts_values[column]);
	for (int i = 0; choices[i]; i++)
		if (VARSIZE_ANY_EXHDR(value) == strlen(choices[i]) && memcmp(VARDATA_ANY(value), choices[i], strlen(choices[i])) == 0)
			return i;
	return -1;
}

/* Deal types that may be negative: they take back a credit */
static bool
is_refund(TupleTableSlot *slot)
{
	static const char *const types[] = {"refund", "cancellation", "credit_note", "chargeback", "non_payment", NULL};

	return column_choice(slot, CREDIT_DEAL_TYPE, types) >= 0;
}

/* Whether the credit's event is one that the plan pays on; a credit that does not say is what the source as a whole is. */
static bool
is_of_basis(Calculation *calculation, TupleTableSlot *slot, const Rep *rep, const PlanDefinition *plan)
{
	int			event;

	if (slot->tts_isnull[CREDIT_EVENT])
		return true;
	event = column_choice(slot, CREDIT_EVENT, plan_bases);
	if (event >= 0 && event != BASIS_ANY)
		return plan->basis == BASIS_ANY || plan->basis == event;
	if (may_list(calculation))
		problems_add(&calculation->problems, "credit \"%s\" of rep \"%s\": its event \"%s\" is none of booking, invoice, payment and milestone",
					 slot->tts_isnull[CREDIT_ID] ? "" : column_text(slot, CREDIT_ID), rep->id, column_text(slot, CREDIT_EVENT));
	return false;
}

/* What of the credit counts: its amount, or what the plan's expression makes of its row; NULL where it is not known */
static Numeric
source_amount(const PlanDefinition *plan, TupleTableSlot *slot)
{
	bool		isnull = slot->tts_isnull[CREDIT_AMOUNT];
	Datum		value = slot->tts_values[CREDIT_AMOUNT];

	if (plan->amount_expression)
		value = expression_evaluate(plan->amount_expression, slot, &isnull);
	return isnull ? NULL : DatumGetNumeric(value);
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

/* The segment of a rep that holds a date, or NULL where none was met yet */
static RepSegment *
find_segment(const Rep *rep, DateADT date)
{
	int			low = 0;
	int			high = rep->nsegments;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (rep->starts[middle] <= date)
			low = middle + 1;
		else
			high = middle;
	}
	return low > 0 && date < rep->segments[low - 1].to ? &rep->segments[low - 1] : NULL;
}

/* Keep a segment with its rep, in order */
static RepSegment *
keep_segment(Calculation *calculation, Rep *rep, DateADT from, const RepSegment *segment)
{
	int			at = rep->nsegments;

	if (rep->nsegments == rep->capacity)
	{
		MemoryContext old = MemoryContextSwitchTo(calculation->context);

		rep->capacity = Max(rep->capacity * 2, 16);
		rep->starts = rep->starts ? repalloc(rep->starts, sizeof(DateADT) * rep->capacity) :
			palloc(sizeof(DateADT) * rep->capacity);
		rep->segments = rep->segments ? repalloc(rep->segments, sizeof(RepSegment) * rep->capacity) :
			palloc(sizeof(RepSegment) * rep->capacity);
		MemoryContextSwitchTo(old);
	}
	for (; at > 0 && rep->starts[at - 1] > from; at--)
	{
		rep->starts[at] = rep->starts[at - 1];
		rep->segments[at] = rep->segments[at - 1];
	}
	rep->starts[at] = from;
	rep->segments[at] = *segment;
	rep->nsegments++;
	return &rep->segments[at];
}

/* The account of a credit as a segment, or NULL where no plan holds */
static RepSegment *
segment_of(Calculation *calculation, Rep *rep, DateADT date, TupleTableSlot *slot)
{
	RepSegment *segment = find_segment(rep, date);
	Assignment *assignment;
	PlanVersion *version;
	CreditAccount *account;
	DateADT		from;
	DateADT		to;
	bool		own_currency;

	if (segment)
		return segment;
	assignment = assignment_on(rep, date);
	version = assignment ? scope_version(calculation, assignment->plan, date) : NULL;
	if (version == NULL)
		return NULL;
	scope_segment(version, date, &from, &to);
	own_currency = strcmp(version->definition->currency, "credit") == 0;
	account = scope_account(calculation, rep, assignment->plan, from, to,
							account_currency(version->definition, own_currency ? column_text(slot, CREDIT_CURRENCY) : NULL),
							PURPOSE_CREDIT);
	segment = &calculation->one;
	memset(segment, 0, sizeof(RepSegment));
	segment->to = Min(Min(to, assignment->to), account->covered_to);
	segment->light = account->light;
	segment->reread = account->reread;
	segment->account = account;
	segment->definition = version->definition;
	segment->currency = account->currency;
	if (own_currency || date >= segment->to)
		return segment;
	return keep_segment(calculation, rep, Max(from, assignment->from), segment);
}

/* What was taken of light accounts is theirs; the next pass begins with new segments. */
static void
settle_segments(Calculation *calculation)
{
	ListCell   *cell;

	foreach(cell, scope_all_reps(calculation))
	{
		Rep		   *rep = lfirst(cell);

		for (int i = 0; i < rep->nsegments; i++)
		{
			rep->segments[i].account->light_print += rep->segments[i].print;
			rep->segments[i].account->seen += rep->segments[i].seen;
		}
		rep->nsegments = 0;
	}
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
	account->seen++;
	calculation->seen++;
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

/* The rate into the account's currency, or NULL with a problem */
static Numeric
credit_rate(Calculation *calculation, const Credit *credit, const char *currency)
{
	const CreditAccount *account = credit->account;
	DateADT		date = rate_date(account, credit->date);
	Numeric		rate = exchange_rate(calculation, currency, account->currency, date);

	if (rate == NULL && may_list(calculation))
		problems_add(&calculation->problems, "credit \"%s\" of rep \"%s\": no exchange rate from %s to %s on or before %s",
					 credit->id, account->rep->id, currency, account->currency,
					 DatumGetCString(DirectFunctionCall1(date_out, DateADTGetDatum(date))));
	return rate;
}

/* Remember how the credited amount comes about: the line carries it for its explanation. */
static void
keep_source(Calculation *calculation, Credit *credit, Numeric amount, Numeric split, Numeric factor, Numeric rate,
			const char *currency)
{
	MemoryContext old;

	if (split == NULL && factor == NULL && rate == NULL)
		return;
	old = MemoryContextSwitchTo(calculation->context);
	credit->source = palloc0(sizeof(CreditSource));
	credit->source->amount = DatumGetNumericCopy(NumericGetDatum(amount));
	credit->source->split = split ? DatumGetNumericCopy(NumericGetDatum(split)) : NULL;
	credit->source->factor = factor;
	credit->source->rate = rate;
	credit->source->currency = rate ? pstrdup(currency) : NULL;
	MemoryContextSwitchTo(old);
}

/* The credited amount in the account's currency: share and factor applied, converted; false with a problem otherwise */
static bool
credited_amount(Calculation *calculation, const RepSegment *segment, Credit *credit, TupleTableSlot *slot, Numeric amount,
				Numeric factor)
{
	char	   *currency = column_text(slot, CREDIT_CURRENCY);
	Numeric		split = NULL;
	Numeric		rate = NULL;

	if (segment->definition->negative == NEGATIVE_ZERO && !credit->refund && decimal_is_negative(amount))
		amount = decimal_zero();

	if (slot->tts_isnull[CREDIT_SPLIT] && factor == NULL && (currency == NULL || strcmp(currency, segment->currency) == 0) &&
		decimal_from_numeric(amount, COMMISSION_AMOUNT_DIGITS, &credit->amount))
		return true;
	if (!slot->tts_isnull[CREDIT_SPLIT])
		split = DatumGetNumeric(slot->tts_values[CREDIT_SPLIT]);
	if (currency && strcmp(currency, segment->currency) != 0)
	{
		rate = credit_rate(calculation, credit, currency);
		if (rate == NULL)
			return false;
	}
	if (!segment->light)
		keep_source(calculation, credit, amount, split, factor, rate, currency);
	if (split)
		amount = decimal_mul(amount, split);
	if (factor)
		amount = decimal_mul(amount, factor);
	if (rate)
		amount = decimal_mul(amount, rate);
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
check_credit(Calculation *calculation, TupleTableSlot *slot, Rep *rep, const PlanDefinition *plan, Numeric amount)
{
	const char *problem = NULL;
	Numeric		split = slot->tts_isnull[CREDIT_SPLIT] ? NULL : DatumGetNumeric(slot->tts_values[CREDIT_SPLIT]);

	if (slot->tts_isnull[CREDIT_ID])
		problem = "it has no credit_id";
	else if (amount == NULL)
		problem = plan->amount ? "its amount by the plan's expression is not known (NULL)" : "its amount is not known (NULL)";
	else if (numeric_is_nan(amount) || numeric_is_inf(amount))
		problem = "its amount is not finite";
	else if (split && (numeric_is_nan(split) || numeric_is_inf(split) || decimal_is_negative(split)))
		problem = "its split is not a share of 0 or more";
	else if (plan->negative == NEGATIVE_REJECT && decimal_is_negative(amount) && !is_refund(slot))
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

		/* a shared budget is for the calculation of all */
		if (PLAN_BONUS_OF_PERIOD(bonus) || (calculation->only && bonus->budget))
			continue;
		if ((bonus->from && source.date < *bonus->from) || (bonus->to && source.date >= *bonus->to) ||
			!filter_met(bonus->filter, slot))
			continue;
		added = credits_add(calculation, scope_account(calculation, account->rep, account->plan, account->from,
														 account->to, account->currency, PURPOSE_BONUS + i));
		source.account = added->account;
		source.component = 0;
		*added = source;
	}
}

/* A credit that was not paid within its plan's window counts for less; false with a problem where that cannot be told */
static bool
hold_unpaid(Calculation *calculation, const RepSegment *segment, TupleTableSlot *slot, Credit *credit, Numeric *amount)
{
	const PlanDefinition *plan = segment->definition;
	UnpaidCredit unpaid = {.account = segment->account, .id = credit->id, .date = credit->date};
	bool		unknown;
	bool		isnull = true;

	if (plan->unpaid_days < 0 || slot->tts_isnull[CREDIT_AMOUNT] || column_choice(slot, CREDIT_EVENT, plan_bases) == BASIS_PAYMENT)
		return true;
	unpaid.amount = DatumGetNumeric(slot->tts_values[CREDIT_AMOUNT]);
	unpaid.opportunity = column_text(slot, CREDIT_OPPORTUNITY);
	unpaid.currency = column_text(slot, CREDIT_CURRENCY);
	if (plan->paid_on_expression)
		unpaid.paid_on = DatumGetDateADT(expression_evaluate(plan->paid_on_expression, slot, &isnull));
	unpaid.has_paid_on = !isnull;
	credit->unpaid = unpaid_check(calculation, &unpaid, amount, &unknown);
	if (unknown && may_list(calculation))
		problems_add(&calculation->problems, "credit \"%s\" of rep \"%s\": a payment of opportunity \"%s\" is in another currency than the credit, "
					 "so whether it is paid cannot be told", credit->id, segment->account->rep->id, unpaid.opportunity);
	return !unknown;
}

/* The credit to its account; of a light one, its fingerprint only */
static void
put_credit(Calculation *calculation, RepSegment *segment, TupleTableSlot *slot, const Credit *source)
{
	Credit	   *credit;

	if (segment->light)
	{
		segment->print += credits_print(source);
		segment->seen++;
		calculation->seen++;
		/* one that is not kept with its rep is settled at once */
		if (segment == &calculation->one)
		{
			segment->account->light_print += segment->print;
			segment->account->seen++;
		}
		return;
	}
	credit = credits_add(calculation, segment->account);
	*credit = *source;
	credit->id = MemoryContextStrdup(calculation->context, source->id);
	if (segment->definition->nbonuses > 0)
		add_bonuses(calculation, slot, credit);
}

/* Where one rep is calculated: which opportunities the rep shares, so that their splits can be added up */
static void
note_shared(Calculation *calculation, TupleTableSlot *slot, DateADT date)
{
	MemoryContext old;
	char	   *opportunity;

	if (calculation->only == NULL || slot->tts_isnull[CREDIT_SPLIT] || slot->tts_isnull[CREDIT_OPPORTUNITY] ||
		date < calculation->from || date >= calculation->to)
		return;
	opportunity = column_text(slot, CREDIT_OPPORTUNITY);
	if (calculation->shared != NIL && strcmp(llast(calculation->shared), opportunity) == 0)
		return;
	old = MemoryContextSwitchTo(calculation->context);
	calculation->shared = lappend(calculation->shared, pstrdup(opportunity));
	MemoryContextSwitchTo(old);
}

/* One row of the contract view */
static void
receive_credit(TupleTableSlot *slot, void *arg)
{
	Calculation *calculation = arg;
	const PlanDefinition *plan;
	RepSegment *segment;
	Credit		credit = {0};
	Numeric		amount;
	Rep		   *rep;
	int			component;

	if (slot->tts_isnull[CREDIT_DATE])
		return;
	credit.date = DatumGetDateADT(slot->tts_values[CREDIT_DATE]);
	if (credit.date >= calculation->counted_from && credit.date < calculation->to && !calculation->rereading)
		calculation->looked_at_count++;
	if (slot->tts_isnull[CREDIT_REP])
		return;
	rep = scope_find_rep(calculation, column_text(slot, CREDIT_REP));
	if (rep == NULL || rep->assignments == NIL)
		return;
	segment = segment_of(calculation, rep, credit.date, slot);
	if (calculation->rereading && (segment == NULL || !segment->reread))
		return;
	if (segment == NULL || rep->has_left)
		check_left(calculation, slot, rep, assignment_on(rep, credit.date), credit.date);
	if (segment == NULL || credit.date >= segment->to)
		return;
	plan = segment->definition;
	if (!is_of_basis(calculation, slot, rep, plan) || !filter_met(plan->filter, slot))
		return;
	amount = source_amount(plan, slot);
	if (!check_credit(calculation, slot, rep, plan, amount) || past_clawback(plan, slot, credit.date))
		return;
	note_shared(calculation, slot, credit.date);
	component = component_of(plan, slot);
	credit.account = segment->account;
	credit.id = column_text(slot, CREDIT_ID);
	credit.hash = credits_hash(credit.id);
	credit.prefix = id_prefix(credit.id);
	credit.refund = is_refund(slot);
	if (!hold_unpaid(calculation, segment, slot, &credit, &amount))
		return;
	if (!credited_amount(calculation, segment, &credit, slot, amount, component > 0 ? plan->components[component - 1].factor : NULL))
		return;
	credit.component = component > 0 && plan->components[component - 1].own_tiers ? component : 0;
	put_credit(calculation, segment, slot, &credit);
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

#define CREDIT_COLUMNS "SELECT c.*, NULL::pg_catalog.date FROM salesops.commission_credit c WHERE "
#define CREDIT_COLUMNS_ORIGIN \
	"SELECT c.*, CASE WHEN c.amount OPERATOR(pg_catalog.<) 0 THEN (SELECT pg_catalog.max(o.credited_on) " \
	"FROM salesops.commission_credit o WHERE o.opportunity_id OPERATOR(pg_catalog.=) c.opportunity_id " \
	"AND o.rep_id OPERATOR(pg_catalog.=) c.rep_id AND o.amount OPERATOR(pg_catalog.>) 0 " \
	"AND (o.event IS NULL OR c.event IS NULL OR o.event OPERATOR(pg_catalog.=) c.event)) END " \
	"FROM salesops.commission_credit c WHERE "
#define DATE_CONDITION "c.credited_on OPERATOR(pg_catalog.>=) $1 AND c.credited_on OPERATOR(pg_catalog.<) $2"
#define REP_CONDITION DATE_CONDITION " AND c.rep_id OPERATOR(pg_catalog.=) $3"
#define REPS_CONDITION DATE_CONDITION " AND c.rep_id OPERATOR(pg_catalog.=) ANY ($3)"

/* Read credits in reach: of all reps, of the one asked for, or of some; what is needed of others' credits is read as well */
static void
read_credits(Calculation *calculation, const SpiArg *some)
{
	CreditStream stream = {calculation, NULL, 0};
	bool		origin = needs_origin(calculation);
	SpiArg		args[3];
	SpiScope	scope;

	stream.row = AllocSetContextCreate(calculation->context, "commission credit", ALLOCSET_DEFAULT_SIZES);
	args[0] = spi_datum(DATEOID, DateADTGetDatum(calculation->read_from), false);
	args[1] = spi_datum(DATEOID, DateADTGetDatum(calculation->read_to), false);
	spi_open(&scope, SPI_AS_CALLER);
	if (calculation->only)
	{
		/* SQL of its own for one rep: its plan is kept, and finds an index on rep_id without knowing the rep */
		args[2] = spi_text(calculation->only);
		(void) spi_stream_kept(origin ? CREDIT_COLUMNS_ORIGIN REP_CONDITION : CREDIT_COLUMNS REP_CONDITION,
							   3, args, true, receive_row, &stream);
	}
	else if (some)
	{
		args[2] = *some;
		(void) spi_stream(origin ? CREDIT_COLUMNS_ORIGIN REPS_CONDITION : CREDIT_COLUMNS REPS_CONDITION,
						  3, args, true, receive_row, &stream);
	}
	else
		(void) spi_stream(origin ? CREDIT_COLUMNS_ORIGIN DATE_CONDITION : CREDIT_COLUMNS DATE_CONDITION,
						  2, args, true, receive_row, &stream);
	spi_close(&scope);
	MemoryContextDelete(stream.row);
}

/* The light accounts in which something changed: their credits are to be read again. The reps, each once. */
static List *
changed_accounts(Calculation *calculation)
{
	MemoryContext work = AllocSetContextCreate(calculation->context, "commission terms", ALLOCSET_DEFAULT_SIZES);
	List	   *reps = NIL;
	ListCell   *cell;

	foreach(cell, calculation->accounts)
	{
		CreditAccount *account = lfirst(cell);
		MemoryContext old;
		bool		same;

		if (!account->light)
			continue;
		old = MemoryContextSwitchTo(work);
		same = settle_is_unchanged(calculation, account);
		MemoryContextSwitchTo(old);
		MemoryContextReset(work);
		if (same)
		{
			account->process = false;
			continue;
		}
		account->light = false;
		account->reread = true;
		account->seen = 0;
		if (!account->rep->listed)
			reps = lappend(reps, account->rep);
		account->rep->listed = true;
	}
	MemoryContextDelete(work);
	return reps;
}

/* Read all credits in reach; those of accounts that the ledger holds as they are leave nothing behind. */
static void
load_credits(Calculation *calculation)
{
	List	   *changed;
	ListCell   *cell;
	SpiArray	ids = {TEXTOID};
	SpiArg		some;

	read_credits(calculation, NULL);
	/* what is wrong is raised when all of it is known */
	if (calculation->problems.count > 0)
		return;
	settle_segments(calculation);
	changed = changed_accounts(calculation);
	if (changed == NIL)
		return;
	calculation->rereading = true;
	if (list_length(changed) <= scope_rep_count(calculation) / 8)
	{
		foreach(cell, changed)
			spi_array_add_text(&ids, ((Rep *) lfirst(cell))->id);
		some = spi_array(&ids);
		read_credits(calculation, &some);
	}
	else
		read_credits(calculation, NULL);
	calculation->rereading = false;
}

/* Opportunities whose splits are to be looked at, as an argument: NULL for all */
static SpiArg
shared_argument(const Calculation *calculation)
{
	return calculation->only ? spi_text_list(calculation->shared) : spi_datum(TEXTARRAYOID, (Datum) 0, true);
}

/* Splits of one deal that do not add up to the whole; overlays (deal_type overlay) are on top and need not */
static void
check_splits(Calculation *calculation)
{
	SpiArg		shared = shared_argument(calculation);
	SpiScope	scope;
	uint64		rows;

	spi_open(&scope, SPI_AS_CALLER);
	rows = spi_execute(SPI_OK_SELECT,
					   "SELECT c.opportunity_id, pg_catalog.round(pg_catalog.sum(coalesce(c.split, 1)) OPERATOR(pg_catalog.*) 100, 2) "
					   "FROM salesops.commission_credit c WHERE c.credited_on OPERATOR(pg_catalog.>=) $1 "
					   "AND c.credited_on OPERATOR(pg_catalog.<) $2 AND c.opportunity_id IS NOT NULL "
					   "AND ($3 IS NULL OR c.opportunity_id OPERATOR(pg_catalog.=) ANY ($3)) "
					   "AND c.deal_type IS DISTINCT FROM 'overlay' GROUP BY c.opportunity_id, c.credited_on, c.product, c.deal_type, c.event "
					   "HAVING pg_catalog.count(c.split) OPERATOR(pg_catalog.>) 0 AND pg_catalog.abs(pg_catalog.sum(coalesce(c.split, 1)) "
					   "OPERATOR(pg_catalog.-) 1) OPERATOR(pg_catalog.>) 0.0001 ORDER BY 1, 2", 3,
					   (SpiArg[]) {spi_datum(DATEOID, DateADTGetDatum(calculation->from), false),
								   spi_datum(DATEOID, DateADTGetDatum(calculation->to), false), shared});
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

	if (calculation->seen > 0 || calculation->only != NULL)
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
	Assert(calculation->context == CurrentMemoryContext);
	calculation->rates = ratehash_create(CurrentMemoryContext, 16, NULL);
	problems_init(&calculation->problems);
	require_all_rows();
	scope_load(calculation);
	progress_phase("reading credits", 0);
	unpaid_load(calculation);
	load_credits(calculation);
	if (calculation->only ? calculation->shared != NIL : contract_source_column("commission_credit", "split") != NULL)
		check_splits(calculation);
	raise_problems(calculation);
	require_some_credits(calculation);
}
