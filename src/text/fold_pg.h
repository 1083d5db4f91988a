/*
 * fold_pg.h
 *		Any script to lower-case Latin words: what names and company names are compared by.
 */
#ifndef SALESOPS_TEXT_FOLD_PG_H
#define SALESOPS_TEXT_FOLD_PG_H

#include "postgres.h"

#include "lib/stringinfo.h"

/*
 * Append to an empty, initialised buffer the folded words of UTF-8 text: letters and digits, single blanks between words. ampersand makes
 * & and + the word "and", which is right for companies. Idempotent. Raises an error only where ICU fails.
 */
extern void text_fold_pg(const char *bytes, size_t size, bool ampersand, StringInfo out);

#endif /* SALESOPS_TEXT_FOLD_PG_H */
