/*
 * trees_test.c
 *		Boosted trees: libxgboost's own margins and contributions (trees_model.h), a plain recursive walk, Shapley values by
 *		their definition, bytes that go there and back, and bytes that are damaged.
 */
#define _GNU_SOURCE				/* memmem */

#include "tap.h"

#include "learn/shap.h"
#include "learn/trees.h"
#include "learn/trees_build.h"
#include "learn/trees_codes.h"

#include "trees_model.h"

static uint64_t state = 0x9E3779B97F4A7C15u;

/* xorshift: a number in [0, 1). */
static double
uniform(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (double) (state >> 11) * 0x1p-53;
}

/* A made-up tree in pointers, the independent form. */
typedef struct Made
{
	int			feature;		/* -1: a leaf */
	bool		missing_left;
	float		number;
	float		cover;
	struct Made *left;
	struct Made *right;
} Made;

/* A random tree of at most this depth; cuts is how many different thresholds there are. */
static Made *
make_tree(int features, int depth, int cuts, float cover)
{
	Made	   *tree = calloc(1, sizeof(Made));

	tree->cover = cover;
	tree->feature = depth == 0 || uniform() < 0.1 ? -1 : (int) (uniform() * features);
	if (tree->feature < 0)
	{
		tree->number = (float) (uniform() - 0.5);
		return tree;
	}
	tree->number = (float) ((int) (uniform() * cuts) / (double) cuts);
	tree->missing_left = uniform() < 0.5;
	cover = tree->cover * (float) (0.1 + 0.8 * uniform());
	tree->left = make_tree(features, depth - 1, cuts, cover);
	tree->right = make_tree(features, depth - 1, cuts, tree->cover - cover);
	return tree;
}

/* Give a made-up tree back. */
static void
free_tree(Made *tree)
{
	if (tree == NULL)
		return;
	free_tree(tree->left);
	free_tree(tree->right);
	free(tree);
}

/* The child that a row goes to. */
static const Made *
step(const Made *tree, const float *row)
{
	float		x = row[tree->feature];

	if (isnan(x))
		return tree->missing_left ? tree->left : tree->right;
	return x < tree->number ? tree->left : tree->right;
}

/* The leaf of a row. */
static float
walk(const Made *tree, const float *row)
{
	while (tree->feature >= 0)
		tree = step(tree, row);
	return tree->number;
}

/* The expectation where only the features of the set are known: by cover at the other splits. */
static double
expectation(const Made *tree, const float *row, unsigned known)
{
	if (tree->feature < 0)
		return tree->number;
	if (known >> tree->feature & 1)
		return expectation(step(tree, row), row, known);
	return (expectation(tree->left, row, known) * tree->left->cover +
			expectation(tree->right, row, known) * tree->right->cover) / tree->cover;
}

/* The Shapley value of a feature, by its definition. */
static double
shapley(const Made *tree, const float *row, int features, int feature)
{
	double		sum = 0;
	unsigned	set;

	for (set = 0; set < 1u << features; set++)
	{
		int			size = __builtin_popcount(set);

		if (set >> feature & 1)
			continue;
		sum += (expectation(tree, row, set | 1u << feature) - expectation(tree, row, set)) *
			tgamma(size + 1) * tgamma(features - size) / tgamma(features + 1);
	}
	return sum;
}

/* An ensemble from made-up trees, through the builder, breadth first. */
static TreeEnsemble *
build(Made **trees, int count, int features, float base_margin, const char **problem)
{
	KernelEnv	env = tap_env();
	TreeBuilder builder;
	const Made **queue = malloc(sizeof(Made *) * 200000);
	int		   *slot = calloc((size_t) features * 2, sizeof(int));
	TreeEnsemble *ensemble;
	int			t;

	learn_tree_builder_begin(&builder, &env, features, base_margin);
	for (t = 0; t < count; t++)
	{
		int			queued = 1;
		int			i;

		queue[0] = trees[t];
		for (i = 0; i < queued; i++)
		{
			const Made *node = queue[i];
			int		   *s;

			if (node->feature < 0)
			{
				learn_tree_builder_leaf(&builder, node->number, node->cover);
				continue;
			}
			s = &slot[node->feature * 2 + node->missing_left];
			if (*s == 0)
				*s = learn_tree_builder_slot(&builder, node->feature, node->missing_left);
			if (!learn_tree_builder_split(&builder, *s, node->number, node->cover))
				break;
			queue[queued++] = node->left;
			queue[queued++] = node->right;
		}
	}
	ensemble = learn_tree_builder_finish(&builder, problem);
	free(queue);
	free(slot);
	return ensemble;
}

