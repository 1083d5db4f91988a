/*
 * statement.c
 *		One hook at the executor's start for all who look at the result relations of statements: whose triggers' clauses are made by hand
 *		(worker/when_pg.c, pipeline/condition_pg.c).
 */
#include "postgres.h"

#include "executor/executor.h"

#include "core/statement.h"

#define LOOKS_MOST 4

static ExecutorStart_hook_type previous_start = NULL;
static StatementLook looks[LOOKS_MOST];
static int	look_count = 0;

/* A statement starts: its result relations are open. */
static void
start_statement(QueryDesc *query, int flags)
{
	EState	   *estate;
	ListCell   *cell;

	if (previous_start)
		previous_start(query, flags);
	else
		standard_ExecutorStart(query, flags);
	estate = query->estate;
	if (estate->es_opened_result_relations == NIL || (flags & EXEC_FLAG_EXPLAIN_ONLY) != 0)
		return;
	foreach(cell, estate->es_opened_result_relations)
	{
		ResultRelInfo *relation = lfirst(cell);

		for (int i = 0; i < look_count && relation->ri_TrigDesc != NULL; i++)
			looks[i] (relation, query);
	}
}

/* See statement.h. */
void
statement_look(StatementLook look)
{
	if (look_count == LOOKS_MOST)
		elog(ERROR, "too many look at statements");
	if (look_count == 0)
	{
		previous_start = ExecutorStart_hook;
		ExecutorStart_hook = start_statement;
	}
	looks[look_count++] = look;
}
