/*
 * encode.c
 *		Learns features from columns and gives rows their tree form. The logistic form is design.c's.
 */
#include "learn/encode.h"

#include "learn/metrics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What the recipe of doc/learn.md uses. */
void
learn_encode_defaults(EncodeOptions *options)
{
	memset(options, 0, sizeof *options);
	options->min_rows = 10;
	options->max_levels = 255;
	options->max_columns = 1000;
	options->target = true;
	options->rare_share = 0.5;
}

/* A copy of a text. */
static char *
copy_text(const KernelEnv *env, const char *text)
{
	size_t		size = strlen(text) + 1;

	return memcpy(kernel_alloc(env, size), text, size);
}

/* The value at a quantile of sorted numbers: the nearest one there is, not an interpolation. */
static double
quantile_of(const double *sorted, size_t count, double at)
{
	return sorted[(size_t) (at * (double) (count - 1) + 0.5)];
}

/* Quantiles at i / (count + 1) that are new and above the least value. Returns how many. */
static int
distinct_quantiles(const double *sorted, size_t rows, int count, double *into)
{
	int			found = 0;

	for (int i = 1; i <= count; i++)
	{
		double		value = quantile_of(sorted, rows, (double) i / (count + 1));

		if (value > sorted[0] && (found == 0 || value > into[found - 1]))
			into[found++] = value;
	}
	return found;
}

/*
 * Where the least value repeats so often that quantiles fell on it (nothing bought, no visit), the next one up becomes an edge as well:
 * none and few are not alike. Returns how many edges there are.
 */
static int
add_spike_edge(const double *sorted, size_t rows, size_t min_rows, int edges, double *edge)
{
	size_t		above = 0;
	size_t		between;

	while (above < rows && sorted[above] == sorted[0])
		above++;
	if (edges == 0 || edges == LEARN_EDGES || above == rows || above * (LEARN_EDGES + 1) < rows || edge[0] == sorted[above])
		return edges;
	for (between = above; between < rows && sorted[between] < edge[0];)
		between++;
	if (between - above < min_rows)
		return edges;
	memmove(edge + 1, edge, sizeof(double) * edges);
	edge[0] = sorted[above];
	return edges + 1;
}

/* Centre, reach and spread of the present values. */
static void
measure_number(LearnFeature *feature, const double *sorted, size_t rows)
{
	double		sum = 0;
	double		squares = 0;

	feature->median = quantile_of(sorted, rows, 0.5);
	feature->low = quantile_of(sorted, rows, 0.001);
	feature->high = quantile_of(sorted, rows, 0.999);
	for (size_t i = 0; i < rows; i++)
	{
		double		value = sorted[i] < feature->low ? feature->low : sorted[i] > feature->high ? feature->high : sorted[i];

		sum += value - feature->median;
		squares += (value - feature->median) * (value - feature->median);
	}
	sum /= (double) rows;
	feature->scale = sqrt(squares / (double) rows - sum * sum);
	if (!(feature->scale > 0) || !isfinite(feature->scale))
		feature->scale = 1;
}

/* Terms of a number in the logistic form. */
static int
number_terms(const LearnFeature *feature)
{
	return 1 + feature->knots + (feature->edges > 0 ? feature->edges + 1 : 0) + feature->has_missing;
}

/* Median, reach, hinges and bins of a number. */
static void
learn_number(const KernelEnv *env, LearnFeature *feature, const LearnColumn *column, size_t rows,
			 const EncodeOptions *options)
{
	double	   *sorted = kernel_alloc_array(env, double, rows);
	size_t		present = 0;

	for (size_t row = 0; row < rows; row++)
		if (!isnan(column->number[row]))
			sorted[present++] = column->number[row];
	feature->has_missing = present < rows;
	feature->scale = 1;
	feature->tree_count = 1;
	if (present > 0)
	{
		learn_sort_doubles(env, sorted, present);
		measure_number(feature, sorted, present);
		if (options->linear_numbers)
		{
			feature->low = -INFINITY;
			feature->high = INFINITY;
			feature->median = 0;
			feature->scale = 1;
		}
		else
		{
			feature->knots = distinct_quantiles(sorted, present, LEARN_KNOTS, feature->knot);
			feature->edges = distinct_quantiles(sorted, present, LEARN_EDGES, feature->edge);
			feature->edges = add_spike_edge(sorted, present, options->min_rows, feature->edges, feature->edge);
			if (feature->edges < 2)	/* two values: the line says it all */
				feature->knots = feature->edges = 0;
		}
	}
	feature->design_count = number_terms(feature);
	kernel_release(env, sorted);
}

