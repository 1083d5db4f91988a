#!/usr/bin/env bash
# What watch() costs the writer, and how soon a commit is answered: ratios within one run, interleaved.
# Use: test/bench/worker_queue.sh [SECONDS of the latency part, default 60]
# Peers: the same table unwatched; the usual hand-made queue, a PL/pgSQL row trigger that inserts into a table.
set -eu
cd "$(dirname "$0")/../.."
seconds=${1:-60}
make -s -j2 all dest >/dev/null
work=$(mktemp -d "${TMPDIR:-/tmp}/salesops-bench.XXXXXX")
chmod 755 "$work"
trap 'tools/cluster stop "$work/c" immediate; rm -rf "$work"' EXIT
tools/cluster start "$work/c" "$PWD/build/dest" shared_buffers=512MB max_wal_size=4GB checkpoint_timeout=1h autovacuum=off
export PGHOST=$work/c PGPORT=5432 PGUSER=postgres PGDATABASE=postgres PGOPTIONS='-c client_min_messages=warning'
sql() { psql -XqAt -v ON_ERROR_STOP=1 -c "$1"; }
ms() { psql -XAt -c '\timing on' -c "$1" | sed -n 's/^Time: \([0-9.]*\) ms.*/\1/p' | tail -1; }

sql "CREATE EXTENSION salesops" >/dev/null
sql "SELECT salesops.stop_worker()" >/dev/null
sql "CREATE TABLE handmade_queue (key text);
     CREATE FUNCTION handmade() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO handmade_queue VALUES (NEW.id::text); RETURN NULL; END'"
for shape in pk index; do
  for way in none watch handmade; do
    t=${shape}_$way
    sql "CREATE TABLE $t (id int PRIMARY KEY, a int, b text);
         INSERT INTO $t SELECT i, i, md5(i::text) FROM generate_series(1, 200000) i"
    if [ $shape = index ]; then sql "CREATE INDEX ON $t (a)"; fi
    if [ $way = watch ]; then sql "SELECT salesops.watch('$t', 'lead')" >/dev/null; fi
    if [ $way = handmade ]; then sql "CREATE TRIGGER q AFTER INSERT OR UPDATE ON $t FOR EACH ROW EXECUTE FUNCTION handmade()"; fi
  done
done
sql "VACUUM ANALYZE"

echo "UPDATE of 200,000 rows, best of 7, interleaved"
for shape in pk index; do
  : >"$work/times"
  for _ in 1 2 3 4 5 6 7; do
    for way in none watch handmade; do
      sql "CHECKPOINT"
      echo "$way $(ms "UPDATE ${shape}_$way SET a = a + 1")" >>"$work/times"
      sql "VACUUM ${shape}_$way"
      sql "TRUNCATE salesops.change_batch, handmade_queue"
    done
  done
  sort -k2n "$work/times" | awk -v shape=$shape '!($1 in best) {best[$1] = $2}
    END {printf "  %-5s unwatched %.0f ms, watch %.0f ms (%.3f), hand-made row trigger %.0f ms (%.3f)\n", shape, best["none"], best["watch"],
         best["watch"] / best["none"], best["handmade"], best["handmade"] / best["none"]}'
done

echo "single-row inserts, CPU of the backend a row in microseconds, 20,000 a turn, best of 5"
cpu() { # user + system time of one backend for the statements, from its own /proc entry
  psql -XqAt <<SQL
SELECT pg_backend_pid() AS pid \gset
\setenv PID :pid
DO \$\$BEGIN FOR i IN 1..2000 LOOP INSERT INTO $1 VALUES (i + 300000 + $2 * 100000, i, 'x'); END LOOP; END\$\$;
\! awk '{print \$14 + \$15}' /proc/\$PID/stat
DO \$\$BEGIN FOR i IN 1..20000 LOOP INSERT INTO $1 VALUES (i + 310000 + $2 * 100000, i, 'x'); END LOOP; END\$\$;
\! awk '{print \$14 + \$15}' /proc/\$PID/stat
SQL
}
: >"$work/times"
for turn in 1 2 3 4 5; do
  for way in none watch handmade; do
    cpu "pk_$way" "$turn" | tr '\n' ' ' | awk -v way=$way '{printf "%s %.2f\n", way, ($2 - $1) * 10000 / 20000}' >>"$work/times"
  done
done
sort -k2n "$work/times" | awk '!($1 in best) {best[$1] = $2} END {printf "  unwatched %.1f, watch %.1f (+%.1f), hand-made row trigger %.1f (+%.1f); clock ticks of 10 ms: +-0.5\n",
  best["none"], best["watch"], best["watch"] - best["none"], best["handmade"], best["handmade"] - best["none"]}'

echo "from commit to the worker's transaction, and from commit of a row to its recomputed row, 200 inserts a second for $seconds s"
sql "TRUNCATE salesops.change_batch; SELECT salesops.unwatch('pk_watch'); SELECT salesops.unwatch('index_watch')" >/dev/null
sql "CREATE TABLE lead (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz DEFAULT clock_timestamp());
     CREATE TABLE score (key text PRIMARY KEY, at timestamptz);
     DELETE FROM salesops.refresh_command;
     INSERT INTO salesops.refresh_command VALUES ('lead', 'bench', 1,
       'WITH done AS (INSERT INTO public.score SELECT k, clock_timestamp() FROM unnest(\$1) k ON CONFLICT (key) DO UPDATE SET at = clock_timestamp()
        RETURNING 1) SELECT count(*) FROM done');
     SELECT salesops.watch('lead', 'lead');
     SELECT salesops.create_job('refresh leads', 'every minute', 'SELECT salesops.refresh_changed(''lead'')', '{\"on_change\": \"lead\", \"retention\": \"1 hour\"}');
     SELECT salesops.start_worker()" >/dev/null
psql -Xq -c "ALTER SYSTEM SET autovacuum = on" -c "SELECT pg_reload_conf()" >/dev/null
echo "INSERT INTO lead DEFAULT VALUES;" >"$work/insert.sql"
chmod 644 "$work/insert.sql"
pgbench -n -c 4 -j 1 -R 200 -T "$seconds" -f "$work/insert.sql" | grep -E 'tps|schedule lag' | sed 's/^/  pgbench: /'
echo "  keys left in the queue at the end: $(sql "SELECT count(*) FROM salesops.change_queue")"
sleep 2
sql "SELECT format('  wakes %s: p50 %s us, p99 %s us', wakes, latency_p50, latency_p99) FROM salesops.worker_status()"
sql "SELECT format('  rows %s, scored %s: median %s ms, p99 %s ms', count(*), count(s.key),
            round((percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM s.at - l.at)) * 1000)::numeric, 1),
            round((percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM s.at - l.at)) * 1000)::numeric, 1))
       FROM lead l LEFT JOIN score s ON s.key = l.id::text"
sql "SELECT format('  runs %s, not succeeded %s', count(*), count(*) FILTER (WHERE outcome <> 'succeeded')) FROM salesops.job_run"
