/*
 * trees.h
 *		An ensemble of boosted binary trees over float features: its compact form, its bytes, and its margins (log odds).
 *
 * An ensemble comes out of libxgboost's saved model (learn_trees_load) or out of our own bytes (learn_trees_deserialize);
 * both check everything they read, whatever the bytes, and give NULL with a problem text rather than fail. It knows
 * nothing of columns, encodings or probabilities: feature f is the number at position f of a row, NaN where missing.
 *
 * A margin is the base margin plus the trees' leaves, added as floats in the order of the trees: bit for bit libxgboost's
 * own, the same for one row and for a batch, with and without AVX2.
 *
 * An ensemble holds its working memory, so one thread at a time uses it.
 */
#ifndef SALESOPS_LEARN_TREES_H
#define SALESOPS_LEARN_TREES_H

#include "core/kernel.h"

#define LEARN_TREES_MAX_DEPTH		16
#define LEARN_TREES_MAX_NODES		65535	/* of one tree */
#define LEARN_TREES_MAX_SLOTS		65535	/* distinct (feature, where missing goes) pairs that the trees ask for */
#define LEARN_TREES_MAX_FEATURES	1000000

/* A node asks: is the slot's value below the threshold? yes: to the node `ahead`; no: the one after it. A leaf stays. */
typedef struct TreeNode
{
	float		threshold;
	uint16_t	slot;
	uint16_t	ahead;			/* how many nodes further the left child lies; 0 in a leaf */
} TreeNode;

typedef struct TreeBatch TreeBatch; /* what the batch kernel keeps: trees_batch.c */
typedef struct TreeRow TreeRow; /* what the kernel for single rows keeps: trees_row.c */

/*
 * All trees lie one after the other in the node arrays, each breadth first, so that two children are neighbours. A slot
 * is a feature with a direction for the missing: slot 0 is the constant that leaves ask for.
 */
typedef struct TreeEnsemble
{
	int			features;		/* columns of a row */
	int			trees;
	int			max_depth;		/* splits on the longest path */
	float		base_margin;
	uint32_t   *tree_start;		/* trees + 1 numbers: tree t is nodes tree_start[t] .. tree_start[t + 1] - 1 */
	uint8_t    *tree_depth;
	TreeNode   *nodes;
	float	   *value;			/* a leaf's addition to the margin; 0 elsewhere */
	float	   *cover;			/* the training rows' hessian through the node */
	int			slots;
	int32_t    *slot_feature;	/* -1 in slot 0 */
	uint8_t    *slot_left;		/* does a missing value go left? */
	float	   *slot_value;		/* working memory: the row at hand */
	TreeBatch  *batch;			/* NULL until the first batch */
	TreeRow    *row;			/* NULL until some rows have come */
	int			rows_seen;
	KernelEnv	env;			/* owns all of it */
} TreeEnsemble;

#define learn_tree_node_is_leaf(node) ((node)->slot == 0)

/*
 * Read libxgboost's model (binary:logistic, gbtree) as saved in the UBJ format by any version from 1.6 to 3.x. Of more
 * than `rounds` trees the first are kept (0 keeps all). NULL and *problem (a static text) where it is not such a model.
 */
extern TreeEnsemble *learn_trees_load(const KernelEnv *env, const void *model, size_t size, int rounds,
									  const char **problem);

/* The ensemble as bytes, the same on every machine; allocated in env. */
extern void *learn_trees_serialize(const TreeEnsemble *ensemble, const KernelEnv *env, size_t *size);

/* The reverse; NULL and *problem (a static text) where the bytes are damaged or of another version. */
extern TreeEnsemble *learn_trees_deserialize(const KernelEnv *env, const void *bytes, size_t size,
											 const char **problem);

/* Give back everything (or just let the env's memory context go). NULL is allowed. */
extern void learn_trees_free(TreeEnsemble *ensemble);

/*
 * The log odds of one row of ensemble->features numbers, NaN where missing. Some rows on, a quicker form is made (a
 * millisecond) and kept in the ensemble.
 */
extern float learn_trees_margin_row(const TreeEnsemble *ensemble, const float *features);

/*
 * The log odds of many rows: row r begins at matrix[r * stride], stride >= ensemble->features. Quickest with hundreds of
 * rows at a time. The first call prepares the batch form (a millisecond or so, kept in the ensemble). It does not tick: call
 * it with thousands of rows, not with millions.
 */
extern void learn_trees_margin_batch(TreeEnsemble *ensemble, const float *matrix, size_t rows, size_t stride,
									 float *margins);

/* A row by walking its trees, the way that serves everywhere; the same bits. For tests and comparisons. */
extern float learn_trees_margin_row_plain(const TreeEnsemble *ensemble, const float *features);

/* The same for many rows. */
extern void learn_trees_margin_batch_plain(const TreeEnsemble *ensemble, const float *matrix, size_t rows,
										   size_t stride, float *margins);

/* Sum of each feature's split count over the trees, for lists of what a model leans on: features numbers. */
extern void learn_trees_split_counts(const TreeEnsemble *ensemble, uint32_t *counts);

#endif							/* SALESOPS_LEARN_TREES_H */
