/*
 * run_pg.c
 *		One run of one job: lock, claim, record. Used by the processes that run jobs, and by run_job() and run_due_jobs().
 *
 * The lock is an advisory one of a kind of its own (it never meets a user's), keyed by job. Who holds it may run the job; a
 * run recorded as running whose lock is free has lost its process. A command can let go of its session's advisory locks
 * (pg_advisory_unlock_all, DISCARD ALL): a process of ours that is at a job counts as holding its lock, whatever its command did.
 * The record of success is written in the transaction of the work, and only if the run is still recorded as running: so work
 * and record stand or fall together.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "commands/async.h"
#include "common/pg_prng.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgtime.h"
#include "storage/lock.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "core/compat.h"
#include "core/errors.h"
#include "core/spi.h"
#include "worker/schedule.h"
#include "worker/worker.h"

/* The fourth field tells our advisory locks from users' (1 and 2) */
#define JOB_LOCK_KIND 3
#define EPOCH_SECONDS ((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY)
#define LONGEST_BACKOFF_SECONDS 3600.0
/* An occurrence this late counts as missed */
#define MISSED_AFTER (60 * USECS_PER_SEC)

/* The tag of a job's lock */
static LOCKTAG
job_lock_tag(int64 job_id)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) (job_id >> 32), (uint32) job_id, JOB_LOCK_KIND);
	return tag;
}

/* Take a job's lock if it is free, until the transaction's end or, for a session, until worker_unlock_job. */
bool
worker_lock_job(int64 job_id, bool session)
{
	LOCKTAG		tag = job_lock_tag(job_id);

	if (LockAcquire(&tag, ExclusiveLock, session, true) == LOCKACQUIRE_NOT_AVAIL)
		return false;
	if (!worker_runs_job(job_id))
		return true;
	(void) LockRelease(&tag, ExclusiveLock, session);
	return false;
}

/* Let go of a session's lock on a job. Quiet if it is not held: the command may have released all advisory locks. */
void
worker_unlock_job(int64 job_id)
{
	LOCKTAG		tag = job_lock_tag(job_id);

	if (lock_held_by_me(&tag, ExclusiveLock))
		(void) LockRelease(&tag, ExclusiveLock, true);
}

/* Offset of a zone at an instant, for the kernel */
static int32_t
zone_offset(void *context, int64_t instant)
{
	pg_time_t	time = (pg_time_t) instant;
	struct pg_tm *tm = pg_localtime(&time, (pg_tz *) context);

	return tm == NULL ? 0 : (int32_t) tm->tm_gmtoff;
}

/* First occurrence after an instant; DT_NOEND where there is none. Raises if schedule or zone are no longer valid. */
TimestampTz
worker_next_occurrence(const char *schedule, const char *zone, TimestampTz after, TimestampTz anchor)
{
	WorkerSchedule parsed;
	char		error[200];
	pg_tz	   *tz = pg_tzset(zone);
	int64		next;

	if (tz == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("time zone \"%s\" not recognized", zone)));
	if (!worker_schedule_parse(schedule, &parsed, error, sizeof(error)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid schedule \"%s\"", schedule),
				 errdetail_internal("%s", error)));
	/* whole seconds, rounded down also before 2000 */
	next = worker_schedule_next(&parsed,
								after / USECS_PER_SEC - (after % USECS_PER_SEC < 0) + EPOCH_SECONDS,
								anchor / USECS_PER_SEC - (anchor % USECS_PER_SEC < 0) + EPOCH_SECONDS,
								zone_offset, tz);
	if (next == WORKER_NEVER)
		return DT_NOEND;
	return (next - EPOCH_SECONDS) * USECS_PER_SEC;
}

/* When a job that has failed so often in a row is tried again: after its back-off, or, retries used up, not before its schedule */
static TimestampTz
next_attempt(int failures, int retries, double first_delay, TimestampTz scheduled)
{
	double		wait = worker_backoff(failures, first_delay, LONGEST_BACKOFF_SECONDS, pg_prng_double(&pg_global_prng_state));
	TimestampTz again = GetCurrentTimestamp() + (TimestampTz) (wait * USECS_PER_SEC);

	if (failures <= retries)
		return again;
	return Max(again, scheduled);
}

