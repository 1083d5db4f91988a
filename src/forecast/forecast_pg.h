/*
 * forecast_pg.h
 *		The forecast type as the server sees it, for the other doors of this room.
 */
#ifndef SALESOPS_FORECAST_PG_H
#define SALESOPS_FORECAST_PG_H

#include "postgres.h"

#include "fmgr.h"
#include "utils/numeric.h"

#include "forecast/sketch.h"

/* Room for any state, before it is made small */
typedef union ForecastBuffer
{
	ForecastState state;
	char		bytes[offsetof(ForecastState, deal) + sizeof(ForecastDeal) * FORECAST_KEPT + sizeof(ForecastRest)];
} ForecastBuffer;

extern ForecastState *forecast_state_from_datum(Datum value);
extern ForecastState *forecast_state_small(const ForecastState *state);
extern ForecastState *forecast_state_full(void);
extern double forecast_numeric_to_double(Numeric value);
extern double forecast_datum_to_double(Datum value);
extern Numeric forecast_money(double value);

#endif /* SALESOPS_FORECAST_PG_H */
