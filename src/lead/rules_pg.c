/*
 * rules_pg.c
 *		Scoring rules, segments and the policy: their definition, and the query that judges leads by them. An expression is
 *		parsed against the contract view (salesops.lead, salesops.activity) by the server, stored as the server deparsed
 *		it, and parsed again whenever it is put into a query: no text of a user's reaches SQL as it was given.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "core/compat.h"
#include "core/errors.h"
#include "core/expression.h"
#include "core/options.h"
#include "core/relation.h"
#include "core/spi.h"
#include "lead/lead_pg.h"

const char *const lead_categories[] = {"fit", "technology", "engagement", "negative", NULL};

static const char *const rule_entities[] = {"lead", "activity", NULL};
static const char *const grade_sources[] = {"score", "probability", NULL};

typedef struct RuleOptions
{
	int			entity;
	Interval   *half_life;
	double		cap;
} RuleOptions;

static const OptionSpec rule_specs[] = {
	{"entity", OPTION_CHOICE, offsetof(RuleOptions, entity), .choices = rule_entities},
	{"half_life", OPTION_INTERVAL, offsetof(RuleOptions, half_life)},
	{"cap", OPTION_FLOAT, offsetof(RuleOptions, cap), .min = 1e-9, .max = 1e9},
};

typedef struct PolicyOptions
{
	double		model_weight;
	double		fit_cap;
	double		technology_cap;
	double		engagement_cap;
	double		negative_cap;
	double		total;
	int			grade_by;
	List	   *grades;
	List	   *matrix;
} PolicyOptions;

#define CAP(name, field) {name, OPTION_FLOAT, offsetof(PolicyOptions, field), .min = 1e-9, .max = 1e9}

static const OptionSpec policy_specs[] = {
	{"model_weight", OPTION_FLOAT, offsetof(PolicyOptions, model_weight), .min = 0, .max = 1},
	CAP("fit_cap", fit_cap), CAP("technology_cap", technology_cap), CAP("engagement_cap", engagement_cap),
	CAP("negative_cap", negative_cap), CAP("total", total),
	{"grade_by", OPTION_CHOICE, offsetof(PolicyOptions, grade_by), .choices = grade_sources},
	{"grades", OPTION_FLOAT_LIST, offsetof(PolicyOptions, grades)},
	{"matrix", OPTION_FLOAT_LIST, offsetof(PolicyOptions, matrix)},
};

/* Index of a name in a list of names, -1 where it is not there. */
static int
index_of(const char *const *names, const char *name)
{
	for (int i = 0; names[i]; i++)
		if (strcmp(names[i], name) == 0)
			return i;
	return -1;
}

/* Only who owns the leads may say how they are judged: the expression runs as whoever scores. */
static void
require_lead_owner(void)
{
	Oid			relation = contract_relation("lead");

	if (OidIsValid(relation))
		relation_require_owner(relation);
}

/* Seconds of a half-life; 0 for none. */
static double
half_life_seconds(const Interval *half_life)
{
	if (half_life == NULL)
		return 0;
	return (double) half_life->time / USECS_PER_SEC + (half_life->day + 30.0 * half_life->month) * SECS_PER_DAY;
}

/* ---- definitions ---- */

/* Options of a rule, with what does not go together. */
static void
parse_rule(int category, double points, Jsonb *json, RuleOptions *options, const char *rule)
{
	Problems	problems;

	problems_init(&problems);
	*options = (RuleOptions) {.entity = category == RULE_ENGAGEMENT};
	options_parse(json, rule_specs, lengthof(rule_specs), options, &problems, "options");
	if (category < 0)
		problems_add(&problems, "the category must be fit, technology, engagement or negative");
	if (category == RULE_NEGATIVE ? points >= 0 : points <= 0)
		problems_add(&problems, "points must be %s in this category, not %g", category == RULE_NEGATIVE ? "below 0" : "above 0", points);
	if (options->half_life && half_life_seconds(options->half_life) <= 0)
		problems_add(&problems, "options.half_life must be positive");
	if (options->half_life && options->entity == 0)
		problems_add(&problems, "options.half_life is for rules on activities");
	problems_raise(&problems, ERRCODE_INVALID_PARAMETER_VALUE, NULL, "invalid scoring rule \"%s\"", rule);
}

