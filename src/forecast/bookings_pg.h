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
	int		   *stated;			/* of each deal, its first stated amount in the history, or -1 */
	double	   *new_share;		/* of new business, by group */
	double		open_deviation;
	double		total_deviation;
} ForecastPlan;

/* Refuse an as_of that is not a finite time. */
extern void forecast_require_time(TimestampTz as_of);
extern void forecast_read_period(RangeType *range, int32 *lower, int32 *upper);
extern void forecast_plan(ForecastBook *book, int32 known, int32 from, int32 to, ForecastPlan *plan);
extern double forecast_plan_by_age(const ForecastPlan *plan, int32 created);
extern double forecast_plan_probability(const ForecastPlan *plan, int deal, double by_age, int days);
extern ForecastState *forecast_plan_open(const ForecastPlan *plan, int group);
extern ForecastState *forecast_plan_new(const ForecastPlan *plan, int group, const ForecastState *open);
extern ForecastState *forecast_plan_total(const ForecastPlan *plan, const ForecastState *open, const ForecastState *fresh,
										  double booked);

#endif /* SALESOPS_FORECAST_BOOKINGS_PG_H */
