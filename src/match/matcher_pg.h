/*
 * matcher_pg.h
 *		A matcher as the doors of this room see it: its definition, its records in memory, its fitted model.
 */
#ifndef SALESOPS_MATCH_MATCHER_PG_H
#define SALESOPS_MATCH_MATCHER_PG_H

#include "postgres.h"

#include "core/errors.h"
#include "core/spi.h"
#include "match/clusters.h"
#include "match/fit.h"
#include "match/profile.h"
#include "utils/jsonb.h"

#define MATCHER_MAX_COLUMNS 64
#define MATCHER_MAX_RULES 65
#define MATCHER_LOOKUP_ROWS 20000	/* rows that a look-up fetches at most */
#define MATCHER_LONGEST_NAME 255	/* bytes */
#define MATCHER_LONGEST_VALUE 4096	/* bytes: a longer value is compared by its beginning and a hash of the whole */

#define MATCHER_LOADING_SHARE 0.6	/* of maintenance_work_mem, while records are loaded; blocks, weights and profiles need the rest */

#define MATCHER_RELATED "(related records)"	/* what explanations call the class of related pairs */

typedef struct MatcherColumn
{
	char	   *expression;		/* over the relation's row, as given */
	bool		keep_text;
	bool		elements;		/* an array: each element is a key of its own */
} MatcherColumn;

typedef struct MatcherOptions
{
	int			max_block;
	char	   *right_relation;
	char	   *right_key;
	bool		one_to_one;
	int			seed;
	List	   *exclude;		/* columns that the defaults leave alone */
} MatcherOptions;

typedef struct Matcher
{
	char	   *name;
	Oid			relid;
	char	   *key;
	Oid			right_relid;	/* InvalidOid: duplicates within relid */
	char	   *right_key;
	MatcherOptions options;
	bool		auto_comparisons;	/* chosen from content, again at each training */
	bool		auto_blocking;
	int			ncolumns;
	MatcherColumn column[MATCHER_MAX_COLUMNS];
	int			ncomparisons;
	MatchComparison comparison[MATCH_MAX_COMPARISONS];
	char	   *comparison_name[MATCH_MAX_COMPARISONS];
	int			nrules;
	MatchRule	rule[MATCHER_MAX_RULES];
	Jsonb	   *model;			/* NULL before training */
	char	  **column_sql[2];	/* SQL of the columns over either relation, where it is at hand (cache_pg.c); else NULL */
	/* probability = logistic(slope * log2 odds + offset), from decisions; 1 and 0 without */
	double		slope;
	double		offset;
} Matcher;

/* Records with the text of their keys */
typedef struct MatcherRecords
{
	MatchRecords records;
	size_t	   *key_offset;		/* one more for the end */
	char	   *key_text;		/* keys, zero-terminated */
	uint64	   *key_number;		/* of keys that are whole numbers */
	size_t		key_used;
	size_t		key_room;
	int32		room;
	Size		budget;			/* bytes that loading may allocate; 0: no bound */
	bool		overflow;		/* it went beyond: the records are not all here */
	double		rows;			/* read, whether or not they went beyond */
	Size		bytes;			/* of values read so far */
	bool		share;			/* workers may still be asked to take columns over */
	struct MatcherInterning *interning; /* they have, until loading ends */
} MatcherRecords;

/* A value as it is compared; text is NULL where unknown */
typedef struct MatcherCell
{
	const char *text;
	size_t		length;
} MatcherCell;

typedef void (*MatcherRowCallback) (const MatcherCell *cells, int ncells, void *arg);

