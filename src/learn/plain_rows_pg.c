/*
 * plain_rows_pg.c
 *		The stored tuple into numbers (plain_rows_pg.h), in one pass and without the arrays of values and nulls in between, which
 *		cost as much as the trees do. It follows heap_deform_tuple's rules of where a column lies, and knows no other storage.
 *		What is always inlined is so for the sake of RowNumbers: at every call it is known which of the two are wanted.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "access/tupmacs.h"
#include "catalog/pg_type.h"

#include "learn/plain_rows_pg.h"

typedef struct PlainColumn
{
	StoredNumber stored;		/* a feature's; STORED_OTHERWISE: skipped */
	int16		length;
	char		align;
	bool		by_value;
	uint32		align_mask;
	int			feature;		/* -1: none */
	int			run;			/* this many columns from here on are float8, their features as consecutive as they are */
} PlainColumn;

struct PlainRows
{
	int			columns;		/* up to the last one that is read */
	int			extra_column;
	PlainColumn column[FLEXIBLE_ARRAY_MEMBER];
};

/* Bytes beyond a multiple of the alignment. */
static uint32
mask_of(char align)
{
	return align == TYPALIGN_CHAR ? 0 : align == TYPALIGN_SHORT ? ALIGNOF_SHORT - 1 : align == TYPALIGN_INT ? ALIGNOF_INT - 1 :
		ALIGNOF_DOUBLE - 1;
}

/* Find the runs of float8: most tables of numbers are one, and a run is read by a loop that asks nothing. */
static void
find_runs(PlainRows *rows)
{
	for (int i = rows->columns - 1; i >= 0; i--)
	{
		PlainColumn *column = &rows->column[i];

		if (column->stored != STORED_FLOAT8)
			continue;
		column->run = 1;
		if (i + 1 < rows->columns && column[1].run > 0 && column[1].feature == column->feature + 1)
			column->run += column[1].run;
	}
}

/* See plain_rows_pg.h. */
PlainRows *
learn_plain_rows(const FeatureMap *map, int features, TupleDesc desc, int extra_column)
{
	PlainRows  *rows = palloc0(offsetof(PlainRows, column) + sizeof(PlainColumn) * desc->natts);

	rows->extra_column = extra_column;
	rows->columns = extra_column + 1;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		rows->column[i] = (PlainColumn) {STORED_OTHERWISE, attribute->attlen, attribute->attalign, attribute->attbyval,
		mask_of(attribute->attalign), -1, 0};
	}
	for (int f = 0; f < features; f++)
	{
		int			column = learn_feature_column(map, f);
		StoredNumber stored;

		if (column < 0 || !learn_feature_is_plain(map, f))
			return NULL;
		stored = stored_number(TupleDescAttr(desc, column)->atttypid);
		/* a column that is feature and extra at once, or a domain, goes the general way */
		if (stored == STORED_OTHERWISE || column == extra_column || rows->column[column].feature >= 0)
			return NULL;
		rows->column[column].stored = stored;
		rows->column[column].feature = f;
		rows->columns = Max(rows->columns, column + 1);
	}
	find_runs(rows);
	return rows;
}

/* The number at an address. */
static inline double
number_at(StoredNumber stored, const char *at)
{
	switch (stored)
	{
		case STORED_FLOAT8:
			return *(const double *) at;
		case STORED_FLOAT4:
			return *(const float *) at;
		case STORED_INT2:
			return *(const int16 *) at;
		case STORED_INT4:
			return *(const int32 *) at;
		default:
			return (double) *(const int64 *) at;
	}
}

/* Where a row's numbers go, by feature: as floats for trees, as they are for lines; either may be NULL. */
typedef struct RowNumbers
{
	float	   *single;
	double	   *full;
} RowNumbers;

/*
 * Put a number, or NaN where `absent` has all bits set, rather than by a branch, which would be mispredicted. `unfit` gets its highest
 * bit where a present one is no number, or beyond the reach of what it is put into: an exponent of ones, and no other, carries over.
 */
static pg_attribute_always_inline void
put_number(RowNumbers to, int feature, double number, uint32 absent, uint32 *unfit)
{
	if (to.single)
	{
		float		single = (float) number;
		uint32		bits;

		memcpy(&bits, &single, sizeof(bits));
		*unfit |= ((bits & 0x7FFFFFFF) + 0x00800000) & ~absent;
		bits |= absent;
		memcpy(&to.single[feature], &bits, sizeof(bits));
	}
	if (to.full)
	{
		uint64		bits;

		memcpy(&bits, &number, sizeof(bits));
		*unfit |= (uint32) (((bits & UINT64CONST(0x7FFFFFFFFFFFFFFF)) + UINT64CONST(0x0010000000000000)) >> 32) & ~absent;
		bits |= (uint64) (int64) (int32) absent;
		memcpy(&to.full[feature], &bits, sizeof(bits));
	}
}

