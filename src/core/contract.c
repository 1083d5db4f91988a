/*
 * contract.c
 *		attach and detach: the user's tables seen through views of fixed columns (design 4).
 *
 * Each contract view salesops.ENTITY reads from salesops.ENTITY_rows(), an SQL function with a string body that this file
 * writes: the planner inlines it, the caller's privileges and row-level security hold, and no dependency on the user's
 * table is recorded, so that DROP TABLE … CASCADE never reaches the extension.
 *
 * salesops.source holds the mapping. A row trigger on it (source_changed) rewrites the function, so attach, detach, pg_restore
 * and the event triggers all work by changing that table. Column names are kept for dump and restore, attribute
 * numbers to follow renames: names lead on INSERT, numbers lead after an ALTER.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/event_trigger.h"
#include "commands/trigger.h"
#include "funcapi.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "core/errors.h"
#include "core/options.h"
#include "core/relation.h"
#include "core/spi.h"

PG_FUNCTION_INFO_V1(salesops_attach);
PG_FUNCTION_INFO_V1(salesops_detach);
PG_FUNCTION_INFO_V1(salesops_source_changed);
PG_FUNCTION_INFO_V1(salesops_missing_source);
PG_FUNCTION_INFO_V1(salesops_rebuild_contract);
PG_FUNCTION_INFO_V1(salesops_follow_ddl);
PG_FUNCTION_INFO_V1(salesops_follow_drop);

typedef struct Entity
{
	const char *name;
	const char *required[4];	/* NULL-terminated */
	const char *unattached;		/* query of the view while nothing is attached; NULL: no rows */
} Entity;

static const Entity entities[] = {
	{"lead", {"lead_id", "created_at"}, NULL},
	{"contact", {"contact_id"}, NULL},
	{"account", {"account_id", "name"}, NULL},
	{"opportunity", {"opportunity_id", "stage"}, NULL},
	{"opportunity_stage_change", {"opportunity_id", "stage", "entered_at"}, NULL},
	{"activity", {"activity_id", "kind", "occurred_at"}, NULL},
	{"sales_rep", {"rep_id"}, NULL},
	/* credits are the won opportunities unless the user says otherwise (design 10) */
	{"commission_credit", {"credit_id", "rep_id", "amount"},
		"SELECT o.opportunity_id, o.owner_id, o.amount, o.closed_at::pg_catalog.date, o.opportunity_id, o.currency, "
		"NULL::pg_catalog.text, o.type, NULL::pg_catalog.numeric, NULL::pg_catalog.text, 'booking'::pg_catalog.text, NULL::pg_catalog.jsonb "
		"FROM salesops.opportunity o "
	"WHERE o.stage OPERATOR(pg_catalog.=) ANY (SELECT g.stage FROM salesops.stage g WHERE g.kind OPERATOR(pg_catalog.=) 'won')"},
};

typedef struct Contract
{
	const Entity *entity;
	Oid			function;
	int			ncolumns;
	char	  **names;
	Oid		   *types;
} Contract;

/* The function behind an entity's view, by its fixed name. */
static Oid
contract_function(const char *entity)
{
	char	   *name = psprintf("%s_rows", entity);

	return GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum(name),
						   PointerGetDatum(buildoidvector(NULL, 0)),
						   ObjectIdGetDatum(get_namespace_oid("salesops", false)));
}

/* Load an entity's columns from the function's result columns: the install script is their one definition. */
static void
contract_load(Contract *contract, const Entity *entity)
{
	HeapTuple	tuple;
	Oid		   *types;
	char	  **names;
	char	   *modes;
	int			count;

	contract->entity = entity;
	contract->function = contract_function(entity->name);
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(contract->function));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "function salesops.%s_rows() is missing", entity->name);
	count = get_func_arg_info(tuple, &types, &names, &modes);
	contract->names = palloc(sizeof(char *) * count);
	contract->types = palloc(sizeof(Oid) * count);
	contract->ncolumns = 0;
	for (int i = 0; i < count; i++)
	{
		if (modes[i] != PROARGMODE_TABLE)
			continue;
		contract->names[contract->ncolumns] = names[i];
		contract->types[contract->ncolumns++] = types[i];
	}
	ReleaseSysCache(tuple);
}

