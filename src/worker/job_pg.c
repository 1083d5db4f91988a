/*
 * job_pg.c
 *		Definitions of jobs: create_job, alter_job, drop_job; and running them in the caller's own backend.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "parser/parser.h"
#include "pgtime.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#include "core/compat.h"
#include "core/errors.h"
#include "core/options.h"
#include "core/relation.h"
#include "core/spi.h"
#include "worker/schedule.h"
#include "worker/worker.h"

#define UNSET (-1)

/* What a caller says of a job; NULL and UNSET leave what is */
typedef struct JobOptions
{
	char	   *time_zone;
	Interval   *timeout;
	int			retries;
	Interval   *retry_delay;
	int			catch_up;
	List	   *after;
	bool		paused;
	Interval   *retention;
	char	   *search_path;
	char	   *on_change;
	char	   *owner;
} JobOptions;

static const char *const catch_up_choices[] = {"once", "all", "skip", NULL};

static const OptionSpec option_specs[] = {
	{"time_zone", OPTION_TEXT, offsetof(JobOptions, time_zone)},
	{"timeout", OPTION_INTERVAL, offsetof(JobOptions, timeout)},
	{"retries", OPTION_INTEGER, offsetof(JobOptions, retries), .min = 0, .max = 1000},
	{"retry_delay", OPTION_INTERVAL, offsetof(JobOptions, retry_delay)},
	{"catch_up", OPTION_CHOICE, offsetof(JobOptions, catch_up), .choices = catch_up_choices},
	{"after", OPTION_TEXT_LIST, offsetof(JobOptions, after)},
	{"paused", OPTION_BOOLEAN, offsetof(JobOptions, paused)},
	{"retention", OPTION_INTERVAL, offsetof(JobOptions, retention)},
	{"search_path", OPTION_TEXT, offsetof(JobOptions, search_path)},
	{"on_change", OPTION_TEXT, offsetof(JobOptions, on_change)},
	{"owner", OPTION_TEXT, offsetof(JobOptions, owner)}
};

/* Does the options object have this key: with a value, or with null, which takes its value away? */
static bool
has_key(Jsonb *options, const char *key, bool null)
{
	JsonbValue	buffer;
	JsonbValue *value;

	if (options == NULL || !JB_ROOT_IS_OBJECT(options))
		return false;
	value = getKeyJsonValueFromContainer(&options->root, key, (int) strlen(key), &buffer);
	return value != NULL && (value->type == jbvNull) == null;
}

/* Does the options object have this key with a value? */
static bool
has_option(Jsonb *options, const char *key)
{
	return has_key(options, key, false);
}

/* The schemas one sees now, as a setting, temporary tables last */
static char *
current_search_path(void)
{
	StringInfoData path;
	ListCell   *cell;
	List	   *schemas = fetch_search_path(false);

	initStringInfo(&path);
	foreach(cell, schemas)
	{
		char	   *name = get_namespace_name(lfirst_oid(cell));

		if (name != NULL && !isTempNamespace(lfirst_oid(cell)))
			appendStringInfo(&path, "%s, ", quote_identifier(name));
	}
	appendStringInfoString(&path, "pg_temp");
	return path.data;
}

/* A length of time in the options must be at least so many seconds. */
static void
check_interval(const Interval *interval, double least, const char *name, Problems *problems)
{
	double		seconds;

	if (interval == NULL)
		return;
	seconds = interval->time / (double) USECS_PER_SEC + interval->day * (double) SECS_PER_DAY +
		interval->month * (double) DAYS_PER_MONTH * SECS_PER_DAY;
	if (seconds < least)
		problems_add(problems, "%s must be at least %g seconds", name, least);
}

/* The schedule must be one; a zone behind the cron fields becomes the option. */
static void
check_schedule(const char *schedule, JobOptions *options, Problems *problems)
{
	WorkerSchedule parsed;
	char		error[200];

	if (!worker_schedule_parse(schedule, &parsed, error, sizeof(error)))
	{
		problems_add(problems, "schedule \"%s\": %s", schedule, error);
		return;
	}
	if (parsed.zone[0] == '\0')
		return;
	if (options->time_zone != NULL && pg_strcasecmp(options->time_zone, parsed.zone) != 0)
		problems_add(problems, "the schedule names time zone \"%s\", the options \"%s\"", parsed.zone, options->time_zone);
	options->time_zone = pstrdup(parsed.zone);
}

