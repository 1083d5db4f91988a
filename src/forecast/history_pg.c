/*
 * history_pg.c
 *		Reading the contract views opportunity, opportunity_stage_change and sales_rep into arrays for the kernel.
 *
 * What was known when: a deal exists from created_at on (else its first stage change), is open until closed_at (else its
 * last change to a closed stage, else close_date), and is worth what its latest stage change said by then. Its
 * own amount counts from updated_at on; where that is not mapped only for a reading of the present, since the amount of a
 * deal may have been written at its close. Where no amount is known it is estimated from won deals of the same segment.
 * Its stage is what the stage changes say; its type and source are today's, so only what deals have from their creation on is
 * learned from: not the owner, who may change when a deal is lost.
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "core/errors.h"
#include "core/kernel_pg.h"
#include "core/spi.h"
#include "forecast/forecast_pg.h"
#include "forecast/history_pg.h"

#define STAGES_NAMED	10		/* in an error, at most */
#define FEW_PER_SEGMENT 20		/* deals a value must have on average to tell segments apart */
#define SEGMENTS_MAX	5000	/* more values than that tell nothing apart */

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

/* State of a load */
typedef struct Loader
{
	ForecastBook *book;
	TimestampTz now;
	HTAB	   *segments[FORECAST_SEGMENTINGS];
	HTAB	   *sources;
	HTAB	   *groups;
	HTAB	   *currencies;
	HTAB	   *unknown_stages;
	char	   *bad_amount;		/* an opportunity whose amount is no number */
	char	   *bad_amount_text;
	bool		by_currency;
} Loader;

/* A text and its number */
typedef struct TextEntry
{
	char		key[FORECAST_TEXT_MAX];
	int			number;
	int			count;
	bool		rate_missing;
} TextEntry;

