/*
 * history_pg.c
 *		Reading the contract views opportunity, opportunity_stage_change and sales_rep into arrays for the kernel.
 *
 * What was known when: a deal exists from created_at on (else its first stage change), is open until closed_at (else its
 * last change to a closed stage, be it later than the limit, else close_date), and is worth what its latest stage change said by then. Its
 * own amount counts from updated_at on; where that is not mapped only for a reading of the present, since the amount of a
 * deal may have been written at its close. Where no amount is known it is estimated from won deals of the same segment.
 * Its stage is what the stage changes say; its type and source are today's, so only what deals have from their creation on is
 * learned from: not the owner, who may change when a deal is lost.
 *
 * Each view is read once, without a join or a sort in the server: opportunities as rows, with their texts as numbers; then stage
 * changes (statements_pg.c), found by id; then the rows are sorted by id, since sums must not depend on where rows lie in a
 * table, and everything that is numbered in order of arrival is numbered anew in that order.
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

#include "core/errors.h"
#include "core/kernel_pg.h"
#include "core/progress.h"
#include "core/spi.h"
#include "forecast/forecast_pg.h"
#include "forecast/groups_pg.h"
#include "forecast/history_pg.h"
#include "forecast/statements_pg.h"
#include "forecast/zone_pg.h"

#define STAGES_NAMED	10		/* in an error, at most */
#define SEGMENTINGS		3		/* ways to tell deals of like amount apart: type; and source; and name */
#define FEW_PER_SEGMENT 20		/* deals a value must have on average to tell segments apart */
#define SEGMENTS_MAX	5000	/* more values than that tell nothing apart */
#define TICK_ROWS		16384
#define GROUP_COLUMN	11		/* of the query: the first that is grouped by */

/* A row of opportunity */
typedef struct Row
{
	TimestampTz created_at;		/* DT_NOEND where it is not said */
	TimestampTz closed_at;
	TimestampTz updated_at;
	double		worth;			/* the amount; NAN where unknown */
	Numeric		amount;			/* the same, of a deal in a won stage and of one that is no number */
	int			id;
	int			stage;			/* -1: NULL */
	int			currency;		/* -1: NULL */
	int			trait[SEGMENTINGS];	/* type, source, name */
	int			group;
	DateADT		close_date;		/* DATEVAL_NOEND where there is none */
	uint8		outcome;
	bool		bad_amount;
	bool		amount_known;	/* at the limit */
} Row;

/* State of a load */
typedef struct Loader
{
	ForecastBook *book;
	TimestampTz now;
	Names	   *stages;
	char	   *stage_kind;		/* of the defined ones, by number */
	int			stage_kinds;
	Names	   *currencies;
	Numeric    *rate;			/* of the first currencies, by number */
	int			rates;
	Names	   *texts[SEGMENTINGS];	/* of the traits */
	bool		names_kept;		/* there are not too many of them yet */
	ForecastGrouper *grouper;
	Row		   *row;
	int			count;
	int			size;
	ForecastStatements statements;
	int		   *unknown_stage;	/* deals in each stage that is not defined, by number */
	int			unknown;
	int		   *in_currency;	/* deals with an amount in each currency, by number */
} Loader;

/* Room for one more element of an array that doubles. */
#define GROW(array, count, size) \
	do { \
		if ((count) == (size)) \
		{ \
			(size) = (size) == 0 ? 1024 : (size) * 2; \
			(array) = (count) == 0 ? palloc(sizeof(*(array)) * (size)) : repalloc_huge((array), sizeof(*(array)) * (Size) (size)); \
		} \
	} while (0)

