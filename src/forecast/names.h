/*
 * names.h
 *		Numbers for texts: 0, 1, 2, ... in order of arrival. Not a map to values, and nothing is ever taken out.
 */
#ifndef SALESOPS_FORECAST_NAMES_H
#define SALESOPS_FORECAST_NAMES_H

#include "core/kernel.h"

typedef struct Names Names;

/* The environment must outlive the names. Texts are kept in blocks: 24 bytes a text and its length, and up to 16 more of the table. */
extern Names *names_create(const KernelEnv *env);
/* The number of a text of so many bytes; a new one is taken up. */
extern int	names_number(Names *names, const char *text, size_t length);
/* The same of a pair of numbers, for tables that hold nothing but pairs. */
extern int	names_pair(Names *names, int a, int b);
/* Its number, or -1. */
extern int	names_find(const Names *names, const char *text, size_t length);
extern int	names_count(const Names *names);
/* The text, ended by a 0 byte that its length does not count; valid as long as the names are. */
extern const char *names_text(const Names *names, int number);
/* Give everything back. */
extern void names_free(Names *names);

#endif /* SALESOPS_FORECAST_NAMES_H */
