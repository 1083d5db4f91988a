/*
 * train_pg.c
 *		train_model: reads the training data, decides which columns may serve, runs the recipe, and stores what came of it with
 *		all that a user should know: figures, columns left out and why, leakage findings, notes.
 */
#include "postgres.h"

#include <ctype.h>
#include <math.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/json.h"
#include "utils/memutils.h"

#include "core/compat.h"
#include "core/errors.h"
#include "core/kernel_pg.h"
#include "core/options.h"
#include "core/progress.h"
#include "learn/features_pg.h"
#include "learn/leakage.h"
#include "learn/model_pg.h"
#include "learn/recipe_pg.h"
#include "learn/xgboost_pg.h"

#define LEAST_ROWS			50
#define LEAST_CLASS			10
#define KEY_SHARE			0.95
#define KEY_VALUES			50
#define KEY_UNEVENNESS		0.1		/* largest distance from an even spread, as in the Kolmogorov-Smirnov test */
#define LEAKAGE_ROWS		20000
#define SUSPICIOUS_AUC		0.92
#define NOT_DRIFTING		(-1)

static const char *const method_names[] = {"auto", "logistic", "boosted_trees", "scorecard", NULL};
static const char *const validation_names[] = {"auto", "folds", "time", "holdout", "none", NULL};
static const char *const calibration_names[] = {"auto", "none", "platt", NULL};

#define OPTION(name, kind, field, ...) {name, kind, offsetof(TrainOptions, field), __VA_ARGS__}

static const OptionSpec option_specs[] = {
	OPTION("seed", OPTION_INTEGER, seed, .min = 0, .max = PG_INT32_MAX),
	OPTION("folds", OPTION_INTEGER, folds, .min = 2, .max = 20),
	OPTION("tuning_rows", OPTION_INTEGER, tuning_rows, .min = 500, .max = 100e6),
	OPTION("min_level_rows", OPTION_INTEGER, min_level_rows, .min = 1, .max = 1e9),
	OPTION("validation", OPTION_CHOICE, validation, .choices = validation_names),
	OPTION("calibration", OPTION_CHOICE, calibration, .choices = calibration_names),
	OPTION("fast", OPTION_BOOLEAN, fast),
	OPTION("force", OPTION_BOOLEAN, force),
	OPTION("linear_numbers", OPTION_BOOLEAN, linear_numbers),
	OPTION("lambda", OPTION_FLOAT, lambda, .min = 0, .max = 1e9),
	OPTION("rounds", OPTION_INTEGER, rounds, .min = 1, .max = 10000),
	OPTION("trees", OPTION_INTEGER, rounds, .min = 1, .max = 10000),
	OPTION("depth", OPTION_INTEGER, depth, .min = 1, .max = 12),
	OPTION("max_depth", OPTION_INTEGER, depth, .min = 1, .max = 12),
	OPTION("eta", OPTION_FLOAT, eta, .min = 1e-4, .max = 1),
	OPTION("learning_rate", OPTION_FLOAT, eta, .min = 1e-4, .max = 1),
	OPTION("min_child_weight", OPTION_FLOAT, min_child_weight, .min = 0, .max = 1e9),
	OPTION("subsample", OPTION_FLOAT, subsample, .min = 0.01, .max = 1),
	OPTION("colsample", OPTION_FLOAT, colsample, .min = 0.01, .max = 1),
	OPTION("max_bin", OPTION_INTEGER, max_bin, .min = 2, .max = 255),
	OPTION("patience", OPTION_INTEGER, patience, .min = 1, .max = 10000),
	OPTION("as_of", OPTION_TEXT, as_of),
	OPTION("include", OPTION_TEXT_LIST, include),
	OPTION("exclude", OPTION_TEXT_LIST, exclude),
	OPTION("base_points", OPTION_FLOAT, base_points, .min = 0, .max = 1e6),
	OPTION("base_odds", OPTION_FLOAT, base_odds, .min = 1e-6, .max = 1e6),
	OPTION("points_to_double", OPTION_FLOAT, points_to_double, .min = 1e-3, .max = 1e6),
};

