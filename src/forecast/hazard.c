/*
 * hazard.c
 *		Fitting and replaying the time-to-win model (hazard.h says what it is).
 *
 * A table of person-days (at risk, won, lost by day and age) is built once; a fit for day K adds its rows up to K with
 * weights that halve every half-life. Own past forecasts are made on every seventh day and kept, for
 * each calendar: a forecast of day K' depends only on days up to K', so it never has to be made again.
 *
 * Two corrections are learned, of open deals' bookings and of all bookings: new deals' early wins are too few to say much by
 * themselves, and what a wrong hazard gives to one it takes from the other.
 */
#include "forecast/hazard.h"
#include "forecast/covariate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define RATIO_EVERY	2			/* own past forecasts between snapshots of which ratios are learned */
#define RATIO_AGAIN	4			/* … and between learning them anew */
#define RATIO_SNAPSHOTS	26		/* so many of the latest are looked at */
#define RATIO_HALF_LIFE	365.0
#define SIZES		64			/* levels of the size of a deal: half powers of two */
#define PRIOR_FADES	16.0	/* weeks of own forecasts that halve the weight of the assumed error */

/* An own past forecast, not yet corrected, with what came of it */
typedef struct Replay
{
	bool		made;
	HazardForecast said;
	HazardForecast came;
} Replay;

/* The corrections that were in force on one of those days */
typedef struct Correction
{
	bool		made;
	double		open;
	double		total;
} Correction;

struct HazardPast
{
	const KernelEnv *env;
	const HazardHistory *history;
	HazardOptions options;
	int32_t		first;			/* first close: nothing is known of risk before */
	int32_t		last;			/* last day anything happened */
	int32_t		first_created;
	int			days;			/* of the table */
	float	   *risk;			/* [day][age] */
	float	   *won;
	float	   *lost;
	int		   *by_created;		/* deals by creation */
	int		   *won_deal;		/* won deals by their close */
	double	   *won_weight;		/* of each, halved by a year before the last day */
	int			wins;
	int		   *arrived;		/* [day]: deals created from the first creation on, before the day */
	double	   *segment_sum;	/* scratch, [segments] */
	double	   *segment_count;
	int			slots;			/* own past forecasts */
	Replay	   *replay;			/* [model][horizon kind][slot] */
	Correction *correction;		/* [model][slot] */
	RatioSnapshot *snapshot;	/* [calendar][horizon kind][slot] */
	RatioTable *ratios;			/* [calendar][horizon kind][slot / RATIO_AGAIN] */
	CovariateTable *covariates; /* likewise */
	int32_t		rewritten[HAZARD_TRAITS];	/* from this day on a trait is not believed */
	int		   *first_amount;	/* of each deal, its first stated amount and stage; counts where there is none */
	int		   *first_stage;
	int			horizon[2];		/* the horizons kept: the correction's and the one asked for last */
};

const HazardOptions hazard_defaults = {
	.half_life = 120, .cell_events = 3, .age_events = 1, .calibration_half_life = 60, .calibration_weight = 1, .calibration_wins = 50,
	.error_prior = 0.22, .error_weight = 0.25, .error_half_life = 40, .calendar = -1, .family = -1, .arrival_days = 91,
};

/* First age of each bucket, in days: about a factor of the square root of two apart. */
static const int age_start[HAZARD_AGES + 1] = {
	0, 1, 2, 3, 5, 7, 10, 14, 20, 28, 40, 57, 80, 113, 160, 226, 320, 452, 640, 905, 1280, 1810, INT32_MAX
};

/* The bucket of an age. */
static int
age_bucket(int32_t age)
{
	int			low = 0;
	int			high = HAZARD_AGES;

	while (high - low > 1)
	{
		int			middle = (low + high) / 2;

		if (age_start[middle] <= age)
			low = middle;
		else
			high = middle;
	}
	return low;
}

/* Civil date of a day number (days since 2000-01-01), after Howard Hinnant's days algorithms. */
static void
civil_date(int32_t days, int *month, int *day_of_month, int *month_length)
{
	static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	int64_t		z = (int64_t) days + 10957 + 719468;
	int64_t		era = (z >= 0 ? z : z - 146096) / 146097;
	int			doe = (int) (z - era * 146097);
	int			yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	int			doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	int			mp = (5 * doy + 2) / 153;
	int64_t		year = yoe + era * 400;

	*day_of_month = doy - (153 * mp + 2) / 5 + 1;
	*month = mp < 10 ? mp + 3 : mp - 9;
	year += *month <= 2;
	*month_length = lengths[*month - 1] + (*month == 2 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0));
}

/* Day of the week, 0 to 6. */
static int
weekday(const HazardPast *past, int32_t day)
{
	return (int) ((((int64_t) day + (past != NULL ? past->history->epoch : 0)) % 7 + 7) % 7);
}

/*
 * The cell of a day. Calendars: 0 none, 1 month of the quarter, 2 month of the quarter and its last ten days, 3 thirds of the
 * month, 4 month of the year, 5 day of the week. Without a past, days count from 2000-01-01.
 */
int
hazard_calendar_cell(const HazardPast *past, int calendar, int32_t day)
{
	int32_t		epoch = past != NULL ? past->history->epoch : 0;
	int			month;
	int			day_of_month;
	int			length;

	if (calendar == 0)
		return 0;
	if (calendar == 5)
		return weekday(past, day);
	civil_date(day + epoch, &month, &day_of_month, &length);
	if (calendar == 1)
		return (month - 1) % 3;
	if (calendar == 2)
		return (month - 1) % 3 * 2 + (day_of_month > length - 10);
	if (calendar == 3)
		return day_of_month <= 10 ? 0 : day_of_month <= length - 10 ? 1 : 2;
	return month - 1;
}

/* Order of deals by creation. */
static const int32_t *sort_days;

/* Deals by sort_days, then number, for qsort. */
static int
compare_days(const void *a, const void *b)
{
	int32_t		x = sort_days[*(const int *) a];
	int32_t		y = sort_days[*(const int *) b];

	if (x != y)
		return x < y ? -1 : 1;
	return *(const int *) a - *(const int *) b;
}

