/*
 * match_fuzz.c
 *		Any bytes as records, comparisons and blocking rules: no crash; each candidate pair once and exactly those that agree on a
 *		rule; levels in range and the same both ways; a fitted model of finite weights; early exit never loses a pair; clusters
 *		that are numbered without gaps.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "match/clusters.h"
#include "match/fit.h"

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MOST_RECORDS 48
#define MOST_COLUMNS 4
#define MOST_RULES 5

/* ---- memory: what an input allocates is freed at its end ---- */

typedef union Chunk
{
	struct
	{
		union Chunk *previous;
		union Chunk *next;
		size_t		size;
	}			head;
	max_align_t align;
} Chunk;

static Chunk *chunks;

static void *
fuzz_alloc(void *context, size_t size)
{
	Chunk	   *chunk = malloc(sizeof(Chunk) + size);

	(void) context;
	chunk->head.previous = NULL;
	chunk->head.next = chunks;
	chunk->head.size = size;
	if (chunks != NULL)
		chunks->head.previous = chunk;
	chunks = chunk;
	/* nothing may rest on zeroed memory */
	memset(chunk + 1, 0xA5, size);
	return chunk + 1;
}

static void
fuzz_release(void *context, void *pointer)
{
	Chunk	   *chunk = pointer == NULL ? NULL : (Chunk *) pointer - 1;

	(void) context;
	if (chunk == NULL)
		return;
	if (chunk->head.next != NULL)
		chunk->head.next->head.previous = chunk->head.previous;
	if (chunk->head.previous != NULL)
		chunk->head.previous->head.next = chunk->head.next;
	else
		chunks = chunk->head.next;
	free(chunk);
}

static void *
fuzz_realloc(void *context, void *pointer, size_t size)
{
	void	   *larger = fuzz_alloc(context, size);

	if (pointer != NULL)
	{
		size_t		had = ((Chunk *) pointer - 1)->head.size;

		memcpy(larger, pointer, had < size ? had : size);
		fuzz_release(context, pointer);
	}
	return larger;
}

static void
fuzz_tick(void *context, double done, double total)
{
	(void) context;
	(void) done;
	(void) total;
}

/* ---- definitions and records from bytes ---- */

typedef struct Input
{
	const uint8_t *data;
	size_t		size;
} Input;

/* The next byte, 0 at the end. */
static unsigned
take(Input *input)
{
	if (input->size == 0)
		return 0;
	input->size--;
	return *input->data++;
}

/* A value: text of few letters so that values meet, numbers, dates, several words, elements, or any bytes. */
static size_t
take_value(Input *input, char *text)
{
	static const char *const shapes[] = {"ab", "0123456789.-", "ab \x1f", "2026-01-28", "\xc3\xa9\xc3\xa8z"};
	unsigned	kind = take(input) % 8;
	size_t		length = take(input) % 12;

	if (kind == 7)
		length *= 9;
	for (size_t i = 0; i < length; i++)
		text[i] = kind < 5 ? shapes[kind][take(input) % strlen(shapes[kind])] : (char) take(input);
	if (kind == 3 && length > 4)
	{
		memcpy(text, "2026-01-1", 9);
		text[9] = (char) ('0' + take(input) % 10);
		length = 10;
	}
	return length;
}

/* Records of few columns, in one relation or two. */
static void
read_records(Input *input, MatchRecords *records)
{
	int			n = 2 + (int) (take(input) % (MOST_RECORDS - 1));
	unsigned	left = take(input);

	for (int i = 0; i < n; i++)
	{
		int32_t		record = match_records_add(records);

		for (int c = 0; c < records->ncolumns; c++)
		{
			char		text[160];
			size_t		length = take_value(input, text);

			if (length > 0)
				match_records_put(records, record, c, text, length);
		}
	}
	match_records_settle(records);
	records->nleft = left % 3 == 0 ? 1 + (int) left % (n - 1) : 0;
}

/* A comparison of any method, its thresholds as create_matcher sorts them. */
static void
read_comparison(Input *input, int ncolumns, MatchComparison *comparison)
{
	bool		distance;

	memset(comparison, 0, sizeof(*comparison));
	comparison->column = (int) take(input) % ncolumns;
	comparison->method = take(input) % (MATCH_DATE_DIFFERENCE + 1);
	comparison->term_frequency = take(input) % 2;
	comparison->swapped_with = -1;
	distance = comparison->method == MATCH_NUMERIC_DIFFERENCE || comparison->method == MATCH_DATE_DIFFERENCE ||
		((comparison->method == MATCH_LEVENSHTEIN || comparison->method == MATCH_DAMERAU_LEVENSHTEIN) && take(input) % 2);
	if (comparison->method == MATCH_EXACT)
		return;
	comparison->nthresholds = 1 + (int) take(input) % MATCH_MAX_THRESHOLDS;
	for (int t = 0; t < comparison->nthresholds; t++)
		comparison->threshold[t] = distance ? 1 + t * (1 + take(input) % 5) : 0.99 / (t + 1) - take(input) / 5000.0;
	for (int t = 1; t < comparison->nthresholds; t++)
	{
		if (distance ? comparison->threshold[t] < comparison->threshold[t - 1] : comparison->threshold[t] > comparison->threshold[t - 1])
			comparison->threshold[t] = comparison->threshold[t - 1];
	}
}

