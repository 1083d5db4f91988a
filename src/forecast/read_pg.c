/*
 * read_pg.c
 *		What one asks of a forecast: mean, variance, quantiles, chances, intervals.
 *
 * The distribution of the last value read is kept, so that several quantiles of one value cost one convolution.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "core/errors.h"
#include "core/kernel_pg.h"
#include "forecast/distribution.h"
#include "forecast/forecast_pg.h"

PG_FUNCTION_INFO_V1(salesops_mean);
PG_FUNCTION_INFO_V1(salesops_variance);
PG_FUNCTION_INFO_V1(salesops_stddev);
PG_FUNCTION_INFO_V1(salesops_deal_count);
PG_FUNCTION_INFO_V1(salesops_unknown_count);
PG_FUNCTION_INFO_V1(salesops_quantile);
PG_FUNCTION_INFO_V1(salesops_probability_at_least);
PG_FUNCTION_INFO_V1(salesops_prediction_interval);
PG_FUNCTION_INFO_V1(salesops_forecast_scale);
PG_FUNCTION_INFO_V1(salesops_forecast_with_deviation);
PG_FUNCTION_INFO_V1(salesops_relative_deviation);

/* The last value read: its bytes, the correlation, and the distribution, all in one memory context */
static struct
{
	MemoryContext context;
	ForecastState *state;
	double		correlation;
	ForecastDistribution distribution;
}			last;

/* Expected sum. */
Datum
salesops_mean(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(forecast_mean(forecast_state_from_datum(PG_GETARG_DATUM(0))));
}

/* Variance of the sum, in squared units of the amount. */
Datum
salesops_variance(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(forecast_variance(forecast_state_from_datum(PG_GETARG_DATUM(0))));
}

/* Standard deviation of the sum. */
Datum
salesops_stddev(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(sqrt(forecast_variance(forecast_state_from_datum(PG_GETARG_DATUM(0)))));
}

/* Number of deals added, those certain or impossible included. */
Datum
salesops_deal_count(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(forecast_state_from_datum(PG_GETARG_DATUM(0))->deals);
}

/* Number of rows whose amount or probability was NULL. */
Datum
salesops_unknown_count(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(forecast_state_from_datum(PG_GETARG_DATUM(0))->unknown);
}

/* Is this the value read last? */
static bool
is_last(const ForecastState *state, double correlation)
{
	return last.context != NULL && last.correlation == correlation && VARSIZE(last.state) == VARSIZE(state) &&
		memcmp(last.state, state, VARSIZE(state)) == 0;
}

/* The distribution of a value, computed unless it is the last one's. */
static const ForecastDistribution *
distribution_of(Datum value, double correlation)
{
	ForecastState *state = forecast_state_from_datum(value);
	MemoryContext context;
	KernelEnv	env;
	ForecastDistribution distribution;

	if (!(correlation >= 0.0 && correlation < 1.0))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("correlation must be at least 0 and below 1"),
				 errdetail("It is %g.", correlation),
				 errhint("0 leaves deals independent; deals of one quarter have had .02 to .05.")));
	if (is_last(state, correlation))
		return &last.distribution;
	context = AllocSetContextCreate(CurrentMemoryContext, "salesops forecast distribution", ALLOCSET_DEFAULT_SIZES);
	env = kernel_env_pg(context);
	forecast_distribution(&env, state, correlation, &distribution);
	if (last.context != NULL)
		MemoryContextDelete(last.context);
	last.context = NULL;
	last.state = MemoryContextAlloc(context, VARSIZE(state));
	memcpy(last.state, state, VARSIZE(state));
	last.correlation = correlation;
	last.distribution = distribution;
	MemoryContextSetParent(context, TopMemoryContext);
	last.context = context;
	return &last.distribution;
}

/* quantile(forecast, p, correlation): the smallest sum reached or undercut with probability p. */
Datum
salesops_quantile(PG_FUNCTION_ARGS)
{
	double		p = PG_GETARG_FLOAT8(1);

	require_probability(p, "p");
	PG_RETURN_FLOAT8(forecast_quantile(distribution_of(PG_GETARG_DATUM(0), PG_GETARG_FLOAT8(2)), p));
}

