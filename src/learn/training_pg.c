/*
 * training_pg.c
 *		Training data: runs the user's query, gathers its columns, decides what each column is (a number, a date, a category, a
 *		set of words), and puts the rows into an order that depends on their contents only, so that the same data gives the
 *		same model whatever order the server reads it in.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "core/compat.h"
#include "core/errors.h"
#include "core/progress.h"
#include "core/relation.h"
#include "core/row.h"
#include "core/spi.h"
#include "learn/features_pg.h"
#include "learn/words.h"

/* distinct texts of a column, in the order they came */
typedef struct TextPool
{
	int			count;
	int			room;
	char	  **text;
	uint32	   *slot;			/* index + 1 */
	uint32		mask;
} TextPool;

/* one column while rows come in; arrays grow together with the rows */
typedef struct ColumnBuilder
{
	ValueReader reader;
	int			column;			/* in the query */
	TextPool	pool;
	double	   *number;			/* numbers, dates */
	int32	   *code;			/* texts: -1 missing; sets: -1 missing, else 0 */
	size_t	   *set_start;
	int32	   *set_code;
	size_t		set_used;
	size_t		set_room;
} ColumnBuilder;

typedef struct TrainingReader
{
	int			columns;
	ColumnBuilder *builder;
	ValueReader label_reader;
	int			label_column;
	uint8	   *label;
	int			key_column;		/* -1: none */
	Oid			key_output;
	uint64	   *key_hash;		/* tells rows of the same contents apart, so that chance deals them to folds */
	size_t		rows;
	size_t		room;
	uint64		unlabelled;
	MemoryContext keep;			/* what stays */
	MemoryContext scratch;		/* a row's */
} TrainingReader;

/* Is the value kept as a number? */
static bool
is_number(ValueClass value_class)
{
	return value_class == VALUE_INTEGER || value_class == VALUE_FLOAT || value_class == VALUE_NUMERIC ||
		value_class == VALUE_DATE || value_class == VALUE_TIMESTAMP || value_class == VALUE_INTERVAL ||
		value_class == VALUE_TIME || value_class == VALUE_MONEY;
}

