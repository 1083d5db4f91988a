/*
 * distribution.c
 *		From a forecast's state to the distribution of its sum (distribution.h says how exact).
 *
 * The sum's characteristic function is a product: a short polynomial for every kept deal, the exponential of the
 * cumulants for the rest. It is evaluated on a grid that holds all but 1e-8 of the probability, averaged over the nodes
 * of the common factor, and turned back by one Fourier transform. A lattice (all amounts whole multiples of a step)
 * makes the polynomials exact and the rest's function periodic, which is the half-step correction of the Edgeworth series.
 * Edgeworth: Feller II, XVI.4; one-factor copula: Vasicek 2002.
 */
#include "forecast/distribution.h"
#include "forecast/spectrum.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define OUTCOMES_MAX		16384	/* enumerate up to so many outcomes */
#define OUTCOMES_NODES_MAX	1024	/* … where each must be weighed under every node of the factor */
#define LATTICE_MAX			32768	/* cells of an exact lattice */
#define LATTICE_NODES_MAX	2048
#define CELLS_MIN			1024
#define CELLS_MAX			16384
#define CELLS_NODES_MAX		2048
#define NODES_MIN			12
#define NODES_MAX			89		/* 12 with the steps halved three times */
#define NODE_RANGE			4.75	/* of the factor, in deviations */
#define GRID_NODES			9		/* nodes that are asked how far the grid must reach */
#define TAIL_LOG		18.0	/* leave out less than exp(-18) on each side */
#define TAIL_LOG_LEAST	10.0	/* ... or than exp(-10), where cells would be too coarse */
#define MARGIN			16		/* cells on each side of a grid that is no lattice */
#define STEP_MOST		0.004	/* deviations that a cell should not be wider than */
#define SMOOTH_LOG		14.0	/* a sum is smooth where its function is below exp(-14) at the highest frequency */
#define FACTOR_GROUPS		1024

/* Standard normal distribution function. */
double
forecast_normal_cdf(double z)
{
	return 0.5 * erfc(-z * M_SQRT1_2);
}

/* Its inverse: Acklam's rational approximation and one step of Halley's, full double precision; +-40 at 1 and 0. */
double
forecast_normal_quantile(double p)
{
	static const double a[] = {-3.969683028665376e+01, 2.209460984245205e+02, -2.759285104469687e+02,
	1.383577518672690e+02, -3.066479806614716e+01, 2.506628277459239e+00};
	static const double b[] = {-5.447609879822406e+01, 1.615858368580409e+02, -1.556989798598866e+02,
	6.680131188771972e+01, -1.328068155288572e+01};
	static const double c[] = {-7.784894002430293e-03, -3.223964580411365e-01, -2.400758277161838e+00,
	-2.549732539343734e+00, 4.374664141464968e+00, 2.938163982698783e+00};
	static const double d[] = {7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e+00,
	3.754408661907416e+00};
	double		x;
	double		u;

	if (p <= 0.0 || p >= 1.0)
		return p <= 0.0 ? -40.0 : 40.0;
	if (p > 0.5)
		return -forecast_normal_quantile(1.0 - p);
	if (p < 0.02425)
	{
		double		q = sqrt(-2.0 * log(p));

		x = (((((c[0] * q + c[1]) * q + c[2]) * q + c[3]) * q + c[4]) * q + c[5]) /
			((((d[0] * q + d[1]) * q + d[2]) * q + d[3]) * q + 1.0);
	}
	else
	{
		double		q = p - 0.5;
		double		r = q * q;

		x = (((((a[0] * r + a[1]) * r + a[2]) * r + a[3]) * r + a[4]) * r + a[5]) * q /
			(((((b[0] * r + b[1]) * r + b[2]) * r + b[3]) * r + b[4]) * r + 1.0);
	}
	u = (forecast_normal_cdf(x) - p) * 2.5066282746310002 * exp(0.5 * x * x);
	return x - u / (1.0 + 0.5 * x * u);
}

/* A deal's probability given the factor: its threshold is passed when sqrt(rho) z + sqrt(1 - rho) e is. */
static double
conditional_probability(double probit, double correlation, double z)
{
	return forecast_normal_cdf((probit + sqrt(correlation) * z) / sqrt(1.0 - correlation));
}

/* What every node needs of the deals and knots: their probits, taken once */
typedef struct Probits
{
	double		deal[FORECAST_KEPT];
	double		knot[FORECAST_KNOTS];
} Probits;

