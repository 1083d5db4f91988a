/*
 * model_pg.c
 *		Storing, activating, dropping and granting models, and the session's cache.
 *
 * Invalidation: every change to salesops.model_version sends a relcache invalidation of that table, which reaches all
 * sessions at commit and this one at once, and is undone with the transaction. Its callback moves the generation on; a
 * cached model of an older generation is loaded again when next asked for. Nothing is freed inside the callback.
 *
 * Rights: a model belongs to the role that first trained it. It may be used by that role's members and by those it was
 * granted to; only the former may change it. The tables themselves are read as the extension's owner.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "core/compat.h"
#include "core/kernel_pg.h"
#include "core/spi.h"
#include "learn/model_pg.h"

static uint64 generation = 1;
static bool callback_registered = false;
static List *loaded_models = NIL;	/* of LoadedModel, in TopMemoryContext */

/* OID of salesops.model_version, InvalidOid where the extension is gone. */
static Oid
model_table(void)
{
	Oid			schema = get_namespace_oid("salesops", true);

	return OidIsValid(schema) ? get_relname_relid("model_version", schema) : InvalidOid;
}

/*
 * Any relation may be ours: its OID cannot be looked up here, so the callback keeps the one it last knew. InvalidOid means
 * everything.
 */
static Oid	known_table = InvalidOid;

/* See above. */
static void
models_changed(Datum arg, Oid relid)
{
	(void) arg;
	if (relid == InvalidOid || relid == known_table)
		generation++;
}

/* Memberships changed: who may use what must be asked again. */
static void
roles_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	(void) arg;
	(void) cacheid;
	(void) hashvalue;
	generation++;
}

/* See model_pg.h. */
uint64
learn_model_generation(void)
{
	return generation;
}

/* Tell all sessions, at commit, that models changed. */
static void
announce_change(void)
{
	CacheInvalidateRelcacheByRelid(model_table());
	generation++;
}

/* ---- rights ---- */

typedef struct ModelRights
{
	bool		exists;
	char	   *owner;
	Oid			caller;
	bool		granted;
	MemoryContext context;
} ModelRights;

/* Row callback: owner and whether a grantee. */
static void
gather_rights(TupleTableSlot *slot, void *arg)
{
	ModelRights *rights = arg;
	Oid			grantee;

	if (!rights->exists)
		rights->owner = pstrdup(NameStr(*DatumGetName(slot->tts_values[0])));
	rights->exists = true;
	if (slot->tts_isnull[1])
		return;
	grantee = get_role_oid(NameStr(*DatumGetName(slot->tts_values[1])), true);
	if (OidIsValid(grantee) && has_privs_of_role(rights->caller, grantee))
		rights->granted = true;
}

/* Who owns a model, and whether the caller may use or change it. */
static ModelRights
rights_of(const char *name, bool *may_use, bool *may_change)
{
	ModelRights rights = {.caller = GetUserId()};
	SpiArg		arg = spi_text(name);
	SpiScope	scope;
	Oid			owner;
	MemoryContext context = CurrentMemoryContext;

	spi_open(&scope, SPI_AS_OWNER);
	MemoryContextSwitchTo(context);
	spi_stream("SELECT v.owner, g.grantee FROM salesops.model_version v LEFT JOIN salesops.model_grant g USING (name) WHERE v.name = $1",
			   1, &arg, true, gather_rights, &rights);
	spi_close(&scope);
	owner = rights.exists ? get_role_oid(rights.owner, true) : InvalidOid;
	*may_change = OidIsValid(owner) ? has_privs_of_role(rights.caller, owner) : superuser_arg(rights.caller);
	*may_use = *may_change || rights.granted;
	return rights;
}