/* The entity of a name, or NULL. */
static const Entity *
find_entity(const char *name)
{
	for (size_t i = 0; i < lengthof(entities); i++)
		if (strcmp(entities[i].name, name) == 0)
			return &entities[i];
	return NULL;
}

/* The entity of a name, or an error that lists them. */
static const Entity *
require_entity(const char *name)
{
	const Entity *entity = find_entity(name);
	StringInfoData list;

	if (entity != NULL)
		return entity;
	initStringInfo(&list);
	for (size_t i = 0; i < lengthof(entities); i++)
		append_choice(&list, entities[i].name);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("entity \"%s\" does not exist", name),
			 errhint("The entities are: %s.", list.data)));
}

/* Whether a contract column must be mapped. */
static bool
is_required(const Entity *entity, const char *column)
{
	for (int i = 0; i < 4 && entity->required[i] != NULL; i++)
		if (strcmp(entity->required[i], column) == 0)
			return true;
	return false;
}

/* Index of a contract column, or -1 */
static int
contract_column(const Contract *contract, const char *name)
{
	for (int i = 0; i < contract->ncolumns; i++)
		if (strcmp(contract->names[i], name) == 0)
			return i;
	return -1;
}

/* a, b, c of a contract, for hints */
static char *
contract_column_list(const Contract *contract)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < contract->ncolumns; i++)
		append_choice(&list, contract->names[i]);
	return list.data;
}

/* The string value of a key of a flat object, or NULL; other JSON types are the caller's to have refused. */
static char *
mapping_get(Jsonb *mapping, const char *key)
{
	JsonbValue	buffer;
	JsonbValue *value = getKeyJsonValueFromContainer(&mapping->root, key, strlen(key), &buffer);

	if (value == NULL || value->type != jbvString)
		return NULL;
	return pnstrdup(value->val.string.val, value->val.string.len);
}

/* The body that reads the user's relation through the mapping. */
static char *
attached_body(const Contract *contract, Oid relid, Jsonb *mapping)
{
	StringInfoData body;

	initStringInfo(&body);
	appendStringInfoString(&body, "SELECT ");
	for (int i = 0; i < contract->ncolumns; i++)
	{
		char	   *source = mapping_get(mapping, contract->names[i]);
		AttrNumber	number = source ? get_attnum(relid, source) : InvalidAttrNumber;
		char	   *type = format_type_extended(contract->types[i], -1, FORMAT_TYPE_FORCE_QUALIFY);

		if (i > 0)
			appendStringInfoString(&body, ", ");
		if (number == InvalidAttrNumber)
			appendStringInfo(&body, "NULL::%s", type);
		else if (get_atttype(relid, number) == contract->types[i])
			appendStringInfo(&body, "s.%s", quote_identifier(source));
		else
			appendStringInfo(&body, "s.%s::%s", quote_identifier(source), type);
	}
	appendStringInfo(&body, " FROM %s s", relation_sql_name(relid));
	return body.data;
}

/* The body of a view without a relation: its own default query, or no rows. */
static char *
unattached_body(const Contract *contract)
{
	StringInfoData body;

	if (contract->entity->unattached != NULL)
		return pstrdup(contract->entity->unattached);
	initStringInfo(&body);
	appendStringInfoString(&body, "SELECT ");
	for (int i = 0; i < contract->ncolumns; i++)
		appendStringInfo(&body, "%sNULL::%s", i > 0 ? ", " : "",
						 format_type_extended(contract->types[i], -1, FORMAT_TYPE_FORCE_QUALIFY));
	appendStringInfoString(&body, " WHERE false");
	return body.data;
}

