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
 * five levels, whose "leaf" is then the number of a small subtree. Up to depth 8 all subtrees are gone through as if they were trees
 * of their own, and each row takes the leaf of the one that it is in: comparing all costs less than gathering a few. Those of
 * depth 9 are walked on with gathers.
 *
 * Rows are taken in tiles small enough that their codes stay in the first-level cache while all trees pass over them.
 * Eight floats of a vector stand for the rows 4j .. 4j + 3 and 16 + 4j .. 16 + 4j + 3 of their 32: the order in which bytes unpack.
 */
#include <stdlib.h>
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
#define COMPARED_DEPTH	3		/* up to which all low splits are compared */
#define COMPARED_NODES	7

/* A split of the upper levels: right where the slot's code is greater. */
typedef struct TopNode
{
	uint32_t	offset;			/* of the slot's codes */
	uint32_t	code;			/* the threshold's code less 128, four times over */
} TopNode;

/* The splits of a subtree below the upper levels. */
typedef struct LowTree
{
	uint8_t		number;			/* of its place below the top */
	uint8_t		depth;			/* 1 .. COMPARED_DEPTH */
	TopNode		nodes[COMPARED_NODES];	/* heap order, as deep as it is */
} LowTree;

/* One tree. Leaves are numbered from the left, but the two of a lowest split the other way round. */
typedef struct TopTree
{
	uint8_t		depth;			/* of the upper levels as filled up */
	uint8_t		low_depth;		/* levels below; 0: the upper leaves are the leaves */
	TopNode		nodes[TOP_NODES];	/* heap order */
	uint8_t		planes[4][TOP_LEAVES];	/* the leaves' floats, byte by byte */
	/* up to COMPARED_DEPTH levels below: the subtrees that have splits, by falling depth */
	LowTree    *low_trees;
	uint8_t		low_count[COMPARED_DEPTH + 1];	/* by depth */
	/* more: subtree s (counted from the left) has its splits at low_nodes + (s << low_depth), heap order from 1 */
	uint32_t   *low_nodes;		/* offset << 8 | code */
	float	   *low_values;		/* subtree s has its leaves at low_values + (s << low_depth), from the left; compared ones as the top's */
} TopTree;

struct TreeBatch
{
	TreeCodes  *codes_of;		/* NULL: this ensemble has no such form */
	int			groups;			/* in a tile: an even number */
	TopTree    *trees;
	uint8_t    *codes;			/* slot s: groups * GROUP bytes from s * groups * GROUP on */
	void	   *codes_chunk;	/* what to release: codes are aligned within it */
};

/*
 * The number of each lowest split's left leaf, in all bytes. In memory, and not marked as constant, since the compiler would make each anew
 * in three instructions; written by create_batch, the same every time.
 */
static uint8_t left_leaf[TOP_LEAVES / 2][GROUP] __attribute__((aligned(32)));

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

/* A split of the upper levels, or of a subtree that is compared. */
static TopNode
top_node(const TreeSource *source, uint32_t node)
{
	uint32_t	packed = packed_split(source, node);

	return (TopNode) {packed >> 8, (packed & 0xFF) * 0x01010101u};
}

/* Levels of splits from a node down. */
static unsigned
levels_below(const TreeSource *source, uint32_t node)
{
	unsigned	left;
	unsigned	right;

	if (learn_tree_node_is_leaf(&source->nodes[node]))
		return 0;
	left = levels_below(source, child_or_self(source, node, 0));
	right = levels_below(source, child_or_self(source, node, 1));
	return 1 + (left > right ? left : right);
}

/* Fill a subtree that is compared, heap order from 0; its leaves are numbered as the top's are. */
static void
fill_compared(const TreeSource *source, LowTree *low, uint32_t node, float *values, unsigned at, unsigned levels, unsigned *leaf)
{
	if (levels == 0)
	{
		values[(*leaf)++ ^ (low->depth > 0)] = source->values[node];
		return;
	}
	low->nodes[at] = top_node(source, node);
	fill_compared(source, low, child_or_self(source, node, 0), values, at * 2 + 1, levels - 1, leaf);
	fill_compared(source, low, child_or_self(source, node, 1), values, at * 2 + 2, levels - 1, leaf);
}

