/*
 * trees_row.c
 *		The margin of one row where the processor has AVX2 and the trees are at most five levels deep: all comparisons of a
 *		tree at once. trees.c walks where this does not serve, with the same bits.
 *
 * The row's codes (trees_codes.h) are a table of bytes by slot. A tree, filled up to a complete one, has at most 31 splits: one
 * vector of their slots, one of their codes. Looking the slots up (pshufb, 16 table bytes at a time), one comparison and
 * one movemask give a bit for every split; five shifts then find the leaf, where a walk would wait for memory ten times.
 * With AVX-512 (VBMI) one vpermb looks 64 or 128 table bytes up for two trees.
 */
#include <math.h>
#include <string.h>

#include "learn/trees.h"
#include "learn/trees_build.h"
#include "learn/trees_codes.h"

#ifdef __x86_64__

#include <immintrin.h>

#define AVX2			__attribute__((target("avx2,bmi,bmi2,popcnt")))
#define AVX512			__attribute__((target("avx2,bmi,bmi2,popcnt,avx512f,avx512bw,avx512vbmi")))
#define AVX512_INLINE \
	static inline __attribute__((target("avx2,bmi,bmi2,popcnt,avx512f,avx512bw,avx512vbmi"), always_inline))
#define AVX2_INLINE		static inline __attribute__((target("avx2,bmi,bmi2,popcnt"), always_inline))

#define ROW_DEPTH		5
#define CACHE_LINE		64
#define CHUNK			16		/* bytes that one pshufb looks up in */
#define SPLITS			32		/* bytes of a tree */
#define MAX_CHUNKS		8		/* more slots than these hold, and walking is as quick */

/* A feature's thresholds in blocks of 16, and every block's last, for two steps of counting. */
typedef struct RowFeature
{
	int			feature;
	int			slot_left;
	int			slot_right;
	bool		many;			/* more than one block */
	float		last[CUT_BLOCKS];
	float		cuts[CUT_BLOCKS * CUT_BLOCK];
} RowFeature;

struct TreeRow
{
	bool		usable;
	int			features;
	int			chunks;
	int			depth;
	RowFeature *feature;
	bool		wide;			/* AVX-512 with VBMI */
	uint8_t    *slots;			/* SPLITS a tree, heap order from 1 */
	uint8_t    *codes;			/* the same; less 128, as bytes are compared with sign */
	float	   *leaves;			/* 1 << depth a tree, from the left */
	void	   *chunk;			/* what to release: the three are aligned within it */
	uint8_t		table[MAX_CHUNKS * CHUNK];	/* the row at hand: codes less 128 */
};

/* A feature's thresholds, next to each other for all features. */
static void
fill_feature(RowFeature *to, const FeatureCuts *from)
{
	to->feature = from->feature;
	to->slot_left = from->slot_left;
	to->slot_right = from->slot_right;
	to->many = from->count > CUT_BLOCK;
	memcpy(to->cuts, from->cuts, sizeof(to->cuts));
	memcpy(to->last, from->last, sizeof(to->last));
}

/* Fill a tree below a node; a leaf above the lowest level stands for all leaves below it, and never sends right. */
static void
fill_node(TreeRow *row, const TreeCodes *codes, uint32_t node, int tree, unsigned at, int levels)
{
	const TreeEnsemble *ensemble = codes->ensemble;
	const TreeNode *split = &ensemble->nodes[node];

	if (levels == 0)
	{
		row->leaves[((size_t) tree << row->depth) + at - (1u << row->depth)] = ensemble->value[node];
		return;
	}
	row->slots[tree * SPLITS + at] = (uint8_t) split->slot;
	row->codes[tree * SPLITS + at] = learn_tree_node_is_leaf(split) ? 0x7F : learn_tree_code(codes, split) ^ 0x80;
	fill_node(row, codes, node + split->ahead, tree, at * 2, levels - 1);
	fill_node(row, codes, learn_tree_node_is_leaf(split) ? node : node + split->ahead + 1u, tree, at * 2 + 1, levels - 1);
}

