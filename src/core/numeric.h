/*
 * numeric.h
 *		A stored numeric as a double, read digit by digit: by cast it goes through text, which costs more than all the rest of a row.
 *		Only the common case, and in line; arithmetic on money is decimal_pg's (src/commission), in numeric.
 */
#ifndef SALESOPS_CORE_NUMERIC_H
#define SALESOPS_CORE_NUMERIC_H

#include "postgres.h"

/* On-disk numeric, as utils/adt/numeric.c lays it out: a header word, perhaps a weight word, digits in base 10,000 */
#define NUMERIC_KIND(header)		((header) & 0xC000)
#define NUMERIC_IS_SPECIAL(header)	(NUMERIC_KIND(header) == 0xC000)
#define NUMERIC_IS_SHORT(header)	(NUMERIC_KIND(header) == 0x8000)
#define SHORT_SIGN					0x2000
#define SHORT_WEIGHT_SIGN			0x0040
#define SHORT_WEIGHT_MASK			0x003F
#define LONG_NEGATIVE				0x4000

/*
 * The nearest double of a numeric that is neither compressed nor out of line. Up to four digits of base 10,000 are exact in 64 bits; a
 * power of ten up to 1e22 is exact as a double, so one division rounds once. False where the server has to be asked: NaN, infinities,
 * long ones.
 */
static inline bool
numeric_to_double(const struct varlena *packed, double *number)
{
	static const double power[] = {1, 1e4, 1e8, 1e12, 1e16};
	const char *data = VARDATA_ANY(packed);
	int			size = VARSIZE_ANY_EXHDR(packed);
	uint16		header;
	int			weight;
	int			digits;
	bool		negative;
	int64		whole = 0;
	int			scale;

	memcpy(&header, data, sizeof(header));
	if (NUMERIC_IS_SPECIAL(header))
		return false;
	if (NUMERIC_IS_SHORT(header))
	{
		weight = (header & SHORT_WEIGHT_SIGN) ? (int) (header & SHORT_WEIGHT_MASK) - (SHORT_WEIGHT_MASK + 1) : header & SHORT_WEIGHT_MASK;
		negative = (header & SHORT_SIGN) != 0;
		data += sizeof(uint16);
		digits = (size - (int) sizeof(uint16)) / (int) sizeof(int16);
	}
	else
	{
		int16		long_weight;

		memcpy(&long_weight, data + sizeof(uint16), sizeof(long_weight));
		weight = long_weight;
		negative = NUMERIC_KIND(header) == LONG_NEGATIVE;
		data += 2 * sizeof(uint16);
		digits = (size - 2 * (int) sizeof(uint16)) / (int) sizeof(int16);
	}
	*number = 0.0;
	if (digits == 0)
		return true;
	scale = digits - 1 - weight;	/* digits behind the point */
	if (digits > 4 || scale > 4 || scale < -4)
		return false;
	for (int i = 0; i < digits; i++)
	{
		int16		digit;

		memcpy(&digit, data + i * sizeof(int16), sizeof(digit));
		whole = whole * 10000 + digit;
	}
	if (whole > INT64CONST(9007199254740992))
		return false;
	*number = scale >= 0 ? (double) whole / power[scale] : (double) whole * power[-scale];
	if (negative)
		*number = -*number;
	return true;
}

#endif							/* SALESOPS_CORE_NUMERIC_H */
