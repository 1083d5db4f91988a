#!/usr/bin/env bash
# Memory of the backend that chooses a matcher's comparisons and rules, trains one, and finds duplicates and clusters among PEOPLE records
# (default 1000000), by maintenance_work_mem: the peak of its resident memory (VmHWM of /proc) without the shared buffers that it touched,
# seconds, and whether the answers are the same.
set -eu
cd "$(dirname "$0")/../.."
people=${PEOPLE:-1000000}
psql -Xq -v ON_ERROR_STOP=1 -v people="$people" -f test/bench/people.sql
psql -Xq -o /dev/null -v ON_ERROR_STOP=1 -f test/bench/matcher.sql
measure() { # maintenance_work_mem, query
  psql -XqAt -v ON_ERROR_STOP=1 <<SQL
SET maintenance_work_mem = '$1';
SELECT pg_backend_pid() AS pid, clock_timestamp() AS start \gset
\setenv PID :pid
$2 \gset
SELECT round(extract(epoch FROM clock_timestamp() - :'start')::numeric, 1) AS seconds \gset
\set line '  maintenance_work_mem $1, $3: ' :seconds ' s, answer ' :answer ','
\setenv LINE :line
\! awk -v line="\$LINE" '/^VmHWM/ {hwm = \$2} /^RssShmem/ {shared = \$2} END {printf "%s peak %d MB besides %d MB of shared buffers\n", line, (hwm - shared) / 1024, shared / 1024}' /proc/\$PID/status
SQL
}
echo "$people people"
for memory in ${MEMORY:-512MB 64MB}; do
  measure "$memory" "SELECT salesops.create_matcher('chosen by $memory', 'bench_people', 'id', options => '{\"exclude\": [\"person\"]}') \\g /dev/null
SELECT md5(comparisons::text || blocking::text) AS answer FROM salesops.matcher WHERE matcher = 'chosen by $memory'" create_matcher
done
for memory in ${MEMORY:-512MB 64MB}; do
  measure "$memory" "SELECT count(*) AS answer FROM salesops.train_matcher('people')" train_matcher
done
# one model for what follows: training under less memory fits a smaller sample of the candidates
psql -Xq -v ON_ERROR_STOP=1 -c "SET maintenance_work_mem = '512MB'" -c "SELECT count(*) FROM salesops.train_matcher('people')" >/dev/null
for memory in ${MEMORY:-512MB 64MB}; do
  measure "$memory" "SELECT count(*) || '/' || sum(hashtextextended(left_key || ' ' || right_key || ' ' || weight, 0)::numeric) AS answer FROM salesops.find_duplicates('people')" find_duplicates
  measure "$memory" "SELECT count(*) || '/' || sum(hashtextextended(cluster_id || ' ' || key, 0)::numeric) AS answer FROM salesops.find_clusters('people')" find_clusters
done
