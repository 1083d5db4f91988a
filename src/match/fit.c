/*
 * fit.c
 *		The fitting recipe over one set of records in memory. Definitions, storage and SQL are elsewhere.
 */
#include <math.h>
#include <string.h>

#include "match/fit.h"

#define BATCH 1024
#define HISTOGRAM_BINS 8192
#define HISTOGRAM_RANGE 60.0	/* nats on either side of even odds: beyond it a probability is 0 or 1 */
#define PRIOR_ROUNDS 200
#define SETTLED 1e-3			/* relative change of the prior at which rounds end */
#define SMOOTHING 0.5			/* pseudo-pairs a level, behind u */
#define RELATED_ROUNDS 20
#define LEAST_RELATED 0.05		/* share of the pairs that look like matches which makes a class of related ones worth having */
#define LEAST_KNOWN 10.0		/* expected matches that an estimate must rest on */
#define LEAST_BITS 5.0			/* evidence that a class of related pairs shares */
#define LEAST_BITS_APART 3.0	/* and that sets it apart from matches */
#define COUNT_CLASSES 64
#define POOL_STRENGTH 3.0		/* pairs that values of the same count stand for in the frequency of one */
#define AT_CHANCE 0.15			/* agreement above chance, as a share of what is above it, that is still chance */
#define LEAST_EXPECTED 5.0		/* pairs below which their number says nothing */
#define HARDLY_CHANCE 0.5		/* of the way from chance to all, from where on it is no chance */

/* A pair held for fitting */
typedef struct FitPair
{
	int32_t		a;
	int32_t		b;
	uint64_t	levels;
	uint32_t	passes;			/* bit k: the pair agrees on the rule of pass k */
	float		log_factor;		/* with term frequencies and the class of related pairs, natural logarithm */
} FitPair;

typedef struct Fit
{
	MatchRecords *records;
	const MatchComparison *comparison;
	int			n;
	const MatchRules *rules;
	const MatchFitOptions *options;
	MatchModel *model;
	const KernelEnv *env;
	TextWorkspace *workspace;
	FitPair    *pair;			/* candidates */
	size_t		npairs;
	FitPair    *random;
	size_t		nrandom;
	double	   *matched[MATCH_MAX_COMPARISONS];	/* expected matching pairs that share each value */
} Fit;

MatchFitOptions
match_fit_defaults(void)
{
	MatchFitOptions options = {
		.random_pairs = 1e6,
		.pair_budget = 8e6,
		.narrow = 5,
		.u_strength = 50,
		.rounds = 12,
		.em_iterations = 300,
		.em_tolerance = 1e-5,
		.seed = 42,
	};

	return options;
}

double
match_probability(double log2_odds)
{
	return 1 / (1 + exp2(-log2_odds));
}

/* SplitMix64 (Steele, Lea, Flood 2014). */
static uint64_t
next_random(uint64_t *state)
{
	uint64_t	z = (*state += UINT64_C(0x9E3779B97F4A7C15));

	z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
	return z ^ (z >> 31);
}

/* A number below n; the bias of the multiply is below n / 2^64. */
static int32_t
random_below(uint64_t *state, int32_t n)
{
	return (int32_t) (((__uint128_t) next_random(state) * (uint64_t) n) >> 64);
}

/* ---- the pairs ---- */

/* The rules that serve as passes: the narrowest keys, each with pairs and with a comparison left that it says nothing of. */
static void
choose_passes(Fit *fit)
{
	MatchModel *model = fit->model;
	uint32_t	all = (uint32_t) ((UINT64_C(1) << fit->n) - 1);

	model->npasses = 0;
	for (int r = 0; r < fit->rules->nrules; r++)
	{
		const MatchRule *rule = &fit->rules->rule[r];
		int			at = model->npasses;

		if (rule->kind != MATCH_RULE_KEY || rule->pairs < 10 || (all & ~rule->related) == 0 ||
			rule->pairs > fit->options->narrow * fit->records->nrecords)
			continue;
		if (at == MATCH_MAX_PASSES)
		{
			if (rule->pairs >= fit->rules->rule[model->pass[at - 1].rule].pairs)
				continue;
			at--;
		}
		else
			model->npasses++;
		while (at > 0 && fit->rules->rule[model->pass[at - 1].rule].pairs > rule->pairs)
		{
			model->pass[at] = model->pass[at - 1];
			at--;
		}
		memset(&model->pass[at], 0, sizeof(MatchPass));
		model->pass[at].rule = r;
	}
}