/* What is below a place of the top. */
static void
fill_below(const TreeSource *source, TopTree *tree, uint32_t node, unsigned place)
{
	float	   *values = tree->low_values + (place << tree->low_depth);
	LowTree    *low = &tree->low_trees[place];
	unsigned	leaf = 0;

	if (tree->low_depth > COMPARED_DEPTH)
	{
		fill_low(source, node, tree->low_nodes + (place << tree->low_depth), values, 1, tree->low_depth, tree->low_depth);
		return;
	}
	low->number = (uint8_t) place;
	low->depth = (uint8_t) levels_below(source, node);
	tree->low_count[low->depth]++;
	fill_compared(source, low, node, values, 0, low->depth, &leaf);
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
			fill_below(source, tree, node, place);
		return;
	}
	tree->nodes[at] = top_node(source, node);
	fill_top(source, tree, child_or_self(source, node, 0), at * 2 + 1, levels - 1, leaf);
	fill_top(source, tree, child_or_self(source, node, 1), at * 2 + 2, levels - 1, leaf);
}

/* Subtrees by falling depth, for qsort. */
static int
compare_low_trees(const void *a, const void *b)
{
	const LowTree *x = a;
	const LowTree *y = b;

	return x->depth != y->depth ? y->depth - x->depth : x->number - y->number;
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
		if (tree->low_depth > COMPARED_DEPTH)
			tree->low_nodes = kernel_alloc_array(&ensemble->env, uint32_t, TOP_LEAVES << tree->low_depth);
		else
			tree->low_trees = kernel_alloc_array(&ensemble->env, LowTree, TOP_LEAVES);
		tree->low_values = kernel_alloc_array(&ensemble->env, float, TOP_LEAVES << tree->low_depth);
		memset(tree->low_values, 0, sizeof(float) * (TOP_LEAVES << tree->low_depth));
	}
	fill_top(&source, tree, 0, 0, tree->depth, &leaf);
	if (tree->low_trees)
		qsort(tree->low_trees, TOP_LEAVES, sizeof(LowTree), compare_low_trees);
}

