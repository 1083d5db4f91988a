-- Statements of more rows than work_mem holds, whose transition tables are in files: tracked history has each change once, whole.
BEGIN;
SELECT plan(5);
SET LOCAL client_min_messages = warning;
SET LOCAL work_mem = '64kB';
SELECT salesops.define_stages('default', '[{"stage": "new"}, {"stage": "proposal"}, {"stage": "won", "kind": "won"}]');
CREATE TABLE deal (id int PRIMARY KEY, stage text, amount numeric, close_date date, note text);
SELECT salesops.track_stage_changes('deal');
INSERT INTO deal SELECT i, CASE WHEN i % 2 = 0 THEN 'new' ELSE 'proposal' END, i, date '2027-01-01' + i % 300, repeat('x', 100) FROM generate_series(1, 5000) i;
SELECT results_eq($$SELECT count(*), count(DISTINCT opportunity_id), sum(amount) FROM salesops.tracked_stage_change$$, $$VALUES (5000::bigint, 5000::bigint, 12502500::numeric)$$, 'rows inserted');
SELECT is(count(*), 0::bigint, 'with their stages and dates') FROM salesops.tracked_stage_change c JOIN deal d ON d.id = c.opportunity_id::int
 WHERE (c.stage, c.close_date, c.previous_stage) IS DISTINCT FROM (d.stage, d.close_date, NULL);
UPDATE deal SET stage = 'won' WHERE id <= 4000;
SELECT results_eq($$SELECT previous_stage, count(*) FROM salesops.tracked_stage_change WHERE stage = 'won' GROUP BY 1 ORDER BY 1$$, $$VALUES ('new', 2000::bigint), ('proposal', 2000)$$, 'rows changed');
DELETE FROM deal;
SELECT results_eq($$SELECT previous_stage, count(*) FROM salesops.tracked_stage_change WHERE stage IS NULL GROUP BY 1 ORDER BY 1$$,
  $$VALUES ('new', 500::bigint), ('proposal', 500), ('won', 4000)$$, 'rows deleted');
SELECT is(count(DISTINCT change_id), 14000::bigint, 'each once') FROM salesops.tracked_stage_change;
SELECT * FROM finish();
ROLLBACK;
