/*
 * profile.c
 *		Column kinds, containment, swaps and blocking rules by content. The thresholds held on seven data sets unseen by each
 *		other; they are properties of kinds of data, not of these sets.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "match/forms.h"
#include "match/profile.h"

#define MOST 0.8				/* share of values that decides a kind */
#define CONTAINED 0.7			/* share of rows that makes a column contain another */
#define SAMPLE_ROWS 3000
#define SHORTEST_CONTAINED 3	/* bytes: shorter values are in anything */
#define SWAPS_OVER_CHANCE 4.0
#define LEAST_SWAPS 3.0
#define FEW_VALUES 30
#define MANY_PER_VALUE 20
#define NAME_PREFIX 4
#define YEAR_PREFIX 4
#define LEAST_REORDERED 3		/* values that hold the words of another in another order, beside the share */
#define REORDERED 0.01
#define MODELS 0.5				/* share of texts with a code in them */

MatchProfileOptions
match_profile_defaults(void)
{
	MatchProfileOptions options = {
		.pairs_per_record = 50,
		.pair_budget = 1.2e8,
		.max_rules = 64,
		.rare_token = 60,
		.max_block = 5000,
	};

	return options;
}

const char *
match_kind_name(MatchKind kind)
{
	static const char *const names[] = {"empty", "constant", "key", "e-mail", "date", "code", "text", "category", "name"};

	return names[kind];
}

/* ---- kinds ---- */

typedef struct Shape
{
	double		values;			/* records seen */
	double		emails;
	double		dates;
	double		codes;
	double		words;
	double		blanks;			/* with a blank inside */
	double		numbered;		/* with a digit, or a time of day */
} Shape;

/* Something @ something . something, without blanks. */
static bool
looks_like_email(const char *text, size_t length)
{
	const char *at = memchr(text, '@', length);

	return at != NULL && at > text && memchr(at, '.', length - (size_t) (at - text)) != NULL && memchr(text, ' ', length) == NULL;
}

/* Any digit. */
static bool
has_digit(const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++)
	{
		if (text[i] >= '0' && text[i] <= '9')
			return true;
	}
	return false;
}

/* A date between 1500 and 2200. */
static bool
looks_like_date(const char *text, size_t length)
{
	double		days = match_parse_date(text, length);

	return days > -171661.0 && days < 84006.0;
}

/* A day between 1500 and 2200; a time of day other than midnight makes it a moment, which names events, not people. */
static bool
looks_like_day(const char *text, size_t length)
{
	return looks_like_date(text, length) && (length <= 10 || strncmp(text + 10, " 00:00:00", 9) == 0);
}

