-- Plans in which more than one sum counts: rate tables over two measures, accelerators that wait for another product, one attainment with rates
-- by product; and bonuses by how reps stand to each other: ranks and pools. Published examples with their sources, others worked out beside.
BEGIN;
SET client_min_messages = warning;
SELECT no_plan();
CREATE TABLE credit (credit_id text PRIMARY KEY, rep_id text, amount numeric, credited_on date, opportunity_id text, currency text, product text, deal_type text,
                     split numeric, segment text, event text, attributes jsonb);
SELECT ok(count(*) > 0, 'credits attached') FROM salesops.attach('commission_credit', 'credit');
-- credits [[rep, product, amount] …] of January, in order; half of them come after a first calculation, one is changed after closing, and back.
-- Answers what each rep is paid. Every line must explain to its amount, and the whole be what it is from scratch.
CREATE FUNCTION pays(definition jsonb, credits jsonb, quota numeric DEFAULT NULL) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  result jsonb;
  n int := jsonb_array_length(credits);
BEGIN
  PERFORM salesops.create_commission_plan('p', definition);
  PERFORM salesops.assign_commission_plan(r, 'p', '[2025-01-01,)', quota) FROM (SELECT DISTINCT c->>0 FROM jsonb_array_elements(credits) c) v(r);
  FOR half IN 1 .. 2 LOOP
    INSERT INTO credit (credit_id, rep_id, product, amount, credited_on) SELECT lpad(i::text, 3, '0'), c->>0, c->>1, (c->>2)::numeric, '2025-01-10'
      FROM jsonb_array_elements(credits) WITH ORDINALITY e(c, i) WHERE (i % 2 = 1) = (half = 1);
    PERFORM count(*) FROM salesops.calculate_commissions('[2025-01-01,2025-02-01)');
  END LOOP;
  PERFORM salesops.close_commission_period('[2025-01-01,2025-02-01)');
  UPDATE credit SET amount = amount * 1.7 WHERE credit_id = '001';
  PERFORM count(*) FROM salesops.calculate_commissions('[2025-02-01,2025-03-01)');
  UPDATE credit SET amount = (credits->0->>2)::numeric WHERE credit_id = '001';
  PERFORM count(*) FROM salesops.calculate_commissions('[2025-02-01,2025-03-01)');
  SELECT jsonb_object_agg(rep_id, s) INTO result FROM (SELECT rep_id, sum(amount) FROM salesops.commission_line GROUP BY 1) v(rep_id, s);
  IF EXISTS (SELECT FROM salesops.commission_line l WHERE (SELECT e.amount FROM salesops.explain_commission(l.line_id) e WHERE e.item = 'sentence') IS DISTINCT FROM l.amount
            ) THEN
    RAISE EXCEPTION 'a line is not explained';
  END IF;
  IF (SELECT sum(lines) FROM salesops.calculate_commissions('[2025-02-01,2025-03-01)')) <> 0 OR (SELECT NOT valid FROM salesops.verify_commission_ledger()) THEN RAISE EXCEPTION 'not idempotent, or a broken chain'; END IF;
  IF result IS DISTINCT FROM (SELECT jsonb_object_agg(s.rep_id, s.simulated) FROM salesops.simulate_commissions('[2025-01-01,2025-02-01)', 'p', definition) s) THEN
    RAISE EXCEPTION 'the ledger has %, from scratch it is %', result, (SELECT jsonb_object_agg(s.rep_id, s.simulated) FROM salesops.simulate_commissions('[2025-01-01,2025-02-01)', 'p', definition) s);
  END IF;
  RAISE EXCEPTION USING ERRCODE = 'P7777', MESSAGE = result::text;
EXCEPTION WHEN SQLSTATE 'P7777' THEN
  RETURN SQLERRM::jsonb;
END
$$;

