-- Bookings forecasts and their backtest on a history whose process is known; nothing later than as_of matters.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS salesops CASCADE;
DROP SCHEMA IF EXISTS forecast_bookings CASCADE;
CREATE EXTENSION salesops;
CREATE SCHEMA forecast_bookings;
SET search_path = forecast_bookings, salesops;
SET TimeZone = 'UTC';
RESET client_min_messages;
SET extra_float_digits = 0;

-- no opportunities, no stages, no history: said plainly
SELECT * FROM forecast_bookings('[2016-01-01,2016-04-01)', '{}', '2016-01-01');
CREATE FUNCTION chance(i int, what text) RETURNS float8 LANGUAGE sql IMMUTABLE AS
  $$ SELECT ('x' || substr(md5(i || what), 1, 8))::bit(32)::bigint / 4294967296.0 $$;
-- three deals a day; each day 1 % of the open are won and 1 % lost, whatever their age: half are won in the end
CREATE TABLE deal AS
  SELECT 'D' || i AS opportunity_id, created::timestamptz AS created_at,
         CASE WHEN created + days < '2016-01-01' THEN (created + days)::timestamptz END AS closed_at,
         CASE WHEN created + days >= '2016-01-01' THEN 'Open' WHEN chance(i, 'won') < 0.5 THEN 'Won' ELSE 'Lost' END AS stage,
         CASE WHEN i % 2 = 0 THEN 100 ELSE 300 END + floor(50 * chance(i, 'amount'))::numeric AS amount,
         CASE WHEN i % 2 = 0 THEN 'small' ELSE 'large' END AS type, 'R' || i % 5 AS owner_id, NULL::text AS currency
    FROM (SELECT i, date '2014-01-01' + i / 3 AS created, ceil(ln(1 - chance(i, 'days')) / ln(0.98))::int AS days FROM generate_series(0, 2192) i) g;
CREATE TABLE rep AS SELECT 'R' || i AS rep_id, 'M' || i % 2 AS manager_id, CASE WHEN i < 2 THEN 'EMEA' ELSE 'AMER' END AS region FROM generate_series(0, 4) i;
SELECT count(*) FROM attach('opportunity', 'deal');
SELECT count(*) FROM attach('sales_rep', 'rep');
SELECT * FROM forecast_bookings('[2016-01-01,2016-04-01)');
SELECT define_stages('default', '[{"stage": "Open", "ordinal": 1, "kind": "open"}, {"stage": "Won", "ordinal": 2, "kind": "won"}]');
SELECT * FROM forecast_bookings('[2016-01-01,2016-04-01)');
SELECT define_stages('default', '[{"stage": "Open", "ordinal": 1, "kind": "open"}, {"stage": "Won", "ordinal": 2, "kind": "won"}, {"stage": "Lost", "ordinal": 3, "kind": "lost"}]');

-- the truth: an open deal is won within 90 days with (1 - .98^90) / 2 = .419; of 3 x 90 new deals (1 - mean over 90 days) / 2
CREATE VIEW truth AS
  SELECT (1 - 0.98 ^ 90) / 2 * count(*) FILTER (WHERE closed_at IS NULL OR closed_at >= '2015-10-01') AS open_wins,
         3 * (SELECT sum((1 - 0.98 ^ (90 - d)) / 2) FROM generate_series(0, 89) d) AS new_wins
    FROM deal WHERE created_at < '2015-10-01';
SELECT booked, deal_count(open_pipeline) AS open_deals,
       abs(mean(open_pipeline) / 225 / open_wins - 1) < 0.2 AS open_near_truth, abs(mean(new_business) / 225 / new_wins - 1) < 0.25 AS new_near_truth,
       abs(mean(total) - mean(open_pipeline) - mean(new_business) - booked::float8) < 0.01 AS adds_up,
       stddev(total) > stddev(open_pipeline) AND quantile(total, 0.1) < mean(total) AND quantile(total, 0.9) > mean(total) AS uncertain
  FROM forecast_bookings('[2015-10-01,2015-12-30)', as_of => '2015-09-30'), truth;
