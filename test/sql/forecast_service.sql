-- Forecasts in service: what one statement reads, whose rows count, and that neither names, places nor settings mislead them.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS salesops CASCADE;
DROP SCHEMA IF EXISTS forecast_service CASCADE;
CREATE EXTENSION salesops;
CREATE SCHEMA forecast_service;
SET search_path = forecast_service, salesops;
SET TimeZone = 'UTC';
RESET client_min_messages;
SET extra_float_digits = 0;

CREATE FUNCTION chance(i int, what text) RETURNS float8 LANGUAGE sql IMMUTABLE AS
  $$ SELECT ('x' || substr(md5(i || what), 1, 8))::bit(32)::bigint / 4294967296.0 $$;
-- two deals a day, each open for forty days in the mean; half are won
CREATE TABLE kept AS
  SELECT 'D' || to_char(i, 'FM0000') AS opportunity_id, created::timestamptz AS created_at,
         CASE WHEN created + days < '2016-01-01' THEN (created + days)::timestamptz END AS closed_at,
         CASE WHEN created + days >= '2016-01-01' THEN CASE WHEN i % 2 = 0 THEN 'Late' ELSE 'Early' END WHEN chance(i, 'won') < 0.5 THEN 'Won' ELSE 'Lost' END AS stage,
         (100 + floor(900 * chance(i, 'amount')))::numeric AS amount, (ARRAY['a', 'b', 'c'])[1 + i % 3] AS type, 'A' || i % 311 AS account_id,
         'R' || i % 4 AS owner_id, CASE WHEN i % 4 < 2 THEN 'one' ELSE 'two' END AS tenant
    FROM (SELECT i, date '2015-01-01' + i / 2 AS created, ceil(-40 * ln(1 - chance(i, 'days')))::int AS days FROM generate_series(0, 729) i) g;
CREATE TABLE kept_change AS
  SELECT opportunity_id, s.stage, created_at + s.after AS entered_at, amount
    FROM kept, (VALUES ('Early', interval '0'), ('Late', interval '5 days')) s(stage, after) WHERE closed_at IS NULL OR closed_at > created_at + s.after;
-- of each reading of the deals one number is taken
CREATE SEQUENCE reads;
CREATE VIEW deal AS WITH once AS MATERIALIZED (SELECT nextval('forecast_service.reads') AS n) SELECT k.* FROM kept k, once;
CREATE FUNCTION readings() RETURNS bigint LANGUAGE sql AS $$ SELECT setval('forecast_service.reads', 1, false) - 1 + r.n FROM (SELECT nextval('forecast_service.reads') - 1 AS n) r $$;
CREATE TABLE rep AS SELECT 'R' || i AS rep_id, 'M' AS manager_id, CASE WHEN i < 2 THEN 'EMEA' ELSE 'AMER' END AS region, true AS is_active FROM generate_series(0, 3) i;
SELECT count(*) FROM attach('opportunity', 'deal');
SELECT count(*) FROM attach('opportunity_stage_change', 'kept_change');
SELECT count(*) FROM attach('sales_rep', 'rep');
SELECT define_stages('default', '[{"stage": "Early", "ordinal": 1, "kind": "open"}, {"stage": "Late", "ordinal": 2, "kind": "open"}, {"stage": "Won", "ordinal": 3, "kind": "won"}, {"stage": "Lost", "ordinal": 4, "kind": "lost"}]');

-- one statement reads and fits once, whatever it asks for; groups that are asked for later are read alone
SELECT readings() >= 0 AS begin;
SELECT count(*) FROM forecast_bookings('[2016-01-01,2016-04-01)', '{}', '2016-01-01') a, forecast_bookings('[2016-01-01,2016-04-01)', '{}', '2016-01-01') b, forecast_deals('[2016-01-01,2016-04-01)', '2016-01-01') c;
SELECT readings() AS bookings_twice_and_deals;
SELECT count(*) FROM forecast_bookings('[2016-01-01,2016-04-01)', '{}', '2016-01-01') a, forecast_bookings('[2016-01-01,2016-04-01)', '{owner_id}', '2016-01-01') b;
SELECT readings() AS all_then_by_owner;
SELECT count(*) FROM forecast_team('[2016-01-01,2016-04-01)', '2016-01-01');
SELECT readings() AS team_and_its_join;
SELECT count(*) FROM simulate_forecast('{"win_rate": 1.1, "drop": ["D0729"]}', '[2016-01-01,2016-04-01)', '2016-01-01');
SELECT readings() AS simulation;
SELECT take_forecast_snapshot('2016-01-01') > 100 AS taken;
SELECT readings() AS snapshot_its_list_and_owners;
-- several horizons and many deals in one query too
SELECT count(*) > 50 AS many, max(abs(win_probability_now(d.opportunity_id, '30 days', '2016-01-01') - d.probability_30)) < 1e-9 AS days_30,
       max(abs(win_probability_now(d.opportunity_id, '90 days', '2016-01-01') - d.probability_90)) < 1e-9 AS days_90
  FROM forecast_deals('[2016-01-01,2016-04-01)', '2016-01-01') d;
