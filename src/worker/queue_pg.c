/*
 * queue_pg.c
 *		The change queue: triggers that note the keys of changed rows, and the refresh that recomputes for them.
 *
 * The queue is append-only and has no index. A statement-level trigger reads the transition table and appends the keys, many
 * to a row, through the table's access method: no SQL is run at write time. Keys may be queued more than once; draining makes
 * them distinct. (A queue with unique keys would lose changes: a writer finds its key queued already, the queue is drained, the
 * writer commits.)
 *
 * Of an UPDATE only the new rows are read; the old key of a row whose key changes is noted by a row-level trigger with a WHEN clause.
 * That trigger also remembers which column the key is: the server keeps it right through renames and restores.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/event_trigger.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/lock.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "core/compat.h"
#include "core/relation.h"
#include "core/spi.h"
#include "worker/worker.h"

/* Keys of a statement share rows of the queue: up to so many, and so many bytes (as in an array), below what would be compressed */
#define KEYS_PER_ROW 200
#define BYTES_PER_ROW 1500
/* Power of two: how many keys of a statement are remembered to leave out repetitions */
#define REMEMBERED 1024
/* The fourth field of the lock that serialises refreshes of an entity */
#define REFRESH_LOCK_KIND 4

/* Keys on their way into the queue */
typedef struct QueueWriter
{
	Relation	queue;
	TupleTableSlot *slot;
	Datum		keys[KEYS_PER_ROW];
	int			count;
	Size		bytes;
	MemoryContext row;			/* keys and tuple of the row at hand */
	Datum		entity;
	Datum		now;
	text	   *seen[REMEMBERED];
	Oid			key_type;
	FmgrInfo	key_output;
} QueueWriter;

/* Prepare to write keys of a type (InvalidOid: none is read). */
static QueueWriter *
writer_open(const char *entity, Oid key_type)
{
	QueueWriter *writer = palloc0(sizeof(QueueWriter));
	Oid			queue = get_relname_relid("change_batch", get_namespace_oid("salesops", false));
	Oid			output;
	bool		varlena;

	writer->queue = table_open(queue, RowExclusiveLock);
	writer->slot = table_slot_create(writer->queue, NULL);
	writer->row = AllocSetContextCreate(CurrentMemoryContext, "salesops change queue", ALLOCSET_DEFAULT_SIZES);
	writer->entity = CStringGetTextDatum(entity);
	writer->now = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	writer->key_type = key_type;
	if (OidIsValid(key_type))
	{
		getTypeOutputInfo(key_type, &output, &varlena);
		fmgr_info(output, &writer->key_output);
	}
	return writer;
}

/* Append a row to the queue with the keys collected, or with NULL, which means all. */
static void
writer_put(QueueWriter *writer, bool all)
{
	TupleTableSlot *slot = writer->slot;
	MemoryContext old = MemoryContextSwitchTo(writer->row);

	ExecClearTuple(slot);
	slot->tts_values[0] = writer->entity;
	slot->tts_values[1] = all ? (Datum) 0 :
		PointerGetDatum(construct_array(writer->keys, writer->count, TEXTOID, -1, false, TYPALIGN_INT));
	slot->tts_values[2] = writer->now;
	slot->tts_isnull[0] = slot->tts_isnull[2] = false;
	slot->tts_isnull[1] = all;
	ExecStoreVirtualTuple(slot);
	table_tuple_insert(writer->queue, slot, GetCurrentCommandId(true), 0, NULL);
	ExecClearTuple(slot);
	MemoryContextSwitchTo(old);
	writer->count = 0;
	writer->bytes = 0;
	MemoryContextReset(writer->row);
}

/* Was this key written a moment ago? Remembers it if not. Forgetful: a repetition may pass. */
static bool
seen_before(QueueWriter *writer, text *key)
{
	uint32		slot = hash_bytes((const unsigned char *) VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key)) & (REMEMBERED - 1);
	text	   *other = writer->seen[slot];

	if (other != NULL && VARSIZE_ANY_EXHDR(other) == VARSIZE_ANY_EXHDR(key) &&
		memcmp(VARDATA_ANY(other), VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key)) == 0)
		return true;
	writer->seen[slot] = key;
	return false;
}

