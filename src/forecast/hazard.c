/*
 * hazard.c
 *		Taking up a history, and fitting the time-to-win model to the part of it that a day knows (hazard.h says what it is).
 *
 * A table of person-days (at risk, won, lost by day and age) is built once; a fit for day K adds its rows up to K with
 * weights that halve every half-life. Which half-life and calendar is evidence.c's, what stages do staged.c's, how many deals arrive
 * arrival.c's, what else sets deals of an age apart apart.c's, own past forecasts and what they teach replay.c's.
 */
#include "forecast/past.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define HISTORY_GAP		730		/* days without a close, before which a few are no history */
#define HISTORY_MOST	7305	/* days of it that are looked at: twenty years */
#define SPREAD_MOST		100.0	/* of an amount that is estimated */
#define LEVEL_HALF_LIFE	45.0	/* of the won deals that say whether amounts have moved */
#define LEVEL_LEAST		8.0		/* such deals, weighed, below which they say nothing */

const HazardOptions hazard_defaults = {
	.half_life = 0, .cell_events = 0, .age_events = 1, .calibration_half_life = 60, .calibration_weight = 1, .calibration_wins = 150,
	.calibration_errors = 2, .error_prior = 0.05, .error_weight = 2, .error_half_life = 180,
	.calendar = -1, .family = -1, .arrival_days = 91,
};

/* First age of each bucket, in days: from a week on about a factor of the fourth root of two apart. */
static const int age_start[HAZARD_AGES + 1] = {
	0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 17, 20, 24, 28, 34, 40, 48, 57, 67, 80, 95, 113, 134, 160, 190, 226, 269, 320, 380, 452, 538,
	640, 761, 905, 1076, 1280, 1522, 1810, INT32_MAX
};

/* The bucket of an age. */
int
hazard_age_bucket(int32_t age)
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

