/*
 * cache_pg.c
 *		Matchers compiled for look-ups and kept in the session: definition, SQL of its columns, model. What finds many records at
 *		once loads its matcher anew; what runs once a row written takes it from here.
 *
 * An entry is good for one version of the matcher's row (table, xmin, ctid), which each look-up asks for, and until a relation, a
 * function or a schema changes in a way that its SQL could tell. An entry that is bad is replaced; what it held stays to the end
 * of the transaction, for look-ups further up that still read it.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "storage/itemptr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "core/compat.h"
#include "core/errors.h"
#include "core/relation.h"
#include "match/matcher_pg.h"

/* One state of a matcher's row */
typedef struct RowVersion
{
	Oid			table;
	TransactionId xmin;
	ItemPointerData place;
} RowVersion;

typedef struct CacheEntry
{
	uint64		hash;			/* of the name: the key; the name decides */
	bool		stale;
	RowVersion	version;
	MemoryContext context;
	MatcherCompiled *compiled;	/* NULL where the entry is new */
} CacheEntry;

static HTAB *cache = NULL;

/* ---- invalidation ---- */

/* Relation InvalidOid is all of them. */
static void
relation_changed(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS scan;
	CacheEntry *entry;

	(void) arg;
	hash_seq_init(&scan, cache);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		if (entry->compiled == NULL || !OidIsValid(relid) || entry->compiled->matcher->relid == relid ||
			entry->compiled->matcher->right_relid == relid)
			entry->stale = true;
	}
}

/* A function, type or schema changed: the SQL may read otherwise. */
static void
names_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	(void) cacheid;
	(void) hashvalue;
	relation_changed(arg, InvalidOid);
}

