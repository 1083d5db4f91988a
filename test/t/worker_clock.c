/*
 * worker_clock.c
 *		A clock that worker_clock.pl sets, for a server started with this preloaded (LD_PRELOAD): the time of day plus as many seconds as the
 *		file named by CLOCK_OFFSET says, a binary int64. CLOCK_MONOTONIC is the real one, as when a machine's clock is set. Not part of
 *		the extension. (libfaketime will not do: processes forked in a signal handler, as background workers are, see the real time.)
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *offset;

static void __attribute__((constructor))
map_offset(void)
{
	const char *path = getenv("CLOCK_OFFSET");
	int			file = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void	   *map = file >= 0 ? mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0) : MAP_FAILED;

	if (map != MAP_FAILED)
		offset = map;
	if (file >= 0)
		close(file);
}

int
clock_gettime(clockid_t clock, struct timespec *at)
{
	int			rc = (int) syscall(SYS_clock_gettime, clock, at);

	if (rc == 0 && clock == CLOCK_REALTIME && offset != NULL)
		at->tv_sec += *offset;
	return rc;
}

int
gettimeofday(struct timeval *restrict at, void *restrict zone)
{
	struct timespec now;

	(void) zone;
	if (clock_gettime(CLOCK_REALTIME, &now) != 0)
		return -1;
	at->tv_sec = now.tv_sec;
	at->tv_usec = now.tv_nsec / 1000;
	return 0;
}

time_t
time(time_t *at)
{
	struct timespec now;

	if (clock_gettime(CLOCK_REALTIME, &now) != 0)
		return (time_t) -1;
	if (at != NULL)
		*at = now.tv_sec;
	return now.tv_sec;
}