/* The body of a view whose relation, or a required column of it, has gone: reading it says what to do. */
static char *
missing_body(const Contract *contract, const char *what)
{
	StringInfoData body;

	initStringInfo(&body);
	appendStringInfoString(&body, "SELECT ");
	for (int i = 0; i < contract->ncolumns; i++)
		appendStringInfo(&body, "%sNULL::%s", i > 0 ? ", " : "",
						 format_type_extended(contract->types[i], -1, FORMAT_TYPE_FORCE_QUALIFY));
	appendStringInfo(&body, " WHERE salesops.missing_source(%s, %s)",
					 sql_literal(contract->entity->name), sql_literal(what));
	return body.data;
}

/* Replace the function's body; the caller is inside SPI_AS_OWNER. */
static void
replace_body(const Contract *contract, const char *body)
{
	SpiArg		args[] = {spi_datum(OIDOID, ObjectIdGetDatum(contract->function), false)};
	char	   *result;

	(void) spi_execute(SPI_OK_SELECT, "SELECT pg_catalog.pg_get_function_result($1)", 1, args);
	result = spi_get_text(0, 1);
	(void) spi_execute(SPI_OK_UTILITY,
					   psprintf("CREATE OR REPLACE FUNCTION salesops.%s_rows() RETURNS %s LANGUAGE sql STABLE PARALLEL SAFE "
								"ROWS 1000 AS %s",
								contract->entity->name, result, sql_literal(body)), 0, NULL);
}

/* The first required column that the mapping lacks, or NULL. */
static const char *
missing_required(const Contract *contract, Oid relid, Jsonb *mapping)
{
	for (int i = 0; i < contract->ncolumns; i++)
	{
		char	   *source = mapping_get(mapping, contract->names[i]);

		if (is_required(contract->entity, contract->names[i]) &&
			(source == NULL || get_attnum(relid, source) == InvalidAttrNumber))
			return contract->names[i];
	}
	return NULL;
}

/* Write the function of an entity as its row in salesops.source says; inside SPI_AS_OWNER. */
static void
rewrite_entity(const Entity *entity, Oid relid, Jsonb *mapping)
{
	Contract	contract;
	const char *missing;

	contract_load(&contract, entity);
	if (!OidIsValid(relid))
		replace_body(&contract, unattached_body(&contract));
	else if (get_rel_name(relid) == NULL)
		replace_body(&contract, missing_body(&contract, "its relation has been dropped"));
	else if ((missing = missing_required(&contract, relid, mapping)) != NULL)
		replace_body(&contract, missing_body(&contract,
											 psprintf("the column mapped to %s has been dropped from %s",
													  missing, relation_sql_name(relid))));
	else
		replace_body(&contract, attached_body(&contract, relid, mapping));
}

/* Problems of one pair given by the user: the contract column, the source column, the cast between them. */
static void
check_pair(const Contract *contract, Oid relid, const char *column, const char *source, Problems *problems)
{
	int			index = contract_column(contract, column);
	AttrNumber	number = get_attnum(relid, source);
	Oid			type;
	Oid			function;

	if (index < 0)
		problems_add(problems, "\"%s\" is no column of entity %s, which has: %s",
					 column, contract->entity->name, contract_column_list(contract));
	if (number == InvalidAttrNumber)
		problems_add(problems, "column \"%s\" (for %s) does not exist in %s, which has: %s",
					 source, column, relation_sql_name(relid), relation_column_list(relid));
	if (index < 0 || number == InvalidAttrNumber)
		return;
	type = get_atttype(relid, number);
	if (type != contract->types[index] &&
		find_coercion_pathway(contract->types[index], type, COERCION_EXPLICIT, &function) == COERCION_PATH_NONE)
		problems_add(problems, "column \"%s\" of type %s does not cast to %s, the type of %s",
					 source, format_type_be(type), format_type_be(contract->types[index]), column);
}

