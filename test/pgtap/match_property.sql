-- Laws of clusters that last, on random changes of random people: after every round of inserts, deletes, changes, bridges and
-- decisions, match_cluster is what a full run finds, whatever the order on disk; a group that has not changed keeps its id; the
-- history, replayed, is the present. Seeded.
BEGIN;
SET client_min_messages = warning;
SELECT no_plan();
SELECT setseed(0.42);
CREATE TABLE person (id integer PRIMARY KEY, first_name text, last_name text, email text, city text, born integer);
CREATE FUNCTION a_name(seed integer, length integer) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT translate(substr(md5(seed::text), 1, length), '0123456789', 'aeioulmnrs') $$;
-- names come from few, so that there are ties and doubtful pairs
INSERT INTO person SELECT i, a_name((random() * 40)::int, 5), a_name(100 + (random() * 120)::int, 7), a_name(1000 + (random() * 500)::int, 6) || '@example.com',
  'city ' || (random() * 9)::int, 1950 + (random() * 40)::int FROM generate_series(1, 500) i;
CREATE SEQUENCE next_id START 10001;
-- copies with slips
CREATE FUNCTION add_copies(share float8) RETURNS void LANGUAGE sql AS $$
  INSERT INTO person SELECT nextval('next_id'), CASE WHEN random() < 0.2 THEN left(first_name, 3) ELSE first_name END,
    CASE WHEN random() < 0.3 THEN last_name || 'e' ELSE last_name END, CASE WHEN random() < 0.7 THEN email END,
    CASE WHEN random() < 0.8 THEN city END, CASE WHEN random() < 0.8 THEN born END FROM person WHERE random() < share $$;
-- records that have something of two others
CREATE FUNCTION add_bridges(n integer) RETURNS void LANGUAGE sql AS $$
  INSERT INTO person SELECT nextval('next_id'), a.first_name, a.last_name, b.email, a.city, b.born
    FROM (SELECT *, row_number() OVER (ORDER BY random()) AS r FROM person) a JOIN (SELECT *, row_number() OVER (ORDER BY random()) AS r FROM person) b USING (r)
   WHERE r <= n AND a.id <> b.id $$;
CREATE FUNCTION change() RETURNS void LANGUAGE sql AS $$
  DELETE FROM person WHERE random() < 0.04;
  UPDATE person SET email = a_name(1000 + (random() * 500)::int, 6) || '@example.com' WHERE random() < 0.03;
  UPDATE person SET last_name = a_name(100 + (random() * 120)::int, 7) WHERE random() < 0.03;
  UPDATE person SET city = NULL WHERE random() < 0.02 $$;
CREATE FUNCTION shuffle() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  CREATE TEMP TABLE shuffled ON COMMIT DROP AS SELECT * FROM person ORDER BY random();
  TRUNCATE person;
  INSERT INTO person SELECT * FROM shuffled;
  DROP TABLE shuffled;
END $$;
SELECT add_copies(0.4);
SELECT salesops.create_matcher('p', 'person', 'id', '[{"column": "first_name", "method": "jaro_winkler"}, {"column": "last_name", "method": "jaro_winkler", "term_frequency": true},
  {"column": "email"}, {"column": "city"}, {"column": "born", "method": "numeric_difference", "thresholds": [1]}]', '{email,last_name,"first_name || born::text"}');
SELECT cmp_ok(count(*), '>', 10::bigint, 'trained') FROM salesops.train_matcher('p');

CREATE VIEW kept AS SELECT cluster_id, array_agg(key ORDER BY key) AS keys FROM salesops.match_cluster WHERE matcher = 'p' GROUP BY 1;
CREATE VIEW full_run AS SELECT array_agg(key ORDER BY key) AS keys FROM salesops.find_clusters('p') GROUP BY cluster_id;
CREATE TABLE before AS SELECT * FROM kept;
-- one round: what holds afterwards
CREATE FUNCTION holds(round text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
  TRUNCATE before;
  INSERT INTO before SELECT * FROM kept;
  PERFORM * FROM salesops.update_clusters('p');
  PERFORM shuffle();
  RETURN NEXT is((SELECT count(*) FROM (SELECT keys FROM kept EXCEPT TABLE full_run) x), 0::bigint, round || ': no group that a full run does not find');
  RETURN NEXT is((SELECT count(*) FROM (TABLE full_run EXCEPT SELECT keys FROM kept) x), 0::bigint, round || ': no group of a full run is missing');
  RETURN NEXT is((SELECT count(*) FROM before b JOIN kept k USING (keys) WHERE b.cluster_id <> k.cluster_id), 0::bigint, round || ': unchanged groups keep their ids');
  RETURN NEXT is((SELECT count(*) FROM salesops.update_clusters('p')), 0::bigint, round || ': nothing changes with the order on disk');
  RETURN NEXT is((SELECT count(*) FROM (
      SELECT h.from_cluster, lag(h.to_cluster) OVER (PARTITION BY h.key ORDER BY h.at) AS previous FROM salesops.match_cluster_history h WHERE h.matcher = 'p') x
    WHERE x.from_cluster IS DISTINCT FROM x.previous), 0::bigint, round || ': each change starts where the one before ended');
  RETURN NEXT is((SELECT count(*) FROM (SELECT DISTINCT ON (h.key) h.key, h.to_cluster FROM salesops.match_cluster_history h WHERE h.matcher = 'p' ORDER BY h.key, h.at DESC) x
    FULL JOIN (SELECT * FROM salesops.match_cluster c WHERE c.matcher = 'p') c USING (key) WHERE x.to_cluster IS DISTINCT FROM c.cluster_id), 0::bigint,
    round || ': the history ends in the present');
END $$;
SELECT holds('first');
SELECT cmp_ok(count(*), '>', 100::bigint, 'there are groups') FROM kept;
SELECT add_copies(0.1);
SELECT holds('copies');
SELECT add_bridges(40);
SELECT holds('bridges');
SELECT change();
SELECT holds('changes');
-- four that are one, then by decision two and two
INSERT INTO person SELECT i, 'Quirina', 'Zwetkowa', 'q.z@example.com', 'city 1', 1960 FROM generate_series(5001, 5004) i;
SELECT holds('four');
SELECT count(salesops.reject_match('p', a::text, b::text)) FROM generate_series(5001, 5002) a, generate_series(5003, 5004) b;
SELECT holds('two and two');
-- people decide: some pairs are not the same after all, some are though nothing says so
SELECT count(salesops.reject_match('p', d.left_key, d.right_key)) FROM (SELECT * FROM salesops.find_duplicates('p', 0.5) ORDER BY md5(left_key || right_key) LIMIT 25) d;
SELECT count(salesops.confirm_match('p', a.id::text, b.id::text)) FROM (SELECT id, row_number() OVER (ORDER BY md5(id::text)) AS r FROM person) a
  JOIN (SELECT id, row_number() OVER (ORDER BY md5('b' || id::text)) AS r FROM person) b USING (r) WHERE r <= 15 AND a.id <> b.id;
SELECT holds('decisions');
SELECT change(), add_copies(0.05), add_bridges(15);
SELECT holds('all at once');
SELECT count(salesops.withdraw_decision('p', d.left_key, d.right_key)) FROM salesops.match_decision d WHERE d.matcher = 'p' AND md5(d.left_key) < '8';
DELETE FROM person WHERE id % 3 = 0;
SELECT holds('a third gone');
SELECT is(array_agg(DISTINCT event ORDER BY event), '{bridged,joined,left,split}', 'all kinds of change were seen') FROM salesops.match_cluster_history;
SELECT * FROM finish();
ROLLBACK;
