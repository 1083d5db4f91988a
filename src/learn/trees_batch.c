/*
 * trees_batch.c
 *		Margins of many rows at a time. Where the processor has AVX2, 32 rows share every instruction; elsewhere, and
 *		where an ensemble does not fit the form, rows are walked one by one. Both give the same bits.
 *
 * Every question that a tree asks is "x < t", for one of the few thresholds of a feature (training uses at most 255 bins). A
 * row's value is therefore replaced, once, by its code: how many of the feature's thresholds are <= x; "x < t_i" is then
 * "code <= i", a comparison of bytes. A missing value is code 0 (left of every threshold) or 255 (right of them all), so
 * that a slot, a feature with a direction for the missing, is a row of bytes.
 *
 * A tree of depth D <= 5 is filled up to a complete one. All its comparisons are made for 32 rows, and the number of each row's leaf is
 * put together from the bottom up: one addition for the two leaves of a lowest split, one blend for every split above. The
 * leaf's float is fetched by its four bytes from tables of 16 (pshufb). A tree of depth 6 to 9 is complete in the upper
 * five levels, whose "leaf" is then the number of a small subtree, walked on with gathers.
 *
 * Rows are taken in tiles small enough that their codes stay in the first-level cache while all trees pass over them.
 * Eight floats of a vector stand for the rows 4j .. 4j + 3 and 16 + 4j .. 16 + 4j + 3 of their 32: the order in which bytes unpack.
 */
#include <string.h>

#include "learn/trees.h"
#include "learn/trees_build.h"
#include "learn/trees_codes.h"

#ifdef __x86_64__

#include <immintrin.h>

#define AVX2			__attribute__((target("avx2")))
#define AVX2_INLINE		static inline __attribute__((target("avx2"), always_inline))

#define GROUP			32		/* rows that share an instruction */
#define TILE_BYTES		24576	/* of codes */
#define TILE_GROUPS		8		/* at most */
#define TOP_DEPTH		5
#define TOP_NODES		31
#define TOP_LEAVES		32
#define LOW_DEPTH		4		/* levels below the top at most */

/* A split of the upper levels: right where the slot's code is greater. */
typedef struct TopNode
{
	uint32_t	offset;			/* of the slot's codes */
	uint32_t	code;			/* the threshold's code less 128, four times over */
} TopNode;

/* One tree. Leaves are numbered from the left, but the two of a lowest split the other way round. */
typedef struct TopTree
{
	uint8_t		depth;			/* of the upper levels as filled up */
	uint8_t		low_depth;		/* levels below; 0: the upper leaves are the leaves */
	TopNode		nodes[TOP_NODES];	/* heap order */
	uint8_t		planes[4][TOP_LEAVES];	/* the leaves' floats, byte by byte */
	/* below: subtree s (counted from the left) has its splits at low_nodes + (s << low_depth), heap order from 1 */
	uint32_t   *low_nodes;		/* offset << 8 | code */
	float	   *low_values;		/* subtree s has its leaves at low_values + (s << low_depth), from the left */
} TopTree;

struct TreeBatch
{
	TreeCodes  *codes_of;		/* NULL: this ensemble has no such form */
	int			groups;			/* in a tile */
	TopTree    *trees;
	uint8_t    *codes;			/* slot s: groups * GROUP bytes from s * groups * GROUP on */
	void	   *codes_chunk;	/* what to release: codes are aligned within it */
};

/* Where a slot's codes begin. */
static uint32_t
slot_offset(const TreeBatch *batch, int slot)
{
	return (uint32_t) (slot * batch->groups * GROUP);
}

/* What fill_top and fill_low need to know of the tree at hand. */
typedef struct TreeSource
{
	const TreeEnsemble *ensemble;
	const TreeBatch *batch;
	const TreeNode *nodes;
	const float *values;
} TreeSource;

