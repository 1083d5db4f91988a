/*
 * nickname_pg.c
 *		The trigger that keeps salesops.nickname fit for lookup and for dump and restore.
 *
 * A dump holds only the rows that are not seeded, and CREATE EXTENSION brings the seeded ones; so a seeded row must be the same
 * in every database. Who wants another answer adds a row of the same name, which wins.
 */
#include "postgres.h"

#include "commands/trigger.h"
#include "executor/spi.h"
#include "utils/rel.h"

#include "text/text_pg.h"

/* Refuse: what has happened to a seeded row would be lost by dump and restore. */
static void
refuse_seeded(HeapTuple tuple, TupleDesc desc)
{
	ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					errmsg("nickname \"%s\" came with the extension and cannot be changed",
						   SPI_getvalue(tuple, desc, SPI_fnumber(desc, "name"))),
					errhint("Insert a row of the same name with your own canonical form: it wins. The name itself as "
							"its canonical form "
							"takes the seeded row out of use.")));
}

/* True where a row is seeded. */
static bool
is_seeded(HeapTuple tuple, TupleDesc desc)
{
	bool isnull;

	return DatumGetBool(SPI_getbinval(tuple, desc, SPI_fnumber(desc, "is_seed"), &isnull)) && !isnull;
}

/* The row with both names normalised. A NULL stays one: the column's constraint speaks of it. */
static HeapTuple
normalized(HeapTuple tuple, TupleDesc desc)
{
	int number[2] = {SPI_fnumber(desc, "name"), SPI_fnumber(desc, "canonical")};
	Datum value[2];
	bool null[2];

	for (int i = 0; i < 2; i++)
	{
		value[i] = SPI_getbinval(tuple, desc, number[i], &null[i]);
		if (!null[i])
			value[i] = PointerGetDatum(text_normalize_name_pg(DatumGetTextPP(value[i])));
	}
	return heap_modify_tuple_by_cols(tuple, desc, 2, number, value, null);
}

PG_FUNCTION_INFO_V1(salesops_nickname_guard);
/* Row trigger on salesops.nickname, before insert, update and delete. */
Datum
salesops_nickname_guard(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	TupleDesc desc;
	HeapTuple row;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED), errmsg("nickname_guard() is a trigger function")));
	desc = RelationGetDescr(trigger->tg_relation);
	row = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple : trigger->tg_trigtuple;
	if (is_seeded(trigger->tg_trigtuple, desc) || is_seeded(row, desc))
		refuse_seeded(trigger->tg_trigtuple, desc);
	if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
		return PointerGetDatum(row);
	return PointerGetDatum(normalized(row, desc));
}
