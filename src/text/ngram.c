/*
 * ngram.c
 *		Jaccard similarity over sets of n-grams (ngram.h): packed into words for n up to 3, named by rank beyond.
 *
 * Longer n-grams are named after Karp, Miller and Rosenberg (1972): equal grams of length L get equal numbers, and two
 * overlapping numbers name a gram of up to twice the length. That is exact and takes log n sorts, whatever the strings.
 */
#include <string.h>

#include "text/ngram.h"

/* A pair of strings up to this length is compared without allocating */
#define SMALL_UNITS 128
#define INSERTION_LIMIT 64
#define RADIX_BITS 11
#define RADIX_SIZE (1 << RADIX_BITS)
/* Code points take 21 bits; the grams of strings shorter than n stand apart from all others */
#define UNIT_BITS 21
#define SHORT_FLAG (UINT64_C(1) << 63)
#define SHORT_LENGTH_SHIFT 50

/* Sort a few keys. */
static void
insertion_sort(uint64_t *key, uint32_t count)
{
	for (uint32_t i = 1; i < count; i++)
	{
		uint64_t one = key[i];
		uint32_t j = i;

		for (; j > 0 && key[j - 1] > one; j--)
			key[j] = key[j - 1];
		key[j] = one;
	}
}

/*
 * Sort keys by digits from the lowest, with a payload that may be NULL. Digits that all keys share are passed over.
 */
static void
radix_sort(const KernelEnv *env, uint64_t *key, uint32_t *payload, uint32_t count)
{
	uint64_t *key_to = kernel_alloc_array(env, uint64_t, count);
	uint32_t *payload_to = kernel_alloc_array(env, uint32_t, count);
	uint32_t start[RADIX_SIZE];

	for (int shift = 0; shift < 64; shift += RADIX_BITS)
	{
		uint32_t sum = 0;

		memset(start, 0, sizeof(start));
		for (uint32_t i = 0; i < count; i++)
			start[key[i] >> shift & (RADIX_SIZE - 1)]++;
		kernel_tick(env, shift, 64);
		if (start[key[0] >> shift & (RADIX_SIZE - 1)] == count)
			continue;
		for (int digit = 0; digit < RADIX_SIZE; digit++)
		{
			uint32_t here = start[digit];

			start[digit] = sum;
			sum += here;
		}
		for (uint32_t i = 0; i < count; i++)
		{
			uint32_t to = start[key[i] >> shift & (RADIX_SIZE - 1)]++;

			key_to[to] = key[i];
			if (payload != NULL)
				payload_to[to] = payload[i];
		}
		memcpy(key, key_to, sizeof(*key) * (size_t) count);
		if (payload != NULL)
			memcpy(payload, payload_to, sizeof(*payload) * (size_t) count);
	}
	kernel_release(env, key_to);
	kernel_release(env, payload_to);
}

/* The gram of n units that starts at a position. */
static inline uint64_t
pack(TextView view, uint32_t position, uint32_t n)
{
	uint64_t gram = 0;

	for (uint32_t k = 0; k < n; k++)
		gram = gram << UNIT_BITS | text_unit(view, position + k);
	return gram;
}

/* How many grams a string has before repeats are dropped. */
static uint32_t
gram_room(TextView view, uint32_t n)
{
	return view.length >= n ? view.length - n + 1 : 1;
}

/* Fill, sort and drop repeats; the array has room for gram_room. */
static TextGrams
grams_into(TextWorkspace *workspace, TextView view, uint32_t n, uint64_t *gram)
{
	TextGrams grams = {gram, 0};
	uint32_t count = view.length >= n ? view.length - n + 1 : 0;

	if (count == 0 && view.length > 0)
	{
		gram[0] = SHORT_FLAG | (uint64_t) view.length << SHORT_LENGTH_SHIFT | pack(view, 0, view.length);
		grams.count = 1;
		return grams;
	}
	for (uint32_t i = 0; i < count; i++)
		gram[i] = pack(view, i, n);
	if (count <= INSERTION_LIMIT)
		insertion_sort(gram, count);
	else
		radix_sort(workspace->env, gram, NULL, count);
	for (uint32_t i = 0; i < count; i++)
		if (grams.count == 0 || gram[grams.count - 1] != gram[i])
			gram[grams.count++] = gram[i];
	return grams;
}

/* The set of a string's n-grams, in the workspace's memory. */
TextGrams
text_grams(TextWorkspace *workspace, TextView view, uint32_t n)
{
	return grams_into(workspace, view, n, kernel_alloc_array(workspace->env, uint64_t, gram_room(view, n)));
}

