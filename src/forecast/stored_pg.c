/*
 * stored_pg.c
 *		Writing and reading stored win models: a deal's chance from hazards by stage, age and calendar, and from what its stage, size,
 *		type and source were given. Fitting them is outlook_pg.c's.
 *
 * The jsonb: {"family": "none" | "ratios" | "regression", "days": [near, far], "all": [near, far], "type": {TEXT: [near, far], ...},
 * "source", "stage" and "size" (half powers of two) likewise, "waiting": {STAGE: [term, far, term, far]}}: effects on the logarithm
 * of the chance's ratio, or on the log odds. A NULL's text is one byte 2, as in history_pg.h. "stages": [{"stage": TEXT, "win": [factors by
 * group of ages], "lose": likewise, "leave": [daily chances], "to": [share of each stage in this order]}, ...] where hazards are by stage,
 * first what holds where it is not known.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"

#include "core/options.h"
#include "forecast/covariate.h"
#include "forecast/stored_pg.h"

PG_FUNCTION_INFO_V1(salesops_win_probability_by);

static const char *const families[HAZARD_FAMILIES] = {"none", "ratios", "regression"};
static const char *const dimensions[RATIO_DIMENSIONS] = {"type", "source", "stage", "size"};

/* "TEXT": [effects of a level], where it has any and its text is not too long. */
static void
append_level(StringInfo json, const ForecastPlan *plan, const char *text, int dimension, int level, bool *first)
{
	double		effect[2];

	for (int kind = 0; kind < 2; kind++)
		effect[kind] = hazard_level_effect(plan->book->past, plan->model, plan->known, kind, dimension, level);
	if ((effect[0] == 0.0 && effect[1] == 0.0) || strlen(text) >= FORECAST_TEXT_MAX - 2)
		return;
	appendStringInfoString(json, *first ? "" : ", ");
	escape_json(json, text);
	appendStringInfo(json, ": [%.17g, %.17g]", effect[0], effect[1]);
	*first = false;
}

/* The text of a dimension's level, or NULL where there is no such level. */
static const char *
level_text(const ForecastBook *book, int dimension, int level)
{
	if (dimension < HAZARD_TRAITS)
		return level < book->history.levels[dimension] ? book->trait_name[dimension][level] : NULL;
	if (dimension == 2)
		return level == 0 ? FORECAST_UNKNOWN : level <= book->history.stage_levels ? book->stage_name[level - 1] : NULL;
	return level < HAZARD_SIZES ? psprintf("%d", level) : NULL;
}

/* What waiting in a stage is given. */
static void
append_waiting(StringInfo json, const ForecastPlan *plan, int level, bool *first)
{
	const char *text = level_text(plan->book, 2, level);

	if (strlen(text) >= FORECAST_TEXT_MAX - 2)
		return;
	appendStringInfoString(json, *first ? "" : ", ");
	escape_json(json, text);
	appendStringInfoString(json, ": [");
	for (int k = 0; k < 2 * COVARIATE_TERMS; k++)
		appendStringInfo(json, "%s%.17g", k > 0 ? ", " : "",
						 hazard_waiting_effect(plan->book->past, plan->model, plan->known, k % 2, level, k / 2));
	appendStringInfoChar(json, ']');
	*first = false;
}

/* ", "KEY": [numbers]". */
static void
append_numbers(StringInfo json, const char *key, const double *number, int count)
{
	appendStringInfo(json, ", \"%s\": [", key);
	for (int k = 0; k < count; k++)
		appendStringInfo(json, "%s%.17g", k > 0 ? ", " : "", number[k]);
	appendStringInfoChar(json, ']');
}

