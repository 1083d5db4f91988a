/*
 * ratio.h
 *		What sets deals apart: ratios of wins observed to wins expected by age and calendar, by level of each dimension.
 *
 * The dimensions are the kind and source of a deal, the stage it was in and the size it was said to have. A snapshot is what was
 * expected, within one horizon, of the deals open on a past day; ratios are learned from snapshots whose horizon was over,
 * all dimensions together (backfitting), each pulled to 1 as far as chance explains it.
 */
#ifndef SALESOPS_FORECAST_RATIO_H
#define SALESOPS_FORECAST_RATIO_H

#include "core/kernel.h"

#define RATIO_DIMENSIONS	4
#define RATIO_LEAST			0.05	/* of a deal */
#define RATIO_MOST			20.0
#define RATIO_LEVELS_MAX	4096	/* a dimension with more tells nothing */

/* What deals of the same levels were expected to bring and brought, in wins */
typedef struct RatioCell
{
	uint16_t	level[RATIO_DIMENSIONS];
	double		expected;
	double		won;
} RatioCell;

typedef struct RatioSnapshot
{
	int			count;
	int			size;			/* allocated */
	float	   *expected;		/* chance of each deal by age and calendar */
	bool	   *won;			/* within the horizon: read only once that is over */
	uint16_t   *level;			/* [deal][dimension] */
	int32_t    *waiting;		/* days in its stage */
	RatioCell  *cell;			/* the deals summed by their levels, made when first needed; NULL: not yet */
	int			cells;
} RatioSnapshot;

typedef struct RatioTable
{
	bool		made;
	bool		learned;		/* from some snapshot */
	int			levels[RATIO_DIMENSIONS];
	double	   *value[RATIO_DIMENSIONS];
} RatioTable;

extern void ratio_snapshot_add(const KernelEnv *env, RatioSnapshot *snapshot, double expected, bool won, const uint16_t *level,
							   int waiting);
extern void ratio_fit(const KernelEnv *env, RatioSnapshot *const *snapshot, const double *weight, int snapshots, double overlap,
					  const int *levels, RatioTable *table);
extern double ratio_of(const RatioTable *table, const uint16_t *level);
extern void ratio_shrink(const double *observed, const double *expected, int count, double *ratio);

#endif /* SALESOPS_FORECAST_RATIO_H */
