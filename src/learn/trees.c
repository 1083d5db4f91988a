/*
 * trees.c
 *		Ensembles of boosted trees: putting them together, and the margin of one row. Reading saved models is
 *		trees_load.c, bytes are trees_bytes.c, many rows at a time trees_batch.c.
 *
 * The walk has no branch but its loops: a row's values lie in slots, one for each (feature, where missing goes) pair that
 * the trees ask for, with a missing value as minus infinity (below every threshold) or plus infinity (below none); a
 * leaf asks for slot 0, whose 0 is below its threshold of 1, and steps to itself. Several trees are walked side by side,
 * because a walk is a chain of dependent loads and a core can follow many at once.
 */
#include <math.h>
#include <string.h>

#include "learn/trees.h"
#include "learn/trees_build.h"

#define ROWS_WALKED 8		/* before the quicker form is worth its making */
#define WALK_WIDTH 10		/* trees side by side: measured, 8 and 12 are slower */

/* Remember the first problem only. Always false, for return statements. */
static bool
fail(TreeBuilder *builder, const char *problem)
{
	if (builder->problem == NULL)
		builder->problem = problem;
	return false;
}

/* Start an ensemble without trees. Features and the base margin come from outside, so they are checked. */
void
learn_tree_builder_begin(TreeBuilder *builder, const KernelEnv *env, int64_t features, float base_margin)
{
	TreeEnsemble *ensemble = kernel_alloc_array(env, TreeEnsemble, 1);

	memset(builder, 0, sizeof(*builder));
	memset(ensemble, 0, sizeof(*ensemble));
	ensemble->env = *env;
	ensemble->base_margin = base_margin;
	builder->ensemble = ensemble;
	builder->depth = kernel_alloc_array(env, uint8_t, LEARN_TREES_MAX_NODES + 2);
	builder->trees_room = 64;
	ensemble->tree_start = kernel_alloc_array(env, uint32_t, builder->trees_room + 1);
	ensemble->tree_depth = kernel_alloc_array(env, uint8_t, builder->trees_room);
	ensemble->tree_start[0] = 0;
	builder->slots_room = 64;
	ensemble->slot_feature = kernel_alloc_array(env, int32_t, builder->slots_room);
	ensemble->slot_left = kernel_alloc_array(env, uint8_t, builder->slots_room);
	ensemble->slots = 1;
	ensemble->slot_feature[0] = -1;
	ensemble->slot_left[0] = 1;
	if (features < 1 || features > LEARN_TREES_MAX_FEATURES)
		fail(builder, "the number of features is out of range");
	else
		ensemble->features = (int) features;
	if (!isfinite(base_margin))
		fail(builder, "the base score is not a probability between 0 and 1");
}

/* A new slot for a feature; its number, or 0 with a problem. */
int
learn_tree_builder_slot(TreeBuilder *builder, int64_t feature, bool missing_goes_left)
{
	TreeEnsemble *ensemble = builder->ensemble;

	if (feature < 0 || feature >= ensemble->features)
		return fail(builder, "a split asks for a feature that does not exist");
	if (ensemble->slots > LEARN_TREES_MAX_SLOTS)
		return fail(builder, "the trees use too many features");
	if (ensemble->slots == builder->slots_room)
	{
		builder->slots_room *= 2;
		ensemble->slot_feature = kernel_realloc_array(&ensemble->env, ensemble->slot_feature, int32_t,
													  builder->slots_room);
		ensemble->slot_left = kernel_realloc_array(&ensemble->env, ensemble->slot_left, uint8_t,
												   builder->slots_room);
	}
	ensemble->slot_feature[ensemble->slots] = (int32_t) feature;
	ensemble->slot_left[ensemble->slots] = missing_goes_left;
	return ensemble->slots++;
}

/* Room for one more node. */
static void
reserve_node(TreeBuilder *builder)
{
	TreeEnsemble *ensemble = builder->ensemble;

	if (builder->nodes < builder->nodes_room)
		return;
	builder->nodes_room = builder->nodes_room == 0 ? 1024 : builder->nodes_room * 2;
	ensemble->nodes = kernel_realloc_array(&ensemble->env, ensemble->nodes, TreeNode, builder->nodes_room);
	ensemble->value = kernel_realloc_array(&ensemble->env, ensemble->value, float, builder->nodes_room);
	ensemble->cover = kernel_realloc_array(&ensemble->env, ensemble->cover, float, builder->nodes_room);
}

