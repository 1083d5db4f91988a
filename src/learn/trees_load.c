/*
 * trees_load.c
 *		Reads libxgboost's saved models. The format is Universal Binary JSON (ubjson.org, draft 12), in which floats
 *		travel by their bits; only what a gradient booster of plain trees needs is looked at, the rest is skipped.
 *
 * What versions 1.6 to 3.x have in common: learner.gradient_booster.model.trees is an array of objects of typed arrays,
 * learner.learner_model_param holds numbers as strings, base_score is a probability ("5E-1", since 3.1 "[5E-1]").
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "learn/trees.h"
#include "learn/trees_build.h"

#define NESTING_LIMIT 32

/* A place in the model; at NULL once anything was wrong, which every function passes on. */
typedef struct Cursor
{
	const uint8_t *at;
	const uint8_t *end;
} Cursor;

/* An array of numbers of one type. */
typedef struct NumberArray
{
	uint8_t		type;
	uint64_t	count;
	const uint8_t *data;
} NumberArray;

/* The arrays of one tree. */
typedef struct TreeArrays
{
	NumberArray left;
	NumberArray right;
	NumberArray feature;
	NumberArray number;
	NumberArray missing_left;
	NumberArray cover;
	NumberArray kind;			/* 0 where the split is numerical */
} TreeArrays;

static void skip_value(Cursor *cursor, int nesting);

/* Give up. */
static void
lose(Cursor *cursor)
{
	cursor->at = NULL;
}

/* The next byte, consumed; 0 at the end. */
static uint8_t
next_byte(Cursor *cursor)
{
	if (cursor->at == NULL || cursor->at == cursor->end)
	{
		lose(cursor);
		return 0;
	}
	return *cursor->at++;
}

/* The next byte, not consumed; 0 at the end. */
static uint8_t
peek_byte(const Cursor *cursor)
{
	return cursor->at == NULL || cursor->at == cursor->end ? 0 : *cursor->at;
}

/* Step over bytes. */
static void
skip_bytes(Cursor *cursor, uint64_t count)
{
	if (cursor->at == NULL || (uint64_t) (cursor->end - cursor->at) < count)
		lose(cursor);
	else
		cursor->at += count;
}

/* Bytes of a number of this type; 0 where it is none. */
static int
number_size(uint8_t type)
{
	switch (type)
	{
		case 'i':
		case 'U':
			return 1;
		case 'I':
			return 2;
		case 'l':
		case 'd':
			return 4;
		case 'L':
		case 'D':
			return 8;
		default:
			return 0;
	}
}

/* A big-endian number of the given type; doubles hold every index that passes the limits exactly. */
static double
decode_number(uint8_t type, const uint8_t *data)
{
	uint64_t	bits = 0;
	int			size = number_size(type);
	float		single;
	double		number;
	int			i;

	for (i = 0; i < size; i++)
		bits = bits << 8 | data[i];
	switch (type)
	{
		case 'i':
			return (int8_t) bits;
		case 'U':
			return (double) bits;
		case 'I':
			return (int16_t) bits;
		case 'l':
			return (int32_t) bits;
		case 'L':
			return (double) (int64_t) bits;
		case 'd':
			{
				uint32_t	low = (uint32_t) bits;

				memcpy(&single, &low, sizeof(single));
				return single;
			}
		default:
			memcpy(&number, &bits, sizeof(number));
			return number;
	}
}

/* A count or length: a marker and an integer from 0 up. */
static uint64_t
read_count(Cursor *cursor)
{
	uint8_t		type = next_byte(cursor);
	int			size = number_size(type);
	const uint8_t *data = cursor->at;
	double		number;

	if (size == 0 || type == 'd' || type == 'D')
		lose(cursor);
	skip_bytes(cursor, (uint64_t) size);
	if (cursor->at == NULL)
		return 0;
	number = decode_number(type, data);
	if (number < 0 || number > 1e15)
		lose(cursor);
	return cursor->at == NULL ? 0 : (uint64_t) number;
}

/* The head of an array: its common type (0: each element has its own) and count (UINT64_MAX: ends with a bracket). */
static void
read_array_head(Cursor *cursor, uint8_t *type, uint64_t *count)
{
	*type = 0;
	*count = UINT64_MAX;
	if (peek_byte(cursor) == '$')
	{
		skip_bytes(cursor, 1);
		*type = next_byte(cursor);
		if (number_size(*type) == 0 || peek_byte(cursor) != '#')
			lose(cursor);
	}
	if (peek_byte(cursor) == '#')
	{
		skip_bytes(cursor, 1);
		*count = read_count(cursor);
	}
}

/* Step over the elements of an array whose opening bracket is consumed. */
static void
skip_array(Cursor *cursor, int nesting)
{
	uint8_t		type;
	uint64_t	count;
	uint64_t	i;

	read_array_head(cursor, &type, &count);
	if (type != 0)
	{
		if (count > UINT64_MAX / 8)
			lose(cursor);
		skip_bytes(cursor, count * (uint64_t) number_size(type));
		return;
	}
	for (i = 0; i < count && cursor->at != NULL; i++)
	{
		if (count == UINT64_MAX && peek_byte(cursor) == ']')
		{
			skip_bytes(cursor, 1);
			return;
		}
		skip_value(cursor, nesting + 1);
	}
}