/* Scalar results of the last query's first row */
static TimestampTz
get_timestamp(int column, TimestampTz otherwise)
{
	bool		isnull;
	Datum		value = spi_get_datum(0, column, &isnull);

	return isnull ? otherwise : DatumGetTimestampTz(value);
}

/*
 * The occurrence that follows the one at hand. The job's row already names the next one while a failed occurrence is tried
 * again: that one is still to come.
 */
static TimestampTz
following_occurrence(TimestampTz due, TimestampTz occurrence, TimestampTz now)
{
	char	   *schedule = spi_get_text(0, 5);
	char	   *zone = spi_get_text(0, 6);
	char	   *catch_up = spi_get_text(0, 7);
	TimestampTz anchor = get_timestamp(9, now);

	if (strcmp(catch_up, "all") == 0 && occurrence <= now && spi_get_bool(0, 15))
		return occurrence;
	if (strcmp(catch_up, "all") == 0 && occurrence <= now)
		return worker_next_occurrence(schedule, zone, occurrence, anchor);
	return due > now ? due : worker_next_occurrence(schedule, zone, now, anchor);
}

/* Fill in the run from the job's row; its texts live in the given context. */
static void
read_job(int64 job_id, JobRun *run, MemoryContext context)
{
	bool		isnull;
	double		timeout = spi_get_float8(0, 10, &isnull);

	run->job_id = job_id;
	run->name = MemoryContextStrdup(context, spi_get_text(0, 1));
	run->owner = get_role_oid(spi_get_text(0, 2), true);
	run->command = MemoryContextStrdup(context, spi_get_text(0, 3));
	run->search_path = MemoryContextStrdup(context, spi_get_text(0, 4));
	run->timeout = isnull ? 0 : (int64) Min(timeout, (double) INT_MAX);
	run->queue_row = spi_get_text(0, 16) ? MemoryContextStrdup(context, spi_get_text(0, 16)) : NULL;
	run->queue_xmin = spi_get_text(0, 17) ? MemoryContextStrdup(context, spi_get_text(0, 17)) : NULL;
	run->drains = spi_get_bool(0, 18);
	run->started_at = GetCurrentTimestamp();
}

/* Write down that a run has begun; within SPI, as the owner. */
static void
record_begin(JobRun *run, TimestampTz next_run_at, TimestampTz occurrence)
{
	spi_execute(SPI_OK_INSERT_RETURNING,
				"INSERT INTO salesops.job_history (job_id, started_at, outcome, pid) "
				"VALUES ($1, $2, 'running', $3) RETURNING run_id",
				3, (SpiArg[]) {spi_int8(run->job_id), spi_timestamptz(run->started_at), spi_int4(MyProcPid)});
	run->run_id = spi_get_int8(0, 1);
	spi_execute(SPI_OK_UPDATE,
				"UPDATE salesops.job_definition SET running_run = $2, last_started_at = $3, next_run_at = $4, occurrence = $5 "
				"WHERE job_id = $1",
				5, (SpiArg[]) {spi_int8(run->job_id), spi_int8(run->run_id), spi_timestamptz(run->started_at),
				spi_timestamptz(next_run_at), spi_timestamptz(occurrence)});
}

/*
 * Claim a run: take the lock, look whether the job is still due (by_hand: whatever it says), note the next occurrence, record the
 * run as running. In a transaction of the caller's. False where there is nothing to run; a lock just taken is let go.
 */
