/*
 * values_pg.c
 *		The small SQL functions that give a column's values the form in which they are compared, and keys the form in which they
 *		are indexed. Which column gets which is profile_pg.c's affair.
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/formatting.h"
#include "utils/timestamp.h"

#include "match/forms.h"
#include "match/pairs.h"
#include "text/codepoints.h"

#define LONGEST_INDEX_KEY 512	/* bytes; index entries end at 2,704 */

PG_FUNCTION_INFO_V1(salesops_match_fold);
PG_FUNCTION_INFO_V1(salesops_match_code);
PG_FUNCTION_INFO_V1(salesops_match_sorted);
PG_FUNCTION_INFO_V1(salesops_match_model);
PG_FUNCTION_INFO_V1(salesops_match_first);
PG_FUNCTION_INFO_V1(salesops_match_rest);
PG_FUNCTION_INFO_V1(salesops_match_host);
PG_FUNCTION_INFO_V1(salesops_match_day);
PG_FUNCTION_INFO_V1(salesops_match_words);
PG_FUNCTION_INFO_V1(salesops_match_elements);
PG_FUNCTION_INFO_V1(salesops_match_key);
PG_FUNCTION_INFO_V1(salesops_match_keys);
PG_FUNCTION_INFO_V1(salesops_match_date);
PG_FUNCTION_INFO_V1(salesops_match_timestamp);

/* A text of so many bytes as a function's answer; NULL where there are none. */
static Datum
finished(FunctionCallInfo fcinfo, text *result, size_t length)
{
	if (length == 0)
		PG_RETURN_NULL();
	SET_VARSIZE(result, VARHDRSZ + length);
	PG_RETURN_TEXT_P(result);
}

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
	return finished(fcinfo, result, to - VARDATA(result));
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
	return finished(fcinfo, result, to - VARDATA(result));
}

/* match_sorted(text) -> text: its words in ascending order, with single blanks; NULL where there are none */
Datum
salesops_match_sorted(PG_FUNCTION_ARGS)
{
	text	   *source = PG_GETARG_TEXT_PP(0);
	text	   *result = palloc(VARHDRSZ + VARSIZE_ANY_EXHDR(source));
	size_t		length = match_word_form(VARDATA_ANY(source), VARSIZE_ANY_EXHDR(source), true, VARDATA(result));

	return finished(fcinfo, result, length);
}

/* match_model(text) -> text: the code in a text, such as the model number in an article's title; NULL where there is none */
Datum
salesops_match_model(PG_FUNCTION_ARGS)
{
	text	   *source = PG_GETARG_TEXT_PP(0);
	text	   *result = palloc(VARHDRSZ + VARSIZE_ANY_EXHDR(source));
	size_t		length = match_model_form(VARDATA_ANY(source), VARSIZE_ANY_EXHDR(source), VARDATA(result));

	return finished(fcinfo, result, length);
}

/* Bytes before the first blank of a text, all where there is none. */
static size_t
first_word(const text *source)
{
	size_t		length = VARSIZE_ANY_EXHDR(source);
	const char *blank = memchr(VARDATA_ANY(source), ' ', length);

	return blank == NULL ? length : (size_t) (blank - VARDATA_ANY(source));
}

/* match_first(text) -> text: the first word of a folded text; NULL where there is none */
Datum
salesops_match_first(PG_FUNCTION_ARGS)
{
	text	   *source = PG_GETARG_TEXT_PP(0);

	if (first_word(source) == 0)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text_with_len(VARDATA_ANY(source), (int) first_word(source)));
}

/* match_rest(text) -> text: what follows the first word of a folded text; NULL where nothing does */
Datum
salesops_match_rest(PG_FUNCTION_ARGS)
{
	text	   *source = PG_GETARG_TEXT_PP(0);
	size_t		from = first_word(source) + 1;

	if (from >= VARSIZE_ANY_EXHDR(source))
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text_with_len(VARDATA_ANY(source) + from, (int) (VARSIZE_ANY_EXHDR(source) - from)));
}

/* match_host(text) -> text: the host of a web address, without www; the text itself where it is none */
Datum
salesops_match_host(PG_FUNCTION_ARGS)
{
	text	   *source = PG_GETARG_TEXT_PP(0);
	size_t		length;
	size_t		at = match_host_form(VARDATA_ANY(source), VARSIZE_ANY_EXHDR(source), &length);

	if (length == 0)
		PG_RETURN_TEXT_P(source);
	PG_RETURN_TEXT_P(cstring_to_text_with_len(VARDATA_ANY(source) + at, (int) length));
}

/* match_day(text, day_first boolean) -> text: a written date in lower case as YYYY-MM-DD; the text itself where it is none */
Datum
salesops_match_day(PG_FUNCTION_ARGS)
{
	text	   *source = PG_GETARG_TEXT_PP(0);
	char		day[MATCH_DAY_BYTES];
	MatchDayOrder order;

	if (!match_day_form(VARDATA_ANY(source), VARSIZE_ANY_EXHDR(source), PG_GETARG_BOOL(1), day, &order))
		PG_RETURN_TEXT_P(source);
	PG_RETURN_TEXT_P(cstring_to_text(day));
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
