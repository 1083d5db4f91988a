/*
 * model.h
 *		A trained model as a value: features, what each adds to the log odds (the additive part), the trees, and how the two
 *		are mixed. Evaluating it, explaining it, and turning it into bytes and back.
 *
 * log odds = slope * (tree_weight * trees + (1 - tree_weight) * (base + sum of the features' additions)) + offset
 */
#ifndef SALESOPS_LEARN_MODEL_H
#define SALESOPS_LEARN_MODEL_H

#include "learn/encode.h"
#include "learn/shap.h"
#include "learn/trees.h"

typedef struct LearnModel
{
	LearnFeatures features;
	double		base;			/* intercept of the additive part */
	double		tree_weight;	/* 0: no trees; 1: trees only */
	double		slope;
	double		offset;
	TreeEnsemble *trees;
	ShapTable  *shap;			/* made when first asked to explain */
	float	   *tree_row;		/* working memory, tree_columns wide */
	double	   *tree_contribution;	/* likewise, one more */
} LearnModel;

/* Turn fitted coefficients into the features' additions; target encodings come from the design. Sets means to 0. */
extern void learn_additive_from_fit(const KernelEnv *env, LearnModel *model, const LearnDesign *design,
									const double *coefficient);

/* Average each feature's addition over the table, for centring. */
extern void learn_additive_means(const KernelEnv *env, LearnModel *model, const LearnTable *table);

/* Room for a number's pieces; their edges are infinite until they are set. */
extern void learn_pieces(const KernelEnv *env, LearnFeature *feature, int pieces);

/*
 * What a finite number adds: its piece is the number of edges at or below it, found by halving without branches, which would be
 * mispredicted.
 */
static inline double
learn_number_value(const LearnFeature *feature, double number)
{
	int			piece = 0;

	for (int half = feature->piece_half; half > 0; half >>= 1)
		piece += half & -(number >= feature->piece_edge[piece + half - 1]);
	return feature->piece_line[piece].intercept + feature->piece_line[piece].slope * number;
}

/* What one feature adds. */
extern double learn_additive_value(const LearnFeature *feature, const LearnValue *value);

/* The additive part's log odds. */
extern double learn_additive_margin(const LearnModel *model, const LearnValue *value);

/* The same of a model whose features are all numbers: one each, NaN where missing. */
extern double learn_additive_numbers(const LearnModel *model, const double *number);

/* The model's log odds from its two parts (either may be 0 where its weight is). */
extern double learn_model_mix(const LearnModel *model, double additive, double trees);

/* The model's log odds of one row. */
extern double learn_model_margin(LearnModel *model, const LearnValue *value);

/*
 * A text column may serve twice, as a set of words and, later in the list, as a category: the place of the words of a feature that is
 * such a whole; -1 where it is none.
 */
extern int	learn_words_of(const LearnFeatures *features, int whole);

/*
 * contribution[f] in log odds against the average row, contribution[count] the average: they add up to the log odds. What a column
 * adds as words and as a whole is one contribution, at the words.
 */
extern void learn_model_explain(const KernelEnv *env, LearnModel *model, const LearnValue *value, double *contribution);

/* The model as bytes, the same on every machine. */
extern void *learn_model_serialize(const KernelEnv *env, const LearnModel *model, size_t *size);

/* The reverse; NULL and *problem (a static text) where the bytes are damaged. */
extern LearnModel *learn_model_deserialize(const KernelEnv *env, const void *bytes, size_t size, const char **problem);

#endif							/* SALESOPS_LEARN_MODEL_H */
