/*
 * contest_pg.c
 *		Bonuses by how a plan's reps stand to each other in a period: prizes by rank, and pools that are shared out.
 *
 * Reps stand by their sum of the period, in the plan's measure (attainment: by the share of their quota). Who has not reached the
 * bonus's "at", or has nothing credited, is not in it. Equals share the prizes of the places that they hold. Shares add up to what is
 * shared, to the minor unit (largest remainder; what does not come out even goes by the order of rep ids).
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "commission/decimal_pg.h"
#include "commission/settle_pg.h"
#include "core/kernel_pg.h"

/* One rep in a contest */
typedef struct Entrant
{
	CreditAccount *account;
	Numeric		sum;
	Numeric		quota;			/* NULL where the plan measures amounts */
} Entrant;

/* All entrants of one plan, period and currency */
typedef struct Contest
{
	int			count;
	Entrant    *entrants;
	int			exponent;
} Contest;

/* What was credited to an account */
static Numeric
account_sum(const Calculation *calculation, const CreditAccount *account)
{
	Numeric		sum = decimal_zero();

	for (int64 i = 0; i < account->count; i++)
	{
		const Credit *credit = &calculation->credits[account->start + i];

		sum = decimal_add(sum, credit->exact ? credit->exact : decimal_to_numeric(credit->amount, COMMISSION_AMOUNT_DIGITS, 0));
	}
	return sum;
}

/* Minor units of a sum of money */
static CommissionInt
minor_of(Numeric amount, int exponent)
{
	CommissionInt minor;

	if (!decimal_from_numeric(decimal_round(amount, exponent), exponent, &minor))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("a bonus of %s is out of range", decimal_text(amount))));
	return minor;
}

/* Negative where a stands before b: the greater sum, or share of quota */
static int
compare_standing(const Entrant *a, const Entrant *b)
{
	if (a->quota && b->quota)
		return decimal_compare(decimal_mul(b->sum, a->quota), decimal_mul(a->sum, b->quota));
	return decimal_compare(b->sum, a->sum);
}

/* By standing, then rep id */
static int
compare_entrants(const void *a, const void *b)
{
	int			order = compare_standing(a, b);

	return order != 0 ? order : strcmp(((const Entrant *) a)->account->rep->id, ((const Entrant *) b)->account->rep->id);
}

/* Those who have reached the bonus's mark, best first */
static int
qualified(const Contest *contest, const PlanBonus *bonus, Entrant *result)
{
	int			count = 0;

	for (int i = 0; i < contest->count; i++)
	{
		const Entrant *entrant = &contest->entrants[i];
		Numeric		mark = bonus->at ? bonus->at : decimal_zero();

		if (entrant->quota)
			mark = decimal_mul(mark, entrant->quota);
		if (decimal_compare(entrant->sum, decimal_zero()) > 0 && decimal_compare(entrant->sum, mark) >= 0)
			result[count++] = *entrant;
	}
	qsort(result, count, sizeof(Entrant), compare_entrants);
	return count;
}

/* Share an amount among entrants by weights (NULL: equally), each held to the bonus's cap */
static void
share_out(const Entrant *entrants, int count, int bonus, CommissionInt total, const Numeric *weights, CommissionInt cap)
{
	KernelEnv	env = kernel_env_pg(CurrentMemoryContext);
	CommissionInt *fixed = palloc(sizeof(CommissionInt) * count);
	CommissionInt *shares = palloc(sizeof(CommissionInt) * count);

	for (int i = 0; i < count; i++)
	{
		fixed[i] = 1;
		if (weights && !decimal_from_numeric(decimal_round(weights[i], 4), 4, &fixed[i]))
			ereport(ERROR,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("a sum of %s is out of range for a pool", decimal_text(weights[i]))));
	}
	if (!commission_share(&env, total, count, fixed, shares))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("a pool is out of range")));
	for (int i = 0; i < count; i++)
		entrants[i].account->contest[bonus] = Min(shares[i], cap);
	pfree(fixed);
	pfree(shares);
}

/* Prizes by rank; those who stand equal share the prizes of their places */
static void
pay_ranks(const PlanBonus *bonus, int index, const Entrant *entrants, int count, int exponent, CommissionInt cap)
{
	for (int place = 0; place < count && place < bonus->nranks;)
	{
		CommissionInt prizes = 0;
		int			last = place;

		while (last < count && compare_standing(&entrants[place], &entrants[last]) == 0)
		{
			if (last < bonus->nranks)
				prizes += minor_of(bonus->ranks[last], exponent);
			last++;
		}
		share_out(&entrants[place], last - place, index, prizes, NULL, cap);
		place = last;
	}
}

