/*
 * replay.c
 *		Forecasts, the model's own past ones, and what they teach: corrections, the choice of a model, how wrong it is.
 *
 * Own past forecasts are made on every seventh day and kept, for each model: a forecast of day K' depends only on days up to K', so
 * it never has to be made again. Two corrections are learned, of open deals' wins and of all wins: new deals' early
 * wins are too few to say much by themselves, and what a wrong hazard gives to one it takes from the other.
 */
#include "forecast/past.h"

#include <math.h>
#include <string.h>

#define USUAL_CALENDAR	1		/* the month of the quarter */
#define CLEAR_EVIDENCE	2.0		/* log likelihood by which something else than usual must be better */
#define MONEY_TOLERANCE	0.02	/* of own past forecasts' error in money, for better chances of single deals */
#define LONG_PAST	150.0	/* days of history from which on more of it makes forecasts little better */
#define PULL_MOST	1000.0	/* wins that pull a correction to 1 */
#define PULL_LEAST	10.0

/* How many deals were created by a day. */
static int
created_by(const HazardPast *past, int32_t day)
{
	if (past->history->count == 0 || day < past->first_created)
		return 0;
	return day >= past->last ? past->history->count : past->arrived[day + 1 - past->first_created];
}

/* The deals that are open on a day, by creation: those of the latest slot before it that were listed, and what has come since. */
static void
list_open_deals(const HazardPast *past, int32_t day, OpenDay *open)
{
	const HazardHistory *h = past->history;
	int			slot = past->days > 0 && day > past->first ? hazard_slot_before(past, day - 1) : -1;
	const OpenDay *before = NULL;
	int			from = 0;
	int			until = created_by(past, day);

	while (slot >= 0 && !past->open_day[slot].made)
		slot--;
	if (slot >= 0)
	{
		before = &past->open_day[slot];
		from = created_by(past, hazard_slot_day(past, slot));
	}
	open->count = 0;
	open->deal = kernel_alloc_array(past->env, int, (before != NULL ? before->count : 0) + until - from + 1);
	for (int k = 0; before != NULL && k < before->count; k++)
		if (h->closed[before->deal[k]] > day)
			open->deal[open->count++] = before->deal[k];
	for (int k = from; k < until; k++)
		if (h->closed[past->by_created[k]] > day)
			open->deal[open->count++] = past->by_created[k];
	open->deal = kernel_realloc_array(past->env, open->deal, int, open->count + 1);
}

/* Fill in the deals that are open on a day. */
static void
see_open_deals(HazardPast *past, int32_t day, OpenDay *open)
{
	list_open_deals(past, day, open);
	open->amount = kernel_alloc_array(past->env, double, open->count + 1);
	open->spread = kernel_alloc_array(past->env, double, open->count + 1);
	open->level = kernel_alloc_array(past->env, uint16_t, open->count * RATIO_DIMENSIONS + 1);
	open->waiting = kernel_alloc_array(past->env, int32_t, open->count + 1);
	open->mean = hazard_amounts_of(past, day, open->deal, open->count, open->amount, open->spread, &open->square);
	for (int k = 0; k < open->count; k++)
		open->waiting[k] = hazard_deal_levels(past, open->deal[k], day, &open->level[k * RATIO_DIMENSIONS]);
	open->made = true;
}

/* Give it back. */
static void
forget_open_deals(const HazardPast *past, OpenDay *open)
{
	kernel_release(past->env, open->deal);
	kernel_release(past->env, open->amount);
	kernel_release(past->env, open->spread);
	kernel_release(past->env, open->level);
	kernel_release(past->env, open->waiting);
}

/* The slot of own past forecasts that a day is, or -1. */
static int
slot_of(const HazardPast *past, int32_t day)
{
	int			slot = past->days > 0 && day >= past->first ? (day - past->first) / HAZARD_EVERY : -1;

	return slot >= 0 && slot < past->slots && hazard_slot_day(past, slot) == day ? slot : -1;
}

