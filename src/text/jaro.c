/*
 * jaro.c
 *		Jaro and Jaro-Winkler of one pair: bit-parallel within a word, linear time beyond it. Batches are in batch.c.
 *
 * Both ways find the same matches. Each unit of the text takes the first unit of the pattern that is equal, free and in
 * reach. As the lower end of the reach only moves up, the free positions of one code point form a queue: those that fell
 * behind never come back. The matches are the same whichever string is called the pattern, so the choice is by speed.
 */
#include <string.h>

#include "text/jaro.h"
#include "text/pair.h"

#define NOWHERE UINT32_MAX
/* How many units pass between two ticks */
#define TICK_UNITS (UINT32_C(1) << 20)

/* How many matches stand out of order: the k-th match of the text against the k-th of the pattern. */
static inline __attribute__((always_inline)) uint32_t
count_out_of_order(const TextPattern *pattern, const void *units, uint64_t in_text, uint64_t in_pattern, bool wide)
{
	uint32_t count = 0;

	while (in_text != 0)
	{
		uint64_t lowest = in_pattern & -in_pattern;

		count += (text_mask_at(pattern, units, (uint32_t) __builtin_ctzll(in_text), wide) & lowest) == 0;
		in_text &= in_text - 1;
		in_pattern ^= lowest;
	}
	return count;
}

/* Both strings within a word. */
static inline __attribute__((always_inline)) double
word_jaro(const TextPattern *pattern, const void *units, uint32_t length, bool wide)
{
	uint32_t reach = text_jaro_reach(pattern->view.length, length);
	uint64_t window = text_low_bits(reach);
	uint64_t unmatched = ~UINT64_C(0);
	uint64_t in_text = 0;

	for (uint32_t j = 0; j < length; j++)
	{
		uint64_t candidates = text_mask_at(pattern, units, j, wide) & window & unmatched;

		unmatched ^= candidates & -candidates;
		in_text |= (uint64_t) (candidates != 0) << j;
		window = window << 1 | (j + 1 < reach);
	}
	return text_jaro_formula(pattern->view.length, length, text_popcount(in_text),
							 count_out_of_order(pattern, units, in_text, ~unmatched, wide));
}

/* The queues of free positions: the first of each code point, and from each position the next of the same code point. */
typedef struct Queues
{
	uint32_t low[256];
	uint32_t *key; /* code points from 256 on, open addressing; 0 is empty */
	uint32_t *first;
	uint32_t mask;
	uint32_t *next;
} Queues;

/* The head of a code point's queue. */
static inline uint32_t *
queue_head(Queues *queues, uint32_t unit)
{
	uint32_t slot;

	if (unit < 256)
		return &queues->low[unit];
	slot = (unit * UINT32_C(0x9E3779B1)) & queues->mask;
	while (queues->key[slot] != 0 && queues->key[slot] != unit)
		slot = (slot + 1) & queues->mask;
	if (queues->key[slot] == 0)
	{
		/* seen in the text only; at most half of the slots are ever taken, as both strings were counted */
		queues->key[slot] = unit;
		queues->first[slot] = NOWHERE;
	}
	return &queues->first[slot];
}

/* Queue the positions of the pattern, each code point's in rising order. */
static void
queues_init(Queues *queues, const KernelEnv *env, TextView pattern, TextView text)
{
	uint32_t size = 16;

	memset(queues->low, 0xFF, sizeof(queues->low));
	queues->key = queues->first = NULL;
	if (pattern.wide || text.wide)
	{
		while (size / 2 < (uint64_t) pattern.length + text.length && size < (UINT32_C(1) << 31))
			size *= 2;
		queues->key = kernel_alloc_array(env, uint32_t, size);
		queues->first = kernel_alloc_array(env, uint32_t, size);
		memset(queues->key, 0, sizeof(uint32_t) * (size_t) size);
	}
	queues->mask = size - 1;
	queues->next = kernel_alloc_array(env, uint32_t, pattern.length);
	for (uint32_t i = pattern.length; i-- > 0;)
	{
		uint32_t *head = queue_head(queues, text_unit(pattern, i));

		queues->next[i] = *head;
		*head = i;
	}
}

/* Give the queues' memory back. */
static void
queues_release(Queues *queues, const KernelEnv *env)
{
	if (queues->key != NULL)
	{
		kernel_release(env, queues->key);
		kernel_release(env, queues->first);
	}
	kernel_release(env, queues->next);
}