/* A table of texts by their keys. */
static HTAB *
text_table(MemoryContext context, const char *name)
{
	HASHCTL		control = {0};

	control.keysize = FORECAST_TEXT_MAX;
	control.entrysize = sizeof(TextEntry);
	control.hcxt = context;
	return hash_create(name, 64, &control, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
}

/* What stands for a text in a table: itself, or where it is too long its beginning and a hash of all. */
static void
text_key(const char *text, char key[FORECAST_TEXT_MAX])
{
	Size		length = strlen(text);

	strlcpy(key, text, FORECAST_TEXT_MAX);
	if (length >= FORECAST_TEXT_MAX)
		snprintf(key + FORECAST_TEXT_MAX - 17, 17, "%016llx",
				 (unsigned long long) hash_bytes_extended((const unsigned char *) text, (int) length, 0));
}

/* The entry of a text, numbered in order of arrival. */
static TextEntry *
text_entry(HTAB *table, const char *text)
{
	char		key[FORECAST_TEXT_MAX];
	bool		found;
	TextEntry  *entry;

	text_key(text, key);
	entry = hash_search(table, key, HASH_ENTER, &found);
	if (!found)
	{
		entry->number = (int) hash_get_num_entries(table) - 1;
		entry->count = 0;
		entry->rate_missing = false;
	}
	entry->count++;
	return entry;
}

/* The expression of a grouping name, or NULL. */
static const char *
grouping_expression(const char *name)
{
	for (int i = 0; i < (int) lengthof(groupings); i++)
		if (strcmp(groupings[i].name, name) == 0)
			return groupings[i].expression;
	return NULL;
}

/* Refuse grouping names that mean nothing here, all at once. */
void
forecast_check_by(ArrayType *by)
{
	Problems	problems;
	StringInfoData choices;
	Datum	   *names;
	bool	   *nulls;
	int			count;

	problems_init(&problems);
	deconstruct_array(by, TEXTOID, -1, false, TYPALIGN_INT, &names, &nulls, &count);
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

/* Append ARRAY[…] of the grouping expressions, and say whether owners are needed. */
static bool
append_grouping(StringInfo sql, ArrayType *by, bool *by_currency)
{
	Datum	   *names;
	int			count;
	bool		owners = false;

	*by_currency = false;
	appendStringInfoString(sql, "ARRAY[");
	deconstruct_array(by, TEXTOID, -1, false, TYPALIGN_INT, &names, NULL, &count);
	for (int i = 0; i < count; i++)
	{
		const char *expression = grouping_expression(TextDatumGetCString(names[i]));

		appendStringInfo(sql, "%s%s", i > 0 ? ", " : "", expression);
		owners |= expression[0] == 'r';
		*by_currency |= strcmp(expression, "o.currency") == 0;
	}
	appendStringInfoString(sql, "]::pg_catalog.text[]");
	return owners;
}

/*
 * The query over the contract views. A close is looked for in all stage changes, not in those until the instant: where it comes later the
 * deal was open then, and the expected close_date must not stand in for it. An owner listed twice is one owner.
 */
static char *
history_query(ArrayType *by, bool *by_currency)
{
	StringInfoData sql;
	bool		owners;

	initStringInfo(&sql);
	appendStringInfoString(&sql,
						   "WITH stage AS MATERIALIZED (SELECT DISTINCT ON (s.stage) s.stage, s.kind FROM salesops.stage s "
						   "ORDER BY s.stage, s.pipeline <> 'default', s.pipeline), "
						   "change AS (SELECT c.opportunity_id, pg_catalog.min(c.entered_at) AS first_at, "
						   "pg_catalog.max(c.entered_at) FILTER (WHERE s.kind <> 'open') AS closed_at "
						   "FROM salesops.opportunity_stage_change c LEFT JOIN stage s ON s.stage = c.stage GROUP BY 1) "
						   "SELECT o.opportunity_id, o.stage, s.kind, COALESCE(o.created_at, h.first_at), "
						   "COALESCE(o.closed_at, h.closed_at, o.close_date::pg_catalog.timestamptz), o.updated_at, "
						   "CASE WHEN c.rate IS NULL THEN o.amount ELSE o.amount * c.rate END, o.currency, c.rate IS NULL, "
						   "o.type, o.name, o.source, ");
	owners = append_grouping(&sql, by, by_currency);
	appendStringInfoString(&sql,
						   " FROM salesops.opportunity o LEFT JOIN stage s ON s.stage = o.stage "
						   "LEFT JOIN change h ON h.opportunity_id = o.opportunity_id "
						   "LEFT JOIN salesops.currency_rate c ON c.currency = o.currency");
	if (owners)
		appendStringInfoString(&sql,
							   " LEFT JOIN (SELECT DISTINCT ON (p.rep_id) p.rep_id, p.manager_id, p.region FROM salesops.sales_rep p "
							   "ORDER BY p.rep_id, p.manager_id, p.region) r ON r.rep_id = o.owner_id");
	return sql.data;
}

/* Local calendar day of an instant, and whether it is midnight there. */
static int32
local_day(TimestampTz at, bool *midnight)
{
	Timestamp	local = DatumGetTimestamp(DirectFunctionCall1(timestamptz_timestamp, TimestampTzGetDatum(at)));
	int64		day = local / USECS_PER_DAY - (local % USECS_PER_DAY < 0);

	if (midnight != NULL)
		*midnight = local % USECS_PER_DAY == 0;
	return (int32) Max(Min(day, 20000000), -20000000);
}

/* Text of a column, or NULL. */
static char *
slot_text(TupleTableSlot *slot, int column)
{
	return slot->tts_isnull[column] ? NULL : TextDatumGetCString(slot->tts_values[column]);
}

/* An instant of a column; infinite and NULL ones are DT_NOEND. */
static TimestampTz
slot_time(TupleTableSlot *slot, int column)
{
	TimestampTz at = slot->tts_isnull[column] ? DT_NOEND : DatumGetTimestampTz(slot->tts_values[column]);

	return TIMESTAMP_NOT_FINITE(at) ? DT_NOEND : at;
}

/* Which currencies there are, and which have no rate. */
static void
note_currency(Loader *loader, TupleTableSlot *slot)
{
	TextEntry  *entry;

	if (slot->tts_isnull[7] || slot->tts_isnull[6])
		return;
	entry = text_entry(loader->currencies, TextDatumGetCString(slot->tts_values[7]));
	entry->rate_missing = DatumGetBool(slot->tts_values[8]);
}

/* The texts of a table by their numbers, each without so many bytes at its end. */
static char **
names_of(HTAB *table, int without)
{
	HASH_SEQ_STATUS status;
	TextEntry  *entry;
	char	  **name = palloc0(sizeof(char *) * (hash_get_num_entries(table) + 1));

	hash_seq_init(&status, table);
	while ((entry = hash_seq_search(&status)) != NULL)
		name[entry->number] = pnstrdup(entry->key, Max((int) strlen(entry->key) - without, 0));
	return name;
}

/* The values that tell segments apart: type; type and source; and name too. Which of them to use is decided at the end. */
static void
note_segment(Loader *loader, TupleTableSlot *slot, ForecastOpportunity *deal)
{
	static const int columns[FORECAST_SEGMENTINGS] = {9, 11, 10};
	StringInfoData key;

	initStringInfo(&key);
	for (int k = 0; k < FORECAST_SEGMENTINGS; k++)
	{
		char	   *value = slot_text(slot, columns[k]);

		appendStringInfo(&key, "%s\x01", value != NULL ? value : FORECAST_UNKNOWN);
		deal->segment[k] = hash_get_num_entries(loader->segments[k]) > SEGMENTS_MAX ? 0 :
			text_entry(loader->segments[k], key.data)->number;
	}
	pfree(key.data);
	key.data = slot_text(slot, 11);
	deal->source = text_entry(loader->sources, key.data != NULL ? key.data : FORECAST_UNKNOWN)->number;
}

/* The finest segments that hold enough deals each; -1: none do. */
static int
choose_segmenting(const Loader *loader)
{
	for (int k = FORECAST_SEGMENTINGS - 1; k >= 0; k--)
	{
		long		values = hash_get_num_entries(loader->segments[k]);

		if (values <= SEGMENTS_MAX && values * FEW_PER_SEGMENT <= loader->book->count)
			return k;
	}
	return -1;
}

/* The group's number; a new group keeps its array. */
static int
group_number(Loader *loader, Datum array)
{
	ForecastBook *book = loader->book;
	char	   *key = OidOutputFunctionCall(F_ARRAY_OUT, array);
	TextEntry  *entry = text_entry(loader->groups, key);

	if (entry->count == 1)
	{
		book->group = book->groups == 0 ? palloc(sizeof(Datum)) : repalloc(book->group, sizeof(Datum) * (book->groups + 1));
		book->group[book->groups++] = PointerGetDatum(PG_DETOAST_DATUM_COPY(array));
	}
	pfree(key);
	return entry->number;
}

/* Room for one more deal. */
static ForecastOpportunity *
next_deal(ForecastBook *book)
{
	if (book->count == book->size)
	{
		book->size = book->size == 0 ? 1024 : book->size * 2;
		book->deal = book->count == 0 ? palloc(sizeof(ForecastOpportunity) * book->size) :
			repalloc_huge(book->deal, sizeof(ForecastOpportunity) * (Size) book->size);
	}
	memset(&book->deal[book->count], 0, sizeof(ForecastOpportunity));
	return &book->deal[book->count];
}

/* A deal's amount, which must be a number (raised when all are read: an error from here would quote our query). */
static void
read_amount(Loader *loader, TupleTableSlot *slot, ForecastOpportunity *deal)
{
	Numeric		amount;

	if (slot->tts_isnull[6])
		return;
	amount = DatumGetNumericCopy(slot->tts_values[6]);
	if (numeric_is_nan(amount) || numeric_is_inf(amount) || fabs(forecast_numeric_to_double(amount)) > FORECAST_MAX_AMOUNT)
	{
		loader->bad_amount = deal->id;
		loader->bad_amount_text = numeric_normalize(amount);
	}
	deal->amount = amount;
}

/* Take up one row, as far as it may be seen. */
static void
take_row(TupleTableSlot *slot, void *arg)
{
	Loader	   *loader = arg;
	ForecastBook *book = loader->book;
	ForecastOpportunity *deal = next_deal(book);
	char	   *kind = slot_text(slot, 2);

	deal->created_at = slot_time(slot, 3);
	deal->closed_at = slot_time(slot, 4);
	deal->updated_at = slot_time(slot, 5);
	if (deal->created_at == DT_NOEND && kind != NULL && strcmp(kind, "open") != 0)
		deal->created_at = deal->closed_at; /* what it brought counts, whenever it began */
	if (deal->created_at == DT_NOEND || deal->created_at > book->limit || slot->tts_isnull[0])
		return;
	deal->id = slot_text(slot, 0);
	deal->stage = slot_text(slot, 1);
	if (kind == NULL)
	{
		text_entry(loader->unknown_stages, deal->stage != NULL ? deal->stage : "(NULL)");
		return;
	}
	deal->outcome = strcmp(kind, "won") == 0 ? HAZARD_WON : strcmp(kind, "lost") == 0 ? HAZARD_LOST : HAZARD_OPEN;
	if (deal->outcome != HAZARD_OPEN && deal->closed_at == DT_NOEND)
	{
		book->undated++;
		return;
	}
	read_amount(loader, slot, deal);
	deal->amount_known = deal->updated_at != DT_NOEND ? deal->updated_at <= book->limit :
		deal->outcome == HAZARD_OPEN && book->limit >= loader->now;
	if (deal->outcome == HAZARD_OPEN || deal->closed_at > book->limit)
	{
		deal->outcome = HAZARD_OPEN;
		deal->closed_at = DT_NOEND;
	}
	note_currency(loader, slot);
	note_segment(loader, slot, deal);
	deal->group = group_number(loader, slot->tts_values[12]);
	book->count++;
}

/* Refuse an amount that is no number, naming its opportunity, where one was met. */
static void
require_amount(const char *id, const char *amount, const char *where)
{
	if (id != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("amount of opportunity \"%s\" is not a usable number", id),
				 errdetail("It is %s%s; amounts up to 1e18 either way are allowed.", amount, where),
				 errhint("Where an amount is not known, it is to be NULL.")));
}

/* Refuse stages that no pipeline defines, naming them. */
static void
require_stages(Loader *loader)
{
	HASH_SEQ_STATUS status;
	TextEntry  *entry;
	Problems	problems;

	problems_init(&problems);
	hash_seq_init(&status, loader->unknown_stages);
	while ((entry = hash_seq_search(&status)) != NULL)
		if (problems.count < STAGES_NAMED)
			problems_add(&problems, "stage \"%s\" of %d opportunities is not defined", entry->key, entry->count);
		else
			problems.count++;
	problems_raise(&problems, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
				   "Say which stages are open, won and lost: SELECT salesops.define_stages('default', '[{\"stage\": \"…\", \"ordinal\": 1, \"kind\": \"open\"}, …]').",
				   "cannot forecast: some opportunities are in a stage that is not defined");
}

/* Refuse several currencies without rates, naming them; a single currency needs none. */
static void
require_currency(Loader *loader)
{
	HASH_SEQ_STATUS status;
	TextEntry  *entry;
	Problems	problems;
	bool		several = hash_get_num_entries(loader->currencies) > 1;

	problems_init(&problems);
	hash_seq_init(&status, loader->currencies);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (several && entry->rate_missing)
			problems_add(&problems, "%s (%d opportunities)", entry->key, entry->count);
		loader->book->currency = MemoryContextStrdup(loader->book->context, entry->key);
	}
	if (loader->by_currency)
		return;
	problems_raise(&problems, ERRCODE_INVALID_PARAMETER_VALUE,
				   "Insert a rate for each into salesops.currency_rate (currency, rate), or forecast by => '{currency}'.",
				   "cannot add up amounts in several currencies without rates");
}