/* A split in 32 bits, less 128 as bytes are compared with sign; a leaf that stands for a split asks slot 0, anything. */
static uint32_t
packed_split(const TreeSource *source, uint32_t node)
{
	const TreeNode *split = &source->nodes[node];

	if (learn_tree_node_is_leaf(split))
		return 0x7F;
	return slot_offset(source->batch, split->slot) << 8 |
		(uint32_t) (uint8_t) (learn_tree_code(source->batch->codes_of, split) ^ 0x80);
}

/* The child of a split; a leaf stands for both its children. */
static uint32_t
child_or_self(const TreeSource *source, uint32_t node, unsigned right)
{
	return learn_tree_node_is_leaf(&source->nodes[node]) ? node : node + source->nodes[node].ahead + right;
}

/* Fill a lower subtree, heap order from 1, `levels` deep. */
static void
fill_low(const TreeSource *source, uint32_t node, uint32_t *splits, float *values, unsigned at, unsigned levels,
		 unsigned low_depth)
{
	if (levels == 0)
	{
		values[at - (1u << low_depth)] = source->values[node];
		return;
	}
	splits[at] = packed_split(source, node);
	fill_low(source, child_or_self(source, node, 0), splits, values, at * 2, levels - 1, low_depth);
	fill_low(source, child_or_self(source, node, 1), splits, values, at * 2 + 1, levels - 1, low_depth);
}

/* Fill the upper levels, heap order from 0; `leaf` counts the places below from the left. */
static void
fill_top(const TreeSource *source, TopTree *tree, uint32_t node, unsigned at, unsigned levels, unsigned *leaf)
{
	if (levels == 0)
	{
		/* the lowest split adds -1 where the row goes right, so its right child has the lower number */
		unsigned	place = tree->depth == 0 ? 0 : (*leaf)++ ^ 1;
		uint32_t	bits;
		int			plane;

		memcpy(&bits, &source->values[node], sizeof(bits));
		for (plane = 0; plane < 4; plane++)
			tree->planes[plane][place] = (uint8_t) (bits >> (8 * plane));
		if (tree->low_depth > 0)
			fill_low(source, node, tree->low_nodes + (place << tree->low_depth),
					 tree->low_values + (place << tree->low_depth), 1, tree->low_depth, tree->low_depth);
		return;
	}
	tree->nodes[at].offset = packed_split(source, node) >> 8;
	tree->nodes[at].code = (packed_split(source, node) & 0xFF) * 0x01010101u;
	fill_top(source, tree, child_or_self(source, node, 0), at * 2 + 1, levels - 1, leaf);
	fill_top(source, tree, child_or_self(source, node, 1), at * 2 + 2, levels - 1, leaf);
}

/* One tree in the batch's form. */
static void
fill_tree(const TreeEnsemble *ensemble, const TreeBatch *batch, int number)
{
	TopTree    *tree = &batch->trees[number];
	uint32_t	start = ensemble->tree_start[number];
	TreeSource	source = {ensemble, batch, ensemble->nodes + start, ensemble->value + start};
	int			depth = ensemble->tree_depth[number];
	unsigned	leaf = 0;

	memset(tree, 0, sizeof(*tree));
	tree->depth = (uint8_t) (depth < TOP_DEPTH ? depth : TOP_DEPTH);
	tree->low_depth = (uint8_t) (depth - tree->depth);
	if (tree->low_depth > 0)
	{
		tree->low_nodes = kernel_alloc_array(&ensemble->env, uint32_t, TOP_LEAVES << tree->low_depth);
		tree->low_values = kernel_alloc_array(&ensemble->env, float, TOP_LEAVES << tree->low_depth);
	}
	fill_top(&source, tree, 0, 0, tree->depth, &leaf);
}

