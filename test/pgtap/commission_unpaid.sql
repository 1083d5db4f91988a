-- Clawback on non-payment: what is not paid within the plan's window is taken back by itself, and comes back where it is paid late.
-- Dates are past, as a window of the future has not passed. Each figure is worked out beside it.
BEGIN;
SET client_min_messages = warning;
SELECT no_plan();
CREATE TABLE credit (credit_id text PRIMARY KEY, rep_id text, amount numeric, credited_on date, opportunity_id text, currency text,
                     product text, deal_type text, split numeric, segment text, event text, attributes jsonb);
CREATE TABLE rep (rep_id text PRIMARY KEY, name text, manager_id text, is_active boolean DEFAULT true);
INSERT INTO rep VALUES ('r', 'r', 'm'), ('s', 's', 'm'), ('m', 'm', NULL);
SELECT ok(count(*) > 0, 'credits attached') FROM salesops.attach('commission_credit', 'credit');
SELECT ok(count(*) > 0, 'reps attached') FROM salesops.attach('sales_rep', 'rep');

-- what a plan pays with each month of the first half of 2025, each closed before the next, and each calculated once more; one rep, by kind
CREATE FUNCTION months(definition jsonb, change jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  at date := '2025-01-01';
  answer jsonb;
BEGIN
  PERFORM salesops.create_commission_plan('p', definition);
  PERFORM salesops.assign_commission_plan(r, 'p', '[2025-01-01,)') FROM unnest('{r,s}'::text[]) r;
  WHILE at < '2025-07-01' LOOP
    PERFORM count(*) FROM salesops.calculate_commission('r', daterange(at, (at + interval '1 month')::date));
    PERFORM salesops.close_commission_period(daterange(at, (at + interval '1 month')::date));
    IF change ? at::text THEN EXECUTE change->>at::text; END IF;
    at := at + interval '1 month';
  END LOOP;
  -- twice writes nothing, whichever month is asked for
  IF (SELECT sum(c.lines) FROM generate_series(1, 7) m, salesops.calculate_commissions(daterange(make_date(2025, m, 1), make_date(2025, m + 1, 1))) c) <> 0 THEN
    RAISE EXCEPTION 'not idempotent';
  END IF;
  IF EXISTS (SELECT FROM salesops.commission_line l WHERE (SELECT e.amount FROM salesops.explain_commission(l.line_id) e WHERE e.item = 'sentence') IS DISTINCT FROM l.amount) THEN
    RAISE EXCEPTION 'a line is not explained';
  END IF;
  IF (SELECT NOT valid FROM salesops.verify_commission_ledger()) THEN RAISE EXCEPTION 'broken chain'; END IF;
  SELECT jsonb_build_object('paid', (SELECT jsonb_object_agg(m, s) FROM (SELECT to_char(lower(period), 'MM') || ' ' || rep_id, sum(amount) FROM salesops.commission_line GROUP BY 1 HAVING sum(amount) <> 0) v(m, s)),
    'kinds', (SELECT jsonb_object_agg(kind, s) FROM (SELECT kind, sum(amount) FROM salesops.commission_line GROUP BY 1) v(kind, s)),
    'why', (SELECT jsonb_agg(e.detail ORDER BY line_id) FROM salesops.commission_line l, salesops.explain_commission(l.line_id) e WHERE e.item = 'payment'),
    'same', (SELECT bool_and(l.amount = s.simulated) FROM (SELECT rep_id, sum(earned) FROM salesops.commission_posting GROUP BY 1) l(rep_id, amount)
             JOIN (SELECT c.rep_id, sum(c.simulated) FROM salesops.simulate_commissions('[2025-01-01,2025-07-01)', 'p', definition) c GROUP BY 1) s(rep_id, simulated) USING (rep_id))) INTO answer;
  RAISE EXCEPTION USING ERRCODE = 'P7777', MESSAGE = answer::text;
EXCEPTION WHEN SQLSTATE 'P7777' THEN
  RETURN SQLERRM::jsonb;
END
$$;
CREATE FUNCTION paid(definition jsonb, change jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS 'SELECT months(definition, change)->''paid''';

-- o is paid in time, u never, l late, h by half (of 30 days), and q belongs to nobody's deal, so nobody pays for it
INSERT INTO credit (credit_id, rep_id, amount, credited_on, opportunity_id, event) VALUES
  ('o', 'r', 1000, '2025-01-05', 'o', 'booking'), ('o paid', 'r', 1000, '2025-02-04', 'o', 'payment'),
  ('u', 'r', 2000, '2025-01-06', 'u', 'booking'),
  ('l', 'r', 3000, '2025-01-07', 'l', 'booking'), ('l paid', NULL, 3000, '2025-04-20', 'l', 'payment'),
  ('h', 's', 4000, '2025-01-08', 'h', 'booking'), ('h paid', 's', 1000, '2025-01-20', 'h', 'payment'), ('h more', 's', 1000, '2025-02-01', 'h', 'payment');
-- January 10 % of 6,000; in February u and l are 30 days old: -200 - 300; in April l is paid after all: 300. s: 400, then all of it or half of it back
SELECT is(months('{"non_payment":{"days":30},"tiers":[{"from":0,"rate":0.1}]}'),
  '{"paid":{"01 r":600.00,"02 r":-500.00,"04 r":300.00,"01 s":400.00,"02 s":-400.00},"kinds":{"earned":1000.00,"clawback":-900.00,"true_up":300.00},"same":true,
    "why":["not paid within 30 days of 2025-01-06","not paid within 30 days of 2025-01-07","not paid within 30 days of 2025-01-08","paid after all, later than 30 days from 2025-01-07"]}'::jsonb, 'unpaid deals are taken back when the window has passed, and come back when they are paid');
SELECT is(paid('{"non_payment":{"days":30,"late_payment":"is_lost"},"tiers":[{"from":0,"rate":0.1}]}'), '{"01 r":600.00,"02 r":-500.00,"01 s":400.00,"02 s":-400.00}', 'a late payment does not bring it back where the plan says so');
SELECT is(paid('{"non_payment":{"days":30,"take_back":"unpaid"},"tiers":[{"from":0,"rate":0.1}]}'), '{"01 r":600.00,"02 r":-500.00,"04 r":300.00,"01 s":400.00,"02 s":-200.00}', 'only what is not paid');
SELECT is(paid('{"non_payment":{"days":30,"share":0.5},"tiers":[{"from":0,"rate":0.1}]}'), '{"01 r":600.00,"02 r":-500.00,"04 r":300.00,"01 s":400.00}', 'half of it is enough');
SELECT is(paid('{"non_payment":{"days":29,"late_payment":"is_lost"},"tiers":[{"from":0,"rate":0.1}]}') -> '02 r', '-600.00', 'the day after the window is too late');
SELECT is(paid('{"non_payment":{"days":60},"tiers":[{"from":0,"rate":0.1}]}'), '{"01 r":600.00,"03 r":-500.00,"04 r":300.00,"01 s":400.00,"03 s":-400.00}', 'a window of 60 days');
-- tiers: 5 % to 3,000, 10 % beyond: 150 + 300 = 450 for 6,000, 50 for the 1,000 that are paid, 4,000 comes to 250: what it earned is taken back, not what it would earn now
SELECT is(paid('{"non_payment":{"days":30},"tiers":[{"from":0,"rate":0.05},{"from":3000,"rate":0.1}]}'), '{"01 r":450.00,"02 r":-400.00,"04 r":200.00,"01 s":250.00,"02 s":-250.00}', 'what it earned is taken back');
-- each deal by itself, a bonus a deal, and the manager: 600 + 3 * 10; 5 % of all for m
SELECT is(paid('{"non_payment":{"days":30},"deal_cap":250,"bonuses":[{"amount":10}],"manager_override":{"rate":0.05},"tiers":[{"from":0,"rate":0.1}]}'),
  '{"01 r":580.00,"02 r":-470.00,"04 r":260.00,"01 s":260.00,"02 s":-260.00,"01 m":500.00,"02 m":-450.00,"04 m":150.00}', 'with deal caps, bonuses and overrides');
-- in an open quarter: nothing is paid for what is unpaid at its end
SELECT is(paid('{"period":"quarter","non_payment":{"days":30},"tiers":[{"from":0,"rate":0.1}]}'), '{"01 r":600.00,"02 r":-500.00,"04 r":300.00,"01 s":400.00,"02 s":-400.00}', 'within an open quarter, month by month');
-- a clawback window for cancellations does not hold non-payment up, and a cancelled deal is not taken back twice
SELECT is(paid('{"clawback_days":10,"non_payment":{"days":60},"tiers":[{"from":0,"rate":0.1}]}'), '{"01 r":600.00,"03 r":-500.00,"04 r":300.00,"01 s":400.00,"03 s":-400.00}', 'beside clawback_days');
SELECT is(paid('{"non_payment":{"days":60},"tiers":[{"from":0,"rate":0.1}]}', '{"2025-01-01":"INSERT INTO credit (credit_id, rep_id, amount, credited_on, opportunity_id, deal_type) VALUES (''c'', ''r'', -2000, ''2025-02-10'', ''u'', ''cancellation'')"}'),
  '{"01 r":600.00,"02 r":-200.00,"03 r":-300.00,"04 r":300.00,"01 s":400.00,"03 s":-400.00}', 'a cancelled deal is not taken back once more');
-- the payment of u is entered late, though it was in time: nothing was wrong, and what was taken back comes back
SELECT is(paid('{"non_payment":{"days":30},"tiers":[{"from":0,"rate":0.1}]}', '{"2025-03-01":"INSERT INTO credit (credit_id, rep_id, amount, credited_on, opportunity_id, event) VALUES (''u paid'', ''r'', 2000, ''2025-02-01'', ''u'', ''payment'')"}') -> '04 r', '500.00', 'a payment entered late');
-- the oldest credit of a deal is paid first: of 500 + 500, 600 pays the first
SELECT is(paid('{"where":"opportunity_id = ''two''","non_payment":{"days":30},"tiers":[{"from":0,"rate":0.1}]}',
  '{"2025-02-01":"INSERT INTO credit (credit_id, rep_id, amount, credited_on, opportunity_id, event) VALUES (''1'', ''r'', 500, ''2025-03-01'', ''two'', NULL), (''2'', ''r'', 500, ''2025-03-02'', ''two'', NULL), (''3'', ''r'', 600, ''2025-03-02'', ''two'', ''payment'')"}'),
  '{"03 r":100.00,"04 r":-50.00}', 'payments go to the oldest credit first');
-- a payment in another currency cannot be compared
UPDATE credit SET currency = 'EUR' WHERE credit_id = 'h paid';
SELECT throws_ok($$SELECT months('{"non_payment":{"days":30},"tiers":[{"from":0,"rate":0.1}]}')$$, '22023', 'commissions cannot be calculated', 'a payment in another currency is an error');
UPDATE credit SET currency = NULL;
-- by a column of the credit's own
UPDATE credit SET attributes = '{"paid": "2025-02-05"}' WHERE credit_id IN ('o', 'l');
SELECT is(paid('{"non_payment":{"days":30,"paid_on":"(attributes->>''paid'')::pg_catalog.date"},"tiers":[{"from":0,"rate":0.1}]}'),
  '{"01 r":600.00,"02 r":-200.00,"01 s":400.00,"02 s":-400.00}', 'by a date in the credit''s own row');
-- not before its day: this month and the next, nothing is unpaid yet
SELECT salesops.create_commission_plan('now', '{"period":"quarter","non_payment":{"days":40},"tiers":[{"from":0,"rate":0.1}]}'), salesops.assign_commission_plan('s', 'now', '[2025-01-01,)');
INSERT INTO credit (credit_id, rep_id, amount, credited_on, opportunity_id) VALUES ('new', 's', 700, CURRENT_DATE, 'new');
SELECT is(sum(earned), 70.00, 'a window that has not passed takes nothing back')
  FROM salesops.calculate_commissions(daterange(date_trunc('quarter', CURRENT_DATE)::date, (date_trunc('quarter', CURRENT_DATE) + interval '1 year')::date));
-- mistakes
SELECT throws_ok($$SELECT salesops.create_commission_plan('x', '{"basis":"payment","non_payment":{"days":-1,"share":2,"take_back":"some","late_payment":"x","paid":1},"tiers":[{"from":0,"rate":0.1}]}')$$, '22023', NULL, 'all mistakes');
SELECT throws_ok($$SELECT salesops.create_commission_plan('x', '{"non_payment":{"days":3,"paid_on":"credited_on + nothing"},"tiers":[{"from":0,"rate":0.1}]}')$$, '22023', NULL, 'an expression that is none');
SELECT * FROM finish();
ROLLBACK;