/* what train_model was asked for, and what is decided on the way */
typedef struct Training
{
	char	   *name;
	char	   *query;
	char	   *label;
	char	   *key;
	TrainMethod method;
	Jsonb	   *given_options;
	TrainOptions options;
	TrainingData *data;
	char	  **left_out;		/* by column: why, or NULL */
	LeakFinding *finding;		/* by column */
	int			order_column;	/* along which the label's rate drifts, or NOT_DRIFTING */
	LearnDrift	drift;
	Recipe		recipe;
} Training;

/* A text in a JSON string. */
static void
append_json_text(StringInfo json, const char *text)
{
	escape_json(json, text);
}

/* Is a name in a list of names? */
static bool
is_listed(List *names, const char *name)
{
	ListCell   *cell;

	foreach(cell, names)
		if (strcmp(lfirst(cell), name) == 0)
			return true;
	return false;
}

/* ---- arguments ---- */

/* Defaults, then what the user gave. */
static void
parse_options(Training *training, Problems *problems)
{
	XgboostParams defaults;

	learn_xgboost_defaults(&defaults);
	training->options = (TrainOptions) {
		.seed = 42, .folds = 5, .tuning_rows = 20000, .min_level_rows = 10, .lambda = -1, .eta = defaults.eta,
		.min_child_weight = -1, .subsample = defaults.subsample, .colsample = defaults.colsample,
		.max_bin = defaults.max_bin, .patience = defaults.patience, .base_points = 600, .base_odds = 50, .points_to_double = 20
	};
	options_parse(training->given_options, option_specs, lengthof(option_specs), &training->options, problems, "options");
}

/* The method's number; a problem that lists the names where there is none. */
static TrainMethod
parse_method(const char *method, Problems *problems)
{
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 0; method_names[i]; i++)
	{
		if (strcmp(method, method_names[i]) == 0)
			return i;
		append_choice(&names, method_names[i]);
	}
	problems_add(problems, "there is no method \"%s\"; the methods are: %s", method, names.data);
	return METHOD_AUTO;
}

/* All arguments, every mistake at once. */
static void
parse_arguments(FunctionCallInfo fcinfo, Training *training)
{
	static const char *const names[] = {"name", "query", "label", "method", "key", "options"};
	Problems	problems;

	problems_init(&problems);
	for (int i = 0; i < 4; i++)
		if (PG_ARGISNULL(i))
			problems_add(&problems, "%s must not be null", names[i]);
	problems_raise(&problems, ERRCODE_NULL_VALUE_NOT_ALLOWED, NULL, "cannot train a model");
	training->name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	training->query = text_to_cstring(PG_GETARG_TEXT_PP(1));
	training->label = pstrdup(NameStr(*PG_GETARG_NAME(2)));
	training->method = parse_method(text_to_cstring(PG_GETARG_TEXT_PP(3)), &problems);
	training->key = PG_ARGISNULL(4) ? NULL : pstrdup(NameStr(*PG_GETARG_NAME(4)));
	training->given_options = PG_ARGISNULL(5) ? jsonb_from_cstring("{}") : PG_GETARG_JSONB_P(5);
	if (training->name[0] == '\0')
		problems_add(&problems, "the name is empty");
	parse_options(training, &problems);
	problems_raise(&problems, ERRCODE_INVALID_PARAMETER_VALUE, NULL, "cannot train model \"%s\"", training->name);
}

/* ---- enough data? ---- */

