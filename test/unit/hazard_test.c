/*
 * hazard_test.c
 *		The time-to-win kernel on a process whose hazards are known, and on a history that is altered after the day of the fit.
 */
#include "tap.h"

#include "forecast/hazard.h"

#define DEALS 30000
#define DAYS 1000

static int32_t created[DEALS];
static int32_t closed[DEALS];
static uint8_t outcome[DEALS];
static double won_amount[DEALS];
static int32_t segment[DEALS];
static uint64_t seed = 7;

/* Uniform in [0, 1): xorshift64*. */
static double
uniform(void)
{
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return (double) ((seed * UINT64_C(2685821657736338717)) >> 11) / 9007199254740992.0;
}

/* The true daily hazard of being won: higher in the last month of a quarter, and once a deal is a month old. */
static double
true_win(int32_t age, int32_t day, const HazardPast *past)
{
	double		hazard = age < 28 ? 0.005 : 0.012;

	return hazard_calendar_cell(past, 1, day) == 2 ? 2 * hazard : hazard;
}

/* Draw the history day by day: lost at 1 % a day whatever the age. */
static void
draw_history(void)
{
	for (int i = 0; i < DEALS; i++)
	{
		created[i] = i / (DEALS / DAYS);
		closed[i] = HAZARD_NEVER;
		outcome[i] = HAZARD_OPEN;
		won_amount[i] = NAN;
		segment[i] = i % 2;
		for (int32_t day = created[i]; day < DAYS && outcome[i] == HAZARD_OPEN; day++)
		{
			double		u = uniform();
			double		win = true_win(day - created[i], day, NULL);

			if (u >= win + 0.01)
				continue;
			outcome[i] = u < win ? HAZARD_WON : HAZARD_LOST;
			closed[i] = day;
			won_amount[i] = outcome[i] == HAZARD_WON ? (i % 2 ? 300 : 100) : NAN;
		}
	}
}

/* The chance by the truth of being won in [after + 1, to). */
static double
true_probability(int32_t born, int32_t after, int32_t to)
{
	double		open = 1;
	double		won = 0;

	for (int32_t day = after + 1; day < to; day++)
	{
		double		win = true_win(day - born, day, NULL);

		won += open * win;
		open *= 1 - win - 0.01;
	}
	return won;
}

/* Fit, choice of calendar, probabilities and bookings against the truth. */
static void
test_known_process(const HazardHistory *history)
{
	KernelEnv	env = tap_env();
	HazardOptions options = hazard_defaults;
	HazardPast *past = hazard_past(&env, history, &options);
	HazardForecast said;
	HazardForecast came;
	HazardFit	fit;
	int			calendar = hazard_choose_model(past, 890);
	double		deviation;

	ok(calendar % HAZARD_CALENDARS == 1 || calendar % HAZARD_CALENDARS == 2, "the calendar that matters is found by what it makes likely (%d)", calendar);
	hazard_fit(past, 890, 1, &fit);
	is_double(hazard_win_probability(past, &fit, 890, 890, 891, 921), true_probability(890, 890, 921), 0.03, "a new deal within 30 days");
	is_double(hazard_win_probability(past, &fit, 800, 890, 891, 981), true_probability(800, 890, 981), 0.05, "an old deal within 90 days");
	is_double(hazard_win_probability(past, &fit, 800, 890, 891, 921) + hazard_win_probability(past, &fit, 800, 890, 921, 981),
			  hazard_win_probability(past, &fit, 800, 890, 891, 981), 1e-12, "periods add up");
	hazard_forecast(past, 890, 891, 981, &fit, &said);
	hazard_correct(past, 890, 1, &said);
	hazard_actual(past, 890, 891, 981, &came);
	is_double(said.open / came.open, 1, 0.12, "open deals bring what was said");
	is_double((said.open + said.fresh) / (came.open + came.fresh), 1, 0.1, "and so do all");
	is_double(said.open / said.open_wins, 200, 15, "amounts by segment");
	deviation = hazard_deviation(past, 890, 1, 28, false);
	ok(deviation < 0.12, "a process without surprises leaves little common deviation (%.3f)", deviation);
	is_double(hazard_deviation(past, hazard_first_close(past), 1, 28, false), HAZARD_DEVIATION_MOST, 1e-12,
			  "on the first day of a history next to nothing is known");
	is_double(hazard_deviation(past, hazard_first_close(past) + 27, 1, 28, false),
			  hazard_defaults.error_prior * sqrt((1 + pow(150.0 / 28, 3)) * 1.4), 1e-9, "before any own forecast was over, what is assumed of a history of four weeks");
}

