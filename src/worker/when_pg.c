/*
 * when_pg.c
 *		The WHEN clauses of watch()'s triggers without reading them. The server reads a trigger's WHEN clause from text for each statement,
 *		plans and prepares it: most of what a watched single-row write costs. Here a statement's result relations get, as it starts, the
 *		prepared clause that the server would make with the first row, done by hand: take the key's column from the row, note it, say no.
 *
 * What a clause says is read once a session and kept with its text, by which it is known again; when there are too many, of triggers that
 * may have gone long since, all are forgotten. Only clauses that are a call of a
 * note function with one or two columns are taken, and only of triggers of watch(). Everything else goes the server's way, to the same
 * functions with the same effect, and so do rows that come other ways: COPY, partitions chosen row by row, a session that has not loaded
 * the library yet.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "nodes/execnodes.h"
#include "nodes/primnodes.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "core/compat.h"
#include "core/statement.h"
#include "worker/note.h"
#include "worker/worker.h"

#define TRIGGER_NAME "salesops_watch_"
#define NOTE_NAME "note_"
#define MOST_KNOWN 300			/* clauses; a kilobyte or two each */

/* A trigger's clause, as read */
typedef struct KnownClause
{
	Oid			trigger;		/* the key */
	char	   *text;			/* the clause; NULL in a new entry */
	const char *entity;			/* NULL: none of ours */
	AttrNumber	new_column;		/* 0: none */
	AttrNumber	old_column;
	Oid			key_type;
} KnownClause;

/* What stands for the prepared clause of one statement; the server sees the first member */
typedef struct NoteClause
{
	ExprState	state;
	NoteState  *note;
	AttrNumber	new_column;
	AttrNumber	old_column;
} NoteClause;

static HTAB *known = NULL;
static MemoryContext known_context = NULL;

/* ---- what a clause says ---- */

/* A column of the new row or the old one; a clause that has both names the new one first. */
static bool
read_column(Node *node, KnownClause *clause)
{
	Var		   *column = (Var *) node;

	if (!IsA(node, Var) || column->varattno <= 0 || column->varlevelsup != 0)
		return false;
	if (column->varno == PRS2_NEW_VARNO && clause->new_column == 0 && clause->old_column == 0)
		clause->new_column = column->varattno;
	else if (column->varno == PRS2_OLD_VARNO && clause->old_column == 0)
		clause->old_column = column->varattno;
	else
		return false;
	clause->key_type = column->vartype;
	return true;
}

/* Whether the trigger's function is that of watch(). */
static bool
is_watch_trigger(const Trigger *trigger)
{
	char	   *name = get_func_name(trigger->tgfoid);

	return name != NULL && strcmp(name, "queue_changes") == 0 && get_func_namespace(trigger->tgfoid) == get_namespace_oid("salesops", true);
}

/* Read a clause: a call of a note function of ours with columns. */
static void
read_clause(const Trigger *trigger, KnownClause *clause)
{
	Node	   *node = stringToNode(trigger->tgqual);
	FuncExpr   *call = (FuncExpr *) node;
	char	   *name = IsA(node, FuncExpr) ? get_func_name(call->funcid) : NULL;
	ListCell   *cell;

	clause->new_column = clause->old_column = 0;
	clause->entity = NULL;
	if (name == NULL || strncmp(name, NOTE_NAME, strlen(NOTE_NAME)) != 0 || !is_watch_trigger(trigger) ||
		get_func_namespace(call->funcid) != get_namespace_oid("salesops", true))
		return;
	foreach(cell, call->args)
	{
		if (!read_column(lfirst(cell), clause))
			return;
	}
	clause->entity = worker_noted_entity(name + strlen(NOTE_NAME));
}

