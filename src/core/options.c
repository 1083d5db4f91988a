/*
 * options.c
 *		jsonb options into a C struct (options.h): the one parser of options.
 */
#include "postgres.h"

#include <math.h>

#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "core/options.h"

/* A scalar or container JsonbValue as a Jsonb of its own. */
static Jsonb *
value_to_jsonb(JsonbValue *value)
{
	return JsonbValueToJsonb(value);
}

/* Text of a string value. */
static char *
string_of(const JsonbValue *value)
{
	return pnstrdup(value->val.string.val, value->val.string.len);
}

/* A number as float8; callers have checked the type. */
static double
number_of(const JsonbValue *value)
{
	return DatumGetFloat8(DirectFunctionCall1(numeric_float8, NumericGetDatum(value->val.numeric)));
}

/* What a value should have been, for the message. */
static const char *
kind_name(OptionKind kind)
{
	switch (kind)
	{
		case OPTION_BOOLEAN:
			return "true or false";
		case OPTION_INTEGER:
			return "an integer";
		case OPTION_FLOAT:
		case OPTION_NUMERIC:
			return "a number";
		case OPTION_TEXT:
		case OPTION_CHOICE:
			return "a string";
		case OPTION_INTERVAL:
			return "an interval in a string";
		case OPTION_DATE:
			return "a date in a string";
		case OPTION_TEXT_LIST:
			return "a list of strings";
		case OPTION_FLOAT_LIST:
			return "a list of numbers";
		case OPTION_OBJECT:
			return "an object";
		case OPTION_ARRAY:
			return "a list";
	}
	return "something else";
}

/* The JSON type that a kind is written as. */
static bool
json_type_fits(OptionKind kind, const JsonbValue *value)
{
	switch (kind)
	{
		case OPTION_BOOLEAN:
			return value->type == jbvBool;
		case OPTION_INTEGER:
		case OPTION_FLOAT:
		case OPTION_NUMERIC:
			return value->type == jbvNumeric;
		case OPTION_TEXT:
		case OPTION_CHOICE:
		case OPTION_INTERVAL:
		case OPTION_DATE:
			return value->type == jbvString;
		case OPTION_TEXT_LIST:
			return value->type == jbvString ||
				(value->type == jbvBinary && JsonContainerIsArray(value->val.binary.data));
		case OPTION_FLOAT_LIST:
		case OPTION_ARRAY:
			return value->type == jbvBinary && JsonContainerIsArray(value->val.binary.data);
		case OPTION_OBJECT:
			return value->type == jbvBinary && JsonContainerIsObject(value->val.binary.data);
	}
	return false;
}

/* Numbers: finite, within bounds, whole where an integer is wanted. */
static bool
number_in_bounds(const OptionSpec *spec, const JsonbValue *value, Problems *problems, const char *where)
{
	double		number;

	if (numeric_is_nan(value->val.numeric) || numeric_is_inf(value->val.numeric))
	{
		problems_add(problems, "%s: \"%s\" must be a finite number", where, spec->name);
		return false;
	}
	number = number_of(value);
	if (spec->kind == OPTION_INTEGER && (number != floor(number) || fabs(number) > PG_INT32_MAX))
	{
		problems_add(problems, "%s: \"%s\" must be an integer, not %g", where, spec->name, number);
		return false;
	}
	if ((spec->min != 0 || spec->max != 0) && (number < spec->min || number > spec->max))
	{
		problems_add(problems, "%s: \"%s\" must be between %g and %g, not %g",
					 where, spec->name, spec->min, spec->max, number);
		return false;
	}
	return true;
}

/* Index of a choice, or -1 with a problem that lists them. */
static int
choice_index(const OptionSpec *spec, const char *text, Problems *problems, const char *where)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; spec->choices[i] != NULL; i++)
	{
		if (strcmp(spec->choices[i], text) == 0)
			return i;
		append_choice(&list, spec->choices[i]);
	}
	problems_add(problems, "%s: \"%s\" must be one of %s, not \"%s\"", where, spec->name, list.data, text);
	return -1;
}

/* Run a type's input on the text; a bad value becomes a problem instead of an error. */
static bool
input_datum(PGFunction input, const char *text, Datum *result)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool good = true;

	PG_TRY();
	{
		*result = DirectFunctionCall3(input, CStringGetDatum(text), ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	}
	PG_CATCH();
	{
		/* date and interval input touch no shared state, so the error can be dropped */
		MemoryContextSwitchTo(context);
		FlushErrorState();
		good = false;
	}
	PG_END_TRY();
	return good;
}

