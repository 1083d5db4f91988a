/*
 * guard_pg.c
 *		What the triggers of enforce_stage_criteria() call: names everything that a row does not meet.
 *
 * The server calls check_stage_criteria() only where a trigger's WHEN says that something may be unmet (enforce_pg.c), so
 * a good row never comes here, criteria apart that may raise an error of their own: those are evaluated here, under an
 * error context that names them. What a statement needs is built once and kept in the trigger's fn_extra; of BEFORE triggers it stays
 * in the session for the next statement (kept_pg.h), but for what depends on things that the server does not tell of: the key's column.
 *
 * A criterion binds a row if it was in force when the row entered its stage. Entering is being inserted or changing the
 * stage; for a row that sits in its stage the time comes from the tracked history, and is now where there is none. Now is by
 * the clock, not the transaction: a transaction that is older than a criterion is bound by it too.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "core/compat.h"
#include "core/relation.h"
#include "core/spi.h"
#include "pipeline/criteria_pg.h"
#include "pipeline/kept_pg.h"

PG_FUNCTION_INFO_V1(salesops_check_stage_criteria);
PG_FUNCTION_INFO_V1(salesops_check_stage_move);

#define SHOWN_VALUE_BYTES 64
#define MOST_CHECKS 200			/* stages that are kept ready between statements */
#define COLUMN_NOT_ASKED (-1)

/* salesops.bypass_criteria: a reason, or empty */
static char *session_bypass = NULL;

/* One criterion, made ready for the relation that is written to */
typedef struct GuardItem
{
	Criterion  *criterion;
	RowExpression *expression;
	CompiledExpression *compiled;
	SPIPlanPtr	plan;			/* criteria with subqueries */
} GuardItem;

/* What binds the rows of one stage, ready to be evaluated in one go: rows that meet all of it need no closer look */
typedef struct StageCheck
{
	Datum		stage;			/* as the column holds it */
	CompiledExpression *native; /* all criteria that cannot raise an error, with AND between; NULL for none */
	List	   *risky;			/* of GuardItem: the others */
} StageCheck;

/* All that one statement needs to know of one relation */
typedef struct Guard
{
	MemoryContext context;
	Criteria   *criteria;		/* of the relation they were given for: a partition's root */
	Oid			relid;			/* that is written to */
	TupleDesc	desc;
	int			stage_column;
	int			key_column;		/* 0 where there is no key; COLUMN_NOT_ASKED until a statement needs it */
	bool		tracked;
	List	   *items;			/* of GuardItem */
	List	   *checks;			/* of StageCheck, made as stages are met with */
	StageCheck *last_check;
	Kept	   *kept;			/* NULL: the statement's only */
} Guard;

/* The row at hand */
typedef struct GuardRow
{
	TupleTableSlot *slot;
	char	   *stage;
	char	   *old_stage;		/* NULL on insert */
	bool		entering;
	char	   *key;			/* NULL where there is none; read when it is needed */
	TimestampTz now;
	TimestampTz entered_at;		/* what criteria judged at entry go by */
} GuardRow;

typedef enum Outcome
{
	OUTCOME_REJECT,
	OUTCOME_WARN,
	OUTCOME_RECORD,
	OUTCOME_GRACE,
	OUTCOME_BYPASS
} Outcome;

/* A criterion that the row does not meet */
typedef struct Unmet
{
	const char *name;
	Criterion  *criterion;		/* NULL for a rule of define_stages */
	RowExpression *expression;
	Outcome		outcome;
	char	   *reason;			/* of a bypass */
	int64		bypass_id;		/* 0 for the session's */
} Unmet;

/* Settings of the domain; called once as the library is loaded. */
void
pipeline_init(void)
{
	DefineCustomStringVariable("salesops.bypass_criteria",
							   "Why this session is let off stage criteria; empty: it is not.",
							   "Superusers may set it, and roles with GRANT SET ON PARAMETER. Every use is recorded in salesops.criterion_violation.",
							   &session_bypass, "", PGC_SUSET, GUC_NOT_IN_SAMPLE, NULL, NULL, NULL);
}

