/*
 * learn_test.c
 *		The learning kernels against published numbers: metrics, logistic regression, calibration, encoding, models as bytes.
 */
#include "tap.h"

#include "learn/calibrate.h"
#include "learn/leakage.h"
#include "learn/logistic.h"
#include "learn/metrics.h"
#include "learn/model.h"

/* scikit-learn 1.5, roc_auc_score's own example and its tests of ties. */
static void
test_roc_auc(void)
{
	KernelEnv	env = tap_env();
	double		positive[] = {0.35, 0.8};
	double		negative[] = {0.1, 0.4};
	double		tied_positive[] = {0.5, 0.5, 0.7};
	double		tied_negative[] = {0.2, 0.5};
	double		many[1000];

	is_double(learn_roc_auc_sorted(positive, 2, negative, 2), 0.75, 0, "roc_auc of scikit-learn's example");
	is_double(learn_roc_auc_sorted(tied_positive, 3, tied_negative, 2), 5.0 / 6.0, 1e-15, "ties count half");
	ok(isnan(learn_roc_auc_sorted(positive, 2, negative, 0)), "one class has no area");
	for (int i = 0; i < 1000; i++)
		many[i] = (double) ((i * 7919) % 1000) - 500;
	learn_sort_doubles(&env, many, 1000);
	for (int i = 0; i < 1000; i++)
		if (many[i] != i - 500)
		{
			ok(false, "sorted at %d", i);
			return;
		}
	ok(true, "sorting by digits, negative numbers among them");
}

/* Values from the definitions. */
static void
test_other_metrics(void)
{
	double		positive[] = {0.6, 0.9};
	double		negative[] = {0.1, 0.6, 0.6};
	CalibrationBins bins = {{0}};

	is_double(learn_precision_at_sorted(positive, 2, negative, 3, 0.2), 1, 0, "the best row");
	is_double(learn_precision_at_sorted(positive, 2, negative, 3, 0.4), (1 + 1.0 / 3) / 2, 1e-15, "ties at the edge are averaged");
	is_double(learn_precision_at_sorted(positive, 2, negative, 3, 0.01), 1, 0, "one row at least");
	is_double(learn_log_loss_row(0.9, true), -log(0.9), 1e-15, "log loss of a row");
	is_double(learn_log_loss_row(0, true), 36.04365338911715, 1e-12, "log loss clipped as scikit-learn clips");
	is_double(learn_log_loss_margin(800, false), 800, 1e-9, "log loss of log odds does not overflow");
	is_double(learn_probability(-800), 0, 1e-300, "nor does the probability");
	learn_calibration_add(&bins, 1.0, true);
	learn_calibration_add(&bins, 0.05, true);
	is_double(learn_calibration_error(&bins), 0.95 / 2, 1e-15, "calibration error of two rows");
}

/* Hours of study and passing an exam: https://en.wikipedia.org/wiki/Logistic_regression (coefficients, errors, p-values). */
static void
test_logistic(void)
{
	KernelEnv	env = tap_env();
	double		hours[] = {0.50, 0.75, 1.00, 1.25, 1.50, 1.75, 1.75, 2.00, 2.25, 2.50, 2.75, 3.00, 3.25, 3.50, 4.00, 4.25, 4.50, 4.75,
	5.00, 5.50};
	uint8_t		pass[] = {0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 1, 1, 1, 1, 1};
	uint8_t		separated[20];
	size_t		start[21];
	uint16_t	column[20] = {0};
	LogisticData data = {20, 1, start, column, hours, pass, NULL};
	LogisticFit *fit;

	for (int i = 0; i <= 20; i++)
		start[i] = i;
	for (int i = 0; i < 20; i++)
		separated[i] = i > 9;
	fit = learn_logistic_fit(&env, &data, 0, NULL, -1, NULL, true, NULL);
	ok(fit->converged, "converges");
	is_double(fit->coefficient[0], 1.5046, 5e-5, "slope");
	is_double(fit->coefficient[1], -4.0777, 5e-5, "intercept");
	is_double(fit->standard_error[0], 0.6287, 5e-5, "the slope's standard error");
	is_double(fit->standard_error[1], 1.7610, 5e-5, "the intercept's");
	is_double(learn_p_value(fit->coefficient[0], fit->standard_error[0]), 0.0167, 5e-5, "p-value of the slope");
	is_double(learn_p_value(fit->coefficient[1], fit->standard_error[1]), 0.0206, 5e-5, "p-value of the intercept");
	is_double(fit->log_likelihood, -8.02988, 5e-5, "log likelihood");
	learn_logistic_free(&env, fit);
	data.label = separated;
	fit = learn_logistic_fit(&env, &data, 1, NULL, -1, NULL, false, NULL);
	ok(fit->converged && isfinite(fit->coefficient[0]), "separation with a penalty is finite");
	learn_logistic_free(&env, fit);
}

