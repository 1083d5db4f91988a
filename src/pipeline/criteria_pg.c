/*
 * criteria_pg.c
 *		Stage criteria as they are stored: add_criterion, replace_criterion, drop_criterion, and loading them.
 *
 * The table holds the deparsed text, which pg_dump takes along. Beside it, in criterion_tree, is the parsed tree: what
 * names a column by its number, so that after a rename the text is deparsed anew. Trees are good in the cluster that made
 * them only; the trigger on the table makes them again when a dump is restored. How criteria are enforced is in
 * enforce_pg.c (the triggers) and guard_pg.c (what the triggers call).
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "nodes/nodeFuncs.h"
#include "nodes/nodes.h"
#include "optimizer/optimizer.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "core/compat.h"
#include "core/errors.h"
#include "core/relation.h"
#include "core/spi.h"
#include "pipeline/criteria_pg.h"

PG_FUNCTION_INFO_V1(salesops_add_criterion);
PG_FUNCTION_INFO_V1(salesops_replace_criterion);
PG_FUNCTION_INFO_V1(salesops_drop_criterion);
PG_FUNCTION_INFO_V1(salesops_criterion_stored);

/* Functions beyond comparisons and leakproof ones that give an answer for every argument */
static const Oid harmless_functions[] = {
	F_LENGTH_TEXT, F_CHAR_LENGTH_TEXT, F_CHARACTER_LENGTH_TEXT, F_OCTET_LENGTH_TEXT,
	F_LOWER_TEXT, F_UPPER_TEXT, F_BTRIM_TEXT, F_BTRIM_TEXT_TEXT, F_LTRIM_TEXT, F_RTRIM_TEXT,
	F_NUMERIC_INT2, F_NUMERIC_INT4, F_NUMERIC_INT8, F_INT8_INT4, F_INT8_INT2, F_INT4_INT2, F_FLOAT8_INT4, F_FLOAT8_INT8,
	F_NOW, F_STARTS_WITH, F_TEXT_BPCHAR, F_ABS_NUMERIC,
};

/* criterion "name", for messages */
const char *
criterion_description(const char *name)
{
	return psprintf("criterion \"%s\"", name);
}

/* Can this function never raise an error? Leakproof ones may not, by their promise. */
static bool
is_harmless(Oid function)
{
	for (size_t i = 0; i < lengthof(harmless_functions); i++)
		if (harmless_functions[i] == function)
			return true;
	return get_func_leakproof(function);
}

/* Operators of a btree operator class compare whatever they are given. */
static bool
is_harmless_operator(Oid operator, Oid function)
{
	return get_op_btree_interpretation(operator) != NIL || is_harmless(function);
}

/* True as soon as something is found that may raise an error at run time. */
static bool
may_fail_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_OpExpr:
		case T_DistinctExpr:
		case T_NullIfExpr:
			set_opfuncid((OpExpr *) node);
			if (!is_harmless_operator(((OpExpr *) node)->opno, ((OpExpr *) node)->opfuncid))
				return true;
			break;
		case T_ScalarArrayOpExpr:
			set_sa_opfuncid((ScalarArrayOpExpr *) node);
			if (!is_harmless_operator(((ScalarArrayOpExpr *) node)->opno, ((ScalarArrayOpExpr *) node)->opfuncid))
				return true;
			break;
		case T_FuncExpr:
			if (!is_harmless(((FuncExpr *) node)->funcid))
				return true;
			break;
		case T_List:
		case T_Var:
		case T_Const:
		case T_BoolExpr:
		case T_NullTest:
		case T_BooleanTest:
		case T_RelabelType:
		case T_CaseExpr:
		case T_CaseWhen:
		case T_CaseTestExpr:
		case T_CoalesceExpr:
		case T_MinMaxExpr:
		case T_ArrayExpr:
		case T_RowExpr:
		case T_CollateExpr:
			break;
		default:
			return true;
	}
	return expression_tree_walker(node, may_fail_walker, context);
}