/* Rows by level, and how many are missing. */
static void
count_levels(const LearnColumn *column, size_t rows, size_t *counts, size_t *missing)
{
	memset(counts, 0, sizeof(size_t) * (column->levels + 1));
	*missing = 0;
	for (size_t row = 0; row < rows; row++)
	{
		if (column->code[row] < 0)
			(*missing)++;
		else if (column->kind == LEARN_CATEGORY)
			counts[column->code[row]]++;
	}
	if (column->kind == LEARN_SET)
		for (size_t at = 0; at < column->set_start[rows]; at++)
			counts[column->set_code[at]]++;
}

/* downwards */
static int
compare_sizes(const void *a, const void *b)
{
	size_t		x = *(const size_t *) a;
	size_t		y = *(const size_t *) b;

	return x < y ? 1 : x > y ? -1 : 0;
}

/* The row count a level needs to be kept, given that at most `limit` may be: ties at the limit all go. */
static size_t
keep_threshold(const KernelEnv *env, const size_t *counts, int levels, size_t min_rows, int limit)
{
	size_t	   *sorted;
	size_t		threshold = min_rows;

	if (levels <= limit)
		return threshold;
	sorted = kernel_alloc_array(env, size_t, levels);
	memcpy(sorted, counts, sizeof(size_t) * levels);
	qsort(sorted, levels, sizeof(size_t), compare_sizes);
	if (sorted[limit] >= threshold)
		threshold = sorted[limit] + 1;
	kernel_release(env, sorted);
	return threshold;
}

#define TARGET_LEVELS_FROM	11
#define STORED_LEVELS		20000

/* Which levels a model keeps of a category or set. */
static void
learn_levels(const KernelEnv *env, LearnFeature *feature, const LearnColumn *column, size_t rows,
			 const EncodeOptions *options, size_t min_rows, int32_t **code_map)
{
	size_t	   *counts = kernel_alloc_array(env, size_t, column->levels + 1);
	int32_t    *map = kernel_alloc_array(env, int32_t, column->levels + 1);
	size_t		missing;
	size_t		threshold;
	size_t		stored;
	size_t		other = 0;

	count_levels(column, rows, counts, &missing);
	threshold = keep_threshold(env, counts, column->levels, min_rows, options->max_levels);
	feature->target = options->target && column->kind == LEARN_CATEGORY && column->levels >= TARGET_LEVELS_FROM;
	stored = feature->target ? keep_threshold(env, counts, column->levels, 1, STORED_LEVELS) : threshold;
	feature->level = kernel_alloc_array(env, char *, column->levels + 1);
	feature->kept = kernel_alloc_array(env, int32_t, column->levels + 1);
	for (int level = 0; level < column->levels; level++)
	{
		bool		kept = counts[level] >= threshold;

		map[level] = LEARN_LEVEL_OTHER;
		if (!kept)
			other += counts[level];
		if (counts[level] < stored)
			continue;
		map[level] = feature->levels;
		feature->kept[feature->levels] = kept ? feature->kept_count++ : -1;
		feature->level[feature->levels++] = copy_text(env, column->level[level]);
	}
	feature->has_missing = missing > 0 && (missing >= min_rows || options->drop_first);
	feature->has_other = other >= min_rows && column->kind == LEARN_CATEGORY;
	feature->drop_first = options->drop_first && column->kind == LEARN_CATEGORY && feature->kept_count > 0;
	feature->tree_target = feature->target && (double) other > options->rare_share * (double) (rows - missing);
	feature->tree_count = feature->kept_count + feature->has_other + feature->has_missing + feature->tree_target;
	feature->design_count = feature->target + feature->kept_count + feature->has_other + feature->has_missing - feature->drop_first;
	*code_map = map;
	kernel_release(env, counts);
}

