/*
 * forecast_test.c
 *		The forecast's state and distribution against exact answers: enumeration and dynamic programming of the whole sum.
 */
#include "tap.h"

#include "forecast/distribution.h"
#include "forecast/sketch.h"

static uint64_t seed = 42;

/* Uniform in [0, 1): xorshift64*, so that runs repeat. */
static double
uniform(void)
{
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return (double) ((seed * UINT64_C(2685821657736338717)) >> 11) / 9007199254740992.0;
}

/* Standard normal. */
static double
normal(void)
{
	return forecast_normal_quantile(uniform() * 0.999999 + 5e-7);
}

/* A growing state on the heap, as the aggregate holds it. */
static ForecastState *
state_new(void)
{
	ForecastState *state = calloc(1, forecast_size(4, false));

	forecast_init(state, 4, false);
	return state;
}

/* Add one deal, growing where needed. */
static void
state_add(ForecastState **state, double amount, double probability, int64_t count)
{
	while (!forecast_add(*state, amount, probability, count))
	{
		int			capacity;
		bool		has_rest;
		ForecastState *larger;

		forecast_grown_shape(*state, &capacity, &has_rest);
		larger = calloc(1, forecast_size(capacity, has_rest));
		forecast_copy(larger, capacity, has_rest, *state);
		free(*state);
		*state = larger;
	}
}

/* Merge source into *target, growing where needed. */
static void
state_merge(ForecastState **target, const ForecastState *source)
{
	if (!forecast_merge(*target, source))
	{
		int			capacity;
		bool		has_rest;
		ForecastState *larger;

		forecast_merged_shape(*target, source, &capacity, &has_rest);
		larger = calloc(1, forecast_size(capacity, has_rest));
		forecast_copy(larger, capacity, has_rest, *target);
		free(*target);
		*target = larger;
		ok(forecast_merge(*target, source), "the grown state takes the merge");
	}
}

/* Quantile straight from a state. */
static double
quantile(const ForecastState *state, double p, double correlation)
{
	KernelEnv	env = tap_env();
	ForecastDistribution d;
	double		answer;

	forecast_distribution(&env, state, correlation, &d);
	answer = forecast_quantile(&d, p);
	free(d.value);
	free(d.cumulative);
	return answer;
}

/* Probability of reaching a target straight from a state. */
static double
at_least(const ForecastState *state, double target, double correlation)
{
	KernelEnv	env = tap_env();
	ForecastDistribution d;
	double		answer;

	forecast_distribution(&env, state, correlation, &d);
	answer = forecast_at_least(&d, target);
	free(d.value);
	free(d.cumulative);
	return answer;
}

/* A few deals by hand: every outcome is exact. */
static void
test_few(void)
{
	ForecastState *s = state_new();

	is_double(quantile(s, 0.5, 0), 0, 0, "no deals: nothing");
	state_add(&s, 100, 0.5, 1);
	state_add(&s, 250, 0.2, 1);
	is_double(forecast_mean(s), 100, 1e-12, "mean of two deals");
	is_double(forecast_variance(s), 2500 + 10000, 1e-9, "variance of two deals");
	is_double(at_least(s, 350, 0), 0.1, 1e-12, "both");
	is_double(at_least(s, 350.01, 0), 0, 1e-12, "more than both");
	is_double(at_least(s, 250, 0), 0.2, 1e-12, "at least the larger");
	is_double(at_least(s, 100, 0), 0.6, 1e-12, "at least the smaller");
	is_double(quantile(s, 0.4, 0), 0, 0, "quantile .4 is nothing");
	is_double(quantile(s, 0.41, 0), 100, 0, "quantile .41 is the smaller");
	is_double(quantile(s, 0.8, 0), 100, 0, "quantile .8");
	is_double(quantile(s, 0.9, 0), 250, 0, "quantile .9");
	is_double(quantile(s, 1, 0), 350, 0, "quantile 1 is everything");
	is_double(quantile(s, 0, 0), 0, 0, "quantile 0 is the least");
	state_add(&s, 1000, 1, 1);
	state_add(&s, 5000, 0, 1);
	is_int(s->deals, 4, "certain and impossible deals count");
	is_double(quantile(s, 0.9, 0), 1250, 0, "a certain deal shifts");
	state_add(&s, -40, 0.5, 1);
	is_double(quantile(s, 0, 0), 960, 0, "a credit lowers the least");
	is_double(at_least(s, 1000, 0), 0.5 + 0.5 * 0.6, 1e-12, "credit: at least 1000");
	is_double(quantile(s, 0.2, 0), 960, 0, "credit: quantile .2");
	free(s);
	s = state_new();
	for (int i = 0; i < 3; i++)
		state_add(&s, 0.1, 0.5, 1);
	is_int(s->kept, 1, "equal deals are kept once");
	is_double(at_least(s, 0.3, 0), 0.125, 1e-12, "three times .1 reaches .3");
	free(s);
}