/* Does the expression need a generated column? A BEFORE trigger does not see those. */
static bool
uses_generated(const RowExpression *expression, Oid relid)
{
	Relation	relation = relation_open(relid, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(relation);
	bool		found = false;

	for (int i = 0; i < desc->natts; i++)
		if (TupleDescAttr(desc, i)->attgenerated != '\0' &&
			(bms_is_member(0, expression->columns) || bms_is_member(i + 1, expression->columns)))
			found = true;
	relation_close(relation, AccessShareLock);
	return found;
}

/* The fastest way that a criterion can be checked in. Constant parts are folded first: their errors show here and now. */
static CriterionWay
choose_way(const RowExpression *expression, Oid relid)
{
	Node	   *folded;

	if (expression->has_subquery || uses_generated(expression, relid))
		return CRITERION_QUERY;
	folded = eval_const_expressions(NULL, copyObject(expression->tree));
	return may_fail_walker(folded, NULL) ? CRITERION_COMPILED : CRITERION_NATIVE;
}

/* A row of criteria_load's query; the tree, where it is of this cluster, beats the text. */
static void
collect_criterion(TupleTableSlot *slot, void *arg)
{
	Criteria   *criteria = arg;
	Criterion  *criterion = palloc0(sizeof(Criterion));
	Datum	   *values = slot->tts_values;
	bool	   *nulls = slot->tts_isnull;

	criterion->id = DatumGetInt64(values[0]);
	criterion->name = TextDatumGetCString(values[1]);
	criterion->version = DatumGetInt32(values[2]);
	criterion->stage = TextDatumGetCString(values[3]);
	criterion->text = TextDatumGetCString(values[4]);
	criterion->message = nulls[5] ? NULL : TextDatumGetCString(values[5]);
	criterion->action = TextDatumGetCString(values[6]);
	criterion->judged_at_entry = DatumGetBool(values[7]);
	criterion->effective_from = DatumGetTimestampTz(values[8]);
	criterion->effective_until = nulls[9] ? DT_NOEND : DatumGetTimestampTz(values[9]);
	criterion->grace_until = nulls[10] ? DT_NOBEGIN : DatumGetTimestampTz(values[10]);
	if (!nulls[11])
		criterion->text = expression_deparse(stringToNode(TextDatumGetCString(values[11])), criteria->relid, NULL);
	criteria->criteria = lappend(criteria->criteria, criterion);
}

/* The relation's row, where there is one */
static void
collect_relation(TupleTableSlot *slot, void *arg)
{
	Criteria   *criteria = arg;

	criteria->pipeline = TextDatumGetCString(slot->tts_values[0]);
	criteria->stage_column = get_attname(criteria->relid, DatumGetInt16(slot->tts_values[1]), true);
	criteria->enforced = DatumGetBool(slot->tts_values[2]);
}

#define RELATION_QUERY \
	"SELECT r.pipeline, r.stage_number, r.enforced FROM salesops.criteria_relation r WHERE r.relation = $1"

/* The rows, as the extension's owner and by the latest snapshot: the one that the triggers' definition is read by too */
static void
load_rows(Criteria *criteria)
{
	SpiScope	scope;
	MemoryContext context = CurrentMemoryContext;
	SpiArg		args[] = {spi_oid(criteria->relid), spi_int8((int64) GetSystemIdentifier())};

	spi_open(&scope, SPI_AS_OWNER);
	MemoryContextSwitchTo(context);
	PushActiveSnapshot(GetLatestSnapshot());
	(void) spi_stream(RELATION_QUERY,
					  1, args, true, collect_relation, criteria);
	(void) spi_stream("SELECT c.criterion_id, c.criterion, c.version, c.stage, c.expression, c.message, c.action,"
					  " c.judged = 'entry', c.effective_from, c.effective_until, c.grace_until, t.tree"
					  " FROM salesops.criterion c LEFT JOIN salesops.criterion_tree t"
					  " ON t.criterion_id = c.criterion_id AND t.cluster = $2"
					  " WHERE c.relation = $1 ORDER BY c.criterion_id", 2, args, true, collect_criterion, criteria);
	criteria->stages = pipeline_stages(criteria->pipeline);
	PopActiveSnapshot();
	spi_close(&scope);
	MemoryContextSwitchTo(context);
}

/* All that is said of a relation. Texts are parsed against it; an error there names the criterion. */
Criteria *
criteria_load(Oid relid)
{
	Criteria   *criteria = palloc0(sizeof(Criteria));
	ListCell   *cell;

	criteria->relid = relid;
	criteria->pipeline = "default";
	load_rows(criteria);
	foreach(cell, criteria->criteria)
	{
		Criterion  *criterion = lfirst(cell);

		criterion->expression = expression_parse(criterion->text, relid, BOOLOID,
												 EXPRESSION_SUBQUERY | EXPRESSION_ANY_ROLE,
												 criterion_description(criterion->name));
		criterion->way = choose_way(criterion->expression, relid);
	}
	return criteria;
}

/* The relation's row alone; false where there is none */
static bool
load_relation(Criteria *criteria)
{
	SpiScope	scope;
	MemoryContext context = CurrentMemoryContext;
	SpiArg		args[] = {spi_oid(criteria->relid)};
	uint64		rows;

	spi_open(&scope, SPI_AS_OWNER);
	MemoryContextSwitchTo(context);
	PushActiveSnapshot(GetLatestSnapshot());
	rows = spi_stream(RELATION_QUERY, 1, args, true, collect_relation, criteria);
	PopActiveSnapshot();
	spi_close(&scope);
	MemoryContextSwitchTo(context);
	return rows > 0;
}

/* Is there a row for this relation in criteria_relation? */
bool
criteria_exist(Oid relid)
{
	return load_relation(&(Criteria) {.relid = relid});
}

/* Do triggers enforce them? Without looking at the criteria: one that cannot be used must not stand in the way. */
bool
criteria_enforced(Oid relid)
{
	Criteria	criteria = {.relid = relid};

	return load_relation(&criteria) && criteria.enforced;
}

/* Does the criterion hold for a row in a stage of this name? A stage that is not defined binds nothing. */
bool
criterion_binds(const Criteria *criteria, const Criterion *criterion, const char *stage)
{
	Stage	   *own = pipeline_find_stage(criteria->stages, criterion->stage);
	Stage	   *current = stage ? pipeline_find_stage(criteria->stages, stage) : NULL;

	return own != NULL && current != NULL && pipeline_stage_binds(own, current);
}

/* Where the stage is when nobody says: as attached, else the column called stage; NULL where there is neither. */
char *
criteria_choose_stage_column(Oid relid)
{
	if (contract_relation("opportunity") == relid)
	{
		char	   *column = contract_source_column("opportunity", "stage");

		if (column != NULL && get_attnum(relid, column) != InvalidAttrNumber)
			return column;
	}
	return get_attnum(relid, "stage") != InvalidAttrNumber ? "stage" : NULL;
}

/* The column that tells rows apart: as attached, else the relation's own key; NULL where there is neither */
char *
criteria_key_column(Oid relid)
{
	char	   *column = contract_relation("opportunity") == relid ? contract_source_column("opportunity", "opportunity_id") : NULL;

	if (column != NULL && get_attnum(relid, column) != InvalidAttrNumber)
		return column;
	return relation_key_column(relid);
}

/* A value as text; char(n) without its padding, as a cast to text has it */
char *
criteria_value_text(Datum value, Oid type)
{
	Oid			base = type == TEXTOID ? TEXTOID : getBaseType(type);	/* no look-up for the usual type */
	Oid			output;
	bool		varlena;
	char	   *result;
	size_t		length;

	if (base == TEXTOID || base == VARCHAROID)
		return TextDatumGetCString(value);
	getTypeOutputInfo(type, &output, &varlena);
	result = OidOutputFunctionCall(output, value);
	length = strlen(result);
	while (base == BPCHAROID && length > 0 && result[length - 1] == ' ')
		result[--length] = '\0';
	return result;
}

/* The tree of a restored text, or NULL with a warning: a restore must go on. */
static char *
try_tree(const char *text, Oid relid, const char *name)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	char	   *volatile tree = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		tree = nodeToString(expression_parse(text, relid, BOOLOID, EXPRESSION_SUBQUERY | EXPRESSION_ANY_ROLE,
											 criterion_description(name))->tree);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		ereport(WARNING,
				(errcode(error->sqlerrcode),
				 errmsg("criterion \"%s\" on %s cannot be used: %s", name, relation_sql_name(relid), error->message)));
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return tree;
}

