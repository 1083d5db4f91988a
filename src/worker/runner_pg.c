/*
 * runner_pg.c
 *		A process that runs jobs: connected as their owner, one job after another, its session wiped in between.
 *
 * The session belongs to the owner from its start, so that no command can become the superuser by RESET ROLE or by
 * something left behind. Three transactions a run: claim; work and the record of success; failing that, the record of failure.
 * Commands that cannot run in a transaction block (VACUUM, procedures that commit) run as from psql; their success is
 * recorded in the transaction that follows.
 */
#include "postgres.h"

#ifdef __linux__
#include <sys/prctl.h>
#endif

#include "access/xact.h"
#include "commands/discard.h"
#include "miscadmin.h"
#include "parser/analyze.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/lock.h"
#include "storage/pmsignal.h"
#include "storage/proc.h"
#include "tcop/pquery.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "core/compat.h"
#include "worker/process.h"
#include "worker/worker.h"

/* A process without work stays so long, for the next job of its owner */
#define STAY_MS 5000
/* and so long where another database waits for a process */
#define SHORT_STAY_MS 50

static WorkerShared *shared;
static RunnerSlot *my_slot;

/* Tell the database's worker that this process is gone; without one, free the slot. Runs after the locks are released. */
static void
runner_exit(int code, Datum arg)
{
	DatabaseSlot *worker;

	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	worker = worker_database_slot(shared, my_slot->database, false);
	my_slot->state = worker != NULL && worker->pid != 0 ? RUNNER_ENDED : RUNNER_FREE;
	my_slot->pid = 0;
	my_slot->latch = NULL;
	if (my_slot->worker_latch != NULL)
		SetLatch(my_slot->worker_latch);
	LWLockRelease(&shared->lock);
}

/* Move to a state and tell the worker where it waits for it. */
static void
enter_state(RunnerState state)
{
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	if (my_slot->state != RUNNER_QUIT)
		my_slot->state = state;
	if (state == RUNNER_READY)
	{
		my_slot->job_id = 0;
		my_slot->deadline = 0;
		my_slot->claimed = my_slot->overdue = false;
		SetLatch(my_slot->worker_latch);
	}
	LWLockRelease(&shared->lock);
}

/* Tell the worker that the run is recorded and until when it may take. */
static void
note_claim(const JobRun *run)
{
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	my_slot->claimed = true;
	my_slot->deadline = run->timeout == 0 ? 0 : TimestampTzPlusMilliseconds(worker_steady_now(), run->timeout);
	LWLockRelease(&shared->lock);
}

/* Plan and run one statement of a command, as if it came from a client. Returns the rows it touched. */
static uint64
run_statement(RawStmt *raw, const char *source, bool only_one)
{
	List	   *plans;
	Portal		portal;
	QueryCompletion completion;
	bool		snapshot = analyze_requires_snapshot(raw);

	if (snapshot)
		PushActiveSnapshot(GetTransactionSnapshot());
	plans = pg_analyze_and_rewrite_fixedparams(raw, source, NULL, 0, NULL);
	plans = pg_plan_queries(plans, source, CURSOR_OPT_PARALLEL_OK, NULL);
	if (snapshot)
		PopActiveSnapshot();
	CHECK_FOR_INTERRUPTS();

	portal = CreatePortal("", true, true);
	portal->visible = false;
	PortalDefineQuery(portal, NULL, source, CreateCommandTag(raw->stmt), plans, NULL);
	PortalStart(portal, NULL, 0, InvalidSnapshot);
	InitializeQueryCompletion(&completion);
	(void) portal_run_all(portal, None_Receiver, &completion);
	PortalDrop(portal, false);
	if (!only_one)
		CommandCounterIncrement();
	return completion.nprocessed;
}

/* Run all statements of a command in the current transaction; one alone may also be of the kind that makes its own. */
static int64
run_statements(const char *source, MemoryContext context)
{
	List	   *statements = pg_parse_query(source);
	bool		only_one = list_length(statements) == 1;
	int64		rows = 0;
	ListCell   *cell;

	foreach(cell, statements)
	{
		if (!only_one)
			BeginImplicitTransactionBlock();
		rows = (int64) run_statement(lfirst_node(RawStmt, cell), source, only_one);
		MemoryContextSwitchTo(context);
	}
	if (!only_one)
		EndImplicitTransactionBlock();
	return rows;
}

/* The second transaction: the job's work and the record that it succeeded. */
static void
run_work(const JobRun *run, MemoryContext context)
{
	int64		rows;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	MemoryContextSwitchTo(context);
	rows = run_statements(run->command, context);
	(void) worker_stop_timer();
	PushActiveSnapshot(GetTransactionSnapshot());
	worker_record_success(run, rows);
	worker_commit(context);
}

/* The third one, where the second failed: what went wrong. */
static void
record_error(const JobRun *run, ErrorData *error, bool fired, MemoryContext context)
{
	bool		timed_out = fired && error->sqlerrcode == ERRCODE_QUERY_CANCELED;

	worker_begin();
	worker_record_failure(run, timed_out ? "timed out" : "failed",
						  worker_error_text(error, timed_out));
	worker_commit(context);
}

/* Run a claimed job to its record, whatever its command raises. */
static void
run_claimed(const JobRun *run, MemoryContext context)
{
	ErrorData  *volatile error = NULL;
	volatile bool fired = false;

	PG_TRY();
	{
		worker_start_timer(run->timeout);
		run_work(run, context);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		HOLD_INTERRUPTS();
		error = CopyErrorData();
		fired = worker_stop_timer();
		AbortCurrentTransaction();
		FlushErrorState();
		RESUME_INTERRUPTS();
		MemoryContextSwitchTo(context);
	}
	PG_END_TRY();
	if (error != NULL)
		record_error(run, error, fired, context);
}

