-- Features of a plan, each with figures computed by hand or published (worked examples of ../shared/data).
BEGIN;
SET client_min_messages = warning;
SELECT no_plan();
CREATE TABLE credit (credit_id text PRIMARY KEY, rep_id text, amount numeric, credited_on date, opportunity_id text, currency text,
                     product text, deal_type text, split numeric);
CREATE TABLE rep (rep_id text PRIMARY KEY, name text, manager_id text, is_active boolean DEFAULT true);
SELECT ok(count(*) > 0, 'credits attached') FROM salesops.attach('commission_credit', 'credit');
SELECT ok(count(*) > 0, 'reps attached') FROM salesops.attach('sales_rep', 'rep');

-- every test: credits in one array, a plan, one answer; the ledger is then cleared by the savepoint
CREATE FUNCTION earned(definition jsonb, credits jsonb, quota numeric DEFAULT NULL, period daterange DEFAULT '[2027-01-01,2027-04-01)',
                       effective daterange DEFAULT '[2027-01-01,2028-01-01)') RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE
  result numeric;
BEGIN
  INSERT INTO rep SELECT 'r1', 'Rita', NULL ON CONFLICT DO NOTHING;
  INSERT INTO credit SELECT coalesce(c->>'id', 'c' || n), coalesce(c->>'rep', 'r1'), (c->>'amount')::numeric, coalesce(c->>'on', '2027-02-01')::date,
         c->>'opportunity', c->>'currency', c->>'product', c->>'type', (c->>'split')::numeric
    FROM jsonb_array_elements(credits) WITH ORDINALITY e(c, n);
  PERFORM salesops.create_commission_plan('p', definition);
  PERFORM salesops.assign_commission_plan('r1', 'p', effective, quota);
  SELECT coalesce(sum(e.earned), 0) INTO result FROM salesops.calculate_commissions(period) e WHERE e.rep_id = 'r1';
  IF (SELECT NOT valid FROM salesops.verify_commission_ledger()) THEN
    RAISE EXCEPTION 'the ledger''s chain is broken';
  END IF;
  -- undo everything but the answer
  RAISE EXCEPTION USING ERRCODE = 'P7777', MESSAGE = result::text;
EXCEPTION WHEN SQLSTATE 'P7777' THEN
  RETURN SQLERRM::numeric;
END
$$;

SELECT is(earned('{"period":"quarter","tiers":[{"from":0,"rate":0.05},{"from":100000,"rate":0.06},{"from":125000,"rate":0.07}]}', '[{"amount":150000}]'),
          8250.00, 'marginal tiers (excelforum 861932)');
SELECT is(earned('{"period":"quarter","method":"retroactive","tiers":[{"from":0,"rate":0},{"from":15000,"rate":0.2},{"from":16000.01,"rate":0}]}', '[{"amount":15100}]'),
          3020.00, 'a section on the whole amount (OCA commission)');
-- commission.cliff (quotapath)
SELECT is(earned('{"period":"quarter","measure":"attainment","cliff":0.6,"tiers":[{"from":0,"rate":0.10},{"from":1,"rate":0.15}]}', jsonb_build_array(jsonb_build_object('amount', sold)), 100000),
          want, 'cliff at 60 % of quota: ' || sold) FROM (VALUES (59999, 0), (60000, 6000), (120000, 13000.00)) v(sold, want);
