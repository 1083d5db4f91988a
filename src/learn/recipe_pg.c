/*
 * recipe_pg.c
 *		The recipe of doc/learn.md. Tuning sees the training rows only, by cross-validation over folds of equal class shares:
 *		ridge strength, depth and number of the trees, and their share of the blend. The held-out figures come from the
 *		same folds, or from the newest rows where the label's rate drifts along an order.
 *
 * Rows lie in an order that their contents and the seed decide, so the first n of them are a random sample; large data is
 * tuned on such a sample and fitted on all.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/memutils.h"

#include "core/compat.h"
#include "core/kernel_pg.h"
#include "core/progress.h"
#include "learn/recipe_pg.h"
#include "learn/xgboost_pg.h"

#define LOGISTIC_ROWS		200000	/* more say nothing new to some hundred terms */
#define MEAN_ROWS			20000
#define FITTED_ROWS			20000
#define SMALL_CLASS			50		/* rarer class below: logistic only */
#define MEDIUM_CLASS		200		/* below: shallow trees, equal shares */
#define BLEND_GAIN			4.6		/* log likelihood by which other shares must win then: chance does once in 400 times */
#define PLATT_GAIN			4.6		/* log likelihood that two more parameters must win */
#define ERROR_TERMS			400		/* standard errors up to this many terms */
#define MAX_ROUNDS			1500
#define WIDE_TREES			400		/* columns of the trees' form beyond which every bin and node costs too much to be generous */
#define WIDE_BINS			63
#define WIDE_DEPTH			5
#define HEAVY_LEAF			5		/* least sum of p (1 - p) in a leaf: tried first */
#define LIGHT_LEAF			1		/* tried at the best depth */
#define LIGHT_ERRORS		2		/* standard errors by which it must win */
#define LIGHT_GAIN			0.01	/* share of the log loss that it must win */

static const double lambda_grid[] = {100, 30, 10, 3, 1, 0.3};

/* what all steps share */
typedef struct Bench
{
	Recipe	   *recipe;
	KernelEnv	env;
	LearnTable	sample;			/* the first rows of the table */
	int		   *fold;
	int			folds;
	double	   *logistic_margin;	/* of the sample, out of fold */
	float	   *matrix;			/* trees' form of the whole table */
} Bench;

static void add_note(Recipe *recipe, const char *format,...) pg_attribute_printf(2, 3);

/* Add a note. */
static void
add_note(Recipe *recipe, const char *format, ...)
{
	char		text[512];
	va_list		args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	recipe->notes = lappend(recipe->notes, pstrdup(text));
}

/* Folds of equal class shares: rows are dealt out in turn, each class by itself. */
static int *
deal_folds(const LearnTable *table, int folds)
{
	int		   *fold = palloc_extended(sizeof(int) * Max(table->rows, 1), MCXT_ALLOC_HUGE);
	int			next[2] = {0, 0};

	for (size_t row = 0; row < table->rows; row++)
	{
		int			class = table->label[row];

		fold[row] = next[class];
		next[class] = (next[class] + 1) % folds;
	}
	return fold;
}

/* Mean log loss of margins. */
static double
mean_loss(const double *margin, const uint8_t *label, size_t rows)
{
	double		sum = 0;

	for (size_t row = 0; row < rows; row++)
		sum += learn_log_loss_margin(margin[row], label[row]);
	return sum / (double) rows;
}

/* ---- logistic ---- */

/*
 * Out-of-fold margins of all folds for a lambda, each from the fold's last coefficients, which start[fold] keeps, or at first from its
 * neighbour's. (A fit that is done has forgotten where it came from, up to what ROUGH in logistic.c allows.)
 */
static void
logistic_folds(Bench *bench, LearnDesign *design, LogisticWork *work, double lambda, double **start, double *margin)
{
	for (int fold = 0; fold < bench->folds; fold++)
	{
		const double *from = start[fold > 0 && !start[fold] ? fold - 1 : fold];
		LogisticFit *fit;

		learn_design_target(design, fold);
		fit = learn_logistic_fit(&bench->env, &design->data, lambda, bench->fold, fold, from, false, work);
		for (size_t row = 0; row < bench->sample.rows; row++)
			if (bench->fold[row] == fold)
				margin[row] = learn_logistic_margin(&design->data, row, fit->coefficient);
		start[fold] = fit->coefficient;
	}
}

/*
 * Choose lambda by the folds; keeps the margins of the best. Returns their mean loss. From the largest down, until the loss has risen
 * twice: the small ones are the dear ones, and where noise is plenty none of them is worth a try.
 */
