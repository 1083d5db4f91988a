/*
 * found_pg.c
 *		The pairs that a search has found so far, in memory or through temporary files. Nothing here knows how they are found.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "match/matcher_pg.h"

void
matcher_keep_pair(MatcherPairs *pairs, MemoryContext context, int32 a, int32 b, double log2_odds)
{
	if (pairs->count == pairs->room)
	{
		pairs->room = pairs->room == 0 ? 1024 : pairs->room * 2;
		pairs->edge = pairs->edge == NULL ? MemoryContextAllocHuge(context, sizeof(MatchEdge) * pairs->room) :
			repalloc_huge(pairs->edge, sizeof(MatchEdge) * pairs->room);
	}
	pairs->edge[pairs->count].a = a;
	pairs->edge[pairs->count].b = b;
	pairs->edge[pairs->count++].log2_odds = log2_odds;
}
