/*
 * records.h
 *		The records of a linkage as columns of interned values: what every other kernel of this room works on.
 *
 * A value is a string, already normalised by whoever loads it; equal strings of a column share one code. Codes are dense
 * from 0 in the order of first appearance; MATCH_NULL stands for an unknown value. Two relations are linked by loading the
 * left one first: records below nleft are the left's, the rest the right's; nleft 0 means one relation.
 */
#ifndef SALESOPS_MATCH_RECORDS_H
#define SALESOPS_MATCH_RECORDS_H

#include "core/kernel.h"

#define MATCH_NULL (-1)
#define MATCH_NO_KEY 0			/* no text's hash in a column of keys */

/* A slot holds half of the hash beside the code, so that most probes touch one cache line */
typedef struct MatchSlot
{
	uint32_t	tag;
	int32_t		code;			/* MATCH_NULL where free */
} MatchSlot;

#define MATCH_PENDING 16		/* cells in flight a column, a power of two */
#define MATCH_PENDING_BYTES 48	/* longest text that is kept in flight */

typedef struct MatchPending
{
	uint64_t	hash;
	int32_t		record;
	uint32_t	length;
	char		text[MATCH_PENDING_BYTES];
} MatchPending;

typedef struct MatchColumn
{
	int32_t    *code;			/* of each record */
	int32_t		nvalues;
	int32_t    *count;			/* records that have each value */
	size_t	   *offset;			/* of each value's text in the arena; one more for the end */
	char	   *arena;			/* texts, each followed by a zero byte */
	bool		keep_text;		/* false: only equality matters, the arena stays empty */
	bool		keys_only;		/* what a record has is its block key and nothing else: no values are interned, only key is filled */
	bool		elsewhere;		/* another process has the column: nothing of it is kept here */
	uint64_t   *key;			/* keys_only: hash of each record's text, MATCH_NO_KEY where unknown */
	/* interning */
	uint64_t   *hash;			/* of each value */
	MatchSlot  *slot;			/* open addressing into values */
	uint32_t	nslots;			/* a power of two */
	int32_t		value_room;
	size_t		arena_used;
	size_t		arena_room;
	/* cells put but not yet looked up: their slots are on the way from memory */
	MatchPending *pending;
	uint32_t	first_pending;
	uint32_t	npending;
} MatchColumn;

typedef struct MatchRecords
{
	KernelEnv	env;
	int32_t		nrecords;
	int32_t		nleft;			/* 0: one relation */
	int32_t		room;
	int			ncolumns;
	MatchColumn *column;
	/* bytes of the first n characters of a text; NULL: of UTF-8 */
	size_t		(*prefix) (const char *text, size_t length, int n);
	/* characters of a text as numbers, with room for one more than its bytes; NULL: it is UTF-8, or a byte is a character */
	uint32_t	(*decode) (const char *text, size_t length, uint32_t *units);
} MatchRecords;

extern void match_records_init(MatchRecords *records, int ncolumns, const KernelEnv *env);
/* A new record, NULL in every column; returns its number. The caller keeps it below INT32_MAX. */
extern int32_t match_records_add(MatchRecords *records);
extern void match_records_set(MatchRecords *records, int32_t record, int column, const char *text, size_t length);
/* The same, but the cell may come later: for loading many. match_records_settle looks up what is in flight. */
extern void match_records_put(MatchRecords *records, int32_t record, int column, const char *text, size_t length);
/* The same for a column without texts, by the text's match_hash */
extern void match_records_put_hash(MatchRecords *records, int32_t record, int column, uint64_t hash);
extern void match_records_settle(MatchRecords *records);
/*
 * A column of what each value of another column becomes (the same one: in its place; or one more). 'values' has one column and a record
 * for each of those values, in their order; it is used up. Codes are as if the records had been set so.
 */
extern void match_records_derive(MatchRecords *records, int column, int source, MatchRecords *values);
/* Releases what only interning needs */
extern void match_records_finish(MatchRecords *records);
extern void match_records_free(MatchRecords *records);

/* Code of a text in a column, MATCH_NULL where no record has it; before match_records_finish */
extern int32_t match_column_find(const MatchColumn *column, const char *text, size_t length);
extern int32_t match_column_find_hash(const MatchColumn *column, uint64_t hash);
extern uint64_t match_hash(const char *text, size_t length);

static inline const char *
match_value(const MatchColumn *column, int32_t code)
{
	return column->arena + column->offset[code];
}

static inline size_t
match_value_length(const MatchColumn *column, int32_t code)
{
	return column->offset[code + 1] - column->offset[code] - 1;
}

/* How many pairs there are in all: n(n-1)/2, or left times right */
static inline double
match_total_pairs(const MatchRecords *records)
{
	double		n = records->nrecords;

	if (records->nleft > 0)
		return (double) records->nleft * (n - records->nleft);
	return n * (n - 1) / 2;
}

#endif							/* SALESOPS_MATCH_RECORDS_H */
