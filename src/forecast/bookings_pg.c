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
#include "forecast/bookings_pg.h"
#include "forecast/forecast_pg.h"

PG_FUNCTION_INFO_V1(salesops_forecast_bookings);

#define AMOUNT_BINS		16		/* amounts that stand for those of deals yet to come */
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

/*
 * Corrected probability that a deal is won within so many days (of the plan, or of another horizon), from what its age and the
 * calendar say.
 */
double
forecast_plan_probability(const ForecastPlan *plan, int deal, double by_age, int days)
{
	if (by_age <= 0.0)
		return 0.0;
	by_age *= hazard_ratio(plan->book->past, plan->model, deal, plan->known, days, by_age);
	return Min(0.995, plan->whole.open_correction * Min(0.995, by_age));
}

/* What age and the calendar say of deals created on a day and open now, for the planned days. */
double
forecast_plan_by_age(const ForecastPlan *plan, int32 created)
{
	return plan->from < plan->to ? hazard_win_probability(plan->book->past, &plan->fit, created, plan->known, plan->from, plan->to) : 0.0;
}

/* Deviation in money of a lognormal factor of mean 1 on a mean. */
static double
common_deviation(double mean, double log_deviation)
{
	return fabs(mean) * sqrt(expm1(log_deviation * log_deviation));
}