/* What a deal of the second segment without a stated amount is taken to be worth on a day. */
static double
estimate(HazardPast *past, int32_t day)
{
	static double amount[DEALS];
	static double spread[DEALS];

	hazard_amounts(past, day, amount, spread);
	return amount[1];
}

/* Amounts that vary, and double on day 700: estimates stay while only chance moves them, and follow. */
static void
test_amounts_move(const HazardHistory *history)
{
	static double moved[DEALS];
	KernelEnv	env = tap_env();
	HazardHistory other = *history;
	HazardPast *past;

	for (int i = 0; i < DEALS; i++)
		moved[i] = history->won_amount[i] * (0.2 + 1.6 * uniform()) * (closed[i] >= 700 ? 2 : 1);
	other.won_amount = moved;
	past = hazard_past(&env, &other, &hazard_defaults);
	is_double(estimate(past, 690), 300, 9, "amounts that only vary are what they are");
	ok(estimate(past, 745) > 450, "six weeks after amounts have doubled, most of it is seen (%.0f)", estimate(past, 745));
	is_double(estimate(past, 990), 600, 45, "ten months after, all of it");
	for (int i = 0; i < DEALS; i++)
		moved[i] = uniform() < 0.25 ? NAN : history->won_amount[i];
	past = hazard_past(&env, &other, &hazard_defaults);
	is_double(estimate(past, 690), 225, 9, "won deals without an amount bring nothing");
}

/* Whatever happens after the day, its forecast is the same to the bit. */
static void
test_no_future(const HazardHistory *history)
{
	KernelEnv	env = tap_env();
	HazardForecast said[2];
	HazardOptions options = hazard_defaults;
	double		deviation[2];

	for (int turn = 0; turn < 2; turn++)
	{
		HazardPast *past = hazard_past(&env, history, &options);
		int			calendar = hazard_choose_model(past, 500);
		HazardFit	fit;

		hazard_fit(past, 500, calendar, &fit);
		hazard_forecast(past, 500, 501, 591, &fit, &said[turn]);
		hazard_correct(past, 500, calendar, &said[turn]);
		deviation[turn] = hazard_deviation(past, 500, calendar, 90, true);
		for (int i = 0; i < DEALS && turn == 0; i++)
			if (closed[i] > 500 && created[i] <= 500)
			{
				closed[i] = 501 + i % 7;
				outcome[i] = HAZARD_WON;
				won_amount[i] = 1e9;
			}
	}
	ok(memcmp(&said[0], &said[1], sizeof(said[0])) == 0, "a planted future changes no forecast");
	ok(deviation[0] == deviation[1], "nor its uncertainty");
}

