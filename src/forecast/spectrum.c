/*
 * spectrum.c
 *		Products of characteristic functions, many nodes of the common factor at once (spectrum.h says of what).
 *
 * Frequencies are taken in blocks. The roots a deal needs in a block are looked up once and serve all nodes; what a node
 * multiplies is then plain arithmetic on neighbours, which vectorises. A product that has died away in a block (below
 * 1e-14 everywhere) is given up there: with many deals most have, except near the frequencies where a lattice repeats.
 * The vector forms are the same instructions in the same order, so results do not depend on the processor.
 */
#include "forecast/spectrum.h"

#include <math.h>
#include <string.h>

#define LANES		4
#define VECTORS		16			/* of a block */
#define BLOCK		(LANES * VECTORS)
#define GONE		1e-28		/* squared size below which a product counts as nothing */
#define RARE_DEAL	0.01	/* probability up to which a deal's logarithm is a series of four terms */
#define RARE_COUNT	8		/* … and how many equal deals make that worth while */
#define LOOK_EVERY	4			/* deals between looks at what is gone */
#define RARE		0.05		/* skewness squared or kurtosis of the rest from which it is lumpy */

#if defined(__GNUC__)
typedef double Vector __attribute__((vector_size(8 * LANES)));
#define INLINE		static inline __attribute__((always_inline))
#endif
#if defined(__x86_64__) && defined(__GNUC__)
#define HAVE_AVX2
#define AVX2		__attribute__((target("avx2")))
#endif

/* A block of a node's product, or of a deal's roots */
typedef struct Block
{
	Vector		re[VECTORS];
	Vector		im[VECTORS];
} Block;

#define JUMPS		16			/* sizes that a half's jumps are given, at most */
#define SPREAD		8			/* of them about each of two */
#define COVERED		0.9			/* share of the rest's variance that its prices must have to stand for it */
#define FEW_OF_PRICE 2.0		/* variance of a count below which it is no nearly normal one */

/* How many deals of one amount are won: the law of a sum of unequal chances */
typedef struct Count
{
	double		amount;
	double		deals;
	double		cumulant[4];
	double		power[4];		/* power sums of the chances, or of what is left of them to 1 */
	bool		series;			/* few are expected: by the series of its logarithm */
	bool		from_all;		/* … to be lost, of all */
} Count;

/* The rest of one node, taken apart into counts, jumps and what is nearly normal */
typedef struct Rest
{
	int			counts;
	Count		count[FORECAST_PRICES];
	int			jumps[2];
	double		jump[2][JUMPS];
	double		rate[2][JUMPS];
	double		each[2];		/* probability of the deals that the jumps are of */
	double		cumulant[4];	/* of the nearly normal part */
} Rest;

/* Multiply a block by ((1 - p) + p z) to the power of a deal's count. */
INLINE void
multiply_power(Block *block, const Block *z, double p, int64_t count)
{
	for (int v = 0; v < VECTORS; v++)
	{
		Vector		fr = (1.0 - p) + p * z->re[v];
		Vector		fi = p * z->im[v];
		Vector		re = block->re[v];
		Vector		im = block->im[v];

		for (int64_t n = count;;)
		{
			Vector		swap;

			if (n & 1)
			{
				swap = re * fr - im * fi;
				im = re * fi + im * fr;
				re = swap;
			}
			if ((n >>= 1) == 0)
				break;
			swap = fr * fr - fi * fi;
			fi = 2.0 * fr * fi;
			fr = swap;
		}
		block->re[v] = re;
		block->im[v] = im;
	}
}

/*
 * Add the logarithm of the same: many equal rare deals. With u = p (z - 1) it is u - u^2/2 + u^3/3 - u^4/4; where the product
 * is not gone what is left out is below 60 p |u|^3, 5e-6 at worst.
 */
