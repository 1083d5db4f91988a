/*
 * train_pg.c
 *		train_matcher: fit a model to the relation's rows and keep it; and the stored model back over loaded records.
 *
 * The model is jsonb in salesops.matcher (m, u, prior, how the fit went); frequencies of values above the floor are rows of
 * salesops.matcher_term, by a hash of the value: no value of the user's is copied.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"

#include "core/errors.h"
#include "core/kernel_pg.h"
#include "core/options.h"
#include "core/progress.h"
#include "match/matcher_pg.h"

PG_FUNCTION_INFO_V1(salesops_train_matcher);

#define LEAST_RECORDS 10
#define TERM_BATCH 10000
#define LEAST_MATCHES 1000		/* expected in a sample */

typedef struct StoredModel
{
	double		prior;
	double		related;
	Jsonb	   *comparisons;
} StoredModel;

static const OptionSpec model_specs[] = {
	{"prior", OPTION_FLOAT, offsetof(StoredModel, prior), .required = true},
	{"related", OPTION_FLOAT, offsetof(StoredModel, related)},
	{"comparisons", OPTION_ARRAY, offsetof(StoredModel, comparisons), .required = true},
};

typedef struct StoredComparison
{
	List	   *m;
	List	   *u;
	List	   *r;
	double		floor;
} StoredComparison;

static const OptionSpec stored_specs[] = {
	{"m", OPTION_FLOAT_LIST, offsetof(StoredComparison, m), .required = true},
	{"u", OPTION_FLOAT_LIST, offsetof(StoredComparison, u), .required = true},
	{"r", OPTION_FLOAT_LIST, offsetof(StoredComparison, r)},
	{"floor", OPTION_FLOAT, offsetof(StoredComparison, floor), .required = true},
};

/* Zeroed scratch for the text kernels. */
TextWorkspace *
matcher_workspace(const KernelEnv *env)
{
	TextWorkspace *workspace = palloc0(sizeof(TextWorkspace));

	workspace->env = env;
	return workspace;
}

/* ---- storing ---- */

/* A list of probabilities. */
static void
append_numbers(StringInfo json, const char *name, const double *values, int count)
{
	appendStringInfo(json, "\"%s\": [", name);
	for (int i = 0; i < count; i++)
		appendStringInfo(json, "%s%.17g", i > 0 ? ", " : "", values[i]);
	appendStringInfoString(json, "]");
}

/* What salesops.matcher keeps of a model. */
static Jsonb *
model_json(const MatchModel *model)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfo(&json, "{\"prior\": %.17g, ", model->prior);
	if (model->related > 0)
		appendStringInfo(&json, "\"related\": %.17g, ", model->related);
	appendStringInfoString(&json, "\"comparisons\": [");
	for (int c = 0; c < model->tables.ncomparisons; c++)
	{
		appendStringInfoString(&json, c > 0 ? ", {" : "{");
		append_numbers(&json, "m", model->tables.m[c], model->tables.nlevels[c]);
		appendStringInfoString(&json, ", ");
		append_numbers(&json, "u", model->tables.u[c], model->tables.nlevels[c]);
		if (model->related > 0)
		{
			appendStringInfoString(&json, ", ");
			append_numbers(&json, "r", model->tables.r[c], model->tables.nlevels[c]);
		}
		appendStringInfo(&json, ", \"floor\": %.17g}", model->floor[c]);
	}
	appendStringInfoString(&json, "]}");
	return jsonb_from_cstring(json.data);
}

/* What a training works on */
typedef struct Training
{
	Matcher    *matcher;
	MemoryContext context;		/* of the records and the fit */
	MatcherRecords loaded;
	MatchModel	model;
	double		share;			/* of the records */
} Training;

