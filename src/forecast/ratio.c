/*
 * ratio.c
 *		Learning and applying the ratios of ratio.h.
 */
#include "forecast/ratio.h"

#include <math.h>
#include <string.h>

#define ROUNDS			3		/* of backfitting: one dimension given the others */
#define WINS_MIN		10.0	/* expected in all, below which no ratio is learned */

/* Note one open deal of a snapshot. */
void
ratio_snapshot_add(const KernelEnv *env, RatioSnapshot *snapshot, double expected, bool won, const uint16_t *level,
				   int waiting)
{
	if (snapshot->count == snapshot->size)
	{
		int			size = snapshot->size == 0 ? 256 : snapshot->size * 2;

		if (snapshot->size == 0)
		{
			snapshot->expected = kernel_alloc_array(env, float, size);
			snapshot->won = kernel_alloc_array(env, bool, size);
			snapshot->level = kernel_alloc_array(env, uint16_t, size * RATIO_DIMENSIONS);
			snapshot->waiting = kernel_alloc_array(env, int32_t, size);
		}
		else
		{
			snapshot->expected = kernel_realloc_array(env, snapshot->expected, float, size);
			snapshot->won = kernel_realloc_array(env, snapshot->won, bool, size);
			snapshot->level = kernel_realloc_array(env, snapshot->level, uint16_t, size * RATIO_DIMENSIONS);
			snapshot->waiting = kernel_realloc_array(env, snapshot->waiting, int32_t, size);
		}
		snapshot->size = size;
	}
	snapshot->expected[snapshot->count] = (float) expected;
	snapshot->won[snapshot->count] = won;
	snapshot->waiting[snapshot->count] = waiting;
	memcpy(&snapshot->level[snapshot->count * RATIO_DIMENSIONS], level, sizeof(uint16_t) * RATIO_DIMENSIONS);
	snapshot->count++;
}

/*
 * Ratios of observed to expected events, pulled to 1 as far as chance explains how they differ: a gamma prior whose variance
 * is what the differences have beyond chance (method of moments). Their mean, weighed by what is expected, becomes 1.
 */
void
ratio_shrink(const double *observed, const double *expected, int count, double *ratio)
{
	double		all_observed = 0;
	double		all_expected = 0;
	double		excess = 0;
	double		squares = 0;
	double		mean = 0;
	double		level;

	for (int i = 0; i < count; i++)
	{
		all_observed += observed[i];
		all_expected += expected[i];
	}
	level = all_expected > 0 ? all_observed / all_expected : 0.0;
	for (int i = 0; i < count; i++)
	{
		double		e = level * expected[i];

		excess += (observed[i] - e) * (observed[i] - e) - e;
		squares += e * e;
	}
	for (int i = 0; i < count; i++)
	{
		double		pseudo = excess > 0 ? fmax(squares / excess, 2.0) : 0.0;

		ratio[i] = excess > 0 ? (observed[i] + pseudo) / (level * expected[i] + pseudo) : 1.0;
		mean += all_expected > 0 ? ratio[i] * expected[i] / all_expected : 0.0;
	}
	for (int i = 0; i < count; i++)
		ratio[i] = mean > 0 ? fmin(fmax(ratio[i] / mean, 0.02), 50.0) : 1.0;
}

/* Ratio of a deal: the product over the dimensions. */
double
ratio_of(const RatioTable *table, const uint16_t *level)
{
	double		ratio = 1.0;

	for (int d = 0; d < RATIO_DIMENSIONS; d++)
		if (level[d] < table->levels[d])
			ratio *= table->value[d][level[d]];
	return fmin(fmax(ratio, RATIO_LEAST), RATIO_MOST);
}