/* Names of the models there are, for a hint: only those the caller may use. */
static char *
known_models(void)
{
	SpiScope	scope;
	char	   *names = NULL;
	MemoryContext context = CurrentMemoryContext;

	spi_open(&scope, SPI_AS_OWNER);
	spi_execute(SPI_OK_SELECT,
				"SELECT string_agg(DISTINCT quote_ident(name), ', ') FROM salesops.model_version", 0, NULL);
	if (SPI_processed > 0)
	{
		char	   *text = spi_get_text(0, 1);

		names = text ? MemoryContextStrdup(context, text) : NULL;
	}
	spi_close(&scope);
	return names;
}

/* Is there such a model by now, though this statement, which began before, does not see it? */
static bool
trained_meanwhile(const char *name)
{
	SpiArg		arg = spi_text(name);
	SpiScope	scope;
	bool		found;

	spi_open(&scope, SPI_AS_OWNER);
	found = spi_execute(SPI_OK_SELECT, "SELECT FROM salesops.model_version WHERE name = $1 LIMIT 1", 1, &arg) > 0;
	spi_close(&scope);
	return found;
}

/* Error 42704. The list of names is for those who could read them anyway. */
static void
no_such_model(const char *name)
{
	char	   *known = superuser() ? known_models() : NULL;

	if (trained_meanwhile(name))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("model \"%s\" was trained after this statement began", name),
				 errdetail("A statement sees the models there were when it began, not those that it trains itself."),
				 errhint("Predict in a statement of its own.")));

	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("model \"%s\" does not exist", name),
			 known ? errdetail("There are: %s.", known) : 0,
			 errhint("Train it: SELECT salesops.train_model('%s', 'SELECT …', 'label');", name)));
}

/* Error unless the caller may use (or change) the model. */
static void
require_right(const char *name, bool change)
{
	bool		may_use;
	bool		may_change;
	ModelRights rights = rights_of(name, &may_use, &may_change);

	if (!rights.exists)
		no_such_model(name);
	if (change ? !may_change : !may_use)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for model \"%s\"", name),
				 errdetail("It belongs to role \"%s\".", rights.owner),
				 errhint(change ? "Only its owner may change it." :
						 "Its owner can let you: SELECT salesops.grant_model('%s', '%s');", name,
						 GetUserNameFromId(GetUserId(), false))));
}

/* See model_pg.h. */
void
learn_model_require_trainer(const char *name)
{
	bool		may_use;
	bool		may_change;
	ModelRights rights = rights_of(name, &may_use, &may_change);

	if (rights.exists && !may_change)
		require_right(name, true);
}

/* See model_pg.h. */
bool
learn_model_exists(const char *name)
{
	bool		may_use;
	bool		may_change;

	return rights_of(name, &may_use, &may_change).exists;
}

PG_FUNCTION_INFO_V1(salesops_may_use_model);
/* (model) -> boolean, for the views */
Datum
salesops_may_use_model(PG_FUNCTION_ARGS)
{
	bool		may_use;
	bool		may_change;
	ModelRights rights = rights_of(text_to_cstring(PG_GETARG_TEXT_PP(0)), &may_use, &may_change);

	PG_RETURN_BOOL(rights.exists && may_use);
}

/* ---- the session's cache ---- */

/* Row callback: one version of a model into its own context. */
static void
load_row(TupleTableSlot *slot, void *arg)
{
	LoadedModel *loaded = arg;
	KernelEnv	env = kernel_env_pg(loaded->context);
	MemoryContext old = MemoryContextSwitchTo(loaded->context);
	struct varlena *content = PG_DETOAST_DATUM(slot->tts_values[4]);
	const char *problem;

	loaded->version = DatumGetInt32(slot->tts_values[0]);
	loaded->method = text_to_cstring(DatumGetTextPP(slot->tts_values[1]));
	loaded->label = text_to_cstring(DatumGetTextPP(slot->tts_values[2]));
	loaded->details = DatumGetJsonbPCopy(slot->tts_values[5]);
	loaded->model = learn_model_deserialize(&env, VARDATA(content), VARSIZE(content) - VARHDRSZ, &problem);
	if (loaded->model == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("model \"%s\" version %d cannot be read: %s", loaded->name, loaded->version, problem),
				 errhint("Train it again.")));
	if ((Pointer) content != DatumGetPointer(slot->tts_values[4]))
		pfree(content);
	if (strcmp(NameStr(*DatumGetName(slot->tts_values[3])), GetDatabaseEncodingName()) != 0)
	{
		int			from = pg_char_to_encoding(NameStr(*DatumGetName(slot->tts_values[3])));

		for (int f = 0; f < loaded->model->features.count; f++)
		{
			LearnFeature *feature = &loaded->model->features.feature[f];

			feature->name = pg_any_to_server(feature->name, strlen(feature->name), from);
			for (int level = 0; level < feature->levels; level++)
				feature->level[level] = pg_any_to_server(feature->level[level], strlen(feature->level[level]), from);
			learn_index_levels(&env, feature);
		}
	}
	MemoryContextSwitchTo(old);
}