/* Double the pool's hash. */
static void
pool_rehash(TextPool *pool)
{
	uint32		size = pool->slot ? (pool->mask + 1) * 2 : 64;

	if (pool->slot)
		pfree(pool->slot);
	pool->slot = MemoryContextAllocExtended(CurrentMemoryContext, sizeof(uint32) * size, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	pool->mask = size - 1;
	for (int i = 0; i < pool->count; i++)
	{
		uint32		at = hash_bytes((unsigned char *) pool->text[i], strlen(pool->text[i])) & pool->mask;

		while (pool->slot[at] != 0)
			at = (at + 1) & pool->mask;
		pool->slot[at] = i + 1;
	}
}

/* The code of a text, new or not. Memory comes from the current context. */
static int32
pool_code(TextPool *pool, const char *text, size_t length)
{
	uint32		at;

	if (pool->slot == NULL || (uint32) pool->count * 2 >= pool->mask)
		pool_rehash(pool);
	at = hash_bytes((const unsigned char *) text, length) & pool->mask;
	for (; pool->slot[at] != 0; at = (at + 1) & pool->mask)
	{
		const char *known = pool->text[pool->slot[at] - 1];

		if (strncmp(known, text, length) == 0 && known[length] == '\0')
			return pool->slot[at] - 1;
	}
	if (pool->count == pool->room)
	{
		pool->room = Max(16, pool->room * 2);
		pool->text = pool->text ? repalloc_huge(pool->text, sizeof(char *) * pool->room) :
			palloc(sizeof(char *) * pool->room);
	}
	pool->text[pool->count++] = pnstrdup(text, length);
	pool->slot[at] = pool->count;
	return pool->count - 1;
}

/* An array that grows with the rows. */
static void *
grown(void *array, size_t size)
{
	return array ? repalloc_huge(array, size) : MemoryContextAllocHuge(CurrentMemoryContext, size);
}

/* Room for twice the rows. */
static void
grow_rows(TrainingReader *reader)
{
	reader->room = Max(1024, reader->room * 2);
	reader->label = grown(reader->label, reader->room);
	reader->key_hash = grown(reader->key_hash, sizeof(uint64) * reader->room);
	for (int c = 0; c < reader->columns; c++)
	{
		ColumnBuilder *builder = &reader->builder[c];

		if (is_number(builder->reader.value_class))
			builder->number = grown(builder->number, sizeof(double) * reader->room);
		else
			builder->code = grown(builder->code, sizeof(int32) * reader->room);
		if (builder->reader.value_class == VALUE_ARRAY)
			builder->set_start = grown(builder->set_start, sizeof(size_t) * (reader->room + 1));
	}
}

/* Append a member to a column's sets. */
static void
append_member(ColumnBuilder *builder, int32 code, size_t from)
{
	for (size_t at = from; at < builder->set_used; at++)
		if (builder->set_code[at] == code)
			return;
	if (builder->set_used == builder->set_room)
	{
		builder->set_room = Max(1024, builder->set_room * 2);
		builder->set_code = grown(builder->set_code, sizeof(int32) * builder->set_room);
	}
	builder->set_code[builder->set_used++] = code;
}

/* An array's elements; deconstructed in the scratch context, kept in the current one. */
static void
gather_array(TrainingReader *reader, ColumnBuilder *builder, Datum value)
{
	MemoryContext keep = MemoryContextSwitchTo(reader->scratch);
	size_t		from = builder->set_used;
	Datum	   *elements;
	bool	   *nulls;
	int			count;

	deconstruct_array(DatumGetArrayTypeP(value), builder->reader.element, builder->reader.element_length,
					  builder->reader.element_by_value, builder->reader.element_align, &elements, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		const char *text;
		size_t		length;

		if (nulls[i])
			continue;
		text = level_text(&builder->reader, elements[i], builder->reader.folded, &length);
		MemoryContextSwitchTo(keep);
		append_member(builder, pool_code(&builder->pool, text, length), from);
		MemoryContextSwitchTo(reader->scratch);
	}
	MemoryContextSwitchTo(keep);
}

/* One value into its column. */
static void
gather_value(TrainingReader *reader, ColumnBuilder *builder, Datum value, bool isnull)
{
	size_t		row = reader->rows;

	if (is_number(builder->reader.value_class))
		builder->number[row] = isnull ? NAN : value_number(&builder->reader, value, false);
	else if (builder->reader.value_class == VALUE_ARRAY)
	{
		builder->set_start[row] = builder->set_used;
		builder->code[row] = isnull ? -1 : 0;
		if (!isnull)
			gather_array(reader, builder, value);
		builder->set_start[row + 1] = builder->set_used;
	}
	else
	{
		MemoryContext keep = MemoryContextSwitchTo(reader->scratch);
		size_t		length = 0;
		const char *text = isnull ? "" : level_text(&builder->reader, value, builder->reader.folded, &length);

		MemoryContextSwitchTo(keep);
		builder->code[row] = length == 0 ? -1 : pool_code(&builder->pool, text, length);
	}
}

/* Hash of the row's key; 0 without one. */
static uint64
hash_key(const TrainingReader *reader, const TupleTableSlot *slot)
{
	MemoryContext keep;
	char	   *text;
	uint64		hash;

	if (reader->key_column < 0 || slot->tts_isnull[reader->key_column])
		return 0;
	keep = MemoryContextSwitchTo(reader->scratch);
	text = OidOutputFunctionCall(reader->key_output, slot->tts_values[reader->key_column]);
	hash = hash_bytes_extended((const unsigned char *) text, (int) strlen(text), 2);
	MemoryContextSwitchTo(keep);
	return hash;
}

/* A row of the query. */
static void
gather_row(TupleTableSlot *slot, void *arg)
{
	TrainingReader *reader = arg;
	MemoryContext old;

	if (slot->tts_isnull[reader->label_column])
	{
		reader->unlabelled++;
		return;
	}
	old = MemoryContextSwitchTo(reader->keep);
	if (reader->rows == reader->room)
		grow_rows(reader);
	reader->key_hash[reader->rows] = hash_key(reader, slot);
	reader->label[reader->rows] = learn_read_label(&reader->label_reader, slot->tts_values[reader->label_column]);
	for (int c = 0; c < reader->columns; c++)
	{
		int			column = reader->builder[c].column;

		gather_value(reader, &reader->builder[c], slot->tts_values[column], slot->tts_isnull[column]);
	}
	reader->rows++;
	MemoryContextSwitchTo(old);
	if (reader->rows % 1024 == 0)
	{
		MemoryContextReset(reader->scratch);
		progress_update(reader->rows, 0);
	}
}

/* Columns of the query, for a hint. */
static char *
column_names(TupleDesc desc)
{
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 0; i < desc->natts; i++)
		append_choice(&names, NameStr(TupleDescAttr(desc, i)->attname));
	return names.data;
}

