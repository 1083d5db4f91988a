#!/usr/bin/env bash
# What watch() costs the writer in instructions of the server's process, counted by valgrind: no noise, any machine, beside other work; not a time.
# Use: test/bench/worker_instructions.sh     about three minutes
# Each statement runs in a single-user server on a copy of the same data, counted within PortalRun: parsing, planning, execution, commits of DO.
set -eu
cd "$(dirname "$0")/../.."
command -v valgrind >/dev/null || { echo "valgrind is missing: nothing counted"; exit 0; }
make -s -j2 all dest >/dev/null
work=$(mktemp -d "${TMPDIR:-/tmp}/salesops-bench.XXXXXX")
chmod 777 "$work"
trap 'tools/cluster stop "$work/c" immediate 2>/dev/null || true; rm -rf "$work"' EXIT
cp -a build/dest "$work/dest"
tools/cluster start "$work/c" "$work/dest" shared_buffers=256MB max_wal_size=4GB checkpoint_timeout=1h autovacuum=off
for table in pk index single; do
  for way in none watch; do
    PGHOST=$work/c PGPORT=5432 PGUSER=postgres PGDATABASE=postgres psql -XqAt -v ON_ERROR_STOP=1 -c "SET client_min_messages = warning" \
      -c "CREATE EXTENSION IF NOT EXISTS salesops" -c "CREATE TABLE ${table}_$way (id int PRIMARY KEY, a int, b text)" \
      -c "INSERT INTO ${table}_$way SELECT i, i, md5(i::text) FROM generate_series(1, 20000) i" \
      -c "DO \$\$BEGIN IF '$table' = 'index' THEN CREATE INDEX ON ${table}_$way (a); END IF;
          IF '$way' = 'watch' THEN PERFORM salesops.watch('${table}_$way', 'lead'); END IF; END\$\$" -c "VACUUM ANALYZE ${table}_$way" -c "CHECKPOINT"
  done
done
tools/cluster stop "$work/c"

postgres=$("${PG_CONFIG:-pg_config}" --bindir)/postgres
# instructions of one statement
count() {
  local data=$work/data.$2 as=
  [ "$(id -u)" != 0 ] || as="runuser -u postgres --"
  cp -a "$work/c/data" "$data"
  # shellcheck disable=SC2086
  echo "$1" | $as env -i PATH="$PATH" LANG=C.UTF-8 TZ=UTC valgrind --tool=callgrind --toggle-collect=PortalRun --callgrind-out-file=/dev/null \
    "$postgres" --single -D "$data" postgres 2>&1 | awk '/ERROR/ {print >"/dev/stderr"} /Collected/ {print $NF}'
  rm -rf "$data"
}
# both ways at once: name, rows, statement with TABLE
compare() {
  count "${3//TABLE/${4}_none}" none >"$work/none" &
  count "${3//TABLE/${4}_watch}" watch >"$work/watch"
  wait $!
  awk -v n="$(cat "$work/none")" -v w="$(cat "$work/watch")" -v rows="$2" -v what="$1" \
    'BEGIN {printf "%-48s %8.0f a row, watched %8.0f: +%.0f, %.3f\n", what, n / rows, w / rows, (w - n) / rows, w / n}'
}
compare "UPDATE of 20,000 rows, primary key only" 20000 "UPDATE TABLE SET a = a + 1" pk
compare "the same, with a secondary index" 20000 "UPDATE TABLE SET a = a + 1" index
for commit in "" " COMMIT;"; do
  compare "INSERT of one row${commit:+, with its commit}" 1000 "DO \$\$BEGIN FOR i IN 20001..21000 LOOP INSERT INTO TABLE VALUES (i, i, 'x');$commit END LOOP; END\$\$" single
  compare "UPDATE of one row${commit:+, with its commit}" 1000 "DO \$\$BEGIN FOR i IN 1..1000 LOOP UPDATE TABLE SET a = a + 1 WHERE id = i;$commit END LOOP; END\$\$" single
done
