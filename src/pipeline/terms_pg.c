/*
 * terms_pg.c
 *		The terms that most criteria are made of, recognised in an expression's tree and written as a program.
 *
 * "amount > 0", "close_date IS NOT NULL", "owner <> ''", "length(next_step) > 3": a column against a constant. The server
 * calls a function for each, and numeric's copies its argument first; salesops.all_true() checks them all in one call
 * (program_pg.c, which also says what a program is). Anything that is not in this small language is left to the server.
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "access/transam.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"

#include "core/compat.h"
#include "core/relation.h"
#include "core/spi.h"
#include "pipeline/terms_pg.h"

/* By the btree strategies 1 to 5, and TERM_NOT_EQUAL */
const char *const term_operators[] = {NULL, "<", "<=", "=", ">=", ">", "<>"};

/* How the values of a type are compared; false for a type that is not. Dates and times are integers inside. */
bool
term_kind_of_type(Oid type, TermKind *kind)
{
	switch (type)
	{
		case INT2OID:
			*kind = TERM_INT16;
			return true;
		case INT4OID:
		case DATEOID:
			*kind = TERM_INT32;
			return true;
		case INT8OID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			*kind = TERM_INT64;
			return true;
		case NUMERICOID:
			*kind = TERM_NUMERIC;
			return true;
		case TEXTOID:
		case VARCHAROID:
			*kind = TERM_TEXT;
			return true;
		default:
			return false;
	}
}

/* An integer, date or time as the integer that it is inside */
static int64
integer_value(const Const *constant)
{
	switch (constant->constlen)
	{
		case 2:
			return DatumGetInt16(constant->constvalue);
		case 4:
			return DatumGetInt32(constant->constvalue);
		default:
			return DatumGetInt64(constant->constvalue);
	}
}

/* Are both sides of a type that compares with the other as the bare values do? Integers do among themselves. */
static bool
types_agree(Oid left, Oid right)
{
	bool		left_integer = left == INT2OID || left == INT4OID || left == INT8OID;
	bool		right_integer = right == INT2OID || right == INT4OID || right == INT8OID;

	return left == right || (left_integer && right_integer);
}

/* A btree comparison of the server's own: its strategy, or 0 */
static int
comparison_strategy(Oid operator)
{
	ListCell   *cell;

	if (operator >= FirstNormalObjectId)
		return 0;
	foreach(cell, get_op_btree_interpretation(operator))
	{
		OpBtreeInterpretation *interpretation = lfirst(cell);

		if (interpretation->strategy >= BTLessStrategyNumber && interpretation->strategy <= TERM_NOT_EQUAL)
			return interpretation->strategy;
	}
	return 0;
}

/* A plain column of the row, seen through varchar's relabelling; NULL where it is something else */
static Var *
plain_column(Node *node)
{
	if (node && IsA(node, RelabelType))
		node = (Node *) ((RelabelType *) node)->arg;
	if (node == NULL || !IsA(node, Var) || ((Var *) node)->varattno <= 0 || ((Var *) node)->varlevelsup != 0)
		return NULL;
	return (Var *) node;
}

/* Add one term: constant NULL for an operator that has none. The stage has the first place. */
static bool
add_term(TermSet *set, const Var *column, const char *operator, const char *constant)
{
	int			place = 1;
	ListCell   *cell;

	foreach(cell, set->columns)
	{
		place++;
		if (lfirst_int(cell) == column->varattno)
			goto found;
	}
	set->columns = lappend_int(set->columns, column->varattno);
	place++;
found:
	if (set->asked_of != set->begun)
		set->program = lappend(set->program, set->asked_of);
	set->begun = set->asked_of;
	set->program = lappend(set->program, psprintf("%d%s%s%s", place, operator, constant ? " " : "", constant ? constant : ""));
	set->count++;
	return true;
}

/* The constant as the program has it */
static char *
constant_text(const Const *constant, TermKind kind)
{
	if (kind == TERM_NUMERIC)
		return DatumGetCString(DirectFunctionCall1(numeric_out, constant->constvalue));
	if (kind == TERM_TEXT)
		return TextDatumGetCString(constant->constvalue);
	return psprintf(INT64_FORMAT, integer_value(constant));
}

/* length(column) against an integer */
static bool
add_length(TermSet *set, Node *left, const Const *constant, int strategy)
{
	FuncExpr   *call = (FuncExpr *) left;
	Var		   *column;

	if (!IsA(left, FuncExpr) || constant->consttype != INT4OID ||
		(call->funcid != F_LENGTH_TEXT && call->funcid != F_CHAR_LENGTH_TEXT && call->funcid != F_CHARACTER_LENGTH_TEXT))
		return false;
	column = plain_column(linitial(call->args));
	if (column == NULL || (column->vartype != TEXTOID && column->vartype != VARCHAROID))
		return false;
	return add_term(set, column, psprintf("%c%s", TERM_LENGTH_PREFIX, term_operators[strategy]), constant_text(constant, TERM_INT32));
}

