/*
 * batch.c
 *		One prepared string against many: the doors of levenshtein.h and jaro.h for batches, scalar or SIMD.
 *
 * The AVX2 form works on sixteen texts at a time, in two vectors of eight 32-bit lanes whose chains of dependent steps overlap.
 * The masks that a lane looks up are first laid out column by column, which costs less than a gather and works for every
 * alphabet. It is chosen at run time; the results are those of the scalar kernels to the bit (a unit test holds them together).
 */
#include <string.h>

#include "text/jaro.h"
#include "text/levenshtein.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define HAVE_AVX2_FORM
#include <immintrin.h>
#define AVX2 __attribute__((target("avx2")))
#endif

#define GROUP (2 * TEXT_LANES)

/* How many texts pass between two ticks */
#define TICK_TEXTS 65536

/* Texts waiting to be compared together: where they stand in the caller's array, and their lengths. */
typedef struct Group
{
	size_t		index[GROUP];
	uint32_t	length[GROUP];
	uint32_t	count;
	uint32_t	longest;
} Group;

#ifdef HAVE_AVX2_FORM

/* True where this processor has AVX2; asked once. */
static bool
have_avx2(void)
{
	static int	known = -1;

	if (known < 0)
		known = __builtin_cpu_supports("avx2") ? 1 : 0;
	return known == 1;
}

/* True where a pair fits the lanes. */
static inline bool
fits_lanes(const TextPattern *pattern, TextView text)
{
	return text.length <= TEXT_LANE_BITS && text.length > 0 && pattern->view.length <= TEXT_LANE_BITS &&
		pattern->view.length > 0;
}

/* Put a text into the next lane: its masks column by column. What a shorter text leaves in its lane is never used. */
static inline void
group_add(Group *group, TextWorkspace *workspace, const TextPattern *pattern, TextView text, size_t index)
{
	uint32_t	lane = group->count++;

	group->index[lane] = index;
	group->length[lane] = text.length;
	if (text.length > group->longest)
		group->longest = text.length;
	if (text.wide)
		for (uint32_t j = 0; j < text.length; j++)
			workspace->columns[j][lane] = (uint32_t) text_mask(pattern, ((const uint32_t *) text.units)[j]);
	else
		for (uint32_t j = 0; j < text.length; j++)
			workspace->columns[j][lane] = (uint32_t) pattern->low[((const uint8_t *) text.units)[j]];
}

/* Empty lanes have length 0. */
static void
group_pad(Group *group)
{
	for (uint32_t lane = group->count; lane < GROUP; lane++)
		group->length[lane] = 0;
}

/* Set bits in each lane, by a table of nibbles. */
static AVX2 inline __m256i
lanes_popcount(__m256i bits)
{
	const __m256i table = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,
										   0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
	const __m256i nibble = _mm256_set1_epi8(15);
	__m256i		counts = _mm256_add_epi8(_mm256_shuffle_epi8(table, _mm256_and_si256(bits, nibble)),
										 _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(bits, 4), nibble)));

	counts = _mm256_maddubs_epi16(counts, _mm256_set1_epi8(1));
	return _mm256_madd_epi16(counts, _mm256_set1_epi16(1));
}

/* The state of eight Levenshtein columns, as in word_distance of levenshtein.c. */
typedef struct Vertical
{
	__m256i		more;
	__m256i		less;
} Vertical;

/* One column of eight pairs; lanes whose text has ended keep their state. */
static AVX2 inline __attribute__((always_inline)) Vertical
levenshtein_step(Vertical v, __m256i mask, __m256i active)
{
	__m256i		x = _mm256_or_si256(mask, v.less);
	__m256i		carry = _mm256_xor_si256(_mm256_add_epi32(_mm256_and_si256(mask, v.more), v.more), v.more);
	__m256i		d0 = _mm256_or_si256(carry, x);
	__m256i		not_hp = _mm256_andnot_si256(v.less, _mm256_or_si256(carry, _mm256_or_si256(x, v.more)));
	__m256i		hn = _mm256_and_si256(d0, v.more);

	not_hp = _mm256_add_epi32(not_hp, not_hp);
	hn = _mm256_add_epi32(hn, hn);
	v.more = _mm256_blendv_epi8(v.more, _mm256_or_si256(hn, _mm256_andnot_si256(d0, not_hp)), active);
	v.less = _mm256_blendv_epi8(v.less, _mm256_andnot_si256(not_hp, d0), active);
	return v;
}

