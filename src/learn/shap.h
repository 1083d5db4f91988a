/*
 * shap.h
 *		What each feature adds to one row's margin: the path-dependent SHAP values of trees (Lundberg et al. 2018), the
 *		numbers that libxgboost gives as pred_contribs.
 *
 * learn_shap_prepare once an ensemble (a few milliseconds, about 80 bytes a node), then learn_shap_row for each row.
 */
#ifndef SALESOPS_LEARN_SHAP_H
#define SALESOPS_LEARN_SHAP_H

#include "learn/trees.h"

typedef struct ShapTable ShapTable;

/* The table refers to the ensemble, which must live as long; allocated in the ensemble's env. */
extern ShapTable *learn_shap_prepare(const TreeEnsemble *ensemble);
extern void learn_shap_free(ShapTable *table);

/* The expectation of the margin over the training rows (by cover): the bias that contributions start from. */
extern double learn_shap_bias(const ShapTable *table);

/*
 * contributions[0 .. features - 1] in log odds, contributions[features] the bias (learn_shap_bias). Added up in double from
 * the first to the last they equal (double) learn_trees_margin_row() within 1e-12: the rounding of the float
 * work (some 1e-6) is put to the largest contribution, or the bias where there is none.
 */
extern void learn_shap_row(ShapTable *table, const float *features, double *contributions);

#endif							/* SALESOPS_LEARN_SHAP_H */
