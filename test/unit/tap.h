/*
 * tap.h
 *		The unit tests' side of kernel.h, and the smallest TAP producer that does: every test/unit/NAME_test.c includes it
 *		once, calls ok()/is_int()/is_double()/is_string(), and ends main with return done_testing();
 */
#ifndef SALESOPS_TEST_TAP_H
#define SALESOPS_TEST_TAP_H

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/kernel.h"

static int	tap_run = 0;
static int	tap_failed = 0;

__attribute__((unused, format(printf, 2, 3))) static bool
ok(bool passed, const char *name, ...)
{
	va_list		args;

	printf("%sok %d - ", passed ? "" : "not ", ++tap_run);
	va_start(args, name);
	vprintf(name, args);
	va_end(args);
	printf("\n");
	tap_failed += !passed;
	return passed;
}

__attribute__((unused)) static bool
is_int(int64_t got, int64_t want, const char *name)
{
	bool		passed = ok(got == want, "%s", name);

	if (!passed)
		printf("# got %" PRId64 ", want %" PRId64 "\n", got, want);
	return passed;
}

__attribute__((unused)) static bool
is_double(double got, double want, double tolerance, const char *name)
{
	bool		passed = ok((isnan(got) && isnan(want)) || fabs(got - want) <= tolerance, "%s", name);

	if (!passed)
		printf("# got %.17g, want %.17g within %g\n", got, want, tolerance);
	return passed;
}

__attribute__((unused)) static bool
is_string(const char *got, const char *want, const char *name)
{
	bool		passed = ok(got != NULL && want != NULL && strcmp(got, want) == 0, "%s", name);

	if (!passed)
		printf("# got \"%s\", want \"%s\"\n", got ? got : "(null)", want ? want : "(null)");
	return passed;
}

static void *
tap_alloc(void *context, size_t size)
{
	void	   *pointer = malloc(size == 0 ? 1 : size);

	(void) context;
	if (pointer == NULL)
		abort();
	return pointer;
}

static void *
tap_realloc(void *context, void *pointer, size_t size)
{
	(void) context;
	pointer = realloc(pointer, size == 0 ? 1 : size);
	if (pointer == NULL)
		abort();
	return pointer;
}

static void
tap_release(void *context, void *pointer)
{
	(void) context;
	free(pointer);
}

static void
tap_tick(void *context, double done, double total)
{
	(void) context;
	(void) done;
	(void) total;
}

/* malloc behind the kernels' allocator, so that sanitizers see each chunk */
__attribute__((unused)) static KernelEnv
tap_env(void)
{
	KernelEnv	env = {tap_alloc, tap_realloc, tap_release, tap_tick, NULL};

	return env;
}

__attribute__((unused)) static int
done_testing(void)
{
	printf("1..%d\n", tap_run);
	return tap_failed == 0 ? 0 : 1;
}

#endif /* SALESOPS_TEST_TAP_H */
