/*
 * enforce_pg.c
 *		The triggers that hold a relation's rows to its criteria: made, made anew on every change, and released.
 *
 * The server itself checks the criteria, at less than the cost of a CHECK constraint: the WHEN of one BEFORE INSERT OR UPDATE
 * row trigger is true only where something may be unmet. It is one call for the common terms of all stages (program_pg.c),
 * OR a CASE over the stage for the other expressions: criteria of other stages cost nothing. A change made by one session
 * reaches all others through the relation's cache as any DDL does. The trigger's function (guard_pg.c) then finds out what
 * is unmet. Two more triggers, made only where they are needed, stand for criteria with subqueries (AFTER, so that they
 * see generated columns) and for moves that define_stages forbids.
 *
 * The triggers belong to the user's table: pg_dump dumps them, DROP COLUMN minds them. Nothing here runs on restore.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/event_trigger.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "access/xact.h"
#include "access/xlog.h"

#include "core/compat.h"
#include "core/errors.h"
#include "core/relation.h"
#include "core/spi.h"
#include "pipeline/criteria_pg.h"
#include "pipeline/history_pg.h"
#include "pipeline/terms_pg.h"

PG_FUNCTION_INFO_V1(salesops_enforce_stage_criteria);
PG_FUNCTION_INFO_V1(salesops_release_stage_criteria);
PG_FUNCTION_INFO_V1(salesops_follow_criteria);

/* Our own DROP TRIGGER is not the user's: follow_criteria looks away meanwhile. */
static bool rebuilding = false;

/* The stage as SQL on a row variable ("new", "old"): literals compare with it, as text where its type is neither text nor enum */
static char *
stage_reference(const Criteria *criteria, const char *row)
{
	AttrNumber	number = get_attnum(criteria->relid, criteria->stage_column);
	Oid			type = getBaseType(get_atttype(criteria->relid, number));
	char		category;
	bool		preferred;
	char	   *column = psprintf("%s.%s", row, quote_identifier(criteria->stage_column));

	get_type_category_preferred(type, &category, &preferred);
	if (category == TYPCATEGORY_ENUM && type != get_atttype(criteria->relid, number))
		return psprintf("(%s)::%s", column, format_type_be_qualified(type));
	if (category == TYPCATEGORY_STRING || category == TYPCATEGORY_ENUM)
		return column;
	return psprintf("(%s)::pg_catalog.text", column);
}

/* Can a row be in the stage at all? A label that an enum does not have would not even parse. */
static bool
stage_can_occur(const Criteria *criteria, const Stage *stage)
{
	Oid			type = getBaseType(get_atttype(criteria->relid, get_attnum(criteria->relid, criteria->stage_column)));

	return !type_is_enum(type) ||
		(strlen(stage->name) < NAMEDATALEN &&
		 SearchSysCacheExists2(ENUMTYPOIDNAME, ObjectIdGetDatum(type), CStringGetDatum(stage->name)));
}

/* An ended version still binds rows that entered in its time, where that time is known: on a relation with history. */
static bool
may_bind_still(const Criterion *criterion, bool tracked)
{
	return tracked || criterion->effective_until == DT_NOEND ||
		criterion->effective_until > GetCurrentTimestamp();
}

/* Does track_stage_changes watch the relation? */
static bool
is_tracked(Oid relid)
{
	return OidIsValid(get_trigger_oid(relid, TRIGGER_HISTORY_UPDATE, true));
}

/* The criteria that bind a stage */
static List *
stage_criteria(const Criteria *criteria, const Stage *stage, bool tracked)
{
	List	   *list = NIL;
	ListCell   *cell;

	foreach(cell, criteria->criteria)
		if (criterion_binds(criteria, lfirst(cell), stage->name) && may_bind_still(lfirst(cell), tracked))
			list = lappend(list, lfirst(cell));
	return list;
}

/* Is one of them checked that way? */
static bool
any_checked(List *list, CriterionWay way)
{
	ListCell   *cell;

	foreach(cell, list)
		if (((Criterion *) lfirst(cell))->way == way)
			return true;
	return false;
}

/* What is checked of rows in one stage as they are written */
typedef struct Arm
{
	const Stage *stage;
	List	   *criteria;		/* that bind it */
	bool		compiled;		/* one of them may raise an error: our function evaluates them all */
	int			number;			/* in the program; 0 for none */
	StringInfoData others;		/* terms that are not the program's, with AND between */
} Arm;

