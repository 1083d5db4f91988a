/*
 * refresh_pg.c
 *		rematch_keys: match_cluster brought up to date for some changed keys, to what a full run would find. What hangs together with them
 *		is found by indexes (near_pg.c); it is clustered and stored here. Where only a full run can tell, none is done: the answer is
 *		NULL, and refresh_matches() does it.
 *
 * It goes by what the last run has left: that the stored clusters were those of a full run before the keys changed. So it needs one of
 * the same definition, model and threshold, and an index for each rule.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "core/errors.h"
#include "core/relation.h"
#include "match/matcher_pg.h"

PG_FUNCTION_INFO_V1(salesops_rematch_keys);

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

/* Keys as an SQL array. */
static SpiArg
keys_arg(const char *const *keys, int count)
{
	SpiArray	array = {TEXTOID};

	for (int i = 0; i < count; i++)
		spi_array_add_text(&array, keys[i]);
	return spi_array(&array);
}

/* Whether every rule can be looked up. */
static bool
is_indexed(const MatcherCompiled *compiled)
{
	if (matcher_lanes_indexed(compiled->matcher, matcher_compiled_lanes(compiled)))
		return true;
	ereport(NOTICE,
			(errmsg("matcher \"%s\": all records are looked at, for not every blocking rule has an index", compiled->matcher->name),
			 errhint("SELECT * FROM salesops.index_matcher(%s);", quote_literal_cstr(compiled->matcher->name))));
	return false;
}

/* Count the changed keys; how many there have been in all, or -1 where no run of this signature has left anything to go by. */
static int64
count_changes(const char *matcher, const char *signature, int nkeys)
{
	SpiScope	scope;
	SpiArg		args[] = {spi_text(matcher), spi_int8(nkeys), spi_text(psprintf("%s ", signature))};
	int64		changes = -1;

	spi_open(&scope, SPI_AS_OWNER);
	if (spi_execute_kept(SPI_OK_UPDATE_RETURNING,
						 "UPDATE salesops.match_cluster_state AS s SET changes = s.changes + $2 "
						 "WHERE s.matcher = $1 AND starts_with(s.signature, $3) RETURNING s.changes", lengthof(args), args) > 0)
		changes = spi_get_int8(0, 1);
	spi_close(&scope);
	return changes;
}

/* ---- storing ---- */

/* Store the blocks that have become too large or are no longer. */
static void
store_blocks(const char *matcher, const MatcherNear *near)
{
	SpiScope	scope;
	SpiArg		args[4];
	SpiArray	rules = {INT8OID};
	SpiArray	again = {INT8OID};

	if (near->nblocks == 0)
		return;
	for (int i = 0; i < near->nblocks; i++)
	{
		spi_array_add(&rules, Int64GetDatum((int64) near->block_rule[i]));
		spi_array_add(&again, Int64GetDatum(near->block_again[i]));
	}
	args[0] = spi_text(matcher);
	args[1] = spi_array(&rules);
	args[2] = keys_arg(near->block_key, near->nblocks);
	args[3] = spi_array(&again);
	spi_open(&scope, SPI_AS_OWNER);
	spi_execute_kept(SPI_OK_DELETE, "DELETE FROM salesops.match_block b USING unnest($2, $3, $4) AS t (rule, key, again) "
					 "WHERE b.matcher = $1 AND b.rule = t.rule AND b.key = t.key AND t.again = 0", 4, args);
	spi_execute_kept(SPI_OK_INSERT, "INSERT INTO salesops.match_block AS b (matcher, rule, key, count_again) "
					 "SELECT $1, t.rule, t.key, t.again FROM unnest($2, $3, $4) AS t (rule, key, again) WHERE t.again > 0 "
					 "ON CONFLICT (matcher, rule, key) DO UPDATE SET count_again = excluded.count_again", 4, args);
	spi_close(&scope);
}

/* The next update_clusters looks at these again. */
static void
store_touched(const char *matcher, SpiArg scope_keys)
{
	SpiScope	scope;

	spi_open(&scope, SPI_AS_OWNER);
	spi_execute_kept(SPI_OK_INSERT, "INSERT INTO salesops.match_touched (matcher, key) SELECT $1, k FROM unnest($2) k ON CONFLICT DO NOTHING",
					 2, (SpiArg[]) {spi_text(matcher), scope_keys});
	spi_close(&scope);
}