INLINE void
add_logarithm(Block *log, const Block *z, double p, int64_t count)
{
	for (int v = 0; v < VECTORS; v++)
	{
		Vector		ur = p * (z->re[v] - 1.0);
		Vector		ui = p * z->im[v];
		Vector		re = 1.0 / 3.0 - 0.25 * ur;
		Vector		im = -0.25 * ui;
		Vector		swap;

		swap = ur * re - ui * im - 0.5;
		im = ur * im + ui * re;
		re = swap;
		swap = ur * re - ui * im + 1.0;
		im = ur * im + ui * re;
		re = swap;
		log->re[v] += (double) count * (ur * re - ui * im);
		log->im[v] += (double) count * (ur * im + ui * re);
	}
}

/* One deal: as a factor, or as a logarithm where that is cheaper. Returns whether it was the latter. */
INLINE bool
take_deal(Block *block, Block *log, const Block *z, double p, int64_t count)
{
	bool		rare = p <= RARE_DEAL && count >= RARE_COUNT;

	if (rare)
		add_logarithm(log, z, p, count);
	else
		multiply_power(block, z, p, count);
	return rare;
}

/* The same compiled for this machine at large and for AVX2; no fused operations, so bits agree. */
static bool
take_deal_plain(Block *block, Block *log, const Block *z, double p, int64_t count)
{
	return take_deal(block, log, z, p, count);
}

#ifdef HAVE_AVX2
static AVX2 bool
take_deal_avx2(Block *block, Block *log, const Block *z, double p, int64_t count)
{
	return take_deal(block, log, z, p, count);
}
#endif

typedef bool (*TakeDeal) (Block *block, Block *log, const Block *z, double p, int64_t count);

/* The form for this processor. */
static TakeDeal
choose_form(void)
{
#ifdef HAVE_AVX2
	if (__builtin_cpu_supports("avx2"))
		return take_deal_avx2;
#endif
	return take_deal_plain;
}

/* Roots of one amount as they are, carried from frequency to frequency. */
static void
turned_roots(const ForecastGrid *grid, double position, int from, Block *z)
{
	double		w = -2.0 * M_PI / grid->cells;
	double		begin = w * fmod(position * from, grid->cells);
	double		turn = w * fmod(position, grid->cells);
	Complex		at = {cos(begin), sin(begin)};
	Complex		rotation = {cos(turn), sin(turn)};

	for (int j = 0; j < BLOCK; j++)
	{
		((double *) z->re)[j] = at.re;
		((double *) z->im)[j] = at.im;
		at = complex_multiply(at, rotation);
	}
}

/*
 * Roots of one amount for the frequencies from 'from' on: z^j on a lattice; else as they are where the sum is smooth, and where it is
 * not, on the three cells next to it so that the amount's first and second powers are kept: (1 - f^2) z^j + f (f + 1) / 2 z^(j + 1) +
 * f (f - 1) / 2 z^(j - 1). (Sharing between two would add to the variance of every deal, which many deals do not forgive.)
 */
static void
deal_roots(const Complex *root, const ForecastGrid *grid, double amount, int from, Block *z)
{
	double		position = amount / grid->step;
	double		whole = floor(position + 0.5);
	double		f = grid->lattice ? 0.0 : position - whole;
	unsigned	mask = (unsigned) grid->cells - 1;
	unsigned	stride = (unsigned) ((int64_t) fmod(whole, grid->cells) & (int64_t) mask);
	double	   *re = (double *) z->re;
	double	   *im = (double *) z->im;

	if (grid->smooth)
	{
		turned_roots(grid, position, from, z);
		return;
	}
	for (unsigned j = 0; j < BLOCK; j++)
	{
		Complex		a = root[(((unsigned) from + j) * stride) & mask];
		Complex		one = root[((unsigned) from + j) & mask];
		Complex		between = {1.0 - f * f * (1.0 - one.re), f * one.im};

		a = complex_multiply(a, between);
		re[j] = a.re;
		im[j] = a.im;
	}
}

/* Has a block died away? */
static bool
is_gone(const Block *block)
{
	Vector		sum = {0.0};

	for (int v = 0; v < VECTORS; v++)
		sum += block->re[v] * block->re[v] + block->im[v] * block->im[v];
	return sum[0] + sum[1] + sum[2] + sum[3] < GONE;
}

