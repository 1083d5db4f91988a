/*
 * backtest_pg.c
 *		backtest_forecast(): the forecasts that would have been made, beside what came.
 *
 * The history is read once; each forecast is made by the kernel from the days up to its own and from amounts stated by
 * then. What an open deal's amount column holds now is not used for a past day unless updated_at says that it was written by
 * then: it may be the outcome.
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "core/errors.h"
#include "core/progress.h"
#include "forecast/bookings_pg.h"
#include "forecast/distribution.h"
#include "forecast/forecast_pg.h"

PG_FUNCTION_INFO_V1(salesops_backtest_forecast);

#define FORECASTS_MAX	100000

/* What is asked for */
typedef struct Backtest
{
	DateADT		from;
	DateADT		to;
	Interval   *every;
	Interval  **horizon;
	int			horizons;
	bool		open_only;
	double		coverage;
	int32		last_day;		/* nothing is known of what came after */
} Backtest;

/* The local midnight that begins a step of the grid. */
static Timestamp
step_time(const Backtest *b, int step)
{
	Datum		start = DirectFunctionCall1(date_timestamp, DateADTGetDatum(b->from));
	Datum		offset = DirectFunctionCall2(interval_mul, IntervalPGetDatum(b->every), Float8GetDatum(step));

	return DatumGetTimestamp(DirectFunctionCall2(timestamp_pl_interval, start, offset));
}

/* Whole days of an interval from a time on. */
static int
horizon_days(Timestamp at, const Interval *horizon)
{
	Timestamp	end = DatumGetTimestamp(DirectFunctionCall2(timestamp_pl_interval, TimestampGetDatum(at), IntervalPGetDatum(horizon)));

	return (int) ((end - at) / USECS_PER_DAY);
}

/* Read and check the arguments, naming all that is wrong. */
static void
read_arguments(FunctionCallInfo fcinfo, Backtest *b)
{
	char	   *scope = text_to_cstring(PG_GETARG_TEXT_PP(4));
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(3);
	Datum	   *values;
	bool	   *nulls;
	Problems	problems;
	Timestamp	start;

	problems_init(&problems);
	b->from = PG_GETARG_DATEADT(0);
	b->to = PG_GETARG_DATEADT(1);
	b->every = PG_GETARG_INTERVAL_P(2);
	b->open_only = strcmp(scope, "open") == 0;
	b->coverage = PG_GETARG_FLOAT8(5);
	if (DATE_NOT_FINITE(b->from) || DATE_NOT_FINITE(b->to) || b->from > b->to)
		problems_add(&problems, "from_date and to_date must be finite and in order");
	else if (step_time(b, 1) - step_time(b, 0) < USECS_PER_DAY)
		problems_add(&problems, "every must be a day or more");
	else if ((b->to - b->from) / (double) ((step_time(b, 1) - step_time(b, 0)) / USECS_PER_DAY) > FORECASTS_MAX)
		problems_add(&problems, "from_date to to_date holds more than %d forecasts", FORECASTS_MAX);
	deconstruct_array(array, INTERVALOID, sizeof(Interval), false, TYPALIGN_DOUBLE, &values, &nulls, &b->horizons);
	b->horizon = palloc(sizeof(Interval *) * Max(b->horizons, 1));
	start = DatumGetTimestamp(DirectFunctionCall1(date_timestamp, DateADTGetDatum(DATE_NOT_FINITE(b->from) ? 0 : b->from)));
	for (int i = 0; i < b->horizons; i++)
	{
		b->horizon[i] = nulls[i] ? NULL : DatumGetIntervalP(values[i]);
		if (nulls[i] || horizon_days(start, b->horizon[i]) < 1 || horizon_days(start, b->horizon[i]) > 3660)
			problems_add(&problems, "horizon %d must be between a day and ten years", i + 1);
	}
	if (b->horizons == 0)
		problems_add(&problems, "horizons is empty");
	if (!b->open_only && strcmp(scope, "total") != 0)
		problems_add(&problems, "scope is \"%s\": it must be 'open' (deals open on the day) or 'total' (all bookings)", scope);
	if (!(b->coverage > 0.0 && b->coverage < 1.0))
		problems_add(&problems, "coverage must be between 0 and 1");
	problems_raise(&problems, ERRCODE_INVALID_PARAMETER_VALUE,
				   "For example: SELECT * FROM salesops.backtest_forecast('2026-01-05', '2026-06-29', '7 days', '{30 days,90 days}').",
				   "invalid backtest");
}

