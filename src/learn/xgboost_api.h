/*
 * xgboost_api.h
 *		What salesops_xgboost.so offers salesops.so: libxgboost's calls, each made with all signals blocked, errors as text.
 *
 * The module includes no code of ours but this, and knows nothing of the server's memory or errors: no ereport can cross
 * libxgboost's frames. Every function gives NULL, or the first line of what went wrong, in static memory that the
 * next call may overwrite.
 */
#ifndef SALESOPS_LEARN_XGBOOST_API_H
#define SALESOPS_LEARN_XGBOOST_API_H

#include <stddef.h>

#define XGBOOST_API_VERSION	1
#define XGBOOST_API_SYMBOL	"salesops_xgboost_api"

typedef struct XgboostApi
{
	int			version;		/* XGBOOST_API_VERSION: a module of another release is refused */
	void		(*library_version) (int *major, int *minor, int *patch);
	/* rows x columns floats, row-major, NaN where missing; copied by the library */
	const char *(*matrix_create) (const float *data, size_t rows, size_t columns, void **matrix);
	const char *(*matrix_set) (void *matrix, const char *field, const float *values, size_t count);
	/* a new matrix of the numbered rows, with their labels and weights */
	const char *(*matrix_slice) (void *matrix, const int *rows, size_t count, void **slice);
	void		(*matrix_free) (void *matrix);
	/* the matrices that margins will be asked for: the library then adds each new tree to what it knows */
	const char *(*booster_create) (void *const *matrices, size_t count, void **booster);
	const char *(*booster_set) (void *booster, const char *name, const char *value);
	const char *(*booster_update) (void *booster, int round, void *matrix);
	/* log odds of the matrix' rows, in the booster's memory until its next call */
	const char *(*booster_margins) (void *booster, void *matrix, const float **margins, size_t *count);
	/* the model as UBJ, in the booster's memory until its next call */
	const char *(*booster_save) (void *booster, const char **bytes, size_t *size);
	void		(*booster_free) (void *booster);
} XgboostApi;

typedef const XgboostApi *(*XgboostApiFunction) (void);

#endif							/* SALESOPS_LEARN_XGBOOST_API_H */
