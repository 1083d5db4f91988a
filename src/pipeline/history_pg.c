/*
 * history_pg.c
 *		track_stage_changes(): each change of a deal's stage, amount or close date, written once, in the user's transaction.
 *
 * An update that changes none of them costs the comparison of them in a trigger's WHEN and nothing else. Inserts, COPY
 * included, and deletes go through one statement-level trigger and its transition table; so do updates of a partitioned
 * table, where a change of stage may move the row to another partition, which no row trigger on UPDATE sees. A deal that
 * is deleted, or whose stage is emptied, gets a row without a stage: it has left, to none. Rows are written with a
 * plan that the session keeps; which columns to read is kept beside it until the relation changes.
 *
 * Values go in through their types' output functions, never through casts: a cast can be the user's own function, and
 * what runs here runs as the extension's owner.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"

#include "core/compat.h"
#include "core/relation.h"
#include "core/spi.h"
#include "pipeline/criteria_pg.h"

PG_FUNCTION_INFO_V1(salesops_record_stage_change);
PG_FUNCTION_INFO_V1(salesops_track_stage_changes);
PG_FUNCTION_INFO_V1(salesops_untrack_stage_changes);

typedef enum TrackedColumn
{
	TRACKED_KEY,
	TRACKED_STAGE,
	TRACKED_AMOUNT,
	TRACKED_CLOSE_DATE,
	TRACKED_COLUMNS
} TrackedColumn;

/* What to read of a relation; an entry of the cache */
typedef struct Tracker
{
	Oid			relid;			/* hash key: that is written to, perhaps a partition */
	bool		valid;
	Oid			root;			/* that is tracked; InvalidOid where none is */
	AttrNumber	columns[TRACKED_COLUMNS];	/* 0 where not tracked */
} Tracker;

static HTAB *trackers = NULL;
static SPIPlanPtr insert_plan = NULL;

/* A relation changed (InvalidOid: any may have): what is known of it is to be read again. */
static void
forget_tracker(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS scan;
	Tracker    *tracker;

	hash_seq_init(&scan, trackers);
	while ((tracker = hash_seq_search(&scan)) != NULL)
		if (relid == InvalidOid || tracker->relid == relid || tracker->root == relid)
			tracker->valid = false;
}

/* The session's cache */
static void
init_trackers(void)
{
	HASHCTL		control = {.keysize = sizeof(Oid), .entrysize = sizeof(Tracker)};

	if (trackers != NULL)
		return;
	trackers = hash_create("salesops tracked relations", 16, &control, HASH_ELEM | HASH_BLOBS);
	CacheRegisterRelcacheCallback(forget_tracker, (Datum) 0);
}

/* Numbers as tracked_relation has them; a partition's own numbers are found by name */
static void
collect_columns(TupleTableSlot *slot, void *arg)
{
	Tracker    *tracker = arg;

	for (int i = 0; i < TRACKED_COLUMNS; i++)
	{
		AttrNumber	number = slot->tts_isnull[i] ? 0 : DatumGetInt16(slot->tts_values[i]);

		if (number > 0 && tracker->relid != tracker->root)
			number = get_attnum(tracker->relid, get_attname(tracker->root, number, false));
		tracker->columns[i] = number;
	}
}

/* Read tracked_relation for one candidate; true where it has a row */
static bool
load_columns(Tracker *tracker, Oid root)
{
	SpiScope	scope;
	SpiArg		args[] = {spi_oid(root)};
	uint64		rows;

	tracker->root = root;
	spi_open(&scope, SPI_AS_OWNER);
	PushActiveSnapshot(GetLatestSnapshot());
	rows = spi_stream("SELECT t.key_number, t.stage_number, t.amount_number, t.close_date_number"
					  " FROM salesops.tracked_relation t WHERE t.relation = $1", 1, args, true, collect_columns, tracker);
	PopActiveSnapshot();
	spi_close(&scope);
	return rows > 0;
}

/* What to read of this relation: by its own row in tracked_relation or that of an ancestor */
static Tracker *
get_tracker(Oid relid)
{
	Tracker		loaded = {.relid = relid};
	Tracker    *tracker;
	bool		found;
	ListCell   *cell;

	init_trackers();
	tracker = hash_search(trackers, &relid, HASH_FIND, NULL);
	if (tracker != NULL && tracker->valid)
		return tracker;
	found = load_columns(&loaded, relid);
	if (!found && get_rel_relispartition(relid))
		foreach(cell, get_partition_ancestors(relid))
			if (!found)
				found = load_columns(&loaded, lfirst_oid(cell));
	if (!found)
		loaded.root = InvalidOid;
	loaded.valid = true;
	tracker = hash_search(trackers, &relid, HASH_ENTER, &found);
	*tracker = loaded;
	return tracker;
}

