/*
 * features_pg.h
 *		From SQL values to what the learning kernels take: columns of a query into a table of training data, and the columns
 *		of any row, by name, into a model's feature values.
 */
#ifndef SALESOPS_LEARN_FEATURES_PG_H
#define SALESOPS_LEARN_FEATURES_PG_H

#include "postgres.h"

#include "access/tupdesc.h"
#include "datatype/timestamp.h"
#include "executor/tuptable.h"

#include "learn/model.h"
#include "learn/values_pg.h"

/* how a feature's value is read from SQL; kept with the model: do not renumber */
typedef enum FeatureReading
{
	READ_PLAIN = 0,				/* a number as it is, a text as it is, an array's elements */
	READ_DATE = 1,				/* a date or time: days since the newest of the training data */
	READ_WORDS = 2,				/* a text's words */
	READ_FOLDED = 3,			/* a text, or an array's elements, in lower case: the column was citext */
	READ_AGE = 4				/* a date or time: days since the row's own moment, which another column holds */
} FeatureReading;

/* ---- training data ---- */

typedef struct TrainingData
{
	LearnTable	table;			/* columns that may serve as features, rows in an order of their contents */
	int			columns;		/* the query's; after them in the table come texts that serve as words and as wholes, as wholes */
	int		   *words_of;		/* by column of the table beyond those: the same column, as words */
	bool	   *words_recur;	/* by column: it is a set of words, and they come again */
	size_t	   *distinct;		/* by column: texts that differ; 0 for numbers */
	bool	   *may_be_key;		/* by column: an integer or a text */
	uint64		fingerprint;	/* of all rows and labels, whatever their order */
	uint64		unlabelled;		/* rows left out for want of a label */
	uint64		positives;
	List	   *unusable;		/* of UnusableColumn */
} TrainingData;

typedef struct UnusableColumn
{
	char	   *name;
	char	   *reason;
} UnusableColumn;

/*
 * Run the query as the caller and gather its columns; key may be NULL, and so may as_of, the date column that dates are counted from. All
 * that is wrong is one error.
 */
extern TrainingData *learn_read_training(const char *query, const char *label, const char *key, const char *as_of, uint64 seed);

/* ---- rows to predict ---- */

typedef struct FeatureMap FeatureMap;

/*
 * Where a model's features lie in rows of a shape; made once a shape. Columns are found by name; a feature without a column
 * is missing. Error 42703 where no feature has one, 42804 where a column's type cannot be read as the feature.
 */
extern FeatureMap *learn_map_features(const LearnModel *model, const char *model_name, TupleDesc desc);

/* The moment of rows that have no column for it: dates that are read as ages count from there. */
extern void learn_map_as_of(FeatureMap *map, TimestampTz as_of);

/* Feature values of a row. What they point to lives until the next call with the same map. */
extern LearnValue *learn_read_features(FeatureMap *map, const Datum *values, const bool *nulls);

/* The map's model's log odds of a row, the same to the last bit as learn_model_margin of learn_read_features, but quicker. */
extern double learn_columns_margin(FeatureMap *map, LearnModel *model, const NullableDatum *columns);

/*
 * The trees' form of a row whose columns are all plain numbers, at once; false where it must go by learn_read_features
 * and learn_tree_row.
 */
extern bool learn_read_plain_row(const FeatureMap *map, const Datum *values, const bool *nulls, float *row);

/* Column number (from 0) of a feature in the rows, or -1. */
extern int	learn_feature_column(const FeatureMap *map, int feature);

/* Is a feature a number as it is, of the trees' one column? */
extern bool learn_feature_is_plain(const FeatureMap *map, int feature);

/* true or false of a label's value; error where it is neither. */
extern bool learn_read_label(const ValueReader *reader, Datum value);

#endif							/* SALESOPS_LEARN_FEATURES_PG_H */
