-- Stage changes tracked, history and its views, hygiene and what acts on it
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS salesops CASCADE;
CREATE EXTENSION salesops;
RESET client_min_messages;
CREATE SCHEMA pipeline_history;
SET search_path = pipeline_history;
SET timezone = 'UTC';
CREATE TABLE deal (id int PRIMARY KEY, stage text, amount int, due date, owner text, customer text, name text, next_step text, category text, note text,
	created_at timestamptz DEFAULT '2018-01-01', closed_at timestamptz);
SELECT salesops.define_stages('default', '[{"stage": "new"}, {"stage": "proposal", "max_days": 30, "probability": 0.3}, {"stage": "won", "kind": "won"}, {"stage": "lost", "kind": "lost"}]');
SELECT * FROM salesops.attach('opportunity', 'deal', '{"opportunity_id": "id", "close_date": "due", "owner_id": "owner", "account_id": "customer", "forecast_category": "category"}')
 WHERE source_column IS NOT NULL ORDER BY 1;

-- tracking: each change once, only what changed, by INSERT, COPY, bulk UPDATE, ON CONFLICT
SELECT salesops.track_stage_changes('deal'), salesops.track_stage_changes('deal');
INSERT INTO deal (id, stage, amount, due) VALUES (1, 'new', 1, NULL), (2, 'new', 2, '2019-01-01'), (3, NULL, 1, NULL);
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
-- a deal that goes: it leaves its stage for none, and is censored there; also when its stage is emptied or its key changes
INSERT INTO deal (id, stage) VALUES (5, 'new');
UPDATE deal SET stage = NULL WHERE id = 5;
UPDATE deal SET id = 44 WHERE id = 4;
DELETE FROM deal WHERE id IN (1, 3);
MERGE INTO deal d USING (VALUES (2, 'gone'), (44, 'proposal'), (9, 'new')) v (id, stage) ON d.id = v.id
	WHEN MATCHED AND v.stage = 'gone' THEN DELETE WHEN MATCHED THEN UPDATE SET stage = v.stage WHEN NOT MATCHED THEN INSERT (id, stage) VALUES (v.id, v.stage);
SELECT opportunity_id, stage, previous_stage FROM salesops.tracked_stage_change ORDER BY change_id DESC LIMIT 8;
SELECT opportunity_id, stage, next_stage, left_at IS NOT NULL AS has_left, ended FROM salesops.stage_history WHERE opportunity_id IN ('4', '5', '44', '9') ORDER BY 1, spell_number;
SELECT opportunity_id, stage FROM salesops.pipeline_as_of(now()) ORDER BY 1;
SELECT sum(visits), sum(left_stage), sum(still_in) FROM salesops.stage_velocity;
TRUNCATE deal;
SELECT opportunity_id, stage, previous_stage FROM salesops.tracked_stage_change ORDER BY change_id DESC LIMIT 2;
SELECT count(*) FROM salesops.pipeline_as_of(now());
SELECT salesops.untrack_stage_changes('deal'), salesops.untrack_stage_changes('deal');
SELECT tgname FROM pg_trigger WHERE tgrelid = 'deal'::regclass AND tgname LIKE 'zz_salesops_history%';
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
DELETE FROM part2 WHERE id = 1;
SELECT opportunity_id, stage, previous_stage, amount FROM salesops.tracked_stage_change WHERE relation = 'part2'::regclass ORDER BY change_id;