/* A table without clauses, instead of the one that is full. */
static void
start_known(void)
{
	HASHCTL		control = {.keysize = sizeof(Oid), .entrysize = sizeof(KnownClause)};

	known = NULL;
	if (known_context == NULL)
		known_context = AllocSetContextCreate(TopMemoryContext, "salesops watched", ALLOCSET_DEFAULT_SIZES);
	MemoryContextReset(known_context);
	control.hcxt = known_context;
	known = hash_create("salesops watched clauses", 32, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* What the trigger's clause says: good until the next call. */
static const KnownClause *
known_clause(const Trigger *trigger)
{
	KnownClause *clause = known == NULL ? NULL : hash_search(known, &trigger->tgoid, HASH_FIND, NULL);
	KnownClause read = {0};
	bool		found;

	if (clause != NULL && clause->text != NULL && strcmp(clause->text, trigger->tgqual) == 0)
		return clause;
	read_clause(trigger, &read);	/* may fail, before anything is kept */
	if (known == NULL || hash_get_num_entries(known) >= MOST_KNOWN)
		start_known();
	clause = hash_search(known, &trigger->tgoid, HASH_ENTER, &found);
	if (found && clause->text != NULL)
		pfree(clause->text);
	clause->text = NULL;
	clause->entity = read.entity;
	clause->new_column = read.new_column;
	clause->old_column = read.old_column;
	clause->key_type = read.key_type;
	clause->text = MemoryContextStrdup(known_context, trigger->tgqual);
	return clause;
}

/* ---- in a statement ---- */

/* Asked by the server whether the trigger is to fire for a row: note its key, and no. */
static Datum
evaluate(ExprState *expression, ExprContext *econtext, bool *isnull)
{
	NoteClause *clause = (NoteClause *) expression;
	bool		new_null = true;
	bool		old_null = true;
	Datum		new_key = clause->new_column == 0 ? (Datum) 0 : slot_getattr(econtext->ecxt_outertuple, clause->new_column, &new_null);
	Datum		old_key = clause->old_column == 0 ? (Datum) 0 : slot_getattr(econtext->ecxt_innertuple, clause->old_column, &old_null);

	worker_note_keys(clause->note, new_null, new_key, old_null, old_key);
	*isnull = false;
	return BoolGetDatum(false);
}

/* Whether a column is stored in the row (18 has generated ones that are not). */
static bool
is_stored(TupleDesc desc, AttrNumber column)
{
	return column == 0 || (column <= desc->natts && TupleDescAttr(desc, column - 1)->attgenerated != 'v');
}

/* The prepared clause. */
static ExprState *
prepare(const KnownClause *known_as, MemoryContext context)
{
	NoteClause *clause = MemoryContextAllocZero(context, sizeof(NoteClause));

	clause->state.type = T_ExprState;
	clause->state.flags = EEO_FLAG_IS_QUAL;
	clause->state.evalfunc = evaluate;
	clause->note = worker_note_start(known_as->entity, known_as->key_type, context);
	clause->new_column = known_as->new_column;
	clause->old_column = known_as->old_column;
	return &clause->state;
}

/* Put the prepared clauses where the server keeps them, for those of a relation's triggers that are watch()'s. */
static void
prepare_relation(ResultRelInfo *relation, const QueryDesc *query)
{
	CmdType		operation = query->plannedstmt->hasModifyingCTE ? CMD_UNKNOWN : query->operation;
	TriggerDesc *triggers = relation->ri_TrigDesc;
	TupleDesc	desc = RelationGetDescr(relation->ri_RelationDesc);

	for (int i = 0; i < triggers->numtriggers; i++)
	{
		const Trigger *trigger = &triggers->triggers[i];
		const KnownClause *clause;

		if (trigger->tgqual == NULL || relation->ri_TrigWhenExprs == NULL || relation->ri_TrigWhenExprs[i] != NULL ||
			strncmp(trigger->tgname, TRIGGER_NAME, strlen(TRIGGER_NAME)) != 0)
			continue;
		/* a statement needs the trigger of its kind; one that may be of several has all prepared */
		if ((operation == CMD_INSERT && !TRIGGER_FOR_INSERT(trigger->tgtype)) ||
			(operation == CMD_UPDATE && !TRIGGER_FOR_UPDATE(trigger->tgtype)) ||
			(operation == CMD_DELETE && !TRIGGER_FOR_DELETE(trigger->tgtype)))
			continue;
		clause = known_clause(trigger);
		if (clause->entity != NULL && is_stored(desc, clause->new_column) && is_stored(desc, clause->old_column))
			relation->ri_TrigWhenExprs[i] = prepare(clause, query->estate->es_query_cxt);
	}
}

/* From here on in this process. */
void
worker_prepare_clauses(void)
{
	statement_look(prepare_relation);
}
