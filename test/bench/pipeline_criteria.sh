#!/usr/bin/env bash
# Stage criteria against a CHECK constraint and a PL/pgSQL trigger of the same five terms: INSERT ... SELECT of 200 k rows, the
# variants taking turns (ROUNDS, default 20). CPU time of the backend (user and system): the median of each, the median of the ratio to
# CHECK within a round, and the overhead as the median difference to no constraint within a round. Autovacuum is off on these tables.
# "other 50": fifty more criteria on later stages; "might fail": a sixth term, a division, so that an error would name it.
set -eu
rounds=${ROUNDS:-20}
psql -XqAt -v ON_ERROR_STOP=1 <<'SQL' >/dev/null
CREATE TABLE src AS SELECT i AS id, 'proposal'::text AS stage, (i % 1000 + 1)::numeric AS amount, date '2027-01-01' + i % 300 AS close_date, 'o' || i % 50 AS owner,
	'call' || i AS next_step FROM generate_series(1, 200000) i;
CREATE TABLE plain (LIKE src);
CREATE TABLE checked (LIKE src, CHECK (CASE stage WHEN 'proposal' THEN amount > 0 AND close_date IS NOT NULL AND owner <> '' AND length(next_step) > 3 AND amount < 1e9 END));
CREATE TABLE bare (LIKE src, CHECK (amount > 0 AND close_date IS NOT NULL AND owner <> '' AND length(next_step) > 3 AND amount < 1e9));
CREATE TABLE plpgsql (LIKE src);
CREATE TABLE ours (LIKE src);
CREATE TABLE other50 (LIKE src);
CREATE TABLE risky (LIKE src);
CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
	IF new.stage = 'proposal' THEN
		IF NOT (new.amount > 0) THEN RAISE EXCEPTION 'a'; END IF; IF new.close_date IS NULL THEN RAISE EXCEPTION 'b'; END IF;
		IF NOT (new.owner <> '') THEN RAISE EXCEPTION 'c'; END IF; IF NOT (length(new.next_step) > 3) THEN RAISE EXCEPTION 'd'; END IF;
		IF NOT (new.amount < 1e9) THEN RAISE EXCEPTION 'e'; END IF;
	END IF;
	RETURN new; END$$;
CREATE TRIGGER f BEFORE INSERT OR UPDATE ON plpgsql FOR EACH ROW EXECUTE FUNCTION f();
SELECT format('ALTER TABLE %I SET (autovacuum_enabled = off)', t) FROM unnest('{plain,checked,bare,plpgsql,ours,other50,risky}'::text[]) t \gexec
SELECT salesops.define_stages('default', (SELECT jsonb_agg(jsonb_build_object('stage', s, 'kind', CASE s WHEN 'won' THEN 'won' ELSE 'open' END))
	FROM unnest(ARRAY['new', 'proposal', 's3', 's4', 's5', 's6', 's7', 'won']) s));
SELECT salesops.add_criterion(t::regclass, 'proposal', 'c' || n, e)
  FROM unnest(ARRAY['ours', 'other50', 'risky']) t, unnest(ARRAY['amount > 0', 'close_date IS NOT NULL', 'owner <> ''''', 'length(next_step) > 3', 'amount < 1e9']) WITH ORDINALITY e (e, n);
SELECT salesops.add_criterion('other50', 's' || 3 + i % 5, 'other' || i, 'amount > ' || i) FROM generate_series(1, 50) i;
SELECT salesops.add_criterion('risky', 'proposal', 'division', '1000000 / id > 0');
SELECT salesops.enforce_stage_criteria(t::regclass) FROM unnest(ARRAY['ours', 'other50', 'risky']) t;
SQL
for ((i = 0; i < rounds; i++)); do
  for t in plain bare checked ours other50 risky plpgsql; do
    psql -XqAt -c "TRUNCATE $t" -c "CHECKPOINT" -c "SET log_statement_stats = on" -c "SET client_min_messages = log" -c "INSERT INTO $t SELECT * FROM src" 2>&1 |
      awk -v t="$t" '$2 !~ /^\[/ && $4 == "user," { used = 1000 * ($2 + $5) } END { print t, used }'
  done
done | awk '
  { v[$1, ++n[$1]] = $2 }
  function median(a, m,   i, j, x) {
    for (i = 2; i <= m; i++) { x = a[i]; for (j = i - 1; j > 0 && a[j] > x; j--) a[j + 1] = a[j]; a[j + 1] = x }
    return m % 2 ? a[(m + 1) / 2] : (a[m / 2] + a[m / 2 + 1]) / 2
  }
  function level(k,   i, a) { for (i = 1; i <= n[k]; i++) a[i] = v[k, i]; return median(a, n[k]) }
  function ratio(k,   i, a) { for (i = 1; i <= n[k]; i++) a[i] = v[k, i] / v["bare", i]; return median(a, n[k]) }
  function over(k,   i, a) { for (i = 1; i <= n[k]; i++) a[i] = v[k, i] - v["plain", i]; return median(a, n[k]) }
  END {
    printf "%-34s %8s %12s %14s\n", "200 k rows, five terms (CPU)", "ms", "to CHECK", "overhead, ms"
    split("plain bare checked ours other50 risky plpgsql", order)
    name["plain"] = "no constraint"; name["bare"] = "CHECK"; name["checked"] = "CHECK with CASE over the stage"; name["ours"] = "stage criteria"
    name["other50"] = "  and 50 on other stages"; name["risky"] = "  and one that might fail"; name["plpgsql"] = "PL/pgSQL trigger"
    for (i = 1; i <= 7; i++) printf "%-34s %8.1f %12.3f %14.1f\n", name[order[i]], level(order[i]), ratio(order[i]), over(order[i])
    printf "overhead of PL/pgSQL to ours: %.1f\n", over("plpgsql") / over("ours")
  }'