/* How the fit went, for people: view matcher_training. */
static Jsonb *
training_json(const Training *training)
{
	const Matcher *matcher = training->matcher;
	const MatchModel *model = &training->model;
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfo(&json, "{\"records\": %d, \"share_of_records\": %.6g, \"candidate_pairs\": %.0f, \"expected_matches\": %.3f, \"related_pairs\": %.3f, "
					 "\"sampled\": %.6g, \"rounds\": %d, \"converged\": %s, \"not_estimated\": [",
					 training->loaded.records.nrecords, training->share, model->candidate_pairs, model->expected_matches,
					 model->related_pairs, model->sampled,
					 model->rounds, model->converged ? "true" : "false");
	for (int c = 0, n = 0; c < matcher->ncomparisons; c++)
	{
		if (model->estimated[c])
			continue;
		appendStringInfoString(&json, n++ > 0 ? ", " : "");
		escape_json(&json, matcher->comparison_name[c]);
	}
	appendStringInfoString(&json, "], \"passes\": [");
	for (int k = 0; k < model->npasses; k++)
	{
		const MatchEmResult *em = &model->pass[k].em;

		appendStringInfo(&json, "%s{\"rule\": ", k > 0 ? ", " : "");
		escape_json(&json, matcher_rule_name(matcher, &matcher->rule[model->pass[k].rule]));
		appendStringInfo(&json, ", \"pairs\": %.0f, \"prior\": %.6g, \"iterations\": %d, \"converged\": %s}",
						 em->pairs, em->prior, em->iterations, em->converged ? "true" : "false");
	}
	appendStringInfoString(&json, "]}");
	return jsonb_from_cstring(json.data);
}

typedef struct TermBatch
{
	const char *matcher;
	SpiArray	comparison;
	SpiArray	hash;
	SpiArray	frequency;
} TermBatch;

/* Write a batch of frequencies; SPI is open. */
static void
flush_terms(TermBatch *batch)
{
	SpiArg		args[4];

	if (batch->hash.count == 0)
		return;
	args[0] = spi_text(batch->matcher);
	args[1] = spi_array(&batch->comparison);
	args[2] = spi_array(&batch->hash);
	args[3] = spi_array(&batch->frequency);
	spi_execute(SPI_OK_INSERT,
				"INSERT INTO salesops.matcher_term (matcher, comparison, value_hash, frequency) "
				"SELECT $1, t.c, t.h, t.f FROM unnest($2, $3, $4) AS t (c, h, f) ON CONFLICT DO NOTHING", 4, args);
	batch->comparison.count = batch->hash.count = batch->frequency.count = 0;
	CHECK_FOR_INTERRUPTS();
}

/* One more frequency; SPI is open. */
static void
add_term(TermBatch *batch, int comparison, uint64 hash, double frequency)
{
	spi_array_add(&batch->comparison, Int32GetDatum(comparison));
	spi_array_add(&batch->hash, Int64GetDatum((int64) hash));
	spi_array_add(&batch->frequency, Float8GetDatum(frequency));
	if (batch->hash.count == TERM_BATCH)
		flush_terms(batch);
}

/* Words that are too common to be a key, of each rule of words: comparison is -1 - rule, frequency the records. SPI is open. */
static void
store_common_words(const Matcher *matcher, TermBatch *batch)
{
	for (int r = 0; r < matcher->nrules; r++)
	{
		const MatchRule *rule = &matcher->rule[r];

		for (int32 k = 0; k < rule->nskipped && rule->kind != MATCH_RULE_KEY; k++)
			add_term(batch, -1 - r, rule->skipped[k], rule->max_block);
	}
}

/* Replace the matcher's frequencies by the model's; SPI is open. */
static void
store_terms(const Matcher *matcher, const MatchModel *model, const MatchRecords *records)
{
	TermBatch	batch = {matcher->name, {INT4OID}, {INT8OID}, {FLOAT8OID}};
	SpiArg		args[] = {spi_text(matcher->name)};

	spi_execute(SPI_OK_DELETE, "DELETE FROM salesops.matcher_term t WHERE t.matcher OPERATOR(pg_catalog.=) $1", 1, args);
	for (int c = 0; c < matcher->ncomparisons; c++)
	{
		const MatchColumn *column = &records->column[matcher->comparison[c].column];

		for (int32 v = 0; model->frequency[c] != NULL && v < column->nvalues; v++)
		{
			if (model->frequency[c][v] > model->floor[c])
				add_term(&batch, c, column->hash[v], model->frequency[c][v]);
		}
	}
	store_common_words(matcher, &batch);
	flush_terms(&batch);
}

/* Keep definition and model; one transaction with the training itself. */
static void
store_model(const Training *training)
{
	const Matcher *matcher = training->matcher;
	SpiScope	scope;
	SpiArg		args[] = {spi_text(matcher->name), spi_jsonb(model_json(&training->model)), spi_jsonb(training_json(training))};

	matcher_store_definition(matcher);
	spi_open(&scope, SPI_AS_OWNER);
	spi_execute(SPI_OK_UPDATE,
				"UPDATE salesops.matcher SET model = $2, training = $3, trained_at = pg_catalog.now() "
				"WHERE matcher.matcher OPERATOR(pg_catalog.=) $1", 3, args);
	store_terms(matcher, &training->model, &training->loaded.records);
	spi_close(&scope);
}