/* Column number by name; 0 where there is none */
static int
column_number(TupleDesc desc, const char *name)
{
	int			number = name ? SPI_fnumber(desc, name) : 0;

	return number > 0 ? number : 0;
}

/* Free a plan with the statement's memory. */
static void
free_plan(void *plan)
{
	SPI_freeplan((SPIPlanPtr) plan);
}

/* A plan for a criterion with a subquery: the row is the parameter, under the name "new". Run as the one who writes. */
static SPIPlanPtr
prepare_query(Guard *guard, const Criterion *criterion)
{
	Oid			rowtype = get_rel_type_id(guard->relid);
	MemoryContextCallback *callback = MemoryContextAlloc(guard->context, sizeof(MemoryContextCallback));
	char	   *text = expression_deparse(criterion->expression->tree, guard->criteria->relid, "new");
	int			nest = NewGUCNestLevel();
	SPIPlanPtr	plan;

	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	plan = SPI_prepare(psprintf("SELECT (%s) FROM pg_catalog.unnest(ARRAY[$1]) AS new", text), 1, &rowtype);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	SPI_keepplan(plan);
	AtEOXact_GUC(true, nest);
	callback->func = free_plan;
	callback->arg = plan;
	MemoryContextRegisterResetCallback(guard->context, callback);
	return plan;
}

/* Make one criterion ready. On a partition, columns have numbers of their own: the text is parsed again. */
static GuardItem *
make_item(Guard *guard, Criterion *criterion)
{
	GuardItem  *item = palloc0(sizeof(GuardItem));

	item->criterion = criterion;
	item->expression = criterion->expression;
	if (criterion->way == CRITERION_QUERY)
		return item;
	if (guard->relid != guard->criteria->relid)
		item->expression = expression_parse(criterion->text, guard->relid, BOOLOID, EXPRESSION_ANY_ROLE,
											criterion_description(criterion->name));
	item->compiled = expression_compile(item->expression);
	return item;
}

/* The relation that the criteria were given for: this one, or the nearest ancestor that has any */
static Oid
criteria_relation(Oid relid)
{
	ListCell   *cell;

	if (criteria_exist(relid))
		return relid;
	foreach(cell, get_partition_ancestors(relid))
		if (criteria_exist(lfirst_oid(cell)))
			return lfirst_oid(cell);
	return relid;
}

/* BEFORE triggers take what can be evaluated over the row, AFTER triggers the queries. */
static Guard *
build_guard(TriggerData *trigger, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	Guard	   *guard = palloc0(sizeof(Guard));
	bool		queries = TRIGGER_FIRED_AFTER(trigger->tg_event);
	ListCell   *cell;

	guard->context = context;
	guard->relid = RelationGetRelid(trigger->tg_relation);
	guard->desc = CreateTupleDescCopy(RelationGetDescr(trigger->tg_relation));
	guard->criteria = criteria_load(criteria_relation(guard->relid));
	guard->stage_column = column_number(guard->desc, guard->criteria->stage_column);
	guard->key_column = COLUMN_NOT_ASKED;
	guard->tracked = OidIsValid(get_trigger_oid(guard->criteria->relid, TRIGGER_HISTORY_UPDATE, true));
	if (guard->stage_column == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("salesops does not know which column of %s holds the stage", relation_sql_name(guard->relid)),
				 errhint("SELECT salesops.enforce_stage_criteria(%s, 'column').", sql_literal(relation_sql_name(guard->relid)))));
	foreach(cell, guard->criteria->criteria)
	{
		Criterion  *criterion = lfirst(cell);

		if ((criterion->way == CRITERION_QUERY) == queries)
			guard->items = lappend(guard->items, make_item(guard, criterion));
	}
	MemoryContextSwitchTo(old);
	return guard;
}

