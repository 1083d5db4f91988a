/*
 * changed_pg.c
 *		The triggers of enforce_lead_scores(): which leads a statement has written or deleted, whichever way its rows come. How they are
 *		scored is score_pg.c's affair.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/partition.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "core/relation.h"
#include "core/spi.h"
#include "lead/lead_pg.h"

PG_FUNCTION_INFO_V1(salesops_lead_changed);

/*
 * The attribute number of the lead's id in the relation that a trigger is on; error where that is not (a partition of) the attached one.
 * Anybody may put the trigger on a table of his own: it must not speak of others' leads.
 */
static AttrNumber
id_column(Relation relation)
{
	Oid			attached = contract_relation("lead");
	char	   *column = contract_source_column("lead", "lead_id");
	AttrNumber	number = column ? get_attnum(RelationGetRelid(relation), column) : InvalidAttrNumber;

	if (number == InvalidAttrNumber ||
		(attached != RelationGetRelid(relation) &&
		 !(relation->rd_rel->relispartition && list_member_oid(get_partition_ancestors(RelationGetRelid(relation)), attached))))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("relation \"%s\" is not attached as lead any more", RelationGetRelationName(relation)),
				 errhint("SELECT salesops.release_lead_scores('%s');", RelationGetRelationName(relation))));
	return number;
}

/* Lead ids of a transition table. */
static ArrayType *
leads_of_transition(Relation relation, Tuplestorestate *store)
{
	AttrNumber	number = id_column(relation);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(relation), &TTSOpsMinimalTuple);
	SpiArray	ids = {TEXTOID};
	Oid			output;
	bool		varlena;

	getTypeOutputInfo(TupleDescAttr(RelationGetDescr(relation), number - 1)->atttypid, &output, &varlena);
	tuplestore_rescan(store);
	while (tuplestore_gettupleslot(store, true, false, slot))
	{
		bool		isnull;
		Datum		value = slot_getattr(slot, number, &isnull);

		if (!isnull)
			spi_array_add_text(&ids, OidOutputFunctionCall(output, value));
	}
	ExecDropSingleTupleTableSlot(slot);
	return ids.count > 0 ? DatumGetArrayTypeP(spi_array(&ids).value) : NULL;
}

/* Scores of deleted leads go with them. */
static void
forget_scores(ArrayType *leads)
{
	SpiScope	scope;
	SpiArg		arg = spi_datum(TEXTARRAYOID, PointerGetDatum(leads), false);

	spi_open(&scope, SPI_AS_OWNER);
	spi_execute(SPI_OK_DELETE, "DELETE FROM salesops.lead_score WHERE lead_id = ANY ($1)", 1, &arg);
	spi_execute(SPI_OK_DELETE, "DELETE FROM salesops.lead_score_history WHERE lead_id = ANY ($1)", 1, &arg);
	spi_execute(SPI_OK_DELETE, "DELETE FROM salesops.lead_score_override WHERE lead_id = ANY ($1)", 1, &arg);
	spi_close(&scope);
}

/* Forget, or score, as the owner of a relation; how many were scored. */
static uint64
handle_leads(Oid owner, const char *model, bool deleted, ArrayType *leads)
{
	uint64		scored = 0;
	Oid			user;
	int			security;

	if (leads == NULL)
		return 0;
	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(owner, security | SECURITY_LOCAL_USERID_CHANGE);
	if (deleted)
		forget_scores(leads);
	else
		scored = lead_score_leads(model, GetCurrentTimestamp(), leads);
	SetUserIdAndSecContext(user, security);
	return scored;
}

/* ---- partitioned tables ----
 *
 * Statement-level triggers of a partitioned table do not fire for what is written to a partition by its own name; row-level ones are
 * cloned for every partition. To score a row at a time would cost a bulk load a hundred times as much, so a BEFORE trigger (the last by
 * its name: another may still keep the row as it is) gathers the ids, and the first AFTER trigger of the statement, when all its rows are
 * there to be seen, scores all of them together; the others find nothing left to do. A row that moves to another partition is deleted
 * here and inserted there: it is scored, not forgotten.
 */

typedef struct GatheredLeads
{
	int			count;
	int			room;
	char	  **id;
	bool	   *gone;
	SubTransactionId *by;		/* who wrote it: what is rolled back is not gone, nor written */
	bool		single;			/* the statement's leads were not all there when they were scored: row by row */
} GatheredLeads;

