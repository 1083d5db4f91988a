/*
 * tokens.c
 *		Token sort and token set similarity (tokens.h).
 */
#include <string.h>

#include "text/tokens.h"

/* A pair of strings up to this length is compared without allocating */
#define SMALL_UNITS 128
#define SMALL_TOKENS (SMALL_UNITS / 2)
#define INSERTION_TOKENS 12
/* How many words pass between two ticks while sorting */
#define TICK_TOKENS 65536

/* Unicode's White_Space, and the four ASCII separators that the field's tools count too. */
static bool
is_space(uint32_t unit)
{
	if (unit <= 0x20)
		return unit == 0x20 || (unit >= 0x09 && unit <= 0x0D) || unit >= 0x1C;
	if (unit < 0x1680)
		return unit == 0x85 || unit == 0xA0;
	return unit == 0x1680 || (unit >= 0x2000 && unit <= 0x200A) || unit == 0x2028 || unit == 0x2029 || unit == 0x202F ||
		   unit == 0x205F || unit == 0x3000;
}

/* Split into words; the array has room for (length + 1) / 2 of them. Says how many there are. */
static uint32_t
split(TextView view, TextView *token)
{
	uint32_t count = 0;
	uint32_t start = 0;

	for (uint32_t i = 0; i <= view.length; i++)
	{
		if (i < view.length && !is_space(text_unit(view, i)))
			continue;
		if (i > start)
			token[count++] = text_slice(view, start, i - start);
		start = i + 1;
	}
	return count;
}

/* Sort a few words. */
static void
insertion_sort(TextView *token, uint32_t count)
{
	for (uint32_t i = 1; i < count; i++)
	{
		TextView one = token[i];
		uint32_t j = i;

		for (; j > 0 && text_compare(token[j - 1], one) > 0; j--)
			token[j] = token[j - 1];
		token[j] = one;
	}
}

/* Merge two neighbouring sorted runs into another array. */
static void
merge_runs(const TextView *from, uint32_t start, uint32_t middle, uint32_t end, TextView *to)
{
	uint32_t left = start;
	uint32_t right = middle;

	for (uint32_t k = start; k < end; k++)
	{
		bool take_left = left < middle && (right >= end || text_compare(from[left], from[right]) <= 0);

		to[k] = take_left ? from[left++] : from[right++];
	}
}

/* Sort words: runs by insertion, then merges. */
static void
sort_tokens(TextWorkspace *workspace, TextView *token, uint32_t count)
{
	TextView *spare;
	TextView *from = token;
	TextView *to;

	for (uint32_t start = 0; start < count; start += INSERTION_TOKENS)
		insertion_sort(token + start, count - start < INSERTION_TOKENS ? count - start : INSERTION_TOKENS);
	if (count <= INSERTION_TOKENS)
		return;
	to = spare = kernel_alloc_array(workspace->env, TextView, count);
	for (uint64_t width = INSERTION_TOKENS; width < count; width *= 2)
	{
		TextView *swap = from;

		for (uint64_t start = 0; start < count; start += 2 * width)
		{
			uint64_t middle = start + width < count ? start + width : count;
			uint64_t end = start + 2 * width < count ? start + 2 * width : count;

			merge_runs(from, (uint32_t) start, (uint32_t) middle, (uint32_t) end, to);
			if (start / TICK_TOKENS != (start + 2 * width) / TICK_TOKENS)
				kernel_tick(workspace->env, start, count);
		}
		from = to;
		to = swap;
	}
	if (from != token)
		memcpy(token, from, sizeof(TextView) * count);
	kernel_release(workspace->env, spare);
}

/* Fill a token list whose array is already there. */
static TextTokens
tokens_into(TextWorkspace *workspace, TextView view, bool distinct, TextView *token)
{
	TextTokens tokens = {token, split(view, token), 0};
	uint32_t kept = 0;

	sort_tokens(workspace, token, tokens.count);
	for (uint32_t i = 0; i < tokens.count; i++)
	{
		if (distinct && kept > 0 && text_compare(token[kept - 1], token[i]) == 0)
			continue;
		token[kept++] = token[i];
		tokens.joined += token[i].length;
	}
	tokens.count = kept;
	tokens.joined += kept > 0 ? kept - 1 : 0;
	return tokens;
}

/* Split and sort, in the workspace's memory. */
TextTokens
text_tokens(TextWorkspace *workspace, TextView view, bool distinct)
{
	return tokens_into(workspace, view, distinct,
					   kernel_alloc_array(workspace->env, TextView, (size_t) view.length / 2 + 1));
}

/* Room for joined words: on the stack where they are short. */
typedef struct Joined
{
	uint32_t small[SMALL_UNITS];
	void *large;
} Joined;

/* Join words with blanks. A string of narrow words stays narrow whatever its view was, as it must be equal to its equals. */
static TextView
join(TextWorkspace *workspace, const TextView *token, uint32_t count, uint32_t joined, Joined *room)
{
	uint32_t *units = room->small;
	uint32_t at = 0;

	room->large = NULL;
	if (joined > SMALL_UNITS)
		room->large = units = kernel_alloc_array(workspace->env, uint32_t, joined);
	for (uint32_t i = 0; i < count; i++)
	{
		if (i > 0)
			units[at++] = ' ';
		for (uint32_t k = 0; k < token[i].length; k++)
			units[at++] = text_unit(token[i], k);
	}
	return text_view_units(units, at);
}

/* Give the room back. */
static void
joined_release(TextWorkspace *workspace, Joined *room)
{
	if (room->large != NULL)
		kernel_release(workspace->env, room->large);
}

