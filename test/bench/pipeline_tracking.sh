#!/usr/bin/env bash
# track_stage_changes() against a PL/pgSQL trigger that writes the same history, and no tracking: COPY-like bulk statements over 100 k rows,
# the variants taking turns (ROUNDS, default 5); median CPU time of the backend (user and system) in ms, and what a row tracked costs.
set -eu
rounds=${ROUNDS:-5}
psql -XqAt -v ON_ERROR_STOP=1 <<'SQL' >/dev/null
CREATE TABLE src AS SELECT i AS id, 'proposal'::text AS stage, (i % 1000 + 1)::numeric AS amount, date '2027-01-01' + i % 300 AS close_date, 'call' || i AS note FROM generate_series(1, 100000) i;
CREATE TABLE plain (LIKE src, PRIMARY KEY (id));
CREATE TABLE tracked (LIKE src, PRIMARY KEY (id));
CREATE TABLE plpgsql (LIKE src, PRIMARY KEY (id));
CREATE TABLE parts (LIKE src, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE parts_a PARTITION OF parts FOR VALUES FROM (0) TO (50000);
CREATE TABLE parts_b PARTITION OF parts DEFAULT;
CREATE TABLE history (LIKE salesops.tracked_stage_change INCLUDING ALL);
CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
	IF TG_OP = 'DELETE' THEN
		INSERT INTO history (relation, opportunity_id, previous_stage) VALUES (TG_RELID, old.id, old.stage);
	ELSIF TG_OP = 'INSERT' OR (old.stage, old.amount, old.close_date) IS DISTINCT FROM (new.stage, new.amount, new.close_date) THEN
		INSERT INTO history (relation, opportunity_id, stage, previous_stage, amount, close_date)
		VALUES (TG_RELID, new.id, new.stage, CASE TG_OP WHEN 'UPDATE' THEN old.stage END, new.amount, new.close_date);
	END IF;
	RETURN NULL; END$$;
CREATE TRIGGER f AFTER INSERT OR UPDATE OR DELETE ON plpgsql FOR EACH ROW EXECUTE FUNCTION f();
SELECT salesops.define_stages('default', '[{"stage": "new"}, {"stage": "proposal"}, {"stage": "won", "kind": "won"}]');
SELECT salesops.track_stage_changes('tracked'), salesops.track_stage_changes('parts');
SQL
for ((i = 0; i < rounds; i++)); do
  for t in plain tracked parts plpgsql; do
    psql -XqAt -c "TRUNCATE $t" -c "TRUNCATE history, salesops.tracked_stage_change" -c "CHECKPOINT" -c "SET log_statement_stats = on" -c "SET client_min_messages = log" \
      -c "INSERT INTO $t SELECT * FROM src" -c "UPDATE $t SET note = 'x'" -c "UPDATE $t SET stage = 'won'" -c "DELETE FROM $t" 2>&1 |
      awk -v t="$t" 'BEGIN { split("set insert note stage delete", kind) } $2 !~ /^\[/ && $4 == "user," { print t, kind[++n], 1000 * ($2 + $5) }'
  done
done | sort -k1,1 -k2,2 -k3,3n | awk '
  { k = $1 " " $2; v[k, ++n[k]] = $3 }
  function median(k) { return v[k, int((n[k] + 1) / 2)] }
  END {
    printf "%-36s %8s %8s %12s %8s %14s %16s\n", "100 k rows, CPU ms", "none", "ours", "partitioned", "PL/pgSQL", "ours, us a row", "PL/pgSQL to ours"
    split("insert note stage delete", order)
    name["insert"] = "INSERT ... SELECT"; name["note"] = "UPDATE of another column"; name["stage"] = "UPDATE of the stage"; name["delete"] = "DELETE"
    for (i = 1; i <= 4; i++) {
      o = order[i]; none = median("plain " o); ours = median("tracked " o); peer = median("plpgsql " o)
      printf "%-36s %8.0f %8.0f %12.0f %8.0f %14.2f %16.1f\n", name[o], none, ours, median("parts " o), peer, (ours - none) / 100, (peer - none) / (ours - none)
    }
  }'
