#!/usr/bin/env bash
# The pipeline's reports on a large tracked history: DEALS deals (default 1,000,000) and 3.85 changes of each, of which .6 change the amount
# only. Prints the CPU seconds (user and system; all in one process, parallel query off) and the elapsed seconds of each report, and the ratio to
# the peer: a hand-written query that works out the mean days of each stage with one lag() and one lead() over the deals' changes.
# KEEP_DATA=1 leaves the data as they are (for a second run in the same database); REPORTS="a b" runs those only. Making the data and running all takes about 6 minutes.
set -eu
deals=${DEALS:-1000000}
if [ -z "${KEEP_DATA:-}" ]; then
  psql -XqAt -v ON_ERROR_STOP=1 -v deals="$deals" <<'SQL' >/dev/null
SELECT salesops.define_stages('default', '[{"stage": "new"}, {"stage": "qualified"}, {"stage": "proposal"}, {"stage": "won", "kind": "won"}, {"stage": "lost", "kind": "lost"}]');
-- how far a deal has come (1 new .. 3 proposal, 4 closed), by its number only; a deal that closes is won in one of three
CREATE UNLOGGED TABLE fate AS
SELECT i, 'D' || i AS id, CASE WHEN i % 20 < 2 THEN 1 WHEN i % 20 < 4 THEN 2 WHEN i % 20 < 6 THEN 3 ELSE 4 END AS reached, i % 3 = 0 AS won,
       timestamptz '2024-01-01 00:00Z' + make_interval(secs => 86400 * 1000.0 * i / :deals) AS created_at
  FROM generate_series(1, :deals) i;
CREATE TABLE deal (id text PRIMARY KEY, stage text, amount numeric, close_date date, created_at timestamptz, owner_id text);
INSERT INTO deal
SELECT f.id, (ARRAY['new', 'qualified', 'proposal', CASE WHEN f.won THEN 'won' ELSE 'lost' END])[f.reached], 1000 + f.i % 5000,
       (f.created_at + interval '90 days')::date, f.created_at, 'R' || f.i % 100
  FROM fate f;
SELECT count(*) FROM salesops.attach('opportunity', 'deal', '{"opportunity_id": "id"}');
SELECT salesops.track_stage_changes('deal');
-- written as time goes by, so the changes of a deal lie far apart
INSERT INTO salesops.tracked_stage_change (relation, opportunity_id, stage, previous_stage, entered_at, amount, close_date)
SELECT 'deal'::regclass, c.* FROM (
	SELECT f.id, s.stage, s.before, f.created_at + make_interval(hours => s.n * (20 + (f.i::bigint * 7919 % 400)::int)) AS at, 1000 + f.i % 5000 - s.less, (f.created_at + interval '90 days')::date
	  FROM fate f
	 CROSS JOIN LATERAL (VALUES (1, 'new', NULL, 0, 100), (2, 'qualified', 'new', 1, 100), (3, 'proposal', 'qualified', 3, 100),
	                            (4, CASE WHEN f.won THEN 'won' ELSE 'lost' END, 'proposal', 6, 0)) s (reached, stage, before, n, less)
	 WHERE s.reached <= f.reached
	UNION ALL
	SELECT f.id, 'qualified', 'qualified', f.created_at + make_interval(hours => 2 * (20 + (f.i::bigint * 7919 % 400)::int)), 1000 + f.i % 5000, (f.created_at + interval '90 days')::date
	  FROM fate f WHERE f.reached >= 2 AND f.i % 20 BETWEEN 3 AND 11 ) c
 WHERE c.at < '2026-11-01' ORDER BY c.at;
VACUUM ANALYZE deal;
VACUUM ANALYZE salesops.tracked_stage_change;
SQL
fi
psql -XqAtc "SELECT format('%s deals, %s tracked changes', (SELECT count(*) FROM deal), (SELECT count(*) FROM salesops.tracked_stage_change))"
# label, query
run() {
  psql -XqAt -c "SET max_parallel_workers_per_gather = 0" -c "SET jit = off" -c "SET log_statement_stats = on" -c "SET client_min_messages = log" \
    -c "SELECT count(x) FROM ($2) x" 2>&1 |
    awk -v l="$1" '$2 !~ /^\[/ && $4 == "user," { c = $2 + $5; e = $8 } /ERROR/ { print > "/dev/stderr" } END { print l, c, e }'
}
at="timestamptz '2026-10-01Z'"
# one line as soon as its report is done: awk would wait for all of them
line() {
  local label=$1 cpu elapsed
  read -r label cpu elapsed < <(run "$1" "$2")
  [ -n "${peer:-}" ] || peer=$cpu
  awk -v l="$label" -v c="$cpu" -v e="$elapsed" -v p="$peer" 'BEGIN { printf "%-20s %10.1f %10.1f %10.2f\n", l, c, e, c / p }'
}
printf '%-20s %10s %10s %10s\n' '' 'CPU, s' 'elapsed, s' 'to peer'
line hand_written "SELECT s.stage, avg(s.left_at - s.entered_at) FROM (SELECT c.*, lead(c.entered_at) OVER w AS left_at
    FROM (SELECT h.*, lag(h.stage) OVER v AS before FROM salesops.opportunity_stage_change h WINDOW v AS (PARTITION BY h.opportunity_id ORDER BY h.entered_at, h.change_number)) c
   WHERE c.before IS DISTINCT FROM c.stage WINDOW w AS (PARTITION BY c.opportunity_id ORDER BY c.entered_at, c.change_number)) s GROUP BY 1"
for r in ${REPORTS:-pipeline_as_of stage_spells pipeline_by_stage stage_velocity stage_conversion pipeline_bottleneck sales_velocity stale_opportunity pipeline_hygiene}; do
  case $r in
    pipeline_as_of | stage_spells) line "$r" "SELECT * FROM salesops.$r($at)" ;;
    *) line "$r" "SELECT * FROM salesops.$r" ;;
  esac
done