/* Forget models of older generations that nobody holds. */
static void
drop_stale(void)
{
	ListCell   *cell;

	foreach(cell, loaded_models)
	{
		LoadedModel *loaded = lfirst(cell);

		if (loaded->generation == generation || loaded->pins > 0)
			continue;
		loaded_models = foreach_delete_current(loaded_models, cell);
		MemoryContextDelete(loaded->context);
	}
}

/* Read a model from its table. */
static LoadedModel *
load_model(const char *name, int version)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "salesops model", ALLOCSET_DEFAULT_SIZES);
	LoadedModel *loaded = MemoryContextAllocZero(context, sizeof(LoadedModel));
	SpiArg		args[2] = {spi_text(name), spi_int4(version)};
	SpiScope	scope;
	MemoryContext old;

	loaded->context = context;
	loaded->name = MemoryContextStrdup(context, name);
	loaded->wanted = version;
	spi_open(&scope, SPI_AS_OWNER);
	known_table = model_table();
	loaded->generation = generation;
	spi_stream("SELECT version, method, label, encoding, content, details FROM salesops.model_version "
			   "WHERE name = $1 AND CASE WHEN $2 = 0 THEN active ELSE version = $2 END", 2, args, true, load_row, loaded);
	spi_close(&scope);
	if (loaded->model == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 version == 0 ? errmsg("model \"%s\" has no active version", name) :
				 errmsg("model \"%s\" has no version %d", name, version),
				 errhint("SELECT version, active FROM salesops.model WHERE name = '%s';", name)));
	MemoryContextSetParent(context, TopMemoryContext);
	old = MemoryContextSwitchTo(TopMemoryContext);
	loaded_models = lappend(loaded_models, loaded);
	MemoryContextSwitchTo(old);
	return loaded;
}

/* See model_pg.h. */
LoadedModel *
learn_model_get(const char *name, int version)
{
	ListCell   *cell;
	LoadedModel *loaded;

	if (!callback_registered)
	{
		CacheRegisterRelcacheCallback(models_changed, (Datum) 0);
		CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, roles_changed, (Datum) 0);
		CacheRegisterSyscacheCallback(AUTHOID, roles_changed, (Datum) 0);
		callback_registered = true;
	}
	foreach(cell, loaded_models)
	{
		loaded = lfirst(cell);
		if (loaded->generation != generation || loaded->wanted != version || strcmp(loaded->name, name) != 0)
			continue;
		if (loaded->checked_user != GetUserId())
			require_right(name, false);
		loaded->checked_user = GetUserId();
		return loaded;
	}
	require_right(name, false);
	drop_stale();
	loaded = load_model(name, version);
	loaded->checked_user = GetUserId();
	return loaded;
}

/* Memory context callback: the holder is gone. */
static void
unpin(void *arg)
{
	((LoadedModel *) arg)->pins--;
}

