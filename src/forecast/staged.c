/*
 * staged.c
 *		Hazards by stage and age: a deal's stage multiplies the hazards that its age and the calendar have, and deals go on from stage to
 *		stage, each way with a hazard of its own.
 *
 * A Markov chain in discrete time whose clock is the deal's age (a multi-state model with competing absorbing states, won and lost;
 * Andersen & Keiding 2002). Factors of a stage are pulled to 1 as far as chance explains how stages differ, those of an age within it
 * to the stage's by pseudo-events: so a stage that few deals were ever in behaves as all do. Whether stages are used is decided by
 * evidence, as in evidence.c: how likely the closes of the weeks that followed were by stage, and without. The chance of a deal is
 * reckoned backwards from the horizon's end for all stages at once, or forwards as a curve for one.
 */
#include "forecast/past.h"

#include <math.h>
#include <string.h>

#define STAGE_HALF_LIFE		180.0
#define STAGE_WINDOW		540		/* days of the past that are looked at */
#define STAGE_EVENTS		3.0		/* pseudo-events that pull an age's factor to its stage's */
#define LEAVE_EVENTS		2.0		/* … and its hazard of leaving */
#define GROUP_AGES			(HAZARD_AGES / HAZARD_AGE_GROUPS)

/* Where a day's row of the table begins. */
static int64_t
row_of(const HazardPast *past, int32_t day)
{
	return (int64_t) (day - past->first) * past->stages.states * HAZARD_AGES;
}

/* The state of a stage as the dimensions have it: 0 not known, else one more than the history's level. */
int
hazard_state_of_level(const HazardPast *past, int level)
{
	return past->stages.states > 0 && level > 0 && level <= past->history->stage_levels ? past->stages.state[level - 1] : 0;
}

/* One more than the level of the stage a deal is in after a day, and the day it entered it: 0, and its creation, where none is known. */
int
hazard_stage_on(const HazardPast *past, int deal, int32_t day, int32_t *entered)
{
	const HazardHistory *h = past->history;
	int			level = 0;

	*entered = h->created[deal];
	for (int k = past->first_stage[deal]; k < h->stages && h->stage[k].deal == deal && h->stage[k].day <= day; k++)
	{
		level = 1 + h->stage[k].level;
		*entered = h->stage[k].day;
	}
	return level;
}

/* The state a deal is in after a day; the first where the fit does not tell stages apart. */
int
hazard_state(const HazardPast *past, const HazardFit *fit, int deal, int32_t day)
{
	int32_t		entered;

	return fit->stages.count > 0 ? hazard_state_of_level(past, hazard_stage_on(past, deal, day, &entered)) : 0;
}

/*
 * Number the stages that open deals were in, in the order in which they were first entered, so that later ones change no number. Those
 * for which there is no room are as if not known.
 */
static void
number_stages(HazardPast *past)
{
	const HazardHistory *h = past->history;
	int32_t    *entered = kernel_alloc_array(past->env, int32_t, h->stage_levels);

	past->stages.state = kernel_alloc_array(past->env, int, h->stage_levels);
	for (int k = 0; k < h->stage_levels; k++)
	{
		entered[k] = HAZARD_NEVER;
		past->stages.state[k] = 0;
	}
	for (int k = 0; k < h->stages; k++)
		if (h->stage[k].day < h->closed[h->stage[k].deal] && h->stage[k].day < entered[h->stage[k].level])
			entered[h->stage[k].level] = h->stage[k].day;
	for (past->stages.states = 1; past->stages.states < HAZARD_STATES; past->stages.states++)
	{
		int			first = -1;

		for (int k = 0; k < h->stage_levels; k++)
			if (entered[k] != HAZARD_NEVER && (first < 0 || entered[k] < entered[first]))
				first = k;
		if (first < 0)
			break;
		past->stages.state[first] = past->stages.states;
		entered[first] = HAZARD_NEVER;
	}
	kernel_release(past->env, entered);
}