/* Add one deal's days at risk to the table of differences, and its close. */
static void
add_person_days(HazardPast *past, int i)
{
	const HazardHistory *h = past->history;
	int32_t		close = h->closed[i];
	int32_t		until = close < past->last ? close : past->last;

	for (int b = 0; b < HAZARD_AGES; b++)
	{
		int64_t		from = (int64_t) h->created[i] + age_start[b];
		int64_t		to = b + 1 < HAZARD_AGES ? (int64_t) h->created[i] + age_start[b + 1] : (int64_t) until + 1;

		if (from < past->first)
			from = past->first;
		if (to > (int64_t) until + 1)
			to = (int64_t) until + 1;
		if (from >= to)
			continue;
		past->risk[(from - past->first) * HAZARD_AGES + b] += 1;
		past->risk[(to - past->first) * HAZARD_AGES + b] -= 1;
	}
	if (close <= past->last && h->outcome[i] != HAZARD_OPEN)
	{
		float	   *table = h->outcome[i] == HAZARD_WON ? past->won : past->lost;
		int32_t		age = close - h->created[i];

		table[(int64_t) (close - past->first) * HAZARD_AGES + age_bucket(age)] += 1;
	}
}

/* The table of person-days. */
static void
fill_table(HazardPast *past)
{
	size_t		size = (size_t) (past->days + 1) * HAZARD_AGES;

	past->risk = kernel_alloc_array(past->env, float, size);
	past->won = kernel_alloc_array(past->env, float, size);
	past->lost = kernel_alloc_array(past->env, float, size);
	memset(past->risk, 0, sizeof(float) * size);
	memset(past->won, 0, sizeof(float) * size);
	memset(past->lost, 0, sizeof(float) * size);
	for (int i = 0; i < past->history->count; i++)
		add_person_days(past, i);
	for (size_t k = HAZARD_AGES; k < size; k++)
		past->risk[k] += past->risk[k - HAZARD_AGES];
}

/* The earliest close and creation and the latest event. */
static void
find_range(HazardPast *past)
{
	const HazardHistory *h = past->history;

	past->first = HAZARD_NEVER;
	past->first_created = HAZARD_NEVER;
	past->last = INT32_MIN;
	for (int i = 0; i < h->count; i++)
	{
		if (h->closed[i] != HAZARD_NEVER && h->closed[i] < past->first)
			past->first = h->closed[i];
		if (h->closed[i] != HAZARD_NEVER && h->closed[i] > past->last)
			past->last = h->closed[i];
		if (h->created[i] < past->first_created)
			past->first_created = h->created[i];
		if (h->created[i] > past->last)
			past->last = h->created[i];
	}
	past->days = past->first == HAZARD_NEVER ? 0 : past->last - past->first + 1;
}

/* Deals created before each day, from the first creation to the day after the last event. */
static void
count_arrivals(HazardPast *past)
{
	int			days = past->history->count > 0 ? past->last - past->first_created + 2 : 1;
	int			at = 0;

	past->arrived = kernel_alloc_array(past->env, int, days);
	for (int d = 0; d < days; d++)
	{
		while (at < past->history->count && past->history->created[past->by_created[at]] < past->first_created + d)
			at++;
		past->arrived[d] = at;
	}
}

/* Won deals by their close, and how much each counts. */
static void
index_wins(HazardPast *past)
{
	const HazardHistory *h = past->history;

	past->won_deal = kernel_alloc_array(past->env, int, h->count + 1);
	past->won_weight = kernel_alloc_array(past->env, double, h->count + 1);
	for (int i = 0; i < h->count; i++)
		if (h->outcome[i] == HAZARD_WON)
			past->won_deal[past->wins++] = i;
	sort_days = h->closed;
	qsort(past->won_deal, (size_t) past->wins, sizeof(int), compare_days);
	for (int k = 0; k < past->wins; k++)
		past->won_weight[k] = exp2(((double) h->closed[past->won_deal[k]] - past->last) / 365.0);
}

