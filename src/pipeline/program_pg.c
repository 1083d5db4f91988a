/*
 * program_pg.c
 *		salesops.all_true(program, columns): many terms over a row checked in one call, those of the row's stage only.
 *
 * It answers as the server's operators would: a test compares the two over values that are hard on comparisons. NULL makes
 * a term untrue. enforce_stage_criteria() writes the programs (terms_pg.c) and nobody else should.
 *
 * A program is a text[] of elements that are told apart by how they begin; it is short, since the server reads the trigger anew
 * in each statement, byte by byte:
 *
 *	@proposal		a stage; stages are numbered from 1 in their order, and the row's stage is the first column
 *	*2-4,6			the terms that follow are asked of rows in these stages; those before the first such element, of all rows
 *	2> 0			a term: a column by its place among the arguments, from 1, an operator, a blank, a constant
 *
 * Operators are the six comparisons; # and a comparison, for a text's length; and null, set and true, without a constant. A
 * constant is numeric's text, a text, or an integer (dates and times: their internal number). A row in no stage, or in one that
 * is not listed, is asked what is asked of all rows.
 *
 * Triggers of databases that were made before have another form: three elements a term, column, operator and constant, with
 * the operators "is null", "is not null", "is true" and "length >", asked of all rows.
 *
 * A statement takes the program apart once; a stage's terms when its first row comes.
 */
#include "postgres.h"

#include "catalog/pg_enum.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/syscache.h"

#include "core/compat.h"
#include "pipeline/terms_pg.h"

PG_FUNCTION_INFO_V1(salesops_all_true);

#define OLD_STEP 3				/* elements a term, in the form of before */
#define OLD_LENGTH_PREFIX "length "
#define KEY_DIGITS 3			/* of numeric's, four decimals each */

/* Numerics in the order of their keys; where the keys are equal and digits are left over, those decide */
typedef struct NumericView
{
	int64		key;
	int			ndigits;
	const char *digits;			/* perhaps unaligned */
} NumericView;

typedef struct Term
{
	TermKind	kind;
	bool		wants_null;
	bool		same_numeric;	/* the column of the term before it */
	uint8		accept;			/* bits: 1 less, 2 equal, 4 greater */
	int			argument;
	int64		integer;
	NumericView numeric;
	const char *text;
	int			length;
} Term;

/* The terms of one stage */
typedef struct Arm
{
	const char *stage;
	int			length;
	Oid			label;			/* where stages are an enum's */
	int			number;			/* 0 for what is asked of all rows */
	int			count;
	Term	   *terms;			/* NULL until the first row comes */
} Arm;

/* How the stage column says the stage */
typedef enum StageKind
{
	STAGE_TEXT,
	STAGE_PADDED,				/* char(n): blanks at the end do not count */
	STAGE_NAME,
	STAGE_ENUM
} StageKind;

#define STAGE_ARGUMENT 1

typedef struct Program
{
	StageKind	stage_kind;
	Arm		   *arm;			/* of the row before */
	Arm			always;
	int			narms;
	Arm		   *arms;
	int			count;			/* elements */
	Datum	   *elements;
} Program;

/* ---- values ---- */

/* The bytes of a text or numeric where they lie */
static inline const char *
value_bytes(Datum value, int *size)
{
	struct varlena *data = (struct varlena *) DatumGetPointer(value);

	if (likely(VARATT_IS_SHORT(data)))
	{
		*size = VARSIZE_SHORT(data) - VARHDRSZ_SHORT;
		return VARDATA_SHORT(data);
	}
	if (unlikely(VARATT_IS_EXTENDED(data)))
		data = pg_detoast_datum(data);
	*size = VARSIZE(data) - VARHDRSZ;
	return VARDATA(data);
}

/* One of numeric's digits */
static inline int
digit(const char *digits, int i)
{
	int16		value;

	memcpy(&value, digits + i * sizeof(value), sizeof(value));
	return value;
}

/* -infinity, numbers, infinity, NaN, by the header of one of them */
static int64
special_key(uint16 header)
{
	switch (header & 0xF000)
	{
		case 0xD000:
			return PG_INT64_MAX - 1;
		case 0xF000:
			return PG_INT64_MIN;
		default:
			return PG_INT64_MAX;
	}
}

