-- Record linkage on input that is odd or wrong: NULL, empty, a megabyte, one block of everything, columns that have gone, collations
-- that are not deterministic, keys that are not unique. Each ends in a clear error or in what doc/match.md says.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS salesops CASCADE;
CREATE EXTENSION salesops;
RESET client_min_messages;
\set SHOW_CONTEXT never
CREATE SCHEMA match_odd;
SET search_path = match_odd;
CREATE TABLE people (id integer PRIMARY KEY, first_name text, last_name text, born date, email text);
INSERT INTO people SELECT i, initcap(translate(substr(md5(i::text), 1, 5), '0123456789', 'aeioulmnrs')),
    initcap(translate(substr(md5((i * 31)::text), 1, 8), '0123456789', 'aeioulmnrs')), date '1950-01-01' + (i * 37) % 18000,
    md5(i::text) || '@example.com' FROM generate_series(1, 400) i;
INSERT INTO people SELECT 1000 + id, first_name, last_name || 'e', born, email FROM people WHERE id % 4 = 0;
SELECT salesops.create_matcher('people', 'people', 'id');
SELECT count(*) > 10 AS trained FROM salesops.train_matcher('people');

-- ---- NULL: nothing is asked, nothing is done; what defines a matcher says what is missing -------------------------------
SELECT (SELECT count(*) FROM salesops.train_matcher(NULL)) AS train, (SELECT count(*) FROM salesops.find_duplicates(NULL)) AS duplicates,
       (SELECT count(*) FROM salesops.find_duplicates('people', NULL)) AS threshold, (SELECT count(*) FROM salesops.find_clusters(NULL)) AS clusters,
       (SELECT count(*) FROM salesops.find_matches('people', NULL)) AS record, (SELECT count(*) FROM salesops.find_matches('people', NULL::people)) AS typed,
       (SELECT count(*) FROM salesops.explain_match('people', NULL, '4')) AS explain, salesops.drop_matcher(NULL) IS NULL AS dropped;
SELECT salesops.create_matcher('x', NULL, 'id');
SELECT salesops.create_matcher('x', 'people', NULL);
SELECT salesops.create_matcher('x', 'people', 'id', '[null, {"column": null}]');
SELECT salesops.create_matcher('x', 'people', 'id', 'null');
SELECT salesops.guard_duplicates('people', 'people', NULL) IS NULL AS nothing;
SELECT count(*) AS guards FROM pg_trigger WHERE tgrelid = 'people'::regclass;

-- ---- empty -------------------------------------------------------------------------------------------------------------
SELECT salesops.create_matcher('', 'people', 'id');
SELECT salesops.create_matcher('x', 'people', '');
SELECT salesops.create_matcher('x', 'people', 'id', '[{"column": ""}]');
SELECT salesops.create_matcher('x', 'people', 'id', '[{"expression": ""}]');
SELECT salesops.create_matcher('x', 'people', 'id', NULL, '{""}');
SELECT * FROM salesops.find_duplicates('');
SELECT * FROM salesops.explain_match('people', '', '4');
SELECT * FROM salesops.evaluate_matcher('people', '');
SELECT salesops.confirm_match('people', '', '4');

-- ---- out of range -------------------------------------------------------------------------------------------------------
SELECT * FROM salesops.find_duplicates('people', 'NaN');
SELECT * FROM salesops.find_clusters('people', 2);

-- ---- a megabyte: in a name, and in rows whose keys are indexed and guarded ---------------------------------------------------
SELECT salesops.create_matcher(repeat('x', 1000000), 'people', 'id');
SELECT created, count(*) FROM salesops.index_matcher('people') GROUP BY 1;
SELECT salesops.guard_duplicates('people', 'people', 'reject');
\set long '(SELECT string_agg(md5(i::text), '''') FROM generate_series(1, 31250) i)'
INSERT INTO people VALUES (5000, repeat('a', 1000000), repeat('b', 1000000), NULL, repeat('c', 1000000));
INSERT INTO people VALUES (5001, :long, :long || 'x', NULL, :long);
INSERT INTO people VALUES (5002, :long, :long || 'x', NULL, :long);
-- the same beginning is not the same key
SELECT salesops.match_key(repeat('x', 1000000)) = salesops.match_key(repeat('x', 999999)) AS same, length(salesops.match_key(repeat('x', 1000000))) AS length,
       salesops.match_key(repeat('x', 512)) = repeat('x', 512) AS as_is, array_length(salesops.match_key(ARRAY['a', NULL, repeat('x', 513)]), 1) AS elements;
-- rows of gaps and blanks are nobody's duplicates
INSERT INTO people VALUES (5003, '', '', NULL, ''), (5004, ' ', E'\t', NULL, E'\n'), (5005, NULL, NULL, NULL, NULL);
SELECT id FROM people WHERE id >= 5000 ORDER BY 1;
SELECT left_key, right_key FROM salesops.find_duplicates('people', 0.01) WHERE right_key::integer >= 5000;
SELECT salesops.release_duplicates('people');

-- ---- one block of everything: reported, bounded ------------------------------------------------------------------------------
SELECT salesops.create_matcher('block', 'people', 'id', '[{"column": "first_name"}, {"column": "email"}]', ARRAY['''all''::text'], '{"max_block": 300}');
SELECT count(*) FROM salesops.train_matcher('block');
SELECT count(*) FROM salesops.find_duplicates('block', 0);