/* Ratios: a kind of deal that wins three times as often is told apart, one that only bears another name is not; nor is the future seen. */
static void
test_ratios(void)
{
	enum {KINDS_DEALS = 6000, KINDS_DAYS = 600};
	KernelEnv	env = tap_env();
	int32_t    *born = malloc(sizeof(int32_t) * KINDS_DEALS);
	int32_t    *ended = malloc(sizeof(int32_t) * KINDS_DEALS);
	uint8_t    *how = malloc(KINDS_DEALS);
	double	   *worth = malloc(sizeof(double) * KINDS_DEALS);
	int32_t    *kind = malloc(sizeof(int32_t) * KINDS_DEALS);
	int32_t    *name = malloc(sizeof(int32_t) * KINDS_DEALS);
	HazardStage *stage = malloc(sizeof(HazardStage) * 2 * KINDS_DEALS);
	HazardHistory history = {.count = KINDS_DEALS, .created = born, .closed = ended, .outcome = how, .won_amount = worth, .segment = name,
	.segments = 1, .trait = {kind, name}, .levels = {2, 2}, .stage = stage, .stage_levels = 2};
	HazardOptions options = hazard_defaults;
	HazardForecast said[2];
	int			probe[3] = {-1, -1, -1};

	for (int i = 0; i < KINDS_DEALS; i++)
	{
		int32_t		moved = -1;

		born[i] = i / 10;
		ended[i] = HAZARD_NEVER;
		how[i] = HAZARD_OPEN;
		kind[i] = i % 2;
		name[i] = 0;
		for (int32_t day = born[i] + 1; day < KINDS_DAYS && how[i] == HAZARD_OPEN; day++)
		{
			double		win = (kind[i] == 0 ? 0.004 : 0.012) * (moved >= 0 ? 2.0 : 0.5);
			double		u = uniform();

			if (moved < 0 && u > 0.97)
				moved = day;
			if (u < win + 0.01)
			{
				how[i] = u < win ? HAZARD_WON : HAZARD_LOST;
				ended[i] = day;
			}
		}
		worth[i] = how[i] == HAZARD_WON ? 100 : NAN;
		stage[history.stages++] = (HazardStage) {i, born[i], 0};
		if (moved >= 0)
			stage[history.stages++] = (HazardStage) {i, moved, 1};
		if (i / 10 < 500 && ended[i] > 500 && (moved < 0 || moved > 500))
			probe[kind[i]] = i;
		if (kind[i] == 0 && ended[i] > 500 && moved >= 0 && moved <= 500)
			probe[2] = i;
	}
	for (int turn = 0; turn < 2; turn++)
	{
		HazardPast *past = hazard_past(&env, &history, &options);
		int			model = hazard_choose_model(past, 500);
		HazardFit	fit;

		hazard_fit(past, 500, model, &fit);
		hazard_forecast(past, 500, 501, 591, &fit, &said[turn]);
		if (turn == 0)
		{
			double		kinds = hazard_ratio(past, model, probe[1], 500, 28, 0.05) / hazard_ratio(past, model, probe[0], 500, 28, 0.05);
			double		chance[HAZARD_STATES];
			double		stages;

			hazard_chances(past, &fit, 470, 500, 501, 529, chance);
			stages = chance[hazard_state(past, &fit, probe[2], 500)] / chance[hazard_state(past, &fit, probe[0], 500)];

			ok(model >= HAZARD_CLOCKS, "ratios are used where they made own past forecasts better");
			ok(kinds > 2.0 && kinds < 3.5, "a kind that wins three times as often (%.2f)", kinds);
			/* a deal of the first stage moves on with .03 a day: its next 28 days have half the later stage's chance */
			ok(stages > 1.4 && stages < 2.6, "a stage that wins four times as often, where three of a hundred move on each day (%.2f)", stages);
			is_double(hazard_ratio(past, model % HAZARD_CLOCKS, probe[1], 500, 28, 0.05), 1, 0, "without ratios all are alike");
			ok(model % HAZARD_CLOCKS >= HAZARD_CALENDARS, "stages are used, where closes are likelier by them");
			for (int i = 0; i < KINDS_DEALS; i++)
				if (ended[i] > 500 && born[i] <= 500)
				{
					ended[i] = 501;
					how[i] = kind[i] == 0 ? HAZARD_WON : HAZARD_LOST;
					worth[i] = 1e6;
				}
			for (int k = 0; k < history.stages; k++)
				if (stage[k].day > 500)
					stage[k].level = 0;
		}
	}
	ok(memcmp(&said[0], &said[1], sizeof(said[0])) == 0, "a planted future of outcomes and stages changes no forecast by ratios");
	free(born);
	free(ended);
	free(how);
	free(worth);
	free(kind);
	free(name);
	free(stage);
}

