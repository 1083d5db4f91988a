/*
 * predict_site.h
 *		What a call of predict or explain_prediction keeps from row to row: the model, and where its features lie.
 */
#ifndef SALESOPS_LEARN_PREDICT_SITE_H
#define SALESOPS_LEARN_PREDICT_SITE_H

#include "postgres.h"

#include "fmgr.h"

#include "learn/features_pg.h"
#include "learn/model_pg.h"

typedef struct PredictSite
{
	uint64		generation;		/* 0: nothing prepared */
	Oid			user;
	size_t		name_size;
	const char *name;
	Oid			row_type;
	int32		row_typmod;
	LoadedModel *loaded;
	TupleDesc	desc;
	FeatureMap *map;
	Datum	   *values;			/* the row at hand */
	bool	   *nulls;
	MemoryContext context;
} PredictSite;

/*
 * The site of a call, ready for a model and rows of a type: looked up anew, which *prepared says, where the last call was of another
 * shape, or models changed since.
 */
extern PredictSite *learn_site(FmgrInfo *flinfo, text *name, Oid row_type, int32 row_typmod, bool *prepared);

/* Feature values of a row by the active version of a model; valid until the call site's next row. */
extern LearnValue *learn_site_row(FmgrInfo *flinfo, Datum model, Datum record, PredictSite **site);

#endif							/* SALESOPS_LEARN_PREDICT_SITE_H */
