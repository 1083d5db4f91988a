/*
 * pairs.c
 *		Blocks by rule and the walk over their pairs. What a pair is worth is decided elsewhere.
 */
#include <stdlib.h>
#include <string.h>

#include "match/pairs.h"

/* ---- keys ---- */

/* Of UTF-8 without an encoding's own function: continuation bytes do not count. */
size_t
match_prefix_bytes(const MatchRecords *records, const char *text, size_t length, int n)
{
	size_t		i = 0;

	if (records->prefix != NULL)
		return records->prefix(text, length, n);
	while (i < length)
	{
		if (((unsigned char) text[i] & 0xC0) != 0x80 && n-- == 0)
			break;
		i++;
	}
	return i;
}

/*
 * A code for each value of a column as the rule sees it: the value's own, or that of its prefix. Prefixes are interned in
 * a column of their own, which the caller frees.
 */
static int32_t *
part_codes(const MatchRecords *records, int column_number, int prefix, int32_t *ncodes)
{
	const MatchColumn *column = &records->column[column_number];
	MatchRecords prefixes;
	int32_t    *codes;

	*ncodes = column->nvalues;
	if (prefix == 0)
		return NULL;
	match_records_init(&prefixes, 1, &records->env);
	prefixes.column[0].keep_text = true;
	for (int32_t v = 0; v < column->nvalues; v++)
	{
		const char *text = match_value(column, v);

		match_records_add(&prefixes);
		match_records_set(&prefixes, v, 0, text, match_prefix_bytes(records, text, match_value_length(column, v), prefix));
	}
	*ncodes = prefixes.column[0].nvalues;
	codes = prefixes.column[0].code;
	prefixes.column[0].code = NULL;
	match_records_free(&prefixes);
	return codes;
}

typedef struct Keyed
{
	uint64_t	key;
	int32_t		record;
} Keyed;

/* Order by key, then record, for qsort inside a bucket. */
static int
compare_keyed(const void *a, const void *b)
{
	const Keyed *x = a;
	const Keyed *y = b;

	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	return (x->record > y->record) - (x->record < y->record);
}

/* Spread a combined key over all 64 bits; a bijection, so that equal means equal. */
static uint64_t
mix(uint64_t x)
{
	x ^= x >> 32;
	x *= UINT64_C(0xD6E8FEB86659FD93);
	x ^= x >> 32;
	x *= UINT64_C(0xD6E8FEB86659FD93);
	x ^= x >> 32;
	return x;
}

/* True where all keys of a run are equal: a huge block needs no sort. */
static bool
all_equal(const Keyed *keyed, int32_t count)
{
	for (int32_t i = 1; i < count; i++)
	{
		if (keyed[i].key != keyed[0].key)
			return false;
	}
	return true;
}

/*
 * Sort by mixed key: one pass into about as many buckets as there are entries, then each bucket by itself. Stable, so
 * that records ascend in a block.
 */
static void
sort_keyed(const KernelEnv *env, Keyed **keyed, int32_t count)
{
	int			bits = 1;
	int32_t    *start;
	Keyed	   *sorted = kernel_alloc_array(env, Keyed, count);

	while ((INT32_C(1) << bits) < count && bits < 26)
		bits++;
	start = kernel_alloc_array(env, int32_t, (INT32_C(1) << bits) + 1);
	memset(start, 0, sizeof(int32_t) * ((size_t) (INT32_C(1) << bits) + 1));
	for (int32_t i = 0; i < count; i++)
		start[((*keyed)[i].key >> (64 - bits)) + 1]++;
	for (int32_t b = 0; b < (INT32_C(1) << bits); b++)
		start[b + 1] += start[b];
	for (int32_t i = 0; i < count; i++)
		sorted[start[(*keyed)[i].key >> (64 - bits)]++] = (*keyed)[i];
	/* start[b] is now the end of bucket b */
	for (int32_t b = 0; b < (INT32_C(1) << bits); b++)
	{
		int32_t		from = b == 0 ? 0 : start[b - 1];

		if (start[b] - from > 1 && !all_equal(sorted + from, start[b] - from))
			qsort(sorted + from, (size_t) (start[b] - from), sizeof(Keyed), compare_keyed);
	}
	kernel_release(env, start);
	kernel_release(env, *keyed);
	*keyed = sorted;
}