/* A text column of the trigger's row */
static char *
row_string(TriggerData *trigger, const char *column)
{
	return SPI_getvalue(trigger->tg_trigtuple, RelationGetDescr(trigger->tg_relation),
						SPI_fnumber(RelationGetDescr(trigger->tg_relation), column));
}

/* A row of salesops.criterion has come: keep its tree. */
static void
store_tree(TriggerData *trigger)
{
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);
	bool		isnull;
	Oid			relid = DatumGetObjectId(SPI_getbinval(trigger->tg_trigtuple, desc, SPI_fnumber(desc, "relation"), &isnull));
	int64		id = DatumGetInt64(SPI_getbinval(trigger->tg_trigtuple, desc, SPI_fnumber(desc, "criterion_id"), &isnull));
	char	   *tree = try_tree(row_string(trigger, "expression"), relid, row_string(trigger, "criterion"));
	SpiScope	scope;

	if (tree == NULL)
		return;
	spi_open(&scope, SPI_AS_OWNER);
	(void) spi_execute(SPI_OK_INSERT, "INSERT INTO salesops.criterion_tree (criterion_id, cluster, tree) VALUES ($1, $2, $3)",
					   3, (SpiArg[]) {spi_int8(id), spi_int8((int64) GetSystemIdentifier()), spi_text(tree)});
	spi_close(&scope);
}

