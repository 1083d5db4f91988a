/*
 * text_pg.h
 *		What the text domain offers to other C code inside the server: views of text values, and normalisation.
 */
#ifndef SALESOPS_TEXT_TEXT_PG_H
#define SALESOPS_TEXT_TEXT_PG_H

#include "postgres.h"

#include "lib/stringinfo.h"

#include "text/pattern.h"

/* Room for text_view_pg's second argument: values of more bytes are decoded into the current memory context. */
#define TEXT_SMALL_UNITS 257

/*
 * The backend's workspace; its kernels allocate in the memory context that is current at this call. Ask again for each
 * use: another function may have asked in between. A caller of many kernels keeps a TextWorkspace of its own.
 */
extern TextWorkspace *text_workspace_pg(void);

/* A text value, already detoasted (packed or not), as code points. The value and small must outlive the view. */
extern TextView text_view_pg(const text *value, uint32_t *small);

/* normalize_name and normalize_company for C callers: the same results, in the current memory context. */
extern text *text_normalize_name_pg(const text *value);
extern text *text_normalize_company_pg(const text *value);

#endif /* SALESOPS_TEXT_TEXT_PG_H */
