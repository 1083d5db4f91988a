/*
 * columns_pg.h
 *		Columns of records that go between the processes of a team: cells on the way to the worker that interns them, whole columns on the
 *		way back or out.
 */
#ifndef SALESOPS_MATCH_COLUMNS_PG_H
#define SALESOPS_MATCH_COLUMNS_PG_H

#include "match/matcher_pg.h"
#include "match/team_pg.h"

/* An array over a link: its bytes only, both ends know how many; an array that is read is allocated. NULL where the other end has gone. */
extern void *columns_read_array(TeamLink *link, const KernelEnv *env, Size size);

/* A column of that many records, with its slots and hashes where it has any */
extern void columns_send(TeamLink *link, const MatchColumn *column, int32 nrecords);
extern bool columns_receive(TeamLink *link, const KernelEnv *env, MatchColumn *column, int32 nrecords, int32 room);

/* ---- intern_pg.c: workers that intern some columns while this backend reads ---- */
typedef struct MatcherInterning MatcherInterning;

/*
 * Hand the columns that cost most, with what is loaded of them, over to workers; NULL where none can be had or none would pay. Those
 * columns are 'elsewhere' until matcher_interning_finish.
 */
extern MatcherInterning *matcher_interning_start(MatchRecords *records);
/* A cell of a column that is elsewhere */
extern void matcher_interning_put(MatcherInterning *interning, const MatchRecords *records, int column, int32 record, const char *text,
								  Size length);
/* Bytes that the workers have allocated */
extern Size matcher_interning_memory(MatcherInterning *interning);
/* Take the columns over, or leave them where they are not wanted any more; the workers end */
extern void matcher_interning_finish(MatcherInterning *interning, MatchRecords *records, bool wanted);

#endif							/* SALESOPS_MATCH_COLUMNS_PG_H */
