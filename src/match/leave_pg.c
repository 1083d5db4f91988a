/*
 * leave_pg.c
 *		What update_clusters and refresh_matches leave in salesops.match_component and match_block, so that the next refresh_matches can do
 *		without reading all records: who hangs together in more than one cluster, and which blocks are too large to be paired. The
 *		clusters themselves are not stored here.
 */
#include "postgres.h"

#include <stdlib.h>

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "core/kernel_pg.h"
#include "core/progress.h"
#include "core/relation.h"
#include "match/matcher_pg.h"

char *
matcher_signature(const char *matcher, double threshold)
{
	SpiScope	scope;
	SpiArg		args[] = {spi_text(matcher)};
	MemoryContext caller = CurrentMemoryContext;
	char	   *definition = "";

	spi_open(&scope, SPI_AS_OWNER);
	if (spi_execute_kept(SPI_OK_SELECT,
						 "SELECT pg_catalog.md5(pg_catalog.jsonb_build_array(m.relation::text, m.key_column, m.right_relation::text, m.right_key, "
						 "m.comparisons, m.blocking, m.options, m.model, extract(epoch FROM m.trained_at), m.calibration_slope, "
						 "m.calibration_offset, (SELECT e.extversion FROM pg_catalog.pg_extension e WHERE e.extname = 'salesops'))::text) "
						 "FROM salesops.matcher m WHERE m.matcher = $1", 1, args) > 0)
		definition = MemoryContextStrdup(caller, spi_get_text(0, 1));
	spi_close(&scope);
	return psprintf("%s %.17g", definition, threshold);
}

/* ---- components ---- */

/* The record with the least key of each component, in place of the least record; those of one cluster only are -1, as lone records are. */
static int32 *
cut_components(const MatcherRun *run, const int32 *cluster, const uint8 *among)
{
	const KernelEnv *env = &run->loaded.records.env;
	int32		n = run->loaded.records.nrecords;
	int32	   *least = kernel_alloc_array(env, int32, n + 1);
	uint8	   *cut = palloc_extended((Size) n + 1, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);

	for (int32 i = 0; i < n; i++)
		least[i] = i;
	for (int32 i = 0; i < n; i++)
	{
		int32		root = run->component[i];

		if (among != NULL && !among[i])
			continue;
		if (matcher_compare_keys(&run->loaded, i, least[root]) < 0)
			least[root] = i;
		if (cluster[i] != cluster[root])
			cut[root] = 1;
	}
	/* roots last: the others read them */
	for (int32 i = 0; i < n; i++)
	{
		int32		root = run->component[i];

		if (root != i)
			least[i] = cut[root] && (among == NULL || among[i]) ? least[root] : -1;
	}
	for (int32 i = 0; i < n; i++)
	{
		if (run->component[i] == i && !cut[i])
			least[i] = -1;
	}
	pfree(cut);
	return least;
}

void
matcher_leave_components(const MatcherRun *run, const int32 *cluster, const uint8 *among, SpiArg scope)
{
	int32		n = run->loaded.records.nrecords;
	int32	   *least = cut_components(run, cluster, among);
	SpiArray	keys = {TEXTOID};
	SpiArray	components = {TEXTOID};
	SpiArg		args[3];
	SpiScope	spi;

	for (int32 i = 0; i < n; i++)
	{
		if (least[i] < 0)
			continue;
		spi_array_add_text(&keys, matcher_key(&run->loaded, i));
		spi_array_add_text(&components, matcher_key(&run->loaded, least[i]));
	}
	args[0] = spi_text(run->matcher->name);
	args[1] = spi_array(&keys);
	args[2] = spi_array(&components);
	spi_open(&spi, SPI_AS_OWNER);
	if (scope.isnull)
		spi_execute(SPI_OK_DELETE, "DELETE FROM salesops.match_component c WHERE c.matcher = $1 "
					"AND NOT EXISTS (SELECT FROM unnest($2) AS t (key) WHERE t.key = c.key)", 2, args);
	else
		spi_execute_kept(SPI_OK_DELETE, "DELETE FROM salesops.match_component c WHERE c.matcher = $1 AND c.key = ANY ($2)", 2,
						 (SpiArg[]) {args[0], scope});
	if (keys.count > 0)
		spi_execute(SPI_OK_INSERT, "INSERT INTO salesops.match_component AS c (matcher, key, component) "
					"SELECT $1, t.key, t.component FROM unnest($2, $3) AS t (key, component) "
					"ON CONFLICT (matcher, key) DO UPDATE SET component = excluded.component WHERE c.component <> excluded.component", 3, args);
	spi_close(&spi);
}

