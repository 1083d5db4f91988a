/*
 * batch.c
 *		One prepared string against many: the doors of levenshtein.h and jaro.h for batches, scalar or SIMD.
 *
 * The AVX2 form works on sixteen texts at a time, in two vectors of eight 32-bit lanes whose chains of dependent steps overlap.
 * The masks of a lane come from comparing all bytes of its text with one unit of the pattern, after wide units were numbered
 * into bytes. It is chosen at run time; the results are those of the scalar kernels to the bit (a unit test holds them together).
 */
#include "text/jaro.h"
#include "text/levenshtein.h"
#include "text/simd.h"

#define GROUP (2 * TEXT_LANES)

/* How many texts pass between two ticks */
#define TICK_TEXTS 65536

#ifdef TEXT_HAVE_SIMD

/*
 * Texts waiting to be compared together. Each lane's bits stand for the units of its text, and the steps are the units of
 * the pattern: so all lanes take the same number of steps, and a step's mask is one comparison of bytes.
 */
typedef struct Group
{
	size_t index[GROUP]; /* where they stand in the caller's array */
	uint32_t length[GROUP];
	uint32_t count;
	uint32_t different; /* how many different units the pattern has */
	uint8_t unit[TEXT_LANE_BITS]; /* they, where they are bytes */
	uint8_t number[TEXT_LANE_BITS]; /* their first places, from 1: what stands for them in wide strings */
	uint8_t column[TEXT_LANE_BITS]; /* for each unit of the pattern, which of the different ones it is */
} Group;

/* True where lanes can be used for a pattern at all. */
static bool
group_init(Group *group, const TextPattern *pattern)
{
	TextView view = pattern->view;

	group->count = group->different = 0;
	if (text_simd() < TEXT_SIMD_AVX2 || view.length == 0 || view.length > TEXT_LANE_BITS)
		return false;
	for (uint32_t i = 0; i < view.length; i++)
	{
		uint32_t unit = text_unit(view, i);
		uint32_t first = (uint32_t) __builtin_ctzll(text_mask(pattern, unit));

		if (first == i)
		{
			group->unit[group->different] = (uint8_t) unit;
			group->number[group->different] = (uint8_t) (i + 1);
			group->column[i] = (uint8_t) group->different++;
		}
		else
			group->column[i] = group->column[first];
	}
	return true;
}

/* A text's units numbered as the pattern's are; 255 for those that the pattern has not. */
static void
number_units(const TextPattern *pattern, TextView text, uint8_t *number)
{
	for (uint32_t j = 0; j < text.length; j++)
	{
		uint64_t mask = text_mask(pattern, text_unit(text, j));

		number[j] = mask == 0 ? 255 : (uint8_t) (__builtin_ctzll(mask) + 1);
	}
}

/* Put a text into the next lane: for each different unit of the pattern, the places where the text has it. */
static TEXT_AVX2 void
group_add(Group *group, TextWorkspace *workspace, const TextPattern *pattern, TextView text, size_t index)
{
	uint32_t lane = group->count++;
	const uint8_t *needle = group->unit;
	uint8_t numbered[TEXT_LANE_BITS];
	__m256i units;

	group->index[lane] = index;
	group->length[lane] = text.length;
	if (text.wide || pattern->view.wide)
	{
		number_units(pattern, text, numbered);
		needle = group->number;
		text.units = numbered;
	}
	units = text_load_padded(text.units, text.length);
	for (uint32_t i = 0; i < group->different; i++)
		workspace->columns[i][lane] = text_equal_bytes(units, needle[i]);
}

/* Lanes that no text has taken compute something that nobody reads, but of defined input. */
static void
group_pad(Group *group)
{
	for (uint32_t lane = group->count; lane < GROUP; lane++)
		group->length[lane] = 1;
	group->count = 0;
}

/* Set bits in each lane, by a table of nibbles. */
static TEXT_AVX2 inline __attribute__((always_inline)) __m256i
lanes_popcount(__m256i bits)
{
	const __m256i table = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 1, 2,
										   2, 3, 2, 3, 3, 4);
	const __m256i nibble = _mm256_set1_epi8(15);
	__m256i counts = _mm256_add_epi8(_mm256_shuffle_epi8(table, _mm256_and_si256(bits, nibble)),
									 _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(bits, 4), nibble)));

	counts = _mm256_maddubs_epi16(counts, _mm256_set1_epi8(1));
	return _mm256_madd_epi16(counts, _mm256_set1_epi16(1));
}