/* Which passes have a pair. */
static uint32_t
pass_mask(const Fit *fit, int32_t a, int32_t b)
{
	uint32_t	mask = 0;

	for (int k = 0; k < fit->model->npasses; k++)
	{
		if (match_rule_agrees(fit->rules, fit->model->pass[k].rule, a, b))
			mask |= UINT32_C(1) << k;
	}
	return mask;
}

/* Fill in a pair's levels. */
static FitPair
fit_pair(const Fit *fit, int32_t a, int32_t b)
{
	FitPair		pair = {a, b, 0, 0, 0};

	pair.levels = match_pattern(fit->records, fit->comparison, fit->n, fit->workspace, a, b);
	return pair;
}

/* Candidate pairs, or a sample of them by a hash of the pair where there are more than the budget. */
static void
collect_candidates(Fit *fit)
{
	double		bound = match_rules_pairs(fit->rules);
	double		share = bound > fit->options->pair_budget ? fit->options->pair_budget / bound : 1;
	uint64_t	limit = share < 1 ? (uint64_t) (share * 18446744073709551615.0) : UINT64_MAX;
	size_t		room = (size_t) (bound * share) + BATCH;
	MatchWalk	walk;
	MatchPair	batch[BATCH];
	double		seen = 0;
	int			n;

	fit->pair = kernel_alloc_array(fit->env, FitPair, room);
	fit->npairs = 0;
	match_walk_start(&walk, fit->rules, -1);
	while ((n = match_walk_next(&walk, batch, BATCH)) > 0)
	{
		for (int i = 0; i < n; i++)
		{
			uint64_t	h = ((uint64_t) batch[i].a << 32 | (uint32_t) batch[i].b);

			if (share < 1 && next_random(&h) > limit)
				continue;
			if (fit->npairs == room)
			{
				room += room / 8 + BATCH;
				fit->pair = kernel_realloc_array(fit->env, fit->pair, FitPair, room);
			}
			fit->pair[fit->npairs] = fit_pair(fit, batch[i].a, batch[i].b);
			fit->pair[fit->npairs++].passes = pass_mask(fit, batch[i].a, batch[i].b);
		}
		seen += n;
		kernel_tick(fit->env, seen, bound);
	}
	fit->model->candidate_pairs = seen;
	fit->model->sampled = share;
}

/* All pairs where they are few, else as many drawn with replacement. */
static void
collect_random(Fit *fit)
{
	const MatchRecords *records = fit->records;
	double		total = match_total_pairs(records);
	uint64_t	state = fit->options->seed;
	int32_t		left = records->nleft;
	int32_t		n = records->nrecords;

	fit->nrandom = (size_t) fmin(total, fit->options->random_pairs);
	fit->random = kernel_alloc_array(fit->env, FitPair, fit->nrandom);
	if (total <= fit->options->random_pairs)
	{
		size_t		at = 0;

		for (int32_t a = 0; a < (left > 0 ? left : n); a++)
		{
			for (int32_t b = left > 0 ? left : a + 1; b < n; b++)
				fit->random[at++] = fit_pair(fit, a, b);
			kernel_tick(fit->env, at, total);
		}
		return;
	}
	for (size_t i = 0; i < fit->nrandom; i++)
	{
		int32_t		a = random_below(&state, left > 0 ? left : n);
		int32_t		b = left > 0 ? left + random_below(&state, n - left) : random_below(&state, n - 1);

		if (left == 0 && b >= a)
			b++;
		fit->random[i] = a < b ? fit_pair(fit, a, b) : fit_pair(fit, b, a);
		if (i % BATCH == 0)
			kernel_tick(fit->env, i, fit->nrandom);
	}
}

/* ---- one round ---- */

/* Natural logarithms of the tables, looked up a pair: by level, and of frequencies by value. */
typedef struct LogTables
{
	double		level[MATCH_MAX_COMPARISONS][MATCH_LEVEL_MASK + 1];	/* by level + 1: 0 is unknown */
	double	   *value[MATCH_MAX_COMPARISONS];
	int			top[MATCH_MAX_COMPARISONS];
	const int32_t *code[MATCH_MAX_COMPARISONS];
	/* related against unrelated: level, and what the equal ones of value have more or less than m has */
	double		related[MATCH_MAX_COMPARISONS][MATCH_LEVEL_MASK + 1];
	double		related_top[MATCH_MAX_COMPARISONS];
} LogTables;

