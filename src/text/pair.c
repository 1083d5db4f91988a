/*
 * pair.c
 *		One pair of short byte strings by SIMD (pair.h): the masks come from registers, so no table is filled for a pair that
 *		is compared once. The recurrences are those of levenshtein.c and jaro.c.
 */
#include "text/jaro.h"
#include "text/pair.h"

static TextSimd simd_limit = TEXT_SIMD_AVX512;

/* For tests: use no better form than this. */
void
text_simd_limit(TextSimd most)
{
	simd_limit = most;
}

#ifdef TEXT_HAVE_SIMD

/* What the processor says. */
static TextSimd
ask_processor(void)
{
	if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("bmi") || !__builtin_cpu_supports("bmi2") ||
		!__builtin_cpu_supports("popcnt"))
		return TEXT_SIMD_NONE;
	if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
		!__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512vbmi2"))
		return TEXT_SIMD_AVX2;
	return TEXT_SIMD_AVX512;
}

uint64_t text_compress_controls[256];

/* Fill the shuffles, once a process. */
static void
fill_compress_controls(void)
{
	for (uint32_t mask = 0; mask < 256; mask++)
	{
		uint64_t control = 0;
		uint32_t place = 0;

		for (uint64_t i = 0; i < 8; i++)
			if (mask >> i & 1)
				control |= i << (8 * place++);
		text_compress_controls[mask] = control;
	}
}

/* The best form for this processor, asked once. */
TextSimd
text_simd(void)
{
	static int known = -1;

	if (known < 0)
	{
		fill_compress_controls();
		known = (int) ask_processor();
	}
	return known < (int) simd_limit ? (TextSimd) known : simd_limit;
}

/* Up to 64 bytes in two registers. */
typedef struct Bytes
{
	__m256i low;
	__m256i high;
} Bytes;

/* Load a view of bytes. */
static TEXT_AVX2 inline __attribute__((always_inline)) Bytes
load_bytes(TextView view, bool two)
{
	Bytes bytes = {text_load_padded(view.units, two ? 32 : view.length), _mm256_setzero_si256()};

	if (two)
		bytes.high = text_load_padded((const uint8_t *) view.units + 32, view.length - 32);
	return bytes;
}

/* Where a byte stands. */
static TEXT_AVX2 inline __attribute__((always_inline)) uint64_t
find_byte(Bytes bytes, uint8_t one, bool two)
{
	uint64_t mask = text_equal_bytes(bytes.low, one);

	return two ? mask | (uint64_t) text_equal_bytes(bytes.high, one) << 32 : mask;
}

/* word_distance of levenshtein.c. */
static TEXT_AVX2 inline __attribute__((always_inline)) uint32_t
levenshtein_steps(TextView rows, TextView columns, bool two)
{
	Bytes bytes = load_bytes(rows, two);
	const uint8_t *unit = columns.units;
	uint64_t vp = ~UINT64_C(0);
	uint64_t vn = 0;
	uint64_t valid = text_low_bits(rows.length);

	for (uint32_t j = 0; j < columns.length; j++)
	{
		uint64_t mask = find_byte(bytes, unit[j], two);
		uint64_t x = mask | vn;
		uint64_t carry = ((mask & vp) + vp) ^ vp;
		uint64_t d0 = carry | x;
		uint64_t not_hp = (~vn & (carry | (x | vp))) << 1;
		uint64_t hn = (d0 & vp) << 1;

		vp = hn | (~d0 & not_hp);
		vn = ~not_hp & d0;
	}
	return columns.length + (uint32_t) _mm_popcnt_u64(vp & valid) - (uint32_t) _mm_popcnt_u64(vn & valid);
}

/* Levenshtein distance of two short byte strings. */
TEXT_AVX2 uint32_t
text_levenshtein_pair(TextView rows, TextView columns)
{
	return rows.length > 32 ? levenshtein_steps(rows, columns, true) : levenshtein_steps(rows, columns, false);
}

