/*
 * group_pg.c
 *		The columns that the pipeline's reports can be broken down by: are they all known?
 *
 * What a deal's values of them are is SQL (opportunity_groups in sql/52_pipeline_views.sql).
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "core/compat.h"
#include "core/errors.h"
#include "core/relation.h"

PG_FUNCTION_INFO_V1(salesops_require_groupings);

/* Beside the columns of opportunity: the owner's and the account's, under these names */
static const char *const joined_columns[] = {"rep_region", "manager_id", "industry", "country", "region"};

/* Is it a column of the contract view opportunity, or one of the owner's or the account's? */
static bool
is_grouping(Oid opportunity, const char *name)
{
	for (size_t i = 0; i < lengthof(joined_columns); i++)
		if (strcmp(joined_columns[i], name) == 0)
			return true;
	return strlen(name) < NAMEDATALEN && get_attnum(opportunity, name) > 0;
}

/* What "by" may hold, for the hint */
static char *
grouping_choices(Oid opportunity)
{
	StringInfoData list;

	initStringInfo(&list);
	appendStringInfoString(&list, relation_column_list(opportunity));
	for (size_t i = 0; i < lengthof(joined_columns); i++)
		append_choice(&list, joined_columns[i]);
	return list.data;
}

/* require_groupings(by text[]) -> boolean: is there anything to group by? 22023 with every name that is unknown, NULL or nested */
Datum
salesops_require_groupings(PG_FUNCTION_ARGS)
{
	ArrayType  *by = PG_GETARG_ARRAYTYPE_P(0);
	Oid			opportunity = get_relname_relid("opportunity", get_namespace_oid("salesops", false));
	Problems	problems;
	Datum	   *names;
	bool	   *nulls;
	int			count;

	problems_init(&problems);
	deconstruct_array(by, TEXTOID, -1, false, TYPALIGN_INT, &names, &nulls, &count);
	if (ARR_NDIM(by) > 1)
		problems_add(&problems, "it has %d dimensions", ARR_NDIM(by));
	for (int i = 0; i < count; i++)
		if (nulls[i])
			problems_add(&problems, "element %d is NULL", i + 1);
		else if (!is_grouping(opportunity, TextDatumGetCString(names[i])))
			problems_add(&problems, "cannot group by \"%s\"", TextDatumGetCString(names[i]));
	problems_raise(&problems, ERRCODE_INVALID_PARAMETER_VALUE, psprintf("It may hold: %s.", grouping_choices(opportunity)),
				   "invalid \"by\" for a report on the pipeline");
	PG_RETURN_BOOL(count > 0);
}
