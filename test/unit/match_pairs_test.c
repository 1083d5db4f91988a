/*
 * match_pairs_test.c
 *		Interning, blocking and the walk over candidate pairs, held against every pair tried by hand.
 */
#include "tap.h"

#include "match/pairs.h"

static uint64_t state = 7;

/* A small deterministic random number. */
static int
draw(int n)
{
	state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (int) ((state >> 33) % (uint64_t) n);
}

/* Set a cell from a C string. */
static void
set(MatchRecords *records, int32_t record, int column, const char *text)
{
	match_records_set(records, record, column, text, strlen(text));
}

/* Whether two short word lists share a word of two letters and more. */
static bool
share_word(const char *a, const char *b)
{
	char		copy[200];
	char	   *rest = NULL;

	snprintf(copy, sizeof(copy), "%s", a);
	for (char *word = strtok_r(copy, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest))
	{
		char		padded[220];
		char		wanted[220];

		snprintf(padded, sizeof(padded), " %s ", b);
		snprintf(wanted, sizeof(wanted), " %s ", word);
		if (strlen(word) >= 2 && strstr(padded, wanted) != NULL)
			return true;
	}
	return false;
}

/* Walk all rules: each candidate pair exactly once, and no other pair. */
static void
check_walk(int32_t nrecords, int32_t nleft, const char *name)
{
	KernelEnv	env = tap_env();
	MatchRecords records;
	MatchRules	rules;
	MatchRule	rule[3] = {
		{.kind = MATCH_RULE_TOKENS, .nparts = 2, .column = {2, 3}},
		{.kind = MATCH_RULE_KEY, .nparts = 1, .column = {0}, .prefix = {1}},
		{.kind = MATCH_RULE_KEY, .nparts = 2, .column = {0, 1}, .prefix = {0, 2}},
	};
	char	  **cell = calloc((size_t) nrecords * 4, sizeof(char *));
	int		   *seen = calloc((size_t) nrecords * nrecords, sizeof(int));
	MatchWalk	walk;
	MatchPair	pairs[7];
	int			n;
	bool		right = true;

	match_records_init(&records, 4, &env);
	for (int32_t i = 0; i < nrecords; i++)
	{
		match_records_add(&records);
		for (int c = 0; c < 4; c++)
		{
			char		text[100];

			if (draw(5) == 0)
				continue;
			if (c < 2)
				snprintf(text, sizeof(text), "%c%c%d", 'a' + draw(4), 'p' + draw(3), draw(30));
			else
				snprintf(text, sizeof(text), "w%d x%d y", draw(40), draw(40));
			cell[i * 4 + c] = strdup(text);
			set(&records, i, c, text);
		}
	}
	records.nleft = nleft;
	match_rules_build(&rules, &records, rule, 3);
	match_walk_start(&walk, &rules, -1);
	while ((n = match_walk_next(&walk, pairs, 7)) > 0)
	{
		for (int i = 0; i < n; i++)
			seen[pairs[i].a * nrecords + pairs[i].b]++;
	}
	for (int32_t a = 0; a < nrecords; a++)
	{
		for (int32_t b = 0; b < nrecords; b++)
		{
			char	  **x = cell + a * 4;
			char	  **y = cell + b * 4;
			bool		candidate = (x[0] && y[0] && x[0][0] == y[0][0]) ||
				(x[0] && y[0] && x[1] && y[1] && strcmp(x[0], y[0]) == 0 && strncmp(x[1], y[1], 2) == 0);

			for (int k = 2; k < 4; k++)
			{
				for (int l = 2; l < 4; l++)
					candidate = candidate || (x[k] && y[l] && share_word(x[k], y[l]));
			}
			if (a >= b || (nleft > 0 && (a >= nleft || b < nleft)))
				candidate = false;
			if (seen[a * nrecords + b] != (candidate ? 1 : 0))
				right = false;
		}
	}
	ok(right, "%s: each candidate pair once, and no other", name);
	for (int32_t i = 0; i < nrecords * 4; i++)
		free(cell[i]);
	free(cell);
	free(seen);
	match_rules_free(&rules);
	match_records_free(&records);
}

/* One block of everything is left out and counted, in columns of values and in columns of keys; returns the print of what is left out. */
static uint64_t
check_large_block(bool keys_only)
{
	KernelEnv	env = tap_env();
	MatchRecords records;
	MatchRules	rules;
	MatchRule	rule[2] = {
		{.kind = MATCH_RULE_KEY, .nparts = 1, .column = {0}, .max_block = 10},
		{.kind = MATCH_RULE_KEY, .nparts = 1, .column = {1}, .max_block = 10},
	};
	MatchWalk	walk;
	MatchPair	pairs[64];
	uint64_t	print;

	match_records_init(&records, 2, &env);
	records.column[0].keys_only = records.column[1].keys_only = keys_only;
	for (int32_t i = 0; i < 52; i++)
	{
		char		text[20];

		match_records_add(&records);
		/* the last two have no key */
		if (i >= 50)
			continue;
		match_records_put(&records, i, 0, "same", 4);
		snprintf(text, sizeof(text), "k%d", i / 2);
		match_records_put(&records, i, 1, text, strlen(text));
	}
	match_records_settle(&records);
	match_rules_build(&rules, &records, rule, 2);
	is_int(rule[0].skipped_blocks, 1, "the block of everything is skipped");
	is_int(rule[0].largest, 50, "its size is known");
	is_double(rule[0].skipped_pairs, 1225, 0, "and its pairs");
	match_walk_start(&walk, &rules, -1);
	is_int(match_walk_next(&walk, pairs, 64), 25, "another rule still finds the pairs in it");
	for (int i = 0; i < 25; i++)
	{
		if (pairs[i].a % 2 != 0 || pairs[i].b != pairs[i].a + 1)
			is_int(pairs[i].b, pairs[i].a + 1, "neighbours");
	}
	print = rule[0].skipped_print;
	match_rules_free(&rules);
	match_records_free(&records);
	return print;
}

