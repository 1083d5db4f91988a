/*
 * database_pg.c
 *		A database's worker: finds the due jobs and hands them to processes that run them (runner_pg.c).
 *
 * It runs nothing of the users' itself, holds no lock between its short transactions, and looks anew at everything in each
 * turn: extension, jobs, runs. It leaves when there are no jobs, when the extension is gone, when somebody wants to drop,
 * copy, rename or move the database, and when another database waits for a process and it is that one's turn.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "core/compat.h"
#include "core/spi.h"
#include "worker/process.h"
#include "worker/worker.h"

#define LOST_SCAN_MS 30000
#define HOUSEKEEPING_MS 300000
#define CLOCK_CHECK_MS 60000
/* A run that catches its cancellation is terminated so long after its timeout */
#define OVERDUE_MS 5000
/* Pause between two starts of a job that runs on change: a burst of commits shares a run */
#define CHANGE_PAUSE_MS 20
/* However long the poll interval: so often a look whether somebody waits for database or extension, at no cost to speak of */
#define GLANCE_MS 1000
#define LATENCIES 1000
/* Where processes are short: a database's turn, from its first job on, if it has so much to do, and the longest rest after it */
#define SLICE_MS 2000
#define REST_MS 30000
/* Between two attempts to get a process for a job */
#define STARVED_RETRY_MS 50
#define STARVED_RETRY_LONGEST_MS 1000
#define STARVED_COMPLAIN_MS 1000

static WorkerShared *shared;
static DatabaseSlot *my_slot;
static BackgroundWorkerHandle *handles[WORKER_RUNNERS];
static TimestampTz last_lost_scan = 0;
static TimestampTz last_housekeeping = 0;
static TimestampTz last_clock_check = 0;
static TimestampTz last_ddl_check = 0;
static TimestampTz slice_from = 0;	/* steady clock: the first job was handed out */
static bool scan_for_lost = true;
static uint32 latencies[LATENCIES];

/* What one turn found out */
typedef struct Turn
{
	TimestampTz now;			/* of the steady clock, as is next */
	TimestampTz clock;			/* the same instant by the clock */
	TimestampTz next;			/* when to look again, poll aside */
	TimestampTz due;			/* when the next job is due that is not yet */
	bool		backlog;		/* jobs are due that have not been handed out */
	bool		failed;			/* an error: do not hurry */
	bool		busy;			/* there are processes that run jobs */
	bool		leave;
	WorkerEnding ending;
} Turn;

/* Is this runner slot of our database? The lock must be held. */
static bool
is_mine(const RunnerSlot *runner)
{
	return runner->state != RUNNER_FREE && runner->database == MyDatabaseId;
}

/* End the processes that run jobs here: politely those that wait, by SIGTERM those that run. */
static void
end_runners(void)
{
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < WORKER_RUNNERS; i++)
	{
		RunnerSlot *runner = &shared->runners[i];

		if (!is_mine(runner) || runner->state == RUNNER_ENDED)
			continue;
		if (runner->pid != 0 && runner->state != RUNNER_READY)
		{
			kill(runner->pid, SIGTERM);
			continue;
		}
		runner->state = RUNNER_QUIT;
		if (runner->latch != NULL)
			SetLatch(runner->latch);
	}
	LWLockRelease(&shared->lock);
}

/* Leave shared memory: the processes we started end with us; a wake that came too late for us becomes a wish. */
static void
worker_exit(int code, Datum arg)
{
	end_runners();
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	if (my_slot->pid == MyProcPid)
	{
		my_slot->pid = 0;
		my_slot->latch = NULL;
		my_slot->starved_since = 0;
		if (pg_atomic_read_u64(&my_slot->woken_at) != 0)
			my_slot->wanted = my_slot->ending != WORKER_STOPPED;
		worker_wake_launcher(shared);
	}
	/* from here on processes that end free their slots themselves; these ended a moment too early for that */
	for (int i = 0; i < WORKER_RUNNERS; i++)
		if (is_mine(&shared->runners[i]) && shared->runners[i].state == RUNNER_ENDED)
			memset(&shared->runners[i], 0, sizeof(RunnerSlot));
	LWLockRelease(&shared->lock);
}

