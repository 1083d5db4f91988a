/*
 * decide_pg.c
 *		What people decide of pairs: confirm_match, reject_match, withdraw_decision; later runs respect it, and probabilities are
 *		recalibrated by it.
 *
 * Calibration is Platt's (1999): probability = logistic(slope * log odds + offset), fitted to the decided pairs with a prior that
 * holds it at (1, 0) until there are some tens of decisions of both kinds. It is kept in salesops.matcher.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "core/errors.h"
#include "core/kernel_pg.h"
#include "core/relation.h"
#include "match/matcher_pg.h"

PG_FUNCTION_INFO_V1(salesops_confirm_match);
PG_FUNCTION_INFO_V1(salesops_reject_match);
PG_FUNCTION_INFO_V1(salesops_withdraw_decision);

#define LEAST_DECISIONS 10		/* of each kind before probabilities change */
#define MOST_DECISIONS 5000		/* the latest ones that calibration looks at */
#define PRIOR_STRENGTH 10.0		/* how hard slope and offset are held */

typedef struct DecisionRows
{
	int			count;
	char	  **left;
	char	  **right;
	bool	   *confirmed;
} DecisionRows;

/* All decisions of a matcher, latest first. */
static DecisionRows
read_decisions(const char *matcher)
{
	DecisionRows rows = {0};
	SpiScope	scope;
	SpiArg		args[] = {spi_text(matcher)};
	MemoryContext caller = CurrentMemoryContext;

	spi_open(&scope, SPI_AS_OWNER);
	rows.count = (int) spi_execute_kept(SPI_OK_SELECT,
								   "SELECT d.left_key, d.right_key, d.confirmed FROM salesops.match_decision d "
								   "WHERE d.matcher OPERATOR(pg_catalog.=) $1 ORDER BY d.decided_at DESC, d.left_key, d.right_key", 1, args);
	rows.left = MemoryContextAlloc(caller, sizeof(char *) * (rows.count + 1));
	rows.right = MemoryContextAlloc(caller, sizeof(char *) * (rows.count + 1));
	rows.confirmed = MemoryContextAlloc(caller, sizeof(bool) * (rows.count + 1));
	for (int i = 0; i < rows.count; i++)
	{
		rows.left[i] = MemoryContextStrdup(caller, spi_get_text(i, 1));
		rows.right[i] = MemoryContextStrdup(caller, spi_get_text(i, 2));
		rows.confirmed[i] = spi_get_bool(i, 3);
	}
	spi_close(&scope);
	return rows;
}

MatcherKeyDecisions
matcher_decisions_of(const Matcher *matcher, const char *key)
{
	MatcherKeyDecisions decided = {0};
	SpiScope	scope;
	SpiArg		args[] = {spi_text(matcher->name), spi_text(key), spi_bool(OidIsValid(matcher->right_relid))};
	MemoryContext caller = CurrentMemoryContext;

	spi_open(&scope, SPI_AS_OWNER);
	decided.count = (int) spi_execute_kept(SPI_OK_SELECT,
										   "SELECT d.right_key, d.confirmed FROM salesops.match_decision d "
										   "WHERE d.matcher OPERATOR(pg_catalog.=) $1 AND d.left_key OPERATOR(pg_catalog.=) $2 "
										   "UNION ALL SELECT d.left_key, d.confirmed FROM salesops.match_decision d "
										   "WHERE NOT $3 AND d.matcher OPERATOR(pg_catalog.=) $1 AND d.right_key OPERATOR(pg_catalog.=) $2",
										   lengthof(args), args);
	decided.other = MemoryContextAlloc(caller, sizeof(char *) * (decided.count + 1));
	decided.confirmed = MemoryContextAlloc(caller, sizeof(bool) * (decided.count + 1));
	for (int i = 0; i < decided.count; i++)
	{
		decided.other[i] = MemoryContextStrdup(caller, spi_get_text(i, 1));
		decided.confirmed[i] = spi_get_bool(i, 2);
	}
	spi_close(&scope);
	return decided;
}

/* For qsort and bsearch. */
static int
compare_decisions(const void *a, const void *b)
{
	uint64		x = ((const MatcherDecision *) a)->pair;
	uint64		y = ((const MatcherDecision *) b)->pair;

	return (x > y) - (x < y);
}

