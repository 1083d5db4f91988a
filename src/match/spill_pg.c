/*
 * spill_pg.c
 *		Pairs of a relation that does not fit into maintenance_work_mem: the same pairs with the same weights as find_pg.c finds in
 *		memory, rule by rule over sorted temporary files.
 *
 * The relation is read once into a tuplestore. For each rule its rows are sorted by the hash of the rule's key (a tuplesort), so that
 * blocks come whole; blocks are gathered until a share of the memory is used, and the gathered records are then compared and scored as if
 * they were all there are. A pair belongs to the first rule, and within a rule of sets to the least key, that its records have in
 * common and that is not left out as too large; whether an earlier one has it is told from the hashes that each record brings along.
 *
 * What stays in memory beyond maintenance_work_mem: the pairs found, and in the end the records that are in one. Those are loaded
 * into the run, so that whoever asked for pairs (to answer them, or to cluster) goes on as after a search in memory.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/tupdesc.h"
#include "catalog/pg_operator_d.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/tuplesort.h"
#include "utils/tuplestore.h"

#include "core/errors.h"
#include "core/kernel_pg.h"
#include "core/progress.h"
#include "match/matcher_pg.h"

#define UNKNOWN_CELL PG_UINT32_MAX
#define NO_KEY 0				/* no rule's hash */
#define TICK 1024

/* A record's key and values, read from its packed form */
typedef struct SpillRow
{
	int32		record;
	bool		right;			/* of the right one of two relations */
	const char *cell[MATCHER_MAX_COLUMNS + 1];	/* the key, then the columns; NULL where unknown */
	uint32		length[MATCHER_MAX_COLUMNS + 1];
} SpillRow;

/* Keys of a rule that are too common, ascending by hash */
typedef struct SpillSkipped
{
	uint64	   *key;
	char	  **member;			/* the key of a record that has it */
	int32	   *size;			/* how many have */
	int			count;
	int			room;
} SpillSkipped;

typedef struct SpillTerm
{
	uint64		hash;
	int32		comparison;		/* -1: free */
	double		frequency;
} SpillTerm;

struct MatcherSpill
{
	const Matcher *matcher;
	MemoryContext context;
	Size		budget;			/* bytes */
	Tuplestorestate *rows;
	TupleDesc	row_desc;		/* (bytea) */
	TupleDesc	keyed_desc;		/* (hash int8, record int4, row bytea) */
	StringInfoData packed;
	int32		nrecords;
	int32		nleft;
	int			nrules;
	MatchRule  *rule;			/* key rules first */
	SpillSkipped *skipped;		/* of each rule */
	char	  **largest_key;	/* of a record in the largest block left out of each rule */
	bool		compared[MATCHER_MAX_COLUMNS];	/* the others serve rules only, which go by hashes */
	MatchModel	model;			/* tables without frequencies */
	SpillTerm  *term;			/* open addressing */
	uint32		nterms;
	uint32		term_slots;		/* a power of two */
};

/* ---- rows ---- */

/* Append a cell to a packed row. */
static void
pack_cell(StringInfo packed, const char *text, size_t length)
{
	uint32		size = text == NULL ? UNKNOWN_CELL : (uint32) length;

	appendBinaryStringInfo(packed, (const char *) &size, sizeof(size));
	if (text != NULL)
		appendBinaryStringInfo(packed, text, (int) length);
}

/* One row of the relation into the tuplestore. */
static void
keep_row(const MatcherCell *cells, int ncells, void *arg)
{
	MatcherSpill *spill = arg;
	StringInfo	packed = &spill->packed;
	bool		nulls[1] = {false};
	Datum		values[1];

	resetStringInfo(packed);
	appendStringInfoSpaces(packed, VARHDRSZ);
	appendBinaryStringInfo(packed, (const char *) &spill->nrecords, sizeof(int32));
	for (int i = 0; i < ncells; i++)
		pack_cell(packed, cells[i].text, cells[i].length);
	SET_VARSIZE(packed->data, packed->len);
	values[0] = PointerGetDatum(packed->data);
	tuplestore_putvalues(spill->rows, spill->row_desc, values, nulls);
	if (++spill->nrecords % TICK == 0)
	{
		CHECK_FOR_INTERRUPTS();
		progress_update(spill->nrecords, 0);
	}
}

