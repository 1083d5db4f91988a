/*
 * spells_pg.c
 *		A deal's changes gathered by an aggregate, and what they say of its life: its stays in stages, and where it stands.
 *
 * The reports group the history by deal, which the server does by hashing, in parallel or on disk as it sees fit; what is here
 * puts one deal's changes in order and walks them once. The order among changes of one time: change_number, then the stages'
 * order, then stage, amount and close date, unknown values last; a closing that only the deal's own row knows comes after all
 * changes. What comes out of a value does not depend on the order in which it was put together. Which rows count is SQL's business
 * (sql/52_pipeline_views.sql).
 *
 * The value salesops.deal_changes has room to spare while it is aggregated. Its text form is that of deal_change[].
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "funcapi.h"
#include "libpq/pqformat.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"
#include "utils/varlena.h"

#include "core/compat.h"
#include "pipeline/spells_pg.h"

#define CHANGES_VERSION 1
#define CHANGES_FIRST_SIZE 256	/* four changes with stages and amounts of usual length */

PG_FUNCTION_INFO_V1(salesops_deal_changes_in);
PG_FUNCTION_INFO_V1(salesops_deal_changes_out);
PG_FUNCTION_INFO_V1(salesops_deal_changes_recv);
PG_FUNCTION_INFO_V1(salesops_deal_changes_send);
PG_FUNCTION_INFO_V1(salesops_deal_changes_accumulate);
PG_FUNCTION_INFO_V1(salesops_deal_changes_combine);
PG_FUNCTION_INFO_V1(salesops_spells_of);
PG_FUNCTION_INFO_V1(salesops_last_change_of);

typedef struct DealChanges
{
	int32		vl_len_;
	uint16		version;
	uint16		reserved;		/* 0 */
	uint32		count;
	uint32		used;			/* bytes of changes; the rest is zero */
	char		changes[FLEXIBLE_ARRAY_MEMBER];
} DealChanges;

const char *const spells_kind_names[KINDS] = {NULL, "open", "won", "lost"};

/* ---- the value ---- */

/* A value made of bytes from anywhere: never walk past its end. */
static DealChanges *
check_changes(DealChanges *changes)
{
	if (VARSIZE(changes) < offsetof(DealChanges, changes) || changes->version != CHANGES_VERSION ||
		changes->used > VARSIZE(changes) - offsetof(DealChanges, changes))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("invalid deal_changes value")));
	return changes;
}

#define PG_GETARG_CHANGES(n) check_changes((DealChanges *) PG_DETOAST_DATUM(PG_GETARG_DATUM(n)))

/* An empty value of a size, zeroed so that its bytes are the same each time */
static DealChanges *
make_changes(Size size)
{
	DealChanges *changes;

	if (size > MaxAllocSize)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("too many changes of one deal"),
				 errdetail("A deal's changes may take %zu bytes.", MaxAllocSize)));
	changes = palloc0(size);
	SET_VARSIZE(changes, size);
	changes->version = CHANGES_VERSION;
	return changes;
}

/* The value with room for so many bytes more: itself, or a larger copy. */
static DealChanges *
make_room(DealChanges *changes, Size wanted)
{
	Size		size = offsetof(DealChanges, changes) + changes->used + wanted;
	DealChanges *larger;

	if (size <= VARSIZE(changes))
		return changes;
	larger = make_changes(Max(size, Min((Size) VARSIZE(changes) * 2, MaxAllocSize)));
	memcpy(larger->changes, changes->changes, changes->used);
	larger->used = changes->used;
	larger->count = changes->count;
	return larger;
}

/* The state to change: the aggregate's own in place, anything else as a copy */
static DealChanges *
own_state(FunctionCallInfo fcinfo)
{
	DealChanges *state = PG_GETARG_CHANGES(0);
	DealChanges *copy;

	if (AggCheckCallContext(fcinfo, NULL))
		return state;
	copy = palloc(VARSIZE(state));
	memcpy(copy, state, VARSIZE(state));
	return copy;
}