/* Two records as one number. */
static uint64
pair_number(int32 a, int32 b)
{
	return a < b ? (uint64) a << 32 | (uint32) b : (uint64) b << 32 | (uint32) a;
}

/* The keys of decisions, left and right in turn, as the one column of records. */
static void
name_keys(const KernelEnv *env, const DecisionRows *rows, MatchRecords *names)
{
	match_records_init(names, 1, env);
	for (int i = 0; i < rows->count; i++)
	{
		match_records_set(names, match_records_add(names), 0, rows->left[i], strlen(rows->left[i]));
		match_records_set(names, match_records_add(names), 0, rows->right[i], strlen(rows->right[i]));
	}
}

/* Records of the decided keys: side 0 left, 1 right; -1 where a key has gone. */
static void
locate_keys(const MatcherRecords *loaded, const DecisionRows *rows, int32 *left, int32 *right)
{
	MatchRecords names;
	bool		two = loaded->records.nleft > 0;
	int32	   *record[2];

	name_keys(&loaded->records.env, rows, &names);
	for (int side = 0; side < 2; side++)
	{
		record[side] = kernel_alloc_array(&loaded->records.env, int32, names.column[0].nvalues + 1);
		for (int32 v = 0; v < names.column[0].nvalues; v++)
			record[side][v] = -1;
	}
	for (int32 i = 0; i < loaded->records.nrecords; i++)
	{
		const char *key = matcher_key(loaded, i);
		int32		code = match_column_find(&names.column[0], key, strlen(key));

		if (code != MATCH_NULL)
			record[two && i >= loaded->records.nleft ? 1 : 0][code] = i;
	}
	for (int i = 0; i < rows->count; i++)
	{
		left[i] = record[0][names.column[0].code[2 * i]];
		right[i] = record[two ? 1 : 0][names.column[0].code[2 * i + 1]];
	}
}

void
matcher_decided_keys(const Matcher *matcher, const KernelEnv *env, MatchRecords *names)
{
	DecisionRows rows = read_decisions(matcher->name);

	name_keys(env, &rows, names);
}

MatcherDecision *
matcher_decisions(const Matcher *matcher, const MatcherRecords *loaded, int *count)
{
	DecisionRows rows = read_decisions(matcher->name);
	MatcherDecision *decision = palloc(sizeof(MatcherDecision) * (rows.count + 1));
	int32	   *left = palloc(sizeof(int32) * (rows.count + 1));
	int32	   *right = palloc(sizeof(int32) * (rows.count + 1));

	*count = 0;
	if (rows.count == 0)
		return decision;
	locate_keys(loaded, &rows, left, right);
	for (int i = 0; i < rows.count; i++)
	{
		if (left[i] < 0 || right[i] < 0)
			continue;
		decision[*count].pair = pair_number(left[i], right[i]);
		decision[(*count)++].confirmed = rows.confirmed[i];
	}
	qsort(decision, *count, sizeof(MatcherDecision), compare_decisions);
	return decision;
}

const MatcherDecision *
matcher_decided(const MatcherRun *run, int32 a, int32 b)
{
	MatcherDecision wanted = {pair_number(a, b)};

	return bsearch(&wanted, run->decision, run->ndecisions, sizeof(MatcherDecision), compare_decisions);
}

/* Penalised log likelihood of slope a and offset b (natural logarithm), with its gradient and Hessian. */
typedef struct Likelihood
{
	double		value;
	double		ga;
	double		gb;
	double		haa;
	double		hab;
	double		hbb;
} Likelihood;

