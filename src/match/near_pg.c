/*
 * near_pg.c
 *		What hangs together with some changed records, now or when clusters were last stored, found by indexes: for refresh_matches.
 *
 * From the changed keys outwards: records of the same stored cluster or component, records decided about together, and those whose pair
 * with one of them reaches the threshold. Pairs are those of a full run: of every rule, but of blocks that are too large, which are not
 * paired. Which these are is known (salesops.match_block) but for blocks of the changed records; where such a block has grown too large,
 * or shrunk enough, all its records count as changed, since they lose or gain pairs.
 *
 * A block's size is not kept as records come and go. It is counted when a changed record is in it, and where so many keys have changed
 * since that it could be small enough again (each takes one record out of it at most).
 *
 * Everything is read under the caller's snapshot. Where it gets too much the answer is none: the caller looks at everything.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "core/kernel_pg.h"
#include "core/relation.h"
#include "match/matcher_pg.h"

#define MOST_NEAR MATCH_LARGEST_COMPONENT	/* records */
#define COUNT_SLACK 1500		/* records of a block that are counted beyond twice what is paired */

/* What is known of a key, by its number */
#define NEAR_REACHED 1
#define NEAR_PRESENT 2
#define NEAR_LOOKED 4			/* its pairs are known */
#define NEAR_FRONT 8			/* they are being looked for */

/* A block: a rule's key and the records that have it */
typedef struct NearBlock
{
	int			rule;
	const char *key;
	bool		too_large;
	bool		looked_up;
	int			count;
	int			room;
	int32	   *member;			/* numbers of keys */
} NearBlock;

typedef struct NearSearch
{
	const MatcherCompiled *compiled;
	const Matcher *matcher;
	const MatcherLanes *lanes;
	double		threshold;
	int64		changes;
	bool		too_much;
	MatcherNear *near;
	/* keys by number */
	MatchRecords names;			/* one column: code and record are the number */
	int32		room;
	uint8	   *flags;
	int32	   *stamp;
	List	  **blocks_of;		/* of each record of the front: its blocks */
	/* in the order they were reached */
	int32	   *reached;
	int32		nreached;
	/* blocks by number */
	MatchRecords block_names;	/* one column: "rule key" */
	NearBlock  *block;
	int32		block_room;
	/* while rows are read */
	const int  *lane_blocks[MATCHER_MAX_RULES];
} NearSearch;

/* ---- keys and blocks by number ---- */

/* The number of a key, a new one where it is new. */
static int32
key_number(NearSearch *search, const char *key, size_t length)
{
	int32		number = match_column_find(&search->names.column[0], key, length);

	if (number != MATCH_NULL)
		return number;
	number = match_records_add(&search->names);
	match_records_set(&search->names, number, 0, key, length);
	if (number >= search->room)
	{
		int32		room = search->room == 0 ? 256 : search->room * 2;

		search->flags = search->room == 0 ? palloc(room) : repalloc(search->flags, room);
		search->stamp = search->room == 0 ? palloc(sizeof(int32) * room) : repalloc(search->stamp, sizeof(int32) * room);
		search->blocks_of = search->room == 0 ? palloc(sizeof(List *) * room) : repalloc(search->blocks_of, sizeof(List *) * room);
		search->room = room;
	}
	search->flags[number] = 0;
	search->stamp[number] = -1;
	search->blocks_of[number] = NIL;
	return number;
}

/* The key of a number, valid until the next one is added. */
static const char *
key_of(const NearSearch *search, int32 number)
{
	return match_value(&search->names.column[0], number);
}

/* Put a key on the list of those whose pairs are wanted. */
static void
reach(NearSearch *search, int32 number)
{
	if (search->flags[number] & NEAR_REACHED || search->too_much)
		return;
	search->flags[number] |= NEAR_REACHED;
	if (search->nreached == MOST_NEAR)
		search->too_much = true;
	else
		search->reached[search->nreached++] = number;
}