/* Fill them from the model. */
static void
make_log_tables(const Fit *fit, LogTables *logs)
{
	const MatchTables *tables = &fit->model->tables;

	memset(logs, 0, sizeof(*logs));
	for (int c = 0; c < fit->n; c++)
	{
		const MatchColumn *column = &fit->records->column[fit->comparison[c].column];

		logs->top[c] = match_top_level(&fit->comparison[c]) + 1;
		logs->code[c] = column->code;
		for (int l = 0; l < tables->nlevels[c]; l++)
		{
			logs->level[c][l + 1] = log(tables->m[c][l] / tables->u[c][l]);
			if (fit->model->related > 0)
				logs->related[c][l + 1] = log(tables->r[c][l] / tables->u[c][l]);
		}
		if (fit->model->related > 0)
			logs->related_top[c] = log(tables->r[c][logs->top[c] - 1] / tables->m[c][logs->top[c] - 1]);
		if (fit->model->frequency[c] == NULL)
			continue;
		logs->value[c] = kernel_alloc_array(fit->env, double, column->nvalues);
		for (int32_t v = 0; v < column->nvalues; v++)
			logs->value[c][v] = log(tables->m[c][logs->top[c] - 1] / fit->model->frequency[c][v]);
	}
}

/* Log odds of a pair to be related rather than unrelated, and by the way its log factor of matching against unrelated. */
static double
related_log_odds(const Fit *fit, const LogTables *logs, const FitPair *pair, double *log_factor)
{
	uint64_t	levels = pair->levels;
	double		sum = 0;
	double		related = 0;

	for (int c = 0; c < fit->n; c++, levels >>= MATCH_LEVEL_BITS)
	{
		int			level = (int) (levels & MATCH_LEVEL_MASK);

		if (level == logs->top[c] && logs->value[c] != NULL)
		{
			sum += logs->value[c][logs->code[c][pair->a]];
			related += logs->value[c][logs->code[c][pair->a]] + logs->related_top[c];
		}
		else
		{
			sum += logs->level[c][level];
			related += logs->related[c][level];
		}
	}
	*log_factor = sum;
	return fit->model->related > 0 ? related + log(fit->model->related) : -HUGE_VAL;
}

/* Score the pairs of an array: equal values by their frequency instead of u. */
static void
score_pairs(const Fit *fit, FitPair *pair, size_t count)
{
	LogTables	logs;

	make_log_tables(fit, &logs);
	for (size_t i = 0; i < count; i++)
	{
		double		sum;
		double		related = related_log_odds(fit, &logs, &pair[i], &sum);

		if (fit->model->related > 0)
			sum -= related > 0 ? related + log1p(exp(-related)) : log1p(exp(related));
		pair[i].log_factor = (float) sum;
		if (i % 65536 == 0)
			kernel_tick(fit->env, i, count);
	}
	for (int c = 0; c < fit->n; c++)
		kernel_release(fit->env, logs.value[c]);
}

/* Probability from log factor and prior. */
static double
probability(double log_factor, double log_prior_odds)
{
	return 1 / (1 + exp(-(log_factor + log_prior_odds)));
}

/* The fixed point: prior = sum of probabilities over all candidates / all pairs. Over a histogram of log factors. */
static double
settle_prior(const Fit *fit, double start)
{
	double	   *bin = kernel_alloc_array(fit->env, double, HISTOGRAM_BINS);
	double		total = match_total_pairs(fit->records);
	double		prior = start;

	memset(bin, 0, sizeof(double) * HISTOGRAM_BINS);
	for (size_t i = 0; i < fit->npairs; i++)
	{
		double		at = (fit->pair[i].log_factor + HISTOGRAM_RANGE) / (2 * HISTOGRAM_RANGE) * HISTOGRAM_BINS;

		bin[at < 0 ? 0 : at >= HISTOGRAM_BINS ? HISTOGRAM_BINS - 1 : (int) at] += 1;
	}
	for (int round = 0; round < PRIOR_ROUNDS; round++)
	{
		double		sum = 0;
		double		next;
		double		odds = log(prior / (1 - prior));

		for (int b = 0; b < HISTOGRAM_BINS; b++)
		{
			if (bin[b] > 0)
				sum += bin[b] * probability((b + 0.5) / HISTOGRAM_BINS * 2 * HISTOGRAM_RANGE - HISTOGRAM_RANGE, odds);
		}
		next = fmin(fmax(sum / fit->model->sampled / total, 1e-14), 0.5);
		if (fabs(next - prior) < 1e-6 * prior)
		{
			prior = next;
			break;
		}
		prior = next;
	}
	kernel_release(fit->env, bin);
	return prior;
}