/*
 * Add what the open deals of a day bring in [from, to). Where wanted, for the time when the days are over: each is noted in a snapshot, and
 * how surprising what came of them is (the negative log likelihood of their chances).
 */
static void
forecast_open(HazardPast *past, const OpenDay *open, int32_t day, int32_t from, int32_t to, const HazardFit *fit, RatioSnapshot *snapshot,
			  double *loss, HazardForecast *forecast)
{
	const HazardHistory *h = past->history;
	int32_t		cached_for = INT32_MIN;
	double		by_state[HAZARD_STATES];
	double		stayed = 1.0;	/* product of the chances not to be won: one logarithm for many deals */

	for (int k = 0; k < open->count; k++)
	{
		int			i = open->deal[k];
		const uint16_t *level = &open->level[k * RATIO_DIMENSIONS];
		double		amount = open->amount[k];
		double		base;
		double		p;

		if (h->created[i] != cached_for)
			hazard_chances(past, fit, h->created[i], day, from, to, by_state);
		cached_for = h->created[i];
		base = by_state[fit->stages.count > 0 ? hazard_state_of_level(past, level[2]) : 0];
		p = fmin(base * hazard_ratio_of_levels(past, fit->model, level, open->waiting[k], day, to - 1 - day, base), 0.995);
		forecast->open_wins += p;
		forecast->open += p * amount;
		forecast->open_variance += p * (open->spread[k] - p) * amount * amount;
		if (snapshot != NULL)
			ratio_snapshot_add(past->env, snapshot, base, h->outcome[i] == HAZARD_WON && h->closed[i] < to, level, open->waiting[k]);
		if (loss == NULL)
			continue;
		if (h->outcome[i] == HAZARD_WON && h->closed[i] < to)
			*loss -= log(fmax(p, 1e-6));
		else if ((stayed *= 1.0 - p) < 1e-200)
		{
			*loss -= log(stayed);
			stayed = 1.0;
		}
	}
	if (loss != NULL)
		*loss -= log(stayed);
}

/*
 * Forecast of the days [from, to), from > day, with what was known on the day; not corrected. Snapshot and loss as of forecast_open(),
 * or NULL.
 */
void
hazard_forecast_days(HazardPast *past, int32_t day, int32_t from, int32_t to, const HazardFit *fit, RatioSnapshot *snapshot,
					 double *loss, HazardForecast *forecast)
{
	int			ahead = to - 1 - day > 0 ? to - 1 - day : 0;
	int			slot = slot_of(past, day);
	double	   *rate = kernel_alloc_array(past->env, double, ahead + 1);
	OpenDay		other = {false};
	OpenDay    *open = slot >= 0 ? &past->open_day[slot] : &other;

	memset(forecast, 0, sizeof(*forecast));
	if (!open->made)
		see_open_deals(past, day, open);
	forecast_open(past, open, day, from, to, fit, snapshot, loss, forecast);
	hazard_arrival_rates(past, day, ahead, rate);
	for (int32_t created = day + 1; created < to; created++)
		forecast->fresh_wins += rate[created - day - 1] * hazard_win_probability(past, fit, created, day, from, to);
	forecast->fresh = forecast->fresh_wins * open->mean;
	forecast->fresh_variance = forecast->fresh_wins * open->square;
	kernel_release(past->env, rate);
	if (slot < 0)
		forget_open_deals(past, open);
}

/* The same for the caller: its horizon becomes the one that own past forecasts are kept for. */
void
hazard_forecast(HazardPast *past, int32_t day, int32_t from, int32_t to, const HazardFit *fit, HazardForecast *forecast)
{
	hazard_change_horizon(past, to - 1 - day);
	hazard_forecast_days(past, day, from, to, fit, NULL, NULL, forecast);
}