/* A stage change with its instant: of several on a day the last counts */
typedef struct StageChange
{
	HazardStage stage;
	TimestampTz at;
} StageChange;

/* Collect amounts and stages that stage changes stated. */
typedef struct AmountLoader
{
	ForecastBook *book;
	HTAB	   *ids;
	HazardAmount *amount;
	int			count;
	int			size;
	HTAB	   *stages;
	StageChange *change;
	int			changes;
	int			change_size;
	const char *bad_amount;		/* an opportunity that a stage change gives an amount that is no number */
	char	   *bad_amount_text;
} AmountLoader;

/* Room for, and content of, one more stated amount. */
static void
add_amount(AmountLoader *loader, int deal, int32 day, double amount)
{
	if (loader->count == loader->size)
	{
		loader->size = loader->size == 0 ? 1024 : loader->size * 2;
		loader->amount = loader->count == 0 ? palloc(sizeof(HazardAmount) * loader->size) :
			repalloc_huge(loader->amount, sizeof(HazardAmount) * (Size) loader->size);
	}
	loader->amount[loader->count++] = (HazardAmount) {deal, day, amount};
}

/* Room for, and content of, one more stage change. */
static void
add_stage(AmountLoader *loader, int deal, TimestampTz at, const char *stage)
{
	if (loader->changes == loader->change_size)
	{
		loader->change_size = loader->change_size == 0 ? 1024 : loader->change_size * 2;
		loader->change = loader->changes == 0 ? palloc(sizeof(StageChange) * loader->change_size) :
			repalloc_huge(loader->change, sizeof(StageChange) * (Size) loader->change_size);
	}
	loader->change[loader->changes++] = (StageChange)
	{
		{deal, local_day(at, NULL), text_entry(loader->stages, stage)->number}, at
	};
}

