/*
 * define_pg.c
 *		create_matcher and drop_matcher: what a user says, checked and stored. How a definition is stored and read back is
 *		matcher_pg.c's affair, what is chosen where the user leaves it open profile_pg.c's.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/varlena.h"

#include "core/errors.h"
#include "core/expression.h"
#include "core/options.h"
#include "core/relation.h"
#include "match/matcher_pg.h"

PG_FUNCTION_INFO_V1(salesops_create_matcher);
PG_FUNCTION_INFO_V1(salesops_drop_matcher);

/* The relation on the right side, by its name in the options. */
static Oid
right_relation(const char *name)
{
	List	   *names = textToQualifiedNameList(cstring_to_text(name));

	return RangeVarGetRelid(makeRangeVarFromNameList(names), AccessShareLock, false);
}

/* Expressions that a user gave: parsed against each relation, by its owner only; bare columns need no owner. */
static void
check_expression(Matcher *matcher, int column, Oid relid, bool bare, bool blocking)
{
	const char *expression = matcher->column[column].expression;
	char	   *what = psprintf("%s \"%s\"", blocking ? "blocking rule" : "comparison", expression);
	RowExpression *parsed = expression_parse(expression, relid, InvalidOid, bare ? EXPRESSION_ANY_ROLE : 0, what);
	Oid			element = get_element_type(parsed->type);

	if (OidIsValid(element) && !blocking)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("%s is an array", what),
				 errhint("Compare one value, or use the array as a blocking rule: each element is a key.")));
	if (get_typtype(parsed->type) == TYPTYPE_COMPOSITE)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("%s is a row, not a value", what)));
	matcher->column[column].elements |= OidIsValid(element);
}

/* Comparisons and blocking rules that the user gave. */
static void
read_user_definition(Matcher *matcher, Jsonb *comparisons, ArrayType *blocking, Problems *problems)
{
	int			number = 0;
	ListCell   *cell;

	if (comparisons != NULL && !JB_ROOT_IS_ARRAY(comparisons))
		problems_add(problems, "comparisons must be a JSON array of objects");
	else if (comparisons != NULL && JB_ROOT_COUNT(comparisons) == 0)
		problems_add(problems, "comparisons is empty; give NULL to have them chosen from the content");
	else
	{
		foreach(cell, jsonb_elements(comparisons))
			matcher_read_comparison(matcher, lfirst(cell), false, problems, number++);
	}
	if (blocking != NULL)
	{
		Datum	   *elements;
		bool	   *nulls;
		int			count;

		deconstruct_array(blocking, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
		if (count == 0)
			problems_add(problems, "blocking is empty; give NULL to have rules chosen from the content");
		if (count > MATCHER_MAX_RULES - 1)
			problems_add(problems, "at most %d blocking rules", MATCHER_MAX_RULES - 1);
		for (int r = 0; r < count && r < MATCHER_MAX_RULES - 1; r++)
		{
			MatchRule  *rule = &matcher->rule[matcher->nrules];

			if (nulls[r])
			{
				problems_add(problems, "blocking rule %d is NULL", r + 1);
				continue;
			}
			memset(rule, 0, sizeof(*rule));
			rule->nparts = 1;
			rule->column[0] = matcher_column(matcher, TextDatumGetCString(elements[r]), false);
			rule->max_block = matcher->options.max_block;
			rule->report = true;
			matcher->nrules++;
		}
	}
}

/* Whether an expression is only a column's name. */
static bool
is_bare_column(const char *expression, Oid relid)
{
	Relation	relation = relation_open(relid, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(relation);
	bool		found = false;

	for (int i = 0; i < desc->natts && !found; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i);

		found = !column->attisdropped && strcmp(quote_identifier(NameStr(column->attname)), expression) == 0;
	}
	relation_close(relation, AccessShareLock);
	return found;
}

/* Parse everything the user gave against the relations. */
static void
check_user_definition(Matcher *matcher)
{
	Oid			relids[2] = {matcher->relid, matcher->right_relid};

	for (int side = 0; side < 2 && OidIsValid(relids[side]); side++)
	{
		for (int c = 0; c < matcher->ncomparisons; c++)
			check_expression(matcher, matcher->comparison[c].column, relids[side],
							 is_bare_column(matcher->column[matcher->comparison[c].column].expression, relids[side]), false);
		for (int r = 0; r < matcher->nrules; r++)
		{
			int			column = matcher->rule[r].column[0];

			check_expression(matcher, column, relids[side], is_bare_column(matcher->column[column].expression, relids[side]), true);
			if (matcher->column[column].elements)
			{
				matcher->rule[r].kind = MATCH_RULE_ELEMENTS;
				matcher->column[column].keep_text = true;
			}
		}
	}
}

/* The definition's relations and options. */
static void
read_options(Matcher *matcher, Jsonb *json, Problems *problems)
{
	matcher_read_options(matcher, json, problems);
	if (matcher->options.right_relation == NULL)
	{
		if (matcher->options.right_key != NULL)
			problems_add(problems, "options: right_key without right_relation");
		if (matcher->options.one_to_one)
			problems_add(problems, "options: one_to_one without right_relation");
	}
	if (matcher->name[0] == '\0')
		problems_add(problems, "the name is empty");
	else if (strlen(matcher->name) > MATCHER_LONGEST_NAME)
	{
		problems_add(problems, "the name is longer than %d bytes", MATCHER_LONGEST_NAME);
		matcher->name[pg_mbcliplen(matcher->name, MATCHER_LONGEST_NAME, MATCHER_LONGEST_NAME)] = '\0';	/* for the message */
	}
}

/* Insert the row, still without comparisons and rules; an existing name is an error. */
static void
insert_matcher(const Matcher *matcher, Jsonb *options)
{
	SpiScope	scope;
	SpiArg		args[] = {
		spi_text(matcher->name), spi_oid(matcher->relid), spi_name(matcher->key), spi_oid(matcher->right_relid),
		spi_name(matcher->right_key), spi_jsonb(options), spi_bool(matcher->auto_comparisons), spi_bool(matcher->auto_blocking),
	};

	spi_open(&scope, SPI_AS_OWNER);
	if (spi_execute(SPI_OK_INSERT,
					"INSERT INTO salesops.matcher (matcher, relation, key_column, right_relation, right_key, comparisons, blocking, "
					"options, auto_comparisons, auto_blocking) VALUES ($1, $2, $3, $4, $5, '[]', '[]', $6, $7, $8) "
					"ON CONFLICT DO NOTHING", lengthof(args), args) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("matcher \"%s\" already exists", matcher->name),
				 errhint("Drop it first: SELECT salesops.drop_matcher(%s);", quote_literal_cstr(matcher->name))));
	spi_close(&scope);
}

