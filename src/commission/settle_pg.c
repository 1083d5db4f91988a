/*
 * settle_pg.c
 *		One account from its credits to the lines that the ledger lacks.
 *
 * The ledger is never changed. An account (rep, plan, period earned in) that it does not hold yet gets a line a credit. One
 * that it holds is compared: a credit that is new, changed or gone moves the account on from where the ledger left it, in one
 * line that names what it corrects; and where the plan itself gives another result (a new version, a new quota), one line
 * for the whole account makes up the difference. Either way the lines add up to round(F(sum of the credits)).
 *
 * A line is paid with a period that is open: its own, or the next one that is when its own is closed. README.md beside this
 * file describes the states.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

#include "commission/settle_pg.h"
#include "core/own.h"

/* What the ledger holds for a credit (and component), or for the account as a whole */
typedef struct Held
{
	char	   *id;
	int			component;
	DateADT		date;
	Numeric		credited;
	CommissionInt amount;		/* minor units */
	int64		first_line;
	int64		last_line;
	bool		unpaid;			/* the last line took it back for want of payment */
	bool		moved;			/* the credit is there, in another component */
	bool		seen;
} Held;

/* What the ledger holds for an account */
typedef struct HeldAccount
{
	int			count;
	Held	   *credits;		/* by id and component */
	CommissionInt earned;		/* of credits, and of the account as a whole; without floor, marks and draws */
	CommissionInt floor;
	CommissionInt *marks;		/* per bonus of the plan */
	CommissionInt drawn;
	int64		last_line;
} HeldAccount;

/* The account that is being worked on */
typedef struct Work
{
	Calculation *calculation;
	CreditAccount *account;
	AccountTerms terms;
	RunningAccount *running;
	Credit	   *credits;
	DateADT		closed_to;		/* credits before it are of a closed period */
	int			nlines;
	int			capacity;
	LedgerLine *lines;
	Numeric		credited;
	CommissionInt earned;		/* by the lines made */
	CommissionInt drawn;
	CommissionInt due;			/* what the account must come to, without draws */
} Work;

/* While what the ledger holds is loaded */
typedef struct Holding
{
	Work	   *work;
	HeldAccount *held;
} Holding;

/* ---- lines -------------------------------------------------------------------------------------------------------- */

/* Minor units as numeric */
static Numeric
money(const Work *work, CommissionInt minor)
{
	return decimal_to_numeric(minor, work->terms.exponent, work->terms.exponent);
}

/* Room for one more line */
static LedgerLine *
new_line(Work *work, char kind, CommissionInt amount)
{
	LedgerLine *line;

	if (work->nlines == work->capacity)
	{
		work->capacity = Max(work->capacity * 2, (int) Min(work->account->count + 4, INT_MAX / 4));
		work->lines = work->lines == NULL ? MemoryContextAllocHuge(CurrentMemoryContext, sizeof(LedgerLine) * work->capacity) :
			repalloc_huge(work->lines, sizeof(LedgerLine) * work->capacity);
	}
	line = &work->lines[work->nlines++];
	memset(line, 0, sizeof(LedgerLine));
	line->kind = kind;
	line->amount = money(work, amount);
	if (kind == LINE_DRAW)
		work->drawn += amount;
	else
		work->earned += amount;
	return line;
}

/* The kind of a credit's first line */
static char
first_kind(const Work *work, const Credit *credit)
{
	if (credit->unpaid)
		return LINE_UNPAID;
	switch (work->account->purpose)
	{
		case PURPOSE_CREDIT:
			if (credit->date < work->closed_to)
				return LINE_TRUE_UP;
			return credit->refund && work->terms.plan->clawback_days >= 0 ? LINE_CLAWBACK : LINE_EARNED;
		case PURPOSE_OVERRIDE:
			return credit->date < work->closed_to ? LINE_TRUE_UP : LINE_OVERRIDE;
		default:
			return credit->date < work->closed_to ? LINE_TRUE_UP : LINE_BONUS;
	}
}

/* Move the running account on by an amount, and make the line */
static LedgerLine *
credit_line(Work *work, char kind, const char *id, DateADT date, int component, CommissionInt amount, Numeric exact)
{
	AccountStep step;
	LedgerLine *line;

	account_credit(work->running, component, amount, exact, &step);
	line = new_line(work, kind, step.amount);
	line->credit_id = id;
	line->has_date = true;
	line->credited_on = date;
	line->component = component;
	line->before = step.before;
	line->after = step.after;
	line->total_before = step.total_before;
	return line;
}

