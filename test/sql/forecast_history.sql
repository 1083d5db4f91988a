-- Random histories of a messy team: whatever happens, the waterfall adds up to what the table said, groups add up to the whole, a change
-- of nothing is no change, and nothing that is written later is seen.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS salesops CASCADE;
DROP SCHEMA IF EXISTS forecast_history CASCADE;
CREATE EXTENSION salesops;
CREATE SCHEMA forecast_history;
SET search_path = forecast_history, salesops;
SET TimeZone = 'UTC';
RESET client_min_messages;
SET extra_float_digits = 0;
CREATE FUNCTION chance(i int, what text) RETURNS float8 LANGUAGE sql IMMUTABLE AS
  $$ SELECT ('x' || substr(md5(i || what), 1, 8))::bit(32)::bigint / 4294967296.0 $$;
CREATE TABLE rep (rep_id text, manager_id text, region text);
INSERT INTO rep VALUES ('R0', 'M1', 'north'), ('R1', 'M1', 'north'), ('R2', 'M2', NULL), ('R3', NULL, 'south'), ('M1', 'M2', NULL), ('M2', 'M1', NULL);
CREATE TABLE deal (i int, opportunity_id text, created_at timestamptz, closed_at timestamptz, stage text, amount numeric, close_date date,
                   owner_id text, currency text, type text, updated_at timestamptz);
CREATE TABLE seen (history text, n int, at timestamptz, LIKE deal);
INSERT INTO currency_rate VALUES ('USD', 1), ('EUR', 1.0837), ('JPY', 0.0067);
SELECT define_stages('default', '[{"stage": "Open", "ordinal": 1, "kind": "open"}, {"stage": "Won", "ordinal": 2, "kind": "won"}, {"stage": "Lost", "ordinal": 3, "kind": "lost"}]');
SELECT count(*) FROM attach('sales_rep', 'rep');

-- one step of a history: deals are won, lost, reopened, deleted, moved, repriced, handed on and created
CREATE FUNCTION amount_of(i int, what text) RETURNS numeric LANGUAGE sql IMMUTABLE AS
  $$ SELECT CASE WHEN chance(i, what || 'none') > 0.1 THEN round((exp(chance(i, what) * 6) * 100 - 500)::numeric, 2) END $$;
CREATE PROCEDURE live(history text, n int, at timestamptz) LANGUAGE plpgsql AS $$
DECLARE
  k text := history || n;
BEGIN
  DELETE FROM deal WHERE chance(i, k || 'delete') < 0.02;
  UPDATE deal SET stage = 'Open', closed_at = NULL, updated_at = at WHERE stage <> 'Open' AND chance(i, k || 'reopen') < 0.04;
  UPDATE deal SET stage = CASE WHEN chance(i, k || 'won') < 0.5 THEN 'Won' ELSE 'Lost' END, closed_at = greatest(created_at, at - chance(i, k || 'when') * interval '14 days')
   WHERE stage = 'Open' AND chance(i, k || 'close') < 0.2;
  UPDATE deal SET amount = amount_of(i, k), updated_at = at WHERE chance(i, k || 'reprice') < 0.15;
  UPDATE deal SET close_date = CASE WHEN chance(i, k || 'undate') > 0.1 THEN (at + chance(i, k || 'due') * interval '200 days' - interval '40 days')::date END
   WHERE chance(i, k || 'move') < 0.2;
  UPDATE deal SET owner_id = NULLIF('R' || floor(chance(i, k || 'new owner') * 6), 'R5') WHERE chance(i, k || 'hand on') < 0.15;
  INSERT INTO deal SELECT g.i, 'D' || g.i, at - chance(g.i, k || 'created') * interval '14 days', NULL, 'Open', amount_of(g.i, k), (at + chance(g.i, 'due') * interval '150 days')::date,
         'R' || g.i % 5, (ARRAY['USD', 'EUR', 'JPY', NULL])[1 + g.i % 4], (ARRAY['new', 'renewal', NULL])[1 + g.i % 3], at FROM generate_series(n * 15, n * 15 + 14) g(i);
  INSERT INTO seen SELECT history, n, at, d.* FROM deal d;
