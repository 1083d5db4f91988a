/*
 * text_test.c
 *		The text kernels against textbook implementations on random strings, in every SIMD form that this processor has, and
 *		against published values.
 *
 * Sources of values: jamesturk/jellyfish testdata (jaro_distance.csv, jaro_winkler.csv), moj-analytical-services/splink
 * (docs/topic_guides/comparisons/comparators.md, tests/test_spark_udfs.py), Winkler's table of string comparator values, and
 * rapidfuzz 3.14.6 (run once, results kept here).
 */
#include "text/company.h"
#include "text/email.h"
#include "text/jaro.h"
#include "text/levenshtein.h"
#include "text/ngram.h"
#include "text/simd.h"
#include "text/tokens.h"

#include "tap.h"

#define MAX_UNITS 420
#define TRIALS 4000

static TextWorkspace workspace;
static KernelEnv env;

/* A small generator of random numbers, the same everywhere. */
static uint32_t
random_below(uint32_t limit)
{
	static uint64_t state = 88172645463325252u;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t) (state >> 33) % limit;
}

/* A string that lives in a buffer of its own. */
typedef struct Sample
{
	uint32_t unit[MAX_UNITS];
	uint32_t buffer[MAX_UNITS];
	TextView view;
} Sample;

/* Make the view from the units. */
static void
settle(Sample *sample, uint32_t length)
{
	memcpy(sample->buffer, sample->unit, sizeof(uint32_t) * length);
	sample->view = text_view_units(sample->buffer, length);
}

/* Lengths around every limit of the kernels, mostly short. */
static uint32_t
random_length(void)
{
	static const uint32_t edges[] = {15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 200};

	if (random_below(3) == 0)
		return edges[random_below(sizeof(edges) / sizeof(edges[0]))];
	return random_below(30);
}

/* A random string of an alphabet: few or many letters, narrow or wide or mixed. */
static void
random_sample(Sample *sample, int alphabet)
{
	uint32_t length = random_length();

	for (uint32_t i = 0; i < length; i++)
		switch (alphabet)
		{
			case 0:
				sample->unit[i] = 'a' + random_below(3);
				break;
			case 1:
				sample->unit[i] = ' ' + random_below(90);
				break;
			case 2:
				sample->unit[i] = 0x400 + random_below(40);
				break;
			default:
				sample->unit[i] = random_below(2) ? 'a' + random_below(4) : 0x4E00 + random_below(3) * 128;
		}
	settle(sample, length);
}

/* Another string with a few edits. */
static void
edited_sample(Sample *sample, const Sample *from)
{
	uint32_t length = from->view.length;

	memcpy(sample->unit, from->unit, sizeof(sample->unit));
	for (uint32_t edits = random_below(5); edits > 0 && length > 2; edits--)
	{
		uint32_t at = random_below(length - 1);

		if (random_below(3) == 0)
			memmove(sample->unit + at, sample->unit + at + 1, sizeof(uint32_t) * (--length - at));
		else if (random_below(2) == 0)
			sample->unit[at] = sample->unit[at + 1];
		else
		{
			uint32_t swap = sample->unit[at];

			sample->unit[at] = sample->unit[at + 1];
			sample->unit[at + 1] = swap;
		}
	}
	settle(sample, length);
}