/* u from the random pairs, weighted by how unlikely they are matches (all alike in the first round). */
static void
estimate_u(Fit *fit, bool first)
{
	MatchTables *tables = &fit->model->tables;
	double		sums[MATCH_MAX_COMPARISONS][MATCH_MAX_LEVELS] = {{0}};
	double		odds = log(fit->model->prior / (1 - fit->model->prior));

	for (size_t i = 0; i < fit->nrandom; i++)
	{
		double		w = first ? 1 : 1 - probability(fit->random[i].log_factor, odds);

		for (int c = 0; c < fit->n; c++)
		{
			int			level = match_pattern_level(fit->random[i].levels, c);

			if (level != MATCH_NULL)
				sums[c][level] += w;
		}
	}
	for (int c = 0; c < fit->n; c++)
	{
		double		total = 0;

		for (int l = 0; l < tables->nlevels[c]; l++)
			total += sums[c][l] + SMOOTHING;
		for (int l = 0; l < tables->nlevels[c]; l++)
			tables->u[c][l] = (sums[c][l] + SMOOTHING) / total;
	}
}

/* A first guess of m: mostly equal, the rest mostly near. */
static void
guess_m(const Fit *fit, MatchTables *tables)
{
	for (int c = 0; c < fit->n; c++)
	{
		int			top = match_top_level(&fit->comparison[c]);

		for (int l = 0; l < tables->nlevels[c]; l++)
			tables->m[c][l] = l == top ? 0.8 : 0.2 / (tables->nlevels[c] - 1);
	}
}

/* EM on one pass, over the comparisons that its rule says nothing about. */
static void
fit_pass(Fit *fit, int k, MatchTables *tables)
{
	MatchPass  *pass = &fit->model->pass[k];
	uint32_t	all = (uint32_t) ((UINT64_C(1) << fit->n) - 1);
	uint64_t	keep = 0;
	MatchTally	tally;
	uint32_t	count;
	MatchPattern *patterns;
	MatchEmOptions options = {
		.free = all & ~fit->rules->rule[pass->rule].related,
		.u_strength = fit->options->u_strength,
		.m_strength = 1,
		.start_prior = 0.3,
		.max_iterations = fit->options->em_iterations,
		.tolerance = fit->options->em_tolerance,
	};

	for (int c = 0; c < fit->n; c++)
	{
		if ((options.free & (UINT32_C(1) << c)) != 0)
			keep |= (uint64_t) MATCH_LEVEL_MASK << (c * MATCH_LEVEL_BITS);
	}
	match_tally_init(&tally, fit->env);
	for (size_t i = 0; i < fit->npairs; i++)
	{
		if ((fit->pair[i].passes & (UINT32_C(1) << k)) != 0)
			match_tally_add(&tally, fit->pair[i].levels & keep, 1);
	}
	patterns = match_tally_finish(&tally, &count);
	pass->em = match_em(fit->env, patterns, count, &options, tables);
	kernel_release(fit->env, patterns);
}

/* m over all candidates by their present probabilities, for a comparison that no pass can estimate. */
static void
estimate_m_from_candidates(Fit *fit, int c)
{
	MatchTables *tables = &fit->model->tables;
	double		odds = log(fit->model->prior / (1 - fit->model->prior));
	double		sums[MATCH_MAX_LEVELS] = {0};
	double		total = 0;

	for (size_t i = 0; i < fit->npairs; i++)
	{
		int			level = match_pattern_level(fit->pair[i].levels, c);

		if (level != MATCH_NULL)
			sums[level] += probability(fit->pair[i].log_factor, odds);
	}
	for (int l = 0; l < tables->nlevels[c]; l++)
		total += sums[l] + tables->m[c][l];
	for (int l = 0; l < tables->nlevels[c]; l++)
		tables->m[c][l] = (sums[l] + tables->m[c][l]) / total;
}

/* m as the mean over passes, by how many matches each rests on. */
static void
estimate_m(Fit *fit, bool first)
{
	MatchModel *model = fit->model;
	double		sums[MATCH_MAX_COMPARISONS][MATCH_MAX_LEVELS] = {{0}};
	double		weights[MATCH_MAX_COMPARISONS] = {0};

	for (int k = 0; k < model->npasses; k++)
	{
		MatchTables tables = model->tables;

		guess_m(fit, &tables);
		fit_pass(fit, k, &tables);
		for (int c = 0; c < fit->n; c++)
		{
			double		w = model->pass[k].em.weight[c];

			weights[c] += w;
			for (int l = 0; l < tables.nlevels[c]; l++)
				sums[c][l] += w * tables.m[c][l];
		}
	}
	for (int c = 0; c < fit->n; c++)
	{
		model->estimated[c] = weights[c] >= 1;
		for (int l = 0; model->estimated[c] && l < model->tables.nlevels[c]; l++)
			model->tables.m[c][l] = sums[c][l] / weights[c];
		if (!model->estimated[c] && !first)
			estimate_m_from_candidates(fit, c);
	}
}