/* One stage change. */
static void
take_change(TupleTableSlot *slot, void *arg)
{
	AmountLoader *loader = arg;
	char	   *id = TextDatumGetCString(slot->tts_values[0]);
	char		key[FORECAST_TEXT_MAX];
	TextEntry  *entry;

	text_key(id, key);
	entry = hash_search(loader->ids, key, HASH_FIND, NULL);
	if (entry != NULL && strcmp(loader->book->deal[entry->number].id, id) == 0)
	{
		TimestampTz at = DatumGetTimestampTz(slot->tts_values[1]);
		double		amount = slot->tts_isnull[2] ? NAN : forecast_numeric_to_double(DatumGetNumeric(slot->tts_values[2]));

		if (!slot->tts_isnull[2] && !(fabs(amount) <= FORECAST_MAX_AMOUNT))
		{
			loader->bad_amount = loader->book->deal[entry->number].id;
			loader->bad_amount_text = numeric_normalize(DatumGetNumeric(slot->tts_values[2]));
		}
		else if (!slot->tts_isnull[2])
			add_amount(loader, entry->number, local_day(at, NULL), amount);
		if (!slot->tts_isnull[3] && !TIMESTAMP_NOT_FINITE(at))
			add_stage(loader, entry->number, at, TextDatumGetCString(slot->tts_values[3]));
	}
	pfree(id);
}