PG_FUNCTION_INFO_V1(salesops_create_scoring_rule);
/*
 * (rule, category, expression, points, options). Options: entity 'lead' (default) or 'activity' (default for engagement),
 * half_life (activities), cap (of the rule's points). The expression is boolean, over salesops.lead or salesops.activity.
 */
Datum
salesops_create_scoring_rule(PG_FUNCTION_ARGS)
{
	char	   *rule = text_to_cstring(PG_GETARG_TEXT_PP(0));
	int			category = index_of(lead_categories, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	double		points = PG_GETARG_FLOAT8(3);
	RuleOptions options;
	RowExpression *expression;
	SpiScope	scope;

	require_finite(points, "points");
	parse_rule(category, points, PG_GETARG_JSONB_P(4), &options, rule);
	require_lead_owner();
	expression = expression_parse(text_to_cstring(PG_GETARG_TEXT_PP(2)), contract_view(rule_entities[options.entity]), BOOLOID,
								  EXPRESSION_ANY_ROLE, psprintf("scoring rule \"%s\"", rule));
	spi_open(&scope, SPI_AS_OWNER);
	{
		SpiArg		args[] = {
			spi_text(rule), spi_text(lead_categories[category]), spi_text(rule_entities[options.entity]),
			spi_text(expression->text), spi_float8(points),
			spi_datum(INTERVALOID, PointerGetDatum(options.half_life), options.half_life == NULL),
			spi_datum(FLOAT8OID, Float8GetDatum(options.cap), options.cap == 0)
		};

		if (spi_execute(SPI_OK_INSERT, "INSERT INTO salesops.scoring_rule (rule, category, entity, expression, points, half_life, cap) "
						"VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (rule) DO NOTHING", lengthof(args), args) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_OBJECT),
					 errmsg("scoring rule \"%s\" already exists", rule),
					 errhint("SELECT salesops.drop_scoring_rule('%s'); first.", rule)));
	}
	spi_close(&scope);
	PG_RETURN_VOID();
}

/* Delete a named row; error where there is none. */
static void
drop_named(const char *sql, const char *what, char *name)
{
	SpiScope	scope;
	SpiArg		arg = spi_text(name);
	uint64		rows;

	require_lead_owner();
	spi_open(&scope, SPI_AS_OWNER);
	rows = spi_execute(SPI_OK_DELETE, sql, 1, &arg);
	spi_close(&scope);
	if (rows == 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("%s \"%s\" does not exist", what, name)));
}

PG_FUNCTION_INFO_V1(salesops_drop_scoring_rule);
/* (rule) */
Datum
salesops_drop_scoring_rule(PG_FUNCTION_ARGS)
{
	drop_named("DELETE FROM salesops.scoring_rule WHERE rule = $1", "scoring rule", text_to_cstring(PG_GETARG_TEXT_PP(0)));
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(salesops_create_scoring_segment);
/* (segment, expression, model, ordinal): leads for which the expression holds are scored by that model */
Datum
salesops_create_scoring_segment(PG_FUNCTION_ARGS)
{
	char	   *segment = text_to_cstring(PG_GETARG_TEXT_PP(0));
	RowExpression *expression;
	SpiScope	scope;

	require_lead_owner();
	expression = expression_parse(text_to_cstring(PG_GETARG_TEXT_PP(1)), contract_view("lead"), BOOLOID, EXPRESSION_ANY_ROLE,
								  psprintf("scoring segment \"%s\"", segment));
	spi_open(&scope, SPI_AS_OWNER);
	{
		SpiArg		args[] = {spi_text(segment), spi_text(expression->text), spi_text(text_to_cstring(PG_GETARG_TEXT_PP(2))),
			spi_int4(PG_GETARG_INT32(3))};

		if (spi_execute(SPI_OK_INSERT, "INSERT INTO salesops.scoring_segment (segment, expression, model, ordinal) "
						"VALUES ($1, $2, $3, $4) ON CONFLICT (segment) DO NOTHING", lengthof(args), args) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_OBJECT),
					 errmsg("scoring segment \"%s\" already exists", segment),
					 errhint("SELECT salesops.drop_scoring_segment('%s'); first.", segment)));
	}
	spi_close(&scope);
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(salesops_drop_scoring_segment);
/* (segment) */
Datum
salesops_drop_scoring_segment(PG_FUNCTION_ARGS)
{
	drop_named("DELETE FROM salesops.scoring_segment WHERE segment = $1", "scoring segment",
			   text_to_cstring(PG_GETARG_TEXT_PP(0)));
	PG_RETURN_VOID();
}

