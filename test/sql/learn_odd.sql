-- odd data through train, predict, batch and explain: types, wide and many-valued tables, queries as people write them
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS salesops CASCADE;
CREATE EXTENSION salesops;
CREATE EXTENSION IF NOT EXISTS citext;
CREATE SCHEMA odd;
SET search_path = odd, public;
RESET client_min_messages;
CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
CREATE DOMAIN address AS text;
CREATE DOMAIN labels AS text[];
CREATE DOMAIN answer AS boolean;
CREATE TYPE warmth AS ENUM ('cold', 'warm', 'hot');
CREATE TABLE deal (id integer, code bigint GENERATED ALWAYS AS (id * 2) STORED, n positive, w warmth, c citext, cs citext[], amount numeric,
  seen timestamp, made timestamptz, day date, at time, atz timetz, waited interval, mail address, tags labels, nm name, fixed char(5), one "char",
  guid uuid, net inet, price money, j jsonb, b bytea, f float8[], r int4range, won answer);
INSERT INTO deal (id, n, w, c, cs, amount, seen, made, day, at, atz, waited, mail, tags, nm, fixed, one, guid, net, price, j, b, f, r, won)
  SELECT i, 1 + i % 40, (ARRAY['cold', 'warm', 'hot'])[1 + i % 3]::warmth, (ARRAY['A', 'a', 'B', 'c'])[1 + i % 4], ARRAY[(ARRAY['P', 'p'])[1 + i % 2], 'q' || i % 5]::citext[],
         (i * 7919 % 1000) / 10.0, timestamp '2025-01-01' + i * interval '1 hour', timestamptz '2025-01-01 00:00+00' + (i * 7 % 4000) * interval '1 hour',
         date '2025-01-01' + i * 13 % 300, time '08:00' + (i * 17 % 600) * interval '1 minute', '08:00+02'::timetz + (i % 50) * interval '1 minute',
         (i * 11 % 40) * interval '1 day', 'x' || i % 5, ARRAY['p', 'q' || i % 3], 'nm' || i % 3, 'c' || i % 4, (ARRAY['a', 'b'])[1 + i % 2]::"char",
         md5((i % 3)::text)::uuid, ('10.0.0.' || i % 4)::inet, (i % 20)::money, '{}', '\x00', ARRAY[i % 4.0], int4range(i, i + 3),
         (i * 16807::bigint * 48271 % 2147483647 % 10007) / 10007.0 <
           0.1 + 0.3 * (i % 3 = 2)::int + 0.3 * ((i * 17 % 600) > 300)::int + 0.2 * (i % 4 < 2)::int FROM generate_series(1, 2000) i;

-- every type: what serves, and what does not and why; a generated column as key, a domain as label
SELECT method, left_out, features, leakage, roc_auc > 0.65 AS good FROM salesops.train_model('odd', 'TABLE deal', 'won', key => 'code');
SELECT count(*), count(*) FILTER (WHERE b.probability = salesops.predict('odd', d)) AS same
  FROM salesops.predict_batch('odd', 'TABLE deal', 'code') b JOIN deal d ON d.code::text = b.key;
SELECT feature, value FROM salesops.explain_prediction('odd', (SELECT d FROM deal d WHERE id = 7), 2);
-- citext: letters of either case are one level, for a row of text as well; text keeps them apart
SELECT version FROM salesops.train_model('cased', 'SELECT c, at, won FROM deal', 'won', 'logistic');
SELECT version FROM salesops.train_model('plain', 'SELECT c::text, at, won FROM deal', 'won', 'logistic');
SELECT name, term FROM salesops.model_coefficient WHERE name IN ('cased', 'plain') AND feature = 'c' ORDER BY 1, 2;
SELECT salesops.predict('cased', q) = salesops.predict('cased', r) AS folded, salesops.predict('plain', q) = salesops.predict('plain', r) AS plain
  FROM (SELECT 'a'::text AS c) q, (SELECT 'A'::text AS c) r;
