/*
 * account_pg.h
 *		One rep's running account in a plan and period, in the kernel's integers as long as all numbers fit, else in numeric.
 */
#ifndef SALESOPS_COMMISSION_ACCOUNT_PG_H
#define SALESOPS_COMMISSION_ACCOUNT_PG_H

#include "postgres.h"

#include "commission/decimal_pg.h"
#include "commission/plan_pg.h"

/* What the account's tiers are made from */
typedef struct AccountTerms
{
	const PlanDefinition *plan;
	int			exponent;		/* of the currency */
	Numeric		quota;			/* NULL where the plan needs none */
	Numeric		share;			/* of the period that the plan was held; NULL is all of it */
	Numeric		gate;			/* amount at which the year's gate opens, counted from this period's start; or NULL */
	Numeric		flat_rate;		/* instead of the plan's tiers (overrides); NULL otherwise */
	bool		by_level;		/* the plan's override_rates instead, a component a level */
	bool		draw_ended;		/* past the periods in which the plan draws */
	bool		orphaned;		/* the plan, or this cut of its period, is not the rep's any more: all is taken back */
} AccountTerms;

/* A component whose tiers are those of the level that another sum has reached */
typedef struct AccountLevels
{
	int			of;				/* component, or LEVELS_OF_ALL */
	int			count;			/* 0: none, its tiers are fixed */
	Numeric    *from;			/* amounts */
	NumericTiers *tiers;
} AccountLevels;

typedef struct RunningAccount
{
	int			ncomponents;
	NumericTiers *tiers;
	int			exponent;
	Numeric		divisor;		/* NULL is 1 */
	Numeric		cap;			/* with the divisor in it, like the two below; NULL for none */
	Numeric		deal_cap;
	Numeric		deal_floor;
	Numeric	   *cumulated;		/* in numeric mode; in fixed mode the last values handed out */
	Numeric	   *earned;
	Numeric		total;
	CommissionInt rounded;		/* in minor units */
	bool		fixed;			/* whether the kernel holds the state */
	bool		by_deal;		/* each credit goes through the tiers by itself */
	bool	   *shared;			/* per component: read at component 0's sum; NULL for none: what lines earn depends on their order */
	AccountLevels *levels;		/* per component; NULL for none: commission follows from all sums together */
	bool		keep_totals;	/* whether a line needs its total_before (several components, deals by themselves, deal caps) */
	CommissionAccount kernel;
} RunningAccount;

typedef struct AccountStep
{
	Numeric		before;
	Numeric		after;
	Numeric		total_before;	/* NULL where it is F(before) */
	CommissionInt amount;		/* minor units */
} AccountStep;

/* A new account, nothing credited. In the current memory context. */
extern RunningAccount *account_make(const AccountTerms *terms);

/* Set what was credited to a component; account_restate then brings the totals along. */
extern void account_set(RunningAccount *account, int component, Numeric amount);
extern void account_restate(RunningAccount *account);

/* Credit an amount, given in the kernel's integers or (where not NULL) as numeric. */
extern void account_credit(RunningAccount *account, int component, CommissionInt amount, Numeric exact, AccountStep *step);

/* Where a component's running sum is kept */
extern int	account_position(const RunningAccount *account, int component);

/* The tiers of a component as the sums stand, and the amount at which their level begins (0 without levels) */
extern const NumericTiers *account_tiers(const RunningAccount *account, int component, Numeric *level);

/* What a credit earns unrounded and without limits where each goes through the tiers by itself */
extern Numeric account_deal_value(const NumericTiers *tiers, Numeric amount);

extern Numeric account_cumulated(RunningAccount *account, int component);

#endif							/* SALESOPS_COMMISSION_ACCOUNT_PG_H */
