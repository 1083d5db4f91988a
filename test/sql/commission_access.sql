-- Who may do what, who sees what: rights by level, row-level security of the user's tables, search_path attacks.
SET client_min_messages = warning; DROP EXTENSION IF EXISTS salesops CASCADE; CREATE EXTENSION salesops;
DROP ROLE IF EXISTS commission_admin, commission_operator, commission_rep;
CREATE ROLE commission_admin; CREATE ROLE commission_operator; CREATE ROLE commission_rep;
RESET client_min_messages;
\set SHOW_CONTEXT never
CREATE SCHEMA commission_access; SET search_path = commission_access;
GRANT USAGE ON SCHEMA commission_access TO PUBLIC;
CREATE TABLE credit (credit_id text PRIMARY KEY, rep_id text, amount numeric, credited_on date, secret text);
CREATE TABLE rep (rep_id text PRIMARY KEY, name text);
INSERT INTO credit SELECT i, 'r' || i % 2, 100 * i, '2027-01-10', 'x' FROM generate_series(1, 6) i;
INSERT INTO rep VALUES ('r0', 'commission_rep'), ('r1', 'other');
SELECT count(*) > 0 AS attached FROM salesops.attach('commission_credit', 'credit');
SELECT count(*) > 0 AS attached FROM salesops.attach('sales_rep', 'rep');
SELECT salesops.grant_access('commission_admin', 'admin'), salesops.grant_access('commission_operator', 'operator'), salesops.grant_access('commission_rep', 'reader');
GRANT SELECT ON rep TO commission_rep, commission_operator, commission_admin;

-- the right to define is not the right to give an expression over somebody's table
SET ROLE commission_admin;
SELECT salesops.create_commission_plan('p', '{"where": "amount > 0", "tiers": [{"from": 0, "rate": 0.1}]}');
SELECT salesops.create_commission_plan('p', '{"tiers": [{"from": 0, "rate": 0.1}]}');
SELECT salesops.assign_commission_plan(r, 'p', '[2027-01-01,)') FROM (VALUES ('r0'), ('r1')) v(r);
SELECT created_by FROM salesops.commission_plan;
INSERT INTO salesops.commission_plan VALUES ('q', 1, '2027-01-01', '{}');
SET ROLE commission_operator;
SELECT salesops.create_commission_plan('q', '{"tiers": [{"from": 0, "rate": 0.1}]}');
SELECT salesops.close_commission_period('[2027-01-01,2027-02-01)');
-- credits are read as the caller
SELECT * FROM salesops.calculate_commissions('[2027-01-01,2027-02-01)');
RESET ROLE;
GRANT SELECT ON credit TO commission_operator, commission_rep;
SET ROLE commission_operator;
SELECT * FROM salesops.calculate_commissions('[2027-01-01,2027-02-01)');
SELECT DISTINCT created_by FROM salesops.commission_posting;
UPDATE salesops.commission_entry SET amount = 0;
DELETE FROM salesops.commission_entry;
INSERT INTO salesops.commission_entry SELECT * FROM salesops.commission_entry;
RESET ROLE;

-- a rep sees what row-level security lets the rep see, and calculates nothing
ALTER TABLE rep ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON rep USING (name = CURRENT_USER);
SET ROLE commission_rep;
SELECT rep_id, count(*), sum(amount) FROM salesops.commission_line GROUP BY 1 ORDER BY 1;
SELECT rep_id, earned FROM salesops.commission_statement;
SELECT detail FROM salesops.explain_commission((SELECT min(line_id) FROM salesops.commission_line)) WHERE item = 'sentence';
SELECT * FROM salesops.explain_commission(6);
SELECT * FROM salesops.calculate_commissions('[2027-01-01,2027-02-01)');
SELECT salesops.open_commission_dispute((SELECT min(line_id) FROM salesops.commission_line), 'too little');
SELECT count(*) FROM salesops.commission_dispute;
RESET ROLE;

-- hidden credits would look like cancelled ones: refused
ALTER TABLE credit ENABLE ROW LEVEL SECURITY;
CREATE POLICY region ON credit USING (rep_id = 'r0');
SET ROLE commission_operator;
SELECT * FROM salesops.calculate_commissions('[2027-01-01,2027-02-01)');
RESET ROLE;
ALTER TABLE credit DISABLE ROW LEVEL SECURITY;

-- a hostile search_path changes nothing
CREATE FUNCTION commission_access.hostile(numeric, integer) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'hostile operator called'; END $$;
CREATE OPERATOR commission_access.> (LEFTARG = numeric, RIGHTARG = integer, FUNCTION = commission_access.hostile);
CREATE FUNCTION commission_access.hostile_sum(numeric) RETURNS numeric LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'hostile function called'; END $$;
SET search_path = commission_access, pg_catalog;
SELECT salesops.replace_commission_plan('p', '{"where": "amount > 50", "tiers": [{"from": 0, "rate": 0.1}]}', '2027-02-01');
INSERT INTO credit VALUES ('7', 'r1', 70, '2027-02-02'), ('8', 'r1', 20, '2027-02-03');
SELECT * FROM salesops.calculate_commissions('[2027-02-01,2027-03-01)');
SELECT count(*) FROM salesops.simulate_commissions('[2027-02-01,2027-03-01)', 'p', '{"tiers": [{"from": 0, "rate": 0.3}]}');
RESET search_path;
SELECT valid FROM salesops.verify_commission_ledger();
SET client_min_messages = warning;
DROP SCHEMA commission_access CASCADE;
DROP EXTENSION salesops CASCADE;
DROP OWNED BY commission_admin, commission_operator, commission_rep;
DROP ROLE commission_admin, commission_operator, commission_rep;