-- a time of day says what it says
SELECT salesops.predict('cased', q) > salesops.predict('cased', r) AS later_is_better
  FROM (SELECT time '17:00' AS at) q, (SELECT time '09:00' AS at) r;

-- text that spells fractions or days is no key, however distinct; text that spells whole numbers is
SELECT features, left_out FROM salesops.train_model('spelled', $$SELECT id::text AS code, (id * 7919 % 100000 / 10.0 + 0.5)::text AS amount,
  to_char(date '2000-01-01' + id * 3, 'YYYY-MM-DD') AS day, (n % 5)::text AS visits, at, won FROM deal$$, 'won', 'logistic');

-- contributions add up to the log odds: within rounding in log odds, and to the very probability
SELECT v AS version, bool_and(abs(ln(p / (1 - p)) - s) < 1e-12) AS log_odds, bool_and(abs(p - 1 / (1 + exp(-s))) < 1e-15) AS probability
  FROM unnest(ARRAY['odd', 'cased', 'plain']) v, LATERAL (SELECT salesops.predict(v, d) AS p,
       (SELECT sum(contribution) FROM salesops.explain_prediction(v, d, 3)) AS s FROM deal d WHERE id <= 300) q GROUP BY v ORDER BY v;

-- queries as people write them
SELECT version FROM salesops.train_model('q', 'SELECT n, w, won FROM deal;', 'won', 'logistic', options => '{"fast": true}');
SELECT version FROM salesops.train_model('q', E'SELECT n, w, won FROM deal; -- the end\n', 'won', 'logistic', options => '{"fast": true}');
SELECT version FROM salesops.train_model('q', '/* all */ WITH d AS (TABLE deal) SELECT n, w, won FROM d ;; ', 'won', 'logistic', options => '{"fast": true}');
SELECT count(*) FROM salesops.predict_batch('q', 'SELECT * FROM deal -- all', 'id');
SELECT count(*) FROM salesops.predict_batch('q', 'SELECT * FROM deal WHERE false;', 'id');
SELECT * FROM salesops.evaluate_model('q', 'SELECT * FROM deal WHERE false', 'won');
SELECT salesops.train_model('q', ' -- nothing', 'won');
SELECT salesops.train_model('q', 'DELETE FROM deal RETURNING *', 'won');
SELECT salesops.train_model('q', 'WITH d AS (DELETE FROM deal RETURNING *) SELECT * FROM d', 'won');
SELECT * FROM salesops.predict_batch('q', 'SELECT * FROM deal FOR UPDATE', 'id');
SELECT * FROM salesops.predict_batch('q', 'SELECT n, w FROM deal', 'id');
SELECT * FROM salesops.explain_prediction('q', (SELECT d FROM deal d WHERE id = 7), 0);
SELECT * FROM salesops.explain_prediction('q', (SELECT d FROM deal d WHERE id = 7), -1);

-- values that are no numbers, wherever they come from
SELECT salesops.train_model('bad', 'SELECT CASE WHEN id = 5 THEN ''NaN'' ELSE amount END AS amount, won FROM deal', 'won');
SELECT salesops.train_model('bad', 'SELECT CASE WHEN id = 5 THEN ''-Infinity''::numeric ELSE amount END AS amount, won FROM deal', 'won');
SELECT salesops.train_model('bad', 'SELECT CASE WHEN id = 5 THEN ''infinity'' ELSE seen END AS seen, won FROM deal', 'won');
SELECT features FROM salesops.train_model('big', 'SELECT w, 1e300 * (n - 20) AS huge, 1e-310 * n AS tiny, won FROM deal', 'won');
SELECT salesops.predict('big', q) BETWEEN 0 AND 1 AS fine FROM (SELECT 1.7e308::float8 AS huge, -1.7e308::float8 AS tiny) q;