/* The state of word_jaro of jaro.c, which finds for each unit of the columns the first free place in reach among the rows. */
typedef struct Matching
{
	uint64_t window;
	uint64_t unmatched; /* rows */
	uint64_t missed; /* columns without a match, the last one in bit 0 */
} Matching;

/* One step: the places where the column's unit stands. */
static TEXT_AVX2 inline __attribute__((always_inline)) void
jaro_step(Matching *m, uint64_t places)
{
	uint64_t candidates;

	/* keeps the compiler from masking the comparison by what is unmatched, which would put it into the chain of waiting */
	__asm__("" : "+r"(places));
	candidates = places & m->window & m->unmatched;
	m->unmatched ^= candidates & -candidates;
	m->missed += m->missed + (candidates < 1);
}

/* The bits in the opposite order. */
static inline uint64_t
reverse_bits(uint64_t bits)
{
	bits = (bits >> 1 & UINT64_C(0x5555555555555555)) | (bits & UINT64_C(0x5555555555555555)) << 1;
	bits = (bits >> 2 & UINT64_C(0x3333333333333333)) | (bits & UINT64_C(0x3333333333333333)) << 2;
	bits = (bits >> 4 & UINT64_C(0x0F0F0F0F0F0F0F0F)) | (bits & UINT64_C(0x0F0F0F0F0F0F0F0F)) << 4;
	return __builtin_bswap64(bits);
}

/* Which units of both sides matched. */
typedef struct Matches
{
	uint64_t rows;
	uint64_t columns;
} Matches;

/* How many steps there are until the window's lower end leaves the first row: until then it grows, from then on it moves. */
static inline uint32_t
jaro_growing(TextView columns, uint32_t reach)
{
	return reach - 1 < columns.length ? reach - 1 : columns.length;
}

/* The places that a unit of the columns may take. */
static inline uint64_t
jaro_window(uint32_t reach, uint32_t growing, uint32_t column)
{
	if (column <= growing)
		return text_low_bits(reach + column);
	return column < TEXT_WORD ? text_low_bits(reach + growing) << (column - growing) : 0;
}

/*
 * Before the first step. A common prefix is passed over: each of its units takes its own place, since all equal places before
 * that are taken by then.
 */
static inline Matching
jaro_begin(TextView rows, uint32_t reach, uint32_t growing, uint32_t prefix)
{
	Matching m = {jaro_window(reach, growing, prefix), text_low_bits(rows.length) & ~text_low_bits(prefix), 0};

	return m;
}

/* After the last step. */
static inline Matches
jaro_end(Matching m, TextView rows, TextView columns)
{
	Matches matches = {text_low_bits(rows.length) ^ m.unmatched, 0};

	matches.columns = ~(reverse_bits(m.missed) >> (TEXT_WORD - columns.length)) & text_low_bits(columns.length);
	return matches;
}

/* All steps after a common prefix. */
static TEXT_AVX2 inline __attribute__((always_inline)) Matches
jaro_steps(Bytes bytes, TextView rows, TextView columns, uint32_t prefix, bool two)
{
	const uint8_t *unit = columns.units;
	uint32_t reach = text_jaro_reach(rows.length, columns.length);
	uint32_t growing = jaro_growing(columns, reach);
	Matching m = jaro_begin(rows, reach, growing, prefix);
	uint32_t j = prefix;

	for (; j < growing; j++)
	{
		jaro_step(&m, find_byte(bytes, unit[j], two));
		m.window += m.window + 1;
	}
	for (; j < columns.length; j++)
	{
		jaro_step(&m, find_byte(bytes, unit[j], two));
		m.window += m.window;
	}
	return jaro_end(m, rows, columns);
}

/* Where the bytes of two strings are equal, place by place. */
static TEXT_AVX2 inline __attribute__((always_inline)) uint64_t
same_places(Bytes a, Bytes b, bool two)
{
	uint64_t mask = (uint32_t) _mm256_movemask_epi8(_mm256_cmpeq_epi8(a.low, b.low));

	return two ? mask | (uint64_t) (uint32_t) _mm256_movemask_epi8(_mm256_cmpeq_epi8(a.high, b.high)) << 32 : mask;
}