-- written to a partition by its own name, moved, made later by its owner; a deal that moves to another partition is one change
INSERT INTO part2_b VALUES (5, 12, 'new');
UPDATE part2_b SET stage = 'lost' WHERE id = 12;
COPY part2_a (id, stage) FROM stdin;
2	new
\.
UPDATE part2 SET id = 13, stage = 'proposal' WHERE id = 2;
DELETE FROM part2_b WHERE id = 12;
SELECT opportunity_id, stage, previous_stage FROM salesops.tracked_stage_change WHERE relation = 'part2'::regclass ORDER BY change_id DESC LIMIT 6;
INSERT INTO part_new VALUES (7, 'new', 1), (8, 'new', 1);
SELECT count(*) FROM salesops.attach('opportunity', 'part', '{"opportunity_id": "id"}');
UPDATE part SET stage = 'proposal', amount = 2 WHERE id IN (7, 8);
MERGE INTO part p USING (VALUES (7)) v (id) ON p.id = v.id WHEN MATCHED THEN UPDATE SET stage = 'new';
BEGIN;
DELETE FROM part WHERE id = 8;
INSERT INTO part VALUES (8, 'new', 3);
COMMIT;
SELECT opportunity_id, stage, previous_stage, amount FROM salesops.tracked_stage_change WHERE relation = 'part'::regclass AND opportunity_id IN ('7', '8') ORDER BY change_id;
-- the row that is moved is thrown away on its way, by a trigger of the user's: it has left
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER nothing BEFORE INSERT ON part_rest FOR EACH ROW EXECUTE FUNCTION nothing();
UPDATE part SET stage = 'lost' WHERE id = 8;
DROP TRIGGER nothing ON part_rest;
INSERT INTO part VALUES (8, 'lost', 4);
SELECT opportunity_id, stage, previous_stage, amount FROM salesops.tracked_stage_change WHERE relation = 'part'::regclass AND opportunity_id = '8' ORDER BY change_id DESC LIMIT 2;
-- whoever owns the table may go on making partitions, and they are tracked and enforced
SET client_min_messages = warning;
DROP ROLE IF EXISTS pipeline_history_owner;
RESET client_min_messages;
CREATE ROLE pipeline_history_owner;
GRANT ALL ON SCHEMA pipeline_history TO pipeline_history_owner;
SELECT salesops.add_criterion('part2', 'proposal', 'amount', 'amount > 0') > 0, salesops.enforce_stage_criteria('part2');
ALTER TABLE part2 OWNER TO pipeline_history_owner;
SET ROLE pipeline_history_owner;
CREATE TABLE part2_c PARTITION OF part2 FOR VALUES FROM (20) TO (30);
CREATE TABLE part2_d (LIKE part2);
ALTER TABLE part2 ATTACH PARTITION part2_d FOR VALUES FROM (30) TO (40);
INSERT INTO part2_c VALUES (20, 'proposal', 0);
INSERT INTO part2_c VALUES (20, 'proposal', 1);
INSERT INTO part2_d VALUES (30, 'proposal', 1);
ALTER TABLE part2 DETACH PARTITION part2_d;
UPDATE part2_d SET stage = 'won';
RESET ROLE;
SELECT opportunity_id, stage, changed_by FROM salesops.tracked_stage_change WHERE relation = 'part2'::regclass ORDER BY change_id DESC LIMIT 2;
-- a partition that is truncated, detached or dropped takes its deals along: they have left, each once, and the others have not
CREATE TABLE part2_e PARTITION OF part2 FOR VALUES FROM (40) TO (50) PARTITION BY RANGE (id);
CREATE TABLE part2_ea PARTITION OF part2_e FOR VALUES FROM (40) TO (45);
INSERT INTO part2 VALUES (3, 'new', 1), (21, 'new', 1), (22, NULL, 1), (41, 'new', 1), (42, 'proposal', 1);
TRUNCATE part2_a;
TRUNCATE part2_a;
SELECT opportunity_id, stage, previous_stage FROM salesops.tracked_stage_change WHERE relation = 'part2'::regclass ORDER BY change_id DESC LIMIT 2;
ALTER TABLE part2 DETACH PARTITION part2_c;
SELECT opportunity_id, stage, previous_stage FROM salesops.tracked_stage_change WHERE relation = 'part2'::regclass ORDER BY change_id DESC LIMIT 3;
TRUNCATE part2_c;
ALTER TABLE part2 ATTACH PARTITION part2_c FOR VALUES FROM (20) TO (30);
INSERT INTO part2 VALUES (23, 'new');
TRUNCATE part2_c, part2_ea;
SELECT opportunity_id, stage, previous_stage FROM salesops.tracked_stage_change WHERE relation = 'part2'::regclass ORDER BY change_id DESC LIMIT 4;
INSERT INTO part2 VALUES (24, 'new'), (43, 'new'), (44, 'new');
DELETE FROM part2 WHERE id = 44;
DROP TABLE part2_e;
SELECT opportunity_id, stage, previous_stage FROM salesops.tracked_stage_change WHERE relation = 'part2'::regclass ORDER BY change_id DESC LIMIT 2;
BEGIN;
ALTER TABLE part2 DETACH PARTITION part2_c;
ROLLBACK;
SET session_replication_role = replica;
DELETE FROM part2 WHERE id = 24;
RESET session_replication_role;
SELECT salesops.settle_stage_changes('part2'), salesops.settle_stage_changes('part2');
-- deals that come with a partition: an arrival each, of what the history does not know already; they leave with it, CONCURRENTLY too
CREATE TABLE part2_f (amount int, stage text, id int NOT NULL);
INSERT INTO part2_f (id, stage, amount) VALUES (50, 'new', 1), (51, 'proposal', 2), (52, NULL, 3), (53, 'new', NULL);
ALTER TABLE part2 ATTACH PARTITION part2_f FOR VALUES FROM (50) TO (60);
UPDATE part2 SET stage = 'proposal' WHERE id = 50;
ALTER TABLE part2 DETACH PARTITION part2_f CONCURRENTLY;
UPDATE part2_f SET stage = 'lost', amount = 9 WHERE id = 51;
DELETE FROM part2_f WHERE id = 53;
CREATE TABLE part2_g (LIKE part2) PARTITION BY RANGE (id);
ALTER TABLE part2_g ATTACH PARTITION part2_f FOR VALUES FROM (50) TO (60);
ALTER TABLE part2 ATTACH PARTITION part2_g FOR VALUES FROM (50) TO (70);
SELECT opportunity_id, stage, previous_stage, amount, changed_by = current_user AS mine FROM salesops.tracked_stage_change WHERE relation = 'part2'::regclass AND opportunity_id LIKE '5_' ORDER BY change_id;
BEGIN;
SET LOCAL session_replication_role = replica;
DELETE FROM part2 WHERE id = 51;
INSERT INTO part2_f (id, stage, amount) VALUES (54, 'new', 1);
SET LOCAL session_replication_role = origin;
SELECT salesops.settle_stage_changes('part2');
ALTER TABLE part2_g DETACH PARTITION part2_f;
ALTER TABLE part2_g ATTACH PARTITION part2_f FOR VALUES FROM (50) TO (60);
SELECT opportunity_id, stage, previous_stage, amount FROM salesops.tracked_stage_change WHERE relation = 'part2'::regclass AND opportunity_id LIKE '5_' ORDER BY change_id DESC LIMIT 4;
ROLLBACK;
TRUNCATE part2;
SELECT opportunity_id, count(*) FILTER (WHERE stage IS NULL) AS departures FROM salesops.tracked_stage_change WHERE relation = 'part2'::regclass GROUP BY 1 ORDER BY opportunity_id::int;
SELECT count(DISTINCT opportunity_id) FROM salesops.tracked_stage_change c WHERE relation = 'part2'::regclass
   AND stage IS NOT NULL AND NOT EXISTS (SELECT FROM salesops.tracked_stage_change l WHERE l.relation = c.relation AND l.opportunity_id = c.opportunity_id AND l.change_id > c.change_id);