#define GATHERED_DEPTHS 16		/* of triggers within triggers; deeper ones score row by row */

static MemoryContext gathered_context = NULL;	/* of this transaction */
static GatheredLeads *gathered;	/* by depth */

/* The transaction ended. */
static void
gathered_ended(void *arg)
{
	(void) arg;
	gathered_context = NULL;
}

/* A subtransaction ended: what it gathered is its parent's, or nobody's. */
static void
subtransaction_ended(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	(void) arg;
	if (gathered_context == NULL || (event != SUBXACT_EVENT_ABORT_SUB && event != SUBXACT_EVENT_COMMIT_SUB))
		return;
	for (int depth = 0; depth < GATHERED_DEPTHS; depth++)
	{
		GatheredLeads *leads = &gathered[depth];
		int			kept = 0;

		for (int i = 0; i < leads->count; i++)
		{
			if (leads->by[i] == mine && event == SUBXACT_EVENT_ABORT_SUB)
				continue;
			leads->id[kept] = leads->id[i];
			leads->gone[kept] = leads->gone[i];
			leads->by[kept++] = leads->by[i] == mine ? parent : leads->by[i];
		}
		leads->count = kept;
	}
}

/* What was gathered at the depth of the trigger that is running; NULL beyond what is kept. */
static GatheredLeads *
gathered_here(void)
{
	static bool registered = false;
	int			depth = DatumGetInt32(OidFunctionCall0(F_PG_TRIGGER_DEPTH));

	if (!registered)
		RegisterSubXactCallback(subtransaction_ended, NULL);
	registered = true;
	if (gathered_context == NULL)
	{
		MemoryContext context = AllocSetContextCreate(TopTransactionContext, "salesops gathered leads", ALLOCSET_SMALL_SIZES);
		MemoryContextCallback *ended = MemoryContextAllocZero(context, sizeof(MemoryContextCallback));

		gathered = MemoryContextAllocZero(context, sizeof(GatheredLeads) * GATHERED_DEPTHS);
		ended->func = gathered_ended;
		MemoryContextRegisterResetCallback(context, ended);
		gathered_context = context;
	}
	return depth < GATHERED_DEPTHS ? &gathered[depth] : NULL;
}

/* Keep an id. */
static void
gather_lead(GatheredLeads *leads, const char *id, bool gone)
{
	MemoryContext old = MemoryContextSwitchTo(gathered_context);

	if (leads->count == 0)
		leads->single = false;
	if (leads->count == leads->room)
	{
		leads->room = Max(64, leads->room * 2);
		leads->id = leads->id ? repalloc_huge(leads->id, sizeof(char *) * leads->room) : palloc(sizeof(char *) * leads->room);
		leads->gone = leads->gone ? repalloc_huge(leads->gone, leads->room) : palloc(leads->room);
		leads->by = leads->by ? repalloc_huge(leads->by, sizeof(SubTransactionId) * leads->room) :
			palloc(sizeof(SubTransactionId) * leads->room);
	}
	leads->gone[leads->count] = gone;
	leads->by[leads->count] = GetCurrentSubTransactionId();
	leads->id[leads->count++] = pstrdup(id);
	MemoryContextSwitchTo(old);
}

/* The id of the row that a row-level trigger is for; NULL where it has none. */
static char *
id_of_row(const TriggerData *trigger)
{
	bool		updated = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event);
	AttrNumber	number = id_column(trigger->tg_relation);
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);
	Oid			output;
	bool		varlena;
	bool		isnull;
	Datum		value = heap_getattr(updated ? trigger->tg_newtuple : trigger->tg_trigtuple, number, desc, &isnull);

	if (isnull)
		return NULL;
	getTypeOutputInfo(TupleDescAttr(desc, number - 1)->atttypid, &output, &varlena);
	return OidOutputFunctionCall(output, value);
}

/* by id */
static int
compare_gathered(const void *a, const void *b)
{
	return strcmp(*(char *const *) a, *(char *const *) b);
}

/* The gathered ids that were (or were not) deleted, each once, in order; their number. */
static char **
take_gathered(const GatheredLeads *leads, bool gone, int *taken)
{
	char	  **id = palloc_extended(sizeof(char *) * leads->count, MCXT_ALLOC_HUGE);
	int			count = 0;

	*taken = 0;
	for (int i = 0; i < leads->count; i++)
		if (leads->gone[i] == gone)
			id[count++] = leads->id[i];
	qsort(id, count, sizeof(char *), compare_gathered);
	for (int i = 0; i < count; i++)
		if (i == 0 || strcmp(id[i], id[i - 1]) != 0)
			id[(*taken)++] = id[i];
	return id;
}

