/*
 * match_related_test.c
 *		The class of related pairs: families, who are related although some of them move; companies that have moved, who are not;
 *		sizes of articles, which are, also among many more goods of one brand. The matches that a fit expects are held against those
 *		that were generated.
 */
#include "tap.h"

#include "match/fit.h"
#include "match/profile.h"

#define COLUMNS 7
#define WIDTH 64

static uint64_t state = 5;

/* A small deterministic random number. */
static int
draw(int n)
{
	state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (int) ((state >> 33) % (uint64_t) n);
}

typedef struct Row
{
	char		cell[COLUMNS][WIDTH];
} Row;

/* An invented word of three syllables. */
static void
word(char *into, int room)
{
	static const char *const syllable[] = {"ba", "ce", "di", "fo", "gu", "ha", "je", "ki", "lo", "mu", "na", "pe", "qui", "ro", "su", "ta", "ve",
		"wi", "xo", "zu"};

	snprintf(into, (size_t) room, "%s%s%s", syllable[draw(20)], syllable[draw(20)], syllable[draw(20)]);
}

/* A copy with some values missing and some letters wrong. */
static Row
copy_row(const Row *row, int ncolumns)
{
	Row			copy = *row;

	for (int c = 0; c < ncolumns; c++)
	{
		size_t		length = strlen(copy.cell[c]);

		if (draw(100) < 8)
			copy.cell[c][0] = '\0';
		else if (draw(100) < 8 && length > 2)
			copy.cell[c][length / 2] = 'x';
	}
	return copy;
}

static void
add_row(MatchRecords *records, const Row *row)
{
	int32_t		record = match_records_add(records);

	for (int c = 0; c < records->ncolumns; c++)
	{
		if (row->cell[c][0] != '\0')
			match_records_set(records, record, c, row->cell[c], strlen(row->cell[c]));
	}
}

/* Fit with the defaults. */
static void
fit(MatchRecords *records, MatchModel *model)
{
	MatchProfile profile;
	MatchProfileOptions profile_options = match_profile_defaults();
	MatchFitOptions options = match_fit_defaults();
	MatchRules	rules;

	options.related = true;
	options.random_pairs = 2e5;
	match_profile(records, &profile_options, &profile);
	match_profile_rules(records, &profile_options, &profile);
	match_comparisons_prepare(records, profile.comparison, profile.ncomparisons, true);
	match_relate_rules(profile.rule, profile.nrules, profile.comparison, profile.ncomparisons, profile.contains);
	match_rules_build(&rules, records, profile.rule, profile.nrules);
	match_fit(records, profile.comparison, profile.ncomparisons, &rules, &options, model);
}

/* A street with a number, a town and a postal code. */
static void
move(Row *row, int street)
{
	char		name[WIDTH / 2];

	word(name, sizeof(name));
	snprintf(row->cell[street], WIDTH, "%d %s road", 1 + draw(300), name);
	snprintf(row->cell[street + 1], WIDTH, "%05d", 10000 + draw(80000));
}

/* Members of families, of whom some move: the others of the family are related, who has moved is himself. */
static void
check_families(void)
{
	KernelEnv	env = tap_env();
	MatchRecords records;
	MatchModel	model;
	int			matches = 0;

	match_records_init(&records, 6, &env);
	while (records.nrecords < 2000)
	{
		Row			home = {0};

		word(home.cell[1], WIDTH);
		move(&home, 3);
		snprintf(home.cell[5], WIDTH, "%09d", draw(1000000000));
		for (int member = 1 + draw(4); member > 0; member--)
		{
			Row			person = home;

			snprintf(person.cell[0], WIDTH, "%c%s", 'a' + draw(20), (const char *[]) {"nna", "lice", "tto", "rik"}[draw(4)]);
			snprintf(person.cell[2], WIDTH, "%04d-%02d-%02d", 1940 + draw(65), 1 + draw(12), 1 + draw(28));
			add_row(&records, &person);
			if (draw(2) == 0)
				continue;
			person = copy_row(&person, 6);
			if (draw(100) < 15)
				move(&person, 3);
			add_row(&records, &person);
			matches++;
		}
	}
	fit(&records, &model);
	ok(model.related_pairs > 800, "families: members are seen to be related (%.0f pairs)", model.related_pairs);
	ok(fabs(model.expected_matches - matches) < 0.06 * matches, "families: %.0f matches expected of %d", model.expected_matches, matches);
}

