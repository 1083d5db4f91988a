-- Snapshots and the bridge between them, judgement beside the base, teams and quotas, risks, what-if.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS salesops CASCADE;
DROP SCHEMA IF EXISTS forecast_snapshot CASCADE;
CREATE EXTENSION salesops;
CREATE SCHEMA forecast_snapshot;
SET search_path = forecast_snapshot, salesops;
SET TimeZone = 'UTC';
RESET client_min_messages;
SET extra_float_digits = 0;
CREATE FUNCTION chance(i int, what text) RETURNS float8 LANGUAGE sql IMMUTABLE AS
  $$ SELECT ('x' || substr(md5(i || what), 1, 8))::bit(32)::bigint / 4294967296.0 $$;
CREATE TABLE deal AS
  SELECT 'D' || i AS opportunity_id, created::timestamptz AS created_at, (created + days)::timestamptz AS closed_at,
         CASE WHEN chance(i, 'won') < 0.5 THEN 'Won' ELSE 'Lost' END AS stage, 100.25 + i % 7 AS amount, 'R' || 1 + i % 4 AS owner_id,
         (created + 60)::date AS close_date, (ARRAY['Commit', 'Best Case', 'Pipeline', NULL])[1 + i % 4] AS forecast_category, created::timestamptz AS updated_at
    FROM (SELECT i, date '2015-01-01' + i / 3 AS created, ceil(ln(1 - chance(i, 'days')) / ln(0.98))::int AS days FROM generate_series(0, 1094) i) g;
UPDATE deal SET closed_at = NULL, stage = 'Open' WHERE closed_at > '2016-01-01';
DELETE FROM deal WHERE created_at > '2016-01-01';
CREATE TABLE rep AS SELECT * FROM (VALUES ('R1', 'M1', true), ('R2', 'M1', true), ('R3', 'M2', true), ('R4', 'M2', true), ('M1', 'B', true), ('M2', 'B', true), ('B', NULL, true)) r(rep_id, manager_id, is_active);
SELECT count(*) FROM attach('opportunity', 'deal');
SELECT count(*) FROM attach('sales_rep', 'rep');
SELECT define_stages('default', '[{"stage": "Open", "ordinal": 1, "kind": "open"}, {"stage": "Won", "ordinal": 2, "kind": "won"}, {"stage": "Lost", "ordinal": 3, "kind": "lost"}]');

SELECT * FROM forecast_change('2016-01-01', '2016-02-01');
-- one deal of each fate, on its own ground
DELETE FROM deal WHERE stage = 'Open' AND close_date >= '2016-01-01';
INSERT INTO deal SELECT v.id, '2015-12-01', NULL, 'Open', v.amount, 'R1', v.due::date, 'Commit', '2015-12-01' FROM (VALUES
  ('won', 100.10, '2016-02-01'), ('lost', 200.20, '2016-02-01'), ('pushed', 300.30, '2016-02-01'), ('pulled in', 400.40, '2016-06-01'), ('up', 500.50, '2016-02-01'), ('down', 600.60, '2016-02-01'),
  ('same', 700.70, '2016-02-01'), ('won for more', 800.80, '2016-02-01'), ('gone', 50.05, '2016-02-01'), ('late and won', 60.06, '2016-06-01'), ('undated', 1, NULL)) v(id, amount, due);
SELECT take_forecast_snapshot('2016-01-01') > 100 AS deals;
UPDATE deal SET stage = 'Won', closed_at = '2016-01-20' WHERE opportunity_id IN ('won', 'won for more', 'late and won');
UPDATE deal SET amount = 888.88 WHERE opportunity_id = 'won for more';
UPDATE deal SET stage = 'Lost', closed_at = '2016-01-20' WHERE opportunity_id = 'lost';
UPDATE deal SET close_date = '2016-05-01' WHERE opportunity_id = 'pushed';
UPDATE deal SET close_date = '2016-03-01' WHERE opportunity_id = 'pulled in';
UPDATE deal SET amount = amount + 11.11 WHERE opportunity_id = 'up';
UPDATE deal SET amount = amount - 22.22 WHERE opportunity_id = 'down';
DELETE FROM deal WHERE opportunity_id = 'gone';
INSERT INTO deal VALUES ('created', '2016-01-10', NULL, 'Open', 900.90, 'R2', '2016-03-01', 'Commit', '2016-01-10'),
  ('created and won', '2016-01-10', '2016-01-30', 'Won', 33.33, 'R2', '2016-03-01', 'Commit', '2016-01-10');
