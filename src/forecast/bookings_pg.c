/*
 * bookings_pg.c
 *		forecast_bookings(): what a period will bring, by group: booked already, from open deals, from deals yet to come.
 *
 * Open deals come in one by one with their chance of being won within the period; where the amount is an estimate, as a larger and less
 * likely deal of the same mean, which varies as one whose amount is yet to be drawn. Deals yet to come are a Poisson stream:
 * arrivals by the rules that were right in the past, run through the same hazards, with amounts as the group's won deals of the last
 * year had them; they stand in the forecast as many improbable deals. What own past forecasts were wrong by beyond chance is the
 * common deviation of each forecast. Of groups, all share one fit; how many deals arrive is each group's own.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/rangetypes.h"
#include "utils/typcache.h"

#include "core/errors.h"
#include "core/progress.h"
#include "forecast/bookings_pg.h"
#include "forecast/forecast_pg.h"
#include "forecast/groups_pg.h"
#include "forecast/kept_pg.h"

PG_FUNCTION_INFO_V1(salesops_forecast_bookings);

#define RARE_DEAL		0.05	/* probability of the deals a Poisson stream is made of */
#define FEW_WON			5		/* won deals below which a group has no amounts of its own */
#define LONGEST_DAYS	3660	/* ahead */

/* Add a deal to a state that has room for everything; impossible values cannot come from a checked history. */
static void
add_deal(ForecastState *state, double amount, double probability, int64 count)
{
	if (count > 0 && !forecast_add(state, amount, Min(Max(probability, 0.0), 1.0), count))
		elog(ERROR, "a full forecast state has no room");
}

/* Corrected probability that a deal is won within so many days (of the plan, or of another horizon), from its base: what hazards say. */
double
forecast_plan_probability(const ForecastPlan *plan, int deal, double base, int days)
{
	if (base <= 0.0)
		return 0.0;
	base *= hazard_ratio(plan->book->past, plan->model, deal, plan->known, days, base);
	return Min(0.995, plan->whole.open_correction * Min(0.995, base));
}

/* What stage, age and the calendar say of a deal for the planned days. Deals created on one day share a look at the days. */
double
forecast_plan_base(const ForecastPlan *plan, int deal)
{
	HazardPast *past = plan->book->past;
	int32		created = plan->book->history.created[deal];
	int			state = hazard_state(past, &plan->fit, deal, plan->known);
	double		own[HAZARD_STATES];
	double	   *chance = created >= plan->oldest && created <= plan->known ? plan->base[created - plan->oldest] : own;

	if (plan->from >= plan->to)
		return 0.0;
	if (chance == own || isnan(chance[0]))
		hazard_chances(past, &plan->fit, created, plan->known, plan->from, plan->to, chance);
	return chance[state];
}

/* Deviation in money of a lognormal factor of mean 1 on a mean. */
static double
common_deviation(double mean, double log_deviation)
{
	return fabs(mean) * sqrt(expm1(log_deviation * log_deviation));
}

/* Open deals among those numbered, or (NULL) all. */
ForecastState *
forecast_plan_open(const ForecastPlan *plan, const int *member, int count)
{
	const HazardHistory *h = &plan->book->history;
	ForecastState *state = forecast_state_full();

	if (member == NULL)
	{
		member = plan->open;
		count = plan->opens;
	}
	for (int k = 0; k < count; k++)
	{
		int			i = member[k];
		double		chance;

		if (h->created[i] > plan->known || h->closed[i] <= plan->known)
			continue;
		chance = forecast_plan_probability(plan, i, forecast_plan_base(plan, i), plan->to - 1 - plan->known);
		add_deal(state, plan->amount[i] * plan->spread[i], chance / plan->spread[i], 1);
	}
	state->common = common_deviation(forecast_uncertain_mean(state), plan->open_deviation);
	return state;
}

/* Ascending doubles. */
static int
compare_doubles(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return x < y ? -1 : x > y;
}

