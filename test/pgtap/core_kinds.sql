-- Kinds of relation that a scratch regression cannot show everywhere: foreign tables, and rights of expressions.
BEGIN;
SELECT no_plan();
CREATE EXTENSION file_fdw;
CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
CREATE FOREIGN TABLE remote_reps (rep_id text, name text, active text)
  SERVER files OPTIONS (program $$printf 'r1,Ann,t\nr2,Bob,f\n'$$, format 'csv');
SELECT lives_ok($$SELECT * FROM salesops.attach('sales_rep', 'remote_reps', '{"is_active": "active"}')$$, 'a foreign table attaches');
SELECT results_eq('SELECT rep_id, is_active FROM salesops.sales_rep ORDER BY 1', $$VALUES ('r1', true), ('r2', false)$$,
                  'and its text casts to the contract''s boolean');
SELECT throws_ok($$SELECT * FROM salesops.attach('sales_rep', 'remote_reps', '{"capacity": "nothing"}')$$, '22023', NULL,
                 'errors carry SQLSTATE 22023');
ALTER FOREIGN TABLE remote_reps RENAME COLUMN active TO works;
SELECT results_eq('SELECT count(*) FROM salesops.sales_rep WHERE is_active', ARRAY[1::bigint], 'renames of a foreign table''s column are followed');
DROP FOREIGN TABLE remote_reps;
SELECT throws_ok('SELECT * FROM salesops.sales_rep', '42P01', NULL, 'a dropped foreign table is an error that says so');

-- a value that does not cast is the reader's error, not ours; NULLs pass
CREATE TABLE odd (id int, born text);
INSERT INTO odd VALUES (1, NULL);
SELECT salesops.attach('lead', 'odd', '{"lead_id": "id", "created_at": "born"}');
SELECT results_eq('SELECT lead_id, created_at FROM salesops.lead', $$VALUES ('1', NULL::timestamptz)$$, 'NULL stays NULL');
INSERT INTO odd VALUES (2, 'yesterday noon');
SELECT throws_ok('SELECT created_at FROM salesops.lead', '22007', NULL, 'a value that is no time is an error');

-- an attached table in a schema and with a name that need quoting
CREATE SCHEMA "Odd Schema";
CREATE TABLE "Odd Schema"."Tab""le" ("Id" int, "sta ge" text);
INSERT INTO "Odd Schema"."Tab""le" VALUES (7, 'new');
SELECT lives_ok($$SELECT * FROM salesops.attach('opportunity', '"Odd Schema"."Tab""le"', '{"opportunity_id": "Id", "stage": "sta ge"}')$$,
                'names that need quotes attach');
SELECT results_eq('SELECT opportunity_id, stage FROM salesops.opportunity', $$VALUES ('7', 'new')$$, 'and read');

-- a search_path that shadows catalog names changes nothing
CREATE SCHEMA evil;
CREATE FUNCTION evil.jsonb_each_text(jsonb) RETURNS TABLE (key text, value text) LANGUAGE sql AS $$SELECT 'stolen', 'stolen'$$;
CREATE FUNCTION evil.jsonb_object_agg(text, anyelement) RETURNS jsonb LANGUAGE sql AS $$SELECT '{}'::jsonb$$;
SET LOCAL search_path = evil, pg_catalog, public;
SELECT public.lives_ok($$SELECT * FROM salesops.attach('opportunity', '"Odd Schema"."Tab""le"', '{"opportunity_id": "Id", "stage": "sta ge"}')$$,
                'attach does not look at the caller''s search_path');
SET LOCAL search_path = public;
SELECT results_eq($$SELECT column_numbers FROM salesops.source WHERE entity = 'opportunity'$$, $$VALUES ('{"opportunity_id": 1, "stage": 2}'::jsonb)$$,
                  'and the numbers are right');
SELECT * FROM finish();
ROLLBACK;