/* The stored clusters of keys, and the groups that they are in now, numbered from 0 */
typedef struct StoredGroups
{
	MatchRecords keys;			/* one column: of all that are in scope */
	MatchRecords ids;			/* one column: cluster ids */
	int32	   *id;				/* of each key, or -1 */
} StoredGroups;

/* One stored row: key and cluster id. */
static void
note_stored(TupleTableSlot *slot, void *arg)
{
	StoredGroups *stored = arg;
	text	   *key = DatumGetTextPP(slot->tts_values[0]);
	text	   *id = DatumGetTextPP(slot->tts_values[1]);
	int32		record = match_records_add(&stored->ids);

	match_records_set(&stored->ids, record, 0, VARDATA_ANY(id), VARSIZE_ANY_EXHDR(id));
	stored->id[match_column_find(&stored->keys.column[0], VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key))] = stored->ids.column[0].code[record];
}

/* Whether the stored clusters of the keys in scope are these groups already, and no others. */
static bool
same_groups(const MatcherRun *run, const int32 *cluster, const int32 *member, int32 members, const MatcherNear *near, SpiArg scope_keys)
{
	StoredGroups stored;
	SpiScope	scope;
	MemoryContext caller = CurrentMemoryContext;
	uint64		rows;
	int32	   *id_of = palloc(sizeof(int32) * (run->loaded.records.nrecords + 1));
	int32	   *cluster_of;
	bool		same;

	match_records_init(&stored.keys, 1, &run->loaded.records.env);
	match_records_init(&stored.ids, 1, &run->loaded.records.env);
	stored.id = palloc(sizeof(int32) * (near->nkeys + 1));
	for (int i = 0; i < near->nkeys; i++)
	{
		match_records_set(&stored.keys, match_records_add(&stored.keys), 0, near->key[i], strlen(near->key[i]));
		stored.id[i] = -1;
	}
	spi_open(&scope, SPI_AS_OWNER);
	MemoryContextSwitchTo(caller);
	rows = spi_stream_kept("SELECT c.key, c.cluster_id FROM salesops.match_cluster c WHERE c.matcher = $1 AND c.key = ANY ($2)", 2,
						   (SpiArg[]) {spi_text(run->matcher->name), scope_keys}, false, note_stored, &stored);
	spi_close(&scope);
	MemoryContextSwitchTo(caller);
	same = rows == (uint64) members;
	cluster_of = palloc(sizeof(int32) * (rows + 1));
	memset(id_of, 0xFF, sizeof(int32) * run->loaded.records.nrecords);
	memset(cluster_of, 0xFF, sizeof(int32) * rows);
	for (int32 i = 0; i < members && same; i++)
	{
		const char *key = matcher_key(&run->loaded, member[i]);
		int32		id = stored.id[match_column_find(&stored.keys.column[0], key, strlen(key))];
		int32		number = cluster[member[i]];

		same = id >= 0 && (id_of[number] == -1 || id_of[number] == id) && (cluster_of[id] == -1 || cluster_of[id] == number);
		if (!same)
			break;
		id_of[number] = id;
		cluster_of[id] = number;
	}
	return same;
}

/* Store the groups; how many records changed their cluster. */
static int64
store_groups(const Matcher *matcher, SpiArg keys, SpiArg groups, int count, SpiArg scope_keys)
{
	SpiScope	scope;
	SpiArg		args[6] = {spi_text(matcher->name), keys, groups};
	SpiArray	sides = {BOOLOID};
	int64		changed;

	for (int i = 0; i < count; i++)
		spi_array_add(&sides, BoolGetDatum(false));
	args[3] = spi_array(&sides);
	args[4] = spi_text(contract_entity_of(matcher->relid));
	args[5] = scope_keys;
	spi_open(&scope, SPI_AS_OWNER);
	spi_execute(SPI_OK_SELECT, "SELECT coalesce(sum(s.records), 0)::int8 FROM salesops.store_clusters($1, $2, $3, $4, $5, $6) s", 6, args);
	changed = spi_get_int8(0, 1);
	spi_close(&scope);
	return changed;
}

