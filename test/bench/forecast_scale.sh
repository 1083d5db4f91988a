#!/usr/bin/env bash
# Forecasts on a large history: SALESOPS_DEALS deals (default 100,000) in five years and three stage changes of each, made by SQL. Prints for each
# call the CPU seconds of its backend (user and system; no parallel query, so neither waiting nor other processes count), the memory that it
# took beyond what a backend has that has read the same tables, in all and a deal, and the ratio of its CPU to that of the peer: a plain aggregate over the
# same tables in the same run (won and lost deals and their amounts by month and owner, joined to the latest stage change of each deal).
# CALLS="a b" runs those only; KEEP_DATA=1 leaves the data as they are. About a minute and a half at the default on an idle machine.
set -eu
deals=${SALESOPS_DEALS:-100000}
if [ -z "${KEEP_DATA:-}" ]; then
  psql -XqAt -v ON_ERROR_STOP=1 -v deals="$deals" <<'SQL' >/dev/null
CREATE FUNCTION chance(i bigint, what text) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
  $$ SELECT (hashint8extended(i, hashtextextended(what, 0)) >> 11 & ((1::bigint << 52) - 1)) / 4503599627370496.0 $$;
-- cycles are lognormal about 20, 45 and 90 days, win rates .35, .25 and .15 by type; the history ends today
CREATE UNLOGGED TABLE fate AS
SELECT i, 'D' || lpad(i::text, 8, '0') AS id, k, created, created + days AS closed, days, chance(i, 'won') < (ARRAY[.35, .25, .15])[k] AS won,
       round(((ARRAY[2000, 9000, 40000])[k] * exp(sqrt(-2 * ln(1 - chance(i, 'a'))) * cos(2 * pi() * chance(i, 'b')) * 0.6))::numeric, 2) AS amount
  FROM (SELECT g.i, g.k, (current_date - 1826)::timestamptz + make_interval(secs => 1826 * 86400.0 * g.i / :deals) AS created,
               make_interval(secs => (ARRAY[20, 45, 90])[g.k] * 86400.0 * exp(sqrt(-2 * ln(1 - chance(i, 'c'))) * cos(2 * pi() * chance(i, 'd')) * 0.7)) AS days
          FROM (SELECT i, 1 + floor(chance(i, 'kind') * 3)::int AS k FROM generate_series(1, :deals::bigint) i) g) d;
CREATE TABLE deal (id text PRIMARY KEY, stage text, amount numeric, created_at timestamptz, closed_at timestamptz, close_date date, owner_id text,
                   account_id text, name text, type text, source text, forecast_category text, updated_at timestamptz);
INSERT INTO deal
SELECT f.id, CASE WHEN f.closed <= now() THEN CASE WHEN f.won THEN 'Won' ELSE 'Lost' END WHEN f.created + f.days * 0.5 <= now() THEN 'Proposal' ELSE 'Qualified' END,
       f.amount, f.created, CASE WHEN f.closed <= now() THEN f.closed END, (f.created + f.days * (0.8 + 0.4 * chance(i, 'date')))::date,
       'R' || lpad((1 + floor(chance(i, 'rep') * 40)::int)::text, 2, '0'), 'A' || floor(chance(i, 'account') * :deals / 5)::int, 'Deal ' || i,
       (ARRAY['Small', 'Middle', 'Large'])[k], (ARRAY['Web', 'Partner', 'Outbound', 'Event'])[1 + floor(chance(i, 'source') * 4)::int],
       (ARRAY['Commit', 'Best Case', 'Pipeline'])[1 + floor(chance(i, 'category') * 3)::int], least(now(), f.created + f.days * 0.5)
  FROM fate f;
CREATE TABLE change (opportunity_id text, stage text, entered_at timestamptz, amount numeric);
INSERT INTO change
SELECT * FROM (SELECT f.id, s.stage, f.created + f.days * s.part AS at, round(f.amount * s.worth, 2)
                 FROM fate f CROSS JOIN LATERAL (VALUES ('Qualified', 0.0, 0.9), ('Proposal', 0.5, 1.0), (CASE WHEN f.won THEN 'Won' ELSE 'Lost' END, 1.0, 1.0)) s(stage, part, worth)) c
 WHERE c.at <= now() ORDER BY c.at;
CREATE INDEX ON change (opportunity_id, entered_at);
CREATE TABLE rep AS SELECT 'R' || lpad(r::text, 2, '0') AS rep_id, 'M' || r % 5 AS manager_id,
       (ARRAY['North', 'South', 'East', 'West', 'Centre'])[1 + r % 5] AS region, true AS is_active FROM generate_series(1, 40) r;