/* Take the database's slot; false where another worker has it or stop_worker() forbade it. */
static bool
take_slot(void)
{
	bool		taken = false;

	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	my_slot = worker_database_slot(shared, MyDatabaseId, true);
	if (my_slot != NULL && my_slot->pid == 0 && my_slot->ending != WORKER_STOPPED)
	{
		my_slot->pid = MyProcPid;
		my_slot->latch = &MyProc->procLatch;
		/* the latencies are of this process: those of the one before went with it */
		my_slot->answered = 0;
		my_slot->starved_since = 0;
		my_slot->wanted = false;
		my_slot->ending = WORKER_CRASHED;
		pg_atomic_write_u64(&my_slot->woken_at, 0);
		taken = true;
	}
	LWLockRelease(&shared->lock);
	return taken;
}

static int
compare_latency(const void *a, const void *b)
{
	uint32		x = *(const uint32 *) a;
	uint32		y = *(const uint32 *) b;

	return (x > y) - (x < y);
}

/* Note how long the first unanswered commit waited for this transaction; publish the quantiles now and then. */
static void
measure_latency(TimestampTz now)
{
	TimestampTz woken_at = (TimestampTz) pg_atomic_exchange_u64(&my_slot->woken_at, 0);
	uint64		count = my_slot->answered;

	if (woken_at == 0)
		return;
	latencies[count % LATENCIES] = (uint32) Min(Max(now - woken_at, 0), PG_UINT32_MAX);
	my_slot->answered = ++count;
	if (count % 100 == 0 || count < 10)
	{
		uint32		sorted[LATENCIES];
		int			n = (int) Min(count, LATENCIES);

		memcpy(sorted, latencies, sizeof(uint32) * n);
		qsort(sorted, n, sizeof(uint32), compare_latency);
		my_slot->latency_p50 = sorted[n / 2];
		my_slot->latency_p99 = sorted[Min(n - 1, n * 99 / 100)];
	}
}

/* Is nobody dropping or altering the extension? */
static bool
extension_is_calm(Oid extension)
{
	if (!ConditionalLockDatabaseObject(ExtensionRelationId, extension, 0, AccessShareLock))
		return false;
	UnlockDatabaseObject(ExtensionRelationId, extension, 0, AccessShareLock);
	return true;
}

/*
 * Jobs keep somebody waiting who wants a table of the extension for himself alone (ALTER EXTENSION UPDATE, say): end those
 * runs, they will be tried again.
 */
static void
make_way_for_ddl(Oid extension)
{
	SpiScope	scope;
	uint64		count;

	spi_open(&scope, SPI_AS_OWNER);
	count = spi_execute(SPI_OK_SELECT,
						"SELECT DISTINCT b.pid FROM pg_catalog.pg_locks w, pg_catalog.unnest(pg_catalog.pg_blocking_pids(w.pid)) b(pid) "
						"WHERE NOT w.granted AND w.mode = 'AccessExclusiveLock' AND w.relation IN ("
						"  SELECT d.objid FROM pg_catalog.pg_depend d WHERE d.refclassid = 'pg_catalog.pg_extension'::regclass "
						"  AND d.refobjid = $1::oid AND d.classid = 'pg_catalog.pg_class'::regclass AND d.deptype = 'e')",
						1, (SpiArg[]) {spi_datum(OIDOID, ObjectIdGetDatum(extension), false)});
	LWLockAcquire(&shared->lock, LW_SHARED);
	for (uint64 row = 0; row < count; row++)
		for (int i = 0; i < WORKER_RUNNERS; i++)
		{
			bool		isnull;
			RunnerSlot *runner = &shared->runners[i];

			if (is_mine(runner) && runner->state == RUNNER_RUNNING &&
				runner->pid == DatumGetInt32(spi_get_datum(row, 1, &isnull)))
			{
				ereport(LOG, (errmsg("salesops: ending a job's process (pid %d) that blocks a change of the extension", runner->pid)));
				kill(runner->pid, SIGTERM);
			}
		}
	LWLockRelease(&shared->lock);
	spi_close(&scope);
}

