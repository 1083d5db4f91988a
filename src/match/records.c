/*
 * records.c
 *		Interned columns of records. Nothing here knows what is compared with what.
 */
#include <string.h>

#include "match/records.h"

#define FIRST_ROOM 64

/* Room for ncolumns columns and no record yet. All columns keep their texts until told otherwise. */
void
match_records_init(MatchRecords *records, int ncolumns, const KernelEnv *env)
{
	memset(records, 0, sizeof(*records));
	records->env = *env;
	records->ncolumns = ncolumns;
	records->column = kernel_alloc_array(env, MatchColumn, ncolumns);
	memset(records->column, 0, sizeof(MatchColumn) * (size_t) ncolumns);
	for (int c = 0; c < ncolumns; c++)
		records->column[c].keep_text = true;
}

/* A 64-bit hash, eight bytes at a time with a multiply and fold; not for adversaries who choose a million keys. */
uint64_t
match_hash(const char *text, size_t length)
{
	uint64_t	h = UINT64_C(0x9E3779B97F4A7C15) ^ (length * UINT64_C(0xA0761D6478BD642F));
	uint64_t	word;

	while (length > 0)
	{
		size_t		step = length < 8 ? length : 8;
		__uint128_t product;

		word = 0;
		memcpy(&word, text, step);
		product = (__uint128_t) (h ^ word) * UINT64_C(0xE7037ED1A0B428DB);
		h = (uint64_t) product ^ (uint64_t) (product >> 64);
		h += UINT64_C(0x8EBC6AF09C88C6E3);
		text += step;
		length -= step;
	}
	h ^= h >> 32;
	h *= UINT64_C(0xD6E8FEB86659FD93);
	h ^= h >> 32;
	return h;
}

int32_t
match_records_add(MatchRecords *records)
{
	if (records->nrecords == records->room)
	{
		records->room = records->room == 0 ? FIRST_ROOM : records->room * 2;
		for (int c = 0; c < records->ncolumns; c++)
		{
			MatchColumn *column = &records->column[c];

			if (column->elsewhere)
				continue;
			if (column->keys_only)
				column->key = kernel_realloc_array(&records->env, column->key, uint64_t, records->room);
			else
				column->code = kernel_realloc_array(&records->env, column->code, int32_t, records->room);
		}
	}
	for (int c = 0; c < records->ncolumns; c++)
	{
		if (records->column[c].keys_only)
			records->column[c].key[records->nrecords] = MATCH_NO_KEY;
		else if (!records->column[c].elsewhere)
			records->column[c].code[records->nrecords] = MATCH_NULL;
	}
	return records->nrecords++;
}

/* Where the probe of a hash begins: not the bits of the tag. */
#define FIRST_SLOT(column, hash) ((uint32_t) ((hash) >> 32) & ((column)->nslots - 1))

/* The slot of a text: its own, or the free one where it would go. Without texts the 64-bit hash stands for the value. */
static uint32_t
probe(const MatchColumn *column, const char *text, size_t length, uint64_t hash)
{
	uint32_t	at = FIRST_SLOT(column, hash);

	while (column->slot[at].code != MATCH_NULL)
	{
		int32_t		code = column->slot[at].code;

		if (column->slot[at].tag == (uint32_t) hash && column->hash[code] == hash &&
			(!column->keep_text || (match_value_length(column, code) == length && memcmp(match_value(column, code), text, length) == 0)))
			break;
		at = (at + 1) & (column->nslots - 1);
	}
	return at;
}

/* The code of a text, MATCH_NULL where it has none. */
int32_t
match_column_find(const MatchColumn *column, const char *text, size_t length)
{
	if (column->nslots == 0)
		return MATCH_NULL;
	return column->slot[probe(column, text, length, match_hash(text, length))].code;
}