/*
 * A row of a table with columns X_column and X_number comes: the number may be another than where the row was dumped. The
 * numbers are found anew from the names.
 */
static HeapTuple
number_columns(TriggerData *trigger)
{
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);
	HeapTuple	tuple = trigger->tg_trigtuple;
	bool		isnull;
	Oid			relid = DatumGetObjectId(SPI_getbinval(tuple, desc, SPI_fnumber(desc, "relation"), &isnull));

	for (int i = 0; i < desc->natts; i++)
	{
		const char *name = NameStr(TupleDescAttr(desc, i)->attname);
		size_t		length = strlen(name) - strlen("_column");
		int			target;
		char	   *column;
		Datum		number;

		if (strlen(name) < strlen("_column") || strcmp(name + length, "_column") != 0)
			continue;
		target = SPI_fnumber(desc, psprintf("%.*s_number", (int) length, name));
		column = SPI_getvalue(tuple, desc, i + 1);
		isnull = column == NULL;
		number = isnull ? (Datum) 0 : Int16GetDatum(get_attnum(relid, column));
		tuple = heap_modify_tuple_by_cols(tuple, desc, 1, &target, &number, &isnull);
	}
	return tuple;
}

/* Trigger on criterion (AFTER INSERT), criteria_relation and tracked_relation (BEFORE INSERT). */
Datum
salesops_criterion_stored(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("criterion_stored() is a trigger of salesops's own tables")));
	if (TRIGGER_FIRED_BEFORE(trigger->tg_event))
		PG_RETURN_POINTER(number_columns(trigger));
	store_tree(trigger);
	PG_RETURN_POINTER(NULL);
}

/* Rows of one criterion; the latest version last */
static Criterion *
latest_version(Criteria *criteria, const char *name)
{
	Criterion  *found = NULL;
	ListCell   *cell;

	foreach(cell, criteria->criteria)
	{
		Criterion  *criterion = lfirst(cell);

		if (strcmp(criterion->name, name) == 0 && (found == NULL || criterion->version > found->version))
			found = criterion;
	}
	return found;
}

/* One of the words allowed? */
static void
check_word(const char *word, const char *const *words, const char *what, Problems *problems)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; words[i] != NULL; i++)
	{
		if (strcmp(words[i], word) == 0)
			return;
		append_choice(&list, words[i]);
	}
	problems_add(problems, "%s must be one of %s, not \"%s\"", what, list.data, word);
}

/* The stage must be one of the relation's pipeline. */
static void
check_stage(const Criteria *criteria, const char *stage, Problems *problems)
{
	StringInfoData list;
	ListCell   *cell;

	if (pipeline_find_stage(criteria->stages, stage) != NULL)
		return;
	initStringInfo(&list);
	foreach(cell, criteria->stages)
		append_choice(&list, ((Stage *) lfirst(cell))->name);
	if (criteria->stages == NIL)
		problems_add(problems, "stage \"%s\" does not exist: pipeline \"%s\" has no stages; call salesops.define_stages() first",
					 stage, criteria->pipeline);
	else
		problems_add(problems, "stage \"%s\" does not exist in pipeline \"%s\"; its stages are: %s",
					 stage, criteria->pipeline, list.data);
}

/* System columns are not there yet when a row is about to be written. */
static bool
system_column_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return false;			/* what a subquery reads of other tables is its own business */
	if (IsA(node, Var) && ((Var *) node)->varattno < 0)
		return true;
	return expression_tree_walker(node, system_column_walker, context);
}

/* Parse what the user gave and try it for errors in its constant parts. */
static RowExpression *
parse_criterion(Oid relid, const char *name, const char *source)
{
	RowExpression *expression = expression_parse(source, relid, BOOLOID, EXPRESSION_SUBQUERY, criterion_description(name));

	if (system_column_walker(expression->tree, NULL))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("criterion \"%s\" on %s must not use system columns", name, relation_sql_name(relid))));
	(void) choose_way(expression, relid);
	return expression;
}