/* A process has ended with a job in its hands: record what became of it. Within the turn's transaction. */
static void
settle_ended(const RunnerSlot *ended)
{
	if (ended->job_id == 0)
		return;
	if (!ended->claimed)
		worker_record_unstartable(ended->job_id, "no process for it could start: the server log says why");
	else if (ended->overdue)
		worker_give_up(ended->job_id, "timed out", "it did not end when it was cancelled and has been terminated");
	else
		worker_give_up(ended->job_id, "lost", "the process that ran it ended: server shutdown, crash, or it was terminated");
}

/* Free the slots of processes that have ended. A process may also end, or never start, without a word. */
static void
reap_runners(void)
{
	for (int i = 0; i < WORKER_RUNNERS; i++)
	{
		RunnerSlot *runner = &shared->runners[i];
		RunnerSlot	copy;
		pid_t		pid;
		bool		gone;

		LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
		copy = *runner;
		gone = is_mine(runner) &&
			(runner->state == RUNNER_ENDED ||
			 (handles[i] != NULL && GetBackgroundWorkerPid(handles[i], &pid) == BGWH_STOPPED));
		if (gone)
		{
			memset(runner, 0, sizeof(*runner));
			if (handles[i] != NULL)
				pfree(handles[i]);
			handles[i] = NULL;
		}
		LWLockRelease(&shared->lock);
		if (gone)
			settle_ended(&copy);
	}
}

/* Terminate processes whose job goes on long after its timeout cancelled it. */
static void
end_overdue(TimestampTz now)
{
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < WORKER_RUNNERS; i++)
	{
		RunnerSlot *runner = &shared->runners[i];

		if (is_mine(runner) && runner->state == RUNNER_RUNNING && runner->deadline != 0 && !runner->overdue &&
			now > TimestampTzPlusMilliseconds(runner->deadline, OVERDUE_MS))
		{
			runner->overdue = true;
			kill(runner->pid, SIGTERM);
		}
	}
	LWLockRelease(&shared->lock);
}

/* Jobs at hand, and how many processes there are; returns the number of jobs. */
static int
jobs_at_hand(int64 *jobs, int *processes)
{
	int			count = 0;

	*processes = 0;
	LWLockAcquire(&shared->lock, LW_SHARED);
	for (int i = 0; i < WORKER_RUNNERS; i++)
		if (is_mine(&shared->runners[i]))
		{
			(*processes)++;
			if (shared->runners[i].job_id != 0)
				jobs[count++] = shared->runners[i].job_id;
		}
	LWLockRelease(&shared->lock);
	return count;
}

/* Start a process in a free slot; false where there is neither slot nor process to be had. */
static bool
start_runner(int64 job_id, Oid owner)
{
	BackgroundWorker process = {0};
	MemoryContext old;
	int			found = -1;

	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < WORKER_RUNNERS && found < 0; i++)
		if (shared->runners[i].state == RUNNER_FREE)
			found = i;
	if (found >= 0)
	{
		RunnerSlot *runner = &shared->runners[found];

		memset(runner, 0, sizeof(*runner));
		runner->state = RUNNER_STARTING;
		runner->database = MyDatabaseId;
		runner->owner = owner;
		runner->job_id = job_id;
		runner->worker_latch = &MyProc->procLatch;
	}
	LWLockRelease(&shared->lock);
	if (found < 0)
		return false;

	worker_describe_process(&process, "salesops job", "salesops job", "salesops_runner_main", Int32GetDatum(found));
	old = MemoryContextSwitchTo(TopMemoryContext);
	if (RegisterDynamicBackgroundWorker(&process, &handles[found]))
	{
		MemoryContextSwitchTo(old);
		return true;
	}
	MemoryContextSwitchTo(old);
	handles[found] = NULL;
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	memset(&shared->runners[found], 0, sizeof(RunnerSlot));
	LWLockRelease(&shared->lock);
	return false;
}