/* Companies of which some have moved: no class, and no match lost. */
static void
check_companies(void)
{
	KernelEnv	env = tap_env();
	MatchRecords records;
	MatchModel	model;
	int			matches = 0;

	match_records_init(&records, 6, &env);
	while (records.nrecords < 1500)
	{
		Row			company = {0};
		char		name[WIDTH / 2];

		word(company.cell[0], WIDTH);
		word(name, sizeof(name));
		strcat(company.cell[0], " ");
		strcat(company.cell[0], name);
		snprintf(company.cell[1], WIDTH, "DE%09d", draw(1000000000));
		snprintf(company.cell[2], WIDTH, "%09d", draw(1000000000));
		move(&company, 3);
		word(company.cell[5], WIDTH);
		add_row(&records, &company);
		if (draw(2) == 0)
			continue;
		company = copy_row(&company, 6);
		if (draw(100) < 15)
			move(&company, 3);
		add_row(&records, &company);
		matches++;
	}
	fit(&records, &model);
	ok(model.related == 0, "companies: who has moved is not another");
	ok(fabs(model.expected_matches - matches) < 0.03 * matches, "companies: %.0f matches expected of %d", model.expected_matches, matches);
}

/* Sizes of an article are related to one another. */
static void
check_articles(void)
{
	static const char *const size[] = {"small", "medium", "large", "huge", "18v", "12v"};
	static const char *const kind[] = {"tools", "kitchen", "audio", "bags"};
	KernelEnv	env = tap_env();
	MatchRecords records;
	MatchModel	model;
	int			matches = 0;

	match_records_init(&records, 6, &env);
	while (records.nrecords < 4500)
	{
		Row			line = {0};
		int			sizes = 1 + draw(3);

		snprintf(line.cell[0], WIDTH, "brand%c%covic", 'a' + draw(12), 'a' + draw(5));
		snprintf(line.cell[1], WIDTH, "%c%c-%d", 'a' + draw(20), 'a' + draw(20), 100 + draw(9000));
		snprintf(line.cell[2], WIDTH, "%s", kind[draw(4)]);
		for (int first = draw(6), s = 0; s < sizes; s++)
		{
			Row			article = line;

			snprintf(article.cell[3], WIDTH, "%d", 1500 + draw(40000));
			snprintf(article.cell[4], WIDTH, "%s", size[(first + s) % 6]);
			snprintf(article.cell[5], WIDTH, "%.10s %.8s the %.8s one", article.cell[0], article.cell[1], article.cell[4]);
			add_row(&records, &article);
			if (draw(2) == 0)
				continue;
			article = copy_row(&article, 6);
			if (draw(2) == 0)
				snprintf(article.cell[3], WIDTH, "%d", 1500 + draw(40000));
			add_row(&records, &article);
			matches++;
		}
	}
	fit(&records, &model);
	ok(model.related > 0, "articles: other sizes are seen to be related (%.0f pairs)", model.related_pairs);
	ok(model.expected_matches < 1.25 * matches && model.expected_matches > 0.75 * matches, "articles: %.0f matches expected of %d",
	   model.expected_matches, matches);
}

/* A title: an article's words, or most of them in any order. */
static void
title(Row *row, const char **words, int count, bool copied)
{
	row->cell[0][0] = '\0';
	for (int i = 0; i < count; i++)
	{
		if (copied)
		{
			int			other = i + draw(count - i);
			const char *word = words[other];

			words[other] = words[i];
			words[i] = word;
		}
		if (words[i][0] != '\0' && (!copied || draw(100) < 85))
			strcat(strcat(row->cell[0], row->cell[0][0] != '\0' ? " " : ""), words[i]);
	}
}

/*
 * Goods of many brands, of which few have several sizes: pairs of one brand and kind that nobody would take for matches are far more
 * than those of an article's sizes. Where titles are compared beside models, a class that is fitted to both is theirs, and the sizes stay
 * matches until it is fitted once more. Where titles are made up of what is compared anyway, the first fit tells the sizes apart, and a
 * second one would lose them again.
 */
