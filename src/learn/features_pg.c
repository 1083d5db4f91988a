/*
 * features_pg.c
 *		The columns of any row into a model's feature values, for prediction and explanation (features_pg.h). Training data is
 *		read by training_pg.c.
 */
#include "postgres.h"

#include <ctype.h>
#include <math.h>

#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "core/compat.h"
#include "core/errors.h"
#include "core/row.h"
#include "learn/features_pg.h"
#include "learn/words.h"
#include "learn/values_pg.h"

struct FeatureMap
{
	const LearnModel *model;
	int		   *column;			/* by feature; -1: absent */
	ValueReader *reader;
	StoredNumber *stored;		/* by feature: how a plain number is stored, where nothing has to be asked of it */
	bool		all_stored;		/* so are all of them, none absent */
	bool		has_ages;		/* dates are counted from the row's moment */
	int			as_of_column;	/* which this column holds; -1: absent */
	ValueReader as_of_reader;
	double		as_of;			/* the row's at hand, in days since 2000; NaN: not known */
	LearnValue *value;
	int32_t   **set_room;		/* by feature: as many as it has levels */
};

/* Is the feature a date, counted from whatever? */
static inline bool
is_date(const LearnFeature *feature)
{
	return feature->reading == READ_DATE || feature->reading == READ_AGE;
}

/* May a value of this class be read as the feature? */
static bool
class_fits(const LearnFeature *feature, ValueClass value_class)
{
	if (feature->kind == LEARN_SET)
		return feature->reading == READ_WORDS ? value_class == VALUE_TEXT || value_class == VALUE_PRINTED :
			value_class == VALUE_ARRAY;
	if (value_class == VALUE_NONE || value_class == VALUE_ARRAY)
		return false;
	if (feature->kind == LEARN_CATEGORY || value_class == VALUE_TEXT || value_class == VALUE_PRINTED)
		return true;
	if (is_date(feature))
		return value_class == VALUE_DATE || value_class == VALUE_TIMESTAMP;
	return value_class != VALUE_DATE && value_class != VALUE_TIMESTAMP;
}

/* What the training data had in a feature's column, for messages. */
static const char *
feature_wants(const LearnFeature *feature)
{
	if (feature->kind == LEARN_NUMBER)
		return is_date(feature) ? "dates" : "numbers";
	if (feature->kind == LEARN_SET)
		return feature->reading == READ_WORDS ? "text" : "arrays";
	return "categories";
}

/* Where the rows' moment lies, if any feature counts from it. */
static void
map_as_of(FeatureMap *map, const LearnFeature *feature, TupleDesc desc, Problems *problems)
{
	map->has_ages = true;
	map->as_of = NAN;
	map->as_of_column = row_column(desc, feature->as_of);
	if (map->as_of_column < 0)
		return;
	map->as_of_reader = value_reader(TupleDescAttr(desc, map->as_of_column)->atttypid, feature->as_of);
	if (!class_fits(feature, map->as_of_reader.value_class))
		problems_add(problems, "column \"%s\" is of type %s, but dates are counted from it", feature->as_of,
					 format_type_be(TupleDescAttr(desc, map->as_of_column)->atttypid));
}

/* See features_pg.h. */
void
learn_map_as_of(FeatureMap *map, TimestampTz as_of)
{
	map->as_of = (double) as_of / USECS_PER_DAY;
}

/* See features_pg.h. */
FeatureMap *
learn_map_features(const LearnModel *model, const char *model_name, TupleDesc desc)
{
	int			count = model->features.count;
	FeatureMap *map = palloc0(sizeof(FeatureMap));
	Problems	problems;
	int			found = 0;

	problems_init(&problems);
	map->model = model;
	map->column = palloc(sizeof(int) * (count + 1));
	map->reader = palloc0(sizeof(ValueReader) * (count + 1));
	map->stored = palloc0(sizeof(StoredNumber) * (count + 1));
	map->value = palloc0(sizeof(LearnValue) * (count + 1));
	map->set_room = palloc0(sizeof(int32_t *) * (count + 1));
	for (int f = 0; f < count; f++)
	{
		const LearnFeature *feature = &model->features.feature[f];
		int			column = row_column(desc, feature->name);

		map->column[f] = column;
		if (feature->as_of && !map->has_ages)
			map_as_of(map, feature, desc, &problems);
		if (feature->kind == LEARN_SET)
			map->set_room[f] = palloc(sizeof(int32_t) * (feature->levels + 1));
		if (column < 0)
			continue;
		found++;
		map->reader[f] = value_reader(TupleDescAttr(desc, column)->atttypid, feature->name);
		map->stored[f] = learn_feature_is_plain(map, f) ? stored_number(map->reader[f].type) : STORED_OTHERWISE;
		if (!class_fits(feature, map->reader[f].value_class))
			problems_add(&problems, "column \"%s\" is of type %s, but the model was trained on %s", feature->name,
						 format_type_be(TupleDescAttr(desc, column)->atttypid), feature_wants(feature));
	}
	map->all_stored = true;
	for (int f = 0; f < count; f++)
		map->all_stored = map->all_stored && map->stored[f] != STORED_OTHERWISE;
	problems_raise(&problems, ERRCODE_DATATYPE_MISMATCH, "Train the model anew, or cast the columns to what they were.",
				   "these rows do not fit model \"%s\"", model_name);
	if (found == 0 && count > 0)
	{
		StringInfoData wanted;

		initStringInfo(&wanted);
		for (int f = 0; f < count; f++)
			append_choice(&wanted, model->features.feature[f].name);
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("no column of the row is a feature of model \"%s\"", model_name),
				 errdetail("The model's features are: %s.", wanted.data),
				 errhint("Pass a row whose columns have these names, such as a table's alias or a subquery's; ROW(…) has no names.")));
	}
	return map;
}

