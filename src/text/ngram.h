/*
 * ngram.h
 *		Jaccard similarity over the sets of n-grams of two strings. Units are code points.
 */
#ifndef SALESOPS_TEXT_NGRAM_H
#define SALESOPS_TEXT_NGRAM_H

#include "text/pattern.h"

/* The distinct n-grams of a string, packed into 64 bits each and in rising order. */
typedef struct TextGrams
{
	uint64_t *gram;
	uint32_t count;
} TextGrams;

/* The greatest n whose n-grams pack into 64 bits, whatever the code points. */
#define TEXT_GRAM_PACKED 3

/*
 * The set of a string's n-grams, n from 1 to TEXT_GRAM_PACKED. A string shorter than n is one gram by itself, an empty one has
 * none. The array comes from the workspace's allocator. Prepare once to compare with many.
 */
extern TextGrams text_grams(TextWorkspace *workspace, TextView view, uint32_t n);

/* Common grams over all grams; 1 where neither string has any. Both sets are of the same n. */
extern double text_grams_jaccard(const TextGrams *a, const TextGrams *b);

/* One pair, any n from 1. */
extern double text_ngram(TextWorkspace *workspace, TextView a, TextView b, uint32_t n);

#endif /* SALESOPS_TEXT_NGRAM_H */
