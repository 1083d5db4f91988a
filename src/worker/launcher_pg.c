/*
 * launcher_pg.c
 *		The launcher: sees that every database with jobs has its worker. Also start_worker() and stop_worker().
 *
 * It is connected to no database. It reads pg_database, starts a worker for each database it has not looked into yet (one that
 * finds no extension or no jobs ends at once), for each that a commit asked for, and again for those that crashed, with
 * back-off. A database that somebody drops, copies, renames or moves at the moment is left alone.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_database.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "core/compat.h"
#include "worker/process.h"
#include "worker/worker.h"

/* A database without jobs is looked into again this often: only a restore with triggers off escapes the wake */
#define LOOK_AGAIN_MS (5 * 60 * 1000)
#define LONGEST_BACKOFF_MS 60000
#define YIELD_MS 3000
/* Workers started in one turn, and the pause before the next turn if there are more */
#define STARTS_PER_TURN 4
#define TURN_PAUSE_MS 50
/* Where no process is to be had: the pause before the next attempt */
#define NO_SLOT_MS 50
/* So long a worker that has a job to run and no process for it is left the next one that is free */
#define STARVED_FIRST_MS 2000
/* start_worker() waits so long for a worker that has been told to stop */
#define STOP_WAIT_MS 10000
#define STOP_LOOK_MS 10

/* What the launcher remembers of a database */
typedef struct KnownDatabase
{
	Oid			database;		/* hash key */
	BackgroundWorkerHandle *handle; /* NULL: no worker of ours */
	TimestampTz started_at;
	TimestampTz not_before;		/* of the next start */
	TimestampTz look_again_at;
	int			crashes;		/* in a row */
	bool		present;		/* in this turn's pg_database */
	bool		looked;			/* a worker has been there */
} KnownDatabase;

static HTAB *known_databases = NULL;

/* Register the launcher; called while shared_preload_libraries are loaded. It starts once recovery is over, so also at promotion. */
void
worker_register_launcher(void)
{
	BackgroundWorker worker = {0};

	worker_describe_process(&worker, "salesops launcher", "salesops launcher", "salesops_launcher_main", (Datum) 0);
	worker.bgw_restart_time = 5;
	worker.bgw_notify_pid = 0;
	RegisterBackgroundWorker(&worker);
}

/* Fill in what all our processes have in common. The library's name is plain: dynamic_library_path finds it. */
void
worker_describe_process(BackgroundWorker *worker, const char *name, const char *type, const char *function, Datum argument)
{
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker->bgw_restart_time = BGW_NEVER_RESTART;
	worker->bgw_notify_pid = MyProcPid;
	worker->bgw_main_arg = argument;
	strlcpy(worker->bgw_library_name, "salesops", sizeof(worker->bgw_library_name));
	strlcpy(worker->bgw_function_name, function, sizeof(worker->bgw_function_name));
	strlcpy(worker->bgw_name, name, sizeof(worker->bgw_name));
	strlcpy(worker->bgw_type, type, sizeof(worker->bgw_type));
}

/* Start a worker for a database; false where max_worker_processes is used up. */
static bool
start_database_worker(Oid database, BackgroundWorkerHandle **handle)
{
	BackgroundWorker worker = {0};
	char		name[BGW_MAXLEN];

	snprintf(name, sizeof(name), "salesops worker for database %u", database);
	worker_describe_process(&worker, name, "salesops worker", "salesops_database_main", ObjectIdGetDatum(database));
	return RegisterDynamicBackgroundWorker(&worker, handle);
}

/* Is nobody dropping, copying, renaming or moving the database? Needs a transaction; holds nothing afterwards. */
bool
worker_database_is_calm(Oid database)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, InvalidOid, DatabaseRelationId, database, 0);
	if (LockAcquire(&tag, RowExclusiveLock, false, true) == LOCKACQUIRE_NOT_AVAIL)
		return false;
	LockRelease(&tag, RowExclusiveLock, false);
	return true;
}

/* Note the databases one can connect to and that are no templates. */
static void
read_databases(void)
{
	Relation	catalog = table_open(DatabaseRelationId, AccessShareLock);
	TableScanDesc scan = table_beginscan_catalog(catalog, 0, NULL);
	HeapTuple	tuple;

	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database row = (Form_pg_database) GETSTRUCT(tuple);
		KnownDatabase *known;
		bool		found;

		if (!row->datallowconn || row->datistemplate || row->datconnlimit < -1)
			continue;
		known = hash_search(known_databases, &row->oid, HASH_ENTER, &found);
		if (!found)
			memset((char *) known + sizeof(Oid), 0, sizeof(*known) - sizeof(Oid));
		known->present = true;
	}
	table_endscan(scan);
	table_close(catalog, AccessShareLock);
}

