/*
 * score_pg.c
 *		Scoring leads: rules, model, their blend, grades, reasons; in bulk and one by one. By trigger: changed_pg.c.
 *
 * One query reads the leads with the rules' points (rules_pg.c) as the caller; each row is predicted and explained as it
 * comes, and written by blocks as the extension's owner. The score is the lead's place among held-out leads, 0 to 100
 * (so 90 and up is the best tenth), mixed with the share of points reached where there are rules.
 */
#include "postgres.h"

#include <math.h>

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "core/compat.h"
#include "core/kernel_pg.h"
#include "core/progress.h"
#include "core/relation.h"
#include "core/row.h"
#include "core/spi.h"
#include "lead/lead_pg.h"
#include "learn/features_pg.h"
#include "learn/metrics.h"
#include "learn/model_pg.h"

#define BLOCK_LEADS 1000
#define QUANTILES 101
#define REASON_LEAST 0.1		/* log odds; less is not worth a word */
#define REASONS_UP 3
#define REASONS_DOWN 2

/* a model and where its features lie in the query's rows */
typedef struct ScoringModel
{
	LoadedModel *loaded;
	FeatureMap *map;
	double	   *contribution;
	double		quantile[QUANTILES];	/* of held-out probabilities */
	int			quantiles;		/* 0: none are known */
} ScoringModel;

/* columns of salesops.lead_score as they are written */
enum
{
	OUT_LEAD, OUT_SCORE, OUT_GRADE, OUT_FIT, OUT_ENGAGEMENT, OUT_MATRIX, OUT_PROBABILITY, OUT_PERCENTILE, OUT_REASONS, OUT_MODEL,
	OUT_VERSION, OUT_COLUMNS
};

static const Oid out_types[OUT_COLUMNS] = {TEXTOID, FLOAT8OID, TEXTOID, FLOAT8OID, FLOAT8OID, TEXTOID, FLOAT8OID, FLOAT8OID, TEXTOID,
TEXTOID, INT4OID};

typedef struct Scoring
{
	ScoringPolicy *policy;
	ScoringModel *models;		/* the default one, then one a segment; loaded NULL: none */
	TimestampTz as_of;
	TupleDesc	desc;
	int			lead_column;
	int			segment_column;
	int			points_column;
	uint64		done;
	int			rows;			/* in the block */
	Datum		out[OUT_COLUMNS][BLOCK_LEADS];
	bool		null[OUT_COLUMNS][BLOCK_LEADS];
	MemoryContext block;
} Scoring;

/* what scoring a lead found */
typedef struct LeadScore
{
	bool		has_model;
	double		probability;
	double		percentile;
	bool		has_rules;
	double		points[RULE_CATEGORIES];
	double		fit;
	double		engagement;
	double		rules;
	double		score;
} LeadScore;

/* ---- models ---- */

/* Hundredths of the held-out probabilities, from the model's details. */
static void
read_quantiles(ScoringModel *model)
{
	Jsonb	   *details = model->loaded->details;
	JsonbValue	key = {.type = jbvString};
	JsonbValue *array;
	int			count;

	key.val.string.val = (char *) "quantiles";
	key.val.string.len = strlen("quantiles");
	array = findJsonbValueFromContainer(&details->root, JB_FOBJECT, &key);
	if (array == NULL || array->type != jbvBinary)
		return;
	count = Min(JsonContainerSize(array->val.binary.data), QUANTILES);
	for (int i = 0; i < count; i++)
	{
		JsonbValue *item = getIthJsonbValueFromContainer(array->val.binary.data, i);

		if (item == NULL || item->type != jbvNumeric)
			return;
		model->quantile[i] = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(item->val.numeric)));
	}
	model->quantiles = count;
}

/* Where a probability stands among the held-out ones, 0 to 100; the probability itself where they are not known. */
static double
percentile_of(const ScoringModel *model, double probability)
{
	int			below = 0;
	int			not_above = 0;

	if (model->quantiles < 2)
		return 100 * probability;
	for (int i = 0; i < model->quantiles; i++)
	{
		below += model->quantile[i] < probability;
		not_above += model->quantile[i] <= probability;
	}
	if (below == 0 && not_above == 0)
		return 0;
	if (not_above > below)		/* on a quantile: the middle of those that are equal */
		return Min(100.0 * (below + not_above - 1) / 2 / (model->quantiles - 1), 100);
	if (below >= model->quantiles)
		return 100;
	return 100.0 * (below - 1 + (probability - model->quantile[below - 1]) /
					(model->quantile[below] - model->quantile[below - 1])) / (model->quantiles - 1);
}

