/*
 * spectrum.h
 *		The characteristic function of a forecast's sum on a grid, averaged over values of the common factor.
 *
 * Only the product of functions: which grid, which values of the factor and the way back to probabilities are
 * distribution.c's matter.
 */
#ifndef SALESOPS_FORECAST_SPECTRUM_H
#define SALESOPS_FORECAST_SPECTRUM_H

#include "core/kernel.h"
#include "forecast/sketch.h"

typedef struct Complex
{
	double		re;
	double		im;
} Complex;

/* One value of the common factor: everything conditional on it */
typedef struct ForecastNode
{
	double		weight;
	double		probability[FORECAST_KEPT];
	double		cumulant[4];	/* of the rest */
	double		rare[2][4];		/* the same of its deals below and from even odds; the latter as what may be lost */
	double		intensity[2][4];	/* power sums 1 to 4 of what those deals may bring or cost, weighed by how likely that is */
	double		mean;
	double		variance;
} ForecastNode;

typedef struct ForecastGrid
{
	int			cells;			/* a power of two */
	double		step;
	double		first;			/* cell 0 is at first * step */
	bool		lattice;
	bool		smooth;			/* no lattice, but the sum has no detail as fine as a cell: roots are taken as they are */
	double		rest_period;	/* lattice: steps between outcomes of the rest */
} ForecastGrid;

/* Product of two complex numbers. */
static inline Complex
complex_multiply(Complex x, Complex y)
{
	return (Complex) {x.re * y.re - x.im * y.im, x.re * y.im + x.im * y.re};
}

/*
 * Average over the nodes of the product of all deals' functions, for frequencies 0 to cells / 2; 'root' holds
 * exp(-2 pi i k / cells). total[] has room for all cells and is zero beyond.
 */
extern void forecast_spectrum(const KernelEnv *env, const ForecastState *state, const ForecastNode *node, int nodes,
							  const ForecastGrid *grid, const Complex *root, Complex *total);

#endif /* SALESOPS_FORECAST_SPECTRUM_H */
