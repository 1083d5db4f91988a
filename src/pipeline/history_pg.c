/*
 * history_pg.c
 *		track_stage_changes(): each change of a deal's stage, amount or close date, written once, in the user's transaction.
 *
 * An update that changes none of them costs the comparison of them in a trigger's WHEN and nothing else. Inserts, COPY
 * included, and deletes of a plain table go through one statement-level trigger and its transition table. On a partitioned
 * table all triggers are row-level: the server clones those for each partition, so that rows written to a partition by its
 * own name are seen too, and so it is where rows come by logical replication, which calls no statement-level ones. A row that
 * moves to another partition is one change; rows that go with a partition are partition_pg.c's. A deal that is deleted, or whose
 * stage is emptied, gets a row without a stage: it has left, to none. Rows go into the table as COPY's do, without SQL; which
 * columns to read is kept in the session until the relation changes.
 *
 * Values are converted by the server's own functions for their types, never by casts, which may be anybody's.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "core/compat.h"
#include "core/own.h"
#include "core/relation.h"
#include "core/spi.h"
#include "pipeline/criteria_pg.h"
#include "pipeline/history_pg.h"

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
	Oid			types[TRACKED_COLUMNS];	/* of those; domains as what they are over */
} Tracker;

/* What is tracked of one row: key and stage as text, amount as numeric, close date as date */
typedef struct Tracked
{
	Datum		values[TRACKED_COLUMNS];
	bool		nulls[TRACKED_COLUMNS];
} Tracked;

static HTAB *trackers = NULL;

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
		tracker->types[i] = number > 0 ? getBaseType(get_atttype(tracker->relid, number)) : InvalidOid;
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

/* A key or stage as text */
static Datum
text_value(Datum value, Oid type)
{
	char		digits[MAXINT8LEN + 1];

	switch (type)
	{
		case TEXTOID:
		case VARCHAROID:
			return PointerGetDatum(PG_DETOAST_DATUM_PACKED(value));
		case INT4OID:
			return PointerGetDatum(cstring_to_text_with_len(digits, pg_ltoa(DatumGetInt32(value), digits)));
		case INT8OID:
			return PointerGetDatum(cstring_to_text_with_len(digits, pg_lltoa(DatumGetInt64(value), digits)));
		default:
			return CStringGetTextDatum(criteria_value_text(value, type));
	}
}

/* An amount as numeric */
static Datum
amount_value(Datum value, Oid type)
{
	switch (type)
	{
		case NUMERICOID:
			return PointerGetDatum(PG_DETOAST_DATUM_PACKED(value));
		case INT2OID:
			return NumericGetDatum(int64_to_numeric(DatumGetInt16(value)));
		case INT4OID:
			return NumericGetDatum(int64_to_numeric(DatumGetInt32(value)));
		case INT8OID:
			return NumericGetDatum(int64_to_numeric(DatumGetInt64(value)));
		default:
			return DirectFunctionCall3(numeric_in, CStringGetDatum(criteria_value_text(value, type)), ObjectIdGetDatum(InvalidOid),
									   Int32GetDatum(-1));
	}
}

/* A close date as date */
static Datum
date_value(Datum value, Oid type)
{
	return type == DATEOID ? value : DirectFunctionCall1(date_in, CStringGetDatum(criteria_value_text(value, type)));
}

/* What is tracked of a row; all NULL for no row */
static void
read_values(const Tracker *tracker, TupleTableSlot *slot, Tracked *row)
{
	static Datum (*const convert[TRACKED_COLUMNS]) (Datum, Oid) = {text_value, text_value, amount_value, date_value};

	for (int i = 0; i < TRACKED_COLUMNS; i++)
	{
		row->nulls[i] = true;
		row->values[i] = slot && tracker->columns[i] > 0 ? slot_getattr(slot, tracker->columns[i], &row->nulls[i]) : (Datum) 0;
		if (!row->nulls[i])
			row->values[i] = convert[i] (row->values[i], tracker->types[i]);
	}
}