/* A column as text, or NULL */
static char *
column_value(TupleTableSlot *slot, AttrNumber column)
{
	bool		isnull = true;
	Datum		value = column > 0 ? slot_getattr(slot, column, &isnull) : (Datum) 0;

	return isnull ? NULL : criteria_value_text(value, TupleDescAttr(slot->tts_tupleDescriptor, column - 1)->atttypid);
}

/* Same text, both NULL included */
static bool
same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* The plan that writes one row; texts become numeric and date by the server's own input */
static void
prepare_insert(void)
{
	Oid			types[] = {REGCLASSOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, NAMEOID};
	SPIPlanPtr	plan;

	if (insert_plan != NULL)
		return;
	plan = SPI_prepare("INSERT INTO salesops.tracked_stage_change (relation, opportunity_id, stage, previous_stage, amount, close_date,"
					   " changed_by) VALUES ($1, $2, $3, $4, $5::pg_catalog.numeric, $6::pg_catalog.date, $7)", lengthof(types), types);
	if (plan == NULL || SPI_keepplan(plan) != 0)
		elog(ERROR, "cannot prepare the insertion into tracked_stage_change");
	insert_plan = plan;
}

/* Write one row, within an SPI scope of the owner. Without a stage it says that the deal has left the one before for none. */
static void
write_change(const Tracker *tracker, char *const *values, const char *previous, Datum user)
{
	const char *texts[] = {values[TRACKED_KEY], values[TRACKED_STAGE], previous, values[TRACKED_AMOUNT], values[TRACKED_CLOSE_DATE]};
	Datum		arguments[7] = {ObjectIdGetDatum(tracker->root)};
	char		nulls[8] = "       ";

	for (size_t i = 0; i < lengthof(texts); i++)
	{
		nulls[i + 1] = texts[i] == NULL ? 'n' : ' ';
		arguments[i + 1] = texts[i] == NULL ? (Datum) 0 : CStringGetTextDatum(texts[i]);
	}
	arguments[6] = user;
	if (SPI_execute_plan(insert_plan, arguments, nulls, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "cannot write into tracked_stage_change");
}

/* What is tracked of a row; all NULL for no row */
static void
read_values(const Tracker *tracker, TupleTableSlot *slot, char **values)
{
	for (int i = 0; i < TRACKED_COLUMNS; i++)
		values[i] = slot ? column_value(slot, tracker->columns[i]) : NULL;
}

/* A deal is deleted, or has another key from now on: it has left its stage, if it had one. */
static void
record_departure(const Tracker *tracker, char *const *values, Datum user)
{
	char	   *gone[TRACKED_COLUMNS] = {values[TRACKED_KEY]};

	if (values[TRACKED_KEY] != NULL && values[TRACKED_STAGE] != NULL)
		write_change(tracker, gone, values[TRACKED_STAGE], user);
}

/* One row written: old is NULL where it is created, new where it is deleted. A deal without key or stage is no history yet. */
static void
record_row(const Tracker *tracker, TupleTableSlot *old, TupleTableSlot *new, Datum user)
{
	char	   *before[TRACKED_COLUMNS];
	char	   *after[TRACKED_COLUMNS];
	bool		changed = false;

	read_values(tracker, old, before);
	read_values(tracker, new, after);
	if (old && new && same_text(before[TRACKED_KEY], after[TRACKED_KEY]))
	{
		for (int i = TRACKED_STAGE; i < TRACKED_COLUMNS; i++)
			changed |= !same_text(before[i], after[i]);
		if (changed && after[TRACKED_KEY] != NULL && (before[TRACKED_STAGE] != NULL || after[TRACKED_STAGE] != NULL))
			write_change(tracker, after, before[TRACKED_STAGE], user);
		return;
	}
	record_departure(tracker, before, user);
	if (after[TRACKED_KEY] != NULL && after[TRACKED_STAGE] != NULL)
		write_change(tracker, after, NULL, user);
}

/* The next row of a transition table; true where there is no such table */
static bool
next_row(Tuplestorestate *table, TupleTableSlot *slot)
{
	return table == NULL || tuplestore_gettupleslot(table, true, false, slot);
}

/* All rows of a statement; those of an update stand in both tuplestores in the same order */
static void
record_statement(const Tracker *tracker, TriggerData *trigger, Datum user)
{
	TupleTableSlot *new = MakeSingleTupleTableSlot(RelationGetDescr(trigger->tg_relation), &TTSOpsMinimalTuple);
	TupleTableSlot *old = MakeSingleTupleTableSlot(RelationGetDescr(trigger->tg_relation), &TTSOpsMinimalTuple);
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "salesops stage change", ALLOCSET_SMALL_SIZES);
	MemoryContext context = MemoryContextSwitchTo(scratch);

	if (trigger->tg_newtable)
		tuplestore_rescan(trigger->tg_newtable);
	if (trigger->tg_oldtable)
		tuplestore_rescan(trigger->tg_oldtable);
	while (next_row(trigger->tg_newtable ? trigger->tg_newtable : trigger->tg_oldtable, trigger->tg_newtable ? new : old))
	{
		CHECK_FOR_INTERRUPTS();
		if (trigger->tg_newtable && !next_row(trigger->tg_oldtable, old))
			elog(ERROR, "transition tables differ in length");
		record_row(tracker, trigger->tg_oldtable ? old : NULL, trigger->tg_newtable ? new : NULL, user);
		MemoryContextSwitchTo(scratch);
		MemoryContextReset(scratch);
	}
	MemoryContextSwitchTo(context);
	MemoryContextDelete(scratch);
	ExecDropSingleTupleTableSlot(new);
	ExecDropSingleTupleTableSlot(old);
}

