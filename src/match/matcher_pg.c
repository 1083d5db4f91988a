/*
 * matcher_pg.c
 *		Definitions of matchers as they are stored and read back. Making one is define_pg.c's affair; training and finding are elsewhere.
 *
 * A definition is stored resolved: comparisons and blocking rules as jsonb over expression texts, whether the user gave
 * them or profile_pg.c chose them. Expressions are parsed anew against the relation each time, so that a column that has
 * gone is an error that names it.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"

#include "core/errors.h"
#include "core/expression.h"
#include "core/options.h"
#include "core/relation.h"
#include "match/matcher_pg.h"

const char *const matcher_methods[] = {"exact", "jaro_winkler", "levenshtein", "damerau_levenshtein", "ngram", "token_set",
	"numeric_difference", "date_difference", NULL};
static const char *const rule_kinds[] = {"key", "tokens", "elements", NULL};

static const OptionSpec option_specs[] = {
	{"max_block", OPTION_INTEGER, offsetof(MatcherOptions, max_block), .min = 2, .max = 1e6},
	{"right_relation", OPTION_TEXT, offsetof(MatcherOptions, right_relation)},
	{"right_key", OPTION_TEXT, offsetof(MatcherOptions, right_key)},
	{"one_to_one", OPTION_BOOLEAN, offsetof(MatcherOptions, one_to_one)},
	{"seed", OPTION_INTEGER, offsetof(MatcherOptions, seed), .min = 0, .max = 2147483647},
	{"exclude", OPTION_TEXT_LIST, offsetof(MatcherOptions, exclude)},
};

typedef struct ComparisonSpec
{
	char	   *name;
	char	   *column;
	char	   *expression;
	int			method;
	List	   *thresholds;
	bool		term_frequency;
	int			swapped_with;
} ComparisonSpec;

static const OptionSpec comparison_specs[] = {
	{"name", OPTION_TEXT, offsetof(ComparisonSpec, name)},
	{"column", OPTION_TEXT, offsetof(ComparisonSpec, column)},
	{"expression", OPTION_TEXT, offsetof(ComparisonSpec, expression)},
	{"method", OPTION_CHOICE, offsetof(ComparisonSpec, method), .choices = matcher_methods},
	{"thresholds", OPTION_FLOAT_LIST, offsetof(ComparisonSpec, thresholds)},
	{"term_frequency", OPTION_BOOLEAN, offsetof(ComparisonSpec, term_frequency)},
	/* stored only */
	{"swapped_with", OPTION_INTEGER, offsetof(ComparisonSpec, swapped_with), .min = -1, .max = MATCH_MAX_COMPARISONS},
};

#define USER_COMPARISON_SPECS 6

typedef struct RuleSpec
{
	int			kind;
	Jsonb	   *parts;
	int			max_block;
	bool		report;
} RuleSpec;

static const OptionSpec rule_specs[] = {
	{"kind", OPTION_CHOICE, offsetof(RuleSpec, kind), .choices = rule_kinds},
	{"parts", OPTION_ARRAY, offsetof(RuleSpec, parts), .required = true},
	{"max_block", OPTION_INTEGER, offsetof(RuleSpec, max_block), .min = 0, .max = 1e6},
	{"report", OPTION_BOOLEAN, offsetof(RuleSpec, report)},
};

typedef struct PartSpec
{
	char	   *expression;
	int			prefix;
} PartSpec;

static const OptionSpec part_specs[] = {
	{"expression", OPTION_TEXT, offsetof(PartSpec, expression), .required = true},
	{"prefix", OPTION_INTEGER, offsetof(PartSpec, prefix), .min = 0, .max = 1000},
};

/* ---- columns ---- */

int
matcher_column(Matcher *matcher, const char *expression, bool keep_text)
{
	int			c;

	for (c = 0; c < matcher->ncolumns; c++)
	{
		if (strcmp(matcher->column[c].expression, expression) == 0)
			break;
	}
	if (c == MATCHER_MAX_COLUMNS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("matcher \"%s\" uses more than %d expressions", matcher->name, MATCHER_MAX_COLUMNS)));
	if (c == matcher->ncolumns)
	{
		matcher->column[c].expression = pstrdup(expression);
		matcher->column[c].keep_text = false;
		matcher->column[c].elements = false;
		matcher->ncolumns++;
	}
	matcher->column[c].keep_text |= keep_text;
	return c;
}

