/*
 * truth_pg.c
 *		The truth of evaluate_matcher: a list of pairs or of (key, cluster) rows; which one, the query's column names say, or else its
 *		content: a second column all of whose values are keys makes pairs.
 *
 * A row is kept as the 64-bit hashes of its two values (and the first one's text, for errors), in a tuplestore. Whether a value is a key
 * is told by merging rows and keys, both sorted; the sorts are the server's, so that the whole is bounded by maintenance_work_mem. Pairs
 * come out of it sorted and so each once. What is held by record is held of the loaded ones only, those that are in a pair found.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/tupdesc.h"
#include "catalog/pg_operator_d.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/tuplesort.h"
#include "utils/tuplestore.h"

#include "core/kernel_pg.h"
#include "match/truth_pg.h"

typedef enum TruthKind
{
	TRUTH_BY_CONTENT,
	TRUTH_PAIRS,
	TRUTH_CLUSTERS
} TruthKind;

/* A loaded record by the hash of its key */
typedef struct HashedRecord
{
	int64		hash;
	int32		record;
} HashedRecord;

struct Truth
{
	TruthKind	kind;
	bool		two;			/* relations */
	TupleDesc	desc;			/* (int8, int8, text) */
	Tuplestorestate *rows;
	int32		nrows;
	Tuplesortstate *keys[2];	/* (hash, , ) of the left or only relation, and of the right one */
	Tuplesortstate *pairs;		/* of keys that are there */
	int64		unknown_keys;
	double		cluster_matches;
	FmgrInfo	output[2];
	/* of the loaded records */
	HashedRecord *record[2];	/* of either side, ascending */
	int32		nrecords[2];
	int64	   *cluster;		/* hash of each record's, where it has one */
	bool	   *has_cluster;
};

/* ---- tuples ---- */

/* One row as it is stored and sorted */
typedef struct TruthRow
{
	int64		one;
	int64		two;
	Datum		text;			/* of the first value, or 0 */
} TruthRow;

/* Kilobytes for one of the sorts: up to five are there at once. */
static int
sort_memory(void)
{
	return Max(64, maintenance_work_mem / 16);
}

/* A sort by so many of the columns. */
static Tuplesortstate *
begin_sort(const Truth *truth, int ncolumns, bool again)
{
	AttrNumber	columns[2] = {1, 2};
	Oid			operators[2] = {Int8LessOperator, Int8LessOperator};
	Oid			collations[2] = {InvalidOid, InvalidOid};
	bool		nulls_first[2] = {false, false};

	return tuplesort_begin_heap(truth->desc, ncolumns, columns, operators, collations, nulls_first, sort_memory(), NULL,
								again ? TUPLESORT_RANDOMACCESS : TUPLESORT_NONE);
}

/* Add a row to a sort. */
static void
put_row(Tuplesortstate *sort, TupleTableSlot *slot, const TruthRow *row)
{
	ExecClearTuple(slot);
	slot->tts_values[0] = Int64GetDatum(row->one);
	slot->tts_values[1] = Int64GetDatum(row->two);
	slot->tts_values[2] = row->text;
	slot->tts_isnull[0] = slot->tts_isnull[1] = false;
	slot->tts_isnull[2] = row->text == (Datum) 0;
	ExecStoreVirtualTuple(slot);
	tuplesort_puttupleslot(sort, slot);
}

/* What a slot holds. */
static TruthRow
row_of(TupleTableSlot *slot)
{
	TruthRow	row;
	bool		isnull;

	row.one = DatumGetInt64(slot_getattr(slot, 1, &isnull));
	row.two = DatumGetInt64(slot_getattr(slot, 2, &isnull));
	row.text = slot_getattr(slot, 3, &isnull);
	if (isnull)
		row.text = (Datum) 0;
	return row;
}

/* The next row of a sort. */
static bool
next_sorted(Tuplesortstate *sort, TupleTableSlot *slot, TruthRow *row)
{
	CHECK_FOR_INTERRUPTS();
	if (!tuplesort_gettupleslot(sort, true, false, slot, NULL))
		return false;
	*row = row_of(slot);
	return true;
}