/*
 * The steps of two strings that are mostly the same place by place, where most units take their own place. That is so where the
 * place has the unit, nobody before took it, and no equal place before it is free. Columns of which this is not known wait for
 * a step of their own: those that differ from their place, those whose place was taken by one before, and those equal to a
 * place that was passed and left free.
 */
static TEXT_AVX2 inline __attribute__((always_inline)) Matches
jaro_near(Bytes bytes, Bytes others, TextView rows, TextView columns, uint64_t same, uint32_t prefix, bool two)
{
	uint32_t reach = text_jaro_reach(rows.length, columns.length);
	uint32_t growing = jaro_growing(columns, reach);
	uint64_t waiting = text_low_bits(columns.length) & ~same;
	uint64_t missed = 0;
	uint64_t unmatched = text_low_bits(rows.length);
	uint64_t due = waiting & ~text_low_bits(prefix);
	uint64_t passed = 0;

	while (due != 0)
	{
		uint32_t j = (uint32_t) __builtin_ctzll(due);
		uint64_t here = UINT64_C(1) << j;
		uint64_t candidates;
		uint64_t taken;

		/* those in between took their own places */
		unmatched &= ~((here - 1) & ~passed);
		candidates = find_byte(bytes, ((const uint8_t *) columns.units)[j], two) & jaro_window(reach, growing, j) & unmatched;
		taken = candidates & -candidates;
		unmatched ^= taken;
		passed |= unmatched & here;
		missed |= taken == 0 ? here : 0;
		waiting |= taken;
		if ((unmatched & here) != 0)
			waiting |= find_byte(others, ((const uint8_t *) rows.units)[j], two);
		due = waiting & text_low_bits(columns.length) & ~(here | (here - 1));
	}
	unmatched &= ~(text_low_bits(columns.length) & ~passed);

	return (Matches) {text_low_bits(rows.length) & ~unmatched, text_low_bits(columns.length) & ~missed};
}

/* The chosen bytes moved together: what lies behind them is of no meaning. Into TEXT_WORD + 8 bytes. */
static TEXT_AVX2 inline __attribute__((always_inline)) void
compress_bytes(Bytes bytes, uint64_t chosen, bool two, uint8_t *out)
{
	uint8_t units[TEXT_WORD];

	_mm256_storeu_si256((__m256i *) units, bytes.low);
	if (two)
		_mm256_storeu_si256((__m256i *) (units + 32), bytes.high);
	for (uint32_t i = 0; i < (two ? TEXT_WORD : 32); i += 8)
		out = text_compress_eight(units + i, (uint32_t) (chosen >> i) & 0xFF, out);
}

/* Where 32 bytes differ, as bits. */
static TEXT_AVX2 inline __attribute__((always_inline)) uint32_t
different_bytes(const uint8_t *a, const uint8_t *b)
{
	__m256i equal = _mm256_cmpeq_epi8(_mm256_loadu_si256((const __m256i *) a), _mm256_loadu_si256((const __m256i *) b));

	return ~(uint32_t) _mm256_movemask_epi8(equal);
}

/* Jaro's counts: the matched bytes of each side are moved together and compared at once. */
static TEXT_AVX2 inline __attribute__((always_inline)) uint32_t
jaro_counts(TextView rows, TextView columns, uint32_t prefix, bool two, uint32_t *out_of_order)
{
	Bytes bytes = load_bytes(rows, two);
	bool wide_columns = two && columns.length > 32;
	Bytes others = wide_columns ? load_bytes(columns, true) : load_bytes(columns, false);
	uint64_t same = same_places(bytes, others, two) & text_low_bits(columns.length);
	Matches matches;
	uint32_t count;
	uint8_t in_rows[TEXT_WORD + 8];
	uint8_t in_columns[TEXT_WORD + 8];
	uint64_t different;

	if (4 * (uint32_t) _mm_popcnt_u64(same) >= 3 * columns.length)
		matches = jaro_near(bytes, others, rows, columns, same, prefix, two);
	else
		matches = jaro_steps(bytes, rows, columns, prefix, two);
	count = (uint32_t) _mm_popcnt_u64(matches.rows);
	compress_bytes(bytes, matches.rows, two, in_rows);
	if (wide_columns)
		compress_bytes(others, matches.columns, true, in_columns);
	else
		compress_bytes(others, matches.columns, false, in_columns);
	different = different_bytes(in_rows, in_columns);
	if (two)
		different |= (uint64_t) different_bytes(in_rows + 32, in_columns + 32) << 32;
	*out_of_order = (uint32_t) _mm_popcnt_u64(different & text_low_bits(count));
	return count;
}

