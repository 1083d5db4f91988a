-- Stage criteria: defined, enforced, reported, bypassed; renames, drops, bad input
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS salesops CASCADE;
CREATE EXTENSION salesops;
RESET client_min_messages;
CREATE SCHEMA pipeline_criteria;
SET search_path = pipeline_criteria;

CREATE TABLE deal (
	id bigint PRIMARY KEY, stage text, amount numeric, close_date date, owner text,
	created_at timestamptz DEFAULT now(), next_step text, parts int,
	net numeric GENERATED ALWAYS AS (amount * 2) STORED
);

-- bad stages: everything wrong in one error, nothing stored
SELECT salesops.define_stages('default', '[{"stage": "new", "ordinal": 1.5}, {"stage": "a", "kind": "opn"}, 3,
	{"stage": "won", "kind": "won", "probability": 2}, {"stage": "won", "foo": 3, "from": ["x"]},
	{"stage": "", "max_days": 0}, {"stage": "b", "ordinal": 7}, {"stage": "c", "ordinal": 7}]');
SELECT salesops.define_stages('default', '{}');
SELECT salesops.define_stages('default', '[]');
SELECT count(*) FROM salesops.stage;
-- no stages yet
SELECT salesops.add_criterion('deal', 'proposal', 'has_amount', 'amount > 0');
SELECT salesops.enforce_stage_criteria('deal');
SELECT salesops.define_stages('default', '[{"stage": "new", "ordinal": 1, "kind": "open"}, {"stage": "proposal", "ordinal": 2, "kind": "open"},
	{"stage": "contract", "ordinal": 3, "kind": "open"}, {"stage": "won", "ordinal": 4, "kind": "won"}, {"stage": "lost", "ordinal": 5, "kind": "lost"}]');
SELECT stage, ordinal, kind, probability FROM salesops.stage ORDER BY ordinal;

-- bad criteria
SELECT salesops.add_criterion('deal', 'proposal', 'bad', 'amount >');
SELECT salesops.add_criterion('deal', 'proposal', 'bad', 'amount');
SELECT salesops.add_criterion('deal', 'proposal', 'bad', 'amount > random()');
SELECT salesops.add_criterion('deal', 'proposal', 'bad', 'sum(amount) > 0');
SELECT salesops.add_criterion('deal', 'proposal', 'bad', 'amnt > 0');
SELECT salesops.add_criterion('deal', 'proposal', 'bad', 'amount > 1/0');
SELECT salesops.add_criterion('deal', 'proposal', 'bad', 'amount > 0; DROP TABLE deal');
SELECT salesops.add_criterion('deal', 'proposal', 'bad', 'true FROM deal');
SELECT salesops.add_criterion('deal', 'proposal', 'bad', 'ctid IS NOT NULL');
SELECT salesops.add_criterion('deal', 'nowhere', '', 'amount > 0', action => 'explode', effective_until => '-infinity', judged => 'never');
SELECT salesops.add_criterion('deal', 'proposal', NULL, 'amount > 0');
CREATE VIEW deal_view AS SELECT * FROM deal;
SELECT salesops.add_criterion('deal_view', 'proposal', 'bad', 'amount > 0');
SELECT salesops.enforce_stage_criteria('deal_view');
SELECT salesops.enforce_stage_criteria('deal', 'no_such_column');
SELECT salesops.drop_criterion('deal', 'none');
SELECT count(*) FROM salesops.criterion;

-- criteria
SELECT salesops.add_criterion('deal', 'proposal', 'has_amount', 'amount > 0', 'an amount is needed from proposal on') > 0;
SELECT salesops.add_criterion('deal', 'proposal', 'has_close_date', 'close_date is not null') > 0;
SELECT salesops.add_criterion('deal', 'proposal', 'has_amount', 'amount > 0');
SELECT salesops.add_criterion('deal', 'contract', 'share', 'amount / parts > 1') > 0;
SELECT salesops.add_criterion('deal', 'lost', 'why', 'next_step IS NOT NULL', 'say why it was lost') > 0;
SELECT salesops.enforce_stage_criteria('deal');
INSERT INTO deal (id, stage) VALUES (1, 'new'), (2, 'no such stage'), (3, NULL);
DO $$
DECLARE
	failed text;
