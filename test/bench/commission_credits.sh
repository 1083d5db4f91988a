#!/usr/bin/env bash
# A million credits of 2,000 reps and 40 plans: into the ledger (hash chain, indexes), against the same plan as set-based SQL that
# computes the marginal case into a bare table, and as a PL/pgSQL loop that reads each plan's tiers and writes lines with a key. Then: a year of months, one rep, one explanation.
# CREDITS=n and ROUNDS=n change the size.
set -eu
credits=${CREDITS:-1000000}
rounds=${ROUNDS:-3}
tiers='[{"from":0,"rate":0.05},{"from":100000,"rate":0.08},{"from":150000,"rate":0.10}]'
run() { psql -XqAt -v ON_ERROR_STOP=1 -c "$1"; }
ms() { psql -XAt -v ON_ERROR_STOP=1 -c '\timing on' -c "$1" | sed -n 's/^Time: \([0-9.]*\) ms.*/\1/p' | tail -1; }
least() { sort -n | head -1; }
clear_ledger() {
  run "SET session_replication_role = origin; ALTER TABLE salesops.commission_entry DISABLE TRIGGER append_only;
       ALTER TABLE salesops.commission_posting DISABLE TRIGGER append_only; TRUNCATE salesops.commission_entry, salesops.commission_posting;
       ALTER TABLE salesops.commission_entry ENABLE ALWAYS TRIGGER append_only; ALTER TABLE salesops.commission_posting ENABLE ALWAYS TRIGGER append_only"
}

run "CREATE TABLE credit AS SELECT i AS credit_id, 'r' || i % 2000 AS rep_id, round((100 + ((i::bigint * 7919) % 100000) / 7.0)::numeric, 2) AS amount,
       date '2027-01-01' + i % 90 AS credited_on FROM generate_series(1, $credits) i;
     ALTER TABLE credit ADD PRIMARY KEY (credit_id); CREATE INDEX ON credit (rep_id); ANALYZE credit;
     SELECT count(*) FROM salesops.attach('commission_credit', 'credit');
     SELECT count(salesops.create_commission_plan('plan ' || i, '{\"period\": \"quarter\", \"tiers\": $tiers}')) FROM generate_series(0, 39) i;
     SELECT count(salesops.assign_commission_plan('r' || i, 'plan ' || i % 40, '[2027-01-01,2029-01-01)')) FROM generate_series(0, 1999) i;
     CREATE TABLE tier (plan text, lower numeric, rate numeric);
     INSERT INTO tier SELECT 'plan ' || i, (t->>'from')::numeric, (t->>'rate')::numeric FROM generate_series(0, 39) i, jsonb_array_elements('$tiers') t;
     CREATE FUNCTION loop_commissions() RETURNS void LANGUAGE plpgsql AS \$\$
     DECLARE c record; rep text := ''; x numeric; y numeric; fx numeric; fy numeric; lowers numeric[]; rates numeric[];
     BEGIN
       FOR c IN SELECT * FROM credit JOIN salesops.commission_assignment a USING (rep_id) ORDER BY rep_id, credited_on, credit_id LOOP
         IF c.rep_id <> rep THEN
           rep := c.rep_id; x := 0; fx := 0;
           SELECT array_agg(t.lower ORDER BY t.lower), array_agg(t.rate ORDER BY t.lower) INTO lowers, rates FROM tier t WHERE t.plan = c.plan;
         END IF;
         y := x + c.amount;
         fy := 0;
         FOR i IN 1 .. array_length(rates, 1) LOOP
           EXIT WHEN y <= lowers[i];
           fy := fy + (least(y, lowers[i + 1]) - lowers[i]) * rates[i];
         END LOOP;
         fy := round(fy, 2);
         INSERT INTO looped (credit_id, rep_id, plan, amount, cumulated_before, cumulated_after) VALUES (c.credit_id, c.rep_id, c.plan, fy - fx, x, y);
         x := y;
         fx := fy;
       END LOOP;
     END \$\$" >/dev/null

set_based="CREATE TABLE plain AS WITH c AS (SELECT credit_id, rep_id, amount, sum(amount) OVER w AS y FROM credit WINDOW w AS (PARTITION BY rep_id ORDER BY credited_on, credit_id)),
  f AS (SELECT *, round(least(y, 100000) * 0.05 + greatest(least(y, 150000) - 100000, 0) * 0.08 + greatest(y - 150000, 0) * 0.10, 2) AS fy,
  round(least(y - amount, 100000) * 0.05 + greatest(least(y - amount, 150000) - 100000, 0) * 0.08 + greatest(y - amount - 150000, 0) * 0.10, 2) AS fx FROM c)
  SELECT credit_id, rep_id, fy - fx AS amount FROM f"