/* The number of a block, a new one where it is new. */
static int32
block_number(NearSearch *search, int rule, const char *key, size_t length)
{
	char	   *name = psprintf("%d %.*s", rule, (int) length, key);
	int32		number = match_column_find(&search->block_names.column[0], name, strlen(name));

	if (number == MATCH_NULL)
	{
		number = match_records_add(&search->block_names);
		match_records_set(&search->block_names, number, 0, name, strlen(name));
		if (number >= search->block_room)
		{
			int32		room = search->block_room == 0 ? 64 : search->block_room * 2;

			search->block = search->block_room == 0 ? palloc(sizeof(NearBlock) * room) :
				repalloc(search->block, sizeof(NearBlock) * room);
			search->block_room = room;
		}
		memset(&search->block[number], 0, sizeof(NearBlock));
		search->block[number].rule = rule;
		search->block[number].key = pnstrdup(key, length);
	}
	pfree(name);
	return number;
}

/* A block that match_block is to have, to have later or not to have any more. */
static void
note_block(NearSearch *search, const NearBlock *block, int64 again)
{
	MatcherNear *near = search->near;
	int			room = 16;

	if (near->nblocks == 0)
	{
		near->block_rule = palloc(sizeof(uint64) * room);
		near->block_key = palloc(sizeof(char *) * room);
		near->block_again = palloc(sizeof(int64) * room);
	}
	else if (near->nblocks >= room && (near->nblocks & (near->nblocks - 1)) == 0)
	{
		room = near->nblocks * 2;
		near->block_rule = repalloc(near->block_rule, sizeof(uint64) * room);
		near->block_key = repalloc(near->block_key, sizeof(char *) * room);
		near->block_again = repalloc(near->block_again, sizeof(int64) * room);
	}
	near->block_rule[near->nblocks] = search->lanes->rule_id[block->rule];
	near->block_key[near->nblocks] = block->key;
	near->block_again[near->nblocks++] = again;
}

/* Keys as an SQL array. */
static SpiArg
keys_arg(const NearSearch *search, const int32 *numbers, int count)
{
	SpiArray	keys = {TEXTOID};

	for (int i = 0; i < count; i++)
		spi_array_add_text(&keys, key_of(search, numbers[i]));
	return spi_array(&keys);
}

/* ---- who hung together ---- */

/* A key that hung together with one of the front. */
static void
reach_row(TupleTableSlot *slot, void *arg)
{
	NearSearch *search = arg;
	text	   *key = DatumGetTextPP(slot->tts_values[0]);

	reach(search, key_number(search, VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key)));
}

/* Records of the same stored cluster or component, and those decided about together. */
static void
reach_mates(NearSearch *search, const int32 *front, int count)
{
	MemoryContext caller = CurrentMemoryContext;
	SpiScope	scope;
	SpiArg		args[] = {spi_text(search->matcher->name), keys_arg(search, front, count)};

	spi_open(&scope, SPI_AS_OWNER);
	MemoryContextSwitchTo(caller);
	spi_stream_kept("SELECT m.key FROM salesops.match_cluster m WHERE m.matcher = $1 AND m.cluster_id IN "
					"(SELECT c.cluster_id FROM salesops.match_cluster c WHERE c.matcher = $1 AND c.key = ANY ($2)) "
					"UNION ALL SELECT m.key FROM salesops.match_component m WHERE m.matcher = $1 AND m.component IN "
					"(SELECT c.component FROM salesops.match_component c WHERE c.matcher = $1 AND c.key = ANY ($2)) "
					"UNION ALL SELECT d.right_key FROM salesops.match_decision d WHERE d.matcher = $1 AND d.left_key = ANY ($2) "
					"UNION ALL SELECT d.left_key FROM salesops.match_decision d WHERE d.matcher = $1 AND d.right_key = ANY ($2)",
					lengthof(args), args, false, reach_row, search);
	spi_close(&scope);
	MemoryContextSwitchTo(caller);
}

/* ---- the blocks of records ---- */