/* Expected matching pairs that share each value. */
static void
count_matched(Fit *fit)
{
	double		odds = log(fit->model->prior / (1 - fit->model->prior));

	for (int c = 0; c < fit->n; c++)
	{
		if (fit->matched[c] != NULL)
			memset(fit->matched[c], 0, sizeof(double) * (size_t) fit->records->column[fit->comparison[c].column].nvalues);
	}
	for (size_t i = 0; i < fit->npairs; i++)
	{
		double		p = probability(fit->pair[i].log_factor, odds) / fit->model->sampled;

		for (int c = 0; c < fit->n; c++)
		{
			if (fit->matched[c] != NULL &&
				match_pattern_level(fit->pair[i].levels, c) == match_top_level(&fit->comparison[c]))
				fit->matched[c][fit->records->column[fit->comparison[c].column].code[fit->pair[i].a]] += p;
		}
	}
}

/* Values of about the same count: up to 16 each count by itself, then in steps of a quarter. */
static int
count_class(double n)
{
	int			class = n <= 16 ? (int) n : 16 + (int) (log(n / 16) / log(1.25)) + 1;

	return class < COUNT_CLASSES ? class : COUNT_CLASSES - 1;
}

/*
 * Frequencies that leave out a value's own duplicates: of the n records with it, each meets n - 1 others, of which a share is itself
 * again. That share comes from the value's own pairs and, with the strength of POOL_STRENGTH pairs, from those of all values that are as
 * frequent: else the one pair of a rare value that is in doubt would make the value seem common, and so itself more doubtful.
 */
static void
estimate_frequencies(Fit *fit)
{
	double		records = fit->records->nrecords;

	for (int c = 0; c < fit->n; c++)
	{
		const MatchColumn *column = &fit->records->column[fit->comparison[c].column];
		double		u = fit->model->tables.u[c][match_top_level(&fit->comparison[c])];
		double		matched[COUNT_CLASSES] = {0};
		double		pairs[COUNT_CLASSES] = {0};

		fit->model->floor[c] = fmin(u, 0.5 / records);
		if (fit->matched[c] == NULL)
			continue;
		for (int32_t v = 0; v < column->nvalues; v++)
		{
			double		n = column->count[v];

			matched[count_class(n)] += fit->matched[c][v];
			pairs[count_class(n)] += n * (n - 1) / 2;
		}
		for (int32_t v = 0; v < column->nvalues; v++)
		{
			double		n = column->count[v];
			int			class = count_class(n);
			double		share;

			fit->model->frequency[c][v] = fit->model->floor[c];
			if (n < 2)
				continue;
			share = (fit->matched[c][v] + POOL_STRENGTH * matched[class] / pairs[class]) / (n * (n - 1) / 2 + POOL_STRENGTH);
			fit->model->frequency[c][v] = fmax((n - 1) * (1 - share) / records, fit->model->floor[c]);
		}
	}
}

/* ---- related pairs ---- */

/*
 * Whether a class of pairs that look like matches is one of related records instead: at chance in comparisons that would tell
 * matches well, and far from it in others.
 */
static bool
is_related_class(const MatchTables *tables, const double *weight)
{
	double		at_chance = 0;	/* bits that tell matches from them where they are at chance */
	double		in_common = 0;	/* bits that they share */

	for (int c = 0; c < tables->ncomparisons; c++)
	{
		double		m = 1 - tables->m[c][0];
		double		r = 1 - tables->r[c][0];
		double		u = 1 - tables->u[c][0];
		double		bits = 0;

		if (weight[c] < LEAST_KNOWN)
			continue;
		for (int l = 0; l < tables->nlevels[c]; l++)
			bits += tables->m[c][l] * log2(tables->m[c][l] / tables->r[c][l]);
		if (m > 0.5 && r < u + AT_CHANCE * (1 - u))
			at_chance += bits;
		else if (r > 0.5)
			in_common += log2(r / u);
	}
	return at_chance >= LEAST_BITS_APART && in_common >= LEAST_BITS;
}

