-- Stage changes tracked, history and its views, hygiene and what acts on it
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS salesops CASCADE;
CREATE EXTENSION salesops;
RESET client_min_messages;
CREATE SCHEMA pipeline_history;
SET search_path = pipeline_history;
SET timezone = 'UTC';
CREATE TABLE deal (id int PRIMARY KEY, stage text, amount int, due date, owner text, customer text, name text, next_step text, category text, note text,
	created_at timestamptz DEFAULT '2026-01-01', closed_at timestamptz);
SELECT salesops.define_stages('default', '[{"stage": "new"}, {"stage": "proposal", "max_days": 30, "probability": 0.3}, {"stage": "won", "kind": "won"}, {"stage": "lost", "kind": "lost"}]');
SELECT * FROM salesops.attach('opportunity', 'deal', '{"opportunity_id": "id", "close_date": "due", "owner_id": "owner", "account_id": "customer", "forecast_category": "category"}')
 WHERE source_column IS NOT NULL ORDER BY 1;

-- tracking: each change once, only what changed, by INSERT, COPY, bulk UPDATE, ON CONFLICT
SELECT salesops.track_stage_changes('deal'), salesops.track_stage_changes('deal');
INSERT INTO deal (id, stage, amount, due) VALUES (1, 'new', 1, NULL), (2, 'new', 2, '2027-01-01'), (3, NULL, 1, NULL);
COPY deal (id, stage, amount) FROM stdin;
4	new	4
\.
UPDATE deal SET note = 'x';
UPDATE deal SET stage = 'proposal' WHERE id = 1;
BEGIN;
UPDATE deal SET stage = 'new' WHERE id = 1;
UPDATE deal SET stage = 'proposal' WHERE id = 1;
COMMIT;
UPDATE deal SET amount = amount + 10;
INSERT INTO deal (id, stage) VALUES (2, 'won') ON CONFLICT (id) DO UPDATE SET stage = excluded.stage;
BEGIN;
UPDATE deal SET stage = 'lost';
ROLLBACK;
SELECT opportunity_id, stage, previous_stage, amount, close_date FROM salesops.tracked_stage_change ORDER BY change_id;
SELECT opportunity_id, stage, visit, next_stage, ended FROM salesops.stage_history ORDER BY 1, entered_at;
SELECT opportunity_id, stage, kind, amount FROM salesops.pipeline_as_of(now()) ORDER BY 1;
SELECT count(*) FROM salesops.pipeline_as_of('2020-01-01');
ALTER TABLE deal RENAME stage TO phase;
UPDATE deal SET phase = 'won' WHERE id = 1;
SELECT opportunity_id, stage, previous_stage FROM salesops.tracked_stage_change ORDER BY change_id DESC LIMIT 1;
ALTER TABLE deal RENAME phase TO stage;
-- judged by the criteria in force at entry, which the history knows
SELECT salesops.enforce_stage_criteria('deal');
SELECT salesops.add_criterion('deal', 'new', 'large', 'amount > 100') > 0;
UPDATE deal SET note = 'y' WHERE id = 4;
INSERT INTO deal (id, stage, amount) VALUES (5, 'new', 1);
SELECT salesops.add_criterion('deal', 'new', 'noted', 'note <> ''z''', judged => 'always') > 0;
UPDATE deal SET note = 'z' WHERE id = 4;
SELECT salesops.drop_criterion('deal', 'large'), salesops.drop_criterion('deal', 'noted');
SELECT salesops.untrack_stage_changes('deal'), salesops.untrack_stage_changes('deal');
SELECT salesops.release_stage_criteria('deal');

