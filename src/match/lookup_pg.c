/*
 * lookup_pg.c
 *		One record against the relation: find_matches. Guards build on it; the indexes that make it quick are index_pg.c's.
 *
 * The candidate's values and block keys are computed by the server from the same expressions as the rows' (over a row
 * made of the candidate's columns by name), rows that share a key are fetched through expression indexes, and scored as in
 * a batch. A lookup uses the narrowest rules only, and of words those that were rare at training.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "core/compat.h"
#include "core/errors.h"
#include "core/relation.h"
#include "core/row.h"
#include "match/matcher_pg.h"

PG_FUNCTION_INFO_V1(salesops_find_matches);

/* A row as jsonb, by column names. */
static Jsonb *
row_jsonb(Datum record)
{
	RowReader	reader;
	Jsonb	   *json;
	SpiScope	scope;
	SpiArg		args[1];
	bool		isnull;
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext inner;

	row_open(&reader, record);
	args[0] = spi_datum(HeapTupleHeaderGetTypeId(DatumGetHeapTupleHeader(record)), record, false);
	spi_open(&scope, SPI_PINNED_AS_CALLER);
	spi_execute_kept(SPI_OK_SELECT, "SELECT pg_catalog.to_jsonb($1)", 1, args);
	inner = MemoryContextSwitchTo(caller);
	json = DatumGetJsonbPCopy(spi_get_datum(0, 1, &isnull));
	MemoryContextSwitchTo(inner);
	spi_close(&scope);
	row_close(&reader);
	return json;
}

/*
 * Look-ups come once a row written, and need some ten blocks of memory that the heap would get from the system and give back each time.
 * One context is kept for them, with a first block that holds it all.
 */
#define CONTEXT_BYTES (256 * 1024)

static MemoryContext kept_context = NULL;

MemoryContext
matcher_lookup_context(void)
{
	MemoryContext context = kept_context;

	/* a look-up within a look-up has one of its own */
	kept_context = NULL;
	if (context == NULL)
		context = AllocSetContextCreate(CurrentMemoryContext, "salesops look-up", CONTEXT_BYTES, CONTEXT_BYTES, ALLOCSET_DEFAULT_MAXSIZE);
	else
		MemoryContextSetParent(context, CurrentMemoryContext);
	MemoryContextSwitchTo(context);
	return context;
}

void
matcher_lookup_done(MemoryContext context)
{
	if (kept_context != NULL)
	{
		MemoryContextDelete(context);
		return;
	}
	MemoryContextReset(context);
	MemoryContextSetParent(context, TopMemoryContext);
	kept_context = context;
}

MatcherLookup *
matcher_lookup_start(const char *name, Datum candidate, bool missing_ok)
{
	MatcherLookup *lookup = palloc0(sizeof(MatcherLookup));
	MemoryContext caller = CurrentMemoryContext;
	SpiScope	scope;
	SpiArg		args[1];
	bool		decisions;
	bool		own;
	const MatcherCompiled *compiled = matcher_compiled(name, missing_ok, &decisions);

	if (missing_ok && (compiled == NULL || !compiled->trained))
		return NULL;
	lookup->compiled = compiled;
	lookup->matcher = palloc(sizeof(Matcher));
	*lookup->matcher = *compiled->matcher;
	lookup->value = palloc0(sizeof(char *) * Max(lookup->matcher->ncolumns, 1));
	own = HeapTupleHeaderGetTypeId(DatumGetHeapTupleHeader(candidate)) == compiled->own_type;
	args[0] = own ? spi_datum(compiled->own_type, candidate, false) : spi_jsonb(row_jsonb(candidate));
	spi_open(&scope, SPI_PINNED_AS_CALLER);
	spi_execute_kept(SPI_OK_SELECT, own ? compiled->own_sql : compiled->candidate_sql, 1, args);
	for (int i = -1; i < lookup->matcher->ncolumns + compiled->nrules; i++)
	{
		char	   *text = spi_get_text(0, i + 2);

		if (text == NULL)
			continue;
		text = MemoryContextStrdup(caller, text);
		if (i < 0)
			lookup->key = text;
		else if (i < lookup->matcher->ncolumns)
			lookup->value[i] = text;
		else
			lookup->rule_key[i - lookup->matcher->ncolumns] = text;
	}
	spi_close(&scope);
	if (decisions && lookup->key != NULL)
		lookup->decided = matcher_decisions_of(lookup->matcher, lookup->key);
	return lookup;
}

