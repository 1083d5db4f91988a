-- Random plans over what comes from other periods, other reps and other plans: overrides of managers, draws, gates, ramps, splits, refunds within a
-- clawback window, non-payment, levels, shared sums, ranks, pools, new versions and changes of plan. Whatever the order and the pieces, before and after
-- closing, the ledger comes to what a calculation from scratch comes to, draws to what a loop over the months says; twice writes nothing. Seeded.
BEGIN;
SET client_min_messages = warning;
SELECT no_plan();
SELECT setseed(0.5);
CREATE TABLE credit (credit_id text PRIMARY KEY, rep_id text, amount numeric, credited_on date, opportunity_id text, product text, deal_type text, event text, split numeric);
CREATE INDEX ON credit (rep_id);
CREATE TABLE rep (rep_id text PRIMARY KEY, name text, manager_id text, is_active boolean DEFAULT true);
INSERT INTO rep SELECT 'r' || i, 'r' || i, CASE WHEN i > 1 THEN 'r' || i / 2 END FROM generate_series(1, 36) i;
SELECT ok(count(*) > 0, 'attached') FROM salesops.attach('commission_credit', 'credit');
SELECT ok(count(*) > 0, 'reps attached') FROM salesops.attach('sales_rep', 'rep');
CREATE FUNCTION one_of(VARIADIC choices jsonb[]) RETURNS jsonb LANGUAGE sql VOLATILE AS 'SELECT choices[1 + floor(random() * array_length(choices, 1))::int]';
CREATE FUNCTION terms(p int) RETURNS jsonb LANGUAGE sql VOLATILE AS $$
  SELECT jsonb_strip_nulls(jsonb_build_object('measure', 'attainment', 'negative', 'allow',
    'tiers', one_of('[{"from":0,"rate":0.031},{"from":0.6,"rate":0.07},{"from":1.1,"rate":0.11}]', '[{"from":0,"rate":0.05},{"from":0.9,"rate":0.08}]'),
    'gate', one_of('null', '{"at":0.9,"above":0.6}', '{"at":0.2,"above":0.9,"of":"year"}'),
    'ramp', one_of('null', '[0.25,0.5,0.75]'), 'floor', one_of('null', 'null', '40'), 'cap', one_of('null', 'null', '900'),
    'draw', CASE WHEN p % 5 = 2 THEN '{"amount":400}' ELSE one_of('null', '{"amount":300,"periods":2}', '{"amount":350,"recoverable":false}') END,
    'manager_override', one_of('null', '{"rate":0.01,"levels":2}', '{"rates":[0.02,0.01,0.003]}'),
    -- what is taken back only in time does not come to the same from scratch: refunds by their date do
    'clawback_days', CASE WHEN p % 4 = 0 THEN 25 END,
    'non_payment', CASE WHEN p % 4 = 1 THEN one_of('{"days":20}', '{"days":10,"take_back":"unpaid"}', '{"days":30,"share":0.5,"late_payment":"is_lost"}') END,
    'rates', one_of('null', '[{"where":"product = ''a''","sum":"plan","tiers":[{"from":0,"rate":0.01},{"from":0.7,"rate":0.09}]}]',
      '[{"name":"a","where":"product = ''a''","rate":0.02},{"name":"b","where":"product = ''b''","quota_share":0.5,"by":{"of":"a","levels":[{"at":0,"rate":0.05},{"at":0.4,"tiers":[{"from":0,"rate":0.04},{"from":0.5,"rate":0.13}]}]}}]',
      '[{"where":"product = ''a''","by":{"of":"all","levels":[{"at":0,"rate":0.033},{"at":0.8,"rate":0.071}]}}]'),
    'bonuses', CASE WHEN p % 4 = 0 THEN '[{"rank":[70,30]}]' ELSE one_of('null', '[{"rank":[100,50.5,20],"at":0.5}]', '[{"pool":"proportional","rate":0.004,"at":0.2},{"where":"product = ''b''","amount":3}]', '[{"pool":"equal","amount":100.01}]') END)) $$;
