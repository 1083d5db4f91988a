/*
 * index_pg.c
 *		index_matcher: indexes of the user's relation on a matcher's blocking keys; which rules have one, and the SQL that goes by
 *		it. Looking up is lookup_pg.c's (one record, the narrowest rules) and near_pg.c's (what some changed records hang together
 *		with, all rules).
 */
#include "postgres.h"

#include "catalog/pg_index.h"
#include "fmgr.h"
#include "funcapi.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "core/errors.h"
#include "core/expression.h"
#include "core/relation.h"
#include "match/matcher_pg.h"

PG_FUNCTION_INFO_V1(salesops_index_matcher);

/* ---- the rules of look-ups ---- */

int
matcher_lookup_rules(const Matcher *matcher, int *rules)
{
	int			n = 0;

	for (int r = 0; r < matcher->nrules && n < MATCHER_LOOKUP_RULES; r++)
	{
		if (matcher->rule[r].kind != MATCH_RULE_TOKENS)
			rules[n++] = r;
	}
	for (int r = 0; r < matcher->nrules; r++)
	{
		if (matcher->rule[r].kind == MATCH_RULE_TOKENS)
		{
			rules[n++] = r;
			break;
		}
	}
	return n;
}

/* ---- an index ---- */

/* The name of the index on an expression. */
static char *
index_name(const Matcher *matcher, const char *sql)
{
	char	   *seed = psprintf("%s %s", get_rel_name(matcher_lookup_relation(matcher)), sql);

	return psprintf("salesops_match_%016llx", (unsigned long long) match_hash(seed, strlen(seed)));
}

/* Make an index where there is none; its name, and whether it is new. */
static char *
make_index(const Matcher *matcher, const char *sql, const char *method, const char *options, bool *made)
{
	Oid			relid = matcher_lookup_relation(matcher);
	char	   *schema = get_namespace_name(get_rel_namespace(relid));
	char	   *name = index_name(matcher, sql);
	SpiScope	scope;

	*made = !OidIsValid(get_relname_relid(name, get_rel_namespace(relid)));
	if (*made)
	{
		spi_open(&scope, SPI_PINNED_AS_CALLER);
		spi_execute(SPI_OK_UTILITY, psprintf("CREATE INDEX %s ON %s USING %s ((%s))%s", quote_identifier(name), relation_sql_name(relid),
											 method, sql, options), 0, NULL);
		spi_close(&scope);
	}
	return quote_qualified_identifier(schema, name);
}

/* Whether an index can be made on a rule: its expressions are immutable. */
static bool
is_indexable(const Matcher *matcher, const MatchRule *rule)
{
	RowExpression *parsed = expression_parse(matcher_rule_sql(matcher, rule), matcher_lookup_relation(matcher), InvalidOid,
											 EXPRESSION_ANY_ROLE, "blocking rule");

	return !contain_mutable_functions(parsed->tree);
}

/* ---- lanes: every rule's keys, for refresh_matches ---- */

/* A key with the number of its rule in front, for the index that several rules share. */
static char *
tagged_key_sql(const char *sql, int tag)
{
	return psprintf("'%d:'::pg_catalog.text || %s", tag, sql);
}

/* Is the rule one of those that look-ups use, which have an index each? */
static bool
is_own(const int *own, int nown, int rule)
{
	for (int k = 0; k < nown; k++)
	{
		if (own[k] == rule)
			return true;
	}
	return false;
}

/*
 * Rules of one key that look-ups do not use have one index together: each key has its rule's number in front, in an array. NULL where
 * there are none of them, or none that an index can hold.
 */
static char *
shared_lane_sql(const Matcher *matcher, const int *own, int nown, int *ntagged, int *tagged)
{
	StringInfoData sql;

	initStringInfo(&sql);
	*ntagged = 0;
	for (int r = 0; r < matcher->nrules; r++)
	{
		if (matcher->rule[r].kind != MATCH_RULE_KEY || is_own(own, nown, r) || !is_indexable(matcher, &matcher->rule[r]))
			continue;
		appendStringInfo(&sql, "%s%s", *ntagged == 0 ? "" : ", ", tagged_key_sql(matcher_rule_sql(matcher, &matcher->rule[r]), *ntagged));
		tagged[(*ntagged)++] = r;
	}
	return *ntagged > 0 ? psprintf("salesops.match_key(ARRAY[%s]) COLLATE pg_catalog.\"C\"", sql.data) : NULL;
}

/* The largest block that is paired; a bound to what is read where there is none. */
static int32
most_of(const MatchRule *rule)
{
	return rule->max_block > 0 ? rule->max_block : MATCHER_LOOKUP_ROWS;
}

