/*
 * update_pg.c
 *		update_clusters: match_cluster brought up to the present rows. What the groups are is find_pg.c's, how they are stored under
 *		lasting ids is store_clusters() in SQL; here is what need not be looked at again.
 *
 * After each run salesops.match_cluster_state has a fingerprint of every record (its key, its values as they are compared, what people
 * decided of it) and the component it was in: the records that hang together by pairs of the threshold and more. A pair depends on
 * nothing but its two records and what all pairs have in common: the definition, the model, the threshold and which blocks are too
 * large. While the latter stay, and nobody else has written to match_cluster (a hash of its rows tells, refresh_matches() keeps it),
 * records whose fingerprint is there already have among themselves the pairs that they had. So only these
 * components can differ: those that a record was in that has changed or gone, and those that a changed or new record comes into. Pairs
 * with a record in them are scored, and only they are clustered and stored, as a full run would.
 *
 * Everything is looked at again where any of that has changed, where a fifth of the records have, where pairs are one to one (each
 * depends on all others), and where the records exceed maintenance_work_mem.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "core/relation.h"
#include "core/errors.h"
#include "core/kernel_pg.h"
#include "core/progress.h"
#include "match/matcher_pg.h"

PG_FUNCTION_INFO_V1(salesops_update_clusters);

#define STATE_MAGIC UINT64CONST(0x31307463756d7573)	/* also tells another byte order */
#define LARGEST_STATE ((Size) 1000000000)	/* bytes */
#define ALONE (-1)				/* no component: the record has no pair */
#define ABSENT (-1)
/* What match_cluster has of matcher $1, to tell whether something else has written there */
#define STORED_SQL \
	"(SELECT coalesce(pg_catalog.bit_xor(salesops.cluster_hash(c.key, c.right_side, c.cluster_id)), 0) FROM salesops.match_cluster c " \
	"WHERE c.matcher OPERATOR(pg_catalog.=) $1)"
#define SHARE_OF_CHANGES 5		/* beyond one in so many records everything is looked at */

/* What the last run left */
typedef struct ClusterState
{
	int32		nrecords;
	int32		ncomponents;
	const uint64 *fingerprint;
	const int32 *component;		/* from 0, or ALONE */
	MatchRecords touched;		/* one column: keys that refresh_matches has stored clusters of since */
	/* made here */
	uint32		nslots;			/* a power of two */
	int32	   *slot;			/* open addressing into fingerprint, ABSENT where free */
} ClusterState;

/* The records that are looked at again */
typedef struct ClusterRegion
{
	uint8	   *among;			/* of each record */
	int32	   *previous;		/* its place in the state, or ABSENT */
	int32		count;			/* records in it */
	bool		full;			/* everything; the state says nothing then */
	bool		unchanged;		/* nothing has happened */
	bool		lost;			/* records of the state have changed or gone */
} ClusterRegion;

/* ---- the state ---- */

/* What all pairs have in common, as a text that differs where any of it does. */
static char *
run_signature(const MatcherRun *run, double threshold)
{
	return psprintf("%s %016llx", matcher_signature(run->matcher->name, threshold), (unsigned long long) run->skipped);
}

/* Arrays inside a stored state; false where it is none of ours. */
static bool
read_state(bytea *stored, ClusterState *state)
{
	const char *at = VARDATA_ANY(stored);
	Size		size = VARSIZE_ANY_EXHDR(stored);
	uint64		head[2];

	if (size < sizeof(head))
		return false;
	memcpy(head, at, sizeof(head));
	if (head[0] != STATE_MAGIC || head[1] > PG_INT32_MAX || size != sizeof(head) + head[1] * (sizeof(uint64) + sizeof(int32)))
		return false;
	state->nrecords = (int32) head[1];
	state->fingerprint = memcpy(palloc_extended(sizeof(uint64) * (head[1] + 1), MCXT_ALLOC_HUGE), at + sizeof(head),
								sizeof(uint64) * head[1]);
	state->component = memcpy(palloc_extended(sizeof(int32) * (head[1] + 1), MCXT_ALLOC_HUGE),
							  at + sizeof(head) + sizeof(uint64) * head[1], sizeof(int32) * head[1]);
	for (int32 e = 0; e < state->nrecords; e++)
	{
		if (state->component[e] < ALONE || state->component[e] >= state->nrecords)
			return false;
		state->ncomponents = Max(state->ncomponents, state->component[e] + 1);
	}
	return true;
}

