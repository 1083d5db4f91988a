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

/* What one list of tiers is measured against and pays at it; both NULL where the plan measures amounts */
typedef struct ScaleTerms
{
	const PlanTierList *list;
	Numeric		quota;
	Numeric		target;
} ScaleTerms;

/* Terms of a component's own tiers: its quota and target where it has them, else the plan's */
static ScaleTerms
component_terms(const AccountTerms *terms, const PlanComponent *component, const ScaleTerms *plan)
{
	ScaleTerms	scale = {&component->tiers, plan->quota, plan->target};

	if (component->quota)
		scale.quota = prorated(terms, component->quota);
	else if (component->quota_share && plan->quota)
		scale.quota = decimal_round(decimal_mul(plan->quota, component->quota_share), terms->exponent);
	if (component->target)
		scale.target = prorated(terms, component->target);
	else if (component->target_share && plan->target)
		scale.target = decimal_round(decimal_mul(plan->target, component->target_share), terms->exponent);
	return scale;
}

/* Every value's divisor: a multiple of each quota that a target is a share of, and of what curves' slopes are over */
static Numeric
common_divisor(const ScaleTerms *scales, int count)
{
	Numeric		divisor = NULL;

	for (int i = 0; i < count; i++)
	{
		const ScaleTerms *scale = &scales[i];

		if (scale->list == NULL)
			continue;
		if (scale->target && scale->quota && !scale->list->is_curve)
			divisor = decimal_common_multiple(divisor, scale->quota);
		divisor = plan_curve_divisor(scale->list, scale->quota, divisor);
	}
	return divisor;
}

/* What a rate of 1 is as a value: the target over the quota, times the divisor. Of a curve, what is paid at 1. */
static Numeric
scale_multiplier(const ScaleTerms *scale, Numeric divisor)
{
	if (scale->list->is_curve)
		return scale->target;
	if (scale->target && scale->quota)
		return decimal_mul(scale->target, decimal_div(divisor, scale->quota));
	return divisor;
}

/* A sum that levels are read at, in amount: a level's bound times its quota */
static Numeric
level_bound(const PlanLevels *levels, int index, const ScaleTerms *scales)
{
	Numeric		unit = scales[Max(levels->of, 0)].quota;

	return unit ? decimal_mul(levels->at[index], unit) : levels->at[index];
}

/* The tiers of each level of a component */
static void
make_levels(RunningAccount *account, const AccountTerms *terms, int component, const ScaleTerms *scales, const ScaleTerms *level_scales)
{
	const PlanLevels *levels = &terms->plan->components[component - 1].levels;
	AccountLevels *made;

	if (account->levels == NULL)
		account->levels = palloc0(sizeof(AccountLevels) * account->ncomponents);
	made = &account->levels[component];
	made->of = levels->of;
	made->count = levels->count;
	made->from = palloc(sizeof(Numeric) * levels->count);
	made->tiers = palloc0(sizeof(NumericTiers) * levels->count);
	for (int i = 0; i < levels->count; i++)
	{
		made->from[i] = level_bound(levels, i, scales);
		plan_pieces(level_scales[i].list, terms->plan->method, level_scales[i].quota, scale_multiplier(&level_scales[i], account->divisor),
					account->divisor, NULL, NULL, NULL, &made->tiers[i]);
	}
	account->tiers[component] = made->tiers[0];
}

/* Terms of all levels, one component's after the other's, behind those of the components */
static int
level_terms(const PlanDefinition *plan, ScaleTerms *scales, int count)
{
	for (int i = 0; i < plan->ncomponents; i++)
		for (int j = 0; j < plan->components[i].levels.count; j++)
		{
			scales[count] = scales[i + 1];
			scales[count++].list = &plan->components[i].levels.lists[j];
		}
	return count;
}

/* Room for the terms of all components and levels */
static int
count_scales(const PlanDefinition *plan)
{
	int			count = plan->ncomponents + 1;

	for (int i = 0; i < plan->ncomponents; i++)
		count += plan->components[i].levels.count;
	return count;
}

/* The pieces of the plan's tiers and of each component that has its own */
static void
make_tiers(RunningAccount *account, const AccountTerms *terms)
{
	const PlanDefinition *plan = terms->plan;
	ScaleTerms *scales = palloc0(sizeof(ScaleTerms) * count_scales(plan));
	int			at = account->ncomponents;
	Numeric		cliff;

	scales[0].list = &plan->tiers;
	scales[0].quota = plan->measure == PLAN_ATTAINMENT ? terms->quota : NULL;
	scales[0].target = scales[0].quota ? prorated(terms, plan->target) : NULL;
	for (int i = 0; i < plan->ncomponents; i++)
		if (plan->components[i].own_tiers)
			scales[i + 1] = component_terms(terms, &plan->components[i], &scales[0]);
	/* a component with levels has no list of its own */
	for (int i = 0; i < plan->ncomponents; i++)
		if (plan->components[i].levels.count > 0)
			scales[i + 1].list = NULL;
	account->divisor = common_divisor(scales, level_terms(plan, scales, at));
	cliff = plan->cliff && scales[0].quota ? decimal_mul(plan->cliff, scales[0].quota) : plan->cliff;
	for (int i = 0; i < account->ncomponents; i++)
	{
		const PlanComponent *component = i > 0 ? &plan->components[i - 1] : NULL;
		bool		plans_sum = component == NULL || component->shared;

		if (component && component->levels.count > 0)
		{
			make_levels(account, terms, i, scales, &scales[at]);
			at += component->levels.count;
		}
		else if (scales[i].list)
			plan_pieces(scales[i].list, plan->method, scales[i].quota, scale_multiplier(&scales[i], account->divisor),
						account->divisor, plans_sum ? cliff : NULL, plans_sum ? terms->gate : NULL, plan->gate_above, &account->tiers[i]);
		else
			account->tiers[i] = account->tiers[0];
		if (component && component->shared)
		{
			if (account->shared == NULL)
				account->shared = palloc0(sizeof(bool) * account->ncomponents);
			account->shared[i] = true;
		}
	}
}