/* A text of an expression's value that does not depend on settings. */
static char *
value_sql(const RowExpression *expression)
{
	switch (expression->type)
	{
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
			return psprintf("(%s)::pg_catalog.text", expression->text);
		case DATEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return psprintf("salesops.match_date(%s)", expression->text);
		default:
			if (OidIsValid(get_element_type(expression->type)))
				return psprintf("salesops.match_elements((%s)::pg_catalog.text[])", expression->text);
			return psprintf("(%s)::pg_catalog.text", expression->text);
	}
}

char **
matcher_column_sql(const Matcher *matcher, Oid relid)
{
	char	  **kept = matcher->column_sql[relid == matcher->relid ? 0 : 1];
	char	  **sql;

	if (kept != NULL)
		return kept;
	sql = palloc(sizeof(char *) * Max(matcher->ncolumns, 1));
	for (int c = 0; c < matcher->ncolumns; c++)
	{
		char	   *what = psprintf("expression \"%s\" of matcher \"%s\"", matcher->column[c].expression, matcher->name);

		/* the owner check was made when the user gave the expression */
		sql[c] = value_sql(expression_parse(matcher->column[c].expression, relid, InvalidOid, EXPRESSION_ANY_ROLE, what));
	}
	return sql;
}

/* ---- rules as SQL and as words ---- */

char *
matcher_rule_sql(const Matcher *matcher, const MatchRule *rule)
{
	return matcher_rule_over(matcher_column_sql(matcher, matcher->relid), rule);
}

/* Keys are equal by their bytes, whatever the column's collation says, here as where all records are loaded */
#define KEY_COLLATION " COLLATE pg_catalog.\"C\""

char *
matcher_rule_over(char *const *column, const MatchRule *rule)
{
	StringInfoData sql;

	initStringInfo(&sql);
	if (rule->kind == MATCH_RULE_TOKENS)
		appendStringInfoString(&sql, "salesops.match_words(ARRAY[");
	for (int p = 0; p < rule->nparts; p++)
	{
		const char *separator = rule->kind == MATCH_RULE_TOKENS ? ", " : " || '\x1f'::pg_catalog.text || ";

		appendStringInfoString(&sql, p == 0 ? "" : separator);
		if (rule->prefix[p] > 0)
			appendStringInfo(&sql, "pg_catalog.left(%s, %d)", column[rule->column[p]], rule->prefix[p]);
		else
			appendStringInfoString(&sql, column[rule->column[p]]);
	}
	if (rule->kind == MATCH_RULE_TOKENS)
		return psprintf("salesops.match_key(%s]))" KEY_COLLATION, sql.data);
	if (rule->kind == MATCH_RULE_ELEMENTS)
		return psprintf("salesops.match_key(pg_catalog.string_to_array(%s" KEY_COLLATION ", pg_catalog.chr(31)))" KEY_COLLATION, sql.data);
	return psprintf("salesops.match_key(%s)" KEY_COLLATION, sql.data);
}

char *
matcher_rule_name(const Matcher *matcher, const MatchRule *rule)
{
	StringInfoData name;

	initStringInfo(&name);
	if (rule->kind == MATCH_RULE_TOKENS)
		appendStringInfoString(&name, "rare words of ");
	for (int p = 0; p < rule->nparts; p++)
	{
		appendStringInfoString(&name, p == 0 ? "" : rule->kind == MATCH_RULE_TOKENS ? ", " : " and ");
		if (rule->prefix[p] > 0)
			appendStringInfo(&name, "left(%s, %d)", matcher->column[rule->column[p]].expression, rule->prefix[p]);
		else
			appendStringInfoString(&name, matcher->column[rule->column[p]].expression);
	}
	return name.data;
}

/* ---- definition from jsonb ---- */

/* Thresholds that a method has where none are given. */
static int
default_thresholds(MatchMethod method, double *threshold)
{
	static const double by_method[][3] = {
		[MATCH_JARO_WINKLER] = {0.95, 0.88},
		[MATCH_LEVENSHTEIN] = {1, 2},
		[MATCH_DAMERAU_LEVENSHTEIN] = {1, 2},
		[MATCH_NGRAM] = {0.8, 0.6, 0.4},
		[MATCH_TOKEN_SET] = {0.9, 0.75},
		[MATCH_NUMERIC_DIFFERENCE] = {0},
		[MATCH_DATE_DIFFERENCE] = {31, 366},
	};
	int			n = 0;

	while (method != MATCH_EXACT && n < 3 && by_method[method][n] > 0)
	{
		threshold[n] = by_method[method][n];
		n++;
	}
	return n;
}