#define WIDE_ROWS 500
#define WIDE_COLUMNS 420

/* So many entries a row that L-BFGS takes over: at its end the penalised gradient is zero, which is the optimum's mark. */
static void
test_wide_logistic(void)
{
	KernelEnv	env = tap_env();
	static double value[WIDE_ROWS * WIDE_COLUMNS];
	static uint16_t column[WIDE_ROWS * WIDE_COLUMNS];
	size_t		start[WIDE_ROWS + 1];
	uint8_t		label[WIDE_ROWS];
	double		gradient[WIDE_COLUMNS + 1] = {0};
	double		largest = 0;
	uint64_t	state = 5;
	LogisticData data = {WIDE_ROWS, WIDE_COLUMNS, start, column, value, label, NULL};
	LogisticFit *fit;

	for (int row = 0; row < WIDE_ROWS; row++)
	{
		double		sum = 0;

		start[row] = (size_t) row * WIDE_COLUMNS;
		for (int c = 0; c < WIDE_COLUMNS; c++)
		{
			size_t		at = start[row] + c;

			state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
			column[at] = (uint16_t) c;
			value[at] = (double) (state >> 40) / (1 << 23) - 1;
			sum += c < 3 ? value[at] * (1 + 10 * c) : 0;
		}
		label[row] = sum > 0.3;
	}
	start[WIDE_ROWS] = (size_t) WIDE_ROWS * WIDE_COLUMNS;
	fit = learn_logistic_fit(&env, &data, 2, NULL, -1, NULL, true, NULL);
	for (int row = 0; row < WIDE_ROWS; row++)
	{
		double		residual = label[row] - learn_probability(learn_logistic_margin(&data, row, fit->coefficient));

		for (int c = 0; c < WIDE_COLUMNS; c++)
			gradient[c] += residual * value[start[row] + c];
		gradient[WIDE_COLUMNS] += residual;
	}
	for (int c = 0; c <= WIDE_COLUMNS; c++)
	{
		double		slope = fabs(gradient[c] - (c < WIDE_COLUMNS ? 2 * fit->coefficient[c] : 0));

		largest = slope > largest ? slope : largest;
	}
	ok(fit->converged, "a wide fit converges");
	is_double(largest, 0, 1e-3, "its penalised gradient is zero");
	ok(fit->standard_error[0] > 0 && fit->standard_error[2] > 0, "its standard errors are there");
	learn_logistic_free(&env, fit);
}

/* Log odds that are twice too steep are halved. */
static void
test_calibration(void)
{
	double		margin[2000];
	double		noise[2000];
	uint8_t		label[2000];
	uint64_t	state = 1;
	PlattMap	map;

	for (int i = 0; i < 2000; i++)
	{
		double		log_odds = (i % 40) / 10.0 - 2;

		state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		label[i] = (double) (state >> 11) / 9007199254740992.0 < learn_probability(log_odds);
		margin[i] = 2 * log_odds + 1;
		noise[i] = i % 7 - 3;
	}
	map = learn_platt(margin, label, 2000);
	is_double(map.slope, 0.5, 0.06, "Platt's slope");
	is_double(map.offset, -0.5, 0.15, "Platt's offset");
	ok(map.gain > 50, "and it gains");
	/* all but three rows are far apart, and a steep map between those three and the others would divide them */
	for (int i = 0; i < 600; i++)
	{
		label[i] = i % 2;
		margin[i] = label[i] ? (i < 6 ? -4.8 : 5.5) : -5.4;
	}
	map = learn_platt(margin, label, 600);
	ok(map.slope > 0 && map.slope * 5.5 + map.offset < 12, "margins that divide the classes are not stretched without end");
	is_double(learn_blend_weight(noise, margin, label, 2000), 0.1, 0.3, "a blend with noise takes little of it");
}