/* The arms of a relation; those that the program may speak of are numbered. */
static List *
make_arms(const Criteria *criteria, bool tracked, TermSet *set)
{
	List	   *arms = NIL;
	int			number = 0;
	ListCell   *cell;

	foreach(cell, criteria->stages)
	{
		Arm		   *arm = palloc0(sizeof(Arm));

		arm->stage = lfirst(cell);
		arm->criteria = stage_criteria(criteria, arm->stage, tracked);
		arm->compiled = any_checked(arm->criteria, CRITERION_COMPILED);
		if (!stage_can_occur(criteria, arm->stage) || !(arm->compiled || any_checked(arm->criteria, CRITERION_NATIVE)))
			continue;
		initStringInfo(&arm->others);
		if (!arm->compiled)
		{
			arm->number = ++number;
			terms_add_stage(set, arm->stage->name);
		}
		arms = lappend(arms, arm);
	}
	return arms;
}

/* Criteria that are asked of the same stages of the program */
typedef struct Asked
{
	List	   *stages;			/* their numbers; NIL: our function evaluates them wherever they bind */
	List	   *criteria;
} Asked;

/* All that is checked over the row, by the stages that it is asked of: a program says those once for all that is asked of them. */
static List *
group_criteria(const Criteria *criteria, List *arms)
{
	List	   *groups = NIL;
	ListCell   *cell;
	ListCell   *other;

	foreach(cell, criteria->criteria)
	{
		Criterion  *criterion = lfirst(cell);
		List	   *stages = NIL;
		Asked	   *asked = NULL;

		if (criterion->way == CRITERION_QUERY)
			continue;
		foreach(other, arms)
		{
			Arm		   *arm = lfirst(other);

			if (arm->number > 0 && list_member_ptr(arm->criteria, criterion))
				stages = lappend_int(stages, arm->number);
		}
		foreach(other, groups)
			if (equal(((Asked *) lfirst(other))->stages, stages))
				asked = lfirst(other);
		if (asked == NULL)
		{
			asked = palloc0(sizeof(Asked));
			asked->stages = stages;
			groups = lappend(groups, asked);
		}
		asked->criteria = lappend(asked->criteria, criterion);
	}
	return groups;
}

/* Criteria of the program's stages: into the program where they are made of common terms, else each as it is in each of its stages */
static void
add_criteria(const Criteria *criteria, const Asked *asked, List *arms, TermSet *set)
{
	ListCell   *cell;
	ListCell   *other;

	terms_ask_of(set, asked->stages);
	foreach(cell, asked->criteria)
	{
		Criterion  *criterion = lfirst(cell);
		char	   *sql;

		if (terms_add(set, criterion->expression->tree))
			continue;
		sql = expression_deparse(criterion->expression->tree, criteria->relid, "new");
		foreach(other, arms)
		{
			Arm		   *arm = lfirst(other);

			if (arm->number > 0 && list_member_ptr(arm->criteria, criterion))
				appendStringInfo(&arm->others, "%s(%s)", arm->others.len > 0 ? " AND " : "", sql);
		}
	}
}

/* The columns of a set as arguments: new.amount, new.owner */
static char *
column_arguments(Oid relid, const Bitmapset *columns)
{
	StringInfoData list;
	int			column = 0;		/* 0 is the whole row */

	initStringInfo(&list);
	while ((column = bms_next_member(columns, column)) >= 0)
		appendStringInfo(&list, "%snew.%s", list.len > 0 ? ", " : "", quote_identifier(get_attname(relid, column, false)));
	return list.data;
}

/*
 * The stages whose rows our function looks at, whatever is in them. What its criteria name follows "true OR", which the planner folds away:
 * the trigger depends on it, so that nothing that a criterion needs can be dropped. Of common terms that is their columns.
 */