/* A key that refresh_matches has stored the cluster of. */
static void
note_touched(TupleTableSlot *slot, void *arg)
{
	MatchRecords *touched = arg;
	text	   *key = DatumGetTextPP(slot->tts_values[0]);

	match_records_set(touched, match_records_add(touched), 0, VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key));
}

/* The keys that refresh_matches has stored clusters of since. */
static void
read_touched(const MatcherRun *run, ClusterState *state)
{
	match_records_init(&state->touched, 1, &run->loaded.records.env);
	spi_stream_as_owner("SELECT t.key FROM salesops.match_touched t WHERE t.matcher OPERATOR(pg_catalog.=) $1", 1,
						(SpiArg[]) {spi_text(run->matcher->name)}, false, note_touched, &state->touched);
}

/* What a run under the same signature has left; NULL where there is nothing of the kind. */
static ClusterState *
load_state(const MatcherRun *run, const char *signature)
{
	ClusterState *state = palloc0(sizeof(ClusterState));
	SpiScope	scope;
	SpiArg		args[] = {spi_text(run->matcher->name), spi_text(signature)};
	MemoryContext caller = CurrentMemoryContext;
	bool		good = false;

	spi_open(&scope, SPI_AS_OWNER);
	if (spi_execute(SPI_OK_SELECT,
					"SELECT s.state FROM salesops.match_cluster_state s WHERE s.matcher OPERATOR(pg_catalog.=) $1 "
					"AND s.signature OPERATOR(pg_catalog.=) $2 AND s.state IS NOT NULL AND s.stored OPERATOR(pg_catalog.=) " STORED_SQL, 2, args) > 0)
	{
		bool		isnull;
		MemoryContext inner = MemoryContextSwitchTo(caller);

		good = read_state(DatumGetByteaPP(spi_get_datum(0, 1, &isnull)), state);
		MemoryContextSwitchTo(inner);
	}
	spi_close(&scope);
	if (good)
		read_touched(run, state);
	return good ? state : NULL;
}

