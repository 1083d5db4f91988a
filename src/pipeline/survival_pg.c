/*
 * survival_pg.c
 *		The type salesops.survival, its aggregates, and what is read from it.
 *
 * The value is its own aggregate state: counts at distinct times. While it is aggregated it has room to spare and its
 * tail is in the order of arrival; when the room is used up it is sorted and equal times are added up, and only where that
 * does not help enough a larger one is made. What leaves the aggregate is compact: sorted, without room to spare. Merging
 * is putting together, so it is exact in any order. Sixteen bytes a distinct duration.
 */
#include "postgres.h"

#include <errno.h>
#include <math.h>

#include "common/shortest_dec.h"
#include "fmgr.h"
#include "funcapi.h"
#include "libpq/pqformat.h"
#include "utils/memutils.h"

#include "core/compat.h"
#include "core/errors.h"
#include "pipeline/survival.h"

#define SURVIVAL_VERSION 1
#define SURVIVAL_FIRST_CAPACITY 32

typedef struct Survival
{
	int32		vl_len_;
	uint16		version;
	uint16		reserved;		/* 0 */
	uint32		count;
	uint32		capacity;
	SurvivalPoint points[FLEXIBLE_ARRAY_MEMBER];
} Survival;

#define SURVIVAL_SIZE(capacity) (offsetof(Survival, points) + sizeof(SurvivalPoint) * (Size) (capacity))
#define PG_GETARG_SURVIVAL(n) check_survival((Survival *) PG_DETOAST_DATUM(PG_GETARG_DATUM(n)))

PG_FUNCTION_INFO_V1(salesops_survival_in);
PG_FUNCTION_INFO_V1(salesops_survival_out);
PG_FUNCTION_INFO_V1(salesops_survival_recv);
PG_FUNCTION_INFO_V1(salesops_survival_send);
PG_FUNCTION_INFO_V1(salesops_survival_accumulate);
PG_FUNCTION_INFO_V1(salesops_survival_combine);
PG_FUNCTION_INFO_V1(salesops_survival_final);
PG_FUNCTION_INFO_V1(salesops_median);
PG_FUNCTION_INFO_V1(salesops_survival_quantile);
PG_FUNCTION_INFO_V1(salesops_survival_at);
PG_FUNCTION_INFO_V1(salesops_survival_error);
PG_FUNCTION_INFO_V1(salesops_cumulative_hazard);
PG_FUNCTION_INFO_V1(salesops_restricted_mean);
PG_FUNCTION_INFO_V1(salesops_survival_count);
PG_FUNCTION_INFO_V1(salesops_survival_events);
PG_FUNCTION_INFO_V1(salesops_life_table);
PG_FUNCTION_INFO_V1(salesops_log_rank);

/* A value made of bytes from anywhere: never walk past its end. */
static Survival *
check_survival(Survival *survival)
{
	if (VARSIZE(survival) < SURVIVAL_SIZE(0) || survival->version != SURVIVAL_VERSION ||
		survival->count > survival->capacity || VARSIZE(survival) != SURVIVAL_SIZE(survival->capacity))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("invalid survival value")));
	return survival;
}

/* An empty value with room, zeroed so that its bytes are the same each time */
static Survival *
make_survival(Size capacity)
{
	Survival   *survival;

	if (SURVIVAL_SIZE(capacity) > MaxAllocSize)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("too many distinct durations for one survival value"),
				 errhint("Round the durations, to whole days say.")));
	survival = palloc0(SURVIVAL_SIZE(capacity));
	SET_VARSIZE(survival, SURVIVAL_SIZE(capacity));
	survival->version = SURVIVAL_VERSION;
	survival->capacity = (uint32) capacity;
	return survival;
}

/* Sort and add up, in place. */
static void
compact(Survival *survival)
{
	size_t		count = survival->count;

	if (!pipeline_survival_compact(survival->points, &count))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("more than 4294967295 observations of one duration")));
	survival->count = (uint32) count;
}

/* A compact copy without room to spare */
static Survival *
compact_copy(const Survival *survival)
{
	Survival   *copy = palloc(VARSIZE(survival));
	Survival   *result;

	memcpy(copy, survival, VARSIZE(survival));
	compact(copy);
	result = make_survival(copy->count);
	memcpy(result->points, copy->points, sizeof(SurvivalPoint) * copy->count);
	result->count = copy->count;
	pfree(copy);
	return result;
}

