/*
 * terms_pg.c
 *		What an account's tiers are made from: the quota with ramp and proration, the share of the period, the year's gate.
 *
 * Everything follows from the rep's assignments and the plan's version; nothing here looks at the ledger.
 */
#include "postgres.h"

#include "commission/settle_pg.h"

/* Days of [a, b) that lie in [c, d) */
static int
overlap_days(DateADT a, DateADT b, DateADT c, DateADT d)
{
	return Max(0, Min(b, d) - Max(a, c));
}

/* Periods of a plan between the one an assignment began in and this one */
static int
periods_since(PlanPeriod period, DateADT begin, DateADT start)
{
	int			count = 0;
	DateADT		at;

	if (begin == DATEVAL_NOBEGIN)
		return INT_MAX;
	at = plan_period_start(period, begin);
	while (at < start && count < 1000)
	{
		at = plan_period_next(period, at);
		count++;
	}
	return count;
}

/* The first day of the unbroken time in which a rep has had the plan up to an assignment: a new quota makes no new rep */
static DateADT
held_since(const Rep *rep, const Assignment *assignment)
{
	DateADT		since = assignment->from;

	/* in order of their first days: going backwards meets each after the one that it joins */
	for (int i = list_length(rep->assignments) - 1; i >= 0; i--)
	{
		const Assignment *earlier = list_nth(rep->assignments, i);

		if (earlier->to == since && strcmp(earlier->plan, assignment->plan) == 0)
			since = earlier->from;
	}
	return since;
}

/* One assignment's quota in this period, with the ramp of a new rep */
static Numeric
ramped_quota(const PlanDefinition *plan, const Rep *rep, const Assignment *assignment, DateADT start)
{
	int			index;

	if (assignment->quota == NULL || plan->nramp == 0)
		return assignment->quota;
	index = periods_since(plan->period, held_since(rep, assignment), start);
	return index < plan->nramp ? decimal_mul(assignment->quota, plan->ramp[index]) : assignment->quota;
}

/* Quota of [from, to), weighted by the days of each assignment; NULL where there is none */
static Numeric
quota_of(const CreditAccount *account, DateADT from, DateADT to, int period_days, int exponent)
{
	const PlanDefinition *plan = account->version->definition;
	Numeric		quota = NULL;
	ListCell   *cell;

	foreach(cell, account->rep->assignments)
	{
		Assignment *assignment = lfirst(cell);
		int			days = overlap_days(assignment->from, assignment->to, from, to);
		Numeric		part = ramped_quota(plan, account->rep, assignment, plan_period_start(plan->period, from));

		if (days == 0 || part == NULL || strcmp(assignment->plan, account->plan) != 0)
			continue;
		if (plan->prorate && days < period_days)
			part = decimal_div(decimal_mul(part, decimal_integer(days)), decimal_integer(period_days));
		quota = quota && plan->prorate ? decimal_add(quota, part) : part;
	}
	if (quota == NULL)
		return NULL;
	/* a quota that the proration brought to a fraction of a cent is rounded; a whole one stays as it was given */
	return decimal_compare(quota, decimal_round(quota, exponent)) == 0 ? quota : decimal_round(quota, exponent);
}

/* Share of the plan's period that the rep held it; NULL for all of it */
static Numeric
share_of(const CreditAccount *account, int period_days)
{
	int			days = 0;
	ListCell   *cell;

	foreach(cell, account->rep->assignments)
	{
		Assignment *assignment = lfirst(cell);

		if (strcmp(assignment->plan, account->plan) == 0)
			days += overlap_days(assignment->from, assignment->to, account->from, account->to);
	}
	if (days == 0 || days >= period_days || !account->version->definition->prorate)
		return NULL;
	return decimal_div(decimal_integer(days), decimal_integer(period_days));
}

