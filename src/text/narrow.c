/*
 * narrow.c
 *		Two UTF-8 strings as bytes, for comparison with each other only: what the one-to-one kernels want of names beyond
 *		ASCII. Short strings of one alphabet by SIMD, without a branch a character; all else goes the way of codepoints.c.
 *
 * Nearly every alphabet of two-byte code points has its letters under two neighbouring lead bytes (Latin-1 C2 and C3, Greek CE
 * and CF, Cyrillic D0 and D1, Arabic D8 and D9), which is 128 code points: they become the bytes from 128 on, ASCII stays what
 * it is, and equal bytes are equal code points.
 */
#include "text/pattern.h"
#include "text/simd.h"

#ifdef TEXT_HAVE_SIMD

/* Longer strings are not narrowed here */
#define NARROW_BYTES 64

/* The six bits of the code point that a continuation byte holds; those of a lead byte stand above them */
#define CONTINUATION_BITS 6
#define CONTINUATION_MASK 0x3F
/* Bytes from here on are lead bytes of three bytes and more; those below FIRST_LEAD and not ASCII are continuations or invalid */
#define FIRST_LEAD 0xC2
#define LAST_LEAD 0xDF

/* 32 bytes of a string, what follows each of them, and what they are. */
typedef struct Block
{
	__m256i bytes;
	__m256i next;
	uint32_t leads;
	uint32_t continuations;
} Block;

/* A string of at most NARROW_BYTES in one such block or two; two is a constant in each copy of what follows. */
typedef struct Blocks
{
	Block first;
	Block second;
} Blocks;

/* Load a block and tell its bytes apart: the order of signed bytes is continuations, then leads, then ASCII. */
static TEXT_AVX2 inline __attribute__((always_inline)) Block
load_block(const uint8_t *bytes, uint32_t size)
{
	Block block;
	uint32_t beyond;

	block.bytes = text_load_padded(bytes, size < 32 ? size : 32);
	block.next = size > 1 ? text_load_padded(bytes + 1, size < 33 ? size - 1 : 32) : _mm256_setzero_si256();
	beyond = (uint32_t) _mm256_movemask_epi8(block.bytes);
	block.continuations =
		(uint32_t) _mm256_movemask_epi8(_mm256_cmpgt_epi8(_mm256_set1_epi8((char) 0xC0), block.bytes));
	block.leads = beyond & ~block.continuations;
	return block;
}

/* What lies behind a short string. */
static TEXT_AVX2 inline __attribute__((always_inline)) Block
empty_block(void)
{
	Block block = {_mm256_setzero_si256(), _mm256_setzero_si256(), 0, 0};

	return block;
}

/* Load a string. */
static TEXT_AVX2 inline __attribute__((always_inline)) Blocks
load_blocks(TextView view, bool two)
{
	const uint8_t *bytes = view.units;
	Blocks blocks;

	blocks.first = load_block(bytes, view.length);
	if (two && view.length > 32)
		blocks.second = load_block(bytes + 32, view.length - 32);
	else if (two)
		blocks.second = empty_block();
	return blocks;
}

/* True where each lead byte, and no other, is followed by one continuation byte. */
static inline bool
well_formed(uint64_t leads, uint64_t continuations)
{
	return (leads << 1) == continuations && leads >> 63 == 0;
}

/* True where two lead bytes are two-byte ones and neighbours at most. */
static inline bool
one_alphabet(uint32_t least, uint32_t greatest)
{
	return least >= FIRST_LEAD && greatest <= LAST_LEAD && greatest - least <= 1;
}

/* The lead bytes of both strings so far. */
typedef struct Range
{
	__m256i least;
	__m256i greatest;
} Range;

/* Widen the range by a block's lead bytes, which are those from C0 to FF, as signed bytes from -64 to -1. */
static TEXT_AVX2 inline __attribute__((always_inline)) void
extend_leads(const Block *block, Range *range)
{
	__m256i is_lead = _mm256_and_si256(_mm256_cmpgt_epi8(block->bytes, _mm256_set1_epi8((char) 0xBF)),
									   _mm256_cmpgt_epi8(_mm256_setzero_si256(), block->bytes));
	__m256i others = _mm256_xor_si256(is_lead, _mm256_set1_epi8(-1));

	range->greatest = _mm256_max_epu8(range->greatest, _mm256_and_si256(block->bytes, is_lead));
	range->least = _mm256_min_epu8(range->least, _mm256_or_si256(block->bytes, others));
}

/* Widen the range by a string; false where it has code points of other than one or two bytes, or is not UTF-8. */
static TEXT_AVX2 inline __attribute__((always_inline)) bool
extend_range(const Blocks *blocks, bool two, Range *range)
{
	uint64_t leads = blocks->first.leads;
	uint64_t continuations = blocks->first.continuations;

	extend_leads(&blocks->first, range);
	if (two)
	{
		extend_leads(&blocks->second, range);
		leads |= (uint64_t) blocks->second.leads << 32;
		continuations |= (uint64_t) blocks->second.continuations << 32;
	}
	return well_formed(leads, continuations);
}