/* What the slot says of a database: how its worker ended, until when it rests, whether there is one, whether one is wanted. */
static WorkerEnding
read_slot(WorkerShared *shared, Oid database, TimestampTz *rests_until, bool *running, bool *wanted)
{
	DatabaseSlot *slot;
	WorkerEnding ending = WORKER_IDLE;

	*rests_until = 0;
	*running = *wanted = false;
	LWLockAcquire(&shared->lock, LW_SHARED);
	slot = worker_database_slot(shared, database, false);
	if (slot != NULL)
	{
		ending = slot->ending;
		*rests_until = slot->rests_until;
		*running = slot->pid != 0;
		*wanted = slot->wanted;
	}
	LWLockRelease(&shared->lock);
	return ending;
}

/* The worker we started has ended: decide when the next one may start. */
static void
note_end(KnownDatabase *known, WorkerEnding ending, TimestampTz rests_until, TimestampTz now)
{
	int			wait = 0;

	pfree(known->handle);
	known->handle = NULL;
	known->looked = true;
	known->look_again_at = TimestampTzPlusMilliseconds(now, LOOK_AGAIN_MS);
	if (ending == WORKER_CRASHED)
	{
		if (TimestampDifferenceExceeds(known->started_at, now, LONGEST_BACKOFF_MS))
			known->crashes = 0;
		known->crashes = Min(known->crashes + 1, 7);
		wait = Min(1000 << (known->crashes - 1), LONGEST_BACKOFF_MS);
		known->look_again_at = TimestampTzPlusMilliseconds(now, wait);
	}
	else if (ending == WORKER_YIELDED)
	{
		wait = YIELD_MS;
		known->look_again_at = TimestampTzPlusMilliseconds(now, wait);
	}
	else if (ending == WORKER_RESTS)
		known->look_again_at = rests_until;
	known->not_before = TimestampTzPlusMilliseconds(now, wait);
}

/* When should the next worker of this database start? 0: now; DT_NOEND: not by itself. */
static TimestampTz
when_to_start(WorkerShared *shared, KnownDatabase *known, TimestampTz now)
{
	TimestampTz rests_until;
	bool		running;
	bool		wanted;
	pid_t		pid;
	WorkerEnding ending = read_slot(shared, known->database, &rests_until, &running, &wanted);

	if (known->handle != NULL && GetBackgroundWorkerPid(known->handle, &pid) == BGWH_STOPPED)
		note_end(known, ending, rests_until, now);
	if (known->handle != NULL || running || ending == WORKER_STOPPED)
		return DT_NOEND;
	if (!known->looked || wanted)
		return Max(known->not_before, 0);
	return Max(known->not_before, known->look_again_at);
}

/* Start a worker unless the database is being worked on; false where no process could be had. */
static bool
start_for(WorkerShared *shared, KnownDatabase *known, TimestampTz now)
{
	MemoryContext old;
	bool		started;

	if (!worker_database_is_calm(known->database))
	{
		known->not_before = TimestampTzPlusMilliseconds(now, 1000);
		return true;
	}
	old = MemoryContextSwitchTo(TopMemoryContext);
	started = start_database_worker(known->database, &known->handle);
	MemoryContextSwitchTo(old);
	if (!started)
	{
		known->handle = NULL;
		if (worker_may_complain(shared))
			ereport(LOG,
					(errmsg("salesops: no background worker slot for database %u", known->database),
					 errdetail("It gets one in its turn: databases whose jobs are not due give theirs back, the others take turns. Jobs start later than they are due."),
					 errhint("Increase max_worker_processes.")));
		return false;
	}
	known->started_at = now;
	return true;
}

/* Free the slots of databases that are gone. */
static void
forget_dropped(WorkerShared *shared)
{
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < WORKER_DATABASES; i++)
	{
		DatabaseSlot *slot = &shared->databases[i];

		if (OidIsValid(slot->database) && slot->pid == 0 &&
			hash_search(known_databases, &slot->database, HASH_FIND, NULL) == NULL)
		{
			slot->database = InvalidOid;
			slot->wanted = false;
			slot->ending = WORKER_IDLE;
		}
	}
	LWLockRelease(&shared->lock);
}

/* A database that wants a worker now */
typedef struct Candidate
{
	KnownDatabase *known;
	TimestampTz since;			/* when it came to want one */
} Candidate;