/* Odds beyond 2^20 say nothing more about the slope. */
static Likelihood
likelihood(const double *odds, const bool *confirmed, int n, double a, double b)
{
	Likelihood	l = {0};

	l.value = -PRIOR_STRENGTH / 2 * ((a - 1) * (a - 1) + b * b / 25);
	l.ga = -PRIOR_STRENGTH * (a - 1);
	l.gb = -PRIOR_STRENGTH * b / 25;
	l.haa = PRIOR_STRENGTH;
	l.hbb = PRIOR_STRENGTH / 25;
	for (int i = 0; i < n; i++)
	{
		double		x = fmin(fmax(odds[i], -20), 20) * M_LN2;
		double		z = a * x + b;
		double		p = 1 / (1 + exp(-z));
		double		r = (confirmed[i] ? 1 : 0) - p;

		l.value -= log1p(exp(-fabs(z))) + (confirmed[i] ? fmax(-z, 0) : fmax(z, 0));
		l.ga += r * x;
		l.gb += r;
		l.haa += p * (1 - p) * x * x;
		l.hab += p * (1 - p) * x;
		l.hbb += p * (1 - p);
	}
	return l;
}

/* Newton's method with halved steps: the likelihood is concave. The slope stays positive, so that the order of pairs does. */
static void
fit_calibration(const double *odds, const bool *confirmed, int n, double *slope, double *offset)
{
	double		a = 1;
	double		b = 0;
	Likelihood	now = likelihood(odds, confirmed, n, a, b);

	for (int round = 0; round < 200; round++)
	{
		double		determinant = now.haa * now.hbb - now.hab * now.hab;
		double		step_a = (now.hbb * now.ga - now.hab * now.gb) / determinant;
		double		step_b = (now.haa * now.gb - now.hab * now.ga) / determinant;
		double		scale = 1;
		Likelihood	next;

		for (;;)
		{
			next = likelihood(odds, confirmed, n, fmax(a + scale * step_a, 0.02), b + scale * step_b);
			if (next.value >= now.value || scale < 1e-6)
				break;
			scale /= 2;
		}
		a = fmax(a + scale * step_a, 0.02);
		b += scale * step_b;
		if (next.value - now.value < 1e-10)
			break;
		now = next;
	}
	*slope = a;
	*offset = b / M_LN2;
}

/* Scores of the decided pairs that are still there; how many. */
static int
score_decisions(Matcher *matcher, const DecisionRows *rows, double *odds, bool *confirmed)
{
	const char **keys = palloc(sizeof(char *) * (2 * rows->count + 1));
	int32	   *left = palloc(sizeof(int32) * (rows->count + 1));
	int32	   *right = palloc(sizeof(int32) * (rows->count + 1));
	MatcherRecords loaded;
	MatchModel	model;
	MatchScorer scorer;
	int			n = 0;

	for (int i = 0; i < rows->count; i++)
	{
		keys[2 * i] = rows->left[i];
		keys[2 * i + 1] = rows->right[i];
	}
	matcher_records_load_keys(matcher, &loaded, 2 * rows->count, keys);
	match_comparisons_prepare(&loaded.records, matcher->comparison, matcher->ncomparisons, matcher_utf8());
	matcher_model(matcher, &loaded.records, &model);
	match_scorer_init(&scorer, &loaded.records, matcher->comparison, &model, matcher_workspace(&loaded.records.env));
	locate_keys(&loaded, rows, left, right);
	for (int i = 0; i < rows->count; i++)
	{
		if (left[i] < 0 || right[i] < 0)
			continue;
		odds[n] = (match_score(&scorer, left[i], right[i]) + scorer.prior) / MATCH_FIXED;
		confirmed[n++] = rows->confirmed[i];
	}
	return n;
}

/* Fit slope and offset to the decisions, and keep them. */
static void
recalibrate(const char *name)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(caller, "salesops match calibration", ALLOCSET_DEFAULT_SIZES);
	Matcher    *matcher;
	DecisionRows rows;
	int			kinds[2] = {0};
	double		slope = 1;
	double		offset = 0;
	SpiScope	scope;

	MemoryContextSwitchTo(context);
	matcher = matcher_load(name);
	rows = read_decisions(name);
	rows.count = Min(rows.count, MOST_DECISIONS);
	for (int i = 0; i < rows.count; i++)
		kinds[rows.confirmed[i]]++;
	if (matcher->model != NULL && kinds[0] >= LEAST_DECISIONS && kinds[1] >= LEAST_DECISIONS)
	{
		double	   *odds = palloc(sizeof(double) * rows.count);
		bool	   *confirmed = palloc(sizeof(bool) * rows.count);
		int			n = score_decisions(matcher, &rows, odds, confirmed);

		fit_calibration(odds, confirmed, n, &slope, &offset);
	}
	spi_open(&scope, SPI_AS_OWNER);
	{
		SpiArg		args[] = {spi_text(name), spi_float8(slope), spi_float8(offset)};

		spi_execute(SPI_OK_UPDATE,
					"UPDATE salesops.matcher SET calibration_slope = $2, calibration_offset = $3 "
					"WHERE matcher.matcher OPERATOR(pg_catalog.=) $1", 3, args);
	}
	spi_close(&scope);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
}