/* A guard that the session keeps for the next statement of this trigger */
static Guard *
kept_guard(TriggerData *trigger, MemoryContext statement)
{
	Kept	   *kept = kept_take(KEPT_GUARD, trigger->tg_trigger->tgoid, statement);
	Guard	   *guard = kept->built;
	Oid			schema = get_namespace_oid("salesops", false);
	ListCell   *cell;

	if (guard == NULL)
	{
		guard = build_guard(trigger, kept->context);
		guard->kept = kept;
		foreach(cell, guard->items)
			kept_depends_on(kept, ((GuardItem *) lfirst(cell))->compiled->state);
		kept_built(kept, guard, (Oid[]) {
				   guard->relid, guard->criteria->relid, get_relname_relid("stage", schema), get_relname_relid("criteria_relation", schema),
				   get_relname_relid("criterion", schema), get_relname_relid("criterion_tree", schema)}, KEPT_RELATIONS);
	}
	/* stages that are not defined any more, or were never */
	if (list_length(guard->checks) > MOST_CHECKS)
		kept->stale = true;
	guard->key_column = COLUMN_NOT_ASKED;
	return guard;
}

/* The guard of this call, from a statement's first one on */
static Guard *
get_guard(FunctionCallInfo fcinfo, TriggerData *trigger)
{
	MemoryContext statement = fcinfo->flinfo->fn_mcxt;
	Guard	   *guard = fcinfo->flinfo->fn_extra;

	if (guard == NULL && TRIGGER_FIRED_BEFORE(trigger->tg_event))
		guard = kept_guard(trigger, statement);
	else if (guard == NULL)
		guard = build_guard(trigger, AllocSetContextCreate(statement, "salesops stage criteria", ALLOCSET_SMALL_SIZES));
	fcinfo->flinfo->fn_extra = guard;
	return guard;
}

/* The column of rows' keys; 0 where there is none */
static int
key_column(Guard *guard)
{
	if (guard->key_column == COLUMN_NOT_ASKED)
		guard->key_column = column_number(guard->desc, criteria_key_column(guard->criteria->relid));
	return guard->key_column;
}

/* A column as text, or NULL */
static char *
slot_text(TupleTableSlot *slot, int column)
{
	bool		isnull = true;
	Datum		value = column > 0 ? slot_getattr(slot, column, &isnull) : (Datum) 0;

	return isnull ? NULL : criteria_value_text(value, TupleDescAttr(slot->tts_tupleDescriptor, column - 1)->atttypid);
}

/* When the row came into the stage it is in, by the tracked history; the present where that does not say */
static TimestampTz
entry_time(const Guard *guard, const GuardRow *row)
{
	TimestampTz result = row->now;
	SpiScope	scope;
	bool		isnull;
	Datum		value;

	if (row->entering || !guard->tracked || row->key == NULL)
		return result;
	spi_open(&scope, SPI_AS_OWNER);
	(void) spi_execute(SPI_OK_SELECT,
					   "SELECT max(h.entered_at) FROM salesops.tracked_stage_change h"
					   " WHERE h.relation = $1 AND h.opportunity_id = $2 AND h.stage = $3 AND h.previous_stage IS DISTINCT FROM h.stage",
					   3, (SpiArg[]) {spi_oid(guard->criteria->relid), spi_text(row->key), spi_text(row->stage)});
	value = spi_get_datum(0, 1, &isnull);
	if (!isnull)
		result = DatumGetTimestampTz(value);
	spi_close(&scope);
	return result;
}

/* What the trigger's row is */
static GuardRow
read_row(Guard *guard, TriggerData *trigger)
{
	GuardRow	row = {0};
	bool		update = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event);

	row.slot = update ? trigger->tg_newslot : trigger->tg_trigslot;
	row.stage = slot_text(row.slot, guard->stage_column);
	row.old_stage = update ? slot_text(trigger->tg_trigslot, guard->stage_column) : NULL;
	row.entering = !update || row.old_stage == NULL || row.stage == NULL || strcmp(row.stage, row.old_stage) != 0;
	if (guard->tracked)
		row.key = slot_text(row.slot, key_column(guard));
	row.now = GetCurrentTimestamp();
	row.entered_at = entry_time(guard, &row);
	return row;
}