-- Digital and non-digital goals of 50 and 100. One goal of two made: 2 % of the revenue of the goal that was made, both: 3 % of all revenue; and 5 % of what is beyond a
-- goal (options 1 and 2 of https://www.mrexcel.com/board/threads/need-help-interesting-commission-plan-but-have-no-idea.540025/, its goals, and the actuals of its example 1:
-- digital 100, non-digital 75). From the goal on 2 % of all and 5 % of the rest is 2 % of the goal at once and 7 % beyond; 3 % likewise.
CREATE FUNCTION two_goals() RETURNS jsonb LANGUAGE sql AS $$ SELECT '{"measure":"attainment","tiers":[{"from":0,"rate":0}],"rates":[
  {"name":"digital","where":"product = ''d''","quota":50,"by":{"of":"non-digital","levels":[{"at":0,"tiers":[{"from":0,"rate":0},{"from":1,"rate":0.07,"bonus":1}]},{"at":1,"tiers":[{"from":0,"rate":0},{"from":1,"rate":0.08,"bonus":1.5}]}]}},
  {"name":"non-digital","where":"product = ''n''","quota":100,"by":{"of":"digital","levels":[{"at":0,"tiers":[{"from":0,"rate":0},{"from":1,"rate":0.07,"bonus":2}]},{"at":1,"tiers":[{"from":0,"rate":0},{"from":1,"rate":0.08,"bonus":3}]}]}}]}'::jsonb $$;
-- 2 % of 100 + 5 % of 50 = 4.50; with non-digital 120: 3 % of 220 + 5 % of 70 = 10.10
SELECT is(pays(two_goals(), '[["r","d",60],["r","n",75],["r","d",40]]', 150), '{"r":4.50}', 'two goals: one is made');
SELECT is(pays(two_goals(), '[["r","d",60],["r","n",75],["r","d",40],["r","n",45]]', 150), '{"r":10.10}', 'two goals: both are made, and what the first paid moves up');
SELECT is(pays(two_goals(), '[["r","d",49],["r","n",99]]', 150), '{"r":0.00}', 'two goals: none is made');

-- an accelerator that waits for the other product: 10 %, above quota 20 % only where services have made theirs: 100 * 10 % + 50 * 10 %, then + 50 * 10 %
CREATE FUNCTION waits() RETURNS jsonb LANGUAGE sql AS $$ SELECT '{"measure":"attainment","tiers":[{"from":0,"rate":0}],"rates":[
  {"name":"service","where":"product = ''s''","quota":40,"rate":0.05},
  {"name":"licence","where":"product = ''l''","by":{"of":"service","levels":[{"at":0,"rate":0.1},{"at":1,"tiers":[{"from":0,"rate":0.1},{"from":1,"rate":0.2}]}]}}]}'::jsonb $$;
SELECT is(pays(waits(), '[["r","l",150],["r","s",39]]', 100), '{"r":16.95}', 'an accelerator waits for another product''s quota');
SELECT is(pays(waits(), '[["r","l",150],["r","s",39],["r","s",1]]', 100), '{"r":22.00}', 'and holds for all once it is made');
-- a rate table: margin band of the deal by attainment of all: below quota 4 % and 6 %, from quota on 6 % and 9 %, on everything: 60 * 4 % + 30 * 6 % = 4.20; 60 * 6 % + 50 * 9 % = 8.10
CREATE FUNCTION rate_table() RETURNS jsonb LANGUAGE sql AS $$ SELECT '{"measure":"attainment","tiers":[{"from":0,"rate":0}],"rates":[
  {"name":"high margin","where":"product = ''high''","by":{"of":"all","levels":[{"at":0,"rate":0.06},{"at":1,"rate":0.09}]}},
  {"name":"low margin","where":"product = ''low''","by":{"of":"all","levels":[{"at":0,"rate":0.04},{"at":1,"rate":0.06}]}}]}'::jsonb $$;
SELECT is(pays(rate_table(), '[["r","low",60],["r","high",30]]', 100), '{"r":4.20}', 'rate table: below quota');
SELECT is(pays(rate_table(), '[["r","low",60],["r","high",30],["r","high",20]]', 100), '{"r":8.10}', 'rate table: above quota');
-- a payout table of two attainments, shares of a target of 1,000: revenue 80 % to 100 % by new logos 0 or 100 %
SELECT is(pays('{"measure":"attainment","target":1000,"tiers":[{"from":0,"rate":0}],"rates":[{"name":"logos","where":"product = ''logo''","quota":3,"rate":0},
  {"name":"revenue","where":"product = ''revenue''","by":{"of":"logos","levels":[{"at":0,"curve":[{"at":0.8,"pays":0.4},{"at":1,"pays":0.8}],"interpolate":false},{"at":1,"curve":[{"at":0.8,"pays":0.6},{"at":1,"pays":1.2}]}]}}]}',
  jsonb_build_array('["r","revenue",50]'::jsonb, jsonb_build_array('r', 'logo', logos), '["r","revenue",40]'::jsonb), 100), jsonb_build_object('r', want), 'payout table: ' || logos || ' logos')
  FROM (VALUES (2, 400.00), (3, 900.00)) v(logos, want);
