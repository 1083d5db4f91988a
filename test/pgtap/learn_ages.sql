-- dates counted from each row's own moment (option as_of): what a date says stays true for rows that come later
BEGIN;
SET client_min_messages = warning;
SELECT no_plan();
-- whoever was seen within thirty days of the moment buys, mostly (to know that is an AUC of .77); the moments of 2024 train, those of 2026 test
CREATE TABLE visitor AS
  SELECT i AS id, day AS as_of, day - ago AS seen, CASE WHEN i % 11 > 0 THEN (day - 500 + ago)::timestamp END AS signed_up, i % 5 AS size,
         (hashint4extended(i, 2) & 1023) < CASE WHEN ago < 30 THEN 800 ELSE 150 END AS won
    FROM (SELECT i, date '2024-01-01' + i % 90 + i / 3001 * 730 AS day, (hashint4extended(i, 1) & 127)::int AS ago FROM generate_series(1, 6000) i) v;
SELECT is((salesops.train_model('aged', 'SELECT * FROM visitor WHERE id <= 3000', 'won', 'logistic', 'id', '{"as_of": "as_of", "fast": true}')).left_out ->> 'as_of',
          'the moment that the other dates are counted from', 'the moment itself is no feature');
SELECT isnt(salesops.train_model('aged_trees', 'SELECT * FROM visitor WHERE id <= 3000', 'won', 'boosted_trees', 'id', '{"as_of": "as_of", "rounds": 40, "depth": 3}'), NULL, 'trees');
SELECT isnt(salesops.train_model('dated', 'SELECT * FROM visitor WHERE id <= 3000', 'won', 'logistic', 'id', '{"fast": true, "force": true}'), NULL, 'without the option');
SELECT cmp_ok(roc_auc, '>', 0.75::float8, m || ' two years later: ' || round(roc_auc::numeric, 3))
  FROM unnest('{aged,aged_trees}'::text[]) m, salesops.evaluate_model(m, 'SELECT * FROM visitor WHERE id > 3000', 'won');
SELECT cmp_ok(roc_auc, '<', 0.6::float8, 'counted from the newest of the training data they are all new: ' || round(roc_auc::numeric, 3))
  FROM salesops.evaluate_model('dated', 'SELECT * FROM visitor WHERE id > 3000', 'won');
-- the same number by columns, by row, in a batch and as an explanation; a moment shifted with its dates changes nothing
CREATE TABLE later AS SELECT id, as_of + 77 AS as_of, seen + 77 AS seen, signed_up + interval '77 days' AS signed_up, size FROM visitor WHERE id > 5500;
SELECT is_empty(format($$SELECT v.id FROM visitor v JOIN later l USING (id) JOIN salesops.predict_batch(%1$L, 'TABLE visitor', 'id') b ON b.key = v.id::text
                   JOIN LATERAL (SELECT sum(contribution) AS s FROM salesops.explain_prediction(%1$L, v)) e ON true
                  WHERE salesops.predict(%1$L, v) <> b.probability OR salesops.predict(%1$L, l) <> b.probability OR abs(b.probability - 1 / (1 + exp(-s))) > 1e-12
                     OR b.probability <> salesops.predict(%1$L, (SELECT x FROM (SELECT * FROM visitor w WHERE w.id = v.id OFFSET 0) x))$$, m), m || ': one number every way')
  FROM unnest('{aged,aged_trees}'::text[]) m;
SELECT is(salesops.predict('aged', (SELECT x FROM (SELECT seen, signed_up, size FROM visitor WHERE id = 1) x)),
          salesops.predict('aged', (SELECT x FROM (SELECT NULL::date AS seen, NULL::date AS signed_up, size FROM visitor WHERE id = 1) x)), 'without the moment the dates are missing');
SELECT is(salesops.predict('aged', (SELECT x FROM (SELECT seen::text, signed_up::date, size, as_of::text FROM visitor WHERE id = 1) x)),
          (SELECT salesops.predict('aged', v) FROM visitor v WHERE id = 1), 'dates may be spelled, or lose their time where they have none');
SELECT throws_ok($$SELECT salesops.predict('aged', (SELECT x FROM (SELECT seen, 5 AS as_of FROM visitor WHERE id = 1) x))$$, '42804', NULL, 'a moment that is no date');
SELECT throws_ok(format($$SELECT salesops.train_model('none', 'SELECT * FROM visitor', 'won', 'logistic', 'id', '{"as_of": %s, "fast": true}')$$, c), '42703', NULL, 'no such column of dates: ' || c)
  FROM unnest('{"\"size\"","\"nowhere\""}'::text[]) c;
-- leads are scored as of a moment: the model's ages count from there
CREATE TABLE leads AS SELECT id::text AS lead_id, signed_up::timestamptz AS created_at, seen::timestamptz AS converted_at, size::text AS source, won, as_of FROM visitor WHERE signed_up IS NOT NULL;
SELECT isnt_empty($$SELECT * FROM salesops.attach('lead', 'leads')$$, 'leads are attached');
SELECT isnt(salesops.train_model('lead', 'SELECT l.*, t.as_of, t.won FROM salesops.lead l JOIN leads t USING (lead_id) WHERE lead_id::int <= 3000', 'won', 'logistic', 'lead_id',
                                 '{"as_of": "as_of", "fast": true, "include": ["converted_at"]}'), NULL, 'a model of leads');
SELECT cmp_ok(salesops.score_leads('lead', '2026-02-01'), '>', 5000, 'scored as of a day');
SELECT is_empty($$SELECT l.lead_id FROM salesops.lead_score s JOIN (SELECT l.*, timestamptz '2026-02-01' AS as_of FROM salesops.lead l) l USING (lead_id)
                   WHERE abs(s.probability - salesops.predict('lead', l)) > 1e-12$$, 'as predicted of that day');
SELECT * FROM finish();
ROLLBACK;
