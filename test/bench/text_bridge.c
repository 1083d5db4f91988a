/*
 * text_bridge.c
 *		A shared library around the text kernels for text_crosscheck.py: arrays of UTF-8 pairs in, arrays of results out.
 */
#include "text/jaro.h"
#include "text/levenshtein.h"
#include "text/ngram.h"
#include "text/tokens.h"

#include "tap.h"

static TextWorkspace workspace;

/* A decoded copy of a string; the caller frees the buffer. */
static TextView
decoded(const char *bytes, const uint64_t *offset, size_t i, uint32_t **buffer)
{
	size_t size = offset[i + 1] - offset[i];

	*buffer = malloc(sizeof(uint32_t) * (size + 1));
	return text_view_utf8(bytes + offset[i], size, *buffer);
}

/*
 * Decoded copies of a pair: as SQL's functions do it, short strings that are only asked which code points are equal together.
 * The caller frees the buffers.
 */
static void
decoded_pair(bool together, TextView *a, TextView *b, uint32_t *buffer[2])
{
	buffer[0] = malloc(sizeof(uint32_t) * ((size_t) a->length + TEXT_NARROW_UNITS));
	buffer[1] = malloc(sizeof(uint32_t) * ((size_t) b->length + TEXT_NARROW_UNITS));
	if (together)
		text_view_pair_utf8(a, b, buffer[0], buffer[1]);
	else
	{
		*a = text_view_utf8(a->units, a->length, buffer[0]);
		*b = text_view_utf8(b->units, b->length, buffer[1]);
	}
}

/* One function of one pair. */
static double
compute(int function, TextView a, TextView b, uint32_t max)
{
	switch (function)
	{
		case 0:
			return text_levenshtein(&workspace, a, b, TEXT_NO_LIMIT);
		case 1:
			return text_levenshtein(&workspace, a, b, max);
		case 2:
			return text_damerau_levenshtein(&workspace, a, b);
		case 3:
			return text_jaro(&workspace, a, b);
		case 4:
			return text_jaro_winkler(&workspace, a, b, TEXT_WINKLER_WEIGHT);
		case 5:
			return text_indel_similarity(&workspace, a, b);
		case 6:
			return text_token_sort(&workspace, a, b);
		case 7:
			return text_token_set(&workspace, a, b);
		default:
			return text_ngram(&workspace, a, b, (uint32_t) (function - 7));
	}
}

/* One function of each pair. */
extern void bridge_pairs(int function, const char *bytes_a, const uint64_t *offset_a, const char *bytes_b,
						 const uint64_t *offset_b, size_t count, uint32_t max, double *result);
void
bridge_pairs(int function, const char *bytes_a, const uint64_t *offset_a, const char *bytes_b, const uint64_t *offset_b,
			 size_t count, uint32_t max, double *result)
{
	KernelEnv env = tap_env();

	workspace.env = &env;
	for (size_t i = 0; i < count; i++)
	{
		uint32_t *buffer[2];
		TextView a = text_view_bytes(bytes_a + offset_a[i], offset_a[i + 1] - offset_a[i]);
		TextView b = text_view_bytes(bytes_b + offset_b[i], offset_b[i + 1] - offset_b[i]);

		decoded_pair(function <= 4, &a, &b, buffer);
		result[i] = compute(function, a, b, max);
		free(buffer[0]);
		free(buffer[1]);
	}
}

/* The first string of a with every string of b, by the batch kernels: 0 Levenshtein, 1 limited, 4 Jaro-Winkler. */
extern void bridge_batch(int function, const char *bytes_a, const uint64_t *offset_a, const char *bytes_b,
						 const uint64_t *offset_b, size_t count, uint32_t max, double *result);
void
bridge_batch(int function, const char *bytes_a, const uint64_t *offset_a, const char *bytes_b, const uint64_t *offset_b,
			 size_t count, uint32_t max, double *result)
{
	KernelEnv env = tap_env();
	uint32_t **buffer = malloc(sizeof(*buffer) * (count + 1));
	TextView *text = malloc(sizeof(*text) * (count + 1));
	uint32_t *distance = malloc(sizeof(*distance) * (count + 1));
	TextPattern pattern;

	workspace.env = &env;
	text_pattern_prepare(&pattern, decoded(bytes_a, offset_a, 0, &buffer[count]));
	for (size_t i = 0; i < count; i++)
		text[i] = decoded(bytes_b, offset_b, i, &buffer[i]);
	if (function == 4)
		text_jaro_winkler_batch(&workspace, &pattern, text, count, TEXT_WINKLER_WEIGHT, result);
	else
	{
		text_levenshtein_batch(&workspace, &pattern, text, count, function == 0 ? TEXT_NO_LIMIT : max, distance);
		for (size_t i = 0; i < count; i++)
			result[i] = distance[i];
	}
	for (size_t i = 0; i <= count; i++)
		free(buffer[i]);
	free(buffer);
	free(text);
	free(distance);
}
