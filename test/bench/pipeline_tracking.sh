#!/usr/bin/env bash
# track_stage_changes() against a PL/pgSQL trigger that writes the same history, and no tracking: COPY-like bulk statements over 100 k rows,
# the variants taking turns (ROUNDS, default 5); median CPU time of the backend (user and system) in ms, and what a row tracked costs.
set -eu
rounds=${ROUNDS:-5}
psql -XqAt -v ON_ERROR_STOP=1 -v rows=100000 -v key=', PRIMARY KEY (id)' -v criteria=false -v tracking=true -f test/bench/deals.sql >/dev/null
for ((i = 0; i < rounds; i++)); do
  for t in none ours parts plpgsql; do
    psql -XqAt -c "TRUNCATE h_$t" -c "TRUNCATE history, salesops.tracked_stage_change" -c "CHECKPOINT" -c "SET log_statement_stats = on" -c "SET client_min_messages = log" \
      -c "INSERT INTO h_$t SELECT * FROM src" -c "UPDATE h_$t SET next_step = 'x'" -c "UPDATE h_$t SET stage = 'won'" -c "DELETE FROM h_$t" 2>&1 |
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
      o = order[i]; none = median("none " o); ours = median("ours " o); peer = median("plpgsql " o)
      printf "%-36s %8.0f %8.0f %12.0f %8.0f %14.2f %16.1f\n", name[o], none, ours, median("parts " o), peer, (ours - none) / 100, (peer - none) / (ours - none)
    }
  }'
