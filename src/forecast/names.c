/*
 * names.c
 *		The table of names.h: open addressing over an array of texts, which lie one behind the other in blocks.
 *
 * A text costs one look at the table and one at itself, so a million of them are numbered at about the speed at which rows are read.
 */
#include "forecast/names.h"

#include <string.h>

#define BLOCK_BYTES	((size_t) 65536)
#define SLOTS_FIRST	64			/* a power of two */

/* A slot of the table: which text, and enough of its hash to pass most others by */
typedef struct Slot
{
	uint32_t	hash;
	int			number;			/* -1: free */
} Slot;

typedef struct Text
{
	const char *text;
	uint32_t	length;
	uint32_t	hash;
} Text;

typedef struct Block
{
	struct Block *before;
} Block;

struct Names
{
	const KernelEnv *env;
	Text	   *text;
	int			count;
	int			size;			/* of text */
	Slot	   *slot;
	uint32_t	mask;			/* slots - 1 */
	Block	   *block;			/* the latest */
	char	   *free;			/* in it */
	size_t		room;
};

/* Eight bytes, whatever their place. */
static uint64_t
word_at(const char *text, size_t length)
{
	uint64_t	word = 0;

	memcpy(&word, text, length < 8 ? length : 8);
	return word;
}

/* A hash of a text: eight bytes at a time, each folded in by a multiplication; finished as of splitmix64. */
static uint32_t
hash_text(const char *text, size_t length)
{
	uint64_t	hash = length * UINT64_C(0x9E3779B97F4A7C15);

	for (size_t at = 0; at < length; at += 8)
	{
		hash = (hash ^ word_at(text + at, length - at)) * UINT64_C(0xBF58476D1CE4E5B9);
		hash ^= hash >> 29;
	}
	hash = (hash ^ (hash >> 30)) * UINT64_C(0x94D049BB133111EB);
	return (uint32_t) (hash ^ (hash >> 31));
}

/* A table of so many free slots. */
static Slot *
free_slots(const KernelEnv *env, uint32_t slots)
{
	Slot	   *slot = kernel_alloc_array(env, Slot, slots);

	for (uint32_t k = 0; k < slots; k++)
		slot[k] = (Slot) {0, -1};
	return slot;
}

/* See names.h. */
Names *
names_create(const KernelEnv *env)
{
	Names	   *names = kernel_alloc_array(env, Names, 1);

	memset(names, 0, sizeof(*names));
	names->env = env;
	names->mask = SLOTS_FIRST - 1;
	names->slot = free_slots(env, SLOTS_FIRST);
	return names;
}

/* The slot of a text, or the free one that it would take. */
static Slot *
slot_of_text(const Names *names, const char *text, size_t length, uint32_t hash)
{
	uint32_t	at = hash & names->mask;

	for (;; at = (at + 1) & names->mask)
	{
		Slot	   *slot = &names->slot[at];
		const Text *other;

		if (slot->number < 0)
			return slot;
		if (slot->hash != hash)
			continue;
		other = &names->text[slot->number];
		if (other->length == length && memcmp(other->text, text, length) == 0)
			return slot;
	}
}

/* Twice the slots. */
static void
grow_table(Names *names)
{
	uint32_t	slots = (names->mask + 1) * 2;

	kernel_release(names->env, names->slot);
	names->slot = free_slots(names->env, slots);
	names->mask = slots - 1;
	for (int n = 0; n < names->count; n++)
	{
		uint32_t	at = names->text[n].hash & names->mask;

		while (names->slot[at].number >= 0)
			at = (at + 1) & names->mask;
		names->slot[at] = (Slot) {names->text[n].hash, n};
	}
}

/* A block of so many bytes. */
static char *
new_block(Names *names, size_t bytes)
{
	Block	   *block = kernel_alloc(names->env, sizeof(Block) + bytes);

	block->before = names->block;
	names->block = block;
	return (char *) (block + 1);
}

/* A copy of a text, with a 0 byte behind it; a long one has a block of its own. */
static const char *
keep_text(Names *names, const char *text, size_t length)
{
	char	   *copy;

	if (length >= BLOCK_BYTES / 8)
		copy = new_block(names, length + 1);
	else
	{
		if (names->room <= length)
		{
			names->free = new_block(names, BLOCK_BYTES);
			names->room = BLOCK_BYTES;
		}
		copy = names->free;
		names->free += length + 1;
		names->room -= length + 1;
	}
	memcpy(copy, text, length);
	copy[length] = '\0';
	return copy;
}

/* See names.h. */
int
names_number(Names *names, const char *text, size_t length)
{
	uint32_t	hash = hash_text(text, length);
	Slot	   *slot = slot_of_text(names, text, length, hash);

	if (slot->number >= 0)
		return slot->number;
	if (names->count == names->size)
	{
		names->size = names->size == 0 ? SLOTS_FIRST : names->size * 2;
		names->text = names->count == 0 ? kernel_alloc_array(names->env, Text, names->size) :
			kernel_realloc_array(names->env, names->text, Text, names->size);
	}
	*slot = (Slot) {hash, names->count};
	names->text[names->count++] = (Text) {keep_text(names, text, length), (uint32_t) length, hash};
	if ((uint32_t) names->count * 2 > names->mask)
	{
		grow_table(names);
		return names->count - 1;
	}
	return slot->number;
}

/* See names.h. */
int
names_pair(Names *names, int a, int b)
{
	int			pair[2] = {a, b};

	return names_number(names, (const char *) pair, sizeof(pair));
}

/* See names.h. */
int
names_find(const Names *names, const char *text, size_t length)
{
	return slot_of_text(names, text, length, hash_text(text, length))->number;
}

/* See names.h. */
int
names_count(const Names *names)
{
	return names->count;
}

/* See names.h. */
const char *
names_text(const Names *names, int number)
{
	return names->text[number].text;
}

/* See names.h. */
void
names_free(Names *names)
{
	const KernelEnv *env = names->env;

	while (names->block != NULL)
	{
		Block	   *before = names->block->before;

		kernel_release(env, names->block);
		names->block = before;
	}
	if (names->text != NULL)
		kernel_release(env, names->text);
	kernel_release(env, names->slot);
	kernel_release(env, names);
}
