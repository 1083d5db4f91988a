/*
 * records_pg.c
 *		The relation's rows into interned columns, and keys beside them: one streaming scan with the caller's rights.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "optimizer/paths.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "core/errors.h"
#include "core/kernel_pg.h"
#include "core/progress.h"
#include "core/relation.h"
#include "match/columns_pg.h"

#define NOT_A_NUMBER PG_UINT64_MAX
#define INTEGER_ROOM 24			/* of a 64-bit number in decimal */
#define UUID_LENGTH 36			/* of a uuid in text */

typedef struct Loading
{
	const Matcher *matcher;
	MatcherRecords *loaded;
	MatchRecords seen;			/* keys interned, where no unique index vouches for them */
	bool		check_keys;
	Oid			relid;
	/* instead of loading: */
	MatcherRowCallback each;
	void	   *each_arg;
} Loading;

#define TICK 1024				/* records */
#define LEAST_BUDGET (32 * 1024 * 1024)	/* bytes of records that are held at any setting */
#define CUT_ROOM (MATCHER_LONGEST_VALUE + 32)

bool
matcher_utf8(void)
{
	return GetDatabaseEncoding() == PG_UTF8;
}

/* Bytes of the first n characters, where a database is in another encoding than UTF-8. */
static size_t
prefix_in_encoding(const char *text, size_t length, int n)
{
	return (size_t) pg_mbcharcliplen(text, (int) length, n);
}

/* The server's wide characters, which are distinct for distinct characters. */
static uint32_t
decode_in_encoding(const char *text, size_t length, uint32_t *units)
{
	return (uint32_t) pg_mb2wchar_with_len(text, (pg_wchar *) units, (int) length);
}

void
matcher_records_encoding(MatchRecords *records)
{
	records->prefix = matcher_utf8() ? NULL : prefix_in_encoding;
	records->decode = matcher_utf8() || pg_database_encoding_max_length() == 1 ? NULL : decode_in_encoding;
}

/* A key that is a whole number without leading zeros, of 18 digits at most; NOT_A_NUMBER otherwise. */
static uint64
key_number(const char *text, size_t length)
{
	uint64		number = 0;

	if (length == 0 || length > 18 || (text[0] == '0' && length > 1))
		return NOT_A_NUMBER;
	for (size_t i = 0; i < length; i++)
	{
		if (text[i] < '0' || text[i] > '9')
			return NOT_A_NUMBER;
		number = number * 10 + (uint64) (text[i] - '0');
	}
	return number;
}

/* Whole numbers first, by value; everything else by bytes. */
int
matcher_compare_keys(const MatcherRecords *loaded, int32 a, int32 b)
{
	uint64		x = loaded->key_number[a];
	uint64		y = loaded->key_number[b];

	if (x != y)
		return x < y ? -1 : 1;
	return x != NOT_A_NUMBER ? 0 : strcmp(matcher_key(loaded, a), matcher_key(loaded, b));
}

/* Append a key's text. */
static void
add_key(MatcherRecords *loaded, int32 record, const char *text, size_t length)
{
	const KernelEnv *env = &loaded->records.env;

	if (record >= loaded->room)
	{
		loaded->room = loaded->room == 0 ? 1024 : loaded->room * 2;
		loaded->key_offset = kernel_realloc_array(env, loaded->key_offset, size_t, loaded->room + 1);
		loaded->key_number = kernel_realloc_array(env, loaded->key_number, uint64, loaded->room);
	}
	if (loaded->key_used + length + 1 > loaded->key_room)
	{
		loaded->key_room = (loaded->key_used + length + 1) * 2;
		loaded->key_text = kernel_realloc_array(env, loaded->key_text, char, loaded->key_room);
	}
	loaded->key_offset[record] = loaded->key_used;
	loaded->key_number[record] = key_number(text, length);
	memcpy(loaded->key_text + loaded->key_used, text, length);
	loaded->key_text[loaded->key_used + length] = '\0';
	loaded->key_used += length + 1;
	loaded->key_offset[record + 1] = loaded->key_used;
}