/* The first transaction: claim the run. Losing it in a crash does no harm, the job is due then as before. */
static bool
claim(int64 job_id, JobRun *run, MemoryContext context)
{
	bool		claimed;

	worker_begin();
	(void) set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	claimed = worker_claim_run(job_id, false, true, run);
	worker_commit(context);
	return claimed;
}

/* Forget all that the job left in the session: settings, temporary tables, prepared statements, advisory locks. */
static void
wipe_session(void)
{
	DiscardStmt *discard = makeNode(DiscardStmt);

	discard->target = DISCARD_ALL;
	StartTransactionCommand();
	/* dropping temporary tables touches catalogs with TOAST tables */
	PushActiveSnapshot(GetTransactionSnapshot());
	DiscardCommand(discard, true);
	PopActiveSnapshot();
	CommitTransactionCommand();
}

/* Run the job at hand if it is still due. */
static void
run_job(int64 job_id, MemoryContext context)
{
	JobRun		run = {0};
	char	   *activity;

	if (claim(job_id, &run, context))
	{
		note_claim(&run);
		activity = psprintf("%s: %s", run.name, run.command);
		debug_query_string = activity;
		SetConfigOption("application_name", psprintf("salesops job %s", run.name), PGC_USERSET, PGC_S_SESSION);
		SetConfigOption("search_path", run.search_path, PGC_USERSET, PGC_S_SESSION);
		pgstat_report_activity(STATE_RUNNING, activity);
		run_claimed(&run, context);
		worker_unlock_job(job_id);
		debug_query_string = NULL;
	}
	wipe_session();
	SetConfigOption("application_name", "salesops job", PGC_USERSET, PGC_S_SESSION);
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
}

/* Wait for a job; 0 when it is time to end. */
static int64
wait_for_job(void)
{
	TimestampTz since = worker_steady_now();

	for (;;)
	{
		RunnerState state;
		TimestampTz until;
		TimestampTz now;
		int64		job_id;

		LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
		now = worker_steady_now();
		until = TimestampTzPlusMilliseconds(since, worker_others_wait(shared, my_slot->database) ? SHORT_STAY_MS : STAY_MS);
		if (my_slot->state == RUNNER_READY && now >= until)
			my_slot->state = RUNNER_QUIT;
		state = my_slot->state;
		job_id = my_slot->job_id;
		if (state == RUNNER_ASSIGNED || state == RUNNER_STARTING)
			my_slot->state = RUNNER_RUNNING;
		LWLockRelease(&shared->lock);
		if (state == RUNNER_QUIT)
			return 0;
		if (state != RUNNER_READY)
			return job_id;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 Min(TimestampDifferenceMilliseconds(now, until), 1000), worker_wait_event());
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
	}
}

#if defined(USE_POSTMASTER_DEATH_SIGNAL) && defined(PR_GET_PDEATHSIG)
/* The postmaster is gone: its worker, which would terminate this process, may be gone with it. */
static void
postmaster_died(SIGNAL_ARGS)
{
	int			save_errno = errno;

	postmaster_possibly_dead = true;
	if (!PostmasterIsAliveInternal())
	{
		InterruptPending = true;
		ProcDiePending = true;
		SetLatch(MyLatch);
	}
	errno = save_errno;
}
#endif

/*
 * Without the postmaster nobody may go on: a new one could not start while this process holds the shared memory. Who waits is told by
 * its latch, but a command that never waits would not notice. The server asks the system for a signal then, to look less often; here it
 * ends the process. (Where there is no such signal the worker, which does wait, terminates its jobs as it ends.)
 */
static void
end_with_postmaster(void)
{
#if defined(USE_POSTMASTER_DEATH_SIGNAL) && defined(PR_GET_PDEATHSIG)
	int			number = 0;

	if (prctl(PR_GET_PDEATHSIG, &number) == 0 && number > 0)
		pqsignal(number, postmaster_died);
#endif
}

PGDLLEXPORT void salesops_runner_main(Datum arg);

/* The process: connect as the owner the slot names, run what the slot names, until nothing comes for a while. */
void
salesops_runner_main(Datum arg)
{
	MemoryContext context;
	Oid			database;
	Oid			owner;
	bool		wanted;
	int64		job_id;

	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	end_with_postmaster();
	BackgroundWorkerUnblockSignals();
	worker_is_ours = true;
	shared = worker_shared();
	my_slot = &shared->runners[DatumGetInt32(arg)];
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	wanted = my_slot->state == RUNNER_STARTING && my_slot->pid == 0;
	database = my_slot->database;
	owner = my_slot->owner;
	if (wanted)
	{
		my_slot->pid = MyProcPid;
		my_slot->latch = &MyProc->procLatch;
	}
	LWLockRelease(&shared->lock);
	/* registered before the connection is made, so that it runs after the locks are gone */
	if (wanted || my_slot->state == RUNNER_QUIT)
		before_shmem_exit(runner_exit, (Datum) 0);
	if (!wanted)
		proc_exit(0);
	BackgroundWorkerInitializeConnectionByOid(database, owner, WORKER_CONNECT_FLAGS);
	context = AllocSetContextCreate(TopMemoryContext, "salesops job", ALLOCSET_DEFAULT_SIZES);

	while ((job_id = wait_for_job()) != 0)
	{
		MemoryContextSwitchTo(context);
		MemoryContextReset(context);
		run_job(job_id, context);
		enter_state(RUNNER_READY);
	}
	proc_exit(0);
}
