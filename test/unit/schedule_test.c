/*
 * schedule_test.c
 *		Schedules: parsing, next occurrence, daylight saving, and an independent minute-by-minute computation.
 */
#include <time.h>

#include "tap.h"
#include "worker/schedule.h"

typedef struct Zone
{
	int			count;
	int64_t		at[4];
	int32_t		offset[5];
} Zone;

/* 2026: the European Union's summer time, 01:00 UTC on the last Sundays of March and October (directive 2000/84/EC) */
static Zone berlin = {2, {1774746000, 1792890000}, {3600, 7200, 3600}};

/* New York 2026: 2 a.m. on March 8 and November 1 (15 U.S.C. 260a) */
static Zone new_york = {2, {1772953200, 1793512800}, {-18000, -14400, -18000}};

/* Lord Howe Island: half an hour; 2026-04-04 15:00 UTC back, 2026-10-03 15:30 UTC forward (tzdata, australasia) */
static Zone lord_howe = {2, {1775314800, 1791041400}, {39600, 37800, 39600}};

/* Samoa left out the whole 30th of December 2011 (tzdata, australasia) */
static Zone apia = {1, {1325239200}, {-36000, 50400}};

static Zone utc = {0, {0}, {0}};

static int32_t
zone_offset(void *context, int64_t instant)
{
	Zone	   *zone = context;
	int			i = 0;

	while (i < zone->count && instant >= zone->at[i])
		i++;
	return zone->offset[i];
}

/* Unix time of "2026-03-29 01:00:00" UTC */
static int64_t
at(const char *text)
{
	struct tm	tm = {0};

	if (sscanf(text, "%d-%d-%d %d:%d:%d", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour, &tm.tm_min, &tm.tm_sec) < 5)
		abort();
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	return timegm(&tm);
}

static int64_t
next_of(const char *text, int64_t after, Zone *zone)
{
	WorkerSchedule schedule;
	char		error[200];

	if (!worker_schedule_parse(text, &schedule, error, sizeof(error)))
	{
		printf("# %s: %s\n", text, error);
		return -1;
	}
	return worker_schedule_next(&schedule, after, 0, zone_offset, zone);
}

static void
next_is(const char *text, const char *after, Zone *zone, const char *want)
{
	char		name[200];

	snprintf(name, sizeof(name), "%s after %s UTC", text, after);
	is_int(next_of(text, at(after), zone), at(want), name);
}

static void
refused(const char *text, const char *reason)
{
	WorkerSchedule schedule;
	char		error[200];

	ok(!worker_schedule_parse(text, &schedule, error, sizeof(error)), "refused: \"%s\"", text);
	if (!ok(strstr(error, reason) != NULL, "and says why (%s)", reason))
		printf("# got \"%s\"\n", error);
}

static void
test_parse(void)
{
	WorkerSchedule s;
	char		error[200];

	ok(worker_schedule_parse("every 5 minutes", &s, error, sizeof(error)) && s.kind == WORKER_EVERY, "every 5 minutes");
	is_int(s.period, 300, "is 300 seconds");
	ok(worker_schedule_parse("  EVERY 1 Second ", &s, error, sizeof(error)) && s.period == 1, "case and blanks do not matter");
	ok(worker_schedule_parse("every day", &s, error, sizeof(error)) && s.period == 86400, "one is the default count");
	ok(worker_schedule_parse("every 2 weeks", &s, error, sizeof(error)) && s.period == 1209600, "weeks");
	ok(worker_schedule_parse("0 2 * * mon-fri Europe/Berlin", &s, error, sizeof(error)), "cron with a zone");
	is_string(s.zone, "Europe/Berlin", "the zone is kept as written");
	is_int(s.weekdays, 0x3E, "mon-fri");
	ok(worker_schedule_parse("0 0 * JAN,jul 7", &s, error, sizeof(error)), "names and 7");
	is_int(s.weekdays, 1, "7 is Sunday");
	is_int(s.months, (1 << 1) | (1 << 7), "January and July");
	ok(worker_schedule_parse("5-59/20 */6 1,15 * *", &s, error, sizeof(error)), "ranges, steps, lists");
	is_int((int64_t) s.minutes, (INT64_C(1) << 5) | (INT64_C(1) << 25) | (INT64_C(1) << 45), "5-59/20");
	is_int(s.hours, 1 | 1 << 6 | 1 << 12 | 1 << 18, "*/6");
	ok(worker_schedule_parse("10/20 * * * *", &s, error, sizeof(error)) &&
	   s.minutes == ((UINT64_C(1) << 10) | (UINT64_C(1) << 30) | (UINT64_C(1) << 50)), "a value with a step runs to the end");
	ok(worker_schedule_parse("@daily Asia/Tokyo", &s, error, sizeof(error)) && strcmp(s.zone, "Asia/Tokyo") == 0 &&
	   s.hours == 1 && s.minutes == 1, "a short name with a zone");

	refused("", "five fields");
	refused("* * * *", "day of week");
	refused("60 * * * *", "0 to 59");
	refused("* 24 * * *", "0 to 23");
	refused("* * 0 * *", "1 to 31");
	refused("* * * 13 *", "1 to 12");
	refused("* * * * 8", "0 to 7");
	refused("5-1 * * * *", "before its begin");
	refused("*/0 * * * *", "step");
	refused("1, * * * *", "minute field");
	refused("1x * * * *", "comma");
	refused("99999999999 * * * *", "minute");
	refused("0 0 30 2 *", "never run");
	refused("0 0 31 4,6 *", "never run");
	refused("* * * * * UTC more", "more than");
	refused("every", "needs a number");
	refused("every 0 seconds", "at least a second");
	refused("every -1 minutes", "not a unit");
	refused("every 1.5 hours", "whole number");
	refused("every 5", "needs a unit");
	refused("every 5 fortnights", "not a unit");
	refused("every 5 minutes please", "nothing may follow");
	refused("every 999999999 days", "ten years");
	refused("@noon", "not one of");
	ok(!worker_schedule_parse("* * * *", &s, error, 0), "no room for the message is no trouble");
}