/* The chance by the truth of a deal in the first (0) or second stage to be won within so many days. */
static double
true_by_stage(int stage, int days)
{
	double		open[2] = {stage == 0, stage == 1};
	double		won = 0;

	for (int day = 0; day < days; day++)
	{
		double		moved = open[0] * 0.03;

		won += open[0] * 0.002 + open[1] * 0.02;
		open[0] *= 1 - 0.03 - 0.002 - 0.01;
		open[1] = open[1] * (1 - 0.02 - 0.005) + moved;
	}
	return won;
}

/* A history of two stages, under so many names each; where 'idle', stages change nothing. */
static void
draw_stages(HazardHistory *h, HazardStage *stage, int names, bool idle)
{
	int32_t    *born = (int32_t *) h->created;
	int32_t    *ended = (int32_t *) h->closed;

	h->stages = 0;
	h->stage = stage;
	h->stage_levels = 2 * names;
	for (int i = 0; i < h->count; i++)
	{
		int			now = 0;

		born[i] = i / 12;
		ended[i] = HAZARD_NEVER;
		((uint8_t *) h->outcome)[i] = HAZARD_OPEN;
		stage[h->stages++] = (HazardStage) {i, born[i], i % names};
		for (int32_t day = born[i] + 1; day < 700 && ended[i] == HAZARD_NEVER; day++)
		{
			double		win = idle ? 0.01 : now == 0 ? 0.002 : 0.02;
			double		lose = idle || now == 0 ? 0.01 : 0.005;
			double		u = uniform();

			if (u < win + lose)
			{
				ended[i] = day;
				((uint8_t *) h->outcome)[i] = u < win ? HAZARD_WON : HAZARD_LOST;
			}
			else if (now == 0 && u > 0.97)
			{
				now = 1;
				stage[h->stages++] = (HazardStage) {i, day, names + i % names};
			}
		}
		((double *) h->won_amount)[i] = h->outcome[i] == HAZARD_WON ? 100 : NAN;
	}
}

/* Hazards by stage: chances of a chain whose hazards are known, forwards and backwards; stages that mean nothing, or are too many. */
static void
test_stages(void)
{
	enum {STAGED = 8000};
	KernelEnv	env = tap_env();
	static int32_t born[STAGED];
	static int32_t ended[STAGED];
	static uint8_t how[STAGED];
	static double worth[STAGED];
	static int32_t kind[STAGED];
	static HazardStage stage[2 * STAGED];
	HazardHistory h = {.count = STAGED, .created = born, .closed = ended, .outcome = how, .won_amount = worth, .segment = kind,
	.segments = 1};
	HazardPast *past;
	HazardFit	fit;
	double		chance[HAZARD_STATES];
	double		curve[121];
	int			model;

	draw_stages(&h, stage, 1, false);
	past = hazard_past(&env, &h, &hazard_defaults);
	model = hazard_choose_model(past, 620);
	ok(model % HAZARD_CLOCKS >= HAZARD_CALENDARS, "stages that matter are used");
	hazard_fit(past, 620, model, &fit);
	is_int(fit.stages.count, 3, "two stages, and deals of none");
	hazard_chances(past, &fit, 590, 620, 621, 649, chance);
	is_double(chance[1], true_by_stage(0, 28), 0.02, "a deal of the first stage within 28 days");
	is_double(chance[2], true_by_stage(1, 28), 0.03, "and of the second");
	hazard_chances(past, &fit, 590, 620, 621, 711, chance);
	is_double(chance[1], true_by_stage(0, 90), 0.04, "of the first within 90, by way of the second");
	is_double(chance[2], true_by_stage(1, 90), 0.05, "of the second within 90");
	hazard_curve(past, &fit, 1, 590, 620, 120, curve);
	is_double(curve[90], chance[1], 1e-12, "forwards as backwards");
	hazard_chances(past, &fit, 590, 620, 651, 711, chance);
	is_double(curve[90] - curve[30], chance[1], 1e-12, "and between two days");
	hazard_fit(past, 620, model % HAZARD_CALENDARS, &fit);
	hazard_chances(past, &fit, 590, 620, 621, 649, chance);
	is_double(chance[0], hazard_win_probability(past, &fit, 590, 620, 621, 649), 1e-12, "without stages, as by age alone");
	draw_stages(&h, stage, 1, true);
	past = hazard_past(&env, &h, &hazard_defaults);
	ok(hazard_choose_model(past, 620) % HAZARD_CLOCKS < HAZARD_CALENDARS, "stages that change nothing are not used");
	draw_stages(&h, stage, 20, false);
	past = hazard_past(&env, &h, &hazard_defaults);
	model = hazard_choose_model(past, 620) % HAZARD_CLOCKS % HAZARD_CALENDARS + HAZARD_CALENDARS;
	hazard_fit(past, 620, model, &fit);
	is_int(fit.stages.count, HAZARD_STATES, "of more stages than there is room for some are as if not known");
	hazard_curve(past, &fit, 0, 590, 620, 120, curve);
	ok(curve[120] > 0.0 && curve[120] < 1.0, "and have a chance (%.2f)", curve[120]);
}

