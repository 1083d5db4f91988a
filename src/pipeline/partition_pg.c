/*
 * partition_pg.c
 *		Deals of a tracked relation that come or go without being written: with a partition that is attached, truncated, detached or
 *		dropped.
 *
 * No trigger sees such rows, so rows are compared with the history. A deal that is in a stage there and has no row any more has
 * left, to none: that is settle_stage_changes(), which a TRUNCATE trigger of each leaf partition calls, and the event triggers
 * after ALTER TABLE ... DETACH PARTITION and after a partition is dropped. A deal of a partition that is attached, and which
 * the history does not have as it is, has come. Both go by the newest rows, not by the transaction's snapshot, as the DDL does.
 *
 * Leaf partitions get their trigger as they are made or attached, by the command's own tree: a restore makes partitions before
 * anything is known to be tracked, so it makes no trigger twice and no deal comes by it.
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
#include "utils/snapmgr.h"

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

/* The columns of a relation that are tracked; NULL for none */
typedef struct TrackedNames
{
	char	   *key;
	char	   *stage;
	char	   *amount;
	char	   *close_date;
} TrackedNames;

/* One row of tracked_relation */
static void
collect_names(TupleTableSlot *slot, void *arg)
{
	char	  **names[] = {&((TrackedNames *) arg)->key, &((TrackedNames *) arg)->stage, &((TrackedNames *) arg)->amount,
	&((TrackedNames *) arg)->close_date};

	for (size_t i = 0; i < lengthof(names); i++)
		*names[i] = slot->tts_isnull[i] ? NULL : pstrdup(NameStr(*DatumGetName(slot->tts_values[i])));
}

/* What is tracked of a relation; false where it is not */
static bool
tracked_names(Oid relid, TrackedNames *names)
{
	return spi_stream_as_owner("SELECT t.key_column, t.stage_column, t.amount_column, t.close_date_column FROM salesops.tracked_relation t"
							   " WHERE t.relation = $1", 1, (SpiArg[]) {spi_oid(relid)}, false, collect_names, names) > 0;
}

/* A key or stage of a row as the history has it, in SQL, without casts, which may be anybody's; NULL stays NULL */
static char *
text_sql(Oid relid, const char *column)
{
	bool		padded = getBaseType(get_atttype(relid, get_attnum(relid, column))) == BPCHAROID;
	char	   *reference = psprintf("r.%s", quote_identifier(column));
	char	   *text = psprintf("pg_catalog.format('%%s', %s)", reference);

	if (padded)
		text = psprintf("pg_catalog.rtrim(%s, ' ')", text);
	return psprintf("CASE WHEN NOT %s IS NULL THEN %s END", reference, text);
}

/* The same for an amount or a date, which are read from their text (history_pg.c) */
static char *
value_sql(const char *column, const char *type)
{
	if (column == NULL)
		return psprintf("NULL::%s", type);
	return psprintf("CASE WHEN NOT r.%1$s IS NULL THEN pg_catalog.format('%%s', r.%1$s)::%2$s END", quote_identifier(column), type);
}

/* Where each deal of a relation ($1) stands by the history, in SQL */
#define LAST_CHANGE "(SELECT DISTINCT ON (c.opportunity_id) c.opportunity_id, c.stage, c.amount, c.close_date" \
	" FROM salesops.tracked_stage_change c WHERE c.relation = $1" \
	" ORDER BY c.opportunity_id, c.entered_at DESC, c.change_id DESC)"

/* Write what a query over $1 (the relation) and $2 (the user) finds, by the newest rows; answers how many. */
static uint64
write_found(Oid root, const char *columns, const char *query)
{
	SpiArg		args[] = {spi_oid(root), spi_name(GetUserNameFromId(GetUserId(), false))};
	Oid			types[] = {args[0].type, args[1].type};
	Datum		values[] = {args[0].value, args[1].value};
	SpiScope	scope;
	SPIPlanPtr	plan;
	uint64		rows;

	spi_open(&scope, SPI_AS_OWNER);
	plan = SPI_prepare(psprintf("INSERT INTO salesops.tracked_stage_change (relation, changed_by, %s) %s", columns, query), 2, types);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	if (SPI_execute_snapshot(plan, values, NULL, GetLatestSnapshot(), InvalidSnapshot, false, true, 0) != SPI_OK_INSERT)
		elog(ERROR, "unexpected result of a comparison with the history");
	rows = SPI_processed;
	spi_close(&scope);
	return rows;
}

/* Write the departure of each deal that is in a stage by the history and has no row; answers how many. */
static uint64
settle(Oid root)
{
	TrackedNames names;

	if (!tracked_names(root, &names) || get_attnum(root, names.key) == InvalidAttrNumber)
		return 0;
	return write_found(root, "opportunity_id, previous_stage",
					   psprintf("SELECT $1, $2, l.opportunity_id, l.stage FROM " LAST_CHANGE " l WHERE l.stage IS NOT NULL"
								" AND NOT EXISTS (SELECT FROM %s r WHERE %s = l.opportunity_id) ORDER BY 3",
								relation_sql_name(root), text_sql(root, names.key)));
}

/* Write the arrival of each deal of a leaf partition that the history does not have as it is. Without a stage it is no history yet. */
static void
settle_arrivals(Oid root, Oid partition)
{
	TrackedNames names;

	if (!tracked_names(root, &names) || get_attnum(root, names.key) == InvalidAttrNumber ||
		get_attnum(root, names.stage) == InvalidAttrNumber)
		return;
	(void) write_found(root, "opportunity_id, stage, previous_stage, amount, close_date",
					   psprintf("SELECT $1, $2, a.key, a.stage, l.stage, a.amount, a.close_date"
								" FROM (SELECT %s AS key, %s AS stage, %s AS amount, %s AS close_date FROM %s r) a"
								" LEFT JOIN " LAST_CHANGE " l ON l.opportunity_id = a.key WHERE a.key IS NOT NULL AND a.stage IS NOT NULL"
								" AND (a.stage, a.amount, a.close_date) IS DISTINCT FROM (l.stage, l.amount, l.close_date) ORDER BY 3",
								text_sql(root, names.key), text_sql(root, names.stage), value_sql(names.amount, "pg_catalog.numeric"),
								value_sql(names.close_date, "pg_catalog.date"), relation_sql_name(partition)));
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
	TrackedNames names;

	relation_require_table(relid, "settle stage changes");
	relation_require_owner(relid);
	if (!tracked_names(relid, &names))
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
	TrackedNames names;
	ListCell   *cell;

	if (!get_rel_relispartition(relid))
		return InvalidOid;
	foreach(cell, get_partition_ancestors(relid))
		if (tracked_names(lfirst_oid(cell), &names))
			return lfirst_oid(cell);
	return InvalidOid;
}

/* A partition was made, or attached with the deals in it: its leaves get their trigger, and the deals have come. */
static void
partition_came(Oid partition, bool attached)
{
	Oid			root = tracked_ancestor(partition);
	List	   *leaves = OidIsValid(root) ? history_leaves(partition) : NIL;
	ListCell   *cell;

	history_guard_leaves(root, leaves);
	if (attached)
		foreach(cell, leaves)
			settle_arrivals(root, lfirst_oid(cell));
}

/* A partition was detached: its triggers go, and its deals have left. */
static void
partition_went(Oid root, Oid partition)
{
	TrackedNames names;

	if (OidIsValid(partition))
		history_guard_leaves(InvalidOid, history_leaves(partition));
	if (!tracked_names(root, &names))
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
			partition_came(partition, true);
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
		partition_came(lfirst_oid(cell), false);
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