SELECT salesops.settle_stage_changes('part2_c');
BEGIN;
CREATE TABLE part3 (id int PRIMARY KEY, stage text) PARTITION BY RANGE (id);
CREATE TABLE part3_a PARTITION OF part3 FOR VALUES FROM (0) TO (10);
CREATE TABLE part3_b PARTITION OF part3 FOR VALUES FROM (10) TO (20);
SELECT salesops.track_stage_changes('part3');
INSERT INTO part3 VALUES (1, 'new'), (11, 'new');
TRUNCATE part3_a;
TRUNCATE part3_b;
SELECT opportunity_id, stage, previous_stage FROM salesops.tracked_stage_change WHERE relation = 'part3'::regclass ORDER BY change_id;
COMMIT;
SELECT salesops.untrack_stage_changes('part2');
SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'zz_salesops_history%' AND tgrelid IN ('part2'::regclass, 'part2_c'::regclass);
-- under session_replication_role = replica: nothing, as of any trigger, unless it is said; what its owner says of a trigger stays
CREATE TABLE copied (id int PRIMARY KEY, stage text);
SELECT salesops.add_criterion('copied', 'proposal', 'low', 'id < 100') > 0, salesops.enforce_stage_criteria('copied'), salesops.track_stage_changes('copied');
SET session_replication_role = replica;
INSERT INTO copied VALUES (1, 'new'), (100, 'proposal');
RESET session_replication_role;
SELECT salesops.track_stage_changes('copied', replicated => true);
ALTER TABLE copied ENABLE ALWAYS TRIGGER zz_salesops_criteria;
SELECT salesops.add_criterion('copied', 'proposal', 'lower', 'id < 99') > 0;
SET session_replication_role = replica;
INSERT INTO copied VALUES (2, 'new'), (3, 'new');
INSERT INTO copied VALUES (99, 'proposal');
UPDATE copied SET stage = 'won' WHERE id = 2;
DELETE FROM copied WHERE id = 3;
TRUNCATE copied;
RESET session_replication_role;
SELECT opportunity_id, stage, previous_stage FROM salesops.tracked_stage_change WHERE relation = 'copied'::regclass ORDER BY change_id;
ALTER TABLE copied DISABLE TRIGGER zz_salesops_criteria;
SELECT salesops.drop_criterion('copied', 'lower');
SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = 'copied'::regclass ORDER BY 1;
SELECT salesops.untrack_stage_changes('copied');
SELECT count(*) FROM salesops.attach('opportunity', 'deal', '{"opportunity_id": "id", "close_date": "due", "owner_id": "owner", "account_id": "customer", "forecast_category": "category"}');