bool
worker_claim_run(int64 job_id, bool by_hand, bool lock_session, JobRun *run)
{
	SpiScope	scope;
	TimestampTz now;
	TimestampTz due;
	TimestampTz occurrence;
	TimestampTz next;
	MemoryContext context = CurrentMemoryContext;
	bool		claimed = false;

	if (!worker_lock_job(job_id, lock_session))
		return false;
	spi_open(&scope, SPI_AS_OWNER);
	now = GetCurrentTimestamp();
	if (spi_execute(SPI_OK_SELECT,
					"SELECT name, owner, command, search_path, schedule, time_zone, catch_up, running_run, created_at, "
					"       extract(epoch FROM timeout)::pg_catalog.float8 * 1000, next_run_at, occurrence, "
					"       next_run_at <= pg_catalog.clock_timestamp() AND NOT paused AND failures = 0, "
					"       NOT paused AND (next_run_at <= pg_catalog.clock_timestamp() OR failures = 0 AND drains AND q.ctid IS NOT NULL), "
					"       failures > 0 AND failures <= retries, q.ctid::pg_catalog.text, q.xmin::pg_catalog.text, drains "
					"FROM salesops.job_definition LEFT JOIN LATERAL ("
					"  SELECT b.ctid, b.xmin FROM salesops.change_batch b WHERE b.entity = on_change LIMIT 1) q ON true "
					"WHERE job_id = $1 AND running_run IS NULL",
					1, (SpiArg[]) {spi_int8(job_id)}) == 1 && (by_hand || spi_get_bool(0, 14)))
	{
		due = get_timestamp(11, DT_NOEND);
		occurrence = get_timestamp(12, due);
		next = following_occurrence(due, occurrence, now);
		if (!by_hand && spi_get_bool(0, 13) && now - due > MISSED_AFTER && strcmp(spi_get_text(0, 7), "skip") == 0)
			spi_execute(SPI_OK_UPDATE,
						"UPDATE salesops.job_definition SET next_run_at = $2, occurrence = $2 WHERE job_id = $1",
						2, (SpiArg[]) {spi_int8(job_id), spi_timestamptz(next)});
		else
		{
			read_job(job_id, run, context);
			record_begin(run, next, next);
			claimed = true;
		}
	}
	spi_close(&scope);
	if (!claimed && lock_session)
		worker_unlock_job(job_id);
	return claimed;
}

/*
 * Did the run take off the queue what was there when it began? A run on change that did not would be due again at once: until a run
 * does, only the schedule starts the job. Within SPI.
 */
static bool
has_drained(const JobRun *run)
{
	bool		drained;

	if (run->queue_row == NULL)
		return true;
	drained = spi_execute(SPI_OK_SELECT,
						  "SELECT 1 FROM salesops.change_batch q WHERE q.ctid = $1::pg_catalog.tid AND q.xmin::pg_catalog.text = $2",
						  2, (SpiArg[]) {spi_text(run->queue_row), spi_text(run->queue_xmin)}) == 0;
	if (!drained && run->drains)
		ereport(LOG,
				(errmsg("salesops: job \"%s\" has left the changes it runs on in the queue", run->name),
				 errdetail("Until a run of it drains them it is started by its schedule only."),
				 errhint("Its command should call salesops.refresh_changed().")));
	return drained;
}

/* Record success, in the transaction of the work. An error, and so no work, where the run is no longer ours. */
void
worker_record_success(const JobRun *run, int64 rows)
{
	SpiScope	scope;

	spi_open(&scope, SPI_AS_OWNER);
	if (spi_execute(SPI_OK_UPDATE,
					"UPDATE salesops.job_history SET outcome = 'succeeded', finished_at = pg_catalog.clock_timestamp(), rows = $2 "
					"WHERE run_id = $1 AND outcome = 'running'",
					2, (SpiArg[]) {spi_int8(run->run_id), spi_int8(rows)}) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("job \"%s\" was dropped or its run given up while it ran", run->name),
				 errdetail("Its work is undone.")));
	spi_execute(SPI_OK_UPDATE,
				"UPDATE salesops.job_definition SET running_run = NULL, failures = 0, last_success_at = pg_catalog.clock_timestamp(), "
				"  drains = $3 WHERE job_id = $1 AND running_run = $2",
				3, (SpiArg[]) {spi_int8(run->job_id), spi_int8(run->run_id), spi_bool(has_drained(run))});
	spi_close(&scope);
}

