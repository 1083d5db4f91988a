/*
 * find_pg.c
 *		find_duplicates, find_clusters and explain_match: a trained matcher over the relation's present rows.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "core/errors.h"
#include "core/kernel_pg.h"
#include "core/progress.h"
#include "core/relation.h"
#include "match/matcher_pg.h"

PG_FUNCTION_INFO_V1(salesops_find_duplicates);
PG_FUNCTION_INFO_V1(salesops_find_clusters);
PG_FUNCTION_INFO_V1(salesops_explain_match);

#define BATCH 1024
#define PREFETCH 12				/* pairs ahead whose records are fetched from memory */

/* ---- a run ---- */

/* A run in a memory context of its own, which becomes the current one. */
static MatcherRun *
new_run(const char *name, const char *command)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "salesops matcher", ALLOCSET_DEFAULT_SIZES);
	MatcherRun *run;

	MemoryContextSwitchTo(context);
	run = palloc0(sizeof(MatcherRun));
	run->context = context;
	progress_start(command, name);
	return run;
}

/* What scoring needs beside the records, which are loaded. */
static void
ready_to_score(MatcherRun *run, MatchRules *rules, int32 terms, bool fingerprints)
{
	matcher_prepare(run->matcher, &run->loaded, rules);
	matcher_model_terms(run->matcher, &run->loaded.records, terms, &run->model);
	if (fingerprints)
	{
		run->fingerprint = matcher_fingerprints(&run->loaded);
		for (int r = 0; r < rules->nrules; r++)
			run->skipped = (run->skipped ^ rules->rule[r].skipped_print) * UINT64CONST(0x9E3779B97F4A7C15);
	}
	match_records_finish(&run->loaded.records);
	match_scorer_init(&run->scorer, &run->loaded.records, run->matcher->comparison, &run->model,
					  matcher_workspace(&run->loaded.records.env));
	run->decision = matcher_decisions(run->matcher, &run->loaded, &run->ndecisions);
}

MatcherRun *
matcher_run_start_few(const MatcherCompiled *compiled, const char *command, int nkeys, const char *const *keys)
{
	MatcherRun *run = new_run(compiled->matcher->name, command);

	run->matcher = palloc(sizeof(Matcher));
	*run->matcher = *compiled->matcher;
	run->model = compiled->model;
	matcher_records_load_keys(run->matcher, &run->loaded, nkeys, keys);
	ready_to_score(run, NULL, MATCHER_FEW_TERMS, false);
	return run;
}

MatcherRun *
matcher_run_start_bounded(const char *name, const char *command, bool fingerprints)
{
	MatcherRun *run = new_run(name, command);
	MemoryContext context = AllocSetContextCreate(run->context, "salesops matcher records", ALLOCSET_DEFAULT_SIZES);
	bool		fits;

	run->matcher = matcher_load(name);
	MemoryContextSwitchTo(context);
	fits = matcher_records_load_within(run->matcher, &run->loaded, (Size) (maintenance_work_mem * 1024.0 * MATCHER_LOADING_SHARE));
	if (fits)
	{
		matcher_model_tables(run->matcher, &run->model);
		ready_to_score(run, &run->rules, MATCHER_ALL_TERMS, fingerprints);
	}
	MemoryContextSwitchTo(run->context);
	if (fits)
		return run;
	MemoryContextDelete(context);
	ereport(DEBUG1,
			(errmsg("matcher \"%s\" goes through temporary files: its records exceed maintenance_work_mem", name)));
	run->spill = matcher_spill_start(run->matcher);
	return run;
}

/* Free everything; the caller has left the run's memory context. */
void
matcher_run_end(MatcherRun *run)
{
	progress_end();
	MemoryContextDelete(run->context);
}

void
matcher_each_key(const MatcherRun *run, MatcherKeyCallback each, void *arg)
{
	const MatchRecords *records = &run->loaded.records;

	if (run->spill != NULL)
	{
		matcher_spill_each_key(run->spill, each, arg);
		return;
	}
	for (int32 i = 0; i < records->nrecords; i++)
	{
		const char *key = matcher_key(&run->loaded, i);

		each(key, strlen(key), records->nleft > 0 && i >= records->nleft, arg);
	}
}

int64
matcher_least_weight(const MatcherRun *run, double threshold)
{
	if (threshold <= 0)
		return PG_INT64_MIN / 4;
	if (threshold >= 1)
		threshold = 1 - 1e-15;
	return (int64) ceil((log2(threshold / (1 - threshold)) - run->matcher->offset) / run->matcher->slope * MATCH_FIXED) -
		(run->spill != NULL ? matcher_spill_prior(run->spill) : run->scorer.prior);
}

