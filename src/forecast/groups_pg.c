/*
 * groups_pg.c
 *		Groups of opportunities: the names one may group by, what they read, and numbers for the tuples that come.
 *
 * A tuple is numbered column by column: each text has a number, and each pair of what came before and the next text has one. An array
 * is made of it once a group, not once a row.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"

#include "core/errors.h"
#include "forecast/groups_pg.h"

/* What a grouping name reads: from the opportunity (o) or its owner (r) */
static const struct
{
	const char *name;
	const char *expression;
}			groupings[] = {
	{"owner_id", "o.owner_id"}, {"rep", "o.owner_id"}, {"manager", "r.manager_id"}, {"region", "r.region"},
	{"type", "o.type"}, {"product", "o.type"}, {"source", "o.source"}, {"account_id", "o.account_id"},
	{"currency", "o.currency"}, {"stage", "o.stage"}, {"forecast_category", "o.forecast_category"}, {"name", "o.name"},
};

struct ForecastGrouper
{
	const KernelEnv *env;
	int			columns;
	int			first;			/* of them in a row */
	Names	   *texts;
	Names	  **tuples;			/* [column]: pairs of what came before and the column's text */
	Datum	   *key;			/* of each group */
	int			size;			/* of key */
};

/* The expression of a grouping name, or NULL. */
static const char *
grouping_expression(const char *name)
{
	for (int i = 0; i < (int) lengthof(groupings); i++)
		if (strcmp(groupings[i].name, name) == 0)
			return groupings[i].expression;
	return NULL;
}

/* The names of a text[]. */
static Datum *
names_by(ArrayType *by, bool **nulls, int *count)
{
	Datum	   *names;

	deconstruct_array(by, TEXTOID, -1, false, TYPALIGN_INT, &names, nulls, count);
	return names;
}

/* See groups_pg.h. */
void
forecast_check_by(ArrayType *by)
{
	Problems	problems;
	StringInfoData choices;
	bool	   *nulls;
	int			count;
	Datum	   *names = names_by(by, &nulls, &count);

	problems_init(&problems);
	for (int i = 0; i < count; i++)
	{
		if (nulls[i])
			problems_add(&problems, "element %d is NULL", i + 1);
		else if (grouping_expression(TextDatumGetCString(names[i])) == NULL)
			problems_add(&problems, "cannot group by \"%s\"", TextDatumGetCString(names[i]));
	}
	if (ARR_NDIM(by) > 1)
		problems_add(&problems, "it has %d dimensions", ARR_NDIM(by));
	initStringInfo(&choices);
	for (int i = 0; i < (int) lengthof(groupings); i++)
		append_choice(&choices, groupings[i].name);
	problems_raise(&problems, ERRCODE_INVALID_PARAMETER_VALUE, psprintf("It may hold: %s.", choices.data), "invalid \"by\" for a forecast");
}

/* See groups_pg.h. */
bool
forecast_by_nothing(ArrayType *by)
{
	return by == NULL || ARR_NDIM(by) == 0;
}

/* Whether some expression of it is this one, or begins with the letter of a relation. */
static bool
reads(ArrayType *by, const char *expression, char relation)
{
	int			count;
	Datum	   *names;
	bool		found = false;

	if (forecast_by_nothing(by))
		return false;
	names = names_by(by, NULL, &count);
	for (int i = 0; i < count; i++)
	{
		const char *read = grouping_expression(TextDatumGetCString(names[i]));

		found |= read[0] == relation || (expression != NULL && strcmp(read, expression) == 0);
	}
	return found;
}

/* See groups_pg.h. */
bool
forecast_by_currency(ArrayType *by)
{
	return reads(by, "o.currency", '\0');
}

/* See groups_pg.h. */
void
forecast_append_grouping(StringInfo sql, ArrayType *by)
{
	int			count;
	Datum	   *names;

	if (forecast_by_nothing(by))
		return;
	names = names_by(by, NULL, &count);
	for (int i = 0; i < count; i++)
		appendStringInfo(sql, ", %s", grouping_expression(TextDatumGetCString(names[i])));
}

/* Of a rep who is there twice one row counts: a deal is in one group. */
const char *
forecast_grouping_join(ArrayType *by)
{
	return !reads(by, NULL, 'r') ? "" :
		" LEFT JOIN (SELECT DISTINCT ON (s.rep_id) s.rep_id, s.manager_id, s.region FROM salesops.sales_rep s "
		"ORDER BY s.rep_id, s.manager_id, s.region) r ON r.rep_id OPERATOR(pg_catalog.=) o.owner_id";
}

/* See groups_pg.h. */
ForecastGrouper *
forecast_grouper(const KernelEnv *env, ArrayType *by, int first_column)
{
	ForecastGrouper *grouper = palloc0(sizeof(ForecastGrouper));

	grouper->env = env;
	grouper->columns = forecast_by_nothing(by) ? 0 : ARR_DIMS(by)[0];
	grouper->first = first_column;
	grouper->texts = names_create(env);
	grouper->tuples = palloc(sizeof(Names *) * Max(grouper->columns, 1));
	for (int k = 0; k < grouper->columns; k++)
		grouper->tuples[k] = names_create(env);
	return grouper;
}

