/*
 * jaro.h
 *		Jaro (1989) and Jaro-Winkler (1990) similarity. Units are code points, results are in [0, 1].
 *
 * Two units match where they are equal and at most max(length) / 2 - 1 apart; half the matched units out of order are
 * transpositions, halved as an integer. Two empty strings are alike (1), one empty string is like nothing (0). Winkler's
 * bonus for a common prefix of at most 4 is added only above a similarity of 0.7.
 */
#ifndef SALESOPS_TEXT_JARO_H
#define SALESOPS_TEXT_JARO_H

#include "text/pattern.h"

#define TEXT_WINKLER_THRESHOLD 0.7
#define TEXT_WINKLER_PREFIX 4
#define TEXT_WINKLER_WEIGHT 0.1

/* Jaro's similarity of one pair. */
extern double text_jaro(TextWorkspace *workspace, TextView a, TextView b);

/* Jaro-Winkler of one pair; the weight of the prefix is from 0 to 0.25, so that the result stays in [0, 1]. */
extern double text_jaro_winkler(TextWorkspace *workspace, TextView a, TextView b, double prefix_weight);

/* The same from a prepared string (text_pattern_prepare). */
extern double text_jaro_prepared(TextWorkspace *workspace, const TextPattern *pattern, TextView text);
extern double text_jaro_winkler_prepared(TextWorkspace *workspace, const TextPattern *pattern, TextView text,
										 double prefix_weight);

/*
 * Jaro-Winkler of a prepared string with count others, in their order: the same results to the bit as one by one, eight at a
 * time where the processor has AVX2 and the strings are short. A prefix weight of 0 gives Jaro.
 */
extern void text_jaro_winkler_batch(TextWorkspace *workspace, const TextPattern *pattern, const TextView *texts,
									size_t count, double prefix_weight, double *similarities);

/* Jaro's formula; shared by every path so that all give the same bits. Transpositions are counted in full, not halved. */
static inline double
text_jaro_formula(uint32_t length_a, uint32_t length_b, uint32_t matches, uint32_t out_of_order)
{
	double common = matches;

	if (matches == 0)
		return length_a == 0 && length_b == 0 ? 1.0 : 0.0;
	return (common / length_a + common / length_b + (double) (matches - out_of_order / 2) / common) / 3.0;
}

/* How far apart two matching units may be, plus one; 0 where the strings cannot match at all. */
static inline uint32_t
text_jaro_reach(uint32_t length_a, uint32_t length_b)
{
	uint32_t longer = length_a > length_b ? length_a : length_b;

	return longer < 2 ? longer : longer / 2;
}

/* Winkler's bonus. The sum could exceed 1 by a rounding. */
static inline double
text_winkler_formula(double jaro, uint32_t prefix, double prefix_weight)
{
	double sum = jaro + prefix * prefix_weight * (1.0 - jaro);

	if (jaro <= TEXT_WINKLER_THRESHOLD)
		return jaro;
	return sum < 1.0 ? sum : 1.0;
}

/* The length of the common prefix, 4 at most. */
static inline uint32_t
text_winkler_prefix(TextView a, TextView b)
{
	uint32_t shorter = a.length < b.length ? a.length : b.length;
	uint32_t limit = shorter < TEXT_WINKLER_PREFIX ? shorter : TEXT_WINKLER_PREFIX;
	uint32_t count = 0;

	while (count < limit && text_unit(a, count) == text_unit(b, count))
		count++;
	return count;
}

#endif /* SALESOPS_TEXT_JARO_H */