/* Refuse what no method can learn from. */
static void
check_amount(Training *training)
{
	uint64		rows = training->data->table.rows;
	uint64		positives = training->data->positives;
	uint64		rarer = Min(positives, rows - positives);

	if (rows > 0 && rarer == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot train model \"%s\": the label \"%s\" is the same in all rows", training->name, training->label),
				 errdetail("All %llu rows are %s.", (unsigned long long) rows, positives > 0 ? "positive" : "negative"),
				 errhint("Give rows of both outcomes.")));
	if (rows < LEAST_ROWS || rarer < LEAST_CLASS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("too little data to train model \"%s\"", training->name),
				 errdetail("%llu rows with a label, %llu of the rarer outcome%s; at least %d and %d are needed.",
						   (unsigned long long) rows, (unsigned long long) rarer,
						   training->data->unlabelled > 0 ? psprintf(" (%llu rows have none)",
																	  (unsigned long long) training->data->unlabelled) : "",
						   LEAST_ROWS, LEAST_CLASS),
				 errhint("Gather more history, or score with rules until then.")));
}

/* ---- which columns ---- */

/* The present numbers of a column, upwards. */
static double *
sorted_numbers(const LearnColumn *column, size_t rows, size_t *present)
{
	KernelEnv	env = kernel_env_pg(CurrentMemoryContext);
	double	   *sorted = kernel_alloc_array(&env, double, rows);

	*present = 0;
	for (size_t row = 0; row < rows; row++)
		if (!isnan(column->number[row]))
			sorted[(*present)++] = column->number[row];
	learn_sort_doubles(&env, sorted, *present);
	return sorted;
}

/* Does a column's name end in a word that names things one by one? */
static bool
named_like_key(const char *name)
{
	static const char *const words[] = {"id", "key", "no", "nr", "num", "number", "code", "uuid", "guid", "ref", "reference", "seq",
	"sequence", "row", "index", "obs", "serial", "phone", "mobile", "fax"};
	size_t		length = strlen(name);

	if (length > 0 && name[length - 1] == '#')
		return true;
	while (length > 0 && !isalpha((unsigned char) name[length - 1]))
		length--;
	for (int i = 0; i < (int) lengthof(words); i++)
	{
		size_t		size = strlen(words[i]);
		const char *at = name + length - size;

		if (size <= length && pg_strncasecmp(at, words[i], size) == 0 &&
			(size == length || !isalpha((unsigned char) at[-1]) ||
			 (islower((unsigned char) at[-1]) && isupper((unsigned char) at[0]))))
			return true;
	}
	return false;
}

/* Numbers that were counted out lie evenly between their ends; amounts crowd somewhere. */
static bool
spread_evenly(const double *sorted, size_t present)
{
	double		reach = sorted[present - 1] - sorted[0];

	for (size_t i = 0; i < present; i++)
		if (fabs((sorted[i] - sorted[0]) / reach - (double) i / (double) (present - 1)) > KEY_UNEVENNESS)
			return false;
	return true;
}

/* Is a column with (nearly) as many values as rows a key, not a measure and not prose? */
static bool
is_key(const TrainingData *data, int c, size_t present, const double *sorted)
{
	const LearnColumn *column = &data->table.column[c];

	if (column->kind == LEARN_NUMBER)
		return named_like_key(column->name) || spread_evenly(sorted, present);
	return column->kind != LEARN_SET || !data->words_recur[c];
}

/* Why a column cannot serve whatever its relation to the label: empty, constant, a key; NULL where it can. */
static char *
useless(const TrainingData *data, int c)
{
	const LearnColumn *column = &data->table.column[c];
	size_t		rows = data->table.rows;
	size_t		present = 0;
	size_t		distinct = 0;
	double	   *sorted = NULL;
	char	   *why = NULL;

	if (column->kind == LEARN_NUMBER)
	{
		sorted = sorted_numbers(column, rows, &present);
		for (size_t i = 0; i < present; i++)
			distinct += i == 0 || sorted[i] != sorted[i - 1];
	}
	else
	{
		distinct = data->distinct[c];
		for (size_t row = 0; row < rows; row++)
			present += column->code[row] >= 0;
	}
	if (present == 0)
		why = pstrdup("no values");
	else if (distinct == 1 && present == rows && column->kind != LEARN_SET)
		why = pstrdup("the same value in all rows");
	else if (data->may_be_key[c] && distinct > KEY_VALUES && distinct >= KEY_SHARE * (double) present &&
			 is_key(data, c, present, sorted))
		why = psprintf("a key: %zu values in %zu rows", distinct, present);
	if (sorted)
		pfree(sorted);
	return why;
}