/* Put off the job's next run after a failure and tell who listens; within SPI, as the owner. */
static void
record_retry(int64 job_id, int64 run_id, const char *outcome, const char *error)
{
	TimestampTz next;
	int			failures;

	if (spi_execute(SPI_OK_UPDATE_RETURNING,
					"UPDATE salesops.job_definition SET running_run = NULL, failures = failures + 1 WHERE job_id = $1 "
					"RETURNING failures::pg_catalog.int8, retries::pg_catalog.int8, "
					"  extract(epoch FROM retry_delay)::pg_catalog.float8, next_run_at, name",
					1, (SpiArg[]) {spi_int8(job_id)}) != 1)
		return;
	failures = (int) spi_get_int8(0, 1);
	next = next_attempt(failures, (int) spi_get_int8(0, 2), spi_get_float8(0, 3, &(bool) {false}), get_timestamp(4, DT_NOEND));
	ereport(LOG,
			(errmsg("salesops: job \"%s\" %s: %s", spi_get_text(0, 5), outcome, error),
			 errdetail("Failures in a row: %d. Next attempt at %s.", failures, timestamptz_to_str(next))));
	spi_execute(SPI_OK_SELECT,
				"SELECT pg_catalog.pg_notify('salesops_job', pg_catalog.json_build_object("
				"'job', $1::text, 'run_id', $2::int8, 'outcome', $3::text, 'error', pg_catalog.left($4::text, 1000))::text)",
				4, (SpiArg[]) {spi_text(spi_get_text(0, 5)), spi_int8(run_id), spi_text(outcome), spi_text(error)});
	spi_execute(SPI_OK_UPDATE, "UPDATE salesops.job_definition SET next_run_at = $2 WHERE job_id = $1",
				2, (SpiArg[]) {spi_int8(job_id), spi_timestamptz(next)});
}

/* Record a run that failed ('failed' or 'timed out') and when it is tried again. Quiet where the run is no longer ours. */
void
worker_record_failure(const JobRun *run, const char *outcome, const char *error)
{
	SpiScope	scope;

	spi_open(&scope, SPI_AS_OWNER);
	if (spi_execute(SPI_OK_UPDATE,
					"UPDATE salesops.job_history SET outcome = $2, error = $3, finished_at = pg_catalog.clock_timestamp() "
					"WHERE run_id = $1 AND outcome = 'running'",
					3, (SpiArg[]) {spi_int8(run->run_id), spi_text(outcome), spi_text(error)}) == 1)
		record_retry(run->job_id, run->run_id, outcome, error);
	spi_close(&scope);
}

/* Record a run that could not even begin (owner gone, may not log in, no process) and put the job off. */
void
worker_record_unstartable(int64 job_id, const char *error)
{
	SpiScope	scope;

	spi_open(&scope, SPI_AS_OWNER);
	spi_execute(SPI_OK_INSERT_RETURNING,
				"INSERT INTO salesops.job_history (job_id, started_at, finished_at, outcome, error) "
				"VALUES ($1, pg_catalog.clock_timestamp(), pg_catalog.clock_timestamp(), 'failed', $2) RETURNING run_id",
				2, (SpiArg[]) {spi_int8(job_id), spi_text(error)});
	record_retry(job_id, spi_get_int8(0, 1), "failed", error);
	spi_close(&scope);
}

/*
 * Give up the run that is recorded as running for a job, where its lock is free: its process is gone. Records the outcome
 * ('lost' or 'timed out') and puts the job off. In a transaction of the caller's; true if there was such a run.
 */
