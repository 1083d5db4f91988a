/*
 * hygiene_pg.c
 *		What changes something in pipeline hygiene: settings, snapshots, and acting on findings.
 *
 * The findings themselves are SQL (sql/52_pipeline_views.sql). apply_hygiene() writes to the user's table as the caller,
 * keeps what stood there before, and revert_hygiene() puts it back where nobody has changed it since.
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

PG_FUNCTION_INFO_V1(salesops_set_hygiene_rule);
PG_FUNCTION_INFO_V1(salesops_take_hygiene_snapshot);

/* Error 22023 unless there is such a rule; the hint lists them. */
static void
require_rule(const char *rule)
{
	SpiScope	scope;
	StringInfoData list;
	MemoryContext context = CurrentMemoryContext;
	bool		found = false;
	uint64		rows;

	initStringInfo(&list);
	spi_open(&scope, SPI_AS_OWNER);
	rows = spi_execute(SPI_OK_SELECT, "SELECT r.rule FROM salesops.hygiene_rule r ORDER BY 1", 0, NULL);
	for (uint64 i = 0; i < rows; i++)
	{
		char	   *name = spi_get_text(i, 1);

		found |= strcmp(name, rule) == 0;
		MemoryContextSwitchTo(context);
		append_choice(&list, name);
	}
	spi_close(&scope);
	if (!found)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("hygiene rule \"%s\" does not exist", rule),
				 errhint("The rules are: %s.", list.data)));
}

/* set_hygiene_rule(rule, points, threshold, is_active): 22023 for an unknown rule or points outside 0 to 100 */
Datum
salesops_set_hygiene_rule(PG_FUNCTION_ARGS)
{
	char	   *rule = PG_ARGISNULL(0) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(0));
	SpiScope	scope;

	require_rule(rule);
	if (!PG_ARGISNULL(1) && (PG_GETARG_INT32(1) < 0 || PG_GETARG_INT32(1) > 100))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("points must be between 0 and 100, not %d", PG_GETARG_INT32(1))));
	if (!PG_ARGISNULL(2))
		require_finite(PG_GETARG_FLOAT8(2), "threshold");
	spi_open(&scope, SPI_AS_OWNER);
	(void) spi_execute(SPI_OK_INSERT,
					   "INSERT INTO salesops.hygiene_setting AS s (rule, points, threshold, is_active) VALUES ($1, $2, $3, $4)"
					   " ON CONFLICT (rule) DO UPDATE SET (points, threshold, is_active) = (excluded.points, excluded.threshold, excluded.is_active)",
					   4, (SpiArg[]) {spi_text(rule), spi_datum(INT4OID, PG_GETARG_DATUM(1), PG_ARGISNULL(1)),
									  spi_datum(FLOAT8OID, PG_GETARG_DATUM(2), PG_ARGISNULL(2)),
									  spi_bool(PG_ARGISNULL(3) || PG_GETARG_BOOL(3))});
	spi_close(&scope);
	PG_RETURN_VOID();
}

/* What the caller sees of the pipeline, gathered as the caller and then written as the owner */
typedef struct Gathered
{
	SpiArray	deals;
	SpiArray	rules;
	SpiArg		quality[4];		/* open, clean, findings, score */
} Gathered;

/* One finding */
static void
gather_finding(TupleTableSlot *slot, void *arg)
{
	Gathered   *gathered = arg;

	spi_array_add_text(&gathered->deals, slot->tts_isnull[0] ? NULL : TextDatumGetCString(slot->tts_values[0]));
	spi_array_add_text(&gathered->rules, slot->tts_isnull[1] ? NULL : TextDatumGetCString(slot->tts_values[1]));
}

/* The figures */
static void
gather_quality(TupleTableSlot *slot, void *arg)
{
	Gathered   *gathered = arg;

	for (int i = 0; i < 4; i++)
		gathered->quality[i] = spi_datum(i == 3 ? FLOAT8OID : INT8OID,
										 slot->tts_isnull[i] ? (Datum) 0
										 : i == 3 ? Float8GetDatum(DatumGetFloat8(slot->tts_values[i]))
										 : Int64GetDatum(DatumGetInt64(slot->tts_values[i])), slot->tts_isnull[i]);
}