/* The zone must be known, and without leap seconds. */
static void
check_zone(const char *zone, Problems *problems)
{
	pg_tz	   *tz;

	if (zone == NULL)
		return;
	tz = pg_tzset(zone);
	if (tz == NULL || !pg_tz_acceptable(tz))
		problems_add(problems, "time zone \"%s\" is not known: pg_timezone_names lists them", zone);
}

/* The command must be SQL, as far as that can be seen without its tables, and not end or begin transactions itself. */
static void
check_command(const char *command, Problems *problems)
{
	MemoryContext context = CurrentMemoryContext;
	List	   *volatile statements = NIL;
	ListCell   *cell;
	volatile bool parsed = true;

	PG_TRY();
	{
		statements = raw_parser(command, RAW_PARSE_DEFAULT);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		problems_add(problems, "command: %s", error->message);
		parsed = false;
	}
	PG_END_TRY();
	if (parsed && statements == NIL)
		problems_add(problems, "the command is empty");
	foreach(cell, statements)
		if (IsA(lfirst_node(RawStmt, cell)->stmt, TransactionStmt))
		{
			problems_add(problems, "the command may not begin or end transactions: each run is one; a procedure may, and is called with CALL");
			break;
		}
}

/* Is there a contract view of this name? */
bool
worker_entity_exists(const char *entity)
{
	Oid			schema = get_namespace_oid("salesops", true);
	char	   *rows = psprintf("%s_rows", entity);

	return OidIsValid(get_relname_relid(entity, schema)) &&
		SearchSysCacheExists3(PROCNAMEARGSNSP, CStringGetDatum(rows),
							  PointerGetDatum(buildoidvector(NULL, 0)), ObjectIdGetDatum(schema));
}

/* Error 42704 unless the entity exists. */
void
worker_require_entity(const char *entity)
{
	if (!worker_entity_exists(entity))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("entity \"%s\" does not exist", entity),
				 errhint("The entities are those of salesops.attach(): lead, contact, account, opportunity, …")));
}

/* All that can be wrong with a definition, before anything is written */
static void
check_definition(const char *name, const char *schedule, const char *command, JobOptions *options, Problems *problems)
{
	List	   *names;

	if (name[0] == '\0')
		problems_add(problems, "the name is empty");
	if (schedule != NULL)
		check_schedule(schedule, options, problems);
	check_zone(options->time_zone, problems);
	if (command != NULL)
		check_command(command, problems);
	check_interval(options->timeout, 0, "timeout", problems);
	check_interval(options->retry_delay, 0.001, "retry_delay", problems);
	check_interval(options->retention, 1, "retention", problems);
	if (options->search_path != NULL && !SplitIdentifierString(pstrdup(options->search_path), ',', &names))
		problems_add(problems, "search_path \"%s\" is not a list of schemas", options->search_path);
	if (options->on_change != NULL && !worker_entity_exists(options->on_change))
		problems_add(problems, "on_change: entity \"%s\" does not exist", options->on_change);
}

/* The role that is to own a job: the caller, or one the caller may become */
static char *
choose_owner(const char *wanted)
{
	Oid			role = wanted == NULL ? GetUserId() : get_role_oid(wanted, false);

	if (!can_set_role(GetUserId(), role))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be able to become role \"%s\" to give it a job", wanted)));
	return GetUserNameFromId(role, false);
}

/* interval argument, NULL where not given */
static SpiArg
interval_arg(const Interval *interval)
{
	return spi_datum(INTERVALOID, IntervalPGetDatum(interval), interval == NULL);
}

/* Jobs named in "after" must exist, and none may wait for itself in the end. Within SPI, after the write. */
static void
check_after(const char *name)
{
	if (spi_execute(SPI_OK_SELECT,
					"SELECT min(a), CASE WHEN count(*) > 1 THEN string_agg('\"' || a || '\"', ', ' ORDER BY a) END "
					"FROM salesops.job_definition d, pg_catalog.unnest(d.after) a WHERE d.name = $1 "
					"AND NOT EXISTS (SELECT 1 FROM salesops.job_definition e WHERE e.name = a) HAVING count(*) > 0",
					1, (SpiArg[]) {spi_text(name)}) > 0)
	{
		char	   *all = spi_get_text(0, 2);

		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("job \"%s\" cannot come after job \"%s\", which does not exist", name, spi_get_text(0, 1)),
				 all != NULL ? errdetail("None of these exists: %s.", all) : 0,
				 errhint("The view salesops.job lists the jobs.")));
	}
	if (spi_execute(SPI_OK_SELECT,
					"WITH RECURSIVE before(job) AS ("
					"  SELECT a FROM salesops.job_definition d, pg_catalog.unnest(d.after) a WHERE d.name = $1 "
					"  UNION SELECT a FROM before b JOIN salesops.job_definition d ON d.name = b.job, pg_catalog.unnest(d.after) a) "
					"SELECT 1 FROM before WHERE job = $1",
					1, (SpiArg[]) {spi_text(name)}) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("job \"%s\" would come after itself", name)));
}

