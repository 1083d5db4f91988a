/*
 * profile_pg.c
 *		Comparisons and blocking rules from the columns' content where the user gave none.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "core/errors.h"
#include "core/kernel_pg.h"
#include "core/progress.h"
#include "core/relation.h"
#include "match/matcher_pg.h"
#include "text/text_pg.h"

#define FOLD "salesops.match_fold("	/* what the default expressions of text begin with */
#define CODE "salesops.match_code(%s)"
#define FORM_BATCH 10000		/* values of a column that get another form at once */
#define COMPANY_SAMPLE 2000		/* values that are looked at for legal forms */
#define COMPANIES 0.2			/* share of them with one that makes a column one of companies */

/* Whether a column's type holds something that names a person, company or thing. */
static bool
is_usable_type(Oid type)
{
	char		category;
	bool		preferred;

	type = getBaseType(type);
	if (type == TIMESTAMPTZOID || type == TIMESTAMPOID || type == DATEOID || type == BOOLOID || type == UUIDOID)
		return true;
	if (get_typtype(type) == TYPTYPE_ENUM)
		return true;
	get_type_category_preferred(type, &category, &preferred);
	return category == TYPCATEGORY_STRING || type == INT2OID || type == INT4OID || type == INT8OID || type == NUMERICOID ||
		type == FLOAT4OID || type == FLOAT8OID;
}

/* A column's default expression: text is folded, the rest taken as it is. */
static char *
default_expression(const char *name, Oid type)
{
	char		category;
	bool		preferred;

	type = getBaseType(type);
	get_type_category_preferred(type, &category, &preferred);
	if (category == TYPCATEGORY_STRING)
		return psprintf("salesops.match_fold((%s)::pg_catalog.text)", quote_identifier(name));
	return pstrdup(quote_identifier(name));
}

/* Whether the user wants a column left out. */
static bool
is_excluded(const Matcher *matcher, const char *name)
{
	ListCell   *cell;

	foreach(cell, matcher->options.exclude)
	{
		if (strcmp(lfirst(cell), name) == 0)
			return true;
	}
	return strcmp(name, matcher->key) == 0 || (matcher->right_key != NULL && strcmp(name, matcher->right_key) == 0);
}