/* a table of one number, one category and one set, 400 rows */
typedef struct Example
{
	double		number[400];
	int32_t		code[400];
	int32_t		set_flag[400];
	size_t		set_start[401];
	int32_t		set_code[800];
	uint8_t		label[400];
	int			fold[400];
	LearnColumn column[3];
	LearnTable	table;
} Example;

static void
make_example(Example *example)
{
	static const char *levels[12] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"};
	size_t		used = 0;

	memset(example, 0, sizeof *example);
	for (int i = 0; i < 400; i++)
	{
		example->number[i] = i % 11 == 0 ? NAN : (i * 37) % 101;
		example->code[i] = i % 13 == 0 ? -1 : (i * i) % 12;
		example->set_flag[i] = i % 17 == 0 ? -1 : 0;
		example->set_start[i] = used;
		if (i % 17 != 0)
		{
			example->set_code[used++] = i % 3;
			if (i % 2)
				example->set_code[used++] = 3 + i % 4;
		}
		example->label[i] = (i * 7 + (i % 3) * 5) % 10 < 3 + (i % 12) / 4;
		example->fold[i] = i % 5;
	}
	example->set_start[400] = used;
	example->column[0] = (LearnColumn) {.name = "number", .kind = LEARN_NUMBER, .number = example->number};
	example->column[1] = (LearnColumn) {.name = "category", .kind = LEARN_CATEGORY, .code = example->code, .levels = 12, .level = levels};
	example->column[2] = (LearnColumn) {.name = "set", .kind = LEARN_SET, .code = example->set_flag, .set_start = example->set_start,
	.set_code = example->set_code, .levels = 7, .level = levels};
	example->table = (LearnTable) {400, 3, example->column, example->label};
}

/* The folded model gives each row what design and coefficients give it, contributions add up, and bytes bring it back. */
static void
test_model(void)
{
	static Example example;
	KernelEnv	env = tap_env();
	EncodeOptions options;
	LearnModel	model = {.slope = 1.25, .offset = -0.5};
	LearnModel *again;
	LearnDesign *design;
	LogisticFit *fit;
	LearnValue	value[3];
	int32_t		room[64];
	double		contribution[4];
	double		worst = 0;
	double		worst_sum = 0;
	double		worst_again = 0;
	const char *problem;
	size_t		size;
	unsigned char *bytes;
	bool		caught = true;

	make_example(&example);
	learn_encode_defaults(&options);
	options.min_rows = 3;
	model.features = *learn_encode(&env, &example.table, &options);
	ok(model.features.feature[1].target, "twelve levels are target-encoded");
	design = learn_design(&env, &model.features, &example.table, example.fold, 5);
	learn_design_target(design, -1);
	fit = learn_logistic_fit(&env, &design->data, 2, NULL, -1, NULL, false, NULL);
	ok(fit->converged, "fit converges");
	learn_additive_from_fit(&env, &model, design, fit->coefficient);
	learn_additive_means(&env, &model, &example.table);
	bytes = learn_model_serialize(&env, &model, &size);
	again = learn_model_deserialize(&env, bytes, size, &problem);
	ok(again != NULL, "bytes are a model again");
	for (size_t row = 0; row < 400; row++)
	{
		double		expected = learn_logistic_margin(&design->data, row, fit->coefficient);
		double		sum = 0;
		double		target = 0;

		learn_table_row(&model.features, &example.table, row, value, room);
		/* rows of training have nested encodings, predictions the final one: allow for it */
		for (size_t at = design->start[row]; at < design->start[row + 1]; at++)
			if (design->column[at] == model.features.feature[1].design_first)
				target = fit->coefficient[design->column[at]] *
					(learn_target_value(design, 1, value[1].level) - design->value[at]);
		worst = fmax(worst, fabs(learn_additive_margin(&model, value) - expected - target));
		learn_model_explain(&env, &model, value, contribution);
		for (int i = 0; i < 4; i++)
			sum += contribution[i];
		worst_sum = fmax(worst_sum, fabs(sum - learn_model_margin(&model, value)));
		worst_again = fmax(worst_again, fabs(learn_model_margin(again, value) - learn_model_margin(&model, value)));
	}
	ok(worst < 1e-10, "the folded model equals design times coefficients (%g)", worst);
	ok(worst_sum < 1e-12, "contributions add up (%g)", worst_sum);
	is_double(worst_again, 0, 0, "and its bytes say the same");
	for (size_t at = 0; at < size; at += 7)
	{
		bytes[at] ^= 0x5a;
		caught = caught && learn_model_deserialize(&env, bytes, size, &problem) == NULL;
		bytes[at] ^= 0x5a;
	}
	ok(caught, "damaged bytes are refused");
	ok(learn_model_deserialize(&env, bytes, size / 2, &problem) == NULL, "half the bytes are refused");
}

