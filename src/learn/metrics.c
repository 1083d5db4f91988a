/*
 * metrics.c
 *		The arithmetic of the metrics in metrics.h. It keeps no state: the aggregates' states are metrics_pg.c's.
 */
#include "learn/metrics.h"

#include <math.h>
#include <string.h>

#define SORT_DIGIT_BITS		11
#define SORT_DIGITS			6	/* six digits of eleven bits cover 64 */
#define SORT_RADIX			(1 << SORT_DIGIT_BITS)

/* A double's bits so that unsigned order is numeric order; -0 becomes 0 for ties' sake. */
static uint64_t
key_of_double(double value)
{
	uint64_t	bits;

	if (value == 0)
		value = 0;
	memcpy(&bits, &value, sizeof bits);
	return bits & UINT64_C(0x8000000000000000) ? ~bits : bits | UINT64_C(0x8000000000000000);
}

/* The reverse of key_of_double. */
static double
double_of_key(uint64_t key)
{
	double		value;

	key = key & UINT64_C(0x8000000000000000) ? key & ~UINT64_C(0x8000000000000000) : ~key;
	memcpy(&value, &key, sizeof value);
	return value;
}

/* Insertion sort, for arrays too small for counting. */
static void
sort_few(double *values, size_t count)
{
	for (size_t i = 1; i < count; i++)
	{
		double		value = values[i];
		size_t		at = i;

		for (; at > 0 && values[at - 1] > value; at--)
			values[at] = values[at - 1];
		values[at] = value;
	}
}

/* One counting pass by the digit at `shift`. */
static void
sort_pass(const uint64_t *from, uint64_t *to, size_t count, int shift, size_t *place)
{
	memset(place, 0, sizeof(size_t) * SORT_RADIX);
	for (size_t i = 0; i < count; i++)
		place[(from[i] >> shift) & (SORT_RADIX - 1)]++;
	for (size_t digit = 0, sum = 0; digit < SORT_RADIX; digit++)
	{
		size_t		here = place[digit];

		place[digit] = sum;
		sum += here;
	}
	for (size_t i = 0; i < count; i++)
		to[place[(from[i] >> shift) & (SORT_RADIX - 1)]++] = from[i];
}

/* Least significant digit first, over the ordered bits. */
void
learn_sort_doubles(const KernelEnv *env, double *values, size_t count)
{
	uint64_t   *keys;
	uint64_t   *other;
	size_t	   *place;

	if (count < 64)
	{
		sort_few(values, count);
		return;
	}
	keys = kernel_alloc_array(env, uint64_t, count);
	other = kernel_alloc_array(env, uint64_t, count);
	place = kernel_alloc_array(env, size_t, SORT_RADIX);
	for (size_t i = 0; i < count; i++)
		keys[i] = key_of_double(values[i]);
	for (int digit = 0; digit < SORT_DIGITS; digit++)
	{
		uint64_t   *swap = keys;

		sort_pass(keys, other, count, digit * SORT_DIGIT_BITS, place);
		keys = other;
		other = swap;
		kernel_tick(env, digit, SORT_DIGITS);
	}
	for (size_t i = 0; i < count; i++)
		values[i] = double_of_key(keys[i]);
	kernel_release(env, keys);
	kernel_release(env, other);
	kernel_release(env, place);
}

/* Twice the number of pairs won, counted in integers: exact, whatever the order of the rows was. */
double
learn_roc_auc_sorted(const double *positive, size_t positives, const double *negative, size_t negatives)
{
	uint64_t	wins = 0;
	size_t		below = 0;
	size_t		up_to = 0;

	if (positives == 0 || negatives == 0)
		return NAN;
	for (size_t i = 0; i < positives; i++)
	{
		while (below < negatives && negative[below] < positive[i])
			below++;
		if (up_to < below)
			up_to = below;
		while (up_to < negatives && negative[up_to] <= positive[i])
			up_to++;
		wins += below + up_to;
	}
	return (double) wins / 2.0 / ((double) positives * (double) negatives);
}