/*
 * A numeric taken apart without a copy. Its stored form is the same since 9.1, with infinities since 14: a header, the
 * weight where it is not in the header, and digits without zeros at either end. The key: sign, weight, first three digits.
 */
static inline NumericView
view_numeric(const char *data, int size)
{
	NumericView view = {0};
	uint16		header;
	int			weight;
	bool		negative;

	memcpy(&header, data, sizeof(header));
	view.digits = data + sizeof(header);
	if ((header & 0x8000) == 0)
	{
		negative = (header & 0x4000) != 0;
		weight = digit(view.digits, 0);
		view.digits += sizeof(int16);
	}
	else if (likely((header & 0x4000) == 0))
	{
		negative = (header & 0x2000) != 0;
		weight = (header & 0x003F) - (header & 0x0040);
	}
	else
	{
		view.key = special_key(header);
		return view;
	}
	view.ndigits = (size - (int) (view.digits - data)) / (int) sizeof(int16);
	if (view.ndigits == 0)
		return view;
	view.key = (int64) (weight - PG_INT16_MIN) << 14 | digit(view.digits, 0);
	view.key = view.key << 14 | (view.ndigits > 1 ? digit(view.digits, 1) : 0);
	view.key = view.key << 14 | (view.ndigits > 2 ? digit(view.digits, 2) : 0);
	if (negative)
		view.key = -view.key;
	return view;
}

/* Sign of a - b */
static inline int
compare_integer(int64 a, int64 b)
{
	return (a > b) - (a < b);
}

/* The same for numerics whose keys are equal, by the digits that are not in them */
static int
compare_digits(const NumericView *a, const NumericView *b)
{
	int			common = Min(a->ndigits, b->ndigits);
	int			sign = compare_integer(a->ndigits, b->ndigits);

	for (int i = KEY_DIGITS; i < common; i++)
		if (digit(a->digits, i) != digit(b->digits, i))
		{
			sign = compare_integer(digit(a->digits, i), digit(b->digits, i));
			break;
		}
	return a->key < 0 ? -sign : sign;
}

static inline int
compare_numeric(const NumericView *a, const NumericView *b)
{
	if (a->key == b->key && (a->ndigits > KEY_DIGITS || b->ndigits > KEY_DIGITS))
		return compare_digits(a, b);
	return compare_integer(a->key, b->key);
}

/* Characters from the first byte on that is not ASCII */
static int64
count_characters(const char *data, int size, int64 enough)
{
	int64		count = 0;

	if (GetDatabaseEncoding() != PG_UTF8)
		return pg_mbstrlen_with_len(data, size);
	for (int i = 0; i < size && count < enough; i++)
		count += ((unsigned char) data[i] & 0xC0) != 0x80;
	return count;
}

/*
 * Sign of a text's length in characters - limit. They are counted only as far as that takes. In every encoding that a
 * database can have, a byte without its high bit is a character.
 */
static inline int
compare_length(const char *data, int size, int64 limit)
{
	int			i = 0;
	uint32		four;

	for (; i + (int) sizeof(four) <= size && i <= limit; i += sizeof(four))
	{
		memcpy(&four, data + i, sizeof(four));
		if (four & 0x80808080)
			break;
	}
	while (i < size && i <= limit && (data[i] & 0x80) == 0)
		i++;
	if (i < size && i <= limit)
		return compare_integer(i + count_characters(data + i, size - i, limit - i + 1), limit);
	return compare_integer(i, limit);
}

/* ---- checking ---- */