BEGIN
	INSERT INTO pipeline_criteria.deal (id, stage, amount) VALUES (4, 'proposal', -5);
EXCEPTION WHEN check_violation THEN
	GET STACKED DIAGNOSTICS failed = CONSTRAINT_NAME;
	RAISE NOTICE 'refused, constraint %', failed;
END
$$;
INSERT INTO deal (id, stage, amount) VALUES (4, 'proposal', -5);
INSERT INTO deal (id, stage, amount, close_date, parts) VALUES (5, 'won', 10, '2027-01-01', 20);
INSERT INTO deal (id, stage, amount, close_date, parts) VALUES (5, 'contract', 10, '2027-01-01', 0);
INSERT INTO deal (id, stage, amount, close_date, parts) VALUES (5, 'contract', 10, '2027-01-01', 2);
INSERT INTO deal (id, stage) VALUES (6, 'lost');
INSERT INTO deal (id, stage, next_step) VALUES (6, 'lost', 'price');
UPDATE deal SET stage = 'proposal' WHERE id = 1;
UPDATE deal SET amount = NULL WHERE id = 5;
INSERT INTO deal (id, stage, amount) VALUES (5, 'proposal', 0) ON CONFLICT (id) DO UPDATE SET amount = 1;
MERGE INTO deal d USING (VALUES (7)) v (id) ON d.id = v.id WHEN NOT MATCHED THEN INSERT (id, stage) VALUES (v.id, 'proposal');
COPY deal (id, stage, amount) FROM stdin;
8	new	1
9	proposal	1
\.
SELECT id, stage FROM deal ORDER BY id;
SELECT * FROM salesops.unmet_criteria('deal', '1');
SELECT * FROM salesops.unmet_criteria('deal', '1', 'contract');
SELECT * FROM salesops.unmet_criteria('deal', '1', 'nowhere');
SELECT * FROM salesops.unmet_criteria('deal', '99');

-- a long value is cut, and what the writer may not read is not shown
INSERT INTO deal (id, stage, close_date, owner, amount) VALUES (9, 'proposal', now(), 'x', -repeat('9', 80)::numeric);

-- rows of other tables, generated columns, the whole row
CREATE TABLE line (deal_id bigint, id int);
CREATE FUNCTION complete(deal) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1.owner IS NOT NULL';
SELECT salesops.add_criterion('deal', 'won', 'has_line', 'EXISTS (SELECT FROM pipeline_criteria.line l WHERE l.deal_id = deal.id)') > 0;
SELECT salesops.add_criterion('deal', 'won', 'net', 'net > 10') > 0;
SELECT salesops.add_criterion('deal', 'won', 'complete', 'pipeline_criteria.complete(deal.*)') > 0;
UPDATE deal SET stage = 'won', amount = 4 WHERE id = 5;
INSERT INTO line VALUES (5, 1);
UPDATE deal SET stage = 'won', owner = 'o' WHERE id = 5;

