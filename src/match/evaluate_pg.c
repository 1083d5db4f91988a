/*
 * evaluate_pg.c
 *		evaluate_matcher: what a trained matcher finds, held against a truth that a query of the user's gives.
 *
 * The truth is a list of pairs or of (key, cluster) rows; which one, the query's column names say, or else its content: a
 * second column all of whose values are keys makes pairs.
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

PG_FUNCTION_INFO_V1(salesops_evaluate_matcher);

#define UNKNOWN (-1)

typedef enum TruthKind
{
	TRUTH_BY_CONTENT,
	TRUTH_PAIRS,
	TRUTH_CLUSTERS
} TruthKind;

/* The truth's rows, both columns interned */
typedef struct Truth
{
	TruthKind	kind;
	MatchRecords rows;
	MatchRecords keys;			/* column 0: keys of the left or only relation; 1: of the right one */
	int32	   *record_of[2];	/* code in keys -> record */
	/* TRUTH_PAIRS: sorted, distinct; TRUTH_CLUSTERS: cluster of each record */
	uint64	   *pair;
	size_t		npairs;
	int32	   *cluster;
	double		matches;		/* true pairs in all */
	FmgrInfo	output[2];
	int64		unknown_keys;
} Truth;

/* Names that speak for one form or the other. */
static TruthKind
kind_of_names(const char *one, const char *two)
{
	static const char *const pairs[][2] = {
		{"left_key", "right_key"}, {"left", "right"}, {"left_id", "right_id"}, {"key_l", "key_r"}, {"id_l", "id_r"},
		{"unique_id_l", "unique_id_r"}, {"key1", "key2"}, {"id1", "id2"}, {"a", "b"}, {"l", "r"},
	};
	static const char *const clusters[] = {"cluster", "cluster_id", "entity", "entity_id", "group_id", "label", "truth"};

	for (size_t i = 0; i < lengthof(pairs); i++)
	{
		if (strcmp(one, pairs[i][0]) == 0 && strcmp(two, pairs[i][1]) == 0)
			return TRUTH_PAIRS;
	}
	for (size_t i = 0; i < lengthof(clusters); i++)
	{
		if (strcmp(two, clusters[i]) == 0)
			return TRUTH_CLUSTERS;
	}
	return TRUTH_BY_CONTENT;
}

/* One row of the truth. */
static void
read_row(TupleTableSlot *slot, void *arg)
{
	Truth	   *truth = arg;
	int32		record = match_records_add(&truth->rows);

	for (int i = 0; i < 2; i++)
	{
		char	   *text;

		if (slot->tts_isnull[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("the truth has a NULL in row %d", record + 1),
					 errhint("Give rows of two values: left_key and right_key, or key and cluster_id.")));
		text = OutputFunctionCall(&truth->output[i], slot->tts_values[i]);
		match_records_set(&truth->rows, record, i, text, strlen(text));
		pfree(text);
	}
}

/* Run the truth's query with the caller's rights. */
static void
read_truth(Truth *truth, const char *query, const KernelEnv *env)
{
	SpiScope	scope;
	TupleDesc	desc;
	MemoryContext caller = CurrentMemoryContext;

	match_records_init(&truth->rows, 2, env);
	spi_open(&scope, SPI_AS_CALLER);
	MemoryContextSwitchTo(caller);
	desc = spi_describe(query);
	if (desc->natts != 2)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the truth's query returns %d columns instead of two", desc->natts),
				 errhint("Give a query of left_key and right_key, a row a true pair; or of key and cluster_id, a row a record.")));
	truth->kind = kind_of_names(NameStr(TupleDescAttr(desc, 0)->attname), NameStr(TupleDescAttr(desc, 1)->attname));
	for (int i = 0; i < 2; i++)
	{
		Oid			output;
		bool		varlena;

		getTypeOutputInfo(TupleDescAttr(desc, i)->atttypid, &output, &varlena);
		fmgr_info(output, &truth->output[i]);
	}
	spi_stream(query, 0, NULL, true, read_row, truth);
	spi_close(&scope);
}