/* The lowest bits of each lane, as many as its count (32 at most). */
static TEXT_AVX2 inline __attribute__((always_inline)) __m256i
lanes_low_bits(__m256i count)
{
	const __m256i one = _mm256_set1_epi32(1);

	return _mm256_sub_epi32(_mm256_sllv_epi32(one, count), one);
}

/* The state of eight Levenshtein columns, as in word_distance of levenshtein.c. */
typedef struct Vertical
{
	__m256i more;
	__m256i less;
} Vertical;

/* One step of eight pairs. */
static TEXT_AVX2 inline __attribute__((always_inline)) Vertical
levenshtein_step(Vertical v, const uint32_t *column)
{
	__m256i mask = _mm256_loadu_si256((const __m256i *) column);
	__m256i x = _mm256_or_si256(mask, v.less);
	__m256i carry = _mm256_xor_si256(_mm256_add_epi32(_mm256_and_si256(mask, v.more), v.more), v.more);
	__m256i d0 = _mm256_or_si256(carry, x);
	__m256i not_hp = _mm256_andnot_si256(v.less, _mm256_or_si256(carry, _mm256_or_si256(x, v.more)));
	__m256i hn = _mm256_and_si256(d0, v.more);

	not_hp = _mm256_add_epi32(not_hp, not_hp);
	hn = _mm256_add_epi32(hn, hn);
	v.more = _mm256_or_si256(hn, _mm256_andnot_si256(d0, not_hp));
	v.less = _mm256_andnot_si256(not_hp, d0);
	return v;
}

/* The distances of eight lanes from their last column's deltas. */
static TEXT_AVX2 inline __attribute__((always_inline)) void
levenshtein_finish(Vertical v, const uint32_t *length, uint32_t steps, uint32_t *result)
{
	__m256i rows = lanes_low_bits(_mm256_loadu_si256((const __m256i *) length));
	__m256i sum = _mm256_add_epi32(_mm256_set1_epi32((int) steps), lanes_popcount(_mm256_and_si256(v.more, rows)));

	_mm256_storeu_si256((__m256i *) result, _mm256_sub_epi32(sum, lanes_popcount(_mm256_and_si256(v.less, rows))));
}

/* Distances of a whole group. */
static TEXT_AVX2 void
levenshtein_group(TextWorkspace *workspace, const TextPattern *pattern, Group *group, uint32_t max, uint32_t *distances)
{
	const Vertical start = {_mm256_set1_epi32(-1), _mm256_setzero_si256()};
	Vertical a = start;
	Vertical b = start;
	uint32_t steps = pattern->view.length;
	uint32_t count = group->count;
	uint32_t result[GROUP];

	group_pad(group);
	for (uint32_t i = 0; i < steps; i++)
	{
		const uint32_t *column = workspace->columns[group->column[i]];

		a = levenshtein_step(a, column);
		b = levenshtein_step(b, column + TEXT_LANES);
	}
	levenshtein_finish(a, group->length, steps, result);
	levenshtein_finish(b, group->length + TEXT_LANES, steps, result + TEXT_LANES);
	for (uint32_t lane = 0; lane < count; lane++)
		distances[group->index[lane]] = result[lane] <= max ? result[lane] : max + 1;
}

/* The state of eight Jaro comparisons, as in word_jaro of jaro.c. */
typedef struct Matching
{
	__m256i length;
	__m256i rows;
	__m256i reach;
	__m256i window;
	__m256i unmatched;
	__m256i missed; /* how many units of the pattern found no match; counts down */
	__m256i prefix; /* counts down: all lanes start with 0, -1 a unit */
	__m256i prefixed; /* all ones while the prefix goes on */
	__m256i out_of_order; /* counts down too */
} Matching;

/* Before the first step. */
static TEXT_AVX2 inline __attribute__((always_inline)) Matching
jaro_start(const uint32_t *length, uint32_t steps)
{
	const __m256i zero = _mm256_setzero_si256();
	__m256i lengths = _mm256_loadu_si256((const __m256i *) length);
	__m256i rows = lanes_low_bits(lengths);
	__m256i longer = _mm256_max_epi32(lengths, _mm256_set1_epi32((int) steps));
	/* as text_jaro_reach: half of the longer, but 1 where that is 1 */
	__m256i reach = _mm256_max_epi32(_mm256_srli_epi32(longer, 1), _mm256_set1_epi32(1));
	Matching m = {lengths, rows, reach, lanes_low_bits(reach), rows, zero, zero, _mm256_set1_epi32(-1), zero};

	return m;
}

