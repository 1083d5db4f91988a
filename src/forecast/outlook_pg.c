/*
 * outlook_pg.c
 *		What is to be expected of each open deal: forecast_deals(), win_probability(), and the fit that train_win_model() stores.
 *
 * One curve serves all deals created on one day and in one stage: the chance of being won by each coming day, as the hazards have it.
 * What else is known of a deal (time in its stage, size, type and source) changes it.
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "pgtime.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/rangetypes.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

#include "core/errors.h"
#include "core/options.h"
#include "core/progress.h"
#include "forecast/bookings_pg.h"
#include "forecast/forecast_pg.h"
#include "forecast/kept_pg.h"
#include "forecast/stored_pg.h"

PG_FUNCTION_INFO_V1(salesops_forecast_deals);
PG_FUNCTION_INFO_V1(salesops_win_probability_now);
PG_FUNCTION_INFO_V1(salesops_fit_win_model);

#define CURVE_DAYS		730		/* "ever" */
#define CHECK_DAYS		90		/* horizon on which a fit is judged */
#define CHECK_EVERY		28

/* Chances of the deals created on a day and in one stage, by the hazards; of one deal, corrected */
typedef struct Chances
{
	bool		filled;
	double		in_period;
	double		within_30;
	double		within_90;
	double		ever;
	double		ever_by_age;	/* before what else is known of a deal, its stage too */
	int32		median_day;		/* of a win, if it comes */
} Chances;

/* See bookings_pg.h. */
void
forecast_require_time(TimestampTz as_of)
{
	if (TIMESTAMP_NOT_FINITE(as_of))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("as_of of a forecast must be a finite time"),
				 errdetail("It is %s.", timestamptz_to_str(as_of)),
				 errhint("Leave it out for now, or write it as '2027-01-31' or '2027-01-31 12:00+00'.")));
}

/* Chance of a deal created on a day to be won within two years, whatever its stage. */
static double
ever_by_age(const ForecastPlan *plan, int32 created)
{
	return hazard_win_probability(plan->book->past, &plan->fit, created, plan->known, plan->known + 1, plan->known + 1 + CURVE_DAYS);
}

/* The chances of a deal created on a day and in a state; the curve is scratch. */
static Chances
chances_of(const ForecastPlan *plan, int32 created, int state, double *curve)
{
	Chances		c = {true};
	int			day = 1;

	hazard_curve(plan->book->past, &plan->fit, state, created, plan->known, Max(CURVE_DAYS, plan->to - 1 - plan->known), curve);
	if (plan->from < plan->to)
		c.in_period = curve[plan->to - 1 - plan->known] - curve[plan->from - 1 - plan->known];
	c.within_30 = curve[30];
	c.within_90 = curve[90];
	c.ever = curve[CURVE_DAYS];
	while (day < CURVE_DAYS && curve[day] < 0.5 * c.ever)
		day++;
	c.median_day = plan->known + day;
	c.ever_by_age = ever_by_age(plan, created);
	return c;
}

/* One deal's chances, from those of its creation day and stage; a longer time never has a smaller chance. */
static Chances
chances_of_deal(const ForecastPlan *plan, int deal, const Chances *base)
{
	Chances		c = *base;

	c.in_period = forecast_plan_probability(plan, deal, c.in_period, Max(plan->to - 1 - plan->known, 1));
	c.within_30 = forecast_plan_probability(plan, deal, c.within_30, 30);
	c.within_90 = Max(c.within_30, forecast_plan_probability(plan, deal, c.within_90, 90));
	c.ever_by_age = Min(0.995, plan->whole.open_correction * Min(0.995, base->ever_by_age));
	c.ever = Max(Max(c.within_90, c.in_period), forecast_plan_probability(plan, deal, c.ever, CURVE_DAYS));
	return c;
}

/* The days of a day's quarter. */
static void
quarter_of(int32 known, int32 *lower, int32 *upper)
{
	int			year;
	int			month;
	int			day;

	j2date(known + POSTGRES_EPOCH_JDATE, &year, &month, &day);
	month = (month - 1) / 3 * 3 + 1;
	*lower = date2j(year, month, 1) - POSTGRES_EPOCH_JDATE;
	*upper = (month == 10 ? date2j(year + 1, 1, 1) : date2j(year, month + 3, 1)) - POSTGRES_EPOCH_JDATE;
}