/* Get a model ready for the query's rows. */
static void
open_model(Scoring *scoring, ScoringModel *model, const char *name)
{
	model->loaded = learn_model_get(name, 0);
	learn_model_pin(model->loaded, CurrentMemoryContext);
	model->contribution = palloc(sizeof(double) * (model->loaded->model->features.count + 1));
	read_quantiles(model);
}

/* The default model and those of the segments. Without rules, there must be a model. */
static void
open_models(Scoring *scoring, const char *name)
{
	int			number = 1;
	ListCell   *cell;

	scoring->models = palloc0(sizeof(ScoringModel) * (1 + list_length(scoring->policy->segments)));
	if (learn_model_exists(name))
		open_model(scoring, &scoring->models[0], name);
	else if (scoring->policy->rules == NIL && scoring->policy->segments == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("model \"%s\" does not exist, and there are no scoring rules", name),
				 errhint("Train it: SELECT salesops.train_model('%s', 'SELECT *, converted_at IS NOT NULL AS converted FROM salesops.lead', "
						 "'converted'); or see salesops.create_scoring_rule().", name)));
	foreach(cell, scoring->policy->segments)
		open_model(scoring, &scoring->models[number++], ((ScoringSegment *) lfirst(cell))->model);
}

/* ---- one lead ---- */

/* Within 0 and 100. */
static double
clamp100(double value)
{
	return value < 0 ? 0 : value > 100 ? 100 : value;
}

/* Points by category, rules capped one by one and together; then the shares of what could be had. */
static void
judge_rules(const ScoringPolicy *policy, double *points, LeadScore *score)
{
	double		total = 0;
	double		best = 0;
	double		fit_best = policy->best[RULE_FIT] + policy->best[RULE_TECHNOLOGY];
	int			number = 0;
	ListCell   *cell;

	score->has_rules = policy->rules != NIL;
	foreach(cell, policy->rules)
	{
		ScoringRule *rule = lfirst(cell);

		if (rule->cap > 0 && fabs(points[number]) > rule->cap)
			points[number] = points[number] > 0 ? rule->cap : -rule->cap;
		score->points[rule->category] += points[number++];
	}
	for (int category = 0; category < RULE_CATEGORIES; category++)
	{
		double		cap = policy->category_cap[category];

		if (cap > 0 && fabs(score->points[category]) > cap)
			score->points[category] = score->points[category] > 0 ? cap : -cap;
		total += score->points[category];
		best += policy->best[category];
	}
	if (policy->total > 0)
		best = policy->total;
	score->fit = fit_best > 0 ? clamp100(100 * (score->points[RULE_FIT] + score->points[RULE_TECHNOLOGY]) / fit_best) : NAN;
	score->engagement = policy->best[RULE_ENGAGEMENT] > 0 ?
		clamp100(100 * score->points[RULE_ENGAGEMENT] / policy->best[RULE_ENGAGEMENT]) : NAN;
	/* with negative rules only, a lead loses from 100 */
	score->rules = best > 0 ? clamp100(100 * total / best) : clamp100(100 + total);
}

/* 0 for A … 3 for D. */
static int
letter_of(const double *thresholds, double value)
{
	int			letter = 0;

	while (letter < 3 && value < thresholds[letter])
		letter++;
	return letter;
}

typedef struct Reason
{
	int			feature;
	double		contribution;
} Reason;

/* by size, downwards */
static int
compare_reasons(const void *a, const void *b)
{
	double		x = fabs(((const Reason *) a)->contribution);
	double		y = fabs(((const Reason *) b)->contribution);

	return x > y ? -1 : x < y ? 1 : ((const Reason *) a)->feature - ((const Reason *) b)->feature;
}

