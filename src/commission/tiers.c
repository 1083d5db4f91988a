/*
 * tiers.c
 *		The tier kernel (tiers.h): cumulative commission, telescoping rounding, shares that keep their sum.
 *
 * The rule that makes lines add up to the cent: a credit that moves the sum from x to y earns round(F(y)) - round(F(x)).
 * Summed over any sequence of credits the middle terms cancel, whatever their order and however they are batched.
 */
#include "commission/tiers.h"

#include <string.h>

/* 10^digits for 0 <= digits <= 38 */
CommissionInt
commission_power10(int digits)
{
	CommissionInt power = 1;

	while (digits-- > 0)
		power *= 10;
	return power;
}

/* Few pieces, and credits climb: a scan from the top finds it in one or two comparisons more than any other way. */
int
commission_piece(const CommissionTiers *tiers, CommissionInt amount)
{
	int			piece = 0;

	while (piece + 1 < tiers->count && tiers->pieces[piece + 1].from <= amount)
		piece++;
	return piece;
}

/* F(amount): the piece's base and its rate on what lies beyond. A tier holds from its bound on, bound included. */
bool
commission_cumulative(const CommissionTiers *tiers, CommissionInt amount, CommissionInt *value)
{
	const CommissionPiece *piece = &tiers->pieces[commission_piece(tiers, amount)];
	CommissionInt beyond;
	CommissionInt product;

	return !__builtin_sub_overflow(amount, piece->from, &beyond) &&
		!__builtin_mul_overflow(beyond, piece->rate, &product) &&
		!__builtin_add_overflow(piece->base, product, value);
}

/* Half away from zero, as money is rounded by contract (ISO 80000-1 B.3 calls it rule B with symmetric sign). */
bool
commission_round(CommissionInt value, CommissionInt divisor, int exponent, CommissionInt *minor)
{
	CommissionInt unit;
	CommissionInt quotient;
	CommissionInt rest;

	if (__builtin_mul_overflow(divisor, commission_power10(COMMISSION_VALUE_DIGITS - exponent), &unit))
		return false;
	quotient = value / unit;
	rest = value % unit;
	if (rest < 0)
		rest = -rest;
	/* rest >= unit - rest is 2 * rest >= unit without the overflow */
	if (rest >= unit - rest)
		quotient += value < 0 ? -1 : 1;
	*minor = quotient;
	return true;
}

/* The period's cap holds commission down; it does not hold a negative balance up. */
static CommissionInt
capped(const CommissionAccount *account, CommissionInt total)
{
	return account->has_cap && total > account->cap ? account->cap : total;
}

/* Bring an account to the state its cumulated amounts imply, as if they had come in one credit a component. */
bool
commission_restate(CommissionAccount *account)
{
	CommissionInt total = 0;
	int			component;

	for (component = 0; component < account->ncomponents; component++)
	{
		if (!commission_cumulative(&account->components[component], account->cumulated[component],
								   &account->earned[component]) ||
			__builtin_add_overflow(total, account->earned[component], &total))
			return false;
	}
	account->total = total;
	return commission_round(capped(account, total), account->divisor, account->exponent, &account->rounded);
}

/* One deal's commission held between the deal's floor and cap. */
static CommissionInt
deal_commission(const CommissionAccount *account, CommissionInt amount, CommissionInt commission)
{
	if (account->has_deal_floor && amount >= 0 && commission < account->deal_floor)
		commission = account->deal_floor;
	if (account->has_deal_cap && commission > account->deal_cap)
		commission = account->deal_cap;
	if (account->has_deal_cap && commission < -account->deal_cap)
		commission = -account->deal_cap;
	return commission;
}

/* What a credit earns unrounded where tiers are of single deals: F of its size; a refund gives back what the deal earned. */
static bool
deal_value(const CommissionTiers *tiers, CommissionInt amount, CommissionInt *value)
{
	CommissionInt size;

	if (amount >= 0)
		return commission_cumulative(tiers, amount, value);
	return !__builtin_sub_overflow((CommissionInt) 0, amount, &size) && commission_cumulative(tiers, size, value) &&
		!__builtin_sub_overflow((CommissionInt) 0, *value, value);
}

