/*
 * schedule.c
 *		Parsing schedules and finding the next occurrence. Knows nothing of jobs, tables or the server.
 *
 * Cron fields are those of crontab(5): minute, hour, day of month, month, day of week; lists, ranges, steps, English
 * names. If both day fields are restricted, a day that matches either one is meant; a field that begins with a star
 * restricts nothing of the other.
 *
 * Daylight saving, as Vixie's cron treats it. With an hour given, a local time is meant once: one that the clock skips fires
 * at the first instant after the gap, one that the clock shows twice fires the first time. With every hour meant ("*"
 * in the hour field) real time is meant: a job of every 5 minutes keeps its 5 minutes through both changes.
 */
#include "worker/schedule.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SECONDS_PER_DAY 86400
#define LONGEST_PERIOD (3653 * (int64_t) SECONDS_PER_DAY)
#define ALL_HOURS 0xFFFFFFu
/* Forty years may lie between two 29ths of February that are Sundays (1 in 28, but 2100 has none) */
#define HORIZON_DAYS (41 * 366)
/* Instants beyond this many seconds from 1970 (about 300,000 years) are refused: no sum below can overflow */
#define INSTANT_LIMIT INT64_C(10000000000000)

typedef struct Field
{
	const char *name;
	int			low;
	int			high;
	const char *const *names;	/* of low, low + 1, … */
	int			names_low;
} Field;

static const char *const month_names[] = {"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec", NULL};
static const char *const weekday_names[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat", NULL};

static const Field fields[5] = {
	{"minute", 0, 59, NULL, 0},
	{"hour", 0, 23, NULL, 0},
	{"day of month", 1, 31, NULL, 0},
	{"month", 1, 12, month_names, 1},
	{"day of week", 0, 7, weekday_names, 0}
};

typedef struct Failure
{
	char	   *text;
	size_t		size;
} Failure;

/* Note what is wrong; false, so that callers can return it. */
__attribute__((format(printf, 2, 3))) static bool
fail(Failure *failure, const char *format, ...)
{
	va_list		args;

	va_start(args, format);
	vsnprintf(failure->text, failure->size, format, args);
	va_end(args);
	return false;
}

/* ASCII white space, whatever the locale */
static bool
is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}

/* Next word of a text, at most size - 1 bytes; false at the end or where the word is longer. */
static bool
next_word(const char **text, char *word, size_t size)
{
	size_t		length = 0;

	while (is_space(**text))
		(*text)++;
	while (**text != '\0' && !is_space(**text))
	{
		if (length + 1 >= size)
			return false;
		word[length++] = *(*text)++;
	}
	word[length] = '\0';
	return length > 0;
}

/* Letters of ASCII in lower case, in place */
static void
lower(char *word)
{
	for (; *word != '\0'; word++)
		if (*word >= 'A' && *word <= 'Z')
			*word += 'a' - 'A';
}

/* Digits at *text as a number of at most nine digits; false where there is none. */
static bool
read_number(const char **text, int *value)
{
	int			digits = 0;

	*value = 0;
	while (**text >= '0' && **text <= '9')
	{
		if (++digits > 9)
			return false;
		*value = *value * 10 + (*(*text)++ - '0');
	}
	return digits > 0;
}

/* A number or a name of the field at *text */
static bool
read_value(const Field *field, const char **text, int *value)
{
	if (read_number(text, value))
		return true;
	for (int i = 0; field->names != NULL && field->names[i] != NULL; i++)
		if (strncmp(*text, field->names[i], 3) == 0)
		{
			*text += 3;
			*value = field->names_low + i;
			return true;
		}
	return false;
}

/* One element of a list: a star, a value or a range, each with an optional step. Sets its bits. */
static bool
read_element(const Field *field, const char **text, uint64_t *bits, Failure *failure)
{
	int			low = field->low;
	int			high = field->high;
	int			step = 1;
	bool		single = false;

	if (**text == '*')
		(*text)++;
	else
	{
		if (!read_value(field, text, &low))
			return fail(failure, "the %s field has neither a number%s nor a star where one is due", field->name,
						field->names != NULL ? ", a name" : "");
		single = **text != '-';
		if (!single)
		{
			(*text)++;
			if (!read_value(field, text, &high))
				return fail(failure, "the %s field has a range without an end", field->name);
		}
	}
	if (**text == '/')
	{
		(*text)++;
		if (!read_number(text, &step) || step == 0)
			return fail(failure, "the %s field has a step that is no positive number", field->name);
	}
	else if (single)
		high = low;
	if (low < field->low || high > field->high || low > field->high)
		return fail(failure, "the %s field allows %d to %d", field->name, field->low, field->high);
	if (low > high)
		return fail(failure, "the %s field has a range whose end is before its begin", field->name);
	for (int value = low; value <= high; value += step)
		*bits |= UINT64_C(1) << value;
	return true;
}

