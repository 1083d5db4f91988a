/*
 * progress.c
 *		A slot a backend in shared memory that says what a long command is doing (view salesops.progress).
 *
 * The segment is small (64 slots) and made on first use, so it works without shared_preload_libraries; its name carries a
 * version. When all slots are taken, a further command simply is not shown. A slot is written by its backend only; a
 * reader may see a count a moment old, never a torn name (names are set under the lock).
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "core/progress.h"

#define PROGRESS_SLOTS		64
#define PROGRESS_NAME		"salesops progress 1"

typedef struct ProgressSlot
{
	int			pid;			/* 0: free */
	Oid			database;
	Oid			role;
	TimestampTz started_at;
	char		command[NAMEDATALEN];
	char		target[NAMEDATALEN];
	char		phase[NAMEDATALEN];
	volatile double done;
	volatile double total;
} ProgressSlot;

static ProgressSlot *slots = NULL;
static ProgressSlot *mine = NULL;
static int	nesting = 0;

PG_FUNCTION_INFO_V1(salesops_progress_rows);

/* The shared array, made by whoever comes first. */
static ProgressSlot *
progress_slots(void)
{
	bool		found;

	if (slots == NULL)
	{
		LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
		slots = ShmemInitStruct(PROGRESS_NAME, sizeof(ProgressSlot) * PROGRESS_SLOTS, &found);
		if (!found)
			memset(slots, 0, sizeof(ProgressSlot) * PROGRESS_SLOTS);
		LWLockRelease(AddinShmemInitLock);
	}
	return slots;
}

/* Give the slot back. */
static void
progress_release(void)
{
	nesting = 0;
	if (mine != NULL)
	{
		mine->pid = 0;
		mine = NULL;
	}
}

/* An error or the transaction's end closes what progress_end did not. */
static void
progress_at_xact_end(XactEvent event, void *arg)
{
	(void) arg;
	if (event == XACT_EVENT_ABORT || event == XACT_EVENT_COMMIT || event == XACT_EVENT_PARALLEL_ABORT)
		progress_release();
}

/* A backend that dies hard in FATAL still leaves no slot behind. */
static void
progress_at_exit(int code, Datum arg)
{
	(void) code;
	(void) arg;
	progress_release();
}

/* Called from _PG_init; touches no shared memory, which may not exist yet. */
void
progress_init(void)
{
	RegisterXactCallback(progress_at_xact_end, NULL);
}

/* Begin a command. Nested commands count towards the outermost one. */
void
progress_start(const char *command, const char *target)
{
	static bool exit_registered = false;

	if (nesting++ > 0)
		return;
	if (!exit_registered)
	{
		before_shmem_exit(progress_at_exit, (Datum) 0);
		exit_registered = true;
	}
	(void) progress_slots();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	for (int i = 0; i < PROGRESS_SLOTS && mine == NULL; i++)
	{
		if (slots[i].pid == 0)
		{
			mine = &slots[i];
			mine->database = MyDatabaseId;
			mine->role = GetUserId();
			mine->started_at = GetCurrentTimestamp();
			strlcpy(mine->command, command, NAMEDATALEN);
			strlcpy(mine->target, target ? target : "", NAMEDATALEN);
			mine->phase[0] = '\0';
			mine->done = mine->total = 0;
			mine->pid = MyProcPid;
		}
	}
	LWLockRelease(AddinShmemInitLock);
}

/* Name what comes now; total 0 where unknown. */
void
progress_phase(const char *phase, double total)
{
	if (mine == NULL)
		return;
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	strlcpy(mine->phase, phase, NAMEDATALEN);
	mine->done = 0;
	mine->total = total;
	LWLockRelease(AddinShmemInitLock);
}

/* How far it is; total 0 keeps what progress_phase said. */
void
progress_update(double done, double total)
{
	if (mine == NULL)
		return;
	mine->done = done;
	if (total > 0)
		mine->total = total;
}

/* The command has ended well. */
void
progress_end(void)
{
	if (nesting > 0 && --nesting == 0)
		progress_release();
}

/* Rows of the view: other roles' commands only for members of pg_read_all_stats and of the role itself. */
Datum
salesops_progress_rows(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	ProgressSlot *copy = palloc(sizeof(ProgressSlot) * PROGRESS_SLOTS);

	InitMaterializedSRF(fcinfo, 0);
	(void) progress_slots();
	LWLockAcquire(AddinShmemInitLock, LW_SHARED);
	memcpy(copy, slots, sizeof(ProgressSlot) * PROGRESS_SLOTS);
	LWLockRelease(AddinShmemInitLock);
	for (int i = 0; i < PROGRESS_SLOTS; i++)
	{
		Datum		values[8];
		bool		nulls[8] = {false};

		if (copy[i].pid == 0 || copy[i].database != MyDatabaseId)
			continue;
		if (!has_privs_of_role(GetUserId(), copy[i].role) &&
			!has_privs_of_role(GetUserId(), get_role_oid("pg_read_all_stats", false)))
			continue;
		values[0] = Int32GetDatum(copy[i].pid);
		values[1] = ObjectIdGetDatum(copy[i].role);
		values[2] = CStringGetTextDatum(copy[i].command);
		values[3] = CStringGetTextDatum(copy[i].target);
		values[4] = CStringGetTextDatum(copy[i].phase);
		values[5] = Float8GetDatum(copy[i].done);
		values[6] = Float8GetDatum(copy[i].total);
		nulls[6] = copy[i].total <= 0;
		values[7] = TimestampTzGetDatum(copy[i].started_at);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