/* By deal, then day, then order of arrival (qsort is not stable: the day decides, ties by the larger amount). */
static int
compare_amounts(const void *a, const void *b)
{
	const HazardAmount *x = a;
	const HazardAmount *y = b;

	if (x->deal != y->deal)
		return x->deal < y->deal ? -1 : 1;
	if (x->day != y->day)
		return x->day < y->day ? -1 : 1;
	return x->amount < y->amount ? -1 : x->amount > y->amount;
}

/* By deal, then time, then stage, for one order whatever the sort. */
static int
compare_changes(const void *a, const void *b)
{
	const StageChange *x = a;
	const StageChange *y = b;

	if (x->stage.deal != y->stage.deal)
		return x->stage.deal < y->stage.deal ? -1 : 1;
	if (x->at != y->at)
		return x->at < y->at ? -1 : 1;
	return x->stage.level < y->stage.level ? -1 : x->stage.level > y->stage.level;
}

/* The stages as the kernel wants them. */
static void
keep_stages(AmountLoader *loader)
{
	HazardStage *stage = kernel_alloc_array(&loader->book->env, HazardStage, loader->changes + 1);

	if (loader->changes > 1)
		qsort(loader->change, loader->changes, sizeof(StageChange), compare_changes);
	for (int k = 0; k < loader->changes; k++)
		stage[k] = loader->change[k].stage;
	loader->book->history.stage = stage;
	loader->book->history.stages = loader->changes;
	loader->book->history.stage_levels = (int) hash_get_num_entries(loader->stages);
	loader->book->stage_name = names_of(loader->stages, 0);
}

/* All amounts and stages that were stated, and when. */
static void
load_amounts(ForecastBook *book)
{
	AmountLoader loader = {book, text_table(book->context, "salesops forecast opportunities"),
	.stages = text_table(book->context, "salesops forecast stages entered")};
	SpiArg		args[1] = {spi_timestamptz(book->limit)};

	for (int i = 0; i < book->count; i++)
	{
		ForecastOpportunity *deal = &book->deal[i];
		TextEntry  *entry = text_entry(loader.ids, deal->id);

		entry->number = i;
		if (deal->amount != NULL && deal->amount_known)
			add_amount(&loader, i, deal->updated_at != DT_NOEND ? local_day(deal->updated_at, NULL) : local_day(book->limit, NULL) - 1,
					   forecast_numeric_to_double(deal->amount));
	}
	spi_stream("SELECT c.opportunity_id, c.entered_at, CASE WHEN r.rate IS NULL THEN c.amount ELSE c.amount * r.rate END, c.stage "
			   "FROM salesops.opportunity_stage_change c JOIN salesops.opportunity o ON o.opportunity_id = c.opportunity_id "
			   "LEFT JOIN salesops.currency_rate r ON r.currency = o.currency "
			   "WHERE c.entered_at <= $1", 1, args, true, take_change, &loader);
	require_amount(loader.bad_amount, loader.bad_amount_text, " in a stage change");
	if (loader.count > 1)
		qsort(loader.amount, loader.count, sizeof(HazardAmount), compare_amounts);
	book->history.amount = loader.amount;
	book->history.amounts = loader.count;
	keep_stages(&loader);
}