/* Of an argument: as it is where it is compact, which all but a running state are */
static Survival *
compact_argument(Datum datum)
{
	Survival   *survival = check_survival((Survival *) PG_DETOAST_DATUM(datum));

	return survival->count == survival->capacity ? survival : compact_copy(survival);
}

/* A duration: not negative, finite; -0 is 0 */
static double
require_duration(double duration)
{
	require_finite(duration, "duration");
	if (duration < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a duration must not be negative: %g", duration)));
	return duration + 0.0;
}

/* Room for more points: by adding up first, by a larger value where that gains less than a quarter. */
static Survival *
make_room(Survival *survival, Size wanted)
{
	Survival   *larger;

	if (survival->count + wanted <= survival->capacity)
		return survival;
	compact(survival);
	if (survival->count + wanted <= survival->capacity - survival->capacity / 4)
		return survival;
	larger = make_survival(Max((Size) survival->capacity * 2, (survival->count + wanted) * 2));
	memcpy(larger->points, survival->points, sizeof(SurvivalPoint) * survival->count);
	larger->count = survival->count;
	return larger;
}

/* The state to change: the aggregate's own in place, anything else as a copy */
static Survival *
own_state(FunctionCallInfo fcinfo)
{
	Survival   *state = PG_GETARG_SURVIVAL(0);

	if (!AggCheckCallContext(fcinfo, NULL))
	{
		Survival   *copy = palloc(VARSIZE(state));

		memcpy(copy, state, VARSIZE(state));
		return copy;
	}
	return state;
}

/*
 * Transition of survival(duration float8, event boolean): a row whose duration or event is not known tells nothing and is
 * left out. Errors: 22023 negative, NaN or infinite durations.
 */
Datum
salesops_survival_accumulate(PG_FUNCTION_ARGS)
{
	Survival   *state;
	SurvivalPoint *point;
	bool		event;

	if (PG_ARGISNULL(1) || PG_ARGISNULL(2))
	{
		if (PG_ARGISNULL(0))
			PG_RETURN_NULL();
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	}
	state = PG_ARGISNULL(0) ? make_survival(SURVIVAL_FIRST_CAPACITY) : make_room(own_state(fcinfo), 1);
	event = PG_GETARG_BOOL(2);
	point = &state->points[state->count++];
	point->time = require_duration(PG_GETARG_FLOAT8(1));
	point->events = event ? 1 : 0;
	point->censored = event ? 0 : 1;
	PG_RETURN_POINTER(state);
}

/* Combine function, and transition of merge(survival). NULLs are neutral. */
Datum
salesops_survival_combine(PG_FUNCTION_ARGS)
{
	Survival   *state;
	Survival   *other;

	if (PG_ARGISNULL(1))
	{
		if (PG_ARGISNULL(0))
			PG_RETURN_NULL();
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	}
	other = PG_GETARG_SURVIVAL(1);
	state = PG_ARGISNULL(0) ? make_survival(Max(other->count, SURVIVAL_FIRST_CAPACITY))
		: make_room(own_state(fcinfo), other->count);
	memcpy(state->points + state->count, other->points, sizeof(SurvivalPoint) * other->count);
	state->count += other->count;
	PG_RETURN_POINTER(state);
}

/* Final function: compact */
Datum
salesops_survival_final(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	PG_RETURN_POINTER(compact_copy(PG_GETARG_SURVIVAL(0)));
}

/* Skip blanks. */
static const char *
skip_blanks(const char *at)
{
	while (*at == ' ' || *at == '\t' || *at == '\n')
		at++;
	return at;
}

/* The text form is wrong: always this error. */
static void
syntax_error(const char *text)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("invalid input syntax for type salesops.survival: \"%.100s\"", text),
			 errdetail("It is written {duration:ended/censored, ...}, for example {1.5:2/0, 4:1/3}.")));
}

/* An unsigned count; the position after it */
static const char *
parse_count(const char *at, const char *text, uint32 *count)
{
	char	   *end;
	unsigned long long value;

	if (*at < '0' || *at > '9')
		syntax_error(text);
	errno = 0;
	value = strtoull(at, &end, 10);
	if (errno != 0 || value > PG_UINT32_MAX)
		syntax_error(text);
	*count = (uint32) value;
	return end;
}

/* One duration:ended/censored; the position after it */
static const char *
parse_point(const char *at, const char *text, SurvivalPoint *point)
{
	char	   *end;

	errno = 0;
	point->time = strtod(at, &end);
	if (end == at || *end != ':' || errno == ERANGE || !isfinite(point->time) || point->time < 0)
		syntax_error(text);
	point->time += 0.0;
	at = parse_count(end + 1, text, &point->events);
	if (*at != '/')
		syntax_error(text);
	return parse_count(at + 1, text, &point->censored);
}

