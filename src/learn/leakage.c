/*
 * leakage.c
 *		The tests of leakage.h. Each looks at one column and the label alone, over a coarse view of the column: its levels, or
 *		its twentieths, with the missing rows as a cell of their own.
 */
#include "learn/leakage.h"

#include "learn/metrics.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BINS				20		/* at most as many values fill one by themselves, with two edges each */
#define CELL_MISSING		0
#define CELL_RARE			1
#define CELL_FIRST			2	/* levels or bins from here */
#define RARE_ROWS			10

#define PURE_SHARE			0.98
#define PURE_ROWS			20	/* a side of the fill test */
#define LEAK_INFORMATION	0.97
#define SUSPECT_INFORMATION	0.20
#define SUSPECT_COVERAGE	0.15
#define NOTE_FILL			0.20
#define NOTE_INFORMATION	0.01

typedef struct Cells
{
	int			count;
	int32_t    *of_row;
	double	   *rows;			/* [cell * folds + fold] */
	double	   *positives;
} Cells;

/* Put an edge into a sorted list, once. */
static int
add_edge(double *edge, int edges, double value)
{
	int			at = edges;

	while (at > 0 && edge[at - 1] >= value)
		at--;
	if (at < edges && edge[at] == value)
		return edges;
	memmove(edge + at + 1, edge + at, sizeof(double) * (edges - at));
	edge[at] = value;
	return edges + 1;
}

/*
 * Edges between twentieths of sorted numbers. A value that fills a twentieth by itself gets a cell of its own: "nothing paid" must not
 * share one with "little paid".
 */
static int
find_edges(const double *sorted, size_t present, double *edge)
{
	int			edges = 0;
	size_t		start = 0;

	for (int i = 1; i < BINS && present > 0; i++)
		if (sorted[present * i / BINS] > sorted[0])
			edges = add_edge(edge, edges, sorted[present * i / BINS]);
	for (size_t i = 1; i <= present; i++)
	{
		if (i < present && sorted[i] == sorted[start])
			continue;
		if ((i - start) * BINS >= present && (i - start) >= RARE_ROWS)
		{
			if (start > 0)
				edges = add_edge(edge, edges, sorted[start]);
			if (i < present)
				edges = add_edge(edge, edges, sorted[i]);
		}
		start = i;
	}
	return edges;
}

/* Few distinct numbers fall into fewer cells. */
static int
cells_of_numbers(const KernelEnv *env, const double *number, size_t rows, int32_t *of_row)
{
	double	   *sorted = kernel_alloc_array(env, double, rows);
	double		edge[BINS * 3];
	int			edges;
	size_t		present = 0;

	for (size_t row = 0; row < rows; row++)
		if (!isnan(number[row]))
			sorted[present++] = number[row];
	learn_sort_doubles(env, sorted, present);
	edges = find_edges(sorted, present, edge);
	for (size_t row = 0; row < rows; row++)
	{
		int			bin = 0;

		if (isnan(number[row]))
		{
			of_row[row] = CELL_MISSING;
			continue;
		}
		while (bin < edges && number[row] >= edge[bin])
			bin++;
		of_row[row] = CELL_FIRST + bin;
	}
	kernel_release(env, sorted);
	return CELL_FIRST + edges + 1;
}

/* Levels with enough rows stand alone. */
static int
cells_of_levels(const KernelEnv *env, const LearnColumn *column, size_t rows, int32_t *of_row)
{
	size_t	   *counts = kernel_alloc_array(env, size_t, column->levels + 1);
	int32_t    *cell = kernel_alloc_array(env, int32_t, column->levels + 1);
	int			used = CELL_FIRST;

	memset(counts, 0, sizeof(size_t) * (column->levels + 1));
	for (size_t row = 0; row < rows; row++)
		if (column->code[row] >= 0)
			counts[column->code[row]]++;
	for (int level = 0; level < column->levels; level++)
		cell[level] = counts[level] >= RARE_ROWS ? used++ : CELL_RARE;
	for (size_t row = 0; row < rows; row++)
		of_row[row] = column->code[row] >= 0 ? cell[column->code[row]] : CELL_MISSING;
	kernel_release(env, counts);
	kernel_release(env, cell);
	return used;
}

