-- predict_batch reads stored rows as they lie: the same number as row by row, whatever the layout, the nulls and the key
BEGIN;
SET client_min_messages = warning;
SELECT no_plan();
-- runs of double precision between others of all alignments; values spread evenly, in heaps, and over many orders of magnitude
CREATE TABLE layout (s smallint, a float8, b float8, gone int, c float8, t text, i int, d float8, e float8, k text, n numeric, f boolean, g bigint, h float8, r real, won boolean);
ALTER TABLE layout DROP COLUMN gone;
INSERT INTO layout
  SELECT q % 50, x[1], round(x[2] * 3), CASE WHEN x[3] < 0.5 THEN x[3] / 1000 ELSE x[3] END, repeat('t', (q % 9)::int), (x[4] * 1000)::int, x[5], x[6],
         CASE q % 5 WHEN 0 THEN 'k' || q WHEN 1 THEN repeat('long', 40) || q WHEN 2 THEN repeat('longer', 2000) || q WHEN 3 THEN '' END, q / 10.0, q % 2 = 0,
         (x[7] * 1e12)::bigint, exp(20 * x[8]), x[9], x[1] + x[5] > x[6] + (x[8] > 0.7)::int * x[3]
    FROM (SELECT q, array_agg((hashint8extended(q * 16 + j, 7) & 1048575) / 1048576.0::float8 ORDER BY j) AS x FROM generate_series(1, 3000) q, generate_series(1, 9) j GROUP BY q) v;
-- nulls: none in a third of the rows, some in a third, whole runs in the rest
UPDATE layout SET a = NULLIF(a, a * (i & 1)), b = NULLIF(b, b * (i >> 1 & 1)), c = NULLIF(c, c * (i >> 2 & 1)), d = NULLIF(d, d * (i >> 3 & 1)), h = NULLIF(h, h * (i >> 4 & 1)) WHERE i % 3 = 1;
UPDATE layout SET a = NULL, b = NULL, c = NULL, t = CASE WHEN g % 2 = 0 THEN t END WHERE i % 3 = 2;
UPDATE layout SET d = NULL, e = NULL, s = CASE WHEN g % 2 = 0 THEN s END WHERE i % 6 = 2;
ALTER TABLE layout ADD COLUMN later float8;
UPDATE layout SET later = g % 100 WHERE i % 7 = 0;
SELECT is((salesops.train_model('layout', 'SELECT s, a, b, c, i, d, e, g, h, r, later, won FROM layout', 'won', 'boosted_trees', NULL, '{"rounds": 150, "depth": 5, "validation": "none"}')).method,
          'boosted_trees', 'trained');
CREATE TABLE by_row AS SELECT l.*, salesops.predict('layout', l) AS p FROM (SELECT * FROM layout OFFSET 0) l;
SELECT cmp_ok(count(DISTINCT p), '>', 2500::bigint, 'predictions differ') FROM by_row;
SELECT is_empty(format($$(SELECT %1$I::text, p FROM by_row EXCEPT ALL SELECT key, probability FROM salesops.predict_batch('layout', 'TABLE layout', %1$L))
                          UNION ALL (SELECT key, probability FROM salesops.predict_batch('layout', 'TABLE layout', %1$L) EXCEPT ALL SELECT %1$I::text, p FROM by_row)$$, key), 'with the key ' || key)
  FROM unnest('{k,t,n,i,s,later}'::text[]) key;
SELECT is(round(e.log_loss::numeric, 12), (SELECT round(salesops.log_loss(p, won)::numeric, 12) FROM by_row), 'evaluated as well') FROM salesops.evaluate_model('layout', 'TABLE layout', 'won') e;
SELECT is_empty($$SELECT k, p FROM by_row EXCEPT ALL SELECT key, probability FROM salesops.predict_batch('layout', 'SELECT h, k, later, a, b, r, d, e, s, i, g, c FROM layout', 'k')$$, 'columns in another order, put together by the query');
SELECT is_empty($$SELECT k, p FROM by_row EXCEPT ALL SELECT key, probability FROM salesops.predict_batch('layout', 'SELECT * FROM layout ORDER BY g', 'k')$$, 'sorted');
-- a regression and a blend read the same rows, as they are and in both forms
SELECT is((salesops.train_model(m, 'SELECT s, a, b, c, i, d, e, g, h, r, later, won FROM layout', 'won', m, NULL, o::jsonb)).method, m, m || ' trained')
  FROM (VALUES ('logistic', '{"fast": true}'), ('auto', '{"fast": true, "rounds": 30, "depth": 3}')) v(m, o);
SELECT is_empty(format($$SELECT k, salesops.predict(%1$L, l) FROM (SELECT * FROM layout OFFSET 0) l EXCEPT ALL SELECT key, probability FROM salesops.predict_batch(%1$L, %2$L, 'k')$$, m, q),
                m || ': ' || q)
  FROM unnest('{logistic,auto}'::text[]) m, unnest('{TABLE layout,SELECT * FROM layout ORDER BY g}'::text[]) q;
SELECT is_empty(format($$SELECT k, salesops.predict(%1$L, l) FROM (SELECT * FROM layout OFFSET 0) l EXCEPT ALL SELECT k, salesops.predict(%1$L, l) FROM layout l$$, m),
                m || ' by columns as by rows') FROM unnest('{logistic,auto,layout}'::text[]) m;
-- what no float holds
UPDATE layout SET a = 1e300, d = -1e300 WHERE i % 10 = 0;
SELECT is_empty(format($$SELECT k, salesops.predict(%1$L, l) FROM layout l EXCEPT ALL SELECT key, probability FROM salesops.predict_batch(%1$L, 'TABLE layout', 'k')$$, m),
                m || ': numbers beyond float''s reach') FROM unnest('{layout,logistic,auto}'::text[]) m;
UPDATE layout SET e = 'NaN' WHERE ctid = (SELECT max(ctid) FROM layout);
SELECT throws_ok(format($$SELECT count(*) FROM salesops.predict_batch(%L, 'TABLE layout', 'k')$$, m), '22003', NULL, m || ': NaN is refused')
  FROM unnest('{layout,logistic,auto}'::text[]) m;
SELECT throws_ok(format($$SELECT sum(salesops.predict(%L, l)) FROM layout l$$, m), '22003', NULL, m || ': NaN is refused row by row')
  FROM unnest('{layout,logistic,auto}'::text[]) m;
UPDATE layout SET e = '-Infinity' WHERE e = 'NaN';
SELECT throws_ok($$SELECT count(*) FROM salesops.predict_batch('layout', 'TABLE layout', 'k')$$, '22003', NULL, 'and an infinity');
SELECT * FROM finish();
ROLLBACK;
