-- The reports' figures on histories small enough to be worked out by hand: time to close, the change against the period before, sales
-- velocity, what a bottleneck costs. The reckoning is beside each.
BEGIN;
SELECT no_plan();
SET client_min_messages = warning;
SET timezone = 'UTC';
SELECT salesops.define_stages('default', '[{"stage": "A"}, {"stage": "B"}, {"stage": "won", "kind": "won"}, {"stage": "lost", "kind": "lost"}]') \g /dev/null
CREATE TABLE deal (id text PRIMARY KEY, stage text, amount numeric, created_at timestamptz, closed_at timestamptz, region text);
CREATE TABLE log (deal text, stage text, at timestamptz, amount numeric);
SELECT count(*) FROM salesops.attach('opportunity', 'deal', '{"opportunity_id": "id", "source": "region"}') \g /dev/null
SELECT count(*) FROM salesops.attach('opportunity_stage_change', 'log', '{"opportunity_id": "deal", "entered_at": "at"}') \g /dev/null
CREATE FUNCTION day(n int) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$ SELECT timestamptz '2026-01-01Z' + n * interval '1 day' $$;

-- four deals of the period before last stay 10, 10, 20 and 20 days in A, then 5 in B, and are won; four of the last one stay 20, 30, 30 and 40 days in A and are in B
INSERT INTO log SELECT 'p' || i, s, day(-150 + d), 100 FROM unnest(ARRAY[10, 10, 20, 20]) WITH ORDINALITY p (a, i), LATERAL (VALUES ('A', 0), ('B', a), ('won', a + 5)) v (s, d);
INSERT INTO log SELECT 'r' || i, s, day(-60 + d), 100 FROM unnest(ARRAY[20, 30, 30, 40]) WITH ORDINALITY r (a, i), LATERAL (VALUES ('A', 0), ('B', a)) v (s, d);
INSERT INTO deal SELECT deal, 'won', 100, min(at), max(at), 'north' FROM log WHERE deal LIKE 'p%' GROUP BY 1;
INSERT INTO deal SELECT deal, 'B', 100, min(at), NULL, 'south' FROM log WHERE deal LIKE 'r%' GROUP BY 1;
-- median in A: 10 of the ones before (half have left by then), 30 of the recent ones. To closing from A: 15, 15, 25, 25 won, four censored at 60: half by 25;
-- from B: 5 four times, censored at 40, 30, 30, 20: half by 5. In B the ones before stayed 5 days, of the recent ones none has left
SELECT results_eq($$ SELECT stage, visits, left_stage, still_in, previous_median_days, recent_median_days, change, days_to_close FROM salesops.stage_velocity_at(day(0)) ORDER BY ordinal $$,
	$$ VALUES ('A', 8::bigint, 8::bigint, 0::bigint, 10::float8, 30::float8, 20::float8, 25::float8), ('B', 8, 4, 4, 5, NULL, NULL, 5) $$, 'trend and time to close');
SELECT results_eq($$ SELECT grp, stage, visits, median_days, days_to_close FROM salesops.stage_velocity_by('{source}', day(0)) ORDER BY 1, ordinal $$,
	$$ VALUES ('{north}'::text[], 'A', 4::bigint, 10::float8, 15::float8), ('{north}', 'B', 4, 5, 5), ('{south}', 'A', 4, 30, NULL), ('{south}', 'B', 4, NULL, NULL) $$, 'by segment');

-- deals without history: two won after 20 days for 300 and 500, two lost. The last 90 days: 8 created, half of the decided won, 400 on average, 20 days: 8 x .5 x 400 / 20 = 80.
-- The 90 before: 4 created, all won, 100, 20 days on average: 20. So three times as much again
INSERT INTO deal VALUES ('x1', 'won', 300, day(-80), day(-60)), ('x2', 'won', 500, day(-80), day(-60)), ('x3', 'lost', 9, day(-80), day(-60)), ('x4', 'lost', 9, day(-80), day(-70));
SELECT results_eq($$ SELECT created, won, lost, win_rate, average_amount, cycle_days, velocity_per_day, change FROM salesops.sales_velocity_at(day(0), '90 days', 1) $$,
	$$ VALUES (8::bigint, 2::bigint, 2::bigint, 0.5::float8, 400::numeric, 20::float8, 80.00::numeric, 3::float8) $$, 'sales velocity and its change');

-- one deal a day comes into A, stays 10 days and is won for 90; who came in the last 40 days is still there. Before the last 30 days: 354 of the
-- 355 that reached the age of ten days left then (those of a year, from day -394 to -41; that of day -40 is ten days old). In the last 30 days 30 deals become
-- ten days old: 30 x 354/355 departures are to be expected and none is seen. Slowdown (e + .5) / .5, so 2e times the usual mean of 10 days too long;
-- 89 came in 90 days, for 90 each, all won: 89 a day
TRUNCATE deal, log;
INSERT INTO log SELECT 'd' || i, 'A', day(-i), 90 FROM generate_series(1, 400) i UNION ALL SELECT 'd' || i, 'won', day(10 - i), 90 FROM generate_series(41, 400) i;
INSERT INTO deal SELECT 'd' || i, CASE WHEN i > 40 THEN 'won' ELSE 'A' END, 90, day(-i) FROM generate_series(1, 400) i;
SELECT results_eq($$ SELECT rank, stage, usual_days, window_days, left_stage, round(expected_to_leave::numeric, 9), round(z::numeric, 9), is_slower, round(slowdown::numeric, 9), round(excess_days::numeric, 6), open_deals, open_amount,
		win_rate, value_per_day, cost_of_delay FROM salesops.pipeline_bottleneck_at(day(0)) $$,
	$$ VALUES (1::bigint, 'A', 10::float8, 30::float8, 0::bigint, round(30 * 354 / 355.0, 9), round(sqrt(30 * 354 / 355.0), 9), true, round(1 + 60 * 354 / 355.0, 9), round(600 * 354 / 355.0, 6), 40::bigint, 3600::numeric,
		1::float8, 89.00::numeric, round(600 * 354 / 355.0 * 89, 2)) $$, 'a bottleneck and what it costs');
-- two departures missed say nothing; eleven do, of the 14 that were due in the last 14 days (z 11 / sqrt(14)), not yet of the 30 in 30
SELECT results_eq($$ SELECT d, window_days, is_slower FROM unnest(ARRAY[-29, -20]) d CROSS JOIN LATERAL salesops.pipeline_bottleneck_at(day(d)) ORDER BY d $$,
	$$ VALUES (-29, 14::float8, false), (-20, 14, true) $$, 'soon, but not before it shows');
SELECT results_eq($$ SELECT stage, entered, advanced, won, still_open, conversion, win_rate FROM salesops.stage_conversion_at(day(0)) WHERE cohort = '2025-11-01' $$,
	$$ VALUES ('A', 30::bigint, 21::bigint, 21::bigint, 9::bigint, 1::float8, 1::float8) $$, 'the cohort of a month: day -61 to -32');
SELECT * FROM finish();
ROLLBACK;
