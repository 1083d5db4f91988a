/*
 * team_pg.c
 *		Parallel workers with a stream of bytes each way (team_pg.h). Nothing here knows what they compute.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "optimizer/cost.h"
#include "storage/proc.h"

#include "match/team_pg.h"

#define LIBRARY "$libdir/salesops"
#define KEY_SHARED UINT64CONST(0x53414C4553000001)
#define KEY_QUEUES UINT64CONST(0x53414C4553000002)
#define QUEUE_BYTES (1024 * 1024)

struct MatcherTeam
{
	ParallelContext *parallel;
	void	   *shared;
	TeamLink   *link[TEAM_MOST];
};

int
matcher_team_room(void)
{
	/* not below a plan that is parallel already: its workers are those that the settings allow */
	if (IsInParallelMode() || IsParallelWorker() || !INTERRUPTS_CAN_BE_PROCESSED())
		return 0;
	return Min(Min(max_parallel_workers_per_gather, max_parallel_workers), TEAM_MOST);
}

/* The queue to a worker, or back from it. */
static void *
queue_at(char *queues, int worker, bool back)
{
	return queues + ((Size) worker * 2 + (back ? 1 : 0)) * QUEUE_BYTES;
}

/* Queues for all workers that may come, in the segment. */
static char *
make_queues(ParallelContext *parallel, int workers)
{
	char	   *queues = shm_toc_allocate(parallel->toc, (Size) workers * 2 * QUEUE_BYTES);

	for (int w = 0; w < workers; w++)
	{
		shm_mq_set_sender(shm_mq_create(queue_at(queues, w, false), QUEUE_BYTES), MyProc);
		shm_mq_set_receiver(shm_mq_create(queue_at(queues, w, true), QUEUE_BYTES), MyProc);
	}
	shm_toc_insert(parallel->toc, KEY_QUEUES, queues);
	return queues;
}

/* The leader's end of a worker's streams. */
static TeamLink *
leader_link(ParallelContext *parallel, char *queues, int worker)
{
	TeamLink   *link = palloc(sizeof(TeamLink));

	link->to = shm_mq_attach((shm_mq *) queue_at(queues, worker, false), parallel->seg, parallel->worker[worker].bgwhandle);
	link->from = shm_mq_attach((shm_mq *) queue_at(queues, worker, true), parallel->seg, parallel->worker[worker].bgwhandle);
	link->used = 0;
	link->left = 0;
	return link;
}

MatcherTeam *
matcher_team_start(const char *entry, int wanted, Size size)
{
	MatcherTeam *team;
	ParallelContext *parallel;
	char	   *queues;

	wanted = Min(wanted, matcher_team_room());
	if (wanted <= 0)
		return NULL;
	EnterParallelMode();
	parallel = CreateParallelContext(LIBRARY, entry, wanted);
	shm_toc_estimate_chunk(&parallel->estimator, size);
	shm_toc_estimate_chunk(&parallel->estimator, (Size) wanted * 2 * QUEUE_BYTES);
	shm_toc_estimate_keys(&parallel->estimator, 2);
	InitializeParallelDSM(parallel);
	/* without a segment there are no workers, and what it would hold is in private memory */
	team = palloc0(sizeof(MatcherTeam));
	team->parallel = parallel;
	team->shared = shm_toc_allocate(parallel->toc, size);
	memset(team->shared, 0, size);
	shm_toc_insert(parallel->toc, KEY_SHARED, team->shared);
	queues = make_queues(parallel, wanted);
	if (parallel->seg != NULL)
		LaunchParallelWorkers(parallel);
	for (int w = 0; w < parallel->nworkers_launched; w++)
		team->link[w] = leader_link(parallel, queues, w);
	if (parallel->nworkers_launched > 0)
		return team;
	matcher_team_end(team);
	return NULL;
}

int
matcher_team_size(const MatcherTeam *team)
{
	return team->parallel->nworkers_launched;
}

TeamLink *
matcher_team_link(MatcherTeam *team, int worker)
{
	return team->link[worker];
}

void *
matcher_team_shared(MatcherTeam *team)
{
	return team->shared;
}

void
matcher_team_end(MatcherTeam *team)
{
	for (int w = 0; w < team->parallel->nworkers_launched; w++)
	{
		shm_mq_detach(team->link[w]->to);
		shm_mq_detach(team->link[w]->from);
		pfree(team->link[w]);
	}
	WaitForParallelWorkersToFinish(team->parallel);
	DestroyParallelContext(team->parallel);
	ExitParallelMode();
	pfree(team);
}

TeamLink *
team_join(dsm_segment *segment, shm_toc *toc, void **shared)
{
	char	   *queues = shm_toc_lookup(toc, KEY_QUEUES, false);
	shm_mq	   *to = queue_at(queues, ParallelWorkerNumber, true);
	shm_mq	   *from = queue_at(queues, ParallelWorkerNumber, false);
	TeamLink   *link = palloc(sizeof(TeamLink));

	*shared = shm_toc_lookup(toc, KEY_SHARED, false);
	shm_mq_set_sender(to, MyProc);
	shm_mq_set_receiver(from, MyProc);
	link->to = shm_mq_attach(to, segment, NULL);
	link->from = shm_mq_attach(from, segment, NULL);
	link->used = 0;
	link->left = 0;
	return link;
}

/*
 * The other end has gone. A worker whose leader has gone is done; a leader whose worker has gone hears of the worker's error, and where
 * there is none, of the loss.
 */
static void
raise_lost(void)
{
	if (IsParallelWorker())
		return;
	CHECK_FOR_INTERRUPTS();
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("lost connection to parallel worker")));
}

/* Send one message. */
static void
send_message(TeamLink *link, const void *data, Size size)
{
	if (shm_mq_send(link->to, size, data, false, true) != SHM_MQ_SUCCESS)
		raise_lost();
}

void
team_flush(TeamLink *link)
{
	Size		size = link->used;

	link->used = 0;
	if (size > 0)
		send_message(link, link->gathered, size);
}

void
team_write_large(TeamLink *link, const void *data, Size size)
{
	const char *at = data;

	team_flush(link);
	while (size > TEAM_MESSAGE)
	{
		send_message(link, at, TEAM_MESSAGE);
		at += TEAM_MESSAGE;
		size -= TEAM_MESSAGE;
	}
	memcpy(link->gathered, at, size);
	link->used = size;
}

/* The next message; false where the other end has gone. */
static bool
next_message(TeamLink *link)
{
	void	   *data;
	shm_mq_result result = shm_mq_receive(link->from, &link->left, &data, false);

	link->data = data;
	if (result == SHM_MQ_SUCCESS)
		return true;
	link->left = 0;
	raise_lost();
	return false;
}

bool
team_read(TeamLink *link, void *data, Size size)
{
	char	   *to = data;

	while (size > 0)
	{
		Size		step;

		if (link->left == 0 && !next_message(link))
			return false;
		step = Min(size, link->left);
		memcpy(to, link->data, step);
		link->data += step;
		link->left -= step;
		to += step;
		size -= step;
	}
	return true;
}

bool
team_has_come(TeamLink *link)
{
	void	   *data;
	shm_mq_result result;

	if (link->left > 0)
		return true;
	result = shm_mq_receive(link->from, &link->left, &data, true);
	link->data = data;
	if (result == SHM_MQ_SUCCESS)
		return link->left > 0;
	link->left = 0;
	if (result == SHM_MQ_DETACHED)
		raise_lost();
	return false;
}
