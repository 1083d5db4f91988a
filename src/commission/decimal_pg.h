/*
 * decimal_pg.h
 *		Between numeric and the kernel's 128-bit integers, exactly or not at all; and short names for numeric arithmetic.
 */
#ifndef SALESOPS_COMMISSION_DECIMAL_PG_H
#define SALESOPS_COMMISSION_DECIMAL_PG_H

#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/numeric.h"

#include "commission/tiers.h"

/* value * 10^digits as an integer; false where it is none, does not fit, or is NaN or infinite. */
extern bool decimal_from_numeric(Numeric value, int digits, CommissionInt *result);

/* value / 10^digits; the scale is 'least' or as many digits more as it takes. */
extern Numeric decimal_to_numeric(CommissionInt value, int digits, int least);

/* Append a numeric's value and scale in a form that is the same on every machine (for hashing). */
extern void decimal_serialize(StringInfo buffer, Numeric value);

extern Numeric decimal_add(Numeric a, Numeric b);
extern Numeric decimal_sub(Numeric a, Numeric b);
extern Numeric decimal_mul(Numeric a, Numeric b);
extern Numeric decimal_div(Numeric a, Numeric b);
/* Least common multiple of an integer (NULL is 1) and a positive number, the latter brought to an integer by powers of 10 */
extern Numeric decimal_common_multiple(Numeric integer, Numeric value);
extern int	decimal_compare(Numeric a, Numeric b);
extern Numeric decimal_round(Numeric value, int digits);	/* half away from zero */
extern Numeric decimal_floor(Numeric value);
extern Numeric decimal_integer(int64 value);
extern Numeric decimal_zero(void);
extern bool decimal_is_zero(Numeric value);
extern bool decimal_is_negative(Numeric value);
extern char *decimal_text(Numeric value);

#endif							/* SALESOPS_COMMISSION_DECIMAL_PG_H */
