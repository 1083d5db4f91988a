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
