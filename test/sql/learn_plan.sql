-- predict over the rows of a table: the planner hands the columns over instead of the row, and the number is the same; where a row could
-- be NULL, or is no table's, it stays a row
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS salesops CASCADE;
CREATE EXTENSION salesops;
RESET client_min_messages;
CREATE SCHEMA learn_plan;
SET search_path = learn_plan;
CREATE TABLE deals (id int PRIMARY KEY, gone int, amount numeric, source text, tags text[], opened date, rate real, won boolean);
INSERT INTO deals
  SELECT i, i, CASE WHEN i % 9 > 0 THEN i * 37 % 1000 END, (ARRAY['web', 'event', 'partner'])[1 + i * 7 % 3], ARRAY[repeat('long', i % 3 * 1000), 'b' || i % 4],
         date '2026-01-01' + i % 100, i % 7, (i * 7 % 3 = 2) <> (i * 16807::bigint % 10 = 0)
    FROM generate_series(1, 600) i;
ALTER TABLE deals DROP COLUMN gone;
SELECT rows, method FROM salesops.train_model('deal', 'SELECT * FROM deals', 'won', 'auto', 'id', '{"include": ["source"]}');

-- how it is called
CREATE FUNCTION call_of(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
  FOR line IN EXECUTE 'EXPLAIN (VERBOSE, COSTS off) ' || query LOOP
    IF line ~ 'predict' THEN RETURN substring(line FROM 'predict\w*\(.*'); END IF;
  END LOOP;
END $$;
SELECT call_of('SELECT salesops.predict(''deal'', d) FROM deals d');
CREATE VIEW open_deals AS SELECT d.id, d.amount, d.source, d.rate FROM deals d WHERE d.id % 2 = 0;
SELECT call_of('SELECT salesops.predict(''deal'', d) FROM open_deals d');
SELECT call_of('SELECT salesops.predict(''deal'', q) FROM (SELECT * FROM deals OFFSET 0) q');
SELECT call_of('SELECT salesops.predict(''deal'', d) FROM generate_series(1, 2) g LEFT JOIN deals d ON d.id = g');
SELECT call_of('SELECT a.p FROM generate_series(1, 2) g LEFT JOIN (SELECT d.id, salesops.predict(''deal'', d) AS p FROM deals d) a ON a.id = g');
SELECT call_of('UPDATE deals SET rate = salesops.predict(''deal'', deals)');

-- the same numbers as of the row, the batch and the view's row
SELECT count(*), count(DISTINCT p) > 100, bool_and(p = r), bool_and(p = b.probability)
  FROM (SELECT d.id, salesops.predict('deal', d) AS p FROM deals d) d
  JOIN (SELECT q.id, salesops.predict('deal', q) AS r FROM (SELECT * FROM deals OFFSET 0) q) q USING (id)
  JOIN salesops.predict_batch('deal', 'SELECT * FROM deals', 'id') b ON b.key = d.id::text;
SELECT bool_and(v.p = r.p) FROM (SELECT d.id, salesops.predict('deal', d) AS p FROM open_deals d) v
  JOIN (SELECT q.id, salesops.predict('deal', q) AS p FROM (SELECT * FROM open_deals OFFSET 0) q) r USING (id);
-- (its name is another from PostgreSQL 16 on)
SELECT count(set_config(name, 'on', false)) FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query');
SELECT count(salesops.predict('deal', d)) FROM deals d;
SELECT count(set_config(name, 'off', false)) FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query');
-- no row is NULL, a row of NULLs is not
SELECT g, round(salesops.predict('deal', d)::numeric, 6) IS NULL AS none FROM generate_series(0, 1) g LEFT JOIN deals d ON d.id = g ORDER BY 1;
SELECT a.p IS NULL AS none FROM generate_series(0, 1) g LEFT JOIN (SELECT d.id, salesops.predict('deal', d) AS p FROM deals d) a ON a.id = g ORDER BY g;
SELECT salesops.predict(NULL, d) FROM deals d LIMIT 1;
CREATE TABLE empty_row (amount numeric, source text);
INSERT INTO empty_row DEFAULT VALUES;
SELECT salesops.predict('deal', e) = (SELECT salesops.predict('deal', q) FROM (SELECT * FROM empty_row OFFSET 0) q) AS same FROM empty_row e;

-- partitions, children, and a table that changes under a prepared statement
CREATE TABLE parts (rate real, source text, amount numeric, id int) PARTITION BY RANGE (id);
CREATE TABLE part_1 PARTITION OF parts FOR VALUES FROM (1) TO (300);
CREATE TABLE part_2 (id int NOT NULL, amount numeric, extra text, source text, rate real);
ALTER TABLE part_2 DROP COLUMN extra;
ALTER TABLE parts ATTACH PARTITION part_2 FOR VALUES FROM (300) TO (1000);
INSERT INTO parts SELECT rate, source, amount, id FROM deals;
SELECT count(*), bool_and(p.p = r.p) FROM (SELECT d.id, salesops.predict('deal', d) AS p FROM parts d) p
  JOIN (SELECT q.id, salesops.predict('deal', q) AS p FROM (SELECT id, rate, source, amount FROM deals OFFSET 0) q) r USING (id);
DROP VIEW open_deals;
PREPARE score AS SELECT round(sum(salesops.predict('deal', d))::numeric, 6) = (SELECT round(sum(probability)::numeric, 6)
  FROM salesops.predict_batch('deal', 'SELECT * FROM deals', 'id')) AS same FROM deals d;
SET plan_cache_mode = force_generic_plan;
EXECUTE score;
ALTER TABLE deals ADD COLUMN later text DEFAULT 'x';
EXECUTE score;
ALTER TABLE deals DROP COLUMN rate;
EXECUTE score;
ALTER TABLE deals ALTER COLUMN amount TYPE int;
EXECUTE score;
SELECT salesops.drop_model('deal', 1) AS dropped;
EXECUTE score;
SELECT rows FROM salesops.train_model('deal', 'SELECT * FROM deals', 'won', 'logistic', 'id', '{"fast": true}');
EXECUTE score;
RESET plan_cache_mode;

-- more columns than a call has arguments; a right taken away; called by hand
DO $$ BEGIN EXECUTE (SELECT 'CREATE TABLE broad AS SELECT d.*, ' || string_agg('1 AS c' || i, ', ') || ' FROM deals d' FROM generate_series(1, 100) i); END $$;
SELECT call_of('SELECT salesops.predict(''deal'', d) FROM broad d');
SELECT count(salesops.predict('deal', d)) FROM broad d;
CREATE VIEW open_deals AS SELECT d.id, d.amount, d.source FROM deals d;
CREATE ROLE learn_plan_reader;
SELECT salesops.grant_access('learn_plan_reader', 'reader');
GRANT USAGE ON SCHEMA learn_plan TO learn_plan_reader;
GRANT SELECT ON deals TO learn_plan_reader;
SET ROLE learn_plan_reader;
SELECT count(salesops.predict('deal', d)) FROM deals d;
RESET ROLE;
SELECT salesops.grant_model('deal', 'learn_plan_reader');
SET ROLE learn_plan_reader;
SELECT count(salesops.predict('deal', d)) FROM deals d;
RESET ROLE;
REVOKE EXECUTE ON FUNCTION salesops.predict(text, record) FROM learn_plan_reader;
SET ROLE learn_plan_reader;
SELECT count(salesops.predict('deal', d)) FROM deals d;
RESET ROLE;
SELECT salesops.predict_columns('deal', 'deals', 1, 'x');
SELECT salesops.predict_columns('deal', 'open_deals', 1, 2.0, 3);
SELECT salesops.predict_columns('deal', 'open_deals', VARIADIC ARRAY[1, 2, 3]);

SET client_min_messages = warning;
DROP EXTENSION salesops CASCADE;
DROP OWNED BY learn_plan_reader;
DROP ROLE learn_plan_reader;
DROP SCHEMA learn_plan CASCADE;