/* The text of a key, as the contract view's cast to text gives it; in the current context */
static text *
key_text(QueueWriter *writer, Datum value)
{
	char		digits[MAXINT8LEN + 1];

	switch (writer->key_type)
	{
		case TEXTOID:
		case VARCHAROID:
			return DatumGetTextPCopy(value);
		case INT4OID:
			return cstring_to_text_with_len(digits, pg_ltoa(DatumGetInt32(value), digits));
		case INT8OID:
			return cstring_to_text_with_len(digits, pg_lltoa(DatumGetInt64(value), digits));
		case BPCHAROID:
			return DatumGetTextP(DirectFunctionCall1(rtrim1, value));
		default:
			return cstring_to_text(OutputFunctionCall(&writer->key_output, value));
	}
}

/* Collect the key in a row, unless it is NULL (nobody's) or was just collected; several: the statement may repeat keys. */
static void
append_row(QueueWriter *writer, TupleTableSlot *row, AttrNumber column, bool several)
{
	MemoryContext old;
	bool		isnull;
	Datum		value = slot_getattr(row, column, &isnull);
	text	   *key;

	if (isnull)
		return;
	old = MemoryContextSwitchTo(writer->row);
	key = key_text(writer, value);
	MemoryContextSwitchTo(old);
	if (several && seen_before(writer, key))
		return;
	writer->keys[writer->count++] = PointerGetDatum(key);
	writer->bytes += INTALIGN(VARSIZE(key));
	if (writer->count == KEYS_PER_ROW || writer->bytes > BYTES_PER_ROW)
	{
		writer_put(writer, false);
		memset(writer->seen, 0, sizeof(writer->seen));
	}
}

/* Write the rest and let go. */
static void
writer_close(QueueWriter *writer)
{
	if (writer->count > 0)
		writer_put(writer, false);
	ExecDropSingleTupleTableSlot(writer->slot);
	table_close(writer->queue, NoLock);
}

/* Is the column the relation's whole primary key? No statement can then write a key twice. */
static bool
is_primary_key(Relation relation, AttrNumber column)
{
	Bitmapset  *columns = RelationGetIndexAttrBitmap(relation, INDEX_ATTR_BITMAP_PRIMARY_KEY);
	int			member;

	return bms_get_singleton_member(columns, &member) && member == column - FirstLowInvalidHeapAttributeNumber;
}

/* The key's column: what the row-level trigger of the same watch is about. 0 where somebody dropped that trigger. */
static AttrNumber
key_column(Relation relation, const Trigger *trigger)
{
	TriggerDesc *triggers = relation->trigdesc;

	for (int i = 0; i < triggers->numtriggers; i++)
	{
		const Trigger *other = &triggers->triggers[i];

		if (other->tgfoid == trigger->tgfoid && TRIGGER_FOR_ROW(other->tgtype) && other->tgnattr == 1 &&
			other->tgnargs == 1 && strcmp(other->tgargs[0], trigger->tgargs[0]) == 0)
			return other->tgattr[0];
	}
	return 0;
}

/* Append the keys of a transition table, through a read pointer of our own: other triggers read it as well. */
static void
append_transition(QueueWriter *writer, Tuplestorestate *rows, Relation relation, AttrNumber column)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(relation), &TTSOpsMinimalTuple);
	int			pointer = tuplestore_alloc_read_pointer(rows, EXEC_FLAG_REWIND);
	bool		several = tuplestore_tuple_count(rows) > 1 && !is_primary_key(relation, column);

	tuplestore_select_read_pointer(rows, pointer);
	tuplestore_rescan(rows);
	while (tuplestore_gettupleslot(rows, true, false, slot))
		append_row(writer, slot, column, several);
	tuplestore_select_read_pointer(rows, 0);
	ExecDropSingleTupleTableSlot(slot);
}

PG_FUNCTION_INFO_V1(salesops_queue_changes);

/*
 * The trigger of watch(): statement-level with a transition table (INSERT, UPDATE, DELETE), statement-level (TRUNCATE: all),
 * row-level (UPDATE of the key: the old one). Argument: the entity.
 */
