/*
 * forms.h
 *		Forms of a value that are compared in its stead where a column's content asks for it: words in one order, the host of a web
 *		address, the day of a written date. Which column takes which form is profile.c's affair; legal forms of companies are text's.
 */
#ifndef SALESOPS_MATCH_FORMS_H
#define SALESOPS_MATCH_FORMS_H

#include <stdbool.h>
#include <stddef.h>

#define MATCH_DAY_BYTES 11		/* YYYY-MM-DD and a zero */

/*
 * The words of a text (runs of letters and digits, apostrophes left out) with single blanks between them, in ascending order where asked
 * for, into room for length bytes; returns how many were written.
 */
extern size_t match_word_form(const char *text, size_t length, bool sorted, char *into);

/* The host of a web address, without "www.": where it is, and its length in *host_length (0: there is none) */
extern size_t match_host_form(const char *text, size_t length, size_t *host_length);

/* The code in a text: the longest of its words of five letters and digits or more that has a letter and two digits, as a model number;
 * hyphens are left out. Written into room for length bytes, where into is not NULL; returns how many (0: none). */
extern size_t match_model_form(const char *text, size_t length, char *into);

/* In which order day and month stand in a written date, as far as its own numbers say */
typedef enum MatchDayOrder
{
	MATCH_DAY_UNKNOWN,			/* 03/04/1999 */
	MATCH_DAY_FIRST,			/* 23/04/1999, 3.4.1999, 3 April 1999 */
	MATCH_MONTH_FIRST			/* 04/23/1999, April 3, 1999 */
} MatchDayOrder;

/*
 * The day that a text in lower case writes with a year of four digits, as YYYY-MM-DD: in numbers, or with the month in English. Where the
 * order is open, day_first decides. False where it is no such date; it need not be in the calendar (a typing error stays one).
 */
extern bool match_day_form(const char *text, size_t length, bool day_first, char *into, MatchDayOrder *order);

#endif							/* SALESOPS_MATCH_FORMS_H */
