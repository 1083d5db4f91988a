/*
 * pipeline_pg.h
 *		What the doors of the pipeline domain share: stages, and the relations whose criteria are enforced.
 */
#ifndef SALESOPS_PIPELINE_PIPELINE_PG_H
#define SALESOPS_PIPELINE_PIPELINE_PG_H

#include "postgres.h"

#include "nodes/pg_list.h"

typedef enum StageKind
{
	STAGE_OPEN,
	STAGE_WON,
	STAGE_LOST
} StageKind;

/* A row of salesops.stage */
typedef struct Stage
{
	char	   *name;
	int			ordinal;
	StageKind	kind;
	bool		may_create;
	bool		may_skip;
	bool		may_go_back;
	bool		any_source;		/* enters_from is NULL */
	List	   *enters_from;	/* of char * */
	List	   *except_roles;	/* of char * */
} Stage;

/* stages_pg.c: the stages of a pipeline in their order, as of the latest snapshot; NIL for an unknown pipeline */
extern List *pipeline_stages(const char *pipeline);
extern Stage *pipeline_find_stage(List *stages, const char *name);
/* Does a criterion of the one stage bind a deal in the other? */
extern bool pipeline_stage_binds(const Stage *criterion_stage, const Stage *deal_stage);
/* May a deal go from one stage to the other? If not, why in a few words. */
extern bool pipeline_move_allowed(List *stages, const Stage *from, const Stage *to, const char **why);

/* The strings of a text[]; NULL elements are left out */
extern List *pipeline_text_array(Datum array);

/* guard_pg.c: settings, from _PG_init */
extern void pipeline_init(void);
/* condition_pg.c: the same for the triggers' WHEN clauses */
extern void pipeline_keep_conditions(void);

/* enforce_pg.c: make the triggers of every enforced relation of the pipeline anew */
extern void pipeline_rebuild(const char *pipeline);

#endif /* SALESOPS_PIPELINE_PIPELINE_PG_H */
