/*
 * unchanged_pg.c
 *		Whether the credits of closed periods are as they were when a calculation last looked at all of them.
 *
 * Each calculation owes true-ups for later changes to the periods closed in the year before. Reading all their credits again
 * would make each month of a year dearer than the one before. Where the credits come from an ordinary table, one look at its
 * rows' transaction numbers tells that none was added or updated, and their count that none is gone: then closed periods are
 * left alone. salesops.commission_checked holds what is compared: up to when rows had been seen (the snapshot's xmin), how
 * many there were, and what else accounts are made from (plans, assignments, exchange rates, what is attached), as a hash.
 *
 * In doubt all is read: credits from a view, a partitioned or foreign table, a date that is not of type date, expressions that
 * are not immutable, overrides (managers change without a credit), a restored database (the table is not dumped: transaction
 * numbers of another cluster mean nothing).
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "commission/credits_pg.h"
#include "core/own.h"
#include "core/relation.h"
#include "core/spi.h"

#define MAX_XID_AGE (1 << 30)	/* older numbers are not compared */

/* A hash of one of our tables, whatever the order of its rows */
typedef struct TermsHash
{
	uint64		sum;
	const char *table;
} TermsHash;

/* A varlena's content as 64 bits */
static uint64
hash_varlena(Datum value)
{
	struct varlena *bytes = PG_DETOAST_DATUM_PACKED(value);

	return hash_bytes_extended((unsigned char *) VARDATA_ANY(bytes), (int) VARSIZE_ANY_EXHDR(bytes), 0);
}

/* One row of a table of ours into the sum: its first columns, text, range, numeric or jsonb where not of fixed size */
static void
hash_row(const Datum *values, const bool *nulls, void *arg)
{
	TermsHash  *terms = arg;
	static const char *const kinds[][2] = {
		{"commission_plan", "vffv"}, {"commission_assignment", "fvvvv"}, {"exchange_rate", "vvfv"}
	};
	uint64		hash = 0;

	for (size_t i = 0; i < lengthof(kinds); i++)
		if (strcmp(kinds[i][0], terms->table) == 0)
			for (int column = 0; kinds[i][1][column]; column++)
				hash = credits_mix(hash, nulls[column] ? 1 : kinds[i][1][column] == 'v' ? hash_varlena(values[column]) :
								   (uint64) values[column]);
	terms->sum += hash;
}

/* What accounts are made from apart from credits, and what the credits are read through */
static int64
terms_hash(void)
{
	static const char *const tables[] = {"commission_plan", "commission_assignment", "exchange_rate"};
	uint64		hash = contract_relation("commission_credit");
	Oid			function = DatumGetObjectId(DirectFunctionCall1(regprocedurein, CStringGetDatum("salesops.commission_credit_rows()")));
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	bool		isnull;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "function salesops.commission_credit_rows() is gone");
	hash = credits_mix(hash, hash_varlena(SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosrc, &isnull)));
	ReleaseSysCache(tuple);
	for (size_t i = 0; i < lengthof(tables); i++)
	{
		TermsHash	terms = {0, tables[i]};

		own_scan(tables[i], NULL, false, 0, NULL, hash_row, &terms);
		hash = credits_mix(hash, terms.sum);
	}
	return (int64) hash;
}

/* Whether rows of the relation carry the numbers of the transactions that wrote them, and say their date as a date */
static bool
can_compare(Oid relid, const char *date_column)
{
	HeapTuple	tuple = OidIsValid(relid) && date_column ? SearchSysCache1(RELOID, ObjectIdGetDatum(relid)) : NULL;
	bool		result;

	if (!HeapTupleIsValid(tuple))
		return false;
	result = ((Form_pg_class) GETSTRUCT(tuple))->relkind == RELKIND_RELATION &&
		((Form_pg_class) GETSTRUCT(tuple))->relam == HEAP_TABLE_AM_OID && !((Form_pg_class) GETSTRUCT(tuple))->relhassubclass;
	ReleaseSysCache(tuple);
	return result && get_atttype(relid, get_attnum(relid, date_column)) == DATEOID;
}

/* The first day of what the calculation has to look at: closed periods of the year before */
static DateADT
looked_at_from(const Calculation *calculation)
{
	return calculation->from - scope_look_back(calculation);
}

/* Whether any closed period is to be looked at again */
static bool
has_closed_before(const Calculation *calculation)
{
	for (int i = 0; i < calculation->nclosed; i++)
		if (calculation->closed_from[i] < calculation->from && calculation->closed_to[i] > looked_at_from(calculation))
			return true;
	return false;
}

/* What was noted last */
typedef struct Noted
{
	DateADT		from;
	DateADT		to;
	int64		credits;
	int64		xmin;
} Noted;

/* Read it; false where it does not serve this calculation. */
static bool
read_noted(const Calculation *calculation, Noted *noted)
{
	uint64		next = U64FromFullTransactionId(ReadNextFullTransactionId());
	bool		isnull;

	if (spi_execute(SPI_OK_SELECT,
					"SELECT pg_catalog.lower(looked_at), pg_catalog.upper(looked_at), credits, seen_before FROM salesops.commission_checked "
					"WHERE terms = $1 AND looked_at @> pg_catalog.daterange($2, $3)", 3,
					(SpiArg[]) {spi_int8(calculation->terms_hash), spi_datum(DATEOID, DateADTGetDatum(looked_at_from(calculation)), false),
								spi_datum(DATEOID, DateADTGetDatum(calculation->from), false)}) == 0)
		return false;
	noted->from = DatumGetDateADT(spi_get_datum(0, 1, &isnull));
	noted->to = DatumGetDateADT(spi_get_datum(0, 2, &isnull));
	noted->credits = spi_get_int8(0, 3);
	noted->xmin = spi_get_int8(0, 4);
	return (uint64) noted->xmin <= next && next - (uint64) noted->xmin < MAX_XID_AGE;
}

