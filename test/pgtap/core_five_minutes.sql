-- The README's five minutes, line by line, on a small CRM: each line works with nothing more than what is above it.
BEGIN;
SELECT no_plan();
CREATE SCHEMA crm;
CREATE TABLE crm.leads (id int PRIMARY KEY, inserted_at timestamptz, email text, first_name text, last_name text, company text, title text,
                        employees int, converted_at timestamptz);
INSERT INTO crm.leads
SELECT i, timestamptz '2026-01-01' + i * interval '3 hours', 'person' || i || '@example' || i % 40 || '.com', (ARRAY['Ann', 'Bob', 'Cem', 'Dee', 'Eva'])[1 + i % 5],
       'Name' || chr(97 + i % 26) || chr(97 + i / 26 % 26), 'Company ' || i % 40, (ARRAY['Head of Sales', 'Analyst', 'Student'])[1 + i % 3], 1 + (i * 7919) % 1000,
       CASE WHEN (i * 48271::bigint) % 100 < CASE i % 3 WHEN 0 THEN 55 WHEN 1 THEN 20 ELSE 5 END THEN timestamptz '2026-02-01' + i * interval '3 hours' END
  FROM generate_series(1, 1200) i;
INSERT INTO crm.leads SELECT 2000 + id, inserted_at, email, first_name, last_name || 'x', company, title, employees, NULL FROM crm.leads WHERE id <= 60;
CREATE TABLE crm.deals (id int PRIMARY KEY, stage text, amount numeric, created_at timestamptz, closed_at timestamptz, close_date date, rep text, account_id text, name text);
INSERT INTO crm.deals
SELECT i, CASE WHEN i % 10 < 4 THEN 'won' WHEN i % 10 < 8 THEN 'lost' WHEN i % 10 = 8 THEN 'new' ELSE 'proposal' END, 1000 + (i * 7919) % 9000,
       timestamptz '2026-01-01' + i * interval '14 hours', CASE WHEN i % 10 < 8 THEN timestamptz '2026-02-10' + i * interval '14 hours' END, date '2026-02-10' + i / 2,
       'r' || i % 6, 'a' || i % 50, 'deal ' || i
  FROM generate_series(1, 600) i;

SELECT lives_ok($$SELECT * FROM salesops.attach('lead', 'crm.leads', '{"lead_id": "id", "created_at": "inserted_at"}')$$, 'attach leads');
SELECT lives_ok($$SELECT * FROM salesops.attach('opportunity', 'crm.deals', '{"opportunity_id": "id", "owner_id": "rep"}')$$, 'attach deals');
SELECT lives_ok($$SELECT salesops.define_stages('default', '[{"stage": "new", "ordinal": 1, "kind": "open"}, {"stage": "proposal", "ordinal": 2, "kind": "open"},
  {"stage": "won", "ordinal": 3, "kind": "won"}, {"stage": "lost", "ordinal": 4, "kind": "lost"}]')$$, 'define stages');

SELECT lives_ok($$SELECT salesops.train_model('lead', 'SELECT *, converted_at IS NOT NULL AS converted FROM salesops.lead', 'converted')$$, 'train the lead model');
SELECT lives_ok('SELECT salesops.score_leads()', 'score the leads');
SELECT results_eq('SELECT count(*) FROM salesops.lead_score WHERE score BETWEEN 0 AND 100 AND grade IS NOT NULL AND reasons IS NOT NULL', ARRAY[1260::bigint],
                  'each lead has a score, a grade and reasons');

SELECT lives_ok($$SELECT salesops.create_matcher('leads', 'crm.leads', 'id')$$, 'create a matcher');
SELECT isnt_empty($$SELECT * FROM salesops.train_matcher('leads')$$, 'train it');
SELECT isnt_empty($$SELECT * FROM salesops.find_duplicates('leads')$$, 'find duplicates');
SELECT lives_ok($$SELECT salesops.guard_duplicates('crm.leads', 'leads', 'warn')$$, 'guard against new ones');

SELECT lives_ok($$SELECT salesops.add_criterion('crm.deals', 'proposal', 'has amount', 'amount > 0')$$, 'add a criterion');
SELECT lives_ok($$SELECT salesops.enforce_stage_criteria('crm.deals')$$, 'enforce it');
SELECT throws_ok($$INSERT INTO crm.deals (id, stage) VALUES (9001, 'proposal')$$, '23514', NULL, 'a deal without an amount is refused');

SELECT isnt_empty($$SELECT salesops.mean(total), salesops.quantile(total, 0.1), salesops.quantile(total, 0.9), salesops.probability_at_least(total, 2000000)
  FROM salesops.forecast_bookings('[2027-01-01,2027-04-01)')$$, 'forecast a quarter');

SELECT lives_ok($$SELECT salesops.create_commission_plan('ae', '{"period": "quarter", "tiers": [{"from": 0, "rate": 0.05}, {"from": 100000, "rate": 0.08}]}')$$, 'create a plan');
SELECT lives_ok($$SELECT salesops.assign_commission_plan(rep_id, 'ae', '[2027-01-01,)') FROM salesops.sales_rep$$, 'assign it');
SELECT lives_ok($$SELECT * FROM salesops.calculate_commissions('[2027-01-01,2027-04-01)')$$, 'calculate');

SELECT lives_ok('SELECT salesops.create_standard_jobs()', 'and all of it again, by itself');
SELECT lives_ok('SELECT salesops.create_standard_jobs()', 'twice is as once');
SELECT * FROM finish();
ROLLBACK;