/* Same value, both NULL included */
static bool
same_value(const Tracked *a, const Tracked *b, TrackedColumn column)
{
	text	   *left;
	text	   *right;

	if (a->nulls[column] || b->nulls[column])
		return a->nulls[column] && b->nulls[column];
	if (column == TRACKED_CLOSE_DATE)
		return DatumGetDateADT(a->values[column]) == DatumGetDateADT(b->values[column]);
	if (column == TRACKED_AMOUNT)
		return DatumGetBool(DirectFunctionCall2(numeric_eq, a->values[column], b->values[column]));
	left = DatumGetTextPP(a->values[column]);
	right = DatumGetTextPP(b->values[column]);
	return VARSIZE_ANY_EXHDR(left) == VARSIZE_ANY_EXHDR(right) &&
		memcmp(VARDATA_ANY(left), VARDATA_ANY(right), VARSIZE_ANY_EXHDR(left)) == 0;
}

/* ---- writing ---- */

/* Where the changes of one call go */
typedef struct ChangeWriter
{
	OwnWriter  *rows;
	Oid			root;
	Oid			sequence;
	Datum		user;
	ItemPointerData place;		/* of the last row written; invalid where there is none */
} ChangeWriter;

/* Columns of tracked_stage_change, in order */
enum
{
	CHANGE_RELATION,
	CHANGE_KEY,
	CHANGE_STAGE,
	CHANGE_PREVIOUS,
	CHANGE_ENTERED_AT,
	CHANGE_AMOUNT,
	CHANGE_CLOSE_DATE,
	CHANGE_USER,
	CHANGE_ID,
	CHANGE_COLUMNS
};

/* Write one row. Without a stage it says that the deal has left the one before for none. */
static void
write_change(ChangeWriter *writer, const Tracked *row, const Tracked *before)
{
	Datum		values[CHANGE_COLUMNS];
	bool		nulls[CHANGE_COLUMNS] = {false};

	values[CHANGE_RELATION] = ObjectIdGetDatum(writer->root);
	values[CHANGE_KEY] = row->values[TRACKED_KEY];
	values[CHANGE_STAGE] = row->values[TRACKED_STAGE];
	values[CHANGE_PREVIOUS] = before->values[TRACKED_STAGE];
	values[CHANGE_ENTERED_AT] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[CHANGE_AMOUNT] = row->values[TRACKED_AMOUNT];
	values[CHANGE_CLOSE_DATE] = row->values[TRACKED_CLOSE_DATE];
	values[CHANGE_USER] = writer->user;
	values[CHANGE_ID] = Int64GetDatum(nextval_internal(writer->sequence, false));
	nulls[CHANGE_STAGE] = row->nulls[TRACKED_STAGE];
	nulls[CHANGE_PREVIOUS] = before->nulls[TRACKED_STAGE];
	nulls[CHANGE_AMOUNT] = row->nulls[TRACKED_AMOUNT];
	nulls[CHANGE_CLOSE_DATE] = row->nulls[TRACKED_CLOSE_DATE];
	writer->place = own_writer_put(writer->rows, values, nulls);
}

/* A deal is deleted, or has another key from now on: it has left its stage, if it had one. */
static void
record_departure(ChangeWriter *writer, const Tracked *before)
{
	Tracked		gone = {.nulls = {false, true, true, true}};

	gone.values[TRACKED_KEY] = before->values[TRACKED_KEY];
	if (!before->nulls[TRACKED_KEY] && !before->nulls[TRACKED_STAGE])
		write_change(writer, &gone, before);
}

/*
 * One row written: before is all NULL where it is created, after where it is deleted. A deal without key or stage is no
 * history yet.
 */
