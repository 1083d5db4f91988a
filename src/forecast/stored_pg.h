/*
 * stored_pg.h
 *		A win model as win_model keeps it: hazards as float8[], and what else sets deals apart as jsonb.
 */
#ifndef SALESOPS_FORECAST_STORED_PG_H
#define SALESOPS_FORECAST_STORED_PG_H

#include "postgres.h"

#include "utils/jsonb.h"

#include "forecast/bookings_pg.h"

#define FORECAST_TABLE_NUMBERS	(HAZARD_AGES * HAZARD_CELLS + 7)	/* of a stored hazard */

extern Jsonb *forecast_covariates(const ForecastPlan *plan);

#endif /* SALESOPS_FORECAST_STORED_PG_H */
