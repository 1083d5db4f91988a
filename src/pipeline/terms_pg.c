/*
 * terms_pg.c
 *		The terms that most criteria are made of, checked many at a time without the cost of a function call each.
 *
 * "amount > 0", "close_date IS NOT NULL", "owner <> ''", "length(next_step) > 3": a column against a constant. The server
 * calls a function for each, and numeric's copies its argument first. salesops.all_true(program, columns) takes the row's
 * columns and answers whether all terms are true, with the same answers as the server's operators: a test compares the two
 * over values that are hard on comparisons. Anything that is not in this small language is left to the server.
 *
 * A program is a text[] of three elements a term: the place of the column among the arguments, from 1; the operator; the
 * constant, as numeric's text, as a text, or as an integer (also for dates and times: their internal number).
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "access/stratnum.h"
#include "access/transam.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "core/compat.h"
#include "core/relation.h"
#include "pipeline/terms_pg.h"

PG_FUNCTION_INFO_V1(salesops_all_true);

#define TERM_NOT_EQUAL 6		/* beside the btree strategies 1 to 5 */
#define LENGTH_PREFIX "length "

static const char *const operators[] = {NULL, "<", "<=", "=", ">=", ">", "<>"};

typedef enum TermKind
{
	TERM_NULL,
	TERM_NOT_NULL,
	TERM_TRUE,
	TERM_INTEGER,
	TERM_NUMERIC,
	TERM_TEXT,
	TERM_LENGTH
} TermKind;

/* ---- recognising ---- */