/* The cells of a packed row, pointing into it. */
static void
unpack_row(const MatcherSpill *spill, Datum packed, SpillRow *row)
{
	const char *at = VARDATA_ANY(DatumGetPointer(packed));

	memcpy(&row->record, at, sizeof(int32));
	at += sizeof(int32);
	row->right = row->record >= spill->nleft && OidIsValid(spill->matcher->right_relid);
	for (int i = 0; i <= spill->matcher->ncolumns; i++)
	{
		memcpy(&row->length[i], at, sizeof(uint32));
		at += sizeof(uint32);
		row->cell[i] = row->length[i] == UNKNOWN_CELL ? NULL : at;
		at += row->length[i] == UNKNOWN_CELL ? 0 : row->length[i];
	}
}

/* ---- keys ---- */

/* The hash of a record's key under a key rule; NO_KEY where a part is unknown. */
static uint64
key_hash(const MatchRecords *records, const MatchRule *rule, const SpillRow *row)
{
	uint64		key = 0;

	for (int p = 0; p < rule->nparts; p++)
	{
		int			i = rule->column[p] + 1;
		size_t		length = row->length[i];

		if (row->cell[i] == NULL)
			return NO_KEY;
		if (rule->prefix[p] > 0)
			length = match_prefix_bytes(records, row->cell[i], length, rule->prefix[p]);
		key = (key ^ match_hash(row->cell[i], length)) * UINT64CONST(0x9E3779B97F4A7C15);
		key = (key << 31) | (key >> 33);
	}
	return key == NO_KEY ? 1 : key;
}

typedef struct HashList
{
	uint64	   *hash;
	int			count;
	int			room;
} HashList;

/* Append a hash. */
static void
add_hash(HashList *list, uint64 hash)
{
	if (list->count == list->room)
	{
		list->room = list->room == 0 ? 64 : list->room * 2;
		list->hash = list->hash == NULL ? palloc(sizeof(uint64) * list->room) : repalloc_huge(list->hash, sizeof(uint64) * list->room);
	}
	list->hash[list->count++] = hash;
}

/* For qsort and bsearch: by the signed value, as the server sorts int8. */
static int
compare_hashes(const void *a, const void *b)
{
	int64		x = *(const int64 *) a;
	int64		y = *(const int64 *) b;

	return (x > y) - (x < y);
}

/* A record's keys under any rule, ascending, each once, without NO_KEY. */
static void
rule_hashes(const MatchRecords *records, const MatchRule *rule, const SpillRow *row, HashList *list)
{
	int			n = 0;

	list->count = 0;
	if (rule->kind == MATCH_RULE_KEY)
	{
		uint64		key = key_hash(records, rule, row);

		if (key != NO_KEY)
			add_hash(list, key);
		return;
	}
	for (int p = 0; p < rule->nparts; p++)
	{
		int			i = rule->column[p] + 1;
		size_t		position = 0;
		size_t		length;
		size_t		start;

		while (row->cell[i] != NULL && match_next_key(rule, row->cell[i], row->length[i], &position, &start, &length))
			add_hash(list, match_hash(row->cell[i] + start, length));
	}
	qsort(list->hash, list->count, sizeof(uint64), compare_hashes);
	for (int k = 0; k < list->count; k++)
	{
		if (list->hash[k] != NO_KEY && (n == 0 || list->hash[k] != list->hash[n - 1]))
			list->hash[n++] = list->hash[k];
	}
	list->count = n;
}

