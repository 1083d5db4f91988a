/*
 * scorecard.h
 *		Scorecards: every feature cut into a few values, each replaced by its weight of evidence (Good 1950: the log of its odds
 *		over the overall odds), and logistic regression over these: the form that credit and sales teams read as points.
 */
#ifndef SALESOPS_LEARN_SCORECARD_H
#define SALESOPS_LEARN_SCORECARD_H

#include "learn/model.h"

typedef struct Scorecard
{
	int			features;
	int			folds;
	int		   *values;			/* by feature: how many values it is cut into, the missing one last */
	double	  **rows;			/* [feature][value * folds + fold] */
	double	  **positives;
	double	   *coefficient;	/* of the last fit: features + 1, the intercept last */
} Scorecard;

/* Count rows and positives by value and fold. Sets have one value: they say nothing on a card. */
extern Scorecard *learn_scorecard_count(const KernelEnv *env, const LearnFeatures *features, const LearnTable *table,
										const int *fold, int folds);

/* Weight of evidence of a feature's value without one fold (-1: of all), half a row added to each class. */
extern double learn_scorecard_woe(const Scorecard *card, int feature, int value, int without);

/* Fit on the rows outside a fold (-1: all); margins of that fold's rows are put into margin (may be NULL for -1). */
extern void learn_scorecard_fit(const KernelEnv *env, Scorecard *card, const LearnFeatures *features, const LearnTable *table,
								const int *fold, int without, double lambda, double *margin);

/* The last fit (of all rows) as a model's additive part. */
extern void learn_scorecard_fold(const KernelEnv *env, const Scorecard *card, LearnModel *model);

/* What a value of a feature is, such as "from 10 below 20", into text of the given size. */
extern void learn_scorecard_term(const LearnFeature *feature, int value, char *text, size_t size);

#endif							/* SALESOPS_LEARN_SCORECARD_H */
