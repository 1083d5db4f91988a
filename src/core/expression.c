/*
 * expression.c
 *		A user's expression over one relation's row (expression.h): parse, check, deparse, compile.
 *
 * raw_parser's PL/pgSQL mode accepts more than an expression ("a > 1 from t"), so the statement it returns is checked to
 * have one unnamed target and nothing else.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/sysattr.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parse_relation.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/ruleutils.h"

#include "core/expression.h"
#include "core/relation.h"
#include "core/spi.h"

typedef struct ParseContext
{
	const char *what;
	Oid			relid;
} ParseContext;

/* Errors inside say which expression; the cursor position would point into the outer statement, so it goes. */
static void
expression_error_context(void *arg)
{
	ParseContext *context = (ParseContext *) arg;

	errposition(0);
	errcontext("%s on %s", context->what, relation_sql_name(context->relid));
}

/* The one target of "SELECT target", or an error. */
static Node *
only_target(const char *source)
{
	List	   *parsed = raw_parser(source, RAW_PARSE_PLPGSQL_EXPR);
	SelectStmt *select = castNode(SelectStmt, linitial_node(RawStmt, parsed)->stmt);
	ResTarget  *target;

	if (list_length(select->targetList) != 1 || select->distinctClause || select->intoClause ||
		select->fromClause || select->whereClause || select->groupClause || select->havingClause ||
		select->windowClause || select->valuesLists || select->sortClause || select->limitOffset ||
		select->limitCount || select->lockingClause || select->withClause || select->op != SETOP_NONE)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("\"%s\" is not one expression", source),
				 errhint("Give a single SQL expression over the relation's columns, as in a CHECK constraint.")));
	target = linitial_node(ResTarget, select->targetList);
	if (target->name != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("\"%s\" is not one expression: it has a column alias", source)));
	return target->val;
}

typedef struct ColumnWalk
{
	Bitmapset  *columns;
	int			level;
	bool		subquery;
} ColumnWalk;

/* Collect the columns of the relation itself, inside subqueries too. */
static bool
column_walker(Node *node, ColumnWalk *walk)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		Var		   *var = (Var *) node;

		if (var->varlevelsup == (Index) walk->level && var->varno == 1 && var->varattno >= 0)
			walk->columns = bms_add_member(walk->columns, var->varattno);
		return false;
	}
	if (IsA(node, Query))
	{
		bool		result;

		walk->subquery = true;
		walk->level++;
		result = query_tree_walker((Query *) node, column_walker, walk, 0);
		walk->level--;
		return result;
	}
	return expression_tree_walker(node, column_walker, walk);
}

/* Coerce to the wanted type as an assignment would. */
static Node *
coerce_result(ParseState *pstate, Node *tree, Oid wanted, const char *what)
{
	Oid			type = exprType(tree);
	Node	   *coerced;

	if (wanted == BOOLOID)
		return coerce_to_boolean(pstate, tree, what);
	if (!OidIsValid(wanted))
	{
		if (type != UNKNOWNOID)
			return tree;
		wanted = TEXTOID;
	}
	coerced = coerce_to_target_type(pstate, tree, type, wanted, -1, COERCION_ASSIGNMENT, COERCE_IMPLICIT_CAST, -1);
	if (coerced == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("%s must be of type %s, not %s", what, format_type_be(wanted), format_type_be(type))));
	return coerced;
}

/* Volatile (or, for indexes, not immutable) functions give an answer that cannot be relied on. */
static void
check_volatility(Node *tree, int flags, const char *what)
{
	if (!(flags & EXPRESSION_VOLATILE) && contain_volatile_functions(tree))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("%s must not use volatile functions", what),
				 errhint("The same row must give the same answer; use columns instead of random() or clock_timestamp().")));
	if ((flags & EXPRESSION_IMMUTABLE) && contain_mutable_functions(tree))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("%s must use immutable functions only", what)));
}

/* Who may give an expression over a relation: its owner; over a contract view, the owner of what is attached to it. */
static void
require_expression_owner(Oid relid)
{
	Oid			attached = InvalidOid;
	char	   *schema = get_namespace_name(get_rel_namespace(relid));

	if (get_rel_relkind(relid) == RELKIND_VIEW && schema && strcmp(schema, "salesops") == 0)
	{
		attached = contract_relation(get_rel_name(relid));
		if (!OidIsValid(attached))
			return;				/* nothing attached: the view is empty, and the right to call the definer decides */
	}
	relation_require_owner(OidIsValid(attached) ? attached : relid);
}

/* Parse and check; see expression.h. */
RowExpression *
expression_parse(const char *source, Oid relid, Oid wanted, int flags, const char *what)
{
	RowExpression *result = palloc0(sizeof(RowExpression));
	ParseContext context = {what, relid};
	ErrorContextCallback callback = {error_context_stack, expression_error_context, &context};
	Relation	relation;
	ParseState *pstate;
	ParseNamespaceItem *item;
	ColumnWalk	walk = {0};
	Node	   *tree;
	int			nest;

	if (!(flags & EXPRESSION_ANY_ROLE))
		require_expression_owner(relid);
	relation = relation_open(relid, AccessShareLock);
	nest = search_path_pin();
	error_context_stack = &callback;
	tree = only_target(source);
	pstate = make_parsestate(NULL);
	item = addRangeTableEntryForRelation(pstate, relation, AccessShareLock, NULL, false, true);
	addNSItemToQuery(pstate, item, false, true, true);
	tree = transformExpr(pstate, tree, (flags & EXPRESSION_SUBQUERY) ? EXPR_KIND_WHERE : EXPR_KIND_CHECK_CONSTRAINT);
	tree = coerce_result(pstate, tree, wanted, what);
	assign_expr_collations(pstate, tree);
	check_volatility(tree, flags, what);
	free_parsestate(pstate);

	(void) column_walker(tree, &walk);
	result->tree = tree;
	result->type = exprType(tree);
	result->columns = walk.columns;
	result->has_subquery = walk.subquery;
	result->text = deparse_expression(tree, deparse_context_for(RelationGetRelationName(relation), relid), false, false);
	error_context_stack = callback.previous;
	search_path_unpin(nest);
	relation_close(relation, AccessShareLock);
	return result;
}

/* The text of a tree as the relation's columns are named now. */
char *
expression_deparse(Node *tree, Oid relid, const char *prefix)
{
	int			nest = search_path_pin();
	const char *name = prefix ? prefix : get_rel_name(relid);
	char	   *text = deparse_expression(tree, deparse_context_for(name, relid), prefix != NULL, false);

	search_path_unpin(nest);
	return text;
}

/* Plan and compile in the current memory context. */
CompiledExpression *
expression_compile(RowExpression *expression)
{
	CompiledExpression *compiled = palloc(sizeof(CompiledExpression));

	if (expression->has_subquery)
		elog(ERROR, "an expression with a subquery cannot be compiled over a slot");
	compiled->estate = CreateExecutorState();
	compiled->context = CreateExprContext(compiled->estate);
	compiled->state = ExecPrepareExpr((Expr *) copyObject(expression->tree), compiled->estate);
	return compiled;
}

/* Evaluate over one row; the value is valid until the next call. */
Datum
expression_evaluate(CompiledExpression *compiled, TupleTableSlot *slot, bool *isnull)
{
	ResetExprContext(compiled->context);
	compiled->context->ecxt_scantuple = slot;
	return ExecEvalExprSwitchContext(compiled->state, compiled->context, isnull);
}

/* Free the executor state. */
void
expression_free(CompiledExpression *compiled)
{
	FreeExecutorState(compiled->estate);
	pfree(compiled);
}