/* Two deals with a common factor: the joint probability is the bivariate normal's (orthant formula at p = .5). */
static void
test_correlation(void)
{
	ForecastState *s = state_new();

	state_add(&s, 1, 0.5, 2);
	is_double(at_least(s, 2, 0.0), 0.25, 1e-12, "independent: a quarter");
	is_double(at_least(s, 2, 0.3), 0.25 + asin(0.3) / (2 * M_PI), 1e-6, "correlation .3: Sheppard's orthant formula");
	is_double(at_least(s, 2, 0.9), 0.25 + asin(0.9) / (2 * M_PI), 1e-6, "correlation .9");
	free(s);
	s = state_new();
	state_add(&s, 1, 0.3, 20000);
	/* Vasicek's limit: P(share <= x) = N((sqrt(1-rho) N^-1(x) - N^-1(p)) / sqrt(rho)) */
	for (int i = 1; i <= 9; i += 4)
	{
		double		z = forecast_normal_quantile(i / 10.0);
		double		share = forecast_normal_cdf((forecast_normal_quantile(0.3) + sqrt(0.2) * z) / sqrt(0.8));

		is_double(quantile(s, i / 10.0, 0.2) / 20000, share, 0.002, "many equal deals: Vasicek's limit");
	}
	free(s);
}

/*
 * Worst quantile error against dynamic programming, in deviations, beyond one lattice step. A quantile in a gap between
 * clusters of outcomes may lie anywhere there: an answer whose exact probability is within 2e-4 counts as right.
 */
static double
worst_error(const double *amount, const double *probability, int n, const ForecastState *s, double step)
{
	static const double ps[] = {0.05, 0.25, 0.5, 0.75, 0.95};
	int			cells = 1;
	double		low = 0;
	double		worst = 0;
	double		deviation = sqrt(forecast_variance(s));
	double	   *f;

	for (int i = 0; i < n; i++)
	{
		cells += (int) lround(fabs(amount[i]) / step);
		low += amount[i] < 0 ? amount[i] : 0;
	}
	f = calloc((size_t) cells, sizeof(double));
	f[0] = 1;
	for (int i = 0, top = 1; i < n; i++)
	{
		int			a = (int) lround(fabs(amount[i]) / step);
		double		p = amount[i] < 0 ? 1 - probability[i] : probability[i];

		top += a;
		for (int j = top - 1; j >= 0; j--)
			f[j] = f[j] * (1 - p) + (j >= a ? f[j - a] * p : 0);
	}
	for (int q = 0; q < 5; q++)
	{
		double		sum = 0;
		double		reached = 0;
		double		got = quantile(s, ps[q], 0);
		double		off;
		int			j = 0;

		while (j < cells && (sum += f[j]) < ps[q])
			j++;
		for (int i = 0; i < cells && low + i * step <= got + step / 2; i++)
			reached += f[i];
		off = fabs(got - (low + j * step));
		if (off > step * (1 + 1e-9) && fabs(reached - ps[q]) > 2e-4 && off / deviation > worst)
			worst = off / deviation;
	}
	free(f);
	return worst;
}

/* Draw an amount in whole steps from one of several laws. */
static double
draw_amount(int law, double step)
{
	switch (law)
	{
		case 0:
			return step * (1 + floor(uniform() * 50));
		case 1:
			return step * ceil(exp(3 + normal()));
		case 2:
			return step * ceil(fmin(3000, 5 / pow(uniform() + 1e-9, 0.8)));
		case 3:
			return step * 20;
		case 4:
			return step * (uniform() < 0.02 ? 2000 : 10) * (uniform() < 0.1 ? -1 : 1);
		case 5:					/* sales and credits alike */
			return step * (uniform() < 0.5 ? -1 : 1) * (1 + floor(uniform() * 100));
		case 6:					/* huge among tiny */
			return step * (uniform() < 0.01 ? 20000 : 1 + floor(uniform() * 3));
		case 7:					/* many equal, others of all sizes */
			return step * (uniform() < 0.3 ? 500 : 1 + floor(uniform() * 500));
		default:				/* a price list whose only step is 1 */
			return step * (uniform() < 0.5 ? 999 : uniform() < 0.5 ? 1000 : 1999);
	}
}