/* One row of forecast_deals. */
static void
put_deal(ReturnSetInfo *rsinfo, const ForecastPlan *plan, int i, bool stated, const Chances *c, double ever_of_new)
{
	Datum		values[13];
	bool		nulls[13] = {false};

	values[0] = CStringGetTextDatum(forecast_deal_id(plan->book, i));
	values[1] = NumericGetDatum(forecast_money(plan->amount[i]));
	values[2] = BoolGetDatum(!stated);
	values[3] = Int32GetDatum(plan->known - plan->book->history.created[i]);
	values[4] = Float8GetDatum(c->in_period);
	values[5] = Float8GetDatum(c->within_30);
	values[6] = Float8GetDatum(c->within_90);
	values[7] = Float8GetDatum(c->ever);
	values[8] = Float8GetDatum(ever_of_new);
	values[9] = DateADTGetDatum(c->median_day);
	values[10] = Float8GetDatum(c->ever_by_age);
	values[11] = Float8GetDatum(plan->spread[i]);
	values[12] = Float8GetDatum(plan->amount[i]);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* Which deals have an amount that was stated by the known day. */
static bool *
stated_amounts(const ForecastPlan *plan)
{
	const HazardHistory *h = &plan->book->history;
	bool	   *stated = palloc_extended(sizeof(bool) * (Size) Max(h->count, 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);

	for (int k = 0; k < h->amounts; k++)
		stated[h->amount[k].deal] |= h->amount[k].day <= plan->known;
	return stated;
}

/* The rows of forecast_deals. */
static void
put_deals(ReturnSetInfo *rsinfo, const ForecastPlan *plan)
{
	const HazardHistory *h = &plan->book->history;
	double		ever_of_new = Min(0.995, plan->whole.open_correction * ever_by_age(plan, plan->known + 1));
	bool	   *stated = stated_amounts(plan);
	Chances    *cache = palloc_extended(sizeof(Chances) * HAZARD_STATES * ((Size) plan->known - plan->oldest + 2),
										MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	double	   *curve = palloc(sizeof(double) * (Max(CURVE_DAYS, plan->to - 1 - plan->known) + 1));
	MemoryContext row = AllocSetContextCreate(CurrentMemoryContext, "salesops forecast deal", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(row);

	for (int k = 0; k < plan->opens; k++)
	{
		int			i = plan->open[k];
		int			state = hazard_state(plan->book->past, &plan->fit, i, plan->known);
		Chances    *c = &cache[(Size) (h->created[i] - plan->oldest) * HAZARD_STATES + state];
		Chances		own;

		CHECK_FOR_INTERRUPTS();
		if (!c->filled)
			*c = chances_of(plan, h->created[i], state, curve);
		own = chances_of_deal(plan, i, c);
		put_deal(rsinfo, plan, i, stated[i], &own, ever_of_new);
		MemoryContextReset(row);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(row);
	pfree(cache);
	pfree(curve);
	pfree(stated);
}

/*
 * forecast_deals(period, as_of): a row for each deal open at as_of: its amount as seen then, its chances of being won within the
 * period (default: the quarter of as_of), 30 and 90 days and two years, and the day by which half of that chance is used up.
 */
Datum
salesops_forecast_deals(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	TimestampTz as_of;
	ForecastKept *kept;
	int32		lower;
	int32		upper;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(1))
		return (Datum) 0;
	as_of = PG_GETARG_TIMESTAMPTZ(1);
	forecast_require_time(as_of);
	if (!PG_ARGISNULL(0))
		forecast_read_period(PG_GETARG_RANGE_P(0), &lower, &upper);
	progress_start("forecast_deals", "");
	kept = forecast_hold(as_of, NULL);
	if (PG_ARGISNULL(0))
		quarter_of(forecast_known_day(forecast_kept_book(kept), as_of), &lower, &upper);
	put_deals(rsinfo, forecast_kept_plan(kept, lower, upper));
	forecast_release(kept);
	progress_end();
	return (Datum) 0;
}

/* Days of an interval after an instant, at least 0. */
static int
days_within(TimestampTz as_of, const Interval *within)
{
	TimestampTz end = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval, TimestampTzGetDatum(as_of),
															  IntervalPGetDatum(within)));
	int64		days = (end - as_of + USECS_PER_DAY / 2) / USECS_PER_DAY;

	if (end < as_of || days > 3660)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("within must be between 0 and ten years"),
				 errdetail("It is %s.", DatumGetCString(DirectFunctionCall1(interval_out, IntervalPGetDatum(within)))),
				 errhint("SELECT salesops.win_probability('D1', '90 days')")));
	return (int) days;
}