SELECT take_forecast_snapshot('2016-02-01') > 100 AS deals;
SELECT * FROM forecast_change('2016-01-01', '2016-02-01', '[2016-01-01,2016-04-01)');
SELECT sum(amount) FILTER (WHERE ordinal < 13) - sum(amount) FILTER (WHERE ordinal = 13) AS difference FROM forecast_change('2016-01-01', '2016-02-01');
SELECT sum(amount) FILTER (WHERE ordinal < 13) - sum(amount) FILTER (WHERE ordinal = 13) AS difference FROM forecast_change('2016-01-15', '2016-03-01', '[2016-04-01,2016-07-01)');
SELECT as_of::date, period, by, grp, booked, expected = round(open_pipeline + new_business + booked, 2) OR abs(expected - open_pipeline - new_business - booked) < 0.02 AS adds_up, lower < expected AND expected < upper AS inside
  FROM forecast_snapshot WHERE by = '{}' ORDER BY 1, 2;
-- again is the same, not twice
SELECT take_forecast_snapshot('2016-02-01') = (SELECT count(*) FROM forecast_snapshot_deal WHERE as_of = '2016-02-01') AS once;

-- judgement
SELECT adjust_forecast('M1', '[2016-01-01,2016-04-01)', 5000, note => 'big one coming') > 0 AS first;
SELECT adjust_forecast('M1', '[2016-01-01,2016-04-01)', 4000) > 0 AS then_less;
SELECT adjust_forecast('*', '[2015-10-01,2016-01-01)', 9000) > 0 AS everyone;
SELECT set_quota('R1', '[2016-01-01,2016-04-01)', 1000), set_quota('M1', '[2016-01-01,2016-04-01)', 4000), set_quota('*', '[2016-01-01,2016-04-01)', 1e7);
SELECT person, manager_id, people, booked, commit, pipeline > 0 AS pipeline, lower < expected AND expected < upper AS inside, adjusted, quota, gap, attainment BETWEEN 0 AND 1 AS chance
  FROM forecast_team('[2016-01-01,2016-04-01)', '2016-02-01');
-- each category rolls up single and cumulative; what people say of each is beside it, the latest by then, and changes no base
BEGIN;
UPDATE deal SET forecast_category = CASE opportunity_id WHEN 'up' THEN 'Best_Case' WHEN 'same' THEN NULL ELSE 'omitted' END WHERE opportunity_id IN ('up', 'same', 'down');
SELECT adjust_forecast('M1', '[2016-01-01,2016-04-01)', 6500, 'Best Case') > 0 AS best_case, adjust_forecast('*', '[2016-01-01,2016-04-01)', 9500.5, 'pipeline') > 0 AS pipeline,
       adjust_forecast('R1', '[2016-01-01,2016-04-01)', -20, 'pipeline') > 0 AS credit, adjust_forecast('M2', '[2016-04-01,2016-07-01)', 1, 'best case') > 0 AS other_period;
CREATE TABLE team AS SELECT * FROM forecast_team('[2016-01-01,2016-04-01)', now());
SELECT person, adjusted, said_commit, said_best_case, said_pipeline, said_commit_by = current_user AS by_me, said_best_case_at = (SELECT max(made_at) FROM forecast_adjustment WHERE category = 'best case' AND person = 'M1') AS at,
       (said_pipeline_by IS NULL) = (said_pipeline IS NULL) AND (said_pipeline_at IS NULL) = (said_pipeline IS NULL) AS nulls_together FROM team;
WITH own AS (SELECT CASE WHEN i.owner_id ~ '[12]' THEN 'M1' ELSE 'M2' END AS manager, i.owner_id, replace(lower(coalesce(i.forecast_category, 'pipeline')), '_', ' ') AS category, i.amount
               FROM deal i WHERE i.stage = 'Open' AND i.opportunity_id <> 'down' AND (i.close_date IS NULL OR i.close_date <@ '[2016-01-01,2016-04-01)'::daterange)),
     truth AS (SELECT p.person, coalesce(sum(amount) FILTER (WHERE category = 'commit'), 0) AS c1, coalesce(sum(amount) FILTER (WHERE category IN ('commit', 'best case')), 0) AS c2, coalesce(sum(amount), 0) AS c3
                 FROM (SELECT person FROM team) p LEFT JOIN own o ON p.person IN ('*', 'B', o.manager, o.owner_id) GROUP BY 1)
