/*
 * pair.h
 *		The SIMD forms of one comparison of two short strings of bytes; the callers are levenshtein.c and jaro.c.
 */
#ifndef SALESOPS_TEXT_PAIR_H
#define SALESOPS_TEXT_PAIR_H

#include "text/pattern.h"
#include "text/simd.h"

#ifdef TEXT_HAVE_SIMD
/* Levenshtein distance. Both views are bytes of 1 to TEXT_WORD units; needs TEXT_SIMD_AVX2. Faster where columns is the shorter. */
extern uint32_t text_levenshtein_pair(TextView rows, TextView columns);

/*
 * Matches and out-of-order matches of Jaro. Both views are bytes of 1 to TEXT_WORD units, columns is no longer than rows, and prefix
 * is how many units they have in common at the start, or fewer; needs TEXT_SIMD_AVX2.
 */
extern uint32_t text_jaro_pair(TextView rows, TextView columns, uint32_t prefix, uint32_t *out_of_order);
#endif

#endif /* SALESOPS_TEXT_PAIR_H */