-- 60 numbers and a category: their terms pass the limit, and numbers give way, not the category
DO $$ BEGIN
  EXECUTE format('CREATE TABLE wide AS SELECT id, w, won, %s FROM deal', (SELECT string_agg(format('((id * %s::bigint) %% 97)::float8 AS c%s', 7919 + 2 * i, i), ', ')
    FROM generate_series(1, 60) i));
END $$;
SELECT notes[1], cardinality(features) AS features FROM salesops.train_model('wide', 'TABLE wide', 'won', 'logistic', 'id');
SELECT feature, term, coefficient IS NOT NULL AS coefficient, standard_error FROM salesops.model_coefficient WHERE name = 'wide' AND feature IN ('w', 'c1') ORDER BY 1, 2;
SELECT count(*), count(*) FILTER (WHERE b.probability = salesops.predict('wide', t)) AS same
  FROM salesops.predict_batch('wide', 'TABLE wide', 'id') b JOIN wide t ON t.id::text = b.key;

-- 10,000 categories: their encoding tells what single levels are too rare to tell; a card of them is not turned round
CREATE TABLE place AS SELECT i AS id, 'p' || i * 7919::bigint % 10007 AS place, i % 7 AS x, NULL::float8 AS p,
       (i * 16807::bigint * 48271 % 2147483647 % 10007) / 10007.0 < 0.2 + 0.5 * (i * 7919::bigint % 10007 % 3 = 0)::int AS y FROM generate_series(1, 30000) i;
SELECT features, roc_auc > 0.65 AS good FROM salesops.train_model('place', 'SELECT id, place, x, y FROM place', 'y', 'auto', 'id', '{"tuning_rows": 10000}');
SELECT notes FROM salesops.train_model('card', 'SELECT place, x, y FROM place', 'y', 'scorecard');
SELECT (details ->> 'slope')::float8 > 0 AS upright FROM salesops.model_version WHERE name = 'card';

-- a parallel scan predicts what a serial one does, and so does a batch
SET max_parallel_workers_per_gather = 2;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
EXPLAIN (COSTS OFF) SELECT id FROM place c WHERE salesops.predict('place', c) > 0.5;
CREATE TEMPORARY TABLE parallel AS SELECT id, salesops.predict('place', c) AS p FROM place c;
CREATE TEMPORARY TABLE batch AS SELECT * FROM salesops.predict_batch('place', 'SELECT id, place, x FROM place', 'id');
SET max_parallel_workers_per_gather = 0;
SELECT count(*) AS rows, count(*) FILTER (WHERE p.p = salesops.predict('place', c)) AS serial, count(*) FILTER (WHERE p.p = b.probability) AS batch
  FROM parallel p JOIN place c USING (id) JOIN batch b ON b.key = p.id::text;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;

-- in a trigger; the table changes under it
CREATE FUNCTION predicted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.p := salesops.predict('place', NEW); RETURN NEW; END $$;
CREATE TRIGGER predicted BEFORE INSERT OR UPDATE ON place FOR EACH ROW EXECUTE FUNCTION predicted();
INSERT INTO place (id, place, x) SELECT id + 100000, place, x FROM place WHERE id <= 1000;
SELECT count(*) FROM (SELECT * FROM place WHERE id > 100000) n JOIN parallel p ON p.id = n.id - 100000 WHERE n.p = p.p;
ALTER TABLE place DROP COLUMN x, ADD COLUMN later integer;
INSERT INTO place (id, place) VALUES (200001, 'p1') RETURNING p BETWEEN 0 AND 1 AS without;
ALTER TABLE place ADD COLUMN x text;
INSERT INTO place (id, place, x) VALUES (200002, 'p1', '3') RETURNING p = salesops.predict('place', (SELECT q FROM (SELECT 'p1' AS place, 3 AS x) q)) AS as_text;
INSERT INTO place (id, place, x) VALUES (200003, 'p1', 'three');
ALTER TABLE place ALTER COLUMN x TYPE timestamp USING now();
INSERT INTO place (id, place) VALUES (200004, 'p1');
SET client_min_messages = warning;
DROP SCHEMA odd CASCADE;