/* A run-time error inside a criterion says which one. */
static void
evaluation_context(void *arg)
{
	GuardItem  *item = arg;

	errcontext("criterion \"%s\": %s", item->criterion->name, item->criterion->text);
}

/* A criterion with a subquery, asked as the one who writes the row */
static bool
query_is_true(Guard *guard, GuardItem *item, TupleTableSlot *slot)
{
	SpiScope	scope;
	Datum		value;
	bool		isnull;

	spi_open(&scope, SPI_AS_CALLER);
	if (item->plan == NULL)
		item->plan = prepare_query(guard, item->criterion);
	value = ExecFetchSlotHeapTupleDatum(slot);
	if (SPI_execute_plan(item->plan, &value, NULL, false, 2) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "unexpected result of criterion \"%s\"", item->criterion->name);
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	spi_close(&scope);
	return !isnull && DatumGetBool(value);
}

/* Met only where it is true: NULL, a fact not known, is unmet. */
static bool
is_met(Guard *guard, GuardItem *item, TupleTableSlot *slot)
{
	ErrorContextCallback callback = {error_context_stack, evaluation_context, item};
	Datum		value;
	bool		isnull = false;
	bool		met;

	error_context_stack = &callback;
	if (item->criterion->way == CRITERION_QUERY)
		met = query_is_true(guard, item, slot);
	else
	{
		/* what an error leaves half evaluated is not evaluated again */
		if (guard->kept != NULL)
			guard->kept->unsafe = true;
		value = expression_evaluate(item->compiled, slot, &isnull);
		if (guard->kept != NULL)
			guard->kept->unsafe = false;
		met = !isnull && DatumGetBool(value);
	}
	error_context_stack = callback.previous;
	return met;
}

/* Was the criterion in force at the time that counts for this row? */
static bool
in_force(const Criterion *criterion, const GuardRow *row)
{
	TimestampTz at = criterion->judged_at_entry ? row->entered_at : row->now;

	return criterion->effective_from <= at && at < criterion->effective_until;
}

/* ---- rows that meet everything ---- */

/* Same stage, byte for byte? */
static bool
same_stage(const Guard *guard, Datum a, Datum b)
{
	Form_pg_attribute column = TupleDescAttr(guard->desc, guard->stage_column - 1);

	if (column->attlen != -1)
		return datumIsEqual(a, b, column->attbyval, column->attlen);
	return VARSIZE_ANY_EXHDR(DatumGetPointer(a)) == VARSIZE_ANY_EXHDR(DatumGetPointer(b)) &&
		memcmp(VARDATA_ANY(DatumGetPointer(a)), VARDATA_ANY(DatumGetPointer(b)), VARSIZE_ANY_EXHDR(DatumGetPointer(a))) == 0;
}

/* The row's stage, as the column holds it; false where it is NULL */
static bool
stage_datum(const Guard *guard, TupleTableSlot *slot, Datum *stage)
{
	bool		isnull;

	*stage = slot_getattr(slot, guard->stage_column, &isnull);
	if (!isnull && TupleDescAttr(guard->desc, guard->stage_column - 1)->attlen == -1)
		*stage = PointerGetDatum(PG_DETOAST_DATUM_PACKED(*stage));
	return !isnull;
}

