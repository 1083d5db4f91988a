/*
 * own.h
 *		Reading and writing salesops's own tables row by row without SQL: no parsing or planning, which costs a new session a
 *		millisecond a query, and no executor for each row.
 *
 * As SPI_AS_OWNER does, this looks past privileges and row-level security: use it only after the caller's right has been
 * checked. It sees what the active snapshot sees.
 */
#ifndef SALESOPS_CORE_OWN_H
#define SALESOPS_CORE_OWN_H

#include "postgres.h"

#include "access/attnum.h"
#include "access/stratnum.h"
#include "executor/tuptable.h"
#include "storage/itemptr.h"

/* A condition on a column: strategy of the column's B-tree (BTEqualStrategyNumber …), its operator's function (F_TEXTEQ …) */
typedef struct OwnKey
{
	AttrNumber	column;
	StrategyNumber strategy;
	Oid			function;
	Datum		value;
} OwnKey;

#define OWN_MAX_KEYS 4

/* A row's columns from 0, in the caller's memory context; what they point to is valid during the call only. */
typedef void (*OwnRow) (const Datum *values, const bool *nulls, void *arg);

/*
 * Rows of salesops.TABLE that meet all keys: by the index where one is named (its leading columns must be the keys'), in its
 * order where 'ordered'; else in no order that can be relied on.
 */
extern void own_scan(const char *table, const char *index, bool ordered, int nkeys, const OwnKey *keys, OwnRow callback, void *arg);

/* The last row in the order of an index; false where there is none. */
extern bool own_last(const char *table, const char *index, OwnRow callback, void *arg);

/*
 * Rows written as COPY writes them, up to OWN_BATCH at a time, index entries included. Only for tables without triggers, CHECK
 * constraints and generated columns: nothing of that kind is looked at. Values are copied where more than one row is to come.
 */
#define OWN_BATCH 500
typedef struct OwnWriter OwnWriter;

extern OwnWriter *own_writer_open(const char *table, bool several);
/* One row; all columns, in the table's order. Without 'several' it is written at once, and its place is the answer. */
extern ItemPointerData own_writer_put(OwnWriter *writer, const Datum *values, const bool *nulls);
/*
 * The same without copies, of 'several': fill all columns of the next slot with values made in own_writer_memory(), then add it.
 * Adding may write what has gathered, and with it frees the values.
 */
extern TupleTableSlot *own_writer_next(OwnWriter *writer);
extern MemoryContext own_writer_memory(const OwnWriter *writer);
extern void own_writer_add(OwnWriter *writer);
/* Take back a row that an earlier command of this transaction wrote. */
extern void own_writer_remove(OwnWriter *writer, ItemPointerData place);
/* Write what is left and let go; the lock stays until the transaction ends. */
extern void own_writer_close(OwnWriter *writer);

#endif							/* SALESOPS_CORE_OWN_H */
