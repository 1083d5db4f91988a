/*
 * evaluate_pg.c
 *		evaluate_matcher: what a trained matcher finds, held against a truth that a query of the user's gives.
 *
 * The truth is a list of pairs or of (key, cluster) rows; which one, the query's column names say, or else its content: a
 * second column all of whose values are keys makes pairs. What is kept of the relation's keys is which of the truth's values are there,
 * so that the memory needed is the truth's and that of finding, which maintenance_work_mem bounds.
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

/* The truth's rows, both columns interned, and all its values as names */
typedef struct Truth
{
	TruthKind	kind;
	bool		two;			/* relations */
	MatchRecords rows;
	MatchRecords names;			/* column 0: every value of either column */
	int32	   *name_of[2];		/* code in a column of rows -> name */
	uint8	   *present[2];		/* of each name: whether it is a key of the left or only relation; of the right one */
	/* TRUTH_PAIRS: names, sorted, distinct; TRUTH_CLUSTERS: cluster of each name on either side */
	uint64	   *pair;
	size_t		npairs;
	int32	   *cluster[2];
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

/* All values of the truth as names, none of them known to be a key yet. */
static void
intern_names(Truth *truth)
{
	const KernelEnv *env = &truth->rows.env;
	MatchColumn *names;

	match_records_init(&truth->names, 1, env);
	for (int c = 0; c < 2; c++)
	{
		const MatchColumn *values = &truth->rows.column[c];

		truth->name_of[c] = kernel_alloc_array(env, int32, values->nvalues + 1);
		for (int32 v = 0; v < values->nvalues; v++)
		{
			int32		row = match_records_add(&truth->names);

			match_records_set(&truth->names, row, 0, match_value(values, v), match_value_length(values, v));
			truth->name_of[c][v] = truth->names.column[0].code[row];
		}
	}
	names = &truth->names.column[0];
	for (int side = 0; side < 2; side++)
	{
		truth->present[side] = kernel_alloc_array(env, uint8, names->nvalues + 1);
		memset(truth->present[side], 0, names->nvalues + 1);
	}
}

/* A key of the relation. */
static void
note_key(const char *key, size_t length, bool right, void *arg)
{
	Truth	   *truth = arg;
	int32		name = match_column_find(&truth->names.column[0], key, length);

	if (name != MATCH_NULL)
		truth->present[right ? 1 : 0][name] = 1;
}

/* The name of a row's value where that is a key on one side; UNKNOWN where it is none. */
static int32
name_of_value(const Truth *truth, int column, int32 row, int side)
{
	int32		name = truth->name_of[column][truth->rows.column[column].code[row]];

	return truth->present[side][name] ? name : UNKNOWN;
}

/* A pair as one number: of one relation the lower name first, of two the left one. */
static uint64
pair_number(const Truth *truth, int32 a, int32 b)
{
	return truth->two || a < b ? (uint64) a << 32 | (uint32) b : (uint64) b << 32 | (uint32) a;
}

/* For qsort. */
static int
compare_pair_numbers(const void *a, const void *b)
{
	uint64		x = *(const uint64 *) a;
	uint64		y = *(const uint64 *) b;

	return (x > y) - (x < y);
}

/* The truth as sorted pairs of names. */
static void
make_pairs(Truth *truth)
{
	size_t		kept = 0;

	truth->pair = kernel_alloc_array(&truth->rows.env, uint64, truth->rows.nrecords + 1);
	for (int32 row = 0; row < truth->rows.nrecords; row++)
	{
		int32		a = name_of_value(truth, 0, row, 0);
		int32		b = name_of_value(truth, 1, row, truth->two ? 1 : 0);

		if (a == UNKNOWN || b == UNKNOWN)
			truth->unknown_keys++;
		else if (truth->two || a != b)
			truth->pair[truth->npairs++] = pair_number(truth, a, b);
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

/* One row of a truth of clusters: the cluster of a key on each side that has it; counts keys by cluster. */
static void
put_into_cluster(Truth *truth, int32 row, double *const *count)
{
	int32		cluster = truth->rows.column[1].code[row];
	bool		found = false;

	for (int side = 0; side < (truth->two ? 2 : 1); side++)
	{
		int32		name = name_of_value(truth, 0, row, side);

		if (name == UNKNOWN)
			continue;
		found = true;
		if (truth->cluster[side][name] != UNKNOWN && truth->cluster[side][name] != cluster)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("the truth puts key \"%s\" into two clusters", match_value(&truth->rows.column[0], truth->rows.column[0].code[row])),
					 errhint("Name the columns left_key and right_key if the rows are pairs; with two relations give pairs.")));
		if (truth->cluster[side][name] == UNKNOWN)
			count[side][cluster] += 1;
		truth->cluster[side][name] = cluster;
	}
	truth->unknown_keys += !found;
}

/* The truth as a cluster of each name; keys it does not name are alone. */
static void
make_clusters(Truth *truth)
{
	const KernelEnv *env = &truth->rows.env;
	int32		nclusters = truth->rows.column[1].nvalues;
	int32		nnames = truth->names.column[0].nvalues;
	double	   *count[2];

	for (int side = 0; side < 2; side++)
	{
		count[side] = kernel_alloc_array(env, double, nclusters + 1);
		memset(count[side], 0, sizeof(double) * nclusters);
		truth->cluster[side] = kernel_alloc_array(env, int32, nnames + 1);
		for (int32 i = 0; i < nnames; i++)
			truth->cluster[side][i] = UNKNOWN;
	}
	for (int32 row = 0; row < truth->rows.nrecords; row++)
		put_into_cluster(truth, row, count);
	for (int32 c = 0; c < nclusters; c++)
		truth->matches += truth->two ? count[0][c] * count[1][c] : count[0][c] * (count[0][c] - 1) / 2;
}

/* Pairs where every value of the second column is a key too. */
static TruthKind
kind_of_content(const Truth *truth)
{
	for (int32 row = 0; row < truth->rows.nrecords; row++)
	{
		if (name_of_value(truth, 1, row, truth->two ? 1 : 0) == UNKNOWN)
			return TRUTH_CLUSTERS;
	}
	return TRUTH_PAIRS;
}

/* The names of the loaded records; UNKNOWN where the truth does not have them. */
static int32 *
record_names(const Truth *truth, const MatcherRecords *loaded)
{
	int32	   *name = kernel_alloc_array(&truth->rows.env, int32, loaded->records.nrecords + 1);

	for (int32 i = 0; i < loaded->records.nrecords; i++)
	{
		const char *key = matcher_key(loaded, i);
		int32		code = match_column_find(&truth->names.column[0], key, strlen(key));

		name[i] = code == MATCH_NULL ? UNKNOWN : code;
	}
	return name;
}

/* Whether two records, known by their names, are the same in truth; of two relations a is the left one. */
static bool
is_true_pair(const Truth *truth, int32 a, int32 b)
{
	uint64		pair;

	if (a == UNKNOWN || b == UNKNOWN)
		return false;
	if (truth->kind == TRUTH_CLUSTERS)
		return truth->cluster[0][a] != UNKNOWN && truth->cluster[0][a] == truth->cluster[truth->two ? 1 : 0][b];
	pair = pair_number(truth, a, b);
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
	int32	   *name = record_names(truth, &run->loaded);
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
			*positive += is_true_pair(truth, name[i], name[j]);
		}
		CHECK_FOR_INTERRUPTS();
	}
}