CREATE TABLE plan AS SELECT p, terms(p) AS definition FROM generate_series(1, 12) p;
SELECT count(salesops.create_commission_plan('p' || p, definition)) FROM plan;
-- some change plan in the middle of February, some get another quota then, some begin then
SELECT count(salesops.assign_commission_plan('r' || r, 'p' || (r % 12 + 1), CASE r % 6 WHEN 1 THEN '[2025-02-14,)' WHEN 2 THEN '[2025-01-01,2025-02-14)' WHEN 3 THEN '[2025-01-01,2025-02-14)' ELSE '[2025-01-01,)' END::daterange, 9000 + r)) FROM generate_series(1, 36) r;
SELECT count(salesops.assign_commission_plan('r' || r, 'p' || CASE r % 6 WHEN 2 THEN (r + 4) % 12 + 1 ELSE r % 12 + 1 END, '[2025-02-14,)', 11000 + r)) FROM generate_series(1, 36) r WHERE r % 6 IN (2, 3);
CREATE FUNCTION more(prefix text, n int) RETURNS void LANGUAGE sql AS $$
  INSERT INTO credit SELECT prefix || i, 'r' || 1 + i % 36, round((random() * 5000)::numeric, 2), date '2025-01-01' + (random() * 89)::int, prefix || i, (ARRAY['a', 'b', NULL])[1 + (random() * 2)::int] FROM generate_series(1, n) i;
  -- payments of some, refunds of some, and deals that two share
  INSERT INTO credit (credit_id, rep_id, amount, credited_on, opportunity_id, event) SELECT credit_id || ' paid', CASE WHEN random() < 0.8 THEN rep_id END, round(amount * one_of('1', '0.5', '0.7')::numeric, 2), credited_on + (random() * 40)::int, opportunity_id, 'payment'
    FROM credit WHERE credit_id ~ ('^' || prefix || '\d+$') AND random() < 0.6;
  INSERT INTO credit (credit_id, rep_id, amount, credited_on, opportunity_id, deal_type) SELECT credit_id || ' back', rep_id, - amount, least(credited_on + (random() * 50)::int, '2025-03-31'), opportunity_id, 'cancellation'
    FROM credit WHERE credit_id ~ ('^' || prefix || '\d+$') AND random() < 0.06;
  INSERT INTO credit (credit_id, rep_id, amount, credited_on, opportunity_id, split) SELECT prefix || 's' || i || s, 'r' || 1 + (i * 7 + s * 11) % 36, 1000 + i / 3.0, date '2025-01-01' + i % 90, prefix || 's' || i, CASE s WHEN 0 THEN 1 - 1 / 3.0 ELSE 1 / 3.0 END
    FROM generate_series(1, n / 8) i, generate_series(0, 1) s $$;
CREATE FUNCTION change(n text) RETURNS void LANGUAGE sql AS $$
  UPDATE credit SET amount = amount + round((random() * 900)::numeric, 2) WHERE random() < 0.06 AND amount > 0 AND split IS NULL;
  UPDATE credit SET product = 'a' WHERE random() < 0.05 AND split IS NULL;
  UPDATE credit SET credited_on = credited_on + 3 WHERE random() < 0.05 AND event = 'payment';
  DELETE FROM credit c WHERE random() < 0.03 AND split IS NULL AND NOT EXISTS (SELECT FROM salesops.commission_assignment a JOIN plan ON a.plan = 'p' || p WHERE a.rep_id = c.rep_id AND plan.definition ? 'clawback_days');
  SELECT more(n, 24) $$;
-- from scratch, by plan and rep, and what the ledger holds; until the day given
CREATE FUNCTION simulated(until date) RETURNS TABLE (plan text, rep_id text, current numeric, simulated numeric) LANGUAGE sql AS $$
  SELECT n, s.* FROM (SELECT 'p' || p, definition FROM plan UNION ALL SELECT 'o', '{"tiers":[{"from":0,"rate":0}]}') v(n, d), salesops.simulate_commissions(daterange('2025-01-01', until), n, d) s $$;
CREATE FUNCTION scratch(until date) RETURNS TABLE (plan text, rep_id text, amount numeric) LANGUAGE sql AS $$
  SELECT s.plan, s.rep_id, s.current FROM simulated(until) s WHERE s.current <> 0 ORDER BY 1, 2 $$;
CREATE VIEW held AS SELECT plan, rep_id, sum(earned) AS amount FROM salesops.commission_posting GROUP BY 1, 2 HAVING sum(earned) <> 0 ORDER BY 1, 2;
-- a draw by a loop over a rep's months: an advance up to it, taken back from what is earned above it
CREATE FUNCTION wrong_draws() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
  a record; owed numeric; rep text := ''; due numeric;
BEGIN
  -- reps with one plan for all of the time, whose draw is a recoverable one in every period
  FOR a IN SELECT p.rep_id, p.for_period, sum(p.earned) AS earned, sum(p.drawn) AS drawn, (plan.definition->'draw'->>'amount')::numeric AS draw
             FROM salesops.commission_posting p JOIN plan ON p.plan = 'p' || plan.p
            WHERE p.purpose = 0 AND plan.definition->'draw' = '{"amount":400}' AND plan.p % 3 <> 0 AND p.rep_id IN (SELECT s.rep_id FROM salesops.commission_assignment s GROUP BY 1 HAVING count(*) = 1 AND min(lower(s.effective)) = '2025-01-01')
            GROUP BY 1, 2, plan.definition ORDER BY 1, 2 LOOP
    IF rep <> a.rep_id THEN rep := a.rep_id; owed := 0; END IF;
    due := a.draw - a.earned;
    IF due < 0 THEN due := - least(owed, - due); END IF;
    owed := owed + due;
    IF due <> a.drawn THEN RETURN NEXT format('%s %s: %s, not %s', a.rep_id, a.for_period, a.drawn, due); END IF;
  END LOOP;
  IF rep = '' THEN RETURN NEXT 'there is no draw to look at'; END IF;
