/*
 * relation.c
 *		Looking up the user's relations and columns, with errors that name what is missing (relation.h).
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "core/compat.h"
#include "core/errors.h"
#include "core/own.h"
#include "core/relation.h"
#include "core/spi.h"

/* schema.name; error where the relation is gone. */
char *
relation_sql_name(Oid relid)
{
	char	   *name = get_rel_name(relid);

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), name);
}

/* As for a CHECK constraint: only an owner says what rows must be. */
void
relation_require_owner(Oid relid)
{
	if (!object_ownercheck(RelationRelationId, relid, GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of relation %s", relation_sql_name(relid)),
				 errhint("Only the owner, or a superuser, may define what salesops does with a relation.")));
}

/* SELECT on the whole relation or on some column; the query itself checks the columns it reads. */
void
relation_require_select(Oid relid)
{
	if (pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) != ACLCHECK_OK &&
		pg_attribute_aclcheck_all(relid, GetUserId(), ACL_SELECT, ACLMASK_ANY) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for relation %s", relation_sql_name(relid))));
}

/* Triggers need a table. */
void
relation_require_table(Oid relid, const char *action)
{
	char		kind = get_rel_relkind(relid);

	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot %s: %s is not a table", action, relation_sql_name(relid)),
				 errhint("Name the table that the rows are written to.")));
}

/* a, b, c of a relation's columns */
char *
relation_column_list(Oid relid)
{
	StringInfoData list;
	Relation	relation = relation_open(relid, AccessShareLock);

	initStringInfo(&list);
	for (int i = 0; i < RelationGetNumberOfAttributes(relation); i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(relation), i);

		if (!attribute->attisdropped)
			append_choice(&list, NameStr(attribute->attname));
	}
	relation_close(relation, AccessShareLock);
	return list.data;
}

/* Attribute number of a column, or an error that names both and lists the columns. */
AttrNumber
relation_require_column(Oid relid, const char *column)
{
	AttrNumber	number = get_attnum(relid, column);

	if (number == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of relation %s does not exist", column, relation_sql_name(relid)),
				 errhint("Its columns are: %s.", relation_column_list(relid))));
	return number;
}

/* Column of a usable one-column unique index: the primary key first, else the first over a not-null column. */
char *
relation_key_column(Oid relid)
{
	Relation	relation = relation_open(relid, AccessShareLock);
	List	   *indexes = RelationGetIndexList(relation);
	char	   *found = NULL;
	ListCell   *cell;

	foreach(cell, indexes)
	{
		HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(lfirst_oid(cell)));
		Form_pg_index index;
		AttrNumber	number;

		if (!HeapTupleIsValid(tuple))
			continue;
		index = (Form_pg_index) GETSTRUCT(tuple);
		number = index->indkey.values[0];
		if (index->indisunique && index->indisvalid && index->indnkeyatts == 1 && number > 0 &&
			heap_attisnull(tuple, Anum_pg_index_indpred, NULL) &&
			(index->indisprimary ||
			 (found == NULL && TupleDescAttr(RelationGetDescr(relation), number - 1)->attnotnull)))
			found = pstrdup(NameStr(TupleDescAttr(RelationGetDescr(relation), number - 1)->attname));
		ReleaseSysCache(tuple);
	}
	relation_close(relation, AccessShareLock);
	return found;
}

/* One column of salesops.source, or NULL */
static char *
source_lookup(const char *sql, int nargs, const SpiArg *args)
{
	SpiScope	scope;
	MemoryContext caller = CurrentMemoryContext;
	char	   *found = NULL;

	spi_open(&scope, SPI_AS_OWNER);
	if (spi_execute(SPI_OK_SELECT, sql, nargs, args) > 0)
	{
		char	   *text = spi_get_text(0, 1);

		found = text ? MemoryContextStrdup(caller, text) : NULL;
	}
	spi_close(&scope);
	return found;
}

/* The relation of a row of salesops.source */
static void
take_relation(const Datum *values, const bool *nulls, void *arg)
{
	*(Oid *) arg = DatumGetObjectId(values[1]);
}

/* The relation attached to a contract entity. Asked on every path that reads the user's rows, so without SQL. */
Oid
contract_relation(const char *entity)
{
	OwnKey		key = {1, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(entity)};
	Oid			found = InvalidOid;

	/* as SPI does: what this command has attached is seen */
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	own_scan("source", "source_pkey", false, 1, &key, take_relation, &found);
	PopActiveSnapshot();
	return found;
}

/* The source column of a contract column. */
char *
contract_source_column(const char *entity, const char *contract_column)
{
	SpiArg		args[] = {spi_text(entity), spi_text(contract_column)};

	return source_lookup("SELECT s.columns OPERATOR(pg_catalog.->>) $2 FROM salesops.source s WHERE s.entity = $1", 2, args);
}

/* The entity a relation is attached as; the first by name if several. */
char *
contract_entity_of(Oid relid)
{
	SpiArg		args[] = {spi_oid(relid)};

	return source_lookup("SELECT s.entity FROM salesops.source s WHERE s.relation = $1 ORDER BY 1 LIMIT 1", 1, args);
}

/* The contract view of an entity. */
Oid
contract_view(const char *entity)
{
	Oid			relid = get_relname_relid(entity, get_namespace_oid("salesops", false));

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no contract view for entity \"%s\"", entity)));
	return relid;
}

/* Quoted for SQL */
const char *
sql_literal(const char *text)
{
	return quote_literal_cstr(text);
}