-- commission.split, commission.split_and_overlay (Salesforce help)
SELECT is(earned('{"period":"quarter","tiers":[{"from":0,"rate":1}]}', '[{"amount":10000,"opportunity":"o","split":0.5},{"amount":10000,"opportunity":"o","split":0.2,"type":"overlay"},
                  {"amount":10000,"opportunity":"o","split":0.5,"rep":"r2"}]'), 7000.00, 'half the revenue and 20 % overlay');
SELECT is(earned('{"period":"quarter","tiers":[{"from":0,"rate":1}]}', '[{"amount":10000000,"opportunity":"o","split":0.7},{"amount":10000000,"opportunity":"o","split":0.2,"rep":"r2"},
                  {"amount":10000000,"opportunity":"o","split":0.1,"rep":"r3"}]'), 7000000.00, '70 % of ten million');
-- commission.partial_payment (OCA pulls 104 and 480)
SELECT is(earned('{"period":"month","basis":"payment","tiers":[{"from":0,"rate":0.2}]}', '[{"amount":10000,"on":"2027-01-10"},{"amount":10000,"on":"2027-02-10"}]', NULL, '[2027-01-01,2027-02-01)'),
          2000.00, 'half of an invoice paid: half of the commission');
SELECT is(earned('{"period":"month","basis":"payment","tiers":[{"from":0,"rate":0.2}]}', '[{"amount":500}]', NULL, '[2027-02-01,2027-03-01)'), 100.00, '500 of 1,000 paid at 20 %');
-- commission.refund (OCA): +100 and -100
SELECT is(earned('{"period":"year","tiers":[{"from":0,"rate":0.1}]}', '[{"amount":1000,"on":"2027-01-05"},{"amount":-1000,"on":"2027-03-05","type":"refund"}]', NULL, '[2027-01-01,2028-01-01)'),
          0.00, 'a refund gives back what was earned');
-- commission.net_amount (OCA): 20 % of a margin of 100 - 120 is 0
SELECT is(earned('{"period":"quarter","negative":"zero","tiers":[{"from":0,"rate":0.2}]}', '[{"amount":-20},{"amount":50}]'), 10.00, 'a margin below 0 counts as 0');
SELECT is(earned('{"period":"quarter","negative":"allow","tiers":[{"from":0,"rate":0.2}]}', '[{"amount":-20},{"amount":50}]'), 6.00, 'or as it is');
-- commission.period (OCA test_biweekly): 01-01 | 01-16 and 01-31, the second from the 16th to the end of the month
SELECT is(earned('{"period":"half_month","tiers":[{"from":0,"rate":0.1},{"from":150,"rate":0.2}]}', '[{"amount":100,"on":"2022-01-01"},{"amount":100,"on":"2022-01-16"},{"amount":100,"on":"2022-01-31"}]', NULL, period, '[2022-01-01,)'),
          want, 'half months: ' || period) FROM (VALUES (daterange('[2022-01-01,2022-01-16)'), 10.00), ('[2022-01-16,2022-02-01)', 25.00), ('[2022-01-01,2022-02-01)', 35.00)) v(period, want);
SELECT is(earned('{"period":"week","tiers":[{"from":0,"rate":0.1},{"from":150,"rate":0.2}]}', '[{"amount":100,"on":"2027-01-03"},{"amount":100,"on":"2027-01-04"},{"amount":100,"on":"2027-01-10"}]', NULL, '[2027-01-04,2027-01-11)'),
          25.00, 'weeks from Monday');
SELECT is(earned('{"period":"half_year","tiers":[{"from":0,"rate":0.1}]}', '[{"amount":100,"on":"2027-01-03"},{"amount":100,"on":"2027-06-30"},{"amount":100,"on":"2027-07-01"}]', NULL, '[2027-01-01,2027-07-01)'), 20.00, 'half years');

SELECT is(earned('{"period":"quarter","cap":6000,"tiers":[{"from":0,"rate":0.1}]}', '[{"amount":50000},{"amount":50000}]'), 6000.00, 'cap of the period');
SELECT is(earned('{"period":"quarter","deal_cap":1000,"tiers":[{"from":0,"rate":0.1}]}', '[{"amount":50000},{"amount":5000}]'), 1500.00, 'cap of a deal');
SELECT is(earned('{"period":"quarter","deal_floor":100,"tiers":[{"from":0,"rate":0.1}]}', '[{"amount":500},{"amount":5000}]'), 600.00, 'floor of a deal');
SELECT is(earned('{"period":"quarter","floor":1000,"tiers":[{"from":0,"rate":0.1}]}', '[{"amount":500}]'), 1000.00, 'floor of the period');
SELECT is(earned('{"period":"quarter","floor":1000,"tiers":[{"from":0,"rate":0.1}]}', '[]'), 1000.00, 'floor of a period without a credit');
SELECT is(earned('{"period":"quarter","where":"product = ''hardware'' AND amount > 100","tiers":[{"from":0,"rate":0.1}]}',
                 '[{"amount":500,"product":"hardware"},{"amount":50,"product":"hardware"},{"amount":500,"product":"service"},{"amount":500}]'), 50.00, 'where');
SELECT is(earned('{"period":"quarter","rates":[{"where":"product = ''service''","rate":0.02},{"where":"deal_type = ''renewal''","factor":0.5},
                  {"where":"product = ''gold''","tiers":[{"from":0,"rate":0.1},{"from":1000,"rate":0.2}]}],"tiers":[{"from":0,"rate":0.1}]}',
                 '[{"amount":1000,"product":"service"},{"amount":1000,"type":"renewal"},{"amount":1500,"product":"gold"},{"amount":100}]'),
          20 + 50 + 200 + 10.00, 'rates by product and deal type');
