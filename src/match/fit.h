/*
 * fit.h
 *		A linkage model from unlabelled records: the recipe around em.h, and the scores that come out of it.
 *
 * u comes from random pairs, each weighted by how likely it is no match; m from EM on narrow blocking passes, each without
 * the comparisons its own rule says something about, with a u of its own that is held near the common one; the term
 * frequency of a value leaves out the value's own duplicates; the prior (how likely any two records match) is the fixed
 * point of the sum of probabilities over all candidate pairs. The steps are repeated until the prior settles.
 *
 * Related pairs. Members of a household share surname, address and phone, colleagues their company: many columns at once, and no match.
 * Two classes would count each of them as independent evidence. So where the pairs that look like matches fall into two kinds, of which
 * one is no better than chance in columns that tell a lot, that kind becomes a third class with probabilities r of its own: a pair's
 * weight is log2(m / (u + odds of being related * r)), of products over the comparisons. Where what looks like matches is of two kinds even
 * then, more numerous pairs that nobody would take for matches have made the class theirs, and it is fitted once more without them.
 */
#ifndef SALESOPS_MATCH_FIT_H
#define SALESOPS_MATCH_FIT_H

#include "match/em.h"
#include "match/pairs.h"

#define MATCH_MAX_PASSES 24
#define MATCH_FIXED 65536.0		/* fixed-point weights: bits times this; sums of integers do not depend on their order */

typedef struct MatchFitOptions
{
	double		random_pairs;	/* how many to draw for u */
	double		pair_budget;	/* candidate pairs held at once; beyond, a sample of that size is fitted */
	double		narrow;			/* most pairs a record of a pass that m is estimated on */
	double		u_strength;		/* pseudo-pairs that hold a pass's own u */
	int			rounds;
	int			em_iterations;
	double		em_tolerance;
	bool		related;		/* look for a class of related pairs */
	uint64_t	seed;
} MatchFitOptions;

extern MatchFitOptions match_fit_defaults(void);

typedef struct MatchPass
{
	int			rule;
	MatchEmResult em;
} MatchPass;

typedef struct MatchModel
{
	MatchTables tables;
	double		prior;			/* probability that two records taken at random match */
	double		related;		/* odds that two records that do not match are related; 0: the model has no such class */
	/* relative frequency that stands for u at equal values, by value; NULL without term frequency */
	double	   *frequency[MATCH_MAX_COMPARISONS];
	double		floor[MATCH_MAX_COMPARISONS];	/* that of a value not listed */
	bool		estimated[MATCH_MAX_COMPARISONS];	/* false: m rests on no pass */
	/* how the fit went */
	int			rounds;
	bool		converged;
	double		expected_matches;
	double		candidate_pairs;	/* seen, each once */
	double		sampled;		/* share of the candidate pairs that was fitted */
	double		related_pairs;	/* expected */
	int			npasses;
	MatchPass	pass[MATCH_MAX_PASSES];
} MatchModel;

extern void match_fit(MatchRecords *records, const MatchComparison *comparisons, int ncomparisons, const MatchRules *rules,
					  const MatchFitOptions *options, MatchModel *model);

/* Weights of a model ready to add up: fixed point, cheap comparisons first, and what is still to be had after each. */
typedef struct MatchScorer
{
	const MatchRecords *records;
	const MatchComparison *comparison;
	int			ncomparisons;
	int			order[MATCH_MAX_COMPARISONS];
	int32_t		weight[MATCH_MAX_COMPARISONS][MATCH_MAX_LEVELS];
	int32_t    *term[MATCH_MAX_COMPARISONS];	/* weight of equality by value, or NULL */
	/* the same for related against unrelated, and the log2 odds of being related; only where has_related */
	bool		has_related;
	int64_t		related;
	int32_t		related_weight[MATCH_MAX_COMPARISONS][MATCH_MAX_LEVELS];
	int32_t    *related_term[MATCH_MAX_COMPARISONS];
	int32_t		best[MATCH_MAX_COMPARISONS];	/* most that a comparison can add */
	int32_t		best_unequal[MATCH_MAX_COMPARISONS];	/* most that it can add where values differ */
	int64_t		rest[MATCH_MAX_COMPARISONS + 1];	/* most that the comparisons from this place on can add */
	int64_t		prior;			/* log2 odds of the prior, fixed point */
	int32_t    *code;			/* values of each record side by side, by comparison */
	TextWorkspace *workspace;
} MatchScorer;

extern void match_scorer_init(MatchScorer *scorer, const MatchRecords *records, const MatchComparison *comparisons,
							  const MatchModel *model, TextWorkspace *workspace);
/* log2 odds of the prior */
extern int64_t match_fixed_prior(const MatchModel *model);
/* log2 of the Bayes factor, fixed point */
extern int64_t match_score(const MatchScorer *scorer, int32_t a, int32_t b);
/* The same, given up (INT64_MIN) as soon as it cannot reach 'least' */
extern int64_t match_score_least(const MatchScorer *scorer, int32_t a, int32_t b, int64_t least);
/* Fetch what scoring a pair will read */
static inline void
match_score_prefetch(const MatchScorer *scorer, int32_t a, int32_t b)
{
	__builtin_prefetch(scorer->code + (size_t) a * scorer->ncomparisons);
	__builtin_prefetch(scorer->code + (size_t) b * scorer->ncomparisons);
}

/* What a pair's weight loses since it might be of related records: 0 or less; the pair's levels as match_pattern gives them */
extern int64_t match_related_weight(const MatchScorer *scorer, uint64_t pattern, int32_t a);
/* Weight of comparison c at a level; code is the common value where the level is the top one */
extern int32_t match_weight(const MatchScorer *scorer, int c, int level, int32_t code);
extern double match_probability(double log2_odds);

#endif							/* SALESOPS_MATCH_FIT_H */