-- a period half gone: what is booked is exact and certain
SELECT booked = (SELECT sum(amount) FROM deal WHERE stage = 'Won' AND closed_at >= '2015-07-01' AND closed_at < '2015-08-16') AS booked_exact,
       quantile(total, 0) >= booked AS certain
  FROM forecast_bookings('[2015-07-01,2015-10-01)', as_of => '2015-08-15');
-- a period that is over is only booked
SELECT booked = (SELECT sum(amount) FROM deal WHERE stage = 'Won' AND closed_at >= '2015-07-01' AND closed_at < '2015-08-01') AS booked,
       mean(open_pipeline) AS open, mean(new_business) AS new, mean(total) = booked::float8 AS total
  FROM forecast_bookings('[2015-07-01,2015-08-01)', as_of => '2015-12-31');
-- groups add up, and merge like any forecast
SELECT grp, deal_count(open_pipeline) > 0 AS has_open FROM forecast_bookings('[2015-10-01,2016-01-01)', '{region,manager}', '2015-09-30') ORDER BY grp;
SELECT abs(sum(mean(g.total)) / min(mean(w.total)) - 1) < 1e-9 AS means, abs(stddev(merge(g.open_pipeline)) / min(stddev(w.open_pipeline)) - 1) < 1e-9 AS deviations, sum(g.booked) = min(w.booked) AS booked
  FROM forecast_bookings('[2015-08-01,2015-11-01)', '{owner_id}', '2015-09-30') g, forecast_bookings('[2015-08-01,2015-11-01)', '{}', '2015-09-30') w;

-- the backtest: errors and coverage of a process without surprises
CREATE TABLE test AS SELECT * FROM backtest_forecast('2015-01-06', '2015-12-29', '7 days', '{30 days,90 days}');
CREATE TABLE test_open AS SELECT * FROM backtest_forecast('2015-01-06', '2015-12-29', '7 days', '{30 days,90 days}', 'open', 0.9);
SELECT horizon, count(*), count(actual), wape(actual, predicted) < 0.15 AS good, avg((actual BETWEEN lower AND upper)::int) BETWEEN 0.6 AND 1 AS covers FROM test GROUP BY 1 ORDER BY 1;
SELECT horizon, count(actual), wape(actual, predicted) < 0.2 AS good, avg((actual BETWEEN lower AND upper)::int) BETWEEN 0.7 AND 1 AS covers FROM test_open GROUP BY 1 ORDER BY 1;
SELECT count(*) AS wrong_actual FROM test t WHERE actual IS NOT NULL AND
  actual <> (SELECT coalesce(sum(amount), 0) FROM deal WHERE stage = 'Won' AND closed_at > t.as_of AND closed_at <= t.as_of + t.horizon);
SELECT predicted IS NULL AS nothing_known, lower IS NULL AS no_interval, actual IS NOT NULL AS but_this_came FROM backtest_forecast('2013-12-01', '2013-12-01', '1 day', '{60 days}');

-- credits: with every amount turned to its negative the forecasts and their intervals are those, turned
UPDATE deal SET amount = -amount;
SELECT count(*), bool_and(abs(m.predicted + t.predicted) <= 0.01 AND abs(m.lower + t.upper) <= 0.0002 * t.upper AND abs(m.upper + t.lower) <= 0.0002 * t.upper) AS turned
  FROM backtest_forecast('2015-06-02', '2015-12-15', '28 days', '{30 days,90 days}') m JOIN test t USING (as_of, horizon);
UPDATE deal SET amount = -amount;