/* TRUNCATE: every deal that was in a stage has left it. */
static void
record_truncation(const Tracker *tracker, Datum user)
{
	(void) spi_execute(SPI_OK_INSERT,
					   "INSERT INTO salesops.tracked_stage_change (relation, opportunity_id, previous_stage, changed_by)"
					   " SELECT $1, l.opportunity_id, l.stage, $2 FROM (SELECT DISTINCT ON (c.opportunity_id) c.opportunity_id, c.stage"
					   " FROM salesops.tracked_stage_change c WHERE c.relation = $1"
					   " ORDER BY c.opportunity_id, c.entered_at DESC, c.change_id DESC) l WHERE l.stage IS NOT NULL", 2,
					   (SpiArg[]) {spi_oid(tracker->root), spi_datum(NAMEOID, user, false)});
}

/* Trigger function: AFTER INSERT, UPDATE or DELETE, for each statement with transition tables, or for each row; AFTER TRUNCATE */
Datum
salesops_record_stage_change(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	Tracker    *tracker;
	Tracker		copy;
	SpiScope	scope;
	Datum		user;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("stage changes are recorded by AFTER triggers"),
				 errhint("Let salesops.track_stage_changes() make them.")));
	tracker = get_tracker(RelationGetRelid(trigger->tg_relation));
	if (!OidIsValid(tracker->root) ||
		(TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event) && !TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event) &&
		 trigger->tg_newtable == NULL && trigger->tg_oldtable == NULL))
		PG_RETURN_POINTER(NULL);
	copy = *tracker;			/* an invalidation may come meanwhile */
	user = DirectFunctionCall1(namein, CStringGetDatum(GetUserNameFromId(GetUserId(), false)));
	spi_open(&scope, SPI_AS_OWNER);
	prepare_insert();
	if (TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
		record_truncation(&copy, user);
	else if (TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event))
		record_statement(&copy, trigger, user);
	else
		record_row(&copy, trigger->tg_trigslot, TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newslot : NULL, user);
	spi_close(&scope);
	PG_RETURN_POINTER(NULL);
}

/* ---- definition ---- */

/* Which column holds what: as attached, else by name; NULL where there is none */
static char *
choose_column(Oid relid, bool attached, const char *contract_column)
{
	char	   *column = attached ? contract_source_column("opportunity", contract_column) : NULL;

	if (column == NULL && get_attnum(relid, contract_column) != InvalidAttrNumber)
		column = pstrdup(contract_column);
	return column;
}