/* One step of eight pairs: match. Returns all ones for the pairs without a match. */
static TEXT_AVX2 inline __attribute__((always_inline)) __m256i
jaro_match(Matching *m, const uint32_t *column, uint32_t i)
{
	const __m256i zero = _mm256_setzero_si256();
	__m256i mask = _mm256_loadu_si256((const __m256i *) column);
	__m256i candidates = _mm256_and_si256(_mm256_and_si256(mask, m->window), m->unmatched);

	m->unmatched = _mm256_xor_si256(m->unmatched, _mm256_and_si256(candidates, _mm256_sub_epi32(zero, candidates)));
	m->window = _mm256_sub_epi32(_mm256_add_epi32(m->window, m->window),
								 _mm256_cmpgt_epi32(m->reach, _mm256_set1_epi32((int) i + 1)));
	candidates = _mm256_cmpeq_epi32(candidates, zero);
	m->missed = _mm256_add_epi32(m->missed, candidates);
	return candidates;
}

/* One of the first steps again: follow the common prefix. */
static TEXT_AVX2 inline __attribute__((always_inline)) void
jaro_prefix(Matching *m, const uint32_t *column, uint32_t i)
{
	__m256i bit = _mm256_set1_epi32((int) (UINT32_C(1) << i));
	__m256i mask = _mm256_and_si256(_mm256_loadu_si256((const __m256i *) column), m->rows);

	m->prefixed = _mm256_and_si256(m->prefixed, _mm256_cmpeq_epi32(_mm256_and_si256(mask, bit), bit));
	m->prefix = _mm256_add_epi32(m->prefix, m->prefixed);
}

/* One step again: is the pattern's next match equal to the text's next? unmatched has become what is left of the matches. */
static TEXT_AVX2 inline __attribute__((always_inline)) void
jaro_order(Matching *m, const uint32_t *column, __m256i missed)
{
	const __m256i zero = _mm256_setzero_si256();
	__m256i mask = _mm256_loadu_si256((const __m256i *) column);
	__m256i lowest = _mm256_and_si256(_mm256_andnot_si256(missed, m->unmatched), _mm256_sub_epi32(zero, m->unmatched));
	__m256i differs = _mm256_cmpeq_epi32(_mm256_and_si256(lowest, mask), zero);

	m->out_of_order = _mm256_add_epi32(m->out_of_order, _mm256_andnot_si256(missed, differs));
	m->unmatched = _mm256_xor_si256(m->unmatched, lowest);
}

/* text_jaro_formula and text_winkler_formula for four lanes. */
static TEXT_AVX2 inline __attribute__((always_inline)) __m256d
jaro_formulas(__m128i matches, __m128i out_of_order, __m128i length, __m128i prefix, uint32_t steps, double weight)
{
	const __m256d one = _mm256_set1_pd(1.0);
	__m256d common = _mm256_cvtepi32_pd(matches);
	__m256d ordered = _mm256_cvtepi32_pd(_mm_sub_epi32(matches, _mm_srli_epi32(out_of_order, 1)));
	__m256d sum =
		_mm256_add_pd(_mm256_div_pd(common, _mm256_set1_pd(steps)), _mm256_div_pd(common, _mm256_cvtepi32_pd(length)));
	__m256d jaro = _mm256_div_pd(_mm256_add_pd(sum, _mm256_div_pd(ordered, common)), _mm256_set1_pd(3.0));
	__m256d bonus =
		_mm256_mul_pd(_mm256_mul_pd(_mm256_cvtepi32_pd(prefix), _mm256_set1_pd(weight)), _mm256_sub_pd(one, jaro));
	__m256d above = _mm256_cmp_pd(jaro, _mm256_set1_pd(TEXT_WINKLER_THRESHOLD), _CMP_GT_OQ);

	/* without a match the quotients are not numbers */
	jaro = _mm256_and_pd(jaro, _mm256_cmp_pd(common, _mm256_setzero_pd(), _CMP_GT_OQ));
	return _mm256_blendv_pd(jaro, _mm256_min_pd(_mm256_add_pd(jaro, bonus), one), above);
}

/* The similarities of eight lanes. */
static TEXT_AVX2 inline __attribute__((always_inline)) void
jaro_finish(const Matching *m, uint32_t steps, double weight, double *result)
{
	const __m256i zero = _mm256_setzero_si256();
	__m256i matches = _mm256_add_epi32(_mm256_set1_epi32((int) steps), m->missed);
	__m256i order = _mm256_sub_epi32(zero, m->out_of_order);
	__m256i prefix = _mm256_sub_epi32(zero, m->prefix);

	_mm256_storeu_pd(result,
					 jaro_formulas(_mm256_castsi256_si128(matches), _mm256_castsi256_si128(order),
								   _mm256_castsi256_si128(m->length), _mm256_castsi256_si128(prefix), steps, weight));
	_mm256_storeu_pd(result + 4, jaro_formulas(_mm256_extracti128_si256(matches, 1), _mm256_extracti128_si256(order, 1),
											   _mm256_extracti128_si256(m->length, 1),
											   _mm256_extracti128_si256(prefix, 1), steps, weight));
}

