/*
 * profile_pg.c
 *		Comparisons and blocking rules from the columns' content where the user gave none, and the small SQL functions
 *		that normalise values in them.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/formatting.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/date.h"

#include "core/errors.h"
#include "core/kernel_pg.h"
#include "core/progress.h"
#include "core/relation.h"
#include "match/matcher_pg.h"

#define LONGEST_INDEX_KEY 512	/* bytes; index entries end at 2,704 */

PG_FUNCTION_INFO_V1(salesops_match_fold);
PG_FUNCTION_INFO_V1(salesops_match_code);
PG_FUNCTION_INFO_V1(salesops_match_words);
PG_FUNCTION_INFO_V1(salesops_match_elements);
PG_FUNCTION_INFO_V1(salesops_match_key);
PG_FUNCTION_INFO_V1(salesops_match_keys);
PG_FUNCTION_INFO_V1(salesops_match_date);
PG_FUNCTION_INFO_V1(salesops_match_timestamp);


/* ---- normalisation ---- */

/*
 * match_fold(text) -> text: lower case, without blanks at the ends, single blanks inside; NULL where nothing is left. By the
 * database's own collation beyond ASCII.
 */
Datum
salesops_match_fold(PG_FUNCTION_ARGS)
{
	text	   *source = PG_GETARG_TEXT_PP(0);
	char	   *from = VARDATA_ANY(source);
	size_t		length = VARSIZE_ANY_EXHDR(source);
	text	   *result;
	char	   *to;
	bool		blank = false;

	if (!text_is_ascii(from, length))
	{
		from = str_tolower(from, length, DEFAULT_COLLATION_OID);
		length = strlen(from);
	}
	result = palloc(VARHDRSZ + length);
	to = VARDATA(result);
	for (size_t i = 0; i < length; i++)
	{
		unsigned char c = (unsigned char) from[i];

		if (c == ' ' || (c >= '\t' && c <= '\r'))
		{
			blank = to > VARDATA(result);
			continue;
		}
		if (blank)
			*to++ = ' ';
		blank = false;
		*to++ = c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c;
	}
	if (to == VARDATA(result))
		PG_RETURN_NULL();
	SET_VARSIZE(result, to - (char *) result);
	PG_RETURN_TEXT_P(result);
}

/* match_code(text) -> text: letters and digits only, in lower case: phone numbers, postal codes; NULL where nothing is left */
Datum
salesops_match_code(PG_FUNCTION_ARGS)
{
	text	   *source = PG_GETARG_TEXT_PP(0);
	size_t		length = VARSIZE_ANY_EXHDR(source);
	const char *from = VARDATA_ANY(source);
	text	   *result = palloc(VARHDRSZ + length);
	char	   *to = VARDATA(result);

	for (size_t i = 0; i < length; i++)
	{
		unsigned char c = (unsigned char) from[i];

		if (c >= 'A' && c <= 'Z')
			*to++ = c - 'A' + 'a';
		else if (c >= 0x80 || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z'))
			*to++ = c;
	}
	if (to == VARDATA(result))
		PG_RETURN_NULL();
	SET_VARSIZE(result, to - (char *) result);
	PG_RETURN_TEXT_P(result);
}

/* match_words(text[]) -> text[]: all words (two bytes and more) of all elements; NULL where there are none */
Datum
salesops_match_words(PG_FUNCTION_ARGS)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(0);
	Datum	   *elements;
	bool	   *nulls;
	int			count;
	int			room = 16;
	int			n = 0;
	Datum	   *words = palloc(sizeof(Datum) * room);

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		text	   *element;
		size_t		position = 0;
		size_t		length;

		if (nulls[i])
			continue;
		element = DatumGetTextPP(elements[i]);
		for (;;)
		{
			size_t		start = match_next_token(VARDATA_ANY(element), VARSIZE_ANY_EXHDR(element), &position, &length);

			if (length == 0)
				break;
			if (n == room)
				words = repalloc(words, sizeof(Datum) * (room *= 2));
			words[n++] = PointerGetDatum(cstring_to_text_with_len(VARDATA_ANY(element) + start, (int) length));
		}
	}
	if (n == 0)
		PG_RETURN_NULL();
	PG_RETURN_ARRAYTYPE_P(construct_array(words, n, TEXTOID, -1, false, TYPALIGN_INT));
}

/*
 * match_elements(text[]) -> text: the elements that are neither NULL nor empty, in one text that keeps them apart; NULL where there are
 * none. What array_to_string is for others, but immutable, so that an index can hold it.
 */