/* A key must name one record. */
static void
check_key(Loading *loading, const char *text, size_t length)
{
	int32		record = match_records_add(&loading->seen);

	match_records_set(&loading->seen, record, 0, text, length);
	if (loading->seen.column[0].count[loading->seen.column[0].code[record]] > 1)
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("key \"%.200s\" of matcher \"%s\" is not unique in %s", text, loading->matcher->name,
						relation_sql_name(loading->relid)),
				 errhint("Give a column that names each row once, such as the primary key.")));
}

/* True where there is nothing but blanks. */
static bool
is_blank(const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++)
	{
		if (text[i] != ' ' && text[i] != '\t' && text[i] != '\n' && text[i] != '\r')
			return false;
	}
	return true;
}

/* A value as it is compared: none where blank; a very long one by its beginning and a hash of the whole, written to cut. */
static MatcherCell
cell_of(bool keep_text, const char *text, size_t length, char *cut)
{
	MatcherCell cell = {text, length};
	int			kept;

	if (is_blank(text, length))
		cell.text = NULL;
	else if (length > MATCHER_LONGEST_VALUE && keep_text)
	{
		kept = pg_mbcliplen(text, (int) length, MATCHER_LONGEST_VALUE);
		memcpy(cut, text, kept);
		kept += snprintf(cut + kept, 20, " %016llx", (unsigned long long) match_hash(text, length));
		cell.text = cut;
		cell.length = kept;
	}
	return cell;
}

/* Set one value. */
static void
set_value(MatcherRecords *loaded, int32 record, int column, const char *text, size_t length)
{
	char		cut[CUT_ROOM];
	MatcherCell cell = cell_of(loaded->records.column[column].keep_text, text, length, cut);

	if (cell.text == NULL)
		return;
	if (loaded->records.column[column].elsewhere)
		matcher_interning_put(loaded->interning, &loaded->records, column, record, cell.text, cell.length);
	else
		match_records_put(&loaded->records, record, column, cell.text, cell.length);
}

/* A key of a matcher must be known. */
static void
raise_null_key(const Loading *loading)
{
	ereport(ERROR,
			(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			 errmsg("a key of matcher \"%s\" is NULL in %s", loading->matcher->name, relation_sql_name(loading->relid))));
}

/* One row of the scan handed on: values detoasted as load_row does. */
static void
hand_on_row(TupleTableSlot *slot, void *arg)
{
	Loading    *loading = arg;
	const Matcher *matcher = loading->matcher;
	MatcherCell cells[MATCHER_MAX_COLUMNS + 1];
	struct varlena *value[MATCHER_MAX_COLUMNS + 1];
	char	   *cut = NULL;

	for (int i = 0; i <= matcher->ncolumns; i++)
	{
		cells[i].text = NULL;
		value[i] = slot->tts_isnull[i] ? NULL : PG_DETOAST_DATUM_PACKED(slot->tts_values[i]);
		if (value[i] == NULL)
			continue;
		if (VARSIZE_ANY_EXHDR(value[i]) > MATCHER_LONGEST_VALUE)
			cut = palloc(CUT_ROOM);
		if (i > 0)
			cells[i] = cell_of(matcher->column[i - 1].keep_text, VARDATA_ANY(value[i]), VARSIZE_ANY_EXHDR(value[i]), cut);
		else
			cells[0] = (MatcherCell) {VARDATA_ANY(value[0]), VARSIZE_ANY_EXHDR(value[0])};
	}
	if (cells[0].text == NULL)
		raise_null_key(loading);
	if (loading->check_keys)
		check_key(loading, cells[0].text, cells[0].length);
	loading->each(cells, matcher->ncolumns + 1, loading->each_arg);
	for (int i = 0; i <= matcher->ncolumns; i++)
	{
		if (value[i] != NULL && (Pointer) value[i] != DatumGetPointer(slot->tts_values[i]))
			pfree(value[i]);
	}
}

/* The query that reads one relation. */
static char *
load_query(const Matcher *matcher, Oid relid, const char *key, const char *condition, bool ordered)
{
	StringInfoData sql;
	char	  **column = matcher_column_sql(matcher, relid);
	const char *quoted = quote_identifier(key);

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT %s::pg_catalog.text", quoted);
	for (int c = 0; c < matcher->ncolumns; c++)
		appendStringInfo(&sql, ", %s", column[c]);
	appendStringInfo(&sql, " FROM %s%s", relation_sql_name(relid), condition ? condition : "");
	if (ordered)
		appendStringInfo(&sql, " ORDER BY %s", quoted);
	return sql.data;
}