/* Put a level into a sorted set, once. */
static void
set_add(int32_t *set, int32_t *count, int32_t level)
{
	int			at = *count;

	for (int i = 0; i < *count; i++)
		if (set[i] == level)
			return;
	for (; at > 0 && set[at - 1] > level; at--)
		set[at] = set[at - 1];
	set[at] = level;
	(*count)++;
}

/* An array's known elements. */
static void
read_array(const LearnFeature *feature, const ValueReader *reader, Datum value, int32_t *room, LearnValue *into)
{
	ArrayType  *array = DatumGetArrayTypeP(value);
	Datum	   *elements;
	bool	   *nulls;
	int			count;

	deconstruct_array(array, reader->element, reader->element_length, reader->element_by_value, reader->element_align,
					  &elements, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		const char *text;
		size_t		length;
		int32_t		level;

		if (nulls[i])
			continue;
		text = level_text(reader, elements[i], feature->reading == READ_FOLDED, &length);
		level = learn_find_level(feature, text, length);
		if (level >= 0)
			set_add(room, &into->set_count, level);
	}
}

/* A text's known words. */
static void
read_words(const LearnFeature *feature, const char *text, size_t length, int32_t *room, LearnValue *into)
{
	char		word[LEARN_WORD_SIZE];
	size_t		at = 0;
	size_t		word_length;

	while ((word_length = learn_next_word(text, length, &at, word)) > 0)
	{
		int32_t		level = learn_find_level(feature, word, word_length);

		if (level >= 0)
			set_add(room, &into->set_count, level);
	}
}

/* A present value of one feature. */
static void
read_value(FeatureMap *map, int f, Datum value)
{
	const LearnFeature *feature = &map->model->features.feature[f];
	const ValueReader *reader = &map->reader[f];
	LearnValue *into = &map->value[f];
	const char *text;
	size_t		length;

	if (feature->kind == LEARN_NUMBER)
	{
		into->number = value_number(reader, value, is_date(feature)) -
			(feature->as_of ? map->as_of : feature->origin);
		return;
	}
	into->level = 0;
	into->set = map->set_room[f];
	into->set_count = 0;
	if (reader->value_class == VALUE_ARRAY)
	{
		read_array(feature, reader, value, map->set_room[f], into);
		return;
	}
	text = level_text(reader, value, feature->reading == READ_FOLDED, &length);
	if (length == 0)
		into->level = LEARN_LEVEL_MISSING;
	else if (feature->kind == LEARN_SET)
		read_words(feature, text, length, map->set_room[f], into);
	else
		into->level = learn_find_level(feature, text, length);
}

/* One feature's value into the map. The most common kinds of column do not go through the general way. */
static inline void
read_feature(FeatureMap *map, int f, Datum value, bool isnull)
{
	double		number;

	if (isnull)
	{
		map->value[f].number = NAN;
		map->value[f].level = LEARN_LEVEL_MISSING;
		map->value[f].set_count = 0;
	}
	else if (map->stored[f] != STORED_OTHERWISE && isfinite(number = stored_value(map->stored[f], value)))
		map->value[f].number = number;
	else
		read_value(map, f, value);
}

/* A row's columns: as arguments of a call lie, or as those of a slot do (columns NULL). */
typedef struct RowColumns
{
	const NullableDatum *columns;
	const Datum *values;
	const bool *nulls;
} RowColumns;

/* One of them; absent ones are NULL. */
static pg_attribute_always_inline NullableDatum
column_at(const RowColumns *row, int column)
{
	if (column < 0)
		return (NullableDatum) {.isnull = true};
	return row->columns ? row->columns[column] : (NullableDatum) {row->values[column], row->nulls[column]};
}

/* The row's moment into the map, where dates are counted from it. */
static pg_attribute_always_inline void
read_as_of(FeatureMap *map, const RowColumns *row)
{
	NullableDatum column;

	if (!map->has_ages || map->as_of_column < 0)
		return;
	column = column_at(row, map->as_of_column);
	map->as_of = column.isnull ? NAN : value_number(&map->as_of_reader, column.value, true);
}