/* Check one list of thresholds and put the strictest first. */
static void
read_thresholds(const ComparisonSpec *spec, MatchComparison *comparison, Problems *problems, const char *where)
{
	bool		distance = comparison->method == MATCH_NUMERIC_DIFFERENCE || comparison->method == MATCH_DATE_DIFFERENCE;
	bool		edits = comparison->method == MATCH_LEVENSHTEIN || comparison->method == MATCH_DAMERAU_LEVENSHTEIN;
	int			above = 0;
	ListCell   *cell;

	comparison->nthresholds = 0;
	if (list_length(spec->thresholds) > MATCH_MAX_THRESHOLDS)
	{
		problems_add(problems, "%s: at most %d thresholds", where, MATCH_MAX_THRESHOLDS);
		return;
	}
	foreach(cell, spec->thresholds)
	{
		double		value = *(double *) lfirst(cell);
		int			at = comparison->nthresholds;

		above += value >= 1;
		if (value <= 0 || (!distance && !edits && value >= 1))
			problems_add(problems, "%s: threshold %g is not %s", where, value,
						 distance ? "a difference above 0" : edits ? "a similarity below 1 or a number of edits" :
						 "a similarity between 0 and 1");
		if (!distance && value < 1)
		{
			for (; at > 0 && comparison->threshold[at - 1] < value; at--)
				comparison->threshold[at] = comparison->threshold[at - 1];
		}
		else
		{
			for (; at > 0 && comparison->threshold[at - 1] > value; at--)
				comparison->threshold[at] = comparison->threshold[at - 1];
		}
		comparison->threshold[at] = value;
		comparison->nthresholds++;
	}
	if (edits && above != 0 && above != comparison->nthresholds)
		problems_add(problems, "%s: thresholds mix similarities (below 1) and numbers of edits (1 and more)", where);
	if (comparison->method == MATCH_EXACT && comparison->nthresholds > 0)
		problems_add(problems, "%s: method exact takes no thresholds", where);
	if (comparison->method == MATCH_NUMERIC_DIFFERENCE && comparison->nthresholds == 0)
		problems_add(problems, "%s: method numeric_difference needs thresholds, in the column's own unit", where);
}

void
matcher_read_comparison(Matcher *matcher, Jsonb *json, bool stored, Problems *problems, int number)
{
	ComparisonSpec spec = {.swapped_with = -1};
	char	   *where = psprintf("comparisons[%d]", number);
	int			before = problems->count;
	MatchComparison *comparison;
	const char *expression;

	if (number >= MATCH_MAX_COMPARISONS)
	{
		if (number == MATCH_MAX_COMPARISONS)
			problems_add(problems, "at most %d comparisons", MATCH_MAX_COMPARISONS);
		return;
	}
	options_parse(json, comparison_specs, stored ? lengthof(comparison_specs) : USER_COMPARISON_SPECS, &spec, problems, where);
	if ((spec.column == NULL) == (spec.expression == NULL))
		problems_add(problems, "%s: give either \"column\" or \"expression\"", where);
	if (spec.column != NULL && spec.column[0] == '\0')
		problems_add(problems, "%s: \"column\" is empty", where);
	if (problems->count > before)
		return;
	comparison = &matcher->comparison[matcher->ncomparisons];
	memset(comparison, 0, sizeof(*comparison));
	comparison->method = spec.method;
	comparison->swapped_with = spec.swapped_with;
	comparison->term_frequency = spec.term_frequency;
	if (spec.thresholds == NIL && !stored)
		comparison->nthresholds = default_thresholds(comparison->method, comparison->threshold);
	if (spec.thresholds != NIL || (!stored && comparison->nthresholds == 0))
		read_thresholds(&spec, comparison, problems, where);
	expression = spec.expression ? spec.expression : quote_identifier(spec.column);
	comparison->column = matcher_column(matcher, expression, comparison->method != MATCH_EXACT);
	matcher->comparison_name[matcher->ncomparisons++] =
		spec.name ? spec.name : spec.column ? spec.column : pstrdup(spec.expression);
}

