/*
 * trees_fuzz.c
 *		Saved models and stored ensembles, damaged in every way: reading them must end in an ensemble that predicts and
 *		explains, or in a problem text. The first byte chooses what the rest is: raw bytes of either kind, or changes to good ones
 *		(a checksum is mended, so that the checks behind it are reached).
 */
#include "tap.h"

#include "learn/shap.h"
#include "learn/trees.h"

#include "../unit/trees_model.h"

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Use what was read. */
static void
use(TreeEnsemble *ensemble, const char *problem)
{
	ShapTable  *table;
	float	   *row;
	float		margins[3];
	double	   *contributions;
	int			i;

	if (ensemble == NULL)
	{
		if (problem == NULL)
			abort();
		return;
	}
	if (ensemble->features <= 2000)
	{
		row = malloc(sizeof(float) * (size_t) ensemble->features * 3);
		contributions = malloc(sizeof(double) * ((size_t) ensemble->features + 1));
		for (i = 0; i < ensemble->features * 3; i++)
			row[i] = i % 3 == 0 ? NAN : (float) i;
		learn_trees_margin_batch(ensemble, row, 3, (size_t) ensemble->features, margins);
		for (i = 0; i < 30; i++)
		{
			float		margin = learn_trees_margin_row(ensemble, row + (size_t) (i % 3) * (size_t) ensemble->features);

			if (memcmp(&margin, &margins[i % 3], sizeof(margin)) != 0)
				abort();
		}
		table = learn_shap_prepare(ensemble);
		learn_shap_row(table, row, contributions);
		learn_shap_free(table);
		free(row);
		free(contributions);
	}
	learn_trees_free(ensemble);
}

/* Overwrite or cut bytes as the input says: pairs of (where, what). */
static size_t
damage(uint8_t *bytes, size_t length, const uint8_t *data, size_t size)
{
	for (; size >= 3; data += 3, size -= 3)
	{
		size_t		at = ((size_t) data[0] << 8 | data[1]) % length;

		if (data[2] == 255 && size == 3)
			return at;
		bytes[at] = data[2];
	}
	return length;
}

/* Make the checksum at the end fit again. */
static void
mend(uint8_t *bytes, size_t size)
{
	uint32_t	hash = 2166136261u;
	size_t		i;

	for (i = 0; i + 4 < size; i++)
		hash = (hash ^ bytes[i]) * 16777619u;
	for (i = 0; size >= 4 && i < 4; i++)
		bytes[size - 4 + i] = (uint8_t) (hash >> (8 * i));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	KernelEnv	env = tap_env();
	const char *problem = NULL;
	uint8_t    *bytes;
	size_t		length;
	TreeEnsemble *good;
	TreeEnsemble *ensemble;

	if (size < 1)
		return 0;
	good = learn_trees_load(&env, model_bytes, sizeof(model_bytes), 0, &problem);
	bytes = learn_trees_serialize(good, &env, &length);
	learn_trees_free(good);
	switch (data[0] % 4)
	{
		case 0:
			ensemble = learn_trees_load(&env, data + 1, size - 1, 0, &problem);
			break;
		case 1:
			ensemble = learn_trees_deserialize(&env, data + 1, size - 1, &problem);
			break;
		case 2:
			length = damage(bytes, length, data + 1, size - 1);
			mend(bytes, length);
			ensemble = learn_trees_deserialize(&env, bytes, length, &problem);
			break;
		default:
			free(bytes);
			bytes = malloc(sizeof(model_bytes));
			memcpy(bytes, model_bytes, sizeof(model_bytes));
			length = damage(bytes, sizeof(model_bytes), data + 1, size - 1);
			ensemble = learn_trees_load(&env, bytes, length, 0, &problem);
			break;
	}
	use(ensemble, problem);
	free(bytes);
	return 0;
}
