-- The waterfall adds up to the cent whatever happened between two snapshots; forecast_accuracy against figures worked out by hand.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS salesops CASCADE;
DROP SCHEMA IF EXISTS forecast_accuracy CASCADE;
CREATE EXTENSION salesops;
CREATE SCHEMA forecast_accuracy;
SET search_path = forecast_accuracy, salesops;
SET TimeZone = 'UTC';
RESET client_min_messages;
CREATE TABLE deal (opportunity_id text, created_at timestamptz, closed_at timestamptz, stage text, amount numeric, owner_id text, currency text);
CREATE TABLE rep (rep_id text, manager_id text);
SELECT count(*) FROM attach('opportunity', 'deal');
SELECT count(*) FROM attach('sales_rep', 'rep');
SELECT define_stages('default', '[{"stage": "Open", "ordinal": 1, "kind": "open"}, {"stage": "Won", "ordinal": 2, "kind": "won"}, {"stage": "Lost", "ordinal": 3, "kind": "lost"}]');

-- twelve snapshots of 400 deals, each deal drawn anew: open, won, lost or gone, any due date, any amount or none, any time of creation and close
CREATE FUNCTION chance(i int, what text) RETURNS float8 LANGUAGE sql IMMUTABLE AS
  $$ SELECT ('x' || substr(md5(i || what), 1, 8))::bit(32)::bigint / 4294967296.0 $$;
INSERT INTO deal SELECT 'D' || i, '2016-01-01', NULL, 'Open', 1, 'R1' FROM generate_series(1, 400) i;
INSERT INTO forecast_snapshot_deal
SELECT t.at, 'D' || i, 'x', k.kind, CASE WHEN chance(i, 'null' || t.n) > 0.1 THEN round((chance(i, 'amount' || t.n / 2) * 20000 - 2000)::numeric, 2) END,
       CASE WHEN chance(i, 'undated' || t.n) > 0.1 THEN date '2015-11-01' + floor(chance(i, 'due' || t.n) * 300)::int END,
       timestamptz '2015-10-01' + chance(i, 'created') * interval '500 days',
       CASE WHEN k.kind <> 'open' AND chance(i, 'unclosed' || t.n) > 0.05 THEN t.at - chance(i, 'closed' || t.n) * interval '90 days' END, 'R1', NULL, NULL
  FROM (SELECT n, timestamptz '2016-01-01' + n * interval '30 days' AS at FROM generate_series(0, 11) n) t, generate_series(1, 400) i,
       LATERAL (SELECT (ARRAY['open', 'open', 'open', 'won', 'lost'])[1 + floor(chance(i, 'kind' || t.n) * 5)::int] AS kind) k
 WHERE chance(i, 'there' || t.n) > 0.15;
CREATE TABLE bridge AS
  SELECT a.n AS from_n, b.n AS to_n, p.period, c.* FROM generate_series(0, 11) a(n), generate_series(0, 11) b(n),
         (VALUES ('[2016-01-01,2016-04-01)'::daterange), ('[2016-04-01,2016-07-01)'), ('[2015-11-15,2015-11-16)'), ('[2010-01-01,2030-01-01)')) p(period),
         forecast_change('2016-01-01'::timestamptz + a.n * interval '30 days', '2016-01-01'::timestamptz + b.n * interval '30 days', p.period) c
   WHERE a.n < b.n AND (a.n + b.n) % 3 = 0;
SELECT count(DISTINCT (from_n, to_n, period)) AS bridges, count(DISTINCT change) AS steps,
       (SELECT count(*) FROM (SELECT coalesce(sum(amount) FILTER (WHERE ordinal < 13), 0) - coalesce(sum(amount) FILTER (WHERE ordinal = 13), 0) AS off
                                FROM bridge GROUP BY from_n, to_n, period) x WHERE off <> 0) AS that_do_not_add_up FROM bridge;
