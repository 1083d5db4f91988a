/*
 * expression.h
 *		A user's expression over one relation's row: parsed by the server, checked, deparsed, and evaluated.
 *
 * The source must be one expression and nothing else; it is parsed as for a CHECK constraint with search_path
 * pg_catalog, and only an owner of the relation may give one (expression_parse checks). The deparsed text is safe to
 * place in SQL: it came out of the server's own parser and deparser with every name qualified.
 */
#ifndef SALESOPS_CORE_EXPRESSION_H
#define SALESOPS_CORE_EXPRESSION_H

#include "postgres.h"

#include "executor/executor.h"
#include "nodes/bitmapset.h"
#include "nodes/primnodes.h"
#include "utils/rel.h"

#define EXPRESSION_SUBQUERY		0x01	/* subqueries allowed */
#define EXPRESSION_VOLATILE		0x02	/* volatile functions allowed */
#define EXPRESSION_IMMUTABLE	0x04	/* only immutable functions allowed (for indexes) */
#define EXPRESSION_ANY_ROLE		0x08	/* skip the owner check (contract views: rights were checked otherwise) */

typedef struct RowExpression
{
	Node	   *tree;			/* Vars have varno 1 */
	Oid			type;
	Bitmapset  *columns;		/* attribute numbers used; 0 in it means the whole row */
	bool		has_subquery;
	char	   *text;			/* deparsed, columns unqualified, everything else qualified */
} RowExpression;

/*
 * Parse 'source' against the relation. wanted is the type to coerce to (BOOLOID for criteria) or InvalidOid for any.
 * 'what' names the thing in errors (criterion "has amount"). Errors keep the parser's SQLSTATE and message, without its
 * cursor position (which would point into the outer statement).
 */
extern RowExpression *expression_parse(const char *source, Oid relid, Oid wanted, int flags, const char *what);

/* Text of a tree over the relation, as it stands after renames; prefix qualifies the columns ("NEW", "l") or is NULL. */
extern char *expression_deparse(Node *tree, Oid relid, const char *prefix);

/* Compile for evaluation over slots of the relation's row type; no subqueries. Lives in the current memory context. */
typedef struct CompiledExpression
{
	ExprState  *state;
	ExprContext *context;
	EState	   *estate;
} CompiledExpression;

extern CompiledExpression *expression_compile(RowExpression *expression);
extern Datum expression_evaluate(CompiledExpression *compiled, TupleTableSlot *slot, bool *isnull);
extern void expression_free(CompiledExpression *compiled);

#endif /* SALESOPS_CORE_EXPRESSION_H */
