-- lead scoring: model and rules, grades, reasons, triggers, overrides, history, who sees what
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS salesops CASCADE;
CREATE EXTENSION salesops;
RESET client_min_messages;
SET timezone = 'UTC';
CREATE SCHEMA lead_test;
SET search_path = lead_test;

CREATE TABLE leads (id int PRIMARY KEY, inserted_at timestamptz NOT NULL, source text, industry text, employees int, title text,
                    owner text, converted_at timestamptz);
INSERT INTO leads
  SELECT i, timestamptz '2026-01-01' + i * interval '1 hour', source, industry, employees, title, 'r' || i % 3,
         CASE WHEN v < 1 / (1 + exp(2.5 - CASE source WHEN 'partner' THEN 2 ELSE 0 END - CASE industry WHEN 'logistics' THEN 1.5 ELSE 0 END))
              THEN timestamptz '2026-01-03' + i * interval '1 hour' END
    FROM (SELECT i, (ARRAY['web', 'event', 'partner'])[1 + i * 7 % 3] AS source, (ARRAY['retail', 'logistics'])[1 + i * 11 % 2] AS industry,
                 10 + i * 131 % 500 AS employees, (ARRAY['VP Sales', 'Student', 'Engineer'])[1 + i / 7 % 3] AS title,
                 (i * 16807::bigint * 48271 % 2147483647 % 10007) / 10007.0::float8 AS v
            FROM generate_series(1, 3000) i) s;
CREATE TABLE visits (id int, kind text, at timestamptz, lead int);
INSERT INTO visits SELECT i, CASE WHEN i % 5 = 0 THEN 'demo' ELSE 'visit' END, timestamptz '2026-06-01' - i % 90 * interval '1 day', 1 + i % 40
  FROM generate_series(1, 400) i;
SELECT count(*) FROM salesops.attach('lead', 'leads', '{"lead_id": "id", "created_at": "inserted_at", "owner_id": "owner"}');
SELECT count(*) FROM salesops.attach('activity', 'visits', '{"activity_id": "id", "occurred_at": "at", "lead_id": "lead"}');

-- nothing to score by
SELECT salesops.score_leads();

-- rules alone
SELECT salesops.create_scoring_rule('industry', 'fit', $$industry = 'logistics'$$, 20);
SELECT salesops.create_scoring_rule('visits', 'engagement', $$kind = 'visit'$$, 5, '{"half_life": "30 days", "cap": 20}');
SELECT salesops.create_scoring_rule('demo', 'engagement', $$kind = 'demo'$$, 10, '{"cap": 10}');
SELECT salesops.create_scoring_rule('student', 'negative', $$title LIKE 'Student%'$$, -15);
SELECT salesops.create_scoring_rule('crm user', 'technology', $$employees > 200$$, 10);
SELECT rule, category, entity, expression, points, half_life, cap FROM salesops.scoring_rule ORDER BY 1;
SELECT salesops.score_leads(as_of => '2026-06-01');
-- by hand: lead 5 is in logistics or not, has visits at known ages
SELECT s.lead_id, l.industry, l.employees, l.title, s.fit,
       abs(s.engagement - 100 * (least(20, e.visits) + least(10, e.demos)) / 30) < 1e-9 AS engagement_by_hand,
       abs(s.score - greatest(0, least(100, 100.0 / 60 * (20 * (l.industry = 'logistics')::int + 10 * (l.employees > 200)::int
           - 15 * (l.title LIKE 'Student%')::int + least(20, e.visits) + least(10, e.demos))))) < 0.006 AS score_by_hand, s.matrix
  FROM salesops.lead_score s JOIN salesops.lead l USING (lead_id),
       LATERAL (SELECT coalesce(sum(5 * 0.5 ^ (extract(epoch FROM timestamptz '2026-06-01' - a.occurred_at) / 86400 / 30))
                                FILTER (WHERE a.kind = 'visit'), 0)::float8 AS visits,
                       coalesce(sum(10) FILTER (WHERE a.kind = 'demo'), 0)::float8 AS demos
                  FROM salesops.activity a WHERE a.lead_id = s.lead_id) e
 WHERE s.lead_id::int IN (1, 2, 5, 6, 7, 39, 40, 41, 2000) ORDER BY s.lead_id::int;
