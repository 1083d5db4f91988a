-- One record against a relation: find_matches, index_matcher, guards that reject, warn and record.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS salesops CASCADE;
CREATE EXTENSION salesops;
RESET client_min_messages;
\set SHOW_CONTEXT never
CREATE SCHEMA match_guard;
SET search_path = match_guard;
CREATE TABLE people (id integer PRIMARY KEY, first_name text, last_name text, born date, email text, extra jsonb);
INSERT INTO people SELECT i, initcap(translate(substr(md5(i::text), 1, 5), '0123456789', 'aeioulmnrs')), initcap(translate(substr(md5((i * 31)::text), 1, 8), '0123456789', 'aeioulmnrs')),
   date '1950-01-01' + (i * 37) % 18000, md5(i::text) || '@example.com' FROM generate_series(1, 400) i;
INSERT INTO people SELECT 1000 + id, first_name, last_name || 'e', CASE WHEN id % 3 > 0 THEN born END, email FROM people WHERE id % 4 = 0;
INSERT INTO people VALUES (7000, 'Anna', 'Smith', '1980-05-17', 'anna.smith@example.com', NULL);
SELECT salesops.create_matcher('people', 'people', 'id');
SELECT salesops.guard_duplicates('people', 'people');
SELECT * FROM salesops.find_matches('people', (SELECT p FROM people p WHERE id = 7000));
SELECT count(*) > 10 AS trained FROM salesops.train_matcher('people');

-- any row with columns of these names; others are unknown, and what it does not have too
SELECT key, probability > 0.95 AS sure FROM salesops.find_matches('people', (SELECT x FROM (SELECT 'ANNA' AS first_name, 'Smyth' AS last_name, date '1980-05-17' AS born, 1 AS other) x));
SELECT key, probability > 0.95 AS sure FROM salesops.find_matches('people', ROW(NULL::integer, 'Anna', 'Smith', NULL::date, 'anna.smith@example.com', NULL::jsonb)::people);
SELECT count(*) FROM salesops.find_matches('people', (SELECT x FROM (SELECT NULL::text AS first_name) x));
SELECT * FROM salesops.find_matches('people', (SELECT x FROM (SELECT 'soon' AS born) x));
SELECT * FROM salesops.find_matches('people', (SELECT x FROM (SELECT 'a' AS email) x), 2);
-- the same answers as the batch
SELECT count(*) AS missed FROM salesops.find_duplicates('people') d
 WHERE NOT EXISTS (SELECT FROM people p, salesops.find_matches('people', p) m WHERE p.id::text = d.left_key AND m.key = d.right_key AND abs(m.weight - d.weight) < 1e-9);
-- indexes: made once, used
SELECT created, count(*) FROM salesops.index_matcher('people') GROUP BY 1;
SELECT created, count(*) FROM salesops.index_matcher('people') GROUP BY 1;
SELECT key FROM salesops.find_matches('people', (SELECT p FROM people p WHERE id = 7000));
SELECT salesops.create_matcher('mutable', 'people', 'id', '[{"column": "email"}]', ARRAY['born::text', 'email']);
SELECT rule, created FROM salesops.index_matcher('mutable');

-- ---- what people decided holds for look-ups of a row that is there ---------------------------------------------------------
SELECT key FROM salesops.find_matches('people', (SELECT p FROM people p WHERE id = 4)) ORDER BY 1;
SELECT salesops.reject_match('people', '1004', '4');
SELECT key FROM salesops.find_matches('people', (SELECT p FROM people p WHERE id = 4)) ORDER BY 1;
SELECT key FROM salesops.find_matches('people', (SELECT p FROM people p WHERE id = 1004)) ORDER BY 1;
-- a candidate without the key is nobody yet: the decision is not about it
SELECT key FROM salesops.find_matches('people', (SELECT x FROM (SELECT first_name, last_name, born, email FROM people WHERE id = 4) x)) ORDER BY 1;
-- confirmed ones come first, though nothing makes them candidates
SELECT salesops.confirm_match('people', '4', '9');
SELECT key, probability = 1 AS sure FROM salesops.find_matches('people', (SELECT p FROM people p WHERE id = 4), 0.99);
SELECT key FROM salesops.find_matches('people', (SELECT p FROM people p WHERE id = 9));
SELECT key FROM salesops.find_matches('people', (SELECT x FROM (SELECT 4 AS id) x));
SELECT salesops.withdraw_decision('people', '4', '9'), salesops.withdraw_decision('people', '4', '1004');
SELECT key FROM salesops.find_matches('people', (SELECT p FROM people p WHERE id = 4)) ORDER BY 1;

-- ---- the session keeps a matcher compiled, but not past a change ------------------------------------------------------------
CREATE TABLE kept (id integer PRIMARY KEY, name text, code text);
INSERT INTO kept SELECT i, 'name ' || md5((i / 2)::text), 'c' || i / 2 FROM generate_series(1, 200) i;
SELECT salesops.create_matcher('kept', 'kept', 'id', '[{"column": "name"}, {"column": "code"}]', '{name}');
SELECT count(*) FROM salesops.train_matcher('kept');
SELECT key FROM salesops.find_matches('kept', (SELECT k FROM kept k WHERE id = 8)) ORDER BY 1;
ALTER TABLE kept RENAME COLUMN name TO title;
SELECT key FROM salesops.find_matches('kept', (SELECT k FROM kept k WHERE id = 8)) ORDER BY 1;
BEGIN;
ALTER TABLE kept RENAME COLUMN title TO name;
SELECT key FROM salesops.find_matches('kept', (SELECT k FROM kept k WHERE id = 8)) ORDER BY 1;
ROLLBACK;
SELECT key FROM salesops.find_matches('kept', (SELECT k FROM kept k WHERE id = 8)) ORDER BY 1;
ALTER TABLE kept RENAME COLUMN title TO name;
SELECT salesops.drop_matcher('kept');
SELECT salesops.create_matcher('kept', 'kept', 'id', '[{"column": "code"}]', '{code}');
SELECT key FROM salesops.find_matches('kept', (SELECT k FROM kept k WHERE id = 8)) ORDER BY 1;
SELECT count(*) FROM salesops.train_matcher('kept');
UPDATE kept SET code = 'same' WHERE id IN (8, 90);
SELECT key FROM salesops.find_matches('kept', (SELECT k FROM kept k WHERE id = 8), 0) ORDER BY 1;
ALTER TABLE kept RENAME TO kept_on;
ALTER SCHEMA match_guard RENAME TO match_guarded;
SELECT key FROM salesops.find_matches('kept', (SELECT k FROM match_guarded.kept_on k WHERE id = 8), 0) ORDER BY 1;
ALTER SCHEMA match_guarded RENAME TO match_guard;

