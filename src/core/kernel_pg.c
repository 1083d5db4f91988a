/*
 * kernel_pg.c
 *		The server's allocator and tick for kernels (kernel.h). Nothing here knows what a kernel computes.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "core/kernel_pg.h"
#include "core/progress.h"

/* palloc, allowing more than a gigabyte: kernels size their arrays by rows. */
static void *
kernel_palloc(void *context, size_t size)
{
	return MemoryContextAllocHuge((MemoryContext) context, size == 0 ? 1 : size);
}

/* repalloc keeps the chunk in the context it came from. */
static void *
kernel_repalloc(void *context, void *pointer, size_t size)
{
	if (pointer == NULL)
		return kernel_palloc(context, size);
	return repalloc_huge(pointer, size == 0 ? 1 : size);
}

/* Free a chunk; NULL is allowed as it is for free(). */
static void
kernel_pfree(void *context, void *pointer)
{
	(void) context;
	if (pointer != NULL)
		pfree(pointer);
}

/* One place where every long kernel loop can be cancelled and is seen to move. */
static void
kernel_tick_pg(void *context, double done, double total)
{
	(void) context;
	CHECK_FOR_INTERRUPTS();
	progress_update(done, total);
}

/* An environment that allocates in the given context. */
KernelEnv
kernel_env_pg(MemoryContext context)
{
	KernelEnv	env = {kernel_palloc, kernel_repalloc, kernel_pfree, kernel_tick_pg, context};

	return env;
}