/*
 * Two jumps and their rates with the given power sums 1 to 4 (Prony's method; Gauss's quadrature where all amounts have one sign).
 * False where there are none: amounts of both signs.
 */
static bool
two_jumps(const double c[4], double jump[2], double rate[2])
{
	double		determinant = c[1] * c[1] - c[0] * c[2];
	double		half;
	double		root;

	jump[0] = jump[1] = rate[0] = rate[1] = 0.0;
	if (c[1] <= 0.0)
		return true;
	if (fabs(determinant) <= 1e-9 * c[1] * c[1])
	{
		if (c[2] == 0.0)
			return false;
		jump[0] = c[2] / c[1];
		rate[0] = c[1] / (jump[0] * jump[0]);
		return true;
	}
	half = -0.5 * (c[3] * c[0] - c[2] * c[1]) / determinant;
	root = half * half - (c[2] * c[2] - c[1] * c[3]) / determinant;
	if (root <= 0.0)
		return false;
	root = sqrt(root);
	jump[0] = half + root;
	jump[1] = half - root;
	if (fabs(jump[0]) < 1e-9 * root || fabs(jump[1]) < 1e-9 * root)
		return false;
	rate[0] = (c[1] - c[0] * jump[1]) / (2.0 * root) / jump[0];
	rate[1] = (c[0] * jump[0] - c[1]) / (2.0 * root) / jump[1];
	return rate[0] >= 0.0 && rate[1] >= 0.0;
}

/*
 * Jumps and rates with the given power sums of intensities. Of amounts of one sign two jumps have all four; else one size either way
 * has the second and the fourth, and the first as far as it goes: what it leaves is answered.
 */
static double
jumps_of(const double s[4], double jump[2], double rate[2])
{
	double		size;
	double		total;
	double		surplus;

	if (two_jumps(s, jump, rate))
		return 0.0;
	size = sqrt(s[3] / s[1]);
	total = s[1] / (size * size);
	surplus = fmin(fmax(s[0] / size, -total), total);
	jump[0] = size;
	jump[1] = -size;
	rate[0] = 0.5 * (total + surplus);
	rate[1] = 0.5 * (total - surplus);
	return s[0] - surplus * size;
}

/* Is the law so skewed or heavy-tailed that no normal expansion will do? */
static bool
lumpy(const double c[4])
{
	return c[2] * c[2] > RARE * c[1] * c[1] * c[1] || c[3] > RARE * c[1] * c[1];
}

/*
 * Spread two jumps over sizes between and about them: where amounts are of all sizes, so are jumps. With x = |amount|, weighed by what it
 * may bring, a law of the same four moments: a skewed two-point law and, apart from it, an even one that has up to three quarters of
 * the variance, as far as all sizes stay positive. False where that is no use.
 */
static bool
spread_jumps(const double s[4], double jump[JUMPS], double rate[JUMPS])
{
	double		side = s[0] < 0.0 ? -1.0 : 1.0;
	double		mean = s[1] / (side * s[0]);
	double		variance = s[2] / s[0] - mean * mean;
	double		third = s[3] / (side * s[0]) - 3.0 * mean * s[2] / s[0] + 2.0 * mean * mean * mean;

	if (!(variance > 1e-6 * mean * mean))
		return false;
	for (double share = 0.75; share > 0.1; share -= 0.25)
	{
		double		deviation = sqrt((1.0 - share) * variance);
		double		skew = third / (deviation * deviation * deviation);
		double		root = sqrt(skew * skew + 4.0);
		double		at[2] = {mean + 0.5 * deviation * (skew - root), mean + 0.5 * deviation * (skew + root)};
		double		weight[2] = {0.5 * (1.0 + skew / root), 0.5 * (1.0 - skew / root)};
		double		width = sqrt(3.0 * share * variance);

		if (at[0] - width <= 0.05 * mean)
			continue;
		for (int k = 0; k < JUMPS; k++)
		{
			double		x = at[k / SPREAD] + width * ((2 * (k % SPREAD) + 1.0) / SPREAD - 1.0);

			jump[k] = side * x;
			rate[k] = side * s[0] * weight[k / SPREAD] / SPREAD / x;
		}
		return true;
	}
	return false;
}