/* One of the model's reasons. */
static void
append_reason(StringInfo json, const LearnModel *model, const Reason *reason, const char *value)
{
	const char *feature = model->features.feature[reason->feature].name;
	char	   *short_value = value ? pnstrdup(value, pg_mbcliplen(value, strlen(value), 80)) : NULL;

	appendStringInfo(json, "%s{\"feature\": ", json->len > 1 ? ", " : "");
	escape_json(json, feature);
	appendStringInfoString(json, ", \"value\": ");
	if (short_value)
		escape_json(json, short_value);
	else
		appendStringInfoString(json, "null");
	appendStringInfo(json, ", \"contribution\": %.3f, \"odds\": %.3g, \"text\": ", reason->contribution, exp(reason->contribution));
	escape_json(json, psprintf("%s %s%s: odds x %.*f", feature, short_value ? "= " : "", short_value ? short_value : "not known",
							   reason->contribution > -1.5 ? 1 : 2, exp(reason->contribution)));
	appendStringInfoChar(json, '}');
}

/* Text of a feature's column in the row, NULL where it has none. */
static char *
feature_text(const Scoring *scoring, const ScoringModel *model, int feature, TupleTableSlot *slot)
{
	int			column = learn_feature_column(model->map, feature);
	Oid			output;
	bool		varlena;

	if (column < 0 || slot->tts_isnull[column])
		return NULL;
	getTypeOutputInfo(TupleDescAttr(scoring->desc, column)->atttypid, &output, &varlena);
	return OidOutputFunctionCall(output, slot->tts_values[column]);
}

/* The strongest reasons for and against. */
static void
append_model_reasons(StringInfo json, const Scoring *scoring, ScoringModel *model, TupleTableSlot *slot, const LearnValue *value)
{
	LearnModel *learned = model->loaded->model;
	int			count = learned->features.count;
	Reason	   *reasons = palloc(sizeof(Reason) * (count + 1));
	KernelEnv	env = kernel_env_pg(CurrentMemoryContext);
	int			up = 0;
	int			down = 0;

	learn_model_explain(&env, learned, value, model->contribution);
	for (int f = 0; f < count; f++)
		reasons[f] = (Reason) {f, model->contribution[f]};
	qsort(reasons, count, sizeof(Reason), compare_reasons);
	for (int i = 0; i < count && fabs(reasons[i].contribution) >= REASON_LEAST; i++)
		if (reasons[i].contribution > 0 ? up++ < REASONS_UP : down++ < REASONS_DOWN)
			append_reason(json, learned, &reasons[i], feature_text(scoring, model, reasons[i].feature, slot));
}

/* The rules that gave or took points. */
static void
append_rule_reasons(StringInfo json, const ScoringPolicy *policy, const double *points)
{
	int			number = 0;
	ListCell   *cell;

	foreach(cell, policy->rules)
	{
		ScoringRule *rule = lfirst(cell);
		double		got = points[number++];

		if (fabs(got) < 0.05)
			continue;
		appendStringInfo(json, "%s{\"rule\": ", json->len > 1 ? ", " : "");
		escape_json(json, rule->name);
		appendStringInfo(json, ", \"category\": \"%s\", \"points\": %.1f, \"text\": ", lead_categories[rule->category], got);
		escape_json(json, psprintf("%s: %+.1f points", rule->name, got));
		appendStringInfoChar(json, '}');
	}
}

/* The rules' points of the row, as an array of our own. */
static double *
points_of_row(const Scoring *scoring, TupleTableSlot *slot)
{
	ArrayType  *array = DatumGetArrayTypeP(slot->tts_values[scoring->points_column]);
	int			count = list_length(scoring->policy->rules);
	double	   *points = palloc(sizeof(double) * (count + 1));

	memcpy(points, ARR_DATA_PTR(array), sizeof(double) * count);
	return points;
}

/* ---- writing ---- */

/* Put a value into the block; NaN is NULL. */
static void
put_float(Scoring *scoring, int column, double value)
{
	scoring->null[column][scoring->rows] = isnan(value);
	scoring->out[column][scoring->rows] = Float8GetDatum(isnan(value) ? 0 : value);
}

/* Put a text into the block; NULL is NULL. */
static void
put_text(Scoring *scoring, int column, const char *value)
{
	scoring->null[column][scoring->rows] = value == NULL;
	scoring->out[column][scoring->rows] = value ? CStringGetTextDatum(value) : (Datum) 0;
}