-- the past knows less
SELECT salesops.score_leads(as_of => '2026-01-02');
SELECT count(*), max(scored_at) FROM salesops.lead_score_history WHERE scored_at < '2026-02-01';
SELECT count(DISTINCT scored_at), max(scored_at) FROM salesops.lead_score;

-- a model, as in five minutes
SELECT rows, left_out ->> 'lead_id' AS lead_id, left_out ->> 'converted_at' AS converted_at, roc_auc > 0.7 AS good
  FROM salesops.train_model('lead', 'SELECT *, converted_at IS NOT NULL AS converted FROM salesops.lead', 'converted');
SELECT salesops.score_leads(as_of => '2026-06-02');
SELECT salesops.drop_scoring_rule(rule) FROM salesops.scoring_rule;
SELECT salesops.score_leads(as_of => '2026-06-03');
SELECT lead_id ~ '^\d+$' AS lead, score > 90 AS top, grade, reasons @> '[{"feature": "source", "value": "partner"}]' AS because
  FROM salesops.lead_score ORDER BY score DESC, lead_id LIMIT 3;
SELECT grade, count(*) BETWEEN 100 AND 2000 AS sensible FROM salesops.lead_score GROUP BY grade ORDER BY grade;
SELECT model, leads, stability_index < 0.1 AS steady, verdict FROM salesops.lead_score_drift;
SELECT tenth, rows, lift > 1.5 AS lifted FROM salesops.model_lift WHERE name = 'lead' AND tenth IN (1, 10);
SELECT count(*) FROM salesops.lead_grade_outcome;

-- the score changes in the transaction that changes the lead
SELECT salesops.enforce_lead_scores();
SELECT salesops.enforce_lead_scores();
INSERT INTO leads VALUES (9001, '2026-03-01', 'partner', 'logistics', 100, 'VP Sales', 'r1', NULL), (9002, '2026-03-01', 'web', 'retail', 100, 'Student', 'r1', NULL);
SELECT lead_id, grade, score > 50 AS high FROM salesops.lead_score WHERE lead_id LIKE '900_' ORDER BY 1;
BEGIN;
UPDATE leads SET source = 'web', industry = 'retail' WHERE id = 9001;
SELECT grade, score > 50 AS high FROM salesops.lead_score WHERE lead_id = '9001';
ROLLBACK;
SELECT grade, score > 50 AS high FROM salesops.lead_score WHERE lead_id = '9001';
DELETE FROM leads WHERE id = 9002;
SELECT count(*) FROM salesops.lead_score WHERE lead_id = '9002';

-- by hand
SELECT salesops.override_lead_score('9001', 5, 'a competitor', '2100-01-01');
SELECT score, grade, automatic_score > 50 AS automatic_high, automatic_grade FROM salesops.lead_score WHERE lead_id = '9001';
UPDATE leads SET employees = 101 WHERE id = 9001;
SELECT score, grade, automatic_score > 50 AS automatic_high FROM salesops.lead_score WHERE lead_id = '9001';
SELECT salesops.override_lead_score('9001', NULL, NULL);
SELECT score = automatic_score AS lifted FROM salesops.lead_score WHERE lead_id = '9001';

-- a model of their own for some; thresholds on the probability
SELECT version FROM salesops.train_model('emea', 'SELECT *, converted_at IS NOT NULL AS converted FROM salesops.lead', 'converted', 'logistic');
SELECT salesops.create_scoring_segment('emea', $$owner_id = 'r1'$$, 'emea');
SELECT salesops.set_scoring_policy('{"grade_by": "probability", "grades": [0.5, 0.25, 0.1]}');
SELECT salesops.score_leads(as_of => '2100-01-01') > 0 AS scored;
SELECT s.model, l.owner_id, bool_and(s.grade = CASE WHEN s.probability >= 0.5 THEN 'A' WHEN s.probability >= 0.25 THEN 'B' WHEN s.probability >= 0.1 THEN 'C' ELSE 'D' END) AS by_probability
  FROM salesops.lead_score s JOIN salesops.lead l USING (lead_id) GROUP BY 1, 2 ORDER BY 1, 2;
SELECT salesops.drop_scoring_segment('emea');

