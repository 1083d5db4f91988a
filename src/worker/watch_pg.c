/*
 * watch_pg.c
 *		watch() and unwatch(): the triggers that queue what is written in a table, also in partitions and children that come later.
 *		What the triggers do is in queue_pg.c.
 *
 * Which column holds the key only the WHEN clauses of the row-level triggers know: the server keeps them right through renames and
 * restores. pg_depend says which column they speak of.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "commands/event_trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "core/compat.h"
#include "core/relation.h"
#include "core/spi.h"
#include "worker/worker.h"

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

/* Make the statement-level trigger on one relation, of TRUNCATE; within SPI. */
static void
make_statement_trigger(Oid relid, const char *entity)
{
	run_ddl(psprintf("CREATE TRIGGER salesops_watch_%s_truncate AFTER TRUNCATE ON %s "
					 "FOR EACH STATEMENT EXECUTE FUNCTION salesops.queue_changes(%s)",
					 entity, relation_sql_name(relid), sql_literal(entity)));
}

/* Make the row-level triggers, whose WHEN clauses note the keys and remember which column that is; within SPI. */
static void
make_row_triggers(Oid relid, const char *entity, const char *key)
{
	static const char *const kinds[3][2] = {{"insert", "NEW.%s"}, {"update", "NEW.%s, OLD.%s"}, {"delete", "OLD.%s"}};
	const char *column = quote_identifier(key);

	for (int i = 0; i < 3; i++)
	{
		StringInfoData keys;

		initStringInfo(&keys);
		appendStringInfo(&keys, kinds[i][1], column, column);
		run_ddl(psprintf("CREATE TRIGGER salesops_watch_%s_%s AFTER %s ON %s FOR EACH ROW WHEN (salesops.note_%s(%s)) "
						 "EXECUTE FUNCTION salesops.queue_changes(%s)",
						 entity, kinds[i][0], kinds[i][0], relation_sql_name(relid), entity, keys.data, sql_literal(entity)));
	}
}

/*
 * Watch one relation and all beneath it; within SPI. Statement-level triggers of a parent do not fire for a child's TRUNCATE, so each has
 * its own. The server clones the row-level ones for partitions, but not for children by inheritance.
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
		make_statement_trigger(relid, entity);
		if (relid == root ? !is_partition : !get_rel_relispartition(relid))
			make_row_triggers(relid, entity, key);
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
	Name		watched = palloc0(NAMEDATALEN);
	SpiScope	scope;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("relation and entity must not be null")));
	relid = PG_GETARG_OID(0);
	entity = text_to_cstring(PG_GETARG_TEXT_PP(1));
	relation_require_owner(relid);
	relation_require_table(relid, "watch");
	worker_require_entity(entity);

	spi_open(&scope, SPI_AS_CALLER);
	key = find_key(relid, entity, PG_ARGISNULL(2) ? NULL : NameStr(*PG_GETARG_NAME(2)));
	make_triggers(relid, entity, key, false);
	let_owner_clone(relid);
	namestrcpy(watched, key);	/* what SPI gave ends with it */
	spi_close(&scope);
	PG_RETURN_NAME(watched);
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
									"SELECT pg_catalog.rtrim(pg_catalog.encode(t.tgargs, 'escape'), '\\0'), "
									"       (SELECT a.attname FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_attribute a "
									"          ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid WHERE d.objid = t.oid AND d.refobjid = t.tgrelid "
									"         AND d.classid = 'pg_catalog.pg_trigger'::pg_catalog.regclass AND d.refobjsubid > 0) "
									"FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_trigger t ON t.tgrelid = i.inhparent "
									"WHERE i.inhrelid = $1 AND " WATCHES " AND t.tgtype & 5 = 5 AND NOT EXISTS ("
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
