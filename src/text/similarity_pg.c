/*
 * similarity_pg.c
 *		SQL's doors to the similarity kernels: text values in, views of code points out, nothing computed here.
 *
 * All are called millions of times a query, so that a short value is viewed where it lies: no copy of a packed varlena, no
 * decoding of ASCII, buffers on the stack, and a workspace that lives as long as the backend.
 */
#include "postgres.h"

#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "core/compat.h"
#include "core/errors.h"
#include "core/kernel_pg.h"
#include "text/jaro.h"
#include "text/levenshtein.h"
#include "text/ngram.h"
#include "text/text_pg.h"
#include "text/tokens.h"

/* Values of up to this many bytes are decoded on the stack */
#define SMALL_BYTES (TEXT_SMALL_UNITS - 1)

/* A pair of arguments as views. */
typedef struct Pair
{
	TextView a;
	TextView b;
	uint32_t small_a[TEXT_SMALL_UNITS];
	uint32_t small_b[TEXT_SMALL_UNITS];
} Pair;

static TextWorkspace workspace;
static KernelEnv environment;

/* The backend's workspace, allocating in the current context. */
TextWorkspace *
text_workspace_pg(void)
{
	if (environment.context != CurrentMemoryContext)
		environment = kernel_env_pg(CurrentMemoryContext);
	workspace.env = &environment;
	return &workspace;
}

/* Decode a value that is not plain ASCII, by the database's encoding. */
static TextView
view_encoded(const char *bytes, size_t size, uint32_t *small)
{
	uint32_t *buffer = small;

	if (pg_database_encoding_max_length() == 1)
		return text_view_bytes(bytes, size);
	if (size > SMALL_BYTES)
		buffer = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(uint32_t) * (size + 1));
	if (GetDatabaseEncoding() == PG_UTF8)
		return text_view_utf8(bytes, size, buffer);
	return text_view_units(buffer, (uint32_t) pg_mb2wchar_with_len(bytes, (pg_wchar *) buffer, (int) size));
}

/*
 * A text value as code points. Single-byte encodings, SQL_ASCII among them, are one unit a byte; other multibyte encodings
 * than UTF8 go through the server's wide characters, which are distinct for distinct characters.
 */
TextView
text_view_pg(const text *value, uint32_t *small)
{
	const char *bytes = VARDATA_ANY(value);
	size_t size = VARSIZE_ANY_EXHDR(value);

	if (text_is_ascii(bytes, size))
		return text_view_bytes(bytes, size);
	return view_encoded(bytes, size, small);
}

/* The bytes of a text value as they are. */
static inline TextView
bytes_of(const text *value)
{
	return text_view_bytes(VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
}

/* The first two arguments, for functions that ask of their code points only which are equal. */
static inline void
comparable_arguments(FunctionCallInfo fcinfo, Pair *pair)
{
	const text *a = PG_GETARG_TEXT_PP(0);
	const text *b = PG_GETARG_TEXT_PP(1);

	pair->a = bytes_of(a);
	pair->b = bytes_of(b);
	if (pair->a.length <= SMALL_BYTES && pair->b.length <= SMALL_BYTES && GetDatabaseEncoding() == PG_UTF8)
		text_view_pair_utf8(&pair->a, &pair->b, pair->small_a, pair->small_b);
	else
	{
		pair->a = text_view_pg(a, pair->small_a);
		pair->b = text_view_pg(b, pair->small_b);
	}
}

/* The first two arguments. */
static inline void
pair_arguments(FunctionCallInfo fcinfo, Pair *pair)
{
	pair->a = text_view_pg(PG_GETARG_TEXT_PP(0), pair->small_a);
	pair->b = text_view_pg(PG_GETARG_TEXT_PP(1), pair->small_b);
}

PG_FUNCTION_INFO_V1(salesops_levenshtein_distance);
/* levenshtein_distance(a, b): insertions, deletions and substitutions of code points (Levenshtein 1966). */
Datum
salesops_levenshtein_distance(PG_FUNCTION_ARGS)
{
	Pair pair;

	comparable_arguments(fcinfo, &pair);
	PG_RETURN_INT32((int32) text_levenshtein(text_workspace_pg(), pair.a, pair.b, TEXT_NO_LIMIT));
}

PG_FUNCTION_INFO_V1(salesops_levenshtein_distance_limited);
/* levenshtein_distance(a, b, max_distance): the same, or max_distance + 1 where it is greater. max_distance is not negative. */
Datum
salesops_levenshtein_distance_limited(PG_FUNCTION_ARGS)
{
	int32 max = PG_GETARG_INT32(2);
	Pair pair;

	if (max < 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("max_distance must not be negative"),
						errdetail("It is %d.", max), errhint("Leave it out for the exact distance.")));
	comparable_arguments(fcinfo, &pair);
	PG_RETURN_INT32((int32) text_levenshtein(text_workspace_pg(), pair.a, pair.b, (uint32_t) max));
}

