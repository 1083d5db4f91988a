/*
 * calibrate.c
 *		Platt's map and the blend's weight. Isotonic calibration is left out on purpose: it bought nothing on five data sets
 *		and breaks the additivity of contributions.
 */
#include "learn/calibrate.h"

#include "learn/metrics.h"

#include <math.h>

/*
 * Platt's (1999) targets: (positives + 1) / (positives + 2) and 1 / (negatives + 2) instead of 1 and 0. Where the margins separate the
 * classes, or all but a few rows, the likelihood of the labels themselves has its maximum at infinite slopes.
 */
static void
set_targets(const uint8_t *label, size_t rows, double target[2])
{
	size_t		count[2] = {0, 0};

	for (size_t row = 0; row < rows; row++)
		count[label[row] != 0]++;
	target[0] = 1 / ((double) count[0] + 2);
	target[1] = ((double) count[1] + 1) / ((double) count[1] + 2);
}

/* Log likelihood of the margins under a map. */
static double
likelihood(const double *margin, const uint8_t *label, size_t rows, const double target[2], double slope, double offset)
{
	double		sum = 0;

	for (size_t row = 0; row < rows; row++)
	{
		double		mapped = slope * margin[row] + offset;
		double		wanted = target[label[row] != 0];

		sum -= wanted * learn_log_loss_margin(mapped, 1) + (1 - wanted) * learn_log_loss_margin(mapped, 0);
	}
	return sum;
}

/* Gradient and Hessian of the two parameters. */
static void
derivatives(const double *margin, const uint8_t *label, size_t rows, const double target[2], const PlattMap *map, double gradient[2],
			double hessian[3])
{
	gradient[0] = gradient[1] = hessian[0] = hessian[1] = hessian[2] = 0;
	for (size_t row = 0; row < rows; row++)
	{
		double		probability = learn_probability(map->slope * margin[row] + map->offset);
		double		curvature = probability * (1 - probability);
		double		wanted = target[label[row] != 0];

		gradient[0] += (wanted - probability) * margin[row];
		gradient[1] += wanted - probability;
		hessian[0] += curvature * margin[row] * margin[row];
		hessian[1] += curvature * margin[row];
		hessian[2] += curvature;
	}
}

/* Two parameters, from the identity. */
PlattMap
learn_platt(const double *margin, const uint8_t *label, size_t rows)
{
	PlattMap	map = {1, 0, 0};
	double		target[2];
	double		identity;
	double		current;

	set_targets(label, rows, target);
	current = identity = likelihood(margin, label, rows, target, 1, 0);

	for (int iteration = 0; iteration < 50; iteration++)
	{
		double		gradient[2];
		double		hessian[3];
		double		determinant;
		double		length = 1;
		double		slope_step;
		double		offset_step;
		double		after = current;

		derivatives(margin, label, rows, target, &map, gradient, hessian);
		determinant = hessian[0] * hessian[2] - hessian[1] * hessian[1];
		if (!(determinant > 1e-12 * hessian[0] * hessian[2]))
			break;
		slope_step = (hessian[2] * gradient[0] - hessian[1] * gradient[1]) / determinant;
		offset_step = (hessian[0] * gradient[1] - hessian[1] * gradient[0]) / determinant;
		if (fabs(slope_step * gradient[0] + offset_step * gradient[1]) < 1e-10)
			break;
		for (int halving = 0; halving < 30; halving++, length /= 2)
		{
			after = likelihood(margin, label, rows, target, map.slope + length * slope_step, map.offset + length * offset_step);
			if (after >= current)
				break;
		}
		if (!(after > current))
			break;
		map.slope += length * slope_step;
		map.offset += length * offset_step;
		current = after;
	}
	map.gain = current - identity;
	return map;
}

/* Eleven candidates; a tie goes to the smaller weight. */
double
learn_blend_weight(const double *first, const double *second, const uint8_t *label, size_t rows)
{
	double		best = INFINITY;
	double		best_weight = 0;

	for (int tenth = 0; tenth <= 10; tenth++)
	{
		double		weight = tenth / 10.0;
		double		loss = 0;

		for (size_t row = 0; row < rows; row++)
			loss += learn_log_loss_margin(weight * first[row] + (1 - weight) * second[row], label[row]);
		if (loss < best)
		{
			best = loss;
			best_weight = weight;
		}
	}
	return best_weight;
}