/* How many won deals closed before a day. */
static int
wins_before(const HazardPast *past, int32_t day)
{
	int			low = 0;
	int			high = past->wins;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (past->history->closed[past->won_deal[middle]] < day)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Where each deal's stated amounts and stages begin. */
static void
index_statements(HazardPast *past)
{
	const HazardHistory *h = past->history;

	past->first_amount = kernel_alloc_array(past->env, int, h->count);
	past->first_stage = kernel_alloc_array(past->env, int, h->count);
	for (int i = 0; i < h->count; i++)
	{
		past->first_amount[i] = h->amounts;
		past->first_stage[i] = h->stages;
	}
	for (int k = h->amounts - 1; k >= 0; k--)
		past->first_amount[h->amount[k].deal] = k;
	for (int k = h->stages - 1; k >= 0; k--)
		past->first_stage[h->stage[k].deal] = k;
}

/*
 * The day from which a trait is not believed: that of the creation by which one closed deal in twenty (and twenty of them)
 * has a value that no open deal has, though chance would have it that some had. Such values are written at the
 * close. HAZARD_NEVER: there is no sign of it.
 */
static int32_t
find_rewritten(const HazardPast *past, int k)
{
	const HazardHistory *h = past->history;
	int			levels = h->levels[k];
	int		   *open;
	int		   *closed;
	int			all_open = 0;
	int			all_closed = 0;
	int			strange = 0;
	int			seen = 0;
	int32_t		day = HAZARD_NEVER;

	if (levels <= 1)
		return day;
	open = kernel_alloc_array(past->env, int, 2 * levels);
	closed = open + levels;
	memset(open, 0, sizeof(int) * 2 * (size_t) levels);
	for (int i = 0; i < h->count; i++)
		if (h->closed[i] == HAZARD_NEVER)
			all_open += ++open[h->trait[k][i]] > 0;
		else if (h->created[i] > past->last - 365)
			all_closed += ++closed[h->trait[k][i]] > 0;
	for (int i = 0; i < h->count && day == HAZARD_NEVER; i++)
	{
		int			deal = past->by_created[i];
		int			level = h->trait[k][deal];

		if (h->closed[deal] == HAZARD_NEVER)
			continue;
		seen++;
		if (open[level] == 0 && closed[level] > 0 && all_open * log1p(-fmin((double) closed[level] / all_closed, 0.999)) < log(0.001))
			strange++;
		if (strange >= 20 && strange * 20 >= seen)
			day = h->created[deal];
	}
	kernel_release(past->env, open);
	return day;
}

/*
 * Take up a history. Created must not be after closed; days must lie within a few centuries (the caller checks). The
 * history and the environment must outlive the result.
 */
HazardPast *
hazard_past(const KernelEnv *env, const HazardHistory *history, const HazardOptions *options)
{
	HazardPast *past = kernel_alloc_array(env, HazardPast, 1);

	memset(past, 0, sizeof(*past));
	past->env = env;
	past->history = history;
	past->options = *options;
	find_range(past);
	fill_table(past);
	past->by_created = kernel_alloc_array(env, int, history->count);
	for (int i = 0; i < history->count; i++)
		past->by_created[i] = i;
	sort_days = history->created;
	qsort(past->by_created, (size_t) history->count, sizeof(int), compare_days);
	count_arrivals(past);
	index_wins(past);
	past->segment_sum = kernel_alloc_array(env, double, history->segments + 1);
	past->segment_count = kernel_alloc_array(env, double, history->segments + 1);
	past->slots = past->days > 0 ? past->days / HAZARD_EVERY + 1 : 0;
	past->replay = kernel_alloc_array(env, Replay, HAZARD_MODELS * 2 * past->slots);
	memset(past->replay, 0, sizeof(Replay) * HAZARD_MODELS * 2 * (size_t) past->slots);
	past->correction = kernel_alloc_array(env, Correction, HAZARD_MODELS * past->slots);
	memset(past->correction, 0, sizeof(Correction) * HAZARD_MODELS * (size_t) past->slots);
	past->snapshot = kernel_alloc_array(env, RatioSnapshot, HAZARD_CALENDARS * 2 * past->slots);
	memset(past->snapshot, 0, sizeof(RatioSnapshot) * HAZARD_CALENDARS * 2 * (size_t) past->slots);
	past->ratios = kernel_alloc_array(env, RatioTable, HAZARD_CALENDARS * 2 * past->slots);
	memset(past->ratios, 0, sizeof(RatioTable) * HAZARD_CALENDARS * 2 * (size_t) past->slots);
	past->covariates = kernel_alloc_array(env, CovariateTable, HAZARD_CALENDARS * 2 * past->slots);
	memset(past->covariates, 0, sizeof(CovariateTable) * HAZARD_CALENDARS * 2 * (size_t) past->slots);
	index_statements(past);
	for (int k = 0; k < HAZARD_TRAITS; k++)
		past->rewritten[k] = find_rewritten(past, k);
	past->horizon[0] = HAZARD_CALIBRATION;
	return past;
}

/* The day of the first close, HAZARD_NEVER where there is none. */
int32_t
hazard_first_close(const HazardPast *past)
{
	return past->first;
}

/* A rate from events over days, pulled to a prior rate by pseudo-events. */
static double
shrunk(double events, double days, double prior, double pseudo)
{
	return prior > 0.0 ? (events + pseudo) / (days + pseudo / prior) : events / (days + 1.0);
}

/* Hazards by age and cell from weighted sums. */
static void
shrink_hazards(const HazardPast *past, double events[HAZARD_AGES][HAZARD_CELLS], double risk[HAZARD_AGES][HAZARD_CELLS],
			   double hazard[HAZARD_AGES][HAZARD_CELLS])
{
	double		all_events = 0;
	double		all_risk = 0;
	double		rate;

	for (int b = 0; b < HAZARD_AGES; b++)
		for (int c = 0; c < HAZARD_CELLS; c++)
		{
			all_events += events[b][c];
			all_risk += risk[b][c];
		}
	rate = (all_events + 0.5) / (all_risk + 1.0);
	for (int b = 0; b < HAZARD_AGES; b++)
	{
		double		age_events = 0;
		double		age_risk = 0;
		double		age_rate;

		for (int c = 0; c < HAZARD_CELLS; c++)
		{
			age_events += events[b][c];
			age_risk += risk[b][c];
		}
		age_rate = shrunk(age_events, age_risk, rate, past->options.age_events);
		for (int c = 0; c < HAZARD_CELLS; c++)
			hazard[b][c] = fmin(0.9, shrunk(events[b][c], risk[b][c], age_rate, past->options.cell_events));
	}
}

/* Weighted sums of a fit */
typedef struct Sums
{
	double		risk[2][HAZARD_AGES][HAZARD_CELLS]; /* of winning, of losing: as the weekday has it */
	double		events[2][HAZARD_AGES][HAZARD_CELLS];
	double		weekday_risk[7];
	double		weekday_events[2][7];
} Sums;

/* Factors of the days of the week, for closes that fall on some of them; none where the calendar has them already. */
static void
fit_weekdays(const HazardPast *past, int32_t until, double decay, Sums *sums, HazardFit *fit)
{
	double		weight = 1.0;

	for (int64_t t = until; past->days > 0 && t >= past->first && weight > 1e-4; t--, weight *= decay)
	{
		int			d = weekday(past, (int32_t) t);
		int64_t		row = (t - past->first) * HAZARD_AGES;

		for (int b = 0; b < HAZARD_AGES; b++)
		{
			sums->weekday_risk[d] += weight * past->risk[row + b];
			sums->weekday_events[0][d] += weight * past->won[row + b];
			sums->weekday_events[1][d] += weight * past->lost[row + b];
		}
	}
	ratio_shrink(sums->weekday_events[0], sums->weekday_risk, 7, fit->win_weekday);
	ratio_shrink(sums->weekday_events[1], sums->weekday_risk, 7, fit->lose_weekday);
	for (int d = 0; d < 7 && fit->calendar == 5; d++)
		fit->win_weekday[d] = fit->lose_weekday[d] = 1.0;
}

/* Fit the hazards to the days up to and including 'day'. */
void
hazard_fit(const HazardPast *past, int32_t day, int model, HazardFit *fit)
{
	int			calendar = model % HAZARD_CALENDARS;
	Sums		sums = {0};
	int32_t		until = day < past->last ? day : past->last;
	double		decay = exp2(-1.0 / past->options.half_life);
	double		weight = 1.0;

	fit->model = model;
	fit->calendar = calendar;
	fit_weekdays(past, until, decay, &sums, fit);
	for (int64_t t = until; past->days > 0 && t >= past->first && weight > 1e-4; t--, weight *= decay)
	{
		int			c = hazard_calendar_cell(past, calendar, (int32_t) t);
		int			d = weekday(past, (int32_t) t);
		int64_t		row = (t - past->first) * HAZARD_AGES;

		for (int b = 0; b < HAZARD_AGES; b++)
		{
			sums.risk[0][b][c] += weight * past->risk[row + b] * fit->win_weekday[d];
			sums.risk[1][b][c] += weight * past->risk[row + b] * fit->lose_weekday[d];
			sums.events[0][b][c] += weight * past->won[row + b];
			sums.events[1][b][c] += weight * past->lost[row + b];
		}
	}
	shrink_hazards(past, sums.events[0], sums.risk[0], fit->win);
	shrink_hazards(past, sums.events[1], sums.risk[1], fit->lose);
}

/*
 * Probability that a deal created on a day and open after day 'after' is won within [from, to), from > after.
 */
double
hazard_win_probability(const HazardPast *past, const HazardFit *fit, int32_t created, int32_t after, int32_t from, int32_t to)
{
	double		open = 1.0;
	double		won = 0.0;

	for (int32_t t = (after + 1 > created ? after + 1 : created); t < to && open > 1e-9; t++)
	{
		int			b = age_bucket(t - created);
		int			c = hazard_calendar_cell(past, fit->calendar, t);
		int			d = weekday(past, t);
		double		win = fmin(fit->win[b][c] * fit->win_weekday[d], 0.95);
		double		lose = fmin(fit->lose[b][c] * fit->lose_weekday[d], 1.0 - win);

		if (t >= from)
			won += open * win;
		open *= 1.0 - win - lose;
	}
	return won;
}

/* Sums of won amounts by segment, known on a day; half-life a year. Returns the mean of all, and of their squares. */
static double
sum_segments(const HazardPast *past, int32_t day, double *square)
{
	const HazardHistory *h = past->history;
	double		sum = 0;
	double		sum2 = 0;
	double		count = 0;
	double		scale = exp2(((double) past->last - day) / 365.0);

	memset(past->segment_sum, 0, sizeof(double) * (size_t) (h->segments + 1));
	memset(past->segment_count, 0, sizeof(double) * (size_t) (h->segments + 1));
	for (int k = 0; k < past->wins && h->closed[past->won_deal[k]] <= day; k++)
	{
		int			i = past->won_deal[k];
		double		weight = past->won_weight[k] * scale;

		if (isnan(h->won_amount[i]))
			continue;
		past->segment_sum[h->segment[i]] += weight * h->won_amount[i];
		past->segment_count[h->segment[i]] += weight;
		sum += weight * h->won_amount[i];
		sum2 += weight * h->won_amount[i] * h->won_amount[i];
		count += weight;
	}
	*square = count > 0 ? sum2 / count : 0.0;
	return count > 0 ? sum / count : 0.0;
}

/* Are the values that segments are made of those that deals had? */
static bool
segments_believed(const HazardPast *past, int32_t day)
{
	for (int k = 0; k < HAZARD_TRAITS; k++)
		if (day >= past->rewritten[k])
			return false;
	return true;
}

/* Amounts as hazard_amounts() has them; returns the mean of won deals known on the day, and that of their squares. */
static double
amounts_and_mean(HazardPast *past, int32_t day, double *amount, double *square)
{
	const HazardHistory *h = past->history;
	double		overall = sum_segments(past, day, square);
	bool		believed = segments_believed(past, day);

	for (int i = 0; i < h->count; i++)
		amount[i] = believed ? (past->segment_sum[h->segment[i]] + 2 * overall) / (past->segment_count[h->segment[i]] + 2) : overall;
	for (int k = 0; k < h->amounts; k++)
		if (h->amount[k].day <= day)
			amount[h->amount[k].deal] = h->amount[k].amount;
	return overall;
}

/*
 * What each deal was worth as seen on a day: the amount last stated by then, else the mean of the won deals of its
 * segment, pulled to the mean of all by two deals.
 */
void
hazard_amounts(HazardPast *past, int32_t day, double *amount)
{
	double		square;

	amounts_and_mean(past, day, amount, &square);
}

/* Deals created in (after, to], both at most the last day of the history. */
static double
arrivals(const HazardPast *past, int32_t after, int32_t to)
{
	int			last = past->last - past->first_created + 1;
	int			from = after + 1 - past->first_created;
	int			until = to + 1 - past->first_created;

	from = from < 0 ? 0 : from > last ? last : from;
	until = until < 0 ? 0 : until > last ? last : until;
	return until > from ? past->arrived[until] - past->arrived[from] : 0.0;
}

#define ARRIVAL_RULES	5
#define ARRIVAL_CHECKS	52		/* weeks of own past counts that weigh the rules */
#define QUARTER			91		/* whole weeks, so that weekends meet weekends */
#define YEAR			364

/*
 * Deals to come on each day after a day, as one rule has it: 'level' where level is all it knows, else as many as came 'back' days
 * earlier times 'level'. Rules: 0 the last 91 days (or as many as there are), 1 the last 28, 2 the last year, 3 the same days of last year
 * times how the last 91 compare with theirs, 4 the same days of last quarter. Level is negative where the history is too short.
 */
typedef struct ArrivalRule
{
	double		level;
	int			back;
} ArrivalRule;

/* A rule as known on a day. */
static ArrivalRule
arrival_rule(const HazardPast *past, int rule, int32_t day)
{
	static const int windows[] = {0, 28, 365};
	int			known = day - past->first_created + 1;
	int			window = rule == 0 ? past->options.arrival_days : rule < 3 ? windows[rule] : 0;
	double		now;
	double		then;

	if (rule < 3)
	{
		if (rule == 0 && known < window)
			window = known > 1 ? known : 1;
		return (ArrivalRule) {window <= known || rule == 0 ? arrivals(past, day - window, day) / window : -1.0, 0};
	}
	if (rule == 4)
		return (ArrivalRule) {known < QUARTER ? -1.0 : 1.0, QUARTER};
	if (known < YEAR + past->options.arrival_days)
		return (ArrivalRule) {-1.0, YEAR};
	now = arrivals(past, day - past->options.arrival_days, day);
	then = arrivals(past, day - YEAR - past->options.arrival_days, day - YEAR);
	return (ArrivalRule) {fmin(fmax((now + 5.0) / (then + 5.0), 0.25), 4.0), YEAR};
}

/* Deals that a rule expects in the 'ahead' days after a day, at most as many days as it looks back. */
static double
arrivals_by_rule(const HazardPast *past, const ArrivalRule *rule, int32_t day, int ahead)
{
	return rule->level * (rule->back == 0 ? ahead : arrivals(past, day - rule->back, day - rule->back + ahead));
}

/*
 * How wrong a rule was about so many days ahead in the last year, as known on a day: mean squared error, to which chance is added
 * as for a count. Negative where it could not be told.
 */
static double
arrival_error(const HazardPast *past, int r, int32_t day, int ahead)
{
	ArrivalRule plainest = arrival_rule(past, 0, day);
	double		chance = arrivals_by_rule(past, &plainest, day, ahead) + 1.0;
	double		error = r == 0 ? 0.0 : chance;	/* others must earn their weight */
	double		count = 1.0;

	for (int k = 0; k < ARRIVAL_CHECKS; k++)
	{
		int32_t		then = day - ahead - 7 * k;
		ArrivalRule said = {-1.0, 0};
		double		recent = exp2(-k / 26.0) * 7.0 / ahead;
		double		off;

		if (then >= past->first_created + 27)
			said = arrival_rule(past, r, then);
		if (said.level < 0.0)
			break;
		off = arrivals_by_rule(past, &said, then, ahead) - arrivals(past, then, then + ahead);
		error += recent * off * off;
		count += recent;
	}
	return r > 0 && count < 1.5 ? -1.0 : error / count + chance;
}

/*
 * Weights of the rules for the 'ahead' days after a day, as known on it: by how wrong each was about as many days, and, since it matters
 * when deals come, about 28 of them (the inverse product of the two errors).
 */
static void
weigh_arrival_rules(const HazardPast *past, int32_t day, int ahead, ArrivalRule rule[ARRIVAL_RULES], double weight[ARRIVAL_RULES])
{
	double		all = 0.0;

	for (int r = 0; r < ARRIVAL_RULES; r++)
	{
		double		error = -1.0;

		rule[r] = arrival_rule(past, r, day);
		if (rule[r].level >= 0.0)
			error = arrival_error(past, r, day, ahead);
		weight[r] = error <= 0.0 ? 0.0 : 1.0 / (error * (ahead > 28 ? arrival_error(past, r, day, 28) : error));
		all += weight[r];
	}
	for (int r = 0; r < ARRIVAL_RULES; r++)
		weight[r] /= all;
}

/* Deals that arrive on each of 'ahead' days after a day, as known on it: the rules' weighted mean. */
static void
arrival_rates(const HazardPast *past, int32_t day, int ahead, double *rate)
{
	ArrivalRule rule[ARRIVAL_RULES];
	double		weight[ARRIVAL_RULES];

	memset(rate, 0, sizeof(double) * (size_t) ahead);
	if (day < past->first_created)
		return;
	weigh_arrival_rules(past, day, ahead < 7 ? 7 : ahead > QUARTER ? QUARTER : ahead, rule, weight);
	for (int r = 0; r < ARRIVAL_RULES; r++)
		for (int k = 0; k < ahead && weight[r] > 0.0; k++)
		{
			int32_t		like = day + 1 + k - (rule[r].back > 0 ? rule[r].back * (1 + k / rule[r].back) : 0);

			rate[k] += weight[r] * rule[r].level * (rule[r].back == 0 ? 1.0 : arrivals(past, like - 1, like));
		}
}

/* Keep own past forecasts for another second horizon than before. */
static void
change_horizon(HazardPast *past, int horizon)
{
	size_t		slots = (size_t) past->slots;

	if (past->horizon[1] == horizon)
		return;
	for (size_t model = 0; model < HAZARD_MODELS; model++)
		for (size_t slot = 0; slot < slots; slot++)
			past->replay[(model * 2 + 1) * slots + slot].made = false;
	for (size_t calendar = 0; calendar < HAZARD_CALENDARS; calendar++)
		for (size_t slot = 0; slot < slots; slot++)
		{
			past->snapshot[(calendar * 2 + 1) * slots + slot].count = 0;
			past->ratios[(calendar * 2 + 1) * slots + slot].made = false;
			past->covariates[(calendar * 2 + 1) * slots + slot].made = false;
		}
	past->horizon[1] = horizon;
}

/* The day of a slot of own past forecasts. */
static int32_t
slot_day(const HazardPast *past, int slot)
{
	return past->first + slot * HAZARD_EVERY;
}

/* Levels of a deal in the dimensions of the ratios, as known on a day; returns the days it has been in its stage. */
static int
deal_levels(const HazardPast *past, int deal, int32_t day, uint16_t level[RATIO_DIMENSIONS])
{
	int32_t		entered = past->history->created[deal];
	const HazardHistory *h = past->history;
	double		amount = 0.0;

	level[2] = level[3] = 0;
	for (int k = 0; k < HAZARD_TRAITS; k++)
		level[k] = h->levels[k] > 1 && h->levels[k] <= RATIO_LEVELS_MAX && day < past->rewritten[k] ? (uint16_t) h->trait[k][deal] : 0;
	for (int k = past->first_stage[deal]; k < h->stages && h->stage[k].deal == deal && h->stage[k].day <= day; k++)
	{
		level[2] = (uint16_t) (1 + (h->stage[k].level < RATIO_LEVELS_MAX - 1 ? h->stage[k].level : 0));
		entered = h->stage[k].day;
	}
	for (int k = past->first_amount[deal]; k < h->amounts && h->amount[k].deal == deal && h->amount[k].day <= day; k++)
		amount = fabs(h->amount[k].amount);
	if (amount > 0.0)
		level[3] = (uint16_t) fmin(fmax(2.0 * log2(amount) + 2.0, 1.0), SIZES - 1);
	return day - entered;
}

static void forecast_days(HazardPast *past, int32_t day, int32_t from, int32_t to, const HazardFit *fit, RatioSnapshot *snapshot,
						  HazardForecast *forecast);

/* What age and calendar let expect of the deals open on a day, and what came of them. */
static void
take_snapshot(HazardPast *past, int calendar, int32_t day, int horizon, RatioSnapshot *snapshot)
{
	HazardForecast forecast;
	HazardFit	fit;

	hazard_fit(past, day, calendar, &fit);
	forecast_days(past, day, day + 1, day + 1 + horizon, &fit, snapshot, &forecast);
	kernel_tick(past->env, 0, 0);
}

/* The group of slots that what is learned of deals on a day is kept for. */
static int
group_of(const HazardPast *past, int32_t day)
{
	int			slot = past->days > 0 && day >= past->first ? (day - past->first) / HAZARD_EVERY : 0;

	return (slot < past->slots ? slot : past->slots - 1) / RATIO_AGAIN;
}

/* What may be learned from at a group of slots: own past forecasts of one horizon that were over by then, made by age and calendar only */
typedef struct Lesson
{
	RatioSnapshot *snapshot[RATIO_SNAPSHOTS];
	double		weight[RATIO_SNAPSHOTS];
	int			count;
	int			levels[RATIO_DIMENSIONS];
	double		overlap;
} Lesson;

/* Collect them. */
static void
prepare_lesson(HazardPast *past, int calendar, int kind, int group, Lesson *lesson)
{
	const HazardHistory *h = past->history;
	size_t		base = ((size_t) calendar * 2 + (size_t) kind) * (size_t) past->slots;
	int			s = (group * RATIO_AGAIN - (past->horizon[kind] + HAZARD_EVERY - 1) / HAZARD_EVERY) / RATIO_EVERY * RATIO_EVERY;

	*lesson = (Lesson) {.levels = {h->levels[0], h->levels[1], h->stage_levels + 1, h->amounts > 0 ? SIZES : 0},
	.overlap = fmax(1.0, past->horizon[kind] / (double) (HAZARD_EVERY * RATIO_EVERY))};
	for (; s >= 0 && lesson->count < RATIO_SNAPSHOTS; s -= RATIO_EVERY)
	{
		RatioSnapshot *snapshot = &past->snapshot[base + (size_t) s];

		if (snapshot->count == 0)
			take_snapshot(past, calendar, slot_day(past, s), past->horizon[kind], snapshot);
		lesson->snapshot[lesson->count] = snapshot;
		lesson->weight[lesson->count++] = exp2(-(slot_day(past, group * RATIO_AGAIN) - slot_day(past, s)) / RATIO_HALF_LIFE);
	}
}

/* The ratios as known on a day, learned at most RATIO_AGAIN slots before. */
static const RatioTable *
ratios_of(HazardPast *past, int calendar, int kind, int32_t day)
{
	int			group = group_of(past, day);
	RatioTable *table = &past->ratios[((size_t) calendar * 2 + (size_t) kind) * (size_t) past->slots + (size_t) group];
	Lesson		lesson;

	if (table->made)
		return table;
	prepare_lesson(past, calendar, kind, group, &lesson);
	ratio_fit(past->env, lesson.snapshot, lesson.weight, lesson.count, lesson.overlap, lesson.levels, table);
	return table;
}

/* The covariates' regression likewise; each begins where the one before it ended. */
static const CovariateTable *
covariates_of(HazardPast *past, int calendar, int kind, int32_t day)
{
	int			group = group_of(past, day);
	CovariateTable *table = &past->covariates[((size_t) calendar * 2 + (size_t) kind) * (size_t) past->slots + (size_t) group];
	Lesson		lesson;

	if (table->made)
		return table;
	prepare_lesson(past, calendar, kind, group, &lesson);
	covariate_fit(past->env, lesson.snapshot, lesson.weight, lesson.count, lesson.overlap, lesson.levels,
				  group > 0 && table[-1].made ? table - 1 : NULL, table);
	kernel_tick(past->env, 0, 0);
	return table;
}

/*
 * By how much more often than others of its age an open deal is won within so many days after a day, by the model, where age and
 * calendar say 'expected'. Between the two horizons at hand it changes with the logarithm of the days; beyond 91 it
 * fades: what sets deals apart now says less of the far future.
 */
double
hazard_ratio(HazardPast *past, int model, int deal, int32_t day, int days, double expected)
{
	uint16_t	level[RATIO_DIMENSIONS];
	double		ratio[2];
	double		near = log(HAZARD_CALIBRATION);
	double		far = log(past->horizon[1] > 0 ? past->horizon[1] : 1);
	double		share;
	int			waiting;

	if (model < HAZARD_CALENDARS || past->slots == 0 || expected <= 0.0)
		return 1.0;
	waiting = deal_levels(past, deal, day, level);
	for (int kind = 0; kind < 2; kind++)
	{
		int			calendar = model % HAZARD_CALENDARS;
		int			of = past->horizon[1] > 0 ? kind : 0;

		if (model < 2 * HAZARD_CALENDARS)
			ratio[kind] = log(ratio_of(ratios_of(past, calendar, of, day), level));
		else
			ratio[kind] = log(covariate_chance(covariates_of(past, calendar, of, day), expected, level, waiting) / expected);
	}
	share = far == near ? 0.0 : fmin(fmax((log(days > 1 ? days : 1) - near) / (far - near), 0.0), 1.0);
	share = ratio[0] + share * (ratio[1] - ratio[0]);
	return exp(days > 91 ? share * sqrt(91.0 / days) : share);
}

/*
 * Forecast of the days [from, to), from > day, with what was known on the day; not corrected. What was expected of each open deal is
 * noted in a snapshot where one is given.
 */
static void
forecast_days(HazardPast *past, int32_t day, int32_t from, int32_t to, const HazardFit *fit, RatioSnapshot *snapshot,
			  HazardForecast *forecast)
{
	const HazardHistory *h = past->history;
	double	   *amount = kernel_alloc_array(past->env, double, h->count);
	double		square;
	double		mean;
	int			ahead = to - 1 - day > 0 ? to - 1 - day : 0;
	double	   *rate = kernel_alloc_array(past->env, double, ahead + 1);
	int32_t		cached_for = INT32_MIN;
	double		cached = 0;

	memset(forecast, 0, sizeof(*forecast));
	mean = amounts_and_mean(past, day, amount, &square);
	for (int k = 0; k < h->count; k++)
	{
		int			i = past->by_created[k];
		double		p;
		uint16_t	level[RATIO_DIMENSIONS];
		int			waiting;

		if (h->created[i] > day)
			break;
		if (h->closed[i] <= day)
			continue;
		if (h->created[i] != cached_for)
			cached = hazard_win_probability(past, fit, h->created[i], day, from, to);
		cached_for = h->created[i];
		p = fmin(cached * hazard_ratio(past, fit->model, i, day, to - 1 - day, cached), 0.995);
		forecast->open_wins += p;
		forecast->open += p * amount[i];
		forecast->open_variance += p * (1.0 - p) * amount[i] * amount[i];
		if (snapshot == NULL)
			continue;
		waiting = deal_levels(past, i, day, level);
		ratio_snapshot_add(past->env, snapshot, cached, h->outcome[i] == HAZARD_WON && h->closed[i] < to, level, waiting);
	}
	arrival_rates(past, day, ahead, rate);
	for (int32_t created = day + 1; created < to; created++)
		forecast->fresh_wins += rate[created - day - 1] * hazard_win_probability(past, fit, created, day, from, to);
	forecast->fresh = forecast->fresh_wins * mean;
	forecast->fresh_variance = forecast->fresh_wins * square;
	kernel_release(past->env, rate);
	kernel_release(past->env, amount);
}

/* The same for the caller: its horizon becomes the one that own past forecasts are kept for. */
void
hazard_forecast(HazardPast *past, int32_t day, int32_t from, int32_t to, const HazardFit *fit, HazardForecast *forecast)
{
	change_horizon(past, to - 1 - day);
	forecast_days(past, day, from, to, fit, NULL, forecast);
}

/* What came in [from, to) of deals open after 'day' and of those created later. */
void
hazard_actual(const HazardPast *past, int32_t day, int32_t from, int32_t to, HazardForecast *actual)
{
	const HazardHistory *h = past->history;

	memset(actual, 0, sizeof(*actual));
	for (int k = wins_before(past, from); k < past->wins && h->closed[past->won_deal[k]] < to; k++)
	{
		int			i = past->won_deal[k];
		double		amount = isnan(h->won_amount[i]) ? 0.0 : h->won_amount[i];

		if (h->created[i] <= day)
		{
			actual->open += amount;
			actual->open_wins++;
		}
		else
		{
			actual->fresh += amount;
			actual->fresh_wins++;
		}
	}
}

/* Make, or look up, the own past forecast of a slot for one of the kept horizons. */
static const Replay *
replay_of(HazardPast *past, int model, int kind, int slot)
{
	Replay	   *replay = &past->replay[((size_t) model * 2 + (size_t) kind) * (size_t) past->slots + (size_t) slot];
	int32_t		day = slot_day(past, slot);
	int32_t		to = day + 1 + past->horizon[kind];
	HazardFit	fit;

	if (replay->made)
		return replay;
	hazard_fit(past, day, model, &fit);
	forecast_days(past, day, day + 1, to, &fit, NULL, &replay->said);
	hazard_actual(past, day, day + 1, to, &replay->came);
	replay->made = true;
	kernel_tick(past->env, slot, past->slots);
	return replay;
}

/*
 * The corrections by the own past forecasts whose horizon was over by a day: came over said, pulled to 1 by so many forecasts
 * and so many wins (a win is counted in as many weekly forecasts as their horizon has weeks).
 */
static Correction
correct(HazardPast *past, int32_t day, int model)
{
	double		said[2] = {0, 0};
	double		came[2] = {0, 0};
	double		wins[2] = {0, 0};
	double		ratio[2];
	double		weights = 0;

	for (int slot = 0; slot < past->slots && slot_day(past, slot) + HAZARD_CALIBRATION <= day; slot++)
	{
		const Replay *r = replay_of(past, model, 0, slot);
		double		weight = exp2((slot_day(past, slot) + HAZARD_CALIBRATION - day) / past->options.calibration_half_life);

		said[0] += weight * r->said.open;
		came[0] += weight * r->came.open;
		said[1] += weight * (r->said.open + r->said.fresh);
		came[1] += weight * (r->came.open + r->came.fresh);
		wins[0] += weight * r->said.open_wins;
		wins[1] += weight * (r->said.open_wins + r->said.fresh_wins);
		weights += weight;
	}
	for (int k = 0; k < 2; k++)
	{
		double		forecasts = past->options.calibration_weight;
		double		pull;

		if (wins[k] > 0)
			forecasts += past->options.calibration_wins * HAZARD_CALIBRATION / HAZARD_EVERY * weights / wins[k];
		pull = weights > 0 ? forecasts * said[k] / weights : 0.0;
		ratio[k] = said[k] > 0 ? fmin(fmax((came[k] + pull) / (said[k] + pull), 0.1), 10.0) : 1.0;
	}
	return (Correction) {true, ratio[0], ratio[1]};
}

/* The corrections known on a day: kept where the day is a slot's. */
static Correction
correction_of(HazardPast *past, int32_t day, int model)
{
	int			slot = past->days > 0 && day >= past->first ? (day - past->first) / HAZARD_EVERY : -1;
	Correction *kept;

	if (slot < 0)
		return (Correction) {true, 1.0, 1.0};
	if (slot >= past->slots || slot_day(past, slot) != day)
		return correct(past, day, model);
	kept = &past->correction[model * past->slots + slot];
	if (!kept->made)
		*kept = correct(past, day, model);
	return *kept;
}

/*
 * Correct a forecast made on a day by what own past forecasts taught. New deals get what the total has beyond the open ones,
 * but no less than a quarter of their own corrected share.
 */
void
hazard_correct(HazardPast *past, int32_t day, int model, HazardForecast *forecast)
{
	Correction	c = correction_of(past, day, model);
	double		fresh = forecast->fresh;
	double		wanted = c.total * (forecast->open + fresh) - c.open * forecast->open;
	double		ratio = fresh > 0 ? fmax(wanted / fresh, 0.25 * c.total) : c.total;

	forecast->open *= c.open;
	forecast->open_wins *= c.open;
	forecast->open_variance *= c.open;
	forecast->fresh *= ratio;
	forecast->fresh_wins *= ratio;
	forecast->fresh_variance *= ratio;
	forecast->open_correction = c.open;
	forecast->fresh_correction = ratio;
}

/* May the calendar be judged yet? A month of the year says nothing before the year has come round. */
static bool
calendar_allowed(const HazardPast *past, int calendar, int32_t day)
{
	return calendar != 4 || (int64_t) day - past->first >= 400;
}

/*
 * How wrong a model's corrected own forecasts were by a day, open deals and all, in wins or in money; weighed by recency.
 * -1: none is over.
 */
static double
model_error(HazardPast *past, int32_t day, int model, bool money)
{
	double		error = -1.0;

	for (int slot = 0; slot < past->slots && slot_day(past, slot) + HAZARD_CALIBRATION <= day; slot++)
	{
		const Replay *r = replay_of(past, model, 0, slot);
		double		weight = exp2((slot_day(past, slot) - day) / 180.0);
		HazardForecast said = r->said;
		double		open;
		double		fresh;

		hazard_correct(past, slot_day(past, slot), model, &said);
		open = money ? r->came.open - said.open : r->came.open_wins - said.open_wins;
		fresh = money ? r->came.fresh - said.fresh : r->came.fresh_wins - said.fresh_wins;
		if (error < 0.0)
			error = 0.0;
		error += weight * (fabs(open) + fabs(open + fresh));
	}
	return error;
}

/*
 * The calendar whose corrected own forecasts were least wrong by a day. Until one beats it by 2 %, the month of the quarter:
 * the rhythm most sales teams are held to.
 */
static int
choose_calendar(HazardPast *past, int32_t day)
{
	int			best = 1;
	double		least;

	if (past->options.calendar >= 0)
		return past->options.calendar;
	least = model_error(past, day, best, false) * 0.98;
	for (int calendar = 0; calendar < HAZARD_CALENDARS && least >= 0.0; calendar++)
	{
		double		error = calendar_allowed(past, calendar, day) ? model_error(past, day, calendar, false) : INFINITY;

		if (error < least)
		{
			least = error;
			best = calendar;
		}
	}
	return best;
}

/*
 * The model for a day: a calendar, and whether and how what else is known sets deals apart: whichever was least wrong in money in own past
 * forecasts.
 */
int
hazard_choose_model(HazardPast *past, int32_t day)
{
	int			calendar = choose_calendar(past, day);
	int			best = calendar;
	double		least = model_error(past, day, calendar, true);

	if (least < 0.0 || past->options.family >= 0)
		return calendar + HAZARD_CALENDARS * (past->options.family > 0 ? past->options.family : 0);
	for (int family = 1; family < HAZARD_FAMILIES; family++)
	{
		double		error = model_error(past, day, calendar + family * HAZARD_CALENDARS, true);

		if (error <= least)
		{
			least = error;
			best = calendar + family * HAZARD_CALENDARS;
		}
	}
	return best;
}

/*
 * What a forecast made on a day says about one made later: little where its history was much shorter. Forecasts of the first
 * weeks are wrong for want of a past, which those of today no longer are.
 */
static double
maturity(const HazardPast *past, int32_t then, int32_t now)
{
	double		share = ((double) then - past->first + 14.0) / ((double) now - past->first + 14.0);

	return share * share;
}

/*
 * Squared log error, beyond what independent deals explain, of corrected own forecasts made on a slot and so many of 28 days after it, one
 * at the end of the other, as far as they were over by a day: their sums are compared, since what one month has too
 * much the next often lacks. False where nothing was forecast.
 */
static bool
excess_error(HazardPast *past, int32_t day, int model, int kind, int slot, int blocks, bool open_only, double *excess)
{
	double		mean = 0.0;
	double		came = 0.0;
	double		variance = 0.0;
	double		error;

	for (int b = 0; b < blocks; b++, slot += HAZARD_CALIBRATION / HAZARD_EVERY)
	{
		const Replay *r;
		HazardForecast said;

		if (slot >= past->slots || slot_day(past, slot) + past->horizon[kind] > day)
			break;
		r = replay_of(past, model, kind, slot);
		said = r->said;
		hazard_correct(past, slot_day(past, slot), model, &said);
		mean += said.open + (open_only ? 0.0 : said.fresh);
		came += r->came.open + (open_only ? 0.0 : r->came.fresh);
		variance += said.open_variance + (open_only ? 0.0 : said.fresh_variance);
	}
	if (mean <= 0.0)
		return false;
	error = came > 0.0 ? fmin(fmax(log(came / mean), -2.0), 2.0) : -2.0;
	*excess = error * error - variance / (mean * mean);
	return true;
}

/*
 * Log deviation of corrected forecasts beyond what independent deals explain, from own past ones that were over by a day;
 * before there are any, the prior. Forecasts a week apart overlap: together they count as many as fit side by side. The
 * prior, and the errors of 28 days (as many on end as the horizon holds) that stand in for those of another horizon, fade as the latter
 * become more.
 */
double
hazard_deviation(HazardPast *past, int32_t day, int model, int horizon, bool open_only)
{
	double		sum = 0.0;
	double		count = 0.0;
	double		independent = 0.0;
	double		weeks = 0.0;
	double		prior;

	change_horizon(past, horizon);
	for (int kind = 1; kind >= 0; kind--)
	{
		double		stand_in = kind == 1 ? 1.0 : 1.0 / (1.0 + independent);
		int			blocks = kind == 1 || horizon < 2 * HAZARD_CALIBRATION ? 1 : horizon / HAZARD_CALIBRATION;

		for (int slot = 0; slot < past->slots && slot_day(past, slot) + past->horizon[kind] <= day; slot++)
		{
			double		age = day - slot_day(past, slot) - past->horizon[kind];
			double		weight = stand_in * exp2(-age / fmax(past->options.error_half_life, horizon)) * HAZARD_EVERY / horizon *
				maturity(past, slot_day(past, slot), day);
			double		excess;

			if (!excess_error(past, day, model, kind, slot, blocks, open_only, &excess))
				continue;
			sum += weight * excess;
			count += weight;
			independent += kind * (double) HAZARD_EVERY / horizon;
			weeks += kind;
		}
	}
	prior = past->options.error_weight / (1.0 + weeks / PRIOR_FADES);
	return sqrt(fmax((sum + prior * past->options.error_prior * past->options.error_prior) / (count + prior), 0.0));
}