/* The pairs that the user gave, checked, into a mapping under construction. */
static void
check_given(const Contract *contract, Oid relid, Jsonb *given, Problems *problems)
{
	JsonbIterator *iterator = JsonbIteratorInit(&given->root);
	JsonbValue	value;
	JsonbIteratorToken token;
	char	   *key = NULL;

	if (!JB_ROOT_IS_OBJECT(given))
	{
		problems_add(problems, "columns must be a JSON object of contract column to source column");
		return;
	}
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			key = pnstrdup(value.val.string.val, value.val.string.len);
		else if (token == WJB_VALUE && value.type == jbvString)
			check_pair(contract, relid, key, pnstrdup(value.val.string.val, value.val.string.len), problems);
		else if (token == WJB_VALUE && value.type != jbvNull)
			problems_add(problems, "the source column of \"%s\" must be a name in a string", key);
		else if (token == WJB_VALUE && contract_column(contract, key) < 0)
			problems_add(problems, "\"%s\" is no column of entity %s", key, contract->entity->name);
	}
}

/* Whether the user's object has the key at all: a JSON null keeps a column of the same name from mapping by itself. */
static bool
mapping_has(Jsonb *given, const char *key)
{
	JsonbValue	buffer;

	return getKeyJsonValueFromContainer(&given->root, key, strlen(key), &buffer) != NULL;
}

/* The whole mapping: what the user gave, then columns of the same name. */
static Jsonb *
complete_mapping(const Contract *contract, Oid relid, Jsonb *given, Problems *problems)
{
	JsonbParseState *state = NULL;
	JsonbValue	value;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < contract->ncolumns; i++)
	{
		char	   *column = contract->names[i];
		char	   *source = mapping_get(given, column);

		if (source == NULL && !mapping_has(given, column) && get_attnum(relid, column) > 0)
		{
			source = column;
			check_pair(contract, relid, column, source, problems);
		}
		if (source == NULL)
		{
			if (is_required(contract->entity, column))
				problems_add(problems, "%s is required: map it to a column of %s, which has: %s",
							 column, relation_sql_name(relid), relation_column_list(relid));
			continue;
		}
		value.type = jbvString;
		value.val.string.val = column;
		value.val.string.len = strlen(column);
		pushJsonbValue(&state, WJB_KEY, &value);
		value.val.string.val = source;
		value.val.string.len = strlen(source);
		pushJsonbValue(&state, WJB_VALUE, &value);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* Relations that cannot be attached: temporary ones, indexes and the like, and salesops's own. */
static void
require_attachable(Oid relid)
{
	char		kind = get_rel_relkind(relid);
	char	   *schema = get_namespace_name(get_rel_namespace(relid));

	if (schema == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	if ((kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE && kind != RELKIND_VIEW &&
		 kind != RELKIND_MATVIEW && kind != RELKIND_FOREIGN_TABLE) || strcmp(schema, "salesops") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("%s cannot be attached", relation_sql_name(relid)),
				 errhint("Attach a table, partitioned table, view, materialized view or foreign table of your own.")));
	if (isAnyTempNamespace(get_rel_namespace(relid)))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("temporary relation \"%s\" cannot be attached", get_rel_name(relid)),
				 errhint("Other sessions, workers and dumps could not read it.")));
	relation_require_select(relid);
}