SELECT readings() AS chances;
-- grouped anew or from the start: the same
CREATE TABLE alone AS SELECT grp, booked, total::text FROM forecast_bookings('[2015-11-01,2016-04-01)', '{region,type}', '2016-01-01');
SELECT count(*) AS groups, count(*) FILTER (WHERE a.booked = b.booked AND a.total = b.total::text) AS alike
  FROM (SELECT count(*) FROM forecast_bookings('[2015-11-01,2016-04-01)', '{owner_id}', '2016-01-01')) other(n),
       LATERAL forecast_bookings('[2015-11-01,2016-04-01)', '{region,type}', timestamptz '2016-01-01' + other.n * interval '0') b LEFT JOIN alone a USING (grp);
-- as many groups as there are accounts add up
SELECT count(*) AS groups, abs(sum(mean(g.total)) / min(mean(w.total)) - 1) < 1e-9 AS means, sum(g.booked) = min(w.booked) AS booked
  FROM forecast_bookings('[2015-11-01,2016-02-01)', '{account_id}', '2016-01-01') g, forecast_bookings('[2015-11-01,2016-02-01)', '{}', '2016-01-01') w;
-- a rep who is there twice does not double his deals; an id that two rows share is two deals, each in its own group
INSERT INTO rep VALUES ('R0', 'M', 'LATAM', true);
SELECT g.grp, sum(g.booked) OVER () = w.booked AS adds_up
  FROM forecast_bookings('[2015-11-01,2016-02-01)', '{region}', '2016-01-01') g, forecast_bookings('[2015-11-01,2016-02-01)', '{}', '2016-01-01') w;
DELETE FROM rep WHERE region = 'LATAM';
BEGIN;
INSERT INTO kept VALUES ('D0001', '2015-12-01', '2015-12-02', 'Won', 77, 'twin', 'A', 'R1', 'one');
SELECT b.grp, b.booked FROM forecast_bookings('[2015-12-02,2015-12-03)', '{}', '2016-01-01') a, forecast_bookings('[2015-12-02,2015-12-03)', '{type}', '2016-01-01') b WHERE b.grp = '{twin}';
ROLLBACK;

-- where rows lie in their tables makes no difference, down to the last bit, and of changes at one instant the later stage counts
UPDATE kept_change SET entered_at = date_trunc('month', entered_at) WHERE opportunity_id LIKE '%7';
CREATE TABLE as_lying AS SELECT md5(string_agg(b.total::text, '' ORDER BY grp)) AS bookings FROM forecast_bookings('[2016-01-01,2016-04-01)', '{type,owner_id}', '2016-01-01') b;
CREATE TABLE deals_as_lying AS SELECT md5(string_agg(d::text, '' ORDER BY opportunity_id)) AS deals FROM forecast_deals('[2016-01-01,2016-04-01)', '2016-01-01') d;
CREATE TABLE other_place AS SELECT * FROM kept ORDER BY md5(opportunity_id);
TRUNCATE kept;
INSERT INTO kept SELECT * FROM other_place;
CREATE TABLE other_change AS SELECT * FROM kept_change ORDER BY md5(opportunity_id || stage || entered_at);
TRUNCATE kept_change;
INSERT INTO kept_change SELECT * FROM other_change;
SELECT bookings = (SELECT md5(string_agg(b.total::text, '' ORDER BY grp)) FROM forecast_bookings('[2016-01-01,2016-04-01)', '{type,owner_id}', '2016-01-01') b) AS same_bookings FROM as_lying;
SELECT deals = (SELECT md5(string_agg(d::text, '' ORDER BY opportunity_id)) FROM forecast_deals('[2016-01-01,2016-04-01)', '2016-01-01') d) AS same_deals FROM deals_as_lying;