Datum
salesops_match_elements(PG_FUNCTION_ARGS)
{
	Datum	   *elements;
	bool	   *nulls;
	int			count;
	StringInfoData joined;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
	initStringInfo(&joined);
	for (int i = 0; i < count; i++)
	{
		text	   *element = nulls[i] ? NULL : DatumGetTextPP(elements[i]);

		if (element == NULL || VARSIZE_ANY_EXHDR(element) == 0)
			continue;
		if (joined.len > 0)
			appendStringInfoChar(&joined, MATCH_SEPARATOR);
		appendBinaryStringInfo(&joined, VARDATA_ANY(element), (int) VARSIZE_ANY_EXHDR(element));
	}
	if (joined.len == 0)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text_with_len(joined.data, joined.len));
}

/* A blocking key as an index holds it, whose entries have a largest size: a longer one by its beginning and a hash of the whole. */
static text *
bounded_key(text *key)
{
	const char *bytes = VARDATA_ANY(key);
	int			length = (int) VARSIZE_ANY_EXHDR(key);
	int			kept;
	text	   *result;

	if (length <= LONGEST_INDEX_KEY)
		return key;
	kept = pg_mbcliplen(bytes, length, LONGEST_INDEX_KEY);
	result = palloc(VARHDRSZ + kept + 20);
	memcpy(VARDATA(result), bytes, kept);
	kept += snprintf(VARDATA(result) + kept, 20, " %016llx", (unsigned long long) match_hash(bytes, length));
	SET_VARSIZE(result, VARHDRSZ + kept);
	return result;
}

/* match_key(text) -> text: equal for equal keys, different for different ones, never too long for an index */
Datum
salesops_match_key(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(bounded_key(PG_GETARG_TEXT_PP(0)));
}

/* match_key(text[]) -> text[]: the same of each element; those that are NULL go */
Datum
salesops_match_keys(PG_FUNCTION_ARGS)
{
	Datum	   *keys;
	bool	   *nulls;
	int			count;
	int			n = 0;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), TEXTOID, -1, false, TYPALIGN_INT, &keys, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		if (!nulls[i])
			keys[n++] = PointerGetDatum(bounded_key(DatumGetTextPP(keys[i])));
	}
	PG_RETURN_ARRAYTYPE_P(construct_array(keys, n, TEXTOID, -1, false, TYPALIGN_INT));
}

/* match_date(date) -> text: YYYY-MM-DD whatever DateStyle says; NULL for the infinities */
Datum
salesops_match_date(PG_FUNCTION_ARGS)
{
	DateADT		date = PG_GETARG_DATEADT(0);
	int			y;
	int			m;
	int			d;

	if (DATE_NOT_FINITE(date))
		PG_RETURN_NULL();
	j2date(date + POSTGRES_EPOCH_JDATE, &y, &m, &d);
	PG_RETURN_TEXT_P(cstring_to_text(psprintf("%04d-%02d-%02d", y, m, d)));
}

/* match_date(timestamp or timestamptz) -> text: the same with the time of day, in UTC */
Datum
salesops_match_timestamp(PG_FUNCTION_ARGS)
{
	Timestamp	at = PG_GETARG_TIMESTAMP(0);
	struct pg_tm tm;
	fsec_t		fraction;

	if (TIMESTAMP_NOT_FINITE(at) || timestamp2tm(at, NULL, &tm, &fraction, NULL, NULL) != 0)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(psprintf("%04d-%02d-%02d %02d:%02d:%02d.%06d", tm.tm_year, tm.tm_mon, tm.tm_mday,
											  tm.tm_hour, tm.tm_min, tm.tm_sec, (int) fraction)));
}

/* ---- choosing ---- */

/* Whether a column's type holds something that names a person, company or thing. */
static bool
is_usable_type(Oid type)
{
	char		category;
	bool		preferred;

	type = getBaseType(type);
	if (type == TIMESTAMPTZOID || type == TIMESTAMPOID || type == DATEOID || type == BOOLOID || type == UUIDOID)
		return true;
	if (get_typtype(type) == TYPTYPE_ENUM)
		return true;
	get_type_category_preferred(type, &category, &preferred);
	return category == TYPCATEGORY_STRING || type == INT2OID || type == INT4OID || type == INT8OID || type == NUMERICOID ||
		type == FLOAT4OID || type == FLOAT8OID;
}

/* A column's default expression: text is folded, the rest taken as it is. */
static char *
default_expression(const char *name, Oid type)
{
	char		category;
	bool		preferred;

	type = getBaseType(type);
	get_type_category_preferred(type, &category, &preferred);
	if (category == TYPCATEGORY_STRING)
		return psprintf("salesops.match_fold((%s)::pg_catalog.text)", quote_identifier(name));
	return pstrdup(quote_identifier(name));
}

/* Whether the user wants a column left out. */
static bool
is_excluded(const Matcher *matcher, const char *name)
{
	ListCell   *cell;

	foreach(cell, matcher->options.exclude)
	{
		if (strcmp(lfirst(cell), name) == 0)
			return true;
	}
	return strcmp(name, matcher->key) == 0 || (matcher->right_key != NULL && strcmp(name, matcher->right_key) == 0);
}