/* Gather what binds a stage. */
static StageCheck *
make_check(Guard *guard, TupleTableSlot *slot, Datum stage)
{
	Form_pg_attribute column = TupleDescAttr(guard->desc, guard->stage_column - 1);
	MemoryContext old = MemoryContextSwitchTo(guard->context);
	StageCheck *check = palloc0(sizeof(StageCheck));
	char	   *name = slot_text(slot, guard->stage_column);
	List	   *trees = NIL;
	ListCell   *cell;

	check->stage = datumCopy(stage, column->attbyval, column->attlen);
	foreach(cell, guard->items)
	{
		GuardItem  *item = lfirst(cell);

		if (!criterion_binds(guard->criteria, item->criterion, name))
			continue;
		if (item->criterion->way == CRITERION_NATIVE)
			trees = lappend(trees, item->expression->tree);
		else
			check->risky = lappend(check->risky, item);
	}
	if (trees != NIL)
		check->native = expression_compile(&(RowExpression) {.tree = (Node *) make_ands_explicit(trees)});
	guard->checks = lappend(guard->checks, check);
	MemoryContextSwitchTo(old);
	return check;
}

/* What binds this row's stage */
static StageCheck *
find_check(Guard *guard, TupleTableSlot *slot, Datum stage)
{
	ListCell   *cell;

	if (guard->last_check && same_stage(guard, guard->last_check->stage, stage))
		return guard->last_check;
	foreach(cell, guard->checks)
		if (same_stage(guard, ((StageCheck *) lfirst(cell))->stage, stage))
			return guard->last_check = lfirst(cell);
	return guard->last_check = make_check(guard, slot, stage);
}

/*
 * Does the row meet all criteria that bind it? False may also mean that it is not that simple: criteria with subqueries, or
 * one that might raise an error and may not be in force for a row that entered its stage at another time.
 */
static bool
meets_all(Guard *guard, TriggerData *trigger)
{
	bool		update = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event);
	TupleTableSlot *slot = update ? trigger->tg_newslot : trigger->tg_trigslot;
	GuardRow	now = {0};
	Datum		stage;
	Datum		before;
	StageCheck *check;
	bool		isnull = false;
	ListCell   *cell;

	if (TRIGGER_FIRED_AFTER(trigger->tg_event) || !stage_datum(guard, slot, &stage))
		return false;
	check = find_check(guard, slot, stage);
	if (check->native && (!DatumGetBool(expression_evaluate(check->native, slot, &isnull)) || isnull))
		return false;
	if (check->risky != NIL && update && guard->tracked && stage_datum(guard, trigger->tg_trigslot, &before) &&
		same_stage(guard, before, stage))
		return false;
	if (check->risky != NIL)
		now.now = now.entered_at = GetCurrentTimestamp();
	foreach(cell, check->risky)
	{
		GuardItem  *item = lfirst(cell);

		if (in_force(item->criterion, &now) && !is_met(guard, item, slot))
			return false;
	}
	return true;
}

/* What becomes of a row that does not meet the criterion, bypasses aside */
static Outcome
choose_outcome(const Criterion *criterion, const GuardRow *row)
{
	if (!row->entering && row->now < criterion->grace_until)
		return OUTCOME_GRACE;
	if (strcmp(criterion->action, "warn") == 0)
		return OUTCOME_WARN;
	return strcmp(criterion->action, "record") == 0 ? OUTCOME_RECORD : OUTCOME_REJECT;
}

/* All criteria that the row does not meet */
static List *
find_unmet(Guard *guard, const GuardRow *row)
{
	List	   *result = NIL;
	ListCell   *cell;

	foreach(cell, guard->items)
	{
		GuardItem  *item = lfirst(cell);
		Unmet	   *unmet;

		if (!criterion_binds(guard->criteria, item->criterion, row->stage) || !in_force(item->criterion, row) ||
			is_met(guard, item, row->slot))
			continue;
		unmet = palloc0(sizeof(Unmet));
		unmet->name = item->criterion->name;
		unmet->criterion = item->criterion;
		unmet->expression = item->expression;
		unmet->outcome = choose_outcome(item->criterion, row);
		result = lappend(result, unmet);
	}
	return result;
}

/* ---- bypasses ---- */

/* A bypass in force that may concern the row */
typedef struct Bypass
{
	int64		id;
	char	   *role;
	char	   *reason;
	List	   *criteria;		/* NIL for all */
} Bypass;

