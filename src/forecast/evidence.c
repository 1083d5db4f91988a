/*
 * evidence.c
 *		How long a memory the hazards have, how freely the cells of a calendar, and which calendar: by how likely each made what followed.
 *
 * Prequential: at each slot (a week) every variant is fitted to the days up to it, and judged by the log likelihood it gives to the closes
 * of the days until the next, evidence of a year ago counting half. A fit is the mean of the variants, weighed by their evidence; the
 * calendar is the one with the likeliest variant. Nothing after the day of a fit is looked at (Dawid 1984). What stages do is staged.c's.
 */
#include "forecast/past.h"

#include <math.h>
#include <string.h>

#define LEAST_SHARE			0.02	/* a variant with less is left out */
#define WEIGHT_MOST			1e30	/* of a day, to that of the anchor */
#define HAZARD_LEAST		1e-9	/* in a likelihood */

static const double usual_half_lives[HALF_LIVES] = {45, 90, 180, 365, 1460};
static const double usual_pulls[CELL_PULLS] = {2, 30};

/* The variants that are weighed: what the options leave open. */
void
hazard_choose_variants(HazardPast *past)
{
	past->half_lives = past->options.half_life > 0.0 ? 1 : HALF_LIVES;
	past->cell_pulls = past->options.cell_events > 0.0 ? 1 : CELL_PULLS;
	for (int k = 0; k < past->half_lives; k++)
		past->half_life[k] = past->options.half_life > 0.0 ? past->options.half_life : usual_half_lives[k];
	for (int k = 0; k < past->cell_pulls; k++)
		past->cell_pull[k] = past->options.cell_events > 0.0 ? past->options.cell_events : usual_pulls[k];
}

/* How many they are. */
static int
variants(const HazardPast *past)
{
	return past->half_lives * past->cell_pulls;
}

/* Sums of no day. */
static void
begin_sums(const HazardPast *past, double half_life, HazardSums *sums)
{
	memset(sums, 0, sizeof(*sums));
	sums->half_life = half_life;
	sums->anchor = past->first;
	sums->through = past->first - 1;
}

/* Let another day be the anchor, before weights grow beyond what a double holds. */
static void
move_anchor(int32_t day, HazardSums *sums)
{
	double		factor = exp2(((double) sums->anchor - day) / sums->half_life);

	for (int b = 0; b < HAZARD_AGES; b++)
		for (int c = 0; c < HAZARD_CELLS; c++)
		{
			for (int d = 0; d < 7; d++)
				sums->risk[d][b][c] *= factor;
			sums->won[b][c] *= factor;
			sums->lost[b][c] *= factor;
		}
	for (int d = 0; d < 7; d++)
	{
		sums->weekday_won[d] *= factor;
		sums->weekday_lost[d] *= factor;
	}
	sums->anchor = day;
}

/* Add the days up to one; days after the last event hold nothing. */
static void
advance_sums(const HazardPast *past, int calendar, int32_t day, HazardSums *sums)
{
	for (int32_t t = sums->through + 1; t <= day && t <= past->last; t++)
	{
		double		weight = exp2(((double) t - sums->anchor) / sums->half_life);
		int			c = hazard_calendar_cell(past, calendar, t);
		int			d = hazard_weekday(past, t);
		int64_t		row = (int64_t) (t - past->first) * HAZARD_AGES;

		if (weight > WEIGHT_MOST)
		{
			move_anchor(t, sums);
			weight = 1.0;
		}
		for (int b = 0; b < HAZARD_AGES; b++)
		{
			double		won = weight * past->won[row + b];
			double		lost = weight * past->lost[row + b];

			sums->risk[d][b][c] += weight * past->risk[row + b];
			sums->won[b][c] += won;
			sums->lost[b][c] += lost;
			sums->weekday_won[d] += won;
			sums->weekday_lost[d] += lost;
		}
	}
	if (day > sums->through)
		sums->through = day < past->last ? day : past->last;
}

