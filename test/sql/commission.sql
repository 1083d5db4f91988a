-- Commissions: the kernel's values, plans and their mistakes, a quarter that adds up, true-ups after closing.
SET client_min_messages = warning; DROP EXTENSION IF EXISTS salesops CASCADE; CREATE EXTENSION salesops; RESET client_min_messages;
CREATE SCHEMA commission; SET search_path = commission;
SET datestyle = 'ISO, YMD';
\set SHOW_CONTEXT never

-- F(after) - F(before): ../shared/acceptance/f1, marginal, retroactive, backwards
SELECT x, y, method, salesops.commission(x, y, '[{"from":0,"rate":0.05},{"from":100000,"rate":0.08},{"from":150000,"rate":0.10}]', method)
  FROM (VALUES (0, 160000, 'marginal'), (90000, 120000, 'marginal'), (0, 99999.99, 'marginal'), (0, 160000, 'retroactive'),
               (90000, 120000, 'retroactive'), (160000, 90000, 'marginal'), (0, 0, 'marginal'), (-1000, 1000, 'marginal')) v(x, y, method);
-- too large for 128-bit integers: numeric gives the same kind of answer
SELECT salesops.commission(0, 1e40, '[{"from":0,"rate":0.05},{"from":100000,"rate":0.08}]') = 1e40 * 0.08 - 3000 AS exact_in_numeric,
       salesops.commission(0, 1000, '[{"from":0,"rate":0.05000000000001}]') AS many_digits;
-- published examples: excelforum 861932; OCA/commission sections; a section is a retroactive tier with an end
SELECT salesops.commission(0, 150000, '[{"from":0,"rate":0.05},{"from":100000,"rate":0.06},{"from":125000,"rate":0.07}]') AS marginal_tiers;
SELECT base, round(salesops.commission(0, base, '[{"from":0,"rate":0},{"from":1,"to":100.01,"rate":0.10}]', 'retroactive'), 2) AS section
  FROM unnest('{100,100.01,0.5}'::numeric[]) base;
SELECT salesops.commission(0, 15100, '[{"from":0,"rate":0},{"from":15000,"to":16000.01,"rate":0.20}]', 'retroactive') AS section_15000;
SELECT salesops.commission(0, 1000, '[{"from":5,"to":1,"rate":0.1}]');
-- quotapath.com cliff: nothing under 60 %, everything from there at 10 %, 15 % above quota
SELECT sold, salesops.commission(0, sold, '[{"from":0,"rate":0},{"from":60000,"rate":0.10,"retroactive":true},{"from":100000,"rate":0.15}]') AS cliff
  FROM unnest('{59999,60000,120000}'::numeric[]) sold;
SELECT salesops.commission(0, 1, '[]');
SELECT salesops.commission(0, 1, '[{"from":0,"rate":0.1}]', 'sideways');
SELECT salesops.commission('NaN', 1, '[{"from":0,"rate":0.1}]');
SELECT salesops.commission(NULL, 1, '[{"from":0,"rate":0.1}]') IS NULL AS strict;

-- largest remainder; compare ASC 606 example 33
SELECT salesops.split_amount(100.00, '{1,1,1}'), salesops.split_amount(100.00, '{50,25,75}'), salesops.split_amount(-10, '{1,2}', 'JPY');
SELECT salesops.split_amount(10.5, '{1,1}', 'JPY');
SELECT salesops.split_amount(10, '{0,0}');

-- every mistake of a definition at once
SELECT salesops.create_commission_plan('bad', '{"period": "fortnight", "currency": "usd", "method": "marginal", "color": "red",
  "tiers": [{"from": 10, "rate": 0.05}, {"from": 5, "rate": "x"}, {"from": 20, "to": 30, "rate": 0.1}, {"from": 40, "rate": 0.2}],
  "where": "amount >", "rates": [{"where": "product = 1"}], "cap": 10, "floor": 20, "draw": {"recoverable": 1}, "bonuses": [{"name": "x"}],
  "ramp": [0], "manager_override": {"levels": 0}, "gate": {}}');
SELECT salesops.create_commission_plan('bad', '{"tiers": [{"from": 0, "rate": 0.05}], "where": "amount > 0; DROP TABLE credit"}');
SELECT salesops.create_commission_plan('bad', '{"tiers": [{"from": 0, "rate": 0.05}], "where": "amount > (SELECT 1)"}');
SELECT salesops.create_commission_plan('bad', '[]');

CREATE TABLE credit (credit_id int PRIMARY KEY, rep_id text, amount numeric, credited_on date);
INSERT INTO credit SELECT i, 'r' || i % 3, round((100 + ((i * 7919) % 100000) / 7.0)::numeric, 2), date '2027-01-01' + i % 90 FROM generate_series(1, 600) i;
SELECT count(*) > 0 AS attached FROM salesops.attach('commission_credit', 'credit');
SELECT salesops.create_commission_plan('ae', '{"period":"quarter","currency":"USD","basis":"booking","measure":"amount","method":"marginal",
  "tiers":[{"from":0,"rate":0.05},{"from":100000,"rate":0.08},{"from":150000,"rate":0.10}]}');
SELECT salesops.create_commission_plan('ae', '{"tiers":[{"from":0,"rate":0.05}]}');
SELECT salesops.assign_commission_plan('r' || i, 'ae', '[2027-01-01,2028-01-01)') FROM generate_series(0, 2) i;
SELECT salesops.assign_commission_plan('r0', 'none', '[2027-06-01,)', 0);
SELECT salesops.create_commission_plan('quota', '{"measure": "attainment", "tiers":[{"from":0,"rate":0.05}]}');
SELECT salesops.assign_commission_plan('r9', 'quota', 'empty');
SELECT salesops.calculate_commissions('[2027-01-01,)');