/* At least half of the letters and digits are digits. */
static bool
looks_like_code(const char *text, size_t length)
{
	size_t		digit = 0;
	size_t		letter = 0;

	for (size_t i = 0; i < length; i++)
	{
		unsigned char c = (unsigned char) text[i];

		digit += c >= '0' && c <= '9';
		letter += (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c >= 0x80;
	}
	return digit > 0 && digit * 2 >= letter + digit;
}

/* Words of a text. */
static int
count_words(const char *text, size_t length)
{
	size_t		position = 0;
	size_t		token_length;
	int			words = 0;

	for (;;)
	{
		match_next_token(text, length, &position, &token_length);
		if (token_length == 0)
			return words;
		words++;
	}
}

/* What a column's values look like, weighted by their records. */
static Shape
column_shape(const MatchColumn *column)
{
	Shape		shape = {0};

	for (int32_t v = 0; v < column->nvalues; v++)
	{
		const char *text = match_value(column, v);
		size_t		length = match_value_length(column, v);
		double		n = column->count[v];

		shape.values += n;
		shape.emails += n * looks_like_email(text, length);
		shape.dates += n * looks_like_day(text, length);
		shape.codes += n * looks_like_code(text, length);
		shape.words += n * count_words(text, length);
		shape.blanks += n * (memchr(text, ' ', length) != NULL && !looks_like_date(text, length));
		shape.numbered += n * has_digit(text, length);
	}
	return shape;
}

/* Chance that two records with a value agree. */
static double
agreement(const MatchColumn *column, double values)
{
	double		pairs = 0;

	for (int32_t v = 0; v < column->nvalues; v++)
		pairs += column->count[v] * (column->count[v] - 1.0);
	return values > 1 ? (pairs + 0.5) / (values * (values - 1)) : 1;
}

/* The kind of a column by its values, and whether most of them are of several words. */
static MatchKind
column_kind(const MatchColumn *column, bool *several_words)
{
	Shape		shape = column_shape(column);
	bool		distinct = column->nvalues == (int32_t) shape.values;

	*several_words = shape.blanks >= 0.5 * shape.values;

	if (column->nvalues == 0)
		return MATCH_KIND_EMPTY;
	if (column->nvalues == 1)
		return MATCH_KIND_CONSTANT;
	if (shape.emails >= MOST * shape.values)
		return MATCH_KIND_EMAIL;
	if (shape.dates >= MOST * shape.values)
		return MATCH_KIND_DATE;
	/* names of a small relation may all differ too, but they have no digits */
	if (distinct && shape.values > 50 && shape.blanks < 0.5 * shape.values && shape.numbered >= MOST * shape.values)
		return MATCH_KIND_KEY;
	if (column->nvalues <= FEW_VALUES && shape.values >= MANY_PER_VALUE * (double) column->nvalues)
		return MATCH_KIND_CATEGORY;
	if (shape.codes >= MOST * shape.values)
		return MATCH_KIND_CODE;
	if (shape.words >= 3 * shape.values)
		return MATCH_KIND_TEXT;
	return MATCH_KIND_NAME;
}

/* ---- forms ---- */

/* Whether a date is written as 3/4/1999 or 3-4-1999: with the month in letters or behind dots it does not say how others write theirs. */
static bool
is_open_date(const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++)
	{
		if (!(text[i] >= '0' && text[i] <= '9') && text[i] != '/' && text[i] != '-')
			return false;
	}
	return true;
}

/* Whether most values are written dates, and if so, whether the day stands first where the numbers leave it open. */
static bool
holds_written_days(const MatchColumn *column, bool *day_first)
{
	double		values = 0;
	double		days = 0;
	double		orders[3] = {0};

	for (int32_t v = 0; v < column->nvalues; v++)
	{
		char		day[MATCH_DAY_BYTES];
		MatchDayOrder order;

		values += column->count[v];
		if (!match_day_form(match_value(column, v), match_value_length(column, v), true, day, &order))
			continue;
		days += column->count[v] * looks_like_date(day, MATCH_DAY_BYTES - 1);
		if (is_open_date(match_value(column, v), match_value_length(column, v)))
			orders[order] += column->count[v];
	}
	*day_first = orders[MATCH_DAY_FIRST] >= orders[MATCH_MONTH_FIRST];
	return days >= MOST * values;
}

/* Whether most values are web addresses of which some have more than a host. */
static bool
holds_web_addresses(const MatchColumn *column)
{
	double		values = 0;
	double		hosts = 0;
	double		more = 0;

	for (int32_t v = 0; v < column->nvalues; v++)
	{
		size_t		host;

		match_host_form(match_value(column, v), match_value_length(column, v), &host);
		values += column->count[v];
		hosts += column->count[v] * (host > 0);
		more += column->count[v] * (host > 0 && host < match_value_length(column, v));
	}
	return hosts >= MOST * values && more > 0;
}

/* Whether the same words come in several orders: "Smith, John" beside "John Smith". */
static bool
varies_in_order(const MatchColumn *column, const KernelEnv *env)
{
	MatchRecords forms;			/* the words as they stand, and in order */
	int32_t		reordered;
	int32_t		of;

	match_records_init(&forms, 2, env);
	for (int32_t v = 0; v < column->nvalues; v++)
	{
		size_t		length = match_value_length(column, v);
		char	   *form = kernel_alloc_array(env, char, length + 1);
		int32_t		record = match_records_add(&forms);

		for (int sorted = 0; sorted < 2; sorted++)
			match_records_set(&forms, record, sorted, form, match_word_form(match_value(column, v), length, sorted, form));
		kernel_release(env, form);
	}
	of = forms.column[0].nvalues;
	reordered = of - forms.column[1].nvalues;
	match_records_free(&forms);
	return reordered >= LEAST_REORDERED && reordered >= REORDERED * of;
}

