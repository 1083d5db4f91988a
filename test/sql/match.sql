-- Record linkage: definitions and what is wrong with them, training, finding, explaining, evaluating.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS salesops CASCADE;
CREATE EXTENSION salesops;
RESET client_min_messages;
\set SHOW_CONTEXT never
CREATE SCHEMA match_test;
SET search_path = match_test;

-- 600 people, every third of them entered twice, the copy with gaps and slips
CREATE TABLE people (id integer PRIMARY KEY, person integer, first_name text, last_name text, born date, city text, phone text, note jsonb);
INSERT INTO people
  SELECT i * 2, i, (ARRAY['Anna','Berta','Carla','Dora','Emil','Fritz','Gustav','Hans','Ida','Jakob'])[1 + i * 7 % 10],
         initcap(translate(substr(md5(i::text), 1, 7), '0123456789', 'ghijklmnop')), date '1950-01-01' + (i * 37) % 18000,
         'City ' || i % 17, '+49 170 ' || lpad((i * 7919 % 1000000)::text, 7, '0')
    FROM generate_series(1, 600) i;
INSERT INTO people
  SELECT id + 1, person, upper(first_name), CASE WHEN person % 2 = 0 THEN last_name ELSE last_name || 'n' END,
         CASE WHEN person % 5 > 0 THEN born END, CASE WHEN person % 4 > 0 THEN city END, replace(phone, ' ', '-')
    FROM people WHERE person % 3 = 0;

-- ---- mistakes are told all at once, and nothing is kept ---------------------------------------------------------------
SELECT salesops.create_matcher('p', 'people', 'id', '[{"column": "first_name", "method": "soundex"}, {"method": "exact"}, {"column": "x", "expression": "y", "treshold": 1},
  {"column": "born", "method": "numeric_difference"}, {"column": "phone", "method": "levenshtein", "thresholds": [0.9, 2]}, {"column": "city", "thresholds": [0.5]},
  {"column": "city", "method": "ngram", "thresholds": [1.5]}]', NULL, '{"max_block": 0, "right_key": "x", "one_to_one": true}');
SELECT salesops.create_matcher('p', 'people', 'nothing');
SELECT salesops.create_matcher('p', 'people', 'id', '[{"column": "surname"}]');
SELECT salesops.create_matcher('p', 'people', 'id', '{"column": "surname"}');
SELECT salesops.create_matcher('p', 'people', 'id', '[]', '{}');
SELECT salesops.create_matcher('p', 'people', 'id', '[{"expression": "first_name; DROP TABLE people"}]');
SELECT salesops.create_matcher('p', 'people', 'id', '[{"expression": "first_name || random()"}]');
SELECT salesops.create_matcher('p', 'people', 'id', '[{"expression": "ARRAY[first_name]"}]');
SELECT salesops.create_matcher('p', 'people', 'id', NULL, '{NULL}');
SELECT salesops.create_matcher('p', 'people', 'id', NULL, NULL, '{"right_relation": "nowhere"}');
SELECT salesops.create_matcher(NULL, 'people', 'id');
SELECT salesops.create_matcher('p', 0::regclass, 'id');
SELECT * FROM salesops.train_matcher('p');
SELECT * FROM salesops.find_duplicates('p');
SELECT count(*) FROM salesops.matcher;

-- ---- defaults from content --------------------------------------------------------------------------------------------
SELECT salesops.create_matcher('p', 'people', 'id', options => '{"exclude": ["person"]}');
SELECT salesops.create_matcher('p', 'people', 'id');
SELECT c->>'name' AS name, c->>'expression' AS expression, c->>'method' AS method, c->'thresholds' AS thresholds
  FROM salesops.matcher, jsonb_array_elements(comparisons) c;
SELECT * FROM salesops.find_duplicates('p');
SELECT comparison, count(*) AS levels, round(sum(m)::numeric, 6) AS m, round(sum(u)::numeric, 6) AS u FROM salesops.train_matcher('p') GROUP BY 1 ORDER BY 1;
SELECT training->'records' AS records, training->'converged' AS converged, (training->>'expected_matches')::float8 BETWEEN 180 AND 220 AS expected
  FROM salesops.matcher;