/* Take them. */
static void
take_probits(const ForecastState *state, Probits *probits)
{
	for (int i = 0; i < state->kept; i++)
		probits->deal[i] = forecast_normal_quantile(state->deal[i].probability);
	for (int k = 0; k < FORECAST_KNOTS; k++)
		probits->knot[k] = forecast_normal_quantile(forecast_knots[k]);
}

/*
 * Cumulants of the rest under the factor, from its knots; scaled so that the variance is exact without correlation. The
 * halves are seen from the side that is rare: gains of improbable deals, losses of probable ones.
 */
static void
rest_under_factor(const ForecastRest *rest, const Probits *probits, double correlation, double z, ForecastNode *node)
{
	double		variance = forecast_sum(&rest->cumulant[1]);
	double		free_variance = 0.0;
	double		at_one = forecast_sum(&rest->cumulant[0]);
	double		mean = 0.0;

	for (int k = 0; k < FORECAST_KNOTS; k++)
	{
		const double *power = rest->knot[k];
		double		p0 = forecast_knots[k];
		double		p = probits != NULL ? conditional_probability(probits->knot[k], correlation, z) : p0;
		double		rare = p < 0.5 ? p : 1.0 - p;
		double		sign = p < 0.5 ? 1.0 : -1.0;
		double		v = p * (1.0 - p);
		double	   *sum = node->rare[p < 0.5 ? 0 : 1];

		mean += p * power[0];
		for (int j = 0; j < 4; j++)
			node->intensity[p < 0.5 ? 0 : 1][j] += (j % 2 == 0 ? sign : 1.0) * rare * power[j];
		sum[0] += sign * rare * power[0];
		sum[1] += v * power[1];
		sum[2] += sign * v * (1.0 - 2.0 * rare) * power[2];
		sum[3] += v * (1.0 - 6.0 * v) * power[3];
		free_variance += p0 * (1.0 - p0) * power[1];
		at_one -= p0 * power[0];
	}
	node->cumulant[0] = mean + at_one;
	for (int j = 1; j < 4; j++)
	{
		for (int half = 0; half < 2 && free_variance > 0.0; half++)
		{
			node->rare[half][j] *= variance / free_variance;
			node->intensity[half][j] *= variance / free_variance;
		}
		node->cumulant[j] = node->rare[0][j] + node->rare[1][j];
	}
}

/* Fill in a node for one value of the factor; without probits the deals are independent. */
static void
set_node(const ForecastState *state, const Probits *probits, double correlation, double z, ForecastNode *node)
{
	const ForecastRest *rest = forecast_rest_const(state);

	memset(node->cumulant, 0, sizeof(node->cumulant));
	memset(node->rare, 0, sizeof(node->rare));
	memset(node->intensity, 0, sizeof(node->intensity));
	if (rest != NULL && rest->deals > 0)
	{
		rest_under_factor(rest, probits, correlation, z, node);
		for (int j = 0; j < 4 && probits == NULL; j++)
			node->cumulant[j] = forecast_sum(&rest->cumulant[j]);
	}
	node->mean = node->cumulant[0];
	node->variance = node->cumulant[1];
	for (int i = 0; i < state->kept; i++)
	{
		const ForecastDeal *d = &state->deal[i];
		double		p = probits != NULL ? conditional_probability(probits->deal[i], correlation, z) : d->probability;

		node->probability[i] = p;
		node->mean += (double) d->count * p * d->amount;
		node->variance += (double) d->count * p * (1.0 - p) * d->amount * d->amount;
	}
	node->weight = exp(-0.5 * z * z);
}

/* The largest jump of the conditional mean between neighbours, in conditional deviations. */
static double
largest_jump(const ForecastNode *node, int count)
{
	double		largest = 0.0;

	for (int i = 1; i < count; i++)
	{
		double		variance = 0.5 * (node[i].variance + node[i - 1].variance);
		double		jump = fabs(node[i].mean - node[i - 1].mean);

		if (jump > largest * sqrt(variance) && node[i].weight > 1e-4)
			largest = variance > 0.0 ? jump / sqrt(variance) : 1e9;
	}
	return largest;
}