/* Win rates that treble on a day, if at all before the end: the chance, as known on day 560, of a deal a month old within 30 days. */
static double
chance_after_change(int32_t change, double half_life)
{
	enum {CHANGED = 9000};
	KernelEnv	env = tap_env();
	static int32_t born[CHANGED];
	static int32_t ended[CHANGED];
	static uint8_t how[CHANGED];
	static double worth[CHANGED];
	static int32_t kind[CHANGED];
	HazardHistory h = {.count = CHANGED, .created = born, .closed = ended, .outcome = how, .won_amount = worth, .segment = kind,
	.segments = 1};
	HazardOptions options = hazard_defaults;
	HazardPast *past;
	HazardFit	fit;

	seed = 11;
	for (int i = 0; i < CHANGED; i++)
	{
		born[i] = i / 15;
		ended[i] = HAZARD_NEVER;
		how[i] = HAZARD_OPEN;
		worth[i] = NAN;
		for (int32_t day = born[i] + 1; day < 600 && ended[i] == HAZARD_NEVER; day++)
		{
			double		win = day < change ? 0.004 : 0.012;
			double		u = uniform();

			if (u >= win + 0.01)
				continue;
			ended[i] = day;
			how[i] = u < win ? HAZARD_WON : HAZARD_LOST;
			worth[i] = how[i] == HAZARD_WON ? 100 : NAN;
		}
	}
	options.half_life = half_life;
	past = hazard_past(&env, &h, &options);
	hazard_fit(past, 560, 0, &fit);
	return hazard_win_probability(past, &fit, 530, 560, 561, 591);
}

/* The memory is as long as it should be, days long gone are no history, and weights of many half-lives do not overflow. */
static void
test_memory(const HazardHistory *history)
{
	KernelEnv	env = tap_env();
	HazardOptions options = hazard_defaults;
	HazardHistory other = *history;
	static int32_t early[DEALS];
	static int32_t gone[DEALS];
	HazardPast *past;
	HazardFit	fit;
	double		chosen = chance_after_change(500, 0);

	ok(chosen > 1.2 * chance_after_change(500, 365), "two months after win rates have trebled, the long past is forgotten (%.3f)", chosen);
	is_double(chosen, chance_after_change(500, 45), 0.02, "as by the shortest memory");
	is_double(chance_after_change(600, 0), chance_after_change(600, 1460), 0.008, "where nothing changes, all of it counts");
	options.half_life = 7;
	options.cell_events = 30;
	memcpy(early, history->created, sizeof(early));
	memcpy(gone, history->closed, sizeof(gone));
	early[0] = gone[0] = -40000;
	other.created = early;
	other.closed = gone;
	past = hazard_past(&env, &other, &options);
	ok(hazard_first_close(past) >= 0 && hazard_first_close(past) < 5, "a close a century before all others is no beginning (%d)",
	   (int) hazard_first_close(past));
	hazard_fit(past, 890, 1, &fit);
	is_double(hazard_win_probability(past, &fit, 860, 890, 891, 921), true_probability(860, 890, 921), 0.06,
			  "weights of a hundred and thirty half-lives are numbers");
	for (int i = 0; i < DEALS / 10; i++)
		early[i] = gone[i] = -40000 + i % 3;
	past = hazard_past(&env, &other, &options);
	ok(hazard_first_close(past) >= 1000 - 7305, "of many, twenty years are looked at (%d)", (int) hazard_first_close(past));
	hazard_fit(past, 890, 1, &fit);
	ok(isfinite(hazard_win_probability(past, &fit, 860, 890, 891, 921)), "and make numbers");
}