END
$$;
SELECT more('c', 420);
-- a plan of which only managers earn
SELECT salesops.create_commission_plan('o', '{"manager_override":{"rate":0.01,"levels":2},"tiers":[{"from":0,"rate":0}]}');
INSERT INTO rep SELECT 'o' || i, 'o' || i, CASE WHEN i > 1 THEN 'o' || i / 2 END FROM generate_series(1, 7) i;
SELECT count(salesops.assign_commission_plan('o' || i, 'o', '[2025-01-01,)')) FROM generate_series(4, 7) i;
INSERT INTO credit (credit_id, rep_id, amount, credited_on) SELECT 'o' || i, 'o' || 4 + i % 4, 1000 * i, '2025-02-03' FROM generate_series(1, 8) i;
-- in pieces: rep by rep in another order, a later month before the earlier ones
SELECT count(*) FROM generate_series(36, 1, -5) r, salesops.calculate_commission('r' || r, '[2025-02-01,2025-03-01)');
SELECT count(*) FROM salesops.calculate_commissions('[2025-03-01,2025-04-01)');
SELECT count(*) FROM salesops.calculate_commissions('[2025-01-01,2025-02-01)');
SELECT count(*) FROM salesops.calculate_commissions('[2025-01-01,2025-04-01)');
CREATE TABLE first AS SELECT * FROM simulated('2025-04-01');
SELECT results_eq('SELECT * FROM held', 'SELECT f.plan, f.rep_id, f.current FROM first f WHERE f.current <> 0 ORDER BY 1, 2', 'in pieces');
SELECT is_empty($$SELECT * FROM first f WHERE f.current <> f.simulated AND f.plan <> 'o'$$, 'simulated with the same plan is the same, overrides and ranks too');
SELECT ok(sum(s.simulated) = 2 * sum(s.current) AND count(*) > 3, 'simulated: overrides at twice the rate, managers alone')
  FROM salesops.simulate_commissions('[2025-01-01,2025-04-01)', 'o', '{"manager_override":{"rate":0.02,"levels":2},"tiers":[{"from":0,"rate":0}]}') s;
-- credits change, and plans: new versions in the middle of a month
SELECT change('d');
SELECT count(salesops.replace_commission_plan('p' || p, definition || jsonb_build_object('tiers', '[{"from":0,"rate":0.04},{"from":0.8,"rate":0.09}]'::jsonb), CASE WHEN p % 2 = 0 THEN '2025-03-11' ELSE '2025-03-01' END::date)) FROM plan WHERE p % 3 = 0;
SELECT count(*) FROM generate_series(1, 36, 2) r, salesops.calculate_commission('r' || r, '[2025-01-01,2025-04-01)');
SELECT count(*) FROM salesops.calculate_commissions('[2025-01-01,2025-04-01)');
SELECT results_eq('SELECT * FROM held', $$SELECT * FROM scratch('2025-04-01')$$, 'after changes of credits and plans');
SELECT is_empty('SELECT wrong_draws()', 'draws are carried over');
SELECT is(sum(lines), 0::bigint, 'twice writes nothing') FROM salesops.calculate_commissions('[2025-01-01,2025-04-01)');
SELECT is(sum(lines), 0::bigint, 'nor rep by rep') FROM generate_series(1, 36) r, salesops.calculate_commission('r' || r, '[2025-01-01,2025-04-01)');
SELECT is(sum(salesops.close_commission_period(daterange(make_date(2025, m, 1), make_date(2025, m + 1, 1)))) > 400, true, 'closed') FROM generate_series(1, 3) m;
SELECT change('e');
SELECT count(*) FROM salesops.calculate_commissions('[2025-04-01,2025-05-01)');
SELECT results_eq('SELECT * FROM held', $$SELECT * FROM scratch('2025-05-01')$$, 'close, change, true-up is from scratch');
SELECT is_empty('SELECT wrong_draws()', 'draws are carried over after true-ups');
SELECT is(sum(lines), 0::bigint, 'and once more writes nothing') FROM salesops.calculate_commissions('[2025-04-01,2025-05-01)');
SELECT ok(count(*) FILTER (WHERE kind = 'clawback') > 8 AND count(*) FILTER (WHERE kind = 'true_up') > 25 AND count(*) FILTER (WHERE kind = 'override') > 100
          AND count(*) FILTER (WHERE kind = 'draw') > 20 AND count(*) FILTER (WHERE kind = 'bonus') > 8, 'all kinds are there') FROM salesops.commission_line;
SELECT is(count(*), 0::bigint, 'all explained') FROM salesops.commission_line l WHERE line_id % 11 = 0 AND (SELECT e.amount FROM salesops.explain_commission(l.line_id) e WHERE e.item = 'sentence') IS DISTINCT FROM l.amount;
SELECT ok(valid, 'the chain is whole') FROM salesops.verify_commission_ledger();
SELECT * FROM finish();
ROLLBACK;
