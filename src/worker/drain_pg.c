/*
 * drain_pg.c
 *		refresh_changed(): takes the keys off the change queue and recomputes what depends on them, by the commands in
 *		salesops.refresh_command. What those compute is not known here.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "core/compat.h"
#include "core/spi.h"
#include "worker/worker.h"

/* The fourth field of the lock that serialises refreshes of an entity */
#define REFRESH_LOCK_KIND 4

/* One command that recomputes for changed keys, or for all */
typedef struct RefreshCommand
{
	char	   *command;
	char	   *everything;
	int64		bulk_from;
	bool		whole;			/* everything is to be run, once the queue is drained */
} RefreshCommand;

/* One refresh of an entity at a time: a second one, with younger keys, must not be overtaken by the first. */
static void
lock_entity(const char *entity)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, hash_bytes((const unsigned char *) entity, (int) strlen(entity)), REFRESH_LOCK_KIND);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

/*
 * Take a batch of keys off the queue, with those that this transaction has written. '*keys' is a text[] or NULL, '*all' whether everything
 * changed. -1 at the queue's end.
 */
static int64
take_keys(const char *entity, int batch, MemoryContext context, Datum *keys, bool *all)
{
	SpiScope	scope;
	bool		isnull;
	int64		count;

	worker_append_noted(entity);
	spi_open(&scope, SPI_AS_OWNER);
	spi_execute(SPI_OK_SELECT,
				"WITH taken AS (DELETE FROM salesops.change_batch WHERE ctid = ANY (ARRAY("
				"  SELECT ctid FROM salesops.change_batch WHERE entity = $1 LIMIT $2 FOR UPDATE SKIP LOCKED)) RETURNING keys) "
				"SELECT count(*), count(DISTINCT k), coalesce(bool_or(keys IS NULL), false), "
				"       array_agg(DISTINCT k) FILTER (WHERE k IS NOT NULL) FROM taken LEFT JOIN LATERAL unnest(keys) k ON true",
				2, (SpiArg[]) {spi_text(entity), spi_int4(batch)});
	*all = spi_get_bool(0, 3);
	*keys = spi_get_datum(0, 4, &isnull);
	if (isnull)
		*keys = (Datum) 0;
	else
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		*keys = PointerGetDatum(PG_DETOAST_DATUM_COPY(*keys));
		MemoryContextSwitchTo(old);
	}
	count = spi_get_int8(0, 1) == 0 ? -1 : spi_get_int8(0, 2);
	spi_close(&scope);
	return count;
}

/* The commands of an entity whose needs are met; in the given context */
static List *
read_commands(const char *entity, MemoryContext context)
{
	SpiScope	scope;
	List	   *commands = NIL;
	uint64		count;
	char	  **texts;

	spi_open(&scope, SPI_AS_OWNER);
	count = spi_execute(SPI_OK_SELECT,
						"SELECT command, everything, needs, coalesce(bulk_from, 2147483647)::pg_catalog.text FROM salesops.refresh_command WHERE entity = $1 ORDER BY ordinal",
						1, (SpiArg[]) {spi_text(entity)});
	texts = palloc(sizeof(char *) * 4 * (count + 1));
	for (uint64 i = 0; i < count * 4; i++)
		texts[i] = spi_get_text(i / 4, (int) (i % 4) + 1);
	for (uint64 i = 0; i < count; i++)
	{
		MemoryContext old;
		RefreshCommand *command;

		if (texts[i * 4 + 2] != NULL)
		{
			spi_execute(SPI_OK_SELECT, psprintf("SELECT (%s)::pg_catalog.bool", texts[i * 4 + 2]), 0, NULL);
			if (!spi_get_bool(0, 1))
				continue;
		}
		old = MemoryContextSwitchTo(context);
		command = palloc0(sizeof(RefreshCommand));
		command->command = pstrdup(texts[i * 4]);
		command->everything = texts[i * 4 + 1] ? pstrdup(texts[i * 4 + 1]) : NULL;
		command->bulk_from = pg_strtoint32(texts[i * 4 + 3]);
		commands = lappend(commands, command);
		MemoryContextSwitchTo(old);
	}
	spi_close(&scope);
	return commands;
}

/* Recompute for a batch of keys, as the caller; put off what is better done for all at once. */
static void
run_for_keys(List *commands, Datum keys, int64 count, bool all)
{
	SpiScope	scope;
	ListCell   *cell;

	spi_open(&scope, SPI_AS_CALLER);
	foreach(cell, commands)
	{
		RefreshCommand *command = lfirst(cell);

		if (command->everything != NULL && (all || count >= command->bulk_from))
			command->whole = true;
		if (!command->whole && keys != (Datum) 0)
			spi_execute(SPI_OK_SELECT, command->command, 1, (SpiArg[]) {spi_datum(TEXTARRAYOID, keys, false)});
	}
	spi_close(&scope);
}

/* Recompute what was put off. */
static void
run_for_all(List *commands)
{
	SpiScope	scope;
	ListCell   *cell;

	spi_open(&scope, SPI_AS_CALLER);
	foreach(cell, commands)
		if (((RefreshCommand *) lfirst(cell))->whole)
			spi_execute(SPI_OK_SELECT, ((RefreshCommand *) lfirst(cell))->everything, 0, NULL);
	spi_close(&scope);
}

PG_FUNCTION_INFO_V1(salesops_refresh_changed);

/*
 * refresh_changed(entity, batch): drain the queue of an entity, so many rows of the queue at a time, and recompute what
 * depends on it, by the commands in salesops.refresh_command, as the caller. Returns how many keys. All or nothing: an error
 * leaves the queue as it was. Keys queued by transactions that commit meanwhile are left to the next call.
 */
Datum
salesops_refresh_changed(PG_FUNCTION_ARGS)
{
	char	   *entity = text_to_cstring(PG_GETARG_TEXT_PP(0));
	int			batch = PG_GETARG_INT32(1);
	MemoryContext scratch;
	MemoryContext commands_context = CurrentMemoryContext;
	List	   *commands = NIL;
	Datum		keys;
	bool		all;
	int64		taken;
	int64		count = 0;

	if (batch < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("batch must be at least 1, not %d", batch)));
	worker_require_entity(entity);
	lock_entity(entity);
	commands = read_commands(entity, commands_context);
	scratch = AllocSetContextCreate(CurrentMemoryContext, "salesops refresh", ALLOCSET_DEFAULT_SIZES);
	while ((taken = take_keys(entity, batch, scratch, &keys, &all)) >= 0)
	{
		CHECK_FOR_INTERRUPTS();
		count += taken;
		run_for_keys(commands, keys, taken, all);
		MemoryContextReset(scratch);
	}
	run_for_all(commands);
	MemoryContextDelete(scratch);
	PG_RETURN_INT64(count);
}