/* One record of the front with its keys under each rule. */
static void
note_record(TupleTableSlot *slot, void *arg)
{
	NearSearch *search = arg;
	text	   *key = DatumGetTextPP(slot->tts_values[0]);
	int32		number = key_number(search, VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key));

	search->flags[number] |= NEAR_PRESENT;
	for (int r = 0; r < search->matcher->nrules; r++)
	{
		Datum	   *keys = &slot->tts_values[r + 1];
		bool		is_null = slot->tts_isnull[r + 1];
		bool	   *nulls = &is_null;
		int			count = 1;

		if (is_null)
			continue;
		if (search->matcher->rule[r].kind != MATCH_RULE_KEY)
			deconstruct_array(DatumGetArrayTypeP(*keys), TEXTOID, -1, false, TYPALIGN_INT, &keys, &nulls, &count);
		for (int k = 0; k < count; k++)
		{
			text	   *value = nulls[k] ? NULL : DatumGetTextPP(keys[k]);

			if (value != NULL && VARSIZE_ANY_EXHDR(value) > 0)
				search->blocks_of[number] = list_append_unique_int(search->blocks_of[number],
																   block_number(search, r, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value)));
		}
	}
}

/* Which records of the front are there, and in which blocks. */
static void
read_front(NearSearch *search, const int32 *front, int count)
{
	const Matcher *matcher = search->matcher;
	MemoryContext caller = CurrentMemoryContext;
	const char **keys = palloc(sizeof(char *) * (count + 1));
	StringInfoData sql;
	SpiScope	scope;
	SpiArg		args[1];
	char	   *condition;

	for (int i = 0; i < count; i++)
		keys[i] = key_of(search, front[i]);
	condition = matcher_keys_condition(matcher->relid, matcher->key, count, keys, args);
	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT %s::pg_catalog.text", quote_identifier(matcher->key));
	for (int r = 0; r < matcher->nrules; r++)
		appendStringInfo(&sql, ", %s", search->lanes->key_sql[r]);
	appendStringInfo(&sql, " FROM %s%s", relation_sql_name(matcher->relid), condition);
	spi_open(&scope, SPI_PINNED_AS_CALLER);
	MemoryContextSwitchTo(caller);
	spi_stream_kept(sql.data, 1, args, true, note_record, search);
	spi_close(&scope);
	MemoryContextSwitchTo(caller);
}

/* A block that is known to be too large: its place among those asked for. */
static void
mark_too_large(TupleTableSlot *slot, void *arg)
{
	NearBlock **asked = arg;
	NearBlock  *block = asked[DatumGetInt64(slot->tts_values[0]) - 1];

	block->too_large = true;
	block->looked_up = true;
}

/* Of these blocks, those that match_block has need no look. */
static void
mark_known(NearSearch *search, const int *blocks, int count)
{
	MemoryContext caller = CurrentMemoryContext;
	SpiArray	rules = {INT8OID};
	SpiArray	keys = {TEXTOID};
	NearBlock **asked = palloc(sizeof(NearBlock *) * (count + 1));
	SpiScope	scope;
	SpiArg		args[3] = {spi_text(search->matcher->name)};

	for (int i = 0; i < count; i++)
	{
		asked[i] = &search->block[blocks[i]];
		spi_array_add(&rules, Int64GetDatum((int64) search->lanes->rule_id[asked[i]->rule]));
		spi_array_add_text(&keys, asked[i]->key);
	}
	args[1] = spi_array(&rules);
	args[2] = spi_array(&keys);
	spi_open(&scope, SPI_AS_OWNER);
	MemoryContextSwitchTo(caller);
	spi_stream_kept("SELECT t.n FROM unnest($2, $3) WITH ORDINALITY AS t (rule, key, n) "
					"JOIN salesops.match_block b ON b.matcher = $1 AND b.rule = t.rule AND b.key = t.key",
					lengthof(args), args, false, mark_too_large, asked);
	spi_close(&scope);
	MemoryContextSwitchTo(caller);
}

/* ---- the records of blocks ---- */

/* A record of a block: lane, place of the block among those asked for of it, key. */
static void
add_member(TupleTableSlot *slot, void *arg)
{
	NearSearch *search = arg;
	int			lane = DatumGetInt32(slot->tts_values[0]);
	NearBlock  *block = &search->block[search->lane_blocks[lane][DatumGetInt64(slot->tts_values[1]) - 1]];
	text	   *key = DatumGetTextPP(slot->tts_values[2]);

	if (block->count == block->room)
	{
		block->room = block->room == 0 ? 8 : block->room * 2;
		block->member = block->member == NULL ? palloc(sizeof(int32) * block->room) :
			repalloc(block->member, sizeof(int32) * block->room);
	}
	block->member[block->count++] = key_number(search, VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key));
}

