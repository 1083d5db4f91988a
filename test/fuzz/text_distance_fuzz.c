/*
 * text_distance_fuzz.c
 *		Any bytes as two strings: every similarity kernel must stay in bounds, agree with its other forms and keep its laws.
 */
#include <stdlib.h>

#include "text/jaro.h"
#include "text/levenshtein.h"
#include "text/ngram.h"
#include "text/simd.h"
#include "text/tokens.h"

#include "tap.h"

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)                                                                                               \
	do                                                                                                                 \
	{                                                                                                                  \
		if (!(condition))                                                                                              \
			abort();                                                                                                   \
	} while (0)

static TextWorkspace workspace;

/* The scalar and the SIMD forms, one by one, prepared and in a batch. */
static void
check_forms(TextView a, TextView b, uint32_t max)
{
	uint32_t distance;
	uint32_t limited;
	double jaro;
	TextPattern pattern;
	TextView texts[3] = {b, a, b};
	uint32_t distances[3];
	double similarities[3];

	text_simd_limit(TEXT_SIMD_NONE);
	distance = text_levenshtein(&workspace, a, b, TEXT_NO_LIMIT);
	limited = text_levenshtein(&workspace, a, b, max);
	jaro = text_jaro_winkler(&workspace, a, b, 0.1);
	text_simd_limit(TEXT_SIMD_AVX512);
	CHECK(limited == (distance <= max ? distance : max + 1));
	CHECK(distance == text_levenshtein(&workspace, b, a, TEXT_NO_LIMIT));
	CHECK(jaro == text_jaro_winkler(&workspace, b, a, 0.1));
	text_pattern_prepare(&pattern, a);
	CHECK(text_levenshtein_prepared(&workspace, &pattern, b, max) == limited);
	text_levenshtein_batch(&workspace, &pattern, texts, 3, max, distances);
	text_jaro_winkler_batch(&workspace, &pattern, texts, 3, 0.1, similarities);
	CHECK(distances[0] == limited && distances[1] == 0 && distances[2] == limited);
	CHECK(similarities[0] == jaro && similarities[1] == 1.0 && similarities[2] == jaro);
	CHECK(jaro >= 0 && jaro <= 1);
	CHECK(distance <= (a.length > b.length ? a.length : b.length));
	CHECK(text_damerau_levenshtein(&workspace, a, b) <= distance);
}

/* Laws of the set similarities. */
static void
check_sets(TextView a, TextView b, uint32_t n)
{
	double ngram = text_ngram(&workspace, a, b, n);
	double sorted = text_token_sort(&workspace, a, b);
	double set = text_token_set(&workspace, a, b);

	CHECK(ngram >= 0 && ngram <= 1 && ngram == text_ngram(&workspace, b, a, n));
	CHECK(text_ngram(&workspace, a, a, n) == 1);
	CHECK(sorted >= 0 && sorted <= 1 && text_token_sort(&workspace, a, a) == 1);
	CHECK(set >= 0 && set <= 1);
	CHECK(text_lcs(&workspace, a, b) == text_lcs(&workspace, b, a));
}

/* Byte 0: where the first string ends; byte 1: the limit and n. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	KernelEnv env = tap_env();
	size_t cut;
	uint32_t *buffer_a;
	uint32_t *buffer_b;
	TextView a;
	TextView b;

	if (size < 2 || size > 2000)
		return 0;
	workspace.env = &env;
	cut = data[0] * (size - 2) / 255;
	/* buffers of the exact size, so that a sanitizer sees a read beyond them */
	buffer_a = malloc(sizeof(uint32_t) * (cut + 1));
	buffer_b = malloc(sizeof(uint32_t) * (size - 2 - cut + 1));
	a = text_view_utf8(data + 2, cut, buffer_a);
	b = text_view_utf8(data + 2 + cut, size - 2 - cut, buffer_b);
	check_forms(a, b, data[1]);
	check_sets(a, b, 1 + data[1] % 9);
	free(buffer_a);
	free(buffer_b);
	return 0;
}
