/*
 * apply_pg.c
 *		apply_hygiene() and revert_hygiene(): findings turned into changes of the user's deals, recorded and reversible.
 *
 * The user's table is read and written as the caller: privileges, row-level security, triggers and stage criteria hold.
 * What was changed is kept in hygiene_action, old value and new, and a change is taken back only where the new value
 * still stands.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "core/compat.h"
#include "core/errors.h"
#include "core/options.h"
#include "core/relation.h"
#include "core/spi.h"
#include "pipeline/pipeline_pg.h"

PG_FUNCTION_INFO_V1(salesops_apply_hygiene);
PG_FUNCTION_INFO_V1(salesops_revert_hygiene);

typedef enum ActionKind
{
	ACTION_FLAG,
	ACTION_CLOSE,
	ACTION_SET
} ActionKind;

static const char *const action_names[] = {"flag", "close", "set", NULL};

/* What to do about the findings of one rule */
typedef struct Action
{
	char	   *rule;
	int			kind;
	char	   *stage;			/* close: NULL for the pipeline's first lost stage */
	char	   *column;			/* set: a contract column */
	char	   *value;			/* set: NULL empties it */
	char	   *source_column;	/* of the user's relation */
} Action;

static const OptionSpec action_specs[] = {
	{"rule", OPTION_TEXT, offsetof(Action, rule), .required = true},
	{"action", OPTION_CHOICE, offsetof(Action, kind), .required = true, .choices = action_names},
	{"stage", OPTION_TEXT, offsetof(Action, stage)},
	{"column", OPTION_TEXT, offsetof(Action, column)},
	{"value", OPTION_TEXT, offsetof(Action, value)},
};

/* A finding to act on */
typedef struct Finding
{
	char	   *opportunity_id;
	char	   *rule;
} Finding;

/* The user's relation behind opportunity */
typedef struct Target
{
	Oid			relid;
	char	   *name;
	char	   *key;			/* quoted */
	char	   *key_type;
} Target;

/* The attached relation; error where there is none */
static Target
find_target(void)
{
	Target		target = {.relid = contract_relation("opportunity")};
	char	   *key;

	if (!OidIsValid(target.relid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no relation is attached as opportunity"),
				 errhint("SELECT * FROM salesops.attach('opportunity', 'your table', '{...}').")));
	key = contract_source_column("opportunity", "opportunity_id");
	target.name = relation_sql_name(target.relid);
	target.key = pstrdup(quote_identifier(key));
	target.key_type = format_type_be_qualified(get_atttype(target.relid, get_attnum(target.relid, key)));
	return target;
}

/* Names of one text column of a query, run as the owner */
static List *
names_of(const char *sql)
{
	SpiScope	scope;
	MemoryContext context = CurrentMemoryContext;
	List	   *names = NIL;
	uint64		rows;

	spi_open(&scope, SPI_AS_OWNER);
	rows = spi_execute(SPI_OK_SELECT, sql, 0, NULL);
	for (uint64 i = 0; i < rows; i++)
	{
		char	   *name = spi_get_text(i, 1);

		MemoryContextSwitchTo(context);
		names = lappend(names, pstrdup(name));
	}
	spi_close(&scope);
	MemoryContextSwitchTo(context);
	return names;
}

/* Is the name in the list? */
static bool
is_name(List *names, const char *wanted)
{
	ListCell   *cell;

	foreach(cell, names)
		if (strcmp((char *) lfirst(cell), wanted) == 0)
			return true;
	return false;
}

/* What an action needs besides its name: a rule that exists, the stage to close in, the column to set */
static void
complete_action(Action *action, List *rules, List *lost, Problems *problems)
{
	const char *column = action->kind == ACTION_CLOSE ? "stage" : action->column;

	if (action->rule == NULL)
		return;
	if (!is_name(rules, action->rule))
		problems_add(problems, "rule \"%s\" does not exist", action->rule);
	if (action->kind == ACTION_FLAG)
		return;
	if (action->kind == ACTION_CLOSE)
	{
		action->value = action->stage ? action->stage : lost != NIL ? linitial(lost) : NULL;
		if (action->value == NULL || !is_name(lost, action->value))
			problems_add(problems, "%s: \"stage\" must be a lost stage of the pipeline", action->rule);
	}
	if (column == NULL)
		problems_add(problems, "%s: \"set\" needs a \"column\"", action->rule);
	else if ((action->source_column = contract_source_column("opportunity", column)) == NULL)
		problems_add(problems, "%s: no column of yours stands behind \"%s\"", action->rule, column);
}

