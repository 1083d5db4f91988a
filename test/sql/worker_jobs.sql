-- Jobs: definition, bad input, running by hand, failure and back-off, dependencies, catch-up, rights. The worker is stopped
-- so that nothing runs but what this script asks for.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS salesops CASCADE;
CREATE EXTENSION salesops;
RESET client_min_messages;
CREATE SCHEMA worker_jobs;
SET search_path = worker_jobs, public;
SET timezone = 'UTC';
SELECT salesops.stop_worker() IS NOT NULL AS stopped;
CREATE TABLE mark (job text, who name DEFAULT current_user, at timestamptz DEFAULT clock_timestamp());

-- definition
SELECT salesops.create_job('a', 'every 5 minutes', 'INSERT INTO mark VALUES (''a'')') > now() AS first_run_ahead;
SELECT name, schedule, time_zone, command, search_path, timeout, retries, catch_up, after, retention, paused FROM salesops.job;
SELECT salesops.create_job('cron', '30 2 * * mon-fri Europe/Berlin', 'SELECT 1', '{"timeout": "10 minutes", "retries": 1}')
  AT TIME ZONE 'Europe/Berlin' = date_trunc('day', now() AT TIME ZONE 'Europe/Berlin') + interval '2.5 hours'
  + interval '1 day' * (SELECT min(d) FROM generate_series(0, 3) d
     WHERE extract(isodow FROM date_trunc('day', now() AT TIME ZONE 'Europe/Berlin') + interval '1 day' * d) < 6
       AND date_trunc('day', now() AT TIME ZONE 'Europe/Berlin') + interval '1 day' * d + interval '2.5 hours' > now() AT TIME ZONE 'Europe/Berlin') AS next_weekday;
SELECT time_zone FROM salesops.job WHERE name = 'cron';

-- bad input: all of it at once, nothing written
SELECT salesops.create_job('a', 'every 5 minutes', 'SELECT 1');
SELECT salesops.create_job('', 'every 0 seconds', 'SELEC 1',
  '{"time_zone": "Mars/Olympus", "timeout": "-1 second", "retry_delay": "0", "catch_up": "perhaps", "on_change": "leads", "retrys": 3}');
SELECT salesops.create_job('b', '0 0 30 2 *', 'SELECT 1');
SELECT salesops.create_job('b', '61 * * * *', '');
SELECT salesops.create_job('b', '@daily', 'BEGIN; SELECT 1; COMMIT');
SELECT salesops.create_job('b', '@daily Europe/Berlin', 'SELECT 1', '{"time_zone": "Asia/Tokyo"}');
SELECT salesops.create_job('b', '@daily', 'SELECT 1', '{"after": ["nobody"]}');
SELECT salesops.create_job('b', '@daily', 'SELECT 1', '{"after": ["nobody", "no one"]}');
SELECT salesops.create_job('b', '@daily', 'SELECT 1', '{"owner": "nobody"}');
SELECT salesops.alter_job('nobody', 'every day');
SELECT salesops.drop_job('nobody');
SELECT salesops.run_job('nobody');
SELECT name FROM salesops.job ORDER BY 1;

-- by hand: as the owner, recorded, in this transaction
SELECT salesops.run_job('a');
BEGIN;
SELECT salesops.run_job('a');
ROLLBACK;
SELECT count(*) FROM mark;
SELECT job, outcome, error, rows FROM salesops.job_run;

-- failure: recorded with its reason, put off, reported
SELECT salesops.create_job('bad', 'every second', 'INSERT INTO mark VALUES (''half''); SELECT 1 / (count(*) - count(*)) FROM mark') IS NOT NULL AS created;
SELECT salesops.run_job('bad');
SELECT salesops.run_job('bad');
SELECT job, outcome, error, rows FROM salesops.job_run WHERE job = 'bad';
SELECT failures, state, last_outcome, last_error FROM salesops.job_status WHERE job = 'bad';
SELECT count(*) AS half_done FROM mark WHERE job = 'half';
SELECT salesops.alter_job('bad', command => 'SELECT 1') IS NOT NULL AS altered;
SELECT salesops.run_job('bad');
SELECT failures, state IN ('waiting', 'due') AS well, last_error FROM salesops.job_status WHERE job = 'bad';
SELECT salesops.drop_job('bad');

-- timeout
SELECT salesops.create_job('slow', 'every day', 'SELECT pg_sleep(60)', '{"timeout": "100 milliseconds"}') IS NOT NULL AS created;
SELECT salesops.run_job('slow');
SELECT salesops.drop_job('slow');

-- commands that need a transaction of their own are the worker's
SELECT salesops.create_job('vacuum', 'every day', 'VACUUM mark') IS NOT NULL AS created;
SELECT salesops.run_job('vacuum');
SELECT salesops.drop_job('vacuum');