DROP TABLE fate;
VACUUM ANALYZE deal; VACUUM ANALYZE change; ANALYZE rep;
SELECT count(*) FROM salesops.attach('opportunity', 'deal', '{"opportunity_id": "id"}');
SELECT count(*) FROM salesops.attach('opportunity_stage_change', 'change');
SELECT count(*) FROM salesops.attach('sales_rep', 'rep');
SELECT salesops.define_stages('default', '[{"stage": "Qualified", "ordinal": 1, "kind": "open"}, {"stage": "Proposal", "ordinal": 2, "kind": "open"},
  {"stage": "Won", "ordinal": 3, "kind": "won"}, {"stage": "Lost", "ordinal": 4, "kind": "lost"}]');
SQL
fi
psql -XqAtc "SELECT format('%s deals, %s of them open, %s stage changes', (SELECT count(*) FROM deal), (SELECT count(*) FROM deal WHERE closed_at IS NULL), (SELECT count(*) FROM change))"
peer_sql="SELECT d.owner_id, date_trunc('month', d.closed_at), c.stage, count(*), sum(d.amount), avg(d.closed_at - d.created_at)
  FROM deal d JOIN (SELECT DISTINCT ON (opportunity_id) opportunity_id, stage FROM change ORDER BY opportunity_id, entered_at DESC) c ON c.opportunity_id = d.id GROUP BY 1, 2, 3"
# label, query: CPU seconds and kilobytes of the second of two statements; the first reads the tables, so that shared buffers do not count
run() {
  psql -XqAt -c "SET max_parallel_workers_per_gather = 0" -c "SET jit = off" -c "SELECT salesops.mean(salesops.forecast(1.0, 0.5))" \
    -c "SELECT count(d.*) FROM deal d" -c "SELECT count(c.*) FROM change c" \
    -c "SET log_statement_stats = on" -c "SET client_min_messages = log" -c "SELECT 1" -c "SELECT count(x) FROM ($2) x" 2>&1 |
    awk -v l="$1" '$2 !~ /^\[/ && $4 == "user," { c = $2 + $5 } /max resident size/ { before = now; now = $2 } /ERROR/ { print > "/dev/stderr" } END { print l, c, now - before }'
}
line() {
  local label=$1 cpu memory
  read -r label cpu memory < <(run "$1" "$2")
  [ -n "${peer:-}" ] || peer=$cpu
  awk -v l="$label" -v c="$cpu" -v m="$memory" -v p="$peer" -v n="$deals" 'BEGIN { printf "%-24s %8.2f %8.0f %8.0f %8.1f\n", l, c, m / 1024, m * 1024 / n, c / p }'
}
period="daterange(current_date, current_date + 90)"
printf '%-24s %8s %8s %8s %8s\n' '' 'CPU, s' 'MB' 'B/deal' 'to peer'
line plain_aggregate "$peer_sql"
for call in ${CALLS:-bookings bookings_by_owner bookings_by_region_type bookings_by_account deals risk team simulate chance_of_1 chances_of_1000 snapshot_of_yesterday snapshot change backtest_20_weeks train stored_chance_of_1 stored_chances_of_1000}; do
  case $call in
    bookings) line $call "SELECT * FROM salesops.forecast_bookings($period)" ;;
    bookings_by_owner) line $call "SELECT * FROM salesops.forecast_bookings($period, '{owner_id}')" ;;
    bookings_by_region_type) line $call "SELECT * FROM salesops.forecast_bookings($period, '{region,type}')" ;;
    bookings_by_account) line $call "SELECT * FROM salesops.forecast_bookings($period, '{account_id}')" ;;
    deals) line $call "SELECT * FROM salesops.forecast_deals()" ;;
    risk) line $call "SELECT * FROM salesops.opportunity_risk()" ;;
    team) line $call "SELECT * FROM salesops.forecast_team($period)" ;;
    simulate) line $call "SELECT * FROM salesops.simulate_forecast('{\"win_rate\": 1.1}', $period)" ;;
    chance_of_1 | stored_chance_of_1) line $call "SELECT salesops.win_probability(max(id), '30 days') FROM deal" ;;
    chances_of_1000 | stored_chances_of_1000) line $call "SELECT salesops.win_probability(id, '30 days') FROM (SELECT id FROM deal ORDER BY id DESC LIMIT 1000) d" ;;
    snapshot_of_yesterday) line $call "SELECT salesops.take_forecast_snapshot(now() - interval '1 day')" ;;
    snapshot) line $call "SELECT salesops.take_forecast_snapshot()" ;;
    change) line $call "SELECT * FROM salesops.forecast_change(now() - interval '12 hours', now())" ;;
    backtest_20_weeks) line $call "SELECT * FROM salesops.backtest_forecast(current_date - 230, current_date - 97, '7 days', '{30 days,90 days}')" ;;
    train) line $call "SELECT salesops.train_win_model()" ;;
  esac
done