/* A kind by its name */
static uint8
kind_by_name(text *name)
{
	for (uint8 kind = KIND_OPEN; kind < KINDS; kind++)
		if (VARSIZE_ANY_EXHDR(name) == strlen(spells_kind_names[kind]) &&
			memcmp(VARDATA_ANY(name), spells_kind_names[kind], VARSIZE_ANY_EXHDR(name)) == 0)
			return kind;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("a stage cannot be of kind \"%s\"", text_to_cstring(name)),
			 errdetail("Kinds are open, won and lost.")));
	return KIND_NONE;
}

/* A change's stage */
static text *
change_stage(const Change *change)
{
	return (text *) ((char *) change + sizeof(Change));
}

/* A change's amount, where it has one */
static Datum
change_amount(const Change *change)
{
	Size		stage = change->flags & NO_STAGE ? 0 : INTALIGN(VARSIZE_ANY(change_stage(change)));

	return PointerGetDatum((char *) change + sizeof(Change) + stage);
}

/* See spells_pg.h. */
Size
spells_change_size(NullableDatum *columns)
{
	NullableDatum *stage = &columns[CHANGE_STAGE];
	NullableDatum *amount = &columns[CHANGE_AMOUNT];
	Size		size = sizeof(Change);

	if (!stage->isnull)
	{
		stage->value = PointerGetDatum(PG_DETOAST_DATUM_PACKED(stage->value));
		size += INTALIGN(VARSIZE_ANY(DatumGetPointer(stage->value)));
	}
	if (!amount->isnull)
	{
		amount->value = PointerGetDatum(PG_DETOAST_DATUM_PACKED(amount->value));
		size += VARSIZE_ANY(DatumGetPointer(amount->value));
	}
	return MAXALIGN(size);
}

/* See spells_pg.h. Errors: 22004 no time, 22023 an unknown kind */
void
spells_fill_change(Change *change, Size size, const NullableDatum *columns)
{
	const char *stage = columns[CHANGE_STAGE].isnull ? NULL : DatumGetPointer(columns[CHANGE_STAGE].value);
	const char *amount = columns[CHANGE_AMOUNT].isnull ? NULL : DatumGetPointer(columns[CHANGE_AMOUNT].value);

	if (columns[CHANGE_ENTERED_AT].isnull)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("a change of a deal must have a time")));
	change->size = (uint32) size;
	change->entered_at = DatumGetTimestampTz(columns[CHANGE_ENTERED_AT].value);
	change->number = columns[CHANGE_NUMBER].isnull ? 0 : DatumGetInt64(columns[CHANGE_NUMBER].value);
	change->ordinal = columns[CHANGE_ORDINAL].isnull ? 0 : DatumGetInt32(columns[CHANGE_ORDINAL].value);
	change->close_date = columns[CHANGE_CLOSE_DATE].isnull ? 0 : DatumGetDateADT(columns[CHANGE_CLOSE_DATE].value);
	change->kind = columns[CHANGE_KIND].isnull ? KIND_NONE : kind_by_name(DatumGetTextPP(columns[CHANGE_KIND].value));
	change->flags = (stage ? 0 : NO_STAGE) | (amount ? 0 : NO_AMOUNT) | (columns[CHANGE_ORDINAL].isnull ? NO_ORDINAL : 0) |
		(columns[CHANGE_CLOSE_DATE].isnull ? NO_CLOSE_DATE : 0) | (columns[CHANGE_NUMBER].isnull ? NO_NUMBER : 0) |
		(!columns[CHANGE_IS_ROW].isnull && DatumGetBool(columns[CHANGE_IS_ROW].value) ? IS_ROW : 0);
	if (stage)
		memcpy(change_stage(change), stage, VARSIZE_ANY(stage));
	if (amount)
		memcpy(DatumGetPointer(change_amount(change)), amount, VARSIZE_ANY(amount));
}