MatcherLanes *
matcher_lanes(const Matcher *matcher)
{
	MatcherLanes *lanes = palloc0(sizeof(MatcherLanes));
	int			own[MATCHER_LOOKUP_RULES + 1];
	int			nown = matcher_lookup_rules(matcher, own);
	int			tagged[MATCHER_MAX_RULES];
	int			ntagged;
	char	   *shared = shared_lane_sql(matcher, own, nown, &ntagged, tagged);

	for (int r = 0; r < matcher->nrules; r++)
	{
		const MatchRule *rule = &matcher->rule[r];
		char	   *sql = matcher_rule_sql(matcher, rule);

		lanes->rule_id[r] = match_hash(sql, strlen(sql));
		lanes->key_sql[r] = sql;
		lanes->lane_of[r] = -1;
	}
	for (int t = 0; t < ntagged; t++)
	{
		MatcherLane *lane = &lanes->lane[0];

		lanes->nlanes = 1;
		lane->expression = shared;
		lane->array = true;
		lane->most = Max(lane->most, most_of(&matcher->rule[tagged[t]]));
		lanes->lane_of[tagged[t]] = 0;
		lanes->key_sql[tagged[t]] = psprintf("salesops.match_key(%s)", tagged_key_sql(lanes->key_sql[tagged[t]], t));
	}
	for (int r = 0; r < matcher->nrules; r++)
	{
		MatcherLane *lane = &lanes->lane[lanes->nlanes];

		if (lanes->lane_of[r] >= 0)
			continue;
		lane->expression = lanes->key_sql[r];
		lane->array = matcher->rule[r].kind != MATCH_RULE_KEY;
		lane->most = most_of(&matcher->rule[r]);
		lanes->lane_of[r] = lanes->nlanes++;
	}
	return lanes;
}

/* Whether there is such an index, complete, on the relation. */
static bool
has_index(const Matcher *matcher, const char *sql)
{
	Oid			relid = matcher_lookup_relation(matcher);
	Oid			index = get_relname_relid(index_name(matcher, sql), get_rel_namespace(relid));
	HeapTuple	tuple;
	bool		good;

	if (!OidIsValid(index))
		return false;
	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));
	if (!HeapTupleIsValid(tuple))
		return false;
	good = ((Form_pg_index) GETSTRUCT(tuple))->indrelid == relid && ((Form_pg_index) GETSTRUCT(tuple))->indisvalid;
	ReleaseSysCache(tuple);
	return good;
}

bool
matcher_lanes_indexed(const Matcher *matcher, const MatcherLanes *lanes)
{
	for (int l = 0; l < lanes->nlanes; l++)
	{
		if (!has_index(matcher, lanes->lane[l].expression))
			return false;
	}
	return true;
}

/* ---- index_matcher ---- */

/* One row of what index_matcher answers. */
static void
tell_index(ReturnSetInfo *result, const char *rule, const char *index, bool made)
{
	Datum		values[3] = {CStringGetTextDatum(rule), CStringGetTextDatum(index), BoolGetDatum(made)};
	bool		nulls[3] = {0};

	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* Indexes on what look-ups leave out and refresh_matches needs: keys that are arrays each their own, the others one together. */
static void
index_other_rules(ReturnSetInfo *result, const Matcher *matcher, const int *own, int nown)
{
	int			tagged[MATCHER_MAX_RULES];
	int			ntagged;
	char	   *shared = shared_lane_sql(matcher, own, nown, &ntagged, tagged);
	bool		made;
	char	   *index;

	if (shared != NULL)
	{
		/* without a list of what is pending, which each look-up would go through */
		index = make_index(matcher, shared, "gin", " WITH (fastupdate = off)", &made);
		tell_index(result, psprintf("%d more rules", ntagged), index, made);
	}
	for (int r = 0; r < matcher->nrules; r++)
	{
		const MatchRule *rule = &matcher->rule[r];

		if (rule->kind == MATCH_RULE_KEY || is_own(own, nown, r) || !is_indexable(matcher, rule))
			continue;
		index = make_index(matcher, matcher_rule_sql(matcher, rule), "gin", "", &made);
		tell_index(result, matcher_rule_name(matcher, rule), index, made);
	}
}

/*
 * index_matcher(name text) -> setof (rule text, index text, created boolean)
 *
 * Expression indexes on the relation for the blocking keys that find_matches and guards look up; of one relation also for those that
 * only refresh_matches does. Needs the relation's owner; indexes that are there are left as they are. They are ordinary indexes of the
 * user's: drop_matcher leaves them.
 */
Datum
salesops_index_matcher(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Matcher    *matcher = matcher_load(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	int			rules[MATCHER_LOOKUP_RULES + 1];
	int			n = matcher_lookup_rules(matcher, rules);

	InitMaterializedSRF(fcinfo, 0);
	relation_require_table(matcher_lookup_relation(matcher), "index the blocking keys");
	relation_require_owner(matcher_lookup_relation(matcher));
	for (int k = 0; k < n; k++)
	{
		const MatchRule *rule = &matcher->rule[rules[k]];
		char	   *name = matcher_rule_name(matcher, rule);
		bool		made;
		char	   *index;

		if (!is_indexable(matcher, rule))
		{
			ereport(WARNING,
					(errmsg("matcher \"%s\": blocking rule \"%s\" cannot be indexed: it is not immutable", matcher->name, name),
					 errhint("Use immutable functions, for instance salesops.match_date(column) instead of a cast to text.")));
			continue;
		}
		index = make_index(matcher, matcher_rule_sql(matcher, rule), rule->kind == MATCH_RULE_KEY ? "btree" : "gin", "", &made);
		tell_index(result, name, index, made);
	}
	if (!OidIsValid(matcher->right_relid))
		index_other_rules(result, matcher, rules, n);
	PG_RETURN_VOID();
}