/* SQL that finds the records of keys, $1 those of the first lane and so on; how many of each lane at most is in it. */
static char *
members_query(const NearSearch *search)
{
	const Matcher *matcher = search->matcher;
	StringInfoData sql;

	initStringInfo(&sql);
	for (int l = 0; l < search->lanes->nlanes; l++)
	{
		const MatcherLane *lane = &search->lanes->lane[l];

		appendStringInfo(&sql, "%sSELECT %d, salesops_asked.n, salesops_found.k FROM unnest($%d) WITH ORDINALITY AS salesops_asked (k, n), "
						 "LATERAL (SELECT %s::pg_catalog.text AS k FROM %s WHERE (%s) %s LIMIT %d) AS salesops_found",
						 l == 0 ? "" : " UNION ALL ", l, l + 1, quote_identifier(matcher->key), relation_sql_name(matcher->relid),
						 lane->expression,
						 lane->array ? "OPERATOR(pg_catalog.&&) ARRAY[salesops_asked.k]" : "OPERATOR(pg_catalog.=) salesops_asked.k",
						 2 * lane->most + COUNT_SLACK);
	}
	return sql.data;
}

/* Read the records of these blocks. */
static void
read_members(NearSearch *search, const int *blocks, int count)
{
	MemoryContext caller = CurrentMemoryContext;
	SpiArg	   *args = palloc(sizeof(SpiArg) * (search->lanes->nlanes + 1));
	SpiScope	scope;

	for (int l = 0; l < search->lanes->nlanes; l++)
	{
		SpiArray	keys = {TEXTOID};
		int		   *asked = palloc(sizeof(int) * (count + 1));

		for (int i = 0; i < count; i++)
		{
			if (search->lanes->lane_of[search->block[blocks[i]].rule] != l)
				continue;
			asked[keys.count] = blocks[i];
			spi_array_add_text(&keys, search->block[blocks[i]].key);
		}
		args[l] = spi_array(&keys);
		search->lane_blocks[l] = asked;
	}
	spi_open(&scope, SPI_PINNED_AS_CALLER);
	MemoryContextSwitchTo(caller);
	spi_stream_kept(members_query(search), search->lanes->nlanes, args, true, add_member, search);
	spi_close(&scope);
	MemoryContextSwitchTo(caller);
}

/* The records of a block lose or gain pairs: as if they had changed. */
static void
reach_members(NearSearch *search, const NearBlock *block)
{
	for (int i = 0; i < block->count; i++)
		reach(search, block->member[i]);
}

/* Judge a block by the records just read. */
static void
judge_block(NearSearch *search, NearBlock *block, bool was_too_large)
{
	int32		most = search->matcher->rule[block->rule].max_block;

	block->looked_up = true;
	block->too_large = most > 0 && block->count > most;
	if (block->count >= 2 * search->lanes->lane[search->lanes->lane_of[block->rule]].most + COUNT_SLACK && !was_too_large)
		search->too_much = true;
	if (block->too_large)
		note_block(search, block, search->changes + block->count - most);
	else if (was_too_large)
		note_block(search, block, 0);
	if (block->too_large != was_too_large)
		reach_members(search, block);
}

/* The blocks of the front's records that have not been looked up. */
static void
look_up_blocks(NearSearch *search, const int32 *front, int count)
{
	int		   *blocks = palloc(sizeof(int) * (search->block_names.nrecords + 1));
	int			nblocks = 0;
	int			kept = 0;

	for (int i = 0; i < count; i++)
	{
		ListCell   *cell;

		foreach(cell, search->blocks_of[front[i]])
		{
			NearBlock  *block = &search->block[lfirst_int(cell)];

			if (block->looked_up)
				continue;
			block->looked_up = true;
			blocks[nblocks++] = lfirst_int(cell);
		}
	}
	if (nblocks == 0)
		return;
	mark_known(search, blocks, nblocks);
	for (int i = 0; i < nblocks; i++)
	{
		if (!search->block[blocks[i]].too_large)
			blocks[kept++] = blocks[i];
	}
	if (kept == 0)
		return;
	read_members(search, blocks, kept);
	for (int i = 0; i < kept; i++)
		judge_block(search, &search->block[blocks[i]], false);
	pfree(blocks);
}