/* Only types whose text numeric and date read: a column of another type is not tracked. */
static char *
of_types(Oid relid, char *column, const Oid *types, int count)
{
	Oid			type = column ? getBaseType(get_atttype(relid, get_attnum(relid, column))) : InvalidOid;

	for (int i = 0; i < count; i++)
		if (types[i] == type)
			return column;
	return NULL;
}

/* The columns to track; error where there is no key or no stage */
static void
choose_columns(Oid relid, char **columns)
{
	static const Oid numbers[] = {NUMERICOID, INT2OID, INT4OID, INT8OID, FLOAT4OID, FLOAT8OID};
	static const Oid dates[] = {DATEOID, TIMESTAMPOID, TIMESTAMPTZOID};
	bool		attached = contract_relation("opportunity") == relid;

	columns[TRACKED_KEY] = criteria_key_column(relid);
	columns[TRACKED_STAGE] = criteria_load(relid)->stage_column;
	if (columns[TRACKED_STAGE] == NULL)
		columns[TRACKED_STAGE] = criteria_choose_stage_column(relid);
	columns[TRACKED_AMOUNT] = of_types(relid, choose_column(relid, attached, "amount"), numbers, lengthof(numbers));
	columns[TRACKED_CLOSE_DATE] = of_types(relid, choose_column(relid, attached, "close_date"), dates, lengthof(dates));
	if (columns[TRACKED_KEY] == NULL || columns[TRACKED_STAGE] == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot track stage changes of %s: %s", relation_sql_name(relid),
						columns[TRACKED_KEY] == NULL ? "it has no key of one column" : "no column is known to hold the stage"),
				 errhint("Attach it first: SELECT * FROM salesops.attach('opportunity', %s, '{\"opportunity_id\": \"...\", \"stage\": \"...\"}').",
						 sql_literal(relation_sql_name(relid)))));
}

/* A column as SQL that compares: domains as what they are over, since one over an enum has no operators of its own */
static char *
comparable(Oid relid, const char *row, const char *column)
{
	Oid			type = get_atttype(relid, get_attnum(relid, column));
	char	   *reference = psprintf("%s.%s", row, quote_identifier(column));

	return type == getBaseType(type) ? reference : psprintf("(%s)::%s", reference, format_type_be_qualified(getBaseType(type)));
}

/* True where the row changes in what is tracked */
static char *
changed_condition(Oid relid, char **columns)
{
	StringInfoData condition;

	initStringInfo(&condition);
	for (int i = 0; i < TRACKED_COLUMNS; i++)
		if (columns[i])
			appendStringInfo(&condition, "%s%s IS DISTINCT FROM %s", condition.len > 0 ? " OR " : "",
							 comparable(relid, "old", columns[i]), comparable(relid, "new", columns[i]));
	return condition.data;
}

/* One trigger: its name, its event, and when it is called */
static void
create_trigger(Oid relid, const char *name, const char *event, const char *when)
{
	(void) spi_execute(SPI_OK_UTILITY,
					   psprintf("CREATE OR REPLACE TRIGGER %s AFTER %s ON %s %s EXECUTE FUNCTION salesops.record_stage_change()",
								name, event, relation_sql_name(relid), when), 0, NULL);
}

/* The triggers, made as the owner of the extension: the right was checked */
static void
create_triggers(Oid relid, char **columns)
{
	SpiScope	scope;
	bool		partitioned = get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE;

	spi_open(&scope, SPI_AS_OWNER);
	create_trigger(relid, TRIGGER_HISTORY_INSERT, "INSERT", "REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT");
	create_trigger(relid, TRIGGER_HISTORY_UPDATE, "UPDATE",
				   partitioned ? "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT"
				   : psprintf("FOR EACH ROW WHEN (%s)", changed_condition(relid, columns)));
	create_trigger(relid, TRIGGER_HISTORY_DELETE, "DELETE", "REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT");
	create_trigger(relid, TRIGGER_HISTORY_TRUNCATE, "TRUNCATE", "FOR EACH STATEMENT");
	spi_close(&scope);
}

/* Is a history of the user's attached that has rows, as far as the caller may see? */
static bool
has_history(void)
{
	SpiScope	scope;
	uint64		rows;

	if (!OidIsValid(contract_relation("opportunity_stage_change")))
		return false;
	spi_open(&scope, SPI_AS_CALLER);
	rows = spi_execute(SPI_OK_SELECT, "SELECT 1 FROM salesops.opportunity_stage_change c LIMIT 1", 0, NULL);
	spi_close(&scope);
	return rows > 0;
}

