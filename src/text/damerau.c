/*
 * damerau.c
 *		Unrestricted Damerau-Levenshtein distance in linear memory (levenshtein.h).
 *
 * Lowrance and Wagner (1975) look back to the last cell where the two units stood crossed. Zhao and Sahinalp (2019) showed
 * that an optimal path only ever needs a look back where either the rows or the columns in between number none, so that two
 * rows and two saved values a column are enough.
 */
#include <string.h>

#include "text/levenshtein.h"

/* The last row in which a code point occurred: a table for those below 256, open addressing for the others. */
typedef struct LastRow
{
	uint32_t low[256];
	uint32_t *key;
	uint32_t *row;
	uint32_t mask;
} LastRow;

/* Room for every wide unit of the rows' string at half load. */
static void
last_row_init(LastRow *last, const KernelEnv *env, TextView rows)
{
	uint32_t size = 16;

	memset(last, 0, sizeof(*last));
	if (!rows.wide)
		return;
	while (size / 2 < rows.length && size < (UINT32_C(1) << 31))
		size *= 2;
	last->key = kernel_alloc_array(env, uint32_t, size);
	last->row = kernel_alloc_array(env, uint32_t, size);
	memset(last->key, 0, sizeof(uint32_t) * (size_t) size);
	memset(last->row, 0, sizeof(uint32_t) * (size_t) size);
	last->mask = size - 1;
}

/* The cell of a code point, for reading; 0 means never. */
static inline uint32_t *
last_row_cell(LastRow *last, uint32_t unit)
{
	static uint32_t never = 0;
	uint32_t slot;

	if (unit < 256)
		return &last->low[unit];
	if (last->key == NULL)
		return &never;
	slot = (unit * UINT32_C(0x9E3779B1)) & last->mask;
	while (last->key[slot] != 0 && last->key[slot] != unit)
		slot = (slot + 1) & last->mask;
	return &last->row[slot];
}

/* Remember a row for a unit of the rows' string. */
static void
last_row_set(LastRow *last, uint32_t unit, uint32_t row)
{
	uint32_t *cell = last_row_cell(last, unit);

	if (unit >= 256)
		last->key[cell - last->row] = unit;
	*cell = row;
}

/* The rows of the matrix: the one being filled holds two rows earlier until it is overwritten. All are of columns + 2. */
typedef struct Rows
{
	int64_t *current;
	int64_t *previous;
	int64_t *crossed; /* previous[j - 2] of the last row in which column j's unit matched */
} Rows;

/* Fill row i. Arrays are addressed from column -1 (index 0), which is out of reach for every path. */
static void
damerau_row(Rows rows, LastRow *last, TextView a, TextView b, uint32_t i, int64_t unreachable)
{
	int64_t *current = rows.current + 1;
	int64_t *previous = rows.previous + 1;
	int64_t *crossed = rows.crossed + 1;
	uint32_t unit = text_unit(a, i - 1);
	int64_t matched = -1; /* the last column of this row that matched */
	int64_t two_up = current[0]; /* two rows up, one column left of the one being filled */
	int64_t crossed_row = unreachable;

	current[0] = i;
	for (uint32_t j = 1; j <= b.length; j++)
	{
		uint32_t other = text_unit(b, j - 1);
		int64_t best = previous[j - 1] + (unit != other);

		if (current[j - 1] + 1 < best)
			best = current[j - 1] + 1;
		if (previous[j] + 1 < best)
			best = previous[j] + 1;
		if (unit == other)
		{
			matched = j;
			crossed[j] = previous[(int64_t) j - 2];
			crossed_row = two_up;
		}
		else
		{
			int64_t row = *last_row_cell(last, other);
			int64_t cost = unreachable;

			if (row == 0)
				row = -1;
			if (j - matched == 1)
				cost = crossed[j] + (i - row);
			else if (i - row == 1)
				cost = crossed_row + (j - matched);
			if (cost < best)
				best = cost;
		}
		two_up = current[j];
		current[j] = best;
	}
}

/* The whole matrix, row by row. */
static uint32_t
damerau_rows(TextWorkspace *workspace, TextView a, TextView b)
{
	size_t width = (size_t) b.length + 2;
	int64_t unreachable = (int64_t) (a.length > b.length ? a.length : b.length) + 1;
	int64_t *memory = kernel_alloc_array(workspace->env, int64_t, width * 3);
	Rows rows = {memory, memory + width, memory + 2 * width};
	LastRow last;
	uint32_t distance;

	last_row_init(&last, workspace->env, a);
	for (size_t j = 0; j < width; j++)
	{
		rows.previous[j] = rows.crossed[j] = unreachable;
		rows.current[j] = (int64_t) j - 1;
	}
	rows.current[0] = unreachable;
	for (uint32_t i = 1; i <= a.length; i++)
	{
		int64_t *swap = rows.current;

		rows.current = rows.previous;
		rows.previous = swap;
		damerau_row(rows, &last, a, b, i, unreachable);
		last_row_set(&last, text_unit(a, i - 1), i);
		if (b.length >= 4096 || i % 1024 == 0)
			kernel_tick(workspace->env, i, a.length);
	}
	distance = (uint32_t) rows.current[b.length + 1];
	if (last.key != NULL)
	{
		kernel_release(workspace->env, last.key);
		kernel_release(workspace->env, last.row);
	}
	kernel_release(workspace->env, memory);
	return distance;
}

/* Unrestricted Damerau-Levenshtein distance. What is common at the ends never changes it. */
uint32_t
text_damerau_levenshtein(TextWorkspace *workspace, TextView a, TextView b)
{
	uint32_t prefix = text_common_prefix(a, b);
	uint32_t suffix = text_common_suffix(a, b, prefix);

	a = text_slice(a, prefix, a.length - prefix - suffix);
	b = text_slice(b, prefix, b.length - prefix - suffix);
	if (a.length == 0 || b.length == 0)
		return a.length + b.length;
	return damerau_rows(workspace, a, b);
}