/* The table of entries, made at the first use. */
static void
start_cache(void)
{
	HASHCTL		control = {.keysize = sizeof(uint64), .entrysize = sizeof(CacheEntry), .hcxt = TopMemoryContext};

	if (cache != NULL)
		return;
	cache = hash_create("salesops matchers", 16, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(PROCOID, names_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(TYPEOID, names_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, names_changed, (Datum) 0);
}

/* ---- entries ---- */

/*
 * Whether one of salesops's tables, whose primary key begins with the matcher's name, has a row of that name; which version of it. By
 * the index and without SQL: look-ups ask this once a row written.
 */
static bool
find_row(const char *table, const char *name, Snapshot snapshot, RowVersion *version)
{
	Oid			schema = get_namespace_oid("salesops", false);
	Relation	relation = table_open(get_relname_relid(table, schema), AccessShareLock);
	Oid			collation = TupleDescAttr(RelationGetDescr(relation), 0)->attcollation;
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	tuple;

	ScanKeyEntryInitialize(&key, 0, 1, BTEqualStrategyNumber, InvalidOid, collation, F_TEXTEQ, CStringGetTextDatum(name));
	scan = systable_beginscan(relation, primary_key_index(relation), true, snapshot, 1, &key);
	tuple = systable_getnext(scan);
	if (tuple != NULL && version != NULL)
	{
		version->table = RelationGetRelid(relation);
		version->xmin = HeapTupleHeaderGetXmin(tuple->t_data);
		version->place = tuple->t_self;
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return tuple != NULL;
}

/* The present version of a matcher's row and whether people have decided anything; false where there is no such matcher. */
static bool
read_version(const char *name, RowVersion *version, bool *decisions)
{
	Snapshot	snapshot;
	bool		found;

	memset(version, 0, sizeof(*version));
	/* as a statement would see it that begins now */
	CommandCounterIncrement();
	snapshot = RegisterSnapshot(GetTransactionSnapshot());
	found = find_row("matcher", name, snapshot, version);
	*decisions = found && find_row("match_decision", name, snapshot, NULL);
	UnregisterSnapshot(snapshot);
	return found;
}

/* The same state of the same row. */
static bool
same_version(const RowVersion *a, const RowVersion *b)
{
	return a->table == b->table && a->xmin == b->xmin && ItemPointerEquals((ItemPointer) &a->place, (ItemPointer) &b->place);
}

/* SQL that gives a candidate's values, rule keys and key, over what has its columns. */
static char *
candidate_query(const MatcherCompiled *compiled, const char *from)
{
	const Matcher *matcher = compiled->matcher;
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT %s::pg_catalog.text", quote_identifier(matcher->key));
	for (int c = 0; c < matcher->ncolumns; c++)
		appendStringInfo(&sql, ", %s", matcher->column_sql[0][c]);
	for (int k = 0; k < compiled->nrules; k++)
		appendStringInfo(&sql, ", %s", matcher_rule_over(matcher->column_sql[0], &matcher->rule[compiled->rule[k]]));
	appendStringInfo(&sql, " FROM %s", from);
	return sql.data;
}

/*
 * The state of the relation's row type, as a number. What a row parameter's or a function's columns are is fixed when a statement is
 * prepared, and the server does not look again when the type changes; so the statements name the state.
 */
static uint64
row_type_state(const Matcher *matcher, Oid *type)
{
	Relation	relation = table_open(matcher->relid, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(relation);
	uint64		state = 0;

	*type = relation->rd_rel->reltype;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i);

		state = match_hash(NameStr(column->attname), strlen(NameStr(column->attname))) + column->atttypid + column->attisdropped +
			state * UINT64CONST(0x9E3779B97F4A7C15);
	}
	table_close(relation, AccessShareLock);
	return state;
}

/* Everything that look-ups of a matcher have in common, in the current memory context. */
static MatcherCompiled *
compile(const char *name)
{
	MatcherCompiled *compiled = palloc0(sizeof(MatcherCompiled));
	Matcher    *matcher = matcher_load(name);
	unsigned long long state;

	compiled->matcher = matcher;
	(void) relation_require_column(matcher->relid, matcher->key);
	matcher->column_sql[0] = matcher_column_sql(matcher, matcher->relid);
	if (OidIsValid(matcher->right_relid))
	{
		(void) relation_require_column(matcher->right_relid, matcher->right_key);
		matcher->column_sql[1] = matcher_column_sql(matcher, matcher->right_relid);
	}
	compiled->nrules = matcher_lookup_rules(matcher, compiled->rule);
	state = (unsigned long long) row_type_state(matcher, &compiled->own_type);
	compiled->candidate_sql = candidate_query(compiled, psprintf("pg_catalog.jsonb_populate_record(NULL::%s, $1) /* %016llx */",
																 relation_sql_name(matcher->relid), state));
	compiled->own_sql = candidate_query(compiled, psprintf("(SELECT ($1).*) AS candidate /* %016llx */", state));
	if (matcher->model != NULL)
	{
		matcher_model_tables(matcher, &compiled->model);
		pfree(matcher->model);
		matcher->model = NULL;
		compiled->trained = true;
	}
	return compiled;
}

/* The name's entry, compiled for this version of the row. */
static CacheEntry *
refresh_entry(const char *name, const RowVersion *version)
{
	uint64		hash = match_hash(name, strlen(name));
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context;
	CacheEntry *entry;
	MatcherCompiled *compiled;
	bool		found;

	start_cache();
	entry = hash_search(cache, &hash, HASH_FIND, NULL);
	if (entry != NULL && !entry->stale && same_version(&entry->version, version) && strcmp(entry->compiled->matcher->name, name) == 0)
		return entry;
	/* compiling may fail: it happens below the caller's context, and the entry changes only afterwards */
	context = AllocSetContextCreate(caller, "salesops compiled matcher", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	/* what changes from here on makes the entry stale */
	entry = hash_search(cache, &hash, HASH_ENTER, &found);
	if (!found)
	{
		entry->compiled = NULL;
		entry->context = NULL;
	}
	entry->stale = false;
	memset(&entry->version, 0, sizeof(entry->version));
	compiled = compile(name);
	MemoryContextSwitchTo(caller);
	entry = hash_search(cache, &hash, HASH_FIND, NULL);
	if (entry->context != NULL)
		MemoryContextSetParent(entry->context, TopTransactionContext);
	MemoryContextSetParent(context, TopMemoryContext);
	entry->context = context;
	entry->compiled = compiled;
	entry->version = *version;
	return entry;
}

const MatcherCompiled *
matcher_compiled(const char *name, bool missing_ok, bool *decisions)
{
	RowVersion	version;
	const MatcherCompiled *compiled;

	*decisions = false;
	if (!read_version(name, &version, decisions))
	{
		if (!missing_ok)
			(void) matcher_load(name);	/* the error */
		return NULL;
	}
	compiled = refresh_entry(name, &version)->compiled;
	matcher_require_relations(compiled->matcher);
	return compiled;
}

const MatcherLanes *
matcher_compiled_lanes(const MatcherCompiled *compiled)
{
	MatcherCompiled *entry = unconstify(MatcherCompiled *, compiled);

	if (entry->lanes == NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(GetMemoryChunkContext(entry));

		entry->lanes = matcher_lanes(entry->matcher);
		MemoryContextSwitchTo(caller);
	}
	return entry->lanes;
}
