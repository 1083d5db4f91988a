-- metric aggregates: scikit-learn 1.9's values (ties included), parallel plans, states as text, edges
BEGIN;
SELECT no_plan();
CREATE TABLE sample AS
  SELECT i, (i * 7919 % 100) / 100.0::float8 AS p, (i * 104729::bigint % 97) / 97.0::float8 < 0.2 + 0.6 * ((i * 7919 % 100) / 100.0::float8) AS y
    FROM generate_series(1, 1000) i;
CREATE FUNCTION near(got float8, want float8, what text) RETURNS text LANGUAGE sql AS $$
  SELECT ok(abs(got - want) < 1e-12, what || ': ' || got) $$;

CREATE FUNCTION plan_of(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
  RETURN QUERY EXECUTE 'EXPLAIN (COSTS off) ' || query;
END $$;

-- from sklearn.metrics import roc_auc_score, log_loss, brier_score_loss on the same 1000 rows
SELECT near(salesops.roc_auc(p, y), 0.693079307930793, 'roc_auc equals scikit-learn') FROM sample;
SELECT near(salesops.log_loss(p, y), 0.8364541855748454, 'log_loss equals scikit-learn, probabilities of 0 among them') FROM sample;
SELECT near(salesops.brier_score(p, y), 0.23687, 'brier_score equals scikit-learn') FROM sample;
SELECT near(salesops.precision_at(p, y, 0.1), 0.74, 'precision in the top tenth, ties averaged') FROM sample;
SELECT near(salesops.precision_at(p, y, 0.155), 0.7677419354838709, 'precision in another part') FROM sample;
SELECT near(salesops.expected_calibration_error(p, y),
            (SELECT sum(abs(e)) / 1000 FROM (SELECT sum(p) - count(*) FILTER (WHERE y) AS e FROM sample GROUP BY least(floor(p * 10), 9)) b),
            'expected calibration error equals its definition') FROM sample;
SELECT near((SELECT salesops.roc_auc(p, y) FROM (SELECT * FROM sample ORDER BY md5(i::text)) s), (SELECT salesops.roc_auc(p, y) FROM sample),
            'the order of the rows does not matter');

-- edges
SELECT is((SELECT salesops.roc_auc(p, y) FROM sample WHERE false), NULL, 'no rows, no area');
SELECT is((SELECT salesops.log_loss(p, y) FROM sample WHERE false), NULL, 'no rows, no loss');
SELECT is((SELECT salesops.precision_at(p, y, 0.1) FROM sample WHERE false), NULL, 'no rows, no precision');
SELECT is((SELECT salesops.roc_auc(p, true) FROM sample), NULL, 'one class, no area');
SELECT near((SELECT salesops.log_loss(1, true)) * 1e16, 2.220446049250313, 'certain and right, clipped');
SELECT near((SELECT salesops.log_loss(0, true)), 36.04365338911715, 'certain and wrong, clipped');
SELECT is((SELECT salesops.roc_auc(NULLIF(p, 0.5), CASE WHEN i % 7 <> 0 THEN y END) FROM sample),
          (SELECT salesops.roc_auc(p, y) FROM sample WHERE p <> 0.5 AND i % 7 <> 0), 'rows with a NULL do not count');
SELECT throws_ok($$SELECT salesops.roc_auc('NaN', true)$$, NULL, NULL, 'NaN is refused');
SELECT throws_ok($$SELECT salesops.log_loss(1.5, true)$$, NULL, NULL, 'a probability above 1 is refused');
SELECT throws_ok($$SELECT salesops.brier_score('Infinity', true)$$, NULL, NULL, 'an infinite one as well');
SELECT throws_ok($$SELECT salesops.precision_at(p, y, 0) FROM sample$$, '22023', NULL, 'a fraction of 0 is refused');
SELECT throws_ok($$SELECT salesops.precision_at(p, y, p) FROM sample WHERE p > 0$$, '22023', NULL, 'a fraction that changes is refused');

-- decayed sums
SELECT near(salesops.decayed_sum(v, at, '2026-01-31', '10 days'), 100 * 0.5 + 8 * 0.25 + 1, 'halves with every half-life')
  FROM (VALUES (100.0::float8, timestamptz '2026-01-21'), (8, '2026-01-11'), (1, '2026-01-31'), (1e6, '2026-02-01')) t(v, at);
SELECT is((SELECT salesops.decayed_sum(1, '2026-02-01', '2026-01-31', '10 days')), NULL, 'what lies after as_of is not known');
SELECT throws_ok($$SELECT salesops.decayed_sum(1, now(), now(), '-1 day')$$, '22023', NULL, 'a half-life must be positive');

-- states merge, print and come back
SELECT is(salesops.metric_result(salesops.metric_state_in(salesops.metric_state_out(a.s))), salesops.metric_result(a.s), 'a state survives as text')
  FROM (SELECT salesops.roc_auc_accumulate(salesops.roc_auc_accumulate(NULL, 0.3, true), 0.1, false) AS s) a;
SELECT throws_ok($$SELECT '00'::salesops.metric_state$$, NULL, NULL, 'a state cut short is refused');
SELECT throws_ok($$SELECT (repeat('00', 44))::salesops.metric_state$$, NULL, NULL, 'a state of another version is refused');
SELECT throws_ok($$SELECT salesops.metric_combine(salesops.roc_auc_accumulate(NULL, 0.3, true), salesops.log_loss_accumulate(NULL, 0.3, true))$$,
                 '22023', NULL, 'states of two metrics do not merge');

-- parallel plans give the same
CREATE TABLE many AS SELECT i, (i * 7919::bigint % 10007) / 10007.0::float8 AS p, (i * 104729::bigint % 997) / 997.0 < 0.4 AS y FROM generate_series(1, 60000) i;
ALTER TABLE many SET (parallel_workers = 3);
ANALYZE many;
CREATE TABLE one_by_one AS SELECT salesops.roc_auc(p, y) a, salesops.log_loss(p, y) l, salesops.expected_calibration_error(p, y) e,
  salesops.precision_at(p, y, 0.07) t FROM many;
SET LOCAL parallel_setup_cost = 0;
SET LOCAL parallel_tuple_cost = 0;
SET LOCAL min_parallel_table_scan_size = 0;
SELECT ok(EXISTS (SELECT FROM plan_of('SELECT salesops.roc_auc(p, y) FROM many') x WHERE x LIKE '%Partial Aggregate%'), 'the plan is parallel');
SELECT is(salesops.roc_auc(p, y), (SELECT a FROM one_by_one), 'roc_auc in parallel') FROM many;
SELECT near(salesops.log_loss(p, y), (SELECT l FROM one_by_one), 'log_loss in parallel') FROM many;
SELECT near(salesops.expected_calibration_error(p, y), (SELECT e FROM one_by_one), 'calibration error in parallel') FROM many;
SELECT is(salesops.precision_at(p, y, 0.07), (SELECT t FROM one_by_one), 'precision in parallel') FROM many;
SELECT is((SELECT count(*) FROM (SELECT i % 1000, salesops.roc_auc(p, y) FROM many GROUP BY 1) g), 1000::bigint, 'many groups');
SELECT ok((SELECT count(DISTINCT a) FROM (SELECT salesops.roc_auc(p, y) OVER (ORDER BY i ROWS BETWEEN 50 PRECEDING AND CURRENT ROW) AS a FROM sample) w) > 10,
          'as a window');

-- predictions in parallel workers, and a model trained earlier in the same transaction
SELECT is((salesops.train_model('p', 'SELECT p, i % 3 AS c, y FROM sample', 'y', 'logistic')).version, 1, 'trained');
SELECT ok(EXISTS (SELECT FROM plan_of('SELECT count(*) FROM many m WHERE salesops.predict(''p'', m) > 0.5') x WHERE x LIKE '%Parallel Seq Scan%'),
          'predict may run in workers');
SELECT lives_ok($$SELECT sum(salesops.predict('p', m)) FROM many m$$, 'and does');
SELECT * FROM finish();
ROLLBACK;