/* Twice as many nodes, less one: those there are spread out, new ones between them. */
static int
halve_steps(const ForecastState *state, const Probits *probits, double correlation, int count, ForecastNode *node)
{
	int			more = 2 * count - 1;

	for (int i = count - 1; i > 0; i--)
		memcpy(&node[2 * i], &node[i], sizeof(ForecastNode));
	for (int i = 1; i < more; i += 2)
		set_node(state, probits, correlation, -NODE_RANGE + 2.0 * NODE_RANGE * i / (more - 1), &node[i]);
	return more;
}

/*
 * Nodes of the factor: as few as keep neighbours within 1.5 conditional deviations; where even the most do not (very many
 * deals), a normal part is added to bridge the gaps, which adds at most .3 % to the sum's deviation. All outcomes of few deals
 * are not to be blurred: they take the most nodes and no bridge.
 */
static int
make_nodes(const ForecastState *state, double correlation, bool few, ForecastNode *node)
{
	int			count = few ? NODES_MAX : NODES_MIN;
	double		total = 0.0;
	Probits		probits;

	if (correlation == 0.0)
	{
		set_node(state, NULL, 0.0, 0.0, node);
		node->weight = 1.0;
		return 1;
	}
	take_probits(state, &probits);
	for (int i = 0; i < count; i++)
		set_node(state, &probits, correlation, -NODE_RANGE + 2.0 * NODE_RANGE * i / (count - 1), &node[i]);
	while (count * 2 - 1 <= NODES_MAX && largest_jump(node, count) > 1.5)
		count = halve_steps(state, &probits, correlation, count, node);
	for (int i = 0; i < count; i++)
	{
		double		jump = fabs(node[i + 1 < count ? i + 1 : i].mean - node[i > 0 ? i - 1 : 0].mean) / (i > 0 && i + 1 < count ? 2 : 1);
		double		wanted = (jump / 1.5) * (jump / 1.5);

		if (wanted > node[i].variance && !few)
			node[i].cumulant[1] += wanted - node[i].variance;
		total += node[i].weight;
	}
	for (int i = 0; i < count; i++)
		node[i].weight /= total;
	return count;
}

/* ---- few deals: every outcome --------------------------------------------------------------------------------------- */

/* How many outcomes the kept deals have, or a large number. */
static double
outcome_count(const ForecastState *state)
{
	double		outcomes = 1.0;

	for (int i = 0; i < state->kept && outcomes < 1e9; i++)
		outcomes *= (double) state->deal[i].count + 1.0;
	return outcomes;
}

/* Multiply out the values of all outcomes; the last deal varies slowest. */
static void
outcome_values(const ForecastState *state, double *value)
{
	size_t		size = 1;

	value[0] = 0.0;
	for (int i = 0; i < state->kept; i++)
	{
		for (int64_t k = state->deal[i].count; k >= 0; k--)
			for (size_t j = 0; j < size; j++)
				value[(size_t) k * size + j] = value[j] + (double) k * state->deal[i].amount;
		size *= (size_t) state->deal[i].count + 1;
	}
}

/* Probability of k out of n. */
static double
binomial_mass(int64_t n, int64_t k, double p)
{
	if (n == 1)
		return k == 1 ? p : 1.0 - p;
	if (p <= 0.0 || p >= 1.0)
		return k == (p <= 0.0 ? 0 : n) ? 1.0 : 0.0;
	return exp(lgamma((double) n + 1) - lgamma((double) k + 1) - lgamma((double) (n - k) + 1) +
			   (double) k * log(p) + (double) (n - k) * log1p(-p));
}

/* The probabilities of the same outcomes, added to weight[] with the node's own weight. */
static void
outcome_weights(const ForecastState *state, const ForecastNode *node, double *scratch, double *weight, size_t outcomes)
{
	size_t		size = 1;

	scratch[0] = node->weight;
	for (int i = 0; i < state->kept; i++)
	{
		int64_t		n = state->deal[i].count;
		double		p = node->probability[i];

		for (int64_t k = n; k >= 0; k--)
		{
			double		mass = binomial_mass(n, k, p);

			for (size_t j = 0; j < size; j++)
				scratch[(size_t) k * size + j] = scratch[j] * mass;
		}
		size *= (size_t) n + 1;
	}
	for (size_t j = 0; j < outcomes; j++)
		weight[j] += scratch[j];
}

typedef struct Outcome
{
	double		value;
	double		weight;
} Outcome;