static void
check_brands(const char *name, bool as_compared, uint64_t seed)
{
	static const char *const size[] = {"s", "m", "l", "xl", "18v", "12v", "1.7 l", "0.5 l"};
	static const char *const kind[] = {"tools", "kitchen", "audio", "bags"};
	static const char *const noun[4][4] = {{"cordless drill", "angle grinder", "jigsaw", "impact driver"},
	{"kettle", "stand mixer", "toaster", "espresso machine"}, {"wireless headphones", "soundbar", "bluetooth speaker", "soundbar"},
	{"laptop backpack", "travel trolley", "shoulder bag", "shoulder bag"}};
	static const char *const part[] = {"ander", "berg", "carl", "dal", "eng", "frank", "gold", "hart", "isak", "jen", "kauf", "lind", "mar", "nor", "ols",
	"peter", "quist", "rosen", "stein", "wal"};
	static const char *const ending[] = {"son", "sen", "mann", "berg", "er", "feld", "ov", "ova", "ini", "ez", "aux", "ley", "ton", "ström", "gren",
	"holm", "lund", "wald", "bach", "ner"};
	static const char *const more[] = {"new", "black", "original", "set", ""};
	KernelEnv	env = tap_env();
	MatchRecords records;
	MatchModel	fitted;
	char		brand[120][WIDTH / 3];
	int			matches = 0;

	state = seed;
	for (int b = 0; b < 120; b++)
	{
		/* a few names are common, most are rare; names are made of parts, as surnames are */
		int			x = (int) (400 * pow(draw(1000000) / 1e6, 2.5));

		snprintf(brand[b], sizeof(brand[b]), "%s%s", part[x % 20], ending[x / 20]);
	}
	match_records_init(&records, 6, &env);
	while (records.nrecords < 6000)
	{
		Row			line = {0};
		int			category = draw(4);
		const char *thing = noun[category][draw(4)];
		int			sizes = (const int[]) {1, 1, 1, 2, 3}[draw(5)];
		char		model[WIDTH / 4];

		snprintf(line.cell[1], WIDTH, "%s", brand[draw(120)]);
		/* the title has it as it is written, or as codes are compared */
		snprintf(model, sizeof(model), "%c%c-%d", "abcdeghklmprstx"[draw(15)], "abcdeghklmprstx"[draw(15)], 100 + draw(9900));
		snprintf(line.cell[2], WIDTH, "%.2s%s", model, model + 3);
		if (as_compared)
			snprintf(model, sizeof(model), "%.10s", line.cell[2]);
		snprintf(line.cell[3], WIDTH, "%s", kind[category]);
		for (int first = draw(8), s = 0; s < sizes; s++)
		{
			Row			article = line;
			int			price = 1500 + draw(38500);
			int			copies = (const int[]) {0, 0, 1, 1, 2}[draw(5)];
			const char *words[5] = {line.cell[1], model, thing, size[(first + s) % 8], ""};

			snprintf(article.cell[4], WIDTH, "%d", price);
			snprintf(article.cell[5], WIDTH, "%s", words[3]);
			title(&article, words, 4, false);
			add_row(&records, &article);
			for (int c = 0; c < copies; c++)
			{
				Row			copy = article;
				const char *mixed[5];

				for (int column = 1; column < 6; column++)
				{
					size_t		length = strlen(copy.cell[column]);

					if (draw(100) < 15)
						copy.cell[column][0] = '\0';
					else if (draw(100) < 8 && length > 2)
						copy.cell[column][draw((int) length)] = (char) ('a' + draw(26));
				}
				memcpy(mixed, words, sizeof(words));
				mixed[4] = more[draw(5)];
				title(&copy, mixed, 5, true);
				snprintf(copy.cell[3], WIDTH, "%s", article.cell[3]);
				snprintf(copy.cell[4], WIDTH, "%d", (int) (price * (const double[]) {1, 1, 0.95, 1.1}[draw(4)]));
				add_row(&records, &copy);
			}
			matches += copies * (copies + 1) / 2;
		}
	}
	fit(&records, &fitted);
	ok(fitted.related > 0, "%s: other sizes are seen to be related (%.0f pairs)", name, fitted.related_pairs);
	ok(fabs(fitted.expected_matches - matches) < 0.25 * matches, "%s: %.0f matches expected of %d", name,
	   fitted.expected_matches, matches);
}

int
main(void)
{
	check_families();
	check_companies();
	check_articles();
	check_brands("brands", false, 7919);
	check_brands("brands, titles of the rest", true, 31676);
	return done_testing();
}