-- days are the session's, also where clocks change
SET TimeZone = 'America/New_York';
BEGIN;
UPDATE kept SET created_at = timestamptz '2015-10-30 12:00Z' + right(opportunity_id, 3)::int * interval '37 minutes' WHERE closed_at IS NULL;
SELECT count(*) > 30 AS many, count(*) FILTER (WHERE d.age <> date '2016-01-01' - (k.created_at AT TIME ZONE 'America/New_York')::date) AS wrong
  FROM forecast_deals(NULL, '2016-01-01 15:00') d JOIN kept k USING (opportunity_id);
SET LOCAL TimeZone = 'Australia/Lord_Howe';
SELECT count(*) FILTER (WHERE d.age <> date '2016-01-01' - (k.created_at AT TIME ZONE 'Australia/Lord_Howe')::date) AS wrong
  FROM forecast_deals(NULL, '2016-01-01 15:00') d JOIN kept k USING (opportunity_id);
ROLLBACK;
SET TimeZone = 'UTC';

-- objects of the same names elsewhere, operators among them, are not used: their owner would act with the caller's rights
CREATE SCHEMA forecast_trap;
CREATE FUNCTION forecast_trap.spring(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped'; END $$;
CREATE FUNCTION forecast_trap.spring(timestamptz, timestamptz) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped'; END $$;
CREATE OPERATOR forecast_trap.= (LEFTARG = text, RIGHTARG = text, FUNCTION = forecast_trap.spring);
CREATE OPERATOR forecast_trap.<> (LEFTARG = text, RIGHTARG = text, FUNCTION = forecast_trap.spring);
CREATE OPERATOR forecast_trap.<= (LEFTARG = timestamptz, RIGHTARG = timestamptz, FUNCTION = forecast_trap.spring);
CREATE FUNCTION forecast_trap.lower(text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped'; END $$;
CREATE FUNCTION forecast_trap.round(numeric, int) RETURNS numeric LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped'; END $$;
CREATE FUNCTION forecast_trap.forecast_deals(daterange DEFAULT NULL, timestamptz DEFAULT now()) RETURNS SETOF text LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped'; END $$;
CREATE TABLE forecast_trap.opportunity (a int);
CREATE TABLE forecast_trap.stage (a int);
SET search_path = forecast_trap, pg_catalog;
SELECT count(*) FROM salesops.forecast_bookings('[2016-01-01,2016-04-01)', '{region,currency}', '2016-01-01');
SELECT count(*) > 10 AS some FROM salesops.forecast_deals(NULL, '2016-01-01');
SELECT count(*) > 10 AS some FROM salesops.opportunity_risk(NULL, '2016-01-01');
SELECT count(*) FROM salesops.forecast_team('[2016-01-01,2016-04-01)', '2016-01-01');
SELECT count(*) FROM salesops.simulate_forecast('{"win_rate": 1.1}', '[2016-01-01,2016-04-01)', '2016-01-01');
SELECT salesops.win_probability('D0729', '30 days', '2016-01-01') IS NOT NULL AS chance;
SELECT count(*) FROM salesops.backtest_forecast('2015-10-05', '2015-10-19', '7 days', '{30 days}');
SELECT salesops.take_forecast_snapshot('2016-01-02') > 100 AS taken;
SELECT count(*) AS steps FROM salesops.forecast_change('2016-01-01', '2016-01-02', '[2015-01-01,2017-01-01)');
SELECT count(*) > 10 AS some FROM salesops.opportunity_outlook;
SET search_path = forecast_service, salesops;
SET client_min_messages = warning;
DROP SCHEMA forecast_trap CASCADE;
SELECT count(*) FROM attach('opportunity', 'kept');
RESET client_min_messages;

-- a transaction that may not write
BEGIN READ ONLY;
SELECT count(*) FROM forecast_bookings('[2016-01-01,2016-04-01)', '{region}', '2016-01-01');
SELECT count(*) FROM forecast_team('[2016-01-01,2016-04-01)', '2016-01-01');
SELECT count(*) FROM simulate_forecast('{"win_rate": 1.1}', '[2016-01-01,2016-04-01)', '2016-01-01');
SELECT win_probability('D0729', '30 days', '2016-01-01') IS NOT NULL AS chance;
SELECT take_forecast_snapshot('2016-01-01');
ROLLBACK;

-- workers give what the leader gives
SELECT (train_win_model('default', '{}')).name AS trained;
CREATE TABLE serial AS SELECT opportunity_id, win_probability(opportunity_id, '30 days') AS p FROM kept;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SELECT count(*) FILTER (WHERE s.p IS DISTINCT FROM win_probability(k.opportunity_id, '30 days')) AS different, count(*) FROM kept k JOIN serial s USING (opportunity_id);
EXPLAIN (COSTS OFF) SELECT count(win_probability(k.opportunity_id, '30 days')) FROM kept k WHERE amount > 200;
SELECT sum(mean(f)) = sum(mean(g)) AS same FROM (SELECT merge(total) f, merge(total) g FROM forecast_bookings('[2016-01-01,2016-04-01)', '{owner_id}', '2016-01-01')) x;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;

-- rows that a role may not see are not in its forecast, whatever else was forecast in the same statement
UPDATE win_model SET active = false;
CREATE ROLE forecast_service_reader;
SELECT grant_access('forecast_service_reader', 'reader');
SET ROLE forecast_service_reader;
SELECT * FROM forecast_bookings('[2016-01-01,2016-04-01)', '{}', '2016-01-01');
RESET ROLE;
GRANT USAGE ON SCHEMA forecast_service TO forecast_service_reader;
GRANT SELECT ON kept, kept_change, rep TO forecast_service_reader;
ALTER TABLE kept ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON kept USING (tenant = current_setting('app.tenant', true));
CREATE TABLE truth AS SELECT tenant, sum(amount) AS booked FROM kept WHERE stage = 'Won' AND closed_at >= '2015-11-01' GROUP BY 1;
GRANT SELECT ON truth TO forecast_service_reader;
CREATE FUNCTION of_tenants(OUT mine float8, OUT hidden float8, OUT mine_again float8, OUT hidden_again float8, OUT sums numeric[]) LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.tenant', 'one', true);   -- D0728 and D0729 are: i % 4 < 2
  mine := salesops.win_probability_now('D0728', '90 days', '2016-01-01');
  hidden := salesops.win_probability_now('D0727', '90 days', '2016-01-01');
  SELECT array_agg(b.booked) INTO sums FROM salesops.forecast_bookings('[2015-11-01,2016-04-01)', '{}', '2016-01-01') b;
  PERFORM set_config('app.tenant', 'two', true);
  mine_again := salesops.win_probability_now('D0727', '90 days', '2016-01-01');
  hidden_again := salesops.win_probability_now('D0728', '90 days', '2016-01-01');
  SELECT sums || array_agg(b.booked) INTO sums FROM salesops.forecast_bookings('[2015-11-01,2016-04-01)', '{}', '2016-01-01') b;
END $$;
SET ROLE forecast_service_reader;
SELECT count(*) FROM forecast_bookings('[2016-01-01,2016-04-01)', '{}', '2016-01-01');
SELECT t.mine IS NOT NULL AS mine, t.hidden, t.mine_again IS NOT NULL AS mine_again, t.hidden_again,
       t.sums = ARRAY[(SELECT booked FROM truth WHERE tenant = 'one'), (SELECT booked FROM truth WHERE tenant = 'two')] AS booked FROM of_tenants() t;
SET app.tenant = 'one';
SELECT DISTINCT grp FROM forecast_bookings('[2016-01-01,2016-04-01)', '{owner_id}', '2016-01-01') ORDER BY 1;
SELECT count(*) FILTER (WHERE o.owner_id NOT IN ('R0', 'R1')) AS foreign_deals, count(*) > 10 AS own FROM opportunity_outlook o;
RESET app.tenant;
RESET ROLE;
DROP OWNED BY forecast_service_reader;
DROP ROLE forecast_service_reader;

-- an error in the middle leaves nothing behind that the next call would use
CREATE FUNCTION after_errors() RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
  answers text[] := '{}';
BEGIN
  FOR day IN 0 .. 2 LOOP
    BEGIN
      PERFORM salesops.forecast_bookings('[2016-01-01,2016-04-01)', '{}', timestamptz '2008-01-01' + day * interval '1 day');
    EXCEPTION WHEN object_not_in_prerequisite_state THEN
      answers := answers || SQLERRM;
    END;
  END LOOP;
  RETURN answers || (SELECT count(*)::text FROM salesops.forecast_bookings('[2016-01-01,2016-04-01)', '{owner_id}', '2016-01-01'));
END $$;
SELECT after_errors();

RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA forecast_service CASCADE;
DROP EXTENSION salesops;
