-- Schedules as the server steps through them, with its own zones: daylight saving's gap and overlap; back-off, its jitter, and where retries end.
BEGIN;
SET client_min_messages = error;
SELECT no_plan();
SELECT salesops.stop_worker() IS NOT NULL;

-- With catch_up all each run moves a job from one occurrence to the next. Occurrences follow as written; 2025: Berlin goes forward on March 30
-- at 2:00 and back on October 26 at 3:00 (directive 2000/84/EC), New York on March 9 and November 2 (15 U.S.C. 260a), Lord Howe by half an hour.
CREATE FUNCTION steps(schedule text, first timestamptz, runs int, OUT step text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
  PERFORM salesops.create_job('step', schedule, 'SELECT 1', '{"catch_up": "all"}');
  UPDATE salesops.job_definition SET next_run_at = first, occurrence = first, created_at = first WHERE name = 'step';
  FOR i IN 1..runs LOOP
    PERFORM salesops.run_job('step');
    SELECT to_char(next_run_at AT TIME ZONE 'UTC', 'MM-DD HH24:MI') INTO step FROM salesops.job WHERE name = 'step';
    RETURN NEXT;
  END LOOP;
  PERFORM salesops.drop_job('step');
END
$$;
SELECT is((SELECT string_agg(step, ', ') FROM steps('30 2 * * * Europe/Berlin', '2025-03-29 01:30Z', 2)), '03-30 01:00, 03-31 00:30',
  'Berlin, 2:30 of the day without one: at the first instant after the gap');
SELECT is((SELECT string_agg(step, ', ') FROM steps('30 2 * * * Europe/Berlin', '2025-10-25 00:30Z', 2)), '10-26 00:30, 10-27 01:30',
  'Berlin, 2:30 of the day with two: once, at the first');
SELECT is((SELECT string_agg(step, ', ') FROM steps('30 2 * * * America/New_York', '2025-03-08 07:30Z', 2)), '03-09 07:00, 03-10 06:30', 'New York, the gap');
SELECT is((SELECT string_agg(step, ', ') FROM steps('30 1 * * * America/New_York', '2025-11-01 05:30Z', 2)), '11-02 05:30, 11-03 06:30', 'New York, the overlap');
SELECT is((SELECT string_agg(step, ', ') FROM steps('15 2 * * * Australia/Lord_Howe', '2025-10-03 15:45Z', 2)), '10-04 15:30, 10-05 15:15', 'Lord Howe, a gap of half an hour');
SELECT is((SELECT string_agg(step, ', ') FROM steps('*/30 * * * * Europe/Berlin', '2025-10-25 23:30Z', 5)), '10-26 00:00, 10-26 00:30, 10-26 01:00, 10-26 01:30, 10-26 02:00',
  'every half hour goes through the overlap without a pause and without a double');
SELECT is((SELECT string_agg(step, ', ') FROM steps('*/30 * * * * Europe/Berlin', '2025-03-30 00:00Z', 3)), '03-30 00:30, 03-30 01:00, 03-30 01:30', 'and through the gap');
SELECT is((SELECT string_agg(step, ', ') FROM steps('every 90 minutes', '2025-10-25 23:30Z', 3)), '10-26 01:00, 10-26 02:30, 10-26 04:00', 'an interval counts real time');
SELECT is((SELECT string_agg(step, ', ') FROM steps('0 9 * * mon-fri Asia/Kolkata', '2025-10-24 03:30Z', 2)), '10-27 03:30, 10-28 03:30', 'Kolkata, weekdays, half an hour off');

-- retries: after each failure twice as long, plus or minus a fifth and not always the same; used up, not before the schedule
CREATE FUNCTION waits(failed int) RETURNS float8 LANGUAGE plpgsql AS $$
DECLARE
  before timestamptz := clock_timestamp();
BEGIN
  UPDATE salesops.job_definition SET failures = failed - 1, next_run_at = now() + interval '1 day' WHERE name = 'bad';
  PERFORM salesops.run_job('bad');
  RETURN (SELECT extract(epoch FROM next_run_at - before) FROM salesops.job WHERE name = 'bad');
END
$$;
SELECT salesops.create_job('bad', 'every day', 'SELECT 1/0', '{"retries": 6, "retry_delay": "10 seconds"}');
CREATE TEMPORARY TABLE wait AS SELECT n, waits(n) AS seconds FROM generate_series(1, 6) n, generate_series(1, 10);
SELECT is_empty('SELECT * FROM wait WHERE seconds NOT BETWEEN 10 * 2 ^ (n - 1) * 0.8 - 0.001 AND 10 * 2 ^ (n - 1) * 1.2 + 1', 'each wait is twice the one before, within a fifth');
SELECT is_empty('SELECT n FROM wait GROUP BY n HAVING max(seconds) - min(seconds) < 2 ^ (n - 1) * 0.1', 'with jitter');
SELECT cmp_ok(waits(7), '>', 80000::float8, 'retries used up: at the schedule''s time');
SELECT is((SELECT failures FROM salesops.job_status WHERE job = 'bad'), 7, 'failures are counted on');
SELECT salesops.alter_job('bad', 'every second', options => '{"retries": 0, "retry_delay": "1 hour"}');
UPDATE salesops.job_definition SET failures = 3 WHERE name = 'bad';
SELECT salesops.run_job('bad');
SELECT ok(next_run_at > now() + interval '45 minutes', 'but never sooner than the back-off') FROM salesops.job WHERE name = 'bad';

-- a command is looked at when the job is made, as far as that can be: its syntax; what it names may come to be later
SELECT throws_ok($$SELECT salesops.create_job('x', 'every day', 'SELEC 1')$$, '22023', NULL, 'a syntax error is refused');
SELECT throws_ok($$SELECT salesops.alter_job('bad', command => 'SELECT (1')$$, '22023', NULL, 'also in a change');
SELECT throws_ok($$SELECT salesops.create_job('x', 'every day', '')$$, '22023', NULL, 'so is no command at all');
SELECT throws_ok($$SELECT salesops.create_job('x', '30 2 * * * Mars/Olympus', 'SELECT 1')$$, '22023', NULL, 'a zone that is none');
SELECT throws_ok($$SELECT salesops.create_job('x', '99 2 * * *', 'SELECT 1')$$, '22023', NULL, 'a schedule that is none');
SELECT lives_ok($$SELECT salesops.create_job('x', 'every day', 'SELECT * FROM not_there_yet')$$, 'a table that is not there yet is not');
SELECT is(salesops.run_job('x'), 'failed', 'its run fails');
SELECT is((SELECT error FROM salesops.job_run WHERE job = 'x'), 'relation "not_there_yet" does not exist', 'and says so');
SELECT * FROM finish();
ROLLBACK;