/* A random row, some of it missing or extreme. */
static void
make_row(float *row, int features)
{
	int			f;

	for (f = 0; f < features; f++)
	{
		double		kind = uniform();

		row[f] = kind < 0.15 ? NAN : kind < 0.17 ? INFINITY : kind < 0.19 ? -INFINITY : kind < 0.25 ? 0
			: (float) (uniform() * 1.2 - 0.1);
	}
}

/* Do two arrays of floats have the same bits? */
static bool
same_bits(const float *a, const float *b, size_t count)
{
	return memcmp(a, b, sizeof(float) * count) == 0;
}

/* One row, a batch with and without vectors, and the recursive walk all agree bit for bit. */
static void
test_margins(int trees, int depth, int features, int cuts, int rows)
{
	Made	  **made = malloc(sizeof(Made *) * (size_t) (trees + 1));
	float	   *matrix = malloc(sizeof(float) * (size_t) rows * (size_t) (features + 3));
	float	   *want = malloc(sizeof(float) * (size_t) (rows + 1));
	float	   *plain = malloc(sizeof(float) * (size_t) (rows + 1));
	float	   *batch = malloc(sizeof(float) * (size_t) (rows + 1));
	const char *problem = NULL;
	TreeEnsemble *ensemble;
	int			t;
	int			r;

	for (t = 0; t < trees; t++)
		made[t] = make_tree(features, depth, cuts, 1000);
	ensemble = build(made, trees, features, 0.25f, &problem);
	for (r = 0; r < rows; r++)
	{
		make_row(matrix + (size_t) r * (size_t) (features + 3), features);
		want[r] = 0.25f;
		for (t = 0; t < trees; t++)
			want[r] += walk(made[t], matrix + (size_t) r * (size_t) (features + 3));
	}
	want[rows] = plain[rows] = batch[rows] = 7;
	learn_trees_margin_batch_plain(ensemble, matrix, (size_t) rows, (size_t) (features + 3), plain);
	learn_trees_margin_batch(ensemble, matrix, (size_t) rows, (size_t) (features + 3), batch);
	ok(same_bits(want, plain, (size_t) rows + 1), "%d trees, depth %d, %d features, %d thresholds: %d rows one by one",
	   trees, depth, features, cuts, rows);
	ok(same_bits(want, batch, (size_t) rows + 1), "the same in a batch");
	for (r = 0; r < rows; r++)
		plain[r] = learn_trees_margin_row(ensemble, matrix + (size_t) r * (size_t) (features + 3));
	ok(same_bits(want, plain, (size_t) rows + 1), "the same row by row");
	learn_trees_free(ensemble);
	for (t = 0; t < trees; t++)
		free_tree(made[t]);
	free(made);
	free(matrix);
	free(want);
	free(plain);
	free(batch);
}

/* Contributions are Shapley values, and add up. */
static void
test_shapley(int trees, int depth, int features, const char *name)
{
	Made	   *made[20];
	float		row[16];
	double		got[17];
	double		worst = 0;
	double		worst_sum = 0;
	const char *problem = NULL;
	TreeEnsemble *ensemble;
	ShapTable  *table;
	int			t;
	int			r;
	int			f;

	for (t = 0; t < trees; t++)
		made[t] = make_tree(features, depth, 50, 1000);
	ensemble = build(made, trees, features, -0.5f, &problem);
	table = learn_shap_prepare(ensemble);
	for (r = 0; r < 20; r++)
	{
		double		sum = 0;

		make_row(row, features);
		learn_shap_row(table, row, got);
		for (f = 0; f < features; f++)
		{
			double		want = 0;

			for (t = 0; t < trees; t++)
				want += shapley(made[t], row, features, f);
			worst = fmax(worst, fabs(want - got[f]));
		}
		for (f = 0; f <= features; f++)
			sum += got[f];
		worst_sum = fmax(worst_sum, fabs(sum - (double) learn_trees_margin_row(ensemble, row)));
	}
	is_double(worst, 0, 3e-6, name);
	is_double(worst_sum, 0, 1e-12, "they add up to the margin");
	learn_shap_free(table);
	learn_trees_free(ensemble);
	for (t = 0; t < trees; t++)
		free_tree(made[t]);
}

