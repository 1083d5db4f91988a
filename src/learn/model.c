/*
 * model.c
 *		Evaluates and explains a model. A fitted logistic regression is folded into a function of each feature's value
 *		alone: piecewise lines for numbers, a weight a level for categories; so a prediction looks up one piece a feature,
 *		and its contribution is what was looked up.
 */
#include "learn/model.h"

#include <math.h>
#include <string.h>

/* Insert an edge into a sorted list, once. */
static int
add_edge(double *edges, int count, double edge)
{
	int			at = count;

	if (!isfinite(edge))
		return count;
	for (int i = 0; i < count; i++)
		if (edges[i] == edge)
			return count;
	for (; at > 0 && edges[at - 1] > edge; at--)
		edges[at] = edges[at - 1];
	edges[at] = edge;
	return count + 1;
}

/* Line and hinges at a value inside the feature's reach. */
static void
line_at(const LearnFeature *feature, const double *coefficient, double at, double *intercept, double *slope)
{
	*slope = coefficient[0] / feature->scale;
	*intercept = -coefficient[0] * feature->median / feature->scale;
	for (int k = 0; k < feature->knots; k++)
		if (at >= feature->knot[k])
		{
			*slope += coefficient[1 + k] / feature->scale;
			*intercept -= coefficient[1 + k] * feature->knot[k] / feature->scale;
		}
}

/* The piece that begins at `from` (-infinity: the first). */
static void
fold_piece(LearnFeature *feature, const double *coefficient, int piece, double from)
{
	double		at = from < feature->low ? feature->low : from > feature->high ? feature->high : from;
	int			bin = 0;
	double		intercept;
	double		slope;

	line_at(feature, coefficient, at, &intercept, &slope);
	if (from < feature->low || from >= feature->high)
	{
		if (isfinite(at))
		{
			intercept += slope * at;
			slope = 0;
		}
	}
	if (feature->edges > 0)
	{
		double		drawn = at;

		while (bin < feature->edges && drawn >= feature->edge[bin])
			bin++;
		intercept += coefficient[1 + feature->knots + bin];
	}
	feature->piece_line[piece] = (LearnLine) {intercept, slope};
}

/* See model.h. */
void
learn_pieces(const KernelEnv *env, LearnFeature *feature, int pieces)
{
	feature->pieces = pieces;
	feature->piece_half = 1;
	while (feature->piece_half * 2 < pieces)
		feature->piece_half *= 2;
	feature->piece_edge = kernel_alloc_array(env, double, feature->piece_half * 2);
	feature->piece_line = kernel_alloc_array(env, LearnLine, feature->piece_half * 2);
	for (int i = 0; i < feature->piece_half * 2; i++)
	{
		feature->piece_edge[i] = INFINITY;
		feature->piece_line[i] = (LearnLine) {0, 0};
	}
}

/* A number's terms into pieces between the sorted edges. */
static void
fold_number(const KernelEnv *env, LearnFeature *feature, const double *coefficient)
{
	double		edge[LEARN_KNOTS + LEARN_EDGES + 3];
	int			count = 0;
	double		intercept;
	double		slope;
	int			missing = 1 + feature->knots + (feature->edges > 0 ? feature->edges + 1 : 0);

	count = add_edge(edge, count, feature->low);
	count = add_edge(edge, count, feature->high);
	for (int k = 0; k < feature->knots; k++)
		count = add_edge(edge, count, feature->knot[k]);
	for (int k = 0; k < feature->edges; k++)
		count = add_edge(edge, count, feature->edge[k]);
	learn_pieces(env, feature, count + 1);
	memcpy(feature->piece_edge, edge, sizeof(double) * count);
	fold_piece(feature, coefficient, 0, -INFINITY);
	for (int i = 0; i < count; i++)
		fold_piece(feature, coefficient, i + 1, feature->piece_edge[i]);
	line_at(feature, coefficient, feature->median, &intercept, &slope);
	feature->missing_weight = intercept + slope * feature->median + (feature->has_missing ? coefficient[missing] : 0);
}

/* A category's or set's terms into a weight a level. */
static void
fold_levels(const KernelEnv *env, LearnFeature *feature, const LearnDesign *design, int f, const double *coefficient)
{
	double		target = feature->target ? coefficient[0] : 0;
	const double *level_term = coefficient + feature->target - feature->drop_first;
	double		other = feature->has_other ? level_term[feature->kept_count] : 0;

	feature->level_weight = kernel_alloc_array(env, double, feature->levels + 1);
	for (int level = 0; level < feature->levels; level++)
	{
		int32_t		kept = feature->kept[level];

		feature->level_weight[level] = kept < 0 ? other : kept >= feature->drop_first ? level_term[kept] : 0;
		if (feature->target)
			feature->level_weight[level] += target * learn_target_value(design, f, level);
	}
	feature->other_weight = other;
	feature->missing_weight = feature->has_missing ? level_term[feature->kept_count + feature->has_other] : 0;
}

/* See model.h. */
void
learn_additive_from_fit(const KernelEnv *env, LearnModel *model, const LearnDesign *design, const double *coefficient)
{
	model->base = coefficient[model->features.design_columns];
	for (int f = 0; f < model->features.count; f++)
	{
		LearnFeature *feature = &model->features.feature[f];

		if (feature->kind == LEARN_NUMBER)
			fold_number(env, feature, coefficient + feature->design_first);
		else
			fold_levels(env, feature, design, f, coefficient + feature->design_first);
		feature->mean = 0;
	}
}