/* The least of 32 bytes. */
static TEXT_AVX2 inline __attribute__((always_inline)) uint32_t
least_byte(__m256i bytes)
{
	__m128i half = _mm_min_epu8(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1));

	half = _mm_min_epu8(half, _mm_srli_epi16(half, 8));
	return (uint32_t) _mm_cvtsi128_si32(_mm_minpos_epu16(half)) & 0xFF;
}

/* A block's units as bytes, with what stood at the continuation bytes still between them. */
static TEXT_AVX2 inline __attribute__((always_inline)) __m256i
block_units(const Block *block, uint32_t least)
{
	/* a lead byte minus the least is 0 or 1: shifting it within its 16 bits touches no neighbour */
	__m256i above = _mm256_sub_epi8(block->bytes, _mm256_set1_epi8((char) least));
	__m256i is_lead = _mm256_cmpgt_epi8(_mm256_set1_epi8(2), above);
	__m256i unit;

	is_lead = _mm256_and_si256(_mm256_cmpgt_epi8(above, _mm256_set1_epi8(-1)), is_lead);
	unit = _mm256_slli_epi16(_mm256_and_si256(above, is_lead), CONTINUATION_BITS);
	unit = _mm256_or_si256(unit, _mm256_and_si256(block->next, _mm256_set1_epi8(CONTINUATION_MASK)));
	unit = _mm256_or_si256(unit, _mm256_set1_epi8((char) 0x80));
	return _mm256_blendv_epi8(block->bytes, unit, is_lead);
}

/* Write a block's units, eight bytes of it at a time; size is the string's from there on. Says where they end. */
static TEXT_AVX2 inline __attribute__((always_inline)) uint8_t *
write_block(const Block *block, uint32_t size, uint32_t least, uint8_t *out)
{
	uint32_t chosen = ~block->continuations & (uint32_t) text_low_bits(size);
	uint8_t units[32];

	_mm256_storeu_si256((__m256i *) units, block_units(block, least));
	for (uint32_t i = 0; i < 32; i += 8)
		out = text_compress_eight(units + i, chosen >> i & 0xFF, out);
	return out;
}

/* Write the units of a string. */
static TEXT_AVX2 inline __attribute__((always_inline)) TextView
write_units(const Blocks *blocks, uint32_t size, bool two, uint32_t least, uint8_t *out)
{
	uint8_t *end = write_block(&blocks->first, size, least, out);

	if (two && size > 32)
		end = write_block(&blocks->second, size - 32, least, end);
	return text_view_bytes(out, (size_t) (end - out));
}

/* Both strings; false, and nothing written, where they are not of one alphabet. */
static TEXT_AVX2 inline __attribute__((always_inline)) bool
narrow_blocks(TextView *a, TextView *b, uint8_t *out_a, uint8_t *out_b, bool two)
{
	Blocks blocks_a = load_blocks(*a, two);
	Blocks blocks_b = load_blocks(*b, two);
	Range range = {_mm256_set1_epi8(-1), _mm256_setzero_si256()};
	bool well = extend_range(&blocks_a, two, &range) & extend_range(&blocks_b, two, &range);
	uint32_t least = least_byte(range.least);

	if (!well || !one_alphabet(least, 0xFF - least_byte(_mm256_xor_si256(range.greatest, _mm256_set1_epi8(-1)))))
		return false;
	*a = write_units(&blocks_a, a->length, two, least, out_a);
	*b = write_units(&blocks_b, b->length, two, least, out_b);
	return true;
}

/* The same, by the number of blocks. */
static TEXT_AVX2 bool
narrow_avx2(TextView *a, TextView *b, uint8_t *out_a, uint8_t *out_b)
{
	return a->length > 32 || b->length > 32 ? narrow_blocks(a, b, out_a, out_b, true)
											: narrow_blocks(a, b, out_a, out_b, false);
}
#endif /* TEXT_HAVE_SIMD */

/* Both strings as bytes by SIMD, where they are short and of one alphabet. */
static inline bool
narrow_utf8(TextView *a, TextView *b, uint32_t *buffer_a, uint32_t *buffer_b)
{
#ifdef TEXT_HAVE_SIMD
	if (text_simd() >= TEXT_SIMD_AVX2 && a->length <= NARROW_BYTES && b->length <= NARROW_BYTES)
		return narrow_avx2(a, b, (uint8_t *) buffer_a, (uint8_t *) buffer_b);
#endif
	(void) a;
	(void) b;
	(void) buffer_a;
	(void) buffer_b;
	return false;
}

/* Views of two UTF-8 strings, for comparison with each other only. */
void
text_view_pair_utf8(TextView *a, TextView *b, uint32_t *buffer_a, uint32_t *buffer_b)
{
	if (text_is_ascii(a->units, a->length) && text_is_ascii(b->units, b->length))
		return;
	if (narrow_utf8(a, b, buffer_a, buffer_b))
		return;
	*a = text_view_utf8(a->units, a->length, buffer_a);
	*b = text_view_utf8(b->units, b->length, buffer_b);
}
