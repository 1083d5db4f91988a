/*
 * gather_pg.c
 *		history_spells(), history_states(): the stays of all deals, or where they stand, for reports that read the whole history.
 *
 * What spells_of() and last_change_of() of collect_changes(...) answer deal by deal through the server's hash aggregate, in one
 * pass of our own. A history lies in the order of time, so that a deal's changes are far apart: with an aggregate each change waits
 * for memory half a dozen times. Here changes are put into parts by the hash of their deal as they are read, each written where the
 * last one of its part ended; then one part after another is sorted by hash and walked, small enough to stay in the processor's
 * cache. When the parts take more memory than a hash table may (work_mem, hash_mem_multiplier), all go to temporary files, and come
 * back one at a time.
 *
 * For one deal, or a few, deal_spells() and pipeline_as_of() are better: they find them by an index. Deals come in no particular order.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "storage/buffile.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

#include "core/compat.h"
#include "core/spi.h"
#include "pipeline/spells_pg.h"

PG_FUNCTION_INFO_V1(salesops_history_spells);
PG_FUNCTION_INFO_V1(salesops_history_states);

#define PARTS 64				/* by the highest bits of the hash */
#define PART_SHIFT 26
#define FIRST_CHUNK_BYTES 1024
#define LAST_CHUNK_BYTES (64 * 1024)

/* One change with its deal; the deal's key follows, then the change, aligned */
typedef struct Record
{
	uint32		hash;
	uint32		size;			/* to the next one */
	int32		key_length;		/* -1: NULL */
	int32		change;			/* where it begins */
} Record;

/* Records one after another */
typedef struct Chunk
{
	struct Chunk *next;
	Size		used;
	Size		size;
	char	   *data;
} Chunk;

typedef struct Part
{
	Chunk	   *chunks;			/* the last one first */
	BufFile    *file;			/* NULL where nothing was spilled */
	Size		spilled;		/* bytes */
	uint32		count;			/* records in all */
} Part;

/* A stage as the pipeline has it */
typedef struct StageEntry
{
	char	   *name;
	int			length;
	NullableDatum ordinal;
	NullableDatum kind;			/* text */
} StageEntry;

typedef struct Gathering
{
	MemoryContext context;		/* of the chunks */
	MemoryContext files;		/* for as long as the call */
	MemoryContext deal;			/* of the deal at hand */
	Size		bytes;
	Size		limit;
	Part		parts[PARTS];
	List	   *stages;			/* of StageEntry */
	StageEntry *stage;			/* of the row before */
	Datum		kinds[KINDS];
	ReturnSetInfo *result;
	bool		wanted[1 + SPELL_COLUMNS];
	bool		open_only;
	bool		states;			/* not stays */
} Gathering;

/* A record to sort */
typedef struct Entry
{
	uint32		hash;
	const Record *record;
} Entry;

#define ST_SORT sort_entries
#define ST_ELEMENT_TYPE Entry
#define ST_COMPARE(a, b) ((a)->hash < (b)->hash ? -1 : (a)->hash > (b)->hash)
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

/* Columns of the history as it is read */
enum
{
	READ_KEY,
	READ_STAGE,
	READ_ENTERED_AT,
	READ_AMOUNT,
	READ_CLOSE_DATE,
	READ_NUMBER,
	READ_IS_ROW
};

/* ---- reading ---- */

/* One stage of the pipeline */
static void
collect_stage(TupleTableSlot *slot, void *arg)
{
	Gathering  *gather = arg;
	StageEntry *entry = palloc0(sizeof(StageEntry));

	entry->name = TextDatumGetCString(slot->tts_values[0]);
	entry->length = strlen(entry->name);
	entry->ordinal.value = slot->tts_values[1];
	entry->ordinal.isnull = slot->tts_isnull[1];
	entry->kind.isnull = slot->tts_isnull[2];
	if (!entry->kind.isnull)
		entry->kind.value = CStringGetTextDatum(TextDatumGetCString(slot->tts_values[2]));
	gather->stages = lappend(gather->stages, entry);
}

/* A stage by its name; NULL for one that the pipeline does not have */
static StageEntry *
find_stage(Gathering *gather, const char *name, int length)
{
	StageEntry *entry = gather->stage;
	ListCell   *cell;

	if (entry && entry->length == length && memcmp(entry->name, name, length) == 0)
		return entry;
	foreach(cell, gather->stages)
	{
		entry = lfirst(cell);
		if (entry->length == length && memcmp(entry->name, name, length) == 0)
			return gather->stage = entry;
	}
	return NULL;
}