/* A set is looked at by whether it is filled, and whether it is empty. */
static int
cells_of_sets(const LearnColumn *column, size_t rows, int32_t *of_row)
{
	for (size_t row = 0; row < rows; row++)
		of_row[row] = column->code[row] < 0 ? CELL_MISSING :
			column->set_start[row + 1] > column->set_start[row] ? CELL_FIRST : CELL_RARE;
	return CELL_FIRST + 1;
}

/* Rows and positives by cell and fold. */
static void
count_cells(const KernelEnv *env, const LearnTable *table, int column, const int *fold, int folds, Cells *cells)
{
	const LearnColumn *from = &table->column[column];
	size_t		size;

	cells->of_row = kernel_alloc_array(env, int32_t, table->rows + 1);
	if (from->kind == LEARN_NUMBER)
		cells->count = cells_of_numbers(env, from->number, table->rows, cells->of_row);
	else if (from->kind == LEARN_CATEGORY)
		cells->count = cells_of_levels(env, from, table->rows, cells->of_row);
	else
		cells->count = cells_of_sets(from, table->rows, cells->of_row);
	size = (size_t) cells->count * folds;
	cells->rows = kernel_alloc_array(env, double, size);
	cells->positives = kernel_alloc_array(env, double, size);
	memset(cells->rows, 0, sizeof(double) * size);
	memset(cells->positives, 0, sizeof(double) * size);
	for (size_t row = 0; row < table->rows; row++)
	{
		size_t		at = (size_t) cells->of_row[row] * folds + fold[row];

		cells->rows[at]++;
		cells->positives[at] += table->label[row];
	}
}

/* Sum over folds, one of them (-1: none) left out. */
static double
sum_folds(const double *counts, int cell, int folds, int without)
{
	double		sum = 0;

	for (int k = 0; k < folds; k++)
		if (k != without)
			sum += counts[(size_t) cell * folds + k];
	return sum;
}

/* 1 - (log loss of the cells' rates from the other folds) / (the label's entropy); 0 where it is worse than nothing. */
static double
information_of(const Cells *cells, int folds, double rows, double base)
{
	double		entropy = -rows * (base * log(base) + (1 - base) * log(1 - base));
	double		loss = 0;

	for (int cell = 0; cell < cells->count; cell++)
		for (int k = 0; k < folds; k++)
		{
			double		here = cells->rows[(size_t) cell * folds + k];
			double		positives = cells->positives[(size_t) cell * folds + k];
			double		rate = (sum_folds(cells->positives, cell, folds, k) + base) /
				(sum_folds(cells->rows, cell, folds, k) + 1);

			loss -= positives * log(rate) + (here - positives) * log(1 - rate);
		}
	return loss < entropy ? 1 - loss / entropy : 0;
}

/* Record a finding, unless a stronger one is there. */
static void
find(LeakFinding *finding, LeakDegree degree, const char *format, double a, double b)
{
	if (degree <= finding->degree)
		return;
	finding->degree = degree;
	snprintf(finding->reason, sizeof finding->reason, format, a, b);
}

/* Is a share of one class too pure to be chance, given that class's base share? */
static bool
too_pure(double share, double base)
{
	return share >= PURE_SHARE && 1 - share <= (1 - base) / 5;
}

