-- lead scoring against figures worked out by hand: caps, decay, matrix, grades, overrides that end, history, lift, drift, outcome
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS salesops CASCADE;
CREATE EXTENSION salesops;
RESET client_min_messages;
SET timezone = 'UTC';
CREATE SCHEMA lead_hand;
SET search_path = lead_hand;
CREATE TABLE leads (lead_id text PRIMARY KEY, created_at timestamptz NOT NULL, source text, employees int, title text, region text, converted_at timestamptz);
CREATE TABLE visits (activity_id int, lead_id text, kind text, occurred_at timestamptz);
INSERT INTO leads VALUES ('a', '2026-01-01', 'web', 500, 'VP', 'x', NULL), ('b', '2026-01-01', 'partner', 5, 'VP', 'y', NULL),
  ('c', '2026-01-01', 'web', 5, 'Student', 'x', NULL), ('d', '2026-03-01', 'web', 500, 'Student', 'y', NULL);
INSERT INTO visits VALUES (1, 'a', 'visit', '2026-02-01'), (2, 'a', 'visit', '2026-01-22'), (3, 'a', 'call', '2026-02-01'), (4, 'b', 'visit', '2026-01-12'),
  (5, 'a', 'visit', '2026-02-20'), (6, 'c', 'call', '2026-02-01'), (7, 'c', 'call', '2026-02-01'), (8, 'c', 'call', '2026-02-01');
SELECT count(*) FROM salesops.attach('lead', 'leads', '{}');
SELECT count(*) FROM salesops.attach('activity', 'visits', '{}');
SELECT salesops.create_scoring_rule('size', 'fit', 'employees > 100', 20);
SELECT salesops.create_scoring_rule('web', 'technology', $$source = 'web'$$, 10);
SELECT salesops.create_scoring_rule('visit', 'engagement', $$kind = 'visit'$$, 8, '{"half_life": "10 days", "cap": 10}');
SELECT salesops.create_scoring_rule('call', 'engagement', $$kind = 'call'$$, 6, '{"cap": 12}');
SELECT salesops.create_scoring_rule('bad', 'negative', $$title = 'Student'$$, -15);

-- by hand as of 2026-02-01, 52 points to be had. a: 30 + visits 8 + 8/2 = 12, capped at 10, + call 6 = 46; b: visit of 20 days 8/4 = 2;
-- c: 10 + calls 18 capped at 12 - 15 = 7, of 52 13.46; d is not there yet; the visit of 2026-02-20 has not happened
SELECT salesops.score_leads(as_of => '2026-02-01');
SELECT lead_id, score, grade, fit, engagement, matrix FROM salesops.lead_score ORDER BY 1;
-- a cap a category, and what is full marks: engagement at most 9 (of 9), fit at most 15; fit 20 capped at 15; of 30: a 15 + 10 + 9 = 34, more than
-- all; b 2; c 10 + 9 - 15 = 4, 13.33
SELECT salesops.set_scoring_policy('{"engagement_cap": 9, "fit_cap": 15, "total": 30}');
SELECT salesops.score_leads(as_of => '2026-02-01');
SELECT lead_id, score, grade, fit, engagement, matrix FROM salesops.lead_score ORDER BY 1;
-- no more than 5 taken, of 50: a 46, b 2, c 10 + 12 - 5 = 17; other borders
SELECT salesops.set_scoring_policy('{"negative_cap": 5, "total": 50, "matrix": [90, 50, 10], "grades": [80, 20, 10]}');
SELECT salesops.score_leads(as_of => '2026-02-01');
SELECT lead_id, score, grade, fit, engagement, matrix FROM salesops.lead_score ORDER BY 1;
SELECT jsonb_path_query_array(reasons, '$[*].text') AS reasons FROM salesops.lead_score ORDER BY lead_id;

-- history: a row when something changed, none when nothing did; any past date is scored with what was known then
SELECT lead_id, scored_at, score FROM salesops.lead_score_history ORDER BY 1, 2;
SELECT salesops.drop_scoring_rule('visit');
SELECT salesops.score_leads(as_of => '2026-02-02');
SELECT salesops.score_leads(as_of => '2026-02-03');
SELECT salesops.score_lead('c', as_of => '2026-01-31');
SELECT lead_id, scored_at, score FROM salesops.lead_score_history ORDER BY 1, 2;
SELECT lead_id, scored_at, score FROM salesops.lead_score ORDER BY 1;

