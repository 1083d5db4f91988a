-- which columns serve: keys are told from amounts and prose, "nothing paid" is told beside amounts, zero beside few
BEGIN;
SELECT no_plan();
CREATE TABLE deal AS
  SELECT i AS id, (i * 48271::bigint % 2147483647)::int AS even, 1000000 + i * i % 99991 AS account_number,
         (exp(7 + 5 * (i * 7919 % 1009) / 1009.0))::int + i % 13 AS revenue,
         'LEAD-' || lpad(i::text, 6, '0') AS reference, md5(i::text)::uuid::text AS token,
         'Met ' || md5(i::text) || ' at ' || (ARRAY['the fair', 'a call', 'the office'])[1 + i % 3] || ', wants ' || (ARRAY['a demo', 'a price', 'nothing'])[1 + i * 7 % 3] AS note,
         CASE WHEN won THEN 50 + i * 31 % 900 ELSE 0 END AS paid, i % 10 AS tenth, won
    FROM (SELECT i, (i * 7 % 3 = 0) <> (i * 16807::bigint % 7 = 0) OR (i * 7919 % 1009) > 900 AS won FROM generate_series(1, 1000) i) d;
CREATE TABLE answer AS SELECT (salesops.train_model('deal', 'SELECT * FROM deal', 'won', 'logistic', NULL, '{"fast": true}')).*;
SELECT matches(left_out ->> 'id', '^a key', 'numbers in a row are a key') FROM answer;
SELECT matches(left_out ->> 'even', '^a key', 'so are numbers that lie evenly') FROM answer;
SELECT matches(left_out ->> 'account_number', '^a key', 'and those named as one') FROM answer;
SELECT matches(left_out ->> 'reference', '^a key', 'text of one word that is everywhere and one that is nowhere else is a key') FROM answer;
SELECT matches(left_out ->> 'token', '^a key', 'as is a uuid') FROM answer;
SELECT cmp_ok((SELECT count(DISTINCT revenue) FROM deal), '>=', 950::bigint, 'amounts that are nearly all distinct');
SELECT ok('revenue' = ANY (features), 'are no key') FROM answer;
SELECT is((SELECT count(DISTINCT note) FROM deal), 1000::bigint, 'prose that is all distinct');
SELECT ok('note' = ANY (features), 'is read by its words') FROM answer;
SELECT matches(left_out ->> 'paid', '^the label in other words', 'an amount that is nothing where nothing was won gives the label away') FROM answer;
SELECT cmp_ok(abs(salesops.predict('deal', d) - salesops.predict('deal', e)), '>', 0.001::float8, 'and what it asks for counts')
  FROM (SELECT 'wants nothing'::text AS note) d, (SELECT 'wants a demo'::text AS note) e;

-- none and few: half of the visits are 0, and only they lose
CREATE TABLE visit AS SELECT i AS id, CASE WHEN i % 2 = 0 THEN 0 ELSE 1 + i * 7919 % 53 END AS visits, i % 2 = 1 AND i * 16807::bigint % 10 > 1 OR i % 20 = 0 AS won FROM generate_series(1, 2000) i;
SELECT is((salesops.train_model('visit', 'SELECT * FROM visit', 'won', 'logistic', 'id')).version, 1, 'trained');
SELECT cmp_ok(abs(salesops.predict('visit', v) - v.rate), '<', 0.15::float8, 'the chance at ' || v.visits || ' visits')
  FROM (VALUES (0, 0.1::float8), (1, 0.8), (2, 0.8), (30, 0.8)) v(visits, rate);

-- names of several words that come back as wholes are categories; where their words come back as well they are both, and training weighs them
CREATE TABLE campaign AS SELECT i AS id, 'spring campaign ' || i % 700 AS name, (ARRAY['Acme', 'Bolt', 'Core'])[1 + i % 700 % 3] || ' ' || i % 700 || ' ' ||
         (ARRAY['Holding Ltd', 'Trading GmbH'])[1 + i % 700 % 2] AS account, i * 31 % 7 AS x,
         i % 700 * 16807::bigint % 10 > 4 AS won, (i % 7 = 0) <> (i % 700 % 2 = 0) AS holding FROM generate_series(1, 2100) i;
CREATE TABLE told AS SELECT (salesops.train_model('campaign', 'SELECT id, name, x, won FROM campaign', 'won', 'logistic', 'id')).*;
SELECT cmp_ok(roc_auc, '>', 0.9::float8, 'names seen three times each are learned as wholes') FROM told;
SELECT is(features, '{name,x}', 'named once') FROM told;
SELECT set_eq($$SELECT term FROM salesops.model_coefficient WHERE name = 'campaign' AND feature = 'name'$$, ARRAY['target encoding', 'other'], 'and not as words that say nothing');
SELECT cmp_ok((salesops.train_model('account', 'SELECT id, account, x, won FROM campaign', 'won', 'auto', 'id')).roc_auc, '>', 0.9::float8,
              'as are names whose words come back');
SELECT cmp_ok((salesops.train_model('holding', 'SELECT id, account, x, holding FROM campaign', 'holding', 'logistic', 'id')).roc_auc, '>', 0.75::float8, 'whose words');
SELECT cmp_ok(abs(salesops.predict('holding', a) - salesops.predict('holding', b)), '>', 0.3::float8, 'tell of names never seen')
  FROM (SELECT 'Acme 9999 Holding Ltd'::text AS account, 3 AS x) a, (SELECT 'Acme 9999 Trading GmbH'::text AS account, 3 AS x) b;
