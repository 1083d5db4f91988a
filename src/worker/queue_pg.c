/*
 * queue_pg.c
 *		The change queue, as writers see it: the triggers of watch() note the keys of the rows written, and append them to the queue.
 *		watch_pg.c makes the triggers, drain_pg.c empties the queue.
 *
 * The queue is append-only and has no index. Keys may be queued more than once; draining makes them distinct. (A queue with unique
 * keys would lose changes: a writer finds its key queued already, the queue is drained, the writer commits.)
 *
 * A transition table costs a writer more than all else here (a copy of each row, on disk from work_mem on), row-level events of a
 * trigger that is to fire as much (each row is fetched again). So keys are taken where the server asks a row-level trigger's WHEN
 * clause whether it is to fire, with the row at hand: note_lead() and its kin keep the key and say no. From some 200 keys on they are
 * appended to the queue, many to a row, through the table's access method; what is left is appended before the transaction commits,
 * or before refresh_changed() drains the queue in it. No SQL is run at write time.
 *
 * The server reads a WHEN clause anew for each statement, from text: an entity has a function of its own so that the clause is a call
 * with a column and nothing else. Where it can, when_pg.c spares the server that. For the same reason nothing is done at a statement's end.
 *
 * Keys belong to the subtransaction that wrote the rows: they go with it, or become its parent's. A subtransaction may append keys
 * that its parents have noted (appended_by); should it be rolled back they are as they were.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "nodes/primnodes.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "core/compat.h"
#include "worker/note.h"
#include "worker/worker.h"

/* Keys share rows of the queue: up to so many, and so many bytes (as in an array), below what would be compressed */
#define KEYS_PER_ROW 200
#define BYTES_PER_ROW 1500
/* Power of two: how many keys of a row of the queue are remembered to leave out repetitions */
#define REMEMBERED 256

/* Keys of an entity that a subtransaction has written and that are not in the queue yet: a row of it at most */
typedef struct NotedKeys
{
	struct NotedKeys *next;
	const char *entity;			/* a literal */
	SubTransactionId subxact;
	SubTransactionId appended_by;	/* the subtransaction within it that has appended these keys, if any */
	int			count;
	int			bytes;
	uint8		seen[REMEMBERED];	/* by hash: 1 + the ordinal of a key */
	uint16		at[KEYS_PER_ROW];	/* where in data each key is */
	union
	{
		int32		align;
		char		bytes[BYTES_PER_ROW];	/* the keys, as an array of text has them */
	}			data;
} NotedKeys;

StaticAssertDecl(KEYS_PER_ROW <= PG_UINT8_MAX, "ordinals of keys must fit");

/* What a statement's WHEN clause keeps between rows */
struct NoteState
{
	NotedKeys  *noted;
	uint64		forgotten;		/* as it was when noted was looked up */
	const char *entity;
	Oid			key_type;
	int16		key_length;
	bool		key_by_value;
	FmgrInfo	key_output;
};

/* All of the transaction's, in its memory context; one at most of an entity and a subtransaction */
static NotedKeys *noted_keys = NULL;
/* Counts what has left that list, so that nobody uses a pointer to it: a cursor's call outlives the subtransaction of its first row */
static uint64 forgotten = 0;

/* The queue, or InvalidOid without an extension any more; looked up again where any relation's definition has changed. */
static Oid
queue_relation(void)
{
	static Oid	queue = InvalidOid;
	Oid			schema;

	if (OidIsValid(queue) && SearchSysCacheExists1(RELOID, ObjectIdGetDatum(queue)))
		return queue;
	schema = get_namespace_oid("salesops", true);
	queue = OidIsValid(schema) ? get_relname_relid("change_batch", schema) : InvalidOid;
	return queue;
}