/* Texts that serve as words and as wholes: what is found of either is found of the column. */
static void
look_at_wholes(Training *training, const KernelEnv *env, LearnTable sample, const int *fold)
{
	const TrainingData *data = training->data;
	LeakFinding *finding;

	sample.column += data->columns;
	sample.columns = data->table.columns - data->columns;
	finding = sample.columns > 0 ? learn_leakage(env, &sample, fold, 5) : NULL;
	for (int i = 0; i < sample.columns; i++)
	{
		LeakFinding *known = &training->finding[data->words_of[data->columns + i]];

		if (finding[i].degree > known->degree)
			*known = finding[i];
	}
}

/* Leak tests first: a key-like column can give the label away. */
static void
choose_columns(Training *training)
{
	TrainingData *data = training->data;
	KernelEnv	env = kernel_env_pg(CurrentMemoryContext);
	LearnTable	sample = data->table;
	int		   *fold = palloc_extended(sizeof(int) * data->table.rows, MCXT_ALLOC_HUGE);

	progress_phase("looking for leaks", data->table.columns);
	sample.rows = Min(sample.rows, LEAKAGE_ROWS);
	sample.columns = data->columns;
	for (size_t row = 0; row < sample.rows; row++)
		fold[row] = row % 5;
	training->finding = learn_leakage(&env, &sample, fold, 5);
	look_at_wholes(training, &env, sample, fold);
	training->left_out = palloc0(sizeof(char *) * Max(data->table.columns, 1));
	for (int c = 0; c < data->columns; c++)
	{
		LeakFinding *finding = &training->finding[c];
		const char *name = data->table.column[c].name;

		if (is_listed(training->options.exclude, name))
			training->left_out[c] = pstrdup("as you asked");
		else if (training->options.as_of && strcmp(training->options.as_of, name) == 0)
			training->left_out[c] = pstrdup("the moment that the other dates are counted from");
		else if (is_listed(training->options.include, name))
			continue;
		else if (finding->degree == LEAK_LEFT_OUT)
			training->left_out[c] = pstrdup(finding->reason);
		else
			training->left_out[c] = useless(data, c);
	}
	for (int c = data->columns; c < data->table.columns; c++)
		training->left_out[c] = training->left_out[data->words_of[c]];
	pfree(fold);
}

/* Names in include and exclude that are no columns. */
static void
check_listed(Training *training)
{
	Problems	problems;
	List	   *lists[] = {training->options.include, training->options.exclude};

	problems_init(&problems);
	for (int i = 0; i < 2; i++)
	{
		ListCell   *cell;

		foreach(cell, lists[i])
		{
			bool		found = false;

			for (int c = 0; c < training->data->table.columns; c++)
				found = found || strcmp(training->data->table.column[c].name, lfirst(cell)) == 0;
			if (!found)
				problems_add(&problems, "options.%s: the query has no column \"%s\" that could be a feature",
							 i == 0 ? "include" : "exclude", (char *) lfirst(cell));
		}
	}
	problems_raise(&problems, ERRCODE_UNDEFINED_COLUMN, NULL, "cannot train model \"%s\"", training->name);
}

/* The order along which the label's rate drifts most: dates, and keys that count up. */
static void
find_drift(Training *training)
{
	KernelEnv	env = kernel_env_pg(CurrentMemoryContext);
	TrainingData *data = training->data;
	bool		date_found = false;

	training->order_column = NOT_DRIFTING;
	for (int c = 0; c < data->columns; c++)
	{
		const LearnColumn *column = &data->table.column[c];
		bool		is_date = column->reading == READ_DATE && column->kind == LEARN_NUMBER;
		LearnDrift	drift;

		if (column->kind != LEARN_NUMBER || (date_found && !is_date) || training->finding[c].degree == LEAK_LEFT_OUT)
			continue;
		if (!is_date && (training->left_out[c] == NULL || strncmp(training->left_out[c], "a key", 5) != 0))
			continue;
		drift = learn_drift(&env, column->number, data->table.label, data->table.rows);
		if (!drift.drifts || (training->order_column >= 0 && date_found == is_date && drift.chi_square < training->drift.chi_square))
			continue;
		training->order_column = c;
		training->drift = drift;
		date_found = is_date;
	}
}