/* ---- reading back ---- */

/* m or u of one comparison. */
static bool
read_table(List *list, double *table, int nlevels)
{
	ListCell   *cell;
	int			l = 0;

	if (list_length(list) != nlevels)
		return false;
	foreach(cell, list)
		table[l++] = *(double *) lfirst(cell);
	return true;
}

typedef struct TermReading
{
	const MatchRecords *records;
	const Matcher *matcher;
	MatchModel *model;
} TermReading;

/* One stored frequency, if a loaded value has that hash. */
static void
read_term(TupleTableSlot *slot, void *arg)
{
	TermReading *reading = arg;
	int			c = DatumGetInt32(slot->tts_values[0]);
	uint64_t	hash = (uint64_t) DatumGetInt64(slot->tts_values[1]);
	int32		code;

	if (c < 0 || c >= reading->matcher->ncomparisons || reading->model->frequency[c] == NULL)
		return;
	code = match_column_find_hash(&reading->records->column[reading->matcher->comparison[c].column], hash);
	if (code != MATCH_NULL)
		reading->model->frequency[c][code] = DatumGetFloat8(slot->tts_values[2]);
}

/* Every value's frequency is the floor until a stored one is read. */
bool
matcher_start_frequencies(const Matcher *matcher, const MatchRecords *records, MatchModel *model)
{
	bool		any = false;

	for (int c = 0; c < matcher->ncomparisons; c++)
	{
		int32		nvalues = records->column[matcher->comparison[c].column].nvalues;

		if (!matcher->comparison[c].term_frequency)
			continue;
		any = true;
		model->frequency[c] = kernel_alloc_array(&records->env, double, nvalues);
		for (int32 v = 0; v < nvalues; v++)
			model->frequency[c][v] = model->floor[c];
	}
	return any;
}

typedef struct EachTerm
{
	const Matcher *matcher;
	MatcherTermCallback each;
	void	   *arg;
} EachTerm;

/* One stored frequency of a comparison, handed on. */
static void
hand_on_term(TupleTableSlot *slot, void *arg)
{
	const EachTerm *each = arg;
	int			c = DatumGetInt32(slot->tts_values[0]);

	if (c >= 0 && c < each->matcher->ncomparisons && each->matcher->comparison[c].term_frequency)
		each->each(c, (uint64) DatumGetInt64(slot->tts_values[1]), DatumGetFloat8(slot->tts_values[2]), each->arg);
}

#define TERMS_SQL \
	"SELECT t.comparison, t.value_hash, t.frequency FROM salesops.matcher_term t WHERE t.matcher OPERATOR(pg_catalog.=) $1"

void
matcher_each_term(const Matcher *matcher, MatcherTermCallback each, void *arg)
{
	EachTerm	hand_on = {matcher, each, arg};
	SpiArg		args[] = {spi_text(matcher->name)};

	spi_stream_as_owner(TERMS_SQL, 1, args, true, hand_on_term, &hand_on);
}

/* Hashes of the values whose frequencies count: of one record or of all that are loaded. */
static SpiArg
value_hashes(const Matcher *matcher, const MatchRecords *records, int32 record)
{
	SpiArray	hashes = {INT8OID};

	for (int c = 0; c < matcher->ncomparisons; c++)
	{
		const MatchColumn *column = &records->column[matcher->comparison[c].column];
		int32		from = record >= 0 ? column->code[record] : 0;
		int32		to = record >= 0 ? from + 1 : column->nvalues;

		if (from == MATCH_NULL || (record < 0 && !matcher->comparison[c].term_frequency))
			continue;
		for (int32 v = from; v < to; v++)
			spi_array_add(&hashes, Int64GetDatum((int64) column->hash[v]));
	}
	return spi_array(&hashes);
}

void
matcher_model_terms(const Matcher *matcher, const MatchRecords *records, int32 record, MatchModel *model)
{
	TermReading reading = {records, matcher, model};
	SpiScope	scope;
	SpiArg		args[2];
	MemoryContext caller = CurrentMemoryContext;

	if (!matcher_start_frequencies(matcher, records, model))
		return;
	args[0] = spi_text(matcher->name);
	if (record != MATCHER_ALL_TERMS)
		args[1] = value_hashes(matcher, records, record);
	spi_open(&scope, SPI_AS_OWNER);
	MemoryContextSwitchTo(caller);
	spi_stream_kept(record == MATCHER_ALL_TERMS ? TERMS_SQL : TERMS_SQL " AND t.value_hash OPERATOR(pg_catalog.=) ANY ($2)",
					record == MATCHER_ALL_TERMS ? 1 : 2, args, true, read_term, &reading);
	spi_close(&scope);
}