/* Everything wrong with the query's columns, as one error. */
static void
check_columns(TupleDesc desc, const char *label, const char *key)
{
	Problems	problems;

	problems_init(&problems);
	if (row_column(desc, label) < 0)
		problems_add(&problems, "there is no label column \"%s\"", label);
	if (key && row_column(desc, key) < 0)
		problems_add(&problems, "there is no key column \"%s\"", key);
	if (key && strcmp(key, label) == 0)
		problems_add(&problems, "column \"%s\" is both label and key", label);
	for (int i = 0; i < desc->natts; i++)
		if (row_column(desc, NameStr(TupleDescAttr(desc, i)->attname)) < i)
			problems_add(&problems, "there is more than one column \"%s\"", NameStr(TupleDescAttr(desc, i)->attname));
	problems_raise(&problems, ERRCODE_INVALID_PARAMETER_VALUE, psprintf("The query's columns are: %s.", column_names(desc)),
				   "the training query does not fit");
}

/* Name a column that cannot serve. */
static void
add_unusable(TrainingData *data, const char *name, const char *reason)
{
	UnusableColumn *unusable = palloc(sizeof(UnusableColumn));

	unusable->name = pstrdup(name);
	unusable->reason = pstrdup(reason);
	data->unusable = lappend(data->unusable, unusable);
}

/* A builder for every column that may become a feature. */
static void
open_builders(TrainingReader *reader, TrainingData *data, TupleDesc desc, const char *label, const char *key)
{
	reader->builder = palloc0(sizeof(ColumnBuilder) * Max(desc->natts, 1));
	reader->label_column = row_column(desc, label);
	reader->key_column = key ? row_column(desc, key) : -1;
	if (reader->key_column >= 0)
	{
		bool		varlena;

		getTypeOutputInfo(TupleDescAttr(desc, reader->key_column)->atttypid, &reader->key_output, &varlena);
	}
	reader->label_reader = value_reader(TupleDescAttr(desc, reader->label_column)->atttypid, label);
	for (int i = 0; i < desc->natts; i++)
	{
		const char *name = NameStr(TupleDescAttr(desc, i)->attname);
		ColumnBuilder *builder = &reader->builder[reader->columns];

		if (i == reader->label_column)
			continue;
		if (key && strcmp(name, key) == 0)
		{
			add_unusable(data, name, "the key");
			continue;
		}
		builder->column = i;
		builder->reader = value_reader(TupleDescAttr(desc, i)->atttypid, name);
		if (builder->reader.value_class == VALUE_NONE)
			add_unusable(data, name, psprintf("type %s cannot be a feature", format_type_be(TupleDescAttr(desc, i)->atttypid)));
		else
			reader->columns++;
	}
}

/* ---- what a column is ---- */