-- an attached history without rows (that of create_crm) gives way to what is tracked; one with rows stays
CREATE TABLE log_empty (deal text, stage text, at timestamptz);
SELECT count(*) FROM salesops.attach('opportunity_stage_change', 'log_empty', '{"opportunity_id": "deal", "entered_at": "at"}');
SELECT salesops.track_stage_changes('deal');
SELECT relation FROM salesops.source WHERE entity = 'opportunity_stage_change';
SELECT salesops.untrack_stage_changes('deal');
INSERT INTO log_empty VALUES ('1', 'new', '2018-01-01');
SELECT count(*) FROM salesops.attach('opportunity_stage_change', 'log_empty', '{"opportunity_id": "deal", "entered_at": "at"}');
SELECT salesops.track_stage_changes('deal');
SELECT relation FROM salesops.source WHERE entity = 'opportunity_stage_change';
SELECT salesops.untrack_stage_changes('deal');
-- an attached history, in the shape of an audit table that also logs other changes; re-entries apart
CREATE TABLE log (deal text, stage text, at timestamptz, amount numeric, due date);
INSERT INTO log VALUES
	('1', 'new', '2018-01-01', 100, '2018-03-01'), ('1', 'new', '2018-01-05', 110, '2018-03-01'), ('1', 'proposal', '2018-01-11', 110, '2018-03-01'),
	('1', 'new', '2018-01-21', 110, '2018-04-01'), ('1', 'proposal', '2018-01-26', 110, '2018-05-01'), ('1', 'won', '2018-02-05', 120, '2018-05-01'),
	('2', 'new', '2018-01-01', 200, '2018-03-01'), ('2', 'lost', '2018-01-16', 200, '2018-03-01'),
	('4', 'new', '2018-01-01', 400, '2018-03-01'), ('4', 'proposal', '2018-01-09', 400, '2018-04-01'), ('4', 'proposal', '2018-02-01', 400, '2018-05-01'),
	('4', 'proposal', '2018-03-01', 700, '2018-06-01'), ('6', 'new', '2018-02-01', 600, '2018-06-01'), ('7', 'new', '2018-02-20', 600, '2018-06-01');