/* One row of find_bypasses */
static void
collect_bypass(TupleTableSlot *slot, void *arg)
{
	List	  **list = arg;
	Bypass	   *bypass = palloc0(sizeof(Bypass));

	bypass->id = DatumGetInt64(slot->tts_values[0]);
	bypass->role = slot->tts_isnull[1] ? NULL : TextDatumGetCString(slot->tts_values[1]);
	bypass->reason = TextDatumGetCString(slot->tts_values[2]);
	if (!slot->tts_isnull[3])
		bypass->criteria = pipeline_text_array(slot->tts_values[3]);
	*list = lappend(*list, bypass);
}

/* Bypasses of the relation for this key or any, not expired */
static List *
find_bypasses(const Guard *guard, const GuardRow *row)
{
	SpiScope	scope;
	MemoryContext context = CurrentMemoryContext;
	List	   *list = NIL;
	SpiArg		args[] = {spi_oid(guard->criteria->relid), spi_text(row->key)};

	spi_open(&scope, SPI_AS_OWNER);
	MemoryContextSwitchTo(context);
	PushActiveSnapshot(GetLatestSnapshot());
	(void) spi_stream("SELECT b.bypass_id, b.role_name::text, b.reason, b.criteria FROM salesops.criterion_bypass b"
					  " WHERE b.relation = $1 AND (b.row_key IS NULL OR b.row_key = $2)"
					  " AND b.ended_at IS NULL AND b.expires_at > clock_timestamp() ORDER BY 1", 2, args, true, collect_bypass, &list);
	PopActiveSnapshot();
	spi_close(&scope);
	MemoryContextSwitchTo(context);
	return list;
}

/* Is the current user a member of the role? Being superuser alone does not make one. */
static bool
is_member(const char *role)
{
	Oid			oid = get_role_oid(role, true);

	return OidIsValid(oid) && is_member_of_role_nosuper(GetUserId(), oid);
}

/* Does the bypass let this user off this criterion? */
static bool
bypass_covers(const Bypass *bypass, const char *criterion)
{
	ListCell   *cell;
	bool		named = bypass->criteria == NIL;

	foreach(cell, bypass->criteria)
		named |= strcmp((char *) lfirst(cell), criterion) == 0;
	return named && (bypass->role == NULL || is_member(bypass->role));
}

/* Turn rejections into bypasses where one covers them: the session's setting first, then the granted ones. */
static void
apply_bypasses(const Guard *guard, const GuardRow *row, List *unmet)
{
	bool		session = session_bypass != NULL && session_bypass[0] != '\0';
	List	   *bypasses = session ? NIL : find_bypasses(guard, row);
	ListCell   *cell;
	ListCell   *other;

	foreach(cell, unmet)
	{
		Unmet	   *item = lfirst(cell);

		if (item->outcome == OUTCOME_REJECT && session)
		{
			item->outcome = OUTCOME_BYPASS;
			item->reason = session_bypass;
		}
		foreach(other, bypasses)
		{
			Bypass	   *bypass = lfirst(other);

			if (item->outcome != OUTCOME_REJECT || !bypass_covers(bypass, item->name))
				continue;
			item->outcome = OUTCOME_BYPASS;
			item->reason = bypass->reason;
			item->bypass_id = bypass->id;
		}
	}
}

/* ---- what is said and what is written ---- */

/* May the current user see the column's value in a message? As the server decides for its own constraints */
static bool
may_show(Oid relid, int column)
{
	return check_enable_rls(relid, InvalidOid, true) != RLS_ENABLED &&
		(pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) == ACLCHECK_OK ||
		 pg_attribute_aclcheck(relid, column, GetUserId(), ACL_SELECT) == ACLCHECK_OK);
}

