-- A candidate of the relation's own type and the same columns as another row give the same matches, also after the type has changed in the
-- same session; guards on partitions, whose rows have types of their own, find what is there.
BEGIN;
SELECT no_plan();
SET LOCAL client_min_messages = error;
CREATE TABLE person (id int PRIMARY KEY, gone text, name text, email text, born date, tags text[]);
INSERT INTO person SELECT i, 'x', 'name' || i % 300, 'mail' || i % 290 || '@example.com', date '1960-01-01' + i % 280, ARRAY['t' || i % 300] FROM generate_series(1, 600) i;
SELECT salesops.create_matcher('person', 'person', 'id', '[{"column": "name", "method": "jaro_winkler"}, {"column": "email"}, {"column": "born", "method": "date_difference", "thresholds": [30]}]',
  '{email,name,tags}');
SELECT count(*) FROM salesops.train_matcher('person');
SELECT count(*) FROM salesops.index_matcher('person');

CREATE FUNCTION pg_temp.own(i int) RETURNS text LANGUAGE sql AS $$
  SELECT string_agg((m.key, m.weight)::text, ' ') FROM person p, LATERAL salesops.find_matches('person', p, 0.01) m WHERE p.id = i $$;
CREATE FUNCTION pg_temp.other(i int) RETURNS text LANGUAGE sql AS $$
  SELECT string_agg((m.key, m.weight)::text, ' ') FROM (SELECT p.*, 1 AS more FROM person p) r, LATERAL salesops.find_matches('person', r, 0.01) m WHERE r.id = i $$;
SELECT is(count(*) FILTER (WHERE pg_temp.own(i) = pg_temp.other(i)), 8::bigint, 'own rows and others') FROM generate_series(3, 80, 10) i;
SELECT cmp_ok(length(pg_temp.own(5)), '>', 10, 'there are matches');
-- the type changes: a column goes, another comes, one is made anew at another place
ALTER TABLE person DROP COLUMN gone, ADD COLUMN phone text, DROP COLUMN email;
ALTER TABLE person ADD COLUMN email text;
UPDATE person SET email = 'mail' || id % 290 || '@example.com';
SELECT is(count(*) FILTER (WHERE pg_temp.own(i) = pg_temp.other(i)), 8::bigint, 'after the type has changed') FROM generate_series(3, 80, 10) i;
SELECT cmp_ok(length(pg_temp.own(5)), '>', 10, 'there still are matches');
-- a decision and a new training count at once
SELECT salesops.reject_match('person', '5', '295');
SELECT unalike(pg_temp.own(5), '%(295,%', 'rejected');
SELECT salesops.withdraw_decision('person', '5', '295');
SELECT alike(pg_temp.own(5), '%(295,%', 'withdrawn');

CREATE TABLE parts (id int, name text, email text, region text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE parts_a PARTITION OF parts FOR VALUES IN ('a');
CREATE TABLE parts_b (region text, email text, gone int, name text, id int NOT NULL);
ALTER TABLE parts_b DROP COLUMN gone, ALTER COLUMN region SET NOT NULL;
ALTER TABLE parts ATTACH PARTITION parts_b FOR VALUES IN ('b');
INSERT INTO parts SELECT i, 'name' || i % 300, 'mail' || i % 290 || '@example.com', CASE WHEN i % 3 = 0 THEN 'a' ELSE 'b' END FROM generate_series(1, 600) i;
SELECT salesops.create_matcher('parts', 'parts', 'id', '[{"column": "name", "method": "jaro_winkler"}, {"column": "email"}]', '{email,name}');
SELECT count(*) FROM salesops.train_matcher('parts');
SELECT salesops.guard_duplicates('parts', 'parts', 'reject');
SELECT throws_ok(format('INSERT INTO parts SELECT 1001, name, email, %L FROM parts WHERE id = 7', r), '23505', NULL, 'guarded in partition ' || r) FROM unnest('{a,b}'::text[]) r;
SELECT lives_ok(format('INSERT INTO parts VALUES (%s, %L, %L, %L)', 1002 + ascii(r), 'somebody ' || r, 'else@' || r, r), 'others get in: ' || r) FROM unnest('{a,b}'::text[]) r;
SELECT * FROM finish();
ROLLBACK;