/* What came in [from, to) of deals open after 'day' and of those created later. */
void
hazard_actual(const HazardPast *past, int32_t day, int32_t from, int32_t to, HazardForecast *actual)
{
	const HazardHistory *h = past->history;

	memset(actual, 0, sizeof(*actual));
	for (int k = hazard_wins_before(past, from); k < past->wins && h->closed[past->won_deal[k]] < to; k++)
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
	int32_t		day = hazard_slot_day(past, slot);
	int32_t		to = day + 1 + past->horizon[kind];
	HazardFit	fit;

	if (replay->made)
		return replay;
	hazard_fit(past, day, model, &fit);
	replay->loss = 0.0;
	hazard_forecast_days(past, day, day + 1, to, &fit, NULL, &replay->loss, &replay->said);
	hazard_actual(past, day, day + 1, to, &replay->came);
	replay->made = true;
	kernel_tick(past->env, slot, past->slots);
	return replay;
}

/*
 * By how much more the square of a forecast's error is expected to be for want of a past: a history of five months doubles it, one of
 * a month multiplies it by a hundred and fifty. Own past forecasts of the first weeks, divided by theirs, still tell how wrong those of
 * today are.
 */
static double
immaturity(const HazardPast *past, int32_t day)
{
	double		length = fmax((double) day - past->first + 1.0, 1.0);

	return 1.0 + pow(LONG_PAST / length, 3.0);
}

/*
 * How far the wins of own past forecasts, as they were before correction, were off by a day beyond chance: the square relative to the
 * forecast, for open deals (0) and all (1). Where they were hardly off, a correction would follow chance.
 */
static void
unevenness(HazardPast *past, int32_t day, int model, double square[2])
{
	double		count = past->options.calibration_errors;
	double		sum[2] = {count / past->options.calibration_wins, count / past->options.calibration_wins};

	for (int slot = 0; slot < past->slots && hazard_slot_day(past, slot) + HAZARD_CALIBRATION <= day; slot++)
	{
		const Replay *r = replay_of(past, model, 0, slot);
		double		age = day - hazard_slot_day(past, slot) - HAZARD_CALIBRATION;
		double		weight = exp2(-age / past->options.error_half_life) * HAZARD_EVERY / HAZARD_CALIBRATION;
		double		unripe = immaturity(past, hazard_slot_day(past, slot));
		double		said[2] = {r->said.open_wins, r->said.open_wins + r->said.fresh_wins};
		double		came[2] = {r->came.open_wins, r->came.open_wins + r->came.fresh_wins};

		for (int k = 0; k < 2; k++)
			if (said[k] > 0.0)
			{
				double		off = fmin(fmax(came[k] / said[k] - 1.0, -1.0), 3.0);

				sum[k] += weight * (off * off - 1.0 / said[k]) / unripe;	/* a count's variance is its mean */
			}
		count += weight;
	}
	for (int k = 0; k < 2; k++)
		square[k] = fmin(fmax(sum[k] / count, 1.0 / PULL_MOST), 1.0 / PULL_LEAST);
}

/*
 * The corrections by the own past forecasts whose horizon was over by a day: wins that came over wins said, pulled to 1 by one forecast
 * and by as many wins as own errors beyond chance leave room for (a win is counted in as many weekly forecasts as their horizon has
 * weeks). In wins, not in money: a few large deals would be taken for a change, and what amounts do is followed where they are estimated.
 */