/* A block of match_block: the rule by its expression's hash, the key. */
static void
note_recount(TupleTableSlot *slot, void *arg)
{
	NearSearch *search = arg;
	uint64		id = (uint64) DatumGetInt64(slot->tts_values[0]);
	text	   *key = DatumGetTextPP(slot->tts_values[1]);

	for (int r = 0; r < search->matcher->nrules; r++)
	{
		if (search->lanes->rule_id[r] == id)
		{
			(void) block_number(search, r, VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key));
			break;
		}
	}
}

/* Blocks that were too large and may not be so any more. */
static void
count_again(NearSearch *search)
{
	MemoryContext caller = CurrentMemoryContext;
	SpiScope	scope;
	SpiArg		args[] = {spi_text(search->matcher->name), spi_int8(search->changes)};
	int			count;
	int		   *blocks;

	spi_open(&scope, SPI_AS_OWNER);
	MemoryContextSwitchTo(caller);
	spi_stream_kept("SELECT b.rule, b.key FROM salesops.match_block b WHERE b.matcher = $1 AND b.count_again <= $2",
					lengthof(args), args, false, note_recount, search);
	spi_close(&scope);
	MemoryContextSwitchTo(caller);
	count = search->block_names.nrecords;
	if (count == 0)
		return;
	blocks = palloc(sizeof(int) * count);
	for (int i = 0; i < count; i++)
		blocks[i] = i;
	read_members(search, blocks, count);
	for (int i = 0; i < count; i++)
		judge_block(search, &search->block[i], true);
}

/* ---- pairs ---- */

/* Candidate pairs of the front's records, as numbers of keys: each once. */
static MatchPair *
front_pairs(NearSearch *search, const int32 *front, int count, int *npairs)
{
	int			room = 256;
	MatchPair  *pair = palloc(sizeof(MatchPair) * room);

	*npairs = 0;
	for (int i = 0; i < count; i++)
	{
		int32		a = front[i];
		ListCell   *cell;

		foreach(cell, search->blocks_of[a])
		{
			const NearBlock *block = &search->block[lfirst_int(cell)];

			for (int k = 0; k < block->count && !block->too_large; k++)
			{
				int32		b = block->member[k];

				/* those looked at before have the pair, of two in the front the one with the lower number */
				if (b == a || search->flags[b] & NEAR_LOOKED || (search->flags[b] & NEAR_FRONT && b < a) || search->stamp[b] == a)
					continue;
				search->stamp[b] = a;
				if (*npairs == room)
				{
					room *= 2;
					pair = repalloc_huge(pair, sizeof(MatchPair) * room);
				}
				pair[*npairs].a = a;
				pair[(*npairs)++].b = b;
			}
		}
		CHECK_FOR_INTERRUPTS();
	}
	return pair;
}

/* Keys of the pairs' records, each once. */
static const char **
pair_keys(NearSearch *search, const MatchPair *pair, int npairs, int *count)
{
	const char **keys = palloc_extended(sizeof(char *) * ((Size) search->names.nrecords + 1), MCXT_ALLOC_HUGE);
	bool	   *taken = palloc0(search->names.nrecords + 1);

	*count = 0;
	for (int i = 0; i < npairs; i++)
	{
		int32		ends[2] = {pair[i].a, pair[i].b};

		for (int e = 0; e < 2; e++)
		{
			if (!taken[ends[e]])
				keys[(*count)++] = key_of(search, ends[e]);
			taken[ends[e]] = true;
		}
	}
	pfree(taken);
	return keys;
}