/* Outcomes ascending by value; by weight where equal, for one order whatever the sort. */
static int
compare_outcomes(const void *a, const void *b)
{
	const Outcome *x = a;
	const Outcome *y = b;

	if (x->value != y->value)
		return x->value < y->value ? -1 : 1;
	return x->weight < y->weight ? -1 : x->weight > y->weight;
}

/* Sums of whole cents carry rounding dust: wipe it off. */
static double
clean_cents(double value)
{
	double		cents = value * 100.0;
	double		whole = floor(cents + 0.5);

	return fabs(cents) < 9e14 && fabs(cents - whole) <= 1e-9 + 1e-13 * fabs(cents) ? whole / 100.0 : value;
}

/* Sort, join outcomes of equal value, and add up. */
static void
collect_outcomes(const KernelEnv *env, Outcome *outcome, int count, ForecastDistribution *distribution)
{
	double		sum = 0.0;
	int			kept = 0;

	qsort(outcome, (size_t) count, sizeof(Outcome), compare_outcomes);
	distribution->value = kernel_alloc_array(env, double, count);
	distribution->cumulative = kernel_alloc_array(env, double, count);
	for (int i = 0; i < count; i++)
	{
		double		value = clean_cents(outcome[i].value);

		sum += outcome[i].weight;
		if (kept > 0 && value - distribution->value[kept - 1] <= 1e-12 * fabs(value))
			kept--;
		else
			distribution->value[kept] = value;
		distribution->cumulative[kept++] = sum;
	}
	for (int i = 0; i < kept; i++)
		distribution->cumulative[i] /= sum;
	distribution->count = kept;
	distribution->smooth = false;
}

/* The distribution by going through every outcome. */
static void
enumerate_outcomes(const KernelEnv *env, const ForecastState *state, const ForecastNode *node, int nodes,
				   ForecastDistribution *distribution)
{
	size_t		outcomes = (size_t) outcome_count(state);
	double	   *value = kernel_alloc_array(env, double, outcomes);
	double	   *weight = kernel_alloc_array(env, double, outcomes);
	double	   *scratch = kernel_alloc_array(env, double, outcomes);
	Outcome    *outcome = kernel_alloc_array(env, Outcome, outcomes);

	memset(weight, 0, sizeof(double) * outcomes);
	outcome_values(state, value);
	for (int n = 0; n < nodes; n++)
		outcome_weights(state, &node[n], scratch, weight, outcomes);
	for (size_t j = 0; j < outcomes; j++)
		outcome[j] = (Outcome) {value[j], weight[j]};
	collect_outcomes(env, outcome, (int) outcomes, distribution);
	kernel_release(env, value);
	kernel_release(env, weight);
	kernel_release(env, scratch);
	kernel_release(env, outcome);
}

/* ---- many deals: a grid ---------------------------------------------------------------------------------------------- */

/* Log of the moment generating function of the kept deals and a normal rest. */
static double
log_generating(const ForecastState *state, const ForecastNode *node, double t)
{
	double		sum = node->cumulant[0] * t + 0.5 * node->cumulant[1] * t * t;

	for (int i = 0; i < state->kept; i++)
	{
		double		x = t * state->deal[i].amount;
		double		p = node->probability[i];
		double		term = x > 30.0 && p > 0.0 ? x + log(p + (1.0 - p) * exp(-x)) : log1p(p * expm1(x));

		sum += (double) state->deal[i].count * term;
	}
	return sum;
}

/* Chernoff's bound: where the upper (sign 1) or lower (sign -1) tail falls below exp(-left_out). */
static double
tail_bound(const ForecastState *state, const ForecastNode *node, double sign, double left_out)
{
	double		best = INFINITY;
	double		deviation = sqrt(node->variance);
	double		hard = 0.0;
	double		widest = deviation;

	if (deviation <= 0.0)
		return node->mean;
	for (int i = 0; i < state->kept; i++)
		widest = fmax(widest, fabs(state->deal[i].amount));
	/* where deals are rare the best exponent is a few over the largest amount, not over the deviation */
	for (double t = 0.5 / widest; t < 1e6 / deviation; t *= 1.25)
	{
		double		bound = (log_generating(state, node, sign * t) + left_out) / t;

		if (bound < best)
			best = bound;
		else if (bound > 4.0 * fabs(best) && isfinite(best))
			break;
	}
	for (int i = 0; i < state->kept; i++)
		if (sign * state->deal[i].amount > 0.0)
			hard += (double) state->deal[i].count * sign * state->deal[i].amount;
	if (node->cumulant[1] <= 0.0 && hard + sign * node->cumulant[0] < best)
		best = hard + sign * node->cumulant[0];
	if (node->cumulant[1] > 0.0 && sign * node->cumulant[2] > 0.0)
		best += 6.0 * sign * node->cumulant[2] / node->cumulant[1];
	return sign * best;
}

