/*
 * own.h
 *		Reading salesops's own tables row by row without SQL: no parsing or planning, which costs a new session a millisecond a query.
 *
 * As SPI_AS_OWNER does, this looks past privileges and row-level security: use it only after the caller's right has been
 * checked. It sees what the active snapshot sees.
 */
#ifndef SALESOPS_CORE_OWN_H
#define SALESOPS_CORE_OWN_H

#include "postgres.h"

#include "access/attnum.h"
#include "access/stratnum.h"

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

#endif							/* SALESOPS_CORE_OWN_H */