/* What the user left open, from the content. */
static void
choose(Matcher *matcher)
{
	double		share = matcher_choose(matcher);

	if (share < 1)
		ereport(NOTICE,
				(errmsg("matcher \"%s\": %s chosen by %.3g of the records, which exceed maintenance_work_mem", matcher->name,
						matcher->auto_comparisons && matcher->auto_blocking ? "comparisons and blocking were" :
						matcher->auto_comparisons ? "comparisons were" : "blocking was", share),
				 errhint("Raise maintenance_work_mem to choose by all; training chooses again.")));
}

/*
 * create_matcher(name text, relation regclass, key name, comparisons jsonb, blocking text[], options jsonb) -> void
 *
 * A linkage of the relation's rows, or with options.right_relation of two relations' rows. What is NULL is chosen from the
 * columns' content, now and again at each training.
 */
Datum
salesops_create_matcher(PG_FUNCTION_ARGS)
{
	Matcher    *matcher = palloc0(sizeof(Matcher));
	Jsonb	   *options = PG_ARGISNULL(5) ? jsonb_from_cstring("{}") : PG_GETARG_JSONB_P(5);
	Problems	problems;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("create_matcher needs a name, a relation and its key column")));
	matcher->name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	matcher->relid = PG_GETARG_OID(1);
	matcher->key = pstrdup(NameStr(*PG_GETARG_NAME(2)));
	matcher->auto_comparisons = PG_ARGISNULL(3);
	matcher->auto_blocking = PG_ARGISNULL(4);
	relation_sql_name(matcher->relid);
	relation_require_select(matcher->relid);
	relation_require_column(matcher->relid, matcher->key);

	problems_init(&problems);
	read_options(matcher, options, &problems);
	read_user_definition(matcher, PG_ARGISNULL(3) ? NULL : PG_GETARG_JSONB_P(3), PG_ARGISNULL(4) ? NULL : PG_GETARG_ARRAYTYPE_P(4),
						 &problems);
	problems_raise(&problems, ERRCODE_INVALID_PARAMETER_VALUE,
				   "A comparison is {\"column\": \"last_name\", \"method\": \"jaro_winkler\", \"thresholds\": [0.95, 0.88], \"term_frequency\": true}.",
				   "invalid matcher \"%s\"", matcher->name);
	if (matcher->options.right_relation != NULL)
	{
		matcher->right_relid = right_relation(matcher->options.right_relation);
		relation_require_select(matcher->right_relid);
		matcher->right_key = matcher->options.right_key ? matcher->options.right_key : matcher->key;
		relation_require_column(matcher->right_relid, matcher->right_key);
	}
	check_user_definition(matcher);
	insert_matcher(matcher, options);
	if (matcher->auto_comparisons || matcher->auto_blocking)
		choose(matcher);
	matcher_store_definition(matcher);
	PG_RETURN_VOID();
}

/* drop_matcher(name text) -> boolean: false where there is none. The user's data stays; guards of this matcher go. */
Datum
salesops_drop_matcher(PG_FUNCTION_ARGS)
{
	SpiScope	scope;
	SpiArg		args[] = {spi_text(text_to_cstring(PG_GETARG_TEXT_PP(0)))};
	uint64		count;

	spi_open(&scope, SPI_AS_OWNER);
	count = spi_execute(SPI_OK_DELETE, "DELETE FROM salesops.matcher m WHERE m.matcher OPERATOR(pg_catalog.=) $1", 1, args);
	spi_close(&scope);
	PG_RETURN_BOOL(count > 0);
}