static void
record_row(ChangeWriter *writer, const Tracked *before, const Tracked *after)
{
	static const Tracked none = {.nulls = {true, true, true, true}};

	if (!before->nulls[TRACKED_KEY] && !after->nulls[TRACKED_KEY] && same_value(before, after, TRACKED_KEY))
	{
		bool		same = true;

		for (int i = TRACKED_STAGE; i < TRACKED_COLUMNS; i++)
			same &= same_value(before, after, i);
		if (!same && (!before->nulls[TRACKED_STAGE] || !after->nulls[TRACKED_STAGE]))
			write_change(writer, after, before);
		return;
	}
	record_departure(writer, before);
	if (!after->nulls[TRACKED_KEY] && !after->nulls[TRACKED_STAGE])
		write_change(writer, after, &none);
}

/* All rows of a statement, of which one transition table is enough: inserted or deleted */
static void
record_statement(const Tracker *tracker, TriggerData *trigger, ChangeWriter *writer)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(trigger->tg_relation), &TTSOpsMinimalTuple);
	Tuplestorestate *rows = trigger->tg_newtable ? trigger->tg_newtable : trigger->tg_oldtable;
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "salesops stage change", ALLOCSET_SMALL_SIZES);

	tuplestore_rescan(rows);
	/* outside the scratch: the slot keeps a row that was read from a file until it gets the next one */
	while (tuplestore_gettupleslot(rows, true, false, slot))
	{
		MemoryContext context = MemoryContextSwitchTo(scratch);
		Tracked		before;
		Tracked		after;

		CHECK_FOR_INTERRUPTS();
		read_values(tracker, trigger->tg_newtable ? NULL : slot, &before);
		read_values(tracker, trigger->tg_newtable ? slot : NULL, &after);
		record_row(writer, &before, &after);
		MemoryContextSwitchTo(context);
		MemoryContextReset(scratch);
	}
	MemoryContextDelete(scratch);
	ExecDropSingleTupleTableSlot(slot);
}

/* ---- rows that move to another partition: the server deletes them in one and inserts them in the other ---- */

/* The last call was for the deletion of a row that moves; what it wrote is taken back when the row arrives */
typedef struct Move
{
	LocalTransactionId transaction;	/* invalid where there is none */
	SubTransactionId subtransaction;
	Oid			root;
	ItemPointerData place;		/* of the departure; invalid where none was written */
	Tracked		before;
	MemoryContext context;		/* of before's values */
} Move;

static Move move;

/* Keep what the row was. */
static void
remember_move(const ChangeWriter *writer, const Tracked *before)
{
	MemoryContext old;

	if (move.context == NULL)
		move.context = AllocSetContextCreate(TopMemoryContext, "salesops row that moves", ALLOCSET_SMALL_SIZES);
	MemoryContextReset(move.context);
	old = MemoryContextSwitchTo(move.context);
	move.before = *before;
	for (int i = 0; i < TRACKED_COLUMNS; i++)
		if (!before->nulls[i] && i != TRACKED_CLOSE_DATE)
			move.before.values[i] = datumCopy(before->values[i], false, -1);
	MemoryContextSwitchTo(old);
	move.root = writer->root;
	move.place = writer->place;
	move.subtransaction = GetCurrentSubTransactionId();
	move.transaction = my_local_transaction();
	/* so that the departure can be taken back */
	CommandCounterIncrement();
}

/* Is this the row whose deletion was the last call? */
static bool
has_arrived(const ChangeWriter *writer, const Tracked *after)
{
	return move.transaction == my_local_transaction() && LocalTransactionIdIsValid(move.transaction) &&
		move.subtransaction == GetCurrentSubTransactionId() && move.root == writer->root &&
		!after->nulls[TRACKED_KEY] && !move.before.nulls[TRACKED_KEY] && same_value(&move.before, after, TRACKED_KEY);
}

