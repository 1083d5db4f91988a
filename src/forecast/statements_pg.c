/*
 * statements_pg.c
 *		Reading the stage changes, once, and handing them to the kernel by deal and time.
 *
 * They are the largest part of a history: a change costs a look at the table of ids and 24 bytes until all are read. Then they are put
 * in their places by counting; only the few of one deal are sorted.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "core/progress.h"
#include "core/spi.h"
#include "forecast/forecast_pg.h"
#include "forecast/statements_pg.h"
#include "forecast/zone_pg.h"

#define TICK_ROWS	16384

/* The number of a text column's text; NULLs are the caller's. */
static int
find_text(const Names *names, Datum value)
{
	text	   *packed = DatumGetTextPP(value);
	int			number = names_find(names, VARDATA_ANY(packed), VARSIZE_ANY_EXHDR(packed));

	if ((Pointer) packed != DatumGetPointer(value))
		pfree(packed);
	return number;
}

/* The same; a new text is taken up. */
static int
number_text(Names *names, Datum value)
{
	text	   *packed = DatumGetTextPP(value);
	int			number = names_number(names, VARDATA_ANY(packed), VARSIZE_ANY_EXHDR(packed));

	if ((Pointer) packed != DatumGetPointer(value))
		pfree(packed);
	return number;
}

/* An amount in the one currency. */
static double
stated_amount(const ForecastStatements *s, int id, Datum value)
{
	double		amount;
	Datum		product;

	if (s->rate_of_id == NULL || s->rate_of_id[id] == NULL)
		return forecast_datum_to_double(value);
	product = DirectFunctionCall2(numeric_mul, value, NumericGetDatum(s->rate_of_id[id]));
	amount = forecast_datum_to_double(product);
	pfree(DatumGetPointer(product));
	return amount;
}

/* Room for one more. */
static ForecastStatement *
next_statement(ForecastStatements *s)
{
	if (s->count == s->size)
	{
		s->size = s->size == 0 ? 1024 : s->size * 2;
		s->statement = s->count == 0 ? palloc(sizeof(ForecastStatement) * s->size) :
			repalloc_huge(s->statement, sizeof(ForecastStatement) * (Size) s->size);
	}
	return &s->statement[s->count++];
}

/* What a change says the deal is worth, or NAN; what is no number is told when it is known whether the deal counts. */
static double
take_amount(ForecastStatements *s, int id, Datum value)
{
	double		amount = stated_amount(s, id, value);

	if (fabs(amount) <= FORECAST_MAX_AMOUNT)
		return amount;
	if (s->rate_of_id != NULL && s->rate_of_id[id] != NULL)
		value = DirectFunctionCall2(numeric_mul, value, NumericGetDatum(s->rate_of_id[id]));
	if (s->span[id].bad_amount == NULL)
		s->span[id].bad_amount = numeric_normalize(DatumGetNumeric(value));
	return NAN;
}

/* One stage change: id, instant, amount, stage. */
static void
take_change(TupleTableSlot *slot, void *arg)
{
	ForecastStatements *s = arg;
	ForecastStatement said = {.id = -1, .stage = -1, .amount = NAN};
	ForecastSpan *span;

	if (slot->tts_isnull[0] || (said.id = find_text(s->ids, slot->tts_values[0])) < 0)
		return;
	said.at = DatumGetTimestampTz(slot->tts_values[1]);
	if (!slot->tts_isnull[3])
		said.stage = number_text(s->stages, slot->tts_values[3]);
	span = &s->span[said.id];
	if (!TIMESTAMP_NOT_FINITE(said.at))
	{
		span->first_at = Min(span->first_at, said.at);
		if (said.stage >= 0 && said.stage < s->stage_kinds && s->stage_kind[said.stage] != 'o')
			span->closed_at = Max(span->closed_at, said.at);
	}
	else
		said.stage = -1;
	if (said.at > s->limit)
		return;
	if (!slot->tts_isnull[2])
		said.amount = take_amount(s, said.id, slot->tts_values[2]);
	if (said.stage < 0 && isnan(said.amount))
		return;
	s->amounts += !isnan(said.amount);
	*next_statement(s) = said;
	if (s->count % TICK_ROWS == 0)
		progress_update(s->count, 0);
}

/* See statements_pg.h. */
void
forecast_statements_read(ForecastBook *book, ForecastStatements *s)
{
	int			ids = names_count(s->ids);

	s->limit = book->limit;
	s->span = palloc_extended(sizeof(ForecastSpan) * (Size) Max(ids, 1), MCXT_ALLOC_HUGE);
	for (int i = 0; i < ids; i++)
		s->span[i] = (ForecastSpan) {DT_NOEND, DT_NOBEGIN, NULL};
	progress_phase("reading stage changes", 0);
	spi_stream("SELECT c.opportunity_id, c.entered_at, c.amount, c.stage FROM salesops.opportunity_stage_change c "
			   "WHERE c.entered_at IS NOT NULL", 0, NULL, true, take_change, s);
}

