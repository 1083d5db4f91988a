-- Published worked examples of commissions, to the cent, through plan definitions as a user writes them; sources beside the tests.
-- All rows commission.*, split and rounding of ../shared/data/worked-examples are here or (scalar kernels) in test/sql/commission.sql.
BEGIN;
SET client_min_messages = warning;
SELECT no_plan();
CREATE TABLE credit (credit_id text PRIMARY KEY, rep_id text, amount numeric, credited_on date, opportunity_id text, currency text,
                     product text, deal_type text, split numeric, segment text, event text, attributes jsonb);
SELECT ok(count(*) > 0, 'credits attached') FROM salesops.attach('commission_credit', 'credit');

-- a plan, credits (amounts, or objects that say more), what each rep earned and is paid by month; undone but for the answer
CREATE FUNCTION pay(definition jsonb, credits jsonb, quota numeric DEFAULT NULL, period daterange DEFAULT '[2022-01-01,2022-04-01)',
                    step interval DEFAULT NULL) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  at date := lower(period);
  result jsonb;
BEGIN
  INSERT INTO credit SELECT coalesce(c->>'id', lpad(n::text, 3, '0')), coalesce(c->>'rep', 'r1'), coalesce(c->>'amount', c#>>'{}')::numeric, coalesce((c->>'on')::date, lower(period)),
         c->>'opportunity', c->>'currency', c->>'product', c->>'type', (c->>'split')::numeric, c->>'segment', c->>'event', c->'attributes'
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

-- web2.0calc.com commission-equation-help: 10 percent on the first 5,000; 15 percent over it; on 22,000
SELECT is(total('{"tiers":[{"from":0,"rate":0.10},{"from":5000,"rate":0.15}]}', '[22000]'), 3050.00, '0calc: 500 + 2,550');
-- qammunity.org 7400068: 10 % to 5,000; 15 % to 10,000; 25 % to 50,000; 30 % beyond; on 80,000
SELECT is(total('{"tiers":[{"from":0,"rate":0.10},{"from":5000,"rate":0.15},{"from":10000,"rate":0.25},{"from":50000,"rate":0.30}]}', jsonb_build_array(sold)), want, 'qammunity: ' || sold)
  FROM (VALUES (5000, 500.00), (10000, 1250.00), (50000, 11250.00), (80000, 20250.00)) v(sold, want);
-- jiskha.com 744082: 2 %, 5 % from 10,000, 8 % from 20,000; on 15,000
SELECT is(total('{"tiers":[{"from":0,"rate":0.02},{"from":10000,"rate":0.05},{"from":20000,"rate":0.08}]}', '[15000]'), 450.00, 'jiskha: 200 + 250');
-- mathcentral.uregina.ca QQ.09.18: 452 a week, nothing on the first 15,000, .9 % to 25,000, 1.1 % above; on 28,400: 452 + 90 + 37.40
SELECT is(total('{"period":"week","bonuses":[{"name":"salary","amount":452,"at":0}],"tiers":[{"from":0,"rate":0},{"from":15000,"rate":0.009},{"from":25000,"rate":0.011}]}', '[28400]', NULL, '[2022-01-03,2022-01-10)'), 579.40, 'Math Central: salary and two rates');
-- github.com/HIT-Alibaba/Commission test_commission.py (Jorgensen's commission problem): locks 45, stocks 30, barrels 25; 10 % to 1,000, 15 % to 1,800, 20 % above
SELECT is(total('{"amount":"(attributes->>''locks'')::numeric * 45 + (attributes->>''stocks'')::numeric * 30 + (attributes->>''barrels'')::numeric * 25","tiers":[{"from":0,"rate":0.10},{"from":1000,"rate":0.15},{"from":1800,"rate":0.20}]}',
  jsonb_build_array(jsonb_build_object('amount', 0, 'attributes', jsonb_build_object('locks', l, 'stocks', s, 'barrels', b)))), want, format('commission problem: %s, %s, %s', l, s, b))
  FROM (VALUES (5, 5, 1, 40.00), (10, 10, 10, 100.00), (10, 10, 11, 103.75), (20, 20, 12, 220.00), (20, 20, 20, 260.00)) v(l, s, b, want);
-- captaincalculator.com business/commission: 2 % of revenue 500, 20 % of profit 100, 10 for each of 3 units
SELECT is(total('{"amount":"0.02 * amount + 0.2 * (attributes->>''profit'')::numeric + 10 * (attributes->>''units'')::numeric","tiers":[{"from":0,"rate":1}]}', '[{"amount":500,"attributes":{"profit":100,"units":3}}]'), 60.00, 'Captain Calculator: 10 + 20 + 30');
-- ehow.com 12080272, tiered gross margin: 10 % to 35 %, 25 % to 60 %, 40 % above, of the margin; bought for 100, sold for 150
SELECT is(total('{"amount":"amount - (attributes->>''cost'')::numeric","rates":[{"where":"amount / (attributes->>''cost'')::numeric - 1 > 0.60","rate":0.40},{"where":"amount / (attributes->>''cost'')::numeric - 1 > 0.35","rate":0.25}],"tiers":[{"from":0,"rate":0.10}]}',
  '[{"amount":150,"attributes":{"cost":100}}]'), 12.50, 'eHow: 50 at 25 %');
-- mikesalkin.com examples.txt: 1 % to 300,000, .5 % above, at least 1,000 a sale
SELECT is(pay('{"tiers_on":"deal","deal_floor":1000,"tiers":[{"from":0,"rate":0.01},{"from":300000,"rate":0.005}]}', '[50000,100000,200000,400000,800000]')->'lines', '[1000.00,1000.00,2000.00,3500.00,5500.00]', 'Salkin: a minimum a sale');
-- help.insiderealestate.com 4478643: each gross commission by the level it falls in, 80 % of 3,000, 75 % of 1,000 (the level's bound is chosen)
SELECT is(pay('{"tiers_on":"deal","method":"retroactive","tiers":[{"from":0,"rate":0.75},{"from":2000,"rate":0.80}]}', '[3000,1000]')->'lines', '[2400.00,750.00]', 'Inside Real Estate: per deal, not cumulative');
-- discoverexpaustralia.com.au: 75/25 until 100,000 gross commissions in the year, then all of it
SELECT is(pay('{"period":"year","tiers":[{"from":0,"rate":0.75},{"from":100000,"rate":1}]}', '[{"amount":80000,"on":"2022-02-01"},{"amount":40000,"on":"2022-05-30"},{"amount":10000,"on":"2022-12-31"}]', NULL, '[2022-01-01,2023-01-01)')->'lines', '[60000.00,35000.00,10000.00]', 'eXp: split until the cap');
-- support.therealbrokerage.com 19942194665751: 10,000 less fees of 250 and 30, 5 % to the sponsor
SELECT is(pay('{"amount":"amount - coalesce((attributes->>''fees'')::numeric, 0)","tiers":[{"from":0,"rate":0.05}]}', '[{"amount":10000,"attributes":{"fees":280}}]')->'lines', '[486.00]', 'Real: 9,720 at 5 %');
-- prowi.io split-commission: an SDR gets 50 a meeting and 2 % of a 15 % split of 100,000, the AE 10 % of 85 %; then 60/40 and a hand-over at 60 %
SELECT is(pay('{"rates":[{"where":"segment = ''sdr''","rate":0.02}],"bonuses":[{"name":"meeting","where":"segment = ''sdr''","amount":50}],"tiers":[{"from":0,"rate":0.10}]}',
  '[{"rep":"sdr","amount":100000,"split":0.15,"opportunity":"o","segment":"sdr"},{"rep":"ae","amount":100000,"split":0.85,"opportunity":"o","segment":"ae"}]')->'reps', '{"ae":8500.00,"sdr":350.00}', 'prowi: SDR and AE');
SELECT is(pay('{"tiers":[{"from":0,"rate":0.10}]}', jsonb_build_array(jsonb_build_object('rep', 'a', 'amount', deal, 'split', 0.6, 'opportunity', 'o'), jsonb_build_object('rep', 'b', 'amount', deal, 'split', 0.4, 'opportunity', 'o')))->'reps',
  jsonb_build_object('a', a, 'b', b), 'prowi: 60/40 of ' || deal) FROM (VALUES (100000, 6000.00, 4000.00), (80000, 4800.00, 3200.00)) v(deal, a, b);
-- datafield.dev car-sales chapter 5: 25 % of front-end gross with a mini of 150; the mini governs under 600
SELECT is(pay('{"deal_floor":150,"tiers":[{"from":0,"rate":0.25}]}', '[400,600,1000]')->'lines', '[150.00,150.00,250.00]', 'car sales: the mini');
-- the same: 300 a car, and a retroactive volume bonus of 200 a car from the 15th car on (the bound is chosen): 15 cars make 7,500
SELECT is(pay('{"amount":"1","tiers":[{"from":0,"rate":300},{"from":15,"rate":500,"retroactive":true}]}', (SELECT jsonb_agg(n) FROM generate_series(1, 15) n))->'earned', '7500.00', 'car sales: 15 cars, every one re-rated');
-- calqoo.com performance: steps of the target bonus by realization
SELECT is(total('{"measure":"attainment","target":10000,"interpolate":false,"curve":[{"at":0.8,"pays":0.5},{"at":0.9,"pays":0.8},{"at":1,"pays":1},{"at":1.1,"pays":1.2},{"at":1.2,"pays":1.5}]}', jsonb_build_array(sold), 100), want, 'calqoo, stepped bonus: ' || sold)
  FROM (VALUES (79, 0), (80, 5000.00), (89, 5000.00), (95, 8000.00), (100, 10000.00), (119, 12000.00), (150, 15000.00)) v(sold, want);
-- docs.oracle.com facmi, options for splitting, interpolated: 1,000 for the whole of 0 to 25 %, 2,000 to 50 %, 5,000 to 100 %; 12 % are 480
SELECT is(total('{"measure":"attainment","curve":[{"at":0,"pays":0},{"at":0.25,"pays":1000},{"at":0.5,"pays":3000},{"at":1,"pays":8000}]}', jsonb_build_array(sold), 100), want, 'Oracle interpolated attainment: ' || sold)
  FROM (VALUES (12, 480.00), (40, 2200.00), (90, 7000.00)) v(sold, want);
-- the step rates' page's interpolated table as a curve of each deal: exact where a rate of 2,000 / 12,000 is not
SELECT is(pay('{"period":"quarter","tiers_on":"deal","curve":[{"at":0,"pays":0},{"at":1000,"pays":10},{"at":3000,"pays":50},{"at":8000,"pays":150},{"at":20000,"pays":2150}]}', '[200,300,1500,1200,2000,4500]')->'lines',
  '[2.00,3.00,20.00,14.00,30.00,80.00]', 'Oracle interpolated rates, as a curve');
-- mrexcel.com 857705: an opportunity of 21,000 a year; 2 % more for each 1 % above quota up to 150 %, 1 % up to 200 %: 23,100 at 105 % and 27,300 at 115 %,
-- of which 14,175 and 23,100 are paid (the thread's own last difference, 2,100, is a slip: 27,300 - 23,100 = 4,200); beyond 200 % nothing
SELECT is(pay('{"period":"year","measure":"attainment","target":21000,"curve":[{"at":0,"pays":0},{"at":1,"pays":1},{"at":1.5,"pays":2},{"at":2,"pays":2.5}]}',
  '[{"amount":67.5,"on":"2022-01-05"},{"amount":37.5,"on":"2022-02-05"},{"amount":10,"on":"2022-03-05"},{"amount":185,"on":"2022-04-05"}]', 100, '[2022-01-01,2022-05-01)', '1 month')->'payable',
  '[14175.00,8925.00,4200.00,25200.00]', 'mrexcel: overachievement of the year, less what is paid');
-- xactlycorp.com non-recoverable-draw: a draw of 1,500; 500 and 3,000 earned: 1,500 and 2,000 are paid, or 3,000 where it is not recoverable
SELECT is(pay(jsonb_build_object('draw', jsonb_build_object('amount', 1500, 'recoverable', recoverable), 'tiers', '[{"from":0,"rate":1}]'::jsonb), '[{"amount":500,"on":"2022-08-05"},{"amount":3000,"on":"2022-09-05"}]', NULL, '[2022-08-01,2022-10-01)', '1 month')->'payable',
  want::jsonb, 'Xactly: draw, recoverable ' || recoverable) FROM (VALUES (true, '[1500.00,2000.00]'), (false, '[1500.00,3000.00]')) v(recoverable, want);
-- visdum.com recoverable-and-non-recoverable-draw: 3,000 drawn, 2,000 earned, the shortfall of 1,000 comes from what follows; 4,000 drawn and 6,000 earned are 6,000
SELECT is(pay('{"draw":{"amount":3000},"tiers":[{"from":0,"rate":1}]}', '[{"amount":2000,"on":"2022-01-05"},{"amount":4000,"on":"2022-02-05"}]', NULL, '[2022-01-01,2022-03-01)', '1 month')->'payable', '[3000.00,3000.00]', 'Visdum: the shortfall is recovered');
SELECT is(pay('{"draw":{"amount":4000},"tiers":[{"from":0,"rate":1}]}', '[6000]', NULL, '[2022-01-01,2022-02-01)')->'payable', '[6000.00]', 'Visdum: more than the draw');
-- qcommission.com recoverable-vs-non-recoverable: guaranteed 2,000; earns 1,000, then 4,000
SELECT is(pay('{"draw":{"amount":2000,"recoverable":false},"tiers":[{"from":0,"rate":1}]}', '[{"amount":1000,"on":"2022-01-05"},{"amount":4000,"on":"2022-02-05"}]', NULL, '[2022-01-01,2022-03-01)', '1 month')->'payable', '[2000.00,4000.00]', 'QCommission: not recoverable');
-- docs.core8.co clawbacks: 10,000 earned, early termination takes back half
SELECT is(pay('{"clawback_days":365,"tiers":[{"from":0,"rate":0.1}]}', '[{"amount":100000,"on":"2022-01-05","opportunity":"o"},{"amount":-50000,"on":"2022-03-05","opportunity":"o","type":"cancellation"}]', NULL, '[2022-01-01,2022-04-01)', '1 month')->'payable', '[10000.00,-5000.00]', 'Core8: half is clawed back');
-- lmcst.ac.in residual: 5 % of 3,000 a month for every month of the contract
SELECT is(pay('{"basis":"invoice","tiers":[{"from":0,"rate":0.05}]}', (SELECT jsonb_agg(jsonb_build_object('amount', 3000, 'event', 'invoice', 'on', date '2022-01-15' + make_interval(months => m))) FROM generate_series(0, 3) m), NULL, '[2022-01-01,2022-05-01)', '1 month')->'payable', '[150.00,150.00,150.00,150.00]', 'residual commission');
-- staging.zepys.com holdback: 70 % at the sale, 30 % when the clawback window closes (10 % of 10,000 is chosen)
SELECT is(pay('{"basis":"any","rates":[{"where":"event = ''booking''","factor":0.7},{"where":"event = ''milestone''","factor":0.3}],"tiers":[{"from":0,"rate":0.1}]}',
  '[{"amount":10000,"event":"booking","on":"2022-01-05"},{"amount":10000,"event":"milestone","on":"2022-03-31"}]', NULL, '[2022-01-01,2022-04-01)', '1 month')->'payable', '[700.00,300.00]', 'Zepys: holdback');
-- comp.quotapath.com single-rate-multiplier: 1.25 and 1.5 times the rate for two and three years (10 % is chosen); all count towards one quota
SELECT is(pay('{"rates":[{"where":"(attributes->>''years'')::int >= 3","factor":1.5},{"where":"(attributes->>''years'')::int = 2","factor":1.25}],"tiers":[{"from":0,"rate":0.1}]}',
  '[{"amount":1000,"attributes":{"years":1}},{"amount":1000,"attributes":{"years":2}},{"amount":1000,"attributes":{"years":3}}]')->'lines', '[100.00,125.00,150.00]', 'QuotaPath: term multiplier');
-- github.com/zachfrey/lucscript test_commission.py: two currencies at 1.22, new 50 %, others by kind, one sale shared by two: 548.478, 197.6912, 173.1912
SELECT salesops.set_exchange_rate('GBP', 'USD', '2021-01-01', 1.22);
SELECT is(pay('{"rates":[{"where":"deal_type = ''E''","rate":0.07},{"where":"deal_type = ''SG''","rate":0.10}],"tiers":[{"from":0,"rate":0.50}]}',
  '[{"rep":"Ben","amount":4056,"currency":"GBP","type":"E","split":0.5,"opportunity":"1"},{"rep":"Corey","amount":4056,"currency":"GBP","type":"E","split":0.5,"opportunity":"1"},{"rep":"Alex","amount":49,"type":"N"},
    {"rep":"Alex","amount":4997,"type":"SG"},{"rep":"Ben","amount":49,"type":"N"},{"rep":"Alex","amount":39.80,"currency":"GBP","type":"N"}]')->'reps', '{"Alex":548.48,"Ben":197.69,"Corey":173.19}', 'lucscript: currencies, kinds, a shared sale');
SELECT * FROM finish();
ROLLBACK;