static double
tune_lambda(Bench *bench)
{
	Recipe	   *recipe = bench->recipe;
	LearnDesign *design = learn_design(&bench->env, &recipe->model->features, &bench->sample, bench->fold, bench->folds);
	LogisticWork *work = learn_logistic_work(&bench->env, &design->data);
	bool		given = recipe->options->lambda >= 0;
	const double *lambdas = given ? &recipe->options->lambda : lambda_grid;
	int			count = given ? 1 : lengthof(lambda_grid);
	double	  **start = palloc0(sizeof(double *) * bench->folds);
	double	   *margin = palloc_extended(sizeof(double) * bench->sample.rows, MCXT_ALLOC_HUGE);
	double	   *best_margin = palloc_extended(sizeof(double) * bench->sample.rows, MCXT_ALLOC_HUGE);
	double		best = INFINITY;
	int			risen = 0;

	progress_phase("tuning logistic regression", count);
	for (int i = 0; i < count && risen < 2; i++)
	{
		double		loss;

		logistic_folds(bench, design, work, lambdas[i], start, margin);
		loss = mean_loss(margin, bench->sample.label, bench->sample.rows);
		risen = loss < best ? 0 : risen + 1;
		if (loss < best)
		{
			double	   *other = best_margin;

			best = loss;
			recipe->lambda = lambdas[i];
			best_margin = margin;
			margin = other;
		}
		progress_update(i + 1, count);
	}
	bench->logistic_margin = best_margin;
	learn_logistic_work_free(&bench->env, work);
	learn_design_free(&bench->env, design);
	return best;
}

/*
 * Lambda, and the form of numbers: hinges and bins follow any curve, but where there is none, or too few rows to see it, straight lines
 * alone predict better.
 */
static void
tune_logistic(Bench *bench)
{
	Recipe	   *recipe = bench->recipe;
	LearnFeatures *features = &recipe->model->features;
	LearnFeature *bent = palloc(sizeof(LearnFeature) * (features->count + 1));
	LearnFeatures bent_features = *features;
	double		bent_lambda;
	double	   *bent_margin;
	double		bent_loss = tune_lambda(bench);

	memcpy(bent, features->feature, sizeof(LearnFeature) * features->count);
	bent_lambda = recipe->lambda;
	bent_margin = bench->logistic_margin;
	if (features->simpler > 0 || !learn_encode_straight(features))
		return;
	if (tune_lambda(bench) < bent_loss)
	{
		add_note(recipe, "the regression takes numbers as straight lines: hinges and bins are no better");
		return;
	}
	memcpy(features->feature, bent, sizeof(LearnFeature) * features->count);
	*features = bent_features;
	recipe->lambda = bent_lambda;
	bench->logistic_margin = bent_margin;
}

/* Fit the additive part on all rows (or enough of them). */
static void
fit_logistic(Bench *bench)
{
	Recipe	   *recipe = bench->recipe;
	LearnTable	table = recipe->table;
	LearnDesign *design;
	bool		errors = recipe->method == METHOD_LOGISTIC &&
	recipe->model->features.design_columns <= ERROR_TERMS && !recipe->options->fast;

	progress_phase("fitting logistic regression", 0);
	table.rows = Min(table.rows, LOGISTIC_ROWS);
	design = learn_design(&bench->env, &recipe->model->features, &table, bench->fold, bench->folds);
	learn_design_target(design, -1);
	recipe->fit = learn_logistic_fit(&bench->env, &design->data, recipe->lambda, NULL, -1, NULL, errors, NULL);
	if (!recipe->fit->converged)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("logistic regression does not converge"),
				 errdetail("The label is perfectly separated by the columns, or some columns repeat others."),
				 errhint("Give a penalty: options '{\"lambda\": 1}', or leave lambda out.")));
	learn_additive_from_fit(&bench->env, recipe->model, design, recipe->fit->coefficient);
	learn_design_free(&bench->env, design);
	table.rows = Min(table.rows, MEAN_ROWS);
	learn_additive_means(&bench->env, recipe->model, &table);
}

/* ---- trees ---- */

/* Parameters of the options, with a depth. */
static XgboostParams
tree_params(const Recipe *recipe, int depth, int rounds, int patience)
{
	XgboostParams params;
	const TrainOptions *options = recipe->options;

	learn_xgboost_defaults(&params);
	params.depth = depth;
	params.rounds = rounds;
	params.patience = patience;
	params.eta = options->eta;
	params.min_child_weight = recipe->min_child_weight;
	params.subsample = options->subsample;
	params.colsample = options->colsample;
	params.max_bin = recipe->model->features.tree_columns > WIDE_TREES ? Min(options->max_bin, WIDE_BINS) : options->max_bin;
	params.seed = options->seed;
	return params;
}