/* Interning: equal texts share a code, counts add up, growth keeps all. */
static void
check_interning(void)
{
	KernelEnv	env = tap_env();
	MatchRecords records;
	bool		right = true;

	match_records_init(&records, 1, &env);
	for (int32_t i = 0; i < 5000; i++)
	{
		char		text[20];

		snprintf(text, sizeof(text), "value %d", i % 1000);
		match_records_set(&records, match_records_add(&records), 0, text, strlen(text));
	}
	is_int(records.column[0].nvalues, 1000, "distinct values");
	for (int32_t i = 0; i < 5000; i++)
		right = right && records.column[0].code[i] == i % 1000 && records.column[0].count[i % 1000] == 5;
	ok(right, "codes in the order of first appearance, five records each");
	is_int(match_column_find(&records.column[0], "value 77", 8), 77, "found again");
	is_int(match_column_find(&records.column[0], "value", 5), MATCH_NULL, "not found");
	is_string(match_value(&records.column[0], 999), "value 999", "text kept");
	match_records_free(&records);

	/* the same through cells in flight */
	match_records_init(&records, 1, &env);
	for (int32_t i = 0; i < 5000; i++)
	{
		char		text[80];

		snprintf(text, sizeof(text), i % 1000 == 3 ? "a value longer than what is kept in flight, to be looked up at once %d" : "value %d", i % 1000);
		match_records_put(&records, match_records_add(&records), 0, text, strlen(text));
	}
	match_records_settle(&records);
	is_int(records.column[0].nvalues, 1000, "distinct values through cells in flight");
	right = true;
	for (int32_t i = 0; i < 5000; i++)
		right = right && records.column[0].code[i] == i % 1000 && records.column[0].count[i % 1000] == 5;
	ok(right, "the same codes");
	is_int(match_column_find_hash(&records.column[0], match_hash("value 77", 8)), 77, "found by its hash");
	match_records_free(&records);
}

/* A column derived value by value is the one that records would have had. */
static void
check_derived(void)
{
	KernelEnv	env = tap_env();
	MatchRecords records;
	MatchRecords values;
	bool		right = true;

	/* column 0: texts, every seventh unknown; column 1: what becomes of them, set record by record */
	match_records_init(&records, 2, &env);
	for (int32_t i = 0; i < 3000; i++)
	{
		char		text[20];

		match_records_add(&records);
		if (i % 7 == 0)
			continue;
		snprintf(text, sizeof(text), "value %d", i * 37 % 500);
		match_records_set(&records, i, 0, text, strlen(text));
		snprintf(text, sizeof(text), "%d", i * 37 % 500 / 3);
		if (i * 37 % 500 % 5 != 0)
			match_records_set(&records, i, 1, text, strlen(text));
	}
	for (int round = 0; round < 2; round++)
	{
		/* as one more column, then in the place of its source */
		int			to = round == 0 ? 2 : 0;

		match_records_init(&values, 1, &env);
		for (int32_t v = 0; v < records.column[0].nvalues; v++)
		{
			int			number = atoi(match_value(&records.column[0], v) + strlen("value "));
			char		text[20];

			snprintf(text, sizeof(text), "%d", number / 3);
			match_records_add(&values);
			if (number % 5 != 0)
				match_records_set(&values, v, 0, text, strlen(text));
		}
		match_records_derive(&records, to, 0, &values);
		is_int(records.ncolumns, 3, "columns");
		is_int(records.column[to].nvalues, records.column[1].nvalues, "derived values");
		for (int32_t i = 0; i < records.nrecords; i++)
			right = right && records.column[to].code[i] == records.column[1].code[i];
		for (int32_t v = 0; v < records.column[1].nvalues; v++)
			right = right && records.column[to].count[v] == records.column[1].count[v] &&
				strcmp(match_value(&records.column[to], v), match_value(&records.column[1], v)) == 0 &&
				match_column_find(&records.column[to], match_value(&records.column[1], v), match_value_length(&records.column[1], v)) == v;
		ok(right, round == 0 ? "one more column as if it had been set" : "and in its source's place");
	}
	/* it takes records as any other column does */
	match_records_add(&records);
	match_records_set(&records, 3000, 2, "new", 3);
	is_string(match_value(&records.column[2], records.column[2].code[3000]), "new", "a derived column grows");
	match_records_free(&records);
}

int
main(void)
{
	check_interning();
	check_derived();
	check_walk(120, 0, "one relation");
	check_walk(120, 50, "two relations");
	check_walk(2, 0, "two records");
	check_walk(1, 0, "one record");
	check_walk(0, 0, "no record");
	ok(check_large_block(false) == check_large_block(true), "columns of keys and of values leave out the same");
	return done_testing();
}