/* Append a row to the queue, with keys, or with NULL, which means all. Without an extension any more: nothing. */
static void
queue_append(const char *entity, ArrayType *keys)
{
	Oid			queue = queue_relation();
	Relation	relation;
	TupleTableSlot *slot;

	if (!OidIsValid(queue))
		return;
	relation = table_open(queue, RowExclusiveLock);
	slot = table_slot_create(relation, NULL);
	ExecClearTuple(slot);
	slot->tts_values[0] = CStringGetTextDatum(entity);
	slot->tts_values[1] = PointerGetDatum(keys);
	slot->tts_values[2] = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	slot->tts_isnull[0] = slot->tts_isnull[2] = false;
	slot->tts_isnull[1] = keys == NULL;
	ExecStoreVirtualTuple(slot);
	/* a transaction that commits has let go of its snapshot, without which no long key may go into a TOAST table */
	PushActiveSnapshot(GetTransactionSnapshot());
	table_tuple_insert(relation, slot, GetCurrentCommandId(true), 0, NULL);
	PopActiveSnapshot();
	ExecDropSingleTupleTableSlot(slot);
	table_close(relation, NoLock);
	worker_wake_on_commit();
}

/* Append keys that are laid out as in an array: each a text with its long header, aligned. */
static void
append_keys(const char *entity, const char *data, int bytes, int count)
{
	Size		size = ARR_OVERHEAD_NONULLS(1) + bytes;
	ArrayType  *keys = palloc0(size);

	SET_VARSIZE(keys, size);
	keys->ndim = 1;
	keys->elemtype = TEXTOID;
	ARR_DIMS(keys)[0] = count;
	ARR_LBOUND(keys)[0] = 1;
	memcpy(ARR_DATA_PTR(keys), data, bytes);
	queue_append(entity, keys);
	pfree(keys);
}

/* Nothing is noted any more. */
static void
clear_noted(NotedKeys *noted)
{
	noted->appended_by = InvalidSubTransactionId;
	noted->count = noted->bytes = 0;
	memset(noted->seen, 0, sizeof(noted->seen));
}

/* Append the keys noted so far, unless that was done. A subtransaction within the one that noted them leaves them noted. */
static void
append_noted(NotedKeys *noted, SubTransactionId current)
{
	if (noted->count == 0 || noted->appended_by != InvalidSubTransactionId)
		return;
	append_keys(noted->entity, noted->data.bytes, noted->bytes, noted->count);
	if (noted->subxact == current)
		clear_noted(noted);
	else
		noted->appended_by = current;
}

/* What a subtransaction has noted for an entity, or NULL. Entities are literals of one place. */
static NotedKeys *
find_noted(const char *entity, SubTransactionId subxact)
{
	for (NotedKeys *noted = noted_keys; noted != NULL; noted = noted->next)
		if (noted->subxact == subxact && noted->entity == entity)
			return noted;
	return NULL;
}

/* Nothing noted is left behind at the commit, and nothing is remembered beyond the transaction's end. */
static void
at_transaction_end(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			for (NotedKeys *noted = noted_keys; noted != NULL; noted = noted->next)
				append_noted(noted, noted->subxact);
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			noted_keys = NULL;
			forgotten++;
			break;
		default:
			break;
	}
}

/* Is there room for another's keys? */
static bool
has_room(const NotedKeys *noted, const NotedKeys *other)
{
	return noted->count + other->count <= KEYS_PER_ROW && noted->bytes + other->bytes <= BYTES_PER_ROW;
}

/* The ordinal of a key that was noted a moment ago, or -1; '*slot' is where to remember it. Forgetful: a repetition may pass. */
static int
seen_before(const NotedKeys *noted, const char *key, int length, uint32 *slot)
{
	int			ordinal;
	const text *other;

	*slot = hash_bytes((const unsigned char *) key, length) & (REMEMBERED - 1);
	ordinal = (int) noted->seen[*slot] - 1;
	if (ordinal < 0)
		return -1;
	other = (const text *) (noted->data.bytes + noted->at[ordinal]);
	return (int) VARSIZE(other) == length + VARHDRSZ && memcmp(VARDATA(other), key, length) == 0 ? ordinal : -1;
}

