/*
 * driver.c
 *		Runs a libFuzzer target without libFuzzer: random bytes and mutations of them for some seconds. Coverage-guided fuzzing
 *		(clang) is better; this is what a machine with gcc only can do.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_INPUT 4096

/* xorshift, so that a failing run can be repeated */
static uint64_t
next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

int
main(int argc, char **argv)
{
	time_t		end = time(NULL) + (argc > 1 ? atoi(argv[1]) : 10);
	uint64_t	state = 0x9e3779b97f4a7c15u;
	uint8_t    *input = malloc(MAX_INPUT);
	size_t		size = 0;
	long		runs = 0;

	while (time(NULL) < end)
	{
		if (next(&state) % 4 == 0)
		{
			size = next(&state) % (next(&state) % 8 == 0 ? MAX_INPUT : 64);
			for (size_t i = 0; i < size; i++)
				input[i] = next(&state) % 3 == 0 ? (uint8_t) next(&state) : (uint8_t) (32 + next(&state) % 95);
		}
		else
			for (int i = 0; size > 0 && i < 4; i++)
				input[next(&state) % size] = (uint8_t) next(&state);
		/* a copy of the exact size, so that the sanitizer sees the first byte too many */
		uint8_t    *copy = malloc(size > 0 ? size : 1);

		for (size_t i = 0; i < size; i++)
			copy[i] = input[i];
		LLVMFuzzerTestOneInput(copy, size);
		free(copy);
		runs++;
	}
	printf("%ld runs\n", runs);
	return 0;
}