/* The rows that attach returns: every contract column, and its source where there is one. */
static void
return_mapping(ReturnSetInfo *result, const Contract *contract, Jsonb *mapping)
{
	for (int i = 0; i < contract->ncolumns; i++)
	{
		char	   *source = mapping_get(mapping, contract->names[i]);
		Datum		values[2] = {CStringGetTextDatum(contract->names[i]), (Datum) 0};
		bool		nulls[2] = {false, source == NULL};

		if (source != NULL)
			values[1] = CStringGetTextDatum(source);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
}

/*
 * attach(entity text, relation regclass, columns jsonb) -> setof (contract_column text, source_column text)
 *
 * Maps a relation of the user's to a contract entity. Errors: 22023 listing every unknown contract column, unknown source column,
 * missing required column and impossible cast; 42501 without SELECT on the relation; 42809 for a relation that cannot serve.
 */
Datum
salesops_attach(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Oid			relid = PG_GETARG_OID(1);
	Jsonb	   *given = PG_GETARG_JSONB_P(2);
	const Entity *entity = require_entity(name);
	Contract	contract;
	Problems	problems;
	Jsonb	   *mapping = NULL;
	SpiScope	scope;

	InitMaterializedSRF(fcinfo, 0);
	require_attachable(relid);
	contract_load(&contract, entity);
	problems_init(&problems);
	check_given(&contract, relid, given, &problems);
	if (JB_ROOT_IS_OBJECT(given))
		mapping = complete_mapping(&contract, relid, given, &problems);
	problems_raise(&problems, ERRCODE_INVALID_PARAMETER_VALUE,
				   "Columns of the same name map by themselves; give the others as {\"contract column\": \"source column\"}.",
				   "%s cannot be attached as %s", relation_sql_name(relid), entity->name);

	spi_open(&scope, SPI_AS_OWNER);
	/* two sessions attaching at once: one after the other */
	(void) spi_execute(SPI_OK_UTILITY, "LOCK TABLE salesops.source IN SHARE ROW EXCLUSIVE MODE", 0, NULL);
	(void) spi_execute(SPI_OK_DELETE, "DELETE FROM salesops.source s WHERE s.entity OPERATOR(pg_catalog.=) $1",
					   1, (SpiArg[]) {spi_text(entity->name)});
	(void) spi_execute(SPI_OK_INSERT, "INSERT INTO salesops.source (entity, relation, columns) VALUES ($1, $2, $3)",
					   3, (SpiArg[]) {spi_text(entity->name), spi_oid(relid), spi_jsonb(mapping)});
	spi_close(&scope);
	return_mapping((ReturnSetInfo *) fcinfo->resultinfo, &contract, mapping);
	return (Datum) 0;
}

/*
 * detach(entity text) -> void
 *
 * Forgets a mapping: the contract view is empty again. Error 42704 where nothing is attached.
 */
Datum
salesops_detach(PG_FUNCTION_ARGS)
{
	const Entity *entity = require_entity(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	SpiScope	scope;
	uint64		gone;
	Contract	contract;

	spi_open(&scope, SPI_AS_OWNER);
	(void) spi_execute(SPI_OK_UTILITY, "LOCK TABLE salesops.source IN SHARE ROW EXCLUSIVE MODE", 0, NULL);
	gone = spi_execute(SPI_OK_DELETE, "DELETE FROM salesops.source s WHERE s.entity OPERATOR(pg_catalog.=) $1",
					   1, (SpiArg[]) {spi_text(entity->name)});
	/* also the way out of a view whose table was dropped, when there is no row any more */
	contract_load(&contract, entity);
	replace_body(&contract, unattached_body(&contract));
	spi_close(&scope);
	PG_RETURN_BOOL(gone > 0);
}

/* attribute numbers for names: {"amount": 3} from {"amount": "value"} */
static Datum
numbers_of_names(Oid relid, Datum columns)
{
	bool		isnull;

	(void) spi_execute(SPI_OK_SELECT,
					   "SELECT COALESCE(pg_catalog.jsonb_object_agg(c.key, a.attnum), '{}') "
					   "FROM pg_catalog.jsonb_each_text($1) c JOIN pg_catalog.pg_attribute a ON a.attrelid = $2 "
					   "AND a.attname = c.value AND NOT a.attisdropped",
					   2, (SpiArg[]) {spi_datum(JSONBOID, columns, false), spi_oid(relid)});
	return spi_get_datum(0, 1, &isnull);
}

/* BEFORE INSERT OR UPDATE: the attribute numbers that belong to the names. */
static HeapTuple
source_before(TriggerData *trigger)
{
	HeapTuple	tuple = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple : trigger->tg_trigtuple;
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);
	int			column = SPI_fnumber(desc, "column_numbers");
	bool		isnull;
	Oid			relid = DatumGetObjectId(SPI_getbinval(tuple, desc, SPI_fnumber(desc, "relation"), &isnull));
	Datum		columns = SPI_getbinval(tuple, desc, SPI_fnumber(desc, "columns"), &isnull);
	Datum		numbers = numbers_of_names(relid, columns);

	isnull = false;
	return SPI_copytuple(heap_modify_tuple_by_cols(tuple, desc, 1, &column, &numbers, &isnull));
}

/* AFTER: the function of the entity as the row now says. */
static void
source_after(TriggerData *trigger)
{
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);
	HeapTuple	tuple = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple : trigger->tg_trigtuple;
	const Entity *entity = find_entity(SPI_getvalue(tuple, desc, SPI_fnumber(desc, "entity")));
	bool		isnull;

	if (entity == NULL)
		return;					/* a mapping that a later version wrote */
	if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
		rewrite_entity(entity, InvalidOid, NULL);
	else
		rewrite_entity(entity,
					   DatumGetObjectId(SPI_getbinval(tuple, desc, SPI_fnumber(desc, "relation"), &isnull)),
					   DatumGetJsonbP(SPI_getbinval(tuple, desc, SPI_fnumber(desc, "columns"), &isnull)));
}