/* Labels as the library wants them. */
static float *
float_labels(const uint8_t *label, size_t rows)
{
	float	   *floats = palloc_extended(sizeof(float) * Max(rows, 1), MCXT_ALLOC_HUGE);

	for (size_t row = 0; row < rows; row++)
		floats[row] = label[row];
	return floats;
}

/* The first rows of the matrix, as training data. */
static XgboostData
tree_data(const Bench *bench, size_t rows)
{
	XgboostData data = {.matrix = bench->matrix, .rows = rows, .features = bench->recipe->model->features.tree_columns};

	data.labels = float_labels(bench->recipe->table.label, rows);
	return data;
}

/* The target encodings of the matrix's first rows as a fit may see them that does not see the fold `without`. */
static void
set_tree_targets(Bench *bench, size_t rows, const int *fold, int folds, int without)
{
	LearnTable	table = bench->recipe->table;
	LearnDesign *targets;

	if (!learn_has_tree_targets(&bench->recipe->model->features))
		return;
	table.rows = rows;
	targets = learn_targets(&bench->env, &bench->recipe->model->features, &table, fold, folds);
	learn_tree_targets(targets, without, bench->matrix);
	if (without < 0)
		learn_tree_target_values(&bench->env, &bench->recipe->model->features, targets);
	learn_design_free(&bench->env, targets);
}

/* The same for a fold of the tuning. */
static void
set_fold_targets(void *context, int fold)
{
	Bench	   *bench = context;

	set_tree_targets(bench, bench->sample.rows, bench->fold, bench->folds, fold);
}

/* The best trees so far of a tuning. */
typedef struct TreeTuning
{
	XgboostData data;
	double		loss;
	double	   *margins;		/* out of fold */
} TreeTuning;

/*
 * Do new trees win log likelihood out of fold, by more than `errors` standard errors of the rows' differences, and by so much of it that it
 * counts?
 */
static bool
wins(const Bench *bench, const TreeTuning *tuning, const XgboostCv *cv, double errors)
{
	double		rows = (double) bench->sample.rows;
	double		sum = 0;
	double		squares = 0;

	if (errors == 0)
		return cv->pooled_loss[cv->rounds - 1] < tuning->loss;
	for (size_t row = 0; row < bench->sample.rows; row++)
	{
		double		won = learn_log_loss_margin(tuning->margins[row], bench->sample.label[row]) -
			learn_log_loss_margin(cv->margins[row], bench->sample.label[row]);

		sum += won;
		squares += won * won;
	}
	return sum > errors * sqrt(Max(squares - sum * sum / rows, 0)) && sum > LIGHT_GAIN * rows * tuning->loss;
}

/* Trees of a depth and a least weight of a leaf, by the folds: kept where they are the best by that much. */
static void
try_trees(Bench *bench, TreeTuning *tuning, int depth, double min_child_weight, double errors)
{
	Recipe	   *recipe = bench->recipe;
	double		before = recipe->min_child_weight;
	XgboostParams params;
	XgboostCv  *cv;

	recipe->min_child_weight = min_child_weight;
	params = tree_params(recipe, depth, recipe->options->rounds > 0 ? recipe->options->rounds : MAX_ROUNDS,
						 recipe->options->rounds > 0 ? 0 : recipe->options->patience);
	cv = learn_xgboost_cross_validate(&params, &tuning->data, bench->fold, bench->folds);
	if (wins(bench, tuning, cv, errors))
	{
		tuning->loss = cv->pooled_loss[cv->rounds - 1];
		recipe->depth = depth;
		recipe->rounds = cv->rounds;
		for (size_t row = 0; row < bench->sample.rows; row++)
			tuning->margins[row] = cv->margins[row];
	}
	else
		recipe->min_child_weight = before;
}

/*
 * Choose depth, rounds and the least weight of a leaf by the folds; the margins of the best. A weight of 5 keeps noise out, but where
 * the classes come apart, rows are so certain that it takes hundreds of them to weigh that much: there 1 is better, by far.
 */