SELECT * FROM salesops.calculate_commissions('[2027-01-01,2027-04-01)');
SELECT bool_and(l.earned = round(salesops.commission(0, c.amount, '[{"from":0,"rate":0.05},{"from":100000,"rate":0.08},{"from":150000,"rate":0.10}]'), 2))
  FROM (SELECT rep_id, sum(amount) AS earned FROM salesops.commission_line GROUP BY 1) l
  JOIN (SELECT rep_id, sum(amount) AS amount FROM credit GROUP BY 1) c USING (rep_id);
-- twice writes nothing
SELECT * FROM salesops.calculate_commissions('[2027-01-01,2027-04-01)');
SELECT * FROM salesops.calculate_commission('r1', '[2027-01-01,2027-04-01)');
-- line by line against SQL
WITH f AS (SELECT credit_id, rep_id, credited_on, sum(amount) OVER w AS y, sum(amount) OVER w - amount AS x FROM credit
           WINDOW w AS (PARTITION BY rep_id ORDER BY credited_on, credit_id::text COLLATE "C"))
SELECT count(*) AS lines, count(*) FILTER (WHERE l.amount <> round(salesops.commission(0, y, t), 2) - round(salesops.commission(0, x, t), 2)) AS different,
       count(*) FILTER (WHERE (l.cumulated_before, l.cumulated_after) <> (x, y)) AS elsewhere
  FROM f JOIN salesops.commission_line l ON l.credit_id = f.credit_id::text,
       (VALUES ('[{"from":0,"rate":0.05},{"from":100000,"rate":0.08},{"from":150000,"rate":0.10}]'::jsonb)) v(t);

-- in an open period: a change, a new credit, one that is gone, each one line
UPDATE credit SET amount = amount + 1000 WHERE credit_id = 300;
INSERT INTO credit VALUES (1001, 'r1', 500, '2027-01-15');
DELETE FROM credit WHERE credit_id = 302;
SELECT * FROM salesops.calculate_commissions('[2027-01-01,2027-04-01)');
SELECT line_id, rep_id, period, credit_id, kind, amount, cumulated_after - cumulated_before AS credited, corrects
  FROM salesops.commission_line WHERE line_id > 600 ORDER BY 1;

-- close; a plan cannot change in what is closed; later changes become true-ups in the next open period
SELECT salesops.close_commission_period('[2027-01-01,2027-04-01)');
SELECT salesops.close_commission_period('[2027-03-01,2027-05-01)');
SELECT salesops.replace_commission_plan('ae', '{"tiers":[{"from":0,"rate":0.06}]}', '2027-02-01');
SELECT salesops.replace_commission_plan('nobody', '{"tiers":[{"from":0,"rate":0.06}]}', '2028-02-01');
UPDATE credit SET amount = amount - 250 WHERE credit_id = 301;
SELECT * FROM salesops.calculate_commissions('[2027-01-01,2027-04-01)');
SELECT * FROM salesops.calculate_commissions('[2027-04-01,2027-07-01)');
SELECT line_id, rep_id, period, for_period, credit_id, kind, amount, corrects FROM salesops.commission_line WHERE line_id > 603 ORDER BY 1;
SELECT bool_and(l.earned = round(salesops.commission(0, c.amount, '[{"from":0,"rate":0.05},{"from":100000,"rate":0.08},{"from":150000,"rate":0.10}]'), 2))
  FROM (SELECT rep_id, sum(amount) AS earned FROM salesops.commission_line GROUP BY 1) l
  JOIN (SELECT rep_id, sum(amount) AS amount FROM credit GROUP BY 1) c USING (rep_id);
SELECT rep_id, plan, period, currency, credited, earned, corrections, payable, lines, closed FROM salesops.commission_statement ORDER BY 1, 3;

-- append-only, for everyone and every way
UPDATE salesops.commission_entry SET amount = 0;
DELETE FROM salesops.commission_posting;
TRUNCATE salesops.commission_entry;
UPDATE salesops.commission_line SET amount = 0;
SET session_replication_role = replica;
DELETE FROM salesops.commission_entry;
RESET session_replication_role;
SELECT valid, lines, postings, broken_line, problem, length(head) FROM salesops.verify_commission_ledger();
-- whoever drops the protection is found out
BEGIN;
ALTER TABLE salesops.commission_entry DISABLE TRIGGER append_only;
UPDATE salesops.commission_entry SET amount = amount + 1 WHERE line_id = 42;
SELECT valid, broken_line, problem FROM salesops.verify_commission_ledger();
ROLLBACK;
BEGIN;
ALTER TABLE salesops.commission_entry DISABLE TRIGGER append_only;
DELETE FROM salesops.commission_entry WHERE line_id = 42;
SELECT valid, broken_line, problem FROM salesops.verify_commission_ledger();
ROLLBACK;
BEGIN;
ALTER TABLE salesops.commission_posting DISABLE TRIGGER append_only;
UPDATE salesops.commission_posting SET rep_id = 'r2' WHERE posting_id = 1;
SELECT valid, broken_line, problem FROM salesops.verify_commission_ledger();
ROLLBACK;
-- without a source of credits nothing is taken back, it is an error
SET client_min_messages = warning;
DROP SCHEMA commission CASCADE;
SELECT * FROM salesops.calculate_commissions('[2027-07-01,2027-10-01)');
