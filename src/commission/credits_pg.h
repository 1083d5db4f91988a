/*
 * credits_pg.h
 *		What a calculation works on: plans, assignments, closed periods, what the ledger holds, and the credits themselves.
 */
#ifndef SALESOPS_COMMISSION_CREDITS_PG_H
#define SALESOPS_COMMISSION_CREDITS_PG_H

#include "postgres.h"

#include "nodes/pg_list.h"

#include "commission/ledger_pg.h"
#include "commission/plan_pg.h"
#include "core/errors.h"
#include "core/own.h"

#define LOOK_BACK_DAYS 366		/* closed periods that are looked at again for later changes; more where a plan waits longer for payment */

typedef struct PlanVersion
{
	const char *plan;
	int			version;
	DateADT		from;			/* holds in [from, to) */
	DateADT		to;
	PlanDefinition *definition;
} PlanVersion;

typedef struct Assignment
{
	const char *plan;
	DateADT		from;
	DateADT		to;
	Numeric		quota;
} Assignment;

typedef struct CreditAccount CreditAccount;

/*
 * Days of a rep under one assignment, version and account: what a credit is looked up by. A million credits come in no order, and
 * each look at another place in memory costs more than all that is computed; so what a credit needs is copied here.
 */
typedef struct RepSegment
{
	DateADT		to;				/* it begins at Rep.starts[i] */
	bool		light;			/* see CreditAccount */
	bool		reread;
	CreditAccount *account;
	const PlanDefinition *definition;
	const char *currency;
	uint64		print;			/* of a light account's credits, until they are all read */
	int64		seen;
} RepSegment;

typedef struct Rep
{
	int			nsegments;
	int			capacity;
	DateADT    *starts;			/* in order */
	RepSegment *segments;
	List	   *assignments;
	char	   *id;
	bool		has_left;
	bool		listed;			/* among those whose credits are read again */
	char	   *manager;
	List	   *accounts;
	List	   *drawn;			/* DrawnBefore */
} Rep;

/* A posting that the ledger already holds for an account */
typedef struct PriorPosting
{
	int64		posting_id;
	int64		first_line;
	int			nlines;
} PriorPosting;

/* One rep, plan, period earned in, currency and purpose */
struct CreditAccount
{
	Rep		   *rep;
	const char *plan;
	PlanVersion *version;		/* NULL where the plan had none then */
	DateADT		from;
	DateADT		to;
	const char *currency;
	int			purpose;
	List	   *prior;			/* PriorPosting, in order */
	int64		newest_prior;	/* posting_id of the last */
	int64		prior_fingerprint;	/* and its fingerprint */
	DateADT		prior_to;		/* latest end of a period that one was paid with */
	Numeric		prior_earned;
	Numeric		prior_credited;
	DateADT		covered_to;		/* credits before this date are in the ledger */
	bool		process;		/* false: read only because a later period's gate needs it */
	bool		closed;			/* all of it */
	bool		light;			/* its credits are not kept, only their fingerprint: most likely nothing changed */
	bool		reread;			/* it was light, and something did: its credits are read once more, and kept */
	uint64		light_print;
	CommissionInt bonus_paid;	/* by the credits met so far */
	CommissionInt *contest;		/* per bonus of the plan: what ranks and pools pay, in minor units; NULL where none are worked out */
	int64		seen;			/* credits, kept or not */
	int64		count;			/* credits kept */
	int64		start;			/* of them in Calculation.credits, once gathered */
};

typedef struct Credit
{
	char	   *id;
	CommissionInt amount;		/* credited, in the plan's currency, 10^-9 */
	Numeric		exact;			/* the same where it does not fit; NULL otherwise */
	int64		preset;			/* bonuses: minor units to pay */
	CreditAccount *account;
	uint64		hash;
	uint64		prefix;			/* of the id, for sorting */
	DateADT		date;
	int16		component;
	bool		refund;
	bool		unpaid;			/* not paid within the plan's window: it counts for less, or for 0 */
	CreditSource *source;		/* NULL: credited as it is */
} Credit;

