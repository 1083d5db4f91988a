/*
 * zone_pg.h
 *		The session's calendar day of an instant, for millions of instants.
 */
#ifndef SALESOPS_FORECAST_ZONE_PG_H
#define SALESOPS_FORECAST_ZONE_PG_H

#include "postgres.h"

#include "utils/timestamp.h"

#define FORECAST_DAY_MOST	20000000	/* infinite instants, and those beyond, are this many days from 2000-01-01 */

/* Days from 2000-01-01 to the local day of an instant; where wanted, whether it is midnight there. */
extern int32 forecast_local_day(TimestampTz at, bool *midnight);

#endif /* SALESOPS_FORECAST_ZONE_PG_H */
