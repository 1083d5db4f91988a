-- bad input of every sort through every method and every way to ask: clear errors, or documented behaviour; see also learn.sql and learn_odd.sql
BEGIN;
SET client_min_messages = warning;
SELECT no_plan();
CREATE TABLE deal AS
  SELECT i AS id, (i * 48271::bigint % 2147483647 % 1000) / 1000.0::float8 AS u, (ARRAY['x', 'y', 'z'])[1 + i * 31 % 3] AS kind, i * 7919 % 100 AS size,
         (i * 16807::bigint * 48271 % 2147483647 % 10007) / 10007.0 < 0.2 + 0.5 * (i * 31 % 3 = 0)::int AS won FROM generate_series(1, 600) i;

-- too little, by each method
SELECT throws_ok(format($$SELECT salesops.train_model('bad', 'SELECT u, kind, id = 2 AS won FROM deal LIMIT 3', 'won', %L)$$, m), '22023', 'too little data to train model "bad"', m || ': 3 rows')
  FROM unnest('{auto,logistic,boosted_trees,scorecard}'::text[]) m;
SELECT throws_ok(format($$SELECT salesops.train_model('bad', 'SELECT u, kind, %s AS won FROM deal', 'won', %L)$$, l, m), '22023',
                 'cannot train model "bad": the label "won" is the same in all rows', m || ': a label that is always ' || l)
  FROM unnest('{auto,logistic,boosted_trees,scorecard}'::text[]) m, unnest('{true,0}'::text[]) l;
SELECT throws_ok($$SELECT salesops.train_model('bad', 'SELECT u, NULL::boolean AS won FROM deal', 'won')$$, '22023', 'too little data to train model "bad"', 'a label that is never known');
SELECT throws_ok($$SELECT salesops.train_model('bad', 'SELECT u, won, id = 5 AS rare FROM deal', 'rare')$$, '22023', 'too little data to train model "bad"', 'one row of a class');
SELECT throws_ok($$SELECT salesops.train_model('bad', 'SELECT NULL::text AS a, NULL::int AS b, NULL::text[] AS c, NULL::date AS d, won FROM deal', 'won')$$, '22023',
                 'cannot train model "bad": no column is left to learn from', 'nothing but empty columns');
SELECT throws_ok($$SELECT salesops.train_model('bad', 'SELECT won, won AS again, NOT won AS opposite, won::int AS one, CASE WHEN won THEN ''w'' END AS filled FROM deal', 'won')$$, '22023',
                 'cannot train model "bad": no column is left to learn from', 'nothing but the label in other words');
SELECT throws_ok($$SELECT salesops.train_model('bad', 'SELECT won, u FROM deal', 'won', key => 'won')$$, '22023', 'the training query does not fit', 'the label as the key');
SELECT throws_ok($$SELECT salesops.train_model('bad', 'SELECT won, u FROM deal', 'won', options => '[1]')$$, '22023', NULL, 'options that are no object');
SELECT throws_ok($$SELECT salesops.train_model('bad', 'SELECT won, u FROM deal', 'won', options => '{"lambda": -1}')$$, '22023', NULL, 'an option out of its range');
SELECT throws_ok($$SELECT salesops.train_model('bad', 'SELECT won, u FROM deal', 'won', options => '{"exclude": ["u"]}')$$, '22023',
                 'cannot train model "bad": no column is left to learn from', 'the only column excluded');
SELECT is((SELECT count(*) FROM salesops.model WHERE name = 'bad'), 0::bigint, 'nothing was stored on the way');

-- empty columns beside one that serves; empty in training, filled later
SELECT is((salesops.train_model('empty', 'SELECT kind, NULL::text AS none, won FROM deal', 'won', 'logistic')).left_out ->> 'none', 'no values', 'a column without values is named');
SELECT is(salesops.predict('empty', a), salesops.predict('empty', b), 'filled later or not') FROM (SELECT 'x'::text AS kind, 'now'::text AS none) a, (SELECT 'x'::text AS kind) b;

-- perfect separation, with the column kept by hand: every method ends, is finite, and knows the answer
SELECT ok(t.roc_auc > 0.99 AND t.log_loss < 0.2, m || ': perfect separation')
  FROM unnest('{auto,logistic,boosted_trees,scorecard}'::text[]) m,
       LATERAL salesops.train_model('apart ' || m, 'SELECT u, kind, u >= 0.5 AS y FROM deal', 'y', m, options => '{"include": "u"}') t;
SELECT ok(bool_and(p > 0 AND p < 1 AND (p > 0.5) = (u >= 0.5)), m || ': and its predictions are right')
  FROM unnest('{auto,logistic,boosted_trees,scorecard}'::text[]) m, LATERAL (SELECT u, salesops.predict('apart ' || m, d) AS p FROM deal d WHERE abs(u - 0.5) > 0.1) q GROUP BY m;

-- 10,000 categories by every method; names of several words too
CREATE TABLE place AS SELECT i AS id, 'p' || i * 7919::bigint % 10007 AS place, 'branch no ' || i * 7919::bigint % 10007 AS branch, i % 7 AS x,
       (i * 16807::bigint * 48271 % 2147483647 % 10007) / 10007.0 < 0.2 + 0.5 * (i * 7919::bigint % 10007 % 3 = 0)::int AS y FROM generate_series(1, 20000) i;
SELECT lives_ok(format($$SELECT salesops.train_model('places', 'TABLE place', 'y', %L, 'id', '{"force": true, "fast": true}')$$, m), m || ': 10,000 categories')
  FROM unnest('{auto,boosted_trees,scorecard}'::text[]) m;
