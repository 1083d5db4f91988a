/*
 * codepoints.c
 *		Decodes strings into arrays of code points and compares such arrays. No similarity is computed here.
 */
#include <string.h>

#include "text/codepoints.h"

/* What a byte that is not part of valid UTF-8 becomes: unequal to every code point, equal to the same byte elsewhere. */
#define INVALID_BASE 0x110000u

/* Eight bytes as they lie. */
static inline uint64_t
load_word(const uint8_t *at)
{
	uint64_t word;

	memcpy(&word, at, sizeof(word));
	return word;
}

/* All bytes of a string of less than eight, one over the other. */
static inline uint64_t
seen_short(const uint8_t *at, size_t size)
{
	uint32_t first;
	uint32_t last;

	if (size >= sizeof(first))
	{
		memcpy(&first, at, sizeof(first));
		memcpy(&last, at + size - sizeof(last), sizeof(last));
		return first | last;
	}
	return size == 0 ? 0 : (uint64_t) (at[0] | at[size / 2] | at[size - 1]);
}

/* True where all bytes are below 128. The last words overlap: a loop over a rest would cost more than all before it. */
bool
text_is_ascii(const void *bytes, size_t size)
{
	const uint8_t *at = bytes;
	const uint8_t *end = at + size;
	uint64_t seen;

	if (size < sizeof(seen))
		seen = seen_short(at, size);
	else
	{
		seen = load_word(at) | load_word(end - sizeof(seen));
		if (size > 2 * sizeof(seen))
		{
			seen |= load_word(at + sizeof(seen)) | load_word(end - 2 * sizeof(seen));
			for (at += 2 * sizeof(seen); end - at > (ptrdiff_t) (2 * sizeof(seen)); at += sizeof(seen))
				seen |= load_word(at);
		}
	}
	return (seen & UINT64_C(0x8080808080808080)) == 0;
}

/* A view of bytes that are one character each. */
TextView
text_view_bytes(const void *bytes, size_t size)
{
	TextView view = {bytes, (uint32_t) size, false};

	return view;
}

/* True where count continuation bytes follow. */
static inline bool
continued(const uint8_t *at, const uint8_t *end, int count)
{
	if (end - at <= count)
		return false;
	for (int i = 1; i <= count; i++)
		if ((at[i] & 0xC0) != 0x80)
			return false;
	return true;
}

/* Decode one code point and say how many bytes it took; strict, so that each code point has one spelling. */
static inline uint32_t
decode(const uint8_t *at, const uint8_t *end, int *used)
{
	uint32_t point;

	*used = 1;
	if (at[0] < 0x80)
		return at[0];
	if (at[0] >= 0xC2 && at[0] < 0xE0 && continued(at, end, 1))
	{
		*used = 2;
		return (uint32_t) (at[0] & 0x1F) << 6 | (at[1] & 0x3F);
	}
	if (at[0] >= 0xE0 && at[0] < 0xF0 && continued(at, end, 2))
	{
		point = (uint32_t) (at[0] & 0x0F) << 12 | (uint32_t) (at[1] & 0x3F) << 6 | (at[2] & 0x3F);
		if (point >= 0x800 && (point < 0xD800 || point > 0xDFFF))
		{
			*used = 3;
			return point;
		}
	}
	else if (at[0] >= 0xF0 && at[0] < 0xF5 && continued(at, end, 3))
	{
		point = (uint32_t) (at[0] & 0x07) << 18 | (uint32_t) (at[1] & 0x3F) << 12 | (uint32_t) (at[2] & 0x3F) << 6 |
				(at[3] & 0x3F);
		if (point >= 0x10000 && point <= 0x10FFFF)
		{
			*used = 4;
			return point;
		}
	}
	return INVALID_BASE + at[0];
}

/* Decode into bytes as long as all code points are below 256; says where it stopped. */
static const uint8_t *
decode_narrow(const uint8_t *at, const uint8_t *end, uint8_t *out, uint32_t *length)
{
	uint32_t count = 0;

	while (at < end)
	{
		if (at[0] < 0x80)
			out[count++] = *at++;
		else if ((at[0] & 0xFE) == 0xC2 && end - at > 1 && (at[1] & 0xC0) == 0x80)
		{
			out[count++] = (uint8_t) (at[0] << 6 | (at[1] & 0x3F));
			at += 2;
		}
		else
			break;
	}
	*length = count;
	return at;
}

/* A view of UTF-8, decoded into the buffer unless it is ASCII. */
TextView
text_view_utf8(const void *bytes, size_t size, uint32_t *buffer)
{
	const uint8_t *end = (const uint8_t *) bytes + size;
	const uint8_t *narrow = (const uint8_t *) buffer;
	const uint8_t *at;
	TextView view = {buffer, 0, false};
	uint32_t length;

	if (text_is_ascii(bytes, size))
		return text_view_bytes(bytes, size);
	at = decode_narrow(bytes, end, (uint8_t *) buffer, &view.length);
	if (at == end)
		return view;
	/* widen what there is, from the back: unit i never overwrites a byte before i */
	length = view.length;
	for (uint32_t i = length; i > 0; i--)
		buffer[i - 1] = narrow[i - 1];
	while (at < end)
	{
		int used = 1;

		if (at[0] < 0x80)
			buffer[length++] = at[0];
		else
			buffer[length++] = decode(at, end, &used);
		at += used;
	}
	view.length = length;
	view.wide = true;
	return view;
}

