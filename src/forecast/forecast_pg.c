/*
 * forecast_pg.c
 *		The type salesops.forecast and its aggregates: text and binary I/O, accumulate, combine, final.
 *
 * The value is the kernel's ForecastState as a plain varlena. While an aggregate runs, the state is changed in place and
 * the same pointer returned, which costs no copy; to grow, a larger one is returned and the executor copies it over. A
 * finished value is made as small as its deals allow. What is read from a value is read_pg.c's matter.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "libpq/pqformat.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "core/compat.h"
#include "core/errors.h"
#include "core/numeric.h"
#include "forecast/forecast_pg.h"

PG_FUNCTION_INFO_V1(salesops_forecast_in);
PG_FUNCTION_INFO_V1(salesops_forecast_out);
PG_FUNCTION_INFO_V1(salesops_forecast_recv);
PG_FUNCTION_INFO_V1(salesops_forecast_send);
PG_FUNCTION_INFO_V1(salesops_forecast_accumulate_numeric);
PG_FUNCTION_INFO_V1(salesops_forecast_accumulate_float8);
PG_FUNCTION_INFO_V1(salesops_forecast_combine);
PG_FUNCTION_INFO_V1(salesops_forecast_final);
PG_FUNCTION_INFO_V1(salesops_wape_accumulate);
PG_FUNCTION_INFO_V1(salesops_wape_combine);
PG_FUNCTION_INFO_V1(salesops_wape_final);

/* A new state in the current memory context. */
static ForecastState *
new_state(int capacity, bool has_rest)
{
	size_t		size = forecast_size(capacity, has_rest);
	ForecastState *state = palloc(size);

	SET_VARSIZE(state, size);
	forecast_init(state, capacity, has_rest);
	return state;
}

/* A state with room for everything. */
ForecastState *
forecast_state_full(void)
{
	return new_state(FORECAST_KEPT, true);
}

/* A copy in another shape. */
static ForecastState *
reshaped(const ForecastState *state, int capacity, bool has_rest)
{
	ForecastState *copy = new_state(capacity, has_rest);

	forecast_copy(copy, capacity, has_rest, state);
	return copy;
}

/* A copy as small as its deals allow: what is stored. */
ForecastState *
forecast_state_small(const ForecastState *state)
{
	const ForecastRest *rest = forecast_rest_const(state);
	ForecastState *small;

	if (rest != NULL && rest->deals > 0)
		return reshaped(state, FORECAST_KEPT, true);
	small = new_state(state->kept, false);
	small->kept = state->kept;
	small->deals = state->deals;
	small->unknown = state->unknown;
	small->certain = state->certain;
	small->common = state->common;
	memcpy(small->deal, state->deal, sizeof(ForecastDeal) * state->kept);
	return small;
}

/* The state in a datum, detoasted; refuses layouts of another release. */
ForecastState *
forecast_state_from_datum(Datum value)
{
	ForecastState *state = (ForecastState *) PG_DETOAST_DATUM(value);

	if (VARSIZE(state) < forecast_size(0, false) || state->version != FORECAST_VERSION ||
		VARSIZE(state) != forecast_state_size(state))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("forecast value has an unknown layout"),
				 errdetail("Version %d, %zu bytes; this release reads version %d.", state->version, (size_t) VARSIZE(state),
						   FORECAST_VERSION),
				 errhint("It was stored by another release: make it anew with salesops.forecast(amount, probability).")));
	return state;
}

/* Text to forecast; the text is JSON as forecast_out writes it. Everything is checked. */
Datum
salesops_forecast_in(PG_FUNCTION_ARGS)
{
	const char *text = PG_GETARG_CSTRING(0);
	ForecastState *state = forecast_state_full();
	const char *problem = forecast_from_text(text, state);

	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("invalid input for type salesops.forecast"),
				 errdetail("Reason: %s.", problem),
				 errhint("A forecast is made by the aggregate salesops.forecast(amount, probability); its text is for dump and transport.")));
	PG_RETURN_POINTER(forecast_state_small(state));
}

/* Forecast to text, without loss. */
Datum
salesops_forecast_out(PG_FUNCTION_ARGS)
{
	ForecastState *state = forecast_state_from_datum(PG_GETARG_DATUM(0));
	size_t		size = forecast_to_text(state, NULL, 0) + 1;
	char	   *text = palloc(size);

	forecast_to_text(state, text, size);
	PG_RETURN_CSTRING(text);
}

