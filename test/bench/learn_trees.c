/*
 * learn_trees.c
 *		Margins and contributions of boosted trees against libxgboost's own, one thread, the same trees and rows, in one
 *		process. Each figure is the best of several interleaved runs; processor time, so that neighbours matter less.
 *
 * learn_trees DEPTH … prints a table and fails if a margin differs by a bit; learn_trees --reference prints
 * test/unit/trees_model.h.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <xgboost/c_api.h>

#include "learn/shap.h"
#include "learn/trees.h"
#include "tap.h"

#define FEATURES	30
#define ROUNDS		300
#define TRAIN_ROWS	50000
#define SHAP_ROWS	200
#define RUNS		5

static uint64_t state = 88172645463325252u;

/* Stop at libxgboost's complaint. */
static void
check(int code)
{
	if (code != 0)
	{
		fprintf(stderr, "%s\n", XGBGetLastError());
		exit(1);
	}
}

/* xorshift: a number in [0, 1). */
static double
uniform(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (double) (state >> 11) * 0x1p-53;
}

/* Processor time in seconds. */
static double
now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &at);
	return (double) at.tv_sec + (double) at.tv_nsec * 1e-9;
}

/* Rows with interactions, a third of the features 0 or 1, 3 % missing. */
static void
make_data(float *matrix, float *labels, int rows, int features)
{
	int			i;
	int			f;

	for (i = 0; i < rows; i++)
	{
		float	   *row = matrix + (size_t) i * features;
		double		z = 0;

		for (f = 0; f < features; f++)
		{
			double		u = uniform() * 2 - 1 + uniform();

			row[f] = (float) (f % 3 == 2 ? u > 0.5 : u);
			if (f < 10)
				z += u * (f % 2 ? 1 : -1) * (f % 4 == 3 ? row[0] : 1);
		}
		labels[i] = uniform() < 1 / (1 + exp(-z));
		for (f = 0; f < features; f++)
			if (uniform() < 0.03)
				row[f] = NAN;
	}
}

/* libxgboost's copy of a matrix. */
static DMatrixHandle
make_matrix(const float *data, int rows, int features)
{
	DMatrixHandle matrix;
	char		interface[200];

	snprintf(interface, sizeof(interface), "{\"data\": [%zu, true], \"shape\": [%d, %d], \"typestr\": \"<f4\", "
			 "\"version\": 3}", (size_t) data, rows, features);
	check(XGDMatrixCreateFromDense(interface, "{\"missing\": NaN, \"nthread\": 1}", &matrix));
	return matrix;
}

/* Train as xgboost_pg.c does. */
static BoosterHandle
train(DMatrixHandle matrix, int depth, int rounds)
{
	const char *params[][2] = {
		{"objective", "binary:logistic"}, {"tree_method", "hist"}, {"nthread", "1"}, {"verbosity", "0"},
		{"eta", "0.1"}, {"min_child_weight", "5"}, {"subsample", "0.8"}, {"colsample_bytree", "0.8"},
		{"max_bin", "255"}, {"base_score", "0.4"}, {"seed_per_iteration", "1"}, {"seed", "7"}
	};
	BoosterHandle booster;
	char		text[20];
	size_t		i;

	check(XGBoosterCreate(&matrix, 1, &booster));
	for (i = 0; i < sizeof(params) / sizeof(params[0]); i++)
		check(XGBoosterSetParam(booster, params[i][0], params[i][1]));
	snprintf(text, sizeof(text), "%d", depth);
	check(XGBoosterSetParam(booster, "max_depth", text));
	for (i = 0; i < (size_t) rounds; i++)
		check(XGBoosterUpdateOneIter(booster, (int) i, matrix));
	return booster;
}

/* Margins (type 1) or contributions (type 2); in the booster's memory. */
static const float *
library_predict(BoosterHandle booster, DMatrixHandle matrix, int type)
{
	char		config[200];
	const bst_ulong *shape;
	bst_ulong	dimensions;
	const float *result;

	snprintf(config, sizeof(config), "{\"type\": %d, \"training\": false, \"iteration_begin\": 0, "
			 "\"iteration_end\": 0, \"strict_shape\": false}", type);
	check(XGBoosterPredictFromDMatrix(booster, matrix, config, &shape, &dimensions, &result));
	return result;
}

/* The model's bytes. */
static const char *
save(BoosterHandle booster, size_t *size)
{
	bst_ulong	length;
	const char *bytes;

	check(XGBoosterSaveModelToBuffer(booster, "{\"format\": \"ubj\"}", &length, &bytes));
	*size = length;
	return bytes;
}

