/*
 * note.h
 *		Noting the keys of rows written: what the WHEN clauses of watch()'s triggers do (queue_pg.c), whoever evaluates them (when_pg.c).
 */
#ifndef SALESOPS_WORKER_NOTE_H
#define SALESOPS_WORKER_NOTE_H

#include "postgres.h"

typedef struct NoteState NoteState;

/* The one literal of an entity that has a note function, or NULL */
extern const char *worker_noted_entity(const char *name);
/* What a statement's clause keeps between rows; the entity is such a literal */
extern NoteState *worker_note_start(const char *entity, Oid key_type, MemoryContext context);
/* Note a row's key, and its old one where it is another */
extern void worker_note_keys(NoteState *state, bool new_null, Datum new_key, bool old_null, Datum old_key);

#endif							/* SALESOPS_WORKER_NOTE_H */