/* The distances of eight lanes from their last column's deltas. */
static AVX2 inline __m256i
levenshtein_sum(Vertical v, __m256i length, uint32_t rows)
{
	__m256i		valid = _mm256_set1_epi32((int) (uint32_t) text_low_bits(rows));
	__m256i		sum = _mm256_add_epi32(length, lanes_popcount(_mm256_and_si256(v.more, valid)));

	return _mm256_sub_epi32(sum, lanes_popcount(_mm256_and_si256(v.less, valid)));
}

/* Distances of a whole group. */
static AVX2 void
levenshtein_group(TextWorkspace *workspace, const TextPattern *pattern, Group *group, uint32_t max, uint32_t *distances)
{
	const Vertical start = {_mm256_set1_epi32(-1), _mm256_setzero_si256()};
	Vertical	a = start;
	Vertical	b = start;
	__m256i		length_a;
	__m256i		length_b;
	uint32_t	result[GROUP];

	group_pad(group);
	length_a = _mm256_loadu_si256((const __m256i *) group->length);
	length_b = _mm256_loadu_si256((const __m256i *) (group->length + TEXT_LANES));
	for (uint32_t j = 0; j < group->longest; j++)
	{
		const uint32_t *column = workspace->columns[j];
		__m256i		at = _mm256_set1_epi32((int) j);

		a = levenshtein_step(a, _mm256_loadu_si256((const __m256i *) column), _mm256_cmpgt_epi32(length_a, at));
		b = levenshtein_step(b, _mm256_loadu_si256((const __m256i *) (column + TEXT_LANES)), _mm256_cmpgt_epi32(length_b, at));
	}
	_mm256_storeu_si256((__m256i *) result, levenshtein_sum(a, length_a, pattern->view.length));
	_mm256_storeu_si256((__m256i *) (result + TEXT_LANES), levenshtein_sum(b, length_b, pattern->view.length));
	for (uint32_t lane = 0; lane < group->count; lane++)
		distances[group->index[lane]] = result[lane] <= max ? result[lane] : max + 1;
	group->count = group->longest = 0;
}

/* The state of eight Jaro comparisons, as in word_jaro of jaro.c. */
typedef struct Matching
{
	__m256i		length;
	__m256i		reach;
	__m256i		window;
	__m256i		unmatched;
	__m256i		in_text;
	__m256i		prefix;			/* counts down: all lanes start with 0, -1 a unit */
	__m256i		prefixed;		/* all ones while the prefix goes on */
	__m256i		out_of_order;	/* counts down too */
} Matching;

/* Before the first column. */
static AVX2 inline __attribute__((always_inline)) Matching
jaro_start(const uint32_t *length, uint32_t rows)
{
	const __m256i zero = _mm256_setzero_si256();
	const __m256i one = _mm256_set1_epi32(1);
	__m256i		lengths = _mm256_loadu_si256((const __m256i *) length);
	__m256i		longer = _mm256_max_epi32(lengths, _mm256_set1_epi32((int) rows));
	/* as text_jaro_reach: half of the longer, but 1 where that is 1 */
	__m256i		reach = _mm256_max_epi32(_mm256_srli_epi32(longer, 1), one);
	__m256i		window = _mm256_sub_epi32(_mm256_sllv_epi32(one, reach), one);
	Matching	m = {lengths, reach, window, _mm256_set1_epi32(-1), zero, zero, _mm256_set1_epi32(-1), zero};

	return m;
}

