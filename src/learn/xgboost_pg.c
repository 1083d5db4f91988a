/*
 * xgboost_pg.c
 *		The server's side of training boosted trees: finds the module beside our own library, keeps libxgboost's handles in
 *		a memory context whose end frees them, trains a round at a time with interrupts and progress between rounds, and
 *		turns the result into an ensemble of our own. What columns become features is decided elsewhere.
 */
#include "postgres.h"

#include <dlfcn.h>
#include <limits.h>
#include <math.h>

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "core/errors.h"
#include "core/kernel_pg.h"
#include "core/progress.h"
#include "learn/xgboost_api.h"
#include "learn/xgboost_pg.h"

#define MAX_DEPTH	12
#define MAX_ROUNDS	10000

/* What libxgboost allocated for one training; freed with the memory context that holds this. */
typedef struct Handles
{
	const XgboostApi *api;
	void	  **matrices;
	int			matrix_count;
	void	  **boosters;
	int			booster_count;
	MemoryContextCallback callback;
} Handles;

static const XgboostApi *loaded_api = NULL;

/* The path of salesops_xgboost.so: the directory that this very library was loaded from. */
static char *
module_path(void)
{
	Dl_info		info;
	char	   *slash;
	char	   *directory;

	if (dladdr((void *) learn_xgboost_train, &info) == 0 || info.dli_fname == NULL)
		return pstrdup("$libdir/salesops_xgboost");
	directory = pstrdup(info.dli_fname);
	slash = strrchr(directory, '/');
	if (slash == NULL)
		return pstrdup("$libdir/salesops_xgboost");
	*slash = '\0';
	return psprintf("%s/salesops_xgboost", directory);
}

/* Load the module; NULL, and the server's message in the current memory context, where it cannot be loaded. */
static const XgboostApi *
try_load(char **message)
{
	MemoryContext context = CurrentMemoryContext;
	volatile XgboostApiFunction function = NULL;

	if (loaded_api != NULL)
		return loaded_api;
	/* the loader leaves nothing behind when it fails, so its error needs no subtransaction to be set aside */
	PG_TRY();
	{
		function = (XgboostApiFunction) (void *) load_external_function(module_path(), XGBOOST_API_SYMBOL, true, NULL);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		*message = error->message;
	}
	PG_END_TRY();
	if (function == NULL)
		return NULL;
	if (function()->version != XGBOOST_API_VERSION)
	{
		*message = pstrdup("salesops_xgboost.so is of another release than salesops.so");
		return NULL;
	}
	loaded_api = function();
	return loaded_api;
}

/* The table, or an error with the way out. */
static const XgboostApi *
require_api(void)
{
	char	   *message = NULL;
	const XgboostApi *api = try_load(&message);

	if (api == NULL)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("boosted trees cannot be trained here: libxgboost is not available"),
				errdetail_internal("%s", message),
				errhint("Install libxgboost on the server (Debian: apt-get install libxgboost-dev, then build and install "
						"salesops again), or train with method \"logistic\" or \"scorecard\", which need no library. "
						"Predicting and explaining with trained models do not need it either."));
	return api;
}

/* Raise the library's complaint, if there is one. */
static void
check(const char *problem)
{
	if (problem != NULL)
		ereport(ERROR,
				errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				errmsg("libxgboost failed to train boosted trees"),
				errdetail_internal("%s", problem));
}

/* Free what libxgboost allocated, boosters before the matrices they look at. Runs in clean-up: never raises. */
static void
free_handles(void *argument)
{
	Handles    *handles = argument;
	int			i;

	for (i = 0; i < handles->booster_count; i++)
		handles->api->booster_free(handles->boosters[i]);
	for (i = 0; i < handles->matrix_count; i++)
		handles->api->matrix_free(handles->matrices[i]);
	handles->booster_count = handles->matrix_count = 0;
}

/* Room for this many handles in the current memory context, whose reset frees them. */
static Handles *
create_handles(const XgboostApi *api, int matrices, int boosters)
{
	Handles    *handles = palloc0(sizeof(Handles));

	handles->api = api;
	handles->matrices = palloc0(sizeof(void *) * matrices);
	handles->boosters = palloc0(sizeof(void *) * boosters);
	handles->callback.func = free_handles;
	handles->callback.arg = handles;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &handles->callback);
	return handles;
}