/* Whether a key is too common. */
static bool
is_skipped(const SpillSkipped *skipped, uint64 key)
{
	return skipped->count > 0 && bsearch(&key, skipped->key, skipped->count, sizeof(uint64), compare_hashes) != NULL;
}

/* ---- frequencies ---- */

/* The slot of a value's frequency: its own or a free one. */
static SpillTerm *
term_slot(const MatcherSpill *spill, int comparison, uint64 hash)
{
	uint32		at = (uint32) (hash >> 20) + (uint32) comparison * 0x9E3779B9;

	for (;; at++)
	{
		SpillTerm  *slot = &spill->term[at & (spill->term_slots - 1)];

		if (slot->comparison < 0 || (slot->comparison == comparison && slot->hash == hash))
			return slot;
	}
}

/* Slots, all free. */
static void
make_slots(MatcherSpill *spill, uint32 slots)
{
	spill->term = MemoryContextAllocHuge(spill->context, sizeof(SpillTerm) * (Size) slots);
	spill->term_slots = slots;
	for (uint32 i = 0; i < slots; i++)
		spill->term[i].comparison = -1;
}

/* One stored frequency. */
static void
keep_term(int comparison, uint64 hash, double frequency, void *arg)
{
	MatcherSpill *spill = arg;
	SpillTerm  *slot;

	if ((uint64) spill->nterms * 2 >= spill->term_slots)
	{
		SpillTerm  *old = spill->term;
		uint32		slots = spill->term_slots;

		make_slots(spill, slots * 2);
		for (uint32 i = 0; i < slots; i++)
		{
			if (old[i].comparison >= 0)
				*term_slot(spill, old[i].comparison, old[i].hash) = old[i];
		}
		pfree(old);
	}
	slot = term_slot(spill, comparison, hash);
	slot->comparison = comparison;
	slot->hash = hash;
	slot->frequency = frequency;
	spill->nterms++;
}

/* The frequencies of a batch's values. */
static void
batch_frequencies(const MatcherSpill *spill, const MatchRecords *records, MatchModel *model)
{
	matcher_start_frequencies(spill->matcher, records, model);
	for (int c = 0; c < spill->matcher->ncomparisons; c++)
	{
		const MatchColumn *column = &records->column[spill->matcher->comparison[c].column];

		for (int32 v = 0; model->frequency[c] != NULL && v < column->nvalues; v++)
		{
			const SpillTerm *slot = term_slot(spill, c, column->hash[v]);

			if (slot->comparison >= 0)
				model->frequency[c][v] = slot->frequency;
		}
	}
}

/* ---- batches of blocks ---- */

typedef struct SpillMember
{
	int32		record;			/* of the relation */
	bool		right;
	int			keys;			/* where its hashes under the rules so far begin in hash; they end where the next one's begin */
} SpillMember;

typedef struct SpillBatch
{
	MatcherSpill *spill;
	int			r;				/* the rule */
	MemoryContext context;
	MatchRecords records;
	int			room;
	SpillMember *member;		/* beside records */
	HashList	hash;			/* of all members: of each rule up to r its number, then the hashes */
	HashList	scratch;
	int			nblocks;
	int			block_room;
	int32	   *start;			/* of each block in records */
} SpillBatch;

/* Begin an empty batch. */
static void
batch_start(SpillBatch *batch)
{
	const Matcher *matcher = batch->spill->matcher;
	MemoryContext caller = MemoryContextSwitchTo(batch->context);
	KernelEnv	env = kernel_env_pg(batch->context);

	MemoryContextReset(batch->context);
	match_records_init(&batch->records, matcher->ncolumns, &env);
	matcher_records_encoding(&batch->records);
	for (int c = 0; c < matcher->ncolumns; c++)
		batch->records.column[c].keep_text = matcher->column[c].keep_text;
	batch->room = 1024;
	batch->member = palloc(sizeof(SpillMember) * batch->room);
	batch->block_room = 1024;
	batch->start = palloc(sizeof(int32) * batch->block_room);
	batch->nblocks = 0;
	memset(&batch->hash, 0, sizeof(HashList));
	memset(&batch->scratch, 0, sizeof(HashList));
	MemoryContextSwitchTo(caller);
}

