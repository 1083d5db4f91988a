/*
 * evaluate_pg.c
 *		evaluate_matcher: what a trained matcher finds, held against a truth that a query of the user's gives.
 *
 * What the truth says and how it is held is truth_pg.c's. Pairs that a truth lists are looked for among those found; a truth of clusters is
 * asked about each pair found.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "core/errors.h"
#include "core/kernel_pg.h"
#include "core/progress.h"
#include "match/matcher_pg.h"
#include "match/truth_pg.h"

PG_FUNCTION_INFO_V1(salesops_evaluate_matcher);

#define LAST (-1)				/* member of a cluster */

/* ---- pairs that were found ---- */

/* A pair of records as one number: of one relation the lower record first, of two the left one, which is the lower. */
static uint64
pair_number(int32 a, int32 b)
{
	return a < b ? (uint64) a << 32 | (uint32) b : (uint64) b << 32 | (uint32) a;
}

/* For qsort and bsearch. */
static int
compare_pair_numbers(const void *a, const void *b)
{
	uint64		x = *(const uint64 *) a;
	uint64		y = *(const uint64 *) b;

	return (x > y) - (x < y);
}

typedef struct FoundPairs
{
	uint64	   *pair;			/* ascending */
	size_t		count;
} FoundPairs;

/* Whether two records are a pair that was found. */
static bool
is_found(int32 a, int32 b, void *arg)
{
	const FoundPairs *found = arg;
	uint64		pair = pair_number(a, b);

	return bsearch(&pair, found->pair, found->count, sizeof(uint64), compare_pair_numbers) != NULL;
}

/* The pairs found, in all and true ones; returns the truth's. */
static double
count_pairs(MatcherRun *run, double threshold, Truth *truth, double *found, double *positive)
{
	MatcherPairs pairs;
	FoundPairs	numbers;

	matcher_find_pairs(run, threshold, false, &pairs);
	truth_meet_records(truth, &run->loaded);
	numbers.count = pairs.count;
	numbers.pair = kernel_alloc_array(&run->loaded.records.env, uint64, pairs.count + 1);
	for (size_t i = 0; i < pairs.count; i++)
	{
		numbers.pair[i] = pair_number(pairs.edge[i].a, pairs.edge[i].b);
		if (!truth_lists_pairs(truth))
			*positive += truth_same_cluster(truth, pairs.edge[i].a, pairs.edge[i].b);
	}
	qsort(numbers.pair, numbers.count, sizeof(uint64), compare_pair_numbers);
	*found = pairs.count;
	return truth_matches(truth, is_found, &numbers, positive);
}

/* ---- clusters that were found ---- */

/* Whether two records are in one cluster. */
static bool
is_together(int32 a, int32 b, void *arg)
{
	const int32 *cluster = arg;

	return cluster[a] == cluster[b];
}

/* Pairs within the found clusters, in all and true ones; returns the truth's. Clusters are small: each is walked pair by pair. */
static double
count_cluster_pairs(MatcherRun *run, double threshold, Truth *truth, double *found, double *positive)
{
	int32		count;
	int32	   *cluster = matcher_find_clusters(run, threshold, false, &count);
	int32		n = run->loaded.records.nrecords;
	int32		nleft = run->loaded.records.nleft;
	int32	   *next = kernel_alloc_array(&run->loaded.records.env, int32, n + 1);
	int32	   *head = kernel_alloc_array(&run->loaded.records.env, int32, count + 1);

	truth_meet_records(truth, &run->loaded);
	for (int32 c = 0; c < count; c++)
		head[c] = LAST;
	for (int32 i = n - 1; i >= 0; i--)
	{
		next[i] = head[cluster[i]];
		head[cluster[i]] = i;
	}
	for (int32 i = 0; i < n; i++)
	{
		for (int32 j = next[i]; j != LAST; j = next[j])
		{
			if (nleft > 0 && (i < nleft) == (j < nleft))
				continue;
			(*found)++;
			if (!truth_lists_pairs(truth))
				*positive += truth_same_cluster(truth, i, j);
		}
		CHECK_FOR_INTERRUPTS();
	}
	return truth_matches(truth, is_together, cluster, positive);
}

/* The result row. */
static Datum
make_result(FunctionCallInfo fcinfo, double found, double positive, double truth)
{
	TupleDesc	desc;
	Datum		values[7];
	bool		nulls[7] = {0};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = Int64GetDatum((int64) found);
	values[1] = Int64GetDatum((int64) positive);
	values[2] = Int64GetDatum((int64) (found - positive));
	values[3] = Int64GetDatum((int64) (truth - positive));
	nulls[4] = found == 0;
	nulls[5] = truth == 0;
	nulls[6] = found + truth == 0;
	values[4] = Float8GetDatum(found > 0 ? positive / found : 0);
	values[5] = Float8GetDatum(truth > 0 ? positive / truth : 0);
	values[6] = Float8GetDatum(found + truth > 0 ? 2 * positive / (found + truth) : 0);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

/*
 * evaluate_matcher(matcher text, truth text, threshold float8, of text) ->
 *   (pairs, true_positive, false_positive, false_negative bigint, precision, recall, f1 float8)
 *
 * Precision, recall and F1 over pairs of records; of = 'pairs' for find_duplicates, 'clusters' for all pairs inside the groups
 * of find_clusters. NULL where a denominator is 0.
 */
Datum
salesops_evaluate_matcher(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	double		threshold = PG_GETARG_FLOAT8(2);
	char	   *of = text_to_cstring(PG_GETARG_TEXT_PP(3));
	Truth	   *truth;
	MatcherRun *run;
	double		found = 0;
	double		positive = 0;
	double		matches;

	require_probability(threshold, "threshold");
	if (strcmp(of, "pairs") != 0 && strcmp(of, "clusters") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot evaluate \"%s\"", of),
				 errhint("Give 'pairs' or 'clusters'.")));
	run = matcher_run_start_bounded(text_to_cstring(PG_GETARG_TEXT_PP(0)), "evaluate_matcher", false);
	truth = truth_read(run, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	if (truth_unknown_keys(truth) > 0)
		ereport(NOTICE,
				(errmsg(INT64_FORMAT " rows of the truth name keys that matcher \"%s\" does not have; they are left out",
						truth_unknown_keys(truth), run->matcher->name)));
	if (strcmp(of, "clusters") == 0)
		matches = count_cluster_pairs(run, threshold, truth, &found, &positive);
	else
		matches = count_pairs(run, threshold, truth, &found, &positive);
	MemoryContextSwitchTo(caller);
	matcher_run_end(run);
	PG_RETURN_DATUM(make_result(fcinfo, found, positive, matches));
}