/* Write the block: a new automatic score, an override over it, and history where something changed. */
static void
flush_scores(Scoring *scoring)
{
	SpiArg		args[OUT_COLUMNS + 1];
	SpiScope	scope;

	if (scoring->rows == 0)
		return;
	for (int column = 0; column < OUT_COLUMNS; column++)
	{
		int			dims = scoring->rows;
		int			lower = 1;
		int16		length;
		bool		by_value;
		char		align;

		get_typlenbyvalalign(out_types[column], &length, &by_value, &align);
		args[column] = spi_datum(get_array_type(out_types[column]),
								 PointerGetDatum(construct_md_array(scoring->out[column], scoring->null[column], 1, &dims, &lower,
																	out_types[column], length, by_value, align)), false);
	}
	args[OUT_COLUMNS] = spi_timestamptz(scoring->as_of);
	spi_open(&scope, SPI_AS_OWNER);
	spi_execute(SPI_OK_SELECT, "SELECT salesops.store_lead_scores($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)", OUT_COLUMNS + 1,
				args);
	spi_close(&scope);
	scoring->done += scoring->rows;
	scoring->rows = 0;
	progress_update(scoring->done, 0);
	MemoryContextReset(scoring->block);
}

/* Model and rules of a row into one score. */
static void
judge_lead(Scoring *scoring, TupleTableSlot *slot, LeadScore *score, StringInfo reasons)
{
	int			segment = DatumGetInt32(slot->tts_values[scoring->segment_column]);
	ScoringModel *model = &scoring->models[segment + 1];
	double	   *points = points_of_row(scoring, slot);

	judge_rules(scoring->policy, points, score);
	score->has_model = model->loaded != NULL;
	if (score->has_model)
	{
		LearnValue *value = learn_read_features(model->map, slot->tts_values, slot->tts_isnull);

		score->probability = learn_probability(learn_model_margin(model->loaded->model, value));
		score->percentile = percentile_of(model, score->probability);
		append_model_reasons(reasons, scoring, model, slot, value);
		put_text(scoring, OUT_MODEL, model->loaded->name);
		scoring->out[OUT_VERSION][scoring->rows] = Int32GetDatum(model->loaded->version);
	}
	else
		put_text(scoring, OUT_MODEL, NULL);
	scoring->null[OUT_VERSION][scoring->rows] = !score->has_model;
	append_rule_reasons(reasons, scoring->policy, points);
	if (score->has_model && score->has_rules)
		score->score = scoring->policy->model_weight * score->percentile + (1 - scoring->policy->model_weight) * score->rules;
	else
		score->score = score->has_model ? score->percentile : score->rules;
}

/* Row callback: score one lead into the block. */
static void
score_row(TupleTableSlot *slot, void *arg)
{
	Scoring    *scoring = arg;
	const ScoringPolicy *policy = scoring->policy;
	MemoryContext old = MemoryContextSwitchTo(scoring->block);
	LeadScore	score = {0};
	StringInfoData reasons;
	bool		by_probability = policy->grade_by_probability;
	int			grade;

	if (slot->tts_isnull[scoring->lead_column])
	{
		MemoryContextSwitchTo(old);
		return;
	}
	initStringInfo(&reasons);
	appendStringInfoChar(&reasons, '[');
	judge_lead(scoring, slot, &score, &reasons);
	appendStringInfoChar(&reasons, ']');
	by_probability = by_probability && score.has_model;
	grade = letter_of(policy->grade_threshold, by_probability ? score.probability : score.score);
	put_text(scoring, OUT_LEAD, TextDatumGetCString(slot->tts_values[scoring->lead_column]));
	put_float(scoring, OUT_SCORE, rint(score.score * 100) / 100);
	put_text(scoring, OUT_GRADE, (char[2]) {'A' + grade, '\0'});
	put_float(scoring, OUT_FIT, score.has_rules ? score.fit : NAN);
	put_float(scoring, OUT_ENGAGEMENT, score.has_rules ? score.engagement : NAN);
	put_text(scoring, OUT_MATRIX, !score.has_rules || isnan(score.fit) || isnan(score.engagement) ? NULL :
			 psprintf("%c%d", 'A' + letter_of(policy->matrix_threshold, score.fit),
					  1 + letter_of(policy->matrix_threshold, score.engagement)));
	put_float(scoring, OUT_PROBABILITY, score.has_model ? score.probability : NAN);
	put_float(scoring, OUT_PERCENTILE, score.has_model ? score.percentile : NAN);
	put_text(scoring, OUT_REASONS, reasons.data);
	MemoryContextSwitchTo(old);
	if (++scoring->rows == BLOCK_LEADS)
		flush_scores(scoring);
}