/* Keys of the loaded records, by text. */
static void
index_keys(Truth *truth, const MatcherRecords *loaded)
{
	int32		nleft = loaded->records.nleft;

	match_records_init(&truth->keys, 2, &loaded->records.env);
	truth->record_of[0] = kernel_alloc_array(&loaded->records.env, int32, loaded->records.nrecords + 1);
	truth->record_of[1] = kernel_alloc_array(&loaded->records.env, int32, loaded->records.nrecords + 1);
	for (int32 i = 0; i < loaded->records.nrecords; i++)
	{
		const char *key = matcher_key(loaded, i);
		int			side = nleft > 0 && i >= nleft ? 1 : 0;
		int32		row = match_records_add(&truth->keys);

		match_records_set(&truth->keys, row, side, key, strlen(key));
		truth->record_of[side][truth->keys.column[side].code[row]] = i;
	}
}

/* The record of the truth's value, on one side; UNKNOWN where there is none. */
static int32
record_of_value(const Truth *truth, int column, int32 row, int side)
{
	const MatchColumn *values = &truth->rows.column[column];
	int32		value = values->code[row];
	int32		code = match_column_find(&truth->keys.column[side], match_value(values, value), match_value_length(values, value));

	return code == MATCH_NULL ? UNKNOWN : truth->record_of[side][code];
}

/* A pair as one number, the lower record first. */
static uint64
pair_number(int32 a, int32 b)
{
	return a < b ? (uint64) a << 32 | (uint32) b : (uint64) b << 32 | (uint32) a;
}

/* For qsort. */
static int
compare_pair_numbers(const void *a, const void *b)
{
	uint64		x = *(const uint64 *) a;
	uint64		y = *(const uint64 *) b;

	return (x > y) - (x < y);
}

/* The truth as sorted pairs of records. */
static void
make_pairs(Truth *truth, bool two)
{
	size_t		kept = 0;

	truth->pair = kernel_alloc_array(&truth->rows.env, uint64, truth->rows.nrecords + 1);
	for (int32 row = 0; row < truth->rows.nrecords; row++)
	{
		int32		a = record_of_value(truth, 0, row, 0);
		int32		b = record_of_value(truth, 1, row, two ? 1 : 0);

		if (a == UNKNOWN || b == UNKNOWN)
			truth->unknown_keys++;
		else if (a != b)
			truth->pair[truth->npairs++] = pair_number(a, b);
	}
	qsort(truth->pair, truth->npairs, sizeof(uint64), compare_pair_numbers);
	for (size_t i = 0; i < truth->npairs; i++)
	{
		if (kept == 0 || truth->pair[kept - 1] != truth->pair[i])
			truth->pair[kept++] = truth->pair[i];
	}
	truth->npairs = kept;
	truth->matches = kept;
}

/* The truth as a cluster of each record; records it does not name are alone. */
static void
make_clusters(Truth *truth, const MatchRecords *records)
{
	int32		nclusters = truth->rows.column[1].nvalues;
	double	   *left = kernel_alloc_array(&truth->rows.env, double, nclusters + 1);
	double	   *right = kernel_alloc_array(&truth->rows.env, double, nclusters + 1);

	memset(left, 0, sizeof(double) * nclusters);
	memset(right, 0, sizeof(double) * nclusters);
	truth->cluster = kernel_alloc_array(&truth->rows.env, int32, records->nrecords + 1);
	for (int32 i = 0; i < records->nrecords; i++)
		truth->cluster[i] = UNKNOWN;
	for (int32 row = 0; row < truth->rows.nrecords; row++)
	{
		int32		cluster = truth->rows.column[1].code[row];
		bool		found = false;

		for (int side = 0; side < (records->nleft > 0 ? 2 : 1); side++)
		{
			int32		record = record_of_value(truth, 0, row, side);

			if (record == UNKNOWN)
				continue;
			found = true;
			if (truth->cluster[record] != UNKNOWN && truth->cluster[record] != cluster)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("the truth puts key \"%s\" into two clusters", match_value(&truth->rows.column[0], truth->rows.column[0].code[row])),
						 errhint("Name the columns left_key and right_key if the rows are pairs; with two relations give pairs.")));
			if (truth->cluster[record] == UNKNOWN)
				(side == 0 ? left : right)[cluster] += 1;
			truth->cluster[record] = cluster;
		}
		truth->unknown_keys += !found;
	}
	for (int32 c = 0; c < nclusters; c++)
		truth->matches += records->nleft > 0 ? left[c] * right[c] : left[c] * (left[c] - 1) / 2;
}