/* A slot to read rows from, or to put them through. */
static TupleTableSlot *
row_slot(const Truth *truth, bool reading)
{
	return MakeSingleTupleTableSlot(truth->desc, reading ? &TTSOpsMinimalTuple : &TTSOpsVirtual);
}

/* ---- reading ---- */

/* Names that speak for one form or the other. */
static TruthKind
kind_of_names(const char *one, const char *two)
{
	static const char *const pairs[][2] = {
		{"left_key", "right_key"}, {"left", "right"}, {"left_id", "right_id"}, {"key_l", "key_r"}, {"id_l", "id_r"},
		{"unique_id_l", "unique_id_r"}, {"key1", "key2"}, {"id1", "id2"}, {"a", "b"}, {"l", "r"},
	};
	static const char *const clusters[] = {"cluster", "cluster_id", "entity", "entity_id", "group_id", "label", "truth"};

	for (size_t i = 0; i < lengthof(pairs); i++)
	{
		if (strcmp(one, pairs[i][0]) == 0 && strcmp(two, pairs[i][1]) == 0)
			return TRUTH_PAIRS;
	}
	for (size_t i = 0; i < lengthof(clusters); i++)
	{
		if (strcmp(two, clusters[i]) == 0)
			return TRUTH_CLUSTERS;
	}
	return TRUTH_BY_CONTENT;
}

/* One row of the truth. */
static void
read_row(TupleTableSlot *slot, void *arg)
{
	Truth	   *truth = arg;
	Datum		values[3];
	bool		nulls[3] = {false, false, false};

	for (int i = 0; i < 2; i++)
	{
		char	   *text;

		if (slot->tts_isnull[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("the truth has a NULL in row %d", truth->nrows + 1),
					 errhint("Give rows of two values: left_key and right_key, or key and cluster_id.")));
		text = OutputFunctionCall(&truth->output[i], slot->tts_values[i]);
		values[i] = Int64GetDatum((int64) match_hash(text, strlen(text)));
		if (i == 0)
			values[2] = CStringGetTextDatum(text);
		pfree(text);
	}
	tuplestore_putvalues(truth->rows, truth->desc, values, nulls);
	pfree(DatumGetPointer(values[2]));
	truth->nrows++;
}

/* Run the truth's query with the caller's rights. */
static void
read_query(Truth *truth, const char *query)
{
	SpiScope	scope;
	TupleDesc	desc;
	MemoryContext caller = CurrentMemoryContext;

	spi_open(&scope, SPI_AS_CALLER);
	MemoryContextSwitchTo(caller);
	desc = spi_describe(query);
	if (desc->natts != 2)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the truth's query returns %d columns instead of two", desc->natts),
				 errhint("Give a query of left_key and right_key, a row a true pair; or of key and cluster_id, a row a record.")));
	truth->kind = kind_of_names(NameStr(TupleDescAttr(desc, 0)->attname), NameStr(TupleDescAttr(desc, 1)->attname));
	for (int i = 0; i < 2; i++)
	{
		Oid			output;
		bool		varlena;

		getTypeOutputInfo(TupleDescAttr(desc, i)->atttypid, &output, &varlena);
		fmgr_info(output, &truth->output[i]);
	}
	spi_stream(query, 0, NULL, true, read_row, truth);
	spi_close(&scope);
}

/* ---- keys ---- */

typedef struct KeySink
{
	Truth	   *truth;
	TupleTableSlot *slot;
} KeySink;

/* A key of the relation. */
static void
note_key(const char *key, size_t length, bool right, void *arg)
{
	KeySink    *sink = arg;
	TruthRow	row = {(int64) match_hash(key, length), 0, (Datum) 0};

	put_row(sink->truth->keys[right ? 1 : 0], sink->slot, &row);
}

/* The hashes of all keys, sorted. */
static void
sort_keys(Truth *truth, const MatcherRun *run)
{
	KeySink		sink = {truth, row_slot(truth, false)};

	for (int side = 0; side < 2; side++)
		truth->keys[side] = begin_sort(truth, 1, true);
	matcher_each_key(run, note_key, &sink);
	for (int side = 0; side < 2; side++)
		tuplesort_performsort(truth->keys[side]);
	ExecDropSingleTupleTableSlot(sink.slot);
}

