/*
 * survival_test.c
 *		The Kaplan-Meier kernel against published worked examples and against itself in another order.
 */
#include "tap.h"

#include "pipeline/survival.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Points from durations; a negative one is censored at its absolute value. */
static size_t
load(SurvivalPoint *points, const double *durations, size_t count)
{
	for (size_t i = 0; i < count; i++)
		points[i] = (SurvivalPoint) {fabs(durations[i]), durations[i] > 0, durations[i] < 0};
	ok(pipeline_survival_compact(points, &count), "compact %zu points", count);
	return count;
}

/* Bewick, Cheek and Ball, Critical Care 2004, 8:389, table 2 */
static void
bewick(void)
{
	const double durations[] = {9, 1, -9, 22, 1, 4, -6, 5};
	SurvivalPoint points[8];
	size_t		count = load(points, durations, COUNT(durations));

	is_int((int64_t) count, 6, "six distinct times");
	is_double(pipeline_survival_at(points, count, 0.5).survival, 1, 0, "all before the first time");
	is_double(pipeline_survival_at(points, count, 1).survival, 0.750, 1e-9, "S(1)");
	is_double(pipeline_survival_at(points, count, 4).survival, 0.625, 1e-9, "S(4)");
	is_double(pipeline_survival_at(points, count, 5).survival, 0.500, 1e-9, "S(5)");
	is_double(pipeline_survival_at(points, count, 8).survival, 0.500, 1e-9, "S(8) is S(5)");
	is_double(pipeline_survival_at(points, count, 9).survival, 1.0 / 3, 1e-9, "S(9): the tie's end comes first");
	is_double(pipeline_survival_at(points, count, 22).survival, 0, 0, "S(22)");
	is_double(pipeline_survival_quantile(points, count, 0.5), 5, 0, "median, rounding of .75 * .8333 * .8 aside");
}

/* Freireich 1963, 6-MP group, with Greenwood's errors */
static void
freireich(void)
{
	const double durations[] = {6, 6, 6, 7, 10, 13, 16, 22, 23, -6, -9, -10, -11, -17, -19, -20, -25, -32, -32, -34, -35};
	const double control[] = {1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23};
	const double times[] = {6, 7, 10, 13, 16, 22, 23};
	const double survival[] = {.8571, .8067, .7529, .6902, .6275, .5378, .4482};
	const double error[] = {.0764, .0869, .0963, .1068, .1141, .1282, .1346};
	SurvivalPoint points[21];
	SurvivalPoint other[21];
	size_t		count = load(points, durations, COUNT(durations));
	size_t		nother = load(other, control, COUNT(control));
	SurvivalStep step;
	SurvivalComparison comparison;
	double		lower;
	double		upper;

	for (size_t i = 0; i < COUNT(times); i++)
	{
		step = pipeline_survival_at(points, count, times[i]);
		is_double(step.survival, survival[i], 5e-5, "S as published");
		is_double(step.survival * sqrt(step.greenwood), error[i], 5e-5, "Greenwood's error as published");
	}
	is_double(pipeline_survival_quantile(points, count, 0.5), 23, 0, "median 23 weeks");
	ok(isnan(pipeline_survival_quantile(points, count, 0.9)), "a quantile that the sample does not reach is unknown");
	is_double(pipeline_survival_at(other, nother, 1).survival, 19.0 / 21, 1e-12, "control S(1)");
	is_double(pipeline_survival_at(other, nother, 2).survival, 17.0 / 21, 1e-12, "control S(2)");
	is_double(pipeline_survival_at(other, nother, 9.9).survival, 8.0 / 21, 1e-12, "control S(10-)");
	is_double(pipeline_survival_quantile(other, nother, 0.5), 8, 0, "control median 8 weeks");
	is_double(pipeline_survival_restricted_mean(other, nother, 0, 1000), 182.0 / 21, 1e-9, "uncensored: the plain mean");
	is_double(pipeline_survival_restricted_mean(points, count, 0, 6), 6, 1e-12, "nothing ends before 6");

	/* R: survdiff(Surv(time, status) ~ group), chisq 16.8; published with the data (Kleinbaum and Klein 2005) */
	comparison = pipeline_survival_compare(points, count, other, nother);
	is_double(comparison.chi_square, 16.793, 5e-4, "log-rank chi-square");
	is_double(comparison.expected, 19.25, 5e-3, "log-rank expected");
	ok(comparison.p_value > 4e-5 && comparison.p_value < 4.3e-5, "log-rank p");

	/* the log-log interval at 10 weeks: R survfit(conf.type = "log-log") gives .503 and .889 */
	step = pipeline_survival_at(points, count, 10);
	pipeline_survival_interval(&step, 0.95, &lower, &upper);
	is_double(lower, 0.5032, 5e-4, "lower bound");
	is_double(upper, 0.8894, 5e-4, "upper bound");
}

/* Any order, and any split merged, gives the same points. */
static void
orders(void)
{
	SurvivalPoint once[2000];
	SurvivalPoint twice[2000];
	size_t		nonce = 2000;
	size_t		ntwice = 2000;
	size_t		half = 1000;

	for (size_t i = 0; i < 2000; i++)
		once[i] = (SurvivalPoint) {(double) (i * 7919 % 311), i % 3 == 0, i % 3 != 0};
	for (size_t i = 0; i < 2000; i++)
		twice[i] = once[1999 - i];
	ok(pipeline_survival_compact(twice, &half), "half of it");
	memmove(twice + half, twice + 1000, sizeof(SurvivalPoint) * 1000);
	ntwice = half + 1000;
	ok(pipeline_survival_compact(once, &nonce) && pipeline_survival_compact(twice, &ntwice), "and the rest");
	is_int((int64_t) ntwice, (int64_t) nonce, "as many points");
	ok(memcmp(once, twice, sizeof(SurvivalPoint) * nonce) == 0, "the same bytes");
}

/* Nothing, one, and too many */
static void
edges(void)
{
	SurvivalPoint points[2] = {{1, UINT32_MAX, 0}, {1, 1, 0}};
	size_t		count = 0;

	ok(pipeline_survival_compact(points, &count) && count == 0, "no points");
	ok(isnan(pipeline_survival_quantile(points, 0, 0.5)), "no points, no median");
	is_double(pipeline_survival_at(points, 0, 5).survival, 1, 0, "no points, nothing known to end");
	count = 2;
	ok(!pipeline_survival_compact(points, &count), "a count beyond 32 bits is refused");
	is_double(pipeline_survival_compare(points, 0, points, 0).p_value, 1, 0, "two empty samples do not differ");
}

int
main(void)
{
	bewick();
	freireich();
	orders();
	edges();
	return done_testing();
}
