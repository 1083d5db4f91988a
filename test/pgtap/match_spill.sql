-- Pairs and clusters through temporary files (maintenance_work_mem at its least) are those found in memory, to the last bit: rules of
-- keys, of combined and cut keys, of elements and of words, blocks left out, decisions, two relations.
BEGIN;
SELECT no_plan();
SET LOCAL client_min_messages = error;
SELECT setseed(0.5);
CREATE TABLE person AS
  SELECT i AS id, 'given' || (random() * 60)::int AS first, 'sur' || (random() * 300)::int || repeat('n', i % 4) AS last,
         'x' || (i % 1900) || '@mail.org' AS email, ((random() * 900)::int)::text AS postcode,
         CASE WHEN random() < 0.8 THEN (random() * 500)::int::text || ' High Street' END AS street
    FROM generate_series(1, 2300) i;
UPDATE person p SET first = o.first, last = o.last, postcode = o.postcode FROM person o WHERE p.id > 1900 AND o.id = p.id - 1900 AND p.id % 3 > 0;
ALTER TABLE person ADD PRIMARY KEY (id);
CREATE TABLE other_person AS SELECT id + 100000 AS id, first, last, email, postcode, street FROM person WHERE id % 2 = 0;
ALTER TABLE other_person ADD PRIMARY KEY (id);

SELECT salesops.create_matcher('one', 'person', 'id',
  '[{"column": "first", "method": "jaro_winkler", "thresholds": [0.95, 0.8], "term_frequency": true}, {"column": "last", "method": "jaro_winkler", "thresholds": [0.9]},
    {"column": "email", "term_frequency": true}, {"column": "street", "method": "ngram", "thresholds": [0.5]}, {"column": "postcode"}]',
  '{left(last\, 4) || first,email,postcode,"string_to_array(street || '' '' || last, '' '')"}', '{"max_block": 60}');
SELECT salesops.create_matcher('two', 'person', 'id', options => '{"right_relation": "other_person", "right_key": "id"}');
SELECT salesops.create_matcher('chosen', 'person', 'id');
SELECT ok(count(*) > 0, x || ' trains') FROM unnest('{one,two,chosen}'::text[]) x, salesops.train_matcher(x) GROUP BY x ORDER BY x;
SELECT salesops.confirm_match('one', '7', '1500'), salesops.reject_match('one', '1', '1901');

-- blocks of temporary files that a search writes
CREATE FUNCTION pg_temp.temporary_blocks(matcher text) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  plan json;
BEGIN
  EXECUTE format('EXPLAIN (ANALYZE, BUFFERS, FORMAT json) SELECT FROM salesops.find_duplicates(%L)', matcher) INTO plan;
  RETURN (plan->0->'Plan'->>'Temp Written Blocks')::int;
END
$$;
SET LOCAL maintenance_work_mem = '512MB';
SELECT is(pg_temp.temporary_blocks('one'), 0, 'enough memory: no temporary file');
CREATE TEMP TABLE in_memory AS SELECT x AS m, f.* FROM unnest('{one,two,chosen}'::text[]) x, salesops.find_duplicates(x, 0.001) WITH ORDINALITY f;
CREATE TEMP TABLE clusters_in_memory AS SELECT x AS m, f.* FROM unnest('{one,chosen}'::text[]) x, salesops.find_clusters(x) WITH ORDINALITY f;
-- a truth of pairs and one of clusters, with keys that are not there
CREATE TABLE truth_pairs AS SELECT CASE WHEN id % 50 = 3 THEN 'nobody' ELSE (id - 1900)::text END AS left_key, id::text AS right_key FROM person WHERE id > 1900;
CREATE TABLE truth_clusters AS SELECT id::text AS key, 'c' || CASE WHEN id > 1900 THEN id - 1900 ELSE id END AS cluster FROM person WHERE id % 7 > 0
  UNION ALL SELECT 'gone' || i, 'c' || i FROM generate_series(1, 20) i;
CREATE TABLE truth_two AS SELECT id::text AS left_key, (id + 100000)::text AS right_key FROM person WHERE id % 4 = 0;
CREATE FUNCTION pg_temp.evaluations() RETURNS TABLE (what text, e text) LANGUAGE sql AS $$
  SELECT t || ' ' || o || ' ' || p, salesops.evaluate_matcher('one', 'TABLE ' || t, p, o)::text
    FROM unnest('{truth_pairs,truth_clusters}'::text[]) t, unnest('{pairs,clusters}'::text[]) o, unnest('{0.2,0.95}'::float8[]) p
  UNION ALL SELECT 'two ' || o, salesops.evaluate_matcher('two', 'TABLE truth_two', 0.5, o)::text FROM unnest('{pairs,clusters}'::text[]) o
  UNION ALL SELECT 'by content', salesops.evaluate_matcher('one', 'SELECT left_key AS x, right_key AS y FROM truth_pairs')::text
