-- Every feature of a plan that issue and page name, one after the other, each with figures worked out by hand beside it.
BEGIN;
SET client_min_messages = warning;
SELECT no_plan();
CREATE TABLE credit (credit_id text PRIMARY KEY, rep_id text, amount numeric, credited_on date, opportunity_id text, currency text,
                     product text, deal_type text, split numeric, segment text, event text, attributes jsonb);
CREATE TABLE rep (rep_id text PRIMARY KEY, name text, manager_id text, is_active boolean DEFAULT true);
SELECT ok(count(*) = 12, 'credits attached') FROM salesops.attach('commission_credit', 'credit');
SELECT ok(count(*) > 0, 'reps attached') FROM salesops.attach('sales_rep', 'rep');

-- credits: [[day, amount, {more}] …] from 2027 on; every step (a month unless said) is calculated, and closed where asked for.
-- Answers what each step pays ("paid"), by rep ("reps"), by kind ("kinds"), the lines ("lines"); undone but for the answer.
CREATE FUNCTION run(definition jsonb, credits jsonb, options jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  at date := coalesce((options->>'from')::date, '2027-01-01');
  until date := coalesce((options->>'to')::date, '2028-01-01');
  step interval := coalesce(options->>'step', '1 month');
  result jsonb;
  a jsonb;
BEGIN
  INSERT INTO rep SELECT m.key, m.key, m.value #>> '{}' FROM jsonb_each(coalesce(options->'managers', '{}')) m;
  INSERT INTO credit SELECT coalesce(c->2->>'id', lpad(n::text, 3, '0')), coalesce(c->2->>'rep', 'r'), (c->>1)::numeric, ('2027-' || (c->>0))::date, c->2->>'opportunity',
         c->2->>'currency', c->2->>'product', c->2->>'type', (c->2->>'split')::numeric, c->2->>'segment', c->2->>'event', c->2->'attributes'
    FROM jsonb_array_elements(credits) WITH ORDINALITY e(c, n);
  INSERT INTO rep SELECT DISTINCT rep_id, rep_id FROM credit ON CONFLICT DO NOTHING;
  INSERT INTO rep VALUES ('r', 'r') ON CONFLICT DO NOTHING;
  PERFORM salesops.create_commission_plan('p', definition);
  PERFORM salesops.create_commission_plan(o.key, o.value) FROM jsonb_each(coalesce(options->'plans', '{}')) o;
  IF options ? 'assign' THEN
    FOR a IN SELECT jsonb_array_elements(options->'assign') LOOP
      PERFORM salesops.assign_commission_plan(coalesce(a->>'rep', 'r'), coalesce(a->>'plan', 'p'), (a->>'days')::daterange, (a->>'quota')::numeric);
    END LOOP;
  ELSE
    PERFORM salesops.assign_commission_plan(r, 'p', '[2027-01-01,)', (options->>'quota')::numeric) FROM (SELECT DISTINCT rep_id FROM credit) v(r);
  END IF;
  PERFORM salesops.replace_commission_plan('p', options->'version'->'definition', (options->'version'->>'from')::date) WHERE options ? 'version';
  PERFORM salesops.set_exchange_rate(e->>0, e->>1, (e->>2)::date, (e->>3)::numeric) FROM jsonb_array_elements(coalesce(options->'exchange', '[]')) e;
  WHILE at < until LOOP
    PERFORM count(*) FROM salesops.calculate_commissions(daterange(at, (at + step)::date));
    IF (options->>'close')::boolean THEN
      PERFORM salesops.close_commission_period(daterange(at, (at + step)::date));
    END IF;
    -- what happens to the credits after a step
    IF options->'after' ? at::text THEN
      EXECUTE options->'after'->>at::text;
    END IF;
    at := at + step;
  END LOOP;
  SELECT jsonb_build_object(
    'paid', (SELECT jsonb_object_agg(to_char(lower(period), 'MM-DD'), p) FROM (SELECT s.period, sum(s.payable) FROM salesops.commission_statement s GROUP BY 1 HAVING sum(s.payable) <> 0) v(period, p)),
    'reps', (SELECT jsonb_object_agg(rep_id, s) FROM (SELECT s.rep_id, sum(s.payable) FROM salesops.commission_statement s GROUP BY 1) v(rep_id, s)),
    'kinds', (SELECT jsonb_object_agg(kind, s) FROM (SELECT kind, sum(amount) FROM salesops.commission_line GROUP BY 1) v(kind, s)),
    'lines', (SELECT jsonb_agg(l.amount ORDER BY line_id) FROM salesops.commission_line l)) INTO result;
  IF EXISTS (SELECT FROM salesops.commission_line l WHERE (SELECT e.amount FROM salesops.explain_commission(l.line_id) e WHERE e.item = 'sentence') IS DISTINCT FROM l.amount) THEN
    RAISE EXCEPTION 'a line is not explained';
  END IF;
  IF (SELECT NOT valid FROM salesops.verify_commission_ledger()) THEN RAISE EXCEPTION 'broken chain'; END IF;
  -- each step once more writes nothing
  IF (SELECT coalesce(sum(lines), 0) FROM salesops.calculate_commissions(daterange((until - step)::date, until))) <> 0 THEN RAISE EXCEPTION 'not idempotent'; END IF;
  RAISE EXCEPTION USING ERRCODE = 'P7777', MESSAGE = result::text;
EXCEPTION WHEN SQLSTATE 'P7777' THEN
  RETURN SQLERRM::jsonb;
END
$$;
CREATE FUNCTION paid(definition jsonb, credits jsonb, options jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$ SELECT run(definition, credits, options)->'paid' $$;

-- tiers. Amount: 50,000 * 5 % = 2,500; then 50,000 * 5 % + 20,000 * 8 %; attainment of a quota of 50,000 is the same with bounds as shares
SELECT is(paid('{"period":"quarter","tiers":[{"from":0,"rate":0.05},{"from":100000,"rate":0.08}]}', '[["01-05",50000],["02-05",70000]]', '{"to":"2027-04-01"}'), '{"01-01":2500.00,"02-01":4100.00}', 'tiers: marginal on amount');
SELECT is(paid('{"period":"quarter","measure":"attainment","tiers":[{"from":0,"rate":0.05},{"from":2,"rate":0.08}]}', '[["01-05",50000],["02-05",70000]]', '{"quota":50000,"to":"2027-04-01"}'), '{"01-01":2500.00,"02-01":4100.00}', 'tiers: marginal on attainment');
-- 120,000 * 8 % = 9,600, of which 2,500 are paid
SELECT is(paid('{"period":"quarter","method":"retroactive","tiers":[{"from":0,"rate":0.05},{"from":100000,"rate":0.08}]}', '[["01-05",50000],["02-05",70000]]', '{"to":"2027-04-01"}'), '{"01-01":2500.00,"02-01":7100.00}', 'tiers: retroactive on amount');
SELECT is(paid('{"period":"quarter","method":"retroactive","measure":"attainment","tiers":[{"from":0,"rate":0.05},{"from":2,"rate":0.08}]}', '[["01-05",50000],["02-05",70000]]', '{"quota":50000,"to":"2027-04-01"}'), '{"01-01":2500.00,"02-01":7100.00}', 'tiers: retroactive on attainment');

-- quota by period: 10,000 in January, 20,000 from February on; 15,000 sold a month at 10 %, 20 % above quota
SELECT is(paid('{"measure":"attainment","tiers":[{"from":0,"rate":0.1},{"from":1,"rate":0.2}]}', '[["01-05",15000],["02-05",15000],["03-05",30000]]',
  '{"to":"2027-04-01","assign":[{"days":"[2027-01-01,2027-02-01)","quota":10000},{"days":"[2027-02-01,)","quota":20000}]}'), '{"01-01":2000.00,"02-01":1500.00,"03-01":4000.00}', 'quota by period');
-- ramp: 25 %, 50 % of 20,000, then all of it; a new quota in March does not begin it anew, a return after a gap does
SELECT is(paid('{"measure":"attainment","ramp":[0.25,0.5],"tiers":[{"from":0,"rate":0.1},{"from":1,"rate":0.2}]}', '[["01-05",10000],["02-05",12000],["03-05",12000],["05-05",10000]]',
  '{"to":"2027-06-01","assign":[{"days":"[2027-01-01,2027-03-01)","quota":20000},{"days":"[2027-03-01,2027-04-01)","quota":10000},{"days":"[2027-05-01,)","quota":20000}]}'),
  '{"01-01":1500.00,"02-01":1400.00,"03-01":1400.00,"05-01":1500.00}', 'quota: ramp of a new rep, whom a new quota does not make new');

-- accelerator above quota, decelerator below half of it: 2 % to 50,000; 4 % to 100,000; 6 % above: 1,000 + 2,000 + 3,000
SELECT is(paid('{"period":"quarter","measure":"attainment","tiers":[{"from":0,"rate":0.02},{"from":0.5,"rate":0.04},{"from":1,"rate":0.06}]}', '[["01-05",150000]]', '{"quota":100000,"to":"2027-04-01"}'), '{"01-01":6000.00}', 'accelerator and decelerator');
-- a decelerating top: 10 % to 100 %, 5 % beyond
SELECT is(paid('{"measure":"attainment","tiers":[{"from":0,"rate":0.10},{"from":1,"rate":0.05}]}', '[["01-05",150]]', '{"quota":100,"to":"2027-02-01"}'), '{"01-01":12.50}', 'decelerator above quota');

-- caps and floors: deals of 50,000, 5,000 and 100 at 10 % within 1,000 and 50: 1,000 + 500 + 50; period: at most 1,200; at least 300
SELECT is(run('{"deal_cap":1000,"deal_floor":50,"tiers":[{"from":0,"rate":0.1}]}', '[["01-05",50000],["01-06",5000],["01-07",100]]', '{"to":"2027-02-01"}')->'lines', '[1000.00,500.00,50.00]', 'cap and floor per deal');
SELECT is(paid('{"cap":1200,"floor":300,"deal_cap":1000,"tiers":[{"from":0,"rate":0.1}]}', '[["01-05",50000],["01-06",5000],["02-07",100],["03-01",8000]]', '{"to":"2027-05-01"}'),
  '{"01-01":1200.00,"02-01":300.00,"03-01":800.00,"04-01":300.00}', 'cap and floor per period, one without a credit too');

-- rates: product 2 %; segment 12 %; deal type at half; else 10 %: 20 + 120 + 50 + 100; each with a running sum of its own
SELECT is(run('{"rates":[{"where":"product = ''service''","rate":0.02},{"where":"segment = ''enterprise'' AND amount >= 1000","rate":0.12},{"where":"deal_type IN (''renewal'', ''upsell'')","factor":0.5}],"tiers":[{"from":0,"rate":0.1}]}',
  '[["01-05",1000,{"product":"service"}],["01-06",1000,{"segment":"enterprise"}],["01-07",1000,{"type":"renewal"}],["01-08",1000]]', '{"to":"2027-02-01"}')->'lines', '[20.00,120.00,50.00,100.00]', 'rates by product, segment, deal type');
-- by the user's own columns: a discount above 20 % halves the credit, a third year adds 25 %
SELECT is(run('{"rates":[{"where":"(attributes->>''discount'')::numeric > 0.2","factor":0.5},{"where":"(attributes->>''years'')::int >= 3","factor":1.25}],"tiers":[{"from":0,"rate":0.1}]}',
  '[["01-05",1000,{"attributes":{"discount":0.3}}],["01-06",1000,{"attributes":{"years":3,"discount":0.1}}],["01-07",1000]]', '{"to":"2027-02-01"}')->'lines', '[50.00,125.00,100.00]', 'rates by attributes of the user''s own');
-- what counts by an expression: the margin; 30 % of 1,000 - 700
SELECT is(paid('{"amount":"amount - (attributes->>''cost'')::numeric","tiers":[{"from":0,"rate":0.3}]}', '[["01-05",1000,{"attributes":{"cost":700}}]]', '{"to":"2027-02-01"}'), '{"01-01":90.00}', 'amount: the margin');
-- per unit: 20 for each of the first three deals, 30 for the next
SELECT is(run('{"amount":"1","tiers":[{"from":0,"rate":20},{"from":3,"rate":30}]}', '[["01-05",100],["01-06",7],["01-07",1],["01-08",500]]', '{"to":"2027-02-01"}')->'lines', '[20.00,20.00,20.00,30.00]', 'amount: deals are counted');
SELECT throws_ok($$SELECT run('{"amount":"(attributes->>''x'')::numeric","tiers":[{"from":0,"rate":20}]}', '[["01-05",100],["01-06",100]]')$$, '22023', 'commissions cannot be calculated', 'amount: NULL is an error');

-- splits 60/40 with an overlay of 10 %; 100 % is asked of the former
SELECT is(run('{"tiers":[{"from":0,"rate":0.1}]}', '[["01-05",1000,{"opportunity":"o","split":0.6,"rep":"a"}],["01-05",1000,{"opportunity":"o","split":0.4,"rep":"b"}],["01-05",1000,{"opportunity":"o","split":0.1,"type":"overlay","rep":"c"}]]', '{"to":"2027-02-01"}')->'reps',
  '{"a":60.00,"b":40.00,"c":10.00}', 'splits and an overlay');
SELECT throws_ok($$SELECT run('{"tiers":[{"from":0,"rate":0.1}]}', '[["01-05",1000,{"opportunity":"o","split":0.6,"rep":"a"}],["01-05",1000,{"opportunity":"o","split":0.3,"rep":"b"}]]')$$, '22023', 'commissions cannot be calculated', 'splits of 90 %');

-- overrides: 2 % on both levels above; 5 %, 3 % and 1 % by level; a circle ends
SELECT is(run('{"manager_override":{"rate":0.02,"levels":2},"tiers":[{"from":0,"rate":0.1}]}', '[["01-05",1000,{"rep":"a"}]]', '{"to":"2027-02-01","managers":{"a":"m","m":"v","v":"c","c":null}}')->'reps', '{"a":100.00,"m":20.00,"v":20.00}', 'override: two levels');
SELECT is(run('{"manager_override":{"rates":[0.05,0.03,0.01]},"tiers":[{"from":0,"rate":0.1}]}', '[["01-05",1000,{"rep":"a"}],["01-06",500,{"rep":"m"}]]', '{"to":"2027-02-01","managers":{"a":"m","m":"v","v":"c","c":null},"assign":[{"rep":"a","days":"[2027-01-01,)"},{"rep":"m","days":"[2027-01-01,)"}]}')->'reps',
  '{"a":100.00,"m":100.00,"v":55.00,"c":25.00}', 'override: a rate a level');
SELECT is(run('{"manager_override":{"rate":0.02,"levels":9},"tiers":[{"from":0,"rate":0.1}]}', '[["01-05",1000,{"rep":"a"}]]', '{"to":"2027-02-01","managers":{"a":"m","m":"a"}}')->'reps', '{"a":100.00,"m":20.00}', 'override: a circle');

-- draw 1,000 recoverable: earns 400 (advance 600), 900 (100), 1,500 (gives 500 back), 2,000 (the other 200); a period without a credit: 1,000
SELECT is(paid('{"draw":{"amount":1000},"tiers":[{"from":0,"rate":1}]}', '[["01-05",400],["02-05",900],["03-05",1500],["04-05",2000]]', '{"to":"2027-06-01","close":true}'),
  '{"01-01":1000.00,"02-01":1000.00,"03-01":1000.00,"04-01":1800.00,"05-01":1000.00}', 'draw: recoverable, carried over');
SELECT is(paid('{"draw":{"amount":1000,"recoverable":false},"tiers":[{"from":0,"rate":1}]}', '[["01-05",400],["02-05",1500]]', '{"to":"2027-03-01"}'), '{"01-01":1000.00,"02-01":1500.00}', 'draw: not recoverable');
-- two months of draws; what is owed then is recovered from all that is earned
SELECT is(paid('{"draw":{"amount":1000,"periods":2},"tiers":[{"from":0,"rate":1}]}', '[["01-05",400],["03-05",500],["04-05",2000]]', '{"to":"2027-05-01"}'), '{"01-01":1000.00,"02-01":1000.00,"04-01":900.00}', 'draw: in the first periods only');
-- another plan with a draw: the debt of 600 goes along
SELECT is(paid('{"draw":{"amount":1000},"tiers":[{"from":0,"rate":1}]}', '[["01-05",400],["02-05",1500]]', '{"to":"2027-03-01","plans":{"q":{"draw":{"amount":1000},"tiers":[{"from":0,"rate":1}]}},"assign":[{"days":"[2027-01-01,2027-02-01)"},{"plan":"q","days":"[2027-02-01,)"}]}'),
  '{"01-01":1000.00,"02-01":1000.00}', 'draw: owed across a change of plan');

-- SPIF of 50 a deal from a budget of 120, by date then id, over both reps: 50, 50, 20, 0; 30 a rep; between two days only
SELECT is(run('{"bonuses":[{"name":"spif","amount":50,"budget":120}],"tiers":[{"from":0,"rate":0}]}', '[["01-09",1,{"rep":"a"}],["01-05",1,{"rep":"b"}],["01-06",1,{"rep":"a"}],["02-08",1,{"rep":"b"}]]', '{"to":"2027-03-01"}') - '{lines,kinds}'::text[],
  '{"paid":{"01-01":120.00},"reps":{"a":70.00,"b":50.00}}', 'bonus: a budget used up in order');
SELECT is(run('{"bonuses":[{"name":"spif","rate":0.1,"cap":30,"where":"product = ''new''","from":"2027-01-06","to":"2027-01-08"}],"tiers":[{"from":0,"rate":0}]}',
  '[["01-05",100,{"product":"new"}],["01-06",200,{"product":"new"}],["01-07",200,{"product":"new"}],["01-07",200],["01-08",100,{"product":"new"}]]', '{"to":"2027-02-01"}')->'paid', '{"01-01":30.00}', 'bonus: a rate in a window, 20 + 20 held to 30 a rep');
-- at a mark: a sum, or a share of all; 25 for every full 1,000 of 3,700
SELECT is(run('{"bonuses":[{"amount":77,"at":1000},{"rate":0.01,"at":3000},{"amount":25,"every":1000},{"amount":5,"at":9999}],"tiers":[{"from":0,"rate":0}]}', '[["01-05",3700]]', '{"to":"2027-02-01"}')->'lines', '[0.00,77.00,37.00,75.00]', 'bonus: on the period''s sum');
SELECT is(paid('{"bonuses":[{"name":"salary","amount":3000,"at":0}],"tiers":[{"from":0,"rate":0.05}]}', '[["01-05",50000]]', '{"to":"2027-03-01"}'), '{"01-01":5500.00,"02-01":3000.00}', 'bonus: a salary, in a period without credits too');
-- one rep at a time writes nothing twice
SAVEPOINT one;
INSERT INTO rep VALUES ('a'), ('b');
SELECT salesops.create_commission_plan('one', '{"bonuses":[{"amount":10},{"amount":50,"budget":60}],"manager_override":{"rate":0.1},"tiers":[{"from":0,"rate":0.1}]}');
SELECT salesops.assign_commission_plan(r, 'one', '[2027-01-01,)') FROM unnest('{a,b}'::text[]) r;
INSERT INTO credit (credit_id, rep_id, amount, credited_on) VALUES ('1', 'a', 100, '2027-01-05'), ('2', 'b', 100, '2027-01-06');
SELECT is(sum(lines), 2::bigint, 'one rep: the credit and the bonus that is only its own') FROM salesops.calculate_commission('a', '[2027-01-01,2027-02-01)');
SELECT is(sum(lines), 0::bigint, 'one rep: nothing twice') FROM salesops.calculate_commission('a', '[2027-01-01,2027-02-01)');
SELECT is(sum(lines), 4::bigint, 'all: the shared budget and the other rep') FROM salesops.calculate_commissions('[2027-01-01,2027-02-01)');
SELECT is(sum(lines), 0::bigint, 'one rep: leaves the shared budget alone') FROM salesops.calculate_commission('a', '[2027-01-01,2027-02-01)');
SELECT is(jsonb_object_agg(rep_id, earned), '{"a":70.00,"b":30.00}', 'and all are paid once') FROM (SELECT rep_id, sum(earned) FROM salesops.commission_posting GROUP BY 1) v(rep_id, earned);
ROLLBACK TO one;

-- clawback in 60 days: a refund 40 days on takes back, one 90 days on does not; a deal that is gone likewise; non-payment as well
SELECT is(run('{"clawback_days":60,"tiers":[{"from":0,"rate":0.1}]}', '[["01-05",1000,{"opportunity":"o"}],["02-14",-1000,{"opportunity":"o","type":"cancellation"}],["01-06",500,{"opportunity":"q"}],["04-06",-500,{"opportunity":"q","type":"non_payment"}]]', '{"to":"2027-05-01","close":true}') - 'lines',
  '{"paid":{"01-01":150.00,"02-01":-100.00},"reps":{"r":50.00},"kinds":{"earned":150.00,"clawback":-100.00}}', 'clawback: refunds within the window');
SELECT is(paid('{"clawback_days":60,"tiers":[{"from":0,"rate":0.1}]}', '[["01-05",1000,{"opportunity":"o","id":"o"}],["01-06",500,{"id":"q"}],["02-03",10],["05-03",10]]',
  '{"to":"2027-06-01","close":true,"after":{"2027-01-01":"DELETE FROM credit WHERE credit_id = ''o''","2027-04-01":"DELETE FROM credit WHERE credit_id = ''q''"}}'),
  '{"01-01":150.00,"02-01":-99.00,"05-01":1.00}', 'clawback: a cancelled deal within the window, and one after it');
SELECT is(paid('{"clawback_days":30,"tiers":[{"from":0,"rate":0.1}]}', '[["01-05",1000,{"opportunity":"o"}],["01-25",-1000,{"opportunity":"o","type":"non_payment"}]]', '{"to":"2027-02-01"}'), 'null', 'clawback: non-payment within the month itself leaves nothing');

-- basis: of booking 10,000, two invoices, three payments and a milestone only the events of the basis count, on their dates
SELECT is(paid(jsonb_build_object('basis', basis, 'tiers', '[{"from":0,"rate":0.1}]'::jsonb),
  '[["01-05",10000,{"opportunity":"o","event":"booking"}],["02-01",6000,{"opportunity":"o","event":"invoice"}],["03-01",4000,{"opportunity":"o","event":"invoice"}],["03-10",3000,{"opportunity":"o","event":"payment"}],
    ["04-10",3000,{"opportunity":"o","event":"payment"}],["06-10",4000,{"opportunity":"o","event":"payment"}],["05-05",2500,{"opportunity":"o","event":"milestone","product":"go-live"}]]', '{"to":"2027-07-01"}'), want::jsonb, 'basis: ' || basis)
  FROM (VALUES ('booking', '{"01-01":1000.00}'), ('invoice', '{"02-01":600.00,"03-01":400.00}'), ('payment', '{"03-01":300.00,"04-01":300.00,"06-01":400.00}'), ('milestone', '{"05-01":250.00}')) v(basis, want);
-- half at booking, half as it is paid
SELECT is(paid('{"basis":"any","where":"event IN (''booking'', ''payment'')","rates":[{"where":"true","factor":0.5}],"tiers":[{"from":0,"rate":0.1}]}',
  '[["01-05",10000,{"event":"booking"}],["02-01",10000,{"event":"invoice"}],["03-10",4000,{"event":"payment"}],["04-10",6000,{"event":"payment"}]]', '{"to":"2027-05-01"}'), '{"01-01":500.00,"03-01":200.00,"04-01":300.00}', 'basis: half at booking, half at payment');
SELECT throws_ok($$SELECT run('{"tiers":[{"from":0,"rate":0.1}]}', '[["01-05",10000,{"event":"bookings"}]]')$$, '22023', 'commissions cannot be calculated', 'basis: an event that is none is an error');

-- cliff: nothing below 60 % of quota, then all of it
SELECT is(paid('{"measure":"attainment","cliff":0.6,"tiers":[{"from":0,"rate":0.1}]}', '[["01-05",59],["02-05",60]]', '{"quota":100,"to":"2027-03-01"}'), '{"02-01":6.00}', 'cliff');
-- the year's gate: Q1 80, Q2 130 of 100 each: the year reaches its 200 of 200 with Q2's 120th, from where on Q2 is as without a gate: 100 * 10 % + 30 * 20 %
SELECT is(paid('{"period":"quarter","measure":"attainment","gate":{"at":1,"above":1},"tiers":[{"from":0,"rate":0.1},{"from":1,"rate":0.2}]}', '[["01-05",80],["04-05",130]]', '{"quota":100,"to":"2027-07-01","step":"3 months"}'), '{"01-01":8.00,"04-01":16.00}', 'yearly gate: open');
SELECT is(paid('{"period":"quarter","measure":"attainment","gate":{"at":1,"above":1},"tiers":[{"from":0,"rate":0.1},{"from":1,"rate":0.2}]}', '[["01-05",60],["04-05",130]]', '{"quota":100,"to":"2027-07-01","step":"3 months"}'), '{"01-01":6.00,"04-01":13.00}', 'yearly gate: shut');
-- year to date less what is paid: F(60) = 6, F(120) = 10 + 4, F(130) = 16
SELECT is(paid('{"period":"year","tiers":[{"from":0,"rate":0.1},{"from":100,"rate":0.2}]}', '[["01-05",60],["02-05",60],["03-05",10]]', '{"to":"2027-04-01"}'), '{"01-01":6.00,"02-01":8.00,"03-01":2.00}', 'year to date less what is paid');
-- multi-year: the sum begins anew with 2028, whose rates are another version
SELECT is(run('{"period":"year","tiers":[{"from":0,"rate":0.1},{"from":100,"rate":0.2}]}', '[["03-05",150]]', '{"to":"2029-01-01","step":"1 year","close":true,"version":{"from":"2028-01-01","definition":{"period":"year","tiers":[{"from":0,"rate":0.3}]}},
  "after":{"2027-01-01":"INSERT INTO credit (credit_id, rep_id, amount, credited_on) VALUES (''n'', ''r'', 60, ''2028-05-05'')"}}')->'lines', '[20.00,18.00]', 'multi-year: a version a year');
-- a deal over three years, credited a year at a time: 10 %, 5 %, 2 % by contract year
SELECT is(run('{"rates":[{"where":"(attributes->>''year'')::int = 2","rate":0.05},{"where":"(attributes->>''year'')::int > 2","rate":0.02}],"tiers":[{"from":0,"rate":0.1}]}', '[["01-05",1000,{"attributes":{"year":1}}],["01-06",1000,{"attributes":{"year":2}}],["01-07",1000,{"attributes":{"year":3}}]]', '{"to":"2027-02-01"}')->'lines', '[100.00,50.00,20.00]', 'multi-year: by contract year');
-- currencies: the rate of the day (1.10, then 1.20), of the period's first day (1.10), of its last (1.30)
SELECT is(paid(jsonb_build_object('rate_date', d, 'tiers', '[{"from":0,"rate":0.1}]'::jsonb), '[["01-05",1000,{"currency":"EUR"}],["01-20",1000,{"currency":"EUR"}],["01-21",1000]]',
  '{"to":"2027-02-01","exchange":[["EUR","USD","2026-12-01",1.10],["EUR","USD","2027-01-15",1.20],["EUR","USD","2027-01-31",1.30]]}'), jsonb_build_object('01-01', want), 'currency: the rate of ' || d)
  FROM (VALUES ('credited_on', 330.00), ('period_start', 320.00), ('period_end', 360.00)) v(d, want);

-- proration: 16 of January's 31 days: quota 31,000 -> 16,000, draw 3,100 -> 1,600, floor alike
SELECT is(paid('{"measure":"attainment","tiers":[{"from":0,"rate":0.1},{"from":1,"rate":0.2}]}', '[["01-20",20000]]', '{"to":"2027-02-01","assign":[{"days":"[2027-01-16,)","quota":31000}]}'), '{"01-01":2400.00}', 'proration: quota on a start in mid-period');
SELECT is(paid(jsonb_build_object(what, CASE what WHEN 'draw' THEN '{"amount":3100}' ELSE '3100'::jsonb END, 'tiers', '[{"from":0,"rate":0.1}]'::jsonb), '[["01-20",20]]', '{"to":"2027-02-01","assign":[{"days":"[2027-01-16,)"}]}'), '{"01-01":1600.00}', 'proration: ' || what)
  FROM unnest('{draw,floor}'::text[]) what;
SELECT is(paid('{"measure":"attainment","prorate":false,"tiers":[{"from":0,"rate":0.1},{"from":1,"rate":0.2}]}', '[["01-20",20000]]', '{"to":"2027-02-01","assign":[{"days":"[2027-01-16,)","quota":31000}]}'), '{"01-01":2000.00}', 'proration: switched off');
-- a change of plan on the 16th: half of each: 10 % of 1,000 on 15 days, 20 % of 2,000 on 16, each with its share of the quota (15,000 and 16,000)
SELECT is(paid('{"measure":"attainment","tiers":[{"from":0,"rate":0.1},{"from":1,"rate":0.5}]}', '[["01-05",16000],["01-20",17000]]', '{"to":"2027-02-01","plans":{"q":{"measure":"attainment","tiers":[{"from":0,"rate":0.2},{"from":1,"rate":0.5}]}},
  "assign":[{"days":"[2027-01-01,2027-01-16)","quota":31000},{"plan":"q","days":"[2027-01-16,)","quota":31000}]}'), '{"01-01":5700.00}', 'proration: a change of plan in mid-period');
SELECT is(paid('{"measure":"attainment","tiers":[{"from":0,"rate":0.1},{"from":1,"rate":0.5}]}', '[["01-05",16000],["01-20",17000]]', '{"to":"2027-02-01","quota":31000,"version":{"from":"2027-01-16","definition":{"measure":"attainment","tiers":[{"from":0,"rate":0.2},{"from":1,"rate":0.5}]}}}'),
  '{"01-01":2000.00,"01-16":3700.00}', 'proration: a new version in mid-period');

-- a curve: nothing below 50 %, 25 % of the target at 50 %, all at 100 %, double at 150 %, held from there on; target 12,000, quota 90,000
SELECT is(paid('{"measure":"attainment","target":12000,"curve":[{"at":0.5,"pays":0.25},{"at":1,"pays":1},{"at":1.5,"pays":2}]}', jsonb_build_array(jsonb_build_array('01-05', sold)), '{"quota":90000,"to":"2027-02-01"}'), jsonb_build_object('01-01', want), 'curve: ' || sold)
  FROM (VALUES (45000, 3000.00), (60000, 6000.00), (90000, 12000.00), (100000, 14666.67), (200000, 24000.00)) v(sold, want);
SELECT is(paid('{"measure":"attainment","target":12000,"curve":[{"at":0.5,"pays":0.25},{"at":1,"pays":1}],"interpolate":false}', '[["01-05",89999],["02-05",44999]]', '{"quota":90000,"to":"2027-03-01"}'), '{"01-01":3000.00}', 'curve: in steps');
SELECT is(paid('{"curve":[{"at":0,"pays":0},{"at":3000,"pays":100},{"at":10000,"pays":1000}]}', '[["01-05",1000],["02-05",5000]]', '{"to":"2027-03-01"}'), '{"01-01":33.33,"02-01":357.14}', 'curve: of amounts in money');
-- two measures in one plan: 60 % of a target of 10,000 on a quota of 100,000 new business, 40 % on 50,000 of renewals with a curve
SELECT is(run('{"measure":"attainment","target":10000,"rates":[{"where":"deal_type = ''renewal''","quota":50000,"target_share":0.4,"curve":[{"at":0.8,"pays":0.5},{"at":1,"pays":1}]},{"where":"deal_type = ''new''","target_share":0.6,"tiers":[{"from":0,"rate":1},{"from":1,"rate":2}]}],"tiers":[{"from":0,"rate":0}]}',
  '[["01-05",45000,{"type":"renewal"}],["01-06",120000,{"type":"new"}]]', '{"quota":100000,"to":"2027-02-01"}')->'lines', '[3000.00,8400.00]', 'measures with quotas and weights of their own');
SELECT is(run('{"measure":"attainment","target":10000,"rates":[{"where":"product = ''a''","quota_share":0.3,"target_share":0.5,"rate":1},{"where":"product = ''b''","quota_share":0.7,"target":700,"rate":1}],"tiers":[{"from":0,"rate":0}]}',
  '[["01-05",1,{"product":"a"}],["01-06",1,{"product":"b"}]]', '{"quota":100,"to":"2027-02-01"}')->'lines', '[166.67,10.00]', 'measures: 5,000 / 30 and 700 / 70');
SELECT * FROM finish();
ROLLBACK;