-- champion and challenger
SELECT version FROM salesops.train_model('lead', 'SELECT source, converted_at IS NOT NULL AS converted FROM salesops.lead', 'converted', 'logistic');
SELECT champion, challenger, same_data FROM salesops.champion_challenger WHERE name = 'lead';
SELECT rows, gain > 0 AS better, verdict FROM salesops.compare_versions('lead', 2, 1, 'SELECT *, converted_at IS NOT NULL AS converted FROM salesops.lead', 'converted');

-- a score is shown where its lead is
CREATE ROLE lead_rep;
SELECT salesops.grant_access('lead_rep', 'operator');
GRANT USAGE ON SCHEMA lead_test TO lead_rep;
GRANT SELECT ON leads, visits TO lead_rep;
ALTER TABLE leads ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON leads USING (owner = 'r2');
SET ROLE lead_rep;
SELECT count(*) = (SELECT count(*) FROM salesops.lead) AS only_own, count(*) > 0 AS some FROM salesops.lead_score;
SELECT count(*) > 0 AS own_history FROM salesops.lead_score_history;
SELECT salesops.create_scoring_rule('x', 'fit', 'true', 1);
SELECT salesops.score_lead('1');
RESET ROLE;
SELECT salesops.grant_model('lead', 'lead_rep');
SET ROLE lead_rep;
SELECT salesops.score_lead('2') IS NOT NULL AS scored;
SELECT salesops.score_lead('1');
SELECT salesops.override_lead_score('1', 100, 'mine');
RESET ROLE;

-- without triggers nothing is told of a deletion: the next scoring of all as of now finds out, and keeps what row-level security hides
ALTER TABLE leads DISABLE TRIGGER salesops_score_deleted;
INSERT INTO leads VALUES (9003, '2026-03-01', 'web', 'retail', 100, 'VP Sales', 'r1', NULL), (9004, '2026-03-01', 'web', 'retail', 100, 'VP Sales', 'r1', NULL);
DELETE FROM leads WHERE id = 9003;
SELECT lead_id FROM salesops.lead_score WHERE lead_id IN ('9003', '9004') ORDER BY 1;
SELECT salesops.score_leads(as_of => '2026-06-04') > 0 AS of_the_past;
SELECT lead_id FROM salesops.lead_score WHERE lead_id IN ('9003', '9004') ORDER BY 1;
SET ROLE lead_rep;
SELECT salesops.score_leads() > 0 AS own;
RESET ROLE;
SELECT lead_id FROM salesops.lead_score WHERE lead_id IN ('9003', '9004') ORDER BY 1;
SELECT count(*) > 0 AS history_stays FROM salesops.lead_score_history WHERE lead_id = '9003';
ALTER TABLE leads ENABLE TRIGGER salesops_score_deleted;

-- bad input
SELECT salesops.create_scoring_rule('x', 'fitness', 'true', 1);
SELECT salesops.create_scoring_rule('x', 'fit', 'true; DROP TABLE leads', 1);
SELECT salesops.create_scoring_rule('x', 'fit', 'nosuch > 1', 1);
SELECT salesops.create_scoring_rule('x', 'fit', 'employees', 1);
SELECT salesops.create_scoring_rule('x', 'fit', 'true', -1, '{"half_life": "-1 day", "capp": 3}');
SELECT salesops.create_scoring_rule('x', 'fit', 'true', 'NaN');
SELECT salesops.set_scoring_policy('{"grades": [10, 20, 30], "matrix": [1], "model_weight": 2}');
SELECT salesops.create_scoring_segment('x', 'true', 'nobody');
SELECT salesops.score_leads();
SELECT salesops.drop_scoring_segment('x');
SELECT salesops.drop_scoring_segment('x');
SELECT salesops.score_lead('nobody');
SELECT salesops.score_leads('nobody');
SELECT salesops.override_lead_score('9001', 101, 'x');
SELECT salesops.override_lead_score('9001', 10, '');

-- triggers go with the extension, the table stays
SELECT salesops.release_lead_scores();
SELECT salesops.enforce_lead_scores();
DROP EXTENSION salesops;
SELECT count(*) FROM leads;
INSERT INTO leads VALUES (9003, '2026-03-01');
DROP OWNED BY lead_rep;
DROP ROLE lead_rep;
DROP SCHEMA lead_test CASCADE;