/* Deals that close on Fridays only: no chance from Saturday to Thursday, and thirty days with four Fridays hold four weeks' worth. */
static void
test_weekdays(void)
{
	enum {WEEKLY = 4000};
	KernelEnv	env = tap_env();
	static int32_t born[WEEKLY];
	static int32_t ended[WEEKLY];
	static uint8_t how[WEEKLY];
	static double worth[WEEKLY];
	static int32_t kind[WEEKLY];
	HazardHistory history = {.count = WEEKLY, .created = born, .closed = ended, .outcome = how, .won_amount = worth,
	.segment = kind, .segments = 1};
	HazardOptions options = hazard_defaults;
	HazardPast *past;
	HazardFit	fit;

	for (int i = 0; i < WEEKLY; i++)
	{
		born[i] = i / 8;
		ended[i] = born[i] + 10 + (int) (uniform() * 40);
		ended[i] += (6 + 7 - ended[i] % 7) % 7;
		how[i] = uniform() < 0.4 ? HAZARD_WON : HAZARD_LOST;
		worth[i] = how[i] == HAZARD_WON ? 100 : NAN;
	}
	past = hazard_past(&env, &history, &options);
	hazard_fit(past, 399, 0, &fit);
	/* seven, less that deals have gathered by then: open are a tenth more on Fridays than on the mean day */
	ok(fit.win_weekday[6] > 5.8 && fit.win_weekday[6] < 6.8, "wins on one day of seven (%.2f)", fit.win_weekday[6]);
	ok(hazard_win_probability(past, &fit, 380, 399, 400, 405) < 0.1 * hazard_win_probability(past, &fit, 380, 399, 400, 406), "none on the days between");
}

/* Deals of two groups created on one day of each quarter, the second group's in every fourth only; each closes after ten days, half won. */
static void
test_batches(void)
{
	enum {BATCH = 60, BATCHES = 12};
	KernelEnv	env = tap_env();
	static int32_t born[BATCH * BATCHES];
	static int32_t ended[BATCH * BATCHES];
	static uint8_t how[BATCH * BATCHES];
	static double worth[BATCH * BATCHES];
	static int32_t kind[BATCH * BATCHES];
	static int	group[BATCH * BATCHES];
	HazardHistory history = {.count = BATCH * BATCHES, .created = born, .closed = ended, .outcome = how, .won_amount = worth,
	.segment = kind, .segments = 1};
	HazardOptions options = hazard_defaults;
	HazardPast *past;
	HazardFit	fit;
	HazardForecast soon;
	HazardForecast later;
	double		expected[2];

	for (int i = 0; i < BATCH * BATCHES; i++)
	{
		group[i] = i / BATCH % 4 == 3 && i % 2 == 0;
		born[i] = i / BATCH * 91;
		ended[i] = born[i] + 10;
		how[i] = i % 4 < 2 ? HAZARD_WON : HAZARD_LOST;
		worth[i] = how[i] == HAZARD_WON ? 100 : NAN;
	}
	past = hazard_past(&env, &history, &options);
	/* a fortnight after the last batch but one: the next is eleven weeks off; and a week before the last */
	hazard_fit(past, 10 * 91 + 14, 0, &fit);
	hazard_forecast(past, 10 * 91 + 14, 10 * 91 + 15, 10 * 91 + 15 + 60, &fit, &soon);
	hazard_fit(past, 11 * 91 - 7, 0, &fit);
	hazard_forecast(past, 11 * 91 - 7, 11 * 91 - 6, 11 * 91 - 6 + 60, &fit, &later);
	ok(later.fresh_wins > 0.6 * BATCH / 2 && later.fresh_wins < 1.2 * BATCH / 2, "a batch is expected when its day comes (%.1f wins)", later.fresh_wins);
	ok(soon.fresh_wins < 0.35 * later.fresh_wins, "and hardly before (%.1f)", soon.fresh_wins);
	hazard_arrivals_by_group(past, 11 * 91 - 7, 60, group, 2, expected);
	ok(expected[1] > 0.25 * expected[0], "the second group has its season (%.1f and %.1f deals)", expected[0], expected[1]);
	hazard_arrivals_by_group(past, 10 * 91 - 7, 60, group, 2, expected);
	ok(expected[1] < 0.25 * expected[0], "and only then (%.1f and %.1f)", expected[0], expected[1]);
	hazard_arrivals_by_group(past, -5, 60, group, 2, expected);
	is_double(expected[0] + expected[1], 0, 0, "none before the first");
}