Datum
salesops_queue_changes(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;
	Trigger    *trigger;
	TupleDesc	desc;
	Tuplestorestate *rows;
	QueueWriter *writer;
	AttrNumber	column;

	if (!CALLED_AS_TRIGGER(fcinfo) || data->tg_trigger->tgnargs != 1)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"queue_changes\" is the trigger function of salesops.watch()")));
	trigger = data->tg_trigger;
	desc = RelationGetDescr(data->tg_relation);
	rows = data->tg_newtable != NULL ? data->tg_newtable : data->tg_oldtable;
	column = TRIGGER_FIRED_FOR_ROW(data->tg_event) ? trigger->tgattr[0] : key_column(data->tg_relation, trigger);
	if (rows != NULL && tuplestore_tuple_count(rows) == 0)
		PG_RETURN_POINTER(NULL);

	writer = writer_open(trigger->tgargs[0], column == 0 ? InvalidOid : TupleDescAttr(desc, column - 1)->atttypid);
	if (TRIGGER_FIRED_FOR_ROW(data->tg_event))
		append_row(writer, data->tg_trigslot, column, false);
	else if (rows == NULL || column == 0)
		writer_put(writer, true);
	else
		append_transition(writer, rows, data->tg_relation, column);
	writer_close(writer);
	worker_wake_on_commit();
	PG_RETURN_POINTER(NULL);
}

/* Run one DDL command as the caller. */
static void
run_ddl(const char *sql)
{
	spi_execute(SPI_OK_UTILITY, sql, 0, NULL);
}

/* Remove the watch's triggers from one relation, where they are; within SPI. */
static void
drop_triggers(Oid relid, const char *entity)
{
	uint64		count;
	char	  **names;

	count = spi_execute(SPI_OK_SELECT,
						"SELECT t.tgname FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid "
						"JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace AND n.nspname = 'salesops' "
						"WHERE t.tgrelid = $1 AND p.proname = 'queue_changes' AND NOT t.tgisinternal AND t.tgparentid = 0 "
						"AND ($2 IS NULL OR t.tgargs = pg_catalog.convert_to($2, pg_catalog.getdatabaseencoding()) || '\\x00'::pg_catalog.bytea)",
						2, (SpiArg[]) {spi_oid(relid), spi_text(entity)});
	names = palloc(sizeof(char *) * (count + 1));
	for (uint64 i = 0; i < count; i++)
		names[i] = spi_get_text(i, 1);
	for (uint64 i = 0; i < count; i++)
		run_ddl(psprintf("DROP TRIGGER %s ON %s", quote_identifier(names[i]), relation_sql_name(relid)));
}

/* Make the statement-level triggers on one relation; within SPI. */
static void
make_statement_triggers(Oid relid, const char *entity)
{
	static const char *const kinds[4][3] = {
		{"insert", "INSERT", "REFERENCING NEW TABLE AS salesops_changed"},
		{"update", "UPDATE", "REFERENCING NEW TABLE AS salesops_changed"},
		{"delete", "DELETE", "REFERENCING OLD TABLE AS salesops_changed"},
		{"truncate", "TRUNCATE", ""}
	};

	for (int i = 0; i < 4; i++)
		run_ddl(psprintf("CREATE TRIGGER salesops_watch_%s_%s AFTER %s ON %s %s FOR EACH STATEMENT EXECUTE FUNCTION salesops.queue_changes(%s)",
						 entity, kinds[i][0], kinds[i][1], relation_sql_name(relid), kinds[i][2], sql_literal(entity)));
}

/* Make the row-level trigger that notes the old key of a row whose key changes, and names the key's column; within SPI. */
static void
make_key_trigger(Oid relid, const char *entity, const char *key)
{
	const char *column = quote_identifier(key);

	run_ddl(psprintf("CREATE TRIGGER salesops_watch_%s_key AFTER UPDATE OF %s ON %s FOR EACH ROW "
					 "WHEN (OLD.%s IS DISTINCT FROM NEW.%s) EXECUTE FUNCTION salesops.queue_changes(%s)",
					 entity, column, relation_sql_name(relid), column, column, sql_literal(entity)));
}

/*
 * Watch one relation and all beneath it; within SPI. Statement-level triggers of a parent do not fire for DML on a child, so each has
 * its own. The server clones the row-level one for partitions, but not for children by inheritance.
 */
static void
make_triggers(Oid root, const char *entity, const char *key, bool is_partition)
{
	ListCell   *cell;

	foreach(cell, find_all_inheritors(root, ShareRowExclusiveLock, NULL))
	{
		Oid			relid = lfirst_oid(cell);

		if (get_rel_relkind(relid) == RELKIND_FOREIGN_TABLE)
			continue;
		drop_triggers(relid, entity);
		make_statement_triggers(relid, entity);
		if (relid == root ? !is_partition : !get_rel_relispartition(relid))
			make_key_trigger(relid, entity, key);
	}
}

/*
 * The server clones row-level triggers for new partitions in the name of whoever makes them: the owner of a partitioned table needs the
 * right on the trigger's function, or could make no partition any more.
 */