/* The right, the kind of relation, and the lock that keeps two definitions apart; held to the end of the transaction */
static void
lock_for_definition(Oid relid, const char *action)
{
	relation_require_table(relid, action);
	relation_require_owner(relid);
	LockRelationOid(relid, ShareRowExclusiveLock);
}

/* A new row of salesops.criterion; answers its id. */
static int64
insert_criterion(Oid relid, const Criterion *criterion)
{
	SpiScope	scope;
	int64		id;
	SpiArg		args[] = {
		spi_oid(relid), spi_text(criterion->name), spi_int4(criterion->version), spi_text(criterion->stage),
		spi_text(criterion->text), spi_text(criterion->message), spi_text(criterion->action),
		spi_text(criterion->judged_at_entry ? "entry" : "always"), spi_timestamptz(criterion->effective_from),
		spi_datum(TIMESTAMPTZOID, TimestampTzGetDatum(criterion->effective_until), criterion->effective_until == DT_NOEND),
		spi_datum(TIMESTAMPTZOID, TimestampTzGetDatum(criterion->grace_until), criterion->grace_until == DT_NOBEGIN)
	};

	spi_open(&scope, SPI_AS_OWNER);
	(void) spi_execute(SPI_OK_INSERT_RETURNING,
					   "INSERT INTO salesops.criterion (relation, criterion, version, stage, expression, message, action, judged,"
					   " effective_from, effective_until, grace_until) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
					   " RETURNING criterion_id", lengthof(args), args);
	id = spi_get_int8(0, 1);
	spi_close(&scope);
	return id;
}

/* An argument that must not be NULL, as text */
static char *
required_text(FunctionCallInfo fcinfo, int argument, const char *name)
{
	if (PG_ARGISNULL(argument))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be NULL", name)));
	return text_to_cstring(PG_GETARG_TEXT_PP(argument));
}

/* An argument that may be NULL, as text */
static char *
optional_text(FunctionCallInfo fcinfo, int argument)
{
	return PG_ARGISNULL(argument) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(argument));
}

/* The relation argument */
static Oid
required_relation(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"relation\" must not be NULL")));
	return PG_GETARG_OID(0);
}

/* Everything that can be wrong with a criterion besides its expression, in one error */
static void
check_criterion(const Criteria *criteria, const Criterion *criterion, const char *judged)
{
	static const char *const actions[] = {"reject", "warn", "record", NULL};
	static const char *const judgements[] = {"entry", "always", NULL};
	Problems	problems;

	problems_init(&problems);
	if (criterion->name[0] == '\0')
		problems_add(&problems, "its name must not be empty");
	check_stage(criteria, criterion->stage, &problems);
	check_word(criterion->action, actions, "action", &problems);
	check_word(judged, judgements, "judged", &problems);
	if (criterion->effective_until <= criterion->effective_from)
		problems_add(&problems, "effective_until must be later than effective_from");
	problems_raise(&problems, ERRCODE_INVALID_PARAMETER_VALUE, NULL, "invalid criterion \"%s\" on %s",
				   criterion->name, relation_sql_name(criteria->relid));
}

/*
 * add_criterion(relation, stage, criterion, expression, message, action, effective_from, effective_until, grace_until,
 * judged) -> bigint
 *
 * Errors: 42501 not the owner, 42809 not a table, 22023 unknown stage or action, 42710 the name is taken, and whatever the
 * parser has against the expression.
 */
Datum
salesops_add_criterion(PG_FUNCTION_ARGS)
{
	Oid			relid = required_relation(fcinfo);
	Criterion	criterion = {.version = 1};
	char	   *judged = PG_ARGISNULL(9) ? "entry" : text_to_cstring(PG_GETARG_TEXT_PP(9));
	Criteria   *criteria;
	char	   *source;
	int64		id;

	criterion.stage = required_text(fcinfo, 1, "stage");
	criterion.name = required_text(fcinfo, 2, "criterion");
	source = required_text(fcinfo, 3, "expression");
	criterion.message = optional_text(fcinfo, 4);
	criterion.action = PG_ARGISNULL(5) ? "reject" : text_to_cstring(PG_GETARG_TEXT_PP(5));
	criterion.judged_at_entry = strcmp(judged, "entry") == 0;
	criterion.effective_from = PG_ARGISNULL(6) ? GetCurrentTransactionStartTimestamp() : PG_GETARG_TIMESTAMPTZ(6);
	criterion.effective_until = PG_ARGISNULL(7) ? DT_NOEND : PG_GETARG_TIMESTAMPTZ(7);
	criterion.grace_until = PG_ARGISNULL(8) ? DT_NOBEGIN : PG_GETARG_TIMESTAMPTZ(8);

	lock_for_definition(relid, "add a criterion");
	criteria = criteria_load(relid);
	check_criterion(criteria, &criterion, judged);
	if (latest_version(criteria, criterion.name) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("criterion \"%s\" on %s exists already", criterion.name, relation_sql_name(relid)),
				 errhint("Use salesops.replace_criterion() for a new version of it, or salesops.drop_criterion() first.")));
	criterion.text = parse_criterion(relid, criterion.name, source)->text;
	id = insert_criterion(relid, &criterion);
	criteria_rebuild(relid);
	PG_RETURN_INT64(id);
}