/* One stored rule. */
static void
read_rule(Matcher *matcher, Jsonb *json, Problems *problems)
{
	RuleSpec	spec = {0};
	MatchRule  *rule = &matcher->rule[matcher->nrules++];
	ListCell   *cell;

	options_parse(json, rule_specs, lengthof(rule_specs), &spec, problems, "blocking");
	memset(rule, 0, sizeof(*rule));
	rule->kind = spec.kind;
	rule->max_block = spec.max_block;
	rule->report = spec.report;
	foreach(cell, jsonb_elements(spec.parts))
	{
		PartSpec	part = {0};

		options_parse(lfirst(cell), part_specs, lengthof(part_specs), &part, problems, "blocking");
		rule->prefix[rule->nparts] = part.prefix;
		rule->column[rule->nparts++] = matcher_column(matcher, part.expression, part.prefix > 0 || spec.kind != MATCH_RULE_KEY);
	}
	if (rule->kind == MATCH_RULE_ELEMENTS)
		matcher->column[rule->column[0]].elements = true;
}

void
matcher_read_options(Matcher *matcher, Jsonb *json, Problems *problems)
{
	matcher->options.max_block = 2000;
	matcher->options.seed = 42;
	options_parse(json, option_specs, lengthof(option_specs), &matcher->options, problems, "options");
}

/* ---- definition to jsonb ---- */

/* The comparisons as stored. */
static Jsonb *
comparisons_json(const Matcher *matcher)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoChar(&json, '[');
	for (int c = 0; c < matcher->ncomparisons; c++)
	{
		const MatchComparison *comparison = &matcher->comparison[c];

		appendStringInfo(&json, "%s{\"name\": ", c > 0 ? ", " : "");
		escape_json(&json, matcher->comparison_name[c]);
		appendStringInfoString(&json, ", \"expression\": ");
		escape_json(&json, matcher->column[comparison->column].expression);
		appendStringInfo(&json, ", \"method\": \"%s\", \"thresholds\": [", matcher_methods[comparison->method]);
		for (int t = 0; t < comparison->nthresholds; t++)
			appendStringInfo(&json, "%s%.15g", t > 0 ? ", " : "", comparison->threshold[t]);
		appendStringInfo(&json, "], \"term_frequency\": %s, \"swapped_with\": %d}",
						 comparison->term_frequency ? "true" : "false", comparison->swapped_with);
	}
	appendStringInfoChar(&json, ']');
	return jsonb_from_cstring(json.data);
}

/* The rules as stored. */
static Jsonb *
blocking_json(const Matcher *matcher)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoChar(&json, '[');
	for (int r = 0; r < matcher->nrules; r++)
	{
		const MatchRule *rule = &matcher->rule[r];

		appendStringInfo(&json, "%s{\"kind\": \"%s\", \"max_block\": %d, \"report\": %s, \"parts\": [", r > 0 ? ", " : "",
						 rule_kinds[rule->kind], rule->max_block, rule->report ? "true" : "false");
		for (int p = 0; p < rule->nparts; p++)
		{
			appendStringInfo(&json, "%s{\"prefix\": %d, \"expression\": ", p > 0 ? ", " : "", rule->prefix[p]);
			escape_json(&json, matcher->column[rule->column[p]].expression);
			appendStringInfoChar(&json, '}');
		}
		appendStringInfoString(&json, "]}");
	}
	appendStringInfoChar(&json, ']');
	return jsonb_from_cstring(json.data);
}

void
matcher_store_definition(const Matcher *matcher)
{
	SpiScope	scope;
	SpiArg		args[] = {spi_text(matcher->name), spi_jsonb(comparisons_json(matcher)), spi_jsonb(blocking_json(matcher))};

	spi_open(&scope, SPI_AS_OWNER);
	spi_execute(SPI_OK_UPDATE,
				"UPDATE salesops.matcher SET comparisons = $2, blocking = $3 WHERE matcher.matcher OPERATOR(pg_catalog.=) $1",
				3, args);
	spi_close(&scope);
}

/* ---- reading back ---- */

