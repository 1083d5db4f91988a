/*
 * guard_pg.c
 *		Duplicates at write time: a row trigger after INSERT that looks the new row up and rejects, warns or records.
 *
 * Who locks what, under 'reject': each inserting transaction takes an advisory lock in share mode on the matcher and one in
 * exclusive mode on each blocking key of its row, all held to its end. Two transactions that insert the same person share a key:
 * the second waits, then sees the first's row by a snapshot taken after the wait (also under REPEATABLE READ), so exactly one
 * wins. A key is waited for with nothing of the row in hand, so that whoever holds it can go over to the whole meanwhile.
 *
 * A transaction that has taken LOCKS_BEFORE_WHOLE key locks goes over to the whole: it gives its share of the matcher back (or two
 * bulk loads would wait for one another), takes the matcher's lock in exclusive mode, and from then on takes each key's lock only
 * to see that nobody else holds it, so that a bulk load does not fill the lock table. Whoever comes later waits at the matcher.
 * Two loads that have inserted the same person, in different orders, can still deadlock, as at a unique index.
 *
 * The look-up runs as the relation's owner, as a unique index would: whoever may insert is guarded, whatever they may read.
 * Keys of existing rows are named only to those who may read them.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "access/xact.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

#include "core/compat.h"
#include "core/errors.h"
#include "core/relation.h"
#include "match/matcher_pg.h"

PG_FUNCTION_INFO_V1(salesops_guard_duplicates);
PG_FUNCTION_INFO_V1(salesops_release_duplicates);
PG_FUNCTION_INFO_V1(salesops_guard_row);

#define LOCKS_BEFORE_WHOLE 1000
#define KEYS_TOLD 5				/* existing keys that a message names */
#define GUARD_THRESHOLD 0.95
#define LOCK_CLASS 0x5350		/* with the matcher's hash: our corner of the advisory locks */

/* Key locks of this transaction */
static TransactionId locking_transaction = InvalidTransactionId;
static int	locks_taken = 0;

/* ---- locks ---- */

/* The tag of one of our advisory locks; low 0 is the whole matcher. */
static LOCKTAG
lock_tag(uint32 matcher, uint32 low)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, matcher, low, LOCK_CLASS);
	return tag;
}

/*
 * Take or give back the matcher's own lock. It belongs to the whole transaction, whichever statement or subtransaction asks: what
 * one of them took, another can give back.
 */
static void
lock_matcher(uint32 matcher, LOCKMODE mode, bool take)
{
	LOCKTAG		tag = lock_tag(matcher, 0);
	ResourceOwner owner = CurrentResourceOwner;

	CurrentResourceOwner = TopTransactionResourceOwner;
	if (take)
		(void) LockAcquire(&tag, mode, false, false);
	else
		(void) LockRelease(&tag, mode, false);
	CurrentResourceOwner = owner;
}

/* Order of hashes, for qsort. */
static int
compare_hashes(const void *a, const void *b)
{
	uint32		x = *(const uint32 *) a;
	uint32		y = *(const uint32 *) b;

	return (x > y) - (x < y);
}

/* Wait until nobody else holds a key's lock, without keeping it. */
static void
wait_for_key(uint32 matcher, uint32 hash)
{
	LOCKTAG		tag = lock_tag(matcher, hash);

	(void) LockAcquire(&tag, ExclusiveLock, false, false);
	(void) LockRelease(&tag, ExclusiveLock, false);
}

/* All keys' locks without waiting, or none and the number of the one that another transaction holds; n where all are ours. */
static int
try_keys(uint32 matcher, const uint32 *hash, int n)
{
	for (int i = 0; i < n; i++)
	{
		LOCKTAG		tag = lock_tag(matcher, hash[i]);

		if (LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL)
			continue;
		for (int j = 0; j < i; j++)
		{
			LOCKTAG		ours = lock_tag(matcher, hash[j]);

			(void) LockRelease(&ours, ExclusiveLock, false);
		}
		return i;
	}
	return n;
}