/*
 * win_probability_now(opportunity_id, within, as_of): fits to what was known at as_of (once a statement) and reads one deal's chance: 1
 * for a won deal, 0 for a lost one, NULL for one that did not exist.
 */
Datum
salesops_win_probability_now(PG_FUNCTION_ARGS)
{
	text	   *id = PG_GETARG_TEXT_PP(0);
	TimestampTz as_of = PG_GETARG_TIMESTAMPTZ(2);
	ForecastKept *kept;
	const ForecastBook *book;
	double		chance = 0.0;
	int			days;
	int			i;

	forecast_require_time(as_of);
	days = days_within(as_of, PG_GETARG_INTERVAL_P(1));
	kept = forecast_hold(as_of, NULL);
	book = forecast_kept_book(kept);
	i = forecast_find_deal(book, VARDATA_ANY(id), VARSIZE_ANY_EXHDR(id));
	if (i >= 0)
		chance = book->history.outcome[i] == HAZARD_WON ? 1.0 : book->history.outcome[i] == HAZARD_LOST ? 0.0 :
			forecast_kept_chance(kept, i, days);
	forecast_release(kept);
	if (i < 0)
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(chance);
}

/* A prediction and what came of it */
typedef struct Checked
{
	double		p;
	bool		won;
} Checked;

/* By prediction, ascending. */
static int
compare_checked(const void *a, const void *b)
{
	double		x = ((const Checked *) a)->p;
	double		y = ((const Checked *) b)->p;

	return x < y ? -1 : x > y;
}

/* Figures of 90-day chances given at past days to the deals open then, each by the fit to what was known. */
static int
check_fit(ForecastBook *book, int32 known, double *auc, double *log_loss, double *brier)
{
	const HazardHistory *h = &book->history;
	int32		first = hazard_first_close(book->past);
	int32		last = first;
	int			size = 1024;
	int			count = 0;
	int			winners = 0;
	double		ranks = 0.0;
	Checked    *checked = palloc(sizeof(Checked) * size);
	MemoryContext day_context = AllocSetContextCreate(CurrentMemoryContext, "salesops win model check", ALLOCSET_DEFAULT_SIZES);

	*log_loss = *brier = 0.0;
	for (int i = 0; i < h->count; i++)
		last = Max(last, h->closed[i] != HAZARD_NEVER ? h->closed[i] : h->created[i]);
	for (int32 day = Min(known, last) - CHECK_DAYS; day >= first && count < 2000000; day -= CHECK_EVERY)
	{
		ForecastPlan plan;
		MemoryContext old = MemoryContextSwitchTo(day_context);

		CHECK_FOR_INTERRUPTS();
		forecast_plan(book, day, day + 1, day + 1 + CHECK_DAYS, &plan);
		MemoryContextSwitchTo(old);
		for (int k = 0; k < plan.opens; k++)
		{
			int			i = plan.open[k];

			if (count == size)
				checked = repalloc_huge(checked, sizeof(Checked) * (Size) (size *= 2));
			checked[count].won = h->outcome[i] == HAZARD_WON && h->closed[i] <= day + CHECK_DAYS;
			checked[count++].p = forecast_plan_probability(&plan, i, forecast_plan_base(&plan, i), CHECK_DAYS);
		}
		MemoryContextReset(day_context);
	}
	MemoryContextDelete(day_context);
	qsort(checked, count, sizeof(Checked), compare_checked);
	for (int i = 0, end; i < count; i = end)
	{
		for (end = i; end < count && checked[end].p == checked[i].p; end++)
		{
			double		p = Min(Max(checked[end].p, 1e-6), 1.0 - 1e-6);

			*log_loss -= checked[end].won ? log(p) : log1p(-p);
			*brier += (checked[end].p - checked[end].won) * (checked[end].p - checked[end].won);
		}
		for (int k = i; k < end; k++)
			if (checked[k].won)
			{
				winners++;
				ranks += 0.5 * (i + end + 1);
			}
	}
	*log_loss /= Max(count, 1);
	*brier /= Max(count, 1);
	*auc = winners > 0 && winners < count ? (ranks - 0.5 * winners * (winners + 1.0)) / ((double) winners * (count - winners)) : NAN;
	return count;
}