/* The prices of a rest; says what is wrong, or NULL. */
static const char *
receive_prices(StringInfo buf, ForecastRest *rest)
{
	int			prices = pq_getmsgbyte(buf);

	if (prices > FORECAST_PRICES)
		return "it has too many prices";
	for (int i = 0; i < prices; i++)
	{
		rest->price[i].amount = pq_getmsgfloat8(buf);
		rest->price[i].deals = pq_getmsgint64(buf);
		for (int j = 0; j < 4; j++)
			rest->price[i].power[j] = pq_getmsgfloat8(buf);
	}
	return NULL;
}

/* Binary form to forecast: version, sums, kept deals, rest; everything is checked as for text. */
Datum
salesops_forecast_recv(PG_FUNCTION_ARGS)
{
	StringInfo	buf = (StringInfo) PG_GETARG_POINTER(0);
	ForecastState *state = forecast_state_full();
	const char *problem = NULL;
	int			kept;

	if (pq_getmsgbyte(buf) != FORECAST_VERSION)
		problem = "its version is not known to this release";
	state->deals = problem ? 0 : pq_getmsgint64(buf);
	state->unknown = problem ? 0 : pq_getmsgint64(buf);
	state->certain.high = problem ? 0 : pq_getmsgfloat8(buf);
	state->certain.low = problem ? 0 : pq_getmsgfloat8(buf);
	state->common = problem ? 0 : pq_getmsgfloat8(buf);
	kept = problem ? 0 : (int) pq_getmsgint(buf, 2);
	if (kept > FORECAST_KEPT)
		problem = "it has too many kept deals";
	for (int i = 0; i < kept && problem == NULL; i++)
	{
		state->deal[i].amount = pq_getmsgfloat8(buf);
		state->deal[i].probability = pq_getmsgfloat8(buf);
		state->deal[i].count = pq_getmsgint64(buf);
		state->kept++;
	}
	if (problem == NULL && pq_getmsgbyte(buf) != 0)
	{
		ForecastRest *rest = forecast_rest(state);

		rest->deals = pq_getmsgint64(buf);
		rest->step = pq_getmsgint64(buf);
		for (int j = 0; j < 4; j++)
		{
			rest->cumulant[j].high = pq_getmsgfloat8(buf);
			rest->cumulant[j].low = pq_getmsgfloat8(buf);
		}
		for (int k = 0; k < FORECAST_KNOTS * FORECAST_POWERS; k++)
			rest->knot[k / FORECAST_POWERS][k % FORECAST_POWERS] = pq_getmsgfloat8(buf);
		problem = receive_prices(buf, rest);
	}
	if (problem == NULL)
		problem = forecast_problem(state);
	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("invalid binary input for type salesops.forecast"),
				 errdetail("Reason: %s.", problem),
				 errhint("Send it as salesops.forecast_send() or COPY (FORMAT binary) of the same release writes it.")));
	PG_RETURN_POINTER(forecast_state_small(state));
}

/* The prices of a rest. */
static void
send_prices(StringInfo buf, const ForecastRest *rest)
{
	int			prices = 0;

	while (prices < FORECAST_PRICES && rest->price[prices].deals > 0)
		prices++;
	pq_sendbyte(buf, prices);
	for (int i = 0; i < prices; i++)
	{
		pq_sendfloat8(buf, rest->price[i].amount);
		pq_sendint64(buf, rest->price[i].deals);
		for (int j = 0; j < 4; j++)
			pq_sendfloat8(buf, rest->price[i].power[j]);
	}
}

/* Forecast to its binary form. */
Datum
salesops_forecast_send(PG_FUNCTION_ARGS)
{
	ForecastState *state = forecast_state_from_datum(PG_GETARG_DATUM(0));
	const ForecastRest *rest = forecast_rest_const(state);
	StringInfoData buf;

	pq_begintypsend(&buf);
	pq_sendbyte(&buf, FORECAST_VERSION);
	pq_sendint64(&buf, state->deals);
	pq_sendint64(&buf, state->unknown);
	pq_sendfloat8(&buf, state->certain.high);
	pq_sendfloat8(&buf, state->certain.low);
	pq_sendfloat8(&buf, state->common);
	pq_sendint16(&buf, state->kept);
	for (int i = 0; i < state->kept; i++)
	{
		pq_sendfloat8(&buf, state->deal[i].amount);
		pq_sendfloat8(&buf, state->deal[i].probability);
		pq_sendint64(&buf, state->deal[i].count);
	}
	pq_sendbyte(&buf, rest != NULL && rest->deals > 0);
	if (rest != NULL && rest->deals > 0)
	{
		pq_sendint64(&buf, rest->deals);
		pq_sendint64(&buf, rest->step);
		for (int j = 0; j < 4; j++)
		{
			pq_sendfloat8(&buf, rest->cumulant[j].high);
			pq_sendfloat8(&buf, rest->cumulant[j].low);
		}
		for (int k = 0; k < FORECAST_KNOTS * FORECAST_POWERS; k++)
			pq_sendfloat8(&buf, rest->knot[k / FORECAST_POWERS][k % FORECAST_POWERS]);
		send_prices(&buf, rest);
	}
	PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
}

