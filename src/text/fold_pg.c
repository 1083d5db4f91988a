/*
 * fold_pg.c
 *		Any script to lower-case Latin words with single blanks between them, through ICU. Nothing about companies or mail.
 *
 * Steps: compatibility forms and case (NFKC, Lower), Cyrillic by the BGN rules that people's Latin spellings follow, any other
 * script by ICU's Any-Latin, marks removed, Latin letters to ASCII. What then is neither letter nor digit separates words;
 * apostrophes and invisible characters vanish. ASCII never reaches ICU, and the Latin letters of Europe only once a backend.
 *
 * Long input goes through in chunks between words, so that memory is bounded and a query can be cancelled.
 */
#include "postgres.h"

#include <unicode/uchar.h>
#include <unicode/uscript.h>
#include <unicode/ustring.h>
#include <unicode/utrans.h>

#include "mb/pg_wchar.h"
#include "miscadmin.h"

#include "text/codepoints.h"
#include "text/fold_pg.h"

/* Bytes handed to ICU at a time */
#define CHUNK_BYTES 512
/* The Latin letters of Europe, whose transliteration does not depend on their neighbours */
#define LATIN_FIRST 0xC0
#define LATIN_LAST 0x24F
#define LATIN_BYTES 8
/* A fold is repeated until it changes nothing, at most this often */
#define MAX_PASSES 4

#define TRANSLITERATION                                                                                                \
	u"NFKC; Lower; Russian-Latin/BGN; Any-Latin; NFKD; [:M:] Remove; Latin-ASCII; [:M:] Remove; Lower"

static UTransliterator *transliterator = NULL;
static char latin[LATIN_LAST - LATIN_FIRST + 1][LATIN_BYTES];
static bool latin_ready = false;

/* Report what ICU could not do. */
static void
check_icu(UErrorCode status, const char *what)
{
	if (U_FAILURE(status))
		ereport(ERROR, (errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION), errmsg("ICU could not %s", what),
						errdetail("It says: %s.", u_errorName(status))));
}

/* The transliterator, opened on first use and kept. */
static UTransliterator *
open_transliterator(void)
{
	UErrorCode status = U_ZERO_ERROR;

	if (transliterator == NULL)
	{
		UTransliterator *opened = utrans_openU(TRANSLITERATION, -1, UTRANS_FORWARD, NULL, 0, NULL, &status);

		check_icu(status, "open its transliteration to Latin");
		transliterator = opened;
	}
	return transliterator;
}

/* Transliterate and append as UTF-8. */
static void
transliterate(const UChar *units, int32_t length, StringInfo out)
{
	UTransliterator *trans = open_transliterator();
	int32_t capacity = length * 8 + 64;

	for (;;)
	{
		UErrorCode status = U_ZERO_ERROR;
		UChar *buffer = palloc(sizeof(UChar) * capacity);
		int32_t result = length;
		int32_t limit = length;
		int32_t bytes = 0;

		memcpy(buffer, units, sizeof(UChar) * length);
		utrans_transUChars(trans, buffer, &result, capacity, 0, &limit, &status);
		if (status != U_BUFFER_OVERFLOW_ERROR)
		{
			check_icu(status, "transliterate to Latin");
			enlargeStringInfo(out, result * 3 + 1);
			u_strToUTF8WithSub(out->data + out->len, out->maxlen - out->len, &bytes, buffer, result, ' ', NULL,
							   &status);
			check_icu(status, "encode UTF-8");
			out->len += bytes;
			pfree(buffer);
			return;
		}
		pfree(buffer);
		capacity *= 2;
	}
}

/* Each Latin letter's transliteration, by ICU itself; one that would not fit is left to the slow way. */
static void
prepare_latin(void)
{
	StringInfoData one;

	initStringInfo(&one);
	for (int c = LATIN_FIRST; c <= LATIN_LAST; c++)
	{
		UChar unit = (UChar) c;

		resetStringInfo(&one);
		transliterate(&unit, 1, &one);
		if (one.len > 0 && one.len < LATIN_BYTES && text_is_ascii(one.data, one.len))
		{
			memcpy(latin[c - LATIN_FIRST], one.data, one.len);
			latin[c - LATIN_FIRST][one.len] = '\0';
		}
	}
	pfree(one.data);
	latin_ready = true;
}