/* What stages do to the hazards, by state. A stage whose text is too long to keep is as one that is not known. */
static void
append_stages(StringInfo json, const ForecastPlan *plan)
{
	const HazardStages *stages = &plan->fit.stages;

	appendStringInfoString(json, ", \"stages\": [");
	for (int s = 0; s < stages->count; s++)
	{
		const char *text = FORECAST_UNKNOWN;

		for (int level = 1; level <= plan->book->history.stage_levels && s > 0; level++)
			if (hazard_state_of_level(plan->book->past, level) == s)
				text = level_text(plan->book, 2, level);
		appendStringInfo(json, "%s{\"stage\": ", s > 0 ? ", " : "");
		escape_json(json, strlen(text) < FORECAST_TEXT_MAX - 2 ? text : FORECAST_UNKNOWN);
		append_numbers(json, "win", stages->win[s], HAZARD_AGE_GROUPS);
		append_numbers(json, "lose", stages->lose[s], HAZARD_AGE_GROUPS);
		append_numbers(json, "leave", stages->leave[s], HAZARD_AGE_GROUPS);
		append_numbers(json, "to", stages->to[s], stages->count);
		appendStringInfoChar(json, '}');
	}
	appendStringInfoChar(json, ']');
}

/* What sets deals of an age apart, by the plan's model. */
Jsonb *
forecast_covariates(const ForecastPlan *plan)
{
	HazardFamily family = (HazardFamily) (plan->model / HAZARD_CLOCKS);
	StringInfoData json;
	bool		first;

	initStringInfo(&json);
	appendStringInfo(&json, "{\"family\": \"%s\", \"days\": [%d, %d], \"all\": [%.17g, %.17g]", families[family], HAZARD_CALIBRATION,
					 plan->to - 1 - plan->known, hazard_level_effect(plan->book->past, plan->model, plan->known, 0, -1, 0),
					 hazard_level_effect(plan->book->past, plan->model, plan->known, 1, -1, 0));
	for (int d = 0; d < RATIO_DIMENSIONS && family != HAZARD_PLAIN; d++)
	{
		const char *text;

		appendStringInfo(&json, ", \"%s\": {", dimensions[d]);
		first = true;
		for (int level = 0; (text = level_text(plan->book, d, level)) != NULL; level++)
			append_level(&json, plan, text, d, level, &first);
		appendStringInfoChar(&json, '}');
	}
	appendStringInfoString(&json, ", \"waiting\": {");
	first = true;
	for (int level = 0; level <= plan->book->history.stage_levels && family == HAZARD_REGRESSION; level++)
		append_waiting(&json, plan, level, &first);
	appendStringInfoChar(&json, '}');
	append_stages(&json, plan);
	appendStringInfoChar(&json, '}');
	return jsonb_from_cstring(json.data);
}

/* A member of a container, or NULL. */
static JsonbValue *
member(JsonbContainer *container, const char *key)
{
	return container != NULL && JsonContainerIsObject(container) ?
		getKeyJsonValueFromContainer(container, key, strlen(key), NULL) : NULL;
}

/* A number of the array of a level of a group; 0 where there is none. */
static double
stored_number(Jsonb *json, const char *group, const char *level, int element)
{
	JsonbValue *value = member(&json->root, group);
	JsonbValue *number;

	if (level != NULL)
		value = value != NULL && value->type == jbvBinary ? member(value->val.binary.data, level) : NULL;
	if (value == NULL || value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data))
		return 0.0;
	number = getIthJsonbValueFromContainer(value->val.binary.data, (uint32) element);
	if (number == NULL || number->type != jbvNumeric)
		return 0.0;
	return DatumGetFloat8(DirectFunctionCall1(numeric_float8, NumericGetDatum(number->val.numeric)));
}