END $$;
CREATE VIEW deal_undated AS SELECT opportunity_id, created_at, closed_at, stage, amount, close_date, owner_id, currency, type FROM deal;
CREATE PROCEDURE play(history text, relation regclass) LANGUAGE plpgsql AS $$
BEGIN
  TRUNCATE deal, salesops.forecast_snapshot_deal, salesops.forecast_snapshot_total;
  PERFORM attach('opportunity', relation);
  FOR n IN 0 .. 11 LOOP
    CALL live(history, n, timestamptz '2025-01-06' + n * interval '14 days');
    IF n >= 6 THEN
      PERFORM take_forecast_snapshot(timestamptz '2025-01-06' + n * interval '14 days');
    END IF;
  END LOOP;
END $$;
-- what a step from one copy of the table to another is, deal by deal, in words of our own: where it was, where it is
CREATE TABLE bridge (history text, from_n int, to_n int, period daterange, ordinal int, change text, deals bigint, amount numeric);
CREATE PROCEDURE bridges(history text) LANGUAGE sql AS $$
  INSERT INTO bridge SELECT $1, a.n, b.n, p.period, c.* FROM generate_series(6, 11) a(n), generate_series(6, 11) b(n),
    (VALUES ('[2025-04-01,2025-07-01)'::daterange), ('[2025-07-01,2025-10-01)'), ('[2000-01-01,2100-01-01)')) p(period),
    forecast_change('2025-01-06'::timestamptz + a.n * interval '14 days', '2025-01-06'::timestamptz + b.n * interval '14 days', p.period) c WHERE a.n <= b.n AND (a.n + b.n) % 3 <> 1
$$;
CALL play('dated', 'deal');
CALL bridges('dated');
-- the same with amounts that were changed later than each snapshot says nothing of: the view has no updated_at
CALL play('undated', 'deal_undated');
CALL bridges('undated');

SELECT count(DISTINCT (history, from_n, to_n, period)) AS bridges, count(DISTINCT change) AS kinds,
       (SELECT count(*) FROM (SELECT coalesce(sum(amount) FILTER (WHERE ordinal < 13), 0) <> coalesce(sum(amount) FILTER (WHERE ordinal = 13), 0) AS off
                                FROM bridge GROUP BY history, from_n, to_n, period) x WHERE off) AS that_do_not_add_up FROM bridge;
CREATE TABLE told AS
  SELECT s.history, s.n, p.period, s.i, s.opportunity_id, s.stage, s.close_date, s.closed_at, coalesce(round(s.amount * coalesce(c.rate, 1), 2), 0) AS amount,
         s.stage = 'Open' AND coalesce(s.close_date <@ p.period, false) AS due
    FROM seen s LEFT JOIN currency_rate c USING (currency), (SELECT DISTINCT period FROM bridge) p WHERE s.n >= 6;
CREATE INDEX ON told (history, n, i);
ANALYZE told; ANALYZE bridge; ANALYZE seen;
-- both ends are what the table said then
SELECT count(*) AS ends, count(*) FILTER (WHERE b.deals <> t.deals OR b.amount <> t.amount) AS wrong FROM bridge b
  LEFT JOIN LATERAL (SELECT count(*) AS deals, sum(t.amount) AS amount FROM told t
         WHERE t.history = b.history AND t.period = b.period AND t.n = CASE b.ordinal WHEN 1 THEN b.from_n ELSE b.to_n END AND t.due) t ON true
 WHERE b.ordinal IN (1, 13);