/* Draw a probability from one of several laws. */
static double
draw_probability(int law)
{
	double		u = uniform();

	switch (law)
	{
		case 0:
			return u;
		case 1:
			return u * u * u * 0.1;
		case 2:
			return 0.3;
		case 3:
			return 1 - u * u * 0.05;
		case 4:
			return u < 0.5 ? 1e-7 * u : 0.9 + 0.1 * (u - 0.5);
		case 5:					/* certain either way, and all but */
			return u < 0.5 ? 1e-7 : 1 - 1e-7;
		default:
			return u < 0.1 ? 0 : u < 0.2 ? 1 : u < 0.3 ? 1e-7 : u < 0.4 ? 1 - 1e-7 : u;
	}
}

/* All laws and sizes against the exact distribution; whole and merged alike. */
static void
test_exact(void)
{
	static const int sizes[] = {3, 17, 40, 130, 150, 400, 1000, 3000};
	double		worst = 0;
	int			cases = 0;
	int			beyond = 0;

	for (int size = 0; size < 8; size++)
		for (int amounts = 0; amounts < 9; amounts++)
			for (int probabilities = 0; probabilities < 7; probabilities++)
			{
				int			n = sizes[size];
				double		step = amounts == 2 ? 0.01 : 1;
				double		lattice = amounts == 4 ? 10 * step : step;
				double	   *a = malloc(sizeof(double) * (size_t) n);
				double	   *p = malloc(sizeof(double) * (size_t) n);
				ForecastState *s = state_new();
				double		error;

				/* the exact answer takes n squared times the amounts; the larger sizes are for the laws of small ones */
				if ((double) n * n * (amounts == 6 || amounts == 8 ? 2000.0 : amounts > 4 ? 100.0 : 1.0) >
					(amounts > 4 || probabilities > 4 ? 3e7 : 3e8))
				{
					free(a);
					free(p);
					free(s);
					continue;
				}
				for (int i = 0; i < n; i++)
				{
					a[i] = draw_amount(amounts, step);
					p[i] = draw_probability(probabilities);
					state_add(&s, a[i], p[i], 1);
				}
				error = worst_error(a, p, n, s, lattice);
				if (error > 0.004)
					printf("# %d deals, amount law %d, probability law %d: %.5f\n", n, amounts, probabilities, error);
				worst = fmax(worst, error);
				cases++;
				beyond += error > 0.01;
				free(s);
				free(a);
				free(p);
			}
	printf("# worst error %.5f deviations; %d of %d cases beyond .01\n", worst, beyond, cases);
	ok(beyond * 100 <= cases, "quantiles within .01 deviations or one step in 99 of 100 cases of all laws and sizes");
	ok(worst <= 0.05, "and never off by more than .05");
}

/* The distribution under a common factor by brute force: dynamic programming on each of many values of the factor. */
static double *
factor_truth(const double *amount, const double *probability, int n, double rho, int *low, int *cells)
{
	double	   *mixed;
	double	   *f;
	double		weights = 0;

	*low = 0;
	*cells = 1;
	for (int i = 0; i < n; i++)
	{
		*cells += abs((int) amount[i]);
		*low += amount[i] < 0 ? (int) amount[i] : 0;
	}
	mixed = calloc((size_t) *cells, sizeof(double));
	f = calloc((size_t) *cells, sizeof(double));
	for (double z = -6; z <= 6; z += 0.1)
	{
		double		weight = exp(-0.5 * z * z);
		int			top = 1;

		memset(f, 0, sizeof(double) * (size_t) *cells);
		f[0] = 1;
		weights += weight;
		for (int i = 0; i < n; i++)
		{
			int			a = abs((int) amount[i]);
			double		p = forecast_normal_cdf((forecast_normal_quantile(probability[i]) + sqrt(rho) * z) / sqrt(1 - rho));

			if (amount[i] < 0)
				p = 1 - p;
			top += a;
			for (int j = top - 1; j >= 0; j--)
				f[j] = f[j] * (1 - p) + (j >= a ? f[j - a] * p : 0);
		}
		for (int j = 0; j < *cells; j++)
			mixed[j] += weight * f[j];
	}
	for (int j = 0; j < *cells; j++)
		mixed[j] /= weights;
	free(f);
	return mixed;
}