/* The code of a hash, MATCH_NULL where it has none: for values that are known by their hash only. */
int32_t
match_column_find_hash(const MatchColumn *column, uint64_t hash)
{
	uint32_t	at;

	if (column->nslots == 0)
		return MATCH_NULL;
	for (at = FIRST_SLOT(column, hash); column->slot[at].code != MATCH_NULL; at = (at + 1) & (column->nslots - 1))
	{
		if (column->hash[column->slot[at].code] == hash)
			break;
	}
	return column->slot[at].code;
}

/* Twice the slots; values stay where they are. */
static void
grow_slots(MatchColumn *column, const KernelEnv *env)
{
	column->nslots = column->nslots == 0 ? 2 * FIRST_ROOM : column->nslots * 2;
	column->slot = kernel_realloc_array(env, column->slot, MatchSlot, column->nslots);
	memset(column->slot, 0xFF, sizeof(MatchSlot) * column->nslots);
	for (int32_t code = 0; code < column->nvalues; code++)
	{
		uint32_t	at = FIRST_SLOT(column, column->hash[code]);

		while (column->slot[at].code != MATCH_NULL)
			at = (at + 1) & (column->nslots - 1);
		column->slot[at].tag = (uint32_t) column->hash[code];
		column->slot[at].code = code;
	}
}

/* Append a text as a new value. */
static int32_t
add_value(MatchColumn *column, const KernelEnv *env, const char *text, size_t length, uint64_t hash)
{
	if (column->nvalues == column->value_room)
	{
		column->value_room = column->value_room == 0 ? FIRST_ROOM : column->value_room * 2;
		column->hash = kernel_realloc_array(env, column->hash, uint64_t, column->value_room);
		column->count = kernel_realloc_array(env, column->count, int32_t, column->value_room);
		if (column->keep_text)
			column->offset = kernel_realloc_array(env, column->offset, size_t, column->value_room + 1);
	}
	column->hash[column->nvalues] = hash;
	column->count[column->nvalues] = 0;
	if (column->keep_text)
	{
		if (column->arena_used + length + 1 > column->arena_room)
		{
			column->arena_room = (column->arena_used + length + 1) * 2;
			column->arena = column->arena == NULL
				? kernel_alloc_array(env, char, column->arena_room)
				: kernel_realloc_array(env, column->arena, char, column->arena_room);
		}
		memcpy(column->arena + column->arena_used, text, length);
		column->arena[column->arena_used + length] = '\0';
		column->offset[column->nvalues] = column->arena_used;
		column->arena_used += length + 1;
		column->offset[column->nvalues + 1] = column->arena_used;
	}
	return column->nvalues++;
}

/* Intern a text whose hash is known, and give it to a record. */
static void
set_value(MatchRecords *records, int32_t record, MatchColumn *column, const char *text, size_t length, uint64_t hash)
{
	uint32_t	at;

	if ((uint64_t) column->nvalues * 2 >= column->nslots)
		grow_slots(column, &records->env);
	at = probe(column, text, length, hash);
	if (column->slot[at].code == MATCH_NULL)
	{
		column->slot[at].tag = (uint32_t) hash;
		column->slot[at].code = add_value(column, &records->env, text, length, hash);
	}
	column->code[record] = column->slot[at].code;
	column->count[column->slot[at].code]++;
}

/* Set one value of a record; each cell at most once. */
void
match_records_set(MatchRecords *records, int32_t record, int column, const char *text, size_t length)
{
	set_value(records, record, &records->column[column], text, length, match_hash(text, length));
}

/* Look up the oldest cell in flight. */
static void
settle_oldest(MatchRecords *records, MatchColumn *column)
{
	const MatchPending *cell = &column->pending[column->first_pending];

	set_value(records, cell->record, column, cell->text, cell->length, cell->hash);
	column->first_pending = (column->first_pending + 1) & (MATCH_PENDING - 1);
	column->npending--;
}

