/*
 * options.h
 *		jsonb options into a C struct: one table of what is allowed, every mistake listed at once.
 *
 *		static const OptionSpec specs[] = {
 *			{"max_block", OPTION_INTEGER, offsetof(MatchOptions, max_block), .min = 1, .max = 1e6},
 *			{"action", OPTION_CHOICE, offsetof(MatchOptions, action), .choices = actions},   -- stores the index (int)
 *		};
 *		MatchOptions o = {.max_block = 1000};           -- defaults first
 *		options_parse(jsonb, specs, lengthof(specs), &o, &problems, "options");
 *
 * JSON null leaves the default. An unknown key is a problem that names the keys allowed.
 */
#ifndef SALESOPS_CORE_OPTIONS_H
#define SALESOPS_CORE_OPTIONS_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "utils/jsonb.h"

#include "core/errors.h"

typedef enum OptionKind
{
	OPTION_BOOLEAN,				/* bool */
	OPTION_INTEGER,				/* int32 */
	OPTION_FLOAT,				/* double */
	OPTION_NUMERIC,				/* Numeric, NULL where absent */
	OPTION_TEXT,				/* char * */
	OPTION_CHOICE,				/* int: index into choices */
	OPTION_INTERVAL,			/* Interval * */
	OPTION_DATE,				/* DateADT * */
	OPTION_TEXT_LIST,			/* List * of char *; a single string is a list of one */
	OPTION_FLOAT_LIST,			/* List * of double * */
	OPTION_OBJECT,				/* Jsonb * */
	OPTION_ARRAY				/* Jsonb * */
} OptionKind;

typedef struct OptionSpec
{
	const char *name;
	OptionKind	kind;
	size_t		offset;			/* of the value in the target struct */
	bool		required;
	double		min;			/* numbers: both 0 means unbounded */
	double		max;
	const char *const *choices; /* OPTION_CHOICE: NULL-terminated */
} OptionSpec;

/* 'where' names the object in problems ("options", "tiers[2]"). NULL jsonb means {}. */
extern void options_parse(Jsonb *json, const OptionSpec *specs, int nspecs, void *target,
						  Problems *problems, const char *where);

/* Elements of a jsonb array, each as a Jsonb (scalars as scalar Jsonb); NULL json gives NIL. */
extern List *jsonb_elements(Jsonb *json);

/* A jsonb from SQL text of JSON; for constants of our own */
extern Jsonb *jsonb_from_cstring(const char *text);

#endif /* SALESOPS_CORE_OPTIONS_H */
