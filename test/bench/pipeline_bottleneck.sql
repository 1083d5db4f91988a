-- A planted slow-down: in a generated pipeline of three stages the second takes twice as long from a day on. How many days until
-- pipeline_bottleneck names it, and how many until the mean duration of the deals that left a stage does (the last 90 days against the
-- time before, the greatest z of the stages)? First both are looked at on 20 pipelines without a slow-down (seeds 101 to 120, a look every 30 days, five each):
-- how often is one named all the same? The mean is taken at two thresholds: at z above 2.33, and at the one by which it names
-- one in as many of those looks as the bottleneck does (or in 1 %). Then twelve seeds with a slow-down; looks before the day are counted too. About two minutes.
\pset footer off
SET client_min_messages = warning;
CREATE TABLE deal (opportunity_id text PRIMARY KEY, stage text, amount numeric, created_at timestamptz);
CREATE TABLE history (opportunity_id text, stage text, entered_at timestamptz, amount numeric);
SELECT salesops.define_stages('default', '[{"stage": "A"}, {"stage": "B"}, {"stage": "C"}, {"stage": "won", "kind": "won"}, {"stage": "lost", "kind": "lost"}]') \g /dev/null
SELECT count(*) FROM salesops.attach('opportunity', 'deal') \g /dev/null
SELECT count(*) FROM salesops.attach('opportunity_stage_change', 'history') \g /dev/null

-- uniform numbers that depend on the seed, the deal and the use only
CREATE FUNCTION u(seed int, id int, salt int) RETURNS float8 LANGUAGE sql IMMUTABLE AS $$
	SELECT greatest(((hashint8extended(id::bigint * 1009 + salt, seed) >> 11) & 9007199254740991) / 9007199254740992.0, 1e-12)::float8 $$;
-- a stay that would take d days from 'at', when from 'since' on time runs at half the speed
CREATE FUNCTION stretched(at float8, d float8, since float8) RETURNS float8 LANGUAGE sql IMMUTABLE AS $$
	SELECT CASE WHEN at >= since THEN 2 * d WHEN at + d <= since THEN d ELSE since - at + 2 * (at + d - since) END $$;
CREATE PROCEDURE generate(seed int, since float8) LANGUAGE plpgsql AS $$
BEGIN
	TRUNCATE deal, history;
	INSERT INTO history
	WITH arrival AS (
		SELECT i, i / 8.0 AS a, -ln(u(seed, i, 1)) * 6 - ln(u(seed, i, 2)) * 6 AS da, -ln(u(seed, i, 3)) * 9 - ln(u(seed, i, 4)) * 9 AS db,
		       -ln(u(seed, i, 5)) * 5 - ln(u(seed, i, 6)) * 5 AS dc, u(seed, i, 7) AS la, u(seed, i, 8) AS lb, u(seed, i, 9) AS lc, round((5000 * exp(u(seed, i, 10)))::numeric) AS amount
		  FROM generate_series(1, 4000) i
	), timed AS (
		SELECT *, a + da AS b, a + da + stretched(a + da, db, since) AS c, a + da + stretched(a + da, db, since) + dc AS w FROM arrival
	), event AS (
		SELECT i, 'A' AS stage, a AS at, amount FROM timed
		UNION ALL SELECT i, CASE WHEN la < 0.3 THEN 'lost' ELSE 'B' END, b, amount FROM timed
		UNION ALL SELECT i, CASE WHEN lb < 0.3 THEN 'lost' ELSE 'C' END, c, amount FROM timed WHERE la >= 0.3
		UNION ALL SELECT i, CASE WHEN lc < 0.3 THEN 'lost' ELSE 'won' END, w, amount FROM timed WHERE la >= 0.3 AND lb >= 0.3
	)
	SELECT 'D' || i, stage, timestamptz '2025-01-01 00:00Z' + make_interval(secs => at * 86400), amount FROM event WHERE at < 500;
	INSERT INTO deal SELECT DISTINCT ON (opportunity_id) opportunity_id, stage, amount, min(entered_at) OVER (PARTITION BY opportunity_id) FROM history ORDER BY opportunity_id, entered_at DESC;
	ANALYZE;
END $$;
-- the rival: mean duration of the stays that ended in the last 90 days against those that ended before, per stage
CREATE FUNCTION rival(as_of timestamptz) RETURNS TABLE (stage text, z float8) LANGUAGE sql STABLE AS $$
	SELECT s.stage, (avg(s.days) FILTER (WHERE recent) - avg(s.days) FILTER (WHERE NOT recent)) /
	       sqrt(var_samp(s.days) FILTER (WHERE recent) / count(*) FILTER (WHERE recent) + var_samp(s.days) FILTER (WHERE NOT recent) / count(*) FILTER (WHERE NOT recent))
	  FROM (SELECT x.*, x.left_at > as_of - interval '90 days' AS recent FROM salesops.stage_spells(as_of) x WHERE x.kind = 'open' AND x.ended) s
	 GROUP BY 1 $$;
