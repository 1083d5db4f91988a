/*
 * decimal_pg.c
 *		numeric to 128-bit integers and back (decimal_pg.h).
 *
 * A cast to text and back costs more than the whole tier computation, so numeric's storage is read here digit by digit. Its
 * format has been the same since PostgreSQL 9.1 (utils/adt/numeric.c): a header word, or a header word and a weight, then
 * digits in base 10,000, the first of weight 10000^weight.
 */
#include "postgres.h"

#include "port/pg_bswap.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "commission/decimal_pg.h"
#include "core/compat.h"

#define DIGITS_PER_WORD 4
#define WORD_BASE 10000

typedef struct Decoded
{
	bool		special;		/* NaN or infinity */
	bool		negative;
	int			weight;
	int			scale;
	int			nwords;
	const uint16 *words;
} Decoded;

/* Take a numeric apart; the words stay where they are. */
static void
decode(Numeric value, Decoded *decoded)
{
	const uint16 *data = (const uint16 *) VARDATA_ANY(value);
	int			size = VARSIZE_ANY_EXHDR(value);
	uint16		header;

	memcpy(&header, data, sizeof(header));
	decoded->special = (header & 0xC000) == 0xC000;
	if (header & 0x8000)
	{
		decoded->negative = (header & 0x2000) != 0;
		decoded->scale = (header & 0x1F80) >> 7;
		decoded->weight = (header & 0x0040) ? (header & 0x003F) - 64 : (header & 0x003F);
		decoded->words = data + 1;
		decoded->nwords = (size - 2) / 2;
	}
	else
	{
		int16		weight;

		memcpy(&weight, data + 1, sizeof(weight));
		decoded->negative = (header & 0xC000) == 0x4000;
		decoded->scale = header & 0x3FFF;
		decoded->weight = weight;
		decoded->words = data + 2;
		decoded->nwords = (size - 4) / 2;
	}
}

/* A word that may lie at an odd address (a short varlena header). */
static inline int
word_at(const Decoded *decoded, int index)
{
	uint16		word;

	memcpy(&word, &decoded->words[index], sizeof(word));
	return word;
}

/* value * 10^digits as an integer, exactly; see decimal_pg.h. */
bool
decimal_from_numeric(Numeric value, int digits, CommissionInt *result)
{
	Decoded		decoded;
	CommissionInt sum = 0;
	int			shift;

	decode(value, &decoded);
	if (decoded.special)
		return false;
	for (int i = 0; i < decoded.nwords; i++)
		if (__builtin_mul_overflow(sum, (CommissionInt) WORD_BASE, &sum) ||
			__builtin_add_overflow(sum, (CommissionInt) word_at(&decoded, i), &sum))
			return false;
	if (sum == 0)
	{
		*result = 0;
		return true;
	}
	/* the last word stands for 10^(4 * (weight - nwords + 1)) */
	shift = DIGITS_PER_WORD * (decoded.weight - decoded.nwords + 1) + digits;
	if (shift > 38 || shift < -38)
		return false;
	if (shift >= 0)
	{
		if (__builtin_mul_overflow(sum, commission_power10(shift), &sum))
			return false;
	}
	else
	{
		CommissionInt unit = commission_power10(-shift);

		if (sum % unit != 0)
			return false;
		sum /= unit;
	}
	*result = decoded.negative ? -sum : sum;
	return true;
}

/* Digits in text, for the numbers that do not fit 64 bits. */
static Numeric
from_text(CommissionInt value, int digits)
{
	char		text[64];
	char	   *end = text + sizeof(text);
	bool		negative = value < 0;
	int			count = 0;

	*--end = '\0';
	while (value != 0 || count <= digits)
	{
		int			digit = (int) (value % 10);

		if (count == digits && digits > 0)
			*--end = '.';
		*--end = '0' + (digit < 0 ? -digit : digit);
		value /= 10;
		count++;
	}
	if (negative)
		*--end = '-';
	return DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(end),
											   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}

/* value / 10^digits with no more scale than it takes; see decimal_pg.h. */
Numeric
decimal_to_numeric(CommissionInt value, int digits, int least)
{
	while (digits > least && value % 10 == 0)
	{
		value /= 10;
		digits--;
	}
	if (value == (int64) value)
		return int64_div_fast_to_numeric((int64) value, digits);
	return from_text(value, digits);
}

/* Value and scale, big-endian; see decimal_pg.h. */
void
decimal_serialize(StringInfo buffer, Numeric value)
{
	Decoded		decoded;
	uint16		words[4];

	decode(value, &decoded);
	words[0] = pg_hton16((uint16) ((decoded.special ? 2 : 0) | (decoded.negative ? 1 : 0)));
	words[1] = pg_hton16((uint16) decoded.scale);
	words[2] = pg_hton16((uint16) decoded.weight);
	words[3] = pg_hton16((uint16) decoded.nwords);
	appendBinaryStringInfo(buffer, (char *) words, sizeof(words));
	for (int i = 0; i < decoded.nwords; i++)
	{
		uint16		word = pg_hton16((uint16) word_at(&decoded, i));

		appendBinaryStringInfo(buffer, (char *) &word, sizeof(word));
	}
}

/* a + b */
Numeric
decimal_add(Numeric a, Numeric b)
{
	return numeric_add_opt_error(a, b, NULL);
}

/* a - b */
Numeric
decimal_sub(Numeric a, Numeric b)
{
	return numeric_sub_opt_error(a, b, NULL);
}

/* a * b */
Numeric
decimal_mul(Numeric a, Numeric b)
{
	return numeric_mul_opt_error(a, b, NULL);
}

/* a / b, to at least 16 significant digits as numeric division is */
Numeric
decimal_div(Numeric a, Numeric b)
{
	return numeric_div_opt_error(a, b, NULL);
}

/* Least common multiple; see decimal_pg.h. */
Numeric
decimal_common_multiple(Numeric integer, Numeric value)
{
	while (decimal_compare(value, decimal_round(value, 0)) != 0)
		value = decimal_mul(value, decimal_integer(10));
	value = decimal_round(value, 0);
	if (integer == NULL)
		return value;
	return DatumGetNumeric(DirectFunctionCall2(numeric_lcm, NumericGetDatum(integer), NumericGetDatum(value)));
}

/* negative, zero or positive as a is less than, equal to or more than b */
int
decimal_compare(Numeric a, Numeric b)
{
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(a), NumericGetDatum(b)));
}

/* Rounded half away from zero to a number of digits */
Numeric
decimal_round(Numeric value, int digits)
{
	return DatumGetNumeric(DirectFunctionCall2(numeric_round, NumericGetDatum(value), Int32GetDatum(digits)));
}

/* The integer at or below it */
Numeric
decimal_floor(Numeric value)
{
	return DatumGetNumeric(DirectFunctionCall1(numeric_floor, NumericGetDatum(value)));
}

/* An integer as numeric */
Numeric
decimal_integer(int64 value)
{
	return int64_to_numeric(value);
}

/* 0 */
Numeric
decimal_zero(void)
{
	return int64_to_numeric(0);
}

/* Whether it is 0 at any scale */
bool
decimal_is_zero(Numeric value)
{
	Decoded		decoded;

	decode(value, &decoded);
	return !decoded.special && decoded.nwords == 0;
}

/* Whether it is below 0 (not for NaN and infinities) */
bool
decimal_is_negative(Numeric value)
{
	Decoded		decoded;

	decode(value, &decoded);
	return !decoded.special && decoded.nwords > 0 && decoded.negative;
}

/* As text, for messages */
char *
decimal_text(Numeric value)
{
	return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value)));
}
