/*
 * spi.c
 *		The one place that runs SQL from C (spi.h says who may run what, as whom).
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "optimizer/clauses.h"
#include "parser/analyze.h"
#include "utils/plancache.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "core/compat.h"
#include "core/spi.h"

/* The role that owns the extension: the one that salesops's own tables belong to. */
Oid
extension_owner(void)
{
	Oid			owner = InvalidOid;
	Relation	catalog = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ, CStringGetDatum("salesops"));
	scan = systable_beginscan(catalog, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		owner = ((Form_pg_extension) GETSTRUCT(tuple))->extowner;
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	if (!OidIsValid(owner))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"salesops\" is not installed in this database"),
				 errhint("CREATE EXTENSION salesops;")));
	return owner;
}

#define PINNED_PATH "pg_catalog, pg_temp"

/* Names resolve in pg_catalog only until search_path_unpin or the end of the transaction; 0 where they do already. */
int
search_path_pin(void)
{
	int			nest;

	if (strcmp(namespace_search_path, PINNED_PATH) == 0)
		return 0;
	nest = NewGUCNestLevel();
	(void) set_config_option("search_path", PINNED_PATH, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	return nest;
}

/* The caller's search_path again. */
void
search_path_unpin(int nest)
{
	if (nest > 0)
		AtEOXact_GUC(true, nest);
}

/* Connect; pin search_path and become the extension's owner where asked. */
void
spi_open(SpiScope *scope, SpiRole role)
{
	scope->role = role;
	GetUserIdAndSecContext(&scope->save_user, &scope->save_security);
	if (role != SPI_AS_CALLER)
		scope->save_guc_nest = search_path_pin();
	if (role == SPI_AS_OWNER)
		SetUserIdAndSecContext(extension_owner(), scope->save_security | SECURITY_LOCAL_USERID_CHANGE);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
}

/* Disconnect and become the caller again. */
void
spi_close(SpiScope *scope)
{
	SPI_finish();
	if (scope->role == SPI_AS_OWNER)
		SetUserIdAndSecContext(scope->save_user, scope->save_security);
	if (scope->role != SPI_AS_CALLER)
		search_path_unpin(scope->save_guc_nest);
}

/* text argument; NULL pointer is SQL NULL */
SpiArg
spi_text(const char *value)
{
	return spi_datum(TEXTOID, value ? CStringGetTextDatum(value) : (Datum) 0, value == NULL);
}

/* name argument */
SpiArg
spi_name(const char *value)
{
	NameData   *name;

	if (value == NULL)
		return spi_datum(NAMEOID, (Datum) 0, true);
	name = palloc0(sizeof(NameData));
	namestrcpy(name, value);
	return spi_datum(NAMEOID, NameGetDatum(name), false);
}

/* regclass argument; InvalidOid is SQL NULL */
SpiArg
spi_oid(Oid value)
{
	return spi_datum(REGCLASSOID, ObjectIdGetDatum(value), !OidIsValid(value));
}

/* boolean argument */
SpiArg
spi_bool(bool value)
{
	return spi_datum(BOOLOID, BoolGetDatum(value), false);
}

/* integer argument */
SpiArg
spi_int4(int32 value)
{
	return spi_datum(INT4OID, Int32GetDatum(value), false);
}

/* bigint argument */
SpiArg
spi_int8(int64 value)
{
	return spi_datum(INT8OID, Int64GetDatum(value), false);
}

/* float8 argument */
SpiArg
spi_float8(double value)
{
	return spi_datum(FLOAT8OID, Float8GetDatum(value), false);
}

/* timestamptz argument */
SpiArg
spi_timestamptz(TimestampTz value)
{
	return spi_datum(TIMESTAMPTZOID, TimestampTzGetDatum(value), false);
}

/* jsonb argument; NULL pointer is SQL NULL */
SpiArg
spi_jsonb(Jsonb *value)
{
	return spi_datum(JSONBOID, value ? JsonbPGetDatum(value) : (Datum) 0, value == NULL);
}

/* an argument of any type */
SpiArg
spi_datum(Oid type, Datum value, bool isnull)
{
	SpiArg		arg = {type, value, isnull};

	return arg;
}

/* One more element: of a type passed by reference, what it points to must last until spi_array. */
static void
add_element(SpiArray *array, Datum value, bool isnull)
{
	if (array->count == array->room)
	{
		int			room = Max(array->room * 2, 8);

		array->values = array->room == 0 ? palloc(sizeof(Datum) * room) : repalloc_huge(array->values, sizeof(Datum) * room);
		array->nulls = array->room == 0 ? palloc(sizeof(bool) * room) : repalloc_huge(array->nulls, sizeof(bool) * room);
		array->room = room;
	}
	array->nulls[array->count] = isnull;
	array->values[array->count++] = value;
}

void
spi_array_add(SpiArray *array, Datum value)
{
	add_element(array, value, false);
}

void
spi_array_add_text(SpiArray *array, const char *value)
{
	add_element(array, value ? CStringGetTextDatum(value) : (Datum) 0, value == NULL);
}

/* an array argument, by the element's own length and alignment */
SpiArg
spi_array(const SpiArray *array)
{
	int			bounds[1] = {1};
	int			count[1] = {array->count};
	int16		length;
	bool		by_value;
	char		align;

	get_typlenbyvalalign(array->element, &length, &by_value, &align);
	return spi_datum(get_array_type(array->element),
					 PointerGetDatum(construct_md_array(array->values, array->nulls, 1, count, bounds, array->element, length, by_value,
														align)), false);
}

/* a text[] argument of a list of strings, empty for NIL */
SpiArg
spi_text_list(const List *strings)
{
	SpiArray	array = {TEXTOID};
	ListCell   *cell;

	foreach(cell, strings)
		spi_array_add_text(&array, lfirst(cell));
	return spi_array(&array);
}

/* Arguments as the parameter list that both kinds of execution take. */
static ParamListInfo
make_params(int nargs, const SpiArg *args)
{
	ParamListInfo params;

	if (nargs == 0)
		return NULL;
	params = makeParamList(nargs);
	for (int i = 0; i < nargs; i++)
	{
		params->params[i].value = args[i].value;
		params->params[i].isnull = args[i].isnull;
		params->params[i].pflags = PARAM_FLAG_CONST;
		params->params[i].ptype = args[i].type;
	}
	return params;
}

/* A plan that the session keeps, by its text and the types of its arguments. */
typedef struct KeptPlan
{
	uint64		hash;			/* of text and types: the key; the text decides */
	char	   *sql;
	SPIPlanPtr	plan;
} KeptPlan;

static HTAB *kept_plans = NULL;

/* Hash of a statement's text and its arguments' types. */
static uint64
statement_hash(const char *sql, int nargs, const SpiArg *args)
{
	uint64		hash = hash_bytes_extended((const unsigned char *) sql, (int) strlen(sql), 0);

	for (int i = 0; i < nargs; i++)
		hash = hash_combine64(hash, args[i].type);
	return hash;
}

/* Prepare a statement for as long as the session lasts. */
static SPIPlanPtr
prepare_kept(const char *sql, int nargs, const SpiArg *args)
{
	Oid		   *types = palloc(sizeof(Oid) * Max(nargs, 1));
	SPIPlanPtr	plan;

	for (int i = 0; i < nargs; i++)
		types[i] = args[i].type;
	plan = SPI_prepare(sql, nargs, types);
	if (plan == NULL || SPI_keepplan(plan) != 0)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	return plan;
}

/* The kept plan of a statement, made at its first use; NULL where there is no room for another. */
static SPIPlanPtr
kept_plan(const char *sql, int nargs, const SpiArg *args)
{
	uint64		hash = statement_hash(sql, nargs, args);
	KeptPlan   *entry;
	SPIPlanPtr	plan;

	if (kept_plans == NULL)
	{
		HASHCTL		control = {.keysize = sizeof(uint64), .entrysize = sizeof(KeptPlan)};

		kept_plans = hash_create("salesops kept plans", 32, &control, HASH_ELEM | HASH_BLOBS);
	}
	entry = hash_search(kept_plans, &hash, HASH_FIND, NULL);
	if (entry != NULL)
		return strcmp(entry->sql, sql) == 0 ? entry->plan : NULL;
	if (hash_get_num_entries(kept_plans) >= SPI_KEPT_PLANS)
		return NULL;
	/* preparing may fail: the entry is made only afterwards */
	plan = prepare_kept(sql, nargs, args);
	entry = hash_search(kept_plans, &hash, HASH_ENTER, NULL);
	entry->sql = MemoryContextStrdup(TopMemoryContext, sql);
	entry->plan = plan;
	return plan;
}

/* Run a statement, by a kept plan where there is one. */
static int
run_statement(const char *sql, SPIPlanPtr plan, SPIExecuteOptions *options)
{
	return plan != NULL ? SPI_execute_plan_extended(plan, options) : SPI_execute_extended(sql, options);
}

/* Run one statement with arguments. */
static uint64
execute(int expected, const char *sql, SPIPlanPtr plan, int nargs, const SpiArg *args)
{
	SPIExecuteOptions options = {0};
	int			code;

	options.params = make_params(nargs, args);
	options.read_only = false;
	code = run_statement(sql, plan, &options);
	if (code != expected)
		elog(ERROR, "unexpected SPI result %s for: %s", SPI_result_code_string(code), sql);
	return SPI_processed;
}

/* Run one statement with arguments; see spi.h. */
uint64
spi_execute(int expected, const char *sql, int nargs, const SpiArg *args)
{
	return execute(expected, sql, NULL, nargs, args);
}

/* The same with a kept plan; see spi.h. */
uint64
spi_execute_kept(int expected, const char *sql, int nargs, const SpiArg *args)
{
	return execute(expected, sql, kept_plan(sql, nargs, args), nargs, args);
}

/* A DestReceiver that hands each slot to a callback. */
typedef struct CallbackReceiver
{
	DestReceiver pub;
	SpiRowCallback callback;
	void	   *arg;
	bool		unread;			/* the callback reads the slot itself */
	MemoryContext context;
} CallbackReceiver;

/* Nothing to prepare: the callback looks at the slot's descriptor. */
static void
receiver_startup(DestReceiver *self, int operation, TupleDesc desc)
{
	(void) self;
	(void) operation;
	(void) desc;
}

/* Nothing to end. */
static void
receiver_finish(DestReceiver *self)
{
	(void) self;
}

#define CACHE_LINE_BYTES 64

/*
 * A page's tuples lie from its end downwards, in the order they came: the next rows of a scan are most likely just below this one.
 * Waiting for them costs a third of a scan's time; asking for an address that is no row's does no harm. A macro, since the compiler takes
 * a function (or a loop) that only asks for one without effect, and leaves it out.
 */
#ifdef __GNUC__
#define fetch_lines(at) \
	(__builtin_prefetch(at), __builtin_prefetch((at) + CACHE_LINE_BYTES), __builtin_prefetch((at) + 2 * CACHE_LINE_BYTES), \
	 __builtin_prefetch((at) + 3 * CACHE_LINE_BYTES), __builtin_prefetch((at) + 4 * CACHE_LINE_BYTES), \
	 __builtin_prefetch((at) + 5 * CACHE_LINE_BYTES))
#else
#define fetch_lines(at) ((void) (at))
#endif

/* One row, in the memory context that was current at spi_stream. */
static bool
receiver_receive(TupleTableSlot *slot, DestReceiver *self)
{
	CallbackReceiver *receiver = (CallbackReceiver *) self;
	MemoryContext old = MemoryContextSwitchTo(receiver->context);

	if (TTS_IS_BUFFERTUPLE(slot) && ((HeapTupleTableSlot *) slot)->tuple != NULL)
	{
		HeapTuple	tuple = ((HeapTupleTableSlot *) slot)->tuple;
		const char *below = (const char *) tuple->t_data - 2 * MAXALIGN(tuple->t_len);

		fetch_lines(below);
	}
	if (!receiver->unread)
		slot_getallattrs(slot);
	receiver->callback(slot, receiver->arg);
	MemoryContextSwitchTo(old);
	return true;
}

/* Run a query row by row into a callback. */
static uint64
stream(const char *sql, SPIPlanPtr plan, int nargs, const SpiArg *args, bool read_only, bool unread, SpiRowCallback callback, void *arg)
{
	SPIExecuteOptions options = {0};
	CallbackReceiver receiver = {{0}};
	int			code;

	receiver.pub.receiveSlot = receiver_receive;
	receiver.pub.rStartup = receiver_startup;
	receiver.pub.rShutdown = receiver_finish;
	receiver.pub.rDestroy = receiver_finish;
	receiver.pub.mydest = DestNone;
	receiver.callback = callback;
	receiver.arg = arg;
	receiver.unread = unread;
	receiver.context = CurrentMemoryContext;

	options.params = make_params(nargs, args);
	options.read_only = read_only;
	options.must_return_tuples = true;
	options.dest = (DestReceiver *) &receiver;
	code = run_statement(sql, plan, &options);
	if (code < 0)
		elog(ERROR, "unexpected SPI result %s for: %s", SPI_result_code_string(code), sql);
	/* SPI leaves the procedure's context current; the caller's results are in the one it came with */
	MemoryContextSwitchTo(receiver.context);
	return SPI_processed;
}

/* Run a query row by row into a callback; see spi.h. */
uint64
spi_stream(const char *sql, int nargs, const SpiArg *args, bool read_only, SpiRowCallback callback, void *arg)
{
	return stream(sql, NULL, nargs, args, read_only, false, callback, arg);
}

/* The same, the slots unread; see spi.h. */
uint64
spi_stream_unread(const char *sql, bool read_only, SpiRowCallback callback, void *arg)
{
	return stream(sql, NULL, 0, NULL, read_only, true, callback, arg);
}

/* In a scope of its own; see spi.h. */
uint64
spi_stream_as_owner(const char *sql, int nargs, const SpiArg *args, bool read_only, SpiRowCallback callback, void *arg)
{
	MemoryContext caller = CurrentMemoryContext;
	SpiScope	scope;
	uint64		rows;

	spi_open(&scope, SPI_AS_OWNER);
	MemoryContextSwitchTo(caller);
	rows = spi_stream(sql, nargs, args, read_only, callback, arg);
	spi_close(&scope);
	MemoryContextSwitchTo(caller);
	return rows;
}

/* The same with a kept plan; see spi.h. */
uint64
spi_stream_kept(const char *sql, int nargs, const SpiArg *args, bool read_only, SpiRowCallback callback, void *arg)
{
	/* preparing allocates in the context that SPI leaves current; the callback's is the caller's */
	MemoryContext caller = CurrentMemoryContext;
	SPIPlanPtr	plan = kept_plan(sql, nargs, args);

	MemoryContextSwitchTo(caller);
	return stream(sql, plan, nargs, args, read_only, false, callback, arg);
}

/* Error where the query would write, of itself or in a WITH: it is run read-only, whose error speaks of other things. */
static void
check_only_reads(const CachedPlanSource *source)
{
	ListCell   *cell;

	foreach(cell, source->query_list)
	{
		const Query *query = lfirst_node(Query, cell);

		if (source->resultDesc != NULL && query->commandType != CMD_UTILITY &&
			(query->commandType != CMD_SELECT || query->hasModifyingCTE || query->rowMarks != NIL))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("the query must only read"),
					 errdetail("It %s.", query->rowMarks != NIL ? "locks rows" : "changes rows"),
					 errhint("Give a SELECT without INSERT, UPDATE, DELETE or FOR UPDATE in it.")));
	}
}

