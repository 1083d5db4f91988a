/*
 * apart.c
 *		What sets deals of an age apart, as known on a day: the levels of a deal, snapshots of open deals of the past, and what the
 *		ratios (ratio.h) or the regression (covariate.h) learn from them. Which of the two is used is replay.c's.
 */
#include "forecast/past.h"

#include <math.h>
#include <string.h>

#define RATIO_EVERY	2			/* own past forecasts between snapshots of which ratios are learned */
#define RATIO_AGAIN	4			/* … and between learning them anew */
#define RATIO_SNAPSHOTS	26		/* so many of the latest are looked at */
#define RATIO_HALF_LIFE	365.0
#define LESSON_DAYS_MOST 182	/* beyond, too few forecasts are ever over */

/* Keep own past forecasts for another second horizon than before. */
void
hazard_change_horizon(HazardPast *past, int horizon)
{
	size_t		slots = (size_t) past->slots;

	if (past->horizon[1] == horizon)
		return;
	for (size_t model = 0; model < HAZARD_MODELS; model++)
		for (size_t slot = 0; slot < slots; slot++)
			past->replay[(model * 2 + 1) * slots + slot].made = false;
	for (size_t clock = 0; clock < HAZARD_CLOCKS; clock++)
		for (size_t slot = 0; slot < slots; slot++)
		{
			RatioSnapshot *snapshot = &past->snapshot[(clock * 2 + 1) * slots + slot];

			snapshot->count = 0;
			if (snapshot->cell != NULL)
				kernel_release(past->env, snapshot->cell);
			snapshot->cell = NULL;
			past->ratios[(clock * 2 + 1) * slots + slot].made = false;
			past->covariates[(clock * 2 + 1) * slots + slot].made = false;
		}
	past->horizon[1] = horizon;
}

/* Levels of a deal in the dimensions of the ratios, as known on a day; returns the days it has been in its stage. */
int
hazard_deal_levels(const HazardPast *past, int deal, int32_t day, uint16_t level[RATIO_DIMENSIONS])
{
	const HazardHistory *h = past->history;
	int32_t		entered;
	int			stage;
	double		amount = 0.0;

	for (int k = 0; k < HAZARD_TRAITS; k++)
		level[k] = h->levels[k] > 1 && h->levels[k] <= RATIO_LEVELS_MAX && day < past->rewritten[k] ? (uint16_t) h->trait[k][deal] : 0;
	stage = hazard_stage_on(past, deal, day, &entered);
	level[2] = (uint16_t) (stage < RATIO_LEVELS_MAX ? stage : 1);
	for (int k = past->first_amount[deal]; k < h->amounts && h->amount[k].deal == deal && h->amount[k].day <= day; k++)
		amount = fabs(h->amount[k].amount);
	level[3] = (uint16_t) hazard_size_level(amount);
	return day - entered;
}

/* What age and calendar let expect of the deals open on a day, and what came of them. */
static void
take_snapshot(HazardPast *past, int clock, int32_t day, int horizon, RatioSnapshot *snapshot)
{
	HazardForecast forecast;
	HazardFit	fit;

	hazard_fit(past, day, clock, &fit);
	hazard_forecast_days(past, day, day + 1, day + 1 + horizon, &fit, snapshot, NULL, &forecast);
	kernel_tick(past->env, 0, 0);
}

/* The group of slots that what is learned of deals on a day is kept for. */
static int
group_of(const HazardPast *past, int32_t day)
{
	return hazard_slot_before(past, day) / RATIO_AGAIN;
}

