/*
 * design.c
 *		The sparse design that logistic regression is fitted on: a number is a line, hinges at its eighths and ten quantile
 *		bins; a level is a 0/1 column; a column of many levels is target-encoded besides, nested over folds.
 */
#include "learn/encode.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* pseudo-rows at the base rate in a target encoding */
#define TARGET_PRIOR_ROWS 10.0

typedef struct DesignRow
{
	LearnDesign *design;
	size_t		used;
} DesignRow;

/* Append an entry; zeros are left out, except where `always`. */
static void
put(DesignRow *into, int column, double value)
{
	if (value == 0)
		return;
	into->design->column[into->used] = (uint16_t) column;
	into->design->value[into->used++] = value;
}

/* A number's line, hinges, bin, and missing flag; a missing one stands at the median. */
static void
put_number(DesignRow *into, const LearnFeature *feature, double number)
{
	int			column = feature->design_first;
	bool		missing = isnan(number);
	double		drawn = missing ? feature->median : number < feature->low ? feature->low : number > feature->high ?
		feature->high : number;
	int			bin = 0;

	put(into, column++, (drawn - feature->median) / feature->scale);
	for (int k = 0; k < feature->knots; k++, column++)
		if (drawn > feature->knot[k])
			put(into, column, (drawn - feature->knot[k]) / feature->scale);
	if (feature->edges > 0)
	{
		while (bin < feature->edges && drawn >= feature->edge[bin])
			bin++;
		if (!missing)
			put(into, column + bin, 1);
		column += feature->edges + 1;
	}
	if (missing && feature->has_missing)
		put(into, column, 1);
}

/* A category's target encoding (its value is set later), level, other or missing. */
static void
put_category(DesignRow *into, const LearnFeature *feature, int32_t level)
{
	int			column = feature->design_first;
	int32_t		kept = level >= 0 ? feature->kept[level] : -1;

	if (feature->target)
	{
		into->design->column[into->used] = (uint16_t) column++;
		into->design->value[into->used++] = 0;
	}
	column -= feature->drop_first;
	if (kept >= feature->drop_first)
		put(into, column + kept, 1);
	else if (kept < 0 && level != LEARN_LEVEL_MISSING && feature->has_other)
		put(into, column + feature->kept_count, 1);
	else if (level == LEARN_LEVEL_MISSING && feature->has_missing)
		put(into, column + feature->kept_count + feature->has_other, 1);
}

/* A set's members; the table keeps them ascending, and so are their places. */
static void
put_set(DesignRow *into, const LearnFeature *feature, const LearnValue *value)
{
	for (int i = 0; i < value->set_count; i++)
		if (feature->kept[value->set[i]] >= 0)
			put(into, feature->design_first + feature->kept[value->set[i]], 1);
	if (value->level == LEARN_LEVEL_MISSING && feature->has_missing)
		put(into, feature->design_first + feature->kept_count + feature->has_other, 1);
}

/* Entries the widest row can have. */
static size_t
widest_row(const LearnFeatures *features, const LearnTable *table)
{
	size_t		entries = 0;

	for (int f = 0; f < features->count; f++)
		entries += features->feature[f].kind == LEARN_NUMBER ? features->feature[f].knots + 3 : 2;
	return entries + learn_table_room(table);
}

/* Count rows and positives by level and fold for the target encodings. */
static void
count_targets(const KernelEnv *env, LearnDesign *design)
{
	for (int f = 0; f < design->features->count; f++)
	{
		const LearnFeature *feature = &design->features->feature[f];
		size_t		cells = (size_t) (feature->levels + 1) * design->folds;

		design->target_rows[f] = design->target_positives[f] = NULL;
		if (!feature->target)
			continue;
		design->target_rows[f] = kernel_alloc_array(env, double, cells);
		design->target_positives[f] = kernel_alloc_array(env, double, cells);
		memset(design->target_rows[f], 0, sizeof(double) * cells);
		memset(design->target_positives[f], 0, sizeof(double) * cells);
		for (size_t row = 0; row < design->table->rows; row++)
		{
			int32_t		code = design->table->column[f].code[row];
			int32_t		level = code < 0 ? LEARN_LEVEL_OTHER : design->features->code_map[f][code];
			size_t		cell = (size_t) level * design->folds + design->fold[row];

			if (level < 0)
				continue;
			design->target_rows[f][cell]++;
			design->target_positives[f][cell] += design->table->label[row];
		}
	}
}

