/*
 * stages_pg.c
 *		Stages: define_stages() and the rules that follow from their order.
 *
 * The order does two things. Criteria add up along it: an open stage is bound by its own criteria and those of all open
 * stages before it, a won stage by those of all open stages and its own, a lost stage by its own only. And moves are
 * judged by it: what is a skip, what is a step back.
 */
#include "postgres.h"

#include <limits.h>
#include <math.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/snapmgr.h"

#include "core/compat.h"
#include "core/errors.h"
#include "core/options.h"
#include "core/spi.h"
#include "pipeline/pipeline_pg.h"

PG_FUNCTION_INFO_V1(salesops_define_stages);

static const char *const kind_names[] = {"open", "won", "lost", NULL};

/* One element of define_stages' list */
typedef struct StageInput
{
	char	   *stage;
	int32		ordinal;		/* INT_MIN: its place in the list */
	int			kind;
	double		probability;	/* NaN: by kind */
	int32		max_days;		/* 0: none */
	bool		create;
	bool		skip;
	bool		back;
	List	   *from;
	List	   *except;
} StageInput;

static const OptionSpec stage_specs[] = {
	{"stage", OPTION_TEXT, offsetof(StageInput, stage), .required = true},
	{"ordinal", OPTION_INTEGER, offsetof(StageInput, ordinal)},
	{"kind", OPTION_CHOICE, offsetof(StageInput, kind), .choices = kind_names},
	{"probability", OPTION_FLOAT, offsetof(StageInput, probability), .min = 0, .max = 1},
	{"max_days", OPTION_INTEGER, offsetof(StageInput, max_days), .min = 1, .max = 100000},
	{"create", OPTION_BOOLEAN, offsetof(StageInput, create)},
	{"skip", OPTION_BOOLEAN, offsetof(StageInput, skip)},
	{"back", OPTION_BOOLEAN, offsetof(StageInput, back)},
	{"from", OPTION_TEXT_LIST, offsetof(StageInput, from)},
	{"except", OPTION_TEXT_LIST, offsetof(StageInput, except)},
};

/* A text[] of a list of strings; SQL NULL for NIL */
static SpiArg
text_array_arg(const List *strings)
{
	return strings == NIL ? spi_datum(TEXTARRAYOID, (Datum) 0, true) : spi_text_list(strings);
}

/* The strings of a text[]; NULL elements are left out */
List *
pipeline_text_array(Datum array)
{
	Datum	   *values;
	bool	   *nulls;
	int			count;
	List	   *result = NIL;

	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &values, &nulls, &count);
	for (int i = 0; i < count; i++)
		if (!nulls[i])
			result = lappend(result, TextDatumGetCString(values[i]));
	return result;
}

/* Is the string in the list? */
static bool
contains(List *strings, const char *wanted)
{
	ListCell   *cell;

	foreach(cell, strings)
		if (strcmp((char *) lfirst(cell), wanted) == 0)
			return true;
	return false;
}

/* Parse one element; its mistakes go to problems. */
static StageInput *
parse_stage(Jsonb *element, int place, Problems *problems)
{
	StageInput *input = palloc0(sizeof(StageInput));
	char		where[40];

	*input = (StageInput) {.ordinal = INT_MIN, .probability = NAN, .create = true, .skip = true, .back = true};
	snprintf(where, sizeof(where), "stages[%d]", place);
	if (!JB_ROOT_IS_OBJECT(element))
		problems_add(problems, "%s: must be an object such as {\"stage\": \"new\", \"kind\": \"open\"}", where);
	else
		options_parse(element, stage_specs, lengthof(stage_specs), input, problems, where);
	if (input->ordinal == INT_MIN)
		input->ordinal = place;
	if (isnan(input->probability) && input->kind != STAGE_OPEN)
		input->probability = input->kind == STAGE_WON ? 1.0 : 0.0;
	if (input->stage && input->stage[0] == '\0')
		problems_add(problems, "%s: \"stage\" must not be empty", where);
	return input;
}

/* What can only be seen with all stages together: duplicates, order, names in "from". */
static void
check_stages(List *inputs, Problems *problems)
{
	List	   *names = NIL;
	bool		any_open = false;
	ListCell   *cell;
	ListCell   *other;

	foreach(cell, inputs)
	{
		StageInput *input = lfirst(cell);

		any_open |= input->kind == STAGE_OPEN;
		if (input->stage && contains(names, input->stage))
			problems_add(problems, "stage \"%s\" is there twice", input->stage);
		if (input->stage)
			names = lappend(names, input->stage);
		foreach(other, inputs)
		{
			StageInput *earlier = lfirst(other);

			if (earlier == input)
				break;
			if (earlier->ordinal == input->ordinal && earlier->kind == STAGE_OPEN && input->kind == STAGE_OPEN)
				problems_add(problems, "open stages \"%s\" and \"%s\" have the same ordinal %d",
							 earlier->stage ? earlier->stage : "", input->stage ? input->stage : "", input->ordinal);
		}
	}
	foreach(cell, inputs)
	{
		StageInput *input = lfirst(cell);

		foreach(other, input->from)
			if (!contains(names, (char *) lfirst(other)))
				problems_add(problems, "stage \"%s\": \"from\" names a stage \"%s\" that is not in the list",
							 input->stage ? input->stage : "", (char *) lfirst(other));
	}
	if (!any_open)
		problems_add(problems, "there is no stage of kind \"open\"");
}