/* A job is due and there is no process for it: say so now and then, if it is not for a moment only. */
static void
complain(TimestampTz now, int processes)
{
	bool		long_enough;

	LWLockAcquire(&shared->lock, LW_SHARED);
	long_enough = my_slot->starved_since != 0 && TimestampDifferenceExceeds(my_slot->starved_since, now, STARVED_COMPLAIN_MS);
	LWLockRelease(&shared->lock);
	if ((processes > 0 || long_enough) && worker_may_complain(shared))
		ereport(LOG,
				(errmsg("salesops: no background worker slot for a due job"),
				 errhint("Increase max_worker_processes or lower salesops.max_concurrent_jobs.")));
}

/*
 * Hand a job to a process that waits, as the same role; failing that to a new one. With no room for a new one, ask one that
 * waits for another role to end. False where the job must wait; '*none' where it does because no process could be had.
 */
static bool
hand_out(int64 job_id, Oid owner, int limit, int *processes, bool *none)
{
	RunnerSlot *other = NULL;
	bool		done = false;

	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < WORKER_RUNNERS && !done; i++)
	{
		RunnerSlot *runner = &shared->runners[i];

		if (!is_mine(runner) || runner->state != RUNNER_READY)
			continue;
		other = runner;
		if (runner->owner != owner)
			continue;
		runner->state = RUNNER_ASSIGNED;
		runner->job_id = job_id;
		runner->claimed = runner->overdue = false;
		SetLatch(runner->latch);
		done = true;
	}
	if (!done && *processes >= limit && other != NULL)
	{
		other->state = RUNNER_QUIT;
		SetLatch(other->latch);
	}
	LWLockRelease(&shared->lock);
	if (done || *processes >= limit)
		return done;
	if (start_runner(job_id, owner))
	{
		(*processes)++;
		return true;
	}
	*none = true;
	return false;
}

/* Why a job of this role cannot run, or NULL */
static char *
unable(const char *name, Oid owner, bool can_login, bool can_connect)
{
	if (!OidIsValid(owner))
		return psprintf("its owner, role \"%s\", does not exist (renamed or dropped)", name);
	if (!can_login)
		return psprintf("its owner, role \"%s\", is not permitted to log in", name);
	if (!can_connect)
		return psprintf("its owner, role \"%s\", may not connect to this database", name);
	return NULL;
}

/* bigint[] of some jobs */
static SpiArg
job_array(const int64 *jobs, int count)
{
	SpiArray	array = {INT8OID};

	for (int i = 0; i < count; i++)
		spi_array_add(&array, Int64GetDatum(jobs[i]));
	return spi_array(&array);
}

/* A job that is due, as read in a turn */
typedef struct DueJob
{
	int64		job_id;
	Oid			owner;
	char	   *problem;
	TimestampTz not_before;		/* of a job on change that has just run, else 0 */
} DueJob;

/* The jobs that are due and wait for no other, the most overdue first */
static int
find_due(const int64 *busy, int nbusy, DueJob **jobs)
{
	MemoryContext context = CurrentMemoryContext;
	SpiScope	scope;
	int			count;

	spi_open(&scope, SPI_AS_OWNER);
	count = (int) spi_execute(SPI_OK_SELECT,
		"SELECT j.job_id, r.oid, coalesce(r.rolcanlogin, false), j.owner, "
		"       coalesce(pg_catalog.has_database_privilege(r.oid, $2::oid, 'CONNECT'), false), "
		"       CASE WHEN j.next_run_at > pg_catalog.clock_timestamp() THEN j.last_started_at END "
		"FROM salesops.job_definition j LEFT JOIN pg_catalog.pg_roles r ON r.rolname = j.owner "
		"WHERE j.job_id <> ALL ($1) AND " WORKER_JOB_IS_DUE
		"ORDER BY j.next_run_at LIMIT 100",
		2, (SpiArg[]) {job_array(busy, nbusy), spi_datum(OIDOID, ObjectIdGetDatum(MyDatabaseId), false)});
	*jobs = MemoryContextAllocZero(context, sizeof(DueJob) * (count + 1));
	for (int i = 0; i < count; i++)
	{
		bool		isnull;
		Datum		started = spi_get_datum(i, 6, &isnull);
		DueJob	   *job = &(*jobs)[i];
		char	   *problem;

		job->job_id = spi_get_int8(i, 1);
		job->owner = spi_get_oid(i, 2);
		if (!isnull)
			job->not_before = TimestampTzPlusMilliseconds(DatumGetTimestampTz(started), CHANGE_PAUSE_MS);
		problem = unable(spi_get_text(i, 4), job->owner, spi_get_bool(i, 3) || WORKER_ANY_ROLE, spi_get_bool(i, 5));
		if (problem != NULL)
			job->problem = MemoryContextStrdup(context, problem);
	}
	spi_close(&scope);
	return count;
}

