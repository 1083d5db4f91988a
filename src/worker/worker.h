/*
 * worker.h
 *		What the worker's files share: shared memory, the run protocol, settings. README.md beside it tells the story.
 */
#ifndef SALESOPS_WORKER_WORKER_H
#define SALESOPS_WORKER_WORKER_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "port/atomics.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "utils/jsonb.h"

#define WORKER_DATABASES 64
#define WORKER_RUNNERS 64

/* How a database's worker ended, for the launcher */
typedef enum WorkerEnding
{
	WORKER_CRASHED = 0,			/* said nothing: start again, with back-off */
	WORKER_IDLE,				/* no extension or no jobs: not before somebody asks */
	WORKER_YIELDED,				/* made way for DDL on the database or the extension: soon again */
	WORKER_RESTS,				/* gave its process to a database that waits for one: again at rests_until */
	WORKER_STOPPED				/* stop_worker(): not before start_worker() */
} WorkerEnding;

/* One a database that has, had or wants a worker; kept when the worker ends, reused when slots run out */
typedef struct DatabaseSlot
{
	Oid			database;		/* InvalidOid: free */
	pid_t		pid;			/* 0: no worker */
	Latch	   *latch;			/* valid while pid is set */
	bool		wanted;			/* a job was committed while there was no worker */
	WorkerEnding ending;
	TimestampTz rests_until;	/* of the steady clock, where ending is WORKER_RESTS */
	TimestampTz starved_since;	/* steady clock: its worker has a job that is due and no process to run it in; 0: not so */
	pg_atomic_uint64 wakes;		/* commits that asked for attention */
	pg_atomic_uint64 woken_at;	/* TimestampTz of the first unanswered one, 0: none */
	uint64		answered;		/* wakes whose latency was measured */
	uint32		latency_p50;	/* of the last thousand, microseconds */
	uint32		latency_p99;
} DatabaseSlot;

typedef enum RunnerState
{
	RUNNER_FREE = 0,
	RUNNER_STARTING,			/* registered, not connected yet; job_id waits */
	RUNNER_ASSIGNED,			/* job_id is to be run */
	RUNNER_RUNNING,
	RUNNER_READY,				/* connected, nothing to do */
	RUNNER_QUIT,				/* told to end */
	RUNNER_ENDED				/* the process is gone: the database's worker cleans up */
} RunnerState;

/* One a process that runs jobs; belongs to the database's worker that started it */
typedef struct RunnerSlot
{
	RunnerState state;
	Oid			database;
	Oid			owner;			/* role the process is connected as */
	int64		job_id;			/* the job at hand, 0: none */
	pid_t		pid;			/* 0 until connected */
	Latch	   *latch;
	Latch	   *worker_latch;	/* of the database's worker */
	bool		claimed;		/* the run has been recorded as running */
	TimestampTz deadline;		/* after which it is terminated, 0: none; of the steady clock */
	bool		overdue;		/* it was */
} RunnerSlot;

typedef struct WorkerShared
{
	LWLock		lock;			/* guards all below but the atomics */
	bool		launcher_waits; /* a database wants a worker, and there is no process for it */
	TimestampTz complained_at;	/* steady clock: the last time that the log was told of a lack of processes */
	pid_t		launcher_pid;
	Latch	   *launcher_latch;
	DatabaseSlot databases[WORKER_DATABASES];
	RunnerSlot	runners[WORKER_RUNNERS];
} WorkerShared;

/* settings */
extern int	worker_max_concurrent_jobs;
extern int	worker_poll_interval;	/* milliseconds */
extern int	worker_launcher_interval;	/* seconds */

/* init_pg.c */
extern void worker_init(void);	/* from _PG_init */

/* wake_pg.c */
extern WorkerShared *worker_shared(void);
extern void worker_wake_on_commit(void);
extern DatabaseSlot *worker_database_slot(WorkerShared *shared, Oid database, bool create);
extern void worker_wake_launcher(WorkerShared *shared);
extern void worker_wake_for_turns(WorkerShared *shared);
extern bool worker_others_wait(const WorkerShared *shared, Oid database);
extern TimestampTz worker_longest_starved(const WorkerShared *shared, Oid *database);
extern bool worker_may_complain(WorkerShared *shared);
extern uint32 worker_wait_event(void);
extern bool worker_runs_job(int64 job_id);	/* is a process of ours, not this one, at it? */
extern bool worker_is_ours;		/* this process is a worker or runner: its own writes wake nobody */

/* run_pg.c: one run of one job, from claim to record */
typedef struct JobRun
{
	int64		job_id;
	int64		run_id;
	char	   *name;
	char	   *command;
	char	   *search_path;
	Oid			owner;
	int64		timeout;		/* milliseconds, 0: none */
	TimestampTz started_at;
	char	   *queue_row;		/* where a row of its entity's queue was when it began, and that row's xmin; NULL: none */
	char	   *queue_xmin;
	bool		drains;			/* the run before left no such row */
} JobRun;

extern bool worker_lock_job(int64 job_id, bool session);
extern void worker_unlock_job(int64 job_id);
extern bool worker_claim_run(int64 job_id, bool by_hand, bool lock_session, JobRun *run);
extern void worker_record_success(const JobRun *run, int64 rows);
extern void worker_record_failure(const JobRun *run, const char *outcome, const char *error);
extern bool worker_give_up(int64 job_id, const char *outcome, const char *error);
extern int	worker_record_lost(const int64 *busy, int nbusy);
extern void worker_record_unstartable(int64 job_id, const char *error);
extern void worker_start_timer(int64 milliseconds);
extern bool worker_stop_timer(void);	/* true if it fired */
extern char *worker_error_text(const ErrorData *error, bool timed_out);
extern const char *worker_run_here(const JobRun *run);
extern TimestampTz worker_next_occurrence(const char *schedule, const char *zone, TimestampTz after, TimestampTz anchor);
extern void worker_repair_clock(void);
extern void worker_prune_history(void);

/* job_pg.c */
/* SQL, of a job j: it is due (by its time, or by changes of what it runs on), not under way, and waits for no other */
#define WORKER_JOB_IS_DUE \
	"NOT j.paused AND j.running_run IS NULL " \
	"AND (j.next_run_at <= pg_catalog.clock_timestamp() OR j.failures = 0 AND j.drains AND j.on_change IS NOT NULL " \
	"     AND EXISTS (SELECT 1 FROM salesops.change_batch q WHERE q.entity = j.on_change)) " \
	"AND NOT EXISTS (SELECT 1 FROM salesops.job_definition a WHERE a.name = ANY (j.after) AND NOT a.paused " \
	"     AND (a.next_run_at <= pg_catalog.clock_timestamp() OR a.failures > 0 OR a.running_run IS NOT NULL)) "
extern bool worker_entity_exists(const char *entity);
extern void worker_require_entity(const char *entity);

/* queue_pg.c */
extern void worker_append_noted(const char *entity);

/* when_pg.c */
extern void worker_prepare_clauses(void);

/* launcher_pg.c */
extern void worker_register_launcher(void);

#endif							/* SALESOPS_WORKER_WORKER_H */
