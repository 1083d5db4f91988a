/*
 * forms.c
 *		Word order, hosts and written dates, as bytes. No columns, no levels.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "match/forms.h"

#define MOST_WORDS 64			/* of which the order is changed; more stay as they are */
#define DATE_PARTS 3
#define SHORTEST_MODEL 5

/* A run of bytes */
typedef struct Span
{
	const char *at;
	size_t		length;
} Span;

/* ---- words ---- */

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool
is_letter(char c)
{
	return (unsigned char) c >= 0x80 || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Order by bytes, for qsort. */
static int
compare_spans(const void *a, const void *b)
{
	const Span *x = a;
	const Span *y = b;
	size_t		shorter = x->length < y->length ? x->length : y->length;
	int			order = memcmp(x->at, y->at, shorter);

	return order != 0 ? order : (x->length > y->length) - (x->length < y->length);
}

size_t
match_word_form(const char *text, size_t length, bool sorted, char *into)
{
	Span		word[MOST_WORDS];
	int			words = 0;
	size_t		written = 0;
	size_t		start = 0;
	char	   *copy = into;

	/* the words, each behind a blank; word[] holds where they stand */
	for (size_t i = 0; i <= length; i++)
	{
		if (i < length && (is_letter(text[i]) || is_digit(text[i]) || text[i] == '\''))
			continue;
		if (i > start && words < MOST_WORDS)
			word[words++] = (Span) {text + start, i - start};
		else if (i > start)
			word[MOST_WORDS - 1].length = (size_t) (text + i - word[MOST_WORDS - 1].at);
		start = i + 1;
	}
	if (sorted && words < MOST_WORDS)
		qsort(word, (size_t) words, sizeof(Span), compare_spans);
	for (int w = 0; w < words; w++)
	{
		if (written > 0)
			copy[written++] = ' ';
		for (size_t i = 0; i < word[w].length; i++)
		{
			if (word[w].at[i] != '\'')
				copy[written++] = word[w].at[i];
		}
		if (written > 0 && copy[written - 1] == ' ')
			written--;			/* of apostrophes alone */
	}
	return written;
}

/* ---- codes in a text ---- */

/* Letters and digits of a word, or 0 where it is no code. */
static size_t
code_length(const char *word, size_t length)
{
	size_t		letters = 0;
	size_t		digits = 0;

	for (size_t i = 0; i < length; i++)
	{
		letters += is_letter(word[i]);
		digits += is_digit(word[i]);
	}
	return letters >= 1 && digits >= 2 && letters + digits >= SHORTEST_MODEL ? letters + digits : 0;
}

size_t
match_model_form(const char *text, size_t length, char *into)
{
	size_t		start = 0;
	size_t		from = 0;
	size_t		to = 0;
	size_t		longest = 0;
	size_t		written = 0;

	for (size_t i = 0; i <= length; i++)
	{
		if (i < length && (is_letter(text[i]) || is_digit(text[i]) || text[i] == '-'))
			continue;
		if (code_length(text + start, i - start) > longest)
		{
			longest = code_length(text + start, i - start);
			from = start;
			to = i;
		}
		start = i + 1;
	}
	for (size_t i = from; i < to; i++)
	{
		if (text[i] == '-')
			continue;
		if (into != NULL)
			into[written] = text[i];
		written++;
	}
	return written;
}

/* ---- web addresses ---- */

size_t
match_host_form(const char *text, size_t length, size_t *host_length)
{
	size_t		at = 0;
	size_t		end;

	for (size_t i = 0; i + 2 < length; i++)
	{
		if (memcmp(text + i, "://", 3) == 0)
		{
			at = i + 3;
			break;
		}
	}
	if (length - at > 4 && memcmp(text + at, "www.", 4) == 0)
		at += 4;
	end = at;
	while (end < length && (is_letter(text[end]) || is_digit(text[end]) || text[end] == '.' || text[end] == '-'))
		end++;
	while (end > at && text[end - 1] == '.')
		end--;
	/* what ends it must be a path, a port or a query, and a host has a dot with a letter behind */
	*host_length = 0;
	if (end < length && text[end] != '/' && text[end] != ':' && text[end] != '?' && text[end] != '#' && text[end] != '.')
		return at;
	for (size_t i = at + 1; i + 1 < end; i++)
	{
		if (text[i] == '.' && is_letter(text[i + 1]))
			*host_length = end - at;
	}
	return at;
}

/* ---- dates ---- */

static const char *const months[] = {"january", "february", "march", "april", "may", "june", "july", "august", "september", "october",
	"november", "december"};

/* The number of a run of digits; -1 where there is anything else or too much. */
static int
number_of(Span span)
{
	int			value = 0;

	if (span.length == 0 || span.length > 4)
		return -1;
	for (size_t i = 0; i < span.length; i++)
	{
		if (!is_digit(span.at[i]))
			return -1;
		value = value * 10 + (span.at[i] - '0');
	}
	return value;
}

/* The month that a word of three letters and more begins to name; 0: none. */
static int
month_of(Span span)
{
	for (int m = 0; m < 12; m++)
	{
		if (span.length >= 3 && span.length <= strlen(months[m]) && memcmp(span.at, months[m], span.length) == 0)
			return m + 1;
	}
	return 0;
}

/* Runs of digits and of letters; false where there are not three. *separator is what stands behind the first one. */
static bool
date_parts(const char *text, size_t length, Span *part, char *separator)
{
	int			parts = 0;
	size_t		i = 0;

	while (i < length)
	{
		size_t		start = i;

		if (is_digit(text[i]))
			while (i < length && is_digit(text[i]))
				i++;
		else if (is_letter(text[i]))
			while (i < length && is_letter(text[i]))
				i++;
		else
		{
			if (strchr(" .,/-", text[i]) == NULL)
				return false;
			if (parts == 1 && *separator == '\0')
				*separator = text[i];
			i++;
			continue;
		}
		if (parts == DATE_PARTS)
			return false;
		part[parts++] = (Span) {text + start, i - start};
	}
	return parts == DATE_PARTS;
}

bool
match_day_form(const char *text, size_t length, bool day_first, char *into, MatchDayOrder *order)
{
	Span		part[DATE_PARTS];
	char		separator = '\0';
	int			year;
	int			one;
	int			two;

	*order = MATCH_DAY_UNKNOWN;
	if (!date_parts(text, length, part, &separator))
		return false;
	if (part[0].length == 4 && number_of(part[0]) > 0)
	{
		year = number_of(part[0]);
		one = number_of(part[2]);
		two = month_of(part[1]) > 0 ? month_of(part[1]) : number_of(part[1]);
		*order = MATCH_DAY_FIRST;
	}
	else if (part[2].length == 4)
	{
		year = number_of(part[2]);
		one = number_of(part[0]);
		two = number_of(part[1]);
		if (month_of(part[0]) > 0)
		{
			one = month_of(part[0]);
			*order = MATCH_MONTH_FIRST;
		}
		else if (month_of(part[1]) > 0)
		{
			two = month_of(part[1]);
			*order = MATCH_DAY_FIRST;
		}
		else if (separator == '.' || (one > 12 && two <= 12))
			*order = MATCH_DAY_FIRST;
		else if (two > 12 && one <= 12)
			*order = MATCH_MONTH_FIRST;
		if (*order == MATCH_MONTH_FIRST || (*order == MATCH_DAY_UNKNOWN && !day_first))
		{
			int			month = one;

			one = two;
			two = month;
		}
	}
	else
		return false;
	if (year < 1 || one < 0 || one > 99 || two < 0 || two > 99)
		return false;
	snprintf(into, MATCH_DAY_BYTES, "%04u-%02u-%02u", (unsigned) year % 10000, (unsigned) two % 100, (unsigned) one % 100);
	return true;
}