/* Commas of the text bound its points. */
static Size
count_points(const char *text)
{
	Size		count = 1;

	for (; *text; text++)
		count += *text == ',';
	return count;
}

/* survival_in(cstring): {} or {1.5:2/0, 4:1/3} in any order of durations */
Datum
salesops_survival_in(PG_FUNCTION_ARGS)
{
	const char *text = PG_GETARG_CSTRING(0);
	Survival   *survival = make_survival(count_points(text));
	const char *at = skip_blanks(text);

	if (*at++ != '{')
		syntax_error(text);
	at = skip_blanks(at);
	while (*at != '}')
	{
		at = skip_blanks(parse_point(at, text, &survival->points[survival->count++]));
		if (*at == ',')
		{
			at = skip_blanks(at + 1);
			if (*at == '}')
				syntax_error(text);
		}
		else if (*at != '}')
			syntax_error(text);
	}
	if (*skip_blanks(at + 1) != '\0')
		syntax_error(text);
	PG_RETURN_POINTER(compact_copy(survival));
}

/* survival_out: shortest digits that give the same float8 back, whatever extra_float_digits says */
Datum
salesops_survival_out(PG_FUNCTION_ARGS)
{
	Survival   *survival = compact_argument(PG_GETARG_DATUM(0));
	StringInfoData text;
	char		digits[DOUBLE_SHORTEST_DECIMAL_LEN];

	initStringInfo(&text);
	appendStringInfoChar(&text, '{');
	for (uint32 i = 0; i < survival->count; i++)
	{
		double_to_shortest_decimal_buf(survival->points[i].time, digits);
		appendStringInfo(&text, "%s%s:%u/%u", i > 0 ? ", " : "", digits,
						 survival->points[i].events, survival->points[i].censored);
	}
	appendStringInfoChar(&text, '}');
	PG_RETURN_CSTRING(text.data);
}

/* survival_send: version, count, then the points in network order */
Datum
salesops_survival_send(PG_FUNCTION_ARGS)
{
	Survival   *survival = compact_argument(PG_GETARG_DATUM(0));
	StringInfoData buffer;

	pq_begintypsend(&buffer);
	pq_sendint16(&buffer, SURVIVAL_VERSION);
	pq_sendint32(&buffer, survival->count);
	for (uint32 i = 0; i < survival->count; i++)
	{
		pq_sendfloat8(&buffer, survival->points[i].time);
		pq_sendint32(&buffer, survival->points[i].events);
		pq_sendint32(&buffer, survival->points[i].censored);
	}
	PG_RETURN_BYTEA_P(pq_endtypsend(&buffer));
}

/* survival_recv: nothing in the message is believed */
Datum
salesops_survival_recv(PG_FUNCTION_ARGS)
{
	StringInfo	buffer = (StringInfo) PG_GETARG_POINTER(0);
	int			version = pq_getmsgint(buffer, 2);
	uint32		count = pq_getmsgint(buffer, 4);
	Survival   *survival;

	if (version != SURVIVAL_VERSION || count > (uint32) (buffer->len - buffer->cursor) / sizeof(SurvivalPoint))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("invalid external \"salesops.survival\" value")));
	survival = make_survival(count);
	for (survival->count = 0; survival->count < count; survival->count++)
	{
		SurvivalPoint *point = &survival->points[survival->count];

		point->time = require_duration(pq_getmsgfloat8(buffer));
		point->events = pq_getmsgint(buffer, 4);
		point->censored = pq_getmsgint(buffer, 4);
	}
	PG_RETURN_POINTER(compact_copy(survival));
}

/* NaN is no answer in SQL: NULL is */
#define RETURN_KNOWN(value) \
	do { double known_ = (value); if (isnan(known_)) PG_RETURN_NULL(); PG_RETURN_FLOAT8(known_); } while (0)

/* median(survival): the smallest duration by which half have ended; NULL where not so many have */
Datum
salesops_median(PG_FUNCTION_ARGS)
{
	Survival   *survival = compact_argument(PG_GETARG_DATUM(0));

	RETURN_KNOWN(pipeline_survival_quantile(survival->points, survival->count, 0.5));
}