-- warn and record
SELECT salesops.drop_criterion('deal', 'share');
SELECT salesops.add_criterion('deal', 'proposal', 'warns', 'owner IS NOT NULL', 'name an owner', 'warn') > 0;
SELECT salesops.add_criterion('deal', 'proposal', 'records', 'next_step <> ''''', NULL, 'record') > 0;
INSERT INTO deal (id, stage, amount, close_date) VALUES (10, 'proposal', 10, '2027-01-01');
SELECT relation, row_key, stage, criterion, version, expression, outcome, reason, violated_by = CURRENT_USER AS by_me FROM salesops.criterion_violation;
SELECT key, row_stage, criterion, stage, action FROM salesops.check_all('deal') ORDER BY key::int, criterion;

-- days of grace, effective dates, versions
SELECT salesops.add_criterion('deal', 'new', 'grace', 'parts > 0', grace_until => now() + interval '1 day') > 0;
UPDATE deal SET owner = 'x' WHERE id = 1;
INSERT INTO deal (id, stage) VALUES (11, 'new');
SELECT row_key, criterion, outcome FROM salesops.criterion_violation ORDER BY violation_id DESC LIMIT 1;
SELECT salesops.drop_criterion('deal', 'grace');
SELECT salesops.add_criterion('deal', 'new', 'grace over', 'parts > 0', grace_until => clock_timestamp() + interval '10 milliseconds') > 0;
SELECT pg_sleep(0.02) IS NOT NULL AS grace_is_over;
UPDATE deal SET owner = 'y' WHERE id = 1;
SELECT salesops.drop_criterion('deal', 'grace over');
SELECT salesops.add_criterion('deal', 'new', 'later', 'false', effective_from => now() + interval '1 day') > 0;
SELECT salesops.add_criterion('deal', 'new', 'ended', 'false', effective_from => now() - interval '2 days', effective_until => now() - interval '1 day') > 0;
INSERT INTO deal (id, stage) VALUES (11, 'new');
\set VERBOSITY terse
SELECT salesops.replace_criterion('deal', 'has_amount', 'amount > 5', effective_from => now() - interval '9 days');
\set VERBOSITY default
SELECT salesops.replace_criterion('deal', 'has_amount', 'amount > 5') > 0;
SELECT criterion, version, expression, effective_until IS NULL AS open FROM salesops.criterion WHERE criterion = 'has_amount' ORDER BY 2;
UPDATE deal SET amount = 3 WHERE id = 10;
SELECT salesops.drop_criterion('deal', 'has_amount');
SELECT salesops.add_criterion('deal', 'proposal', 'has_amount', 'amount > 0') > 0;

-- a bypass: for a row, for a role, for a session
SELECT salesops.bypass_criteria('deal', '', 'yesterday', criteria => '{nothing}');
SELECT salesops.bypass_criteria('deal', 'signed on paper', now() + interval '1 hour', row_key => '12', criteria => '{has_amount,has_close_date}') AS bypass \gset
INSERT INTO deal (id, stage, owner, next_step) VALUES (13, 'proposal', 'o', 'n');
INSERT INTO deal (id, stage, owner, next_step) VALUES (12, 'proposal', 'o', 'n');
SELECT row_key, criterion, outcome, reason FROM salesops.criterion_violation WHERE outcome = 'bypassed' ORDER BY violation_id;
SELECT salesops.end_bypass(:bypass), salesops.end_bypass(:bypass);
UPDATE deal SET owner = 'p' WHERE id = 12;
SET salesops.bypass_criteria = 'data repair';
UPDATE deal SET owner = 'p' WHERE id = 12;
RESET salesops.bypass_criteria;
SELECT row_key, criterion, outcome, reason FROM salesops.criterion_violation WHERE reason = 'data repair' ORDER BY violation_id;
DELETE FROM deal WHERE id = 12;

-- which moves are allowed
SELECT salesops.define_stages('default', '[{"stage": "new", "ordinal": 1, "kind": "open", "back": false}, {"stage": "proposal", "ordinal": 2, "kind": "open", "create": false},
	{"stage": "contract", "ordinal": 3, "kind": "open", "skip": false}, {"stage": "won", "ordinal": 4, "kind": "won", "from": ["contract"], "create": false}]');
SELECT salesops.define_stages('default', '[{"stage": "new", "ordinal": 1, "kind": "open", "back": false}, {"stage": "proposal", "ordinal": 2, "kind": "open", "create": false},
	{"stage": "contract", "ordinal": 3, "kind": "open", "skip": false}, {"stage": "won", "ordinal": 4, "kind": "won", "from": ["contract"], "create": false},
	{"stage": "lost", "ordinal": 5, "kind": "lost"}]');
INSERT INTO deal (id, stage, amount, close_date, owner, next_step) VALUES (20, 'proposal', 1, '2027-01-01', 'o', 'n');
INSERT INTO deal (id, stage, amount, close_date, owner, next_step) VALUES (20, 'new', 1, '2027-01-01', 'o', 'n');
UPDATE deal SET stage = 'contract' WHERE id = 20;
UPDATE deal SET stage = 'proposal' WHERE id = 20;
UPDATE deal SET stage = 'new' WHERE id = 20;
UPDATE deal SET stage = 'won' WHERE id = 20;
UPDATE deal SET stage = 'lost' WHERE id = 20;
UPDATE deal SET stage = 'new' WHERE id = 20;

-- renames and drops
ALTER TABLE deal RENAME amount TO value;
ALTER TABLE deal RENAME stage TO phase;
ALTER TABLE deal RENAME TO deals;
SELECT relation, stage_column, enforced FROM salesops.criteria_relation;
SELECT criterion, version, expression FROM salesops.criterion ORDER BY criterion_id;
INSERT INTO deals (id, phase, value) VALUES (21, 'contract', -5);
ALTER TABLE deals DROP COLUMN owner;
ALTER TABLE deals ALTER COLUMN close_date TYPE text;
\set VERBOSITY terse
ALTER TABLE deals DROP COLUMN close_date CASCADE;
\set VERBOSITY default
SELECT criterion FROM salesops.criterion ORDER BY criterion_id;
INSERT INTO deals (id, phase, value) VALUES (21, 'contract', -5);
SELECT salesops.release_stage_criteria('deals'), salesops.release_stage_criteria('deals');
INSERT INTO deals (id, phase, value) VALUES (21, 'contract', -5);
SELECT salesops.enforce_stage_criteria('deals') > 0;
DROP TRIGGER zz_salesops_criteria ON deals;
DROP TRIGGER zz_salesops_move ON deals;
DROP TRIGGER zz_salesops_creation ON deals;
DROP TRIGGER zz_salesops_criteria_query ON deals;
SELECT relation, enforced FROM salesops.criteria_relation;

-- enums, partitions
SELECT salesops.define_stages('default', '["new"]');
SELECT salesops.release_stage_criteria('deals');
SELECT salesops.define_stages('default', '[{"stage": "new", "kind": "open"}, {"stage": "proposal", "kind": "open"}, {"stage": "contract"}, {"stage": "won", "kind": "won"}, {"stage": "lost", "kind": "lost"}]');
CREATE TYPE phase AS ENUM ('new', 'proposal', 'won');
CREATE TABLE part (id int, region text, "The Stage" phase, amount int, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE part_a PARTITION OF part FOR VALUES IN ('a');
CREATE TABLE part_b (amount int, "The Stage" phase, dropped int, region text NOT NULL, id int NOT NULL);
ALTER TABLE part_b DROP COLUMN dropped;
ALTER TABLE part ATTACH PARTITION part_b FOR VALUES IN ('b');
SELECT salesops.add_criterion('part', 'proposal', 'amount', 'amount > 0') > 0;
SELECT salesops.add_criterion('part', 'proposal', 'per', '100 / amount > 1') > 0;
SELECT salesops.add_criterion('part', 'proposal', 'one', '(SELECT count(*) FROM pipeline_criteria.part p WHERE p.id = part.id) = 1') > 0;
SELECT salesops.enforce_stage_criteria('part');
SELECT salesops.enforce_stage_criteria('part', 'The Stage');
INSERT INTO part VALUES (1, 'a', 'new', 0), (1, 'b', 'new', 0), (2, 'a', 'proposal', 2);
INSERT INTO part VALUES (3, 'b', 'proposal', -1);
INSERT INTO part_b (id, region, "The Stage", amount) VALUES (3, 'b', 'proposal', 0);
UPDATE part SET "The Stage" = 'proposal', amount = 3 WHERE id = 1;
UPDATE part SET region = 'b' WHERE id = 2;

-- the user's schema goes, the extension stays
SET client_min_messages = warning;
DROP SCHEMA pipeline_criteria CASCADE;
RESET client_min_messages;
SELECT count(*) FROM salesops.criterion;
SELECT count(*) FROM pg_extension WHERE extname = 'salesops';
