/*
 * model_bytes.c
 *		A model to bytes and back: little-endian, with a magic word, a version and a checksum, every number checked when
 *		read. Texts are in the encoding of the database that wrote them; model_pg.c converts.
 */
#include "learn/model.h"

#include <math.h>
#include <string.h>

#define MODEL_MAGIC		UINT32_C(0x314d4c53)	/* "SLM1" */
/* since 2 a category may carry the trees' target encoding, since 3 a date the column it counts from; 1 and 2 are read as well */
#define MODEL_FORMAT	3

typedef struct Writer
{
	const KernelEnv *env;
	unsigned char *bytes;
	size_t		used;
	size_t		room;
} Writer;

typedef struct Reader
{
	const KernelEnv *env;
	const unsigned char *bytes;
	size_t		left;
	bool		bad;
	int			format;
} Reader;

/* FNV-1a over the body. */
static uint32_t
checksum(const unsigned char *bytes, size_t size)
{
	uint32_t	sum = UINT32_C(2166136261);

	for (size_t i = 0; i < size; i++)
		sum = (sum ^ bytes[i]) * UINT32_C(16777619);
	return sum;
}

/* Append bytes. */
static void
put_bytes(Writer *writer, const void *bytes, size_t size)
{
	if (writer->used + size > writer->room)
	{
		writer->room = (writer->used + size) * 2;
		writer->bytes = kernel_realloc_array(writer->env, writer->bytes, unsigned char, writer->room);
	}
	memcpy(writer->bytes + writer->used, bytes, size);
	writer->used += size;
}

/* Append an integer of four bytes. */
static void
put_int(Writer *writer, int64_t value)
{
	unsigned char byte[4];

	for (int i = 0; i < 4; i++)
		byte[i] = (unsigned char) ((uint32_t) value >> (8 * i));
	put_bytes(writer, byte, 4);
}

/* Append a double's bits. */
static void
put_double(Writer *writer, double value)
{
	unsigned char byte[8];
	uint64_t	bits;

	memcpy(&bits, &value, 8);
	for (int i = 0; i < 8; i++)
		byte[i] = (unsigned char) (bits >> (8 * i));
	put_bytes(writer, byte, 8);
}

/* Append doubles, their number first. */
static void
put_doubles(Writer *writer, const double *value, int count)
{
	put_int(writer, count);
	for (int i = 0; i < count; i++)
		put_double(writer, value[i]);
}

/* Append a text, its length first. */
static void
put_text(Writer *writer, const char *text)
{
	put_int(writer, (int64_t) strlen(text));
	put_bytes(writer, text, strlen(text));
}

/* Take bytes; NULL where there are not as many. */
static const unsigned char *
get_bytes(Reader *reader, size_t size)
{
	const unsigned char *bytes = reader->bytes;

	if (reader->bad || reader->left < size)
	{
		reader->bad = true;
		return NULL;
	}
	reader->bytes += size;
	reader->left -= size;
	return bytes;
}

/* Take an integer within bounds. */
static int32_t
get_int(Reader *reader, int64_t least, int64_t most)
{
	const unsigned char *byte = get_bytes(reader, 4);
	int32_t		value;

	if (byte == NULL)
		return 0;
	value = (int32_t) ((uint32_t) byte[0] | (uint32_t) byte[1] << 8 | (uint32_t) byte[2] << 16 | (uint32_t) byte[3] << 24);
	if (value < least || value > most)
	{
		reader->bad = true;
		return 0;
	}
	return value;
}

/* Take a double, no NaN. */
static double
get_double(Reader *reader)
{
	const unsigned char *byte = get_bytes(reader, 8);
	uint64_t	bits = 0;
	double		value;

	if (byte == NULL)
		return 0;
	for (int i = 0; i < 8; i++)
		bits |= (uint64_t) byte[i] << (8 * i);
	memcpy(&value, &bits, 8);
	if (isnan(value))
		reader->bad = true;
	return value;
}

/* Take doubles into an array of the given size. */
static int
get_doubles(Reader *reader, double *into, int most)
{
	int			count = get_int(reader, 0, most);

	for (int i = 0; i < count; i++)
		into[i] = get_double(reader);
	return count;
}

/* Take a text; an empty one where the bytes are bad. */
static char *
get_text(Reader *reader)
{
	int			length = get_int(reader, 0, (int64_t) reader->left);
	const unsigned char *bytes = get_bytes(reader, length);
	char	   *text = kernel_alloc_array(reader->env, char, length + 1);

	if (bytes == NULL)
		length = 0;
	else
	{
		memcpy(text, bytes, length);
		if (memchr(text, '\0', length) != NULL)
			reader->bad = true;
	}
	text[length] = '\0';
	return text;
}