/* A chain: every split has a leaf on one side, so that a path asks as many features as it is deep. */
static void
test_deep_shapley(void)
{
	Made	   *root = make_tree(1, 0, 1, 1 << 16);
	Made	   *at = root;
	float		row[12];
	double		got[13];
	double		worst = 0;
	const char *problem = NULL;
	TreeEnsemble *ensemble;
	ShapTable  *table;
	int			f;
	int			r;

	for (f = 0; f < 12; f++)
	{
		at->feature = f;
		at->number = 0.5;
		at->left = make_tree(1, 0, 1, at->cover / 2);
		at->right = make_tree(1, 0, 1, at->cover / 2);
		at = at->left;
	}
	ensemble = build(&root, 1, 12, 0, &problem);
	table = learn_shap_prepare(ensemble);
	for (r = 0; r < 10; r++)
	{
		make_row(row, 12);
		for (f = 0; f < 12 && r < 5; f++)
			row[f] = r * 3 > f ? 0.25f : row[f];
		learn_shap_row(table, row, got);
		for (f = 0; f < 12; f++)
			worst = fmax(worst, fabs(shapley(root, row, 12, f) - got[f]));
	}
	is_double(worst, 0, 1e-6, "twelve features on one path: Shapley values by eight nodes of quadrature");
	learn_shap_free(table);
	learn_trees_free(ensemble);
	free_tree(root);
}

/* What libxgboost said, it still says through us. */
static void
test_reference(void)
{
	KernelEnv	env = tap_env();
	const char *problem = NULL;
	TreeEnsemble *ensemble = learn_trees_load(&env, model_bytes, sizeof(model_bytes), 0, &problem);
	float		margins[MODEL_ROWS];
	double		got[MODEL_FEATURES + 1];
	double		worst = 0;
	uint32_t	counts[MODEL_FEATURES];
	ShapTable  *table;
	int			r;
	int			f;

	if (!ok(ensemble != NULL, "a model saved by libxgboost is read"))
		return;
	is_int(ensemble->trees, 3, "it has three trees");
	is_int(ensemble->features, MODEL_FEATURES, "and five features");
	learn_trees_margin_batch(ensemble, &model_rows[0][0], MODEL_ROWS, MODEL_FEATURES, margins);
	ok(same_bits(margins, model_margins, MODEL_ROWS), "margins of a batch are libxgboost's bits");
	for (r = 0; r < MODEL_ROWS; r++)
		margins[r] = learn_trees_margin_row(ensemble, model_rows[r]);
	ok(same_bits(margins, model_margins, MODEL_ROWS), "margins row by row are libxgboost's bits");
	table = learn_shap_prepare(ensemble);
	for (r = 0; r < MODEL_ROWS; r++)
	{
		learn_shap_row(table, model_rows[r], got);
		for (f = 0; f <= MODEL_FEATURES; f++)
			worst = fmax(worst, fabs(got[f] - model_contributions[r][f]));
	}
	is_double(worst, 0, 1e-6, "contributions and bias are libxgboost's");
	is_double(learn_shap_bias(table), model_contributions[0][MODEL_FEATURES], 1e-6, "the bias alone");
	learn_trees_split_counts(ensemble, counts);
	is_int(counts[0] + counts[1] + counts[2] + counts[3] + counts[4],
		   (ensemble->tree_start[3] - 3) / 2, "every split is counted for one feature");
	learn_shap_free(table);
	learn_trees_free(ensemble);
	ensemble = learn_trees_load(&env, model_bytes, sizeof(model_bytes), 2, &problem);
	is_int(ensemble == NULL ? -1 : ensemble->trees, 2, "the first two trees alone");
	learn_trees_free(ensemble);
}