SELECT count(*) AS people, bool_and((t.cumulative_commit, t.cumulative_best_case, t.cumulative_pipeline) = (r.c1, r.c2, r.c3)) AS cumulative,
       bool_and((t.commit, t.best_case, t.pipeline) = (r.c1, r.c2 - r.c1, r.c3 - r.c2)) AS single, max(r.c1) > 0 AND max(r.c2) > max(r.c1) AND max(r.c3) > max(r.c2) AS not_nothing
  FROM team t JOIN truth r USING (person);
-- of an earlier day only what was said by then, and the base as it was without a word
SELECT count(*) AS people, count(said_commit) + count(said_best_case) + count(said_pipeline) + count(adjusted) AS said FROM forecast_team('[2016-01-01,2016-04-01)', '2016-02-01');
DELETE FROM forecast_adjustment;
SELECT count(*) AS people, count(*) FILTER (WHERE (t.booked, t.commit, t.best_case, t.pipeline, t.people, t.expected, t.lower, t.upper, t.quota, t.gap, t.attainment)
         IS DISTINCT FROM (b.booked, b.commit, b.best_case, b.pipeline, b.people, b.expected, b.lower, b.upper, b.quota, b.gap, b.attainment)) AS changed
  FROM team t FULL JOIN forecast_team('[2016-01-01,2016-04-01)', now()) b USING (person);
ROLLBACK;
-- the manager leaves, the reps are moved: the number stays with person and period
UPDATE rep SET manager_id = 'M2' WHERE rep_id IN ('R1', 'R2');
DELETE FROM rep WHERE rep_id = 'M1';
SELECT person, people, abs(expected - (SELECT sum(expected) FROM forecast_team('[2016-01-01,2016-04-01)', '2016-02-01') WHERE person ~ '^R')) < 0.1 AS all_of_it FROM forecast_team('[2016-01-01,2016-04-01)', '2016-02-01') WHERE person IN ('B', 'M2', '*');
SELECT person, amount, note FROM forecast_adjustment ORDER BY adjustment_id;
-- a circle of managers ends
UPDATE rep SET manager_id = 'M2' WHERE rep_id = 'B';
SELECT count(*) FROM forecast_team('[2016-01-01,2016-04-01)', '2016-02-01');
SELECT take_forecast_snapshot('2015-10-15') > 0 AS earlier;
SELECT forecaster, category, level, days_ahead, forecasts, wape BETWEEN 0 AND 2 AS wape, bias BETWEEN -1 AND 2 AS bias, coverage_80 IS NOT NULL AS coverage FROM forecast_accuracy WHERE forecaster = 'salesops' AND level = 'all' AND days_ahead <= 90 ORDER BY 1, 2, 3, 4;
SELECT forecaster = current_user AS judged_too, category, level, forecasts, coverage_80 FROM forecast_accuracy WHERE forecaster <> 'salesops' ORDER BY category, level, days_ahead;
SELECT adjust_forecast('', '[2016-01-01,2016-04-01)', 1);
SELECT adjust_forecast('R1', '[2016-01-01,)', 1);
SELECT adjust_forecast('R1', '[2016-01-01,2016-04-01)', 'NaN');
SELECT adjust_forecast('R1', '[2016-01-01,2016-04-01)', 1, 'hope');
SELECT set_quota('R1', '[2016-01-01,2016-04-01)', -5);

-- risks in words, from what a new deal would bring: the steps of all deals add up to what is expected of them (more in forecast_risk)
SELECT count(*) > 0 AS some, bool_and(contribution < 0) AS take FROM opportunity_risk('[2016-01-01,2016-04-01)', '2016-02-01') WHERE effect = 'against';
SELECT sum(contribution) - (SELECT sum(round(amount * probability::numeric, 2)) FROM forecast_deals('[2016-01-01,2016-04-01)', '2016-02-01')) AS off FROM opportunity_risk('[2016-01-01,2016-04-01)', '2016-02-01');
SELECT regexp_replace(risk, '[0-9]+', 'n', 'g') AS risk, count(*) > 0 AS some FROM opportunity_risk('[2016-01-01,2016-04-01)', '2016-02-01') WHERE risk LIKE '%outside%' GROUP BY 1 ORDER BY 1 LIMIT 1;