-- a planted future: new deals, other outcomes, other amounts, other stages after 30 June change nothing that was forecast by then
CREATE TABLE before AS SELECT grp, booked, open_pipeline::text AS o, new_business::text AS n, total::text AS t FROM forecast_bookings('[2015-07-01,2015-10-01)', '{owner_id}', '2015-06-30');
CREATE TABLE deal_before AS TABLE deal;
UPDATE deal SET amount = amount * 1000, stage = 'Won' WHERE closed_at > '2015-06-30';
UPDATE deal SET closed_at = '2015-07-15', stage = 'Won', amount = 1e9 WHERE closed_at IS NULL AND created_at < '2015-06-01';
INSERT INTO deal SELECT 'X' || i, '2015-07-01', '2015-07-02', 'Won', 5e6, 'huge', 'R9' FROM generate_series(1, 500) i;
SELECT count(*) AS changed FROM (SELECT grp, booked, open_pipeline::text, new_business::text, total::text FROM forecast_bookings('[2015-07-01,2015-10-01)', '{owner_id}', '2015-06-30') EXCEPT TABLE before) d;
SELECT count(*) AS changed FROM (SELECT as_of, horizon, predicted, lower, upper FROM backtest_forecast('2015-01-06', '2015-06-30', '7 days', '{30 days,90 days}')
  EXCEPT SELECT as_of, horizon, predicted, lower, upper FROM test) d;
-- … while what was known does
UPDATE deal SET stage = 'Lost' WHERE closed_at < '2015-03-01' AND stage = 'Won' AND owner_id < 'R3';
SELECT count(*) > 10 AS changed FROM (SELECT as_of, horizon, predicted, lower, upper FROM backtest_forecast('2015-01-06', '2015-06-30', '7 days', '{30 days,90 days}')
  EXCEPT SELECT as_of, horizon, predicted, lower, upper FROM test) d;
TRUNCATE deal; INSERT INTO deal TABLE deal_before;

-- open deals without an amount are worth what the won ones of their type were
UPDATE deal SET amount = NULL WHERE stage = 'Open';
UPDATE deal SET amount = 0 WHERE stage = 'Lost';
SELECT count(*) AS changed FROM (SELECT * FROM backtest_forecast('2015-01-06', '2015-12-29', '7 days', '{30 days,90 days}') EXCEPT TABLE test) d;
SELECT type, round(mean(open_pipeline)) > 0 AS has_value FROM forecast_bookings('[2016-01-01,2016-04-01)', '{type}', '2016-01-01') CROSS JOIN unnest(grp) type ORDER BY 1;
-- … and vary as those: of 100 to 149 the mean square is 1.013 times the square of the mean, of 300 to 349 1.002 times
-- (a little more: two deals of all are added)
SELECT o.type, avg(d.amount_spread) BETWEEN CASE o.type WHEN 'small' THEN 1.012 ELSE 1.001 END AND CASE o.type WHEN 'small' THEN 1.03 ELSE 1.006 END AS spread, bool_and(d.amount_is_estimate) AS estimated
  FROM forecast_deals(NULL, '2016-01-01') d JOIN deal o USING (opportunity_id) GROUP BY 1 ORDER BY 1;
UPDATE deal SET type = NULL;
-- without the types of 100 to 149 and of 300 to 349 alike: 1.20 times; the sum varies by that, beside the common deviation
SELECT abs(avg(d.amount_spread) - 1.20) < 0.03 AS spread,
       abs(sum(d.amount ^ 2 * (d.probability * (d.amount_spread - d.probability))::numeric)::float8
           / min(variance(forecast_with_deviation(b.open_pipeline, 0))) - 1) < 0.0001 AS variance
  FROM forecast_deals('[2016-01-01,2016-04-01)', '2016-01-01') d, forecast_bookings('[2016-01-01,2016-04-01)', '{}', '2016-01-01') b;
-- a simulation of no change is the forecast, with all its spread
SELECT bool_and(abs(s.lower::float8 / b.lower - 1) < 0.0001 AND abs(s.upper::float8 / b.upper - 1) < 0.0001) AS as_forecast
  FROM simulate_forecast('{}', '[2016-01-01,2016-04-01)', '2016-01-01') s,
       (SELECT quantile(total, 0.1) AS lower, quantile(total, 0.9) AS upper FROM forecast_bookings('[2016-01-01,2016-04-01)', '{}', '2016-01-01')) b;