/* (amount = -5, close_date is null) of the columns that an expression uses */
static void
append_values(StringInfo detail, const Guard *guard, const RowExpression *expression, TupleTableSlot *slot)
{
	int			column = -1;
	bool		any = false;

	while (expression && (column = bms_next_member(expression->columns, column)) >= 0)
	{
		char	   *value;

		if (column == 0 || column > guard->desc->natts || !may_show(guard->relid, column))
			continue;
		value = slot_text(slot, column);
		appendStringInfo(detail, "%s%s", any ? ", " : " (", NameStr(TupleDescAttr(guard->desc, column - 1)->attname));
		if (value == NULL)
			appendStringInfoString(detail, " is null");
		else if (strlen(value) <= SHOWN_VALUE_BYTES)
			appendStringInfo(detail, " = %s", value);
		else
			appendStringInfo(detail, " = %.*s...", pg_mbcliplen(value, strlen(value), SHOWN_VALUE_BYTES), value);
		any = true;
	}
	if (any)
		appendStringInfoChar(detail, ')');
}

/* One line a criterion of this outcome; NULL where there is none */
static char *
describe(const Guard *guard, const GuardRow *row, List *unmet, Outcome outcome)
{
	StringInfoData detail;
	ListCell   *cell;

	initStringInfo(&detail);
	foreach(cell, unmet)
	{
		Unmet	   *item = lfirst(cell);

		if (item->outcome != outcome)
			continue;
		appendStringInfo(&detail, "%s%s: ", detail.len > 0 ? "\n" : "", item->name);
		if (item->criterion == NULL)
		{
			appendStringInfoString(&detail, item->reason);
			continue;
		}
		appendStringInfoString(&detail, item->criterion->text);
		append_values(&detail, guard, guard->relid == guard->criteria->relid || item->criterion->way != CRITERION_QUERY ?
					  item->expression : NULL, row->slot);
		if (item->criterion->message)
			appendStringInfo(&detail, " - %s", item->criterion->message);
	}
	return detail.len > 0 ? detail.data : NULL;
}

/* Name of the first one of an outcome, for the error's constraint field */
static const char *
first_name(List *unmet, Outcome outcome)
{
	ListCell   *cell;

	foreach(cell, unmet)
		if (((Unmet *) lfirst(cell))->outcome == outcome)
			return ((Unmet *) lfirst(cell))->name;
	return NULL;
}

/* One row of criterion_violation */
static void
record(const Guard *guard, const GuardRow *row, const Unmet *unmet)
{
	static const char *const outcomes[] = {NULL, NULL, "recorded", "grace", "bypassed"};
	SpiScope	scope;
	const Criterion *criterion = unmet->criterion;
	SpiArg		args[] = {
		spi_oid(guard->criteria->relid), spi_text(row->key), spi_text(row->stage), spi_text(unmet->name),
		spi_datum(INT4OID, Int32GetDatum(criterion ? criterion->version : 0), criterion == NULL),
		spi_text(criterion ? criterion->text : NULL), spi_text(criterion ? criterion->message : NULL),
		spi_text(outcomes[unmet->outcome]), spi_text(unmet->outcome == OUTCOME_BYPASS ? unmet->reason : NULL),
		spi_datum(INT8OID, Int64GetDatum(unmet->bypass_id), unmet->bypass_id == 0),
		spi_text(GetUserNameFromId(GetUserId(), false))
	};

	spi_open(&scope, SPI_AS_OWNER);
	(void) spi_execute(SPI_OK_INSERT,
					   "INSERT INTO salesops.criterion_violation (relation, row_key, stage, criterion, version, expression,"
					   " message, outcome, reason, bypass_id, violated_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
					   lengthof(args), args);
	spi_close(&scope);
}