/* What a key takes in an array of text */
static inline int
size_in_row(int length)
{
	return INTALIGN(VARHDRSZ + length);
}

/* Write a key as an array of text has it; returns what it takes. */
static int
lay_out(char *place, const char *key, int length)
{
	int			size = size_in_row(length);

	/* what fills up to the next key is part of the row */
	*(int32 *) (place + size - sizeof(int32)) = 0;
	SET_VARSIZE(place, VARHDRSZ + length);
	memcpy(VARDATA(place), key, length);
	return size;
}

/* Add a key, for which there is room. */
static void
add_key(NotedKeys *noted, const char *key, int length, uint32 slot)
{
	noted->at[noted->count] = (uint16) noted->bytes;
	noted->bytes += lay_out(noted->data.bytes + noted->bytes, key, length);
	noted->seen[slot] = (uint8) ++noted->count;
}

/* A subtransaction's keys become its parent's, which has room for them. */
static void
merge_noted(NotedKeys *parent, const NotedKeys *child)
{
	for (int i = 0; i < child->count; i++)
	{
		const text *key = (const text *) (child->data.bytes + child->at[i]);
		int			length = (int) VARSIZE(key) - VARHDRSZ;
		uint32		slot;

		if (seen_before(parent, VARDATA(key), length, &slot) < 0)
			add_key(parent, VARDATA(key), length, slot);
	}
}

/* A subtransaction is about to commit, and may still write: where the parent has not room for its keys, the parent's are appended. */
static void
make_room_in_parent(SubTransactionId subxact, SubTransactionId parent)
{
	for (NotedKeys *noted = noted_keys; noted != NULL; noted = noted->next)
	{
		NotedKeys  *above = noted->subxact == subxact ? find_noted(noted->entity, parent) : NULL;

		if (above != NULL && !has_room(above, noted))
			append_noted(above, subxact);
	}
}

/* What a subtransaction appended of its parents' keys is the parent's deed now, or never was. */
static void
settle_appended(SubTransactionId subxact, SubTransactionId parent, bool committed)
{
	for (NotedKeys *noted = noted_keys; noted != NULL; noted = noted->next)
	{
		if (noted->appended_by != subxact)
			continue;
		if (!committed)
			noted->appended_by = InvalidSubTransactionId;
		else if (noted->subxact == parent)
			clear_noted(noted);
		else
			noted->appended_by = parent;
	}
}