TRUNCATE deal; INSERT INTO deal TABLE deal_before;
-- a won deal of which nobody knows when it began is booked all the same, and unknown before its close
UPDATE deal SET created_at = NULL WHERE stage = 'Won' AND owner_id = 'R3';
SELECT booked = (SELECT sum(amount) FROM deal WHERE stage = 'Won' AND closed_at >= '2015-07-01' AND closed_at < '2015-10-01') AS booked
  FROM forecast_bookings('[2015-07-01,2015-10-01)', as_of => '2015-12-31');
CREATE TABLE early AS SELECT total::text AS t FROM forecast_bookings('[2015-07-01,2015-10-01)', as_of => '2015-06-30');
DELETE FROM deal WHERE created_at IS NULL AND closed_at > '2015-06-30';
SELECT count(*) AS changed FROM (SELECT total::text FROM forecast_bookings('[2015-07-01,2015-10-01)', as_of => '2015-06-30') EXCEPT TABLE early) d;
TRUNCATE deal; INSERT INTO deal TABLE deal_before;

-- several currencies
UPDATE deal SET currency = CASE WHEN owner_id = 'R0' THEN 'EUR' ELSE 'USD' END;
SELECT * FROM forecast_bookings('[2016-01-01,2016-04-01)', '{}', '2016-01-01');
SELECT grp, deal_count(total) > 0 AS has_deals FROM forecast_bookings('[2016-01-01,2016-04-01)', '{currency}', '2016-01-01') ORDER BY 1;
INSERT INTO currency_rate VALUES ('USD', 1), ('EUR', 1.25);
SELECT booked = (SELECT sum(amount * CASE currency WHEN 'EUR' THEN 1.25 ELSE 1 END) FROM deal WHERE stage = 'Won' AND closed_at >= '2015-11-01') AS converted
  FROM forecast_bookings('[2015-11-01,2016-02-01)', '{}', '2016-01-01');

-- one closed deal, gaps, other bad input: wide or refused
CREATE TABLE one AS SELECT * FROM deal_before WHERE false;
INSERT INTO one VALUES ('A', '2015-01-01', '2015-02-01', 'Won', 100), ('B', '2015-01-10', NULL, 'Open', 200), ('C', '2015-01-20', NULL, 'Open', 50);
SELECT count(*) FROM attach('opportunity', 'one');
SELECT quantile(open_pipeline, 0.9) - quantile(open_pipeline, 0.1) > 0.5 * mean(open_pipeline) AS wide FROM forecast_bookings('[2015-02-01,2016-02-01)', '{}', '2015-02-01');
SELECT as_of, predicted > 0 AS predicted, actual FROM backtest_forecast('2015-02-03', '2015-02-03', '1 day', '{30 days}');
INSERT INTO one VALUES ('D', '2035-01-01', '2035-02-01', 'Lost', 100);
SELECT mean(total) >= 0 AS gap_of_ten_years FROM forecast_bookings('[2035-02-01,2035-05-01)', '{}', '2035-02-01');
UPDATE one SET amount = 'NaN' WHERE opportunity_id = 'B';
SELECT * FROM forecast_bookings('[2035-02-01,2035-05-01)', '{}', '2035-02-01');
SELECT * FROM forecast_bookings('[2016-01-01,)');
SELECT * FROM forecast_bookings('empty');
SELECT * FROM forecast_bookings('[2016-01-01,2126-01-01)');
SELECT * FROM forecast_bookings('[2016-01-01,2016-02-01)', '{owner_id,colour,NULL}');
SELECT * FROM forecast_bookings('[2016-01-01,2016-02-01)', '{}', 'infinity');
SELECT * FROM backtest_forecast('2015-01-01', '2014-01-01', '0 days', '{-1 day,NULL}', 'all', 2);
SELECT * FROM backtest_forecast('2015-01-01', '2015-01-01', '1 day', '{}');

RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA forecast_bookings CASCADE;
DROP EXTENSION salesops;
