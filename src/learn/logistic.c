/*
 * logistic.c
 *		Newton's method (iteratively reweighted least squares) with step halving, over a dense Hessian: exact and quick up to
 *		some hundreds of entries a row, which is what encode.c makes of most tables. Beyond, where a Hessian costs more than
 *		all else, L-BFGS (Nocedal 1980) over the gradient alone. It is not for tens of thousands of columns.
 */
#include "learn/logistic.h"

#include <math.h>
#include <string.h>

#define MAX_ITERATIONS 200
#define MAX_HALVINGS 20
#define FINE 1e-9				/* decrement, in units of log likelihood, at which a fit is done */
#define ROUGH 1e-4				/* one among many that are only compared */
#define DENSE_ENTRIES 400		/* a row */
#define MEMORY 12				/* steps that L-BFGS remembers */
#define MAX_GRADIENTS 2000

/*
 * Working memory of a fit; size = columns + 1, the intercept last; the Hessian's lower triangle is in full rows. The Hessian
 * costs a row's entries squared, the gradient only its entries: so a Hessian serves many steps, and may come from a part of
 * the rows; the gradient, and so the optimum, is always exact.
 */
struct LogisticWork
{
	int			size;
	double	   *hessian;		/* without the penalty */
	bool		valid;
	size_t		sample;			/* rows it may be made of */
	double	   *factor;
	double	   *gradient;
	double	   *step;
	double	   *trial;
	double	   *trial_gradient;
	bool		dense;			/* so many entries a row that L-BFGS is quicker; hessian and factor are made for standard errors only */
	double	   *pairs;			/* L-BFGS: MEMORY steps, then MEMORY changes of the gradient */
	double	   *diagonal;		/* of the Hessian, penalty included: what L-BFGS starts from */
};

/* what a fit is about */
typedef struct Problem
{
	const KernelEnv *env;
	const LogisticData *data;
	double		lambda;
	const int  *fold;
	int			without;
} Problem;

/* entries squared that a Hessian may cost before it is made of a part of the rows */
#define HESSIAN_BUDGET 4e7

