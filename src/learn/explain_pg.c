/*
 * explain_pg.c
 *		explain_prediction: a row's contributions in log odds, by the user's column names, with his values.
 */
#include "postgres.h"

#include <math.h>

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/tuplestore.h"

#include "core/compat.h"
#include "core/kernel_pg.h"
#include "learn/predict_site.h"

typedef struct Contribution
{
	int			feature;
	double		value;
} Contribution;

/* by size, downwards; equal ones in the order of the features */
static int
compare_contributions(const void *a, const void *b)
{
	const Contribution *x = a;
	const Contribution *y = b;
	double		difference = fabs(y->value) - fabs(x->value);

	return difference < 0 ? -1 : difference > 0 ? 1 : x->feature - y->feature;
}

/* Add a row to the result; the value may be NULL. */
static void
put_contribution(ReturnSetInfo *rsinfo, const char *feature, const char *value, double contribution)
{
	Datum		values[3];
	bool		nulls[3] = {false, value == NULL, false};

	values[0] = CStringGetTextDatum(feature);
	if (value)
		values[1] = CStringGetTextDatum(value);
	values[2] = Float8GetDatum(contribution);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* The text of a feature's column in the row at hand, NULL where it has none. */
static char *
value_of_feature(const PredictSite *site, int feature)
{
	int			column = learn_feature_column(site->map, feature);
	Oid			output;
	bool		varlena;

	if (column < 0 || site->nulls[column])
		return NULL;
	getTypeOutputInfo(TupleDescAttr(site->desc, column)->atttypid, &output, &varlena);
	return OidOutputFunctionCall(output, site->values[column]);
}

PG_FUNCTION_INFO_V1(salesops_explain_prediction);
/*
 * (model, row, top) -> (feature, value, contribution): "(average)", the top features by size, and "(other columns)" for the rest
 * where there is a rest. They add up to the log odds of predict.
 */
Datum
salesops_explain_prediction(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	KernelEnv	env = kernel_env_pg(CurrentMemoryContext);
	int			top = PG_GETARG_INT32(2);
	PredictSite *site;
	LearnValue *value;
	double	   *contribution;
	Contribution *sorted;
	double		rest = 0;
	int			count;

	if (top < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("top must not be negative, but is %d", top)));
	InitMaterializedSRF(fcinfo, 0);
	value = learn_site_row(fcinfo->flinfo, PG_GETARG_DATUM(0), PG_GETARG_DATUM(1), &site);
	count = site->loaded->model->features.count;
	contribution = palloc(sizeof(double) * (count + 1));
	sorted = palloc(sizeof(Contribution) * (count + 1));
	learn_model_explain(&env, site->loaded->model, value, contribution);
	put_contribution(rsinfo, "(average)", NULL, contribution[count]);
	count = 0;
	for (int f = 0; f < site->loaded->model->features.count; f++)
		if (learn_words_of(&site->loaded->model->features, f) < 0)
			sorted[count++] = (Contribution) {f, contribution[f]};
	qsort(sorted, count, sizeof(Contribution), compare_contributions);
	for (int i = 0; i < count; i++)
	{
		if (i < top)
			put_contribution(rsinfo, site->loaded->model->features.feature[sorted[i].feature].name,
							 value_of_feature(site, sorted[i].feature), sorted[i].value);
		else
			rest += sorted[i].value;
	}
	if (count > top)
		put_contribution(rsinfo, "(other columns)", NULL, rest);
	return (Datum) 0;
}