/* Reject, warn and record, in that order: nothing is recorded of a row that is refused. */
static void
act(Guard *guard, GuardRow *row, List *unmet, TriggerData *trigger)
{
	char	   *rejected;
	char	   *warned;
	ListCell   *cell;

	row->key = slot_text(row->slot, key_column(guard));
	apply_bypasses(guard, row, unmet);
	rejected = describe(guard, row, unmet, OUTCOME_REJECT);
	if (rejected)
		ereport(ERROR,
				(errcode(ERRCODE_CHECK_VIOLATION),
				 errmsg("row of %s does not meet the criteria of stage \"%s\"", relation_sql_name(guard->relid), row->stage),
				 errdetail("%s", rejected),
				 ((Unmet *) linitial(unmet))->criterion
				 ? errhint("Fill in what is missing, or have salesops.bypass_criteria() let this row or role off.")
				 : errhint("salesops.define_stages() says what is allowed; salesops.bypass_criteria() lets a row or role off."),
				 errtableconstraint(trigger->tg_relation, first_name(unmet, OUTCOME_REJECT))));
	warned = describe(guard, row, unmet, OUTCOME_WARN);
	if (warned)
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg("row of %s does not meet the criteria of stage \"%s\"", relation_sql_name(guard->relid), row->stage),
				 errdetail("%s", warned)));
	foreach(cell, unmet)
		if (((Unmet *) lfirst(cell))->outcome >= OUTCOME_RECORD)
			record(guard, row, lfirst(cell));
}

/* The trigger protocol: row triggers on INSERT or UPDATE only */
static TriggerData *
require_trigger(FunctionCallInfo fcinfo)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		!(TRIGGER_FIRED_BY_INSERT(trigger->tg_event) || TRIGGER_FIRED_BY_UPDATE(trigger->tg_event)))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("stage criteria are checked by row triggers on INSERT and UPDATE"),
				 errhint("Let salesops.enforce_stage_criteria() make them.")));
	return trigger;
}

/* The row as it is to be written */
static Datum
unchanged_row(TriggerData *trigger)
{
	return PointerGetDatum(TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple : trigger->tg_trigtuple);
}

/* Trigger function: a criterion may be unmet. 23514 with every unmet one in DETAIL, a warning, or a record */
Datum
salesops_check_stage_criteria(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = require_trigger(fcinfo);
	Guard	   *guard = get_guard(fcinfo, trigger);
	GuardRow	row;
	List	   *unmet;

	if (meets_all(guard, trigger))
		return unchanged_row(trigger);
	row = read_row(guard, trigger);
	unmet = find_unmet(guard, &row);
	if (unmet != NIL)
		act(guard, &row, unmet, trigger);
	return unchanged_row(trigger);
}

/* Is the user of a role that the stage's rules do not bind? */
static bool
is_excepted(const Stage *stage)
{
	ListCell   *cell;

	foreach(cell, stage->except_roles)
		if (is_member((char *) lfirst(cell)))
			return true;
	return false;
}

/* Trigger function: a row is created in, or goes to, a stage that does not allow it. 23514, unless excepted or bypassed */
Datum
salesops_check_stage_move(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = require_trigger(fcinfo);
	Guard	   *guard = get_guard(fcinfo, trigger);
	GuardRow	row = read_row(guard, trigger);
	Stage	   *to = row.stage ? pipeline_find_stage(guard->criteria->stages, row.stage) : NULL;
	Stage	   *from = row.old_stage ? pipeline_find_stage(guard->criteria->stages, row.old_stage) : NULL;
	bool		creation = TRIGGER_FIRED_BY_INSERT(trigger->tg_event);
	Unmet	   *unmet = palloc0(sizeof(Unmet));
	const char *why = NULL;

	if (to == NULL || (creation ? to->may_create : from == NULL || pipeline_move_allowed(guard->criteria->stages, from, to, &why)) ||
		is_excepted(to))
		return unchanged_row(trigger);
	unmet->name = creation ? "creation" : "move";
	unmet->reason = creation ? psprintf("no deal may be created in stage \"%s\"", to->name)
		: psprintf("from stage \"%s\" to \"%s\": %s", from->name, to->name, why);
	act(guard, &row, list_make1(unmet), trigger);
	return unchanged_row(trigger);
}