/* Similarities of a whole group. */
static TEXT_AVX2 void
jaro_group(TextWorkspace *workspace, const TextPattern *pattern, Group *group, double weight, double *similarities)
{
	uint32_t(*columns)[GROUP] = workspace->columns;
	uint32_t steps = pattern->view.length;
	uint32_t count = group->count;
	Matching a;
	Matching b;
	__m256i missed[TEXT_LANE_BITS][2];
	double result[GROUP];

	group_pad(group);
	a = jaro_start(group->length, steps);
	b = jaro_start(group->length + TEXT_LANES, steps);
	for (uint32_t i = 0; i < steps; i++)
	{
		missed[i][0] = jaro_match(&a, columns[group->column[i]], i);
		missed[i][1] = jaro_match(&b, columns[group->column[i]] + TEXT_LANES, i);
	}
	for (uint32_t i = 0; i < steps && i < TEXT_WINKLER_PREFIX; i++)
	{
		jaro_prefix(&a, columns[group->column[i]], i);
		jaro_prefix(&b, columns[group->column[i]] + TEXT_LANES, i);
	}
	a.unmatched = _mm256_xor_si256(a.unmatched, a.rows);
	b.unmatched = _mm256_xor_si256(b.unmatched, b.rows);
	for (uint32_t i = 0; i < steps; i++)
	{
		jaro_order(&a, columns[group->column[i]], missed[i][0]);
		jaro_order(&b, columns[group->column[i]] + TEXT_LANES, missed[i][1]);
	}
	jaro_finish(&a, steps, weight, result);
	jaro_finish(&b, steps, weight, result + TEXT_LANES);
	for (uint32_t lane = 0; lane < count; lane++)
		similarities[group->index[lane]] = result[lane];
}

#endif /* TEXT_HAVE_SIMD */

/* Distances from a prepared string to many. */
void
text_levenshtein_batch(TextWorkspace *workspace, const TextPattern *pattern, const TextView *texts, size_t count,
					   uint32_t max, uint32_t *distances)
{
#ifdef TEXT_HAVE_SIMD
	Group group;
	bool lanes = group_init(&group, pattern);
#endif
	for (size_t i = 0; i < count; i++)
	{
		if (i % TICK_TEXTS == TICK_TEXTS - 1)
			kernel_tick(workspace->env, i, count);
#ifdef TEXT_HAVE_SIMD
		if (lanes && texts[i].length > 0 && texts[i].length <= TEXT_LANE_BITS)
		{
			group_add(&group, workspace, pattern, texts[i], i);
			if (group.count == GROUP)
				levenshtein_group(workspace, pattern, &group, max, distances);
			continue;
		}
#endif
		distances[i] = text_levenshtein_prepared(workspace, pattern, texts[i], max);
	}
#ifdef TEXT_HAVE_SIMD
	if (group.count > 0)
		levenshtein_group(workspace, pattern, &group, max, distances);
#endif
}

/* Jaro-Winkler similarities of a prepared string with many. */
void
text_jaro_winkler_batch(TextWorkspace *workspace, const TextPattern *pattern, const TextView *texts, size_t count,
						double prefix_weight, double *similarities)
{
#ifdef TEXT_HAVE_SIMD
	Group group;
	bool lanes = group_init(&group, pattern);
#endif
	for (size_t i = 0; i < count; i++)
	{
		if (i % TICK_TEXTS == TICK_TEXTS - 1)
			kernel_tick(workspace->env, i, count);
#ifdef TEXT_HAVE_SIMD
		if (lanes && texts[i].length > 0 && texts[i].length <= TEXT_LANE_BITS)
		{
			group_add(&group, workspace, pattern, texts[i], i);
			if (group.count == GROUP)
				jaro_group(workspace, pattern, &group, prefix_weight, similarities);
			continue;
		}
#endif
		similarities[i] = text_jaro_winkler_prepared(workspace, pattern, texts[i], prefix_weight);
	}
#ifdef TEXT_HAVE_SIMD
	if (group.count > 0)
		jaro_group(workspace, pattern, &group, prefix_weight, similarities);
#endif
}