SELECT count(*) FROM salesops.attach('opportunity_stage_change', 'log', '{"opportunity_id": "deal", "entered_at": "at", "close_date": "due"}');
TRUNCATE deal;
INSERT INTO deal (id, stage, amount, due, owner, customer, name, next_step, category, closed_at) VALUES
	(1, 'won', 120, '2018-05-01', 'ann', 'c1', 'one', NULL, NULL, '2018-02-05'), (2, 'lost', 200, '2018-03-01', 'bob', 'c2', 'two', NULL, NULL, '2018-01-16'),
	(4, 'proposal', 700, '2018-06-05', 'ann', 'c3', 'four', 'call', 'commit', NULL), (6, 'new', NULL, '2018-02-15', NULL, 'c4', 'Six ', '', NULL, NULL),
	(7, 'new', 600, '2018-06-01', 'bob', 'c4', 'six', 'meet', NULL, NULL), (8, 'odd', 5, '2018-06-01', 'bob', 'c5', 'eight', 'x', NULL, NULL);
SELECT opportunity_id, visit, stage, entered_at::date, left_at::date, next_stage, days, ended FROM salesops.stage_spells('2018-03-03') ORDER BY 1, entered_at;
-- the aggregate's value: its text is read back as it is, the order in which it is put together is of no matter; bad values
CREATE TABLE gathered AS SELECT deal, salesops.collect_changes(stage, 1, 'open', at, amount, due, NULL, false ORDER BY at) AS a, salesops.collect_changes(stage, 1, 'open', at, amount, due, NULL, false ORDER BY at DESC) AS b FROM log GROUP BY 1;
SELECT a FROM gathered WHERE deal = '2';
SELECT count(*), count(*) FILTER (WHERE a::text::salesops.deal_changes::text = a::text) AS same_text,
       count(*) FILTER (WHERE ARRAY(SELECT s FROM salesops.spells_of(a) s) = ARRAY(SELECT s FROM salesops.spells_of(b) s)) AS same_spells,
       count(*) FILTER (WHERE ARRAY(SELECT s FROM salesops.spells_of(a) s) = ARRAY(SELECT s FROM salesops.spells_of(salesops.deal_changes_combine(b, '{}')) s)) AS same_combined,
       count(*) FILTER (WHERE salesops.last_change_of(a) IS NOT DISTINCT FROM salesops.last_change_of(b)) AS same_state FROM gathered;
SELECT salesops.spells_of('{}'), salesops.last_change_of('{}');
SELECT '{NULL}'::salesops.deal_changes;
SELECT '{"(new,1,open,,1,,,f)"}'::salesops.deal_changes;
SELECT '{"(new,1,half,2018-01-01,1,,,f)"}'::salesops.deal_changes;
SELECT 'new'::salesops.deal_changes;
-- many changes of one deal, many stages of one name apart from each other, and a query that wants only the first of a set
SELECT count(*), max(visit), max((s.l).spell_number) FROM (SELECT visit, l FROM (SELECT salesops.spells_of(salesops.collect_changes('s' || i % 3, i % 3, 'open', '2018-01-01'::timestamptz + i * interval '1 hour', i, NULL, NULL, false)) AS l
	FROM generate_series(1, 100000) i) g CROSS JOIN LATERAL (SELECT (g.l).visit) v) s;