-- an override ends when it said it would, and the automatic score went on meanwhile
SELECT salesops.override_lead_score('b', 77, 'knows the founder', '2100-01-01');
SELECT score, grade, automatic_score, automatic_grade FROM salesops.lead_score WHERE lead_id = 'b';
UPDATE leads SET employees = 500 WHERE lead_id = 'b';
SELECT salesops.score_leads(as_of => '2099-12-31');
SELECT score, grade, automatic_score, automatic_grade FROM salesops.lead_score WHERE lead_id = 'b';
SELECT salesops.score_leads(as_of => '2100-01-01');
SELECT score, grade, automatic_score, automatic_grade FROM salesops.lead_score WHERE lead_id = 'b';
SELECT score FROM salesops.lead_score_history WHERE lead_id = 'b' ORDER BY scored_at DESC LIMIT 1;

-- with a model: percentiles are places among held-out leads, so the best tenth of them is A, and thresholds are on the probability
SELECT salesops.drop_scoring_rule(rule) FROM salesops.scoring_rule;
SELECT salesops.set_scoring_policy('{"grades": [90, 70, 40]}');
TRUNCATE leads;
TRUNCATE salesops.lead_score, salesops.lead_score_history, salesops.lead_score_override;
INSERT INTO leads SELECT 'l' || i, timestamptz '2026-01-01' + i * interval '1 minute', (ARRAY['web', 'event', 'partner'])[1 + i * 7 % 3], i * 7919 % 1000, NULL,
    (ARRAY['x', 'y'])[1 + i % 2], CASE WHEN (i * 16807::bigint * 48271 % 2147483647 % 10007) / 10007.0 < (i * 7919 % 1000) / 1500.0 THEN '2026-06-01'::timestamptz END
  FROM generate_series(1, 2000) i;
SELECT method FROM salesops.train_model('lead', 'SELECT source, employees, region, converted_at IS NOT NULL AS won FROM salesops.lead', 'won', 'logistic');
SELECT salesops.score_leads(as_of => '2026-05-01');
SELECT grade, count(*) AS leads, abs(count(*) / 2000.0 - CASE grade WHEN 'A' THEN .1 WHEN 'B' THEN .2 WHEN 'C' THEN .3 ELSE .4 END) < 0.02 AS its_share
  FROM salesops.lead_score GROUP BY grade ORDER BY grade;
SELECT leads, stability_index < 0.02 AS steady, verdict FROM salesops.lead_score_drift;
-- outcome by grade, against a plain count
SELECT o.grade, o.leads = c.leads AND o.converted = c.converted AND o.conversion = c.converted::float8 / c.leads AS counted,
       abs(o.expected - o.conversion) < 0.08 AS as_expected
  FROM salesops.lead_grade_outcome o JOIN (SELECT s.grade, count(*) AS leads, count(l.converted_at) AS converted
         FROM salesops.lead_score s JOIN leads l USING (lead_id) GROUP BY 1) c USING (grade) ORDER BY 1;
-- lift: over the held-out base rate, so the tenths' mean is 1, and the worked tenth is what a count of held-out rows says
SELECT count(*) AS tenths, sum(rows) AS rows, abs(sum(rows * lift) / sum(rows) - 1) < 1e-12 AS mean_is_one, max(lift) = max(lift) FILTER (WHERE tenth = 1) AS first_is_best,
       max(share_reached) AS reached FROM salesops.model_lift WHERE name = 'lead';
-- the same where the label drifts and the newest rows, of another base rate, are the held-out ones
SELECT left(validation, 7) AS validation FROM salesops.train_model('drifting',
  $$SELECT lead_id, created_at, employees, (substr(lead_id, 2)::int * 16807::bigint * 48271 % 2147483647 % 10007) / 10007.0
     < 0.1 + substr(lead_id, 2)::int / 5000.0 + employees / 2500.0 AS won FROM salesops.lead$$, 'won', 'logistic', 'lead_id');
SELECT sum(positives) > 1.2 * sum(rows) * (SELECT positives::float8 / rows FROM salesops.model WHERE name = 'drifting') AS other_base,
       abs(sum(rows * lift) / sum(rows) - 1) < 1e-12 AS mean_is_one FROM salesops.model_lift WHERE name = 'drifting';
-- the leads change: an alarm
UPDATE leads SET employees = 800 + employees / 5;
SELECT salesops.score_leads(as_of => '2026-05-02');
SELECT stability_index > 0.25 AS drifted, verdict FROM salesops.lead_score_drift;
SET client_min_messages = warning;
DROP SCHEMA lead_hand CASCADE;