/* Are closes given as dates? Then a date's events are known at its midnight, which is how a date becomes an instant. */
static bool
closes_are_dates(const ForecastBook *book)
{
	int			closes = 0;
	int			midnights = 0;

	for (int i = 0; i < book->count; i++)
	{
		bool		midnight;

		if (book->deal[i].closed_at == DT_NOEND)
			continue;
		local_day(book->deal[i].closed_at, &midnight);
		closes++;
		midnights += midnight;
	}
	return midnights >= 0.95 * closes;
}

/* Order of two groups' texts. */
static int
compare_keys(const void *a, const void *b, void *keys)
{
	return strcmp(((char **) keys)[*(const int *) a], ((char **) keys)[*(const int *) b]);
}

/* By id: sums must not depend on where rows lie in the table. */
static int
compare_opportunities(const void *a, const void *b)
{
	const ForecastOpportunity *x = a;
	const ForecastOpportunity *y = b;
	int			order = strcmp(x->id, y->id);

	if (order == 0)
		order = x->created_at < y->created_at ? -1 : x->created_at > y->created_at;
	return order;
}

/* Groups by their texts, and the deals' numbers of them with them. */
static void
sort_groups(ForecastBook *book)
{
	int		   *place = palloc(sizeof(int) * Max(book->groups, 1));
	char	  **key = palloc(sizeof(char *) * Max(book->groups, 1));
	Datum	   *sorted = palloc(sizeof(Datum) * Max(book->groups, 1));
	int		   *order = palloc(sizeof(int) * Max(book->groups, 1));

	for (int g = 0; g < book->groups; g++)
	{
		key[g] = OidOutputFunctionCall(F_ARRAY_OUT, book->group[g]);
		order[g] = g;
	}
	qsort_arg(order, book->groups, sizeof(int), compare_keys, key);
	for (int k = 0; k < book->groups; k++)
	{
		sorted[k] = book->group[order[k]];
		place[order[k]] = k;
	}
	for (int i = 0; i < book->count; i++)
		book->deal[i].group = place[book->deal[i].group];
	book->group = sorted;
}

/* The kernel's arrays. */
static void
fill_history(ForecastBook *book, Loader *loader)
{
	int			n = book->count;
	int32	   *created = kernel_alloc_array(&book->env, int32, n);
	int32	   *closed = kernel_alloc_array(&book->env, int32, n);
	uint8	   *outcome = kernel_alloc_array(&book->env, uint8, n);
	double	   *won = kernel_alloc_array(&book->env, double, n);
	int32	   *segment = kernel_alloc_array(&book->env, int32, n);
	int32	   *type = kernel_alloc_array(&book->env, int32, n);
	int32	   *source = kernel_alloc_array(&book->env, int32, n);
	int			segmenting = choose_segmenting(loader);

	for (int i = 0; i < n; i++)
	{
		ForecastOpportunity *deal = &book->deal[i];

		deal->created = local_day(deal->created_at, NULL);
		deal->closed = deal->closed_at == DT_NOEND ? HAZARD_NEVER : local_day(deal->closed_at, NULL);
		if (deal->closed < deal->created)
			deal->created = deal->closed;
		created[i] = deal->created;
		closed[i] = deal->closed;
		outcome[i] = deal->outcome;
		won[i] = deal->outcome == HAZARD_WON && deal->amount != NULL ? forecast_numeric_to_double(deal->amount) : NAN;
		segment[i] = segmenting < 0 ? 0 : deal->segment[segmenting];
		type[i] = deal->segment[0];
		source[i] = deal->source;
	}
	book->history.count = n;
	book->history.created = created;
	book->history.closed = closed;
	book->history.outcome = outcome;
	book->history.won_amount = won;
	book->history.segment = segment;
	book->history.segments = segmenting < 0 ? 1 : (int) hash_get_num_entries(loader->segments[segmenting]);
	book->history.trait[0] = type;
	book->history.levels[0] = (int) hash_get_num_entries(loader->segments[0]);
	book->history.trait[1] = source;
	book->history.levels[1] = (int) hash_get_num_entries(loader->sources);
	book->trait_name[0] = names_of(loader->segments[0], 1);
	book->trait_name[1] = names_of(loader->sources, 0);
	book->history.epoch = 0;
}