/* Add one change: its columns as deal_change has them. */
static DealChanges *
append_change(DealChanges *changes, NullableDatum *columns)
{
	Size		size = spells_change_size(columns);

	changes = make_room(changes, size);
	spells_fill_change((Change *) (changes->changes + changes->used), size, columns);
	changes->used += (uint32) size;
	changes->count++;
	return changes;
}

/*
 * Transition of collect_changes(stage, ordinal, kind, entered_at, amount, close_date, change_number, is_row). Errors: 22004 no time,
 * 22023 an unknown kind, 54000 a gigabyte of changes.
 */
Datum
salesops_deal_changes_accumulate(PG_FUNCTION_ARGS)
{
	DealChanges *state = PG_ARGISNULL(0) ? make_changes(CHANGES_FIRST_SIZE) : own_state(fcinfo);

	PG_RETURN_POINTER(append_change(state, &fcinfo->args[1]));
}

/* Combine function: put together; in which order is of no matter. NULLs are neutral. */
Datum
salesops_deal_changes_combine(PG_FUNCTION_ARGS)
{
	DealChanges *state;
	DealChanges *other;

	if (PG_ARGISNULL(1))
	{
		if (PG_ARGISNULL(0))
			PG_RETURN_NULL();
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	}
	other = PG_GETARG_CHANGES(1);
	state = make_room(PG_ARGISNULL(0) ? make_changes(CHANGES_FIRST_SIZE) : own_state(fcinfo), other->used);
	memcpy(state->changes + state->used, other->changes, other->used);
	state->used += other->used;
	state->count += other->count;
	PG_RETURN_POINTER(state);
}

/* ---- its text form ---- */

/* The array type deal_change[] */
static Oid
change_array_type(void)
{
	Oid			namespace = get_namespace_oid("salesops", false);
	Oid			type = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum("deal_change"), ObjectIdGetDatum(namespace));

	if (!OidIsValid(type))
		elog(ERROR, "type salesops.deal_change does not exist");
	return get_array_type(type);
}

/* One change as a value of the composite type */
static Datum
change_row(const Change *change, TupleDesc desc)
{
	Datum		values[CHANGE_COLUMNS];
	bool		nulls[CHANGE_COLUMNS] = {false};

	nulls[CHANGE_STAGE] = (change->flags & NO_STAGE) != 0;
	nulls[CHANGE_ORDINAL] = (change->flags & NO_ORDINAL) != 0;
	nulls[CHANGE_KIND] = change->kind == KIND_NONE;
	nulls[CHANGE_AMOUNT] = (change->flags & NO_AMOUNT) != 0;
	nulls[CHANGE_CLOSE_DATE] = (change->flags & NO_CLOSE_DATE) != 0;
	nulls[CHANGE_NUMBER] = (change->flags & NO_NUMBER) != 0;
	values[CHANGE_STAGE] = PointerGetDatum(change_stage(change));
	values[CHANGE_ORDINAL] = Int32GetDatum(change->ordinal);
	values[CHANGE_KIND] = nulls[CHANGE_KIND] ? (Datum) 0 : CStringGetTextDatum(spells_kind_names[change->kind]);
	values[CHANGE_ENTERED_AT] = TimestampTzGetDatum(change->entered_at);
	values[CHANGE_AMOUNT] = nulls[CHANGE_AMOUNT] ? (Datum) 0 : change_amount(change);
	values[CHANGE_CLOSE_DATE] = DateADTGetDatum(change->close_date);
	values[CHANGE_NUMBER] = Int64GetDatum(change->number);
	values[CHANGE_IS_ROW] = BoolGetDatum((change->flags & IS_ROW) != 0);
	return HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
}