/* The columns that serve, as the recipe's table. */
static void
take_columns(Training *training)
{
	TrainingData *data = training->data;
	LearnTable *table = &training->recipe.table;
	StringInfoData all;

	*table = data->table;
	table->column = palloc0(sizeof(LearnColumn) * Max(data->table.columns, 1));
	table->columns = 0;
	initStringInfo(&all);
	for (int c = 0; c < data->table.columns; c++)
	{
		if (training->left_out[c] == NULL)
			table->column[table->columns++] = data->table.column[c];
		else if (c < data->columns)
			appendStringInfo(&all, "%s%s: %s", all.len > 0 ? "\n" : "", data->table.column[c].name, training->left_out[c]);
	}
	if (table->columns == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot train model \"%s\": no column is left to learn from", training->name),
				 all.len > 0 ? errdetail("%s", all.data) : errdetail("The query has no columns but the label."),
				 errhint("Add columns to the query, or name one in options.include to use it all the same.")));
}

/* ---- what is said about it ---- */

/* {"column": "reason"} of all that was left out. */
static Jsonb *
left_out_json(const Training *training)
{
	StringInfoData json;
	const char *separator = "";
	ListCell   *cell;

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	foreach(cell, training->data->unusable)
	{
		UnusableColumn *unusable = lfirst(cell);

		appendStringInfoString(&json, separator);
		append_json_text(&json, unusable->name);
		appendStringInfoString(&json, ": ");
		append_json_text(&json, unusable->reason);
		separator = ", ";
	}
	for (int c = 0; c < training->data->columns; c++)
	{
		if (training->left_out[c] == NULL)
			continue;
		appendStringInfoString(&json, separator);
		append_json_text(&json, training->data->table.column[c].name);
		appendStringInfoString(&json, ": ");
		append_json_text(&json, training->left_out[c]);
		separator = ", ";
	}
	appendStringInfoChar(&json, '}');
	return jsonb_from_cstring(json.data);
}

/* [{"column", "degree", "reason", "information"}], the strongest first. */
static Jsonb *
leakage_json(const Training *training)
{
	static const char *const degrees[] = {"", "note", "question", "left out"};
	StringInfoData json;
	const char *separator = "";

	initStringInfo(&json);
	appendStringInfoChar(&json, '[');
	for (int degree = LEAK_LEFT_OUT; degree > LEAK_NONE; degree--)
		for (int c = 0; c < training->data->columns; c++)
		{
			const LeakFinding *finding = &training->finding[c];

			if ((int) finding->degree != degree)
				continue;
			appendStringInfo(&json, "%s{\"column\": ", separator);
			append_json_text(&json, training->data->table.column[c].name);
			appendStringInfo(&json, ", \"degree\": \"%s\", \"reason\": ", degrees[degree]);
			append_json_text(&json, finding->reason);
			appendStringInfo(&json, ", \"information\": %.4f}", finding->information);
			separator = ", ";
		}
	appendStringInfoChar(&json, ']');
	return jsonb_from_cstring(json.data);
}

/* A number in JSON; null where it is none. */
static void
append_json_number(StringInfo json, double value)
{
	if (isfinite(value))
		appendStringInfo(json, "%.10g", value);
	else
		appendStringInfoString(json, "null");
}