/* The numbers of an array member of a stored stage. */
static void
read_numbers(JsonbContainer *stage, const char *key, double *number, int count)
{
	JsonbValue *array = member(stage, key);
	JsonbContainer *numbers = array != NULL && array->type == jbvBinary ? array->val.binary.data : NULL;

	if (numbers == NULL || !JsonContainerIsArray(numbers) || (int) JsonContainerSize(numbers) != count)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("a win model's stages must have %d numbers as \"%s\"", count, key)));
	for (int k = 0; k < count; k++)
	{
		JsonbValue *value = getIthJsonbValueFromContainer(numbers, (uint32) k);

		number[k] = value->type != jbvNumeric ? 0.0 :
			DatumGetFloat8(DirectFunctionCall1(numeric_float8, NumericGetDatum(value->val.numeric)));
		if (!(number[k] >= 0.0) || number[k] > 1e6)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED), errmsg("a win model's stages must have numbers from 0 on as \"%s\"", key)));
	}
}

/* The stages of a stored model; returns the state of the stage asked for: 0 where it is not known, or not told apart. */
static int
read_stages(Jsonb *json, const char *asked, HazardStages *stages)
{
	JsonbValue *array = member(&json->root, "stages");
	JsonbContainer *all = array != NULL && array->type == jbvBinary ? array->val.binary.data : NULL;
	int			count = all != NULL && JsonContainerIsArray(all) ? (int) JsonContainerSize(all) : 0;
	int			state = 0;

	if (count > HAZARD_STATES)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED), errmsg("a win model has %d stages, which is more than %d", count, HAZARD_STATES)));
	stages->count = count;
	for (int s = 0; s < stages->count; s++)
	{
		JsonbValue *value = getIthJsonbValueFromContainer(all, (uint32) s);
		JsonbContainer *stage = value->type == jbvBinary ? value->val.binary.data : NULL;
		JsonbValue *text = member(stage, "stage");

		read_numbers(stage, "win", stages->win[s], HAZARD_AGE_GROUPS);
		read_numbers(stage, "lose", stages->lose[s], HAZARD_AGE_GROUPS);
		read_numbers(stage, "leave", stages->leave[s], HAZARD_AGE_GROUPS);
		read_numbers(stage, "to", stages->to[s], count);
		if (text != NULL && text->type == jbvString && text->val.string.len == (int) strlen(asked) &&
			memcmp(text->val.string.val, asked, text->val.string.len) == 0)
			state = s;
	}
	return state;
}

/* The family a stored model names. */
static HazardFamily
stored_family(Jsonb *json)
{
	JsonbValue *value = member(&json->root, "family");

	for (int f = 0; f < HAZARD_FAMILIES; f++)
		if (value != NULL && value->type == jbvString && value->val.string.len == (int) strlen(families[f]) &&
			memcmp(value->val.string.val, families[f], value->val.string.len) == 0)
			return (HazardFamily) f;
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("a win model's covariates must name a family: none, ratios or regression")));
}

/* A stored hazard table, from float8[] by age and cell, and after it by day of the week. */
static void
read_table(ArrayType *array, double table[HAZARD_AGES][HAZARD_CELLS], double weekday[7])
{
	if (ARR_NDIM(array) != 1 || ARR_DIMS(array)[0] != FORECAST_TABLE_NUMBERS || ARR_HASNULL(array) ||
		ARR_ELEMTYPE(array) != FLOAT8OID)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("a win model's hazards must be %d numbers", FORECAST_TABLE_NUMBERS),
				 errdetail("They are %d.", ARR_NDIM(array) == 1 ? ARR_DIMS(array)[0] : 0),
				 errhint("A model of another build is to be trained again: SELECT salesops.train_win_model();")));
	memcpy(table, ARR_DATA_PTR(array), sizeof(double) * HAZARD_AGES * HAZARD_CELLS);
	memcpy(weekday, (double *) ARR_DATA_PTR(array) + HAZARD_AGES * HAZARD_CELLS, sizeof(double) * 7);
}

/* An argument's text as history_pg.h keeps it. */
static const char *
text_or_unknown(FunctionCallInfo fcinfo, int argument)
{
	return PG_ARGISNULL(argument) ? FORECAST_UNKNOWN : text_to_cstring(PG_GETARG_TEXT_PP(argument));
}