/* Append a chunk of ASCII, European Latin letters and combining marks; false, with nothing appended, where it has more. */
static bool
append_latin(const unsigned char *at, const unsigned char *end, StringInfo out)
{
	int start = out->len;

	if (!latin_ready)
		prepare_latin();
	for (; at < end; at++)
	{
		int c = *at;

		if (c >= 0x80)
		{
			const char *letters;

			/* U+0300 to U+036F, combining marks, vanish */
			if ((c == 0xCC && end - at > 1) || (c == 0xCD && end - at > 1 && at[1] < 0xB0))
			{
				at++;
				continue;
			}
			if (c < 0xC3 || c > 0xC9 || end - at < 2)
				break;
			c = (c & 0x1F) << 6 | (at[1] & 0x3F);
			if (c > LATIN_LAST || latin[c - LATIN_FIRST][0] == '\0')
				break;
			letters = latin[c - LATIN_FIRST];
			appendStringInfoString(out, letters);
			at++;
		}
		else
			appendStringInfoChar(out, (char) c);
	}
	if (at == end)
		return true;
	out->len = start;
	out->data[start] = '\0';
	return false;
}

/* True where a blank must part two neighbours: a Han character is a word, another script's letter beside it begins one. */
static bool
parts_words(UChar32 before, UChar32 after)
{
	UErrorCode status = U_ZERO_ERROR;
	bool han_before = uscript_getScript(before, &status) == USCRIPT_HAN;
	bool han_after = uscript_getScript(after, &status) == USCRIPT_HAN;

	return han_before != han_after && u_isalpha(before) && u_isalpha(after);
}

/* The legal forms that Japan and Korea write as one sign or in brackets, in full; NULL where c begins none. Says how far it reaches. */
static const UChar *
spelled_out(UChar32 c, const UChar *following, int32_t left, int32_t *used)
{
	UChar sign = 0;

	*used = 0;
	if (c == '(' || c == 0xFF08)
	{
		if (left >= 2 && (following[1] == ')' || following[1] == 0xFF09))
			sign = following[0];
		*used = 2;
	}
	if (c == 0x3231 || sign == u'株')
		return u" 株式会社 ";
	if (c == 0x3232 || sign == u'有')
		return u" 有限会社 ";
	if (c == 0x321C || sign == u'주')
		return u" 주식회사 ";
	return NULL;
}

/* Append a chunk of any script. */
static void
append_any(const char *bytes, int size, StringInfo out)
{
	UChar units[CHUNK_BYTES];
	UChar parted[CHUNK_BYTES * 3];
	int32_t length = 0;
	int32_t filled = 0;
	UChar32 before = 0;
	UErrorCode status = U_ZERO_ERROR;

	u_strFromUTF8WithSub(units, CHUNK_BYTES, &length, bytes, size, 0xFFFD, NULL, &status);
	check_icu(status, "decode UTF-8");
	for (int32_t i = 0; i < length;)
	{
		UChar32 c;
		int32_t used;
		const UChar *spelled;

		U16_NEXT(units, i, length, c);
		spelled = spelled_out(c, units + i, length - i, &used);
		if (spelled != NULL)
		{
			u_strcpy(parted + filled, spelled);
			filled += u_strlen(spelled);
			i += used;
			before = ' ';
			continue;
		}
		/* the middle dots of Japanese names part words; ICU would make them vanish */
		if (c == 0x30FB || c == 0xFF65)
			c = ' ';
		if (before != 0 && parts_words(before, c))
			parted[filled++] = ' ';
		U16_APPEND_UNSAFE(parted, filled, c);
		before = c;
	}
	transliterate(parted, filled, out);
}

/* The end of the next chunk: after the last blank that fits, else before a character that does not. */
static const char *
chunk_end(const char *at, const char *end)
{
	const char *limit = at + CHUNK_BYTES;
	const char *blank;

	if (limit >= end)
		return end;
	for (blank = limit; blank > at; blank--)
		if (blank[-1] == ' ' || blank[-1] == '\n' || blank[-1] == '\t')
			return blank;
	while (limit > at + 1 && ((unsigned char) *limit & 0xC0) == 0x80)
		limit--;
	return limit;
}

/* UTF-8 of any script to Latin letters, still with case, punctuation and everything else. */
static void
latinize(const char *bytes, size_t size, StringInfo out)
{
	const char *at = bytes;
	const char *end = bytes + size;

	while (at < end)
	{
		const char *next = chunk_end(at, end);

		CHECK_FOR_INTERRUPTS();
		if (text_is_ascii(at, next - at))
			appendBinaryStringInfo(out, at, next - at);
		else if (!append_latin((const unsigned char *) at, (const unsigned char *) next, out))
			append_any(at, next - at, out);
		/* a word longer than a chunk is cut */
		if (next < end && next[-1] != ' ')
			appendStringInfoChar(out, ' ');
		at = next;
	}
}