-- what if
CREATE TABLE simulation AS SELECT 'nothing' AS what, * FROM simulate_forecast('{}', '[2016-01-01,2016-04-01)', '2016-02-01')
  UNION ALL SELECT 'drop', * FROM simulate_forecast('{"drop": ["same"]}', '[2016-01-01,2016-04-01)', '2016-02-01')
  UNION ALL SELECT 'sure', * FROM simulate_forecast('{"probability": {"same": 1}, "amount": {"same": 10000}}', '[2016-01-01,2016-04-01)', '2016-02-01')
  UNION ALL SELECT 'move', * FROM simulate_forecast('{"move": {"same": "2016-06-01"}}', '[2016-01-01,2016-04-01)', '2016-02-01')
  UNION ALL SELECT 'win rate', * FROM simulate_forecast('{"win_rate": 1.1}', '[2016-01-01,2016-04-01)', '2016-02-01')
  UNION ALL SELECT 'reps', * FROM simulate_forecast('{"add_reps": 2, "new_business": 1.5}', '[2016-01-01,2016-04-01)', '2016-02-01');
SELECT c.what, c.expected > b.expected + 0.02 AS more, c.expected < b.expected - 0.02 AS less, c.lower < c.median AND c.median < c.upper AS ordered
  FROM simulation c JOIN simulation b ON b.what = c.what AND b.scenario = 'as it is' WHERE c.scenario = 'changed' ORDER BY 1;
-- each change is exactly what the deals' own chances make of it
WITH deal AS (SELECT * FROM forecast_deals('[2016-01-01,2016-04-01)', '2016-02-01')), same AS (SELECT * FROM deal WHERE opportunity_id = 'same'),
     base AS (SELECT mean(new_business)::numeric AS new, (SELECT sum(amount * probability::numeric) FROM deal) AS open FROM forecast_bookings('[2016-01-01,2016-04-01)', '{}', '2016-02-01')),
     truth AS (
       SELECT 'nothing' AS what, 0 AS change UNION ALL
       SELECT 'drop', -amount * probability::numeric FROM same UNION ALL
       SELECT 'sure', 10000 - amount * probability::numeric FROM same UNION ALL
       SELECT 'move', -amount * probability::numeric FROM same UNION ALL
       SELECT 'win rate', 0.1 * (open + new) FROM base UNION ALL
       SELECT 'reps', (1.5 * (1 + 2 / 6.0) - 1) * new FROM base)
SELECT t.what, abs(c.expected - b.expected - t.change) < 0.05 AS exact
  FROM truth t JOIN simulation c ON c.what = t.what AND c.scenario = 'changed' JOIN simulation b ON b.what = t.what AND b.scenario = 'as it is' ORDER BY 1;
SELECT simulate_forecast('{"drop": "same", "win_rate": -1, "probability": {"x": 2}, "amount": {"x": "much"}, "move": {"x": "soon"}, "luck": 1}');
SELECT simulate_forecast('{"drop": ["nobody"]}', '[2016-01-01,2016-04-01)', '2016-02-01');
SELECT simulate_forecast('[]');

-- whose snapshot it is, and whose deals are in it
CREATE ROLE forecast_snapshot_reader;
GRANT USAGE ON SCHEMA forecast_snapshot TO forecast_snapshot_reader;
GRANT SELECT ON deal, rep TO forecast_snapshot_reader;
ALTER TABLE deal ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON deal USING (owner_id = 'R2');
SELECT grant_access('forecast_snapshot_reader', 'reader');
SET ROLE forecast_snapshot_reader;
SELECT count(*) > 0 AS some, bool_and(owner_id = 'R2') AS own_only FROM forecast_snapshot_deal;
SELECT count(*) AS totals_of_others FROM forecast_snapshot_total;
SELECT take_forecast_snapshot();
RESET ROLE;
DROP OWNED BY forecast_snapshot_reader;
DROP ROLE forecast_snapshot_reader;

RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA forecast_snapshot CASCADE;
DROP EXTENSION salesops;