/* One row of a row-level trigger */
static void
record_event(const Tracker *tracker, TriggerData *trigger, ChangeWriter *writer)
{
	bool		inserted = TRIGGER_FIRED_BY_INSERT(trigger->tg_event);
	Tracked		before;
	Tracked		after;

	read_values(tracker, inserted ? NULL : trigger->tg_trigslot, &before);
	read_values(tracker, inserted ? trigger->tg_trigslot : TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newslot : NULL, &after);
	if (inserted && has_arrived(writer, &after))
	{
		if (ItemPointerIsValid(&move.place))
			own_writer_remove(writer->rows, move.place);
		before = move.before;
	}
	move.transaction = InvalidLocalTransactionId;
	record_row(writer, &before, &after);
	if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event) && HeapTupleHeaderIndicatesMovedPartitions(trigger->tg_trigtuple->t_data))
		remember_move(writer, &before);
}

/* The current user's name */
static Datum
user_name(void)
{
	return DirectFunctionCall1(namein, CStringGetDatum(GetUserNameFromId(GetUserId(), false)));
}

/* What a statement or a row-level trigger brings */
static void
record_changes(const Tracker *tracker, TriggerData *trigger)
{
	bool		statement = TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event);
	Tuplestorestate *rows = trigger->tg_newtable ? trigger->tg_newtable : trigger->tg_oldtable;
	ChangeWriter writer = {.root = tracker->root, .user = user_name()};

	if (statement && tuplestore_tuple_count(rows) == 0)
		return;
	ItemPointerSetInvalid(&writer.place);
	writer.sequence = get_relname_relid("tracked_stage_change_change_id_seq", get_namespace_oid("salesops", false));
	writer.rows = own_writer_open("tracked_stage_change", statement && tuplestore_tuple_count(rows) > 1);
	if (statement)
		record_statement(tracker, trigger, &writer);
	else
		record_event(tracker, trigger, &writer);
	own_writer_close(writer.rows);
}

/* TRUNCATE: every deal that was in a stage has left it. */
static void
record_truncation(Oid root)
{
	Datum		user = user_name();
	SpiScope	scope;

	spi_open(&scope, SPI_AS_OWNER);
	(void) spi_execute(SPI_OK_INSERT,
					   "INSERT INTO salesops.tracked_stage_change (relation, opportunity_id, previous_stage, changed_by)"
					   " SELECT $1, l.opportunity_id, l.stage, $2 FROM (SELECT DISTINCT ON (c.opportunity_id) c.opportunity_id, c.stage"
					   " FROM salesops.tracked_stage_change c WHERE c.relation = $1"
					   " ORDER BY c.opportunity_id, c.entered_at DESC, c.change_id DESC) l WHERE l.stage IS NOT NULL", 2,
					   (SpiArg[]) {spi_oid(root), spi_datum(NAMEOID, user, false)});
	spi_close(&scope);
}