/* No history, one close, closes before creation handled by the caller: nothing divides by zero. */
static void
test_little(void)
{
	KernelEnv	env = tap_env();
	int32_t		born[2] = {10, 12};
	int32_t		ended[2] = {HAZARD_NEVER, HAZARD_NEVER};
	uint8_t		how[2] = {HAZARD_OPEN, HAZARD_OPEN};
	double		worth[2] = {NAN, NAN};
	int32_t		kind[2] = {0, 0};
	HazardHistory history = {.count = 2, .created = born, .closed = ended, .outcome = how, .won_amount = worth,
	.segment = kind, .segments = 1};
	HazardOptions options = hazard_defaults;
	HazardPast *past = hazard_past(&env, &history, &options);
	HazardForecast said;
	HazardFit	fit;

	is_int(hazard_first_close(past), HAZARD_NEVER, "no close");
	hazard_fit(past, 20, hazard_choose_model(past, 20), &fit);
	hazard_forecast(past, 20, 21, 51, &fit, &said);
	hazard_correct(past, 20, 1, &said);
	ok(isfinite(said.open) && isfinite(said.fresh), "finite without history");
	ended[0] = 15;
	how[0] = HAZARD_WON;
	worth[0] = 500;
	past = hazard_past(&env, &history, &options);
	hazard_fit(past, 20, hazard_choose_model(past, 20), &fit);
	hazard_forecast(past, 20, 21, 51, &fit, &said);
	ok(said.open > 0 && said.open <= 500, "one win says something");
	ok(hazard_deviation(past, 20, 1, 30, true) > 0.2, "and not for sure");
}

int
main(void)
{
	HazardHistory history = {.count = DEALS, .created = created, .closed = closed, .outcome = outcome, .won_amount = won_amount,
	.segment = segment, .segments = 2};

	is_int(hazard_calendar_cell(NULL, 1, 0), 0, "2000-01-01 is in the first month of a quarter");
	is_int(hazard_calendar_cell(NULL, 4, 59), 1, "2000-02-29 is in February");
	is_int(hazard_calendar_cell(NULL, 4, 60), 2, "2000-03-01 is in March");
	is_int(hazard_calendar_cell(NULL, 2, 90), 7, "2000-03-31 is in the last three days of the quarter");
	is_int(hazard_calendar_cell(NULL, 2, 87), 6, "2000-03-28 is in its last week");
	is_int(hazard_calendar_cell(NULL, 2, 81), 5, "2000-03-22 is in its last ten days");
	is_int(hazard_calendar_cell(NULL, 2, 80), 4, "2000-03-21 is not");
	is_int(hazard_calendar_cell(NULL, 2, 59), 3, "2000-02-29 is in the last ten days of the second month");
	is_int(hazard_calendar_cell(NULL, 4, -1), 11, "1999-12-31 is in December");
	draw_history();
	test_known_process(&history);
	test_amounts_move(&history);
	test_little();
	test_ratios();
	test_stages();
	test_memory(&history);
	test_weekdays();
	test_batches();
	test_no_future(&history);
	return done_testing();
}
