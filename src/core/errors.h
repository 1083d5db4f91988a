/*
 * errors.h
 *		Collects everything that is wrong with a user's input, then reports it as one error.
 *
 * The primary message names the object, DETAIL lists all problems, one a line, HINT says the way out.
 */
#ifndef SALESOPS_CORE_ERRORS_H
#define SALESOPS_CORE_ERRORS_H

#include "postgres.h"

#include "lib/stringinfo.h"

typedef struct Problems
{
	StringInfoData text;
	int			count;
} Problems;

extern void problems_init(Problems *problems);
extern void problems_add(Problems *problems, const char *format, ...) pg_attribute_printf(2, 3);

/*
 * Raise an error if there are problems; return if there are none. The hint may be NULL; the message follows in printf
 * form: problems_raise(&p, ERRCODE_INVALID_PARAMETER_VALUE, "…hint…", "invalid commission plan \"%s\"", plan).
 */
extern void problems_raise(const Problems *problems, int sqlstate, const char *hint, const char *format, ...)
			pg_attribute_printf(4, 5);

/* Comma-separated, for hints: append_choice(&buf, "a"); append_choice(&buf, "b") gives a, b */
extern void append_choice(StringInfo buffer, const char *choice);

/* NaN and infinity are refused everywhere; the message names the argument. */
extern void require_finite(double value, const char *argument);
/* A probability or score in [0, 1]; the message names the argument. */
extern void require_probability(double value, const char *argument);

#endif /* SALESOPS_CORE_ERRORS_H */