/* By time, then stage: of several at one instant the later in the pipeline is the last. */
static int
compare_statements(const void *a, const void *b)
{
	const ForecastStatement *x = a;
	const ForecastStatement *y = b;

	if (x->at != y->at)
		return x->at < y->at ? -1 : 1;
	return x->stage < y->stage ? -1 : x->stage > y->stage;
}

/* By day, then by size: of several amounts of a day the largest counts. */
static int
compare_amounts(const void *a, const void *b)
{
	const HazardAmount *x = a;
	const HazardAmount *y = b;

	if (x->day != y->day)
		return x->day < y->day ? -1 : 1;
	return x->amount < y->amount ? -1 : x->amount > y->amount;
}

/* Where each deal's statements begin, and their numbers by deal. */
static int *
by_deal(const ForecastBook *book, const ForecastStatements *s, int **start)
{
	int		   *place = palloc_extended(sizeof(int) * (Size) Max(s->count, 1), MCXT_ALLOC_HUGE);
	int		   *next = palloc_extended(sizeof(int) * ((Size) book->count + 2), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);

	for (int k = 0; k < s->count; k++)
		next[book->deal_of_id[s->statement[k].id] + 2]++;	/* those of no deal come first */
	for (int i = 1; i <= book->count + 1; i++)
		next[i] += next[i - 1];
	/* next[d + 1] is where deal d begins, and moves to where it ends, which is where the next one begins */
	for (int k = 0; k < s->count; k++)
		place[next[book->deal_of_id[s->statement[k].id] + 1]++] = k;
	*start = next;
	return place;
}

/* What is under way of placing */
typedef struct Placing
{
	HazardAmount *amount;
	int			amounts;
	HazardStage *stage;
	int			stages;
	int		   *level;			/* of each stage's number, or -1: not seen yet */
	int			levels;
	int		   *number;			/* of each level, its stage's */
} Placing;

/* One deal's stages and amounts. Levels are numbered as they first come, so that where rows lie in a table makes no difference. */
static void
place_deal(Placing *p, int deal, const ForecastStatement *said, int count, const ForecastOwnAmount *own)
{
	int			first = p->amounts;

	for (int k = 0; k < count; k++)
	{
		int32		day = forecast_local_day(said[k].at, NULL);

		if (!isnan(said[k].amount))
			p->amount[p->amounts++] = (HazardAmount) {deal, day, said[k].amount};
		if (said[k].stage < 0)
			continue;
		if (p->level[said[k].stage] < 0)
		{
			p->number[p->levels] = said[k].stage;
			p->level[said[k].stage] = p->levels++;
		}
		p->stage[p->stages++] = (HazardStage) {deal, day, p->level[said[k].stage]};
	}
	if (!isnan(own->amount))
		p->amount[p->amounts++] = (HazardAmount) {deal, own->day, own->amount};
	qsort(&p->amount[first], p->amounts - first, sizeof(HazardAmount), compare_amounts);
}

/* Stages' names by level; the texts are the loader's. */
static void
name_levels(ForecastBook *book, const ForecastStatements *s, const Placing *p)
{
	book->stage_name = palloc(sizeof(char *) * Max(p->levels, 1));
	for (int k = 0; k < p->levels; k++)
		book->stage_name[k] = names_text(s->stages, p->number[k]);
	book->history.stage_levels = p->levels;
}

/* See statements_pg.h. */
void
forecast_statements_place(ForecastBook *book, ForecastStatements *s, const ForecastOwnAmount *own)
{
	Placing		p = {0};
	int		   *end;
	int		   *place = by_deal(book, s, &end);
	ForecastStatement *said = palloc(sizeof(ForecastStatement));
	int			room = 1;
	int			stages = names_count(s->stages);
	int			at = book->count > 0 ? end[0] : 0;

	p.amount = kernel_alloc_array(&book->env, HazardAmount, (Size) s->amounts + book->count);
	p.stage = kernel_alloc_array(&book->env, HazardStage, (Size) s->count);
	p.level = palloc_extended(sizeof(int) * (Size) Max(stages, 1), MCXT_ALLOC_HUGE);
	p.number = palloc_extended(sizeof(int) * (Size) Max(stages, 1), MCXT_ALLOC_HUGE);
	for (int k = 0; k < stages; k++)
		p.level[k] = -1;
	for (int i = 0; i < book->count; i++)
	{
		int			count = end[i + 1] - at;

		if (count > room)
			said = repalloc_huge(said, sizeof(ForecastStatement) * (Size) (room = Max(count, room * 2)));
		for (int k = 0; k < count; k++)
			said[k] = s->statement[place[at + k]];
		qsort(said, count, sizeof(ForecastStatement), compare_statements);
		place_deal(&p, i, said, count, &own[i]);
		at = end[i + 1];
		if (i % TICK_ROWS == 0)
			CHECK_FOR_INTERRUPTS();
	}
	book->history.amount = p.amount;
	book->history.amounts = p.amounts;
	book->history.stage = p.stage;
	book->history.stages = p.stages;
	name_levels(book, s, &p);
	pfree(said);
	pfree(place);
	pfree(end);
	pfree(p.level);
	pfree(p.number);
	pfree(s->span);
	if (s->statement != NULL)
		pfree(s->statement);
}