/* The changes in the order in which they came in */
static const Change **
list_changes(const DealChanges *changes)
{
	const Change **list = palloc(sizeof(Change *) * Max(changes->count, 1));
	const char *at = changes->changes;

	for (uint32 i = 0; i < changes->count; i++)
	{
		list[i] = (const Change *) at;
		at += list[i]->size;
	}
	return list;
}

/* The value as text: that of deal_change[] */
static char *
changes_text(const DealChanges *changes)
{
	Oid			type = change_array_type();
	Oid			element = get_element_type(type);
	TupleDesc	desc = lookup_rowtype_tupdesc_copy(element, -1);
	const Change **list = list_changes(changes);
	Datum	   *rows = palloc(sizeof(Datum) * Max(changes->count, 1));
	Oid			output;
	bool		varlena;

	for (uint32 i = 0; i < changes->count; i++)
		rows[i] = change_row(list[i], desc);
	getTypeOutputInfo(type, &output, &varlena);
	return OidOutputFunctionCall(output, PointerGetDatum(construct_array(rows, (int) changes->count, element, -1, false, TYPALIGN_DOUBLE)));
}

/* The value of a text. Errors: those of deal_change[], 22004 an element that is NULL or has no time */
static DealChanges *
changes_of_text(char *string)
{
	Oid			type = change_array_type();
	Oid			input;
	Oid			parameter;
	Datum	   *rows;
	bool	   *nulls;
	int			count;
	DealChanges *changes = make_changes(CHANGES_FIRST_SIZE);

	getTypeInputInfo(type, &input, &parameter);
	deconstruct_array(DatumGetArrayTypeP(OidInputFunctionCall(input, string, parameter, -1)), get_element_type(type), -1, false,
					  TYPALIGN_DOUBLE, &rows, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		NullableDatum columns[CHANGE_COLUMNS];

		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("a change of a deal must not be NULL")));
		for (int j = 0; j < CHANGE_COLUMNS; j++)
			columns[j].value = GetAttributeByNum(DatumGetHeapTupleHeader(rows[i]), j + 1, &columns[j].isnull);
		changes = append_change(changes, columns);
	}
	return changes;
}

/* Input of type deal_changes */
Datum
salesops_deal_changes_in(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(changes_of_text(PG_GETARG_CSTRING(0)));
}

/* Output of type deal_changes */
Datum
salesops_deal_changes_out(PG_FUNCTION_ARGS)
{
	PG_RETURN_CSTRING(changes_text(PG_GETARG_CHANGES(0)));
}

/* Binary input: the text form */
Datum
salesops_deal_changes_recv(PG_FUNCTION_ARGS)
{
	StringInfo	message = (StringInfo) PG_GETARG_POINTER(0);
	int			length;

	PG_RETURN_POINTER(changes_of_text(pq_getmsgtext(message, message->len - message->cursor, &length)));
}

/* Binary output: the text form */
Datum
salesops_deal_changes_send(PG_FUNCTION_ARGS)
{
	StringInfoData message;
	char	   *string = changes_text(PG_GETARG_CHANGES(0));

	pq_begintypsend(&message);
	pq_sendtext(&message, string, (int) strlen(string));
	PG_RETURN_BYTEA_P(pq_endtypsend(&message));
}

/* ---- the order of a deal's changes ---- */

/* Unknown values last: -1, 0 or 1 where that settles it, 2 where both are known */
static int
compare_known(const Change *a, const Change *b, uint8 flag)
{
	bool		no_a = (a->flags & flag) != 0;
	bool		no_b = (b->flags & flag) != 0;

	return no_a && no_b ? 0 : no_a ? 1 : no_b ? -1 : 2;
}