/* Has this database had its share of processes that are short? */
static bool
slice_is_over(TimestampTz now)
{
	return slice_from != 0 && TimestampDifferenceExceeds(slice_from, now, SLICE_MS);
}

/* How many jobs may run at once here now: one where another database waits for a process, none once this one has had its turn */
static int
jobs_at_once(TimestampTz now)
{
	bool		others;

	LWLockAcquire(&shared->lock, LW_SHARED);
	others = worker_others_wait(shared, MyDatabaseId);
	LWLockRelease(&shared->lock);
	if (!others)
		return worker_max_concurrent_jobs;
	return slice_is_over(now) ? 0 : 1;
}

/* Tell the others whether there is no process to be had for what is due here; if so, try again soon. */
static void
note_starvation(Turn *turn, bool starves)
{
	bool		begins;
	TimestampTz since;

	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	begins = starves && my_slot->starved_since == 0;
	if (!starves && my_slot->starved_since != 0)
		worker_wake_launcher(shared);
	if (begins || !starves)
		my_slot->starved_since = starves ? turn->now : 0;
	since = my_slot->starved_since;
	LWLockRelease(&shared->lock);
	if (begins)
		worker_wake_for_turns(shared);
	if (starves)
	{
		long		pause = TimestampDifferenceMilliseconds(since, turn->now) / 10;

		turn->next = Min(turn->next, TimestampTzPlusMilliseconds(turn->now, Min(Max(pause, STARVED_RETRY_MS), STARVED_RETRY_LONGEST_MS)));
	}
}

/* Hand out what is due; notes when to look again, and whether something is left. */
static void
dispatch(Turn *turn)
{
	int64		busy[WORKER_RUNNERS];
	int			limit = jobs_at_once(turn->now);
	bool		none = false;
	int			processes;
	int			nbusy = jobs_at_hand(busy, &processes);
	DueJob	   *due;
	int			count = find_due(busy, nbusy, &due);

	turn->backlog = false;
	for (int i = 0; i < count && !turn->backlog; i++)
	{
		if (due[i].problem != NULL)
			worker_record_unstartable(due[i].job_id, due[i].problem);
		else if (due[i].not_before > turn->clock && due[i].not_before <= TimestampTzPlusMilliseconds(turn->clock, CHANGE_PAUSE_MS))
			turn->due = Min(turn->due, due[i].not_before - turn->clock + turn->now);
		else if (nbusy >= limit || !hand_out(due[i].job_id, due[i].owner, limit, &processes, &none))
			turn->backlog = true;
		else
		{
			nbusy++;
			if (slice_from == 0)
				slice_from = turn->now;
		}
	}
	turn->next = Min(turn->next, turn->due);
	note_starvation(turn, none && processes == 0);
	if (none)
		complain(turn->now, processes);
}