/* Days at risk of a stay, after the day it began to the day it ended: into the table of differences. */
static void
add_days(HazardPast *past, int deal, int state, int32_t begun, int32_t ended)
{
	int64_t		created = past->history->created[deal];
	int64_t		first = begun + 1 > past->first ? begun + 1 : past->first;

	for (int b = hazard_age_bucket((int32_t) (first - created)); b < HAZARD_AGES && created + hazard_age_start(b) <= ended; b++)
	{
		int64_t		from = created + hazard_age_start(b);
		int64_t		to = b + 1 < HAZARD_AGES ? created + hazard_age_start(b + 1) : (int64_t) ended + 1;

		from = from < first ? first : from;
		to = to > ended ? (int64_t) ended + 1 : to;
		past->stages.risk[row_of(past, (int32_t) from) + state * HAZARD_AGES + b] += 1;
		past->stages.risk[row_of(past, (int32_t) to) + state * HAZARD_AGES + b] -= 1;
	}
}

/* A stay and how it ended: by going on to another state, by the deal's close (-1), or not yet (-2). */
static void
add_stay(HazardPast *past, int deal, int state, int32_t begun, int32_t ended, int next)
{
	StageTable *t = &past->stages;
	int64_t		cell;

	if (ended < past->first || ended <= begun)
		return;
	add_days(past, deal, state, begun, ended);
	cell = row_of(past, ended) + state * HAZARD_AGES + hazard_age_bucket(ended - past->history->created[deal]);
	if (next >= 0)
	{
		t->left[cell] += 1;
		t->move[((int64_t) (ended - past->first) * t->states + state) * t->states + next] += 1;
	}
	else if (next == -1)
		(past->history->outcome[deal] == HAZARD_WON ? t->won : t->lost)[cell] += 1;
}

/* The stays of a deal. The day it was created, and a close on it, are in none: no stage was known before. */
static void
add_stays(HazardPast *past, int deal)
{
	const HazardHistory *h = past->history;
	int32_t		close = h->closed[deal];
	int32_t		begun = h->created[deal];
	int			state = 0;

	if (close < past->first)
		return;
	for (int k = past->first_stage[deal]; k < h->stages && h->stage[k].deal == deal && h->stage[k].day < close; k++)
	{
		int			next = hazard_state_of_level(past, 1 + h->stage[k].level);

		if (next != state && h->stage[k].day > begun && h->stage[k].day <= past->last)
		{
			add_stay(past, deal, state, begun, h->stage[k].day, next);
			begun = h->stage[k].day;
		}
		if (h->stage[k].day <= past->last)
			state = next;
	}
	add_stay(past, deal, state, begun, close < past->last ? close : past->last, close <= past->last ? -1 : -2);
}

/* A table of zeros. */
static float *
zeros(const KernelEnv *env, size_t count)
{
	float	   *table = kernel_alloc_array(env, float, count);

	memset(table, 0, sizeof(float) * count);
	return table;
}

/* The table of person-days by stage, where stages are known. */
void
hazard_fill_stages(HazardPast *past)
{
	StageTable *t = &past->stages;
	size_t		a_day;
	size_t		size;

	if (past->days == 0 || past->history->stages == 0)
		return;
	number_stages(past);
	a_day = (size_t) t->states * HAZARD_AGES;
	size = (size_t) (past->days + 1) * a_day;
	t->risk = zeros(past->env, size);
	t->won = zeros(past->env, size);
	t->lost = zeros(past->env, size);
	t->left = zeros(past->env, size);
	t->move = zeros(past->env, (size_t) (past->days + 1) * (size_t) (t->states * t->states));
	for (int i = 0; i < past->history->count; i++)
		add_stays(past, i);
	for (size_t k = a_day; k < size; k++)
		t->risk[k] += t->risk[k - a_day];
}