/* Within one relation the lesser key is on the left. */
static void
order_ends(const MatcherRun *run, MatcherPairs *pairs)
{
	if (run->loaded.records.nleft > 0)
		return;
	for (size_t i = 0; i < pairs->count; i++)
	{
		MatchEdge  *edge = &pairs->edge[i];

		if (matcher_compare_keys(&run->loaded, edge->a, edge->b) > 0)
		{
			int32		t = edge->a;

			edge->a = edge->b;
			edge->b = t;
		}
	}
}

/* Best first, then by keys: the same data give the same rows in the same order. */
static int
compare_pairs(const void *a, const void *b, void *arg)
{
	const MatchEdge *x = a;
	const MatchEdge *y = b;
	const MatcherRecords *loaded = arg;
	int			order;

	if (x->log2_odds != y->log2_odds)
		return x->log2_odds > y->log2_odds ? -1 : 1;
	order = matcher_compare_keys(loaded, x->a, y->a);
	return order != 0 ? order : matcher_compare_keys(loaded, x->b, y->b);
}

/* Decided pairs: the rejected go, the confirmed come first, whether a rule made them candidates or not. */
static void
apply_decisions(MatcherRun *run, MatcherPairs *pairs)
{
	size_t		kept = 0;

	if (run->ndecisions == 0)
		return;
	for (size_t i = 0; i < pairs->count; i++)
	{
		if (matcher_decided(run, pairs->edge[i].a, pairs->edge[i].b) == NULL)
			pairs->edge[kept++] = pairs->edge[i];
	}
	pairs->count = kept;
	for (int i = 0; i < run->ndecisions; i++)
	{
		int32		a = (int32) (run->decision[i].pair >> 32);
		int32		b = (int32) (run->decision[i].pair & PG_UINT32_MAX);

		if (run->decision[i].confirmed && (run->among == NULL || run->among[a] || run->among[b]))
			matcher_keep_pair(pairs, run->context, a, b, MATCH_DECIDED_ODDS);
	}
}

void
matcher_settle_pairs(MatcherRun *run, MatcherPairs *pairs)
{
	apply_decisions(run, pairs);
	order_ends(run, pairs);
}

/* Score all candidate pairs of records in memory. */
static void
score_candidates(MatcherRun *run, int64 least, MatcherPairs *pairs)
{
	const KernelEnv *env = &run->loaded.records.env;
	double		total = match_rules_pairs(&run->rules);
	double		done = 0;
	MatchWalk	walk;
	MatchPair	batch[BATCH];
	int			n;

	memset(pairs, 0, sizeof(*pairs));
	progress_phase("scoring pairs", total);
	match_walk_start(&walk, &run->rules, -1);
	walk.among = run->among;
	while ((n = match_walk_next(&walk, batch, BATCH)) > 0)
	{
		for (int i = 0; i < n; i++)
		{
			int64		weight;

			if (i + PREFETCH < n)
				match_score_prefetch(&run->scorer, batch[i + PREFETCH].a, batch[i + PREFETCH].b);
			weight = match_score_least(&run->scorer, batch[i].a, batch[i].b, least);

			if (weight >= least)
				matcher_keep_pair(pairs, run->context, batch[i].a, batch[i].b, matcher_odds(run->matcher, &run->scorer, weight));
		}
		done += n;
		kernel_tick(env, done, total);
	}
}

/* The same through temporary files; then the records of the pairs are loaded. */
static void
spill_candidates(MatcherRun *run, int64 least, MatcherPairs *pairs)
{
	KernelEnv	env = kernel_env_pg(run->context);
	MatchRecords decided;

	matcher_spill_pairs(run->spill, least, pairs);
	matcher_decided_keys(run->matcher, &env, &decided);
	matcher_spill_finish(run->spill, &decided, pairs, &run->loaded);
	match_records_free(&decided);
	matcher_model_tables(run->matcher, &run->model);
	ready_to_score(run, NULL, MATCHER_ALL_TERMS, false);
}

void
matcher_find_pairs(MatcherRun *run, double threshold, bool report, MatcherPairs *pairs)
{
	MemoryContext caller = MemoryContextSwitchTo(run->context);

	if (run->spill != NULL)
		spill_candidates(run, matcher_least_weight(run, threshold), pairs);
	if (report)
		matcher_report_blocks(run->matcher, &run->loaded, run->spill != NULL ? matcher_spill_largest(run->spill) : NULL);
	if (run->spill == NULL)
		score_candidates(run, matcher_least_weight(run, threshold), pairs);
	matcher_settle_pairs(run, pairs);
	progress_phase("sorting", 0);
	qsort_arg(pairs->edge, pairs->count, sizeof(MatchEdge), compare_pairs, &run->loaded);
	if (run->matcher->options.one_to_one)
		pairs->count = match_one_to_one(&run->loaded.records.env, run->loaded.records.nrecords, pairs->edge, pairs->count);
	MemoryContextSwitchTo(caller);
}

