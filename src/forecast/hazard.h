/*
 * hazard.h
 *		When deals are won or lost: discrete-time competing hazards by stage, age and calendar, fitted to what was known on a day,
 *		corrected by the model's own past forecasts, and as uncertain as those were wrong.
 *
 * Time is in whole days (any origin); a deal is at risk on every day from its creation to its close. "Known on day K" means
 * everything dated K or earlier and nothing else: a fit for day K reads only that part of the history, so a replay of the
 * past cannot see what came later. Competing risks in discrete time: Tutz & Schmid 2016, ch. 8; person-day
 * tables and shrinkage as in facts measured for this project.
 */
#ifndef SALESOPS_FORECAST_HAZARD_H
#define SALESOPS_FORECAST_HAZARD_H

#include "core/kernel.h"

#define HAZARD_NEVER		INT32_MAX	/* close of a deal that is open */
#define HAZARD_AGES			40	/* geometric age buckets */
#define HAZARD_AGE_GROUPS	10	/* of four buckets each, where stages are told apart */
#define HAZARD_CELLS		12	/* at most, of a calendar */
#define HAZARD_CALENDARS	6
#define HAZARD_STATES		16	/* stages told apart, the first for deals whose stage is not known */
#define HAZARD_CLOCKS		(2 * HAZARD_CALENDARS)	/* by age and a calendar; from HAZARD_CALENDARS on by stage as well */
#define HAZARD_FAMILIES		3
#define HAZARD_MODELS		(HAZARD_FAMILIES * HAZARD_CLOCKS)	/* family * HAZARD_CLOCKS + clock */
#define HAZARD_TRAITS		2	/* what deals should have from their creation on */
#define HAZARD_EVERY		7	/* days between own past forecasts */
#define HAZARD_CALIBRATION	28	/* their horizon where the correction is learned */

#define HAZARD_DEVIATION_MOST	1.25	/* beyond, a lognormal factor of mean 1 reaches less far up again */

#define HAZARD_SIZES		64	/* levels of the size of a deal: half powers of two */

/* What sets deals of an age apart */
typedef enum HazardFamily
{
	HAZARD_PLAIN,				/* nothing */
	HAZARD_RATIOS,				/* ratio.h */
	HAZARD_REGRESSION			/* covariate.h */
} HazardFamily;

typedef enum HazardOutcome
{
	HAZARD_OPEN,
	HAZARD_WON,
	HAZARD_LOST
} HazardOutcome;

/* What a deal was said to be worth, from a day on */
typedef struct HazardAmount
{
	int32_t		deal;
	int32_t		day;
	double		amount;
} HazardAmount;

/* The stage a deal entered on a day */
typedef struct HazardStage
{
	int32_t		deal;
	int32_t		day;
	int32_t		level;			/* 0 … stage_levels - 1 */
} HazardStage;

typedef struct HazardHistory
{
	int			count;			/* deals */
	const int32_t *created;
	const int32_t *closed;		/* HAZARD_NEVER where open */
	const uint8_t *outcome;
	const double *won_amount;	/* of won deals */
	const int32_t *segment;		/* 0 … segments - 1: deals of like amount */
	int			segments;
	const HazardAmount *amount; /* by deal, then day; may be empty */
	int			amounts;
	const int32_t *trait[HAZARD_TRAITS];	/* 0 … levels[k] - 1 */
	int			levels[HAZARD_TRAITS];	/* 0: not known */
	const HazardStage *stage;	/* by deal, then day, the day's last last; may be empty */
	int			stages;
	int			stage_levels;
	int32_t		epoch;			/* days from 2000-01-01 to day 0, for the calendar */
} HazardHistory;

typedef struct HazardOptions
{
	double		half_life;		/* days, of the person-days; 0: several, by how likely they made what followed */
	double		cell_events;	/* pseudo-events that pull a cell to its age; 0: likewise */
	double		age_events;		/* … and an age to the one before it and to all */
	double		calibration_half_life;
	double		calibration_weight; /* own forecasts that pull the correction to 1 */
	double		calibration_wins;	/* … and wins that do, assumed */
	double		calibration_errors; /* … as if so many own forecasts had been seen to need it */
	double		error_prior;	/* log deviation assumed of forecasts from a long past */
	double		error_weight;	/* … worth so many independent forecasts */
	double		error_half_life;
	int			calendar;		/* or -1: by how likely it made what followed */
	int			family;			/* or -1: by own past error */
	int			arrival_days;	/* window of the plainest of the arrival rates */
} HazardOptions;

