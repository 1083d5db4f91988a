/*
 * days_pg.c
 *		Days between two times, as the reports count them: a fraction, or whole days.
 *
 * The server's own way, extract(epoch FROM b - a) / 86400, makes an interval and a numeric of it, which costs ten times as
 * much as all the rest of a row of a report. Days have 86,400 seconds here as there, whatever the time zone.
 */
#include "postgres.h"

#include "common/int.h"
#include "fmgr.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(salesops_days_between);
PG_FUNCTION_INFO_V1(salesops_whole_days_between);

/* Microseconds from one time to another. Errors: 22008 where one of them is infinite or they are too far apart */
static int64
microseconds(FunctionCallInfo fcinfo)
{
	TimestampTz from = PG_GETARG_TIMESTAMPTZ(0);
	TimestampTz until = PG_GETARG_TIMESTAMPTZ(1);
	int64		result;

	if (TIMESTAMP_NOT_FINITE(from) || TIMESTAMP_NOT_FINITE(until))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("cannot count the days to or from an infinite time")));
	if (pg_sub_s64_overflow(until, from, &result))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("the times are too far apart to count the days between them")));
	return result;
}

/* days_between(from, until) -> float8: the same number, to the bit, as date_part('epoch', until - from) / 86400 */
Datum
salesops_days_between(PG_FUNCTION_ARGS)
{
	int64		time = microseconds(fcinfo);
	double		seconds = (double) (time % USECS_PER_DAY) / 1000000.0;

	PG_RETURN_FLOAT8((seconds + (double) SECS_PER_DAY * (double) (time / USECS_PER_DAY)) / SECS_PER_DAY);
}

/* whole_days_between(from, until) -> float8: rounded, halves away from zero, as numeric's round() does */
Datum
salesops_whole_days_between(PG_FUNCTION_ARGS)
{
	int64		time = microseconds(fcinfo);
	int64		rest = time % USECS_PER_DAY;

	PG_RETURN_FLOAT8((double) (time / USECS_PER_DAY + (rest >= USECS_PER_DAY / 2) - (rest <= -USECS_PER_DAY / 2)));
}