/* Row trigger on salesops.source, before and after: whoever changes the mapping, the view follows. */
Datum
salesops_source_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	SpiScope	scope;
	HeapTuple	tuple = NULL;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("source_changed() is a trigger function")));
	spi_open(&scope, SPI_AS_OWNER);
	if (TRIGGER_FIRED_BEFORE(trigger->tg_event))
		tuple = source_before(trigger);
	else
		source_after(trigger);
	spi_close(&scope);
	return PointerGetDatum(tuple);
}

/* Called by the body of a view whose relation has gone: an error that says which entity to attach again. */
Datum
salesops_missing_source(PG_FUNCTION_ARGS)
{
	char	   *entity = text_to_cstring(PG_GETARG_TEXT_PP(0));

	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_TABLE),
			 errmsg("entity \"%s\" cannot be read: %s", entity, text_to_cstring(PG_GETARG_TEXT_PP(1))),
			 errhint("Attach it again: SELECT * FROM salesops.attach('%s', …); or give it up: SELECT salesops.detach('%s');",
					 entity, entity)));
	PG_RETURN_BOOL(false);
}

/* Write every entity's function anew; the install script calls it to give the functions their first bodies. */
Datum
salesops_rebuild_contract(PG_FUNCTION_ARGS)
{
	SpiScope	scope;

	spi_open(&scope, SPI_AS_OWNER);
	for (size_t i = 0; i < lengthof(entities); i++)
	{
		bool		isnull;
		Oid			relid = InvalidOid;
		Jsonb	   *mapping = NULL;

		if (spi_execute(SPI_OK_SELECT, "SELECT s.relation, s.columns FROM salesops.source s WHERE s.entity = $1",
						1, (SpiArg[]) {spi_text(entities[i].name)}) > 0)
		{
			relid = spi_get_oid(0, 1);
			mapping = DatumGetJsonbPCopy(spi_get_datum(0, 2, &isnull));
		}
		rewrite_entity(&entities[i], relid, mapping);
	}
	spi_close(&scope);
	PG_RETURN_VOID();
}

/* A source whose relation was altered: names from the attribute numbers, then the trigger on source does the rest. */
static void
follow_source(const char *entity)
{
	(void) spi_execute(SPI_OK_UPDATE,
					   "UPDATE salesops.source s SET columns = COALESCE((SELECT pg_catalog.jsonb_object_agg(n.key, a.attname) "
					   "FROM pg_catalog.jsonb_each_text(s.column_numbers) n JOIN pg_catalog.pg_attribute a "
					   "ON a.attrelid = s.relation AND a.attnum = n.value::pg_catalog.int2 AND NOT a.attisdropped), '{}') "
					   "WHERE s.entity = $1", 1, (SpiArg[]) {spi_text(entity)});
}

/* During CREATE or DROP EXTENSION our own tables may not be there. */
static bool
contract_present(void)
{
	Oid			schema = get_namespace_oid("salesops", true);

	return OidIsValid(schema) && OidIsValid(get_relname_relid("source", schema)) &&
		OidIsValid(get_relname_relid("relation_registry", schema));
}

/*
 * Event trigger, ddl_command_end: attached relations that were altered (columns renamed, dropped or retyped, the relation or
 * its schema renamed) are mapped anew.
 */