typedef enum TextNature
{
	TEXT_CATEGORY,
	TEXT_NUMBER,
	TEXT_DATE,
	TEXT_WORDS
} TextNature;

/* more levels than this: numbers in text are numbers (a count of visits), not codes; their order is worth more than their names */
#define NUMBER_LEVELS 4
#define DATE_LEVELS 10
#define WORDS_LEVELS 100

/* Numbers or dates stored as text are told by all of their texts; free text by its many levels of several words. */
static TextNature
nature_of_text(const TextPool *pool, size_t rows)
{
	bool		numbers = pool->count > NUMBER_LEVELS;
	bool		dates = pool->count > DATE_LEVELS;
	double		words = 0;
	double		ignored;

	for (int i = 0; i < pool->count; i++)
	{
		const char *text = pool->text[i];
		size_t		length = strlen(text);
		size_t		at = 0;
		char		word[LEARN_WORD_SIZE];

		/* leading zeros are codes: postal codes, account numbers */
		numbers = numbers && parse_number(text, length, &ignored) && !(length > 1 && text[0] == '0' && text[1] != '.');
		dates = dates && parse_date(text, length, &ignored);
		while (!numbers && !dates && learn_next_word(text, length, &at, word) > 0)
			words++;
	}
	if (numbers || dates)
		return numbers ? TEXT_NUMBER : TEXT_DATE;
	return pool->count > WORDS_LEVELS && pool->count > 0.3 * (double) rows && words > 1.5 * pool->count ? TEXT_WORDS :
		TEXT_CATEGORY;
}

/* Turn codes into the numbers their texts spell. */
static void
text_to_numbers(ColumnBuilder *builder, size_t rows, bool dates)
{
	double	   *spelled = palloc_extended(sizeof(double) * Max(builder->pool.count, 1), MCXT_ALLOC_HUGE);

	for (int i = 0; i < builder->pool.count; i++)
	{
		const char *text = builder->pool.text[i];

		if (dates)
			(void) parse_date(text, strlen(text), &spelled[i]);
		else
			(void) parse_number(text, strlen(text), &spelled[i]);
	}
	builder->number = palloc_extended(sizeof(double) * Max(rows, 1), MCXT_ALLOC_HUGE);
	for (size_t row = 0; row < rows; row++)
		builder->number[row] = builder->code[row] < 0 ? NAN : spelled[builder->code[row]];
	pfree(spelled);
}

/* Turn codes of whole texts into sets of words. */
static void
text_to_words(ColumnBuilder *builder, size_t rows)
{
	TextPool	texts = builder->pool;

	memset(&builder->pool, 0, sizeof(TextPool));
	builder->set_start = palloc_extended(sizeof(size_t) * (rows + 1), MCXT_ALLOC_HUGE);
	for (size_t row = 0; row < rows; row++)
	{
		size_t		at = 0;
		size_t		from = builder->set_used;
		size_t		length;
		char		word[LEARN_WORD_SIZE];

		builder->set_start[row] = from;
		if (builder->code[row] < 0)
			continue;
		while ((length = learn_next_word(texts.text[builder->code[row]], strlen(texts.text[builder->code[row]]), &at, word)) > 0)
			append_member(builder, pool_code(&builder->pool, word, length), from);
		builder->code[row] = 0;
	}
	builder->set_start[rows] = builder->set_used;
}

/* a text and its code, for sorting */
typedef struct CodedText
{
	char	   *text;
	int32		code;
} CodedText;

/* by bytes */
static int
compare_texts(const void *a, const void *b)
{
	return strcmp(((const CodedText *) a)->text, ((const CodedText *) b)->text);
}

/* upwards */
static int
compare_codes(const void *a, const void *b)
{
	int32		x = *(const int32 *) a;
	int32		y = *(const int32 *) b;

	return x < y ? -1 : x > y ? 1 : 0;
}

