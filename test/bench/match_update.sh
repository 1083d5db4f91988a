#!/usr/bin/env bash
# update_clusters at PEOPLE records (default 1000000): the first run, one where nothing has changed, ones where a thousandth and a hundredth of
# the records have (a third each new, changed and deleted), and for comparison the same state looked at from scratch: seconds, records
# looked at, what changed, and whether the groups are the same.
set -eu
cd "$(dirname "$0")/../.."
people=${PEOPLE:-1000000}
sql() { psql -XqAt -v ON_ERROR_STOP=1 -c "$1"; }
psql -Xq -v ON_ERROR_STOP=1 -v people="$people" -f test/bench/people.sql
psql -Xq -o /dev/null -v ON_ERROR_STOP=1 -f test/bench/matcher.sql
sql "SELECT count(*) FROM salesops.train_matcher('people')" >/dev/null
update() { # what
  psql -XqAt -v ON_ERROR_STOP=1 -v what="$1" <<'SQL'
SELECT clock_timestamp() AS start \gset
SELECT coalesce(string_agg(event || ' ' || records, ', '), 'nothing') AS events FROM salesops.update_clusters('people') \gset
SELECT format('  %-32s %6s s, %s of %s records looked at: %s', :'what', round(extract(epoch FROM clock_timestamp() - :'start')::numeric, 2), looked_at, records, :'events')
  FROM salesops.match_cluster_state;
SQL
}
groups() { sql "SELECT count(*), sum(hashtextextended(keys, 0)::numeric) FROM (SELECT string_agg(key, ' ' ORDER BY key) AS keys FROM salesops.match_cluster GROUP BY cluster_id) g"; }
change() { # one record of so many
  sql "DELETE FROM bench_people WHERE hashint4(id) % (3 * $1) = 1;
    UPDATE bench_people SET phone = reverse(phone), last_name = last_name || 'x' WHERE hashint4(id) % (3 * $1) = 2;
    INSERT INTO bench_people SELECT id + (SELECT max(id) FROM bench_people), person, first_name, last_name, birth_year, email, NULL, postcode, city
      FROM bench_people WHERE hashint4(id) % (3 * $1) = 3"
}
echo "$people people"
update "first run"
psql -Xqc "VACUUM ANALYZE salesops.match_cluster"
update "nothing changed"
for share in 1000 100; do
  change $share
  update "one of $share changed"
  incremental=$(groups)
  sql "DELETE FROM salesops.match_cluster_state"
  update "the same from scratch"
  [ "$(groups)" = "$incremental" ] || { echo "    the groups differ"; exit 1; }
  echo "    the groups are the same"
done
