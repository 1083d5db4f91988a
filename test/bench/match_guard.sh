#!/usr/bin/env bash
# What a guarded insert and a look-up cost at PEOPLE records (default 1000000) with 8 clients: pgbench's latencies, median and 99 %. Each is
# measured twice: with statements parsed and planned anew (pgbench -M simple), and prepared, as drivers and PL/pgSQL send them (-M prepared);
# PROTOCOLS=simple or prepared takes one only, SECONDS_EACH (10) is what each takes.
# Peer: the same insert without a guard.
set -eu
cd "$(dirname "$0")/../.."
people=${PEOPLE:-1000000}
seconds=${SECONDS_EACH:-10}
protocols=${PROTOCOLS:-simple prepared}
work=$(mktemp -d "${TMPDIR:-/tmp}/salesops-guard.XXXXXX")
trap 'rm -rf "$work"' EXIT
sql() { psql -XqAt -v ON_ERROR_STOP=1 -c "$1"; }
psql -Xq -v ON_ERROR_STOP=1 -v people="$people" -f test/bench/people.sql
sql "CREATE SEQUENCE next_id START 100000000"
psql -Xq -o /dev/null -v ON_ERROR_STOP=1 -f test/bench/matcher.sql
sql "SELECT count(*) FROM salesops.train_matcher('people')" >/dev/null
sql "SELECT count(*) FROM salesops.index_matcher('people')" >/dev/null
psql -Xqc "VACUUM ANALYZE bench_people"

# a new record like one of the table: a third are that person again, the others share a key at most
cat >"$work/insert.sql" <<SQL
\set i random(1, $people)
INSERT INTO bench_people SELECT nextval('next_id'), id, first_name, CASE WHEN id % 3 = 0 THEN last_name ELSE reverse(last_name) END,
  birth_year, CASE WHEN id % 3 = 0 THEN email ELSE reverse(email) END, CASE WHEN id % 3 = 0 THEN phone ELSE reverse(phone) END, postcode, city
  FROM bench_people WHERE id = :i;
SQL
cat >"$work/find.sql" <<SQL
\set i random(1, $people)
SELECT count(*) FROM bench_people b, LATERAL salesops.find_matches('people', b, 0.95) WHERE b.id = :i;
SQL
measure() { # name, script
  local protocol
  for protocol in $protocols; do
    (cd "$work" && rm -f log.* && pgbench -n -M "$protocol" -c 8 -j 1 -T "$seconds" -f "$2" -l --log-prefix=log "$PGDATABASE" >/dev/null 2>pgbench.err) ||
      { cat "$work/pgbench.err"; exit 1; }
    sort -n -k3 "$work"/log.* | awk -v name="$1" -v protocol="$protocol" '{t[NR] = $3}
      END {printf "  %-24s %-9s %7d transactions, median %.2f ms, p99 %.2f ms\n", name, protocol, NR, t[int(NR * .5)] / 1000, t[int(NR * .99)] / 1000}'
  done
}
echo "$people people, 8 clients, $seconds s each, on $(nproc) cores"
measure "insert, no guard" insert.sql
measure "find_matches" find.sql
for action in record reject; do
  sql "SELECT salesops.guard_duplicates('bench_people', 'people', '$action')" >/dev/null
  if [ $action = reject ]; then
    # a refused row is an answer too: a function catches it, so that pgbench goes on
    sql "CREATE FUNCTION try_insert(i integer) RETURNS boolean LANGUAGE plpgsql AS \$\$ BEGIN $(sed -n '/^INSERT/,$p' "$work/insert.sql" | tr '\n' ' ' | sed 's/:i/try_insert.i/; s/\bid\b/bench_people.id/g')
      RETURN true; EXCEPTION WHEN unique_violation THEN RETURN false; END \$\$" >/dev/null
    printf '%s\n' "\\set i random(1, $people)" 'SELECT try_insert(:i::integer);' >"$work/reject.sql"
    measure "insert, guard: reject" reject.sql
  else
    measure "insert, guard: $action" insert.sql
  fi
done