static double *
tune_trees(Bench *bench)
{
	static const int depths[] = {2, 3, 5, 7};
	Recipe	   *recipe = bench->recipe;
	const TrainOptions *options = recipe->options;
	bool		wide = recipe->model->features.tree_columns > WIDE_TREES;
	TreeTuning	tuning = {.data = tree_data(bench, bench->sample.rows), .loss = INFINITY};

	tuning.margins = palloc_extended(sizeof(double) * bench->sample.rows, MCXT_ALLOC_HUGE);
	if (learn_has_tree_targets(&recipe->model->features))
	{
		tuning.data.for_fold = set_fold_targets;
		tuning.data.for_fold_context = bench;
	}
	for (int i = 0; i < (options->depth > 0 ? 1 : (int) lengthof(depths)); i++)
	{
		int			depth = options->depth > 0 ? options->depth : depths[i];

		if (options->depth == 0 && ((recipe->rarer < MEDIUM_CLASS && depth > 3) || (wide && depth > WIDE_DEPTH)))
			break;
		progress_phase(psprintf("tuning trees of depth %d", depth), 0);
		try_trees(bench, &tuning, depth, recipe->min_child_weight, 0);
	}
	if (options->min_child_weight < 0 && !wide && (options->rounds == 0 || options->depth == 0))
	{
		progress_phase("tuning the leaves' weight", 0);
		try_trees(bench, &tuning, recipe->depth, LIGHT_LEAF, LIGHT_ERRORS);
	}
	if (options->rounds > 0)
		recipe->rounds = options->rounds;
	return tuning.margins;
}

/* Rounds for all rows, where tuning saw a sample: stopped early on a tenth. */
static void
tune_rounds(Bench *bench)
{
	Recipe	   *recipe = bench->recipe;
	size_t		rows = recipe->table.rows;
	size_t		cut = rows - rows / 10;
	XgboostParams params = tree_params(recipe, recipe->depth, MAX_ROUNDS, recipe->options->patience);
	XgboostData train = tree_data(bench, cut);
	XgboostData test = {.matrix = bench->matrix + cut * recipe->model->features.tree_columns,
	.labels = float_labels(recipe->table.label + cut, rows - cut), .rows = rows - cut, .features = recipe->model->features.tree_columns};
	int		   *fold = palloc_extended(sizeof(int) * rows, MCXT_ALLOC_HUGE);

	progress_phase("tuning the number of trees", 0);
	for (size_t row = 0; row < rows; row++)
		fold[row] = row < cut ? bench->fold[row] : bench->folds;
	set_tree_targets(bench, rows, fold, bench->folds + 1, bench->folds);
	pfree(fold);
	recipe->rounds = learn_xgboost_train(&params, &train, &test)->rounds;
}

/* Fit the trees on all rows. */
static void
fit_trees(Bench *bench)
{
	Recipe	   *recipe = bench->recipe;
	XgboostParams params;
	XgboostData data = tree_data(bench, recipe->table.rows);

	if (recipe->options->rounds == 0 && recipe->table.rows > bench->sample.rows)
		tune_rounds(bench);
	progress_phase("fitting trees", recipe->rounds);
	set_tree_targets(bench, recipe->table.rows, bench->fold, bench->folds, -1);
	params = tree_params(recipe, recipe->depth, recipe->rounds, 0);
	recipe->model->trees = learn_xgboost_train(&params, &data, NULL)->ensemble;
}

/* ---- validation apart from the folds ---- */

/* Rows marked in `test` are predicted by trees of the other rows. */
static void
split_trees(Bench *bench, size_t rows, const int *fold, const bool *test, double *margin)
{
	Recipe	   *recipe = bench->recipe;
	size_t		width = recipe->model->features.tree_columns;
	float	   *matrix = palloc_extended(sizeof(float) * Max(rows * width, 1), MCXT_ALLOC_HUGE);
	float	   *labels = palloc_extended(sizeof(float) * Max(rows, 1), MCXT_ALLOC_HUGE);
	XgboostData data = {.matrix = matrix, .labels = labels, .features = (int) width};
	XgboostParams params = tree_params(recipe, recipe->depth, recipe->rounds, 0);
	TreeEnsemble *trees;

	set_tree_targets(bench, rows, fold, bench->folds + 1, bench->folds);
	for (size_t row = 0; row < rows; row++)
		if (!test[row])
		{
			memcpy(matrix + data.rows * width, bench->matrix + row * width, sizeof(float) * width);
			labels[data.rows++] = recipe->table.label[row];
		}
	trees = learn_xgboost_train(&params, &data, NULL)->ensemble;
	for (size_t row = 0; row < rows; row++)
		if (test[row])
			margin[row] = learn_trees_margin_row(trees, bench->matrix + row * width);
	pfree(matrix);
	pfree(labels);
}

