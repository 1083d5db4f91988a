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
PGHOST=$work/c PGPORT=5432 PGUSER=postgres PGDATABASE=postgres psql -XqAt -v ON_ERROR_STOP=1 -v rows="$rows" >/dev/null <<'SQL'
SET client_min_messages = warning;
CREATE EXTENSION salesops;
CREATE TABLE src AS SELECT i AS id, 'proposal'::text AS stage, (i % 1000 + 1)::numeric AS amount, date '2027-01-01' + i % 300 AS close_date, 'o' || i % 50 AS owner,
	'call' || i AS next_step FROM generate_series(1, :rows) i;
CREATE TABLE c_none (LIKE src, PRIMARY KEY (id));
CREATE TABLE c_check (LIKE src, PRIMARY KEY (id), CHECK (amount > 0 AND close_date IS NOT NULL AND owner <> '' AND length(next_step) > 3 AND amount < 1e9));
CREATE TABLE c_plpgsql (LIKE src, PRIMARY KEY (id));
CREATE TABLE c_ours (LIKE src, PRIMARY KEY (id));
CREATE TABLE c_other50 (LIKE src, PRIMARY KEY (id));
CREATE TABLE c_risky (LIKE src, PRIMARY KEY (id));
CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
	IF new.stage = 'proposal' THEN
		IF NOT (new.amount > 0) THEN RAISE EXCEPTION 'a'; END IF; IF new.close_date IS NULL THEN RAISE EXCEPTION 'b'; END IF;
		IF NOT (new.owner <> '') THEN RAISE EXCEPTION 'c'; END IF; IF NOT (length(new.next_step) > 3) THEN RAISE EXCEPTION 'd'; END IF;
		IF NOT (new.amount < 1e9) THEN RAISE EXCEPTION 'e'; END IF;
	END IF;
	RETURN new; END$$;
CREATE TRIGGER f BEFORE INSERT OR UPDATE ON c_plpgsql FOR EACH ROW EXECUTE FUNCTION f();
SELECT salesops.define_stages('default', (SELECT jsonb_agg(jsonb_build_object('stage', s, 'kind', CASE s WHEN 'won' THEN 'won' ELSE 'open' END))
	FROM unnest(ARRAY['new', 'proposal', 's3', 's4', 's5', 's6', 's7', 'won']) s));
SELECT salesops.add_criterion(t::regclass, 'proposal', 'c' || n, e)
  FROM unnest(ARRAY['c_ours', 'c_other50', 'c_risky']) t, unnest(ARRAY['amount > 0', 'close_date IS NOT NULL', 'owner <> ''''', 'length(next_step) > 3', 'amount < 1e9']) WITH ORDINALITY e (e, n);
SELECT salesops.add_criterion('c_other50', 's' || 3 + i % 5, 'other' || i, 'amount > ' || i) FROM generate_series(1, 50) i;
SELECT salesops.add_criterion('c_risky', 'proposal', 'division', '1000000 / id > 0');
SELECT salesops.enforce_stage_criteria(t::regclass) FROM unnest(ARRAY['c_ours', 'c_other50', 'c_risky']) t;

CREATE TABLE h_none (LIKE src, PRIMARY KEY (id));
CREATE TABLE h_ours (LIKE src, PRIMARY KEY (id));
CREATE TABLE h_plpgsql (LIKE src, PRIMARY KEY (id));
CREATE TABLE h_row (LIKE src, PRIMARY KEY (id));
CREATE TABLE h_statement (LIKE src, PRIMARY KEY (id));
SELECT salesops.track_stage_changes('h_ours');
CREATE TABLE history (LIKE salesops.tracked_stage_change INCLUDING ALL);
CREATE FUNCTION h() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
	IF TG_OP = 'DELETE' THEN
		INSERT INTO history (relation, opportunity_id, previous_stage) VALUES (TG_RELID, old.id, old.stage);
	ELSIF TG_OP = 'INSERT' OR (old.stage, old.amount, old.close_date) IS DISTINCT FROM (new.stage, new.amount, new.close_date) THEN
		INSERT INTO history (relation, opportunity_id, stage, previous_stage, amount, close_date)
		VALUES (TG_RELID, new.id, new.stage, CASE TG_OP WHEN 'UPDATE' THEN old.stage END, new.amount, new.close_date);
	END IF;
	RETURN NULL; END$$;
CREATE TRIGGER h AFTER INSERT OR UPDATE OR DELETE ON h_plpgsql FOR EACH ROW EXECUTE FUNCTION h();
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