/* An account that the ledger does not hold: a line a credit, in order */
static void
first_lines(Work *work)
{
	for (int64 i = 0; i < work->account->count; i++)
	{
		Credit	   *credit = &work->credits[i];
		LedgerLine *line = credit_line(work, first_kind(work, credit), credit->id, credit->date, credit->component,
									   credit->amount, credit->exact);

		line->source = credit->source;
		if (work->account->purpose >= PURPOSE_BONUS)
		{
			work->earned += credit->preset;
			line->amount = money(work, credit->preset);
		}
	}
	work->due = work->account->purpose >= PURPOSE_BONUS ? work->earned : work->running->rounded;
}

/* ---- what the ledger holds ---------------------------------------------------------------------------------------- */

/* By id (bytes), then component */
static int
compare_held(const void *a, const void *b)
{
	const Held *x = a;
	const Held *y = b;
	int			order = strcmp(x->id, y->id);

	return order != 0 ? order : x->component - y->component;
}

/* Minor units of a stored amount */
static CommissionInt
minor_units(const Work *work, Numeric amount)
{
	CommissionInt minor;

	if (!decimal_from_numeric(amount, work->terms.exponent, &minor))
		elog(ERROR, "ledger amount %s has fractions of a minor unit", decimal_text(amount));
	return minor;
}

/* A line about the account as a whole, by its kind and component */
static void
hold_account_line(HeldAccount *held, char kind, int component, CommissionInt amount, int nbonuses)
{
	if (kind == LINE_DRAW)
		held->drawn += amount;
	else if (kind == LINE_BONUS && component > 0 && component <= nbonuses)
		held->marks[component - 1] += amount;
	else if (kind == LINE_EARNED)
		held->floor += amount;
	else
		held->earned += amount;
}

/* One stored line */
static void
hold_line(const Datum *values, const bool *nulls, void *arg)
{
	Holding    *holding = arg;
	HeldAccount *held = holding->held;
	char		kind = DatumGetChar(values[ENTRY_KIND]);
	int			component = DatumGetInt16(values[ENTRY_COMPONENT]);
	CommissionInt amount = minor_units(holding->work, DatumGetNumeric(values[ENTRY_AMOUNT]));
	Held	   *one;

	held->last_line = DatumGetInt64(values[ENTRY_LINE_ID]);
	if (nulls[ENTRY_CREDIT_ID])
	{
		hold_account_line(held, kind, component, amount, holding->work->terms.plan->nbonuses);
		return;
	}
	one = &held->credits[held->count++];
	one->id = TextDatumGetCString(values[ENTRY_CREDIT_ID]);
	/* a component that the plan no longer has is settled with the plan's own tiers */
	one->component = component < holding->work->running->ncomponents ? component : 0;
	one->amount = amount;
	one->first_line = one->last_line = held->last_line;
	one->unpaid = kind == LINE_UNPAID;
	one->moved = false;
	one->credited = decimal_sub(DatumGetNumeric(values[ENTRY_AFTER]), DatumGetNumeric(values[ENTRY_BEFORE]));
	one->date = DatumGetDateADT(values[ENTRY_CREDITED_ON]);
	one->seen = false;
	held->earned += amount;
}

/* Lines of the same credit and component as one */
static void
merge_held(HeldAccount *held)
{
	int			kept = 0;

	qsort(held->credits, held->count, sizeof(Held), compare_held);
	for (int i = 0; i < held->count; i++)
	{
		Held	   *last = kept > 0 ? &held->credits[kept - 1] : NULL;

		if (last == NULL || compare_held(last, &held->credits[i]) != 0)
		{
			held->credits[kept++] = held->credits[i];
			continue;
		}
		last->credited = decimal_add(last->credited, held->credits[i].credited);
		last->amount += held->credits[i].amount;
		if (held->credits[i].last_line > last->last_line)
		{
			last->last_line = held->credits[i].last_line;
			last->unpaid = held->credits[i].unpaid;
		}
		last->first_line = Min(last->first_line, held->credits[i].first_line);
	}
	held->count = kept;
}