/* One row of "coefficients"; errors are null where there are none: more terms than is quick, or a singular matrix. */
static void
append_coefficient(StringInfo json, const LogisticFit *fit, int at, const char *feature, const char *term)
{
	double		error = fit->standard_error ? fit->standard_error[at] : NAN;

	appendStringInfoString(json, "{\"feature\": ");
	append_json_text(json, feature);
	appendStringInfoString(json, ", \"term\": ");
	append_json_text(json, term);
	appendStringInfoString(json, ", \"coefficient\": ");
	append_json_number(json, fit->coefficient[at]);
	appendStringInfoString(json, ", \"standard_error\": ");
	append_json_number(json, error);
	appendStringInfoString(json, ", \"z\": ");
	append_json_number(json, fit->coefficient[at] / error);
	appendStringInfoString(json, ", \"p\": ");
	append_json_number(json, learn_p_value(fit->coefficient[at], error));
	appendStringInfoChar(json, '}');
}

/* "coefficients": a row a term, the intercept last. */
static void
append_coefficients(StringInfo json, const Recipe *recipe)
{
	const LogisticFit *fit = recipe->fit;

	appendStringInfoString(json, ", \"coefficients\": [");
	for (int f = 0; f < recipe->model->features.count; f++)
	{
		const LearnFeature *feature = &recipe->model->features.feature[f];

		for (int i = 0; i < feature->design_count; i++)
		{
			char		term[256];

			learn_design_term(feature, i, term, sizeof term);
			append_coefficient(json, fit, feature->design_first + i, feature->name,
							   pnstrdup(term, pg_mbcliplen(term, strlen(term), 200)));
			appendStringInfoString(json, ", ");
		}
	}
	append_coefficient(json, fit, fit->columns, "(intercept)", "");
	appendStringInfoChar(json, ']');
}

/* "quantiles": the hundredths of the held-out probabilities; "tenths": rows and positives by tenth of them, best first. */
static void
append_distribution(StringInfo json, const Recipe *recipe)
{
	KernelEnv	env = kernel_env_pg(CurrentMemoryContext);
	size_t		rows = recipe->margin_rows;
	double	   *sorted = kernel_alloc_array(&env, double, rows);
	size_t		tenth_rows[10] = {0};
	size_t		tenth_positives[10] = {0};

	memcpy(sorted, recipe->margin, sizeof(double) * rows);
	learn_sort_doubles(&env, sorted, rows);
	appendStringInfoString(json, ", \"quantiles\": [");
	for (int i = 0; i <= 100; i++)
		appendStringInfo(json, "%s%.10g", i > 0 ? ", " : "", learn_probability(sorted[(rows - 1) * i / 100]));
	for (size_t row = 0; row < rows; row++)
	{
		int			tenth = 0;

		while (tenth < 9 && recipe->margin[row] < sorted[rows - 1 - rows * (tenth + 1) / 10])
			tenth++;
		tenth_rows[tenth]++;
		tenth_positives[tenth] += recipe->margin_label[row];
	}
	appendStringInfoString(json, "], \"tenths\": [");
	for (int i = 0; i < 10; i++)
		appendStringInfo(json, "%s{\"rows\": %zu, \"positives\": %zu}", i > 0 ? ", " : "", tenth_rows[i], tenth_positives[i]);
	appendStringInfoChar(json, ']');
	pfree(sorted);
}

/*
 * "fitted": the probabilities of the rows trained on, by the finished model: edges between some ten equal parts, between values that differ,
 * and the share of the rows in each part (one more than edges).
 */
static void
append_fitted(StringInfo json, const Recipe *recipe)
{
	const double *sorted = recipe->fitted;
	size_t		rows = recipe->fitted_rows;
	size_t		begin = 0;
	StringInfoData shares;

	initStringInfo(&shares);
	appendStringInfoString(json, ", \"fitted\": {\"edges\": [");
	for (int part = 1; part < 10; part++)
	{
		size_t		end = Max(rows * part / 10, begin + 1);

		while (end < rows && sorted[end] == sorted[end - 1])
			end++;
		if (end >= rows)
			break;
		appendStringInfo(json, "%s%.17g", begin > 0 ? ", " : "", (sorted[end - 1] + sorted[end]) / 2);
		appendStringInfo(&shares, "%.17g, ", (double) (end - begin) / (double) rows);
		begin = end;
	}
	appendStringInfo(json, "], \"shares\": [%s%.17g]}", shares.data, (double) (rows - begin) / (double) rows);
	pfree(shares.data);
}

