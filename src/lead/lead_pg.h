/*
 * lead_pg.h
 *		Lead scoring: the rules and the policy as they stand (rules_pg.c), for scoring by them (score_pg.c), by triggers too (changed_pg.c).
 */
#ifndef SALESOPS_LEAD_LEAD_PG_H
#define SALESOPS_LEAD_LEAD_PG_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "utils/array.h"

typedef enum RuleCategory
{
	RULE_FIT,
	RULE_TECHNOLOGY,
	RULE_ENGAGEMENT,
	RULE_NEGATIVE,
	RULE_CATEGORIES
} RuleCategory;

typedef struct ScoringRule
{
	char	   *name;
	RuleCategory category;
	bool		on_activity;	/* judged on each activity of the lead, not on the lead */
	char	   *expression;		/* as the server deparsed it */
	double		points;
	double		half_life;		/* seconds; 0: no decay */
	double		cap;			/* of the rule's points, without sign; 0: none */
} ScoringRule;

typedef struct ScoringSegment
{
	char	   *name;
	char	   *expression;
	char	   *model;
} ScoringSegment;

typedef struct ScoringPolicy
{
	double		model_weight;	/* of the model in the score, where there are rules as well */
	double		category_cap[RULE_CATEGORIES];	/* of points, without sign; 0: none */
	double		total;			/* points that are a rules' score of 100; 0: all that can be had */
	bool		grade_by_probability;
	double		grade_threshold[3]; /* A, B, C; below is D */
	double		matrix_threshold[3];
	List	   *rules;			/* of ScoringRule * */
	List	   *segments;		/* of ScoringSegment *, in their order */
	double		best[RULE_CATEGORIES];	/* the most positive points a category can give */
} ScoringPolicy;

extern const char *const lead_categories[];

/* Rules, segments and policy, in the current memory context. */
extern ScoringPolicy *lead_read_policy(void);

/*
 * The query below a contract view ("lead", "activity"), its columns in the view's order but without names: unlike the view, whoever may
 * read the attached relation may run it, such as its owner, for whom triggers score.
 */
extern char *lead_rows_query(const char *entity);

/*
 * The query that reads leads with everything that scoring needs: the lead's columns, then segment (int: index, -1 none)
 * and points (float8[], by rule, decayed and capped). $1 is as_of; $2 the leads' ids (text[]), where only some are read.
 */
extern char *lead_score_query(const ScoringPolicy *policy, bool some);

/* score_pg.c: score all leads that the current user sees, or those named, and keep the scores. Returns how many. */
extern uint64 lead_score_leads(const char *model, TimestampTz as_of, ArrayType *leads);

#endif							/* SALESOPS_LEAD_LEAD_PG_H */