/* Are all terms true of the row? */
static inline bool
terms_true(const Term *term, int count, const NullableDatum *row)
{
	NumericView view = {0};
	const char *data;
	int			size;
	int			sign;

	for (const Term *end = term + count; term < end; term++)
	{
		const NullableDatum *column = &row[term->argument];

		if (column->isnull != term->wants_null)
			return false;
		switch (term->kind)
		{
			case TERM_TRUE:
				sign = DatumGetBool(column->value) ? 0 : -1;
				break;
			case TERM_INT16:
				sign = compare_integer(DatumGetInt16(column->value), term->integer);
				break;
			case TERM_INT32:
				sign = compare_integer(DatumGetInt32(column->value), term->integer);
				break;
			case TERM_INT64:
				sign = compare_integer(DatumGetInt64(column->value), term->integer);
				break;
			case TERM_NUMERIC:
				if (!term->same_numeric)
				{
					data = value_bytes(column->value, &size);
					view = view_numeric(data, size);
				}
				sign = compare_numeric(&view, &term->numeric);
				break;
			case TERM_TEXT:
				data = value_bytes(column->value, &size);
				sign = size == term->length && memcmp(data, term->text, size) == 0 ? 0 : 1;
				break;
			case TERM_LENGTH:
				data = value_bytes(column->value, &size);
				sign = compare_length(data, size, term->integer);
				break;
			default:			/* TERM_NULL, TERM_NOT_NULL */
				continue;
		}
		if ((term->accept & (1 << (sign + 1))) == 0)
			return false;
	}
	return true;
}

/* Is the row in the arm's stage? */
static inline bool
arm_matches(const Arm *arm, StageKind kind, Datum stage, const char *data, int size)
{
	if (kind == STAGE_ENUM)
		return arm->label == DatumGetObjectId(stage);
	return arm->length == size && memcmp(arm->stage, data, size) == 0;
}

/* The arm of the row's stage; NULL for none */
static inline Arm *
find_arm(Program *program, Datum stage)
{
	StageKind	kind = program->stage_kind;
	const char *data = NULL;
	int			size = 0;

	if (kind == STAGE_NAME)
	{
		data = NameStr(*DatumGetName(stage));
		size = strlen(data);
	}
	else if (kind != STAGE_ENUM)
	{
		data = value_bytes(stage, &size);
		while (kind == STAGE_PADDED && size > 0 && data[size - 1] == ' ')
			size--;
	}
	if (program->arm && arm_matches(program->arm, kind, stage, data, size))
		return program->arm;
	for (int i = 0; i < program->narms; i++)
		if (arm_matches(&program->arms[i], kind, stage, data, size))
			return program->arm = &program->arms[i];
	return NULL;
}

/* ---- taking a program apart ---- */

/* What only a program that nobody but us should write can get wrong */
static void
invalid_program(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid program of salesops.all_true()"),
			 errhint("salesops.enforce_stage_criteria() writes it.")));
}

/* The bits of an operator; 0 for none */
static uint8
accepted(const char *operator)
{
	static const uint8 bits[] = {0, 1, 3, 2, 6, 4, 5};

	for (int i = 1; i <= TERM_NOT_EQUAL; i++)
		if (strcmp(term_operators[i], operator) == 0)
			return bits[i];
	return 0;
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
	else if (term->kind == TERM_TEXT)
	{
		term->text = constant;
		term->length = strlen(constant);
	}
	else
		term->integer = DatumGetInt64(DirectFunctionCall1(int8in, CStringGetDatum(constant)));
}

/* Is it the operator, or what it was called before? */
static bool
is_operator(const char *operator, const char *name, const char *old_name)
{
	return strcmp(operator, name) == 0 || strcmp(operator, old_name) == 0;
}

/* One term from its parts */
static Term
load_term(FunctionCallInfo fcinfo, int place, const char *operator, char *constant)
{
	Term		term = {.argument = place, .accept = 2};
	Oid			type;

	if (place < 1 || place >= PG_NARGS())
		invalid_program();
	type = get_fn_expr_argtype(fcinfo->flinfo, place);
	if (is_operator(operator, TERM_IS_NULL, "is null") || is_operator(operator, TERM_IS_NOT_NULL, "is not null"))
	{
		term.wants_null = is_operator(operator, TERM_IS_NULL, "is null");
		term.kind = term.wants_null ? TERM_NULL : TERM_NOT_NULL;
		return term;
	}
	if (is_operator(operator, TERM_IS_TRUE, "is true") && type == BOOLOID)
	{
		term.kind = TERM_TRUE;
		return term;
	}
	if (!term_kind_of_type(type, &term.kind))
		invalid_program();
	if (term.kind == TERM_TEXT && operator[0] == TERM_LENGTH_PREFIX)
	{
		term.kind = TERM_LENGTH;
		operator++;
	}
	else if (term.kind == TERM_TEXT && strncmp(operator, OLD_LENGTH_PREFIX, strlen(OLD_LENGTH_PREFIX)) == 0)
	{
		term.kind = TERM_LENGTH;
		operator += strlen(OLD_LENGTH_PREFIX);
	}
	term.accept = accepted(operator);
	if (term.accept == 0 || (term.kind == TERM_TEXT && term.accept != 2 && term.accept != 5))
		invalid_program();
	load_constant(&term, constant);
	return term;
}

