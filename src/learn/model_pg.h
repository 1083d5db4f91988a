/*
 * model_pg.h
 *		The store of models (salesops.model_version), who may use them, and each session's cache of those it predicts with.
 */
#ifndef SALESOPS_LEARN_MODEL_PG_H
#define SALESOPS_LEARN_MODEL_PG_H

#include "postgres.h"

#include "learn/metrics.h"
#include "learn/model.h"
#include "utils/jsonb.h"

/* a model in this session's memory */
typedef struct LoadedModel
{
	char	   *name;
	int			wanted;			/* the version asked for; 0: the active one */
	int			version;
	char	   *method;
	char	   *label;
	Jsonb	   *details;
	LearnModel *model;
	uint64		generation;
	Oid			checked_user;	/* who was last found to have the right */
	int			pins;
	MemoryContext context;
} LoadedModel;

/*
 * Changes whenever any model may have changed: what was got before must be got again. Cheap enough for every row.
 */
extern uint64 learn_model_generation(void);

/*
 * The active version of a model (or another one), after checking that the caller may use it. Valid until the generation
 * changes and something else is got; pin it to hold it longer. Errors: 42704 where there is none, 42501 where the caller may
 * not.
 */
extern LoadedModel *learn_model_get(const char *name, int version);

/* Does the model exist (whoever may use it)? */
extern bool learn_model_exists(const char *name);

/* Hold a model until the memory context is reset. */
extern void learn_model_pin(LoadedModel *loaded, MemoryContext context);

/* what a training found, for the store */
typedef struct ModelRecord
{
	const char *name;
	const char *method;
	const char *label;
	const char *key;
	const char *query;
	const char *validation;		/* NULL: no figures */
	LearnMetrics metrics;
	int64		rows;
	int64		positives;
	List	   *features;		/* of char * */
	Jsonb	   *left_out;
	Jsonb	   *leakage;
	List	   *notes;			/* of char * */
	Jsonb	   *options;
	Jsonb	   *details;
	uint64		fingerprint;
	const LearnModel *model;
} ModelRecord;

/* Error 42501 unless the caller may train a model of this name: it is new, or his. */
extern void learn_model_require_trainer(const char *name);

/* Store as the model's next version and make it active; the row of salesops.model as a composite datum. */
extern Datum learn_model_store(const ModelRecord *record);

#endif							/* SALESOPS_LEARN_MODEL_PG_H */
