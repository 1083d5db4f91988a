/*
 * xgboost_pg.h
 *		Training boosted trees by libxgboost, from the server's side: loads salesops_xgboost.so when first asked, trains
 *		round by round so that a query can be cancelled and is seen to move, and brings back an ensemble of our own.
 *
 * Features are decided by the caller: a row-major float matrix, NaN where missing; infinities are refused. The result
 * depends on the data, the parameters and the seed only. One thread.
 */
#ifndef SALESOPS_LEARN_XGBOOST_PG_H
#define SALESOPS_LEARN_XGBOOST_PG_H

#include "postgres.h"

#include "learn/trees.h"

typedef struct XgboostParams
{
	int			rounds;			/* at most: trees */
	int			depth;			/* 1 .. 12 */
	int			patience;		/* rounds without a better validation log loss before it stops; 0 never stops early */
	double		eta;
	double		min_child_weight;
	double		subsample;
	double		colsample;		/* of the columns, once a tree */
	double		lambda;
	double		scale_pos_weight;	/* the positive rows' weight; 1 keeps probabilities calibrated */
	double		base_score;		/* the probability that trees start from; 0: the weighted share of positive labels */
	int			max_bin;		/* 2 .. 255 */
	int			seed;			/* >= 0 */
} XgboostParams;

/* rows x features floats and a label of 0 or 1 a row; weights may be NULL (all 1). Not kept after the call. */
typedef struct XgboostData
{
	const float *matrix;
	const float *labels;
	const float *weights;
	size_t		rows;
	int			features;
	/* cross-validation alone: called before a fold is looked at, to make the matrix what that fold may see; may be NULL */
	void		(*for_fold) (void *context, int fold);
	void	   *for_fold_context;
} XgboostData;

typedef struct XgboostFit
{
	TreeEnsemble *ensemble;		/* trees up to the best round */
	int			rounds;			/* trees kept: the best round's number, from 1 */
	int			rounds_run;
	double	   *validation_loss;	/* mean log loss after each round run; NULL without validation */
} XgboostFit;

typedef struct XgboostCv
{
	int			rounds;			/* the minimum of the pooled curve, from 1 */
	int			rounds_run;
	double	   *pooled_loss;	/* mean log loss over all rows, each from the fold it was held out of, after each round */
	float	   *margins;		/* a row's log odds at the best round by the trees that did not see it */
} XgboostCv;

/* eta .1, min_child_weight 5, subsample and colsample .8, lambda 1, max_bin 255, depth 5, 300 rounds, patience 30 */
extern void learn_xgboost_defaults(XgboostParams *params);

/* Can libxgboost be loaded here? Loads it if so; no error if not. */
extern bool learn_xgboost_available(void);

/* The loaded library's version, such as "1.7.4"; error where it cannot be loaded. */
extern const char *learn_xgboost_version(void);

/*
 * Train; the result lives in the current memory context. With validation data the rounds stop by patience and the trees
 * up to the least validation loss are kept; without, all rounds run. ERROR with a hint where the library is absent
 * (ERRCODE_FEATURE_NOT_SUPPORTED), where data or parameters do not fit (ERRCODE_INVALID_PARAMETER_VALUE), or where the library fails.
 */
extern XgboostFit *learn_xgboost_train(const XgboostParams *params, const XgboostData *train,
									   const XgboostData *validation);

/*
 * Cross-validate: fold[r] in 0 .. folds - 1. The folds' boosters run in step, a round each, until the pooled loss has not
 * improved for `patience` rounds. Memory: the matrix about (2 + folds) times over, with for_fold (1 + 2 * folds) times.
 */
extern XgboostCv *learn_xgboost_cross_validate(const XgboostParams *params, const XgboostData *data, const int *fold,
											   int folds);

#endif							/* SALESOPS_LEARN_XGBOOST_PG_H */