/*
 * Of amounts of both signs: even sizes up to one that has the second and the fourth power sum, each way as the first has it (as far as it
 * goes, as in jumps_of).
 */
static void
spread_evenly(const double s[4], double jump[JUMPS], double rate[JUMPS])
{
	double		largest = sqrt(5.0 / 3.0 * s[3] / s[1]);
	double		total = 3.0 * s[1] / (largest * largest);
	double		surplus = fmin(fmax(2.0 * s[0] / (total * largest), -1.0), 1.0);

	for (int k = 0; k < JUMPS; k++)
	{
		jump[k] = (k < SPREAD ? 1.0 : -1.0) * largest * (k % SPREAD + 0.5) / SPREAD;
		rate[k] = 0.5 * total / SPREAD * (k < SPREAD ? 1.0 + surplus : 1.0 - surplus);
	}
}

/* Are there more amounts among the deals that are kept than a price list would have? Then the rest's are of all sizes too. */
static bool
amounts_differ(const ForecastState *state)
{
	int			different = 0;

	for (int i = 0; i < state->kept; i++)
	{
		bool		seen = false;

		for (int k = 0; k < i && !seen; k++)
			seen = fabs(state->deal[k].amount) == fabs(state->deal[i].amount);
		different += !seen;
	}
	return different > FORECAST_PRICES;
}

/* The count of a price's deals. */
static Count
count_of(const ForecastPrice *price)
{
	const double *p = price->power;
	double		n = (double) price->deals;
	Count		c = {price->amount, n, {p[0], p[0] - p[1], p[0] - 3.0 * p[1] + 2.0 * p[2], p[0] - 7.0 * p[1] + 12.0 * p[2] - 6.0 * p[3]}};

	memcpy(c.power, p, sizeof(c.power));
	c.from_all = p[1] > 0.5 * p[0];
	c.cumulant[1] = fmax(c.cumulant[1], 0.0);
	if (c.from_all)
	{
		c.power[0] = fmax(n - p[0], 0.0);
		c.power[1] = fmax(n - 2.0 * p[0] + p[1], 0.0);
		c.power[2] = fmax(n - 3.0 * p[0] + 3.0 * p[1] - p[2], 0.0);
		c.power[3] = fmax(n - 4.0 * p[0] + 6.0 * p[1] - 4.0 * p[2] + p[3], 0.0);
	}
	c.series = c.cumulant[1] < FEW_OF_PRICE && c.power[1] < 0.3 * c.power[0];
	return c;
}

/*
 * Of a rest whose prices have nearly all of its variance: their counts, and a normal law of what is left. False where they do not, or what
 * is left is lumpy.
 */
static bool
take_counts(const ForecastRest *given, Rest *rest)
{
	double		left[4];
	int64_t		deals = given->deals;

	memcpy(left, rest->cumulant, sizeof(left));
	rest->counts = 0;
	for (int i = 0; i < FORECAST_PRICES && given->price[i].deals > 0; i++)
	{
		Count	   *count = &rest->count[rest->counts++];
		double		power = 1.0;

		*count = count_of(&given->price[i]);
		deals -= given->price[i].deals;
		for (int j = 0; j < 4; j++)
			left[j] -= (power *= count->amount) * count->cumulant[j];
	}
	if (deals == 0)
		memset(left, 0, sizeof(left));
	if (left[1] > (1.0 - COVERED) * rest->cumulant[1] || (left[1] > 1e-6 * rest->cumulant[1] && lumpy(left)))
	{
		rest->counts = 0;
		return false;
	}
	left[1] = fmax(left[1], 0.0);
	memcpy(rest->cumulant, left, sizeof(left));
	return true;
}

/*
 * Take a node's rest apart. Where its prices are known they are counted. Else a half of it of which few deals are expected to fall on
 * their rare side is jumps at rates, each as of deals of one probability that gives the half's variance; all else is nearly normal.
 */