void
matcher_model_tables(const Matcher *matcher, MatchModel *model)
{
	StoredModel stored = {0};
	Problems	problems;
	int			c = 0;
	ListCell   *cell;

	if (matcher->model == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("matcher \"%s\" is not trained", matcher->name),
				 errhint("SELECT * FROM salesops.train_matcher(%s);", quote_literal_cstr(matcher->name))));
	memset(model, 0, sizeof(*model));
	problems_init(&problems);
	options_parse(matcher->model, model_specs, lengthof(model_specs), &stored, &problems, "model");
	model->prior = stored.prior;
	model->related = stored.related;
	model->tables.ncomparisons = matcher->ncomparisons;
	foreach(cell, jsonb_elements(stored.comparisons))
	{
		StoredComparison comparison = {0};

		options_parse(lfirst(cell), stored_specs, lengthof(stored_specs), &comparison, &problems, "model");
		if (c >= matcher->ncomparisons)
			break;
		model->tables.nlevels[c] = match_level_count(&matcher->comparison[c]);
		model->floor[c] = comparison.floor;
		if (!read_table(comparison.m, model->tables.m[c], model->tables.nlevels[c]) ||
			!read_table(comparison.u, model->tables.u[c], model->tables.nlevels[c]))
			problems_add(&problems, "comparison %d has another number of levels", c);
		if (model->related > 0 && !read_table(comparison.r, model->tables.r[c], model->tables.nlevels[c]))
			problems_add(&problems, "comparison %d has another number of levels for related pairs", c);
		c++;
	}
	if (c != matcher->ncomparisons)
		problems_add(&problems, "%d comparisons instead of %d", c, matcher->ncomparisons);
	problems_raise(&problems, ERRCODE_DATA_CORRUPTED, "Train the matcher again.", "model of matcher \"%s\" does not fit its definition",
				   matcher->name);
}

void
matcher_model(const Matcher *matcher, const MatchRecords *records, MatchModel *model)
{
	matcher_model_tables(matcher, model);
	matcher_model_terms(matcher, records, MATCHER_ALL_TERMS, model);
}

/* ---- train_matcher ---- */

/* Fewer records than say anything, or nothing to compare. */
static void
require_substance(const Matcher *matcher, const MatchRecords *records)
{
	if (records->nrecords < LEAST_RECORDS)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("matcher \"%s\" has %d records to learn from: too few", matcher->name, records->nrecords),
				 errhint("Train when there are some hundreds; %d is the least.", LEAST_RECORDS)));
	if (matcher->ncomparisons == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("matcher \"%s\" found no column worth comparing", matcher->name),
				 errdetail("Keys, constants and empty columns say nothing about who is who."),
				 errhint("Give comparisons to salesops.create_matcher.")));
	if (matcher->nrules == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("matcher \"%s\" has no blocking rule", matcher->name),
				 errhint("Give blocking to salesops.create_matcher.")));
}

/* Rows of the result: comparison, level, m, u, weight; the unknown level last, without a weight. */
static void
return_tables(FunctionCallInfo fcinfo, const Matcher *matcher, const MatchModel *model)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	for (int c = 0; c < matcher->ncomparisons; c++)
	{
		for (int l = model->tables.nlevels[c] - 1; l >= -1; l--)
		{
			Datum		values[5] = {CStringGetTextDatum(matcher->comparison_name[c]), Int32GetDatum(l)};
			bool		nulls[5] = {0};

			if (l < 0)
			{
				nulls[2] = nulls[3] = true;
				values[4] = Float8GetDatum(0);
			}
			else
			{
				values[2] = Float8GetDatum(model->tables.m[c][l]);
				values[3] = Float8GetDatum(model->tables.u[c][l]);
				values[4] = Float8GetDatum(log2(model->tables.m[c][l] / model->tables.u[c][l]));
			}
			tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
		}
	}
}