/* Findings that are new come in, those that are still there are seen again, those that have gone are resolved. */
static int64
store_snapshot(Gathered *gathered, TimestampTz as_of)
{
	SpiScope	scope;
	SpiArg		args[] = {spi_timestamptz(as_of), spi_array(&gathered->deals), spi_array(&gathered->rules)};
	SpiArg		figures[] = {spi_timestamptz(as_of), gathered->quality[0], gathered->quality[1], gathered->quality[2],
	gathered->quality[3]};
	int64		seen;

	spi_open(&scope, SPI_AS_OWNER);
	(void) spi_execute(SPI_OK_UTILITY, "LOCK TABLE salesops.hygiene_finding IN SHARE ROW EXCLUSIVE MODE", 0, NULL);
	(void) spi_execute(SPI_OK_UPDATE,
					   "UPDATE salesops.hygiene_finding f SET resolved_at = $1 WHERE f.resolved_at IS NULL AND NOT EXISTS"
					   " (SELECT FROM unnest($2, $3) AS n (deal, rule) WHERE n.deal = f.opportunity_id AND n.rule = f.rule)", 3, args);
	(void) spi_execute(SPI_OK_UPDATE,
					   "UPDATE salesops.hygiene_finding f SET last_seen = greatest(f.last_seen, $1) FROM unnest($2, $3) AS n (deal, rule)"
					   " WHERE n.deal = f.opportunity_id AND n.rule = f.rule AND f.resolved_at IS NULL", 3, args);
	(void) spi_execute(SPI_OK_INSERT,
					   "INSERT INTO salesops.hygiene_finding (opportunity_id, rule, first_seen, last_seen)"
					   " SELECT DISTINCT n.deal, n.rule, $1, $1 FROM unnest($2, $3) AS n (deal, rule) WHERE NOT EXISTS"
					   " (SELECT FROM salesops.hygiene_finding f WHERE f.opportunity_id = n.deal AND f.rule = n.rule AND f.resolved_at IS NULL)"
					   " ON CONFLICT DO NOTHING", 3, args);
	seen = (int64) spi_execute(SPI_OK_INSERT,
							   "INSERT INTO salesops.hygiene_snapshot AS s (taken_at, open_deals, clean_deals, findings, average_score)"
							   " VALUES ($1, $2, $3, $4, $5) ON CONFLICT (taken_at) DO UPDATE SET (open_deals, clean_deals, findings, average_score)"
							   " = (excluded.open_deals, excluded.clean_deals, excluded.findings, excluded.average_score)",
							   lengthof(figures), figures);
	spi_close(&scope);
	return seen;
}

/*
 * take_hygiene_snapshot(as_of) -> bigint: how many findings there are. Reads the pipeline as the caller, who should see all
 * of it: what the caller does not see counts as resolved.
 */
Datum
salesops_take_hygiene_snapshot(PG_FUNCTION_ARGS)
{
	TimestampTz as_of = PG_GETARG_TIMESTAMPTZ(0);
	Gathered	gathered = {{TEXTOID}, {TEXTOID}};
	SpiScope	scope;
	MemoryContext context = CurrentMemoryContext;
	SpiArg		args[] = {spi_timestamptz(as_of)};
	uint64		findings;

	spi_open(&scope, SPI_AS_CALLER);
	MemoryContextSwitchTo(context);
	findings = spi_stream("SELECT h.opportunity_id, h.rule FROM salesops.find_hygiene($1) h", 1, args, true, gather_finding, &gathered);
	(void) spi_stream("SELECT q.open_deals, q.clean_deals, q.findings, q.average_score FROM salesops.pipeline_quality_at($1) q",
					  1, args, true, gather_quality, &gathered);
	spi_close(&scope);
	MemoryContextSwitchTo(context);
	(void) store_snapshot(&gathered, as_of);
	PG_RETURN_INT64((int64) findings);
}
