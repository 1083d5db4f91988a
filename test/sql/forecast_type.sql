-- The forecast type: its aggregates, reading, text and binary form, parallel plans, and what it refuses.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS salesops CASCADE;
DROP SCHEMA IF EXISTS forecast_type CASCADE;
CREATE EXTENSION salesops;
CREATE SCHEMA forecast_type;
SET search_path = forecast_type, salesops;
RESET client_min_messages;
SET extra_float_digits = 0;

-- few deals: every outcome, by hand
CREATE TABLE deal (deal_id int, region text, amount numeric, probability float8);
INSERT INTO deal VALUES (1, 'north', 100, 0.5), (2, 'north', 250, 0.2), (3, 'south', 1000, 1), (4, 'south', -40, 0.5), (5, 'south', NULL, 0.5), (6, 'south', 10, NULL);
SELECT mean(f), variance(f), stddev(f), deal_count(f), unknown_count(f) FROM (SELECT forecast(amount, probability) AS f FROM deal) d;
SELECT p, quantile(f, p) FROM (SELECT forecast(amount, probability) AS f FROM deal) d, unnest('{0,.05,.2,.25,.5,.75,.9,1}'::float8[]) p;
SELECT t, round(probability_at_least(f, t)::numeric, 9) FROM (SELECT forecast(amount, probability) AS f FROM deal) d, unnest('{0,960,961,1000,1100,1310,1350,1351}'::float8[]) t;
SELECT (prediction_interval(f, 0.8)).* FROM (SELECT forecast(amount, probability) AS f FROM deal) d;
-- two equal deals under a common factor: the orthant formula, 1/4 + asin(rho) / (2 pi)
SELECT rho, round(probability_at_least(f, 2, rho)::numeric, 5) AS got, round((0.25 + asin(rho) / (2 * pi()))::numeric, 5) AS orthant
  FROM (SELECT forecast(1::numeric, 0.5) AS f FROM generate_series(1, 2)) d, unnest('{0,.1,.5,.9}'::float8[]) rho;
-- no row, no known row, numbers of every kind
SELECT forecast(amount, probability) IS NULL AS no_row FROM deal WHERE false;
SELECT forecast(amount, probability) IS NULL AS no_known_row FROM deal WHERE deal_id > 4;
SELECT a, mean(forecast(a, 1.0)) FROM unnest('{0,-1,0.01,123456789.12,99999999999999.99,1e15,0.0001,-0.00000001}'::numeric[]) a GROUP BY a ORDER BY a;
SELECT a AS wrongly_decoded FROM (SELECT DISTINCT (i::bigint * i * 7919 % 1000003)::numeric / power(10, i % 7)::numeric * (CASE i % 3 WHEN 0 THEN -1 ELSE 1 END) AS a
  FROM generate_series(1, 3000) i UNION SELECT power(10::numeric, i) * 3.7 FROM generate_series(-12, 17) i) n
  GROUP BY a HAVING mean(forecast(a, 1.0)) <> a::float8;
SELECT mean(forecast(1, 0.5)) AS integers, mean(forecast(2.5::real, 0.5)) AS reals, mean(forecast(3::bigint, 0.5)) AS bigints;

-- merging is the same as adding, however the deals are split
CREATE TABLE many AS SELECT i, (1 + i * 7919 % 997)::numeric + (i % 4) * 0.25 AS amount, ((i * 104729) % 1000) / 1000.0::float8 AS probability FROM generate_series(1, 20000) i;
WITH whole AS (SELECT forecast(amount, probability) AS f FROM many),
     parts AS (SELECT merge(f) AS f FROM (SELECT forecast(amount, probability) AS f FROM many GROUP BY i % 37) p)
SELECT abs(mean(w.f) / mean(p.f) - 1) < 1e-12 AS mean, abs(stddev(w.f) / stddev(p.f) - 1) < 1e-12 AS stddev, deal_count(p.f),
       abs(quantile(w.f, 0.1) / quantile(p.f, 0.1) - 1) < 1e-9 AS q10, abs(quantile(w.f, 0.9) / quantile(p.f, 0.9) - 1) < 1e-9 AS q90,
       pg_column_size(w.f) <= 4096 AS small FROM whole w, parts p;
SELECT abs(mean(f) / sum / 1 - 1) < 1e-12 AS mean, abs(variance(f) / var - 1) < 1e-12 AS variance
  FROM (SELECT forecast(amount, probability) AS f, sum(amount::float8 * probability) AS sum, sum(amount::float8 ^ 2 * probability * (1 - probability)) AS var FROM many) d;
-- to the last bit: any order, any tree, with deviations of their own, in parallel or not
WITH part AS (SELECT i % 211 AS n, forecast_with_deviation(forecast(amount, probability), 0.1 + i % 211 / 1000.0) AS f FROM many GROUP BY i % 211),
     tree AS (SELECT merge(f) AS f FROM part UNION ALL SELECT merge(f ORDER BY n DESC) FROM part UNION ALL SELECT merge(f ORDER BY n * 7919 % 211) FROM part
              UNION ALL SELECT merge(f) FROM (SELECT merge(f ORDER BY n DESC) AS f FROM part GROUP BY n % 14) p
              UNION ALL SELECT merge(f ORDER BY k DESC) FROM (SELECT n / 9 AS k, merge(f::text::salesops.forecast) AS f FROM part GROUP BY 1) p)