/* The log odds of one row. */
double
learn_logistic_margin(const LogisticData *data, size_t row, const double *coefficient)
{
	double		margin = coefficient[data->columns] + (data->offset != NULL ? data->offset[row] : 0.0);

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

/* Objective (penalised log likelihood) and gradient in one pass; the likelihood alone into *likelihood. */
static double
objective_of(const Problem *problem, const double *coefficient, double *gradient, double *likelihood)
{
	const LogisticData *data = problem->data;
	int			last = data->columns;
	double		sum = 0;
	double		squares = 0;

	memset(gradient, 0, sizeof(double) * (last + 1));
	for (size_t row = 0; row < data->rows; row++)
	{
		double		margin;
		double		weight;
		double		small;
		double		residual;

		if (!row_used(problem->fold, problem->without, row))
			continue;
		margin = learn_logistic_margin(data, row, coefficient);
		weight = data->weight ? data->weight[row] : 1;
		small = exp(-fabs(margin));	/* one exponential gives both loss and probability */
		sum -= weight * (log1p(small) + (data->label[row] ? (margin < 0 ? -margin : 0) : (margin > 0 ? margin : 0)));
		residual = weight * (data->label[row] - (margin >= 0 ? 1 / (1 + small) : small / (1 + small)));
		for (size_t at = data->start[row]; at < data->start[row + 1]; at++)
			gradient[data->column[at]] += residual * data->value[at];
		gradient[last] += residual;
		if (row % 4096 == 0)
			kernel_tick(problem->env, row, data->rows);
	}
	for (int i = 0; i < last; i++)
	{
		squares += coefficient[i] * coefficient[i];
		gradient[i] -= problem->lambda * coefficient[i];
	}
	*likelihood = sum;
	return sum - problem->lambda * squares / 2;
}

/* Add one row to the Hessian. Entries of a row come in the order of their columns. */
static void
add_row(const LogisticData *data, size_t row, const double *coefficient, double scale, LogisticWork *work)
{
	double		probability = 1 / (1 + exp(-learn_logistic_margin(data, row, coefficient)));
	double		curvature = scale * (data->weight ? data->weight[row] : 1) * probability * (1 - probability);
	double	   *intercept_row = work->hessian + (size_t) data->columns * work->size;

	for (size_t at = data->start[row]; at < data->start[row + 1]; at++)
	{
		double		scaled = curvature * data->value[at];
		double	   *line = work->hessian + (size_t) data->column[at] * work->size;

		for (size_t other = data->start[row]; other <= at; other++)
			line[data->column[other]] += scaled * data->value[other];
		intercept_row[data->column[at]] += scaled;
	}
	intercept_row[data->columns] += curvature;
}

/* The Hessian at the coefficients, without the penalty, from `sample` rows at equal distances (all: data->rows). */
static void
make_hessian(const Problem *problem, const double *coefficient, size_t sample, LogisticWork *work)
{
	const LogisticData *data = problem->data;
	size_t		every = sample >= data->rows ? 1 : data->rows / sample;

	memset(work->hessian, 0, sizeof(double) * work->size * work->size);
	for (size_t row = 0; row < data->rows; row += every)
	{
		if (row_used(problem->fold, problem->without, row))
			add_row(data, row, coefficient, (double) every, work);
		if (row % (4096 * every) == 0)
			kernel_tick(problem->env, row, data->rows);
	}
	work->valid = true;
}

/* four sums at a time, always in the same order, so that every machine's are the same */
typedef double Quad __attribute__((vector_size(32)));

/* a - b . c over `count` numbers */
static inline __attribute__((always_inline)) double
less_product(double a, const double *b, const double *c, int count)
{
	Quad		sum[2] = {{0}, {0}};
	int			k = 0;

	for (; k + 8 <= count; k += 8)
	{
		Quad		x[2];
		Quad		y[2];

		memcpy(x, b + k, sizeof x);
		memcpy(y, c + k, sizeof y);
		sum[0] += x[0] * y[0];
		sum[1] += x[1] * y[1];
	}
	sum[0] += sum[1];
	a -= (sum[0][0] + sum[0][1]) + (sum[0][2] + sum[0][3]);
	for (; k < count; k++)
		a -= b[k] * c[k];
	return a;
}

/* Cholesky in place, lower triangle; false where the matrix is not positive definite. */
static inline __attribute__((always_inline)) bool
factorise_rows(const KernelEnv *env, double *matrix, int size)
{
	for (int i = 0; i < size; i++)
	{
		double	   *row_i = matrix + (size_t) i * size;
		double		before = row_i[i];
		double		left;

		for (int j = 0; j < i; j++)
		{
			const double *row_j = matrix + (size_t) j * size;

			row_i[j] = less_product(row_i[j], row_i, row_j, j) / row_j[j];
		}
		left = less_product(before, row_i, row_i, i);
		if (!(left > before * 1e-13) || !(left > 0))
			return false;
		row_i[i] = sqrt(left);
		if (i % 64 == 0)
			kernel_tick(env, i, size);
	}
	return true;
}

#if defined(__x86_64__)
/* The same sums with wider registers. */
static __attribute__((target("avx2"))) bool
factorise_avx2(const KernelEnv *env, double *matrix, int size)
{
	return factorise_rows(env, matrix, size);
}
#endif

/* As fast as this machine can. */
static bool
factorise(const KernelEnv *env, double *matrix, int size)
{
#if defined(__x86_64__)
	if (__builtin_cpu_supports("avx2"))
		return factorise_avx2(env, matrix, size);
#endif
	return factorise_rows(env, matrix, size);
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

/* Factorise Hessian and penalty. */
static bool
factorise_penalised(const Problem *problem, LogisticWork *work)
{
	memcpy(work->factor, work->hessian, sizeof(double) * work->size * work->size);
	for (int i = 0; i < work->size - 1; i++)
		work->factor[(size_t) i * work->size + i] += problem->lambda;
	return factorise(problem->env, work->factor, work->size);
}

/* Move along the step, halving it until the objective does not fall; gradient and objective follow. False: no way up. */
static bool
line_search(const Problem *problem, LogisticWork *work, LogisticFit *fit, double *objective)
{
	double		length = 1;

	for (int halving = 0; halving < MAX_HALVINGS; halving++, length /= 2)
	{
		double		likelihood;
		double		after;

		for (int i = 0; i < work->size; i++)
			work->trial[i] = fit->coefficient[i] + length * work->step[i];
		after = objective_of(problem, work->trial, work->trial_gradient, &likelihood);
		if (after >= *objective - 1e-9 * (1 + fabs(*objective)))
		{
			memcpy(fit->coefficient, work->trial, sizeof(double) * work->size);
			memcpy(work->gradient, work->trial_gradient, sizeof(double) * work->size);
			fit->log_likelihood = likelihood;
			*objective = after;
			return true;
		}
	}
	return false;
}

/* Twice what a Newton step would win. */
static double
take_step(LogisticWork *work)
{
	double		decrement = 0;

	memcpy(work->step, work->gradient, sizeof(double) * work->size);
	solve(work->factor, work->size, work->step);
	for (int i = 0; i < work->size; i++)
		decrement += work->step[i] * work->gradient[i];
	return decrement;
}

/*
 * Steps until what is left to win is negligible. A Hessian that no longer brings the decrement down to a quarter is made
 * anew where the coefficients now are, of more rows if it was new.
 */
static void
iterate(const Problem *problem, LogisticWork *work, LogisticFit *fit, double tolerance)
{
	double		objective = objective_of(problem, fit->coefficient, work->gradient, &fit->log_likelihood);
	double		last = INFINITY;
	int			steps = 0;		/* with this Hessian */

	if (work->valid && !factorise_penalised(problem, work))
		work->valid = false;
	for (fit->iterations = 0; fit->iterations < MAX_ITERATIONS; fit->iterations++)
	{
		double		decrement;

		if (!work->valid)
		{
			make_hessian(problem, fit->coefficient, work->sample, work);
			if (!factorise_penalised(problem, work))
				return;
			steps = 0;
		}
		decrement = take_step(work);
		if (decrement < tolerance)
		{
			fit->converged = true;
			return;
		}
		if (decrement > last / 4)
		{
			if (steps <= 2 && work->sample < problem->data->rows)
				work->sample *= 4;
			work->valid = false;
			last = INFINITY;
			continue;
		}
		last = decrement;
		steps++;
		if (!line_search(problem, work, fit, &objective))
			return;
	}
}

/* ---- L-BFGS ---- */

/* The Hessian's diagonal at the coefficients, with the penalty. */
static void
make_diagonal(const Problem *problem, const double *coefficient, LogisticWork *work)
{
	const LogisticData *data = problem->data;

	for (int i = 0; i < work->size; i++)
		work->diagonal[i] = i < data->columns ? problem->lambda + 1e-12 : 1e-12;
	for (size_t row = 0; row < data->rows; row++)
	{
		double		probability;
		double		curvature;

		if (!row_used(problem->fold, problem->without, row))
			continue;
		probability = 1 / (1 + exp(-learn_logistic_margin(data, row, coefficient)));
		curvature = (data->weight ? data->weight[row] : 1) * probability * (1 - probability);
		for (size_t at = data->start[row]; at < data->start[row + 1]; at++)
			work->diagonal[data->column[at]] += curvature * data->value[at] * data->value[at];
		work->diagonal[data->columns] += curvature;
	}
}

/* a . b */
static double
product(const double *a, const double *b, int size)
{
	return -less_product(0, a, b, size);
}

/* The two-loop recursion: gradient to step by the last `kept` pairs, the newest of which is number `pairs` - 1. */
static void
recursion(LogisticWork *work, int pairs)
{
	int			size = work->size;
	int			kept = pairs < MEMORY ? pairs : MEMORY;
	double		share[MEMORY];

	memcpy(work->step, work->gradient, sizeof(double) * size);
	for (int i = pairs - 1; i >= pairs - kept; i--)
	{
		const double *moved = work->pairs + (size_t) (i % MEMORY) * size;
		const double *changed = moved + (size_t) MEMORY * size;

		share[i % MEMORY] = product(moved, work->step, size) / product(moved, changed, size);
		for (int k = 0; k < size; k++)
			work->step[k] -= share[i % MEMORY] * changed[k];
	}
	for (int k = 0; k < size; k++)
		work->step[k] /= work->diagonal[k];
	for (int i = pairs - kept; i < pairs; i++)
	{
		const double *moved = work->pairs + (size_t) (i % MEMORY) * size;
		const double *changed = moved + (size_t) MEMORY * size;
		double		back = product(changed, work->step, size) / product(moved, changed, size);

		for (int k = 0; k < size; k++)
			work->step[k] += (share[i % MEMORY] - back) * moved[k];
	}
}

/* Steps until what the quadratic model sees to win is negligible. The objective is concave, so every pair serves. */
static void
iterate_by_gradients(const Problem *problem, LogisticWork *work, LogisticFit *fit, double tolerance)
{
	double		objective = objective_of(problem, fit->coefficient, work->gradient, &fit->log_likelihood);
	int			size = work->size;
	int			pairs = 0;

	make_diagonal(problem, fit->coefficient, work);
	for (fit->iterations = 0; fit->iterations < MAX_GRADIENTS; fit->iterations++)
	{
		double	   *moved = work->pairs + (size_t) (pairs % MEMORY) * size;
		double	   *changed = moved + (size_t) MEMORY * size;

		recursion(work, pairs);
		if (product(work->step, work->gradient, size) < tolerance)
		{
			fit->converged = true;
			return;
		}
		for (int k = 0; k < size; k++)
		{
			moved[k] = -fit->coefficient[k];
			changed[k] = work->gradient[k];
		}
		if (!line_search(problem, work, fit, &objective))
			return;
		for (int k = 0; k < size; k++)
		{
			moved[k] += fit->coefficient[k];
			changed[k] -= work->gradient[k];
		}
		if (product(moved, changed, size) > 0)
			pairs++;
	}
}

/* The sandwich's diagonal, a unit vector at a time, from all rows. */
static void
standard_errors_of(const Problem *problem, LogisticWork *work, LogisticFit *fit)
{
	int			size = work->size;

	for (int i = 0; i < size; i++)
		fit->standard_error[i] = NAN;
	make_hessian(problem, fit->coefficient, problem->data->rows, work);
	if (!factorise_penalised(problem, work))
		return;
	for (int i = 0; i < size; i++)
	{
		double		sum = 0;

		memset(work->step, 0, sizeof(double) * size);
		work->step[i] = 1;
		solve(work->factor, size, work->step);
		for (int j = 0; j < size; j++)
			for (int k = 0; k <= j; k++)
				sum += (j == k ? 1 : 2) * work->step[j] * work->step[k] * work->hessian[(size_t) j * size + k];
		fit->standard_error[i] = sqrt(sum);
		kernel_tick(problem->env, i, size);
	}
}

/* The matrices, where they are not there yet. */
static void
make_room_for_hessian(const KernelEnv *env, LogisticWork *work)
{
	if (work->hessian)
		return;
	work->hessian = kernel_alloc_array(env, double, (size_t) work->size * work->size);
	work->factor = kernel_alloc_array(env, double, (size_t) work->size * work->size);
}

/* See logistic.h. */
LogisticWork *
learn_logistic_work(const KernelEnv *env, const LogisticData *data)
{
	LogisticWork *work = kernel_alloc_array(env, LogisticWork, 1);
	double		entries = data->rows > 0 ? (double) data->start[data->rows] / (double) data->rows : 1;

	work->size = data->columns + 1;
	work->valid = false;
	work->sample = (size_t) (HESSIAN_BUDGET / (entries * entries / 2 + 1));
	if (work->sample < (size_t) 20 * work->size)
		work->sample = (size_t) 20 * work->size;
	work->dense = entries > DENSE_ENTRIES;
	work->hessian = work->factor = work->pairs = work->diagonal = NULL;
	if (work->dense)
	{
		work->pairs = kernel_alloc_array(env, double, (size_t) work->size * MEMORY * 2);
		work->diagonal = kernel_alloc_array(env, double, work->size);
	}
	else
		make_room_for_hessian(env, work);
	work->gradient = kernel_alloc_array(env, double, work->size);
	work->step = kernel_alloc_array(env, double, work->size);
	work->trial = kernel_alloc_array(env, double, work->size);
	work->trial_gradient = kernel_alloc_array(env, double, work->size);
	return work;
}

/* Give working memory back. */
void
learn_logistic_work_free(const KernelEnv *env, LogisticWork *work)
{
	kernel_release(env, work->hessian);
	kernel_release(env, work->factor);
	kernel_release(env, work->pairs);
	kernel_release(env, work->diagonal);
	kernel_release(env, work->gradient);
	kernel_release(env, work->step);
	kernel_release(env, work->trial);
	kernel_release(env, work->trial_gradient);
	kernel_release(env, work);
}

/* Allocate, iterate, and add the standard errors where asked for. */
LogisticFit *
learn_logistic_fit(const KernelEnv *env, const LogisticData *data, double lambda, const int *fold, int without,
				   const double *start_from, bool standard_errors, LogisticWork *work)
{
	Problem		problem = {env, data, lambda, fold, without};
	LogisticWork *own = work ? NULL : learn_logistic_work(env, data);
	LogisticFit *fit = kernel_alloc_array(env, LogisticFit, 1);
	int			size = data->columns + 1;

	memset(fit, 0, sizeof *fit);
	fit->columns = data->columns;
	fit->coefficient = kernel_alloc_array(env, double, size);
	if (start_from)
		memcpy(fit->coefficient, start_from, sizeof(double) * size);
	else
		memset(fit->coefficient, 0, sizeof(double) * size);
	/* without a penalty the way may not end, and only Newton's says so soon */
	if (own)
		work = own;
	if (work->dense && lambda > 0)
		iterate_by_gradients(&problem, work, fit, own ? FINE : ROUGH);
	else
	{
		make_room_for_hessian(env, work);
		iterate(&problem, work, fit, own ? FINE : ROUGH);
	}
	if (standard_errors)
	{
		make_room_for_hessian(env, work);
		fit->standard_error = kernel_alloc_array(env, double, size);
		standard_errors_of(&problem, work, fit);
	}
	if (own)
		learn_logistic_work_free(env, own);
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