/* A number's own part. */
static void
put_number(Writer *writer, const LearnFeature *feature)
{
	put_double(writer, feature->median);
	put_double(writer, feature->low);
	put_double(writer, feature->high);
	put_double(writer, feature->scale);
	put_doubles(writer, feature->knot, feature->knots);
	put_doubles(writer, feature->edge, feature->edges);
	put_int(writer, feature->pieces);
	for (int i = 0; i < feature->pieces; i++)
	{
		if (i + 1 < feature->pieces)
			put_double(writer, feature->piece_edge[i]);
		put_double(writer, feature->piece_line[i].intercept);
		put_double(writer, feature->piece_line[i].slope);
	}
}

/* A category's or set's own part. */
static void
put_levels(Writer *writer, const LearnFeature *feature)
{
	bool		weighted = feature->level_weight != NULL;

	put_int(writer, feature->levels);
	put_int(writer, feature->target);
	put_int(writer, weighted);
	put_int(writer, feature->tree_target);
	for (int level = 0; level < feature->levels; level++)
	{
		put_text(writer, feature->level[level]);
		put_int(writer, feature->kept[level]);
		if (weighted)
			put_double(writer, feature->level_weight[level]);
		if (feature->tree_target)
			put_double(writer, feature->tree_value ? feature->tree_value[level] : 0);
	}
	put_double(writer, feature->other_weight);
}

/* One feature. */
static void
put_feature(Writer *writer, const LearnFeature *feature)
{
	put_text(writer, feature->name);
	put_int(writer, feature->kind);
	put_int(writer, feature->reading);
	put_double(writer, feature->origin);
	put_text(writer, feature->as_of ? feature->as_of : "");
	put_int(writer, feature->has_missing);
	put_int(writer, feature->has_other);
	put_double(writer, feature->missing_weight);
	put_double(writer, feature->mean);
	if (feature->kind == LEARN_NUMBER)
		put_number(writer, feature);
	else
		put_levels(writer, feature);
}

/* The reverse of put_number. */
static void
get_number(Reader *reader, LearnFeature *feature)
{
	feature->median = get_double(reader);
	feature->low = get_double(reader);
	feature->high = get_double(reader);
	feature->scale = get_double(reader);
	feature->knots = get_doubles(reader, feature->knot, LEARN_KNOTS);
	feature->edges = get_doubles(reader, feature->edge, LEARN_EDGES);
	learn_pieces(reader->env, feature, get_int(reader, 0, 1000));
	for (int i = 0; i < feature->pieces; i++)
	{
		if (i + 1 < feature->pieces)
			feature->piece_edge[i] = get_double(reader);
		feature->piece_line[i].intercept = get_double(reader);
		feature->piece_line[i].slope = get_double(reader);
	}
	feature->tree_count = 1;
}

/* The reverse of put_levels. */
static void
get_levels(Reader *reader, LearnFeature *feature)
{
	int			levels = get_int(reader, 0, (int64_t) (reader->left / 8));
	bool		weighted;

	feature->target = get_int(reader, 0, 1);
	weighted = get_int(reader, 0, 1);
	feature->tree_target = reader->format >= 2 && get_int(reader, 0, 1);
	feature->level = kernel_alloc_array(reader->env, char *, levels + 1);
	feature->kept = kernel_alloc_array(reader->env, int32_t, levels + 1);
	if (weighted)
		feature->level_weight = kernel_alloc_array(reader->env, double, levels + 1);
	if (feature->tree_target)
		feature->tree_value = kernel_alloc_array(reader->env, double, levels + 1);
	for (int level = 0; level < levels && !reader->bad; level++)
	{
		feature->level[level] = get_text(reader);
		feature->kept[level] = get_int(reader, -1, levels - 1);
		if (feature->kept[level] >= 0 && feature->kept[level] != feature->kept_count++)
			reader->bad = true;
		if (weighted)
			feature->level_weight[level] = get_double(reader);
		if (feature->tree_target)
			feature->tree_value[level] = get_double(reader);
		feature->levels = level + 1;
	}
	feature->other_weight = get_double(reader);
	feature->tree_count = feature->kept_count + feature->has_other + feature->has_missing + feature->tree_target;
}