/* Filled rows, or empty ones, all but wholly of one class. */
static void
test_fill(const Cells *cells, int folds, double rows, double base, LeakFinding *finding)
{
	double		empty = sum_folds(cells->rows, CELL_MISSING, folds, -1);
	double		empty_positives = sum_folds(cells->positives, CELL_MISSING, folds, -1);
	double		filled = rows - empty;
	double		filled_positives = base * rows - empty_positives;
	double		fill_of_positives = filled_positives / (base * rows);
	double		fill_of_negatives = (filled - filled_positives) / ((1 - base) * rows);

	if (empty < PURE_ROWS || filled < PURE_ROWS)
		return;
	if (too_pure(filled_positives / filled, base))
		find(finding, LEAK_LEFT_OUT, "known only afterwards: %.1f %% of the filled rows are positive", 100 * filled_positives / filled, 0);
	if (too_pure(1 - filled_positives / filled, 1 - base))
		find(finding, LEAK_LEFT_OUT, "known only afterwards: %.1f %% of the filled rows are negative", 100 * (1 - filled_positives / filled), 0);
	if (too_pure(empty_positives / empty, base))
		find(finding, LEAK_LEFT_OUT, "known only afterwards: %.1f %% of the empty rows are positive", 100 * empty_positives / empty, 0);
	if (too_pure(1 - empty_positives / empty, 1 - base))
		find(finding, LEAK_LEFT_OUT, "known only afterwards: %.1f %% of the empty rows are negative", 100 * (1 - empty_positives / empty), 0);
	if (fabs(fill_of_positives - fill_of_negatives) >= NOTE_FILL)
		find(finding, LEAK_NOTE, "filled in %.0f %% of the positive and %.0f %% of the negative rows", 100 * fill_of_positives,
			 100 * fill_of_negatives);
}

/* Share of each class that lies in near-pure cells. */
static void
test_pure_cells(const Cells *cells, int folds, double rows, double base, LeakFinding *finding)
{
	double		positives = 0;
	double		negatives = 0;

	for (int cell = CELL_FIRST; cell < cells->count; cell++)
	{
		double		here = sum_folds(cells->rows, cell, folds, -1);
		double		positive = sum_folds(cells->positives, cell, folds, -1);

		if (here < PURE_ROWS)
			continue;
		if (too_pure(positive / here, base))
			positives += positive;
		else if (too_pure(1 - positive / here, 1 - base))
			negatives += here - positive;
	}
	if (positives >= SUSPECT_COVERAGE * base * rows)
		find(finding, LEAK_QUESTION, "values that are nearly always positive cover %.0f %% of the positive rows",
			 100 * positives / (base * rows), 0);
	if (negatives >= SUSPECT_COVERAGE * (1 - base) * rows)
		find(finding, LEAK_QUESTION, "values that are nearly always negative cover %.0f %% of the negative rows",
			 100 * negatives / ((1 - base) * rows), 0);
}

/* One member of a set, a word or an element, against all rows without it. */
static void
test_member(double here, double positive, double rows, double base, LeakFinding *finding)
{
	double		all[2] = {rows - here, here};
	double		won[2] = {base * rows - positive, positive};
	double		loss = 0;
	double		information;

	for (int side = 0; side < 2; side++)
	{
		double		rate = (won[side] + base) / (all[side] + 1);

		loss -= won[side] * log(rate) + (all[side] - won[side]) * log(1 - rate);
	}
	information = 1 + loss / (rows * (base * log(base) + (1 - base) * log(1 - base)));
	finding->information = fmax(finding->information, information);
	if (too_pure(positive / here, base) && positive >= SUSPECT_COVERAGE * base * rows)
		find(finding, LEAK_QUESTION, "a value in it that is nearly always positive covers %.0f %% of the positive rows",
			 100 * positive / (base * rows), 0);
	if (too_pure(1 - positive / here, 1 - base) && here - positive >= SUSPECT_COVERAGE * (1 - base) * rows)
		find(finding, LEAK_QUESTION, "a value in it that is nearly always negative covers %.0f %% of the negative rows",
			 100 * (here - positive) / ((1 - base) * rows), 0);
}