/* Load what the ledger holds for the account */
static HeldAccount *
load_held(Work *work)
{
	HeldAccount *held = palloc0(sizeof(HeldAccount));
	Holding		holding = {work, held};
	int64		lines = 0;
	ListCell   *cell;

	foreach(cell, work->account->prior)
		lines += ((PriorPosting *) lfirst(cell))->nlines;
	held->credits = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Held) * (lines + 1));
	held->marks = palloc0(sizeof(CommissionInt) * Max(work->terms.plan->nbonuses, 1));
	foreach(cell, work->account->prior)
	{
		PriorPosting *prior = lfirst(cell);
		OwnKey		keys[] = {
			{ENTRY_LINE_ID + 1, BTGreaterEqualStrategyNumber, F_INT8GE, Int64GetDatum(prior->first_line)},
			{ENTRY_LINE_ID + 1, BTLessStrategyNumber, F_INT8LT, Int64GetDatum(prior->first_line + prior->nlines)}
		};

		own_scan("commission_entry", "commission_entry_pkey", true, lengthof(keys), keys, hold_line, &holding);
	}
	merge_held(held);
	return held;
}

/* What is held for a credit and component, or NULL */
static Held *
find_held(HeldAccount *held, char *id, int component)
{
	Held		key = {.id = id, .component = component};

	return bsearch(&key, held->credits, held->count, sizeof(Held), compare_held);
}

/* ---- corrections -------------------------------------------------------------------------------------------------- */

/* The credited amount as numeric */
static Numeric
credit_amount(const Work *work, const Credit *credit)
{
	return credit->exact ? credit->exact : decimal_to_numeric(credit->amount, COMMISSION_AMOUNT_DIGITS, work->terms.exponent);
}

/* Whether lines depend on the order of credits: then an account is computed anew and compared credit by credit */
static bool
depends_on_order(const Work *work)
{
	return work->running->by_deal || work->running->shared || work->terms.plan->deal_cap || work->terms.plan->deal_floor ||
		work->terms.orphaned ||
		work->account->purpose >= PURPOSE_BONUS;
}

/* The first day that a correction is paid for: what a clawback's window is measured against */
static DateADT
correction_date(const Work *work)
{
	return Max(work->calculation->from, scope_closed_until(work->calculation, work->account->from));
}

/* Kind of a line that corrects one in the ledger; false where the clawback window has passed and nothing is taken back */
static bool
correction_kind(const Work *work, const Held *held, bool less, bool unpaid, char *kind)
{
	int			days = work->terms.plan->clawback_days;

	*kind = less && unpaid ? LINE_UNPAID : !less && held->unpaid ? LINE_REPAID : LINE_TRUE_UP;
	if (*kind != LINE_TRUE_UP)
		return true;
	if (!less || days < 0 || !work->account->closed || held->moved)
		return true;
	*kind = LINE_CLAWBACK;
	return correction_date(work) <= held->date + days;
}

/* A credit that the ledger holds with another amount (or that is gone): one line moves the account on */
static void
correct_by_amount(Work *work, Held *held, Numeric now, const Credit *credit)
{
	Numeric		change = decimal_sub(now, held->credited);
	bool		less = decimal_compare(change, decimal_zero()) < 0;
	LedgerLine *line;
	char		kind;

	if (decimal_is_zero(change) || !correction_kind(work, held, less, credit && credit->unpaid, &kind))
		return;
	line = credit_line(work, kind, held->id, held->date, held->component, 0, change);
	line->corrects = held->first_line;
	line->source = credit ? credit->source : NULL;
}

/* The line that makes up what the plan's terms, not the credits, changed */
static void
residual_line(Work *work, HeldAccount *held, CommissionInt amount)
{
	LedgerLine *line;

	if (amount == 0)
		return;
	line = new_line(work, LINE_TRUE_UP, amount);
	line->before = account_cumulated(work->running, 0);
	line->after = line->before;
	line->corrects = held->last_line;
}

/* The account as the ledger left it */
static void
restore_account(Work *work, HeldAccount *held)
{
	Numeric    *sums = palloc0(sizeof(Numeric) * work->running->ncomponents);

	for (int i = 0; i < held->count; i++)
	{
		int			component = held->credits[i].component;

		sums[component] = sums[component] ? decimal_add(sums[component], held->credits[i].credited) : held->credits[i].credited;
	}
	for (int i = 0; i < work->running->ncomponents; i++)
		if (sums[i])
			account_set(work->running, i, sums[i]);
	account_restate(work->running);
}