/* What deals that were won in the year before the known day brought, among those numbered, or (NULL) of all. */
static ForecastWon
won_amounts(const ForecastBook *book, int32 known, const int *member, int members)
{
	const HazardHistory *h = &book->history;
	int			count = member == NULL ? book->count : members;
	double	   *amount = palloc_extended(sizeof(double) * (Size) Max(count, 1), MCXT_ALLOC_HUGE);
	ForecastWon won = {0};

	for (int k = 0; k < count; k++)
	{
		int			i = member == NULL ? k : member[k];

		if (h->outcome[i] == HAZARD_WON && h->closed[i] <= known && h->closed[i] > known - 365 && !isnan(h->won_amount[i]))
			amount[won.count++] = h->won_amount[i];
	}
	qsort(amount, won.count, sizeof(double), compare_doubles);
	for (int i = 0; i < won.count; i++)
		won.mean += amount[i] / won.count;
	won.bins = Min(won.count, FORECAST_AMOUNT_BINS);
	for (int b = 0; b < won.bins; b++)
	{
		int			begin = (int) ((int64) won.count * b / won.bins);
		int			end = (int) ((int64) won.count * (b + 1) / won.bins);

		for (int i = begin; i < end; i++)
			won.value[b] += amount[i];
		won.value[b] /= end - begin;
		won.share[b] = (double) (end - begin) / won.count;
	}
	pfree(amount);
	return won;
}

/* A group's, or everyone's where it has won too few. */
static ForecastWon
group_won(const ForecastPlan *plan, int group)
{
	const ForecastGroups *groups = &plan->book->groups;
	int			start = groups->start[group];
	ForecastWon won = won_amounts(plan->book, plan->known, &groups->member[start], groups->start[group + 1] - start);

	return won.count < FEW_WON ? plan->won : won;
}

/*
 * Shares of new business by group, adding up to 1: arrivals, each group's with its own season, times mean amount, everyone's where a
 * group has won too few. A group of credits among others takes no share; where all together is a credit, a group of sales takes none.
 */
static double *
new_shares(const ForecastPlan *plan)
{
	const ForecastBook *book = plan->book;
	int			groups = book->groups.count;
	double	   *share = palloc_extended(sizeof(double) * (Size) (groups + 1), MCXT_ALLOC_HUGE);
	double	   *arrivals = palloc_extended(sizeof(double) * (Size) (groups + 1), MCXT_ALLOC_HUGE);
	int		   *group = palloc_extended(sizeof(int) * (Size) Max(book->count, 1), MCXT_ALLOC_HUGE);
	double		sign = plan->whole.fresh < 0.0 ? -1.0 : 1.0;
	double		total = 0.0;

	for (int i = 0; i < book->count; i++)
		group[i] = book->deal[i].group;
	hazard_arrivals_by_group(book->past, plan->known, Max(plan->to - 1 - plan->known, 0), group, groups, arrivals);
	for (int g = 0; g < groups; g++)
	{
		if (g % 1024 == 0)
			CHECK_FOR_INTERRUPTS();
		share[g] = sign * plan->won.mean > 0.0 ? Max(sign * arrivals[g] * group_won(plan, g).mean, 0.0) : 0.0;
		total += share[g];
	}
	for (int g = 0; g < groups; g++)
		share[g] = total > 0.0 ? share[g] / total : 0.0;
	pfree(group);
	pfree(arrivals);
	return share;
}

/* The deals that are open on the known day. */
static void
list_open(ForecastPlan *plan)
{
	const HazardHistory *h = &plan->book->history;

	plan->oldest = plan->known + 1;
	plan->open = palloc_extended(sizeof(int) * (Size) Max(h->count, 1), MCXT_ALLOC_HUGE);
	plan->opens = 0;
	for (int i = 0; i < h->count; i++)
		if (h->created[i] <= plan->known && h->closed[i] > plan->known)
		{
			plan->open[plan->opens++] = i;
			plan->oldest = Min(plan->oldest, h->created[i]);
		}
	plan->base = palloc_extended(sizeof(*plan->base) * ((Size) plan->known - plan->oldest + 2), MCXT_ALLOC_HUGE);
	for (int k = 0; k <= plan->known - plan->oldest; k++)
		plan->base[k][0] = NAN;
}

