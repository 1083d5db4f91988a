/*
 * account_pg.c
 *		Running accounts (account_pg.h): the kernel where numbers fit, the same steps in numeric where they do not.
 *
 * The switch to numeric is made in the middle of an account, at the first number that does not fit, and is exact: both
 * ways compute the same lines (the test commission_numeric compares them).
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "commission/account_pg.h"

/* ---- making ------------------------------------------------------------------------------------------------------- */

/* A limit of the period, in proportion to the share of it that the plan was held, rounded to the minor unit */
static Numeric
prorated(const AccountTerms *terms, Numeric value)
{
	if (value == NULL || terms->share == NULL)
		return value;
	return decimal_round(decimal_mul(value, terms->share), terms->exponent);
}

/* A value with the divisor multiplied in */
static Numeric
over_divisor(const RunningAccount *account, Numeric value)
{
	return value && account->divisor ? decimal_mul(value, account->divisor) : value;
}

/* Multiplier of rates and the integer divisor where commission is a share of a target at quota */
static Numeric
target_multiplier(const AccountTerms *terms, Numeric *divisor)
{
	Numeric		quota = terms->quota;
	Numeric		target = prorated(terms, terms->plan->target);
	Numeric		ten = decimal_integer(10);

	if (target == NULL || quota == NULL)
		return NULL;
	while (decimal_compare(quota, decimal_round(quota, 0)) != 0)
	{
		quota = decimal_mul(quota, ten);
		target = decimal_mul(target, ten);
	}
	*divisor = quota;
	return target;
}

/* The pieces of the plan's tiers and of each component that has its own */
static void
make_tiers(RunningAccount *account, const AccountTerms *terms)
{
	const PlanDefinition *plan = terms->plan;
	Numeric		unit = plan->measure == PLAN_ATTAINMENT ? terms->quota : NULL;
	Numeric		multiplier = target_multiplier(terms, &account->divisor);
	Numeric		cliff = plan->cliff && unit ? decimal_mul(plan->cliff, unit) : plan->cliff;

	plan_pieces(&plan->tiers, plan->method, unit, multiplier, account->divisor, cliff, terms->gate,
				plan->gate_above, &account->tiers[0]);
	for (int i = 0; i < plan->ncomponents; i++)
		if (plan->components[i].own_tiers)
			plan_pieces(&plan->components[i].tiers, plan->method, unit, multiplier, account->divisor, NULL, NULL, NULL,
						&account->tiers[i + 1]);
		else
			account->tiers[i + 1] = account->tiers[0];
}

/* A single rate from 0 on */
static void
make_flat(RunningAccount *account, Numeric rate)
{
	PlanTier	tier = {.from = decimal_zero(), .rate = rate};
	PlanTierList list = {1, &tier};

	plan_pieces(&list, PLAN_MARGINAL, NULL, NULL, NULL, NULL, NULL, NULL, &account->tiers[0]);
}

/* A limit in the kernel's integers; false where it does not fit */
static bool
fix_limit(Numeric value, bool *has, CommissionInt *result)
{
	*has = value != NULL;
	*result = 0;
	return value == NULL || decimal_from_numeric(value, COMMISSION_VALUE_DIGITS, result);
}

/* The kernel's form of the account, where everything fits */
static void
make_kernel(RunningAccount *account)
{
	CommissionAccount *kernel = &account->kernel;
	CommissionTiers *tiers = palloc(sizeof(CommissionTiers) * account->ncomponents);

	account->fixed = false;
	kernel->ncomponents = account->ncomponents;
	kernel->components = tiers;
	kernel->exponent = account->exponent;
	kernel->divisor = 1;
	kernel->by_deal = account->by_deal;
	for (int i = 0; i < account->ncomponents; i++)
	{
		tiers[i].count = account->tiers[i].count;
		tiers[i].pieces = plan_fixed_pieces(&account->tiers[i]);
		if (tiers[i].pieces == NULL)
			return;
	}
	if (account->divisor && !decimal_from_numeric(account->divisor, 0, &kernel->divisor))
		return;
	if (!fix_limit(account->cap, &kernel->has_cap, &kernel->cap) ||
		!fix_limit(account->deal_cap, &kernel->has_deal_cap, &kernel->deal_cap) ||
		!fix_limit(account->deal_floor, &kernel->has_deal_floor, &kernel->deal_floor))
		return;
	kernel->cumulated = palloc0(sizeof(CommissionInt) * account->ncomponents);
	kernel->earned = palloc0(sizeof(CommissionInt) * account->ncomponents);
	account->fixed = commission_restate(kernel);
}

/* A new account; see account_pg.h. */
RunningAccount *
account_make(const AccountTerms *terms)
{
	RunningAccount *account = palloc0(sizeof(RunningAccount));

	account->ncomponents = terms->flat_rate ? 1 : terms->plan->ncomponents + 1;
	account->exponent = terms->exponent;
	account->tiers = palloc0(sizeof(NumericTiers) * account->ncomponents);
	account->cumulated = palloc0(sizeof(Numeric) * account->ncomponents);
	account->earned = palloc0(sizeof(Numeric) * account->ncomponents);
	if (terms->flat_rate)
		make_flat(account, terms->flat_rate);
	else
	{
		make_tiers(account, terms);
		account->cap = over_divisor(account, prorated(terms, terms->plan->cap));
		account->deal_cap = over_divisor(account, terms->plan->deal_cap);
		account->deal_floor = over_divisor(account, terms->plan->deal_floor);
	}
	account->by_deal = terms->flat_rate == NULL && terms->plan->tiers_on == TIERS_ON_DEAL;
	account->keep_totals = account->ncomponents > 1 || account->by_deal || account->deal_cap || account->deal_floor;
	for (int i = 0; i < account->ncomponents; i++)
		account->cumulated[i] = decimal_zero();
	make_kernel(account);
	account_restate(account);
	return account;
}