/* Walk down both arrays together, a group of equal scores at a time. */
double
learn_precision_at_sorted(const double *positive, size_t positives, const double *negative, size_t negatives,
						  double fraction)
{
	size_t		rows = positives + negatives;
	double		wanted = ceil(fraction * (double) rows - 1e-9);
	double		taken = 0;
	double		hits = 0;
	size_t		p = positives;
	size_t		n = negatives;

	if (rows == 0)
		return NAN;
	if (wanted < 1)
		wanted = 1;
	while (taken < wanted && (p > 0 || n > 0))
	{
		double		score = p > 0 && (n == 0 || positive[p - 1] >= negative[n - 1]) ? positive[p - 1] : negative[n - 1];
		double		here = 0;
		double		hits_here = 0;

		for (; p > 0 && positive[p - 1] == score; p--, hits_here++)
			here++;
		for (; n > 0 && negative[n - 1] == score; n--)
			here++;
		if (taken + here > wanted)
			hits_here *= (wanted - taken) / here;
		hits += hits_here;
		taken += here;
	}
	return hits / wanted;
}

/* Clipped as scikit-learn clips: at the spacing of doubles at 1. */
double
learn_log_loss_row(double probability, bool label)
{
	const double epsilon = 2.220446049250313e-16;

	if (probability < epsilon)
		probability = epsilon;
	if (probability > 1 - epsilon)
		probability = 1 - epsilon;
	return label ? -log(probability) : -log1p(-probability);
}

/* log(1 + exp(-m)) for a positive, stable at both ends */
double
learn_log_loss_margin(double margin, bool label)
{
	double		signed_margin = label ? margin : -margin;

	return signed_margin > 0 ? log1p(exp(-signed_margin)) : -signed_margin + log1p(exp(signed_margin));
}

/* A probability of 1 belongs to the last bin. */
void
learn_calibration_add(CalibrationBins *bins, double probability, bool label)
{
	int			bin = (int) (probability * LEARN_CALIBRATION_BINS);

	if (bin >= LEARN_CALIBRATION_BINS)
		bin = LEARN_CALIBRATION_BINS - 1;
	bins->count[bin]++;
	bins->probability[bin] += probability;
	bins->positives[bin] += label;
}

/* Sum of |confidence - accuracy| by bin over the rows. */
double
learn_calibration_error(const CalibrationBins *bins)
{
	double		rows = 0;
	double		error = 0;

	for (int bin = 0; bin < LEARN_CALIBRATION_BINS; bin++)
	{
		rows += bins->count[bin];
		error += fabs(bins->probability[bin] - bins->positives[bin]);
	}
	return rows > 0 ? error / rows : NAN;
}

/* The logistic function, without overflow. */
double
learn_probability(double margin)
{
	double		odds;

	if (margin >= 0)
		return 1 / (1 + exp(-margin));
	odds = exp(margin);
	return odds / (1 + odds);
}

/* Margins order rows as probabilities do, and without ties made by rounding. */
LearnMetrics
learn_metrics(const KernelEnv *env, const double *margin, const uint8_t *label, size_t rows)
{
	LearnMetrics metrics = {.rows = (int64_t) rows};
	CalibrationBins bins;
	double	   *positive = kernel_alloc_array(env, double, rows);
	double	   *negative = kernel_alloc_array(env, double, rows);
	size_t		positives = 0;
	size_t		negatives = 0;

	memset(&bins, 0, sizeof bins);
	for (size_t row = 0; row < rows; row++)
	{
		double		probability = learn_probability(margin[row]);
		double		miss = probability - label[row];

		metrics.log_loss += learn_log_loss_margin(margin[row], label[row]);
		metrics.brier += miss * miss;
		learn_calibration_add(&bins, probability, label[row]);
		if (label[row])
			positive[positives++] = margin[row];
		else
			negative[negatives++] = margin[row];
	}
	learn_sort_doubles(env, positive, positives);
	learn_sort_doubles(env, negative, negatives);
	metrics.positives = (int64_t) positives;
	metrics.log_loss = rows > 0 ? metrics.log_loss / (double) rows : NAN;
	metrics.brier = rows > 0 ? metrics.brier / (double) rows : NAN;
	metrics.ece = learn_calibration_error(&bins);
	metrics.roc_auc = learn_roc_auc_sorted(positive, positives, negative, negatives);
	metrics.precision_at_10 = learn_precision_at_sorted(positive, positives, negative, negatives, 0.1);
	kernel_release(env, positive);
	kernel_release(env, negative);
	return metrics;
}
