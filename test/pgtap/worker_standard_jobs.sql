-- create_standard_jobs(): what has no data yet is skipped with a word, twice is as once, and what is made runs.
BEGIN;
SET client_min_messages = warning;
SELECT no_plan();
CREATE SCHEMA crm;
CREATE TABLE crm.leads (id int PRIMARY KEY, inserted_at timestamptz, source text, employees int, converted_at timestamptz);
INSERT INTO crm.leads SELECT i, timestamptz '2026-01-01' + i * interval '1 hour', (ARRAY['web', 'fair', 'cold'])[1 + i % 3], 5 + (i * 37) % 400,
       CASE WHEN (i * 48271::bigint) % 100 < CASE i % 3 WHEN 0 THEN 60 WHEN 1 THEN 20 ELSE 5 END THEN timestamptz '2026-02-01' + i * interval '3 hours' END
  FROM generate_series(1, 900) i;
CREATE TABLE crm.deals (id int PRIMARY KEY, stage text, amount numeric, created_at timestamptz, closed_at timestamptz, close_date date, rep text);
INSERT INTO crm.deals SELECT i, (ARRAY['won', 'lost', 'new'])[1 + i % 3], 100 * i, timestamptz '2026-01-01' + i * interval '1 day',
       CASE WHEN i % 3 < 2 THEN timestamptz '2026-02-01' + i * interval '1 day' END, date '2026-02-10' + i, 'r' || i % 4 FROM generate_series(1, 200) i;

SELECT results_eq('SELECT DISTINCT action FROM salesops.create_standard_jobs()', ARRAY['skipped'], 'nothing to do yet: all skipped');
SELECT is((SELECT count(*) FROM salesops.create_standard_jobs() WHERE reason IS NULL), 0::bigint, 'each says why');
SELECT is((SELECT count(*) FROM salesops.job), 0::bigint, 'and no job is made');

SELECT count(*) FROM salesops.attach('lead', 'crm.leads', '{"lead_id": "id", "created_at": "inserted_at"}');
SELECT count(*) FROM salesops.attach('opportunity', 'crm.deals', '{"opportunity_id": "id", "owner_id": "rep"}');
SELECT salesops.define_stages('default', '[{"stage": "new", "ordinal": 1, "kind": "open"}, {"stage": "won", "ordinal": 2, "kind": "won"}, {"stage": "lost", "ordinal": 3, "kind": "lost"}]');
SELECT lives_ok($$SELECT salesops.train_model('lead', 'SELECT *, converted_at IS NOT NULL AS converted FROM salesops.lead', 'converted', 'logistic')$$, 'a model is trained');
CREATE TEMPORARY TABLE first AS SELECT * FROM salesops.create_standard_jobs();
SELECT ok(bool_or(job = 'hygiene snapshot' AND action = 'created'), 'hygiene snapshot') FROM first;
SELECT ok(bool_or(job = 'retrain lead model' AND action = 'created'), 'retrain lead model') FROM first;
SELECT ok(bool_or(job = 'find duplicates' AND action = 'skipped'), 'no matcher: skipped') FROM first;
SELECT results_eq('SELECT entity FROM salesops.watched', ARRAY['lead'], 'the table of leads is watched');
CREATE TEMPORARY TABLE before AS SELECT name, schedule, command FROM salesops.job;
SELECT salesops.alter_job('hygiene snapshot', 'every 3 hours');
SELECT is((SELECT string_agg(DISTINCT action, ',' ORDER BY action) FROM salesops.create_standard_jobs()), 'kept,skipped', 'twice is as once');
SELECT is((SELECT schedule FROM salesops.job WHERE name = 'hygiene snapshot'), 'every 3 hours', 'what was changed stays');
SELECT is((SELECT string_agg(name || ' ' || salesops.run_job(name), ', ') FROM salesops.job j
            WHERE salesops.run_job(name) <> 'succeeded'), NULL, 'each of them succeeds, and again at once');
SELECT is((SELECT string_agg(error, ', ') FROM salesops.job_run WHERE outcome <> 'succeeded'), NULL, 'no error');

-- retraining: the same data change nothing; a model that is worse on the rows held out of it (every fifth) does not take over
SELECT is((SELECT count(*) FROM salesops.model WHERE name = 'lead'), 1::bigint, 'retraining on the same data leaves one version');
UPDATE crm.leads SET converted_at = CASE WHEN get_byte(decode(md5('c' || id), 'hex'), 0) % 2 = 0 THEN now() END
 WHERE get_byte(decode(md5(id::text), 'hex'), 0) % 5 > 0;
SELECT matches(salesops.retrain_model('lead'), '^version 1 stays: trained anew it has a log loss of [.0-9]+ against [.0-9]+ on 1\d\d held-out rows', 'one that learnt from noise does not take over');
SELECT is((SELECT count(*) FROM salesops.model WHERE name = 'lead'), 1::bigint, 'nor does it stay');
SELECT is((SELECT version FROM salesops.model WHERE name = 'lead' AND active), 1, 'the better one predicts');
UPDATE crm.leads SET source = CASE WHEN (converted_at IS NULL) = (get_byte(decode(md5('s' || id), 'hex'), 0) > 25) THEN 'cold' ELSE 'warm' END;
SELECT matches(salesops.retrain_model('lead'), '^version \d is active', 'a better one takes over');
SELECT is((SELECT m.rows FROM salesops.model m WHERE m.name = 'lead' AND m.active), 900::bigint, 'trained on all rows');
SELECT matches(salesops.retrain_model('lead'), '^version \d stays: trained anew it has a log loss of ([.0-9]+) against \1 on', 'a tie changes nothing: the twins are the same');
SELECT is((SELECT count(*) FROM salesops.model WHERE name = 'lead' AND active AND rows = 900), 1::bigint, 'it is still the one trained on all');
SELECT throws_ok($$SELECT salesops.retrain_model('nobody')$$, '42704', NULL, 'no such model');