/* Stages that go while criteria still name them */
static void
check_used_stages(const char *pipeline, List *names, Problems *problems)
{
	SpiArg		args[] = {spi_text(pipeline), text_array_arg(names)};
	uint64		rows = spi_execute(SPI_OK_SELECT,
								   "SELECT DISTINCT c.stage, c.criterion, c.relation::pg_catalog.text"
								   " FROM salesops.criterion c JOIN salesops.criteria_relation r USING (relation)"
								   " WHERE r.pipeline OPERATOR(pg_catalog.=) $1"
								   " AND c.stage OPERATOR(pg_catalog.<>) ALL ($2) ORDER BY 1, 2", 2, args);

	for (uint64 i = 0; i < rows; i++)
		problems_add(problems, "stage \"%s\" has gone, but criterion \"%s\" on %s is about it",
					 spi_get_text(i, 1), spi_get_text(i, 2), spi_get_text(i, 3));
}

/* Names of the list, for the check above and for the deletion */
static List *
input_names(List *inputs)
{
	List	   *names = NIL;
	ListCell   *cell;

	foreach(cell, inputs)
	{
		StageInput *input = lfirst(cell);

		if (input->stage)
			names = lappend(names, input->stage);
	}
	return names;
}

/* Replace the pipeline's rows. */
static void
store_stages(const char *pipeline, List *inputs, List *names)
{
	ListCell   *cell;
	SpiArg		removal[] = {spi_text(pipeline), text_array_arg(names)};

	(void) spi_execute(SPI_OK_DELETE,
					   "DELETE FROM salesops.stage s WHERE s.pipeline OPERATOR(pg_catalog.=) $1"
					   " AND s.stage OPERATOR(pg_catalog.<>) ALL ($2)", 2, removal);
	foreach(cell, inputs)
	{
		StageInput *input = lfirst(cell);
		SpiArg		args[] = {
			spi_text(pipeline), spi_text(input->stage), spi_int4(input->ordinal), spi_text(kind_names[input->kind]),
			isnan(input->probability) ? spi_datum(FLOAT8OID, (Datum) 0, true) : spi_float8(input->probability),
			spi_datum(INT4OID, Int32GetDatum(input->max_days), input->max_days == 0),
			spi_bool(input->create), spi_bool(input->skip), spi_bool(input->back),
			text_array_arg(input->from), text_array_arg(input->except)
		};

		(void) spi_execute(SPI_OK_INSERT,
						   "INSERT INTO salesops.stage AS s (pipeline, stage, ordinal, kind, probability, max_days,"
						   " may_create, may_skip, may_go_back, enters_from, except_roles)"
						   " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
						   " ON CONFLICT (pipeline, stage) DO UPDATE SET (ordinal, kind, probability, max_days,"
						   " may_create, may_skip, may_go_back, enters_from, except_roles)"
						   " = ($3, $4, $5, $6, $7, $8, $9, $10, $11)", lengthof(args), args);
	}
}

/*
 * define_stages(pipeline text, stages jsonb) -> integer
 *
 * Sets the stages of a pipeline and answers how many there are. Everything wrong is listed in one error (22023) and
 * nothing is changed. Stages left out of the list go, unless a criterion is about them. Enforced relations follow at once,
 * in all sessions.
 */
Datum
salesops_define_stages(PG_FUNCTION_ARGS)
{
	char	   *pipeline = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Jsonb	   *stages = PG_GETARG_JSONB_P(1);
	Problems	problems;
	SpiScope	scope;
	List	   *inputs = NIL;
	List	   *names;
	ListCell   *cell;

	problems_init(&problems);
	if (!JB_ROOT_IS_ARRAY(stages) || JB_ROOT_IS_SCALAR(stages))
		problems_add(&problems, "stages must be a list of objects");
	else
	{
		foreach(cell, jsonb_elements(stages))
			inputs = lappend(inputs, parse_stage(lfirst(cell), list_length(inputs) + 1, &problems));
		check_stages(inputs, &problems);
	}
	names = input_names(inputs);
	spi_open(&scope, SPI_AS_OWNER);
	if (problems.count == 0)
		check_used_stages(pipeline, names, &problems);
	problems_raise(&problems, ERRCODE_INVALID_PARAMETER_VALUE,
				   "Give a list such as [{\"stage\": \"new\", \"ordinal\": 1, \"kind\": \"open\"}, {\"stage\": \"won\", \"ordinal\": 2, \"kind\": \"won\"}].",
				   "invalid stages of pipeline \"%s\"", pipeline);
	(void) spi_execute(SPI_OK_UTILITY, "LOCK TABLE salesops.stage IN SHARE ROW EXCLUSIVE MODE", 0, NULL);
	store_stages(pipeline, inputs, names);
	spi_close(&scope);
	pipeline_rebuild(pipeline);
	PG_RETURN_INT32(list_length(inputs));
}

