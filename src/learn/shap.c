/*
 * shap.c
 *		Contributions of features to one margin: path-dependent SHAP values of trees (Lundberg et al., "Consistent
 *		individualized feature attribution for tree ensembles", 2018), which libxgboost calls pred_contribs.
 *
 * For one leaf of value v whose path asks d features, where z is the share of training rows (by cover) that follow a
 * feature's edges and o is 1 or 0 as this row follows them or not, feature i's value is
 *
 *		v (o_i - z_i) sum over subsets S of the others  |S|! (d - 1 - |S|)! / d!  prod_S o  prod_not S z
 *	  = v (o_i - z_i) integral over t from 0 to 1 of  prod_{j != i} (t o_j + (1 - t) z_j)
 *
 * because the beta function turns the factorials into an integral. The integrand is a polynomial of degree d - 1, so
 * Gauss-Legendre quadrature with four nodes is exact for d <= 8 and with eight for d <= 16: instead of growing and
 * unwinding a polynomial for every path, as the original does, a few numbers (the lanes) flow down the tree and back.
 *
 * Down: the product P of all factors f = t o + (1 - t) z on the path. Up: G, the sum of v P over the leaves below. At the edge
 * into a node, psi = (o - z) / f turns that into the edge's feature's value: phi += G psi. When a feature comes twice
 * on a path the lower edge's z and o are those of both together, so its factor replaces the upper one's, and psi counts
 * less the upper one's. All ratios and psis depend on o alone, so they are tabulated: the row only chooses.
 */
#include <math.h>
#include <string.h>

#include "learn/shap.h"
#include "learn/trees_build.h"

#define LANES		4
#define MAX_GROUPS	2

typedef float Lanes __attribute__((vector_size(16), aligned(8)));

/* What a row can be at an edge: elsewhere by this edge, along it, or elsewhere by an upper edge of the same feature. */
enum
{
	COLD, HOT, OFF, CHOICES
};

struct ShapTable
{
	const TreeEnsemble *ensemble;
	int			groups;			/* of four lanes */
	double		bias;
	Lanes		weight[MAX_GROUPS]; /* of the quadrature */
	uint32_t   *split_start;	/* trees + 1 numbers: where a tree's splits begin in split_node */
	uint16_t   *split_node;		/* the k-th split of a tree, whose children are its nodes 2k + 1 and 2k + 2 */
	uint16_t   *upper;			/* a node's nearest edge above on the same feature, as the node it leads to; 0: none */
	Lanes	   *ratio;			/* (node * CHOICES + choice) * groups: P of a node over P of its parent */
	Lanes	   *psi;			/* the same: psi less the upper edge's */
	/* working memory */
	Lanes	   *product;		/* P, then G, of one tree's nodes */
	uint8_t    *along;			/* does the row follow the node's feature's edges? */
	uint8_t    *choice;
	Lanes	   *sum;			/* of each slot */
};

/* Nodes and weights on [0, 1]; those of eight come after those of four. */
static const double quadrature_at[12] = {
	0.06943184420297371, 0.33000947820757187, 0.66999052179242813, 0.93056815579702629,
	0.01985507175123188, 0.10166676129318664, 0.23723379504183550, 0.40828267875217510,
	0.59171732124782490, 0.76276620495816450, 0.89833323870681336, 0.98014492824876812
};
static const double quadrature_weight[12] = {
	0.17392742256872693, 0.32607257743127307, 0.32607257743127307, 0.17392742256872693,
	0.05061426814518813, 0.11119051722668724, 0.15685332293894364, 0.18134189168918100,
	0.18134189168918100, 0.15685332293894364, 0.11119051722668724, 0.05061426814518813
};

/* The lane's place on [0, 1]. */
static double
lane_at(int groups, int lane)
{
	return quadrature_at[(groups == 1 ? 0 : LANES) + lane];
}

/* The share of a parent's cover that goes to a child: halves where there is no cover. */
static double
cover_share(const TreeEnsemble *ensemble, uint32_t parent, uint32_t child)
{
	double		share = (double) ensemble->cover[child] / ensemble->cover[parent];

	if (!(ensemble->cover[parent] > 0))
		return 0.5;
	return share > 1 ? 1 : share;
}