-- duplicates by night
SELECT is(salesops.refresh_duplicates(), 0::bigint, 'no matcher, no duplicates');
CREATE TABLE crm.contacts (id int PRIMARY KEY, name text, mail text);
INSERT INTO crm.contacts SELECT i, md5((i % 200)::text), CASE WHEN i % 5 > 0 THEN md5('m' || i % 200) || '@x.com' END FROM generate_series(1, 260) i;
SELECT count(*) FROM salesops.attach('contact', 'crm.contacts', '{"contact_id": "id"}');
SELECT salesops.create_matcher('contacts', 'crm.contacts', 'id', '[{"column": "name", "method": "jaro_winkler"}, {"column": "mail"}]', '{name,mail}');
SELECT ok(count(*) > 0, 'a matcher is trained') FROM salesops.train_matcher('contacts');
SELECT ok(bool_or(job = 'find duplicates' AND action = 'created'), 'now there is a job for duplicates') FROM salesops.create_standard_jobs();
SELECT is((SELECT string_agg(name || ' after ' || array_to_string(after, ' and '), ', ' ORDER BY name) FROM salesops.job WHERE after <> '{}'),
  'retrain lead model after find duplicates, score leads after retrain lead model and find duplicates', 'and those that were there before it wait for it');
SELECT salesops.alter_job('retrain lead model', options => '{"after": []}');
SELECT count(*) FROM salesops.create_standard_jobs();
SELECT is((SELECT after FROM salesops.job WHERE name = 'retrain lead model'), '{}', 'what was changed of that stays too');
SELECT is(salesops.run_job('find duplicates'), 'succeeded', 'it runs');
SELECT results_eq('SELECT count(*), count(DISTINCT cluster_id) FROM salesops.duplicate_contact', 'VALUES (120::bigint, 60::bigint)', 'and keeps what the view shows');
CREATE TEMPORARY TABLE kept AS SELECT cluster_id, contact_id FROM salesops.duplicate_contact;
DELETE FROM crm.contacts WHERE id = 260;
SELECT is(salesops.refresh_duplicates(), 118::bigint, 'a pair is gone');
SELECT is_empty('SELECT cluster_id, contact_id FROM salesops.duplicate_contact EXCEPT SELECT * FROM kept', 'the others keep their ids');

-- what follows changes: once a matcher of the attached table has indexes, or a plan is assigned
SELECT is_empty($$SELECT name FROM salesops.job WHERE name IN ('refresh contacts', 'refresh accounts', 'refresh opportunities', 'refresh credits')$$,
  'nothing follows changes that nothing depends on');
SELECT ok(bool_and(created), 'look-ups have indexes') FROM salesops.index_matcher('contacts');
CREATE TABLE crm.credits (credit_id text PRIMARY KEY, rep_id text, opportunity_id text, amount numeric, credited_on date);
INSERT INTO crm.credits SELECT 'c' || i, 'r' || i % 4, i, 100, current_date FROM generate_series(1, 40) i;
SELECT count(*) FROM salesops.attach('commission_credit', 'crm.credits');
SELECT salesops.create_commission_plan('p', '{"period": "quarter", "tiers": [{"from": 0, "rate": 0.05}]}');
SELECT salesops.assign_commission_plan('r' || i, 'p', '[2020-01-01,)') FROM generate_series(0, 3) i;
SELECT set_eq($$SELECT job FROM salesops.create_standard_jobs() WHERE action = 'created'$$,
  ARRAY['refresh contacts', 'refresh opportunities', 'refresh credits', 'commission accrual'], 'now they are made, and the accrual');
SELECT set_eq('SELECT relation::text || '' '' || entity FROM salesops.watched',
  ARRAY['crm.leads lead', 'crm.contacts contact', 'crm.deals opportunity', 'crm.credits commission_credit'], 'their tables are watched');
SELECT is((SELECT string_agg(on_change, ' ' ORDER BY on_change) FROM salesops.job WHERE name LIKE 'refresh %'),
  'commission_credit contact lead opportunity', 'and changes start them');
SELECT is(salesops.run_job('commission accrual'), 'succeeded', 'the accrual runs');
UPDATE crm.contacts SET name = (SELECT name FROM crm.contacts WHERE id = 1), mail = (SELECT mail FROM crm.contacts WHERE id = 1) WHERE id = 150;
UPDATE crm.credits SET amount = 200 WHERE credit_id = 'c1';
UPDATE crm.deals SET amount = 1 WHERE id = 2;
SELECT is((SELECT string_agg(salesops.run_job(name), ' ') FROM salesops.job WHERE name LIKE 'refresh %'), 'succeeded succeeded succeeded succeeded', 'each runs');
SELECT is((SELECT count(*) FROM salesops.change_queue), 0::bigint, 'and drains what is its');
SELECT is((SELECT count(*) FROM salesops.match_cluster WHERE cluster_id = (SELECT cluster_id FROM salesops.match_cluster WHERE key = '1') AND key = '150'), 1::bigint,
  'the changed contact is in its new cluster');
SELECT is((SELECT sum(lines) FROM salesops.calculate_commissions(salesops.current_quarter())), 0::bigint, 'the changed credit is calculated');
SELECT * FROM finish();
ROLLBACK;