/* The first age of a bucket. */
int
hazard_age_start(int bucket)
{
	return age_start[bucket];
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
weekday(int32_t epoch, int32_t day)
{
	return (int) ((((int64_t) day + epoch) % 7 + 7) % 7);
}

/* The same of a history's day; without a past, days count from 2000-01-01. */
int
hazard_weekday(const HazardPast *past, int32_t day)
{
	return weekday(past != NULL ? past->history->epoch : 0, day);
}

/* A month of the quarter, by the days left in it: its last ten, and of the quarter's last ten the last week and the last three. */
static int
quarter_cell(int month, int left)
{
	if (month < 2)
		return month * 2 + (left < 10);
	return left >= 10 ? 4 : left >= 7 ? 5 : left >= 3 ? 6 : 7;
}

/* The cell of a day, worked out. Calendars as of hazard_calendar_cell(). */
static int
calendar_cell(int calendar, int32_t epoch, int32_t day)
{
	int			month;
	int			day_of_month;
	int			length;

	if (calendar == 0)
		return 0;
	if (calendar == 5)
		return weekday(epoch, day);
	civil_date(day + epoch, &month, &day_of_month, &length);
	if (calendar == 1)
		return (month - 1) % 3;
	if (calendar == 2)
		return quarter_cell((month - 1) % 3, length - day_of_month);
	if (calendar == 3)
		return day_of_month <= 10 ? 0 : day_of_month <= length - 10 ? 1 : 2;
	return month - 1;
}

/*
 * The cell of a day. Calendars: 0 none, 1 month of the quarter, 2 the same and how near its end and the quarter's is, 3 thirds of the
 * month, 4 month of the year, 5 day of the week. Without a past, days count from 2000-01-01.
 */
int
hazard_calendar_cell(const HazardPast *past, int calendar, int32_t day)
{
	if (past != NULL && day >= past->first && day - past->first < past->cells)
		return past->cell[(int64_t) calendar * past->cells + day - past->first];
	return calendar_cell(calendar, past != NULL ? past->history->epoch : 0, day);
}

/* The cells of all days from the first close to ten years after the last event. */
static void
fill_cells(HazardPast *past)
{
	past->cells = past->days > 0 ? past->days + 3700 : 0;
	past->cell = kernel_alloc_array(past->env, uint8_t, HAZARD_CALENDARS * (size_t) past->cells + 1);
	for (int calendar = 0; calendar < HAZARD_CALENDARS; calendar++)
		for (int k = 0; k < past->cells; k++)
			past->cell[(int64_t) calendar * past->cells + k] = (uint8_t) calendar_cell(calendar, past->history->epoch, past->first + k);
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
	if (close >= past->first && close <= past->last && h->outcome[i] != HAZARD_OPEN)
	{
		float	   *table = h->outcome[i] == HAZARD_WON ? past->won : past->lost;
		int32_t		age = close - h->created[i];

		table[(int64_t) (close - past->first) * HAZARD_AGES + hazard_age_bucket(age)] += 1;
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

/*
 * The first of a number of days from which on a history is taken to begin: the earliest, but that days long before all others (two years'
 * gap, one in twenty of them at most) are taken for mistyped, and that more than HISTORY_MOST days before the last tell nothing any more.
 */
static int32_t
begin_of(const KernelEnv *env, const int32_t *days, int count)
{
	int		   *order = kernel_alloc_array(env, int, count + 1);
	int			known = 0;
	int			first = 0;
	int32_t		begin = HAZARD_NEVER;

	for (int i = 0; i < count; i++)
		if (days[i] != HAZARD_NEVER)
			order[known++] = i;
	sort_days = days;
	qsort(order, (size_t) known, sizeof(int), compare_days);
	for (int k = 1; k <= known / 20; k++)
		if ((int64_t) days[order[k]] - days[order[k - 1]] > HISTORY_GAP)
			first = k;
	while (first < known && (int64_t) days[order[known - 1]] - days[order[first]] > HISTORY_MOST)
		first++;
	if (known > 0)
		begin = days[order[first]];
	kernel_release(env, order);
	return begin;
}

/* Where the history begins, and the latest event. */
static void
find_range(HazardPast *past)
{
	const HazardHistory *h = past->history;

	past->first = begin_of(past->env, h->closed, h->count);
	past->first_created = begin_of(past->env, h->created, h->count);
	past->last = INT32_MIN;
	for (int i = 0; i < h->count; i++)
	{
		if (h->closed[i] != HAZARD_NEVER && h->closed[i] > past->last)
			past->last = h->closed[i];
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
	past->won_segment = kernel_alloc_array(past->env, int, past->wins + 1);
	past->won_value = kernel_alloc_array(past->env, double, past->wins + 1);
	for (int k = 0; k < past->wins; k++)
	{
		int			i = past->won_deal[k];

		past->won_segment[k] = h->segment[i];
		past->won_value[k] = isnan(h->won_amount[i]) ? 0.0 : h->won_amount[i];	/* as where bookings are counted */
		past->won_weight[k] = exp2(((double) h->closed[i] - past->last) / 365.0);
	}
	past->summed = past->wins + 1;	/* the sums are not yet cleared */
}

/* How many won deals closed before a day. */
int
hazard_wins_before(const HazardPast *past, int32_t day)
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
 * The day from which a trait is not believed: the first creation of a closed deal with a value that no open deal has, though chance would
 * have it that some had, where one closed deal in twenty (and twenty of them) came to have such a value. They are written at
 * the close. HAZARD_NEVER: there is no sign of it.
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
	int32_t		first = HAZARD_NEVER;
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
			if (strange++ == 0)
				first = h->created[deal];
		if (strange >= 20 && strange * 20 >= seen)
			day = first;
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
	fill_cells(past);
	past->by_created = kernel_alloc_array(env, int, history->count);
	for (int i = 0; i < history->count; i++)
		past->by_created[i] = i;
	sort_days = history->created;
	qsort(past->by_created, (size_t) history->count, sizeof(int), compare_days);
	count_arrivals(past);
	index_wins(past);
	past->segment_sum = kernel_alloc_array(env, double, history->segments + 1);
	past->segment_square = kernel_alloc_array(env, double, history->segments + 1);
	past->segment_count = kernel_alloc_array(env, double, history->segments + 1);
	past->slots = past->days > 0 ? past->days / HAZARD_EVERY + 1 : 0;
	past->open_day = kernel_alloc_array(env, OpenDay, past->slots + 1);
	memset(past->open_day, 0, sizeof(OpenDay) * ((size_t) past->slots + 1));
	past->replay = kernel_alloc_array(env, Replay, HAZARD_MODELS * 2 * past->slots);
	memset(past->replay, 0, sizeof(Replay) * HAZARD_MODELS * 2 * (size_t) past->slots);
	past->correction = kernel_alloc_array(env, Correction, HAZARD_MODELS * past->slots);
	memset(past->correction, 0, sizeof(Correction) * HAZARD_MODELS * (size_t) past->slots);
	past->snapshot = kernel_alloc_array(env, RatioSnapshot, HAZARD_CLOCKS * 2 * past->slots);
	memset(past->snapshot, 0, sizeof(RatioSnapshot) * HAZARD_CLOCKS * 2 * (size_t) past->slots);
	past->ratios = kernel_alloc_array(env, RatioTable, HAZARD_CLOCKS * 2 * past->slots);
	memset(past->ratios, 0, sizeof(RatioTable) * HAZARD_CLOCKS * 2 * (size_t) past->slots);
	past->covariates = kernel_alloc_array(env, CovariateTable, HAZARD_CLOCKS * 2 * past->slots);
	memset(past->covariates, 0, sizeof(CovariateTable) * HAZARD_CLOCKS * 2 * (size_t) past->slots);
	index_statements(past);
	hazard_fill_stages(past);
	hazard_choose_variants(past);
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

/*
 * Hazards by age, a cell's days at risk counting by its factor. An age is pulled to the geometric mean of the age before it and of all:
 * where a history has just begun, what deals older than any seen yet do is told as much by the oldest seen as by the many young ones.
 */
static void
fit_ages(const HazardPast *past, double events[HAZARD_AGES][HAZARD_CELLS], double risk[HAZARD_AGES][HAZARD_CELLS],
		 const double factor[HAZARD_CELLS], double rate[HAZARD_AGES])
{
	double		age_events[HAZARD_AGES] = {0};
	double		age_risk[HAZARD_AGES] = {0};
	double		all_events = 0;
	double		all_risk = 0;
	double		overall;
	double		before;

	for (int b = 0; b < HAZARD_AGES; b++)
	{
		for (int c = 0; c < HAZARD_CELLS; c++)
		{
			age_events[b] += events[b][c];
			age_risk[b] += risk[b][c] * factor[c];
		}
		all_events += age_events[b];
		all_risk += age_risk[b];
	}
	before = overall = (all_events + 0.5) / (all_risk + 1.0);
	for (int b = 0; b < HAZARD_AGES; b++)
		before = rate[b] = shrunk(age_events[b], age_risk[b], sqrt(before * overall), past->options.age_events);
}

/* Factors of the cells: events over what the ages let expect, pulled to 1 as far as chance explains how they differ. */
static void
fit_cells(double events[HAZARD_AGES][HAZARD_CELLS], double risk[HAZARD_AGES][HAZARD_CELLS], const double rate[HAZARD_AGES],
		  double factor[HAZARD_CELLS])
{
	double		observed[HAZARD_CELLS] = {0};
	double		expected[HAZARD_CELLS] = {0};

	for (int b = 0; b < HAZARD_AGES; b++)
		for (int c = 0; c < HAZARD_CELLS; c++)
		{
			observed[c] += events[b][c];
			expected[c] += risk[b][c] * rate[b];
		}
	ratio_shrink(observed, expected, HAZARD_CELLS, factor);
}

/* Hazards by age and cell from weighted sums: of an age times what the cell does to all ages, and each cell of an age pulled to that. */
static void
shrink_hazards(const HazardPast *past, double events[HAZARD_AGES][HAZARD_CELLS], double risk[HAZARD_AGES][HAZARD_CELLS],
			   double cell_events, double hazard[HAZARD_AGES][HAZARD_CELLS])
{
	double		rate[HAZARD_AGES];
	double		factor[HAZARD_CELLS];

	for (int c = 0; c < HAZARD_CELLS; c++)
		factor[c] = 1.0;
	fit_ages(past, events, risk, factor, rate);
	fit_cells(events, risk, rate, factor);
	fit_ages(past, events, risk, factor, rate);
	for (int b = 0; b < HAZARD_AGES; b++)
		for (int c = 0; c < HAZARD_CELLS; c++)
			hazard[b][c] = fmin(0.9, shrunk(events[b][c], risk[b][c], rate[b] * factor[c], cell_events));
}

/* Factors of the days of the week, for closes that fall on some of them; none where the calendar has them already. */
static void
fit_weekdays(const HazardSums *sums, double scale, HazardFit *fit)
{
	double		risk[7] = {0};
	double		won[7];
	double		lost[7];

	for (int d = 0; d < 7; d++)
	{
		for (int b = 0; b < HAZARD_AGES; b++)
			for (int c = 0; c < HAZARD_CELLS; c++)
				risk[d] += scale * sums->risk[d][b][c];
		won[d] = scale * sums->weekday_won[d];
		lost[d] = scale * sums->weekday_lost[d];
	}
	ratio_shrink(won, risk, 7, fit->win_weekday);
	ratio_shrink(lost, risk, 7, fit->lose_weekday);
	for (int d = 0; d < 7 && fit->calendar == 5; d++)
		fit->win_weekday[d] = fit->lose_weekday[d] = 1.0;
}

/* One event's hazards by age and cell, its days at risk as the days of the week have it. */
static void
fit_event(const HazardPast *past, const HazardSums *sums, double scale, const double closes[HAZARD_AGES][HAZARD_CELLS],
		  const double weekday[7], double cell_events, double hazard[HAZARD_AGES][HAZARD_CELLS])
{
	double		risk[HAZARD_AGES][HAZARD_CELLS];
	double		events[HAZARD_AGES][HAZARD_CELLS];

	for (int b = 0; b < HAZARD_AGES; b++)
		for (int c = 0; c < HAZARD_CELLS; c++)
		{
			risk[b][c] = 0.0;
			for (int d = 0; d < 7; d++)
				risk[b][c] += scale * sums->risk[d][b][c] * weekday[d];
			events[b][c] = scale * closes[b][c];
		}
	shrink_hazards(past, events, risk, cell_events, hazard);
}

/* Hazards by age and a calendar from sums, each cell of an age pulled by so many pseudo-events. */
void
hazard_fit_sums(const HazardPast *past, const HazardSums *sums, int calendar, double cell_events, HazardFit *fit)
{
	double		scale = exp2(-((double) sums->through - sums->anchor) / sums->half_life);

	fit->calendar = calendar;
	fit->stages.count = 0;
	fit_weekdays(sums, scale, fit);
	fit_event(past, sums, scale, sums->won, fit->win_weekday, cell_events, fit->win);
	fit_event(past, sums, scale, sums->lost, fit->lose_weekday, cell_events, fit->lose);
}

/* Fit the hazards to the days up to and including 'day'. */
void
hazard_fit(HazardPast *past, int32_t day, int model, HazardFit *fit)
{
	hazard_fit_by_age(past, day, model % HAZARD_CALENDARS, fit);
	fit->model = model;
	if (model % HAZARD_CLOCKS >= HAZARD_CALENDARS)
		hazard_fit_stages(past, day, fit);
}

/*
 * Probability that a deal created on a day and open after day 'after' is won within [from, to), from > after, whatever its stage.
 */
double
hazard_win_probability(const HazardPast *past, const HazardFit *fit, int32_t created, int32_t after, int32_t from, int32_t to)
{
	double		open = 1.0;
	double		won = 0.0;
	int32_t		t = after + 1 > created ? after + 1 : created;
	int			b = hazard_age_bucket(t - created);
	int			d = hazard_weekday(past, t);

	for (; t < to && open > 1e-9; t++, d = d == 6 ? 0 : d + 1)
	{
		int			c = hazard_calendar_cell(past, fit->calendar, t);
		double		win;
		double		lose;

		while (t - created >= age_start[b + 1])
			b++;
		win = fmin(fit->win[b][c] * fit->win_weekday[d], 0.95);
		lose = fmin(fit->lose[b][c] * fit->lose_weekday[d], 1.0 - win);
		if (t >= from)
			won += open * win;
		open *= 1.0 - win - lose;
	}
	return won;
}

/*
 * Sums of won amounts and their squares by segment, known on a day, weighed as on the last; half-life a year. 'scale' makes them the day's.
 * Days mostly come in order, so that only what was won since the one before is added. Returns the mean of all, and of their squares.
 */
static double
sum_segments(HazardPast *past, int32_t day, double *square, double *scale)
{
	const HazardHistory *h = past->history;
	int			wins = hazard_wins_before(past, day + 1);

	*scale = exp2(((double) past->last - day) / 365.0);
	if (wins < past->summed)
	{
		past->summed = 0;
		memset(past->sum_all, 0, sizeof(past->sum_all));
		memset(past->segment_sum, 0, sizeof(double) * (size_t) (h->segments + 1));
		memset(past->segment_square, 0, sizeof(double) * (size_t) (h->segments + 1));
		memset(past->segment_count, 0, sizeof(double) * (size_t) (h->segments + 1));
	}
	for (; past->summed < wins; past->summed++)
	{
		int			segment = past->won_segment[past->summed];
		double		weight = past->won_weight[past->summed];
		double		amount = past->won_value[past->summed];

		past->segment_sum[segment] += weight * amount;
		past->segment_square[segment] += weight * amount * amount;
		past->segment_count[segment] += weight;
		past->sum_all[0] += weight * amount;
		past->sum_all[1] += weight * amount * amount;
		past->sum_all[2] += weight;
	}
	*square = past->sum_all[2] > 0 ? past->sum_all[1] / past->sum_all[2] : 0.0;
	return past->sum_all[2] > 0 ? past->sum_all[0] / past->sum_all[2] : 0.0;
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

/* The mean amount of won deals of a segment, pulled to that of all by two deals. */
static double
segment_mean(const HazardPast *past, int segment, bool believed, double scale, double overall)
{
	return believed ? (scale * past->segment_sum[segment] + 2 * overall) / (scale * past->segment_count[segment] + 2) : overall;
}

/*
 * By how much amounts have moved from their year's mean: the latest won deals against what their segments let expect, as far as chance
 * does not explain the difference (twice, so that steady amounts stay).
 */
static double
amount_level(const HazardPast *past, int32_t day, bool believed, double scale, double overall)
{
	const HazardHistory *h = past->history;
	double		came = 0;
	double		expected = 0;
	double		square = 0;
	double		weights = 0;
	double		weights2 = 0;
	double		ratio;
	double		chance;

	for (int k = hazard_wins_before(past, day + 1) - 1; k >= 0; k--)
	{
		int			i = past->won_deal[k];
		double		weight = exp2(((double) h->closed[i] - day) / LEVEL_HALF_LIFE);
		double		mean = segment_mean(past, past->won_segment[k], believed, scale, overall);
		double		amount = past->won_value[k];

		if (weight < 1e-3)
			break;
		came += weight * amount;
		expected += weight * mean;
		square += weight * (amount - mean) * (amount - mean);
		weights += weight;
		weights2 += weight * weight;
	}
	ratio = expected != 0.0 ? came / expected : 1.0;
	if (weights < LEVEL_LEAST || ratio <= 0.0 || ratio == 1.0)
		return 1.0;
	/* of the sum of weighed amounts, each as far off as they are on the mean */
	chance = square / weights * weights2 / (expected * expected);
	return 1.0 + (ratio - 1.0) * fmax(1.0 - 2.0 * chance / ((ratio - 1.0) * (ratio - 1.0)), 0.0);
}

/*
 * Amounts of the deals numbered, or (NULL) of the first so many, as hazard_amounts() has them; returns the mean of won deals known on the
 * day, and that of their squares.
 */
double
hazard_amounts_of(HazardPast *past, int32_t day, const int *deal, int deals, double *amount, double *spread, double *square)
{
	const HazardHistory *h = past->history;
	double		scale;
	double		overall = sum_segments(past, day, square, &scale);
	bool		believed = segments_believed(past, day);
	double		level = amount_level(past, day, believed, scale, overall);

	for (int k = 0; k < deals; k++)
	{
		int			i = deal != NULL ? deal[k] : k;
		int			stated = -1;

		for (int a = past->first_amount[i]; a < h->amounts && h->amount[a].deal == i && h->amount[a].day <= day; a++)
			stated = a;
		if (stated >= 0)
		{
			amount[k] = h->amount[stated].amount;
			spread[k] = 1.0;
		}
		else
		{
			double		count = believed ? scale * past->segment_count[h->segment[i]] : 0.0;
			double		mean_square = ((believed ? scale * past->segment_square[h->segment[i]] : 0.0) + 2 * *square) / (count + 2);
			double		mean = segment_mean(past, h->segment[i], believed, scale, overall);

			amount[k] = level * mean;
			spread[k] = mean != 0.0 ? fmin(fmax(mean_square / (mean * mean), 1.0), SPREAD_MOST) : 1.0;
		}
	}
	*square *= level * level;
	return level * overall;
}

/*
 * What each deal was worth as seen on a day: the amount last stated by then, else the mean of the won deals of its
 * segment, pulled to the mean of all by two deals, at the level of the latest. 'spread' is how far an estimate may be off: the mean of
 * such amounts' squares over the square of their mean; 1 where the amount is stated. A deal of amount * spread that is won with its
 * chance / spread brings the same in the mean, and varies as a deal whose amount is yet to be drawn.
 */
void
hazard_amounts(HazardPast *past, int32_t day, double *amount, double *spread)
{
	double		square;

	hazard_amounts_of(past, day, NULL, past->history->count, amount, spread, &square);
}
