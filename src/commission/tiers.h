/*
 * tiers.h
 *		Tier arithmetic in 128-bit integers: the cumulative commission F, and credits that move an account along it.
 *
 * It is for exact money at the speed of integers. It isn't for numbers that do not fit: every function that can
 * overflow says so by returning false, and the caller falls back to numeric. It knows no plan, rep or period.
 *
 * Units. An amount is an integer of 10^-9 of the currency's unit (COMMISSION_AMOUNT_DIGITS). A rate is an integer of
 * 10^-9. Their product, a value, is therefore an integer of 10^-18, over a common divisor: 1, or the quota where
 * commission is a share of a target (rate * target * amount / quota), so that a division never rounds before the end.
 */
#ifndef SALESOPS_COMMISSION_TIERS_H
#define SALESOPS_COMMISSION_TIERS_H

#include "core/kernel.h"

/* the server's allocator aligns to 8 bytes, so the compiler must not expect 16 */
typedef __int128 CommissionInt __attribute__((aligned(8)));

#define COMMISSION_AMOUNT_DIGITS	9
#define COMMISSION_RATE_DIGITS		9
#define COMMISSION_VALUE_DIGITS		(COMMISSION_AMOUNT_DIGITS + COMMISSION_RATE_DIGITS)

/* From this amount on, F(x) = base + rate * (x - from); a jump at 'from' is what retroactive tiers and cliffs are. */
typedef struct CommissionPiece
{
	CommissionInt from;
	CommissionInt base;
	CommissionInt rate;
} CommissionPiece;

/* Ascending by 'from'; below the first the first one holds (a negative sum earns negative commission). */
typedef struct CommissionTiers
{
	int			count;
	const CommissionPiece *pieces;
} CommissionTiers;

/*
 * One rep's running account in one plan and period. The caller sets the first part, zeroes the second. Credits may run
 * through several components (products with rates of their own), each with its own running amount.
 */
typedef struct CommissionAccount
{
	int			ncomponents;
	const CommissionTiers *components;
	const bool *shared;			/* per component: its tiers are read at component 0's sum, which it moves; NULL for none */
	CommissionInt divisor;		/* of every value: at least 1 */
	bool		by_deal;		/* each credit goes through the tiers by itself, not on top of those before it */
	bool		has_cap;		/* of the period's commission */
	bool		has_deal_cap;	/* of one credit's commission, in size: a refund gives back no more */
	bool		has_deal_floor; /* least commission of a credit that is not negative */
	CommissionInt cap;			/* values, like the two below */
	CommissionInt deal_cap;
	CommissionInt deal_floor;
	int			exponent;		/* decimal digits of the currency's minor unit */

	CommissionInt *cumulated;	/* per component */
	CommissionInt *earned;		/* per component: F(cumulated) */
	CommissionInt total;		/* unrounded, before the period's cap */
	CommissionInt rounded;		/* after it, in minor units */
} CommissionAccount;

/* What one credit did to the account */
typedef struct CommissionStep
{
	CommissionInt before;		/* amounts of its component */
	CommissionInt after;
	CommissionInt total_before; /* value, as CommissionAccount.total */
	CommissionInt amount;		/* of the line, in minor units */
} CommissionStep;

/* F(amount) as a value; false on overflow. */
extern bool commission_cumulative(const CommissionTiers *tiers, CommissionInt amount, CommissionInt *value);

/* The piece that holds at an amount. */
extern int	commission_piece(const CommissionTiers *tiers, CommissionInt amount);

/* value / divisor to minor units of 10^-exponent, half away from zero; false on overflow. */
extern bool commission_round(CommissionInt value, CommissionInt divisor, int exponent, CommissionInt *minor);

/* Bring an account to a given state of cumulated amounts (deal caps apart); false on overflow. */
extern bool commission_restate(CommissionAccount *account);

/* Credit an amount to a component; the account is unchanged where it returns false (overflow). */
extern bool commission_credit(CommissionAccount *account, int component, CommissionInt amount, CommissionStep *step);

/*
 * Share 'total' minor units by weights so that the shares add up to it: largest remainder, ties to the earlier share.
 * Weights are not negative and not all zero; false on overflow or where they are.
 */
extern bool commission_share(KernelEnv *env, CommissionInt total, int count, const CommissionInt *weights,
							 CommissionInt *shares);

/* Digits of the minor unit of an ISO 4217 currency code; 2 for any other three letters, -1 where it is not a code. */
extern int	commission_currency_exponent(const char *code);

/* 10^digits for 0 <= digits <= 38 */
extern CommissionInt commission_power10(int digits);

#endif							/* SALESOPS_COMMISSION_TIERS_H */