/* Common step of all amounts in cents, or 0 where there is none. */
static int64_t
common_step(const ForecastState *state)
{
	const ForecastRest *rest = forecast_rest_const(state);
	int64_t		step = rest != NULL && rest->deals > 0 ? rest->step : 0;

	if (step == FORECAST_NO_STEP)
		return 0;
	for (int i = 0; i < state->kept; i++)
	{
		int64_t		cents = forecast_cents(state->deal[i].amount);

		if (cents == 0)
			return 0;
		step = forecast_gcd(cents, step);
	}
	return step;
}

/* The smallest power of two that is at least n, within bounds. */
static int
power_of_two(double n, int least, int most)
{
	int			power = least;

	while (power < n && power < most)
		power *= 2;
	return power;
}

/* Does the sum have no detail as fine as a cell? Asked of the normal part and of deals below a cell, at the highest frequency. */
static bool
is_smooth(const ForecastState *state, const ForecastNode *node, double step)
{
	double		size = 0.5 * M_PI * M_PI * node->cumulant[1] / (step * step);

	for (int i = 0; i < state->kept; i++)
	{
		double		p = node->probability[i];
		double		a = fabs(state->deal[i].amount) / step;

		if (a <= 1.0)
			size -= 0.5 * (double) state->deal[i].count * log1p(-2.0 * p * (1.0 - p) * (1.0 - cos(M_PI * a)) * (1.0 - 1e-12));
	}
	return size >= SMOOTH_LOG;
}

/* A grid that leaves so little out. */
static void
grid_for_tails(const ForecastState *state, const ForecastNode *node, int nodes, double left_out, int64_t cents, ForecastGrid *grid)
{
	const ForecastRest *rest = forecast_rest_const(state);
	double		low = INFINITY;
	double		high = -INFINITY;
	double		deviation = sqrt(forecast_variance(state));

	for (int k = 0; k < (nodes > 1 ? GRID_NODES : 1); k++)
	{
		int			n = k * (nodes - 1) / (GRID_NODES - 1);

		low = fmin(low, tail_bound(state, &node[n], -1.0, left_out));
		high = fmax(high, tail_bound(state, &node[n], 1.0, left_out));
	}
	grid->smooth = false;
	grid->step = (double) cents / 100.0;
	grid->lattice = cents > 0 && (high - low) / grid->step + 4.0 <= (nodes > 1 ? LATTICE_NODES_MAX : LATTICE_MAX);
	if (grid->lattice)
	{
		grid->cells = power_of_two((high - low) / grid->step + 4.0, 16, LATTICE_MAX);
		grid->rest_period = rest != NULL && rest->deals > 0 ? (double) (rest->step / cents) : 1.0;
	}
	else
	{
		grid->cells = power_of_two((high - low) / (0.002 * deviation), CELLS_MIN, nodes > 1 ? CELLS_NODES_MAX : CELLS_MAX);
		grid->step = (high - low) / (grid->cells - 2 * MARGIN);
		grid->rest_period = 1.0;
		if (nodes == 1)
			grid->smooth = is_smooth(state, node, grid->step);
	}
	grid->first = floor(0.5 * (low + high) / grid->step) - grid->cells / 2;
}

/* Choose the grid: the exact lattice where it fits, else cells of about .002 deviations; so that they are no coarser, tails may go. */
static void
choose_grid(const ForecastState *state, const ForecastNode *node, int nodes, ForecastGrid *grid)
{
	int64_t		cents = common_step(state);
	double		deviation = sqrt(forecast_variance(state));

	for (double left_out = TAIL_LOG; left_out >= TAIL_LOG_LEAST; left_out -= 4.0)
	{
		grid_for_tails(state, node, nodes, left_out, cents, grid);
		if (nodes > 1 || grid->lattice || grid->step <= STEP_MOST * deviation)
			break;
	}
}