-- a multiplier: what new business earns counts 80 % until half of the renewals are in, then 100 %, then 120 %
SELECT is(pays('{"tiers":[{"from":0,"rate":0.02}],"rates":[{"name":"new","where":"product = ''new''","by":{"of":"plan","levels":[{"at":0,"rate":0.08},{"at":500,"rate":0.1},{"at":1000,"rate":0.12}]}}]}',
  jsonb_build_array('["r","new",1000]'::jsonb, jsonb_build_array('r', 'renewal', renewals))), jsonb_build_object('r', want), 'multiplier: ' || renewals)
  FROM (VALUES (499, 89.98), (500, 110.00), (1500, 150.00)) v(renewals, want);

-- one attainment, rates by product: 5 % and 2 % up to a quota of 100, 8 % and 3 % beyond, in the order of the deals: 60 * 5 % + 40 * 2 % + 20 * 3 % + 30 * 8 %
SELECT is(pays('{"measure":"attainment","tiers":[{"from":0,"rate":0.05},{"from":1,"rate":0.08}],"rates":[{"where":"product = ''b''","sum":"plan","tiers":[{"from":0,"rate":0.02},{"from":1,"rate":0.03}]}]}',
  '[["r","a",60],["r","b",60],["r","a",30]]', 100), '{"r":6.80}', 'one attainment, rates by product');
SELECT is(pays('{"measure":"attainment","tiers":[{"from":0,"rate":0}],"rates":[{"where":"product = ''a''","sum":"plan","rate":0.1},{"where":"product = ''b''","sum":"plan","tiers":[{"from":0,"rate":0},{"from":0.5,"rate":1}]}]}',
  '[["r","a",30],["r","b",30],["r","c",10],["r","b",1000000000000000000000.01]]', 100), '{"r":1000000000000000000013.01}', 'the same in numbers of any size');

-- ranks: 5,000, 3,000 and 1,000 for the first three who have made quota; two that stand equal share two places; who has not made it is not in it
SELECT is(pays('{"measure":"attainment","tiers":[{"from":0,"rate":0}],"bonuses":[{"name":"president''s club","rank":[5000,3000,1000],"at":1}]}',
  '[["a","x",100],["b","x",90],["b","x",60],["c","x",149],["d","x",99],["e","x",120]]', 100), '{"a":0.00,"b":5000.00,"c":3000.00,"d":0.00,"e":1000.00}', 'ranks of those who made quota');