/* A view of decoded code points; those all below 256 become bytes, written over the buffer's start. */
TextView
text_view_units(uint32_t *buffer, uint32_t length)
{
	TextView view = {buffer, length, true};
	uint32_t seen = 0;

	for (uint32_t i = 0; i < length; i++)
		seen |= buffer[i];
	if (seen < 256)
	{
		uint8_t *narrow = (uint8_t *) buffer;

		/* byte i lies at or before unit i / 4, which has been read by then */
		for (uint32_t i = 0; i < length; i++)
		{
			uint32_t unit;

			memcpy(&unit, (char *) buffer + i * sizeof(unit), sizeof(unit));
			narrow[i] = (uint8_t) unit;
		}
		view.wide = false;
	}
	return view;
}

/* Widen a range by the units of a view that are not ASCII. */
static inline void
extend_range(TextView view, uint32_t *least, uint32_t *greatest)
{
	for (uint32_t i = 0; i < view.length; i++)
	{
		uint32_t unit = text_unit(view, i);

		if (unit >= 0x80 && unit < *least)
			*least = unit;
		if (unit >= 0x80 && unit > *greatest)
			*greatest = unit;
	}
}

/* The units as bytes: ASCII as it is, the others counted from 128. */
static inline TextView
narrowed(TextView view, uint32_t least, uint8_t *bytes)
{
	for (uint32_t i = 0; i < view.length; i++)
	{
		uint32_t unit = text_unit(view, i);

		bytes[i] = (uint8_t) (unit < 0x80 ? unit : unit - least + 0x80);
	}
	return text_view_bytes(bytes, view.length);
}

/* Rewrite both views to bytes where their alphabets have at most 128 code points beside ASCII, next to each other. */
bool
text_narrow_pair(TextView *a, TextView *b, uint8_t *bytes_a, uint8_t *bytes_b)
{
	uint32_t least = UINT32_MAX;
	uint32_t greatest = 0;

	extend_range(*a, &least, &greatest);
	extend_range(*b, &least, &greatest);
	if (greatest >= least && greatest - least >= 0x80)
		return false;
	*a = narrowed(*a, least, bytes_a);
	*b = narrowed(*b, least, bytes_b);
	return true;
}

/* How many bytes are equal from two places on. */
static inline uint32_t
common_bytes(const uint8_t *x, const uint8_t *y, uint32_t size)
{
	uint32_t count = 0;

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	for (; count + sizeof(uint64_t) <= size; count += sizeof(uint64_t))
	{
		uint64_t difference = load_word(x + count) ^ load_word(y + count);

		if (difference != 0)
			return count + (uint32_t) __builtin_ctzll(difference) / 8;
	}
#endif
	while (count < size && x[count] == y[count])
		count++;
	return count;
}

/* How many bytes are equal before two places. */
static inline uint32_t
common_bytes_back(const uint8_t *x, const uint8_t *y, uint32_t size)
{
	uint32_t count = 0;

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	for (; count + sizeof(uint64_t) <= size; count += sizeof(uint64_t))
	{
		uint64_t difference = load_word(x - count - sizeof(uint64_t)) ^ load_word(y - count - sizeof(uint64_t));

		if (difference != 0)
			return count + (uint32_t) __builtin_clzll(difference) / 8;
	}
#endif
	while (count < size && *(x - count - 1) == *(y - count - 1))
		count++;
	return count;
}

/* How many code points the two have in common at the start. */
uint32_t
text_common_prefix(TextView a, TextView b)
{
	uint32_t shorter = a.length < b.length ? a.length : b.length;
	uint32_t count = 0;

	if (!a.wide && !b.wide)
		return common_bytes(a.units, b.units, shorter);
	while (count < shorter && text_unit(a, count) == text_unit(b, count))
		count++;
	return count;
}

/* How many code points the two have in common at the end, not counting those of the common prefix. */
uint32_t
text_common_suffix(TextView a, TextView b, uint32_t prefix)
{
	uint32_t shorter = (a.length < b.length ? a.length : b.length) - prefix;
	uint32_t count = 0;

	if (!a.wide && !b.wide)
		return common_bytes_back((const uint8_t *) a.units + a.length, (const uint8_t *) b.units + b.length, shorter);
	while (count < shorter && text_unit(a, a.length - 1 - count) == text_unit(b, b.length - 1 - count))
		count++;
	return count;
}

/* Order by code points: negative, zero, positive. */
int
text_compare(TextView a, TextView b)
{
	uint32_t prefix = text_common_prefix(a, b);

	if (prefix < a.length && prefix < b.length)
		return text_unit(a, prefix) < text_unit(b, prefix) ? -1 : 1;
	return a.length == b.length ? 0 : a.length < b.length ? -1 : 1;
}
