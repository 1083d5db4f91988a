/*
 * own.c
 *		Scans of salesops's own tables (own.h), by the interface that the server reads its catalogs with.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

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