/* The matcher's lock in share mode and the keys' locks; see the file's head for what is waited for with what in hand. */
static void
lock_each(uint32 matcher, const uint32 *hash, int n)
{
	for (;;)
	{
		int			taken;

		lock_matcher(matcher, ShareLock, true);
		taken = try_keys(matcher, hash, n);
		if (taken == n)
			return;
		lock_matcher(matcher, ShareLock, false);
		wait_for_key(matcher, hash[taken]);
	}
}

/* The matcher's lock in exclusive mode, without a share of ours in the way; then a look at each key. */
static void
lock_whole(uint32 matcher, const uint32 *hash, int n)
{
	LOCKTAG		tag = lock_tag(matcher, 0);

	while (lock_held_by_me(&tag, ShareLock))
		lock_matcher(matcher, ShareLock, false);
	lock_matcher(matcher, ExclusiveLock, true);
	for (int i = 0; i < n; i++)
		wait_for_key(matcher, hash[i]);
}

/* Hashes of the new row's blocking keys, ascending; how many. Rare words are not among them. */
static int
key_hashes(const MatcherLookup *lookup, uint32 *hash)
{
	int			n = 0;

	for (int k = 0; k < lookup->compiled->nrules; k++)
	{
		char	   *key = lookup->rule_key[k];

		if (key != NULL && lookup->matcher->rule[lookup->compiled->rule[k]].kind == MATCH_RULE_KEY)
			hash[n++] = (uint32) (match_hash(key, strlen(key)) + (uint64) k * 0x9E3779B9) | 1;
	}
	qsort(hash, n, sizeof(uint32), compare_hashes);
	return n;
}

/*
 * Lock every blocking key of the new row. Rare words are not locked: two concurrent rows that agree on nothing else may both
 * enter.
 */
static void
lock_keys(const MatcherLookup *lookup)
{
	uint32		matcher = (uint32) match_hash(lookup->matcher->name, strlen(lookup->matcher->name));
	uint32		hash[MATCHER_LOOKUP_RULES + 1];
	int			n = key_hashes(lookup, hash);

	if (locking_transaction != GetTopTransactionId())
	{
		locking_transaction = GetTopTransactionId();
		locks_taken = 0;
	}
	if (locks_taken >= LOCKS_BEFORE_WHOLE)
		lock_whole(matcher, hash, n);
	else
	{
		lock_each(matcher, hash, n);
		locks_taken += n;
	}
}

/* ---- the trigger ---- */

/* What the message says of the existing records; nothing that the role may not read. */
static char *
hits_detail(const MatcherLookup *lookup, Oid role, const char *key)
{
	Oid			relid = matcher_lookup_relation(lookup->matcher);
	StringInfoData detail;

	initStringInfo(&detail);
	if (pg_class_aclcheck(relid, role, ACL_SELECT) != ACLCHECK_OK || check_enable_rls(relid, role, true) == RLS_ENABLED)
	{
		appendStringInfo(&detail, "%d existing records are probably the same.", lookup->nhits);
		return detail.data;
	}
	appendStringInfo(&detail, "Key (%s)=(%s) is probably the same as:", lookup->matcher->key, key);
	for (int i = 0; i < lookup->nhits && i < KEYS_TOLD; i++)
		appendStringInfo(&detail, "%s %s, probability %.4f: %s", i > 0 ? ";" : "", lookup->hit[i].key,
						 Min(floor(lookup->hit[i].probability * 10000) / 10000, 0.9999), matcher_hit_reason(lookup, i));
	if (lookup->nhits > KEYS_TOLD)
		appendStringInfo(&detail, "; and %d more", lookup->nhits - KEYS_TOLD);
	return detail.data;
}

/* Keep the findings for later. */
static void
record_hits(const MatcherLookup *lookup, const char *key)
{
	SpiScope	scope;

	spi_open(&scope, SPI_AS_OWNER);
	for (int i = 0; i < lookup->nhits; i++)
	{
		SpiArg		args[] = {
			spi_text(lookup->matcher->name), spi_text(key), spi_text(lookup->hit[i].key), spi_float8(lookup->hit[i].weight),
			spi_float8(lookup->hit[i].probability),
		};

		spi_execute_kept(SPI_OK_INSERT,
					"INSERT INTO salesops.duplicate_finding (matcher, left_key, right_key, weight, probability) "
					"VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING", lengthof(args), args);
	}
	spi_close(&scope);
}