/* Who has waited longest comes first: so all get their turn. */
static int
compare_candidates(const void *a, const void *b)
{
	const Candidate *x = a;
	const Candidate *y = b;

	if (x->since != y->since)
		return x->since < y->since ? -1 : 1;
	return (x->known->database > y->known->database) - (x->known->database < y->known->database);
}

/*
 * The databases that want a worker now, in their order; '*soonest' is brought forward to when the next one will. Forgets those that are
 * gone.
 */
static int
find_candidates(WorkerShared *shared, Candidate **candidates, TimestampTz now, TimestampTz *soonest)
{
	HASH_SEQ_STATUS scan;
	KnownDatabase *known;
	int			count = 0;

	*candidates = palloc(sizeof(Candidate) * (hash_get_num_entries(known_databases) + 1));
	hash_seq_init(&scan, known_databases);
	while ((known = hash_seq_search(&scan)) != NULL)
	{
		TimestampTz when;

		if (!known->present)
		{
			if (known->handle != NULL)
				pfree(known->handle);
			hash_search(known_databases, &known->database, HASH_REMOVE, NULL);
			continue;
		}
		when = when_to_start(shared, known, now);
		if (when <= now)
			(*candidates)[count++] = (Candidate) {known, when};
		else
			*soonest = Min(*soonest, when);
	}
	qsort(*candidates, count, sizeof(Candidate), compare_candidates);
	return count;
}

/* Is the next free process another's: of a worker that has begun, and has nothing yet to run its job in? */
static bool
must_hold_back(WorkerShared *shared, TimestampTz now)
{
	Oid			database;
	TimestampTz since;

	LWLockAcquire(&shared->lock, LW_SHARED);
	since = worker_longest_starved(shared, &database);
	LWLockRelease(&shared->lock);
	return since != 0 && !TimestampDifferenceExceeds(since, now, STARVED_FIRST_MS);
}

/* Tell the workers whether databases wait for processes. */
static void
tell_workers(WorkerShared *shared, bool waits)
{
	bool		told;

	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	told = shared->launcher_waits;
	shared->launcher_waits = waits;
	LWLockRelease(&shared->lock);
	if (waits && !told)
		worker_wake_for_turns(shared);
}

/* Start workers for some of those who want one; when to look again if there are more. */
static TimestampTz
start_candidates(WorkerShared *shared, Candidate *candidates, int count, TimestampTz now)
{
	bool		waits = count > 0 && must_hold_back(shared, now);
	TimestampTz again = DT_NOEND;
	int			i;

	for (i = 0; i < count && i < STARTS_PER_TURN && !waits; i++)
	{
		waits = !start_for(shared, candidates[i].known, now);
		if (!waits && candidates[i].known->handle == NULL)
			again = Min(again, candidates[i].known->not_before);
	}
	tell_workers(shared, waits);
	if (waits || i < count)
		again = Min(again, TimestampTzPlusMilliseconds(now, waits ? NO_SLOT_MS : TURN_PAUSE_MS));
	return again;
}

/* One look at all databases; returns the milliseconds to sleep. */
static long
take_turn(WorkerShared *shared)
{
	HASH_SEQ_STATUS scan;
	KnownDatabase *known;
	Candidate  *candidates;
	TimestampTz now;
	TimestampTz soonest;
	TimestampTz again;
	int			count;
	MemoryContext context = CurrentMemoryContext;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	hash_seq_init(&scan, known_databases);
	while ((known = hash_seq_search(&scan)) != NULL)
		known->present = false;
	read_databases();
	now = worker_steady_now();
	soonest = TimestampTzPlusMilliseconds(now, worker_launcher_interval * INT64CONST(1000));
	MemoryContextSwitchTo(context);
	count = find_candidates(shared, &candidates, now, &soonest);
	again = start_candidates(shared, candidates, count, now);
	soonest = Min(soonest, again);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	forget_dropped(shared);
	return Max(TimestampDifferenceMilliseconds(worker_steady_now(), soonest), 1);
}

/* Take our name out of shared memory. */
static void
launcher_exit(int code, Datum arg)
{
	WorkerShared *shared = worker_shared();

	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	shared->launcher_pid = 0;
	shared->launcher_latch = NULL;
	shared->launcher_waits = false;
	LWLockRelease(&shared->lock);
}

PGDLLEXPORT void salesops_launcher_main(Datum arg);