/* The last day of which anything is known: the latest event that is not after today. */
static int32
last_known_day(const ForecastBook *book)
{
	int32		today = forecast_known_day(book, GetCurrentTransactionStartTimestamp());
	int32		last = PG_INT32_MIN;

	for (int i = 0; i < book->count; i++)
	{
		if (book->history.created[i] <= today)
			last = Max(last, book->history.created[i]);
		if (book->history.closed[i] <= today)
			last = Max(last, book->history.closed[i]);
	}
	return last;
}

/* Forecast and interval for one day and horizon, as of then. */
static void
forecast_cell(const Backtest *b, ForecastBook *book, int32 known, int days, Datum *values)
{
	ForecastPlan plan;
	ForecastState *state;
	ForecastDistribution distribution;
	KernelEnv	env = book->env;

	env.context = CurrentMemoryContext;
	forecast_plan(book, known, known + 1, known + 1 + days, &plan);
	state = forecast_plan_open(&plan, NULL, 0);
	if (!b->open_only)
		state = forecast_plan_total(&plan, state, forecast_plan_new(&plan, &plan.won, 1.0, state), 0.0);
	forecast_distribution(&env, state, 0.0, &distribution);
	values[2] = NumericGetDatum(forecast_money(forecast_mean(state)));
	values[3] = NumericGetDatum(forecast_money(forecast_quantile(&distribution, 0.5 - 0.5 * b->coverage)));
	values[4] = NumericGetDatum(forecast_money(forecast_quantile(&distribution, 0.5 + 0.5 * b->coverage)));
}

/* One row: as_of, horizon, forecast where there was any history, actual where the horizon is over. */
static void
put_cell(ReturnSetInfo *rsinfo, const Backtest *b, ForecastBook *book, Timestamp at, int horizon)
{
	TimestampTz as_of = DatumGetTimestampTz(DirectFunctionCall1(timestamp_timestamptz, TimestampGetDatum(at)));
	int32		known = forecast_known_day(book, as_of);
	int			days = horizon_days(at, b->horizon[horizon]);
	Datum		values[6];
	bool		nulls[6] = {false, false, true, true, true, true};

	values[0] = TimestampTzGetDatum(as_of);
	values[1] = IntervalPGetDatum(b->horizon[horizon]);
	if (hazard_first_close(book->past) <= known)
	{
		forecast_cell(b, book, known, days, values);
		nulls[2] = nulls[3] = nulls[4] = false;
	}
	if (known + days <= b->last_day)
	{
		HazardForecast actual;

		hazard_actual(book->past, known, known + 1, known + 1 + days, &actual);
		values[5] = NumericGetDatum(forecast_money(b->open_only ? actual.open : actual.open + actual.fresh));
		nulls[5] = false;
	}
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * backtest_forecast(from_date, to_date, every, horizons, scope, coverage): a row for each day of the grid and each
 * horizon, the horizon's days being those after the day. predicted is NULL where nothing had been closed by then, actual where the
 * horizon is not over.
 */
Datum
salesops_backtest_forecast(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Backtest	b;
	ForecastBook *book;
	MemoryContext row_context;
	MemoryContext old;
	int			steps = 0;

	InitMaterializedSRF(fcinfo, 0);
	read_arguments(fcinfo, &b);
	progress_start("backtest_forecast", b.open_only ? "open" : "total");
	book = forecast_book_load(DT_NOEND, NULL, &hazard_defaults);
	forecast_require_history(book, DT_NOEND);
	b.last_day = last_known_day(book);
	while (step_time(&b, steps) < ((Timestamp) b.to + 1) * USECS_PER_DAY)
		steps++;
	progress_phase("forecasting", (double) steps * b.horizons);
	row_context = AllocSetContextCreate(CurrentMemoryContext, "salesops backtest row", ALLOCSET_DEFAULT_SIZES);
	for (int horizon = 0; horizon < b.horizons; horizon++)
		for (int step = 0; step < steps; step++)
		{
			CHECK_FOR_INTERRUPTS();
			old = MemoryContextSwitchTo(row_context);
			put_cell(rsinfo, &b, book, step_time(&b, step), horizon);
			MemoryContextSwitchTo(old);
			MemoryContextReset(row_context);
			progress_update(horizon * steps + step + 1, steps * b.horizons);
		}
	progress_end();
	MemoryContextDelete(book->context);
	return (Datum) 0;
}