/* Whether reading a relation calls nothing that must not run while there are workers. */
static bool
reads_safely(const Matcher *matcher, Oid relid, const char *key)
{
	SpiScope	scope;
	MemoryContext caller = CurrentMemoryContext;
	char	   *sql;
	bool		safe;

	(void) relation_require_column(relid, key);
	sql = load_query(matcher, relid, key, NULL, false);
	spi_open(&scope, SPI_PINNED_AS_CALLER);
	safe = spi_is_parallel_safe(sql);
	spi_close(&scope);
	MemoryContextSwitchTo(caller);
	return safe;
}

/* Have columns interned by workers from here on, where there may be any. */
static void
share_columns(const Matcher *matcher, MatcherRecords *loaded)
{
	if (matcher_team_room() > 0 && reads_safely(matcher, matcher->relid, matcher->key) &&
		(!OidIsValid(matcher->right_relid) || reads_safely(matcher, matcher->right_relid, matcher->right_key)))
		loaded->interning = matcher_interning_start(&loaded->records);
}

/* Now and then: is there too much, is there enough for workers? */
static void
look_around(const Matcher *matcher, MatcherRecords *loaded)
{
	kernel_tick(&loaded->records.env, loaded->records.nrecords, 0);
	if (loaded->budget > 0)
	{
		Size		taken = MemoryContextMemAllocated(loaded->records.env.context, true);

		if (loaded->interning != NULL)
			taken += matcher_interning_memory(loaded->interning);
		loaded->overflow = taken > loaded->budget;
	}
	if (loaded->share && loaded->bytes >= (Size) min_parallel_table_scan_size * BLCKSZ)
	{
		loaded->share = false;
		share_columns(matcher, loaded);
	}
}

