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
SET LOCAL maintenance_work_mem = '1MB';
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