/* Take the next place of the tree at hand, or begin a tree. */
static bool
begin_node(TreeBuilder *builder, float number, float cover)
{
	if (builder->problem != NULL)
		return false;
	if (!isfinite(number))
		return fail(builder, "a threshold or leaf is not a finite number");
	if (!isfinite(cover) || cover < 0)
		return fail(builder, "a node's cover is not a number from 0 up");
	if (builder->nodes > UINT32_MAX / 4)
		return fail(builder, "the trees have too many nodes");
	if (builder->tree_owed == 0)
	{
		builder->tree_owed = 1;
		builder->depth[0] = 0;
	}
	reserve_node(builder);
	return true;
}

/* Close the books on a tree whose last owed node has come. */
static void
end_tree(TreeBuilder *builder)
{
	TreeEnsemble *ensemble = builder->ensemble;
	int			depth = builder->depth[builder->tree_nodes - 1];	/* breadth first: the last is the deepest */

	if (ensemble->trees == builder->trees_room)
	{
		builder->trees_room *= 2;
		ensemble->tree_start = kernel_realloc_array(&ensemble->env, ensemble->tree_start, uint32_t,
													builder->trees_room + 1);
		ensemble->tree_depth = kernel_realloc_array(&ensemble->env, ensemble->tree_depth, uint8_t,
													builder->trees_room);
	}
	ensemble->tree_depth[ensemble->trees] = (uint8_t) depth;
	ensemble->tree_start[++ensemble->trees] = builder->nodes;
	if (depth > ensemble->max_depth)
		ensemble->max_depth = depth;
	builder->tree_nodes = 0;
	builder->tree_owed = 0;
}

/* Store a node in the place that begin_node prepared. */
static void
put_node(TreeBuilder *builder, TreeNode node, float value, float cover)
{
	TreeEnsemble *ensemble = builder->ensemble;

	ensemble->nodes[builder->nodes] = node;
	ensemble->value[builder->nodes] = value;
	ensemble->cover[builder->nodes] = cover;
	builder->nodes++;
	builder->tree_nodes++;
	if (builder->tree_nodes == builder->tree_owed)
		end_tree(builder);
}

/* The next node, breadth first, is a split: a slot's value below the threshold goes to its first child. */
bool
learn_tree_builder_split(TreeBuilder *builder, int slot, float threshold, float cover)
{
	TreeNode	node = {threshold, (uint16_t) slot, 0};
	int			depth;

	if (!begin_node(builder, threshold, cover))
		return false;
	if (slot < 1 || slot >= builder->ensemble->slots)
		return fail(builder, "a split asks for a feature that does not exist");
	depth = builder->depth[builder->tree_nodes] + 1;
	if (depth > LEARN_TREES_MAX_DEPTH)
		return fail(builder, "a tree is deeper than 16 splits");
	if (builder->tree_owed + 2 > LEARN_TREES_MAX_NODES)
		return fail(builder, "a tree has too many nodes");
	node.ahead = (uint16_t) (builder->tree_owed - builder->tree_nodes);
	builder->depth[builder->tree_owed] = (uint8_t) depth;
	builder->depth[builder->tree_owed + 1] = (uint8_t) depth;
	builder->tree_owed += 2;
	put_node(builder, node, 0, cover);
	return true;
}

/* The next node, breadth first, is a leaf. */
bool
learn_tree_builder_leaf(TreeBuilder *builder, float value, float cover)
{
	TreeNode	node = {1, 0, 0};

	if (!begin_node(builder, value, cover))
		return false;
	put_node(builder, node, value, cover);
	return true;
}

/* Is the tree at hand complete? The next node then begins another. */
bool
learn_tree_builder_at_end_of_tree(const TreeBuilder *builder)
{
	return builder->tree_owed == 0;
}

/* The ensemble, or NULL and the problem. */
TreeEnsemble *
learn_tree_builder_finish(TreeBuilder *builder, const char **problem)
{
	TreeEnsemble *ensemble = builder->ensemble;

	kernel_release(&ensemble->env, builder->depth);
	if (builder->tree_owed != 0)
		fail(builder, "the last tree is not complete");
	if (builder->problem != NULL)
	{
		*problem = builder->problem;
		learn_trees_free(ensemble);
		return NULL;
	}
	ensemble->slot_value = kernel_alloc_array(&ensemble->env, float, ensemble->slots);
	ensemble->slot_value[0] = 0;
	return ensemble;
}