/* One row of the scan: the key, then the columns, all text. */
static void
load_row(TupleTableSlot *slot, void *arg)
{
	Loading    *loading = arg;
	MatcherRecords *loaded = loading->loaded;
	int32		record;

	loaded->rows++;
	if (loaded->overflow)
		return;
	if (loaded->records.nrecords == PG_INT32_MAX - 1)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("matcher \"%s\" has more records than it can link", loading->matcher->name)));
	record = match_records_add(&loaded->records);
	for (int i = 0; i <= loaded->records.ncolumns; i++)
	{
		struct varlena *value;

		if (slot->tts_isnull[i])
		{
			if (i == 0)
				raise_null_key(loading);
			continue;
		}
		value = PG_DETOAST_DATUM_PACKED(slot->tts_values[i]);
		loaded->bytes += VARSIZE_ANY(value);
		if (i > 0)
			set_value(loaded, record, i - 1, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
		else
		{
			add_key(loaded, record, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
			if (loading->check_keys)
				check_key(loading, matcher_key(loaded, record), VARSIZE_ANY_EXHDR(value));
		}
		if ((Pointer) value != DatumGetPointer(slot->tts_values[i]))
			pfree(value);
	}
	if (record % TICK == TICK - 1)
		look_around(loading->matcher, loaded);
}

/* Run the scan of one relation. */
static void
scan_relation(Loading *loading, const char *key, const char *condition, int nargs, const SpiArg *args, bool ordered)
{
	char	   *unique = relation_key_column(loading->relid);
	char	   *sql = load_query(loading->matcher, loading->relid, key, condition, ordered);
	KernelEnv	env = kernel_env_pg(CurrentMemoryContext);
	SpiScope	scope;
	MemoryContext caller = CurrentMemoryContext;

	relation_require_column(loading->relid, key);
	loading->check_keys = unique == NULL || strcmp(unique, key) != 0;
	if (loading->check_keys)
		match_records_init(&loading->seen, 1, &env);
	spi_open(&scope, SPI_PINNED_AS_CALLER);
	MemoryContextSwitchTo(caller);
	/* the caller's own snapshot: what its statement sees, or what a guard has taken after its locks */
	/* a look-up's statement comes again with the next row, a scan of everything is planned for its data */
	(nargs > 0 ? spi_stream_kept : spi_stream) (sql, nargs, args, true, loading->each != NULL ? hand_on_row : load_row, loading);
	spi_close(&scope);
	if (loading->check_keys)
		match_records_free(&loading->seen);
}

void
matcher_records_scan(const Matcher *matcher, MatcherRecords *loaded, Oid relid, const char *key, const char *condition, int nargs,
					 const SpiArg *args, bool ordered)
{
	Loading		loading = {.matcher = matcher, .loaded = loaded, .relid = relid};

	scan_relation(&loading, key, condition, nargs, args, ordered);
	match_records_settle(&loaded->records);
}

void
matcher_records_each(const Matcher *matcher, Oid relid, const char *key, MatcherRowCallback each, void *arg)
{
	Loading		loading = {.matcher = matcher, .relid = relid, .each = each, .each_arg = arg};

	scan_relation(&loading, key, NULL, 0, NULL, false);
}

void
matcher_records_start(const Matcher *matcher, MatcherRecords *loaded)
{
	KernelEnv	env = kernel_env_pg(CurrentMemoryContext);

	memset(loaded, 0, sizeof(*loaded));
	match_records_init(&loaded->records, matcher->ncolumns, &env);
	matcher_records_encoding(&loaded->records);
	for (int c = 0; c < matcher->ncolumns; c++)
		loaded->records.column[c].keep_text = matcher->column[c].keep_text;
}

/* WHERE of the records that make a share; NULL for all. */
static char *
share_condition(const Matcher *matcher, const char *key, double share)
{
	if (share >= 1)
		return NULL;
	/* hashes are spread evenly over all int8 */
	return psprintf(" WHERE pg_catalog.hashtextextended(%s::pg_catalog.text COLLATE pg_catalog.\"C\", %d) OPERATOR(pg_catalog.<) " INT64_FORMAT,
					quote_identifier(key), matcher->options.seed, (int64) ((share * 2 - 1) * 9.2e18));
}

/* The rows of the one or both relations. */
static void
load_all(const Matcher *matcher, MatcherRecords *loaded, bool ordered, double share)
{
	progress_phase("reading records", 0);
	/* what workers have allocated so far is a matter of chance, and so would be a sample that hangs on it */
	loaded->share = !ordered || loaded->budget == 0;
	matcher_records_scan(matcher, loaded, matcher->relid, matcher->key, share_condition(matcher, matcher->key, share), 0, NULL, ordered);
	if (OidIsValid(matcher->right_relid))
	{
		loaded->records.nleft = loaded->records.nrecords;
		matcher_records_scan(matcher, loaded, matcher->right_relid, matcher->right_key,
							 share_condition(matcher, matcher->right_key, share), 0, NULL, ordered);
	}
	if (loaded->interning != NULL)
		matcher_interning_finish(loaded->interning, &loaded->records, !loaded->overflow);
	loaded->interning = NULL;
	if (OidIsValid(matcher->right_relid) && loaded->records.nleft == 0)
		loaded->records.nrecords = 0;	/* nothing on the left: no pairs */
}

/* Whether all that is asked of a column is that rules tell its whole values apart. */
static bool
is_block_key(const Matcher *matcher, int column)
{
	if (matcher->column[column].keep_text)
		return false;
	for (int c = 0; c < matcher->ncomparisons; c++)
	{
		if (matcher->comparison[c].column == column)
			return false;
	}
	for (int r = 0; r < matcher->nrules; r++)
	{
		const MatchRule *rule = &matcher->rule[r];

		for (int p = 0; p < rule->nparts; p++)
		{
			if (rule->column[p] == column && (rule->kind != MATCH_RULE_KEY || rule->nparts > 1 || rule->prefix[p] > 0))
				return false;
		}
	}
	return true;
}

/* Load what fits, without values that nobody asks for. */
static bool
load_within(const Matcher *matcher, MatcherRecords *loaded, Size budget, bool ordered, double share)
{
	matcher_records_start(matcher, loaded);
	for (int c = 0; c < matcher->ncolumns; c++)
		loaded->records.column[c].keys_only = is_block_key(matcher, c);
	loaded->budget = budget;
	load_all(matcher, loaded, ordered, share);
	return !loaded->overflow;
}

bool
matcher_records_load_within(const Matcher *matcher, MatcherRecords *loaded, Size budget)
{
	return load_within(matcher, loaded, budget, false, 1);
}

bool
matcher_records_load_share(const Matcher *matcher, MatcherRecords *loaded, Size budget, double share)
{
	return load_within(matcher, loaded, budget, true, share);
}

/* A share below this one that is a fraction of few digits, so that a little more or less memory makes no other sample. */
static double
round_share(double share)
{
	double		step = 1;

	while (step * 4 > share)
		step /= 2;
	return floor(share / step) * step;
}

double
matcher_records_load_most(const Matcher *matcher, MatcherRecords *loaded)
{
	Size		budget = (Size) Max(maintenance_work_mem * 1024.0 * MATCHER_LOADING_SHARE, LEAST_BUDGET);
	double		share = 1;

	for (;;)
	{
		MemoryContextReset(CurrentMemoryContext);
		if (matcher_records_load_share(matcher, loaded, budget, share))
			return share;
		share *= round_share(Min(0.9 * Max(loaded->records.nrecords, 1) / loaded->rows, 0.9));
	}
}

void
matcher_records_strip(MatcherRecords *loaded)
{
	const KernelEnv *env = &loaded->records.env;

	kernel_release(env, loaded->key_offset);
	kernel_release(env, loaded->key_number);
	kernel_release(env, loaded->key_text);
	loaded->key_offset = NULL;
	loaded->key_number = NULL;
	loaded->key_text = NULL;
	for (int c = 0; c < loaded->records.ncolumns; c++)
	{
		MatchColumn *column = &loaded->records.column[c];

		kernel_release(env, column->slot);
		kernel_release(env, column->pending);
		column->slot = NULL;
		column->pending = NULL;
		column->nslots = 0;
	}
}

/* Whether a text is a whole number as the server writes one of this type. */
static bool
is_integer_key(const char *key, Oid type)
{
	int64		value;
	char		written[INTEGER_ROOM];

	errno = 0;
	value = strtoll(key, NULL, 10);
	if (errno != 0 || (type == INT4OID && (value < PG_INT32_MIN || value > PG_INT32_MAX)) ||
		(type == INT2OID && (value < PG_INT16_MIN || value > PG_INT16_MAX)))
		return false;
	pg_lltoa(value, written);
	return strcmp(written, key) == 0;
}

/* Whether a text is a uuid as the server writes one. */
static bool
is_uuid_key(const char *key)
{
	for (int i = 0; i < UUID_LENGTH; i++)
	{
		bool		dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? key[i] != '-' : !((key[i] >= '0' && key[i] <= '9') || (key[i] >= 'a' && key[i] <= 'f')))
			return false;
	}
	return key[UUID_LENGTH] == '\0';
}

