/*
 * schedule_fuzz.c
 *		Any text as a schedule: no crash, no endless loop, and what is accepted moves forward through a changing zone.
 */
#include <stdlib.h>
#include <string.h>

#include "worker/schedule.h"

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A zone that changes every 100 days by an hour, or by a day */
static int32_t
offset_of(void *context, int64_t instant)
{
	int64_t		turn = (instant / 8640000) % 2;

	return turn == 0 ? 3600 : 3600 + *(int32_t *) context;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	   *text;
	char		error[120];
	WorkerSchedule schedule;
	int32_t		shift;
	int64_t		now = 1700000000;

	if (size < 1)
		return 0;
	shift = data[0] % 2 ? 3600 : 86400;
	text = malloc(size);
	memcpy(text, data + 1, size - 1);
	text[size - 1] = '\0';
	if (worker_schedule_parse(text, &schedule, error, sizeof(error)))
		for (int i = 0; i < 50; i++)
		{
			int64_t		next = worker_schedule_next(&schedule, now, 0, offset_of, &shift);

			if (next == WORKER_NEVER)
				break;
			if (next <= now)
				abort();
			now = next;
		}
	else if (error[0] == '\0')
		abort();
	free(text);
	return 0;
}
