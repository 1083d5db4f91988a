/*
 * score.c
 *		Weights of pairs from a fitted model, in fixed point. The hot loop of find_duplicates.
 */
#include <math.h>
#include <string.h>

#include "match/fit.h"

/* Bits as a fixed-point number. */
static int32_t
fixed(double bits)
{
	return (int32_t) lrint(bits * MATCH_FIXED);
}

/* Cost rank of a comparison: equality costs nothing, edit distances most. */
static int
cost(const MatchComparison *comparison)
{
	if (comparison->nthresholds == 0 || comparison->method == MATCH_EXACT)
		return 0;
	if (comparison->number != NULL)
		return 1;
	return comparison->method == MATCH_TOKEN_SET ? 3 : 2;
}

/* Cheap comparisons first; among equals those that decide more. */
static void
order_comparisons(MatchScorer *scorer)
{
	for (int i = 0; i < scorer->ncomparisons; i++)
	{
		int			at = i;

		while (at > 0)
		{
			int			before = scorer->order[at - 1];
			int			by_cost = cost(&scorer->comparison[before]) - cost(&scorer->comparison[i]);

			if (by_cost < 0 || (by_cost == 0 && scorer->best[before] >= scorer->best[i]))
				break;
			scorer->order[at] = before;
			at--;
		}
		scorer->order[at] = i;
	}
	scorer->rest[scorer->ncomparisons] = 0;
	for (int i = scorer->ncomparisons - 1; i >= 0; i--)
		scorer->rest[i] = scorer->rest[i + 1] + scorer->best[scorer->order[i]];
}

/* Weights by level and value of one comparison. */
static void
init_comparison(MatchScorer *scorer, const MatchModel *model, int c)
{
	const MatchComparison *comparison = &scorer->comparison[c];
	const MatchColumn *column = &scorer->records->column[comparison->column];
	int			top = match_top_level(comparison);

	scorer->best[c] = 0;
	scorer->best_unequal[c] = 0;
	for (int l = 0; l < model->tables.nlevels[c]; l++)
	{
		scorer->weight[c][l] = fixed(log2(model->tables.m[c][l] / model->tables.u[c][l]));
		if (scorer->weight[c][l] > scorer->best[c])
			scorer->best[c] = scorer->weight[c][l];
		if (l != top && scorer->weight[c][l] > scorer->best_unequal[c])
			scorer->best_unequal[c] = scorer->weight[c][l];
	}
	scorer->term[c] = scorer->related_term[c] = NULL;
	for (int l = 0; scorer->has_related && l < model->tables.nlevels[c]; l++)
		scorer->related_weight[c][l] = fixed(log2(model->tables.r[c][l] / model->tables.u[c][l]));
	if (model->frequency[c] == NULL)
		return;
	if (scorer->has_related)
		scorer->related_term[c] = kernel_alloc_array(&scorer->records->env, int32_t, column->nvalues);
	scorer->term[c] = kernel_alloc_array(&scorer->records->env, int32_t, column->nvalues);
	for (int32_t v = 0; v < column->nvalues; v++)
	{
		scorer->term[c][v] = fixed(log2(model->tables.m[c][top] / model->frequency[c][v]));
		if (scorer->term[c][v] > scorer->best[c])
			scorer->best[c] = scorer->term[c][v];
		if (scorer->has_related)
			scorer->related_term[c][v] = fixed(log2(model->tables.r[c][top] / model->frequency[c][v]));
	}
}

int64_t
match_fixed_prior(const MatchModel *model)
{
	return (int64_t) lrint(log2(model->prior / (1 - model->prior)) * MATCH_FIXED);
}

void
match_scorer_init(MatchScorer *scorer, const MatchRecords *records, const MatchComparison *comparisons, const MatchModel *model,
				  TextWorkspace *workspace)
{
	memset(scorer, 0, sizeof(*scorer));
	scorer->records = records;
	scorer->comparison = comparisons;
	scorer->ncomparisons = model->tables.ncomparisons;
	scorer->workspace = workspace;
	scorer->prior = match_fixed_prior(model);
	scorer->has_related = model->related > 0;
	scorer->related = scorer->has_related ? (int64_t) lrint(log2(model->related) * MATCH_FIXED) : 0;
	for (int c = 0; c < scorer->ncomparisons; c++)
		init_comparison(scorer, model, c);
	order_comparisons(scorer);
	scorer->code = kernel_alloc_array(&records->env, int32_t, (size_t) records->nrecords * scorer->ncomparisons);
	for (int32_t i = 0; i < records->nrecords; i++)
	{
		for (int c = 0; c < scorer->ncomparisons; c++)
			scorer->code[(size_t) i * scorer->ncomparisons + c] = records->column[comparisons[c].column].code[i];
	}
}

