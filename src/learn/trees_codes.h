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

#define MAX_CUTS 255

/* The thresholds of a feature, and the slots that its codes are for (0: none). */
typedef struct FeatureCuts
{
	int			feature;
	int			count;
	int			padded;			/* a power of two less one >= count; the rest are NaN, which nothing reaches */
	float	   *cuts;			/* room for MAX_CUTS + 1 */
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

#endif							/* SALESOPS_LEARN_TREES_CODES_H */
