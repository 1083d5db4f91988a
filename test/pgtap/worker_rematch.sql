-- What refresh_changed() recomputes key by key is what a full run computes: clusters of duplicates, lead scores. Random changes.
BEGIN;
SET client_min_messages = warning;
SELECT no_plan();

-- ---- clusters: the groups of find_clusters, after every round of inserts, edits, deletes and decisions
CREATE TABLE person (id int PRIMARY KEY, first_name text, last_name text, email text, phone text);
CREATE FUNCTION word(seed text, length int) RETURNS text LANGUAGE sql AS $$ SELECT initcap(translate(substr(md5(seed), 1, length), '0123456789', 'aeioulmnrs')) $$;
INSERT INTO person SELECT i, word('f' || i % 240, 5), word('l' || i % 240, 8) || CASE WHEN i > 240 THEN 'e' ELSE '' END,
       CASE WHEN i % 3 > 0 THEN 'm' || i % 240 || '@example.com' END, CASE WHEN i % 4 > 0 THEN '+49' || 1000000 + (i % 240) * 7 END
  FROM generate_series(1, 330) i;
SELECT count(*) FROM salesops.attach('contact', 'person', '{"contact_id": "id"}');
SELECT salesops.create_matcher('people', 'person', 'id', '[{"column": "first_name", "method": "jaro_winkler"}, {"column": "last_name", "method": "jaro_winkler"},
  {"column": "email"}, {"column": "phone"}]', '{email,phone,"first_name || left(last_name, 3)"}');
SELECT ok(count(*) > 0, 'a matcher is trained') FROM salesops.train_matcher('people');
SELECT is((SELECT count(*) FROM salesops.refreshable_matchers('contact')), 0::bigint, 'without indexes it is left to the nightly job');
SELECT ok(bool_and(created), 'its look-ups have indexes') FROM salesops.index_matcher('people');
SELECT cmp_ok(sum(records), '>', 100::numeric, 'clusters are stored') FROM salesops.update_clusters('people');
SELECT salesops.watch('person', 'contact');

CREATE FUNCTION differences() RETURNS bigint LANGUAGE sql AS $$
  WITH stored AS (SELECT array_agg(key ORDER BY key) AS keys FROM salesops.match_cluster WHERE matcher = 'people' GROUP BY cluster_id),
       full_run AS (SELECT array_agg(key ORDER BY key) AS keys FROM salesops.find_clusters('people') GROUP BY cluster_id)
  SELECT count(*) FROM stored FULL JOIN full_run USING (keys) WHERE stored.keys IS NULL OR full_run.keys IS NULL
$$;
CREATE FUNCTION change(round int) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  a person;
  b person;
BEGIN
  FOR i IN 1..3 LOOP
    SELECT * INTO a FROM person ORDER BY random() LIMIT 1;
    SELECT * INTO b FROM person ORDER BY random() LIMIT 1;
    CASE floor(random() * 6)
      WHEN 0 THEN INSERT INTO person VALUES (1000 + round * 10 + i, a.first_name, a.last_name || 'x', a.email, b.phone);
      WHEN 1 THEN DELETE FROM person WHERE id = a.id;
      WHEN 2 THEN UPDATE person SET email = b.email, phone = b.phone WHERE id = a.id;
      WHEN 3 THEN UPDATE person SET first_name = b.first_name, last_name = b.last_name, email = b.email WHERE id = a.id;
      WHEN 4 THEN UPDATE person SET id = 2000 + round * 10 + i WHERE id = a.id;
      ELSE UPDATE person SET email = NULL, first_name = word(random()::text, 6) WHERE id = a.id;
    END CASE;
  END LOOP;
  PERFORM salesops.refresh_changed('contact');
  RETURN differences();
END
$$;
SELECT setseed(0.7);
SELECT is(differences(), 0::bigint, 'a full run has nothing to change');
SELECT is(change(i), 0::bigint, 'nor after changes, round ' || i) FROM generate_series(1, 30) i;
SELECT cmp_ok((SELECT count(DISTINCT event) FROM salesops.match_cluster_history), '>=', 3::bigint, 'records joined, left and moved on the way');
-- decisions count as changes of both records
CREATE FUNCTION decide(i int) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  a text := (SELECT id FROM person ORDER BY random() LIMIT 1);
  b text := (SELECT id FROM person WHERE id::text <> a ORDER BY random() LIMIT 1);