/* Room for a tile's codes, aligned; slot 0, which filled-up splits ask, holds the lowest code for ever. */
static void
create_tile(const TreeEnsemble *ensemble, TreeBatch *batch)
{
	size_t		size;

	batch->groups = TILE_BYTES / (ensemble->slots * GROUP);
	batch->groups = batch->groups < 1 ? 1 : batch->groups > TILE_GROUPS ? TILE_GROUPS : batch->groups;
	/* gathers read three bytes more than they use */
	size = (size_t) ensemble->slots * (size_t) batch->groups * GROUP + 4;
	batch->codes_chunk = kernel_alloc(&ensemble->env, size + 63);
	batch->codes = (uint8_t *) (((uintptr_t) batch->codes_chunk + 63) & ~(uintptr_t) 63);
	memset(batch->codes, 0x80, size);
}

/* Make the batch's form; it says so where this ensemble or processor has none. */
static TreeBatch *
create_batch(const TreeEnsemble *ensemble)
{
	TreeBatch  *batch = kernel_alloc_array(&ensemble->env, TreeBatch, 1);
	int			tree;

	memset(batch, 0, sizeof(*batch));
	/* slot offsets have 24 bits in a packed split */
	if (learn_tree_cpu() < 1 || ensemble->max_depth > TOP_DEPTH + LOW_DEPTH ||
		ensemble->slots > (1 << 24) / (TILE_GROUPS * GROUP))
		return batch;
	batch->codes_of = learn_tree_codes_create(ensemble);
	if (batch->codes_of == NULL)
		return batch;
	create_tile(ensemble, batch);
	batch->trees = kernel_alloc_array(&ensemble->env, TopTree, ensemble->trees);
	for (tree = 0; tree < ensemble->trees; tree++)
		fill_tree(ensemble, batch, tree);
	return batch;
}

/* Give back what the batch kernel keeps. */
void
learn_tree_batch_free(TreeEnsemble *ensemble)
{
	TreeBatch  *batch = ensemble->batch;
	int			i;

	if (batch == NULL)
		return;
	for (i = 0; batch->trees != NULL && i < ensemble->trees; i++)
	{
		kernel_release(&ensemble->env, batch->trees[i].low_nodes);
		kernel_release(&ensemble->env, batch->trees[i].low_values);
	}
	learn_tree_codes_free(batch->codes_of);
	kernel_release(&ensemble->env, batch->trees);
	kernel_release(&ensemble->env, batch->codes_chunk);
	kernel_release(&ensemble->env, batch);
	ensemble->batch = NULL;
}

/* ---- codes --------------------------------------------------------------------------------------------------------- */

/*
 * Codes of a group for one feature, into the rows of its slots; `even` and `many` are constants at every call. Value by value: two steps
 * of counting thresholds in a vector cost a fifth of eight steps of a binary search by gathers, and one step from a table of
 * cells half of two. Of fewer than 32 rows the last is repeated.
 */
AVX2_INLINE void
encode_values(const TreeBatch *batch, const FeatureCuts *feature, const float *first, size_t rows, size_t stride, int group,
			  bool even, bool many)
{
	const __m256i sign = _mm256_set1_epi8((char) 0x80);
	const float *cuts = feature->cuts;
	uint8_t		code[GROUP] __attribute__((aligned(32)));
	uint8_t		absent[GROUP] __attribute__((aligned(32)));
	__m256i		codes;
	size_t		row;

	for (row = 0; row < rows; row++)
	{
		float		number = first[row * stride + feature->feature];

		code[row] = (uint8_t) (even ? learn_tree_count_even(feature, cuts, number) :
							   learn_tree_count_cuts(feature->last, cuts, many, _mm256_set1_ps(number)));
		absent[row] = (uint8_t) -(number != number);
	}
	for (; row < GROUP; row++)
	{
		code[row] = code[rows - 1];
		absent[row] = absent[rows - 1];
	}
	codes = _mm256_load_si256((const __m256i *) code);
	if (feature->slot_left != 0)
		_mm256_store_si256((__m256i *) (batch->codes + slot_offset(batch, feature->slot_left) + group * GROUP),
						   _mm256_xor_si256(codes, sign));
	if (feature->slot_right != 0)
		_mm256_store_si256((__m256i *) (batch->codes + slot_offset(batch, feature->slot_right) + group * GROUP),
						   _mm256_xor_si256(_mm256_or_si256(codes, _mm256_load_si256((const __m256i *) absent)), sign));
}