SELECT count(*) AS trees, count(DISTINCT (mean(f), variance(f), relative_deviation(f), quantile(f, 0.05), quantile(f, 0.5), quantile(f, 0.9), quantile(f, 0.2, 0.1), probability_at_least(f, 5e6))) AS answers FROM tree;
SELECT count(*) FILTER (WHERE pg_column_size(f) < 200) AS small_states FROM (SELECT forecast(amount, probability) AS f FROM many GROUP BY i / 3) d;
-- parallel, and as a window
SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET max_parallel_workers_per_gather = 2;
CREATE FUNCTION plan_has(query text, what text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE line text; BEGIN FOR line IN EXECUTE 'EXPLAIN ' || query LOOP IF line LIKE '%' || what || '%' THEN RETURN true; END IF; END LOOP; RETURN false; END $$;
SELECT plan_has('SELECT forecast(amount, probability) FROM many', 'Partial Aggregate') AS forecast_parallel,
       plan_has('SELECT wape(amount, amount) FROM many', 'Partial Aggregate') AS wape_parallel;
SELECT deal_count(forecast(amount, probability)), round(mean(forecast(amount, probability))::numeric, 6) FROM many;
RESET parallel_setup_cost; RESET parallel_tuple_cost; RESET min_parallel_table_scan_size; RESET max_parallel_workers_per_gather;
SELECT deal_id, mean(forecast(amount, probability) OVER (ORDER BY deal_id)), deal_count(forecast(amount, probability) OVER (ORDER BY deal_id ROWS 1 PRECEDING)) FROM deal WHERE deal_id < 5 ORDER BY 1;

-- stored, printed, read back
CREATE TABLE stored (region text, f salesops.forecast);
INSERT INTO stored SELECT region, forecast(amount, probability) FROM deal GROUP BY region;
INSERT INTO stored SELECT 'many', forecast(amount, probability) FROM many;
SELECT region, f FROM stored WHERE region <> 'many' ORDER BY 1;
SELECT mean(merge(f)) FROM stored WHERE region <> 'many';
SELECT bool_and(f::text::salesops.forecast::text = f::text) AS text_lossless, bool_and(forecast_send(f::text::salesops.forecast) = forecast_send(f)) AS binary_equal FROM stored;
CREATE TABLE stored_again (LIKE stored);
COPY stored TO PROGRAM 'cat > /tmp/salesops_forecast_type.bin' (FORMAT binary);
COPY stored_again FROM PROGRAM 'cat /tmp/salesops_forecast_type.bin; rm -f /tmp/salesops_forecast_type.bin' (FORMAT binary);
SELECT count(*) AS differ FROM (SELECT region, f::text FROM stored EXCEPT SELECT region, f::text FROM stored_again) d;
SELECT (f::text::jsonb) -> 'deals' FROM stored WHERE region = 'north';

-- the common deviation: the factor leaves what is certain alone
SELECT round(mean(f)::numeric, 6) AS mean, round(stddev(f)::numeric, 3) AS stddev, round(quantile(f, 0.5)::numeric, 1) AS median, quantile(f, 0) AS least
  FROM (SELECT '{"version":1,"deals":1001,"unknown":0,"certain":500,"common":1000,"kept":[[10,0.5,1000]]}'::salesops.forecast AS f) d;

-- accuracy
SELECT round(wape(a, p)::numeric, 6) FROM (VALUES (100, 90), (50, 65), (NULL, 1), (0, 5)) v(a, p);
SELECT wape(0, 1), wape(NULL, 1);

-- refused
SELECT forecast(1::numeric, 1.1);
SELECT forecast(1::numeric, -0.1);
SELECT forecast(1::numeric, 'NaN');
SELECT forecast('NaN'::numeric, 0.5);
SELECT forecast('Infinity'::numeric, 0.5);
SELECT forecast('-Infinity'::float8, 0.5);
SELECT forecast(1e19::numeric, 0.5);
SELECT quantile(f, 1.5) FROM stored LIMIT 1;
SELECT quantile(f, 0.5, 1) FROM stored LIMIT 1;
SELECT quantile(f, 0.5, 'NaN') FROM stored LIMIT 1;
SELECT probability_at_least(f, 'NaN') FROM stored LIMIT 1;
SELECT prediction_interval(f, 2) FROM stored LIMIT 1;
SELECT quantile(NULL, 0.5) IS NULL AS strict;
SELECT forecast_accumulate_numeric(NULL, 1, 0.5);
SELECT forecast_combine(f, f) FROM stored LIMIT 1;
SELECT ''::salesops.forecast;
SELECT '{"version":9}'::salesops.forecast;
SELECT '{"version":1,"deals":1,"unknown":0,"certain":0,"common":0,"kept":[[1,1.5,1]]}'::salesops.forecast;
SELECT '{"version":1,"deals":1,"unknown":0,"certain":0,"common":0,"kept":[[1,0.5,2]]}'::salesops.forecast;
SELECT '{"version":1,"deals":1,"unknown":0,"certain":nan,"common":0,"kept":[]}'::salesops.forecast;
SELECT wape('NaN', 1);

RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA forecast_type CASCADE;
DROP EXTENSION salesops;
