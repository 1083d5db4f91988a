/*
 * kept_pg.c
 *		Keeping the deals that a statement has read, the model fitted to them, and the chances it gave.
 *
 * A query asks for many deals, one a call, or for bookings, deals and simulations of the same day: reading and fitting is nearly all
 * their work, and is done once. What is kept is of one instant, and of one view of the data: all that reading depends on is
 * compared (settings too, since a policy or a view may look at them). The memory goes with the statement.
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "pgtime.h"
#include "utils/guc.h"
#include "utils/guc_tables.h"
#include "utils/memutils.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

#include "forecast/groups_pg.h"
#include "forecast/kept_pg.h"

#define HORIZONS_MAX	512		/* whose chances are kept */

/* Chances of all open deals to be won within so many days */
typedef struct Horizon
{
	int			days;
	double	   *chance;			/* of the book's open deals, in order */
} Horizon;

struct ForecastKept
{
	MemoryContext context;
	/* what reading depends on */
	TimestampTz as_of;
	TimestampTz statement;
	Oid			user;
	bool		row_security;
	const pg_tz *zone;
	TransactionId xmin;
	TransactionId xmax;
	CommandId	command;
	uint64		completed;
	uint64		settings;
	/* what was read */
	int			holders;
	SubTransactionId held_in;	/* by the first of them */
	bool		broken;			/* an error came in the middle of a fit */
	ForecastBook *book;
	int32		known;
	MemoryContext plan_context;	/* NULL: no plan yet */
	ForecastPlan plan;
	int		   *open;			/* deals open at the instant, ascending; NULL: not listed yet */
	int			opens;
	Horizon    *horizon;
	int			horizons;
};

static ForecastKept *kept_now = NULL;

/* Its memory goes. */
static void
forget(void *kept)
{
	if (kept_now == kept)
		kept_now = NULL;
}

/* A hash of a setting's value. */
static uint64
hash_setting(const struct config_generic *setting, uint64 hash)
{
	const char *text = NULL;
	uint64		value = 0;

	switch (setting->vartype)
	{
		case PGC_STRING:
			text = *((const struct config_string *) setting)->variable;
			break;
		case PGC_BOOL:
			value = *((const struct config_bool *) setting)->variable;
			break;
		case PGC_INT:
			value = (uint64) *((const struct config_int *) setting)->variable;
			break;
		case PGC_ENUM:
			value = (uint64) *((const struct config_enum *) setting)->variable;
			break;
		case PGC_REAL:
			memcpy(&value, ((const struct config_real *) setting)->variable, sizeof(value));
			break;
	}
	if (text != NULL)
		value = hash_bytes_extended((const unsigned char *) text, (int) strlen(text), 1);
	return hash_combine64(hash, value);
}

/* A hash of the settings that a policy, a view or a function of the user's may look at: texts, and whatever extensions and users made. */
static uint64
settings_hash(void)
{
	uint64		hash = 0;
	int			count;
	struct config_generic **setting;

#if PG_VERSION_NUM >= 160000
	setting = get_guc_variables(&count);
#else
	setting = get_guc_variables();
	count = GetNumConfigOptions();
#endif
	for (int k = 0; k < count; k++)
		if (setting[k]->vartype == PGC_STRING || setting[k]->group == CUSTOM_OPTIONS)
			hash = hash_setting(setting[k], hash);
#if PG_VERSION_NUM >= 160000
	pfree(setting);
#endif
	return hash;
}

/* What there is to compare. */
static ForecastKept
key_of(TimestampTz as_of)
{
	Snapshot	snapshot = GetActiveSnapshot();

	return (ForecastKept) {.as_of = as_of, .statement = GetCurrentStatementStartTimestamp(), .user = GetUserId(),
	.row_security = row_security, .zone = session_timezone, .xmin = snapshot->xmin, .xmax = snapshot->xmax, .command = snapshot->curcid,
	.completed = snapshot->snapXactCompletionCount, .settings = settings_hash()};
}

/* Is it the same view of the same data? */
static bool
same(const ForecastKept *a, const ForecastKept *b)
{
	return !a->broken && a->as_of == b->as_of && a->statement == b->statement && a->user == b->user && a->row_security == b->row_security &&
		a->zone == b->zone && a->xmin == b->xmin && a->xmax == b->xmax && a->command == b->command && a->completed == b->completed &&
		a->settings == b->settings;
}

/* Whether what is kept is grouped as wanted, or can be without reading it all again. */
static bool
groups_serve(const ForecastBook *book, ArrayType *by)
{
	return forecast_by_nothing(by) || !book->twins ||
		(book->by != NULL && VARSIZE(book->by) == VARSIZE(by) && memcmp(book->by, by, VARSIZE(by)) == 0);
}

/* Group it so. */
static void
group_again(ForecastBook *book, ArrayType *by)
{
	if (forecast_by_nothing(by) || (book->by != NULL && VARSIZE(book->by) == VARSIZE(by) && memcmp(book->by, by, VARSIZE(by)) == 0))
		return;
	forecast_book_group(book, by);
}

/*
 * Let go of what is kept, unless a caller further up still uses it: then it stays until the statement is over. One that an error left, and
 * whose subtransaction is gone, uses nothing.
 */
static void
let_go(void)
{
	if (kept_now != NULL && (kept_now->holders == 0 || !SubTransactionIsActive(kept_now->held_in)))
		MemoryContextDelete(kept_now->context);
	kept_now = NULL;
}

