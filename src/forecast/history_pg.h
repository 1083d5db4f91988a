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

#define FORECAST_UNKNOWN	"\x02"	/* the text of a NULL */
#define FORECAST_TEXT_MAX	(NAMEDATALEN * 4)	/* of a text's key: longer ones go by their beginning and a hash */
#define FORECAST_SEGMENTINGS 3	/* ways to tell deals of like amount apart */

/* One opportunity that exists at the limit of what may be seen */
typedef struct ForecastOpportunity
{
	char	   *id;
	char	   *stage;
	TimestampTz created_at;
	TimestampTz closed_at;		/* DT_NOEND while open */
	HazardOutcome outcome;		/* as of the limit */
	Numeric		amount;			/* in the one currency; NULL where unknown or not known at the limit */
	bool		amount_known;	/* amount may be used for the open deal at the limit */
	TimestampTz updated_at;		/* DT_NOEND where NULL */
	int32		created;		/* the kernel's days */
	int32		closed;
	int			segment[FORECAST_SEGMENTINGS];
	int			source;
	int			group;
} ForecastOpportunity;

typedef struct ForecastBook
{
	MemoryContext context;
	KernelEnv	env;
	TimestampTz limit;			/* nothing later was read */
	ForecastOpportunity *deal;
	int			count;
	int			size;			/* allocated */
	Datum	   *group;			/* text[] */
	int			groups;
	char	   *currency;		/* or NULL where none is said */
	bool		whole_days;		/* closes are dates, not times */
	int			undated;		/* closed deals without a date: left out */
	char	  **trait_name[HAZARD_TRAITS];	/* of the history's levels: type, source */
	char	  **stage_name;
	HazardHistory history;
	HazardPast *past;
} ForecastBook;

/*
 * Read the opportunities as the caller, and forget what is later than the limit (infinity: keep everything, the kernel
 * looks at days). 'by' is a text[] of grouping columns, already checked, or NULL. Errors: stages that are not defined, several
 * currencies without rates, amounts that are no numbers.
 */
extern ForecastBook *forecast_book_load(TimestampTz limit, ArrayType *by, const HazardOptions *options);
extern int32 forecast_known_day(const ForecastBook *book, TimestampTz as_of);
extern void forecast_require_history(const ForecastBook *book, TimestampTz as_of);
extern void forecast_check_by(ArrayType *by);
extern double forecast_deviation(ForecastBook *book, int32 day, int model, int horizon, bool open_only);

#endif /* SALESOPS_FORECAST_HISTORY_PG_H */
