/*
 * clusters.h
 *		From scored pairs to groups: components by union-find, cut at weak bridges by average linkage; or one to one.
 */
#ifndef SALESOPS_MATCH_CLUSTERS_H
#define SALESOPS_MATCH_CLUSTERS_H

#include "core/kernel.h"

typedef struct MatchEdge
{
	int32_t		a;
	int32_t		b;
	double		log2_odds;		/* of a match */
} MatchEdge;

/* Mean log2 odds below which two groups stay apart */
#define MATCH_CUT (-2.0)
/* Evidence against a pair counts no more than this when it is averaged: for the caller's odds function */
#define MATCH_LEAST_ODDS (-40.0)
/* Odds that decide by themselves whatever they are averaged with: pairs confirmed or rejected by people */
#define MATCH_DECIDED_ODDS 1e6
/* Records of a component that are clustered together; a larger one is first cut at its weakest edges */
#define MATCH_LARGEST_COMPONENT 1500

/* log2 odds of any two records, also those that no rule makes candidates */
typedef double (*MatchOdds) (void *context, int32_t a, int32_t b);

/*
 * Cluster of each of n records, numbered from 0 by their least record. The edges are those that can hold a group together
 * (at least the caller's threshold); they are sorted in place. Within a component every pair is scored; the two groups with
 * the highest mean are joined while that is at least cut. Returns the number of clusters.
 */
extern int32_t match_cluster(const KernelEnv *env, int32_t n, MatchEdge *edges, size_t nedges, double cut,
							 MatchOdds odds, void *context, int32_t *cluster);

/* The least record that each of n records hangs together with over the edges, whatever their order: plain connected components */
extern void match_components(const KernelEnv *env, int32_t n, const MatchEdge *edges, size_t nedges, int32_t *least);

/* Keep the best edges such that no record has two: greedy, by weight; returns how many remain, best first. */
extern size_t match_one_to_one(const KernelEnv *env, int32_t n, MatchEdge *edges, size_t nedges);

#endif							/* SALESOPS_MATCH_CLUSTERS_H */