/* Weighed sums of a fit: closes and what age and calendar let expect of them (won, lost), days at risk and goings on */
typedef struct StageSums
{
	double		events[2][HAZARD_STATES][HAZARD_AGE_GROUPS];
	double		expected[2][HAZARD_STATES][HAZARD_AGE_GROUPS];
	double		risk[HAZARD_STATES][HAZARD_AGE_GROUPS];
	double		left[HAZARD_STATES][HAZARD_AGE_GROUPS];
	double		move[HAZARD_STATES][HAZARD_STATES];
} StageSums;

/* Add a day. */
static void
add_day(const HazardPast *past, const HazardFit *fit, int32_t day, double weight, StageSums *sums)
{
	const StageTable *t = &past->stages;
	int			c = hazard_calendar_cell(past, fit->calendar, day);
	int			d = hazard_weekday(past, day);
	const float *move = &t->move[(int64_t) (day - past->first) * t->states * t->states];

	for (int s = 0; s < t->states; s++)
	{
		int64_t		row = row_of(past, day) + s * HAZARD_AGES;

		for (int b = 0; b < HAZARD_AGES; b++)
		{
			double		risk = weight * t->risk[row + b];
			int			g = b / GROUP_AGES;

			if (risk == 0.0)
				continue;
			sums->risk[s][g] += risk;
			sums->expected[0][s][g] += risk * fit->win[b][c] * fit->win_weekday[d];
			sums->expected[1][s][g] += risk * fit->lose[b][c] * fit->lose_weekday[d];
			sums->events[0][s][g] += weight * t->won[row + b];
			sums->events[1][s][g] += weight * t->lost[row + b];
			sums->left[s][g] += weight * t->left[row + b];
		}
		for (int n = 0; n < t->states; n++)
			sums->move[s][n] += weight * move[s * t->states + n];
	}
}

/* Factors of stages on a hazard, and of their ages. */
static void
fit_factors(int states, double events[HAZARD_STATES][HAZARD_AGE_GROUPS], double expected[HAZARD_STATES][HAZARD_AGE_GROUPS],
			double factor[HAZARD_STATES][HAZARD_AGE_GROUPS])
{
	double		all_events[HAZARD_STATES] = {0};
	double		all_expected[HAZARD_STATES] = {0};
	double		ratio[HAZARD_STATES];

	for (int s = 0; s < states; s++)
		for (int g = 0; g < HAZARD_AGE_GROUPS; g++)
		{
			all_events[s] += events[s][g];
			all_expected[s] += expected[s][g];
		}
	ratio_shrink(all_events, all_expected, states, ratio);
	for (int s = 0; s < states; s++)
		for (int g = 0; g < HAZARD_AGE_GROUPS; g++)
			factor[s][g] = ratio[s] * (events[s][g] + STAGE_EVENTS) / (expected[s][g] * ratio[s] + STAGE_EVENTS);
}

/* Hazards of going on from a stage, and where to. */
static void
fit_moves(const StageSums *sums, int states, int s, HazardStages *fit)
{
	double		left = 0.0;
	double		risk = 0.0;
	double		mean;

	for (int g = 0; g < HAZARD_AGE_GROUPS; g++)
	{
		left += sums->left[s][g];
		risk += sums->risk[s][g];
	}
	mean = left / (risk + 1.0);
	for (int g = 0; g < HAZARD_AGE_GROUPS; g++)
		fit->leave[s][g] = mean > 0.0 ? (sums->left[s][g] + LEAVE_EVENTS) / (sums->risk[s][g] + LEAVE_EVENTS / mean) : 0.0;
	for (int n = 0; n < states; n++)
		fit->to[s][n] = left > 0.0 ? sums->move[s][n] / left : 0.0;
}

/* What stages do to the hazards of a fit by age and calendar, from the days up to one. */
static void
fit_stages(const HazardPast *past, int32_t day, HazardFit *fit)
{
	int			states = past->stages.states;
	int32_t		until = day < past->last ? day : past->last;
	double		decay = exp2(-1.0 / STAGE_HALF_LIFE);
	double		weight = 1.0;
	StageSums	sums = {0};

	memset(&fit->stages, 0, sizeof(fit->stages));
	fit->stages.count = states;
	for (int64_t t = until; past->days > 0 && t >= past->first && t > (int64_t) until - STAGE_WINDOW; t--, weight *= decay)
		add_day(past, fit, (int32_t) t, weight, &sums);
	fit_factors(states, sums.events[0], sums.expected[0], fit->stages.win);
	fit_factors(states, sums.events[1], sums.expected[1], fit->stages.lose);
	for (int s = 0; s < states; s++)
		fit_moves(&sums, states, s, &fit->stages);
}