$$;
CREATE TEMP TABLE evaluations_in_memory AS SELECT * FROM pg_temp.evaluations();
SELECT salesops.update_clusters('one');
SET LOCAL maintenance_work_mem = '1MB';
SELECT results_eq('SELECT * FROM pg_temp.evaluations()', 'TABLE evaluations_in_memory', 'evaluate_matcher');
SELECT cmp_ok((SELECT count(DISTINCT e) FROM evaluations_in_memory), '>=', 5::bigint, 'the evaluations tell something apart');
-- what the truth says, counted in SQL
SELECT is((SELECT e FROM evaluations_in_memory WHERE what = 'truth_pairs pairs 0.2'),
  (SELECT format('(%s,%s,%s,%s,%s,%s,%s)', n, h, n - h, t - h, h / n::float8, h / t::float8, 2 * h / (n + t)::float8)
     FROM (SELECT (SELECT count(*) FROM salesops.find_duplicates('one', 0.2)) AS n,
                  (SELECT count(*) FROM salesops.find_duplicates('one', 0.2) JOIN truth_pairs USING (left_key, right_key)) AS h,
                  (SELECT count(*) FROM truth_pairs WHERE left_key <> 'nobody') AS t) x), 'and it is right');
CREATE TEMP TABLE person_before AS TABLE person;
UPDATE person SET last = 'changed' || id, email = NULL, street = NULL, postcode = NULL WHERE id % 100 = 1 AND id <> 1;
SELECT ok(EXISTS (SELECT FROM salesops.update_clusters('one')), 'update_clusters through temporary files');
SELECT is((SELECT count(*) FROM (SELECT array_agg(key ORDER BY key) AS keys FROM salesops.match_cluster WHERE matcher = 'one' GROUP BY cluster_id) s
  FULL JOIN (SELECT array_agg(key ORDER BY key) AS keys FROM salesops.find_clusters('one') GROUP BY cluster_id) f USING (keys)
  WHERE s.keys IS NULL OR f.keys IS NULL), 0::bigint, 'has the groups of a full run');
SELECT is((SELECT state IS NULL FROM salesops.match_cluster_state WHERE matcher = 'one'), true, 'and leaves nothing to go by');
CREATE VIEW left_behind AS SELECT 'component' AS what, key, component AS value FROM salesops.match_component WHERE matcher = 'one'
  UNION ALL SELECT 'block ' || rule, key, count_again::text FROM salesops.match_block WHERE matcher = 'one';
CREATE TEMP TABLE left_by_files AS TABLE left_behind;
SELECT cmp_ok(count(DISTINCT what), '>', 1::bigint, 'but to refreshes: components that are cut, blocks that are too large') FROM left_by_files;
SET LOCAL maintenance_work_mem = '512MB';
DELETE FROM salesops.match_cluster_state WHERE matcher = 'one';
SELECT is((SELECT count(*) FROM salesops.update_clusters('one')), 0::bigint, 'in memory nothing changes');
SET LOCAL maintenance_work_mem = '1MB';
SELECT is((SELECT count(*) FROM (TABLE left_by_files EXCEPT ALL TABLE left_behind) x) + (SELECT count(*) FROM (TABLE left_behind EXCEPT ALL TABLE left_by_files) x), 0::bigint,
  'and as much is left to refreshes');
UPDATE person p SET last = b.last, email = b.email, street = b.street, postcode = b.postcode FROM person_before b WHERE b.id = p.id AND p.id % 100 = 1;
-- (what is chosen needs less, and PostgreSQL 17 keeps it in memory)
SELECT cmp_ok(pg_temp.temporary_blocks(x), '>', 50, x || ' goes through temporary files') FROM unnest('{one,two}'::text[]) x;
SELECT results_eq(format('SELECT %L::text, f.* FROM salesops.find_duplicates(%1$L, 0.001) WITH ORDINALITY f ORDER BY f.ordinality', m),
                  format('SELECT * FROM in_memory WHERE m = %L ORDER BY ordinality', m), m || ': pairs') FROM unnest('{one,two,chosen}'::text[]) m;
SELECT results_eq(format('SELECT %L::text, f.* FROM salesops.find_clusters(%1$L) WITH ORDINALITY f ORDER BY f.ordinality', m),
                  format('SELECT * FROM clusters_in_memory WHERE m = %L ORDER BY ordinality', m), m || ': clusters') FROM unnest('{one,chosen}'::text[]) m;
SELECT cmp_ok(count(*), '>', 150::bigint, m || ' had pairs to compare') FROM in_memory GROUP BY m ORDER BY m;
SELECT ok(EXISTS (SELECT FROM in_memory WHERE m = 'one' AND left_key = '7' AND right_key = '1500'), 'a confirmed pair comes');
SELECT ok(NOT EXISTS (SELECT FROM in_memory WHERE m = 'one' AND left_key = '1' AND right_key = '1901'), 'a rejected pair does not');
SELECT * FROM finish();
ROLLBACK;