/* Fit, correct and look at what own past forecasts say about being wrong. */
void
forecast_plan(ForecastBook *book, int32 known, int32 from, int32 to, ForecastPlan *plan)
{
	plan->book = book;
	plan->known = known;
	plan->from = Max(from, known + 1);
	plan->to = to;
	plan->model = hazard_choose_model(book->past, known);
	hazard_fit(book->past, known, plan->model, &plan->fit);
	plan->amount = palloc_extended(sizeof(double) * (Size) Max(book->count, 1), MCXT_ALLOC_HUGE);
	plan->spread = palloc_extended(sizeof(double) * (Size) Max(book->count, 1), MCXT_ALLOC_HUGE);
	hazard_amounts(book->past, known, plan->amount, plan->spread);
	list_open(plan);
	plan->won = won_amounts(book, known, NULL, 0);
	memset(&plan->whole, 0, sizeof(plan->whole));
	if (plan->from < to)
		hazard_forecast(book->past, known, plan->from, to, &plan->fit, &plan->whole);
	hazard_correct(book->past, known, plan->model, &plan->whole);
	plan->open_deviation = forecast_deviation(book, known, plan->model, to - 1 - known, true);
	plan->total_deviation = forecast_deviation(book, known, plan->model, to - 1 - known, false);
}

/*
 * Deals yet to come: so much of all, with such amounts. 'open' is the group's open forecast: the two common deviations add up to the
 * total's.
 */
ForecastState *
forecast_plan_new(const ForecastPlan *plan, const ForecastWon *won, double share, const ForecastState *open)
{
	ForecastState *state = forecast_state_full();
	double		wins = won->mean != 0.0 ? Max(plan->whole.fresh * share / won->mean, 0.0) : 0.0;
	double		mean;

	for (int b = 0; b < won->bins && wins > 0.0; b++)
	{
		double		rate = wins * won->share[b];
		double		deals = ceil(rate / RARE_DEAL);

		add_deal(state, won->value[b], rate / deals, (int64) deals);
	}
	mean = forecast_uncertain_mean(state);
	state->common = Max(common_deviation(forecast_uncertain_mean(open) + mean, plan->total_deviation) - open->common,
						0.5 * common_deviation(mean, plan->total_deviation));
	return state;
}

/* Booked, open and new together; wrong by as much as own totals were. */
ForecastState *
forecast_plan_total(const ForecastPlan *plan, const ForecastState *open, const ForecastState *fresh, double booked)
{
	ForecastState *state = forecast_state_full();

	forecast_merge(state, open);
	forecast_merge(state, fresh);
	forecast_add_certain(state, booked);
	state->common = common_deviation(forecast_uncertain_mean(state), plan->total_deviation);
	return state;
}

/* What was won in the period by the known instant, exactly: of the deals numbered, or (NULL) of all. */
static Numeric
booked_amount(const ForecastBook *book, const int *member, int members, int32 lower, int32 upper)
{
	int			count = member == NULL ? book->count : members;
	Datum		sum = DirectFunctionCall1(int8_numeric, Int64GetDatum(0));

	for (int k = 0; k < count; k++)
	{
		int			i = member == NULL ? k : member[k];
		Datum		before = sum;

		if (book->deal[i].amount == NULL || book->history.closed[i] < lower || book->history.closed[i] >= upper)
			continue;
		sum = DirectFunctionCall2(numeric_add, sum, NumericGetDatum(book->deal[i].amount));
		pfree(DatumGetPointer(before));
	}
	return DatumGetNumeric(sum);
}