/* A cell that may wait until its slot is here. */
static inline void
put_value(MatchRecords *records, int32_t record, MatchColumn *column, const char *text, size_t length, uint64_t hash)
{
	MatchPending *cell;

	if (column->keys_only)
	{
		column->key[record] = hash == MATCH_NO_KEY ? 1 : hash;
		return;
	}
	if ((column->keep_text && length > MATCH_PENDING_BYTES) || column->nslots == 0)
	{
		/* in order, so that codes do not depend on lengths */
		while (column->npending > 0)
			settle_oldest(records, column);
		set_value(records, record, column, text, length, hash);
		return;
	}
	if (column->pending == NULL)
		column->pending = kernel_alloc_array(&records->env, MatchPending, MATCH_PENDING);
	if (column->npending == MATCH_PENDING)
		settle_oldest(records, column);
	cell = &column->pending[(column->first_pending + column->npending++) & (MATCH_PENDING - 1)];
	cell->hash = hash;
	cell->record = record;
	cell->length = (uint32_t) length;
	if (column->keep_text)
		memcpy(cell->text, text, length);
	__builtin_prefetch(&column->slot[FIRST_SLOT(column, hash)], 1);
}

void
match_records_put(MatchRecords *records, int32_t record, int column, const char *text, size_t length)
{
	put_value(records, record, &records->column[column], text, length, match_hash(text, length));
}

void
match_records_put_hash(MatchRecords *records, int32_t record, int column, uint64_t hash)
{
	put_value(records, record, &records->column[column], NULL, 0, hash);
}

void
match_records_settle(MatchRecords *records)
{
	for (int c = 0; c < records->ncolumns; c++)
	{
		while (records->column[c].npending > 0)
			settle_oldest(records, &records->column[c]);
	}
}

/* Release all that a column has. */
static void
free_column(const KernelEnv *env, MatchColumn *column)
{
	kernel_release(env, column->code);
	kernel_release(env, column->key);
	kernel_release(env, column->count);
	kernel_release(env, column->offset);
	kernel_release(env, column->arena);
	kernel_release(env, column->slot);
	kernel_release(env, column->hash);
	kernel_release(env, column->pending);
}

void
match_records_derive(MatchRecords *records, int column, int source, MatchRecords *values)
{
	const KernelEnv *env = &records->env;
	MatchColumn derived = values->column[0];
	const MatchColumn *old = &records->column[source];
	int32_t    *becomes = derived.code;

	derived.code = kernel_alloc_array(env, int32_t, records->room + 1);
	for (int32_t i = 0; i < records->nrecords; i++)
		derived.code[i] = old->code[i] == MATCH_NULL ? MATCH_NULL : becomes[old->code[i]];
	if (derived.nvalues > 0)
		memset(derived.count, 0, sizeof(int32_t) * (size_t) derived.nvalues);
	for (int32_t v = 0; v < old->nvalues; v++)
	{
		if (becomes[v] != MATCH_NULL)
			derived.count[becomes[v]] += old->count[v];
	}
	kernel_release(env, becomes);
	kernel_release(env, values->column);
	memset(values, 0, sizeof(*values));
	if (column == records->ncolumns)
		records->column = kernel_realloc_array(env, records->column, MatchColumn, ++records->ncolumns);
	else
		free_column(env, &records->column[column]);
	records->column[column] = derived;
}

/* Release the slots and hashes. */
void
match_records_finish(MatchRecords *records)
{
	match_records_settle(records);
	for (int c = 0; c < records->ncolumns; c++)
	{
		MatchColumn *column = &records->column[c];

		kernel_release(&records->env, column->slot);
		kernel_release(&records->env, column->hash);
		kernel_release(&records->env, column->pending);
		column->slot = NULL;
		column->hash = NULL;
		column->pending = NULL;
		column->nslots = 0;
	}
}

void
match_records_free(MatchRecords *records)
{
	for (int c = 0; c < records->ncolumns; c++)
		free_column(&records->env, &records->column[c]);
	kernel_release(&records->env, records->column);
	memset(records, 0, sizeof(*records));
}
