/*
 * survival.h
 *		Kaplan-Meier over counts at distinct times: what survival.c computes. A kernel: no server here.
 */
#ifndef SALESOPS_PIPELINE_SURVIVAL_H
#define SALESOPS_PIPELINE_SURVIVAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What ended, and what was last seen alive, at one time. 16 bytes, no padding: it is also the stored form. */
typedef struct SurvivalPoint
{
	double		time;
	uint32_t	events;
	uint32_t	censored;
} SurvivalPoint;

/* One row of the life table */
typedef struct SurvivalStep
{
	double		time;
	uint64_t	at_risk;		/* just before the time */
	uint32_t	events;
	uint32_t	censored;
	double		survival;		/* Kaplan-Meier, after the time */
	double		greenwood;		/* sum of d / (n (n - d)) up to the time; infinite where survival is 0 */
	double		hazard;			/* Nelson-Aalen cumulative hazard */
} SurvivalStep;

/* Walks the steps in the order of time */
typedef struct SurvivalWalk
{
	const SurvivalPoint *points;
	size_t		count;
	size_t		next;
	uint64_t	at_risk;
	SurvivalStep step;
} SurvivalWalk;

/* A two-sample log-rank test */
typedef struct SurvivalComparison
{
	double		observed;		/* events of the first sample */
	double		expected;		/* were both samples alike */
	double		chi_square;		/* one degree of freedom */
	double		p_value;
} SurvivalComparison;

extern bool pipeline_survival_compact(SurvivalPoint *points, size_t *count);
extern void pipeline_survival_start(SurvivalWalk *walk, const SurvivalPoint *points, size_t count);
extern bool pipeline_survival_next(SurvivalWalk *walk);
extern SurvivalStep pipeline_survival_at(const SurvivalPoint *points, size_t count, double time);
extern double pipeline_survival_quantile(const SurvivalPoint *points, size_t count, double fraction);
extern double pipeline_survival_restricted_mean(const SurvivalPoint *points, size_t count, double from, double horizon);
extern void pipeline_survival_interval(const SurvivalStep *step, double coverage, double *lower, double *upper);
extern SurvivalComparison pipeline_survival_compare(const SurvivalPoint *first, size_t nfirst,
													const SurvivalPoint *second, size_t nsecond);

#endif /* SALESOPS_PIPELINE_SURVIVAL_H */
