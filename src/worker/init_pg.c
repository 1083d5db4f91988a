/*
 * init_pg.c
 *		What the worker does when the library is loaded: settings, and, preloaded, room in shared memory and the launcher.
 *		Above the others: it calls them, they do not call it.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/guc.h"

#include "worker/worker.h"

int			worker_max_concurrent_jobs = 4;
int			worker_poll_interval = 1000;
int			worker_launcher_interval = 10;

static bool launcher_enabled = true;
static shmem_request_hook_type previous_request_hook = NULL;

/* Ask for our room in shared memory while the server starts. */
static void
request_shared_memory(void)
{
	if (previous_request_hook)
		previous_request_hook();
	RequestAddinShmemSpace(MAXALIGN(sizeof(WorkerShared)));
}

/* Define the settings; safe in any process. */
static void
define_settings(void)
{
	DefineCustomIntVariable("salesops.max_concurrent_jobs", "Jobs that run at the same time in one database.",
							"Each takes one of max_worker_processes.", &worker_max_concurrent_jobs, 4, 1, WORKER_RUNNERS,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("salesops.worker_poll_interval", "Longest time between two looks of a worker at its jobs.",
							"Commits wake it at once; this is the backstop.", &worker_poll_interval, 1000, 10, 60000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("salesops.launcher_interval", "Longest time between two looks of the launcher at the databases.",
							NULL, &worker_launcher_interval, 10, 1, 3600, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
}

/* Settings, and, if the server is just starting with us preloaded, room in shared memory and the launcher. Never raises. */
void
worker_init(void)
{
	define_settings();
	worker_prepare_clauses();
	if (!process_shared_preload_libraries_in_progress)
		return;
	DefineCustomBoolVariable("salesops.launcher", "Start workers for the databases that have jobs.",
							 "Off: only start_worker() does.", &launcher_enabled, true, PGC_POSTMASTER, 0, NULL, NULL, NULL);
	previous_request_hook = shmem_request_hook;
	shmem_request_hook = request_shared_memory;
	if (launcher_enabled)
		worker_register_launcher();
}