/* What a subtransaction has noted goes with it, or is its parent's. Allocates nothing, so that it cannot fail. */
static void
at_subtransaction_end(SubXactEvent event, SubTransactionId subxact, SubTransactionId parent, void *arg)
{
	NotedKeys **link = &noted_keys;

	if (event == SUBXACT_EVENT_PRE_COMMIT_SUB)
		make_room_in_parent(subxact, parent);
	if (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;
	settle_appended(subxact, parent, event == SUBXACT_EVENT_COMMIT_SUB);
	while (*link != NULL)
	{
		NotedKeys  *noted = *link;
		NotedKeys  *above = noted->subxact == subxact && event == SUBXACT_EVENT_COMMIT_SUB ? find_noted(noted->entity, parent) : NULL;

		if (above != NULL)
			merge_noted(above, noted);
		if (above != NULL || (noted->subxact == subxact && event == SUBXACT_EVENT_ABORT_SUB))
		{
			*link = noted->next;
			pfree(noted);
			forgotten++;
			continue;
		}
		if (noted->subxact == subxact)
			noted->subxact = parent;
		link = &noted->next;
	}
}

/* What the present subtransaction has noted for an entity; made where there is nothing. */
static NotedKeys *
noted_here(const char *entity)
{
	static bool registered = false;
	SubTransactionId subxact = GetCurrentSubTransactionId();
	NotedKeys  *noted = find_noted(entity, subxact);

	if (noted != NULL)
		return noted;
	if (!registered)
	{
		RegisterXactCallback(at_transaction_end, NULL);
		RegisterSubXactCallback(at_subtransaction_end, NULL);
		registered = true;
	}
	noted = MemoryContextAlloc(TopTransactionContext, sizeof(NotedKeys));
	noted->entity = entity;
	noted->subxact = subxact;
	clear_noted(noted);
	noted->next = noted_keys;
	noted_keys = noted;
	return noted;
}

/* What the call notes into now */
static NotedKeys *
noted_by(NoteState *state)
{
	if (state->noted == NULL || state->forgotten != forgotten || state->noted->subxact != GetCurrentSubTransactionId())
	{
		state->noted = noted_here(state->entity);
		state->forgotten = forgotten;
	}
	return state->noted;
}

/* Append what this transaction has noted for an entity and not appended yet. */
void
worker_append_noted(const char *entity)
{
	SubTransactionId current = GetCurrentSubTransactionId();

	for (NotedKeys *noted = noted_keys; noted != NULL; noted = noted->next)
		if (strcmp(noted->entity, entity) == 0)
			append_noted(noted, current);
}

/* Note a key, unless it was noted just before. One that is too long for a shared row gets its own at once. */
static void
note_text(NoteState *state, const char *key, int length)
{
	NotedKeys  *noted = noted_by(state);
	int			size = size_in_row(length);
	uint32		slot;

	if (seen_before(noted, key, length, &slot) >= 0)
		return;
	if (noted->count == KEYS_PER_ROW || noted->bytes + size > BYTES_PER_ROW)
		append_noted(noted, noted->subxact);
	if (size <= BYTES_PER_ROW)
		add_key(noted, key, length, slot);
	else
	{
		char	   *place = palloc(size);

		append_keys(state->entity, place, lay_out(place, key, length), 1);
		pfree(place);
	}
}

/* Note one key, as the text that the contract view's cast gives. */
static void
note_key(NoteState *state, Datum value)
{
	char		digits[MAXINT8LEN + 1];
	text	   *key;
	char	   *shown;

	switch (state->key_type)
	{
		case INT4OID:
			note_text(state, digits, pg_ltoa(DatumGetInt32(value), digits));
			break;
		case INT8OID:
			note_text(state, digits, pg_lltoa(DatumGetInt64(value), digits));
			break;
		case TEXTOID:
		case VARCHAROID:
			key = DatumGetTextPP(value);
			note_text(state, VARDATA_ANY(key), (int) VARSIZE_ANY_EXHDR(key));
			break;
		case BPCHAROID:
			key = DatumGetTextPP(DirectFunctionCall1(rtrim1, value));
			note_text(state, VARDATA_ANY(key), (int) VARSIZE_ANY_EXHDR(key));
			break;
		default:
			shown = OutputFunctionCall(&state->key_output, value);
			note_text(state, shown, (int) strlen(shown));
	}
}

/* Is this argument of the call a column of the row that the server asks a trigger's WHEN clause about? */
static bool
is_trigger_column(FmgrInfo *call, int argument)
{
	List	   *args = call->fn_expr != NULL && IsA(call->fn_expr, FuncExpr) ? ((FuncExpr *) call->fn_expr)->args : NIL;
	Node	   *node = argument < list_length(args) ? list_nth(args, argument) : NULL;

	return node != NULL && IsA(node, Var) && (((Var *) node)->varno == INNER_VAR || ((Var *) node)->varno == OUTER_VAR);
}

/* What is to be known of the key's type; nothing is looked up for the usual ones. */
NoteState *
worker_note_start(const char *entity, Oid key_type, MemoryContext context)
{
	NoteState  *state = MemoryContextAllocZero(context, sizeof(NoteState));
	Oid			output;
	bool		varlena;

	state->entity = entity;
	state->key_type = key_type;
	state->key_by_value = key_type == INT4OID || key_type == INT8OID;
	state->key_length = -1;
	if (state->key_by_value || key_type == TEXTOID || key_type == VARCHAROID || key_type == BPCHAROID)
		return state;
	get_typlenbyval(key_type, &state->key_length, &state->key_by_value);
	getTypeOutputInfo(key_type, &output, &varlena);
	fmgr_info_cxt(output, &state->key_output, context);
	return state;
}

/*
 * What is kept for the statement, made with its first row. The function is everybody's to call, for a writer needs the right. That it
 * is told from a call of somebody's own is against mistakes: who gets round it (in a join) has keys refreshed that did not change.
 */
static NoteState *
note_state(FunctionCallInfo fcinfo, const char *entity)
{
	FmgrInfo   *call = fcinfo->flinfo;
	NoteState  *state = call->fn_extra;

	if (state != NULL)
		return state;
	if (!is_trigger_column(call, 0))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("function \"note_%s\" can only be called by a trigger of salesops.watch()", entity),
				 errhint("salesops.watch() queues what is written in a table.")));
	state = worker_note_start(entity, get_fn_expr_argtype(call, 0), call->fn_mcxt);
	call->fn_extra = state;
	return state;
}

