/*
 * kept_pg.h
 *		What a trigger of criteria needs, kept in the session for the next statement.
 */
#ifndef SALESOPS_PIPELINE_KEPT_PG_H
#define SALESOPS_PIPELINE_KEPT_PG_H

#include "postgres.h"

#include "lib/ilist.h"
#include "nodes/execnodes.h"

#define KEPT_RELATIONS 6

typedef enum KeptKind
{
	KEPT_GUARD,					/* what the trigger's function evaluates */
	KEPT_CONDITION				/* the trigger's WHEN, prepared */
} KeptKind;

typedef struct Kept
{
	dlist_node	node;
	KeptKind	kind;
	Oid			trigger;
	Oid			user;			/* whose right to call functions was checked */
	bool		in_use;			/* by a statement */
	bool		stale;
	bool		unsafe;			/* set while something is under way that an error would leave half done */
	int			nrelations;		/* 0 while it is built: anything makes it stale */
	Oid			relations[KEPT_RELATIONS];	/* a change of which makes it stale */
	int			ntypes;
	uint32	   *types;			/* the same of types: hashes as the server tells of them */
	MemoryContext context;		/* everything that was built */
	void	   *built;			/* NULL until it is */
} Kept;

/*
 * What is kept for this trigger and the current user, or a new one for the caller to build; the statement's until its memory context goes,
 * whatever ends it. It is made of relations and of expressions that are prepared: these are told to kept_depends_on, before kept_built.
 */
extern Kept *kept_take(KeptKind kind, Oid trigger, MemoryContext statement);
extern void kept_depends_on(Kept *kept, const ExprState *prepared);
extern void kept_built(Kept *kept, void *built, const Oid *relations, int nrelations);

#endif							/* SALESOPS_PIPELINE_KEPT_PG_H */