/* A record's keys under the rules before this one, and for rules of sets under this one. */
static void
add_hashes(SpillBatch *batch, const SpillRow *row)
{
	MatcherSpill *spill = batch->spill;
	int			last = spill->rule[batch->r].kind == MATCH_RULE_KEY ? batch->r : batch->r + 1;

	for (int r = 0; r < last; r++)
	{
		int			at = batch->hash.count;

		rule_hashes(&batch->records, &spill->rule[r], row, &batch->scratch);
		add_hash(&batch->hash, 0);
		for (int k = 0; k < batch->scratch.count; k++)
		{
			if (!is_skipped(&spill->skipped[r], batch->scratch.hash[k]))
			{
				add_hash(&batch->hash, batch->scratch.hash[k]);
				batch->hash.hash[at]++;
			}
		}
	}
}

/* Add a record to the batch. */
static void
batch_add(SpillBatch *batch, const SpillRow *row)
{
	MemoryContext caller = MemoryContextSwitchTo(batch->context);
	int32		i = match_records_add(&batch->records);

	if (i + 1 >= batch->room)
	{
		batch->room *= 2;
		batch->member = repalloc_huge(batch->member, sizeof(SpillMember) * batch->room);
	}
	batch->member[i].record = row->record;
	batch->member[i].right = row->right;
	batch->member[i].keys = batch->hash.count;
	for (int c = 0; c < batch->records.ncolumns; c++)
	{
		if (row->cell[c + 1] != NULL && batch->spill->compared[c])
			match_records_put(&batch->records, i, c, row->cell[c + 1], row->length[c + 1]);
	}
	add_hashes(batch, row);
	MemoryContextSwitchTo(caller);
}

/* The block that begins at a record is complete. */
static void
batch_block(SpillBatch *batch, int32 start)
{
	if (batch->nblocks + 1 >= batch->block_room)
	{
		batch->block_room *= 2;
		batch->start = repalloc_huge(batch->start, sizeof(int32) * batch->block_room);
	}
	batch->start[batch->nblocks++] = start;
	batch->start[batch->nblocks] = batch->records.nrecords;
}

/* Whether two ascending lists have an element in common. */
static bool
share_hash(const uint64 *a, int na, const uint64 *b, int nb)
{
	for (int i = 0, j = 0; i < na && j < nb;)
	{
		if (a[i] == b[j])
			return true;
		if ((int64) a[i] < (int64) b[j])
			i++;
		else
			j++;
	}
	return false;
}

/* Whether an earlier rule, or an earlier key of this one, has the pair. */
static bool
agreed_before(const SpillBatch *batch, int32 a, int32 b, uint64 block)
{
	const uint64 *x = batch->hash.hash + batch->member[a].keys;
	const uint64 *y = batch->hash.hash + batch->member[b].keys;
	bool		sets = batch->spill->rule[batch->r].kind != MATCH_RULE_KEY;

	for (int r = 0; r < batch->r; r++)
	{
		if (share_hash(x + 1, (int) x[0], y + 1, (int) y[0]))
			return true;
		x += x[0] + 1;
		y += y[0] + 1;
	}
	if (sets)
	{
		int			nx = 0;
		int			ny = 0;

		while (nx < (int) x[0] && (int64) x[1 + nx] < (int64) block)
			nx++;
		while (ny < (int) y[0] && (int64) y[1 + ny] < (int64) block)
			ny++;
		return share_hash(x + 1, nx, y + 1, ny);
	}
	return false;
}

