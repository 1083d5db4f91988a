/*
 * match_forms_test.c
 *		The forms in which values are compared, and which column of them asks for which.
 */
#include "tap.h"

#include "match/forms.h"
#include "match/profile.h"

/* A form of words against what it should be. */
static void
words_are(const char *text, bool sorted, const char *expected)
{
	char		form[200];

	form[match_word_form(text, strlen(text), sorted, form)] = '\0';
	ok(strcmp(form, expected) == 0, "words of \"%s\"%s: \"%s\"", text, sorted ? " in order" : "", form);
}

static void
check_words(void)
{
	char		many[400] = "";
	char		form[400];

	words_are("smith, john", true, "john smith");
	words_are("smith, john", false, "smith john");
	words_are("john o'brien-smith", true, "john obrien smith");
	words_are("''' a", false, "a");
	words_are("...", true, "");
	words_are("", true, "");
	words_are("m\xc3\xbcller j", true, "j m\xc3\xbcller");
	for (int w = 0; w < 80; w++)
		strcat(many, w % 2 ? " b" : " a");
	ok(match_word_form(many, strlen(many), true, form) == strlen(many) - 1 && memcmp(form, "a b a b", 7) == 0,
	   "more words than it sorts stay as they are");
}

static void
host_is(const char *text, const char *expected)
{
	size_t		length;
	size_t		at = match_host_form(text, strlen(text), &length);

	ok(strlen(expected) == length && memcmp(text + at, expected, length) == 0, "host of \"%s\": \"%.*s\"", text, (int) length, text + at);
}

static void
check_hosts(void)
{
	host_is("https://www.foo.co.uk/contact?a=b", "foo.co.uk");
	host_is("foo.de", "foo.de");
	host_is("www.foo-bar.io.", "foo-bar.io");
	host_is("http://foo.com:8080", "foo.com");
	host_is("hello world", "");
	host_is("hello.world again", "");
	host_is("3.14", "");
	host_is("a@b.com", "");
	host_is("://", "");
	host_is("", "");
}

static void
day_is(const char *text, bool day_first, const char *expected, MatchDayOrder expected_order)
{
	char		day[MATCH_DAY_BYTES] = "";
	MatchDayOrder order;
	bool		found = match_day_form(text, strlen(text), day_first, day, &order);

	ok(found == (expected[0] != '\0') && strcmp(day, expected) == 0 && (!found || order == expected_order), "day of \"%s\": \"%s\"", text, day);
}

static void
check_days(void)
{
	day_is("12.3.1980", false, "1980-03-12", MATCH_DAY_FIRST);
	day_is("12/03/1980", true, "1980-03-12", MATCH_DAY_UNKNOWN);
	day_is("12/03/1980", false, "1980-12-03", MATCH_DAY_UNKNOWN);
	day_is("23/03/1980", false, "1980-03-23", MATCH_DAY_FIRST);
	day_is("03/23/1980", true, "1980-03-23", MATCH_MONTH_FIRST);
	day_is("mar 23, 1980", true, "1980-03-23", MATCH_MONTH_FIRST);
	day_is("23 march 1980", false, "1980-03-23", MATCH_DAY_FIRST);
	day_is("23-sept-1980", false, "1980-09-23", MATCH_DAY_FIRST);
	day_is("1980/3/23", false, "1980-03-23", MATCH_DAY_FIRST);
	day_is("42.17.1980", false, "1980-17-42", MATCH_DAY_FIRST);
	day_is("23.03.80", true, "", MATCH_DAY_UNKNOWN);
	day_is("3 apples 1980", true, "", MATCH_DAY_UNKNOWN);
	day_is("1980-03-23 10:11:12", true, "", MATCH_DAY_UNKNOWN);
	day_is("19800323", true, "", MATCH_DAY_UNKNOWN);
	day_is("", true, "", MATCH_DAY_UNKNOWN);
}

static void
model_is(const char *text, const char *expected)
{
	char		form[100];

	form[match_model_form(text, strlen(text), form)] = '\0';
	ok(strcmp(form, expected) == 0 && match_model_form(text, strlen(text), NULL) == strlen(expected), "code in \"%s\": \"%s\"", text, form);
}

static void
check_models(void)
{
	model_is("sony lcd tv 16gb - kdl-40v5100", "kdl40v5100");
	model_is("ab-1234 drill 18v", "ab1234");
	model_is("12b high street 90210", "");
	model_is("kettle", "");
	model_is("", "");
}

/* The form of a column with these values, each twice. */
static MatchForm
form_of(const char *const *values, int count)
{
	KernelEnv	env = tap_env();
	MatchRecords records;
	MatchProfile profile;
	MatchProfileOptions options = match_profile_defaults();
	MatchForm	form;

	match_records_init(&records, 1, &env);
	for (int i = 0; i < 2 * count; i++)
		match_records_set(&records, match_records_add(&records), 0, values[i % count], strlen(values[i % count]));
	match_profile(&records, &options, &profile);
	form = match_column_form(&records.column[0], profile.kind[0], &env);
	match_records_free(&records);
	return form;
}

static void
check_columns(void)
{
	const char *const names[] = {"smith, john", "john smith", "doe, jane", "jane doe", "ann lee", "lee, ann", "rob roy"};
	const char *const ordered[] = {"john smith", "jane doe", "ann lee", "rob roy", "tim tam", "bob bee", "john smyth"};
	const char *const sites[] = {"www.foo.com", "https://bar.com/x", "baz.org", "foo.com", "http://qux.net"};
	const char *const hosts[] = {"foo.com", "bar.com", "baz.org", "qux.net", "quux.net"};
	const char *const european[] = {"23/01/1980", "14/02/1981", "01/02/1982", "3/4/1983", "04/13/1990"};
	const char *const american[] = {"01/23/1980", "02/14/1981", "01/02/1982", "3/4/1983", "25/12/1990", "12/24/1999"};
	const char *const phones[] = {"030/1234567", "030 7654321", "040-111222", "089 333444", "0221/555666"};

	is_int(form_of(names, 7), MATCH_FORM_SORTED, "names in two orders are put in one");
	is_int(form_of(ordered, 7), MATCH_FORM_PLAIN, "names in one order stay");
	is_int(form_of(sites, 5), MATCH_FORM_HOST, "web addresses by their host");
	is_int(form_of(hosts, 5), MATCH_FORM_PLAIN, "hosts stay");
	is_int(form_of(european, 5), MATCH_FORM_DAY_FIRST, "days first");
	is_int(form_of(american, 6), MATCH_FORM_MONTH_FIRST, "months first");
	is_int(form_of(phones, 5), MATCH_FORM_CODE, "codes by letters and digits");
}

int
main(void)
{
	check_words();
	check_hosts();
	check_days();
	check_models();
	check_columns();
	return done_testing();
}
