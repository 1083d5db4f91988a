-- create_matcher's JSON: wrong types, unknown keys, deep, huge, random. Every fault of a document is named in one error, nothing is kept, and what
-- is taken can be trained.
BEGIN;
SELECT no_plan();
SET LOCAL client_min_messages = warning;
CREATE TABLE person (id int PRIMARY KEY, name text, city text, born date, age int);
INSERT INTO person SELECT i, md5((i / 2)::text), 'city ' || i % 9, date '1970-01-01' + i / 2 * 7, i % 70 FROM generate_series(1, 200) i;

CREATE FUNCTION pg_temp.answer(comparisons jsonb, blocking text[], options jsonb, OUT state text, OUT message text, OUT detail text, OUT hint text) LANGUAGE plpgsql AS $$
BEGIN
  PERFORM salesops.create_matcher('m', 'person', 'id', comparisons, blocking, options);
  state := '00000';
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
END
$$;
-- all of several faults, in one error
SELECT unnest(ARRAY[is(state, '22023', 'options with four faults are refused'), ok(detail LIKE '%max_block%' AND detail LIKE '%one_to_one%' AND detail LIKE '%unheard%' AND detail LIKE '%exclude%',
  'and all four are named: ' || detail)]) FROM pg_temp.answer(NULL, NULL, '{"max_block": "many", "one_to_one": 7, "unheard": {}, "exclude": "name"}');
SELECT unnest(ARRAY[is(state, '22023', 'comparisons with faults are refused'), ok(detail LIKE '%thresholds%' AND detail LIKE '%method%' AND detail LIKE '%colour%' AND detail LIKE '%comparisons[1]%either%',
  'and all are named: ' || coalesce(detail, message))]) FROM pg_temp.answer('[{"column": "name", "method": "telepathy", "thresholds": "high", "colour": 1}, {"name": "name of nothing"}]', '{name}', '{}');
SELECT unnest(ARRAY[is(state, '22023', 'out of range: ' || o::text), ok(message || detail ~ (SELECT k FROM jsonb_object_keys(o) k), 'named')]) FROM unnest('{"{\"max_block\": 1}","{\"max_block\": 1e9}",
  "{\"max_block\": 2.5}","{\"seed\": -1}","{\"max_block\": []}","{\"exclude\": [1]}","{\"right_key\": {}}"}'::jsonb[]) o, LATERAL pg_temp.answer(NULL, NULL, o);
SELECT isnt(state, '00000', 'options that are no object: ' || o::text) FROM unnest('{"[]","3","\"x\"","true","[{\"max_block\": 5}]"}'::jsonb[]) o, LATERAL pg_temp.answer(NULL, NULL, o);
SELECT is(state, '00000', 'NULL is as if it were not given') FROM pg_temp.answer(NULL, NULL, '{"max_block": null, "exclude": null}');
SELECT ok(salesops.drop_matcher('m'), 'there it is');
-- deep and huge
SELECT unnest(ARRAY[isnt(state, '00000', 'a thousand levels'), isnt(state, 'XX000', 'and no internal error')]) FROM pg_temp.answer(NULL, NULL, (repeat('{"exclude": [', 1000) || repeat(']}', 1000))::jsonb);
SELECT isnt(state, '00000', 'comparisons a thousand levels deep') FROM pg_temp.answer((repeat('[', 1000) || repeat(']', 1000))::jsonb, NULL, '{}');
SELECT unnest(ARRAY[is(state, '22023', 'ten thousand unknown keys'), cmp_ok(length(detail), '<', 2000000, 'with a bounded DETAIL')])
  FROM pg_temp.answer(NULL, NULL, (SELECT jsonb_object_agg('k' || i, i) FROM generate_series(1, 10000) i));
SELECT unnest(ARRAY[isnt(state, '00000', 'ten thousand comparisons'), isnt(state, 'XX000', 'and no internal error')]) FROM pg_temp.answer((SELECT jsonb_agg('{"column": "name"}'::jsonb) FROM generate_series(1, 10000)), NULL, '{}');
SELECT unnest(ARRAY[isnt(state, '00000', 'a megabyte in a name'), isnt(state, 'XX000', 'and no internal error')]) FROM pg_temp.answer(jsonb_build_array(jsonb_build_object('column', repeat('x', 1000000))), NULL, '{}');
SELECT unnest(ARRAY[isnt(state, '00000', 'a megabyte as a method'), isnt(state, 'XX000', 'and no internal error')]) FROM pg_temp.answer(jsonb_build_array(jsonb_build_object('column', 'name', 'method', repeat('x', 1000000))), NULL, '{}');
SELECT is(state, '22023', n || ' comparisons') FROM unnest('{17,18,40}'::int[]) n, LATERAL pg_temp.answer((SELECT jsonb_agg('{"column": "name"}'::jsonb) FROM generate_series(1, n)), NULL, '{}');
SELECT is(count(*), 0::bigint, 'nothing is kept of what was refused') FROM salesops.matcher;