/* Score the pairs of the gathered blocks. */
static void
batch_score(SpillBatch *batch, const uint64 *block_hash, MatcherPairs *pairs, int64 least, double *done, double total)
{
	MatcherSpill *spill = batch->spill;
	const Matcher *matcher = spill->matcher;
	MemoryContext caller = MemoryContextSwitchTo(batch->context);
	MatchComparison comparison[MATCH_MAX_COMPARISONS];
	MatchModel	model = spill->model;
	MatchScorer scorer;
	bool		two = OidIsValid(matcher->right_relid);

	match_records_settle(&batch->records);
	memcpy(comparison, matcher->comparison, sizeof(comparison));
	match_comparisons_prepare(&batch->records, comparison, matcher->ncomparisons, matcher_utf8());
	batch_frequencies(spill, &batch->records, &model);
	match_scorer_init(&scorer, &batch->records, comparison, &model, matcher_workspace(&batch->records.env));
	for (int k = 0; k < batch->nblocks; k++)
	{
		for (int32 a = batch->start[k]; a < batch->start[k + 1]; a++)
		{
			for (int32 b = a + 1; b < batch->start[k + 1]; b++)
			{
				int64		weight;

				if ((two && batch->member[a].right == batch->member[b].right) || agreed_before(batch, a, b, block_hash[k]))
					continue;
				weight = match_score_least(&scorer, a, b, least);
				if (weight >= least)
					matcher_keep_pair(pairs, spill->context, batch->member[a].record, batch->member[b].record,
									  matcher_odds(matcher, &scorer, weight));
			}
		}
		CHECK_FOR_INTERRUPTS();
	}
	*done += batch->records.nrecords;
	progress_update(*done, total);
	MemoryContextSwitchTo(caller);
	batch_start(batch);
}

/* ---- one rule ---- */

/* The relation's rows, sorted by their keys under a rule. */
static Tuplesortstate *
sort_by_rule(MatcherSpill *spill, const MatchRecords *records, const MatchRule *rule)
{
	AttrNumber	columns[2] = {1, 2};
	Oid			operators[2] = {Int8LessOperator, Int4LessOperator};
	Oid			collations[2] = {InvalidOid, InvalidOid};
	bool		nulls_first[2] = {false, false};
	Tuplesortstate *sort = tuplesort_begin_heap(spill->keyed_desc, 2, columns, operators, collations, nulls_first,
												Max(64, (int) (spill->budget / 1024 / 2)), NULL, TUPLESORT_NONE);
	TupleTableSlot *from = MakeSingleTupleTableSlot(spill->row_desc, &TTSOpsMinimalTuple);
	TupleTableSlot *to = MakeSingleTupleTableSlot(spill->keyed_desc, &TTSOpsVirtual);
	HashList	hashes = {0};
	int32		n = 0;

	tuplestore_rescan(spill->rows);
	while (tuplestore_gettupleslot(spill->rows, true, false, from))
	{
		SpillRow	row;
		bool		isnull;
		Datum		packed = slot_getattr(from, 1, &isnull);

		unpack_row(spill, packed, &row);
		rule_hashes(records, rule, &row, &hashes);
		for (int k = 0; k < hashes.count; k++)
		{
			ExecClearTuple(to);
			to->tts_values[0] = Int64GetDatum((int64) hashes.hash[k]);
			to->tts_values[1] = Int32GetDatum(row.record);
			to->tts_values[2] = packed;
			memset(to->tts_isnull, 0, 3);
			ExecStoreVirtualTuple(to);
			tuplesort_puttupleslot(sort, to);
		}
		if (++n % TICK == 0)
			CHECK_FOR_INTERRUPTS();
	}
	ExecDropSingleTupleTableSlot(from);
	ExecDropSingleTupleTableSlot(to);
	tuplesort_performsort(sort);
	return sort;
}