/* By one of the facts that may be unknown */
static int
compare_fact(const Change *a, const Change *b, uint8 flag)
{
	int			known = compare_known(a, b, flag);
	text	   *left;
	text	   *right;

	if (known != 2)
		return known;
	switch (flag)
	{
		case NO_NUMBER:
			return a->number < b->number ? -1 : a->number > b->number;
		case NO_ORDINAL:
			return a->ordinal < b->ordinal ? -1 : a->ordinal > b->ordinal;
		case NO_CLOSE_DATE:
			return a->close_date < b->close_date ? -1 : a->close_date > b->close_date;
		case NO_AMOUNT:
			return DatumGetInt32(DirectFunctionCall2(numeric_cmp, change_amount(a), change_amount(b)));
		default:
			left = change_stage(a);
			right = change_stage(b);
			return varstr_cmp(VARDATA_ANY(left), VARSIZE_ANY_EXHDR(left), VARDATA_ANY(right), VARSIZE_ANY_EXHDR(right),
							  DEFAULT_COLLATION_OID);
	}
}

/* The order of changes, for qsort */
static int
compare_changes(const void *left, const void *right)
{
	static const uint8 facts[] = {NO_NUMBER, NO_ORDINAL, NO_STAGE, NO_AMOUNT, NO_CLOSE_DATE};
	const Change *a = *(const Change *const *) left;
	const Change *b = *(const Change *const *) right;
	int			order = (a->flags & IS_ROW) - (b->flags & IS_ROW);

	if (order == 0)
		order = a->entered_at < b->entered_at ? -1 : a->entered_at > b->entered_at;
	for (size_t i = 0; order == 0 && i < lengthof(facts); i++)
		order = compare_fact(a, b, facts[i]);
	return order;
}

/* Same stage, none included */
static bool
same_stage(const Change *a, const Change *b)
{
	text	   *left = change_stage(a);
	text	   *right = change_stage(b);

	if ((a->flags | b->flags) & NO_STAGE)
		return (a->flags & b->flags & NO_STAGE) != 0;
	return VARSIZE_ANY_EXHDR(left) == VARSIZE_ANY_EXHDR(right) &&
		memcmp(VARDATA_ANY(left), VARDATA_ANY(right), VARSIZE_ANY_EXHDR(left)) == 0;
}

/* Does a change begin with another stage than the one before it left behind? Before the first there was none. */
static bool
stage_differs(const Change *before, const Change *change)
{
	return before ? !same_stage(before, change) : (change->flags & NO_STAGE) == 0;
}

/* The changes in order */
static void
order_changes(const Change **changes, uint32 count)
{
	qsort(changes, count, sizeof(*changes), compare_changes);
}

/* ---- stays ---- */

/* What ends a stay that begins with a change; the closing of the deal's own row only where the stay is open and before it */
static const Change *
ending(const Change *change, const Change *following)
{
	if (following == NULL || !(following->flags & IS_ROW))
		return following;
	return change->kind == KIND_OPEN && following->entered_at >= change->entered_at ? following : NULL;
}

/* For qsort: by stage, then in the order of time */
static int
compare_visits(const void *left, const void *right)
{
	const Spell *a = *(const Spell *const *) left;
	const Spell *b = *(const Spell *const *) right;
	text	   *x = change_stage(a->change);
	text	   *y = change_stage(b->change);
	int			order = memcmp(VARDATA_ANY(x), VARDATA_ANY(y), Min(VARSIZE_ANY_EXHDR(x), VARSIZE_ANY_EXHDR(y)));

	if (order == 0)
		order = VARSIZE_ANY_EXHDR(x) < VARSIZE_ANY_EXHDR(y) ? -1 : VARSIZE_ANY_EXHDR(x) > VARSIZE_ANY_EXHDR(y);
	return order != 0 ? order : a->number < b->number ? -1 : a->number > b->number;
}