/* Room for the trees' arrays, each on its own cache lines; an odd last tree has an empty one beside it. */
static void
reserve_trees(TreeRow *row, const TreeEnsemble *ensemble)
{
	size_t		trees = ((size_t) ensemble->trees + 1) & ~(size_t) 1;
	size_t		size = trees * SPLITS * 2 + (trees << row->depth) * sizeof(float);

	row->chunk = kernel_alloc(&ensemble->env, size + CACHE_LINE);
	row->slots = (uint8_t *) (((uintptr_t) row->chunk + CACHE_LINE - 1) & ~(uintptr_t) (CACHE_LINE - 1));
	row->codes = row->slots + trees * SPLITS;
	row->leaves = (float *) (row->codes + trees * SPLITS);
	memset(row->slots, 0, size);
}

/* Fill in all that a row needs. */
static void
fill_row(TreeRow *row, const TreeCodes *codes)
{
	const TreeEnsemble *ensemble = codes->ensemble;
	int			i;

	row->depth = ensemble->max_depth;
	row->features = codes->features;
	row->chunks = (ensemble->slots + CHUNK - 1) / CHUNK;
	row->wide = learn_tree_cpu() >= 2;
	row->feature = kernel_alloc_array(&ensemble->env, RowFeature, codes->features);
	reserve_trees(row, ensemble);
	for (i = 0; i < codes->features; i++)
		fill_feature(&row->feature[i], &codes->feature[i]);
	for (i = 0; i < ensemble->trees; i++)
		fill_node(row, codes, ensemble->tree_start[i], i, 1, row->depth);
	row->usable = true;
}

/* Make the form for single rows; it says so where this ensemble or processor has none. */
TreeRow *
learn_tree_row_create(const TreeEnsemble *ensemble)
{
	TreeRow    *row = kernel_alloc_array(&ensemble->env, TreeRow, 1);
	TreeCodes  *codes;

	memset(row, 0, sizeof(*row));
	if (learn_tree_cpu() < 1 || ensemble->max_depth > ROW_DEPTH || ensemble->slots > MAX_CHUNKS * CHUNK)
		return row;
	codes = learn_tree_codes_create(ensemble);
	if (codes != NULL)
		fill_row(row, codes);
	learn_tree_codes_free(codes);
	return row;
}

/* Give it back. NULL is allowed. */
void
learn_tree_row_free(TreeRow *row, const KernelEnv *env)
{
	if (row == NULL)
		return;
	kernel_release(env, row->feature);
	kernel_release(env, row->chunk);
	kernel_release(env, row);
}

/* Lay the row's codes out in the table. */
AVX2_INLINE void
encode_row(TreeRow *row, const float *features)
{
	int			f;

	for (f = 0; f < row->features; f++)
	{
		const RowFeature *feature = &row->feature[f];
		__m256		x = _mm256_broadcast_ss(features + feature->feature);
		unsigned	code = learn_tree_count_cuts(feature->last, feature->cuts, feature->many, x);

		row->table[feature->slot_left] = (uint8_t) (code ^ 0x80);
		row->table[feature->slot_right] = isnan(features[feature->feature]) ? 0x7F : (uint8_t) (code ^ 0x80);
	}
}

/* The codes of 32 slots. A number of 16 or more, beside its chunk, has its highest bit set by the addition: pshufb gives 0. */
AVX2_INLINE __m256i
look_up(const TreeRow *row, __m256i slots, int chunks)
{
	__m256i		codes = _mm256_setzero_si256();
	int			c;

#pragma GCC unroll 8
	for (c = 0; c < chunks; c++)
	{
		__m256i		table = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *) (row->table + c * CHUNK)));
		__m256i		within = _mm256_adds_epu8(_mm256_xor_si256(slots, _mm256_set1_epi8((char) (c * CHUNK))),
											  _mm256_set1_epi8(0x70));

		codes = _mm256_or_si256(codes, _mm256_shuffle_epi8(table, within));
	}
	return codes;
}

/* From the bits of all splits to the leaf. */
AVX2_INLINE unsigned
leaf_of(unsigned bits, int depth)
{
	unsigned	at = 1;
	int			level;

#pragma GCC unroll 5
	for (level = 0; level < depth; level++)
		at = at + at + (bits >> at & 1);
	return at - (1u << depth);
}

/* All trees; depth and, up to four, chunks are constants at every call. */
AVX2_INLINE float
add_trees(const TreeRow *row, int trees, float margin, int depth, int chunks)
{
	const float *leaves = row->leaves;
	int			t;

	for (t = 0; t < trees; t++, leaves += 1 << depth)
	{
		__m256i		codes = look_up(row, _mm256_loadu_si256((const __m256i *) row->slots + t), chunks);
		__m256i		right = _mm256_cmpgt_epi8(codes, _mm256_loadu_si256((const __m256i *) row->codes + t));

		margin += leaves[leaf_of((unsigned) _mm256_movemask_epi8(right), depth)];
	}
	return margin;
}

