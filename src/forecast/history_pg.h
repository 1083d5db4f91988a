/*
 * history_pg.h
 *		The attached opportunities as the time-to-win kernel wants them: days, outcomes, amounts, groups.
 */
#ifndef SALESOPS_FORECAST_HISTORY_PG_H
#define SALESOPS_FORECAST_HISTORY_PG_H

#include "postgres.h"

#include "utils/array.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "forecast/hazard.h"
#include "forecast/names.h"

#define FORECAST_UNKNOWN	"\x02"	/* the text of a NULL */
#define FORECAST_TEXT_MAX	256	/* longer texts are not kept in stored models */

/* One opportunity that exists at the limit of what may be seen; the rest of it is in the history */
typedef struct ForecastOpportunity
{
	int			id;				/* in the book's ids */
	int			group;
	Numeric		amount;			/* of a won deal, in the one currency; NULL where unknown */
} ForecastOpportunity;

/* What opportunities are grouped by, and which are in each group */
typedef struct ForecastGroups
{
	int			count;			/* 0: not grouped */
	Datum	   *key;			/* text[] */
	int		   *start;			/* [count + 1]: a group's first place in member */
	int		   *member;			/* deals, by group and then by number */
} ForecastGroups;

/* A currency without a rate where there are several: its name and how many amounts are in it */
typedef struct ForecastCurrency
{
	const char *name;
	int			deals;
} ForecastCurrency;

typedef struct ForecastBook
{
	MemoryContext context;
	KernelEnv	env;
	TimestampTz limit;			/* nothing later was read */
	ForecastOpportunity *deal;	/* by id, then creation */
	int			count;
	int			undated;		/* closed ones that nothing says the day of: left out */
	Names	   *ids;
	int		   *deal_of_id;		/* by the id's number: the last deal of that id, or -1 */
	bool		twins;			/* some id is that of several deals */
	ArrayType  *by;				/* what the groups are by; NULL: nothing */
	ForecastGroups groups;
	ForecastCurrency *without_rate; /* of several currencies */
	int			without_rates;
	bool		whole_days;		/* closes are dates, not times */
	const char **trait_name[HAZARD_TRAITS]; /* of the history's levels: type, source */
	const char **stage_name;
	HazardHistory history;
	HazardPast *past;
} ForecastBook;

/*
 * Read the opportunities as the caller, and forget what is later than the limit (infinity: keep everything, the kernel
 * looks at days). 'by' is a text[] of grouping columns, already checked, or NULL. Errors: stages that are not defined, several
 * currencies without rates unless grouped by currency, amounts that are no numbers.
 */
extern ForecastBook *forecast_book_load(TimestampTz limit, ArrayType *by, const HazardOptions *options);
/* Group the deals of a book without twins anew. */
extern void forecast_book_group(ForecastBook *book, ArrayType *by);
extern void forecast_require_currency(const ForecastBook *book, ArrayType *by);
extern const char *forecast_deal_id(const ForecastBook *book, int deal);
/* The number of a deal by its id, or -1. */
extern int	forecast_find_deal(const ForecastBook *book, const char *id, size_t length);
extern int32 forecast_known_day(const ForecastBook *book, TimestampTz as_of);
extern void forecast_require_history(const ForecastBook *book, TimestampTz as_of);
extern double forecast_deviation(ForecastBook *book, int32 day, int model, int horizon, bool open_only);

#endif /* SALESOPS_FORECAST_HISTORY_PG_H */