-- and each step is what became of the deals
WITH pair AS (
  SELECT DISTINCT history, from_n, to_n, period, timestamptz '2025-01-06' + from_n * interval '14 days' AS start FROM bridge
), fate AS (
  SELECT p.*, coalesce(a.due, false) AS was_due, coalesce(b.due, false) AS is_due, coalesce(a.amount, 0) AS before, b.amount AS after, a.stage AS stage_0, b.stage AS stage_1,
         b.close_date AS date_1, a.i IS NULL AS new, b.i IS NULL AS gone, coalesce(b.closed_at::date <@ p.period AND b.closed_at > p.start, false) AS closed_here
    FROM pair p JOIN (SELECT DISTINCT history, i FROM seen) d USING (history)
    LEFT JOIN told a ON (a.history, a.period, a.n, a.i) = (p.history, p.period, p.from_n, d.i)
    LEFT JOIN told b ON (b.history, b.period, b.n, b.i) = (p.history, p.period, p.to_n, d.i)
), truth AS (
  SELECT history, from_n, to_n, period, f.change, sum(f.amount) AS amount FROM fate, LATERAL (VALUES
      ('created', new AND (is_due OR closed_here), after),
      ('reopened', is_due AND stage_0 <> 'Open', before),
      ('won', coalesce(stage_0, 'Open') = 'Open' AND stage_1 = 'Won' AND (was_due OR closed_here), -after),
      ('lost', coalesce(stage_0, 'Open') = 'Open' AND stage_1 = 'Lost' AND (was_due OR closed_here), -after),
      ('pushed', was_due AND NOT is_due AND stage_1 = 'Open' AND (date_1 IS NULL OR date_1 >= upper(period)), -before),
      ('pulled out', was_due AND NOT is_due AND stage_1 = 'Open' AND date_1 < lower(period), -before),
      ('up', NOT new AND after > before AND (is_due OR (stage_0 = 'Open' AND stage_1 <> 'Open' AND (was_due OR closed_here))), after - before),
      ('down', NOT new AND after < before AND (is_due OR (stage_0 = 'Open' AND stage_1 <> 'Open' AND (was_due OR closed_here))), after - before),
      ('removed', was_due AND gone, -before)) f(change, holds, amount)
   WHERE f.holds GROUP BY 1, 2, 3, 4, 5
)
SELECT t.change, count(*) > 20 AS several, count(*) FILTER (WHERE t.amount IS DISTINCT FROM b.amount) AS wrong FROM truth t
  LEFT JOIN bridge b ON (b.history, b.from_n, b.to_n, b.period, b.change) = (t.history, t.from_n, t.to_n, t.period, t.change) GROUP BY 1 ORDER BY 1;

-- groups add up to the whole: deals, money won to the cent, means; deals of nobody and of people no one knows included
CREATE TABLE whole AS SELECT n, as_of, f.* FROM (VALUES (1, timestamptz '2025-06-09'), (2, timestamptz '2025-05-15 11:00+00')) a(n, as_of), forecast_bookings('[2025-04-01,2025-10-01)', '{}', as_of) f;
CREATE TABLE parts AS SELECT w.n, b.by, g.* FROM whole w, (VALUES ('{owner_id}'::text[]), ('{manager,region}'), ('{product}'), ('{currency,type}'), ('{stage,source}')) b(by),
  forecast_bookings('[2025-04-01,2025-10-01)', b.by, w.as_of) g;
SELECT p.by, count(*) / 2 > 1 AS several, sum(p.booked) = sum(DISTINCT w.booked) AS booked, bool_and(w.booked <> 0) AS some,
       abs(sum(mean(p.total)) - sum(DISTINCT mean(w.total))) < 0.005 AS total, abs(sum(mean(p.open_pipeline)) - sum(DISTINCT mean(w.open_pipeline))) < 0.005 AS open,
       abs(sum(mean(p.new_business)) - sum(DISTINCT mean(w.new_business))) < 0.005 AS new, sum(deal_count(p.open_pipeline)) = sum(DISTINCT deal_count(w.open_pipeline)) AS deals
  FROM parts p JOIN whole w USING (n) GROUP BY 1 ORDER BY 1;
SELECT w.n, merge(p.open_pipeline)::text::jsonb -> 'kept' = (w.open_pipeline::text::jsonb) -> 'kept' AS same_deals FROM parts p JOIN whole w USING (n) WHERE p.by = '{manager,region}' GROUP BY w.n, w.open_pipeline::text ORDER BY 1;
-- a rep listed twice is one rep
INSERT INTO rep VALUES ('R0', 'M2', 'west'), ('R1', 'M1', 'north');
SELECT sum(g.booked) = w.booked AS booked, abs(sum(mean(g.total)) - mean(w.total)) < 0.005 AS total FROM whole w, forecast_bookings('[2025-04-01,2025-10-01)', '{manager,region}', w.as_of) g
 WHERE w.n = 1 GROUP BY w.booked, w.total::text, mean(w.total);