/* Copy data into a matrix of the library. */
static void *
add_matrix(Handles *handles, const XgboostData *data)
{
	void	   *matrix = NULL;

	check(handles->api->matrix_create(data->matrix, data->rows, (size_t) data->features, &matrix));
	handles->matrices[handles->matrix_count++] = matrix;
	check(handles->api->matrix_set(matrix, "label", data->labels, data->rows));
	if (data->weights != NULL)
		check(handles->api->matrix_set(matrix, "weight", data->weights, data->rows));
	return matrix;
}

/* Copy some rows of a matrix. */
static void *
add_slice(Handles *handles, void *matrix, const int *rows, size_t count)
{
	void	   *slice = NULL;

	check(handles->api->matrix_slice(matrix, rows, count, &slice));
	handles->matrices[handles->matrix_count++] = slice;
	return slice;
}

/* Set a parameter that is a number. */
static void
set_number(const XgboostApi *api, void *booster, const char *name, double value)
{
	char		text[40];

	snprintf(text, sizeof(text), "%.9g", value);
	check(api->booster_set(booster, name, text));
}

/*
 * A booster with all its parameters. base_score is always given, because newer versions estimate it otherwise;
 * seed_per_iteration makes the rounds independent of what other boosters draw from the library's one generator.
 */
static void *
add_booster(Handles *handles, const XgboostParams *params, double base_score, void *const *matrices, int count)
{
	static const char *const fixed[][2] = {
		{"objective", "binary:logistic"}, {"booster", "gbtree"}, {"tree_method", "hist"}, {"nthread", "1"},
		{"verbosity", "0"}, {"disable_default_eval_metric", "1"}, {"seed_per_iteration", "1"}
	};
	const XgboostApi *api = handles->api;
	void	   *booster = NULL;
	size_t		i;

	check(api->booster_create(matrices, count, &booster));
	handles->boosters[handles->booster_count++] = booster;
	for (i = 0; i < lengthof(fixed); i++)
		check(api->booster_set(booster, fixed[i][0], fixed[i][1]));
	set_number(api, booster, "max_depth", params->depth);
	set_number(api, booster, "eta", params->eta);
	set_number(api, booster, "min_child_weight", params->min_child_weight);
	set_number(api, booster, "subsample", params->subsample);
	set_number(api, booster, "colsample_bytree", params->colsample);
	set_number(api, booster, "lambda", params->lambda);
	set_number(api, booster, "scale_pos_weight", params->scale_pos_weight);
	set_number(api, booster, "max_bin", params->max_bin);
	set_number(api, booster, "seed", params->seed);
	set_number(api, booster, "base_score", base_score);
	return booster;
}

/* A number that must lie between two others, both allowed. */
static void
check_range(Problems *problems, const char *name, double value, double low, double high)
{
	if (!(value >= low && value <= high))
		problems_add(problems, "%s is %g, not between %g and %g", name, value, low, high);
}

/* Everything wrong with the parameters, as one error. */
static void
check_params(const XgboostParams *params)
{
	Problems	problems;

	problems_init(&problems);
	check_range(&problems, "rounds", params->rounds, 1, MAX_ROUNDS);
	check_range(&problems, "depth", params->depth, 1, MAX_DEPTH);
	check_range(&problems, "patience", params->patience, 0, MAX_ROUNDS);
	check_range(&problems, "eta", params->eta, 1e-4, 1);
	check_range(&problems, "min_child_weight", params->min_child_weight, 0, 1e9);
	check_range(&problems, "subsample", params->subsample, 0.01, 1);
	check_range(&problems, "colsample", params->colsample, 0.01, 1);
	check_range(&problems, "lambda", params->lambda, 0, 1e9);
	check_range(&problems, "scale_pos_weight", params->scale_pos_weight, 1e-6, 1e6);
	check_range(&problems, "base_score", params->base_score, 0, 1 - 1e-6);
	check_range(&problems, "max_bin", params->max_bin, 2, 255);
	check_range(&problems, "seed", params->seed, 0, INT_MAX);
	problems_raise(&problems, ERRCODE_INVALID_PARAMETER_VALUE, NULL, "invalid parameters of boosted trees");
}