/* ---- matcher_pg.c: definitions ---- */
extern const char *const matcher_methods[];
extern Matcher *matcher_load(const char *name);
/* One comparison of a definition, and its options with their defaults: what is wrong goes to the problems */
extern void matcher_read_comparison(Matcher *matcher, Jsonb *json, bool stored, Problems *problems, int number);
extern void matcher_read_options(Matcher *matcher, Jsonb *json, Problems *problems);
/* Store comparisons and blocking of a matcher that is there already */
extern void matcher_store_definition(const Matcher *matcher);
/* The number of a column with this expression, added if new */
extern int	matcher_column(Matcher *matcher, const char *expression, bool keep_text);
/* SQL of a rule's key over the relation's row: what an index is made on and look-ups ask for */
extern char *matcher_rule_sql(const Matcher *matcher, const MatchRule *rule);
/* The same from what matcher_column_sql gave, where several rules are asked for */
extern char *matcher_rule_over(char *const *column, const MatchRule *rule);
/* For messages: the rule as a person would write it */
extern char *matcher_rule_name(const Matcher *matcher, const MatchRule *rule);
/* Columns as the given relation's SQL texts, checked by the parser */
extern char **matcher_column_sql(const Matcher *matcher, Oid relid);
/* The relations must be there still, and readable by the caller */
extern void matcher_require_relations(const Matcher *matcher);
/* The relation that lookups search: the right one of two */
extern Oid	matcher_lookup_relation(const Matcher *matcher);

/* ---- profile_pg.c: defaults from content ---- */
/* Returns the share of the records that they were chosen by: what fits into maintenance_work_mem */
extern double matcher_choose(Matcher *matcher);

/* ---- records_pg.c ---- */
/* All records while they take no more than so many bytes (0: any); false where they would. What rules only tell apart is keys_only. */
extern bool matcher_records_load_within(const Matcher *matcher, MatcherRecords *loaded, Size budget);
/* The same in the order of keys, of a share of the records: those that hashes of seed and key choose, the same ones every time */
extern bool matcher_records_load_share(const Matcher *matcher, MatcherRecords *loaded, Size budget, double share);
/* The same of all records or, where these exceed their part of maintenance_work_mem, of a share that does not: which. Into the current
 * memory context, which is reset first. */
extern double matcher_records_load_most(const Matcher *matcher, MatcherRecords *loaded);
/* Give back what only loading and messages need: keys, and the slots of values */
extern void matcher_records_strip(MatcherRecords *loaded);
/* The rows of one relation, not loaded but handed on: the key, then the columns */
extern void matcher_records_each(const Matcher *matcher, Oid relid, const char *key, MatcherRowCallback each, void *arg);
/* One more record from such cells */
extern void matcher_records_put(MatcherRecords *loaded, const char *const *cells, const uint32 *lengths);
/* Records whose texts are in the database's encoding */
extern void matcher_records_encoding(MatchRecords *records);
/* Empty records with the matcher's columns, in the current memory context; then rows of one relation that meet a condition */
extern void matcher_records_start(const Matcher *matcher, MatcherRecords *loaded);
extern void matcher_records_scan(const Matcher *matcher, MatcherRecords *loaded, Oid relid, const char *key, const char *condition,
								 int nargs, const SpiArg *args, bool ordered);
extern void matcher_records_add(MatcherRecords *loaded, const char *key, char **values);
/* A condition on the key of the one or other relation, with one argument: that it is among these */
extern char *matcher_keys_condition(Oid relid, const char *key, int nkeys, const char *const *keys, SpiArg *arg);
/* Only the records with these keys, of either relation */
extern void matcher_records_load_keys(const Matcher *matcher, MatcherRecords *loaded, int nkeys, const char *const *keys);
/* Prepare comparisons and rules over loaded records */
extern void matcher_prepare(Matcher *matcher, MatcherRecords *loaded, MatchRules *rules);
/* A hash of the key and the values of each record, in the current memory context; before match_records_finish */
extern uint64 *matcher_fingerprints(const MatcherRecords *loaded);
/* Warn of blocks that are too large; largest is a key in the largest of each rule, NULL where the records are loaded */
extern void matcher_report_blocks(const Matcher *matcher, const MatcherRecords *loaded, const char *const *largest);
extern bool matcher_utf8(void);

static inline const char *
matcher_key(const MatcherRecords *loaded, int32 record)
{
	return loaded->key_text + loaded->key_offset[record];
}