-- and its ends are the snapshots'
SELECT count(*) AS wrong_ends FROM bridge b
 WHERE b.ordinal IN (1, 13) AND b.amount <> (SELECT sum(coalesce(d.amount, 0)) FROM forecast_snapshot_deal d
         WHERE d.as_of = timestamptz '2016-01-01' + CASE b.ordinal WHEN 1 THEN b.from_n ELSE b.to_n END * interval '30 days' AND d.kind = 'open' AND d.close_date <@ b.period);

-- accuracy: the quarter brought R1 100, R2 300, R3 (of no team) 50 in euros at 2, and 7 of nobody: 507 in all, M1's team 400
TRUNCATE deal;
INSERT INTO deal (opportunity_id, created_at, closed_at, stage, amount, owner_id) VALUES ('A', '2015-01-01', '2016-01-10', 'Won', 60, 'R1'), ('B', '2015-01-01', '2016-03-31', 'Won', 40, 'R1'), ('C', '2015-01-01', '2016-02-01', 'Won', 300, 'R2'),
  ('D', '2015-01-01', '2016-02-01', 'Won', 50, 'R3'), ('E', '2015-01-01', '2016-02-01', 'Won', 7, NULL), ('F', '2015-01-01', '2016-02-01', 'Lost', 1000, 'R1'),
  ('G', '2015-01-01', '2016-04-01', 'Won', 2000, 'R1'), ('H', '2015-01-01', '2015-12-31', 'Won', 4000, 'R1');
UPDATE deal SET currency = CASE opportunity_id WHEN 'D' THEN 'EUR' ELSE 'USD' END;
INSERT INTO currency_rate VALUES ('USD', 1), ('EUR', 2);
INSERT INTO rep VALUES ('R1', 'M1'), ('R2', 'M1'), ('R3', NULL), ('M1', 'B');
INSERT INTO forecast_snapshot_total
SELECT v.at::timestamptz, '[2016-01-01,2016-04-01)', v.by::text[], v.grp::text[], 0, f.f, f.f, f.f, current_user, now()
  FROM (VALUES ('2015-12-30', '{}', '{}', 500), ('2015-12-31', '{}', '{}', 614), ('2016-03-10', '{}', '{}', 507),
               ('2016-03-10', '{owner_id}', '{R1}', 90), ('2016-03-10', '{owner_id}', '{R2}', 300), ('2016-03-10', '{owner_id}', '{NULL}', 17)) v(at, by, grp, amount),
       LATERAL (SELECT forecast(a, 1.0::float8) AS f FROM (SELECT v.amount::numeric AS a) one) f;
INSERT INTO forecast_adjustment (person, period, category, amount, author, made_at) VALUES
  ('*', '[2016-01-01,2016-04-01)', 'commit', 450, 'ann', '2016-03-15'), ('*', '[2016-01-01,2016-04-01)', 'best case', 600, 'ann', '2016-03-15'),
  ('M1', '[2016-01-01,2016-04-01)', 'commit', 500, 'bob', '2016-03-15'), ('B', '[2016-01-01,2016-04-01)', 'commit', 420, 'bob', '2016-03-16'),
  ('R1', '[2016-01-01,2016-04-01)', 'commit', 80, 'bob', '2016-03-15'), ('R3', '[2016-01-01,2016-04-01)', 'pipeline', 100, 'bob', '2016-01-01'),
  ('R1', '[2016-01-01,2099-04-01)', 'commit', 1, 'bob', '2016-03-15');
