/*
 * survival.c
 *		Kaplan-Meier's estimate of how long things last, when some have not ended yet.
 *
 * An open deal tells that its stage lasted at least so long: it is censored, not left out. The estimate is the product
 * over the times t of (1 - d/n), with d that ended at t and n that had reached t; its error is Greenwood's. What ends and
 * what is censored at the same time: the ends come first, as everywhere in the field.
 *
 * The input is counts at distinct times in rising order (pipeline_survival_compact makes them so from any order), so that
 * two samples merge by putting their points together, exactly and in any order.
 *
 * Sources: Kaplan and Meier 1958; Greenwood 1926; Nelson 1972; Kalbfleisch and Prentice 2002 for the log-log interval.
 * Not here: covariates and competing risks (the forecast's hazard model has those).
 */
#include "pipeline/survival.h"

#include <math.h>
#include <stdlib.h>

/* A product of fractions such as 6/8 * 5/6 * 4/5 may miss one half by a rounding error. */
#define ROUNDING 1e-12

/* Order by time. */
static int
compare_points(const void *left, const void *right)
{
	double		a = ((const SurvivalPoint *) left)->time;
	double		b = ((const SurvivalPoint *) right)->time;

	return (a > b) - (a < b);
}

/* Are the points in rising order of time already? Then sorting is saved. */
static bool
is_compact(const SurvivalPoint *points, size_t count)
{
	for (size_t i = 1; i < count; i++)
		if (!(points[i - 1].time < points[i].time))
			return false;
	return true;
}

/*
 * Sort the points and add up those of the same time, in place; *count shrinks. False where a count at one time passes
 * 32 bits: the caller reports it, the points are then useless.
 */
bool
pipeline_survival_compact(SurvivalPoint *points, size_t *count)
{
	size_t		kept = 0;

	if (is_compact(points, *count))
		return true;
	qsort(points, *count, sizeof(SurvivalPoint), compare_points);
	for (size_t i = 1; i < *count; i++)
	{
		if (points[i].time != points[kept].time)
			points[++kept] = points[i];
		else if (UINT32_MAX - points[kept].events < points[i].events ||
				 UINT32_MAX - points[kept].censored < points[i].censored)
			return false;
		else
		{
			points[kept].events += points[i].events;
			points[kept].censored += points[i].censored;
		}
	}
	*count = kept + 1;
	return true;
}

/* Begin at time 0 with all at risk. The points must be compact. */
void
pipeline_survival_start(SurvivalWalk *walk, const SurvivalPoint *points, size_t count)
{
	uint64_t	total = 0;

	for (size_t i = 0; i < count; i++)
		total += (uint64_t) points[i].events + points[i].censored;
	walk->points = points;
	walk->count = count;
	walk->next = 0;
	walk->at_risk = total;
	walk->step = (SurvivalStep) {.at_risk = total, .survival = 1.0};
}

/* Move on to the next time; false where there is none. */
bool
pipeline_survival_next(SurvivalWalk *walk)
{
	const SurvivalPoint *point;
	SurvivalStep *step = &walk->step;
	double		risk = (double) walk->at_risk;
	double		events;

	if (walk->next == walk->count)
		return false;
	point = &walk->points[walk->next++];
	events = point->events;
	step->time = point->time;
	step->at_risk = walk->at_risk;
	step->events = point->events;
	step->censored = point->censored;
	if (point->events > 0)
	{
		step->survival = point->events == walk->at_risk ? 0.0 : step->survival * ((risk - events) / risk);
		step->greenwood += point->events == walk->at_risk ? INFINITY : events / (risk * (risk - events));
		step->hazard += events / risk;
	}
	walk->at_risk -= (uint64_t) point->events + point->censored;
	return true;
}

/* The estimate at a time: the last step not after it; survival 1 before the first. */
SurvivalStep
pipeline_survival_at(const SurvivalPoint *points, size_t count, double time)
{
	SurvivalWalk walk;

	pipeline_survival_start(&walk, points, count);
	while (walk.next < count && points[walk.next].time <= time)
		pipeline_survival_next(&walk);
	return walk.step;
}

