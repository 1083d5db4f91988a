/*
 * em.h
 *		Fellegi and Sunter's (1969) model of record linkage fitted without labels by expectation maximisation (Winkler 1988).
 *
 * m is the probability of a level among pairs that match, u among pairs that do not, both given that the level is known.
 * Pairs come as level patterns (comparison.h) with counts.
 */
#ifndef SALESOPS_MATCH_EM_H
#define SALESOPS_MATCH_EM_H

#include "match/comparison.h"

typedef struct MatchPattern
{
	uint64_t	levels;
	double		count;
} MatchPattern;

/* Counts patterns: open addressing, grows by itself */
typedef struct MatchTally
{
	const KernelEnv *env;
	MatchPattern *slot;
	uint32_t	nslots;
	uint32_t	used;
} MatchTally;

extern void match_tally_init(MatchTally *tally, const KernelEnv *env);
extern void match_tally_add(MatchTally *tally, uint64_t levels, double count);
/* The patterns as an array in ascending order (so that sums do not depend on the hash); the tally is then empty */
extern MatchPattern *match_tally_finish(MatchTally *tally, uint32_t *count);

typedef struct MatchTables
{
	int			ncomparisons;
	int			nlevels[MATCH_MAX_COMPARISONS];
	double		m[MATCH_MAX_COMPARISONS][MATCH_MAX_LEVELS];
	double		u[MATCH_MAX_COMPARISONS][MATCH_MAX_LEVELS];
	double		r[MATCH_MAX_COMPARISONS][MATCH_MAX_LEVELS]; /* among related pairs, where the model has such (fit.h) */
} MatchTables;

typedef struct MatchEmResult
{
	double		prior;			/* share of matches among the pairs of this pass */
	double		pairs;
	double		log_likelihood;
	int			iterations;
	bool		converged;
	double		weight[MATCH_MAX_COMPARISONS];	/* expected matches with a known level: how much m rests on */
} MatchEmResult;

typedef struct MatchEmOptions
{
	uint32_t	free;			/* comparisons used and estimated: bit c */
	double		u_strength;		/* pseudo-pairs behind the given u; infinity keeps u fixed */
	double		m_strength;		/* pseudo-pairs behind the given m */
	double		start_prior;
	int			max_iterations;
	double		tolerance;		/* largest change of a probability at which it has converged */
} MatchEmOptions;

/* EM from the tables given, which it changes in place (free comparisons only). */
extern MatchEmResult match_em(const KernelEnv *env, const MatchPattern *patterns, uint32_t count, const MatchEmOptions *options,
							  MatchTables *tables);

/* Natural logarithm of the Bayes factor of a pattern, over the comparisons in the mask */
extern double match_log_factor(const MatchTables *tables, uint64_t levels, uint32_t mask);

#endif							/* SALESOPS_MATCH_EM_H */
