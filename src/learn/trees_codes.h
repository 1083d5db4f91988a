/*
 * trees_codes.h
 *		Values and thresholds as bytes, for the kernels that compare many at once. Not for others.
 *
 * A value's code is how many of its feature's thresholds are <= it; then "x < t_i" is "code <= i". A missing value is
 * code 0 (left of every threshold) or 255 (right of them all) as the slot wants it.
 */
#ifndef SALESOPS_LEARN_TREES_CODES_H
#define SALESOPS_LEARN_TREES_CODES_H

#include "learn/trees.h"

#define MAX_CUTS	255
#define CUT_BLOCK	16
#define CUT_BLOCKS	16
#define CUT_CELLS	256
#define CELL_CUTS	8			/* thresholds that one comparison takes */

/* The thresholds of a feature, and the slots that its codes are for (0: none). */
typedef struct FeatureCuts
{
	int			feature;
	int			count;
	float	   *cuts;			/* CUT_BLOCKS blocks of CUT_BLOCK, and CELL_CUTS; beyond count NaN, which nothing reaches */
	float		last[CUT_BLOCKS];		/* of each block: counting takes two steps */
	/* where the thresholds lie evenly enough, one step: cells of equal width, none with more than CELL_CUTS thresholds */
	bool		even;
	float		cell_origin;
	float		cell_rate;		/* cells a unit */
	uint8_t		below[CUT_CELLS];	/* thresholds in the cells before each */
	int			slot_left;
	int			slot_right;
} FeatureCuts;

typedef struct TreeCodes
{
	const TreeEnsemble *ensemble;
	int			features;		/* that the trees ask for */
	FeatureCuts *feature;
	int		   *feature_of;		/* a slot's place in `feature` */
} TreeCodes;

/* What the processor offers: 0 nothing that these kernels use, 1 AVX2 and BMI2, 2 AVX-512 with VBMI besides. */
extern int	learn_tree_cpu(void);

/* Tests lower this to try the other ways; all give the same bits. */
extern int	learn_tree_cpu_limit;

extern TreeCodes *learn_tree_codes_create(const TreeEnsemble *ensemble);
extern void learn_tree_codes_free(TreeCodes *codes);
extern uint8_t learn_tree_code(const TreeCodes *codes, const TreeNode *node);

/*
 * The cell a value falls into. Each operation rounds but keeps order, so what lies in an earlier cell is less. NaN: the first cell.
 */
static inline int
learn_tree_cell(const FeatureCuts *feature, float x)
{
	float		place = (x - feature->cell_origin) * feature->cell_rate;

	place = place > 0 ? place : 0;
	place = place < CUT_CELLS - 1 ? place : CUT_CELLS - 1;
	return (int) place;
}

#ifdef __x86_64__

#include <immintrin.h>

/* How many of a block's thresholds are <= x, eight times the same number. NaN reaches none. */
static inline __attribute__((target("avx2"), always_inline)) unsigned
learn_tree_count_block(const float *cuts, __m256 x)
{
	__m256		low = _mm256_cmp_ps(_mm256_loadu_ps(cuts), x, _CMP_LE_OQ);
	__m256		high = _mm256_cmp_ps(_mm256_loadu_ps(cuts + 8), x, _CMP_LE_OQ);

	return (unsigned) __builtin_popcount((unsigned) _mm256_movemask_ps(low) |
										 (unsigned) _mm256_movemask_ps(high) << 8);
}

/* A value's code: blocks that end at or below it, then within the next one. There is one NaN at least at the end. */
static inline __attribute__((target("avx2"), always_inline)) unsigned
learn_tree_count_cuts(const float *last, const float *cuts, bool many, __m256 x)
{
	unsigned	block = many ? learn_tree_count_block(last, x) : 0;

	return block * CUT_BLOCK + learn_tree_count_block(cuts + block * CUT_BLOCK, x);
}

/* learn_tree_cell of eight values: the same operations. */
static inline __attribute__((target("avx2"), always_inline)) __m256i
learn_tree_cells(const FeatureCuts *feature, __m256 x)
{
	__m256		place = _mm256_mul_ps(_mm256_sub_ps(x, _mm256_set1_ps(feature->cell_origin)), _mm256_set1_ps(feature->cell_rate));

	/* of NaN and a number the maximum is the second */
	place = _mm256_min_ps(_mm256_max_ps(place, _mm256_setzero_ps()), _mm256_set1_ps(CUT_CELLS - 1));
	return _mm256_cvttps_epi32(place);
}

/*
 * The same where the cuts are even: those of the cells before, and of the next CELL_CUTS those that are <= x, which is eight times the
 * same number.
 */
static inline __attribute__((target("avx2"), always_inline)) unsigned
learn_tree_count_even(const FeatureCuts *feature, const float *cuts, unsigned cell, __m256 x)
{
	unsigned	below = feature->below[cell];
	__m256		next = _mm256_cmp_ps(_mm256_loadu_ps(cuts + below), x, _CMP_LE_OQ);

	return below + (unsigned) __builtin_popcount((unsigned) _mm256_movemask_ps(next));
}

#endif

#endif							/* SALESOPS_LEARN_TREES_CODES_H */