/* Write all parts to their files. */
static void
spill(Gathering *gather)
{
	MemoryContext old = MemoryContextSwitchTo(gather->files);

	for (int i = 0; i < PARTS; i++)
	{
		Part	   *part = &gather->parts[i];

		if (part->chunks && part->file == NULL)
			part->file = BufFileCreateTemp(false);
		for (Chunk *chunk = part->chunks; chunk; chunk = chunk->next)
		{
			BufFileWrite(part->file, chunk->data, chunk->used);
			part->spilled += chunk->used;
		}
		part->chunks = NULL;
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(gather->context);
	gather->bytes = 0;
}

/* Room for a record at the end of a part */
static Record *
add_record(Gathering *gather, Part *part, Size size)
{
	Chunk	   *chunk = part->chunks;
	Record	   *record;

	if (chunk == NULL || chunk->size - chunk->used < size)
	{
		Size		wanted = Max(size, chunk ? Min(chunk->size * 2, LAST_CHUNK_BYTES) : FIRST_CHUNK_BYTES);

		if (gather->bytes + wanted > gather->limit)
			spill(gather);
		chunk = MemoryContextAlloc(gather->context, sizeof(Chunk));
		chunk->data = MemoryContextAllocHuge(gather->context, wanted);
		chunk->size = wanted;
		chunk->used = 0;
		chunk->next = part->chunks;
		part->chunks = chunk;
		gather->bytes += wanted;
	}
	record = (Record *) (chunk->data + chunk->used);
	chunk->used += size;
	part->count++;
	return record;
}

/* One change */
static void
collect_record(TupleTableSlot *slot, void *arg)
{
	Gathering  *gather = arg;
	NullableDatum columns[CHANGE_COLUMNS];
	StageEntry *stage = NULL;
	text	   *key = slot->tts_isnull[READ_KEY] ? NULL : DatumGetTextPP(slot->tts_values[READ_KEY]);
	int			length = key ? VARSIZE_ANY_EXHDR(key) : 0;
	Size		before = MAXALIGN(sizeof(Record) + length);
	uint32		hash = key ? hash_bytes((unsigned char *) VARDATA_ANY(key), length) : 0;
	Size		size;
	Record	   *record;

	columns[CHANGE_STAGE] = (NullableDatum) {slot->tts_values[READ_STAGE], slot->tts_isnull[READ_STAGE]};
	columns[CHANGE_ENTERED_AT] = (NullableDatum) {slot->tts_values[READ_ENTERED_AT], slot->tts_isnull[READ_ENTERED_AT]};
	columns[CHANGE_AMOUNT] = (NullableDatum) {slot->tts_values[READ_AMOUNT], slot->tts_isnull[READ_AMOUNT]};
	columns[CHANGE_CLOSE_DATE] = (NullableDatum) {slot->tts_values[READ_CLOSE_DATE], slot->tts_isnull[READ_CLOSE_DATE]};
	columns[CHANGE_NUMBER] = (NullableDatum) {slot->tts_values[READ_NUMBER], slot->tts_isnull[READ_NUMBER]};
	columns[CHANGE_IS_ROW] = (NullableDatum) {slot->tts_values[READ_IS_ROW], slot->tts_isnull[READ_IS_ROW]};
	size = before + spells_change_size(columns);
	if (size > MaxAllocSize)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a change of a deal is too large")));
	if (!columns[CHANGE_STAGE].isnull)
	{
		text	   *name = (text *) DatumGetPointer(columns[CHANGE_STAGE].value);

		stage = find_stage(gather, VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
	}
	columns[CHANGE_ORDINAL] = stage ? stage->ordinal : (NullableDatum) {0, true};
	columns[CHANGE_KIND] = stage ? stage->kind : (NullableDatum) {0, true};
	record = add_record(gather, &gather->parts[hash >> PART_SHIFT], size);
	record->hash = hash;
	record->size = (uint32) size;
	record->key_length = key ? length : -1;
	record->change = (int32) before;
	memcpy((char *) record + sizeof(Record), key ? VARDATA_ANY(key) : "", length);
	spells_fill_change((Change *) ((char *) record + before), size - before, columns);
}

/* The closings that the deals' own rows know of */
#define CLOSINGS "SELECT o.opportunity_id, o.stage, o.closed_at, NULL, NULL, NULL, true FROM salesops.opportunity o" \
	" WHERE o.closed_at <= $1 AND o.opportunity_id IS NOT NULL" \
	" AND o.stage IN (SELECT k.stage FROM salesops.pipeline_stage k WHERE k.kind <> 'open')"

/* Read the stages and the history as the one who asks: what is written of deals up to a time, and for stays the closings. */
static void
read_history(Gathering *gather, TimestampTz as_of)
{
	SpiArg		args[] = {spi_timestamptz(as_of)};
	SpiScope	scope;

	spi_open(&scope, SPI_PINNED_AS_CALLER);
	(void) spi_stream("SELECT p.stage, p.ordinal, p.kind FROM salesops.pipeline_stage p", 0, NULL, true, collect_stage, gather);
	(void) spi_stream(psprintf("SELECT c.opportunity_id, c.stage, c.entered_at, %s, %s, c.change_number, false"
							   " FROM salesops.opportunity_stage_change c"
							   " WHERE c.entered_at <= $1 AND c.entered_at > '-infinity' AND c.entered_at < 'infinity'%s",
							   gather->states || gather->wanted[1 + SPELL_AMOUNT] ? "c.amount" : "NULL::numeric",
							   gather->states || gather->wanted[1 + SPELL_CLOSE_DATE] ? "c.close_date" : "NULL::date",
							   gather->states ? "" : " UNION ALL " CLOSINGS),
					  1, args, true, collect_record, gather);
	spi_close(&scope);
}

/* ---- walking ---- */

/* One row of the answer: the deal, and what is wanted of the other columns */
static void
put_row(Gathering *gather, const Record *deal, const SpellRow *row, int columns)
{
	Datum		values[1 + SPELL_COLUMNS];
	bool		nulls[1 + SPELL_COLUMNS];

	values[0] = (Datum) 0;
	nulls[0] = deal->key_length < 0 || !gather->wanted[0];
	if (!nulls[0])
		values[0] = PointerGetDatum(cstring_to_text_with_len((const char *) deal + sizeof(Record), deal->key_length));
	for (int i = 0; i < columns; i++)
	{
		values[i + 1] = row->values[i];
		nulls[i + 1] = row->nulls[i] || !gather->wanted[i + 1];
	}
	tuplestore_putvalues(gather->result->setResult, gather->result->setDesc, values, nulls);
}

/* The rows of one deal; a deal that has left stands nowhere */
static void
walk_deal(Gathering *gather, const Record *deal, const Change **changes, uint32 count)
{
	MemoryContext old = MemoryContextSwitchTo(gather->deal);
	SpellRow	row;

	if (gather->states)
	{
		spells_fill_state(&row, gather->kinds, changes, count);
		if (!row.nulls[STATE_STAGE])
			put_row(gather, deal, &row, STATE_COLUMNS);
	}
	else
	{
		Life	   *life = spells_make_life(changes, count);

		for (uint32 i = 0; i < life->count; i++)
		{
			if (gather->open_only && life->spells[i].change->kind != KIND_OPEN)
				continue;
			spells_fill_row(&row, gather->kinds, life, &life->spells[i]);
			put_row(gather, deal, &row, SPELL_COLUMNS);
		}
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(gather->deal);
}

/* Same deal? */
static bool
same_deal(const Record *a, const Record *b)
{
	return a->key_length == b->key_length &&
		(a->key_length <= 0 || memcmp((const char *) a + sizeof(Record), (const char *) b + sizeof(Record), a->key_length) == 0);
}

/* Records of one hash, which may be several deals' */
static void
walk_run(Gathering *gather, Entry *run, uint32 count, const Change **changes)
{
	while (count > 0)
	{
		const Record *first = run[0].record;
		uint32		rest = 0;
		uint32		own = 0;

		for (uint32 i = 0; i < count; i++)
		{
			const Record *record = run[i].record;

			if (same_deal(first, record))
				changes[own++] = (const Change *) ((const char *) record + record->change);
			else
				run[rest++] = run[i];
		}
		CHECK_FOR_INTERRUPTS();
		walk_deal(gather, first, changes, own);
		count = rest;
	}
}

/* Add the records that lie in a piece of memory. */
static Entry *
list_records(Entry *next, const char *data, Size size)
{
	for (Size at = 0; at < size; at += ((const Record *) (data + at))->size)
		*next++ = (Entry) {((const Record *) (data + at))->hash, (const Record *) (data + at)};
	return next;
}

/* One part, back from its file where it was spilled */
static void
walk_part(Gathering *gather, Part *part)
{
	MemoryContext old = MemoryContextSwitchTo(gather->context);
	Entry	   *entries = MemoryContextAllocHuge(gather->context, sizeof(Entry) * part->count);
	const Change **changes = MemoryContextAllocHuge(gather->context, sizeof(Change *) * part->count);
	char	   *data = part->spilled > 0 ? MemoryContextAllocHuge(gather->context, part->spilled) : NULL;
	Entry	   *next = entries;

	if (data)
	{
		if (BufFileSeek(part->file, 0, 0, SEEK_SET) != 0 || BufFileRead(part->file, data, part->spilled) != part->spilled)
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not read a temporary file of %zu bytes", part->spilled)));
		BufFileClose(part->file);
		next = list_records(next, data, part->spilled);
	}
	for (Chunk *chunk = part->chunks; chunk; chunk = chunk->next)
		next = list_records(next, chunk->data, chunk->used);
	sort_entries(entries, part->count);
	for (uint32 i = 0, end; i < part->count; i = end)
	{
		for (end = i + 1; end < part->count && entries[end].hash == entries[i].hash;)
			end++;
		walk_run(gather, &entries[i], end - i, changes);
	}
	if (data)
		pfree(data);
	pfree(changes);
	pfree(entries);
	MemoryContextSwitchTo(old);
}

/* ---- the call ---- */

/* Which columns the caller reads; an unknown one is its mistake. */
static void
read_wanted(Gathering *gather, ArrayType *names)
{
	TupleDesc	desc = gather->result->setDesc;
	Datum	   *elements;
	bool	   *nulls;
	int			count;

	deconstruct_array(names, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		char	   *name = nulls[i] ? NULL : TextDatumGetCString(elements[i]);
		int			column = 0;

		while (name && column < desc->natts && strcmp(NameStr(TupleDescAttr(desc, column)->attname), name) != 0)
			column++;
		if (name == NULL || column == desc->natts)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("history_spells() has no column \"%s\"", name ? name : "NULL"),
					 errhint("It has opportunity_id and the columns of salesops.deal_spell.")));
		gather->wanted[column] = true;
	}
}

/* What both begin with */
static Gathering *
begin(FunctionCallInfo fcinfo, int columns)
{
	Gathering  *gather = palloc0(sizeof(Gathering));

	InitMaterializedSRF(fcinfo, 0);
	gather->result = (ReturnSetInfo *) fcinfo->resultinfo;
	gather->context = AllocSetContextCreate(CurrentMemoryContext, "salesops history", ALLOCSET_DEFAULT_SIZES);
	gather->deal = AllocSetContextCreate(CurrentMemoryContext, "salesops deal", ALLOCSET_DEFAULT_SIZES);
	gather->files = CurrentMemoryContext;
	gather->limit = get_hash_memory_limit();
	for (int kind = KIND_OPEN; kind < KINDS; kind++)
		gather->kinds[kind] = CStringGetTextDatum(spells_kind_names[kind]);
	if (gather->result->setDesc->natts != 1 + columns)
		elog(ERROR, "a function with %d columns was expected", 1 + columns);
	return gather;
}

/* Read the history up to a time and answer. */
static Datum
answer(Gathering *gather, TimestampTz as_of)
{
	read_history(gather, as_of);
	for (int i = 0; i < PARTS; i++)
		if (gather->parts[i].count > 0)
			walk_part(gather, &gather->parts[i]);
	MemoryContextDelete(gather->deal);
	MemoryContextDelete(gather->context);
	return (Datum) 0;
}

/*
 * history_spells(as_of, columns, open_only) -> setof stay
 *
 * The stays of deal_spells(), those in open stages only where asked so; columns that are not named are NULL. Errors: 42703.
 */
Datum
salesops_history_spells(PG_FUNCTION_ARGS)
{
	Gathering  *gather = begin(fcinfo, SPELL_COLUMNS);

	gather->open_only = PG_GETARG_BOOL(2);
	read_wanted(gather, PG_GETARG_ARRAYTYPE_P(1));
	return answer(gather, PG_GETARG_TIMESTAMPTZ(0));
}

/* history_states(at) -> setof state: the rows of pipeline_as_of() */
Datum
salesops_history_states(PG_FUNCTION_ARGS)
{
	Gathering  *gather = begin(fcinfo, STATE_COLUMNS);

	gather->states = true;
	memset(gather->wanted, true, sizeof(gather->wanted));
	return answer(gather, PG_GETARG_TIMESTAMPTZ(0));
}
