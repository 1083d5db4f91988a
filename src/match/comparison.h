/*
 * comparison.h
 *		How alike two records are in one respect: a level, from 0 (different) up to the top (equal), or MATCH_NULL.
 *
 * A comparison with k thresholds has the levels 0, 1 … k (level k meets the strictest threshold) and k + 1 for equal
 * values. Thresholds come strictest first. A value unknown on either side gives MATCH_NULL, which is no evidence at all.
 *
 * Two name columns may be joined by a "swapped" level: where the values stand in each other's column, the first
 * comparison of the two reports match_swapped_level and the second MATCH_NULL, so that the evidence counts once.
 */
#ifndef SALESOPS_MATCH_COMPARISON_H
#define SALESOPS_MATCH_COMPARISON_H

#include "match/records.h"
#include "text/pattern.h"

#define MATCH_MAX_COMPARISONS 16
#define MATCH_MAX_THRESHOLDS 8
#define MATCH_MAX_LEVELS (MATCH_MAX_THRESHOLDS + 3)	/* different, thresholds, equal, swapped */
#define MATCH_LEVEL_BITS 4
#define MATCH_LEVEL_MASK 15

typedef enum MatchMethod
{
	MATCH_EXACT,
	MATCH_JARO_WINKLER,
	MATCH_LEVENSHTEIN,
	MATCH_DAMERAU_LEVENSHTEIN,
	MATCH_NGRAM,
	MATCH_TOKEN_SET,
	MATCH_NUMERIC_DIFFERENCE,
	MATCH_DATE_DIFFERENCE
} MatchMethod;

typedef struct MatchComparison
{
	int			column;
	MatchMethod method;
	int			nthresholds;
	/* similarities below 1, or distances (edits, units, days) from 1 up for the methods that count them */
	double		threshold[MATCH_MAX_THRESHOLDS];
	bool		term_frequency;
	int			swapped_with;	/* the other comparison of a swapped pair, or -1 */
	/* made by match_comparisons_prepare, an entry a value of the column */
	TextView   *view;
	double	   *number;			/* NaN where the text is no number or date: then only equality counts */
	uint32_t  **gram;			/* sorted distinct hashes of 3-grams: gram[v][0] is their number */
	int32_t    *other_code;		/* code of the same text in the other column of a swapped pair */
} MatchComparison;

/* Reads the views of a column's texts; texts that are not UTF-8 go through records->decode, or are bytes without. */
extern void match_comparisons_prepare(MatchRecords *records, MatchComparison *comparisons, int count, bool utf8);

/* Number of levels with the swapped one, if any */
static inline int
match_level_count(const MatchComparison *comparison)
{
	return comparison->nthresholds + 2 + (comparison->swapped_with >= 0 ? 1 : 0);
}

static inline int
match_top_level(const MatchComparison *comparison)
{
	return comparison->nthresholds + 1;
}

#define match_swapped_level(comparison) ((comparison)->nthresholds + 2)

/* The level of two values; 'floor' is the least level that the caller can use: lower ones are reported as 0 sooner. */
extern int	match_value_level(const MatchComparison *comparison, TextWorkspace *workspace, int32_t a, int32_t b, int floor);

/* The similarity that the thresholds are held against, for explanations */
extern double match_value_similarity(const MatchComparison *comparison, TextWorkspace *workspace, int32_t a, int32_t b);

/* True where a and b have each other's values in the columns of a swapped pair */
static inline bool
match_is_swapped(const MatchRecords *records, const MatchComparison *first, const MatchComparison *second, int32_t a, int32_t b)
{
	const int32_t *one = records->column[first->column].code;
	const int32_t *two = records->column[second->column].code;

	return one[a] != MATCH_NULL && one[b] != MATCH_NULL && two[a] != MATCH_NULL && two[b] != MATCH_NULL &&
		one[a] != one[b] &&
		first->other_code[one[a]] == two[b] && first->other_code[one[b]] == two[a];
}

/*
 * All levels of a pair, MATCH_LEVEL_BITS each with 1 added so that 0 is unknown: comparison c at bits 4c.
 */
extern uint64_t match_pattern(const MatchRecords *records, const MatchComparison *comparisons, int count,
							  TextWorkspace *workspace, int32_t a, int32_t b);

/* Level of comparison c in a pattern */
static inline int
match_pattern_level(uint64_t pattern, int c)
{
	return (int) ((pattern >> (c * MATCH_LEVEL_BITS)) & MATCH_LEVEL_MASK) - 1;
}

/* Days since 1970-01-01 of an ISO date (also with a time behind it) or eight digits; NaN where it is none. */
extern double match_parse_date(const char *text, size_t length);
/* A number, the whole text; NaN where it is none. */
extern double match_parse_number(const char *text, size_t length);

#endif							/* SALESOPS_MATCH_COMPARISON_H */
