/*
 * wake_pg.c
 *		Shared memory, and waking a database's worker when a transaction commits.
 *
 * The shared struct is small enough for the slack that the server leaves, so it works without
 * shared_preload_libraries too. A commit that changed jobs or queued keys sets the latch of its database's worker; without
 * a worker it leaves a note and wakes the launcher. Nothing is lost if a wake is: the worker polls as well.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "core/compat.h"
#include "worker/process.h"
#include "worker/worker.h"

/* Another layout gets another name: two library versions may meet in one server */
#define SHARED_NAME "salesops worker 2"

#define COMPLAIN_MS 60000

bool		worker_is_ours = false;

static WorkerShared *shared_state = NULL;
static bool wake_pending = false;

/* Attach to the shared struct, making it the first time; an error where shared memory is full. */
WorkerShared *
worker_shared(void)
{
	bool		found;
	WorkerShared *shared;

	if (shared_state != NULL)
		return shared_state;
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct(SHARED_NAME, sizeof(WorkerShared), &found);
	if (!found)
	{
		memset(shared, 0, sizeof(*shared));
		LWLockInitialize(&shared->lock, LWLockNewTrancheId());
		for (int i = 0; i < WORKER_DATABASES; i++)
		{
			pg_atomic_init_u64(&shared->databases[i].wakes, 0);
			pg_atomic_init_u64(&shared->databases[i].woken_at, 0);
		}
	}
	LWLockRelease(AddinShmemInitLock);
	LWLockRegisterTranche(shared->lock.tranche, "SalesopsWorker");
	shared_state = shared;
	return shared;
}

/*
 * The same for a user's write, which must not fail because there is no room to note it: NULL then, and the worker's poll will
 * find the change. ShmemInitStruct raises only when it holds no more than the one lock.
 */
static WorkerShared *
shared_or_null(void)
{
	static bool failed = false;
	MemoryContext context = CurrentMemoryContext;

	if (shared_state != NULL || failed)
		return shared_state;
	PG_TRY();
	{
		worker_shared();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		FlushErrorState();
		if (LWLockHeldByMe(AddinShmemInitLock))
			LWLockRelease(AddinShmemInitLock);
		failed = true;
	}
	PG_END_TRY();
	return shared_state;
}

/* Is a process of ours at a run of this job, other than this process itself? Its claim is committed by then. */
bool
worker_runs_job(int64 job_id)
{
	WorkerShared *shared = shared_or_null();
	bool		found = false;

	if (shared == NULL)
		return false;
	LWLockAcquire(&shared->lock, LW_SHARED);
	for (int i = 0; i < WORKER_RUNNERS && !found; i++)
	{
		const RunnerSlot *runner = &shared->runners[i];

		found = runner->state == RUNNER_RUNNING && runner->database == MyDatabaseId && runner->job_id == job_id &&
			runner->claimed && runner->pid != MyProcPid;
	}
	LWLockRelease(&shared->lock);
	return found;
}

/* The wait event that pg_stat_activity shows for our processes */
uint32
worker_wait_event(void)
{
#if PG_VERSION_NUM >= 170000
	static uint32 event = 0;

	if (event == 0)
		event = WaitEventExtensionNew("SalesopsWorkerMain");
	return event;
#else
	return PG_WAIT_EXTENSION;
#endif
}

/*
 * The slot of a database; the lock must be held, exclusively to create. A slot without worker or wish makes way when all
 * are taken. NULL where there is none.
 */
DatabaseSlot *
worker_database_slot(WorkerShared *shared, Oid database, bool create)
{
	DatabaseSlot *unused = NULL;

	for (int i = 0; i < WORKER_DATABASES; i++)
	{
		DatabaseSlot *slot = &shared->databases[i];

		if (slot->database == database)
			return slot;
		if (slot->pid != 0 || slot->wanted || slot->ending == WORKER_STOPPED)
			continue;
		if (unused == NULL || (OidIsValid(unused->database) && !OidIsValid(slot->database)))
			unused = slot;
	}
	if (!create || unused == NULL)
		return NULL;
	unused->database = database;
	unused->ending = WORKER_IDLE;
	unused->answered = 0;
	unused->starved_since = 0;
	unused->latency_p50 = unused->latency_p99 = 0;
	pg_atomic_write_u64(&unused->woken_at, 0);
	return unused;
}

/* Set the launcher's latch, if there is one; the lock must be held. */
void
worker_wake_launcher(WorkerShared *shared)
{
	if (shared->launcher_pid != 0)
		SetLatch(shared->launcher_latch);
}

/* Processes have become short, or are no more: workers, and processes of theirs that wait for a job, look whether they should go. */
void
worker_wake_for_turns(WorkerShared *shared)
{
	LWLockAcquire(&shared->lock, LW_SHARED);
	for (int i = 0; i < WORKER_DATABASES; i++)
		if (shared->databases[i].pid != 0)
			SetLatch(shared->databases[i].latch);
	for (int i = 0; i < WORKER_RUNNERS; i++)
		if (shared->runners[i].state == RUNNER_READY)
			SetLatch(shared->runners[i].latch);
	LWLockRelease(&shared->lock);
}