/*
 * "card": a row a value. Points are factor * log odds + shift, shared out over the features; base_points stand for odds of
 * base_odds, and points_to_double double them.
 */
static void
append_card(StringInfo json, const TrainOptions *options, const Recipe *recipe)
{
	const Scorecard *card = recipe->card;
	double		factor = options->points_to_double / log(2.0);
	double		shift = options->base_points - factor * log(options->base_odds);
	double		share = (factor * (recipe->model->slope * card->coefficient[card->features] + recipe->model->offset) + shift) /
		Max(card->features, 1);
	const char *separator = "";

	appendStringInfoString(json, ", \"card\": [");
	for (int f = 0; f < card->features; f++)
		for (int value = 0; value < card->values[f]; value++)
		{
			double		rows = 0;
			double		positives = 0;
			double		woe = learn_scorecard_woe(card, f, value, -1);
			char		term[256];

			for (int k = 0; k < card->folds; k++)
			{
				rows += card->rows[f][(size_t) value * card->folds + k];
				positives += card->positives[f][(size_t) value * card->folds + k];
			}
			learn_scorecard_term(&recipe->model->features.feature[f], value, term, sizeof term);
			appendStringInfo(json, "%s{\"feature\": ", separator);
			append_json_text(json, recipe->model->features.feature[f].name);
			appendStringInfoString(json, ", \"term\": ");
			append_json_text(json, pnstrdup(term, pg_mbcliplen(term, strlen(term), 200)));
			appendStringInfo(json, ", \"rows\": %.0f, \"rate\": ", rows);
			append_json_number(json, positives / rows);
			appendStringInfo(json, ", \"woe\": %.10g, \"points\": %.10g}", woe,
							 share + factor * recipe->model->slope * card->coefficient[f] * woe);
			separator = ", ";
		}
	appendStringInfoChar(json, ']');
}

/* Tuning found, figures' errors, coefficients, score distribution. */
static Jsonb *
details_json(const Recipe *recipe)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfo(&json, "{\"tree_weight\": %g, \"slope\": %.17g, \"offset\": %.17g, \"base\": %.17g", recipe->model->tree_weight,
					 recipe->model->slope, recipe->model->offset, recipe->model->base);
	if (recipe->logistic)
		appendStringInfo(&json, ", \"lambda\": %g", recipe->lambda);
	if (recipe->trees)
		appendStringInfo(&json, ", \"depth\": %d, \"rounds\": %d, \"min_child_weight\": %g, \"libxgboost\": \"%s\"", recipe->depth,
						 recipe->rounds, recipe->min_child_weight,
						 learn_xgboost_version());
	if (recipe->margin_rows > 0)
	{
		appendStringInfo(&json, ", \"gain\": %.10g, \"gain_error\": %.10g, \"held_out_rows\": %zu", recipe->gain, recipe->gain_error,
						 recipe->margin_rows);
		append_distribution(&json, recipe);
	}
	append_fitted(&json, recipe);
	if (recipe->fit && recipe->method == METHOD_LOGISTIC && !recipe->options->fast)
		append_coefficients(&json, recipe);
	if (recipe->card)
		append_card(&json, recipe->options, recipe);
	appendStringInfoChar(&json, '}');
	return jsonb_from_cstring(json.data);
}

