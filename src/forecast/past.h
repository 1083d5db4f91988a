/*
 * past.h
 *		What the files of the time-to-win kernel share of a history taken up: hazard.c, evidence.c, staged.c, arrival.c, apart.c,
 *		replay.c. Not for others.
 */
#ifndef SALESOPS_FORECAST_PAST_H
#define SALESOPS_FORECAST_PAST_H

#include "forecast/covariate.h"
#include "forecast/hazard.h"

/* An own past forecast, not yet corrected, with what came of it */
typedef struct Replay
{
	bool		made;
	HazardForecast said;
	HazardForecast came;
	double		loss;			/* negative log likelihood of what came of the open deals */
} Replay;

/* The corrections that were in force on one of those days */
typedef struct Correction
{
	bool		made;
	double		open;
	double		total;
} Correction;

/* The deals that were open on one of those days, by creation, and what was known of them */
typedef struct OpenDay
{
	bool		made;
	int			count;
	int		   *deal;
	double	   *amount;
	double	   *spread;			/* of the amount, as of hazard_amounts() */
	uint16_t   *level;			/* [open deal][dimension] */
	int32_t    *waiting;
	double		mean;			/* of won deals' amounts by then */
	double		square;			/* and of their squares */
} OpenDay;

#define EVIDENCE_HALF_LIFE	365.0	/* days, of log likelihoods of past weeks */
#define HALF_LIVES		5
#define CELL_PULLS		2
#define HAZARD_VARIANTS	(HALF_LIVES * CELL_PULLS)

/* Person-days and closes up to a day, weighed by a half-life: the anchor's weight is 1, later days weigh more */
typedef struct HazardSums
{
	double		half_life;
	int32_t		anchor;
	int32_t		through;		/* the last day that is in */
	double		risk[7][HAZARD_AGES][HAZARD_CELLS]; /* by day of the week */
	double		won[HAZARD_AGES][HAZARD_CELLS];
	double		lost[HAZARD_AGES][HAZARD_CELLS];
	double		weekday_won[7];
	double		weekday_lost[7];
} HazardSums;

/* The fit of a slot, as far as age and a calendar go, and how likely each of its variants made the weeks before */
typedef struct SlotFit
{
	double		evidence[HAZARD_VARIANTS];
	float		win[HAZARD_AGES][HAZARD_CELLS];
	float		lose[HAZARD_AGES][HAZARD_CELLS];
	float		win_weekday[7];
	float		lose_weekday[7];
} SlotFit;

/* Fits by one calendar, made slot after slot */
typedef struct Clock
{
	int			made;			/* slots, from the first on */
	SlotFit    *slot;			/* NULL: none yet */
	HazardSums *sums;			/* of each half-life, through the last slot's day */
	int			staged_made;
	HazardStages **staged;		/* [slot] what stages do, by this calendar; NULL where not asked for */
	double	   *staged_evidence;	/* [slot] by how much likelier the weeks before were by stage (log) */
} Clock;

/* A day's row of the table of person-days by stage: [state][age] */
typedef struct StageTable
{
	int			states;			/* 0: no stages are known */
	int		   *state;			/* of a stage's level */
	float	   *risk;			/* [day][state][age] */
	float	   *won;
	float	   *lost;
	float	   *left;			/* for another stage */
	float	   *move;			/* [day][state][state] */
} StageTable;

struct HazardPast
{
	const KernelEnv *env;
	const HazardHistory *history;
	HazardOptions options;
	int32_t		first;			/* first close: nothing is known of risk before */
	int32_t		last;			/* last day anything happened */
	int32_t		first_created;
	int			days;			/* of the table */
	int			cells;			/* days whose cells are known, from the first close on */
	uint8_t    *cell;			/* [calendar][day] */
	float	   *risk;			/* [day][age] */
	float	   *won;
	float	   *lost;
	StageTable	stages;
	double		half_life[HALF_LIVES];	/* that are weighed */
	int			half_lives;
	double		cell_pull[CELL_PULLS];
	int			cell_pulls;
	Clock		clock[HAZARD_CALENDARS];
	int		   *by_created;		/* deals by creation */
	int		   *won_deal;		/* won deals by their close */
	double	   *won_weight;		/* of each, halved by a year before the last day */
	int			wins;
	int		   *arrived;		/* [day]: deals created from the first creation on, before the day */
	int		   *won_segment;	/* of each won deal, and its amount: they are summed for every slot */
	double	   *won_value;
	int			summed;			/* wins that are in the sums: those of a later day are added */
	double		sum_all[3];		/* of all segments: amounts, squares, weights */
	double	   *segment_sum;	/* [segments], weighed as on the last day */
	double	   *segment_square;
	double	   *segment_count;
	int			slots;			/* own past forecasts */
	OpenDay    *open_day;		/* [slot] */
	Replay	   *replay;			/* [model][horizon kind][slot] */
	Correction *correction;		/* [model][slot] */
	RatioSnapshot *snapshot;	/* [clock][horizon kind][slot] */
	RatioTable *ratios;			/* [clock][horizon kind][slot / RATIO_AGAIN] */
	CovariateTable *covariates; /* likewise */
	int32_t		rewritten[HAZARD_TRAITS];	/* from this day on a trait is not believed */
	int		   *first_amount;	/* of each deal, its first stated amount and stage; counts where there is none */
	int		   *first_stage;
	int			horizon[2];		/* the horizons kept: the correction's and the one asked for last */
};

/* The day of a slot of own past forecasts. */
static inline int32_t
hazard_slot_day(const HazardPast *past, int slot)
{
	return past->first + slot * HAZARD_EVERY;
}

/* The slot that a day lies in. */
static inline int
hazard_slot_before(const HazardPast *past, int32_t day)
{
	int			slot = day >= past->first ? (day - past->first) / HAZARD_EVERY : 0;

	return slot < past->slots ? slot : past->slots - 1;
}

extern int	hazard_age_bucket(int32_t age);
extern int	hazard_age_start(int bucket);
extern int	hazard_weekday(const HazardPast *past, int32_t day);
extern void hazard_fit_sums(const HazardPast *past, const HazardSums *sums, int calendar, double cell_events, HazardFit *fit);
extern void hazard_choose_variants(HazardPast *past);
extern double hazard_evidence(HazardPast *past, int calendar, int32_t day);
extern void hazard_fit_by_age(HazardPast *past, int32_t day, int calendar, HazardFit *fit);
extern int	hazard_stage_on(const HazardPast *past, int deal, int32_t day, int32_t *entered);
extern void hazard_fill_stages(HazardPast *past);
extern void hazard_fit_stages(HazardPast *past, int32_t day, HazardFit *fit);
extern double hazard_stage_evidence(HazardPast *past, int calendar, int32_t day);
extern int	hazard_wins_before(const HazardPast *past, int32_t day);
extern double hazard_amounts_of(HazardPast *past, int32_t day, const int *deal, int count, double *amount, double *spread, double *square);
extern void hazard_arrival_rates(const HazardPast *past, int32_t day, int ahead, double *rate);
extern void hazard_change_horizon(HazardPast *past, int horizon);
extern int	hazard_deal_levels(const HazardPast *past, int deal, int32_t day, uint16_t level[RATIO_DIMENSIONS]);
extern double hazard_ratio_of_levels(HazardPast *past, int model, const uint16_t *level, int waiting, int32_t day, int days,
									 double expected);
extern void hazard_forecast_days(HazardPast *past, int32_t day, int32_t from, int32_t to, const HazardFit *fit, RatioSnapshot *snapshot,
								 double *loss, HazardForecast *forecast);

#endif /* SALESOPS_FORECAST_PAST_H */