/*
 * What is held of credits that are now in another component: no loss, so no window keeps it. (What is not taken back there would be
 * paid twice.)
 */
static void
mark_moved(const Work *work, HeldAccount *held)
{
	if (work->terms.plan->clawback_days < 0 || work->running->ncomponents == 1)
		return;
	for (int64 i = 0; i < work->account->count; i++)
		for (int component = 0; component < work->running->ncomponents; component++)
		{
			Held	   *other = component != work->credits[i].component ? find_held(held, work->credits[i].id, component) : NULL;

			if (other)
				other->moved = true;
		}
}

/* Corrections where the sum alone decides: from where the ledger left the account, a line a change */
static void
correct_by_sum(Work *work, HeldAccount *held)
{
	restore_account(work, held);
	residual_line(work, held, work->running->rounded - held->earned);
	for (int64 i = 0; i < work->account->count; i++)
	{
		Held	   *before = find_held(held, work->credits[i].id, work->credits[i].component);

		if (before)
			before->seen = true;
	}
	for (int i = 0; i < held->count; i++)
		if (!held->credits[i].seen)
			correct_by_amount(work, &held->credits[i], decimal_zero(), NULL);
	for (int64 i = 0; i < work->account->count; i++)
	{
		Credit	   *credit = &work->credits[i];
		Held	   *before = find_held(held, credit->id, credit->component);
		LedgerLine *line;

		if (before)
		{
			correct_by_amount(work, before, credit_amount(work, credit), credit);
			continue;
		}
		line = credit_line(work, first_kind(work, credit), credit->id, credit->date, credit->component,
						   credit->amount, credit->exact);
		line->source = credit->source;
		line->corrects = line->kind == LINE_TRUE_UP ? held->last_line : 0;
	}
	work->due = work->running->rounded;
}

/* One credit's difference between what it earns now and what the ledger holds for it */
static void
correct_credit(Work *work, HeldAccount *held, Held *before, const LedgerLine *now, Numeric *sums, CommissionInt *skipped)
{
	CommissionInt change = (now ? minor_units(work, now->amount) : 0) - (before ? before->amount : 0);
	Numeric		credited = now ? decimal_sub(now->after, now->before) : decimal_zero();
	int			component = now ? now->component : before->component;
	int			position = account_position(work->running, component);
	LedgerLine *line;
	char		kind = now ? now->kind : LINE_TRUE_UP;

	if (before)
		credited = decimal_sub(credited, before->credited);
	if (change == 0 && decimal_is_zero(credited))
		return;
	if (before && !correction_kind(work, before, change < 0, now && now->kind == LINE_UNPAID, &kind))
	{
		*skipped += change;
		return;
	}
	line = new_line(work, kind, change);
	line->credit_id = now ? now->credit_id : before->id;
	line->has_date = true;
	line->credited_on = now ? now->credited_on : before->date;
	line->component = component;
	line->source = now ? now->source : NULL;
	line->before = sums[position];
	line->after = sums[position] = decimal_add(sums[position], credited);
	line->corrects = before ? before->first_line : kind == LINE_TRUE_UP ? held->last_line : 0;
}

/* Corrections where order decides (caps of single deals, budgets): computed anew, compared credit by credit */
static void
correct_by_credit(Work *work, HeldAccount *held)
{
	Work		scratch = *work;
	Numeric    *sums = palloc0(sizeof(Numeric) * work->running->ncomponents);
	CommissionInt skipped = 0;

	first_lines(&scratch);
	for (int i = 0; i < work->running->ncomponents; i++)
		sums[i] = decimal_zero();
	for (int i = 0; i < held->count; i++)
	{
		int			position = account_position(work->running, held->credits[i].component);

		sums[position] = decimal_add(sums[position], held->credits[i].credited);
	}
	for (int i = 0; i < scratch.nlines; i++)
	{
		Held	   *before = find_held(held, unconstify(char *, scratch.lines[i].credit_id), scratch.lines[i].component);

		if (before)
			before->seen = true;
		correct_credit(work, held, before, &scratch.lines[i], sums, &skipped);
	}
	for (int i = 0; i < held->count; i++)
		if (!held->credits[i].seen)
			correct_credit(work, held, &held->credits[i], NULL, sums, &skipped);
	work->due = scratch.due;
	residual_line(work, held, scratch.due - held->earned - work->earned - skipped);
	work->due -= skipped;
}