/* Room for a tile's codes, aligned; slot 0, which filled-up splits ask, holds the lowest code for ever. */
static void
create_tile(const TreeEnsemble *ensemble, TreeBatch *batch)
{
	size_t		size;

	batch->groups = TILE_BYTES / (ensemble->slots * GROUP);
	batch->groups = batch->groups < 2 ? 2 : batch->groups > TILE_GROUPS ? TILE_GROUPS : batch->groups & ~1;
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
	for (int leaf = 0; leaf < TOP_LEAVES; leaf += 2)
		memset(left_leaf[leaf / 2], leaf + 1, GROUP);
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
		kernel_release(&ensemble->env, batch->trees[i].low_trees);
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

/* 32-bit masks of 32 rows as bytes, in the order of the rows. */
AVX2_INLINE __m256i
narrow_masks(const __m256i *mask)
{
	__m256i		bytes = _mm256_packs_epi16(_mm256_packs_epi32(mask[0], mask[1]), _mm256_packs_epi32(mask[2], mask[3]));

	return _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

/*
 * Codes of a group for one feature, into the rows of its slots; `even` and `many` are constants at every call. Cells are found eight values
 * at a time; thresholds are counted value by value: two steps in a vector cost a fifth of eight steps of a binary search by gathers,
 * and one step from a table of cells half of two. Of fewer than 32 rows the last is repeated.
 */
AVX2_INLINE void
encode_values(const TreeBatch *batch, const FeatureCuts *feature, const float *first, size_t rows, size_t stride, int group,
			  bool even, bool many)
{
	const __m256i sign = _mm256_set1_epi8((char) 0x80);
	const float *cuts = feature->cuts;
	float		number[GROUP] __attribute__((aligned(32)));
	uint32_t	cell[GROUP] __attribute__((aligned(32)));
	uint8_t		code[GROUP] __attribute__((aligned(32)));
	__m256i		absent[GROUP / 8];
	__m256i		codes;

	first += feature->feature;
	for (size_t row = 0; row < rows; row++, first += stride)
		number[row] = *first;
	for (size_t row = rows; row < GROUP; row++)
		number[row] = number[rows - 1];
	for (int i = 0; i < GROUP / 8; i++)
	{
		__m256		x = _mm256_load_ps(number + 8 * i);

		absent[i] = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
		if (even)
			_mm256_store_si256((__m256i *) (cell + 8 * i), learn_tree_cells(feature, x));
	}
	for (int row = 0; row < GROUP; row++)
	{
		__m256		x = _mm256_broadcast_ss(number + row);

		code[row] = (uint8_t) (even ? learn_tree_count_even(feature, cuts, cell[row], x) :
							   learn_tree_count_cuts(feature->last, cuts, many, x));
	}
	codes = _mm256_load_si256((const __m256i *) code);
	if (feature->slot_left != 0)
		_mm256_store_si256((__m256i *) (batch->codes + slot_offset(batch, feature->slot_left) + group * GROUP),
						   _mm256_xor_si256(codes, sign));
	if (feature->slot_right != 0)
		_mm256_store_si256((__m256i *) (batch->codes + slot_offset(batch, feature->slot_right) + group * GROUP),
						   _mm256_xor_si256(_mm256_or_si256(codes, narrow_masks(absent)), sign));
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

/*
 * Two groups at a time: what is known of a split is loaded once for both, and loads are what this is bound by. `codes` are the first
 * group's, the second's follow.
 */
typedef struct Pair
{
	__m256i		first;
	__m256i		second;
} Pair;

/* Do the rows go right at this split? */
AVX2_INLINE Pair
goes_right(const TopNode *nodes, const uint8_t *codes, unsigned at)
{
	const __m256i *of = (const __m256i *) (codes + nodes[at].offset);
	const __m256i code = _mm256_set1_epi32((int) nodes[at].code);

	return (Pair) {_mm256_cmpgt_epi8(_mm256_load_si256(of), code), _mm256_cmpgt_epi8(_mm256_load_si256(of + 1), code)};
}

/* The numbers of the leaves below a lowest split: `leaf` on the right, `leaf` + 1 on the left. */
AVX2_INLINE Pair
leaves_1(const TopNode *nodes, const uint8_t *codes, unsigned at, int leaf)
{
	const __m256i left = _mm256_load_si256((const __m256i *) left_leaf[leaf / 2]);
	Pair		right = goes_right(nodes, codes, at);

	return (Pair) {_mm256_add_epi8(right.first, left), _mm256_add_epi8(right.second, left)};
}

/* The numbers of the leaves below a split, from those below its children. */
#define LEAVES(depth, below) \
AVX2_INLINE Pair \
leaves_##depth(const TopNode *nodes, const uint8_t *codes, unsigned at, int leaf) \
{ \
	Pair		low = leaves_##below(nodes, codes, at * 2 + 1, leaf); \
	Pair		high = leaves_##below(nodes, codes, at * 2 + 2, leaf + (1 << (below))); \
	Pair		right = goes_right(nodes, codes, at); \
	return (Pair) {_mm256_blendv_epi8(low.first, high.first, right.first), \
				   _mm256_blendv_epi8(low.second, high.second, right.second)}; \
}
LEAVES(2, 1)
LEAVES(3, 2)
LEAVES(4, 3)
LEAVES(5, 4)

/* The numbers of the rows' leaves in the upper levels. */
AVX2_INLINE Pair
top_leaves(const TopTree *tree, const uint8_t *codes, int depth)
{
	switch (depth)
	{
		case 0:
			return (Pair) {_mm256_setzero_si256(), _mm256_setzero_si256()};
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

	for (g = 0; g < groups; g += 2)
	{
		Pair		leaves;

		/* the tree's splits are loaded where they are used: kept in between they would be stored first */
		__asm__ volatile ("":::"memory");
		leaves = top_leaves(tree, codes + g * GROUP, depth);
		add_leaves(tree, leaves.first, depth, margins + g * 4);
		add_leaves(tree, leaves.second, depth, margins + g * 4 + 4);
	}
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
	Pair		top = {_mm256_setzero_si256(), _mm256_setzero_si256()};
	int			g;
	int			j;
	int			level;

	for (g = 0; g < groups; g++)
	{
		__m256i		subtree = g % 2 == 0 ? (top = top_leaves(tree, codes + g * GROUP, TOP_DEPTH)).first : top.second;
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

/* Of the subtrees at hand, all of one depth, a constant at every call: each row takes the leaf of the one it is in. */
AVX2_INLINE void
compare_low_trees_of(const LowTree *low, int count, const uint8_t *codes, Pair top, Pair *leaves, int depth)
{
	for (int i = 0; i < count; i++, low++)
	{
		const __m256i number = _mm256_set1_epi8((char) low->number);
		Pair		its = depth == 1 ? leaves_1(low->nodes, codes, 0, 0) : depth == 2 ? leaves_2(low->nodes, codes, 0, 0) :
			leaves_3(low->nodes, codes, 0, 0);

		leaves->first = _mm256_or_si256(leaves->first, _mm256_and_si256(its.first, _mm256_cmpeq_epi8(top.first, number)));
		leaves->second = _mm256_or_si256(leaves->second, _mm256_and_si256(its.second, _mm256_cmpeq_epi8(top.second, number)));
	}
}

/* Add the leaves' floats, of up to 256 a tree, to the margins of 32 rows. */
AVX2_INLINE void
gather_leaves(const float *values, __m256i leaves, __m256 *margins)
{
	for (int j = 0; j < 4; j++)
		margins[j] = _mm256_add_ps(margins[j], _mm256_i32gather_ps(values, widen_bytes(leaves, j), 4));
}

/* A tree with lower levels that are compared, over a tile. */
AVX2 static void
add_compared_tree(const TopTree *tree, const uint8_t *codes, int groups, __m256 *margins)
{
	const LowTree *second = tree->low_trees + tree->low_count[3];
	const LowTree *third = second + tree->low_count[2];

	for (int g = 0; g < groups; g += 2)
	{
		Pair		top = top_leaves(tree, codes + g * GROUP, TOP_DEPTH);
		Pair		leaves;

		/* 31 subtrees of 8 leaves are 248: nothing is lost over a byte's edge */
		leaves.first = _mm256_slli_epi16(top.first, tree->low_depth);
		leaves.second = _mm256_slli_epi16(top.second, tree->low_depth);
		compare_low_trees_of(tree->low_trees, tree->low_count[3], codes + g * GROUP, top, &leaves, 3);
		compare_low_trees_of(second, tree->low_count[2], codes + g * GROUP, top, &leaves, 2);
		compare_low_trees_of(third, tree->low_count[1], codes + g * GROUP, top, &leaves, 1);
		gather_leaves(tree->low_values, leaves.first, margins + g * 4);
		gather_leaves(tree->low_values, leaves.second, margins + g * 4 + 4);
	}
}

/* A tree over a tile. */
AVX2 static void
add_tree(const TopTree *tree, const uint8_t *codes, int groups, __m256 *margins)
{
	if (tree->low_depth > 0 && tree->low_depth <= COMPARED_DEPTH)
	{
		add_compared_tree(tree, codes, groups, margins);
		return;
	}
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
	int			even = (groups + 1) & ~1;
	__m256		margins[TILE_GROUPS * 4];
	int			g;
	int			tree;
	int			j;

	for (g = 0; g < groups; g++)
	{
		encode_group(batch, matrix + (size_t) g * GROUP * stride, rows - (size_t) g * GROUP, stride, g);
	}
	for (j = 0; j < even * 4; j++)
		margins[j] = _mm256_set1_ps(ensemble->base_margin);
	for (tree = 0; tree < ensemble->trees; tree++)
		add_tree(&batch->trees[tree], batch->codes, even, margins);
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
