/*
 * ledger_pg.c
 *		The ledger (ledger_pg.h): bulk writing, the hash chain, its verification, and the refusal of any change.
 *
 * Chain. A line's hash is SHA-256 over the hash of the line before it (32 zero bytes for the first) and the line's content;
 * a posting's is the same over postings and ends with the hash of its last line. Content is serialised so that it is the
 * same on every machine, and from what is stored: dump and restore keep it. What a chain cannot show is that its newest
 * end was cut off: for that, keep verify_commission_ledger()'s head elsewhere and hand it in the next time.
 *
 * Writing goes through core/own.h, as COPY does: two times as fast as INSERT by SPI for a million lines. Triggers on INSERT and
 * foreign keys are therefore not fired; there are none.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "common/cryptohash.h"
#include "common/sha2.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/rangetypes.h"
#include "utils/snapmgr.h"
#include "utils/typcache.h"

#include "commission/decimal_pg.h"
#include "commission/ledger_pg.h"
#include "core/own.h"
#include "core/progress.h"
#include "core/spi.h"

PG_FUNCTION_INFO_V1(salesops_verify_commission_ledger);
PG_FUNCTION_INFO_V1(salesops_refuse_ledger_change);

/* ---- lock --------------------------------------------------------------------------------------------------------- */

/* An advisory lock of a class that SQL's functions cannot take (they use 1 and 2); held until the transaction ends. */
void
ledger_lock(void)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, get_namespace_oid("salesops", false), 0, 10);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

/* The role that the user acts as, inside salesops's own switch to the owner too */
const char *
ledger_caller(void)
{
	return GetUserNameFromId(GetOuterUserId(), false);
}

/* ---- hash --------------------------------------------------------------------------------------------------------- */

/* Eight bytes, big-endian */
static void
put_int64(StringInfo buffer, int64 value)
{
	uint64		network = pg_hton64((uint64) value);

	appendBinaryStringInfo(buffer, (char *) &network, sizeof(network));
}

/* A text with its length, or a mark for NULL */
static void
put_text(StringInfo buffer, const char *value)
{
	put_int64(buffer, value ? (int64) strlen(value) : -1);
	if (value)
		appendBinaryStringInfo(buffer, value, strlen(value));
}

/* A numeric, or a mark for NULL */
static void
put_numeric(StringInfo buffer, Numeric value)
{
	appendStringInfoCharMacro(buffer, value ? 1 : 0);
	if (value)
		decimal_serialize(buffer, value);
}

/* SHA-256 over the hash before and the content */
static void
chain(pg_cryptohash_ctx *context, const uint8 *before, StringInfo content, uint8 *result)
{
	if (pg_cryptohash_init(context) < 0 ||
		pg_cryptohash_update(context, before, PG_SHA256_DIGEST_LENGTH) < 0 ||
		pg_cryptohash_update(context, (uint8 *) content->data, content->len) < 0 ||
		pg_cryptohash_final(context, result, PG_SHA256_DIGEST_LENGTH) < 0)
		elog(ERROR, "SHA-256 failed: %s", pg_cryptohash_error(context));
}

/* What a line's hash covers */
static void
serialize_line(StringInfo buffer, int64 line_id, int64 posting_id, const LedgerLine *line)
{
	resetStringInfo(buffer);
	put_int64(buffer, line_id);
	put_int64(buffer, posting_id);
	put_int64(buffer, line->corrects);
	put_int64(buffer, line->has_date ? line->credited_on : PG_INT64_MAX);
	put_int64(buffer, line->component);
	appendStringInfoCharMacro(buffer, line->kind);
	put_text(buffer, line->credit_id);
	put_numeric(buffer, line->amount);
	put_numeric(buffer, line->before);
	put_numeric(buffer, line->after);
	put_numeric(buffer, line->total_before);
	appendStringInfoCharMacro(buffer, line->source ? 1 : 0);
	if (line->source)
	{
		put_numeric(buffer, line->source->amount);
		put_numeric(buffer, line->source->split);
		put_numeric(buffer, line->source->factor);
		put_numeric(buffer, line->source->rate);
		put_text(buffer, line->source->currency);
	}
}

