/*
 * metrics.h
 *		How good scores and probabilities are against what happened: area under the ROC curve, log loss, Brier score,
 *		calibration error, precision in the top part. Plain arrays in, exact values out; ties are handled, order is not
 *		needed. The SQL aggregates over these are in metrics_pg.c.
 */
#ifndef SALESOPS_LEARN_METRICS_H
#define SALESOPS_LEARN_METRICS_H

#include "core/kernel.h"

/* equal-width bins of the expected calibration error */
#define LEARN_CALIBRATION_BINS 10

/* what calibration error needs to keep of a sample; kept as doubles so that it adds up and prints plainly */
typedef struct CalibrationBins
{
	double		count[LEARN_CALIBRATION_BINS];
	double		probability[LEARN_CALIBRATION_BINS];	/* sum */
	double		positives[LEARN_CALIBRATION_BINS];
} CalibrationBins;

/* all of them at once, for train_model and evaluate_model; NaN where undefined */
typedef struct LearnMetrics
{
	int64_t		rows;
	int64_t		positives;
	double		roc_auc;
	double		log_loss;
	double		brier;
	double		ece;
	double		precision_at_10;
} LearnMetrics;

/* Sort doubles upwards, in place, in linear time; no NaN among them. */
extern void learn_sort_doubles(const KernelEnv *env, double *values, size_t count);

/*
 * The chance that a positive scores above a negative, ties counting half (Mann-Whitney, the trapezoidal area). Both arrays
 * sorted upwards. NaN where a class is empty.
 */
extern double learn_roc_auc_sorted(const double *positive, size_t positives, const double *negative,
								   size_t negatives);

/*
 * The share of positives among the top ceil(fraction * n) scores (one at least). Scores tied at the edge count with
 * their average, so the order of the rows does not matter. Both arrays sorted upwards. NaN where there are no rows.
 */
extern double learn_precision_at_sorted(const double *positive, size_t positives, const double *negative,
										size_t negatives, double fraction);

/* One row's log loss; the probability is kept 2.2e-16 away from 0 and 1, as scikit-learn does. */
extern double learn_log_loss_row(double probability, bool label);

/* The same from log odds, without losing digits where the probability is near 0 or 1. */
extern double learn_log_loss_margin(double margin, bool label);

/* Add a row to the bins of the calibration error. */
extern void learn_calibration_add(CalibrationBins *bins, double probability, bool label);

/* Average distance of the mean probability from the share of positives over the bins, weighted by rows. NaN: no rows. */
extern double learn_calibration_error(const CalibrationBins *bins);

/* Probability of log odds */
extern double learn_probability(double margin);

/* Everything from log odds and labels. */
extern LearnMetrics learn_metrics(const KernelEnv *env, const double *margin, const uint8_t *label, size_t rows);

#endif							/* SALESOPS_LEARN_METRICS_H */