static void
let_owner_clone(Oid relid)
{
	SpiScope	scope;

	if (get_rel_relkind(relid) != RELKIND_PARTITIONED_TABLE)
		return;
	spi_open(&scope, SPI_AS_OWNER);
	spi_execute(SPI_OK_SELECT,
				"SELECT pg_catalog.pg_get_userbyid(c.relowner) FROM pg_catalog.pg_class c WHERE c.oid = $1 "
				"AND NOT pg_catalog.has_function_privilege(c.relowner, 'salesops.queue_changes()', 'EXECUTE')",
				1, (SpiArg[]) {spi_oid(relid)});
	if (SPI_processed > 0)
		run_ddl(psprintf("GRANT EXECUTE ON FUNCTION salesops.queue_changes() TO %s", quote_identifier(spi_get_text(0, 1))));
	spi_close(&scope);
}

/* The column that holds the entity's key: the one named, the one attach mapped, or the relation's own key */
static char *
find_key(Oid relid, const char *entity, const char *wanted)
{
	char	   *found = NULL;
	char	   *attached = contract_entity_of(relid);

	if (wanted != NULL)
		found = pstrdup(wanted);
	else if (attached != NULL && strcmp(attached, entity) == 0)
	{
		Oid			view = contract_view(entity);

		found = contract_source_column(entity, get_attname(view, 1, false));
	}
	if (found == NULL)
		found = relation_key_column(relid);
	if (found == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("relation %s has no single-column key", relation_sql_name(relid)),
				 errhint("Name the column that holds the %s's key as the third argument; the columns are: %s.",
						 entity, relation_column_list(relid))));
	(void) relation_require_column(relid, found);
	return found;
}

/* Error 42704 unless the entity exists; within SPI. */
static void
require_entity(const char *entity)
{
	if (!worker_entity_exists(entity))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("entity \"%s\" does not exist", entity),
				 errhint("The entities are those of salesops.attach(): lead, contact, account, opportunity, …")));
}

PG_FUNCTION_INFO_V1(salesops_watch);

/*
 * watch(relation, entity, key): queue the entity's key whenever rows of the relation are written. The relation may be the entity's
 * own or one that speaks of it (activities of a lead: key 'lead_id'). Repeating it renews the triggers. Returns the key's column.
 * Errors: 42501 for others' relations, 42809 for views and foreign tables, 42704 unknown entity, 42703 unknown column.
 */
Datum
salesops_watch(PG_FUNCTION_ARGS)
{
	Oid			relid;
	char	   *entity;
	char	   *key;
	SpiScope	scope;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("relation and entity must not be null")));
	relid = PG_GETARG_OID(0);
	entity = text_to_cstring(PG_GETARG_TEXT_PP(1));
	relation_require_owner(relid);
	relation_require_table(relid, "watch");
	require_entity(entity);

	spi_open(&scope, SPI_AS_CALLER);
	key = find_key(relid, entity, PG_ARGISNULL(2) ? NULL : NameStr(*PG_GETARG_NAME(2)));
	make_triggers(relid, entity, key, false);
	let_owner_clone(relid);
	spi_close(&scope);
	PG_RETURN_DATUM(DirectFunctionCall1(namein, CStringGetDatum(key)));
}

PG_FUNCTION_INFO_V1(salesops_unwatch);

/* unwatch(relation, entity): remove the triggers; all entities' where NULL. Keys already queued stay. */
Datum
salesops_unwatch(PG_FUNCTION_ARGS)
{
	Oid			relid;
	char	   *entity = PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1));
	SpiScope	scope;
	ListCell   *cell;

	if (PG_ARGISNULL(0))
		PG_RETURN_VOID();
	relid = PG_GETARG_OID(0);
	relation_require_owner(relid);
	spi_open(&scope, SPI_AS_CALLER);
	foreach(cell, find_all_inheritors(relid, ShareRowExclusiveLock, NULL))
		drop_triggers(lfirst_oid(cell), entity);
	spi_close(&scope);
	PG_RETURN_VOID();
}

#define WATCHES "t.tgfoid = 'salesops.queue_changes()'::pg_catalog.regprocedure"

