/*
 * kernel_pg.h
 *		The server's side of kernel.h: palloc in a memory context, CHECK_FOR_INTERRUPTS and progress on every tick.
 */
#ifndef SALESOPS_CORE_KERNEL_PG_H
#define SALESOPS_CORE_KERNEL_PG_H

#include "postgres.h"

#include "core/kernel.h"

/* An environment that allocates in the given context; ticks check for interrupts and move salesops.progress. */
extern KernelEnv kernel_env_pg(MemoryContext context);

#endif /* SALESOPS_CORE_KERNEL_PG_H */