/* Of a word rule's keys (an array as text), those that were rare at training; NULL where none is. */
static char *
rare_keys(const MatcherLookup *lookup, int r, const char *keys)
{
	SpiScope	scope;
	MemoryContext caller = CurrentMemoryContext;
	ArrayType  *array;
	Oid			input;
	Oid			element;
	Datum	   *words;
	bool	   *nulls;
	SpiArray	rare = {TEXTOID};
	SpiArray	hashes = {INT8OID};
	int			count;
	char	   *result;
	SpiArg		args[4];

	getTypeInputInfo(TEXTARRAYOID, &input, &element);
	array = DatumGetArrayTypeP(OidInputFunctionCall(input, pstrdup(keys), element, -1));
	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &words, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		text	   *word = nulls[i] ? NULL : DatumGetTextPP(words[i]);

		if (word == NULL)
			continue;
		spi_array_add(&rare, words[i]);
		spi_array_add(&hashes, Int64GetDatum((int64) match_hash(VARDATA_ANY(word), VARSIZE_ANY_EXHDR(word))));
	}
	args[0] = spi_text(lookup->matcher->name);
	args[1] = spi_int4(-1 - r);
	args[2] = spi_array(&rare);
	args[3] = spi_array(&hashes);
	spi_open(&scope, SPI_AS_OWNER);
	spi_execute_kept(SPI_OK_SELECT,
				"SELECT pg_catalog.array_agg(w.word) FROM unnest($3, $4) AS w (word, hash) WHERE NOT EXISTS ("
				"SELECT FROM salesops.matcher_term t WHERE t.matcher OPERATOR(pg_catalog.=) $1 AND t.comparison OPERATOR(pg_catalog.=) $2 "
				"AND t.value_hash OPERATOR(pg_catalog.=) w.hash)", 4, args);
	result = spi_get_text(0, 1);
	result = result ? MemoryContextStrdup(caller, result) : NULL;
	spi_close(&scope);
	return result;
}

/*
 * OR key = ANY (those confirmed to be the candidate), whether they share a blocking key or not: the keys in the column's own
 * type, so that its index serves.
 */
static void
add_confirmed(MatcherLookup *lookup, StringInfo sql, SpiArg *args, int *nargs)
{
	Oid			relid = matcher_lookup_relation(lookup->matcher);
	const char *key = OidIsValid(lookup->matcher->right_relid) ? lookup->matcher->right_key : lookup->matcher->key;
	SpiArray	keys = {TEXTOID};

	for (int i = 0; i < lookup->decided.count; i++)
	{
		if (lookup->decided.confirmed[i])
			spi_array_add_text(&keys, lookup->decided.other[i]);
	}
	if (keys.count == 0)
		return;
	args[*nargs] = spi_array(&keys);
	appendStringInfo(sql, "%s%s OPERATOR(pg_catalog.=) ANY ($%d::%s[])", *nargs == 0 ? " WHERE (" : " OR ", quote_identifier(key), *nargs + 1,
					 format_type_be_qualified(get_atttype(relid, relation_require_column(relid, key))));
	(*nargs)++;
}

