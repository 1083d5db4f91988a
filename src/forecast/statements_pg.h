/*
 * statements_pg.h
 *		What stage changes said of deals: stages and amounts, and since when. Between the reading of opportunities and the kernel.
 */
#ifndef SALESOPS_FORECAST_STATEMENTS_PG_H
#define SALESOPS_FORECAST_STATEMENTS_PG_H

#include "postgres.h"

#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "forecast/history_pg.h"

/* What the stage changes of one id span */
typedef struct ForecastSpan
{
	TimestampTz first_at;		/* DT_NOEND: there is none */
	TimestampTz closed_at;		/* the last change to a stage that is not open, be it after the limit; DT_NOBEGIN: there is none */
	char	   *bad_amount;		/* what one of them until the limit says that is no number; NULL: none does */
} ForecastSpan;

/* One stage change */
typedef struct ForecastStatement
{
	int			id;
	int			stage;			/* in the loader's stages; -1: it names none */
	TimestampTz at;
	double		amount;			/* NAN: it states none */
} ForecastStatement;

typedef struct ForecastStatements
{
	TimestampTz limit;			/* what is later says only when a deal was closed */
	const Names *ids;			/* only these are of interest */
	Names	   *stages;
	const char *stage_kind;		/* by number, 'o', 'w' or 'l'; of the first stages only */
	int			stage_kinds;
	const Numeric *rate_of_id;	/* NULL where no id has a rate; by number, NULL where an id has none */
	ForecastSpan *span;			/* by id */
	ForecastStatement *statement;
	int			count;
	int			size;
	int			amounts;		/* of the statements */
} ForecastStatements;

/* An amount stated by a deal itself, not by a stage change */
typedef struct ForecastOwnAmount
{
	double		amount;			/* NAN: none */
	int32		day;
} ForecastOwnAmount;

/*
 * Read the stage changes, within an open scope. A close is looked for in all of them, not in those until the limit: where it comes later
 * the deal was open then, and the expected close_date must not stand in for it.
 */
extern void forecast_statements_read(ForecastBook *book, ForecastStatements *statements);
/* Give the kernel the stages and amounts of each deal, in order of time. */
extern void forecast_statements_place(ForecastBook *book, ForecastStatements *statements, const ForecastOwnAmount *own);

#endif /* SALESOPS_FORECAST_STATEMENTS_PG_H */
