/*
 * predict_pg.c
 *		predict for one row, predict_batch and evaluate_model for the rows of a query.
 *
 * A row at a time: the model, and where its features lie in rows of the argument's shape, are kept with the call site;
 * a change of models anywhere moves the generation on and makes the site look again. Many rows: the query's rows are
 * encoded into a block, whose trees are walked together.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"
#include "utils/typcache.h"

#include "core/compat.h"
#include "core/errors.h"
#include "core/kernel_pg.h"
#include "core/progress.h"
#include "core/row.h"
#include "core/spi.h"
#include "learn/metrics.h"
#include "learn/plain_rows_pg.h"
#include "learn/predict_pg.h"
#include "learn/predict_site.h"

#define BLOCK_ROWS 1024

/* ---- one row ---- */

/* The call site's memory: made on the first call. */
static PredictSite *
site_of(FmgrInfo *flinfo)
{
	PredictSite *site = flinfo->fn_extra;

	if (site == NULL)
	{
		site = MemoryContextAllocZero(flinfo->fn_mcxt, sizeof(PredictSite));
		site->context = AllocSetContextCreate(flinfo->fn_mcxt, "salesops predict site", ALLOCSET_SMALL_SIZES);
		flinfo->fn_extra = site;
	}
	return site;
}

/* Look the model and the row's shape up anew. */
static void
prepare_site(PredictSite *site, text *name, Oid row_type, int32 row_typmod)
{
	MemoryContext old;
	char	   *model_name;

	site->generation = 0;
	MemoryContextReset(site->context);
	old = MemoryContextSwitchTo(site->context);
	model_name = text_to_cstring(name);
	site->loaded = learn_model_get(model_name, 0);
	site->desc = lookup_rowtype_tupdesc_copy(row_type, row_typmod);
	site->map = learn_map_features(site->loaded->model, model_name, site->desc);
	site->values = palloc(sizeof(Datum) * Max(site->desc->natts, 1));
	site->nulls = palloc(sizeof(bool) * Max(site->desc->natts, 1));
	site->name_size = strlen(model_name);
	site->name = model_name;
	site->row_type = row_type;
	site->row_typmod = row_typmod;
	site->user = GetUserId();
	MemoryContextSwitchTo(old);
	site->generation = learn_model_generation();
}

/* See predict_site.h. */
PredictSite *
learn_site(FmgrInfo *flinfo, text *name, Oid row_type, int32 row_typmod, bool *prepared)
{
	PredictSite *site = site_of(flinfo);

	*prepared = site->generation != learn_model_generation() || site->row_type != row_type || site->row_typmod != row_typmod ||
		site->user != GetUserId() || site->name_size != VARSIZE_ANY_EXHDR(name) ||
		memcmp(site->name, VARDATA_ANY(name), site->name_size) != 0;
	if (*prepared)
		prepare_site(site, name, row_type, row_typmod);
	return site;
}

/* See predict_site.h. */
LearnValue *
learn_site_row(FmgrInfo *flinfo, Datum model, Datum record, PredictSite **into)
{
	HeapTupleHeader header = DatumGetHeapTupleHeader(record);
	HeapTupleData tuple;
	PredictSite *site;
	bool		prepared;

	site = learn_site(flinfo, DatumGetTextPP(model), HeapTupleHeaderGetTypeId(header), HeapTupleHeaderGetTypMod(header), &prepared);
	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = header;
	heap_deform_tuple(&tuple, site->desc, site->values, site->nulls);
	*into = site;
	return learn_read_features(site->map, site->values, site->nulls);
}

PG_FUNCTION_INFO_V1(salesops_predict);
/* (model, row) -> probability */
Datum
salesops_predict(PG_FUNCTION_ARGS)
{
	PredictSite *site;
	LearnValue *value = learn_site_row(fcinfo->flinfo, PG_GETARG_DATUM(0), PG_GETARG_DATUM(1), &site);

	PG_RETURN_FLOAT8(learn_probability(learn_model_margin(site->loaded->model, value)));
}

/* ---- many rows ---- */

typedef struct PredictBlock
{
	LoadedModel *loaded;
	FeatureMap *map;
	PlainRows  *plain;			/* NULL: rows go the general way */
	const char *extra_name;
	int			extra_column;
	ValueReader *extra_reader;
	bool		extra_by_value;
	int16		extra_length;
	int			rows;
	uint64		done;
	float	   *matrix;
	double	   *numbers;		/* a row's, where the model has an additive part */
	double		additive[BLOCK_ROWS];
	float		trees[BLOCK_ROWS];
	Datum		extra[BLOCK_ROWS];
	bool		extra_null[BLOCK_ROWS];
	MemoryContext context;		/* a block's scratch */
	PredictCallback callback;
	void	   *arg;
} PredictBlock;

