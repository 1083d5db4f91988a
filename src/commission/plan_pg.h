/*
 * plan_pg.h
 *		Commission plans: the JSON definition as a struct, its checks, and the tiers of one rep and period made from it.
 */
#ifndef SALESOPS_COMMISSION_PLAN_PG_H
#define SALESOPS_COMMISSION_PLAN_PG_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "utils/date.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

#include "commission/tiers.h"
#include "core/errors.h"
#include "core/expression.h"

typedef enum PlanPeriod
{
	PLAN_MONTH,
	PLAN_QUARTER,
	PLAN_YEAR,
	PLAN_HALF_YEAR,
	PLAN_HALF_MONTH,			/* 1st to 15th, 16th to the end: what some products call biweekly */
	PLAN_WEEK					/* from Monday, ISO 8601 */
} PlanPeriod;

/* Which of a deal's events earn: credits that say which event they are, and are another one, do not count */
typedef enum PlanBasis
{
	BASIS_BOOKING,
	BASIS_INVOICE,
	BASIS_PAYMENT,
	BASIS_MILESTONE,
	BASIS_ANY
} PlanBasis;

typedef enum PlanMeasure
{
	PLAN_AMOUNT,
	PLAN_ATTAINMENT
} PlanMeasure;

typedef enum PlanMethod
{
	PLAN_MARGINAL,
	PLAN_RETROACTIVE
} PlanMethod;

/* What goes through the tiers */
typedef enum PlanTiersOn
{
	TIERS_ON_PERIOD,			/* the period's running sum */
	TIERS_ON_DEAL				/* each credit by itself */
} PlanTiersOn;

/* Which quota the year's gate is measured against */
typedef enum PlanGateOf
{
	GATE_YEAR_TO_DATE,			/* of the year's periods up to the one that is paid */
	GATE_YEAR
} PlanGateOf;

typedef enum PlanRateDate
{
	RATE_CREDITED_ON,
	RATE_PERIOD_START,
	RATE_PERIOD_END
} PlanRateDate;

/* How much of an unpaid credit is taken back; and whether a payment after the window brings it back */
typedef enum PlanTakes
{
	TAKES_ALL,
	TAKES_UNPAID
} PlanTakes;

typedef enum PlanLate
{
	LATE_RESTORES,
	LATE_IS_LOST
} PlanLate;

/* Credits below 0 that are no refund */
typedef enum PlanNegative
{
	NEGATIVE_REJECT,
	NEGATIVE_ALLOW,
	NEGATIVE_ZERO
} PlanNegative;

typedef struct PlanTier
{
	Numeric		from;			/* in the measure's unit; of a curve's point, "at" */
	Numeric		to;				/* NULL: up to the next tier; checked against it where given */
	Numeric		rate;			/* of a curve's point, what it pays in all: "pays" */
	Numeric		bonus;			/* lump sum on reaching the tier, or NULL */
	bool		retroactive;	/* this tier's rate holds from 0 on once it is reached */
} PlanTier;

typedef struct PlanTierList
{
	int			count;
	PlanTier   *tiers;
	bool		is_curve;		/* the tiers are points of F */
	bool		interpolated;	/* between points; otherwise each point's pay holds up to the next */
} PlanTierList;

/* Tiers that depend on what another sum has reached: a rate table over two measures, an accelerator that waits for another product */
#define LEVELS_OF_ALL	(-1)	/* the sum of all components */

typedef struct PlanLevels
{
	int			of;				/* component whose sum decides, 0 the plan's own, or LEVELS_OF_ALL */
	char	   *of_name;
	int			count;			/* 0: no such thing */
	Numeric    *at;				/* in the measure's unit, ascending from 0 */
	PlanTierList *lists;
} PlanLevels;

/* Credits of their own rate: each credit belongs to the first component whose condition is met, else to the plan's tiers */
typedef struct PlanComponent
{
	char	   *name;
	char	   *where;
	Numeric		factor;			/* share of the amount that is credited, or NULL */
	Numeric		quota;			/* for one period, instead of the assignment's; or NULL */
	Numeric		quota_share;	/* of the assignment's, or NULL */
	Numeric		target;			/* instead of the plan's, or NULL */
	Numeric		target_share;	/* of the plan's, or NULL */
	bool		own_tiers;		/* a running sum of its own; otherwise the plan's */
	bool		shared;			/* own tiers, read at the plan's running sum, which the credits move along */
	PlanLevels	levels;
	PlanTierList tiers;
	CompiledExpression *filter;
} PlanComponent;

/* How a pool is shared among the reps who qualify */
typedef enum PlanPool
{
	POOL_NONE = -1,
	POOL_EQUAL,
	POOL_PROPORTIONAL			/* to the period's sums */
} PlanPool;

typedef struct PlanBonus
{
	char	   *name;
	char	   *where;			/* a bonus for each credit that meets it; NULL with 'at' */
	Numeric		amount;			/* lump sum, or NULL */
	Numeric		rate;			/* share of the credited amount, or of the period's sum; or NULL */
	Numeric		at;				/* once the period's sum reaches this (measure's unit), or NULL */
	Numeric		every;			/* the lump sum for every so much of the period's sum (measure's unit), or NULL */
	Numeric		cap;			/* most that a rep is paid in a period, or NULL */
	Numeric		budget;			/* most that is paid to all reps together, or NULL */
	int			nranks;			/* prizes for the first so many of the plan's reps by the period's sum */
	Numeric    *ranks;
	int			pool;			/* PlanPool: the amount, or the rate of all reps' sums, is shared out */
	DateADT    *from;			/* half-open, either may be NULL */
	DateADT    *to;
	CompiledExpression *filter;
} PlanBonus;

