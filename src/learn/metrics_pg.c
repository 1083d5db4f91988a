/*
 * metrics_pg.c
 *		The metric aggregates: roc_auc, log_loss, brier_score, expected_calibration_error, precision_at, decayed_sum.
 *
 * All share one state type, salesops.metric_state, changed in place, that says itself which metric it serves: so partial
 * states merge in any order (parallel query, several servers), and text and binary forms lose nothing. The arithmetic is
 * metrics.c's.
 */
#include "postgres.h"

#include <math.h>

#include "fmgr.h"
#include "libpq/pqformat.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "core/compat.h"
#include "core/errors.h"
#include "core/kernel_pg.h"
#include "learn/metrics.h"

typedef enum MetricKind
{
	METRIC_ROC_AUC = 1,
	METRIC_PRECISION = 2,
	METRIC_LOG_LOSS = 3,
	METRIC_BRIER = 4,
	METRIC_CALIBRATION = 5,
	METRIC_DECAYED_SUM = 6
} MetricKind;

#define METRIC_VERSION 1

/*
 * value[] holds, for ranking metrics, the positives' scores from the front and the negatives' from the back; for the
 * calibration error its bins; for sums nothing.
 */
typedef struct MetricState
{
	int32		vl_len_;		/* varlena header */
	uint16		version;
	uint16		kind;
	double		parameter;		/* precision: the fraction; decayed_sum: the half-life in microseconds */
	double		sum;			/* sums, with a running compensation (Neumaier) */
	double		compensation;
	int64		positives;
	int64		negatives;
	int64		capacity;		/* of value[] */
	double		value[FLEXIBLE_ARRAY_MEMBER];
} MetricState;

#define METRIC_HEADER offsetof(MetricState, value)
#define METRIC_MAX_VALUES ((int64) ((MaxAllocSize - METRIC_HEADER) / sizeof(double)))
#define CALIBRATION_VALUES (3 * LEARN_CALIBRATION_BINS)

#define PG_GETARG_METRIC(n) ((MetricState *) PG_DETOAST_DATUM(PG_GETARG_DATUM(n)))

/* SQL name of a metric, for messages. */
static const char *
metric_name(int kind)
{
	static const char *const names[] = {"", "roc_auc", "precision_at", "log_loss", "brier_score",
	"expected_calibration_error", "decayed_sum"};

	return names[kind];
}

/* Does the metric need all scores? */
static bool
is_ranking(int kind)
{
	return kind == METRIC_ROC_AUC || kind == METRIC_PRECISION;
}

/* A new state with room for some values. */
static MetricState *
new_state(MemoryContext context, int kind, double parameter, int64 capacity)
{
	Size		size = METRIC_HEADER + sizeof(double) * capacity;
	MetricState *state = MemoryContextAllocZero(context, size);

	SET_VARSIZE(state, size);
	state->version = METRIC_VERSION;
	state->kind = kind;
	state->parameter = parameter;
	state->capacity = capacity;
	return state;
}

/* Copy ranking values into a state with more room. The caller's executor frees the old one. */
static MetricState *
grow(const MetricState *state, int64 needed)
{
	int64		capacity = Max(Max(state->capacity * 2, needed), 32);
	MetricState *larger;

	if (needed > METRIC_MAX_VALUES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("%s cannot hold more than %lld rows", metric_name(state->kind), (long long) METRIC_MAX_VALUES),
				 errhint("Take the metric over a sample, or by group.")));
	larger = new_state(CurrentMemoryContext, state->kind, state->parameter, Min(capacity, METRIC_MAX_VALUES));
	larger->sum = state->sum;
	larger->compensation = state->compensation;
	larger->positives = state->positives;
	larger->negatives = state->negatives;
	memcpy(larger->value, state->value, sizeof(double) * state->positives);
	memcpy(larger->value + larger->capacity - state->negatives, state->value + state->capacity - state->negatives,
		   sizeof(double) * state->negatives);
	return larger;
}

/* Add to a sum, keeping the rounding. */
static void
add_to_sum(MetricState *state, double value)
{
	double		sum = state->sum + value;

	if (fabs(state->sum) >= fabs(value))
		state->compensation += (state->sum - sum) + value;
	else
		state->compensation += (value - sum) + state->sum;
	state->sum = sum;
}