/* All values into the map. */
static pg_attribute_always_inline LearnValue *
read_features(FeatureMap *map, const RowColumns *row)
{
	read_as_of(map, row);
	for (int f = 0; f < map->model->features.count; f++)
	{
		NullableDatum column = column_at(row, map->column[f]);

		read_feature(map, f, column.value, column.isnull);
	}
	return map->value;
}

/* See features_pg.h. */
LearnValue *
learn_read_features(FeatureMap *map, const Datum *values, const bool *nulls)
{
	return read_features(map, &(RowColumns) {NULL, values, nulls});
}

/* The trees' form of a row, at once; see features_pg.h. */
static pg_attribute_always_inline bool
read_plain_row(const FeatureMap *map, const RowColumns *row, float *to)
{
	if (!map->all_stored)
		return false;
	/* numbers have one tree column each, in the order of the features */
	for (int f = 0; f < map->model->features.count; f++)
	{
		NullableDatum column = column_at(row, map->column[f]);
		double		number = column.isnull ? 0 : stored_value(map->stored[f], column.value);

		/* what is beyond float's reach, or no number at all, goes the general way */
		if (!(fabs(number) <= 3e38))
			return false;
		to[f] = column.isnull ? NAN : (float) number;
	}
	return true;
}

/* See features_pg.h. */
bool
learn_read_plain_row(const FeatureMap *map, const Datum *values, const bool *nulls, float *row)
{
	return read_plain_row(map, &(RowColumns) {NULL, values, nulls}, row);
}

/* What one feature adds, straight from its column. */
static inline double
column_adds(FeatureMap *map, int f, NullableDatum column)
{
	const LearnFeature *feature = &map->model->features.feature[f];
	double		number;

	if (column.isnull)
		return feature->missing_weight;
	if (map->stored[f] != STORED_OTHERWISE && isfinite(number = stored_value(map->stored[f], column.value)))
		return learn_number_value(feature, number);
	read_value(map, f, column.value);
	return learn_additive_value(feature, &map->value[f]);
}

/* See features_pg.h. */
double
learn_columns_margin(FeatureMap *map, LearnModel *model, const NullableDatum *columns)
{
	const RowColumns row = {.columns = columns};
	double		margin = model->base;

	if (model->tree_weight == 1 && read_plain_row(map, &row, model->tree_row))
		return learn_model_mix(model, 0, learn_trees_margin_row(model->trees, model->tree_row));
	if (model->tree_weight > 0)
		return learn_model_margin(model, read_features(map, &row));
	read_as_of(map, &row);
	for (int f = 0; f < model->features.count; f++)
		margin += column_adds(map, f, column_at(&row, map->column[f]));
	return learn_model_mix(model, margin, 0);
}

/* See features_pg.h. */
int
learn_feature_column(const FeatureMap *map, int feature)
{
	return map->column[feature];
}

/* See features_pg.h. */
bool
learn_feature_is_plain(const FeatureMap *map, int feature)
{
	const LearnFeature *of = &map->model->features.feature[feature];

	return of->kind == LEARN_NUMBER && of->reading == READ_PLAIN && of->origin == 0;
}

/* Yes, no, and their like. */
static bool
label_of_text(const char *text, size_t length, bool *label)
{
	static const char *const yes[] = {"yes", "y", "true", "t", "1", "won", "converted"};
	static const char *const no[] = {"no", "n", "false", "f", "0", "lost", "not converted"};

	for (int i = 0; i < (int) lengthof(yes); i++)
	{
		*label = strlen(yes[i]) == length && pg_strncasecmp(text, yes[i], length) == 0;
		if (*label || (strlen(no[i]) == length && pg_strncasecmp(text, no[i], length) == 0))
			return true;
	}
	return false;
}

/* See features_pg.h. */
bool
learn_read_label(const ValueReader *reader, Datum value)
{
	bool		label;
	double		number;

	if (reader->value_class == VALUE_BOOLEAN)
		return DatumGetBool(value);
	if (reader->value_class == VALUE_INTEGER || reader->value_class == VALUE_FLOAT || reader->value_class == VALUE_NUMERIC)
	{
		number = value_number(reader, value, false);
		if (number == 0 || number == 1)
			return number == 1;
	}
	else if (reader->value_class == VALUE_TEXT || reader->value_class == VALUE_PRINTED)
	{
		size_t		length;
		const char *text = value_text(reader, value, &length);

		if (label_of_text(text, length, &label))
			return label;
	}
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("label column \"%s\" is not a yes or no", reader->name),
			 errdetail("It must be boolean, 0 or 1, or a text such as yes and no; it is of type %s.", format_type_be(reader->type)),
			 errhint("Give an expression in the query, such as (status = 'converted') AS label.")));
	return false;
}