/* Pairs where every value of the second column is a key too. */
static TruthKind
kind_of_content(const Truth *truth, bool two)
{
	for (int32 row = 0; row < truth->rows.nrecords; row++)
	{
		if (record_of_value(truth, 1, row, two ? 1 : 0) == UNKNOWN)
			return TRUTH_CLUSTERS;
	}
	return TRUTH_PAIRS;
}

/* Whether two records are the same in truth. */
static bool
is_true_pair(const Truth *truth, int32 a, int32 b)
{
	uint64		pair = pair_number(a, b);

	if (truth->cluster != NULL)
		return truth->cluster[a] != UNKNOWN && truth->cluster[a] == truth->cluster[b];
	return bsearch(&pair, truth->pair, truth->npairs, sizeof(uint64), compare_pair_numbers) != NULL;
}

/* Pairs within the found clusters, in all and true ones. Clusters are small: each is walked pair by pair. */
static void
count_cluster_pairs(MatcherRun *run, double threshold, const Truth *truth, double *found, double *positive)
{
	int32		count;
	int32	   *cluster = matcher_find_clusters(run, threshold, false, &count);
	int32		n = run->loaded.records.nrecords;
	int32		nleft = run->loaded.records.nleft;
	int32	   *next = kernel_alloc_array(&run->loaded.records.env, int32, n + 1);
	int32	   *head = kernel_alloc_array(&run->loaded.records.env, int32, count + 1);

	for (int32 c = 0; c < count; c++)
		head[c] = UNKNOWN;
	for (int32 i = n - 1; i >= 0; i--)
	{
		next[i] = head[cluster[i]];
		head[cluster[i]] = i;
	}
	for (int32 i = 0; i < n; i++)
	{
		for (int32 j = next[i]; j != UNKNOWN; j = next[j])
		{
			if (nleft > 0 && (i < nleft) == (j < nleft))
				continue;
			(*found)++;
			*positive += is_true_pair(truth, i, j);
		}
		CHECK_FOR_INTERRUPTS();
	}
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
	Truth		truth = {0};
	MatcherRun *run;
	double		found = 0;
	double		positive = 0;
	bool		two;

	require_probability(threshold, "threshold");
	if (strcmp(of, "pairs") != 0 && strcmp(of, "clusters") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot evaluate \"%s\"", of),
				 errhint("Give 'pairs' or 'clusters'.")));
	run = matcher_run_start(text_to_cstring(PG_GETARG_TEXT_PP(0)), "evaluate_matcher", 0, NULL);
	two = run->loaded.records.nleft > 0;
	read_truth(&truth, text_to_cstring(PG_GETARG_TEXT_PP(1)), &run->loaded.records.env);
	index_keys(&truth, &run->loaded);
	if (truth.kind == TRUTH_BY_CONTENT)
		truth.kind = kind_of_content(&truth, two);
	if (truth.kind == TRUTH_PAIRS)
		make_pairs(&truth, two);
	else
		make_clusters(&truth, &run->loaded.records);
	if (truth.unknown_keys > 0)
		ereport(NOTICE,
				(errmsg(INT64_FORMAT " rows of the truth name keys that matcher \"%s\" does not have; they are left out",
						truth.unknown_keys, run->matcher->name)));
	if (strcmp(of, "clusters") == 0)
		count_cluster_pairs(run, threshold, &truth, &found, &positive);
	else
	{
		MatcherPairs pairs;

		matcher_find_pairs(run, threshold, false, &pairs);
		for (size_t i = 0; i < pairs.count; i++)
			positive += is_true_pair(&truth, pairs.edge[i].a, pairs.edge[i].b);
		found = pairs.count;
	}
	MemoryContextSwitchTo(caller);
	matcher_run_end(run);
	PG_RETURN_DATUM(make_result(fcinfo, found, positive, truth.matches));
}