/*
 * Tabulate one edge, and leave its cumulative z in *z. Upper numbers are those of the upper edge on the same feature,
 * or z 1 and psi 0 (has_upper false).
 */
static void
fill_edge(ShapTable *table, uint32_t node, double share, double upper_z, bool has_upper)
{
	int			groups = table->groups;
	double		z = share * upper_z;
	int			lane;

	for (lane = 0; lane < groups * LANES; lane++)
	{
		double		t = lane_at(groups, lane);
		double		hot = t + (1 - t) * z;
		double		cold = (1 - t) * z;
		double		upper_hot = has_upper ? t + (1 - t) * upper_z : 1;
		double		upper_psi = has_upper ? (1 - upper_z) / upper_hot : 0;
		size_t		at = (size_t) node * CHOICES * groups + lane / LANES;

		table->ratio[at + COLD * groups][lane % LANES] = (float) (cold / upper_hot);
		table->ratio[at + HOT * groups][lane % LANES] = (float) (hot / upper_hot);
		table->ratio[at + OFF * groups][lane % LANES] = (float) share;
		table->psi[at + COLD * groups][lane % LANES] = (float) (-1 / (1 - t) - upper_psi);
		table->psi[at + HOT * groups][lane % LANES] = (float) ((1 - z) / hot - upper_psi);
		table->psi[at + OFF * groups][lane % LANES] = 0;
	}
}

/* Memory while a table is made, for the nodes of one tree. */
typedef struct TreeScratch
{
	double	   *z;				/* cumulative share of the node's feature's edges */
	double	   *mean;			/* of the leaves below, by cover */
	uint16_t   *parent;
	uint32_t	room;
} TreeScratch;

/* The nearest edge above a node, from `at` upwards, that asks the feature; 0 where there is none. */
static uint32_t
find_upper(const TreeEnsemble *ensemble, const TreeNode *nodes, const uint16_t *parent, uint32_t at, int32_t feature)
{
	while (at != 0)
	{
		if (ensemble->slot_feature[nodes[parent[at]].slot] == feature)
			return at;
		at = parent[at];
	}
	return 0;
}

/* Tabulate the edges of one tree from the root down; the count of its splits. */
static uint32_t
fill_tree(ShapTable *table, int tree, TreeScratch *scratch, uint16_t *split_node)
{
	const TreeEnsemble *ensemble = table->ensemble;
	uint32_t	start = ensemble->tree_start[tree];
	uint32_t	count = ensemble->tree_start[tree + 1] - start;
	const TreeNode *nodes = ensemble->nodes + start;
	uint32_t	splits = 0;
	uint32_t	node;
	uint32_t	side;

	scratch->z[0] = 1;
	for (node = 0; node < count; node++)
	{
		uint32_t	upper;

		if (learn_tree_node_is_leaf(&nodes[node]))
			continue;
		upper = find_upper(ensemble, nodes, scratch->parent, node, ensemble->slot_feature[nodes[node].slot]);
		split_node[splits++] = (uint16_t) node;
		for (side = 0; side < 2; side++)
		{
			uint32_t	child = node + nodes[node].ahead + side;
			double		share = cover_share(ensemble, start + node, start + child);

			scratch->parent[child] = (uint16_t) node;
			scratch->z[child] = share * scratch->z[upper];
			table->upper[start + child] = (uint16_t) upper;
			fill_edge(table, start + child, share, scratch->z[upper], upper != 0);
		}
	}
	return splits;
}

/* The mean of a tree's leaves over the training rows, by cover. */
static double
tree_mean(const TreeEnsemble *ensemble, int tree, double *mean)
{
	uint32_t	start = ensemble->tree_start[tree];
	uint32_t	node = ensemble->tree_start[tree + 1] - start;

	while (node-- > 0)
	{
		uint32_t	child = node + ensemble->nodes[start + node].ahead;

		if (learn_tree_node_is_leaf(&ensemble->nodes[start + node]))
			mean[node] = ensemble->value[start + node];
		else
			mean[node] = mean[child] * cover_share(ensemble, start + node, start + child) +
				mean[child + 1] * cover_share(ensemble, start + node, start + child + 1);
	}
	return mean[0];
}

