/*
 * terms_pg.h
 *		The common terms of criteria, recognised in an expression's tree and checked many at a time by one call.
 */
#ifndef SALESOPS_PIPELINE_TERMS_PG_H
#define SALESOPS_PIPELINE_TERMS_PG_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "nodes/primnodes.h"

/* What is gathered for one call of salesops.all_true(): the columns, and three texts a term: column's place, operator, constant */
typedef struct TermSet
{
	List	   *columns;		/* of attribute numbers */
	List	   *program;		/* of char * */
	int			count;			/* terms */
} TermSet;

/* Add the expression's terms to the set; false, and nothing added, where one of them is not a common one. */
extern bool terms_add(TermSet *set, Node *expression);

/* The call as SQL over the row variable "new" of the relation */
extern char *terms_call(const TermSet *set, Oid relid);

#endif /* SALESOPS_PIPELINE_TERMS_PG_H */