/* Rewritten, so that what views and policies call counts too; see spi.h. */
bool
spi_is_parallel_safe(const char *sql)
{
	SPIPlanPtr	plan = SPI_prepare(sql, 0, NULL);
	ListCell   *source;
	ListCell   *query;
	bool		safe = true;

	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	foreach(source, SPI_plan_get_plan_sources(plan))
	{
		foreach(query, ((CachedPlanSource *) lfirst(source))->query_list)
			safe = safe && max_parallel_hazard(lfirst_node(Query, query)) != PROPARALLEL_UNSAFE;
	}
	SPI_freeplan(plan);
	return safe;
}

/* The tuple descriptor of a query's result: parse and analyse only. */
TupleDesc
spi_describe(const char *sql)
{
	SPIPlanPtr	plan = SPI_prepare(sql, 0, NULL);
	List	   *sources;
	CachedPlanSource *source;
	TupleDesc	desc;

	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	sources = SPI_plan_get_plan_sources(plan);
	if (list_length(sources) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("the query is empty"),
				 errhint("Give a SELECT.")));
	if (list_length(sources) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("the query must be one statement, not %d", list_length(sources))));
	source = (CachedPlanSource *) linitial(sources);
	check_only_reads(source);
	if (source->resultDesc == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("the query must return rows"),
				 errhint("Give a SELECT.")));
	desc = CreateTupleDescCopy(source->resultDesc);
	SPI_freeplan(plan);
	return desc;
}