static void
test_next(void)
{
	WorkerSchedule s;
	char		error[100];

	next_is("30 2 * * *", "2026-01-31 02:30", &utc, "2026-02-01 02:30");
	next_is("30 2 * * *", "2026-01-31 02:29:59", &utc, "2026-01-31 02:30");
	next_is("*/15 9-17 * * 1-5", "2026-11-20 17:45", &utc, "2026-11-23 09:00");
	next_is("0 0 29 2 *", "2026-11-23 00:00", &utc, "2028-02-29 00:00");
	next_is("0 0 29 2 *", "2096-02-29 00:00", &utc, "2104-02-29 00:00");
	next_is("0 0 29 2 */7", "2088-03-01 00:00", &utc, "2128-02-29 00:00");
	next_is("0 0 1 1 *", "2026-01-01 00:00", &utc, "2027-01-01 00:00");
	next_is("0 12 13 * 5", "2026-11-13 12:00", &utc, "2026-11-20 12:00");	/* the 13th or a Friday, crontab(5) */
	next_is("0 12 */2 * 5", "2026-11-13 12:00", &utc, "2026-11-27 12:00");	/* an odd day and a Friday */
	next_is("0 2 * * *", "2026-06-01 12:00", &new_york, "2026-06-02 06:00");

	ok(worker_schedule_parse("every 7 seconds", &s, error, sizeof(error)), "every 7 seconds");
	is_int(worker_schedule_next(&s, 100, 100, zone_offset, &utc), 107, "a period after its anchor");
	is_int(worker_schedule_next(&s, 106, 100, zone_offset, &utc), 107, "in between");
	is_int(worker_schedule_next(&s, 107, 100, zone_offset, &utc), 114, "strictly after");
	is_int(worker_schedule_next(&s, 90, 100, zone_offset, &utc), 93, "a clock set back before the anchor");
	is_int(worker_schedule_next(&s, INT64_MAX, 100, zone_offset, &utc), WORKER_NEVER, "the end of time");
	is_int(worker_schedule_next(&s, INT64_MIN, 100, zone_offset, &utc), WORKER_NEVER, "its begin");
}

