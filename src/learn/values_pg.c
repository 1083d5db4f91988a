/*
 * values_pg.c
 *		Reads single SQL values for features (values_pg.h). It knows types, not models.
 */
#include "postgres.h"

#include <ctype.h>
#include <math.h>

#include "access/htup_details.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "datatype/timestamp.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/cash.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/formatting.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "core/compat.h"
#include "core/errors.h"
#include "core/numeric.h"
#include "learn/values_pg.h"

/* Is a type the extension citext's, wherever that is installed? */
static bool
is_citext(Oid type)
{
	HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
	bool		found = false;

	if (HeapTupleIsValid(tuple))
	{
		Form_pg_type form = (Form_pg_type) GETSTRUCT(tuple);

		found = strcmp(NameStr(form->typname), "citext") == 0 && form->typlen == -1 &&
			form->typcategory == TYPCATEGORY_STRING;
		ReleaseSysCache(tuple);
	}
	return found;
}

/* Class of a type that is no array. */
static ValueClass
class_of_type(Oid type, int *width)
{
	switch (type)
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
			*width = type == INT2OID ? 2 : type == INT4OID ? 4 : 8;
			return VALUE_INTEGER;
		case FLOAT4OID:
		case FLOAT8OID:
			*width = type == FLOAT4OID ? 4 : 8;
			return VALUE_FLOAT;
		case NUMERICOID:
			return VALUE_NUMERIC;
		case BOOLOID:
			return VALUE_BOOLEAN;
		case DATEOID:
			return VALUE_DATE;
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return VALUE_TIMESTAMP;
		case INTERVALOID:
			return VALUE_INTERVAL;
		case TIMEOID:
		case TIMETZOID:
			return VALUE_TIME;
		case CASHOID:
			return VALUE_MONEY;
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
			return VALUE_TEXT;
		case NAMEOID:
		case CHAROID:
		case UUIDOID:
		case INETOID:
		case CIDROID:
			return VALUE_PRINTED;
		default:
			/* enums, and types that behave like text */
			if (get_typtype(type) == TYPTYPE_ENUM)
				return VALUE_PRINTED;
			if (is_citext(type))
				return VALUE_TEXT;
			{
				char		category;
				bool		preferred;

				get_type_category_preferred(type, &category, &preferred);
				return category == TYPCATEGORY_STRING ? VALUE_PRINTED : VALUE_NONE;
			}
	}
}

/* See values_pg.h. */
StoredNumber
stored_number(Oid type)
{
	switch (type)
	{
		case FLOAT8OID:
			return STORED_FLOAT8;
		case FLOAT4OID:
			return STORED_FLOAT4;
		case INT2OID:
			return STORED_INT2;
		case INT4OID:
			return STORED_INT4;
		case INT8OID:
			return STORED_INT8;
		default:
			return STORED_OTHERWISE;
	}
}

/* See values_pg.h. */
ValueReader
value_reader(Oid type, const char *name)
{
	ValueReader reader = {.name = pstrdup(name)};
	bool		varlena;
	int			width = 0;

	reader.type = getBaseType(type);
	reader.element = get_element_type(reader.type);
	if (OidIsValid(reader.element))
	{
		ValueClass	element = class_of_type(getBaseType(reader.element), &width);

		reader.folded = is_citext(getBaseType(reader.element));
		if (element == VALUE_TEXT || element == VALUE_PRINTED || element == VALUE_INTEGER)
			reader.value_class = VALUE_ARRAY;
		get_typlenbyvalalign(reader.element, &reader.element_length, &reader.element_by_value, &reader.element_align);
		getTypeOutputInfo(reader.element, &reader.output, &varlena);
		return reader;
	}
	reader.value_class = class_of_type(reader.type, &reader.width);
	reader.folded = reader.value_class == VALUE_TEXT && is_citext(reader.type);
	if (reader.value_class != VALUE_TEXT)
		getTypeOutputInfo(reader.type, &reader.output, &varlena);
	return reader;
}

/* Optional sign, digits, point, exponent; nothing else, so no "inf", "nan" or hexadecimal. */
bool
parse_number(const char *text, size_t length, double *number)
{
	char		copy[64];
	char	   *end;
	bool		digit = false;

	if (length == 0 || length >= sizeof copy)
		return false;
	for (size_t i = 0; i < length; i++)
	{
		if (isdigit((unsigned char) text[i]))
			digit = true;
		else if (strchr("+-.eE", text[i]) == NULL)
			return false;
	}
	memcpy(copy, text, length);
	copy[length] = '\0';
	*number = strtod(copy, &end);
	return digit && *end == '\0' && isfinite(*number);
}