/* Levels in the order of their bytes, whatever order the rows came in; codes follow. */
static void
sort_levels(ColumnBuilder *builder, LearnColumn *column, size_t rows)
{
	int			count = builder->pool.count;
	CodedText  *sorted = palloc_extended(sizeof(CodedText) * Max(count, 1), MCXT_ALLOC_HUGE);
	int32	   *place = palloc_extended(sizeof(int32) * Max(count, 1), MCXT_ALLOC_HUGE);

	for (int i = 0; i < count; i++)
		sorted[i] = (CodedText) {builder->pool.text[i], i};
	qsort(sorted, count, sizeof(CodedText), compare_texts);
	column->levels = count;
	column->level = palloc_extended(sizeof(char *) * Max(count, 1), MCXT_ALLOC_HUGE);
	for (int i = 0; i < count; i++)
	{
		column->level[i] = sorted[i].text;
		place[sorted[i].code] = i;
	}
	column->code = builder->code;
	if (column->kind == LEARN_CATEGORY)
	{
		for (size_t row = 0; row < rows; row++)
			if (column->code[row] >= 0)
				column->code[row] = place[column->code[row]];
	}
	else
	{
		column->set_start = builder->set_start;
		column->set_code = builder->set_code;
		for (size_t at = 0; at < builder->set_used; at++)
			column->set_code[at] = place[column->set_code[at]];
		for (size_t row = 0; row < rows; row++)
			qsort(column->set_code + column->set_start[row], column->set_start[row + 1] - column->set_start[row],
				  sizeof(int32), compare_codes);
	}
	pfree(sorted);
	pfree(place);
}

/* A date counts in days from the newest one. */
static void
set_origin(LearnColumn *column, size_t rows)
{
	double		newest = -INFINITY;

	for (size_t row = 0; row < rows; row++)
		if (column->number[row] > newest)
			newest = column->number[row];
	column->reading = READ_DATE;
	column->origin = isfinite(newest) ? newest : 0;
	for (size_t row = 0; row < rows; row++)
		column->number[row] -= column->origin;
}

/* A gathered column as the kernels take it; where it becomes words, the texts as wholes stay in *whole. */
static void
finish_column(ColumnBuilder *builder, ColumnBuilder *whole, LearnColumn *column, size_t rows)
{
	ValueClass	value_class = builder->reader.value_class;
	TextNature	nature = TEXT_CATEGORY;

	memset(column, 0, sizeof *column);
	column->name = builder->reader.name;
	if (value_class == VALUE_TEXT)
		nature = nature_of_text(&builder->pool, rows);
	if (nature == TEXT_NUMBER || nature == TEXT_DATE)
		text_to_numbers(builder, rows, nature == TEXT_DATE);
	else if (nature == TEXT_WORDS)
	{
		*whole = *builder;
		whole->code = palloc_extended(sizeof(int32) * Max(rows, 1), MCXT_ALLOC_HUGE);
		memcpy(whole->code, builder->code, sizeof(int32) * rows);
		text_to_words(builder, rows);
	}
	if (is_number(value_class) || nature == TEXT_NUMBER || nature == TEXT_DATE)
	{
		column->kind = LEARN_NUMBER;
		column->number = builder->number;
		if (value_class == VALUE_DATE || value_class == VALUE_TIMESTAMP || nature == TEXT_DATE)
			set_origin(column, rows);
		return;
	}
	column->kind = value_class == VALUE_ARRAY || nature == TEXT_WORDS ? LEARN_SET : LEARN_CATEGORY;
	column->reading = nature == TEXT_WORDS ? READ_WORDS : builder->reader.folded ? READ_FOLDED : READ_PLAIN;
	sort_levels(builder, column, rows);
}

/* A column that became words, once more as the texts themselves. */
static void
add_whole(TrainingData *data, ColumnBuilder *whole, int words)
{
	LearnColumn *column = &data->table.column[data->table.columns];

	column->name = whole->reader.name;
	column->kind = LEARN_CATEGORY;
	column->reading = whole->reader.folded ? READ_FOLDED : READ_PLAIN;
	sort_levels(whole, column, data->table.rows);
	data->words_of[data->table.columns++] = words;
}

