-- Closed periods are left alone while nothing they depend on has changed, and every kind of change is seen: in transactions of their own,
-- as what a transaction writes itself always counts as changed.
SET client_min_messages = warning; DROP EXTENSION IF EXISTS salesops CASCADE; CREATE EXTENSION salesops; RESET client_min_messages;
SET datestyle = 'ISO, YMD';
CREATE SCHEMA commission_unchanged; SET search_path = commission_unchanged;
CREATE TABLE credit (credit_id int PRIMARY KEY, rep_id text, amount numeric, credited_on date, currency text);
INSERT INTO credit SELECT i, 'r' || i % 3, 100, date '2027-01-01' + i % 180, CASE WHEN i % 10 = 0 THEN 'EUR' END FROM generate_series(1, 600) i;
SELECT count(*) > 0 AS attached FROM salesops.attach('commission_credit', 'credit');
SELECT salesops.set_exchange_rate('EUR', 'USD', '2026-01-01', 1.1);
SELECT salesops.create_commission_plan('p', '{"measure":"attainment","tiers":[{"from":0,"rate":0.1},{"from":1,"rate":0.2}]}');
SELECT salesops.assign_commission_plan('r' || i, 'p', '[2027-01-01,)', 2000) FROM generate_series(0, 2) i;
SELECT salesops.close_commission_period('[2027-01-01,2027-02-01)'), salesops.close_commission_period('[2027-02-01,2027-03-01)');
SELECT salesops.close_commission_period('[2027-03-01,2027-04-01)');
-- what was looked at
CREATE VIEW noted AS SELECT upper(looked_at) AS looked_at_to, credits, credits = (SELECT count(*) FROM credit WHERE looked_at @> credited_on) AS counted FROM salesops.commission_checked;
SELECT * FROM noted;
-- a change to a closed month, of each kind, is found by the calculation of the month that is open
CREATE FUNCTION corrected() RETURNS TABLE (rep_id text, for_period daterange, credit_id text, kind text, amount numeric) LANGUAGE plpgsql AS $$
DECLARE
  before bigint := max(l.line_id) FROM salesops.commission_line l;
BEGIN
  PERFORM count(*) FROM salesops.calculate_commissions('[2027-04-01,2027-05-01)');
  RETURN QUERY SELECT l.rep_id, l.for_period, l.credit_id, l.kind, l.amount FROM salesops.commission_line l WHERE l.line_id > before ORDER BY l.line_id;
END
$$;
SELECT count(*) AS april FROM corrected();
SELECT count(*) AS nothing FROM corrected();
SELECT * FROM noted;
UPDATE credit SET amount = 150 WHERE credit_id = 30;
SELECT * FROM corrected();
DELETE FROM credit WHERE credit_id = 60;
SELECT * FROM corrected();
INSERT INTO credit VALUES (1000, 'r1', 70, '2027-01-15');
SELECT * FROM corrected();
-- one goes, another comes: the count stays
DELETE FROM credit WHERE credit_id = 33; INSERT INTO credit VALUES (1001, 'r1', 80, '2027-02-15');
SELECT * FROM corrected();
-- a credit moved from one closed month to another
UPDATE credit SET credited_on = '2027-03-20' WHERE credit_id = 1000;
SELECT * FROM corrected();
-- what accounts are made from besides: a rate of a past day, a quota
SELECT salesops.set_exchange_rate('EUR', 'USD', '2027-02-01', 1.2);
SELECT * FROM corrected();
UPDATE salesops.commission_assignment SET quota = 3000 WHERE rep_id = 'r1';
SELECT * FROM corrected();
SELECT count(*) AS nothing FROM corrected();
-- a rewritten table is another one: read again, with nothing to correct
VACUUM FULL credit;
SELECT count(*) AS nothing FROM corrected();
CREATE TABLE copy (LIKE credit); INSERT INTO copy SELECT * FROM credit; UPDATE copy SET amount = 200 WHERE credit_id = 3;
SELECT count(*) > 0 AS attached FROM salesops.attach('commission_credit', 'copy');
SELECT * FROM corrected();
-- from a view all is read each time: a change is found there as well, and nothing is noted
CREATE VIEW credit_view AS SELECT * FROM copy;
SELECT count(*) > 0 AS attached FROM salesops.attach('commission_credit', 'credit_view');
UPDATE copy SET amount = 100 WHERE credit_id = 3;
SELECT * FROM corrected();
-- back to the table: what the view's calculation corrected is corrected again
SELECT count(*) > 0 AS attached FROM salesops.attach('commission_credit', 'copy');
SELECT * FROM corrected();
UPDATE salesops.commission_assignment SET quota = 2500 WHERE rep_id = 'r1';
SELECT sum(lines) AS r1 FROM salesops.calculate_commission('r1', '[2027-04-01,2027-05-01)');
UPDATE salesops.commission_assignment SET quota = 3000 WHERE rep_id = 'r1';
SELECT * FROM corrected();
-- all in all as from scratch
SELECT c.rep_id, sum(c.earned) = sum(s.simulated) AS same FROM (SELECT rep_id, sum(earned) AS earned FROM salesops.commission_posting WHERE for_period << '[2027-05-01,)' GROUP BY 1) c
  JOIN (SELECT s.rep_id, sum(s.simulated) AS simulated FROM generate_series(1, 4) m, salesops.simulate_commissions(daterange(make_date(2027, m, 1), make_date(2027, m + 1, 1)), 'p',
          '{"measure":"attainment","tiers":[{"from":0,"rate":0.1},{"from":1,"rate":0.2}]}') s GROUP BY 1) s USING (rep_id) GROUP BY 1 ORDER BY 1;
SELECT valid FROM salesops.verify_commission_ledger();
SET client_min_messages = warning;
DROP SCHEMA commission_unchanged CASCADE;
DROP EXTENSION salesops CASCADE;