/* Order of two records' keys: whole numbers first, by value, else by bytes */
extern int	matcher_compare_keys(const MatcherRecords *loaded, int32 a, int32 b);

/* ---- train_pg.c ---- */
/* Read the stored model over loaded records; error where the matcher is not trained */
extern void matcher_model(const Matcher *matcher, const MatchRecords *records, MatchModel *model);
/* The two parts of that: tables without frequencies; frequencies of the values of one record, or of all, read by the values where they
 * are few or from end to end */
#define MATCHER_ALL_TERMS (-1)
#define MATCHER_FEW_TERMS (-2)
extern void matcher_model_tables(const Matcher *matcher, MatchModel *model);
/* Room for the frequencies of all values, each at the floor; false where no comparison has any */
extern bool matcher_start_frequencies(const Matcher *matcher, const MatchRecords *records, MatchModel *model);
typedef void (*MatcherTermCallback) (int comparison, uint64 hash, double frequency, void *arg);
extern void matcher_each_term(const Matcher *matcher, MatcherTermCallback each, void *arg);
extern void matcher_model_terms(const Matcher *matcher, const MatchRecords *records, int32 record, MatchModel *model);
extern TextWorkspace *matcher_workspace(const KernelEnv *env);

/* ---- decide_pg.c: what people decided of one record ---- */
typedef struct MatcherKeyDecisions
{
	int			count;
	char	  **other;			/* keys of the records that it was decided against */
	bool	   *confirmed;
} MatcherKeyDecisions;

/* The decisions about the record with this key (of two relations the left one's) */
extern MatcherKeyDecisions matcher_decisions_of(const Matcher *matcher, const char *key);

/* ---- index_pg.c ---- */
#define MATCHER_LOOKUP_RULES 8	/* rules of keys and arrays that a lookup uses, the narrowest; rare words besides */
/* Choose the rules of a lookup; returns how many */
extern int	matcher_lookup_rules(const Matcher *matcher, int *rules);

/* Where the records of a blocking key of one relation are looked up: an expression that has an index */
typedef struct MatcherLane
{
	char	   *expression;
	bool		array;			/* of several keys */
	int32		most;			/* records that a key may have to be paired */
} MatcherLane;

/* All rules' keys as SQL, of a matcher of one relation */
typedef struct MatcherLanes
{
	int			nlanes;
	MatcherLane lane[MATCHER_MAX_RULES];
	/* of each rule, as the matcher has them */
	char	   *key_sql[MATCHER_MAX_RULES];	/* the record's key, or its keys as an array */
	uint64		rule_id[MATCHER_MAX_RULES];
	int			lane_of[MATCHER_MAX_RULES];
} MatcherLanes;

extern MatcherLanes *matcher_lanes(const Matcher *matcher);
/* Whether each of them has its index */
extern bool matcher_lanes_indexed(const Matcher *matcher, const MatcherLanes *lanes);

/* ---- cache_pg.c: matchers compiled for look-ups ---- */
typedef struct MatcherCompiled
{
	Matcher    *matcher;		/* with column_sql; read only: who prepares comparisons works on a copy */
	int			nrules;
	int			rule[MATCHER_LOOKUP_RULES + 1]; /* numbers of the matcher's rules */
	char	   *candidate_sql;	/* a candidate's key, values and rule keys, from its row as jsonb $1 */
	char	   *own_sql;		/* the same from a row of the relation's own type */
	Oid			own_type;
	bool		trained;
	MatchModel	model;			/* without frequencies */
	MatcherLanes *lanes;		/* NULL until they are asked for */
} MatcherCompiled;

/* Its lanes, made at the first call */
extern const MatcherLanes *matcher_compiled_lanes(const MatcherCompiled *compiled);

/*
 * The matcher as the session keeps it, valid to the end of the transaction; NULL where there is none and that is no error.
 * decisions: whether people have decided anything.
 */
extern const MatcherCompiled *matcher_compiled(const char *name, bool missing_ok, bool *decisions);

