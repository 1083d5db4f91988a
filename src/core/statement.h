/*
 * statement.h
 *		Looking at the relations that a statement writes to as it starts, with their triggers, before the first row.
 */
#ifndef SALESOPS_CORE_STATEMENT_H
#define SALESOPS_CORE_STATEMENT_H

#include "postgres.h"

#include "executor/execdesc.h"
#include "nodes/execnodes.h"

typedef void (*StatementLook) (ResultRelInfo *relation, const QueryDesc *query);

/* From here on in this process; once a function, from _PG_init. Only relations that have triggers are shown. */
extern void statement_look(StatementLook look);

#endif /* SALESOPS_CORE_STATEMENT_H */