SELECT deal, (SELECT s.stage FROM salesops.spells_of(a) s LIMIT 1), (SELECT count(*) FROM salesops.spells_of(a)) FROM gathered ORDER BY 1 LIMIT 3;
-- equal times: in the order of change_number where there is one, else of the stages
INSERT INTO log VALUES ('9', 'proposal', '2018-01-01', 1), ('9', 'new', '2018-01-01', 1), ('9', 'won', '2018-01-01', 2);
SELECT visit, stage, next_stage, days FROM salesops.stage_spells('2018-03-03') WHERE opportunity_id = '9' ORDER BY spell_number;
ALTER TABLE log ADD n int;
UPDATE log SET n = CASE stage WHEN 'won' THEN 1 WHEN 'new' THEN 3 ELSE 2 END WHERE deal = '9';
SELECT count(*) FROM salesops.attach('opportunity_stage_change', 'log', '{"opportunity_id": "deal", "entered_at": "at", "close_date": "due", "change_number": "n"}');
SELECT visit, stage, next_stage, days FROM salesops.stage_spells('2018-03-03') WHERE opportunity_id = '9' ORDER BY spell_number;
SELECT stage FROM salesops.pipeline_as_of('2018-03-03') WHERE opportunity_id = '9';
DELETE FROM log WHERE deal = '9';
-- all deals in one pass are the same as deal by deal: ties, stages unknown or none, deals without a name, rows that know of a closing; also by temporary files
INSERT INTO log SELECT nullif('h' || i % 701, 'h700'), (ARRAY['new', 'proposal', 'won', 'lost', 'elsewhere', NULL])[1 + i * 7919 % 6], '2018-01-01'::timestamptz + i * 31 % 97 * interval '1 hour', nullif(i % 11, 10),
	date '2018-01-01' + i % 13, nullif(i * 17 % 5, 4) FROM generate_series(1, 4000) i;
CREATE FUNCTION pass_differences(at timestamptz) RETURNS TABLE (stays bigint, other_stays bigint, states bigint, other_states bigint, open_only bigint) LANGUAGE sql AS $$
	WITH one AS MATERIALIZED (SELECT opportunity_id, entered_at, visit, spell_number, ended, stage, kind, ordinal, left_at, closes_at, gone_at, next_stage, next_ordinal, next_kind, amount, close_date, furthest, goes_on_to_win,
		final_kind, was_won, was_lost FROM salesops.deal_spells(at)),
	all_at_once AS MATERIALIZED (SELECT * FROM salesops.history_spells(at, (SELECT array_agg(attname::text) FROM pg_attribute WHERE attrelid = 'salesops.deal_spell'::regclass AND attnum > 0) || '{opportunity_id}')),
	state AS MATERIALIZED (SELECT opportunity_id, entered_at, first_entered_at, stage, kind, amount, close_date FROM salesops.pipeline_as_of(at))
	SELECT count(*), (SELECT count(*) FROM ((TABLE one EXCEPT ALL TABLE all_at_once) UNION ALL (TABLE all_at_once EXCEPT ALL TABLE one)) d),
	       (SELECT count(*) FROM state), (SELECT count(*) FROM ((TABLE state EXCEPT ALL SELECT * FROM salesops.history_states(at)) UNION ALL (SELECT * FROM salesops.history_states(at) EXCEPT ALL TABLE state)) d),
	       (SELECT count(*) FROM salesops.history_spells(at, '{kind}', true) h WHERE h.kind = 'open' AND num_nonnulls(h.*) = 1 AND h.stage IS NULL)
	  FROM one $$;