/* The amount at which the year's gate opens: what it asks of the year so far, less what was credited earlier in it */
static Numeric
gate_amount(const Calculation *calculation, const CreditAccount *account, int exponent)
{
	const PlanDefinition *plan = account->version->definition;
	DateADT		year = plan_period_start(PLAN_YEAR, account->from);
	DateADT		end = plan->gate_of == GATE_YEAR ? plan_period_next(PLAN_YEAR, year) : account->to;
	Numeric		sum = decimal_zero();
	Numeric		quota = decimal_zero();
	ListCell   *cell;

	foreach(cell, account->rep->accounts)
	{
		CreditAccount *earlier = lfirst(cell);

		if (earlier->from >= account->from || earlier->from < year || earlier->purpose != PURPOSE_CREDIT ||
			strcmp(earlier->plan, account->plan) != 0 || strcmp(earlier->currency, account->currency) != 0)
			continue;
		for (int64 i = 0; i < earlier->count; i++)
		{
			Credit	   *credit = &calculation->credits[earlier->start + i];

			sum = decimal_add(sum, credit->exact ? credit->exact :
							  decimal_to_numeric(credit->amount, COMMISSION_AMOUNT_DIGITS, 0));
		}
	}
	for (DateADT start = year; start < end; start = plan_period_next(plan->period, start))
	{
		DateADT		next = plan_period_next(plan->period, start);
		Numeric		part = quota_of(account, start, next, next - start, exponent);

		if (part)
			quota = decimal_add(quota, part);
	}
	return decimal_sub(plan->measure == PLAN_ATTAINMENT ? decimal_mul(plan->gate_at, quota) : plan->gate_at, sum);
}

/* Whether the account is one that the rep has now: a period as the plan's versions cut it, of which a day is assigned */
static bool
is_current(const CreditAccount *account)
{
	ListCell   *cell;
	DateADT		from;
	DateADT		to;

	scope_segment(account->version, account->from, &from, &to);
	if (from != account->from || to != account->to)
		return false;

	foreach(cell, account->rep->assignments)
	{
		Assignment *assignment = lfirst(cell);

		if (strcmp(assignment->plan, account->plan) == 0 &&
			overlap_days(assignment->from, assignment->to, account->from, account->to) > 0)
			return true;
	}
	return false;
}

/* Whether the account is past the first periods in which its plan draws */
static bool
draw_has_ended(const CreditAccount *account)
{
	const PlanDefinition *plan = account->version->definition;
	ListCell   *cell;

	if (plan->draw_periods < 0)
		return false;
	foreach(cell, account->rep->assignments)
	{
		Assignment *assignment = lfirst(cell);

		if (strcmp(assignment->plan, account->plan) == 0 &&
			overlap_days(assignment->from, assignment->to, account->from, account->to) > 0)
			return periods_since(plan->period, held_since(account->rep, assignment), plan_period_start(plan->period, account->from)) >=
				plan->draw_periods;
	}
	return true;
}

/* The terms of an account: quota, share of the period, what came before in the year */
void
settle_terms(const Calculation *calculation, const CreditAccount *account, AccountTerms *terms)
{
	const PlanDefinition *plan = account->version->definition;
	DateADT		start = plan_period_start(plan->period, account->from);
	int			period_days = plan_period_next(plan->period, start) - start;

	memset(terms, 0, sizeof(AccountTerms));
	terms->plan = plan;
	terms->exponent = commission_currency_exponent(account->currency);
	if (account->purpose != PURPOSE_CREDIT)
	{
		terms->flat_rate = account->purpose == PURPOSE_OVERRIDE && plan->override_rate ? plan->override_rate : decimal_zero();
		terms->by_level = account->purpose == PURPOSE_OVERRIDE && plan->override_rates != NULL;
		return;
	}
	terms->quota = quota_of(account, account->from, account->to, period_days, terms->exponent);
	terms->share = share_of(account, period_days);
	terms->draw_ended = plan->draw && draw_has_ended(account);
	if (plan->gate_at && !terms->orphaned)
		terms->gate = gate_amount(calculation, account, terms->exponent);
	if (account->seen == 0 && !is_current(account))
	{
		terms->orphaned = true;
		terms->share = decimal_zero();
		terms->flat_rate = decimal_zero();
		return;
	}
	if (plan->measure == PLAN_ATTAINMENT && terms->quota == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("rep \"%s\" has no quota in plan \"%s\", which measures attainment", account->rep->id, account->plan),
				 errhint("Assign the plan with a quota: salesops.assign_commission_plan(rep_id, plan, effective, quota).")));
}