/* Common grams over all grams. */
double
text_grams_jaccard(const TextGrams *a, const TextGrams *b)
{
	uint32_t i = 0;
	uint32_t j = 0;
	uint32_t common = 0;

	if (a->count == 0 && b->count == 0)
		return 1.0;
	while (i < a->count && j < b->count)
	{
		uint64_t x = a->gram[i];
		uint64_t y = b->gram[j];

		common += x == y;
		i += x <= y;
		j += y <= x;
	}
	return (double) common / (double) ((uint64_t) a->count + b->count - common);
}

/* Where the numbers of both strings' positions stand in one array. */
typedef struct Naming
{
	uint32_t length[2];
	uint32_t *name;
	uint64_t *key;
	uint32_t *position;
	uint32_t names; /* how many different ones there are */
} Naming;

/* Give each key's position its rank among the different keys. */
static void
rank_keys(const KernelEnv *env, Naming *naming, uint32_t count)
{
	radix_sort(env, naming->key, naming->position, count);
	naming->names = 0;
	for (uint32_t i = 0; i < count; i++)
	{
		if (i > 0 && naming->key[i] != naming->key[i - 1])
			naming->names++;
		naming->name[naming->position[i]] = naming->names;
	}
	naming->names++;
}

/* From names of grams of one length to names of grams longer by a step, which is at most that length. */
static void
lengthen(const KernelEnv *env, Naming *naming, uint32_t to, uint32_t step)
{
	uint32_t count = 0;
	uint32_t base = 0;

	for (int side = 0; side < 2; side++)
	{
		for (uint32_t i = 0; i + to <= naming->length[side]; i++)
		{
			naming->key[count] = (uint64_t) naming->name[base + i] << 32 | naming->name[base + i + step];
			naming->position[count++] = base + i;
		}
		base += naming->length[side];
	}
	rank_keys(env, naming, count);
}

/* Jaccard of the two sides' names of n-grams. */
static double
jaccard_of_names(const KernelEnv *env, const Naming *naming, uint32_t n)
{
	uint8_t *seen = kernel_alloc_array(env, uint8_t, naming->names);
	uint32_t base = 0;
	uint32_t common = 0;

	memset(seen, 0, naming->names);
	for (int side = 0; side < 2; side++)
	{
		for (uint32_t i = 0; i + n <= naming->length[side]; i++)
			seen[naming->name[base + i]] |= (uint8_t) (1 << side);
		base += naming->length[side];
	}
	for (uint32_t k = 0; k < naming->names; k++)
		common += seen[k] == 3;
	kernel_release(env, seen);
	return (double) common / (double) naming->names;
}

/* Any n, both strings at least that long. */
static double
named_ngram(TextWorkspace *workspace, TextView a, TextView b, uint32_t n)
{
	const KernelEnv *env = workspace->env;
	size_t total = (size_t) a.length + b.length;
	Naming naming = {{a.length, b.length},
					 kernel_alloc_array(env, uint32_t, total),
					 kernel_alloc_array(env, uint64_t, total),
					 kernel_alloc_array(env, uint32_t, total),
					 0};
	uint32_t length = 1;
	double similarity;

	for (uint32_t i = 0; i < a.length; i++)
		naming.name[i] = text_unit(a, i);
	for (uint32_t i = 0; i < b.length; i++)
		naming.name[a.length + i] = text_unit(b, i);
	while (length < n)
	{
		uint32_t to = n - length < length ? n : length * 2;

		lengthen(env, &naming, to, to - length);
		length = to;
	}
	similarity = jaccard_of_names(env, &naming, n);
	kernel_release(env, naming.name);
	kernel_release(env, naming.key);
	kernel_release(env, naming.position);
	return similarity;
}

/* n-grams that pack into a word. */
static double
packed_ngram(TextWorkspace *workspace, TextView a, TextView b, uint32_t n)
{
	uint64_t small[2][SMALL_UNITS];
	TextGrams grams_a;
	TextGrams grams_b;
	double similarity;

	if (a.length <= SMALL_UNITS && b.length <= SMALL_UNITS)
	{
		grams_a = grams_into(workspace, a, n, small[0]);
		grams_b = grams_into(workspace, b, n, small[1]);
		return text_grams_jaccard(&grams_a, &grams_b);
	}
	grams_a = text_grams(workspace, a, n);
	grams_b = text_grams(workspace, b, n);
	similarity = text_grams_jaccard(&grams_a, &grams_b);
	kernel_release(workspace->env, grams_a.gram);
	kernel_release(workspace->env, grams_b.gram);
	return similarity;
}

/* One pair, any n from 1. */
double
text_ngram(TextWorkspace *workspace, TextView a, TextView b, uint32_t n)
{
	if (n <= TEXT_GRAM_PACKED)
		return packed_ngram(workspace, a, b, n);
	if (a.length >= n && b.length >= n)
		return named_ngram(workspace, a, b, n);
	return text_compare(a, b) == 0 ? 1.0 : 0.0;
}