typedef struct Calculation
{
	DateADT		from;			/* the period asked for */
	DateADT		to;
	DateADT		read_from;
	DateADT		read_to;
	const char *only;			/* a rep's id, or NULL for all */
	const char *simulated_plan; /* its definition is 'simulated' */
	PlanDefinition *simulated;
	bool		dry;			/* nothing is compared with the ledger or written */
	List	   *versions;		/* PlanVersion, by plan and date */
	struct rephash_hash *reps;
	List	   *accounts;
	int			nclosed;
	DateADT    *closed_from;	/* in order, adjacent ones joined */
	DateADT    *closed_to;
	List	   *plans;			/* their names, each once */
	RepSegment	one;			/* of the credit being read, where it depends on more than its date */
	List	   *shared;			/* opportunities of which the one rep asked for has a split */
	bool		rereading;		/* the second pass, over accounts that are 'reread' */
	int64		seen;			/* credits, kept or not */
	Credit	   *credits;
	int64		ncredits;
	int64		capacity;
	bool		has_override;
	bool		has_gate;
	bool		mutable;		/* an expression of a plan depends on more than the credit */
	bool		closed_unchanged;	/* credits of closed periods are as the last calculation left them (unchanged_pg.c) */
	DateADT		looked_at_from; /* from when on, up to the end, credits are looked at or known to be unchanged */
	int64		looked_at_count;	/* how many; -1: not counted */
	DateADT		counted_from;	/* those from here on are added as they are read */
	int64		terms_hash;
	bool		closed_written; /* a closed period's account was corrected */
	struct ratehash_hash *rates;
	struct unpaidhash_hash *unpaid;	/* payments of deals, where a plan asks for them (unpaid_pg.c) */
	Problems	problems;
	MemoryContext context;		/* of all of the above */
} Calculation;

/* What a rep was advanced in a period (negative: recovered) */
typedef struct DrawnBefore
{
	const char *plan;
	const char *currency;
	DateADT		from;
	Numeric		amount;
} DrawnBefore;

/* Load everything; raises an error that lists all that is wrong with the credits. In the current memory context. */
extern void credits_load(Calculation *calculation);

/* The part of it that is salesops's own, and the reps (scope_pg.c) */
extern void scope_load(Calculation *calculation);
extern Rep *scope_find_rep(Calculation *calculation, const char *id);
/* Postings of the rep asked for, or all, in no order */
extern void scope_scan_postings(const Calculation *calculation, OwnRow callback, void *arg);

/* A credit as its payment is looked for */
typedef struct UnpaidCredit
{
	const CreditAccount *account;
	const char *id;
	const char *opportunity;
	const char *currency;		/* NULL: the account's */
	DateADT		date;
	Numeric		amount;			/* in the credit's own row */
	bool		has_paid_on;
	DateADT		paid_on;		/* by the plan's expression */
} UnpaidCredit;

/*
 * Payments of the deals (unpaid_pg.c); whether a credit is unpaid after its plan's window, and then what of 'counts' still does.
 * unknown: that cannot be told, a payment is in another currency.
 */
extern void unpaid_load(Calculation *calculation);
extern bool unpaid_check(const Calculation *calculation, const UnpaidCredit *credit, Numeric *counts, bool *unknown);

/* What ranks and pools of the plan's reps pay to each account (contest_pg.c); the credits are gathered */
extern void contest_settle(Calculation *calculation);

/* Days before what is asked for in which closed periods are looked at again */
extern int	scope_look_back(const Calculation *calculation);

/* Whether closed periods can be left alone: sets closed_unchanged; and note what was looked at, once all of it is written */
extern void unchanged_decide(Calculation *calculation);
extern void unchanged_note(const Calculation *calculation);

/* Find or make a rep; an account of a rep */
extern Rep *scope_rep(Calculation *calculation, const char *id);
extern CreditAccount *scope_account(Calculation *calculation, Rep *rep, const char *plan, DateADT from, DateADT to,
									  const char *currency, int purpose);
/* The version of a plan that holds on a date, or NULL */
extern PlanVersion *scope_version(Calculation *calculation, const char *plan, DateADT date);
/* Append a credit to an account */
extern Credit *credits_add(Calculation *calculation, CreditAccount *account);
/* Start of the account period that holds a date for a plan's version, and its end */
extern void scope_segment(const PlanVersion *version, DateADT date, DateADT *from, DateADT *to);
/* End of the closed range that covers a date, or the date itself where it is open */
extern DateADT scope_closed_until(const Calculation *calculation, DateADT date);
/* All reps, in the order of their ids */
extern List *scope_all_reps(Calculation *calculation);
extern int	scope_rep_count(const Calculation *calculation);
/* Bring each account's credits together; sets its start and count */
extern void credits_gather(Calculation *calculation);
/* Order the credits of one account by (credited_on, credit_id) */
extern void credits_order(Credit *credits, int64 count);
/* 64 bits of what a credit comes to: summed over an account's credits they say whether one changed, whatever their order */
extern uint64 credits_print(const Credit *credit);
/* Mix a value into a hash; unlike scales of the same number are the same */
extern uint64 credits_mix(uint64 hash, uint64 value);
extern uint64 credits_mix_numeric(uint64 hash, Numeric value);
/* 64 bits of an id */
extern uint64 credits_hash(const char *id);

#endif							/* SALESOPS_COMMISSION_CREDITS_PG_H */