/* ---- lookup_pg.c: one record against the relation ---- */
typedef struct MatcherHit
{
	char	   *key;
	int32		record;
	double		weight;
	double		probability;
	bool		confirmed;		/* people have decided so */
} MatcherHit;

typedef struct MatcherLookup
{
	Matcher    *matcher;
	const MatcherCompiled *compiled;
	MatcherRecords loaded;		/* record 0 is the candidate */
	char	   *rule_key[MATCHER_LOOKUP_RULES + 1];	/* the candidate's, as text; NULL where it has none */
	char	   *key;			/* the candidate's own; NULL where it has none */
	char	  **value;			/* the candidate's, by column */
	MatcherKeyDecisions decided;
	int			nhits;
	MatcherHit *hit;			/* best first */
	MatchModel	model;
	MatchScorer scorer;
} MatcherLookup;

/* Values and rule keys of a candidate, any row with columns named as the relation's; NULL where there is no such matcher or it is not
 * trained, and that is no error */
extern MatcherLookup *matcher_lookup_start(const char *name, Datum candidate, bool missing_ok);
/* A memory context for one look-up, which becomes the current one; after an error the caller's frees it */
extern MemoryContext matcher_lookup_context(void);
extern void matcher_lookup_done(MemoryContext context);
/* Search; a key to leave out may be NULL */
extern void matcher_lookup_run(MatcherLookup *lookup, double threshold, const char *not_key);
extern char *matcher_hit_reason(const MatcherLookup *lookup, int hit);

/* ---- found_pg.c ---- */
typedef struct MatcherPairs
{
	MatchEdge  *edge;			/* log2_odds with the prior; a before b in the order of keys */
	size_t		count;
	size_t		room;
} MatcherPairs;

extern void matcher_keep_pair(MatcherPairs *pairs, MemoryContext context, int32 a, int32 b, double log2_odds);

/* ---- find_pg.c ---- */

/* What people have decided of a pair of records */
typedef struct MatcherDecision
{
	uint64		pair;			/* lower record << 32 | higher record */
	bool		confirmed;
} MatcherDecision;

typedef struct MatcherSpill MatcherSpill;

/* Everything that scoring needs, in memory */
typedef struct MatcherRun
{
	Matcher    *matcher;
	MemoryContext context;
	MatcherRecords loaded;
	MatchRules	rules;
	MatchModel	model;
	MatchScorer scorer;
	int			ndecisions;
	MatcherDecision *decision;	/* ascending */
	const uint8 *among;			/* not NULL: only pairs of which a record is marked here */
	uint64	   *fingerprint;	/* of each record's key and values, where they were asked for and the records are in memory */
	uint64		skipped;		/* with them: of the blocks left out */
	bool		components;		/* whether this is wanted: */
	int32	   *component;		/* the least record that each hangs together with, made as clusters are found */
	MatcherSpill *spill;		/* where the records exceed maintenance_work_mem: loaded are those of pairs, once these are found */
} MatcherRun;

/* Load the records of some keys and the model, no rules, into a memory context of the run's own, and switch to it. */
extern MatcherRun *matcher_run_start_few(const MatcherCompiled *compiled, const char *command, int nkeys, const char *const *keys);
/* The same over all records with their rules, in memory or, beyond maintenance_work_mem, through temporary files */
extern MatcherRun *matcher_run_start_bounded(const char *name, const char *command, bool fingerprints);
extern void matcher_run_end(MatcherRun *run);
typedef void (*MatcherKeyCallback) (const char *key, size_t length, bool right, void *arg);
/* The key of every record; before pairs are found */
extern void matcher_each_key(const MatcherRun *run, MatcherKeyCallback each, void *arg);
/* Pairs of probability threshold and more, best first. Warns of blocks that are too large where 'report' says so */
extern void matcher_find_pairs(MatcherRun *run, double threshold, bool report, MatcherPairs *pairs);
/* The least weight whose probability is the threshold or more, fixed point */
extern int64 matcher_least_weight(const MatcherRun *run, double threshold);
/* Pairs that come from elsewhere: what people decided holds, and the lesser key is on the left */
extern void matcher_settle_pairs(MatcherRun *run, MatcherPairs *pairs);
/* Cluster number of each record by such pairs */
extern int32 *matcher_cluster_pairs(MatcherRun *run, MatcherPairs *pairs, int32 *count);
/* Cluster number of each record */
extern int32 *matcher_find_clusters(MatcherRun *run, double threshold, bool report, int32 *count);
/* The records in groups of two and more, by group and key; least is the record with the least key of each group */
extern int32 *matcher_grouped_members(MatcherRun *run, const int32 *cluster, int32 count, int32 **least, int32 *members);