/*
 * The smallest time by which the fraction has ended, that is where survival is 1 - fraction or less; NaN where the sample
 * does not get so far. lifelines' definition (R takes the middle where survival equals 1 - fraction over a stretch).
 */
double
pipeline_survival_quantile(const SurvivalPoint *points, size_t count, double fraction)
{
	SurvivalWalk walk;

	pipeline_survival_start(&walk, points, count);
	while (pipeline_survival_next(&walk))
		if (walk.step.events > 0 && walk.step.survival <= 1.0 - fraction + ROUNDING)
			return walk.step.time;
	return NAN;
}

/*
 * The mean time still to go, up to a horizon, of what has lasted 'from' already: the integral of S from 'from' to
 * 'horizon' over S(from). The last value of S is carried on beyond the last time. NaN where none lasts so long.
 */
double
pipeline_survival_restricted_mean(const SurvivalPoint *points, size_t count, double from, double horizon)
{
	SurvivalWalk walk;
	double		start = pipeline_survival_at(points, count, from).survival;
	double		area = 0.0;
	double		at = from;
	double		level = start;

	if (start <= 0.0 || horizon < from)
		return NAN;
	pipeline_survival_start(&walk, points, count);
	while (pipeline_survival_next(&walk) && walk.step.time < horizon)
	{
		if (walk.step.time <= from)
			continue;
		area += level * (walk.step.time - at);
		at = walk.step.time;
		level = walk.step.survival;
	}
	return (area + level * (horizon - at)) / start;
}

/* Quantile of the standard normal by bisection on erfc: exact to rounding, called once a row shown. */
static double
normal_quantile(double probability)
{
	double		low = -40.0;
	double		high = 40.0;

	for (int i = 0; i < 200 && low < high; i++)
	{
		double		middle = (low + high) / 2;

		if (0.5 * erfc(-middle / M_SQRT2) < probability)
			low = middle;
		else
			high = middle;
	}
	return (low + high) / 2;
}

/* Bounds of survival by the log-log transform, which stay within [0, 1]; both equal survival where it is 0 or 1. */
void
pipeline_survival_interval(const SurvivalStep *step, double coverage, double *lower, double *upper)
{
	double		logarithm = log(step->survival);
	double		width;

	*lower = *upper = step->survival;
	if (step->survival <= 0.0 || step->survival >= 1.0)
		return;
	width = normal_quantile((1.0 + coverage) / 2) * sqrt(step->greenwood) / logarithm;
	*lower = exp(logarithm * exp(-width));
	*upper = exp(logarithm * exp(width));
}

/* Time of a walk's next point, or infinity at its end. */
static double
next_time(const SurvivalWalk *walk)
{
	return walk->next < walk->count ? walk->points[walk->next].time : INFINITY;
}

/*
 * Log-rank test of two samples (Mantel 1966): at each time the events of the first sample against its share of those at
 * risk. p_value is 1 where nothing can be said.
 */
SurvivalComparison
pipeline_survival_compare(const SurvivalPoint *first, size_t nfirst, const SurvivalPoint *second, size_t nsecond)
{
	SurvivalComparison result = {.p_value = 1.0};
	SurvivalWalk a;
	SurvivalWalk b;
	double		variance = 0.0;

	pipeline_survival_start(&a, first, nfirst);
	pipeline_survival_start(&b, second, nsecond);
	while (a.next < nfirst || b.next < nsecond)
	{
		double		time = fmin(next_time(&a), next_time(&b));
		double		risk_a = (double) a.at_risk;
		double		risk = risk_a + (double) b.at_risk;
		double		events_a = 0.0;
		double		events;

		if (next_time(&a) == time && pipeline_survival_next(&a))
			events_a = a.step.events;
		events = events_a;
		if (next_time(&b) == time && pipeline_survival_next(&b))
			events += b.step.events;
		result.observed += events_a;
		result.expected += events * risk_a / risk;
		if (risk > 1.0)
			variance += events * (risk_a / risk) * (1.0 - risk_a / risk) * (risk - events) / (risk - 1.0);
	}
	if (variance > 0.0)
	{
		result.chi_square = (result.observed - result.expected) * (result.observed - result.expected) / variance;
		result.p_value = erfc(sqrt(result.chi_square / 2));
	}
	return result;
}