/*
 * Count the credits of a range of days, and those of them that transactions from xmin on wrote. A plain scan: it costs a fifth of
 * the same by SQL. It looks past privileges, as it tells nothing of the rows.
 */
static int64
count_credits(Oid relid, const char *date_column, DateADT from, DateADT to, int64 xmin, int64 *younger)
{
	Relation	relation = table_open(relid, AccessShareLock);
	TupleTableSlot *slot = table_slot_create(relation, NULL);
	TableScanDesc scan = table_beginscan(relation, GetActiveSnapshot(), 0, NULL);
	AttrNumber	column = get_attnum(relid, date_column);
	TransactionId limit = (TransactionId) xmin;
	int64		count = 0;

	*younger = 0;
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		bool		isnull;
		DateADT		date = DatumGetDateADT(slot_getattr(slot, column, &isnull));

		if (isnull || date < from || date >= to)
			continue;
		if (TransactionIdFollowsOrEquals(HeapTupleHeaderGetRawXmin(ExecFetchSlotHeapTuple(slot, false, NULL)->t_data), limit))
			(*younger)++;
		if ((++count & 1023) == 0)
			CHECK_FOR_INTERRUPTS();
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	table_close(relation, NoLock);
	return count;
}

/*
 * Whether what was noted still holds; what will be noted after this calculation goes on from it, as far as its credits are
 * read anyway (credits from counted_from on are counted as they come).
 */
static void
compare(Calculation *calculation, Oid relid, const char *date_column)
{
	Noted		noted = {0};
	int64		younger;

	if (read_noted(calculation, &noted))
		calculation->closed_unchanged =
			count_credits(relid, date_column, noted.from, noted.to, noted.xmin, &younger) == noted.credits && younger == 0;
	if (calculation->closed_unchanged && noted.to >= calculation->from && noted.to <= calculation->to &&
		noted.from > looked_at_from(calculation) - LOOK_BACK_DAYS)
	{
		calculation->looked_at_from = noted.from;
		calculation->looked_at_count = noted.credits;
		calculation->counted_from = noted.to;
		return;
	}
	calculation->looked_at_from = looked_at_from(calculation);
	calculation->looked_at_count = count_credits(relid, date_column, calculation->looked_at_from, calculation->to,
													 FirstNormalTransactionId, &younger);
	calculation->counted_from = calculation->to;
}

/* Decide whether closed periods can be left alone; see credits_pg.h. */
void
unchanged_decide(Calculation *calculation)
{
	char	   *date_column;
	Oid			relid;
	SpiScope	scope;

	calculation->looked_at_count = -1;
	calculation->counted_from = calculation->to;
	if (calculation->dry || calculation->only || !has_closed_before(calculation))
		return;
	date_column = contract_source_column("commission_credit", "credited_on");
	relid = contract_relation("commission_credit");
	if (!can_compare(relid, date_column))
		return;
	calculation->terms_hash = terms_hash();
	spi_open(&scope, SPI_AS_OWNER);
	compare(calculation, relid, date_column);
	spi_close(&scope);
}

/* The oldest transaction that the active snapshot may not have seen the end of, never wrapping around */
static int64
snapshot_xmin(void)
{
	FullTransactionId next = ReadNextFullTransactionId();
	TransactionId xmin = GetActiveSnapshot()->xmin;
	uint32		epoch = EpochFromFullTransactionId(next);

	if (xmin > XidFromFullTransactionId(next))
		epoch--;
	return (int64) U64FromFullTransactionId(FullTransactionIdFromEpochAndXid(epoch, xmin));
}

/* Note what this calculation has looked at; see credits_pg.h. */
void
unchanged_note(const Calculation *calculation)
{
	SpiScope	scope;

	/* one rep's calculation leaves what holds for all, unless it corrected what was found to be as it should */
	if (calculation->only && !calculation->closed_written)
		return;
	spi_open(&scope, SPI_AS_OWNER);
	(void) spi_execute(SPI_OK_DELETE, "DELETE FROM salesops.commission_checked", 0, NULL);
	if (calculation->looked_at_count >= 0 && !calculation->has_override && !calculation->mutable)
		(void) spi_execute(SPI_OK_INSERT,
						   "INSERT INTO salesops.commission_checked (looked_at, credits, seen_before, terms) "
						   "VALUES (pg_catalog.daterange($1, $2), $3, $4, $5)", 5,
						   (SpiArg[]) {spi_datum(DATEOID, DateADTGetDatum(calculation->looked_at_from), false),
									   spi_datum(DATEOID, DateADTGetDatum(calculation->to), false),
									   spi_int8(calculation->looked_at_count), spi_int8(snapshot_xmin()),
									   spi_int8(calculation->terms_hash)});
	spi_close(&scope);
}