/* A pass over one side's keys beside rows that ascend. */
typedef struct KeyPass
{
	Tuplesortstate *keys;
	TupleTableSlot *slot;
	TruthRow	at;
	bool		more;
} KeyPass;

/* From the first key on. */
static void
start_pass(const Truth *truth, int side, KeyPass *pass)
{
	pass->keys = truth->keys[side];
	pass->slot = row_slot(truth, true);
	memset(&pass->at, 0, sizeof(pass->at));
	tuplesort_rescan(pass->keys);
	pass->more = next_sorted(pass->keys, pass->slot, &pass->at);
}

/* Whether a hash, not less than the one before, is a key's. */
static bool
is_key(KeyPass *pass, int64 hash)
{
	while (pass->more && pass->at.one < hash)
		pass->more = next_sorted(pass->keys, pass->slot, &pass->at);
	return pass->more && pass->at.one == hash;
}

/* The rows sorted by their first value, or by their second, which then comes first. */
static Tuplesortstate *
sort_rows(const Truth *truth, bool second)
{
	Tuplesortstate *sort = begin_sort(truth, 2, false);
	TupleTableSlot *from = row_slot(truth, true);
	TupleTableSlot *to = row_slot(truth, false);

	tuplestore_rescan(truth->rows);
	while (tuplestore_gettupleslot(truth->rows, true, false, from))
	{
		TruthRow	row = row_of(from);
		TruthRow	turned = {row.two, row.one, (Datum) 0};

		put_row(sort, to, second ? &turned : &row);
		CHECK_FOR_INTERRUPTS();
	}
	tuplesort_performsort(sort);
	ExecDropSingleTupleTableSlot(from);
	ExecDropSingleTupleTableSlot(to);
	return sort;
}

/* Pairs where every value of the second column is a key too. */
static TruthKind
kind_of_content(const Truth *truth)
{
	Tuplesortstate *sort = sort_rows(truth, true);
	TupleTableSlot *slot = row_slot(truth, true);
	TruthKind	kind = TRUTH_PAIRS;
	KeyPass		pass;
	TruthRow	row;

	start_pass(truth, truth->two ? 1 : 0, &pass);
	while (kind == TRUTH_PAIRS && next_sorted(sort, slot, &row))
	{
		if (!is_key(&pass, row.one))
			kind = TRUTH_CLUSTERS;
	}
	ExecDropSingleTupleTableSlot(slot);
	ExecDropSingleTupleTableSlot(pass.slot);
	tuplesort_end(sort);
	return kind;
}

/* ---- a truth of pairs ---- */

/* Rows that ascend by their first value go on, turned round, where that is a key of a side. */
static Tuplesortstate *
keep_keys(Truth *truth, Tuplesortstate *sort, int side)
{
	Tuplesortstate *kept = begin_sort(truth, 2, false);
	TupleTableSlot *from = row_slot(truth, true);
	TupleTableSlot *to = row_slot(truth, false);
	KeyPass		pass;
	TruthRow	row;

	start_pass(truth, side, &pass);
	while (next_sorted(sort, from, &row))
	{
		TruthRow	turned = {row.two, row.one, (Datum) 0};

		if (is_key(&pass, row.one))
			put_row(kept, to, &turned);
		else
			truth->unknown_keys++;
	}
	tuplesort_end(sort);
	tuplesort_performsort(kept);
	ExecDropSingleTupleTableSlot(from);
	ExecDropSingleTupleTableSlot(to);
	ExecDropSingleTupleTableSlot(pass.slot);
	return kept;
}