/* Log likelihood that a fit gives to the closes of (day, until]. */
static double
log_likelihood(const HazardPast *past, const HazardFit *fit, int32_t day, int32_t until)
{
	double		sum = 0.0;

	for (int32_t t = day + 1; t <= until && t <= past->last; t++)
	{
		int			c = hazard_calendar_cell(past, fit->calendar, t);
		int			d = hazard_weekday(past, t);
		int64_t		row = (int64_t) (t - past->first) * HAZARD_AGES;

		for (int b = 0; b < HAZARD_AGES; b++)
		{
			double		win = fmax(fit->win[b][c] * fit->win_weekday[d], HAZARD_LEAST);
			double		lose = fmax(fit->lose[b][c] * fit->lose_weekday[d], HAZARD_LEAST);

			if (past->won[row + b] > 0.0f)
				sum += past->won[row + b] * log(win);
			if (past->lost[row + b] > 0.0f)
				sum += past->lost[row + b] * log(lose);
			sum -= past->risk[row + b] * (win + lose);
		}
	}
	return sum;
}

/* Shares of the variants by their evidence. */
static void
weigh_variants(const double *evidence, int count, double *share)
{
	double		most = -INFINITY;
	double		all = 0.0;

	for (int k = 0; k < count; k++)
		most = fmax(most, evidence[k]);
	for (int k = 0; k < count; k++)
	{
		share[k] = exp(evidence[k] - most);
		all += share[k];
	}
	for (int k = 0; k < count; k++)
		share[k] = share[k] < LEAST_SHARE * all ? 0.0 : share[k];
	all = 0.0;
	for (int k = 0; k < count; k++)
		all += share[k];
	for (int k = 0; k < count; k++)
		share[k] /= all;
}

/* Add a share of one fit to another. */
static void
add_fit(const HazardFit *fit, double share, HazardFit *mean)
{
	for (int b = 0; b < HAZARD_AGES; b++)
		for (int c = 0; c < HAZARD_CELLS; c++)
		{
			mean->win[b][c] += share * fit->win[b][c];
			mean->lose[b][c] += share * fit->lose[b][c];
		}
	for (int d = 0; d < 7; d++)
	{
		mean->win_weekday[d] += share * fit->win_weekday[d];
		mean->lose_weekday[d] += share * fit->lose_weekday[d];
	}
}

/*
 * The variants fitted to sums (one a half-life): their mean by their evidence, and what they make of (through, until], added to 'judged'.
 * Either may be NULL.
 */
static void
fit_variants(const HazardPast *past, int calendar, const HazardSums *sums, const double *evidence, HazardFit *mean, int32_t until,
			 double *judged)
{
	double		share[HAZARD_VARIANTS] = {0};

	if (mean != NULL)
	{
		memset(mean, 0, sizeof(*mean));
		mean->calendar = calendar;
		weigh_variants(evidence, variants(past), share);
	}
	for (int k = 0; k < variants(past); k++)
	{
		const HazardSums *mine = &sums[k / past->cell_pulls];
		HazardFit	fit;

		if (judged == NULL && share[k] == 0.0)
			continue;
		hazard_fit_sums(past, mine, calendar, past->cell_pull[k % past->cell_pulls], &fit);
		if (mean != NULL && share[k] > 0.0)
			add_fit(&fit, share[k], mean);
		if (judged != NULL)
			judged[k] += log_likelihood(past, &fit, mine->through, until);
	}
}

/* Keep a slot's fit. */
static void
keep_fit(const HazardFit *fit, SlotFit *slot)
{
	for (int b = 0; b < HAZARD_AGES; b++)
		for (int c = 0; c < HAZARD_CELLS; c++)
		{
			slot->win[b][c] = (float) fit->win[b][c];
			slot->lose[b][c] = (float) fit->lose[b][c];
		}
	for (int d = 0; d < 7; d++)
	{
		slot->win_weekday[d] = (float) fit->win_weekday[d];
		slot->lose_weekday[d] = (float) fit->lose_weekday[d];
	}
}

/* A slot's fit, kept. */
static void
kept_fit(const SlotFit *slot, int calendar, HazardFit *fit)
{
	fit->calendar = calendar;
	fit->stages.count = 0;
	for (int b = 0; b < HAZARD_AGES; b++)
		for (int c = 0; c < HAZARD_CELLS; c++)
		{
			fit->win[b][c] = slot->win[b][c];
			fit->lose[b][c] = slot->lose[b][c];
		}
	for (int d = 0; d < 7; d++)
	{
		fit->win_weekday[d] = slot->win_weekday[d];
		fit->lose_weekday[d] = slot->lose_weekday[d];
	}
}