/* The weight of a row. */
static inline double
row_weight(const XgboostData *data, size_t row)
{
	return data->weights == NULL ? 1 : data->weights[row];
}

/* Infinite features, labels other than 0 and 1, and bad weights; interrupts now and then, since data may be large. */
static void
check_rows(Problems *problems, const XgboostData *data)
{
	size_t		infinite = 0;
	size_t		labels = 0;
	size_t		weights = 0;
	size_t		row;
	int			f;

	for (row = 0; row < data->rows; row++)
	{
		const float *features = data->matrix + row * (size_t) data->features;

		for (f = 0; f < data->features; f++)
			infinite += isinf(features[f]) != 0;
		labels += data->labels[row] != 0 && data->labels[row] != 1;
		weights += !isfinite(row_weight(data, row)) || row_weight(data, row) < 0;
		if (row % 4096 == 0)
			CHECK_FOR_INTERRUPTS();
	}
	if (infinite > 0)
		problems_add(problems, "%zu feature values are infinite", infinite);
	if (labels > 0)
		problems_add(problems, "%zu labels are neither 0 nor 1", labels);
	if (weights > 0)
		problems_add(problems, "%zu weights are negative or not finite", weights);
}

/* Everything wrong with the data, as one error. */
static void
check_data(const XgboostData *data)
{
	Problems	problems;

	problems_init(&problems);
	if (data->rows < 1 || data->rows > INT_MAX / 2)
		problems_add(&problems, "%zu rows", data->rows);
	if (data->features < 1 || data->features > LEARN_TREES_MAX_FEATURES)
		problems_add(&problems, "%d features", data->features);
	if (problems.count == 0)
		check_rows(&problems, data);
	problems_raise(&problems, ERRCODE_INVALID_PARAMETER_VALUE, NULL, "invalid training data for boosted trees");
}

/* The probability that trees start from: what was asked for, or the weighted share of positive labels. */
static double
starting_probability(const XgboostParams *params, const XgboostData *data)
{
	double		positive = 0;
	double		total = 0;
	double		share;
	size_t		row;

	if (params->base_score > 0)
		return params->base_score;
	for (row = 0; row < data->rows; row++)
	{
		double		weight = row_weight(data, row) * (data->labels[row] > 0 ? params->scale_pos_weight : 1);

		positive += data->labels[row] * weight;
		total += weight;
	}
	share = total > 0 ? positive / total : 0.5;
	return Max(1e-6, Min(1 - 1e-6, share));
}

/* -log of the probability of what happened, from log odds, without overflow. */
static inline double
log_loss(double margin, float label)
{
	double		wrong = label > 0.5 ? -margin : margin;

	return wrong > 0 ? wrong + log1p(exp(-wrong)) : log1p(exp(wrong));
}

/* Add the loss of the matrix' rows to a sum. row_of gives their numbers in data; NULL: they are the same. */
static void
add_loss(const XgboostApi *api, void *booster, void *matrix, const XgboostData *data, const int *row_of, double *loss,
		 double *weight)
{
	const float *margins;
	size_t		count;
	size_t		i;

	check(api->booster_margins(booster, matrix, &margins, &count));
	for (i = 0; i < count; i++)
	{
		size_t		row = row_of == NULL ? i : (size_t) row_of[i];

		*loss += row_weight(data, row) * log_loss(margins[i], data->labels[row]);
		*weight += row_weight(data, row);
	}
}

/* The booster's first trees as an ensemble in the given context. */
static TreeEnsemble *
take_ensemble(const XgboostApi *api, void *booster, int rounds, MemoryContext context)
{
	KernelEnv	env = kernel_env_pg(context);
	const char *problem = NULL;
	const char *bytes;
	size_t		size;
	TreeEnsemble *ensemble;

	check(api->booster_save(booster, &bytes, &size));
	ensemble = learn_trees_load(&env, bytes, size, rounds, &problem);
	if (ensemble == NULL)
		ereport(ERROR,
				errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				errmsg("the model of libxgboost %s cannot be read", learn_xgboost_version()),
				errdetail_internal("%s", problem));
	return ensemble;
}