/* A relation has got a parent, or has been made with one: watch it for what the parent is watched for. Within SPI, as the owner. */
static void
watch_as_parent(Oid relid)
{
	uint64		count = spi_execute(SPI_OK_SELECT,
									"SELECT pg_catalog.rtrim(pg_catalog.encode(t.tgargs, 'escape'), '\\0'), a.attname "
									"FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_trigger t ON t.tgrelid = i.inhparent "
									"JOIN pg_catalog.pg_attribute a ON a.attrelid = i.inhparent AND a.attnum = t.tgattr[0] "
									"WHERE i.inhrelid = $1 AND " WATCHES " AND t.tgtype & 1 = 1 AND NOT EXISTS ("
									"  SELECT FROM pg_catalog.pg_trigger s WHERE s.tgrelid = $1 AND s.tgfoid = t.tgfoid AND s.tgargs = t.tgargs "
									"  AND s.tgtype & 1 = 0)",
									1, (SpiArg[]) {spi_oid(relid)});
	char	  **texts = palloc(sizeof(char *) * 2 * (count + 1));

	for (uint64 i = 0; i < count * 2; i++)
		texts[i] = spi_get_text(i / 2, (int) (i % 2) + 1);
	for (uint64 i = 0; i < count; i++)
		make_triggers(relid, texts[i * 2], texts[i * 2 + 1], get_rel_relispartition(relid));
}

/* A partition has been detached, and with that lost the row-level triggers that were its parent's: the others go too. Within SPI. */
static void
unwatch_detached(Oid root)
{
	ListCell   *cell;

	foreach(cell, find_all_inheritors(root, ShareRowExclusiveLock, NULL))
	{
		uint64		count = spi_execute(SPI_OK_SELECT,
										"SELECT DISTINCT pg_catalog.rtrim(pg_catalog.encode(t.tgargs, 'escape'), '\\0') "
										"FROM pg_catalog.pg_trigger t WHERE t.tgrelid = $1 AND " WATCHES " AND NOT EXISTS ("
										"  SELECT FROM pg_catalog.pg_trigger s WHERE s.tgrelid = $1 AND s.tgfoid = t.tgfoid AND s.tgargs = t.tgargs "
										"  AND s.tgtype & 1 = 1)",
										1, (SpiArg[]) {spi_oid(lfirst_oid(cell))});
		char	  **texts = palloc(sizeof(char *) * (count + 1));

		for (uint64 i = 0; i < count; i++)
			texts[i] = spi_get_text(i, 1);
		for (uint64 i = 0; i < count; i++)
			drop_triggers(lfirst_oid(cell), texts[i]);
	}
}

/* Follow one change of a table's parents. */
static void
follow_parents(RangeVar *name, bool attached)
{
	Oid			relid = RangeVarGetRelid(name, NoLock, true);
	SpiScope	scope;

	if (!OidIsValid(relid))
		return;
	spi_open(&scope, SPI_AS_OWNER);
	if (attached)
		watch_as_parent(relid);
	else
		unwatch_detached(relid);
	spi_close(&scope);
}

PG_FUNCTION_INFO_V1(salesops_follow_partitions);

/*
 * Event trigger, ddl_command_end of CREATE TABLE and ALTER TABLE: a partition (or child) of a watched table is watched from its
 * creation or attachment on, and no longer once detached.
 */
Datum
salesops_follow_partitions(PG_FUNCTION_ARGS)
{
	Node	   *command;
	Oid			schema = get_namespace_oid("salesops", true);
	ListCell   *cell;

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("follow_partitions() is an event trigger function")));
	command = ((EventTriggerData *) fcinfo->context)->parsetree;
	if (!OidIsValid(schema) || !OidIsValid(get_relname_relid("change_batch", schema)))
		PG_RETURN_NULL();
	if (IsA(command, CreateStmt) && castNode(CreateStmt, command)->inhRelations != NIL)
		follow_parents(castNode(CreateStmt, command)->relation, true);
	if (!IsA(command, AlterTableStmt))
		PG_RETURN_NULL();
	foreach(cell, castNode(AlterTableStmt, command)->cmds)
	{
		AlterTableCmd *part = lfirst_node(AlterTableCmd, cell);

		if (part->subtype == AT_AttachPartition || part->subtype == AT_DetachPartition)
			follow_parents(castNode(PartitionCmd, part->def)->name, part->subtype == AT_AttachPartition);
		else if (part->subtype == AT_AddInherit)
			follow_parents(castNode(AlterTableStmt, command)->relation, true);
	}
	PG_RETURN_NULL();
}

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

/* Take a batch of keys off the queue. '*keys' is a text[] or NULL, '*all' whether everything changed. -1 at the queue's end. */
static int64
take_keys(const char *entity, int batch, MemoryContext context, Datum *keys, bool *all)
{
	SpiScope	scope;
	bool		isnull;
	int64		count;

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
	require_entity(entity);
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