/* The aggregate's state of this call: the one passed, a copy of it outside an aggregate, or a new one. */
static MetricState *
state_of_call(FunctionCallInfo fcinfo, int kind, double parameter)
{
	bool		in_aggregate = AggCheckCallContext(fcinfo, NULL) != 0;
	MetricState *state;

	if (PG_ARGISNULL(0))
		return new_state(CurrentMemoryContext, kind, parameter,
						 is_ranking(kind) ? 14 : kind == METRIC_CALIBRATION ? CALIBRATION_VALUES : 0);
	state = in_aggregate ? PG_GETARG_METRIC(0) : (MetricState *) PG_DETOAST_DATUM_COPY(PG_GETARG_DATUM(0));
	if (state->kind != kind)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a state of %s cannot serve %s", metric_name(state->kind), metric_name(kind))));
	if (state->parameter != parameter)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the last argument of %s must be the same for all rows of a group", metric_name(kind))));
	return state;
}

/* Add one score to a ranking state; may return a larger one. */
static MetricState *
add_score(MetricState *state, double score, bool label)
{
	if (state->positives + state->negatives == state->capacity)
		state = grow(state, state->capacity + 1);
	if (label)
		state->value[state->positives++] = score;
	else
		state->value[state->capacity - ++state->negatives] = score;
	return state;
}

/* A row of a probability metric. */
static void
add_probability(MetricState *state, double probability, bool label)
{
	if (label)
		state->positives++;
	else
		state->negatives++;
	if (state->kind == METRIC_LOG_LOSS)
		add_to_sum(state, learn_log_loss_row(probability, label));
	else if (state->kind == METRIC_BRIER)
		add_to_sum(state, (probability - label) * (probability - label));
	else
		learn_calibration_add((CalibrationBins *) state->value, probability, label);
}

/* Rows with a NULL score or label are not counted. Returns the state, or NULL where there is none yet. */
static Datum
accumulate_label(FunctionCallInfo fcinfo, MetricKind kind, double parameter)
{
	MetricState *state;
	double		score;

	if (PG_ARGISNULL(1) || PG_ARGISNULL(2))
	{
		if (PG_ARGISNULL(0))
			PG_RETURN_NULL();
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	}
	score = PG_GETARG_FLOAT8(1);
	if (is_ranking(kind))
		require_finite(score, "score");
	else
		require_probability(score, "probability");
	state = state_of_call(fcinfo, kind, parameter);
	if (is_ranking(kind))
		state = add_score(state, score, PG_GETARG_BOOL(2));
	else
		add_probability(state, score, PG_GETARG_BOOL(2));
	PG_RETURN_POINTER(state);
}

PG_FUNCTION_INFO_V1(salesops_roc_auc_accumulate);
/* roc_auc: (state, score, label) */
Datum
salesops_roc_auc_accumulate(PG_FUNCTION_ARGS)
{
	return accumulate_label(fcinfo, METRIC_ROC_AUC, 0);
}

PG_FUNCTION_INFO_V1(salesops_log_loss_accumulate);
/* log_loss: (state, probability, label) */
Datum
salesops_log_loss_accumulate(PG_FUNCTION_ARGS)
{
	return accumulate_label(fcinfo, METRIC_LOG_LOSS, 0);
}

PG_FUNCTION_INFO_V1(salesops_brier_score_accumulate);
/* brier_score: (state, probability, label) */
Datum
salesops_brier_score_accumulate(PG_FUNCTION_ARGS)
{
	return accumulate_label(fcinfo, METRIC_BRIER, 0);
}

PG_FUNCTION_INFO_V1(salesops_expected_calibration_error_accumulate);
/* expected_calibration_error: (state, probability, label) */
Datum
salesops_expected_calibration_error_accumulate(PG_FUNCTION_ARGS)
{
	return accumulate_label(fcinfo, METRIC_CALIBRATION, 0);
}