/* survival_quantile(survival, fraction): the smallest duration by which the fraction has ended, or NULL */
Datum
salesops_survival_quantile(PG_FUNCTION_ARGS)
{
	Survival   *survival = compact_argument(PG_GETARG_DATUM(0));
	double		fraction = PG_GETARG_FLOAT8(1);

	require_probability(fraction, "fraction");
	RETURN_KNOWN(pipeline_survival_quantile(survival->points, survival->count, fraction));
}

/* The step at a duration */
static SurvivalStep
step_at(FunctionCallInfo fcinfo)
{
	Survival   *survival = compact_argument(PG_GETARG_DATUM(0));

	return pipeline_survival_at(survival->points, survival->count, require_duration(PG_GETARG_FLOAT8(1)));
}

/* survival_at(survival, t): the share that lasts longer than t (Kaplan-Meier) */
Datum
salesops_survival_at(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(step_at(fcinfo).survival);
}

/* survival_error(survival, t): Greenwood's standard error of survival_at; NULL where none is left */
Datum
salesops_survival_error(PG_FUNCTION_ARGS)
{
	SurvivalStep step = step_at(fcinfo);

	if (isinf(step.greenwood))
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(step.survival * sqrt(step.greenwood));
}

/* cumulative_hazard(survival, t): Nelson-Aalen */
Datum
salesops_cumulative_hazard(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(step_at(fcinfo).hazard);
}

/* restricted_mean(survival, horizon, elapsed): mean time still to go within the horizon, after 'elapsed' */
Datum
salesops_restricted_mean(PG_FUNCTION_ARGS)
{
	Survival   *survival = compact_argument(PG_GETARG_DATUM(0));
	double		horizon = require_duration(PG_GETARG_FLOAT8(1));
	double		elapsed = require_duration(PG_GETARG_FLOAT8(2));

	RETURN_KNOWN(pipeline_survival_restricted_mean(survival->points, survival->count, elapsed, horizon));
}

/* survival_count(survival): observations, ended or not */
Datum
salesops_survival_count(PG_FUNCTION_ARGS)
{
	Survival   *survival = compact_argument(PG_GETARG_DATUM(0));
	int64		total = 0;

	for (uint32 i = 0; i < survival->count; i++)
		total += (int64) survival->points[i].events + survival->points[i].censored;
	PG_RETURN_INT64(total);
}

/* survival_events(survival): observations that ended */
Datum
salesops_survival_events(PG_FUNCTION_ARGS)
{
	Survival   *survival = compact_argument(PG_GETARG_DATUM(0));
	int64		total = 0;

	for (uint32 i = 0; i < survival->count; i++)
		total += survival->points[i].events;
	PG_RETURN_INT64(total);
}

/* life_table(survival, coverage): a row a distinct duration; the interval is by the log-log transform */
Datum
salesops_life_table(PG_FUNCTION_ARGS)
{
	Survival   *survival = compact_argument(PG_GETARG_DATUM(0));
	double		coverage = PG_GETARG_FLOAT8(1);
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	SurvivalWalk walk;

	require_probability(coverage, "coverage");
	InitMaterializedSRF(fcinfo, 0);
	pipeline_survival_start(&walk, survival->points, survival->count);
	while (pipeline_survival_next(&walk))
	{
		double		lower;
		double		upper;
		bool		nulls[8] = {false};
		Datum		values[8];

		pipeline_survival_interval(&walk.step, coverage, &lower, &upper);
		values[0] = Float8GetDatum(walk.step.time);
		values[1] = Int64GetDatum((int64) walk.step.at_risk);
		values[2] = Int64GetDatum(walk.step.events);
		values[3] = Int64GetDatum(walk.step.censored);
		values[4] = Float8GetDatum(walk.step.survival);
		values[5] = Float8GetDatum(walk.step.survival * sqrt(walk.step.greenwood));
		nulls[5] = isinf(walk.step.greenwood);
		values[6] = Float8GetDatum(lower);
		values[7] = Float8GetDatum(upper);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* log_rank(a, b) -> (observed, expected, chi_square, p_value) of a against b */
Datum
salesops_log_rank(PG_FUNCTION_ARGS)
{
	Survival   *first = compact_argument(PG_GETARG_DATUM(0));
	Survival   *second = compact_argument(PG_GETARG_DATUM(1));
	SurvivalComparison comparison = pipeline_survival_compare(first->points, first->count, second->points, second->count);
	TupleDesc	desc;
	Datum		values[4] = {Float8GetDatum(comparison.observed), Float8GetDatum(comparison.expected),
	Float8GetDatum(comparison.chi_square), Float8GetDatum(comparison.p_value)};
	bool		nulls[4] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
