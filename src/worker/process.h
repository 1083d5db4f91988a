/*
 * process.h
 *		What the worker's processes share with each other, and nobody else needs.
 */
#ifndef SALESOPS_WORKER_PROCESS_H
#define SALESOPS_WORKER_PROCESS_H

#include "postgres.h"

#include "access/xact.h"
#include "datatype/timestamp.h"
#include "portability/instr_time.h"
#include "postmaster/bgworker.h"
#include "utils/snapmgr.h"

extern void worker_describe_process(BackgroundWorker *worker, const char *name, const char *type,
									const char *function, Datum argument);
extern bool worker_database_is_calm(Oid database);

/*
 * Microseconds that no setting of the clock changes, the same for all processes of the server. Pauses, back-off and deadlines are counted
 * by it, due times by the clock. Of the type of a TimestampTz, but comparable among its like only.
 */
static inline TimestampTz
worker_steady_now(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return (TimestampTz) INSTR_TIME_GET_MICROSEC(now);
}

/* A transaction in which SPI works: outside of a portal it wants a snapshot at hand. Ends in the memory context it began in. */
static inline MemoryContext
worker_begin(void)
{
	MemoryContext context = CurrentMemoryContext;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(context);
	return context;
}

/* Its end */
static inline void
worker_commit(MemoryContext context)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
}

#endif							/* SALESOPS_WORKER_PROCESS_H */
