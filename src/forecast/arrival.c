/*
 * arrival.c
 *		How many deals will be created on the days to come: several plain rules, weighed by how right each was in the past, so that
 *		a season, a quarter's rhythm or a change of pace is followed where there is one. When they are won is hazard.c's.
 */
#include "forecast/past.h"

#include <math.h>
#include <string.h>

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

/* A day's count by an arrival rule of one group: how many deals it expects for each that came 'age' days before the day. */
static double
arrival_share(const HazardPast *past, int r, int32_t day, int32_t created, int ahead)
{
	static const int windows[] = {0, 28, 365};
	int			known = day - past->first_created + 1;
	int			window = r == 0 ? (known < past->options.arrival_days ? known : past->options.arrival_days) : r < 3 ? windows[r] : 0;
	int			back = r == 4 ? QUARTER : YEAR;
	int			seen = ahead < back ? ahead : back;

	if (r < 3)
		return created > day - window ? (double) ahead / window : 0.0;
	return created > day - back && created <= day - back + seen ? (double) ahead / seen : 0.0;
}

/*
 * Deals that each group may expect in the 'ahead' days after a day, as known on it: the rules that are right for all deals, with the
 * group's own counts: its own season, and its own growth since last year.
 */
void
hazard_arrivals_by_group(const HazardPast *past, int32_t day, int ahead, const int *group, int groups, double *expected)
{
	const HazardHistory *h = past->history;
	ArrivalRule rule[ARRIVAL_RULES];
	double		weight[ARRIVAL_RULES];
	double	   *now = kernel_alloc_array(past->env, double, 2 * groups + 1);
	double	   *then = now + groups;

	memset(expected, 0, sizeof(double) * (size_t) groups);
	for (int g = 0; g < 2 * groups; g++)
		now[g] = 5.0;
	for (int i = 0; i < h->count; i++)
	{
		now[group[i]] += h->created[i] <= day && h->created[i] > day - past->options.arrival_days;
		then[group[i]] += h->created[i] <= day - YEAR && h->created[i] > day - YEAR - past->options.arrival_days;
	}
	if (ahead > 0 && day >= past->first_created)
		weigh_arrival_rules(past, day, ahead < 7 ? 7 : ahead > QUARTER ? QUARTER : ahead, rule, weight);
	for (int i = 0; i < h->count && ahead > 0 && day >= past->first_created; i++)
		for (int r = 0; r < ARRIVAL_RULES && h->created[i] <= day; r++)
		{
			double		growth = r == 3 ? fmin(fmax(now[group[i]] / then[group[i]], 0.25), 4.0) : 1.0;

			if (weight[r] > 0.0)
				expected[group[i]] += weight[r] * growth * arrival_share(past, r, day, h->created[i], ahead);
		}
	kernel_release(past->env, now);
}

/* Deals that arrive on each of 'ahead' days after a day, as known on it: the rules' weighted mean. */
void
hazard_arrival_rates(const HazardPast *past, int32_t day, int ahead, double *rate)
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