/* What format 1 wrote before categories had target encodings for trees: the code of 2026-11-26, commit ea9d41b. */
static const unsigned char format_1[] = {
		0x53, 0x4c, 0x4d, 0x31, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xe0, 0xbf,
		0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xf8, 0x3f,
		0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xd0, 0x3f, 0x02, 0x00, 0x00, 0x00, 0x06, 0x00, 0x00, 0x00,
		0x76, 0x69, 0x73, 0x69, 0x74, 0x73, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00, 0xc0, 0xbf, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00, 0x59, 0x40, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xf0, 0x3f, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x24, 0x40, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xe0, 0x3f, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0xd0, 0x3f, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x40, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x06, 0x00, 0x00, 0x00, 0x73, 0x6f, 0x75, 0x72, 0x63, 0x65, 0x02, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00,
		0x04, 0x00, 0x00, 0x00, 0x63, 0x6f, 0x6c, 0x64, 0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x00, 0xf0, 0xbf, 0x05, 0x00, 0x00, 0x00, 0x65, 0x76, 0x65, 0x6e, 0x74, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xe8, 0x3f, 0x03, 0x00, 0x00, 0x00, 0x77, 0x65, 0x62,
		0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xd8, 0x3f, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0xc0, 0x00, 0x00, 0x00, 0x00, 0xae, 0xd5, 0x58, 0xc6,
};

/* Models stored by an older version serve on. */
static void
test_old_bytes(void)
{
	KernelEnv	env = tap_env();
	const char *problem = "";
	LearnModel *model = learn_model_deserialize(&env, format_1, sizeof format_1, &problem);
	LearnValue	value[2];

	ok(model != NULL, "format 1 is read: %s", problem);
	if (model == NULL)
		return;
	value[0] = (LearnValue) {.number = 4};
	value[1] = (LearnValue) {.level = learn_find_level(&model->features.feature[1], "event", 5)};
	is_double(learn_model_margin(model, value), 1.5 * (-0.5 + 0.5 + 0.25 * 4 + 0.75) + 0.25, 1e-15, "as it was written");
	value[0] = (LearnValue) {.number = NAN};
	value[1] = (LearnValue) {.level = LEARN_LEVEL_OTHER};
	is_double(learn_model_margin(model, value), 1.5 * (-0.5 - 0.125 - 2) + 0.25, 1e-15, "missing and unseen too");
	is_int(model->features.feature[1].tree_target, 0, "without an encoding for trees");
	is_int(model->features.tree_columns, 4, "in four columns: number, two levels, other");
}

/* 60 levels of five rows, one a fold, in a table of 300, and a sixty-first without a row: too rare to stand alone. */
static void
make_rare(LearnTable *table, LearnColumn *column, int32_t *code, uint8_t *label, int *fold, const char **level, char (*name)[16])
{
	for (int l = 0; l < 60; l++)
	{
		snprintf(name[l], sizeof(name[l]), "p%02d", l);
		level[l] = name[l];
	}
	for (int i = 0; i < 300; i++)
	{
		code[i] = i == 7 ? -1 : i % 60;
		label[i] = i % 60 % 3 == 0 ? i / 60 != 2 : i / 60 == 2;
		fold[i] = i / 60;
	}
	*column = (LearnColumn) {.name = "place", .kind = LEARN_CATEGORY, .code = code, .levels = 60, .level = level};
	*table = (LearnTable) {300, 1, column, label};
}