/* What a character is to the words. */
typedef enum Role
{
	ROLE_LETTER,
	ROLE_NOTHING,
	ROLE_BLANK,
	ROLE_AND
} Role;

/* The role of a character that is not ASCII. */
static Role
role_of(UChar32 c)
{
	int type;

	/* accents and dots that stand for sounds, and apostrophes */
	if (c == 0xB4 || c == 0xB7 || (c >= 0x2B0 && c <= 0x2FF) || c == 0x2018 || c == 0x2019 || c == 0x201B ||
		c == 0x2032 || c == 0x2033)
		return ROLE_NOTHING;
	type = u_charType(c);
	if (type == U_FORMAT_CHAR || type == U_NON_SPACING_MARK || type == U_ENCLOSING_MARK ||
		type == U_COMBINING_SPACING_MARK)
		return ROLE_NOTHING;
	return u_isalnum(c) ? ROLE_LETTER : ROLE_BLANK;
}

/* The role of an ASCII character; next decides about a quote, which inside a word is a Hebrew or Cyrillic sign. */
static Role
role_of_ascii(unsigned char c, unsigned char next, bool in_word, bool ampersand)
{
	if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))
		return ROLE_LETTER;
	if (c == '\'' || c == '`')
		return ROLE_NOTHING;
	if (c == '"')
		return in_word && isalnum(next) ? ROLE_NOTHING : ROLE_BLANK;
	return ampersand && (c == '&' || c == '+') ? ROLE_AND : ROLE_BLANK;
}

/* Append words from Latin text. */
static void
append_words(const char *bytes, size_t size, bool ampersand, StringInfo out)
{
	const unsigned char *text = (const unsigned char *) bytes;
	bool blank = false;

	enlargeStringInfo(out, (int) size + 1);
	for (size_t i = 0; i < size;)
	{
		size_t start = i;
		Role role;

		if (text[i] < 0x80)
		{
			role = role_of_ascii(text[i], i + 1 < size ? text[i + 1] : 0, out->len > 0 && !blank, ampersand);
			i++;
		}
		else
		{
			UChar32 c;

			U8_NEXT(text, i, size, c);
			role = c < 0 ? ROLE_BLANK : role_of(c);
		}
		if (role == ROLE_BLANK || role == ROLE_AND)
			blank = true;
		if (role == ROLE_BLANK || role == ROLE_NOTHING)
			continue;
		if (blank && out->len > 0)
			appendStringInfoChar(out, ' ');
		blank = role == ROLE_AND;
		if (role == ROLE_AND)
			appendStringInfoString(out, "and");
		else if (text[start] < 0x80)
			appendStringInfoChar(out, (char) pg_ascii_tolower(text[start]));
		else
			appendBinaryStringInfo(out, bytes + start, i - start);
	}
}

/* One pass over UTF-8. */
static void
fold_once(const char *bytes, size_t size, bool ampersand, StringInfo out)
{
	StringInfoData latinized;

	if (text_is_ascii(bytes, size))
	{
		append_words(bytes, size, ampersand, out);
		return;
	}
	initStringInfo(&latinized);
	latinize(bytes, size, &latinized);
	append_words(latinized.data, latinized.len, ampersand, out);
	pfree(latinized.data);
}

/* Leave out what is not ASCII: letters that no pass brought to rest. */
static void
drop_unsettled(StringInfo text)
{
	StringInfoData kept;

	initStringInfo(&kept);
	for (int i = 0; i < text->len; i++)
		if ((unsigned char) text->data[i] < 0x80)
			appendStringInfoChar(&kept, text->data[i]);
	resetStringInfo(text);
	append_words(kept.data, kept.len, false, text);
	pfree(kept.data);
}

/* UTF-8 of any script to folded words; applying it to its own result changes nothing. */
void
text_fold_pg(const char *bytes, size_t size, bool ampersand, StringInfo out)
{
	StringInfoData again;

	fold_once(bytes, size, ampersand, out);
	if (text_is_ascii(out->data, out->len))
		return;
	initStringInfo(&again);
	for (int pass = 0; pass < MAX_PASSES; pass++)
	{
		bool same;

		resetStringInfo(&again);
		fold_once(out->data, out->len, ampersand, &again);
		same = again.len == out->len && memcmp(again.data, out->data, out->len) == 0;
		resetStringInfo(out);
		appendBinaryStringInfo(out, again.data, again.len);
		if (same)
			return;
	}
	drop_unsettled(out);
}