/* Allocate the table and what it works with. */
static ShapTable *
create_table(const TreeEnsemble *ensemble, uint32_t largest)
{
	const KernelEnv *env = &ensemble->env;
	ShapTable  *table = kernel_alloc_array(env, ShapTable, 1);
	size_t		nodes = ensemble->tree_start[ensemble->trees];
	size_t		groups = ensemble->max_depth <= 8 ? 1 : 2;

	memset(table, 0, sizeof(*table));
	table->ensemble = ensemble;
	table->groups = (int) groups;
	table->bias = ensemble->base_margin;
	table->split_start = kernel_alloc_array(env, uint32_t, ensemble->trees + 1);
	table->split_node = kernel_alloc_array(env, uint16_t, nodes);
	table->upper = kernel_alloc_array(env, uint16_t, nodes);
	table->ratio = kernel_alloc_array(env, Lanes, nodes * CHOICES * groups);
	table->psi = kernel_alloc_array(env, Lanes, nodes * CHOICES * groups);
	table->product = kernel_alloc_array(env, Lanes, largest * groups);
	table->along = kernel_alloc_array(env, uint8_t, largest);
	table->choice = kernel_alloc_array(env, uint8_t, largest);
	table->sum = kernel_alloc_array(env, Lanes, (size_t) ensemble->slots * groups);
	return table;
}

/* Nodes of the largest tree. */
static uint32_t
largest_tree(const TreeEnsemble *ensemble)
{
	uint32_t	largest = 1;
	int			tree;

	for (tree = 0; tree < ensemble->trees; tree++)
		if (ensemble->tree_start[tree + 1] - ensemble->tree_start[tree] > largest)
			largest = ensemble->tree_start[tree + 1] - ensemble->tree_start[tree];
	return largest;
}

/* Tabulate an ensemble. */
ShapTable *
learn_shap_prepare(const TreeEnsemble *ensemble)
{
	const KernelEnv *env = &ensemble->env;
	uint32_t	largest = largest_tree(ensemble);
	ShapTable  *table = create_table(ensemble, largest);
	TreeScratch scratch;
	int			tree;
	int			lane;

	scratch.z = kernel_alloc_array(env, double, largest);
	scratch.mean = kernel_alloc_array(env, double, largest);
	scratch.parent = kernel_alloc_array(env, uint16_t, largest);
	for (lane = 0; lane < table->groups * LANES; lane++)
		table->weight[lane / LANES][lane % LANES] =
			(float) quadrature_weight[(table->groups == 1 ? 0 : LANES) + lane];
	table->split_start[0] = 0;
	for (tree = 0; tree < ensemble->trees; tree++)
	{
		uint32_t	start = table->split_start[tree];

		table->split_start[tree + 1] = start + fill_tree(table, tree, &scratch, table->split_node + start);
		table->bias += tree_mean(ensemble, tree, scratch.mean);
	}
	kernel_release(env, scratch.z);
	kernel_release(env, scratch.mean);
	kernel_release(env, scratch.parent);
	return table;
}

/* Give it all back. NULL is allowed. */
void
learn_shap_free(ShapTable *table)
{
	const KernelEnv *env;

	if (table == NULL)
		return;
	env = &table->ensemble->env;
	kernel_release(env, table->split_start);
	kernel_release(env, table->split_node);
	kernel_release(env, table->upper);
	kernel_release(env, table->ratio);
	kernel_release(env, table->psi);
	kernel_release(env, table->product);
	kernel_release(env, table->along);
	kernel_release(env, table->choice);
	kernel_release(env, table->sum);
	kernel_release(env, table);
}

/* The expectation of the margin over the training rows. */
double
learn_shap_bias(const ShapTable *table)
{
	return table->bias;
}