/* See history_pg.h. */
ForecastBook *
forecast_book_load(TimestampTz limit, ArrayType *by, const HazardOptions *options)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "salesops forecast history", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	ForecastBook *book = palloc0(sizeof(ForecastBook));
	Loader		loader = {book, GetCurrentTransactionStartTimestamp()};
	SpiArg		args[1] = {spi_timestamptz(limit)};
	SpiScope	scope;
	char	   *sql;

	book->context = context;
	book->env = kernel_env_pg(context);
	book->limit = limit;
	for (int k = 0; k < FORECAST_SEGMENTINGS; k++)
		loader.segments[k] = text_table(context, "salesops forecast segments");
	loader.sources = text_table(context, "salesops forecast sources");
	loader.groups = text_table(context, "salesops forecast groups");
	loader.currencies = text_table(context, "salesops forecast currencies");
	loader.unknown_stages = text_table(context, "salesops forecast stages");
	if (by == NULL)
		by = construct_empty_array(TEXTOID);
	sql = history_query(by, &loader.by_currency);
	spi_open(&scope, SPI_AS_CALLER);
	MemoryContextSwitchTo(context);
	spi_stream(sql, 1, args, true, take_row, &loader);
	MemoryContextSwitchTo(context);
	require_amount(loader.bad_amount, loader.bad_amount_text, "");
	require_stages(&loader);
	require_currency(&loader);
	if (book->count > 1)
		qsort(book->deal, book->count, sizeof(ForecastOpportunity), compare_opportunities);
	sort_groups(book);
	load_amounts(book);
	spi_close(&scope);
	MemoryContextSwitchTo(context);
	book->whole_days = closes_are_dates(book);
	fill_history(book, &loader);
	book->past = hazard_past(&book->env, &book->history, options);
	MemoryContextSwitchTo(old);
	return book;
}

/*
 * The last day all of which is known at an instant: with closes given as dates, the day itself; with closes at times of day,
 * the day before until noon.
 */
int32
forecast_known_day(const ForecastBook *book, TimestampTz as_of)
{
	Timestamp	local = DatumGetTimestamp(DirectFunctionCall1(timestamptz_timestamp, TimestampTzGetDatum(as_of)));
	int64		rest = local % USECS_PER_DAY;
	int32		day = local_day(as_of, NULL);

	if (rest < 0)
		rest += USECS_PER_DAY;
	return book->whole_days || rest >= USECS_PER_DAY / 2 ? day : day - 1;
}

/* Without one closed deal there is nothing to learn from. */
void
forecast_require_history(const ForecastBook *book, TimestampTz as_of)
{
	if (hazard_first_close(book->past) != HAZARD_NEVER)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 TIMESTAMP_NOT_FINITE(as_of) ? errmsg("cannot forecast: no opportunity has been closed") :
			 errmsg("cannot forecast: no opportunity was closed by %s", timestamptz_to_str(as_of)),
			 book->count == 0 && book->undated == 0 ? errdetail("There is no opportunity that was created by then and has an id.") :
			 book->undated > 0 ?
			 errdetail("There are %d open opportunities; %d are closed, but no closed_at, stage change or close_date says when.",
					   book->count, book->undated) :
			 errdetail("There are %d opportunities, all of them open.", book->count),
			 errhint("Attach opportunities with created_at and closed_at. Without history, forecast(amount, probability) takes probabilities of your own.")));
}

/*
 * Log deviation for a forecast: what own past forecasts were wrong by beyond chance, and what so few wins leave unknown.
 */
double
forecast_deviation(ForecastBook *book, int32 day, int model, int horizon, bool open_only)
{
	double		own = hazard_deviation(book->past, day, model, Max(horizon, 1), open_only);
	int			wins = 0;

	for (int i = 0; i < book->history.count; i++)
		wins += book->history.outcome[i] == HAZARD_WON && book->history.closed[i] <= day;
	return Min(sqrt(own * own + 1.0 / (wins + 1.0)), 2.0);
}
