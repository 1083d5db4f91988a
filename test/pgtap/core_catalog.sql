-- Every member of the extension has a comment, functions say their volatility and parallel safety, definer functions pin search_path,
-- rights name objects that exist, configuration tables are dumped.
BEGIN;
SELECT no_plan();

CREATE TEMP VIEW member AS
  SELECT d.classid, d.objid, pg_describe_object(d.classid, d.objid, 0) AS name
    FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND d.refclassid = 'pg_extension'::regclass
   WHERE d.deptype = 'e' AND e.extname = 'salesops';

SELECT is_empty($$
  SELECT m.name FROM member m
   WHERE m.classid IN ('pg_proc'::regclass, 'pg_class'::regclass, 'pg_operator'::regclass, 'pg_event_trigger'::regclass)
     AND NOT EXISTS (SELECT FROM pg_class c WHERE m.classid = 'pg_class'::regclass AND c.oid = m.objid AND c.relkind IN ('S', 'i', 't', 'c'))
     AND obj_description(m.objid, m.classid::regclass::text::name) IS NULL ORDER BY 1$$, 'every member has a comment');
SELECT is_empty($$
  SELECT m.name FROM member m JOIN pg_type t ON m.classid = 'pg_type'::regclass AND t.oid = m.objid
   WHERE t.typtype IN ('b', 'c', 'e', 'd') AND t.typrelid = 0 AND t.typelem = 0
     AND obj_description(t.oid, 'pg_type') IS NULL ORDER BY 1$$, 'every type has a comment');
SELECT is_empty($$
  SELECT p.oid::regprocedure::text FROM member m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid
   WHERE p.prosecdef AND NOT COALESCE(p.proconfig::text LIKE '%search_path=%', false)$$, 'definer functions pin search_path');
SELECT is_empty($$
  SELECT p.oid::regprocedure::text FROM member m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid
    JOIN pg_language l ON l.oid = p.prolang
   WHERE l.lanname = 'plpgsql' AND NOT COALESCE(p.proconfig::text LIKE '%search_path=%', false)$$, 'PL/pgSQL functions pin search_path');
SELECT is_empty($$
  SELECT p.oid::regprocedure::text FROM member m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid
   WHERE p.provolatile = 'v' AND p.proparallel = 's' AND p.prokind = 'f' AND p.proname <> 'missing_source'$$,
  'no function that may write is labelled parallel safe');
SELECT is_empty($$
  SELECT a.aggfnoid::regprocedure::text FROM member m JOIN pg_aggregate a ON m.classid = 'pg_proc'::regclass AND a.aggfnoid = m.objid
   WHERE a.aggtranstype = 'internal'::regtype OR a.aggcombinefn = 0$$, 'aggregates have real state types and combine functions');
SELECT is_empty($$
  SELECT a.object FROM salesops.access_right a
   WHERE CASE a.kind WHEN 'table' THEN to_regclass(a.object) IS NULL ELSE to_regprocedure(a.object) IS NULL END$$,
  'every right names an object that exists');
SELECT is_empty($$
  SELECT p.oid::regprocedure::text FROM member m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid
   WHERE p.provolatile = 'v' AND p.prokind IN ('f', 'p') AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
     AND has_function_privilege('public', p.oid, 'EXECUTE') AND p.proname NOT IN ('missing_source', 'progress_rows')
     AND p.proname NOT LIKE 'note\_%'$$,
  'no function that may write is open to PUBLIC');
SELECT is_empty($$
  SELECT r.table_name || '.' || r.column_name FROM salesops.relation_registry r
   WHERE NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = to_regclass('salesops.' || r.table_name)
                        AND a.attname = r.column_name AND a.atttypid = 'regclass'::regtype)$$, 'every registered column is a regclass column');
SELECT is_empty($$
  SELECT c.relname || '.' || a.attname FROM member m JOIN pg_class c ON m.classid = 'pg_class'::regclass AND c.oid = m.objid AND c.relkind = 'r'
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.atttypid = 'regclass'::regtype AND a.attnum > 0
   WHERE c.relname <> 'source' AND NOT EXISTS (SELECT FROM salesops.relation_registry r
                                                WHERE r.table_name = c.relname AND r.column_name = a.attname)$$,
  'every regclass column of a table is registered');
SELECT is_empty($$
  SELECT c.relname FROM member m JOIN pg_class c ON m.classid = 'pg_class'::regclass AND c.oid = m.objid AND c.relkind IN ('r', 'S')
   WHERE c.relname NOT IN ('relation_registry', 'access_right', 'refresh_command', -- written by the install script only
                           'criterion_tree') -- derived from the triggers, rebuilt after a restore
     AND NOT c.oid = ANY ((SELECT e.extconfig FROM pg_extension e WHERE e.extname = 'salesops')::oid[])
     AND c.relpersistence = 'p'$$, 'every table and sequence that holds what users made is dumped');
SELECT is_empty($$
  SELECT c.relname FROM member m JOIN pg_class c ON m.classid = 'pg_class'::regclass AND c.oid = m.objid AND c.relkind = 'v'
   WHERE NOT COALESCE(c.reloptions::text LIKE '%security_invoker=%', false) AND c.relname <> ALL ('{progress,opportunity_relation,pipeline_stage,mapped_opportunity_column,hygiene_rule,job,job_run,job_status,watched}')$$,
  'views over rows of the user''s run with the rights of the reader (those named show configuration and the reader''s own jobs)');
SELECT * FROM finish();
ROLLBACK;