/* Roots of unity exp(-2 pi i k / cells). */
static Complex *
make_roots(const KernelEnv *env, int cells)
{
	Complex    *root = kernel_alloc_array(env, Complex, cells);

	for (int k = 0; k < cells; k++)
	{
		double		angle = -2.0 * M_PI * k / cells;

		root[k] = (Complex) {cos(angle), sin(angle)};
	}
	return root;
}

/* Fourier transform in place, radix 2; with the roots above it goes forward, and of a conjugate spectrum back. */
static void
transform(Complex *x, const Complex *root, int n)
{
	for (int i = 1, j = 0; i < n; i++)
	{
		int			bit = n >> 1;

		for (; j & bit; bit >>= 1)
			j ^= bit;
		j ^= bit;
		if (i < j)
		{
			Complex		swap = x[i];

			x[i] = x[j];
			x[j] = swap;
		}
	}
	for (int size = 2; size <= n; size *= 2)
		for (int start = 0; start < n; start += size)
			for (int k = 0; k < size / 2; k++)
			{
				Complex		odd = complex_multiply(x[start + k + size / 2], root[k * (n / size)]);
				Complex		even = x[start + k];

				x[start + k] = (Complex) {even.re + odd.re, even.im + odd.im};
				x[start + k + size / 2] = (Complex) {even.re - odd.re, even.im - odd.im};
			}
}

/*
 * The ascending sequence nearest to what should be one (pools of neighbours at their mean; Ayer et al. 1955): where a deal between cells
 * has made the distribution function run over and back within a few cells, what follows is not left too high.
 */
static void
make_ascending(const KernelEnv *env, double *level, int count)
{
	double	   *mean = kernel_alloc_array(env, double, count);
	int		   *size = kernel_alloc_array(env, int, count);
	int			pools = 0;

	for (int i = 0; i < count; i++)
	{
		mean[pools] = level[i];
		size[pools++] = 1;
		while (pools > 1 && mean[pools - 2] > mean[pools - 1])
		{
			pools--;
			mean[pools - 1] = (mean[pools - 1] * size[pools - 1] + mean[pools] * size[pools]) / (size[pools - 1] + size[pools]);
			size[pools - 1] += size[pools];
		}
	}
	for (int k = 0, i = 0; k < pools; k++)
		for (int end = i + size[k]; i < end; i++)
			level[i] = mean[k];
	kernel_release(env, mean);
	kernel_release(env, size);
}

/* Turn cell probabilities into an ascending distribution function; the first cell sits at 'first' on the circle; 'before' is added. */
static void
accumulate(const KernelEnv *env, const ForecastGrid *grid, const Complex *mass, double before, ForecastDistribution *distribution)
{
	int			cells = grid->cells;
	int64_t		mask = cells - 1;
	int64_t		offset = (int64_t) fmod(grid->first, cells) & mask;
	double		cents = floor(grid->step * 100.0 + 0.5);
	double		sum = 0.0;

	distribution->value = kernel_alloc_array(env, double, cells);
	distribution->cumulative = kernel_alloc_array(env, double, cells);
	for (int i = 0; i < cells; i++)
	{
		double		position = grid->first + i;

		sum += mass[(offset + i) & mask].re / cells;
		distribution->value[i] = grid->lattice ? (position * cents + floor(before * 100.0 + 0.5)) / 100.0 : position * grid->step + before;
		distribution->cumulative[i] = sum;
	}
	for (int i = 0; i < cells; i++)
		distribution->cumulative[i] = fmin(fmax(distribution->cumulative[i] / sum, 0.0), 1.0);
	make_ascending(env, distribution->cumulative, cells);
	distribution->count = cells;
	distribution->smooth = !grid->lattice;
}

/*
 * See deals of more than even odds from the other side: they are won, and may be lost. Between the cells of a grid a deal is off by what
 * is uncertain of it alone. Answers what is won beforehand.
 */
static double
turn_likely_deals(ForecastState *state, ForecastNode *node, int nodes)
{
	double		sum = 0.0;

	for (int i = 0; i < state->kept; i++)
	{
		ForecastDeal *deal = &state->deal[i];
		double		whole = (double) deal->count * deal->amount;

		if (deal->probability <= 0.5)
			continue;
		sum += whole;
		for (int n = 0; n < nodes; n++)
		{
			node[n].probability[i] = 1.0 - node[n].probability[i];
			node[n].mean -= whole;
		}
		deal->amount = -deal->amount;
		deal->probability = 1.0 - deal->probability;
	}
	return sum;
}