/* ---- blocks ---- */

/* The blocks of one rule that are too large, as a run left them */
typedef struct LargeBlocks
{
	int			count;
	const uint64 *hash;
	const char **member;		/* the key of a record in it */
	int32	   *size;
} LargeBlocks;

/* Blocks of all rules, for SQL */
typedef struct BlockRows
{
	SpiArray	rule;
	SpiArray	key;
	SpiArray	excess;			/* records beyond what is paired */
} BlockRows;

/* What reading the keys of one rule's blocks needs */
typedef struct BlockReading
{
	BlockRows  *rows;
	const LargeBlocks *blocks;
	const MatchRule *rule;
	uint64		rule_id;
	MatchRecords members;		/* one column: keys of members, numbered as block is */
	int32	   *first;			/* of each of these, the first block */
	int32	   *next;			/* of each block, the next one with the same member, or -1 */
} BlockReading;

/* The blocks of a rule. */
static LargeBlocks
large_blocks(const MatcherRun *run, int r)
{
	const MatchRule *rule = &run->matcher->rule[r];
	LargeBlocks blocks = {0};
	char	   *const *member;
	const int32 *size;

	if (run->spill != NULL)
		blocks.count = matcher_spill_skipped(run->spill, r, &blocks.hash, &member, &size);
	else
		blocks.count = rule->nskipped;
	blocks.member = palloc(sizeof(char *) * (blocks.count + 1));
	blocks.size = palloc(sizeof(int32) * (blocks.count + 1));
	if (run->spill == NULL)
		blocks.hash = rule->skipped;
	for (int k = 0; k < blocks.count; k++)
	{
		blocks.member[k] = run->spill != NULL ? member[k] : matcher_key(&run->loaded, rule->skipped_block[k].member);
		blocks.size[k] = run->spill != NULL ? size[k] : rule->skipped_block[k].count;
	}
	return blocks;
}

/* One block, with its key as an index has it. */
static void
add_block(BlockReading *reading, int32 block, text *key)
{
	BlockRows  *rows = reading->rows;

	spi_array_add(&rows->rule, Int64GetDatum((int64) reading->rule_id));
	spi_array_add(&rows->key, PointerGetDatum(DatumGetTextPCopy(PointerGetDatum(key))));
	spi_array_add(&rows->excess, Int64GetDatum((int64) reading->blocks->size[block] - reading->rule->max_block));
}

/* A member of blocks, with its key or keys: those that are the blocks'. (Elements beyond 512 bytes are not: an index has them cut.) */
static void
read_block_keys(TupleTableSlot *slot, void *arg)
{
	BlockReading *reading = arg;
	text	   *key = DatumGetTextPP(slot->tts_values[0]);
	int32		member = match_column_find(&reading->members.column[0], VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key));
	Datum	   *words;
	bool	   *nulls;
	int			count;

	if (member == MATCH_NULL || slot->tts_isnull[1])
		return;
	if (reading->rule->kind == MATCH_RULE_KEY)
	{
		add_block(reading, reading->first[member], DatumGetTextPP(slot->tts_values[1]));
		return;
	}
	deconstruct_array(DatumGetArrayTypeP(slot->tts_values[1]), TEXTOID, -1, false, TYPALIGN_INT, &words, &nulls, &count);
	for (int32 block = reading->first[member]; block >= 0; block = reading->next[block])
	{
		for (int w = 0; w < count; w++)
		{
			text	   *word = nulls[w] ? NULL : DatumGetTextPP(words[w]);

			if (word == NULL || match_hash(VARDATA_ANY(word), VARSIZE_ANY_EXHDR(word)) != reading->blocks->hash[block])
				continue;
			add_block(reading, block, word);
			break;
		}
	}
}