/* Give back everything. NULL is allowed. */
void
learn_trees_free(TreeEnsemble *ensemble)
{
	KernelEnv	env;

	if (ensemble == NULL)
		return;
	env = ensemble->env;
	learn_tree_batch_free(ensemble);
	learn_tree_row_free(ensemble->row, &env);
	kernel_release(&env, ensemble->tree_start);
	kernel_release(&env, ensemble->tree_depth);
	kernel_release(&env, ensemble->nodes);
	kernel_release(&env, ensemble->value);
	kernel_release(&env, ensemble->cover);
	kernel_release(&env, ensemble->slot_feature);
	kernel_release(&env, ensemble->slot_left);
	kernel_release(&env, ensemble->slot_value);
	kernel_release(&env, ensemble);
}

/* Lay the row out in slots: the one place that looks at missing values. */
void
learn_tree_fill_slots(const TreeEnsemble *ensemble, const float *features)
{
	float	   *slot = ensemble->slot_value;
	int			s;

	for (s = 1; s < ensemble->slots; s++)
	{
		float		x = features[ensemble->slot_feature[s]];

		slot[s] = x == x ? x : (ensemble->slot_left[s] ? -INFINITY : INFINITY);
	}
}

/* One step down. */
#define STEP(node) ((node) + (node)->ahead + !(slot[(node)->slot] < (node)->threshold))

/* Walk one tree to its leaf and add that. */
static inline float
walk(const TreeEnsemble *ensemble, int tree, float margin)
{
	const TreeNode *node = ensemble->nodes + ensemble->tree_start[tree];
	const float *slot = ensemble->slot_value;
	int			depth;

	for (depth = ensemble->tree_depth[tree]; depth > 0; depth--)
		node = STEP(node);
	return margin + ensemble->value[node - ensemble->nodes];
}

/* Walk neighbouring trees side by side and add their leaves in order. */
static inline float
walk_side_by_side(const TreeEnsemble *ensemble, int tree, float margin)
{
	const float *slot = ensemble->slot_value;
	const TreeNode *node[WALK_WIDTH];
	int			depth = 0;
	int			i;

#pragma GCC unroll 16
	for (i = 0; i < WALK_WIDTH; i++)
	{
		node[i] = ensemble->nodes + ensemble->tree_start[tree + i];
		depth = ensemble->tree_depth[tree + i] > depth ? ensemble->tree_depth[tree + i] : depth;
	}
	for (; depth > 0; depth--)
	{
#pragma GCC unroll 16
		for (i = 0; i < WALK_WIDTH; i++)
			node[i] = STEP(node[i]);
	}
#pragma GCC unroll 16
	for (i = 0; i < WALK_WIDTH; i++)
		margin += ensemble->value[node[i] - ensemble->nodes];
	return margin;
}

/* The log odds of one row by walking. */
float
learn_trees_margin_row_plain(const TreeEnsemble *ensemble, const float *features)
{
	float		margin = ensemble->base_margin;
	int			tree = 0;

	learn_tree_fill_slots(ensemble, features);
	for (; tree + WALK_WIDTH <= ensemble->trees; tree += WALK_WIDTH)
		margin = walk_side_by_side(ensemble, tree, margin);
	for (; tree < ensemble->trees; tree++)
		margin = walk(ensemble, tree, margin);
	return margin;
}

/* The log odds of one row, NaN where missing. */
float
learn_trees_margin_row(const TreeEnsemble *ensemble, const float *features)
{
	/* an ensemble holds its working memory: const says that its trees stay as they are */
	TreeEnsemble *work = (TreeEnsemble *) ensemble;
	float		margin;

	if (work->row == NULL && ++work->rows_seen > ROWS_WALKED)
		work->row = learn_tree_row_create(ensemble);
	if (work->row != NULL && learn_tree_row_margin(ensemble, work->row, features, &margin))
		return margin;
	return learn_trees_margin_row_plain(ensemble, features);
}

/* The log odds of many rows, a row at a time: the same everywhere. */
void
learn_trees_margin_batch_plain(const TreeEnsemble *ensemble, const float *matrix, size_t rows, size_t stride,
							   float *margins)
{
	size_t		row;

	for (row = 0; row < rows; row++)
		margins[row] = learn_trees_margin_row_plain(ensemble, matrix + row * stride);
}

/* How many splits ask for each feature. */
void
learn_trees_split_counts(const TreeEnsemble *ensemble, uint32_t *counts)
{
	uint32_t	nodes = ensemble->tree_start[ensemble->trees];
	uint32_t	i;

	memset(counts, 0, sizeof(uint32_t) * (size_t) ensemble->features);
	for (i = 0; i < nodes; i++)
		if (!learn_tree_node_is_leaf(&ensemble->nodes[i]))
			counts[ensemble->slot_feature[ensemble->nodes[i].slot]]++;
}