-- ---- a column that has gone: by each door -----------------------------------------------------------------------------------
SELECT salesops.create_matcher('named', 'people', 'id', '[{"column": "last_name"}, {"column": "email"}]', '{email,last_name}');
SELECT count(*) FROM salesops.train_matcher('named');
SELECT count(*) FROM salesops.index_matcher('named');
SELECT salesops.guard_duplicates('people', 'named', 'reject');
ALTER TABLE people DROP COLUMN last_name;
SELECT * FROM salesops.train_matcher('named');
SELECT * FROM salesops.find_duplicates('named');
SELECT * FROM salesops.find_clusters('named');
SELECT * FROM salesops.find_matches('named', (SELECT p FROM people p WHERE id = 4));
SELECT * FROM salesops.explain_match('named', '4', '1004');
SELECT * FROM salesops.evaluate_matcher('named', 'SELECT 1 AS key, 2 AS cluster');
SELECT * FROM salesops.index_matcher('named');
SELECT * FROM salesops.update_clusters('named');
\set SHOW_CONTEXT errors
INSERT INTO people VALUES (6000, 'Anna', NULL, 'a@example.com');
\set SHOW_CONTEXT never
SELECT salesops.release_duplicates('people'), salesops.drop_matcher('named');
-- what is chosen from the content is chosen again
SELECT * FROM salesops.find_duplicates('people');
SELECT count(*) > 10 AS trained FROM salesops.train_matcher('people');
SELECT count(*) FROM salesops.find_duplicates('people') WHERE right_key::integer < 5000;
-- the key itself
ALTER TABLE people DROP COLUMN id;
SELECT * FROM salesops.find_duplicates('people');
SELECT * FROM salesops.find_matches('people', (SELECT p FROM people p LIMIT 1));

-- ---- collations that are not deterministic make no two spellings equal, with and without indexes -------------------------------
CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE collated (id integer PRIMARY KEY, name text COLLATE ci, code text COLLATE ci);
INSERT INTO collated SELECT i, 'Name ' || i / 2, 'Code ' || i / 2 FROM generate_series(1, 200) i;
UPDATE collated SET name = upper(name), code = upper(code) WHERE id % 10 = 0;
SELECT count(*) FROM collated a JOIN collated b USING (name, code) WHERE a.id < b.id;
SELECT salesops.create_matcher('collated', 'collated', 'id', '[{"column": "name"}, {"column": "code"}]', ARRAY['name', 'code', 'ARRAY[code, name]']);
SELECT count(*) FROM salesops.train_matcher('collated');
SELECT count(*) FROM salesops.find_duplicates('collated', 0);
SELECT count(*) FROM collated c, salesops.find_matches('collated', c, 0) m WHERE m.key <> c.id::text;
SELECT count(*) FROM salesops.index_matcher('collated');
-- an index that is as young as this is not used while there are older transactions; then the plan costs so much that it would be compiled
SET enable_seqscan = off;
SET jit = off;
SELECT count(*) FROM collated c, salesops.find_matches('collated', c, 0) m WHERE m.key <> c.id::text;
RESET enable_seqscan;
RESET jit;
SELECT salesops.guard_duplicates('collated', 'collated', 'reject');
INSERT INTO collated VALUES (300, 'NAME 3', 'CODE 3');
INSERT INTO collated VALUES (301, 'Name 3', 'Code 3');

-- ---- a key that is not unique ------------------------------------------------------------------------------------------------
CREATE TABLE twice (k text, name text, code text);
INSERT INTO twice SELECT i::text, 'n' || i / 2, 'c' || i / 2 FROM generate_series(1, 200) i;
SELECT salesops.create_matcher('twice', 'twice', 'k', '[{"column": "name"}, {"column": "code"}]', '{name,code}');
SELECT count(*) FROM salesops.train_matcher('twice');
INSERT INTO twice VALUES ('7', 'n3', 'c3');
SELECT * FROM salesops.train_matcher('twice');
SELECT * FROM salesops.find_duplicates('twice');
SELECT * FROM salesops.find_clusters('twice');
SELECT * FROM salesops.update_clusters('twice');
SELECT * FROM salesops.evaluate_matcher('twice', 'SELECT k, name AS cluster FROM twice');
SELECT * FROM salesops.explain_match('twice', '6', '7');
-- a look-up reads only the rows that share a key with the candidate: each is told
SELECT key FROM salesops.find_matches('twice', (SELECT x FROM (SELECT 'n3' AS name, 'c3' AS code) x), 0) ORDER BY 1;

SET client_min_messages = warning;
DROP SCHEMA match_odd CASCADE;
DROP EXTENSION salesops CASCADE;