/* Score the front's candidate pairs; those of the threshold and more are kept and lead on. */
static void
score_front(NearSearch *search, const int32 *front, int count)
{
	MemoryContext caller = CurrentMemoryContext;
	int			npairs;
	MatchPair  *pair = front_pairs(search, front, count, &npairs);
	int			nkeys;
	const char **keys = pair_keys(search, pair, npairs, &nkeys);
	int32	   *record;
	MatcherRun *run;
	int64		least;

	search->too_much |= nkeys > MATCHER_LOOKUP_ROWS;
	if (npairs == 0 || search->too_much)
		return;
	record = palloc0(sizeof(int32) * (search->names.nrecords + 1));
	run = matcher_run_start_few(search->compiled, "refresh_matches", nkeys, keys);
	MemoryContextSwitchTo(caller);
	for (int32 i = 0; i < run->loaded.records.nrecords; i++)
		record[key_number(search, matcher_key(&run->loaded, i), strlen(matcher_key(&run->loaded, i)))] = i;
	least = matcher_least_weight(run, search->threshold);
	for (int i = 0; i < npairs; i++)
	{
		int64		weight = match_score_least(&run->scorer, record[pair[i].a], record[pair[i].b], least);

		if (weight < least)
			continue;
		matcher_keep_pair(&search->near->pairs, caller, pair[i].a, pair[i].b, matcher_odds(run->matcher, &run->scorer, weight));
		reach(search, pair[i].b);
	}
	matcher_run_end(run);
	pfree(record);
	pfree(keys);
	pfree(pair);
}

/* Look at the records reached last. */
static void
look_at_front(NearSearch *search, const int32 *front, int count)
{
	for (int i = 0; i < count; i++)
		search->flags[front[i]] |= NEAR_FRONT;
	reach_mates(search, front, count);
	read_front(search, front, count);
	if (!search->too_much)
		look_up_blocks(search, front, count);
	if (!search->too_much)
		score_front(search, front, count);
	for (int i = 0; i < count; i++)
		search->flags[front[i]] = (search->flags[front[i]] & ~NEAR_FRONT) | NEAR_LOOKED;
}

/* ---- the whole ---- */

/* The keys that were reached, and the pairs' ends by their place among them. */
static void
finish(NearSearch *search)
{
	MatcherNear *near = search->near;
	int32	   *place = palloc(sizeof(int32) * (search->names.nrecords + 1));

	near->nkeys = search->nreached;
	near->key = palloc(sizeof(char *) * (near->nkeys + 1));
	near->present = palloc(sizeof(char *) * (near->nkeys + 1));
	for (int i = 0; i < near->nkeys; i++)
	{
		int32		number = search->reached[i];

		place[number] = i;
		near->key[i] = pstrdup(key_of(search, number));
		if (search->flags[number] & NEAR_PRESENT)
			near->present[near->npresent++] = near->key[i];
	}
	for (size_t i = 0; i < near->pairs.count; i++)
	{
		near->pairs.edge[i].a = place[near->pairs.edge[i].a];
		near->pairs.edge[i].b = place[near->pairs.edge[i].b];
	}
}

/* Plans that go by indexes only: they are kept, and what they are made on may be small when they are. */
static int
prefer_indexes(void)
{
	static const char *const off[] = {"enable_seqscan", "enable_hashjoin", "enable_mergejoin", "jit"};
	int			nest = NewGUCNestLevel();

	for (int i = 0; i < (int) lengthof(off); i++)
		(void) set_config_option(off[i], "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	return nest;
}

MatcherNear *
matcher_near(const MatcherCompiled *compiled, double threshold, int64 changes, int nkeys, const char *const *keys)
{
	KernelEnv	env = kernel_env_pg(CurrentMemoryContext);
	NearSearch	search = {.compiled = compiled, .matcher = compiled->matcher, .lanes = matcher_compiled_lanes(compiled),
	.threshold = threshold, .changes = changes};
	int			nest;

	search.near = palloc0(sizeof(MatcherNear));
	search.reached = palloc(sizeof(int32) * MOST_NEAR);
	match_records_init(&search.names, 1, &env);
	match_records_init(&search.block_names, 1, &env);
	search.names.column[0].keep_text = true;
	for (int k = 0; k < nkeys; k++)
		reach(&search, key_number(&search, keys[k], strlen(keys[k])));
	nest = prefer_indexes();
	if (!search.too_much)
		count_again(&search);
	for (int from = 0; from < search.nreached && !search.too_much;)
	{
		int			to = search.nreached;

		look_at_front(&search, search.reached + from, to - from);
		from = to;
	}
	AtEOXact_GUC(true, nest);
	if (search.too_much)
		return NULL;
	finish(&search);
	return search.near;
}
