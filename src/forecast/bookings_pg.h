/*
 * bookings_pg.h
 *		One forecast of bookings: the model as fitted to what was known, applied to a stretch of days.
 */
#ifndef SALESOPS_FORECAST_BOOKINGS_PG_H
#define SALESOPS_FORECAST_BOOKINGS_PG_H

#include "postgres.h"

#include "utils/rangetypes.h"

#include "forecast/history_pg.h"
#include "forecast/sketch.h"

#define FORECAST_AMOUNT_BINS	16	/* amounts that stand for those of deals yet to come */

/* What won deals of the last year brought: their mean, and the means of equal parts of them */
typedef struct ForecastWon
{
	int			count;
	double		mean;
	int			bins;
	double		value[FORECAST_AMOUNT_BINS];
	double		share[FORECAST_AMOUNT_BINS];
} ForecastWon;

typedef struct ForecastPlan
{
	ForecastBook *book;
	int32		known;			/* last day known */
	int32		from;			/* days [from, to) are forecast, from > known */
	int32		to;
	int			model;
	HazardFit	fit;
	HazardForecast whole;		/* of everything, corrected */
	double	   *amount;			/* of each deal, as seen on the day */
	double	   *spread;			/* and how far that may be off: as of hazard_amounts() */
	int		   *open;			/* the deals that are open on the day */
	int			opens;
	int32		oldest;			/* creation day of the oldest of them */
	double		(*base)[HAZARD_STATES]; /* chances of those created on each day from the oldest's on, by state; NAN: not yet looked at */
	ForecastWon won;
	double		open_deviation;
	double		total_deviation;
} ForecastPlan;

/* Refuse an as_of that is not a finite time. */
extern void forecast_require_time(TimestampTz as_of);
extern void forecast_read_period(RangeType *range, int32 *lower, int32 *upper);
/* Everything a plan keeps is in the current memory context. */
extern void forecast_plan(ForecastBook *book, int32 known, int32 from, int32 to, ForecastPlan *plan);
/* Of an open deal, for the planned days: what stage, age and the calendar say; then corrected, with what else is known of it. */
extern double forecast_plan_base(const ForecastPlan *plan, int deal);
extern double forecast_plan_probability(const ForecastPlan *plan, int deal, double base, int days);
/* Of the deals numbered, or (NULL) of all. */
extern ForecastState *forecast_plan_open(const ForecastPlan *plan, const int *member, int count);
extern ForecastState *forecast_plan_new(const ForecastPlan *plan, const ForecastWon *won, double share, const ForecastState *open);
extern ForecastState *forecast_plan_total(const ForecastPlan *plan, const ForecastState *open, const ForecastState *fresh,
										  double booked);

#endif /* SALESOPS_FORECAST_BOOKINGS_PG_H */
