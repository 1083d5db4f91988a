/*
 * scorecard.c
 *		Counting, fitting and folding of scorecards. Points are the door's: they are the log odds on another scale.
 */
#include "learn/scorecard.h"

#include "learn/logistic.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* How many values a feature is cut into; the missing one is the last. */
static int
count_values(const LearnFeature *feature)
{
	if (feature->kind == LEARN_NUMBER)
		return feature->edges + 2;
	if (feature->kind == LEARN_CATEGORY)
		return feature->kept_count + 2; /* other, missing */
	return 1;
}

/* Which of them a row has. */
static int
value_of(const LearnFeature *feature, const LearnValue *value)
{
	int			bin = 0;

	if (feature->kind == LEARN_SET)
		return 0;
	if (feature->kind == LEARN_CATEGORY)
	{
		if (value->level == LEARN_LEVEL_MISSING)
			return feature->kept_count + 1;
		return value->level >= 0 && feature->kept[value->level] >= 0 ? feature->kept[value->level] : feature->kept_count;
	}
	if (isnan(value->number))
		return feature->edges + 1;
	while (bin < feature->edges && value->number >= feature->edge[bin])
		bin++;
	return bin;
}

/* See scorecard.h. */
Scorecard *
learn_scorecard_count(const KernelEnv *env, const LearnFeatures *features, const LearnTable *table, const int *fold,
					  int folds)
{
	Scorecard  *card = kernel_alloc_array(env, Scorecard, 1);
	LearnValue *value = kernel_alloc_array(env, LearnValue, features->count + 1);
	int32_t    *room = kernel_alloc_array(env, int32_t, learn_table_room(table));

	card->features = features->count;
	card->folds = folds;
	card->values = kernel_alloc_array(env, int, features->count + 1);
	card->rows = kernel_alloc_array(env, double *, features->count + 1);
	card->positives = kernel_alloc_array(env, double *, features->count + 1);
	card->coefficient = kernel_alloc_array(env, double, features->count + 1);
	for (int f = 0; f < features->count; f++)
	{
		size_t		cells = (size_t) (card->values[f] = count_values(&features->feature[f])) * folds;

		card->rows[f] = kernel_alloc_array(env, double, cells);
		card->positives[f] = kernel_alloc_array(env, double, cells);
		memset(card->rows[f], 0, sizeof(double) * cells);
		memset(card->positives[f], 0, sizeof(double) * cells);
	}
	for (size_t row = 0; row < table->rows; row++)
	{
		learn_table_row(features, table, row, value, room);
		for (int f = 0; f < features->count; f++)
		{
			size_t		at = (size_t) value_of(&features->feature[f], &value[f]) * folds + fold[row];

			card->rows[f][at]++;
			card->positives[f][at] += table->label[row];
		}
	}
	kernel_release(env, value);
	kernel_release(env, room);
	return card;
}

/* Sums of a feature's value, and of all its values, without one fold. */
static void
sum_value(const Scorecard *card, int f, int value, int without, double *rows, double *positives)
{
	*rows = *positives = 0;
	for (int k = 0; k < card->folds; k++)
		if (k != without)
		{
			*rows += card->rows[f][(size_t) value * card->folds + k];
			*positives += card->positives[f][(size_t) value * card->folds + k];
		}
}

/* See scorecard.h. A value without rows weighs nothing. */
double
learn_scorecard_woe(const Scorecard *card, int feature, int value, int without)
{
	double		all_rows = 0;
	double		all_positives = 0;
	double		rows;
	double		positives;

	for (int v = 0; v < card->values[feature]; v++)
	{
		sum_value(card, feature, v, without, &rows, &positives);
		all_rows += rows;
		all_positives += positives;
	}
	sum_value(card, feature, value, without, &rows, &positives);
	if (rows == 0 || all_positives == 0 || all_positives == all_rows)
		return 0;
	return log((positives + 0.5) / (rows - positives + 0.5)) - log(all_positives / (all_rows - all_positives));
}

/* Tables of weights of evidence without a fold, a feature each. */
static double **
woe_tables(const KernelEnv *env, const Scorecard *card, int without)
{
	double	  **woe = kernel_alloc_array(env, double *, card->features + 1);

	for (int f = 0; f < card->features; f++)
	{
		woe[f] = kernel_alloc_array(env, double, card->values[f]);
		for (int v = 0; v < card->values[f]; v++)
			woe[f][v] = learn_scorecard_woe(card, f, v, without);
	}
	return woe;
}

