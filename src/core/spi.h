/*
 * spi.h
 *		The one place that runs SQL from C.
 *
 * SPI_AS_CALLER reads and writes the user's relations with the user's rights, row-level security and search_path.
 * SPI_PINNED_AS_CALLER does so for SQL of our own (and deparsed expressions), with search_path pinned.
 * SPI_AS_OWNER touches salesops's own tables as the owner of the extension with search_path pinned to pg_catalog,
 * pg_temp: use it only after the caller's right has been checked, and never for SQL that a user wrote.
 * A scope that an error leaves is undone by the transaction's abort. Scopes nest.
 */
#ifndef SALESOPS_CORE_SPI_H
#define SALESOPS_CORE_SPI_H

#include "postgres.h"

#include "executor/spi.h"
#include "executor/tuptable.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

typedef enum SpiRole
{
	SPI_AS_CALLER,
	SPI_PINNED_AS_CALLER,
	SPI_AS_OWNER
} SpiRole;

typedef struct SpiScope
{
	SpiRole		role;
	Oid			save_user;
	int			save_security;
	int			save_guc_nest;
} SpiScope;

typedef struct SpiArg
{
	Oid			type;
	Datum		value;
	bool		isnull;
} SpiArg;

/* search_path = pg_catalog, pg_temp until unpinned (or until the transaction aborts) */
extern int	search_path_pin(void);
extern void search_path_unpin(int nest);

extern void spi_open(SpiScope *scope, SpiRole role);
extern void spi_close(SpiScope *scope);

/* Arguments: spi_execute(SPI_OK_SELECT, "SELECT … $1 … $2", 2, (SpiArg[]) {spi_text("x"), spi_oid(relid)}) */
extern SpiArg spi_text(const char *value);		/* NULL pointer: SQL NULL */
extern SpiArg spi_name(const char *value);
extern SpiArg spi_oid(Oid value);				/* as regclass-compatible oid */
extern SpiArg spi_bool(bool value);
extern SpiArg spi_int4(int32 value);
extern SpiArg spi_int8(int64 value);
extern SpiArg spi_float8(double value);
extern SpiArg spi_timestamptz(TimestampTz value);
extern SpiArg spi_jsonb(Jsonb *value);
extern SpiArg spi_datum(Oid type, Datum value, bool isnull);

/* An array argument, built an element at a time in the current memory context: SpiArray keys = {TEXTOID}; … spi_array(&keys) */
typedef struct SpiArray
{
	Oid			element;
	int			count;
	int			room;
	Datum	   *values;
	bool	   *nulls;
} SpiArray;

extern void spi_array_add(SpiArray *array, Datum value);	/* kept as it is: not copied */
extern void spi_array_add_text(SpiArray *array, const char *value); /* NULL pointer: SQL NULL */
extern SpiArg spi_array(const SpiArray *array);
extern SpiArg spi_text_list(const List *strings);

/* Run one statement; an unexpected result code is an internal error. Returns the number of rows processed. */
extern uint64 spi_execute(int expected, const char *sql, int nargs, const SpiArg *args);

/*
 * The same, with a plan that the session keeps, for what runs once a row written: the server looks again when a table changes.
 * For a bounded set of texts only; beyond SPI_KEPT_PLANS they are planned each time.
 */
#define SPI_KEPT_PLANS 256
extern uint64 spi_execute_kept(int expected, const char *sql, int nargs, const SpiArg *args);

/*
 * Run a query and hand each row to the callback as it comes, without a tuplestore or a cursor in between (3 times as
 * fast as a cursor for a million rows). The slot is valid during the callback only. The callback runs in the memory
 * context that was current at the call. Returns the number of rows.
 */
typedef void (*SpiRowCallback) (TupleTableSlot *slot, void *arg);
extern uint64 spi_stream(const char *sql, int nargs, const SpiArg *args, bool read_only,
						 SpiRowCallback callback, void *arg);
/* The same, but the callback gets slots as they come out of the plan: it calls slot_getallattrs where it wants values. */
extern uint64 spi_stream_unread(const char *sql, bool read_only, SpiRowCallback callback, void *arg);
/* The same in a scope of its own, as the extension's owner */
extern uint64 spi_stream_as_owner(const char *sql, int nargs, const SpiArg *args, bool read_only,
								  SpiRowCallback callback, void *arg);
extern uint64 spi_stream_kept(const char *sql, int nargs, const SpiArg *args, bool read_only,
							  SpiRowCallback callback, void *arg);

/* Whether a query calls nothing that must not run in parallel mode (within an open scope, whose rights and search_path count). */
extern bool spi_is_parallel_safe(const char *sql);

/* The tuple descriptor of a query's result, without running it (in the current memory context). */
extern TupleDesc spi_describe(const char *sql);

/* Values of row 'row' (from 0) of the last spi_execute, copied to the context 'target' was called in */
extern char *spi_get_text(uint64 row, int column);	/* NULL where SQL NULL; any type, by its output function */
extern int64 spi_get_int8(uint64 row, int column);	/* column must be int8; error where NULL */
extern Oid	spi_get_oid(uint64 row, int column);	/* InvalidOid where NULL */
extern bool spi_get_bool(uint64 row, int column);	/* false where NULL */
extern double spi_get_float8(uint64 row, int column, bool *isnull);
extern Datum spi_get_datum(uint64 row, int column, bool *isnull);	/* not copied: valid until spi_close */

/* Role that owns the extension */
extern Oid	extension_owner(void);

#endif /* SALESOPS_CORE_SPI_H */
