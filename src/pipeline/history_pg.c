/*
 * history_pg.c
 *		track_stage_changes(): each change of a deal's stage, amount or close date, written once, in the user's transaction.
 *
 * An update that changes none of them costs the comparison of them in a trigger's WHEN and nothing else. Inserts, COPY
 * included, go through one statement-level trigger and its transition table; so do updates of a partitioned table, where
 * a change of stage may move the row to another partition, which no row trigger on UPDATE sees. Rows are written with a
 * plan that the session keeps; which columns to read is kept beside it until the relation changes.
 *
 * Values go in through their types' output functions, never through casts: a cast can be the user's own function, and
 * what runs here runs as the extension's owner.
 */
#include "postgres.h"

#include "access/table.h"
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
	Oid			output;
	bool		varlena;

	if (isnull)
		return NULL;
	getTypeOutputInfo(TupleDescAttr(slot->tts_tupleDescriptor, column - 1)->atttypid, &output, &varlena);
	return OidOutputFunctionCall(output, value);
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

/* Write one row, within an SPI scope of the owner. A deal without key or stage is no history yet. */
static void
record_row(const Tracker *tracker, TupleTableSlot *old, TupleTableSlot *new, Datum user)
{
	char	   *values[TRACKED_COLUMNS];
	char	   *previous = old ? column_value(old, tracker->columns[TRACKED_STAGE]) : NULL;
	bool		changed = old == NULL;
	Datum		arguments[7] = {ObjectIdGetDatum(tracker->root)};
	char		nulls[8] = "       ";

	for (int i = 0; i < TRACKED_COLUMNS; i++)
	{
		values[i] = column_value(new, tracker->columns[i]);
		if (old && !same_text(values[i], column_value(old, tracker->columns[i])))
			changed = true;
	}
	if (!changed || values[TRACKED_KEY] == NULL || values[TRACKED_STAGE] == NULL)
		return;
	for (int i = 0; i < 5; i++)
	{
		char	   *text = i == 2 ? previous : values[i < 2 ? i : i - 1];

		nulls[i + 1] = text == NULL ? 'n' : ' ';
		arguments[i + 1] = text == NULL ? (Datum) 0 : CStringGetTextDatum(text);
	}
	arguments[6] = user;
	if (SPI_execute_plan(insert_plan, arguments, nulls, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "cannot write into tracked_stage_change");
}

/* All rows of a statement; those of an update stand in both tuplestores in the same order */
static void
record_statement(const Tracker *tracker, TriggerData *trigger, Datum user)
{
	TupleTableSlot *new = MakeSingleTupleTableSlot(RelationGetDescr(trigger->tg_relation), &TTSOpsMinimalTuple);
	TupleTableSlot *old = MakeSingleTupleTableSlot(RelationGetDescr(trigger->tg_relation), &TTSOpsMinimalTuple);
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "salesops stage change", ALLOCSET_SMALL_SIZES);
	MemoryContext context = MemoryContextSwitchTo(scratch);

	tuplestore_rescan(trigger->tg_newtable);
	if (trigger->tg_oldtable)
		tuplestore_rescan(trigger->tg_oldtable);
	while (tuplestore_gettupleslot(trigger->tg_newtable, true, false, new))
	{
		CHECK_FOR_INTERRUPTS();
		if (trigger->tg_oldtable && !tuplestore_gettupleslot(trigger->tg_oldtable, true, false, old))
			elog(ERROR, "transition tables differ in length");
		record_row(tracker, trigger->tg_oldtable ? old : NULL, new, user);
		MemoryContextSwitchTo(scratch);
		MemoryContextReset(scratch);
	}
	MemoryContextSwitchTo(context);
	MemoryContextDelete(scratch);
	ExecDropSingleTupleTableSlot(new);
	ExecDropSingleTupleTableSlot(old);
}

/* Trigger function: AFTER INSERT or UPDATE, for each statement with transition tables, or for each row */
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
	if (!OidIsValid(tracker->root) || (TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event) && trigger->tg_newtable == NULL))
		PG_RETURN_POINTER(NULL);
	copy = *tracker;			/* an invalidation may come meanwhile */
	user = DirectFunctionCall1(namein, CStringGetDatum(GetUserNameFromId(GetUserId(), false)));
	spi_open(&scope, SPI_AS_OWNER);
	prepare_insert();
	if (TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event))
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

	columns[TRACKED_KEY] = attached ? contract_source_column("opportunity", "opportunity_id") : relation_key_column(relid);
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

/* True where the row changes in what is tracked */
static char *
changed_condition(char **columns)
{
	StringInfoData condition;

	initStringInfo(&condition);
	for (int i = TRACKED_STAGE; i < TRACKED_COLUMNS; i++)
		if (columns[i])
			appendStringInfo(&condition, "%sold.%s IS DISTINCT FROM new.%s", condition.len > 0 ? " OR " : "",
							 quote_identifier(columns[i]), quote_identifier(columns[i]));
	return condition.data;
}

/* The two triggers, made as the owner of the extension: the right was checked */
static void
create_triggers(Oid relid, char **columns)
{
	SpiScope	scope;
	char	   *name = relation_sql_name(relid);
	bool		partitioned = get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE;

	spi_open(&scope, SPI_AS_OWNER);
	(void) spi_execute(SPI_OK_UTILITY,
					   psprintf("CREATE OR REPLACE TRIGGER " TRIGGER_HISTORY_INSERT " AFTER INSERT ON %s REFERENCING NEW TABLE AS new_rows"
								" FOR EACH STATEMENT EXECUTE FUNCTION salesops.record_stage_change()", name), 0, NULL);
	(void) spi_execute(SPI_OK_UTILITY,
					   partitioned
					   ? psprintf("CREATE OR REPLACE TRIGGER " TRIGGER_HISTORY_UPDATE " AFTER UPDATE ON %s"
								  " REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows"
								  " FOR EACH STATEMENT EXECUTE FUNCTION salesops.record_stage_change()", name)
					   : psprintf("CREATE OR REPLACE TRIGGER " TRIGGER_HISTORY_UPDATE " AFTER UPDATE ON %s"
								  " FOR EACH ROW WHEN (%s) EXECUTE FUNCTION salesops.record_stage_change()",
								  name, changed_condition(columns)), 0, NULL);
	spi_close(&scope);
}

/* Where no history is attached and these are the deals, what is tracked becomes the history. */
static void
attach_history(Oid relid)
{
	SpiScope	scope;

	if (contract_relation("opportunity") != relid || OidIsValid(contract_relation("opportunity_stage_change")))
		return;
	spi_open(&scope, SPI_AS_OWNER);
	(void) spi_execute(SPI_OK_INSERT,
					   "INSERT INTO salesops.source (entity, relation, columns) SELECT 'opportunity_stage_change', 'salesops.tracked_history',"
					   " pg_catalog.jsonb_object_agg(c, c) FROM unnest(ARRAY['opportunity_id', 'stage', 'entered_at', 'amount', 'close_date']) c",
					   0, NULL);
	spi_close(&scope);
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
	static const char *const triggers[] = {TRIGGER_HISTORY_INSERT, TRIGGER_HISTORY_UPDATE};
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
