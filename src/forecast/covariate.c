/*
 * covariate.c
 *		The design of covariate.h and its fit by learn/logistic.h.
 */
#include "forecast/covariate.h"

#include <math.h>
#include <string.h>

#include "learn/logistic.h"

#define RIDGE			3.0
#define ROWS_MAX		12000	/* of all snapshots together; of more, a part */
#define LEVELS_MAX		200		/* a dimension with more is left to the ratios */
#define WINS_MIN		40.0	/* weighed, below which nothing is learned */
#define DAYS_KNOWN		1024	/* whose logarithms are kept */
#define STAGE			2		/* the dimension that is the stage */
#define ENTRIES			(RATIO_DIMENSIONS + COVARIATE_TERMS)	/* of a row, at most */

/* The waiting time's terms: its logarithm, and what of it is beyond three weeks. */
double
covariate_waiting(int days, int term)
{
	static double known[DAYS_KNOWN];	/* a deal's waiting time is asked for at each of its own past forecasts */
	double		time;

	if (known[21] == 0.0)
		for (int d = 0; d < DAYS_KNOWN; d++)
			known[d] = log1p(d);
	time = days < DAYS_KNOWN ? known[days > 0 ? days : 0] : log1p(days);
	return term == 0 ? time - 2.5 : fmax(time - known[21], 0.0);
}

/* Logit of a chance, kept off its ends. */
static double
logit(double p)
{
	p = fmin(fmax(p, 1e-6), 1.0 - 1e-6);
	return log(p / (1.0 - p));
}

/* A row's columns and values; how many there are. */
static int
fill_row(const CovariateTable *table, const uint16_t *level, int waiting, uint16_t *column, double *value)
{
	int			count = 0;

	for (int d = 0; d < RATIO_DIMENSIONS; d++)
	{
		if (level[d] >= table->levels[d])
			continue;
		column[count] = (uint16_t) (table->first[d] + level[d]);
		value[count++] = 1.0;
	}
	for (int term = 0; term < COVARIATE_TERMS && level[STAGE] < table->levels[STAGE]; term++)
	{
		column[count] = (uint16_t) (table->waiting + COVARIATE_TERMS * level[STAGE] + term);
		value[count++] = covariate_waiting(waiting, term);
	}
	return count;
}

/* Where each dimension's columns lie. */
static void
lay_out(const int *levels, CovariateTable *table)
{
	table->columns = 0;
	for (int d = 0; d < RATIO_DIMENSIONS; d++)
	{
		table->levels[d] = levels[d] > 1 && levels[d] <= LEVELS_MAX ? levels[d] : 0;
		table->first[d] = table->columns;
		table->columns += table->levels[d];
	}
	table->waiting = table->columns;
	table->columns += COVARIATE_TERMS * table->levels[STAGE];
}

/* Rows in learn's form */
typedef struct Design
{
	LogisticData data;
	size_t	   *start;
	uint16_t   *column;
	double	   *value;
	uint8_t    *label;
	double	   *weight;
	double	   *offset;
	double		wins;			/* weighed */
} Design;

/* Room for so many rows. */
static void
begin_design(const KernelEnv *env, int columns, size_t rows, Design *d)
{
	d->start = kernel_alloc_array(env, size_t, rows + 1);
	d->column = kernel_alloc_array(env, uint16_t, rows * ENTRIES);
	d->value = kernel_alloc_array(env, double, rows * ENTRIES);
	d->label = kernel_alloc_array(env, uint8_t, rows);
	d->weight = kernel_alloc_array(env, double, rows);
	d->offset = kernel_alloc_array(env, double, rows);
	d->data = (LogisticData) {.columns = columns, .start = d->start, .column = d->column, .value = d->value, .label = d->label,
	.weight = d->weight, .offset = d->offset};
	d->start[0] = 0;
	d->wins = 0.0;
}

/* Give it back. */
static void
end_design(const KernelEnv *env, Design *d)
{
	kernel_release(env, d->start);
	kernel_release(env, d->column);
	kernel_release(env, d->value);
	kernel_release(env, d->label);
	kernel_release(env, d->weight);
	kernel_release(env, d->offset);
}

