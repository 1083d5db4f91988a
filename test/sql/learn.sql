-- train, predict, explain, evaluate, versions: the life of a model
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS salesops CASCADE;
CREATE EXTENSION salesops;
RESET client_min_messages;
CREATE SCHEMA learn_test;
SET search_path = learn_test;

-- a law that is known: log odds = -1 + 2 * (kind = x) - 3 * u, noise by a fixed generator
CREATE TABLE leads AS
  SELECT i AS id, u, kind, CASE WHEN i % 9 = 0 THEN NULL ELSE (i * 7919 % 100) END AS size, i % 2 = 0 AS flag,
         date '2026-01-01' + i % 200 AS seen, ARRAY['a', CASE WHEN i % 3 = 0 THEN 'b' ELSE 'c' END] AS tags,
         v < 1 / (1 + exp(1 - CASE WHEN kind = 'x' THEN 2 ELSE 0 END + 3 * u)) AS won,
         'the same' AS constant, NULL::text AS nothing
    FROM (SELECT i, (i * 48271::bigint % 2147483647 % 1000) / 1000.0::float8 AS u, (ARRAY['x', 'y', 'z'])[1 + i * 31 % 3] AS kind,
                 (i * 16807::bigint * 48271 % 2147483647 % 10007) / 10007.0::float8 AS v
            FROM generate_series(1, 3000) i) s;

SELECT name, version, active, method, rows, positives > 300 AS positives, validation, roc_auc > 0.75 AS good, log_loss < 0.6 AS sharp,
       ece < 0.05 AS calibrated, left_out, leakage, notes, features, label
  FROM salesops.train_model('m', 'SELECT * FROM leads', 'won', 'logistic');
SELECT version, roc_auc > 0.75 AS good FROM salesops.train_model('m', 'SELECT * FROM leads', 'won', 'boosted_trees', 'id');
SELECT version, left_out FROM salesops.train_model('m', 'SELECT * FROM leads', 'won', key => 'id', options => '{"exclude": "tags"}');

-- the same data in another order gives the same model
SELECT version FROM salesops.train_model('m', 'SELECT * FROM leads ORDER BY u', 'won', key => 'id', options => '{"exclude": "tags"}');
SELECT count(DISTINCT content) AS models, count(DISTINCT fingerprint) AS fingerprints FROM salesops.model_version WHERE version IN (3, 4);

-- contributions add up to the log odds, for every version
SELECT v AS version, max(abs(ln(p / (1 - p)) - s)) < 1e-12 AS exact
  FROM (SELECT v, salesops.activate_model('m', v) IS NOT NULL AS done FROM generate_series(1, 1) v) a,
       LATERAL (SELECT salesops.predict('m', l) AS p, (SELECT sum(contribution) FROM salesops.explain_prediction('m', l, 2)) AS s
                  FROM leads l LIMIT 100) q GROUP BY v;
SELECT salesops.activate_model('m', 2);
SELECT max(abs(ln(p / (1 - p)) - s)) < 1e-12 AS exact
  FROM (SELECT salesops.predict('m', l) AS p, (SELECT sum(contribution) FROM salesops.explain_prediction('m', l, 2)) AS s
          FROM leads l LIMIT 100) q;
SELECT salesops.activate_model('m', 3);
SELECT max(abs(ln(p / (1 - p)) - s)) < 1e-12 AS exact
  FROM (SELECT salesops.predict('m', l) AS p, (SELECT sum(contribution) FROM salesops.explain_prediction('m', l, 2)) AS s
          FROM leads l LIMIT 100) q;
SELECT feature, value FROM salesops.explain_prediction('m', (SELECT l FROM leads l WHERE id = 1), 2) WHERE feature LIKE '(%';

-- many rows at a time say the same as one by one
SELECT count(*), max(abs(b.probability - salesops.predict('m', l))) < 1e-12 AS same
  FROM salesops.predict_batch('m', 'SELECT * FROM leads', 'id') b JOIN leads l ON l.id = b.key::int;
SELECT rows, positives > 300 AS positives, roc_auc > 0.75 AS good, precision_at_10 > 0.4 AS top
  FROM salesops.evaluate_model('m', 'SELECT * FROM leads', 'won');

-- what a row may lack
SELECT salesops.predict('m', q) BETWEEN 0 AND 1 AS fine FROM (SELECT 0.5::float8 AS u) q;
SELECT salesops.predict('m', q) BETWEEN 0 AND 1 AS fine FROM (SELECT 0.5::float8 AS u, 'never seen'::text AS kind, NULL::int AS size) q;
SELECT salesops.predict('m', q) = salesops.predict('m', r) AS text_is_read
  FROM (SELECT 0.5::float8 AS u, 40 AS size) q, (SELECT '0.5'::text AS u, ' 40 '::text AS size) r;
SELECT salesops.predict('m', NULL) IS NULL AS null_row;
SELECT salesops.predict('m', ROW(1, 2));
SELECT salesops.predict('m', q) FROM (SELECT 'much'::text AS u) q;
SELECT salesops.predict('m', q) FROM (SELECT date '2026-01-01' AS u, 1 AS size) q;
SELECT salesops.predict('m', q) FROM (SELECT 'NaN'::float8 AS u) q;
SELECT salesops.predict('m', 1);
SELECT salesops.predict('nobody', l) FROM leads l LIMIT 1;

