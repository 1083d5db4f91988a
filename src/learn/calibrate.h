/*
 * calibrate.h
 *		Choosing how much of two models to take, and whether log odds need straightening: both from margins of rows that the
 *		models have not seen. All maps are affine in the log odds, so that contributions still add up.
 */
#ifndef SALESOPS_LEARN_CALIBRATE_H
#define SALESOPS_LEARN_CALIBRATE_H

#include "core/kernel.h"

/* log odds -> slope * log odds + offset */
typedef struct PlattMap
{
	double		slope;
	double		offset;
	double		gain;			/* log likelihood won over leaving the margins alone */
} PlattMap;

/* Platt (1999) by Newton's method, with his targets. Margins must be out of fold. */
extern PlattMap learn_platt(const double *margin, const uint8_t *label, size_t rows);

/* The weight of `first` in steps of .1 with the least log loss of weight * first + (1 - weight) * second. */
extern double learn_blend_weight(const double *first, const double *second, const uint8_t *label, size_t rows);

#endif							/* SALESOPS_LEARN_CALIBRATE_H */