/* Error unless the criterion is there; hint at the ones that are. */
static Criterion *
require_criterion(Criteria *criteria, const char *name)
{
	Criterion  *found = latest_version(criteria, name);
	StringInfoData list;
	ListCell   *cell;

	if (found != NULL)
		return found;
	initStringInfo(&list);
	foreach(cell, criteria->criteria)
		append_choice(&list, ((Criterion *) lfirst(cell))->name);
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("criterion \"%s\" on %s does not exist", name, relation_sql_name(criteria->relid)),
			 list.len > 0 ? errhint("Its criteria are: %s.", list.data) : errhint("It has no criteria.")));
}

/* Close a version at the time its successor begins. */
static void
end_version(int64 id, TimestampTz until)
{
	SpiScope	scope;

	spi_open(&scope, SPI_AS_OWNER);
	(void) spi_execute(SPI_OK_UPDATE, "UPDATE salesops.criterion c SET effective_until = $2 WHERE c.criterion_id = $1",
					   2, (SpiArg[]) {spi_int8(id), spi_timestamptz(until)});
	spi_close(&scope);
}

/*
 * replace_criterion(relation, criterion, expression, message, action, effective_from, grace_until) -> bigint
 *
 * The version in force ends where the new one begins. NULL message and action are taken over. 22023 where the new one
 * would not begin after the one it replaces.
 */
Datum
salesops_replace_criterion(PG_FUNCTION_ARGS)
{
	Oid			relid = required_relation(fcinfo);
	char	   *name = required_text(fcinfo, 1, "criterion");
	char	   *source = required_text(fcinfo, 2, "expression");
	Criteria   *criteria;
	Criterion  *old;
	Criterion	new;
	int64		id;

	lock_for_definition(relid, "replace a criterion");
	criteria = criteria_load(relid);
	old = require_criterion(criteria, name);
	new = *old;
	new.version++;
	new.message = PG_ARGISNULL(3) ? old->message : optional_text(fcinfo, 3);
	new.action = PG_ARGISNULL(4) ? old->action : optional_text(fcinfo, 4);
	new.effective_from = PG_ARGISNULL(5) ? GetCurrentTransactionStartTimestamp() : PG_GETARG_TIMESTAMPTZ(5);
	new.effective_until = DT_NOEND;
	new.grace_until = PG_ARGISNULL(6) ? DT_NOBEGIN : PG_GETARG_TIMESTAMPTZ(6);
	check_criterion(criteria, &new, new.judged_at_entry ? "entry" : "always");
	if (new.effective_from <= old->effective_from)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("version %d of criterion \"%s\" must begin later than version %d", new.version, name, old->version),
				 errdetail("Version %d is in force from %s.", old->version, timestamptz_to_str(old->effective_from)),
				 errhint("To correct a criterion as if it had never been, drop it and add it again.")));
	new.text = parse_criterion(relid, name, source)->text;
	if (old->effective_until > new.effective_from)
		end_version(old->id, new.effective_from);
	id = insert_criterion(relid, &new);
	criteria_rebuild(relid);
	PG_RETURN_INT64(id);
}

/* drop_criterion(relation, criterion) -> integer: with all its versions; 42704 where there is none */
Datum
salesops_drop_criterion(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	SpiScope	scope;
	uint64		dropped;

	lock_for_definition(relid, "drop a criterion");
	spi_open(&scope, SPI_AS_OWNER);
	dropped = spi_execute(SPI_OK_DELETE, "DELETE FROM salesops.criterion c WHERE c.relation = $1 AND c.criterion = $2",
						  2, (SpiArg[]) {spi_oid(relid), spi_text(name)});
	spi_close(&scope);
	if (dropped == 0)
		(void) require_criterion(criteria_load(relid), name);
	criteria_rebuild(relid);
	PG_RETURN_INT32((int32) dropped);
}
