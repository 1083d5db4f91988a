/*
 * recipe_pg.h
 *		The training recipe: which models, tuned how, mixed how, and how good they are on rows they did not see. It works on
 *		columns that are already chosen; reading, choosing and storing are train_pg.c's.
 */
#ifndef SALESOPS_LEARN_RECIPE_PG_H
#define SALESOPS_LEARN_RECIPE_PG_H

#include "postgres.h"

#include "nodes/pg_list.h"

#include "learn/calibrate.h"
#include "learn/metrics.h"
#include "learn/model.h"
#include "learn/scorecard.h"

typedef enum TrainMethod
{
	METHOD_AUTO,
	METHOD_LOGISTIC,
	METHOD_TREES,
	METHOD_SCORECARD
} TrainMethod;

typedef enum Validation
{
	VALIDATE_AUTO,
	VALIDATE_FOLDS,
	VALIDATE_TIME,
	VALIDATE_HOLDOUT,
	VALIDATE_NONE
} Validation;

typedef enum Calibration
{
	CALIBRATE_AUTO,
	CALIBRATE_NONE,
	CALIBRATE_PLATT
} Calibration;

typedef struct TrainOptions
{
	int			seed;
	int			folds;
	int			tuning_rows;	/* rows that tuning looks at, at most */
	int			min_level_rows;
	int			validation;		/* Validation */
	int			calibration;	/* Calibration */
	bool		fast;
	bool		force;
	bool		linear_numbers;
	char	   *as_of;			/* column that dates are counted from, or NULL */
	double		lambda;			/* < 0: by cross-validation */
	int			rounds;			/* 0: by cross-validation */
	int			depth;			/* 0: by cross-validation */
	double		eta;
	double		min_child_weight;	/* < 0: by cross-validation */
	double		subsample;
	double		colsample;
	int			max_bin;
	int			patience;
	List	   *include;
	List	   *exclude;
	double		base_points;
	double		base_odds;
	double		points_to_double;
} TrainOptions;

typedef struct Recipe
{
	/* given */
	const TrainOptions *options;
	TrainMethod method;
	LearnTable	table;			/* the columns that serve, rows in random order */
	size_t		rarer;			/* rows of the rarer class */
	const double *order;		/* a drifting order, or NULL: validation is by it */
	const char *order_name;
	/* found */
	LearnModel *model;
	bool		logistic;
	bool		trees;
	double		lambda;
	int			depth;
	int			rounds;
	double		min_child_weight;
	PlattMap	platt;
	LearnMetrics metrics;
	char	   *validation;		/* NULL: none */
	double	   *margin;			/* held-out log odds, and their labels */
	uint8	   *margin_label;
	size_t		margin_rows;
	double	   *fitted;			/* the finished model's probabilities of (some of) the training rows, upwards */
	size_t		fitted_rows;
	double		gain;			/* held-out log loss won over the base rate, a row, and its standard error */
	double		gain_error;
	Scorecard  *card;			/* for method scorecard */
	LogisticFit *fit;			/* with standard errors, for method logistic */
	List	   *notes;			/* of char * */
} Recipe;

/* Train by the recipe; everything is allocated in the current memory context. */
extern void learn_recipe_run(Recipe *recipe);

#endif							/* SALESOPS_LEARN_RECIPE_PG_H */