/* Words of a text, elements of an array: each that has enough rows by itself. */
static void
test_members(const KernelEnv *env, const LearnTable *table, const LearnColumn *set, double base, LeakFinding *finding)
{
	double	   *rows = kernel_alloc_array(env, double, set->levels + 1);
	double	   *positives = kernel_alloc_array(env, double, set->levels + 1);

	memset(rows, 0, sizeof(double) * (set->levels + 1));
	memset(positives, 0, sizeof(double) * (set->levels + 1));
	for (size_t row = 0; row < table->rows; row++)
		for (size_t at = set->set_start[row]; at < set->set_start[row + 1]; at++)
		{
			rows[set->set_code[at]]++;
			positives[set->set_code[at]] += table->label[row];
		}
	for (int level = 0; level < set->levels; level++)
		if (rows[level] >= PURE_ROWS)
			test_member(rows[level], positives[level], (double) table->rows, base, finding);
	kernel_release(env, rows);
	kernel_release(env, positives);
}

/* Does the name hold the word, whatever the case and what is between words? */
static bool
name_has_word(const char *name, const char *word)
{
	size_t		length = strlen(word);

	for (const char *at = name; *at; at++)
	{
		bool		starts = at == name || !isalpha((unsigned char) at[-1]) ||
			(islower((unsigned char) at[-1]) && isupper((unsigned char) at[0]));
		size_t		i = 0;

		while (i < length && at[i] != '\0' && tolower((unsigned char) at[i]) == word[i])
			i++;
		if (starts && i == length && !islower((unsigned char) at[i]))
			return true;
	}
	return false;
}

/* Names that speak of the end of something. */
static void
test_name(const char *name, LeakFinding *finding)
{
	static const char *const words[] = {"duration", "last", "closed", "won", "lost", "outcome", "result", "converted",
	"churned", "cancelled", "canceled"};

	if (finding->information < NOTE_INFORMATION)
		return;
	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
		if (name_has_word(name, words[i]))
		{
			if (finding->degree < LEAK_NOTE)
			{
				finding->degree = LEAK_NOTE;
				snprintf(finding->reason, sizeof finding->reason,
						 "its name (\"%s\") speaks of something that may be written late, and it explains %.1f %% of the label", words[i],
						 100 * finding->information);
			}
			return;
		}
}

#define TOGETHER_COLUMNS	3
#define TOGETHER_LEAST		0.1	/* share of the rows that must be empty, and that must be filled */

/* Is the column empty in the row? */
static bool
is_empty(const LearnColumn *column, size_t row)
{
	return column->kind == LEARN_NUMBER ? isnan(column->number[row]) : column->code[row] < 0;
}

/* A number that tells which rows a column is empty in; 0 where that is nearly none, or nearly all. */
static uint64_t
fill_pattern(const LearnColumn *column, size_t rows)
{
	uint64_t	pattern = UINT64_C(1469598103934665603);
	size_t		empty = 0;

	for (size_t row = 0; row < rows; row++)
		if (is_empty(column, row))
		{
			pattern = (pattern ^ row) * UINT64_C(1099511628211);
			empty++;
		}
	if ((double) empty < TOGETHER_LEAST * (double) rows || (double) empty > (1 - TOGETHER_LEAST) * (double) rows)
		return 0;
	return pattern;
}

/* Several columns filled in the very same rows were written by one step, perhaps a late one. */
static void
test_together(const KernelEnv *env, const LearnTable *table, LeakFinding *finding)
{
	uint64_t   *pattern = kernel_alloc_array(env, uint64_t, table->columns + 1);

	for (int c = 0; c < table->columns; c++)
		pattern[c] = fill_pattern(&table->column[c], table->rows);
	for (int c = 0; c < table->columns; c++)
	{
		int			together = 0;
		double		most = 0;

		for (int other = 0; other < table->columns && pattern[c] != 0; other++)
			if (pattern[other] == pattern[c])
			{
				together++;
				most = fmax(most, finding[other].information);
			}
		if (together >= TOGETHER_COLUMNS && most >= NOTE_INFORMATION)
			find(&finding[c], LEAK_NOTE, "filled in the very same rows as %.0f other columns: one step wrote them, perhaps after the outcome",
				 together - 1, 0);
	}
	kernel_release(env, pattern);
}

