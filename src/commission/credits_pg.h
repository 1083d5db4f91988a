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
#include "core/spi.h"

typedef struct PlanVersion
{
	char	   *plan;
	int			version;
	DateADT		from;			/* holds in [from, to) */
	DateADT		to;
	PlanDefinition *definition;
} PlanVersion;

typedef struct Assignment
{
	char	   *plan;
	DateADT		from;
	DateADT		to;
	Numeric		quota;
} Assignment;

typedef struct CreditAccount CreditAccount;

typedef struct Rep
{
	char	   *id;
	List	   *assignments;
	List	   *accounts;
	CreditAccount *last;		/* account of the last credit read */
	char	   *manager;
	bool		has_left;
} Rep;

/* A posting that the ledger already holds for an account */
typedef struct PriorPosting
{
	int64		first_line;
	int			nlines;
} PriorPosting;

/* One rep, plan, period earned in, currency and purpose */
struct CreditAccount
{
	Rep		   *rep;
	char	   *plan;
	PlanVersion *version;		/* NULL where the plan had none then */
	DateADT		from;
	DateADT		to;
	const char *currency;
	int			purpose;
	List	   *prior;			/* PriorPosting */
	int64		prior_fingerprint;
	Numeric		prior_earned;
	Numeric		prior_credited;
	DateADT		covered_to;		/* credits before this date are in the ledger */
	bool		process;		/* false: read only because a later period's gate needs it */
	bool		closed;			/* all of it */
	bool		is_segment;		/* a period of the plan as it is now (the ledger may hold others) */
	int64		count;			/* credits */
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
	CreditSource *source;		/* NULL: credited as it is */
} Credit;

typedef struct Calculation
{
	DateADT		from;			/* the period asked for */
	DateADT		to;
	DateADT		read_from;
	DateADT		read_to;
	ArrayType  *only;			/* rep ids, or NULL for all */
	const char *simulated_plan; /* its definition is 'simulated' */
	PlanDefinition *simulated;
	bool		dry;			/* nothing is compared with the ledger or written */
	List	   *versions;		/* PlanVersion, by plan and date */
	struct rephash_hash *reps;
	List	   *accounts;
	int			nclosed;
	DateADT    *closed_from;	/* in order, adjacent ones joined */
	DateADT    *closed_to;
	List	   *drawn;			/* DrawnBefore */
	Credit	   *credits;
	int64		ncredits;
	int64		capacity;
	bool		has_override;
	struct ratehash_hash *rates;
	Problems	problems;
	MemoryContext context;		/* of all of the above */
} Calculation;

/* What a rep was advanced in a period (negative: recovered) */
typedef struct DrawnBefore
{
	char	   *rep;
	char	   *plan;
	DateADT		from;
	Numeric		amount;
} DrawnBefore;

/* Load everything; raises an error that lists all that is wrong with the credits. In the current memory context. */
extern void credits_load(Calculation *calculation);

/* The part of it that is salesops's own, and the reps (scope_pg.c) */
extern void scope_load(Calculation *calculation);
extern Rep *scope_find_rep(Calculation *calculation, const char *id);
extern SpiArg scope_only(const Calculation *calculation);

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
/* Bring each account's credits together; sets its start and count */
extern void credits_gather(Calculation *calculation);
/* Order the credits of one account by (credited_on, credit_id) */
extern void credits_order(Credit *credits, int64 count);
/* 64 bits of an id */
extern uint64 credits_hash(const char *id);

#endif							/* SALESOPS_COMMISSION_CREDITS_PG_H */