SELECT is(earned('{"period":"quarter","measure":"attainment","target":20000,"tiers":[{"from":0,"rate":1},{"from":1,"rate":2}]}', '[{"amount":90000}]', 120000), 15000.00, 'share of a target at quota');
SELECT is(earned('{"period":"quarter","measure":"attainment","target":10000,"tiers":[{"from":0,"rate":1}]}', '[{"amount":1}]', 3), 3333.33, 'a share that does not end is rounded once');
SELECT is(earned('{"period":"quarter","measure":"attainment","tiers":[{"from":0,"rate":0.05},{"from":1,"rate":0.1}]}', '[{"amount":100000,"on":"2027-03-01"}]', 90000, '[2027-01-01,2027-04-01)', '[2027-02-15,2028-01-01)'),
          2250 + 5500.00, 'half a quarter: half the quota');
SELECT is(earned('{"period":"month","measure":"attainment","ramp":[0.25,0.5],"tiers":[{"from":0,"rate":0.05},{"from":1,"rate":0.1}]}', '[{"amount":10000}]', 20000, '[2027-02-01,2027-03-01)'),
          500.00, 'the second month of a ramp: half the quota');
SELECT is(earned('{"period":"quarter","measure":"attainment","gate":{"at":1,"above":1},"tiers":[{"from":0,"rate":0.1},{"from":1,"rate":0.2}]}',
                 '[{"amount":50000,"on":"2027-01-10"},{"amount":120000,"on":"2027-05-10"}]', 100000, '[2027-04-01,2027-07-01)'), 12000.00,
          'an accelerator whose yearly gate is shut: 170 of 200 thousand');
SELECT is(earned('{"period":"quarter","measure":"attainment","gate":{"at":1,"above":1},"tiers":[{"from":0,"rate":0.1},{"from":1,"rate":0.2}]}',
                 '[{"amount":90000,"on":"2027-01-10"},{"amount":120000,"on":"2027-05-10"}]', 100000, '[2027-04-01,2027-07-01)'), 14000.00,
          'and one that is open');
SELECT is(earned('{"period":"quarter","bonuses":[{"name":"spiff","where":"product = ''new''","amount":250,"budget":600},{"name":"club","at":1000,"amount":77}],"tiers":[{"from":0,"rate":0.1}]}',
                 '[{"amount":400,"product":"new","on":"2027-01-01"},{"amount":400,"product":"new","on":"2027-01-02"},{"amount":400,"product":"new","on":"2027-01-03"}]'),
          120 + 600 + 77.00, 'a bonus a credit within its budget, and one for reaching a mark');
SELECT is(earned('{"period":"quarter","tiers":[{"from":0,"rate":0.1}],"currency":"JPY"}', '[{"amount":15},{"amount":10}]'), 3::numeric, 'no cents in JPY: 1.5 and 2.5 telescope to 3');
SELECT is(earned('{"period":"quarter","tiers":[{"from":0,"rate":0.1}],"currency":"KWD"}', '[{"amount":0.005}]'), 0.001, 'thousandths in KWD: half away from zero');

SELECT salesops.set_exchange_rate('EUR', 'USD', '2027-01-01', 1.10), salesops.set_exchange_rate('EUR', 'USD', '2027-02-01', 1.2003456789);
SELECT is(earned('{"period":"quarter","tiers":[{"from":0,"rate":0.1}]}', '[{"amount":1000,"currency":"EUR","on":"2027-01-31"},{"amount":1000,"currency":"EUR","on":"2027-02-01"},{"amount":1000,"currency":"USD"}]'),
          330.03, 'the rate of the credit''s date');
SELECT is(earned('{"period":"quarter","rate_date":"period_start","tiers":[{"from":0,"rate":0.1}]}', '[{"amount":1000,"currency":"EUR","on":"2027-03-31"}]'), 110.00, 'the rate of the period''s start');
SELECT is(earned('{"period":"quarter","currency":"credit","tiers":[{"from":0,"rate":0.1},{"from":1000,"rate":0.2}]}', '[{"amount":1000,"currency":"EUR"},{"amount":1000,"currency":"GBP"}]'),
          200.00, 'each currency settled apart (OCA test_multi_currency)');

