/*
 * trees_build.h
 *		How the readers of trees (saved models, stored bytes) put an ensemble together. Not for others.
 *
 * Nodes arrive tree by tree, breadth first, so that no child needs a number: the children of a tree's k-th split (from 0)
 * are its nodes 2k + 1 and 2k + 2, and a tree ends where no child is owed. Every limit is checked here.
 */
#ifndef SALESOPS_LEARN_TREES_BUILD_H
#define SALESOPS_LEARN_TREES_BUILD_H

#include "learn/trees.h"

typedef struct TreeBuilder
{
	TreeEnsemble *ensemble;
	const char *problem;		/* the first thing found wrong, a static text; NULL as long as all is well */
	uint32_t	nodes;			/* in all trees so far */
	uint32_t	nodes_room;
	int			trees_room;
	int			slots_room;
	uint32_t	tree_nodes;		/* of the tree at hand */
	uint32_t	tree_owed;		/* nodes that its splits have promised, the root included */
	uint8_t    *depth;			/* of the nodes of the tree at hand */
} TreeBuilder;

extern void learn_tree_builder_begin(TreeBuilder *builder, const KernelEnv *env, int64_t features, float base_margin);
/* A new slot for a feature; its number, or 0 with a problem. */
extern int	learn_tree_builder_slot(TreeBuilder *builder, int64_t feature, bool missing_goes_left);
extern bool learn_tree_builder_split(TreeBuilder *builder, int slot, float threshold, float cover);
extern bool learn_tree_builder_leaf(TreeBuilder *builder, float value, float cover);
/* Is the tree at hand complete? The next node then begins another. */
extern bool learn_tree_builder_at_end_of_tree(const TreeBuilder *builder);
/* The ensemble, or NULL and the problem. */
extern TreeEnsemble *learn_tree_builder_finish(TreeBuilder *builder, const char **problem);

/* Lay a row out in slots, as shap.c and walks need it. */
extern void learn_tree_fill_slots(const TreeEnsemble *ensemble, const float *features);

/* trees_batch.c */
extern void learn_tree_batch_free(TreeEnsemble *ensemble);

/* trees_row.c: the form is made once; false where the row must be walked. */
extern TreeRow *learn_tree_row_create(const TreeEnsemble *ensemble);
extern void learn_tree_row_free(TreeRow *row, const KernelEnv *env);
extern bool learn_tree_row_margin(const TreeEnsemble *ensemble, TreeRow *row, const float *features, float *margin);

#endif							/* SALESOPS_LEARN_TREES_BUILD_H */