/* Error 42703 with the columns there are. */
static void
no_such_column(TupleDesc desc, const char *name)
{
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 0; i < desc->natts; i++)
		append_choice(&names, NameStr(TupleDescAttr(desc, i)->attname));
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("the query has no column \"%s\"", name),
			 names.len > 0 ? errdetail("Its columns are: %s.", names.data) : 0,
			 errhint("Name it in the query's SELECT list.")));
}

/* Where things lie in the query's rows: from the first row's descriptor. */
static void
open_block(PredictBlock *block, TupleDesc desc)
{
	char		align;

	block->extra_column = row_column(desc, block->extra_name);
	if (block->extra_column < 0)
		no_such_column(desc, block->extra_name);
	*block->extra_reader = value_reader(TupleDescAttr(desc, block->extra_column)->atttypid, block->extra_name);
	get_typlenbyvalalign(TupleDescAttr(desc, block->extra_column)->atttypid, &block->extra_length, &block->extra_by_value, &align);
	block->map = learn_map_features(block->loaded->model, block->loaded->name, desc);
	block->plain = learn_plain_rows(block->map, block->loaded->model->features.count, desc, block->extra_column);
	if (block->loaded->model->tree_weight < 1)
		block->numbers = palloc(sizeof(double) * Max(block->loaded->model->features.count, 1));
}

/* Predict the rows gathered and hand them on. */
static void
flush_block(PredictBlock *block)
{
	LearnModel *model = block->loaded->model;

	CHECK_FOR_INTERRUPTS();
	if (model->tree_weight > 0 && block->rows > 0)
		learn_trees_margin_batch(model->trees, block->matrix, block->rows, model->features.tree_columns, block->trees);
	for (int row = 0; row < block->rows; row++)
		block->callback(block->extra[row], block->extra_null[row],
						learn_model_mix(model, block->additive[row], block->trees[row]), block->arg);
	block->done += block->rows;
	block->rows = 0;
	progress_update(block->done, 0);
	MemoryContextReset(block->context);
}

/* A row's values the general way. */
static void
gather_values(PredictBlock *block, const TupleTableSlot *slot, float *tree_row)
{
	LearnModel *model = block->loaded->model;
	int			row = block->rows;
	LearnValue *value;

	if (model->tree_weight < 1 || !learn_read_plain_row(block->map, slot->tts_values, slot->tts_isnull, tree_row))
	{
		value = learn_read_features(block->map, slot->tts_values, slot->tts_isnull);
		if (model->tree_weight > 0)
			learn_tree_row(&model->features, value, tree_row);
		if (model->tree_weight < 1)
			block->additive[row] = learn_additive_margin(model, value);
	}
	block->extra_null[row] = slot->tts_isnull[block->extra_column];
	block->extra[row] = slot->tts_values[block->extra_column];
}

/* A row's values at once, where it is a stored tuple of numbers; false where it must go the general way. */
static bool
gather_numbers(PredictBlock *block, TupleTableSlot *slot, float *tree_row)
{
	const LearnModel *model = block->loaded->model;
	int			row = block->rows;

	if (block->plain == NULL || !learn_plain_row(block->plain, slot, model->tree_weight > 0 ? tree_row : NULL, block->numbers,
												 &block->extra[row], &block->extra_null[row]))
		return false;
	if (block->numbers)
		block->additive[row] = learn_additive_numbers(model, block->numbers);
	return true;
}

/* One row of the query: read and encoded. */
static void
gather_row(TupleTableSlot *slot, void *arg)
{
	PredictBlock *block = arg;
	int			row = block->rows;
	float	   *tree_row = block->matrix + (size_t) row * block->loaded->model->features.tree_columns;
	MemoryContext old = MemoryContextSwitchTo(block->context);

	if (!gather_numbers(block, slot, tree_row))
	{
		slot_getallattrs(slot);
		gather_values(block, slot, tree_row);
	}
	if (!block->extra_by_value && !block->extra_null[row])
		block->extra[row] = datumCopy(block->extra[row], false, block->extra_length);
	MemoryContextSwitchTo(old);
	if (++block->rows == BLOCK_ROWS)
		flush_block(block);
}