static void
prepare_rest(const ForecastState *state, const ForecastNode *node, bool plain, bool spread, Rest *rest)
{
	const ForecastRest *given = forecast_rest_const(state);

	memset(rest, 0, sizeof(Rest));
	memcpy(rest->cumulant, node->cumulant, sizeof(rest->cumulant));
	if (given == NULL || given->deals == 0 || (plain && take_counts(given, rest)))
		return;
	for (int half = 0; half < 2; half++)
	{
		const double *intensity = node->intensity[half];

		if (!(intensity[1] > 0.0 && lumpy(node->rare[half])))
			continue;
		rest->cumulant[0] += jumps_of(intensity, rest->jump[half], rest->rate[half]);
		rest->jumps[half] = 2;
		if (spread && rest->jump[half][0] * rest->jump[half][1] > 0.0 && spread_jumps(intensity, rest->jump[half], rest->rate[half]))
			rest->jumps[half] = JUMPS;
		else if (spread && rest->jump[half][0] * rest->jump[half][1] < 0.0)
		{
			spread_evenly(intensity, rest->jump[half], rest->rate[half]);
			rest->jumps[half] = JUMPS;
		}
		rest->each[half] = fmin(fmax(1.0 - node->rare[half][1] / intensity[1], 0.0), 0.5);
		for (int j = 0; j < 4; j++)
			rest->cumulant[j] -= node->rare[half][j];
	}
	if (rest->cumulant[1] <= 1e-9 * node->cumulant[1])
		memset(rest->cumulant + 1, 0, sizeof(double) * 3);
}

/* Multiply one frequency of a block. */
static inline void
multiply_at(Block *block, int j, Complex factor)
{
	double	   *re = (double *) block->re;
	double	   *im = (double *) block->im;
	Complex		product = complex_multiply((Complex) {re[j], im[j]}, factor);

	re[j] = product.re;
	im[j] = product.im;
}

/* Logarithm of 1 + u, over e, where u = e (z - 1) is no larger than 2 e and e below one half; z - 1 where e is 0. */
static Complex
deals_logarithm(Complex z, double e)
{
	Complex		v = {z.re - 1.0, z.im};
	Complex		u = {e * v.re, e * v.im};

	if (e <= 0.0)
		return v;
	if (e > 0.01)
		return (Complex) {0.5 * log((1.0 + u.re) * (1.0 + u.re) + u.im * u.im) / e, atan2(u.im, 1.0 + u.re) / e};
	return complex_multiply(v, (Complex) {1.0 - 0.5 * u.re + (u.re * u.re - u.im * u.im) / 3.0, -0.5 * u.im + 2.0 * u.re * u.im / 3.0});
}

/* Roots of a jump: on the rest's lattice, where it stands on three points of it as deal_roots has it, or like a deal's. */
static void
jump_roots(const Complex *root, const ForecastGrid *grid, double jump, int from, Block *z)
{
	double		position = jump / (grid->step * grid->rest_period);
	double		whole = floor(position + 0.5);
	double		f = position - whole;
	int64_t		mask = grid->cells - 1;
	int64_t		unit = (int64_t) fmod(grid->rest_period, grid->cells);
	int64_t		cells = (int64_t) fmod(whole * grid->rest_period, grid->cells);

	if (!grid->lattice)
	{
		deal_roots(root, grid, jump, from, z);
		return;
	}
	for (int j = 0; j < BLOCK; j++)
	{
		Complex		one = root[(unit * (from + j)) & mask];
		Complex		at = complex_multiply(root[(cells * (from + j)) & mask], (Complex) {1.0 - f * f * (1.0 - one.re), f * one.im});

		((double *) z->re)[j] = at.re;
		((double *) z->im)[j] = at.im;
	}
}