BEGIN
  IF i % 3 = 0 THEN
    PERFORM salesops.withdraw_decision('people', left_key, right_key) FROM salesops.match_decision WHERE matcher = 'people' ORDER BY random() LIMIT 1;
  ELSIF i % 3 = 1 THEN
    PERFORM salesops.confirm_match('people', a, b);
  ELSE
    PERFORM salesops.reject_match('people', m.key, n.key) FROM salesops.match_cluster m JOIN salesops.match_cluster n USING (matcher, cluster_id)
      JOIN person x ON x.id::text = m.key JOIN person y ON y.id::text = n.key WHERE m.key < n.key ORDER BY random() LIMIT 1;
  END IF;
  PERFORM salesops.refresh_changed('contact');
  RETURN differences();
END
$$;
SELECT is((SELECT sum(decide(i)) FROM generate_series(1, 15) i), 0::numeric, 'what people decide and withdraw is in it at the next refresh');
SELECT throws_ok($$SELECT salesops.refresh_matches('nobody', '{1}')$$, '42704', 'matcher "nobody" does not exist', 'no such matcher');
SELECT is(salesops.refresh_matches('people', '{}'), 0::bigint, 'no key, no change');

-- ---- the night has nothing to mend (worker_rematch_exact.sql has the laws): a ninth key, in a table that is large by its statistics
CREATE TABLE wide (id int PRIMARY KEY, name text, mail text, k1 text, k2 text, k3 text, k4 text, k5 text, k6 text, k7 text, k8 text, k9 text);
CREATE FUNCTION wide_row(id int, person int, key int) RETURNS wide LANGUAGE sql AS $$
  SELECT id, md5(person::text), md5('m' || person) || '@example.com', 'a' || key, 'b' || key, 'c' || key, 'd' || key, 'e' || key, 'f' || key, 'g' || key, 'h' || key,
         'i' || person % 100 $$;
INSERT INTO wide SELECT (wide_row(i, i % 300, i % 300)).* FROM generate_series(1, 400) i;
SELECT salesops.create_matcher('wide', 'wide', 'id', '[{"column": "name", "method": "jaro_winkler"}, {"column": "mail"}]', '{k1,k2,k3,k4,k5,k6,k7,k8,k9}');
SELECT ok(count(*) > 0, 'a matcher of nine keys is trained') FROM salesops.train_matcher('wide');
SELECT is(count(*), 9::bigint, 'and has indexes') FROM salesops.index_matcher('wide');
SELECT count(*) FROM salesops.update_clusters('wide');
UPDATE pg_class SET reltuples = 1000000 WHERE oid = 'wide'::regclass;
INSERT INTO wide SELECT (wide_row(1002, 251, 1002)).*;
SELECT is(salesops.refresh_matches('wide', '{1002}'), 2::bigint, 'a pair that only the ninth key makes is found');
SELECT is((SELECT count(*) FROM salesops.update_clusters('wide')), 0::bigint, 'and a full run has nothing to change');

-- ---- scores: those of score_leads, also of leads that are gone
CREATE TABLE prospect (id int PRIMARY KEY, created_at timestamptz, source text, employees int, converted_at timestamptz);
INSERT INTO prospect SELECT i, timestamptz '2026-01-01' + i * interval '1 hour', (ARRAY['web', 'fair', 'cold'])[1 + i % 3], 5 + (i * 37) % 400,
       CASE WHEN (i * 48271::bigint) % 100 < CASE i % 3 WHEN 0 THEN 60 WHEN 1 THEN 20 ELSE 5 END THEN timestamptz '2026-02-01' + i * interval '3 hours' END
  FROM generate_series(1, 400) i;
