/*
 * xgboost_module.c
 *		salesops_xgboost.so: the one file that is linked with libxgboost, loaded only to train (xgboost_pg.c). It turns the
 *		library's C API into the table of xgboost_api.h and holds no policy.
 *
 * All signals are blocked around every call: threads that the library may start inherit the mask, so that the server's
 * handlers only ever run in the main thread, and none runs in the middle of C++ code.
 */
#include "postgres.h"

#include <signal.h>

#include <xgboost/c_api.h>

#include "fmgr.h"

#include "learn/xgboost_api.h"

PG_MODULE_MAGIC;

PGDLLEXPORT const XgboostApi *salesops_xgboost_api(void);

static char problem[1024];

/* Block every signal but those that a fault in this very thread raises. */
static void
signals_block(sigset_t *before)
{
	sigset_t	blocked;

	sigfillset(&blocked);
	sigdelset(&blocked, SIGSEGV);
	sigdelset(&blocked, SIGBUS);
	sigdelset(&blocked, SIGFPE);
	sigdelset(&blocked, SIGILL);
	sigdelset(&blocked, SIGABRT);
	sigdelset(&blocked, SIGTRAP);
	sigprocmask(SIG_SETMASK, &blocked, before);
}

/* Unblock, and give the first line of the library's error: a C++ stack trace follows it. */
static const char *
signals_restore(const sigset_t *before, int code)
{
	if (code != 0)
	{
		strlcpy(problem, XGBGetLastError(), sizeof(problem));
		problem[strcspn(problem, "\r\n")] = '\0';
	}
	sigprocmask(SIG_SETMASK, before, NULL);
	return code == 0 ? NULL : problem;
}

/* The body of every function of the table. */
#define GUARDED(call) \
	do { \
		sigset_t	before; \
		int			code; \
		signals_block(&before); \
		code = (call); \
		return signals_restore(&before, code); \
	} while (0)

/* The library must not write to the server's standard error. */
static void
discard_log(const char *message)
{
	(void) message;
}

/* The version of the library that was found at run time. */
static void
library_version(int *major, int *minor, int *patch)
{
	XGBoostVersion(major, minor, patch);
}

/* Copy a row-major matrix; the library takes it by NumPy's array interface. */
static const char *
matrix_create(const float *data, size_t rows, size_t columns, void **matrix)
{
	char		interface[200];

	snprintf(interface, sizeof(interface),
			 "{\"data\": [%zu, true], \"shape\": [%zu, %zu], \"typestr\": \"<f4\", \"version\": 3}",
			 (size_t) data, rows, columns);
	GUARDED(XGDMatrixCreateFromDense(interface, "{\"missing\": NaN, \"nthread\": 1}", matrix));
}

/* Set "label" or "weight". */
static const char *
matrix_set(void *matrix, const char *field, const float *values, size_t count)
{
	GUARDED(XGDMatrixSetFloatInfo(matrix, field, values, count));
}

/* A copy of some rows. */
static const char *
matrix_slice(void *matrix, const int *rows, size_t count, void **slice)
{
	GUARDED(XGDMatrixSliceDMatrix(matrix, rows, count, slice));
}

/* Called in clean-up: nothing to report. */
static const char *
matrix_free_guarded(void *matrix)
{
	GUARDED(XGDMatrixFree(matrix));
}

/* Free a matrix. */
static void
matrix_free(void *matrix)
{
	(void) matrix_free_guarded(matrix);
}

/* A booster without parameters. */
static const char *
booster_create(void *const *matrices, size_t count, void **booster)
{
	GUARDED(XGBoosterCreate((const DMatrixHandle *) matrices, count, booster));
}

/* One parameter. */
static const char *
booster_set(void *booster, const char *name, const char *value)
{
	GUARDED(XGBoosterSetParam(booster, name, value));
}

/* One round: one tree. */
static const char *
booster_update(void *booster, int round, void *matrix)
{
	GUARDED(XGBoosterUpdateOneIter(booster, round, matrix));
}

/* Margins of all rounds so far. */
static const char *
booster_margins(void *booster, void *matrix, const float **margins, size_t *count)
{
	static const char config[] = "{\"type\": 1, \"training\": false, \"iteration_begin\": 0, \"iteration_end\": 0, "
		"\"strict_shape\": false}";
	const bst_ulong *shape;
	bst_ulong	dimensions;
	const char *error;
	sigset_t	before;

	signals_block(&before);
	error = signals_restore(&before, XGBoosterPredictFromDMatrix(booster, matrix, config, &shape, &dimensions,
																 margins));
	if (error == NULL)
		*count = dimensions > 0 ? shape[0] : 0;
	return error;
}

/* The model in Universal Binary JSON, whose floats are exact. */
static const char *
booster_save(void *booster, const char **bytes, size_t *size)
{
	bst_ulong	length = 0;
	const char *error;
	sigset_t	before;

	signals_block(&before);
	error = signals_restore(&before, XGBoosterSaveModelToBuffer(booster, "{\"format\": \"ubj\"}", &length, bytes));
	*size = length;
	return error;
}

/* Called in clean-up: nothing to report. */
static const char *
booster_free_guarded(void *booster)
{
	GUARDED(XGBoosterFree(booster));
}

/* Free a booster. */
static void
booster_free(void *booster)
{
	(void) booster_free_guarded(booster);
}

/* The table, for load_external_function. */
const XgboostApi *
salesops_xgboost_api(void)
{
	static const XgboostApi api = {
		.version = XGBOOST_API_VERSION,
		.library_version = library_version,
		.matrix_create = matrix_create,
		.matrix_set = matrix_set,
		.matrix_slice = matrix_slice,
		.matrix_free = matrix_free,
		.booster_create = booster_create,
		.booster_set = booster_set,
		.booster_update = booster_update,
		.booster_margins = booster_margins,
		.booster_save = booster_save,
		.booster_free = booster_free
	};

	XGBRegisterLogCallback(discard_log);
	return &api;
}