/* Where a component's running amount is kept: its own, or the plan's */
static int
position_of(const CommissionAccount *account, int component)
{
	return account->shared && account->shared[component] ? 0 : component;
}

/* Credit an amount to a component: round(total after) - round(total before), with the caps of deal and period. */
bool
commission_credit(CommissionAccount *account, int component, CommissionInt amount, CommissionStep *step)
{
	int			position = position_of(account, component);
	CommissionInt after;
	CommissionInt earned;
	CommissionInt total;
	CommissionInt rounded;

	/* where sums are shared, others may have moved on what this component earned up to now */
	if (account->shared &&
		!commission_cumulative(&account->components[component], account->cumulated[position], &account->earned[component]))
		return false;
	if (__builtin_add_overflow(account->cumulated[position], amount, &after) ||
		!commission_cumulative(&account->components[component], after, &earned) ||
		__builtin_sub_overflow(earned, account->earned[component], &total))
		return false;
	if (account->by_deal && !deal_value(&account->components[component], amount, &total))
		return false;
	total = deal_commission(account, amount, total);
	if (__builtin_add_overflow(account->total, total, &total) ||
		!commission_round(capped(account, total), account->divisor, account->exponent, &rounded))
		return false;
	step->before = account->cumulated[position];
	step->after = after;
	step->total_before = account->total;
	step->amount = rounded - account->rounded;
	account->cumulated[position] = after;
	account->earned[component] = earned;
	account->total = total;
	account->rounded = rounded;
	return true;
}

/* Largest remainder (Hamilton's method): floors first, then one unit each to the largest remainders. */
bool
commission_share(KernelEnv *env, CommissionInt total, int count, const CommissionInt *weights, CommissionInt *shares)
{
	CommissionInt sum = 0;
	CommissionInt left = total < 0 ? -total : total;
	CommissionInt size = left;
	CommissionInt *remainders = kernel_alloc_array(env, CommissionInt, count);
	int			index;

	for (index = 0; index < count; index++)
		if (weights[index] < 0 || __builtin_add_overflow(sum, weights[index], &sum))
			return false;
	if (sum == 0)
		return false;
	for (index = 0; index < count; index++)
	{
		CommissionInt product;

		if (__builtin_mul_overflow(size, weights[index], &product))
			return false;
		shares[index] = product / sum;
		remainders[index] = product % sum;
		left -= shares[index];
	}
	for (; left > 0; left--)
	{
		int			best = 0;

		for (index = 1; index < count; index++)
			if (remainders[index] > remainders[best])
				best = index;
		shares[best]++;
		remainders[best] = -1;
	}
	if (total < 0)
		for (index = 0; index < count; index++)
			shares[index] = -shares[index];
	kernel_release(env, remainders);
	return true;
}

/* Currencies whose minor unit is not a hundredth (ISO 4217:2015, list one, amendments to 176). */
static const struct
{
	const char *code;
	int			digits;
}			exceptions[] = {
	{"BHD", 3}, {"BIF", 0}, {"CLF", 4}, {"CLP", 0}, {"DJF", 0}, {"GNF", 0}, {"IQD", 3}, {"ISK", 0}, {"JOD", 3},
	{"JPY", 0}, {"KMF", 0}, {"KRW", 0}, {"KWD", 3}, {"LYD", 3}, {"OMR", 3}, {"PYG", 0}, {"RWF", 0}, {"TND", 3},
	{"UGX", 0}, {"UYI", 0}, {"UYW", 4}, {"VND", 0}, {"VUV", 0}, {"XAF", 0}, {"XOF", 0}, {"XPF", 0}
};

/* Digits of a currency's minor unit; -1 where the text is not three capital letters. */
int
commission_currency_exponent(const char *code)
{
	size_t		index;

	for (index = 0; index < 3; index++)
		if (code[index] < 'A' || code[index] > 'Z')
			return -1;
	if (code[3] != '\0')
		return -1;
	for (index = 0; index < sizeof(exceptions) / sizeof(exceptions[0]); index++)
		if (strcmp(code, exceptions[index].code) == 0)
			return exceptions[index].digits;
	return 2;
}