/* Open deals of a group (-1: of all). */
ForecastState *
forecast_plan_open(const ForecastPlan *plan, int group)
{
	const ForecastBook *book = plan->book;
	ForecastState *state = forecast_state_full();
	int32		cached_for = PG_INT32_MIN;
	double		cached = 0.0;

	for (int i = 0; i < book->count; i++)
	{
		if ((group >= 0 && book->deal[i].group != group) || book->history.created[i] > plan->known ||
			book->history.closed[i] <= plan->known)
			continue;
		if (book->history.created[i] != cached_for)
			cached = forecast_plan_by_age(plan, book->history.created[i]);
		cached_for = book->history.created[i];
		add_deal(state, plan->amount[i] * plan->spread[i],
				 forecast_plan_probability(plan, i, cached, plan->to - 1 - plan->known) / plan->spread[i], 1);
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

/* Won amounts of a group (-1: of all) in the year before the known day, ascending. */
static double *
won_amounts(const ForecastPlan *plan, int group, int *count)
{
	const ForecastBook *book = plan->book;
	double	   *amount = palloc_extended(sizeof(double) * (Size) Max(book->count, 1), MCXT_ALLOC_HUGE);

	*count = 0;
	for (int i = 0; i < book->count; i++)
		if ((group < 0 || book->deal[i].group == group) && book->history.outcome[i] == HAZARD_WON &&
			book->history.closed[i] <= plan->known && book->history.closed[i] > plan->known - 365 &&
			!isnan(book->history.won_amount[i]))
			amount[(*count)++] = book->history.won_amount[i];
	qsort(amount, *count, sizeof(double), compare_doubles);
	return amount;
}

/* What won deals of the last year brought: of each group, the last entry of all */
typedef struct GroupPast
{
	double		sum;
	int			won;
} GroupPast;

/* Count them. */
static GroupPast *
group_pasts(const ForecastPlan *plan)
{
	const ForecastBook *book = plan->book;
	const HazardHistory *h = &book->history;
	GroupPast  *past = palloc0(sizeof(GroupPast) * (book->groups + 1));

	for (int i = 0; i < book->count; i++)
	{
		GroupPast  *mine[2] = {&past[book->deal[i].group], &past[book->groups]};

		for (int k = 0; k < 2; k++)
		{
			if (h->outcome[i] == HAZARD_WON && h->closed[i] <= plan->known && h->closed[i] > plan->known - 365 &&
				!isnan(h->won_amount[i]))
			{
				mine[k]->won++;
				mine[k]->sum += h->won_amount[i];
			}
		}
	}
	return past;
}

/*
 * Shares of new business by group, adding up to 1: arrivals, each group's with its own season, times mean amount, everyone's where a
 * group has won too few. A group of credits among others takes no share; where all together is a credit, a group of sales takes none.
 */
static double *
new_shares(const ForecastPlan *plan)
{
	int			groups = plan->book->groups;
	GroupPast  *past = group_pasts(plan);
	double		sign = plan->whole.fresh < 0.0 ? -1.0 : 1.0;
	double	   *share = palloc(sizeof(double) * (groups + 1));
	double	   *arrivals = palloc(sizeof(double) * (groups + 1));
	int		   *group = palloc_extended(sizeof(int) * (Size) Max(plan->book->count, 1), MCXT_ALLOC_HUGE);
	double		total = 0.0;

	for (int i = 0; i < plan->book->count; i++)
		group[i] = plan->book->deal[i].group;
	hazard_arrivals_by_group(plan->book->past, plan->known, Max(plan->to - 1 - plan->known, 0), group, groups, arrivals);
	for (int g = 0; g < groups; g++)
	{
		const GroupPast *source = past[g].won < FEW_WON ? &past[groups] : &past[g];

		share[g] = source->won > 0 && sign * past[groups].sum > 0.0 ? Max(sign * arrivals[g] * source->sum / source->won, 0.0) : 0.0;
		total += share[g];
	}
	for (int g = 0; g < groups; g++)
		share[g] = total > 0.0 ? share[g] / total : 0.0;
	return share;
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
	plan->amount = MemoryContextAllocHuge(book->context, sizeof(double) * (Size) Max(book->count, 1));
	plan->spread = MemoryContextAllocHuge(book->context, sizeof(double) * (Size) Max(book->count, 1));
	hazard_amounts(book->past, known, plan->amount, plan->spread);
	memset(&plan->whole, 0, sizeof(plan->whole));
	if (plan->from < to)
		hazard_forecast(book->past, known, plan->from, to, &plan->fit, &plan->whole);
	hazard_correct(book->past, known, plan->model, &plan->whole);
	plan->open_deviation = forecast_deviation(book, known, plan->model, to - 1 - known, true);
	plan->total_deviation = forecast_deviation(book, known, plan->model, to - 1 - known, false);
	plan->new_share = new_shares(plan);
	plan->stated = MemoryContextAllocHuge(book->context, sizeof(int) * (Size) Max(book->count, 1));
	for (int i = 0; i < book->count; i++)
		plan->stated[i] = -1;
	for (int k = book->history.amounts - 1; k >= 0; k--)
		plan->stated[book->history.amount[k].deal] = k;
}

/*
 * Deals yet to come, of a group (-1: of all). A group with few won deals of its own takes everyone's amounts. 'open' is
 * the group's open forecast: the two common deviations add up to the total's.
 */
ForecastState *
forecast_plan_new(const ForecastPlan *plan, int group, const ForecastState *open)
{
	ForecastState *state = forecast_state_full();
	int			count;
	double	   *amount = won_amounts(plan, group, &count);
	double		wanted = plan->whole.fresh * (group < 0 ? 1.0 : plan->new_share[group]);
	double		mean = 0.0;
	double		wins;
	int			bins;

	if (count < FEW_WON && group >= 0)
		amount = won_amounts(plan, -1, &count);
	for (int i = 0; i < count; i++)
		mean += amount[i] / count;
	wins = mean != 0.0 ? Max(wanted / mean, 0.0) : 0.0;
	bins = Min(count, AMOUNT_BINS);
	for (int b = 0; b < bins && wins > 0.0; b++)
	{
		int			begin = (int) ((int64) count * b / bins);
		int			end = (int) ((int64) count * (b + 1) / bins);
		double		rate = wins * (end - begin) / count;
		double		deals = ceil(rate / RARE_DEAL);
		double		sum = 0.0;

		for (int i = begin; i < end; i++)
			sum += amount[i];
		add_deal(state, sum / (end - begin), rate / deals, (int64) deals);
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

/* What was won in the period by the known instant, exactly. */
static Numeric
booked_amount(const ForecastBook *book, int group, int32 lower, int32 upper)
{
	Datum		sum = DirectFunctionCall1(int8_numeric, Int64GetDatum(0));

	for (int i = 0; i < book->count; i++)
	{
		const ForecastOpportunity *deal = &book->deal[i];

		if (deal->outcome == HAZARD_WON && deal->amount != NULL && (group < 0 || deal->group == group) &&
			deal->closed >= lower && deal->closed < upper)
			sum = DirectFunctionCall2(numeric_add, sum, NumericGetDatum(deal->amount));
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

/* One result row. */
static void
put_group(ReturnSetInfo *rsinfo, const ForecastPlan *plan, Datum key, int group, int32 lower, int32 upper)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "salesops forecast group", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Numeric		booked = booked_amount(plan->book, group, lower, Min(upper, plan->known + 1));
	ForecastState *open = forecast_plan_open(plan, group);
	ForecastState *fresh = forecast_plan_new(plan, group, open);
	ForecastState *total = forecast_plan_total(plan, open, fresh, forecast_numeric_to_double(booked));
	Datum		values[5];
	bool		nulls[5] = {false};

	values[0] = key;
	values[1] = NumericGetDatum(booked);
	values[2] = PointerGetDatum(forecast_state_small(open));
	values[3] = PointerGetDatum(forecast_state_small(fresh));
	values[4] = PointerGetDatum(forecast_state_small(total));
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	CHECK_FOR_INTERRUPTS();
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
	ForecastBook *book;
	ForecastPlan plan;
	int32		lower;
	int32		upper;
	int32		known;

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
	book = forecast_book_load(as_of, by, &hazard_defaults);
	forecast_require_history(book, as_of);
	known = forecast_known_day(book, as_of);
	forecast_plan(book, known, lower, upper, &plan);
	if (ARR_NDIM(by) == 0)
		put_group(rsinfo, &plan, PointerGetDatum(construct_empty_array(TEXTOID)), -1, lower, upper);
	for (int group = 0; group < book->groups && ARR_NDIM(by) > 0; group++)
		put_group(rsinfo, &plan, book->group[group], group, lower, upper);
	MemoryContextDelete(book->context);
	return (Datum) 0;
}
