-- Training within maintenance_work_mem: what exceeds it is learned from a sample, the same one every time, whose model finds what the model of all
-- records finds; where the sample's matches are too few to learn from, all records are taken.
BEGIN;
SELECT no_plan();
SET LOCAL client_min_messages = error;
SELECT setseed(0.75);
-- notes that take memory (three kilobytes each, compared by equality) and little time
CREATE TABLE noted AS
  SELECT i AS id, i % 8500 AS entity, 'given' || (random() * 800)::int AS first, 'sur' || (random() * 5000)::int AS last, 'm' || i % 8500 || '@mail.org' AS email,
         ((random() * 400)::int)::text AS postcode, repeat(md5((i % 8500)::text), 96) AS note
    FROM generate_series(1, 13000) i;
UPDATE noted p SET first = CASE WHEN p.id % 6 > 0 THEN o.first ELSE p.first END, last = CASE WHEN p.id % 7 > 0 THEN o.last ELSE o.last || 'e' END,
    postcode = CASE WHEN p.id % 4 > 0 THEN o.postcode ELSE p.postcode END, email = CASE WHEN p.id % 5 > 0 THEN p.email END,
    note = CASE WHEN p.id % 3 > 0 THEN p.note ELSE reverse(p.note) END
  FROM noted o WHERE p.id > 8500 AND o.id = p.id - 8500;
ALTER TABLE noted ADD PRIMARY KEY (id);
SELECT salesops.create_matcher('noted', 'noted', 'id',
  '[{"column": "first"}, {"column": "last", "method": "jaro_winkler"}, {"column": "email"}, {"column": "postcode"}, {"column": "note", "method": "numeric_difference", "thresholds": [1]}]',
  '{email,last || postcode,left(first\, 6) || left(last\, 4) || postcode}');
CREATE FUNCTION pg_temp.trained(memory text, workers int) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('maintenance_work_mem', memory, true), set_config('max_parallel_workers_per_gather', workers::text, true);
  PERFORM FROM salesops.train_matcher('noted');
  PERFORM set_config('maintenance_work_mem', '512MB', true);
  RETURN (SELECT jsonb_build_object('model', m.model, 'training', m.training, 'found', f.found, 'right', f.hits)
            FROM salesops.matcher m, (SELECT count(*) AS found, count(*) FILTER (WHERE a.entity = b.entity) AS hits
              FROM salesops.find_duplicates('noted') f JOIN noted a ON a.id = f.left_key::int JOIN noted b ON b.id = f.right_key::int) f
            WHERE m.matcher = 'noted');
END
$$;
CREATE TEMP TABLE training AS SELECT n, pg_temp.trained(m, w) AS t FROM (VALUES (1, '512MB', 0), (2, '1MB', 0), (3, '1MB', 2), (4, '16MB', 0)) v (n, m, w);
SELECT is((SELECT (t -> 'training' ->> 'share_of_records')::float8 FROM training WHERE n = 1), 1::float8, 'with enough memory all are learned from');
SELECT ok((SELECT (t -> 'training' ->> 'share_of_records')::float8 BETWEEN 0.4 AND 0.9 FROM training WHERE n = 2), 'with less a sample');
SELECT is((SELECT t -> 'model' FROM training WHERE n = 3), (SELECT t -> 'model' FROM training WHERE n = 2), 'the same one every time, workers or not');
SELECT is((SELECT t -> 'model' FROM training WHERE n = 4), (SELECT t -> 'model' FROM training WHERE n = 2), 'and at every setting that is too small');
SELECT cmp_ok((SELECT max(abs(a.value::float8 - b.value::float8)) FROM training x, training y,
    jsonb_array_elements(x.t -> 'model' -> 'comparisons') WITH ORDINALITY ac (c, n), jsonb_array_elements(y.t -> 'model' -> 'comparisons') WITH ORDINALITY bc (c, n),
    jsonb_array_elements_text(ac.c -> 'm') WITH ORDINALITY a (value, level), jsonb_array_elements_text(bc.c -> 'm') WITH ORDINALITY b (value, level)
    WHERE x.n = 1 AND y.n = 2 AND ac.n = bc.n AND a.level = b.level), '<', 0.02::float8, 'each m is near that of all records');
SELECT cmp_ok(abs((SELECT log(2, (t -> 'model' ->> 'prior')::numeric) FROM training WHERE n = 1) - (SELECT log(2, (t -> 'model' ->> 'prior')::numeric) FROM training WHERE n = 2)),
  '<', 0.15, 'so is the prior, in bits');
SELECT cmp_ok((t ->> 'right')::int, '>=', 4050, n || ': what is there is found') FROM training ORDER BY n;
SELECT cmp_ok((t ->> 'found')::int - (t ->> 'right')::int, '<=', 20, n || ': and little else') FROM training ORDER BY n;
-- comparisons and rules are chosen by one reading of what fits; where that is a sample, by a second one, to the same effect
CREATE FUNCTION pg_temp.chosen(memory text) RETURNS TABLE (name text, readings float8, definition jsonb) LANGUAGE plpgsql AS $$
DECLARE
  before bigint := pg_stat_get_xact_tuples_returned('noted'::regclass) + pg_stat_get_xact_tuples_fetched('noted'::regclass);
BEGIN
  PERFORM set_config('maintenance_work_mem', memory, true);
  PERFORM salesops.create_matcher('chosen ' || memory, 'noted', 'id', options => '{"exclude": ["entity"]}');
  RETURN QUERY SELECT m.matcher, (pg_stat_get_xact_tuples_returned('noted'::regclass) + pg_stat_get_xact_tuples_fetched('noted'::regclass) - before) / 13000.0::float8,
      jsonb_build_object('comparisons', m.comparisons, 'blocking', m.blocking) FROM salesops.matcher m WHERE m.matcher = 'chosen ' || memory;
END
$$;
CREATE TEMP TABLE choice AS SELECT (pg_temp.chosen(m)).* FROM unnest('{512MB,1MB}'::text[]) m;
SELECT is(readings, 1::float8, 'choosing reads the relation once, also where content asks for other forms') FROM choice WHERE name = 'chosen 512MB';
SELECT matches((SELECT definition::text FROM choice WHERE name = 'chosen 512MB'), 'match_code\(', 'as it did here');
SELECT is(readings, 2::float8, 'and once more for a sample of what exceeds maintenance_work_mem') FROM choice WHERE name = 'chosen 1MB';
SELECT is((SELECT definition FROM choice WHERE name = 'chosen 1MB'), (SELECT definition FROM choice WHERE name = 'chosen 512MB'), 'which asks for the same');
-- a hundred matches would leave a sample with some thirty
DELETE FROM noted WHERE id > 8600;
INSERT INTO noted SELECT i, i, 'given' || (random() * 800)::int, 'sur' || (random() * 5000)::int, 'm' || i || '@mail.org', ((random() * 400)::int)::text, repeat(md5(i::text), 96) FROM generate_series(13001, 17500) i;
SELECT is((pg_temp.trained('1MB', 0) -> 'training' ->> 'share_of_records')::float8, 1::float8, 'too few matches: all are learned from');
SELECT * FROM finish();
ROLLBACK;