/* How the values of a type are compared here; false for a type that is not. Dates and times are integers inside. */
static bool
kind_of_type(Oid type, TermKind *kind)
{
	switch (type)
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case DATEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			*kind = TERM_INTEGER;
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
integer_value(Datum value, Oid type)
{
	switch (type)
	{
		case INT2OID:
			return DatumGetInt16(value);
		case INT4OID:
		case DATEOID:
			return DatumGetInt32(value);
		default:
			return DatumGetInt64(value);
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

/* Add one term. */
static bool
add_term(TermSet *set, const Var *column, const char *operator, const char *constant)
{
	int			place = 0;
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
	set->program = lappend(set->program, psprintf("%d", place));
	set->program = lappend(set->program, pstrdup(operator));
	set->program = lappend(set->program, pstrdup(constant));
	set->count++;
	return true;
}

/* The constant as the program has it */
static char *
constant_text(const Const *constant, TermKind kind)
{
	if (kind == TERM_INTEGER)
		return psprintf(INT64_FORMAT, integer_value(constant->constvalue, constant->consttype));
	if (kind == TERM_NUMERIC)
		return DatumGetCString(DirectFunctionCall1(numeric_out, constant->constvalue));
	return TextDatumGetCString(constant->constvalue);
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
	return add_term(set, column, psprintf(LENGTH_PREFIX "%s", operators[strategy]), constant_text(constant, TERM_INTEGER));
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
	if (!kind_of_type(column->vartype, &kind))
		return false;
	if (kind == TERM_TEXT)
	{
		if ((strategy != BTEqualStrategyNumber && strategy != TERM_NOT_EQUAL) || ((Const *) right)->consttype != TEXTOID ||
			!OidIsValid(comparison->inputcollid) || !get_collation_isdeterministic(comparison->inputcollid))
			return false;
	}
	else if (!types_agree(column->vartype, ((Const *) right)->consttype))
		return false;
	return add_term(set, column, operators[strategy], constant_text((Const *) right, kind));
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
						((NullTest *) node)->nulltesttype == IS_NULL ? "is null" : "is not null", "");
	if (IsA(node, Var) && plain_column(node) != NULL && ((Var *) node)->vartype == BOOLOID)
		return add_term(set, (Var *) node, "is true", "");
	if (IsA(node, OpExpr))
		return add_comparison(set, (OpExpr *) node);
	return false;
}

/* See terms_pg.h. Constant parts are folded first, as the planner would. */
bool
terms_add(TermSet *set, Node *expression)
{
	TermSet		trial = {list_copy(set->columns), list_copy(set->program), set->count};

	if (!add_node(&trial, eval_const_expressions(NULL, copyObject(expression))))
		return false;
	*set = trial;
	return true;
}

/* The program as an array's text */
static char *
program_text(const TermSet *set)
{
	Datum	   *elements = palloc(sizeof(Datum) * list_length(set->program));
	int			count = 0;
	ListCell   *cell;

	foreach(cell, set->program)
		elements[count++] = CStringGetTextDatum(lfirst(cell));
	return OidOutputFunctionCall(F_ARRAY_OUT, PointerGetDatum(construct_array(elements, count, TEXTOID, -1, false, TYPALIGN_INT)));
}

/* See terms_pg.h. */
char *
terms_call(const TermSet *set, Oid relid)
{
	StringInfoData sql;
	ListCell   *cell;

	initStringInfo(&sql);
	appendStringInfo(&sql, "salesops.all_true(%s::pg_catalog.text[]", sql_literal(program_text(set)));
	foreach(cell, set->columns)
		appendStringInfo(&sql, ", new.%s", quote_identifier(get_attname(relid, lfirst_int(cell), false)));
	appendStringInfoChar(&sql, ')');
	return sql.data;
}

/* ---- checking ---- */

/* A numeric taken apart where it lies; the digits may be unaligned */
typedef struct NumericView
{
	int			class;			/* -2 -infinity, -1 negative, 0 zero, 1 positive, 2 infinity, 3 NaN: in numeric's order */
	int			weight;
	int			ndigits;
	const char *digits;
} NumericView;

typedef struct Term
{
	int			argument;
	TermKind	kind;
	Oid			type;
	uint8		accept;			/* bits: 1 less, 2 equal, 4 greater */
	int64		integer;
	NumericView numeric;
	const char *text;
	int			length;
} Term;

typedef struct Program
{
	int			count;
	Term		terms[FLEXIBLE_ARRAY_MEMBER];
} Program;

/* The parts of numeric's stored form (the same since 9.1, infinities since 14), without a copy */
static NumericView
view_numeric(const char *data, int size)
{
	NumericView view = {0};
	uint16		header;
	int			offset = sizeof(uint16);
	bool		negative;

	memcpy(&header, data, sizeof(header));
	if ((header & 0xC000) == 0xC000)
	{
		view.class = (header & 0xF000) == 0xD000 ? 2 : (header & 0xF000) == 0xF000 ? -2 : 3;
		return view;
	}
	if (header & 0x8000)
	{
		negative = (header & 0x2000) != 0;
		view.weight = (header & 0x003F) - ((header & 0x0040) ? 64 : 0);
	}
	else
	{
		int16		weight;

		negative = (header & 0xC000) == 0x4000;
		memcpy(&weight, data + offset, sizeof(weight));
		view.weight = weight;
		offset += sizeof(weight);
	}
	view.ndigits = (size - offset) / (int) sizeof(int16);
	view.digits = data + offset;
	view.class = view.ndigits == 0 ? 0 : negative ? -1 : 1;
	return view;
}

/* Order of the absolute values of two numerics that are neither zero nor special. Digits are stored without zeros at either end. */
static int
compare_digits(const NumericView *a, const NumericView *b)
{
	int			common = Min(a->ndigits, b->ndigits);

	if (a->weight != b->weight)
		return a->weight < b->weight ? -1 : 1;
	for (int i = 0; i < common; i++)
	{
		int16		x;
		int16		y;

		memcpy(&x, a->digits + i * sizeof(int16), sizeof(x));
		memcpy(&y, b->digits + i * sizeof(int16), sizeof(y));
		if (x != y)
			return x < y ? -1 : 1;
	}
	return (a->ndigits > b->ndigits) - (a->ndigits < b->ndigits);
}

/* numeric's order: -infinity, numbers, infinity, NaN; NaN equals itself */
static int
compare_numeric(const NumericView *a, const NumericView *b)
{
	if (a->class != b->class)
		return a->class < b->class ? -1 : 1;
	if (a->class == 1)
		return compare_digits(a, b);
	return a->class == -1 ? compare_digits(b, a) : 0;
}

/* Characters of a text in the server's encoding */
static int
character_length(const char *data, int size)
{
	int			count = 0;

	if (pg_database_encoding_max_length() == 1)
		return size;
	if (GetDatabaseEncoding() != PG_UTF8)
		return pg_mbstrlen_with_len(data, size);
	for (int i = 0; i < size; i++)
		count += ((unsigned char) data[i] & 0xC0) != 0x80;
	return count;
}

/* Sign of the column's value against the term's constant */
static int
compare_value(const Term *term, Datum value)
{
	struct varlena *data;
	int			size;

	if (term->kind == TERM_INTEGER)
	{
		int64		integer = integer_value(value, term->type);

		return (integer > term->integer) - (integer < term->integer);
	}
	data = pg_detoast_datum_packed((struct varlena *) DatumGetPointer(value));
	size = VARSIZE_ANY_EXHDR(data);
	if (term->kind == TERM_NUMERIC)
	{
		NumericView view = view_numeric(VARDATA_ANY(data), size);

		return compare_numeric(&view, &term->numeric);
	}
	if (term->kind == TERM_LENGTH)
	{
		int			length = character_length(VARDATA_ANY(data), size);

		return (length > term->integer) - (length < term->integer);
	}
	return size == term->length && memcmp(VARDATA_ANY(data), term->text, size) == 0 ? 0 : 1;
}

/* Is the term true of the value? */
static bool
term_is_true(const Term *term, const NullableDatum *value)
{
	if (term->kind == TERM_NULL || term->kind == TERM_NOT_NULL)
		return value->isnull == (term->kind == TERM_NULL);
	if (value->isnull)
		return false;
	if (term->kind == TERM_TRUE)
		return DatumGetBool(value->value);
	return (term->accept & (1 << (compare_value(term, value->value) + 1))) != 0;
}

/* The bits of an operator; 0 for none */
static uint8
accepted(const char *operator)
{
	static const uint8 bits[] = {0, 1, 3, 2, 6, 4, 5};

	for (int i = 1; i <= TERM_NOT_EQUAL; i++)
		if (strcmp(operators[i], operator) == 0)
			return bits[i];
	return 0;
}

/* What only a program that nobody but us should write can get wrong */
static void
invalid_program(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid program of salesops.all_true()"),
			 errhint("salesops.enforce_stage_criteria() writes it.")));
}