/* One of the five fields: a comma-separated list */
static bool
read_field(const Field *field, const char *text, uint64_t *bits, Failure *failure)
{
	*bits = 0;
	for (;;)
	{
		if (!read_element(field, &text, bits, failure))
			return false;
		if (*text == '\0')
			return true;
		if (*text != ',')
			return fail(failure, "the %s field has \"%.20s\" where a comma or its end is due", field->name, text);
		text++;
	}
}

/* Does some year have a day that the day and month fields mean? (A weekday alone always comes.) */
static bool
can_occur(const WorkerSchedule *schedule)
{
	static const int longest[13] = {0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

	if (!schedule->any_weekday && !schedule->any_day)
		return true;			/* either field will do */
	for (int month = 1; month <= 12; month++)
		if (schedule->months & (1u << month))
			for (int day = 1; day <= longest[month]; day++)
				if (schedule->days & (1u << day))
					return true;
	return false;
}

/* Five cron fields and perhaps a zone */
static bool
parse_cron(const char *text, WorkerSchedule *schedule, Failure *failure)
{
	uint64_t	bits[5];
	bool		star[5];
	char		word[256];

	schedule->kind = WORKER_CRON;
	for (int i = 0; i < 5; i++)
	{
		if (!next_word(&text, word, sizeof(word)))
			return fail(failure, "five fields are due (minute, hour, day of month, month, day of week), the %s is missing or too long",
						fields[i].name);
		lower(word);
		star[i] = word[0] == '*';
		if (!read_field(&fields[i], word, &bits[i], failure))
			return false;
	}
	while (is_space(*text))
		text++;
	if (*text != '\0' && !next_word(&text, schedule->zone, sizeof(schedule->zone)))
		return fail(failure, "the time zone after the five fields is too long");
	if (next_word(&text, word, sizeof(word)) || *text != '\0')
		return fail(failure, "there is more than five fields and a time zone");

	schedule->minutes = bits[0];
	schedule->hours = (uint32_t) bits[1];
	schedule->days = (uint32_t) bits[2];
	schedule->months = (uint32_t) bits[3];
	schedule->weekdays = (uint32_t) ((bits[4] | bits[4] >> 7) & 0x7F);
	schedule->any_day = star[2];
	schedule->any_weekday = star[4];
	if (!can_occur(schedule))
		return fail(failure, "no month has such a day: it would never run");
	return true;
}

/* Seconds of a unit's name in singular or plural; 0 where it is none */
static int64_t
unit_seconds(const char *word)
{
	static const struct
	{
		const char *name;
		int64_t		seconds;
	}			units[] = {
		{"second", 1}, {"minute", 60}, {"hour", 3600}, {"day", SECONDS_PER_DAY}, {"week", 7 * SECONDS_PER_DAY}
	};

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
	{
		size_t		length = strlen(units[i].name);

		if (strncmp(word, units[i].name, length) == 0 &&
			(word[length] == '\0' || (word[length] == 's' && word[length + 1] == '\0')))
			return units[i].seconds;
	}
	return 0;
}

/* What follows the word "every": [N] unit */
static bool
parse_every(const char *text, WorkerSchedule *schedule, Failure *failure)
{
	char		word[64];
	int			count = 1;
	int64_t		unit;

	schedule->kind = WORKER_EVERY;
	if (!next_word(&text, word, sizeof(word)))
		return fail(failure, "\"every\" needs a number and a unit, as in \"every 5 minutes\"");
	if (word[0] >= '0' && word[0] <= '9')
	{
		const char *digits = word;

		if (!read_number(&digits, &count) || *digits != '\0')
			return fail(failure, "\"%s\" is not a whole number of units", word);
		if (!next_word(&text, word, sizeof(word)))
			return fail(failure, "\"every %d\" needs a unit: seconds, minutes, hours, days or weeks", count);
	}
	lower(word);
	unit = unit_seconds(word);
	if (unit == 0)
		return fail(failure, "\"%s\" is not a unit: use seconds, minutes, hours, days or weeks", word);
	if (next_word(&text, word, sizeof(word)) || *text != '\0')
		return fail(failure, "nothing may follow the unit; for a time of day use five cron fields, as in \"30 2 * * *\"");
	if (count == 0)
		return fail(failure, "a period must be at least a second");
	if (count > LONGEST_PERIOD / unit)
		return fail(failure, "a period may be ten years at most");
	schedule->period = count * unit;
	return true;
}

/*
 * Read a schedule: "every [N] seconds|minutes|hours|days|weeks", five cron fields with an optional time zone behind them, or
 * one of cron's short names (@hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually). The zone's name is kept,
 * not checked. False with the reason in 'error'.
 */
bool
worker_schedule_parse(const char *text, WorkerSchedule *schedule, char *error, size_t error_size)
{
	static const char *const short_names[][2] = {
		{"@hourly", "0 * * * *"}, {"@daily", "0 0 * * *"}, {"@midnight", "0 0 * * *"}, {"@weekly", "0 0 * * 0"},
		{"@monthly", "0 0 1 * *"}, {"@yearly", "0 0 1 1 *"}, {"@annually", "0 0 1 1 *"}
	};
	Failure		failure = {error, error_size};
	const char *rest = text;
	char		word[64];

	memset(schedule, 0, sizeof(*schedule));
	if (error_size > 0)
		error[0] = '\0';
	if (next_word(&rest, word, sizeof(word)))
	{
		lower(word);
		if (strcmp(word, "every") == 0)
			return parse_every(rest, schedule, &failure);
		for (size_t i = 0; word[0] == '@' && i < sizeof(short_names) / sizeof(short_names[0]); i++)
			if (strcmp(word, short_names[i][0]) == 0)
			{
				char		expanded[WORKER_ZONE_LENGTH + 32];

				snprintf(expanded, sizeof(expanded), "%s %.*s", short_names[i][1], WORKER_ZONE_LENGTH + 8, rest);
				return parse_cron(expanded, schedule, &failure);
			}
		if (word[0] == '@')
			return fail(&failure, "\"%s\" is not one of @hourly, @daily, @weekly, @monthly and @yearly", word);
	}
	return parse_cron(text, schedule, &failure);
}

/* Quotient rounded down, also below zero */
static int64_t
floor_divide(int64_t a, int64_t b)
{
	return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

/* Days since 1970-01-01 to month (1-12) and day (1-31) of the Gregorian calendar; after Hinnant, "chrono-Compatible Low-Level Date Algorithms" */
static void
civil_from_days(int64_t days, int *month, int *day)
{
	int64_t		shifted = days + 719468;
	int64_t		era = floor_divide(shifted, 146097);
	int			day_of_era = (int) (shifted - era * 146097);
	int			year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
	int			day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
	int			march_month = (5 * day_of_year + 2) / 153;

	*day = day_of_year - (153 * march_month + 2) / 5 + 1;
	*month = march_month < 10 ? march_month + 3 : march_month - 9;
}

/* Do the three day fields mean this day? */
static bool
day_matches(const WorkerSchedule *schedule, int64_t days)
{
	int			month;
	int			day;
	int			weekday = (int) (((days + 4) % 7 + 7) % 7); /* 1970-01-01 was a Thursday */
	bool		day_fits;
	bool		weekday_fits;

	civil_from_days(days, &month, &day);
	if (!(schedule->months & (1u << month)))
		return false;
	day_fits = (schedule->days & (1u << day)) != 0;
	weekday_fits = (schedule->weekdays & (1u << weekday)) != 0;
	if (schedule->any_day || schedule->any_weekday)
		return day_fits && weekday_fits;
	return day_fits || weekday_fits;
}

/* First wall-clock minute at or after 'wall' (seconds, as if the wall clock were UTC) that the fields mean */
static int64_t
next_wall(const WorkerSchedule *schedule, int64_t wall)
{
	int64_t		minute = floor_divide(wall + 59, 60);
	int64_t		first_day = floor_divide(minute, 1440);

	for (int64_t days = first_day; days < first_day + HORIZON_DAYS; days++)
	{
		int			start = days == first_day ? (int) (minute - days * 1440) : 0;

		if (!day_matches(schedule, days))
			continue;
		for (int hour = start / 60; hour < 24; hour++)
		{
			if (!(schedule->hours & (1u << hour)))
				continue;
			for (int m = hour == start / 60 ? start % 60 : 0; m < 60; m++)
				if (schedule->minutes & (UINT64_C(1) << m))
					return (days * 1440 + hour * 60 + m) * 60;
		}
	}
	return WORKER_NEVER;
}

/* First instant in (low, high] at which the offset is no longer the one at low; the offset at high differs */
static int64_t
find_transition(int64_t low, int64_t high, WorkerZoneOffset offset, void *context)
{
	int32_t		before = offset(context, low);

	while (high - low > 1)
	{
		int64_t		middle = low + (high - low) / 2;

		if (offset(context, middle) == before)
			low = middle;
		else
			high = middle;
	}
	return high;
}

/*
 * The instant of a wall-clock time: the first one where the clock shows it twice, the end of the gap where it never does.
 * Offsets a day before and after are the candidates: no zone changes twice in so short a time.
 */
static int64_t
instant_of_wall(int64_t wall, WorkerZoneOffset offset, void *context)
{
	int32_t		before = offset(context, wall - 2 * SECONDS_PER_DAY);
	int32_t		after = offset(context, wall + 2 * SECONDS_PER_DAY);
	int64_t		early = wall - (before > after ? before : after);
	int64_t		late = wall - (before > after ? after : before);

	if (early + offset(context, early) == wall)
		return early;
	if (early == late || late + offset(context, late) == wall)
		return late;
	return find_transition(early, late, offset, context);
}

/* Every hour is meant: real time, through the zone's changes */
static int64_t
next_in_real_time(const WorkerSchedule *schedule, int64_t after, WorkerZoneOffset offset, void *context)
{
	int64_t		from = after + 1;

	/* each turn either returns or passes a change of offset, of which there are a few a year */
	for (int turn = 0; turn < 1000; turn++)
	{
		int32_t		now_offset = offset(context, from);
		int64_t		wall = next_wall(schedule, from + now_offset);
		int64_t		instant = wall == WORKER_NEVER ? WORKER_NEVER : wall - now_offset;

		if (instant == WORKER_NEVER || offset(context, instant) == now_offset)
			return instant;
		from = find_transition(from, instant, offset, context);
	}
	return WORKER_NEVER;
}

/* An hour is given: each wall-clock time is meant once. The instants of rising wall-clock times never fall. */
static int64_t
next_by_wall_clock(const WorkerSchedule *schedule, int64_t after, WorkerZoneOffset offset, void *context)
{
	int64_t		wall = after + offset(context, after);

	/* a clock set back shows up to a day's worth of minutes again, all of which have had their turn */
	for (int turn = 0; turn < 2 * 1440; turn++)
	{
		int64_t		instant;

		wall = next_wall(schedule, wall);
		if (wall == WORKER_NEVER)
			return WORKER_NEVER;
		instant = instant_of_wall(wall, offset, context);
		if (instant > after)
			return instant;
		wall += 60;
	}
	return WORKER_NEVER;
}

/*
 * The first occurrence strictly after an instant, in seconds since 1970-01-01 00:00 UTC; WORKER_NEVER where there is none
 * within forty years or the instant is out of range. A fixed period counts real seconds from the anchor, also backwards.
 */
int64_t
worker_schedule_next(const WorkerSchedule *schedule, int64_t after, int64_t anchor, WorkerZoneOffset offset, void *context)
{
	if (after > INSTANT_LIMIT || after < -INSTANT_LIMIT || anchor > INSTANT_LIMIT || anchor < -INSTANT_LIMIT)
		return WORKER_NEVER;
	if (schedule->kind == WORKER_EVERY)
		return anchor + (floor_divide(after - anchor, schedule->period) + 1) * schedule->period;
	if (schedule->hours == ALL_HOURS)
		return next_in_real_time(schedule, after, offset, context);
	return next_by_wall_clock(schedule, after, offset, context);
}

/*
 * Seconds to wait after so many failures in a row (at least 1): doubling from 'first' up to 'longest', then spread by a
 * fifth to either side, so that jobs that failed together do not come back together.
 */
double
worker_backoff(int failures, double first, double longest, double random)
{
	double		wait = first;

	for (int i = 1; i < failures && wait < longest; i++)
		wait *= 2;
	if (wait > longest)
		wait = longest;
	return wait * (0.8 + 0.4 * random);
}
