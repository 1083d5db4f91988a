-- Published worked examples of commissions, to the cent, through plan definitions as a user writes them; sources beside the tests.
-- All rows commission.*, split and rounding of ../shared/data/worked-examples are here or (scalar kernels) in test/sql/commission.sql.
BEGIN;
SET client_min_messages = warning;
SELECT no_plan();
CREATE TABLE credit (credit_id text PRIMARY KEY, rep_id text, amount numeric, credited_on date, opportunity_id text, currency text,
                     product text, deal_type text, split numeric, segment text);
SELECT ok(count(*) > 0, 'credits attached') FROM salesops.attach('commission_credit', 'credit');

-- a plan, credits (amounts, or objects that say more), what each rep earned and is paid by month; undone but for the answer
CREATE FUNCTION pay(definition jsonb, credits jsonb, quota numeric DEFAULT NULL, period daterange DEFAULT '[2022-01-01,2022-04-01)',
                    step interval DEFAULT NULL) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  at date := lower(period);
  result jsonb;
BEGIN
  INSERT INTO credit SELECT coalesce(c->>'id', lpad(n::text, 3, '0')), coalesce(c->>'rep', 'r1'), coalesce(c->>'amount', c#>>'{}')::numeric, coalesce((c->>'on')::date, lower(period)),
         c->>'opportunity', c->>'currency', c->>'product', c->>'type', (c->>'split')::numeric, c->>'segment'
    FROM jsonb_array_elements(credits) WITH ORDINALITY e(c, n);
  PERFORM salesops.create_commission_plan('p', definition);
  PERFORM salesops.assign_commission_plan(r, 'p', '[2022-01-01,)', quota) FROM (SELECT DISTINCT rep_id FROM credit) v(r);
  WHILE at < upper(period) LOOP
    PERFORM count(*) FROM salesops.calculate_commissions(daterange(at, CASE WHEN step IS NULL THEN upper(period) ELSE (at + step)::date END));
    EXIT WHEN step IS NULL;
    at := at + step;
  END LOOP;
  SELECT jsonb_build_object('earned', sum(earned), 'lines', (SELECT jsonb_agg(amount ORDER BY line_id) FROM salesops.commission_line WHERE kind <> 'draw'),
                            'reps', (SELECT jsonb_object_agg(rep_id, s) FROM (SELECT rep_id, sum(earned) AS s FROM salesops.commission_posting GROUP BY 1) v),
                            'payable', (SELECT jsonb_agg(p ORDER BY m) FROM (SELECT lower(s.period) AS m, sum(s.payable) AS p FROM salesops.commission_statement s GROUP BY 1) v),
                            'currencies', (SELECT count(DISTINCT currency) FROM salesops.commission_posting),
                            'explained', (SELECT bool_and(e.amount = l.amount) FROM salesops.commission_line l, salesops.explain_commission(l.line_id) e WHERE e.item = 'sentence'))
    INTO result FROM salesops.commission_posting;
  IF (SELECT NOT valid FROM salesops.verify_commission_ledger()) THEN RAISE EXCEPTION 'broken chain'; END IF;
  IF NOT coalesce((result->>'explained')::boolean, true) THEN RAISE EXCEPTION 'a line is not explained'; END IF;
  RAISE EXCEPTION USING ERRCODE = 'P7777', MESSAGE = result::text;
EXCEPTION WHEN SQLSTATE 'P7777' THEN
  RETURN SQLERRM::jsonb;
END
$$;
CREATE FUNCTION total(definition jsonb, credits jsonb, quota numeric DEFAULT NULL, period daterange DEFAULT '[2022-01-01,2022-04-01)') RETURNS numeric
  LANGUAGE sql AS $$ SELECT (pay(definition, credits, quota, period)->>'earned')::numeric $$;

-- OCA/commission @d9e3e8e9, calculate_section and its fixtures: the whole base at the section's rate, bounds inclusive
SELECT is(total('{"period":"quarter","method":"retroactive","tiers":[{"from":0,"rate":0},{"from":1,"to":100.01,"rate":0.10}]}', jsonb_build_array(base)), want, 'OCA section 1 to 100 at 10 %: ' || base)
  FROM (VALUES (100, 10.00), (100.01, 0.00), (0.5, 0.00)) v(base, want);
SELECT is(total('{"period":"quarter","method":"retroactive","tiers":[{"from":0,"rate":0},{"from":15000,"to":16000.01,"rate":0.20}]}', '[15100]'), 3020.00, 'OCA section 15000 to 16000 at 20 %');
SELECT throws_like($$SELECT salesops.create_commission_plan('w', '{"tiers":[{"from":5,"to":1,"rate":0.1}]}')$$, 'invalid commission plan "w"', 'OCA test_wrong_section: lower bound above upper bound');
-- OCA commission_mixin: 20 % of the margin; price 100, cost 120
SELECT is(total('{"period":"quarter","negative":"zero","tiers":[{"from":0,"rate":0.2}]}', '[-20]'), 0.00, 'OCA net amount: a margin below 0 is 0');
-- OCA test_negative_settlements
SELECT is(pay('{"period":"quarter","tiers":[{"from":0,"rate":0.1}]}', '[1000,{"amount":-1000,"type":"refund"}]')->'lines', '[100.00,-100.00]'::jsonb, 'OCA refund: +100 and -100');
-- OCA test_biweekly, with the bounds that would be right
SELECT is(pay('{"period":"half_month","tiers":[{"from":0,"rate":0.1}]}', '[{"amount":100,"on":"2022-01-01"},{"amount":100,"on":"2022-01-16"},{"amount":100,"on":"2022-01-31"}]', NULL, '[2022-01-01,2022-02-01)')->'payable',
          '[10.00,20.00]'::jsonb, 'OCA biweekly: two settlements');
-- OCA test_multi_currency
SELECT is(pay('{"period":"quarter","currency":"credit","tiers":[{"from":0,"rate":0.1}]}', '[{"amount":100,"currency":"EUR"},{"amount":100,"currency":"USD"}]')->'currencies', '2'::jsonb, 'OCA currencies: two settlements');
-- OCA/commission pull 104, pull 480
SELECT is(pay('{"basis":"payment","tiers":[{"from":0,"rate":0.2}]}', '[{"amount":10000,"on":"2022-01-10"},{"amount":10000,"on":"2022-02-10"}]', NULL, '[2022-01-01,2022-03-01)', '1 month')->'payable',
          '[2000.00,2000.00]'::jsonb, 'OCA partial payments: 2,000 after each of two');
SELECT is(total('{"basis":"payment","tiers":[{"from":0,"rate":0.2}]}', '[500]'), 100.00, 'OCA partial payment: 500 of 1,000');
-- excelforum.com 861932: tiers, and no accelerator before the whole year's quota is reached, even with 200,000 in Q3
SELECT is(total('{"period":"quarter","tiers":[{"from":0,"rate":0.05},{"from":100000,"rate":0.06},{"from":125000,"rate":0.07}]}', '[150000]'), 8250.00, 'excelforum 861932: 5,000 + 1,500 + 1,750');
SELECT is(pay(definition, sold, 100000, '[2022-01-01,2023-01-01)', '3 months')->'payable', want, 'excelforum 861932, the year''s gate: ' || label)
  FROM (VALUES ('{"period":"quarter","measure":"attainment","gate":{"at":1,"above":1,"of":"year"},"tiers":[{"from":0,"rate":0.05},{"from":1,"rate":0.06},{"from":1.25,"rate":0.07}]}'::jsonb)) d(definition),
       (VALUES ('none in Q3', '[{"amount":50000,"on":"2022-01-05"},{"amount":75000,"on":"2022-04-05"},{"amount":200000,"on":"2022-07-05"}]'::jsonb, '[2500.00,3750.00,10000.00]'::jsonb),
               ('open in Q4 from 75,000 on', '[{"amount":50000,"on":"2022-01-05"},{"amount":75000,"on":"2022-04-05"},{"amount":200000,"on":"2022-07-05"},{"amount":150000,"on":"2022-10-05"}]', '[2500.00,3750.00,10000.00,8250.00]')) v(label, sold, want);
-- technoeric.in, what is opportunity split: 70/20/10 and overlays of 25/10
SELECT is(pay('{"tiers":[{"from":0,"rate":1}]}', '[{"amount":10000000,"opportunity":"o","split":0.7,"rep":"a"},{"amount":10000000,"opportunity":"o","split":0.2,"rep":"b"},{"amount":10000000,"opportunity":"o","split":0.1,"rep":"c"},
          {"amount":10000000,"opportunity":"o","split":0.25,"rep":"d","type":"overlay"},{"amount":10000000,"opportunity":"o","split":0.1,"rep":"e","type":"overlay"}]')->'reps',
          '{"a":7000000.00,"b":2000000.00,"c":1000000.00,"d":2500000.00,"e":1000000.00}'::jsonb, 'splits and overlays of ten million');
SELECT throws_like($$SELECT pay('{"tiers":[{"from":0,"rate":1}]}', '[{"amount":10000000,"opportunity":"o","split":0.7},{"amount":10000000,"opportunity":"o","split":0.2,"rep":"b"}]')$$,
          'commissions cannot be calculated', 'splits of 90 % are none');
-- help.salesforce.com spiff_opportunity_splits
SELECT is(pay('{"tiers":[{"from":0,"rate":1}]}', '[{"amount":10000,"opportunity":"o","split":0.5,"rep":"a"},{"amount":10000,"opportunity":"o","split":0.2,"rep":"a","type":"overlay"},{"amount":10000,"opportunity":"o","split":0.5,"rep":"b"}]')->'reps',
          '{"a":7000.00,"b":5000.00}'::jsonb, 'Salesforce: A 5,000 + 2,000 and B 5,000');
-- comp.quotapath.com accelerators-cliff; the base rate is chosen
SELECT is(total('{"period":"quarter","measure":"attainment","cliff":0.6,"tiers":[{"from":0,"rate":0.10},{"from":1,"rate":0.15}]}', jsonb_build_array(sold), 100000), want, 'QuotaPath cliff: ' || sold)
  FROM (VALUES (59999, 0), (60000, 6000.00), (120000, 13000.00)) v(sold, want);
-- comp.quotapath.com accelerators-decelerators: monthly quota 33,000; 5 % to half of it, then 10 % on all, 20 % on what is above
SELECT is(total('{"measure":"attainment","tiers":[{"from":0,"rate":0.05},{"from":0.5,"rate":0.10,"retroactive":true},{"from":1,"rate":0.20}]}', jsonb_build_array(sold), 33000), want, 'QuotaPath decelerator: ' || sold)
  FROM (VALUES (16000, 800.00), (16500, 1650.00), (33000, 3300.00), (40000, 4700.00)) v(sold, want);
-- support2.salescookie.com, cumulative and non-cumulative tiers: 6 % under quota, 8 % to 150 %, 10 % above; 110 % of a quota of 100,000
SELECT is(total(jsonb_build_object('measure', 'attainment', 'method', method, 'tiers', '[{"from":0,"rate":0.06},{"from":1,"rate":0.08},{"from":1.5,"rate":0.10}]'::jsonb), '[110000]', 100000), want, 'Sales Cookie: ' || method)
  FROM (VALUES ('marginal', 6800.00), ('retroactive', 8800.00)) v(method, want);
-- huggingface.co/salestool/TieredCommissionCalculator
SELECT is(total('{"tiers":[{"from":0,"rate":0.05},{"from":10000,"rate":0.07},{"from":25000,"rate":0.10}]}', '[30000]'), 2050.00, 'salestool: 500 + 1,050 + 500');
-- docs.oracle.com facmi, examples of calculating earnings using step rates: each transaction by itself, 164 in all
SELECT is(pay('{"period":"quarter","tiers_on":"deal","tiers":[{"from":0,"rate":0.01},{"from":1000,"rate":0.02},{"from":3000,"rate":0.03},{"from":8000,"rate":0.05}]}', '[200,300,1500,1200,2000,4500]') - '{reps,payable,currencies,explained}'::text[],
          '{"earned":164.00,"lines":[2.00,3.00,20.00,14.00,30.00,95.00]}'::jsonb, 'Oracle step rates, deal by deal');
-- the same, interpolated rates: 10, 40, 100 and 2,000 for the whole of a tier, in proportion within it; 149 in all
SELECT is(pay('{"period":"quarter","tiers_on":"deal","tiers":[{"from":0,"rate":0.01},{"from":1000,"rate":0.02},{"from":3000,"rate":0.02},{"from":8000,"rate":0.16666666667}]}', '[200,300,1500,1200,2000,4500]') - '{reps,payable,currencies,explained}'::text[],
          '{"earned":149.00,"lines":[2.00,3.00,20.00,14.00,30.00,80.00]}'::jsonb, 'Oracle interpolated rates, deal by deal');
-- the same, options for splitting across tiers: not split
SELECT is(pay('{"period":"quarter","tiers_on":"deal","method":"retroactive","tiers":[{"from":0,"rate":0.01},{"from":10000,"rate":0.02},{"from":50000,"rate":0.03},{"from":100000,"rate":0.04}]}', '[5000,15000,60000]')->'lines',
          '[50.00,300.00,1800.00]'::jsonb, 'Oracle flat rates, deal by deal');
SELECT is(pay('{"period":"quarter","tiers_on":"deal","tiers":[{"from":0,"rate":0.01},{"from":1000,"rate":0.02}]}', '[4500,700,{"amount":-4500,"type":"refund"}]')->'lines',
          '[80.00,7.00,-80.00]'::jsonb, 'a refund gives back what its deal earned by itself');
-- docs.oracle.com E05553, recoverable draw scenario: a draw of 2,000; gross 2,750 3,000 1,500 2,375 3,000 2,750
SELECT is(pay('{"draw":{"amount":2000,"recoverable":true},"tiers":[{"from":0,"rate":1}]}', '[{"amount":2750,"on":"2022-01-05"},{"amount":3000,"on":"2022-02-05"},{"amount":1500,"on":"2022-03-05"},{"amount":2375,"on":"2022-04-05"},
          {"amount":3000,"on":"2022-05-05"},{"amount":2750,"on":"2022-06-05"}]', NULL, '[2022-01-01,2022-07-01)', '1 month')->'payable',
          '[2750.00,3000.00,2000.00,2000.00,2875.00,2750.00]'::jsonb, 'Siebel recoverable draw');
SELECT is(pay('{"draw":{"amount":2000,"recoverable":false},"tiers":[{"from":0,"rate":1}]}', '[{"amount":1500,"on":"2022-01-05"},{"amount":2375,"on":"2022-02-05"},{"amount":100,"on":"2022-03-05"}]', NULL, '[2022-01-01,2022-04-01)', '1 month')->'payable',
          '[2000.00,2375.00,2000.00]'::jsonb, 'one that is not recoverable is kept');

-- what the examples have not: by segment; year to date less what is paid; a share of 100.00 by thirds as credits
SELECT is(total('{"rates":[{"where":"segment = ''enterprise''","rate":0.12},{"where":"segment = ''smb''","rate":0.08}],"tiers":[{"from":0,"rate":0.05}]}', '[{"amount":100,"segment":"enterprise"},{"amount":100,"segment":"smb"},100]'), 25.00, 'rates by segment');
SELECT is(pay('{"period":"year","tiers":[{"from":0,"rate":0.05},{"from":100000,"rate":0.10}]}', '[{"amount":60000,"on":"2022-01-05"},{"amount":60000,"on":"2022-02-05"},{"amount":10000,"on":"2022-03-05"}]', NULL, '[2022-01-01,2022-04-01)', '1 month')->'payable',
          '[3000.00,4000.00,1000.00]'::jsonb, 'year to date, less what the months before were paid');
SELECT is(pay('{"tiers":[{"from":0,"rate":1}]}', (SELECT jsonb_agg(jsonb_build_object('rep', 'r' || n, 'amount', a) ORDER BY n) FROM unnest(salesops.split_amount(100.00, '{1,1,1}')) WITH ORDINALITY u(a, n)))->'reps',
          '{"r1":33.34,"r2":33.33,"r3":33.33}'::jsonb, 'largest remainder: 100.00 by 1:1:1');
SELECT is(salesops.split_amount(100.00, '{50,25,75}'), '{33.33,16.67,50.00}'::numeric[], 'largest remainder: 100.00 by 50/25/75');
SELECT * FROM finish();
ROLLBACK;