/* column operator constant, either way round */
static bool
add_comparison(TermSet *set, const OpExpr *comparison)
{
	static const int mirrored[] = {0, 5, 4, 3, 2, 1, TERM_NOT_EQUAL};
	int			strategy = comparison_strategy(comparison->opno);
	Node	   *left;
	Node	   *right;
	Var		   *column;
	TermKind	kind;

	if (strategy == 0 || list_length(comparison->args) != 2)
		return false;
	left = linitial(comparison->args);
	right = lsecond(comparison->args);
	if (IsA(left, Const))
	{
		Node	   *swap = left;

		left = right;
		right = swap;
		strategy = mirrored[strategy];
	}
	if (!IsA(right, Const) || ((Const *) right)->constisnull)
		return false;
	column = plain_column(left);
	if (column == NULL)
		return add_length(set, left, (Const *) right, strategy);
	if (!term_kind_of_type(column->vartype, &kind))
		return false;
	if (kind == TERM_TEXT)
	{
		if ((strategy != BTEqualStrategyNumber && strategy != TERM_NOT_EQUAL) || ((Const *) right)->consttype != TEXTOID ||
			!OidIsValid(comparison->inputcollid) || !get_collation_isdeterministic(comparison->inputcollid))
			return false;
	}
	else if (!types_agree(column->vartype, ((Const *) right)->consttype))
		return false;
	return add_term(set, column, term_operators[strategy], constant_text((Const *) right, kind));
}

/* One term, or an AND of them */
static bool
add_node(TermSet *set, Node *node)
{
	ListCell   *cell;

	if (node == NULL)
		return false;
	if (IsA(node, BoolExpr) && ((BoolExpr *) node)->boolop == AND_EXPR)
	{
		foreach(cell, ((BoolExpr *) node)->args)
			if (!add_node(set, lfirst(cell)))
				return false;
		return true;
	}
	if (IsA(node, NullTest) && !((NullTest *) node)->argisrow && plain_column((Node *) ((NullTest *) node)->arg) != NULL)
		return add_term(set, plain_column((Node *) ((NullTest *) node)->arg),
						((NullTest *) node)->nulltesttype == IS_NULL ? TERM_IS_NULL : TERM_IS_NOT_NULL, NULL);
	if (IsA(node, Var) && plain_column(node) != NULL && ((Var *) node)->vartype == BOOLOID)
		return add_term(set, (Var *) node, TERM_IS_TRUE, NULL);
	if (IsA(node, OpExpr))
		return add_comparison(set, (OpExpr *) node);
	return false;
}

/* See terms_pg.h. */
void
terms_add_stage(TermSet *set, const char *stage)
{
	set->program = lappend(set->program, psprintf("%c%s", PROGRAM_STAGE, stage));
}

/* See terms_pg.h. Runs are written as first-last; the same list as before begins nothing. */
void
terms_ask_of(TermSet *set, List *stages)
{
	StringInfoData text;
	int			count = list_length(stages);

	initStringInfo(&text);
	for (int i = 0, last; i < count; i = last + 1)
	{
		for (last = i; last + 1 < count && list_nth_int(stages, last + 1) == list_nth_int(stages, last) + 1;)
			last++;
		appendStringInfo(&text, "%c%d", i == 0 ? PROGRAM_ASKED_OF : ',', list_nth_int(stages, i));
		if (last > i)
			appendStringInfo(&text, "-%d", list_nth_int(stages, last));
	}
	if (set->asked_of == NULL || strcmp(set->asked_of, text.data) != 0)
		set->asked_of = text.data;
}

/* See terms_pg.h. Constant parts are folded first, as the planner would. */
bool
terms_add(TermSet *set, Node *expression)
{
	TermSet		trial = *set;

	trial.columns = list_copy(set->columns);
	trial.program = list_copy(set->program);
	if (!add_node(&trial, eval_const_expressions(NULL, copyObject(expression))))
		return false;
	*set = trial;
	return true;
}

/* The program as an array's text */
static char *
program_text(const TermSet *set)
{
	return OidOutputFunctionCall(F_ARRAY_OUT, spi_text_list(set->program).value);
}

/* See terms_pg.h. */
char *
terms_call(const TermSet *set, const char *stage, Oid relid)
{
	StringInfoData sql;
	ListCell   *cell;

	initStringInfo(&sql);
	appendStringInfo(&sql, "salesops.all_true(%s::pg_catalog.text[], %s", sql_literal(program_text(set)), stage);
	foreach(cell, set->columns)
		appendStringInfo(&sql, ", new.%s", quote_identifier(get_attname(relid, lfirst_int(cell), false)));
	appendStringInfoChar(&sql, ')');
	return sql.data;
}