/* ---- find_duplicates ---- */

/*
 * find_duplicates(matcher text, threshold float8) -> setof (left_key text, right_key text, weight float8, probability float8)
 *
 * Pairs of records that agree on a blocking rule and whose probability of being the same is at least the threshold, best
 * first. weight is log2 of the Bayes factor, without the prior.
 */
Datum
salesops_find_duplicates(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext caller = CurrentMemoryContext;
	double		threshold = PG_GETARG_FLOAT8(1);
	MatcherRun *run;
	MatcherPairs pairs;

	require_probability(threshold, "threshold");
	InitMaterializedSRF(fcinfo, 0);
	run = matcher_run_start_bounded(text_to_cstring(PG_GETARG_TEXT_PP(0)), "find_duplicates", false);
	matcher_find_pairs(run, threshold, true, &pairs);
	for (size_t i = 0; i < pairs.count; i++)
	{
		const MatchEdge *edge = &pairs.edge[i];
		Datum		values[4] = {
			CStringGetTextDatum(matcher_key(&run->loaded, edge->a)), CStringGetTextDatum(matcher_key(&run->loaded, edge->b)),
			Float8GetDatum(match_score(&run->scorer, edge->a, edge->b) / MATCH_FIXED), Float8GetDatum(match_probability(edge->log2_odds)),
		};
		bool		nulls[4] = {0};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
		pfree(DatumGetPointer(values[0]));
		pfree(DatumGetPointer(values[1]));
	}
	MemoryContextSwitchTo(caller);
	matcher_run_end(run);
	PG_RETURN_VOID();
}

/* ---- clusters ---- */

/* Records as the clustering sees them: numbered by their keys, so that ties do not fall by the order on disk. */
typedef struct ClusterRun
{
	MatcherRun *run;
	int32	   *rank;			/* of each record; those in no pair come last */
	int32	   *record;			/* of each rank */
} ClusterRun;

/* log2 odds of any two ranks, for the clustering. */
static double
pair_odds(void *context, int32_t x, int32_t y)
{
	const ClusterRun *ranked = context;
	const MatcherRun *run = ranked->run;
	int32		a = ranked->record[x];
	int32		b = ranked->record[y];

	if (run->ndecisions > 0)
	{
		const MatcherDecision *decision = matcher_decided(run, a, b);

		if (decision != NULL)
			return decision->confirmed ? MATCH_DECIDED_ODDS : -MATCH_DECIDED_ODDS;
	}
	return fmax(matcher_odds(run->matcher, &run->scorer, match_score(&run->scorer, a, b)), MATCH_LEAST_ODDS);
}

/* Left records before right ones, then by key, for qsort_arg over record numbers. */
static int
compare_by_key(const void *a, const void *b, void *arg)
{
	const MatcherRecords *loaded = arg;
	int32		x = *(const int32 *) a;
	int32		y = *(const int32 *) b;
	int32		nleft = loaded->records.nleft;

	if ((x < nleft) != (y < nleft))
		return x < nleft ? -1 : 1;
	return matcher_compare_keys(loaded, x, y);
}

/* Number the records of the pairs by their keys, and the pairs' ends so. */
static void
rank_records(ClusterRun *ranked, MatcherPairs *pairs)
{
	MatcherRecords *loaded = &ranked->run->loaded;
	const KernelEnv *env = &loaded->records.env;
	int32		n = loaded->records.nrecords;
	int32		count = 0;
	int32		last;

	ranked->rank = kernel_alloc_array(env, int32, n + 1);
	ranked->record = kernel_alloc_array(env, int32, n + 1);
	memset(ranked->rank, 0xFF, sizeof(int32) * n);
	for (size_t i = 0; i < pairs->count; i++)
		ranked->rank[pairs->edge[i].a] = ranked->rank[pairs->edge[i].b] = 0;
	for (int32 i = 0; i < n; i++)
	{
		if (ranked->rank[i] == 0)
			ranked->record[count++] = i;
	}
	qsort_arg(ranked->record, count, sizeof(int32), compare_by_key, loaded);
	last = count;
	for (int32 i = 0; i < n; i++)
	{
		if (ranked->rank[i] < 0)
			ranked->record[last++] = i;
	}
	for (int32 i = 0; i < n; i++)
		ranked->rank[ranked->record[i]] = i;
	for (size_t i = 0; i < pairs->count; i++)
	{
		pairs->edge[i].a = ranked->rank[pairs->edge[i].a];
		pairs->edge[i].b = ranked->rank[pairs->edge[i].b];
	}
}