/* ---- the doors ---- */

uint64
lead_score_leads(const char *model, TimestampTz as_of, ArrayType *leads)
{
	Scoring    *scoring = palloc0(sizeof(Scoring));
	MemoryContext context = CurrentMemoryContext;
	SpiArg		args[2] = {spi_timestamptz(as_of), spi_datum(TEXTARRAYOID, PointerGetDatum(leads), leads == NULL)};
	SpiScope	scope;
	char	   *sql;

	if (TIMESTAMP_NOT_FINITE(as_of))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("as_of must be finite")));
	scoring->as_of = as_of;
	scoring->policy = lead_read_policy();
	open_models(scoring, model);
	scoring->block = AllocSetContextCreate(context, "salesops lead scores", ALLOCSET_DEFAULT_SIZES);
	sql = lead_score_query(scoring->policy, leads != NULL);
	spi_open(&scope, SPI_AS_CALLER);
	/* the query's row type without its parameters: the view's columns and the two of ours */
	scoring->desc = CreateTupleDescCopy(spi_describe("SELECT l.*, 0 AS salesops_segment, ARRAY[]::float8[] AS salesops_points FROM salesops.lead l"));
	MemoryContextSwitchTo(context);
	scoring->lead_column = row_column(scoring->desc, "lead_id");
	scoring->segment_column = row_column(scoring->desc, "salesops_segment");
	scoring->points_column = row_column(scoring->desc, "salesops_points");
	for (int i = 0; i <= list_length(scoring->policy->segments); i++)
		if (scoring->models[i].loaded)
		{
			scoring->models[i].map = learn_map_features(scoring->models[i].loaded->model, scoring->models[i].loaded->name, scoring->desc);
			learn_map_as_of(scoring->models[i].map, scoring->as_of);
		}
	/* not read-only: a trigger must see the rows that fired it */
	spi_stream(sql, leads ? 2 : 1, args, false, score_row, scoring);
	MemoryContextSwitchTo(context);
	flush_scores(scoring);
	spi_close(&scope);
	MemoryContextSwitchTo(context);
	MemoryContextDelete(scoring->block);
	return scoring->done;
}

/* The array that the query's only row holds, in this context, or NULL; within SPI. */
static ArrayType *
only_array(MemoryContext context)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);

	MemoryContextSwitchTo(context);
	return isnull ? NULL : DatumGetArrayTypePCopy(value);
}

/* Leads that have a score of before a time, or with NULL for it of these keys, or of all where those are NULL too; NULL where none is. */
static ArrayType *
scored_leads(const TimestampTz *before, ArrayType *keys)
{
	MemoryContext caller = CurrentMemoryContext;
	SpiScope	scope;
	SpiArg		args[] = {
		spi_datum(TIMESTAMPTZOID, before ? TimestampTzGetDatum(*before) : (Datum) 0, before == NULL),
		spi_datum(TEXTARRAYOID, PointerGetDatum(keys), keys == NULL)
	};
	ArrayType  *leads;

	spi_open(&scope, SPI_AS_OWNER);
	spi_execute(SPI_OK_SELECT, "SELECT pg_catalog.array_agg(s.lead_id) FROM salesops.lead_score s"
				" WHERE ($1 IS NULL OR s.scored_at < $1) AND ($2 IS NULL OR s.lead_id = ANY ($2))", 2, args);
	leads = only_array(caller);
	spi_close(&scope);
	MemoryContextSwitchTo(caller);
	return leads;
}

/* Those of some ids that are no leads (any more), as the current user sees it; NULL where all are, or there is no lead at all. */
static ArrayType *
gone_leads(const char *query, ArrayType *leads)
{
	MemoryContext caller = CurrentMemoryContext;
	SpiScope	scope;
	SpiArg		arg = spi_datum(TEXTARRAYOID, PointerGetDatum(leads), false);
	ArrayType  *gone;

	spi_open(&scope, SPI_PINNED_AS_CALLER);
	spi_execute(SPI_OK_SELECT, psprintf("SELECT pg_catalog.array_agg(n.lead_id) FROM pg_catalog.unnest($1) n(lead_id)"
										" WHERE EXISTS (SELECT FROM (%s) l)"
										" AND NOT EXISTS (SELECT FROM (%s) l(lead_id) WHERE l.lead_id = n.lead_id)", query, query), 1, &arg);
	gone = only_array(caller);
	spi_close(&scope);
	MemoryContextSwitchTo(caller);
	return gone;
}

