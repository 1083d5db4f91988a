/*
 * kernel.h
 *		What a kernel file may assume of the outside world: an allocator and a tick, both given by its caller.
 *
 * Kernels (distance, EM, tree walk, convolution, tier arithmetic) never include postgres.h, so that unit tests, fuzzers,
 * sanitizers and micro-benchmarks link them without a server. The server's side of this contract is kernel_pg.h; the
 * tests' side is test/unit/tap.h.
 *
 * An allocator never returns NULL: the server's raises an error, the tests' aborts. A tick may not return at all (the
 * server's checks for a cancelled query and jumps), so a kernel keeps nothing that only its own code could free.
 */
#ifndef SALESOPS_CORE_KERNEL_H
#define SALESOPS_CORE_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct KernelEnv
{
	/* size may exceed 1 GB; the memory is not zeroed */
	void *(*alloc)(void *context, size_t size);
	void *(*realloc)(void *context, void *pointer, size_t size);
	void (*release)(void *context, void *pointer);
	/* called now and then in a long loop with work done and in all (0 where unknown) */
	void (*tick)(void *context, double done, double total);
	void *context;
} KernelEnv;

#define kernel_alloc(env, size) ((env)->alloc((env)->context, (size)))
#define kernel_alloc_array(env, type, count) ((type *) (env)->alloc((env)->context, sizeof(type) * (size_t) (count)))
#define kernel_realloc_array(env, pointer, type, count) \
	((type *) (env)->realloc((env)->context, (pointer), sizeof(type) * (size_t) (count)))
#define kernel_release(env, pointer) ((env)->release((env)->context, (pointer)))
#define kernel_tick(env, done, total) ((env)->tick((env)->context, (double) (done), (double) (total)))

#endif /* SALESOPS_CORE_KERNEL_H */