PG_FUNCTION_INFO_V1(salesops_precision_at_accumulate);
/* precision_at: (state, score, label, fraction) */
Datum
salesops_precision_at_accumulate(PG_FUNCTION_ARGS)
{
	double		fraction;

	if (PG_ARGISNULL(3))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("the fraction of precision_at must not be null")));
	fraction = PG_GETARG_FLOAT8(3);
	if (!(fraction > 0 && fraction <= 1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the fraction of precision_at must be above 0 and at most 1, not %g", fraction)));
	return accumulate_label(fcinfo, METRIC_PRECISION, fraction);
}

PG_FUNCTION_INFO_V1(salesops_decayed_sum_accumulate);
/*
 * decayed_sum: (state, value, at, as_of, half_life). Each value counts value * 2 ^ (-(as_of - at) / half_life); what lies
 * after as_of is not known yet and does not count; rows with a NULL are left out. The half-life's months count 30 days.
 */
Datum
salesops_decayed_sum_accumulate(PG_FUNCTION_ARGS)
{
	MetricState *state;
	Interval   *half_life;
	double		microseconds;
	TimestampTz at;
	TimestampTz as_of;

	if (PG_ARGISNULL(1) || PG_ARGISNULL(2) || PG_ARGISNULL(3) || PG_ARGISNULL(4) ||
		PG_GETARG_TIMESTAMPTZ(2) > PG_GETARG_TIMESTAMPTZ(3))
	{
		if (PG_ARGISNULL(0))
			PG_RETURN_NULL();
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	}
	require_finite(PG_GETARG_FLOAT8(1), "value");
	at = PG_GETARG_TIMESTAMPTZ(2);
	as_of = PG_GETARG_TIMESTAMPTZ(3);
	half_life = PG_GETARG_INTERVAL_P(4);
	if (TIMESTAMP_NOT_FINITE(at) || TIMESTAMP_NOT_FINITE(as_of))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the times of decayed_sum must be finite")));
	microseconds = (double) half_life->time + ((double) half_life->day + 30.0 * half_life->month) * USECS_PER_DAY;
	if (!(microseconds > 0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the half-life of decayed_sum must be positive")));
	state = state_of_call(fcinfo, METRIC_DECAYED_SUM, microseconds);
	state->positives++;
	add_to_sum(state, PG_GETARG_FLOAT8(1) * exp2(-((double) as_of - (double) at) / microseconds));
	PG_RETURN_POINTER(state);
}

/* Append the other state's scores. */
static MetricState *
merge_scores(MetricState *into, const MetricState *from)
{
	int64		needed = into->positives + into->negatives + from->positives + from->negatives;

	if (needed > into->capacity)
		into = grow(into, needed);
	memcpy(into->value + into->positives, from->value, sizeof(double) * from->positives);
	memcpy(into->value + into->capacity - into->negatives - from->negatives,
		   from->value + from->capacity - from->negatives, sizeof(double) * from->negatives);
	return into;
}

PG_FUNCTION_INFO_V1(salesops_metric_combine);
/* Merge two states of the same metric and parameter; either may be NULL. */
Datum
salesops_metric_combine(PG_FUNCTION_ARGS)
{
	MetricState *into;
	MetricState *from;

	if (PG_ARGISNULL(1))
	{
		if (PG_ARGISNULL(0))
			PG_RETURN_NULL();
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	}
	if (PG_ARGISNULL(0))
		PG_RETURN_DATUM(PG_GETARG_DATUM(1));
	from = PG_GETARG_METRIC(1);
	into = state_of_call(fcinfo, from->kind, from->parameter);
	if (is_ranking(into->kind))
		into = merge_scores(into, from);
	for (int i = 0; i < CALIBRATION_VALUES && into->kind == METRIC_CALIBRATION; i++)
		into->value[i] += from->value[i];
	into->positives += from->positives;
	into->negatives += from->negatives;
	add_to_sum(into, from->sum);
	into->compensation += from->compensation;
	PG_RETURN_POINTER(into);
}

/* Result of a ranking metric, from sorted copies: a state may be finished more than once. */
static double
ranking_result(const MetricState *state)
{
	KernelEnv	env = kernel_env_pg(CurrentMemoryContext);
	double	   *positive = kernel_alloc_array(&env, double, state->positives);
	double	   *negative = kernel_alloc_array(&env, double, state->negatives);
	double		result;

	memcpy(positive, state->value, sizeof(double) * state->positives);
	memcpy(negative, state->value + state->capacity - state->negatives, sizeof(double) * state->negatives);
	learn_sort_doubles(&env, positive, state->positives);
	learn_sort_doubles(&env, negative, state->negatives);
	if (state->kind == METRIC_ROC_AUC)
		result = learn_roc_auc_sorted(positive, state->positives, negative, state->negatives);
	else
		result = learn_precision_at_sorted(positive, state->positives, negative, state->negatives, state->parameter);
	pfree(positive);
	pfree(negative);
	return result;
}

PG_FUNCTION_INFO_V1(salesops_metric_result);
/* The metric; NULL with no rows, and for roc_auc with one class only. */
Datum
salesops_metric_result(PG_FUNCTION_ARGS)
{
	MetricState *state;
	double		rows;
	double		result;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	state = PG_GETARG_METRIC(0);
	rows = (double) state->positives + (double) state->negatives;
	if (is_ranking(state->kind))
		result = ranking_result(state);
	else if (state->kind == METRIC_CALIBRATION)
		result = learn_calibration_error((CalibrationBins *) state->value);
	else if (state->kind == METRIC_DECAYED_SUM)
		result = state->sum + state->compensation;
	else
		result = (state->sum + state->compensation) / rows;
	if (isnan(result))
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(result);
}

PG_FUNCTION_INFO_V1(salesops_metric_state_send);
/* Header, then the values that are in use, in network order. */
Datum
salesops_metric_state_send(PG_FUNCTION_ARGS)
{
	MetricState *state = PG_GETARG_METRIC(0);
	StringInfoData buffer;

	pq_begintypsend(&buffer);
	pq_sendint16(&buffer, state->version);
	pq_sendint16(&buffer, state->kind);
	pq_sendfloat8(&buffer, state->parameter);
	pq_sendfloat8(&buffer, state->sum);
	pq_sendfloat8(&buffer, state->compensation);
	pq_sendint64(&buffer, state->positives);
	pq_sendint64(&buffer, state->negatives);
	if (is_ranking(state->kind))
	{
		for (int64 i = 0; i < state->positives; i++)
			pq_sendfloat8(&buffer, state->value[i]);
		for (int64 i = state->capacity - state->negatives; i < state->capacity; i++)
			pq_sendfloat8(&buffer, state->value[i]);
	}
	else
		for (int64 i = 0; i < state->capacity; i++)
			pq_sendfloat8(&buffer, state->value[i]);
	PG_RETURN_BYTEA_P(pq_endtypsend(&buffer));
}

/* What the state of a metric may be, whoever wrote it. */
static void
bad_state(const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION), errmsg("invalid metric_state: %s", why)));
}