/* The reverse of put_feature. */
static void
get_feature(Reader *reader, LearnFeature *feature)
{
	memset(feature, 0, sizeof *feature);
	feature->name = get_text(reader);
	feature->kind = get_int(reader, LEARN_NUMBER, LEARN_SET);
	feature->reading = get_int(reader, 0, 1000);
	feature->origin = get_double(reader);
	feature->as_of = reader->format >= 3 ? get_text(reader) : NULL;
	if (feature->as_of && feature->as_of[0] == '\0')
		feature->as_of = NULL;
	feature->has_missing = get_int(reader, 0, 1);
	feature->has_other = get_int(reader, 0, 1);
	feature->missing_weight = get_double(reader);
	feature->mean = get_double(reader);
	if (reader->bad)
		return;
	if (feature->kind == LEARN_NUMBER)
		get_number(reader, feature);
	else
		get_levels(reader, feature);
}

/* Head, body, trees, checksum. */
void *
learn_model_serialize(const KernelEnv *env, const LearnModel *model, size_t *size)
{
	Writer		writer = {env, kernel_alloc_array(env, unsigned char, 4096), 0, 4096};
	size_t		tree_size = 0;
	void	   *tree_bytes = model->trees ? learn_trees_serialize(model->trees, env, &tree_size) : NULL;

	put_int(&writer, MODEL_MAGIC);
	put_int(&writer, MODEL_FORMAT);
	put_double(&writer, model->base);
	put_double(&writer, model->tree_weight);
	put_double(&writer, model->slope);
	put_double(&writer, model->offset);
	put_int(&writer, model->features.count);
	for (int f = 0; f < model->features.count; f++)
		put_feature(&writer, &model->features.feature[f]);
	put_int(&writer, (int64_t) tree_size);
	if (tree_bytes)
	{
		put_bytes(&writer, tree_bytes, tree_size);
		kernel_release(env, tree_bytes);
	}
	put_int(&writer, checksum(writer.bytes, writer.used));
	*size = writer.used;
	return writer.bytes;
}

/* The trees at the end, if there are any; false where they do not fit the features. */
static bool
get_trees(Reader *reader, LearnModel *model, const char **problem)
{
	int			tree_size = get_int(reader, 0, (int64_t) reader->left);
	const unsigned char *bytes = get_bytes(reader, tree_size);

	if (reader->bad || reader->left != 0)
		return false;
	if (tree_size == 0)
		return model->tree_weight == 0;
	model->trees = learn_trees_deserialize(reader->env, bytes, tree_size, problem);
	return model->trees != NULL && model->trees->features <= model->features.tree_columns;
}

/* Features, and their places in a tree row. */
static void
get_features(Reader *reader, LearnModel *model)
{
	int			count = get_int(reader, 0, 100000);

	model->features.feature = kernel_alloc_array(reader->env, LearnFeature, count + 1);
	for (int f = 0; f < count && !reader->bad; f++)
	{
		LearnFeature *feature = &model->features.feature[f];

		get_feature(reader, feature);
		if (reader->bad)
			break;
		feature->tree_first = model->features.tree_columns;
		model->features.tree_columns += feature->tree_count;
		model->features.count = f + 1;
		learn_index_levels(reader->env, feature);
	}
}

/* Everything is checked before it is used; what is left of bad bytes goes with the env's memory. */
LearnModel *
learn_model_deserialize(const KernelEnv *env, const void *bytes, size_t size, const char **problem)
{
	Reader		reader = {env, bytes, size, false, 0};
	LearnModel *model = kernel_alloc_array(env, LearnModel, 1);

	memset(model, 0, sizeof *model);
	*problem = "the bytes are damaged";
	if (size < 12)
		return NULL;
	reader.left = size - 4;
	if (get_int(&reader, 0, UINT32_MAX) == (int32_t) MODEL_MAGIC)
		reader.format = get_int(&reader, 0, 1000);
	if (reader.format < 1 || reader.format > MODEL_FORMAT)
	{
		*problem = "the bytes are not a model of this version";
		return NULL;
	}
	{
		const unsigned char *tail = (const unsigned char *) bytes + size - 4;
		uint32_t	sum = (uint32_t) tail[0] | (uint32_t) tail[1] << 8 | (uint32_t) tail[2] << 16 | (uint32_t) tail[3] << 24;

		if (sum != checksum(bytes, size - 4))
			return NULL;
	}
	model->base = get_double(&reader);
	model->tree_weight = get_double(&reader);
	model->slope = get_double(&reader);
	model->offset = get_double(&reader);
	get_features(&reader, model);
	if (reader.bad || !get_trees(&reader, model, problem))
		return NULL;
	model->tree_row = kernel_alloc_array(env, float, model->features.tree_columns + 1);
	model->tree_contribution = kernel_alloc_array(env, double, model->features.tree_columns + 2);
	return model;
}