/* See model_pg.h. */
void
learn_model_pin(LoadedModel *loaded, MemoryContext context)
{
	MemoryContextCallback *callback = MemoryContextAlloc(context, sizeof(MemoryContextCallback));

	loaded->pins++;
	callback->func = unpin;
	callback->arg = loaded;
	MemoryContextRegisterResetCallback(context, callback);
}

/* ---- changes ---- */

/* A figure, NULL where there is none. */
static SpiArg
figure(const ModelRecord *record, double value)
{
	bool		none = record->validation == NULL || isnan(value);

	return spi_datum(FLOAT8OID, Float8GetDatum(none ? 0 : value), none);
}

/* One training of a model at a time may number its version. */
static void
lock_model(const char *name)
{
	SpiArg		arg = spi_text(name);

	spi_execute(SPI_OK_SELECT, "SELECT pg_advisory_xact_lock(1935764844, hashtext($1))", 1, &arg);
}

/* Make one version active, all others not; false where there is no such version. */
static bool
set_active(const char *name, int version)
{
	SpiArg		args[2] = {spi_text(name), spi_int4(version)};

	/* two statements: the unique index does not wait for the end of one */
	spi_execute(SPI_OK_UPDATE, "UPDATE salesops.model_version SET active = false WHERE name = $1 AND active AND version <> $2",
				2, args);
	return spi_execute(SPI_OK_UPDATE, "UPDATE salesops.model_version SET active = true WHERE name = $1 AND version = $2", 2,
					   args) > 0;
}

/* The model as a bytea argument. */
static SpiArg
content_of(const LearnModel *model)
{
	KernelEnv	env = kernel_env_pg(CurrentMemoryContext);
	size_t		size;
	void	   *bytes = learn_model_serialize(&env, model, &size);
	bytea	   *content = palloc(size + VARHDRSZ);

	SET_VARSIZE(content, size + VARHDRSZ);
	memcpy(VARDATA(content), bytes, size);
	pfree(bytes);
	return spi_datum(BYTEAOID, PointerGetDatum(content), false);
}

/* Insert the next version; its number. Runs inside the owner's scope. */
static int
insert_version(const ModelRecord *record, const char *caller)
{
	SpiArg		args[] = {
		spi_text(record->name), spi_text(record->method), spi_text(record->label), spi_name(caller),
		spi_int8(record->rows), spi_int8(record->positives), spi_text(record->validation ? record->validation : "none"),
		figure(record, record->metrics.roc_auc), figure(record, record->metrics.log_loss),
		figure(record, record->metrics.brier), figure(record, record->metrics.ece),
		figure(record, record->metrics.precision_at_10), spi_text_list(record->features), spi_jsonb(record->left_out),
		spi_jsonb(record->leakage), spi_text_list(record->notes), spi_text(record->query), spi_text(record->key),
		spi_jsonb(record->options), spi_jsonb(record->details), spi_text(psprintf("%016llx", (unsigned long long) record->fingerprint)),
		spi_name(GetDatabaseEncodingName()), content_of(record->model)
	};

	spi_execute(SPI_OK_INSERT_RETURNING,
				"INSERT INTO salesops.model_version (name, version, active, method, label, owner, trained_at, rows, positives, "
				" validation, roc_auc, log_loss, brier, ece, precision_at_10, features, left_out, leakage, notes, query, key, "
				" options, details, fingerprint, encoding, content) "
				"SELECT $1, coalesce(max(v.version), 0) + 1, false, $2, $3, coalesce(min(v.owner::text)::name, $4), now(), $5, $6, $7, "
				" $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23 "
				"FROM salesops.model_version v WHERE v.name = $1 RETURNING version",
				lengthof(args), args);
	return DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &(bool) {false}));
}