static Correction
correct(HazardPast *past, int32_t day, int model)
{
	double		said[2] = {0, 0};
	double		came[2] = {0, 0};
	double		ratio[2];
	double		weights = 0;
	double		square[2];

	unevenness(past, day, model, square);
	for (int slot = 0; slot < past->slots && hazard_slot_day(past, slot) + HAZARD_CALIBRATION <= day; slot++)
	{
		const Replay *r = replay_of(past, model, 0, slot);
		double		weight = exp2((hazard_slot_day(past, slot) + HAZARD_CALIBRATION - day) / past->options.calibration_half_life);

		said[0] += weight * r->said.open_wins;
		came[0] += weight * r->came.open_wins;
		said[1] += weight * (r->said.open_wins + r->said.fresh_wins);
		came[1] += weight * (r->came.open_wins + r->came.fresh_wins);
		weights += weight;
	}
	for (int k = 0; k < 2; k++)
	{
		double		pull = 0.0;

		if (weights > 0)
			pull = past->options.calibration_weight * said[k] / weights + HAZARD_CALIBRATION / HAZARD_EVERY / square[k];
		ratio[k] = said[k] > 0.0 ? fmin(fmax((came[k] + pull) / (said[k] + pull), 0.1), 10.0) : 1.0;
	}
	return (Correction) {true, ratio[0], ratio[1]};
}

