/*
 * em.c
 *		Expectation maximisation over counted level patterns. Which pairs are counted, and what becomes of the estimates, is
 *		fit.c's affair.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "match/em.h"

#define FIRST_SLOTS 1024
#define LEAST_PROBABILITY 1e-12

void
match_tally_init(MatchTally *tally, const KernelEnv *env)
{
	tally->env = env;
	tally->nslots = FIRST_SLOTS;
	tally->used = 0;
	tally->slot = kernel_alloc_array(env, MatchPattern, tally->nslots);
	memset(tally->slot, 0, sizeof(MatchPattern) * tally->nslots);
}

/* The slot of a pattern, or the free one (count 0) where it would go. */
static MatchPattern *
find_slot(const MatchTally *tally, uint64_t levels)
{
	uint64_t	h = levels * UINT64_C(0x9E3779B97F4A7C15);
	uint32_t	at = (uint32_t) (h >> 32) & (tally->nslots - 1);

	while (tally->slot[at].count != 0 && tally->slot[at].levels != levels)
		at = (at + 1) & (tally->nslots - 1);
	return &tally->slot[at];
}

/* Twice the slots. */
static void
grow_tally(MatchTally *tally)
{
	MatchTally	larger = *tally;

	larger.nslots *= 2;
	larger.slot = kernel_alloc_array(tally->env, MatchPattern, larger.nslots);
	memset(larger.slot, 0, sizeof(MatchPattern) * larger.nslots);
	for (uint32_t i = 0; i < tally->nslots; i++)
	{
		if (tally->slot[i].count != 0)
			*find_slot(&larger, tally->slot[i].levels) = tally->slot[i];
	}
	kernel_release(tally->env, tally->slot);
	*tally = larger;
}

/* Count a pattern; count is positive. */
void
match_tally_add(MatchTally *tally, uint64_t levels, double count)
{
	MatchPattern *slot;

	if (count <= 0)
		return;
	slot = find_slot(tally, levels);
	if (slot->count == 0)
	{
		if ((uint64_t) tally->used * 2 >= tally->nslots)
		{
			grow_tally(tally);
			slot = find_slot(tally, levels);
		}
		slot->levels = levels;
		tally->used++;
	}
	slot->count += count;
}

/* Order of patterns, for qsort. */
static int
compare_patterns(const void *a, const void *b)
{
	uint64_t	x = ((const MatchPattern *) a)->levels;
	uint64_t	y = ((const MatchPattern *) b)->levels;

	return (x > y) - (x < y);
}

MatchPattern *
match_tally_finish(MatchTally *tally, uint32_t *count)
{
	MatchPattern *patterns = tally->slot;

	*count = 0;
	for (uint32_t i = 0; i < tally->nslots; i++)
	{
		if (patterns[i].count != 0)
			patterns[(*count)++] = patterns[i];
	}
	qsort(patterns, *count, sizeof(MatchPattern), compare_patterns);
	tally->slot = NULL;
	tally->nslots = 0;
	return patterns;
}

double
match_log_factor(const MatchTables *tables, uint64_t levels, uint32_t mask)
{
	double		sum = 0;

	for (int c = 0; c < tables->ncomparisons; c++)
	{
		int			level = match_pattern_level(levels, c);

		if ((mask & (UINT32_C(1) << c)) != 0 && level != MATCH_NULL)
			sum += log(tables->m[c][level] / tables->u[c][level]);
	}
	return sum;
}

/* One round's sums of expected counts. */
typedef struct Sums
{
	double		m[MATCH_MAX_COMPARISONS][MATCH_MAX_LEVELS];
	double		u[MATCH_MAX_COMPARISONS][MATCH_MAX_LEVELS];
	double		matches;
	double		pairs;
	double		log_likelihood;
} Sums;

/* E step: how likely each pattern is a match, added up by level. */
static void
expect(const MatchPattern *patterns, uint32_t count, const MatchTables *tables, uint32_t mask, double prior, Sums *sums)
{
	memset(sums, 0, sizeof(*sums));
	for (uint32_t i = 0; i < count; i++)
	{
		double		a = log(prior);
		double		b = log1p(-prior);
		double		g;
		double		n = patterns[i].count;

		for (int c = 0; c < tables->ncomparisons; c++)
		{
			int			level = match_pattern_level(patterns[i].levels, c);

			if ((mask & (UINT32_C(1) << c)) == 0 || level == MATCH_NULL)
				continue;
			a += log(tables->m[c][level]);
			b += log(tables->u[c][level]);
		}
		g = 1 / (1 + exp(b - a));
		sums->log_likelihood += n * ((a > b ? a : b) + log1p(exp(-fabs(a - b))));
		sums->matches += n * g;
		sums->pairs += n;
		for (int c = 0; c < tables->ncomparisons; c++)
		{
			int			level = match_pattern_level(patterns[i].levels, c);

			if (level == MATCH_NULL)
				continue;
			sums->m[c][level] += n * g;
			sums->u[c][level] += n * (1 - g);
		}
	}
}

/* M step for one table: expected counts plus the pseudo-counts behind the anchor; returns the largest change. */
static double
maximise(double *table, const double *sums, const double *anchor, double strength, int nlevels)
{
	double		total = 0;
	double		change = 0;

	if (isinf(strength))
		return 0;
	for (int l = 0; l < nlevels; l++)
		total += sums[l] + strength * anchor[l];
	if (total <= 0)
		return 0;
	for (int l = 0; l < nlevels; l++)
	{
		double		p = (sums[l] + strength * anchor[l]) / total;

		if (p < LEAST_PROBABILITY)
			p = LEAST_PROBABILITY;
		change = fmax(change, fabs(p - table[l]));
		table[l] = p;
	}
	return change;
}

MatchEmResult
match_em(const KernelEnv *env, const MatchPattern *patterns, uint32_t count, const MatchEmOptions *options, MatchTables *tables)
{
	MatchTables anchor = *tables;
	MatchEmResult result = {.prior = options->start_prior};
	Sums		sums;

	while (result.iterations < options->max_iterations && !result.converged)
	{
		double		change;

		expect(patterns, count, tables, options->free, result.prior, &sums);
		result.pairs = sums.pairs;
		result.log_likelihood = sums.log_likelihood;
		result.iterations++;
		if (sums.pairs <= 0)
			break;
		change = fabs(sums.matches / sums.pairs - result.prior);
		result.prior = fmin(fmax(sums.matches / sums.pairs, 1e-9), 1 - 1e-9);
		for (int c = 0; c < tables->ncomparisons; c++)
		{
			if ((options->free & (UINT32_C(1) << c)) == 0)
				continue;
			change = fmax(change, maximise(tables->m[c], sums.m[c], anchor.m[c], options->m_strength, tables->nlevels[c]));
			change = fmax(change, maximise(tables->u[c], sums.u[c], anchor.u[c], options->u_strength, tables->nlevels[c]));
			result.weight[c] = 0;
			for (int l = 0; l < tables->nlevels[c]; l++)
				result.weight[c] += sums.m[c][l];
		}
		result.converged = change < options->tolerance;
		kernel_tick(env, result.iterations, options->max_iterations);
	}
	return result;
}