/* Entries of one row, in the order of their columns. */
static void
put_row(DesignRow *into, const LearnFeatures *features, const LearnValue *value)
{
	for (int f = 0; f < features->count; f++)
	{
		const LearnFeature *feature = &features->feature[f];

		if (feature->kind == LEARN_NUMBER)
			put_number(into, feature, value[f].number);
		else if (feature->kind == LEARN_CATEGORY)
			put_category(into, feature, value[f].level);
		else
			put_set(into, feature, &value[f]);
	}
}

/* Allocate the arrays of a design; entries grow as rows come. */
static LearnDesign *
empty_design(const KernelEnv *env, const LearnFeatures *features, const LearnTable *table, const int *fold, int folds)
{
	LearnDesign *design = kernel_alloc_array(env, LearnDesign, 1);

	memset(design, 0, sizeof *design);
	design->features = features;
	design->table = table;
	design->fold = fold;
	design->folds = folds;
	design->start = kernel_alloc_array(env, size_t, table->rows + 1);
	design->target_rows = kernel_alloc_array(env, double *, features->count + 1);
	design->target_positives = kernel_alloc_array(env, double *, features->count + 1);
	return design;
}

/* Share of positives outside a fold (-1: of all rows). */
static double
base_rate(const LearnDesign *design, int without)
{
	double		rows = 0;
	double		positives = 0;

	for (size_t row = 0; row < design->table->rows; row++)
		if (design->fold[row] != without)
		{
			rows++;
			positives += design->table->label[row];
		}
	return (positives + 0.5) / (rows + 1);
}

/* See encode.h. */
LearnDesign *
learn_targets(const KernelEnv *env, const LearnFeatures *features, const LearnTable *table, const int *fold, int folds)
{
	LearnDesign *design = empty_design(env, features, table, fold, folds);

	count_targets(env, design);
	design->base = base_rate(design, -1);
	return design;
}

/* One pass over the rows. */
LearnDesign *
learn_design(const KernelEnv *env, const LearnFeatures *features, const LearnTable *table, const int *fold, int folds)
{
	LearnDesign *design = empty_design(env, features, table, fold, folds);
	DesignRow	into = {design, 0};
	size_t		widest = widest_row(features, table);
	size_t		room = widest * 64;
	LearnValue *value = kernel_alloc_array(env, LearnValue, features->count + 1);
	int32_t    *members = kernel_alloc_array(env, int32_t, learn_table_room(table));

	design->column = kernel_alloc_array(env, uint16_t, room);
	design->value = kernel_alloc_array(env, double, room);
	for (size_t row = 0; row < table->rows; row++)
	{
		design->start[row] = into.used;
		if (into.used + widest > room)
		{
			room = room * 2;
			design->column = kernel_realloc_array(env, design->column, uint16_t, room);
			design->value = kernel_realloc_array(env, design->value, double, room);
		}
		learn_table_row(features, table, row, value, members);
		put_row(&into, features, value);
		if (row % 4096 == 0)
			kernel_tick(env, row, table->rows);
	}
	design->start[table->rows] = into.used;
	kernel_release(env, value);
	kernel_release(env, members);
	count_targets(env, design);
	design->base = base_rate(design, -1);
	design->data = (LogisticData) {table->rows, features->design_columns, design->start, design->column, design->value,
	table->label, NULL};
	return design;
}

/* Log odds of a level against the base rate, drawn towards it by pseudo-rows. */
static double
target_log_odds(double rows, double positives, double base)
{
	double		up = positives + TARGET_PRIOR_ROWS * base;
	double		down = rows - positives + TARGET_PRIOR_ROWS * (1 - base);

	return log(up / down) - log(base / (1 - base));
}

/* A level's encoding from all folds but two (-1: none). */
static double
target_without(const LearnDesign *design, int f, int level, int without, int also_without, double base)
{
	double		rows = 0;
	double		positives = 0;

	for (int k = 0; k < design->folds; k++)
		if (k != without && k != also_without)
		{
			rows += design->target_rows[f][(size_t) level * design->folds + k];
			positives += design->target_positives[f][(size_t) level * design->folds + k];
		}
	return target_log_odds(rows, positives, base);
}

