/*
 * plain_rows_pg.c
 *		The stored tuple into floats (plain_rows_pg.h), in one pass and without the arrays of values and nulls in between, which
 *		cost as much as the trees do. It follows heap_deform_tuple's rules of where a column lies, and knows no other storage.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "access/tupmacs.h"
#include "catalog/pg_type.h"

#include "learn/plain_rows_pg.h"

typedef enum PlainKind
{
	PLAIN_SKIPPED,
	PLAIN_VARIABLE,				/* skipped as well, but of any length */
	PLAIN_FLOAT8,
	PLAIN_FLOAT4,
	PLAIN_INT2,
	PLAIN_INT4,
	PLAIN_INT8
} PlainKind;

typedef struct PlainColumn
{
	PlainKind	kind;
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

/* How a number of the type is read; PLAIN_SKIPPED where it is not. */
static PlainKind
kind_of(Oid type)
{
	switch (type)
	{
		case FLOAT8OID:
			return PLAIN_FLOAT8;
		case FLOAT4OID:
			return PLAIN_FLOAT4;
		case INT2OID:
			return PLAIN_INT2;
		case INT4OID:
			return PLAIN_INT4;
		case INT8OID:
			return PLAIN_INT8;
		default:
			return PLAIN_SKIPPED;
	}
}

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

		if (column->kind != PLAIN_FLOAT8 || column->feature < 0)
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

		rows->column[i] = (PlainColumn) {attribute->attlen > 0 ? PLAIN_SKIPPED : PLAIN_VARIABLE, attribute->attlen,
		attribute->attalign, attribute->attbyval, mask_of(attribute->attalign), -1, 0};
	}
	for (int f = 0; f < features; f++)
	{
		int			column = learn_feature_column(map, f);
		PlainKind	kind;

		if (column < 0 || !learn_feature_is_plain(map, f))
			return NULL;
		kind = kind_of(TupleDescAttr(desc, column)->atttypid);
		/* a column that is feature and extra at once, or a domain, goes the general way */
		if (kind == PLAIN_SKIPPED || column == extra_column || rows->column[column].feature >= 0)
			return NULL;
		rows->column[column].kind = kind;
		rows->column[column].feature = f;
		rows->columns = Max(rows->columns, column + 1);
	}
	find_runs(rows);
	return rows;
}

/* The number at an address. */
static inline double
number_at(PlainKind kind, const char *at)
{
	switch (kind)
	{
		case PLAIN_FLOAT8:
			return *(const double *) at;
		case PLAIN_FLOAT4:
			return *(const float *) at;
		case PLAIN_INT2:
			return *(const int16 *) at;
		case PLAIN_INT4:
			return *(const int32 *) at;
		default:
			return (double) *(const int64 *) at;
	}
}

/* A number as a float's bits; `unfit` gets its highest bit where it is no number, or beyond float's reach. */
static inline uint32
float_bits(double number, uint32 *unfit)
{
	union
	{
		float		number;
		uint32		bits;
	}			cell = {.number = (float) number};

	/* an exponent of ones, and no other, carries over */
	*unfit |= (cell.bits & 0x7FFFFFFF) + 0x00800000;
	return cell.bits;
}

/* A run of float8 without nulls: one behind the other. */
static uint32
read_run(const char *at, int count, float *to)
{
	uint32		unfit = 0;

	for (int k = 0; k < count; k++)
	{
		uint32		bits = float_bits(((const double *) at)[k], &unfit);

		memcpy(&to[k], &bits, sizeof(bits));
	}
	return unfit;
}

/* A run with nulls, from column i on; `place`, from the tuple's head, is where the next present one lies, and moves on. */
static uint32
read_run_with_nulls(const char *head, const bits8 *bits, int i, int count, size_t *place, float *to)
{
	uint32		unfit = 0;
	size_t		at = *place;

	for (int k = 0; k < count; k++, i++)
	{
		size_t		present = (bits[i >> 3] >> (i & 7)) & 1;
		uint32		beyond = 0;
		uint32		number = float_bits(*(const double *) (head + (at & -present)), &beyond) | ((uint32) present - 1);

		unfit |= beyond & -(uint32) present;
		memcpy(&to[k], &number, sizeof(number));
		at += present * sizeof(double);
	}
	*place = at;
	return unfit;
}

/* A run from column i on, with nulls or without; `offset` in the tuple's data moves behind it. Says whether a number is unfit. */
static pg_attribute_always_inline uint32
read_whole_run(const HeapTupleHeader header, const bits8 *bits, int i, const PlainColumn *column, uint32 *offset, float *row)
{
	uint32		start = (*offset + column->align_mask) & ~column->align_mask;
	size_t		begin = header->t_hoff + start;
	size_t		place = begin;
	uint32		unfit;

	if (bits)
		unfit = read_run_with_nulls((const char *) header, bits, i, column->run, &place, row + column->feature);
	else
	{
		unfit = read_run((const char *) header + begin, column->run, row + column->feature);
		place += sizeof(double) * column->run;
	}
	/* where all are absent nothing is aligned for them */
	if (place != begin)
		*offset = (uint32) (place - header->t_hoff);
	return unfit >> 31;
}

/*
 * Nulls are met by arithmetic rather than by branches, which would be mispredicted: an absent number is read from the tuple's
 * head, where there is always something, and becomes NaN by setting all bits.
 */
static bool
read_tuple(const PlainRows *rows, HeapTuple tuple, float *row, Datum *extra, bool *extra_null)
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
			unfit |= read_whole_run(header, bits, i, column, &offset, row);
			i += column->run - 1;
			continue;
		}
		if (column->kind == PLAIN_VARIABLE)
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
		{
			double		number = number_at(column->kind, present ? data + at : (const char *) header);
			union
			{
				float		number;
				uint32		bits;
			}			cell = {.number = (float) number};

			unfit |= present & !(fabs(number) <= 3e38);
			cell.bits |= present - 1;
			row[column->feature] = cell.number;
		}
		else if (i == rows->extra_column && present)
		{
			*extra = fetch_att(data + at, column->by_value, column->length);
			*extra_null = false;
		}
	}
	return unfit == 0;
}

/* See plain_rows_pg.h. A tuple from before a column was added has fewer of them. */
bool
learn_plain_row(const PlainRows *rows, TupleTableSlot *slot, float *row, Datum *extra, bool *extra_null)
{
	HeapTuple	tuple;

	if (slot->tts_nvalid != 0 || !(TTS_IS_BUFFERTUPLE(slot) || TTS_IS_HEAPTUPLE(slot)))
		return false;
	tuple = ((HeapTupleTableSlot *) slot)->tuple;
	if (tuple == NULL || HeapTupleHeaderGetNatts(tuple->t_data) < rows->columns)
		return false;
	return read_tuple(rows, tuple, row, extra, extra_null);
}
