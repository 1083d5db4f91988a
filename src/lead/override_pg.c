/*
 * override_pg.c
 *		Scores set by hand over the automatic ones, which are kept.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "core/compat.h"
#include "core/errors.h"
#include "core/spi.h"
#include "lead/lead_pg.h"

/* Is the lead visible to the caller? */
static void
require_lead(const char *lead)
{
	SpiScope	scope;
	SpiArg		arg = spi_text(lead);
	uint64		rows;

	spi_open(&scope, SPI_AS_CALLER);
	rows = spi_execute(SPI_OK_SELECT, "SELECT 1 FROM salesops.lead WHERE lead_id OPERATOR(pg_catalog.=) $1 LIMIT 1", 1, &arg);
	spi_close(&scope);
	if (rows == 0)
		ereport(ERROR, (errcode(ERRCODE_NO_DATA_FOUND), errmsg("there is no lead \"%s\"", lead)));
}

/* Lift the override: the automatic score counts again. */
static void
lift(const char *lead)
{
	SpiScope	scope;
	SpiArg		arg = spi_text(lead);

	spi_open(&scope, SPI_AS_OWNER);
	spi_execute(SPI_OK_DELETE, "DELETE FROM salesops.lead_score_override WHERE lead_id = $1", 1, &arg);
	spi_execute(SPI_OK_UPDATE, "UPDATE salesops.lead_score SET score = automatic_score, grade = automatic_grade WHERE lead_id = $1", 1, &arg);
	spi_close(&scope);
}

PG_FUNCTION_INFO_V1(salesops_override_lead_score);
/* (lead_id, score or NULL, reason, until). A reason is asked for: whoever reads the score will ask. */
Datum
salesops_override_lead_score(PG_FUNCTION_ARGS)
{
	ScoringPolicy *policy;
	char	   *lead;
	char	   *caller = GetUserNameFromId(GetUserId(), false);
	double		score;
	int			grade = 0;
	SpiScope	scope;

	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("lead_id must not be null")));
	lead = text_to_cstring(PG_GETARG_TEXT_PP(0));
	require_lead(lead);
	if (PG_ARGISNULL(1))
	{
		lift(lead);
		PG_RETURN_VOID();
	}
	score = PG_GETARG_FLOAT8(1);
	if (!(score >= 0 && score <= 100))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the score must be from 0 to 100, not %g", score)));
	if (PG_ARGISNULL(2) || VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(2)) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an override needs a reason"),
				 errhint("SELECT salesops.override_lead_score('%s', %g, 'why');", lead, score)));
	policy = lead_read_policy();
	/* thresholds of a probability say nothing of a score: the default ones do */
	if (policy->grade_by_probability)
	{
		policy->grade_threshold[0] = 90;
		policy->grade_threshold[1] = 70;
		policy->grade_threshold[2] = 40;
	}
	while (grade < 3 && score < policy->grade_threshold[grade])
		grade++;
	spi_open(&scope, SPI_AS_OWNER);
	{
		SpiArg		args[] = {
			spi_text(lead), spi_float8(score), spi_text((char[2]) {'A' + grade, '\0'}),
			spi_datum(TEXTOID, PG_GETARG_DATUM(2), false),
			spi_datum(TIMESTAMPTZOID, PG_ARGISNULL(3) ? (Datum) 0 : PG_GETARG_DATUM(3), PG_ARGISNULL(3)), spi_name(caller)
		};

		spi_execute(SPI_OK_INSERT, "INSERT INTO salesops.lead_score_override (lead_id, score, grade, reason, until, set_by, set_at) "
					"VALUES ($1, $2, $3, $4, $5, $6, now()) ON CONFLICT (lead_id) DO UPDATE "
					"SET (score, grade, reason, until, set_by, set_at) = (excluded.score, excluded.grade, excluded.reason, excluded.until, "
					"excluded.set_by, excluded.set_at)", lengthof(args), args);
		spi_execute(SPI_OK_UPDATE, "UPDATE salesops.lead_score SET score = $2, grade = $3 WHERE lead_id = $1", 3, args);
	}
	spi_close(&scope);
	PG_RETURN_VOID();
}