/* The number of a column's text, or of a NULL. */
static int
number_of(Names *names, TupleTableSlot *slot, int column)
{
	text	   *value;
	int			number;

	if (slot->tts_isnull[column])
		return names_number(names, FORECAST_UNKNOWN, strlen(FORECAST_UNKNOWN));
	value = DatumGetTextPP(slot->tts_values[column]);
	number = names_number(names, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
	if ((Pointer) value != DatumGetPointer(slot->tts_values[column]))
		pfree(value);
	return number;
}

/* An instant of a column; infinite and NULL ones are DT_NOEND. */
static TimestampTz
slot_time(TupleTableSlot *slot, int column)
{
	TimestampTz at = slot->tts_isnull[column] ? DT_NOEND : DatumGetTimestampTz(slot->tts_values[column]);

	return TIMESTAMP_NOT_FINITE(at) ? DT_NOEND : at;
}

/* One defined stage, in the order of the pipeline. */
static void
take_stage(TupleTableSlot *slot, void *arg)
{
	Loader	   *loader = arg;
	char	   *kind = TextDatumGetCString(slot->tts_values[1]);
	int			number = number_of(loader->stages, slot, 0);

	loader->stage_kind = loader->stage_kind == NULL ? palloc(1) : repalloc(loader->stage_kind, number + 1);
	loader->stage_kind[number] = kind[0];
	loader->stage_kinds = number + 1;
}

/* One currency's rate. */
static void
take_rate(TupleTableSlot *slot, void *arg)
{
	Loader	   *loader = arg;
	int			number = number_of(loader->currencies, slot, 0);

	loader->rate = loader->rate == NULL ? palloc(sizeof(Numeric)) : repalloc(loader->rate, sizeof(Numeric) * (number + 1));
	loader->rate[number] = DatumGetNumericCopy(slot->tts_values[1]);
	loader->rates = number + 1;
}

/* What kind a stage is, or 0. */
static char
kind_of(const Loader *loader, int stage)
{
	return stage >= 0 && stage < loader->stage_kinds ? loader->stage_kind[stage] : 0;
}

/* The rate of a row's currency, or NULL. */
static Numeric
rate_of(const Loader *loader, const Row *row)
{
	return row->currency >= 0 && row->currency < loader->rates ? loader->rate[row->currency] : NULL;
}

/* A row's amount in the one currency; whether it is a number is said when all are read: an error from here would quote our query. */
static void
read_amount(Loader *loader, TupleTableSlot *slot, Row *row)
{
	Numeric		rate = rate_of(loader, row);
	Datum		amount;

	row->worth = NAN;
	if (slot->tts_isnull[6])
		return;
	amount = rate == NULL ? slot->tts_values[6] : DirectFunctionCall2(numeric_mul, slot->tts_values[6], NumericGetDatum(rate));
	row->worth = forecast_datum_to_double(amount);
	if (!(fabs(row->worth) <= FORECAST_MAX_AMOUNT))
	{
		row->bad_amount = true;
		row->worth = 0.0;
	}
	if (row->bad_amount || kind_of(loader, row->stage) == 'w')
		row->amount = DatumGetNumericCopy(amount);
	if (rate != NULL)
		pfree(DatumGetPointer(amount));
}

/* Take up one row. */
static void
take_row(TupleTableSlot *slot, void *arg)
{
	Loader	   *loader = arg;
	Row		   *row;

	if (slot->tts_isnull[0])
		return;
	GROW(loader->row, loader->count, loader->size);
	row = &loader->row[loader->count++];
	memset(row, 0, sizeof(Row));
	row->id = number_of(loader->book->ids, slot, 0);
	row->stage = slot->tts_isnull[1] ? -1 : number_of(loader->stages, slot, 1);
	row->created_at = slot_time(slot, 2);
	row->closed_at = slot_time(slot, 3);
	row->close_date = slot->tts_isnull[4] ? DATEVAL_NOEND : DatumGetDateADT(slot->tts_values[4]);
	row->updated_at = slot_time(slot, 5);
	row->currency = slot->tts_isnull[7] ? -1 : number_of(loader->currencies, slot, 7);
	read_amount(loader, slot, row);
	row->trait[0] = number_of(loader->texts[0], slot, 8);
	row->trait[1] = number_of(loader->texts[1], slot, 9);
	if (loader->names_kept)
		row->trait[2] = number_of(loader->texts[2], slot, 10);
	loader->names_kept = names_count(loader->texts[2]) <= SEGMENTS_MAX;
	row->group = loader->grouper == NULL ? 0 : forecast_group_of(loader->grouper, slot);
	if (loader->count % TICK_ROWS == 0)
		progress_update(loader->count, 0);
}

/* Read everything, as the caller. */
static void
read_views(Loader *loader, ArrayType *by)
{
	MemoryContext context = loader->book->context;
	StringInfoData sql;
	SpiScope	scope;

	initStringInfo(&sql);
	appendStringInfoString(&sql,
						   "SELECT o.opportunity_id, o.stage, o.created_at, o.closed_at, o.close_date, o.updated_at, o.amount, o.currency, "
						   "o.type, o.source, o.name");
	forecast_append_grouping(&sql, by);
	appendStringInfo(&sql, " FROM salesops.opportunity o%s", forecast_grouping_join(by));
	spi_open(&scope, SPI_AS_CALLER);
	MemoryContextSwitchTo(context);
	spi_stream("SELECT d.stage, d.kind FROM (SELECT DISTINCT ON (s.stage) s.stage, s.kind, s.ordinal FROM salesops.stage s "
			   "ORDER BY s.stage, s.pipeline OPERATOR(pg_catalog.<>) 'default', s.pipeline) d ORDER BY d.ordinal, d.stage",
			   0, NULL, true, take_stage, loader);
	spi_stream("SELECT r.currency, r.rate FROM salesops.currency_rate r", 0, NULL, true, take_rate, loader);
	progress_phase("reading opportunities", 0);
	spi_stream(sql.data, 0, NULL, true, take_row, loader);
	MemoryContextSwitchTo(context);
	loader->statements.stage_kind = loader->stage_kind;
	loader->statements.stage_kinds = loader->stage_kinds;
	if (loader->rates > 0)
	{
		Numeric    *rate = palloc_extended(sizeof(Numeric) * (Size) Max(names_count(loader->book->ids), 1), MCXT_ALLOC_HUGE);

		for (int i = 0; i < loader->count; i++)
			rate[loader->row[i].id] = rate_of(loader, &loader->row[i]);
		loader->statements.rate_of_id = rate;
	}
	forecast_statements_read(loader->book, &loader->statements);
	spi_close(&scope);
	MemoryContextSwitchTo(context);
	pfree(sql.data);
}

/* When a row was closed: as it says, else as its stage changes do, else on its close_date. */
static TimestampTz
close_of(const Row *row, const ForecastSpan *span)
{
	if (row->closed_at != DT_NOEND)
		return row->closed_at;
	if (span->closed_at != DT_NOBEGIN)
		return span->closed_at;
	if (DATE_NOT_FINITE(row->close_date))
		return DT_NOEND;
	return DatumGetTimestampTz(DirectFunctionCall1(date_timestamptz, DateADTGetDatum(row->close_date)));
}

/* Refuse an amount that is no number, naming its opportunity. */
static void
refuse_amount(const char *id, const char *amount, const char *where)
{
	ereport(ERROR,
			(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
			 errmsg("amount of opportunity \"%s\" is not a usable number", id),
			 errdetail("It is %s%s; amounts up to 1e18 either way are allowed.", amount, where),
			 errhint("Where an amount is not known, it is to be NULL.")));
}

/* What a row is at the limit. False: nothing is to be seen of it yet, or it cannot be used. */
static bool
see_row(Loader *loader, Row *row)
{
	TimestampTz limit = loader->book->limit;
	const ForecastSpan *span = &loader->statements.span[row->id];
	char		kind = kind_of(loader, row->stage);
	bool		open = kind == 'o';

	if (row->created_at == DT_NOEND)
		row->created_at = span->first_at;
	if (kind != 0 && !open)
	{
		row->closed_at = close_of(row, span);
		if (row->created_at == DT_NOEND)
			row->created_at = row->closed_at;	/* what it brought counts, whenever it began */
	}
	if (row->created_at == DT_NOEND || row->created_at > limit)
		return false;
	if (kind == 0)
	{
		loader->unknown_stage[row->stage + 1]++;
		loader->unknown++;
		return false;
	}
	if (!open && row->closed_at == DT_NOEND)
	{
		loader->book->undated++;
		return false;
	}
	if (row->bad_amount)
		refuse_amount(names_text(loader->book->ids, row->id), numeric_normalize(row->amount), "");
	if (span->bad_amount != NULL)
		refuse_amount(names_text(loader->book->ids, row->id), span->bad_amount, " in a stage change");
	row->amount_known = !isnan(row->worth) &&
		(row->updated_at != DT_NOEND ? row->updated_at <= limit : open && limit >= loader->now);
	if (!isnan(row->worth) && row->currency >= 0)
		loader->in_currency[row->currency]++;
	row->outcome = kind == 'w' ? HAZARD_WON : open ? HAZARD_OPEN : HAZARD_LOST;
	if (open || row->closed_at > limit)
	{
		row->outcome = HAZARD_OPEN;
		row->closed_at = DT_NOEND;
	}
	return true;
}

/* Keep the rows that may be seen. */
static void
see_rows(Loader *loader)
{
	int			kept = 0;

	loader->unknown_stage = palloc0(sizeof(int) * (names_count(loader->stages) + 1));
	loader->in_currency = palloc_extended(sizeof(int) * (Size) Max(names_count(loader->currencies), 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (int i = 0; i < loader->count; i++)
	{
		if (i % TICK_ROWS == 0)
			CHECK_FOR_INTERRUPTS();
		if (see_row(loader, &loader->row[i]))
			loader->row[kept++] = loader->row[i];
	}
	loader->count = kept;
}

/* Refuse stages that no pipeline defines, naming them. */
static void
require_stages(Loader *loader)
{
	Problems	problems;

	problems_init(&problems);
	for (int stage = -1; stage < names_count(loader->stages) && loader->unknown > 0; stage++)
	{
		int			deals = loader->unknown_stage[stage + 1];

		if (deals > 0 && problems.count < STAGES_NAMED)
			problems_add(&problems, "stage \"%s\" of %d opportunities is not defined",
						 stage < 0 ? "(NULL)" : names_text(loader->stages, stage), deals);
		else
			problems.count += deals > 0;
	}
	problems_raise(&problems, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
				   "Say which stages are open, won and lost: SELECT salesops.define_stages('default', '[{\"stage\": \"…\", \"ordinal\": 1, \"kind\": \"open\"}, …]').",
				   "cannot forecast: some opportunities are in a stage that is not defined");
}

/* Which of several currencies have no rate. */
static void
note_currencies(Loader *loader)
{
	ForecastBook *book = loader->book;
	int			currencies = names_count(loader->currencies);
	int			used = 0;

	for (int c = 0; c < currencies; c++)
		used += loader->in_currency[c] > 0;
	book->without_rate = palloc_extended(sizeof(ForecastCurrency) * (Size) Max(currencies, 1), MCXT_ALLOC_HUGE);
	for (int c = loader->rates; c < currencies && used > 1; c++)
		if (loader->in_currency[c] > 0)
			book->without_rate[book->without_rates++] = (ForecastCurrency) {names_text(loader->currencies, c), loader->in_currency[c]};
}

/* Refuse several currencies without rates, naming them; a single currency needs none, nor do forecasts by currency. */
void
forecast_require_currency(const ForecastBook *book, ArrayType *by)
{
	Problems	problems;

	if (book->without_rates == 0 || forecast_by_currency(by))
		return;
	problems_init(&problems);
	for (int k = 0; k < book->without_rates; k++)
		problems_add(&problems, "%s (%d opportunities)", book->without_rate[k].name, book->without_rate[k].deals);
	problems_raise(&problems, ERRCODE_INVALID_PARAMETER_VALUE,
				   "Insert a rate for each into salesops.currency_rate (currency, rate), or forecast by => '{currency}'.",
				   "cannot add up amounts in several currencies without rates");
}

/* A row to be sorted: the first eight bytes of its id as a number, which decide most comparisons */
typedef struct SortRow
{
	uint64		prefix;
	const char *id;
	TimestampTz created_at;
	int			row;
} SortRow;

/* By id, then creation, then as they came. */
static inline int
compare_rows(const SortRow *a, const SortRow *b)
{
	int			order;

	if (a->prefix != b->prefix)
		return a->prefix < b->prefix ? -1 : 1;
	order = strcmp(a->id, b->id);
	if (order == 0)
		order = a->created_at < b->created_at ? -1 : a->created_at > b->created_at;
	return order != 0 ? order : a->row < b->row ? -1 : a->row > b->row;
}

#define ST_SORT sort_rows_by_id
#define ST_ELEMENT_TYPE SortRow
#define ST_COMPARE(a, b) compare_rows(a, b)
#define ST_SCOPE static
#define ST_CHECK_FOR_INTERRUPTS
#define ST_DEFINE
#include "lib/sort_template.h"

/* The first eight bytes of a text, in the order of strcmp. */
static uint64
text_prefix(const char *text)
{
	uint64		prefix = 0;

	for (int k = 0; k < 8; k++)
	{
		prefix = prefix << 8 | (unsigned char) *text;
		text += *text != '\0';
	}
	return prefix;
}

/* The rows by id. */
static void
sort_rows(Loader *loader)
{
	Size		room = Max(loader->count, 1);
	SortRow    *order = palloc_extended(sizeof(SortRow) * room, MCXT_ALLOC_HUGE);
	Row		   *sorted;
	bool		in_order = true;

	for (int i = 0; i < loader->count; i++)
	{
		const Row  *row = &loader->row[i];
		const char *id = names_text(loader->book->ids, row->id);

		order[i] = (SortRow) {text_prefix(id), id, row->created_at, i};
		in_order &= i == 0 || compare_rows(&order[i - 1], &order[i]) < 0;
	}
	if (!in_order)
	{
		sort_rows_by_id(order, loader->count);
		sorted = palloc_extended(sizeof(Row) * room, MCXT_ALLOC_HUGE);
		for (int i = 0; i < loader->count; i++)
			sorted[i] = loader->row[order[i].row];
		pfree(loader->row);
		loader->row = sorted;
	}
	pfree(order);
}

/* A trait's numbers in the order in which the sorted deals have them */
typedef struct Levels
{
	int			count;
	int		   *number;			/* of each level, its text's */
	int		   *of;				/* of each deal */
} Levels;

/* Number anew. */
static Levels
number_levels(const Loader *loader, int trait)
{
	int			texts = names_count(loader->texts[trait]);
	int		   *level = palloc_extended(sizeof(int) * (Size) Max(texts, 1), MCXT_ALLOC_HUGE);
	Levels		levels = {0};

	levels.number = palloc_extended(sizeof(int) * (Size) Max(texts, 1), MCXT_ALLOC_HUGE);
	levels.of = kernel_alloc_array(&loader->book->env, int32, loader->count);
	for (int t = 0; t < texts; t++)
		level[t] = -1;
	for (int i = 0; i < loader->count; i++)
	{
		int			text = loader->row[i].trait[trait];

		if (level[text] < 0)
		{
			levels.number[levels.count] = text;
			level[text] = levels.count++;
		}
		levels.of[i] = level[text];
	}
	pfree(level);
	return levels;
}

/* The texts of a trait's levels; they are the loader's. */
static const char **
level_names(const Loader *loader, int trait, const Levels *levels)
{
	const char **name = palloc_extended(sizeof(char *) * (Size) Max(levels->count, 1), MCXT_ALLOC_HUGE);

	for (int k = 0; k < levels->count; k++)
		name[k] = names_text(loader->texts[trait], levels->number[k]);
	return name;
}

/*
 * Segments of deals of like amounts, as finely as there are enough deals a segment: by type; by type and source; by name too. One segment
 * where even types are too many.
 */
static void
fill_segments(Loader *loader, const Levels *type, const Levels *source)
{
	const KernelEnv *env = &loader->book->env;
	HazardHistory *h = &loader->book->history;
	int		   *segment = kernel_alloc_array(env, int32, loader->count);
	bool		fine = true;

	memset(segment, 0, sizeof(int) * (Size) loader->count);
	h->segments = 1;
	for (int k = 0; k < (loader->names_kept ? SEGMENTINGS : SEGMENTINGS - 1) && fine; k++)
	{
		Names	   *pairs = names_create(env);
		int		   *finer = kernel_alloc_array(env, int32, loader->count);

		for (int i = 0; i < loader->count && fine; i++)
		{
			finer[i] = names_pair(pairs, segment[i], k == 0 ? type->of[i] : k == 1 ? source->of[i] : loader->row[i].trait[2]);
			fine = names_count(pairs) <= SEGMENTS_MAX;
		}
		fine &= (int64) names_count(pairs) * FEW_PER_SEGMENT <= loader->count;
		if (fine)
		{
			memcpy(segment, finer, sizeof(int) * (Size) loader->count);
			h->segments = Max(names_count(pairs), 1);
		}
		kernel_release(env, finer);
		names_free(pairs);
	}
	h->segment = segment;
}

/* Are closes given as dates? Then a date's events are known at its midnight, which is how a date becomes an instant. */
static bool
closes_are_dates(const Loader *loader)
{
	int			closes = 0;
	int			midnights = 0;

	for (int i = 0; i < loader->count; i++)
	{
		bool		midnight;

		if (loader->row[i].closed_at == DT_NOEND)
			continue;
		forecast_local_day(loader->row[i].closed_at, &midnight);
		closes++;
		midnights += midnight;
	}
	return midnights >= 0.95 * closes;
}

/* What each deal is, but for its days. */
static void
fill_deals(Loader *loader)
{
	ForecastBook *book = loader->book;
	int			ids = names_count(book->ids);

	book->count = loader->count;
	book->deal = palloc_extended(sizeof(ForecastOpportunity) * (Size) Max(book->count, 1), MCXT_ALLOC_HUGE);
	book->deal_of_id = palloc_extended(sizeof(int) * (Size) Max(ids, 1), MCXT_ALLOC_HUGE);
	for (int id = 0; id < ids; id++)
		book->deal_of_id[id] = -1;
	for (int i = 0; i < book->count; i++)
	{
		const Row  *row = &loader->row[i];

		book->deal[i] = (ForecastOpportunity) {row->id, row->group, row->outcome == HAZARD_WON ? row->amount : NULL};
		book->twins |= book->deal_of_id[row->id] >= 0;
		book->deal_of_id[row->id] = i;
	}
}

/* The kernel's arrays of days, outcomes and amounts; what the deals themselves say they are worth. */
static ForecastOwnAmount *
fill_days(Loader *loader)
{
	ForecastBook *book = loader->book;
	const KernelEnv *env = &book->env;
	Size		n = (Size) book->count;
	int32	   *created = kernel_alloc_array(env, int32, n);
	int32	   *closed = kernel_alloc_array(env, int32, n);
	uint8	   *outcome = kernel_alloc_array(env, uint8, n);
	double	   *won = kernel_alloc_array(env, double, n);
	ForecastOwnAmount *own = kernel_alloc_array(env, ForecastOwnAmount, n);

	for (int i = 0; i < book->count; i++)
	{
		const Row  *row = &loader->row[i];

		closed[i] = row->closed_at == DT_NOEND ? HAZARD_NEVER : forecast_local_day(row->closed_at, NULL);
		created[i] = Min(forecast_local_day(row->created_at, NULL), closed[i]);
		outcome[i] = row->outcome;
		won[i] = row->outcome == HAZARD_WON ? row->worth : NAN;
		own[i] = (ForecastOwnAmount)
		{
			row->amount_known ? row->worth : NAN,
				forecast_local_day(row->updated_at != DT_NOEND ? row->updated_at : book->limit, NULL) - (row->updated_at == DT_NOEND)
		};
	}
	book->history.count = book->count;
	book->history.created = created;
	book->history.closed = closed;
	book->history.outcome = outcome;
	book->history.won_amount = won;
	book->history.epoch = 0;
	return own;
}

/* The kernel's history. */
static void
fill_history(Loader *loader)
{
	ForecastBook *book = loader->book;
	Levels		levels[HAZARD_TRAITS];
	ForecastOwnAmount *own;

	fill_deals(loader);
	own = fill_days(loader);
	for (int k = 0; k < HAZARD_TRAITS; k++)
	{
		levels[k] = number_levels(loader, k);
		book->history.trait[k] = levels[k].of;
		book->history.levels[k] = levels[k].count;
		book->trait_name[k] = level_names(loader, k, &levels[k]);
		pfree(levels[k].number);
	}
	fill_segments(loader, &levels[0], &levels[1]);
	book->whole_days = closes_are_dates(loader);
	pfree(loader->row);
	forecast_statements_place(book, &loader->statements, own);
	pfree(own);
}

/* Tables that a load begins with. */
static void
begin_load(Loader *loader, ForecastBook *book, ArrayType *by)
{
	*loader = (Loader) {.book = book, .now = GetCurrentTransactionStartTimestamp(), .names_kept = true};
	loader->stages = names_create(&book->env);
	loader->currencies = names_create(&book->env);
	for (int k = 0; k < SEGMENTINGS; k++)
		loader->texts[k] = names_create(&book->env);
	loader->row = palloc(sizeof(Row));
	loader->statements.ids = book->ids;
	loader->statements.stages = loader->stages;
	if (!forecast_by_nothing(by))
	{
		book->by = (ArrayType *) PG_DETOAST_DATUM_COPY(PointerGetDatum(by));
		loader->grouper = forecast_grouper(&book->env, by, GROUP_COLUMN);
	}
}

/* See history_pg.h. */
ForecastBook *
forecast_book_load(TimestampTz limit, ArrayType *by, const HazardOptions *options)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "salesops forecast history", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	ForecastBook *book = palloc0(sizeof(ForecastBook));
	Loader		loader;

	book->context = context;
	book->env = kernel_env_pg(context);
	book->limit = limit;
	book->ids = names_create(&book->env);
	begin_load(&loader, book, by);
	read_views(&loader, by);
	see_rows(&loader);
	require_stages(&loader);
	note_currencies(&loader);
	forecast_require_currency(book, by);
	progress_phase("learning from the past", 0);
	sort_rows(&loader);
	fill_history(&loader);
	if (loader.grouper != NULL)
		forecast_groups_finish(loader.grouper, book);
	names_free(loader.texts[2]);
	book->past = hazard_past(&book->env, &book->history, options);
	MemoryContextSwitchTo(old);
	return book;
}

/* The grouping of one more row: id, and what it is grouped by. */
typedef struct Regrouping
{
	ForecastBook *book;
	ForecastGrouper *grouper;
	int		   *group;			/* of each deal */
} Regrouping;

/* Take it. */
static void
take_group(TupleTableSlot *slot, void *arg)
{
	Regrouping *r = arg;
	text	   *id;
	int			deal;

	if (slot->tts_isnull[0])
		return;
	id = DatumGetTextPP(slot->tts_values[0]);
	deal = forecast_find_deal(r->book, VARDATA_ANY(id), VARSIZE_ANY_EXHDR(id));
	if (deal >= 0)
		r->group[deal] = forecast_group_of(r->grouper, slot);
	if ((Pointer) id != DatumGetPointer(slot->tts_values[0]))
		pfree(id);
}

/* See history_pg.h. The rows are those of the load: the caller sees to it that nothing has changed since. */
void
forecast_book_group(ForecastBook *book, ArrayType *by)
{
	MemoryContext old = MemoryContextSwitchTo(book->context);
	Regrouping	r = {book, forecast_grouper(&book->env, by, 1),
	palloc_extended(sizeof(int) * (Size) Max(book->count, 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO)};
	StringInfoData sql;
	SpiScope	scope;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT o.opportunity_id");
	forecast_append_grouping(&sql, by);
	appendStringInfo(&sql, " FROM salesops.opportunity o%s", forecast_grouping_join(by));
	progress_phase("reading groups", 0);
	spi_open(&scope, SPI_AS_CALLER);
	MemoryContextSwitchTo(book->context);
	spi_stream(sql.data, 0, NULL, true, take_group, &r);
	spi_close(&scope);
	MemoryContextSwitchTo(book->context);
	if (book->groups.count > 0)
	{
		pfree(book->groups.start);
		pfree(book->groups.member);
	}
	for (int i = 0; i < book->count; i++)
		book->deal[i].group = r.group[i];
	pfree(r.group);
	forecast_groups_finish(r.grouper, book);
	book->by = (ArrayType *) PG_DETOAST_DATUM_COPY(PointerGetDatum(by));
	pfree(sql.data);
	MemoryContextSwitchTo(old);
}

/* See history_pg.h. */
const char *
forecast_deal_id(const ForecastBook *book, int deal)
{
	return names_text(book->ids, book->deal[deal].id);
}

/* See history_pg.h. */
int
forecast_find_deal(const ForecastBook *book, const char *id, size_t length)
{
	int			number = names_find(book->ids, id, length);

	return number < 0 ? -1 : book->deal_of_id[number];
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
	int32		day = forecast_local_day(as_of, NULL);

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