CREATE TABLE result (seed int, day int, ours text, rival text, rival_z float8);
CREATE PROCEDURE look(seed int, since int, day int) LANGUAGE plpgsql AS $$
DECLARE
	as_of timestamptz := timestamptz '2025-01-01 00:00Z' + (since + day) * interval '1 day';
BEGIN
	INSERT INTO result
	SELECT seed, day, (SELECT b.stage FROM salesops.pipeline_bottleneck_at(as_of) b WHERE b.rank = 1 AND b.is_slower), r.stage, r.z
	  FROM (VALUES (1)) one LEFT JOIN (SELECT * FROM rival(as_of) x ORDER BY x.z DESC NULLS LAST LIMIT 1) r ON true;
END $$;
-- no slow-down: it would begin after the end
CREATE PROCEDURE run_without(seed int) LANGUAGE plpgsql AS $$
BEGIN
	CALL generate(seed, 1000);
	FOR i IN 1 .. 5 LOOP
		CALL look(seed, 335, i * 30);
	END LOOP;
END $$;
CALL run_without(101); CALL run_without(102); CALL run_without(103); CALL run_without(104); CALL run_without(105);
CALL run_without(106); CALL run_without(107); CALL run_without(108); CALL run_without(109); CALL run_without(110);
CALL run_without(111); CALL run_without(112); CALL run_without(113); CALL run_without(114); CALL run_without(115);
CALL run_without(116); CALL run_without(117); CALL run_without(118); CALL run_without(119); CALL run_without(120);
CREATE TABLE threshold AS SELECT percentile_disc(1 - greatest(0.01, (SELECT count(ours)::float8 / count(*) FROM result))) WITHIN GROUP (ORDER BY rival_z) AS z FROM result;
SELECT count(*) AS looks_without_slow_down, count(ours) AS bottleneck_false_alarms, count(*) FILTER (WHERE rival_z > 2.33) AS mean_false_alarms_at_233,
       (SELECT round(z::numeric, 2) FROM threshold) AS mean_threshold_for_as_many
  FROM result;
TRUNCATE result;
CREATE PROCEDURE run(seed int) LANGUAGE plpgsql AS $$
DECLARE
	found boolean := false;
	d int := -30;
BEGIN
	CALL generate(seed, 350);
	-- every fifth day before it, for false alarms; then every second day, until both have named it
	WHILE d <= 100 AND NOT found LOOP
		CALL look(seed, 350, d);
		SELECT coalesce(bool_or(r.day > 0 AND r.ours = 'B'), false) AND coalesce(bool_or(r.day > 0 AND r.rival = 'B' AND r.rival_z > t.z), false)
		  INTO found FROM result r, threshold t WHERE r.seed = run.seed;
		d := d + CASE WHEN d < 0 THEN 5 ELSE 2 END;
	END LOOP;
END $$;
CALL run(1); CALL run(2); CALL run(3); CALL run(4); CALL run(5); CALL run(6);
CALL run(7); CALL run(8); CALL run(9); CALL run(10); CALL run(11); CALL run(12);
-- who had not named it after 100 days counts with 102
CREATE VIEW found AS
SELECT seed, coalesce(min(day) FILTER (WHERE day > 0 AND ours = 'B'), 102) AS ours, coalesce(min(day) FILTER (WHERE day > 0 AND rival = 'B' AND rival_z > 2.33), 102) AS rival,
       coalesce(min(day) FILTER (WHERE day > 0 AND rival = 'B' AND rival_z > t.z), 102) AS rival_fair,
       count(*) FILTER (WHERE day <= 0 AND ours IS NOT NULL) AS false_alarms, count(*) FILTER (WHERE day <= 0 AND rival_z > 2.33) AS rival_false_alarms,
       count(*) FILTER (WHERE day <= 0 AND rival_z > t.z) AS rival_fair_false_alarms, count(*) FILTER (WHERE day <= 0) AS looks
  FROM result CROSS JOIN threshold t GROUP BY 1;
SELECT seed, ours AS bottleneck_days, rival AS mean_days_at_233, round(ours::numeric / rival, 2) AS ratio, rival_fair AS mean_days_at_as_many, round(ours::numeric / rival_fair, 2) AS fair_ratio,
       false_alarms, rival_false_alarms AS mean_alarms_at_233, rival_fair_false_alarms AS mean_alarms_at_as_many, looks FROM found ORDER BY 1;
SELECT round(avg(ours), 1) AS bottleneck_days, round(avg(rival), 1) AS mean_days_at_233, round(avg(ours) / avg(rival), 2) AS ratio,
       count(*) FILTER (WHERE 2 * ours <= rival) AS seeds_in_half_the_days, round(avg(rival_fair), 1) AS mean_days_at_as_many, round(avg(ours) / avg(rival_fair), 2) AS fair_ratio,
       count(*) FILTER (WHERE 2 * ours <= rival_fair) AS fair_seeds_in_half_the_days, count(*) AS seeds, sum(false_alarms) AS false_alarms,
       sum(rival_false_alarms) AS mean_alarms_at_233, sum(rival_fair_false_alarms) AS mean_alarms_at_as_many, sum(looks) AS looks
  FROM found;
