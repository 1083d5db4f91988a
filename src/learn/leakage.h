/*
 * leakage.h
 *		Columns that know the answer: what was filled in because of the outcome, or after it. Three degrees: left out, a
 *		question to the user, a note. Measured on thresholds that named every leaking column of a lead data set known for
 *		them and none of two clean ones (doc/learn.md).
 */
#ifndef SALESOPS_LEARN_LEAKAGE_H
#define SALESOPS_LEARN_LEAKAGE_H

#include "learn/encode.h"

typedef enum LeakDegree
{
	LEAK_NONE,
	LEAK_NOTE,
	LEAK_QUESTION,
	LEAK_LEFT_OUT
} LeakDegree;

#define LEAK_REASON_SIZE 240

typedef struct LeakFinding
{
	LeakDegree	degree;
	double		information;	/* share of the label's entropy that the column alone explains, cross-validated */
	char		reason[LEAK_REASON_SIZE];	/* the strongest finding, in words */
} LeakFinding;

/* One finding a column; fold[r] in 0 .. folds - 1. */
extern LeakFinding *learn_leakage(const KernelEnv *env, const LearnTable *table, const int *fold, int folds);

/* How much the label's rate moves along an order: five groups of rows by the number, and a chi-square test of them. */
typedef struct LearnDrift
{
	double		first_rate;
	double		last_rate;
	double		least_rate;
	double		most_rate;
	double		chi_square;		/* four degrees of freedom */
	bool		drifts;			/* beyond chance and by a fifth of the base rate at least */
} LearnDrift;

extern LearnDrift learn_drift(const KernelEnv *env, const double *order, const uint8_t *label, size_t rows);

#endif							/* SALESOPS_LEARN_LEAKAGE_H */
