/*
 * profile.h
 *		Comparisons and blocking rules from the content of the columns alone, for a matcher that was given neither.
 *
 * Kinds: e-mail, date, code (mostly digits), text (three words or more), category (few values), name (the rest); keys
 * and constants say nothing. A column that contains two others in most rows is no comparison of its own (it would count
 * the same evidence twice) but its rare words still make candidates.
 */
#ifndef SALESOPS_MATCH_PROFILE_H
#define SALESOPS_MATCH_PROFILE_H

#include "match/comparison.h"
#include "match/pairs.h"

#define MATCH_MAX_PROFILE_COLUMNS 64

typedef enum MatchKind
{
	MATCH_KIND_EMPTY,
	MATCH_KIND_CONSTANT,
	MATCH_KIND_KEY,
	MATCH_KIND_EMAIL,
	MATCH_KIND_DATE,
	MATCH_KIND_CODE,
	MATCH_KIND_TEXT,
	MATCH_KIND_CATEGORY,
	MATCH_KIND_NAME
} MatchKind;

/* What a column of text is compared by instead of its folded values */
typedef enum MatchForm
{
	MATCH_FORM_PLAIN,
	MATCH_FORM_CODE,			/* letters and digits only */
	MATCH_FORM_HOST,			/* the host of a web address */
	MATCH_FORM_SORTED,			/* words in one order, where they come in several */
	MATCH_FORM_DAY_FIRST,		/* the day of a written date */
	MATCH_FORM_MONTH_FIRST
} MatchForm;

typedef struct MatchProfile
{
	int			ncolumns;
	MatchKind	kind[MATCH_MAX_PROFILE_COLUMNS];
	double		filled[MATCH_MAX_PROFILE_COLUMNS];	/* share of records with a value */
	uint64_t	contains[MATCH_MAX_PROFILE_COLUMNS];	/* bit b: this column's value contains column b's in most rows */
	bool		composite[MATCH_MAX_PROFILE_COLUMNS];	/* contains two others */
	bool		several_words[MATCH_MAX_PROFILE_COLUMNS];	/* most values are of two words and more */
	double		information[MATCH_MAX_PROFILE_COLUMNS];	/* -log2 of the chance that two records agree, times filled */
	int			ncomparisons;
	MatchComparison comparison[MATCH_MAX_COMPARISONS];
	int			nrules;
	MatchRule  *rule;
} MatchProfile;

typedef struct MatchProfileOptions
{
	double		pairs_per_record;	/* a rule by itself gives no more than this */
	double		pair_budget;	/* all rules together */
	int			max_rules;
	int32_t		rare_token;		/* largest block of the rare-word rule */
	int32_t		max_block;
} MatchProfileOptions;

extern MatchProfileOptions match_profile_defaults(void);
extern const char *match_kind_name(MatchKind kind);
extern MatchForm match_column_form(const MatchColumn *column, MatchKind kind, const KernelEnv *env);

/* Whether texts of a column have codes in them, as articles their model numbers, that deserve a comparison of their own */
extern bool match_holds_models(const MatchRecords *records, const MatchProfile *profile, int c);

/* Kinds and comparisons, then rules; the rules come without 'related' (match_relate_rules) */
extern void match_profile(MatchRecords *records, const MatchProfileOptions *options, MatchProfile *profile);
extern void match_profile_rules(MatchRecords *records, const MatchProfileOptions *options, MatchProfile *profile);

/* Which columns contain which, over a sample of rows; also for comparisons and rules that a user gave */
extern void match_containment(const MatchRecords *records, uint64_t *contains);
/* Set related of each rule: comparisons on its columns, on columns inside them, and on columns they are inside of */
extern void match_relate_rules(MatchRule *rules, int nrules, const MatchComparison *comparisons, int ncomparisons,
							   const uint64_t *contains);

#endif							/* SALESOPS_MATCH_PROFILE_H */