DELETE FROM rep WHERE region = 'west';
-- groups whose texts begin alike for hundreds of bytes are groups of their own
UPDATE deal SET type = repeat('long ', 100) || i % 3;
SELECT count(*) AS groups, sum(booked) = (SELECT booked FROM whole WHERE n = 1) AS booked, bool_and(booked = (SELECT coalesce(sum(d.amount * coalesce(c.rate, 1)), 0) FROM deal d LEFT JOIN currency_rate c USING (currency)
         WHERE d.type = grp[1] AND d.stage = 'Won' AND d.closed_at >= '2025-04-01' AND d.closed_at < '2025-06-10')) AS each
  FROM forecast_bookings('[2025-04-01,2025-10-01)', '{type}', '2025-06-09');
UPDATE deal SET type = (ARRAY['new', 'renewal', NULL])[1 + i % 3];
-- credits alone: the groups' new business is negative as the whole's is
UPDATE deal SET amount = -abs(amount) - 1;
SELECT mean(w.new_business) < 0 AS negative, abs(sum(mean(g.new_business)) - mean(w.new_business)) < 0.005 AS adds_up
  FROM forecast_bookings('[2025-04-01,2025-10-01)', '{}', '2025-06-09') w, forecast_bookings('[2025-04-01,2025-10-01)', '{owner_id}', '2025-06-09') g GROUP BY mean(w.new_business);
UPDATE deal d SET amount = s.amount FROM seen s WHERE s.history = 'undated' AND s.n = 11 AND s.opportunity_id = d.opportunity_id;

-- a change of nothing is no change, to the last digit; several changes at once are what they are one by one, worked out by hand
SELECT count(DISTINCT (mean(total), quantile(total, 0.05), quantile(total, 0.5), quantile(total, 0.95))) AS distributions
  FROM simulate_forecast('{}', '[2025-04-01,2025-10-01)', '2025-06-09');
CREATE TABLE chances AS SELECT row_number() OVER (ORDER BY opportunity_id) AS k, d.* FROM forecast_deals('[2025-04-01,2025-10-01)', '2025-06-09') d;
CREATE TABLE changes AS SELECT jsonb_build_object('win_rate', 1.3, 'new_business', 0.5, 'add_reps', 3, 'drop', jsonb_agg(opportunity_id) FILTER (WHERE k % 7 = 0),
         'amount', jsonb_object_agg(opportunity_id, 1234.56) FILTER (WHERE k % 7 IN (1, 6)), 'probability', jsonb_object_agg(opportunity_id, 0.9) FILTER (WHERE k % 7 IN (2, 6)),
         'move', jsonb_object_agg(opportunity_id, CASE k % 7 WHEN 3 THEN '2025-09-30' ELSE '2025-10-01' END) FILTER (WHERE k % 7 IN (3, 4))) AS c FROM chances;
CREATE TABLE by_hand AS
  SELECT forecast(amount * spread, least(1, 1.3 * p) / spread) AS f FROM (
    SELECT CASE WHEN k % 7 IN (1, 6) THEN 1234.56 ELSE amount_unrounded END AS amount, CASE WHEN k % 7 IN (1, 6) THEN 1 ELSE amount_spread END AS spread,
           CASE k % 7 WHEN 2 THEN 0.9 WHEN 6 THEN 0.9 WHEN 3 THEN probability_ever WHEN 4 THEN 0 ELSE probability END AS p FROM chances WHERE k % 7 <> 0) x;
SELECT abs(mean(s.total) - mean(h.f) - w.booked::float8 - 1.3 * 0.5 * (1 + 3 / 6.0) * mean(w.new_business)) < 0.005 AS mean,
       abs(quantile(s.total, q) - quantile(forecast_with_deviation(m.f, relative_deviation(w.total)), q)) < 0.01 AS quantiles, q
  FROM whole w, by_hand h, changes, simulate_forecast(c, '[2025-04-01,2025-10-01)', '2025-06-09') s, unnest('{0.1,0.5,0.9}'::float8[]) q,
       LATERAL (SELECT merge(v.f) AS f FROM (SELECT h.f UNION ALL SELECT forecast_scale(w.new_business, 1.3 * 0.5 * (1 + 3 / 6.0))
                                               UNION ALL SELECT forecast(b.booked, 1.0) FROM (SELECT w.booked) b) v(f)) m
 WHERE w.n = 1 AND s.scenario = 'changed' ORDER BY q;