/* ---- the account as a whole: floor, marks, draws ------------------------------------------------------------------ */

/* A line about the whole account that brings what is held to what is due */
static void
account_line(Work *work, char kind, int component, CommissionInt due, CommissionInt held_amount, int64 corrects)
{
	LedgerLine *line;

	if (due == held_amount)
		return;
	line = new_line(work, kind, due - held_amount);
	line->component = component;
	line->corrects = held_amount != 0 ? corrects : 0;
}

/* A limit of the plan for this account's share of the period, in minor units */
static CommissionInt
account_limit(const Work *work, Numeric limit)
{
	if (work->terms.share)
		limit = decimal_mul(limit, work->terms.share);
	return minor_units(work, decimal_round(limit, work->terms.exponent));
}

/* Sum credited to all components, as the marks of bonuses are measured on */
static Numeric
credited_sum(const Work *work)
{
	Numeric		sum = decimal_zero();

	for (int64 i = 0; i < work->account->count; i++)
		sum = decimal_add(sum, credit_amount(work, &work->credits[i]));
	return sum;
}

/* What a bonus of the period's sum comes to, before rounding: once a mark is reached, or for every so much */
static Numeric
mark_value(const Work *work, const PlanBonus *bonus)
{
	Numeric		unit = work->terms.plan->measure == PLAN_ATTAINMENT ? work->terms.quota : decimal_integer(1);
	Numeric		sum = credited_sum(work);
	Numeric		value;

	if (bonus->at && decimal_compare(sum, decimal_mul(bonus->at, unit)) < 0)
		return decimal_zero();
	if (bonus->rate)
		value = decimal_mul(bonus->rate, sum);
	else if (bonus->every)
		value = decimal_mul(bonus->amount, decimal_floor(decimal_div(sum, decimal_mul(bonus->every, unit))));
	else
		value = bonus->amount;
	if (decimal_is_negative(value))
		return decimal_zero();
	return bonus->cap && decimal_compare(value, bonus->cap) > 0 ? bonus->cap : value;
}

/* A bonus by how the plan's reps stand to each other, once the period is over; one rep's calculation leaves it as it is */
static void
contest_line(Work *work, const HeldAccount *held, int bonus)
{
	CommissionInt held_amount = held ? held->marks[bonus] : 0;
	CommissionInt due = work->account->contest && !work->terms.orphaned ? work->account->contest[bonus] : 0;
	int			before = work->nlines;

	if (work->calculation->only)
		due = held_amount;
	else if (work->calculation->to < work->account->to)
		return;
	account_line(work, LINE_BONUS, bonus + 1, due, held_amount, held ? held->last_line : 0);
	if (work->nlines > before)
		work->lines[before].before = work->lines[before].after = credited_sum(work);
	work->due += due;
}

/* Bonuses for what the period's sum has reached */
static void
mark_lines(Work *work, const HeldAccount *held)
{
	const PlanDefinition *plan = work->terms.plan;

	for (int i = 0; i < plan->nbonuses; i++)
	{
		const PlanBonus *bonus = &plan->bonuses[i];
		CommissionInt due = 0;

		if (!PLAN_BONUS_OF_PERIOD(bonus))
			continue;
		if (PLAN_BONUS_OF_REPS(bonus))
		{
			contest_line(work, held, i);
			continue;
		}
		if (!work->terms.orphaned)
			due = minor_units(work, decimal_round(mark_value(work, bonus), work->terms.exponent));
		account_line(work, LINE_BONUS, i + 1, due, held ? held->marks[i] : 0, held ? held->last_line : 0);
		work->due += due;
	}
}

/* Whether what was drawn by another plan is owed */
static bool
was_recoverable(const Work *work, const DrawnBefore *drawn)
{
	const PlanVersion *version = scope_version(work->calculation, drawn->plan, drawn->from);

	return version && version->definition->draw && version->definition->draw_recoverable;
}