/* The corrections known on a day: kept where the day is a slot's. */
static Correction
correction_of(HazardPast *past, int32_t day, int model)
{
	int			slot = slot_of(past, day);
	Correction *kept;

	if (past->days == 0 || day < past->first)
		return (Correction) {true, 1.0, 1.0};
	if (slot < 0)
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
	double		ratio = fresh != 0.0 ? fmax(wanted / fresh, 0.25 * c.total) : c.total;

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

/* How wrong a model's corrected own forecasts in money were by a day, open deals and all; weighed by recency. -1: none is over. */
static double
model_error(HazardPast *past, int32_t day, int model)
{
	double		error = -1.0;

	for (int slot = 0; slot < past->slots && hazard_slot_day(past, slot) + HAZARD_CALIBRATION <= day; slot++)
	{
		const Replay *r = replay_of(past, model, 0, slot);
		double		weight = exp2((hazard_slot_day(past, slot) - day) / 180.0);
		HazardForecast said = r->said;
		double		open;
		double		fresh;

		hazard_correct(past, hazard_slot_day(past, slot), model, &said);
		open = r->came.open - said.open;
		fresh = r->came.fresh - said.fresh;
		if (error < 0.0)
			error = 0.0;
		error += weight * (fabs(open) + fabs(open + fresh));
	}
	return error;
}

/*
 * The calendar that made the closes before a day likeliest, and whether they were likelier by stage. Until another has some evidence, the
 * month of the quarter: the rhythm most sales teams are held to.
 */
static int
choose_clock(HazardPast *past, int32_t day)
{
	int			best = past->options.calendar >= 0 ? past->options.calendar : USUAL_CALENDAR;
	double		most = past->options.calendar >= 0 ? INFINITY : hazard_evidence(past, best, day) + CLEAR_EVIDENCE;

	for (int calendar = 0; calendar < HAZARD_CALENDARS && most < INFINITY; calendar++)
	{
		double		evidence;

		if (calendar == USUAL_CALENDAR || !calendar_allowed(past, calendar, day))
			continue;
		evidence = hazard_evidence(past, calendar, day);
		if (evidence > most)
		{
			most = evidence;
			best = calendar;
		}
	}
	return hazard_stage_evidence(past, best, day) > CLEAR_EVIDENCE ? best + HAZARD_CALENDARS : best;
}

/* How surprising the open deals' outcomes were to a model's own forecasts that were over by a day; weighed by recency. */
static double
model_loss(HazardPast *past, int32_t day, int model)
{
	double		loss = 0.0;

	for (int slot = 0; slot < past->slots && hazard_slot_day(past, slot) + HAZARD_CALIBRATION <= day; slot++)
		loss += exp2((hazard_slot_day(past, slot) - day) / 180.0) * replay_of(past, model, 0, slot)->loss;
	return loss;
}

/*
 * The model for a day: a clock, and whether and how what else is known sets deals apart: whichever was least surprised by what came of
 * single deals in own past forecasts, among those whose sums in money were not more wrong for it: by 2 %, and by half of what the surprise
 * is less (sums are few, and wrong by chance as well).
 */
int
hazard_choose_model(HazardPast *past, int32_t day)
{
	int			clock = choose_clock(past, day);
	int			best = clock;
	double		plain = model_error(past, day, clock);
	double		surprise;
	double		least;

	if (plain < 0.0 || past->options.family >= 0)
		return clock + HAZARD_CLOCKS * (past->options.family > 0 ? past->options.family : 0);
	least = surprise = model_loss(past, day, clock);
	for (int family = 1; family < HAZARD_FAMILIES; family++)
	{
		int			model = clock + family * HAZARD_CLOCKS;
		double		loss = model_loss(past, day, model);

		if (loss < least && model_error(past, day, model) <= plain * (1.0 + MONEY_TOLERANCE + 0.5 * (1.0 - loss / surprise)))
		{
			least = loss;
			best = model;
		}
	}
	return best;
}

/*
 * Squared log error, beyond what independent deals explain, of corrected own forecasts made on a slot and so many of 28 days after it, one
 * at the end of the other, as far as they were over by a day: their sums are compared, since what one month has too
 * much the next often lacks. Credits are wrong as sales are; a sum of the other sign than forecast is as wrong as can be. False where
 * nothing was forecast.
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

		if (slot >= past->slots || hazard_slot_day(past, slot) + past->horizon[kind] > day)
			break;
		r = replay_of(past, model, kind, slot);
		said = r->said;
		hazard_correct(past, hazard_slot_day(past, slot), model, &said);
		mean += said.open + (open_only ? 0.0 : said.fresh);
		came += r->came.open + (open_only ? 0.0 : r->came.fresh);
		variance += said.open_variance + (open_only ? 0.0 : said.fresh_variance);
	}
	if (mean == 0.0)
		return false;
	error = came / mean > 0.0 ? fmin(fmax(log(came / mean), -2.0), 2.0) : -2.0;
	*excess = error * error - variance / (mean * mean);
	return true;
}

/*
 * Log deviation of corrected forecasts beyond what independent deals explain, from own past ones that were over by a day, and the prior.
 * Forecasts a week apart overlap: together they count as many as fit side by side. The errors of 28 days (as many on end as the horizon
 * holds) that stand in for those of another horizon fade as the latter become more. So few errors leave the deviation itself uncertain:
 * the normal distribution with it becomes one of Student's, whose tenth is as far out as that of a normal one wider by a factor.
 */
double
hazard_deviation(HazardPast *past, int32_t day, int model, int horizon, bool open_only)
{
	double		count = past->options.error_weight;
	double		sum = count * past->options.error_prior * past->options.error_prior;
	double		independent = 0.0;

	hazard_change_horizon(past, horizon);
	for (int kind = 1; kind >= 0; kind--)
	{
		double		stand_in = kind == 1 ? 1.0 : 1.0 / (1.0 + independent);
		int			blocks = kind == 1 || open_only || horizon < 2 * HAZARD_CALIBRATION ? 1 : horizon / HAZARD_CALIBRATION;

		for (int slot = 0; slot < past->slots && hazard_slot_day(past, slot) + past->horizon[kind] <= day; slot++)
		{
			double		age = day - hazard_slot_day(past, slot) - past->horizon[kind];
			double		weight = stand_in * exp2(-age / past->options.error_half_life) * HAZARD_EVERY / horizon;
			double		excess;

			if (!excess_error(past, day, model, kind, slot, blocks, open_only, &excess))
				continue;
			sum += weight * excess / immaturity(past, hazard_slot_day(past, slot));
			count += weight;
			independent += kind * (double) HAZARD_EVERY / horizon;
		}
	}
	sum = fmax(sum, 0.0) / count * immaturity(past, day);
	return fmin(sqrt(sum * (1.0 + 1.0 / (count + 0.5))), HAZARD_DEVIATION_MOST);
}