/* The same, kept where the day is a slot's. */
void
hazard_fit_stages(HazardPast *past, int32_t day, HazardFit *fit)
{
	Clock	   *clock = &past->clock[fit->calendar];
	int			slot = past->slots > 0 ? hazard_slot_before(past, day) : 0;

	if (past->stages.states == 0)
		return;
	if (past->slots == 0 || day != hazard_slot_day(past, slot))
	{
		fit_stages(past, day, fit);
		return;
	}
	if (clock->staged == NULL)
	{
		clock->staged = kernel_alloc_array(past->env, HazardStages *, past->slots);
		memset(clock->staged, 0, sizeof(HazardStages *) * (size_t) past->slots);
	}
	if (clock->staged[slot] == NULL)
	{
		fit_stages(past, day, fit);
		clock->staged[slot] = kernel_alloc_array(past->env, HazardStages, 1);
		*clock->staged[slot] = fit->stages;
	}
	fit->stages = *clock->staged[slot];
}

/* By how much likelier the closes of (day, until] were by stage than without (log). */
static double
likelier(const HazardPast *past, const HazardFit *fit, int32_t day, int32_t until)
{
	const StageTable *t = &past->stages;
	double		sum = 0.0;

	for (int32_t k = day + 1; k <= until && k <= past->last; k++)
	{
		int			c = hazard_calendar_cell(past, fit->calendar, k);
		int			d = hazard_weekday(past, k);

		for (int s = 0; s < t->states; s++)
			for (int b = 0; b < HAZARD_AGES; b++)
			{
				int64_t		cell = row_of(past, k) + s * HAZARD_AGES + b;
				double		win = fit->stages.win[s][b / GROUP_AGES];
				double		lose = fit->stages.lose[s][b / GROUP_AGES];

				if (t->risk[cell] == 0.0f)
					continue;
				sum += t->won[cell] * log(win) - t->risk[cell] * fit->win[b][c] * fit->win_weekday[d] * (win - 1.0);
				sum += t->lost[cell] * log(lose) - t->risk[cell] * fit->lose[b][c] * fit->lose_weekday[d] * (lose - 1.0);
			}
	}
	return sum;
}

/* By how much likelier closes were by stage and this calendar, as known on a day; -INFINITY where no stages are known. */
double
hazard_stage_evidence(HazardPast *past, int calendar, int32_t day)
{
	Clock	   *clock = &past->clock[calendar];
	int			slot;

	if (past->slots == 0 || past->stages.states < 2)
		return -INFINITY;
	slot = hazard_slot_before(past, day);
	if (clock->staged_evidence == NULL)
	{
		clock->staged_evidence = kernel_alloc_array(past->env, double, past->slots);
		clock->staged_evidence[0] = 0.0;
		clock->staged_made = 1;
	}
	for (; clock->staged_made <= slot; clock->staged_made++)
	{
		int			s = clock->staged_made;
		int32_t		begun = hazard_slot_day(past, s - 1);
		HazardFit	fit;

		hazard_fit(past, begun, calendar + HAZARD_CALENDARS, &fit);
		clock->staged_evidence[s] = clock->staged_evidence[s - 1] * exp2(-HAZARD_EVERY / EVIDENCE_HALF_LIFE) +
			likelier(past, &fit, begun, hazard_slot_day(past, s));
	}
	return clock->staged_evidence[slot];
}

/* The daily chances of one stage */
typedef struct Daily
{
	double		win;
	double		lose;
	double		leave;
} Daily;