/* YYYY-MM-DD, then perhaps a blank or T and a time; zones are left alone. */
bool
parse_date(const char *text, size_t length, double *days)
{
	char		copy[64];
	int			year;
	int			month;
	int			day;
	int			hour = 0;
	int			minute = 0;
	double		second = 0;
	int			used = 0;

	if (length < 10 || length >= sizeof copy || !isdigit((unsigned char) text[0]) || text[4] != '-' || text[7] != '-')
		return false;
	memcpy(copy, text, length);
	copy[length] = '\0';
	if (sscanf(copy, "%4d-%2d-%2d%n", &year, &month, &day, &used) != 3 || used != 10)
		return false;
	if (month < 1 || month > 12 || day < 1 || day > 31)
		return false;
	if (length > 10 && copy[10] != ' ' && copy[10] != 'T')
		return false;
	if (length > 10 && sscanf(copy + 11, "%2d:%2d:%lf", &hour, &minute, &second) < 2)
		return false;
	*days = date2j(year, month, day) - POSTGRES_EPOCH_JDATE + (hour + (minute + second / 60.0) / 60.0) / 24.0;
	return true;
}

/* Text of a value, blanks cut. */
const char *
value_text(const ValueReader *reader, Datum value, size_t *length)
{
	const char *text;

	if (reader->value_class == VALUE_TEXT)
	{
		struct varlena *packed = PG_DETOAST_DATUM_PACKED(value);

		text = VARDATA_ANY(packed);
		*length = VARSIZE_ANY_EXHDR(packed);
	}
	else if (reader->value_class == VALUE_BOOLEAN)
	{
		text = DatumGetBool(value) ? "true" : "false";
		*length = strlen(text);
	}
	else
	{
		text = OidOutputFunctionCall(reader->output, value);
		*length = strlen(text);
	}
	while (*length > 0 && (*text == ' ' || *text == '\t'))
	{
		text++;
		(*length)--;
	}
	while (*length > 0 && (text[*length - 1] == ' ' || text[*length - 1] == '\t'))
		(*length)--;
	return text;
}

/* See values_pg.h. */
const char *
level_text(const ValueReader *reader, Datum value, bool folded, size_t *length)
{
	const char *text;

	if (reader->value_class == VALUE_ARRAY)
	{
		text = OidOutputFunctionCall(reader->output, value);
		*length = strlen(text);
	}
	else
		text = value_text(reader, value, length);
	if (folded && *length > 0)
	{
		text = str_tolower(text, *length, DEFAULT_COLLATION_OID);
		*length = strlen(text);
	}
	return text;
}

/* A text that should be a number or a date. */
static double
number_of_text(const ValueReader *reader, Datum value, bool as_date)
{
	size_t		length;
	const char *text = value_text(reader, value, &length);
	double		number;

	if (length == 0)
		return NAN;
	if (as_date ? parse_date(text, length, &number) : parse_number(text, length, &number))
		return number;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("\"%s\" in column \"%s\" is not a %s", pnstrdup(text, Min(length, 80)), reader->name, as_date ? "date" : "number"),
			 errdetail("The model was trained on %s in this column.", as_date ? "dates" : "numbers")));
	return 0;
}

/* A numeric: as it lies, or by the server. */
static double
number_of_numeric(Datum value)
{
	const struct varlena *stored = (const struct varlena *) DatumGetPointer(value);
	double		number;

	if (!VARATT_IS_EXTERNAL(stored) && !VARATT_IS_COMPRESSED(stored) && numeric_to_double(stored, &number))
		return number;
	return DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, value));
}

/* A number as it is stored. */
static double
plain_number(const ValueReader *reader, Datum value)
{
	switch (reader->value_class)
	{
		case VALUE_INTEGER:
			return reader->width == 2 ? DatumGetInt16(value) : reader->width == 4 ? DatumGetInt32(value) :
				(double) DatumGetInt64(value);
		case VALUE_FLOAT:
			return reader->width == 4 ? DatumGetFloat4(value) : DatumGetFloat8(value);
		case VALUE_NUMERIC:
			return number_of_numeric(value);
		case VALUE_BOOLEAN:
			return DatumGetBool(value);
		case VALUE_DATE:
			return DATE_NOT_FINITE(DatumGetDateADT(value)) ? INFINITY : DatumGetDateADT(value);
		case VALUE_TIMESTAMP:
			return TIMESTAMP_NOT_FINITE(DatumGetTimestamp(value)) ? INFINITY :
				(double) DatumGetTimestamp(value) / USECS_PER_DAY;
		case VALUE_INTERVAL:
			{
				Interval   *interval = DatumGetIntervalP(value);

				return (double) interval->time / USECS_PER_DAY + interval->day + 30.0 * interval->month;
			}
		case VALUE_TIME:
			return (double) (reader->type == TIMEOID ? DatumGetTimeADT(value) : DatumGetTimeTzADTP(value)->time) / USECS_PER_DAY;
		case VALUE_MONEY:
			return DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, DirectFunctionCall1(cash_numeric, value)));
		default:
			elog(ERROR, "unexpected class of value %d", reader->value_class);
			return 0;
	}
}

/* See values_pg.h. */
double
value_number(const ValueReader *reader, Datum value, bool as_date)
{
	double		number;

	if (reader->value_class == VALUE_TEXT || reader->value_class == VALUE_PRINTED)
		return number_of_text(reader, value, as_date);
	number = plain_number(reader, value);
	if (!isfinite(number))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("column \"%s\" holds a value that is not finite", reader->name),
				 errhint("Use NULL for what is not known.")));
	return number;
}