/*
 * Whole numbers and uuids are looked up as such, so that the key's index serves; keys of other types are compared as texts, which an
 * index on text serves.
 */
char *
matcher_keys_condition(Oid relid, const char *key, int nkeys, const char *const *keys, SpiArg *arg)
{
	Oid			type = getBaseType(get_atttype(relid, relation_require_column(relid, key)));
	bool		integer = type == INT2OID || type == INT4OID || type == INT8OID;
	SpiArray	elements = {integer ? INT8OID : TEXTOID};

	for (int k = 0; k < nkeys; k++)
	{
		if (integer && is_integer_key(keys[k], type))
			spi_array_add(&elements, Int64GetDatum(strtoll(keys[k], NULL, 10)));
		else if (!integer && (type != UUIDOID || is_uuid_key(keys[k])))
			spi_array_add_text(&elements, keys[k]);
	}
	*arg = spi_array(&elements);
	return psprintf(" WHERE %s%s OPERATOR(pg_catalog.=) ANY ($1%s)", quote_identifier(key),
					integer || type == UUIDOID ? "" : "::pg_catalog.text", type == UUIDOID ? "::pg_catalog.uuid[]" : "");
}

/* Records of one relation with these keys. */
static void
scan_keys(const Matcher *matcher, MatcherRecords *loaded, Oid relid, const char *key, int nkeys, const char *const *keys)
{
	SpiArg		args[1];
	char	   *condition = matcher_keys_condition(relid, key, nkeys, keys, args);

	matcher_records_scan(matcher, loaded, relid, key, condition, 1, args, false);
}

