/*
 * progress.h
 *		What a long command is doing, for the view salesops.progress: a slot a backend in shared memory.
 *
 * progress_start at the command's begin, progress_phase as it goes on, progress_update from loops (cheap: two stores),
 * progress_end at its end; an error ends it too (a transaction callback).
 */
#ifndef SALESOPS_CORE_PROGRESS_H
#define SALESOPS_CORE_PROGRESS_H

#include "postgres.h"

extern void progress_init(void);	/* from _PG_init */
extern void progress_start(const char *command, const char *target);
extern void progress_phase(const char *phase, double total);
extern void progress_update(double done, double total);
extern void progress_end(void);

#endif /* SALESOPS_CORE_PROGRESS_H */
