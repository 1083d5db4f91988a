-- Laws of the ledger on random plans and credits: lines add up to round(F(total)); any split and order of the calculation
-- gives the same; close, change, true-up is recalculating from scratch; the chain is whole throughout. Seeded.
BEGIN;
SET client_min_messages = warning;
SELECT no_plan();
SELECT setseed(0.42);
CREATE TABLE credit (credit_id text PRIMARY KEY, rep_id text, amount numeric, credited_on date, product text, deal_type text);
CREATE INDEX ON credit (rep_id);
SELECT ok(count(*) > 0, 'attached') FROM salesops.attach('commission_credit', 'credit');
CREATE TABLE tiers AS SELECT p, CASE WHEN p % 2 = 0 THEN 'marginal' ELSE 'retroactive' END AS method,
  jsonb_build_array(jsonb_build_object('from', 0, 'rate', round(random()::numeric / 5, 4)),
                    jsonb_build_object('from', 10000 + (random() * 20000)::int, 'rate', round(random()::numeric / 5, 4)),
                    jsonb_build_object('from', 40000 + (random() * 20000)::int, 'rate', round(random()::numeric / 5, 5))) AS tiers,
  CASE WHEN p % 3 = 0 THEN 9000 END AS cap FROM generate_series(1, 8) p;
SELECT count(salesops.create_commission_plan('p' || p, jsonb_strip_nulls(jsonb_build_object('period', 'quarter', 'negative', 'allow', 'method', method, 'tiers', tiers, 'cap', cap)))) FROM tiers;
SELECT count(salesops.assign_commission_plan('r' || r, 'p' || (r % 8 + 1), '[2027-01-01,)')) FROM generate_series(1, 24) r;
INSERT INTO credit SELECT i, 'r' || 1 + i % 24, round((random() * 9000 - 500)::numeric, 2), date '2027-01-01' + (random() * 89)::int FROM generate_series(1, 720) i;

-- what it must be, from the credits alone
CREATE VIEW wanted AS
  SELECT c.rep_id, round(least(salesops.commission(0, sum(c.amount), t.tiers, t.method), t.cap), 2) AS amount
    FROM credit c JOIN tiers t ON t.p = substr(c.rep_id, 2)::int % 8 + 1 GROUP BY c.rep_id, t.tiers, t.method, t.cap;
CREATE VIEW held AS SELECT rep_id, sum(amount) AS amount FROM salesops.commission_line GROUP BY rep_id;

-- calculated in pieces: some reps first, a month, then all
SELECT count(*) FROM generate_series(1, 24, 3) r, salesops.calculate_commission('r' || r, '[2027-01-01,2027-02-10)');
SELECT count(*) FROM salesops.calculate_commissions('[2027-01-01,2027-03-01)');
SELECT is(count(*), 24::bigint, 'calculated') FROM salesops.calculate_commissions('[2027-01-01,2027-04-01)');
SELECT results_eq('SELECT * FROM held ORDER BY 1', 'SELECT * FROM wanted ORDER BY 1', 'lines add up to F of the sum, however split');
SELECT is((SELECT count(*) FROM salesops.commission_line), 720::bigint, 'a line a credit');

-- changes in the open period, again in pieces
CREATE FUNCTION change() RETURNS void LANGUAGE sql AS $$
  UPDATE credit SET amount = amount + round((random() * 2000 - 1000)::numeric, 2) WHERE random() < 0.05;
  DELETE FROM credit WHERE random() < 0.03;
  UPDATE credit SET credited_on = date '2027-01-01' + (random() * 89)::int WHERE random() < 0.03;
  UPDATE credit SET rep_id = 'r' || 1 + (random() * 23)::int WHERE random() < 0.02;
  INSERT INTO credit SELECT 'n' || i || random(), 'r' || 1 + i % 24, round((random() * 9000 - 500)::numeric, 2), date '2027-01-01' + (random() * 89)::int FROM generate_series(1, 15) i;
$$;
SELECT change();
SELECT count(*) FROM generate_series(1, 24, 2) r, salesops.calculate_commission('r' || r, '[2027-01-01,2027-04-01)');
SELECT count(*) FROM salesops.calculate_commissions('[2027-01-01,2027-02-01)');
SELECT count(*) FROM salesops.calculate_commissions('[2027-01-01,2027-04-01)');
SELECT results_eq('SELECT * FROM held ORDER BY 1', 'SELECT * FROM wanted ORDER BY 1', 'changes in an open period');
SELECT is(sum(lines), 0::bigint, 'twice writes nothing') FROM salesops.calculate_commissions('[2027-01-01,2027-04-01)');

