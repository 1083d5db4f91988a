/*
 * ledger_pg.h
 *		The append-only ledger: postings and their lines, written in bulk and chained by SHA-256.
 *
 * A posting is what one calculation adds to one account (rep, plan, period that it is for); its lines say why. Numbers of
 * postings and lines are without gaps, because one transaction at a time may write (ledger_lock).
 */
#ifndef SALESOPS_COMMISSION_LEDGER_PG_H
#define SALESOPS_COMMISSION_LEDGER_PG_H

#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/date.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

/* Columns of salesops.commission_entry, from 0 */
enum
{
	ENTRY_LINE_ID, ENTRY_POSTING_ID, ENTRY_KIND, ENTRY_COMPONENT, ENTRY_CREDITED_ON, ENTRY_CORRECTS, ENTRY_CREDIT_ID,
	ENTRY_AMOUNT, ENTRY_BEFORE, ENTRY_AFTER, ENTRY_TOTAL_BEFORE, ENTRY_SOURCE_AMOUNT, ENTRY_SPLIT, ENTRY_FACTOR, ENTRY_RATE,
	ENTRY_SOURCE_CURRENCY, ENTRY_HASH, ENTRY_COLUMNS
};

/* Columns of salesops.commission_posting, from 0 */
enum
{
	POSTING_ID, POSTING_REP, POSTING_PLAN, POSTING_VERSION, POSTING_PERIOD, POSTING_FOR, POSTING_CURRENCY,
	POSTING_PURPOSE, POSTING_QUOTA, POSTING_SHARE, POSTING_GATE, POSTING_CREDITED, POSTING_EARNED, POSTING_DRAWN,
	POSTING_FIRST_LINE, POSTING_LINES, POSTING_FINGERPRINT, POSTING_CREATED_AT, POSTING_CREATED_BY, POSTING_HEAD,
	POSTING_HASH, POSTING_COLUMNS
};

/* Kinds of lines as they are stored */
#define LINE_EARNED		'e'
#define LINE_TRUE_UP	't'
#define LINE_CLAWBACK	'c'
#define LINE_DRAW		'd'
#define LINE_BONUS		'b'
#define LINE_OVERRIDE	'o'
#define LINE_UNPAID		'n'		/* shown as a clawback: not paid within the plan's window */
#define LINE_REPAID		'p'		/* shown as a true-up: paid after all */

/* What an account collects */
#define PURPOSE_CREDIT		0
#define PURPOSE_OVERRIDE	1
#define PURPOSE_BONUS		2	/* and on: one a bonus of the plan */

/* How a credited amount came from the credit's own: amount * split * factor * rate; parts that were not applied are NULL */
typedef struct CreditSource
{
	Numeric		amount;
	Numeric		split;
	Numeric		factor;			/* of the plan's component */
	Numeric		rate;			/* of exchange */
	const char *currency;		/* the credit's own where it was converted */
} CreditSource;

typedef struct LedgerLine
{
	const char *credit_id;		/* NULL: a line about the account as a whole */
	bool		has_date;
	DateADT		credited_on;
	char		kind;
	int			component;		/* 0: the plan's tiers; n: rates[n - 1]; -1: none */
	Numeric		amount;
	Numeric		before;			/* of the component's running amount, in the plan's currency */
	Numeric		after;
	Numeric		total_before;	/* commission before, unrounded and uncapped; NULL where it is F(before) */
	int64		corrects;		/* line that this one corrects, or 0 */
	const CreditSource *source; /* NULL: credited as it is */
} LedgerLine;

typedef struct LedgerPosting
{
	const char *rep_id;
	const char *plan;
	int			plan_version;
	DateADT		period_from;	/* the period it is paid with */
	DateADT		period_to;
	DateADT		for_from;		/* the period it is earned in */
	DateADT		for_to;
	const char *currency;
	int			purpose;
	Numeric		quota;			/* NULL where there is none */
	Numeric		share;			/* of the period that the plan was held, 1 when all of it */
	Numeric		gate;	/* amount at which the year's gate opens, from the period's start; or NULL */
	Numeric		credited;
	Numeric		earned;			/* of all lines but draws */
	Numeric		drawn;
	int64		fingerprint;	/* of what the account was calculated from */
	int			nlines;
	LedgerLine *lines;
} LedgerPosting;

typedef struct LedgerWriter LedgerWriter;

/* One writer at a time, until the transaction ends. Readers are not held up. */
extern void ledger_lock(void);

/* Name of the role that called, for the record */
extern const char *ledger_caller(void);

/* Bounds of a daterange as the ledger's tables store it */
extern void ledger_period(Datum value, DateADT *from, DateADT *to);

/* Begin to write (the caller holds ledger_lock), append, end. ledger_append returns the posting's first line number. */
extern LedgerWriter *ledger_open(void);
extern int64 ledger_append(LedgerWriter *writer, const LedgerPosting *posting);
extern int64 ledger_next_line(const LedgerWriter *writer);
extern void ledger_close(LedgerWriter *writer);

#endif							/* SALESOPS_COMMISSION_LEDGER_PG_H */