/* Read the deals into a context of its own, which an error takes along. */
static ForecastBook *
read_into(MemoryContext context, TimestampTz as_of, ArrayType *by)
{
	ForecastBook *book;

	PG_TRY();
	{
		book = forecast_book_load(as_of, by, &hazard_defaults);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(ErrorContext);
		MemoryContextDelete(context);
		PG_RE_THROW();
	}
	PG_END_TRY();
	return book;
}

/* Read, and keep it. */
static ForecastKept *
keep(const ForecastKept *key, ArrayType *by)
{
	MemoryContext context;
	MemoryContext old;
	MemoryContextCallback *callback;
	ForecastKept *kept;

	let_go();
	context = AllocSetContextCreate(PortalContext != NULL ? PortalContext : TopTransactionContext, "salesops forecast",
									ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	kept = palloc(sizeof(ForecastKept));
	*kept = *key;
	kept->context = context;
	kept->book = read_into(context, key->as_of, by);
	kept->known = forecast_known_day(kept->book, key->as_of);
	let_go();					/* of what a view of the user's had us keep meanwhile */
	callback = palloc0(sizeof(MemoryContextCallback));
	callback->func = forget;
	callback->arg = kept;
	MemoryContextRegisterResetCallback(context, callback);
	MemoryContextSwitchTo(old);
	kept_now = kept;
	return kept;
}

/* See kept_pg.h. */
ForecastKept *
forecast_hold(TimestampTz as_of, ArrayType *by)
{
	ForecastKept key = key_of(as_of);
	ForecastKept *kept = kept_now;

	if (kept == NULL || !same(kept, &key) || !groups_serve(kept->book, by))
		kept = keep(&key, by);
	if (kept->holders++ == 0)
		kept->held_in = GetCurrentSubTransactionId();
	forecast_require_currency(kept->book, by);
	group_again(kept->book, by);
	return kept;
}

/* See kept_pg.h. */
void
forecast_release(ForecastKept *kept)
{
	kept->holders--;
}

/* See kept_pg.h. */
ForecastBook *
forecast_kept_book(ForecastKept *kept)
{
	return kept->book;
}

/* See kept_pg.h. */
const ForecastPlan *
forecast_kept_plan(ForecastKept *kept, int32 from, int32 to)
{
	MemoryContext old;

	from = Max(from, kept->known + 1);
	if (kept->plan_context != NULL && kept->plan.from == from && kept->plan.to == to)
		return &kept->plan;
	forecast_require_history(kept->book, kept->as_of);
	if (kept->plan_context != NULL)
		MemoryContextDelete(kept->plan_context);
	kept->plan_context = NULL;
	old = MemoryContextSwitchTo(AllocSetContextCreate(kept->context, "salesops forecast plan", ALLOCSET_DEFAULT_SIZES));
	kept->broken = true;
	forecast_plan(kept->book, kept->known, from, to, &kept->plan);
	kept->broken = false;
	kept->plan_context = CurrentMemoryContext;
	MemoryContextSwitchTo(old);
	return &kept->plan;
}

/* The deals that are open at the instant: those of the day that is not known yet, too. */
static void
list_open(ForecastKept *kept)
{
	const HazardHistory *h = &kept->book->history;
	int		   *open = palloc_extended(sizeof(int) * (Size) Max(h->count, 1), MCXT_ALLOC_HUGE);

	kept->opens = 0;
	for (int i = 0; i < h->count; i++)
		if (h->outcome[i] == HAZARD_OPEN)
			open[kept->opens++] = i;
	kept->horizon = palloc(sizeof(Horizon) * HORIZONS_MAX);
	kept->open = open;
}

/* Work out the chances within so many days of all open deals. */
static const Horizon *
add_horizon(ForecastKept *kept, int days)
{
	const ForecastPlan *plan = forecast_kept_plan(kept, PG_INT32_MIN, kept->known + 1 + days);
	MemoryContext old = MemoryContextSwitchTo(kept->context);
	Horizon    *horizon;

	if (kept->open == NULL)
		list_open(kept);
	if (kept->horizons == HORIZONS_MAX)
		pfree(kept->horizon[--kept->horizons].chance);
	horizon = &kept->horizon[kept->horizons];
	horizon->days = days;
	horizon->chance = palloc_extended(sizeof(double) * (Size) Max(kept->opens, 1), MCXT_ALLOC_HUGE);
	kept->broken = true;
	for (int k = 0; k < kept->opens; k++)
	{
		int			i = kept->open[k];

		if (k % 1024 == 0)
			CHECK_FOR_INTERRUPTS();
		horizon->chance[k] = forecast_plan_probability(plan, i, forecast_plan_base(plan, i), days);
	}
	kept->broken = false;
	kept->horizons++;
	MemoryContextSwitchTo(old);
	return horizon;
}

/* A deal's place among the open ones, or -1. */
static int
open_place(const ForecastKept *kept, int deal)
{
	int			low = 0;
	int			high = kept->opens;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (kept->open[middle] < deal)
			low = middle + 1;
		else
			high = middle;
	}
	return low < kept->opens && kept->open[low] == deal ? low : -1;
}

/* See kept_pg.h. */
double
forecast_kept_chance(ForecastKept *kept, int deal, int days)
{
	const Horizon *horizon = NULL;
	int			place;

	forecast_require_history(kept->book, kept->as_of);
	if (days <= 0)
		return 0.0;
	for (int k = 0; k < kept->horizons && horizon == NULL; k++)
		if (kept->horizon[k].days == days)
			horizon = &kept->horizon[k];
	if (horizon == NULL)
		horizon = add_horizon(kept, days);
	place = open_place(kept, deal);
	return place < 0 ? 0.0 : horizon->chance[place];
}