/*
 * Look the new row up as the relation's owner, after locking its keys where it may be rejected. NULL where there is no such matcher
 * or it is not trained: one that has gone must not stop the inserts.
 */
static MatcherLookup *
look_up(const char *name, TriggerData *trigger, bool lock)
{
	Oid			save_user;
	int			save_security;
	MatcherLookup *lookup;
	Datum		row = heap_copy_tuple_as_datum(trigger->tg_trigtuple, RelationGetDescr(trigger->tg_relation));

	GetUserIdAndSecContext(&save_user, &save_security);
	SetUserIdAndSecContext(trigger->tg_relation->rd_rel->relowner, save_security | SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS);
	lookup = matcher_lookup_start(name, row, true);
	if (lookup != NULL)
	{
		if (lock)
			lock_keys(lookup);
		/* rows that were committed while we waited, and those that this command has inserted so far */
		CommandCounterIncrement();
		PushActiveSnapshot(GetLatestSnapshot());
		matcher_lookup_run(lookup, GUARD_THRESHOLD, OidIsValid(lookup->matcher->right_relid) ? NULL : lookup->key);
		PopActiveSnapshot();
	}
	SetUserIdAndSecContext(save_user, save_security);
	return lookup;
}

/* Act on what was found. */
static void
act(const MatcherLookup *lookup, const char *action, const char *key, const char *relation)
{
	char	   *detail = hits_detail(lookup, GetUserId(), key);

	if (strcmp(action, "reject") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("the new row of %s is probably a duplicate", relation),
				 errdetail("%s", detail),
				 errhint("Update the existing record; or let the row in by salesops.guard_duplicates with action 'warn'.")));
	if (strcmp(action, "warn") == 0)
		ereport(WARNING,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("the new row of %s is probably a duplicate", relation),
				 errdetail("%s", detail)));
	else
		record_hits(lookup, key);
}

/* guard_row(): the trigger; its arguments are the matcher and the action */
Datum
salesops_guard_row(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context;
	MatcherLookup *lookup;
	const char *name;
	const char *action;
	int			nest;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigger->tg_event) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		!TRIGGER_FIRED_BY_INSERT(trigger->tg_event) || trigger->tg_trigger->tgnargs != 2)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("salesops.guard_row must be a row trigger after INSERT with two arguments"),
				 errhint("Use salesops.guard_duplicates(relation, matcher, action).")));
	name = trigger->tg_trigger->tgargs[0];
	action = trigger->tg_trigger->tgargs[1];
	context = matcher_lookup_context();
	/* once for all that is asked */
	nest = search_path_pin();
	lookup = look_up(name, trigger, strcmp(action, "reject") == 0);
	if (lookup == NULL)
		ereport(WARNING,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("duplicates are not guarded: matcher \"%s\" does not exist or is not trained", name),
				 errhint("SELECT salesops.release_duplicates(%s);",
						 quote_literal_cstr(relation_sql_name(RelationGetRelid(trigger->tg_relation))))));
	else if (lookup->nhits > 0)
		act(lookup, action, lookup->key ? lookup->key : "NULL", relation_sql_name(RelationGetRelid(trigger->tg_relation)));
	search_path_unpin(nest);
	MemoryContextSwitchTo(caller);
	matcher_lookup_done(context);
	return PointerGetDatum(NULL);
}

/* ---- definition ---- */