/* The distribution on a grid; the state is turned in place. */
static void
convolve(const KernelEnv *env, ForecastState *state, ForecastNode *node, int nodes, ForecastDistribution *distribution)
{
	ForecastGrid		grid;
	Complex    *root;
	Complex    *spectrum;
	double		before = turn_likely_deals(state, node, nodes);

	choose_grid(state, node, nodes, &grid);
	root = make_roots(env, grid.cells);
	spectrum = kernel_alloc_array(env, Complex, grid.cells);
	forecast_spectrum(env, state, node, nodes, &grid, root, spectrum);
	for (int k = 0; k <= grid.cells / 2; k++)
		spectrum[k].im = -spectrum[k].im;
	for (int k = 1; k < grid.cells / 2; k++)
		spectrum[grid.cells - k] = (Complex) {spectrum[k].re, -spectrum[k].im};
	transform(spectrum, root, grid.cells);
	accumulate(env, &grid, spectrum, before, distribution);
	kernel_release(env, root);
	kernel_release(env, spectrum);
}

/* A number to thirty binary digits of a scale. */
static double
snapped(double value, double scale)
{
	double		unit = scale > 0.0 ? ldexp(1.0, ilogb(scale) - 30) : 0.0;

	return unit > 0.0 ? floor(value / unit + 0.5) * unit : value;
}

/*
 * Wipe off what the order of adding up has left in the plain sums of a rest, so that equal deals read equal to the last bit, however they
 * were merged. (Of sums to twice the digits only their doubles count.)
 */
static void
wipe_order(ForecastRest *rest)
{
	double		fourth = 0.0;

	for (int k = 0; k < FORECAST_KNOTS; k++)
		fourth += forecast_knots[k] * (1.0 - forecast_knots[k]) * rest->knot[k][3];
	for (int j = 0; j < 4; j++)
		rest->cumulant[j] = (ForecastSum) {forecast_sum(&rest->cumulant[j]), 0.0};
	rest->cumulant[2].high = snapped(rest->cumulant[2].high, sqrt(rest->cumulant[1].high) * sqrt(fourth));
	rest->cumulant[3].high = snapped(rest->cumulant[3].high, fourth);
	for (int k = 0; k < FORECAST_KNOTS; k++)
	{
		double	   *power = rest->knot[k];
		double		scale[4] = {sqrt(power[1] * (double) rest->deals), power[1], sqrt(power[1]) * sqrt(power[3]), power[3]};

		for (int j = 0; j < 4; j++)
			power[j] = snapped(power[j], scale[j]);
	}
	for (int i = 0; i < FORECAST_PRICES && rest->price[i].deals > 0; i++)
		for (int j = 0; j < 4; j++)
			rest->price[i].power[j] = snapped(rest->price[i].power[j], (double) rest->price[i].deals);
}

/*
 * The distribution of a forecast's sum; correlation in [0, 1) (the caller checks). The arrays are the environment's.
 */
void
forecast_distribution(const KernelEnv *env, const ForecastState *given, double correlation,
					  ForecastDistribution *distribution)
{
	size_t		size = forecast_state_size(given);
	ForecastState *state = kernel_alloc(env, size);
	ForecastRest *rest;
	ForecastNode *node = kernel_alloc_array(env, ForecastNode, correlation > 0.0 ? NODES_MAX : 1);
	bool		few;
	int			nodes;

	memcpy(state, given, size);
	rest = forecast_rest(state);
	if (rest != NULL)
		wipe_order(rest);
	few = (rest == NULL || rest->deals == 0) &&
		outcome_count(state) <= (correlation > 0.0 ? OUTCOMES_NODES_MAX : OUTCOMES_MAX);
	nodes = make_nodes(state, correlation, few, node);
	if (few)
		enumerate_outcomes(env, state, node, nodes, distribution);
	else
		convolve(env, state, node, nodes, distribution);
	distribution->certain = forecast_sum(&given->certain);
	distribution->sigma = forecast_common_sigma(given);
	kernel_release(env, node);
	kernel_release(env, state);
}

/* ---- reading --------------------------------------------------------------------------------------------------------- */

