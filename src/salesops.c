/*
 * salesops.c
 *		The front door: module magic, _PG_init, settings. No feature lives here.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/guc.h"

#include "core/progress.h"
#include "pipeline/pipeline_pg.h"
#include "worker/worker.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

/* Never raises without preload: pg_upgrade and LOAD must be able to load us anywhere. */
void
_PG_init(void)
{
	progress_init();
	pipeline_init();
	pipeline_keep_conditions();
	worker_init();
	MarkGUCPrefixReserved("salesops");
}