/* Names of matchers, as a sentence of the hint. */
static const char *
matcher_names(void)
{
	StringInfoData list;
	uint64		count = spi_execute(SPI_OK_SELECT, "SELECT m.matcher FROM salesops.matcher m ORDER BY 1 LIMIT 20", 0, NULL);

	initStringInfo(&list);
	for (uint64 i = 0; i < count; i++)
		append_choice(&list, spi_get_text(i, 1));
	return count > 0 ? psprintf("The matchers are: %s. ", list.data) : "";
}

/* One jsonb column of the current SPI row, copied to a context. */
static Jsonb *
copy_jsonb(MemoryContext context, int column)
{
	bool		isnull;
	Datum		datum = spi_get_datum(0, column, &isnull);
	MemoryContext old;
	Jsonb	   *copy;

	if (isnull)
		return NULL;
	old = MemoryContextSwitchTo(context);
	copy = DatumGetJsonbPCopy(datum);
	MemoryContextSwitchTo(old);
	return copy;
}

/* One text column of the current SPI row, copied to a context. */
static char *
copy_text(MemoryContext context, int column)
{
	char	   *text = spi_get_text(0, column);

	return text ? MemoryContextStrdup(context, text) : NULL;
}

/* The relation that a matcher reads must be there still, and readable by the caller. */
static void
require_relation(const Matcher *matcher, Oid relid)
{
	if (get_rel_name(relid) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the relation of matcher \"%s\" does not exist any more", matcher->name),
				 errhint("SELECT salesops.drop_matcher(%s);", quote_literal_cstr(matcher->name))));
	relation_require_select(relid);
}

Oid
matcher_lookup_relation(const Matcher *matcher)
{
	return OidIsValid(matcher->right_relid) ? matcher->right_relid : matcher->relid;
}

void
matcher_require_relations(const Matcher *matcher)
{
	require_relation(matcher, matcher->relid);
	if (OidIsValid(matcher->right_relid))
		require_relation(matcher, matcher->right_relid);
}

Matcher *
matcher_load(const char *name)
{
	Matcher    *matcher = palloc0(sizeof(Matcher));
	MemoryContext caller = CurrentMemoryContext;
	SpiScope	scope;
	SpiArg		args[] = {spi_text(name)};
	Jsonb	   *comparisons;
	Jsonb	   *blocking;
	Jsonb	   *options;
	Problems	problems;
	bool		isnull;
	int			number = 0;
	ListCell   *cell;

	spi_open(&scope, SPI_AS_OWNER);
	if (spi_execute_kept(SPI_OK_SELECT,
					"SELECT m.relation::pg_catalog.oid, m.key_column::pg_catalog.text, m.right_relation::pg_catalog.oid, "
					"m.right_key::pg_catalog.text, m.comparisons, m.blocking, m.options, m.auto_comparisons, m.auto_blocking, m.model, "
					"m.calibration_slope, m.calibration_offset "
					"FROM salesops.matcher m WHERE m.matcher OPERATOR(pg_catalog.=) $1", 1, args) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("matcher \"%s\" does not exist", name),
				 errhint("%sMake one with salesops.create_matcher(name, relation, key).", matcher_names())));
	matcher->name = MemoryContextStrdup(caller, name);
	matcher->relid = spi_get_oid(0, 1);
	matcher->key = copy_text(caller, 2);
	matcher->right_relid = spi_get_oid(0, 3);
	matcher->right_key = copy_text(caller, 4);
	comparisons = copy_jsonb(caller, 5);
	blocking = copy_jsonb(caller, 6);
	options = copy_jsonb(caller, 7);
	matcher->auto_comparisons = spi_get_bool(0, 8);
	matcher->auto_blocking = spi_get_bool(0, 9);
	matcher->model = copy_jsonb(caller, 10);
	matcher->slope = spi_get_float8(0, 11, &isnull);
	matcher->offset = spi_get_float8(0, 12, &isnull);
	spi_close(&scope);

	matcher_require_relations(matcher);
	problems_init(&problems);
	matcher_read_options(matcher, options, &problems);
	foreach(cell, jsonb_elements(comparisons))
		matcher_read_comparison(matcher, lfirst(cell), true, &problems, number++);
	foreach(cell, jsonb_elements(blocking))
		read_rule(matcher, lfirst(cell), &problems);
	problems_raise(&problems, ERRCODE_DATA_CORRUPTED, NULL, "stored definition of matcher \"%s\" is damaged", name);
	return matcher;
}