/* ---- numeric mode ------------------------------------------------------------------------------------------------- */

/* Minor units of a value: divided, capped, rounded half away from zero */
static CommissionInt
round_total(const RunningAccount *account, Numeric total)
{
	CommissionInt minor;

	if (account->cap && decimal_compare(total, account->cap) > 0)
		total = account->cap;
	if (account->divisor)
		total = decimal_div(total, account->divisor);
	if (!decimal_from_numeric(decimal_round(total, account->exponent), account->exponent, &minor))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("a commission of %s is out of range", decimal_text(total))));
	return minor;
}

/* One deal's commission held between the deal's floor and cap, as the kernel does */
static Numeric
deal_commission(const RunningAccount *account, Numeric amount, Numeric commission)
{
	if (account->deal_floor && decimal_compare(amount, decimal_zero()) >= 0 &&
		decimal_compare(commission, account->deal_floor) < 0)
		commission = account->deal_floor;
	if (account->deal_cap && decimal_compare(commission, account->deal_cap) > 0)
		commission = account->deal_cap;
	if (account->deal_cap && decimal_compare(commission, decimal_sub(decimal_zero(), account->deal_cap)) < 0)
		commission = decimal_sub(decimal_zero(), account->deal_cap);
	return commission;
}

/* Leave the kernel: its state in numeric, exactly */
static void
leave_kernel(RunningAccount *account)
{
	CommissionAccount *kernel = &account->kernel;

	for (int i = 0; i < account->ncomponents; i++)
	{
		account->cumulated[i] = decimal_to_numeric(kernel->cumulated[i], COMMISSION_AMOUNT_DIGITS, account->exponent);
		account->earned[i] = decimal_to_numeric(kernel->earned[i], COMMISSION_VALUE_DIGITS, 0);
	}
	account->total = decimal_to_numeric(kernel->total, COMMISSION_VALUE_DIGITS, 0);
	account->rounded = kernel->rounded;
	account->fixed = false;
}

/* F of a deal's size, negative for a refund, as the kernel has it */
Numeric
account_deal_value(const NumericTiers *tiers, Numeric amount)
{
	if (!decimal_is_negative(amount))
		return plan_cumulative(tiers, amount);
	return decimal_sub(decimal_zero(), plan_cumulative(tiers, decimal_sub(decimal_zero(), amount)));
}

/* Credit an amount in numeric: the kernel's commission_credit, of any size */
static void
credit_numeric(RunningAccount *account, int component, Numeric amount, AccountStep *step)
{
	Numeric		after = decimal_add(account->cumulated[component], amount);
	Numeric		earned = plan_cumulative(&account->tiers[component], after);
	Numeric		value = account->by_deal ? account_deal_value(&account->tiers[component], amount) :
		decimal_sub(earned, account->earned[component]);
	Numeric		commission = deal_commission(account, amount, value);
	Numeric		total = decimal_add(account->total, commission);
	CommissionInt rounded = round_total(account, total);

	step->before = account->cumulated[component];
	step->after = after;
	step->total_before = account->keep_totals ? account->total : NULL;
	step->amount = rounded - account->rounded;
	account->cumulated[component] = after;
	account->earned[component] = earned;
	account->total = total;
	account->rounded = rounded;
}

/* ---- both --------------------------------------------------------------------------------------------------------- */

/* Set what was credited to a component */
void
account_set(RunningAccount *account, int component, Numeric amount)
{
	if (account->fixed &&
		!decimal_from_numeric(amount, COMMISSION_AMOUNT_DIGITS, &account->kernel.cumulated[component]))
		leave_kernel(account);
	account->cumulated[component] = amount;
}

/* Totals from what was credited */
void
account_restate(RunningAccount *account)
{
	if (account->fixed && commission_restate(&account->kernel))
	{
		account->rounded = account->kernel.rounded;
		return;
	}
	if (account->fixed)
		leave_kernel(account);
	account->total = decimal_zero();
	for (int i = 0; i < account->ncomponents; i++)
	{
		account->earned[i] = plan_cumulative(&account->tiers[i], account->cumulated[i]);
		account->total = decimal_add(account->total, account->earned[i]);
	}
	account->rounded = round_total(account, account->total);
}

/* Credit an amount; see account_pg.h. */
void
account_credit(RunningAccount *account, int component, CommissionInt amount, Numeric exact, AccountStep *step)
{
	CommissionStep small;

	if (account->fixed && exact && !decimal_from_numeric(exact, COMMISSION_AMOUNT_DIGITS, &amount))
		leave_kernel(account);
	if (account->fixed && commission_credit(&account->kernel, component, amount, &small))
	{
		/* the last line's 'after' is this one's 'before': made once */
		step->before = account->cumulated[component];
		step->after = account->cumulated[component] =
			decimal_to_numeric(small.after, COMMISSION_AMOUNT_DIGITS, account->exponent);
		step->total_before = account->keep_totals ?
			decimal_to_numeric(small.total_before, COMMISSION_VALUE_DIGITS, account->exponent) : NULL;
		step->amount = small.amount;
		account->rounded = account->kernel.rounded;
		return;
	}
	if (account->fixed)
		leave_kernel(account);
	credit_numeric(account, component,
				   exact ? exact : decimal_to_numeric(amount, COMMISSION_AMOUNT_DIGITS, account->exponent), step);
}

/* What was credited to a component so far */
Numeric
account_cumulated(RunningAccount *account, int component)
{
	return account->cumulated[component];
}