/* What the rep owes from recoverable draws of earlier periods, by whichever plan they were advanced */
static CommissionInt
drawn_before(const Work *work)
{
	CommissionInt sum = 0;
	ListCell   *cell;

	foreach(cell, work->account->rep->drawn)
	{
		DrawnBefore *drawn = lfirst(cell);

		if (drawn->from < work->account->from && strcmp(drawn->currency, work->account->currency) == 0 &&
			(drawn->plan == work->account->plan || was_recoverable(work, drawn)))
			sum += minor_units(work, drawn->amount);
	}
	return sum;
}

/* Remember what this calculation draws: a later period of it recovers it. */
static void
remember_drawn(Work *work, CommissionInt amount)
{
	MemoryContext old = MemoryContextSwitchTo(work->calculation->context);
	DrawnBefore *drawn = palloc(sizeof(DrawnBefore));

	drawn->plan = work->account->plan;
	drawn->currency = work->account->currency;
	drawn->from = work->account->from;
	drawn->amount = money(work, amount);
	work->account->rep->drawn = lappend(work->account->rep->drawn, drawn);
	MemoryContextSwitchTo(old);
}

/* The draw: an advance up to it, recovered from later commission above it where it is recoverable */
static void
draw_line(Work *work, const HeldAccount *held)
{
	const PlanDefinition *plan = work->terms.plan;
	CommissionInt draw = work->terms.draw_ended ? 0 : account_limit(work, plan->draw);
	CommissionInt owed = plan->draw_recoverable ? drawn_before(work) : 0;
	CommissionInt due = draw - work->due;

	if (due < 0)
		due = -Min(Max(owed, 0), -due);
	account_line(work, LINE_DRAW, 0, due, held ? held->drawn : 0, held ? held->last_line : 0);
	if (due != (held ? held->drawn : 0))
		remember_drawn(work, due - (held ? held->drawn : 0));
}

/* Lines about the account as a whole; floor and draw once its period is over (for what was asked) */
static void
account_lines(Work *work, const HeldAccount *held)
{
	const PlanDefinition *plan = work->terms.plan;
	bool		complete = work->calculation->to >= work->account->to;

	if (work->account->purpose != PURPOSE_CREDIT)
		return;
	if (plan->floor && complete)
	{
		CommissionInt due = Max(0, account_limit(work, plan->floor) - work->due);

		account_line(work, LINE_EARNED, -1, due, held ? held->floor : 0, held ? held->last_line : 0);
		work->due += due;
	}
	mark_lines(work, held);
	if (plan->draw && complete)
		draw_line(work, held);
}

/* ---- the period that a posting is paid with ----------------------------------------------------------------------- */

/* The open period that an account's lines are paid with: its own as far as asked for, or the next that is open */
static void
payment_period(const Work *work, DateADT *from, DateADT *to)
{
	const Calculation *calculation = work->calculation;
	const CreditAccount *account = work->account;
	PlanPeriod	period = account->version->definition->period;
	bool		reached = account->from < calculation->to && account->to > calculation->from;

	if (reached && !account->closed)
	{
		*from = Max(account->from, calculation->from);
		*to = Min(account->to, calculation->to);
	}
	else
	{
		*from = Max(calculation->from, account->from);
		*to = Min(calculation->to, plan_period_next(period, plan_period_start(period, *from)));
	}
	while (scope_closed_until(calculation, *from) > *from)
	{
		*from = scope_closed_until(calculation, *from);
		if (*from >= *to)
			*to = plan_period_next(period, plan_period_start(period, *from));
	}
}

/* ---- one account -------------------------------------------------------------------------------------------------- */

/* All that the account's lines are made from, whatever the order of its credits: the same again means nothing to do */
static int64
fingerprint(const Work *work)
{
	uint64		terms = credits_mix(work->account->version->version, work->account->purpose);
	uint64		sum = work->account->light ? work->account->light_print : 0;

	terms = credits_mix_numeric(terms, work->terms.quota);
	terms = credits_mix_numeric(terms, work->terms.share);
	terms = credits_mix_numeric(terms, work->terms.gate);
	terms = credits_mix(terms, work->terms.plan->draw && work->calculation->to >= work->account->to ? (uint64) drawn_before(work) + 1 : 0);
	terms = credits_mix(terms, work->terms.plan->floor && work->calculation->to >= work->account->to);
	for (int i = 0; work->account->contest && i < work->terms.plan->nbonuses; i++)
		terms = credits_mix(terms, (uint64) work->account->contest[i]);
	for (int64 i = 0; i < work->account->count; i++)
		sum += credits_print(&work->credits[i]);
	return (int64) credits_mix(terms, sum);
}