SELECT is(abs(a.roc_auc - b.roc_auc) < 0.01 AND a.roc_auc > 0.6, true, 'names of several words are learned as well as those of one')
  FROM salesops.train_model('one', 'SELECT id, place, x, y FROM place', 'y', 'logistic', 'id') a, salesops.train_model('several', 'SELECT id, branch, x, y FROM place', 'y', 'logistic', 'id') b;

-- columns added, dropped, retyped after training: row by row, planned by columns, in batch, evaluated, explained
CREATE TABLE later AS SELECT * FROM deal;
SELECT lives_ok($$SELECT salesops.train_model('later', 'SELECT kind, size, u, won FROM later', 'won')$$, 'trained');
CREATE TEMPORARY TABLE before AS SELECT id, salesops.predict('later', l) AS p FROM later l;
ALTER TABLE later DROP COLUMN u, ADD COLUMN more int[], ADD COLUMN u float8;
UPDATE later l SET u = d.u FROM deal d WHERE d.id = l.id;
ALTER TABLE later ALTER COLUMN size TYPE numeric, ALTER COLUMN kind TYPE varchar(10);
SELECT is_empty($$SELECT id FROM before b JOIN later l USING (id) WHERE b.p <> salesops.predict('later', l)$$, 'dropped and added again, widened: the same prediction');
SELECT is_empty($$SELECT id FROM before b JOIN salesops.predict_batch('later', 'TABLE later', 'id') c ON c.key = b.id::text WHERE b.p <> c.probability$$, 'in batch as well');
ALTER TABLE later ALTER COLUMN size TYPE text USING size::text;
SELECT is_empty($$SELECT id FROM before b JOIN later l USING (id) WHERE b.p <> salesops.predict('later', l)$$, 'a number that became text is read');
ALTER TABLE later ALTER COLUMN size TYPE date USING date '2026-01-01' + size::int;
SELECT throws_ok(q, '42804', NULL, 'a number that became a date: ' || q) FROM unnest(ARRAY[
  $$SELECT salesops.predict('later', l) FROM later l$$, $$SELECT salesops.predict('later', l) FROM (SELECT * FROM later OFFSET 0) l$$,
  $$SELECT * FROM salesops.predict_batch('later', 'TABLE later', 'id')$$, $$SELECT salesops.evaluate_model('later', 'TABLE later', 'won')$$,
  $$SELECT * FROM salesops.explain_prediction('later', (SELECT l FROM later l LIMIT 1))$$]) q;
ALTER TABLE later DROP COLUMN size, DROP COLUMN kind, DROP COLUMN u;
SELECT throws_ok(q, '42703', NULL, 'no feature left: ' || q) FROM unnest(ARRAY[
  $$SELECT salesops.predict('later', l) FROM later l$$, $$SELECT * FROM salesops.predict_batch('later', 'TABLE later', 'id')$$,
  $$SELECT * FROM salesops.explain_prediction('later', (SELECT l FROM later l LIMIT 1))$$]) q;

-- a model that another role trained
CREATE ROLE learn_bad_operator;
CREATE ROLE learn_bad_reader;
SELECT lives_ok($$SELECT salesops.grant_access('learn_bad_operator', 'operator'), salesops.grant_access('learn_bad_reader', 'reader')$$, 'an operator and a reader');
GRANT SELECT ON deal TO learn_bad_operator, learn_bad_reader;
SELECT lives_ok($$SELECT salesops.train_model('ours', 'SELECT kind, size, won FROM deal', 'won')$$, 'somebody else trains');
SET ROLE learn_bad_operator;
SELECT throws_ok(q, '42501', NULL, 'an operator: ' || q) FROM unnest(ARRAY[
  $$SELECT salesops.predict('ours', d) FROM deal d$$, $$SELECT salesops.predict('ours', d) FROM (SELECT * FROM deal OFFSET 0) d$$,
  $$SELECT * FROM salesops.predict_batch('ours', 'TABLE deal', 'id')$$, $$SELECT salesops.evaluate_model('ours', 'TABLE deal', 'won')$$,
  $$SELECT * FROM salesops.explain_prediction('ours', (SELECT d FROM deal d LIMIT 1))$$, $$SELECT salesops.train_model('ours', 'TABLE deal', 'won')$$,
  $$SELECT salesops.activate_model('ours', 1)$$, $$SELECT salesops.drop_model('ours')$$, $$SELECT salesops.grant_model('ours', 'learn_bad_operator')$$]) q;
SELECT is_empty($$SELECT FROM salesops.model WHERE name = 'ours'$$, 'nor does it see that there is one');
SELECT lives_ok($$SELECT salesops.train_model('mine', 'SELECT kind, size, won FROM deal', 'won')$$, 'it trains its own');
SELECT lives_ok($$SELECT salesops.grant_model('mine', 'learn_bad_reader')$$, 'and shares it');
SET ROLE learn_bad_reader;
SELECT ok(bool_and(salesops.predict('mine', d) BETWEEN 0 AND 1), 'who was granted it predicts') FROM deal d;
SELECT throws_ok(q, '42501', NULL, 'but: ' || q) FROM unnest(ARRAY[$$SELECT salesops.drop_model('mine')$$, $$SELECT salesops.train_model('mine', 'TABLE deal', 'won')$$]) q;
RESET ROLE;
SELECT * FROM finish();
ROLLBACK;
