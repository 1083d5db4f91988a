-- Every view and function of the pipeline in poor conditions: nothing attached, no rows, only the required columns, NULL stages and
-- keys, infinite times, a view as the relation, no stages; and Salesforce's history (../shared/data/dbt-salesforce; skipped where absent)
BEGIN;
SELECT no_plan();
SET client_min_messages = warning;
CREATE TABLE report AS SELECT * FROM unnest(ARRAY['stage_history', 'pipeline_by_stage', 'stage_velocity', 'stage_conversion', 'pipeline_bottleneck', 'sales_velocity',
	'stale_opportunity', 'pipeline_hygiene', 'opportunity_hygiene', 'pipeline_quality', 'duplicate_opportunity', 'criterion_violation', 'tracked_stage_change',
	'open_opportunities(now() - interval ''1 day'')', 'find_hygiene(now() - interval ''1 day'')', 'pipeline_as_of(now() - interval ''1 day'')',
	'pipeline_quality_at(now() - interval ''1 day'')', 'sales_velocity_at(now() - interval ''1 day'')', 'stage_velocity_by(''{owner_id}'')',
	'stage_conversion_by(''{rep_region}'')', 'pipeline_bottleneck_by(''{industry,owner_id}'')', 'sales_velocity_by(''{currency}'')', 'find_hygiene(NULL)',
	'take_hygiene_snapshot()']) AS v;
CREATE FUNCTION all_run(condition text) RETURNS SETOF text LANGUAGE sql AS
	$$ SELECT lives_ok('SELECT count(x) FROM salesops.' || v || ' x', condition || ': ' || v) FROM report $$;
SELECT all_run('nothing attached');
SELECT salesops.define_stages('default', '[{"stage": "new"}, {"stage": "proposal"}, {"stage": "won", "kind": "won"}, {"stage": "lost", "kind": "lost"}]') \g /dev/null
CREATE TABLE deal (id int, stage text);
CREATE VIEW deal_view AS SELECT * FROM deal;
CREATE TABLE log (id int, stage text, entered_at timestamptz);
SELECT count(*) FROM salesops.attach('opportunity', 'deal', '{"opportunity_id": "id"}') \g /dev/null
SELECT all_run('no rows');
INSERT INTO deal VALUES (1, 'new'), (2, NULL), (3, 'won'), (4, 'odd'), (NULL, 'new'), (5, 'proposal');
SELECT all_run('required columns only');
SELECT results_eq('SELECT opportunity_id, rules FROM salesops.opportunity_hygiene WHERE findings > 0 ORDER BY 1',
	$$ VALUES ('2', '{unknown_stage}'::text[]), ('4', '{unknown_stage}') $$, 'what is not mapped is not missing');
SELECT count(*) FROM salesops.attach('opportunity_stage_change', 'log', '{"opportunity_id": "id"}') \g /dev/null
SELECT all_run('an empty history');
INSERT INTO log VALUES (1, 'new', '2024-01-01Z'), (2, NULL, '2024-01-01Z'), (3, 'new', '2024-01-01Z'), (3, 'won', '2024-02-01Z'), (4, 'odd', '2024-01-01Z'), (NULL, 'new', '2024-01-01Z'),
	(5, 'new', NULL), (5, 'new', '-infinity'), (5, 'new', 'infinity'), (5, 'proposal', '2024-03-01Z');
SELECT all_run('odd rows');
SELECT results_eq($$ SELECT opportunity_id, stage, next_stage, ended FROM salesops.stage_history WHERE opportunity_id IN ('2', '3', '5') ORDER BY 1, entered_at $$,
	$$ VALUES ('3', 'new', 'won', true), ('3', 'won', NULL, false), ('5', 'proposal', NULL, false) $$, 'times that are not known or infinite are left out');
SELECT results_eq($$ SELECT created, won, cycle_days FROM salesops.sales_velocity_at('2024-03-01Z', '90 days', 1) $$, 'VALUES (4::bigint, 1::bigint, 31::float8)',
	'creation and closing come from the history where no column has them');
SELECT count(*) FROM salesops.attach('opportunity', 'deal_view', '{"opportunity_id": "id"}') \g /dev/null
SELECT all_run('a view as the relation');
SELECT results_eq($$ SELECT opportunity_id, new_value, done FROM salesops.apply_hygiene('{"unknown_stage": "close"}', false) $$,
	$$ VALUES ('2', 'lost', true), ('4', 'lost', true) $$, 'hygiene writes through a view');
SELECT throws_ok($$ SELECT salesops.add_criterion('deal_view', 'new', 'x', 'id > 0') $$, '42809', NULL, 'a view has no criteria');
SELECT throws_ok($$ SELECT salesops.track_stage_changes('deal_view') $$, '42809', NULL, 'a view is not tracked');
DELETE FROM salesops.stage;
SELECT all_run('no stages');

-- a report that is prepared, and planned for any time, does its work once and not once a row
INSERT INTO deal SELECT i, 'new' FROM generate_series(100, 3100) i;
INSERT INTO log SELECT i, s, '2024-01-01Z'::timestamptz + (i / 10 + n * 5) * interval '1 day' FROM generate_series(100, 3100) i, unnest(ARRAY['new', 'proposal']) WITH ORDINALITY x (s, n);
SELECT salesops.define_stages('default', '[{"stage": "new"}, {"stage": "proposal"}, {"stage": "won", "kind": "won"}, {"stage": "lost", "kind": "lost"}]') \g /dev/null
ANALYZE deal;
ANALYZE log;
SET plan_cache_mode = force_generic_plan;
PREPARE bottleneck(timestamptz) AS SELECT count(*) FROM salesops.pipeline_bottleneck_at($1);
CREATE FUNCTION most_loops(statement text) RETURNS float8 LANGUAGE plpgsql AS $$
DECLARE
	plan jsonb;