/* Share of a pair that looks like a match which the class of matches has of it, the other class having the rest. */
static double
share_of_matches(const MatchTables *tables, const FitPair *pair, double odds, double split_odds, double *p)
{
	*p = probability(pair->log_factor, odds);
	return *p < 0.5 ? 0 : *p * probability(match_log_factor(tables, pair->levels, UINT32_MAX), split_odds);
}

/*
 * Whether the records of such a class are others, and not the same ones after a change. A company that has moved shares name, number and
 * domain with its former self and is at chance in street and town, just as a brother shares the street and is at chance in the first name.
 * But brothers have as many duplicates as anybody, while who is taken for a relation of himself lacks that one. So of pairs of others as
 * many have an end without a match as chance has it, of those after a change nearly all, of those among the many entries of one hardly
 * any. Where matches are too few to tell, changes are fewer than what stays as it was.
 */
static bool
are_other_records(const Fit *fit, const MatchTables *split, double prior)
{
	MatchTables tables = *split;
	double		odds = log(fit->model->prior / (1 - fit->model->prior));
	double		split_odds = log(prior / (1 - prior));
	int32_t		records = fit->records->nrecords;
	double	   *matches = kernel_alloc_array(fit->env, double, records);
	double		single = 0;		/* share of the records without a match */
	double		by_chance;
	double		one_single = 0;
	double		sum = 0;
	double		related = 0;
	double		p;

	memcpy(tables.u, split->r, sizeof(tables.u));
	memset(matches, 0, sizeof(double) * (size_t) records);
	for (size_t i = 0; i < fit->npairs; i++)
	{
		double		m = share_of_matches(&tables, &fit->pair[i], odds, split_odds, &p);

		matches[fit->pair[i].a] += m;
		matches[fit->pair[i].b] += m;
		sum += m;
	}
	for (int32_t i = 0; i < records; i++)
	{
		matches[i] = fmax(1 - matches[i], 0);
		single += matches[i] / records;
	}
	for (size_t i = 0; i < fit->npairs; i++)
	{
		const FitPair *pair = &fit->pair[i];
		double		m = share_of_matches(&tables, pair, odds, split_odds, &p);

		if (p < 0.5)
			continue;
		related += p - m;
		one_single += (p - m) * (1 - (1 - matches[pair->a]) * (1 - matches[pair->b]));
	}
	kernel_release(fit->env, matches);
	by_chance = 1 - (1 - single) * (1 - single);
	if ((1 - by_chance) * related < LEAST_EXPECTED)
		return related > sum;
	return fabs(one_single / related - by_chance) < HARDLY_CHANCE * (1 - by_chance);
}

/* Two classes among the pairs that look like matches: m of the one that agrees in everything, r of the other. */
static bool
split_matches(Fit *fit, MatchTables *split)
{
	MatchModel *model = fit->model;
	double		odds = log(model->prior / (1 - model->prior));
	MatchTables seen = model->tables;
	MatchEmOptions options = {
		.free = (uint32_t) ((UINT64_C(1) << fit->n) - 1),
		.u_strength = 1,
		.m_strength = 1,
		.start_prior = 0.5,
		.max_iterations = fit->options->em_iterations,
		.tolerance = fit->options->em_tolerance,
	};
	MatchTally	tally;
	uint32_t	count;
	MatchPattern *patterns;
	MatchEmResult em;
	bool		accepted;

	match_tally_init(&tally, fit->env);
	for (size_t i = 0; i < fit->npairs; i++)
	{
		double		p = probability(fit->pair[i].log_factor, odds);

		if (p >= 0.5)
			match_tally_add(&tally, fit->pair[i].levels, p);
	}
	patterns = match_tally_finish(&tally, &count);
	guess_m(fit, &seen);
	/* what the other class begins with: half of the way from what is seen to chance */
	for (int c = 0; c < fit->n; c++)
	{
		for (int l = 0; l < seen.nlevels[c]; l++)
			seen.u[c][l] = (model->tables.m[c][l] + model->tables.u[c][l]) / 2;
	}
	em = match_em(fit->env, patterns, count, &options, &seen);
	kernel_release(fit->env, patterns);
	*split = model->tables;
	memcpy(split->m, seen.m, sizeof(split->m));
	memcpy(split->r, seen.u, sizeof(split->r));
	accepted = em.pairs > 0 && em.pairs * em.prior >= LEAST_KNOWN && em.pairs * (1 - em.prior) >= LEAST_RELATED * em.pairs &&
		is_related_class(split, em.weight) && are_other_records(fit, split, em.prior);
	model->related_pairs = em.pairs * (1 - em.prior) / model->sampled;
	model->related = model->related_pairs / match_total_pairs(fit->records);
	/* priors of both classes among all pairs */
	model->prior = fmax(em.pairs * em.prior / model->sampled / match_total_pairs(fit->records), 1e-14);
	return accepted;
}