/* The values that held on seven data sets. */
void
learn_xgboost_defaults(XgboostParams *params)
{
	memset(params, 0, sizeof(*params));
	params->rounds = 300;
	params->depth = 5;
	params->patience = 30;
	params->eta = 0.1;
	params->min_child_weight = 5;
	params->subsample = 0.8;
	params->colsample = 0.8;
	params->lambda = 1;
	params->scale_pos_weight = 1;
	params->max_bin = 255;
}

/* Can libxgboost be loaded here? */
bool
learn_xgboost_available(void)
{
	char	   *message = NULL;

	return try_load(&message) != NULL;
}

/* The loaded library's version. */
const char *
learn_xgboost_version(void)
{
	int			major;
	int			minor;
	int			patch;

	require_api()->library_version(&major, &minor, &patch);
	return psprintf("%d.%d.%d", major, minor, patch);
}

/* Remember the round just run, and say whether to go on. */
static bool
judge_round(const XgboostParams *params, double *losses, double loss, int round, int *best)
{
	losses[round - 1] = loss;
	if (*best == 0 || loss < losses[*best - 1])
		*best = round;
	return params->patience == 0 || round - *best < params->patience;
}

/* Train in the current (temporary) context, with the result's arrays in its own. */
static void
train_rounds(const XgboostParams *params, const XgboostData *train, const XgboostData *validation, XgboostFit *fit,
			 MemoryContext result)
{
	Handles    *handles = create_handles(require_api(), 2, 1);
	const XgboostApi *api = handles->api;
	void	   *booster;
	bool		go_on = true;
	int			best = 0;

	add_matrix(handles, train);
	if (validation != NULL)
	{
		add_matrix(handles, validation);
		fit->validation_loss = MemoryContextAllocZero(result, sizeof(double) * params->rounds);
	}
	booster = add_booster(handles, params, starting_probability(params, train), handles->matrices,
						  handles->matrix_count);
	while (go_on && fit->rounds_run < params->rounds)
	{
		CHECK_FOR_INTERRUPTS();
		progress_update(fit->rounds_run, params->rounds);
		check(api->booster_update(booster, fit->rounds_run, handles->matrices[0]));
		fit->rounds_run++;
		if (validation != NULL)
		{
			double		loss = 0;
			double		weight = 0;

			add_loss(api, booster, handles->matrices[1], validation, NULL, &loss, &weight);
			go_on = judge_round(params, fit->validation_loss, weight > 0 ? loss / weight : 0, fit->rounds_run, &best);
		}
	}
	fit->rounds = best > 0 ? best : fit->rounds_run;
	fit->ensemble = take_ensemble(api, booster, fit->rounds, result);
}

/* Train boosted trees; the result lives in the current memory context. */
XgboostFit *
learn_xgboost_train(const XgboostParams *params, const XgboostData *train, const XgboostData *validation)
{
	MemoryContext result = CurrentMemoryContext;
	MemoryContext work;
	XgboostFit *fit = palloc0(sizeof(XgboostFit));

	check_params(params);
	check_data(train);
	if (validation != NULL)
	{
		check_data(validation);
		if (validation->features != train->features)
			elog(ERROR, "validation data have %d features, training data %d", validation->features, train->features);
	}
	work = AllocSetContextCreate(result, "salesops xgboost training", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(work);
	train_rounds(params, train, validation, fit, result);
	MemoryContextSwitchTo(result);
	MemoryContextDelete(work);
	return fit;
}

/* What one fold of a cross-validation keeps. */
typedef struct Fold
{
	int		   *held_out;		/* row numbers */
	size_t		held_out_count;
	void	   *train;
	void	   *test;
	void	   *booster;
} Fold;

/* Slice the whole matrix into a fold's two, and make its booster. The share of positives is the fold's own. */
static void
prepare_fold(Handles *handles, const XgboostParams *params, const XgboostData *data, const int *fold, int number,
			 Fold *result)
{
	int		   *rest = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(int) * data->rows);
	size_t		rest_count = 0;
	double		positive = 0;
	double		total = 0;
	XgboostParams own = *params;
	void	   *whole = handles->matrices[0];
	size_t		row;

	result->held_out = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(int) * data->rows);
	for (row = 0; row < data->rows; row++)
	{
		double		weight = row_weight(data, row) * (data->labels[row] > 0 ? params->scale_pos_weight : 1);

		if (fold[row] == number)
		{
			result->held_out[result->held_out_count++] = (int) row;
			continue;
		}
		rest[rest_count++] = (int) row;
		positive += weight * data->labels[row];
		total += weight;
	}
	if (result->held_out_count == 0 || rest_count == 0)
		elog(ERROR, "fold %d holds out %zu of %zu rows", number, result->held_out_count, data->rows);
	if (own.base_score == 0)
		own.base_score = Max(1e-6, Min(1 - 1e-6, total > 0 ? positive / total : 0.5));
	if (data->for_fold)
	{
		data->for_fold(data->for_fold_context, number);
		whole = add_matrix(handles, data);
	}
	result->train = add_slice(handles, whole, rest, rest_count);
	result->test = add_slice(handles, whole, result->held_out, result->held_out_count);
	pfree(rest);
	result->booster = add_booster(handles, &own, own.base_score, (void *const[]) {result->train, result->test}, 2);
}

