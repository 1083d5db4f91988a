/*
 * truth_pg.h
 *		What a query of the user's says is true, held against a run's records: in sorted temporary files beyond its part of
 *		maintenance_work_mem.
 */
#ifndef SALESOPS_MATCH_TRUTH_PG_H
#define SALESOPS_MATCH_TRUTH_PG_H

#include "match/matcher_pg.h"

typedef struct Truth Truth;

/* Run the query with the caller's rights, and hold it against the keys of all the run's records; before pairs are found */
extern Truth *truth_read(const MatcherRun *run, const char *query);
/* Rows whose keys are not there */
extern int64 truth_unknown_keys(const Truth *truth);

/* The truth as seen from the records that are loaded once pairs are found */
extern void truth_meet_records(Truth *truth, const MatcherRecords *loaded);

/* Whether two loaded records were found to match; of two relations a is the left one */
typedef bool (*TruthFound) (int32 a, int32 b, void *arg);
/*
 * Matching pairs of the truth in all, and how many of them were found: 'found' says of two loaded records whether they were. A truth of
 * clusters does not list its pairs: then *positive is left alone, and the found pairs are to be asked for one by one.
 */
extern bool truth_lists_pairs(const Truth *truth);
extern double truth_matches(Truth *truth, TruthFound found, void *arg, double *positive);
extern bool truth_same_cluster(const Truth *truth, int32 a, int32 b);

#endif							/* SALESOPS_MATCH_TRUTH_PG_H */
