/*
 * refresh_pg.c
 *		cluster_keys: the clusters among some records only, for what brings match_cluster up to date key by key. Which records belong
 *		together for that is decided, and what is found is stored, in SQL (refresh_matches()).
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "core/errors.h"
#include "match/matcher_pg.h"

PG_FUNCTION_INFO_V1(salesops_cluster_keys);

/* The keys of a text[] without its NULLs. */
static const char **
key_list(ArrayType *array, int *count)
{
	Datum	   *elements;
	bool	   *nulls;
	int			n;
	const char **keys;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &n);
	keys = palloc(sizeof(char *) * (n + 1));
	*count = 0;
	for (int i = 0; i < n; i++)
		if (!nulls[i])
			keys[(*count)++] = TextDatumGetCString(elements[i]);
	return keys;
}

/* How many records each cluster has. */
static int32 *
cluster_sizes(const MatcherRun *run, const int32 *cluster, int32 count)
{
	int32	   *size = palloc0(sizeof(int32) * (count + 1));

	for (int32 i = 0; i < run->loaded.records.nrecords; i++)
		size[cluster[i]]++;
	return size;
}

/*
 * cluster_keys(matcher text, keys text[], threshold float8) -> setof (grp integer, key text)
 *
 * Groups of two and more among the records with these keys, as find_clusters would find them were these all there are.
 */
Datum
salesops_cluster_keys(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext caller = CurrentMemoryContext;
	double		threshold = PG_GETARG_FLOAT8(2);
	const char **keys;
	int			nkeys;
	MatcherRun *run;
	int32		count;
	int32	   *cluster;
	int32	   *size;

	require_probability(threshold, "threshold");
	InitMaterializedSRF(fcinfo, 0);
	keys = key_list(PG_GETARG_ARRAYTYPE_P(1), &nkeys);
	run = matcher_run_start(text_to_cstring(PG_GETARG_TEXT_PP(0)), "cluster_keys", nkeys, keys);
	cluster = matcher_find_clusters(run, threshold, false, &count);
	size = cluster_sizes(run, cluster, count);
	for (int32 i = 0; i < run->loaded.records.nrecords; i++)
	{
		Datum		values[2] = {Int32GetDatum(cluster[i]), CStringGetTextDatum(matcher_key(&run->loaded, i))};
		bool		nulls[2] = {0};

		if (size[cluster[i]] > 1)
			tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	MemoryContextSwitchTo(caller);
	matcher_run_end(run);
	PG_RETURN_VOID();
}
