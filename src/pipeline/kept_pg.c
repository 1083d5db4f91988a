/*
 * kept_pg.c
 *		What a trigger of criteria needs, kept in the session: reading criteria and preparing them costs a statement of one row more
 *		than writing the row. What is built, and when it is asked for, is guard_pg.c's (what the function evaluates) and
 *		condition_pg.c's (the WHEN clause).
 *
 * A thing is a statement's from the call that takes it until the statement's memory goes; a statement within that one builds another. It
 * comes back unless the statement ended in the midst of it. It is stale, and built anew by the next statement that wants it, once any of
 * its relations or types, any function, cast or role have changed in a way that the server tells of; what is in
 * salesops's own tables is told of by their trigger criteria_changed(). The server takes back what it told this session where a
 * (sub)transaction rolls back, by telling it again.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "nodes/primnodes.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "pipeline/kept_pg.h"

PG_FUNCTION_INFO_V1(salesops_criteria_changed);

#define MOST_KEPT 100			/* that no statement uses */

static dlist_head all_kept = DLIST_STATIC_INIT(all_kept);

/* ---- invalidation ---- */

/* Relation InvalidOid is all of them. */
static void
relation_changed(Datum arg, Oid relid)
{
	dlist_iter	iter;

	(void) arg;
	dlist_foreach(iter, &all_kept)
	{
		Kept	   *kept = dlist_container(Kept, node, iter.cur);

		if (!OidIsValid(relid) || kept->nrelations == 0)
			kept->stale = true;
		for (int i = 0; i < kept->nrelations; i++)
			kept->stale |= kept->relations[i] == relid;
	}
}

/* A type changed: each table that is made has one, so only those count that an expression speaks of. */
static void
type_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	dlist_iter	iter;

	(void) arg;
	(void) cacheid;
	dlist_foreach(iter, &all_kept)
	{
		Kept	   *kept = dlist_container(Kept, node, iter.cur);

		if (hashvalue == 0 || kept->nrelations == 0)
			kept->stale = true;
		for (int i = 0; i < kept->ntypes; i++)
			kept->stale |= kept->types[i] == hashvalue;
	}
}

/* A function, cast, label or role changed. */
static void
catalog_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	(void) cacheid;
	(void) hashvalue;
	relation_changed(arg, InvalidOid);
}

/* Listen, from the first use on. */
static void
listen(void)
{
	static const int caches[] = {PROCOID, ENUMOID, CASTSOURCETARGET, AUTHMEMROLEMEM, AUTHOID};
	static bool listening = false;

	if (listening)
		return;
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(TYPEOID, type_changed, (Datum) 0);
	for (size_t i = 0; i < lengthof(caches); i++)
		CacheRegisterSyscacheCallback(caches[i], catalog_changed, (Datum) 0);
	listening = true;
}

/* Trigger on salesops's tables of criteria: tells all sessions that they have changed, those that roll back excepted. */
Datum
salesops_criteria_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("criteria_changed() is a trigger of salesops's own tables")));
	CacheInvalidateRelcache(trigger->tg_relation);
	PG_RETURN_POINTER(NULL);
}

/* ---- what is kept ---- */

/* Forget one. */
static void
destroy(Kept *kept)
{
	dlist_delete(&kept->node);
	MemoryContextDelete(kept->context);
}

/* One that no statement uses and that is good; those that are not good any more go. */
static Kept *
find_idle(KeptKind kind, Oid trigger, Oid user)
{
	dlist_mutable_iter iter;
	Kept	   *found = NULL;

	dlist_foreach_modify(iter, &all_kept)
	{
		Kept	   *kept = dlist_container(Kept, node, iter.cur);

		if (kept->in_use)
			continue;
		if (kept->stale)
			destroy(kept);
		else if (kept->kind == kind && kept->trigger == trigger && kept->user == user)
			found = kept;
	}
	return found;
}

/* Those that have not been used for longest go, beyond what may be kept. */
static void
prune(void)
{
	dlist_mutable_iter iter;
	int			idle = 0;

	dlist_foreach_modify(iter, &all_kept)
	{
		Kept	   *kept = dlist_container(Kept, node, iter.cur);

		if (!kept->in_use && ++idle > MOST_KEPT)
			destroy(kept);
	}
}

/* The statement's memory goes. */
static void
give_back(void *arg)
{
	Kept	   *kept = arg;

	if (kept->stale || kept->unsafe || kept->built == NULL || find_idle(kept->kind, kept->trigger, kept->user) != NULL)
	{
		destroy(kept);
		return;
	}
	kept->in_use = false;
	dlist_move_head(&all_kept, &kept->node);
	prune();
}

/* A new one, still to be built */
static Kept *
make(KeptKind kind, Oid trigger, Oid user)
{
	MemoryContext context = kind == KEPT_GUARD
		? AllocSetContextCreate(TopMemoryContext, "salesops stage criteria", ALLOCSET_SMALL_SIZES)
		: AllocSetContextCreate(TopMemoryContext, "salesops criteria condition", ALLOCSET_SMALL_SIZES);
	Kept	   *kept = MemoryContextAllocZero(context, sizeof(Kept));

	kept->context = context;
	kept->kind = kind;
	kept->trigger = trigger;
	kept->user = user;
	return kept;
}

Kept *
kept_take(KeptKind kind, Oid trigger, MemoryContext statement)
{
	MemoryContextCallback *callback = MemoryContextAlloc(statement, sizeof(MemoryContextCallback));
	Kept	   *kept;

	listen();
	/* what others have committed by now binds this statement */
	AcceptInvalidationMessages();
	kept = find_idle(kind, trigger, GetUserId());
	if (kept == NULL)
	{
		kept = make(kind, trigger, GetUserId());
		dlist_push_head(&all_kept, &kept->node);
	}
	kept->in_use = true;
	callback->func = give_back;
	callback->arg = kept;
	MemoryContextRegisterResetCallback(statement, callback);
	return kept;
}

/* A type, and where it is a domain, what that is over */
static void
add_type(Kept *kept, Oid type)
{
	while (OidIsValid(type))
	{
		HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));

		if (!HeapTupleIsValid(tuple))
			elog(ERROR, "cache lookup failed for type %u", type);
		kept->types = kept->types == NULL ? palloc(sizeof(uint32)) : repalloc(kept->types, sizeof(uint32) * (kept->ntypes + 1));
		kept->types[kept->ntypes++] = GetSysCacheHashValue1(TYPEOID, ObjectIdGetDatum(type));
		type = ((Form_pg_type) GETSTRUCT(tuple))->typbasetype;
		ReleaseSysCache(tuple);
	}
}

/* Types whose definition an expression has taken in: those of columns, and domains that it checks */
static bool
type_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
		add_type(context, ((Var *) node)->vartype);
	if (IsA(node, CoerceToDomain))
		add_type(context, ((CoerceToDomain *) node)->resulttype);
	return expression_tree_walker(node, type_walker, context);
}

void
kept_depends_on(Kept *kept, const ExprState *prepared)
{
	MemoryContext old = MemoryContextSwitchTo(kept->context);

	(void) type_walker((Node *) prepared->expr, kept);
	MemoryContextSwitchTo(old);
}

void
kept_built(Kept *kept, void *built, const Oid *relations, int nrelations)
{
	Assert(nrelations > 0 && nrelations <= KEPT_RELATIONS);
	memcpy(kept->relations, relations, sizeof(Oid) * nrelations);
	kept->nrelations = nrelations;
	kept->built = built;
}
