-- What speaks for a deal and against it adds up to the cent; facts beside it: pushed, overdue, silent for longer than won deals were.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS salesops CASCADE;
DROP SCHEMA IF EXISTS forecast_risk CASCADE;
CREATE EXTENSION salesops;
CREATE SCHEMA forecast_risk;
SET search_path = forecast_risk, salesops;
SET TimeZone = 'UTC';
RESET client_min_messages;
SET extra_float_digits = 0;
CREATE FUNCTION chance(i int, what text) RETURNS float8 LANGUAGE sql IMMUTABLE AS
  $$ SELECT ('x' || substr(md5(i || what), 1, 8))::bit(32)::bigint / 4294967296.0 $$;
-- every day 2 % of the open end; of type a four in five are won, of b one in five; who will be won is in Early for ten days, then Late
CREATE TABLE truth AS
  SELECT i, date '2015-01-01' + i / 3 AS created, ceil(ln(1 - chance(i, 'days')) / ln(0.98))::int AS days,
         CASE WHEN i % 2 = 0 THEN 'a' ELSE 'b' END AS type, chance(i, 'won') < CASE WHEN i % 2 = 0 THEN 0.8 ELSE 0.2 END AS won
    FROM generate_series(0, 1094) i;
CREATE TABLE deal AS
  SELECT 'D' || i AS opportunity_id, created::timestamptz AS created_at, CASE WHEN created + days < '2016-01-01' THEN (created + days)::timestamptz END AS closed_at,
         CASE WHEN created + days < '2016-01-01' THEN CASE WHEN won THEN 'Won' ELSE 'Lost' END WHEN won AND created + 10 < '2016-01-01' THEN 'Late' ELSE 'Early' END AS stage,
         round((50 + 1000 * chance(i, 'amount') ^ 3)::numeric, 2) AS amount, type, 'R' || i % 3 AS owner_id, NULL::date AS close_date, created::timestamptz AS updated_at FROM truth;
CREATE TABLE change AS
  SELECT 'D' || i AS opportunity_id, v.at::timestamptz AS entered_at, v.stage, NULL::date AS close_date
    FROM truth t, LATERAL (VALUES (created, 'Early'), (CASE WHEN won AND days > 10 THEN created + 10 END, 'Late')) v(at, stage) WHERE v.at < '2016-01-01';
CREATE TABLE call (activity_id text, kind text, occurred_at timestamptz, opportunity_id text);
INSERT INTO deal SELECT v.id, v.since::timestamptz, NULL, 'Early', v.amount, 'a', 'R1', v.due::date, v.updated::timestamptz FROM (VALUES
  ('pushed', '2015-12-01', 700.10, '2016-06-01', '2016-01-05'), ('punctual', '2015-12-25', 700.10, '2016-02-01', '2015-12-25'), ('overdue', '2015-12-25', 700.10, '2015-12-26', '2015-12-25'),
  ('overdue today', '2015-12-25', 700.10, '2015-12-26', '2016-05-01'), ('eleven days', '2015-12-21', 700.10, NULL, '2015-12-21'), ('ten days', '2015-12-22', 700.10, NULL, '2015-12-22'),
  ('called', '2015-12-01', 700.10, NULL, '2015-12-01'), ('called later', '2015-12-01', 700.10, NULL, '2015-12-01'), ('credit', '2015-12-25', -50.55, NULL, '2015-12-25'), ('nothing', '2015-12-25', 0, NULL, '2015-12-25')) v(id, since, amount, due, updated);
INSERT INTO change SELECT v.id, v.at::timestamptz, 'Early', v.due::date FROM (VALUES
  ('pushed', '2015-12-01', '2015-12-31'), ('pushed', '2015-12-10', '2016-01-15'), ('pushed', '2015-12-12', NULL), ('pushed', '2015-12-15', '2016-01-10'), ('pushed', '2015-12-28', '2016-02-20'), ('pushed', '2016-01-05', '2016-06-01'),
  ('punctual', '2015-12-25', '2016-02-01'), ('punctual', '2015-12-26', '2016-01-20'), ('punctual', '2015-12-27', 'infinity'), ('overdue', '2015-12-25', '2015-12-26'), ('overdue today', '2015-12-25', NULL), ('eleven days', '2015-12-21', NULL), ('ten days', '2015-12-22', NULL),
  ('called', '2015-12-01', NULL), ('called later', '2015-12-01', NULL), ('credit', '2015-12-25', NULL), ('nothing', '2015-12-25', NULL)) v(id, at, due);
INSERT INTO call VALUES ('1', 'call', '2015-12-30', 'called'), ('2', 'call', '2016-01-02', 'called later');
SELECT count(*) FROM attach('opportunity', 'deal');
SELECT count(*) FROM attach('opportunity_stage_change', 'change');
SELECT count(*) FROM attach('activity', 'call');
SELECT define_stages('default', '[{"stage": "Early", "ordinal": 1, "kind": "open"}, {"stage": "Late", "ordinal": 2, "kind": "open"}, {"stage": "Won", "ordinal": 3, "kind": "won"}, {"stage": "Lost", "ordinal": 4, "kind": "lost"}]');