/* One column of eight pairs: match, and follow the common prefix. */
static AVX2 inline __attribute__((always_inline)) void
jaro_match(Matching *m, __m256i mask, uint32_t j)
{
	const __m256i zero = _mm256_setzero_si256();
	__m256i		at = _mm256_set1_epi32((int) j);
	__m256i		bit = _mm256_set1_epi32((int) (UINT32_C(1) << j));
	__m256i		candidates;

	mask = _mm256_and_si256(mask, _mm256_cmpgt_epi32(m->length, at));
	candidates = _mm256_and_si256(_mm256_and_si256(mask, m->window), m->unmatched);
	m->unmatched = _mm256_xor_si256(m->unmatched, _mm256_and_si256(candidates, _mm256_sub_epi32(zero, candidates)));
	m->in_text = _mm256_or_si256(m->in_text, _mm256_andnot_si256(_mm256_cmpeq_epi32(candidates, zero), bit));
	m->window = _mm256_sub_epi32(_mm256_add_epi32(m->window, m->window),
								 _mm256_cmpgt_epi32(m->reach, _mm256_add_epi32(at, _mm256_set1_epi32(1))));
	if (j < TEXT_WINKLER_PREFIX)
	{
		m->prefixed = _mm256_and_si256(m->prefixed, _mm256_cmpeq_epi32(_mm256_and_si256(mask, bit), bit));
		m->prefix = _mm256_add_epi32(m->prefix, m->prefixed);
	}
}

/* One column again: is the text's next match equal to the pattern's next? unmatched has become what is left of the matches. */
static AVX2 inline __attribute__((always_inline)) void
jaro_order(Matching *m, __m256i mask, uint32_t j)
{
	const __m256i zero = _mm256_setzero_si256();
	__m256i		bit = _mm256_set1_epi32((int) (UINT32_C(1) << j));
	__m256i		matched = _mm256_cmpeq_epi32(_mm256_and_si256(m->in_text, bit), bit);
	__m256i		lowest = _mm256_and_si256(m->unmatched, _mm256_sub_epi32(zero, m->unmatched));
	__m256i		equal = _mm256_cmpeq_epi32(_mm256_and_si256(lowest, mask), zero);

	m->out_of_order = _mm256_add_epi32(m->out_of_order, _mm256_and_si256(equal, matched));
	m->unmatched = _mm256_xor_si256(m->unmatched, _mm256_and_si256(lowest, matched));
}

/* text_jaro_formula and text_winkler_formula for four lanes. */
static AVX2 inline __attribute__((always_inline)) __m256d
jaro_formulas(__m128i matches, __m128i out_of_order, __m128i length, __m128i prefix, uint32_t rows, double weight)
{
	const __m256d one = _mm256_set1_pd(1.0);
	__m256d		common = _mm256_cvtepi32_pd(matches);
	__m256d		ordered = _mm256_cvtepi32_pd(_mm_sub_epi32(matches, _mm_srli_epi32(out_of_order, 1)));
	__m256d		sum = _mm256_add_pd(_mm256_div_pd(common, _mm256_set1_pd(rows)),
									_mm256_div_pd(common, _mm256_cvtepi32_pd(length)));
	__m256d		jaro = _mm256_div_pd(_mm256_add_pd(sum, _mm256_div_pd(ordered, common)), _mm256_set1_pd(3.0));
	__m256d		bonus = _mm256_mul_pd(_mm256_mul_pd(_mm256_cvtepi32_pd(prefix), _mm256_set1_pd(weight)),
									  _mm256_sub_pd(one, jaro));
	__m256d		above = _mm256_cmp_pd(jaro, _mm256_set1_pd(TEXT_WINKLER_THRESHOLD), _CMP_GT_OQ);

	/* without a match the quotients are not numbers */
	jaro = _mm256_and_pd(jaro, _mm256_cmp_pd(common, _mm256_setzero_pd(), _CMP_GT_OQ));
	return _mm256_blendv_pd(jaro, _mm256_min_pd(_mm256_add_pd(jaro, bonus), one), above);
}

/* The similarities of eight lanes. */
static AVX2 inline __attribute__((always_inline)) void
jaro_finish(const Matching *m, uint32_t rows, double weight, double *result)
{
	const __m256i zero = _mm256_setzero_si256();
	__m256i		matches = lanes_popcount(m->in_text);
	__m256i		order = _mm256_sub_epi32(zero, m->out_of_order);
	__m256i		prefix = _mm256_sub_epi32(zero, m->prefix);

	_mm256_storeu_pd(result, jaro_formulas(_mm256_castsi256_si128(matches), _mm256_castsi256_si128(order),
										   _mm256_castsi256_si128(m->length), _mm256_castsi256_si128(prefix), rows, weight));
	_mm256_storeu_pd(result + 4, jaro_formulas(_mm256_extracti128_si256(matches, 1), _mm256_extracti128_si256(order, 1),
											   _mm256_extracti128_si256(m->length, 1), _mm256_extracti128_si256(prefix, 1),
											   rows, weight));
}

