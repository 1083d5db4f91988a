/*
 * company.h
 *		Takes the legal form off a company's name: "Acme GmbH & Co. KG" and "ACME" become the same.
 *
 * Works on names that are folded already (lower-case Latin words with single blanks between them; fold_pg.c), in place.
 */
#ifndef SALESOPS_TEXT_COMPANY_H
#define SALESOPS_TEXT_COMPANY_H

#include "core/kernel.h"

/*
 * Strip a folded name: legal forms at the end ("s a r l" is one as well as "sarl"), those that stand in front and a leading
 * "the" go until none is left, but at least one word always stays; then runs of single letters are joined ("j p morgan" is
 * "jp morgan"). Returns the new length; idempotent.
 */
extern size_t text_company_strip(char *name, size_t length);

/* The table, for tests and documentation: country (ISO 3166), form as folded words; NULL beyond the end. */
extern const char *text_legal_form(size_t index, const char **country, bool *leads);

#endif /* SALESOPS_TEXT_COMPANY_H */
