/*
 * sketch.h
 *		The state of a forecast: a sum of independent deals, each worth its amount with its probability and nothing otherwise.
 *
 * Kept as they are: the FORECAST_KEPT distinct (amount, probability) pairs that carry most variance, with their counts.
 * Of all other deals only what adds up: cumulants 1 to 4, the greatest common step of the amounts in cents, power
 * sums of the amounts on a few knots of probability (needed when a correlation is given at reading), and, of the FORECAST_PRICES largest
 * amounts among them, power sums of the probabilities: where there is a price list, that is all of them, and the sum has its lumps.
 * The largest pairs of a union are among the largest pairs of its parts, and so are the largest amounts of its rest, so merging in
 * any order keeps the same.
 *
 * The struct is a PostgreSQL varlena as it stands, changed in place; its first word belongs to the caller. It has no
 * hidden padding and no pointers. What the numbers mean when read is distribution.h's matter.
 */
#ifndef SALESOPS_FORECAST_SKETCH_H
#define SALESOPS_FORECAST_SKETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FORECAST_VERSION	1
#define FORECAST_KEPT		104 /* distinct pairs kept */
#define FORECAST_PRICES		12	/* amounts of the rest told apart */
#define FORECAST_KNOTS		27	/* knots of probability for the rest */
#define FORECAST_POWERS		4	/* power sums a knot */
#define FORECAST_MAX_AMOUNT 1e18	/* beyond it the fourth power means nothing */
#define FORECAST_NO_STEP	(-1)	/* amounts are not whole cents */

typedef struct ForecastDeal
{
	double		amount;
	double		probability;
	int64_t		count;
} ForecastDeal;

/* A sum to twice a double's digits, so that its double is the same in whatever order it was added up */
typedef struct ForecastSum
{
	double		high;
	double		low;
} ForecastSum;

/* Deals of the rest that have one amount: power sums 1 to 4 of their probabilities */
typedef struct ForecastPrice
{
	double		amount;
	int64_t		deals;			/* 0: not in use */
	double		power[4];
} ForecastPrice;

/* Sums over the deals that are not kept one by one */
typedef struct ForecastRest
{
	int64_t		deals;
	int64_t		step;			/* common divisor of the amounts in cents; 0 none yet; FORECAST_NO_STEP */
	ForecastSum cumulant[4];	/* the third and fourth to a double's digits */
	double		knot[FORECAST_KNOTS][FORECAST_POWERS];
	ForecastPrice price[FORECAST_PRICES];	/* the largest either way, largest first */
} ForecastRest;

typedef struct ForecastState
{
	int32_t		length_word;	/* varlena header */
	uint8_t		version;
	uint8_t		has_rest;		/* a ForecastRest follows the kept deals */
	uint16_t	kept;
	uint16_t	capacity;		/* of deal[] */
	uint16_t	reserved;
	uint32_t	reserved2;
	int64_t		deals;			/* all of them, those worth nothing or certain included */
	int64_t		unknown;		/* rows whose amount or probability is NULL */
	ForecastSum certain;		/* of amounts with probability 1 */
	double		common;			/* deviation, in money, that all deals share (lognormal factor on the uncertain part) */
	ForecastDeal deal[];		/* by variance, largest first; then amount, then probability */
} ForecastState;

extern const double forecast_knots[FORECAST_KNOTS];

extern size_t forecast_size(int capacity, bool has_rest);
extern size_t forecast_state_size(const ForecastState *state);
extern void forecast_init(ForecastState *state, int capacity, bool has_rest);
extern ForecastRest *forecast_rest(ForecastState *state);
extern const ForecastRest *forecast_rest_const(const ForecastState *state);

extern bool forecast_add(ForecastState *state, double amount, double probability, int64_t count);
extern void forecast_grown_shape(const ForecastState *state, int *capacity, bool *has_rest);
extern void forecast_merged_shape(const ForecastState *a, const ForecastState *b, int *capacity, bool *has_rest);
extern void forecast_copy(ForecastState *target, int capacity, bool has_rest, const ForecastState *source);
extern bool forecast_merge(ForecastState *target, const ForecastState *source);

extern void forecast_sum_add(ForecastSum *sum, double term);
extern double forecast_sum(const ForecastSum *sum);
extern void forecast_add_certain(ForecastState *state, double amount);
extern double forecast_uncertain_mean(const ForecastState *state);
extern double forecast_mean(const ForecastState *state);
extern double forecast_variance(const ForecastState *state);
extern double forecast_relative_deviation(const ForecastState *state);
extern double forecast_common_sigma(const ForecastState *state);
extern int64_t forecast_cents(double amount);
extern int64_t forecast_gcd(int64_t a, int64_t b);

/* Text and checks (sketch_text.c) */
extern const char *forecast_problem(const ForecastState *state);
extern size_t forecast_to_text(const ForecastState *state, char *buffer, size_t size);
extern const char *forecast_from_text(const char *text, ForecastState *state);

#endif /* SALESOPS_FORECAST_SKETCH_H */