-- of all open deals the steps add up to what the deal is expected to bring, to the cent, whatever the period
CREATE TABLE step AS SELECT p.period, r.* FROM (VALUES ('[2016-01-01,2016-03-01)'::daterange), ('[2016-02-01,2016-03-01)'), ('[2016-01-01,2017-12-31)')) p(period), opportunity_risk(p.period, '2016-01-01') r;
SELECT w.period, count(*) > 100 AS many, count(*) FILTER (WHERE s.sum = round(d.amount * d.probability::numeric, 2)) = count(*) AS to_the_cent,
       count(*) = (SELECT count(*) FROM forecast_deals(w.period, '2016-01-01')) AS all_of_them, bool_and(s.starts = 1) AS one_start
  FROM (SELECT DISTINCT period FROM step) w, forecast_deals(w.period, '2016-01-01') d
  JOIN (SELECT period, opportunity_id, sum(contribution) AS sum, count(*) FILTER (WHERE effect = 'start') AS starts FROM step GROUP BY 1, 2) s USING (opportunity_id) WHERE s.period = w.period GROUP BY 1 ORDER BY 1;
SELECT effect, count(*) > 0 AS some, bool_and(contribution < 0) AS takes, bool_and(contribution > 0) AS gives, bool_and(contribution IS NULL) AS none FROM step
 WHERE opportunity_id NOT IN ('credit', 'nothing') GROUP BY 1 ORDER BY 1;
-- what is for a deal of one type and stage is against one of the other
SELECT d.type, d.stage, count(*) > 10 AS some, avg((s.effect = 'for')::int) > 0.9 AS "for", avg((s.effect = 'against')::int) > 0.9 AS against
  FROM step s JOIN deal d USING (opportunity_id) WHERE s.risk LIKE '%deals like it%' AND lower(s.period) = '2016-01-01' AND (d.type, d.stage) IN (('a', 'Late'), ('b', 'Early')) GROUP BY 1, 2 ORDER BY 1, 2;
-- a credit is expected to take; of nothing there is nothing to add
SELECT opportunity_id, sum(contribution) < 0 AS takes, count(*) FILTER (WHERE effect <> 'fact') AS steps FROM step WHERE opportunity_id IN ('credit', 'nothing') AND period = '[2016-01-01,2016-03-01)' GROUP BY 1 ORDER BY 1;

-- facts: by the history as it was then, later changes unseen (a deal's own row counts from its last change); four in five won deals were in Early for ten days
SELECT opportunity_id, risk, contribution, effect FROM opportunity_risk('[2016-01-01,2016-03-01)', '2016-01-01') WHERE effect = 'fact' AND opportunity_id !~ '^D[0-9]' ORDER BY opportunity_id COLLATE "C", risk COLLATE "C";
SELECT bool_and((r.opportunity_id IS NOT NULL) = (date '2016-01-01' - t.created > 10 AND d.stage = 'Early')) AS silent_are, count(r.risk) > 10 AS some
  FROM truth t JOIN deal d ON d.opportunity_id = 'D' || t.i AND d.closed_at IS NULL AND d.stage = 'Early'
  LEFT JOIN opportunity_risk('[2016-01-01,2016-03-01)', '2016-01-01') r ON r.opportunity_id = d.opportunity_id AND r.risk LIKE 'nothing has happened%';
SELECT opportunity_id, risk FROM opportunity_risk('[2016-01-01,2016-03-01)', '2016-01-10') WHERE effect = 'fact' AND opportunity_id IN ('pushed', 'called', 'called later') ORDER BY opportunity_id COLLATE "C", risk COLLATE "C";
-- today its own date counts
SELECT opportunity_id, regexp_replace(risk, 'was [0-9]+', 'was n') AS risk FROM opportunity_risk() WHERE risk LIKE 'its%' ORDER BY opportunity_id COLLATE "C", risk COLLATE "C";
-- of a stage that few won deals went through nothing is said
BEGIN;
DELETE FROM deal WHERE stage = 'Won' AND opportunity_id NOT IN (SELECT opportunity_id FROM deal WHERE stage = 'Won' ORDER BY 1 LIMIT 9);
SELECT count(*) FILTER (WHERE risk LIKE 'nothing has%') AS silent, count(*) > 100 AS others FROM opportunity_risk('[2016-01-01,2016-03-01)', '2016-01-01');
ROLLBACK;

-- where the history tells no dates the snapshots do
UPDATE change SET close_date = NULL;
INSERT INTO forecast_snapshot_deal (as_of, opportunity_id, kind, close_date) VALUES
  ('2015-12-05', 'pushed', 'open', '2015-12-20'), ('2015-12-12', 'pushed', 'open', '2015-12-30'), ('2015-12-19', 'pushed', 'open', '2015-12-31'), ('2015-12-26', 'pushed', 'open', '2015-12-31'), ('2016-01-02', 'pushed', 'open', '2016-02-20'), ('2015-12-26', 'punctual', 'open', '2016-02-01');
SELECT opportunity_id, risk FROM opportunity_risk('[2016-01-01,2016-03-01)', '2016-01-01') WHERE risk LIKE 'its%' ORDER BY opportunity_id COLLATE "C", risk COLLATE "C";

-- who may not see a deal is told nothing of it
CREATE ROLE forecast_risk_reader;
GRANT USAGE ON SCHEMA forecast_risk TO forecast_risk_reader;
GRANT SELECT ON deal, change, call TO forecast_risk_reader;
ALTER TABLE deal ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON deal USING (owner_id = 'R2');
SELECT grant_access('forecast_risk_reader', 'reader');
SET ROLE forecast_risk_reader;
SELECT count(*) > 0 AS some, count(*) FILTER (WHERE o.owner_id = 'R2') = count(*) AS own_only
  FROM opportunity_risk('[2016-01-01,2016-03-01)', '2016-01-01') r LEFT JOIN opportunity o USING (opportunity_id);
RESET ROLE;
DROP OWNED BY forecast_risk_reader;
DROP ROLE forecast_risk_reader;

RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA forecast_risk CASCADE;
DROP EXTENSION salesops;