/* One term from its element, which is taken apart */
static Term
load_element(FunctionCallInfo fcinfo, char *element)
{
	size_t		digits = strspn(element, "0123456789");
	char	   *constant = strchr(element, ' ');

	if (constant == NULL)
		return load_term(fcinfo, atoi(element), element + digits, "");
	*constant = '\0';
	return load_term(fcinfo, atoi(element), element + digits, constant + 1);
}

/* An element's first character; a blank for an empty one */
static char
element_kind(Datum element)
{
	text	   *data = DatumGetTextPP(element);

	return VARSIZE_ANY_EXHDR(data) > 0 ? *VARDATA_ANY(data) : ' ';
}

/* Is the stage among those of an element? */
static bool
asked_of(Datum element, int number)
{
	char	   *at = TextDatumGetCString(element);
	long		first;
	long		last;

	while (*at != '\0')
	{
		first = last = strtol(at + 1, &at, 10);
		if (*at == '-')
			last = strtol(at + 1, &at, 10);
		if (*at != '\0' && *at != ',')
			invalid_program();
		if (number >= first && number <= last)
			return true;
	}
	return false;
}

/* Put terms of one column together, so that a numeric is taken apart once. None can raise an error, so any order will do. */
static void
arrange_terms(Arm *arm)
{
	for (int i = 1; i < arm->count; i++)
	{
		Term		term = arm->terms[i];
		int			j = i;

		for (; j > 0 && arm->terms[j - 1].argument > term.argument; j--)
			arm->terms[j] = arm->terms[j - 1];
		arm->terms[j] = term;
	}
	for (int i = 1, last = 0; i < arm->count; i++)
	{
		arm->terms[i].same_numeric = arm->terms[i].kind == TERM_NUMERIC && arm->terms[last].kind == TERM_NUMERIC &&
			arm->terms[i].argument == arm->terms[last].argument;
		if (arm->terms[i].kind == TERM_NUMERIC)
			last = i;
	}
}

/* The terms of an arm, in the statement's memory */
static void
load_arm(FunctionCallInfo fcinfo, Program *program, Arm *arm)
{
	MemoryContext old = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
	Term	   *terms = palloc(sizeof(Term) * (program->count + 1));
	bool		asked = arm->number == 0;

	for (int i = program->narms; i < program->count; i++)
	{
		if (element_kind(program->elements[i]) == PROGRAM_ASKED_OF)
			asked = arm->number > 0 && asked_of(program->elements[i], arm->number);
		else if (asked)
			terms[arm->count++] = load_element(fcinfo, TextDatumGetCString(program->elements[i]));
	}
	arm->terms = terms;
	arrange_terms(arm);
	MemoryContextSwitchTo(old);
}

/* All terms of a program of the form of before */
static void
load_old_terms(FunctionCallInfo fcinfo, Program *program)
{
	Arm		   *arm = &program->always;

	if (program->count % OLD_STEP != 0)
		invalid_program();
	arm->terms = palloc(sizeof(Term) * (program->count / OLD_STEP));
	for (int i = 0; i < program->count; i += OLD_STEP)
		arm->terms[arm->count++] = load_term(fcinfo, atoi(TextDatumGetCString(program->elements[i])),
											 TextDatumGetCString(program->elements[i + 1]), TextDatumGetCString(program->elements[i + 2]));
}