/* Step over the members of an object whose opening brace is consumed. */
static void
skip_object(Cursor *cursor, int nesting)
{
	while (cursor->at != NULL && peek_byte(cursor) != '}')
	{
		skip_bytes(cursor, read_count(cursor));
		skip_value(cursor, nesting + 1);
	}
	skip_bytes(cursor, 1);
}

/* Step over one value of any type. */
static void
skip_value(Cursor *cursor, int nesting)
{
	uint8_t		type = next_byte(cursor);

	if (nesting > NESTING_LIMIT)
		lose(cursor);
	else if (type == '{')
		skip_object(cursor, nesting);
	else if (type == '[')
		skip_array(cursor, nesting);
	else if (type == 'S')
		skip_bytes(cursor, read_count(cursor));
	else if (number_size(type) > 0)
		skip_bytes(cursor, (uint64_t) number_size(type));
	else if (type != 'T' && type != 'F' && type != 'Z' && type != 'N')
		lose(cursor);
}

/* Go to the value of a key of the object at the cursor; lost where it is no object or has no such key. */
static Cursor
member(Cursor cursor, const char *key)
{
	size_t		length = strlen(key);

	if (next_byte(&cursor) != '{')
		lose(&cursor);
	while (cursor.at != NULL && peek_byte(&cursor) != '}')
	{
		uint64_t	size = read_count(&cursor);
		const uint8_t *name = cursor.at;

		skip_bytes(&cursor, size);
		if (cursor.at != NULL && size == length && memcmp(name, key, length) == 0)
			return cursor;
		skip_value(&cursor, 0);
	}
	lose(&cursor);
	return cursor;
}

/* Is the value at the cursor this string? */
static bool
is_string_value(Cursor cursor, const char *want)
{
	uint64_t	size;

	if (next_byte(&cursor) != 'S')
		return false;
	size = read_count(&cursor);
	return cursor.at != NULL && size == strlen(want) && (uint64_t) (cursor.end - cursor.at) >= size &&
		memcmp(cursor.at, want, size) == 0;
}

/* A number that is written as a string, in brackets or without; NaN where it is none. */
static float
string_number(Cursor cursor)
{
	char		text[64];
	char	   *begin = text;
	char	   *end;
	uint64_t	size;
	float		number;

	if (next_byte(&cursor) != 'S')
		return NAN;
	size = read_count(&cursor);
	if (cursor.at == NULL || size == 0 || size >= sizeof(text) || (uint64_t) (cursor.end - cursor.at) < size)
		return NAN;
	memcpy(text, cursor.at, size);
	text[size] = '\0';
	if (*begin == '[')
		begin++;
	number = strtof(begin, &end);
	return end == begin || (*end != '\0' && *end != ']') ? NAN : number;
}

/* The array of numbers under a key; none (count 0) where it is not there. */
static NumberArray
number_array(Cursor object, const char *key)
{
	NumberArray array = {0, 0, NULL};
	Cursor		cursor = member(object, key);
	uint64_t	count;
	uint8_t		type;

	if (next_byte(&cursor) != '[')
		return array;
	read_array_head(&cursor, &type, &count);
	if (cursor.at == NULL || type == 0 || count > UINT64_MAX / 8)
		return array;
	array.data = cursor.at;
	skip_bytes(&cursor, count * (uint64_t) number_size(type));
	if (cursor.at == NULL)
		return array;
	array.type = type;
	array.count = count;
	return array;
}

/* Element i, which exists. */
static double
element(const NumberArray *array, uint32_t i)
{
	return decode_number(array->type, array->data + (size_t) i * (size_t) number_size(array->type));
}

/* Find the arrays of the tree at the cursor; false where they are not of one length. */
static bool
read_tree_arrays(Cursor tree, TreeArrays *arrays)
{
	uint64_t	count;

	arrays->left = number_array(tree, "left_children");
	arrays->right = number_array(tree, "right_children");
	arrays->feature = number_array(tree, "split_indices");
	arrays->number = number_array(tree, "split_conditions");
	arrays->missing_left = number_array(tree, "default_left");
	arrays->cover = number_array(tree, "sum_hessian");
	arrays->kind = number_array(tree, "split_type");
	count = arrays->left.count;
	return count > 0 && count <= 4 * (uint64_t) LEARN_TREES_MAX_NODES && arrays->right.count == count &&
		arrays->feature.count == count && arrays->number.count == count && arrays->missing_left.count == count &&
		arrays->cover.count == count && (arrays->kind.count == count || arrays->kind.count == 0);
}