/* What stages do to the hazards, and how deals go from one to another */
typedef struct HazardStages
{
	int			count;			/* 0: hazards are not by stage */
	double		win[HAZARD_STATES][HAZARD_AGE_GROUPS];	/* factors on the hazards by age and calendar */
	double		lose[HAZARD_STATES][HAZARD_AGE_GROUPS];
	double		leave[HAZARD_STATES][HAZARD_AGE_GROUPS];	/* daily chance of going on to another stage */
	double		to[HAZARD_STATES][HAZARD_STATES];	/* to which: adds up to 1, or is 0 */
} HazardStages;

/* One fit */
typedef struct HazardFit
{
	int			model;
	int			calendar;
	double		win[HAZARD_AGES][HAZARD_CELLS];
	double		lose[HAZARD_AGES][HAZARD_CELLS];
	double		win_weekday[7]; /* factors on them, by day of the week */
	double		lose_weekday[7];
	HazardStages stages;
} HazardFit;

/* What was, or would have been, forecast on a day for the days after it, in money and (of open deals) in wins */
typedef struct HazardForecast
{
	double		open;
	double		fresh;			/* deals created after the day */
	double		open_wins;
	double		fresh_wins;
	double		open_variance;	/* were deals independent */
	double		fresh_variance;
	double		open_correction;	/* factors applied by hazard_correct */
	double		fresh_correction;
} HazardForecast;

typedef struct HazardPast HazardPast;

extern const HazardOptions hazard_defaults;

extern HazardPast *hazard_past(const KernelEnv *env, const HazardHistory *history, const HazardOptions *options);
extern int32_t hazard_first_close(const HazardPast *past);
extern void hazard_fit(HazardPast *past, int32_t day, int model, HazardFit *fit);
extern int	hazard_calendar_cell(const HazardPast *past, int calendar, int32_t day);
extern int	hazard_choose_model(HazardPast *past, int32_t day);
extern double hazard_ratio(HazardPast *past, int model, int deal, int32_t day, int days, double expected);
extern double hazard_apply_effects(HazardFamily family, const double effect[2], int far, double expected, int days);
extern double hazard_level_effect(HazardPast *past, int model, int32_t day, int kind, int dimension, int level);
extern double hazard_waiting_effect(HazardPast *past, int model, int32_t day, int kind, int stage, int term);
extern int	hazard_size_level(double amount);
extern int	hazard_state_of_level(const HazardPast *past, int level);
extern int	hazard_state(const HazardPast *past, const HazardFit *fit, int deal, int32_t day);
extern void hazard_chances(const HazardPast *past, const HazardFit *fit, int32_t created, int32_t after, int32_t from, int32_t to,
						   double chance[HAZARD_STATES]);
extern void hazard_curve(const HazardPast *past, const HazardFit *fit, int state, int32_t created, int32_t after, int days, double *won);
extern double hazard_win_probability(const HazardPast *past, const HazardFit *fit, int32_t created, int32_t after, int32_t from,
									 int32_t to);
extern void hazard_arrivals_by_group(const HazardPast *past, int32_t day, int ahead, const int *group, int groups,
									 double *expected);
extern void hazard_amounts(HazardPast *past, int32_t day, double *amount, double *spread);
extern void hazard_forecast(HazardPast *past, int32_t day, int32_t from, int32_t to, const HazardFit *fit,
							HazardForecast *forecast);
extern void hazard_actual(const HazardPast *past, int32_t day, int32_t from, int32_t to, HazardForecast *actual);
extern void hazard_correct(HazardPast *past, int32_t day, int model, HazardForecast *forecast);
extern double hazard_deviation(HazardPast *past, int32_t day, int model, int horizon, bool open_only);

#endif /* SALESOPS_FORECAST_HAZARD_H */