/* ---- amounts --------------------------------------------------------------------------------------------------------- */

/* A numeric the slow and sure way; NaN and infinity come out as such. */
static double
numeric_by_server(Datum value)
{
	return DatumGetFloat8(DirectFunctionCall1(numeric_float8, value));
}

/* A numeric as the nearest double: as it lies, or by the server. */
static inline double
amount_of(struct varlena *packed, Datum value)
{
	double		amount;

	return numeric_to_double(packed, &amount) ? amount : numeric_by_server(value);
}

/* The same for a Numeric at hand. */
double
forecast_numeric_to_double(Numeric value)
{
	return amount_of((struct varlena *) value, NumericGetDatum(value));
}

/* The same for one as it lies in a row: its header may be a short one. */
double
forecast_datum_to_double(Datum value)
{
	struct varlena *packed = PG_DETOAST_DATUM_PACKED(value);
	double		amount = amount_of(packed, PointerGetDatum(packed));

	if ((Pointer) packed != DatumGetPointer(value))
		pfree(packed);
	return amount;
}

/* A sum of money as numeric, to the cent. */
Numeric
forecast_money(double value)
{
	Datum		wide = DirectFunctionCall1(float8_numeric, Float8GetDatum(value));

	/* float8_numeric keeps 15 digits: enough for cents up to ten trillion */
	return DatumGetNumeric(DirectFunctionCall2(numeric_round, wide, Int32GetDatum(2)));
}

/* ---- aggregate ------------------------------------------------------------------------------------------------------- */

/* Only an aggregate may change a state in place. */
static void
require_aggregate(FunctionCallInfo fcinfo, const char *name)
{
	if (!AggCheckCallContext(fcinfo, NULL))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("function salesops.%s may only be called by an aggregate", name)));
}

static void bad_amount(double amount) pg_attribute_noreturn();

/* The amount that no forecast can hold, said clearly. */
static void
bad_amount(double amount)
{
	ereport(ERROR,
			(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
			 isfinite(amount) ? errmsg("amount %g is out of range for a forecast", amount) :
			 errmsg("amount of a forecast must be a finite number, not %g", amount),
			 errdetail("Amounts up to 1e18 either way are allowed."),
			 errhint("Give an amount that is not known as NULL: such rows are counted by unknown_count().")));
}

static void bad_probability(double amount, double probability) pg_attribute_noreturn();

/* And the probability. */
static void
bad_probability(double amount, double probability)
{
	ereport(ERROR,
			(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
			 errmsg("probability must be between 0 and 1, not %g", probability),
			 errdetail("It is that of a deal of amount %.15g.", amount),
			 errhint("Divide percentages by 100; give a probability that is not known as NULL.")));
}

/* Add one deal to the state of an aggregate, growing it where needed. */
static ForecastState *
accumulate(ForecastState *state, double amount, double probability)
{
	if (unlikely(!(amount >= -FORECAST_MAX_AMOUNT && amount <= FORECAST_MAX_AMOUNT)))
		bad_amount(amount);
	if (unlikely(!(probability >= 0.0 && probability <= 1.0)))
		bad_probability(amount, probability);
	while (unlikely(!forecast_add(state, amount, probability, 1)))
	{
		int			capacity;
		bool		has_rest;

		forecast_grown_shape(state, &capacity, &has_rest);
		state = reshaped(state, capacity, has_rest);
	}
	return state;
}

/* The state to add to: the aggregate's, or a new small one. */
static inline ForecastState *
state_argument(FunctionCallInfo fcinfo)
{
	if (unlikely(PG_ARGISNULL(0)))
		return new_state(4, false);
	/* made by these functions, hence a plain aligned varlena */
	return (ForecastState *) PG_GETARG_POINTER(0);
}

/*
 * Transition of forecast(amount numeric, probability float8). A row whose amount or probability is NULL counts as
 * unknown and adds nothing.
 */
