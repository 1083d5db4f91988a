/*
 * relation.h
 *		Looking up the user's relations, columns and roles by name, with errors that name what is missing.
 */
#ifndef SALESOPS_CORE_RELATION_H
#define SALESOPS_CORE_RELATION_H

#include "postgres.h"

#include "access/tupdesc.h"
#include "utils/rel.h"

/* schema.name, quoted where needed: for messages and for SQL; palloc'd. */
extern char *relation_sql_name(Oid relid);

/* Error 42501 unless the caller owns the relation (or is superuser). */
extern void relation_require_owner(Oid relid);

/* Error 42501 unless the caller may SELECT from the relation. */
extern void relation_require_select(Oid relid);

/* Error 42809 unless the relation is an ordinary or partitioned table; 'action' completes "cannot … ". */
extern void relation_require_table(Oid relid, const char *action);

/* Attribute number of a column; error 42703 naming column and relation where there is none. */
extern AttrNumber relation_require_column(Oid relid, const char *column);

/* Name of the relation's single-column primary key or unique not-null key, or NULL. */
extern char *relation_key_column(Oid relid);

/* Comma-separated column names, for hints. */
extern char *relation_column_list(Oid relid);

/* The relation attached to a contract entity ("opportunity"), or InvalidOid; source column of a contract column, or NULL */
extern Oid	contract_relation(const char *entity);
extern char *contract_source_column(const char *entity, const char *contract_column);
/* The entity a relation is attached as, or NULL */
extern char *contract_entity_of(Oid relid);
/* OID of the contract view salesops.NAME */
extern Oid	contract_view(const char *entity);

/* Quoted for SQL */
extern const char *sql_literal(const char *text);

#endif /* SALESOPS_CORE_RELATION_H */