/* {"stale": "flag", ...}: the short form, for actions that need nothing more */
static List *
parse_short(Jsonb *json, Problems *problems)
{
	JsonbIterator *iterator = JsonbIteratorInit(&json->root);
	JsonbValue	value;
	List	   *actions = NIL;
	JsonbIteratorToken token;

	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		Action	   *action;

		if (token != WJB_KEY)
			continue;
		action = palloc0(sizeof(Action));
		action->rule = pnstrdup(value.val.string.val, value.val.string.len);
		(void) JsonbIteratorNext(&iterator, &value, true);
		if (value.type == jbvString && value.val.string.len == 4 && strncmp(value.val.string.val, "flag", 4) == 0)
			action->kind = ACTION_FLAG;
		else if (value.type == jbvString && value.val.string.len == 5 && strncmp(value.val.string.val, "close", 5) == 0)
			action->kind = ACTION_CLOSE;
		else
			problems_add(problems, "%s: must be \"flag\" or \"close\"; give a list of objects for more", action->rule);
		actions = lappend(actions, action);
	}
	return actions;
}

/* [{"rule": ..., "action": ...}, ...] or the short form; all that is wrong in one error */
static List *
parse_actions(Jsonb *json)
{
	List	   *rules = names_of("SELECT r.rule FROM salesops.hygiene_rule r ORDER BY 1");
	List	   *lost = names_of("SELECT p.stage FROM salesops.pipeline_stage p WHERE p.kind = 'lost' ORDER BY p.ordinal");
	List	   *actions = NIL;
	Problems	problems;
	ListCell   *cell;

	problems_init(&problems);
	if (JB_ROOT_IS_OBJECT(json))
		actions = parse_short(json, &problems);
	else if (JB_ROOT_IS_ARRAY(json) && !JB_ROOT_IS_SCALAR(json))
		foreach(cell, jsonb_elements(json))
		{
			Action	   *action = palloc0(sizeof(Action));

			options_parse(lfirst(cell), action_specs, lengthof(action_specs), action, &problems,
						  psprintf("actions[%d]", list_length(actions) + 1));
			actions = lappend(actions, action);
		}
	else
		problems_add(&problems, "actions must be a list of objects, or an object of rules and actions");
	foreach(cell, actions)
		complete_action(lfirst(cell), rules, lost, &problems);
	problems_raise(&problems, ERRCODE_INVALID_PARAMETER_VALUE,
				   "For example {\"stale\": \"flag\"}, or [{\"rule\": \"stale\", \"action\": \"close\", \"stage\": \"lost\"}, {\"rule\": \"no_next_step\", \"action\": \"set\", \"column\": \"next_step\", \"value\": \"call\"}].",
				   "invalid hygiene actions");
	return actions;
}

/* The action for a rule, or NULL */
static Action *
find_action(List *actions, const char *rule)
{
	ListCell   *cell;

	foreach(cell, actions)
		if (strcmp(((Action *) lfirst(cell))->rule, rule) == 0)
			return lfirst(cell);
	return NULL;
}

/* One row of find_hygiene */
static void
collect_finding(TupleTableSlot *slot, void *arg)
{
	List	  **findings = arg;
	Finding    *finding = palloc(sizeof(Finding));

	finding->opportunity_id = TextDatumGetCString(slot->tts_values[0]);
	finding->rule = TextDatumGetCString(slot->tts_values[1]);
	*findings = lappend(*findings, finding);
}

/* Findings as the caller sees them, in a fixed order */
static List *
find_findings(TimestampTz as_of)
{
	SpiScope	scope;
	MemoryContext context = CurrentMemoryContext;
	List	   *findings = NIL;
	SpiArg		args[] = {spi_timestamptz(as_of)};

	spi_open(&scope, SPI_AS_CALLER);
	MemoryContextSwitchTo(context);
	(void) spi_stream("SELECT h.opportunity_id, h.rule FROM salesops.find_hygiene($1) h"
					  " ORDER BY h.opportunity_id COLLATE pg_catalog.\"C\", h.points DESC, h.rule COLLATE pg_catalog.\"C\"",
					  1, args, true, collect_finding, &findings);
	spi_close(&scope);
	MemoryContextSwitchTo(context);
	return findings;
}

