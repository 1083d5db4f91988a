/*
 * own.c
 *		Scans of salesops's own tables (own.h), by the interface that the server reads its catalogs with, and bulk writes to them.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "core/compat.h"
#include "core/own.h"

/* OID of a table or index of salesops; an error where it is gone */
static Oid
own_oid(const char *name)
{
	Oid			relid = get_relname_relid(name, get_namespace_oid("salesops", false));

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"salesops.%s\" does not exist", name),
				 errhint("DROP EXTENSION salesops; CREATE EXTENSION salesops;")));
	return relid;
}

/* Keys as the access methods take them, each with its column's collation */
static void
make_keys(Relation table, int nkeys, const OwnKey *keys, ScanKeyData *result)
{
	Assert(nkeys <= OWN_MAX_KEYS);
	for (int i = 0; i < nkeys; i++)
	{
		Form_pg_attribute column = TupleDescAttr(RelationGetDescr(table), keys[i].column - 1);

		ScanKeyEntryInitialize(&result[i], 0, keys[i].column, keys[i].strategy, InvalidOid, column->attcollation,
							   keys[i].function, keys[i].value);
	}
}

/* Hand a row to the callback */
static void
hand_over(Relation table, HeapTuple tuple, OwnRow callback, void *arg)
{
	Datum		values[MaxHeapAttributeNumber];
	bool		nulls[MaxHeapAttributeNumber];

	heap_deform_tuple(tuple, RelationGetDescr(table), values, nulls);
	callback(values, nulls, arg);
	CHECK_FOR_INTERRUPTS();
}

/* All rows in the order of an index */
static void
scan_ordered(Relation table, const char *index, int nkeys, ScanKeyData *keys, OwnRow callback, void *arg)
{
	Relation	order = index_open(own_oid(index), AccessShareLock);
	SysScanDesc scan = systable_beginscan_ordered(table, order, GetActiveSnapshot(), nkeys, keys);
	HeapTuple	tuple;

	while ((tuple = systable_getnext_ordered(scan, ForwardScanDirection)) != NULL)
		hand_over(table, tuple, callback, arg);
	systable_endscan_ordered(scan);
	index_close(order, NoLock);
}

/* All rows in no order */
static void
scan_unordered(Relation table, const char *index, int nkeys, ScanKeyData *keys, OwnRow callback, void *arg)
{
	SysScanDesc scan = systable_beginscan(table, index ? own_oid(index) : InvalidOid, index != NULL, GetActiveSnapshot(), nkeys, keys);
	HeapTuple	tuple;

	while ((tuple = systable_getnext(scan)) != NULL)
		hand_over(table, tuple, callback, arg);
	systable_endscan(scan);
}

/* Rows that meet all keys; see own.h. */
void
own_scan(const char *table, const char *index, bool ordered, int nkeys, const OwnKey *keys, OwnRow callback, void *arg)
{
	Relation	relation = table_open(own_oid(table), AccessShareLock);
	ScanKeyData scan_keys[OWN_MAX_KEYS];

	make_keys(relation, nkeys, keys, scan_keys);
	if (ordered)
		scan_ordered(relation, index, nkeys, scan_keys, callback, arg);
	else
		scan_unordered(relation, index, nkeys, scan_keys, callback, arg);
	table_close(relation, NoLock);
}

/* The last row in the order of an index; see own.h. */
bool
own_last(const char *table, const char *index, OwnRow callback, void *arg)
{
	Relation	relation = table_open(own_oid(table), AccessShareLock);
	Relation	order = index_open(own_oid(index), AccessShareLock);
	SysScanDesc scan = systable_beginscan_ordered(relation, order, GetActiveSnapshot(), 0, NULL);
	HeapTuple	tuple = systable_getnext_ordered(scan, BackwardScanDirection);
	bool		found = tuple != NULL;

	if (found)
		hand_over(relation, tuple, callback, arg);
	systable_endscan_ordered(scan);
	index_close(order, NoLock);
	table_close(relation, NoLock);
	return found;
}

/* ---- writing ---- */

struct OwnWriter
{
	Relation	relation;
	EState	   *estate;
	ResultRelInfo *info;
	BulkInsertState bulk;		/* NULL where one row is to come */
	MemoryContext context;		/* of the writer and its slots */
	MemoryContext batch;		/* copies of the values that are not written yet */
	int			count;
	TupleTableSlot *slots[FLEXIBLE_ARRAY_MEMBER];	/* OWN_BATCH, or one */
};