/* See model.h. */
double
learn_additive_value(const LearnFeature *feature, const LearnValue *value)
{
	double		sum = 0;

	if (feature->kind == LEARN_NUMBER)
		return isnan(value->number) ? feature->missing_weight : learn_number_value(feature, value->number);
	if (value->level == LEARN_LEVEL_MISSING)
		return feature->missing_weight;
	if (feature->kind == LEARN_CATEGORY)
		return value->level < 0 ? feature->other_weight : feature->level_weight[value->level];
	for (int i = 0; i < value->set_count; i++)
		sum += feature->level_weight[value->set[i]];
	return sum;
}

/* Base and additions, in the order of the features. */
double
learn_additive_margin(const LearnModel *model, const LearnValue *value)
{
	double		margin = model->base;

	for (int f = 0; f < model->features.count; f++)
		margin += learn_additive_value(&model->features.feature[f], &value[f]);
	return margin;
}

/* See model.h. */
double
learn_additive_numbers(const LearnModel *model, const double *number)
{
	double		margin = model->base;

	for (int f = 0; f < model->features.count; f++)
	{
		const LearnFeature *feature = &model->features.feature[f];

		margin += isnan(number[f]) ? feature->missing_weight : learn_number_value(feature, number[f]);
	}
	return margin;
}

/* Means over the training rows. */
void
learn_additive_means(const KernelEnv *env, LearnModel *model, const LearnTable *table)
{
	LearnValue *value = kernel_alloc_array(env, LearnValue, model->features.count + 1);
	int32_t    *room = kernel_alloc_array(env, int32_t, learn_table_room(table));

	for (size_t row = 0; row < table->rows; row++)
	{
		learn_table_row(&model->features, table, row, value, room);
		for (int f = 0; f < model->features.count; f++)
			model->features.feature[f].mean += learn_additive_value(&model->features.feature[f], &value[f]);
	}
	for (int f = 0; f < model->features.count; f++)
		model->features.feature[f].mean /= table->rows > 0 ? (double) table->rows : 1;
	kernel_release(env, value);
	kernel_release(env, room);
}

/* A part of weight 0 is not looked at: it may be NaN. */
double
learn_model_mix(const LearnModel *model, double additive, double trees)
{
	double		margin = 0;

	if (model->tree_weight > 0)
		margin += model->tree_weight * trees;
	if (model->tree_weight < 1)
		margin += (1 - model->tree_weight) * additive;
	return model->slope * margin + model->offset;
}

/* Both parts, as needed. */
double
learn_model_margin(LearnModel *model, const LearnValue *value)
{
	double		additive = 0;
	double		trees = 0;

	if (model->tree_weight < 1)
		additive = learn_additive_margin(model, value);
	if (model->tree_weight > 0)
	{
		learn_tree_row(&model->features, value, model->tree_row);
		trees = learn_trees_margin_row(model->trees, model->tree_row);
	}
	return learn_model_mix(model, additive, trees);
}

/* The trees' contributions, gathered by feature. */
static void
explain_trees(LearnModel *model, const LearnValue *value, double *contribution)
{
	int			count = model->features.count;
	double		share = model->slope * model->tree_weight;

	if (model->shap == NULL)
		model->shap = learn_shap_prepare(model->trees);
	learn_tree_row(&model->features, value, model->tree_row);
	learn_shap_row(model->shap, model->tree_row, model->tree_contribution);
	for (int f = 0; f < count; f++)
	{
		const LearnFeature *feature = &model->features.feature[f];

		for (int i = 0; i < feature->tree_count; i++)
			contribution[f] += share * model->tree_contribution[feature->tree_first + i];
	}
	contribution[count] += share * model->tree_contribution[model->features.tree_columns];
}

/* See model.h. */
int
learn_words_of(const LearnFeatures *features, int whole)
{
	if (features->feature[whole].kind == LEARN_CATEGORY)
		for (int f = 0; f < whole; f++)
			if (features->feature[f].kind == LEARN_SET && strcmp(features->feature[f].name, features->feature[whole].name) == 0)
				return f;
	return -1;
}

/* See model.h. */
void
learn_model_explain(const KernelEnv *env, LearnModel *model, const LearnValue *value, double *contribution)
{
	int			count = model->features.count;
	double		share = model->slope * (1 - model->tree_weight);

	(void) env;
	for (int f = 0; f <= count; f++)
		contribution[f] = 0;
	contribution[count] = model->offset;
	if (model->tree_weight > 0)
		explain_trees(model, value, contribution);
	if (model->tree_weight < 1)
	{
		contribution[count] += share * model->base;
		for (int f = 0; f < count; f++)
		{
			const LearnFeature *feature = &model->features.feature[f];

			contribution[f] += share * (learn_additive_value(feature, &value[f]) - feature->mean);
			contribution[count] += share * feature->mean;
		}
	}
	for (int f = 0; f < count; f++)
	{
		int			words = learn_words_of(&model->features, f);

		if (words < 0)
			continue;
		contribution[words] += contribution[f];
		contribution[f] = 0;
	}
}