/* Share of a column's values that have a code in them; of those that are hardly more than one, where 'inside' does not say so. */
static double
share_of_models(const MatchColumn *column, bool inside)
{
	double		values = 0;
	double		models = 0;

	for (int32_t v = 0; v < column->nvalues; v++)
	{
		size_t		length = match_value_length(column, v);
		size_t		code = match_model_form(match_value(column, v), length, NULL);

		values += column->count[v];
		models += column->count[v] * (code > 0 && (code * 2 <= length) == inside);
	}
	return values > 0 ? models / values : 0;
}

bool
match_holds_models(const MatchRecords *records, const MatchProfile *profile, int c)
{
	if ((profile->kind[c] != MATCH_KIND_NAME && profile->kind[c] != MATCH_KIND_TEXT) ||
		share_of_models(&records->column[c], true) < MODELS)
		return false;
	for (int d = 0; d < profile->ncolumns; d++)
	{
		/* the code of the text has a column of its own */
		if ((profile->contains[c] >> d & 1) && share_of_models(&records->column[d], false) >= MODELS)
			return false;
	}
	return true;
}

MatchForm
match_column_form(const MatchColumn *column, MatchKind kind, const KernelEnv *env)
{
	bool		day_first;

	if (kind == MATCH_KIND_EMPTY || kind == MATCH_KIND_CONSTANT || kind == MATCH_KIND_DATE || kind == MATCH_KIND_EMAIL)
		return MATCH_FORM_PLAIN;
	if (holds_written_days(column, &day_first))
		return day_first ? MATCH_FORM_DAY_FIRST : MATCH_FORM_MONTH_FIRST;
	if (kind == MATCH_KIND_CODE)
		return MATCH_FORM_CODE;
	if (kind != MATCH_KIND_NAME && kind != MATCH_KIND_TEXT)
		return MATCH_FORM_PLAIN;
	if (holds_web_addresses(column))
		return MATCH_FORM_HOST;
	return varies_in_order(column, env) ? MATCH_FORM_SORTED : MATCH_FORM_PLAIN;
}

/* ---- containment ---- */

/* Whether one value stands inside another as bytes. */
static bool
contains_value(const MatchColumn *outer, int32_t x, const MatchColumn *inner, int32_t y)
{
	size_t		length = match_value_length(inner, y);

	return length >= SHORTEST_CONTAINED && length < match_value_length(outer, x) &&
		strstr(match_value(outer, x), match_value(inner, y)) != NULL;
}

void
match_containment(const MatchRecords *records, uint64_t *contains)
{
	int32_t		step = records->nrecords / SAMPLE_ROWS + 1;

	for (int a = 0; a < records->ncolumns; a++)
	{
		const MatchColumn *outer = &records->column[a];

		contains[a] = 0;
		for (int b = 0; b < records->ncolumns; b++)
		{
			const MatchColumn *inner = &records->column[b];
			double		both = 0;
			double		inside = 0;

			if (a == b || !outer->keep_text || !inner->keep_text)
				continue;
			for (int32_t i = 0; i < records->nrecords; i += step)
			{
				if (outer->code[i] == MATCH_NULL || inner->code[i] == MATCH_NULL)
					continue;
				both++;
				inside += contains_value(outer, outer->code[i], inner, inner->code[i]);
			}
			if (both >= 20 && inside >= CONTAINED * both)
				contains[a] |= UINT64_C(1) << b;
		}
		kernel_tick(&records->env, a + 1, records->ncolumns);
	}
}

void
match_relate_rules(MatchRule *rules, int nrules, const MatchComparison *comparisons, int ncomparisons, const uint64_t *contains)
{
	for (int r = 0; r < nrules; r++)
	{
		rules[r].related = 0;
		for (int p = 0; p < rules[r].nparts; p++)
		{
			int			column = rules[r].column[p];

			for (int c = 0; c < ncomparisons; c++)
			{
				int			mine = comparisons[c].column;

				if (mine == column || (contains[mine] >> column & 1) || (contains[column] >> mine & 1))
					rules[r].related |= UINT32_C(1) << c;
			}
		}
	}
}

/* ---- comparisons ---- */