PG_FUNCTION_INFO_V1(salesops_damerau_levenshtein_distance);
/* damerau_levenshtein_distance(a, b): with transpositions of neighbours, unrestricted (Lowrance and Wagner 1975). */
Datum
salesops_damerau_levenshtein_distance(PG_FUNCTION_ARGS)
{
	Pair pair;

	comparable_arguments(fcinfo, &pair);
	PG_RETURN_INT32((int32) text_damerau_levenshtein(text_workspace_pg(), pair.a, pair.b));
}

PG_FUNCTION_INFO_V1(salesops_levenshtein_similarity);
/* levenshtein_similarity(a, b): 1 - distance / length of the longer one, in [0, 1]; 1 where both are empty. */
Datum
salesops_levenshtein_similarity(PG_FUNCTION_ARGS)
{
	Pair pair;
	uint32_t distance;

	comparable_arguments(fcinfo, &pair);
	distance = text_levenshtein(text_workspace_pg(), pair.a, pair.b, TEXT_NO_LIMIT);
	PG_RETURN_FLOAT8(text_levenshtein_ratio(distance, pair.a.length, pair.b.length));
}

PG_FUNCTION_INFO_V1(salesops_jaro_similarity);
/* jaro_similarity(a, b): Jaro (1989), in [0, 1]. */
Datum
salesops_jaro_similarity(PG_FUNCTION_ARGS)
{
	Pair pair;

	comparable_arguments(fcinfo, &pair);
	PG_RETURN_FLOAT8(text_jaro(text_workspace_pg(), pair.a, pair.b));
}

PG_FUNCTION_INFO_V1(salesops_jaro_winkler_similarity);
/*
 * jaro_winkler_similarity(a, b, prefix_weight): Winkler (1990), in [0, 1]; the bonus for a common prefix of at most four
 * only above a Jaro similarity of 0.7. The weight is from 0 to 0.25.
 */
Datum
salesops_jaro_winkler_similarity(PG_FUNCTION_ARGS)
{
	double weight = PG_GETARG_FLOAT8(2);
	Pair pair;

	/* written so that NaN is refused too */
	if (!(weight >= 0.0 && weight <= 0.25))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("prefix_weight must be from 0 to 0.25"),
				 errdetail("It is %g; four common characters of a greater weight would lift the similarity above 1.",
						   weight),
				 errhint("Winkler's own value is 0.1.")));
	comparable_arguments(fcinfo, &pair);
	PG_RETURN_FLOAT8(text_jaro_winkler(text_workspace_pg(), pair.a, pair.b, weight));
}

PG_FUNCTION_INFO_V1(salesops_ngram_similarity);
/* ngram_similarity(a, b, n): Jaccard (1901) over the sets of n-grams, without padding, in [0, 1]. n is 1 or more. */
Datum
salesops_ngram_similarity(PG_FUNCTION_ARGS)
{
	int32 n = PG_GETARG_INT32(2);
	Pair pair;

	if (n < 1)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("n must be at least 1"),
						errdetail("It is %d.", n), errhint("Trigrams, n = 3, are the default.")));
	pair_arguments(fcinfo, &pair);
	PG_RETURN_FLOAT8(text_ngram(text_workspace_pg(), pair.a, pair.b, (uint32_t) n));
}

PG_FUNCTION_INFO_V1(salesops_token_sort_similarity);
/* token_sort_similarity(a, b): indel similarity of the words in code point order, in [0, 1]. */
Datum
salesops_token_sort_similarity(PG_FUNCTION_ARGS)
{
	Pair pair;

	pair_arguments(fcinfo, &pair);
	PG_RETURN_FLOAT8(text_token_sort(text_workspace_pg(), pair.a, pair.b));
}

PG_FUNCTION_INFO_V1(salesops_token_set_similarity);
/* token_set_similarity(a, b): the best of common words against each side and of own words, in [0, 1]. */
Datum
salesops_token_set_similarity(PG_FUNCTION_ARGS)
{
	Pair pair;

	pair_arguments(fcinfo, &pair);
	PG_RETURN_FLOAT8(text_token_set(text_workspace_pg(), pair.a, pair.b));
}