/* Forget the levels learned with too low a threshold. */
static void
forget_levels(const KernelEnv *env, LearnFeature *feature, int32_t **code_map)
{
	for (int level = 0; level < feature->levels; level++)
		kernel_release(env, feature->level[level]);
	kernel_release(env, feature->level);
	kernel_release(env, feature->kept);
	kernel_release(env, *code_map);
	feature->levels = feature->kept_count = 0;
}

/* One feature, numbers and levels alike. */
static void
learn_feature(const KernelEnv *env, LearnFeature *feature, const LearnColumn *column, size_t rows,
			  const EncodeOptions *options, size_t min_rows, int32_t **code_map)
{
	memset(feature, 0, sizeof *feature);
	feature->name = copy_text(env, column->name);
	feature->kind = column->kind;
	feature->reading = column->reading;
	feature->origin = column->origin;
	feature->as_of = column->as_of ? copy_text(env, column->as_of) : NULL;
	*code_map = NULL;
	if (column->kind == LEARN_NUMBER)
		learn_number(env, feature, column, rows, options);
	else
		learn_levels(env, feature, column, rows, options, min_rows, code_map);
}

/* Take a step's terms from all numbers; their trees' form stays what it is. */
static void
simplify_numbers(LearnFeatures *features, int step)
{
	for (int f = 0; f < features->count; f++)
	{
		LearnFeature *feature = &features->feature[f];

		if (feature->kind != LEARN_NUMBER)
			continue;
		feature->edges = 0;
		if (step == LEARN_SIMPLER_HINGES)
		{
			for (int k = 1; k < feature->knots; k += 2)
				feature->knot[k / 2] = feature->knot[k];
			feature->knots /= 2;
		}
		else if (step == LEARN_SIMPLER_LINE)
			feature->knots = 0;
		feature->design_count = number_terms(feature);
	}
}

/* The features' places in the logistic form. */
static void
place_design(LearnFeatures *features)
{
	features->design_columns = 0;
	for (int f = 0; f < features->count; f++)
	{
		features->feature[f].design_first = features->design_columns;
		features->design_columns += features->feature[f].design_count;
	}
}

/* See encode.h. */
bool
learn_encode_straight(LearnFeatures *features)
{
	bool		more = false;

	for (int f = 0; f < features->count; f++)
		if (features->feature[f].kind == LEARN_NUMBER && (features->feature[f].knots > 0 || features->feature[f].edges > 0))
			more = true;
	if (!more)
		return false;
	features->simpler = LEARN_SIMPLER_LINE;
	simplify_numbers(features, LEARN_SIMPLER_LINE);
	place_design(features);
	return true;
}

/* Learn all levels again, with a higher threshold. */
static void
learn_fewer_levels(const KernelEnv *env, LearnFeatures *features, const LearnTable *table, const EncodeOptions *options,
				   size_t min_rows)
{
	for (int f = 0; f < features->count; f++)
		if (features->feature[f].kind != LEARN_NUMBER)
		{
			forget_levels(env, &features->feature[f], &features->code_map[f]);
			learn_levels(env, &features->feature[f], &table->column[f], table->rows, options, min_rows, &features->code_map[f]);
		}
}

/*
 * Until the columns are few enough: numbers that take more than half of the room are made simpler, else levels need more rows;
 * when there are no levels left, numbers are made simpler again.
 */
static void
narrow(const KernelEnv *env, LearnFeatures *features, const LearnTable *table, const EncodeOptions *options)
{
	size_t		min_rows = options->min_rows;

	for (;;)
	{
		int			columns = 0;
		int			numbers = 0;
		bool		may_simplify;

		features->design_columns = 0;
		for (int f = 0; f < features->count; f++)
		{
			const LearnFeature *feature = &features->feature[f];
			int			count = options->trees_only ? feature->tree_count : feature->design_count;

			features->design_columns += feature->design_count;
			columns += count;
			numbers += feature->kind == LEARN_NUMBER ? count : 0;
		}
		may_simplify = features->simpler < LEARN_SIMPLER_LINE && !options->keep_bins && !options->trees_only && numbers > 0;
		if (columns <= options->max_columns || (min_rows > table->rows && !may_simplify))
			return;
		if (may_simplify && (numbers > options->max_columns / 2 || min_rows > table->rows))
			simplify_numbers(features, ++features->simpler);
		else
		{
			min_rows *= 2;
			learn_fewer_levels(env, features, table, options, min_rows);
		}
	}
}