/* One round of every fold; the pooled loss. */
static double
pooled_round(const XgboostApi *api, const XgboostData *data, const Fold *parts, int folds, int round)
{
	double		loss = 0;
	double		weight = 0;
	int			k;

	for (k = 0; k < folds; k++)
	{
		CHECK_FOR_INTERRUPTS();
		check(api->booster_update(parts[k].booster, round, parts[k].train));
		add_loss(api, parts[k].booster, parts[k].test, data, parts[k].held_out, &loss, &weight);
	}
	return weight > 0 ? loss / weight : 0;
}

/* Every row's margin by the first trees of the fold that held it out. */
static void
hold_out_margins(const XgboostApi *api, const XgboostData *data, const Fold *parts, int folds, XgboostCv *cv)
{
	int			k;
	size_t		i;

	for (k = 0; k < folds; k++)
	{
		TreeEnsemble *ensemble = take_ensemble(api, parts[k].booster, cv->rounds, CurrentMemoryContext);

		if (data->for_fold)
			data->for_fold(data->for_fold_context, k);
		for (i = 0; i < parts[k].held_out_count; i++)
		{
			size_t		row = (size_t) parts[k].held_out[i];

			cv->margins[row] = learn_trees_margin_row(ensemble, data->matrix + row * (size_t) data->features);
			if (i % 4096 == 0)
				CHECK_FOR_INTERRUPTS();
		}
		learn_trees_free(ensemble);
	}
}

/* Cross-validate; the result lives in the current memory context. */
XgboostCv *
learn_xgboost_cross_validate(const XgboostParams *params, const XgboostData *data, const int *fold, int folds)
{
	MemoryContext result = CurrentMemoryContext;
	MemoryContext work;
	XgboostCv  *cv = palloc0(sizeof(XgboostCv));
	Handles    *handles;
	Fold	   *parts;
	bool		go_on = true;
	int			k;

	check_params(params);
	check_data(data);
	cv->pooled_loss = palloc0(sizeof(double) * params->rounds);
	cv->margins = MemoryContextAllocHuge(result, sizeof(float) * data->rows);
	work = AllocSetContextCreate(result, "salesops xgboost cross-validation", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(work);
	handles = create_handles(require_api(), 1 + 3 * folds, folds);
	parts = palloc0(sizeof(Fold) * folds);
	if (!data->for_fold)
		add_matrix(handles, data);
	for (k = 0; k < folds; k++)
		prepare_fold(handles, params, data, fold, k, &parts[k]);
	while (go_on && cv->rounds_run < params->rounds)
	{
		double		loss;

		progress_update(cv->rounds_run, params->rounds);
		loss = pooled_round(handles->api, data, parts, folds, cv->rounds_run++);
		go_on = judge_round(params, cv->pooled_loss, loss, cv->rounds_run, &cv->rounds);
	}
	hold_out_margins(handles->api, data, parts, folds, cv);
	MemoryContextSwitchTo(result);
	MemoryContextDelete(work);
	return cv;
}