/* Components of the records as they are now, numbered densely. */
static int32 *
number_components(const MatcherRun *run, const ClusterState *state, const ClusterRegion *region)
{
	int32		n = run->loaded.records.nrecords;
	int32	   *number = palloc_extended(sizeof(int32) * ((Size) n + 1), MCXT_ALLOC_HUGE);
	int32	   *of_root = palloc_extended(sizeof(int32) * ((Size) n + 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	int32	   *of_old = region->full ? NULL :
		palloc_extended(sizeof(int32) * ((Size) state->ncomponents + 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	int32		used = 0;

	/* sizes first, so that records without a pair have no number */
	for (int32 i = 0; i < n; i++)
		of_root[run->component[i]] -= region->full || region->among[i];
	for (int32 i = 0; i < n; i++)
	{
		int32	   *place;

		number[i] = ALONE;
		if (region->full || region->among[i])
		{
			place = &of_root[run->component[i]];
			if (*place == -1)
				continue;
		}
		else if (state->component[region->previous[i]] == ALONE)
			continue;
		else
			place = &of_old[state->component[region->previous[i]]];
		/* numbers from 1 while they are looked up: 0 and less are none yet */
		if (*place <= 0)
			*place = ++used;
		number[i] = *place - 1;
	}
	pfree(of_root);
	return number;
}

/* The state's stored form; NULL where there can be none. */
static bytea *
make_state(const MatcherRun *run, const ClusterState *state, const ClusterRegion *region)
{
	uint64		head[2] = {STATE_MAGIC, (uint64) run->loaded.records.nrecords};
	Size		size = VARHDRSZ + sizeof(head) + head[1] * (sizeof(uint64) + sizeof(int32));
	bytea	   *stored;
	char	   *at;

	if (run->spill != NULL || run->matcher->options.one_to_one || size > LARGEST_STATE)
		return NULL;
	stored = palloc(size);
	SET_VARSIZE(stored, size);
	at = VARDATA(stored);
	memcpy(at, head, sizeof(head));
	memcpy(at + sizeof(head), run->fingerprint, sizeof(uint64) * head[1]);
	memcpy(at + sizeof(head) + sizeof(uint64) * head[1], number_components(run, state, region), sizeof(int32) * head[1]);
	return stored;
}

/* Keep what the next run goes by. */
static void
save_state(const MatcherRun *run, const char *signature, const ClusterState *state, const ClusterRegion *region)
{
	bytea	   *stored = make_state(run, state, region);
	SpiScope	scope;
	SpiArg		args[] = {
		spi_text(run->matcher->name), spi_text(signature), spi_int4(run->loaded.records.nrecords), spi_int4(region->count),
		spi_datum(BYTEAOID, PointerGetDatum(stored), stored == NULL), spi_bool(region->full),
	};

	spi_open(&scope, SPI_AS_OWNER);
	spi_execute(SPI_OK_INSERT,
				"INSERT INTO salesops.match_cluster_state AS s (matcher, signature, records, looked_at, state, stored) "
				"VALUES ($1, $2, $3, $4, $5, CASE WHEN $6 AND $5 IS NOT NULL THEN " STORED_SQL " ELSE 0 END) "
				"ON CONFLICT (matcher) DO UPDATE SET signature = excluded.signature, records = excluded.records, "
				"looked_at = excluded.looked_at, state = excluded.state, updated_at = pg_catalog.now(), "
				"stored = CASE WHEN $6 THEN excluded.stored ELSE s.stored END",
				lengthof(args), args);
	spi_execute(SPI_OK_DELETE, "DELETE FROM salesops.match_touched t WHERE t.matcher OPERATOR(pg_catalog.=) $1", 1, args);
	spi_close(&scope);
}

/* The last run's state still holds; what it looked at is none. */
static void
note_nothing_looked_at(const MatcherRun *run)
{
	SpiScope	scope;

	spi_open(&scope, SPI_AS_OWNER);
	spi_execute(SPI_OK_UPDATE,
				"UPDATE salesops.match_cluster_state AS s SET looked_at = 0, updated_at = pg_catalog.now() "
				"WHERE s.matcher OPERATOR(pg_catalog.=) $1", 1, (SpiArg[]) {spi_text(run->matcher->name)});
	spi_close(&scope);
}

/* ---- what has changed ---- */

/* What people decided of a record belongs to it. */
static void
add_decisions(MatcherRun *run)
{
	for (int i = 0; i < run->ndecisions; i++)
	{
		const char *keys[2];
		int32		ends[2] = {(int32) (run->decision[i].pair >> 32), (int32) (run->decision[i].pair & PG_UINT32_MAX)};

		for (int e = 0; e < 2; e++)
			keys[e] = matcher_key(&run->loaded, ends[e]);
		for (int e = 0; e < 2; e++)
			run->fingerprint[ends[e]] += (match_hash(keys[1 - e], strlen(keys[1 - e])) | 1) * (run->decision[i].confirmed ? 3 : 5);
	}
}

/* Slots of the state's fingerprints. */
static void
index_state(ClusterState *state)
{
	state->nslots = 1024;
	while (state->nslots < (uint32) state->nrecords * 2)
		state->nslots *= 2;
	state->slot = palloc_extended(sizeof(int32) * (Size) state->nslots, MCXT_ALLOC_HUGE);
	memset(state->slot, 0xFF, sizeof(int32) * (Size) state->nslots);
	for (int32 e = 0; e < state->nrecords; e++)
	{
		uint32		at = (uint32) (state->fingerprint[e] >> 20);

		while (state->slot[at & (state->nslots - 1)] != ABSENT)
			at++;
		state->slot[at & (state->nslots - 1)] = e;
	}
}

/* The place of a fingerprint in the state, or ABSENT. */
static int32
find_in_state(const ClusterState *state, uint64 fingerprint)
{
	for (uint32 at = (uint32) (fingerprint >> 20);; at++)
	{
		int32		e = state->slot[at & (state->nslots - 1)];

		if (e == ABSENT || state->fingerprint[e] == fingerprint)
			return e;
	}
}

/* Mark the records whose old component is marked. */
static void
mark_components(const ClusterState *state, ClusterRegion *region, int32 n, const uint8 *component)
{
	for (int32 i = 0; i < n; i++)
	{
		int32		e = region->previous[i];

		if (e != ABSENT && state->component[e] != ALONE && component[state->component[e]])
			region->among[i] = 1;
	}
}

/* Mark the records that something else has stored clusters of since. */
static void
mark_touched(const MatcherRun *run, const ClusterState *state, ClusterRegion *region, uint8 *component)
{
	if (state->touched.nrecords == 0)
		return;
	for (int32 i = 0; i < run->loaded.records.nrecords; i++)
	{
		const char *key = matcher_key(&run->loaded, i);

		if (match_column_find(&state->touched.column[0], key, strlen(key)) == MATCH_NULL)
			continue;
		region->among[i] = 1;
		if (region->previous[i] != ABSENT && state->component[region->previous[i]] != ALONE)
			component[state->component[region->previous[i]]] = 1;
	}
}

/* Changed and new records, and those that hung together with what has changed or gone; false where that is too much. */
static bool
mark_changes(const MatcherRun *run, const ClusterState *state, ClusterRegion *region)
{
	int32		n = run->loaded.records.nrecords;
	int32		changed = 0;
	int32		kept = 0;
	uint8	   *seen = palloc_extended((Size) state->nrecords + 1, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	uint8	   *component = palloc_extended((Size) state->ncomponents + 1, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);

	for (int32 i = 0; i < n; i++)
	{
		int32		e = find_in_state(state, run->fingerprint[i]);

		region->previous[i] = e;
		if (e == ABSENT)
		{
			region->among[i] = 1;
			changed++;
		}
		else
		{
			seen[e] = 1;
			kept++;
		}
	}
	for (int32 e = 0; e < state->nrecords; e++)
	{
		if (!seen[e] && state->component[e] != ALONE)
			component[state->component[e]] = 1;
	}
	region->lost = kept < state->nrecords || state->touched.nrecords > 0;
	region->unchanged = changed == 0 && !region->lost;
	mark_touched(run, state, region, component);
	mark_components(state, region, n, component);
	pfree(seen);
	pfree(component);
	return changed <= n / SHARE_OF_CHANGES;
}

/* The components that pairs of the marked records lead into. */
static void
mark_reached(MatcherRun *run, const ClusterState *state, ClusterRegion *region, double threshold)
{
	uint8	   *component = palloc_extended((Size) state->ncomponents + 1, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	MatcherPairs pairs;

	run->among = region->among;
	matcher_find_pairs(run, threshold, false, &pairs);
	for (size_t i = 0; i < pairs.count; i++)
	{
		int32		ends[2] = {pairs.edge[i].a, pairs.edge[i].b};

		for (int e = 0; e < 2; e++)
		{
			int32		previous = region->previous[ends[e]];

			region->among[ends[e]] = 1;
			if (previous != ABSENT && state->component[previous] != ALONE)
				component[state->component[previous]] = 1;
		}
	}
	if (pairs.edge != NULL)
		pfree(pairs.edge);
	mark_components(state, region, run->loaded.records.nrecords, component);
	pfree(component);
}

/* What must be looked at. */
static ClusterRegion
find_region(MatcherRun *run, ClusterState *state, double threshold)
{
	int32		n = run->loaded.records.nrecords;
	ClusterRegion region = {.full = true, .count = n};

	if (state == NULL)
		return region;
	progress_phase("looking for changes", 0);
	region.among = palloc_extended((Size) n + 1, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	region.previous = palloc_extended(sizeof(int32) * ((Size) n + 1), MCXT_ALLOC_HUGE);
	index_state(state);
	if (!mark_changes(run, state, &region))
		return region;
	region.full = false;
	if (!region.unchanged)
		mark_reached(run, state, &region, threshold);
	region.count = 0;
	for (int32 i = 0; i < n; i++)
		region.count += region.among[i];
	return region;
}

/* ---- storing ---- */

/* Keys with the side that they are on, growing */
typedef struct KeyList
{
	SpiArray	keys;
	SpiArray	rights;
	/* for stored keys that have gone */
	uint64	   *present;		/* open addressing: hashes of present keys, 0 where free */
	uint64		nslots;
} KeyList;

/* A key and its side as one number but 0. */
static uint64
key_hash(const char *key, size_t length, bool right)
{
	uint64		hash = match_hash(key, length) * 2 + right;

	return hash == 0 ? 2 : hash;
}

/* Append a key. */
static void
append_key(KeyList *list, Datum key, bool right)
{
	spi_array_add(&list->keys, key);
	spi_array_add(&list->rights, BoolGetDatum(right));
}

/* Remember a present key, or find it: whether it was there. */
static bool
present_key(KeyList *list, uint64 hash, bool add)
{
	for (uint64 at = hash >> 16;; at++)
	{
		uint64	   *slot = &list->present[at & (list->nslots - 1)];

		if (*slot == hash)
			return true;
		if (*slot == 0)
		{
			if (add)
				*slot = hash;
			return false;
		}
	}
}

/* A stored key, kept where its record is no more. */
static void
note_gone(TupleTableSlot *slot, void *arg)
{
	KeyList    *list = arg;
	text	   *key = DatumGetTextPP(slot->tts_values[0]);
	bool		right = DatumGetBool(slot->tts_values[1]);

	if (!present_key(list, key_hash(VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key), right), false))
		append_key(list, PointerGetDatum(DatumGetTextPCopy(PointerGetDatum(key))), right);
}

/* Add the keys that match_cluster has and the relation has not. */
static void
append_gone(const MatcherRun *run, KeyList *list)
{
	const MatchRecords *records = &run->loaded.records;

	for (list->nslots = 1024; list->nslots < (uint64) records->nrecords * 2;)
		list->nslots *= 2;
	list->present = palloc_extended(sizeof(uint64) * list->nslots, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (int32 i = 0; i < records->nrecords; i++)
	{
		const char *key = matcher_key(&run->loaded, i);

		present_key(list, key_hash(key, strlen(key), records->nleft > 0 && i >= records->nleft), true);
	}
	spi_stream_as_owner("SELECT c.key, c.right_side FROM salesops.match_cluster c WHERE c.matcher OPERATOR(pg_catalog.=) $1", 1,
						(SpiArg[]) {spi_text(run->matcher->name)}, false, note_gone, list);
	pfree(list->present);
}

/* The records whose stored clusters may change, present and gone; as two SQL arrays, NULL for all. */
static void
make_scope(const MatcherRun *run, const ClusterRegion *region, SpiArg *keys, SpiArg *rights)
{
	KeyList		list = {.keys = {TEXTOID}, .rights = {BOOLOID}};

	*keys = spi_datum(TEXTARRAYOID, (Datum) 0, true);
	*rights = spi_datum(BOOLARRAYOID, (Datum) 0, true);
	if (region->full)
		return;
	for (int32 i = 0; i < run->loaded.records.nrecords; i++)
	{
		if (region->among[i])
			append_key(&list, CStringGetTextDatum(matcher_key(&run->loaded, i)),
					   run->loaded.records.nleft > 0 && i >= run->loaded.records.nleft);
	}
	if (region->lost)
		append_gone(run, &list);
	*keys = spi_array(&list.keys);
	*rights = spi_array(&list.rights);
}

/* Store the groups under lasting ids, as the extension's owner; returns what changed as rows (event, records). */
static void
store_clusters(FunctionCallInfo fcinfo, MatcherRun *run, const ClusterRegion *region, const int32 *cluster, const int32 *member,
			   int32 members)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	int32		nleft = run->loaded.records.nleft;
	SpiArray	keys = {TEXTOID};
	SpiArray	groups = {INT4OID};
	SpiArray	rights = {BOOLOID};
	SpiArg		args[7];
	SpiScope	scope;
	uint64		count;

	for (int32 i = 0; i < members; i++)
	{
		spi_array_add_text(&keys, matcher_key(&run->loaded, member[i]));
		spi_array_add(&groups, Int32GetDatum(cluster[member[i]]));
		spi_array_add(&rights, BoolGetDatum(nleft > 0 && member[i] >= nleft));
	}
	args[0] = spi_text(run->matcher->name);
	args[1] = spi_array(&keys);
	args[2] = spi_array(&groups);
	args[3] = spi_array(&rights);
	args[4] = spi_text(contract_entity_of(run->matcher->relid));
	make_scope(run, region, &args[5], &args[6]);
	spi_open(&scope, SPI_AS_OWNER);
	count = spi_execute(SPI_OK_SELECT, "SELECT s.event, s.records FROM salesops.store_clusters($1, $2, $3, $4, $5, $6, $7) s",
						lengthof(args), args);
	for (uint64 i = 0; i < count; i++)
	{
		Datum		values[2];
		bool		nulls[2];

		for (int c = 0; c < 2; c++)
			values[c] = spi_get_datum(i, c + 1, &nulls[c]);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	spi_close(&scope);
}

/* ---- update_clusters ---- */

/* Who brings a matcher's clusters up to date waits for who does so already, and then reads what that one has left. */
static void
wait_for_others(const char *matcher)
{
	SpiScope	scope;

	spi_open(&scope, SPI_AS_OWNER);
	spi_execute(SPI_OK_SELECT, "SELECT salesops.lock_matcher($1)", 1, (SpiArg[]) {spi_text(matcher)});
	spi_close(&scope);
}

/* Cluster what must be looked at and store it. */
static void
update_region(FunctionCallInfo fcinfo, MatcherRun *run, const char *signature, const ClusterState *state, const ClusterRegion *region,
			  double threshold)
{
	int32		count;
	int32	   *cluster;
	int32	   *least;
	int32	   *member;
	int32		members;
	SpiArg		scope_keys;
	SpiArg		scope_sides;

	run->among = region->full ? NULL : region->among;
	run->components = true;
	cluster = matcher_find_clusters(run, threshold, true, &count);
	member = matcher_grouped_members(run, cluster, count, &least, &members);
	progress_phase("storing", 0);
	store_clusters(fcinfo, run, region, cluster, member, members);
	save_state(run, signature, state, region);
	/* for refresh_matches, which goes by indexes of one relation */
	if (OidIsValid(run->matcher->right_relid))
		return;
	make_scope(run, region, &scope_keys, &scope_sides);
	matcher_leave_components(run, cluster, region->full ? NULL : region->among, scope_keys);
	matcher_leave_blocks(run);
}

/*
 * update_clusters(matcher text, threshold float8) -> setof (event text, records bigint)
 *
 * Brings salesops.match_cluster up to the relation's present rows: groups keep their ids as rows join, bridge, split and leave,
 * and every change is in salesops.match_cluster_history. The groups are those of find_clusters: nothing depends on the past
 * but the ids.
 */
Datum
salesops_update_clusters(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	double		threshold = PG_GETARG_FLOAT8(1);
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	MatcherRun *run;
	char	   *signature;
	ClusterState *state = NULL;
	ClusterRegion region;

	require_probability(threshold, "threshold");
	InitMaterializedSRF(fcinfo, 0);
	wait_for_others(name);
	/* the statement's own snapshot is from before the wait: rows of who went first are in the clusters and must be in it */
	PushActiveSnapshot(GetTransactionSnapshot());
	run = matcher_run_start_bounded(name, "update_clusters", true);
	signature = run_signature(run, threshold);
	if (run->spill == NULL && !run->matcher->options.one_to_one)
	{
		add_decisions(run);
		state = load_state(run, signature);
	}
	region = find_region(run, state, threshold);
	ereport(DEBUG1,
			(errmsg("matcher \"%s\": pairs of %d of %d records are looked at", name, region.count, run->loaded.records.nrecords)));
	if (region.unchanged && !region.full)
	{
		matcher_report_blocks(run->matcher, &run->loaded, NULL);
		note_nothing_looked_at(run);
	}
	else
		update_region(fcinfo, run, signature, state, &region, threshold);
	PopActiveSnapshot();
	MemoryContextSwitchTo(caller);
	matcher_run_end(run);
	PG_RETURN_VOID();
}
