/*
 * simd.h
 *		What the SIMD forms share: which of them this processor can run, and how bytes of any count get into a register.
 *
 * The forms are compiled for their instructions by function attributes and chosen at run time; on other processors and
 * compilers the scalar kernels do everything. Results never differ.
 */
#ifndef SALESOPS_TEXT_SIMD_H
#define SALESOPS_TEXT_SIMD_H

#include <string.h>

#include "core/kernel.h"

typedef enum TextSimd
{
	TEXT_SIMD_NONE,
	TEXT_SIMD_AVX2, /* with BMI, BMI2 and POPCNT, as every such processor has */
	TEXT_SIMD_AVX512 /* BW, VL and VBMI2 as well: masked loads, bytes compressed by a mask */
} TextSimd;

/* The best form for this processor; asked once. A test may lower it. */
extern TextSimd text_simd(void);
extern void text_simd_limit(TextSimd most);

#if defined(__x86_64__) && defined(__GNUC__)
#define TEXT_HAVE_SIMD
#include <immintrin.h>
#define TEXT_AVX2 __attribute__((target("avx2,bmi,bmi2,popcnt,lzcnt")))
#define TEXT_AVX512 __attribute__((target("avx2,bmi,bmi2,popcnt,lzcnt,avx512f,avx512bw,avx512vl,avx512vbmi2")))

/* Shuffle controls that move 16 bytes down by 0 to 16 places and fill with zeros */
static const uint8_t text_shift_down[32] = {0,    1,    2,    3,    4,    5,    6,    7,    8,    9,    10,
											11,   12,   13,   14,   15,   0x80, 0x80, 0x80, 0x80, 0x80, 0x80,
											0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80};

/* Up to 8 bytes as a word, zeros after them; never reads beyond them. */
static inline uint64_t
text_load_short(const uint8_t *bytes, uint32_t size)
{
	uint64_t word = 0;
	uint32_t low;
	uint32_t high;

	if (size >= 4)
	{
		memcpy(&low, bytes, 4);
		memcpy(&high, bytes + size - 4, 4);
		return low | (uint64_t) high << (8 * (size - 4));
	}
	for (uint32_t i = 0; i < size; i++)
		word |= (uint64_t) bytes[i] << (8 * i);
	return word;
}

/* Up to 32 bytes, zeros after them; never reads beyond them. Longer ones by two loads that overlap. */
static TEXT_AVX2 inline __attribute__((always_inline)) __m256i
text_load_padded(const uint8_t *bytes, uint32_t size)
{
	uint64_t low;
	uint64_t high;

	if (size >= 16)
	{
		__m128i first = _mm_loadu_si128((const __m128i *) bytes);
		__m128i last = _mm_loadu_si128((const __m128i *) (bytes + size - 16));
		__m128i down = _mm_loadu_si128((const __m128i *) (text_shift_down + 32 - size));

		return _mm256_set_m128i(_mm_shuffle_epi8(last, down), first);
	}
	if (size <= 8)
		return _mm256_zextsi128_si256(_mm_cvtsi64_si128((long long) text_load_short(bytes, size)));
	memcpy(&low, bytes, 8);
	memcpy(&high, bytes + size - 8, 8);
	return _mm256_zextsi128_si256(_mm_set_epi64x((long long) (high >> (8 * (16 - size))), (long long) low));
}

/* Which of 32 bytes are equal to one, as bits. */
static TEXT_AVX2 inline __attribute__((always_inline)) uint32_t
text_equal_bytes(__m256i bytes, uint8_t one)
{
	return (uint32_t) _mm256_movemask_epi8(_mm256_cmpeq_epi8(bytes, _mm256_set1_epi8((char) one)));
}

/* For each mask of 8 bytes the shuffle that moves the chosen ones together; filled by text_simd */
extern uint64_t text_compress_controls[256];

/* Write the chosen of eight bytes, moved together, and whatever behind them, eight in all; says where they end. */
static TEXT_AVX2 inline __attribute__((always_inline)) uint8_t *
text_compress_eight(const uint8_t *bytes, uint32_t chosen, uint8_t *out)
{
	__m128i control = _mm_loadl_epi64((const __m128i *) &text_compress_controls[chosen]);
	__m128i eight = _mm_loadl_epi64((const __m128i *) bytes);

	_mm_storel_epi64((__m128i *) out, _mm_shuffle_epi8(eight, control));
	return out + _mm_popcnt_u32(chosen);
}
#endif /* x86-64 */

#endif /* SALESOPS_TEXT_SIMD_H */