/* Number the visits of each stage. */
static void
number_visits(Life *life)
{
	Spell	  **sorted;

	if (life->count > 16)
	{
		sorted = palloc(sizeof(Spell *) * life->count);
		for (uint32 i = 0; i < life->count; i++)
			sorted[i] = &life->spells[i];
		qsort(sorted, life->count, sizeof(*sorted), compare_visits);
		for (uint32 i = 0; i < life->count; i++)
			sorted[i]->visit = i > 0 && same_stage(sorted[i - 1]->change, sorted[i]->change) ? sorted[i - 1]->visit + 1 : 1;
		return;
	}
	for (uint32 i = 0; i < life->count; i++)
	{
		life->spells[i].visit = 1;
		for (uint32 j = 0; j < i; j++)
			life->spells[i].visit += same_stage(life->spells[j].change, life->spells[i].change);
	}
}

/* What the stay adds to what is known of the stays after it */
static void
look_ahead(Life *life, Spell *spell, const Spell *later)
{
	const Change *next = spell->next;
	uint8		next_kind = next ? next->kind : KIND_NONE;

	if (later)
	{
		spell->closes = later->closes;
		spell->closes_at = later->closes_at;
		spell->goes = later->goes;
		spell->gone_at = later->gone_at;
		spell->advances = later->advances;
		spell->furthest = later->furthest;
		spell->final_kind = later->final_kind;
	}
	else
		spell->final_kind = next == NULL ? spell->change->kind : next_kind;
	if (next_kind == KIND_WON || next_kind == KIND_LOST)
	{
		spell->closes_at = spell->closes ? Min(spell->closes_at, next->entered_at) : next->entered_at;
		spell->closes = true;
	}
	if (next && (next->flags & NO_STAGE))
	{
		spell->gone_at = spell->goes ? Max(spell->gone_at, next->entered_at) : next->entered_at;
		spell->goes = true;
	}
	if ((next_kind == KIND_OPEN || next_kind == KIND_WON) && !(next->flags & NO_ORDINAL))
	{
		spell->furthest = spell->advances ? Max(spell->furthest, next->ordinal) : next->ordinal;
		spell->advances = true;
	}
	life->next_known |= next_kind != KIND_NONE;
	life->was_won |= next_kind == KIND_WON;
	life->was_lost |= next_kind == KIND_LOST;
	spell->win_known = life->next_known;
	spell->wins = life->was_won;
}

/* See spells_pg.h. Equal stages in a row are one stay; a change without a stage ends one and begins none. */
Life *
spells_make_life(const Change **ordered, uint32 count)
{
	uint32		kept = 0;
	Life	   *life = palloc0(sizeof(Life));
	const Change *before = NULL;

	order_changes(ordered, count);
	for (uint32 i = 0; i < count; i++)
	{
		const Change *change = ordered[i];

		if ((change->flags & IS_ROW) || stage_differs(before, change))
			ordered[kept++] = change;
		before = change;
	}
	life->spells = palloc0(sizeof(Spell) * Max(kept, 1));
	for (uint32 i = 0; i < kept; i++)
	{
		Spell	   *spell = &life->spells[life->count];

		if (ordered[i]->flags & (IS_ROW | NO_STAGE))
			continue;
		spell->change = ordered[i];
		spell->next = ending(ordered[i], i + 1 < kept ? ordered[i + 1] : NULL);
		spell->number = i + 1;
		life->count++;
	}
	number_visits(life);
	for (uint32 i = life->count; i-- > 0;)
		look_ahead(life, &life->spells[i], i + 1 < life->count ? &life->spells[i + 1] : NULL);
	return life;
}

/* ---- rows of stays, and of where a deal stands ---- */

/* What is kept from call to call, for as long as the query runs */
typedef struct SpellCalls
{
	TupleDesc	desc;
	Datum		kinds[KINDS];
	MemoryContext context;		/* of the deal at hand */
	Life	   *life;			/* NULL between two deals */
	uint32		next;
} SpellCalls;

/* One column */
static inline void
put(SpellRow *row, int column, Datum value, bool known)
{
	row->values[column] = known ? value : (Datum) 0;
	row->nulls[column] = !known;
}

/* A kind, NULL where it is none */
static inline void
put_kind(SpellRow *row, int column, const Datum *kinds, uint8 kind)
{
	put(row, column, kinds[kind], kind != KIND_NONE);
}

