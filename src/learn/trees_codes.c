/*
 * trees_codes.c
 *		Thresholds as bytes: which features an ensemble asks for, their thresholds in order, and each split's number among
 *		them. What trees_batch.c and trees_row.c build their forms from.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "learn/trees.h"
#include "learn/trees_codes.h"

int			learn_tree_cpu_limit = 2;

/* What the processor offers, or less where a test wants it so. */
int
learn_tree_cpu(void)
{
	int			level = 0;

#ifdef __x86_64__
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2"))
		level = __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vbmi") ? 2 : 1;
#endif
	return level < learn_tree_cpu_limit ? level : learn_tree_cpu_limit;
}

/* Order of floats, for qsort. */
static int
compare_floats(const void *a, const void *b)
{
	float		x = *(const float *) a;
	float		y = *(const float *) b;

	return x < y ? -1 : x > y;
}

/* Sort and drop repetitions (0 and -0 are the same threshold); the count that is left. */
static int
sort_cuts(float *cuts, int count)
{
	int			kept = 0;
	int			i;

	qsort(cuts, (size_t) count, sizeof(float), compare_floats);
	for (i = 0; i < count; i++)
		if (kept == 0 || cuts[i] != cuts[kept - 1])
			cuts[kept++] = cuts[i];
	return kept;
}

/* How many cuts are below the threshold: its number in the feature's list. */
static int
cut_number(const FeatureCuts *feature, float threshold)
{
	int			low = 0;
	int			high = feature->count;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (feature->cuts[middle] < threshold)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Number the used features; feature_of[slot] says which of them a slot is for. False where a slot comes twice. */
static bool
collect_features(const TreeEnsemble *ensemble, TreeCodes *codes)
{
	int		   *number = kernel_alloc_array(&ensemble->env, int, ensemble->features);
	bool		distinct = true;
	int			s;

	memset(number, -1, sizeof(int) * (size_t) ensemble->features);
	codes->feature = kernel_alloc_array(&ensemble->env, FeatureCuts, ensemble->slots);
	for (s = 1; s < ensemble->slots; s++)
	{
		int			f = ensemble->slot_feature[s];
		int		   *slot;

		if (number[f] < 0)
		{
			number[f] = codes->features++;
			memset(&codes->feature[number[f]], 0, sizeof(FeatureCuts));
			codes->feature[number[f]].feature = f;
		}
		codes->feature_of[s] = number[f];
		slot = ensemble->slot_left[s] ? &codes->feature[number[f]].slot_left : &codes->feature[number[f]].slot_right;
		distinct &= *slot == 0;
		*slot = s;
	}
	kernel_release(&ensemble->env, number);
	return distinct;
}

/* Divide a feature's sorted thresholds into cells of equal width, where that leaves few in each. */
static void
divide_cuts(FeatureCuts *feature)
{
	int			in_cell[CUT_CELLS] = {0};
	float		range = feature->cuts[feature->count - 1] - feature->cuts[0];
	int			below = 0;
	int			c;

	/* few: one cell; all values of a rate of 0 fall into it */
	feature->cell_origin = feature->cuts[0];
	feature->cell_rate = feature->count <= CELL_CUTS ? 0 : (CUT_CELLS - 1) / range;
	if (!isfinite(feature->cell_origin) || !isfinite(feature->cell_rate))
		return;
	for (c = 0; c < feature->count; c++)
		in_cell[learn_tree_cell(feature, feature->cuts[c])]++;
	for (c = 0; c < CUT_CELLS; c++)
	{
		if (in_cell[c] > CELL_CUTS)
			return;
		feature->below[c] = (uint8_t) below;
		below += in_cell[c];
	}
	feature->even = true;
}

/* Gather each used feature's thresholds, sorted; false where one has too many of them. */
static bool
collect_cuts(const TreeEnsemble *ensemble, TreeCodes *codes)
{
	uint32_t	nodes = ensemble->tree_start[ensemble->trees];
	uint32_t	i;
	int			f;

	for (i = 0; i < nodes; i++)
		if (!learn_tree_node_is_leaf(&ensemble->nodes[i]))
			codes->feature[codes->feature_of[ensemble->nodes[i].slot]].count++;
	for (f = 0; f < codes->features; f++)
	{
		codes->feature[f].cuts = kernel_alloc_array(&ensemble->env, float,
													codes->feature[f].count + CUT_BLOCKS * CUT_BLOCK + CELL_CUTS);
		codes->feature[f].count = 0;
	}
	for (i = 0; i < nodes; i++)
	{
		FeatureCuts *feature = &codes->feature[codes->feature_of[ensemble->nodes[i].slot]];

		if (!learn_tree_node_is_leaf(&ensemble->nodes[i]))
			feature->cuts[feature->count++] = ensemble->nodes[i].threshold;
	}
	for (f = 0; f < codes->features; f++)
	{
		FeatureCuts *feature = &codes->feature[f];
		int			c;

		feature->count = sort_cuts(feature->cuts, feature->count);
		if (feature->count > MAX_CUTS)
			return false;
		for (c = feature->count; c < CUT_BLOCKS * CUT_BLOCK + CELL_CUTS; c++)
			feature->cuts[c] = NAN;
		for (c = 0; c < CUT_BLOCKS; c++)
			feature->last[c] = feature->cuts[c * CUT_BLOCK + CUT_BLOCK - 1];
		divide_cuts(feature);
	}
	return true;
}

/* The codes of an ensemble; NULL where a feature has too many thresholds, or where nothing is asked. */
TreeCodes *
learn_tree_codes_create(const TreeEnsemble *ensemble)
{
	TreeCodes  *codes = kernel_alloc_array(&ensemble->env, TreeCodes, 1);

	memset(codes, 0, sizeof(*codes));
	codes->ensemble = ensemble;
	codes->feature_of = kernel_alloc_array(&ensemble->env, int, ensemble->slots);
	codes->feature_of[0] = 0;
	if (collect_features(ensemble, codes) && codes->features > 0 && collect_cuts(ensemble, codes))
		return codes;
	learn_tree_codes_free(codes);
	return NULL;
}

/* Give them back. NULL is allowed. */
void
learn_tree_codes_free(TreeCodes *codes)
{
	const KernelEnv *env;
	int			f;

	if (codes == NULL)
		return;
	env = &codes->ensemble->env;
	for (f = 0; f < codes->features; f++)
		kernel_release(env, codes->feature[f].cuts);
	kernel_release(env, codes->feature);
	kernel_release(env, codes->feature_of);
	kernel_release(env, codes);
}

/* A split's code: "x < t" is "code of x <= code of t". */
uint8_t
learn_tree_code(const TreeCodes *codes, const TreeNode *node)
{
	return (uint8_t) cut_number(&codes->feature[codes->feature_of[node->slot]], node->threshold);
}
