/*
 * forecast_fuzz.c
 *		Any bytes as a forecast's text or binary form, and any deals as a forecast: no crash, text without loss, quantiles in order and
 *		in range.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "forecast/distribution.h"
#include "forecast/sketch.h"
#include "tap.h"

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The next byte, 0 at the end. */
static unsigned
take(const uint8_t **data, size_t *size)
{
	if (*size == 0)
		return 0;
	(*size)--;
	return *(*data)++;
}

/* A state that is sound must survive its text, and read without surprises. */
static void
check_state(const ForecastState *state)
{
	KernelEnv	env = tap_env();
	ForecastState *again = calloc(1, forecast_size(FORECAST_KEPT, true));
	size_t		length = forecast_to_text(state, NULL, 0);
	char	   *text = malloc(length + 1);
	char	   *text_again = malloc(length + 1);
	ForecastDistribution d;

	forecast_to_text(state, text, length + 1);
	if (forecast_from_text(text, again) != NULL || forecast_to_text(again, text_again, length + 1) != length ||
		strcmp(text, text_again) != 0)
		abort();
	forecast_distribution(&env, again, 0.0, &d);
	for (double p = 0.05, before = -INFINITY; p < 1.0; p += 0.15)
	{
		double		q = forecast_quantile(&d, p);

		if (!isfinite(q) || q < before - 1e-6 * fabs(q))
			abort();
		before = q;
	}
	free(d.value);
	free(d.cumulative);
	free(text);
	free(text_again);
	free(again);
}

/* Deals from bytes: amounts of many sizes and both signs, probabilities at and near the ends, counts. */
static void
check_deals(const uint8_t *data, size_t size)
{
	ForecastState *state = calloc(1, forecast_size(FORECAST_KEPT, true));
	ForecastState *other = calloc(1, forecast_size(FORECAST_KEPT, true));

	forecast_init(state, FORECAST_KEPT, true);
	forecast_init(other, FORECAST_KEPT, true);
	while (size > 0)
	{
		double		amount = ((int) take(&data, &size) - 100) * pow(10.0, (int) (take(&data, &size) % 24) - 8);
		unsigned	p = take(&data, &size);
		double		probability = p < 128 ? p / 127.0 : pow(10.0, -(double) (p % 16)) * 0.99;

		if (fabs(amount) > FORECAST_MAX_AMOUNT ||
			!forecast_add(take(&data, &size) % 2 ? state : other, amount, p % 3 == 0 ? 1.0 - probability : probability, 1 + p % 5))
			break;
	}
	if (!forecast_merge(state, other) || forecast_problem(state) != NULL)
		abort();
	check_state(state);
	free(state);
	free(other);
}

/* Bytes as the fields of the binary form, in the order salesops_forecast_recv() reads them: what passes must read without surprises. */
static void
check_binary(const uint8_t *data, size_t size)
{
	ForecastState *state = calloc(1, forecast_size(FORECAST_KEPT, true));
	double		field[4 + 3 * FORECAST_KEPT];
	size_t		count = size / sizeof(double);

	memset(field, 0, sizeof(field));
	count = count < sizeof(field) / sizeof(double) ? count : sizeof(field) / sizeof(double);
	memcpy(field, data, count * sizeof(double));
	forecast_init(state, FORECAST_KEPT, true);
	memcpy(&state->deals, &field[0], sizeof(double));
	memcpy(&state->unknown, &field[1], sizeof(double));
	state->certain.high = field[2];
	state->common = field[3];
	for (size_t k = 4; k + 3 <= count && state->kept < FORECAST_KEPT; k += 3)
	{
		ForecastDeal *deal = &state->deal[state->kept++];

		deal->amount = field[k];
		deal->probability = field[k + 1];
		memcpy(&deal->count, &field[k + 2], sizeof(double));
		/* half the time as a sound sender would have it: counts that are small, and a sum that agrees */
		if (size % 2 == 0)
			deal->count = 1 + (deal->count & 7);
	}
	if (size % 2 == 0)
	{
		state->deals = 0;
		for (int i = 0; i < state->kept; i++)
			state->deals += state->deal[i].count;
	}
	if (forecast_problem(state) == NULL && state->deals < 1000)
		check_state(state);
	free(state);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	ForecastState *state = calloc(1, forecast_size(FORECAST_KEPT, true));
	char	   *text = malloc(size + 80);

	if (size > 0 && data[0] % 4 == 0)
	{
		memcpy(text, data + 1, size - 1);
		text[size - 1] = '\0';
	}
	else
	{
		/* past the first keys, where random bytes would never come */
		strcpy(text, "{\"version\":1,\"deals\":9,\"unknown\":0,\"certain\":0,\"common\":0,\"kept\":");
		{
			size_t		length = strlen(text);
			size_t		more = size < 60 ? size : 60;

			text = realloc(text, length + more + 1);
			memcpy(text + length, data, more);
			text[length + more] = '\0';
		}
	}
	if (size > 0 && forecast_from_text(text, state) == NULL && state->deals < 1000)
		check_state(state);
	free(text);
	free(state);
	if (size > 0 && size < 1200 && data[0] % 2 == 1)
		check_deals(data + 1, size - 1);
	if (size > 32)
		check_binary(data + 1, size - 1);
	return 0;
}