/* What is stored of a change */
static void
put_change(SpellRow *row, const Change *change, int amount, int close_date)
{
	put(row, amount, change->flags & NO_AMOUNT ? (Datum) 0 : change_amount(change), !(change->flags & NO_AMOUNT));
	put(row, close_date, DateADTGetDatum(change->close_date), !(change->flags & NO_CLOSE_DATE));
}

/* See spells_pg.h. */
void
spells_fill_row(SpellRow *row, const Datum *kinds, const Life *life, const Spell *spell)
{
	const Change *change = spell->change;
	const Change *next = spell->next;
	bool		staged = next && !(next->flags & NO_STAGE);

	put(row, SPELL_ENTERED_AT, TimestampTzGetDatum(change->entered_at), true);
	put(row, SPELL_VISIT, Int64GetDatum(spell->visit), true);
	put(row, SPELL_NUMBER, Int64GetDatum(spell->number), true);
	put(row, SPELL_ENDED, BoolGetDatum(staged), true);
	put(row, SPELL_STAGE, PointerGetDatum(change_stage(change)), true);
	put_kind(row, SPELL_KIND, kinds, change->kind);
	put(row, SPELL_ORDINAL, Int32GetDatum(change->ordinal), !(change->flags & NO_ORDINAL));
	put(row, SPELL_LEFT_AT, TimestampTzGetDatum(next ? next->entered_at : 0), next != NULL);
	put(row, SPELL_CLOSES_AT, TimestampTzGetDatum(spell->closes_at), spell->closes);
	put(row, SPELL_GONE_AT, TimestampTzGetDatum(spell->gone_at), spell->goes);
	put(row, SPELL_NEXT_STAGE, PointerGetDatum(staged ? change_stage(next) : NULL), staged);
	put(row, SPELL_NEXT_ORDINAL, Int32GetDatum(next ? next->ordinal : 0), next && !(next->flags & NO_ORDINAL));
	put_kind(row, SPELL_NEXT_KIND, kinds, next ? next->kind : KIND_NONE);
	put_change(row, change, SPELL_AMOUNT, SPELL_CLOSE_DATE);
	put(row, SPELL_FURTHEST, Int32GetDatum(spell->furthest), spell->advances);
	put(row, SPELL_WINS, BoolGetDatum(spell->wins), spell->win_known);
	put_kind(row, SPELL_FINAL_KIND, kinds, spell->final_kind);
	put(row, SPELL_WAS_WON, BoolGetDatum(life->was_won), life->next_known);
	put(row, SPELL_WAS_LOST, BoolGetDatum(life->was_lost), life->next_known);
}

/* One stay as a value of deal_spell */
static Datum
spell_row(const SpellCalls *calls, const Spell *spell)
{
	SpellRow	row;

	spells_fill_row(&row, calls->kinds, calls->life, spell);
	return HeapTupleGetDatum(heap_form_tuple(calls->desc, row.values, row.nulls));
}