static void
append_compiled(StringInfo condition, const Criteria *criteria, List *arms)
{
	List	   *named = NIL;
	Bitmapset  *columns = NULL;
	StringInfoData stages;
	ListCell   *cell;

	initStringInfo(&stages);
	foreach(cell, arms)
	{
		Arm		   *arm = lfirst(cell);

		if (!arm->compiled)
			continue;
		appendStringInfo(&stages, "%s%s", stages.len > 0 ? ", " : "", sql_literal(arm->stage->name));
		named = list_concat_unique_ptr(named, arm->criteria);
	}
	if (stages.len == 0)
		return;
	appendStringInfo(condition, "%s(%s IN (%s) AND (true", condition->len > 0 ? " OR " : "", stage_reference(criteria, "new"), stages.data);
	foreach(cell, named)
	{
		Criterion  *criterion = lfirst(cell);
		TermSet		common = {0};

		if (criterion->way == CRITERION_QUERY)
			continue;
		if (terms_add(&common, criterion->expression->tree))
			columns = bms_add_members(columns, criterion->expression->columns);
		else
			appendStringInfo(condition, " OR (%s)", expression_deparse(criterion->expression->tree, criteria->relid, "new"));
	}
	if (columns != NULL)
		appendStringInfo(condition, " OR pg_catalog.num_nulls(%s) >= 0", column_arguments(criteria->relid, columns));
	appendStringInfoString(condition, "))");
}

/* The row's stage in a form that salesops.all_true() knows */
static char *
program_stage(const Criteria *criteria)
{
	Oid			type = getBaseType(get_atttype(criteria->relid, get_attnum(criteria->relid, criteria->stage_column)));
	char	   *reference = stage_reference(criteria, "new");

	if (type == TEXTOID || type == VARCHAROID || type == BPCHAROID || type == NAMEOID || type_is_enum(type))
		return reference;
	return psprintf("(%s)::pg_catalog.text", reference);
}

/* The WHEN of the criteria trigger; NULL where there is nothing to check */
static char *
criteria_condition(const Criteria *criteria, bool tracked)
{
	TermSet		set = {0};
	List	   *arms = make_arms(criteria, tracked, &set);
	StringInfoData condition;
	bool		any = false;
	ListCell   *cell;

	initStringInfo(&condition);
	foreach(cell, group_criteria(criteria, arms))
	{
		Asked	   *asked = lfirst(cell);

		if (asked->stages != NIL)
			add_criteria(criteria, asked, arms, &set);
	}
	if (set.count > 0)
		appendStringInfo(&condition, "NOT %s", terms_call(&set, program_stage(criteria), criteria->relid));
	append_compiled(&condition, criteria, arms);
	foreach(cell, arms)
	{
		Arm		   *arm = lfirst(cell);

		if (arm->others.len == 0)
			continue;
		if (!any)
			appendStringInfo(&condition, "%sCASE %s", condition.len > 0 ? " OR " : "", stage_reference(criteria, "new"));
		appendStringInfo(&condition, " WHEN %s THEN (%s) IS NOT TRUE", sql_literal(arm->stage->name), arm->others.data);
		any = true;
	}
	if (any)
		appendStringInfoString(&condition, " END");
	return condition.len == 0 ? NULL : condition.data;
}

/* Add the columns of criteria that are queries, so that the trigger depends on them: DROP COLUMN is refused as it is for the others. */
static void
append_dependencies(StringInfo condition, const Criteria *criteria)
{
	Bitmapset  *columns = NULL;
	ListCell   *cell;

	foreach(cell, criteria->criteria)
	{
		Criterion  *criterion = lfirst(cell);

		if (criterion->way == CRITERION_QUERY)
			columns = bms_add_members(columns, criterion->expression->columns);
	}
	columns = bms_del_member(columns, 0);
	if (!bms_is_empty(columns))
		appendStringInfo(condition, " AND (true OR pg_catalog.num_nulls(%s) >= 0)", column_arguments(criteria->relid, columns));
}

/* The WHEN of the query trigger: the stages that have such criteria */
static char *
query_condition(const Criteria *criteria, bool tracked)
{
	StringInfoData condition;
	ListCell   *cell;
	bool		any = false;

	initStringInfo(&condition);
	foreach(cell, criteria->stages)
	{
		Stage	   *stage = lfirst(cell);

		if (!stage_can_occur(criteria, stage) || !any_checked(stage_criteria(criteria, stage, tracked), CRITERION_QUERY))
			continue;
		if (!any)
			appendStringInfo(&condition, "%s IN (", stage_reference(criteria, "new"));
		appendStringInfo(&condition, "%s%s", any ? ", " : "", sql_literal(stage->name));
		any = true;
	}
	if (!any)
		return NULL;
	appendStringInfoChar(&condition, ')');
	append_dependencies(&condition, criteria);
	return condition.data;
}

