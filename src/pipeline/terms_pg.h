/*
 * terms_pg.h
 *		The common terms of criteria: recognised in an expression's tree (terms_pg.c), checked all in one call (program_pg.c).
 */
#ifndef SALESOPS_PIPELINE_TERMS_PG_H
#define SALESOPS_PIPELINE_TERMS_PG_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "nodes/primnodes.h"

#define TERM_NOT_EQUAL 6		/* beside the btree strategies 1 to 5 */

/* The words of a program, beside the operators; see program_pg.c */
#define TERM_IS_NULL "null"
#define TERM_IS_NOT_NULL "set"
#define TERM_IS_TRUE "true"
#define TERM_LENGTH_PREFIX '#'
#define PROGRAM_STAGE '@'
#define PROGRAM_ASKED_OF '*'

/* How a term is checked */
typedef enum TermKind
{
	TERM_NULL,
	TERM_NOT_NULL,
	TERM_TRUE,
	TERM_INT16,
	TERM_INT32,
	TERM_INT64,
	TERM_NUMERIC,
	TERM_TEXT,
	TERM_LENGTH
} TermKind;

/* What is gathered for one call of salesops.all_true() */
typedef struct TermSet
{
	List	   *columns;		/* of attribute numbers */
	List	   *program;		/* of char * */
	int			count;			/* terms */
	char	   *asked_of;		/* what comes next is asked of these stages */
	char	   *begun;			/* the last of those that the program has */
} TermSet;

extern const char *const term_operators[];

/* How values of the type are compared with a constant; false where that is not done here */
extern bool term_kind_of_type(Oid type, TermKind *kind);

/* One more stage; they are numbered from 1 */
extern void terms_add_stage(TermSet *set, const char *stage);

/* What is added from here on is asked of rows in these stages only: an ascending list of numbers. */
extern void terms_ask_of(TermSet *set, List *stages);

/* Add the expression's terms to the set; false, and nothing added, where one of them is not a common one. */
extern bool terms_add(TermSet *set, Node *expression);

/* The call as SQL over the row variable "new" of the relation; stage: the row's stage as SQL */
extern char *terms_call(const TermSet *set, const char *stage, Oid relid);

#endif /* SALESOPS_PIPELINE_TERMS_PG_H */