Datum
salesops_forecast_accumulate_numeric(PG_FUNCTION_ARGS)
{
	ForecastState *state = state_argument(fcinfo);

	require_aggregate(fcinfo, "forecast_accumulate");
	if (PG_ARGISNULL(1) || PG_ARGISNULL(2))
		state->unknown++;
	else
	{
		struct varlena *packed = PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(1));

		state = accumulate(state, amount_of(packed, PG_GETARG_DATUM(1)), PG_GETARG_FLOAT8(2));
	}
	PG_RETURN_POINTER(state);
}

/* Transition of forecast(amount float8, probability float8). */
Datum
salesops_forecast_accumulate_float8(PG_FUNCTION_ARGS)
{
	ForecastState *state = state_argument(fcinfo);

	require_aggregate(fcinfo, "forecast_accumulate");
	if (PG_ARGISNULL(1) || PG_ARGISNULL(2))
		state->unknown++;
	else
		state = accumulate(state, PG_GETARG_FLOAT8(1), PG_GETARG_FLOAT8(2));
	PG_RETURN_POINTER(state);
}

/* Combine two states; also the transition of merge(forecast). */
Datum
salesops_forecast_combine(PG_FUNCTION_ARGS)
{
	ForecastState *target;
	ForecastState *source;

	require_aggregate(fcinfo, "forecast_combine");
	if (PG_ARGISNULL(1))
	{
		if (PG_ARGISNULL(0))
			PG_RETURN_NULL();
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	}
	source = forecast_state_from_datum(PG_GETARG_DATUM(1));
	if (PG_ARGISNULL(0))
		PG_RETURN_POINTER(reshaped(source, source->capacity, source->has_rest));
	target = (ForecastState *) PG_GETARG_POINTER(0);
	if (source->deals > PG_INT64_MAX / 4 - target->deals)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("the forecast has too many deals to count")));
	if (!forecast_merge(target, source))
	{
		int			capacity;
		bool		has_rest;

		forecast_merged_shape(target, source, &capacity, &has_rest);
		target = reshaped(target, capacity, has_rest);
		forecast_merge(target, source);
	}
	PG_RETURN_POINTER(target);
}

/* What the aggregates return: the state made small; NULL where no deal was known. */
Datum
salesops_forecast_final(PG_FUNCTION_ARGS)
{
	ForecastState *state;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	state = forecast_state_from_datum(PG_GETARG_DATUM(0));
	if (state->deals == 0 && state->unknown > 0)
		PG_RETURN_NULL();
	PG_RETURN_POINTER(forecast_state_small(state));
}

/* ---- weighted absolute percentage error ------------------------------------------------------------------------------- */

/* The two sums in a float8[] state: of |actual - predicted| and of |actual|. */
static double *
wape_sums(ArrayType *array)
{
	if (ARR_NDIM(array) != 1 || ARR_DIMS(array)[0] != 2 || ARR_HASNULL(array) || ARR_ELEMTYPE(array) != FLOAT8OID)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the state of wape must be an array of two numbers")));
	return (double *) ARR_DATA_PTR(array);
}

/* Transition of wape(actual, predicted); rows with a NULL are left out. */
Datum
salesops_wape_accumulate(PG_FUNCTION_ARGS)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(0);
	double	   *sums = wape_sums(array);
	double		actual;
	double		predicted;

	require_aggregate(fcinfo, "wape_accumulate");
	if (PG_ARGISNULL(1) || PG_ARGISNULL(2))
		PG_RETURN_POINTER(array);
	actual = forecast_numeric_to_double(PG_GETARG_NUMERIC(1));
	predicted = forecast_numeric_to_double(PG_GETARG_NUMERIC(2));
	require_finite(actual, "actual");
	require_finite(predicted, "predicted");
	sums[0] += fabs(actual - predicted);
	sums[1] += fabs(actual);
	PG_RETURN_POINTER(array);
}

/* Combine two states of wape. */
Datum
salesops_wape_combine(PG_FUNCTION_ARGS)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(0);
	double	   *target = wape_sums(array);
	double	   *source = wape_sums(PG_GETARG_ARRAYTYPE_P(1));

	require_aggregate(fcinfo, "wape_combine");
	target[0] += source[0];
	target[1] += source[1];
	PG_RETURN_POINTER(array);
}

/* Sum of |actual - predicted| over sum of |actual|; NULL where the latter is 0. */
Datum
salesops_wape_final(PG_FUNCTION_ARGS)
{
	double	   *sums = wape_sums(PG_GETARG_ARRAYTYPE_P(0));

	if (sums[1] == 0.0)
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(sums[0] / sums[1]);
}
