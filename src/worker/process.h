/*
 * process.h
 *		What the worker's processes share with each other, and nobody else needs.
 */
#ifndef SALESOPS_WORKER_PROCESS_H
#define SALESOPS_WORKER_PROCESS_H

#include "postgres.h"

#include "access/xact.h"
#include "postmaster/bgworker.h"
#include "utils/snapmgr.h"

extern void worker_describe_process(BackgroundWorker *worker, const char *name, const char *type,
									const char *function, Datum argument);
extern bool worker_database_is_calm(Oid database);

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