\set VERBOSITY default
SELECT simulate_forecast('{"move": {"x": "2025-02-30", "y": "0000-01-01", "z": 3}, "amount": {"x": 1e30, "d": 1}, "add_reps": 1e400, "win_rate": 101, "drop": [null, ["a"], "d", 7]}');
SELECT simulate_forecast('{}', NULL, 'infinity');

-- what is against a deal and for it leads from what a new deal brings in the end to what it brings in the period, to the cent
SELECT count(*) > 0 AS some, count(*) FILTER (WHERE r.sum IS DISTINCT FROM round(d.amount * d.probability::numeric, 2)) AS off
  FROM forecast_deals('[2025-04-01,2025-07-01)', '2025-06-09') d
  LEFT JOIN (SELECT opportunity_id, sum(contribution) AS sum FROM opportunity_risk('[2025-04-01,2025-07-01)', '2025-06-09') GROUP BY 1) r USING (opportunity_id);

-- closes known by stage changes alone: one that comes later leaves the deal open, and its expected date, long over, does not close it
CREATE TABLE stage_change AS SELECT opportunity_id, 'Open' AS stage, created_at AS entered_at FROM seen WHERE history = 'dated' AND n = 11
  UNION ALL SELECT opportunity_id, stage, closed_at FROM seen WHERE history = 'dated' AND n = 11 AND stage <> 'Open';
CREATE VIEW deal_open_ended AS SELECT opportunity_id, created_at, stage, amount, created_at::date + 1 AS close_date, owner_id, currency, type, created_at AS updated_at FROM seen WHERE history = 'dated' AND n = 11;
SELECT count(*) FROM attach('opportunity', 'deal_open_ended');
SELECT count(*) FROM attach('opportunity_stage_change', 'stage_change');
SELECT deal_count(f.open_pipeline) = (SELECT count(*) FROM seen WHERE history = 'dated' AND n = 11 AND created_at <= '2025-04-28' AND coalesce(closed_at, 'infinity') > '2025-04-28') AS open_then,
       f.booked = (SELECT sum(amount * coalesce(rate, 1)) FROM seen LEFT JOIN currency_rate USING (currency) WHERE history = 'dated' AND n = 11 AND stage = 'Won' AND closed_at <= '2025-04-28' AND closed_at >= '2025-01-01') AS booked_then
  FROM forecast_bookings('[2025-01-01,2025-07-01)', '{}', '2025-04-28') f;
SELECT take_forecast_snapshot('2025-04-28') > 0 AS taken;
SELECT kind, d.stage, count(*) = (SELECT count(*) FROM seen s WHERE history = 'dated' AND n = 11 AND created_at <= '2025-04-28' AND d.kind =
         CASE WHEN coalesce(closed_at, 'infinity') > '2025-04-28' THEN 'open' ELSE lower(s.stage) END) AS as_known_then
  FROM forecast_snapshot_deal d WHERE as_of = '2025-04-28' GROUP BY 1, 2 ORDER BY 1, 2;