-- random documents of right and wrong parts, seeded
SELECT setseed(0.3);
CREATE FUNCTION pg_temp.any_value(depth int) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  RETURN CASE floor(random() * CASE WHEN depth > 0 THEN 12 ELSE 9 END)::int
    WHEN 0 THEN 'null' WHEN 1 THEN 'true' WHEN 2 THEN to_jsonb(floor(random() * 10000)::int - 50) WHEN 3 THEN to_jsonb(random()) WHEN 4 THEN '1e300'
    WHEN 5 THEN to_jsonb((ARRAY['name', 'city', 'born', 'age', 'id', 'nothing', '', 'a b', 'exact', 'jaro_winkler', 'numeric_difference', E'\u0001é', 'name || '])[1 + floor(random() * 13)::int])
    WHEN 6 THEN '[0.9]' WHEN 7 THEN '[0.9, 0.8]' WHEN 8 THEN '{}'
    WHEN 9 THEN jsonb_build_array(pg_temp.any_value(depth - 1)) WHEN 10 THEN jsonb_build_object('column', pg_temp.any_value(depth - 1)) ELSE jsonb_build_array(pg_temp.any_value(depth - 1), pg_temp.any_value(depth - 1)) END;
END $$;
CREATE FUNCTION pg_temp.any_object(keys text[]) RETURNS jsonb LANGUAGE sql VOLATILE AS $$
  SELECT coalesce(jsonb_object_agg(k, pg_temp.any_value(2)), '{}') FROM unnest(keys) k WHERE random() < 0.35 $$;
CREATE FUNCTION pg_temp.any_comparison() RETURNS jsonb LANGUAGE sql VOLATILE AS $$
  SELECT CASE WHEN random() < 0.1 THEN pg_temp.any_value(2)
    ELSE CASE WHEN random() < 0.7 THEN jsonb_build_object('column', (ARRAY['name', 'city', 'age', 'born'])[1 + floor(random() * 4)::int]) ELSE '{}' END
      || CASE WHEN random() < 0.5 THEN pg_temp.any_object('{method,thresholds,term_frequency,name,expression,column,swapped_with,other}') ELSE '{}' END END $$;
CREATE TABLE answers AS
  SELECT i, c.comparisons, c.options, a.* FROM generate_series(1, 600) i,
    LATERAL (SELECT CASE WHEN i % 3 > 0 THEN (SELECT jsonb_agg(pg_temp.any_comparison()) FROM generate_series(1, 1 + i % 3)) END AS comparisons,
                    CASE WHEN i % 2 = 0 THEN '{}' ELSE pg_temp.any_object('{max_block,right_relation,right_key,one_to_one,seed,exclude,other}') END AS options) c,
    LATERAL (SELECT x.*, CASE WHEN x.state = '00000' THEN salesops.drop_matcher('m') END AS dropped FROM pg_temp.answer(c.comparisons, '{name,city}', c.options) x) a;
SELECT is(array_agg(format('%s: %s (%s, %s)', state, message, comparisons, options)) FILTER (WHERE state LIKE 'XX%' OR state LIKE '5%' OR state LIKE '58%'), NULL, 'no random document ends in an internal error') FROM answers;
SELECT is(array_agg(format('%s: %s (%s, %s)', state, message, comparisons, options)) FILTER (WHERE state NOT IN ('00000') AND message NOT LIKE '%"m"%' AND detail = '' AND hint = ''), NULL,
  'every refusal names the matcher, or has a DETAIL or a HINT') FROM answers;
SELECT unnest(ARRAY[cmp_ok(count(*) FILTER (WHERE state = '00000'), '>', 30::bigint, 'some are taken'), cmp_ok(count(*) FILTER (WHERE state <> '00000'), '>', 200::bigint, 'many are not')]) FROM answers;
SELECT is(count(*), 0::bigint, 'nothing is left') FROM salesops.matcher;
SELECT * FROM finish();
ROLLBACK;