/* Features of every column, and their places in both forms of a row. */
LearnFeatures *
learn_encode(const KernelEnv *env, const LearnTable *table, const EncodeOptions *options)
{
	LearnFeatures *features = kernel_alloc_array(env, LearnFeatures, 1);

	memset(features, 0, sizeof *features);
	features->count = table->columns;
	features->feature = kernel_alloc_array(env, LearnFeature, table->columns);
	features->code_map = kernel_alloc_array(env, int32_t *, table->columns);
	for (int f = 0; f < table->columns; f++)
	{
		learn_feature(env, &features->feature[f], &table->column[f], table->rows, options, options->min_rows,
					  &features->code_map[f]);
		kernel_tick(env, f, table->columns);
	}
	narrow(env, features, table, options);
	for (int f = 0; f < table->columns; f++)
	{
		LearnFeature *feature = &features->feature[f];

		feature->tree_first = features->tree_columns;
		features->tree_columns += feature->tree_count;
		learn_index_levels(env, feature);
	}
	place_design(features);
	return features;
}

/* A text of fewer than eight bytes as one number: ends that overlap. */
static uint64_t
tail_word(const char *text, size_t length)
{
	const unsigned char *byte = (const unsigned char *) text;
	uint32_t	first;
	uint32_t	last;

	if (length == 0)
		return 0;
	if (length < 4)
		return (uint64_t) byte[0] | (uint64_t) byte[length / 2] << 8 | (uint64_t) byte[length - 1] << 16;
	memcpy(&first, text, sizeof(first));
	memcpy(&last, text + length - sizeof(last), sizeof(last));
	return (uint64_t) first << 32 | last;
}

/* Eight bytes a step: multiplied, and folded since a product's lower half does not see the upper. In memory only. */
static uint32_t
hash_text(const char *text, size_t length)
{
	const uint64_t factor = UINT64_C(0x9E3779B97F4A7C15);
	uint64_t	hash = length * factor;

	for (; length >= sizeof(uint64_t); text += sizeof(uint64_t), length -= sizeof(uint64_t))
	{
		uint64_t	word;

		memcpy(&word, text, sizeof(word));
		hash = (hash ^ word) * factor;
		hash ^= hash >> 32;
	}
	hash = (hash ^ tail_word(text, length)) * factor;
	return (uint32_t) (hash ^ hash >> 32);
}

/* Open addressing at half load or less. */
void
learn_index_levels(const KernelEnv *env, LearnFeature *feature)
{
	uint32_t	size = 4;

	feature->slot = NULL;
	if (feature->kind == LEARN_NUMBER)
		return;
	while (size < (uint32_t) feature->levels * 2)
		size *= 2;
	feature->slot = kernel_alloc_array(env, uint32_t, size);
	feature->slot_mask = size - 1;
	memset(feature->slot, 0, sizeof(uint32_t) * size);
	feature->level_size = kernel_alloc_array(env, uint32_t, feature->levels + 1);
	for (int level = 0; level < feature->levels; level++)
	{
		size_t		length = strlen(feature->level[level]);
		uint32_t	at = hash_text(feature->level[level], length) & feature->slot_mask;

		feature->level_size[level] = (uint32_t) length;
		while (feature->slot[at] != 0)
			at = (at + 1) & feature->slot_mask;
		feature->slot[at] = (uint32_t) level + 1;
	}
}

/* Compare only where the hash leads. */
int32_t
learn_find_level(const LearnFeature *feature, const char *text, size_t length)
{
	uint32_t	at = hash_text(text, length) & feature->slot_mask;

	for (; feature->slot[at] != 0; at = (at + 1) & feature->slot_mask)
	{
		uint32_t	level = feature->slot[at] - 1;

		if (feature->level_size[level] == length && memcmp(feature->level[level], text, length) == 0)
			return (int32_t) level;
	}
	return LEARN_LEVEL_OTHER;
}

