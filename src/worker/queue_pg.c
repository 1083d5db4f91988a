/*
 * queue_pg.c
 *		The change queue, as writers see it: the triggers of watch() append the keys of the rows written. watch_pg.c makes the
 *		triggers, drain_pg.c empties the queue.
 *
 * The queue is append-only and has no index. Keys may be queued more than once; draining makes them distinct. (A queue with unique
 * keys would lose changes: a writer finds its key queued already, the queue is drained, the writer commits.)
 *
 * A transition table costs a writer more than all else here (a copy of each row, on disk from work_mem on), row-level events of a
 * trigger that is to fire as much (each row is fetched again). So keys are taken where the server asks a row-level trigger's WHEN
 * clause whether it is to fire, with the row at hand: note_change() keeps the key and says no. From some 200 keys on they are
 * appended to the queue, many to a row, through the table's access method; what is left when the statement ends the
 * statement-level trigger appends. No SQL is run at write time.
 *
 * Whose statement-level trigger does not fire (rows of a watched partition, written through a parent that is not watched) has the
 * rest appended before the transaction commits. Keys belong to the subtransaction that wrote the rows, and go with it.
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
#include "utils/timestamp.h"

#include "core/compat.h"
#include "worker/worker.h"

/* Keys share rows of the queue: up to so many, and so many bytes (as in an array), below what would be compressed */
#define KEYS_PER_ROW 200
#define BYTES_PER_ROW 1500
/* Power of two: how many keys of a row of the queue are remembered to leave out repetitions */
#define REMEMBERED 256

/* Keys of an entity that a subtransaction has written and that are not in the queue yet: less than a row of it */
typedef struct NotedKeys
{
	struct NotedKeys *next;
	SubTransactionId subxact;
	MemoryContext context;		/* this and the entity's name; a child of the transaction's */
	MemoryContext row;			/* keys and tuple of the row at hand */
	char	   *entity;
	int			count;
	Size		bytes;
	Datum		keys[KEYS_PER_ROW];
	text	   *seen[REMEMBERED];
} NotedKeys;

/* What a statement's WHEN clause keeps between rows */
typedef struct NoteState
{
	NotedKeys  *noted;
	uint64		forgotten;		/* as it was when noted was looked up */
	const char *entity;
	Oid			key_type;
	int16		key_length;
	bool		key_by_value;
	FmgrInfo	key_output;
} NoteState;

/* All of the transaction's, in its memory context */
static NotedKeys *noted_keys = NULL;
/* Counts what has left that list, so that nobody uses a pointer to it: a cursor's call outlives the subtransaction of its first row */
static uint64 forgotten = 0;

/* Append a row to the queue, with keys, or with NULL, which means all. Without an extension any more: nothing. */
static void
queue_append(const char *entity, const Datum *keys, int count)
{
	Oid			schema = get_namespace_oid("salesops", true);
	Oid			queue = OidIsValid(schema) ? get_relname_relid("change_batch", schema) : InvalidOid;
	Relation	relation;
	TupleTableSlot *slot;

	if (!OidIsValid(queue))
		return;
	relation = table_open(queue, RowExclusiveLock);
	slot = table_slot_create(relation, NULL);
	ExecClearTuple(slot);
	slot->tts_values[0] = CStringGetTextDatum(entity);
	slot->tts_values[1] = keys == NULL ? (Datum) 0 :
		PointerGetDatum(construct_array(unconstify(Datum *, keys), count, TEXTOID, -1, false, TYPALIGN_INT));
	slot->tts_values[2] = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	slot->tts_isnull[0] = slot->tts_isnull[2] = false;
	slot->tts_isnull[1] = keys == NULL;
	ExecStoreVirtualTuple(slot);
	table_tuple_insert(relation, slot, GetCurrentCommandId(true), 0, NULL);
	ExecDropSingleTupleTableSlot(slot);
	table_close(relation, NoLock);
	worker_wake_on_commit();
}

