/*
 * schedule.h
 *		When a job is due: 'every 5 minutes', or five cron fields in a time zone.
 *
 * Instants are seconds since 1970-01-01 00:00 UTC.
 * The zone is a callback that gives the offset from UTC at an instant, so that the kernel needs no zone database.
 */
#ifndef SALESOPS_WORKER_SCHEDULE_H
#define SALESOPS_WORKER_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WORKER_ZONE_LENGTH 64

/* No occurrence within forty years: only for instants out of range, since a schedule that never occurs is refused */
#define WORKER_NEVER INT64_MAX

typedef enum WorkerScheduleKind
{
	WORKER_EVERY,				/* a fixed period, counted from an anchor */
	WORKER_CRON					/* wall-clock minutes in a zone */
} WorkerScheduleKind;

typedef struct WorkerSchedule
{
	WorkerScheduleKind kind;
	int64_t		period;			/* WORKER_EVERY: seconds, at least 1 */
	uint64_t	minutes;		/* WORKER_CRON: bit m of 0-59 */
	uint32_t	hours;			/* bit h of 0-23 */
	uint32_t	days;			/* bit d of 1-31 */
	uint32_t	months;			/* bit m of 1-12 */
	uint32_t	weekdays;		/* bit w of 0-6, Sunday is 0 */
	bool		any_day;		/* the field began with a star: it does not widen the other one */
	bool		any_weekday;
	char		zone[WORKER_ZONE_LENGTH];	/* a zone written after the five fields, or "" */
} WorkerSchedule;

/* Seconds east of UTC at an instant (seconds since 1970-01-01 00:00 UTC) */
typedef int32_t (*WorkerZoneOffset) (void *context, int64_t instant);

/* False with a message in 'error' where the text is no schedule or one that never occurs. */
extern bool worker_schedule_parse(const char *text, WorkerSchedule *schedule, char *error, size_t error_size);

/* The first occurrence strictly after 'after'; 'anchor' is what a fixed period counts from. */
extern int64_t worker_schedule_next(const WorkerSchedule *schedule, int64_t after, int64_t anchor,
									WorkerZoneOffset offset, void *context);

/*
 * Seconds to wait before attempt number 'failures' + 1: first * 2^(failures - 1), at most 'longest', times 0.8 to 1.2 by
 * 'random' in [0, 1)
 */
extern double worker_backoff(int failures, double first, double longest, double random);

#endif							/* SALESOPS_WORKER_SCHEDULE_H */