-- a partitioned table whose stage is its key: a change of stage moves the row
CREATE TABLE part (id int NOT NULL, stage text NOT NULL, amount int) PARTITION BY LIST (stage);
CREATE TABLE part_new PARTITION OF part FOR VALUES IN ('new');
CREATE TABLE part_rest PARTITION OF part DEFAULT;
SELECT salesops.track_stage_changes('part');
SELECT count(*) FROM salesops.attach('opportunity', 'part', '{"opportunity_id": "id"}');
SELECT salesops.track_stage_changes('part');
INSERT INTO part VALUES (1, 'new', 10), (2, 'new', 20), (3, 'lost', 30), (4, 'new', 40);
UPDATE part SET stage = CASE WHEN id = 2 THEN 'new' ELSE 'proposal' END, amount = amount + CASE WHEN id = 4 THEN 1 ELSE 0 END;
SELECT opportunity_id, stage, previous_stage, amount FROM salesops.tracked_stage_change WHERE relation = 'part'::regclass ORDER BY change_id;
SELECT count(*) FROM salesops.attach('opportunity', 'deal', '{"opportunity_id": "id", "close_date": "due", "owner_id": "owner", "account_id": "customer", "forecast_category": "category"}');
CREATE VIEW deal_view AS SELECT * FROM deal;
SELECT salesops.track_stage_changes('deal_view');
CREATE TABLE part2 (id int PRIMARY KEY, stage text, amount int) PARTITION BY RANGE (id);
CREATE TABLE part2_a PARTITION OF part2 FOR VALUES FROM (0) TO (10);
CREATE TABLE part2_b (amount int, id int NOT NULL, stage text);
ALTER TABLE part2 ATTACH PARTITION part2_b FOR VALUES FROM (10) TO (20);
SELECT salesops.track_stage_changes('part2');
INSERT INTO part2 VALUES (1, 'new', 1), (11, 'new', 2);
UPDATE part2 SET stage = 'proposal', id = id + 10 WHERE id = 1 AND false;
UPDATE part2 SET stage = 'proposal';
UPDATE part2 SET amount = 3 WHERE id = 11;
SELECT opportunity_id, stage, previous_stage, amount FROM salesops.tracked_stage_change WHERE relation = 'part2'::regclass ORDER BY change_id;

-- an attached history, in the shape of an audit table that also logs other changes; re-entries apart
CREATE TABLE log (deal text, stage text, at timestamptz, amount numeric, due date);
INSERT INTO log VALUES
	('1', 'new', '2026-01-01', 100, '2026-03-01'), ('1', 'new', '2026-01-05', 110, '2026-03-01'), ('1', 'proposal', '2026-01-11', 110, '2026-03-01'),
	('1', 'new', '2026-01-21', 110, '2026-04-01'), ('1', 'proposal', '2026-01-26', 110, '2026-05-01'), ('1', 'won', '2026-02-05', 120, '2026-05-01'),
	('2', 'new', '2026-01-01', 200, '2026-03-01'), ('2', 'lost', '2026-01-16', 200, '2026-03-01'),
	('4', 'new', '2026-01-01', 400, '2026-03-01'), ('4', 'proposal', '2026-01-09', 400, '2026-04-01'), ('4', 'proposal', '2026-02-01', 400, '2026-05-01'),
	('4', 'proposal', '2026-03-01', 700, '2026-06-01'), ('6', 'new', '2026-02-01', 600, '2026-06-01'), ('7', 'new', '2026-02-20', 600, '2026-06-01');
SELECT count(*) FROM salesops.attach('opportunity_stage_change', 'log', '{"opportunity_id": "deal", "entered_at": "at", "close_date": "due"}');
TRUNCATE deal;
INSERT INTO deal (id, stage, amount, due, owner, customer, name, next_step, category, closed_at) VALUES
	(1, 'won', 120, '2026-05-01', 'ann', 'c1', 'one', NULL, NULL, '2026-02-05'), (2, 'lost', 200, '2026-03-01', 'bob', 'c2', 'two', NULL, NULL, '2026-01-16'),
	(4, 'proposal', 700, '2026-06-05', 'ann', 'c3', 'four', 'call', 'commit', NULL), (6, 'new', NULL, '2026-02-15', NULL, 'c4', 'Six ', '', NULL, NULL),
	(7, 'new', 600, '2026-06-01', 'bob', 'c4', 'six', 'meet', NULL, NULL), (8, 'odd', 5, '2026-06-01', 'bob', 'c5', 'eight', 'x', NULL, NULL);