/* Type of a column, for casts of parameters */
static char *
column_type(const Target *target, const char *column)
{
	return format_type_be_qualified(get_atttype(target->relid, relation_require_column(target->relid, column)));
}

/* What stands in the column now, locked until the transaction ends; false where the row is not there for the caller */
static bool
lock_value(const Target *target, const char *column, const char *key, char **value)
{
	SpiScope	scope;
	MemoryContext context = CurrentMemoryContext;
	bool		found;
	char	   *text;

	spi_open(&scope, SPI_AS_CALLER);
	found = spi_execute(SPI_OK_SELECT,
						psprintf("SELECT x.%s::pg_catalog.text FROM %s x WHERE x.%s OPERATOR(pg_catalog.=) $1::%s FOR UPDATE",
								 quote_identifier(column), target->name, target->key, target->key_type),
						1, (SpiArg[]) {spi_text(key)}) > 0;
	text = found ? spi_get_text(0, 1) : NULL;
	*value = text ? MemoryContextStrdup(context, text) : NULL;
	spi_close(&scope);
	return found;
}

/* Write the column, as the caller: triggers and criteria have their say. False where no row was written */
static bool
write_value(const Target *target, const char *column, const char *key, const char *value)
{
	SpiScope	scope;
	uint64		rows;

	spi_open(&scope, SPI_AS_CALLER);
	rows = spi_execute(SPI_OK_UPDATE,
					   psprintf("UPDATE %s AS x SET %s = $2::%s WHERE x.%s OPERATOR(pg_catalog.=) $1::%s",
								target->name, quote_identifier(column), column_type(target, column), target->key, target->key_type),
					   2, (SpiArg[]) {spi_text(key), spi_text(value)});
	spi_close(&scope);
	return rows > 0;
}

/* A number for this call's actions */
static int64
next_run(void)
{
	SpiScope	scope;
	int64		run;

	spi_open(&scope, SPI_AS_OWNER);
	(void) spi_execute(SPI_OK_SELECT, "SELECT pg_catalog.nextval('salesops.hygiene_run')", 0, NULL);
	run = spi_get_int8(0, 1);
	spi_close(&scope);
	return run;
}

/* Keep what was done. */
static void
record_action(int64 run, const Target *target, const Finding *finding, const Action *action, const char *old)
{
	SpiScope	scope;
	SpiArg		args[] = {
		spi_int8(run), spi_oid(target->relid), spi_text(finding->opportunity_id), spi_text(finding->rule),
		spi_text(action_names[action->kind]), spi_name(action->source_column), spi_text(old), spi_text(action->value),
		spi_name(GetUserNameFromId(GetUserId(), false))
	};

	spi_open(&scope, SPI_AS_OWNER);
	(void) spi_execute(SPI_OK_INSERT,
					   "INSERT INTO salesops.hygiene_action (run_id, relation, opportunity_id, rule, action, column_name, old_value, new_value, done_by)"
					   " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)", lengthof(args), args);
	spi_close(&scope);
}