/* The records that have a key, where the column holds the keys themselves. */
static int32_t
take_keys(const MatchRecords *records, const MatchColumn *column, Keyed *keyed)
{
	int32_t		count = 0;

	for (int32_t i = 0; i < records->nrecords; i++)
	{
		if (column->key[i] != MATCH_NO_KEY)
		{
			keyed[count].key = column->key[i];
			keyed[count++].record = i;
		}
	}
	return count;
}

/* The records that have all parts, each with its combined key. */
static int32_t
combine_parts(const MatchRecords *records, const MatchRule *rule, Keyed *keyed)
{
	int32_t    *codes[MATCH_MAX_PARTS];
	int32_t		ncodes[MATCH_MAX_PARTS];
	int32_t		count = 0;

	if (records->column[rule->column[0]].keys_only)
		return take_keys(records, &records->column[rule->column[0]], keyed);
	for (int p = 0; p < rule->nparts; p++)
		codes[p] = part_codes(records, rule->column[p], rule->prefix[p], &ncodes[p]);
	for (int32_t i = 0; i < records->nrecords; i++)
	{
		uint64_t	key = 0;
		int			p;

		for (p = 0; p < rule->nparts; p++)
		{
			int32_t		code = records->column[rule->column[p]].code[i];

			if (code == MATCH_NULL)
				break;
			if (codes[p] != NULL)
				code = codes[p][code];
			key = key * (uint64_t) ncodes[p] + (uint64_t) code;
		}
		if (p == rule->nparts)
		{
			keyed[count].key = mix(key);
			keyed[count++].record = i;
		}
	}
	for (int p = 0; p < rule->nparts; p++)
		kernel_release(&records->env, codes[p]);
	return count;
}

/* ---- set rules ---- */

