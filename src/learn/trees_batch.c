/*
 * trees_batch.c
 *		Margins of many rows at a time.
 */
#include <string.h>

#include "learn/trees.h"
#include "learn/trees_build.h"

/* Give back what the batch kernel keeps. */
void
learn_tree_batch_free(TreeEnsemble *ensemble)
{
	ensemble->batch = NULL;
}

/* The log odds of many rows. */
void
learn_trees_margin_batch(TreeEnsemble *ensemble, const float *matrix, size_t rows, size_t stride, float *margins)
{
	learn_trees_margin_batch_plain(ensemble, matrix, rows, stride, margins);
}