SELECT is(pays('{"tiers":[{"from":0,"rate":0}],"bonuses":[{"rank":[100,50.01]}]}', '[["b","x",7],["a","x",7],["c","x",6]]'), '{"a":75.01,"b":75.00,"c":0.00}', 'ranks: equals share their places, to the cent');
SELECT is(pays('{"tiers":[{"from":0,"rate":0}],"bonuses":[{"rank":[100]}]}', '[["b","x",7],["a","x",7],["c","x",7]]'), '{"a":33.34,"b":33.33,"c":33.33}', 'ranks: three on one place');
-- pools: 1 % of 1,000,000 for 50 who qualify is 200 each (https://www.mlm.com/whats-a-pool-commission/), 10,000 for ten of them 1,000 each
-- (https://corecommissions.com/how-to-implement-pooled-commission-structure, reps at 50 % of quota or more)
SELECT is((SELECT jsonb_object_agg(value #>> '{}', true) FROM jsonb_each(pays('{"tiers":[{"from":0,"rate":0}],"bonuses":[{"name":"pool","pool":"equal","rate":0.01,"at":2000}]}',
  (SELECT jsonb_agg(jsonb_build_array(i, 'x', CASE WHEN i <= 50 THEN 20000 - 20 * (i % 2) + 10 ELSE -500 + 500 END)) FROM generate_series(1, 50) i)))), '{"200.00":true}', 'pool: 1 % in equal shares');
SELECT is(pays('{"measure":"attainment","tiers":[{"from":0,"rate":0}],"bonuses":[{"pool":"equal","amount":10000,"at":0.5}]}', (SELECT jsonb_agg(jsonb_build_array(i, 'x', CASE WHEN i <= 10 THEN 50 + i ELSE 49 END)) FROM generate_series(1, 11) i), 100) ->> '10',
  '1000.00', 'pool: equal shares of who qualify');
SELECT is(pays('{"tiers":[{"from":0,"rate":0}],"bonuses":[{"pool":"proportional","amount":100,"cap":60}]}', '[["a","x",1],["b","x",1],["c","x",1]]'), '{"a":33.34,"b":33.33,"c":33.33}', 'pool: in proportion, to the cent');
SELECT is(pays('{"tiers":[{"from":0,"rate":0}],"bonuses":[{"pool":"proportional","rate":0.1,"cap":60}]}', '[["a","x",700],["b","x",300]]'), '{"a":60.00,"b":30.00}', 'pool: in proportion, held to a cap');
-- a rep who is overtaken gives back what the rank had paid, and one rep's calculation leaves the others alone
SELECT salesops.create_commission_plan('r', '{"tiers":[{"from":0,"rate":0.1}],"bonuses":[{"rank":[50]}]}'), salesops.assign_commission_plan('x', 'r', '[2025-01-01,)'), salesops.assign_commission_plan('y', 'r', '[2025-01-01,)');
INSERT INTO credit (credit_id, rep_id, amount, credited_on) VALUES ('1', 'x', 10, '2025-03-01'), ('2', 'y', 9, '2025-03-01');
SELECT results_eq($$SELECT rep_id, earned FROM salesops.calculate_commissions('[2025-03-01,2025-04-01)')$$, $$VALUES ('x', 51.00), ('y', 0.90)$$, 'first');
UPDATE credit SET amount = 11 WHERE credit_id = '2';
SELECT results_eq($$SELECT rep_id, earned FROM salesops.calculate_commission('y', '[2025-03-01,2025-04-01)')$$, $$VALUES ('y', 1.10)$$, 'one rep: ranks wait');
SELECT results_eq($$SELECT rep_id, earned FROM salesops.calculate_commissions('[2025-03-01,2025-04-01)')$$, $$VALUES ('x', 1.00), ('y', 51.10)$$, 'overtaken');
-- what an explanation says
SELECT matches((SELECT string_agg(e.detail, ' ') FROM salesops.commission_line l, salesops.explain_commission(l.line_id) e WHERE l.rep_id = 'y' AND l.kind = 'bonus'), 'by rank of the period''s sum among the plan''s reps \(50\.00\)', 'a rank is explained');

-- mistakes, all at once
CREATE FUNCTION mistakes(definition jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE d text;
BEGIN
  PERFORM salesops.create_commission_plan('bad', definition);
  RETURN NULL;
EXCEPTION WHEN SQLSTATE '22023' THEN
  GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL;
  RETURN d;
END
$$;
SELECT is(mistakes('{"deal_cap":1,"tiers":[{"from":0,"rate":0.1}],"rates":[{"where":"true","by":{"of":"nobody","levels":[{"at":1,"rate":1},{"at":1,"rate":1,"tiers":[]}]}},{"where":"true","rate":1,"by":{"of":"all","levels":[]}},
  {"where":"true","sum":"plan","curve":[{"at":0,"pays":1}]},{"where":"true","sum":"plan","quota":5,"factor":2}]}') ~ all (ARRAY['rates\[0\].by.levels\[0\]: "at" must be 0, not 1', 'rates\[0\].by.levels\[1\]: "at" 1 must be above', 'rates\[0\].by.levels\[1\]: one of "rate", "tiers" and "curve"',
    'rates\[0\].by: "of" must be', 'rates\[0\].by: levels are of the period', 'rates\[1\]: give one of "rate", "tiers", "curve" and "by"', 'rates\[1\].by.levels must be a list', 'rates\[2\]: "sum": "plan" goes with', 'rates\[3\]: "sum": "plan" goes with', 'it does not go with "sum"']), true, 'mistakes of levels and sums');
SELECT is(mistakes('{"tiers":[{"from":0,"rate":0.1}],"bonuses":[{"rank":[]},{"rank":[1,-1,"x"],"amount":5},{"pool":"equal","every":5,"amount":1,"where":"true"},{"pool":"some","rank":[1]}]}') ~ all (ARRAY['bonuses\[0\]: "rank" is a list',
  'bonuses\[1\].rank\[1\] must be', 'bonuses\[1\].rank\[2\] must be', 'bonuses\[1\]: one of "amount", "rate" and "rank"', 'bonuses\[2\]: a "pool" goes with', 'bonuses\[2\]: "at", "every", "rank" and "pool" are about', 'bonuses\[3\]: "pool" must be one of']), true, 'mistakes of ranks and pools');
SELECT * FROM finish();
ROLLBACK;
