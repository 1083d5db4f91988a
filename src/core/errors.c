/*
 * errors.c
 *		Collecting problems and reporting them as one error (errors.h).
 */
#include "postgres.h"

#include <math.h>

#include "core/errors.h"

/* Start an empty list in the current memory context. */
void
problems_init(Problems *problems)
{
	initStringInfo(&problems->text);
	problems->count = 0;
}

/* Add a line; printf-style. */
void
problems_add(Problems *problems, const char *format, ...)
{
	if (problems->count++ > 0)
		appendStringInfoChar(&problems->text, '\n');
	for (;;)
	{
		va_list		args;
		int			needed;

		va_start(args, format);
		needed = appendStringInfoVA(&problems->text, format, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&problems->text, needed);
	}
}

/* Raise the collected problems as the DETAIL of one error, or return if there are none. */
void
problems_raise(const Problems *problems, int sqlstate, const char *hint, const char *format, ...)
{
	StringInfoData message;

	if (problems->count == 0)
		return;
	initStringInfo(&message);
	for (;;)
	{
		va_list		args;
		int			needed;

		va_start(args, format);
		needed = appendStringInfoVA(&message, format, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&message, needed);
	}
	ereport(ERROR,
			(errcode(sqlstate),
			 errmsg_internal("%s", message.data),
			 errdetail_internal("%s", problems->text.data),
			 hint ? errhint("%s", hint) : 0));
}

/* a, b, c */
void
append_choice(StringInfo buffer, const char *choice)
{
	if (buffer->len > 0)
		appendStringInfoString(buffer, ", ");
	appendStringInfoString(buffer, choice);
}

/* NaN and infinity are nobody's amount, score or time. */
void
require_finite(double value, const char *argument)
{
	if (isnan(value) || isinf(value))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("%s must be a finite number, not %g", argument, value)));
}

/* A probability, score or share in [0, 1]. */
void
require_probability(double value, const char *argument)
{
	if (isnan(value) || value < 0.0 || value > 1.0)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("%s must be between 0 and 1, not %g", argument, value)));
}