/* NULL is nobody's key. */
void
worker_note_keys(NoteState *state, bool new_null, Datum new_key, bool old_null, Datum old_key)
{
	if (!new_null)
		note_key(state, new_key);
	if (!old_null && (new_null || !datumIsEqual(new_key, old_key, state->key_by_value, state->key_length)))
		note_key(state, old_key);
}

/*
 * note_ENTITY(key "any" [, old_key "any"]) -> boolean, always false
 *
 * In the WHEN clause of a row-level trigger of watch(): notes the key of the row written, and its old one where it has another now.
 */
static Datum
note_change(FunctionCallInfo fcinfo, const char *entity)
{
	NoteState  *state = note_state(fcinfo, entity);
	bool		old_null = PG_NARGS() < 2 || PG_ARGISNULL(1);

	worker_note_keys(state, PG_ARGISNULL(0), PG_ARGISNULL(0) ? (Datum) 0 : PG_GETARG_DATUM(0),
					 old_null, old_null ? (Datum) 0 : PG_GETARG_DATUM(1));
	PG_RETURN_BOOL(false);
}

/* An entity has one literal, whose address stands for it */
#define NOTES(entity) \
static const char entity##_name[] = #entity; \
PG_FUNCTION_INFO_V1(salesops_note_##entity); \
Datum \
salesops_note_##entity(PG_FUNCTION_ARGS) \
{ \
	return note_change(fcinfo, entity##_name); \
}

NOTES(lead)
NOTES(contact)
NOTES(account)
NOTES(opportunity)
NOTES(opportunity_stage_change)
NOTES(activity)
NOTES(sales_rep)
NOTES(commission_credit)

const char *
worker_noted_entity(const char *name)
{
	static const char *const names[] = {lead_name, contact_name, account_name, opportunity_name, opportunity_stage_change_name,
	activity_name, sales_rep_name, commission_credit_name};

	for (int i = 0; i < (int) lengthof(names); i++)
	{
		if (strcmp(names[i], name) == 0)
			return names[i];
	}
	return NULL;
}

PG_FUNCTION_INFO_V1(salesops_queue_changes);

/*
 * The function of the triggers of watch(). The statement-level one, of TRUNCATE, queues that all changed; the row-level ones, whose WHEN
 * clause does the work and is always false, never call it.
 */
Datum
salesops_queue_changes(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || data->tg_trigger->tgnargs != 1)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"queue_changes\" is the trigger function of salesops.watch()")));
	if (TRIGGER_FIRED_BY_TRUNCATE(data->tg_event))
		queue_append(data->tg_trigger->tgargs[0], NULL);
	PG_RETURN_POINTER(NULL);
}