/* The horizon that is learned from for a kind. */
static int
lesson_days(const HazardPast *past, int kind)
{
	return past->horizon[kind] < LESSON_DAYS_MOST ? past->horizon[kind] : LESSON_DAYS_MOST;
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
prepare_lesson(HazardPast *past, int clock, int kind, int group, Lesson *lesson)
{
	const HazardHistory *h = past->history;
	size_t		base = ((size_t) clock * 2 + (size_t) kind) * (size_t) past->slots;
	int			s = (group * RATIO_AGAIN - (lesson_days(past, kind) + HAZARD_EVERY - 1) / HAZARD_EVERY) / RATIO_EVERY * RATIO_EVERY;

	*lesson = (Lesson) {.levels = {h->levels[0], h->levels[1], h->stage_levels + 1, h->amounts > 0 ? HAZARD_SIZES : 0},
	.overlap = fmax(1.0, lesson_days(past, kind) / (double) (HAZARD_EVERY * RATIO_EVERY))};
	for (; s >= 0 && lesson->count < RATIO_SNAPSHOTS; s -= RATIO_EVERY)
	{
		RatioSnapshot *snapshot = &past->snapshot[base + (size_t) s];

		if (snapshot->count == 0)
			take_snapshot(past, clock, hazard_slot_day(past, s), lesson_days(past, kind), snapshot);
		lesson->snapshot[lesson->count] = snapshot;
		lesson->weight[lesson->count++] = exp2(-(hazard_slot_day(past, group * RATIO_AGAIN) - hazard_slot_day(past, s)) / RATIO_HALF_LIFE);
	}
}

/* The ratios as known on a day, learned at most RATIO_AGAIN slots before. */
static const RatioTable *
ratios_of(HazardPast *past, int clock, int kind, int32_t day)
{
	int			group = group_of(past, day);
	RatioTable *table = &past->ratios[((size_t) clock * 2 + (size_t) kind) * (size_t) past->slots + (size_t) group];
	Lesson		lesson;

	if (table->made)
		return table;
	prepare_lesson(past, clock, kind, group, &lesson);
	ratio_fit(past->env, lesson.snapshot, lesson.weight, lesson.count, lesson.overlap, lesson.levels, table);
	return table;
}

/* The covariates' regression likewise; each begins where the one before it ended. */
static const CovariateTable *
covariates_of(HazardPast *past, int clock, int kind, int32_t day)
{
	int			group = group_of(past, day);
	CovariateTable *table = &past->covariates[((size_t) clock * 2 + (size_t) kind) * (size_t) past->slots + (size_t) group];
	Lesson		lesson;

	if (table->made)
		return table;
	prepare_lesson(past, clock, kind, group, &lesson);
	covariate_fit(past->env, lesson.snapshot, lesson.weight, lesson.count, lesson.overlap, lesson.levels,
				  group > 0 && table[-1].made ? table - 1 : NULL, table);
	kernel_tick(past->env, 0, 0);
	return table;
}

/*
 * The horizon whose lessons are used for a kind: the near one's while no forecast of the far one is over, or too few of them: what sets
 * deals apart must not be forgotten because a year ahead is asked for.
 */
static int
learned_kind(HazardPast *past, HazardFamily family, int clock, int kind, int32_t day)
{
	if (kind == 0 || past->horizon[1] <= 0)
		return 0;
	if (family == HAZARD_RATIOS)
		return ratios_of(past, clock, kind, day)->learned ? kind : 0;
	return covariates_of(past, clock, kind, day)->coefficient != NULL ? kind : 0;
}

/*
 * By how much more often a deal is won within so many days than age and calendar let 'expected', from what is known of it: effects on
 * the logarithm of the ratio, or on the log odds of the regression, for HAZARD_CALIBRATION days and for 'far' ones. Between the two it
 * changes with the logarithm of the days; beyond 91 days that nothing was learned of it fades: what sets deals apart now says less of
 * the far future.
 */
double
hazard_apply_effects(HazardFamily family, const double effect[2], int far, double expected, int days)
{
	double		near_log = log(HAZARD_CALIBRATION);
	double		far_log = log(far > 0 ? far : HAZARD_CALIBRATION);
	double		share = far_log == near_log ? 0.0 : fmin(fmax((log(days > 1 ? days : 1) - near_log) / (far_log - near_log), 0.0), 1.0);
	double		known = fmax(far, 91.0);
	double		ratio[2];

	if (family == HAZARD_PLAIN || expected <= 0.0)
		return 1.0;
	for (int kind = 0; kind < 2; kind++)
		ratio[kind] = family == HAZARD_RATIOS ? effect[kind] : log(covariate_chance(expected, effect[kind]) / expected);
	share = ratio[0] + share * (ratio[1] - ratio[0]);
	return exp(days > known ? share * sqrt(known / days) : share);
}

/* The same of an open deal of such levels and waiting time, by a model, as known on a day. */
double
hazard_ratio_of_levels(HazardPast *past, int model, const uint16_t *level, int waiting, int32_t day, int days, double expected)
{
	HazardFamily family = (HazardFamily) (model / HAZARD_CLOCKS);
	int			clock = model % HAZARD_CLOCKS;
	double		effect[2];
	int			far = 0;

	if (family == HAZARD_PLAIN || past->slots == 0 || expected <= 0.0)
		return 1.0;
	if (days <= HAZARD_CALIBRATION)	/* the far horizon has no share in it */
	{
		if (family == HAZARD_RATIOS)
			return ratio_of(ratios_of(past, clock, 0, day), level);
		return covariate_chance(expected, covariate_effect(covariates_of(past, clock, 0, day), level, waiting)) / expected;
	}
	for (int kind = 0; kind < 2; kind++)
	{
		int			of = learned_kind(past, family, clock, kind, day);

		far = of > 0 ? lesson_days(past, 1) : 0;
		if (family == HAZARD_RATIOS)
			effect[kind] = log(ratio_of(ratios_of(past, clock, of, day), level));
		else
			effect[kind] = covariate_effect(covariates_of(past, clock, of, day), level, waiting);
	}
	return hazard_apply_effects(family, effect, far, expected, days);
}

/* The same of an open deal. */
double
hazard_ratio(HazardPast *past, int model, int deal, int32_t day, int days, double expected)
{
	uint16_t	level[RATIO_DIMENSIONS];
	int			waiting;

	if (model < HAZARD_CLOCKS)
		return 1.0;
	waiting = hazard_deal_levels(past, deal, day, level);
	return hazard_ratio_of_levels(past, model, level, waiting, day, days, expected);
}

/*
 * What a model as known on a day gives to a level of a dimension (0, 1: traits, 2: stage, 3: size; -1: to every deal), for
 * the near (0) or far (1) horizon: what hazard_apply_effects() takes the sum of.
 */
double
hazard_level_effect(HazardPast *past, int model, int32_t day, int kind, int dimension, int level)
{
	HazardFamily family = (HazardFamily) (model / HAZARD_CLOCKS);
	int			clock = model % HAZARD_CLOCKS;
	int			of;
	const RatioTable *table;

	if (family == HAZARD_PLAIN || past->slots == 0 || (dimension >= 0 && dimension < HAZARD_TRAITS && day >= past->rewritten[dimension]))
		return 0.0;
	of = learned_kind(past, family, clock, kind, day);
	if (family == HAZARD_REGRESSION)
		return covariate_level_effect(covariates_of(past, clock, of, day), dimension, level);
	table = ratios_of(past, clock, of, day);
	return dimension >= 0 && level < table->levels[dimension] ? log(table->value[dimension][level]) : 0.0;
}

/* Likewise to a unit of a term of the time in a stage. */
double
hazard_waiting_effect(HazardPast *past, int model, int32_t day, int kind, int stage, int term)
{
	int			clock = model % HAZARD_CLOCKS;

	if (model / HAZARD_CLOCKS != HAZARD_REGRESSION || past->slots == 0)
		return 0.0;
	kind = learned_kind(past, HAZARD_REGRESSION, clock, kind, day);
	return covariate_waiting_effect(covariates_of(past, clock, kind, day), stage, term);
}

/* The level of an amount. */
int
hazard_size_level(double amount)
{
	return amount == 0.0 ? 0 : (int) fmin(fmax(2.0 * log2(fabs(amount)) + 2.0, 1.0), HAZARD_SIZES - 1);
}