/* probability_at_least(forecast, target, correlation): the chance that the sum reaches the target. */
Datum
salesops_probability_at_least(PG_FUNCTION_ARGS)
{
	double		target = PG_GETARG_FLOAT8(1);

	require_finite(target, "target");
	PG_RETURN_FLOAT8(forecast_at_least(distribution_of(PG_GETARG_DATUM(0), PG_GETARG_FLOAT8(2)), target));
}

/* prediction_interval(forecast, coverage, correlation): the central interval, equal chances left out on both sides. */
Datum
salesops_prediction_interval(PG_FUNCTION_ARGS)
{
	double		coverage = PG_GETARG_FLOAT8(1);
	const ForecastDistribution *distribution;
	TupleDesc	desc;
	Datum		values[2];
	bool		nulls[2] = {false, false};

	require_probability(coverage, "coverage");
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "prediction_interval must return a row");
	distribution = distribution_of(PG_GETARG_DATUM(0), PG_GETARG_FLOAT8(2));
	values[0] = Float8GetDatum(forecast_quantile(distribution, 0.5 - 0.5 * coverage));
	values[1] = Float8GetDatum(forecast_quantile(distribution, 0.5 + 0.5 * coverage));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/*
 * forecast_scale(forecast, factor): every probability times the factor, at most 1 each. Of the deals that were only summed up, the
 * cumulants are scaled, which is right for improbable ones.
 */
Datum
salesops_forecast_scale(PG_FUNCTION_ARGS)
{
	ForecastState *state = forecast_state_from_datum(PG_GETARG_DATUM(0));
	double		factor = PG_GETARG_FLOAT8(1);
	const ForecastRest *rest = forecast_rest_const(state);
	ForecastState *scaled = forecast_state_full();

	require_finite(factor, "factor");
	if (factor < 0.0)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("factor of forecast_scale must not be negative"),
				 errdetail("It is %g.", factor),
				 errhint("0 leaves nothing, 1 leaves the forecast as it is.")));
	for (int i = 0; i < state->kept; i++)
		forecast_add(scaled, state->deal[i].amount, Min(state->deal[i].probability * factor, 1.0), state->deal[i].count);
	if (rest != NULL && rest->deals > 0 && factor > 0.0)
	{
		ForecastRest *target = forecast_rest(scaled);

		target->deals += rest->deals;
		target->step = rest->step;
		for (int j = 0; j < 4; j++)
			forecast_sum_add(&target->cumulant[j], forecast_sum(&rest->cumulant[j]) * factor);
		for (int k = 0; k < FORECAST_KNOTS * FORECAST_POWERS; k++)
			target->knot[k / FORECAST_POWERS][k % FORECAST_POWERS] += rest->knot[k / FORECAST_POWERS][k % FORECAST_POWERS] * factor;
	}
	scaled->deals = state->deals;
	scaled->unknown = state->unknown;
	forecast_add_certain(scaled, forecast_sum(&state->certain));
	scaled->common = state->common * factor;
	PG_RETURN_POINTER(forecast_state_small(scaled));
}

/* forecast_with_deviation(forecast, relative): the common deviation as a share of the uncertain mean. */
Datum
salesops_forecast_with_deviation(PG_FUNCTION_ARGS)
{
	ForecastState *state = forecast_state_small(forecast_state_from_datum(PG_GETARG_DATUM(0)));
	double		relative = PG_GETARG_FLOAT8(1);

	require_finite(relative, "relative");
	if (relative < 0.0)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("relative of forecast_with_deviation must not be negative"),
				 errdetail("It is %g.", relative),
				 errhint("It is a share of the uncertain mean: 0.1 for a tenth.")));
	state->common = relative * fabs(forecast_uncertain_mean(state));
	PG_RETURN_POINTER(state);
}

/* relative_deviation(forecast): the common deviation as a share of the uncertain mean, 0 where there is none. */
Datum
salesops_relative_deviation(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(forecast_relative_deviation(forecast_state_from_datum(PG_GETARG_DATUM(0))));
}
