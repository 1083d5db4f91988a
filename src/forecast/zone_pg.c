/*
 * zone_pg.c
 *		Local days by the offsets of the time zone, each looked up once for the stretch of time that it holds.
 *
 * The server's own conversion works out year, month, day, hour and minute of each instant and puts them together again: a tenth of a
 * microsecond, six times a deal.
 */
#include "postgres.h"

#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"

#include "forecast/zone_pg.h"

#define STRETCHES	512			/* a power of two */
#define STRETCH		(INT64CONST(8) * USECS_PER_DAY)	/* instants so near share a slot: its last offset serves most of them */

/* An offset from UTC, and from when until when it is known to hold */
typedef struct ZoneOffset
{
	TimestampTz from;
	TimestampTz until;
	int64		offset;
} ZoneOffset;

static ZoneOffset known_offset[STRETCHES];
static const pg_tz *known_zone = NULL;

/* Local time the server's way. */
static Timestamp
local_by_server(TimestampTz at)
{
	return DatumGetTimestamp(DirectFunctionCall1(timestamptz_timestamp, TimestampTzGetDatum(at)));
}

/* Look up the offset of an instant, and how long it stays. False: the zone does not say. */
static bool
find_offset(TimestampTz at, ZoneOffset *found)
{
	int64		second = at / USECS_PER_SEC - (at % USECS_PER_SEC < 0);
	pg_time_t	now = (pg_time_t) (second + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY);
	pg_time_t	boundary;
	long int	before;
	long int	after;
	int			before_summer;
	int			after_summer;
	int			answer = pg_next_dst_boundary(&now, &before, &before_summer, &boundary, &after, &after_summer, session_timezone);

	if (answer < 0)
		return false;
	found->from = second * USECS_PER_SEC;
	found->until = answer == 0 ? DT_NOEND :
		((int64) boundary - (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY) * USECS_PER_SEC;
	found->offset = (int64) before * USECS_PER_SEC;
	return true;
}

/* Local time. */
static Timestamp
local_time(TimestampTz at)
{
	ZoneOffset	   *slot = &known_offset[(uint64) (at / STRETCH) & (STRETCHES - 1)];

	if (known_zone != session_timezone)
	{
		memset(known_offset, 0, sizeof(known_offset));	/* from = until: nothing known */
		known_zone = session_timezone;
	}
	if ((at < slot->from || at >= slot->until) && !find_offset(at, slot))
	{
		slot->from = slot->until = 0;
		return local_by_server(at);
	}
	return at + slot->offset;
}

/* See zone_pg.h. */
int32
forecast_local_day(TimestampTz at, bool *midnight)
{
	Timestamp	local = TIMESTAMP_NOT_FINITE(at) || !IS_VALID_TIMESTAMP(at) ? at : local_time(at);
	int64		day = local / USECS_PER_DAY - (local % USECS_PER_DAY < 0);

	if (midnight != NULL)
		*midnight = local % USECS_PER_DAY == 0;
	return (int32) Max(Min(day, FORECAST_DAY_MOST), -FORECAST_DAY_MOST);
}