/* Three thresholds, falling. */
static void
take_thresholds(List *given, double *thresholds, const char *what, Problems *problems)
{
	if (given == NIL)
		return;
	if (list_length(given) != 3)
	{
		problems_add(problems, "%s must be three numbers: where A, B and C begin", what);
		return;
	}
	for (int i = 0; i < 3; i++)
	{
		thresholds[i] = *(double *) list_nth(given, i);
		if (i > 0 && thresholds[i] > thresholds[i - 1])
			problems_add(problems, "%s must fall: %g is above %g", what, thresholds[i], thresholds[i - 1]);
	}
}

/* The options over the defaults. */
static void
parse_policy(Jsonb *json, ScoringPolicy *policy)
{
	PolicyOptions options = {.model_weight = 0.7};
	Problems	problems;

	problems_init(&problems);
	options_parse(json, policy_specs, lengthof(policy_specs), &options, &problems, "options");
	policy->model_weight = options.model_weight;
	policy->category_cap[RULE_FIT] = options.fit_cap;
	policy->category_cap[RULE_TECHNOLOGY] = options.technology_cap;
	policy->category_cap[RULE_ENGAGEMENT] = options.engagement_cap;
	policy->category_cap[RULE_NEGATIVE] = options.negative_cap;
	policy->total = options.total;
	policy->grade_by_probability = options.grade_by == 1;
	policy->grade_threshold[0] = policy->grade_by_probability ? 0.5 : 90;
	policy->grade_threshold[1] = policy->grade_by_probability ? 0.3 : 70;
	policy->grade_threshold[2] = policy->grade_by_probability ? 0.1 : 40;
	policy->matrix_threshold[0] = 75;
	policy->matrix_threshold[1] = 50;
	policy->matrix_threshold[2] = 25;
	take_thresholds(options.grades, policy->grade_threshold, "options.grades", &problems);
	take_thresholds(options.matrix, policy->matrix_threshold, "options.matrix", &problems);
	problems_raise(&problems, ERRCODE_INVALID_PARAMETER_VALUE, NULL, "invalid scoring policy");
}

PG_FUNCTION_INFO_V1(salesops_set_scoring_policy);
/* (options): replaces the policy */
Datum
salesops_set_scoring_policy(PG_FUNCTION_ARGS)
{
	Jsonb	   *json = PG_GETARG_JSONB_P(0);
	ScoringPolicy policy = {0};
	SpiScope	scope;
	SpiArg		arg = spi_jsonb(json);

	parse_policy(json, &policy);
	require_lead_owner();
	spi_open(&scope, SPI_AS_OWNER);
	spi_execute(SPI_OK_INSERT, "INSERT INTO salesops.scoring_policy (options) VALUES ($1) "
				"ON CONFLICT (one) DO UPDATE SET options = excluded.options", 1, &arg);
	spi_close(&scope);
	PG_RETURN_VOID();
}

/* ---- reading them ---- */

/* A value of the last result as float8, 0 where NULL. */
static double
float_or_zero(uint64 row, int column)
{
	bool		isnull;
	double		value = spi_get_float8(row, column, &isnull);

	return isnull ? 0 : value;
}