/* ---- clustering ---- */

/* The pairs by the records of a run that has loaded their keys. */
static void
number_pairs(const MatcherRun *run, const MatcherNear *near, MatcherPairs *pairs)
{
	MatchRecords names;
	int32	   *record = palloc(sizeof(int32) * (near->nkeys + 1));

	memset(pairs, 0, sizeof(*pairs));
	match_records_init(&names, 1, &run->loaded.records.env);
	for (int i = 0; i < near->nkeys; i++)
		match_records_set(&names, match_records_add(&names), 0, near->key[i], strlen(near->key[i]));
	for (int32 i = 0; i < run->loaded.records.nrecords; i++)
		record[match_column_find(&names.column[0], matcher_key(&run->loaded, i), strlen(matcher_key(&run->loaded, i)))] = i;
	match_records_free(&names);
	for (size_t i = 0; i < near->pairs.count; i++)
		matcher_keep_pair(pairs, run->context, record[near->pairs.edge[i].a], record[near->pairs.edge[i].b], near->pairs.edge[i].log2_odds);
}

/* Cluster the records and store what they are in; how many changed their cluster. */
static int64
store_near(const MatcherCompiled *compiled, const MatcherNear *near, SpiArg scope_keys)
{
	MemoryContext caller = CurrentMemoryContext;
	MatcherRun *run = matcher_run_start_few(compiled, "refresh_matches", near->npresent, near->present);
	MatcherPairs pairs;
	int32	   *cluster;
	int32		count;
	int32	   *least;
	int32	   *member;
	int32		members;
	SpiArray	keys = {TEXTOID};
	SpiArray	groups = {INT4OID};
	int64		changed = 0;

	number_pairs(run, near, &pairs);
	matcher_settle_pairs(run, &pairs);
	run->components = true;
	cluster = matcher_cluster_pairs(run, &pairs, &count);
	member = matcher_grouped_members(run, cluster, count, &least, &members);
	for (int32 i = 0; i < members; i++)
	{
		spi_array_add_text(&keys, matcher_key(&run->loaded, member[i]));
		spi_array_add(&groups, Int32GetDatum(cluster[member[i]]));
	}
	if (!same_groups(run, cluster, member, members, near, scope_keys))
		changed = store_groups(run->matcher, spi_array(&keys), spi_array(&groups), members, scope_keys);
	matcher_leave_components(run, cluster, NULL, scope_keys);
	MemoryContextSwitchTo(caller);
	matcher_run_end(run);
	return changed;
}

/*
 * rematch_keys(matcher text, keys text[], threshold float8) -> bigint
 *
 * The caller holds lock_matcher(), and took the snapshot after it.
 */
Datum
salesops_rematch_keys(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(caller, "salesops refresh matches", ALLOCSET_DEFAULT_SIZES);
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	double		threshold = PG_GETARG_FLOAT8(2);
	int			nkeys;
	const char **keys = key_list(PG_GETARG_ARRAYTYPE_P(1), &nkeys);
	const MatcherCompiled *compiled;
	bool		decisions;
	int64		changes;
	int64		changed = 0;
	MatcherNear *near;
	int			nest;

	require_probability(threshold, "threshold");
	if (nkeys == 0)
		PG_RETURN_INT64(0);
	MemoryContextSwitchTo(context);
	/* kept plans are not made anew for each list of keys */
	nest = NewGUCNestLevel();
	(void) set_config_option("plan_cache_mode", "force_generic_plan", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	changes = count_changes(name, matcher_signature(name, threshold), nkeys);
	compiled = matcher_compiled(name, false, &decisions);
	if (changes < 0 || OidIsValid(compiled->matcher->right_relid) || !is_indexed(compiled))
		near = NULL;
	else
		near = matcher_near(compiled, threshold, changes, nkeys, keys);
	if (near != NULL)
	{
		SpiArg		scope_keys = keys_arg(near->key, near->nkeys);

		changed = store_near(compiled, near, scope_keys);
		store_blocks(name, near);
		store_touched(name, scope_keys);
	}
	AtEOXact_GUC(true, nest);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	if (near == NULL)
		PG_RETURN_NULL();
	PG_RETURN_INT64(changed);
}
