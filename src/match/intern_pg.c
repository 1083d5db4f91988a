/*
 * intern_pg.c
 *		Parallel workers that intern values. Two thirds of the time that loading many records takes goes into finding each value among those
 *		that its column has, at places all over memory; columns do not need one another for that. So this backend reads the rows (once,
 *		with the caller's rights; no worker touches a relation) and hands the cells of the dearest columns to workers, each of which has
 *		some columns of its own; at the end the columns come back, just as this backend would have made them.
 *
 * Which columns those are is decided after the first records: what has few values is looked up in the cache and stays here.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "utils/memutils.h"

#include "core/kernel_pg.h"
#include "match/columns_pg.h"

/* Nanoseconds, as measured: only their proportions matter */
#define COST_READING 600		/* a row, without its cells */
#define COST_CELL 80			/* reading a cell and handing it on */
#define COST_COMMON 60			/* interning a value that is there already and likely in the cache */
#define COST_NEW 350			/* interning a new one */
#define LEAST_WORK 250			/* what a worker must have to do */

#define TICK 1024

/* What a worker has to do */
typedef struct InternTask
{
	int			ncolumns;
	bool		keep_text[MATCHER_MAX_COLUMNS];
	bool		mine[MATCHER_MAX_COLUMNS];
} InternTask;

/* Before a cell's text, or its hash where the column keeps no texts. Cells that are unknown do not come. */
typedef struct CellHead
{
	int32		record;			/* -1: that was all; the number of records comes last */
	uint32		column:8;
	uint32		length:24;
} CellHead;

typedef struct InternShared
{
	pg_atomic_uint64 memory[TEAM_MOST];
} InternShared;

struct MatcherInterning
{
	MatcherTeam *team;
	int			owner[MATCHER_MAX_COLUMNS]; /* the worker of each column; -1: this backend */
};

PGDLLEXPORT void salesops_intern_worker(dsm_segment *segment, shm_toc *toc);

/* ---- whole columns ---- */

void *
columns_read_array(TeamLink *link, const KernelEnv *env, Size size)
{
	void	   *array = env->alloc(env->context, size);

	return team_read(link, array, size) ? array : NULL;
}

/* What is sent of a column before its arrays */
typedef struct ColumnHead
{
	int32		nvalues;
	uint32		nslots;
	uint64		arena;
	bool		keep_text;
	bool		has_hash;
} ColumnHead;

void
columns_send(TeamLink *link, const MatchColumn *column, int32 nrecords)
{
	ColumnHead	head;

	memset(&head, 0, sizeof(head));
	head.nvalues = column->nvalues;
	head.nslots = column->nslots;
	head.arena = column->arena_used;
	head.keep_text = column->keep_text;
	head.has_hash = column->hash != NULL;
	team_write(link, &head, sizeof(head));
	team_write(link, column->code, sizeof(int32) * (Size) nrecords);
	if (head.nvalues == 0)
		return;
	team_write(link, column->count, sizeof(int32) * (Size) head.nvalues);
	if (head.keep_text)
	{
		team_write(link, column->offset, sizeof(size_t) * ((Size) head.nvalues + 1));
		team_write(link, column->arena, head.arena);
	}
	if (head.has_hash)
		team_write(link, column->hash, sizeof(uint64) * (Size) head.nvalues);
	if (head.nslots > 0)
		team_write(link, column->slot, sizeof(MatchSlot) * (Size) head.nslots);
}

bool
columns_receive(TeamLink *link, const KernelEnv *env, MatchColumn *column, int32 nrecords, int32 room)
{
	ColumnHead	head;

	memset(column, 0, sizeof(*column));
	if (!team_read(link, &head, sizeof(head)))
		return false;
	column->keep_text = head.keep_text;
	column->nvalues = column->value_room = head.nvalues;
	column->nslots = head.nslots;
	column->arena_used = column->arena_room = head.arena;
	column->code = kernel_alloc_array(env, int32, room);
	if (!team_read(link, column->code, sizeof(int32) * (Size) nrecords))
		return false;
	if (head.nvalues == 0)
		return true;
	column->count = columns_read_array(link, env, sizeof(int32) * (Size) head.nvalues);
	if (head.keep_text)
	{
		column->offset = columns_read_array(link, env, sizeof(size_t) * ((Size) head.nvalues + 1));
		column->arena = columns_read_array(link, env, head.arena);
	}
	if (head.has_hash)
		column->hash = columns_read_array(link, env, sizeof(uint64) * (Size) head.nvalues);
	if (head.nslots > 0)
		column->slot = columns_read_array(link, env, sizeof(MatchSlot) * (Size) head.nslots);
	return column->count != NULL;
}