/* One row of the answer */
static void
put_action(ReturnSetInfo *result, int64 run, const Finding *finding, const Action *action, const char *old, bool done)
{
	const char *texts[] = {finding->opportunity_id, finding->rule, action_names[action->kind], action->source_column, old, action->value};
	Datum		values[8];
	bool		nulls[8] = {false};

	values[0] = Int64GetDatum(run);
	nulls[0] = run == 0;
	for (int i = 0; i < 6; i++)
	{
		nulls[i + 1] = texts[i] == NULL;
		values[i + 1] = texts[i] ? CStringGetTextDatum(texts[i]) : (Datum) 0;
	}
	values[7] = BoolGetDatum(done);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/*
 * apply_hygiene(actions, dry_run, as_of) -> setof (run_id, opportunity_id, rule, action, column_name, old_value, new_value, done)
 *
 * A deal is changed once only: its finding of most points decides; flags are all set. With dry_run nothing is written.
 * Errors: 22023 with everything that is wrong with the actions, 55000 nothing attached, and whatever the user's table,
 * its triggers and its criteria have against the change.
 */
Datum
salesops_apply_hygiene(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	bool		dry_run = PG_GETARG_BOOL(1);
	Target		target;
	List	   *actions;
	int64		run;
	const char *changed = NULL;
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, 0);
	target = find_target();
	actions = parse_actions(PG_GETARG_JSONB_P(0));
	run = dry_run ? 0 : next_run();
	foreach(cell, find_findings(PG_GETARG_TIMESTAMPTZ(2)))
	{
		Finding    *finding = lfirst(cell);
		Action	   *action = find_action(actions, finding->rule);
		char	   *old = NULL;
		bool		done = !dry_run;

		CHECK_FOR_INTERRUPTS();
		if (action == NULL)
			continue;
		if (action->kind != ACTION_FLAG)
		{
			if (changed && strcmp(changed, finding->opportunity_id) == 0)
				continue;
			changed = finding->opportunity_id;
			if (!lock_value(&target, action->source_column, finding->opportunity_id, &old))
				continue;
			done = !dry_run && write_value(&target, action->source_column, finding->opportunity_id, action->value);
		}
		if (done)
			record_action(run, &target, finding, action, old);
		put_action(result, run, finding, action, old, done);
	}
	return (Datum) 0;
}

/* A change to take back */
typedef struct Done
{
	int64		id;
	Finding		finding;
	Action		action;
	char	   *old;
} Done;

/* One row of hygiene_action */
static void
collect_done(TupleTableSlot *slot, void *arg)
{
	List	  **list = arg;
	Done	   *done = palloc0(sizeof(Done));

	done->id = DatumGetInt64(slot->tts_values[0]);
	done->finding.opportunity_id = TextDatumGetCString(slot->tts_values[1]);
	done->action.source_column = slot->tts_isnull[2] ? NULL : TextDatumGetCString(slot->tts_values[2]);
	done->old = slot->tts_isnull[3] ? NULL : TextDatumGetCString(slot->tts_values[3]);
	done->action.value = slot->tts_isnull[4] ? NULL : TextDatumGetCString(slot->tts_values[4]);
	*list = lappend(*list, done);
}

/* The run's actions on the relation that is attached now, not taken back yet */
static List *
actions_of_run(int64 run, Oid relid)
{
	List	   *list = NIL;
	SpiArg		args[] = {spi_int8(run), spi_oid(relid)};

	(void) spi_stream_as_owner("SELECT a.action_id, a.opportunity_id, a.column_name::text, a.old_value, a.new_value FROM salesops.hygiene_action a"
							   " WHERE a.run_id = $1 AND a.relation = $2 AND a.reverted_at IS NULL ORDER BY 1 DESC",
							   2, args, false, collect_done, &list);
	return list;
}

/* Take one action back; false where somebody has changed the value since, or the row has gone. */
static bool
revert(const Target *target, const Done *done)
{
	char	   *now = NULL;

	if (done->action.source_column == NULL)
		return true;			/* a flag: nothing was written to the deal */
	if (!lock_value(target, done->action.source_column, done->finding.opportunity_id, &now))
		return false;
	if (now == NULL || done->action.value == NULL ? now != done->action.value : strcmp(now, done->action.value) != 0)
		return false;
	return write_value(target, done->action.source_column, done->finding.opportunity_id, done->old);
}

/* revert_hygiene(run_id) -> bigint: how many actions were taken back; the others are no longer as they were left */
Datum
salesops_revert_hygiene(PG_FUNCTION_ARGS)
{
	Target		target = find_target();
	int64		count = 0;
	ListCell   *cell;

	foreach(cell, actions_of_run(PG_GETARG_INT64(0), target.relid))
	{
		Done	   *done = lfirst(cell);
		SpiScope	scope;

		CHECK_FOR_INTERRUPTS();
		if (!revert(&target, done))
			continue;
		spi_open(&scope, SPI_AS_OWNER);
		(void) spi_execute(SPI_OK_UPDATE, "UPDATE salesops.hygiene_action a SET reverted_at = now() WHERE a.action_id = $1",
						   1, (SpiArg[]) {spi_int8(done->id)});
		spi_close(&scope);
		count++;
	}
	PG_RETURN_INT64(count);
}