/* The WHEN of the creation trigger: the stages that no deal may be created in, by everybody at least */
static char *
creation_condition(const Criteria *criteria)
{
	StringInfoData condition;
	ListCell   *cell;

	initStringInfo(&condition);
	foreach(cell, criteria->stages)
	{
		Stage	   *stage = lfirst(cell);

		if (!stage->may_create && stage_can_occur(criteria, stage))
			appendStringInfo(&condition, "%s%s", condition.len > 0 ? ", " : "", sql_literal(stage->name));
	}
	return condition.len == 0 ? NULL : psprintf("%s IN (%s)", stage_reference(criteria, "new"), condition.data);
}

/* The stages that may not be left for this one, as a list of literals; empty where all may */
static char *
forbidden_sources(const Criteria *criteria, const Stage *to)
{
	StringInfoData list;
	ListCell   *cell;
	const char *why;

	initStringInfo(&list);
	foreach(cell, criteria->stages)
	{
		Stage	   *from = lfirst(cell);

		if (from != to && stage_can_occur(criteria, from) && !pipeline_move_allowed(criteria->stages, from, to, &why))
			appendStringInfo(&list, "%s%s", list.len > 0 ? ", " : "", sql_literal(from->name));
	}
	return list.data;
}

/* The WHEN of the move trigger: an arm for each stage that may not be entered from everywhere */
static char *
move_condition(const Criteria *criteria)
{
	StringInfoData arms;
	ListCell   *cell;
	char	   *old = stage_reference(criteria, "old");

	initStringInfo(&arms);
	foreach(cell, criteria->stages)
	{
		Stage	   *to = lfirst(cell);
		char	   *from = stage_can_occur(criteria, to) ? forbidden_sources(criteria, to) : "";

		if (from[0] != '\0')
			appendStringInfo(&arms, " WHEN %s THEN %s IN (%s)", sql_literal(to->name), old, from);
	}
	return arms.len == 0 ? NULL : psprintf("CASE %s%s END", stage_reference(criteria, "new"), arms.data);
}