SELECT is(array_agg(feature::text ORDER BY feature), '{(average),account,x}', 'one contribution a column') FROM salesops.explain_prediction('account', (SELECT c FROM campaign c WHERE id = 7));
SELECT is_empty($$SELECT id FROM (SELECT id, salesops.predict('account', c) AS p, (SELECT sum(contribution) FROM salesops.explain_prediction('account', c)) AS s
                    FROM campaign c WHERE id <= 200) q WHERE abs(p - 1 / (1 + exp(-s))) > 1e-15$$, 'and they add up');
SELECT is_empty($$SELECT id FROM salesops.predict_batch('account', 'SELECT * FROM campaign', 'id') b JOIN campaign c ON c.id::text = b.key
                   WHERE salesops.predict('account', c) <> b.probability$$, 'a batch predicts what rows do');

-- a word, or an element of an array, that knows the outcome
CREATE TABLE given AS SELECT id, x, won, account || CASE WHEN won THEN ' paid' ELSE '' END AS account, 'call ' || md5(id::text) || ' at ' || md5(x::text) || CASE WHEN won AND id % 3 = 0 THEN ' invoice' ELSE '' END AS note,
         ARRAY['a', CASE WHEN id % 2 = 0 THEN 'b' ELSE 'c' END, CASE WHEN won AND id % 5 > 0 THEN 'customer' END] AS tags,
         ARRAY['a', CASE WHEN id % 2 = 0 THEN 'b' ELSE 'c' END, CASE WHEN won <> (id % 4 = 0) THEN 'd' END] AS honest FROM campaign;
CREATE TABLE told_given AS SELECT (salesops.train_model('given', 'TABLE given', 'won', 'logistic', 'id')).*;
SELECT matches(left_out ->> 'account', '^the label in other words', 'a word that is the label leaves its column out') FROM told_given;
SELECT set_eq($$SELECT column_name, degree, reason LIKE 'a value in it that is nearly always positive%' FROM salesops.model_leakage WHERE name = 'given' AND column_name <> 'account'$$,
              $$VALUES ('note', 'question', true), ('tags', 'question', true)$$, 'words and elements that are nearly always positive are asked about, others are not');

-- rare levels and trees alone
CREATE TABLE rare AS SELECT i AS id, 'c' || i * 7919 % 1009 AS category, i * 48271::bigint % 997 AS x, i * 48271::bigint % 997 > 400 + i % 200 AS won FROM generate_series(1, 2000) i;
SELECT matches(array_to_string((salesops.train_model('rare', 'SELECT * FROM rare', 'won', 'boosted_trees', 'id', '{"rounds": 20, "depth": 2}')).notes, '; '),
               'values of "category" that are too rare to stand alone: trees see how often each of them was positive', 'a note says so');
SELECT matches(array_to_string((salesops.train_model('rare', 'SELECT * FROM rare', 'won', 'boosted_trees', 'id', '{"rounds": 20, "depth": 2, "linear_numbers": true}')).notes, '; '),
               'values of "category" that are too rare to stand alone: trees do not tell them apart', 'or that nothing stands in for them');

-- 2,000 categories of nine rows: trees alone rank rows that training did not see, by the same numbers in a row, a batch and an explanation; .5 before
CREATE TABLE place AS SELECT i AS id, 'p' || i * 7919::bigint % 2003 AS place, i % 7 AS x, hashint4extended(i, 1) & 1023 AS part,
       hashint4extended(i, 2) & 1023 < 205 + 512 * (i * 7919::bigint % 2003 % 3 = 0)::int AS won FROM generate_series(1, 18000) i;
CREATE TABLE told_place AS SELECT o.name, m.roc_auc
  FROM (VALUES ('place', '{}'), ('place_fast', '{"fast": true}'), ('place_given', '{"depth": 2, "rounds": 30}')) o(name, options),
  LATERAL salesops.train_model(o.name, 'SELECT id, place, x, won FROM place WHERE part < 717', 'won', 'boosted_trees', 'id', options::jsonb) m;
SELECT ok(e.roc_auc > 0.7 AND abs(e.roc_auc - t.roc_auc) < 0.04, t.name || ': trees alone learn 2,000 categories, and know how well: ' || round(e.roc_auc::numeric, 3) || ' ' || round(t.roc_auc::numeric, 3))
  FROM told_place t, salesops.evaluate_model(t.name, 'SELECT * FROM place WHERE part >= 717', 'won') e;
SELECT is_empty($$SELECT id FROM salesops.predict_batch('place', 'SELECT * FROM place WHERE id <= 500', 'id') b JOIN place p ON p.id::text = b.key
                    JOIN LATERAL (SELECT sum(contribution) AS s FROM salesops.explain_prediction('place', p)) e ON true
                   WHERE salesops.predict('place', p) <> b.probability OR abs(b.probability - 1 / (1 + exp(-s))) > 1e-15$$, 'row, batch and explanation agree on them');
SELECT is(abs(p - 0.367) < 0.1, true, 'a category never seen is near the base rate: ' || p)
  FROM (SELECT salesops.predict('place', (SELECT q FROM (SELECT 'elsewhere'::text AS place, 3 AS x) q)) AS p) x;
SELECT * FROM finish();
ROLLBACK;
