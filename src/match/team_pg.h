/*
 * team_pg.h
 *		Parallel workers that compute for one backend: a stream of bytes to each and one back. What goes over them is others' matter.
 *
 * The workers come from the server's own parallel machinery, so max_parallel_workers_per_gather and max_parallel_workers bound them,
 * a cancelled or failed leader takes them along, and their errors are raised in the leader. They get no memory of the leader's: what they
 * need goes through queues of a fixed size, so that shared memory stays at two megabytes a worker.
 */
#ifndef SALESOPS_MATCH_TEAM_PG_H
#define SALESOPS_MATCH_TEAM_PG_H

#include "postgres.h"

#include "storage/dsm.h"
#include "storage/shm_mq.h"
#include "storage/shm_toc.h"

#define TEAM_MOST 4				/* workers */
#define TEAM_MESSAGE 32768		/* bytes that are gathered before they are sent */

/* One end of the two streams between the leader and a worker */
typedef struct TeamLink
{
	shm_mq_handle *to;
	shm_mq_handle *from;
	Size		used;			/* of gathered */
	const char *data;			/* what is left of the message that is being read */
	Size		left;
	char		gathered[TEAM_MESSAGE];
} TeamLink;

typedef struct MatcherTeam MatcherTeam;

/*
 * Up to 'wanted' workers in an entry point of this library, with 'size' bytes of memory that all share, zeroed; NULL where none can be had,
 * or where this backend may not have any now. Parallel mode is on until the team ends.
 */
extern MatcherTeam *matcher_team_start(const char *entry, int wanted, Size size);
extern int	matcher_team_size(const MatcherTeam *team);
extern TeamLink *matcher_team_link(MatcherTeam *team, int worker);
extern void *matcher_team_shared(MatcherTeam *team);
/* Wait for the workers to end, and leave parallel mode. Workers that still read learn that nothing more comes. */
extern void matcher_team_end(MatcherTeam *team);
/* The most workers that a call of matcher_team_start might get now; 0 where it would get none */
extern int	matcher_team_room(void);

/* A worker's own end, and the shared memory */
extern TeamLink *team_join(dsm_segment *segment, shm_toc *toc, void **shared);

extern void team_flush(TeamLink *link);
extern void team_write_large(TeamLink *link, const void *data, Size size);
/* All of size bytes; false where the other end has gone before the first of them. In the leader that is an error. */
extern bool team_read(TeamLink *link, void *data, Size size);
/* Whether bytes have come that team_read would give without waiting for the first of them */
extern bool team_has_come(TeamLink *link);

/* Bytes for the other end; they go when enough are gathered, or by team_flush */
static inline void
team_write(TeamLink *link, const void *data, Size size)
{
	if (size > TEAM_MESSAGE - link->used)
		team_write_large(link, data, size);
	else
	{
		memcpy(link->gathered + link->used, data, size);
		link->used += size;
	}
}

#endif							/* SALESOPS_MATCH_TEAM_PG_H */