/* When the trigger fires, as ALTER TABLE ... ENABLE or DISABLE TRIGGER says it; NULL for the default */
static const char *
firing_of(Oid trigger)
{
	Relation	catalog = table_open(TriggerRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	char		enabled = TRIGGER_FIRES_ON_ORIGIN;

	ScanKeyInit(&key, Anum_pg_trigger_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(trigger));
	scan = systable_beginscan(catalog, TriggerOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		enabled = ((Form_pg_trigger) GETSTRUCT(tuple))->tgenabled;
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	switch (enabled)
	{
		case TRIGGER_FIRES_ALWAYS:
			return "ENABLE ALWAYS";
		case TRIGGER_FIRES_ON_REPLICA:
			return "ENABLE REPLICA";
		case TRIGGER_DISABLED:
			return "DISABLE";
		default:
			return NULL;
	}
}

/*
 * Make, replace or drop one trigger so that it has this condition; NULL for no trigger. Replacing one enables it: what its
 * owner said of that (ENABLE ALWAYS for rows that replication applies, DISABLE) is said again.
 */
static void
set_trigger(Oid relid, const char *name, const char *event, const char *condition, const char *function)
{
	SpiScope	scope;
	Oid			existing = get_trigger_oid(relid, name, true);
	const char *firing = OidIsValid(existing) ? firing_of(existing) : NULL;

	if (condition == NULL && !OidIsValid(existing))
		return;
	spi_open(&scope, SPI_AS_OWNER);
	if (condition == NULL)
		(void) spi_execute(SPI_OK_UTILITY, psprintf("DROP TRIGGER %s ON %s", name, relation_sql_name(relid)), 0, NULL);
	else
		(void) spi_execute(SPI_OK_UTILITY,
						   psprintf("CREATE OR REPLACE TRIGGER %s %s ON %s FOR EACH ROW WHEN (%s) EXECUTE FUNCTION salesops.%s()",
									name, event, relation_sql_name(relid), condition, function), 0, NULL);
	if (condition != NULL && firing != NULL)
		(void) spi_execute(SPI_OK_UTILITY, psprintf("ALTER TABLE %s %s TRIGGER %s", relation_sql_name(relid), firing, name), 0, NULL);
	spi_close(&scope);
}

/*
 * What criteria with subqueries speak of beside their own relation (tables, their columns, functions): the query trigger
 * depends on it, so that a DROP is refused, or with CASCADE takes the criterion along. A dump has no such dependencies:
 * they are recorded again as it makes the trigger.
 */
static void
record_dependencies(const Criteria *criteria)
{
	Oid			oid = get_trigger_oid(criteria->relid, TRIGGER_QUERY, true);
	ObjectAddress trigger;
	ListCell   *cell;

	if (!OidIsValid(oid))
		return;
	ObjectAddressSet(trigger, TriggerRelationId, oid);
	foreach(cell, criteria->criteria)
	{
		Criterion  *criterion = lfirst(cell);

		if (criterion->way == CRITERION_QUERY)
			recordDependencyOnSingleRelExpr(&trigger, criterion->expression->tree, criteria->relid, DEPENDENCY_NORMAL,
											DEPENDENCY_NORMAL, false);
	}
	CommandCounterIncrement();
}

/* All four triggers at once */
static void
set_triggers(const Criteria *criteria, bool enforced)
{
	bool		tracked = is_tracked(criteria->relid);
	Oid			relid = criteria->relid;

	set_trigger(relid, TRIGGER_CRITERIA, "BEFORE INSERT OR UPDATE",
				enforced ? criteria_condition(criteria, tracked) : NULL, "check_stage_criteria");
	set_trigger(relid, TRIGGER_QUERY, "AFTER INSERT OR UPDATE",
				enforced ? query_condition(criteria, tracked) : NULL, "check_stage_criteria");
	if (enforced)
		record_dependencies(criteria);
	set_trigger(relid, TRIGGER_CREATION, "BEFORE INSERT",
				enforced ? creation_condition(criteria) : NULL, "check_stage_move");
	set_trigger(relid, TRIGGER_MOVE, "BEFORE UPDATE",
				enforced ? move_condition(criteria) : NULL, "check_stage_move");
}

/* Make the triggers say what the tables say. Drops of our own are not taken for the user's meanwhile. */
static void
rebuild(const Criteria *criteria, bool enforced)
{
	bool		before = rebuilding;

	rebuilding = true;
	PG_TRY();
	{
		set_triggers(criteria, enforced);
	}
	PG_FINALLY();
	{
		rebuilding = before;
	}
	PG_END_TRY();
}

/* The triggers of one relation, where it is enforced; see criteria_pg.h. */
void
criteria_rebuild(Oid relid)
{
	if (criteria_enforced(relid))
		rebuild(criteria_load(relid), true);
}

/* The OID in the first column, added to the list */
static void
collect_oid(TupleTableSlot *slot, void *arg)
{
	List	  **list = arg;

	*list = lappend_oid(*list, DatumGetObjectId(slot->tts_values[0]));
}

/* The triggers of all relations of a pipeline; see pipeline_pg.h. */
void
pipeline_rebuild(const char *pipeline)
{
	List	   *relations = NIL;
	ListCell   *cell;
	SpiArg		args[] = {spi_text(pipeline)};

	(void) spi_stream_as_owner("SELECT r.relation FROM salesops.criteria_relation r WHERE r.enforced AND r.pipeline = $1 ORDER BY 1",
							   1, args, false, collect_oid, &relations);
	foreach(cell, relations)
	{
		LockRelationOid(lfirst_oid(cell), ShareRowExclusiveLock);
		if (get_rel_name(lfirst_oid(cell)) != NULL)
			criteria_rebuild(lfirst_oid(cell));
	}
}

/* Every criterion's stage must be one of the pipeline; all that are not, in one error. */
static void
check_stages_known(const Criteria *criteria)
{
	Problems	problems;
	ListCell   *cell;

	problems_init(&problems);
	if (criteria->stages == NIL)
		problems_add(&problems, "pipeline \"%s\" has no stages", criteria->pipeline);
	else
		foreach(cell, criteria->criteria)
		{
			Criterion  *criterion = lfirst(cell);

			if (pipeline_find_stage(criteria->stages, criterion->stage) == NULL)
				problems_add(&problems, "criterion \"%s\" is about stage \"%s\", which pipeline \"%s\" does not have",
							 criterion->name, criterion->stage, criteria->pipeline);
		}
	problems_raise(&problems, ERRCODE_INVALID_PARAMETER_VALUE, "Call salesops.define_stages() first.",
				   "cannot enforce stage criteria on %s", relation_sql_name(criteria->relid));
}

/* Write the relation's row. */
static void
store_relation(Oid relid, const char *pipeline, const char *column, bool enforced)
{
	SpiScope	scope;

	spi_open(&scope, SPI_AS_OWNER);
	(void) spi_execute(SPI_OK_INSERT,
					   "INSERT INTO salesops.criteria_relation AS r (relation, pipeline, stage_column, stage_number, enforced)"
					   " VALUES ($1, $2, $3, 0, $4) ON CONFLICT (relation) DO UPDATE SET"
					   " (pipeline, stage_column, stage_number, enforced) ="
					   " (excluded.pipeline, excluded.stage_column, excluded.stage_number, excluded.enforced)",
					   4, (SpiArg[]) {spi_oid(relid), spi_text(pipeline), spi_name(column), spi_bool(enforced)});
	spi_close(&scope);
}

/* Keep the trees as this cluster has them: after pg_upgrade those that came along are of another. */
static void
refresh_trees(const Criteria *criteria)
{
	SpiScope	scope;
	ListCell   *cell;

	spi_open(&scope, SPI_AS_OWNER);
	foreach(cell, criteria->criteria)
	{
		Criterion  *criterion = lfirst(cell);

		(void) spi_execute(SPI_OK_INSERT,
						   "INSERT INTO salesops.criterion_tree AS t (criterion_id, cluster, tree) VALUES ($1, $2, $3)"
						   " ON CONFLICT (criterion_id) DO UPDATE SET (cluster, tree) = (excluded.cluster, excluded.tree)",
						   3, (SpiArg[]) {spi_int8(criterion->id), spi_int8((int64) GetSystemIdentifier()),
										  spi_text(nodeToString(criterion->expression->tree))});
	}
	spi_close(&scope);
}

/*
 * enforce_stage_criteria(relation, stage_column, pipeline) -> integer
 *
 * Without a stage column: the one given before, else the one attached as the opportunity's stage, else a column called stage.
 * Rows that are there already are not looked at (check_all does). Calling it again is harmless. Errors: 42501, 42809, 42703, 22023.
 */
Datum
salesops_enforce_stage_criteria(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_ARGISNULL(0) ? InvalidOid : PG_GETARG_OID(0);
	char	   *column = PG_ARGISNULL(1) ? NULL : pstrdup(NameStr(*PG_GETARG_NAME(1)));
	char	   *pipeline = PG_ARGISNULL(2) ? "default" : text_to_cstring(PG_GETARG_TEXT_PP(2));
	Criteria   *criteria;

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"relation\" must not be NULL")));
	relation_require_table(relid, "enforce stage criteria");
	relation_require_owner(relid);
	LockRelationOid(relid, ShareRowExclusiveLock);
	if (column == NULL)
		column = criteria_load(relid)->stage_column;
	if (column == NULL)
		column = criteria_choose_stage_column(relid);
	if (column == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("no column of %s is known to hold the stage", relation_sql_name(relid)),
				 errhint("Name it: salesops.enforce_stage_criteria(%s, 'column'). Its columns are: %s.",
						 sql_literal(relation_sql_name(relid)), relation_column_list(relid))));
	(void) relation_require_column(relid, column);
	store_relation(relid, pipeline, column, true);
	criteria = criteria_load(relid);
	check_stages_known(criteria);
	refresh_trees(criteria);
	rebuild(criteria, true);
	PG_RETURN_INT32(list_length(criteria->criteria));
}