/* Notes on data and result. */
static List *
notes_of(const Training *training)
{
	const Recipe *recipe = &training->recipe;
	List	   *notes = recipe->notes;
	StringInfoData questions;

	initStringInfo(&questions);
	if (training->data->unlabelled > 0)
		notes = lappend(notes, psprintf("%llu rows without a label were not used", (unsigned long long) training->data->unlabelled));
	for (int c = 0; c < training->data->columns; c++)
		if (training->finding[c].degree == LEAK_QUESTION && training->left_out[c] == NULL)
			append_choice(&questions, training->data->table.column[c].name);
	if (questions.len > 0)
		notes = lappend(notes, psprintf("known before the outcome? if not, name them in options.exclude: %s", questions.data));
	if (training->order_column != NOT_DRIFTING)
		notes = lappend(notes, psprintf("the label's rate drifts along %s: %.1f %% at its beginning, %.1f %% at its end",
										training->data->table.column[training->order_column].name,
										100 * training->drift.first_rate, 100 * training->drift.last_rate));
	if (recipe->metrics.roc_auc >= SUSPICIOUS_AUC)
		notes = lappend(notes, psprintf("an AUC of %.3f is rarely honest: look for columns that know the outcome", recipe->metrics.roc_auc));
	if (recipe->margin_rows > 0 && recipe->gain < 2 * recipe->gain_error)
		notes = lappend(notes, pstrdup("no better than the base rate, within two standard errors"));
	return notes;
}

/* The default method does not hand out a model that knows nothing. */
static void
check_gain(const Training *training)
{
	const Recipe *recipe = &training->recipe;

	if (training->method != METHOD_AUTO || training->options.force || recipe->margin_rows == 0 ||
		recipe->gain >= 2 * recipe->gain_error)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("model \"%s\" would be no better than the base rate", training->name),
			 errdetail("Held-out log loss improves by %.5f a row, with a standard error of %.5f (%s).", recipe->gain,
					   recipe->gain_error, recipe->validation),
			 errhint("Add columns that say something about the label, or store it all the same: options '{\"force\": true}'.")));
}

/* Store the model with everything said about it. */
static Datum
store(const Training *training)
{
	const Recipe *recipe = &training->recipe;
	ModelRecord record = {
		.name = training->name, .method = method_names[training->method], .label = training->label, .key = training->key,
		.query = training->query, .validation = recipe->margin_rows > 0 ? recipe->validation : NULL,
		.metrics = recipe->metrics, .rows = training->data->table.rows, .positives = training->data->positives,
		.left_out = left_out_json(training), .leakage = leakage_json(training), .notes = notes_of(training),
		.options = training->given_options, .details = details_json(recipe), .fingerprint = training->data->fingerprint,
		.model = recipe->model
	};

	for (int f = 0; f < recipe->model->features.count; f++)
		if (!is_listed(record.features, recipe->model->features.feature[f].name))
			record.features = lappend(record.features, recipe->model->features.feature[f].name);
	return learn_model_store(&record);
}

/* Read, choose, learn, tell. */
static Datum
train(Training *training)
{
	training->data = learn_read_training(training->query, training->label, training->key, training->options.as_of, training->options.seed);
	check_amount(training);
	check_listed(training);
	choose_columns(training);
	find_drift(training);
	take_columns(training);
	training->recipe.options = &training->options;
	training->recipe.method = training->method;
	training->recipe.rarer = Min(training->data->positives, training->data->table.rows - training->data->positives);
	if (training->order_column != NOT_DRIFTING)
	{
		training->recipe.order = training->data->table.column[training->order_column].number;
		training->recipe.order_name = training->data->table.column[training->order_column].name;
	}
	learn_recipe_run(&training->recipe);
	check_gain(training);
	progress_phase("storing", 0);
	return store(training);
}

PG_FUNCTION_INFO_V1(salesops_train_model);
/*
 * (name, query, label, method, key, options) -> salesops.model. See doc/learn.md for the recipe. Errors list everything wrong
 * with the arguments; 22023 where the data cannot teach.
 */
Datum
salesops_train_model(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(caller, "salesops training", ALLOCSET_DEFAULT_SIZES);
	Training   *training;
	Datum		row;

	MemoryContextSwitchTo(context);
	training = palloc0(sizeof(Training));
	parse_arguments(fcinfo, training);
	learn_model_require_trainer(training->name);
	progress_start("train_model", training->name);
	row = train(training);
	progress_end();
	MemoryContextSwitchTo(caller);
	row = datumCopy(row, false, -1);
	MemoryContextDelete(context);
	return row;
}
