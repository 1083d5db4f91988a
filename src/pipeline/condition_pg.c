/*
 * condition_pg.c
 *		The WHEN clauses of enforce_stage_criteria()'s triggers without reading them. The server reads a trigger's WHEN from text for each
 *		statement, plans and prepares it, which costs a statement of one row as much as all else. Here the result relations of a
 *		statement that starts get, in place of the prepared clause that the server would make with the first row, one that asks for the
 *		session's own: made in the same way, and kept (kept_pg.h) until the relation, a function or a type changes.
 *
 * Rows that come other ways go the server's, with the same answer: partitions chosen row by row, COPY, a session that has not loaded the
 * library yet.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "nodes/execnodes.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteManip.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "core/compat.h"
#include "core/statement.h"
#include "pipeline/criteria_pg.h"
#include "pipeline/kept_pg.h"

/* What stands for the prepared clause in one statement; the server sees the first member */
typedef struct Condition
{
	ExprState	state;
	const Trigger *trigger;		/* the statement's copy */
	Oid			relid;
	MemoryContext statement;
	Kept	   *kept;			/* NULL before the first row */
} Condition;

/* The clause as the server prepares it (TriggerEnabled), but in memory that stays */
static ExprState *
prepare(const Trigger *trigger, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	EState	   *estate = CreateExecutorState();
	ExprState  *prepared;
	Node	   *clause;

	MemoryContextSwitchTo(estate->es_query_cxt);
	clause = stringToNode(trigger->tgqual);
	ChangeVarNodes(clause, PRS2_OLD_VARNO, INNER_VAR, 0);
	ChangeVarNodes(clause, PRS2_NEW_VARNO, OUTER_VAR, 0);
	prepared = ExecPrepareQual(make_ands_implicit((Expr *) clause), estate);
	MemoryContextSwitchTo(old);
	return prepared;
}

/* The session's clause for this trigger, from the first row of a statement on */
static void
take(Condition *condition)
{
	Kept	   *kept = kept_take(KEPT_CONDITION, condition->trigger->tgoid, condition->statement);

	if (kept->built == NULL)
	{
		ExprState  *prepared = prepare(condition->trigger, kept->context);

		if (prepared != NULL)
			kept_depends_on(kept, prepared);
		kept_built(kept, prepared, &condition->relid, 1);
	}
	condition->kept = kept;
}

/* Asked by the server whether the trigger is to fire for a row */
static Datum
evaluate(ExprState *expression, ExprContext *econtext, bool *isnull)
{
	Condition  *condition = (Condition *) expression;
	ExprState  *prepared;
	Datum		result;

	if (condition->kept == NULL)
		take(condition);
	prepared = condition->kept->built;
	if (prepared == NULL)
	{
		/* a clause that is true, as somebody else may have made one */
		*isnull = false;
		return BoolGetDatum(true);
	}
	condition->kept->unsafe = true;
	result = prepared->evalfunc(prepared, econtext, isnull);
	condition->kept->unsafe = false;
	return result;
}

/* Is it a trigger of enforce_stage_criteria() whose WHEN is criteria? */
static bool
is_criteria_trigger(const Trigger *trigger)
{
	char	   *name;

	if (strcmp(trigger->tgname, TRIGGER_CRITERIA) != 0)
		return false;
	name = get_func_name(trigger->tgfoid);
	return name != NULL && strcmp(name, "check_stage_criteria") == 0 &&
		get_func_namespace(trigger->tgfoid) == get_namespace_oid("salesops", true);
}

/* Put conditions where the server keeps prepared clauses. */
static void
replace_conditions(ResultRelInfo *relation, const QueryDesc *query)
{
	MemoryContext statement = query->estate->es_query_cxt;
	TriggerDesc *triggers = relation->ri_TrigDesc;

	for (int i = 0; i < triggers->numtriggers; i++)
	{
		const Trigger *trigger = &triggers->triggers[i];
		Condition  *condition;

		if (trigger->tgqual == NULL || relation->ri_TrigWhenExprs == NULL || relation->ri_TrigWhenExprs[i] != NULL ||
			!is_criteria_trigger(trigger))
			continue;
		condition = MemoryContextAllocZero(statement, sizeof(Condition));
		condition->state.type = T_ExprState;
		condition->state.flags = EEO_FLAG_IS_QUAL;
		condition->state.evalfunc = evaluate;
		condition->trigger = trigger;
		condition->relid = RelationGetRelid(relation->ri_RelationDesc);
		condition->statement = statement;
		relation->ri_TrigWhenExprs[i] = &condition->state;
	}
}

/* From here on in this process; from _PG_init. */
void
pipeline_keep_conditions(void)
{
	statement_look(replace_conditions);
}