/* Open a table with its indexes; see own.h. */
OwnWriter *
own_writer_open(const char *table, bool several)
{
	OwnWriter  *writer = palloc0(offsetof(OwnWriter, slots) + sizeof(TupleTableSlot *) * (several ? OWN_BATCH : 1));

	writer->relation = table_open(own_oid(table), RowExclusiveLock);
	writer->estate = CreateExecutorState();
	writer->info = makeNode(ResultRelInfo);
	InitResultRelInfo(writer->info, writer->relation, 1, NULL, 0);
	ExecOpenIndices(writer->info, false);
	writer->context = CurrentMemoryContext;
	if (!several)
		return writer;
	writer->bulk = GetBulkInsertState();
	writer->batch = AllocSetContextCreate(CurrentMemoryContext, "salesops rows to write", ALLOCSET_DEFAULT_SIZES);
	return writer;
}

/* The next row's slot, emptied; see own.h. */
TupleTableSlot *
own_writer_next(OwnWriter *writer)
{
	TupleTableSlot **slot = &writer->slots[writer->count];

	if (*slot == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(writer->context);

		*slot = MakeSingleTupleTableSlot(RelationGetDescr(writer->relation), writer->bulk ? &TTSOpsVirtual
										 : table_slot_callbacks(writer->relation));
		MemoryContextSwitchTo(old);
	}
	return ExecClearTuple(*slot);
}

/* Write what has gathered. */
static void
flush_rows(OwnWriter *writer)
{
	if (writer->count == 0)
		return;
	table_multi_insert(writer->relation, writer->slots, writer->count, GetCurrentCommandId(true), 0, writer->bulk);
	for (int i = 0; i < writer->count; i++)
	{
		compat_insert_index_tuples(writer->info, writer->slots[i], writer->estate);
		ResetPerTupleExprContext(writer->estate);
	}
	writer->count = 0;
	MemoryContextReset(writer->batch);
	CHECK_FOR_INTERRUPTS();
}

/* Where the values of rows to come are made; see own.h. */
MemoryContext
own_writer_memory(const OwnWriter *writer)
{
	return writer->batch;
}

/* The slot is filled; see own.h. */
void
own_writer_add(OwnWriter *writer)
{
	ExecStoreVirtualTuple(writer->slots[writer->count]);
	if (++writer->count == OWN_BATCH)
		flush_rows(writer);
}

/* One row; see own.h. */
ItemPointerData
own_writer_put(OwnWriter *writer, const Datum *values, const bool *nulls)
{
	TupleTableSlot *slot = own_writer_next(writer);
	TupleDesc	desc = RelationGetDescr(writer->relation);
	MemoryContext old = writer->bulk ? MemoryContextSwitchTo(writer->batch) : CurrentMemoryContext;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i);

		slot->tts_isnull[i] = nulls[i];
		slot->tts_values[i] = nulls[i] || writer->bulk == NULL ? values[i] : datumCopy(values[i], column->attbyval, column->attlen);
	}
	MemoryContextSwitchTo(old);
	if (writer->bulk)
	{
		own_writer_add(writer);
		return slot->tts_tid;
	}
	ExecStoreVirtualTuple(slot);
	table_tuple_insert(writer->relation, slot, GetCurrentCommandId(true), 0, NULL);
	compat_insert_index_tuples(writer->info, slot, writer->estate);
	return slot->tts_tid;
}

/* Take a row back; see own.h. */
void
own_writer_remove(OwnWriter *writer, ItemPointerData place)
{
	simple_table_tuple_delete(writer->relation, &place, GetActiveSnapshot());
}

/* Write the rest and let go; see own.h. */
void
own_writer_close(OwnWriter *writer)
{
	if (writer->bulk)
	{
		flush_rows(writer);
		FreeBulkInsertState(writer->bulk);
		MemoryContextDelete(writer->batch);
	}
	for (int i = 0; i < (writer->bulk ? OWN_BATCH : 1); i++)
		if (writer->slots[i])
			ExecDropSingleTupleTableSlot(writer->slots[i]);
	ExecCloseIndices(writer->info);
	FreeExecutorState(writer->estate);
	table_close(writer->relation, NoLock);
	pfree(writer);
}
