#!/usr/bin/env bash
set -eu
run() { psql -XqAt -v ON_ERROR_STOP=1 -c "$1"; }
ms() { psql -XAt -v ON_ERROR_STOP=1 -c '\timing on' -c "$1" | sed -n 's/^Time: \([0-9.]*\) ms.*/\1/p' | tail -1; }
clear_ledger() {
  run "ALTER TABLE salesops.commission_entry DISABLE TRIGGER append_only;
       ALTER TABLE salesops.commission_posting DISABLE TRIGGER append_only; TRUNCATE salesops.commission_entry, salesops.commission_posting;
       ALTER TABLE salesops.commission_entry ENABLE ALWAYS TRIGGER append_only; ALTER TABLE salesops.commission_posting ENABLE ALWAYS TRIGGER append_only"
}
run "CREATE TABLE credit AS SELECT i AS credit_id, 'r' || i % 2000 AS rep_id, round((100 + ((i::bigint * 7919) % 100000) / 7.0)::numeric, 2) AS amount,
       date '2027-01-01' + i % 90 AS credited_on FROM generate_series(1, 1000000) i;
     ALTER TABLE credit ADD PRIMARY KEY (credit_id); CREATE INDEX ON credit (rep_id); ANALYZE credit;
     SELECT count(*) FROM salesops.attach('commission_credit', 'credit');
     SELECT count(salesops.create_commission_plan('plan ' || i, '{\"period\": \"quarter\", \"tiers\": [{\"from\":0,\"rate\":0.05},{\"from\":100000,\"rate\":0.08},{\"from\":150000,\"rate\":0.10}]}')) FROM generate_series(0, 39) i;
     SELECT count(salesops.assign_commission_plan('r' || i, 'plan ' || i % 40, '[2027-01-01,2029-01-01)')) FROM generate_series(0, 1999) i;" >/dev/null
q="SELECT count(*) FROM salesops.calculate_commissions('[2027-01-01,2027-04-01)')"
l="SELECT count(*) FROM salesops.commission_line WHERE credit_id = ANY ('{2007,77,123456}')"
echo "without: $(ms "$q")"; echo "lookup: $(ms "$l") $(ms "$l")"
clear_ledger; run "CREATE INDEX zb ON salesops.commission_entry (credit_id)"; echo "btree: $(ms "$q")"; run "ANALYZE salesops.commission_entry"; echo "lookup: $(ms "$l") $(ms "$l") size $(run "SELECT pg_size_pretty(pg_relation_size('salesops.zb'))")"
clear_ledger; run "DROP INDEX salesops.zb; CREATE INDEX zb ON salesops.commission_entry USING hash (credit_id)"; echo "hash: $(ms "$q")"; run "ANALYZE salesops.commission_entry";  echo "lookup: $(ms "$l") $(ms "$l") size $(run "SELECT pg_size_pretty(pg_relation_size('salesops.zb'))")"