/* The pairs of keys that are there, sorted; of one relation the lesser hash first. */
static void
make_pairs(Truth *truth)
{
	Tuplesortstate *sort = keep_keys(truth, keep_keys(truth, sort_rows(truth, false), 0), truth->two ? 1 : 0);
	TupleTableSlot *from = row_slot(truth, true);
	TupleTableSlot *to = row_slot(truth, false);
	TruthRow	row;

	truth->pairs = begin_sort(truth, 2, false);
	while (next_sorted(sort, from, &row))
	{
		TruthRow	turned = {row.two, row.one, (Datum) 0};

		if (truth->two || row.one != row.two)
			put_row(truth->pairs, to, !truth->two && row.two < row.one ? &turned : &row);
	}
	tuplesort_end(sort);
	tuplesort_performsort(truth->pairs);
	ExecDropSingleTupleTableSlot(from);
	ExecDropSingleTupleTableSlot(to);
}

/* ---- a truth of clusters ---- */

/* Matching pairs: the members of each cluster on either side come one after another. */
static double
cluster_matches(const Truth *truth, Tuplesortstate *members)
{
	TupleTableSlot *slot = row_slot(truth, true);
	TruthRow	row;
	int64		cluster = 0;
	double		count[2] = {0, 0};
	double		matches = 0;
	bool		more;

	do
	{
		more = next_sorted(members, slot, &row);
		if (!more || row.one != cluster)
		{
			matches += truth->two ? count[0] * count[1] : count[0] * (count[0] - 1) / 2;
			count[0] = count[1] = 0;
			cluster = row.one;
		}
		if (more)
			count[row.two]++;
	} while (more);
	ExecDropSingleTupleTableSlot(slot);
	return matches;
}

/* A key is in one cluster. */
static void
raise_two_clusters(const TruthRow *row)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("the truth puts key \"%s\" into two clusters", TextDatumGetCString(row->text)),
			 errhint("Name the columns left_key and right_key if the rows are pairs; with two relations give pairs.")));
}

/* How many pairs there are in the clusters; keys that the truth does not name are alone. */
static void
make_clusters(Truth *truth)
{
	Tuplesortstate *sort = sort_rows(truth, false);
	Tuplesortstate *members = begin_sort(truth, 2, false);
	TupleTableSlot *from = row_slot(truth, true);
	TupleTableSlot *to = row_slot(truth, false);
	KeyPass		pass[2];
	TruthRow	row;
	TruthRow	last = {0};
	bool		any = false;

	for (int side = 0; side < 2; side++)
		start_pass(truth, side, &pass[side]);
	while (next_sorted(sort, from, &row))
	{
		bool		found = false;

		for (int side = 0; side < (truth->two ? 2 : 1); side++)
		{
			TruthRow	member = {row.two, side, (Datum) 0};

			if (!is_key(&pass[side], row.one))
				continue;
			found = true;
			if (any && last.one == row.one && last.two != row.two)
				raise_two_clusters(&row);
			if (!any || last.one != row.one)
				put_row(members, to, &member);
		}
		truth->unknown_keys += !found;
		last = row;
		any = true;
	}
	tuplesort_end(sort);
	tuplesort_performsort(members);
	truth->cluster_matches = cluster_matches(truth, members);
	tuplesort_end(members);
	for (int side = 0; side < 2; side++)
		ExecDropSingleTupleTableSlot(pass[side].slot);
	ExecDropSingleTupleTableSlot(from);
	ExecDropSingleTupleTableSlot(to);
}

Truth *
truth_read(const MatcherRun *run, const char *query)
{
	Truth	   *truth = palloc0(sizeof(Truth));

	truth->two = OidIsValid(run->matcher->right_relid);
	truth->desc = CreateTemplateTupleDesc(3);
	TupleDescInitEntry(truth->desc, 1, "one", INT8OID, -1, 0);
	TupleDescInitEntry(truth->desc, 2, "two", INT8OID, -1, 0);
	TupleDescInitEntry(truth->desc, 3, "text", TEXTOID, -1, 0);
	truth->rows = tuplestore_begin_heap(false, false, sort_memory());
	read_query(truth, query);
	sort_keys(truth, run);
	if (truth->kind == TRUTH_BY_CONTENT)
		truth->kind = kind_of_content(truth);
	if (truth->kind == TRUTH_PAIRS)
	{
		make_pairs(truth);
		tuplestore_end(truth->rows);
	}
	else
		make_clusters(truth);
	for (int side = 0; side < 2; side++)
		tuplesort_end(truth->keys[side]);
	return truth;
}

