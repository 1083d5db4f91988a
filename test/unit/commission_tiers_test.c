/*
 * commission_tiers_test.c
 *		The tier kernel against published values, an independent computation, and the laws it promises.
 */
#include "tap.h"

#include "commission/tiers.h"

#define UNIT	((CommissionInt) 1000000000)	/* an amount of 1 */
#define PERCENT ((CommissionInt) 10000000)	/* a rate of 0.01 */

static uint64_t seed = 88172645463325252ULL;

/* xorshift64: the same numbers on every machine */
static uint64_t
next_random(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

/* 5 % to 100,000; 8 % to 150,000; 10 % above (../shared/acceptance f1) */
static const CommissionPiece marginal_pieces[] = {
	{0, 0, 5 * PERCENT},
	{100000 * UNIT, 5000 * UNIT * 1000000000LL, 8 * PERCENT},
	{150000 * UNIT, 9000 * UNIT * 1000000000LL, 10 * PERCENT}
};
static const CommissionTiers marginal = {3, marginal_pieces};
static const CommissionPiece retroactive_pieces[] = {
	{0, 0, 5 * PERCENT},
	{100000 * UNIT, 8000 * UNIT * 1000000000LL, 8 * PERCENT},
	{150000 * UNIT, 15000 * UNIT * 1000000000LL, 10 * PERCENT}
};
static const CommissionTiers retroactive = {3, retroactive_pieces};

/* F in units of 10^-4, the worked values' precision */
static int64_t
cumulative(const CommissionTiers *tiers, CommissionInt amount)
{
	CommissionInt value = 0;

	ok(commission_cumulative(tiers, amount, &value), "F does not overflow");
	return (int64_t) (value / commission_power10(COMMISSION_VALUE_DIGITS - 4));
}

/* An account of one component over the given storage */
static CommissionAccount
account_of(const CommissionTiers *tiers, CommissionInt *cells)
{
	CommissionAccount account = {.ncomponents = 1, .components = tiers, .divisor = 1, .exponent = 2,
	.cumulated = cells, .earned = cells + 1};

	cells[0] = cells[1] = 0;
	return account;
}

static void
test_worked_values(void)
{
	is_int(cumulative(&marginal, 160000 * UNIT), 100000000, "160,000 marginal earns 10,000");
	is_int(cumulative(&marginal, 120000 * UNIT) - cumulative(&marginal, 90000 * UNIT), 21000000, "90 to 120 thousand: 2,100");
	is_int(cumulative(&marginal, 9999999 * (UNIT / 100)), 49999995, "99,999.99 earns 4,999.9995");
	is_int(cumulative(&retroactive, 160000 * UNIT), 160000000, "160,000 retroactive earns 16,000");
	is_int(cumulative(&retroactive, 120000 * UNIT) - cumulative(&retroactive, 90000 * UNIT), 51000000,
		   "crossing a retroactive tier lifts all below");
	is_int(cumulative(&marginal, -1000 * UNIT), -500000, "a negative sum earns negative commission");
}

static void
test_rounding(void)
{
	static const struct
	{
		int64_t		value;		/* ten-thousandths of a unit */
		int64_t		divisor;
		int			exponent;
		int64_t		want;
	}			cases[] = {
		{4999, 1, 2, 50}, {5, 1, 2, 0}, {50, 1, 2, 1}, {49, 1, 2, 0}, {-50, 1, 2, -1}, {-49, 1, 2, 0}, {150, 1, 2, 2},
		{150, 3, 2, 1}, {149, 3, 2, 0}, {-150, 3, 2, -1}, {5000, 1, 0, 1}, {4999, 1, 0, 0}, {5, 1, 3, 1}
	};
	size_t		index;

	for (index = 0; index < sizeof(cases) / sizeof(cases[0]); index++)
	{
		CommissionInt minor = -99;

		/* 4999 stands for 0.4999 */
		ok(commission_round((CommissionInt) cases[index].value * 100000000000000LL, cases[index].divisor,
							cases[index].exponent, &minor), "rounds");
		is_int((int64_t) minor, cases[index].want, "half away from zero");
	}
	{
		CommissionInt minor;

		ok(!commission_round(1, commission_power10(37), 2, &minor), "a divisor too large is told");
	}
}

/* Any split and any order of the same credits adds up to round(F(total)). */
static void
test_telescoping(void)
{
	int			round;
	int			wrong = 0;

	for (round = 0; round < 2000; round++)
	{
		CommissionInt cells[2];
		CommissionAccount account = account_of(round % 2 ? &marginal : &retroactive, cells);
		CommissionInt sum = 0;
		CommissionInt lines = 0;
		CommissionInt value;
		CommissionInt want;
		int			count = (int) (next_random() % 60);

		while (count-- > 0)
		{
			CommissionStep step;
			CommissionInt amount = (CommissionInt) (next_random() % 20000000000000ULL) - 2000000000000LL;

			wrong += !commission_credit(&account, 0, amount, &step) || step.before != sum;
			sum += amount;
			lines += step.amount;
			wrong += step.after != sum;
		}
		wrong += !commission_cumulative(account.components, sum, &value) || !commission_round(value, 1, 2, &want);
		wrong += lines != want || account.rounded != want;
		wrong += !commission_restate(&account) || account.rounded != want;
	}
	is_int(wrong, 0, "2,000 random accounts telescope to the cent");
}

/* Caps of period and deal, deal floor, two components */
static void
test_caps(void)
{
	CommissionInt cells[2];
	CommissionAccount account = account_of(&marginal, cells);
	CommissionStep step;

	account.has_cap = true;
	account.cap = 6000 * commission_power10(COMMISSION_VALUE_DIGITS);
	ok(commission_credit(&account, 0, 110000 * UNIT, &step) && step.amount == 580000, "below the cap: 5,800");
	ok(commission_credit(&account, 0, 10000 * UNIT, &step) && step.amount == 20000, "the cap leaves 200 of 800");
	ok(commission_credit(&account, 0, 10000 * UNIT, &step) && step.amount == 0, "nothing above the cap");
	ok(commission_credit(&account, 0, -130000 * UNIT, &step) && step.amount == -600000, "all back: down to zero");

	account = account_of(&marginal, cells);
	account.has_deal_cap = true;
	account.deal_cap = 1000 * commission_power10(COMMISSION_VALUE_DIGITS);
	ok(commission_credit(&account, 0, 50000 * UNIT, &step) && step.amount == 100000, "a deal's cap: 1,000 of 2,500");
	ok(commission_credit(&account, 0, -50000 * UNIT, &step) && step.amount == -100000, "its refund gives back no more");
	account.has_deal_floor = true;
	account.deal_floor = 50 * commission_power10(COMMISSION_VALUE_DIGITS);
	ok(commission_credit(&account, 0, 100 * UNIT, &step) && step.amount == 5000, "a deal's floor: 50 instead of 5");
}

/* Components read at one sum: 5 % to 100 and 8 % beyond for the plan's own, 2 % and 3 % for the other; each moves the sum for both */
static void
test_shared(void)
{
	const CommissionInt percent = commission_power10(COMMISSION_RATE_DIGITS - 2);
	const CommissionInt at = 100 * UNIT;
	const CommissionPiece own[] = {{0, 0, 5 * percent}, {at, at * 5 * percent, 8 * percent}};
	const CommissionPiece other[] = {{0, 0, 2 * percent}, {at, at * 2 * percent, 3 * percent}};
	const CommissionTiers tiers[] = {{2, own}, {2, other}};
	const bool	shared[] = {false, true};
	CommissionInt cumulated[] = {0, 0};
	CommissionInt earned[] = {0, 0};
	CommissionAccount account = {.ncomponents = 2, .components = tiers, .shared = shared, .divisor = 1, .exponent = 2,
	.cumulated = cumulated, .earned = earned};
	CommissionStep step;

	ok(commission_credit(&account, 0, 60 * UNIT, &step) && step.amount == 300, "60 at 5 %%");
	ok(commission_credit(&account, 1, 60 * UNIT, &step) && step.before == 60 * UNIT && step.amount == 140, "40 at 2 %%, 20 at 3 %%");
	ok(commission_credit(&account, 0, 30 * UNIT, &step) && step.before == 120 * UNIT && step.amount == 240, "30 at 8 %%");
	ok(commission_credit(&account, 1, -60 * UNIT, &step) && step.after == 90 * UNIT && step.amount == -170, "back: 50 at 3 %%, 10 at 2 %%");
}

static void
test_overflow(void)
{
	CommissionInt cells[2];
	CommissionAccount account = account_of(&marginal, cells);
	CommissionStep step;
	CommissionInt huge = commission_power10(38);

	ok(!commission_credit(&account, 0, huge, &step), "an amount too large is told");
	is_int((int64_t) account.rounded, 0, "and leaves the account as it was");
	ok(commission_credit(&account, 0, 1000 * UNIT, &step) && step.amount == 5000, "which still works");
	cells[0] = huge;
	ok(!commission_restate(&account), "so is a state too large");
}

/* rounding.largest_remainder of the worked examples; compare ASC 606 example 33 */
static void
test_share(void)
{
	KernelEnv	env = tap_env();
	CommissionInt even[] = {1, 1, 1};
	CommissionInt asc[] = {50, 25, 75};
	CommissionInt none[] = {0, 0};
	CommissionInt shares[3];

	ok(commission_share(&env, 10000, 3, even, shares), "100.00 by 1:1:1");
	ok(shares[0] == 3334 && shares[1] == 3333 && shares[2] == 3333, "33.34, 33.33, 33.33");
	ok(commission_share(&env, 10000, 3, asc, shares), "100.00 by 50:25:75");
	ok(shares[0] == 3333 && shares[1] == 1667 && shares[2] == 5000, "33.33, 16.67, 50.00");
	ok(commission_share(&env, -10000, 3, even, shares) && shares[0] == -3334, "a refund mirrors it");
	ok(!commission_share(&env, 10000, 2, none, shares), "weights that are all zero share nothing");
}

static void
test_currency(void)
{
	is_int(commission_currency_exponent("USD"), 2, "USD has cents");
	is_int(commission_currency_exponent("JPY"), 0, "JPY has none");
	is_int(commission_currency_exponent("KWD"), 3, "KWD has fils");
	is_int(commission_currency_exponent("CLF"), 4, "CLF has four");
	is_int(commission_currency_exponent("usd"), -1, "lower case is no code");
	is_int(commission_currency_exponent("US"), -1, "two letters are none");
	is_int(commission_currency_exponent("USDX"), -1, "four are none");
}

int
main(void)
{
	test_worked_values();
	test_rounding();
	test_telescoping();
	test_caps();
	test_shared();
	test_overflow();
	test_share();
	test_currency();
	return done_testing();
}