/* Fill the target entries of one feature. */
static void
fill_target(LearnDesign *design, int f, int without, double base)
{
	const LearnFeature *feature = &design->features->feature[f];

	for (size_t row = 0; row < design->table->rows; row++)
	{
		int32_t		code = design->table->column[f].code[row];
		int32_t		level = code < 0 ? LEARN_LEVEL_OTHER : design->features->code_map[f][code];
		size_t		at = design->start[row];

		while (design->column[at] != feature->design_first)
			at++;
		design->value[at] = level < 0 ? 0 :
			target_without(design, f, level, without, design->fold[row], base);
	}
}

/* See encode.h. */
void
learn_design_target(LearnDesign *design, int without)
{
	double		base = base_rate(design, without);

	for (int f = 0; f < design->features->count; f++)
		if (design->features->feature[f].target)
			fill_target(design, f, without, base);
}

/* What predictions use. */
double
learn_target_value(const LearnDesign *design, int feature, int level)
{
	return level < 0 ? 0 : target_without(design, feature, level, -1, -1, design->base);
}

/* See encode.h. */
bool
learn_has_tree_targets(const LearnFeatures *features)
{
	for (int f = 0; f < features->count; f++)
		if (features->feature[f].tree_target)
			return true;
	return false;
}

/* A row's encoding leaves its own fold out, so that no tree learns its label from it; missing stays missing. */
void
learn_tree_targets(const LearnDesign *design, int without, float *matrix)
{
	const LearnFeatures *features = design->features;
	double		base = base_rate(design, without);

	for (int f = 0; f < features->count; f++)
	{
		const LearnFeature *feature = &features->feature[f];
		float	   *cell = matrix + feature->tree_first + feature->tree_count - 1;

		if (!feature->tree_target)
			continue;
		for (size_t row = 0; row < design->table->rows; row++, cell += features->tree_columns)
		{
			int32_t		code = design->table->column[f].code[row];
			int32_t		level = code < 0 ? LEARN_LEVEL_MISSING : features->code_map[f][code];

			if (level != LEARN_LEVEL_MISSING)
				*cell = level < 0 ? 0 : (float) target_without(design, f, level, without, design->fold[row], base);
		}
	}
}

/* See encode.h. */
void
learn_tree_target_values(const KernelEnv *env, LearnFeatures *features, const LearnDesign *design)
{
	for (int f = 0; f < features->count; f++)
	{
		LearnFeature *feature = &features->feature[f];

		if (!feature->tree_target)
			continue;
		feature->tree_value = kernel_alloc_array(env, double, feature->levels + 1);
		for (int level = 0; level < feature->levels; level++)
			feature->tree_value[level] = learn_target_value(design, f, level);
	}
}

/* Give the design back. */
void
learn_design_free(const KernelEnv *env, LearnDesign *design)
{
	for (int f = 0; f < design->features->count; f++)
		if (design->target_rows[f])
		{
			kernel_release(env, design->target_rows[f]);
			kernel_release(env, design->target_positives[f]);
		}
	kernel_release(env, design->target_rows);
	kernel_release(env, design->target_positives);
	kernel_release(env, design->start);
	if (design->column)
	{
		kernel_release(env, design->column);
		kernel_release(env, design->value);
	}
	kernel_release(env, design);
}

/* The term of a number's column. */
static void
number_term(const LearnFeature *feature, int column, char *text, size_t size)
{
	if (column == 0)
		snprintf(text, size, "linear");
	else if (column <= feature->knots)
		snprintf(text, size, "above %g", feature->knot[column - 1]);
	else if (feature->edges > 0 && column <= feature->knots + feature->edges + 1)
	{
		int			bin = column - feature->knots - 1;

		if (bin == 0)
			snprintf(text, size, "below %g", feature->edge[0]);
		else if (bin == feature->edges)
			snprintf(text, size, "from %g", feature->edge[bin - 1]);
		else
			snprintf(text, size, "from %g below %g", feature->edge[bin - 1], feature->edge[bin]);
	}
	else
		snprintf(text, size, "missing");
}

/* Counted from the feature's first design column. */
void
learn_design_term(const LearnFeature *feature, int column, char *text, size_t size)
{
	if (feature->kind == LEARN_NUMBER)
	{
		number_term(feature, column, text, size);
		return;
	}
	if (feature->target && column-- == 0)
	{
		snprintf(text, size, "target encoding");
		return;
	}
	column += feature->drop_first;
	for (int level = 0; level < feature->levels; level++)
		if (feature->kept[level] == column)
		{
			snprintf(text, size, "= %s", feature->level[level]);
			return;
		}
	snprintf(text, size, column == feature->kept_count && feature->has_other ? "other" : "missing");
}