SELECT opportunity_id, visit, stage, entered_at::date, left_at::date, next_stage, days, ended FROM salesops.stage_spells('2026-03-03') ORDER BY 1, entered_at;
-- nothing of later: on 2026-01-10 deal 1 was new and open
SELECT opportunity_id, stage, days, ended FROM salesops.stage_spells('2026-01-10') ORDER BY 1, entered_at;
SELECT * FROM salesops.pipeline_as_of('2026-01-25') ORDER BY 1;
-- new: 10, 5, 15, 8 ended; 30 and 11 censored at 2026-03-03. At risk 6: S(5) 5/6, S(8) 4/6, S(10) 3/6; 11+; S(15) 1/4
SELECT stage, visits, left_stage, still_in, median_days, usual_days, closed_mean_days FROM salesops.stage_velocity_at('2026-03-03') ORDER BY ordinal;
SELECT grp, stage, visits, left_stage, median_days, lasting FROM salesops.stage_velocity_by('{owner_id}', '2026-03-03') ORDER BY 1, ordinal;
SELECT stage, cohort, entered, advanced, won, lost, still_open, conversion, win_rate FROM salesops.stage_conversion_at('2026-03-03') ORDER BY ordinal, cohort;
SELECT stage, kind, deals, amount, deals_without_amount FROM salesops.pipeline_by_stage ORDER BY ordinal;
SELECT from_at::date, created, won, lost, win_rate, average_amount, cycle_days FROM salesops.sales_velocity_at('2026-03-03', '90 days', 1);
SELECT opportunity_id, stage, days_in_stage, limit_days, limit_source FROM salesops.stale_opportunities('2026-03-03') ORDER BY 1;
SELECT opportunity_id, rule, points, finding FROM salesops.find_hygiene('2026-03-03') ORDER BY 1, 2;
SELECT open_deals, clean_deals, quality, findings, average_score FROM salesops.pipeline_quality_at('2026-03-03');
SELECT salesops.set_hygiene_rule('duplicate', is_active => false), salesops.set_hygiene_rule('pushed', 5, 2);
SELECT salesops.set_hygiene_rule('nonsense');
SELECT salesops.set_hygiene_rule('pushed', 500);
SELECT opportunity_id, rule, points, finding FROM salesops.find_hygiene('2026-03-03') WHERE rule IN ('duplicate', 'pushed') ORDER BY 1, 2;
SELECT salesops.take_hygiene_snapshot('2026-03-03');
UPDATE deal SET amount = 10 WHERE id = 6;
SELECT salesops.take_hygiene_snapshot('2026-03-04');
SELECT opportunity_id, rule, first_seen::date, last_seen::date, resolved_at::date FROM salesops.hygiene_finding WHERE opportunity_id = '6' ORDER BY rule;
SELECT measured_at::date, open_deals, clean_deals, findings FROM salesops.pipeline_quality WHERE measured_at < '2026-04-01' ORDER BY 1;

-- acting on findings
SELECT * FROM salesops.apply_hygiene('[{"rule": "nonsense", "action": "explode"}, {"rule": "stale", "action": "close", "stage": "new"}, {"rule": "stale", "action": "set", "column": "currency"}, 3]');
SELECT * FROM salesops.apply_hygiene('{"stale": "dance"}');
SELECT * FROM salesops.apply_hygiene('{"stale": "close", "category_at_odds": "flag"}', as_of => '2026-03-03');
SELECT id, stage FROM deal WHERE id = 4;
SELECT run_id > 0 AS ran, opportunity_id, rule, action, column_name, old_value, new_value, done
  FROM salesops.apply_hygiene('[{"rule": "stale", "action": "close"}, {"rule": "missing_owner", "action": "set", "column": "owner_id", "value": "ann"}, {"rule": "past_close_date", "action": "flag"}]', false, '2026-03-03');
SELECT id, stage, owner FROM deal WHERE id IN (4, 6) ORDER BY 1;
UPDATE deal SET owner = 'eve' WHERE id = 6;
SELECT salesops.revert_hygiene(max(run_id)) FROM salesops.hygiene_action;
SELECT id, stage, owner FROM deal WHERE id IN (4, 6) ORDER BY 1;
SELECT opportunity_id, rule, action, old_value, new_value, reverted_at IS NOT NULL AS reverted FROM salesops.hygiene_action ORDER BY action_id;

-- what is stored about a deal is shown where the deal is
SET client_min_messages = warning;
DROP ROLE IF EXISTS pipeline_history_reader;
RESET client_min_messages;
CREATE ROLE pipeline_history_reader;
SELECT salesops.grant_access('pipeline_history_reader', 'reader');
GRANT USAGE ON SCHEMA pipeline_history TO pipeline_history_reader;
GRANT SELECT ON deal, log TO pipeline_history_reader;
ALTER TABLE deal ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON deal USING (owner = 'bob');
SET ROLE pipeline_history_reader;
SELECT DISTINCT opportunity_id FROM salesops.hygiene_finding ORDER BY 1;
SELECT DISTINCT opportunity_id FROM salesops.pipeline_hygiene ORDER BY 1;
SELECT count(*) FROM salesops.hygiene_action;
SELECT count(*) FROM salesops.stage_velocity;
SELECT count(*) FROM salesops.pipeline_bottleneck;
SELECT DISTINCT opportunity_id FROM salesops.tracked_stage_change ORDER BY 1;
RESET ROLE;
SELECT salesops.revoke_access('pipeline_history_reader');
SET client_min_messages = warning;
DROP SCHEMA pipeline_history CASCADE;
DROP OWNED BY pipeline_history_reader;
DROP ROLE pipeline_history_reader;
SELECT count(*) FROM salesops.tracked_relation;