/* The standard comparison of a kind of column. */
static MatchComparison
standard_comparison(int column, MatchKind kind)
{
	MatchComparison c = {.column = column, .swapped_with = -1, .term_frequency = true};

	switch (kind)
	{
		case MATCH_KIND_NAME:
			c.method = MATCH_JARO_WINKLER;
			c.nthresholds = 2;
			c.threshold[0] = 0.95;
			c.threshold[1] = 0.88;
			break;
		case MATCH_KIND_EMAIL:
			/* no Jaro-Winkler: addresses of all who have a name in common are alike */
			c.method = MATCH_DAMERAU_LEVENSHTEIN;
			c.nthresholds = 3;
			c.threshold[0] = 1;
			c.threshold[1] = 2;
			c.threshold[2] = 4;
			break;
		case MATCH_KIND_DATE:
		case MATCH_KIND_CODE:
			c.method = MATCH_DAMERAU_LEVENSHTEIN;
			c.nthresholds = 2;
			c.threshold[0] = 1;
			c.threshold[1] = 2;
			break;
		case MATCH_KIND_TEXT:
			c.method = MATCH_NGRAM;
			c.nthresholds = 3;
			c.threshold[0] = 0.8;
			c.threshold[1] = 0.6;
			c.threshold[2] = 0.4;
			break;
		default:
			c.method = MATCH_EXACT;
			break;
	}
	return c;
}

/* How often values of two columns stand in each other's place, over how often chance would have it. */
static bool
often_swapped(const MatchRecords *records, int one, int two)
{
	const MatchColumn *x = &records->column[one];
	const MatchColumn *y = &records->column[two];
	MatchRecords sides;
	double		same = 0;
	double		both = 0;
	double		swaps = 0;
	double		chance;

	/* every record's "x y" and "y x" interned side by side: equal codes are swaps */
	match_records_init(&sides, 1, &records->env);
	for (int32_t v = 0; v < x->nvalues; v++)
	{
		int32_t		other = match_column_find(y, match_value(x, v), match_value_length(x, v));

		if (other != MATCH_NULL)
			same += (double) x->count[v] * y->count[other];
	}
	for (int32_t i = 0; i < records->nrecords; i++)
	{
		char		key[16];
		int32_t		swapped_x;
		int32_t		swapped_y;

		if (x->code[i] == MATCH_NULL || y->code[i] == MATCH_NULL)
			continue;
		both++;
		swapped_x = match_column_find(x, match_value(y, y->code[i]), match_value_length(y, y->code[i]));
		swapped_y = match_column_find(y, match_value(x, x->code[i]), match_value_length(x, x->code[i]));
		if (swapped_x != MATCH_NULL && swapped_y != MATCH_NULL && swapped_x != x->code[i])
		{
			int32_t		code;

			memcpy(key, &swapped_x, sizeof(int32_t));
			memcpy(key + 4, &swapped_y, sizeof(int32_t));
			code = match_column_find(&sides.column[0], key, 8);
			swaps += code == MATCH_NULL ? 0 : sides.column[0].count[code];
		}
		memcpy(key, &x->code[i], sizeof(int32_t));
		memcpy(key + 4, &y->code[i], sizeof(int32_t));
		match_records_set(&sides, match_records_add(&sides), 0, key, 8);
	}
	match_records_free(&sides);
	chance = both > 0 ? both * (both - 1) / 2 * (same / both / both) * (same / both / both) : 0;
	return swaps >= LEAST_SWAPS && swaps > SWAPS_OVER_CHANCE * chance;
}

/* Give the first two name columns that are often swapped a common level. Each column has one partner at most. */
static void
find_swaps(const MatchRecords *records, MatchProfile *profile)
{
	for (int a = 0; a < profile->ncomparisons; a++)
	{
		for (int b = a + 1; b < profile->ncomparisons; b++)
		{
			MatchComparison *x = &profile->comparison[a];
			MatchComparison *y = &profile->comparison[b];

			if (profile->kind[x->column] == MATCH_KIND_NAME && profile->kind[y->column] == MATCH_KIND_NAME &&
				x->swapped_with < 0 && y->swapped_with < 0 && often_swapped(records, x->column, y->column))
			{
				x->swapped_with = b;
				y->swapped_with = a;
			}
		}
	}
}