bool
worker_give_up(int64 job_id, const char *outcome, const char *error)
{
	SpiScope	scope;
	int64		run_id;
	bool		given_up = false;

	if (!worker_lock_job(job_id, false))
		return false;
	spi_open(&scope, SPI_AS_OWNER);
	if (spi_execute(SPI_OK_SELECT, "SELECT running_run FROM salesops.job_definition WHERE job_id = $1 AND running_run IS NOT NULL",
					1, (SpiArg[]) {spi_int8(job_id)}) == 1)
	{
		run_id = spi_get_int8(0, 1);
		spi_execute(SPI_OK_UPDATE,
					"UPDATE salesops.job_history SET outcome = $2, error = $3, finished_at = pg_catalog.clock_timestamp() "
					"WHERE run_id = $1 AND outcome = 'running'",
					3, (SpiArg[]) {spi_int8(run_id), spi_text(outcome), spi_text(error)});
		record_retry(job_id, run_id, outcome, error);
		given_up = true;
	}
	spi_close(&scope);
	return given_up;
}

/* Is the job one of those? */
static bool
is_member(int64 job_id, const int64 *list, int count)
{
	for (int i = 0; i < count; i++)
		if (list[i] == job_id)
			return true;
	return false;
}

/*
 * Runs recorded as running whose lock is free have lost their process (a crash, a shutdown, a kill): record them as lost
 * and their jobs as to be tried again. 'busy' are jobs at hand. In a transaction of the caller's; returns how many.
 */
int
worker_record_lost(const int64 *busy, int nbusy)
{
	SpiScope	scope;
	int			count;
	int			lost = 0;
	int64	   *jobs;
	MemoryContext context = CurrentMemoryContext;

	spi_open(&scope, SPI_AS_OWNER);
	count = (int) spi_execute(SPI_OK_SELECT, "SELECT job_id FROM salesops.job_definition WHERE running_run IS NOT NULL",
							  0, NULL);
	jobs = MemoryContextAlloc(context, sizeof(int64) * (count + 1));
	for (int i = 0; i < count; i++)
		jobs[i] = spi_get_int8(i, 1);
	spi_close(&scope);
	for (int i = 0; i < count; i++)
		if (!is_member(jobs[i], busy, nbusy))
			lost += worker_give_up(jobs[i], "lost",
								   "the process that ran it ended: server shutdown, crash, or it was terminated");
	return lost;
}

/*
 * A clock that was ahead and has been set back leaves jobs due in a far future: bring them back to their next occurrence, retries too
 * where they are farther off than any back-off. In a transaction of the caller's.
 */
void
worker_repair_clock(void)
{
	SpiScope	scope;
	TimestampTz now = GetCurrentTimestamp();
	int			count;
	SPITupleTable *table;

	spi_open(&scope, SPI_AS_OWNER);
	count = (int) spi_execute(SPI_OK_SELECT,
							  "SELECT job_id, schedule, time_zone, created_at, next_run_at FROM salesops.job_definition "
							  "WHERE NOT paused AND next_run_at > pg_catalog.clock_timestamp() "
							  "AND (failures = 0 OR next_run_at > pg_catalog.clock_timestamp() + pg_catalog.make_interval(secs => $1))",
							  1, (SpiArg[]) {spi_float8(LONGEST_BACKOFF_SECONDS * 1.2)});
	table = SPI_tuptable;
	for (int i = 0; i < count; i++)
	{
		bool		isnull;
		int64		job_id = DatumGetInt64(SPI_getbinval(table->vals[i], table->tupdesc, 1, &isnull));
		TimestampTz anchor = DatumGetTimestampTz(SPI_getbinval(table->vals[i], table->tupdesc, 4, &isnull));
		TimestampTz planned = DatumGetTimestampTz(SPI_getbinval(table->vals[i], table->tupdesc, 5, &isnull));
		TimestampTz next = worker_next_occurrence(SPI_getvalue(table->vals[i], table->tupdesc, 2),
												  SPI_getvalue(table->vals[i], table->tupdesc, 3), now, anchor);

		if (planned > next)
			spi_execute(SPI_OK_UPDATE,
						"UPDATE salesops.job_definition SET next_run_at = $2, occurrence = least(occurrence, $2) WHERE job_id = $1 AND next_run_at = $3",
						3, (SpiArg[]) {spi_int8(job_id), spi_timestamptz(next), spi_timestamptz(planned)});
	}
	spi_close(&scope);
}

