/*
 * row.c
 *		Reading the columns of a composite argument by name (row.h).
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "core/row.h"

/* Open a composite datum. */
void
row_open(RowReader *reader, Datum record)
{
	HeapTupleHeader header = DatumGetHeapTupleHeader(record);

	reader->desc = lookup_rowtype_tupdesc_domain(HeapTupleHeaderGetTypeId(header),
												 HeapTupleHeaderGetTypMod(header), false);
	reader->tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&reader->tuple.t_self);
	reader->tuple.t_tableOid = InvalidOid;
	reader->tuple.t_data = header;
	reader->values = palloc(sizeof(Datum) * Max(reader->desc->natts, 1));
	reader->nulls = palloc(sizeof(bool) * Max(reader->desc->natts, 1));
	heap_deform_tuple(&reader->tuple, reader->desc, reader->values, reader->nulls);
}

/* Release the descriptor and the arrays. */
void
row_close(RowReader *reader)
{
	ReleaseTupleDesc(reader->desc);
	pfree(reader->values);
	pfree(reader->nulls);
}

/* Column number (from 0) by name, or -1; dropped columns have no name. */
int
row_column(TupleDesc desc, const char *name)
{
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (!attribute->attisdropped && strcmp(NameStr(attribute->attname), name) == 0)
			return i;
	}
	return -1;
}

/* Text of a column by its type's output function. */
char *
row_text(const RowReader *reader, int column)
{
	Oid			output;
	bool		varlena;

	if (reader->nulls[column])
		return NULL;
	getTypeOutputInfo(TupleDescAttr(reader->desc, column)->atttypid, &output, &varlena);
	return OidOutputFunctionCall(output, reader->values[column]);
}