/* The place of a run's rule among the compiled ones, which keep the order of the definition. */
static int
compiled_rule(const MatcherRun *run, const MatcherLanes *lanes, int r)
{
	char	   *sql = matcher_rule_sql(run->matcher, &run->matcher->rule[r]);
	uint64		id = match_hash(sql, strlen(sql));

	for (int k = 0; k < run->matcher->nrules; k++)
	{
		if (lanes->rule_id[k] == id)
			return k;
	}
	elog(ERROR, "matcher \"%s\" has changed while it ran", run->matcher->name);
	return -1;
}

/* The keys of one rule's blocks, read from a record of each. */
static void
read_rule_blocks(const MatcherRun *run, const MatcherCompiled *compiled, int r, const LargeBlocks *blocks, BlockRows *rows)
{
	const Matcher *matcher = run->matcher;
	const MatcherLanes *lanes = matcher_compiled_lanes(compiled);
	int			place = compiled_rule(run, lanes, r);
	KernelEnv	env = kernel_env_pg(CurrentMemoryContext);
	BlockReading reading = {.rows = rows, .blocks = blocks, .rule = &matcher->rule[r], .rule_id = lanes->rule_id[place]};
	MatchColumn *column;
	MemoryContext caller = CurrentMemoryContext;
	SpiScope	scope;
	SpiArg		args[1];
	char	   *condition = matcher_keys_condition(matcher->relid, matcher->key, blocks->count, blocks->member, args);

	match_records_init(&reading.members, 1, &env);
	column = &reading.members.column[0];
	reading.first = palloc(sizeof(int32) * (blocks->count + 1));
	reading.next = palloc(sizeof(int32) * (blocks->count + 1));
	for (int32 block = 0; block < blocks->count; block++)
	{
		int32		known = column->nvalues;
		int32		record = match_records_add(&reading.members);
		int32		member;

		match_records_set(&reading.members, record, 0, blocks->member[block], strlen(blocks->member[block]));
		member = column->code[record];
		reading.next[block] = member == known ? -1 : reading.first[member];
		reading.first[member] = block;
	}
	spi_open(&scope, SPI_PINNED_AS_CALLER);
	MemoryContextSwitchTo(caller);
	spi_stream(psprintf("SELECT %s::pg_catalog.text, %s FROM %s%s", quote_identifier(matcher->key), lanes->key_sql[place],
						relation_sql_name(matcher->relid), condition), 1, args, true, read_block_keys, &reading);
	spi_close(&scope);
	match_records_free(&reading.members);
}

void
matcher_leave_blocks(MatcherRun *run)
{
	bool		decisions;
	const MatcherCompiled *compiled = matcher_compiled(run->matcher->name, false, &decisions);
	BlockRows	rows = {{INT8OID}, {TEXTOID}, {INT8OID}};
	SpiScope	scope;
	SpiArg		args[4];

	for (int r = 0; r < run->matcher->nrules; r++)
	{
		LargeBlocks blocks = large_blocks(run, r);

		if (blocks.count > 0)
			read_rule_blocks(run, compiled, r, &blocks, &rows);
	}
	args[0] = spi_text(run->matcher->name);
	args[1] = spi_array(&rows.rule);
	args[2] = spi_array(&rows.key);
	args[3] = spi_array(&rows.excess);
	spi_open(&scope, SPI_AS_OWNER);
	spi_execute(SPI_OK_DELETE, "DELETE FROM salesops.match_block b WHERE b.matcher = $1 "
				"AND NOT EXISTS (SELECT FROM unnest($2, $3) AS t (rule, key) WHERE t.rule = b.rule AND t.key = b.key)", 3, args);
	spi_execute(SPI_OK_INSERT, "INSERT INTO salesops.match_block AS b (matcher, rule, key, count_again) "
				"SELECT $1, t.rule, t.key, s.changes + t.excess FROM unnest($2, $3, $4) AS t (rule, key, excess), "
				"salesops.match_cluster_state s WHERE s.matcher = $1 "
				"ON CONFLICT (matcher, rule, key) DO UPDATE SET count_again = excluded.count_again WHERE b.count_again <> excluded.count_again",
				4, args);
	spi_close(&scope);
}