/* The encoding of a level of so many rows and positives, as doc/learn.md words it, beside a base rate. */
static double
encoding_of(double rows, double positives, double base)
{
	return log((positives + 10 * base) / (rows - positives + 10 * (1 - base))) - log(base / (1 - base));
}

/* Trees see rare levels by an encoding that knows neither the row's own fold nor the one that is held out. */
static void
test_tree_targets(void)
{
	KernelEnv	env = tap_env();
	static char name[60][16];
	const char *level[60];
	int32_t		code[300];
	uint8_t		label[300];
	int			fold[300];
	LearnColumn column;
	LearnTable	table;
	EncodeOptions options;
	LearnModel	model = {.slope = 1};
	LearnModel *again;
	LearnDesign *targets;
	float	   *matrix;
	float		row[4];
	const char *problem;
	size_t		size;
	void	   *bytes;

	make_rare(&table, &column, code, label, fold, level, name);
	learn_encode_defaults(&options);
	model.features = *learn_encode(&env, &table, &options);
	is_int(model.features.feature[0].tree_target, 1, "levels of five rows get an encoding for trees");
	is_int(model.features.tree_columns, 2, "beside the column of the others");
	matrix = learn_tree_matrix(&env, &model.features, &table);
	targets = learn_targets(&env, &model.features, &table, fold, 5);
	learn_tree_targets(targets, 4, matrix);
	/* 20 of 60 levels are positive but in fold 2, the others in fold 2 alone: 20 positives in folds 0, 1, 3 (row 7 is none), 40 in 2 */
	is_double(matrix[0 * 2 + 1], encoding_of(3, 2, 100.5 / 241), 1e-7, "p00 in fold 0: of folds 1, 2, 3");
	is_double(matrix[120 * 2 + 1], encoding_of(3, 3, 100.5 / 241), 1e-7, "p00 in fold 2: of folds 0, 1, 3");
	is_double(matrix[240 * 2 + 1], encoding_of(4, 3, 100.5 / 241), 1e-7, "p00 held out: of the four others");
	ok(isnan(matrix[7 * 2 + 1]), "missing stays missing");
	learn_tree_target_values(&env, &model.features, targets);
	bytes = learn_model_serialize(&env, &model, &size);
	again = learn_model_deserialize(&env, bytes, size, &problem);
	ok(again != NULL, "bytes are a model again");
	learn_tree_row(&again->features, &(LearnValue) {.level = learn_find_level(&again->features.feature[0], "p07", 3)}, row);
	is_double(row[1], encoding_of(4, 1, 120.5 / 301), 1e-7, "predictions use all rows");
	learn_tree_row(&again->features, &(LearnValue) {.level = LEARN_LEVEL_OTHER}, row);
	is_double(row[1], 0, 0, "a level never seen is like the base rate");
	learn_tree_row(&again->features, &(LearnValue) {.level = LEARN_LEVEL_MISSING}, row);
	ok(isnan(row[1]), "a missing one is missing");
	learn_design_free(&env, targets);
}

/* A column filled only for positives, one that is clean. */
static void
test_leakage(void)
{
	static Example example;
	KernelEnv	env = tap_env();
	LeakFinding *finding;
	LearnDrift	drift;
	double		order[400];

	make_example(&example);
	for (int i = 0; i < 400; i++)
	{
		example.code[i] = example.label[i] ? i % 12 : -1;
		order[i] = example.label[i] ? 400 + i : i;
	}
	finding = learn_leakage(&env, &example.table, example.fold, 5);
	is_int(finding[1].degree, LEAK_LEFT_OUT, "filled only for positives: left out");
	is_int(finding[0].degree, LEAK_NONE, "a clean number");
	drift = learn_drift(&env, order, example.label, 400);
	ok(drift.drifts, "a label that moves along an order drifts");
	for (int i = 0; i < 400; i++)
		order[i] = (i * 181) % 400;
	drift = learn_drift(&env, order, example.label, 400);
	ok(!drift.drifts, "one that does not, does not");
}

int
main(void)
{
	test_roc_auc();
	test_other_metrics();
	test_logistic();
	test_wide_logistic();
	test_calibration();
	test_model();
	test_old_bytes();
	test_tree_targets();
	test_leakage();
	return done_testing();
}
