/*
 * criteria_pg.h
 *		Criteria as the doors of the pipeline domain share them: what is stored, how each is checked.
 */
#ifndef SALESOPS_PIPELINE_CRITERIA_PG_H
#define SALESOPS_PIPELINE_CRITERIA_PG_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"

#include "core/expression.h"
#include "pipeline/pipeline_pg.h"

/*
 * How a criterion is checked as a row is written, fastest first:
 * NATIVE	in the WHEN of a trigger, by the server: it cannot raise an error at run time
 * COMPILED	by the trigger's function, over the row: it might (a division), and the error must name the criterion
 * QUERY	by a prepared query after the row is written: it has a subquery, or uses generated columns
 */
typedef enum CriterionWay
{
	CRITERION_NATIVE,
	CRITERION_COMPILED,
	CRITERION_QUERY
} CriterionWay;

/* A row of salesops.criterion */
typedef struct Criterion
{
	int64		id;
	char	   *name;
	int			version;
	char	   *stage;
	char	   *text;			/* as the columns are named now */
	char	   *message;		/* or NULL */
	char	   *action;
	bool		judged_at_entry;
	TimestampTz effective_from;
	TimestampTz effective_until;	/* DT_NOEND where open */
	TimestampTz grace_until;	/* DT_NOBEGIN where none */
	RowExpression *expression;	/* over the relation the criterion was given for */
	CriterionWay way;
} Criterion;

/* A row of salesops.criteria_relation with its stages and criteria */
typedef struct Criteria
{
	Oid			relid;
	char	   *pipeline;
	char	   *stage_column;	/* NULL where the relation has no row there yet */
	bool		enforced;
	List	   *stages;			/* of Stage */
	List	   *criteria;		/* of Criterion, by ordinal of their stage, then by id */
} Criteria;

#define TRIGGER_CRITERIA	"zz_salesops_criteria"
#define TRIGGER_QUERY		"zz_salesops_criteria_query"
#define TRIGGER_CREATION	"zz_salesops_creation"
#define TRIGGER_MOVE		"zz_salesops_move"

/* of track_stage_changes() */
#define TRIGGER_HISTORY_INSERT	"zz_salesops_history_insert"
#define TRIGGER_HISTORY_UPDATE	"zz_salesops_history_update"
#define TRIGGER_HISTORY_DELETE	"zz_salesops_history_delete"
#define TRIGGER_HISTORY_TRUNCATE	"zz_salesops_history_truncate"

/* criteria_pg.c: by the latest snapshot, in the current memory context; opens its own SPI scope */
extern Criteria *criteria_load(Oid relid);
extern bool criteria_exist(Oid relid);
extern bool criteria_enforced(Oid relid);
extern bool criterion_binds(const Criteria *criteria, const Criterion *criterion, const char *stage);
extern char *criteria_choose_stage_column(Oid relid);
extern char *criteria_key_column(Oid relid);
extern char *criteria_value_text(Datum value, Oid type);
extern const char *criterion_description(const char *name);

/* enforce_pg.c: the triggers of one relation, as its criteria and stages are now */
extern void criteria_rebuild(Oid relid);

#endif /* SALESOPS_PIPELINE_CRITERIA_PG_H */