/* Whether a kind has something to compare. */
static bool
is_comparable(MatchKind kind)
{
	return kind >= MATCH_KIND_EMAIL;
}

/* Bits of a mask. */
static int
count_bits(uint64_t mask)
{
	int			n = 0;

	for (; mask != 0; mask &= mask - 1)
		n++;
	return n;
}

/* Drop the least informative columns beyond what a pattern holds. */
static void
choose_comparisons(MatchProfile *profile)
{
	profile->ncomparisons = 0;
	for (int c = 0; c < profile->ncolumns; c++)
	{
		int			better = 0;

		if (!is_comparable(profile->kind[c]) || profile->composite[c])
			continue;
		for (int d = 0; d < profile->ncolumns; d++)
		{
			if (d != c && is_comparable(profile->kind[d]) && !profile->composite[d] &&
				(profile->information[d] > profile->information[c] ||
				 (profile->information[d] == profile->information[c] && d < c)))
				better++;
		}
		if (better < MATCH_MAX_COMPARISONS)
			profile->comparison[profile->ncomparisons++] = standard_comparison(c, profile->kind[c]);
	}
}

void
match_profile(MatchRecords *records, const MatchProfileOptions *options, MatchProfile *profile)
{
	memset(profile, 0, sizeof(*profile));
	profile->ncolumns = records->ncolumns < MATCH_MAX_PROFILE_COLUMNS ? records->ncolumns : MATCH_MAX_PROFILE_COLUMNS;
	match_containment(records, profile->contains);
	for (int c = 0; c < profile->ncolumns; c++)
	{
		const MatchColumn *column = &records->column[c];
		double		values = 0;

		profile->kind[c] = column_kind(column, &profile->several_words[c]);
		for (int32_t v = 0; v < column->nvalues; v++)
			values += column->count[v];
		profile->filled[c] = records->nrecords > 0 ? values / records->nrecords : 0;
		profile->information[c] = -log2(agreement(column, values)) * profile->filled[c];
	}
	for (int c = 0; c < profile->ncolumns; c++)
	{
		uint64_t	inside = profile->contains[c];

		for (int d = 0; d < profile->ncolumns; d++)
		{
			if (!is_comparable(profile->kind[d]))
				inside &= ~(UINT64_C(1) << d);
		}
		profile->composite[c] = count_bits(inside) >= 2;
	}
	choose_comparisons(profile);
	find_swaps(records, profile);
}

/* ---- blocking ---- */

typedef struct KeyCandidate
{
	MatchRule	rule;
	double		pairs;
} KeyCandidate;

/* Pairs that a rule would give: its blocks are made and thrown away. */
static double
rule_pairs(MatchRecords *records, const MatchRule *rule)
{
	MatchRule	copy = *rule;
	MatchRules	rules;
	double		pairs;

	copy.max_block = 0;
	match_rules_build(&rules, records, &copy, 1);
	pairs = copy.pairs;
	match_rules_free(&rules);
	return pairs;
}

/* A rule of one part. */
static KeyCandidate
single_key(int column, int prefix)
{
	KeyCandidate key = {0};

	key.rule.kind = MATCH_RULE_KEY;
	key.rule.nparts = 1;
	key.rule.column[0] = column;
	key.rule.prefix[0] = prefix;
	key.rule.report = true;
	return key;
}

/* The keys that each kind of column offers. */
static int
candidate_keys(MatchRecords *records, const MatchProfile *profile, KeyCandidate *keys)
{
	int			n = 0;

	for (int c = 0; c < profile->ncolumns; c++)
	{
		MatchKind	kind = profile->kind[c];

		if (!is_comparable(kind) || profile->composite[c])
			continue;
		keys[n++] = single_key(c, 0);
		if (kind == MATCH_KIND_NAME || kind == MATCH_KIND_EMAIL || kind == MATCH_KIND_CODE)
			keys[n++] = single_key(c, NAME_PREFIX);
		else if (kind == MATCH_KIND_DATE)
			keys[n++] = single_key(c, YEAR_PREFIX);
	}
	for (int k = 0; k < n; k++)
		keys[k].pairs = rule_pairs(records, &keys[k].rule);
	return n;
}