-- run_due_jobs: what is due, dependencies in order, others wait
TRUNCATE mark;
SELECT salesops.create_job('second', 'every hour', 'INSERT INTO mark VALUES (''second'')', '{"after": ["first"]}') IS NOT NULL;
SELECT salesops.create_job('first', 'every hour', 'INSERT INTO mark VALUES (''first'')') IS NOT NULL AS created;
SELECT salesops.create_job('second', 'every hour', 'INSERT INTO mark VALUES (''second'')', '{"after": ["first"]}') IS NOT NULL AS created;
SELECT salesops.alter_job('first', options => '{"after": ["second"]}');
SELECT salesops.drop_job('first');
CALL salesops.run_due_jobs();
SELECT count(*) AS none_due FROM mark;
UPDATE salesops.job_definition SET next_run_at = now() - interval '1 second', occurrence = now() - interval '1 second' WHERE name IN ('first', 'second');
SELECT job, state, waits_for FROM salesops.job_status WHERE job IN ('first', 'second') ORDER BY 1;
CALL salesops.run_due_jobs();
SELECT job FROM mark ORDER BY at;
UPDATE salesops.job_definition SET next_run_at = now() - interval '1 second', command = 'SELECT 1 / 0' WHERE name = 'first';
UPDATE salesops.job_definition SET next_run_at = now() - interval '1 second' WHERE name = 'second';
CALL salesops.run_due_jobs();
SELECT job, state, waits_for FROM salesops.job_status WHERE job IN ('first', 'second') ORDER BY 1;
SELECT count(*) FROM mark;

-- catching up after a downtime of three hours: once, all, none
SELECT salesops.drop_job('second');
SELECT salesops.drop_job('first');
TRUNCATE mark;
SELECT bool_and(salesops.create_job(p, 'every hour', format('INSERT INTO mark VALUES (%L)', p), jsonb_build_object('catch_up', p)) IS NOT NULL)
  FROM unnest('{once,all,skip}'::text[]) p;
UPDATE salesops.job_definition SET created_at = created_at - interval '10 hours', next_run_at = next_run_at - interval '3 hours', occurrence = occurrence - interval '3 hours'
  WHERE name IN ('once', 'all', 'skip');
DO $$ BEGIN FOR i IN 1..5 LOOP CALL salesops.run_due_jobs(); END LOOP; END $$;
SELECT p AS catch_up, count(mark.job) AS runs, min(next_run_at) > now() AS caught_up
  FROM unnest('{once,all,skip}'::text[]) p JOIN salesops.job ON name = p LEFT JOIN mark ON mark.job = p GROUP BY p ORDER BY p;

-- all, where the first one fails once: it is tried again, and none of the others is lost
CREATE TABLE ready (yes boolean);
SELECT salesops.create_job('flaky', 'every hour', $$INSERT INTO mark SELECT 'flaky' FROM (SELECT 1 / count(*) FROM ready) r$$, '{"catch_up": "all"}') IS NOT NULL;
UPDATE salesops.job_definition SET created_at = created_at - interval '10 hours', next_run_at = next_run_at - interval '3 hours', occurrence = occurrence - interval '3 hours'
  WHERE name = 'flaky';
CALL salesops.run_due_jobs();
INSERT INTO ready VALUES (true);
UPDATE salesops.job_definition SET next_run_at = now() WHERE name = 'flaky' AND failures = 1;
DO $$ BEGIN FOR i IN 1..5 LOOP CALL salesops.run_due_jobs(); END LOOP; END $$;
SELECT count(*) FILTER (WHERE job = 'flaky') AS runs, count(*) FILTER (WHERE job = 'flaky') = count(*) FILTER (WHERE job = 'all') AS all_of_them FROM mark;
-- old runs go without a worker too
UPDATE salesops.job_history SET started_at = started_at - interval '100 days' WHERE outcome = 'failed';
CALL salesops.run_due_jobs();
SELECT count(*) FROM salesops.job_run WHERE started_at < now() - interval '50 days';
SELECT salesops.drop_job('flaky');

-- pause and resume
SELECT salesops.alter_job('once', options => '{"paused": true}') IS NOT NULL AS paused;
UPDATE salesops.job_definition SET next_run_at = now() - interval '1 day' WHERE name = 'once';
CALL salesops.run_due_jobs();
SELECT state FROM salesops.job_status WHERE job = 'once';
SELECT salesops.alter_job('once', options => '{"paused": false}') > now() AS resumed_ahead;
SELECT count(*) FROM mark WHERE job = 'once';