/* What a posting's hash covers */
static void
serialize_posting(StringInfo buffer, int64 posting_id, const LedgerPosting *posting, int64 first_line,
				  TimestampTz created_at, const char *created_by, const uint8 *head)
{
	resetStringInfo(buffer);
	put_int64(buffer, posting_id);
	put_text(buffer, posting->rep_id);
	put_text(buffer, posting->plan);
	put_int64(buffer, posting->plan_version);
	put_int64(buffer, posting->period_from);
	put_int64(buffer, posting->period_to);
	put_int64(buffer, posting->for_from);
	put_int64(buffer, posting->for_to);
	put_text(buffer, posting->currency);
	put_int64(buffer, posting->purpose);
	put_numeric(buffer, posting->quota);
	put_numeric(buffer, posting->share);
	put_numeric(buffer, posting->gate);
	put_numeric(buffer, posting->credited);
	put_numeric(buffer, posting->earned);
	put_numeric(buffer, posting->drawn);
	put_int64(buffer, first_line);
	put_int64(buffer, posting->nlines);
	put_int64(buffer, posting->fingerprint);
	put_int64(buffer, created_at);
	put_text(buffer, created_by);
	appendBinaryStringInfo(buffer, (const char *) head, PG_SHA256_DIGEST_LENGTH);
}

/* ---- writing -------------------------------------------------------------------------------------------------------- */

struct LedgerWriter
{
	OwnWriter  *lines;
	OwnWriter  *postings;
	pg_cryptohash_ctx *hash;
	StringInfoData content;
	TypeCacheEntry *range_type;
	int64		next_line;
	int64		next_posting;
	TimestampTz created_at;
	const char *created_by;
	uint8		line_hash[PG_SHA256_DIGEST_LENGTH];
	uint8		posting_hash[PG_SHA256_DIGEST_LENGTH];
};

/* Bounds of a period as stored; an open one is as far as dates go */
void
ledger_period(Datum value, DateADT *from, DateADT *to)
{
	static TypeCacheEntry *type = NULL;
	RangeBound	lower;
	RangeBound	upper;
	bool		empty;

	if (type == NULL)
		type = lookup_type_cache(DATERANGEOID, TYPECACHE_RANGE_INFO);
	range_deserialize(type, DatumGetRangeTypeP(value), &lower, &upper, &empty);
	*from = lower.infinite ? DATEVAL_NOBEGIN : DatumGetDateADT(lower.val);
	*to = upper.infinite ? DATEVAL_NOEND : DatumGetDateADT(upper.val);
}

/* The end of the chain: where the next posting and line go on */
static void
take_chain_end(const Datum *values, const bool *nulls, void *arg)
{
	LedgerWriter *writer = arg;

	writer->next_posting = DatumGetInt64(values[POSTING_ID]) + 1;
	writer->next_line = DatumGetInt64(values[POSTING_FIRST_LINE]) + DatumGetInt32(values[POSTING_LINES]);
	memcpy(writer->line_hash, VARDATA_ANY(DatumGetByteaPP(values[POSTING_HEAD])), PG_SHA256_DIGEST_LENGTH);
	memcpy(writer->posting_hash, VARDATA_ANY(DatumGetByteaPP(values[POSTING_HASH])), PG_SHA256_DIGEST_LENGTH);
}

/* Number of the newest posting */
static void
take_newest(const Datum *values, const bool *nulls, void *arg)
{
	*(int64 *) arg = DatumGetInt64(values[POSTING_ID]);
}