/* The first free position in reach of the text's position j, taken from the queue; NOWHERE if there is none. */
static inline uint32_t
queue_take(Queues *queues, uint32_t unit, uint32_t j, uint32_t reach)
{
	uint32_t *head = queue_head(queues, unit);
	uint32_t position;

	while (*head != NOWHERE && (uint64_t) *head + reach <= j)
		*head = queues->next[*head];
	position = *head;
	if (position == NOWHERE || position >= (uint64_t) j + reach)
		return NOWHERE;
	*head = queues->next[position];
	return position;
}

/* Strings beyond a word, in time and memory linear in their lengths. */
static double
long_jaro(TextWorkspace *workspace, TextView pattern, TextView text)
{
	const KernelEnv *env = workspace->env;
	uint32_t reach = text_jaro_reach(pattern.length, text.length);
	uint32_t *matched = kernel_alloc_array(env, uint32_t, text.length);
	bool *taken = kernel_alloc_array(env, bool, pattern.length);
	uint32_t matches = 0;
	uint32_t out_of_order = 0;
	Queues queues;

	queues_init(&queues, env, pattern, text);
	memset(taken, 0, pattern.length);
	for (uint32_t j = 0; j < text.length; j++)
	{
		uint32_t position = queue_take(&queues, text_unit(text, j), j, reach);

		if (position != NOWHERE)
		{
			taken[position] = true;
			matched[matches++] = text_unit(text, j);
		}
		if (j % TICK_UNITS == TICK_UNITS - 1)
			kernel_tick(env, j, text.length);
	}
	for (uint32_t i = 0, k = 0; k < matches; i++)
		if (taken[i])
			out_of_order += text_unit(pattern, i) != matched[k++];
	queues_release(&queues, env);
	kernel_release(env, taken);
	kernel_release(env, matched);
	return text_jaro_formula(pattern.length, text.length, matches, out_of_order);
}

/* Jaro's similarity from a prepared string. */
double
text_jaro_prepared(TextWorkspace *workspace, const TextPattern *pattern, TextView text)
{
	if (pattern->view.length > TEXT_WORD || text.length > TEXT_WORD)
		return long_jaro(workspace, pattern->view, text);
	return text.wide ? word_jaro(pattern, text.units, text.length, true)
					 : word_jaro(pattern, text.units, text.length, false);
}

/* Jaro's similarity of one pair that has a common prefix of at least so many units. */
static inline double
pair_jaro(TextWorkspace *workspace, TextView a, TextView b, uint32_t prefix)
{
	TextView longer = a.length >= b.length ? a : b;
	TextView shorter = a.length >= b.length ? b : a;
#ifdef TEXT_HAVE_SIMD
	uint8_t bytes[2][TEXT_WORD];
#endif

	if (shorter.length == 0)
		return longer.length == 0 ? 1.0 : 0.0;
	if (longer.length > TEXT_WORD)
		return long_jaro(workspace, longer, shorter);
#ifdef TEXT_HAVE_SIMD
	if (text_simd() >= TEXT_SIMD_AVX2 &&
		((!a.wide && !b.wide) || text_narrow_pair(&longer, &shorter, bytes[0], bytes[1])))
	{
		uint32_t out_of_order;
		uint32_t matches = text_jaro_pair(longer, shorter, prefix, &out_of_order);

		return text_jaro_formula(longer.length, shorter.length, matches, out_of_order);
	}
#endif
	text_pattern_pair(&workspace->pattern, longer, shorter);
	return shorter.wide ? word_jaro(&workspace->pattern, shorter.units, shorter.length, true)
						: word_jaro(&workspace->pattern, shorter.units, shorter.length, false);
}

/* Jaro's similarity of one pair. */
double
text_jaro(TextWorkspace *workspace, TextView a, TextView b)
{
	return pair_jaro(workspace, a, b, text_common_prefix(a, b));
}

/* Jaro-Winkler of one pair. */
double
text_jaro_winkler(TextWorkspace *workspace, TextView a, TextView b, double prefix_weight)
{
	uint32_t prefix = text_common_prefix(a, b);
	double jaro = pair_jaro(workspace, a, b, prefix);

	return text_winkler_formula(jaro, prefix < TEXT_WINKLER_PREFIX ? prefix : TEXT_WINKLER_PREFIX, prefix_weight);
}

/* Jaro-Winkler from a prepared string. */
double
text_jaro_winkler_prepared(TextWorkspace *workspace, const TextPattern *pattern, TextView text, double prefix_weight)
{
	double jaro = text_jaro_prepared(workspace, pattern, text);

	if (jaro <= TEXT_WINKLER_THRESHOLD)
		return jaro;
	return text_winkler_formula(jaro, text_winkler_prefix(pattern->view, text), prefix_weight);
}
