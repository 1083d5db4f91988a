-- Random plans over all features at once: in pieces, in any order, with changes before and after closing, the ledger comes to what a
-- calculation from scratch comes to; twice writes nothing; every line explains to its amount; the chain is whole. Seeded.
BEGIN;
SET client_min_messages = warning;
SELECT no_plan();
SELECT setseed(0.2027);
CREATE TABLE credit (credit_id text PRIMARY KEY, rep_id text, amount numeric, credited_on date, product text, deal_type text, currency text, event text, attributes jsonb);
CREATE INDEX ON credit (rep_id);
SELECT ok(count(*) > 0, 'attached') FROM salesops.attach('commission_credit', 'credit');
SELECT salesops.set_exchange_rate('EUR', 'USD', '2026-01-01', 1.1037), salesops.set_exchange_rate('EUR', 'USD', '2027-02-11', 1.2);
CREATE FUNCTION one_of(VARIADIC choices jsonb[]) RETURNS jsonb LANGUAGE sql VOLATILE AS 'SELECT choices[1 + floor(random() * array_length(choices, 1))::int]';
-- a scale (tiers or a curve), and what may come with it, each by chance; odd plans measure attainment
CREATE TABLE plan AS SELECT p, jsonb_strip_nulls(
    one_of('{"tiers":[{"from":0,"rate":0.031},{"from":0.6,"rate":0.07},{"from":1.1,"rate":0.11}]}', '{"tiers":[{"from":0,"rate":0.05},{"from":0.9,"rate":0.08,"retroactive":true,"bonus":120}]}',
           '{"curve":[{"at":0.3,"pays":0.21},{"at":1,"pays":1},{"at":1.7,"pays":2.3}]}', '{"method":"retroactive","tiers":[{"from":0,"rate":0.02},{"from":0.7,"rate":0.06}]}')
    || CASE WHEN p % 2 = 1 THEN jsonb_build_object('measure', 'attainment', 'target', one_of('7000', '333.33')) ELSE '{}' END
    || jsonb_build_object('period', 'quarter', 'negative', 'allow',
      'tiers_on', CASE WHEN random() < 0.25 THEN 'deal' END, 'cap', one_of('null', 'null', '4000'), 'floor', one_of('null', '50'), 'deal_cap', one_of('null', 'null', '250'), 'deal_floor', one_of('null', 'null', '3'),
      'cliff', one_of('null', 'null', '0.4'), 'amount', one_of('null', '"amount * 0.9"', '"amount - coalesce((attributes->>''cost'')::numeric, 0)"'), 'basis', one_of('"booking"', '"any"'),
      'rates', one_of('[{"where":"product = ''a''","rate":0.013}]', '[{"where":"product = ''a''","factor":0.5},{"where":"deal_type = ''renewal''","tiers":[{"from":0,"rate":0.01},{"from":0.2,"rate":0.02}]}]', 'null'),
      'bonuses', one_of('null', '[{"amount":7,"every":0.25,"cap":30},{"amount":100,"at":0.8}]', '[{"where":"amount > 4000","amount":5,"cap":20},{"rate":0.001,"at":0.5}]', '[{"where":"product = ''b''","rate":0.01,"budget":90}]'),
      'rate_date', one_of('"credited_on"', '"period_start"'))) AS definition FROM generate_series(1, 24) p;
SELECT count(salesops.create_commission_plan('p' || p, definition)) FROM plan;
SELECT count(salesops.assign_commission_plan('r' || r, 'p' || (r % 24 + 1), '[2027-01-01,)', 20000 + r)) FROM generate_series(1, 48) r;
CREATE FUNCTION more(prefix text, n int) RETURNS void LANGUAGE sql AS $$
  INSERT INTO credit SELECT prefix || i, 'r' || 1 + i % 48, round((random() * 7000 - 400)::numeric, 2), date '2027-01-01' + (random() * 89)::int, (ARRAY['a', 'b', NULL])[1 + (random() * 2)::int], (ARRAY['renewal', NULL])[1 + (random())::int],
    (ARRAY['EUR', NULL, 'USD'])[1 + (random() * 2)::int], (ARRAY['booking', NULL, 'payment'])[1 + (random() * 2)::int], CASE WHEN random() < 0.5 THEN jsonb_build_object('cost', (random() * 100)::int) END FROM generate_series(1, n) i $$;
CREATE FUNCTION change(n text) RETURNS void LANGUAGE sql AS $$
  UPDATE credit SET amount = amount + round((random() * 2000 - 1000)::numeric, 2) WHERE random() < 0.05;
  UPDATE credit SET product = 'a', event = NULL WHERE random() < 0.04;
  UPDATE credit SET credited_on = date '2027-01-01' + (random() * 89)::int WHERE random() < 0.03;
  DELETE FROM credit WHERE random() < 0.03;
  SELECT more(n, 60) $$;
-- from scratch, and what the ledger holds
CREATE FUNCTION scratch() RETURNS TABLE (rep_id text, amount numeric) LANGUAGE sql AS $$
  SELECT s.rep_id, sum(s.simulated) FROM plan, salesops.simulate_commissions('[2027-01-01,2027-04-01)', 'p' || p, definition) s GROUP BY 1 HAVING sum(s.simulated) <> 0 ORDER BY 1 $$;
CREATE VIEW held AS SELECT rep_id, sum(earned) AS amount FROM salesops.commission_posting WHERE for_period = '[2027-01-01,2027-04-01)' GROUP BY 1 HAVING sum(earned) <> 0 ORDER BY 1;
SELECT more('c', 900);
SELECT count(*) FROM generate_series(48, 1, -3) r, salesops.calculate_commission('r' || r, '[2027-01-01,2027-03-01)');
SELECT count(*) FROM salesops.calculate_commissions('[2027-01-01,2027-02-01)');
SELECT count(*) FROM salesops.calculate_commissions('[2027-01-01,2027-04-01)');
SELECT results_eq('SELECT * FROM held', 'SELECT * FROM scratch()', 'in pieces');
SELECT change('d');
SELECT count(*) FROM generate_series(1, 48, 2) r, salesops.calculate_commission('r' || r, '[2027-01-01,2027-04-01)');
SELECT count(*) FROM salesops.calculate_commissions('[2027-01-01,2027-04-01)');
SELECT results_eq('SELECT * FROM held', 'SELECT * FROM scratch()', 'after changes');
SELECT is(sum(lines), 0::bigint, 'twice writes nothing') FROM salesops.calculate_commissions('[2027-01-01,2027-04-01)');
SELECT is(sum(lines), 0::bigint, 'nor rep by rep') FROM generate_series(1, 48) r, salesops.calculate_commission('r' || r, '[2027-01-01,2027-04-01)');
SELECT ok(salesops.close_commission_period('[2027-01-01,2027-04-01)') > 900, 'closed');
SELECT change('e');
SELECT count(*) FROM salesops.calculate_commissions('[2027-04-01,2027-05-01)');
SELECT results_eq('SELECT * FROM held', 'SELECT * FROM scratch()', 'close, change, true-up is from scratch');
SELECT is(count(*), 0::bigint, 'all explained') FROM salesops.commission_line l WHERE (SELECT e.amount FROM salesops.explain_commission(l.line_id) e WHERE e.item = 'sentence') IS DISTINCT FROM l.amount;
SELECT ok(valid, 'the chain is whole') FROM salesops.verify_commission_ledger();
SELECT * FROM finish();
ROLLBACK;
