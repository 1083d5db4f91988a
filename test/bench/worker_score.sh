#!/usr/bin/env bash
# From the commit of a lead to the commit of its new score by a trained model, at a steady rate of inserts, and whether the queue keeps up.
# Use: test/bench/worker_score.sh [SECONDS, default 60] [RATE a second, default 200] [LEADS there before, default 20000]
# Commit times are the server's own (track_commit_timestamp). Peer: the same refresh called by a client every second, the most
# often that a scheduler outside does it (pg_cron: every minute; from 1.5 on, every second).
set -eu
cd "$(dirname "$0")/../.."
seconds=${1:-60}
rate=${2:-200}
leads=${3:-20000}
make -s -j2 all dest >/dev/null
work=$(mktemp -d "${TMPDIR:-/tmp}/salesops-bench.XXXXXX")
chmod 755 "$work"
trap 'tools/cluster stop "$work/c" immediate; rm -rf "$work"' EXIT
tools/cluster start "$work/c" "$PWD/build/dest" shared_buffers=512MB max_wal_size=4GB checkpoint_timeout=1h max_worker_processes=24 track_commit_timestamp=on
export PGHOST=$work/c PGPORT=5432 PGUSER=postgres PGDATABASE=postgres PGOPTIONS='-c client_min_messages=warning'
sql() { psql -XqAt -v ON_ERROR_STOP=1 -c "$1"; }

sql "CREATE EXTENSION salesops" >/dev/null
sql "SELECT setseed(0.42);
     CREATE TABLE lead (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, created_at timestamptz NOT NULL DEFAULT clock_timestamp(), source text,
       industry text, country text, employees int, title text, converted_at timestamptz);
     CREATE INDEX ON lead ((id::text));
     CREATE FUNCTION some_lead() RETURNS lead LANGUAGE sql VOLATILE AS \$\$
       SELECT NULL::bigint, clock_timestamp(), (ARRAY['web', 'fair', 'cold', 'partner', 'ad'])[1 + floor(random() * 5)],
              (ARRAY['retail', 'health', 'steel', 'software'])[1 + floor(random() * 4)], (ARRAY['DE', 'FR', 'US', 'JP'])[1 + floor(random() * 4)],
              exp(random() * 9)::int, (ARRAY['head of sales', 'engineer', 'chief officer', 'intern'])[1 + floor(random() * 4)], NULL::timestamptz \$\$;
     INSERT INTO lead (created_at, source, industry, country, employees, title)
       SELECT now() - i * interval '10 minutes', l.source, l.industry, l.country, l.employees, l.title
         FROM generate_series(1, $leads) i, LATERAL (SELECT (some_lead()).* WHERE i > 0) l;
     UPDATE lead SET converted_at = created_at + interval '9 days'
      WHERE random() < 0.05 + CASE source WHEN 'partner' THEN 0.3 WHEN 'web' THEN 0.1 ELSE 0 END + CASE WHEN employees > 500 THEN 0.2 ELSE 0 END" >/dev/null
sql "SELECT * FROM salesops.attach('lead', 'lead', '{\"lead_id\": \"id\"}');
     SELECT salesops.watch('lead', 'lead');
     SELECT salesops.create_scoring_rule('size', 'fit', 'employees > 500', 20)" >/dev/null
sql "SELECT format('model: %s, %s rows, AUC %s', method, rows, round(roc_auc::numeric, 3))
       FROM salesops.train_model('lead', 'SELECT *, converted_at IS NOT NULL AS converted FROM salesops.lead ORDER BY created_at DESC LIMIT 3000', 'converted')"
sql "SELECT salesops.score_leads(); TRUNCATE salesops.change_batch" >/dev/null
sql "VACUUM ANALYZE"
echo "INSERT INTO lead (source, industry, country, employees, title) SELECT source, industry, country, employees, title FROM some_lead();" >"$work/insert.sql"
chmod 644 "$work/insert.sql"

# Insert at the rate and tell how the scores followed: $1 a name, $2 the seconds
measure() {
  local from
  from=$(sql "SELECT max(id) FROM lead")
  pgbench -n -c 4 -j 1 -R "$rate" -T "$2" -f "$work/insert.sql" | grep -E '^tps|schedule lag' | sed "s/^/  $1, pgbench: /"
  echo "  $1: keys in the queue at the end $(sql "SELECT count(*) FROM salesops.change_queue")"
  sleep 3
  sql "SELECT format('  $1: %s leads in %s s, %s scored: median %s ms, p99 %s ms, of the last quarter median %s ms', count(*), $2, count(s.ms),
              round((percentile_cont(0.5) WITHIN GROUP (ORDER BY ms))::numeric, 1), round((percentile_cont(0.99) WITHIN GROUP (ORDER BY ms))::numeric, 1),
              round((percentile_cont(0.5) WITHIN GROUP (ORDER BY ms) FILTER (WHERE part = 4))::numeric, 1))
         FROM (SELECT ntile(4) OVER (ORDER BY l.id) AS part,
                      extract(epoch FROM pg_xact_commit_timestamp(s.xmin) - pg_xact_commit_timestamp(l.xmin)) * 1000 AS ms
                 FROM lead l LEFT JOIN salesops.lead_score s ON s.lead_id = l.id::text WHERE l.id > $from) s"
}
sql "SELECT salesops.create_job('refresh leads', 'every minute', 'SELECT salesops.refresh_changed(''lead'')', '{\"on_change\": \"lead\", \"retention\": \"1 hour\"}');
     SELECT salesops.start_worker()" >/dev/null
measure worker "$seconds"
sql "SELECT format('  worker: %s runs, %s not succeeded; woken in p50 %s us, p99 %s us', count(*), count(*) FILTER (WHERE outcome <> 'succeeded'),
            min(s.latency_p50), min(s.latency_p99)) FROM salesops.job_run, salesops.worker_status() s"
sql "SELECT DISTINCT '  worker: ' || error FROM salesops.job_run WHERE error IS NOT NULL"
sql "SELECT salesops.drop_job('refresh leads')" >/dev/null
for _ in $(seq $((seconds / 3 + 4))); do sql "SELECT salesops.refresh_changed('lead')" >/dev/null; sleep 1; done &
poller=$!
measure "a client that polls every second" $((seconds / 3))
wait $poller
