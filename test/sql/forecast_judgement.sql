-- Judgement on single deals: kept beside the model's chance, shown with it, never changing it; who may judge and who may see. Its score is in forecast_accuracy.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS salesops CASCADE;
DROP SCHEMA IF EXISTS forecast_judgement CASCADE;
CREATE EXTENSION salesops;
CREATE SCHEMA forecast_judgement;
SET search_path = forecast_judgement, salesops;
SET TimeZone = 'UTC';
RESET client_min_messages;
SET extra_float_digits = 0;
CREATE FUNCTION chance(i int, what text) RETURNS float8 LANGUAGE sql IMMUTABLE AS
  $$ SELECT ('x' || substr(md5(i || what), 1, 8))::bit(32)::bigint / 4294967296.0 $$;
-- the last 200 days, two deals a day, of which each day 1 % are won and 1 % lost
CREATE TABLE deal AS
  SELECT 'D' || i AS opportunity_id, created::timestamptz AS created_at, CASE WHEN created + days < current_date THEN (created + days)::timestamptz END AS closed_at,
         CASE WHEN created + days >= current_date THEN 'Open' WHEN chance(i, 'won') < 0.5 THEN 'Won' ELSE 'Lost' END AS stage, (100 + i % 7)::numeric AS amount, 'R' || i % 5 AS owner_id, created::timestamptz AS updated_at
    FROM (SELECT i, current_date - 200 + i / 2 AS created, ceil(ln(1 - chance(i, 'days')) / ln(0.98))::int AS days FROM generate_series(0, 395) i) g;
INSERT INTO deal SELECT 'X' || i, current_date - 10, NULL, 'Open', 200 + i, 'R' || i, current_date - 10 FROM generate_series(1, 4) i;
SELECT count(*) FROM attach('opportunity', 'deal');
SELECT define_stages('default', '[{"stage": "Open", "ordinal": 1, "kind": "open"}, {"stage": "Won", "ordinal": 2, "kind": "won"}, {"stage": "Lost", "ordinal": 3, "kind": "lost"}]');

-- beside the model's chance, which it does not change; the latest counts, and takes back where it says nothing
SELECT daterange(date_trunc('quarter', now())::date, (date_trunc('quarter', now()) + interval '3 months')::date) AS quarter, daterange(current_date, current_date + 40) AS other \gset
CREATE TABLE before AS SELECT o.* FROM opportunity_outlook o;
CREATE TABLE team_before AS SELECT * FROM forecast_team(:'quarter', now());
SELECT adjust_deal('X2', :'quarter', 'R2', 0.1) > 0 AS rep, adjust_deal('X2', :'other', 'R2', 1) > 0 AS other_period, adjust_deal('X4', :'quarter', 'R4', amount => 1000.55, note => 'twice the seats') > 0 AS amount,
       adjust_deal('X1', :'quarter', 'R1', 0.5, 50) > 0 AS both;
SELECT adjust_deal('X2', :'quarter', 'boss', 0.9) > 0 AS boss, adjust_deal('X1', :'quarter', 'R1') > 0 AS taken_back;
SELECT o.opportunity_id, o.judged_chance, o.judged_amount, o.judged_by, o.judged_at <= now() AS said, abs(o.expected_judged - coalesce(o.judged_amount, b.amount) * coalesce(o.judged_chance, b.probability_this_quarter)::numeric) <= 0.005 AS worth
  FROM opportunity_outlook o JOIN before b USING (opportunity_id) WHERE o.judged_at IS NOT NULL OR o.expected_judged IS NOT NULL OR o.opportunity_id = 'X1' ORDER BY 1;
SELECT count(*) AS changed FROM (SELECT opportunity_id, amount, probability_this_quarter, probability_ever, expected_this_quarter FROM opportunity_outlook EXCEPT SELECT opportunity_id, amount, probability_this_quarter, probability_ever, expected_this_quarter FROM before) x;
SELECT a.opportunity_id, a.person, a.chance, a.amount, a.note, a.author = current_user AS by_me, abs(a.base_chance - b.probability_this_quarter) < 1e-9 AS base_chance, a.base_amount = b.amount AS base_amount
  FROM forecast_deal_adjustment a JOIN before b USING (opportunity_id) WHERE a.period = :'quarter' ORDER BY adjustment_id;
WITH more AS (SELECT CASE i.n WHEN 1 THEN o.owner_id ELSE '*' END AS person, count(*) AS deals, sum(o.expected_judged - o.expected_this_quarter) AS more FROM opportunity_outlook o, generate_series(1, 2) i(n) WHERE o.expected_judged IS NOT NULL GROUP BY 1)
SELECT t.person, t.judged_deals = m.deals AS deals, abs(t.expected_judged - t.expected - m.more) < 0.05 AS more, t.expected_judged IS NULL AS none, abs(t.expected - b.expected) < 0.02 AND t.said_commit IS NULL AS base
  FROM forecast_team(:'quarter', now()) t JOIN team_before b USING (person) LEFT JOIN more m ON m.person = t.person ORDER BY 1;
SELECT count(*) FILTER (WHERE judged_deals IS NOT NULL) AS judged_by_then FROM forecast_team(:'quarter', now() - interval '1 hour');
SELECT adjust_deal((SELECT opportunity_id FROM deal WHERE stage = 'Won' ORDER BY 1 LIMIT 1), '[2016-01-01,2016-04-01)', '*', 1.5, 'NaN');
SELECT adjust_deal(NULL, '[2016-01-01,)', NULL, 'NaN', 1e19);
INSERT INTO forecast_deal_adjustment (opportunity_id, person, period, chance, base_chance, base_amount, author, made_at) VALUES ('X2', 'R2', '[2016-01-01,2016-04-01)', 'NaN', 0.5, 1, 'me', '2016-01-02');

-- a reader may not judge
CREATE ROLE forecast_judgement_reader;
GRANT USAGE ON SCHEMA forecast_judgement TO forecast_judgement_reader;
GRANT SELECT ON deal TO forecast_judgement_reader;
ALTER TABLE deal ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON deal USING (owner_id = 'R1');
SELECT grant_access('forecast_judgement_reader', 'reader');
SET ROLE forecast_judgement_reader;
SELECT count(*) > 0 AS some, count(judged_at) AS judged_of_own FROM opportunity_outlook;
SELECT adjust_deal('X1', :'quarter', 'R1', 1);
RESET ROLE;
-- an operator judges deals that are his to see, and sees what was said of those
SELECT grant_access('forecast_judgement_reader', 'operator');
SET ROLE forecast_judgement_reader;
SELECT adjust_deal('X2', :'quarter', 'R1', 1);
SELECT adjust_deal('X1', :'quarter', 'R1', 1) > 0 AS own;
SELECT opportunity_id, chance, author FROM forecast_deal_adjustment ORDER BY adjustment_id;
UPDATE forecast_deal_adjustment SET chance = 0;
RESET ROLE;
DROP OWNED BY forecast_judgement_reader;
DROP ROLE forecast_judgement_reader;

RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA forecast_judgement CASCADE;
DROP EXTENSION salesops;