/* WHERE of the rows that share a key with the candidate, or that people confirmed; NULL where there is nothing to go by. */
static char *
lookup_condition(MatcherLookup *lookup, SpiArg *args, int *nargs)
{
	char	  **column = matcher_column_sql(lookup->matcher, matcher_lookup_relation(lookup->matcher));
	StringInfoData sql;

	initStringInfo(&sql);
	*nargs = 0;
	for (int k = 0; k < lookup->compiled->nrules; k++)
	{
		const MatchRule *rule = &lookup->matcher->rule[lookup->compiled->rule[k]];
		char	   *key = lookup->rule_key[k];

		if (key != NULL && rule->kind != MATCH_RULE_KEY)
			key = rare_keys(lookup, lookup->compiled->rule[k], key);
		if (key == NULL || key[0] == '\0')
			continue;
		args[*nargs] = spi_text(key);
		appendStringInfo(&sql, "%s(%s) %s $%d%s", *nargs == 0 ? " WHERE (" : " OR ", matcher_rule_over(column, rule),
						 rule->kind == MATCH_RULE_KEY ? "OPERATOR(pg_catalog.=)" : "OPERATOR(pg_catalog.&&)", *nargs + 1,
						 rule->kind == MATCH_RULE_KEY ? "" : "::pg_catalog.text[]");
		(*nargs)++;
	}
	if (lookup->decided.count > 0)
		add_confirmed(lookup, &sql, args, nargs);
	return *nargs > 0 ? sql.data : NULL;
}

/* Confirmed ones first, then the best, then by key. */
static int
compare_hits(const void *a, const void *b)
{
	const MatcherHit *x = a;
	const MatcherHit *y = b;

	if (x->confirmed != y->confirmed)
		return x->confirmed ? -1 : 1;
	if (x->weight != y->weight)
		return x->weight > y->weight ? -1 : 1;
	return strcmp(x->key, y->key);
}

/* What people decided of the candidate and a fetched row: 1 confirmed, -1 rejected, 0 nothing. */
static int
decided_of(const MatcherLookup *lookup, const char *key)
{
	for (int i = 0; i < lookup->decided.count; i++)
	{
		if (strcmp(lookup->decided.other[i], key) == 0)
			return lookup->decided.confirmed[i] ? 1 : -1;
	}
	return 0;
}

/* Score the fetched rows. */
static void
score_hits(MatcherLookup *lookup, double threshold)
{
	MatchRecords *records = &lookup->loaded.records;

	match_comparisons_prepare(records, lookup->matcher->comparison, lookup->matcher->ncomparisons, matcher_utf8());
	lookup->model = lookup->compiled->model;
	matcher_model_terms(lookup->matcher, records, 0, &lookup->model);
	match_scorer_init(&lookup->scorer, records, lookup->matcher->comparison, &lookup->model, matcher_workspace(&records->env));
	lookup->hit = palloc(sizeof(MatcherHit) * records->nrecords);
	for (int32 i = 1; i < records->nrecords; i++)
	{
		int64		weight = match_score(&lookup->scorer, 0, i);
		int			decided = decided_of(lookup, matcher_key(&lookup->loaded, i));
		double		odds = decided > 0 ? MATCH_DECIDED_ODDS : matcher_odds(lookup->matcher, &lookup->scorer, weight);
		MatcherHit *hit = &lookup->hit[lookup->nhits];

		if (decided < 0 || match_probability(odds) < threshold)
			continue;
		hit->key = pstrdup(matcher_key(&lookup->loaded, i));
		hit->record = i;
		hit->weight = weight / MATCH_FIXED;
		hit->probability = match_probability(odds);
		hit->confirmed = decided > 0;
		lookup->nhits++;
	}
	qsort(lookup->hit, lookup->nhits, sizeof(MatcherHit), compare_hits);
}