/* Sum the deals of a snapshot by their levels, in order of arrival. */
static void
sum_cells(const KernelEnv *env, RatioSnapshot *snapshot)
{
	uint32_t	mask = 15;
	int		   *slot;

	while (mask < 2 * (uint32_t) snapshot->count)
		mask = 2 * mask + 1;
	slot = kernel_alloc_array(env, int, (size_t) mask + 1);
	memset(slot, -1, sizeof(int) * ((size_t) mask + 1));
	snapshot->cell = kernel_alloc_array(env, RatioCell, snapshot->count + 1);
	snapshot->cells = 0;
	for (int i = 0; i < snapshot->count; i++)
	{
		uint64_t	key;
		uint32_t	at;

		memcpy(&key, &snapshot->level[i * RATIO_DIMENSIONS], sizeof(key));
		at = (uint32_t) ((key * UINT64_C(0x9E3779B97F4A7C15)) >> 32) & mask;
		while (slot[at] >= 0 && memcmp(snapshot->cell[slot[at]].level, &key, sizeof(key)) != 0)
			at = (at + 1) & mask;
		if (slot[at] < 0)
		{
			slot[at] = snapshot->cells++;
			snapshot->cell[slot[at]] = (RatioCell) {.expected = 0.0};
			memcpy(snapshot->cell[slot[at]].level, &key, sizeof(key));
		}
		snapshot->cell[slot[at]].expected += snapshot->expected[i];
		snapshot->cell[slot[at]].won += snapshot->won[i];
	}
	kernel_release(env, slot);
	snapshot->cell = kernel_realloc_array(env, snapshot->cell, RatioCell, snapshot->cells + 1);
}

/* What one dimension's levels brought and were expected to, given the others. Returns what was expected in all. */
static double
sum_levels(RatioSnapshot *const *snapshot, const double *weight, int snapshots, const RatioTable *table, int dimension,
		   double *observed, double *expected)
{
	double		all = 0.0;

	for (int s = 0; s < snapshots; s++)
		for (int i = 0; i < snapshot[s]->cells; i++)
		{
			const uint16_t *level = snapshot[s]->cell[i].level;
			double		others = 1.0;

			for (int d = 0; d < RATIO_DIMENSIONS; d++)
				if (d != dimension && level[d] < table->levels[d])
					others *= table->value[d][level[d]];
			if (level[dimension] >= table->levels[dimension])
				continue;
			observed[level[dimension]] += weight[s] * snapshot[s]->cell[i].won;
			expected[level[dimension]] += weight[s] * others * snapshot[s]->cell[i].expected;
			all += weight[s] * others * snapshot[s]->cell[i].expected;
		}
	return all;
}

/*
 * Learn a table from snapshots, weighed. 'overlap' is in how many of them one win is seen: evidence is divided by it.
 * Dimensions of one level, or of too many, are left out.
 */
void
ratio_fit(const KernelEnv *env, RatioSnapshot *const *snapshot, const double *weight, int snapshots, double overlap,
		  const int *levels, RatioTable *table)
{
	table->made = true;
	table->learned = false;
	for (int s = 0; s < snapshots; s++)
		if (snapshot[s]->cell == NULL)
			sum_cells(env, snapshot[s]);
	for (int d = 0; d < RATIO_DIMENSIONS; d++)
	{
		table->levels[d] = levels[d] > 1 && levels[d] <= RATIO_LEVELS_MAX ? levels[d] : 0;
		table->value[d] = kernel_alloc_array(env, double, table->levels[d] + 1);
		for (int k = 0; k < table->levels[d]; k++)
			table->value[d][k] = 1.0;
	}
	for (int round = 0; round < ROUNDS && snapshots > 0; round++)
		for (int d = 0; d < RATIO_DIMENSIONS; d++)
		{
			int			count = table->levels[d];
			double	   *observed = kernel_alloc_array(env, double, 2 * count + 1);
			double	   *expected = observed + count;
			double		all;

			memset(observed, 0, sizeof(double) * 2 * (size_t) count);
			all = count > 0 ? sum_levels(snapshot, weight, snapshots, table, d, observed, expected) : 0.0;
			for (int k = 0; k < count; k++)
			{
				observed[k] /= overlap;
				expected[k] /= overlap;
			}
			if (all / overlap >= WINS_MIN)
			{
				ratio_shrink(observed, expected, count, table->value[d]);
				table->learned = true;
			}
			kernel_release(env, observed);
		}
}