/* All columns that both relations have, as columns of a matcher of their own; names beside them. */
static void
offer_columns(const Matcher *matcher, Matcher *offer, char **names)
{
	Relation	relation = relation_open(matcher->relid, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(relation);

	for (int i = 0; i < desc->natts && offer->ncolumns < MATCHER_MAX_COLUMNS; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		char	   *name = NameStr(attribute->attname);

		if (attribute->attisdropped || is_excluded(matcher, name) || !is_usable_type(attribute->atttypid))
			continue;
		if (OidIsValid(matcher->right_relid) && get_attnum(matcher->right_relid, name) == InvalidAttrNumber)
			continue;
		names[offer->ncolumns] = pstrdup(name);
		matcher_column(offer, default_expression(name, attribute->atttypid), true);
	}
	relation_close(relation, AccessShareLock);
}

/* Codes are compared without what stands between the digits. */
static bool
use_codes(Matcher *offer, const MatchProfile *profile)
{
	bool		changed = false;

	for (int c = 0; c < profile->ncolumns; c++)
	{
		char	   *expression = offer->column[c].expression;

		if (profile->kind[c] == MATCH_KIND_CODE && strncmp(expression, "salesops.match_fold(", 20) == 0)
		{
			offer->column[c].expression = psprintf("salesops.match_code(%s", expression + 20);
			changed = true;
		}
	}
	return changed;
}

/* Take over comparisons. */
static void
take_comparisons(Matcher *matcher, const Matcher *offer, const MatchProfile *profile, char **names)
{
	matcher->ncomparisons = profile->ncomparisons;
	for (int c = 0; c < profile->ncomparisons; c++)
	{
		matcher->comparison[c] = profile->comparison[c];
		matcher->comparison_name[c] = names[profile->comparison[c].column];
		matcher->comparison[c].column =
			matcher_column(matcher, offer->column[profile->comparison[c].column].expression, profile->comparison[c].nthresholds > 0);
	}
}

/* Take over blocking rules. */
static void
take_rules(Matcher *matcher, const Matcher *offer, const MatchProfile *profile)
{
	matcher->nrules = profile->nrules;
	for (int r = 0; r < profile->nrules; r++)
	{
		matcher->rule[r] = profile->rule[r];
		for (int p = 0; p < profile->rule[r].nparts; p++)
			matcher->rule[r].column[p] = matcher_column(matcher, offer->column[profile->rule[r].column[p]].expression,
														profile->rule[r].prefix[p] > 0 || profile->rule[r].kind != MATCH_RULE_KEY);
	}
}

/* Profile the offered columns over the relation's content. */
static void
profile_offer(Matcher *offer, MatcherRecords *loaded, MatchProfileOptions *options, MatchProfile *profile)
{
	matcher_records_load(offer, loaded, true);
	match_profile(&loaded->records, options, profile);
	if (use_codes(offer, profile))
	{
		matcher_records_load(offer, loaded, true);
		match_profile(&loaded->records, options, profile);
	}
}

/* Columns of comparisons that the user gave, to find rules over them. */
static void
offer_comparisons(const Matcher *matcher, Matcher *offer, char **names)
{
	for (int c = 0; c < matcher->ncomparisons; c++)
	{
		int			column = matcher_column(offer, matcher->column[matcher->comparison[c].column].expression, true);

		names[column] = matcher->comparison_name[c];
	}
}

void
matcher_choose(Matcher *matcher)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "salesops match profile", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	Matcher    *offer = palloc0(sizeof(Matcher));
	MatchProfile *profile = palloc0(sizeof(MatchProfile));
	MatchProfileOptions options = match_profile_defaults();
	MatcherRecords loaded;
	char	  **names = palloc0(sizeof(char *) * MATCHER_MAX_COLUMNS);

	*offer = *matcher;
	offer->ncolumns = offer->ncomparisons = offer->nrules = 0;
	if (matcher->auto_comparisons)
		offer_columns(matcher, offer, names);
	else
		offer_comparisons(matcher, offer, names);
	options.max_block = matcher->options.max_block;
	profile_offer(offer, &loaded, &options, profile);
	if (matcher->auto_blocking)
		match_profile_rules(&loaded.records, &options, profile);
	MemoryContextSwitchTo(caller);

	if (matcher->auto_comparisons && matcher->auto_blocking)
		matcher->ncolumns = 0;
	if (matcher->auto_comparisons)
		take_comparisons(matcher, offer, profile, names);
	if (matcher->auto_blocking)
		take_rules(matcher, offer, profile);
	for (int c = 0; c < matcher->ncomparisons; c++)
		matcher->comparison_name[c] = pstrdup(matcher->comparison_name[c]);
	MemoryContextDelete(context);
}