/* Set next_run_at to the schedule's next occurrence; within SPI. Returns it. */
static TimestampTz
set_next_run(const char *name, bool restart)
{
	TimestampTz next;
	TimestampTz now = GetCurrentTimestamp();
	bool		isnull;

	spi_execute(SPI_OK_SELECT, "SELECT schedule, time_zone, created_at, next_run_at FROM salesops.job_definition WHERE name = $1",
				1, (SpiArg[]) {spi_text(name)});
	if (!restart)
		return DatumGetTimestampTz(spi_get_datum(0, 4, &isnull));
	next = worker_next_occurrence(spi_get_text(0, 1), spi_get_text(0, 2), now,
								  DatumGetTimestampTz(spi_get_datum(0, 3, &isnull)));
	spi_execute(SPI_OK_UPDATE,
				"UPDATE salesops.job_definition SET next_run_at = $2, occurrence = $2, failures = 0 WHERE name = $1",
				2, (SpiArg[]) {spi_text(name), spi_timestamptz(next)});
	return next;
}

/* May the role log in? */
static bool
role_can_login(Oid role)
{
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	bool		can = HeapTupleIsValid(tuple) && ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return can;
}

/* A role that the worker cannot log in as is worth a word at once. */
static void
warn_login(const char *owner)
{
	Oid			role = get_role_oid(owner, true);

	if (!WORKER_ANY_ROLE && OidIsValid(role) && !role_can_login(role))
		ereport(WARNING,
				(errmsg("role \"%s\" is not permitted to log in: this server's workers cannot run its jobs", owner),
				 errhint("Create the job as a role that may log in, or have run_due_jobs() run it.")));
}

PG_FUNCTION_INFO_V1(salesops_create_job);

/*
 * create_job(name, schedule, command, options): define a job that the current role owns. Returns when it is due first.
 * Errors: 42710 the name is taken; 22023 with all that is wrong with schedule, zone, command and options; 42704 an
 * unknown job in "after".
 */
Datum
salesops_create_job(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *schedule = text_to_cstring(PG_GETARG_TEXT_PP(1));
	char	   *command = text_to_cstring(PG_GETARG_TEXT_PP(2));
	JobOptions	options = {.retries = 3, .catch_up = 0};
	Problems	problems;
	SpiScope	scope;
	TimestampTz next;

	problems_init(&problems);
	options_parse(PG_GETARG_JSONB_P(3), option_specs, lengthof(option_specs), &options, &problems, "options");
	check_definition(name, schedule, command, &options, &problems);
	problems_raise(&problems, ERRCODE_INVALID_PARAMETER_VALUE,
				   "For example: SELECT salesops.create_job('score', 'every 5 minutes', 'SELECT salesops.score_leads()'); "
				   "or '30 2 * * mon-fri' with '{\"time_zone\": \"Europe/Berlin\"}'.",
				   "invalid job \"%s\"", name);
	options.owner = choose_owner(options.owner);
	if (options.search_path == NULL)
		options.search_path = current_search_path();

	spi_open(&scope, SPI_AS_OWNER);
	if (spi_execute(SPI_OK_SELECT, "SELECT 1 FROM salesops.job_definition WHERE name = $1", 1, (SpiArg[]) {spi_text(name)}) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("job \"%s\" already exists", name),
				 errhint("Change it with salesops.alter_job() or remove it with salesops.drop_job().")));
	spi_execute(SPI_OK_INSERT,
				"INSERT INTO salesops.job_definition (name, owner, schedule, time_zone, command, search_path, timeout, retries, "
				"  retry_delay, catch_up, after, on_change, retention, paused) "
				"VALUES ($1, $2, $3, $4, $5, $6, coalesce($7, '1 hour'::pg_catalog.interval), $8, "
				"  coalesce($9, '1 second'::pg_catalog.interval), $10, $11, $12, coalesce($13, '14 days'::pg_catalog.interval), $14)",
				14, (SpiArg[]) {spi_text(name), spi_name(options.owner), spi_text(schedule),
				spi_text(options.time_zone ? options.time_zone : pg_get_timezone_name(session_timezone)),
				spi_text(command), spi_text(options.search_path), interval_arg(options.timeout), spi_int4(options.retries),
				interval_arg(options.retry_delay), spi_text(catch_up_choices[options.catch_up]),
				spi_text_list(options.after), spi_text(options.on_change), interval_arg(options.retention),
				spi_bool(options.paused)});
	check_after(name);
	next = set_next_run(name, true);
	spi_close(&scope);
	warn_login(options.owner);
	PG_RETURN_TIMESTAMPTZ(next);
}