/* All rules, in the order of their names; sums up what a category can give at best. */
static void
read_rules(ScoringPolicy *policy, MemoryContext context)
{
	uint64		rows = spi_execute(SPI_OK_SELECT,
								   "SELECT rule, category, entity = 'activity', expression, points, extract(epoch FROM half_life)::float8, cap "
								   "FROM salesops.scoring_rule ORDER BY rule COLLATE \"C\"", 0, NULL);

	for (uint64 row = 0; row < rows; row++)
	{
		MemoryContext old = MemoryContextSwitchTo(context);
		ScoringRule *rule = palloc0(sizeof(ScoringRule));

		rule->name = spi_get_text(row, 1);
		rule->category = index_of(lead_categories, spi_get_text(row, 2));
		rule->on_activity = spi_get_bool(row, 3);
		rule->expression = spi_get_text(row, 4);
		rule->points = float_or_zero(row, 5);
		rule->half_life = float_or_zero(row, 6);
		rule->cap = float_or_zero(row, 7);
		if (rule->points > 0)
			policy->best[rule->category] += rule->cap > 0 ? rule->cap : rule->points * (rule->on_activity ? 5 : 1);
		policy->rules = lappend(policy->rules, rule);
		MemoryContextSwitchTo(old);
	}
}

/* All segments in their order. */
static void
read_segments(ScoringPolicy *policy, MemoryContext context)
{
	uint64		rows = spi_execute(SPI_OK_SELECT, "SELECT segment, expression, model FROM salesops.scoring_segment "
								   "ORDER BY ordinal, segment COLLATE \"C\"", 0, NULL);

	for (uint64 row = 0; row < rows; row++)
	{
		MemoryContext old = MemoryContextSwitchTo(context);
		ScoringSegment *segment = palloc0(sizeof(ScoringSegment));

		segment->name = spi_get_text(row, 1);
		segment->expression = spi_get_text(row, 2);
		segment->model = spi_get_text(row, 3);
		policy->segments = lappend(policy->segments, segment);
		MemoryContextSwitchTo(old);
	}
}

/* See lead_pg.h. */
ScoringPolicy *
lead_read_policy(void)
{
	MemoryContext context = CurrentMemoryContext;
	ScoringPolicy *policy = palloc0(sizeof(ScoringPolicy));
	Jsonb	   *options = NULL;
	SpiScope	scope;

	spi_open(&scope, SPI_AS_OWNER);
	if (spi_execute(SPI_OK_SELECT, "SELECT options FROM salesops.scoring_policy", 0, NULL) > 0)
	{
		bool		isnull;
		Datum		value = spi_get_datum(0, 1, &isnull);
		MemoryContext old = MemoryContextSwitchTo(context);

		options = DatumGetJsonbPCopy(value);
		MemoryContextSwitchTo(old);
	}
	read_rules(policy, context);
	read_segments(policy, context);
	spi_close(&scope);
	MemoryContextSwitchTo(context);
	parse_policy(options, policy);
	for (int category = 0; category < RULE_CATEGORIES; category++)
		if (policy->category_cap[category] > 0 && policy->best[category] > policy->category_cap[category])
			policy->best[category] = policy->category_cap[category];
	return policy;
}

/* ---- the query ---- */

/* See lead_pg.h. */
char *
lead_rows_query(const char *entity)
{
	MemoryContext caller = CurrentMemoryContext;
	SpiScope	scope;
	SpiArg		arg = spi_text(entity);
	char	   *query;

	spi_open(&scope, SPI_AS_OWNER);
	spi_execute(SPI_OK_SELECT, "SELECT p.prosrc FROM pg_catalog.pg_proc p"
				" WHERE p.oid = pg_catalog.format('salesops.%I()', $1 || '_rows')::pg_catalog.regprocedure", 1, &arg);
	query = MemoryContextStrdup(caller, spi_get_text(0, 1));
	spi_close(&scope);
	MemoryContextSwitchTo(caller);
	return query;
}

/* The rows of a contract view as an item of FROM: what stands below the view, with the view's names. */
static void
append_rows(StringInfo sql, const char *entity, const char *prefix)
{
	Relation	view = table_open(contract_view(entity), AccessShareLock);
	TupleDesc	desc = RelationGetDescr(view);

	appendStringInfo(sql, "(%s) %s(", lead_rows_query(entity), prefix);
	for (int i = 0; i < desc->natts; i++)
		appendStringInfo(sql, "%s%s", i > 0 ? ", " : "", quote_identifier(NameStr(TupleDescAttr(desc, i)->attname)));
	appendStringInfoChar(sql, ')');
	table_close(view, AccessShareLock);
}