/* Remove the scores of some leads; the history stays: the relation may be back tomorrow. */
static uint64
delete_scores(ArrayType *leads)
{
	SpiScope	scope;
	SpiArg		arg = spi_datum(TEXTARRAYOID, PointerGetDatum(leads), false);
	uint64		deleted;

	spi_open(&scope, SPI_AS_OWNER);
	deleted = spi_execute(SPI_OK_DELETE, "DELETE FROM salesops.lead_score WHERE lead_id = ANY ($1)", 1, &arg);
	spi_close(&scope);
	return deleted;
}

/*
 * Remove the scores of those of some leads that are gone. Whether one is gone is asked as the relation's owner: row-level security may
 * hide leads from the caller, and the functions of a view that somebody attached must run neither as the caller nor as the extension's
 * owner. Where row-level security binds the relation's owner too, nobody can be asked.
 */
static uint64
forget_gone(ArrayType *leads)
{
	Oid			relation = contract_relation("lead");
	Relation	opened;
	Oid			user;
	int			security;
	char	   *query;

	if (leads == NULL || !OidIsValid(relation))
		return 0;
	query = lead_rows_query("lead");
	opened = table_open(relation, AccessShareLock);
	if (!opened->rd_rel->relforcerowsecurity || has_bypassrls_privilege(opened->rd_rel->relowner))
	{
		GetUserIdAndSecContext(&user, &security);
		SetUserIdAndSecContext(opened->rd_rel->relowner, security | SECURITY_LOCAL_USERID_CHANGE);
		leads = gone_leads(query, leads);
		SetUserIdAndSecContext(user, security);
	}
	else
		leads = NULL;
	table_close(opened, NoLock);
	return leads ? delete_scores(leads) : 0;
}

PG_FUNCTION_INFO_V1(salesops_score_leads);
/* (model, as_of) -> leads scored */
Datum
salesops_score_leads(PG_FUNCTION_ARGS)
{
	char	   *model = text_to_cstring(PG_GETARG_TEXT_PP(0));
	TimestampTz as_of = PG_GETARG_TIMESTAMPTZ(1);
	uint64		scored;

	progress_start("score_leads", model);
	progress_phase("scoring", 0);
	scored = lead_score_leads(model, as_of, NULL);
	/* what a scoring of all leads as of now did not come by: where there are no triggers, nothing else tells of it */
	if (scored > 0 && as_of >= GetCurrentTransactionStartTimestamp())
		(void) forget_gone(scored_leads(&as_of, NULL));
	progress_end();
	PG_RETURN_INT32((int32) Min(scored, PG_INT32_MAX));
}

PG_FUNCTION_INFO_V1(salesops_forget_lead_scores);
/* (keys or NULL) -> scores removed, of leads that are gone */
Datum
salesops_forget_lead_scores(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64((int64) forget_gone(scored_leads(NULL, PG_ARGISNULL(0) ? NULL : PG_GETARG_ARRAYTYPE_P(0))));
}

PG_FUNCTION_INFO_V1(salesops_score_lead);
/* (lead_id, model, as_of) -> its score; error where there is no such lead at that time, or it is not visible */
Datum
salesops_score_lead(PG_FUNCTION_ARGS)
{
	Datum		lead = PG_GETARG_DATUM(0);
	List	   *leads = list_make1(TextDatumGetCString(lead));
	SpiScope	scope;
	SpiArg		arg;
	double		score;
	bool		isnull;

	if (lead_score_leads(text_to_cstring(PG_GETARG_TEXT_PP(1)), PG_GETARG_TIMESTAMPTZ(2),
						 DatumGetArrayTypeP(spi_text_list(leads).value)) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND), errmsg("there is no lead \"%s\" at that time", TextDatumGetCString(lead))));
	arg = spi_datum(TEXTOID, lead, false);
	spi_open(&scope, SPI_AS_OWNER);
	spi_execute(SPI_OK_SELECT, "SELECT score FROM salesops.lead_score WHERE lead_id = $1", 1, &arg);
	score = spi_get_float8(0, 1, &isnull);
	spi_close(&scope);
	PG_RETURN_FLOAT8(score);
}
