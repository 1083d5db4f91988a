/*
 * trees_bytes.c
 *		An ensemble as bytes and back. Little-endian everywhere, checked on the way in whatever the bytes are.
 *
 *	header	"SOTE", u16 version, u16 0, u32 features, u32 trees, u32 nodes, u32 slots, f32 base margin
 *	slots	u32 each, from slot 1 on: feature * 2 + (missing goes left)
 *	nodes	u16 slot each (0: a leaf), then f32 threshold or leaf value each, then f32 cover each; breadth first, so that
 *			children need no numbers (trees_build.h)
 *	end		u32 FNV-1a of all before
 */
#include <string.h>

#include "learn/trees.h"
#include "learn/trees_build.h"

#define BYTES_VERSION	1
#define HEADER_SIZE		28
#define NODE_SIZE		10

/* Append a number of 16 bits, lowest byte first. */
static uint8_t *
put16(uint8_t *to, uint32_t number)
{
	to[0] = (uint8_t) number;
	to[1] = (uint8_t) (number >> 8);
	return to + 2;
}

/* Append a number of 32 bits, lowest byte first. */
static uint8_t *
put32(uint8_t *to, uint32_t number)
{
	return put16(put16(to, number & 0xFFFF), number >> 16);
}

/* Append a float by its bits. */
static uint8_t *
put_float(uint8_t *to, float number)
{
	uint32_t	bits;

	memcpy(&bits, &number, sizeof(bits));
	return put32(to, bits);
}

/* A number of 16 bits. */
static uint32_t
get16(const uint8_t *from)
{
	return (uint32_t) from[0] | (uint32_t) from[1] << 8;
}

/* A number of 32 bits. */
static uint32_t
get32(const uint8_t *from)
{
	return get16(from) | get16(from + 2) << 16;
}

/* A float from its bits. */
static float
get_float(const uint8_t *from)
{
	uint32_t	bits = get32(from);
	float		number;

	memcpy(&number, &bits, sizeof(number));
	return number;
}

/* FNV-1a, 32 bits: finds damage, not malice; the checks of each number do that. */
static uint32_t
checksum(const uint8_t *bytes, size_t size)
{
	uint32_t	hash = 2166136261u;
	size_t		i;

	for (i = 0; i < size; i++)
		hash = (hash ^ bytes[i]) * 16777619u;
	return hash;
}

/* Header and slots. */
static uint8_t *
put_header(uint8_t *to, const TreeEnsemble *ensemble, uint32_t nodes)
{
	int			s;

	memcpy(to, "SOTE", 4);
	to = put16(to + 4, BYTES_VERSION);
	to = put16(to, 0);
	to = put32(to, (uint32_t) ensemble->features);
	to = put32(to, (uint32_t) ensemble->trees);
	to = put32(to, nodes);
	to = put32(to, (uint32_t) ensemble->slots);
	to = put_float(to, ensemble->base_margin);
	for (s = 1; s < ensemble->slots; s++)
		to = put32(to, (uint32_t) ensemble->slot_feature[s] * 2 + ensemble->slot_left[s]);
	return to;
}

/* The ensemble as bytes, the same on every machine; allocated in env. */
void *
learn_trees_serialize(const TreeEnsemble *ensemble, const KernelEnv *env, size_t *size)
{
	uint32_t	nodes = ensemble->tree_start[ensemble->trees];
	uint8_t    *bytes;
	uint8_t    *to;
	uint32_t	i;

	*size = HEADER_SIZE + 4 * (size_t) (ensemble->slots - 1) + (size_t) NODE_SIZE * nodes + 4;
	bytes = kernel_alloc(env, *size);
	to = put_header(bytes, ensemble, nodes);
	for (i = 0; i < nodes; i++)
		to = put16(to, ensemble->nodes[i].slot);
	for (i = 0; i < nodes; i++)
		to = put_float(to, learn_tree_node_is_leaf(&ensemble->nodes[i]) ? ensemble->value[i]
					   : ensemble->nodes[i].threshold);
	for (i = 0; i < nodes; i++)
		to = put_float(to, ensemble->cover[i]);
	put32(to, checksum(bytes, *size - 4));
	return bytes;
}

/* Read the slots and nodes that lie between header and checksum. */
static void
read_body(TreeBuilder *builder, const uint8_t *body, uint32_t slots, uint32_t nodes)
{
	const uint8_t *codes = body + 4 * (size_t) (slots - 1);
	const uint8_t *numbers = codes + 2 * (size_t) nodes;
	const uint8_t *covers = numbers + 4 * (size_t) nodes;
	uint32_t	i;

	for (i = 1; i < slots && builder->problem == NULL; i++)
	{
		uint32_t	slot = get32(body + 4 * (size_t) (i - 1));

		learn_tree_builder_slot(builder, slot >> 1, slot & 1);
	}
	for (i = 0; i < nodes && builder->problem == NULL; i++)
	{
		uint32_t	slot = get16(codes + 2 * (size_t) i);
		float		number = get_float(numbers + 4 * (size_t) i);
		float		cover = get_float(covers + 4 * (size_t) i);

		if (slot == 0)
			learn_tree_builder_leaf(builder, number, cover);
		else
			learn_tree_builder_split(builder, (int) slot, number, cover);
	}
}

/* What is wrong with the frame: magic, version, sizes, checksum. NULL where nothing is. */
static const char *
frame_problem(const uint8_t *bytes, size_t size)
{
	uint64_t	want;

	if (size < HEADER_SIZE + 4 || memcmp(bytes, "SOTE", 4) != 0)
		return "these bytes are not a tree ensemble";
	if (get16(bytes + 4) != BYTES_VERSION || get16(bytes + 6) != 0)
		return "the tree ensemble is of a version that this release does not know";
	if (get32(bytes + 20) < 1)
		return "the tree ensemble is damaged: no slots";
	want = HEADER_SIZE + 4 * ((uint64_t) get32(bytes + 20) - 1) + (uint64_t) NODE_SIZE * get32(bytes + 16) + 4;
	if (want != size)
		return "the tree ensemble is damaged: its size does not fit its contents";
	if (get32(bytes + size - 4) != checksum(bytes, size - 4))
		return "the tree ensemble is damaged: its checksum does not fit";
	return NULL;
}

/* The ensemble from its bytes; NULL and *problem where they are damaged or of another version. */
TreeEnsemble *
learn_trees_deserialize(const KernelEnv *env, const void *bytes, size_t size, const char **problem)
{
	const uint8_t *from = bytes;
	TreeBuilder builder;

	*problem = frame_problem(from, size);
	if (*problem != NULL)
		return NULL;
	learn_tree_builder_begin(&builder, env, get32(from + 8), get_float(from + 24));
	read_body(&builder, from + HEADER_SIZE, get32(from + 20), get32(from + 16));
	if (builder.problem == NULL && (uint32_t) builder.ensemble->trees != get32(from + 12))
		builder.problem = "the tree ensemble is damaged: its trees are not as many as it says";
	return learn_tree_builder_finish(&builder, problem);
}
