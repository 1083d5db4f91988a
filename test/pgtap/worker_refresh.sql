-- refresh_changed() of commissions gives what a full calculation gives: after it, calculating everything writes nothing. Random changes.
-- What hygiene and forecasts read is the rows themselves: it is current before a refresh as after one.
BEGIN;
SET client_min_messages = warning;
SELECT no_plan();
CREATE TABLE credit (credit_id text PRIMARY KEY, rep_id text, amount numeric, credited_on date);
INSERT INTO credit SELECT 'c' || i, 'r' || i % 5, 1000 + i * 37, date_trunc('quarter', now())::date + 1 FROM generate_series(1, 60) i;
CREATE TABLE rep (rep_id text PRIMARY KEY);
INSERT INTO rep SELECT 'r' || i FROM generate_series(0, 4) i;
SELECT count(*) FROM salesops.attach('commission_credit', 'credit');
SELECT count(*) FROM salesops.attach('sales_rep', 'rep');
SELECT salesops.create_commission_plan('p', '{"period": "quarter", "tiers": [{"from": 0, "rate": 0.05}, {"from": 10000, "rate": 0.08}]}');
SELECT salesops.assign_commission_plan(rep_id, 'p', '[2020-01-01,)') FROM rep;
SELECT count(*) FROM salesops.calculate_commissions(salesops.current_quarter());
SELECT salesops.watch('credit', 'commission_credit');

DELETE FROM credit WHERE credit_id = 'c7';
SELECT cmp_ok(salesops.refresh_changed('commission_credit'), '>', 0::bigint, 'a credit is deleted');
SELECT is(sum(lines), 0::bigint, 'its rep is calculated again') FROM salesops.calculate_commissions(salesops.current_quarter());
UPDATE credit SET rep_id = 'r4' WHERE credit_id = 'c10';
SELECT cmp_ok(salesops.refresh_changed('commission_credit'), '>', 0::bigint, 'a credit goes to another rep');
SELECT is(sum(lines), 0::bigint, 'so are both reps') FROM salesops.calculate_commissions(salesops.current_quarter());

-- random mixtures of inserts, updates, moves and deletes
SELECT setseed(0.42);
CREATE FUNCTION change() RETURNS void LANGUAGE sql AS $$
  DELETE FROM credit WHERE random() < 0.05;
  UPDATE credit SET amount = amount + 100 WHERE random() < 0.1;
  UPDATE credit SET rep_id = 'r' || floor(random() * 5) WHERE random() < 0.05;
  INSERT INTO credit SELECT gen_random_uuid(), 'r' || floor(random() * 5), round((random() * 5000)::numeric, 2) + 1, date_trunc('quarter', now())::date + 2
    FROM generate_series(1, 3);
$$;
CREATE FUNCTION left_over() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
  PERFORM change();
  PERFORM salesops.refresh_changed('commission_credit');
  RETURN (SELECT sum(c.lines) FROM salesops.calculate_commissions(salesops.current_quarter()) c);
END
$$;
SELECT is(left_over(), 0::bigint, 'nothing is left to a full calculation, round ' || i) FROM generate_series(1, 10) i;

-- credits that are a view of the deals: the deals are watched, as opportunities
SELECT salesops.unwatch('credit');
DELETE FROM salesops.change_batch;
CREATE TABLE deal (id int PRIMARY KEY, rep text, amount numeric, stage text, won_on date);
INSERT INTO deal SELECT i, 'r' || i % 5, 500 + i * 11, CASE WHEN i % 3 > 0 THEN 'won' ELSE 'new' END, date_trunc('quarter', now())::date + 1
  FROM generate_series(1, 80) i;