-- closed: changes become true-ups, whichever period is calculated
SELECT salesops.close_commission_period('[2027-01-01,2027-04-01)');
CREATE TABLE closed AS SELECT sum(earned) AS earned FROM salesops.commission_statement WHERE period = '[2027-01-01,2027-04-01)';
SELECT change();
SELECT count(*) FROM salesops.calculate_commissions('[2027-04-01,2027-07-01)');
SELECT results_eq('SELECT * FROM held ORDER BY 1', 'SELECT * FROM wanted ORDER BY 1', 'true-ups in the next quarter');
SELECT change();
SELECT count(*) FROM salesops.calculate_commissions('[2027-01-01,2027-04-01)');
SELECT results_eq('SELECT * FROM held ORDER BY 1', 'SELECT * FROM wanted ORDER BY 1', 'true-ups when the closed quarter itself is calculated');
SELECT change();
SELECT count(*) FROM generate_series(1, 24) r, salesops.calculate_commission('r' || r, '[2027-04-01,2027-05-01)');
SELECT results_eq('SELECT * FROM held ORDER BY 1', 'SELECT * FROM wanted ORDER BY 1', 'true-ups rep by rep');
SELECT is(sum(earned), (SELECT earned FROM closed), 'the closed quarter stays as it was') FROM salesops.commission_statement WHERE period = '[2027-01-01,2027-04-01)';
SELECT is(count(*), 0::bigint, 'every true-up names what it corrects') FROM salesops.commission_line l
  WHERE kind = 'true_up' AND NOT EXISTS (SELECT FROM salesops.commission_line c WHERE c.line_id = l.corrects AND c.rep_id = l.rep_id AND c.line_id < l.line_id);
SELECT is(count(*), 0::bigint, 'all lines explain to their amount') FROM salesops.commission_line l
  WHERE l.amount <> (SELECT round(e.to_amount, 2) - round(e.from_amount, 2) FROM salesops.explain_commission(l.line_id) e WHERE e.item = 'rounding')
     OR l.cumulated_after - l.cumulated_before <> coalesce((SELECT sum(e.to_amount - e.from_amount) FROM salesops.explain_commission(l.line_id) e WHERE e.item = 'tier'), 0);
SELECT is(count(*), 0::bigint, 'slices and thresholds add up to the commission before rounding') FROM salesops.commission_line l,
  LATERAL (SELECT sum(e.amount) FILTER (WHERE e.item IN ('tier', 'threshold')) AS parts, max(e.to_amount - e.from_amount) FILTER (WHERE e.item = 'rounding') AS whole,
                  bool_or(e.item = 'period cap') AS capped FROM salesops.explain_commission(l.line_id) e) e
  WHERE parts <> whole AND NOT capped AND substr(l.rep_id, 2)::int % 8 + 1 NOT IN (3, 6);
SELECT ok(valid, 'the chain is whole') FROM salesops.verify_commission_ledger();

-- a new version of a plan in an open period, limits of deals, components, budgets: again from scratch
CREATE TABLE scratch (rep_id text, amount numeric);
SELECT count(salesops.replace_commission_plan('p' || p, jsonb_build_object('period', 'quarter', 'negative', 'allow', 'tiers', tiers, 'tiers_on', (ARRAY['period', 'deal'])[1 + p % 2], 'deal_cap', 300, 'deal_floor', 5,
  'rates', '[{"where": "product = ''a''", "rate": 0.01}]'::jsonb, 'bonuses', '[{"where": "amount > 3000", "amount": 10, "budget": 200}]'::jsonb), '2027-04-01')) FROM tiers;
INSERT INTO credit SELECT 's' || i, 'r' || 1 + i % 24, round((random() * 9000)::numeric, 2), date '2027-04-01' + (random() * 89)::int, (ARRAY['a', 'b'])[1 + i % 2] FROM generate_series(1, 300) i;
SELECT count(*) FROM salesops.calculate_commissions('[2027-04-01,2027-07-01)');
INSERT INTO credit SELECT 't' || i, 'r' || 1 + i % 24, round((random() * 9000)::numeric, 2), date '2027-04-01' + (random() * 89)::int, (ARRAY['a', 'b'])[1 + i % 2] FROM generate_series(1, 50) i;
UPDATE credit SET amount = amount * 1.1 WHERE credited_on >= '2027-04-01' AND random() < 0.1;
UPDATE credit SET product = 'a' WHERE credited_on >= '2027-04-01' AND random() < 0.1;
DELETE FROM credit WHERE credited_on >= '2027-04-01' AND random() < 0.05;
SELECT count(*) FROM salesops.calculate_commissions('[2027-04-01,2027-07-01)');
INSERT INTO scratch SELECT rep_id, sum(simulated) FROM tiers t, salesops.simulate_commissions('[2027-04-01,2027-07-01)', 'p' || p,
  (SELECT definition FROM salesops.commission_plan WHERE plan = 'p' || p ORDER BY version DESC LIMIT 1)) GROUP BY 1;