/* ---- the order of the rows ---- */

typedef struct HashedRow
{
	uint64		hash;
	size_t		row;
} HashedRow;

/* upwards; rows of the same contents are as good as each other */
static int
compare_hashes(const void *a, const void *b)
{
	uint64		x = ((const HashedRow *) a)->hash;
	uint64		y = ((const HashedRow *) b)->hash;

	return x < y ? -1 : x > y ? 1 : 0;
}

/* splitmix64's finish */
static uint64
mix(uint64 x)
{
	x = (x ^ (x >> 30)) * UINT64CONST(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64CONST(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

/* Add one column's values to the rows' hashes. */
static void
hash_column(const LearnColumn *column, size_t rows, HashedRow *hashed)
{
	uint64		name = hash_bytes_extended((const unsigned char *) column->name, strlen(column->name), 1);
	uint64	   *level = NULL;

	if (column->kind != LEARN_NUMBER)
	{
		level = palloc_extended(sizeof(uint64) * Max(column->levels, 1), MCXT_ALLOC_HUGE);
		for (int i = 0; i < column->levels; i++)
			level[i] = hash_bytes_extended((const unsigned char *) column->level[i], strlen(column->level[i]), name);
	}
	for (size_t row = 0; row < rows; row++)
	{
		uint64		value = name;

		if (column->kind == LEARN_NUMBER)
		{
			double		number = column->number[row] == 0 ? 0 : column->number[row];

			if (!isnan(number))
				memcpy(&value, &number, sizeof value);
		}
		else if (column->code[row] >= 0 && column->kind == LEARN_CATEGORY)
			value = level[column->code[row]];
		else if (column->code[row] >= 0)
			for (size_t at = column->set_start[row]; at < column->set_start[row + 1]; at++)
				value += mix(level[column->set_code[at]]);
		hashed[row].hash = mix(hashed[row].hash ^ mix(value + name));
	}
	if (level)
		pfree(level);
}

/* Sets in a new order of rows. */
static void
reorder_sets(LearnColumn *column, size_t rows, const HashedRow *order)
{
	size_t	   *start = palloc_extended(sizeof(size_t) * (rows + 1), MCXT_ALLOC_HUGE);
	int32	   *code = palloc_extended(sizeof(int32) * (column->set_start[rows] + 1), MCXT_ALLOC_HUGE);

	start[0] = 0;
	for (size_t row = 0; row < rows; row++)
	{
		size_t		from = column->set_start[order[row].row];
		size_t		length = column->set_start[order[row].row + 1] - from;

		memcpy(code + start[row], column->set_code + from, sizeof(int32) * length);
		start[row + 1] = start[row] + length;
	}
	column->set_start = start;
	column->set_code = code;
}

/* All of a column in a new order of rows. */
static void
reorder_column(LearnColumn *column, size_t rows, const HashedRow *order)
{
	if (column->kind == LEARN_NUMBER)
	{
		double	   *number = palloc_extended(sizeof(double) * Max(rows, 1), MCXT_ALLOC_HUGE);

		for (size_t row = 0; row < rows; row++)
			number[row] = column->number[order[row].row];
		pfree(column->number);
		column->number = number;
	}
	else
	{
		int32	   *code = palloc_extended(sizeof(int32) * Max(rows, 1), MCXT_ALLOC_HUGE);

		for (size_t row = 0; row < rows; row++)
			code[row] = column->code[order[row].row];
		if (column->kind == LEARN_SET)
			reorder_sets(column, rows, order);
		pfree(column->code);
		column->code = code;
	}
}

/* Sort the rows by their contents and the seed; fingerprint what they hold. */
static void
order_rows(TrainingData *data, const uint8 *label, const uint64 *key_hash, uint64 seed)
{
	size_t		rows = data->table.rows;
	HashedRow  *hashed = palloc_extended(sizeof(HashedRow) * Max(rows, 1), MCXT_ALLOC_HUGE);
	uint8	   *ordered = palloc_extended(Max(rows, 1), MCXT_ALLOC_HUGE);

	for (size_t row = 0; row < rows; row++)
		hashed[row] = (HashedRow) {mix(label[row] + 1) ^ key_hash[row], row};
	/* of wholes only the words count: the order, and with it the folds, must not hang on what a text is taken for */
	for (int c = 0; c < data->columns; c++)
	{
		CHECK_FOR_INTERRUPTS();
		hash_column(&data->table.column[c], rows, hashed);
	}
	for (size_t row = 0; row < rows; row++)
	{
		data->fingerprint += hashed[row].hash;
		data->positives += label[row];
		hashed[row].hash = mix(hashed[row].hash + seed * UINT64CONST(0x9e3779b97f4a7c15));
	}
	data->fingerprint = mix(data->fingerprint ^ rows);
	qsort(hashed, rows, sizeof(HashedRow), compare_hashes);
	for (int c = 0; c < data->table.columns; c++)
		reorder_column(&data->table.column[c], rows, hashed);
	for (size_t row = 0; row < rows; row++)
		ordered[row] = label[hashed[row].row];
	data->table.label = ordered;
	pfree(hashed);
}

/* ---- names of several words ---- */

#define RECURRING_ROWS 10
#define EVERYWHERE 0.95
#define RECURRING_SHARE 0.2

/* Do words come again, one a row or more, other than those that are everywhere? */
static bool
words_recur(const LearnColumn *words, size_t rows, size_t present)
{
	size_t	   *counts = palloc_extended(sizeof(size_t) * Max(words->levels, 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	size_t		recurring = 0;

	for (size_t at = 0; at < words->set_start[rows]; at++)
		counts[words->set_code[at]]++;
	for (int word = 0; word < words->levels; word++)
		if (counts[word] >= RECURRING_ROWS && (double) counts[word] <= EVERYWHERE * (double) present)
			recurring += counts[word];
	pfree(counts);
	return present > 0 && recurring >= present;
}

/* Do texts come again as wholes, in a fifth of the rows or more? */
static bool
wholes_recur(const LearnColumn *whole, size_t rows, size_t present)
{
	size_t	   *counts = palloc_extended(sizeof(size_t) * Max(whole->levels, 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	size_t		recurring = 0;

	for (size_t row = 0; row < rows; row++)
		if (whole->code[row] >= 0)
			counts[whole->code[row]]++;
	for (int level = 0; level < whole->levels; level++)
		if (counts[level] > 1)
			recurring += counts[level];
	pfree(counts);
	return (double) recurring >= RECURRING_SHARE * (double) present && recurring > 0;
}

/*
 * A text of several words is its words where they come again, a category where it comes again as a whole (names of accounts, towns,
 * campaigns), and both where both do: training weighs them. The table's last columns are the wholes.
 */
static void
settle_wholes(TrainingData *data)
{
	LearnTable *table = &data->table;
	int			last = table->columns;

	table->columns = data->columns;
	for (int c = data->columns; c < last; c++)
	{
		int			words = data->words_of[c];
		size_t		present = 0;
		bool		whole;

		for (size_t row = 0; row < table->rows; row++)
			present += table->column[c].code[row] >= 0;
		whole = wholes_recur(&table->column[c], table->rows, present);
		data->words_recur[words] = words_recur(&table->column[words], table->rows, present);
		if (whole && !data->words_recur[words])
			table->column[words] = table->column[c];
		else if (whole)
		{
			data->words_of[table->columns] = words;
			table->column[table->columns++] = table->column[c];
		}
	}
}

/* May the column be a key: whole numbers or texts, as they were in the query? Texts that spell dates or fractions are neither. */
static bool
may_be_key(const ColumnBuilder *builder, const LearnColumn *column, size_t rows)
{
	if (builder->reader.value_class != VALUE_TEXT || column->kind != LEARN_NUMBER)
		return builder->reader.value_class == VALUE_INTEGER || builder->reader.value_class == VALUE_TEXT ||
			builder->reader.value_class == VALUE_PRINTED;
	if (column->reading == READ_DATE)
		return false;
	for (size_t row = 0; row < rows; row++)
		if (!isnan(column->number[row]) && column->number[row] != rint(column->number[row]))
			return false;
	return true;
}

/* Dates count in days from their row's own moment, which is what they are when a row is predicted later on. */
static void
count_from(TrainingData *data, const char *as_of)
{
	const LearnColumn *moment = NULL;

	for (int c = 0; c < data->columns; c++)
		if (strcmp(data->table.column[c].name, as_of) == 0 && data->table.column[c].reading == READ_DATE)
			moment = &data->table.column[c];
	if (moment == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("the query has no column \"%s\" of dates", as_of),
				 errdetail("Option \"as_of\" names the column that holds each row's moment, from which its other dates are counted."),
				 errhint("Add it to the query, such as now() AS as_of, or the day on which each row was as it is now.")));
	for (int c = 0; c < data->columns; c++)
	{
		LearnColumn *column = &data->table.column[c];

		if (column == moment || column->reading != READ_DATE)
			continue;
		for (size_t row = 0; row < data->table.rows; row++)
			column->number[row] += column->origin - (moment->number[row] + moment->origin);
		column->reading = READ_AGE;
		column->origin = 0;
		column->as_of = moment->name;
	}
}

/* See features_pg.h. */
TrainingData *
learn_read_training(const char *query, const char *label, const char *key, const char *as_of, uint64 seed)
{
	TrainingData *data = palloc0(sizeof(TrainingData));
	TrainingReader reader = {.keep = CurrentMemoryContext};
	SpiScope	scope;
	MemoryContext old;
	TupleDesc	desc;

	spi_open(&scope, SPI_AS_CALLER);
	desc = spi_describe(query);
	check_columns(desc, label, key);
	old = MemoryContextSwitchTo(reader.keep);
	reader.scratch = AllocSetContextCreate(reader.keep, "salesops training row", ALLOCSET_DEFAULT_SIZES);
	open_builders(&reader, data, desc, label, key);
	MemoryContextSwitchTo(old);
	progress_phase("reading", 0);
	spi_stream(query, 0, NULL, true, gather_row, &reader);
	spi_close(&scope);

	data->unlabelled = reader.unlabelled;
	data->table.rows = reader.rows;
	data->table.columns = data->columns = reader.columns;
	data->table.column = palloc0(sizeof(LearnColumn) * Max(reader.columns, 1) * 2);
	data->words_of = palloc0(sizeof(int) * Max(reader.columns, 1) * 2);
	data->words_recur = palloc0(sizeof(bool) * Max(reader.columns, 1));
	data->may_be_key = palloc0(sizeof(bool) * Max(reader.columns, 1));
	data->distinct = palloc0(sizeof(size_t) * Max(reader.columns, 1));
	if (reader.rows == 0)
		grow_rows(&reader);
	for (int c = 0; c < reader.columns; c++)
	{
		ColumnBuilder whole = {.pool = {.count = 0}};

		CHECK_FOR_INTERRUPTS();
		if (reader.rows == 0 && reader.builder[c].set_start)
			reader.builder[c].set_start[0] = 0;
		data->distinct[c] = reader.builder[c].pool.count;
		finish_column(&reader.builder[c], &whole, &data->table.column[c], reader.rows);
		if (whole.pool.count > 0)
			add_whole(data, &whole, c);
		data->may_be_key[c] = may_be_key(&reader.builder[c], &data->table.column[c], reader.rows);
	}
	if (as_of)
		count_from(data, as_of);
	order_rows(data, reader.label, reader.key_hash, seed);
	settle_wholes(data);
	MemoryContextDelete(reader.scratch);
	return data;
}