SELECT pairs, true_positive, "precision" > 0.99 AS precise, recall > 0.95 AS complete
  FROM salesops.evaluate_matcher('p', 'SELECT id, person AS cluster FROM people');
SELECT "precision" > 0.99 AS precise, recall > 0.98 AS complete
  FROM salesops.evaluate_matcher('p', 'SELECT id, person AS cluster FROM people', 0.5, 'clusters');
-- the same truth as pairs, as clusters by content, and errors
SELECT a = b AS same FROM salesops.evaluate_matcher('p', 'SELECT a.id AS left_key, b.id AS right_key FROM people a JOIN people b USING (person) WHERE a.id <> b.id') a,
  salesops.evaluate_matcher('p', 'SELECT id, ''x'' || person FROM people') b;
SELECT * FROM salesops.evaluate_matcher('p', 'SELECT 1');
SELECT * FROM salesops.evaluate_matcher('p', 'DELETE FROM people');
SELECT * FROM salesops.evaluate_matcher('p', 'SELECT id, NULL::text AS cluster FROM people');
SELECT * FROM salesops.evaluate_matcher('p', 'SELECT id, 1 AS cluster FROM people UNION ALL SELECT 2, 2');
SELECT * FROM salesops.evaluate_matcher('p', 'SELECT id, person FROM people', 1.5);
SELECT * FROM salesops.evaluate_matcher('p', 'SELECT id, person FROM people', 0.9, 'triples');
SELECT pairs > 0 AS found, recall FROM salesops.evaluate_matcher('p', 'SELECT ''nobody'' AS key, 1 AS cluster');

-- ---- the weights of an explanation add up to the pair's weight -----------------------------------------------------------
SELECT count(*) AS pairs, bool_and(abs(d.weight - e.weight) < 0.001) AS add_up
  FROM (SELECT * FROM salesops.find_duplicates('p') LIMIT 5) d,
       LATERAL (SELECT sum(x.weight) AS weight FROM salesops.explain_match('p', d.left_key, d.right_key) x) e;
SELECT comparison, left_value, right_value, level, sign(weight) FROM salesops.explain_match('p', '6', '7');
SELECT * FROM salesops.explain_match('p', '6', 'x');
SELECT count(*) > 150 AS groups, max(n) AS largest FROM (SELECT cluster_id, count(*) AS n FROM salesops.find_clusters('p') GROUP BY 1) c;
-- deterministic, and independent of the order on disk
CREATE TABLE before AS SELECT * FROM salesops.find_duplicates('p');
SELECT md5(model::text) AS model INTO model_before FROM salesops.matcher;
CREATE TABLE shuffled AS SELECT * FROM people ORDER BY md5(id::text);
TRUNCATE people;
INSERT INTO people SELECT * FROM shuffled;
SELECT count(*) FROM (SELECT * FROM before EXCEPT SELECT * FROM salesops.find_duplicates('p')) x;
SELECT count(*) AS rows FROM salesops.train_matcher('p');
SELECT md5(model::text) = (SELECT model FROM model_before) AS same_model FROM salesops.matcher;

-- ---- a definition given by hand: every method, an array as blocking, two columns ------------------------------------------
SELECT salesops.create_matcher('hand', 'people', 'id', '[
  {"column": "first_name", "method": "jaro_winkler", "thresholds": [0.88, 0.95], "term_frequency": true},
  {"expression": "lower(last_name)", "name": "last", "method": "levenshtein", "thresholds": [2, 1]},
  {"column": "born", "method": "date_difference"}, {"column": "city", "method": "ngram", "thresholds": [0.5]},
  {"column": "person", "method": "numeric_difference", "thresholds": [0.5, 5]}, {"column": "phone", "method": "token_set"},
  {"expression": "extract(year FROM born)", "name": "year"}]',
  ARRAY['lower(last_name)', 'born', 'regexp_split_to_array(phone, ''[ -]'')', 'left(phone, 3) || left(lower(last_name), 3)'], '{"max_block": 100}');
SELECT comparison, count(*) FROM salesops.train_matcher('hand') GROUP BY 1 ORDER BY 1;
SELECT recall > 0.9 AS complete, "precision" > 0.95 AS precise FROM salesops.evaluate_matcher('hand', 'SELECT id, person AS cluster FROM people');