/* Read a state, checking every number. */
static MetricState *
receive_state(StringInfo buffer)
{
	int			version = pq_getmsgint(buffer, 2);
	int			kind = pq_getmsgint(buffer, 2);
	double		parameter = pq_getmsgfloat8(buffer);
	double		sum = pq_getmsgfloat8(buffer);
	double		compensation = pq_getmsgfloat8(buffer);
	int64		positives = pq_getmsgint64(buffer);
	int64		negatives = pq_getmsgint64(buffer);
	int64		values;
	MetricState *state;

	if (version != METRIC_VERSION)
		bad_state("another version");
	if (kind < METRIC_ROC_AUC || kind > METRIC_DECAYED_SUM)
		bad_state("an unknown metric");
	if (positives < 0 || negatives < 0 || positives > PG_INT64_MAX / 4 || negatives > PG_INT64_MAX / 4)
		bad_state("a negative count");
	if (isnan(parameter) || isnan(sum) || isnan(compensation))
		bad_state("not a number");
	values = is_ranking(kind) ? positives + negatives : kind == METRIC_CALIBRATION ? CALIBRATION_VALUES : 0;
	if ((int64) (buffer->len - buffer->cursor) != values * (int64) sizeof(double))
		bad_state("a length that does not fit its counts");
	state = new_state(CurrentMemoryContext, kind, parameter, values);
	state->sum = sum;
	state->compensation = compensation;
	state->positives = positives;
	state->negatives = negatives;
	for (int64 i = 0; i < values; i++)
	{
		state->value[i] = pq_getmsgfloat8(buffer);
		if (isnan(state->value[i]))
			bad_state("not a number");
	}
	return state;
}

PG_FUNCTION_INFO_V1(salesops_metric_state_recv);
/* The reverse of send. */
Datum
salesops_metric_state_recv(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(receive_state((StringInfo) PG_GETARG_POINTER(0)));
}

PG_FUNCTION_INFO_V1(salesops_metric_state_out);
/* The binary form in hexadecimal: lossless, and as short as text that is can be read plainly. */
Datum
salesops_metric_state_out(PG_FUNCTION_ARGS)
{
	bytea	   *bytes = DatumGetByteaP(DirectFunctionCall1(salesops_metric_state_send, PG_GETARG_DATUM(0)));
	Size		size = VARSIZE_ANY_EXHDR(bytes);
	char	   *text = MemoryContextAllocHuge(CurrentMemoryContext, size * 2 + 1);

	text[hex_encode(VARDATA_ANY(bytes), size, text)] = '\0';
	PG_RETURN_CSTRING(text);
}

PG_FUNCTION_INFO_V1(salesops_metric_state_in);
/* The reverse of out. */
Datum
salesops_metric_state_in(PG_FUNCTION_ARGS)
{
	char	   *text = PG_GETARG_CSTRING(0);
	StringInfoData buffer;

	initStringInfo(&buffer);
	enlargeStringInfo(&buffer, strlen(text) / 2 + 1);
	buffer.len = hex_decode(text, strlen(text), buffer.data);
	PG_RETURN_POINTER(receive_state(&buffer));
}
