/*
 * values_pg.h
 *		One SQL value as a number, a text, a label: the few readings that features need, whatever the column's type.
 */
#ifndef SALESOPS_LEARN_VALUES_PG_H
#define SALESOPS_LEARN_VALUES_PG_H

#include "postgres.h"

#include <math.h>

typedef enum ValueClass
{
	VALUE_NONE,					/* cannot be a feature: json, bytea, geometry … */
	VALUE_INTEGER,
	VALUE_FLOAT,
	VALUE_NUMERIC,
	VALUE_BOOLEAN,
	VALUE_DATE,
	VALUE_TIMESTAMP,			/* with or without time zone */
	VALUE_INTERVAL,
	VALUE_TIME,					/* of day, with or without time zone */
	VALUE_MONEY,
	VALUE_TEXT,					/* text, varchar, char, citext */
	VALUE_PRINTED,				/* enum, uuid, name, inet: by the output function */
	VALUE_ARRAY					/* of texts or whole numbers */
} ValueClass;

/* how a number lies in a Datum, where nothing else has to be asked */
typedef enum StoredNumber
{
	STORED_OTHERWISE,
	STORED_FLOAT8,
	STORED_FLOAT4,
	STORED_INT2,
	STORED_INT4,
	STORED_INT8
} StoredNumber;

typedef struct ValueReader
{
	ValueClass	value_class;
	Oid			type;			/* base type of a domain */
	Oid			output;			/* VALUE_PRINTED, and the elements of VALUE_ARRAY */
	bool		folded;			/* citext, or an array of it: texts that differ by case only are one */
	int			width;			/* VALUE_INTEGER, VALUE_FLOAT: bytes */
	Oid			element;
	int16		element_length;
	bool		element_by_value;
	char		element_align;
	char	   *name;			/* the column's, for messages */
} ValueReader;

/* How to read a column of this type. */
extern ValueReader value_reader(Oid type, const char *name);

/*
 * Finite number of a value; dates in days since 2000-01-01, times of day and intervals in days. A blank text is NaN. Error
 * where it is no number.
 */
extern double value_number(const ValueReader *reader, Datum value, bool as_date);

/* The way of a base type's numbers. */
extern StoredNumber stored_number(Oid type);

/* Such a number; not finite perhaps. */
static inline double
stored_value(StoredNumber stored, Datum value)
{
	switch (stored)
	{
		case STORED_FLOAT8:
			return DatumGetFloat8(value);
		case STORED_FLOAT4:
			return DatumGetFloat4(value);
		case STORED_INT2:
			return DatumGetInt16(value);
		case STORED_INT4:
			return DatumGetInt32(value);
		case STORED_INT8:
			return (double) DatumGetInt64(value);
		default:
			return NAN;
	}
}

/* Text of a value without blanks around it; may point into the value. Not for arrays. */
extern const char *value_text(const ValueReader *reader, Datum value, size_t *length);

/*
 * The text by which a level is known: of a value, or of an array's element as it is. Folded ones (citext) are in lower case by the
 * database's collation: the one place where they are.
 */
extern const char *level_text(const ValueReader *reader, Datum value, bool folded, size_t *length);

/* A text as a whole number or decimal; false where it is neither. */
extern bool parse_number(const char *text, size_t length, double *number);

/* A text as an ISO date, with or without a time, in days since 2000-01-01. */
extern bool parse_date(const char *text, size_t length, double *days);

#endif							/* SALESOPS_LEARN_VALUES_PG_H */
