/*
 * match_fit_test.c
 *		Levels, expectation maximisation, the fitting recipe on generated records whose answer is known, clusters.
 */
#include "tap.h"

#include "match/clusters.h"
#include "match/fit.h"
#include "match/profile.h"

static uint64_t state = 11;

/* Uniform in [0, 1). */
static double
uniform(void)
{
	state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (double) (state >> 11) / 9007199254740992.0;
}

/* Level of two texts under a method. */
static int
level_of(MatchMethod method, int nthresholds, const double *threshold, const char *a, const char *b)
{
	KernelEnv	env = tap_env();
	MatchRecords records;
	MatchComparison comparison = {.method = method, .nthresholds = nthresholds, .swapped_with = -1};
	TextWorkspace *workspace = calloc(1, sizeof(TextWorkspace));
	int			level;

	workspace->env = &env;
	memcpy(comparison.threshold, threshold, sizeof(double) * (size_t) nthresholds);
	match_records_init(&records, 1, &env);
	match_records_set(&records, match_records_add(&records), 0, a, strlen(a));
	match_records_set(&records, match_records_add(&records), 0, b, strlen(b));
	match_comparisons_prepare(&records, &comparison, 1, true);
	level = match_pattern_level(match_pattern(&records, &comparison, 1, workspace, 0, 1), 0);
	free(comparison.view);
	free(comparison.number);
	if (comparison.gram != NULL)
	{
		for (int v = 0; v < records.column[0].nvalues; v++)
			free(comparison.gram[v]);
	}
	free(comparison.gram);
	match_records_free(&records);
	free(workspace);
	return level;
}

/* Each method's levels. */
static void
check_levels(void)
{
	const double names[] = {0.95, 0.88};
	const double edits[] = {1, 2};
	const double days[] = {31, 366};
	const double grams[] = {0.8, 0.4};

	is_int(level_of(MATCH_JARO_WINKLER, 2, names, "martha", "martha"), 3, "equal is the top level");
	/* Winkler (1990): MARTHA, MARHTA .961; DWAYNE, DUANE .84 */
	is_int(level_of(MATCH_JARO_WINKLER, 2, names, "martha", "marhta"), 2, "Jaro-Winkler .961");
	is_int(level_of(MATCH_JARO_WINKLER, 2, names, "dwayne", "duane"), 0, "Jaro-Winkler .84");
	is_int(level_of(MATCH_DAMERAU_LEVENSHTEIN, 2, edits, "1971-06-24", "1971-06-42"), 2, "a transposition is one edit");
	is_int(level_of(MATCH_LEVENSHTEIN, 2, edits, "1971-06-24", "1971-06-42"), 1, "but two for Levenshtein");
	is_int(level_of(MATCH_DATE_DIFFERENCE, 2, days, "2024-02-28", "2024-03-01"), 2, "two days over a leap day");
	is_int(level_of(MATCH_DATE_DIFFERENCE, 2, days, "19990101", "19991231"), 1, "within a year, as eight digits");
	is_int(level_of(MATCH_DATE_DIFFERENCE, 2, days, "2024-02-28", "soon"), 0, "no date is no match");
	is_int(level_of(MATCH_NUMERIC_DIFFERENCE, 2, edits, "10.5", "12"), 1, "numeric difference");
	is_int(level_of(MATCH_NGRAM, 2, grams, "efficient query processing", "efficient query procesing"), 2, "trigrams: one letter of 26 touches three of them");
	is_int(level_of(MATCH_EXACT, 0, grams, "a", "b"), 0, "exact differs");
}

/* EM finds the parameters that the patterns were made with. */
static void
check_em(void)
{
	KernelEnv	env = tap_env();
	MatchTables tables = {.ncomparisons = 3, .nlevels = {2, 2, 2}};
	const double m[] = {0.9, 0.8, 0.7};
	const double u[] = {0.1, 0.05, 0.2};
	MatchTally	tally;
	MatchPattern *patterns;
	uint32_t	count;
	MatchEmOptions options = {.free = 7, .start_prior = 0.4, .max_iterations = 5000, .tolerance = 1e-9};
	MatchEmResult result;

	match_tally_init(&tally, &env);
	for (int pattern = 0; pattern < 8; pattern++)
	{
		double		match = 0.2;
		double		other = 0.8;
		uint64_t	levels = 0;

		for (int c = 0; c < 3; c++)
		{
			int			level = pattern >> c & 1;

			match *= level ? m[c] : 1 - m[c];
			other *= level ? u[c] : 1 - u[c];
			levels |= (uint64_t) (level + 1) << (c * MATCH_LEVEL_BITS);
		}
		match_tally_add(&tally, levels, 1e5 * (match + other));
	}
	patterns = match_tally_finish(&tally, &count);
	for (int c = 0; c < 3; c++)
	{
		tables.m[c][1] = 0.6;
		tables.m[c][0] = 0.4;
		tables.u[c][1] = 0.3;
		tables.u[c][0] = 0.7;
	}
	result = match_em(&env, patterns, count, &options, &tables);
	ok(result.converged, "EM converges");
	is_double(result.prior, 0.2, 1e-4, "share of matches");
	for (int c = 0; c < 3; c++)
	{
		is_double(tables.m[c][1], m[c], 1e-4, "m");
		is_double(tables.u[c][1], u[c], 1e-4, "u");
	}
	free(patterns);
}