/* Every row's weights of evidence as a design, a column a feature. */
static LogisticData
woe_design(const KernelEnv *env, const LearnFeatures *features, const LearnTable *table, double **woe)
{
	int			count = features->count;
	size_t	   *start = kernel_alloc_array(env, size_t, table->rows + 1);
	uint16_t   *column = kernel_alloc_array(env, uint16_t, table->rows * count + 1);
	double	   *entry = kernel_alloc_array(env, double, table->rows * count + 1);
	LearnValue *value = kernel_alloc_array(env, LearnValue, count + 1);
	int32_t    *room = kernel_alloc_array(env, int32_t, learn_table_room(table));
	size_t		used = 0;

	for (size_t row = 0; row < table->rows; row++)
	{
		start[row] = used;
		learn_table_row(features, table, row, value, room);
		for (int f = 0; f < count; f++)
		{
			column[used] = (uint16_t) f;
			entry[used++] = woe[f][value_of(&features->feature[f], &value[f])];
		}
	}
	start[table->rows] = used;
	kernel_release(env, value);
	kernel_release(env, room);
	return (LogisticData) {table->rows, count, start, column, entry, table->label, NULL};
}

/* See scorecard.h. */
void
learn_scorecard_fit(const KernelEnv *env, Scorecard *card, const LearnFeatures *features, const LearnTable *table,
					const int *fold, int without, double lambda, double *margin)
{
	double	  **woe = woe_tables(env, card, without);
	LogisticData data = woe_design(env, features, table, woe);
	LogisticFit *fit = learn_logistic_fit(env, &data, lambda, without < 0 ? NULL : fold, without, NULL, false, NULL);

	memcpy(card->coefficient, fit->coefficient, sizeof(double) * (features->count + 1));
	for (size_t row = 0; row < table->rows && margin != NULL; row++)
		if (fold[row] == without)
			margin[row] = learn_logistic_margin(&data, row, fit->coefficient);
	learn_logistic_free(env, fit);
	for (int f = 0; f < features->count; f++)
		kernel_release(env, woe[f]);
	kernel_release(env, woe);
	kernel_release(env, (void *) data.start);
	kernel_release(env, (void *) data.column);
	kernel_release(env, (void *) data.value);
}

/* A number's values are steps between its edges. */
static void
fold_number(const KernelEnv *env, const Scorecard *card, int f, LearnFeature *feature)
{
	learn_pieces(env, feature, feature->edges + 1);
	for (int bin = 0; bin < feature->pieces; bin++)
	{
		if (bin < feature->edges)
			feature->piece_edge[bin] = feature->edge[bin];
		feature->piece_line[bin].intercept = card->coefficient[f] * learn_scorecard_woe(card, f, bin, -1);
	}
	feature->missing_weight = card->coefficient[f] * learn_scorecard_woe(card, f, feature->edges + 1, -1);
}

/* See scorecard.h. */
void
learn_scorecard_fold(const KernelEnv *env, const Scorecard *card, LearnModel *model)
{
	model->base = card->coefficient[card->features];
	for (int f = 0; f < card->features; f++)
	{
		LearnFeature *feature = &model->features.feature[f];

		if (feature->kind == LEARN_NUMBER)
		{
			fold_number(env, card, f, feature);
			continue;
		}
		feature->level_weight = kernel_alloc_array(env, double, feature->levels + 1);
		memset(feature->level_weight, 0, sizeof(double) * (feature->levels + 1));
		if (feature->kind == LEARN_SET)
			continue;
		feature->other_weight = card->coefficient[f] * learn_scorecard_woe(card, f, feature->kept_count, -1);
		feature->missing_weight = card->coefficient[f] * learn_scorecard_woe(card, f, feature->kept_count + 1, -1);
		for (int level = 0; level < feature->levels; level++)
			feature->level_weight[level] = feature->kept[level] < 0 ? feature->other_weight :
				card->coefficient[f] * learn_scorecard_woe(card, f, feature->kept[level], -1);
	}
}

/* A number's value in words. */
static void
number_term(const LearnFeature *feature, int value, char *text, size_t size)
{
	double		origin = feature->origin;

	if (value > feature->edges)
		snprintf(text, size, "missing");
	else if (feature->edges == 0)
		snprintf(text, size, "any");
	else if (value == 0)
		snprintf(text, size, "below %g", feature->edge[0] + origin);
	else if (value == feature->edges)
		snprintf(text, size, "from %g", feature->edge[value - 1] + origin);
	else
		snprintf(text, size, "from %g below %g", feature->edge[value - 1] + origin, feature->edge[value] + origin);
}

/* See scorecard.h. */
void
learn_scorecard_term(const LearnFeature *feature, int value, char *text, size_t size)
{
	if (feature->kind == LEARN_NUMBER)
	{
		number_term(feature, value, text, size);
		return;
	}
	for (int level = 0; level < feature->levels && feature->kind == LEARN_CATEGORY; level++)
		if (feature->kept[level] == value)
		{
			snprintf(text, size, "%s", feature->level[level]);
			return;
		}
	snprintf(text, size, value == feature->kept_count ? "other" : "missing");
}