/* Both records must be there, and be two; the pair in the order in which it is kept. */
static void
require_pair(Matcher *matcher, const char **left, const char **right)
{
	const char *keys[2] = {*left, *right};
	MatcherRecords loaded;
	DecisionRows rows = {1, (char **) left, (char **) right, NULL};
	int32		a;
	int32		b;

	matcher_records_load_keys(matcher, &loaded, 2, keys);
	locate_keys(&loaded, &rows, &a, &b);
	if (a < 0 || b < 0)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("matcher \"%s\": there is no record with key \"%s\"", matcher->name, a < 0 ? *left : *right)));
	if (a == b)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a record cannot be decided against itself: key \"%s\"", *left)));
	if (!OidIsValid(matcher->right_relid) && matcher_compare_keys(&loaded, a, b) > 0)
	{
		const char *t = *left;

		*left = *right;
		*right = t;
	}
}

/* Keep a decision; the latest counts. */
static void
decide(FunctionCallInfo fcinfo, bool confirmed)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	const char *left = text_to_cstring(PG_GETARG_TEXT_PP(1));
	const char *right = text_to_cstring(PG_GETARG_TEXT_PP(2));
	Matcher    *matcher = matcher_load(name);
	SpiScope	scope;

	require_pair(matcher, &left, &right);
	spi_open(&scope, SPI_AS_OWNER);
	{
		SpiArg		args[] = {spi_text(name), spi_text(left), spi_text(right), spi_bool(confirmed),
		spi_text(GetUserNameFromId(scope.save_user, false))};

		spi_execute(SPI_OK_INSERT,
					"INSERT INTO salesops.match_decision (matcher, left_key, right_key, confirmed, decided_by) VALUES ($1, $2, $3, $4, $5) "
					"ON CONFLICT (matcher, left_key, right_key) DO UPDATE SET confirmed = excluded.confirmed, "
					"decided_by = excluded.decided_by, decided_at = excluded.decided_at", lengthof(args), args);
	}
	spi_close(&scope);
	recalibrate(name);
}

/* confirm_match(matcher, left_key, right_key) -> void: the two are the same, whatever the scores say */
Datum
salesops_confirm_match(PG_FUNCTION_ARGS)
{
	decide(fcinfo, true);
	PG_RETURN_VOID();
}

/* reject_match(matcher, left_key, right_key) -> void: the two are different, whatever the scores say */
Datum
salesops_reject_match(PG_FUNCTION_ARGS)
{
	decide(fcinfo, false);
	PG_RETURN_VOID();
}

/* withdraw_decision(matcher, left_key, right_key) -> boolean: false where none was made */
Datum
salesops_withdraw_decision(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	SpiScope	scope;
	SpiArg		args[] = {spi_text(name), spi_text(text_to_cstring(PG_GETARG_TEXT_PP(1))), spi_text(text_to_cstring(PG_GETARG_TEXT_PP(2)))};
	uint64		count;

	(void) matcher_load(name);
	spi_open(&scope, SPI_AS_OWNER);
	count = spi_execute(SPI_OK_DELETE,
						"DELETE FROM salesops.match_decision d WHERE d.matcher OPERATOR(pg_catalog.=) $1 AND "
						"((d.left_key OPERATOR(pg_catalog.=) $2 AND d.right_key OPERATOR(pg_catalog.=) $3) OR "
						"(d.left_key OPERATOR(pg_catalog.=) $3 AND d.right_key OPERATOR(pg_catalog.=) $2))", 3, args);
	spi_close(&scope);
	if (count > 0)
		recalibrate(name);
	PG_RETURN_BOOL(count > 0);
}