/* The value of the last spi_execute as text in the current memory context. */
char *
spi_get_text(uint64 row, int column)
{
	/* SPI_getvalue allocates in the current context, which is the procedure's own */
	return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column);
}

/* The raw value; not copied. */
Datum
spi_get_datum(uint64 row, int column, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, isnull);
}

/* A bigint that cannot be NULL. */
int64
spi_get_int8(uint64 row, int column)
{
	bool		isnull;
	Datum		value = spi_get_datum(row, column, &isnull);

	if (isnull)
		elog(ERROR, "unexpected NULL in column %d", column);
	return DatumGetInt64(value);
}

/* An oid, InvalidOid where NULL. */
Oid
spi_get_oid(uint64 row, int column)
{
	bool		isnull;
	Datum		value = spi_get_datum(row, column, &isnull);

	return isnull ? InvalidOid : DatumGetObjectId(value);
}

/* A boolean, false where NULL. */
bool
spi_get_bool(uint64 row, int column)
{
	bool		isnull;
	Datum		value = spi_get_datum(row, column, &isnull);

	return !isnull && DatumGetBool(value);
}

/* A float8. */
double
spi_get_float8(uint64 row, int column, bool *isnull)
{
	Datum		value = spi_get_datum(row, column, isnull);

	return *isnull ? 0.0 : DatumGetFloat8(value);
}
