-- The forecast type leaves the server: by postgres_fdw, aggregated there or here, and by COPY BINARY; what comes back is the same.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS salesops CASCADE;
DROP SCHEMA IF EXISTS forecast_fdw CASCADE;
CREATE EXTENSION salesops;
CREATE EXTENSION IF NOT EXISTS postgres_fdw;
CREATE SCHEMA forecast_fdw;
SET search_path = forecast_fdw, salesops;
RESET client_min_messages;
DO $$
BEGIN
  EXECUTE format('CREATE SERVER forecast_loopback FOREIGN DATA WRAPPER postgres_fdw OPTIONS (dbname %L, host %L, port %L, extensions %L)', current_database(),
                 split_part(current_setting('unix_socket_directories'), ',', 1), current_setting('port'), 'salesops');
END
$$;
CREATE USER MAPPING FOR CURRENT_USER SERVER forecast_loopback;
CREATE TABLE deal AS SELECT i % 3 AS team, (100 + i * 37 % 5000)::numeric - CASE WHEN i % 10 = 0 THEN 3000 ELSE 0 END AS amount, (i % 19) / 20.0::float8 AS probability
  FROM generate_series(1, 600) i;
CREATE TABLE kept AS SELECT team, forecast(amount, probability) AS f FROM deal GROUP BY team;
CREATE FOREIGN TABLE far_deal (team integer, amount numeric, probability float8) SERVER forecast_loopback OPTIONS (schema_name 'forecast_fdw', table_name 'deal');
CREATE FOREIGN TABLE far_kept (team integer, f forecast) SERVER forecast_loopback OPTIONS (schema_name 'forecast_fdw', table_name 'kept');

-- the whole aggregate is calculated where the deals are
EXPLAIN (VERBOSE, COSTS OFF) SELECT team, forecast(amount, probability) FROM far_deal GROUP BY team;
EXPLAIN (VERBOSE, COSTS OFF) SELECT merge(f) FROM far_kept;
SELECT count(*) AS teams, bool_and(g.f::text = k.f::text) AS same FROM (SELECT team, forecast(amount, probability) AS f FROM far_deal GROUP BY team) g JOIN kept k USING (team);
SELECT count(*) AS teams, bool_and(g.f::text = k.f::text) AS same FROM far_kept g JOIN kept k USING (team);
-- values of several servers, merged here, are the forecast of all deals
SELECT deal_count(m) = deal_count(a) AS deals, abs(mean(m) / mean(a) - 1) < 1e-12 AS mean, abs(quantile(m, 0.1) / quantile(a, 0.1) - 1) < 1e-12 AS low,
       abs(quantile(m, 0.9) / quantile(a, 0.9) - 1) < 1e-12 AS high
  FROM (SELECT merge(f) AS m FROM far_kept) x, (SELECT forecast(amount, probability) AS a FROM deal) y;
INSERT INTO far_kept SELECT 9, forecast(amount, probability) FROM far_deal;
SELECT k.f::text = (SELECT forecast(amount, probability)::text FROM deal) AS sent FROM kept k WHERE team = 9;

-- binary, out and in
CREATE TABLE back (LIKE kept);
DO $$
DECLARE
  file text := current_setting('data_directory') || '/forecast_fdw.binary';
BEGIN
  EXECUTE format('COPY kept TO %L (FORMAT binary)', file);
  EXECUTE format('COPY back FROM %L (FORMAT binary)', file);
END
$$;
SELECT count(*) AS rows, bool_and(k.f::text = b.f::text AND quantile(k.f, 0.3) = quantile(b.f, 0.3)) AS same FROM kept k JOIN back b USING (team);

RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA forecast_fdw CASCADE;
DROP SERVER forecast_loopback CASCADE;
DROP EXTENSION postgres_fdw;
DROP EXTENSION salesops;
