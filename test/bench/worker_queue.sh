#!/usr/bin/env bash
# What watch() costs the writer, and how soon a commit is answered: ratios within one run, interleaved.
# Use: test/bench/worker_queue.sh [SECONDS of the latency part, default 60; 0: none]. TURNS: pairs of the bulk part, default 15; SINGLES: of the single rows, default 31
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

sql "CREATE EXTENSION salesops" >/dev/null
sql "SELECT salesops.stop_worker()" >/dev/null
sql "CREATE TABLE handmade_queue (key text);
     CREATE FUNCTION handmade() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO handmade_queue VALUES (NEW.id::text); RETURN NULL; END'"
for shape in pk index; do
  sql "CREATE TABLE $shape (id int PRIMARY KEY, a int, b text);
       INSERT INTO $shape SELECT i, i, md5(i::text) FROM generate_series(1, 200000) i"
  if [ $shape = index ]; then sql "CREATE INDEX ON $shape (a)"; fi
  sql "SELECT salesops.watch('$shape', 'lead')" >/dev/null
  sql "CREATE TRIGGER handmade AFTER INSERT OR UPDATE ON $shape FOR EACH ROW EXECUTE FUNCTION handmade()"
done
for way in none watch handmade; do
  sql "CREATE TABLE single_$way (id int PRIMARY KEY, a int, b text)"
done
sql "SELECT salesops.watch('single_watch', 'lead')" >/dev/null
sql "CREATE TRIGGER handmade AFTER INSERT OR UPDATE ON single_handmade FOR EACH ROW EXECUTE FUNCTION handmade()"
sql "VACUUM ANALYZE"

# elapsed and CPU (user and system) milliseconds of one statement, as the server counts them
spent() {
  PGOPTIONS='-c client_min_messages=log -c log_statement_stats=on' psql -XqAt -c "$1" 2>&1 |
    awk '/s user,.*s system,.*s elapsed/ && !n++ {print $8 * 1000, ($2 + $5) * 1000}'
}
# The same table each time, with one kind of triggers on, and in the same state: the update is rolled back and what it left is vacuumed away.
# (Updates that stay find the rows now in the one half of the table, now in the other: the pairs' ratios scattered by a quarter then.)
turn() {
  sql "ALTER TABLE $1 DISABLE TRIGGER USER"
  [ "$2" != handmade ] || sql "ALTER TABLE $1 ENABLE TRIGGER handmade"
  [ "$2" != watch ] || sql "ALTER TABLE $1 ENABLE TRIGGER USER; ALTER TABLE $1 DISABLE TRIGGER handmade"
  echo "$2 $(spent "BEGIN; UPDATE $1 SET a = a + 1; ROLLBACK")"
  sql "VACUUM $1"
  sql "TRUNCATE salesops.change_batch, handmade_queue"
}
# What follows is in pairs, one with and one without, one right after the other, in turn the one first and the other: the median of the pairs'
# ratios (or differences) is told, with its quartiles, so that what the machine does meanwhile falls on both.
quartiles() { sort -n | awk -v form="$1" '{v[NR] = $1} function q(p,  i) {i = 1 + (NR - 1) * p; return v[int(i)] + (i - int(i)) * (v[int(i) + (i > int(i))] - v[int(i)])}
  END {printf form " (quartiles " form " to " form ")", q(.5), q(.25), q(.75)}'; }
turns=${TURNS:-15}
echo "UPDATE of 200,000 rows, one table, triggers on and off in turn; medians of $turns pairs (the hand-made queue: of a third of that)"
for shape in pk index; do
  turn $shape none >/dev/null
  for n in $(seq "$turns"); do
    if [ $((n % 2)) = 0 ]; then one=none two=watch; else one=watch two=none; fi
    turn $shape $one
    turn $shape $two
    if [ $((n % 3)) = 0 ]; then turn $shape handmade; fi
  done >"$work/times"
  for column in 3 2; do
    [ $column = 3 ] && what=CPU || what=elapsed
    base=$(awk -v c=$column '$1 == "none" {print $c}' "$work/times" | sort -n | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}')
    pairs() { awk -v c=$column -v way="$1" '$1 == "none" {n = last = $c} $1 == "watch" {w = $c} $1 == "handmade" && way == $1 {print $c / last}
      way == "watch" && n && w {print w / n; n = w = 0}' "$work/times"; }
    printf '  %-5s %-7s unwatched %.0f ms; watch %s; hand-made row trigger %s\n' $shape $what "$base" "$(pairs watch | quartiles %.3f)" "$(pairs handmade | quartiles %.2f)"
  done
done

singles=${SINGLES:-31}
echo "single rows, CPU a row in microseconds above the same on an unwatched table, 5,000 a turn, medians of $singles pairs"
for what in insert update 'insert and commit' 'update and commit'; do
  for n in $(seq 0 "$singles"); do
    ways="none watch handmade"
    [ $((n % 2)) = 0 ] || ways="handmade watch none"
    for way in $ways; do
      case $what in
        insert*) statement="INSERT INTO single_$way VALUES (i + $n * 10000, i, 'x')";;
        *) statement="UPDATE single_$way SET a = a + 1 WHERE id = i + $n * 10000";;
      esac
      case $what in *commit) statement="$statement; COMMIT";; esac
      echo "$n $way $(spent "DO \$\$BEGIN FOR i IN 1..5000 LOOP $statement; END LOOP; END\$\$")"
    done
    sql "TRUNCATE salesops.change_batch, handmade_queue"
  done | awk '$1 > 0' >"$work/times"
  case $what in insert*) sql "VACUUM ANALYZE";; esac
  [ "$what" != update ] || sql "TRUNCATE single_none, single_watch, single_handmade, salesops.change_batch, handmade_queue"
  above() { awk -v way="$1" '$2 == "none" {none[$1] = $4 / 5} $2 == way {with[$1] = $4 / 5} END {for (n in with) print with[n] - none[n]}' "$work/times"; }
  base=$(awk '$2 == "none" {print $4 / 5}' "$work/times" | quartiles %.1f)
  printf '  %s: unwatched %s; watch +%s; hand-made row trigger +%s\n' "$what" "$base" "$(above watch | quartiles %.1f)" "$(above handmade | quartiles %.1f)"
done
[ "$seconds" != 0 ] || exit 0

echo "from commit to the worker's transaction, and from commit of a row to its recomputed row, 200 inserts a second for $seconds s"
sql "TRUNCATE salesops.change_batch; SELECT salesops.unwatch('pk'); SELECT salesops.unwatch('index'); SELECT salesops.unwatch('single_watch')" >/dev/null
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
