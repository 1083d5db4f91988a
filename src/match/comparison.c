/*
 * comparison.c
 *		Levels of two values, per method; the work per distinct value (views, grams, numbers) is done once before.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "match/comparison.h"
#include "text/jaro.h"
#include "text/levenshtein.h"
#include "text/tokens.h"

#define GRAM 3

/* A run of decimal digits as a number; -1 where there is anything else. */
static int
digits(const char *text, int length)
{
	int			value = 0;

	for (int i = 0; i < length; i++)
	{
		if (text[i] < '0' || text[i] > '9')
			return -1;
		value = value * 10 + (text[i] - '0');
	}
	return value;
}

/* Days since 1970-01-01 in the proleptic Gregorian calendar (H. Hinnant, days_from_civil). */
static double
days_from_civil(int y, int m, int d)
{
	int			era;
	int			year_of_era;
	int			day_of_year;

	y -= m <= 2;
	era = (y >= 0 ? y : y - 399) / 400;
	year_of_era = y - era * 400;
	day_of_year = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
	return era * 146097.0 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

double
match_parse_date(const char *text, size_t length)
{
	int			y;
	int			m;
	int			d;

	if (length >= 10 && text[4] == '-' && text[7] == '-')
	{
		y = digits(text, 4);
		m = digits(text + 5, 2);
		d = digits(text + 8, 2);
	}
	else if (length == 8)
	{
		y = digits(text, 4);
		m = digits(text + 4, 2);
		d = digits(text + 6, 2);
	}
	else
		return NAN;
	if (y < 1 || m < 1 || m > 12 || d < 1 || d > 31)
		return NAN;
	return days_from_civil(y, m, d);
}

double
match_parse_number(const char *text, size_t length)
{
	char		buffer[64];
	char	   *end;
	double		value;

	if (length == 0 || length >= sizeof(buffer))
		return NAN;
	memcpy(buffer, text, length);
	buffer[length] = '\0';
	value = strtod(buffer, &end);
	return *end == '\0' && isfinite(value) ? value : NAN;
}

/* Order of 32-bit numbers, for qsort. */
static int
compare_uint32(const void *a, const void *b)
{
	uint32_t	x = *(const uint32_t *) a;
	uint32_t	y = *(const uint32_t *) b;

	return (x > y) - (x < y);
}

/* The distinct 3-grams of a text with two blanks before and one after it (as pg_trgm pads words), hashed and sorted. */
static uint32_t *
make_grams(const KernelEnv *env, TextView view)
{
	uint32_t   *gram = kernel_alloc_array(env, uint32_t, view.length + 2);
	uint32_t	n = 0;
	uint32_t	kept = 0;

	for (uint32_t i = 0; i + GRAM <= view.length + 3; i++)
	{
		uint32_t	h = 0;

		for (uint32_t k = i; k < i + GRAM; k++)
		{
			uint32_t	unit = k < 2 || k - 2 >= view.length ? ' ' : text_unit(view, k - 2);

			h = (h ^ unit) * UINT32_C(0x9E3779B1);
			h ^= h >> 15;
		}
		gram[++n] = h;
	}
	qsort(gram + 1, n, sizeof(uint32_t), compare_uint32);
	for (uint32_t i = 1; i <= n; i++)
	{
		if (kept == 0 || gram[kept] != gram[i])
			gram[++kept] = gram[i];
	}
	gram[0] = kept;
	return gram;
}

/* Shared over all: Jaccard of two sorted sets. */
static double
jaccard(const uint32_t *a, const uint32_t *b)
{
	uint32_t	i = 1;
	uint32_t	j = 1;
	uint32_t	common = 0;

	while (i <= a[0] && j <= b[0])
	{
		if (a[i] == b[j])
		{
			common++;
			i++;
			j++;
		}
		else if (a[i] < b[j])
			i++;
		else
			j++;
	}
	return a[0] + b[0] == 0 ? 1 : common / (double) (a[0] + b[0] - common);
}

/* Views of a column's values; code points that need decoding go to memory of their own. */
static void
prepare_views(MatchRecords *records, MatchComparison *comparison, bool utf8)
{
	const MatchColumn *column = &records->column[comparison->column];
	const KernelEnv *env = &records->env;

	comparison->view = kernel_alloc_array(env, TextView, column->nvalues);
	for (int32_t v = 0; v < column->nvalues; v++)
	{
		const char *text = match_value(column, v);
		size_t		length = match_value_length(column, v);

		uint32_t   *units;

		if ((!utf8 && records->decode == NULL) || text_is_ascii(text, length))
		{
			comparison->view[v] = text_view_bytes(text, length);
			continue;
		}
		units = kernel_alloc_array(env, uint32_t, length + 1);
		if (utf8)
			comparison->view[v] = text_view_utf8(text, length, units);
		else
			comparison->view[v] = text_view_units(units, records->decode(text, length, units));
	}
}

/* What one comparison's method needs of each value. */
static void
prepare_values(MatchRecords *records, MatchComparison *comparison, bool utf8)
{
	const MatchColumn *column = &records->column[comparison->column];
	const KernelEnv *env = &records->env;

	if (comparison->method == MATCH_NUMERIC_DIFFERENCE || comparison->method == MATCH_DATE_DIFFERENCE)
	{
		comparison->number = kernel_alloc_array(env, double, column->nvalues);
		for (int32_t v = 0; v < column->nvalues; v++)
			comparison->number[v] = comparison->method == MATCH_DATE_DIFFERENCE
				? match_parse_date(match_value(column, v), match_value_length(column, v))
				: match_parse_number(match_value(column, v), match_value_length(column, v));
		return;
	}
	if (comparison->method == MATCH_EXACT || comparison->nthresholds == 0)
		return;
	prepare_views(records, comparison, utf8);
	if (comparison->method == MATCH_NGRAM)
	{
		comparison->gram = kernel_alloc_array(env, uint32_t *, column->nvalues);
		for (int32_t v = 0; v < column->nvalues; v++)
			comparison->gram[v] = make_grams(env, comparison->view[v]);
	}
}

void
match_comparisons_prepare(MatchRecords *records, MatchComparison *comparisons, int count, bool utf8)
{
	for (int c = 0; c < count; c++)
	{
		MatchComparison *comparison = &comparisons[c];

		comparison->view = NULL;
		comparison->number = NULL;
		comparison->gram = NULL;
		comparison->other_code = NULL;
		prepare_values(records, comparison, utf8);
		if (comparison->swapped_with > c)
		{
			const MatchColumn *mine = &records->column[comparison->column];
			const MatchColumn *other = &records->column[comparisons[comparison->swapped_with].column];

			comparison->other_code = kernel_alloc_array(&records->env, int32_t, mine->nvalues);
			for (int32_t v = 0; v < mine->nvalues; v++)
				comparison->other_code[v] = match_column_find(other, match_value(mine, v), match_value_length(mine, v));
		}
		kernel_tick(&records->env, c + 1, count);
	}
}

/* How many thresholds (from the strictest) a similarity misses, as a level: larger is better. */
static int
level_of_similarity(const MatchComparison *comparison, double similarity)
{
	for (int t = 0; t < comparison->nthresholds; t++)
	{
		if (similarity >= comparison->threshold[t])
			return comparison->nthresholds - t;
	}
	return 0;
}

/* The same for a distance: smaller is better. */
static int
level_of_distance(const MatchComparison *comparison, double distance)
{
	for (int t = 0; t < comparison->nthresholds; t++)
	{
		if (distance <= comparison->threshold[t])
			return comparison->nthresholds - t;
	}
	return 0;
}

/* Edit distances: thresholds from 1 up are edits, below 1 they are similarities. */
static int
level_of_edits(const MatchComparison *comparison, TextWorkspace *workspace, TextView a, TextView b)
{
	uint32_t	longer = a.length > b.length ? a.length : b.length;
	uint32_t	shorter = a.length > b.length ? b.length : a.length;
	double		loosest = comparison->threshold[comparison->nthresholds - 1];
	bool		edits = loosest >= 1;
	uint32_t	max = edits ? (uint32_t) loosest : (uint32_t) floor((1 - loosest) * longer + 1e-9);
	uint32_t	distance;

	if (longer - shorter > max)
		return 0;
	if (comparison->method == MATCH_LEVENSHTEIN)
		distance = text_levenshtein(workspace, a, b, max);
	else
	{
		/* a transposition is two plain edits, so this bit-parallel bound spares most pairs the long way */
		distance = text_levenshtein(workspace, a, b, 2 * max);
		if (distance > 2 * max)
			return 0;
		if (distance > 1)
			distance = text_damerau_levenshtein(workspace, a, b);
	}
	if (edits)
		return level_of_distance(comparison, distance);
	return level_of_similarity(comparison, text_levenshtein_ratio(distance, a.length, b.length));
}

/* No two strings of these lengths are more alike: all of the shorter one in the longer, with the full prefix. */
static double
jaro_winkler_bound(uint32_t a, uint32_t b)
{
	uint32_t	longer = a > b ? a : b;
	double		jaro = longer == 0 ? 1 : (2 + (double) (a < b ? a : b) / longer) / 3;

	return jaro + TEXT_WINKLER_PREFIX * TEXT_WINKLER_WEIGHT * (1 - jaro) + 1e-9;
}

int
match_value_level(const MatchComparison *comparison, TextWorkspace *workspace, int32_t a, int32_t b, int floor_level)
{
	if (a == b)
		return match_top_level(comparison);
	if (comparison->nthresholds == 0 || floor_level > comparison->nthresholds)
		return 0;
	switch (comparison->method)
	{
		case MATCH_EXACT:
			return 0;
		case MATCH_JARO_WINKLER:
			if (jaro_winkler_bound(comparison->view[a].length, comparison->view[b].length) <
				comparison->threshold[comparison->nthresholds - 1])
				return 0;
			return level_of_similarity(comparison, text_jaro_winkler(workspace, comparison->view[a], comparison->view[b],
																	 TEXT_WINKLER_WEIGHT));
		case MATCH_LEVENSHTEIN:
		case MATCH_DAMERAU_LEVENSHTEIN:
			return level_of_edits(comparison, workspace, comparison->view[a], comparison->view[b]);
		case MATCH_NGRAM:
			return level_of_similarity(comparison, jaccard(comparison->gram[a], comparison->gram[b]));
		case MATCH_TOKEN_SET:
			return level_of_similarity(comparison, text_token_set(workspace, comparison->view[a], comparison->view[b]));
		case MATCH_NUMERIC_DIFFERENCE:
		case MATCH_DATE_DIFFERENCE:
			return level_of_distance(comparison, fabs(comparison->number[a] - comparison->number[b]));
	}
	return 0;
}

uint64_t
match_pattern(const MatchRecords *records, const MatchComparison *comparisons, int count,
			  TextWorkspace *workspace, int32_t a, int32_t b)
{
	uint64_t	pattern = 0;

	for (int c = 0; c < count; c++)
	{
		const MatchComparison *comparison = &comparisons[c];
		const int32_t *code = records->column[comparison->column].code;
		int			other = comparison->swapped_with;
		int			level;

		if (other >= 0 && match_is_swapped(records, &comparisons[other > c ? c : other], &comparisons[other > c ? other : c], a, b))
			level = other > c ? match_swapped_level(comparison) : MATCH_NULL;
		else if (code[a] == MATCH_NULL || code[b] == MATCH_NULL)
			level = MATCH_NULL;
		else
			level = match_value_level(comparison, workspace, code[a], code[b], 0);
		pattern |= (uint64_t) (level + 1) << (c * MATCH_LEVEL_BITS);
	}
	return pattern;
}