/* See predict_pg.h. */
uint64
learn_predict_query(LoadedModel *loaded, const char *query, const char *extra_column, PredictCallback callback, void *arg,
					ValueReader *extra_reader)
{
	PredictBlock *block = palloc0(sizeof(PredictBlock));
	MemoryContext context = CurrentMemoryContext;
	SpiScope	scope;
	TupleDesc	desc;

	learn_model_pin(loaded, context);
	block->loaded = loaded;
	block->extra_name = extra_column;
	block->extra_reader = extra_reader;
	block->callback = callback;
	block->arg = arg;
	block->context = AllocSetContextCreate(context, "salesops predict block", ALLOCSET_DEFAULT_SIZES);
	block->matrix = palloc_extended(sizeof(float) * BLOCK_ROWS * Max(loaded->model->features.tree_columns, 1), MCXT_ALLOC_HUGE);
	spi_open(&scope, SPI_AS_CALLER);
	desc = spi_describe(query);
	MemoryContextSwitchTo(context);
	open_block(block, desc);
	spi_stream_unread(query, true, gather_row, block);
	MemoryContextSwitchTo(context);
	flush_block(block);
	spi_close(&scope);
	MemoryContextSwitchTo(context);
	MemoryContextDelete(block->context);
	return block->done;
}

#define KEY_SHORT	((int) (VARATT_SHORT_MAX - VARHDRSZ_SHORT))	/* bytes of a text whose head is one byte */
#define KEY_PLACE	MAXALIGN(SizeofHeapTupleHeader)

typedef struct BatchResult
{
	Tuplestorestate *store;
	TupleDesc	desc;
	ValueReader key_reader;
	uint64		rows;
	MemoryContext scratch;
	HeapTupleData tuple;		/* a row with a short key, put together here */
	union
	{
		HeapTupleHeaderData head;
		char		bytes[KEY_PLACE + MAXALIGN(VARHDRSZ_SHORT + KEY_SHORT) + sizeof(double)];
		double		aligned;
	}			room;
} BatchResult;

/* The parts of a short row that do not change: two columns, no nulls. */
static void
prepare_row(BatchResult *result)
{
	memset(&result->room, 0, sizeof(result->room));
	result->tuple.t_data = &result->room.head;
	ItemPointerSetInvalid(&result->tuple.t_self);
	result->tuple.t_tableOid = InvalidOid;
	result->room.head.t_hoff = KEY_PLACE;
	result->room.head.t_infomask = HEAP_HASVARWIDTH;
	HeapTupleHeaderSetNatts(&result->room.head, 2);
}

/*
 * A key's text into the row at hand, where it is short; its length, or -1. An integer's is written in place, without its output
 * function.
 */
static int
write_short_key(BatchResult *result, Datum key)
{
	char	   *at = result->room.bytes + KEY_PLACE + VARHDRSZ_SHORT;

	if (result->key_reader.value_class == VALUE_INTEGER)
		return pg_lltoa((int64) value_number(&result->key_reader, key, false), at);
	if (result->key_reader.value_class == VALUE_TEXT)
	{
		struct varlena *text = (struct varlena *) DatumGetPointer(key);
		int			length;

		if (VARATT_IS_EXTERNAL(text) || VARATT_IS_COMPRESSED(text))
			return -1;
		length = VARSIZE_ANY_EXHDR(text);
		if (length > KEY_SHORT)
			return -1;
		memcpy(at, VARDATA_ANY(text), length);
		return length;
	}
	return -1;
}

/* A row with a key of `length` bytes that stands in its place: as heap_form_tuple would make it, in a tenth of the time. */
static void
put_short_row(BatchResult *result, int length, double probability)
{
	char	   *bytes = result->room.bytes;
	size_t		end = KEY_PLACE + VARHDRSZ_SHORT + length;
	size_t		place = MAXALIGN(end);

	SET_VARSIZE_SHORT(bytes + KEY_PLACE, VARHDRSZ_SHORT + length);
	memset(bytes + end, 0, place - end);
	memcpy(bytes + place, &probability, sizeof(probability));
	result->tuple.t_len = place + sizeof(probability);
	tuplestore_puttuple(result->store, &result->tuple);
}