int64
truth_unknown_keys(const Truth *truth)
{
	return truth->unknown_keys;
}

/* ---- beside loaded records ---- */

/* For qsort and bsearch. */
static int
compare_hashed(const void *a, const void *b)
{
	int64		x = ((const HashedRecord *) a)->hash;
	int64		y = ((const HashedRecord *) b)->hash;

	return (x > y) - (x < y);
}

/* The loaded record whose key has a hash, -1 where none has. */
static int32
record_of(const Truth *truth, int side, int64 hash)
{
	HashedRecord wanted = {hash, 0};
	const HashedRecord *found = truth->nrecords[side] == 0 ? NULL :
		bsearch(&wanted, truth->record[side], truth->nrecords[side], sizeof(HashedRecord), compare_hashed);

	return found == NULL ? -1 : found->record;
}

/* The cluster of each loaded record that the truth names. */
static void
take_clusters(Truth *truth)
{
	TupleTableSlot *slot = row_slot(truth, true);

	tuplestore_rescan(truth->rows);
	while (tuplestore_gettupleslot(truth->rows, true, false, slot))
	{
		TruthRow	row = row_of(slot);

		for (int side = 0; side < 2; side++)
		{
			int32		record = record_of(truth, side, row.one);

			if (record < 0)
				continue;
			truth->cluster[record] = row.two;
			truth->has_cluster[record] = true;
		}
		CHECK_FOR_INTERRUPTS();
	}
	ExecDropSingleTupleTableSlot(slot);
}

void
truth_meet_records(Truth *truth, const MatcherRecords *loaded)
{
	const KernelEnv *env = &loaded->records.env;
	int32		n = loaded->records.nrecords;
	int32		nleft = truth->two ? loaded->records.nleft : n;

	for (int side = 0; side < 2; side++)
		truth->record[side] = kernel_alloc_array(env, HashedRecord, (side == 0 ? nleft : n - nleft) + 1);
	for (int32 i = 0; i < n; i++)
	{
		const char *key = matcher_key(loaded, i);
		int			side = i < nleft ? 0 : 1;
		HashedRecord *to = &truth->record[side][truth->nrecords[side]++];

		to->hash = (int64) match_hash(key, strlen(key));
		to->record = i;
	}
	for (int side = 0; side < 2; side++)
		qsort(truth->record[side], truth->nrecords[side], sizeof(HashedRecord), compare_hashed);
	if (truth->kind == TRUTH_PAIRS)
		return;
	truth->cluster = kernel_alloc_array(env, int64, n + 1);
	truth->has_cluster = kernel_alloc_array(env, bool, n + 1);
	memset(truth->has_cluster, 0, (size_t) n);
	take_clusters(truth);
	tuplestore_end(truth->rows);
}

bool
truth_lists_pairs(const Truth *truth)
{
	return truth->kind == TRUTH_PAIRS;
}

bool
truth_same_cluster(const Truth *truth, int32 a, int32 b)
{
	return truth->has_cluster[a] && truth->has_cluster[b] && truth->cluster[a] == truth->cluster[b];
}

double
truth_matches(Truth *truth, TruthFound found, void *arg, double *positive)
{
	TupleTableSlot *slot;
	TruthRow	row;
	TruthRow	last = {0};
	double		matches = 0;

	if (truth->kind != TRUTH_PAIRS)
		return truth->cluster_matches;
	slot = row_slot(truth, true);
	for (; next_sorted(truth->pairs, slot, &row); last = row)
	{
		int32		a;
		int32		b;

		if (matches > 0 && row.one == last.one && row.two == last.two)
			continue;
		matches++;
		a = record_of(truth, 0, row.one);
		b = record_of(truth, truth->two ? 1 : 0, row.two);
		if (a >= 0 && b >= 0 && found(a, b, arg))
			(*positive)++;
	}
	ExecDropSingleTupleTableSlot(slot);
	tuplesort_end(truth->pairs);
	return matches;
}