-- on change: run when keys are queued; one that leaves them there is left to its schedule until it drains them; it can be taken away
TRUNCATE mark;
SELECT salesops.create_job('changed', 'every hour', 'INSERT INTO mark VALUES (''changed'')', '{"on_change": "lead"}') IS NOT NULL AS created;
INSERT INTO salesops.change_batch VALUES ('lead', '{1}', now());
CALL salesops.run_due_jobs();
CALL salesops.run_due_jobs();
SELECT count(*) AS once FROM mark WHERE job = 'changed';
UPDATE salesops.job_definition SET next_run_at = now(), occurrence = now() WHERE name = 'changed';
CALL salesops.run_due_jobs();
SELECT count(*) AS by_schedule FROM mark WHERE job = 'changed';
SELECT salesops.alter_job('changed', command => 'SELECT salesops.refresh_changed(''lead''); INSERT INTO worker_jobs.mark VALUES (''drained'')') IS NOT NULL AS altered;
CALL salesops.run_due_jobs();
INSERT INTO salesops.change_batch VALUES ('lead', '{2}', now());
CALL salesops.run_due_jobs();
CALL salesops.run_due_jobs();
SELECT count(*) AS each_change FROM mark WHERE job = 'drained';
SELECT salesops.alter_job('changed', options => '{"retries": 1}') IS NOT NULL AS altered;
SELECT on_change FROM salesops.job WHERE name = 'changed';
SELECT salesops.alter_job('changed', options => '{"on_change": null}') IS NOT NULL AS altered;
SELECT on_change FROM salesops.job WHERE name = 'changed';
INSERT INTO salesops.change_batch VALUES ('lead', '{3}', now());
CALL salesops.run_due_jobs();
SELECT count(*) AS no_more FROM mark WHERE job = 'drained';
DELETE FROM salesops.change_batch;
SELECT salesops.drop_job('changed');
-- a run that hangs is late for what came due meanwhile
UPDATE salesops.job_definition SET running_run = 0, last_started_at = now() - interval '2 hours', next_run_at = now() - interval '1 hour', occurrence = now() - interval '1 hour' WHERE name = 'once';
SELECT state, date_trunc('hour', running_for) AS running_for, date_trunc('hour', lateness) AS lateness FROM salesops.job_status WHERE job = 'once';
UPDATE salesops.job_definition SET running_run = NULL, next_run_at = now() + interval '1 hour', occurrence = now() + interval '1 hour' WHERE name = 'once';
-- a clock set back: what is due in a far future comes back to the schedule
UPDATE salesops.job_definition SET next_run_at = '2999-01-01', occurrence = '2999-01-01' WHERE name = 'once';
CALL salesops.run_due_jobs();
SELECT next_run_at <= now() + interval '1 hour' AS back FROM salesops.job_status WHERE job = 'once';

-- rights: jobs are their owner's; others see no command and no error
CREATE ROLE regress_worker_ann LOGIN;
CREATE ROLE regress_worker_ben LOGIN;
SELECT salesops.grant_access('regress_worker_ann', 'admin'), salesops.grant_access('regress_worker_ben', 'admin');
GRANT ALL ON SCHEMA worker_jobs TO regress_worker_ann;
GRANT ALL ON mark TO regress_worker_ann;
SET ROLE regress_worker_ann;
SELECT salesops.create_job('ann', 'every day', 'INSERT INTO mark VALUES (session_user)') IS NOT NULL AS created;
SELECT salesops.create_job('ann2', 'every day', 'SELECT 1', '{"owner": "regress_worker_ben"}');
SELECT salesops.run_job('ann');
SET ROLE regress_worker_ben;
SELECT name, command FROM salesops.job WHERE name = 'ann';
SELECT salesops.run_job('ann');
SELECT salesops.drop_job('ann');
SELECT salesops.alter_job('ann', command => 'SELECT 2');
TABLE salesops.job_definition;
RESET ROLE;
-- run by another in the owner's name: with the owner's rights only, and nothing that outlives the run
SELECT salesops.run_job('ann');
SELECT who FROM mark WHERE who = 'regress_worker_ann';
SELECT salesops.alter_job('ann', command => 'SET ROLE postgres') IS NOT NULL AS altered;
SELECT salesops.run_job('ann');
SELECT salesops.alter_job('ann', command => 'CREATE TEMPORARY TABLE trap (x int)') IS NOT NULL AS altered;
SELECT salesops.run_job('ann');
SELECT salesops.alter_job('ann', command => 'SET work_mem = ''123MB''') IS NOT NULL AS altered;
SELECT salesops.run_job('ann');
SELECT current_setting('work_mem') <> '123MB' AS settings_unharmed, current_user = session_user AS self;
-- an owner that is gone: a clear record, nothing stuck
REASSIGN OWNED BY regress_worker_ann TO CURRENT_USER;
DROP OWNED BY regress_worker_ann, regress_worker_ben;
DROP ROLE regress_worker_ann, regress_worker_ben;
SELECT salesops.run_job('ann');
SELECT salesops.alter_job('ann', options => jsonb_build_object('owner', current_user), command => 'SELECT 1') IS NOT NULL AS altered;
SELECT salesops.run_job('ann');

SET client_min_messages = warning;
DROP SCHEMA worker_jobs CASCADE;
DROP EXTENSION salesops CASCADE;