SELECT results_eq($$SELECT rep_id, sum(earned) FROM salesops.commission_posting WHERE lower(for_period) = '2027-04-01' GROUP BY 1 HAVING sum(earned) <> 0 ORDER BY 1$$,
  'SELECT rep_id, amount FROM scratch WHERE amount <> 0 ORDER BY 1', 'limits, components and budgets: as from scratch');
SELECT is(sum(lines), 0::bigint, 'twice writes nothing') FROM salesops.calculate_commissions('[2027-04-01,2027-07-01)');
SELECT ok(valid, 'the chain is whole') FROM salesops.verify_commission_ledger();

-- terms that change after the calculation: a version in the middle of the quarter, an assignment that ends, another quota
CREATE TABLE late (credit_id text, rep_id text, amount numeric, credited_on date);
INSERT INTO late SELECT i, 'q' || i % 3, 1000 + i, date '2028-01-01' + i FROM generate_series(1, 89) i;
SELECT ok(count(*) > 0, 'attached') FROM salesops.attach('commission_credit', 'late');
SELECT salesops.create_commission_plan('late', '{"period":"quarter","measure":"attainment","tiers":[{"from":0,"rate":0.05},{"from":1,"rate":0.1}],"floor":100,"draw":{"amount":2000},"bonuses":[{"at":0.5,"amount":50}]}');
SELECT salesops.assign_commission_plan('q' || i, 'late', '[2028-01-01,)', 20000) FROM generate_series(0, 2) i;
SELECT is(sum(lines), 89 + 3::bigint, 'credits and bonuses at a mark') FROM salesops.calculate_commissions('[2028-01-01,2028-04-01)') WHERE plan = 'late';
SELECT salesops.replace_commission_plan('late', '{"period":"quarter","measure":"attainment","tiers":[{"from":0,"rate":0.06},{"from":1,"rate":0.1}]}', '2028-02-15');
SELECT salesops.end_commission_assignment('q1', 'late', '2028-01-01') WHERE false;
SELECT salesops.end_commission_assignment('q1', 'late', '2028-03-01');
UPDATE salesops.commission_assignment SET quota = 30000 WHERE rep_id = 'q2';
SELECT throws_like($$SELECT * FROM salesops.calculate_commissions('[2028-01-01,2028-04-01)')$$, 'commissions cannot be calculated', 'credits after the end of an assignment');
DELETE FROM late WHERE rep_id = 'q1' AND credited_on >= '2028-03-01';
SELECT lives_ok($$SELECT * FROM salesops.calculate_commissions('[2028-01-01,2028-04-01)')$$, 'calculated');
SELECT results_eq($$SELECT rep_id, sum(earned) FROM salesops.commission_posting WHERE plan = 'late' GROUP BY 1 ORDER BY 1$$,
  $$SELECT 'q' || r, (WITH half AS (SELECT sum(amount) FILTER (WHERE credited_on < '2028-02-15') AS a, sum(amount) FILTER (WHERE credited_on >= '2028-02-15') AS b FROM late WHERE rep_id = 'q' || r),
      quota AS (SELECT round(q * 45 / 91, 2) AS a, round(q * days / 91, 2) AS b FROM (VALUES (20000.0, 46), (20000, 15), (30000, 46)) v(q, days) OFFSET r LIMIT 1)
      SELECT round(least(half.a, quota.a) * 0.05 + greatest(half.a - quota.a, 0) * 0.1, 2) + round(least(half.b, quota.b) * 0.06 + greatest(half.b - quota.b, 0) * 0.1, 2)
             + CASE WHEN half.a >= quota.a / 2 THEN 50 ELSE 0 END FROM half, quota) FROM generate_series(0, 2) r ORDER BY 1$$, 'two versions, each with its share of the quota');
SELECT is(sum(lines), 0::bigint, 'twice writes nothing') FROM salesops.calculate_commissions('[2028-01-01,2028-04-01)');
-- the plan was never meant for q0: all is taken back
DELETE FROM salesops.commission_assignment WHERE rep_id = 'q0';
SELECT lives_ok($$SELECT * FROM salesops.calculate_commissions('[2028-01-01,2028-04-01)')$$, 'calculated');
SELECT is(sum(amount), 0.00, 'an assignment that is gone takes all back') FROM salesops.commission_line WHERE rep_id = 'q0';
SELECT is(sum(lines), 0::bigint, 'once') FROM salesops.calculate_commissions('[2028-01-01,2028-04-01)');
SELECT is((SELECT count(*) FROM salesops.commission_line l, LATERAL (SELECT e.amount FROM salesops.explain_commission(l.line_id) e WHERE e.item = 'sentence') e WHERE e.amount <> l.amount), 0::bigint, 'all explained');
SELECT ok(valid, 'the chain is whole') FROM salesops.verify_commission_ledger();
SELECT * FROM finish();
ROLLBACK;