/* When the next job is due, and whether there are jobs at all */
static void
look_ahead(Turn *turn)
{
	SpiScope	scope;
	bool		isnull;
	Datum		next;

	spi_open(&scope, SPI_AS_OWNER);
	spi_execute(SPI_OK_SELECT,
				"SELECT min(next_run_at) FILTER (WHERE NOT paused AND running_run IS NULL AND next_run_at > pg_catalog.clock_timestamp()), "
				"count(*) FROM salesops.job_definition WHERE NOT paused OR running_run IS NOT NULL", 0, NULL);
	next = spi_get_datum(0, 1, &isnull);
	if (!isnull)
		turn->due = Min(turn->due, DatumGetTimestampTz(next) - turn->clock + turn->now);
	turn->next = Min(turn->next, turn->due);
	if (spi_get_int8(0, 2) == 0)
	{
		turn->leave = true;
		turn->ending = WORKER_IDLE;
	}
	spi_close(&scope);
}

/*
 * Where another database waits for a process: give this worker's to it if there is nothing to do here, if this one has had its turn, or if
 * the other has waited longer for a process to run a job in. Never while jobs run. The launcher starts it again when the next job is due.
 */
static void
rest_if_others_wait(Turn *turn)
{
	Oid			longest;
	bool		rests = false;

	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	if (worker_others_wait(shared, MyDatabaseId))
	{
		(void) worker_longest_starved(shared, &longest);
		rests = !turn->backlog || slice_is_over(turn->now) || (my_slot->starved_since != 0 && longest != MyDatabaseId);
	}
	if (rests)
		my_slot->rests_until = turn->backlog ? turn->now : Min(turn->due, TimestampTzPlusMilliseconds(turn->now, REST_MS));
	LWLockRelease(&shared->lock);
	if (rests)
	{
		turn->leave = true;
		turn->ending = WORKER_RESTS;
	}
}

/* Is it time again? Notes the time if so. */
static bool
time_for(TimestampTz *last, TimestampTz now, int milliseconds)
{
	if (*last != 0 && now >= *last && !TimestampDifferenceExceeds(*last, now, milliseconds))
		return false;
	*last = now;
	return true;
}

/* Clocks that are set jump; they drift by less than a second between two turns. */
static bool
is_jump(int64 step)
{
	return step > USECS_PER_SEC || step < -USECS_PER_SEC;
}

/* How far the clock has been set since the last turn, in microseconds; 0: not at all. */
static int64
clock_step(const Turn *turn)
{
	int64		step = (GetCurrentTimestamp() - worker_steady_now()) - (turn->clock - turn->now);

	return is_jump(step) ? step : 0;
}

/* Has it been set back between the turn before and this one? Says so in the log. */
static bool
clock_was_set_back(const Turn *turn)
{
	static TimestampTz last_difference = 0;
	TimestampTz difference = turn->clock - turn->now;
	int64		step = last_difference == 0 ? 0 : difference - last_difference;

	last_difference = difference;
	if (is_jump(step))
		ereport(LOG,
				(errmsg("salesops: the clock has been set %s by %lld s", step < 0 ? "back" : "forward",
						(long long) (step < 0 ? -step : step) / USECS_PER_SEC),
				 errdetail("Jobs that are due in a future too far are brought back to their schedule; what was jumped over is made up for as catch_up says.")));
	return step < -USECS_PER_SEC;
}

/* Runs without a process, clocks set back, and history that is too old */
static void
housekeeping(TimestampTz now, bool set_back)
{
	int64		busy[WORKER_RUNNERS];
	int			processes;
	int			nbusy = jobs_at_hand(busy, &processes);

	if (scan_for_lost || time_for(&last_lost_scan, now, LOST_SCAN_MS))
		worker_record_lost(busy, nbusy);
	scan_for_lost = false;
	if (set_back || time_for(&last_clock_check, now, CLOCK_CHECK_MS))
		worker_repair_clock();
	if (time_for(&last_housekeeping, now, HOUSEKEEPING_MS))
		worker_prune_history();
}