/* The lesser of two numbers, neither of them NaN: fmin() is a call. */
static inline double
lesser(double a, double b)
{
	return a < b ? a : b;
}

/* What a day brings a deal of an age's bucket in a stage. */
static inline Daily
daily(const HazardFit *fit, int state, int bucket, int cell, int day_of_week)
{
	int			g = bucket / GROUP_AGES;
	double		by_win = fit->stages.count > 0 ? fit->stages.win[state][g] : 1.0;
	double		by_lose = fit->stages.count > 0 ? fit->stages.lose[state][g] : 1.0;
	Daily		p;

	p.win = lesser(fit->win[bucket][cell] * fit->win_weekday[day_of_week] * by_win, 0.95);
	p.lose = lesser(fit->lose[bucket][cell] * fit->lose_weekday[day_of_week] * by_lose, 1.0 - p.win);
	p.leave = fit->stages.count > 0 ? lesser(fit->stages.leave[state][g], 1.0 - p.win - p.lose) : 0.0;
	return p;
}

/*
 * Probabilities that a deal created on a day and open after day 'after' is won within [from, to), from > after, by the state it is in then.
 */
void
hazard_chances(const HazardPast *past, const HazardFit *fit, int32_t created, int32_t after, int32_t from, int32_t to,
			   double chance[HAZARD_STATES])
{
	int32_t		first = after + 1 > created ? after + 1 : created;
	int			b = hazard_age_bucket(to - 1 > created ? to - 1 - created : 0);
	int			states = fit->stages.count > 0 ? fit->stages.count : 1;
	int			d = hazard_weekday(past, to);
	double		later[HAZARD_STATES];

	memset(chance, 0, sizeof(double) * HAZARD_STATES);
	for (int32_t t = to - 1; t >= first; t--)
	{
		int			c = hazard_calendar_cell(past, fit->calendar, t);

		d = d == 0 ? 6 : d - 1;

		while (t - created < hazard_age_start(b))
			b--;
		memcpy(later, chance, sizeof(later));
		for (int s = 0; s < states; s++)
		{
			Daily		p = daily(fit, s, b, c, d);
			double		gone_on = 0.0;

			for (int n = 0; n < states && p.leave > 0.0; n++)
				gone_on += fit->stages.to[s][n] * later[n];
			chance[s] = (t >= from ? p.win : 0.0) + (1.0 - p.win - p.lose - p.leave) * later[s] + p.leave * gone_on;
		}
	}
}

/* One day of the curve: where deals are, by state, and what was won by its end. */
static double
step_curve(const HazardFit *fit, int states, int bucket, int cell, int day_of_week, double open[HAZARD_STATES])
{
	double		next[HAZARD_STATES] = {0};
	double		won = 0.0;

	for (int s = 0; s < states; s++)
	{
		Daily		p;

		if (open[s] <= 0.0)
			continue;
		p = daily(fit, s, bucket, cell, day_of_week);
		won += open[s] * p.win;
		next[s] += open[s] * (1.0 - p.win - p.lose - p.leave);
		for (int n = 0; n < states && p.leave > 0.0; n++)
			next[n] += open[s] * p.leave * fit->stages.to[s][n];
	}
	memcpy(open, next, sizeof(next));
	return won;
}

/*
 * Probabilities that a deal created on a day, and in a state after day 'after', is won within 0, 1, … 'days' days after it.
 */
void
hazard_curve(const HazardPast *past, const HazardFit *fit, int state, int32_t created, int32_t after, int days, double *won)
{
	double		open[HAZARD_STATES] = {0};
	int			states = fit->stages.count > 0 ? fit->stages.count : 1;

	open[state] = 1.0;
	won[0] = 0.0;
	for (int k = 1; k <= days; k++)
	{
		int32_t		t = after + k;

		won[k] = won[k - 1];
		if (t >= created)
			won[k] += step_curve(fit, states, hazard_age_bucket(t - created), hazard_calendar_cell(past, fit->calendar, t),
								 hazard_weekday(past, t), open);
	}
}