/* Fewest pairs first, for qsort. */
static int
compare_keys(const void *a, const void *b)
{
	const KeyCandidate *x = a;
	const KeyCandidate *y = b;

	if (x->pairs != y->pairs)
		return x->pairs < y->pairs ? -1 : 1;
	if (x->rule.column[0] != y->rule.column[0])
		return x->rule.column[0] - y->rule.column[0];
	return x->rule.column[1] - y->rule.column[1];
}

/* Two-part keys of those that are too wide by themselves, of columns that do not contain each other. */
static int
combined_keys(MatchRecords *records, const MatchProfile *profile, const KeyCandidate *wide, int nwide, double most, KeyCandidate *keys)
{
	int			n = 0;

	for (int a = 0; a < nwide; a++)
	{
		for (int b = a + 1; b < nwide; b++)
		{
			int			x = wide[a].rule.column[0];
			int			y = wide[b].rule.column[0];

			if (x == y || (profile->contains[x] >> y & 1) || (profile->contains[y] >> x & 1))
				continue;
			keys[n] = wide[a];
			keys[n].rule.nparts = 2;
			keys[n].rule.column[1] = y;
			keys[n].rule.prefix[1] = wide[b].rule.prefix[0];
			keys[n].pairs = rule_pairs(records, &keys[n].rule);
			if (keys[n].pairs > 0 && keys[n].pairs <= most)
				n++;
		}
	}
	return n;
}

/* The rare words of all columns of words, as one rule: it also finds values that stand in the wrong column. */
static bool
token_rule(const MatchProfile *profile, int32_t max_block, MatchRule *rule)
{
	memset(rule, 0, sizeof(*rule));
	rule->kind = MATCH_RULE_TOKENS;
	rule->max_block = max_block;
	for (int c = 0; c < profile->ncolumns && rule->nparts < MATCH_MAX_TOKEN_COLUMNS; c++)
	{
		MatchKind	kind = profile->kind[c];

		if (kind == MATCH_KIND_NAME || kind == MATCH_KIND_TEXT || (profile->composite[c] && kind != MATCH_KIND_KEY))
			rule->column[rule->nparts++] = c;
	}
	return rule->nparts > 0;
}

void
match_profile_rules(MatchRecords *records, const MatchProfileOptions *options, MatchProfile *profile)
{
	const KernelEnv *env = &records->env;
	int			room = 2 * MATCH_MAX_PROFILE_COLUMNS;
	KeyCandidate *keys = kernel_alloc_array(env, KeyCandidate, room);
	KeyCandidate *wide = kernel_alloc_array(env, KeyCandidate, room);
	KeyCandidate *chosen = kernel_alloc_array(env, KeyCandidate, room + room * room);
	double		most = options->pairs_per_record * records->nrecords;
	double		sum = 0;
	int			nkeys = candidate_keys(records, profile, keys);
	int			nwide = 0;
	int			n = 0;

	for (int k = 0; k < nkeys; k++)
	{
		if (keys[k].pairs > 0 && keys[k].pairs <= most)
			chosen[n++] = keys[k];
		else if (keys[k].pairs > most)
			wide[nwide++] = keys[k];
	}
	qsort(chosen, (size_t) n, sizeof(KeyCandidate), compare_keys);
	nkeys = combined_keys(records, profile, wide, nwide, most, chosen + n);
	qsort(chosen + n, (size_t) nkeys, sizeof(KeyCandidate), compare_keys);
	n += nkeys;
	profile->rule = kernel_alloc_array(env, MatchRule, options->max_rules + 1);
	profile->nrules = 0;
	for (int k = 0; k < n && profile->nrules < options->max_rules; k++)
	{
		if (profile->nrules > 0 && sum + chosen[k].pairs > options->pair_budget)
			continue;
		sum += chosen[k].pairs;
		profile->rule[profile->nrules] = chosen[k].rule;
		profile->rule[profile->nrules++].max_block = options->max_block;
	}
	if (token_rule(profile, options->rare_token, &profile->rule[profile->nrules]))
		profile->nrules++;
	kernel_release(env, keys);
	kernel_release(env, wide);
	kernel_release(env, chosen);
}