/* A row of predict_batch. */
static void
put_prediction(Datum key, bool isnull, double margin, void *arg)
{
	BatchResult *result = arg;
	MemoryContext old = MemoryContextSwitchTo(result->scratch);
	int			length = isnull ? -1 : write_short_key(result, key);

	if (length >= 0)
		put_short_row(result, length, learn_probability(margin));
	else
	{
		Datum		values[2];
		bool		nulls[2] = {isnull, false};

		if (!isnull)
			values[0] = result->key_reader.value_class == VALUE_TEXT ? key :
				CStringGetTextDatum(OidOutputFunctionCall(result->key_reader.output, key));
		values[1] = Float8GetDatum(learn_probability(margin));
		tuplestore_putvalues(result->store, result->desc, values, nulls);
	}
	MemoryContextSwitchTo(old);
	/* resetting costs as much as a row: a block's keys are small */
	if (++result->rows % BLOCK_ROWS == 0)
		MemoryContextReset(result->scratch);
}

PG_FUNCTION_INFO_V1(salesops_predict_batch);
/* (model, query, key) -> setof (key, probability); the query runs as the caller */
Datum
salesops_predict_batch(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *query = text_to_cstring(PG_GETARG_TEXT_PP(1));
	BatchResult result;
	LoadedModel *loaded;

	InitMaterializedSRF(fcinfo, 0);
	result.store = rsinfo->setResult;
	result.desc = rsinfo->setDesc;
	result.rows = 0;
	prepare_row(&result);
	result.scratch = AllocSetContextCreate(CurrentMemoryContext, "salesops prediction", ALLOCSET_SMALL_SIZES);
	loaded = learn_model_get(name, 0);
	progress_start("predict_batch", name);
	progress_phase("predicting", 0);
	learn_predict_query(loaded, query, NameStr(*PG_GETARG_NAME(2)), put_prediction, &result, &result.key_reader);
	progress_end();
	return (Datum) 0;
}

typedef struct Evaluation
{
	ValueReader label_reader;
	double	   *margin;
	uint8	   *label;
	size_t		rows;
	size_t		room;
} Evaluation;

/* A row of evaluate_model; rows without a label do not count. */
static void
put_evaluated(Datum label, bool isnull, double margin, void *arg)
{
	Evaluation *evaluation = arg;

	if (isnull)
		return;
	if (evaluation->rows == evaluation->room)
	{
		evaluation->room = Max(4096, evaluation->room * 2);
		evaluation->margin = evaluation->margin ? repalloc_huge(evaluation->margin, sizeof(double) * evaluation->room) :
			palloc(sizeof(double) * evaluation->room);
		evaluation->label = evaluation->label ? repalloc_huge(evaluation->label, evaluation->room) : palloc(evaluation->room);
	}
	evaluation->margin[evaluation->rows] = margin;
	evaluation->label[evaluation->rows++] = learn_read_label(&evaluation->label_reader, label);
}

PG_FUNCTION_INFO_V1(salesops_evaluate_model);
/* (model, query, label) -> figures; NULL where undefined: no rows, or one class only */
Datum
salesops_evaluate_model(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	KernelEnv	env = kernel_env_pg(CurrentMemoryContext);
	Evaluation	evaluation = {{0}};
	LearnMetrics metrics;
	TupleDesc	desc;
	Datum		values[7];
	bool		nulls[7] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "evaluate_model must return a row");
	progress_start("evaluate_model", name);
	progress_phase("predicting", 0);
	learn_predict_query(learn_model_get(name, 0), text_to_cstring(PG_GETARG_TEXT_PP(1)), NameStr(*PG_GETARG_NAME(2)),
						put_evaluated, &evaluation, &evaluation.label_reader);
	metrics = learn_metrics(&env, evaluation.margin, evaluation.label, evaluation.rows);
	progress_end();
	values[0] = Int64GetDatum(metrics.rows);
	values[1] = Int64GetDatum(metrics.positives);
	values[2] = Float8GetDatum(metrics.roc_auc);
	values[3] = Float8GetDatum(metrics.log_loss);
	values[4] = Float8GetDatum(metrics.brier);
	values[5] = Float8GetDatum(metrics.ece);
	values[6] = Float8GetDatum(metrics.precision_at_10);
	for (int i = 2; i < 7; i++)
		nulls[i] = isnan(DatumGetFloat8(values[i]));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* ---- two versions on the same rows ---- */

typedef struct Comparison
{
	LoadedModel *loaded[2];
	FeatureMap *map[2];
	int			label_column;
	ValueReader label_reader;
	Evaluation	evaluation[2];
	MemoryContext scratch;
} Comparison;