/* Jaro's counts on AVX2. */
static TEXT_AVX2 uint32_t
jaro_pair_avx2(TextView rows, TextView columns, uint32_t prefix, uint32_t *out_of_order)
{
	return rows.length > 32 ? jaro_counts(rows, columns, prefix, true, out_of_order)
							: jaro_counts(rows, columns, prefix, false, out_of_order);
}

/* Jaro's counts of strings within 32 bytes: the matched bytes of each side are moved together and compared at once. */
static TEXT_AVX512 uint32_t
jaro_pair_short(TextView rows, TextView columns, uint32_t prefix, uint32_t *out_of_order)
{
	Bytes bytes = load_bytes(rows, false);
	__m256i others = text_load_padded(columns.units, columns.length);
	Matches matches = jaro_steps(bytes, rows, columns, prefix, false);
	__m256i in_rows = _mm256_maskz_compress_epi8((__mmask32) matches.rows, bytes.low);
	__m256i in_columns = _mm256_maskz_compress_epi8((__mmask32) matches.columns, others);

	*out_of_order = (uint32_t) _mm_popcnt_u32(_mm256_cmpneq_epi8_mask(in_rows, in_columns));
	return (uint32_t) _mm_popcnt_u64(matches.rows);
}

/* The same within 64 bytes: all bytes in one register, and masks come without putting halves together. */
static TEXT_AVX512 uint32_t
jaro_pair_long(TextView rows, TextView columns, uint32_t prefix, uint32_t *out_of_order)
{
	__m512i bytes = _mm512_maskz_loadu_epi8(text_low_bits(rows.length), rows.units);
	__m512i others = _mm512_maskz_loadu_epi8(text_low_bits(columns.length), columns.units);
	const uint8_t *unit = columns.units;
	uint32_t reach = text_jaro_reach(rows.length, columns.length);
	uint32_t growing = jaro_growing(columns, reach);
	Matching m = jaro_begin(rows, reach, growing, prefix);
	Matches matches;
	uint32_t j = prefix;

	for (; j < growing; j++)
	{
		jaro_step(&m, _cvtmask64_u64(_mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8((char) unit[j]))));
		m.window += m.window + 1;
	}
	for (; j < columns.length; j++)
	{
		jaro_step(&m, _cvtmask64_u64(_mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8((char) unit[j]))));
		m.window += m.window;
	}
	matches = jaro_end(m, rows, columns);
	bytes = _mm512_maskz_compress_epi8(matches.rows, bytes);
	others = _mm512_maskz_compress_epi8(matches.columns, others);
	*out_of_order = (uint32_t) _mm_popcnt_u64(_cvtmask64_u64(_mm512_cmpneq_epi8_mask(bytes, others)));
	return (uint32_t) _mm_popcnt_u64(matches.rows);
}

/* Matches and out-of-order matches of two short byte strings. */
uint32_t
text_jaro_pair(TextView rows, TextView columns, uint32_t prefix, uint32_t *out_of_order)
{
	if (text_simd() < TEXT_SIMD_AVX512)
		return jaro_pair_avx2(rows, columns, prefix, out_of_order);
	return rows.length <= 32 && columns.length <= 32 ? jaro_pair_short(rows, columns, prefix, out_of_order)
													 : jaro_pair_long(rows, columns, prefix, out_of_order);
}

#else

/* No SIMD form was compiled. */
TextSimd
text_simd(void)
{
	return simd_limit < TEXT_SIMD_NONE ? simd_limit : TEXT_SIMD_NONE;
}

#endif /* TEXT_HAVE_SIMD */