/* The same id twice in an account could not be told apart later. */
static void
check_duplicates(Work *work)
{
	int64		size = 16;
	int32	   *table;

	while (size < work->account->count * 2)
		size *= 2;
	table = MemoryContextAllocExtended(CurrentMemoryContext, sizeof(int32) * size, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (int64 i = 0; i < work->account->count; i++)
	{
		uint64		at = work->credits[i].hash & (size - 1);

		while (table[at] != 0)
		{
			Credit	   *other = &work->credits[table[at] - 1];

			if (other->hash == work->credits[i].hash && strcmp(other->id, work->credits[i].id) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_UNIQUE_VIOLATION),
						 errmsg("credit \"%s\" of rep \"%s\" is there twice", other->id, work->account->rep->id),
						 errhint("credit_id must be unique; give each part of a payment an id of its own.")));
			at = (at + 1) & (size - 1);
		}
		table[at] = (int32) (i + 1);
	}
	pfree(table);
}

/* Compute an account's lines; true where there is something to write. */
static bool
work_account(Work *work)
{
	HeldAccount *held = NULL;

	credits_order(work->credits, work->account->count);
	check_duplicates(work);
	work->running = account_make(&work->terms);
	if (work->account->prior == NIL)
		first_lines(work);
	else
	{
		held = load_held(work);
		mark_moved(work, held);
		if (depends_on_order(work))
			correct_by_credit(work, held);
		else
			correct_by_sum(work, held);
	}
	account_lines(work, held);
	return work->nlines > 0;
}

/* Sum of what the lines credit */
static Numeric
lines_credited(const Work *work)
{
	Numeric		sum = decimal_zero();

	/* the first and last values of an account that only has its own tiers tell it at once */
	if (work->account->prior == NIL && work->running->ncomponents == 1)
		return account_cumulated(work->running, 0);
	for (int i = 0; i < work->nlines; i++)
		if (work->lines[i].before)
			sum = decimal_add(sum, decimal_sub(work->lines[i].after, work->lines[i].before));
	return sum;
}

/* Write what was computed. */
static void
post_account(Work *work, LedgerWriter *writer, int64 print)
{
	CreditAccount *account = work->account;
	LedgerPosting posting = {0};

	posting.rep_id = account->rep->id;
	posting.plan = account->plan;
	posting.plan_version = account->version->version;
	payment_period(work, &posting.period_from, &posting.period_to);
	posting.for_from = account->from;
	posting.for_to = account->to;
	posting.currency = account->currency;
	posting.purpose = account->purpose;
	posting.quota = work->terms.quota;
	posting.share = work->terms.share ? work->terms.share : decimal_integer(1);
	posting.gate = work->terms.gate;
	posting.credited = lines_credited(work);
	posting.earned = money(work, work->earned);
	posting.drawn = money(work, work->drawn);
	posting.fingerprint = print;
	posting.nlines = work->nlines;
	posting.lines = work->lines;
	(void) ledger_append(writer, &posting);
	work->calculation->closed_written |= account->closed;
}

/* Whether the ledger holds a light account as it is now; see settle_pg.h. */
bool
settle_is_unchanged(Calculation *calculation, CreditAccount *account)
{
	Work		work = {.calculation = calculation, .account = account};

	settle_terms(calculation, account, &work.terms);
	return fingerprint(&work) == account->prior_fingerprint;
}

/* One account from credits to ledger; see settle_pg.h. */
CommissionInt
settle_account(Calculation *calculation, CreditAccount *account, LedgerWriter *writer, int *exponent)
{
	Work		work = {.calculation = calculation, .account = account};
	int64		print;

	if (account->version == NULL)
		return 0;
	work.credits = &calculation->credits[account->start];
	work.closed_to = scope_closed_until(calculation, account->from);
	settle_terms(calculation, account, &work.terms);
	*exponent = work.terms.exponent;
	print = fingerprint(&work);
	if (writer && account->prior != NIL && print == account->prior_fingerprint)
		return 0;
	if (work_account(&work) && writer)
		post_account(&work, writer, print);
	return work.due;
}