/* Codes of a group for one feature, in the way that suits its thresholds. */
AVX2_INLINE void
encode_feature(const TreeBatch *batch, const FeatureCuts *feature, const float *first, size_t rows, size_t stride, int group)
{
	if (feature->even)
		encode_values(batch, feature, first, rows, stride, group, true, false);
	else if (feature->count > CUT_BLOCK)
		encode_values(batch, feature, first, rows, stride, group, false, true);
	else
		encode_values(batch, feature, first, rows, stride, group, false, false);
}

/* Codes of one group. */
AVX2 static void
encode_group(const TreeBatch *batch, const float *first, size_t rows, size_t stride, int group)
{
	int			f;

	for (f = 0; f < batch->codes_of->features; f++)
		encode_feature(batch, &batch->codes_of->feature[f], first, rows < GROUP ? rows : GROUP, stride, group);
}

/* ---- leaves of 32 rows ---------------------------------------------------------------------------------------------- */

/* Does the row go right at this split? */
AVX2_INLINE __m256i
goes_right(const TopNode *nodes, const uint8_t *codes, unsigned at)
{
	return _mm256_cmpgt_epi8(_mm256_load_si256((const __m256i *) (codes + nodes[at].offset)),
							 _mm256_set1_epi32((int) nodes[at].code));
}

/* The numbers of the leaves below a lowest split: `leaf` on the right, `leaf` + 1 on the left. */
AVX2_INLINE __m256i
leaves_1(const TopNode *nodes, const uint8_t *codes, unsigned at, int leaf)
{
	return _mm256_add_epi8(goes_right(nodes, codes, at), _mm256_set1_epi8((char) (leaf + 1)));
}

/* The numbers of the leaves below a split, from those below its children. */
#define LEAVES(depth, below) \
AVX2_INLINE __m256i \
leaves_##depth(const TopNode *nodes, const uint8_t *codes, unsigned at, int leaf) \
{ \
	__m256i		left = leaves_##below(nodes, codes, at * 2 + 1, leaf); \
	__m256i		right = leaves_##below(nodes, codes, at * 2 + 2, leaf + (1 << (below))); \
	return _mm256_blendv_epi8(left, right, goes_right(nodes, codes, at)); \
}
LEAVES(2, 1)
LEAVES(3, 2)
LEAVES(4, 3)
LEAVES(5, 4)

/* The numbers of the rows' leaves in the upper levels. */
AVX2_INLINE __m256i
top_leaves(const TopTree *tree, const uint8_t *codes, int depth)
{
	switch (depth)
	{
		case 0:
			return _mm256_setzero_si256();
		case 1:
			return leaves_1(tree->nodes, codes, 0, 0);
		case 2:
			return leaves_2(tree->nodes, codes, 0, 0);
		case 3:
			return leaves_3(tree->nodes, codes, 0, 0);
		case 4:
			return leaves_4(tree->nodes, codes, 0, 0);
		default:
			return leaves_5(tree->nodes, codes, 0, 0);
	}
}

/* One byte of the leaves' floats. */
AVX2_INLINE __m256i
plane_bytes(const TopTree *tree, int plane, __m256i leaves, int depth)
{
	const __m128i *table = (const __m128i *) tree->planes[plane];
	__m256i		low = _mm256_broadcastsi128_si256(_mm_loadu_si128(table));
	__m256i		high;

	if (depth <= 4)
		return _mm256_shuffle_epi8(low, leaves);
	/* pshufb gives 0 where the number's highest bit is set: from 16 on in the first table, below 16 in the second */
	high = _mm256_broadcastsi128_si256(_mm_loadu_si128(table + 1));
	return _mm256_or_si256(_mm256_shuffle_epi8(low, _mm256_add_epi8(leaves, _mm256_set1_epi8(0x70))),
						   _mm256_shuffle_epi8(high, _mm256_sub_epi8(leaves, _mm256_set1_epi8(16))));
}