void
matcher_records_load_keys(const Matcher *matcher, MatcherRecords *loaded, int nkeys, const char *const *keys)
{
	matcher_records_start(matcher, loaded);
	scan_keys(matcher, loaded, matcher->relid, matcher->key, nkeys, keys);
	if (OidIsValid(matcher->right_relid))
	{
		loaded->records.nleft = loaded->records.nrecords;
		scan_keys(matcher, loaded, matcher->right_relid, matcher->right_key, nkeys, keys);
	}
}

void
matcher_prepare(Matcher *matcher, MatcherRecords *loaded, MatchRules *rules)
{
	progress_phase("preparing values", matcher->ncomparisons);
	match_comparisons_prepare(&loaded->records, matcher->comparison, matcher->ncomparisons, matcher_utf8());
	if (rules == NULL)
		return;
	progress_phase("building blocks", matcher->nrules);
	match_rules_build(rules, &loaded->records, matcher->rule, matcher->nrules);
}

/* One more value into a fingerprint. */
static uint64
fold_hash(uint64 print, uint64 hash)
{
	print = (print ^ hash) * UINT64CONST(0x9E3779B97F4A7C15);
	return (print << 31) | (print >> 33);
}

uint64 *
matcher_fingerprints(const MatcherRecords *loaded)
{
	const MatchRecords *records = &loaded->records;
	uint64	   *print = kernel_alloc_array(&records->env, uint64, records->nrecords + 1);

	for (int32 i = 0; i < records->nrecords; i++)
	{
		const char *key = matcher_key(loaded, i);

		print[i] = fold_hash(i < records->nleft, match_hash(key, strlen(key)));
	}
	for (int c = 0; c < records->ncolumns; c++)
	{
		const MatchColumn *column = &records->column[c];

		for (int32 i = 0; i < records->nrecords && column->keys_only; i++)
			print[i] = fold_hash(print[i], column->key[i]);
		for (int32 i = 0; i < records->nrecords && !column->keys_only; i++)
			print[i] = fold_hash(print[i], column->code[i] == MATCH_NULL ? 0 : column->hash[column->code[i]]);
	}
	return print;
}

void
matcher_report_blocks(const Matcher *matcher, const MatcherRecords *loaded, const char *const *largest)
{
	for (int r = 0; r < matcher->nrules; r++)
	{
		const MatchRule *rule = &matcher->rule[r];

		if (!rule->report || rule->skipped_blocks == 0)
			continue;
		ereport(WARNING,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("matcher \"%s\": %d blocks of rule \"%s\" have more than %d records and were left out", matcher->name,
						rule->skipped_blocks, matcher_rule_name(matcher, rule), rule->max_block),
				 errdetail("They hold %.0f pairs, the largest %d records, among them the one with key \"%.200s\". "
						   "Pairs that agree on another rule are still found.",
						   rule->skipped_pairs, rule->largest,
						   largest != NULL ? largest[r] : matcher_key(loaded, rule->largest_member)),
				 errhint("Make the rule narrower, or raise options.max_block.")));
	}
}

void
matcher_records_put(MatcherRecords *loaded, const char *const *cells, const uint32 *lengths)
{
	int32		record = match_records_add(&loaded->records);

	add_key(loaded, record, cells[0], lengths[0]);
	for (int c = 0; c < loaded->records.ncolumns; c++)
	{
		if (cells[c + 1] != NULL)
			match_records_put(&loaded->records, record, c, cells[c + 1], lengths[c + 1]);
	}
}

/* The key and the values of a record that does not come from a scan: texts, NULL where unknown. */
void
matcher_records_add(MatcherRecords *loaded, const char *key, char **values)
{
	int32		record = match_records_add(&loaded->records);

	add_key(loaded, record, key, strlen(key));
	for (int c = 0; c < loaded->records.ncolumns; c++)
	{
		if (values[c] != NULL)
			set_value(loaded, record, c, values[c], strlen(values[c]));
	}
	match_records_settle(&loaded->records);
}
