/*
 * kept_pg.h
 *		What one statement has read and fitted, for its other calls: a statement that asks for bookings, deals and chances reads once.
 */
#ifndef SALESOPS_FORECAST_KEPT_PG_H
#define SALESOPS_FORECAST_KEPT_PG_H

#include "postgres.h"

#include "forecast/bookings_pg.h"

typedef struct ForecastKept ForecastKept;

/*
 * The deals as of an instant, grouped as wanted (NULL: however they may be), read now or by an earlier call of the statement. Errors as of
 * forecast_book_load().
 */
extern ForecastKept *forecast_hold(TimestampTz as_of, ArrayType *by);
/* To be called when it is no longer used; it stays for the next call. */
extern void forecast_release(ForecastKept *kept);
extern ForecastBook *forecast_kept_book(ForecastKept *kept);
/* The plan for days [from, to); valid until the next one is asked for. Errors: there is no history. */
extern const ForecastPlan *forecast_kept_plan(ForecastKept *kept, int32 from, int32 to);
/* Chance of an open deal to be won within so many days. Errors: there is no history. */
extern double forecast_kept_chance(ForecastKept *kept, int deal, int days);

#endif /* SALESOPS_FORECAST_KEPT_PG_H */
