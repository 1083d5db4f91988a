#!/usr/bin/env bash
# What stage criteria and tracked history cost the writer in instructions of the server's process, counted by valgrind: no noise, any
# machine, beside other work; not a time. Use: test/bench/pipeline_instructions.sh [criteria|tracking]     about four minutes; ROWS, 10000
# Each statement runs in a single-user server on a copy of the same data, counted within PortalRun: planning, execution, commits of DO.
# "nothing done" are triggers that do nothing when they are called: what a way to be called costs by itself, row by row with our WHEN, or once a
# statement with both transition tables.
set -eu
cd "$(dirname "$0")/../.."
command -v valgrind >/dev/null || { echo "valgrind is missing: nothing counted"; exit 0; }
make -s -j2 all dest >/dev/null
parts=${*:-criteria tracking}
rows=${ROWS:-10000}
work=$(mktemp -d "${TMPDIR:-/tmp}/salesops-bench.XXXXXX")
chmod 777 "$work"
trap 'tools/cluster stop "$work/c" immediate 2>/dev/null || true; rm -rf "$work"' EXIT
cp -a build/dest "$work/dest"
tools/cluster start "$work/c" "$work/dest" shared_buffers=256MB max_wal_size=4GB checkpoint_timeout=1h autovacuum=off
PGHOST=$work/c PGPORT=5432 PGUSER=postgres PGDATABASE=postgres psql -XqAt -v ON_ERROR_STOP=1 -v rows="$rows" -v key=', PRIMARY KEY (id)' -v criteria=true -v tracking=true \
  >/dev/null <<'SQL'
SET client_min_messages = warning;
CREATE EXTENSION salesops;
\i test/bench/deals.sql
CREATE TABLE h_row (LIKE src :key);
CREATE TABLE h_statement (LIKE src :key);
-- record_stage_change() returns at once where the relation is not tracked
CREATE TRIGGER h AFTER UPDATE ON h_row FOR EACH ROW WHEN (old.id IS DISTINCT FROM new.id OR old.stage IS DISTINCT FROM new.stage OR old.amount IS DISTINCT FROM new.amount
	OR old.close_date IS DISTINCT FROM new.close_date) EXECUTE FUNCTION salesops.record_stage_change();
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER h AFTER UPDATE ON h_statement REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION nothing();
-- the triggers of h_ours are off meanwhile, so that its history is as empty as the others'
SET session_replication_role = replica;
SELECT format('INSERT INTO %s SELECT * FROM src', t) FROM unnest(ARRAY['h_none', 'h_ours', 'h_plpgsql', 'h_row', 'h_statement']) t \gexec
VACUUM ANALYZE;
CHECKPOINT;
SQL
tools/cluster stop "$work/c"

postgres=$("${PG_CONFIG:-pg_config}" --bindir)/postgres
# instructions of one statement over a table: statement with TABLE, table
count() {
  local data=$work/data.$2 as=
  [ "$(id -u)" != 0 ] || as="runuser -u postgres --"
  cp -a "$work/c/data" "$data"
  # shellcheck disable=SC2086
  echo "${1//TABLE/$2}" | $as env -i PATH="$PATH" LANG=C.UTF-8 TZ=UTC valgrind --tool=callgrind --toggle-collect=PortalRun --callgrind-out-file=/dev/null \
    "$postgres" --single -D "$data" postgres 2>&1 | awk '/ERROR/ {print >"/dev/stderr"} /Collected/ {print $NF}' >"$work/count.$2"
  rm -rf "$data"
}
# name, rows, statement with TABLE, then tables, two at a time; what a row costs more than with the first
compare() {
  local what=$1 rows=$2 statement=$3 t
  shift 3
  for t; do
    count "$statement" "$t" &
    [ "$(jobs -rp | wc -l)" -lt 2 ] || wait -n
  done
  wait
  for t; do echo "${t#*_}" "$(cat "$work/count.$t")"; done |
    awk -v rows="$rows" -v what="$what" 'NR == 1 { none = $2; printf "%s: %.0f a row;", what, $2 / rows; next } { printf " %s +%.0f", $1, ($2 - none) / rows } END { print "" }'
}
case " $parts " in *" criteria "*)
  c="c_none c_check c_ours c_other50 c_risky c_plpgsql"
  # shellcheck disable=SC2086
  {
    compare "INSERT ... SELECT of $rows rows, five terms" "$rows" "INSERT INTO TABLE SELECT * FROM src" $c
    compare "INSERT of one row" 500 "DO \$\$BEGIN FOR i IN 1..500 LOOP EXECUTE 'INSERT INTO TABLE VALUES (' || i || ', ''proposal'', 1, ''2027-01-01'', ''o'', ''call'')'; END LOOP; END\$\$" $c
  }
esac
case " $parts " in *" tracking "*)
  compare "INSERT ... SELECT of $rows rows, tracked" "$rows" "INSERT INTO TABLE SELECT id + $rows, stage, amount, close_date, owner, next_step FROM src" h_none h_ours h_plpgsql
  compare "UPDATE of another column; row, statement: nothing done" "$rows" "UPDATE TABLE SET next_step = 'x'" h_none h_ours h_row h_statement h_plpgsql
  compare "UPDATE of the stage; row, statement: nothing done" "$rows" "UPDATE TABLE SET stage = 'won'" h_none h_ours h_row h_statement h_plpgsql
  compare "DELETE" "$rows" "DELETE FROM TABLE" h_none h_ours h_plpgsql
esac