/* Note that a relation is no longer enforced; false where it was not. */
static bool
mark_released(Oid relid)
{
	SpiScope	scope;
	uint64		rows;

	spi_open(&scope, SPI_AS_OWNER);
	rows = spi_execute(SPI_OK_UPDATE,
					   "UPDATE salesops.criteria_relation r SET enforced = false WHERE r.relation = $1 AND r.enforced",
					   1, (SpiArg[]) {spi_oid(relid)});
	spi_close(&scope);
	return rows > 0;
}

/* release_stage_criteria(relation) -> boolean: drops the triggers, keeps the criteria */
Datum
salesops_release_stage_criteria(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	Criteria	criteria = {.relid = relid};
	bool		was;

	relation_require_owner(relid);
	LockRelationOid(relid, ShareRowExclusiveLock);
	was = mark_released(relid);
	rebuild(&criteria, false);
	PG_RETURN_BOOL(was);
}

/* ---- event triggers ---- */

/* A stored tree with the text that stands for it now */
typedef struct StoredText
{
	int64		id;
	Oid			relid;
	char	   *name;
	char	   *text;
	char	   *tree;
} StoredText;

/* One criterion with its tree */
static void
collect_text(TupleTableSlot *slot, void *arg)
{
	List	  **list = arg;
	StoredText *stored = palloc(sizeof(StoredText));

	stored->id = DatumGetInt64(slot->tts_values[0]);
	stored->relid = DatumGetObjectId(slot->tts_values[1]);
	stored->name = TextDatumGetCString(slot->tts_values[2]);
	stored->text = TextDatumGetCString(slot->tts_values[3]);
	stored->tree = slot->tts_isnull[4] ? NULL : TextDatumGetCString(slot->tts_values[4]);
	*list = lappend(*list, stored);
}