int32_t
match_weight(const MatchScorer *scorer, int c, int level, int32_t code)
{
	if (level == MATCH_NULL)
		return 0;
	if (scorer->term[c] != NULL && level == match_top_level(&scorer->comparison[c]))
		return scorer->term[c][code];
	return scorer->weight[c][level];
}

int64_t
match_related_weight(const MatchScorer *scorer, uint64_t pattern, int32_t a)
{
	int64_t		sum = scorer->related;

	if (!scorer->has_related)
		return 0;
	for (int c = 0; c < scorer->ncomparisons; c++)
	{
		int			level = match_pattern_level(pattern, c);

		if (level == MATCH_NULL)
			continue;
		if (scorer->related_term[c] != NULL && level == match_top_level(&scorer->comparison[c]))
			sum += scorer->related_term[c][scorer->code[(size_t) a * scorer->ncomparisons + c]];
		else
			sum += scorer->related_weight[c][level];
	}
	/* log2(1 + 2^x), which is x where x is large */
	return -lrint((sum > 0 ? sum / MATCH_FIXED : 0) * MATCH_FIXED + log2(1 + exp2(-fabs((double) sum) / MATCH_FIXED)) * MATCH_FIXED);
}

/* The same for a pair whose levels are not at hand. */
static int64_t
related_weight(const MatchScorer *scorer, int32_t a, int32_t b)
{
	if (!scorer->has_related)
		return 0;
	return match_related_weight(scorer, match_pattern(scorer->records, scorer->comparison, scorer->ncomparisons, scorer->workspace, a, b),
								a);
}

/* Weight of one comparison, or a bound below which the caller has no use for it. */
static inline int64_t
comparison_weight(const MatchScorer *scorer, int c, int32_t a, int32_t b, int64_t needed)
{
	const MatchComparison *comparison = &scorer->comparison[c];
	int32_t		x = scorer->code[(size_t) a * scorer->ncomparisons + c];
	int32_t		y = scorer->code[(size_t) b * scorer->ncomparisons + c];
	int			other = comparison->swapped_with;

	if (other >= 0)
	{
		int			first = other > c ? c : other;

		if (match_is_swapped(scorer->records, &scorer->comparison[first], &scorer->comparison[other > c ? other : c], a, b))
			return c == first ? scorer->weight[c][match_swapped_level(comparison)] : 0;
	}
	if (x == MATCH_NULL || y == MATCH_NULL)
		return 0;
	if (x == y)
		return scorer->term[c] != NULL ? scorer->term[c][x] : scorer->weight[c][match_top_level(comparison)];
	if (comparison->nthresholds == 0)
		return scorer->weight[c][0];
	if (scorer->best_unequal[c] < needed)
		return scorer->best_unequal[c];
	return scorer->weight[c][match_value_level(comparison, scorer->workspace, x, y, 0)];
}

int64_t
match_score_least(const MatchScorer *scorer, int32_t a, int32_t b, int64_t least)
{
	int64_t		sum = 0;

	for (int i = 0; i < scorer->ncomparisons; i++)
	{
		sum += comparison_weight(scorer, scorer->order[i], a, b, least - sum - scorer->rest[i + 1]);
		if (sum + scorer->rest[i + 1] < least)
			return INT64_MIN;
	}
	return sum + related_weight(scorer, a, b);
}

int64_t
match_score(const MatchScorer *scorer, int32_t a, int32_t b)
{
	int64_t		sum = 0;

	for (int c = 0; c < scorer->ncomparisons; c++)
		sum += comparison_weight(scorer, c, a, b, INT32_MIN);
	return sum + related_weight(scorer, a, b);
}
