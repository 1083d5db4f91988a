/*
 * history_pg.h
 *		What the tracking of stage changes shares: history_pg.c has the triggers, partition_pg.c what no trigger sees.
 */
#ifndef SALESOPS_PIPELINE_HISTORY_PG_H
#define SALESOPS_PIPELINE_HISTORY_PG_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "nodes/nodes.h"

/* of a leaf partition: AFTER TRUNCATE, which is not cloned from the root's */
#define TRIGGER_HISTORY_PARTITION	"zz_salesops_history_partition"

/* partition_pg.c */
extern void history_settle(Oid root);
extern List *history_leaves(Oid relid);
extern void history_follow_command(const Node *statement);
extern void history_follow_drops(void);

/* history_pg.c: make the triggers of leaf partitions of a tracked relation, or drop them for InvalidOid */
extern void history_guard_leaves(Oid root, List *leaves);

#endif							/* SALESOPS_PIPELINE_HISTORY_PG_H */
