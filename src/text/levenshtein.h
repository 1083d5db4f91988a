/*
 * levenshtein.h
 *		Edit distance of two strings, and unrestricted Damerau-Levenshtein. Units are code points.
 *
 * A distance greater than max is reported as max + 1, sooner than the exact one would be known; TEXT_NO_LIMIT asks for the
 * exact distance. Bit-parallel after Myers (1999) and Hyyrö (2003); strings beyond a machine word are cut into strips of 64
 * rows inside Ukkonen's (1985) diagonal band, so that memory is one byte a code point of the longer string.
 */
#ifndef SALESOPS_TEXT_LEVENSHTEIN_H
#define SALESOPS_TEXT_LEVENSHTEIN_H

#include "text/pattern.h"

#define TEXT_NO_LIMIT (UINT32_MAX - 1)

/* The distance of one pair. */
extern uint32_t text_levenshtein(TextWorkspace *workspace, TextView a, TextView b, uint32_t max);

/* The distance from a prepared string (text_pattern_prepare); the workspace serves strings beyond 64 code points. */
extern uint32_t text_levenshtein_prepared(TextWorkspace *workspace, const TextPattern *pattern, TextView text,
										  uint32_t max);

/*
 * The distances from a prepared string to count others, in their order: the same results as one by one, eight at a time
 * where the processor has AVX2 and the strings are short.
 */
extern void text_levenshtein_batch(TextWorkspace *workspace, const TextPattern *pattern, const TextView *texts,
								   size_t count, uint32_t max, uint32_t *distances);

/* 1 - distance / length of the longer one; 1 where both are empty. */
extern double text_levenshtein_ratio(uint32_t distance, uint32_t length_a, uint32_t length_b);

/*
 * Unrestricted Damerau-Levenshtein (Lowrance and Wagner 1975): a transposition of two neighbours costs 1 even when edits
 * fall between them, so it is a metric. Linear memory after Zhao and Sahinalp (2019).
 */
extern uint32_t text_damerau_levenshtein(TextWorkspace *workspace, TextView a, TextView b);

#endif /* SALESOPS_TEXT_LEVENSHTEIN_H */