/* The logarithm of the law of jumps. */
static void
add_jumps(Block *log, int from, const Complex *root, const ForecastGrid *grid, const Rest *rest, int half)
{
	Block		z;

	for (int i = 0; i < rest->jumps[half]; i++)
	{
		double		rate = rest->rate[half][i];

		if (rate <= 0.0)
			continue;
		jump_roots(root, grid, rest->jump[half][i], from, &z);
		for (int j = 0; j < BLOCK; j++)
		{
			Complex		term = deals_logarithm((Complex) {((double *) z.re)[j], ((double *) z.im)[j]}, rest->each[half]);

			((double *) log->re)[j] += rate * term.re;
			((double *) log->im)[j] += rate * term.im;
		}
	}
}

/* Multiply by what was collected as a logarithm. */
static void
multiply_exponential(Block *block, const Block *log)
{
	for (int j = 0; j < BLOCK; j++)
	{
		double		re = ((const double *) log->re)[j];
		double		im = ((const double *) log->im)[j];
		double		size = re > -40.0 ? exp(re) : 0.0;

		multiply_at(block, j, size > 0.0 ? (Complex) {size * cos(im), size * sin(im)} : (Complex) {0.0, 0.0});
	}
}

/* Multiply by the normal law with the Edgeworth polynomial; periodic on a lattice. The turn is carried from point to point. */
static void
multiply_edgeworth(Block *block, int from, const ForecastGrid *grid, const double cumulant[4])
{
	double		h = grid->step;
	double		k1 = cumulant[0] / h;
	double		k2 = cumulant[1] / (h * h);
	double		k3 = cumulant[2] / (h * h * h);
	double		k4 = cumulant[3] / (h * h * h * h);
	double		period = 2.0 * M_PI / grid->rest_period;
	double		dw = 2.0 * M_PI / grid->cells;
	double		w = remainder(dw * from, period);
	Complex		turn = {1.0, 0.0};
	Complex		rotation;
	bool		carried = false;

	if (grid->lattice && k2 == 0.0)
		k1 = grid->rest_period * floor(k1 / grid->rest_period + 0.5);
	rotation = (Complex) {cos(dw * k1), -sin(dw * k1)};
	for (int j = 0; j < BLOCK; j++)
	{
		double		exponent = -0.5 * w * w * k2;
		double		size = exponent > -60.0 ? exp(exponent) : 0.0;
		double		w3 = w * w * w;
		Complex		series = {size * (1.0 + k4 * w3 * w / 24.0 - k3 * k3 * w3 * w3 / 72.0), size * k3 * w3 / 6.0};

		if (!carried)
			turn = (Complex) {cos(w * k1), -sin(w * k1)};
		multiply_at(block, j, complex_multiply(turn, series));
		w += dw;
		carried = w <= 0.5 * period;
		if (carried)
			turn = complex_multiply(turn, rotation);
		else
			w = remainder(dw * (from + j + 1), period);
	}
}

/* Multiply by the function of a count: with e(t) = E exp(i t count), at t = -w amount, which has the period of a whole turn. */
static void
multiply_count(Block *block, int from, const ForecastGrid *grid, const Count *count)
{
	double		position = count->amount / grid->step;
	const double *k = count->cumulant;

	for (int j = 0; j < BLOCK; j++)
	{
		double		t = remainder(-2.0 * M_PI * (fmod(position * (from + j), grid->cells) / grid->cells), 2.0 * M_PI);
		double		t3 = t * t * t;
		double		exponent = -0.5 * t * t * k[1];
		double		turn = t * k[0];
		Complex		series = {1.0 + t3 * t * k[3] / 24.0 - t3 * t3 * k[2] * k[2] / 72.0, -t3 * k[2] / 6.0};

		if (count->series)
		{
			double		side = count->from_all ? -1.0 : 1.0;
			Complex		v = {cos(t) - 1.0, side * sin(t)};
			Complex		sum = {-0.25 * count->power[3] * v.re + count->power[2] / 3.0, -0.25 * count->power[3] * v.im};

			sum = complex_multiply(v, sum);
			sum.re -= 0.5 * count->power[1];
			sum = complex_multiply(v, sum);
			sum.re += count->power[0];
			sum = complex_multiply(v, sum);
			exponent = sum.re;
			turn = sum.im + (count->from_all ? t * count->deals : 0.0);
			series = (Complex) {1.0, 0.0};
		}
		exponent = exponent > -60.0 ? exp(exponent) : 0.0;
		multiply_at(block, j, exponent > 0.0 ? complex_multiply((Complex) {exponent * cos(turn), exponent * sin(turn)}, series) :
					(Complex) {0.0, 0.0});
	}
}