/* All tests of one column. */
static void
test_column(const KernelEnv *env, const LearnTable *table, int column, const int *fold, int folds, double base,
			LeakFinding *finding)
{
	Cells		cells;
	double		rows = (double) table->rows;

	count_cells(env, table, column, fold, folds, &cells);
	finding->information = information_of(&cells, folds, rows, base);
	test_fill(&cells, folds, rows, base, finding);
	if (table->column[column].kind == LEARN_SET)
		test_members(env, table, &table->column[column], base, finding);
	if (finding->information >= LEAK_INFORMATION)
		find(finding, LEAK_LEFT_OUT, "the label in other words: alone it explains %.0f %% of it", 100 * finding->information, 0);
	if (finding->information >= SUSPECT_INFORMATION)
		find(finding, LEAK_QUESTION, "alone it explains %.0f %% of the label", 100 * finding->information, 0);
	test_pure_cells(&cells, folds, rows, base, finding);
	test_name(table->column[column].name, finding);
	kernel_release(env, cells.of_row);
	kernel_release(env, cells.rows);
	kernel_release(env, cells.positives);
}

/* See leakage.h. A label of one class only has no leaks. */
LeakFinding *
learn_leakage(const KernelEnv *env, const LearnTable *table, const int *fold, int folds)
{
	LeakFinding *finding = kernel_alloc_array(env, LeakFinding, table->columns + 1);
	double		positives = 0;

	memset(finding, 0, sizeof(LeakFinding) * (table->columns + 1));
	for (size_t row = 0; row < table->rows; row++)
		positives += table->label[row];
	if (positives == 0 || positives == (double) table->rows)
		return finding;
	for (int column = 0; column < table->columns; column++)
	{
		test_column(env, table, column, fold, folds, positives / (double) table->rows, &finding[column]);
		kernel_tick(env, column, table->columns);
	}
	test_together(env, table, finding);
	return finding;
}

typedef struct Ordered
{
	double		at;
	uint8_t		label;
} Ordered;

/* upwards */
static int
compare_ordered(const void *a, const void *b)
{
	double		x = ((const Ordered *) a)->at;
	double		y = ((const Ordered *) b)->at;

	return x < y ? -1 : x > y ? 1 : 0;
}

#define DRIFT_GROUPS 5
#define DRIFT_CHI_SQUARE 33.4	/* p = 1e-6 at four degrees of freedom */
#define DRIFT_SHARE 0.2

/* Groups of equal size along the order; equal values may straddle two groups, which only blunts the test. */
LearnDrift
learn_drift(const KernelEnv *env, const double *order, const uint8_t *label, size_t rows)
{
	Ordered    *sorted = kernel_alloc_array(env, Ordered, rows + 1);
	LearnDrift	drift = {.least_rate = 1};
	size_t		present = 0;
	double		positives = 0;
	double		base;

	for (size_t row = 0; row < rows; row++)
		if (!isnan(order[row]))
		{
			sorted[present++] = (Ordered) {order[row], label[row]};
			positives += label[row];
		}
	base = present > 0 ? positives / (double) present : 0;
	if (present < 200 || positives < 50 || (double) present - positives < 50)
	{
		kernel_release(env, sorted);
		return drift;
	}
	qsort(sorted, present, sizeof(Ordered), compare_ordered);
	for (int group = 0; group < DRIFT_GROUPS; group++)
	{
		size_t		from = present * group / DRIFT_GROUPS;
		size_t		to = present * (group + 1) / DRIFT_GROUPS;
		double		here = 0;
		double		rate;

		for (size_t i = from; i < to; i++)
			here += sorted[i].label;
		rate = here / (double) (to - from);
		drift.chi_square += (double) (to - from) * (rate - base) * (rate - base) / (base * (1 - base));
		drift.least_rate = rate < drift.least_rate ? rate : drift.least_rate;
		drift.most_rate = rate > drift.most_rate ? rate : drift.most_rate;
		if (group == 0)
			drift.first_rate = rate;
		drift.last_rate = rate;
	}
	drift.drifts = drift.chi_square > DRIFT_CHI_SQUARE && drift.most_rate - drift.least_rate > DRIFT_SHARE * base;
	kernel_release(env, sorted);
	return drift;
}