/* A look at the jobs; within the turn's transaction. */
static void
look_at_jobs(Turn *turn, Oid extension)
{
	int64		jobs[WORKER_RUNNERS];
	int			processes;

	reap_runners();
	end_overdue(turn->now);
	if (time_for(&last_ddl_check, turn->now, 1000))
		make_way_for_ddl(extension);
	housekeeping(turn->now, clock_was_set_back(turn));
	dispatch(turn);
	look_ahead(turn);
	(void) jobs_at_hand(jobs, &processes);
	turn->busy = processes > 0;
	if (!turn->busy && !turn->leave)
		rest_if_others_wait(turn);
}

/* One look at the database, in one transaction; a glance looks only whether it is time to make way. */
static void
take_turn(Turn *turn, bool glance)
{
	Oid			extension;
	MemoryContext context = worker_begin();

	turn->now = worker_steady_now();
	turn->clock = GetCurrentTimestamp();
	if (!glance)
		turn->next = TimestampTzPlusMilliseconds(turn->now, worker_poll_interval);
	turn->due = DT_NOEND;
	turn->leave = false;
	measure_latency(turn->clock);

	extension = get_extension_oid("salesops", true);
	if (!OidIsValid(extension))
	{
		turn->leave = true;
		turn->ending = WORKER_IDLE;
	}
	else if (!worker_database_is_calm(MyDatabaseId))
	{
		turn->leave = true;
		turn->ending = WORKER_YIELDED;
	}
	else if (!extension_is_calm(extension))
	{
		end_runners();
		turn->next = Min(turn->next, TimestampTzPlusMilliseconds(turn->now, GLANCE_MS));
	}
	else if (!glance)
		look_at_jobs(turn, extension);
	worker_commit(context);
	pgstat_report_stat(false);
}

/* A turn that survives its errors: reported, rolled back, tried again a little later. */
static void
take_turn_safely(Turn *turn, bool glance)
{
	MemoryContext context = CurrentMemoryContext;

	turn->failed = false;
	PG_TRY();
	{
		take_turn(turn, glance);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		HOLD_INTERRUPTS();
		EmitErrorReport();
		AbortCurrentTransaction();
		FlushErrorState();
		RESUME_INTERRUPTS();
		MemoryContextSwitchTo(context);
		turn->leave = false;
		turn->failed = true;
		turn->next = TimestampTzPlusMilliseconds(worker_steady_now(), Max(worker_poll_interval, 5000));
	}
	PG_END_TRY();
}

/* Sleep until a job is due, the latch is set, or it is time for a glance; true where there is reason for more than that. */
static bool
sleep_until(const Turn *turn)
{
	long		pause = Max(TimestampDifferenceMilliseconds(worker_steady_now(), turn->next), 1);
	int			events;

	events = WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					   Min(pause, turn->failed ? 5000 : GLANCE_MS), worker_wait_event());
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	return (events & WL_LATCH_SET) != 0 || turn->busy || worker_steady_now() >= turn->next || clock_step(turn) != 0;
}

PGDLLEXPORT void salesops_database_main(Datum arg);

/* The process: turns, and sleep until the next job is due, a commit asks, a runner reports, or the poll interval is over. */
void
salesops_database_main(Datum arg)
{
	MemoryContext scratch;
	Turn		turn = {0};
	bool		look = true;

	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(arg), InvalidOid, 0);
	worker_is_ours = true;
	shared = worker_shared();
	if (!take_slot())
		proc_exit(0);
	before_shmem_exit(worker_exit, (Datum) 0);
	SetConfigOption("application_name", "salesops worker", PGC_USERSET, PGC_S_OVERRIDE);
	pgstat_report_activity(STATE_IDLE, NULL);
	scratch = AllocSetContextCreate(TopMemoryContext, "salesops worker", ALLOCSET_DEFAULT_SIZES);

	while (!turn.leave)
	{
		MemoryContextSwitchTo(scratch);
		MemoryContextReset(scratch);
		take_turn_safely(&turn, !look);
		if (turn.leave)
			break;
		look = sleep_until(&turn);
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
	}
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	if (my_slot->ending == WORKER_CRASHED)
		my_slot->ending = turn.ending;
	LWLockRelease(&shared->lock);
	proc_exit(0);
}