/* Append the keys noted so far; within the subtransaction that noted them. */
static void
append_noted(NotedKeys *noted)
{
	MemoryContext old;

	if (noted->count == 0)
		return;
	old = MemoryContextSwitchTo(noted->row);
	queue_append(noted->entity, noted->keys, noted->count);
	MemoryContextSwitchTo(old);
	noted->count = 0;
	noted->bytes = 0;
	memset(noted->seen, 0, sizeof(noted->seen));
	MemoryContextReset(noted->row);
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
				append_noted(noted);
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

/* What a subtransaction has noted goes with it, or is its parent's. */
static void
at_subtransaction_end(SubXactEvent event, SubTransactionId subxact, SubTransactionId parent, void *arg)
{
	NotedKeys **link = &noted_keys;

	if (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;
	while (*link != NULL)
	{
		NotedKeys  *noted = *link;

		if (noted->subxact == subxact && (event == SUBXACT_EVENT_ABORT_SUB || noted->count == 0))
		{
			*link = noted->next;
			MemoryContextDelete(noted->context);
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
	MemoryContext context;
	NotedKeys  *noted;

	for (noted = noted_keys; noted != NULL; noted = noted->next)
		if (noted->subxact == subxact && strcmp(noted->entity, entity) == 0)
			return noted;
	if (!registered)
	{
		RegisterXactCallback(at_transaction_end, NULL);
		RegisterSubXactCallback(at_subtransaction_end, NULL);
		registered = true;
	}
	context = AllocSetContextCreate(TopTransactionContext, "salesops change queue", ALLOCSET_DEFAULT_SIZES);
	noted = MemoryContextAllocZero(context, sizeof(NotedKeys));
	noted->context = context;
	noted->row = AllocSetContextCreate(context, "salesops change queue row", ALLOCSET_DEFAULT_SIZES);
	noted->entity = MemoryContextStrdup(context, entity);
	noted->subxact = subxact;
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

/* Append what this subtransaction has noted for an entity. */
void
worker_append_noted(const char *entity)
{
	SubTransactionId subxact = GetCurrentSubTransactionId();

	for (NotedKeys *noted = noted_keys; noted != NULL; noted = noted->next)
		if (noted->subxact == subxact && strcmp(noted->entity, entity) == 0)
			append_noted(noted);
}

/* Was this key noted a moment ago? Remembers it if not. Forgetful: a repetition may pass. */
static bool
seen_before(NotedKeys *noted, text *key)
{
	uint32		slot = hash_bytes((const unsigned char *) VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key)) & (REMEMBERED - 1);
	text	   *other = noted->seen[slot];

	if (other != NULL && VARSIZE_ANY_EXHDR(other) == VARSIZE_ANY_EXHDR(key) &&
		memcmp(VARDATA_ANY(other), VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key)) == 0)
		return true;
	noted->seen[slot] = key;
	return false;
}

/* Types whose text key_text() makes without their output function, which a statement would have to look up */
static bool
is_read_directly(Oid type)
{
	return type == TEXTOID || type == VARCHAROID || type == INT4OID || type == INT8OID || type == BPCHAROID;
}

/* The text of a key, as the contract view's cast to text gives it; in the current context */
static text *
key_text(NoteState *state, Datum value)
{
	char		digits[MAXINT8LEN + 1];

	switch (state->key_type)
	{
		case TEXTOID:
		case VARCHAROID:
			return DatumGetTextPCopy(value);
		case INT4OID:
			return cstring_to_text_with_len(digits, pg_ltoa(DatumGetInt32(value), digits));
		case INT8OID:
			return cstring_to_text_with_len(digits, pg_lltoa(DatumGetInt64(value), digits));
		case BPCHAROID:
			return DatumGetTextP(DirectFunctionCall1(rtrim1, value));
		default:
			return cstring_to_text(OutputFunctionCall(&state->key_output, value));
	}
}

/* Note one key, unless it was noted just before. */
static void
note_key(NoteState *state, Datum value)
{
	NotedKeys  *noted = noted_by(state);
	MemoryContext old = MemoryContextSwitchTo(noted->row);
	text	   *key = key_text(state, value);

	MemoryContextSwitchTo(old);
	if (seen_before(noted, key))
	{
		pfree(key);
		return;
	}
	noted->keys[noted->count++] = PointerGetDatum(key);
	noted->bytes += INTALIGN(VARSIZE(key));
	if (noted->count == KEYS_PER_ROW || noted->bytes > BYTES_PER_ROW)
		append_noted(noted);
}

/* Is this argument of the call a column of the row that the server asks a trigger's WHEN clause about? */
static bool
is_trigger_column(FmgrInfo *call, int argument)
{
	List	   *args = call->fn_expr != NULL && IsA(call->fn_expr, FuncExpr) ? ((FuncExpr *) call->fn_expr)->args : NIL;
	Node	   *node = argument < list_length(args) ? list_nth(args, argument) : NULL;

	return node != NULL && IsA(node, Var) && (((Var *) node)->varno == INNER_VAR || ((Var *) node)->varno == OUTER_VAR);
}

/*
 * What is kept for the statement, made with its first row. The function is everybody's to call, for a writer needs the right. That it
 * is told from a call of somebody's own is against mistakes: who gets round it (in a join) has keys refreshed that did not change.
 */
static NoteState *
note_state(FunctionCallInfo fcinfo)
{
	FmgrInfo   *call = fcinfo->flinfo;
	NoteState  *state = call->fn_extra;
	Oid			output;
	bool		varlena;

	if (state != NULL)
		return state;
	if (!is_trigger_column(call, 1) || PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("function \"note_change\" can only be called by a trigger of salesops.watch()"),
				 errhint("salesops.watch() queues what is written in a table.")));
	state = MemoryContextAllocZero(call->fn_mcxt, sizeof(NoteState));
	state->key_type = get_fn_expr_argtype(call, 1);
	get_typlenbyval(state->key_type, &state->key_length, &state->key_by_value);
	if (!is_read_directly(state->key_type))
	{
		getTypeOutputInfo(state->key_type, &output, &varlena);
		fmgr_info_cxt(output, &state->key_output, call->fn_mcxt);
	}
	state->entity = MemoryContextStrdup(call->fn_mcxt, text_to_cstring(PG_GETARG_TEXT_PP(0)));
	call->fn_extra = state;
	return state;
}

PG_FUNCTION_INFO_V1(salesops_note_change);

/*
 * note_change(entity text, key "any" [, old_key "any"]) -> boolean, always false
 *
 * In the WHEN clause of a row-level trigger of watch(): notes the key of the row written, and its old one where it has another now.
 * NULL is nobody's key.
 */
Datum
salesops_note_change(PG_FUNCTION_ARGS)
{
	NoteState  *state = note_state(fcinfo);
	bool		none = PG_ARGISNULL(1);

	if (!none)
		note_key(state, PG_GETARG_DATUM(1));
	if (PG_NARGS() > 2 && !PG_ARGISNULL(2) &&
		(none || !datumIsEqual(PG_GETARG_DATUM(1), PG_GETARG_DATUM(2), state->key_by_value, state->key_length)))
		note_key(state, PG_GETARG_DATUM(2));
	PG_RETURN_BOOL(false);
}

PG_FUNCTION_INFO_V1(salesops_queue_changes);

/* The statement-level trigger of watch(): appends what the statement's rows have noted, or, of TRUNCATE, that all changed. */
Datum
salesops_queue_changes(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || data->tg_trigger->tgnargs != 1)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"queue_changes\" is the trigger function of salesops.watch()")));
	if (TRIGGER_FIRED_BY_TRUNCATE(data->tg_event))
		queue_append(data->tg_trigger->tgargs[0], NULL, 0);
	else
		worker_append_noted(data->tg_trigger->tgargs[0]);
	PG_RETURN_POINTER(NULL);
}