/* A block as it is read: the first row waits until a second one shows that there are pairs. */
typedef struct SpillBlock
{
	uint64		hash;
	int32		start;			/* in the batch */
	double		left;
	double		right;
	bool		skipped;		/* too large: its other rows are counted only */
	StringInfoData first;		/* packed */
	char	   *first_key;
} SpillBlock;

/* Pairs in a block. */
static double
block_pairs(const MatcherSpill *spill, const SpillBlock *block)
{
	return OidIsValid(spill->matcher->right_relid) ? block->left * block->right : block->left * (block->left - 1) / 2;
}

/* Note a block that is too large. */
static void
skip_block(MatcherSpill *spill, int r, const SpillBlock *block)
{
	MatchRule  *rule = &spill->rule[r];
	SpillSkipped *skipped = &spill->skipped[r];

	if (block_pairs(spill, block) == 0)
		return;
	if (skipped->count == skipped->room)
	{
		skipped->room = skipped->room == 0 ? 16 : skipped->room * 2;
		skipped->key = skipped->key == NULL ? MemoryContextAlloc(spill->context, sizeof(uint64) * skipped->room) :
			repalloc_huge(skipped->key, sizeof(uint64) * skipped->room);
		skipped->member = skipped->member == NULL ? MemoryContextAlloc(spill->context, sizeof(char *) * skipped->room) :
			repalloc_huge(skipped->member, sizeof(char *) * skipped->room);
		skipped->size = skipped->size == NULL ? MemoryContextAlloc(spill->context, sizeof(int32) * skipped->room) :
			repalloc_huge(skipped->size, sizeof(int32) * skipped->room);
	}
	skipped->member[skipped->count] = MemoryContextStrdup(spill->context, block->first_key);
	skipped->size[skipped->count] = (int32) (block->left + block->right);
	skipped->key[skipped->count++] = block->hash;
	rule->skipped_blocks++;
	rule->skipped_pairs += block_pairs(spill, block);
	if (block->left + block->right > rule->largest)
	{
		rule->largest = (int32) (block->left + block->right);
		spill->largest_key[r] = MemoryContextStrdup(spill->context, block->first_key);
	}
}

/* The packed form of a row's datum, kept. */
static void
keep_first(SpillBlock *block, Datum packed)
{
	resetStringInfo(&block->first);
	appendBinaryStringInfo(&block->first, DatumGetPointer(packed), (int) VARSIZE_ANY(DatumGetPointer(packed)));
}

/* Put one more row into the block that is being read. */
static void
block_add(SpillBatch *batch, SpillBlock *block, Datum packed, const SpillRow *row)
{
	const MatchRule *rule = &batch->spill->rule[batch->r];
	double		size = block->left + block->right;

	if (size == 0)
	{
		keep_first(block, packed);
		block->first_key = pstrdup(pnstrdup(row->cell[0], row->length[0]));
		block->start = batch->records.nrecords;
	}
	*(row->right ? &block->right : &block->left) += 1;
	block->skipped = rule->max_block > 0 && size + 1 > rule->max_block;
	if (size == 1 && !block->skipped)
	{
		SpillRow	first;

		unpack_row(batch->spill, PointerGetDatum(block->first.data), &first);
		batch_add(batch, &first);
	}
	if (size >= 1 && !block->skipped)
		batch_add(batch, row);
}