CREATE VIEW deal_credit AS SELECT 'deal ' || id AS credit_id, id::text AS opportunity_id, rep AS rep_id, amount, won_on AS credited_on FROM deal WHERE stage = 'won';
SELECT salesops.detach('commission_credit');
SELECT count(*) FROM salesops.attach('commission_credit', 'deal_credit', '{"credit_id": "credit_id", "opportunity_id": "opportunity_id"}');
SELECT count(*) FROM salesops.calculate_commissions(salesops.current_quarter());
SELECT salesops.watch('deal', 'opportunity');
CREATE FUNCTION left_over_deals() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM deal WHERE random() < 0.03;
  UPDATE deal SET amount = amount + 50 WHERE random() < 0.08;
  UPDATE deal SET rep = 'r' || floor(random() * 5) WHERE random() < 0.05;
  UPDATE deal SET stage = CASE stage WHEN 'won' THEN 'new' ELSE 'won' END WHERE random() < 0.05;
  INSERT INTO deal SELECT max(id) + 1, 'r' || floor(random() * 5), 700, 'won', date_trunc('quarter', now())::date + 2 FROM deal;
  PERFORM salesops.refresh_changed('opportunity');
  RETURN (SELECT sum(c.lines) FROM salesops.calculate_commissions(salesops.current_quarter()) c);
END
$$;
SELECT is(left_over_deals(), 0::bigint, 'nothing is left to a full calculation after deals have changed, round ' || i) FROM generate_series(1, 10) i;

-- hygiene and the inputs of forecasts
CREATE TABLE pipe (id int PRIMARY KEY, stage text, amount numeric, created_at timestamptz, closed_at timestamptz, close_date date, owner text);
INSERT INTO pipe SELECT i, (ARRAY['won', 'lost', 'open'])[1 + i % 3], 100 + i, now() - interval '200 days' + i * interval '1 hour',
       CASE WHEN i % 3 < 2 THEN now() - interval '100 days' + i * interval '3 hours' END, current_date + 5, 'r1' FROM generate_series(1, 300) i;
SELECT count(*) FROM salesops.attach('opportunity', 'pipe', '{"opportunity_id": "id", "owner_id": "owner"}');
SELECT salesops.define_stages('default', '[{"stage": "open", "ordinal": 1, "kind": "open"}, {"stage": "won", "ordinal": 2, "kind": "won"}, {"stage": "lost", "ordinal": 3, "kind": "lost"}]');
SELECT salesops.watch('pipe', 'opportunity');
CREATE FUNCTION derived() RETURNS text LANGUAGE sql AS $$
  SELECT (SELECT count(*) FROM salesops.pipeline_hygiene WHERE rule = 'missing_amount') || ' findings, mean ' ||
         (SELECT round(sum(salesops.mean(total))) FROM salesops.forecast_bookings(daterange(current_date, current_date + 90)))
$$;
CREATE TEMPORARY TABLE told AS SELECT 0 AS step, derived() AS what;
UPDATE pipe SET amount = NULL WHERE id IN (2, 5, 8);
INSERT INTO told SELECT 1, derived();
SELECT cmp_ok(salesops.refresh_changed('opportunity'), '=', 3::bigint, 'three deals have changed');
INSERT INTO told SELECT 2, derived();
UPDATE pipe SET amount = 100000 WHERE id = 2;
INSERT INTO told SELECT 3, derived();
SELECT matches(what, '^0 findings', 'no deal without an amount') FROM told WHERE step = 0;
SELECT matches(what, '^3 findings', 'three, as soon as they are written') FROM told WHERE step = 1;
SELECT is((SELECT what FROM told WHERE step = 1), (SELECT what FROM told WHERE step = 2), 'a refresh finds nothing left to do for hygiene and forecast');
SELECT matches(what, '^2 findings', 'one is mended') FROM told WHERE step = 3;
SELECT cmp_ok((SELECT substring(what, 'mean (.*)')::numeric FROM told WHERE step = 3), '>', 10 * (SELECT substring(what, 'mean (.*)')::numeric FROM told WHERE step = 2) / 9,
  'and the forecast has its amount at once');
SELECT * FROM finish();
ROLLBACK;