/* See model_pg.h. */
Datum
learn_model_store(const ModelRecord *record)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *caller = GetUserNameFromId(GetUserId(), false);
	SpiScope	scope;
	SpiArg		args[2];
	int			version;
	bool		isnull;
	Datum		row;

	spi_open(&scope, SPI_AS_OWNER);
	lock_model(record->name);
	version = insert_version(record, caller);
	set_active(record->name, version);
	args[0] = spi_text(record->name);
	args[1] = spi_int4(version);
	spi_execute(SPI_OK_SELECT, "SELECT m FROM salesops.model m WHERE name = $1 AND version = $2", 2, args);
	if (SPI_processed != 1)
		elog(ERROR, "model \"%s\" version %d was not stored", record->name, version);
	row = spi_get_datum(0, 1, &isnull);
	MemoryContextSwitchTo(context);
	row = datumCopy(row, false, -1);
	spi_close(&scope);
	MemoryContextSwitchTo(context);
	announce_change();
	return row;
}

PG_FUNCTION_INFO_V1(salesops_activate_model);
/* (name, version) */
Datum
salesops_activate_model(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	int			version = PG_GETARG_INT32(1);
	SpiScope	scope;
	bool		found;

	require_right(name, true);
	spi_open(&scope, SPI_AS_OWNER);
	lock_model(name);
	found = set_active(name, version);
	spi_close(&scope);
	if (!found)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("model \"%s\" has no version %d", name, version),
				 errhint("SELECT version, active FROM salesops.model WHERE name = '%s';", name)));
	announce_change();
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(salesops_drop_model);
/* (name, version or NULL) -> versions dropped. Where the active version goes, the newest of the others becomes active. */
Datum
salesops_drop_model(PG_FUNCTION_ARGS)
{
	char	   *name;
	SpiArg		args[2];
	SpiScope	scope;
	uint64		dropped;

	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("the model's name must not be null")));
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	require_right(name, true);
	args[0] = spi_text(name);
	args[1] = spi_datum(INT4OID, PG_ARGISNULL(1) ? (Datum) 0 : PG_GETARG_DATUM(1), PG_ARGISNULL(1));
	spi_open(&scope, SPI_AS_OWNER);
	lock_model(name);
	dropped = spi_execute(SPI_OK_DELETE, "DELETE FROM salesops.model_version WHERE name = $1 AND ($2 IS NULL OR version = $2)",
						  2, args);
	spi_execute(SPI_OK_UPDATE,
				"UPDATE salesops.model_version SET active = true WHERE name = $1 AND version = "
				"(SELECT max(version) FROM salesops.model_version WHERE name = $1 HAVING NOT bool_or(active))", 1, args);
	spi_execute(SPI_OK_DELETE,
				"DELETE FROM salesops.model_grant WHERE name = $1 AND NOT EXISTS (SELECT FROM salesops.model_version WHERE name = $1)",
				1, args);
	spi_close(&scope);
	if (dropped == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("model \"%s\" has no version %d", name, PG_GETARG_INT32(1))));
	announce_change();
	PG_RETURN_INT32((int32) dropped);
}

/* Grant and revoke differ in their statement only. */
static void
change_grant(FunctionCallInfo fcinfo, int expected, const char *sql)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *grantee = GetUserNameFromId(PG_GETARG_OID(1), false);
	SpiArg		args[2] = {spi_text(name), spi_name(grantee)};
	SpiScope	scope;

	require_right(name, true);
	spi_open(&scope, SPI_AS_OWNER);
	spi_execute(expected, sql, 2, args);
	spi_close(&scope);
	announce_change();
}

PG_FUNCTION_INFO_V1(salesops_grant_model);
/* (name, grantee) */
Datum
salesops_grant_model(PG_FUNCTION_ARGS)
{
	change_grant(fcinfo, SPI_OK_INSERT, "INSERT INTO salesops.model_grant (name, grantee) VALUES ($1, $2) ON CONFLICT DO NOTHING");
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(salesops_revoke_model);
/* (name, grantee) */
Datum
salesops_revoke_model(PG_FUNCTION_ARGS)
{
	change_grant(fcinfo, SPI_OK_DELETE, "DELETE FROM salesops.model_grant WHERE name = $1 AND grantee = $2");
	PG_RETURN_VOID();
}