/* What the deal of the arguments is given, near and far: sums over its dimensions. */
static void
stored_effects(FunctionCallInfo fcinfo, Jsonb *json, HazardFamily family, int waiting, double effect[2])
{
	const char *level[RATIO_DIMENSIONS];
	bool		in_stage = !PG_ARGISNULL(8) && !PG_ARGISNULL(9);

	level[0] = text_or_unknown(fcinfo, 10);
	level[1] = text_or_unknown(fcinfo, 11);
	level[2] = in_stage ? text_to_cstring(PG_GETARG_TEXT_PP(8)) : FORECAST_UNKNOWN;
	level[3] = psprintf("%d", PG_ARGISNULL(12) || !isfinite(PG_GETARG_FLOAT8(12)) ? 0 : hazard_size_level(PG_GETARG_FLOAT8(12)));
	for (int kind = 0; kind < 2; kind++)
	{
		effect[kind] = stored_number(json, "all", NULL, kind);
		for (int d = 0; d < RATIO_DIMENSIONS; d++)
			effect[kind] += stored_number(json, dimensions[d], level[d], kind);
		if (family == HAZARD_RATIOS)
			effect[kind] = Min(Max(effect[kind], log(RATIO_LEAST)), log(RATIO_MOST));
		for (int term = 0; term < COVARIATE_TERMS && family == HAZARD_REGRESSION; term++)
			effect[kind] += stored_number(json, "waiting", level[2], 2 * term + kind) * covariate_waiting(waiting, term);
	}
}

/*
 * win_probability_by(win, lose, calendar, correction, covariates, created, known, days, stage, stage_since, type, source, amount): a
 * deal's chance by a stored fit. What is NULL of the deal is not known.
 */
Datum
salesops_win_probability_by(PG_FUNCTION_ARGS)
{
	HazardFit	fit;
	HazardFamily family;
	DateADT		created;
	DateADT		known;
	DateADT		since;
	double		effect[2];
	double		chance[HAZARD_STATES];
	double		p;
	int			days;
	int			state;

	for (int k = 0; k < 8; k++)
		if (PG_ARGISNULL(k))
			PG_RETURN_NULL();
	created = PG_GETARG_DATEADT(5);
	known = PG_GETARG_DATEADT(6);
	days = PG_GETARG_INT32(7);
	read_table(PG_GETARG_ARRAYTYPE_P(0), fit.win, fit.win_weekday);
	read_table(PG_GETARG_ARRAYTYPE_P(1), fit.lose, fit.lose_weekday);
	fit.calendar = PG_GETARG_INT32(2);
	family = stored_family(PG_GETARG_JSONB_P(4));
	since = PG_ARGISNULL(8) || PG_ARGISNULL(9) ? created : PG_GETARG_DATEADT(9);
	if (fit.calendar < 0 || fit.calendar >= HAZARD_CALENDARS || days < 0 || days > 3660 || DATE_NOT_FINITE(created) ||
		DATE_NOT_FINITE(known) || DATE_NOT_FINITE(since))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("calendar, days or dates out of range")));
	state = read_stages(PG_GETARG_JSONB_P(4), PG_ARGISNULL(8) || PG_ARGISNULL(9) ? FORECAST_UNKNOWN : text_to_cstring(PG_GETARG_TEXT_PP(8)),
						&fit.stages);
	hazard_chances(NULL, &fit, created, known, known + 1, known + 1 + days, chance);
	p = chance[state];
	stored_effects(fcinfo, PG_GETARG_JSONB_P(4), family, known - since, effect);
	p = Min(0.995, p * hazard_apply_effects(family, effect, (int) stored_number(PG_GETARG_JSONB_P(4), "days", NULL, 1), p, days));
	PG_RETURN_FLOAT8(Min(0.995, PG_GETARG_FLOAT8(3) * p));
}