Datum
salesops_follow_ddl(PG_FUNCTION_ARGS)
{
	SpiScope	scope;
	uint64		count;
	char	  **found;

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("follow_ddl() is an event trigger function")));
	if (!contract_present())
		PG_RETURN_NULL();
	spi_open(&scope, SPI_AS_OWNER);
	count = spi_execute(SPI_OK_SELECT,
						"SELECT DISTINCT s.entity FROM pg_catalog.pg_event_trigger_ddl_commands() d "
						"JOIN pg_catalog.pg_class c ON (d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND c.oid = d.objid) "
						"OR (d.classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND c.relnamespace = d.objid) "
						"JOIN salesops.source s ON s.relation = c.oid ORDER BY 1", 0, NULL);
	found = palloc(sizeof(char *) * Max(count, 1));
	for (uint64 i = 0; i < count; i++)
		found[i] = spi_get_text(i, 1);
	for (uint64 i = 0; i < count; i++)
		follow_source(found[i]);
	spi_close(&scope);
	PG_RETURN_NULL();
}

/* Configuration rows of one registered table that spoke of relations now gone. */
static void
forget_relations(const char *table, const char *column, const char *dropped)
{
	(void) spi_execute(SPI_OK_DELETE,
					   psprintf("DELETE FROM salesops.%s t WHERE t.%s::pg_catalog.oid = ANY ('{%s}'::pg_catalog.oid[])",
								quote_identifier(table), quote_identifier(column), dropped), 0, NULL);
}

/* Leave the views of dropped relations with a body that says so, instead of silently empty. */
static void
mark_missing(const char *dropped)
{
	uint64		count = spi_execute(SPI_OK_SELECT,
									psprintf("SELECT s.entity FROM salesops.source s WHERE s.relation::pg_catalog.oid = "
											 "ANY ('{%s}'::pg_catalog.oid[])", dropped), 0, NULL);
	char	  **gone = palloc(sizeof(char *) * Max(count, 1));

	for (uint64 i = 0; i < count; i++)
		gone[i] = spi_get_text(i, 1);
	forget_relations("source", "relation", dropped);
	for (uint64 i = 0; i < count; i++)
	{
		const Entity *entity = find_entity(gone[i]);
		Contract	contract;

		if (entity == NULL)
			continue;
		contract_load(&contract, entity);
		replace_body(&contract, missing_body(&contract, "its relation has been dropped"));
	}
}

/*
 * Event trigger, sql_drop: what salesops's configuration said of the dropped relations goes with them. The tables to look in are
 * in salesops.relation_registry; a domain adds a row there for each table with a regclass column.
 */
Datum
salesops_follow_drop(PG_FUNCTION_ARGS)
{
	SpiScope	scope;
	uint64		count;
	char	   *dropped;
	char	 ***registry;

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("follow_drop() is an event trigger function")));
	if (!contract_present())
		PG_RETURN_NULL();
	spi_open(&scope, SPI_AS_OWNER);
	(void) spi_execute(SPI_OK_SELECT,
					   "SELECT pg_catalog.string_agg(d.objid::pg_catalog.text, ',') FROM pg_catalog.pg_event_trigger_dropped_objects() d "
					   "WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objsubid = 0 AND NOT d.is_temporary "
					   "AND d.object_type IN ('table', 'view', 'materialized view', 'foreign table')", 0, NULL);
	dropped = spi_get_text(0, 1);
	if (dropped != NULL)
	{
		mark_missing(dropped);
		count = spi_execute(SPI_OK_SELECT, "SELECT r.table_name, r.column_name FROM salesops.relation_registry r ORDER BY 1, 2",
							0, NULL);
		registry = palloc(sizeof(char **) * Max(count, 1));
		for (uint64 i = 0; i < count; i++)
		{
			registry[i] = palloc(sizeof(char *) * 2);
			registry[i][0] = spi_get_text(i, 1);
			registry[i][1] = spi_get_text(i, 2);
		}
		for (uint64 i = 0; i < count; i++)
			forget_relations(registry[i][0], registry[i][1], dropped);
	}
	spi_close(&scope);
	PG_RETURN_NULL();
}