/* Similarities of a whole group. */
static AVX2 void
jaro_group(TextWorkspace *workspace, const TextPattern *pattern, Group *group, double weight, double *similarities)
{
	const __m256i ones = _mm256_set1_epi32(-1);
	uint32_t	rows = pattern->view.length;
	Matching	a;
	Matching	b;
	double		result[GROUP];

	group_pad(group);
	a = jaro_start(group->length, rows);
	b = jaro_start(group->length + TEXT_LANES, rows);
	for (uint32_t j = 0; j < group->longest; j++)
	{
		jaro_match(&a, _mm256_loadu_si256((const __m256i *) workspace->columns[j]), j);
		jaro_match(&b, _mm256_loadu_si256((const __m256i *) (workspace->columns[j] + TEXT_LANES)), j);
	}
	a.unmatched = _mm256_xor_si256(a.unmatched, ones);
	b.unmatched = _mm256_xor_si256(b.unmatched, ones);
	for (uint32_t j = 0; j < group->longest; j++)
	{
		jaro_order(&a, _mm256_loadu_si256((const __m256i *) workspace->columns[j]), j);
		jaro_order(&b, _mm256_loadu_si256((const __m256i *) (workspace->columns[j] + TEXT_LANES)), j);
	}
	jaro_finish(&a, rows, weight, result);
	jaro_finish(&b, rows, weight, result + TEXT_LANES);
	for (uint32_t lane = 0; lane < group->count; lane++)
		similarities[group->index[lane]] = result[lane];
	group->count = group->longest = 0;
}

#endif							/* HAVE_AVX2_FORM */

/* Distances from a prepared string to many. */
void
text_levenshtein_batch(TextWorkspace *workspace, const TextPattern *pattern, const TextView *texts, size_t count, uint32_t max,
					   uint32_t *distances)
{
#ifdef HAVE_AVX2_FORM
	bool		lanes = have_avx2();
	Group		group;

	group.count = group.longest = 0;
#endif
	for (size_t i = 0; i < count; i++)
	{
		if (i % TICK_TEXTS == TICK_TEXTS - 1)
			kernel_tick(workspace->env, i, count);
#ifdef HAVE_AVX2_FORM
		if (lanes && fits_lanes(pattern, texts[i]))
		{
			group_add(&group, workspace, pattern, texts[i], i);
			if (group.count == GROUP)
				levenshtein_group(workspace, pattern, &group, max, distances);
			continue;
		}
#endif
		distances[i] = text_levenshtein_prepared(workspace, pattern, texts[i], max);
	}
#ifdef HAVE_AVX2_FORM
	if (group.count > 0)
		levenshtein_group(workspace, pattern, &group, max, distances);
#endif
}

/* Jaro-Winkler similarities of a prepared string with many. */
void
text_jaro_winkler_batch(TextWorkspace *workspace, const TextPattern *pattern, const TextView *texts, size_t count,
						double prefix_weight, double *similarities)
{
#ifdef HAVE_AVX2_FORM
	bool		lanes = have_avx2();
	Group		group;

	group.count = group.longest = 0;
#endif
	for (size_t i = 0; i < count; i++)
	{
		if (i % TICK_TEXTS == TICK_TEXTS - 1)
			kernel_tick(workspace->env, i, count);
#ifdef HAVE_AVX2_FORM
		if (lanes && fits_lanes(pattern, texts[i]))
		{
			group_add(&group, workspace, pattern, texts[i], i);
			if (group.count == GROUP)
				jaro_group(workspace, pattern, &group, prefix_weight, similarities);
			continue;
		}
#endif
		similarities[i] = text_jaro_winkler_prepared(workspace, pattern, texts[i], prefix_weight);
	}
#ifdef HAVE_AVX2_FORM
	if (group.count > 0)
		jaro_group(workspace, pattern, &group, prefix_weight, similarities);
#endif
}