/* The launcher's process: look, start, sleep until the next start is due, a commit asks, or a worker ends. */
void
salesops_launcher_main(Datum arg)
{
	WorkerShared *shared;
	HASHCTL		control = {.keysize = sizeof(Oid), .entrysize = sizeof(KnownDatabase)};
	MemoryContext scratch;

	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	worker_is_ours = true;

	shared = worker_shared();
	known_databases = hash_create("salesops databases", 64, &control, HASH_ELEM | HASH_BLOBS);
	scratch = AllocSetContextCreate(TopMemoryContext, "salesops launcher", ALLOCSET_DEFAULT_SIZES);
	before_shmem_exit(launcher_exit, (Datum) 0);
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	shared->launcher_pid = MyProcPid;
	shared->launcher_latch = &MyProc->procLatch;
	LWLockRelease(&shared->lock);

	while (!ShutdownRequestPending)
	{
		long		pause;

		MemoryContextSwitchTo(scratch);
		MemoryContextReset(scratch);
		pause = take_turn(shared);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, pause, worker_wait_event());
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
	}
	proc_exit(1);
}

/* The pid of this database's worker, 0 where there is none; notes that it is to stop, or forgets it once it has. */
static pid_t
find_worker(bool stop, bool start, bool *stopping)
{
	WorkerShared *shared = worker_shared();
	DatabaseSlot *slot;
	pid_t		pid = 0;

	*stopping = false;
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	slot = worker_database_slot(shared, MyDatabaseId, true);
	if (slot != NULL)
	{
		pid = slot->pid;
		if (stop)
			slot->ending = WORKER_STOPPED;
		if (start && slot->ending == WORKER_STOPPED && pid == 0)
			slot->ending = WORKER_IDLE;
		*stopping = slot->ending == WORKER_STOPPED && pid != 0;
	}
	LWLockRelease(&shared->lock);
	return pid;
}

/* Until the next look at a worker that comes or goes. */
static void
wait_a_little(void)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, STOP_LOOK_MS, worker_wait_event());
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* The worker that stop_worker() has told to end must be gone before the next can be there. */
static pid_t
wait_for_end(void)
{
	bool		stopping;
	pid_t		pid;

	for (int waited = 0; (pid = find_worker(false, true, &stopping)) != 0 && stopping; waited += STOP_LOOK_MS)
	{
		if (waited > STOP_WAIT_MS)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("the worker that stop_worker() told to end, process %d, is still there", pid),
					 errhint("Try again a little later; pg_terminate_backend() ends it if it hangs.")));
		wait_a_little();
	}
	return pid;
}

/*
 * The process just started takes its slot after it has connected, unless one that the launcher started was quicker, or it found nothing
 * to do. Returns the pid of the one that is there, 0 where none is.
 */
static pid_t
wait_for_slot(BackgroundWorkerHandle *handle)
{
	bool		stopping;
	pid_t		pid;
	pid_t		taken;

	for (;;)
	{
		BgwHandleStatus status = GetBackgroundWorkerPid(handle, &pid);

		taken = find_worker(false, false, &stopping);
		if (taken != 0 || status == BGWH_STOPPED || status == BGWH_POSTMASTER_DIED)
			return taken;
		wait_a_little();
	}
}

PG_FUNCTION_INFO_V1(salesops_start_worker);

/*
 * Start this database's worker if there is none; returns its pid. Needed once after each server start where salesops is not
 * in shared_preload_libraries. Waits for one that was told to stop. Errors: 55000 on a standby, 53400 where
 * max_worker_processes is used up, 55006 where a stopped worker does not end.
 */
Datum
salesops_start_worker(PG_FUNCTION_ARGS)
{
	BackgroundWorkerHandle *handle;
	pid_t		pid;

	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot start the worker during recovery"),
				 errhint("With shared_preload_libraries = 'salesops' it starts by itself when this server is promoted.")));
	pid = wait_for_end();
	if (pid != 0)
		PG_RETURN_INT32(pid);
	if (!start_database_worker(MyDatabaseId, &handle))
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("no background worker slot is free"),
				 errhint("Increase max_worker_processes.")));
	if (WaitForBackgroundWorkerStartup(handle, &pid) == BGWH_POSTMASTER_DIED)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("the server is going down")));
	/* it may have found nothing to do and ended already: then there is no job yet */
	pid = wait_for_slot(handle);
	if (pid == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT32(pid);
}

PG_FUNCTION_INFO_V1(salesops_stop_worker);

/* Stop this database's worker and its running jobs until start_worker() or a server start; true if there was one. */
Datum
salesops_stop_worker(PG_FUNCTION_ARGS)
{
	bool		stopping;
	pid_t		pid = find_worker(true, false, &stopping);

	if (pid == 0)
		PG_RETURN_BOOL(false);
	PG_RETURN_BOOL(kill(pid, SIGTERM) == 0);
}
