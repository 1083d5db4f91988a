-- Blocking on the elements of arrays, at write time too: index_matcher makes an index that look-ups use, and they find what a batch finds.
BEGIN;
SELECT no_plan();
SET LOCAL client_min_messages = warning;
-- plans without sequential scans look so dear that each statement would be compiled
SET LOCAL jit = off;
CREATE TABLE firm (id int PRIMARY KEY, name text, city text, phones text[], codes int[]);
INSERT INTO firm SELECT i, 'firm ' || md5(i::text), 'city ' || i % 7,
    CASE WHEN i % 9 = 0 THEN NULL WHEN i % 9 = 1 THEN '{}'::text[] ELSE ARRAY['+49' || i, NULL, '', 'p' || i % 211] END, ARRAY[i, 10000 + i % 97]
  FROM generate_series(1, 600) i;
INSERT INTO firm SELECT 1000 + id, name || CASE WHEN id % 2 = 0 THEN ' x' ELSE '' END, city, ARRAY['other', phones[1]], ARRAY[5, id] FROM firm WHERE id % 3 = 0;
SELECT salesops.create_matcher('firms', 'firm', 'id', '[{"column": "name", "method": "jaro_winkler"}, {"column": "city"}]', '{phones,codes,left(name\, 9)}');
SELECT ok(count(*) > 0, 'trained') FROM salesops.train_matcher('firms');
CREATE TEMP TABLE made AS SELECT * FROM salesops.index_matcher('firms');
SELECT is(array_agg(m.rule || ' ' || a.amname ORDER BY m.rule), '{"codes gin","left(name, 9) btree","phones gin"}', 'every rule has its index')
  FROM made m JOIN pg_class c ON c.oid = m.index::regclass JOIN pg_am a ON a.oid = c.relam;
SELECT ok(NOT bool_or(created), 'and once is enough') FROM salesops.index_matcher('firms');
ANALYZE firm;
SET LOCAL enable_seqscan = off;
SELECT is(array_agg(key ORDER BY key::int), '{3,1003}', 'found by an element of an array') FROM salesops.find_matches('firms', (SELECT f FROM firm f WHERE id = 3), 0.5);
SELECT cmp_ok(pg_stat_get_xact_numscans(index::regclass), '>', 0::bigint, 'the index on ' || rule || ' is read') FROM made WHERE rule <> 'left(name, 9)';
-- each record's look-up finds its pairs of the batch
SELECT is((SELECT count(*) FROM
   (SELECT left_key AS a, right_key AS b FROM salesops.find_duplicates('firms', 0.5)
    EXCEPT SELECT f.id::text, m.key FROM firm f, LATERAL salesops.find_matches('firms', f, 0.5) m) x), 0::bigint, 'look-ups miss nothing of a batch');
SELECT cmp_ok(count(*), '>=', 200::bigint, 'of which there is something') FROM salesops.find_duplicates('firms', 0.5);
-- nothing in an array is no key: neither NULL, empty, nor an empty text in it
SELECT is((SELECT count(*) FROM salesops.find_matches('firms', (SELECT f FROM (SELECT 'zzzzzzzzzz' AS name, NULL AS city, ARRAY['', NULL]::text[] AS phones, '{}'::int[] AS codes) f), 0)),
  0::bigint, 'an empty text is no element');
SELECT salesops.guard_duplicates('firm', 'firms', 'reject');
SELECT throws_ok($$INSERT INTO firm SELECT 5000, name, city, ARRAY['x', phones[1]], NULL FROM firm WHERE id = 4$$, '23505', NULL, 'a guard refuses by an element');
SELECT lives_ok($$INSERT INTO firm VALUES (5001, 'something else', 'city 1', '{y,+4}', '{-1}')$$, 'and lets others in');
-- what is not immutable cannot be indexed: said, and found by a scan all the same
SELECT salesops.create_matcher('mutable', 'firm', 'id', '[{"column": "name"}, {"column": "city"}]', ARRAY['to_char(codes[1], ''999'')', 'name']);
SELECT ok(count(*) > 0, 'trained') FROM salesops.train_matcher('mutable');
SET LOCAL client_min_messages = error;
SELECT is(array_agg(rule), '{name}', 'only what is immutable is indexed') FROM salesops.index_matcher('mutable');
SELECT is(salesops.match_elements('{a,NULL,"",b}'), 'a' || chr(31) || 'b', 'match_elements');
SELECT is(salesops.match_elements('{NULL,""}'), NULL, 'match_elements of nothing');
SELECT * FROM finish();
ROLLBACK;