/* How the stage is said by a column of the type */
static StageKind
stage_kind(Oid type)
{
	switch (type)
	{
		case TEXTOID:
		case VARCHAROID:
			return STAGE_TEXT;
		case BPCHAROID:
			return STAGE_PADDED;
		case NAMEOID:
			return STAGE_NAME;
		default:
			if (!type_is_enum(type))
				invalid_program();
			return STAGE_ENUM;
	}
}

/* The stages, which come first */
static void
load_stages(FunctionCallInfo fcinfo, Program *program)
{
	Oid			type;

	while (program->narms < program->count && element_kind(program->elements[program->narms]) == PROGRAM_STAGE)
		program->narms++;
	if (program->narms == 0)
		return;
	if (PG_NARGS() <= STAGE_ARGUMENT)
		invalid_program();
	type = getBaseType(get_fn_expr_argtype(fcinfo->flinfo, STAGE_ARGUMENT));
	program->stage_kind = stage_kind(type);
	program->arms = palloc0(sizeof(Arm) * program->narms);
	for (int i = 0; i < program->narms; i++)
	{
		text	   *element = DatumGetTextPP(program->elements[i]);
		Arm		   *arm = &program->arms[i];

		arm->number = i + 1;
		arm->stage = VARDATA_ANY(element) + 1;
		arm->length = VARSIZE_ANY_EXHDR(element) - 1;
		while (program->stage_kind == STAGE_PADDED && arm->length > 0 && arm->stage[arm->length - 1] == ' ')
			arm->length--;
		if (program->stage_kind == STAGE_ENUM && arm->length < NAMEDATALEN)
			arm->label = GetSysCacheOid2(ENUMTYPOIDNAME, Anum_pg_enum_oid, ObjectIdGetDatum(type),
										 CStringGetDatum(pnstrdup(arm->stage, arm->length)));
	}
}

/* Is it a program of the form of before? Its first element is a column's place and nothing else. */
static bool
is_old_program(const Program *program)
{
	text	   *first = program->count > 0 ? DatumGetTextPP(program->elements[0]) : NULL;
	int			length = first ? VARSIZE_ANY_EXHDR(first) : 0;

	for (int i = 0; i < length; i++)
		if (VARDATA_ANY(first)[i] < '0' || VARDATA_ANY(first)[i] > '9')
			return false;
	return length > 0;
}

/* The program, once for each statement that calls it */
static Program *
load_program(FunctionCallInfo fcinfo)
{
	MemoryContext old = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
	Program    *program = palloc0(sizeof(Program));
	bool	   *nulls;

	if (PG_ARGISNULL(0))
		invalid_program();
	deconstruct_array(PG_GETARG_ARRAYTYPE_P_COPY(0), TEXTOID, -1, false, TYPALIGN_INT, &program->elements, &nulls, &program->count);
	for (int i = 0; i < program->count; i++)
		if (nulls[i])
			invalid_program();
	if (is_old_program(program))
		load_old_terms(fcinfo, program);
	else
	{
		load_stages(fcinfo, program);
		load_arm(fcinfo, program, &program->always);
	}
	if (get_fn_expr_arg_stable(fcinfo->flinfo, 0))
		fcinfo->flinfo->fn_extra = program;
	MemoryContextSwitchTo(old);
	return program;
}

/* all_true(program text[], VARIADIC columns "any") -> boolean: are all terms true? NULL in a column is not */
Datum
salesops_all_true(PG_FUNCTION_ARGS)
{
	Program    *program = fcinfo->flinfo->fn_extra;
	const NullableDatum *stage;
	Arm		   *arm;

	if (unlikely(program == NULL))
		program = load_program(fcinfo);
	if (program->always.count > 0 && !terms_true(program->always.terms, program->always.count, fcinfo->args))
		PG_RETURN_BOOL(false);
	if (program->narms == 0)
		PG_RETURN_BOOL(true);
	stage = &fcinfo->args[STAGE_ARGUMENT];
	if (stage->isnull)
		PG_RETURN_BOOL(true);
	arm = find_arm(program, stage->value);
	if (arm == NULL)
		PG_RETURN_BOOL(true);
	if (unlikely(arm->terms == NULL))
		load_arm(fcinfo, program, arm);
	PG_RETURN_BOOL(terms_true(arm->terms, arm->count, fcinfo->args));
}