/* The same by logistic regression. */
static void
split_logistic(Bench *bench, size_t rows, const int *fold, const bool *test, double *margin)
{
	Recipe	   *recipe = bench->recipe;
	LearnTable	table = recipe->table;
	LearnDesign *design;
	LogisticFit *fit;

	table.rows = rows;
	design = learn_design(&bench->env, &recipe->model->features, &table, fold, bench->folds + 1);
	learn_design_target(design, bench->folds);
	fit = learn_logistic_fit(&bench->env, &design->data, recipe->lambda, fold, bench->folds, NULL, false, NULL);
	for (size_t row = 0; row < rows; row++)
		if (test[row])
			margin[row] = learn_logistic_margin(&design->data, row, fit->coefficient);
	learn_design_free(&bench->env, design);
}

/* Keep the tested rows' margins as the held-out ones. */
static void
keep_tested(Recipe *recipe, size_t rows, const bool *test, const double *margin)
{
	recipe->margin = palloc_extended(sizeof(double) * rows, MCXT_ALLOC_HUGE);
	recipe->margin_label = palloc_extended(rows, MCXT_ALLOC_HUGE);
	recipe->margin_rows = 0;
	for (size_t row = 0; row < rows; row++)
		if (test[row])
		{
			recipe->margin[recipe->margin_rows] = margin[row];
			recipe->margin_label[recipe->margin_rows++] = recipe->table.label[row];
		}
}