/* Add the leaves' floats to the margins of 32 rows. */
AVX2_INLINE void
add_leaves(const TopTree *tree, __m256i leaves, int depth, __m256 *margins)
{
	__m256i		b0 = plane_bytes(tree, 0, leaves, depth);
	__m256i		b1 = plane_bytes(tree, 1, leaves, depth);
	__m256i		b2 = plane_bytes(tree, 2, leaves, depth);
	__m256i		b3 = plane_bytes(tree, 3, leaves, depth);
	__m256i		low01 = _mm256_unpacklo_epi8(b0, b1);
	__m256i		high01 = _mm256_unpackhi_epi8(b0, b1);
	__m256i		low23 = _mm256_unpacklo_epi8(b2, b3);
	__m256i		high23 = _mm256_unpackhi_epi8(b2, b3);

	margins[0] = _mm256_add_ps(margins[0], _mm256_castsi256_ps(_mm256_unpacklo_epi16(low01, low23)));
	margins[1] = _mm256_add_ps(margins[1], _mm256_castsi256_ps(_mm256_unpackhi_epi16(low01, low23)));
	margins[2] = _mm256_add_ps(margins[2], _mm256_castsi256_ps(_mm256_unpacklo_epi16(high01, high23)));
	margins[3] = _mm256_add_ps(margins[3], _mm256_castsi256_ps(_mm256_unpackhi_epi16(high01, high23)));
}

/* One tree over a tile; depth is a constant at every call. */
AVX2_INLINE void
add_top_tree(const TopTree *tree, const uint8_t *codes, int groups, __m256 *margins, int depth)
{
	int			g;

	for (g = 0; g < groups; g++)
		add_leaves(tree, top_leaves(tree, codes + g * GROUP, depth), depth, margins + g * 4);
}

/* The bytes 4j .. 4j + 3 of both halves as eight numbers. */
AVX2_INLINE __m256i
widen_bytes(__m256i bytes, int j)
{
	const __m256i pick = _mm256_setr_epi32((int) 0x80808000, (int) 0x80808001, (int) 0x80808002, (int) 0x80808003,
										   (int) 0x80808000, (int) 0x80808001, (int) 0x80808002, (int) 0x80808003);

	return _mm256_shuffle_epi8(bytes, _mm256_add_epi32(pick, _mm256_set1_epi32(4 * j)));
}

/* A tree with lower levels over a tile: from the subtree's number on by gathers, eight rows at a time. */
AVX2 static void
add_deep_tree(const TopTree *tree, const uint8_t *codes, int groups, __m256 *margins)
{
	const int	levels = tree->low_depth;
	int			g;
	int			j;
	int			level;

	for (g = 0; g < groups; g++)
	{
		__m256i		subtree = top_leaves(tree, codes + g * GROUP, TOP_DEPTH);
		__m256i		base[4];
		__m256i		at[4];

		for (j = 0; j < 4; j++)
		{
			base[j] = _mm256_slli_epi32(widen_bytes(subtree, j), levels);
			at[j] = _mm256_set1_epi32(1);
		}
		for (level = 0; level < levels; level++)
			for (j = 0; j < 4; j++)
			{
				__m256i		row = _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19),
												   _mm256_set1_epi32(g * GROUP + 4 * j));
				__m256i		split = _mm256_i32gather_epi32((const int *) tree->low_nodes,
														   _mm256_add_epi32(base[j], at[j]), 4);
				__m256i		code = _mm256_i32gather_epi32((const int *) codes,
														  _mm256_add_epi32(_mm256_srli_epi32(split, 8), row), 1);

				/* compared as the highest bytes of 32-bit numbers */
				code = _mm256_slli_epi32(code, 24);
				split = _mm256_slli_epi32(split, 24);
				at[j] = _mm256_sub_epi32(_mm256_add_epi32(at[j], at[j]), _mm256_cmpgt_epi32(code, split));
			}
		for (j = 0; j < 4; j++)
		{
			__m256i		leaf = _mm256_sub_epi32(_mm256_add_epi32(base[j], at[j]), _mm256_set1_epi32(1 << levels));

			margins[g * 4 + j] = _mm256_add_ps(margins[g * 4 + j], _mm256_i32gather_ps(tree->low_values, leaf, 4));
		}
	}
}