/* A node at work on one block of frequencies */
typedef struct Work
{
	Block		product;
	Block		log;			/* of what is still to be multiplied in */
	bool		has_log;
	bool		gone;
} Work;

/* Where a node starts: its weight, times what is nearly normal. */
static void
start_block(const ForecastNode *node, const Rest *rest, int from, const ForecastGrid *grid, const Complex *root, Work *work)
{
	memset(&work->product, 0, sizeof(Block));
	memset(&work->log, 0, sizeof(Block));
	for (int v = 0; v < VECTORS; v++)
		work->product.re[v] += node->weight;
	if (rest->cumulant[0] != 0.0 || rest->cumulant[1] > 0.0)
		multiply_edgeworth(&work->product, from, grid, rest->cumulant);
	work->gone = is_gone(&work->product);
	work->has_log = rest->jumps[0] || rest->jumps[1];
	for (int half = 0; half < 2 && !work->gone; half++)
		add_jumps(&work->log, from, root, grid, rest, half);
}

/* One block of frequencies of all nodes. */
static void
fill_block(const ForecastState *state, const ForecastNode *node, const Rest *rest, int nodes, const ForecastGrid *grid,
		   const Complex *root, int from, Work *work)
{
	TakeDeal	form = choose_form();
	Block		z;
	int			left = nodes;

	for (int n = 0; n < nodes; n++)
		start_block(&node[n], &rest[n], from, grid, root, &work[n]);
	for (int i = 0; i < state->kept && left > 0; i++)
	{
		deal_roots(root, grid, state->deal[i].amount, from, &z);
		left = 0;
		for (int n = 0; n < nodes; n++)
		{
			if (work[n].gone)
				continue;
			work[n].has_log |= form(&work[n].product, &work[n].log, &z, node[n].probability[i], state->deal[i].count);
			if (i % LOOK_EVERY == LOOK_EVERY - 1)
				work[n].gone = is_gone(&work[n].product);
			left += !work[n].gone;
		}
	}
	for (int n = 0; n < nodes; n++)
	{
		if (work[n].has_log && !work[n].gone)
			multiply_exponential(&work[n].product, &work[n].log);
		for (int i = 0; i < rest[n].counts && !work[n].gone; i++)
		{
			multiply_count(&work[n].product, from, grid, &rest[n].count[i]);
			work[n].gone = is_gone(&work[n].product);
		}
	}
}

/* See spectrum.h. */
void
forecast_spectrum(const KernelEnv *env, const ForecastState *state, const ForecastNode *node, int nodes,
				  const ForecastGrid *grid, const Complex *root, Complex *total)
{
	int			half = grid->cells / 2;
	char	   *room = kernel_alloc(env, sizeof(Work) * (size_t) nodes + sizeof(Vector));
	Work	   *work = (Work *) (room + sizeof(Vector) - (uintptr_t) room % sizeof(Vector));
	Rest	   *rest = kernel_alloc_array(env, Rest, nodes);

	memset(total, 0, sizeof(Complex) * (size_t) grid->cells);
	for (int n = 0; n < nodes; n++)
		prepare_rest(state, &node[n], nodes == 1, nodes == 1 && amounts_differ(state), &rest[n]);
	for (int from = 0; from <= half; from += BLOCK)
	{
		kernel_tick(env, from, half);
		fill_block(state, node, rest, nodes, grid, root, from, work);
		for (int n = 0; n < nodes; n++)
			for (int j = 0; j < BLOCK && from + j <= half && !work[n].gone; j++)
			{
				total[from + j].re += ((double *) work[n].product.re)[j];
				total[from + j].im += ((double *) work[n].product.im)[j];
			}
	}
	kernel_release(env, room);
	kernel_release(env, rest);
}
