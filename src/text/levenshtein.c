/*
 * levenshtein.c
 *		Edit distance of one pair: a word at a time for names, banded strips for long strings. Batches are in batch.c,
 *		transpositions in damerau.c.
 *
 * Notation of Hyyrö (2003), where row i of the matrix belongs to unit i of the pattern and column j to unit j of the text:
 * bit i of VP (VN) says that the cell in row i is one more (less) than the one above, HP and HN the same for the cell to the
 * left, D0 that it equals its upper left neighbour.
 */
#include <string.h>

#include "text/levenshtein.h"
#include "text/pair.h"

/* How many columns of a strip pass between two ticks */
#define TICK_COLUMNS 65536

/*
 * The whole text against a pattern of at most a word. The complement of HP is kept instead of HP, which takes two steps off
 * the chain that one column waits for the one before. The last column's deltas add up to the distance.
 */
static inline __attribute__((always_inline)) uint32_t
word_distance(const TextPattern *pattern, const void *units, uint32_t length, bool wide)
{
	uint64_t vp = ~UINT64_C(0);
	uint64_t vn = 0;
	uint64_t rows = text_low_bits(pattern->view.length);

	for (uint32_t j = 0; j < length; j++)
	{
		uint64_t mask = text_mask_at(pattern, units, j, wide);
		uint64_t x = mask | vn;
		uint64_t carry = ((mask & vp) + vp) ^ vp;
		uint64_t d0 = carry | x;
		uint64_t not_hp = ~vn & (carry | (x | vp));
		uint64_t hn = d0 & vp;

		not_hp <<= 1;
		hn <<= 1;
		vp = hn | (~d0 & not_hp);
		vn = ~not_hp & d0;
	}
	return length + text_popcount(vp & rows) - text_popcount(vn & rows);
}

/*
 * The same, giving up as soon as the limit cannot be met: the last row can fall by one a column at most.
 */
static inline __attribute__((always_inline)) uint32_t
word_distance_limited(const TextPattern *pattern, const void *units, uint32_t length, bool wide, uint32_t max)
{
	uint64_t vp = ~UINT64_C(0);
	uint64_t vn = 0;
	uint32_t last = pattern->view.length - 1;
	uint32_t distance = pattern->view.length;

	for (uint32_t j = 0; j < length; j++)
	{
		uint64_t mask = text_mask_at(pattern, units, j, wide);
		uint64_t d0 = (((mask & vp) + vp) ^ vp) | mask | vn;
		uint64_t hp = vn | ~(d0 | vp);
		uint64_t hn = d0 & vp;

		distance += (uint32_t) (hp >> last & 1) - (uint32_t) (hn >> last & 1);
		if (distance > max && distance - max > length - 1 - j)
			return max + 1;
		hp = hp << 1 | 1;
		hn <<= 1;
		vp = hn | ~(d0 | hp);
		vn = hp & d0;
	}
	return distance <= max ? distance : max + 1;
}

/* One pair whose pattern fits a word and has at least one unit. */
static inline uint32_t
word_pair(const TextPattern *pattern, TextView text, uint32_t max)
{
	uint32_t longer = pattern->view.length > text.length ? pattern->view.length : text.length;

	if (max < longer)
		return text.wide ? word_distance_limited(pattern, text.units, text.length, true, max)
						 : word_distance_limited(pattern, text.units, text.length, false, max);
	return text.wide ? word_distance(pattern, text.units, text.length, true)
					 : word_distance(pattern, text.units, text.length, false);
}

/* One strip: 64 rows or the rest, and the columns of the band. */
typedef struct Strip
{
	uint32_t rows;
	uint32_t from;
	uint32_t to;
} Strip;

/*
 * Advance a strip. deltas[j] holds what the row above gains from column j - 1 to j, and receives the same for the strip's
 * last row. Columns left of the band count as one more a row.
 */
static inline __attribute__((always_inline)) void
strip_columns(const TextPattern *pattern, Strip strip, const void *units, int8_t *deltas, bool wide)
{
	uint64_t vp = ~UINT64_C(0);
	uint64_t vn = 0;
	uint32_t last = strip.rows - 1;

	for (uint32_t j = strip.from; j < strip.to; j++)
	{
		uint64_t mask = text_mask_at(pattern, units, j, wide);
		uint64_t fell = deltas[j] < 0;
		uint64_t rose = deltas[j] > 0;
		uint64_t x = mask | fell;
		uint64_t d0 = (((x & vp) + vp) ^ vp) | x | vn;
		uint64_t hp = vn | ~(d0 | vp);
		uint64_t hn = d0 & vp;

		deltas[j] = (int8_t) ((hp >> last & 1) - (hn >> last & 1));
		hp = hp << 1 | rose;
		hn = hn << 1 | fell;
		vp = hn | ~(d0 | hp);
		vn = hp & d0;
	}
}

/* Advance a strip with ticks; the masks and deltas of the rows go over the text in pieces' order. */
static void
strip_run(TextWorkspace *workspace, TextView pattern, uint32_t row, Strip strip, TextView text, int8_t *deltas)
{
	text_pattern_prepare(&workspace->pattern, text_slice(pattern, row, strip.rows));
	if (text.wide)
		strip_columns(&workspace->pattern, strip, text.units, deltas, true);
	else
		strip_columns(&workspace->pattern, strip, text.units, deltas, false);
}