/* A tree over a tile. */
AVX2 static void
add_tree(const TopTree *tree, const uint8_t *codes, int groups, __m256 *margins)
{
	if (tree->low_depth > 0)
	{
		add_deep_tree(tree, codes, groups, margins);
		return;
	}
	switch (tree->depth)
	{
		case 0:
			add_top_tree(tree, codes, groups, margins, 0);
			break;
		case 1:
			add_top_tree(tree, codes, groups, margins, 1);
			break;
		case 2:
			add_top_tree(tree, codes, groups, margins, 2);
			break;
		case 3:
			add_top_tree(tree, codes, groups, margins, 3);
			break;
		case 4:
			add_top_tree(tree, codes, groups, margins, 4);
			break;
		default:
			add_top_tree(tree, codes, groups, margins, 5);
			break;
	}
}

/* Write a group's margins in the order of its rows. */
AVX2 static void
store_group(const __m256 *margins, float *to, size_t rows)
{
	float		all[GROUP];
	int			j;

	for (j = 0; j < 4; j++)
	{
		_mm_storeu_ps(all + 4 * j, _mm256_castps256_ps128(margins[j]));
		_mm_storeu_ps(all + 16 + 4 * j, _mm256_extractf128_ps(margins[j], 1));
	}
	memcpy(to, all, sizeof(float) * (rows < GROUP ? rows : GROUP));
}

/* Margins of one tile. */
AVX2 static void
predict_tile(const TreeEnsemble *ensemble, const float *matrix, size_t rows, size_t stride, float *to)
{
	const TreeBatch *batch = ensemble->batch;
	int			groups = (int) ((rows + GROUP - 1) / GROUP);
	__m256		margins[TILE_GROUPS * 4];
	int			g;
	int			tree;
	int			j;

	for (g = 0; g < groups; g++)
	{
		encode_group(batch, matrix + (size_t) g * GROUP * stride, rows - (size_t) g * GROUP, stride, g);
		for (j = 0; j < 4; j++)
			margins[g * 4 + j] = _mm256_set1_ps(ensemble->base_margin);
	}
	for (tree = 0; tree < ensemble->trees; tree++)
		add_tree(&batch->trees[tree], batch->codes, groups, margins);
	for (g = 0; g < groups; g++)
		store_group(margins + g * 4, to + g * GROUP, rows - (size_t) g * GROUP);
}

/* The log odds of many rows. */
void
learn_trees_margin_batch(TreeEnsemble *ensemble, const float *matrix, size_t rows, size_t stride, float *margins)
{
	size_t		tile;
	size_t		row;

	if (ensemble->batch == NULL)
		ensemble->batch = create_batch(ensemble);
	if (ensemble->batch->codes_of == NULL)
	{
		learn_trees_margin_batch_plain(ensemble, matrix, rows, stride, margins);
		return;
	}
	tile = (size_t) ensemble->batch->groups * GROUP;
	for (row = 0; row < rows; row += tile)
		predict_tile(ensemble, matrix + row * stride, rows - row < tile ? rows - row : tile, stride, margins + row);
}

#else							/* not x86-64 */

/* Nothing is kept. */
void
learn_tree_batch_free(TreeEnsemble *ensemble)
{
	ensemble->batch = NULL;
}

/* The log odds of many rows. */
void
learn_trees_margin_batch(TreeEnsemble *ensemble, const float *matrix, size_t rows, size_t stride, float *margins)
{
	learn_trees_margin_batch_plain(ensemble, matrix, rows, stride, margins);
}

#endif