/* Rows of a snapshot: each stride-th of all that were seen. */
static void
fill_rows(const CovariateTable *table, const RatioSnapshot *snapshot, double weight, size_t stride, size_t *seen, Design *d)
{
	for (int i = 0; i < snapshot->count; i++)
	{
		size_t		row = d->data.rows;
		size_t		at = d->start[row];

		if ((*seen)++ % stride != 0 || snapshot->expected[i] <= 0.0f)
			continue;
		at += (size_t) fill_row(table, &snapshot->level[i * RATIO_DIMENSIONS], snapshot->waiting[i], d->column + at, d->value + at);
		d->label[row] = snapshot->won[i];
		d->weight[row] = weight;
		d->offset[row] = logit(snapshot->expected[i]);
		d->wins += snapshot->won[i] * weight;
		d->start[row + 1] = at;
		d->data.rows++;
	}
}

/* Move the intercept until as many wins are expected in all as age and calendar alone let expect. */
static void
keep_level(const Design *d, double *coefficient)
{
	for (int step = 0; step < 20; step++)
	{
		double		excess = 0.0;
		double		slope = 1e-12;

		for (size_t row = 0; row < d->data.rows; row++)
		{
			double		p = 1.0 / (1.0 + exp(-learn_logistic_margin(&d->data, row, coefficient)));

			excess += d->weight[row] * (p - 1.0 / (1.0 + exp(-d->offset[row])));
			slope += d->weight[row] * p * (1.0 - p);
		}
		coefficient[d->data.columns] -= fmin(fmax(excess / slope, -2.0), 2.0);
		if (fabs(excess) < 1e-6 * (d->wins + 1.0))
			break;
	}
}

/*
 * Learn from snapshots, weighed; arguments as of ratio_fit(). 'start' is an earlier fit to begin with, or NULL. Without enough wins the
 * table has no coefficients and changes nothing.
 */
void
covariate_fit(const KernelEnv *env, RatioSnapshot *const *snapshot, const double *weight, int snapshots, double overlap, const int *levels,
			  const CovariateTable *start, CovariateTable *table)
{
	size_t		rows = 0;
	size_t		seen = 0;
	size_t		stride;
	Design		design;

	table->made = true;
	table->coefficient = NULL;
	lay_out(levels, table);
	for (int s = 0; s < snapshots; s++)
		rows += (size_t) snapshot[s]->count;
	stride = rows / ROWS_MAX + 1;
	begin_design(env, table->columns, rows / stride + 1, &design);
	for (int s = 0; s < snapshots; s++)
		fill_rows(table, snapshot[s], weight[s] * (double) stride / overlap, stride, &seen, &design);
	if (design.wins >= WINS_MIN && table->columns > 0)
	{
		bool		alike = start != NULL && start->coefficient != NULL && start->columns == table->columns;
		size_t		size = sizeof(double) * (size_t) (table->columns + 1);
		LogisticFit *fit = learn_logistic_fit(env, &design.data, RIDGE, NULL, -1, alike ? start->coefficient : NULL, false, NULL);

		table->coefficient = kernel_alloc_array(env, double, table->columns + 1);
		memcpy(table->coefficient, fit->coefficient, size);
		learn_logistic_free(env, fit);
		keep_level(&design, table->coefficient);
	}
	end_design(env, &design);
}

/* What a level of a dimension adds to the log odds; dimension -1: what every deal is given. */
double
covariate_level_effect(const CovariateTable *table, int dimension, int level)
{
	if (table->coefficient == NULL)
		return 0.0;
	if (dimension < 0)
		return table->coefficient[table->columns];
	return level < table->levels[dimension] ? table->coefficient[table->first[dimension] + level] : 0.0;
}

/* What a unit of a term of the waiting time adds in a stage. */
double
covariate_waiting_effect(const CovariateTable *table, int stage, int term)
{
	if (table->coefficient == NULL || stage >= table->levels[STAGE])
		return 0.0;
	return table->coefficient[table->waiting + COVARIATE_TERMS * stage + term];
}

/* What a deal's levels and its waiting time add to its log odds. */
double
covariate_effect(const CovariateTable *table, const uint16_t *level, int waiting)
{
	uint16_t	column[ENTRIES];
	double		value[ENTRIES];
	double		effect;
	int			count;

	if (table->coefficient == NULL)
		return 0.0;
	count = fill_row(table, level, waiting, column, value);
	effect = table->coefficient[table->columns];
	for (int k = 0; k < count; k++)
		effect += table->coefficient[column[k]] * value[k];
	return effect;
}

/* A chance given what is added to its log odds. */
double
covariate_chance(double base, double effect)
{
	return 1.0 / (1.0 + exp(-(logit(base) + effect)));
}