/* All columns that both relations have, as columns of a matcher of their own; names beside them. */
static void
offer_columns(const Matcher *matcher, Matcher *offer, char **names)
{
	Relation	relation = relation_open(matcher->relid, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(relation);

	for (int i = 0; i < desc->natts && offer->ncolumns < MATCHER_MAX_COLUMNS; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		char	   *name = NameStr(attribute->attname);

		if (attribute->attisdropped || is_excluded(matcher, name) || !is_usable_type(attribute->atttypid))
			continue;
		if (OidIsValid(matcher->right_relid) && get_attnum(matcher->right_relid, name) == InvalidAttrNumber)
			continue;
		names[offer->ncolumns] = pstrdup(name);
		matcher_column(offer, default_expression(name, attribute->atttypid), true);
	}
	relation_close(relation, AccessShareLock);
}

/* The last word of a text of words. */
static const char *
last_word(const text *words, size_t *length)
{
	const char *from = VARDATA_ANY(words);
	const char *end = from + VARSIZE_ANY_EXHDR(words);
	const char *at = end;

	while (at > from && at[-1] != ' ')
		at--;
	*length = end - at;
	return at;
}

/* Whether a fair share of a column's values are names that end in the legal form of a company. */
static bool
holds_companies(const MatchColumn *column)
{
	int32		step = column->nvalues / COMPANY_SAMPLE + 1;
	int			seen = 0;
	int			companies = 0;

	for (int32 v = 0; v < column->nvalues; v += step)
	{
		text	   *value = cstring_to_text_with_len(match_value(column, v), (int) match_value_length(column, v));
		text	   *name = text_normalize_name_pg(value);
		text	   *company = text_normalize_company_pg(value);
		size_t		name_length;
		size_t		company_length;
		const char *end = last_word(name, &name_length);
		const char *company_end = last_word(company, &company_length);

		seen++;
		companies += name_length != company_length || memcmp(end, company_end, name_length) != 0;
		pfree(value);
		pfree(name);
		pfree(company);
		CHECK_FOR_INTERRUPTS();
	}
	return companies > 0 && companies >= COMPANIES * seen;
}

/* The form that a folded column is compared in, where its content asks for another, as SQL over what stands for %s; else NULL. */
static const char *
refined_form(const MatchRecords *records, int c, const MatchProfile *profile)
{
	const MatchColumn *column = &records->column[c];
	MatchKind	kind = profile->kind[c];
	MatchForm	form = match_column_form(column, kind, &records->env);
	bool		companies;

	switch (form)
	{
		case MATCH_FORM_DAY_FIRST:
			return "salesops.match_day(%s, true)";
		case MATCH_FORM_MONTH_FIRST:
			return "salesops.match_day(%s, false)";
		case MATCH_FORM_CODE:
			return CODE;
		case MATCH_FORM_HOST:
			return "salesops.match_host(%s)";
		case MATCH_FORM_SORTED:
		case MATCH_FORM_PLAIN:
			break;
	}
	companies = (kind == MATCH_KIND_NAME || kind == MATCH_KIND_TEXT) && holds_companies(column);
	/* what is made up of other columns must be seen to contain them, and of an only column the first word counts */
	if (form == MATCH_FORM_SORTED && !profile->composite[c] && profile->ncomparisons > 1)
		return companies ? "salesops.match_sorted(salesops.normalize_company(%s))" : "salesops.match_sorted(%s)";
	return companies ? "salesops.normalize_company(%s)" : NULL;
}

/* SQL with what stands for its one %s. */
static char *
form_over(const char *form, const char *expression)
{
	const char *place = strstr(form, "%s");

	return psprintf("%.*s%s%s", (int) (place - form), form, expression, place + 2);
}

/* What one value becomes. */
static void
note_form(TupleTableSlot *slot, void *arg)
{
	MatchRecords *values = arg;
	int32		record = match_records_add(values);
	text	   *value = slot->tts_isnull[0] ? NULL : DatumGetTextPP(slot->tts_values[0]);

	if (value != NULL && VARSIZE_ANY_EXHDR(value) > 0)
		match_records_set(values, record, 0, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
}

/*
 * Give a column that is loaded another form, in its place or as one more, without reading the relation again: each value once. (A value
 * beyond MATCHER_LONGEST_VALUE counts by what is kept of it, and codes by their folded values.)
 */
static void
derive_column(MatchRecords *records, int column, int source, const char *form)
{
	char	   *sql = psprintf("SELECT %s FROM pg_catalog.unnest($1) AS t (v)", form_over(form, "t.v"));
	MemoryContext batch = AllocSetContextCreate(CurrentMemoryContext, "salesops match forms", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(batch);
	int32		nvalues = records->column[source].nvalues;
	MatchRecords values;

	match_records_init(&values, 1, &records->env);
	for (int32 v = 0; v < nvalues;)
	{
		SpiArray	texts = {TEXTOID};
		SpiArg		args[1];
		SpiScope	scope;

		for (; v < nvalues && texts.count < FORM_BATCH; v++)
			spi_array_add_text(&texts, match_value(&records->column[source], v));
		args[0] = spi_array(&texts);
		spi_open(&scope, SPI_PINNED_AS_CALLER);
		MemoryContextSwitchTo(batch);
		spi_stream_kept(sql, 1, args, true, note_form, &values);
		spi_close(&scope);
		MemoryContextSwitchTo(batch);
		MemoryContextReset(batch);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(batch);
	match_records_derive(records, column, source, &values);
}

/* A column of the offer in another form, in its place or as one more: its expression and its values. */
static void
reform_column(Matcher *offer, MatchRecords *records, int column, int source, const char *form)
{
	char	   *expression = offer->column[source].expression;

	/* a code is taken from the text itself */
	if (strcmp(form, CODE) == 0)
		expression = pnstrdup(expression + strlen(FOLD), strlen(expression) - strlen(FOLD) - 1);
	expression = form_over(form, expression);
	if (column == offer->ncolumns)
		matcher_column(offer, expression, true);
	else
		offer->column[column].expression = expression;
	derive_column(records, column, source, form);
}

/* Columns by the forms that their content asks for: codes without what stands between the digits, companies without their legal form. */
static bool
refine_columns(Matcher *offer, MatchRecords *records, const MatchProfile *profile, char **names)
{
	const char *form[MATCH_MAX_PROFILE_COLUMNS];
	bool		models[MATCH_MAX_PROFILE_COLUMNS];
	bool		changed = false;

	/* all are looked at as they were loaded */
	for (int c = 0; c < profile->ncolumns; c++)
	{
		bool		folded = strncmp(offer->column[c].expression, FOLD, strlen(FOLD)) == 0;

		form[c] = folded ? refined_form(records, c, profile) : NULL;
		models[c] = folded && match_holds_models(records, profile, c);
		changed |= form[c] != NULL || models[c];
	}
	for (int c = 0; c < profile->ncolumns; c++)
	{
		if (models[c] && offer->ncolumns < MATCHER_MAX_COLUMNS)
		{
			names[offer->ncolumns] = psprintf("%s (code)", names[c]);
			reform_column(offer, records, offer->ncolumns, c, "salesops.match_model(%s)");
		}
		if (form[c] != NULL)
			reform_column(offer, records, c, c, form[c]);
	}
	return changed;
}

/* Take over comparisons. */
static void
take_comparisons(Matcher *matcher, const Matcher *offer, const MatchProfile *profile, char **names)
{
	matcher->ncomparisons = profile->ncomparisons;
	for (int c = 0; c < profile->ncomparisons; c++)
	{
		matcher->comparison[c] = profile->comparison[c];
		matcher->comparison_name[c] = names[profile->comparison[c].column];
		matcher->comparison[c].column =
			matcher_column(matcher, offer->column[profile->comparison[c].column].expression, profile->comparison[c].nthresholds > 0);
	}
}

/* Take over blocking rules. */
static void
take_rules(Matcher *matcher, const Matcher *offer, const MatchProfile *profile)
{
	matcher->nrules = profile->nrules;
	for (int r = 0; r < profile->nrules; r++)
	{
		matcher->rule[r] = profile->rule[r];
		for (int p = 0; p < profile->rule[r].nparts; p++)
			matcher->rule[r].column[p] = matcher_column(matcher, offer->column[profile->rule[r].column[p]].expression,
														profile->rule[r].prefix[p] > 0 || profile->rule[r].kind != MATCH_RULE_KEY);
	}
}

/*
 * One column of texts by itself says how alike two records are, but not how alike is alike enough: that takes two views of a record. So
 * the first word and the others are compared, each for itself.
 */
static bool
split_only_column(Matcher *offer, MatchRecords *records, const MatchProfile *profile, char **names)
{
	int			c = profile->comparison[0].column;

	if (profile->ncomparisons != 1 || !profile->several_words[c] || offer->ncolumns == MATCHER_MAX_COLUMNS)
		return false;
	names[offer->ncolumns] = psprintf("%s (other words)", names[c]);
	names[c] = psprintf("%s (first word)", names[c]);
	reform_column(offer, records, offer->ncolumns, c, "salesops.match_rest(%s)");
	reform_column(offer, records, c, c, "salesops.match_first(%s)");
	return true;
}

/* Profile the offered columns over the relation's content, again where that asks for other forms of them. */
static void
profile_offer(Matcher *offer, MatchRecords *records, const MatchProfileOptions *options, MatchProfile *profile, char **names,
			  bool split)
{
	match_profile(records, options, profile);
	if (refine_columns(offer, records, profile, names))
		match_profile(records, options, profile);
	if (split && split_only_column(offer, records, profile, names))
		match_profile(records, options, profile);
}

/* The options over a sample: of its pairs there are as many as the square of its share. */
static MatchProfileOptions
options_of_share(const Matcher *matcher, double share)
{
	MatchProfileOptions options = match_profile_defaults();

	options.max_block = matcher->options.max_block;
	options.pairs_per_record *= share;
	options.pair_budget *= share * share;
	return options;
}

/* Columns of comparisons that the user gave, to find rules over them. */
static void
offer_comparisons(const Matcher *matcher, Matcher *offer, char **names)
{
	for (int c = 0; c < matcher->ncomparisons; c++)
	{
		int			column = matcher_column(offer, matcher->column[matcher->comparison[c].column].expression, true);

		names[column] = matcher->comparison_name[c];
	}
}

double
matcher_choose(Matcher *matcher)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "salesops match profile", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	MemoryContext content = AllocSetContextCreate(context, "salesops match content", ALLOCSET_DEFAULT_SIZES);
	Matcher    *offer = palloc0(sizeof(Matcher));
	MatchProfile *profile = palloc0(sizeof(MatchProfile));
	MatchProfileOptions options;
	MatcherRecords loaded;
	double		share;
	char	  **names = palloc0(sizeof(char *) * MATCHER_MAX_COLUMNS);

	*offer = *matcher;
	offer->ncolumns = offer->ncomparisons = offer->nrules = 0;
	if (matcher->auto_comparisons)
		offer_columns(matcher, offer, names);
	else
		offer_comparisons(matcher, offer, names);
	MemoryContextSwitchTo(content);
	share = matcher_records_load_most(offer, &loaded);
	MemoryContextSwitchTo(context);
	options = options_of_share(matcher, share);
	profile_offer(offer, &loaded.records, &options, profile, names, matcher->auto_comparisons && matcher->auto_blocking);
	if (matcher->auto_blocking)
		match_profile_rules(&loaded.records, &options, profile);
	MemoryContextSwitchTo(caller);

	if (matcher->auto_comparisons && matcher->auto_blocking)
		matcher->ncolumns = 0;
	if (matcher->auto_comparisons)
		take_comparisons(matcher, offer, profile, names);
	if (matcher->auto_blocking)
		take_rules(matcher, offer, profile);
	for (int c = 0; c < matcher->ncomparisons; c++)
		matcher->comparison_name[c] = pstrdup(matcher->comparison_name[c]);
	MemoryContextDelete(context);
	return share;
}