int32 *
matcher_cluster_pairs(MatcherRun *run, MatcherPairs *pairs, int32 *count)
{
	const KernelEnv *env = &run->loaded.records.env;
	int32		n = run->loaded.records.nrecords;
	int32	   *by_rank;
	int32	   *cluster;
	ClusterRun	ranked = {run};

	if (run->components)
	{
		run->component = kernel_alloc_array(env, int32, n + 1);
		match_components(env, n, pairs->edge, pairs->count, run->component);
	}
	by_rank = kernel_alloc_array(env, int32, n + 1);
	cluster = kernel_alloc_array(env, int32, n + 1);
	progress_phase("clustering", 0);
	rank_records(&ranked, pairs);
	*count = match_cluster(env, n, pairs->edge, pairs->count, MATCH_CUT, pair_odds, &ranked, by_rank);
	for (int32 i = 0; i < n; i++)
		cluster[i] = by_rank[ranked.rank[i]];
	kernel_release(env, by_rank);
	kernel_release(env, ranked.rank);
	kernel_release(env, ranked.record);
	return cluster;
}

int32 *
matcher_find_clusters(MatcherRun *run, double threshold, bool report, int32 *count)
{
	MatcherPairs pairs;

	matcher_find_pairs(run, threshold, report, &pairs);
	return matcher_cluster_pairs(run, &pairs, count);
}

/* Records by cluster, then key. */
typedef struct ClusterOrder
{
	const MatcherRecords *loaded;
	const int32 *cluster;
	const int32 *least;			/* record with the least key of each cluster */
} ClusterOrder;

/* For qsort_arg over record numbers. */
static int
compare_members(const void *a, const void *b, void *arg)
{
	const ClusterOrder *order = arg;
	int32		x = *(const int32 *) a;
	int32		y = *(const int32 *) b;
	int32		lx = order->least[order->cluster[x]];
	int32		ly = order->least[order->cluster[y]];

	if (lx != ly)
		return matcher_compare_keys(order->loaded, lx, ly);
	return matcher_compare_keys(order->loaded, x, y);
}

int32 *
matcher_grouped_members(MatcherRun *run, const int32 *cluster, int32 count, int32 **least, int32 *members)
{
	int32		n = run->loaded.records.nrecords;
	const KernelEnv *env = &run->loaded.records.env;
	int32	   *size = kernel_alloc_array(env, int32, count + 1);
	int32	   *member = kernel_alloc_array(env, int32, n + 1);

	*least = kernel_alloc_array(env, int32, count + 1);
	*members = 0;
	memset(size, 0, sizeof(int32) * count);
	for (int32 i = 0; i < n; i++)
	{
		int32		c = cluster[i];

		if (size[c]++ == 0 || matcher_compare_keys(&run->loaded, i, (*least)[c]) < 0)
			(*least)[c] = i;
	}
	for (int32 i = 0; i < n; i++)
	{
		if (size[cluster[i]] > 1)
			member[(*members)++] = i;
	}
	qsort_arg(member, *members, sizeof(int32), compare_members, &(ClusterOrder) {&run->loaded, cluster, *least});
	return member;
}

/*
 * find_clusters(matcher text, threshold float8) -> setof (cluster_id text, key text)
 *
 * Groups of two records and more, each named by its least key. Pairs from the threshold up hold a group together; average
 * linkage then cuts it where the mean log2 odds between two parts is below -2.
 */