typedef struct PlanDefinition
{
	int			period;			/* PlanPeriod */
	char	   *currency;		/* ISO 4217, or "credit": each credit's own, settled apart */
	int			basis;			/* PlanBasis */
	int			measure;		/* PlanMeasure */
	int			method;			/* PlanMethod */
	int			tiers_on;		/* PlanTiersOn */
	int			rate_date;		/* PlanRateDate */
	char	   *where;
	char	   *amount;			/* numeric expression over the credit: what of it counts, instead of its amount; or NULL */
	char	   *description;
	PlanTierList tiers;
	int			ncomponents;
	PlanComponent *components;
	int			nbonuses;
	PlanBonus  *bonuses;
	Numeric		cap;
	Numeric		deal_cap;
	Numeric		floor;
	Numeric		deal_floor;
	Numeric		cliff;			/* measure's unit */
	Numeric		target;			/* commission at a rate of 1 and 100 % attainment */
	Numeric		gate_at;		/* the year's measure from which the tiers above gate_above apply */
	Numeric		gate_above;
	int			gate_of;		/* PlanGateOf */
	int			nramp;
	Numeric    *ramp;
	Numeric		draw;
	bool		draw_recoverable;
	int			draw_periods;	/* only in so many first periods; -1: in all */
	int			clawback_days;	/* -1: no window */
	int			unpaid_days;	/* a credit not paid so many days after its date is taken back; -1: no matter */
	Numeric		unpaid_share;	/* of its amount that must be paid; NULL is all of it */
	int			unpaid_takes;	/* PlanTakes */
	int			unpaid_late;	/* PlanLate */
	char	   *unpaid_paid_on; /* date expression over the credit: when it was paid; NULL: by payments of the contract */
	CompiledExpression *paid_on_expression;
	Numeric		override_rate;	/* of the first level; NULL without overrides */
	int			override_levels;
	Numeric    *override_rates; /* by level, where they differ; otherwise NULL */
	bool		prorate;
	int			negative;		/* PlanNegative */
	CompiledExpression *filter;
	CompiledExpression *amount_expression;
} PlanDefinition;

/* Bonuses that follow from the period's sum, not from single credits */
#define PLAN_BONUS_OF_PERIOD(bonus)	((bonus)->at != NULL || (bonus)->every != NULL || PLAN_BONUS_OF_REPS(bonus))

/* Bonuses that follow from how the plan's reps stand to each other (contest_pg.c) */
#define PLAN_BONUS_OF_REPS(bonus)	((bonus)->nranks > 0 || (bonus)->pool != POOL_NONE)

extern const char *const plan_periods[];
extern const char *const plan_bases[];
extern const char *const plan_measures[];
extern const char *const plan_methods[];

/* Parse; every mistake becomes a problem. What is returned is complete only where there are none. */
extern PlanDefinition *plan_parse(Jsonb *definition, Problems *problems);

/* Parse a list of tiers alone, as the function commission() takes it. */
extern void plan_parse_tiers(Jsonb *json, const char *where, PlanTierList *list, Problems *problems);

/*
 * Compile the plan's expressions over salesops.commission_credit in the current memory context; whether one depends on more
 * than the credit.
 */
extern bool plan_compile(PlanDefinition *plan, const char *name);

/* Start and end of the plan's period that holds a date */
extern DateADT plan_period_start(PlanPeriod period, DateADT date);
extern DateADT plan_period_next(PlanPeriod period, DateADT start);

/* F as numeric pieces: as CommissionPiece, of any size */
typedef struct NumericPiece
{
	Numeric		from;
	Numeric		base;
	Numeric		rate;
} NumericPiece;

typedef struct NumericTiers
{
	int			count;
	NumericPiece *pieces;
} NumericTiers;

/*
 * The pieces of a list of tiers. unit is what 1 of the measure is in amount (the quota; NULL is 1), multiplier what a
 * rate is multiplied with (of a curve: what is paid at 1, the target; NULL is 1), divisor what every value will be divided
 * by (NULL is 1). cliff and gate are
 * amounts, NULL for none; the tiers from gate_above (measure's unit) on hold only from the gate on.
 */
extern void plan_pieces(const PlanTierList *list, PlanMethod method, Numeric unit, Numeric multiplier,
						Numeric divisor, Numeric cliff, Numeric gate, Numeric gate_above, NumericTiers *result);

/* Bring into a divisor what makes the slopes of a list's curve exact in it; unit as above. Nothing for tiers. */
extern Numeric plan_curve_divisor(const PlanTierList *list, Numeric unit, Numeric divisor);

/* The kernel's form of numeric pieces, or NULL where a number does not fit */
extern CommissionPiece *plan_fixed_pieces(const NumericTiers *tiers);

/* F(amount); index of its piece */
extern Numeric plan_cumulative(const NumericTiers *tiers, Numeric amount);
extern int	plan_piece(const NumericTiers *tiers, Numeric amount);

#endif							/* SALESOPS_COMMISSION_PLAN_PG_H */