/* A transaction that began before the ledger's newest posting would write the same lines again: it must start anew. */
static void
require_newest_visible(int64 newest_visible)
{
	int64		newest = 0;

	if (!IsolationUsesXactSnapshot())
		return;
	PushActiveSnapshot(GetLatestSnapshot());
	(void) own_last("commission_posting", "commission_posting_pkey", take_newest, &newest);
	PopActiveSnapshot();
	if (newest != newest_visible)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access: another transaction has written to the commission ledger"),
				 errhint("Run the transaction again.")));
}

/* Begin to write; see ledger_pg.h. */
LedgerWriter *
ledger_open(void)
{
	LedgerWriter *writer = palloc0(sizeof(LedgerWriter));

	writer->next_line = 1;
	writer->next_posting = 1;
	(void) own_last("commission_posting", "commission_posting_pkey", take_chain_end, writer);
	require_newest_visible(writer->next_posting - 1);
	writer->created_at = GetCurrentTransactionStartTimestamp();
	writer->created_by = pstrdup(ledger_caller());
	writer->range_type = lookup_type_cache(DATERANGEOID, TYPECACHE_RANGE_INFO);
	initStringInfo(&writer->content);
	writer->hash = pg_cryptohash_create(PG_SHA256);
	if (writer->hash == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	writer->lines = own_writer_open("commission_entry", true);
	writer->postings = own_writer_open("commission_posting", true);
	return writer;
}

/* bytea of a hash */
static Datum
hash_datum(const uint8 *hash)
{
	bytea	   *result = palloc(VARHDRSZ + PG_SHA256_DIGEST_LENGTH);

	SET_VARSIZE(result, VARHDRSZ + PG_SHA256_DIGEST_LENGTH);
	memcpy(VARDATA(result), hash, PG_SHA256_DIGEST_LENGTH);
	return PointerGetDatum(result);
}

/* [from, to) as a daterange */
static Datum
range_datum(TypeCacheEntry *type, DateADT from, DateADT to)
{
	RangeBound	lower = {.val = DateADTGetDatum(from), .inclusive = true, .lower = true};
	RangeBound	upper = {.val = DateADTGetDatum(to), .inclusive = false, .lower = false};

#if PG_VERSION_NUM >= 160000
	return RangeTypePGetDatum(make_range(type, &lower, &upper, false, NULL));
#else
	return RangeTypePGetDatum(make_range(type, &lower, &upper, false));
#endif
}

/* Store a value that may be NULL */
static inline void
put_value(TupleTableSlot *slot, int column, Datum value, bool isnull)
{
	slot->tts_values[column] = value;
	slot->tts_isnull[column] = isnull;
}

/* A numeric that may be NULL, copied because its owner may go before the batch is written */
static inline Datum
numeric_copy(Numeric value)
{
	Size		size;
	void	   *copy;

	if (value == NULL)
		return (Datum) 0;
	size = VARSIZE_ANY(value);
	copy = palloc(size);
	memcpy(copy, value, size);
	return PointerGetDatum(copy);
}

/* How the credited amount came about, all NULL where it is the credit's own */
static void
put_source(TupleTableSlot *slot, const CreditSource *source)
{
	static const CreditSource none = {NULL};

	if (source == NULL)
		source = &none;
	put_value(slot, ENTRY_SOURCE_AMOUNT, numeric_copy(source->amount), source->amount == NULL);
	put_value(slot, ENTRY_SPLIT, numeric_copy(source->split), source->split == NULL);
	put_value(slot, ENTRY_FACTOR, numeric_copy(source->factor), source->factor == NULL);
	put_value(slot, ENTRY_RATE, numeric_copy(source->rate), source->rate == NULL);
	put_value(slot, ENTRY_SOURCE_CURRENCY, source->currency ? CStringGetTextDatum(source->currency) : (Datum) 0,
			  source->currency == NULL);
}

/* One line into the batch, chained */
static void
append_line(LedgerWriter *writer, const LedgerLine *line)
{
	MemoryContext old = MemoryContextSwitchTo(own_writer_memory(writer->lines));
	TupleTableSlot *slot = own_writer_next(writer->lines);

	serialize_line(&writer->content, writer->next_line, writer->next_posting, line);
	chain(writer->hash, writer->line_hash, &writer->content, writer->line_hash);
	put_value(slot, ENTRY_LINE_ID, Int64GetDatum(writer->next_line), false);
	put_value(slot, ENTRY_POSTING_ID, Int64GetDatum(writer->next_posting), false);
	put_value(slot, ENTRY_KIND, CharGetDatum(line->kind), false);
	put_value(slot, ENTRY_COMPONENT, Int16GetDatum(line->component), false);
	put_value(slot, ENTRY_CREDITED_ON, DateADTGetDatum(line->credited_on), !line->has_date);
	put_value(slot, ENTRY_CORRECTS, Int64GetDatum(line->corrects), line->corrects == 0);
	put_value(slot, ENTRY_CREDIT_ID, line->credit_id ? CStringGetTextDatum(line->credit_id) : (Datum) 0, line->credit_id == NULL);
	put_value(slot, ENTRY_AMOUNT, numeric_copy(line->amount), false);
	put_value(slot, ENTRY_BEFORE, numeric_copy(line->before), line->before == NULL);
	put_value(slot, ENTRY_AFTER, numeric_copy(line->after), line->after == NULL);
	put_value(slot, ENTRY_TOTAL_BEFORE, numeric_copy(line->total_before), line->total_before == NULL);
	put_source(slot, line->source);
	put_value(slot, ENTRY_HASH, hash_datum(writer->line_hash), false);
	own_writer_add(writer->lines);
	writer->next_line++;
	MemoryContextSwitchTo(old);
}

/* The posting's own row into the batch, chained */
static void
append_posting(LedgerWriter *writer, const LedgerPosting *posting, int64 first_line)
{
	MemoryContext old = MemoryContextSwitchTo(own_writer_memory(writer->postings));
	TupleTableSlot *slot = own_writer_next(writer->postings);

	serialize_posting(&writer->content, writer->next_posting, posting, first_line, writer->created_at,
					  writer->created_by, writer->line_hash);
	chain(writer->hash, writer->posting_hash, &writer->content, writer->posting_hash);
	put_value(slot, POSTING_ID, Int64GetDatum(writer->next_posting), false);
	put_value(slot, POSTING_REP, CStringGetTextDatum(posting->rep_id), false);
	put_value(slot, POSTING_PLAN, CStringGetTextDatum(posting->plan), false);
	put_value(slot, POSTING_VERSION, Int32GetDatum(posting->plan_version), false);
	put_value(slot, POSTING_PERIOD, range_datum(writer->range_type, posting->period_from, posting->period_to), false);
	put_value(slot, POSTING_FOR, range_datum(writer->range_type, posting->for_from, posting->for_to), false);
	put_value(slot, POSTING_CURRENCY, CStringGetTextDatum(posting->currency), false);
	put_value(slot, POSTING_PURPOSE, Int16GetDatum(posting->purpose), false);
	put_value(slot, POSTING_QUOTA, numeric_copy(posting->quota), posting->quota == NULL);
	put_value(slot, POSTING_SHARE, numeric_copy(posting->share), false);
	put_value(slot, POSTING_GATE, numeric_copy(posting->gate), posting->gate == NULL);
	put_value(slot, POSTING_CREDITED, numeric_copy(posting->credited), false);
	put_value(slot, POSTING_EARNED, numeric_copy(posting->earned), false);
	put_value(slot, POSTING_DRAWN, numeric_copy(posting->drawn), false);
	put_value(slot, POSTING_FIRST_LINE, Int64GetDatum(first_line), false);
	put_value(slot, POSTING_LINES, Int32GetDatum(posting->nlines), false);
	put_value(slot, POSTING_FINGERPRINT, Int64GetDatum(posting->fingerprint), false);
	put_value(slot, POSTING_CREATED_AT, TimestampTzGetDatum(writer->created_at), false);
	put_value(slot, POSTING_CREATED_BY, DirectFunctionCall1(namein, CStringGetDatum(writer->created_by)), false);
	put_value(slot, POSTING_HEAD, hash_datum(writer->line_hash), false);
	put_value(slot, POSTING_HASH, hash_datum(writer->posting_hash), false);
	own_writer_add(writer->postings);
	writer->next_posting++;
	MemoryContextSwitchTo(old);
}

/* Append a posting and its lines; returns the number of its first line. */
int64
ledger_append(LedgerWriter *writer, const LedgerPosting *posting)
{
	int64		first_line = writer->next_line;

	for (int i = 0; i < posting->nlines; i++)
		append_line(writer, &posting->lines[i]);
	append_posting(writer, posting, first_line);
	return first_line;
}

/* Number that the next line will have */
int64
ledger_next_line(const LedgerWriter *writer)
{
	return writer->next_line;
}

/* Write the rest, make it visible to what follows in the transaction. */
void
ledger_close(LedgerWriter *writer)
{
	own_writer_close(writer->lines);
	own_writer_close(writer->postings);
	pg_cryptohash_free(writer->hash);
	CommandCounterIncrement();
}

/* ---- verification ------------------------------------------------------------------------------------------------- */

typedef struct Verification
{
	pg_cryptohash_ctx *hash;
	StringInfoData content;
	MemoryContext row;
	uint8		before[PG_SHA256_DIGEST_LENGTH];
	int64		count;
	int64		broken;			/* number of the first row that does not fit, or 0 */
	const char *problem;
	bytea	   *known_head;
	bool		known_seen;
} Verification;

/* A column as C string, NULL where it is */
static char *
slot_text(TupleTableSlot *slot, int column)
{
	return slot->tts_isnull[column] ? NULL : TextDatumGetCString(slot->tts_values[column]);
}

/* A column as numeric, NULL where it is */
static Numeric
slot_numeric(TupleTableSlot *slot, int column)
{
	return slot->tts_isnull[column] ? NULL : DatumGetNumeric(slot->tts_values[column]);
}

/* Compare a recomputed hash with the stored one, and number with count. */
static void
verify_hash(Verification *state, int64 number, Datum stored)
{
	bytea	   *bytes = DatumGetByteaPP(stored);
	uint8		result[PG_SHA256_DIGEST_LENGTH];

	chain(state->hash, state->before, &state->content, result);
	if (number != state->count + 1)
	{
		state->broken = state->count + 1;
		state->problem = "is missing";
	}
	else if (VARSIZE_ANY_EXHDR(bytes) != PG_SHA256_DIGEST_LENGTH ||
			 memcmp(VARDATA_ANY(bytes), result, PG_SHA256_DIGEST_LENGTH) != 0)
	{
		state->broken = number;
		state->problem = "does not have the content that its hash was made from";
	}
	memcpy(state->before, result, PG_SHA256_DIGEST_LENGTH);
	state->count = number;
}

/* One line of the ledger, in order */
static void
verify_line(TupleTableSlot *slot, void *arg)
{
	Verification *state = arg;
	LedgerLine	line = {0};
	CreditSource source;
	MemoryContext old;

	if (state->broken)
		return;
	old = MemoryContextSwitchTo(state->row);
	line.kind = DatumGetChar(slot->tts_values[ENTRY_KIND]);
	line.component = DatumGetInt16(slot->tts_values[ENTRY_COMPONENT]);
	line.has_date = !slot->tts_isnull[ENTRY_CREDITED_ON];
	line.credited_on = line.has_date ? DatumGetDateADT(slot->tts_values[ENTRY_CREDITED_ON]) : 0;
	line.corrects = slot->tts_isnull[ENTRY_CORRECTS] ? 0 : DatumGetInt64(slot->tts_values[ENTRY_CORRECTS]);
	line.credit_id = slot_text(slot, ENTRY_CREDIT_ID);
	line.amount = slot_numeric(slot, ENTRY_AMOUNT);
	line.before = slot_numeric(slot, ENTRY_BEFORE);
	line.after = slot_numeric(slot, ENTRY_AFTER);
	line.total_before = slot_numeric(slot, ENTRY_TOTAL_BEFORE);
	source.amount = slot_numeric(slot, ENTRY_SOURCE_AMOUNT);
	source.split = slot_numeric(slot, ENTRY_SPLIT);
	source.factor = slot_numeric(slot, ENTRY_FACTOR);
	source.rate = slot_numeric(slot, ENTRY_RATE);
	source.currency = slot_text(slot, ENTRY_SOURCE_CURRENCY);
	line.source = source.amount || source.split || source.factor || source.rate || source.currency ? &source : NULL;
	serialize_line(&state->content, DatumGetInt64(slot->tts_values[ENTRY_LINE_ID]),
				   DatumGetInt64(slot->tts_values[ENTRY_POSTING_ID]), &line);
	verify_hash(state, DatumGetInt64(slot->tts_values[ENTRY_LINE_ID]), slot->tts_values[ENTRY_HASH]);
	MemoryContextSwitchTo(old);
	MemoryContextReset(state->row);
	if ((state->count & 1023) == 0)
		CHECK_FOR_INTERRUPTS();
}

/* One posting, in order; the last column is the hash that its last line has now. */
static void
verify_posting(TupleTableSlot *slot, void *arg)
{
	Verification *state = arg;
	LedgerPosting posting = {0};
	MemoryContext old;
	bytea	   *head;
	int64		id = DatumGetInt64(slot->tts_values[POSTING_ID]);

	if (state->broken)
		return;
	old = MemoryContextSwitchTo(state->row);
	posting.rep_id = slot_text(slot, POSTING_REP);
	posting.plan = slot_text(slot, POSTING_PLAN);
	posting.plan_version = DatumGetInt32(slot->tts_values[POSTING_VERSION]);
	ledger_period(slot->tts_values[POSTING_PERIOD], &posting.period_from, &posting.period_to);
	ledger_period(slot->tts_values[POSTING_FOR], &posting.for_from, &posting.for_to);
	posting.currency = slot_text(slot, POSTING_CURRENCY);
	posting.purpose = DatumGetInt16(slot->tts_values[POSTING_PURPOSE]);
	posting.quota = slot_numeric(slot, POSTING_QUOTA);
	posting.share = slot_numeric(slot, POSTING_SHARE);
	posting.gate = slot_numeric(slot, POSTING_GATE);
	posting.credited = slot_numeric(slot, POSTING_CREDITED);
	posting.earned = slot_numeric(slot, POSTING_EARNED);
	posting.drawn = slot_numeric(slot, POSTING_DRAWN);
	posting.nlines = DatumGetInt32(slot->tts_values[POSTING_LINES]);
	posting.fingerprint = DatumGetInt64(slot->tts_values[POSTING_FINGERPRINT]);
	head = DatumGetByteaPP(slot->tts_values[POSTING_HEAD]);
	serialize_posting(&state->content, id, &posting, DatumGetInt64(slot->tts_values[POSTING_FIRST_LINE]),
					  DatumGetTimestampTz(slot->tts_values[POSTING_CREATED_AT]),
					  NameStr(*DatumGetName(slot->tts_values[POSTING_CREATED_BY])), (uint8 *) VARDATA_ANY(head));
	verify_hash(state, id, slot->tts_values[POSTING_HASH]);
	if (!state->broken && posting.nlines > 0 &&
		(slot->tts_isnull[POSTING_COLUMNS] ||
		 memcmp(VARDATA_ANY(head), VARDATA_ANY(DatumGetByteaPP(slot->tts_values[POSTING_COLUMNS])), PG_SHA256_DIGEST_LENGTH) != 0))
	{
		state->broken = id;
		state->problem = "does not end with the line that it was made with";
	}
	if (state->known_head && VARSIZE_ANY_EXHDR(state->known_head) == PG_SHA256_DIGEST_LENGTH &&
		memcmp(state->before, VARDATA_ANY(state->known_head), PG_SHA256_DIGEST_LENGTH) == 0)
		state->known_seen = true;
	MemoryContextSwitchTo(old);
	MemoryContextReset(state->row);
}

/* Begin a pass over lines or over postings */
static void
verification_start(Verification *state)
{
	memset(state->before, 0, sizeof(state->before));
	state->count = 0;
	CHECK_FOR_INTERRUPTS();
}

/* Both passes; stops at the first row that does not fit. */
static const char *
verify_all(Verification *state, int64 *lines, int64 *postings, int64 *broken_line)
{
	SpiScope	scope;

	verification_start(state);
	spi_open(&scope, SPI_AS_OWNER);
	(void) spi_stream("SELECT * FROM salesops.commission_entry ORDER BY line_id", 0, NULL, true, verify_line, state);
	*lines = state->count;
	*broken_line = state->broken;
	if (!state->broken)
	{
		verification_start(state);
		(void) spi_stream("SELECT p.*, e.hash FROM salesops.commission_posting p LEFT JOIN salesops.commission_entry e "
						  "ON e.line_id = p.first_line + p.line_count - 1 AND e.posting_id = p.posting_id ORDER BY p.posting_id",
						  0, NULL, true, verify_posting, state);
		*postings = state->count;
	}
	spi_close(&scope);
	if (*broken_line)
		return psprintf("line " INT64_FORMAT " %s", state->broken, state->problem);
	if (state->broken)
		return psprintf("posting " INT64_FORMAT " %s", state->broken, state->problem);
	if (state->known_head && !state->known_seen)
		return "the known head is not in the chain: newer postings were cut off";
	return NULL;
}

/*
 * verify_commission_ledger(known_head bytea DEFAULT NULL) -> (valid, lines, postings, broken_line, problem, head)
 *
 * Recomputes the whole chain and stops at the first row that does not fit. head is the last posting's hash: kept
 * elsewhere and handed in later, it also shows that the end was cut off.
 */
Datum
salesops_verify_commission_ledger(PG_FUNCTION_ARGS)
{
	Verification state = {0};
	TupleDesc	desc;
	Datum		values[6] = {0};
	bool		nulls[6] = {false, false, false, true, true, true};
	int64		lines = 0;
	int64		postings = 0;
	int64		broken_line = 0;
	const char *problem;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	initStringInfo(&state.content);
	state.row = AllocSetContextCreate(CurrentMemoryContext, "ledger verification", ALLOCSET_DEFAULT_SIZES);
	state.known_head = PG_ARGISNULL(0) ? NULL : PG_GETARG_BYTEA_PP(0);
	state.hash = pg_cryptohash_create(PG_SHA256);
	problem = verify_all(&state, &lines, &postings, &broken_line);
	values[0] = BoolGetDatum(problem == NULL);
	values[1] = Int64GetDatum(lines);
	values[2] = Int64GetDatum(postings);
	values[3] = Int64GetDatum(broken_line);
	nulls[3] = broken_line == 0;
	if (problem)
		values[4] = CStringGetTextDatum(problem);
	nulls[4] = problem == NULL;
	if (postings > 0)
		values[5] = hash_datum(state.before);
	nulls[5] = postings == 0;
	pg_cryptohash_free(state.hash);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* Trigger of the ledger's tables: nothing is ever updated, deleted or truncated, by whomever. */
Datum
salesops_refuse_ledger_change(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		elog(ERROR, "salesops.refuse_ledger_change() is a trigger function");
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("\"%s\" is append-only: it can not be updated, deleted from or truncated",
					RelationGetRelationName(trigger->tg_relation)),
			 errhint("Correct the credits and call salesops.calculate_commissions(period): it appends what corrects them.")));
	PG_RETURN_POINTER(NULL);
}