/* The pairs found, in all and true ones. */
static void
count_pairs(MatcherRun *run, double threshold, const Truth *truth, double *found, double *positive)
{
	MatcherPairs pairs;
	int32	   *name;

	matcher_find_pairs(run, threshold, false, &pairs);
	name = record_names(truth, &run->loaded);
	for (size_t i = 0; i < pairs.count; i++)
		*positive += is_true_pair(truth, name[pairs.edge[i].a], name[pairs.edge[i].b]);
	*found = pairs.count;
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
	KernelEnv	env;

	require_probability(threshold, "threshold");
	if (strcmp(of, "pairs") != 0 && strcmp(of, "clusters") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot evaluate \"%s\"", of),
				 errhint("Give 'pairs' or 'clusters'.")));
	run = matcher_run_start_bounded(text_to_cstring(PG_GETARG_TEXT_PP(0)), "evaluate_matcher", false);
	env = kernel_env_pg(CurrentMemoryContext);
	truth.two = OidIsValid(run->matcher->right_relid);
	read_truth(&truth, text_to_cstring(PG_GETARG_TEXT_PP(1)), &env);
	intern_names(&truth);
	matcher_each_key(run, note_key, &truth);
	if (truth.kind == TRUTH_BY_CONTENT)
		truth.kind = kind_of_content(&truth);
	if (truth.kind == TRUTH_PAIRS)
		make_pairs(&truth);
	else
		make_clusters(&truth);
	if (truth.unknown_keys > 0)
		ereport(NOTICE,
				(errmsg(INT64_FORMAT " rows of the truth name keys that matcher \"%s\" does not have; they are left out",
						truth.unknown_keys, run->matcher->name)));
	if (strcmp(of, "clusters") == 0)
		count_cluster_pairs(run, threshold, &truth, &found, &positive);
	else
		count_pairs(run, threshold, &truth, &found, &positive);
	MemoryContextSwitchTo(caller);
	matcher_run_end(run);
	PG_RETURN_DATUM(make_result(fcinfo, found, positive, truth.matches));
}