/* ---- the leader ---- */

/* What a column costs to intern, a record. */
static double
column_cost(const MatchColumn *column, int32 nrecords)
{
	return column->keys_only ? 0 : COST_COMMON + COST_NEW * ((double) column->nvalues / Max(nrecords, 1));
}

/*
 * Deal the columns out, the dearest first, each to whoever has least to do: this backend, which also reads, or one of so many workers.
 * Returns how many of them have enough to do to be worth starting.
 */
static int
deal_columns(const MatchRecords *records, int workers, int *owner)
{
	double		load[TEAM_MOST + 1] = {COST_READING + COST_CELL * records->ncolumns};
	bool		dealt[MATCHER_MAX_COLUMNS] = {0};
	int			used = 0;

	for (int k = 0; k < records->ncolumns; k++)
	{
		int			dearest = -1;
		int			least = 0;

		for (int c = 0; c < records->ncolumns; c++)
		{
			if (!dealt[c] && (dearest < 0 || column_cost(&records->column[c], records->nrecords) >
							  column_cost(&records->column[dearest], records->nrecords)))
				dearest = c;
		}
		dealt[dearest] = true;
		for (int w = 1; w <= workers && !records->column[dearest].keys_only; w++)
		{
			if (load[w] < load[least])
				least = w;
		}
		owner[dearest] = least - 1;
		load[least] += column_cost(&records->column[dearest], records->nrecords);
	}
	while (used < workers && load[used + 1] >= LEAST_WORK)
		used++;
	return used;
}

/* A column that is a worker's has nothing here any more. */
static void
give_up(MatchRecords *records, MatchColumn *column)
{
	const KernelEnv *env = &records->env;
	bool		keep_text = column->keep_text;

	kernel_release(env, column->code);
	kernel_release(env, column->count);
	kernel_release(env, column->offset);
	kernel_release(env, column->arena);
	kernel_release(env, column->hash);
	kernel_release(env, column->slot);
	kernel_release(env, column->pending);
	memset(column, 0, sizeof(*column));
	column->keep_text = keep_text;
	column->elsewhere = true;
}

/* A cell of a column without texts. */
static void
send_hash(TeamLink *link, int column, int32 record, uint64 hash)
{
	CellHead	head = {record, (uint8) column, 0};

	team_write(link, &head, sizeof(head));
	team_write(link, &hash, sizeof(hash));
}

void
matcher_interning_put(MatcherInterning *interning, const MatchRecords *records, int column, int32 record, const char *text, Size length)
{
	TeamLink   *link = matcher_team_link(interning->team, interning->owner[column]);

	if (records->column[column].keep_text)
	{
		CellHead	head = {record, (uint8) column, (uint32) length};

		team_write(link, &head, sizeof(head));
		team_write(link, text, length);
	}
	else
		send_hash(link, column, record, match_hash(text, length));
}

/* The cells loaded so far of a column that goes to a worker. */
static void
replay_column(MatcherInterning *interning, const MatchRecords *records, int column)
{
	const MatchColumn *values = &records->column[column];
	TeamLink   *link = matcher_team_link(interning->team, interning->owner[column]);

	for (int32 i = 0; i < records->nrecords; i++)
	{
		int32		code = values->code[i];

		if (code != MATCH_NULL && values->keep_text)
			matcher_interning_put(interning, records, column, i, match_value(values, code), match_value_length(values, code));
		else if (code != MATCH_NULL)
			send_hash(link, column, i, values->hash[code]);
	}
}

/* What the workers are told first. */
static void
send_tasks(MatcherInterning *interning, const MatchRecords *records)
{
	for (int w = 0; w < matcher_team_size(interning->team); w++)
	{
		InternTask	task;

		memset(&task, 0, sizeof(task));
		task.ncolumns = records->ncolumns;
		for (int c = 0; c < records->ncolumns; c++)
		{
			task.keep_text[c] = records->column[c].keep_text;
			task.mine[c] = interning->owner[c] == w;
		}
		team_write(matcher_team_link(interning->team, w), &task, sizeof(task));
	}
}