SELECT d.* FROM unnest('{2018-01-02Z,2018-01-04 12:00Z,2018-03-03Z,infinity}'::timestamptz[]) at, pass_differences(at) d;
SET work_mem = '64kB';
SET hash_mem_multiplier = 1;
SELECT d.* FROM unnest('{2018-01-04 12:00Z,infinity}'::timestamptz[]) at, pass_differences(at) d;
RESET work_mem;
RESET hash_mem_multiplier;
SELECT count(*) FROM salesops.history_spells(now(), '{colour}');
SELECT count(*) FROM salesops.history_spells(now(), '{NULL}');
SELECT count(*) FROM salesops.history_states(NULL);
DELETE FROM log WHERE deal LIKE 'h%' OR deal IS NULL;
-- days, with a fraction to the bit as the server's own and rounded as numeric is
SELECT count(*), count(*) FILTER (WHERE salesops.days_between(a, b) <> date_part('epoch', b - a) / 86400), count(*) FILTER (WHERE salesops.whole_days_between(a, b) <> round(extract(epoch FROM b - a) / 86400))
  FROM unnest('{2018-01-01,2018-01-01 12:00,2018-03-25 01:59:59.999999,1900-01-01 11:59:59.999999,2018-07-01 00:00:00.000001,0001-01-01 BC,9999-12-31}'::timestamptz[]) a,
       unnest('{2018-01-01,2018-01-02 12:00,2018-03-26 13:59:59.999998,1900-01-02,2018-10-28,0001-02-01 BC,9999-12-31 12:00}'::timestamptz[]) b;
SELECT salesops.days_between('2018-01-01', 'infinity');
SELECT salesops.whole_days_between('-infinity', '2018-01-01');
SELECT salesops.days_between('4713-01-01 BC', '294276-01-01');
-- nothing of later: on 2018-01-10 deal 1 was new and open
SELECT opportunity_id, stage, days, ended FROM salesops.stage_spells('2018-01-10') ORDER BY 1, entered_at;
SELECT * FROM salesops.pipeline_as_of('2018-01-25') ORDER BY 1;
-- new: 10, 5, 15, 8 ended; 30 and 11 censored at 2018-03-03. At risk 6: S(5) 5/6, S(8) 4/6, S(10) 3/6; 11+; S(15) 1/4
SELECT stage, visits, left_stage, still_in, median_days, usual_days, closed_mean_days FROM salesops.stage_velocity_at('2018-03-03') ORDER BY ordinal;
SELECT grp, stage, visits, left_stage, median_days, lasting FROM salesops.stage_velocity_by('{owner_id}', '2018-03-03') ORDER BY 1, ordinal;
SELECT stage, cohort, entered, advanced, won, lost, still_open, conversion, win_rate FROM salesops.stage_conversion_at('2018-03-03') ORDER BY ordinal, cohort;
SELECT grp, stage, cohort, entered, advanced, won, lost, still_open FROM salesops.stage_conversion_by('{owner_id}', '2018-03-03') ORDER BY 1, ordinal, cohort;
SELECT grp, from_at::date, created, won, lost FROM salesops.sales_velocity_by('{account_id,rep_region}', '2018-03-03', '90 days', 1) ORDER BY 1;
SELECT grp, stage, left_stage, open_deals FROM salesops.pipeline_bottleneck_by('{owner_id}', '2018-03-03', '30 days') ORDER BY 1, ordinal;
SELECT count(*) FROM salesops.stage_velocity_by('{owner_id,colour,NULL}');
SELECT count(*) FROM salesops.sales_velocity_by('{{owner_id}}');
SELECT stage, kind, deals, amount, deals_without_amount FROM salesops.pipeline_by_stage ORDER BY ordinal;
SELECT from_at::date, created, won, lost, win_rate, average_amount, cycle_days FROM salesops.sales_velocity_at('2018-03-03', '90 days', 1);
SELECT opportunity_id, stage, days_in_stage, limit_days, limit_source FROM salesops.stale_opportunities('2018-03-03') ORDER BY 1;
-- of the past only what the history says: today's amount, owner, category and next step are not the ones of then
SELECT opportunity_id, rule, points, finding FROM salesops.find_hygiene('2018-03-03') ORDER BY 1, 2;
SELECT opportunity_id, known_from, stage, amount, close_date, owner_id, next_step, entered_at::date FROM salesops.open_opportunities('2018-03-03') ORDER BY 1;
SELECT open_deals, clean_deals, quality, findings, average_score, unknown_deals FROM salesops.pipeline_quality_at('2018-03-03');
UPDATE deal SET amount = 1, due = '2018-01-01', owner = 'eve', stage = 'won' WHERE id = 4;
SELECT opportunity_id, known_from, stage, amount, close_date FROM salesops.open_opportunities('2018-03-03') WHERE opportunity_id = '4';
UPDATE deal SET amount = 700, due = '2018-06-05', owner = 'ann', stage = 'proposal' WHERE id = 4;
-- now: the rows themselves
SELECT opportunity_id, known_from, stage, amount, owner_id FROM salesops.open_opportunities() ORDER BY 1;
SELECT opportunity_id, rule, points FROM salesops.find_hygiene() ORDER BY 1, 2;
SELECT opportunity_id, score, findings, rules FROM salesops.opportunity_hygiene ORDER BY 1;
SELECT open_deals, clean_deals, quality, findings, average_score, unknown_deals FROM salesops.pipeline_quality_at(now());
-- an amount changed late: in the 14 days up to the close date that stood then, by days of UTC whatever the session's zone; not after it
INSERT INTO log VALUES ('20', 'new', '2018-01-01', 100, '2018-03-20'), ('20', 'new', '2018-03-06 00:30+01', 200, '2018-03-20'), ('21', 'new', '2018-01-01', 100, '2018-03-20'), ('21', 'new', '2018-03-06 00:30Z', 200, '2018-03-20'),
	('22', 'new', '2018-01-01', 100, '2018-03-20'), ('22', 'new', '2018-03-20 23:30Z', 200, '2018-09-20'), ('23', 'new', '2018-01-01', 100, '2018-03-20'), ('23', 'new', '2018-03-21 00:30Z', 200, '2018-03-20');