/* A booster that has no predictions in its cache. */
static BoosterHandle
load(const char *bytes, size_t size)
{
	BoosterHandle booster;

	check(XGBoosterCreate(NULL, 0, &booster));
	check(XGBoosterLoadModelFromBuffer(booster, bytes, size));
	check(XGBoosterSetParam(booster, "nthread", "1"));
	return booster;
}

/* The smaller of a time and one just taken. */
static void
best_of(double *best, double begun)
{
	double		took = now() - begun;

	if (*best == 0 || took < *best)
		*best = took;
}

/* What was measured for one depth, in seconds. */
typedef struct Times
{
	double		library_batch;
	double		batch;
	double		row;
	double		library_shap;
	double		shap;
} Times;

/* Interleaved timings; the count of margins whose bits differ. */
static int
measure(const TreeEnsemble *ensemble, TreeEnsemble *batch, const char *model, size_t size, const float *rows, Times *times,
		double *shap_error)
{
	float	   *margins = malloc(sizeof(float) * TRAIN_ROWS);
	float	   *singles = malloc(sizeof(float) * TRAIN_ROWS);
	double	   *contributions = malloc(sizeof(double) * (FEATURES + 1));
	ShapTable  *table = learn_shap_prepare(ensemble);
	int			differ = 0;
	int			run;
	int			i;
	int			f;

	for (run = 0; run < RUNS; run++)
	{
		BoosterHandle booster = load(model, size);
		DMatrixHandle matrix = make_matrix(rows, TRAIN_ROWS, FEATURES);
		DMatrixHandle few = make_matrix(rows, SHAP_ROWS, FEATURES);
		const float *library;
		double		begun = now();

		library = library_predict(booster, matrix, 1);
		best_of(&times->library_batch, begun);
		begun = now();
		learn_trees_margin_batch(batch, rows, TRAIN_ROWS, FEATURES, margins);
		best_of(&times->batch, begun);
		begun = now();
		for (i = 0; i < TRAIN_ROWS; i++)
			singles[i] = learn_trees_margin_row(ensemble, rows + (size_t) i * FEATURES);
		best_of(&times->row, begun);
		for (i = 0; i < TRAIN_ROWS; i++)
			differ += memcmp(&library[i], &margins[i], sizeof(float)) != 0 ||
				memcmp(&library[i], &singles[i], sizeof(float)) != 0;
		begun = now();
		library = library_predict(booster, few, 2);
		best_of(&times->library_shap, begun);
		begun = now();
		for (i = 0; i < SHAP_ROWS; i++)
			learn_shap_row(table, rows + (size_t) i * FEATURES, contributions);
		best_of(&times->shap, begun);
		for (i = 0; i < SHAP_ROWS; i++)
		{
			learn_shap_row(table, rows + (size_t) i * FEATURES, contributions);
			for (f = 0; f <= FEATURES; f++)
				*shap_error = fmax(*shap_error, fabs(contributions[f] - library[i * (FEATURES + 1) + f]));
		}
		check(XGDMatrixFree(few));
		check(XGDMatrixFree(matrix));
		check(XGBoosterFree(booster));
	}
	learn_shap_free(table);
	free(margins);
	free(singles);
	free(contributions);
	return differ;
}

/* One line of the table; false where bits differ. */
static bool
bench_depth(int depth, const float *train_rows, const float *labels, const float *new_rows)
{
	DMatrixHandle matrix = make_matrix(train_rows, TRAIN_ROWS, FEATURES);
	BoosterHandle booster;
	KernelEnv	env = tap_env();
	const char *problem;
	const char *model;
	char	   *copy;
	size_t		size;
	Times		times = {0};
	double		shap_error = 0;
	TreeEnsemble *ensemble;
	int			differ;

	check(XGDMatrixSetFloatInfo(matrix, "label", labels, TRAIN_ROWS));
	booster = train(matrix, depth, ROUNDS);
	model = save(booster, &size);
	copy = malloc(size);
	memcpy(copy, model, size);
	ensemble = learn_trees_load(&env, copy, size, 0, &problem);
	if (ensemble == NULL)
	{
		fprintf(stderr, "%s\n", problem);
		exit(1);
	}
	differ = measure(ensemble, ensemble, copy, size, new_rows, &times, &shap_error);
	printf("%5d %9.0f k %9.0f k %6.1f %9.0f k %6.1f %9.0f us %8.0f us %6.1f %9.1e %8d\n", depth,
		   TRAIN_ROWS / times.library_batch / 1e3, TRAIN_ROWS / times.batch / 1e3, times.library_batch / times.batch,
		   TRAIN_ROWS / times.row / 1e3, times.library_batch / times.row, times.library_shap / SHAP_ROWS * 1e6,
		   times.shap / SHAP_ROWS * 1e6, times.library_shap / times.shap, shap_error, differ);
	fflush(stdout);
	learn_trees_free(ensemble);
	free(copy);
	check(XGBoosterFree(booster));
	check(XGDMatrixFree(matrix));
	return differ == 0;
}