/* Down one edge: choose by what the row does, and multiply. */
static inline __attribute__((always_inline)) void
descend(ShapTable *table, uint32_t start, uint32_t parent, uint32_t child, unsigned goes, int groups)
{
	unsigned	upper_along = table->along[table->upper[start + child]];
	unsigned	choice = upper_along ? goes : OFF;
	const Lanes *ratio = table->ratio + ((size_t) (start + child) * CHOICES + choice) * groups;
	int			g;

	table->along[child] = (uint8_t) (upper_along & goes);
	table->choice[child] = (uint8_t) choice;
	for (g = 0; g < groups; g++)
		table->product[child * groups + g] = table->product[parent * groups + g] * ratio[g];
}

/* One tree's part of every slot's sum. */
static inline __attribute__((always_inline)) void
add_tree(ShapTable *table, int tree, int groups)
{
	const TreeEnsemble *ensemble = table->ensemble;
	uint32_t	start = ensemble->tree_start[tree];
	uint32_t	count = ensemble->tree_start[tree + 1] - start;
	const TreeNode *nodes = ensemble->nodes + start;
	const uint16_t *split_node = table->split_node + table->split_start[tree];
	uint32_t	splits = table->split_start[tree + 1] - table->split_start[tree];
	uint32_t	k;
	int			g;

	table->along[0] = 1;
	for (g = 0; g < groups; g++)
		table->product[g] = table->weight[g];
	for (k = 0; k < splits; k++)
	{
		const TreeNode *node = &nodes[split_node[k]];
		unsigned	left = ensemble->slot_value[node->slot] < node->threshold;

		descend(table, start, split_node[k], 2 * k + 1, left, groups);
		descend(table, start, split_node[k], 2 * k + 2, !left, groups);
	}
	/* splits have value 0 here and are overwritten on the way up */
	for (k = 0; k < count; k++)
		for (g = 0; g < groups; g++)
			table->product[k * groups + g] *= ensemble->value[start + k];
	for (k = splits; k-- > 0;)
	{
		uint32_t	left = 2 * k + 1;
		const Lanes *psi = table->psi + (size_t) (start + left) * CHOICES * groups;
		Lanes	   *product = table->product + left * groups;
		Lanes	   *sum = table->sum + (size_t) nodes[split_node[k]].slot * groups;

		for (g = 0; g < groups; g++)
		{
			sum[g] += product[g] * psi[table->choice[left] * groups + g] +
				product[groups + g] * psi[(CHOICES + table->choice[left + 1]) * groups + g];
			table->product[split_node[k] * groups + g] = product[g] + product[groups + g];
		}
	}
}

/* Put the rounding, some 1e-6, to the largest contribution, so that all add up to the margin. */
static void
settle(double *contributions, int features, double margin)
{
	double		sum = 0;
	int			largest = features;
	int			f;

	for (f = 0; f < features; f++)
	{
		sum += contributions[f];
		if (contributions[f] != 0 && (largest == features || fabs(contributions[f]) > fabs(contributions[largest])))
			largest = f;
	}
	contributions[largest] += margin - (sum + contributions[features]);
}

/* The contributions of one row; the bias at the end. */
void
learn_shap_row(ShapTable *table, const float *features, double *contributions)
{
	const TreeEnsemble *ensemble = table->ensemble;
	float		margin = learn_trees_margin_row(ensemble, features);
	int			groups = table->groups;
	int			tree;
	int			s;
	int			lane;

	learn_tree_fill_slots(ensemble, features);
	memset(table->sum, 0, sizeof(Lanes) * (size_t) (ensemble->slots * groups));
	for (tree = 0; tree < ensemble->trees; tree++)
	{
		if (groups == 1)
			add_tree(table, tree, 1);
		else
			add_tree(table, tree, 2);
	}
	memset(contributions, 0, sizeof(double) * (size_t) ensemble->features);
	for (s = 1; s < ensemble->slots; s++)
		for (lane = 0; lane < groups * LANES; lane++)
			contributions[ensemble->slot_feature[s]] += table->sum[s * groups + lane / LANES][lane % LANES];
	contributions[ensemble->features] = table->bias;
	settle(contributions, ensemble->features, margin);
}