/* The longest set of the table. */
size_t
learn_table_room(const LearnTable *table)
{
	size_t		longest = 1;

	for (int c = 0; c < table->columns; c++)
		if (table->column[c].kind == LEARN_SET)
			for (size_t row = 0; row < table->rows; row++)
			{
				size_t		length = table->column[c].set_start[row + 1] - table->column[c].set_start[row];

				if (length > longest)
					longest = length;
			}
	return longest * (table->columns + 1);
}

/* Table codes become feature levels by the map. */
void
learn_table_row(const LearnFeatures *features, const LearnTable *table, size_t row, LearnValue *value, int32_t *room)
{
	for (int f = 0; f < features->count; f++)
	{
		const LearnColumn *column = &table->column[f];
		const int32_t *map = features->code_map[f];

		if (column->kind == LEARN_NUMBER)
			value[f].number = column->number[row];
		else if (column->code[row] < 0)
		{
			value[f].level = LEARN_LEVEL_MISSING;
			value[f].set_count = 0;
		}
		else if (column->kind == LEARN_CATEGORY)
			value[f].level = map[column->code[row]];
		else
		{
			value[f].level = 0;
			value[f].set = room;
			value[f].set_count = 0;
			for (size_t at = column->set_start[row]; at < column->set_start[row + 1]; at++)
				if (map[column->set_code[at]] >= 0)
					room[value[f].set_count++] = map[column->set_code[at]];
			room += value[f].set_count;
		}
	}
}

/* The tree columns of a category or set but its encoding: kept levels, other, missing; 1 where it holds. */
static void
tree_levels(const LearnFeature *feature, const LearnValue *value, float *cell)
{
	int			other = feature->kept_count;
	int			missing = other + feature->has_other;

	if (value->level == LEARN_LEVEL_MISSING)
	{
		if (feature->has_missing)
			cell[missing] = 1;
	}
	else if (feature->kind == LEARN_CATEGORY)
	{
		int32_t		kept = value->level >= 0 ? feature->kept[value->level] : -1;

		if (kept >= 0)
			cell[kept] = 1;
		else if (feature->has_other)
			cell[other] = 1;
	}
	else
		for (int i = 0; i < value->set_count; i++)
			if (feature->kept[value->set[i]] >= 0)
				cell[feature->kept[value->set[i]]] = 1;
}

/* Absent is missing: trees then learn the way for both at once. */
void
learn_tree_row(const LearnFeatures *features, const LearnValue *value, float *row)
{
	for (int f = 0; f < features->count; f++)
	{
		const LearnFeature *feature = &features->feature[f];
		float	   *cell = row + feature->tree_first;

		if (feature->kind == LEARN_NUMBER)
		{
			double		number = value[f].number;

			/* beyond float's reach is as good as its end; infinity is refused by the library */
			cell[0] = number > 3e38 ? 3e38f : number < -3e38 ? -3e38f : (float) number;
			continue;
		}
		for (int i = 0; i < feature->tree_count; i++)
			cell[i] = NAN;
		tree_levels(feature, &value[f], cell);
		if (feature->tree_target && feature->tree_value && value[f].level != LEARN_LEVEL_MISSING)
			cell[feature->tree_count - 1] = value[f].level < 0 ? 0 : (float) feature->tree_value[value[f].level];
	}
}

/* Row by row, so that training and prediction share one encoder. */
float *
learn_tree_matrix(const KernelEnv *env, const LearnFeatures *features, const LearnTable *table)
{
	size_t		width = features->tree_columns;
	float	   *matrix = kernel_alloc_array(env, float, table->rows * width + 1);
	LearnValue *value = kernel_alloc_array(env, LearnValue, features->count + 1);
	int32_t    *room = kernel_alloc_array(env, int32_t, learn_table_room(table));

	for (size_t row = 0; row < table->rows; row++)
	{
		learn_table_row(features, table, row, value, room);
		learn_tree_row(features, value, matrix + row * width);
		if (row % 4096 == 0)
			kernel_tick(env, row, table->rows);
	}
	kernel_release(env, value);
	kernel_release(env, room);
	return matrix;
}
