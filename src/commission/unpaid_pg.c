/*
 * unpaid_pg.c
 *		Clawback on non-payment: which credits were not paid within their plan's window, and what of them still counts.
 *
 * A plan says "non_payment": within how many days of its date a credit must be paid. What counts as paid are the payments of the
 * contract (credits of event payment, of the same opportunity and rep, or without a rep: of the whole deal; refunds settle what they
 * take back), the oldest credit first; or a date that the plan's expression finds in the credit's own row. An unpaid credit counts
 * for less, or for nothing, in the period that it was earned in; what follows from that (a clawback, paid with an open period) is
 * settled as for any changed credit (settle_pg.c).
 *
 * Whether a window has passed is a matter of the date: the end of what is calculated, or of what the ledger already paid of the account
 * where that is later, but never after today. So it only ever moves on, and calculating twice finds the same.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/memutils.h"

#include "commission/credits_pg.h"
#include "commission/decimal_pg.h"
#include "core/spi.h"

/* A payment, or a refund as what it settles */
typedef struct Payment
{
	DateADT		date;
	Numeric		amount;
	const char *currency;		/* NULL: the account's */
} Payment;

/* Payments of an opportunity and rep (or of the deal as a whole), and what older credits of it ask of them */
typedef struct UnpaidEntry
{
	const char *key;
	List	   *payments;		/* in order of dates */
	Numeric		earlier;		/* of a credit's key: what older credits of the deal come to; or NULL */
	uint32		hash;
	char		status;
} UnpaidEntry;

#define SH_PREFIX unpaidhash
#define SH_ELEMENT_TYPE UnpaidEntry
#define SH_KEY_TYPE const char *
#define SH_KEY key
#define SH_HASH_KEY(table, key) hash_bytes((const unsigned char *) (key), strlen(key))
#define SH_EQUAL(table, a, b) (strcmp(a, b) == 0)
#define SH_STORE_HASH
#define SH_GET_HASH(table, entry) (entry)->hash
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* Whether any plan in question claws back what is not paid, and looks for payments among the credits */
static bool
needs_payments(const Calculation *calculation)
{
	ListCell   *cell;

	foreach(cell, calculation->versions)
	{
		const PlanDefinition *plan = ((PlanVersion *) lfirst(cell))->definition;

		if (plan->unpaid_days >= 0 && plan->unpaid_paid_on == NULL)
			return true;
	}
	return false;
}

/* A key of two ids: the first one's length tells where it ends */
static char *
pair_key(char mark, const char *one, const char *other)
{
	return psprintf("%c%zu:%s%s", mark, strlen(one), one, other ? other : "");
}

/* Find or make an entry */
static UnpaidEntry *
entry_of(Calculation *calculation, const char *key)
{
	bool		found;
	UnpaidEntry *entry = unpaidhash_insert(calculation->unpaid, key, &found);

	if (!found)
	{
		entry->payments = NIL;
		entry->earlier = NULL;
	}
	return entry;
}

/* Payments and refunds, by deal and rep in order of their dates */
static void
read_payments(Calculation *calculation)
{
	uint64		rows = spi_execute(SPI_OK_SELECT,
								   "SELECT c.opportunity_id, c.rep_id, c.credited_on, CASE WHEN c.event OPERATOR(pg_catalog.=) 'payment' "
								   "THEN c.amount ELSE OPERATOR(pg_catalog.-) c.amount END, c.currency FROM salesops.commission_credit c "
								   "WHERE c.opportunity_id IS NOT NULL AND c.amount IS NOT NULL AND c.credited_on IS NOT NULL "
								   "AND (c.event OPERATOR(pg_catalog.=) 'payment' OR c.amount OPERATOR(pg_catalog.<) 0) "
								   "AND ($1 IS NULL OR c.rep_id IS NULL OR c.rep_id OPERATOR(pg_catalog.=) $1) ORDER BY 3", 1,
								   (SpiArg[]) {spi_text(calculation->only)});

	for (uint64 i = 0; i < rows; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(calculation->context);
		UnpaidEntry *entry = entry_of(calculation, pair_key('p', spi_get_text(i, 1), spi_get_text(i, 2)));
		Payment    *payment = palloc(sizeof(Payment));
		bool		isnull;

		payment->date = DatumGetDateADT(spi_get_datum(i, 3, &isnull));
		payment->amount = DatumGetNumericCopy(spi_get_datum(i, 4, &isnull));
		payment->currency = spi_get_text(i, 5);
		entry->payments = lappend(entry->payments, payment);
		MemoryContextSwitchTo(old);
	}
}

