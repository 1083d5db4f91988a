/*
 * forecast_names_test.c
 *		Numbers for texts: in order of arrival, each once, whatever their bytes and however many.
 */
#include "tap.h"

#include "forecast/names.h"

/* Texts that are likely to be taken for one another: prefixes, bytes of zero, one byte apart at any place. */
static void
test_alike(void)
{
	KernelEnv	env = tap_env();
	Names	   *names = names_create(&env);
	char		text[64];
	bool		distinct = true;
	bool		found = true;

	memset(text, 'a', sizeof(text));
	for (int length = 0; length <= 40; length++)
		distinct &= names_number(names, text, (size_t) length) == length;
	ok(distinct, "a text and its beginnings differ");
	for (int at = 0; at < 40; at++)
	{
		text[at] = '\0';
		distinct &= names_number(names, text, 40) == 41 + at;
		text[at] = 'a';
	}
	ok(distinct, "texts that differ in one byte differ");
	for (int at = 0; at < 40; at++)
	{
		text[at] = '\0';
		found &= names_find(names, text, 40) == 41 + at && names_number(names, text, 40) == 41 + at;
		text[at] = 'a';
	}
	ok(found, "each is found again");
	is_int(names_count(names), 81, "and none is taken up twice");
	is_int(names_find(names, "b", 1), -1, "what was never given has no number");
	is_string(names_text(names, 3), "aaa", "a text is ended by a zero");
	names_free(names);
}

/* Many, beyond several doublings of everything; long ones among them. */
static void
test_many(void)
{
	enum
	{
		COUNT = 200000
	};
	KernelEnv	env = tap_env();
	Names	   *names = names_create(&env);
	char	   *large = malloc(100000);
	char		text[32];
	bool		in_order = true;
	bool		kept = true;

	memset(large, 'x', 100000);
	for (int i = 0; i < COUNT; i++)
		in_order &= names_number(names, text, (size_t) snprintf(text, sizeof(text), "D%d", i * 7)) == i;
	is_int(names_number(names, large, 100000), COUNT, "a long text is one more");
	is_int(names_number(names, large, 99999), COUNT + 1, "a shorter one another");
	ok(in_order, "numbers are in order of arrival");
	for (int i = 0; i < COUNT; i++)
	{
		size_t		length = (size_t) snprintf(text, sizeof(text), "D%d", i * 7);

		kept &= names_find(names, text, length) == i && strcmp(names_text(names, i), text) == 0;
	}
	ok(kept, "all are found, and read as they were given");
	ok(memcmp(names_text(names, COUNT), large, 100000) == 0, "the long one too");
	names_free(names);
	free(large);
}

/* Pairs of numbers. */
static void
test_pairs(void)
{
	KernelEnv	env = tap_env();
	Names	   *names = names_create(&env);

	is_int(names_pair(names, 1, 2), 0, "a pair");
	is_int(names_pair(names, 2, 1), 1, "the other way round");
	is_int(names_pair(names, 1, -1), 2, "with a number below 0");
	is_int(names_pair(names, 1, 2), 0, "the first again");
	names_free(names);
}

int
main(void)
{
	test_alike();
	test_many();
	test_pairs();
	return done_testing();
}