/* Find a job by name and check that the caller may act for its owner; within SPI. Returns its id. */
static int64
require_job(const char *name, char **owner_name, Oid caller)
{
	Oid			owner;

	if (spi_execute(SPI_OK_SELECT, "SELECT job_id, owner FROM salesops.job_definition WHERE name = $1",
					1, (SpiArg[]) {spi_text(name)}) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("job \"%s\" does not exist", name),
				 errhint("The view salesops.job lists the jobs.")));
	*owner_name = spi_get_text(0, 2);
	owner = get_role_oid(*owner_name, true);
	if (OidIsValid(owner) ? !has_privs_of_role(caller, owner) : !superuser_arg(caller))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be able to act as role \"%s\", the owner of job \"%s\"", *owner_name, name)));
	return spi_get_int8(0, 1);
}

/* Text argument or NULL */
static char *
text_or_null(FunctionCallInfo fcinfo, int argument)
{
	return PG_ARGISNULL(argument) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(argument));
}

PG_FUNCTION_INFO_V1(salesops_alter_job);

/*
 * alter_job(name, schedule, command, options): change what is given, leave what is NULL or not in the options; {"on_change": null}
 * takes that away. A new schedule or zone, and an end of the pause, count from now. Returns when the job is due next. Errors as
 * create_job; 42501 for others' jobs.
 */
Datum
salesops_alter_job(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *schedule = text_or_null(fcinfo, 1);
	char	   *command = text_or_null(fcinfo, 2);
	Jsonb	   *json = PG_ARGISNULL(3) ? NULL : PG_GETARG_JSONB_P(3);
	JobOptions	options = {.retries = UNSET, .catch_up = UNSET};
	Oid			caller = GetUserId();
	Problems	problems;
	SpiScope	scope;
	char	   *owner;
	int64		job_id;
	TimestampTz next;

	problems_init(&problems);
	options_parse(json, option_specs, lengthof(option_specs), &options, &problems, "options");
	check_definition(name, schedule, command, &options, &problems);
	problems_raise(&problems, ERRCODE_INVALID_PARAMETER_VALUE, NULL, "invalid change of job \"%s\"", name);
	if (options.owner != NULL)
		options.owner = choose_owner(options.owner);

	spi_open(&scope, SPI_AS_OWNER);
	job_id = require_job(name, &owner, caller);
	spi_execute(SPI_OK_UPDATE,
				"UPDATE salesops.job_definition SET schedule = coalesce($2, schedule), time_zone = coalesce($3, time_zone), "
				"  command = coalesce($4, command), search_path = coalesce($5, search_path), timeout = coalesce($6, timeout), "
				"  retries = coalesce($7, retries), retry_delay = coalesce($8, retry_delay), catch_up = coalesce($9, catch_up), "
				"  after = coalesce($10, after), "
				"  on_change = CASE WHEN $15 THEN NULL ELSE coalesce($11, on_change) END, "
				"  retention = coalesce($12, retention), paused = coalesce($13, paused), owner = coalesce($14, owner), "
				"  drains = drains OR $4 IS NOT NULL OR $11 IS NOT NULL OR $15 WHERE job_id = $1",
				15, (SpiArg[]) {spi_int8(job_id), spi_text(schedule), spi_text(options.time_zone), spi_text(command),
				spi_text(options.search_path), interval_arg(options.timeout),
				spi_datum(INT4OID, Int32GetDatum(options.retries), options.retries == UNSET),
				interval_arg(options.retry_delay),
				spi_text(options.catch_up == UNSET ? NULL : catch_up_choices[options.catch_up]),
				has_option(json, "after") ? spi_text_list(options.after) : spi_datum(TEXTARRAYOID, (Datum) 0, true), spi_text(options.on_change),
				interval_arg(options.retention), spi_datum(BOOLOID, BoolGetDatum(options.paused), !has_option(json, "paused")),
				spi_name(options.owner), spi_bool(has_key(json, "on_change", true))});
	check_after(name);
	next = set_next_run(name, schedule != NULL || options.time_zone != NULL || options.owner != NULL ||
						(has_option(json, "paused") && !options.paused));
	spi_close(&scope);
	if (options.owner != NULL)
		warn_login(options.owner);
	PG_RETURN_TIMESTAMPTZ(next);
}

