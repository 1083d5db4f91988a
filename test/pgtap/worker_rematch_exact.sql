-- refresh_matches() by the changed keys alone is what a full run is: where a ninth blocking rule or the element of an array makes a pair, where
-- blocks become too large to be paired and small enough again, where words become rare, where what linked two records was a third one, where
-- people decide, and where keys come, change and go. Random tables and changes, seeds below; after each round the stored groups, the cut
-- components and the list of blocks left out are held against those of a run that reads everything.
BEGIN;
SET client_min_messages = error;
SET LOCAL jit = off;
SELECT no_plan();
CREATE FUNCTION word(seed text, length int) RETURNS text LANGUAGE sql AS $$ SELECT translate(substr(md5(seed), 1, length), '0123456789', 'aeioulmnrs') $$;
CREATE FUNCTION pick(n int) RETURNS int LANGUAGE sql VOLATILE AS $$ SELECT floor(random() * n)::int $$;
CREATE SEQUENCE next_id START 10001;
CREATE TABLE changed (key text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP <> 'INSERT' THEN INSERT INTO changed VALUES (OLD.id::text); END IF;
  IF TG_OP <> 'DELETE' THEN INSERT INTO changed VALUES (NEW.id::text); END IF;
  RETURN NULL;
END
$$;
-- groups that are stored and not found by a full run, or the other way round
CREATE FUNCTION differences(m text) RETURNS bigint LANGUAGE sql AS $$
  WITH stored AS (SELECT array_agg(key ORDER BY key) AS keys FROM salesops.match_cluster WHERE matcher = m GROUP BY cluster_id),
       full_run AS (SELECT array_agg(key ORDER BY key) AS keys FROM salesops.find_clusters(m) GROUP BY cluster_id)
  SELECT count(*) FROM stored FULL JOIN full_run USING (keys) WHERE stored.keys IS NULL OR full_run.keys IS NULL
$$;
-- the same of what refreshes go by, beside the groups that update_clusters would change
CREATE FUNCTION left_over(m text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  n bigint;
BEGIN
  CREATE TEMP TABLE had ON COMMIT DROP AS SELECT key, component FROM salesops.match_component WHERE matcher = m
    UNION ALL SELECT 'block ' || rule, key FROM salesops.match_block WHERE matcher = m;
  DELETE FROM salesops.match_cluster_state WHERE matcher = m;
  SELECT count(*) INTO n FROM salesops.update_clusters(m);
  CREATE TEMP TABLE has ON COMMIT DROP AS SELECT key, component FROM salesops.match_component WHERE matcher = m
    UNION ALL SELECT 'block ' || rule, key FROM salesops.match_block WHERE matcher = m;
  n := n + (SELECT count(*) FROM (TABLE had EXCEPT ALL TABLE has) x) + (SELECT count(*) FROM (TABLE has EXCEPT ALL TABLE had) x);
  DROP TABLE had, has;
  RETURN n;
END
$$;

-- ---- ten keys and an array, blocks of eight at most; a large table by its statistics
CREATE TABLE wide (id int PRIMARY KEY, first_name text, last_name text, mail text, city text, born int, k1 text, k2 text, k3 text, k4 text, k5 text, k6 text, k7 text, k8 text, k9 text, k10 text, tags text[]);
-- names come from few, so that there are doubtful pairs; copies have slips
CREATE FUNCTION wide_row(id int) RETURNS wide LANGUAGE sql VOLATILE AS $$
  SELECT id, CASE WHEN random() < 0.1 THEN left(f, 3) ELSE f END, l || CASE WHEN random() < 0.2 THEN 'e' ELSE '' END, CASE WHEN random() < 0.7 THEN m END, CASE WHEN random() < 0.8 THEN 'city ' || p % 9 END,
         CASE WHEN random() < 0.8 THEN 1950 + p % 41 END, CASE WHEN random() < 0.3 THEN m END, CASE WHEN random() < 0.2 THEN l END, 'c' || id, 'd' || id, 'e' || id, 'f' || id, 'g' || id, 'h' || id,
         CASE WHEN random() < 0.9 THEN l END, CASE WHEN random() < 0.6 THEN m END, ARRAY['t' || pick(30), CASE WHEN random() < 0.3 THEN f || p % 41 END, 'w' || pick(200)]
    FROM pick(170) AS p, word('f' || p % 23, 5) AS f, word('l' || p % 37, 7) AS l, CAST(word('m' || p, 8) || '@example.com' AS text) AS m $$;
CREATE FUNCTION change_wide() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  a wide;
  b wide;
BEGIN
  FOR i IN 1..1 + pick(4) LOOP
    SELECT * INTO a FROM wide ORDER BY random() LIMIT 1;
    SELECT * INTO b FROM wide ORDER BY random() LIMIT 1;
    CASE pick(12)
      WHEN 0 THEN INSERT INTO wide SELECT r.* FROM wide_row(nextval('next_id')::int) r;
      WHEN 1 THEN DELETE FROM wide WHERE id = a.id;
      WHEN 2 THEN UPDATE wide SET k9 = b.k9, k10 = b.k10 WHERE id = a.id;
      WHEN 3 THEN UPDATE wide SET last_name = b.last_name, born = b.born, mail = b.mail, k1 = b.k1, k9 = a.k9 WHERE id = a.id;
      WHEN 4 THEN UPDATE wide SET id = nextval('next_id') WHERE id = a.id;
      WHEN 5 THEN UPDATE wide SET tags = b.tags, city = b.city, mail = CASE WHEN random() < 0.5 THEN NULL ELSE mail END WHERE id = a.id;
      -- something of two others; one that linked others goes
      WHEN 6, 9, 10 THEN INSERT INTO wide VALUES (nextval('next_id'), a.first_name, a.last_name, b.mail, a.city, a.born, a.k1, b.k2, NULL, NULL, NULL, NULL, NULL, NULL, a.k9, b.k10, a.tags || b.tags);
      WHEN 7 THEN UPDATE wide SET last_name = word(random()::text, 7), mail = NULL WHERE id::text IN (SELECT key FROM salesops.match_component WHERE matcher = 'wide' ORDER BY random() LIMIT 1);
      ELSE
        IF a.id <> b.id THEN
          EXECUTE format('SELECT salesops.%s($1, $2, $3)', CASE pick(3) WHEN 0 THEN 'confirm_match' WHEN 1 THEN 'reject_match' ELSE 'withdraw_decision' END)
            USING 'wide', a.id::text, b.id::text;
          INSERT INTO changed VALUES (a.id::text), (b.id::text);
        END IF;
    END CASE;
  END LOOP;
END
$$;
-- decisions recalibrate, and then all is looked at: that is held still
CREATE TABLE rounds (by_indexes boolean, changed bigint, cut bigint);
CREATE FUNCTION round_of(m text, change text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  n bigint;
BEGIN
  EXECUTE format('SELECT %I()', change);
  UPDATE salesops.matcher SET calibration_slope = 1, calibration_offset = 0 WHERE matcher = m AND (calibration_slope, calibration_offset) <> (1, 0);
  UPDATE salesops.match_cluster_state SET looked_at = -1 WHERE matcher = m;
  -- all at once, or one after the other while the rest has changed already, as when the queue is drained in small batches
  IF random() < 0.5 THEN
    n := salesops.refresh_matches(m, ARRAY(SELECT key FROM changed));
  ELSE
    n := (SELECT sum(salesops.refresh_matches(m, ARRAY[key])) FROM (SELECT DISTINCT key FROM changed ORDER BY 1) c);
  END IF;
  TRUNCATE changed;
  INSERT INTO rounds SELECT (SELECT looked_at = -1 FROM salesops.match_cluster_state WHERE matcher = m), n, count(*) FROM salesops.match_component WHERE matcher = m;
  RETURN differences(m);
END
$$;
CREATE FUNCTION wide_seed(seed float8) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
  PERFORM setseed(seed), salesops.drop_matcher('wide');
  TRUNCATE wide;
  INSERT INTO wide SELECT r.* FROM generate_series(1, 260) i, wide_row(i) r;
  PERFORM salesops.create_matcher('wide', 'wide', 'id', '[{"column": "first_name", "method": "jaro_winkler"}, {"column": "last_name", "method": "jaro_winkler", "term_frequency": true},
    {"column": "mail"}, {"column": "city"}, {"column": "born", "method": "numeric_difference", "thresholds": [1]}]', '{k1,k2,k3,k4,k5,k6,k7,k8,k9,k10,tags}', '{"max_block": 8}');
  PERFORM FROM salesops.train_matcher('wide');
  PERFORM FROM salesops.index_matcher('wide');
  PERFORM FROM salesops.update_clusters('wide');
  TRUNCATE changed;
  UPDATE pg_class SET reltuples = 1000000 WHERE oid = 'wide'::regclass;
  RETURN NEXT cmp_ok((SELECT count(*) FROM salesops.match_block WHERE matcher = 'wide'), '>', 5::bigint, 'seed ' || seed || ': blocks are left out');
  RETURN NEXT is((SELECT sum(round_of('wide', 'change_wide')) FROM generate_series(1, 30)), 0::numeric, 'seed ' || seed || ': 30 rounds of changes, each as a full run');
  RETURN NEXT cmp_ok((SELECT count(*) FILTER (WHERE cut > 0) FROM rounds), '>', 9::bigint, 'seed ' || seed || ': in many of them components are cut');
  RETURN NEXT is(left_over('wide'), 0::bigint, 'seed ' || seed || ': and a full run has nothing to change');
END
$$;
CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON wide FOR EACH ROW EXECUTE FUNCTION note();
SELECT wide_seed(s) FROM unnest('{0.11, 0.23}'::float8[]) s;

-- ---- rare words: they were common at training, or become so
CREATE TABLE firm (id int PRIMARY KEY, name text, about text, code text);
CREATE FUNCTION firm_row(id int) RETURNS firm LANGUAGE sql VOLATILE AS $$
  SELECT id, word('n' || p, 8) || ' ' || word('o' || p % 7, 6), word('r' || p % 9, 6) || ' ' || word('s' || p % 11, 7) || ' ' || word('v' || p, 6) || ' trade', 'x' || CASE WHEN random() < 0.3 THEN p ELSE 1000 + id END
    FROM pick(420) AS p $$;
-- a copy that no prefix and no whole value would find, and of its words only common ones
CREATE FUNCTION firm_slip(a firm) RETURNS firm LANGUAGE sql VOLATILE AS $$
  SELECT nextval('next_id')::int, chr(97 + pick(26)) || substr(a.name, 2), split_part(a.about, ' ', 2) || ' ' || split_part(a.about, ' ', 1) || ' ' || split_part(a.about, ' ', 3) || 'x trade',
         'z' || nextval('next_id') $$;
CREATE FUNCTION change_firm() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  a firm;
  b firm;
BEGIN
  FOR i IN 1..1 + pick(6) LOOP
    SELECT * INTO a FROM firm ORDER BY random() LIMIT 1;
    SELECT * INTO b FROM firm ORDER BY random() LIMIT 1;
    CASE pick(8)
      WHEN 5, 6, 7 THEN INSERT INTO firm SELECT r.* FROM firm_slip(a) r;
      WHEN 0 THEN INSERT INTO firm SELECT r.* FROM firm_row(nextval('next_id')::int) r;
      WHEN 1 THEN DELETE FROM firm WHERE id = a.id;
      WHEN 2 THEN UPDATE firm SET about = b.about WHERE id = a.id;
      WHEN 3 THEN UPDATE firm SET about = word('r' || pick(9), 6) || ' ' || word('s' || pick(11), 7) || ' of nobody' || id WHERE id IN (SELECT id FROM firm ORDER BY random() LIMIT 5);
      ELSE UPDATE firm SET name = b.name, code = 'y' || nextval('next_id') WHERE id = a.id;
    END CASE;
  END LOOP;
END
$$;
CREATE FUNCTION firm_seed(seed float8) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
  PERFORM setseed(seed), salesops.drop_matcher('firms');
  TRUNCATE firm;
  INSERT INTO firm SELECT r.* FROM generate_series(1, 430) i, firm_row(i) r;
  INSERT INTO firm SELECT r.* FROM firm a, firm_slip(a) r WHERE a.id < 130;
  PERFORM salesops.create_matcher('firms', 'firm', 'id');
  PERFORM FROM salesops.train_matcher('firms');
  PERFORM FROM salesops.index_matcher('firms');
  PERFORM FROM salesops.update_clusters('firms');
  TRUNCATE changed;
  UPDATE pg_class SET reltuples = 1000000 WHERE oid = 'firm'::regclass;
  RETURN NEXT is((SELECT count(*) FROM salesops.matcher m, jsonb_array_elements(m.blocking) b WHERE m.matcher = 'firms' AND b ->> 'kind' = 'tokens'), 1::bigint, 'seed ' || seed || ': rare words make pairs');
  RETURN NEXT cmp_ok((SELECT count(*) FROM salesops.match_block WHERE matcher = 'firms'), '>', 5::bigint, 'seed ' || seed || ': some words are common');
  CREATE TEMP TABLE common ON COMMIT DROP AS SELECT key FROM salesops.match_block WHERE matcher = 'firms';
  RETURN NEXT is((SELECT sum(round_of('firms', 'change_firm')) FROM generate_series(1, 30)), 0::numeric, 'seed ' || seed || ': 30 rounds of changes, each as a full run');
  RETURN NEXT cmp_ok((SELECT count(*) FROM (TABLE common EXCEPT SELECT key FROM salesops.match_block) x) + (SELECT count(*) FROM (SELECT key FROM salesops.match_block EXCEPT TABLE common) x),
    '>', 0::bigint, 'seed ' || seed || ': words have become rare or common');
  RETURN NEXT is(left_over('firms'), 0::bigint, 'seed ' || seed || ': and a full run has nothing to change');
  DROP TABLE common;
END
$$;
CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON firm FOR EACH ROW EXECUTE FUNCTION note();
SELECT firm_seed(s) FROM unnest('{0.41, 0.59}'::float8[]) s;
SELECT is(count(*) FILTER (WHERE by_indexes), 120::bigint, 'all rounds went by indexes') FROM rounds;
SELECT cmp_ok(count(*) FILTER (WHERE changed > 0), '>', 80::bigint, 'most have changed clusters') FROM rounds;
SELECT cmp_ok(count(DISTINCT cut), '>', 4::bigint, 'and cut components') FROM rounds;

-- ---- what it goes by
CREATE FUNCTION looked() RETURNS int LANGUAGE sql AS $$ SELECT looked_at FROM salesops.match_cluster_state WHERE matcher = 'firms' $$;
UPDATE salesops.match_cluster_state SET looked_at = -1;
SELECT salesops.refresh_matches('firms', ARRAY(SELECT id::text FROM firm ORDER BY id LIMIT 3));
SELECT is(looked(), -1, 'by indexes: no full run');
SELECT salesops.refresh_matches('firms', ARRAY['1'], 0.8);
SELECT is(looked(), (SELECT count(*)::int FROM firm), 'another threshold: a full run');
SELECT salesops.refresh_matches('firms', ARRAY['1']);
UPDATE salesops.match_cluster_state SET looked_at = -1;
SELECT salesops.refresh_matches('firms', ARRAY['1']);
SELECT is(looked(), -1, 'and by indexes again');
SELECT count(*) FROM salesops.train_matcher('firms');
SELECT salesops.refresh_matches('firms', ARRAY['1']);
SELECT is(looked(), (SELECT count(*)::int FROM firm), 'after training: a full run');
UPDATE salesops.match_cluster_state SET looked_at = -1;
SELECT salesops.refresh_matches('firms', ARRAY(SELECT g::text FROM generate_series(1, 2000) g));
SELECT isnt(looked(), -1, 'beyond 1,500 keys: a full run');
UPDATE salesops.match_cluster_state SET looked_at = -1;
DO $$ BEGIN EXECUTE 'DROP INDEX ' || (SELECT index FROM salesops.index_matcher('firms') LIMIT 1); END $$;
SELECT salesops.refresh_matches('firms', ARRAY['1']);
SELECT isnt(looked(), -1, 'without an index: a full run');
SELECT cmp_ok((SELECT count(*) FROM salesops.index_matcher('firms') WHERE created), '>', 0::bigint, 'which index_matcher makes');
UPDATE salesops.match_cluster_state SET looked_at = -1;
SELECT salesops.refresh_matches('firms', ARRAY['1']);
SELECT is(looked(), -1, 'and it goes by indexes again');
SELECT is((SELECT array_agg(i.rule) FROM salesops.index_matcher('wide') i WHERE i.rule LIKE '%more%'), '{2 more rules}', 'keys beyond the eighth share an index');
SELECT salesops.drop_matcher('firms'), salesops.drop_matcher('wide');
SELECT is((SELECT count(*) FROM salesops.match_component) + (SELECT count(*) FROM salesops.match_block) + (SELECT count(*) FROM salesops.match_touched), 0::bigint, 'a matcher that goes leaves nothing');
SELECT * FROM finish();
ROLLBACK;