-- ---- bad input ------------------------------------------------------------------------------------------------------------
-- a key that puts everything in one block is reported, and the others still work
SELECT salesops.create_matcher('wide', 'people', 'id', '[{"column": "last_name"}, {"column": "phone"}, {"column": "born"}]', ARRAY['''all''::text', 'last_name'], '{"max_block": 300}');
SELECT count(*) FROM salesops.train_matcher('wide');
SELECT count(*) > 50 AS found FROM salesops.find_duplicates('wide', 0.5);
-- a key that is not unique, a NULL key
SELECT salesops.create_matcher('twice', 'people', 'person', '[{"column": "last_name"}]', ARRAY['last_name']);
SELECT * FROM salesops.train_matcher('twice');
CREATE TABLE loose (k text, name text);
INSERT INTO loose SELECT NULLIF(i, 5)::text, 'n' || i / 2 FROM generate_series(1, 40) i;
SELECT salesops.create_matcher('loose', 'loose', 'k', '[{"column": "name"}]', '{name}');
SELECT * FROM salesops.train_matcher('loose');
-- no rows, a few rows, only keys and constants
CREATE TABLE nobody (id integer PRIMARY KEY, name text, kind text);
SELECT salesops.create_matcher('nobody', 'nobody', 'id');
SELECT * FROM salesops.train_matcher('nobody');
INSERT INTO nobody SELECT i, NULL, 'same' FROM generate_series(1, 20) i;
SELECT * FROM salesops.train_matcher('nobody');
-- a megabyte, empty and blank strings
INSERT INTO loose VALUES ('long1', repeat('x', 1000000)), ('long2', repeat('x', 1000000)), ('long3', repeat('x', 999999) || 'y'), ('e1', ''), ('e2', ''), ('b1', '  '), ('b2', '  ');
DELETE FROM loose WHERE k IS NULL;
SELECT salesops.drop_matcher('loose');
SELECT salesops.create_matcher('loose', 'loose', 'k', '[{"column": "name", "method": "jaro_winkler"}, {"expression": "left(name, 3)", "name": "start"}]', '{name,"left(name, 3)"}');
SET client_min_messages = warning;
SELECT count(*) FROM salesops.train_matcher('loose');
RESET client_min_messages;
SELECT left_key, right_key FROM salesops.find_duplicates('loose', 0) WHERE left_key ~ '^[leb]' ORDER BY 1, 2;
SELECT level FROM salesops.explain_match('loose', 'e1', 'e2');
-- a dropped column, a dropped table
ALTER TABLE people DROP COLUMN city;
SELECT * FROM salesops.find_duplicates('p');
-- ICU collations that are not deterministic compare by bytes here
CREATE COLLATION match_test.ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE collated AS SELECT id, first_name COLLATE match_test.ci AS first_name, last_name COLLATE match_test.ci AS last_name, phone FROM people;
ALTER TABLE collated ADD PRIMARY KEY (id);
SELECT salesops.create_matcher('collated', 'collated', 'id', NULL, ARRAY['last_name', 'phone', 'left(last_name, 2)']);
SELECT count(*) > 0 FROM salesops.train_matcher('collated');
DROP TABLE people;
SELECT matcher FROM salesops.matcher ORDER BY 1;
SELECT salesops.drop_matcher('nobody'), salesops.drop_matcher('nobody');
SELECT count(*) FROM salesops.matcher_term WHERE matcher NOT IN (SELECT matcher FROM salesops.matcher);

-- ---- normalisation --------------------------------------------------------------------------------------------------------
SELECT salesops.match_fold(E'  Jos\u00c9   \t M\u00dcLLER '), salesops.match_fold('   ') IS NULL, salesops.match_code('+49 (170) 12-AB'), salesops.match_words('{"a bc de-f", NULL, "gh"}');
SET DateStyle = 'German';
SELECT salesops.match_date(date '2026-03-01'), salesops.match_date(timestamptz '2026-03-01 01:00+02'), salesops.match_date(date 'infinity');
RESET DateStyle;

SET client_min_messages = warning;
DROP SCHEMA match_test CASCADE;
DROP EXTENSION salesops;
