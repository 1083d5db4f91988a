/*
 * distribution.h
 *		Reading a forecast: the distribution of the sum whose deals a ForecastState holds.
 *
 * Exact, outcome by outcome, for a few deals; exact to rounding where the amounts share a step that is not too small for
 * the sum's range; else on a fine grid (a cell is about .002 deviations), the deals that were only summed up coming in as
 * a 4th-order Edgeworth expansion. With a correlation, deals depend on one standard normal factor (a Gaussian
 * copula): integrated by a trapezoid over the factor. A state's common deviation is a lognormal factor of mean 1 on
 * everything that is not certain.
 */
#ifndef SALESOPS_FORECAST_DISTRIBUTION_H
#define SALESOPS_FORECAST_DISTRIBUTION_H

#include "core/kernel.h"
#include "forecast/sketch.h"

typedef struct ForecastDistribution
{
	int			count;			/* outcomes or cells */
	bool		smooth;			/* cells of a grid that outcomes fall between: interpolate */
	double	   *value;			/* of the uncertain part, ascending */
	double	   *cumulative;		/* probability of at most value[i] */
	double		certain;
	double		sigma;			/* log deviation of the common factor */
} ForecastDistribution;

extern void forecast_distribution(const KernelEnv *env, const ForecastState *state, double correlation,
								  ForecastDistribution *distribution);
extern double forecast_quantile(const ForecastDistribution *distribution, double probability);
extern double forecast_at_least(const ForecastDistribution *distribution, double target);
extern double forecast_normal_cdf(double z);
extern double forecast_normal_quantile(double p);

#endif /* SALESOPS_FORECAST_DISTRIBUTION_H */
