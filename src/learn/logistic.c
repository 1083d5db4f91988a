/*
 * logistic.c
 *		Newton's method (iteratively reweighted least squares) with step halving, over a dense Hessian: exact and quick up to
 *		some hundreds of columns, which is what encode.c makes. It is not for tens of thousands of columns.
 */
#include "learn/logistic.h"

#include <math.h>
#include <string.h>

#define MAX_ITERATIONS 50
#define MAX_HALVINGS 20

/* working memory of a fit; size = columns + 1, the intercept last; the Hessian's lower triangle is in full rows */
typedef struct Newton
{
	int			size;
	double		lambda;
	double	   *hessian;
	double	   *gradient;
	double	   *step;
	double	   *trial;
} Newton;

/* The log odds of one row. */
double
learn_logistic_margin(const LogisticData *data, size_t row, const double *coefficient)
{
	double		margin = coefficient[data->columns];

	for (size_t at = data->start[row]; at < data->start[row + 1]; at++)
		margin += coefficient[data->column[at]] * data->value[at];
	return margin;
}

/* Is the row part of this fit? */
static bool
row_used(const int *fold, int without, size_t row)
{
	return fold == NULL || fold[row] != without;
}

/* Log likelihood over the used rows. */
static double
log_likelihood(const LogisticData *data, const int *fold, int without, const double *coefficient)
{
	double		sum = 0;

	for (size_t row = 0; row < data->rows; row++)
	{
		double		margin;

		if (!row_used(fold, without, row))
			continue;
		margin = learn_logistic_margin(data, row, coefficient);
		if (!data->label[row])
			margin = -margin;
		sum -= (data->weight ? data->weight[row] : 1) *
			(margin > 0 ? log1p(exp(-margin)) : -margin + log1p(exp(margin)));
	}
	return sum;
}

/* The penalty's part of the objective. */
static double
penalty(const Newton *newton, const double *coefficient)
{
	double		sum = 0;

	for (int i = 0; i < newton->size - 1; i++)
		sum += coefficient[i] * coefficient[i];
	return newton->lambda * sum / 2;
}

/* Add one row to gradient and Hessian. Entries of a row come in the order of their columns. */
static void
add_row(const LogisticData *data, size_t row, const double *coefficient, Newton *newton)
{
	int			last = newton->size - 1;
	double		probability = 1 / (1 + exp(-learn_logistic_margin(data, row, coefficient)));
	double		weight = data->weight ? data->weight[row] : 1;
	double		residual = weight * (data->label[row] - probability);
	double		curvature = weight * probability * (1 - probability);
	double	   *intercept_row = newton->hessian + (size_t) last * newton->size;

	for (size_t at = data->start[row]; at < data->start[row + 1]; at++)
	{
		int			column = data->column[at];
		double		scaled = curvature * data->value[at];
		double	   *line = newton->hessian + (size_t) column * newton->size;

		newton->gradient[column] += residual * data->value[at];
		for (size_t other = data->start[row]; other <= at; other++)
			line[data->column[other]] += scaled * data->value[other];
		intercept_row[column] += scaled;
	}
	newton->gradient[last] += residual;
	intercept_row[last] += curvature;
}

/* Gradient and Hessian at the coefficients, penalty included. */
static void
assemble(const KernelEnv *env, const LogisticData *data, const int *fold, int without, const double *coefficient,
		 Newton *newton, bool with_penalty)
{
	memset(newton->hessian, 0, sizeof(double) * newton->size * newton->size);
	memset(newton->gradient, 0, sizeof(double) * newton->size);
	for (size_t row = 0; row < data->rows; row++)
	{
		if (row_used(fold, without, row))
			add_row(data, row, coefficient, newton);
		if (row % 4096 == 0)
			kernel_tick(env, row, data->rows);
	}
	if (!with_penalty)
		return;
	for (int i = 0; i < newton->size - 1; i++)
	{
		newton->gradient[i] -= newton->lambda * coefficient[i];
		newton->hessian[(size_t) i * newton->size + i] += newton->lambda;
	}
}

/* Cholesky in place, lower triangle; false where the matrix is not positive definite. */
static bool
factorise(const KernelEnv *env, double *matrix, int size)
{
	for (int i = 0; i < size; i++)
	{
		double	   *row_i = matrix + (size_t) i * size;
		double		before = row_i[i];

		for (int j = 0; j <= i; j++)
		{
			double	   *row_j = matrix + (size_t) j * size;
			double		sum = row_i[j];

			for (int k = 0; k < j; k++)
				sum -= row_i[k] * row_j[k];
			if (j < i)
				row_i[j] = sum / row_j[j];
			else if (!(sum > before * 1e-13) || !(sum > 0))
				return false;
			else
				row_i[i] = sqrt(sum);
		}
		if (i % 64 == 0)
			kernel_tick(env, i, size);
	}
	return true;
}

/* Solve L L' x = b in place. */
static void
solve(const double *factor, int size, double *x)
{
	for (int i = 0; i < size; i++)
	{
		for (int k = 0; k < i; k++)
			x[i] -= factor[(size_t) i * size + k] * x[k];
		x[i] /= factor[(size_t) i * size + i];
	}
	for (int i = size - 1; i >= 0; i--)
	{
		x[i] /= factor[(size_t) i * size + i];
		for (int k = 0; k < i; k++)
			x[k] -= factor[(size_t) i * size + k] * x[i];
	}
}