/* What is kept from call to call, made at the first */
static SpellCalls *
get_calls(FunctionCallInfo fcinfo)
{
	SpellCalls *calls = fcinfo->flinfo->fn_extra;
	MemoryContext old;

	if (calls != NULL)
		return calls;
	old = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
	calls = palloc0(sizeof(SpellCalls));
	if (get_call_result_type(fcinfo, NULL, &calls->desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "not called as a function with a composite result");
	calls->desc = BlessTupleDesc(CreateTupleDescCopy(calls->desc));
	for (int kind = KIND_OPEN; kind < KINDS; kind++)
		calls->kinds[kind] = CStringGetTextDatum(spells_kind_names[kind]);
	calls->context = AllocSetContextCreate(CurrentMemoryContext, "salesops deal", ALLOCSET_SMALL_SIZES);
	MemoryContextSwitchTo(old);
	fcinfo->flinfo->fn_extra = calls;
	return calls;
}

/* The set is done, or its caller wants no more of it. */
static void
end_deal(Datum arg)
{
	SpellCalls *calls = (SpellCalls *) DatumGetPointer(arg);

	calls->life = NULL;
	MemoryContextReset(calls->context);
}

/* The stays of the argument; it is copied where it had to be detoasted, since the caller keeps the original only. */
static void
begin_deal(FunctionCallInfo fcinfo, SpellCalls *calls, ReturnSetInfo *result)
{
	MemoryContext old = MemoryContextSwitchTo(calls->context);
	DealChanges *changes;

	changes = PG_GETARG_CHANGES(0);
	calls->life = spells_make_life(list_changes(changes), changes->count);
	calls->next = 0;
	MemoryContextSwitchTo(old);
	RegisterExprContextCallback(result->econtext, end_deal, PointerGetDatum(calls));
}

/*
 * spells_of(deal_changes) -> setof deal_spell
 *
 * The deal's stays in stages in their order, a value a call. What is known ahead of each (closes_at ...) is of this stay's end
 * and all later ones; NULL where no later end says anything of the kind.
 */
Datum
salesops_spells_of(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	SpellCalls *calls;

	if (result == NULL || !IsA(result, ReturnSetInfo) || !(result->allowedModes & SFRM_ValuePerCall))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("set-valued function called in context that cannot accept a set")));
	calls = get_calls(fcinfo);
	if (calls->life == NULL)
		begin_deal(fcinfo, calls, result);
	result->returnMode = SFRM_ValuePerCall;
	if (calls->next < calls->life->count)
	{
		result->isDone = ExprMultipleResult;
		PG_RETURN_DATUM(spell_row(calls, &calls->life->spells[calls->next++]));
	}
	UnregisterExprContextCallback(result->econtext, end_deal, PointerGetDatum(calls));
	end_deal(PointerGetDatum(calls));
	result->isDone = ExprEndResult;
	PG_RETURN_NULL();
}

/* See spells_pg.h. */
void
spells_fill_state(SpellRow *row, const Datum *kinds, const Change **changes, uint32 count)
{
	const Change *entry = NULL;
	const Change *last = NULL;

	order_changes(changes, count);
	for (uint32 i = 0; i < count; i++)
	{
		if (stage_differs(last, changes[i]))
			entry = changes[i];
		last = changes[i];
	}
	put(row, STATE_ENTERED_AT, TimestampTzGetDatum(entry ? entry->entered_at : 0), entry != NULL);
	put(row, STATE_FIRST_ENTERED_AT, TimestampTzGetDatum(changes[0]->entered_at), true);
	put(row, STATE_STAGE, PointerGetDatum(change_stage(last)), !(last->flags & NO_STAGE));
	put_kind(row, STATE_KIND, kinds, last->kind);
	put_change(row, last, STATE_AMOUNT, STATE_CLOSE_DATE);
}

/*
 * last_change_of(deal_changes) -> deal_state
 *
 * Where the deal stands after its last change, since when it has been in that stage (the last time that a change brought another stage than
 * was there), and when its history begins.
 */
Datum
salesops_last_change_of(PG_FUNCTION_ARGS)
{
	SpellCalls *calls = get_calls(fcinfo);
	MemoryContext old = MemoryContextSwitchTo(calls->context);
	DealChanges *changes = PG_GETARG_CHANGES(0);
	SpellRow	row;
	Datum		answer;

	if (changes->count > 0)
		spells_fill_state(&row, calls->kinds, list_changes(changes), changes->count);
	MemoryContextSwitchTo(old);
	if (changes->count == 0)
		PG_RETURN_NULL();
	answer = HeapTupleGetDatum(heap_form_tuple(calls->desc, row.values, row.nulls));
	MemoryContextReset(calls->context);
	PG_RETURN_DATUM(answer);
}