-- ---- a look-up compares 20,000 rows at most, and says so only where there are more ------------------------------------------
CREATE TABLE crowd AS SELECT i AS id, 'all' AS block, 'n' || i / 2 AS name FROM generate_series(1, 20000) i;
ALTER TABLE crowd ADD PRIMARY KEY (id);
SELECT salesops.create_matcher('crowd', 'crowd', 'id', '[{"column": "name"}]', '{block,name}', '{"max_block": 1000}');
SET client_min_messages = error;
SELECT count(*) FROM salesops.train_matcher('crowd');
RESET client_min_messages;
SELECT count(*) FROM salesops.find_matches('crowd', (SELECT c FROM crowd c WHERE id = 8), 0);
INSERT INTO crowd VALUES (20001, 'all', 'last');
SELECT count(*) FROM salesops.find_matches('crowd', (SELECT c FROM crowd c WHERE id = 8), 0);
SELECT salesops.drop_matcher('crowd'), salesops.drop_matcher('kept');

-- ---- guards ---------------------------------------------------------------------------------------------------------------
SELECT salesops.guard_duplicates('people', 'people', 'refuse');
SELECT salesops.guard_duplicates('people', 'nobody');
SELECT salesops.guard_duplicates('people', 'mutable');
CREATE TABLE others (id integer PRIMARY KEY);
SELECT salesops.guard_duplicates('others', 'people');
CREATE VIEW people_view AS SELECT * FROM people;
SELECT salesops.guard_duplicates('people_view', 'people');

SELECT salesops.guard_duplicates('people', 'people', 'reject');
\set VERBOSITY verbose
\set VERBOSITY default
INSERT INTO people VALUES (7001, 'Anna', 'Smith', '1980-05-17', 'anna.smith@example.com');
DO $$BEGIN INSERT INTO match_guard.people VALUES (7001, 'Anna', 'Smith', '1980-05-17', 'anna.smith@example.com');
  EXCEPTION WHEN unique_violation THEN RAISE NOTICE 'SQLSTATE %', SQLSTATE; END$$;
-- two of one statement are each other's duplicates; a row of gaps matches nobody
INSERT INTO people VALUES (7002, 'Zeno', 'Quast', '1911-11-11', 'zq@example.com'), (7003, 'Zeno', 'Quast', '1911-11-11', 'zq@example.com');
INSERT INTO people (id) VALUES (7004);
SELECT id FROM people WHERE id > 7000;
-- those who may not read are not told whom
CREATE ROLE match_guard_writer;
GRANT USAGE ON SCHEMA match_guard TO match_guard_writer;
GRANT INSERT ON people TO match_guard_writer;
SET ROLE match_guard_writer;
INSERT INTO match_guard.people VALUES (7001, 'Anna', 'Smith', '1980-05-17', 'anna.smith@example.com');
SELECT salesops.guard_duplicates('match_guard.people', 'people');
RESET ROLE;
SELECT salesops.guard_duplicates('people', 'people', 'warn');
INSERT INTO people VALUES (7001, 'Anna', 'Smith', '1980-05-17', 'anna.smith@example.com');
SELECT salesops.guard_duplicates('people', 'people', 'record');
INSERT INTO people VALUES (7005, 'Anna', 'Smith', '1980-05-17', 'anna.smith@example.com');
SELECT left_key, right_key, probability > 0.95 AS sure FROM salesops.duplicate_finding ORDER BY 2;
-- a row that comes back after it was told apart by hand is let in
SELECT salesops.guard_duplicates('people', 'people', 'reject');
SELECT count(salesops.reject_match('people', '7005', id::text)) FROM people WHERE id IN (7000, 7001);
DELETE FROM people WHERE id = 7005;
INSERT INTO people VALUES (7005, 'Anna', 'Smith', '1980-05-17', 'anna.smith@example.com');
SELECT salesops.guard_duplicates('people', 'people', 'record');
-- one guard a matcher, whatever was asked before; a matcher that has gone stops nothing
SELECT count(*) FROM pg_trigger WHERE tgrelid = 'people'::regclass;
SELECT salesops.drop_matcher('people');
INSERT INTO people VALUES (7006, 'Anna', 'Smith', '1980-05-17', 'anna.smith@example.com');
SELECT salesops.release_duplicates('people'), salesops.release_duplicates('people'), salesops.release_duplicates('people', 'people');
INSERT INTO people VALUES (7007, 'Anna', 'Smith', '1980-05-17', 'anna.smith@example.com');

SET client_min_messages = warning;
DROP SCHEMA match_guard CASCADE;
DROP EXTENSION salesops CASCADE;
DROP ROLE match_guard_writer;
