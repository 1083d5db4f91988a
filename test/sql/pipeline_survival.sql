-- Type survival and its aggregates against published worked examples; text and binary forms; parallel plans; bad input
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS salesops CASCADE;
CREATE EXTENSION salesops;
RESET client_min_messages;
CREATE SCHEMA pipeline_survival;
SET search_path = pipeline_survival;

-- Bewick, Cheek and Ball, Critical Care 2004, 8:389, table 2
CREATE TABLE bewick AS SELECT abs(v)::float8 AS days, v > 0 AS ended FROM unnest('{9,1,-9,22,1,4,-6,5}'::int[]) v;
SELECT salesops.survival(days, ended) FROM bewick;
SELECT duration, at_risk, ended, censored, round(survival::numeric, 3) AS survival FROM salesops.life_table((SELECT salesops.survival(days, ended) FROM bewick));
SELECT salesops.median(s), salesops.survival_at(s, 3.9), salesops.survival_count(s), salesops.survival_events(s), round(salesops.survival_at(s, 9)::numeric, 3)
  FROM (SELECT salesops.survival(days, ended) AS s FROM bewick) x;

-- Freireich 1963: Greenwood's errors of the 6-MP arm; the log-rank test against the control arm is 16.79 (R: survdiff)
CREATE TABLE freireich AS
SELECT 'mp' AS arm, abs(v)::float8 AS weeks, v > 0 AS ended FROM unnest('{6,6,6,7,10,13,16,22,23,-6,-9,-10,-11,-17,-19,-20,-25,-32,-32,-34,-35}'::int[]) v
UNION ALL SELECT 'control', v, true FROM unnest('{1,1,2,2,3,4,4,5,5,8,8,8,8,11,11,12,12,15,17,22,23}'::int[]) v;
SELECT arm, salesops.median(salesops.survival(weeks, ended)) FROM freireich GROUP BY 1 ORDER BY 1;
SELECT duration, round(survival::numeric, 4) AS survival, round(standard_error::numeric, 4) AS error, round(lower::numeric, 3) AS lower, round(upper::numeric, 3) AS upper
  FROM salesops.life_table((SELECT salesops.survival(weeks, ended) FROM freireich WHERE arm = 'mp')) WHERE ended > 0;
SELECT round(chi_square::numeric, 2) AS chi_square, round(observed::numeric, 0) AS observed, round(expected::numeric, 2) AS expected, p_value < 0.0001 AS differs
  FROM salesops.log_rank((SELECT salesops.survival(weeks, ended) FROM freireich WHERE arm = 'mp'), (SELECT salesops.survival(weeks, ended) FROM freireich WHERE arm = 'control'));
SELECT salesops.survival_quantile(s, 0.25), salesops.survival_quantile(s, 0.9), round(salesops.survival_error(s, 10)::numeric, 4) AS error,
       round(salesops.restricted_mean(s, 35)::numeric, 2) AS mean, round(salesops.restricted_mean(s, 35, 10)::numeric, 2) AS to_go, round(salesops.cumulative_hazard(s, 7)::numeric, 4) AS hazard
  FROM (SELECT salesops.survival(weeks, ended) AS s FROM freireich WHERE arm = 'mp') x;

-- merging is exact, in any order; NULLs tell nothing
SELECT salesops.merge(s)::text = (SELECT salesops.survival(weeks, ended)::text FROM freireich) AS same FROM (SELECT salesops.survival(weeks, ended) AS s FROM freireich GROUP BY arm) x;
SELECT salesops.survival(NULL, true), salesops.survival(1, NULL), salesops.merge(NULL::salesops.survival);
SELECT salesops.survival(d, e) FROM (VALUES (1::float8, true), (NULL, true), (2, NULL), (0, false), ('-0', true)) v (d, e);

-- forms
SELECT '{1.5:2/0, 4:1/3,1.5:1/1}'::salesops.survival, ' { } '::salesops.survival, '{0.1:1/0}'::salesops.survival;
SELECT salesops.median('{}'), salesops.survival_at('{}', 1);
CREATE TABLE kept (s salesops.survival);
INSERT INTO kept SELECT salesops.survival(i * 0.1, i % 3 = 0) FROM generate_series(1, 20000) i;
CREATE TEMP TABLE copied (s salesops.survival);
\copy kept TO '/tmp/salesops_survival.bin' WITH (FORMAT binary)
\copy copied FROM '/tmp/salesops_survival.bin' WITH (FORMAT binary)
\! rm -f /tmp/salesops_survival.bin
SELECT (SELECT s::text FROM kept) = (SELECT s::text FROM copied) AS same_binary, (SELECT s::text::salesops.survival::text FROM kept) = (SELECT s::text FROM kept) AS same_text,
       salesops.survival_count(s) FROM kept;

-- the same from parallel workers
CREATE TABLE many AS SELECT (i * 7919 % 1009)::float8 AS d, i % 4 > 0 AS e FROM generate_series(1, 60000) i;
CREATE TEMP TABLE serial AS SELECT salesops.survival(d, e)::text AS s FROM many;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 2;
SELECT (SELECT salesops.survival(d, e)::text FROM many) = s AS same FROM serial;

-- bad input
SELECT '{1:2}'::salesops.survival;
SELECT '{-1:2/0}'::salesops.survival;
SELECT '{1:2/0,}'::salesops.survival;
SELECT '{1:99999999999/0}'::salesops.survival;
SELECT '{nan:1/0}'::salesops.survival;
SELECT '{1:4294967295/0, 1:1/0}'::salesops.survival;
SELECT salesops.survival(-1, true);
SELECT salesops.survival('NaN', true);
SELECT salesops.survival_quantile('{1:1/0}', 1.5);
SELECT salesops.survival_at('{1:1/0}', 'infinity');
SELECT * FROM salesops.life_table('{1:1/0}', 2);
SET client_min_messages = warning;
DROP SCHEMA pipeline_survival CASCADE;