/* Elements of a list of strings or numbers; a single string is a list of one. */
static List *
list_of(const OptionSpec *spec, JsonbValue *value, Problems *problems, const char *where)
{
	List	   *result = NIL;
	JsonbIterator *iterator;
	JsonbValue	element;
	JsonbIteratorToken token;

	if (value->type == jbvString)
		return list_make1(string_of(value));
	iterator = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &element, true)) != WJB_DONE)
	{
		if (token != WJB_ELEM)
			continue;
		if (spec->kind == OPTION_TEXT_LIST && element.type == jbvString)
			result = lappend(result, string_of(&element));
		else if (spec->kind == OPTION_FLOAT_LIST && element.type == jbvNumeric)
		{
			double	   *number = palloc(sizeof(double));

			if (!number_in_bounds(spec, &element, problems, where))
				return NIL;
			*number = number_of(&element);
			result = lappend(result, number);
		}
		else
		{
			problems_add(problems, "%s: \"%s\" must be %s", where, spec->name, kind_name(spec->kind));
			return NIL;
		}
	}
	return result;
}

/* Dates and intervals, by the server's own input. */
static void
store_time(const OptionSpec *spec, const JsonbValue *value, char *field, Problems *problems, const char *where)
{
	Datum		result;
	char	   *text = string_of(value);

	if (!input_datum(spec->kind == OPTION_DATE ? date_in : interval_in, text, &result))
		problems_add(problems, "%s: \"%s\" must be %s, not \"%s\"", where, spec->name, kind_name(spec->kind), text);
	else if (spec->kind == OPTION_INTERVAL)
		*(Interval **) field = DatumGetIntervalP(result);
	else
	{
		DateADT    *date = palloc(sizeof(DateADT));

		*date = DatumGetDateADT(result);
		*(DateADT **) field = date;
	}
}

/* One checked value into its field. */
static void
store_value(const OptionSpec *spec, JsonbValue *value, char *field, Problems *problems, const char *where)
{
	int			index;

	switch (spec->kind)
	{
		case OPTION_BOOLEAN:
			*(bool *) field = value->val.boolean;
			break;
		case OPTION_INTEGER:
			if (number_in_bounds(spec, value, problems, where))
				*(int32 *) field = (int32) number_of(value);
			break;
		case OPTION_FLOAT:
			if (number_in_bounds(spec, value, problems, where))
				*(double *) field = number_of(value);
			break;
		case OPTION_NUMERIC:
			if (number_in_bounds(spec, value, problems, where))
				*(Numeric *) field = DatumGetNumericCopy(NumericGetDatum(value->val.numeric));
			break;
		case OPTION_TEXT:
			*(char **) field = string_of(value);
			break;
		case OPTION_CHOICE:
			index = choice_index(spec, string_of(value), problems, where);
			if (index >= 0)
				*(int *) field = index;
			break;
		case OPTION_INTERVAL:
		case OPTION_DATE:
			store_time(spec, value, field, problems, where);
			break;
		case OPTION_TEXT_LIST:
		case OPTION_FLOAT_LIST:
			*(List **) field = list_of(spec, value, problems, where);
			break;
		case OPTION_OBJECT:
		case OPTION_ARRAY:
			*(Jsonb **) field = value_to_jsonb(value);
			break;
	}
}

/* The spec of a key, or NULL with a problem that lists the keys allowed. */
static const OptionSpec *
find_spec(const char *key, const OptionSpec *specs, int nspecs, Problems *problems, const char *where)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < nspecs; i++)
	{
		if (strcmp(specs[i].name, key) == 0)
			return &specs[i];
		append_choice(&list, specs[i].name);
	}
	problems_add(problems, "%s: \"%s\" is not known; allowed: %s", where, key, list.data);
	return NULL;
}

/* Parse an object into the target struct; see options.h. */
void
options_parse(Jsonb *json, const OptionSpec *specs, int nspecs, void *target, Problems *problems, const char *where)
{
	JsonbIterator *iterator;
	JsonbValue	value;
	JsonbIteratorToken token;
	const OptionSpec *spec = NULL;
	bool	   *seen = palloc0(sizeof(bool) * Max(nspecs, 1));

	if (json != NULL && !JB_ROOT_IS_OBJECT(json))
	{
		problems_add(problems, "%s must be a JSON object", where);
		return;
	}
	iterator = json ? JsonbIteratorInit(&json->root) : NULL;
	while (iterator && (token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			spec = find_spec(string_of(&value), specs, nspecs, problems, where);
		else if (token == WJB_VALUE && spec != NULL && value.type != jbvNull)
		{
			seen[spec - specs] = true;
			if (json_type_fits(spec->kind, &value))
				store_value(spec, &value, (char *) target + spec->offset, problems, where);
			else
				problems_add(problems, "%s: \"%s\" must be %s", where, spec->name, kind_name(spec->kind));
		}
	}
	for (int i = 0; i < nspecs; i++)
		if (specs[i].required && !seen[i])
			problems_add(problems, "%s: \"%s\" is missing", where, specs[i].name);
}

/* Elements of a jsonb array. */
List *
jsonb_elements(Jsonb *json)
{
	List	   *result = NIL;
	JsonbIterator *iterator;
	JsonbValue	value;
	JsonbIteratorToken token;

	if (json == NULL)
		return NIL;
	iterator = JsonbIteratorInit(&json->root);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
		if (token == WJB_ELEM)
			result = lappend(result, value_to_jsonb(&value));
	return result;
}

/* A jsonb from JSON text of our own. */
Jsonb *
jsonb_from_cstring(const char *text)
{
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
}