/* Worst of five quantiles under a factor, in deviations of the true distribution, beyond one lattice step. */
static double
factor_error(const double *amount, const double *probability, int n, double rho, const ForecastState *s)
{
	static const double ps[] = {0.05, 0.25, 0.5, 0.75, 0.95};
	int			low;
	int			cells;
	double	   *truth = factor_truth(amount, probability, n, rho, &low, &cells);
	double		mean = 0;
	double		square = 0;
	double		worst = 0;

	for (int j = 0; j < cells; j++)
	{
		mean += truth[j] * (low + j);
		square += truth[j] * (low + j) * (low + j);
	}
	for (int q = 0; q < 5; q++)
	{
		double		got = quantile(s, ps[q], rho);
		double		sum = 0;
		double		reached = 0;
		int			j = 0;

		while (j < cells - 1 && (sum += truth[j]) < ps[q])
			j++;
		for (int i = 0; i < cells && low + i <= got + 0.5; i++)
			reached += truth[i];
		if (fabs(reached - ps[q]) > 2e-4)
			worst = fmax(worst, (fabs(got - (low + j)) - 1) / sqrt(square - mean * mean));
	}
	free(truth);
	return worst;
}

/* Reading with a correlation, credits among the deals too, whole and partly summed up, against brute force. */
static void
test_factor(void)
{
	static const double rhos[] = {0.02, 0.3, 0.8};
	double		worst = 0;

	for (int n = 10; n <= 250; n *= 5)
		for (int law = 0; law < 3; law++)
			for (int r = 0; r < 3; r++)
			{
				double	   *a = malloc(sizeof(double) * (size_t) n);
				double	   *p = malloc(sizeof(double) * (size_t) n);
				ForecastState *s = state_new();
				double		error;

				for (int i = 0; i < n; i++)
				{
					a[i] = (1 + floor(uniform() * 12)) * (law == 1 && uniform() < 0.5 ? -1 : 1);
					p[i] = law == 2 ? uniform() * 0.05 : uniform();
					state_add(&s, a[i], p[i], 1);
				}
				error = factor_error(a, p, n, rhos[r], s);
				if (error > 0.005)
					printf("# %d deals, law %d, correlation %g: %.5f\n", n, law, rhos[r], error);
				worst = fmax(worst, error);
				free(s);
				free(a);
				free(p);
			}
	printf("# worst error with a correlation %.5f deviations\n", worst);
	ok(worst <= 0.02, "quantiles under a common factor within .02 deviations beyond one step");
}

/* Random merge trees keep the same pairs; sums agree to rounding; text is lossless. */
static void
test_merge(void)
{
	ForecastState *parts[16];
	ForecastState *whole = state_new();
	ForecastState *from_text = calloc(1, forecast_size(FORECAST_KEPT, true));
	char		text[20000];
	char		again[20000];
	int			left = 16;
	bool		equal = true;

	for (int i = 0; i < 16; i++)
		parts[i] = state_new();
	for (int i = 0; i < 5000; i++)
	{
		double		a = floor(exp(4 + 2 * normal())) + (uniform() < 0.2 ? -3 : 0.25);
		double		p = uniform() < 0.3 ? 0.25 : uniform();

		state_add(&whole, a, p, 1);
		state_add(&parts[(int) (uniform() * 16)], a, p, 1);
	}
	while (left > 1)
	{
		int			i = (int) (uniform() * left);
		int			j = (int) (uniform() * (left - 1));

		j += j >= i;
		state_merge(&parts[i], parts[j]);
		free(parts[j]);
		parts[j] = parts[--left];
	}
	is_int(parts[0]->kept, whole->kept, "merged: as many kept");
	for (int i = 0; i < whole->kept; i++)
		equal &= memcmp(&whole->deal[i], &parts[0]->deal[i], sizeof(ForecastDeal)) == 0;
	ok(equal, "merged: the same pairs kept");
	is_int(forecast_rest(parts[0])->step, forecast_rest(whole)->step, "merged: the same step");
	for (int j = 0; j < 2; j++)
		ok(forecast_sum(&forecast_rest(parts[0])->cumulant[j]) == forecast_sum(&forecast_rest(whole)->cumulant[j]), "merged: the same cumulant, to the bit");
	ok(forecast_mean(parts[0]) == forecast_mean(whole) && forecast_variance(parts[0]) == forecast_variance(whole),
	   "merged: the same mean and variance, to the bit");
	for (int k = 0; k < 10; k++)
		equal &= quantile(whole, 0.05 + 0.1 * k, k % 2 * 0.1) == quantile(parts[0], 0.05 + 0.1 * k, k % 2 * 0.1);
	ok(equal, "merged: the same quantiles, to the bit");
	ok(forecast_state_size(whole) <= 4096, "a full state is at most 4 kB");
	ok(forecast_problem(whole) == NULL, "a state of ours has no problem");
	ok(forecast_to_text(whole, text, sizeof(text)) < sizeof(text), "text fits");
	ok(forecast_from_text(text, from_text) == NULL, "text is read");
	ok(memcmp(whole, from_text, forecast_state_size(whole)) == 0, "text is lossless");
	forecast_to_text(from_text, again, sizeof(again));
	is_string(again, text, "and so is text again");
	free(parts[0]);
	free(whole);
	free(from_text);
}