/* Expected levels of one class, from what is there already with the strength of a pair. */
static void
settle_table(double *table, const double *sums, int nlevels)
{
	double		total = 0;

	for (int l = 0; l < nlevels; l++)
		total += sums[l] + table[l];
	for (int l = 0; l < nlevels; l++)
		table[l] = fmax((sums[l] + table[l]) / total, 1e-9);
}

/*
 * m and r from all candidates by the probabilities of both classes; for m only pairs count that agree on a pass whose rule says nothing
 * about the comparison, where there are such. close: related are only pairs that would be taken for matches without the class.
 */
static void
estimate_classes(Fit *fit, bool close)
{
	MatchModel *model = fit->model;
	double		odds = log(model->prior / (1 - model->prior));
	double		m[MATCH_MAX_COMPARISONS][MATCH_MAX_LEVELS] = {{0}};
	double		any[MATCH_MAX_COMPARISONS][MATCH_MAX_LEVELS] = {{0}};
	double		r[MATCH_MAX_COMPARISONS][MATCH_MAX_LEVELS] = {{0}};
	uint32_t	apart[MATCH_MAX_COMPARISONS] = {0};	/* passes that say nothing about a comparison */
	double		related = 0;
	LogTables	logs;

	for (int k = 0; k < model->npasses; k++)
	{
		for (int c = 0; c < fit->n; c++)
		{
			if ((fit->rules->rule[model->pass[k].rule].related >> c & 1) == 0)
				apart[c] |= UINT32_C(1) << k;
		}
	}
	make_log_tables(fit, &logs);
	for (size_t i = 0; i < fit->npairs; i++)
	{
		const FitPair *pair = &fit->pair[i];
		double		p = probability(pair->log_factor, odds);
		double		log_factor;
		double		q = (1 - p) * probability(related_log_odds(fit, &logs, pair, &log_factor), 0);

		if (close && log_factor + odds < 0)
			q = 0;
		related += q;
		for (int c = 0; c < fit->n; c++)
		{
			int			level = match_pattern_level(pair->levels, c);

			if (level == MATCH_NULL)
				continue;
			r[c][level] += q;
			any[c][level] += p;
			if ((pair->passes & apart[c]) != 0)
				m[c][level] += p;
		}
		if (i % 65536 == 0)
			kernel_tick(fit->env, i, fit->npairs);
	}
	for (int c = 0; c < fit->n; c++)
	{
		double		sum = 0;

		kernel_release(fit->env, logs.value[c]);
		for (int l = 0; l < model->tables.nlevels[c]; l++)
			sum += m[c][l];
		settle_table(model->tables.m[c], sum >= LEAST_KNOWN ? m[c] : any[c], model->tables.nlevels[c]);
		settle_table(model->tables.r[c], r[c], model->tables.nlevels[c]);
	}
	model->related_pairs = related / model->sampled;
	model->related = fmax(model->related_pairs / match_total_pairs(fit->records), 1e-14);
}

/* One round behind the estimates of tables: frequencies, scores, prior. */
static void
finish_round(Fit *fit)
{
	estimate_frequencies(fit);
	score_pairs(fit, fit->pair, fit->npairs);
	score_pairs(fit, fit->random, fit->nrandom);
	fit->model->prior = settle_prior(fit, fit->model->prior);
	count_matched(fit);
}

/* Three classes from where a split begins, in rounds until the prior settles. */
static void
settle_classes(Fit *fit, const MatchTables *split, bool close)
{
	MatchModel *model = fit->model;

	memcpy(model->tables.m, split->m, sizeof(split->m));
	memcpy(model->tables.r, split->r, sizeof(split->r));
	model->converged = false;
	for (int round = 0; round < RELATED_ROUNDS && !model->converged; round++)
	{
		double		prior = model->prior;

		finish_round(fit);
		estimate_u(fit, false);
		estimate_classes(fit, close);
		model->rounds++;
		model->converged = round > 1 && fabs(model->prior - prior) < SETTLED * prior;
	}
	finish_round(fit);
}