PG_FUNCTION_INFO_V1(salesops_drop_job);

/* drop_job(name): remove a job and its history. A run under way is undone: it finds its record gone. */
Datum
salesops_drop_job(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Oid			caller = GetUserId();
	SpiScope	scope;
	char	   *owner;
	int64		job_id;

	spi_open(&scope, SPI_AS_OWNER);
	job_id = require_job(name, &owner, caller);
	if (spi_execute(SPI_OK_SELECT,
					"SELECT name FROM salesops.job_definition WHERE $1 = ANY (after) ORDER BY name LIMIT 1",
					1, (SpiArg[]) {spi_text(name)}) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("job \"%s\" cannot be dropped: job \"%s\" comes after it", name, spi_get_text(0, 1)),
				 errhint("Change that job's \"after\" first, or pause this one.")));
	spi_execute(SPI_OK_DELETE, "DELETE FROM salesops.job_definition WHERE job_id = $1", 1, (SpiArg[]) {spi_int8(job_id)});
	spi_execute(SPI_OK_DELETE, "DELETE FROM salesops.job_history WHERE job_id = $1", 1, (SpiArg[]) {spi_int8(job_id)});
	spi_close(&scope);
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(salesops_run_job);

/*
 * run_job(name): run a job now, in this session and transaction, as its owner, due or not. Returns the outcome; a failure is
 * recorded and shown as a warning. Errors: 55006 the job is running.
 */
Datum
salesops_run_job(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Oid			caller = GetUserId();
	SpiScope	scope;
	JobRun		run = {0};
	char	   *owner;
	int64		job_id;

	spi_open(&scope, SPI_AS_OWNER);
	job_id = require_job(name, &owner, caller);
	get_role_oid(owner, false);
	spi_close(&scope);
	if (!worker_claim_run(job_id, true, false, &run))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("job \"%s\" is running", name),
				 errhint("The view salesops.job_run shows since when.")));
	PG_RETURN_TEXT_P(cstring_to_text(worker_run_here(&run)));
}

/* Ids of the due jobs that the caller may run; in the given context */
static int
due_jobs(int64 **jobs, Oid caller, MemoryContext context)
{
	SpiScope	scope;
	int			count;
	int			allowed = 0;

	spi_open(&scope, SPI_AS_OWNER);
	count = (int) spi_execute(SPI_OK_SELECT,
		"SELECT j.job_id, j.owner FROM salesops.job_definition j "
		"WHERE " WORKER_JOB_IS_DUE
		"ORDER BY j.next_run_at, j.job_id", 0, NULL);
	*jobs = MemoryContextAlloc(context, sizeof(int64) * (count + 1));
	for (int i = 0; i < count; i++)
	{
		Oid			owner = get_role_oid(spi_get_text(i, 2), true);

		if (OidIsValid(owner) && has_privs_of_role(caller, owner))
			(*jobs)[allowed++] = spi_get_int8(i, 1);
	}
	spi_close(&scope);
	return allowed;
}

PG_FUNCTION_INFO_V1(salesops_run_due_jobs);

/*
 * CALL run_due_jobs(): run what is due and the caller may run (jobs of roles he can act as), one transaction a job; for pg_cron and
 * other schedulers outside. Jobs that come after others follow in the same call. Inside a transaction block all is one.
 */
Datum
salesops_run_due_jobs(PG_FUNCTION_ARGS)
{
	bool		atomic = !(fcinfo->context && IsA(fcinfo->context, CallContext) &&
						   !castNode(CallContext, fcinfo->context)->atomic);
	Oid			caller = GetUserId();
	MemoryContext context;
	int64	   *jobs;
	int			count;
	bool		ran = true;

	SPI_connect_ext(atomic ? 0 : SPI_OPT_NONATOMIC);
	context = CurrentMemoryContext;
	/* what a worker would look after, where there is none */
	worker_record_lost(NULL, 0);
	worker_repair_clock();
	worker_prune_history();
	/* a job run makes those that wait for it due: look again, but never run one twice for it */
	for (int round = 0; ran && round < 10; round++)
	{
		ran = false;
		count = due_jobs(&jobs, caller, context);
		for (int i = 0; i < count; i++)
		{
			JobRun		run = {0};

			CHECK_FOR_INTERRUPTS();
			if (worker_claim_run(jobs[i], false, false, &run))
			{
				(void) worker_run_here(&run);
				ran = true;
			}
			if (!atomic)
				SPI_commit();
		}
	}
	SPI_finish();
	PG_RETURN_VOID();
}