/* Drop all our triggers on a relation, by the caller's rights; returns how many. */
static int
drop_guards(Oid relid)
{
	SpiScope	scope;
	SpiArg		args[] = {spi_oid(relid)};
	uint64		count;
	char	  **names;

	spi_open(&scope, SPI_PINNED_AS_CALLER);
	count = spi_execute(SPI_OK_SELECT,
						"SELECT t.tgname::text FROM pg_trigger t WHERE t.tgrelid = $1 AND NOT t.tgisinternal AND t.tgparentid = 0 "
						"AND t.tgfoid = 'salesops.guard_row()'::regprocedure", 1, args);
	names = palloc(sizeof(char *) * (count + 1));
	for (uint64 i = 0; i < count; i++)
		names[i] = spi_get_text(i, 1);
	for (uint64 i = 0; i < count; i++)
		spi_execute(SPI_OK_UTILITY, psprintf("DROP TRIGGER %s ON %s", quote_identifier(names[i]), relation_sql_name(relid)), 0, NULL);
	spi_close(&scope);
	return (int) count;
}

/* Name of a matcher's guard: one a matcher and relation. */
static char *
guard_name(const char *matcher)
{
	return psprintf("salesops_guard_%016llx", (unsigned long long) match_hash(matcher, strlen(matcher)));
}

/* Drop this matcher's guard where there is one. */
static bool
drop_guard(Oid relid, const char *matcher)
{
	SpiScope	scope;
	SpiArg		args[] = {spi_oid(relid), spi_text(guard_name(matcher))};
	bool		found;

	spi_open(&scope, SPI_PINNED_AS_CALLER);
	found = spi_execute(SPI_OK_SELECT, "SELECT FROM pg_trigger t WHERE t.tgrelid = $1 AND t.tgname = $2::name", 2, args) > 0;
	if (found)
		spi_execute(SPI_OK_UTILITY, psprintf("DROP TRIGGER %s ON %s", quote_identifier(guard_name(matcher)), relation_sql_name(relid)), 0, NULL);
	spi_close(&scope);
	return found;
}

/*
 * guard_duplicates(relation regclass, matcher text, action text) -> void
 *
 * From now on each row inserted into the relation is looked up: 'reject' refuses a probable duplicate (SQLSTATE 23505), 'warn'
 * says so, 'record' keeps it in salesops.duplicate_finding. Needs the relation's owner and a trained matcher of that relation.
 */
Datum
salesops_guard_duplicates(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	char	   *action = text_to_cstring(PG_GETARG_TEXT_PP(2));
	Matcher    *matcher;
	SpiScope	scope;

	if (strcmp(action, "reject") != 0 && strcmp(action, "warn") != 0 && strcmp(action, "record") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("action \"%s\" does not exist", action),
				 errhint("The actions are: reject, warn, record.")));
	relation_require_table(relid, "guard duplicates");
	relation_require_owner(relid);
	matcher = matcher_load(name);
	if (matcher->relid != relid)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("matcher \"%s\" is about %s, not %s", name, relation_sql_name(matcher->relid), relation_sql_name(relid))));
	if (matcher->model == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("matcher \"%s\" is not trained", name),
				 errhint("SELECT * FROM salesops.train_matcher(%s);", quote_literal_cstr(name))));
	drop_guard(relid, name);
	spi_open(&scope, SPI_PINNED_AS_CALLER);
	spi_execute(SPI_OK_UTILITY,
				psprintf("CREATE TRIGGER %s AFTER INSERT ON %s FOR EACH ROW EXECUTE FUNCTION salesops.guard_row(%s, %s)",
						 quote_identifier(guard_name(name)), relation_sql_name(relid), quote_literal_cstr(name),
						 quote_literal_cstr(action)),
				0, NULL);
	spi_close(&scope);
	PG_RETURN_VOID();
}

/* release_duplicates(relation regclass, matcher text) -> integer: take the guards of a matcher (NULL: of all) off a relation */
Datum
salesops_release_duplicates(PG_FUNCTION_ARGS)
{
	Oid			relid;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("release_duplicates needs a relation")));
	relid = PG_GETARG_OID(0);
	relation_require_owner(relid);
	if (PG_ARGISNULL(1))
		PG_RETURN_INT32(drop_guards(relid));
	PG_RETURN_INT32(drop_guard(relid, text_to_cstring(PG_GETARG_TEXT_PP(1))) ? 1 : 0);
}
