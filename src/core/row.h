/*
 * row.h
 *		Reading the columns of a composite argument (record) of any shape by name.
 */
#ifndef SALESOPS_CORE_ROW_H
#define SALESOPS_CORE_ROW_H

#include "postgres.h"

#include "access/htup.h"
#include "access/tupdesc.h"

typedef struct RowReader
{
	TupleDesc	desc;			/* pinned by row_open, released by row_close */
	HeapTupleData tuple;
	Datum	   *values;
	bool	   *nulls;
} RowReader;

/* Open a composite datum; error 42804 where the argument is no row. */
extern void row_open(RowReader *reader, Datum record);
extern void row_close(RowReader *reader);
/* Column number (from 0) by name, or -1 */
extern int	row_column(TupleDesc desc, const char *name);
/* Text of a column by its output function, NULL where SQL NULL */
extern char *row_text(const RowReader *reader, int column);

#endif /* SALESOPS_CORE_ROW_H */