/* Fit on some rows, predict the marked ones, by the tuning already found: the tested rows are one more fold, which no fit sees. */
static void
validate_split(Bench *bench, size_t rows, const bool *test)
{
	Recipe	   *recipe = bench->recipe;
	double	   *trees = palloc_extended(sizeof(double) * rows, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	double	   *logistic = palloc_extended(sizeof(double) * rows, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);

	int		   *fold = palloc_extended(sizeof(int) * rows, MCXT_ALLOC_HUGE);

	progress_phase("validating", 0);
	for (size_t row = 0; row < rows; row++)
		fold[row] = test[row] ? bench->folds : bench->fold[row];
	if (recipe->trees)
		split_trees(bench, rows, fold, test, trees);
	if (recipe->logistic)
		split_logistic(bench, rows, fold, test, logistic);
	pfree(fold);
	for (size_t row = 0; row < rows; row++)
		trees[row] = learn_model_mix(recipe->model, logistic[row], trees[row]);
	keep_tested(recipe, rows, test, trees);
}

/* upwards */
static int
compare_doubles(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return x < y ? -1 : x > y ? 1 : 0;
}

/* Mark the newest fifth by the drifting order; false where it holds too little of a class. */
static bool
mark_newest(const Recipe *recipe, size_t rows, bool *test)
{
	double	   *sorted = palloc_extended(sizeof(double) * rows, MCXT_ALLOC_HUGE);
	size_t		present = 0;
	size_t		positives = 0;
	size_t		tested = 0;
	double		cut;

	for (size_t row = 0; row < rows; row++)
		if (!isnan(recipe->order[row]))
			sorted[present++] = recipe->order[row];
	if (present == 0)
		return false;
	qsort(sorted, present, sizeof(double), compare_doubles);
	cut = sorted[present - 1 - present / 5];
	for (size_t row = 0; row < rows; row++)
	{
		test[row] = !isnan(recipe->order[row]) && recipe->order[row] > cut;
		tested += test[row];
		positives += test[row] && recipe->table.label[row];
	}
	pfree(sorted);
	return positives >= 20 && tested - positives >= 20;
}

/* Figures by time, where the order drifts and the newest rows suffice. */
static void
validate_by_time(Bench *bench)
{
	Recipe	   *recipe = bench->recipe;
	bool	   *test = palloc_extended(bench->sample.rows, MCXT_ALLOC_HUGE);

	if (!mark_newest(recipe, bench->sample.rows, test))
	{
		add_note(recipe, "the newest fifth by \"%s\" holds too few rows of a class: validation is at random", recipe->order_name);
		return;
	}
	validate_split(bench, bench->sample.rows, test);
	recipe->validation = psprintf("by time: trained on the older, tested on the newest %zu rows by %s", recipe->margin_rows,
								  recipe->order_name);
}

/* One held-out part: every fifth row, or with much data one fifth tested and a tenth trained on. */
static void
validate_holdout(Bench *bench)
{
	Recipe	   *recipe = bench->recipe;
	size_t		rows = recipe->table.rows;
	bool	   *test;
	bool		sampled = rows > 20000;

	if (sampled)
		rows = rows * 3 / 10;
	test = palloc_extended(rows, MCXT_ALLOC_HUGE);
	for (size_t row = 0; row < rows; row++)
		test[row] = sampled ? row >= recipe->table.rows / 10 : bench->fold[row] == 0;
	validate_split(bench, rows, test);
	recipe->validation = sampled ?
		psprintf("a smaller model: trained on %zu rows, tested on %zu others (the model itself saw all)", rows - recipe->margin_rows,
				 recipe->margin_rows) :
		psprintf("held out: trained on %zu rows, tested on %zu others", rows - recipe->margin_rows, recipe->margin_rows);
}

/* ---- the whole ---- */

/* Which of the two models there will be. */
static void
choose_models(Recipe *recipe)
{
	recipe->logistic = recipe->method != METHOD_TREES;
	recipe->trees = recipe->method == METHOD_TREES;
	if (recipe->method != METHOD_AUTO || recipe->options->fast)
		return;
	recipe->trees = recipe->rarer >= SMALL_CLASS;
	if (!recipe->trees)
		add_note(recipe, "only %zu rows of the rarer class: logistic regression alone, and wide errors", recipe->rarer);
	else if (recipe->rarer < MEDIUM_CLASS)
		add_note(recipe, "only %zu rows of the rarer class: shallow trees, and equal shares in the blend unless others are clearly better", recipe->rarer);
	if (recipe->trees && !learn_xgboost_available())
	{
		recipe->trees = false;
		add_note(recipe, "libxgboost is not installed: logistic regression alone");
	}
}

/* Log likelihood lost by a mix of the out-of-fold margins. */
static double
mix_loss(const Bench *bench, const double *trees, double tree_weight)
{
	double		loss = 0;

	for (size_t row = 0; row < bench->sample.rows; row++)
		loss += learn_log_loss_margin(tree_weight * trees[row] + (1 - tree_weight) * bench->logistic_margin[row], bench->sample.label[row]);
	return loss;
}

/* The trees' share. Of few rows the best one is mostly chance: equal shares, unless it wins by more than that. */
static double
choose_weight(const Bench *bench, const double *trees)
{
	double		best = learn_blend_weight(trees, bench->logistic_margin, bench->sample.label, bench->sample.rows);

	if (bench->recipe->rarer < MEDIUM_CLASS && mix_loss(bench, trees, 0.5) - mix_loss(bench, trees, best) <= BLEND_GAIN)
		return 0.5;
	return best;
}

/* Mix the out-of-fold margins and straighten them. */
static void
blend(Bench *bench, const double *trees)
{
	Recipe	   *recipe = bench->recipe;
	LearnModel *model = recipe->model;
	size_t		rows = bench->sample.rows;
	double	   *margin = palloc_extended(sizeof(double) * rows, MCXT_ALLOC_HUGE);

	model->tree_weight = recipe->trees ? 1 : 0;
	if (recipe->trees && recipe->logistic)
		model->tree_weight = choose_weight(bench, trees);
	model->slope = 1;
	model->offset = 0;
	for (size_t row = 0; row < rows; row++)
		margin[row] = learn_model_mix(model, recipe->logistic ? bench->logistic_margin[row] : 0, recipe->trees ? trees[row] : 0);
	recipe->platt = learn_platt(margin, bench->sample.label, rows);
	/* a slope below zero would turn the model round: what knows nothing is not worth straightening */
	if (recipe->platt.slope > 0 && (recipe->options->calibration == CALIBRATE_PLATT ||
									(recipe->options->calibration == CALIBRATE_AUTO && recipe->platt.gain > PLATT_GAIN)))
	{
		model->slope = recipe->platt.slope;
		model->offset = recipe->platt.offset;
		add_note(recipe, "log odds straightened: %.3f times, %+.3f", model->slope, model->offset);
	}
	for (size_t row = 0; row < rows; row++)
		margin[row] = model->slope * margin[row] + model->offset;
	recipe->margin = margin;
	recipe->margin_label = (uint8 *) bench->sample.label;
	recipe->margin_rows = rows;
	recipe->validation = psprintf("cross-validation in %d folds%s", bench->folds,
								  rows < recipe->table.rows ? psprintf(" of %zu sampled rows", rows) : "");
}

/* What the held-out margins win over the base rate, with its standard error. */
static void
measure_gain(Recipe *recipe)
{
	double		rows = (double) recipe->margin_rows;
	double		positives = 0;
	double		base;
	double		sum = 0;
	double		squares = 0;

	for (size_t row = 0; row < recipe->margin_rows; row++)
		positives += recipe->margin_label[row];
	base = log((positives + 0.5) / (rows - positives + 0.5));
	for (size_t row = 0; row < recipe->margin_rows; row++)
	{
		double		won = learn_log_loss_margin(base, recipe->margin_label[row]) -
			learn_log_loss_margin(recipe->margin[row], recipe->margin_label[row]);

		sum += won;
		squares += won * won;
	}
	recipe->gain = sum / rows;
	recipe->gain_error = sqrt(Max(squares / rows - recipe->gain * recipe->gain, 0) / rows);
}

/* With everything given, tuning is not needed: the figures come from one held-out part. */
static bool
tuning_needed(const Recipe *recipe)
{
	const TrainOptions *options = recipe->options;

	if (options->fast)
		return false;
	if (options->validation == VALIDATE_FOLDS || options->validation == VALIDATE_TIME || options->calibration == CALIBRATE_PLATT)
		return true;
	if (recipe->method == METHOD_AUTO)
		return true;
	return (recipe->trees && (options->rounds == 0 || options->depth == 0)) || (recipe->logistic && options->lambda < 0);
}

/* Tuning that the options give. */
static void
take_given(Recipe *recipe)
{
	recipe->lambda = recipe->options->lambda >= 0 ? recipe->options->lambda : 3;
	recipe->depth = recipe->options->depth > 0 ? recipe->options->depth : 5;
	recipe->rounds = recipe->options->rounds > 0 ? recipe->options->rounds : 300;
	recipe->min_child_weight = recipe->options->min_child_weight >= 0 ? recipe->options->min_child_weight : HEAVY_LEAF;
	recipe->model->tree_weight = recipe->trees ? 1 : 0;
	recipe->model->slope = 1;
	recipe->model->offset = 0;
}

#define RARE_SHARE 0.5

/* Trees see levels one by one: say so where most rows hold levels too rare for that, and whether an encoding stands in. */
static void
note_rare_levels(Recipe *recipe)
{
	const LearnTable *table = &recipe->table;

	for (int f = 0; f < table->columns; f++)
	{
		const LearnFeature *feature = &recipe->model->features.feature[f];
		size_t		present = 0;
		size_t		rare = 0;

		if (feature->kind != LEARN_CATEGORY)
			continue;
		for (size_t row = 0; row < table->rows; row++)
		{
			int32_t		code = table->column[f].code[row];
			int32_t		level = code < 0 ? -1 : recipe->model->features.code_map[f][code];

			present += code >= 0;
			rare += code >= 0 && (level < 0 || feature->kept[level] < 0);
		}
		if ((double) rare > RARE_SHARE * (double) present)
			add_note(recipe, "%.0f %% of the rows hold values of \"%s\" that are too rare to stand alone: trees %s",
					 100.0 * (double) rare / (double) present, feature->name,
					 feature->tree_target ? "see how often each of them was positive" :
					 "do not tell them apart");
	}
}

/* Learn the features, and the model's empty shell around them. */
static void
encode_table(Bench *bench)
{
	Recipe	   *recipe = bench->recipe;
	EncodeOptions options;

	progress_phase("encoding", recipe->table.columns);
	learn_encode_defaults(&options);
	options.min_rows = recipe->options->min_level_rows;
	options.linear_numbers = recipe->options->linear_numbers;
	if (recipe->options->linear_numbers)
	{
		options.target = false;
		options.drop_first = recipe->options->lambda == 0;
	}
	options.keep_bins = recipe->method == METHOD_SCORECARD;
	options.trees_only = !recipe->logistic;
	recipe->model = palloc0(sizeof(LearnModel));
	recipe->model->features = *learn_encode(&bench->env, &recipe->table, &options);
	if (recipe->logistic && recipe->model->features.simpler > 0)
		add_note(recipe, "many columns: the regression takes numbers as %s",
				 recipe->model->features.simpler == LEARN_SIMPLER_BINS ? "lines and hinges, without bins" :
				 recipe->model->features.simpler == LEARN_SIMPLER_HINGES ? "lines and three hinges, without bins" : "lines");
	if (recipe->trees && !recipe->logistic)
		note_rare_levels(recipe);
	if (recipe->trees)
		bench->matrix = learn_tree_matrix(&bench->env, &recipe->model->features, &recipe->table);
}

/* What the finished model says of the rows that it was trained on: whether others are still like them is asked of this distribution. */
static void
predict_fitted(Bench *bench)
{
	Recipe	   *recipe = bench->recipe;
	LearnModel *model = recipe->model;
	LearnValue *value = palloc(sizeof(LearnValue) * (model->features.count + 1));
	int32_t    *room = palloc(sizeof(int32_t) * learn_table_room(&recipe->table));

	model->tree_row = palloc(sizeof(float) * (model->features.tree_columns + 1));
	recipe->fitted_rows = Min(recipe->table.rows, FITTED_ROWS);
	recipe->fitted = palloc(sizeof(double) * recipe->fitted_rows);
	for (size_t row = 0; row < recipe->fitted_rows; row++)
	{
		learn_table_row(&model->features, &recipe->table, row, value, room);
		recipe->fitted[row] = learn_probability(learn_model_margin(model, value));
	}
	learn_sort_doubles(&bench->env, recipe->fitted, recipe->fitted_rows);
	pfree(room);
	pfree(value);
}

/* ---- scorecard ---- */

#define CARD_LAMBDA 1.0

/* Out-of-fold margins of a card, then the card of all rows. */
static void
run_scorecard(Bench *bench)
{
	Recipe	   *recipe = bench->recipe;
	Scorecard  *card;

	progress_phase("fitting the scorecard", bench->folds);
	card = learn_scorecard_count(&bench->env, &recipe->model->features, &bench->sample, bench->fold, bench->folds);
	bench->logistic_margin = palloc_extended(sizeof(double) * bench->sample.rows, MCXT_ALLOC_HUGE);
	for (int fold = 0; fold < bench->folds; fold++)
		learn_scorecard_fit(&bench->env, card, &recipe->model->features, &bench->sample, bench->fold, fold, CARD_LAMBDA,
							bench->logistic_margin);
	blend(bench, NULL);
	measure_gain(recipe);
	recipe->metrics = learn_metrics(&bench->env, recipe->margin, recipe->margin_label, recipe->margin_rows);
	recipe->lambda = CARD_LAMBDA;
	recipe->card = learn_scorecard_count(&bench->env, &recipe->model->features, &recipe->table, bench->fold, bench->folds);
	learn_scorecard_fit(&bench->env, recipe->card, &recipe->model->features, &recipe->table, bench->fold, -1, CARD_LAMBDA, NULL);
	learn_scorecard_fold(&bench->env, recipe->card, recipe->model);
	bench->sample.rows = Min(bench->sample.rows, MEAN_ROWS);
	learn_additive_means(&bench->env, recipe->model, &bench->sample);
}

/* ---- in order ---- */

/* Logistic regression, trees, or both, tuned where that is needed. */
static void
run_models(Bench *bench)
{
	Recipe	   *recipe = bench->recipe;
	double	   *trees = NULL;

	if (tuning_needed(recipe))
	{
		if (recipe->logistic)
			tune_logistic(bench);
		if (recipe->trees)
			trees = tune_trees(bench);
		blend(bench, trees);
		measure_gain(recipe);
		recipe->trees = recipe->model->tree_weight > 0;
		recipe->logistic = recipe->model->tree_weight < 1;
		if (recipe->order && (recipe->options->validation == VALIDATE_AUTO || recipe->options->validation == VALIDATE_TIME))
			validate_by_time(bench);
	}
	else if (recipe->options->validation != VALIDATE_NONE)
	{
		validate_holdout(bench);
		measure_gain(recipe);
	}
	if (recipe->margin_rows > 0)
		recipe->metrics = learn_metrics(&bench->env, recipe->margin, recipe->margin_label, recipe->margin_rows);
	if (recipe->trees)
		fit_trees(bench);
	if (recipe->logistic)
		fit_logistic(bench);
}

/* See recipe_pg.h. */
void
learn_recipe_run(Recipe *recipe)
{
	Bench		bench = {.recipe = recipe, .env = kernel_env_pg(CurrentMemoryContext), .sample = recipe->table};

	bench.folds = recipe->options->folds;
	bench.sample.rows = Min(recipe->table.rows, (size_t) recipe->options->tuning_rows);
	bench.fold = deal_folds(&recipe->table, bench.folds);
	choose_models(recipe);
	encode_table(&bench);
	take_given(recipe);
	if (recipe->method == METHOD_SCORECARD)
		run_scorecard(&bench);
	else
		run_models(&bench);
	predict_fitted(&bench);
}