/* Find a rule's pairs. */
static void
spill_rule(MatcherSpill *spill, int r, MatcherPairs *pairs, int64 least, double *done, double total)
{
	SpillBatch	batch = {.spill = spill, .r = r};
	SpillBlock	block = {0};
	HashList	hashes = {0};	/* of the gathered blocks */
	TupleTableSlot *slot = MakeSingleTupleTableSlot(spill->keyed_desc, &TTSOpsMinimalTuple);
	Tuplesortstate *sort;
	bool		more;

	batch.context = AllocSetContextCreate(CurrentMemoryContext, "salesops match batch", ALLOCSET_DEFAULT_SIZES);
	batch_start(&batch);
	initStringInfo(&block.first);
	sort = sort_by_rule(spill, &batch.records, &spill->rule[r]);
	do
	{
		SpillRow	row;
		bool		isnull;
		uint64		hash = NO_KEY;

		more = tuplesort_gettupleslot(sort, true, false, slot, NULL);
		if (more)
			hash = (uint64) DatumGetInt64(slot_getattr(slot, 1, &isnull));
		if (!more || hash != block.hash)
		{
			if (block.skipped)
				skip_block(spill, r, &block);
			else if (block_pairs(spill, &block) > 0)
			{
				batch_block(&batch, block.start);
				add_hash(&hashes, block.hash);
			}
			if (!more || MemoryContextMemAllocated(batch.context, true) > spill->budget / 6)
			{
				batch_score(&batch, hashes.hash, pairs, least, done, total);
				hashes.count = 0;
			}
			block.hash = hash;
			block.left = block.right = 0;
			block.skipped = false;
			if (block.first_key != NULL)
				pfree(block.first_key);
			block.first_key = NULL;
		}
		if (more)
		{
			Datum		packed = slot_getattr(slot, 3, &isnull);

			unpack_row(spill, packed, &row);
			block_add(&batch, &block, packed, &row);
		}
	} while (more);
	tuplesort_end(sort);
	ExecDropSingleTupleTableSlot(slot);
	MemoryContextDelete(batch.context);
}

/* ---- the whole ---- */

MatcherSpill *
matcher_spill_start(Matcher *matcher)
{
	MatcherSpill *spill = palloc0(sizeof(MatcherSpill));

	spill->matcher = matcher;
	spill->context = CurrentMemoryContext;
	spill->budget = (Size) maintenance_work_mem * 1024;
	spill->row_desc = CreateTemplateTupleDesc(1);
	TupleDescInitEntry(spill->row_desc, 1, "row", BYTEAOID, -1, 0);
	spill->keyed_desc = CreateTemplateTupleDesc(3);
	TupleDescInitEntry(spill->keyed_desc, 1, "hash", INT8OID, -1, 0);
	TupleDescInitEntry(spill->keyed_desc, 2, "record", INT4OID, -1, 0);
	TupleDescInitEntry(spill->keyed_desc, 3, "row", BYTEAOID, -1, 0);
	initStringInfo(&spill->packed);
	spill->rows = tuplestore_begin_heap(false, false, Max(64, maintenance_work_mem / 8));
	progress_phase("writing records aside", 0);
	matcher_records_each(matcher, matcher->relid, matcher->key, keep_row, spill);
	spill->nleft = OidIsValid(matcher->right_relid) ? spill->nrecords : 0;
	if (OidIsValid(matcher->right_relid))
		matcher_records_each(matcher, matcher->right_relid, matcher->right_key, keep_row, spill);
	match_rules_order(matcher->rule, matcher->nrules);
	spill->nrules = matcher->nrules;
	spill->rule = matcher->rule;
	spill->skipped = palloc0(sizeof(SpillSkipped) * (matcher->nrules + 1));
	spill->largest_key = palloc0(sizeof(char *) * (matcher->nrules + 1));
	for (int c = 0; c < matcher->ncomparisons; c++)
		spill->compared[matcher->comparison[c].column] = true;
	matcher_model_tables(matcher, &spill->model);
	make_slots(spill, 1024);
	matcher_each_term(matcher, keep_term, spill);
	return spill;
}