-- by hand: all, 90 days ahead |507-500| + |507-614| over 2 x 507, bias (500 + 614 - 1014) / 1014; persons 10 + 0 + 10 over 407, two of three wrong; teams 100 + 20 over 800, and salesops' of them 10 + 10 over 800
SELECT forecaster, category, level, days_ahead, forecasts, round(wape::numeric, 6) AS wape, round(bias::numeric, 6) AS bias, round(coverage_80::numeric, 4) AS coverage_80 FROM forecast_accuracy ORDER BY 1, 2, 3, 4;
SELECT round(114 / 1014.0, 6) AS all_90, round(100 / 1014.0, 6) AS bias, round(20 / 407.0, 6) AS persons, round(120 / 800.0, 6) AS teams, round(57 / 507.0, 6) AS commit_of_all, round(93 / 507.0, 6) AS best_case, 20 / 100.0 AS r1;
-- without the euro's rate it is not known what all brought, nor R3; the others are scored as before
DELETE FROM currency_rate WHERE currency = 'EUR';
SELECT forecaster, category, level, days_ahead, forecasts, round(wape::numeric, 6) AS wape, coverage_80 IS NOT NULL AS coverage FROM forecast_accuracy ORDER BY 1, 2, 3, 4;
INSERT INTO currency_rate VALUES ('EUR', 2);
-- judgement of single deals against the model's on the same: won in the quarter are A (60), C (300), D (50 euros at 2) and E (7); F is lost, G and H are won outside of it, Z is gone
INSERT INTO forecast_deal_adjustment (opportunity_id, person, period, chance, amount, base_chance, base_amount, author, made_at) VALUES
  ('A', 'R1', '[2016-01-01,2016-04-01)', 0.9, 70, 0.5, 100, 'ann', '2016-01-02'), ('F', 'R1', '[2016-01-01,2016-04-01)', 0.8, 1100, 0.4, 1000, 'ann', '2016-01-02'), ('G', 'R1', '[2016-01-01,2016-04-01)', 0.3, NULL, 0.2, 2000, 'ann', '2016-01-02'),
  ('H', 'R1', '[2016-01-01,2016-04-01)', NULL, 4000, 0.1, 5000, 'ann', '2016-01-02'), ('Z', 'R1', '[2016-01-01,2016-04-01)', 1, NULL, 0, 1, 'ann', '2016-01-02'), ('A', 'R1', '[2016-01-01,2016-04-01)', NULL, NULL, 0.5, 100, 'ann', '2016-01-03'),
  ('C', 'M1', '[2016-01-01,2016-04-01)', 1, 330, 0.7, 200, 'bob', '2016-03-15'), ('D', 'M1', '[2016-01-01,2016-04-01)', NULL, 90, 0.5, 150, 'bob', '2016-03-15'), ('C', 'M1', '[2016-01-01,2099-04-01)', 0, 1, 1, 1, 'bob', '2016-03-15');
-- by hand: R1 (.01 + .64 + .09) / 3 to (.25 + .16 + .04) / 3, and 10 / 60 to 40 / 60; M1 0 to .09, and (30 + 10) / 400 to (100 + 50) / 400
SELECT person, days_ahead, chances, won, round(brier::numeric, 6) AS brier, round(brier_of_base::numeric, 6) AS brier_of_base, amounts, round(amount_wape::numeric, 6) AS amount_wape, round(amount_wape_of_base::numeric, 6) AS amount_wape_of_base
  FROM deal_adjustment_accuracy ORDER BY 1, 2;
SELECT round(0.74 / 3, 6) AS r1, round(0.45 / 3, 6) AS r1_base, round(10 / 60.0, 6) AS r1_amount, round(40 / 60.0, 6) AS r1_amount_base, 40 / 400.0 AS m1_amount, 150 / 400.0 AS m1_amount_base;
-- a currency without a rate: that amount is not known
DELETE FROM currency_rate WHERE currency = 'EUR';
SELECT person, chances, amounts, round(amount_wape::numeric, 6) AS amount_wape FROM deal_adjustment_accuracy WHERE person = 'M1';
-- one currency alone needs no rate
BEGIN;
UPDATE deal SET currency = 'EUR';
SELECT count(*) AS won, sum(amount) AS amount, bool_or(no_rate) AS no_rate FROM won_deal;
ROLLBACK;
INSERT INTO currency_rate VALUES ('EUR', 2);
-- what was said stays when the team goes
DELETE FROM rep WHERE manager_id = 'M1';
SELECT person, category, amount FROM forecast_adjustment WHERE person = 'M1';

RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA forecast_accuracy CASCADE;
DROP EXTENSION salesops;