/* Split what looks like matches; false, and the model as it was, where it is of one kind. */
static bool
try_split(Fit *fit, MatchTables *split)
{
	MatchModel *model = fit->model;
	double		prior = model->prior;
	double		related = model->related;
	double		related_pairs = model->related_pairs;

	if (split_matches(fit, split))
		return true;
	model->prior = prior;
	model->related = related;
	model->related_pairs = related_pairs;
	return false;
}

/* A model with frequencies of its own. */
static MatchModel
copy_model(const Fit *fit)
{
	MatchModel	copy = *fit->model;

	for (int c = 0; c < fit->n; c++)
	{
		size_t		values = (size_t) fit->records->column[fit->comparison[c].column].nvalues;

		if (copy.frequency[c] == NULL)
			continue;
		copy.frequency[c] = kernel_alloc_array(fit->env, double, values);
		memcpy(copy.frequency[c], fit->model->frequency[c], sizeof(double) * values);
	}
	return copy;
}

/* The frequencies of a model that is not wanted. */
static void
release_frequencies(const Fit *fit, const MatchModel *model)
{
	for (int c = 0; c < fit->n; c++)
	{
		if (model->frequency[c] != NULL)
			kernel_release(fit->env, model->frequency[c]);
	}
}

/*
 * Look for related pairs, and fit three classes where there are any; else the model stays as it is. Pairs that have something in common
 * and that nobody would take for matches can be so many more (goods of one brand, beside the sizes of one article) that they make the
 * class theirs, and the sizes stay among the matches. Then what looks like matches falls into two kinds still, and the class is fitted
 * once more to those that do. That may as well lose to the matches what the first fit had told apart: the one with fewer matches holds.
 */
static void
fit_related(Fit *fit)
{
	MatchTables split;
	MatchModel	first;
	int			rounds;

	if (!try_split(fit, &split))
		return;
	settle_classes(fit, &split, false);
	first = copy_model(fit);
	if (try_split(fit, &split))
		settle_classes(fit, &split, true);
	rounds = fit->model->rounds;
	if (fit->model->prior <= first.prior)
		release_frequencies(fit, &first);
	else
	{
		release_frequencies(fit, fit->model);
		*fit->model = first;
		fit->model->rounds = rounds;
	}
}

/* Tables and frequencies to begin with. */
static void
prepare(Fit *fit)
{
	MatchModel *model = fit->model;

	memset(model, 0, sizeof(*model));
	model->tables.ncomparisons = fit->n;
	model->prior = fmin(1.0 / fit->records->nrecords, 0.1);
	for (int c = 0; c < fit->n; c++)
	{
		size_t		values = (size_t) fit->records->column[fit->comparison[c].column].nvalues;

		model->tables.nlevels[c] = match_level_count(&fit->comparison[c]);
		if (!fit->comparison[c].term_frequency)
			continue;
		model->frequency[c] = kernel_alloc_array(fit->env, double, values);
		fit->matched[c] = kernel_alloc_array(fit->env, double, values);
		memset(fit->matched[c], 0, sizeof(double) * values);
	}
	guess_m(fit, &model->tables);
}

void
match_fit(MatchRecords *records, const MatchComparison *comparisons, int ncomparisons, const MatchRules *rules,
		  const MatchFitOptions *options, MatchModel *model)
{
	Fit			fit = {records, comparisons, ncomparisons, rules, options, model, &records->env};

	fit.workspace = kernel_alloc_array(fit.env, TextWorkspace, 1);
	memset(fit.workspace, 0, sizeof(TextWorkspace));
	fit.workspace->env = fit.env;
	prepare(&fit);
	choose_passes(&fit);
	collect_candidates(&fit);
	collect_random(&fit);
	for (model->rounds = 0; model->rounds < options->rounds && !model->converged; model->rounds++)
	{
		double		before = model->prior;

		estimate_u(&fit, model->rounds == 0);
		estimate_m(&fit, model->rounds == 0);
		estimate_frequencies(&fit);
		score_pairs(&fit, fit.pair, fit.npairs);
		score_pairs(&fit, fit.random, fit.nrandom);
		model->prior = settle_prior(&fit, fmax(before, 0.1 / records->nrecords));
		count_matched(&fit);
		model->converged = model->rounds > 1 && fabs(model->prior - before) < SETTLED * before;
	}
	if (options->related)
		fit_related(&fit);
	model->expected_matches = model->prior * match_total_pairs(records);
	for (int c = 0; c < ncomparisons; c++)
		kernel_release(fit.env, fit.matched[c]);
	kernel_release(fit.env, fit.pair);
	kernel_release(fit.env, fit.random);
	kernel_release(fit.env, fit.workspace);
}
