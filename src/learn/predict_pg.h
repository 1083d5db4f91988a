/*
 * predict_pg.h
 *		Predictions for the rows of a query, a block at a time: shared by predict_batch, evaluate_model and lead scoring.
 */
#ifndef SALESOPS_LEARN_PREDICT_PG_H
#define SALESOPS_LEARN_PREDICT_PG_H

#include "postgres.h"

#include "executor/tuptable.h"

#include "learn/features_pg.h"
#include "learn/model_pg.h"

/* Called with each row of a block after its log odds are known; `extra` is the value of the query's extra column. */
typedef void (*PredictCallback) (Datum extra, bool isnull, double margin, void *arg);

/*
 * Run a query as the caller and predict its rows by blocks. The extra column (a key, a label) is handed to the callback; its
 * values live until the callback returns. Error 42703 where the query has no such column.
 */
extern uint64 learn_predict_query(LoadedModel *loaded, const char *query, const char *extra_column,
								  PredictCallback callback, void *arg, ValueReader *extra_reader);

#endif							/* SALESOPS_LEARN_PREDICT_PG_H */
