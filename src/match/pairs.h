/*
 * pairs.h
 *		Candidate pairs: records that share a block of any rule, each pair once over all rules, without remembering pairs.
 *
 * A rule gives each record one key (made of parts: columns, whole or their first code points; unknown where any part is)
 * or, as a token rule, a set of keys (the words of its columns). Blocks are numbered; records lie sorted by block. A pair
 * belongs to the first rule on whose block its records agree, so it is emitted there and nowhere else: whether an earlier
 * rule has it is a comparison of a few block numbers. Memory is a few integers a record and rule.
 *
 * A block of more records than the rule's max_block is left out, and counted; its records agree on nothing then, so that
 * other rules still find their pairs.
 */
#ifndef SALESOPS_MATCH_PAIRS_H
#define SALESOPS_MATCH_PAIRS_H

#include "match/records.h"

#define MATCH_MAX_PARTS 2		/* so that a combined key is exact in 64 bits */
#define MATCH_MAX_TOKEN_COLUMNS 16
#define MATCH_NO_BLOCK (-1)
#define MATCH_SEPARATOR '\x1f'	/* between the elements of a column that holds several keys */

typedef enum MatchRuleKind
{
	MATCH_RULE_KEY,				/* one key of a record */
	MATCH_RULE_TOKENS,			/* words of the columns: runs of letters and digits, at least two bytes long */
	MATCH_RULE_ELEMENTS			/* elements of the one column, separated by MATCH_SEPARATOR */
} MatchRuleKind;

/* A block that is too large to be paired */
typedef struct MatchSkipped
{
	int32_t		member;			/* a record in it */
	int32_t		count;
} MatchSkipped;

typedef struct MatchRule
{
	MatchRuleKind kind;
	int			nparts;			/* one where its column is keys_only */
	int			column[MATCH_MAX_TOKEN_COLUMNS];
	int			prefix[MATCH_MAX_TOKEN_COLUMNS];	/* code points; 0 is the whole value */
	int32_t		max_block;
	bool		report;			/* whether blocks left out are worth a word (rare tokens: no) */
	uint32_t	related;		/* comparisons that agreement on this rule says something about: bit c */
	/* made by match_rules_build */
	int32_t		nblocks;
	int32_t    *start;			/* of each block in member; one more for the end */
	int32_t    *member;			/* records by block, ascending inside one */
	int32_t    *first;			/* set rules: of each record in block; one more for the end */
	int32_t    *block;			/* set rules: ascending block numbers of each record */
	double		pairs;			/* in blocks not left out, whether or not another rule has them too */
	/* blocks left out */
	int32_t		skipped_blocks;
	double		skipped_pairs;
	int32_t		largest;		/* records in the largest one */
	int32_t		largest_member; /* one of them, or -1 */
	uint64_t   *skipped;		/* of each block left out: set rules' match_hash of the key */
	MatchSkipped *skipped_block;
	int32_t		nskipped;
	uint64_t	skipped_print;	/* of the keys of all blocks left out, whatever their order: it changes as they do */
} MatchRule;

typedef struct MatchRules
{
	const MatchRecords *records;
	int			nrules;
	MatchRule  *rule;
	int			nkeys;			/* rules of one key come first in key */
	int		   *key_of;			/* rule number -> place in key, -1 for set rules */
	int32_t    *key;			/* block of each record under each key rule: key[record * nkeys + place] */
} MatchRules;

typedef struct MatchPair
{
	int32_t		a;				/* the lower record; with two relations the left one */
	int32_t		b;
} MatchPair;

extern void match_rules_build(MatchRules *rules, MatchRecords *records, MatchRule *rule, int nrules);
extern void match_rules_free(MatchRules *rules);
/* Set rules behind the others, as match_rules_build has them */
extern int	match_rules_order(MatchRule *rule, int nrules);

/* Bytes of the first n characters */
extern size_t match_prefix_bytes(const MatchRecords *records, const char *text, size_t length, int n);
/* The next key of a set rule in a text: its place and length; false at the end. *position is 0 to begin with */
extern bool match_next_key(const MatchRule *rule, const char *text, size_t length, size_t *position, size_t *start, size_t *key_length);

/* Words of a text: calls back with each one's place; used for token rules here and for the index expression outside */
extern size_t match_next_token(const char *text, size_t length, size_t *position, size_t *token_length);

/* Whether the two agree on a rule */
extern bool match_rule_agrees(const MatchRules *rules, int r, int32_t a, int32_t b);
/* Whether they agree on any */
extern bool match_is_candidate(const MatchRules *rules, int32_t a, int32_t b);

/*
 * A walk over the candidate pairs: match_walk_next fills up to room pairs and returns their number, 0 at the end. With
 * one_rule >= 0 all pairs of that rule alone, else each pair of all rules once.
 */
typedef struct MatchWalk
{
	const MatchRules *rules;
	int			rule;
	int			last_rule;		/* where to stop, exclusive */
	bool		alone;
	const uint8_t *among;		/* not NULL: pairs of which a record is marked here, no others */
	int32_t		block;
	int32_t		i;
	int32_t		j;
} MatchWalk;

extern void match_walk_start(MatchWalk *walk, const MatchRules *rules, int one_rule);
extern int	match_walk_next(MatchWalk *walk, MatchPair *pairs, int room);
/* How far a walk is, in pairs of blocks, of the sum of rule.pairs: for progress */
extern double match_rules_pairs(const MatchRules *rules);

#endif							/* SALESOPS_MATCH_PAIRS_H */
