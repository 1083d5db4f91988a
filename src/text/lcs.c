/*
 * lcs.c
 *		Length of the longest common subsequence (lcs.h).
 *
 * After Hyyrö (2004): a zero bit i says that the subsequence grows at row i. Adding the matches to the set bits moves each
 * growth to the first match in its run, and the carry out of one word goes into the next, so that a strip of 64 rows needs
 * of the strip above only one carry a column.
 */
#include <string.h>

#include "text/lcs.h"

/* How many columns pass between two ticks */
#define TICK_COLUMNS 65536

/* A pattern within a word: how many rows grew. */
static inline __attribute__((always_inline)) uint32_t
word_lcs(const TextPattern *pattern, const void *units, uint32_t length, bool wide)
{
	uint64_t same = ~UINT64_C(0);

	for (uint32_t j = 0; j < length; j++)
	{
		uint64_t matches = same & text_mask_at(pattern, units, j, wide);

		same = (same + matches) | (same - matches);
	}
	return text_popcount(~same & text_low_bits(pattern->view.length));
}

/* One strip of a longer pattern; carries[j] comes from the strip above and is left for the one below. */
static inline __attribute__((always_inline)) uint32_t
strip_lcs(const TextPattern *pattern, const void *units, uint32_t length, uint8_t *carries, bool wide)
{
	uint64_t same = ~UINT64_C(0);

	for (uint32_t j = 0; j < length; j++)
	{
		uint64_t matches = same & text_mask_at(pattern, units, j, wide);
		uint64_t sum = same + matches;
		uint64_t carried = sum + carries[j];

		carries[j] = (uint8_t) ((sum < same) | (carried < sum));
		same = carried | (same - matches);
	}
	return text_popcount(~same & text_low_bits(pattern->view.length));
}

/* Strings beyond a word, strip by strip of the shorter one. */
static uint32_t
long_lcs(TextWorkspace *workspace, TextView pattern, TextView text)
{
	uint8_t *carries = kernel_alloc_array(workspace->env, uint8_t, text.length);
	uint32_t common = 0;
	uint64_t unticked = 0;

	memset(carries, 0, text.length);
	for (uint32_t row = 0; row < pattern.length; row += TEXT_WORD)
	{
		uint32_t rest = pattern.length - row;
		TextView strip = text_slice(pattern, row, rest < TEXT_WORD ? rest : TEXT_WORD);

		text_pattern_prepare(&workspace->pattern, strip);
		common += text.wide ? strip_lcs(&workspace->pattern, text.units, text.length, carries, true)
							: strip_lcs(&workspace->pattern, text.units, text.length, carries, false);
		unticked += text.length;
		if (unticked >= TICK_COLUMNS)
		{
			kernel_tick(workspace->env, row, pattern.length);
			unticked = 0;
		}
	}
	kernel_release(workspace->env, carries);
	return common;
}

/* The length of the longest common subsequence. What is common at the ends belongs to it. */
uint32_t
text_lcs(TextWorkspace *workspace, TextView a, TextView b)
{
	uint32_t prefix = text_common_prefix(a, b);
	uint32_t suffix = text_common_suffix(a, b, prefix);
	uint32_t ends = prefix + suffix;
	TextView longer = text_slice(a, prefix, a.length - ends);
	TextView shorter = text_slice(b, prefix, b.length - ends);

	if (longer.length < shorter.length)
	{
		TextView swap = longer;

		longer = shorter;
		shorter = swap;
	}
	if (shorter.length == 0)
		return ends;
	if (shorter.length > TEXT_WORD)
		return ends + long_lcs(workspace, shorter, longer);
	if (longer.length <= TEXT_WORD)
	{
		TextView swap = longer;

		longer = shorter;
		shorter = swap;
	}
	text_pattern_pair(&workspace->pattern, shorter, longer);
	return ends + (longer.wide ? word_lcs(&workspace->pattern, longer.units, longer.length, true)
							   : word_lcs(&workspace->pattern, longer.units, longer.length, false));
}

/* 1 - (insertions and deletions) / (sum of the lengths). */
double
text_indel_similarity(TextWorkspace *workspace, TextView a, TextView b)
{
	uint64_t sum = (uint64_t) a.length + b.length;

	if (sum == 0)
		return 1.0;
	return 1.0 - (double) (sum - 2 * (uint64_t) text_lcs(workspace, a, b)) / (double) sum;
}