MatcherInterning *
matcher_interning_start(MatchRecords *records)
{
	MatcherInterning *interning;
	int			owner[MATCHER_MAX_COLUMNS];
	int			given = 0;
	int			wanted = deal_columns(records, matcher_team_room(), owner);
	MatcherTeam *team = wanted > 0 ? matcher_team_start("salesops_intern_worker", wanted, sizeof(InternShared)) : NULL;

	if (team == NULL)
		return NULL;
	/* among those that have come */
	(void) deal_columns(records, matcher_team_size(team), owner);
	match_records_settle(records);
	interning = palloc0(sizeof(MatcherInterning));
	interning->team = team;
	memcpy(interning->owner, owner, sizeof(owner));
	send_tasks(interning, records);
	for (int c = 0; c < records->ncolumns; c++)
	{
		if (owner[c] < 0)
			continue;
		replay_column(interning, records, c);
		give_up(records, &records->column[c]);
		given++;
		CHECK_FOR_INTERRUPTS();
	}
	ereport(DEBUG1,
			(errmsg("%d of %d columns are interned by %d parallel workers", given, records->ncolumns, matcher_team_size(team))));
	return interning;
}

Size
matcher_interning_memory(MatcherInterning *interning)
{
	InternShared *shared = matcher_team_shared(interning->team);
	Size		sum = 0;

	for (int w = 0; w < matcher_team_size(interning->team); w++)
		sum += pg_atomic_read_u64(&shared->memory[w]);
	return sum;
}

void
matcher_interning_finish(MatcherInterning *interning, MatchRecords *records, bool wanted)
{
	static const CellHead end = {-1};

	/* all are told before the first is waited for */
	for (int w = 0; w < matcher_team_size(interning->team) && wanted; w++)
	{
		team_write(matcher_team_link(interning->team, w), &end, sizeof(end));
		team_write(matcher_team_link(interning->team, w), &records->nrecords, sizeof(int32));
		team_flush(matcher_team_link(interning->team, w));
	}
	for (int w = 0; w < matcher_team_size(interning->team) && wanted; w++)
	{
		for (int c = 0; c < records->ncolumns; c++)
		{
			if (interning->owner[c] == w &&
				!columns_receive(matcher_team_link(interning->team, w), &records->env, &records->column[c], records->nrecords,
								 Max(records->room, 1)))
				elog(ERROR, "a worker has left without its columns");
		}
	}
	matcher_team_end(interning->team);
	pfree(interning);
}

/* ---- a worker ---- */

/* One cell from the leader; false where there are no more, or the leader has gone. */
static bool
take_cell(TeamLink *link, MatchRecords *records, StringInfo text, bool *complete)
{
	CellHead	head;
	uint64		hash;

	if (!team_read(link, &head, sizeof(head)))
		return false;
	if (head.record < 0)
	{
		int32		nrecords;

		*complete = team_read(link, &nrecords, sizeof(nrecords));
		while (*complete && records->nrecords < nrecords)
			match_records_add(records);
		return false;
	}
	while (records->nrecords <= head.record)
		match_records_add(records);
	if (!records->column[head.column].keep_text)
	{
		if (!team_read(link, &hash, sizeof(hash)))
			return false;
		match_records_put_hash(records, head.record, head.column, hash);
		return true;
	}
	enlargeStringInfo(text, (int) head.length + 1);
	if (!team_read(link, text->data, head.length))
		return false;
	match_records_put(records, head.record, head.column, text->data, head.length);
	return true;
}

/* The entry point of a worker: cells in, columns out. */
void
salesops_intern_worker(dsm_segment *segment, shm_toc *toc)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "salesops interning", ALLOCSET_DEFAULT_SIZES);
	KernelEnv	env = kernel_env_pg(context);
	InternShared *shared;
	TeamLink   *link = team_join(segment, toc, (void **) &shared);
	MatchRecords records;
	StringInfoData text;
	InternTask	task;
	bool		complete = false;
	uint64		cells = 0;

	if (!team_read(link, &task, sizeof(task)))
		return;
	initStringInfo(&text);
	match_records_init(&records, task.ncolumns, &env);
	for (int c = 0; c < task.ncolumns; c++)
	{
		records.column[c].keep_text = task.keep_text[c];
		records.column[c].elsewhere = !task.mine[c];
	}
	while (take_cell(link, &records, &text, &complete))
	{
		if (++cells % TICK == 0)
		{
			pg_atomic_write_u64(&shared->memory[ParallelWorkerNumber], MemoryContextMemAllocated(context, true));
			CHECK_FOR_INTERRUPTS();
		}
	}
	if (!complete)
		return;
	match_records_settle(&records);
	for (int c = 0; c < task.ncolumns; c++)
	{
		if (task.mine[c])
			columns_send(link, &records.column[c], records.nrecords);
	}
	team_flush(link);
}
