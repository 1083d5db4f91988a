/*
 * logistic.h
 *		Ridge logistic regression by Newton's method over a sparse design, with standard errors.
 *
 * The intercept is not penalised. The objective is the negative log likelihood (a sum over rows) plus lambda / 2 times the
 * sum of squared coefficients: lambda = 1 / C of scikit-learn. It knows nothing of columns or encodings (encode.h).
 */
#ifndef SALESOPS_LEARN_LOGISTIC_H
#define SALESOPS_LEARN_LOGISTIC_H

#include "core/kernel.h"

#define LEARN_LOGISTIC_MAX_COLUMNS 4096

/* rows in compressed form: entries start[r] .. start[r + 1] - 1; an absent column is 0 */
typedef struct LogisticData
{
	size_t		rows;
	int			columns;
	const size_t *start;
	const uint16_t *column;
	const double *value;
	const uint8_t *label;
	const double *weight;		/* a row's weight; NULL: all 1 */
	const double *offset;		/* log odds a row begins with, not fitted; NULL: 0 */
} LogisticData;

typedef struct LogisticFit
{
	int			columns;
	double	   *coefficient;	/* columns + 1: the intercept is the last */
	double	   *standard_error; /* columns + 1, or NULL where not asked for; NaN where the matrix is singular */
	double		log_likelihood; /* without the penalty */
	int			iterations;
	bool		converged;		/* false: separation with lambda 0, or a singular design */
} LogisticFit;

/* Memory and curvature that fits of one design share: those after the first then need only gradients. */
typedef struct LogisticWork LogisticWork;

extern LogisticWork *learn_logistic_work(const KernelEnv *env, const LogisticData *data);
extern void learn_logistic_work_free(const KernelEnv *env, LogisticWork *work);

/*
 * Fit over the rows whose fold is not `without` (fold NULL: all rows). start_from, if not NULL, holds columns + 1 numbers
 * to begin with. With shared work the fit stops a little earlier: good enough to compare penalties by. Standard errors are of
 * the penalised estimate: the sandwich (H + lambda)^-1 H (H + lambda)^-1.
 */
extern LogisticFit *learn_logistic_fit(const KernelEnv *env, const LogisticData *data, double lambda, const int *fold,
									   int without, const double *start_from, bool standard_errors,
									   LogisticWork *work);

/* The log odds of one row. */
extern double learn_logistic_margin(const LogisticData *data, size_t row, const double *coefficient);

/* Two-sided p-value of coefficient / standard error under the normal law. */
extern double learn_p_value(double coefficient, double standard_error);

extern void learn_logistic_free(const KernelEnv *env, LogisticFit *fit);

#endif							/* SALESOPS_LEARN_LOGISTIC_H */