/* A small model with what the library says of eight rows, as a C header. */
static void
print_reference(void)
{
	enum
	{
		features = 5, rows = 400, shown = 8
	};
	static float data[rows * features];
	static float labels[rows];
	DMatrixHandle matrix;
	DMatrixHandle few;
	BoosterHandle booster;
	const char *model;
	const float *result;
	size_t		size;
	size_t		i;
	int			major;
	int			minor;
	int			patch;

	XGBoostVersion(&major, &minor, &patch);
	make_data(data, labels, rows, features);
	for (i = 0; i < rows; i += 2)
		data[i * features + i / 2 % features] = NAN;
	matrix = make_matrix(data, rows, features);
	check(XGDMatrixSetFloatInfo(matrix, "label", labels, rows));
	booster = train(matrix, 4, 3);
	few = make_matrix(data, shown, features);
	printf("/*\n * trees_model.h\n *\t\tA small model saved by libxgboost %d.%d.%d, and that library's margins and contributions for some rows.\n"
		   " *\n * Made by: test/bench/learn_trees.sh --reference\n */\n\n#define MODEL_FEATURES %d\n#define MODEL_ROWS %d\n\n",
		   major, minor, patch, features, shown);
	printf("static const float model_rows[MODEL_ROWS][MODEL_FEATURES] = {");
	for (i = 0; i < shown * features; i++)
		if (isnan(data[i]))
			printf("%s%sNAN", i == 0 ? "" : i % features == 0 ? "}," : ",", i % features == 0 ? "\n\t{" : " ");
		else
			printf("%s%s%af", i == 0 ? "" : i % features == 0 ? "}," : ",", i % features == 0 ? "\n\t{" : " ", data[i]);
	result = library_predict(booster, few, 1);
	printf("}\n};\n\nstatic const float model_margins[MODEL_ROWS] = {\n\t");
	for (i = 0; i < shown; i++)
		printf("%s%af", i == 0 ? "" : ", ", result[i]);
	result = library_predict(booster, few, 2);
	printf("\n};\n\nstatic const float model_contributions[MODEL_ROWS][MODEL_FEATURES + 1] = {");
	for (i = 0; i < shown * (features + 1); i++)
		printf("%s%s%.9gf", i == 0 ? "" : i % (features + 1) == 0 ? "}," : ",", i % (features + 1) == 0 ? "\n\t{" : " ",
			   result[i] == 0 ? 0.0 : result[i]);
	model = save(booster, &size);
	printf("}\n};\n\nstatic const unsigned char model_bytes[%zu] = {", size);
	for (i = 0; i < size; i++)
		printf("%s%u", i == 0 ? "\n\t" : i % 32 == 0 ? ",\n\t" : ",", (unsigned char) model[i]);
	printf("\n};\n");
}

/* Depths as arguments. */
int
main(int argc, char **argv)
{
	float	   *train_rows = malloc(sizeof(float) * TRAIN_ROWS * FEATURES);
	float	   *new_rows = malloc(sizeof(float) * TRAIN_ROWS * FEATURES);
	float	   *labels = malloc(sizeof(float) * TRAIN_ROWS);
	bool		equal = true;
	int			i;

	if (argc > 1 && strcmp(argv[1], "--reference") == 0)
	{
		print_reference();
		return 0;
	}
	make_data(new_rows, labels, TRAIN_ROWS, FEATURES);
	make_data(train_rows, labels, TRAIN_ROWS, FEATURES);
	printf("%d trees, %d features, 3 %% missing, one thread; rows/s and time a row; margins: bits that differ\n"
		   "depth  libxgboost       batch  ratio  row by row  ratio libxgboost SHAP  ours  ratio max. diff.   margins\n",
		   ROUNDS, FEATURES);
	for (i = 1; i < argc; i++)
		equal &= bench_depth(atoi(argv[i]), train_rows, labels, new_rows);
	return equal ? 0 : 1;
}