/* Since when, and where, the worker is that has waited longest for a process to run a job in; 0: none. The lock must be held. */
TimestampTz
worker_longest_starved(const WorkerShared *shared, Oid *database)
{
	TimestampTz longest = 0;

	*database = InvalidOid;
	for (int i = 0; i < WORKER_DATABASES; i++)
	{
		const DatabaseSlot *slot = &shared->databases[i];

		if (slot->pid == 0 || slot->starved_since == 0)
			continue;
		if (longest == 0 || slot->starved_since < longest || (slot->starved_since == longest && slot->database < *database))
		{
			longest = slot->starved_since;
			*database = slot->database;
		}
	}
	return longest;
}

/*
 * Does another database wait for a process, for its worker or for a job? The lock must be held. Without a launcher nobody makes way: nobody
 * would start him again.
 */
bool
worker_others_wait(const WorkerShared *shared, Oid database)
{
	if (shared->launcher_pid == 0)
		return false;
	if (shared->launcher_waits)
		return true;
	for (int i = 0; i < WORKER_DATABASES; i++)
		if (shared->databases[i].pid != 0 && shared->databases[i].starved_since != 0 && shared->databases[i].database != database)
			return true;
	return false;
}

/* Once a minute in the whole server the log may be told that processes are short. */
bool
worker_may_complain(WorkerShared *shared)
{
	TimestampTz now = worker_steady_now();
	bool		may;

	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	may = shared->complained_at == 0 || TimestampDifferenceExceeds(shared->complained_at, now, COMPLAIN_MS);
	if (may)
		shared->complained_at = now;
	LWLockRelease(&shared->lock);
	return may;
}

/* Wake this database's worker, or leave a wish for the launcher. Called after commit: must not raise. */
static void
wake_now(WorkerShared *shared)
{
	DatabaseSlot *slot;
	uint64		none = 0;

	LWLockAcquire(&shared->lock, LW_SHARED);
	slot = worker_database_slot(shared, MyDatabaseId, false);
	if (slot != NULL && slot->pid != 0)
	{
		pg_atomic_fetch_add_u64(&slot->wakes, 1);
		(void) pg_atomic_compare_exchange_u64(&slot->woken_at, &none, (uint64) GetCurrentTimestamp());
		SetLatch(slot->latch);
		LWLockRelease(&shared->lock);
		return;
	}
	LWLockRelease(&shared->lock);

	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	slot = worker_database_slot(shared, MyDatabaseId, true);
	if (slot != NULL && slot->pid == 0 && slot->ending != WORKER_STOPPED)
	{
		slot->wanted = true;
		worker_wake_launcher(shared);
	}
	else if (slot != NULL && slot->pid != 0)
	{
		pg_atomic_fetch_add_u64(&slot->wakes, 1);
		SetLatch(slot->latch);
	}
	LWLockRelease(&shared->lock);
}

/* At commit the changes are visible to all: now is the time. A prepared transaction is left to the poll. */
static void
at_transaction_end(XactEvent event, void *arg)
{
	if (!wake_pending)
		return;
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		wake_pending = false;
	if (event == XACT_EVENT_COMMIT && shared_state != NULL)
		wake_now(shared_state);
}

/* Wake the database's worker if this transaction commits. */
void
worker_wake_on_commit(void)
{
	static bool registered = false;

	if (worker_is_ours || shared_or_null() == NULL)
		return;
	if (!registered)
		RegisterXactCallback(at_transaction_end, NULL);
	registered = true;
	wake_pending = true;
}

PG_FUNCTION_INFO_V1(salesops_wake_worker);

/* Statement trigger of the table of jobs: whatever changed it, the worker is to look. */
Datum
salesops_wake_worker(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"wake_worker\" is a trigger function")));
	worker_wake_on_commit();
	PG_RETURN_POINTER(NULL);
}

PG_FUNCTION_INFO_V1(salesops_worker_status);

/* The worker of this database: pid, launcher's pid, runners, wakes measured, latency from commit to its transaction in microseconds */
Datum
salesops_worker_status(PG_FUNCTION_ARGS)
{
	WorkerShared *shared = worker_shared();
	TupleDesc	desc;
	Datum		values[6];
	bool		nulls[6] = {false};
	DatabaseSlot *slot;
	int			runners = 0;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	LWLockAcquire(&shared->lock, LW_SHARED);
	slot = worker_database_slot(shared, MyDatabaseId, false);
	for (int i = 0; i < WORKER_RUNNERS; i++)
		runners += shared->runners[i].state != RUNNER_FREE && shared->runners[i].database == MyDatabaseId;
	values[0] = Int32GetDatum((int32) shared->launcher_pid);
	nulls[0] = shared->launcher_pid == 0;
	values[1] = Int32GetDatum(slot ? (int32) slot->pid : 0);
	nulls[1] = slot == NULL || slot->pid == 0;
	values[2] = Int32GetDatum(runners);
	values[3] = Int64GetDatum(slot ? (int64) slot->answered : 0);
	values[4] = Int32GetDatum(slot ? (int32) slot->latency_p50 : 0);
	values[5] = Int32GetDatum(slot ? (int32) slot->latency_p99 : 0);
	nulls[4] = nulls[5] = slot == NULL || slot->answered == 0;
	LWLockRelease(&shared->lock);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