SET timezone = 'America/New_York';
SELECT opportunity_id, rule, finding FROM salesops.find_hygiene('2018-04-01Z') WHERE rule = 'amount_changed_late' ORDER BY 1;
SET timezone = 'Pacific/Kiritimati';
SELECT opportunity_id FROM salesops.find_hygiene('2018-04-01Z') WHERE rule = 'amount_changed_late' ORDER BY 1;
SET timezone = 'UTC';
DELETE FROM log WHERE deal >= '20' AND deal < '3';
SELECT salesops.set_hygiene_rule('duplicate', is_active => false), salesops.set_hygiene_rule('pushed', 5, 2);
SELECT salesops.set_hygiene_rule('nonsense');
SELECT salesops.set_hygiene_rule('pushed', 500);
SELECT opportunity_id, rule, points FROM salesops.find_hygiene() WHERE rule IN ('duplicate', 'pushed') ORDER BY 1, 2;
SELECT salesops.take_hygiene_snapshot();
UPDATE deal SET amount = 10 WHERE id = 6;
SELECT salesops.take_hygiene_snapshot();
SELECT opportunity_id, rule, first_seen < last_seen AS seen_again, resolved_at IS NOT NULL AS resolved FROM salesops.hygiene_finding WHERE opportunity_id = '6' ORDER BY rule;
SELECT open_deals, clean_deals, findings FROM salesops.pipeline_quality ORDER BY measured_at;

-- acting on findings
SELECT * FROM salesops.apply_hygiene('[{"rule": "nonsense", "action": "explode"}, {"rule": "stale", "action": "close", "stage": "new"}, {"rule": "stale", "action": "set", "column": "currency"}, 3]');
SELECT * FROM salesops.apply_hygiene('{"stale": "dance"}');
SELECT * FROM salesops.apply_hygiene('{"stale": "close", "category_at_odds": "flag"}');
SELECT id, stage FROM deal WHERE id = 4;
SELECT run_id > 0 AS ran, opportunity_id, rule, action, column_name, old_value, new_value, done
  FROM salesops.apply_hygiene('[{"rule": "stale", "action": "close"}, {"rule": "missing_owner", "action": "set", "column": "owner_id", "value": "ann"}, {"rule": "no_next_step", "action": "flag"}]', false);
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
DROP OWNED BY pipeline_history_reader, pipeline_history_owner;
DROP ROLE pipeline_history_reader, pipeline_history_owner;
SELECT count(*) FROM salesops.tracked_relation;
