/*
 * codepoints.h
 *		A string as an array of code points: the one input form of every kernel in this folder.
 *
 * A view does not own its units. Where every code point is below 256 the units are bytes (plain ASCII is viewed in place,
 * without a copy), else 32-bit. So "wide" says something about the content, and two equal strings always have equal views.
 */
#ifndef SALESOPS_TEXT_CODEPOINTS_H
#define SALESOPS_TEXT_CODEPOINTS_H

#include "core/kernel.h"

typedef struct TextView
{
	const void *units; /* uint8_t, or uint32_t where wide */
	uint32_t length; /* in code points */
	bool wide;
} TextView;

/* The code point at a position; inside hot loops the kernels branch on wide once, outside the loop. */
static inline uint32_t
text_unit(TextView view, uint32_t position)
{
	return view.wide ? ((const uint32_t *) view.units)[position] : ((const uint8_t *) view.units)[position];
}

/* The part of a view from a position on, of a length. */
static inline TextView
text_slice(TextView view, uint32_t start, uint32_t length)
{
	size_t width = view.wide ? sizeof(uint32_t) : sizeof(uint8_t);
	TextView slice = {(const char *) view.units + start * width, length, view.wide};

	return slice;
}

/* True where all bytes are below 128. */
extern bool text_is_ascii(const void *bytes, size_t size);

/* A view of bytes that are one character each: ASCII, or a single-byte server encoding. */
extern TextView text_view_bytes(const void *bytes, size_t size);

/*
 * A view of UTF-8. ASCII is viewed in place; anything else is decoded into the buffer, which has room for size code points.
 * Bytes that are no UTF-8 count as one code point each, beyond Unicode's range, so that any input is safe.
 */
extern TextView text_view_utf8(const void *bytes, size_t size, uint32_t *buffer);

/*
 * Two views of the bytes of UTF-8 strings become views of their code points, for comparison with each other only: equal units
 * are equal code points, but which ones is not said where that is faster (narrow.c). ASCII is viewed in place; the buffers
 * have room for TEXT_NARROW_UNITS and for as many code points as the string has bytes.
 */
#define TEXT_NARROW_UNITS 16
extern void text_view_pair_utf8(TextView *a, TextView *b, uint32_t *buffer_a, uint32_t *buffer_b);

/* A view of code points that are already decoded; the buffer is narrowed in place where all are below 256. */
extern TextView text_view_units(uint32_t *buffer, uint32_t length);

/* How many code points the two have in common at their ends. The suffix never overlaps the prefix. */
extern uint32_t text_common_prefix(TextView a, TextView b);
extern uint32_t text_common_suffix(TextView a, TextView b, uint32_t prefix);

/*
 * Rewrite both views to bytes, for comparison with each other only, where all their code points beyond ASCII lie within 128 of
 * each other, as those of one alphabet do; false, and nothing done, otherwise. The buffers hold one byte a unit.
 */
extern bool text_narrow_pair(TextView *a, TextView *b, uint8_t *bytes_a, uint8_t *bytes_b);

/* Order by code points: negative, zero, positive. */
extern int text_compare(TextView a, TextView b);

#endif /* SALESOPS_TEXT_CODEPOINTS_H */
