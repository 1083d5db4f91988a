-- A planted slow-down: in a generated pipeline of three stages the second takes twice as long from a day on. How many days until
-- pipeline_bottleneck names it, and how many until the mean duration of the deals that left a stage does (the same windows: the
-- last 90 days against the time before, z above 2.33, and the greatest of the stages)? Twelve seeds; false alarms before the day
-- are counted too. About a minute.
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
CREATE TABLE result (seed int, day int, ours text, rival text);
CREATE PROCEDURE run(seed int) LANGUAGE plpgsql AS $$
DECLARE
	as_of timestamptz;
	ours text;
	rival text;
	ours_found boolean := false;
	rival_found boolean := false;
	d int := -30;
BEGIN
	CALL generate(seed, 350);
	-- every fifth day before it, for false alarms; then every second day, until both have named it
	WHILE d <= 100 AND NOT (ours_found AND rival_found) LOOP
		as_of := timestamptz '2025-01-01 00:00Z' + (350 + d) * interval '1 day';
		SELECT b.stage INTO ours FROM salesops.pipeline_bottleneck_at(as_of) b WHERE b.rank = 1 AND b.is_slower;
		SELECT r.stage INTO rival FROM rival(as_of) r WHERE r.z > 2.33 ORDER BY r.z DESC LIMIT 1;
		INSERT INTO result VALUES (seed, d, ours, rival);
		ours_found := ours_found OR d > 0 AND ours IS NOT DISTINCT FROM 'B';
		rival_found := rival_found OR d > 0 AND rival IS NOT DISTINCT FROM 'B';
		d := d + CASE WHEN d < 0 THEN 5 ELSE 2 END;
	END LOOP;
END $$;
CALL run(1); CALL run(2); CALL run(3); CALL run(4); CALL run(5); CALL run(6);
CALL run(7); CALL run(8); CALL run(9); CALL run(10); CALL run(11); CALL run(12);
-- who had not named it after 100 days counts with 102
CREATE VIEW found AS
SELECT seed, coalesce(min(day) FILTER (WHERE day > 0 AND ours = 'B'), 102) AS ours, coalesce(min(day) FILTER (WHERE day > 0 AND rival = 'B'), 102) AS rival,
       count(*) FILTER (WHERE day <= 0 AND ours IS NOT NULL) AS false_alarms, count(*) FILTER (WHERE day <= 0 AND rival IS NOT NULL) AS rival_false_alarms,
       count(*) FILTER (WHERE day <= 0) AS looks
  FROM result GROUP BY 1;
SELECT seed, ours AS bottleneck_days, rival AS mean_of_closed_days, round(ours::numeric / rival, 2) AS ratio, false_alarms, rival_false_alarms, looks FROM found ORDER BY 1;
SELECT round(avg(ours), 1) AS bottleneck_days, round(avg(rival), 1) AS mean_of_closed_days, round(avg(ours) / avg(rival), 2) AS ratio,
       count(*) FILTER (WHERE 2 * ours <= rival) AS seeds_in_half_the_days, count(*) AS seeds, sum(false_alarms) AS false_alarms,
       sum(rival_false_alarms) AS rival_false_alarms, sum(looks) AS looks
  FROM found;