void
matcher_lookup_run(MatcherLookup *lookup, double threshold, const char *not_key)
{
	Matcher    *matcher = lookup->matcher;
	Oid			relid = matcher_lookup_relation(matcher);
	const char *key = OidIsValid(matcher->right_relid) ? matcher->right_key : matcher->key;
	SpiArg		args[MATCHER_LOOKUP_RULES + 3];
	int			nargs;
	char	   *condition;

	if (!lookup->compiled->trained)
		matcher_model_tables(matcher, &lookup->model);	/* the error */
	condition = lookup_condition(lookup, args, &nargs);
	if (condition == NULL)
		return;
	if (not_key != NULL)
	{
		args[nargs] = spi_text(not_key);
		condition = psprintf("%s) AND %s::pg_catalog.text OPERATOR(pg_catalog.<>) $%d", condition, quote_identifier(key), nargs + 1);
		nargs++;
	}
	else
		condition = psprintf("%s)", condition);
	/* one more than is compared, to know whether there are more */
	condition = psprintf("%s LIMIT %d", condition, MATCHER_LOOKUP_ROWS + 1);
	matcher_records_start(matcher, &lookup->loaded);
	matcher_records_add(&lookup->loaded, "", lookup->value);
	matcher_records_scan(matcher, &lookup->loaded, relid, key, condition, nargs, args, false);
	if (lookup->loaded.records.nrecords > MATCHER_LOOKUP_ROWS + 1)
	{
		lookup->loaded.records.nrecords = MATCHER_LOOKUP_ROWS + 1;
		ereport(WARNING,
				(errmsg("matcher \"%s\": more than %d records share a blocking key with the candidate; only that many were compared",
						matcher->name, MATCHER_LOOKUP_ROWS),
				 errhint("Make the widest blocking rule narrower.")));
	}
	score_hits(lookup, threshold);
}

/* Which comparisons speak for a hit, strongest first: "email equal (+13.5), last_name near (+7.1)". */
char *
matcher_hit_reason(const MatcherLookup *lookup, int hit)
{
	const Matcher *matcher = lookup->matcher;
	bool		told[MATCH_MAX_COMPARISONS] = {0};
	uint64		pattern;
	int32		record = lookup->hit[hit].record;
	StringInfoData text;

	if (lookup->hit[hit].confirmed)
		return "confirmed";
	initStringInfo(&text);
	pattern = match_pattern(&lookup->loaded.records, matcher->comparison, matcher->ncomparisons, lookup->scorer.workspace, 0, record);
	for (;;)
	{
		int			best = -1;
		double		most = 0;

		for (int c = 0; c < matcher->ncomparisons; c++)
		{
			double		weight = match_weight(&lookup->scorer, c, match_pattern_level(pattern, c),
											  lookup->loaded.records.column[matcher->comparison[c].column].code[0]) / MATCH_FIXED;

			if (!told[c] && weight > most)
			{
				best = c;
				most = weight;
			}
		}
		if (best < 0)
			break;
		told[best] = true;
		appendStringInfo(&text, "%s%s %s (%+.1f)", text.len > 0 ? ", " : "", matcher->comparison_name[best],
						 match_pattern_level(pattern, best) == match_top_level(&matcher->comparison[best]) ? "equal" : "near", most);
	}
	if (lookup->scorer.has_related)
		appendStringInfo(&text, ", %s (%+.1f)", MATCHER_RELATED, match_related_weight(&lookup->scorer, pattern, 0) / MATCH_FIXED);
	return text.data;
}

/*
 * find_matches(matcher text, candidate record, threshold float8) -> setof (key text, weight float8, probability float8)
 *
 * Records that are probably the candidate, best first. The candidate is any row with columns named as the relation's (the left
 * one's of two; the right one is searched); columns it lacks are unknown. Where it has the key, what people decided of that record
 * holds: rejected ones do not come, confirmed ones come first.
 */
Datum
salesops_find_matches(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context;
	double		threshold = PG_GETARG_FLOAT8(2);
	MatcherLookup *lookup;
	int			nest;

	require_probability(threshold, "threshold");
	InitMaterializedSRF(fcinfo, 0);
	context = matcher_lookup_context();
	/* once for all that is asked */
	nest = search_path_pin();
	lookup = matcher_lookup_start(text_to_cstring(PG_GETARG_TEXT_PP(0)), PG_GETARG_DATUM(1), false);
	matcher_lookup_run(lookup, threshold, NULL);
	for (int i = 0; i < lookup->nhits; i++)
	{
		Datum		values[3] = {CStringGetTextDatum(lookup->hit[i].key), Float8GetDatum(lookup->hit[i].weight),
		Float8GetDatum(lookup->hit[i].probability)};
		bool		nulls[3] = {0};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	search_path_unpin(nest);
	MemoryContextSwitchTo(caller);
	matcher_lookup_done(context);
	PG_RETURN_VOID();
}