/* A run of float8 without nulls: one behind the other. */
static pg_attribute_always_inline uint32
read_run(const char *at, int feature, int count, RowNumbers to)
{
	uint32		unfit = 0;

	for (int k = 0; k < count; k++)
		put_number(to, feature + k, ((const double *) at)[k], 0, &unfit);
	return unfit;
}

/* A run with nulls, from column i on; `place`, from the tuple's head, is where the next present one lies, and moves on. */
static pg_attribute_always_inline uint32
read_run_with_nulls(const char *head, const bits8 *bits, int i, const PlainColumn *column, size_t *place, RowNumbers to)
{
	uint32		unfit = 0;
	size_t		at = *place;

	for (int k = 0; k < column->run; k++, i++)
	{
		size_t		present = (bits[i >> 3] >> (i & 7)) & 1;

		/* an absent number is read from the tuple's head, where there is always something */
		put_number(to, column->feature + k, *(const double *) (head + (at & -present)), (uint32) present - 1, &unfit);
		at += present * sizeof(double);
	}
	*place = at;
	return unfit;
}

/* A run from column i on, with nulls or without; `offset` in the tuple's data moves behind it. */
static pg_attribute_always_inline uint32
read_whole_run(const HeapTupleHeader header, const bits8 *bits, int i, const PlainColumn *column, uint32 *offset, RowNumbers to)
{
	uint32		start = (*offset + column->align_mask) & ~column->align_mask;
	size_t		begin = header->t_hoff + start;
	size_t		place = begin;
	uint32		unfit;

	if (bits)
		unfit = read_run_with_nulls((const char *) header, bits, i, column, &place, to);
	else
	{
		unfit = read_run((const char *) header + begin, column->feature, column->run, to);
		place += sizeof(double) * column->run;
	}
	/* where all are absent nothing is aligned for them */
	if (place != begin)
		*offset = (uint32) (place - header->t_hoff);
	return unfit;
}

/* The whole of a tuple; false where a number does not fit. */
static pg_attribute_always_inline bool
read_tuple(const PlainRows *rows, HeapTuple tuple, RowNumbers to, Datum *extra, bool *extra_null)
{
	const HeapTupleHeader header = tuple->t_data;
	const char *data = (const char *) header + header->t_hoff;
	const bits8 *bits = HeapTupleHasNulls(tuple) ? header->t_bits : NULL;
	uint32		offset = 0;
	uint32		unfit = 0;

	*extra_null = true;
	for (int i = 0; i < rows->columns; i++)
	{
		const PlainColumn *column = &rows->column[i];
		uint32		present = bits ? (bits[i >> 3] >> (i & 7)) & 1 : 1;
		uint32		at;

		if (column->run > 1)
		{
			unfit |= read_whole_run(header, bits, i, column, &offset, to);
			i += column->run - 1;
			continue;
		}
		if (column->length < 0)
		{
			if (!present)
				continue;
			offset = att_align_pointer(offset, column->align, column->length, data + offset);
			if (i == rows->extra_column)
			{
				*extra = PointerGetDatum(data + offset);
				*extra_null = false;
			}
			offset = att_addlength_pointer(offset, column->length, data + offset);
			continue;
		}
		at = (offset + column->align_mask) & ~column->align_mask;
		offset = present ? at + column->length : offset;
		if (column->feature >= 0)
			put_number(to, column->feature, number_at(column->stored, present ? data + at : (const char *) header), present - 1, &unfit);
		else if (i == rows->extra_column && present)
		{
			*extra = fetch_att(data + at, column->by_value, column->length);
			*extra_null = false;
		}
	}
	return unfit >> 31 == 0;
}

/* See plain_rows_pg.h. A tuple from before a column was added has fewer of them. */
bool
learn_plain_row(const PlainRows *rows, TupleTableSlot *slot, float *single, double *full, Datum *extra, bool *extra_null)
{
	HeapTuple	tuple;

	if (slot->tts_nvalid != 0 || !(TTS_IS_BUFFERTUPLE(slot) || TTS_IS_HEAPTUPLE(slot)))
		return false;
	tuple = ((HeapTupleTableSlot *) slot)->tuple;
	if (tuple == NULL || HeapTupleHeaderGetNatts(tuple->t_data) < rows->columns)
		return false;
	if (full == NULL)
		return read_tuple(rows, tuple, (RowNumbers) {single, NULL}, extra, extra_null);
	if (single == NULL)
		return read_tuple(rows, tuple, (RowNumbers) {NULL, full}, extra, extra_null);
	return read_tuple(rows, tuple, (RowNumbers) {single, full}, extra, extra_null);
}