-- numbers beyond the kernel's integers: the same lines in numeric
SELECT is(earned('{"period":"quarter","tiers":[{"from":0,"rate":0.05},{"from":100000,"rate":0.08}],"deal_cap":7000}', c1),
          earned('{"period":"quarter","tiers":[{"from":0,"rate":0.05},{"from":100000,"rate":0.080000000000}],"deal_cap":7000}', c2), 'numeric and integers agree, run ' || run)
  FROM generate_series(1, 5) run,
       LATERAL (SELECT jsonb_agg(jsonb_build_object('amount', a)) AS c1, jsonb_agg(jsonb_build_object('amount', a + 0.000000000001 - 0.000000000001, 'split', 1.000000000000)) AS c2
                  FROM (SELECT round((run * 7919 * i % 100003) / 7.0, 2) AS a FROM generate_series(1, 40) i) s) c;
SELECT is(earned('{"period":"quarter","tiers":[{"from":0,"rate":0.05},{"from":100000,"rate":0.08}]}', '[{"amount":1e30},{"amount":0.0000000000001}]'),
          round(1e30 * 0.08 - 3000, 2), 'an amount of 10^30');

-- bad input: listed, and nothing written
PREPARE bad AS SELECT earned('{"period":"quarter","tiers":[{"from":0,"rate":0.1}]}', '[{"id":"a","amount":-5},{"id":"b","amount":5,"currency":"CHF"},{"id":"c"},{"id":"d","amount":"NaN"},{"id":"e","amount":1,"split":-1}]');
CREATE FUNCTION failure(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE detail text;
BEGIN
  EXECUTE statement;
  RETURN NULL;
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
  RETURN SQLERRM || ': ' || detail;
END
$$;
SELECT is(failure('EXECUTE bad'), $$commissions cannot be calculated: credit "a" of rep "r1": its amount is negative, and its deal_type is not refund, cancellation, credit_note, chargeback or non_payment
credit "b" of rep "r1": no exchange rate from CHF to USD on or before 2027-02-01
credit "c" of rep "r1": its amount is not known (NULL)
credit "d" of rep "r1": its amount is not finite
credit "e" of rep "r1": its split is not a share of 0 or more$$, 'all that is wrong with credits is listed');
SELECT is(failure($$SELECT earned('{"period":"quarter","tiers":[{"from":0,"rate":0.1}]}', '[{"amount":100,"opportunity":"o1","split":0.6},{"amount":100,"opportunity":"o1","split":0.5}]')$$),
          'commissions cannot be calculated: opportunity "o1": its splits add up to 110.00 %, not 100 %', 'splits of 110 %');
SELECT is((SELECT count(*) FROM salesops.commission_entry), 0::bigint, 'nothing was written');
INSERT INTO rep VALUES ('gone', 'Gone', NULL, false);
SELECT is(failure($$SELECT salesops.assign_commission_plan('gone', 'p', '[2027-01-01,)')$$),
          E'cannot assign commission plan "p" to rep "gone": rep "gone" has left (is_active is false)\ncommission plan "p" does not exist', 'a rep that left gets no plan');
SELECT is(failure($$SELECT salesops.assign_commission_plan('nobody', 'p', '[2027-01-01,)', -1)$$),
          E'cannot assign commission plan "p" to rep "nobody": the quota must be more than 0, not -1\nrep "nobody" is not in salesops.sales_rep\ncommission plan "p" does not exist', 'nor one that is not there');

-- manager overrides up the hierarchy, draws carried over, clawbacks, disputes, payouts
INSERT INTO rep VALUES ('top', 'T', NULL), ('mid', 'M', 'top'), ('a', 'A', 'mid'), ('b', 'B', 'mid');
INSERT INTO credit (credit_id, rep_id, amount, credited_on) VALUES ('1', 'a', 1000.05, '2027-01-05'), ('2', 'b', 2000.05, '2027-01-06'), ('3', 'a', 20000, '2027-02-05');
SELECT salesops.create_commission_plan('team', '{"tiers":[{"from":0,"rate":0.1}],"manager_override":{"rate":0.01,"levels":2},"draw":{"amount":500,"recoverable":true},"clawback_days":60}');
SELECT salesops.assign_commission_plan(r, 'team', '[2027-01-01,)') FROM unnest('{a,b}'::text[]) r;
SELECT results_eq($$SELECT rep_id, plan, credited, earned, lines FROM salesops.calculate_commissions('[2027-01-01,2027-02-01)')$$,
  $$VALUES ('a', 'team', 1000.05, 100.01, 2), ('b', 'team', 2000.05, 200.01, 2), ('mid', 'team', 0, 30.00, 2), ('top', 'team', 0, 30.00, 2)$$, 'overrides of two levels');
SELECT results_eq($$SELECT rep_id, drawn, payable FROM salesops.commission_statement ORDER BY 1$$,
  $$VALUES ('a', 399.99, 500.00), ('b', 299.99, 500.00), ('mid', 0.00, 30.00), ('top', 0.00, 30.00)$$, 'draws up to 500');
SELECT is(sum(lines), 0::bigint, 'nothing the second time') FROM salesops.calculate_commissions('[2027-01-01,2027-02-01)');
SELECT is(salesops.close_commission_period('[2027-01-01,2027-02-01)'), 8::bigint, 'closed');
SELECT results_eq($$SELECT * FROM salesops.run_commission_payout('[2027-01-01,2027-02-01)')$$,
  $$VALUES ('a', 'USD', 500.00), ('b', 'USD', 500.00), ('mid', 'USD', 30.00), ('top', 'USD', 30.00)$$, 'paid out');
SELECT is_empty($$SELECT * FROM salesops.run_commission_payout('[2027-01-01,2027-02-01)')$$, 'once');
SELECT results_eq($$SELECT rep_id, earned, lines FROM salesops.calculate_commissions('[2027-02-01,2027-03-01)') WHERE rep_id IN ('a', 'b')$$,
  $$VALUES ('a', 2000.00, 2), ('b', 0.00, 1)$$, 'February');
SELECT results_eq($$SELECT rep_id, drawn FROM salesops.commission_statement WHERE lower(period) = '2027-02-01' AND rep_id IN ('a', 'b') ORDER BY 1$$,
  $$VALUES ('a', -399.99), ('b', 500.00)$$, 'the draw is recovered from what exceeds it, or goes on');
SELECT results_eq($$SELECT rep_id, draw_balance, paid, balance FROM salesops.commission_balance WHERE rep_id = 'a'$$, $$VALUES ('a', 0.00, 500.00, 1600.01)$$, 'and the balance is even');
-- the deal of b is cancelled in the window: a clawback that names the line; the override follows
DELETE FROM credit WHERE credit_id = '2';
SELECT lives_ok($$SELECT * FROM salesops.calculate_commissions('[2027-02-01,2027-03-01)')$$, 'calculated');
SELECT results_eq($$SELECT l.rep_id, l.kind, l.amount, c.credit_id, l.period FROM salesops.commission_line l JOIN salesops.commission_line c ON c.line_id = l.corrects WHERE l.kind = 'clawback' ORDER BY 1$$,
  $$VALUES ('b', 'clawback', -200.01, '2', daterange('[2027-02-01,2027-03-01)')), ('mid', 'clawback', -20.00, '2', '[2027-02-01,2027-03-01)'), ('top', 'clawback', -20.00, '2', '[2027-02-01,2027-03-01)')$$, 'clawed back');
SELECT is(sum(lines), 0::bigint, 'once') FROM salesops.calculate_commissions('[2027-02-01,2027-03-01)');
-- after the window the commission is kept
SELECT salesops.close_commission_period('[2027-02-01,2027-03-01)');
DELETE FROM credit WHERE credit_id = '1';
SELECT lives_ok($$SELECT * FROM salesops.calculate_commissions('[2027-05-01,2027-06-01)')$$, 'calculated');
SELECT is(count(*), 1::bigint, 'a cancellation after the window takes nothing back') FROM salesops.commission_line WHERE credit_id = '1' AND rep_id = 'a';
SELECT matches((SELECT detail FROM salesops.commission_line l, salesops.explain_commission(line_id) WHERE l.kind = 'clawback' AND l.rep_id = 'b' AND item = 'sentence'),
  'Rep b gives back \(clawback\) 200\.01 USD on credit 2 of 2027-01-06 by plan team, version 1: .* it corrects line \d+; it is paid with', 'explained');
-- every line explains to its amount
SELECT is((SELECT count(*) FROM salesops.commission_line l, LATERAL (SELECT e.amount FROM salesops.explain_commission(l.line_id) e WHERE e.item = 'sentence') e WHERE e.amount <> l.amount), 0::bigint, 'all explained');
SELECT is(salesops.open_commission_dispute(1, 'why so little?'), 1::bigint, 'a dispute');
SELECT lives_ok($$SELECT salesops.answer_commission_dispute(1, 'see line 2')$$, 'answered');
SELECT lives_ok($$SELECT salesops.resolve_commission_dispute(1, 'as it is')$$, 'resolved');
SELECT throws_ok($$SELECT salesops.answer_commission_dispute(1, 'again')$$, '42704', NULL, 'and done');
SELECT throws_ok($$SELECT salesops.open_commission_dispute(10000, 'x')$$, '42704', NULL, 'no such line');
SELECT is((SELECT sum(accrued) FROM salesops.commission_liability), (SELECT sum(earned) FROM salesops.commission_posting), 'accrued is earned');
SELECT ok(valid, 'the chain is whole') FROM salesops.verify_commission_ledger();
SELECT ok(valid, 'with a known head') FROM salesops.verify_commission_ledger((SELECT hash FROM salesops.commission_posting WHERE posting_id = 2));
SELECT ok(NOT valid, 'an unknown head is told') FROM salesops.verify_commission_ledger('\x00');
-- what if
SELECT results_eq($$SELECT rep_id, current, simulated FROM salesops.simulate_commissions('[2027-02-01,2027-03-01)', 'team', '{"tiers":[{"from":0,"rate":0.2}]}') WHERE rep_id <> 'b'$$,
  $$VALUES ('a', 2000.00, 4000.00), ('mid', 200.00, 0), ('top', 200.00, 0)$$, 'simulated');
-- a line carries how its amount came about
INSERT INTO rep VALUES ('s', 'S');
INSERT INTO credit (credit_id, rep_id, amount, credited_on, currency, split, deal_type) VALUES ('D-1', 's', 10000, '2027-02-05', 'EUR', 0.5, 'renewal');
SELECT salesops.create_commission_plan('source', '{"tiers":[{"from":0,"rate":0.05},{"from":1000,"rate":0.1,"retroactive":true}],"cap":150,"rates":[{"where":"deal_type=''renewal''","factor":0.8}],"rate_date":"period_start"}');
SELECT salesops.assign_commission_plan('s', 'source', '[2027-02-01,)');
SELECT salesops.set_exchange_rate('EUR', 'USD', '2027-02-01', 1.1);
SELECT lives_ok($$SELECT * FROM salesops.calculate_commissions('[2027-02-01,2027-04-01)')$$, 'calculated');
SELECT is((SELECT string_agg(e.item || ' ' || coalesce(round(e.amount, 2)::text, ''), ', ' ORDER BY e.step) FROM salesops.commission_line l, salesops.explain_commission(line_id) e WHERE credit_id = 'D-1' AND e.item <> 'sentence'),
  'credit 4400.00, split 5000.00, factor 4000.00, exchange 4400.00, tier 50.00, threshold 50.00, tier 340.00, period cap 150.00, rounding 150.00', 'explained from the split to the cap');

-- by default the won opportunities are the credits, of their owners, on the day they closed
SELECT ok(salesops.detach('commission_credit'), 'detached');
SELECT lives_ok('SELECT * FROM salesops.create_crm()', 'starter tables');
SELECT salesops.define_stages('default', '[{"stage": "new", "ordinal": 1, "kind": "open"}, {"stage": "won", "ordinal": 2, "kind": "won"}, {"stage": "lost", "ordinal": 3, "kind": "lost"}]');
INSERT INTO crm.sales_rep (rep_id, name) VALUES ('x', 'X');
INSERT INTO crm.opportunity (opportunity_id, stage, amount, closed_at, owner_id) VALUES
  ('o1', 'won', 1000, '2029-01-05 12:00', 'x'), ('o2', 'lost', 1000, '2029-01-05 12:00', 'x'), ('o3', 'new', 1000, NULL, 'x'), ('o4', 'won', 500, '2029-01-31 12:00', 'x');
SELECT salesops.create_commission_plan('default credits', '{"tiers":[{"from":0,"rate":0.1}]}');
SELECT salesops.assign_commission_plan(rep_id, 'default credits', '[2029-01-01,)') FROM salesops.sales_rep;
SELECT results_eq($$SELECT rep_id, credited, earned, lines FROM salesops.calculate_commissions('[2029-01-01,2029-02-01)') WHERE rep_id = 'x'$$,
  $$VALUES ('x', 1500::numeric, 150.00, 2)$$, 'won opportunities are credits');
SELECT * FROM finish();
ROLLBACK;