-- bad input
SELECT salesops.train_model('bad', 'SELECT * FROM leads', 'label');
SELECT salesops.train_model('bad', 'SELECT *, u AS u2, 1 AS kind FROM leads', 'won', key => 'nokey');
SELECT salesops.train_model('bad', 'SELECT u, true AS won FROM leads', 'won');
SELECT salesops.train_model('bad', 'SELECT * FROM leads LIMIT 3', 'won');
SELECT salesops.train_model('bad', 'SELECT * FROM leads LIMIT 0', 'won');
SELECT salesops.train_model('bad', 'SELECT won, nothing, constant FROM leads', 'won');
SELECT salesops.train_model('bad', 'SELECT won FROM leads', 'won');
SELECT salesops.train_model('bad', 'SELECT kind AS won, u FROM leads', 'won');
SELECT salesops.train_model('bad', 'SELECT won, ''Infinity''::float8 AS f FROM leads', 'won');
SELECT salesops.train_model('bad', 'SELECT won, u FROM leads', 'won', 'magic', options => '{"folds": 1, "depht": 3}');
SELECT salesops.train_model(NULL, 'SELECT won, u FROM leads', 'won');
SELECT salesops.train_model('bad', 'SELECT won, u FROM leads; DROP TABLE leads', 'won');
SELECT salesops.train_model('bad', 'DELETE FROM leads', 'won');
SELECT salesops.train_model('bad', 'SELECT won, u FROM leads', 'won', options => '{"include": "x", "exclude": ["y"]}');
SELECT left_out, features FROM salesops.train_model('copy', 'SELECT won, won AS again, u FROM leads', 'won', 'logistic');
SELECT roc_auc > 0.99 AS separated FROM salesops.train_model('separated', 'SELECT u > 0.5 AS y, u FROM leads', 'y', 'logistic',
                                                             options => '{"include": "u"}');
SELECT salesops.train_model('separated', 'SELECT u > 0.5 AS y, u FROM leads', 'y');
SELECT roc_auc > 0.99 AS separated FROM salesops.train_model('separated', 'SELECT u > 0.5 AS y, u FROM leads', 'y', 'logistic',
                                                             options => '{"include": "u", "lambda": 0, "linear_numbers": true}');
SELECT features, roc_auc < 0.6 AS useless FROM salesops.train_model('levels', 'SELECT won, ''c'' || id % 2700 AS c, flag FROM leads', 'won', 'logistic');
SELECT salesops.train_model('useless', 'SELECT won, (id * 7919) % 13 AS noise FROM leads', 'won');

-- columns added, dropped and retyped after training
ALTER TABLE leads ADD COLUMN later text, DROP COLUMN size;
SELECT count(salesops.predict('m', l)) FROM leads l;
ALTER TABLE leads ALTER COLUMN kind TYPE text[] USING ARRAY[kind];
SELECT count(salesops.predict('m', l)) FROM leads l;

-- a scorecard: points are log odds on another scale, and add up
ALTER TABLE leads ALTER COLUMN kind TYPE text USING kind[1];
SELECT method, roc_auc > 0.75 AS good FROM salesops.train_model('card', 'SELECT u, kind, won FROM leads', 'won', 'scorecard');
SELECT feature, value, rows, round(points) > 0 AS points FROM salesops.scorecard WHERE name = 'card' AND feature = 'kind' ORDER BY 1, 2;
SELECT max(abs((SELECT sum(c.points) FROM salesops.scorecard c WHERE c.name = 'card' AND (c.feature, c.value) IN
                 (('kind', l.kind), ('u', (SELECT d.value FROM salesops.scorecard d WHERE d.feature = 'u' AND d.name = 'card' AND d.value <> 'missing'
                    AND l.u >= coalesce(substring(d.value FROM 'from ([0-9.e-]+)')::float8, '-infinity')
                    AND l.u < coalesce(substring(d.value FROM 'below ([0-9.e-]+)')::float8, 'infinity')))))
               - (600 + 20 / ln(2) * (ln(p / (1 - p)) - ln(50))))) < 1e-5 AS points_add_up
  FROM (SELECT l.*, salesops.predict('card', l) AS p FROM leads l LIMIT 50) l;
-- coefficients with their errors
SELECT feature, term, coefficient IS NOT NULL AS coefficient, standard_error > 0 AS error, p BETWEEN 0 AND 1 AS p
  FROM salesops.model_coefficient WHERE name = 'separated' OR (name = 'copy' AND term IN ('linear', '')) ORDER BY name, 1, 2 LIMIT 3;

-- rights
CREATE ROLE learn_reader;
SELECT salesops.grant_access('learn_reader', 'reader');
GRANT USAGE ON SCHEMA learn_test TO learn_reader;
GRANT SELECT ON leads TO learn_reader;
SET ROLE learn_reader;
SELECT count(*) FROM salesops.model;
SELECT salesops.predict('copy', q) FROM (SELECT 0.5 AS u) q;
RESET ROLE;
SELECT salesops.grant_model('copy', 'learn_reader');
SET ROLE learn_reader;
SELECT name FROM salesops.model;
SELECT salesops.predict('copy', q) BETWEEN 0 AND 1 AS allowed FROM (SELECT 0.5 AS u) q;
SELECT salesops.train_model('copy', 'SELECT 1', 'y');
RESET ROLE;
SELECT salesops.revoke_model('copy', 'learn_reader');

-- versions
SELECT salesops.activate_model('m', 77);
SELECT salesops.drop_model('m', 4);
SELECT version, active FROM salesops.model WHERE name = 'm' ORDER BY 1;
SELECT salesops.drop_model('m', 3);
SELECT version, active FROM salesops.model WHERE name = 'm' ORDER BY 1;
BEGIN;
SELECT salesops.drop_model('m');
SELECT salesops.predict('m', q) FROM (SELECT 1 AS u) q;
ROLLBACK;
SELECT salesops.predict('m', q) IS NOT NULL AS back FROM (SELECT 1 AS u) q;
SELECT salesops.drop_model('nobody');
DROP OWNED BY learn_reader;
DROP ROLE learn_reader;
DROP SCHEMA learn_test CASCADE;