Datum
salesops_find_clusters(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext caller = CurrentMemoryContext;
	double		threshold = PG_GETARG_FLOAT8(1);
	MatcherRun *run;
	int32		count;
	int32	   *cluster;
	int32	   *least;
	int32	   *member;
	int32		members;

	require_probability(threshold, "threshold");
	InitMaterializedSRF(fcinfo, 0);
	run = matcher_run_start_bounded(text_to_cstring(PG_GETARG_TEXT_PP(0)), "find_clusters", false);
	cluster = matcher_find_clusters(run, threshold, true, &count);
	member = matcher_grouped_members(run, cluster, count, &least, &members);
	for (int32 i = 0; i < members; i++)
	{
		Datum		values[2] = {
			CStringGetTextDatum(matcher_key(&run->loaded, least[cluster[member[i]]])),
			CStringGetTextDatum(matcher_key(&run->loaded, member[i])),
		};
		bool		nulls[2] = {0};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	MemoryContextSwitchTo(caller);
	matcher_run_end(run);
	PG_RETURN_VOID();
}

/* ---- explain_match ---- */

/* The record of a key, within the left or the right relation's part; error where there is none. */
static int32
require_record(const Matcher *matcher, const MatcherRecords *loaded, const char *key, bool right)
{
	int32		from = right ? loaded->records.nleft : 0;
	int32		to = !right && OidIsValid(matcher->right_relid) ? loaded->records.nleft : loaded->records.nrecords;

	for (int32 i = from; i < to; i++)
	{
		if (strcmp(matcher_key(loaded, i), key) == 0)
			return i;
	}
	ereport(ERROR,
			(errcode(ERRCODE_NO_DATA_FOUND),
			 errmsg("matcher \"%s\": there is no record with key \"%s\" in %s", matcher->name, key,
					relation_sql_name(right && OidIsValid(matcher->right_relid) ? matcher->right_relid : matcher->relid))));
	return -1;
}

/* A record's value as text, or NULL. */
static Datum
value_datum(const MatchColumn *column, int32 record, bool *isnull)
{
	int32		code = column->code[record];

	*isnull = code == MATCH_NULL;
	return *isnull ? (Datum) 0 : CStringGetTextDatum(match_value(column, code));
}

/*
 * explain_match(matcher text, left_key text, right_key text) -> setof (comparison, left_value, right_value, level, m, u, weight)
 *
 * What each comparison says about a pair, strongest evidence first. u is the frequency of the common value where term
 * frequency counts. Where the model has a class of related pairs, a last row says what that takes off. The weights add up to the
 * pair's weight.
 */
Datum
salesops_explain_match(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(caller, "salesops explain match", ALLOCSET_DEFAULT_SIZES);
	const char *keys[2] = {text_to_cstring(PG_GETARG_TEXT_PP(1)), text_to_cstring(PG_GETARG_TEXT_PP(2))};
	Matcher    *matcher;
	MatcherRecords loaded;
	MatchModel	model;
	MatchScorer scorer;
	int32		a;
	int32		b;
	uint64		pattern;

	InitMaterializedSRF(fcinfo, 0);
	MemoryContextSwitchTo(context);
	matcher = matcher_load(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	for (int c = 0; c < matcher->ncolumns; c++)
		matcher->column[c].keep_text = true;
	matcher_records_load_keys(matcher, &loaded, 2, keys);
	a = require_record(matcher, &loaded, keys[0], false);
	b = require_record(matcher, &loaded, keys[1], true);
	match_comparisons_prepare(&loaded.records, matcher->comparison, matcher->ncomparisons, matcher_utf8());
	matcher_model(matcher, &loaded.records, &model);
	match_scorer_init(&scorer, &loaded.records, matcher->comparison, &model, matcher_workspace(&loaded.records.env));
	pattern = match_pattern(&loaded.records, matcher->comparison, matcher->ncomparisons, scorer.workspace, a, b);
	for (int c = 0; c < matcher->ncomparisons; c++)
	{
		const MatchColumn *column = &loaded.records.column[matcher->comparison[c].column];
		int			level = match_pattern_level(pattern, c);
		int			top = match_top_level(&matcher->comparison[c]);
		double		weight = match_weight(&scorer, c, level, column->code[a]) / MATCH_FIXED;
		Datum		values[7] = {CStringGetTextDatum(matcher->comparison_name[c])};
		bool		nulls[7] = {0};

		values[1] = value_datum(column, a, &nulls[1]);
		values[2] = value_datum(column, b, &nulls[2]);
		values[3] = Int32GetDatum(level);
		nulls[4] = nulls[5] = level < 0;
		values[4] = level < 0 ? (Datum) 0 : Float8GetDatum(model.tables.m[c][level]);
		values[5] = level < 0 ? (Datum) 0 :
			Float8GetDatum(level == top && model.frequency[c] != NULL ? model.frequency[c][column->code[a]] : model.tables.u[c][level]);
		values[6] = Float8GetDatum(weight);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	if (scorer.has_related)
	{
		Datum		values[7] = {CStringGetTextDatum(MATCHER_RELATED)};
		bool		nulls[7] = {false, true, true, true, true, true, false};

		values[6] = Float8GetDatum(match_related_weight(&scorer, pattern, a) / MATCH_FIXED);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	PG_RETURN_VOID();
}