/* Letters, digits and any byte of a multibyte character belong to words. */
static bool
is_word_byte(unsigned char c)
{
	return c >= 0x80 || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* The next word at or after *position: its place, its length in *token_length (0 at the end). */
size_t
match_next_token(const char *text, size_t length, size_t *position, size_t *token_length)
{
	size_t		at = *position;
	size_t		start;

	for (;;)
	{
		while (at < length && !is_word_byte((unsigned char) text[at]))
			at++;
		start = at;
		while (at < length && is_word_byte((unsigned char) text[at]))
			at++;
		if (at - start >= 2 || start >= length)
			break;
	}
	*position = at;
	*token_length = at - start;
	return start;
}

/* The next element of a text of several keys. */
static size_t
next_element(const char *text, size_t length, size_t *position, size_t *element_length)
{
	size_t		start = *position;
	size_t		at;

	if (start >= length)
	{
		*element_length = 0;
		return start;
	}
	for (at = start; at < length && text[at] != MATCH_SEPARATOR; at++)
		;
	*element_length = at - start;
	*position = at + 1;
	return start;
}

bool
match_next_key(const MatchRule *rule, const char *text, size_t length, size_t *position, size_t *start, size_t *key_length)
{
	do
	{
		*start = rule->kind == MATCH_RULE_TOKENS
			? match_next_token(text, length, position, key_length)
			: next_element(text, length, position, key_length);
	} while (*key_length == 0 && *position < length);
	return *key_length > 0;
}

typedef struct TokenList
{
	Keyed	   *keyed;
	size_t		count;
	size_t		room;
} TokenList;

/* Add the keys of one record's text. */
static void
add_tokens(const MatchRecords *records, const MatchRule *rule, int32_t record, int column, TokenList *list)
{
	const MatchColumn *values = &records->column[column];
	int32_t		code = values->code[record];
	size_t		position = 0;
	size_t		start;
	const char *text;
	size_t		length;
	size_t		token_length;

	if (code == MATCH_NULL)
		return;
	text = match_value(values, code);
	length = match_value_length(values, code);
	while (match_next_key(rule, text, length, &position, &start, &token_length))
	{
		if (list->count == list->room)
		{
			list->room *= 2;
			list->keyed = kernel_realloc_array(&records->env, list->keyed, Keyed, list->room);
		}
		list->keyed[list->count].key = match_hash(text + start, token_length);
		list->keyed[list->count++].record = record;
	}
}

/* All keys of all records under a set rule. */
static int32_t
collect_tokens(const MatchRecords *records, const MatchRule *rule, Keyed **keyed)
{
	TokenList	list = {NULL, 0, (size_t) records->nrecords + 16};

	list.keyed = kernel_alloc_array(&records->env, Keyed, list.room);
	for (int32_t i = 0; i < records->nrecords; i++)
	{
		for (int p = 0; p < rule->nparts; p++)
			add_tokens(records, rule, i, rule->column[p], &list);
		if (i % 65536 == 0)
			kernel_tick(&records->env, i, records->nrecords);
	}
	*keyed = list.keyed;
	return list.count < INT32_MAX ? (int32_t) list.count : INT32_MAX;
}

/* ---- blocks ---- */

/* Pairs of a block whose records ascend. */
static double
block_pairs(const MatchRecords *records, const int32_t *member, int32_t count)
{
	int32_t		left = 0;

	if (records->nleft == 0)
		return count * (count - 1.0) / 2;
	while (left < count && member[left] < records->nleft)
		left++;
	return (double) left * (count - left);
}

/*
 * A hash of what a record has as key of a key rule, from its texts: the same whatever their codes are. Before match_records_finish; after
 * it whole values have no hash any more.
 */
static uint64_t
key_print(const MatchRecords *records, const MatchRule *rule, int32_t record)
{
	uint64_t	print = 0;

	if (records->column[rule->column[0]].keys_only)
		return mix(records->column[rule->column[0]].key[record]);
	for (int p = 0; p < rule->nparts; p++)
	{
		const MatchColumn *column = &records->column[rule->column[p]];
		int32_t		code = column->code[record];
		uint64_t	hash = column->hash != NULL ? column->hash[code] : 0;

		if (rule->prefix[p] > 0)
			hash = match_hash(match_value(column, code),
							  match_prefix_bytes(records, match_value(column, code), match_value_length(column, code), rule->prefix[p]));
		print = mix(print + hash);
	}
	return print;
}

/* Note a block that is too large. */
static void
skip_block(const MatchRecords *records, MatchRule *rule, uint64_t key, const int32_t *member, int32_t count, double pairs)
{
	const KernelEnv *env = &records->env;

	rule->skipped_print += mix(rule->kind == MATCH_RULE_KEY ? key_print(records, rule, member[0]) : key);
	if ((rule->nskipped & (rule->nskipped - 1)) == 0)
	{
		int32_t		room = rule->nskipped == 0 ? 1 : rule->nskipped * 2;

		rule->skipped = kernel_realloc_array(env, rule->skipped, uint64_t, room);
		rule->skipped_block = kernel_realloc_array(env, rule->skipped_block, MatchSkipped, room);
	}
	rule->skipped[rule->nskipped] = key;
	rule->skipped_block[rule->nskipped].member = member[0];
	rule->skipped_block[rule->nskipped++].count = count;
	rule->skipped_blocks++;
	rule->skipped_pairs += pairs;
	if (count > rule->largest)
	{
		rule->largest = count;
		rule->largest_member = member[0];
	}
}

/* Sorted keys into blocks: only those that have a pair and are not too large are kept. A record counts once a block. */
static void
make_blocks(const MatchRecords *records, MatchRule *rule, const Keyed *keyed, int32_t count)
{
	const KernelEnv *env = &records->env;
	int32_t		used = 0;
	int32_t		room = 16;

	rule->member = kernel_alloc_array(env, int32_t, count);
	rule->start = kernel_alloc_array(env, int32_t, room + 1);
	for (int32_t from = 0, to; from < count; from = to)
	{
		int32_t		begin = used;
		double		pairs;

		for (to = from; to < count && keyed[to].key == keyed[from].key; to++)
		{
			if (used == begin || rule->member[used - 1] != keyed[to].record)
				rule->member[used++] = keyed[to].record;
		}
		pairs = block_pairs(records, rule->member + begin, used - begin);
		if (pairs == 0 || (rule->max_block > 0 && used - begin > rule->max_block))
		{
			if (pairs > 0)
				skip_block(records, rule, keyed[from].key, rule->member + begin, used - begin, pairs);
			used = begin;
			continue;
		}
		if (rule->nblocks == room)
		{
			room *= 2;
			rule->start = kernel_realloc_array(env, rule->start, int32_t, room + 1);
		}
		rule->start[rule->nblocks++] = begin;
		rule->pairs += pairs;
	}
	rule->start[rule->nblocks] = used;
	rule->member = kernel_realloc_array(env, rule->member, int32_t, used);
}

/* The blocks of each record, for set rules: ascending, since blocks are visited in order. */
static void
invert_blocks(const MatchRecords *records, MatchRule *rule)
{
	const KernelEnv *env = &records->env;
	int32_t		n = records->nrecords;
	int32_t		entries = rule->start[rule->nblocks];

	rule->first = kernel_alloc_array(env, int32_t, (size_t) n + 2);
	rule->block = kernel_alloc_array(env, int32_t, entries);
	memset(rule->first, 0, sizeof(int32_t) * ((size_t) n + 2));
	/* counts two places up, so that filling leaves each start in its own place */
	for (int32_t e = 0; e < entries; e++)
		rule->first[rule->member[e] + 2]++;
	for (int32_t i = 0; i < n; i++)
		rule->first[i + 2] += rule->first[i + 1];
	for (int32_t b = 0; b < rule->nblocks; b++)
	{
		for (int32_t e = rule->start[b]; e < rule->start[b + 1]; e++)
			rule->block[rule->first[rule->member[e] + 1]++] = b;
	}
}

/* Build one rule's blocks. */
static void
build_rule(MatchRecords *records, MatchRule *rule)
{
	Keyed	   *keyed;
	int32_t		count;

	rule->nblocks = 0;
	rule->first = NULL;
	rule->block = NULL;
	rule->pairs = 0;
	rule->skipped_blocks = 0;
	rule->skipped_pairs = 0;
	rule->largest = 0;
	rule->largest_member = -1;
	rule->skipped = NULL;
	rule->skipped_block = NULL;
	rule->nskipped = 0;
	rule->skipped_print = 0;
	if (rule->kind == MATCH_RULE_KEY)
	{
		keyed = kernel_alloc_array(&records->env, Keyed, records->nrecords);
		count = combine_parts(records, rule, keyed);
	}
	else
		count = collect_tokens(records, rule, &keyed);
	sort_keyed(&records->env, &keyed, count);
	make_blocks(records, rule, keyed, count);
	kernel_release(&records->env, keyed);
	if (rule->kind != MATCH_RULE_KEY)
		invert_blocks(records, rule);
}

int
match_rules_order(MatchRule *rule, int nrules)
{
	int			nkeys = 0;

	for (int r = 0; r < nrules; r++)
	{
		if (rule[r].kind == MATCH_RULE_KEY)
		{
			MatchRule	swap = rule[nkeys];

			rule[nkeys++] = rule[r];
			rule[r] = swap;
		}
	}
	return nkeys;
}

/*
 * Blocks of all rules. Set rules are moved behind the others (they cost more to look back at), so the rules' order may
 * change.
 */
void
match_rules_build(MatchRules *rules, MatchRecords *records, MatchRule *rule, int nrules)
{
	const KernelEnv *env = &records->env;

	rules->records = records;
	rules->nrules = nrules;
	rules->rule = rule;
	rules->nkeys = match_rules_order(rule, nrules);
	rules->key_of = kernel_alloc_array(env, int, nrules);
	for (int r = 0; r < nrules; r++)
	{
		build_rule(records, &rule[r]);
		rules->key_of[r] = r < rules->nkeys ? r : -1;
		kernel_tick(env, r + 1, nrules);
	}
	rules->key = kernel_alloc_array(env, int32_t, (size_t) rules->nkeys * records->nrecords);
	memset(rules->key, 0xFF, sizeof(int32_t) * (size_t) rules->nkeys * records->nrecords);
	for (int r = 0; r < rules->nkeys; r++)
	{
		for (int32_t b = 0; b < rule[r].nblocks; b++)
		{
			for (int32_t e = rule[r].start[b]; e < rule[r].start[b + 1]; e++)
				rules->key[(size_t) rule[r].member[e] * rules->nkeys + r] = b;
		}
	}
}

void
match_rules_free(MatchRules *rules)
{
	const KernelEnv *env = &rules->records->env;

	for (int r = 0; r < rules->nrules; r++)
	{
		kernel_release(env, rules->rule[r].start);
		kernel_release(env, rules->rule[r].member);
		kernel_release(env, rules->rule[r].first);
		kernel_release(env, rules->rule[r].block);
		kernel_release(env, rules->rule[r].skipped);
		kernel_release(env, rules->rule[r].skipped_block);
	}
	kernel_release(env, rules->key);
	kernel_release(env, rules->key_of);
}

/* The first block that both records have under a set rule, or MATCH_NO_BLOCK. */
static int32_t
common_block(const MatchRule *rule, int32_t a, int32_t b)
{
	int32_t		i = rule->first[a];
	int32_t		j = rule->first[b];

	while (i < rule->first[a + 1] && j < rule->first[b + 1])
	{
		if (rule->block[i] == rule->block[j])
			return rule->block[i];
		if (rule->block[i] < rule->block[j])
			i++;
		else
			j++;
	}
	return MATCH_NO_BLOCK;
}

bool
match_rule_agrees(const MatchRules *rules, int r, int32_t a, int32_t b)
{
	if (r < rules->nkeys)
	{
		int32_t		mine = rules->key[(size_t) a * rules->nkeys + r];

		return mine != MATCH_NO_BLOCK && mine == rules->key[(size_t) b * rules->nkeys + r];
	}
	return common_block(&rules->rule[r], a, b) != MATCH_NO_BLOCK;
}

/* Whether a rule before r has the pair: block numbers side by side, -1 never equal. */
static inline bool
agreed_before(const MatchRules *rules, int r, int32_t a, int32_t b)
{
	const int32_t *x = rules->key + (size_t) a * rules->nkeys;
	const int32_t *y = rules->key + (size_t) b * rules->nkeys;
	int			keys = r < rules->nkeys ? r : rules->nkeys;

	for (int k = 0; k < keys; k++)
	{
		if (x[k] == y[k] && x[k] != MATCH_NO_BLOCK)
			return true;
	}
	for (int k = rules->nkeys; k < r; k++)
	{
		if (common_block(&rules->rule[k], a, b) != MATCH_NO_BLOCK)
			return true;
	}
	return false;
}

bool
match_is_candidate(const MatchRules *rules, int32_t a, int32_t b)
{
	return agreed_before(rules, rules->nrules, a, b);
}

/* ---- walk ---- */

void
match_walk_start(MatchWalk *walk, const MatchRules *rules, int one_rule)
{
	walk->rules = rules;
	walk->alone = one_rule >= 0;
	walk->rule = one_rule >= 0 ? one_rule : 0;
	walk->last_rule = one_rule >= 0 ? one_rule + 1 : rules->nrules;
	walk->among = NULL;
	walk->block = 0;
	walk->i = 0;
	walk->j = 1;
}

/* Whether a block has a marked record. */
static bool
has_marked(const uint8_t *among, const int32_t *member, int32_t count)
{
	for (int32_t i = 0; i < count; i++)
	{
		if (among[member[i]])
			return true;
	}
	return false;
}

/* Whether the walk's rule is where the pair belongs. */
static inline bool
pair_belongs(const MatchWalk *walk, const MatchRule *rule, int32_t a, int32_t b)
{
	const MatchRecords *records = walk->rules->records;

	if (walk->among != NULL && !walk->among[a] && !walk->among[b])
		return false;
	if (records->nleft > 0 && (a >= records->nleft) == (b >= records->nleft))
		return false;
	if (!walk->alone && agreed_before(walk->rules, walk->rule, a, b))
		return false;
	return rule->first == NULL || common_block(rule, a, b) == walk->block;
}

int
match_walk_next(MatchWalk *walk, MatchPair *pairs, int room)
{
	int			n = 0;

	while (walk->rule < walk->last_rule)
	{
		const MatchRule *rule = &walk->rules->rule[walk->rule];

		while (walk->block < rule->nblocks)
		{
			const int32_t *member = rule->member + rule->start[walk->block];
			int32_t		count = rule->start[walk->block + 1] - rule->start[walk->block];

			if (walk->among != NULL && walk->i == 0 && walk->j == 1 && !has_marked(walk->among, member, count))
			{
				walk->block++;
				continue;
			}
			for (; walk->i < count - 1; walk->i++, walk->j = walk->i + 1)
			{
				/* two relations: the left's records come first, and only they are on the left side */
				if (walk->rules->records->nleft > 0 && member[walk->i] >= walk->rules->records->nleft)
					break;
				for (; walk->j < count; walk->j++)
				{
					if (!pair_belongs(walk, rule, member[walk->i], member[walk->j]))
						continue;
					if (n == room)
						return n;
					pairs[n].a = member[walk->i];
					pairs[n++].b = member[walk->j];
				}
			}
			walk->block++;
			walk->i = 0;
			walk->j = 1;
		}
		walk->rule++;
		walk->block = 0;
	}
	return n;
}

double
match_rules_pairs(const MatchRules *rules)
{
	double		pairs = 0;

	for (int r = 0; r < rules->nrules; r++)
		pairs += rules->rule[r].pairs;
	return pairs;
}