/* Levenshtein by its definition. */
static uint32_t
plain_levenshtein(TextView a, TextView b)
{
	static uint32_t row[MAX_UNITS + 1];

	for (uint32_t j = 0; j <= b.length; j++)
		row[j] = j;
	for (uint32_t i = 1; i <= a.length; i++)
	{
		uint32_t diagonal = row[0];

		row[0] = i;
		for (uint32_t j = 1; j <= b.length; j++)
		{
			uint32_t best = diagonal + (text_unit(a, i - 1) != text_unit(b, j - 1));

			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[b.length];
}

/* Damerau-Levenshtein by its definition: for each cell, every pair of crossed units above and to the left. */
static uint32_t
plain_damerau(TextView a, TextView b)
{
	static uint32_t d[64][64];

	for (uint32_t i = 0; i <= a.length; i++)
		for (uint32_t j = 0; j <= b.length; j++)
		{
			uint32_t best = i == 0 ? j : j == 0 ? i : UINT32_MAX;

			if (i > 0 && d[i - 1][j] + 1 < best)
				best = d[i - 1][j] + 1;
			if (j > 0 && d[i][j - 1] + 1 < best)
				best = d[i][j - 1] + 1;
			if (i > 0 && j > 0 && d[i - 1][j - 1] + (text_unit(a, i - 1) != text_unit(b, j - 1)) < best)
				best = d[i - 1][j - 1] + (text_unit(a, i - 1) != text_unit(b, j - 1));
			for (uint32_t k = 1; k < i; k++)
				for (uint32_t l = 1; l < j; l++)
					if (text_unit(a, k - 1) == text_unit(b, j - 1) && text_unit(a, i - 1) == text_unit(b, l - 1) &&
						d[k - 1][l - 1] + (i - k - 1) + 1 + (j - l - 1) < best)
						best = d[k - 1][l - 1] + (i - k - 1) + 1 + (j - l - 1);
			d[i][j] = best;
		}
	return d[a.length][b.length];
}

/* Jaro by its definition. */
static double
plain_jaro(TextView a, TextView b)
{
	static bool taken_a[MAX_UNITS];
	static bool taken_b[MAX_UNITS];
	uint32_t longer = a.length > b.length ? a.length : b.length;
	int64_t bound = (int64_t) longer / 2 - 1 < 0 ? 0 : (int64_t) longer / 2 - 1;
	uint32_t matches = 0;
	uint32_t out_of_order = 0;
	uint32_t j = 0;

	memset(taken_a, 0, sizeof(taken_a));
	memset(taken_b, 0, sizeof(taken_b));
	for (int64_t i = 0; i < a.length; i++)
		for (int64_t k = i - bound < 0 ? 0 : i - bound; k <= i + bound && k < b.length; k++)
			if (!taken_b[k] && text_unit(a, (uint32_t) i) == text_unit(b, (uint32_t) k))
			{
				taken_a[i] = taken_b[k] = true;
				matches++;
				break;
			}
	for (uint32_t i = 0; i < a.length; i++)
		if (taken_a[i])
		{
			while (!taken_b[j])
				j++;
			out_of_order += text_unit(a, i) != text_unit(b, j++);
		}
	if (matches == 0)
		return a.length == 0 && b.length == 0 ? 1 : 0;
	return ((double) matches / a.length + (double) matches / b.length +
			(double) (matches - out_of_order / 2) / matches) /
		   3;
}

/* Jaro-Winkler by its definition. */
static double
plain_winkler(TextView a, TextView b)
{
	double jaro = plain_jaro(a, b);
	uint32_t prefix = 0;

	while (prefix < 4 && prefix < a.length && prefix < b.length && text_unit(a, prefix) == text_unit(b, prefix))
		prefix++;
	return jaro > 0.7 ? jaro + prefix * 0.1 * (1 - jaro) : jaro;
}

/* Longest common subsequence by its definition. */
static uint32_t
plain_lcs(TextView a, TextView b)
{
	static uint32_t row[MAX_UNITS + 1];

	memset(row, 0, sizeof(row));
	for (uint32_t i = 0; i < a.length; i++)
	{
		uint32_t diagonal = 0;

		for (uint32_t j = 0; j < b.length; j++)
		{
			uint32_t above = row[j + 1];

			row[j + 1] = text_unit(a, i) == text_unit(b, j) ? diagonal + 1 : above > row[j] ? above : row[j];
			diagonal = above;
		}
	}
	return row[b.length];
}

/* True where the gram of n units at one place is found in a string before another place. */
static bool
gram_before(TextView text, uint32_t end, TextView gram_of, uint32_t at, uint32_t n)
{
	for (uint32_t i = 0; i < end && i + n <= text.length; i++)
		if (text_compare(text_slice(text, i, n), text_slice(gram_of, at, n)) == 0)
			return true;
	return false;
}

/* Jaccard over n-grams by its definition. */
static double
plain_ngram(TextView a, TextView b, uint32_t n)
{
	uint32_t distinct_a = 0;
	uint32_t distinct_b = 0;
	uint32_t common = 0;

	if (a.length < n || b.length < n)
		return text_compare(a, b) == 0 ? 1 : 0;
	for (uint32_t i = 0; i + n <= a.length; i++)
		if (!gram_before(a, i, a, i, n))
		{
			distinct_a++;
			common += gram_before(b, UINT32_MAX, a, i, n);
		}
	for (uint32_t i = 0; i + n <= b.length; i++)
		distinct_b += !gram_before(b, i, b, i, n);
	return (double) common / (distinct_a + distinct_b - common);
}

/* Every kernel on one pair; the number of differences. */
static int
check_pair(TextView a, TextView b)
{
	uint32_t distance = plain_levenshtein(a, b);
	uint32_t max = random_below(a.length + b.length + 2);
	uint32_t n = 1 + random_below(7);
	int wrong = 0;
	TextPattern pattern;

	text_pattern_prepare(&pattern, a);
	wrong += text_levenshtein(&workspace, a, b, TEXT_NO_LIMIT) != distance;
	wrong += text_levenshtein(&workspace, a, b, max) != (distance <= max ? distance : max + 1);
	wrong += text_levenshtein_prepared(&workspace, &pattern, b, TEXT_NO_LIMIT) != distance;
	wrong += text_levenshtein_prepared(&workspace, &pattern, b, max) != (distance <= max ? distance : max + 1);
	wrong += fabs(text_jaro(&workspace, a, b) - plain_jaro(a, b)) > 1e-14;
	wrong += text_jaro(&workspace, a, b) != text_jaro(&workspace, b, a);
	wrong += text_jaro_prepared(&workspace, &pattern, b) != text_jaro(&workspace, a, b);
	wrong += fabs(text_jaro_winkler(&workspace, a, b, 0.1) - plain_winkler(a, b)) > 1e-14;
	wrong += text_jaro_winkler_prepared(&workspace, &pattern, b, 0.1) != text_jaro_winkler(&workspace, a, b, 0.1);
	wrong += text_lcs(&workspace, a, b) != plain_lcs(a, b);
	wrong += text_ngram(&workspace, a, b, n) != plain_ngram(a, b, n);
	if (a.length < 20 && b.length < 20)
		wrong += text_damerau_levenshtein(&workspace, a, b) != plain_damerau(a, b);
	return wrong;
}

/* Random pairs, in one SIMD form. */
static void
check_random(TextSimd simd, const char *name)
{
	static Sample a;
	static Sample b;
	int wrong = 0;

	text_simd_limit(simd);
	for (int trial = 0; trial < TRIALS; trial++)
	{
		int alphabet = (int) random_below(4);

		random_sample(&a, alphabet);
		if (random_below(2) == 0)
			edited_sample(&b, &a);
		else
			random_sample(&b, random_below(5) == 0 ? (int) random_below(4) : alphabet);
		wrong += check_pair(a.view, b.view);
	}
	is_int(wrong, 0, name);
	text_simd_limit(TEXT_SIMD_AVX512);
}

/* Batches equal the pairs one by one, to the bit. */
static void
check_batches(TextSimd simd, const char *name)
{
	static Sample texts[61];
	static Sample one;
	TextView views[61];
	uint32_t distance[61];
	double similarity[61];
	TextPattern pattern;
	int wrong = 0;

	text_simd_limit(simd);
	for (int round = 0; round < 200; round++)
	{
		int alphabet = round % 4;

		random_sample(&one, alphabet);
		text_pattern_prepare(&pattern, one.view);
		for (int i = 0; i < 61; i++)
		{
			if (random_below(2) == 0)
				edited_sample(&texts[i], &one);
			else
				random_sample(&texts[i], random_below(5) == 0 ? (int) random_below(4) : alphabet);
			views[i] = texts[i].view;
		}
		text_levenshtein_batch(&workspace, &pattern, views, 61, round % 2 ? TEXT_NO_LIMIT : 4, distance);
		text_jaro_winkler_batch(&workspace, &pattern, views, 61, 0.1, similarity);
		for (int i = 0; i < 61; i++)
		{
			wrong += distance[i] != text_levenshtein(&workspace, one.view, views[i], round % 2 ? TEXT_NO_LIMIT : 4);
			wrong += similarity[i] != text_jaro_winkler(&workspace, one.view, views[i], 0.1);
		}
	}
	is_int(wrong, 0, name);
	text_simd_limit(TEXT_SIMD_AVX512);
}

/* A view of a C string in UTF-8; a few at a time. */
static TextView
view_of(const char *string)
{
	static uint32_t buffers[4][MAX_UNITS];
	static int next = 0;

	next = (next + 1) % 4;
	return text_view_utf8(string, strlen(string), buffers[next]);
}

/* Published values of the distances. */
static void
check_published(void)
{
	static const struct
	{
		const char *a;
		const char *b;
		double jaro;
		double winkler;
	} pairs[] = {
		/* jellyfish testdata, and the original MARTHA, DWAYNE, DIXON of Winkler (1990) */
		{"dixon", "dicksonx", .767, .813},
		{"martha", "marhta", .944, .961},
		{"dwayne", "duane", .822, .840},
		{"", "foo", 0, 0},
		{"a", "a", 1, 1},
		{"abc", "xyz", 0, 0},
		{"aaaa", "aaaaa", .933, .96},
		{"a", "ab", .833, .85},
		/* splink tests/test_spark_udfs.py */
		{"dave", "david", .783, .848},
		{"hello", "hallo", .867, .88},
		{"hippo", "elephant", .442, .442},
		{"Local", "Pub", 0, 0},
		/* Winkler's table */
		{"SHACKLEFORD", "SHACKELFORD", .970, .982},
		{"DUNNINGHAM", "CUNNIGHAM", .896, .896},
		{"NICHLESON", "NICHULSON", .926, .956},
		{"JONES", "JOHNSON", .790, .832},
		{"MASSEY", "MASSIE", .889, .933},
		{"ABROMS", "ABRAMS", .889, .922},
		{"JERALDINE", "GERALDINE", .926, .926},
		{"MICHELLE", "MICHAEL", .869, .921},
		{"JULIES", "JULIUS", .889, .933},
		{"TANYA", "TONYA", .867, .880},
		{"SEAN", "SUSAN", .783, .805},
		{"JON", "JOHN", .917, .933},
	};
	static const struct
	{
		const char *a;
		const char *b;
		uint32_t levenshtein;
		uint32_t damerau;
	} edits[] = {
		/* splink comparators.md; CA and ABC tell the unrestricted distance (2) from the restricted one (3) */
		{"KITTEN", "SITTING", 3, 3}, {"CAKE", "ACKE", 2, 1},
		{"MARHTA", "MARTHA", 2, 1},  {"hippo", "elephant", 7, 7},
		{"CA", "ABC", 3, 2},         {"Saturday", "Sunday", 3, 3},
		{"", "abc", 3, 3},           {"\u017c\u00f3\u0142\u0107", "zolc", 4, 4},
	};

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
	{
		ok(fabs(text_jaro(&workspace, view_of(pairs[i].a), view_of(pairs[i].b)) - pairs[i].jaro) < 6e-4,
		   "published Jaro of %s and %s", pairs[i].a, pairs[i].b);
		ok(fabs(text_jaro_winkler(&workspace, view_of(pairs[i].a), view_of(pairs[i].b), 0.1) - pairs[i].winkler) < 6e-4,
		   "published Jaro-Winkler of %s and %s", pairs[i].a, pairs[i].b);
	}
	for (size_t i = 0; i < sizeof(edits) / sizeof(edits[0]); i++)
	{
		is_int(text_levenshtein(&workspace, view_of(edits[i].a), view_of(edits[i].b), TEXT_NO_LIMIT),
			   edits[i].levenshtein, "published Levenshtein");
		is_int(text_damerau_levenshtein(&workspace, view_of(edits[i].a), view_of(edits[i].b)), edits[i].damerau,
			   "published Damerau-Levenshtein");
	}
	is_double(text_ngram(&workspace, view_of("DUCK"), view_of("LUCK"), 1), 0.6, 1e-15,
			  "Jaccard of letters (splink comparators.md)");
}

/* Token similarities: values of rapidfuzz 3.14.6, divided by 100. */
static void
check_tokens(void)
{
	static const struct
	{
		const char *a;
		const char *b;
		double sort;
		double set;
	} pairs[] = {
		{"fuzzy wuzzy was a bear", "wuzzy fuzzy was a bear", 1.0, 1.0},
		{"fuzzy was a bear", "fuzzy fuzzy was a bear", 0.8421052631578947, 1.0},
		{"new york mets", "new york yankees", 0.6206896551724138, 0.7619047619047619},
		{"new york mets vs atlanta braves", "atlanta braves vs new york mets", 1.0, 1.0},
		{"Acme Rockets GmbH", "GmbH Acme", 0.6923076923076923, 1.0},
		{"", "", 1.0, 0.0},
		{"", "a", 0.0, 0.0},
		{"a  b", "b a", 1.0, 1.0},
		{"M\u00fcller \u0141\u00f3d\u017a", "\u0142\u00f3d\u017a Muller", 0.8181818181818181, 0.8181818181818181},
		{"\u4e2d\u6587 \u540d\u5b57", "\u540d\u5b57\u3000\u4e2d\u6587", 1.0, 1.0},
		{"one two three", "four five six", 0.3076923076923077, 0.3076923076923077},
		{"aa bb cc dd", "dd cc bb aa ee", 0.88, 1.0},
		{"mary jane watson", "jane watson-parker mary", 0.8205128205128205, 0.8205128205128205},
	};

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
	{
		is_double(text_token_sort(&workspace, view_of(pairs[i].a), view_of(pairs[i].b)), pairs[i].sort, 1e-12,
				  "token sort of rapidfuzz");
		is_double(text_token_set(&workspace, view_of(pairs[i].a), view_of(pairs[i].b)), pairs[i].set, 1e-12,
				  "token set of rapidfuzz");
	}
}

/* Decoding: every form of UTF-8, and what is none. */
static void
check_decoding(void)
{
	uint32_t buffer[64];
	TextView view = text_view_utf8("abc", 3, buffer);

	ok(!view.wide && view.units != buffer && view.length == 3, "ASCII is viewed in place");
	view = text_view_utf8("\xC3\xA9t\xC3\xA9", 5, buffer);
	ok(!view.wide && view.length == 3 && text_unit(view, 0) == 0xE9, "code points below 256 are bytes");
	view = text_view_utf8("\xE7\x8E\x8B\xF0\x9F\x98\x80", 7, buffer);
	ok(view.wide && view.length == 2 && text_unit(view, 0) == 0x738B && text_unit(view, 1) == 0x1F600,
	   "wide code points");
	view = text_view_utf8("\xC0\x80\xED\xA0\x80\xF4\x90\x80\x80\xE7\x8E", 11, buffer);
	is_int(view.length, 11, "overlong forms, surrogates, beyond Unicode, cut short: one unit a byte");
	ok(text_unit(view, 0) >= 0x110000, "such units equal no code point");
}

/* A string of units of some alphabet as UTF-8, or any bytes at all, in memory of exactly its size. */
static char *
random_bytes(uint32_t kind, uint32_t *size)
{
	static const char *const alphabets[] = {"abc ", "a\xC3\xA4\xC3\xBF\xC2\xA0", "b\xD0\x90\xD1\x8F\xD1\x80 ",
											"a\xC3\xB3\xC5\x82\xC4\x85", "c\xDF\xBF\xDE\x80", "a\xE7\x8E\x8B\xC3\xA9",
											"\xC2\xC3\x80\xC1\xE0\xBF\xFF"};
	const char *alphabet = alphabets[kind];
	uint32_t wanted = random_below(4) == 0 ? 28 + random_below(40) : random_below(24);
	char *bytes = malloc(wanted + 1);
	uint32_t used = 0;

	while (used < wanted)
	{
		size_t at = random_below((uint32_t) strlen(alphabet));

		/* a whole code point, except of the last alphabet, which is none */
		while (kind < 6 && at > 0 && (alphabet[at] & 0xC0) == 0x80)
			at--;
		do
			bytes[used++] = alphabet[at++];
		while (kind < 6 && used < wanted && (alphabet[at] & 0xC0) == 0x80);
	}
	*size = used;
	return realloc(bytes, used == 0 ? 1 : used);
}

/* How many pairs of places of two views are equal in one decoding and not in the other. */
static int
unequal_places(TextView a, TextView b, TextView x, TextView y)
{
	int wrong = a.length != x.length || b.length != y.length;

	for (uint32_t i = 0; wrong == 0 && i < a.length; i++)
		for (uint32_t j = 0; j < b.length; j++)
			wrong += (text_unit(a, i) == text_unit(b, j)) != (text_unit(x, i) == text_unit(y, j));
	return wrong;
}

/* Two strings decoded together: as many units, and equal where those of each by itself are. */
static void
check_together(TextSimd simd, const char *name)
{
	int wrong = 0;

	text_simd_limit(simd);
	for (int trial = 0; trial < TRIALS; trial++)
	{
		uint32_t buffers[4][70 + TEXT_NARROW_UNITS];
		uint32_t size_a;
		uint32_t size_b;
		uint32_t kind = random_below(7);
		char *bytes_a = random_bytes(kind, &size_a);
		char *bytes_b = random_bytes(random_below(4) == 0 ? random_below(7) : kind, &size_b);
		TextView a = text_view_bytes(bytes_a, size_a);
		TextView b = text_view_bytes(bytes_b, size_b);
		TextView x = text_view_utf8(bytes_a, size_a, buffers[0]);
		TextView y = text_view_utf8(bytes_b, size_b, buffers[1]);

		text_view_pair_utf8(&a, &b, buffers[2], buffers[3]);
		wrong += unequal_places(a, b, x, y) + unequal_places(a, a, x, x) + unequal_places(b, b, y, y);
		free(bytes_a);
		free(bytes_b);
	}
	is_int(wrong, 0, name);
	text_simd_limit(TEXT_SIMD_AVX512);
}

/* Legal forms: thirty countries and more, and each goes. */
static void
check_companies(void)
{
	const char *country;
	const char *last = "";
	const char *form;
	bool leads;
	int countries = 0;
	int kept = 0;
	char name[200];

	for (size_t i = 0; (form = text_legal_form(i, &country, &leads)) != NULL; i++)
	{
		countries += !leads && strcmp(country, last) != 0;
		last = leads ? last : country;
		if (leads)
			snprintf(name, sizeof(name), "%s acme rockets", form);
		else
			snprintf(name, sizeof(name), "acme rockets %s", form);
		kept += text_company_strip(name, strlen(name)) != 12 || memcmp(name, "acme rockets", 12) != 0;
		if (kept == 1)
			printf("# first kept: %s of %s\n", form, country);
	}
	ok(countries >= 50, "legal forms of %d countries", countries);
	is_int(kept, 0, "each legal form is taken off");
	strcpy(name, "gmbh");
	is_int((int64_t) text_company_strip(name, 4), 4, "a name that is nothing but a legal form stays");
	is_int((int64_t) text_company_strip(name, 0), 0, "an empty name stays empty");
}

/* A span of a C string. */
static TextSpan
span_of(const char *string)
{
	TextSpan span = {string, strlen(string)};

	return span;
}

/* The host of an address as a C string. */
static const char *
host_of(const char *address)
{
	static char host[200];
	TextSpan span = text_host(span_of(address));

	snprintf(host, sizeof(host), "%.*s", (int) span.length, span.bytes);
	return host;
}

/* Hosts and domains. */
static void
check_hosts(void)
{
	is_string(host_of("https://user:pw@www.acme.com:8080/x?a@b#c"), "www.acme.com", "a web address");
	is_string(host_of("Anna <anna@acme.com>"), "acme.com", "an address with a name");
	is_string(host_of(" //acme.com. "), "acme.com", "no scheme, a final dot, blanks");
	is_string(host_of("acme.com?u=http://other.com"), "acme.com", "an address inside a query is not the host");
	is_string(host_of(""), "", "nothing");
	ok(text_domain_is_valid(span_of("a-b.example")), "a domain");
	ok(!text_domain_is_valid(span_of("10.0.0.1")), "an IP address is none");
	ok(!text_domain_is_valid(span_of("a..b")), "an empty label");
	ok(!text_domain_is_valid(span_of("-a.b")), "a hyphen in front");
	ok(!text_domain_is_valid(span_of("localhost")), "one label is none");
	ok(text_is_free_mail(span_of("gmail.com")) && text_is_free_mail(span_of("126.com")) &&
		   text_is_free_mail(span_of("zoznam.sk")),
	   "free-mail providers, the table's ends among them");
	ok(!text_is_free_mail(span_of("gmail.co")) && !text_is_free_mail(span_of("gmail.comm")) &&
		   !text_is_free_mail(span_of("")),
	   "no free-mail providers");
}

int
main(void)
{
	env = tap_env();
	workspace.env = &env;
	check_published();
	check_random(TEXT_SIMD_NONE, "random pairs, scalar");
	check_random(TEXT_SIMD_AVX2, "random pairs, AVX2 where there is");
	check_random(TEXT_SIMD_AVX512, "random pairs, AVX-512 where there is");
	check_batches(TEXT_SIMD_NONE, "batches, scalar");
	check_batches(TEXT_SIMD_AVX512, "batches, SIMD");
	check_tokens();
	check_decoding();
	check_together(TEXT_SIMD_NONE, "decoded together: scalar");
	check_together(TEXT_SIMD_AVX512, "decoded together: the processor's best");
	check_companies();
	check_hosts();
	return done_testing();
}