SELECT bool_and(win_probability(opportunity_id, '30 days', '2025-04-28') = CASE s.stage WHEN 'Won' THEN 1 ELSE 0 END) AS closed_then FROM seen s WHERE history = 'dated' AND n = 11 AND closed_at <= '2025-04-28';
-- an amount that is no number is refused where a stage change says it
ALTER TABLE stage_change ADD COLUMN amount numeric;
SELECT count(*) FROM attach('opportunity_stage_change', 'stage_change');
UPDATE stage_change SET amount = 'NaN' WHERE opportunity_id = (SELECT min(opportunity_id) FROM seen WHERE history = 'dated' AND n = 11);
SELECT count(*) FROM forecast_bookings('[2025-01-01,2025-07-01)', '{}', '2025-07-28');
-- as the one currency counts it; where it is said later than as_of it is nothing yet
UPDATE stage_change SET amount = CASE WHEN opportunity_id = 'D101' THEN 9.5e17 END;
SELECT count(*) FROM forecast_bookings('[2025-01-01,2025-07-01)', '{}', '2025-07-28');
UPDATE stage_change SET entered_at = '2025-07-29' WHERE opportunity_id = 'D101';
SELECT count(*) FROM forecast_bookings('[2025-01-01,2025-07-01)', '{}', '2025-07-28');
DELETE FROM stage_change WHERE opportunity_id = 'D101';
INSERT INTO stage_change SELECT opportunity_id, 'Open', created_at FROM seen WHERE history = 'dated' AND n = 11 AND opportunity_id = 'D101'
  UNION ALL SELECT opportunity_id, stage, closed_at FROM seen WHERE history = 'dated' AND n = 11 AND stage <> 'Open' AND opportunity_id = 'D101';
UPDATE stage_change SET amount = NULL;
-- closed, and nothing says when
BEGIN;
CREATE TABLE undated AS SELECT opportunity_id, created_at, stage FROM seen WHERE history = 'dated' AND n = 11;
SELECT detach('opportunity_stage_change');
SELECT count(*) FROM attach('opportunity', 'undated');
SELECT count(*) FROM forecast_bookings('[2025-01-01,2025-07-01)', '{}', '2025-07-28');
ROLLBACK;

-- those who are gone keep their numbers; '*' counts everyone; what is said when all is over is told apart
SELECT set_quota('gone', '[2025-04-01,2025-07-01)', 100) IS NOT NULL AS set, adjust_forecast('left', '[2025-04-01,2025-07-01)', 50) > 0 AS said;
SELECT person, people, adjusted, quota, gap, expected IS NULL AS unknown FROM forecast_team('[2025-04-01,2025-07-01)', now()) WHERE person IN ('*', 'gone', 'left', 'M1');
SELECT level, days_ahead < 0 AS afterwards, wape FROM forecast_accuracy WHERE category = 'commit';
SELECT forecast_change('2025-04-28', '2025-04-01');
SELECT forecast_change('2025-04-28', '2025-05-01', 'empty');
SELECT take_forecast_snapshot('-infinity');
INSERT INTO seen SELECT * FROM seen WHERE history = 'dated' AND n = 11 AND opportunity_id IN ('D100', 'D101');
SELECT take_forecast_snapshot('2025-07-28');
-- forecasts count each row
SELECT deal_count(b.open_pipeline) = (SELECT count(*) FROM seen WHERE history = 'dated' AND n = 11 AND created_at <= '2025-07-28' AND stage = 'Open') AS open
  FROM forecast_bookings('[2025-07-01,2025-10-01)', '{}', '2025-07-28') b;
DELETE FROM seen WHERE ctid IN (SELECT max(ctid) FROM seen WHERE history = 'dated' AND n = 11 GROUP BY opportunity_id HAVING count(*) > 1);
SELECT count(*) FROM forecast_bookings('[2025-01-01,)');
SELECT count(*) FROM forecast_bookings('[2025-01-01,2060-01-01)', '{}', '2025-07-28');

-- a snapshot of the same instant by a role that sees less does not take the place of one that it may not see
CREATE ROLE forecast_history_operator;
GRANT USAGE ON SCHEMA forecast_history TO forecast_history_operator;
GRANT SELECT ON ALL TABLES IN SCHEMA forecast_history TO forecast_history_operator;
SELECT grant_access('forecast_history_operator', 'operator');
SET ROLE forecast_history_operator;
SELECT take_forecast_snapshot('2025-04-28');
SELECT take_forecast_snapshot('2025-04-29') > 0 AS another, take_forecast_snapshot('2025-04-29') > 0 AS again;
RESET ROLE;
SELECT take_forecast_snapshot('2025-04-29') > 0 AS a_superuser_may;
DROP OWNED BY forecast_history_operator;
DROP ROLE forecast_history_operator;

RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA forecast_history CASCADE;
DROP EXTENSION salesops;