/* A copy of the model with one string replaced by another of the same length. */
static unsigned char *
model_with(const char *from, const char *to)
{
	unsigned char *copy = malloc(sizeof(model_bytes));
	unsigned char *at;

	memcpy(copy, model_bytes, sizeof(model_bytes));
	at = memmem(copy, sizeof(model_bytes), from, strlen(from));
	if (at == NULL)
		abort();
	memcpy(at, to, strlen(to));
	return copy;
}

/* A model that is not ours to read is refused with the reason. */
static void
test_refused(const char *from, const char *to, const char *want)
{
	KernelEnv	env = tap_env();
	unsigned char *model = model_with(from, to);
	const char *problem = NULL;
	TreeEnsemble *ensemble = learn_trees_load(&env, model, sizeof(model_bytes), 0, &problem);

	ok(ensemble == NULL, "%s for %s is refused", to, from);
	is_string(problem, want, "with the reason");
	learn_trees_free(ensemble);
	free(model);
}

/* A model cut short anywhere is refused, and so is garbage. */
static void
test_cut_short(void)
{
	KernelEnv	env = tap_env();
	const char *problem;
	bool		refused = true;
	bool		told = true;
	size_t		size;

	for (size = 0; size < sizeof(model_bytes); size++)
	{
		unsigned char *copy = malloc(size + 1);
		TreeEnsemble *ensemble;

		memcpy(copy, model_bytes, size);
		problem = NULL;
		ensemble = learn_trees_load(&env, copy, size, 0, &problem);
		/* what follows the objective is not needed */
		refused &= ensemble == NULL || size > sizeof(model_bytes) - 200;
		told &= ensemble != NULL || problem != NULL;
		learn_trees_free(ensemble);
		free(copy);
	}
	ok(refused, "a model cut short is refused");
	ok(told, "with a reason");
}

/* Bytes go there and back; any damage is found. */
static void
test_bytes(void)
{
	KernelEnv	env = tap_env();
	const char *problem = NULL;
	TreeEnsemble *ensemble = learn_trees_load(&env, model_bytes, sizeof(model_bytes), 0, &problem);
	size_t		size;
	size_t		again_size;
	unsigned char *bytes = learn_trees_serialize(ensemble, &env, &size);
	TreeEnsemble *again = learn_trees_deserialize(&env, bytes, size, &problem);
	unsigned char *again_bytes;
	bool		same = true;
	bool		refused = true;
	size_t		i;
	int			r;

	if (!ok(again != NULL, "bytes are read back"))
		return;
	again_bytes = learn_trees_serialize(again, &env, &again_size);
	ok(size == again_size && memcmp(bytes, again_bytes, size) == 0, "and give the same bytes");
	for (r = 0; r < MODEL_ROWS; r++)
		same &= learn_trees_margin_row(again, model_rows[r]) == model_margins[r];
	ok(same, "and the same margins");
	for (i = 0; i < size * 8; i++)
	{
		TreeEnsemble *damaged;

		bytes[i / 8] ^= (unsigned char) (1u << i % 8);
		damaged = learn_trees_deserialize(&env, bytes, size, &problem);
		refused &= damaged == NULL && problem != NULL;
		learn_trees_free(damaged);
		bytes[i / 8] ^= (unsigned char) (1u << i % 8);
	}
	ok(refused, "every single bit that flips is found");
	for (i = 0, refused = true; i < size; i++)
	{
		unsigned char *copy = malloc(i + 1);

		memcpy(copy, bytes, i);
		refused &= learn_trees_deserialize(&env, copy, i, &problem) == NULL;
		free(copy);
	}
	ok(refused, "bytes cut short are refused");
	bytes[4] = 9;
	learn_trees_deserialize(&env, bytes, size, &problem);
	is_string(problem, "the tree ensemble is of a version that this release does not know", "a later version is named");
	learn_trees_free(ensemble);
	learn_trees_free(again);
	free(bytes);
	free(again_bytes);
}

