/*
 * partition_pg.c
 *		Deals of a tracked relation that go without being deleted: with a partition that is truncated, detached or dropped.
 *
 * No trigger sees such rows, so what is left is compared with the history: a deal that is in a stage there and has no row any
 * more has left, to none. That is settle_stage_changes(), which a TRUNCATE trigger of each leaf partition calls, and the event
 * triggers after ALTER TABLE ... DETACH PARTITION and after a partition is dropped. Leaf partitions get their trigger as they are
 * made or attached, by the command's own tree: a restore makes partitions before anything is known to be tracked, so it makes no
 * trigger twice.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "commands/event_trigger.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"

#include "core/compat.h"
#include "core/relation.h"
#include "core/spi.h"
#include "pipeline/criteria_pg.h"
#include "pipeline/history_pg.h"

PG_FUNCTION_INFO_V1(salesops_settle_stage_changes);

/* The last comparison: nothing has changed since in this transaction where no command came after it */
typedef struct Settled
{
	LocalTransactionId transaction;
	CommandId	command;
	Oid			root;
} Settled;

static Settled settled;

/* The key of a row as the history has it, in SQL, without casts, which may be anybody's */
static char *
key_text(Oid root, const char *column)
{
	bool		padded = getBaseType(get_atttype(root, get_attnum(root, column))) == BPCHAROID;
	char	   *text = psprintf("pg_catalog.format('%%s', r.%s)", quote_identifier(column));

	return padded ? psprintf("pg_catalog.rtrim(%s, ' ')", text) : text;
}

/* One name */
static void
collect_name(TupleTableSlot *slot, void *arg)
{
	*(char **) arg = pstrdup(NameStr(*DatumGetName(slot->tts_values[0])));
}

/* The column that is the key of a tracked relation; NULL where it is not tracked */
static char *
tracked_key(Oid relid)
{
	char	   *column = NULL;

	(void) spi_stream_as_owner("SELECT t.key_column FROM salesops.tracked_relation t WHERE t.relation = $1", 1,
							   (SpiArg[]) {spi_oid(relid)}, false, collect_name, &column);
	return column;
}

/* Write the departure of each deal that is in a stage by the history and has no row; answers how many. */
static uint64
settle(Oid root)
{
	char	   *column = tracked_key(root);
	SpiArg		args[] = {spi_oid(root), spi_name(GetUserNameFromId(GetUserId(), false))};
	SpiScope	scope;
	uint64		rows;

	if (column == NULL || get_attnum(root, column) == InvalidAttrNumber)
		return 0;
	spi_open(&scope, SPI_AS_OWNER);
	rows = spi_execute(SPI_OK_INSERT,
					   psprintf("INSERT INTO salesops.tracked_stage_change (relation, opportunity_id, previous_stage, changed_by)"
								" SELECT $1, l.opportunity_id, l.stage, $2 FROM (SELECT DISTINCT ON (c.opportunity_id) c.opportunity_id, c.stage"
								" FROM salesops.tracked_stage_change c WHERE c.relation = $1"
								" ORDER BY c.opportunity_id, c.entered_at DESC, c.change_id DESC) l WHERE l.stage IS NOT NULL"
								" AND NOT EXISTS (SELECT FROM %s r WHERE %s = l.opportunity_id) ORDER BY 2",
								relation_sql_name(root), key_text(root, column)),
					   2, args);
	spi_close(&scope);
	return rows;
}

/* The same for a trigger: once where several partitions are truncated by one command */
void
history_settle(Oid root)
{
	if (settled.transaction == my_local_transaction() && settled.command == GetCurrentCommandId(false) && settled.root == root)
		return;
	(void) settle(root);
	settled.transaction = my_local_transaction();
	/* marked as used, so that the next command has another one */
	settled.command = GetCurrentCommandId(true);
	settled.root = root;
}

/*
 * settle_stage_changes(relation) -> bigint
 *
 * By hand, for rows that went while no trigger looked. Errors: 42501 not the owner, 55000 the relation is not tracked.
 */
Datum
salesops_settle_stage_changes(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);

	relation_require_table(relid, "settle stage changes");
	relation_require_owner(relid);
	if (tracked_key(relid) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("stage changes of %s are not tracked", relation_sql_name(relid)),
				 errhint("SELECT salesops.track_stage_changes(%s) begins to track them.", sql_literal(relation_sql_name(relid)))));
	PG_RETURN_INT64((int64) settle(relid));
}