BEGIN
	EXECUTE 'EXPLAIN (ANALYZE, TIMING OFF, FORMAT json) ' || statement INTO plan;
	RETURN (SELECT max((n #>> '{}')::float8) FROM jsonb_path_query(plan, '$.** ? (@."Node Type" == "Sort" || @."Node Type" == "Aggregate" || @."Node Type" == "WindowAgg")."Actual Loops"') n);
END $$;
SELECT cmp_ok(most_loops($$ EXECUTE bottleneck('2024-11-01Z') $$), '<=', 6::float8, 'nothing is sorted or aggregated again for each row');
RESET plan_cache_mode;

-- no report sorts the whole history more than once, or joins it to itself; and one deal is found by an index
CREATE FUNCTION sorts(statement text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	plan jsonb;
BEGIN
	EXECUTE 'EXPLAIN (ANALYZE, TIMING OFF, FORMAT json) ' || statement INTO plan;
	RETURN (SELECT count(*) FROM jsonb_path_query(plan, 'strict $.** ? (@."Node Type" == "Sort")') n
	         WHERE (n ->> 'Actual Rows')::float8 >= 6000 AND n ->> 'Sort Key' LIKE '%id%');
END $$;
SELECT cmp_ok(sorts('SELECT * FROM salesops.' || v), '<=', 1::bigint, 'one sort at most: ' || v)
  FROM unnest(ARRAY['stage_velocity', 'stage_conversion', 'pipeline_bottleneck', 'sales_velocity', 'pipeline_by_stage', 'stage_history', 'pipeline_as_of(now())']) v;
CREATE INDEX log_id ON log ((id::text));
ANALYZE log;
SELECT is((SELECT count(*) FROM (SELECT * FROM salesops.stage_history WHERE opportunity_id = '2000') x), 2::bigint, 'one deal''s history');
CREATE FUNCTION most_rows(statement text) RETURNS float8 LANGUAGE plpgsql AS $$
DECLARE
	plan jsonb;
BEGIN
	EXECUTE 'EXPLAIN (ANALYZE, TIMING OFF, FORMAT json) ' || statement INTO plan;
	RETURN (SELECT max((n #>> '{}')::float8) FROM jsonb_path_query(plan, '$.**."Actual Rows"') n);
END $$;
SELECT cmp_ok(most_rows('SELECT * FROM salesops.' || v || ' WHERE opportunity_id = ''2000'''), '<=', 10::float8, 'one deal is found by an index: ' || v)
  FROM unnest(ARRAY['stage_history', 'pipeline_as_of(now())', 'ordered_stage_changes(now())']) v;

SELECT (pg_stat_file(:'data' || '/dbt-salesforce/sf_opportunity_history_data.csv', true)).size IS NOT NULL AS present \gset
\if :present
-- the columns of a CSV file become a table of text, as a loader would make it
CREATE PROCEDURE load(file text, target text) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE TABLE %I (%s)', target, (SELECT string_agg(format('%I text', c), ', ' ORDER BY n)
		FROM string_to_table(regexp_replace(pg_read_file(file), E'[\r\n].*', ''), ',') WITH ORDINALITY x (c, n)));
	EXECUTE format('COPY %I FROM %L (FORMAT csv, HEADER)', target, file);
END $$;
CALL load(:'data' || '/dbt-salesforce/sf_opportunity_data.csv', 'sf_opportunity');
CALL load(:'data' || '/dbt-salesforce/sf_opportunity_history_data.csv', 'sf_opportunity_history');
SELECT count(*) FROM salesops.attach('opportunity', 'sf_opportunity', '{"opportunity_id": "id", "stage": "stage_name", "created_at": "created_date"}') \g /dev/null
SELECT lives_ok($$ SELECT * FROM salesops.attach('opportunity_stage_change', 'sf_opportunity_history', '{"opportunity_id": "id", "stage": "stage_name", "entered_at": "_fivetran_start"}') $$,
	'Salesforce''s history, as Fivetran writes it, is read as it is');
SELECT salesops.define_stages('default', (SELECT jsonb_agg(DISTINCT jsonb_build_object('stage', stage_name, 'kind', 'open')) || '[{"stage": "won", "kind": "won"}]' FROM sf_opportunity_history)) \g /dev/null
SELECT all_run('Salesforce');
SELECT is((SELECT count(*) FROM salesops.stage_history), (SELECT count(*) FROM sf_opportunity_history), 'a spell a row: each deal has one version');
SELECT results_eq($$ SELECT opportunity_id, amount, close_date FROM salesops.pipeline_as_of('2019-10-17 21:15Z') WHERE opportunity_id IN ('006q000000HddohAAB', '006q000000HdPzpAAF') $$,
	$$ VALUES ('006q000000HddohAAB', 24120000::numeric, date '2018-12-19') $$, 'as of a minute between two changes');
\else
SELECT skip('no dbt-salesforce', 1);
\endif
SELECT * FROM finish();
ROLLBACK;
