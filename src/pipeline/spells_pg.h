/*
 * spells_pg.h
 *		A deal's changes and its stays in stages: spells_pg.c makes the one of the other, gather_pg.c a whole history's.
 */
#ifndef SALESOPS_PIPELINE_SPELLS_PG_H
#define SALESOPS_PIPELINE_SPELLS_PG_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "utils/date.h"

/* The kinds of a stage; that of a stage that define_stages() does not know is none */
enum
{
	KIND_NONE,
	KIND_OPEN,
	KIND_WON,
	KIND_LOST,
	KINDS
};

/* Facts about a change that are not known, and whether it is the deal's own row */
enum
{
	NO_STAGE = 1,
	NO_ORDINAL = 2,
	NO_AMOUNT = 4,
	NO_CLOSE_DATE = 8,
	NO_NUMBER = 16,
	IS_ROW = 32
};

/* One change; the stage, a varlena, follows it, then the amount where there is one, aligned as int */
typedef struct Change
{
	TimestampTz entered_at;
	int64		number;
	int32		ordinal;
	DateADT		close_date;
	uint32		size;			/* to the next one */
	uint8		kind;
	uint8		flags;
} Change;

/* Columns of the composite type deal_change, and arguments of the aggregate */
enum
{
	CHANGE_STAGE,
	CHANGE_ORDINAL,
	CHANGE_KIND,
	CHANGE_ENTERED_AT,
	CHANGE_AMOUNT,
	CHANGE_CLOSE_DATE,
	CHANGE_NUMBER,
	CHANGE_IS_ROW,
	CHANGE_COLUMNS
};

/* One stay of the deal in a stage, and what comes after it */
typedef struct Spell
{
	const Change *change;		/* that began it */
	const Change *next;			/* that ended it; NULL where it goes on */
	int64		number;
	int64		visit;
	bool		closes;
	TimestampTz closes_at;
	bool		goes;
	TimestampTz gone_at;
	bool		advances;
	int32		furthest;
	bool		win_known;
	bool		wins;
	uint8		final_kind;
} Spell;

/* All stays of a deal in their order */
typedef struct Life
{
	Spell	   *spells;
	uint32		count;
	bool		next_known;		/* is the kind of any stage that follows another known? */
	bool		was_won;
	bool		was_lost;
} Life;

/* Columns of deal_spell, those that reports mostly ask for first */
enum
{
	SPELL_ENTERED_AT,
	SPELL_VISIT,
	SPELL_NUMBER,
	SPELL_ENDED,
	SPELL_STAGE,
	SPELL_KIND,
	SPELL_ORDINAL,
	SPELL_LEFT_AT,
	SPELL_CLOSES_AT,
	SPELL_GONE_AT,
	SPELL_NEXT_STAGE,
	SPELL_NEXT_ORDINAL,
	SPELL_NEXT_KIND,
	SPELL_AMOUNT,
	SPELL_CLOSE_DATE,
	SPELL_FURTHEST,
	SPELL_WINS,
	SPELL_FINAL_KIND,
	SPELL_WAS_WON,
	SPELL_WAS_LOST,
	SPELL_COLUMNS
};

/* Columns of deal_state */
enum
{
	STATE_ENTERED_AT,
	STATE_FIRST_ENTERED_AT,
	STATE_STAGE,
	STATE_KIND,
	STATE_AMOUNT,
	STATE_CLOSE_DATE,
	STATE_COLUMNS
};

/* The columns of one row as they are filled in */
typedef struct SpellRow
{
	Datum		values[SPELL_COLUMNS];
	bool		nulls[SPELL_COLUMNS];
} SpellRow;

extern const char *const spells_kind_names[KINDS];

/* The bytes that a change takes, and the change in so many; its columns as deal_change has them. Values that are toasted are replaced. */
extern Size spells_change_size(NullableDatum *columns);
extern void spells_fill_change(Change *change, Size size, const NullableDatum *columns);

/* The stays of a deal whose changes these are, in any order; the list is reordered, and what is made points to the changes. */
extern Life *spells_make_life(const Change **changes, uint32 count);

/* One of them as a row of deal_spell; kinds are spells_kind_names as texts */
extern void spells_fill_row(SpellRow *row, const Datum *kinds, const Life *life, const Spell *spell);

/* Where the deal stands after the last of its changes (one at least), in the columns of deal_state; the list is reordered */
extern void spells_fill_state(SpellRow *row, const Datum *kinds, const Change **changes, uint32 count);

#endif /* SALESOPS_PIPELINE_SPELLS_PG_H */