/* A hundred thousand deals of a price list in cents, likely ones: nothing is added between the cells of a grid. */
static void
test_price_list(void)
{
	ForecastState *s = state_new();
	double		deviation;

	for (int i = 0; i < 9; i++)
		state_add(&s, 4.99 + i / 3 * 5, 0.9 - 0.01 * i, 11111);
	deviation = sqrt(forecast_variance(s));
	is_double((quantile(s, 0.95, 0) - quantile(s, 0.5, 0)) / deviation, 1.6448536, 0.004, "price list, above");
	is_double((quantile(s, 0.5, 0) - quantile(s, 0.05, 0)) / deviation, 1.6448536, 0.004, "price list, below");
	is_double(quantile(s, 0.5, 0), forecast_mean(s), 0.004 * deviation, "price list, median");
	free(s);
}

/* The common factor: mean kept, deviation as said, merged deviations add. */
static void
test_common(void)
{
	ForecastState *s = state_new();

	state_add(&s, 10, 0.5, 1000);
	s->common = 1000;
	is_double(forecast_mean(s), 5000, 1e-9, "the factor keeps the mean");
	is_double(sqrt(forecast_variance(s)), sqrt(1000.0 * 1000 + 25000 * (1 + 0.04)), 1e-6, "the factor widens the deviation");
	is_double(quantile(s, 0.9, 0) - quantile(s, 0.1, 0), 2 * 1.2816 * 1011, 60, "an 80 % interval is as wide as it should be");
	is_double(at_least(s, quantile(s, 0.3, 0), 0), 0.7, 1e-4, "quantile and probability agree");
	state_add(&s, 1e6, 1, 1);
	ok(quantile(s, 0.01, 0) > 1e6, "what is certain is not scaled");
	free(s);
}

/* Malformed text names what is wrong. */
static void
test_bad_text(void)
{
	ForecastState *s = calloc(1, forecast_size(FORECAST_KEPT, true));
	static const char *const bad[] = {
		"", "{", "{}", "[1]", "{\"version\":2,\"deals\":0,\"unknown\":0,\"certain\":0,\"common\":0,\"kept\":[]}",
		"{\"version\":1,\"deals\":0,\"unknown\":0,\"certain\":nan,\"common\":0,\"kept\":[]}",
		"{\"version\":1,\"deals\":0,\"unknown\":0,\"certain\":0,\"common\":-1,\"kept\":[]}",
		"{\"version\":1,\"deals\":0,\"unknown\":0,\"certain\":0,\"common\":0,\"kept\":[[1,0.5,1]]}",
		"{\"version\":1,\"deals\":1,\"unknown\":0,\"certain\":0,\"common\":0,\"kept\":[[1,1.5,1]]}",
		"{\"version\":1,\"deals\":1,\"unknown\":0,\"certain\":0,\"common\":0,\"kept\":[[1,0.5,1]]} x",
		"{\"version\":1,\"deals\":2,\"unknown\":0,\"certain\":0,\"common\":0,\"kept\":[[1,0.5,1],[2,0.5,1]]}",
		"{\"version\":1,\"deals\":1e3,\"unknown\":0,\"certain\":0,\"common\":0,\"kept\":[]}",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ok(forecast_from_text(bad[i], s) != NULL, "refused: %s", bad[i]);
	ok(forecast_from_text(" { \"version\" : 1 , \"deals\":1,\"unknown\":0,\"certain\":0,\"common\":0,\"kept\":[ [1,0.5,1] ] } ", s) == NULL,
	   "blanks are allowed");
	free(s);
}

int
main(void)
{
	is_double(forecast_normal_quantile(0.975), 1.959963984540054, 1e-12, "normal quantile");
	is_double(forecast_normal_cdf(forecast_normal_quantile(1e-9)), 1e-9, 1e-20, "normal quantile in the tail");
	test_few();
	test_correlation();
	test_exact();
	test_factor();
	test_merge();
	test_price_list();
	test_common();
	test_bad_text();
	return done_testing();
}