/* First index whose cumulative probability reaches p. */
static int
first_reaching(const ForecastDistribution *d, double p)
{
	int			low = 0;
	int			high = d->count - 1;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (d->cumulative[middle] >= p)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

/* Quantile of the uncertain part without the common factor. */
static double
plain_quantile(const ForecastDistribution *d, double p)
{
	int			at = first_reaching(d, fmax(p - 1e-12, 1e-12));
	double		before = at > 0 ? d->cumulative[at - 1] : 0.0;
	double		mass = d->cumulative[at] - before;

	if (!d->smooth)
		return d->value[at];
	return d->value[at] + (mass > 0.0 ? (fmin(fmax((p - before) / mass, 0.0), 1.0) - 0.5) * (d->value[1] - d->value[0]) : 0.0);
}

/* Number of outcomes that lie below x (or, with 'equal', at x too), forgiving rounding dust. */
static int
outcomes_below(const ForecastDistribution *d, double x, bool equal)
{
	double		dust = 1e-9 + 1e-12 * fabs(x);
	double		limit = equal ? x + dust : x - dust;
	int			low = 0;
	int			high = d->count;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (d->value[middle] <= limit)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Probability that the uncertain part, without the common factor, is below x (or, with 'equal', at most x). */
static double
plain_below(const ForecastDistribution *d, double x, bool equal)
{
	int			count;
	double		step;
	double		before;
	double		share;

	if (!d->smooth)
	{
		count = outcomes_below(d, x, equal);
		return count > 0 ? d->cumulative[count - 1] : 0.0;
	}
	step = d->value[1] - d->value[0];
	share = (x - d->value[0]) / step + 0.5;
	if (share <= 0.0 || share >= d->count)
		return share <= 0.0 ? 0.0 : 1.0;
	count = (int) share;
	before = count > 0 ? d->cumulative[count - 1] : 0.0;
	return before + (share - count) * (d->cumulative[count] - before);
}

/* Probability that value times the common factor, lognormal with mean 1, is below x (or at most x). */
static double
factor_below(double value, double sigma, double x, bool equal)
{
	double		z;

	if (value == 0.0)
		return x > 0.0 || (equal && x == 0.0) ? 1.0 : 0.0;
	if (x == 0.0 || (x > 0.0) != (value > 0.0))
		return value < 0.0 ? 1.0 : 0.0;
	z = (log(x / value) + 0.5 * sigma * sigma) / sigma;
	return forecast_normal_cdf(value > 0.0 ? z : -z);
}

/*
 * Probability that the sum is below x (or at most x). Under a common factor outcomes are taken in at most FACTOR_GROUPS
 * groups at their means, which the factor smooths over.
 */
static double
below(const ForecastDistribution *d, double x, bool equal)
{
	int			stride = (d->count + FACTOR_GROUPS - 1) / FACTOR_GROUPS;
	double		sum = 0.0;

	if (d->sigma == 0.0)
		return plain_below(d, x - d->certain, equal);
	for (int start = 0; start < d->count; start += stride)
	{
		double		mass = 0.0;
		double		moment = 0.0;

		for (int i = start; i < start + stride && i < d->count; i++)
		{
			double		m = d->cumulative[i] - (i > 0 ? d->cumulative[i - 1] : 0.0);

			mass += m;
			moment += m * d->value[i];
		}
		if (mass > 0.0)
			sum += mass * factor_below(moment / mass, d->sigma, x - d->certain, equal);
	}
	return fmin(sum, 1.0);
}

/*
 * The smallest sum that is reached or undercut with the given probability, in [0, 1] (0: the least possible sum, 1: the
 * largest, as far as the grid reaches).
 */
double
forecast_quantile(const ForecastDistribution *d, double probability)
{
	double		least = plain_quantile(d, 0.0);
	double		most = plain_quantile(d, 1.0);
	double		widest = exp(NODE_RANGE * d->sigma);

	if (d->sigma == 0.0)
		return d->certain + plain_quantile(d, probability);
	least = d->certain + (least < 0.0 ? least * widest : 0.0);
	most = d->certain + (most > 0.0 ? most * widest : 0.0);
	if (probability <= 0.0)
		return least;
	for (int i = 0; i < 60 && most - least > 1e-10 * (fabs(most) + fabs(least)); i++)
	{
		double		middle = 0.5 * (least + most);

		if (below(d, middle, true) >= probability - 1e-12)
			most = middle;
		else
			least = middle;
	}
	return clean_cents(most);
}

/* Probability that the sum reaches the target. */
double
forecast_at_least(const ForecastDistribution *d, double target)
{
	return fmin(fmax(1.0 - below(d, target, false), 0.0), 1.0);
}