/* ---- the triggers of leaf partitions ---- */

/* Leaf partitions of a relation, itself where it is one */
List *
history_leaves(Oid relid)
{
	List	   *leaves = NIL;
	ListCell   *cell;

	foreach(cell, find_all_inheritors(relid, NoLock, NULL))
		if (get_rel_relkind(lfirst_oid(cell)) == RELKIND_RELATION)
			leaves = lappend_oid(leaves, lfirst_oid(cell));
	return leaves;
}

/* The tracked relation that a partition belongs to; InvalidOid where there is none */
static Oid
tracked_ancestor(Oid relid)
{
	ListCell   *cell;

	if (!get_rel_relispartition(relid))
		return InvalidOid;
	foreach(cell, get_partition_ancestors(relid))
		if (tracked_key(lfirst_oid(cell)) != NULL)
			return lfirst_oid(cell);
	return InvalidOid;
}

/* A partition was made or attached: its leaves get their trigger. */
static void
partition_came(Oid partition)
{
	Oid			root = tracked_ancestor(partition);

	if (OidIsValid(root))
		history_guard_leaves(root, history_leaves(partition));
}

/* A partition was detached: its triggers go, and its deals have left. */
static void
partition_went(Oid root, Oid partition)
{
	if (OidIsValid(partition))
		history_guard_leaves(InvalidOid, history_leaves(partition));
	if (tracked_key(root) == NULL)
		root = tracked_ancestor(root);
	if (OidIsValid(root))
		(void) settle(root);
}

/* One oid */
static void
collect_oid(TupleTableSlot *slot, void *arg)
{
	List	  **list = arg;

	*list = lappend_oid(*list, DatumGetObjectId(slot->tts_values[0]));
}

/* ALTER TABLE ended: was a partition attached or detached? */
static void
follow_alter(const AlterTableStmt *statement)
{
	ListCell   *cell;

	foreach(cell, statement->cmds)
	{
		AlterTableCmd *command = lfirst(cell);
		Oid			partition;

		if (command->subtype != AT_AttachPartition && command->subtype != AT_DetachPartition &&
			command->subtype != AT_DetachPartitionFinalize)
			continue;
		partition = RangeVarGetRelid(((PartitionCmd *) command->def)->name, NoLock, true);
		if (command->subtype == AT_AttachPartition && OidIsValid(partition))
			partition_came(partition);
		else if (command->subtype != AT_AttachPartition)
			partition_went(RangeVarGetRelid(statement->relation, NoLock, true), partition);
	}
}

/* A command ended that may have made, attached or detached a partition. */
void
history_follow_command(const Node *statement)
{
	List	   *made = NIL;
	ListCell   *cell;

	if (statement && IsA(statement, AlterTableStmt))
		follow_alter((const AlterTableStmt *) statement);
	if (statement == NULL || !IsA(statement, CreateStmt) || ((const CreateStmt *) statement)->partbound == NULL)
		return;
	(void) spi_stream_as_owner("SELECT d.objid FROM pg_catalog.pg_event_trigger_ddl_commands() d WHERE d.object_type = 'table'",
							   0, NULL, false, collect_oid, &made);
	foreach(cell, made)
		partition_came(lfirst_oid(cell));
}

/* Something was dropped: where partitions with triggers of ours were among it, the relations that are left are compared. */
void
history_follow_drops(void)
{
	List	   *roots = NIL;
	ListCell   *cell;

	(void) spi_stream_as_owner("SELECT k.oid FROM salesops.tracked_relation t JOIN pg_catalog.pg_class k ON k.oid = t.relation AND k.relkind = 'p'"
							   " WHERE EXISTS (SELECT FROM pg_catalog.pg_event_trigger_dropped_objects() d"
							   " WHERE d.object_type = 'trigger' AND NOT d.original AND d.address_names[3] = '" TRIGGER_HISTORY_PARTITION "')"
							   " ORDER BY k.oid", 0, NULL, false, collect_oid, &roots);
	foreach(cell, roots)
		(void) settle(lfirst_oid(cell));
}