/* Remove runs that are older than their jobs keep them. In a transaction of the caller's. */
void
worker_prune_history(void)
{
	SpiScope	scope;

	spi_open(&scope, SPI_AS_OWNER);
	spi_execute(SPI_OK_DELETE,
				"DELETE FROM salesops.job_history h USING salesops.job_definition d "
				"WHERE h.job_id = d.job_id AND h.outcome <> 'running' AND h.started_at < pg_catalog.now() - d.retention",
				0, NULL);
	spi_close(&scope);
}

static volatile sig_atomic_t timer_fired = false;
static TimeoutId job_timer = MAX_TIMEOUTS;

/* The job's time is up: cancel what this process is doing. */
static void
on_timer(void)
{
	timer_fired = true;
	QueryCancelPending = true;
	InterruptPending = true;
	SetLatch(MyLatch);
}

/* Cancel this process's query after so many milliseconds; 0: never. A timer of our own, apart from statement_timeout. */
void
worker_start_timer(int64 milliseconds)
{
	if (job_timer == MAX_TIMEOUTS)
		job_timer = RegisterTimeout(USER_TIMEOUT, on_timer);
	timer_fired = false;
	if (milliseconds > 0)
		enable_timeout_after(job_timer, (int) milliseconds);
}

/* Stop the timer; true if it has fired. A cancellation it asked for and that nobody saw yet is taken back. */
bool
worker_stop_timer(void)
{
	disable_timeout(job_timer, false);
	if (timer_fired)
		QueryCancelPending = false;
	return timer_fired;
}

/* What is recorded of an error: that the time was up, or the message, and detail where there is one */
char *
worker_error_text(const ErrorData *error, bool timed_out)
{
	if (timed_out)
		return pstrdup("cancelled at its timeout");
	if (error->detail != NULL)
		return psprintf("%s: %s", error->message, error->detail);
	return pstrdup(error->message);
}

/* Run the command of a job in this backend as its owner; returns the rows its last statement touched. */
static int64
run_command(const JobRun *run)
{
	Oid			save_user;
	int			save_security;
	int			nest = NewGUCNestLevel();
	int64		rows;
	int			code;

	GetUserIdAndSecContext(&save_user, &save_security);
	/* in another's name nothing may stay behind in this session that would run with our rights later */
	if (run->owner != save_user)
		SetUserIdAndSecContext(run->owner, save_security | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	(void) set_config_option("search_path", run->search_path, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	code = SPI_execute(run->command, false, 0);
	if (code < 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the command cannot run inside a function: %s", SPI_result_code_string(code)),
				 errhint("The worker's own processes run such commands.")));
	rows = (int64) SPI_processed;
	SPI_finish();
	AtEOXact_GUC(false, nest);
	SetUserIdAndSecContext(save_user, save_security);
	return rows;
}

/*
 * Run a claimed job in this backend, its work in a subtransaction, and record the outcome in the same transaction. Returns
 * the outcome. A cancellation by the user is raised again; so are errors of ours.
 */
const char *
worker_run_here(const JobRun *run)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;
	volatile int64 rows = 0;
	bool		fired;
	bool		timed_out;
	const char *outcome;

	BeginInternalSubTransaction(NULL);
	PG_TRY();
	{
		worker_start_timer(run->timeout);
		rows = run_command(run);
		(void) worker_stop_timer();
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		fired = worker_stop_timer();
		RollbackAndReleaseCurrentSubTransaction();
		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED && !fired)
			ReThrowError(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;

	if (error == NULL)
	{
		worker_record_success(run, rows);
		return "succeeded";
	}
	timed_out = timer_fired && error->sqlerrcode == ERRCODE_QUERY_CANCELED;
	outcome = timed_out ? "timed out" : "failed";
	worker_record_failure(run, outcome, worker_error_text(error, timed_out));
	ereport(WARNING,
			(errmsg("job \"%s\" %s: %s", run->name, outcome, timed_out ? worker_error_text(error, true) : error->message),
			 error->detail ? errdetail_internal("%s", error->detail) : 0,
			 error->hint ? errhint("%s", error->hint) : 0));
	return outcome;
}