/* Limits of the builder. */
static void
test_limits(void)
{
	const char *problem = NULL;
	Made	   *deep = make_tree(1, 0, 1, 1);
	Made	   *at = deep;
	int			i;

	for (i = 0; i < 17; i++)
	{
		at->feature = 0;
		at->left = make_tree(1, 0, 1, 1);
		at->right = make_tree(1, 0, 1, 1);
		at = at->right;
	}
	ok(build(&deep, 1, 1, 0, &problem) == NULL, "a tree of 17 levels is refused");
	is_string(problem, "a tree is deeper than 16 splits", "with the reason");
	free_tree(deep);
	deep = make_tree(1, 0, 1, 1);
	deep->number = NAN;
	problem = NULL;
	ok(build(&deep, 1, 1, 0, &problem) == NULL, "a leaf that is no number is refused");
	is_string(problem, "a threshold or leaf is not a finite number", "with the reason");
	free_tree(deep);
	ok(build(NULL, 0, 0, 0, &problem) == NULL, "no features are refused");
	ok(build(NULL, 0, 3, INFINITY, &problem) == NULL, "an infinite base margin is refused");
}

/* An ensemble without trees, and trees without splits, are constants. */
static void
test_constant(void)
{
	const char *problem = NULL;
	Made	   *leaf = make_tree(1, 0, 1, 10);
	TreeEnsemble *none = build(NULL, 0, 2, 0.75f, &problem);
	TreeEnsemble *stump = build(&leaf, 1, 2, 0.75f, &problem);
	float		row[4] = {1, NAN, 0, 3};
	float		margins[2];
	double		contributions[3];
	ShapTable  *table = learn_shap_prepare(stump);

	is_double(learn_trees_margin_row(none, row), 0.75, 0, "no trees: the base margin");
	learn_trees_margin_batch(none, row, 2, 2, margins);
	is_double(margins[1], 0.75, 0, "and in a batch");
	learn_trees_margin_batch(stump, row, 2, 2, margins);
	is_double(margins[1], 0.75f + leaf->number, 0, "a tree of one leaf adds it");
	learn_trees_margin_batch(stump, row, 0, 2, margins);
	learn_shap_row(table, row, contributions);
	is_double(contributions[0] + contributions[1], 0, 0, "no feature contributes");
	is_double(contributions[2], 0.75f + leaf->number, 1e-12, "all is bias");
	learn_shap_free(table);
	learn_trees_free(none);
	learn_trees_free(stump);
	free_tree(leaf);
}

/* Every way to a margin, as the processor allows; a lesser processor is pretended by the limit. */
static void
test_all_margins(void)
{
	int			depth;

	for (depth = 0; depth <= 11; depth++)
		test_margins(23, depth, 6, 40, 300);
	test_margins(64, 5, 30, 200, 1000);
	test_margins(12, 6, 400, 1, 65);
	test_margins(100, 5, 8, 16, 100);
	test_margins(100, 4, 50, 17, 100);
	test_margins(100, 5, 70, 255, 100);
	test_margins(300, 5, 2, 3000, 100); /* more than 255 thresholds a feature: floats */
	test_margins(11, 9, 3, 100, 31);
	test_margins(7, 4, 5, 7, 1);
}

int
main(void)
{
	test_reference();
	for (learn_tree_cpu_limit = 0; learn_tree_cpu_limit <= 2; learn_tree_cpu_limit++)
		test_all_margins();
	learn_tree_cpu_limit = 2;
	test_shapley(10, 3, 6, "contributions are Shapley values by definition");
	test_shapley(10, 7, 4, "also where features come again and again on a path");
	test_shapley(4, 10, 5, "also in trees of ten levels");
	test_deep_shapley();
	test_constant();
	test_limits();
	test_bytes();
	test_cut_short();
	test_refused("binary:logistic", "reg:squarederro", "the model's objective is not binary:logistic");
	test_refused("gbtree}", "gbline}", "the model's booster is not gbtree");
	return done_testing();
}