/* A hazard table and its factors of the days of the week as float8[]. */
static Datum
table_datum(const double table[HAZARD_AGES][HAZARD_CELLS], const double weekday[7])
{
	Datum	   *values = palloc(sizeof(Datum) * FORECAST_TABLE_NUMBERS);

	for (int i = 0; i < HAZARD_AGES * HAZARD_CELLS; i++)
		values[i] = Float8GetDatum(table[i / HAZARD_CELLS][i % HAZARD_CELLS]);
	for (int d = 0; d < 7; d++)
		values[HAZARD_AGES * HAZARD_CELLS + d] = Float8GetDatum(weekday[d]);
	return PointerGetDatum(construct_array(values, FORECAST_TABLE_NUMBERS, FLOAT8OID, sizeof(float8), true, TYPALIGN_DOUBLE));
}

static const OptionSpec fit_options[] = {
	{"half_life", OPTION_FLOAT, offsetof(HazardOptions, half_life), .min = 7, .max = 36500},
	{"cell_events", OPTION_FLOAT, offsetof(HazardOptions, cell_events), .min = 0.01, .max = 1000},
	{"age_events", OPTION_FLOAT, offsetof(HazardOptions, age_events), .min = 0.01, .max = 1000},
	{"calendar", OPTION_INTEGER, offsetof(HazardOptions, calendar), .min = -1, .max = HAZARD_CALENDARS - 1},
};

/*
 * fit_win_model(options, as_of): the hazards that train_win_model stores, with figures of their own past. Options: half_life in
 * days and cell_events (pseudo-events of the shrinkage; both by evidence where not given), age_events, calendar (-1: by evidence).
 */
Datum
salesops_fit_win_model(PG_FUNCTION_ARGS)
{
	HazardOptions options = hazard_defaults;
	TimestampTz as_of = PG_GETARG_TIMESTAMPTZ(1);
	Problems	problems;
	ForecastBook *book;
	ForecastPlan plan;
	Jsonb	   *covariates;
	TupleDesc	desc;
	int			won = 0;
	int			closed = 0;
	double		figures[3];
	Datum		values[12];
	bool		nulls[12] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "fit_win_model must return a row");
	problems_init(&problems);
	options_parse(PG_GETARG_JSONB_P(0), fit_options, lengthof(fit_options), &options, &problems, "options");
	problems_raise(&problems, ERRCODE_INVALID_PARAMETER_VALUE, "They are: half_life, cell_events, age_events, calendar.",
				   "invalid options for a win model");
	forecast_require_time(as_of);
	progress_start("train_win_model", "");
	book = forecast_book_load(as_of, NULL, &options);
	forecast_require_history(book, as_of);
	for (int i = 0; i < book->count; i++)
	{
		won += book->history.outcome[i] == HAZARD_WON;
		closed += book->history.outcome[i] != HAZARD_OPEN;
	}
	forecast_plan(book, forecast_known_day(book, as_of), PG_INT32_MIN, forecast_known_day(book, as_of) + 1 + CHECK_DAYS, &plan);
	values[0] = Int32GetDatum(book->count);
	values[1] = Int32GetDatum(closed);
	values[2] = Int32GetDatum(won);
	values[3] = Int32GetDatum(plan.fit.calendar);
	values[4] = Float8GetDatum(plan.whole.open_correction);
	values[5] = table_datum(plan.fit.win, plan.fit.win_weekday);
	values[6] = table_datum(plan.fit.lose, plan.fit.lose_weekday);
	covariates = forecast_covariates(&plan);
	progress_phase("checking", 0);
	values[7] = Int32GetDatum(check_fit(book, plan.known, &figures[0], &figures[1], &figures[2]));
	for (int k = 0; k < 3; k++)
	{
		values[8 + k] = Float8GetDatum(figures[k]);
		nulls[8 + k] = DatumGetInt32(values[7]) == 0 || isnan(figures[k]);
	}
	values[11] = JsonbPGetDatum(covariates);
	MemoryContextDelete(book->context);
	progress_end();
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