/* Ids as an array, without those that are among others (in order); NULL where none is left. */
static ArrayType *
array_of_ids(char **id, int count, char **others, int other_count)
{
	SpiArray	ids = {TEXTOID};

	for (int i = 0; i < count; i++)
		if (bsearch(&id[i], others, other_count, sizeof(char *), compare_gathered) == NULL)
			spi_array_add_text(&ids, id[i]);
	return ids.count > 0 ? DatumGetArrayTypeP(spi_array(&ids).value) : NULL;
}

/* All that the statement gathered. A lead that is deleted and written has moved to another partition, or was replaced: it is not gone. */
static void
handle_gathered(GatheredLeads *leads, Oid owner, const char *model)
{
	int			gone_count;
	int			count;
	char	  **gone = take_gathered(leads, true, &gone_count);
	char	  **written = take_gathered(leads, false, &count);
	ArrayType  *forgotten = array_of_ids(gone, gone_count, written, count);
	ArrayType  *scored = array_of_ids(written, count, NULL, 0);

	for (int i = 0; i < leads->count; i++)
		pfree(leads->id[i]);
	/* before scoring: what that writes may come here again */
	leads->count = 0;
	(void) handle_leads(owner, model, true, forgotten);
	leads->single = handle_leads(owner, model, false, scored) < (uint64) count;
}

/* The owner of the relation that is attached as lead: of a partition's root. */
static Oid
owner_of_leads(Relation relation)
{
	Oid			attached = contract_relation("lead");
	Relation	opened;
	Oid			owner;

	if (!OidIsValid(attached) || attached == RelationGetRelid(relation))
		return relation->rd_rel->relowner;
	opened = table_open(attached, AccessShareLock);
	owner = opened->rd_rel->relowner;
	table_close(opened, NoLock);
	return owner;
}

/* A row-level trigger: before, gather; after, handle all of the statement, or the row alone. Returns the row. */
static Datum
row_changed(const TriggerData *trigger)
{
	bool		deleted = TRIGGER_FIRED_BY_DELETE(trigger->tg_event);
	GatheredLeads *leads = gathered_here();
	char	   *id = id_of_row(trigger);

	if (TRIGGER_FIRED_BEFORE(trigger->tg_event))
	{
		if (id && leads)
			gather_lead(leads, id, deleted);
		return PointerGetDatum(TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple : trigger->tg_trigtuple);
	}
	if (leads && leads->count > 0)
		handle_gathered(leads, owner_of_leads(trigger->tg_relation), trigger->tg_trigger->tgargs[0]);
	else if (id && (leads == NULL || leads->single))
		(void) handle_leads(owner_of_leads(trigger->tg_relation), trigger->tg_trigger->tgargs[0], deleted,
							DatumGetArrayTypeP(spi_text_list(list_make1(id)).value));
	return PointerGetDatum(NULL);
}

/*
 * Trigger on the relation that is attached as lead: scores what was inserted or updated, in the same transaction, as the relation's
 * owner. Statement-level with a transition table, or on a partitioned table row-level. The trigger's argument names the model.
 */
Datum
salesops_lead_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	bool		deleted;

	if (!CALLED_AS_TRIGGER(fcinfo) || trigger->tg_trigger->tgnargs != 1 ||
		(!TRIGGER_FIRED_FOR_ROW(trigger->tg_event) && (!TRIGGER_FIRED_AFTER(trigger->tg_event) ||
													   (trigger->tg_oldtable == NULL && trigger->tg_newtable == NULL))))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("salesops.lead_changed is for the triggers that salesops.enforce_lead_scores() makes")));
	if (TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
		return row_changed(trigger);
	deleted = TRIGGER_FIRED_BY_DELETE(trigger->tg_event);
	(void) handle_leads(trigger->tg_relation->rd_rel->relowner, trigger->tg_trigger->tgargs[0], deleted,
						leads_of_transition(trigger->tg_relation, deleted ? trigger->tg_oldtable : trigger->tg_newtable));
	return PointerGetDatum(NULL);
}