/* What does not stop the training but should be known. */
static void
report_fit(const Matcher *matcher, const MatchModel *model)
{
	for (int c = 0; c < matcher->ncomparisons; c++)
	{
		if (!model->estimated[c])
			ereport(NOTICE,
					(errmsg("matcher \"%s\": comparison \"%s\" could not be estimated apart from its own blocking", matcher->name,
							matcher->comparison_name[c]),
					 errhint("Another blocking rule, on other columns, would tell it.")));
	}
	if (!model->converged)
		ereport(NOTICE,
				(errmsg("matcher \"%s\" did not converge in %d rounds; the last estimates were kept", matcher->name, model->rounds)));
}

/* Fit the model to the records that are loaded. */
static void
fit_loaded(Training *training)
{
	Matcher    *matcher = training->matcher;
	MatchFitOptions options = match_fit_defaults();
	uint64_t	contains[MATCHER_MAX_COLUMNS];
	MatchRules	rules;

	require_substance(matcher, &training->loaded.records);
	matcher_prepare(matcher, &training->loaded, &rules);
	/* blocks of a sample are smaller: find_duplicates tells of those that are too large */
	if (training->share == 1)
		matcher_report_blocks(matcher, &training->loaded, NULL);
	match_containment(&training->loaded.records, contains);
	match_relate_rules(matcher->rule, matcher->nrules, matcher->comparison, matcher->ncomparisons, contains);
	matcher_records_strip(&training->loaded);
	options.seed = matcher->options.seed;
	options.related = matcher->auto_comparisons;
	options.pair_budget = Max(maintenance_work_mem * 1024.0 / 2 / 24, 1e6);
	progress_phase("fitting", 0);
	match_fit(&training->loaded.records, matcher->comparison, matcher->ncomparisons, &rules, &options, &training->model);
}

/* The same of the share that is loaded: what is too common among all is so in a sample. */
static void
fit_share(Training *training)
{
	Matcher    *matcher = training->matcher;
	int32		max_block[MATCHER_MAX_RULES];

	for (int r = 0; r < matcher->nrules; r++)
	{
		max_block[r] = matcher->rule[r].max_block;
		if (max_block[r] > 0)
			matcher->rule[r].max_block = Max((int32) rint(max_block[r] * training->share), 2);
	}
	fit_loaded(training);
	for (int r = 0; r < matcher->nrules; r++)
		matcher->rule[r].max_block = max_block[r];
}

/*
 * Fit the model to the records, or where they exceed their part of maintenance_work_mem, to a sample of them. A sample has the square of
 * its share of the pairs that match; where these are too few to learn from, it is made larger than the memory that was wanted.
 */
static void
fit_within_memory(Training *training)
{
	MemoryContext caller = MemoryContextSwitchTo(training->context);

	training->share = matcher_records_load_most(training->matcher, &training->loaded);
	fit_share(training);
	while (training->share < 1 && training->model.expected_matches < LEAST_MATCHES)
	{
		training->share = Min(training->share * 2, 1);
		MemoryContextReset(training->context);
		(void) matcher_records_load_share(training->matcher, &training->loaded, 0, training->share);
		fit_share(training);
	}
	MemoryContextSwitchTo(caller);
	if (training->share < 1)
		ereport(NOTICE,
				(errmsg("matcher \"%s\" was trained on %.3g of the records, which exceed maintenance_work_mem", training->matcher->name,
						training->share),
				 errhint("Raise maintenance_work_mem to train it on all.")));
}

/*
 * train_matcher(name text) -> setof (comparison text, level integer, m float8, u float8, weight float8)
 *
 * Fits the matcher to the relation's present rows without labels (Fellegi and Sunter 1969; fit.h has the recipe). Levels go
 * from 0, different, to the highest; -1 is unknown, no evidence. weight is log2(m / u).
 */
Datum
salesops_train_matcher(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(caller, "salesops train matcher", ALLOCSET_DEFAULT_SIZES);
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Training	training = {0};
	Matcher    *matcher;

	InitMaterializedSRF(fcinfo, 0);
	MemoryContextSwitchTo(context);
	progress_start("train_matcher", name);
	matcher = matcher_load(name);
	if (matcher->auto_comparisons || matcher->auto_blocking)
	{
		progress_phase("choosing comparisons and blocking", 0);
		(void) matcher_choose(matcher);
	}
	training.matcher = matcher;
	training.context = AllocSetContextCreate(context, "salesops training records", ALLOCSET_DEFAULT_SIZES);
	fit_within_memory(&training);
	store_model(&training);
	report_fit(matcher, &training.model);
	MemoryContextSwitchTo(caller);
	return_tables(fcinfo, matcher, &training.model);
	MemoryContextDelete(context);
	progress_end();
	PG_RETURN_VOID();
}