/* Where no history is attached, or an empty one (create_crm's), and these are the deals, what is tracked becomes the history. */
static void
attach_history(Oid relid)
{
	SpiScope	scope;
	Oid			attached = contract_relation("opportunity_stage_change");

	if (contract_relation("opportunity") != relid || has_history() ||
		attached == get_relname_relid("tracked_history", get_namespace_oid("salesops", false)))
		return;
	spi_open(&scope, SPI_AS_OWNER);
	if (OidIsValid(attached))
		(void) spi_execute(SPI_OK_DELETE, "DELETE FROM salesops.source s WHERE s.entity = 'opportunity_stage_change'", 0, NULL);
	(void) spi_execute(SPI_OK_INSERT,
					   "INSERT INTO salesops.source (entity, relation, columns) SELECT 'opportunity_stage_change', 'salesops.tracked_history',"
					   " pg_catalog.jsonb_object_agg(c, c)"
					   " FROM unnest(ARRAY['opportunity_id', 'stage', 'entered_at', 'amount', 'close_date', 'change_number']) c", 0, NULL);
	spi_close(&scope);
	if (OidIsValid(attached))
		ereport(NOTICE,
				(errmsg("%s has no rows: what is tracked is attached as opportunity_stage_change in its place",
						relation_sql_name(attached)),
				 errhint("To use a table of your own instead: SELECT * FROM salesops.attach('opportunity_stage_change', %s).",
						 sql_literal(relation_sql_name(attached)))));
}

/* The right, the kind of relation and the lock */
static void
lock_for_tracking(Oid relid)
{
	relation_require_table(relid, "track stage changes");
	relation_require_owner(relid);
	LockRelationOid(relid, ShareRowExclusiveLock);
}

/*
 * track_stage_changes(relation) -> boolean
 *
 * From now on; nothing is made up for the time before (attach an audit table as opportunity_stage_change for that). Calling
 * it again looks for the columns again. Errors: 42501, 42809, 22023 no key or stage.
 */
Datum
salesops_track_stage_changes(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	char	   *columns[TRACKED_COLUMNS];
	SpiScope	scope;
	uint64		replaced;

	lock_for_tracking(relid);
	choose_columns(relid, columns);
	spi_open(&scope, SPI_AS_OWNER);
	replaced = spi_execute(SPI_OK_DELETE, "DELETE FROM salesops.tracked_relation t WHERE t.relation = $1", 1, (SpiArg[]) {spi_oid(relid)});
	(void) spi_execute(SPI_OK_INSERT,
					   "INSERT INTO salesops.tracked_relation (relation, key_column, stage_column, amount_column, close_date_column)"
					   " VALUES ($1, $2, $3, $4, $5)", 5,
					   (SpiArg[]) {spi_oid(relid), spi_name(columns[TRACKED_KEY]), spi_name(columns[TRACKED_STAGE]),
								   spi_name(columns[TRACKED_AMOUNT]), spi_name(columns[TRACKED_CLOSE_DATE])});
	spi_close(&scope);
	create_triggers(relid, columns);
	attach_history(relid);
	criteria_rebuild(relid);
	PG_RETURN_BOOL(replaced == 0);
}

/* untrack_stage_changes(relation) -> boolean */
Datum
salesops_untrack_stage_changes(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	static const char *const triggers[] = {TRIGGER_HISTORY_INSERT, TRIGGER_HISTORY_UPDATE, TRIGGER_HISTORY_DELETE,
	TRIGGER_HISTORY_TRUNCATE};
	SpiScope	scope;
	uint64		rows;

	lock_for_tracking(relid);
	spi_open(&scope, SPI_AS_OWNER);
	rows = spi_execute(SPI_OK_DELETE, "DELETE FROM salesops.tracked_relation t WHERE t.relation = $1", 1, (SpiArg[]) {spi_oid(relid)});
	for (size_t i = 0; i < lengthof(triggers); i++)
		if (OidIsValid(get_trigger_oid(relid, triggers[i], true)))
			(void) spi_execute(SPI_OK_UTILITY, psprintf("DROP TRIGGER %s ON %s", triggers[i], relation_sql_name(relid)), 0, NULL);
	spi_close(&scope);
	criteria_rebuild(relid);
	PG_RETURN_BOOL(rows > 0);
}
