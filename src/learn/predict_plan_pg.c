/*
 * predict_plan_pg.c
 *		predict(model, t) over the rows of a table, without the row: the planner is told to hand over the table's columns instead.
 *
 * A whole row as an argument is put together for every row (the server reads all columns, copies them into a tuple, and we take it
 * apart again), which costs more than most predictions do. Where the row is a table's or a view's and nothing can make it NULL,
 * the planner's support function turns predict(model, t) into predict_columns(model, 't', t.a, t.b, …), which gives the same
 * number. Elsewhere, such as under an outer join, in a trigger, or beyond a call's hundred arguments, predict stays what it is.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/pathnodes.h"
#include "nodes/supportnodes.h"
#include "optimizer/planmain.h"
#include "parser/parsetree.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "core/compat.h"
#include "learn/metrics.h"
#include "learn/predict_site.h"

#define LEADING_ARGUMENTS 2		/* model, row type */

/* The function that takes columns. */
static Oid
predict_columns_oid(void)
{
	Oid			types[] = {TEXTOID, REGTYPEOID, ANYOID};

	return GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum("predict_columns"),
						   PointerGetDatum(buildoidvector(types, lengthof(types))),
						   ObjectIdGetDatum(get_namespace_oid("salesops", true)));
}

/* Could a join leave rows of some table empty, so that the row is NULL and not a row of NULLs? */
static bool
has_outer_join(const Query *query)
{
	ListCell   *cell;

	foreach(cell, query->rtable)
	{
		const RangeTblEntry *entry = lfirst_node(RangeTblEntry, cell);

		if (entry->rtekind == RTE_JOIN && entry->jointype != JOIN_INNER)
			return true;
	}
	return false;
}

/* A NULL in a dropped column's place: predict_columns does not look at it. */
static Expr *
no_column(void)
{
	return (Expr *) makeNullConst(INT4OID, -1, InvalidOid);
}

/* The columns of a whole-row Var; NIL where it is no plain table's. */
static List *
columns_of_var(PlannerInfo *root, const Var *var, TupleDesc desc)
{
	const RangeTblEntry *entry;
	List	   *columns = NIL;

	if (var->varattno != 0 || var->varlevelsup != 0 || has_outer_join(root->parse))
		return NIL;
	entry = rt_fetch(var->varno, root->parse->rtable);
	if (entry->rtekind != RTE_RELATION || get_rel_type_id(entry->relid) != var->vartype)
		return NIL;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		columns = lappend(columns, attribute->attisdropped ? no_column() :
						  (Expr *) makeVar(var->varno, i + 1, attribute->atttypid, attribute->atttypmod, attribute->attcollation, 0));
	}
	return columns;
}

/* The columns of a row expression, which a view's row is by now; NIL where they are not what the type says. */
static List *
columns_of_row(const RowExpr *row, TupleDesc desc)
{
	List	   *columns = NIL;

	if (list_length(row->args) != desc->natts)
		return NIL;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		Node	   *column = list_nth(row->args, i);

		if (!attribute->attisdropped && exprType(column) != attribute->atttypid)
			return NIL;
		columns = lappend(columns, attribute->attisdropped ? (Node *) no_column() : column);
	}
	return columns;
}

/* The columns that a call's row is made of, and its type; NIL where it stays a row. */
static List *
columns_of_argument(PlannerInfo *root, Node *argument, Oid *type)
{
	List	   *columns = NIL;
	TupleDesc	desc;

	*type = exprType(argument);
	if (*type == RECORDOID || !(IsA(argument, Var) || IsA(argument, RowExpr)) || get_typtype(*type) != TYPTYPE_COMPOSITE)
		return NIL;
	desc = lookup_rowtype_tupdesc(*type, -1);
	if (desc->natts + LEADING_ARGUMENTS <= FUNC_MAX_ARGS)
		columns = IsA(argument, Var) ? columns_of_var(root, (Var *) argument, desc) : columns_of_row((RowExpr *) argument, desc);
	ReleaseTupleDesc(desc);
	return columns;
}

PG_FUNCTION_INFO_V1(salesops_predict_support);
/* Planner support of predict(): see above. */
Datum
salesops_predict_support(PG_FUNCTION_ARGS)
{
	SupportRequestSimplify *request = (SupportRequestSimplify *) PG_GETARG_POINTER(0);
	List	   *columns;
	Oid			function;
	Oid			type;
	List	   *arguments;
	FuncExpr   *call;

	if (!IsA(request, SupportRequestSimplify) || request->root == NULL || request->root->parse->commandType != CMD_SELECT ||
		list_length(request->fcall->args) != 2)
		PG_RETURN_POINTER(NULL);
	columns = columns_of_argument(request->root, lsecond(request->fcall->args), &type);
	function = columns == NIL ? InvalidOid : predict_columns_oid();
	if (!OidIsValid(function) || function_aclcheck(request->fcall->funcid, GetUserId(), ACL_EXECUTE) != ACLCHECK_OK)
		PG_RETURN_POINTER(NULL);
	arguments = list_make2(linitial(request->fcall->args),
						   makeConst(REGTYPEOID, -1, InvalidOid, sizeof(Oid), ObjectIdGetDatum(type), false, true));
	call = makeFuncExpr(function, FLOAT8OID, list_concat(arguments, columns), InvalidOid, request->fcall->inputcollid,
						COERCE_EXPLICIT_CALL);
	call->location = request->fcall->location;
	record_plan_function_dependency(request->root, request->fcall->funcid);
	PG_RETURN_POINTER(call);
}

/* Do the call's arguments have the types of the row's columns? Nobody but the planner should call, but anybody can. */
static void
check_arguments(FunctionCallInfo fcinfo, TupleDesc desc)
{
	bool		fits = PG_NARGS() - LEADING_ARGUMENTS == desc->natts && !get_fn_expr_variadic(fcinfo->flinfo);

	for (int i = 0; i < desc->natts && fits; i++)
		fits = TupleDescAttr(desc, i)->attisdropped ||
			get_fn_expr_argtype(fcinfo->flinfo, i + LEADING_ARGUMENTS) == TupleDescAttr(desc, i)->atttypid;
	if (!fits)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the arguments are not the columns of type %s", format_type_be(PG_GETARG_OID(1))),
				 errhint("Call salesops.predict(model, row); the planner calls this function where it is quicker.")));
}

PG_FUNCTION_INFO_V1(salesops_predict_columns);
/* (model, row type, its columns) -> probability, as predict of such a row; NULL for no model or no type. */
Datum
salesops_predict_columns(PG_FUNCTION_ARGS)
{
	PredictSite *site;
	bool		prepared;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	site = learn_site(fcinfo->flinfo, PG_GETARG_TEXT_PP(0), PG_GETARG_OID(1), -1, &prepared);
	if (prepared)
	{
		site->generation = 0;	/* an error must not leave it ready */
		check_arguments(fcinfo, site->desc);
		site->generation = learn_model_generation();
	}
	PG_RETURN_FLOAT8(learn_probability(learn_columns_margin(site->map, site->loaded->model, fcinfo->args + LEADING_ARGUMENTS)));
}