/* The same for two trees at a time; `tables` of 64 slots, one or two. */
AVX512_INLINE float
add_pairs(const TreeRow *row, int trees, float margin, int depth, int tables)
{
	const float *leaves = row->leaves;
	const __m512i low = _mm512_loadu_si512(row->table);
	const __m512i high = _mm512_loadu_si512(row->table + 64);
	int			t;

	for (t = 0; t < trees; t += 2, leaves += 2 << depth)
	{
		__m512i		slots = _mm512_loadu_si512(row->slots + t * SPLITS);
		__m512i		codes = tables == 1 ? _mm512_permutexvar_epi8(slots, low) : _mm512_permutex2var_epi8(low, slots, high);
		uint64_t	right = _mm512_cmpgt_epi8_mask(codes, _mm512_loadu_si512(row->codes + t * SPLITS));

		margin += leaves[leaf_of((unsigned) right, depth)];
		if (t + 1 < trees)
			margin += leaves[(1u << depth) + leaf_of((unsigned) (right >> 32), depth)];
	}
	return margin;
}

/* Choose the constants of chunks. */
AVX2_INLINE float
add_trees_of_depth(const TreeRow *row, int trees, float margin, int depth)
{
	switch (row->chunks)
	{
		case 1:
			return add_trees(row, trees, margin, depth, 1);
		case 2:
			return add_trees(row, trees, margin, depth, 2);
		case 3:
			return add_trees(row, trees, margin, depth, 3);
		case 4:
			return add_trees(row, trees, margin, depth, 4);
		default:
			return add_trees(row, trees, margin, depth, row->chunks);
	}
}

/* All trees, by pshufb. */
AVX2 static float
add_all(const TreeRow *row, int trees, float margin)
{
	switch (row->depth)
	{
		case 1:
			return add_trees_of_depth(row, trees, margin, 1);
		case 2:
			return add_trees_of_depth(row, trees, margin, 2);
		case 3:
			return add_trees_of_depth(row, trees, margin, 3);
		case 4:
			return add_trees_of_depth(row, trees, margin, 4);
		default:
			return add_trees_of_depth(row, trees, margin, 5);
	}
}

/* All trees, by vpermb. */
AVX512 static float
add_all_wide(const TreeRow *row, int trees, float margin)
{
	int			tables = row->chunks <= 4 ? 1 : 2;

	switch (row->depth)
	{
		case 1:
			return tables == 1 ? add_pairs(row, trees, margin, 1, 1) : add_pairs(row, trees, margin, 1, 2);
		case 2:
			return tables == 1 ? add_pairs(row, trees, margin, 2, 1) : add_pairs(row, trees, margin, 2, 2);
		case 3:
			return tables == 1 ? add_pairs(row, trees, margin, 3, 1) : add_pairs(row, trees, margin, 3, 2);
		case 4:
			return tables == 1 ? add_pairs(row, trees, margin, 4, 1) : add_pairs(row, trees, margin, 4, 2);
		default:
			return tables == 1 ? add_pairs(row, trees, margin, 5, 1) : add_pairs(row, trees, margin, 5, 2);
	}
}

/* The margin of one row, in *margin; false where the row must be walked. */
AVX2 bool
learn_tree_row_margin(const TreeEnsemble *ensemble, TreeRow *row, const float *features, float *margin)
{
	if (!row->usable)
		return false;
	encode_row(row, features);
	*margin = row->wide ? add_all_wide(row, ensemble->trees, ensemble->base_margin)
		: add_all(row, ensemble->trees, ensemble->base_margin);
	return true;
}

#else							/* not x86-64 */

struct TreeRow
{
	int			nothing;
};

/* No such form here. */
TreeRow *
learn_tree_row_create(const TreeEnsemble *ensemble)
{
	return kernel_alloc_array(&ensemble->env, TreeRow, 1);
}

/* Give it back. NULL is allowed. */
void
learn_tree_row_free(TreeRow *row, const KernelEnv *env)
{
	if (row != NULL)
		kernel_release(env, row);
}

/* Every row must be walked. */
bool
learn_tree_row_margin(const TreeEnsemble *ensemble, TreeRow *row, const float *features, float *margin)
{
	return false;
}

#endif