/* Deparse, or parse where 'source' is given, in a subtransaction; NULL where that fails: what it spoke of has gone. */
static char *
try_text(StoredText *stored, const char *source)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	char	   *volatile text = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		text = source
			? expression_parse(source, stored->relid, BOOLOID, EXPRESSION_SUBQUERY | EXPRESSION_ANY_ROLE,
							   criterion_description(stored->name))->text
			: expression_deparse(stringToNode(stored->tree), stored->relid, NULL);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return text;
}

/* Criteria of one relation, or of all for InvalidOid, with what the trees say */
static List *
stored_texts(Oid relid)
{
	List	   *list = NIL;
	SpiArg		args[] = {spi_int8((int64) GetSystemIdentifier()), spi_oid(relid)};

	(void) spi_stream_as_owner("SELECT c.criterion_id, c.relation, c.criterion, c.expression, t.tree FROM salesops.criterion c"
							   " LEFT JOIN salesops.criterion_tree t ON t.criterion_id = c.criterion_id AND t.cluster = $1"
							   " WHERE $2 IS NULL OR c.relation = $2 ORDER BY 1", 2, args, false, collect_text, &list);
	return list;
}

/* Columns that tables keep by name and number: the name follows the number. */
static void
follow_columns(const char *table, const char *column)
{
	SpiScope	scope;

	spi_open(&scope, SPI_AS_OWNER);
	(void) spi_execute(SPI_OK_UPDATE,
					   psprintf("UPDATE salesops.%s r SET %s_column = a.attname FROM pg_catalog.pg_attribute a"
								" WHERE a.attrelid = r.relation AND a.attnum = r.%s_number AND NOT a.attisdropped"
								" AND a.attname <> r.%s_column", table, column, column, column), 0, NULL);
	spi_close(&scope);
}

/* Something was renamed, perhaps: write the texts that read differently now, and the names of stage columns. */
static void
follow_renames(void)
{
	List	   *texts = stored_texts(InvalidOid);
	SpiScope	scope;
	ListCell   *cell;

	foreach(cell, texts)
	{
		StoredText *stored = lfirst(cell);
		char	   *text;

		if (stored->tree == NULL || get_rel_name(stored->relid) == NULL)
			continue;
		text = try_text(stored, NULL);
		if (text == NULL || strcmp(text, stored->text) == 0)
			continue;
		spi_open(&scope, SPI_AS_OWNER);
		(void) spi_execute(SPI_OK_UPDATE, "UPDATE salesops.criterion c SET expression = $2 WHERE c.criterion_id = $1",
						   2, (SpiArg[]) {spi_int8(stored->id), spi_text(text)});
		spi_close(&scope);
	}
	follow_columns("criteria_relation", "stage");
	follow_columns("tracked_relation", "key");
	follow_columns("tracked_relation", "stage");
	follow_columns("tracked_relation", "amount");
	follow_columns("tracked_relation", "close_date");
}

/* A trigger of ours went with something else (DROP COLUMN ... CASCADE): so does each criterion about that; the rest stays. */
static void
rebuild_after_cascade(Oid relid)
{
	SpiScope	scope;
	ListCell   *cell;

	foreach(cell, stored_texts(relid))
	{
		StoredText *stored = lfirst(cell);

		if (try_text(stored, stored->text) != NULL)
			continue;
		ereport(NOTICE, (errmsg("drop cascades to criterion \"%s\" on %s", stored->name, relation_sql_name(relid))));
		spi_open(&scope, SPI_AS_OWNER);
		(void) spi_execute(SPI_OK_DELETE, "DELETE FROM salesops.criterion c WHERE c.criterion_id = $1",
						   1, (SpiArg[]) {spi_int8(stored->id)});
		spi_close(&scope);
	}
	if (criteria_load(relid)->stage_column == NULL)
		(void) mark_released(relid);
	else
		criteria_rebuild(relid);
}