void
matcher_spill_pairs(MatcherSpill *spill, int64 least, MatcherPairs *pairs)
{
	double		done = 0;

	memset(pairs, 0, sizeof(*pairs));
	progress_phase("scoring pairs", (double) spill->nrecords * spill->nrules);
	for (int r = 0; r < spill->nrules; r++)
	{
		MatchRule  *rule = &spill->rule[r];
		MemoryContext context = AllocSetContextCreate(spill->context, "salesops match rule", ALLOCSET_DEFAULT_SIZES);
		MemoryContext caller = MemoryContextSwitchTo(context);

		rule->skipped_blocks = 0;
		rule->skipped_pairs = 0;
		rule->largest = 0;
		spill_rule(spill, r, pairs, least, &done, (double) spill->nrecords * spill->nrules);
		MemoryContextSwitchTo(caller);
		MemoryContextDelete(context);
	}
}

void
matcher_spill_each_key(const MatcherSpill *spill, MatcherKeyCallback each, void *arg)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(spill->row_desc, &TTSOpsMinimalTuple);

	tuplestore_rescan(spill->rows);
	while (tuplestore_gettupleslot(spill->rows, true, false, slot))
	{
		SpillRow	row;
		bool		isnull;

		unpack_row(spill, slot_getattr(slot, 1, &isnull), &row);
		each(row.cell[0], row.length[0], row.right, arg);
		if (row.record % TICK == 0)
			CHECK_FOR_INTERRUPTS();
	}
	ExecDropSingleTupleTableSlot(slot);
}

/* Whether a record's key is among decided ones. */
static bool
is_decided(const MatchRecords *decided, const SpillRow *row)
{
	return decided->nrecords > 0 && match_column_find(&decided->column[0], row->cell[0], row->length[0]) != MATCH_NULL;
}

void
matcher_spill_finish(MatcherSpill *spill, const MatchRecords *decided, MatcherPairs *pairs, MatcherRecords *loaded)
{
	int32	   *place = MemoryContextAllocHuge(spill->context, sizeof(int32) * ((Size) spill->nrecords + 1));
	TupleTableSlot *slot = MakeSingleTupleTableSlot(spill->row_desc, &TTSOpsMinimalTuple);

	memset(place, 0xFF, sizeof(int32) * (Size) spill->nrecords);
	for (size_t i = 0; i < pairs->count; i++)
		place[pairs->edge[i].a] = place[pairs->edge[i].b] = 0;
	progress_phase("reading records of pairs", spill->nrecords);
	matcher_records_start(spill->matcher, loaded);
	tuplestore_rescan(spill->rows);
	while (tuplestore_gettupleslot(spill->rows, true, false, slot))
	{
		SpillRow	row;
		bool		isnull;

		unpack_row(spill, slot_getattr(slot, 1, &isnull), &row);
		if (row.record == spill->nleft && OidIsValid(spill->matcher->right_relid))
			loaded->records.nleft = loaded->records.nrecords;
		if (row.record % TICK == 0)
			CHECK_FOR_INTERRUPTS();
		if (place[row.record] < 0 && !is_decided(decided, &row))
			continue;
		place[row.record] = loaded->records.nrecords;
		matcher_records_put(loaded, (const char *const *) row.cell, row.length);
	}
	match_records_settle(&loaded->records);
	ExecDropSingleTupleTableSlot(slot);
	tuplestore_end(spill->rows);
	spill->rows = NULL;
	for (size_t i = 0; i < pairs->count; i++)
	{
		pairs->edge[i].a = place[pairs->edge[i].a];
		pairs->edge[i].b = place[pairs->edge[i].b];
	}
	pfree(place);
	pfree(spill->term);
	spill->term = NULL;
}

/* log2 odds of the prior, fixed point, as a scorer has it */
int64
matcher_spill_prior(const MatcherSpill *spill)
{
	return match_fixed_prior(&spill->model);
}

const char *const *
matcher_spill_largest(const MatcherSpill *spill)
{
	return (const char *const *) spill->largest_key;
}

int
matcher_spill_skipped(const MatcherSpill *spill, int r, const uint64 **hash, char *const **member, const int32 **size)
{
	*hash = spill->skipped[r].key;
	*member = spill->skipped[r].member;
	*size = spill->skipped[r].size;
	return spill->skipped[r].count;
}