quarter="SELECT count(*) FROM salesops.calculate_commissions('[2027-01-01,2027-04-01)')"
ours='' plain='' looped=''
for _ in $(seq "$rounds"); do
  clear_ledger
  ours+=$(ms "$quarter")$'\n'
  run "DROP TABLE IF EXISTS plain" && plain+=$(ms "$set_based")$'\n'
  run "DROP TABLE IF EXISTS looped; CREATE TABLE looped (line_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, credit_id int, rep_id text, plan text, amount numeric, cumulated_before numeric, cumulated_after numeric)" && looped+=$(ms "SELECT loop_commissions()")$'\n'
done
ours=$(printf %s "$ours" | least) plain=$(printf %s "$plain" | least) looped=$(printf %s "$looped" | least)
same=$(run "SELECT (SELECT sum(amount) FROM salesops.commission_line) = (SELECT sum(amount) FROM plain) AND (SELECT sum(amount) FROM plain) = (SELECT sum(amount) FROM looped)")
awk -v o="$ours" -v p="$plain" -v l="$looped" -v n="$credits" -v s="$same" 'BEGIN {
  printf "%d credits, least of the rounds; sums agree: %s\n", n, s
  printf "%-46s %9s %9s\n", "", "ms", "ratio"
  printf "%-46s %9.0f %9.2f\n", "set-based SQL, bare table", p, 1
  printf "%-46s %9.0f %9.2f\n", "salesops, ledger with hash chain and indexes", o, o / p
  printf "%-46s %9.0f %9.2f\n", "PL/pgSQL loop, lines with a primary key", l, l / p }'
echo "again, nothing changed        $(ms "$quarter") ms"
echo "verify_commission_ledger()    $(ms "SELECT valid FROM salesops.verify_commission_ledger()") ms"
echo "one rep, nothing changed      $(for _ in 1 2 3 4 5; do ms "SELECT * FROM salesops.calculate_commission('r7', '[2027-01-01,2027-04-01)')"; done | least) ms"
# a changed deal: the first calculation of a session, whose caches are empty, and those after it; FIRST=n sessions
rep_calculations() {
  for i in $(seq "$1"); do
    echo "UPDATE credit SET amount = amount + $i WHERE credit_id = 2007;"
    echo '\timing on'
    echo "SELECT * FROM salesops.calculate_commission('r7', '[2027-01-01,2027-04-01)');"
    echo '\timing off'
  done | psql -XAtq -v ON_ERROR_STOP=1 | sed -n 's/^Time: \([0-9.]*\) ms.*/\1/p'
}
first_of_sessions() { for _ in $(seq "${FIRST:-20}"); do rep_calculations 1; done | sort -n | awk '{ a[NR] = $1 } END { print a[1], "(median " a[int((NR + 1) / 2)] ")" }'; }
echo "one rep, one deal changed     $(rep_calculations 6 | tail -n +2 | least) ms, the first of a session $(first_of_sessions) ms"
run "CREATE INDEX covering ON credit (rep_id) INCLUDE (credit_id, amount, credited_on)" && run "VACUUM ANALYZE credit"
echo "  by a covering index         $(rep_calculations 6 | tail -n +2 | least) ms, the first of a session $(first_of_sessions) ms"
run "DROP INDEX covering"
run "VACUUM ANALYZE salesops.commission_entry"
# five times in one session
in_session() { printf '\\timing on\n%s;\n%s;\n%s;\n%s;\n%s;\n' "$1" "$1" "$1" "$1" "$1" | psql -XAtq -v ON_ERROR_STOP=1 | sed -n 's/^Time: \([0-9.]*\) ms.*/\1/p' | least; }
echo "reps of a credit that is gone $(in_session "SELECT * FROM salesops.commission_reps_of('{2007}')") ms, by a scan $(PGOPTIONS='-c enable_bitmapscan=off' in_session "SELECT rep_id FROM salesops.commission_line WHERE credit_id = '2007'") ms"
run "INSERT INTO credit SELECT $credits + i, 'new', i, '2027-01-05' FROM generate_series(1, 500) i; SELECT salesops.assign_commission_plan('new', 'plan 0', '[2027-01-01,)')" >/dev/null
echo "one new rep of 500 credits    $(ms "SELECT * FROM salesops.calculate_commission('new', '[2027-01-01,2027-04-01)')") ms"
echo "explain_commission, a line    $(ms "SELECT count(e.detail) FROM generate_series(1, 1000) i, salesops.explain_commission(i) e" | awk '{print $1 / 1000}') ms"

# a year of months: the time of each month, and of a month when the eleven before it are closed
run "UPDATE credit SET credited_on = date '2028-01-01' + credit_id % 366; DELETE FROM credit WHERE rep_id = 'new';
     SELECT count(salesops.replace_commission_plan('plan ' || i, '{\"period\": \"month\", \"tiers\": $tiers}', '2028-01-01')) FROM generate_series(0, 39) i; ANALYZE credit" >/dev/null
clear_ledger
echo "a year of months, each closed before the next (ms):"
for m in $(seq 1 12); do
  printf '%s ' "$(ms "SELECT salesops.close_commission_period(daterange((date '2028-01-01' + interval '$((m - 1)) months')::date, (date '2028-01-01' + interval '$m months')::date))")"
done
echo