/* Move along the step, halving it until the objective does not fall. Returns the new objective, NaN where none is better. */
static double
line_search(const LogisticData *data, const int *fold, int without, const Newton *newton, double *coefficient,
			double before)
{
	double		length = 1;

	for (int halving = 0; halving < MAX_HALVINGS; halving++, length /= 2)
	{
		double		after;

		for (int i = 0; i < newton->size; i++)
			newton->trial[i] = coefficient[i] + length * newton->step[i];
		after = log_likelihood(data, fold, without, newton->trial) - penalty(newton, newton->trial);
		if (after >= before - 1e-9 * (1 + fabs(before)))
		{
			memcpy(coefficient, newton->trial, sizeof(double) * newton->size);
			return after;
		}
	}
	return NAN;
}

/* The sandwich's diagonal, a unit vector at a time; the Hessian is assembled anew without the penalty. */
static void
standard_errors_of(const KernelEnv *env, const LogisticData *data, const int *fold, int without, Newton *newton,
				   LogisticFit *fit)
{
	int			size = newton->size;
	double	   *factor = kernel_alloc_array(env, double, (size_t) size * size);

	assemble(env, data, fold, without, fit->coefficient, newton, true);
	memcpy(factor, newton->hessian, sizeof(double) * size * size);
	assemble(env, data, fold, without, fit->coefficient, newton, false);
	for (int i = 0; i < size; i++)
		fit->standard_error[i] = NAN;
	if (factorise(env, factor, size))
		for (int i = 0; i < size; i++)
		{
			double		sum = 0;

			memset(newton->step, 0, sizeof(double) * size);
			newton->step[i] = 1;
			solve(factor, size, newton->step);
			for (int j = 0; j < size; j++)
				for (int k = 0; k <= j; k++)
					sum += (j == k ? 1 : 2) * newton->step[j] * newton->step[k] * newton->hessian[(size_t) j * size + k];
			fit->standard_error[i] = sqrt(sum);
			kernel_tick(env, i, size);
		}
	kernel_release(env, factor);
}

/* Newton's iterations until the decrement is negligible. */
static void
iterate(const KernelEnv *env, const LogisticData *data, const int *fold, int without, Newton *newton, LogisticFit *fit)
{
	double		objective = log_likelihood(data, fold, without, fit->coefficient) - penalty(newton, fit->coefficient);

	for (fit->iterations = 0; fit->iterations < MAX_ITERATIONS; fit->iterations++)
	{
		double		decrement = 0;

		assemble(env, data, fold, without, fit->coefficient, newton, true);
		if (!factorise(env, newton->hessian, newton->size))
			return;
		memcpy(newton->step, newton->gradient, sizeof(double) * newton->size);
		solve(newton->hessian, newton->size, newton->step);
		for (int i = 0; i < newton->size; i++)
			decrement += newton->step[i] * newton->gradient[i];
		if (decrement < 1e-9)
		{
			fit->converged = true;
			return;
		}
		objective = line_search(data, fold, without, newton, fit->coefficient, objective);
		if (isnan(objective))
			return;
	}
}

/* Allocate, iterate, and add the standard errors where asked for. */
LogisticFit *
learn_logistic_fit(const KernelEnv *env, const LogisticData *data, double lambda, const int *fold, int without,
				   const double *start_from, bool standard_errors)
{
	Newton		newton = {.size = data->columns + 1, .lambda = lambda};
	LogisticFit *fit = kernel_alloc_array(env, LogisticFit, 1);

	memset(fit, 0, sizeof *fit);
	fit->columns = data->columns;
	fit->coefficient = kernel_alloc_array(env, double, newton.size);
	if (start_from)
		memcpy(fit->coefficient, start_from, sizeof(double) * newton.size);
	else
		memset(fit->coefficient, 0, sizeof(double) * newton.size);
	newton.hessian = kernel_alloc_array(env, double, (size_t) newton.size * newton.size);
	newton.gradient = kernel_alloc_array(env, double, newton.size);
	newton.step = kernel_alloc_array(env, double, newton.size);
	newton.trial = kernel_alloc_array(env, double, newton.size);
	iterate(env, data, fold, without, &newton, fit);
	fit->log_likelihood = log_likelihood(data, fold, without, fit->coefficient);
	if (standard_errors)
	{
		fit->standard_error = kernel_alloc_array(env, double, newton.size);
		standard_errors_of(env, data, fold, without, &newton, fit);
	}
	kernel_release(env, newton.hessian);
	kernel_release(env, newton.gradient);
	kernel_release(env, newton.step);
	kernel_release(env, newton.trial);
	return fit;
}

/* Wald's test: erfc keeps the digits of small p-values. */
double
learn_p_value(double coefficient, double standard_error)
{
	return erfc(fabs(coefficient / standard_error) / sqrt(2.0));
}

/* Give a fit back. */
void
learn_logistic_free(const KernelEnv *env, LogisticFit *fit)
{
	kernel_release(env, fit->coefficient);
	if (fit->standard_error)
		kernel_release(env, fit->standard_error);
	kernel_release(env, fit);
}