/* Trigger function: AFTER INSERT, UPDATE or DELETE, for each statement with transition tables, or for each row; AFTER TRUNCATE */
Datum
salesops_record_stage_change(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	Tracker    *tracker;
	Tracker		copy;

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
	if (TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event) && copy.root != copy.relid)
		history_settle(copy.root);
	else if (TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
		record_truncation(copy.root);
	else
		record_changes(&copy, trigger);
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

/* One trigger: its name, its event, and when it is called; NULL: no such trigger. The one that was there goes. */
static void
replace_trigger(Oid relid, const char *name, const char *event, const char *when, bool always)
{
	if (OidIsValid(get_trigger_oid(relid, name, true)))
		(void) spi_execute(SPI_OK_UTILITY, psprintf("DROP TRIGGER %s ON %s", name, relation_sql_name(relid)), 0, NULL);
	if (event == NULL)
		return;
	(void) spi_execute(SPI_OK_UTILITY, psprintf("CREATE TRIGGER %s AFTER %s ON %s %s EXECUTE FUNCTION salesops.record_stage_change()",
												name, event, relation_sql_name(relid), when), 0, NULL);
	if (always)
		(void) spi_execute(SPI_OK_UTILITY, psprintf("ALTER TABLE %s ENABLE ALWAYS TRIGGER %s", relation_sql_name(relid), name), 0, NULL);
}

/*
 * The triggers, made as the owner of the extension: the right was checked. Row-level ones hold on partitions, however a row
 * gets there, and are the only ones that logical replication calls.
 */
static void
create_triggers(Oid relid, char **columns, bool replicated)
{
	SpiScope	scope;
	bool		rows = replicated || get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE;

	spi_open(&scope, SPI_AS_OWNER);
	replace_trigger(relid, TRIGGER_HISTORY_INSERT, "INSERT", rows ? "FOR EACH ROW" : "REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT",
					replicated);
	replace_trigger(relid, TRIGGER_HISTORY_UPDATE, "UPDATE", psprintf("FOR EACH ROW WHEN (%s)", changed_condition(relid, columns)),
					replicated);
	replace_trigger(relid, TRIGGER_HISTORY_DELETE, "DELETE", rows ? "FOR EACH ROW" : "REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT",
					replicated);
	replace_trigger(relid, TRIGGER_HISTORY_TRUNCATE, "TRUNCATE", "FOR EACH STATEMENT", replicated);
	spi_close(&scope);
}

/* A relation's replicated, as tracked_relation has it */
static void
collect_replicated(TupleTableSlot *slot, void *arg)
{
	*(bool *) arg = DatumGetBool(slot->tts_values[0]);
}

/* The TRUNCATE triggers of leaf partitions: made anew, or dropped where there is no root that is tracked. */
void
history_guard_leaves(Oid root, List *leaves)
{
	SpiScope	scope;
	bool		replicated = false;
	ListCell   *cell;

	if (OidIsValid(root))
		(void) spi_stream_as_owner("SELECT t.replicated FROM salesops.tracked_relation t WHERE t.relation = $1", 1,
								   (SpiArg[]) {spi_oid(root)}, false, collect_replicated, &replicated);
	spi_open(&scope, SPI_AS_OWNER);
	foreach(cell, leaves)
		replace_trigger(lfirst_oid(cell), TRIGGER_HISTORY_PARTITION, OidIsValid(root) ? "TRUNCATE" : NULL, "FOR EACH STATEMENT", replicated);
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
 * track_stage_changes(relation, replicated) -> boolean
 *
 * From now on; nothing is made up for the time before (attach an audit table as opportunity_stage_change for that). Calling
 * it again looks for the columns again. replicated: also what logical replication applies here (and whatever is written under
 * session_replication_role = replica), by row-level triggers that are always enabled. Errors: 42501, 42809, 22023 no key or stage.
 */
Datum
salesops_track_stage_changes(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	bool		replicated = PG_GETARG_BOOL(1);
	char	   *columns[TRACKED_COLUMNS];
	SpiScope	scope;
	uint64		replaced;

	lock_for_tracking(relid);
	choose_columns(relid, columns);
	spi_open(&scope, SPI_AS_OWNER);
	replaced = spi_execute(SPI_OK_DELETE, "DELETE FROM salesops.tracked_relation t WHERE t.relation = $1", 1, (SpiArg[]) {spi_oid(relid)});
	(void) spi_execute(SPI_OK_INSERT,
					   "INSERT INTO salesops.tracked_relation (relation, key_column, stage_column, amount_column, close_date_column, replicated)"
					   " VALUES ($1, $2, $3, $4, $5, $6)", 6,
					   (SpiArg[]) {spi_oid(relid), spi_name(columns[TRACKED_KEY]), spi_name(columns[TRACKED_STAGE]),
								   spi_name(columns[TRACKED_AMOUNT]), spi_name(columns[TRACKED_CLOSE_DATE]), spi_bool(replicated)});
	spi_close(&scope);
	create_triggers(relid, columns, replicated);
	if (get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE)
		history_guard_leaves(relid, history_leaves(relid));
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
		replace_trigger(relid, triggers[i], NULL, NULL, false);
	spi_close(&scope);
	if (get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE)
		history_guard_leaves(InvalidOid, history_leaves(relid));
	criteria_rebuild(relid);
	PG_RETURN_BOOL(rows > 0);
}