/* Credits that are not their deal's first: payments go to the older ones before. Overlays, and each kind of event, by themselves */
static void
read_earlier(Calculation *calculation)
{
	uint64		rows = spi_execute(SPI_OK_SELECT,
								   "SELECT q.credit_id, q.rep_id, q.earlier FROM (SELECT c.credit_id, c.rep_id, pg_catalog.sum(c.amount) OVER "
								   "(PARTITION BY c.opportunity_id, c.rep_id, c.event, c.deal_type IS NOT DISTINCT FROM 'overlay' "
								   "ORDER BY c.credited_on, c.credit_id COLLATE pg_catalog.\"C\" ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS earlier "
								   "FROM salesops.commission_credit c WHERE c.opportunity_id IS NOT NULL AND c.rep_id IS NOT NULL AND c.credit_id IS NOT NULL "
								   "AND c.event IS DISTINCT FROM 'payment' AND c.amount OPERATOR(pg_catalog.>) 0 "
								   "AND ($1 IS NULL OR c.rep_id OPERATOR(pg_catalog.=) $1)) q WHERE q.earlier IS NOT NULL", 1,
								   (SpiArg[]) {spi_text(calculation->only)});

	for (uint64 i = 0; i < rows; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(calculation->context);
		UnpaidEntry *entry = entry_of(calculation, pair_key('c', spi_get_text(i, 1), spi_get_text(i, 2)));
		bool		isnull;

		entry->earlier = DatumGetNumericCopy(spi_get_datum(i, 3, &isnull));
		MemoryContextSwitchTo(old);
	}
}

/* What was paid of the deals in reach, where a plan asks for it; see credits_pg.h. */
void
unpaid_load(Calculation *calculation)
{
	SpiScope	scope;

	if (!needs_payments(calculation))
		return;
	calculation->unpaid = unpaidhash_create(calculation->context, 1024, NULL);
	spi_open(&scope, SPI_AS_CALLER);
	read_payments(calculation);
	spi_close(&scope);
	spi_open(&scope, SPI_AS_CALLER);
	read_earlier(calculation);
	spi_close(&scope);
}

/* The first day that an account does not know of yet */
static DateADT
known_until(const Calculation *calculation, const CreditAccount *account)
{
	return Min(Max(calculation->to, account->prior_to), GetSQLCurrentDate() + 1);
}

/* Add a list's payments up to a day; false where one is in a currency that the credit is not in */
static bool
add_payments(const Calculation *calculation, const char *key, const UnpaidCredit *credit, DateADT until, Numeric *sum)
{
	UnpaidEntry *entry = unpaidhash_lookup(calculation->unpaid, key);
	const char *own = credit->account->currency;
	ListCell   *cell;

	if (entry == NULL)
		return true;
	foreach(cell, entry->payments)
	{
		const Payment *payment = lfirst(cell);

		if (payment->date > until)
			break;
		if (strcmp(payment->currency ? payment->currency : own, credit->currency ? credit->currency : own) != 0)
			return false;
		*sum = decimal_add(*sum, payment->amount);
	}
	return true;
}

/* What of a credit's amount is paid by a day, from 0 to all of it; NULL where that cannot be told */
static Numeric
paid_until(const Calculation *calculation, const UnpaidCredit *credit, DateADT until)
{
	UnpaidEntry *own = unpaidhash_lookup(calculation->unpaid, pair_key('c', credit->id, credit->account->rep->id));
	Numeric		sum = decimal_zero();

	if (credit->opportunity == NULL)
		return sum;
	if (!add_payments(calculation, pair_key('p', credit->opportunity, credit->account->rep->id), credit, until, &sum) ||
		!add_payments(calculation, pair_key('p', credit->opportunity, NULL), credit, until, &sum))
		return NULL;
	if (own && own->earlier)
		sum = decimal_sub(sum, own->earlier);
	if (decimal_is_negative(sum))
		return decimal_zero();
	return decimal_compare(sum, credit->amount) > 0 ? credit->amount : sum;
}

/* Whether a credit is unpaid after its window, and what of it counts; see credits_pg.h. */
bool
unpaid_check(const Calculation *calculation, const UnpaidCredit *credit, Numeric *counts, bool *unknown)
{
	const PlanDefinition *plan = credit->account->version->definition;
	DateADT		known = known_until(calculation, credit->account);
	DateADT		due = credit->date + plan->unpaid_days;
	DateADT		until = plan->unpaid_late == LATE_RESTORES ? known - 1 : due;
	Numeric		paid;

	*unknown = false;
	if (known <= due || decimal_compare(credit->amount, decimal_zero()) <= 0)
		return false;
	if (plan->unpaid_paid_on)
		paid = credit->has_paid_on && credit->paid_on <= until ? credit->amount : decimal_zero();
	else
		paid = paid_until(calculation, credit, until);
	if (paid == NULL)
	{
		*unknown = true;
		return false;
	}
	if (decimal_compare(paid, plan->unpaid_share ? decimal_mul(credit->amount, plan->unpaid_share) : credit->amount) >= 0)
		return false;
	if (plan->unpaid_takes == TAKES_ALL || decimal_is_zero(paid))
		*counts = decimal_zero();
	else if (plan->amount == NULL)
		*counts = paid;
	else
		*counts = decimal_round(decimal_div(decimal_mul(*counts, paid), credit->amount), COMMISSION_AMOUNT_DIGITS);
	return true;
}