/* Make a calendar's fits up to a slot. */
static const SlotFit *
make_slots(HazardPast *past, int calendar, int slot)
{
	Clock	   *clock = &past->clock[calendar];

	if (clock->slot == NULL)
	{
		clock->slot = kernel_alloc_array(past->env, SlotFit, past->slots);
		clock->sums = kernel_alloc_array(past->env, HazardSums, past->half_lives);
		for (int k = 0; k < past->half_lives; k++)
			begin_sums(past, past->half_life[k], &clock->sums[k]);
		memset(clock->slot[0].evidence, 0, sizeof(clock->slot[0].evidence));
	}
	for (; clock->made <= slot; clock->made++)
	{
		SlotFit    *now = &clock->slot[clock->made];
		int32_t		day = hazard_slot_day(past, clock->made);
		double		judged[HAZARD_VARIANTS];
		HazardFit	mean;

		for (int k = 0; k < past->half_lives; k++)
			advance_sums(past, calendar, day, &clock->sums[k]);
		for (int k = 0; k < variants(past); k++)
			judged[k] = now->evidence[k] * exp2(-HAZARD_EVERY / EVIDENCE_HALF_LIFE);
		fit_variants(past, calendar, clock->sums, now->evidence, &mean, day + HAZARD_EVERY, judged);
		keep_fit(&mean, now);
		if (clock->made + 1 < past->slots)
			memcpy(now[1].evidence, judged, sizeof(judged));
		kernel_tick(past->env, clock->made, past->slots);
	}
	return &clock->slot[slot];
}

/*
 * Sums through a day, of each half-life, for the caller to release; and the evidence of each variant on it: of the weeks that were over,
 * and of the days since.
 */
static HazardSums *
sums_on(HazardPast *past, int calendar, int32_t day, double evidence[HAZARD_VARIANTS])
{
	HazardSums *sums = kernel_alloc_array(past->env, HazardSums, past->half_lives);
	int			slot = hazard_slot_before(past, day);

	for (int k = 0; k < past->half_lives; k++)
		begin_sums(past, past->half_life[k], &sums[k]);
	memset(evidence, 0, sizeof(double) * HAZARD_VARIANTS);
	if (past->slots == 0)
		return sums;
	memcpy(evidence, make_slots(past, calendar, slot)->evidence, sizeof(double) * HAZARD_VARIANTS);
	if (day > hazard_slot_day(past, slot))
	{
		for (int k = 0; k < past->half_lives; k++)
			advance_sums(past, calendar, hazard_slot_day(past, slot), &sums[k]);
		fit_variants(past, calendar, sums, NULL, NULL, day, evidence);
	}
	for (int k = 0; k < past->half_lives; k++)
		advance_sums(past, calendar, day, &sums[k]);
	return sums;
}

/* How likely a calendar's likeliest variant made what followed, as known on a day (log). */
double
hazard_evidence(HazardPast *past, int calendar, int32_t day)
{
	double		evidence[HAZARD_VARIANTS];
	double		most = -INFINITY;

	kernel_release(past->env, sums_on(past, calendar, day, evidence));
	for (int k = 0; k < variants(past); k++)
		most = fmax(most, evidence[k]);
	return most;
}

/* Fit the hazards by age and a calendar to the days up to and including 'day'. */
void
hazard_fit_by_age(HazardPast *past, int32_t day, int calendar, HazardFit *fit)
{
	int			slot = hazard_slot_before(past, day);
	double		evidence[HAZARD_VARIANTS];
	HazardSums *sums;

	if (past->slots > 0 && day == hazard_slot_day(past, slot))
	{
		kept_fit(make_slots(past, calendar, slot), calendar, fit);
		return;
	}
	sums = sums_on(past, calendar, day, evidence);
	fit_variants(past, calendar, sums, evidence, fit, day, NULL);
	kernel_release(past->env, sums);
}