/* A row of compare_versions: both versions' log odds. */
static void
compare_row(TupleTableSlot *slot, void *arg)
{
	Comparison *comparison = arg;
	double		margin[2];

	for (int i = 0; i < 2; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(comparison->scratch);

		margin[i] = learn_model_margin(comparison->loaded[i]->model,
									   learn_read_features(comparison->map[i], slot->tts_values, slot->tts_isnull));
		MemoryContextSwitchTo(old);
	}
	for (int i = 0; i < 2; i++)
		put_evaluated(slot->tts_values[comparison->label_column], slot->tts_isnull[comparison->label_column], margin[i],
					  &comparison->evaluation[i]);
	MemoryContextReset(comparison->scratch);
}

/* Both versions, ready for the query's rows. */
static void
open_comparison(Comparison *comparison, const char *model, const int *versions, const char *query, const char *label)
{
	TupleDesc	desc = spi_describe(query);

	comparison->label_column = row_column(desc, label);
	if (comparison->label_column < 0)
		no_such_column(desc, label);
	comparison->label_reader = value_reader(TupleDescAttr(desc, comparison->label_column)->atttypid, label);
	for (int i = 0; i < 2; i++)
	{
		comparison->loaded[i] = learn_model_get(model, versions[i]);
		learn_model_pin(comparison->loaded[i], CurrentMemoryContext);
		comparison->map[i] = learn_map_features(comparison->loaded[i]->model, model, desc);
		comparison->evaluation[i].label_reader = comparison->label_reader;
	}
}

/* Mean of the paired differences of log loss, and its standard error. */
static double
paired_gain(const Comparison *comparison, double *error)
{
	size_t		rows = comparison->evaluation[0].rows;
	double		sum = 0;
	double		squares = 0;

	for (size_t row = 0; row < rows; row++)
	{
		double		won = learn_log_loss_margin(comparison->evaluation[0].margin[row], comparison->evaluation[0].label[row]) -
			learn_log_loss_margin(comparison->evaluation[1].margin[row], comparison->evaluation[1].label[row]);

		sum += won;
		squares += won * won;
	}
	*error = rows > 1 ? sqrt(Max(squares / rows - (sum / rows) * (sum / rows), 0) / (rows - 1)) : NAN;
	return rows > 0 ? sum / rows : NAN;
}

PG_FUNCTION_INFO_V1(salesops_compare_versions);
/* (model, champion, challenger, query, label) -> figures of both and the paired gain */
Datum
salesops_compare_versions(PG_FUNCTION_ARGS)
{
	char	   *model = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *query = text_to_cstring(PG_GETARG_TEXT_PP(3));
	int			versions[2] = {PG_GETARG_INT32(1), PG_GETARG_INT32(2)};
	MemoryContext context = CurrentMemoryContext;
	KernelEnv	env = kernel_env_pg(context);
	Comparison *comparison = palloc0(sizeof(Comparison));
	LearnMetrics metrics[2];
	SpiScope	scope;
	TupleDesc	desc;
	Datum		values[8];
	bool		nulls[8] = {false};
	double		error;
	double		gain;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "compare_versions must return a row");
	spi_open(&scope, SPI_AS_CALLER);
	MemoryContextSwitchTo(context);
	comparison->scratch = AllocSetContextCreate(context, "salesops comparison", ALLOCSET_DEFAULT_SIZES);
	open_comparison(comparison, model, versions, query, NameStr(*PG_GETARG_NAME(4)));
	/* what the rows leave behind outlives SPI's own context */
	MemoryContextSwitchTo(context);
	spi_stream(query, 0, NULL, true, compare_row, comparison);
	spi_close(&scope);
	MemoryContextSwitchTo(context);
	for (int i = 0; i < 2; i++)
		metrics[i] = learn_metrics(&env, comparison->evaluation[i].margin, comparison->evaluation[i].label,
								   comparison->evaluation[i].rows);
	gain = paired_gain(comparison, &error);
	values[0] = Int64GetDatum(metrics[0].rows);
	values[1] = Float8GetDatum(metrics[0].log_loss);
	values[2] = Float8GetDatum(metrics[1].log_loss);
	values[3] = Float8GetDatum(metrics[0].roc_auc);
	values[4] = Float8GetDatum(metrics[1].roc_auc);
	values[5] = Float8GetDatum(gain);
	values[6] = Float8GetDatum(error);
	for (int i = 1; i < 7; i++)
		nulls[i] = isnan(DatumGetFloat8(values[i]));
	values[7] = CStringGetTextDatum(!(fabs(gain) > 2 * error) ? "no difference beyond noise" : gain > 0 ? "challenger" : "champion");
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