/* The slot for a feature and direction, made when first asked for. */
static int
slot_for(TreeBuilder *builder, uint16_t *slot_map, double feature, bool missing_left)
{
	uint16_t   *slot;

	if (!(feature >= 0 && feature < builder->ensemble->features))
	{
		builder->problem = "a split asks for a feature that does not exist";
		return 0;
	}
	slot = &slot_map[(size_t) feature * 2 + missing_left];
	if (*slot == 0)
		*slot = (uint16_t) learn_tree_builder_slot(builder, (int64_t) feature, missing_left);
	return *slot;
}

/* Hand one node to the builder; its children join the queue. */
static void
add_node(TreeBuilder *builder, uint16_t *slot_map, const TreeArrays *tree, uint32_t node, uint32_t *queue,
		 uint32_t *queued)
{
	double		left = element(&tree->left, node);
	double		right = element(&tree->right, node);
	double		nodes = (double) tree->left.count;
	float		number = (float) element(&tree->number, node);
	float		cover = (float) element(&tree->cover, node);
	int			slot;

	if (left == -1 && right == -1)
	{
		learn_tree_builder_leaf(builder, number, cover);
		return;
	}
	if (!(left >= 0 && left < nodes && right >= 0 && right < nodes))
		builder->problem = "a node's child does not exist";
	else if (tree->kind.count > 0 && element(&tree->kind, node) != 0)
		builder->problem = "splits by category are not supported";
	if (builder->problem != NULL)
		return;
	slot = slot_for(builder, slot_map, element(&tree->feature, node), element(&tree->missing_left, node) != 0);
	if (!learn_tree_builder_split(builder, slot, number, cover))
		return;
	queue[(*queued)++] = (uint32_t) left;
	queue[(*queued)++] = (uint32_t) right;
}

/* Read the tree at the cursor, breadth first. A node reached twice, or a cycle, runs into the builder's limits. */
static void
read_tree(TreeBuilder *builder, uint16_t *slot_map, Cursor cursor, uint32_t *queue)
{
	TreeArrays	tree;
	uint32_t	queued = 1;
	uint32_t	i;

	if (!read_tree_arrays(cursor, &tree))
	{
		builder->problem = "a tree of the model is not in the form of libxgboost 1.6 to 3";
		return;
	}
	queue[0] = 0;
	for (i = 0; i < queued && builder->problem == NULL; i++)
		add_node(builder, slot_map, &tree, queue[i], queue, &queued);
}

/* Read the first `rounds` trees (0: all) of the model's array. */
static void
read_trees(TreeBuilder *builder, Cursor trees, int rounds)
{
	const KernelEnv *env = &builder->ensemble->env;
	size_t		map_size = sizeof(uint16_t) * 2 * (size_t) builder->ensemble->features;
	uint16_t   *slot_map = kernel_alloc(env, map_size);
	uint32_t   *queue = kernel_alloc_array(env, uint32_t, LEARN_TREES_MAX_NODES + 2);
	uint8_t		type;
	uint64_t	count;
	uint64_t	i;

	memset(slot_map, 0, map_size);
	if (next_byte(&trees) != '[')
		lose(&trees);
	read_array_head(&trees, &type, &count);
	for (i = 0; i < count && builder->problem == NULL && (rounds == 0 || i < (uint64_t) rounds); i++)
	{
		if (count == UINT64_MAX && peek_byte(&trees) == ']')
			break;
		read_tree(builder, slot_map, trees, queue);
		skip_value(&trees, 0);
		if (trees.at == NULL && builder->problem == NULL)
			builder->problem = "the model is cut short";
	}
	if (trees.at == NULL && builder->problem == NULL)
		builder->problem = "the model is cut short";
	kernel_release(env, queue);
	kernel_release(env, slot_map);
}

/* Read libxgboost's model as saved in the UBJ format; NULL and *problem where it is not such a model. */
TreeEnsemble *
learn_trees_load(const KernelEnv *env, const void *model, size_t size, int rounds, const char **problem)
{
	Cursor		root = {model, (const uint8_t *) model + size};
	Cursor		learner = member(root, "learner");
	Cursor		booster = member(learner, "gradient_booster");
	Cursor		param = member(learner, "learner_model_param");
	float		base_score = string_number(member(param, "base_score"));
	float		features = string_number(member(param, "num_feature"));
	TreeBuilder builder;

	*problem = NULL;
	if (learner.at == NULL)
		*problem = "this is not a model of libxgboost in the UBJ format";
	else if (!is_string_value(member(booster, "name"), "gbtree"))
		*problem = "the model's booster is not gbtree";
	else if (!is_string_value(member(member(learner, "objective"), "name"), "binary:logistic"))
		*problem = "the model's objective is not binary:logistic";
	else if (!(features >= 1 && features <= LEARN_TREES_MAX_FEATURES))
		*problem = "the model's number of features is out of range";
	if (*problem != NULL)
		return NULL;
	/* as the library computes it, in floats: the margin's bits depend on it */
	learn_tree_builder_begin(&builder, env, (int64_t) features, -logf(1.0f / base_score - 1.0f));
	if (builder.problem == NULL)
		read_trees(&builder, member(member(booster, "model"), "trees"), rounds);
	return learn_tree_builder_finish(&builder, problem);
}