/* The constant of a term, in the form that it is compared in */
static void
load_constant(Term *term, char *constant)
{
	Numeric		number;

	if (term->kind == TERM_NUMERIC)
	{
		number = DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(constant), ObjectIdGetDatum(InvalidOid),
													 Int32GetDatum(-1)));
		term->numeric = view_numeric(VARDATA_ANY(number), VARSIZE_ANY_EXHDR(number));
	}
	else if (term->kind == TERM_INTEGER || term->kind == TERM_LENGTH)
		term->integer = DatumGetInt64(DirectFunctionCall1(int8in, CStringGetDatum(constant)));
	else
	{
		term->text = constant;
		term->length = strlen(constant);
	}
}

/* One term from its three texts */
static Term
load_term(FmgrInfo *function, int nargs, char *place, const char *operator, char *constant)
{
	Term		term = {.argument = atoi(place)};

	if (term.argument < 1 || term.argument >= nargs)
		invalid_program();
	term.type = get_fn_expr_argtype(function, term.argument);
	if (strcmp(operator, "is null") == 0 || strcmp(operator, "is not null") == 0)
	{
		term.kind = operator[3] == 'n' && operator[4] == 'u' ? TERM_NULL : TERM_NOT_NULL;
		return term;
	}
	if (strcmp(operator, "is true") == 0 && term.type == BOOLOID)
	{
		term.kind = TERM_TRUE;
		return term;
	}
	if (!kind_of_type(term.type, &term.kind))
		invalid_program();
	if (strncmp(operator, LENGTH_PREFIX, strlen(LENGTH_PREFIX)) == 0 && term.kind == TERM_TEXT)
	{
		term.kind = TERM_LENGTH;
		operator += strlen(LENGTH_PREFIX);
	}
	term.accept = accepted(operator);
	if (term.accept == 0 || (term.kind == TERM_TEXT && term.accept != 2 && term.accept != 5))
		invalid_program();
	load_constant(&term, constant);
	return term;
}

/* The program, once for each statement that calls it */
static Program *
load_program(FunctionCallInfo fcinfo)
{
	FmgrInfo   *function = fcinfo->flinfo;
	MemoryContext old = MemoryContextSwitchTo(function->fn_mcxt);
	Datum	   *elements;
	bool	   *nulls;
	int			count;
	Program    *program;

	if (PG_ARGISNULL(0))
		invalid_program();
	deconstruct_array(PG_GETARG_ARRAYTYPE_P_COPY(0), TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
	for (int i = 0; i < count; i++)
		if (nulls[i])
			invalid_program();
	if (count % 3 != 0)
		invalid_program();
	program = palloc0(offsetof(Program, terms) + sizeof(Term) * (count / 3));
	for (int i = 0; i < count; i += 3)
		program->terms[program->count++] = load_term(function, PG_NARGS(), TextDatumGetCString(elements[i]),
													 TextDatumGetCString(elements[i + 1]), TextDatumGetCString(elements[i + 2]));
	if (get_fn_expr_arg_stable(function, 0))
		function->fn_extra = program;
	MemoryContextSwitchTo(old);
	return program;
}

/* all_true(program text[], VARIADIC columns "any") -> boolean: are all terms true? NULL in a column is not */
Datum
salesops_all_true(PG_FUNCTION_ARGS)
{
	Program    *program = fcinfo->flinfo->fn_extra;

	if (program == NULL)
		program = load_program(fcinfo);
	for (int i = 0; i < program->count; i++)
		if (!term_is_true(&program->terms[i], &fcinfo->args[program->terms[i].argument]))
			PG_RETURN_BOOL(false);
	PG_RETURN_BOOL(true);
}
