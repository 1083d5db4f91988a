#!/usr/bin/env bash
# Through SQL: nanoseconds a row net of the scan, against contrib fuzzystrmatch, pg_trgm and pg_similarity on the same rows in
# the same run; rounds alternate and the best of each counts. The scan and ours, which take a tenth of the time, have three turns a
# round. PAIRS="levenshtein jaro" leaves the others out.
set -u
rounds=${ROUNDS:-5}
psql -Xq <<'SQL'
CREATE EXTENSION IF NOT EXISTS fuzzystrmatch;
CREATE EXTENSION IF NOT EXISTS pg_trgm;
CREATE TABLE bench_names AS
  WITH w AS (SELECT ARRAY['anna', 'robert', 'katherine', 'miller', 'johannes', 'smith', 'alexander', 'garcia', 'hernandez', 'maria', 'wolfgang', 'lee',
                          'christopher', 'li', 'mcdonald'] AS x)
  SELECT x[1 + i % 15] || ' ' || x[1 + i / 15 % 15] || substr(md5(i::text), 1, i % 9) AS a, x[1 + i * 7 % 15] || ' ' || x[1 + i / 15 % 15] || substr(md5(i::text), 1, i % 7) AS b
  FROM w, generate_series(1, 300000) AS i;
CREATE TABLE bench_long AS
  SELECT md5(i::text) || ' corporation' AS a, overlay(md5(i::text) placing 'x' from 5) || ' corporation' AS b FROM generate_series(1, 300000) AS i;
CREATE TABLE bench_accents AS SELECT replace(a, 'a', 'ä') AS a, replace(b, 'e', 'é') AS b FROM bench_names;
CREATE TABLE bench_cyrillic AS SELECT translate(a, 'abcdeghiklmnoprst', 'абсдегнікlмпорrst') AS a, translate(b, 'abcdeghiklmnoprst', 'абсдегнікlмпорrst') AS b FROM bench_names;
VACUUM ANALYZE bench_names, bench_long, bench_accents, bench_cyrillic;
SQL
similarity=$(psql -XqAt -c "CREATE EXTENSION IF NOT EXISTS pg_similarity" >/dev/null 2>&1 && echo yes || echo no)
[ "$similarity" = yes ] || echo "# pg_similarity is not installed: its rows are left out"

milliseconds() {
  psql -XAt -c 'SET max_parallel_workers_per_gather = 0' -c '\timing on' -c "$1" 2>&1 | sed -n 's/^Time: \([0-9.]*\) ms.*/\1/p' | tail -1
}
least() { sort -n | head -1; }

# table, our expression, the peer's expression, which of PAIRS it is
compare() {
  local scan="" ours="" theirs="" i k
  [[ " ${PAIRS:-levenshtein limited jaro ngram} " == *" $4 "* ]] || return 0
  for ((i = 0; i < rounds; i++)); do
    for ((k = 0; k < 3; k++)); do
      scan+=$(milliseconds "SELECT count(a > b) FROM $1")$'\n'
      ours+=$(milliseconds "SELECT sum($2) FROM $1")$'\n'
    done
    theirs+=$(milliseconds "SELECT sum($3) FROM $1")$'\n'
  done
  scan=$(printf %s "$scan" | least)
  awk -v t="$1" -v s="$scan" -v o="$(printf %s "$ours" | least)" -v p="$(printf %s "$theirs" | least)" -v a="${2%%(*}" -v b="${3%%(*}" \
    'BEGIN { o = (o - s) / 0.3; p = (p - s) / 0.3; printf "%-15s %-36s %7.0f ns   %-14s %7.0f ns   %6.1f x\n", t, a, o, b, p, p / o }'
}
echo "net of the scan, a row; x is how many times faster"
for table in bench_names bench_long bench_accents bench_cyrillic; do
  compare $table "salesops.levenshtein_distance(a, b)" "levenshtein(a, b)" levenshtein
  compare $table "salesops.levenshtein_distance(a, b, 3)" "levenshtein_less_equal(a, b, 3)" limited
  [ "$similarity" = no ] || compare $table "salesops.jaro_winkler_similarity(a, b)" "jarowinkler(a, b)" jaro
  compare $table "salesops.ngram_similarity(a, b)" "similarity(a, b)" ngram
done
