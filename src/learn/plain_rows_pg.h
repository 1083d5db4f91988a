/*
 * plain_rows_pg.h
 *		Rows of a table whose features are all plain numbers, read straight from the stored tuple: the quick
 *		way of predict_batch and of scoring in bulk. Whatever does not fit goes the general way (features_pg.h).
 */
#ifndef SALESOPS_LEARN_PLAIN_ROWS_PG_H
#define SALESOPS_LEARN_PLAIN_ROWS_PG_H

#include "postgres.h"

#include "executor/tuptable.h"

#include "learn/features_pg.h"

typedef struct PlainRows PlainRows;

/* Where the features and the extra column (a key, a label) lie; NULL where a feature is no plain number or has no column. */
extern PlainRows *learn_plain_rows(const FeatureMap *map, int features, TupleDesc desc, int extra_column);

/*
 * One row of a slot that nobody has read yet: its numbers by feature, NaN where missing, as the trees' floats (single) and as they are
 * (full), either of which may be NULL; and the extra column's value, which points into the tuple. False, with nothing changed that
 * counts, where the slot holds no stored tuple, or a number that is not finite or beyond float's reach.
 */
extern bool learn_plain_row(const PlainRows *rows, TupleTableSlot *slot, float *single, double *full, Datum *extra, bool *extra_null);

#endif							/* SALESOPS_LEARN_PLAIN_ROWS_PG_H */