static void
test_daylight_saving(void)
{
	/* the gap: 02:00 to 03:00 on March 29 is not shown in Berlin */
	next_is("30 2 * * *", "2026-03-28 12:00", &berlin, "2026-03-29 01:00");
	next_is("30 2 * * *", "2026-03-29 01:00", &berlin, "2026-03-30 00:30");
	next_is("0,15,30 2-3 * * *", "2026-03-29 00:59:59", &berlin, "2026-03-29 01:00");
	next_is("0,15,30 2-3 * * *", "2026-03-29 01:00", &berlin, "2026-03-29 01:15");
	next_is("59 1 * * *", "2026-03-28 12:00", &berlin, "2026-03-29 00:59");
	next_is("0 3 * * *", "2026-03-28 12:00", &berlin, "2026-03-29 01:00");

	/* the overlap: 02:00 to 03:00 on October 25 is shown twice */
	next_is("30 2 * * *", "2026-10-24 12:00", &berlin, "2026-10-25 00:30");
	next_is("30 2 * * *", "2026-10-25 00:30", &berlin, "2026-10-26 01:30");
	next_is("30 2 * * *", "2026-10-25 01:10", &berlin, "2026-10-26 01:30");
	next_is("0 3 * * *", "2026-10-24 12:00", &berlin, "2026-10-25 02:00");
	next_is("* 2 * * *", "2026-10-25 00:59", &berlin, "2026-10-26 01:00");

	/* every hour: real time through both */
	next_is("*/30 * * * *", "2026-03-29 00:30", &berlin, "2026-03-29 01:00");
	next_is("*/30 * * * *", "2026-10-25 00:30", &berlin, "2026-10-25 01:00");
	next_is("*/30 * * * *", "2026-10-25 01:00", &berlin, "2026-10-25 01:30");
	next_is("30 * * * *", "2026-03-29 00:30", &berlin, "2026-03-29 01:30");

	next_is("30 2 * * *", "2026-03-07 12:00", &new_york, "2026-03-08 07:00");
	next_is("30 1 * * *", "2026-10-31 12:00", &new_york, "2026-11-01 05:30");
	next_is("30 1 * * *", "2026-11-01 05:30", &new_york, "2026-11-02 06:30");

	/* half an hour: 02:00 to 02:30 is skipped in October, 01:30 to 02:00 comes twice in April */
	next_is("15 2 * * *", "2026-10-03 00:00", &lord_howe, "2026-10-03 15:30");
	next_is("45 1 * * *", "2026-04-04 00:00", &lord_howe, "2026-04-04 14:45");
	next_is("45 1 * * *", "2026-04-04 14:45", &lord_howe, "2026-04-05 15:15");
	next_is("*/15 * * * *", "2026-04-04 14:45", &lord_howe, "2026-04-04 15:00");

	/* a day that never was: its noon is due as the next day begins */
	next_is("0 12 30 12 *", "2011-12-29 23:00", &apia, "2011-12-30 10:00");
	next_is("0 12 31 12 *", "2011-12-29 23:00", &apia, "2011-12-30 22:00");
}

/*
 * Independently: walk all minutes of the year, note for each wall-clock minute the fields mean when it is first shown, and
 * for those never shown the first instant whose wall clock is later.
 */
static bool
agrees_with_walk(const char *text, Zone *zone, int hour, int minute)
{
	int64_t		begin = at("2026-01-01 00:00");
	int64_t		end = at("2026-12-31 00:00");
	int64_t		expect = begin;

	for (int64_t day = begin + 86400; day < end - 86400; day += 86400)
	{
		int64_t		wall = day + hour * 3600 + minute * 60;
		int64_t		instant = wall - 86400;

		while (instant + zone_offset(zone, instant) != wall &&
			   !(instant + zone_offset(zone, instant) > wall && instant - 60 + zone_offset(zone, instant - 60) < wall))
			instant += 60;
		expect = next_of(text, expect, zone);
		if (day == begin + 86400)
			while (expect < instant)
				expect = next_of(text, expect, zone);
		if (expect != instant)
		{
			printf("# %s: %" PRId64 " but walking gives %" PRId64 "\n", text, expect, instant);
			return false;
		}
	}
	return true;
}

static void
test_walk(void)
{
	Zone	   *zones[] = {&berlin, &new_york, &lord_howe};
	const char *names[] = {"Berlin", "New York", "Lord Howe"};

	for (int z = 0; z < 3; z++)
	{
		bool		all = true;

		for (int half = 0; half < 48 && all; half++)
		{
			char		text[40];

			snprintf(text, sizeof(text), "%d %d * * *", half % 2 * 30, half / 2);
			all = agrees_with_walk(text, zones[z], half / 2, half % 2 * 30);
		}
		ok(all, "every half hour of the day, all year: as found by walking (%s)", names[z]);
	}
}

static void
test_backoff(void)
{
	is_double(worker_backoff(1, 2, 100, .5), 2, 1e-12, "the first wait");
	is_double(worker_backoff(4, 2, 100, .5), 16, 1e-12, "doubles");
	is_double(worker_backoff(50, 2, 100, .5), 100, 1e-12, "up to the longest");
	is_double(worker_backoff(INT32_MAX, 0, 100, .5), 0, 1e-12, "no wait stays none");
	is_double(worker_backoff(1, 10, 100, 0), 8, 1e-12, "a fifth less");
	ok(worker_backoff(1, 10, 100, .999999) < 12, "to a fifth more");
}

int
main(void)
{
	test_parse();
	test_next();
	test_daylight_saving();
	test_walk();
	test_backoff();
	return done_testing();
}