CREATE TABLE visit (visit_id int PRIMARY KEY, lead_id int, occurred_at timestamptz, kind text);
INSERT INTO visit SELECT i, 1 + i * 7 % 400, timestamptz '2026-03-01' + i * interval '1 hour', 'call' FROM generate_series(1, 300) i;
SELECT count(*) FROM salesops.attach('lead', 'prospect', '{"lead_id": "id"}');
SELECT count(*) FROM salesops.attach('activity', 'visit', '{"activity_id": "visit_id"}');
SELECT count(*) FROM salesops.train_model('lead', 'SELECT *, converted_at IS NOT NULL AS converted FROM salesops.lead', 'converted', 'logistic', options => '{"fast": true}');
SELECT salesops.create_scoring_rule('calls', 'engagement', 'kind = ''call''', 10, '{"entity": "activity", "half_life": "30 days", "cap": 40}');
SELECT cmp_ok(salesops.score_leads(), '>=', 400, 'all are scored');
SELECT salesops.watch('prospect', 'lead'), salesops.watch('visit', 'lead', 'lead_id');
CREATE FUNCTION score_differences() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  differ bigint;
BEGIN
  CREATE TEMPORARY TABLE kept AS SELECT lead_id, score, grade, probability, engagement, reasons FROM salesops.lead_score;
  PERFORM salesops.score_leads(), salesops.forget_lead_scores();
  SELECT count(*) INTO differ FROM (SELECT * FROM kept WHERE lead_id IN (SELECT id::text FROM prospect)
    EXCEPT SELECT lead_id, score, grade, probability, engagement, reasons FROM salesops.lead_score) x;
  SELECT differ + count(*) INTO differ FROM salesops.lead_score s WHERE NOT EXISTS (SELECT FROM kept k WHERE k.lead_id = s.lead_id);
  SELECT differ + count(*) INTO differ FROM salesops.lead_score s WHERE NOT EXISTS (SELECT FROM prospect p WHERE p.id::text = s.lead_id);
  DROP TABLE kept;
  RETURN differ;
END
$$;
CREATE FUNCTION change_leads(round int) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
  UPDATE prospect SET employees = employees + 50, source = 'fair' WHERE random() < 0.02;
  DELETE FROM prospect WHERE random() < 0.01;
  INSERT INTO prospect VALUES (1000 + round, now(), 'web', 10 * round);
  UPDATE prospect SET id = 5000 + round WHERE id = (SELECT min(id) FROM prospect);
  UPDATE visit SET lead_id = 1 + floor(random() * 400) WHERE random() < 0.02;
  DELETE FROM visit WHERE random() < 0.01;
  INSERT INTO visit SELECT 1000 + round, id, now(), 'call' FROM prospect ORDER BY random() LIMIT 1;
  PERFORM salesops.refresh_changed('lead');
  RETURN score_differences();
END
$$;
SELECT is(change_leads(i), 0::bigint, 'scores are those of a full run, round ' || i) FROM generate_series(1, 10) i;
INSERT INTO prospect VALUES (9001, clock_timestamp() + interval '1 hour', 'web', 10);
SELECT is(salesops.refresh_changed('lead'), 1::bigint, 'a lead from a clock that is ahead holds nobody up');
SELECT is((SELECT count(*) FROM salesops.lead_score WHERE lead_id = '9001'), 1::bigint, 'and has a score');

-- ---- an operator who may read the tables can do it
CREATE ROLE regress_rematch_operator;
SELECT salesops.grant_access('regress_rematch_operator', 'operator'), salesops.grant_model('lead', 'regress_rematch_operator');
GRANT SELECT ON person, prospect, visit TO regress_rematch_operator;
INSERT INTO person SELECT 9000, first_name, last_name, email, phone FROM person WHERE email IS NOT NULL ORDER BY id LIMIT 1;
UPDATE prospect SET employees = employees + 1 WHERE id = 9001;
DELETE FROM prospect WHERE id = 1001;
SET LOCAL ROLE regress_rematch_operator;
SELECT salesops.refresh_changed('contact'), salesops.refresh_changed('lead');
RESET ROLE;
SELECT is(differences(), 0::bigint, 'an operator rematches');
SELECT is((SELECT count(*) FROM salesops.match_cluster WHERE key = '9000'), 1::bigint, 'the new record is in a cluster');
SELECT is((SELECT count(*) FROM salesops.lead_score WHERE lead_id = '1001'), 0::bigint, 'and rescores');
SELECT * FROM finish();
ROLLBACK;
