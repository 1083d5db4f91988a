/*
 * pattern.h
 *		Where each code point occurs in a string of at most 64, as bit masks: what the bit-parallel kernels look up.
 *
 * One prepared pattern serves Levenshtein, Jaro, Jaro-Winkler and the longest common subsequence, so that a caller who
 * compares one string with many prepares once. A longer string is prepared too (the kernels then work from its view).
 */
#ifndef SALESOPS_TEXT_PATTERN_H
#define SALESOPS_TEXT_PATTERN_H

#include "text/codepoints.h"

#define TEXT_WORD 64 /* code points in one machine word of a bit-parallel kernel */
#define TEXT_WIDE_SLOTS 128 /* twice the most distinct code points of a word: probing stays short */
/* Lanes of a SIMD batch: eight masks of 32 bits */
#define TEXT_LANES 8
#define TEXT_LANE_BITS 32

typedef struct TextPattern
{
	TextView view; /* the caller keeps the units alive */
	uint64_t low[256]; /* bit i: unit i is this code point; valid where the view has TEXT_WORD units at most */
	uint32_t wide_key[TEXT_WIDE_SLOTS]; /* code points from 256 on; 0 is an empty slot */
	uint64_t wide_mask[TEXT_WIDE_SLOTS];
} TextPattern;

/*
 * Scratch for the one-to-one kernels. Zero it once and keep it: a 256-entry table need not be cleared for each pair, as
 * every kernel first clears the entries that it will read. Used by one call at a time. env is where long strings allocate.
 */
typedef struct TextWorkspace
{
	const KernelEnv *env;
	TextPattern pattern;
	uint32_t columns[TEXT_LANE_BITS][TEXT_LANES * 2];
} TextWorkspace;

/* Prepare a string for comparison with many. The pattern is fully initialised. */
extern void text_pattern_prepare(TextPattern *pattern, TextView view);

/* Prepare the workspace's pattern for the comparison with one text only: faster, valid for that text's code points. */
extern void text_pattern_pair(TextPattern *pattern, TextView view, TextView text);

/* The slot of a code point from 256 on, or the empty one where it would be. */
static inline uint32_t
text_wide_slot(const TextPattern *pattern, uint32_t unit)
{
	uint32_t slot = (unit * UINT32_C(0x9E3779B1)) >> 25;

	while (pattern->wide_key[slot] != 0 && pattern->wide_key[slot] != unit)
		slot = (slot + 1) % TEXT_WIDE_SLOTS;
	return slot;
}

/* The mask of any code point. */
static inline uint64_t
text_mask(const TextPattern *pattern, uint32_t unit)
{
	uint32_t slot;

	if (unit < 256)
		return pattern->low[unit];
	if (!pattern->view.wide)
		return 0;
	slot = text_wide_slot(pattern, unit);
	return pattern->wide_key[slot] == unit ? pattern->wide_mask[slot] : 0;
}

/* The mask of unit j of a text; wide is a constant in each copy of the loop that calls it. */
static inline uint64_t
text_mask_at(const TextPattern *pattern, const void *units, uint32_t j, bool wide)
{
	return wide ? text_mask(pattern, ((const uint32_t *) units)[j]) : pattern->low[((const uint8_t *) units)[j]];
}

/* How many bits are set. */
static inline uint32_t
text_popcount(uint64_t bits)
{
	bits -= (bits >> 1) & UINT64_C(0x5555555555555555);
	bits = (bits & UINT64_C(0x3333333333333333)) + ((bits >> 2) & UINT64_C(0x3333333333333333));
	bits = (bits + (bits >> 4)) & UINT64_C(0x0F0F0F0F0F0F0F0F);
	return (uint32_t) ((bits * UINT64_C(0x0101010101010101)) >> 56);
}

/* The lowest n bits set; n from 0 to 64. */
static inline uint64_t
text_low_bits(uint32_t n)
{
	return n >= TEXT_WORD ? ~UINT64_C(0) : (UINT64_C(1) << n) - 1;
}

#endif /* SALESOPS_TEXT_PATTERN_H */
