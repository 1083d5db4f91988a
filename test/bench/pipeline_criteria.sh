#!/usr/bin/env bash
# Stage criteria against a CHECK constraint and a PL/pgSQL trigger of the same five terms: INSERT ... SELECT of 200 k rows, the
# variants taking turns (ROUNDS, default 20). CPU time of the backend (user and system): the median of each, the median of the ratio to
# CHECK within a round, and the overhead as the median difference to no constraint within a round. Autovacuum is off on these tables.
# "other 50": fifty more criteria on later stages; "might fail": a sixth term, a division, so that an error would name it.
set -eu
rounds=${ROUNDS:-20}
psql -XqAt -v ON_ERROR_STOP=1 -v rows=200000 -v key= -v criteria=true -v tracking=false -f test/bench/deals.sql >/dev/null
tables="none check case ours other50 risky plpgsql"
for t in $tables; do psql -Xq -c "ALTER TABLE c_$t SET (autovacuum_enabled = off)"; done
for ((i = 0; i < rounds; i++)); do
  for t in $tables; do
    psql -XqAt -c "TRUNCATE c_$t" -c "CHECKPOINT" -c "SET log_statement_stats = on" -c "SET client_min_messages = log" -c "INSERT INTO c_$t SELECT * FROM src" 2>&1 |
      awk -v t="$t" '$2 !~ /^\[/ && $4 == "user," { used = 1000 * ($2 + $5) } END { print t, used }'
  done
done | awk '
  { v[$1, ++n[$1]] = $2 }
  function median(a, m,   i, j, x) {
    for (i = 2; i <= m; i++) { x = a[i]; for (j = i - 1; j > 0 && a[j] > x; j--) a[j + 1] = a[j]; a[j + 1] = x }
    return m % 2 ? a[(m + 1) / 2] : (a[m / 2] + a[m / 2 + 1]) / 2
  }
  function level(k,   i, a) { for (i = 1; i <= n[k]; i++) a[i] = v[k, i]; return median(a, n[k]) }
  function ratio(k,   i, a) { for (i = 1; i <= n[k]; i++) a[i] = v[k, i] / v["check", i]; return median(a, n[k]) }
  function over(k,   i, a) { for (i = 1; i <= n[k]; i++) a[i] = v[k, i] - v["none", i]; return median(a, n[k]) }
  END {
    printf "%-34s %8s %12s %14s\n", "200 k rows, five terms (CPU)", "ms", "to CHECK", "overhead, ms"
    split("none check case ours other50 risky plpgsql", order)
    name["none"] = "no constraint"; name["check"] = "CHECK"; name["case"] = "CHECK with CASE over the stage"; name["ours"] = "stage criteria"
    name["other50"] = "  and 50 on other stages"; name["risky"] = "  and one that might fail"; name["plpgsql"] = "PL/pgSQL trigger"
    for (i = 1; i <= 7; i++) printf "%-34s %8.1f %12.3f %14.1f\n", name[order[i]], level(order[i]), ratio(order[i]), over(order[i])
    printf "overhead of PL/pgSQL to ours: %.1f\n", over("plpgsql") / over("ours")
  }'