/* Days of a bounded, non-empty period. */
void
forecast_read_period(RangeType *range, int32 *lower, int32 *upper)
{
	TypeCacheEntry *type = lookup_type_cache(RangeTypeGetOid(range), TYPECACHE_RANGE_INFO);
	RangeBound	from;
	RangeBound	to;
	bool		empty;

	range_deserialize(type, range, &from, &to, &empty);
	if (empty || from.infinite || to.infinite || DATE_NOT_FINITE(DatumGetDateADT(from.val)) || DATE_NOT_FINITE(DatumGetDateADT(to.val)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the period of a forecast must have a first and a last day"),
				 errdetail("The period is %s.", DatumGetCString(OidFunctionCall1(F_RANGE_OUT, RangeTypePGetDatum(range)))),
				 errhint("Write it as '[2027-01-01,2027-04-01)'.")));
	*lower = DatumGetDateADT(from.val);
	*upper = DatumGetDateADT(to.val);
}

/* One result row: of a group (-1: of all), whose share of new business is given. */
static void
put_group(ReturnSetInfo *rsinfo, const ForecastPlan *plan, int group, double share, int32 lower, int32 upper)
{
	const ForecastBook *book = plan->book;
	const int  *member = group < 0 ? NULL : &book->groups.member[book->groups.start[group]];
	int			count = group < 0 ? 0 : book->groups.start[group + 1] - book->groups.start[group];
	ForecastWon won = group < 0 ? plan->won : group_won(plan, group);
	Numeric		booked = booked_amount(book, member, count, lower, Min(upper, plan->known + 1));
	ForecastState *open = forecast_plan_open(plan, member, count);
	ForecastState *fresh = forecast_plan_new(plan, &won, share, open);
	ForecastState *total = forecast_plan_total(plan, open, fresh, forecast_numeric_to_double(booked));
	Datum		values[5];
	bool		nulls[5] = {false};

	values[0] = group < 0 ? PointerGetDatum(construct_empty_array(TEXTOID)) : book->groups.key[group];
	values[1] = NumericGetDatum(booked);
	values[2] = PointerGetDatum(forecast_state_small(open));
	values[3] = PointerGetDatum(forecast_state_small(fresh));
	values[4] = PointerGetDatum(forecast_state_small(total));
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* A row of all, or one a group. */
static void
put_groups(ReturnSetInfo *rsinfo, const ForecastPlan *plan, bool grouped, int32 lower, int32 upper)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "salesops forecast group", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old;
	double	   *share = grouped ? new_shares(plan) : NULL;

	old = MemoryContextSwitchTo(context);
	if (!grouped)
		put_group(rsinfo, plan, -1, 1.0, lower, upper);
	for (int group = 0; grouped && group < plan->book->groups.count; group++)
	{
		CHECK_FOR_INTERRUPTS();
		put_group(rsinfo, plan, group, share[group], lower, upper);
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

/*
 * forecast_bookings(period daterange, by text[], as_of timestamptz): one row a group; without groups one row. Errors:
 * period without bounds or more than ten years ahead, unknown grouping, no closed deal by as_of, undefined stages, several currencies
 * without rates.
 */
Datum
salesops_forecast_bookings(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ArrayType  *by = PG_GETARG_ARRAYTYPE_P(1);
	TimestampTz as_of = PG_GETARG_TIMESTAMPTZ(2);
	ForecastKept *kept;
	int32		lower;
	int32		upper;

	InitMaterializedSRF(fcinfo, 0);
	forecast_read_period(PG_GETARG_RANGE_P(0), &lower, &upper);
	forecast_check_by(by);
	forecast_require_time(as_of);
	if (upper - DatumGetDateADT(DirectFunctionCall1(timestamptz_date, TimestampTzGetDatum(as_of))) > LONGEST_DAYS)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("the period of a forecast ends more than ten years after as_of"),
				 errdetail("The period is %s.", DatumGetCString(OidFunctionCall1(F_RANGE_OUT, PG_GETARG_DATUM(0)))),
				 errhint("Ask for a nearer period, or a later as_of.")));
	progress_start("forecast_bookings", "");
	kept = forecast_hold(as_of, by);
	put_groups(rsinfo, forecast_kept_plan(kept, lower, upper), !forecast_by_nothing(by), lower, upper);
	forecast_release(kept);
	progress_end();
	return (Datum) 0;
}
