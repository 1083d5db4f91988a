/*
 * covariate.h
 *		What else is known of a deal, through learn's logistic regression: the chance to be won within a horizon, given the chance
 *		that age and calendar give it (an offset), its stage, how long it has been in it, its size, type and source.
 *
 * A direct regression of the cumulative incidence: lost deals, and deals still open when the horizon is over, are the other class, and
 * only horizons that were over are learned from, so nothing is censored (Scheike, Zhang & Gerds 2008). The base chance
 * carries time, and losing as a competing risk (hazard.h). Small levels are pulled to nothing by the ridge. How often deals are won on the
 * whole is not learned here: own past forecasts correct that (hazard_correct).
 */
#ifndef SALESOPS_FORECAST_COVARIATE_H
#define SALESOPS_FORECAST_COVARIATE_H

#include "forecast/ratio.h"

#define COVARIATE_TERMS	2		/* of the waiting time, a stage */

typedef struct CovariateTable
{
	bool		made;
	int			levels[RATIO_DIMENSIONS];	/* 0: left out */
	int			first[RATIO_DIMENSIONS];	/* column of a dimension's level 0 */
	int			waiting;		/* column of the first stage's waiting time: two a stage */
	int			columns;
	double	   *coefficient;	/* columns + 1, the intercept last; NULL: too little to learn from */
} CovariateTable;

extern void covariate_fit(const KernelEnv *env, RatioSnapshot *const *snapshot, const double *weight, int snapshots, double overlap,
						  const int *levels, const CovariateTable *start, CovariateTable *table);
extern double covariate_level_effect(const CovariateTable *table, int dimension, int level);
extern double covariate_waiting_effect(const CovariateTable *table, int stage, int term);
extern double covariate_effect(const CovariateTable *table, const uint16_t *level, int waiting);
extern double covariate_chance(double base, double effect);
extern double covariate_waiting(int days, int term);

#endif /* SALESOPS_FORECAST_COVARIATE_H */