/* Calibrated log2 odds of a weight in fixed point */
static inline double
matcher_odds(const Matcher *matcher, const MatchScorer *scorer, int64 weight)
{
	return matcher->slope * ((weight + scorer->prior) / MATCH_FIXED) + matcher->offset;
}

/* ---- spill_pg.c: the same pairs within maintenance_work_mem ---- */
extern MatcherSpill *matcher_spill_start(Matcher *matcher);
extern void matcher_spill_pairs(MatcherSpill *spill, int64 least, MatcherPairs *pairs);
/* Load the records of the pairs and those with decided keys, and number the pairs' ends by them */
extern void matcher_spill_finish(MatcherSpill *spill, const MatchRecords *decided, MatcherPairs *pairs, MatcherRecords *loaded);
extern void matcher_spill_each_key(const MatcherSpill *spill, MatcherKeyCallback each, void *arg);
extern int64 matcher_spill_prior(const MatcherSpill *spill);
/* The key of a record in the largest block left out of each rule */
extern const char *const *matcher_spill_largest(const MatcherSpill *spill);
/* The blocks of a rule that are too large: hashes, the key of a record in each, and how many it has; how many blocks */
extern int	matcher_spill_skipped(const MatcherSpill *spill, int rule, const uint64 **hash, char *const **member, const int32 **size);

/* ---- near_pg.c: what hangs together with some records, by indexes ---- */
typedef struct MatcherNear
{
	int			nkeys;
	const char **key;			/* of the records found and of those asked for, there or gone */
	const char **present;		/* of those that are there */
	int			npresent;
	MatcherPairs pairs;			/* among them, from the threshold on: numbers of keys */
	/* blocks that have become too large or are so still, with the number of changes at which they are counted again; or no longer */
	int			nblocks;
	uint64	   *block_rule;
	const char **block_key;
	int64	   *block_again;	/* 0: no longer */
} MatcherNear;

/* NULL where it is better to look at everything */
extern MatcherNear *matcher_near(const MatcherCompiled *compiled, double threshold, int64 changes, int nkeys, const char *const *keys);

/* ---- leave_pg.c: what update_clusters and refresh_matches leave for the next refresh_matches ---- */
/* What clusters depend on beside the records, as a text that differs where any of it does */
extern char *matcher_signature(const char *matcher, double threshold);
/* Records that hang together and are in more than one cluster, of those marked or all; scope: the keys that are replaced, NULL for all */
extern void matcher_leave_components(const MatcherRun *run, const int32 *cluster, const uint8 *among, SpiArg scope);
/* All blocks that are too large, once pairs are found and the state is stored */
extern void matcher_leave_blocks(MatcherRun *run);

/* ---- decide_pg.c ---- */
/* The keys that people have decided anything about, as the one column of records */
extern void matcher_decided_keys(const Matcher *matcher, const KernelEnv *env, MatchRecords *names);
/* The decisions about loaded records, ascending */
extern MatcherDecision *matcher_decisions(const Matcher *matcher, const MatcherRecords *loaded, int *count);
extern const MatcherDecision *matcher_decided(const MatcherRun *run, int32 a, int32 b);

#endif							/* SALESOPS_MATCH_MATCHER_PG_H */
