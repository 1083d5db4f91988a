-- What a session keeps of criteria that may raise an error is that of this moment: whatever they hang on changes, is rolled back, or fails, the next
-- statement goes by what is. Other sessions' changes: test/isolation/specs/pipeline_kept.spec.
SET client_min_messages = warning;
SELECT no_plan();
CREATE TABLE deal (id int PRIMARY KEY, stage text, amount numeric, parts int, note text);
SELECT salesops.define_stages('default', '[{"stage": "new"}, {"stage": "proposal"}, {"stage": "won", "kind": "won"}]');
SELECT salesops.add_criterion('deal', 'proposal', 'share', 'amount / parts > 10');
SELECT salesops.enforce_stage_criteria('deal');
-- how a statement ends: ok, or the names in DETAIL
CREATE FUNCTION tried(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  detail text;
BEGIN
  EXECUTE statement;
  RETURN 'ok';
EXCEPTION WHEN check_violation THEN
  GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
  RETURN coalesce(nullif(detail, ''), sqlerrm);
WHEN others THEN
  RETURN sqlerrm;
END $$;
CREATE FUNCTION kept() RETURNS bigint LANGUAGE sql AS $$ SELECT count(*) FROM pg_backend_memory_contexts WHERE name = 'salesops stage criteria' $$;
INSERT INTO deal VALUES (1, 'proposal', 100, 5);
SELECT is(kept(), 1::bigint, 'kept between statements');
INSERT INTO deal VALUES (2, 'proposal', 100, 5);
SELECT is(kept(), 1::bigint, 'and used by the next');
SELECT is(tried('INSERT INTO deal VALUES (3, ''proposal'', 10, 5)'), 'share: ((amount / (parts)::numeric) > (10)::numeric) (amount = 10, parts = 5)', 'which knows what is unmet');
-- an error in the midst of it
SELECT is(tried('INSERT INTO deal VALUES (3, ''proposal'', 10, 0)'), 'division by zero', 'an error is one');
SELECT is(kept(), 0::bigint, 'and leaves nothing behind');
SELECT is(tried('INSERT INTO deal VALUES (3, ''proposal'', 100, 5)'), 'ok', 'the next row is judged anew');
-- the columns
ALTER TABLE deal RENAME COLUMN parts TO pieces;
SELECT is(tried('INSERT INTO deal VALUES (4, ''proposal'', 10, 5)'), 'share: ((amount / (pieces)::numeric) > (10)::numeric) (amount = 10, pieces = 5)', 'a column renamed');
ALTER TABLE deal DROP COLUMN note, ADD COLUMN extra text;
SELECT is(tried('INSERT INTO deal VALUES (4, ''proposal'', 10, 5)'), 'share: ((amount / (pieces)::numeric) > (10)::numeric) (amount = 10, pieces = 5)', 'others dropped and added');
-- criteria and stages
SELECT salesops.replace_criterion('deal', 'share', 'amount / pieces > 1', 'too little');
SELECT is(tried('INSERT INTO deal VALUES (4, ''proposal'', 10, 5)'), 'ok', 'a criterion replaced');
UPDATE salesops.criterion SET message = 'far too little' WHERE criterion = 'share' AND effective_until IS NULL;
SELECT alike(tried('INSERT INTO deal VALUES (5, ''proposal'', 1, 5)'), '% - far too little', 'its row changed by hand');
SET session_replication_role = replica;
UPDATE salesops.criterion SET message = 'little' WHERE criterion = 'share' AND effective_until IS NULL;
RESET session_replication_role;
SELECT alike(tried('INSERT INTO deal VALUES (5, ''proposal'', 1, 5)'), '% - little', 'also where triggers are off');
SELECT salesops.define_stages('default', '[{"stage": "proposal"}, {"stage": "new"}, {"stage": "won", "kind": "won"}]');
SELECT alike(tried('INSERT INTO deal VALUES (5, ''new'', 1, 5)'), 'share: %', 'stages in another order');
-- what is rolled back was never said
BEGIN;
SELECT salesops.drop_criterion('deal', 'share');
SELECT is(tried('INSERT INTO deal VALUES (6, ''proposal'', 1, 5)'), 'ok', 'a criterion dropped');
ROLLBACK;
SELECT alike(tried('INSERT INTO deal VALUES (6, ''proposal'', 1, 5)'), 'share: %', 'and back');
BEGIN;
SAVEPOINT before;
SELECT salesops.add_criterion('deal', 'proposal', 'whole', '12 / (pieces - 4) = 12');
SELECT alike(tried('INSERT INTO deal VALUES (6, ''proposal'', 100, 6)'), 'whole: %', 'a criterion of a subtransaction');
ROLLBACK TO before;
SELECT is(tried('INSERT INTO deal VALUES (6, ''proposal'', 100, 6)'), 'ok', 'is gone with it');
SELECT salesops.add_criterion('deal', 'proposal', 'whole', '12 / (pieces - 4) = 12');
SELECT alike(tried('INSERT INTO deal VALUES (7, ''proposal'', 100, 6)'), 'whole: %', 'and said again');
ROLLBACK;
SELECT is(tried('INSERT INTO deal VALUES (7, ''proposal'', 100, 4)'), 'ok', 'and gone again');
-- functions, and the right to call them
CREATE FUNCTION enough(numeric) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN $1 > 10; END';
SELECT salesops.add_criterion('deal', 'proposal', 'enough', 'public.enough(amount)');
SELECT is(tried('INSERT INTO deal VALUES (8, ''proposal'', 100, 4)'), 'ok', 'a function');
CREATE OR REPLACE FUNCTION enough(numeric) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN $1 > 1000; END';
SELECT alike(tried('INSERT INTO deal VALUES (9, ''proposal'', 100, 4)'), 'enough: %', 'that says otherwise');
CREATE ROLE pipeline_kept_writer;
GRANT INSERT ON deal TO pipeline_kept_writer;
SELECT is(tried('INSERT INTO deal VALUES (9, ''proposal'', 10000, 4)'), 'ok', 'its owner may call it');
REVOKE EXECUTE ON FUNCTION enough FROM public;
SET ROLE pipeline_kept_writer;
SELECT is(tried('INSERT INTO deal VALUES (10, ''proposal'', 10000, 4)'), 'permission denied for function enough', 'who may not, cannot by what another had prepared');
RESET ROLE;
SELECT is(tried('INSERT INTO deal VALUES (10, ''proposal'', 10000, 4)'), 'ok', 'and the owner still may');
GRANT EXECUTE ON FUNCTION enough TO pipeline_kept_writer;
SET ROLE pipeline_kept_writer;
SELECT is(tried('INSERT INTO deal VALUES (11, ''proposal'', 10000, 4)'), 'ok', 'nor is a right that comes missed');
RESET ROLE;
-- a statement within the statement
CREATE FUNCTION write_another() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF new.id < 1000 THEN
    INSERT INTO deal VALUES (new.id + 1000, 'proposal', new.amount, CASE WHEN new.id = 22 THEN 0 ELSE 4 END);
  END IF;
  RETURN new;
END $$;
CREATE TRIGGER another BEFORE INSERT ON deal FOR EACH ROW EXECUTE FUNCTION write_another();
SELECT is(tried('INSERT INTO deal SELECT i, ''proposal'', 20000, 4 FROM generate_series(12, 14) i'), 'ok', 'statements within a statement');
SELECT alike(tried('INSERT INTO deal SELECT i, ''proposal'', 20000, CASE i WHEN 17 THEN 60000 ELSE 4 END FROM generate_series(15, 17) i'), 'share: %', 'the outer one judges');
SELECT is(tried('INSERT INTO deal SELECT i, ''proposal'', 20000, 4 FROM generate_series(20, 22) i'), 'division by zero', 'and an error of the inner one is an error');
SELECT is(count(*), 0::bigint, 'of both') FROM deal WHERE id % 1000 BETWEEN 15 AND 22;
SELECT is(tried('INSERT INTO deal SELECT i, ''proposal'', 20000, 4 FROM generate_series(20, 21) i'), 'ok', 'then all goes on');
SELECT cmp_ok(kept(), '<=', 1::bigint, 'and one is kept');
-- the labels of an enum
CREATE TYPE phase AS ENUM ('new', 'proposal', 'other');
CREATE TABLE phased (id int, stage phase, amount numeric, parts int);
SELECT salesops.add_criterion('phased', 'new', 'amount', 'amount > 0');
SELECT salesops.enforce_stage_criteria('phased');
SELECT is(tried('INSERT INTO phased VALUES (1, ''other'', -1, 5)'), 'ok', 'a label that is no stage');
SELECT alike(tried('INSERT INTO phased VALUES (1, ''new'', -1, 5)'), 'amount: %', 'one that is');
ALTER TYPE phase RENAME VALUE 'new' TO 'newest';
ALTER TYPE phase RENAME VALUE 'other' TO 'new';
SELECT alike(tried('INSERT INTO phased VALUES (1, ''new'', -1, 5)'), 'amount: %', 'labels that change places');
SELECT is(tried('INSERT INTO phased VALUES (1, ''newest'', -1, 5)'), 'ok', 'are what they are called');
-- criteria that the WHEN clause answers by itself: of the writer's own
CREATE TABLE simple (id int PRIMARY KEY, stage text, amount numeric);
SELECT salesops.add_criterion('simple', 'proposal', 'amount', 'amount > 5');
SELECT salesops.enforce_stage_criteria('simple');
SELECT is(tried('INSERT INTO simple VALUES (1, ''proposal'', 10)'), 'ok', 'a clause');
SELECT alike(tried('INSERT INTO simple VALUES (2, ''proposal'', 1)'), 'amount: %', 'says no');
SELECT is(tried('INSERT INTO simple VALUES (2, ''proposal'', 10) ON CONFLICT (id) DO UPDATE SET amount = 0'), 'ok', 'in statements of several kinds');
SELECT alike(tried('INSERT INTO simple VALUES (2, ''proposal'', 10) ON CONFLICT (id) DO UPDATE SET amount = 0'), 'amount: %', 'for each');
SELECT alike(tried('WITH a AS (UPDATE simple SET amount = 20 RETURNING id) INSERT INTO simple SELECT id + 10, ''proposal'', id - 1 FROM a'), 'amount: %', 'and for each part');
ALTER TABLE simple ALTER id TYPE bigint, ADD COLUMN more int;
SELECT alike(tried('UPDATE simple SET amount = 1'), 'amount: %', 'in a row of other columns');
ALTER TABLE simple RENAME amount TO worth;
SELECT alike(tried('UPDATE simple SET worth = 1'), 'amount: %', 'of another name');
SELECT salesops.replace_criterion('simple', 'amount', 'worth > 0');
SELECT is(tried('UPDATE simple SET worth = 1'), 'ok', 'of other criteria');
BEGIN;
SELECT salesops.drop_criterion('simple', 'amount');
SELECT is(tried('UPDATE simple SET worth = -1'), 'ok', 'dropped');
ROLLBACK;
SELECT alike(tried('UPDATE simple SET worth = -1'), 'amount: %', 'and not dropped');
PREPARE put AS UPDATE simple SET worth = $1;
SELECT salesops.add_criterion('simple', 'proposal', 'whole', 'worth < 100');
SELECT alike(tried('EXECUTE put(200)'), 'whole: %', 'a plan of before goes by what is');
-- what is kept is not read again, though others make tables; but types that are spoken of count
CREATE FUNCTION readings() RETURNS bigint LANGUAGE sql AS $$ SELECT pg_stat_get_xact_numscans('salesops.criterion'::regclass) + sum(pg_stat_get_xact_numscans(indexrelid)) FROM pg_index WHERE indrelid = 'salesops.criterion'::regclass $$;
CREATE DOMAIN share AS numeric CHECK (VALUE < 1000);
CREATE TABLE narrow (id int PRIMARY KEY, stage text, amount numeric, parts int);
SELECT salesops.add_criterion('narrow', 'proposal', 'share', '(amount / parts)::public.share > 10');
SELECT salesops.enforce_stage_criteria('narrow');
INSERT INTO narrow VALUES (1, 'proposal', 100, 5);
BEGIN;
CREATE TEMP TABLE other (id int PRIMARY KEY, note text CHECK (note <> ''));
SELECT set_config('kept.readings', readings()::text, true);
SELECT is(tried('INSERT INTO narrow VALUES (2, ''proposal'', 100, 5)'), 'ok', 'a table made meanwhile');
SELECT is(readings(), current_setting('kept.readings')::bigint, 'and nothing read again');
COMMIT;
ALTER DOMAIN share ADD CHECK (VALUE < 15);
SELECT is(tried('INSERT INTO narrow VALUES (3, ''proposal'', 100, 5)'), 'value for domain share violates check constraint "share_check1"', 'a domain that is stricter');
ALTER DOMAIN share DROP CONSTRAINT share_check1;
SELECT is(tried('INSERT INTO narrow VALUES (3, ''proposal'', 100, 5)'), 'ok', 'and not any more');
-- a trigger of somebody else's under our name
CREATE TABLE theirs (id int, stage text);
CREATE TRIGGER zz_salesops_criteria BEFORE INSERT ON theirs FOR EACH ROW WHEN (true) EXECUTE FUNCTION salesops.check_stage_criteria();
SELECT is(tried('INSERT INTO theirs VALUES (1, ''proposal'')'), 'salesops does not know which column of public.theirs holds the stage', 'is called as they say');
-- partitions, by their own numbers of columns and by the root's criteria
CREATE TABLE parted (id int, stage text, amount numeric, parts int) PARTITION BY RANGE (id);
CREATE TABLE parted_a (parts int, amount numeric, stage text, id int);
ALTER TABLE parted ATTACH PARTITION parted_a FOR VALUES FROM (0) TO (1000);
SELECT salesops.add_criterion('parted', 'proposal', 'share', 'amount / parts > 10');
SELECT salesops.enforce_stage_criteria('parted');
SELECT is(tried('INSERT INTO parted VALUES (1, ''proposal'', 100, 5)'), 'ok', 'a partition');
SELECT salesops.replace_criterion('parted', 'share', 'amount / parts > 30');
SELECT alike(tried('INSERT INTO parted VALUES (2, ''proposal'', 100, 5)'), 'share: %', 'goes by its root''s criteria');
SELECT alike(tried('INSERT INTO parted_a (id, stage, amount, parts) VALUES (2, ''proposal'', 100, 5)'), 'share: %', 'by either name');
-- what there is to keep is bounded
SET client_min_messages = error;
DO $$
BEGIN
  FOR i IN 1 .. 80 LOOP
    EXECUTE format('CREATE TABLE many_%s (id int, stage text, amount numeric, parts int)', i);
    PERFORM salesops.add_criterion(format('many_%s', i)::regclass, 'proposal', 'share', 'amount / parts > 10'), salesops.enforce_stage_criteria(format('many_%s', i)::regclass);
  END LOOP;
  FOR i IN 1 .. 80 LOOP
    EXECUTE format('INSERT INTO many_%s VALUES (1, ''proposal'', 100, 5)', i);
  END LOOP;
END $$;
SELECT is(count(*), 100::bigint, 'at most 100') FROM pg_backend_memory_contexts WHERE name IN ('salesops stage criteria', 'salesops criteria condition');
SELECT * FROM finish();
DROP TABLE deal, parted, phased, simple, narrow, theirs;
DROP FUNCTION enough(numeric);
DROP ROLE pipeline_kept_writer;