/* A rule of one of the three kinds. */
static void
read_rule(Input *input, int ncolumns, MatchRule *rule)
{
	memset(rule, 0, sizeof(*rule));
	rule->kind = take(input) % 3;
	rule->nparts = rule->kind == MATCH_RULE_ELEMENTS ? 1 : 1 + (int) take(input) % MATCH_MAX_PARTS;
	for (int p = 0; p < rule->nparts; p++)
	{
		rule->column[p] = (int) take(input) % ncolumns;
		rule->prefix[p] = rule->kind == MATCH_RULE_KEY ? (int) take(input) % 4 : 0;
	}
	rule->max_block = (int) take(input) % 3 == 0 ? 2 + (int) take(input) % 20 : 0;
	rule->report = true;
}

/* ---- what must hold ---- */

/* Levels in range, and the same whichever record comes first. */
static void
check_levels(const MatchRecords *records, const MatchComparison *comparisons, int count, TextWorkspace *workspace, int32_t a, int32_t b)
{
	uint64_t	one = match_pattern(records, comparisons, count, workspace, a, b);
	uint64_t	other = match_pattern(records, comparisons, count, workspace, b, a);

	if (one != other)
		abort();
	for (int c = 0; c < count; c++)
	{
		int			level = match_pattern_level(one, c);

		if (level < MATCH_NULL || level >= match_level_count(&comparisons[c]))
			abort();
	}
}

/* The walk gives each candidate pair once. */
static void
check_walk(const MatchRules *rules)
{
	static uint8_t seen[MOST_RECORDS + 2][MOST_RECORDS + 2];
	const MatchRecords *records = rules->records;
	MatchWalk	walk;
	MatchPair	pairs[7];
	int			n;

	memset(seen, 0, sizeof(seen));
	match_walk_start(&walk, rules, -1);
	while ((n = match_walk_next(&walk, pairs, 7)) > 0)
	{
		for (int i = 0; i < n; i++)
		{
			if (pairs[i].a >= pairs[i].b || pairs[i].b >= records->nrecords || seen[pairs[i].a][pairs[i].b]++)
				abort();
		}
	}
	for (int32_t a = 0; a < records->nrecords; a++)
	{
		for (int32_t b = a + 1; b < records->nrecords; b++)
		{
			bool		possible = records->nleft == 0 || (a < records->nleft && b >= records->nleft);

			if (seen[a][b] != (possible && match_is_candidate(rules, a, b)))
				abort();
		}
	}
}

/* log2 odds for the clustering. */
static double
odds(void *context, int32_t a, int32_t b)
{
	MatchScorer *scorer = context;

	return fmax((match_score(scorer, a, b) + scorer->prior) / MATCH_FIXED, MATCH_LEAST_ODDS);
}

/* Weights are finite, an early exit is right, clusters are numbered from 0 by their least record. */
static void
check_scores(const KernelEnv *env, MatchScorer *scorer, int32_t n)
{
	MatchEdge  *edges = kernel_alloc_array(env, MatchEdge, n * n + 1);
	int32_t    *cluster = kernel_alloc_array(env, int32_t, n);
	size_t		nedges = 0;
	int32_t		count;
	int32_t		next = 0;

	for (int32_t a = 0; a < n; a++)
	{
		for (int32_t b = a + 1; b < n; b++)
		{
			int64_t		weight = match_score(scorer, a, b);
			double		p = match_probability((weight + scorer->prior) / MATCH_FIXED);

			if (!(p >= 0 && p <= 1) || match_score_least(scorer, a, b, weight) != weight ||
				match_score_least(scorer, a, b, weight + 1) >= weight + 1)
				abort();
			if (p >= 0.5)
				edges[nedges++] = (MatchEdge) {a, b, (weight + scorer->prior) / MATCH_FIXED};
		}
	}
	count = match_cluster(env, n, edges, nedges, MATCH_CUT, odds, scorer, cluster);
	for (int32_t i = 0; i < n; i++)
	{
		if (cluster[i] < 0 || cluster[i] >= count || cluster[i] > next)
			abort();
		next += cluster[i] == next;
	}
	if (next != count)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	KernelEnv	env = {fuzz_alloc, fuzz_realloc, fuzz_release, fuzz_tick, NULL};
	Input		input = {data, size};
	MatchRecords records;
	MatchComparison comparison[MOST_COLUMNS];
	MatchRule	rule[MOST_RULES];
	MatchRules	rules;
	MatchModel	model;
	MatchScorer scorer;
	MatchFitOptions options = match_fit_defaults();
	TextWorkspace *workspace = fuzz_alloc(NULL, sizeof(TextWorkspace));
	int			ncolumns = 1 + (int) take(&input) % MOST_COLUMNS;
	int			ncomparisons = 1 + (int) take(&input) % MOST_COLUMNS;
	int			nrules = 1 + (int) take(&input) % MOST_RULES;

	memset(workspace, 0, sizeof(*workspace));
	workspace->env = &env;
	match_records_init(&records, ncolumns, &env);
	for (int c = 0; c < ncomparisons; c++)
		read_comparison(&input, ncolumns, &comparison[c]);
	for (int r = 0; r < nrules; r++)
		read_rule(&input, ncolumns, &rule[r]);
	read_records(&input, &records);
	match_comparisons_prepare(&records, comparison, ncomparisons, true);
	match_rules_build(&rules, &records, rule, nrules);
	check_walk(&rules);
	for (int32_t a = 0; a < records.nrecords; a++)
	{
		for (int32_t b = a + 1; b < records.nrecords; b++)
			check_levels(&records, comparison, ncomparisons, workspace, a, b);
	}
	options.random_pairs = 200;
	options.rounds = 3;
	match_fit(&records, comparison, ncomparisons, &rules, &options, &model);
	if (!(model.prior > 0 && model.prior < 1))
		abort();
	match_scorer_init(&scorer, &records, comparison, &model, workspace);
	check_scores(&env, &scorer, records.nrecords);
	while (chunks != NULL)
		fuzz_release(NULL, chunks + 1);
	return 0;
}