/* A new group's array. */
static void
keep_key(ForecastGrouper *grouper, int group, TupleTableSlot *slot)
{
	int			dims[1] = {grouper->columns};
	int			lower[1] = {1};

	if (group == grouper->size)
	{
		grouper->size = grouper->size == 0 ? 64 : grouper->size * 2;
		grouper->key = grouper->key == NULL ? palloc(sizeof(Datum) * grouper->size) :
			repalloc_huge(grouper->key, sizeof(Datum) * (Size) grouper->size);
	}
	grouper->key[group] = PointerGetDatum(construct_md_array(&slot->tts_values[grouper->first], &slot->tts_isnull[grouper->first], 1, dims,
															 lower, TEXTOID, -1, false, TYPALIGN_INT));
}

/* See groups_pg.h. */
int
forecast_group_of(ForecastGrouper *grouper, TupleTableSlot *slot)
{
	int			tuple = 0;
	int			before = 0;

	for (int k = 0; k < grouper->columns; k++)
	{
		int			column = grouper->first + k;
		int			number = -1;

		if (!slot->tts_isnull[column])
		{
			text	   *value = DatumGetTextPP(slot->tts_values[column]);

			number = names_number(grouper->texts, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
			if ((Pointer) value != DatumGetPointer(slot->tts_values[column]))
				pfree(value);
		}
		before = names_count(grouper->tuples[k]);
		tuple = names_pair(grouper->tuples[k], tuple, number);
	}
	if (grouper->columns > 0 && tuple == before)
		keep_key(grouper, tuple, slot);
	return tuple;
}

/* Order of two groups' texts. */
static int
compare_keys(const void *a, const void *b, void *keys)
{
	return strcmp(((char **) keys)[*(const int *) a], ((char **) keys)[*(const int *) b]);
}

/* Which deals are in each group: counted, then put in their places. */
static void
list_members(ForecastBook *book)
{
	ForecastGroups *groups = &book->groups;
	int		   *next = palloc_extended(sizeof(int) * (Size) (groups->count + 1), MCXT_ALLOC_HUGE);

	groups->start = palloc_extended(sizeof(int) * (Size) (groups->count + 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	groups->member = palloc_extended(sizeof(int) * (Size) Max(book->count, 1), MCXT_ALLOC_HUGE);
	for (int i = 0; i < book->count; i++)
		groups->start[book->deal[i].group + 1]++;
	for (int g = 0; g < groups->count; g++)
		groups->start[g + 1] += groups->start[g];
	memcpy(next, groups->start, sizeof(int) * (Size) (groups->count + 1));
	for (int i = 0; i < book->count; i++)
		groups->member[next[book->deal[i].group]++] = i;
	pfree(next);
}

/* The groups that have deals, in the order of their texts; returns how many. */
static int
order_groups(const ForecastGrouper *grouper, const ForecastBook *book, int count, int *order)
{
	char	  **key = palloc_extended(sizeof(char *) * (Size) Max(count, 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	int			used = 0;

	for (int i = 0; i < book->count; i++)
	{
		int			g = book->deal[i].group;

		if (key[g] != NULL)
			continue;
		key[g] = OidOutputFunctionCall(F_ARRAY_OUT, grouper->key[g]);
		order[used++] = g;
	}
	qsort_arg(order, used, sizeof(int), compare_keys, key);
	for (int k = 0; k < used; k++)
		pfree(key[order[k]]);
	pfree(key);
	return used;
}

/* See groups_pg.h. */
void
forecast_groups_finish(ForecastGrouper *grouper, ForecastBook *book)
{
	int			count = grouper->columns == 0 ? 0 : names_count(grouper->tuples[grouper->columns - 1]);
	int		   *place = palloc_extended(sizeof(int) * (Size) Max(count, 1), MCXT_ALLOC_HUGE);
	int		   *order = palloc_extended(sizeof(int) * (Size) Max(count, 1), MCXT_ALLOC_HUGE);

	book->groups = (ForecastGroups) {0};
	if (count > 0)
	{
		book->groups.count = order_groups(grouper, book, count, order);
		book->groups.key = palloc_extended(sizeof(Datum) * (Size) Max(book->groups.count, 1), MCXT_ALLOC_HUGE);
		for (int k = 0; k < book->groups.count; k++)
		{
			book->groups.key[k] = grouper->key[order[k]];
			place[order[k]] = k;
		}
		for (int i = 0; i < book->count; i++)
			book->deal[i].group = place[book->deal[i].group];
		list_members(book);
	}
	pfree(order);
	pfree(place);
	for (int k = 0; k < grouper->columns; k++)
		names_free(grouper->tuples[k]);
	names_free(grouper->texts);
}