/* A stored expression as SQL over the row `prefix`. */
static char *
expression_sql(const char *expression, const char *entity, const char *prefix, const char *name)
{
	RowExpression *parsed = expression_parse(expression, contract_view(entity), BOOLOID, EXPRESSION_ANY_ROLE, name);

	return expression_deparse(parsed->tree, contract_view(entity), prefix);
}

/* A rule's points as SQL: on the lead, or as the sum that the activities' subquery makes. */
static void
append_points(StringInfo sql, const ScoringRule *rule, int number)
{
	if (rule->on_activity)
		appendStringInfo(sql, "COALESCE(e.rule_%d, 0)", number);
	else
		appendStringInfo(sql, "CASE WHEN (%s) THEN %.17g::pg_catalog.float8 ELSE 0 END",
						 expression_sql(rule->expression, "lead", "l", rule->name), rule->points);
}

/* One activity rule's decayed sum, capped. */
static void
append_activity_sum(StringInfo sql, const ScoringRule *rule, int number)
{
	appendStringInfo(sql, ", pg_catalog.sum(CASE WHEN (%s) THEN %.17g::pg_catalog.float8",
					 expression_sql(rule->expression, "activity", "a", rule->name), rule->points);
	if (rule->half_life > 0)
		appendStringInfo(sql, " OPERATOR(pg_catalog.*) pg_catalog.power(0.5::pg_catalog.float8, EXTRACT(epoch FROM ($1 OPERATOR(pg_catalog.-) a.occurred_at))::pg_catalog.float8"
						 " OPERATOR(pg_catalog./) %.17g::pg_catalog.float8)", rule->half_life);
	appendStringInfo(sql, " ELSE 0 END) AS rule_%d", number);
}

/* The activities' subquery, where a rule needs it. */
static void
append_activities(StringInfo sql, const ScoringPolicy *policy, bool some)
{
	StringInfoData sums;
	int			number = 0;
	ListCell   *cell;

	initStringInfo(&sums);
	foreach(cell, policy->rules)
	{
		ScoringRule *rule = lfirst(cell);

		if (rule->on_activity)
			append_activity_sum(&sums, rule, number);
		number++;
	}
	if (sums.len == 0)
		return;
	appendStringInfo(sql, " LEFT JOIN (SELECT a.lead_id%s FROM ", sums.data);
	append_rows(sql, "activity", "a");
	appendStringInfo(sql, " WHERE a.occurred_at OPERATOR(pg_catalog.<=) $1%s GROUP BY a.lead_id) e ON e.lead_id OPERATOR(pg_catalog.=) l.lead_id",
					 some ? " AND a.lead_id OPERATOR(pg_catalog.=) ANY ($2)" : " AND a.lead_id IS NOT NULL");
}

/* See lead_pg.h. */
char *
lead_score_query(const ScoringPolicy *policy, bool some)
{
	StringInfoData sql;
	ListCell   *cell;
	int			number = 0;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT l.*, ");
	if (policy->segments != NIL)
		appendStringInfoString(&sql, "CASE");
	foreach(cell, policy->segments)
	{
		ScoringSegment *segment = lfirst(cell);

		appendStringInfo(&sql, " WHEN (%s) THEN %d", expression_sql(segment->expression, "lead", "l", segment->name), number++);
	}
	appendStringInfo(&sql, "%s AS salesops_segment, ARRAY[", policy->segments != NIL ? " ELSE -1 END" : "-1");
	number = 0;
	foreach(cell, policy->rules)
	{
		if (number > 0)
			appendStringInfoString(&sql, ", ");
		append_points(&sql, lfirst(cell), number++);
	}
	appendStringInfoString(&sql, "]::pg_catalog.float8[] AS salesops_points FROM ");
	append_rows(&sql, "lead", "l");
	append_activities(&sql, policy, some);
	appendStringInfoString(&sql, " WHERE (l.created_at IS NULL OR l.created_at OPERATOR(pg_catalog.<=) $1)");
	if (some)
		appendStringInfoString(&sql, " AND l.lead_id OPERATOR(pg_catalog.=) ANY ($2)");
	return sql.data;
}