/* A pool, fixed or a share of what all reps of the plan were credited */
static void
pay_pool(const Contest *contest, const PlanBonus *bonus, int index, const Entrant *entrants, int count, CommissionInt cap)
{
	Numeric		pool = bonus->amount;
	Numeric    *weights = palloc(sizeof(Numeric) * count);

	if (bonus->rate)
	{
		pool = decimal_zero();
		for (int i = 0; i < contest->count; i++)
			pool = decimal_add(pool, contest->entrants[i].sum);
		pool = decimal_is_negative(pool) ? decimal_zero() : decimal_mul(pool, bonus->rate);
	}
	for (int i = 0; i < count; i++)
		weights[i] = entrants[i].sum;
	share_out(entrants, count, index, minor_of(pool, contest->exponent), bonus->pool == POOL_PROPORTIONAL ? weights : NULL, cap);
}

/* All ranks and pools of one contest, if anybody is in it */
static void
settle_contest(const Contest *contest)
{
	const PlanDefinition *plan;
	Entrant    *entrants;

	if (contest->count == 0)
		return;
	plan = contest->entrants[0].account->version->definition;
	entrants = palloc(sizeof(Entrant) * contest->count);
	for (int i = 0; i < plan->nbonuses; i++)
	{
		const PlanBonus *bonus = &plan->bonuses[i];
		CommissionInt cap = bonus->cap ? minor_of(bonus->cap, contest->exponent) : PG_INT64_MAX;
		int			count = PLAN_BONUS_OF_REPS(bonus) ? qualified(contest, bonus, entrants) : 0;

		if (count == 0)
			continue;
		if (bonus->nranks > 0)
			pay_ranks(bonus, i, entrants, count, contest->exponent, cap);
		else
			pay_pool(contest, bonus, i, entrants, count, cap);
	}
}

/* Whether an account is in a contest of its plan's reps */
static bool
is_entrant(const CreditAccount *account)
{
	bool		counts = account->version && account->process && account->purpose == PURPOSE_CREDIT;
	const PlanDefinition *plan = counts ? account->version->definition : NULL;

	for (int i = 0; plan && i < plan->nbonuses; i++)
		if (PLAN_BONUS_OF_REPS(&plan->bonuses[i]))
			return true;
	return false;
}

/* By plan, period and currency: a contest's accounts side by side */
static int
compare_contests(const ListCell *a, const ListCell *b)
{
	const CreditAccount *x = lfirst(a);
	const CreditAccount *y = lfirst(b);
	int			order = strcmp(x->plan, y->plan);

	if (order == 0 && x->from != y->from)
		order = x->from < y->from ? -1 : 1;
	if (order == 0 && x->to != y->to)
		order = x->to < y->to ? -1 : 1;
	return order != 0 ? order : strcmp(x->currency, y->currency);
}

/* Enter an account: its sum, and its quota where that is what sums are measured in */
static void
enter(const Calculation *calculation, CreditAccount *account, Contest *contest)
{
	Entrant    *entrant = &contest->entrants[contest->count];
	AccountTerms terms;

	account->contest = palloc0(sizeof(CommissionInt) * account->version->definition->nbonuses);
	settle_terms(calculation, account, &terms);
	contest->exponent = terms.exponent;
	entrant->account = account;
	entrant->sum = account_sum(calculation, account);
	entrant->quota = account->version->definition->measure == PLAN_ATTAINMENT ? terms.quota : NULL;
	if (!terms.orphaned)
		contest->count++;
}

/* What ranks and pools pay to each account; see credits_pg.h. */
void
contest_settle(Calculation *calculation)
{
	List	   *accounts = NIL;
	CreditAccount *last = NULL;
	Contest		contest = {0};
	ListCell   *cell;

	foreach(cell, calculation->accounts)
		if (is_entrant(lfirst(cell)))
			accounts = lappend(accounts, lfirst(cell));
	list_sort(accounts, compare_contests);
	contest.entrants = palloc(sizeof(Entrant) * (list_length(accounts) + 1));
	foreach(cell, accounts)
	{
		if (last && compare_contests(&(ListCell) {.ptr_value = last}, cell) != 0)
		{
			settle_contest(&contest);
			contest.count = 0;
		}
		last = lfirst(cell);
		enter(calculation, last, &contest);
	}
	settle_contest(&contest);
}