/* A dropped trigger of ours on a relation that is still there */
typedef struct DroppedTrigger
{
	Oid			relid;
	bool		original;
} DroppedTrigger;

/* relation and whether the command named the trigger itself */
static void
collect_dropped(TupleTableSlot *slot, void *arg)
{
	List	  **list = arg;
	DroppedTrigger *dropped = palloc(sizeof(DroppedTrigger));

	dropped->relid = DatumGetObjectId(slot->tts_values[0]);
	dropped->original = DatumGetBool(slot->tts_values[1]);
	*list = lappend(*list, dropped);
}

/* Our triggers among what was dropped: by name means release, by cascade means go on without the criterion concerned. */
static void
follow_drops(void)
{
	List	   *list = NIL;
	ListCell   *cell;

	(void) spi_stream_as_owner("SELECT r.relation, pg_catalog.bool_or(d.original)"
							   " FROM pg_catalog.pg_event_trigger_dropped_objects() d"
							   " JOIN pg_catalog.pg_namespace n ON n.nspname = d.address_names[1]"
							   " JOIN pg_catalog.pg_class k ON k.relnamespace = n.oid AND k.relname = d.address_names[2]"
							   " JOIN salesops.criteria_relation r ON r.relation = k.oid"
							   " WHERE d.object_type = 'trigger' AND r.enforced"
							   " AND d.address_names[3] IN ('" TRIGGER_CRITERIA "', '" TRIGGER_QUERY "', '" TRIGGER_CREATION "', '"
							   TRIGGER_MOVE "') GROUP BY 1 ORDER BY 1", 0, NULL, false, collect_dropped, &list);
	foreach(cell, list)
	{
		DroppedTrigger *dropped = lfirst(cell);

		if (!dropped->original)
			rebuild_after_cascade(dropped->relid);
		else if (mark_released(dropped->relid))
			ereport(NOTICE,
					(errmsg("stage criteria of %s are no longer enforced", relation_sql_name(dropped->relid)),
					 errhint("SELECT salesops.enforce_stage_criteria(%s) enforces them again.",
							 sql_literal(relation_sql_name(dropped->relid)))));
	}
}

/* Can all criteria of the relation be used? A restore of a part of a database goes on where they cannot. */
static bool
all_parse(Oid relid)
{
	ListCell   *cell;

	foreach(cell, stored_texts(relid))
		if (try_text(lfirst(cell), ((StoredText *) lfirst(cell))->text) == NULL)
			return false;
	return true;
}

/* A trigger was created, by pg_restore perhaps: one of ours gets its dependencies back. */
static void
follow_triggers(void)
{
	List	   *relations = NIL;
	ListCell   *cell;

	(void) spi_stream_as_owner("SELECT DISTINCT t.tgrelid FROM pg_catalog.pg_event_trigger_ddl_commands() d"
							   " JOIN pg_catalog.pg_trigger t ON t.oid = d.objid JOIN salesops.criteria_relation r ON r.relation = t.tgrelid"
							   " WHERE d.classid = 'pg_catalog.pg_trigger'::pg_catalog.regclass AND t.tgname = '" TRIGGER_QUERY "' ORDER BY 1",
							   0, NULL, false, collect_oid, &relations);
	foreach(cell, relations)
		if (all_parse(lfirst_oid(cell)))
			record_dependencies(criteria_load(lfirst_oid(cell)));
}

/* Event trigger, on ddl_command_end and sql_drop. Nothing to do where the extension itself is on its way out or in. */
Datum
salesops_follow_criteria(PG_FUNCTION_ARGS)
{
	EventTriggerData *event = (EventTriggerData *) fcinfo->context;
	Oid			schema = get_namespace_oid("salesops", true);

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("follow_criteria() is an event trigger")));
	if (rebuilding || !OidIsValid(schema) || !OidIsValid(get_relname_relid("tracked_relation", schema)))
		PG_RETURN_VOID();
	if (strcmp(event->event, "sql_drop") == 0)
	{
		follow_drops();
		history_follow_drops();
	}
	else if (event->tag == CMDTAG_CREATE_TABLE)
		history_follow_command(event->parsetree);
	else if (event->tag == CMDTAG_CREATE_TRIGGER)
		follow_triggers();
	else
	{
		follow_renames();
		history_follow_command(event->parsetree);
	}
	PG_RETURN_VOID();
}