/* Indel similarity of the sorted words joined by blanks. */
double
text_token_sort_prepared(TextWorkspace *workspace, const TextTokens *a, const TextTokens *b)
{
	Joined room_a;
	Joined room_b;
	TextView joined_a = join(workspace, a->token, a->count, a->joined, &room_a);
	TextView joined_b = join(workspace, b->token, b->count, b->joined, &room_b);
	double similarity = text_indel_similarity(workspace, joined_a, joined_b);

	joined_release(workspace, &room_a);
	joined_release(workspace, &room_b);
	return similarity;
}

/* The common words of two lists leave them; what stays is each side's own. Lengths are those of words joined by blanks. */
typedef struct Decomposition
{
	TextTokens own_a;
	TextTokens own_b;
	uint32_t common;
} Decomposition;

/* Add a word to a list. */
static void
tokens_push(TextTokens *tokens, TextView token)
{
	tokens->joined += token.length + (tokens->count > 0);
	tokens->token[tokens->count++] = token;
}

/* Walk two sorted lists of distinct words. The arrays of the own words have room for all. */
static Decomposition
decompose(const TextTokens *a, const TextTokens *b, TextView *own_a, TextView *own_b)
{
	Decomposition d = {{own_a, 0, 0}, {own_b, 0, 0}, 0};
	uint32_t common_count = 0;
	uint32_t i = 0;
	uint32_t j = 0;

	while (i < a->count || j < b->count)
	{
		int order = i == a->count ? 1 : j == b->count ? -1 : text_compare(a->token[i], b->token[j]);

		if (order == 0)
		{
			d.common += a->token[i].length + (common_count++ > 0);
			j++;
		}
		else if (order > 0)
			tokens_push(&d.own_b, b->token[j++]);
		if (order < 0)
			tokens_push(&d.own_a, a->token[i]);
		if (order <= 0)
			i++;
	}
	return d;
}

/* Similarity of two strings of which one is the start of the other, by their lengths. */
static double
start_similarity(uint64_t shorter, uint64_t longer)
{
	return 1.0 - (double) (longer - shorter) / (double) (shorter + longer);
}

/* The best of the three comparisons. */
static double
best_of_set(TextWorkspace *workspace, const Decomposition *d)
{
	Joined room_a;
	Joined room_b;
	uint64_t blank = d->common > 0;
	uint64_t with_a = d->common + blank + d->own_a.joined;
	uint64_t with_b = d->common + blank + d->own_b.joined;
	TextView a = join(workspace, d->own_a.token, d->own_a.count, d->own_a.joined, &room_a);
	TextView b = join(workspace, d->own_b.token, d->own_b.count, d->own_b.joined, &room_b);
	uint64_t edits = (uint64_t) a.length + b.length - 2 * (uint64_t) text_lcs(workspace, a, b);
	double best = 1.0 - (double) edits / (double) (with_a + with_b);

	joined_release(workspace, &room_a);
	joined_release(workspace, &room_b);
	if (d->common > 0)
	{
		double only_a = start_similarity(d->common, with_a);
		double only_b = start_similarity(d->common, with_b);

		best = best > only_a ? best : only_a;
		best = best > only_b ? best : only_b;
	}
	return best;
}

/* Token set similarity of two lists, with arrays for the own words given. */
static double
set_similarity(TextWorkspace *workspace, const TextTokens *a, const TextTokens *b, TextView *own_a, TextView *own_b)
{
	Decomposition d;

	if (a->count == 0 || b->count == 0)
		return 0.0;
	d = decompose(a, b, own_a, own_b);
	if (d.common > 0 && (d.own_a.count == 0 || d.own_b.count == 0))
		return 1.0;
	return best_of_set(workspace, &d);
}

/* Token set similarity of two prepared lists. */
double
text_token_set_prepared(TextWorkspace *workspace, const TextTokens *a, const TextTokens *b)
{
	TextView small[2][SMALL_TOKENS];
	TextView *large;
	double similarity;

	if (a->count <= SMALL_TOKENS && b->count <= SMALL_TOKENS)
		return set_similarity(workspace, a, b, small[0], small[1]);
	large = kernel_alloc_array(workspace->env, TextView, (size_t) a->count + b->count);
	similarity = set_similarity(workspace, a, b, large, large + a->count);
	kernel_release(workspace->env, large);
	return similarity;
}

/* Split both strings of a pair and compare the lists. */
static double
pair_similarity(TextWorkspace *workspace, TextView a, TextView b, bool as_set)
{
	TextView small[2][SMALL_TOKENS + 1];
	bool is_small = a.length <= SMALL_UNITS && b.length <= SMALL_UNITS;
	TextTokens tokens_a = is_small ? tokens_into(workspace, a, as_set, small[0]) : text_tokens(workspace, a, as_set);
	TextTokens tokens_b = is_small ? tokens_into(workspace, b, as_set, small[1]) : text_tokens(workspace, b, as_set);
	double similarity = as_set ? text_token_set_prepared(workspace, &tokens_a, &tokens_b)
							   : text_token_sort_prepared(workspace, &tokens_a, &tokens_b);

	if (!is_small)
	{
		kernel_release(workspace->env, tokens_a.token);
		kernel_release(workspace->env, tokens_b.token);
	}
	return similarity;
}

/* Token sort similarity of one pair. */
double
text_token_sort(TextWorkspace *workspace, TextView a, TextView b)
{
	return pair_similarity(workspace, a, b, false);
}

/* Token set similarity of one pair. */
double
text_token_set(TextWorkspace *workspace, TextView a, TextView b)
{
	return pair_similarity(workspace, a, b, true);
}