/* kind of its name */
static StageKind
kind_of(const char *name)
{
	for (int i = 0; kind_names[i] != NULL; i++)
		if (strcmp(kind_names[i], name) == 0)
			return (StageKind) i;
	elog(ERROR, "unexpected kind of stage \"%s\"", name);
}

/* A row of the query below, added to the list */
static void
collect_stage(TupleTableSlot *slot, void *arg)
{
	List	  **stages = arg;
	Stage	   *stage = palloc0(sizeof(Stage));

	stage->name = TextDatumGetCString(slot->tts_values[0]);
	stage->ordinal = DatumGetInt32(slot->tts_values[1]);
	stage->kind = kind_of(TextDatumGetCString(slot->tts_values[2]));
	stage->may_create = DatumGetBool(slot->tts_values[3]);
	stage->may_skip = DatumGetBool(slot->tts_values[4]);
	stage->may_go_back = DatumGetBool(slot->tts_values[5]);
	stage->any_source = slot->tts_isnull[6];
	if (!stage->any_source)
		stage->enters_from = pipeline_text_array(slot->tts_values[6]);
	if (!slot->tts_isnull[7])
		stage->except_roles = pipeline_text_array(slot->tts_values[7]);
	*stages = lappend(*stages, stage);
}

/*
 * The stages of a pipeline in order. Call it inside an SPI scope of the owner; the result lives in the memory context
 * that is current. Reads by the latest snapshot, like the definition of the triggers that it must agree with.
 */
List *
pipeline_stages(const char *pipeline)
{
	SpiArg		args[] = {spi_text(pipeline)};
	List	   *result = NIL;

	PushActiveSnapshot(GetLatestSnapshot());
	(void) spi_stream("SELECT s.stage, s.ordinal, s.kind, s.may_create, s.may_skip, s.may_go_back,"
					  " s.enters_from, s.except_roles FROM salesops.stage s"
					  " WHERE s.pipeline OPERATOR(pg_catalog.=) $1 ORDER BY s.ordinal, s.stage",
					  1, args, true, collect_stage, &result);
	PopActiveSnapshot();
	return result;
}

/* The stage of a name, or NULL */
Stage *
pipeline_find_stage(List *stages, const char *name)
{
	ListCell   *cell;

	foreach(cell, stages)
		if (strcmp(((Stage *) lfirst(cell))->name, name) == 0)
			return lfirst(cell);
	return NULL;
}

/* Criteria add up over the open stages by ordinal; won is held to all of those; lost to its own only. */
bool
pipeline_stage_binds(const Stage *criterion_stage, const Stage *deal_stage)
{
	if (strcmp(criterion_stage->name, deal_stage->name) == 0)
		return true;
	if (criterion_stage->kind != STAGE_OPEN || deal_stage->kind == STAGE_LOST)
		return false;
	return deal_stage->kind == STAGE_WON || criterion_stage->ordinal <= deal_stage->ordinal;
}

/* Is an open stage strictly between the two? */
static bool
skips_stage(List *stages, const Stage *from, const Stage *to)
{
	ListCell   *cell;

	if (from->kind != STAGE_OPEN || to->kind == STAGE_LOST)
		return false;
	foreach(cell, stages)
	{
		Stage	   *between = lfirst(cell);

		if (between->kind == STAGE_OPEN && between->ordinal > from->ordinal &&
			(to->kind == STAGE_WON || between->ordinal < to->ordinal))
			return true;
	}
	return false;
}

/* Judge a move by the rules of the stage that is entered. Reopening a closed deal is a step back. */
bool
pipeline_move_allowed(List *stages, const Stage *from, const Stage *to, const char **why)
{
	bool		back = from->kind != STAGE_OPEN ? to->kind == STAGE_OPEN : to->kind == STAGE_OPEN && to->ordinal < from->ordinal;

	*why = NULL;
	if (!to->any_source && !contains(to->enters_from, from->name))
		*why = "it may not be entered from there";
	else if (!to->may_go_back && back)
		*why = "a deal may not go back to it";
	else if (!to->may_skip && skips_stage(stages, from, to))
		*why = "stages in between may not be skipped";
	return *why == NULL;
}