/* Chains of weak bridges fall apart; numbers do not depend on the edges' order. */
static double
two_groups(void *context, int32_t a, int32_t b)
{
	(void) context;
	if (a > b)
		return two_groups(context, b, a);
	if ((a < 3) == (b < 3))
		return 5;
	return a == 2 && b == 3 ? 4 : -8;
}

/* Average linkage against a chain. */
static void
check_clusters(void)
{
	KernelEnv	env = tap_env();
	MatchEdge	edges[] = {{2, 3, 4}, {4, 5, 5}, {0, 1, 5}, {1, 2, 5}, {3, 4, 5}};
	MatchEdge	pairs[] = {{0, 4, 3}, {0, 3, 5}, {1, 3, 6}, {1, 4, 1}, {2, 5, 2}};
	int32_t		cluster[7];

	is_int(match_cluster(&env, 7, edges, 5, MATCH_CUT, two_groups, NULL, cluster), 3, "two groups and one alone");
	ok(cluster[0] == cluster[1] && cluster[1] == cluster[2] && cluster[3] == cluster[4] && cluster[4] == cluster[5] &&
	   cluster[2] != cluster[3], "the weak bridge is cut");
	is_int(match_one_to_one(&env, 6, pairs, 5), 3, "one to one keeps three");
	ok(pairs[0].a == 1 && pairs[0].b == 3 && pairs[1].a == 0 && pairs[1].b == 4, "the best first, then what is free");
}

static const char *const first_names[] = {"anna", "berta", "carla", "dora", "emil", "fritz", "gustav", "hans", "ida", "jakob", "karl",
	"ludwig", "marta", "nora", "otto", "paula", "quirin", "rosa", "sofia", "theo"};

/* A record of a generated person: name, birthday, city, phone; some values of the second copy differ. */
static void
add_person(MatchRecords *records, int person, bool copy)
{
	int32_t		record = match_records_add(records);
	char		text[5][40];

	snprintf(text[0], 40, "%s", first_names[(person * 7) % 20]);
	snprintf(text[1], 40, "%c%c%cer%d", 'a' + person % 23, 'a' + person / 23 % 23, 'a' + person % 7, person % 50);
	snprintf(text[2], 40, "19%02d-%02d-%02d", person % 90, 1 + person % 12, 1 + person % 28);
	snprintf(text[3], 40, "city %d", person % 17);
	snprintf(text[4], 40, "0170 %07d", (person * 7919) % 10000000);
	for (int c = 0; c < 5; c++)
	{
		if (copy && uniform() < 0.15)
			continue;
		if (copy && uniform() < 0.15 && c != 3)
			text[c][strlen(text[c]) - 1] = 'x';
		match_records_set(records, record, c, text[c], strlen(text[c]));
	}
}

/* The whole recipe: kinds, rules, fit, scores. */
static void
check_fit(void)
{
	KernelEnv	env = tap_env();
	MatchRecords records;
	MatchProfile profile;
	MatchProfileOptions profile_options = match_profile_defaults();
	MatchFitOptions fit_options = match_fit_defaults();
	MatchRules	rules;
	MatchModel	model;
	MatchScorer scorer;
	TextWorkspace *workspace = calloc(1, sizeof(TextWorkspace));
	double		positive = 0;
	double		found = 0;

	workspace->env = &env;
	match_records_init(&records, 5, &env);
	for (int person = 0; person < 400; person++)
	{
		add_person(&records, person, false);
		if (person % 2 == 0)
			add_person(&records, person, true);
	}
	match_profile(&records, &profile_options, &profile);
	is_int(profile.kind[0], MATCH_KIND_NAME, "first names are names");
	is_int(profile.kind[2], MATCH_KIND_DATE, "dates are dates");
	is_int(profile.kind[4], MATCH_KIND_CODE, "phones are codes");
	is_int(profile.ncomparisons, 5, "all columns are compared");
	match_profile_rules(&records, &profile_options, &profile);
	ok(profile.nrules > 3, "several blocking rules");
	match_comparisons_prepare(&records, profile.comparison, profile.ncomparisons, true);
	match_relate_rules(profile.rule, profile.nrules, profile.comparison, profile.ncomparisons, profile.contains);
	match_rules_build(&rules, &records, profile.rule, profile.nrules);
	fit_options.random_pairs = 1e5;
	match_fit(&records, profile.comparison, profile.ncomparisons, &rules, &fit_options, &model);
	ok(model.expected_matches > 160 && model.expected_matches < 240, "expects about 200 matches: %.1f", model.expected_matches);
	match_scorer_init(&scorer, &records, profile.comparison, &model, workspace);
	for (int32_t a = 0; a < records.nrecords; a++)
	{
		for (int32_t b = a + 1; b < records.nrecords; b++)
		{
			int64_t		least = -scorer.prior;
			int64_t		weight = match_score(&scorer, a, b);
			int64_t		quick = match_score_least(&scorer, a, b, least);

			if (quick != (weight >= least ? weight : INT64_MIN))
			{
				ok(false, "giving up early changes the answer for %d and %d", a, b);
				return;
			}
			if (weight >= least)
			{
				found++;
				/* persons 2k and 2k + 1 take three records: 3k, its copy 3k + 1, 3k + 2 */
				positive += b == a + 1 && a % 3 == 0;
			}
		}
	}
	ok(true, "giving up early never changes an answer");
	ok(positive / found > 0.98, "precision %.3f", positive / found);
	ok(positive / 200 > 0.95, "recall %.3f", positive / 200);
}

int
main(void)
{
	check_levels();
	check_em();
	check_clusters();
	check_fit();
	return done_testing();
}