/* What the columns from..to add to a value in the row the deltas are of. */
static int64_t
sum_deltas(const int8_t *deltas, uint32_t from, uint32_t to)
{
	int64_t sum = 0;

	for (uint32_t j = from; j < to; j++)
		sum += deltas[j];
	return sum;
}

/*
 * The distance where it is at most the band's half width; otherwise some greater number (every value computed is the cost of
 * a real sequence of edits). The pattern is the shorter one. Row i needs columns i - band to i + band + 1.
 */
static uint64_t
banded_distance(TextWorkspace *workspace, TextView pattern, TextView text, uint64_t band, int8_t *deltas)
{
	int64_t corner = 0; /* the cell above the strip and left of its first column */
	uint32_t from = 0;
	uint64_t unticked = 0;

	memset(deltas, 1, text.length);
	for (uint32_t row = 0; row < pattern.length; row += TEXT_WORD)
	{
		uint32_t rest = pattern.length - row;
		Strip strip = {rest < TEXT_WORD ? rest : TEXT_WORD, 0, text.length};

		strip.from = row > band ? (uint32_t) (row - band) : 0;
		if (row + TEXT_WORD + band < text.length)
			strip.to = (uint32_t) (row + TEXT_WORD + band);
		corner += sum_deltas(deltas, from, strip.from);
		from = strip.from;
		strip_run(workspace, pattern, row, strip, text, deltas);
		corner += strip.rows;
		unticked += strip.to - strip.from + TEXT_WORD;
		if (unticked >= TICK_COLUMNS)
		{
			kernel_tick(workspace->env, row, pattern.length);
			unticked = 0;
		}
	}
	return (uint64_t) (corner + sum_deltas(deltas, from, text.length));
}

/*
 * Strings beyond a word: bands of doubling width until the distance fits, so that similar strings cost their length times
 * their distance and not their product.
 */
static uint32_t
long_distance(TextWorkspace *workspace, TextView pattern, TextView text, uint32_t max)
{
	int8_t *deltas = kernel_alloc_array(workspace->env, int8_t, text.length);
	uint64_t band = text.length - pattern.length + TEXT_WORD;
	uint64_t distance;

	for (;;)
	{
		if (band > max)
			band = max;
		if (band >= text.length / 2)
			band = text.length;
		distance = banded_distance(workspace, pattern, text, band, deltas);
		if (distance <= band || band >= max || band >= text.length)
			break;
		band *= 2;
	}
	kernel_release(workspace->env, deltas);
	return distance <= max ? (uint32_t) distance : max + 1;
}

/* The distance of one pair. */
uint32_t
text_levenshtein(TextWorkspace *workspace, TextView a, TextView b, uint32_t max)
{
	uint32_t prefix = text_common_prefix(a, b);
	uint32_t suffix = text_common_suffix(a, b, prefix);

	a = text_slice(a, prefix, a.length - prefix - suffix);
	b = text_slice(b, prefix, b.length - prefix - suffix);
	if (a.length < b.length)
	{
		TextView swap = a;

		a = b;
		b = swap;
	}
	if (a.length - b.length > max)
		return max + 1;
	if (b.length == 0)
		return a.length;
	/* the columns are the shorter one's: they are what takes the time */
	if (a.length <= TEXT_WORD)
	{
#ifdef TEXT_HAVE_SIMD
		uint8_t bytes[2][TEXT_WORD];

		if ((a.wide || b.wide) && text_simd() >= TEXT_SIMD_AVX2)
			text_narrow_pair(&a, &b, bytes[0], bytes[1]);
		if (max >= a.length && !a.wide && !b.wide && text_simd() >= TEXT_SIMD_AVX2)
			return text_levenshtein_pair(a, b);
#endif
		text_pattern_pair(&workspace->pattern, a, b);
		return word_pair(&workspace->pattern, b, max);
	}
	if (b.length <= TEXT_WORD)
	{
		text_pattern_pair(&workspace->pattern, b, a);
		return word_pair(&workspace->pattern, a, max);
	}
	return long_distance(workspace, b, a, max);
}

/* The distance from a prepared string. */
uint32_t
text_levenshtein_prepared(TextWorkspace *workspace, const TextPattern *pattern, TextView text, uint32_t max)
{
	uint32_t rows = pattern->view.length;

	if (rows > TEXT_WORD)
		return text_levenshtein(workspace, pattern->view, text, max);
	if ((rows > text.length ? rows - text.length : text.length - rows) > max)
		return max + 1;
	if (rows == 0 || text.length == 0)
		return rows + text.length;
	return word_pair(pattern, text, max);
}

/* 1 - distance / length of the longer one; 1 where both are empty. */
double
text_levenshtein_ratio(uint32_t distance, uint32_t length_a, uint32_t length_b)
{
	uint32_t longer = length_a > length_b ? length_a : length_b;

	return longer == 0 ? 1.0 : 1.0 - (double) distance / (double) longer;
}