/* A single rate from 0 on */
static void
make_flat(NumericTiers *tiers, Numeric rate)
{
	PlanTier	tier = {.from = decimal_zero(), .rate = rate};
	PlanTierList list = {1, &tier};

	plan_pieces(&list, PLAN_MARGINAL, NULL, NULL, NULL, NULL, NULL, NULL, tiers);
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
	if (account->levels)
		return;
	kernel->shared = account->shared;
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

	account->ncomponents = !terms->flat_rate ? terms->plan->ncomponents + 1 : terms->by_level ? terms->plan->override_levels : 1;
	account->exponent = terms->exponent;
	account->tiers = palloc0(sizeof(NumericTiers) * account->ncomponents);
	account->cumulated = palloc0(sizeof(Numeric) * account->ncomponents);
	account->earned = palloc0(sizeof(Numeric) * account->ncomponents);
	if (terms->flat_rate)
		for (int i = 0; i < account->ncomponents; i++)
			make_flat(&account->tiers[i], terms->by_level ? terms->plan->override_rates[i] : terms->flat_rate);
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

/* Where a component's running sum is kept: with the plan's where it is shared */
int
account_position(const RunningAccount *account, int component)
{
	return account->shared && account->shared[component] ? 0 : component;
}

/* The tiers of a component as the sums stand; see account_pg.h. */
const NumericTiers *
account_tiers(const RunningAccount *account, int component, Numeric *level)
{
	const AccountLevels *levels = account->levels ? &account->levels[component] : NULL;
	Numeric		sum = decimal_zero();
	int			index = 0;

	*level = sum;
	if (levels == NULL || levels->count == 0)
		return &account->tiers[component];
	if (levels->of == LEVELS_OF_ALL)
		for (int i = 0; i < account->ncomponents; i++)
			sum = decimal_add(sum, account->cumulated[i]);
	else
		sum = account->cumulated[levels->of];
	while (index + 1 < levels->count && decimal_compare(levels->from[index + 1], sum) <= 0)
		index++;
	*level = levels->from[index];
	return &levels->tiers[index];
}

/* What all sums together come to, unrounded; what each component earns of it is kept */
static Numeric
total_of(RunningAccount *account)
{
	Numeric		total = decimal_zero();
	Numeric		level;

	for (int i = 0; i < account->ncomponents; i++)
	{
		account->earned[i] = plan_cumulative(account_tiers(account, i, &level), account->cumulated[i]);
		total = decimal_add(total, account->earned[i]);
	}
	return total;
}

/* Credit an amount where commission follows from all sums together */
static void
credit_by_levels(RunningAccount *account, int component, Numeric amount, AccountStep *step)
{
	CommissionInt before = account->rounded;

	step->before = account->cumulated[component];
	step->total_before = account->total;
	account->cumulated[component] = step->after = decimal_add(step->before, amount);
	account->total = total_of(account);
	account->rounded = round_total(account, account->total);
	step->amount = account->rounded - before;
}

/* Credit an amount in numeric: the kernel's commission_credit, of any size */
static void
credit_numeric(RunningAccount *account, int component, Numeric amount, AccountStep *step)
{
	int			position = account_position(account, component);
	Numeric		after = decimal_add(account->cumulated[position], amount);
	Numeric		earned = plan_cumulative(&account->tiers[component], after);
	Numeric		value = account->by_deal ? account_deal_value(&account->tiers[component], amount) :
		decimal_sub(earned, account->shared ? plan_cumulative(&account->tiers[component], account->cumulated[position]) :
					account->earned[component]);
	Numeric		commission = deal_commission(account, amount, value);
	Numeric		total = decimal_add(account->total, commission);
	CommissionInt rounded = round_total(account, total);

	step->before = account->cumulated[position];
	step->after = after;
	step->total_before = account->keep_totals ? account->total : NULL;
	step->amount = rounded - account->rounded;
	account->cumulated[position] = after;
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
	account->total = total_of(account);
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
		int			position = account_position(account, component);

		/* the last line's 'after' is this one's 'before': made once */
		step->before = account->cumulated[position];
		step->after = account->cumulated[position] =
			decimal_to_numeric(small.after, COMMISSION_AMOUNT_DIGITS, account->exponent);
		step->total_before = account->keep_totals ?
			decimal_to_numeric(small.total_before, COMMISSION_VALUE_DIGITS, account->exponent) : NULL;
		step->amount = small.amount;
		account->rounded = account->kernel.rounded;
		return;
	}
	if (account->fixed)
		leave_kernel(account);
	if (exact == NULL)
		exact = decimal_to_numeric(amount, COMMISSION_AMOUNT_DIGITS, account->exponent);
	if (account->levels)
		credit_by_levels(account, component, exact, step);
	else
		credit_numeric(account, component, exact, step);
}

/* What was credited to a component so far */
Numeric
account_cumulated(RunningAccount *account, int component)
{
	return account->cumulated[component];
}
