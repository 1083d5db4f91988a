-- With parallel workers or without, whatever their number: the same pairs, clusters, models and evaluations, in the same order. Rows that are read
-- by what is not parallel safe are read without.
BEGIN;
SELECT no_plan();
SET LOCAL client_min_messages = error;
SET LOCAL min_parallel_table_scan_size = 0;
SELECT setseed(0.25);
CREATE TABLE person AS
  SELECT i AS id, 'given' || (random() * 400)::int AS first, 'sur' || (random() * 3000)::int || repeat('n', i % 4) AS last,
         CASE WHEN i % 11 > 0 THEN 'Straße ' || (random() * 9000)::int END AS street, 'x' || (i % 2100) || '@mail.org' AS email,
         lpad(((random() * 9e6)::int)::text, 8, '0') AS phone, ((random() * 900)::int)::text AS postcode
    FROM generate_series(1, 2600) i;
UPDATE person p SET first = o.first, last = o.last || 'e', postcode = o.postcode, phone = o.phone FROM person o WHERE p.id > 2100 AND o.id = p.id - 2100;
-- values longer than what is kept in flight, than a message, and than what is compared
UPDATE person SET street = repeat(street, 20) WHERE id % 97 = 0;
UPDATE person SET street = repeat(street, 9000) WHERE id IN (1500, 2400);
UPDATE person SET phone = NULL WHERE id < 900;
ALTER TABLE person ADD PRIMARY KEY (id);
CREATE TABLE other_person AS SELECT id + 100000 AS id, first, last, street, email, phone, postcode FROM person WHERE id % 2 = 0;
ALTER TABLE other_person ADD PRIMARY KEY (id);
SELECT salesops.create_matcher('one', 'person', 'id',
  '[{"column": "first", "method": "jaro_winkler", "thresholds": [0.95, 0.8], "term_frequency": true}, {"column": "last", "method": "jaro_winkler", "thresholds": [0.9]},
    {"column": "email", "term_frequency": true}, {"column": "street", "method": "ngram", "thresholds": [0.5]}, {"column": "phone"}]',
  '{left(last\, 4) || first,email,phone,"string_to_array(street || '' '' || last, '' '')",left(postcode\, 2) || phone}', '{"max_block": 60}');
SELECT salesops.create_matcher('two', 'person', 'id', '[{"column": "first", "method": "jaro_winkler"}, {"column": "last"}, {"column": "street"}, {"column": "phone"}]',
  '{phone,email,last || first}', '{"right_relation": "other_person", "right_key": "id"}');
SELECT salesops.create_matcher('chosen', 'person', 'id');

CREATE TEMP TABLE answer (workers int, what text, row text, number bigint);
CREATE FUNCTION pg_temp.ask(workers int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('max_parallel_workers_per_gather', workers::text, true);
  INSERT INTO answer
    SELECT workers, 'model of chosen', format('%s %s %s %s', f.comparison, f.level, f.m, f.u), f.ordinality FROM salesops.train_matcher('chosen') WITH ORDINALITY f;
  INSERT INTO answer
    SELECT workers, 'terms', (t.comparison, t.value_hash, t.frequency)::text, row_number() OVER (ORDER BY t.matcher, t.comparison, t.value_hash) FROM salesops.matcher_term t;
  INSERT INTO answer
    SELECT workers, 'pairs of ' || x, (f.left_key, f.right_key, f.weight, f.probability)::text, f.ordinality
      FROM unnest('{one,two,chosen}'::text[]) x, salesops.find_duplicates(x, 0.01) WITH ORDINALITY f;
  INSERT INTO answer
    SELECT workers, 'clusters of ' || x, (f.cluster_id, f.key)::text, f.ordinality FROM unnest('{one,two,chosen}'::text[]) x, salesops.find_clusters(x) WITH ORDINALITY f;
  INSERT INTO answer
    SELECT workers, 'evaluation', salesops.evaluate_matcher('one', 'SELECT (id - 2100)::text AS left_key, id::text AS right_key FROM person WHERE id > 2100', 0.5, o)::text, 1
      FROM unnest('{pairs,clusters}'::text[]) o;
END
$$;
SELECT count(*) FROM unnest('{one,two}'::text[]) x, salesops.train_matcher(x);
SELECT pg_temp.ask(workers) FROM unnest('{0,1,3}'::int[]) workers;
SELECT is((SELECT md5(string_agg(a.row, ',' ORDER BY a.number, a.row)) FROM answer a WHERE a.what = w.what AND a.workers = w.workers),
          (SELECT md5(string_agg(a.row, ',' ORDER BY a.number, a.row)) FROM answer a WHERE a.what = w.what AND a.workers = 0),
          format('%s: %s workers', w.what, w.workers))
  FROM (SELECT DISTINCT what, workers FROM answer WHERE workers > 0) w ORDER BY w.what, w.workers;
SELECT is((SELECT count(DISTINCT what) FROM answer), 9::bigint, 'all was asked');
-- workers that find that there is too much go, and temporary files are gone through
SET LOCAL max_parallel_workers_per_gather = 2;
SET LOCAL maintenance_work_mem = '1MB';
SELECT results_eq($$SELECT (f.left_key, f.right_key, f.weight, f.probability)::text FROM salesops.find_duplicates('one', 0.01) f$$,
  $$SELECT row FROM answer WHERE workers = 0 AND what = 'pairs of one' ORDER BY number$$, 'within little memory');
SET LOCAL maintenance_work_mem = '128MB';
SELECT cmp_ok(count(*), '>', 250::bigint, what || ': there was something to find') FROM answer WHERE workers = 0 AND what LIKE 'pairs%' GROUP BY what ORDER BY what;

-- what must not run beside workers is read without (match_workers.pl sees that elsewhere there are some)
SET LOCAL max_parallel_workers_per_gather = 2;
CREATE TABLE asked (n int);
CREATE FUNCTION noted(x text) RETURNS text LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE AS $$ BEGIN IF x LIKE '%99' THEN INSERT INTO public.asked VALUES (1); END IF; RETURN x; END $$;
CREATE VIEW noted_person AS SELECT id, noted(first) AS first, last, email FROM person;
SELECT salesops.create_matcher('noted', 'noted_person', 'id', '[{"column": "first"}, {"column": "last", "method": "jaro_winkler"}, {"column": "email"}]', '{email,last}');
SELECT lives_ok($$SELECT salesops.train_matcher('noted')$$, 'a view that calls what is parallel unsafe is read without workers');
SELECT cmp_ok((SELECT count(*) FROM asked), '>', 10::bigint, 'and it wrote');
SELECT * FROM finish();
ROLLBACK;
