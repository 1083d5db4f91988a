-- pipeline: what the history says of stages, conversion, velocity, bottlenecks and hygiene
--
-- Bodies are of the SQL standard's kind (BEGIN ATOMIC): names are bound as the script runs, so no search_path can change
-- what they mean, and the planner still inlines them. Each takes as_of; the view of the same purpose takes now().

CREATE VIEW salesops.pipeline_stage AS
SELECT s.stage, s.ordinal, s.kind, s.probability, s.max_days
  FROM salesops.stage s
 WHERE s.pipeline = coalesce((SELECT r.pipeline FROM salesops.criteria_relation r JOIN salesops.source o ON o.relation = r.relation
                               WHERE o.entity = 'opportunity'), 'default');
COMMENT ON VIEW salesops.pipeline_stage IS 'The stages that the attached opportunities go through: the pipeline of their criteria, else the default one';

CREATE VIEW salesops.mapped_opportunity_column AS
SELECT k AS contract_column FROM salesops.source o, pg_catalog.jsonb_object_keys(o.columns) k WHERE o.entity = 'opportunity';
COMMENT ON VIEW salesops.mapped_opportunity_column IS 'Contract columns of opportunity that a column of yours stands behind: only those can be incomplete';

CREATE VIEW salesops.mapped_history_column WITH (security_invoker = true) AS
SELECT k AS contract_column
  FROM salesops.source h
  LEFT JOIN salesops.tracked_relation t ON h.relation = 'salesops.tracked_history'::pg_catalog.regclass
       AND t.relation = (SELECT o.relation FROM salesops.opportunity_relation o),
       pg_catalog.jsonb_object_keys(h.columns) k
 WHERE h.entity = 'opportunity_stage_change'
   AND NOT (t.relation IS NOT NULL AND (k = 'amount' AND t.amount_column IS NULL OR k = 'close_date' AND t.close_date_column IS NULL));
COMMENT ON VIEW salesops.mapped_history_column IS 'Contract columns of opportunity_stage_change that something stands behind: only those are known of the past';

-- ---- history ------------------------------------------------------------------------------------------------------

-- Changes of one time are in the order of change_number where the history has one, else in that of their stages: what is
-- logged at once has mostly gone forward, and what closes a deal comes last.
--
-- The deals' order among themselves is of no matter, so it is that of the bytes (COLLATE "C"), several times cheaper to sort by than a
-- language's; callers get the deal's name in the database's collation again. Windows that repeat this order, term by term, are found sorted already: each report sorts the history once. It
-- goes back in time, so that what comes later in a deal's life is a frame that only grows.
CREATE FUNCTION salesops.ordered_stage_changes(as_of timestamptz)
	RETURNS TABLE (opportunity_id text, stage text, ordinal integer, kind text, entered_at timestamptz, amount numeric, close_date date,
		change_number bigint, before text, is_last boolean)
	LANGUAGE sql STABLE PARALLEL SAFE ROWS 10000
BEGIN ATOMIC
	SELECT o.opportunity_id COLLATE "default", o.stage, o.ordinal, o.kind, o.entered_at, o.amount, o.close_date, o.change_number, o.before, o.place = 1
	  FROM (SELECT c.opportunity_id COLLATE "C" AS opportunity_id, c.stage, p.ordinal, p.kind, c.entered_at, c.amount, c.close_date, c.change_number,
	               lead(c.stage) OVER deal AS before, row_number() OVER deal AS place
	          FROM salesops.opportunity_stage_change c
	          LEFT JOIN salesops.pipeline_stage p ON p.stage = c.stage
	         WHERE c.entered_at <= as_of AND c.entered_at > '-infinity' AND c.entered_at < 'infinity'
	        WINDOW deal AS (PARTITION BY c.opportunity_id COLLATE "C"
	                        ORDER BY c.entered_at DESC, c.change_number DESC, p.ordinal DESC, c.stage DESC, c.amount DESC, c.close_date DESC)) o;
END;
COMMENT ON FUNCTION salesops.ordered_stage_changes(timestamptz) IS
	'The changes of each deal that were known at a time, the last first, each with the stage before it';

CREATE FUNCTION salesops.deal_spells(as_of timestamptz)
	RETURNS TABLE (opportunity_id text, visit bigint, stage text, ordinal integer, kind text, entered_at timestamptz,
		left_at timestamptz, next_stage text, next_ordinal integer, next_kind text, ended boolean,
		amount numeric, close_date date, spell_number bigint, closes_at timestamptz, gone_at timestamptz, furthest integer,
		goes_on_to_win boolean, final_kind text, was_won boolean, was_lost boolean)
	LANGUAGE sql STABLE PARALLEL SAFE ROWS 10000
BEGIN ATOMIC
	SELECT d.opportunity_id COLLATE "default", (d.spell).visit, (d.spell).stage, (d.spell).ordinal, (d.spell).kind, (d.spell).entered_at, (d.spell).left_at,
	       (d.spell).next_stage, (d.spell).next_ordinal, (d.spell).next_kind, (d.spell).ended, (d.spell).amount, (d.spell).close_date, (d.spell).spell_number,
	       (d.spell).closes_at, (d.spell).gone_at, (d.spell).furthest, (d.spell).goes_on_to_win, (d.spell).final_kind, (d.spell).was_won, (d.spell).was_lost
	  FROM (SELECT a.opportunity_id COLLATE "C" AS opportunity_id,
	               salesops.spells_of(salesops.collect_changes(a.stage, p.ordinal, p.kind, a.entered_at, a.amount, a.close_date, a.change_number, a.is_row)) AS spell
	          FROM (SELECT c.opportunity_id, c.stage, c.entered_at, c.amount, c.close_date, c.change_number, false AS is_row
	                  FROM salesops.opportunity_stage_change c
	                 WHERE c.entered_at <= as_of AND c.entered_at > '-infinity' AND c.entered_at < 'infinity'
	                UNION ALL
	                -- the row's own closing comes after all changes: it counts where the last of them left the deal open
	                SELECT o.opportunity_id, o.stage, o.closed_at, NULL, NULL, NULL, true
	                  FROM salesops.opportunity o
	                 WHERE o.closed_at <= as_of AND o.opportunity_id IS NOT NULL
	                   AND o.stage IN (SELECT k.stage FROM salesops.pipeline_stage k WHERE k.kind <> 'open')) a
	          LEFT JOIN salesops.pipeline_stage p ON p.stage = a.stage
	         GROUP BY 1) d;
END;
COMMENT ON FUNCTION salesops.deal_spells(timestamptz) IS
	'stage_spells() with what the reports need to know of the rest of the deal''s life: when it closes or is gone (closes_at, gone_at), how far it gets from here (furthest, goes_on_to_win), where it stands (final_kind), and whether it was ever won or lost. What is not asked for is not worked out';

-- the same for reports that read all: several times faster, and without an order; the columns are in the order of deal_spell
CREATE FUNCTION salesops.history_spells(as_of timestamptz, columns text[], open_only boolean DEFAULT false)
	RETURNS TABLE (opportunity_id text, entered_at timestamptz, visit bigint, spell_number bigint, ended boolean, stage text, kind text, ordinal integer,
		left_at timestamptz, closes_at timestamptz, gone_at timestamptz, next_stage text, next_ordinal integer, next_kind text, amount numeric,
		close_date date, furthest integer, goes_on_to_win boolean, final_kind text, was_won boolean, was_lost boolean)
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED ROWS 10000 COST 10000 AS 'MODULE_PATHNAME', 'salesops_history_spells';
COMMENT ON FUNCTION salesops.history_spells(timestamptz, text[], boolean) IS
	'deal_spells() of the whole history in one pass; columns that are not named are NULL, and only stays in open stages are answered where asked so';

CREATE FUNCTION salesops.stage_spells(as_of timestamptz DEFAULT pg_catalog.now())
	RETURNS TABLE (opportunity_id text, visit bigint, stage text, ordinal integer, kind text, entered_at timestamptz,
		left_at timestamptz, next_stage text, next_ordinal integer, next_kind text, days double precision, ended boolean,
		amount numeric, close_date date, spell_number bigint)
	LANGUAGE sql STABLE PARALLEL SAFE ROWS 10000
BEGIN ATOMIC
	SELECT s.opportunity_id, s.visit, s.stage, s.ordinal, s.kind, s.entered_at, s.left_at, s.next_stage, s.next_ordinal, s.next_kind,
	       salesops.days_between(s.entered_at, coalesce(s.left_at, as_of)), s.ended, s.amount, s.close_date, s.spell_number
	  FROM salesops.deal_spells(as_of) s;
END;
COMMENT ON FUNCTION salesops.stage_spells(timestamptz) IS
	'Each stay of a deal in a stage, re-entries apart (visit), as known at a time: what was written later is hidden. left_at is NULL where it goes on; ended is false there and where the deal was deleted or its stage emptied: it left, but to no stage';

CREATE VIEW salesops.stage_history WITH (security_invoker = true) AS SELECT * FROM salesops.stage_spells(pg_catalog.now());
COMMENT ON VIEW salesops.stage_history IS 'Each stay of a deal in a stage, re-entries apart; left_at is NULL where it goes on';

CREATE FUNCTION salesops.pipeline_as_of(at timestamptz)
	RETURNS TABLE (opportunity_id text, stage text, kind text, entered_at timestamptz, amount numeric, close_date date,
		first_entered_at timestamptz)
	LANGUAGE sql STABLE PARALLEL SAFE ROWS 1000
BEGIN ATOMIC
	SELECT d.opportunity_id COLLATE "default", (d.state).stage, (d.state).kind, (d.state).entered_at, (d.state).amount, (d.state).close_date,
	       (d.state).first_entered_at
	  FROM (SELECT c.opportunity_id COLLATE "C" AS opportunity_id,
	               salesops.last_change_of(salesops.collect_changes(c.stage, p.ordinal, p.kind, c.entered_at, c.amount, c.close_date, c.change_number, false)) AS state
	          FROM salesops.opportunity_stage_change c
	          LEFT JOIN salesops.pipeline_stage p ON p.stage = c.stage
	         WHERE c.entered_at <= at AND c.entered_at > '-infinity' AND c.entered_at < 'infinity'
	         GROUP BY 1) d
	 WHERE (d.state).stage IS NOT NULL;
END;
COMMENT ON FUNCTION salesops.pipeline_as_of(timestamptz) IS
	'Every deal as it was at a time, from the history alone: no value of today gets into it. entered_at: when it came into that stage';

-- the same for reports that read all; the columns are in the order of deal_state
CREATE FUNCTION salesops.history_states(at timestamptz)
	RETURNS TABLE (opportunity_id text, entered_at timestamptz, first_entered_at timestamptz, stage text, kind text, amount numeric, close_date date)
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED ROWS 1000 COST 10000 AS 'MODULE_PATHNAME', 'salesops_history_states';
COMMENT ON FUNCTION salesops.history_states(timestamptz) IS 'pipeline_as_of() of all deals in one pass';

-- ---- the pipeline now, and as it was -----------------------------------------------------------------------------------

-- one of the two ways, chosen as the query is planned: one deal by an index, or all at once
CREATE FUNCTION salesops.deal_states(at timestamptz, all_deals boolean)
	RETURNS TABLE (opportunity_id text, stage text, kind text, entered_at timestamptz, amount numeric, close_date date, first_entered_at timestamptz)
	LANGUAGE sql STABLE PARALLEL SAFE ROWS 1000
BEGIN ATOMIC
	SELECT a.opportunity_id, a.stage, a.kind, a.entered_at, a.amount, a.close_date, a.first_entered_at FROM salesops.pipeline_as_of(at) a WHERE NOT all_deals
	UNION ALL
	SELECT h.opportunity_id, h.stage, h.kind, h.entered_at, h.amount, h.close_date, h.first_entered_at FROM salesops.history_states(at) h WHERE all_deals;
END;
COMMENT ON FUNCTION salesops.deal_states(timestamptz, boolean) IS 'pipeline_as_of() for one deal or a few, or for all';

CREATE FUNCTION salesops.open_deals(as_of timestamptz, all_deals boolean)
	RETURNS TABLE (opportunity_id text, name text, account_id text, owner_id text, stage text, ordinal integer, amount numeric,
		currency text, close_date date, created_at timestamptz, probability double precision, forecast_category text, next_step text,
		entered_at timestamptz, entry_known boolean, days_in_stage double precision, max_days integer, known_from text)
	LANGUAGE sql STABLE PARALLEL SAFE ROWS 1000
BEGIN ATOMIC
	WITH deal AS (
		-- now: the rows themselves
		SELECT o.opportunity_id, o.name, o.account_id, o.owner_id, o.stage, p.ordinal, o.amount, o.currency, o.close_date, o.created_at,
		       coalesce(o.probability, p.probability) AS probability, o.forecast_category, o.next_step, p.max_days, 'row' AS known_from
		  FROM salesops.opportunity o
		  LEFT JOIN salesops.pipeline_stage p ON p.stage = o.stage
		 WHERE as_of >= now() AND coalesce(p.kind, 'open') = 'open' AND (p.kind IS NOT NULL OR o.closed_at IS NULL)
		   AND (o.created_at IS NULL OR o.created_at <= as_of)
		UNION ALL
		-- the past: what the history says; what it does not have is not known
		SELECT h.opportunity_id, NULL, NULL, NULL, h.stage, p.ordinal, h.amount, NULL, h.close_date, coalesce(o.created_at, h.first_entered_at),
		       p.probability, NULL, NULL, p.max_days, 'history'
		  FROM salesops.deal_states(as_of, all_deals) h
		  LEFT JOIN salesops.pipeline_stage p ON p.stage = h.stage
		  LEFT JOIN salesops.opportunity o ON o.opportunity_id = h.opportunity_id
		  LEFT JOIN salesops.pipeline_stage k ON k.stage = o.stage AND k.kind <> 'open' AND o.closed_at <= as_of
		 WHERE as_of < now() AND coalesce(p.kind, 'open') = 'open' AND k.kind IS NULL
		UNION ALL
		-- deals that were there but have no history of that time: no more is known than that
		SELECT o.opportunity_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, o.created_at, NULL, NULL, NULL, NULL, 'nothing'
		  FROM salesops.opportunity o
		  LEFT JOIN salesops.pipeline_stage p ON p.stage = o.stage
		 WHERE as_of < now() AND o.created_at <= as_of AND (coalesce(p.kind, 'open') = 'open' AND o.closed_at IS NULL OR o.closed_at > as_of)
		   AND NOT EXISTS (SELECT FROM salesops.opportunity_stage_change c WHERE c.opportunity_id = o.opportunity_id AND c.entered_at <= as_of)
	)
	SELECT d.opportunity_id, d.name, d.account_id, d.owner_id, d.stage, d.ordinal, d.amount, d.currency, d.close_date, d.created_at,
	       d.probability, d.forecast_category, d.next_step, CASE WHEN d.known_from <> 'nothing' THEN coalesce(h.entered_at, d.created_at) END,
	       h.entered_at IS NOT NULL,
	       CASE WHEN d.known_from <> 'nothing' THEN salesops.days_between(coalesce(h.entered_at, d.created_at), as_of) END,
	       d.max_days, d.known_from
	  FROM deal d
	  LEFT JOIN salesops.deal_states(as_of, all_deals) h ON h.opportunity_id = d.opportunity_id AND h.stage = d.stage;
END;
COMMENT ON FUNCTION salesops.open_deals(timestamptz, boolean) IS 'open_opportunities() for one deal or a few, or for all at once';

CREATE FUNCTION salesops.open_opportunities(as_of timestamptz DEFAULT pg_catalog.now())
	RETURNS TABLE (opportunity_id text, name text, account_id text, owner_id text, stage text, ordinal integer, amount numeric,
		currency text, close_date date, created_at timestamptz, probability double precision, forecast_category text, next_step text,
		entered_at timestamptz, entry_known boolean, days_in_stage double precision, max_days integer, known_from text)
	LANGUAGE sql STABLE PARALLEL SAFE ROWS 1000
BEGIN ATOMIC
	SELECT d.opportunity_id, d.name, d.account_id, d.owner_id, d.stage, d.ordinal, d.amount, d.currency, d.close_date,
	       d.created_at, d.probability, d.forecast_category, d.next_step, d.entered_at, d.entry_known, d.days_in_stage, d.max_days, d.known_from
	  FROM salesops.open_deals(as_of, false) d;
END;
COMMENT ON FUNCTION salesops.open_opportunities(timestamptz) IS
	'Open deals with the time they have been in their stage; entry_known is false where only the deal''s creation is known. known_from: row for now, history for a time in the past (what the history does not have is NULL), nothing for deals without history of that time';

CREATE VIEW salesops.pipeline_by_stage WITH (security_invoker = true) AS
SELECT p.stage, p.ordinal, p.kind, o.currency, count(o.opportunity_id) AS deals, coalesce(sum(o.amount), 0) AS amount,
       sum(o.amount * coalesce(o.probability, p.probability)::numeric) AS weighted_amount,
       avg(o.amount) AS average_amount, count(o.opportunity_id) FILTER (WHERE o.amount IS NULL) AS deals_without_amount,
       avg(salesops.days_between(coalesce(h.entered_at, o.created_at), pg_catalog.now()))
           FILTER (WHERE p.kind = 'open' AND (o.created_at IS NULL OR o.created_at <= pg_catalog.now())) AS average_days_in_stage
  FROM salesops.pipeline_stage p
  LEFT JOIN salesops.opportunity o ON o.stage = p.stage
  LEFT JOIN salesops.history_states(pg_catalog.now()) h ON p.kind = 'open' AND h.opportunity_id = o.opportunity_id AND h.stage = o.stage
 GROUP BY p.stage, p.ordinal, p.kind, o.currency;
COMMENT ON VIEW salesops.pipeline_by_stage IS
	'Deals and money in each stage, a row a currency; weighted_amount by the deal''s probability, else the stage''s; NULL where neither is known';

-- ---- velocity, conversion, bottlenecks -------------------------------------------------------------------------------

CREATE FUNCTION salesops.require_groupings(by text[]) RETURNS boolean
	LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_require_groupings';
COMMENT ON FUNCTION salesops.require_groupings(text[]) IS 'Is there anything to group by? Error that lists every name that a report cannot be grouped by';

CREATE FUNCTION salesops.opportunity_groups(by text[])
	RETURNS TABLE (opportunity_id text, grp text[])
	LANGUAGE sql STABLE PARALLEL SAFE ROWS 1000
BEGIN ATOMIC
	SELECT o.opportunity_id, g.grp
	  FROM salesops.opportunity o
	  LEFT JOIN salesops.sales_rep r ON r.rep_id = o.owner_id
	  LEFT JOIN salesops.account a ON a.account_id = o.account_id
	 CROSS JOIN LATERAL (SELECT array_agg((to_jsonb(o) || jsonb_build_object('rep_region', r.region, 'manager_id', r.manager_id,
	                                       'industry', a.industry, 'country', a.country, 'region', a.region)) ->> b.name
	                                      ORDER BY b.place) AS grp
	                       FROM unnest(by) WITH ORDINALITY AS b (name, place)) g
	 WHERE salesops.require_groupings(by);
END;
COMMENT ON FUNCTION salesops.opportunity_groups(text[]) IS
	'Each deal''s values, as they are today, of columns of opportunity, or rep_region, manager_id, industry, country, region; no rows for none';

CREATE FUNCTION salesops.stage_velocity_by(by text[], as_of timestamptz DEFAULT pg_catalog.now(), period interval DEFAULT '90 days')
	RETURNS TABLE (grp text[], stage text, ordinal integer, visits bigint, left_stage bigint, still_in bigint, median_days double precision,
		usual_days double precision, mean_days double precision, closed_mean_days double precision,
		recent_median_days double precision, previous_median_days double precision, change double precision,
		days_to_close double precision, lasting salesops.survival)
	LANGUAGE sql STABLE PARALLEL SAFE ROWS 100
BEGIN ATOMIC
	WITH spell AS (
		SELECT s.stage, s.kind, s.entered_at, s.left_at, s.ended, s.closes_at, s.gone_at, CASE WHEN cardinality(by) = 0 THEN '{}' ELSE g.grp END AS grp,
		       salesops.days_between(s.entered_at, coalesce(s.left_at, as_of)) AS days
		  FROM salesops.history_spells(as_of, '{stage,kind,entered_at,left_at,ended,closes_at,gone_at}' || CASE WHEN cardinality(by) > 0 THEN '{opportunity_id}'::text[] ELSE '{}' END, true) s
		  LEFT JOIN salesops.opportunity_groups(by) g ON cardinality(by) > 0 AND g.opportunity_id = s.opportunity_id
		 WHERE cardinality(by) = 0 OR g.opportunity_id IS NOT NULL
	), measured AS MATERIALIZED (
		-- sub-selects of constants are worked out once, not for each row; recent and previous are followed up equally long: the previous ones as they stood at the end of their period
		SELECT s.grp, s.stage, count(*) AS visits, count(*) FILTER (WHERE s.ended) AS left_stage, count(*) FILTER (WHERE s.left_at IS NULL) AS still_in,
		       salesops.survival(s.days, s.ended) AS lasting, max(s.days) AS longest, avg(s.days) FILTER (WHERE s.ended) AS closed_mean_days,
		       salesops.survival(s.days, s.ended) FILTER (WHERE s.entered_at > (SELECT as_of - period)) AS recent,
		       salesops.survival(salesops.days_between(s.entered_at, least(s.left_at, (SELECT as_of - period))),
		                         s.ended AND s.left_at <= (SELECT as_of - period))
		           FILTER (WHERE s.entered_at > (SELECT as_of - 2 * period) AND s.entered_at <= (SELECT as_of - period)) AS previous,
		       salesops.survival(salesops.days_between(s.entered_at, coalesce(s.closes_at, s.gone_at, as_of)),
		                         s.closes_at IS NOT NULL) AS closing
		  FROM spell s WHERE coalesce(s.kind = 'open', false) GROUP BY 1, 2
	), grps AS (
		SELECT m.grp FROM measured m GROUP BY 1
		UNION SELECT '{}'::text[] WHERE cardinality(by) = 0
	)
	SELECT g.grp, p.stage, p.ordinal, m.visits, m.left_stage, m.still_in, salesops.median(m.lasting),
	       salesops.survival_quantile(m.lasting, 0.8), salesops.restricted_mean(m.lasting, m.longest), m.closed_mean_days,
	       salesops.median(m.recent), salesops.median(m.previous), salesops.median(m.recent) - salesops.median(m.previous),
	       salesops.median(m.closing), m.lasting
	  FROM grps g
	 CROSS JOIN salesops.pipeline_stage p
	  LEFT JOIN measured m ON m.stage = p.stage AND m.grp = g.grp
	 WHERE p.kind = 'open' AND (m.visits > 0 OR cardinality(by) = 0);
END;
COMMENT ON FUNCTION salesops.stage_velocity_by(text[], timestamptz, interval) IS
	'stage_velocity by any columns of opportunity, or rep_region, manager_id, industry, country, region, as they are today; groups'' samples (lasting) can be merged';

CREATE FUNCTION salesops.stage_velocity_at(as_of timestamptz, period interval DEFAULT '90 days')
	RETURNS TABLE (stage text, ordinal integer, visits bigint, left_stage bigint, still_in bigint, median_days double precision,
		usual_days double precision, mean_days double precision, closed_mean_days double precision,
		recent_median_days double precision, previous_median_days double precision, change double precision,
		days_to_close double precision)
	LANGUAGE sql STABLE PARALLEL SAFE ROWS 10
BEGIN ATOMIC
	SELECT v.stage, v.ordinal, v.visits, v.left_stage, v.still_in, v.median_days, v.usual_days, v.mean_days, v.closed_mean_days,
	       v.recent_median_days, v.previous_median_days, v.change, v.days_to_close
	  FROM salesops.stage_velocity_by('{}', as_of, period) v;
END;
COMMENT ON FUNCTION salesops.stage_velocity_at(timestamptz, interval) IS
	'How long deals stay in each open stage (Kaplan-Meier: open deals are censored), against the period before; see doc/pipeline.md for the columns';
CREATE VIEW salesops.stage_velocity WITH (security_invoker = true) AS SELECT * FROM salesops.stage_velocity_at(pg_catalog.now());
COMMENT ON VIEW salesops.stage_velocity IS
	'How long deals stay in each stage: median, the time by which 80 % have left, mean; open deals censored, not left out; the last 90 days against the 90 before';

CREATE FUNCTION salesops.stage_conversion_by(by text[], as_of timestamptz DEFAULT pg_catalog.now())
	RETURNS TABLE (grp text[], stage text, ordinal integer, cohort date, entered bigint, advanced bigint, won bigint, lost bigint, still_open bigint,
		conversion double precision, win_rate double precision)
	LANGUAGE sql STABLE PARALLEL SAFE ROWS 100
BEGIN ATOMIC
	WITH path AS (
		SELECT s.stage, s.ordinal, s.kind, s.visit, s.entered_at, s.furthest, s.goes_on_to_win AS was_won, s.final_kind, CASE WHEN cardinality(by) = 0 THEN '{}' ELSE g.grp END AS grp
		  FROM salesops.history_spells(as_of, '{stage,ordinal,kind,visit,entered_at,furthest,goes_on_to_win,final_kind}' || CASE WHEN cardinality(by) > 0 THEN '{opportunity_id}'::text[] ELSE '{}' END, true) s
		  LEFT JOIN salesops.opportunity_groups(by) g ON cardinality(by) > 0 AND g.opportunity_id = s.opportunity_id
		 WHERE cardinality(by) = 0 OR g.opportunity_id IS NOT NULL
	)
	SELECT p.grp, p.stage, p.ordinal, date_trunc('month', p.entered_at AT TIME ZONE 'UTC')::date, count(*),
	       count(*) FILTER (WHERE p.furthest > p.ordinal OR p.was_won),
	       count(*) FILTER (WHERE p.final_kind = 'won'), count(*) FILTER (WHERE p.final_kind = 'lost'),
	       count(*) FILTER (WHERE p.final_kind = 'open'),
	       count(*) FILTER (WHERE p.furthest > p.ordinal OR p.was_won)::double precision /
	       nullif(count(*) FILTER (WHERE p.furthest > p.ordinal OR p.was_won OR p.final_kind = 'lost'), 0),
	       count(*) FILTER (WHERE p.final_kind = 'won')::double precision / nullif(count(*) FILTER (WHERE p.final_kind <> 'open'), 0)
	  FROM path p
	 WHERE coalesce(p.kind = 'open' AND p.visit = 1, false)
	 GROUP BY 1, 2, 3, 4;
END;
COMMENT ON FUNCTION salesops.stage_conversion_by(text[], timestamptz) IS
	'stage_conversion by any columns of opportunity, or rep_region, manager_id, industry, country, region, as they are today';

CREATE FUNCTION salesops.stage_conversion_at(as_of timestamptz)
	RETURNS TABLE (stage text, ordinal integer, cohort date, entered bigint, advanced bigint, won bigint, lost bigint, still_open bigint,
		conversion double precision, win_rate double precision)
	LANGUAGE sql STABLE PARALLEL SAFE ROWS 100
BEGIN ATOMIC
	SELECT c.stage, c.ordinal, c.cohort, c.entered, c.advanced, c.won, c.lost, c.still_open, c.conversion, c.win_rate
	  FROM salesops.stage_conversion_by('{}', as_of) c;
END;
COMMENT ON FUNCTION salesops.stage_conversion_at(timestamptz) IS
	'Of the deals that first entered a stage in a month: how many went further, were won, lost, are open';
CREATE VIEW salesops.stage_conversion WITH (security_invoker = true) AS SELECT * FROM salesops.stage_conversion_at(pg_catalog.now());
COMMENT ON VIEW salesops.stage_conversion IS
	'Stage to stage conversion by monthly cohort (UTC) of first entry: conversion and win_rate are of the decided ones, still_open are not counted in them';

CREATE FUNCTION salesops.pipeline_bottleneck_by(by text[], as_of timestamptz DEFAULT pg_catalog.now(), period interval DEFAULT '90 days',
		baseline interval DEFAULT '365 days')
	RETURNS TABLE (grp text[], rank bigint, stage text, ordinal integer, usual_days double precision, slowdown double precision,
		window_days double precision, left_stage bigint, expected_to_leave double precision, z double precision, is_slower boolean,
		excess_days double precision, open_deals bigint, open_amount numeric, win_rate double precision, value_per_day numeric,
		cost_of_delay numeric, finding text)
	LANGUAGE sql STABLE PARALLEL SAFE ROWS 10
BEGIN ATOMIC
	WITH span AS (
		-- a slow-down shows soonest where little of the time before it is looked at too; whole weeks, since weekends are slow
		SELECT as_of - w.length AS from_at, as_of - w.length - baseline AS since_at, extract(epoch FROM w.length)::double precision / 86400 AS days
		  FROM (VALUES (period), (period / 3), (CASE WHEN period / 3 > interval '14 days' THEN interval '14 days' END)) w (length)
		 WHERE w.length IS NOT NULL
	), spell AS MATERIALIZED (
		SELECT s.stage, s.ordinal, s.entered_at, s.left_at, s.ended, s.amount, s.was_won, s.was_lost, CASE WHEN cardinality(by) = 0 THEN '{}' ELSE g.grp END AS grp
		  FROM salesops.history_spells(as_of, '{stage,ordinal,kind,entered_at,left_at,ended,amount,was_won,was_lost}' || CASE WHEN cardinality(by) > 0 THEN '{opportunity_id}'::text[] ELSE '{}' END, true) s
		  LEFT JOIN salesops.opportunity_groups(by) g ON cardinality(by) > 0 AND g.opportunity_id = s.opportunity_id
		 WHERE coalesce(s.kind = 'open', false) AND (cardinality(by) = 0 OR g.opportunity_id IS NOT NULL)
	), before AS (
		-- the stays as they stood when the span began, in whole days
		SELECT w.from_at, s.grp, s.stage, salesops.whole_days_between(s.entered_at, least(s.left_at, w.from_at)) AS age,
		       s.ended AND s.left_at <= w.from_at AS departed
		  FROM span w JOIN spell s ON s.entered_at <= w.from_at AND s.entered_at > w.since_at
	), usual AS MATERIALIZED (
		SELECT b.from_at, b.grp, b.stage, salesops.survival(b.age, b.departed) AS lasting, max(b.age) AS longest FROM before b GROUP BY 1, 2, 3
	), aged AS MATERIALIZED (
		-- whole days at the span's begin and at its end, or at the departure: few distinct ages, each looked up once
		SELECT s.grp, s.stage, w.from_at, w.days, greatest(salesops.whole_days_between(s.entered_at, w.from_at), 0) AS age_before,
		       salesops.whole_days_between(s.entered_at, coalesce(s.left_at, as_of)) AS age, count(*) AS deals, count(*) FILTER (WHERE s.ended) AS departed
		  FROM span w JOIN spell s ON s.left_at IS NULL OR s.left_at > w.from_at
		 GROUP BY 1, 2, 3, 4, 5, 6
	), pace AS MATERIALIZED (
		SELECT g.grp, g.stage, g.days AS window_days, sum(g.departed)::bigint AS observed,
		       sum(g.deals * (salesops.cumulative_hazard(u.lasting, g.age) - salesops.cumulative_hazard(u.lasting, least(g.age_before, g.age)))) AS expected,
		       min(salesops.median(u.lasting)) AS usual_days, min(salesops.restricted_mean(u.lasting, u.longest)) AS mean_days
		  FROM aged g JOIN usual u ON u.grp = g.grp AND u.stage = g.stage AND u.from_at = g.from_at
		 GROUP BY 1, 2, 3
	), clearest AS (
		SELECT DISTINCT ON (p.grp, p.stage) p.*, (p.expected - p.observed) / sqrt(nullif(p.expected, 0)) AS z,
		       (p.expected + 0.5) / (p.observed + 0.5) AS slowdown
		  FROM pace p
		 ORDER BY p.grp, p.stage, (p.expected - p.observed) / sqrt(nullif(p.expected, 0)) DESC NULLS LAST, p.window_days DESC
	), worth AS MATERIALIZED (
		SELECT s.grp, s.stage, s.ordinal, count(*) FILTER (WHERE s.left_at IS NULL) AS open_deals, sum(s.amount) FILTER (WHERE s.left_at IS NULL) AS open_amount,
		       count(*) FILTER (WHERE s.entered_at > (SELECT as_of - period)) AS entries,
		       avg(s.amount) FILTER (WHERE s.left_at IS NULL OR s.left_at > (SELECT as_of - period)) AS average_amount,
		       count(*) FILTER (WHERE s.was_won)::double precision / nullif(count(*) FILTER (WHERE s.was_won OR s.was_lost), 0) AS win_rate
		  FROM spell s GROUP BY 1, 2, 3
	), costed AS (
		SELECT c.*, w.ordinal, w.open_deals, w.open_amount, w.win_rate, coalesce(c.z > 2.81, false) AS is_slower,
		       greatest(c.slowdown - 1, 0) * c.mean_days AS excess_days,
		       round((w.entries / (extract(epoch FROM period) / 86400) * w.average_amount * w.win_rate::numeric)::numeric, 2) AS value_per_day
		  FROM clearest c JOIN worth w ON w.grp = c.grp AND w.stage = c.stage
	)
	SELECT c.grp, rank() OVER (ORDER BY c.is_slower DESC, c.excess_days * c.value_per_day::double precision DESC NULLS LAST, c.z DESC NULLS LAST, c.ordinal, c.grp),
	       c.stage, c.ordinal, c.usual_days, c.slowdown, c.window_days, c.observed, c.expected, c.z, c.is_slower, c.excess_days, c.open_deals,
	       c.open_amount, c.win_rate, c.value_per_day, round(c.excess_days::numeric * c.value_per_day, 2),
	       CASE WHEN c.is_slower THEN format('%s is %s times slower than usual: %s deals left it in %s days, %s were to be expected', c.stage,
	                                         round(c.slowdown::numeric, 1), c.observed, round(c.window_days::numeric), round(c.expected::numeric)) ||
	                                  coalesce('; each day costs ' || c.value_per_day, '')
	            ELSE format('%s goes on at its usual pace', c.stage) END
	  FROM costed c;
END;
COMMENT ON FUNCTION salesops.pipeline_bottleneck_by(text[], timestamptz, interval, interval) IS
	'pipeline_bottleneck by any columns of opportunity, or rep_region, manager_id, industry, country, region, as they are today; ranked over all groups';

CREATE FUNCTION salesops.pipeline_bottleneck_at(as_of timestamptz, period interval DEFAULT '90 days', baseline interval DEFAULT '365 days')
	RETURNS TABLE (rank bigint, stage text, ordinal integer, usual_days double precision, slowdown double precision,
		window_days double precision, left_stage bigint, expected_to_leave double precision, z double precision, is_slower boolean,
		excess_days double precision, open_deals bigint, open_amount numeric, win_rate double precision, value_per_day numeric,
		cost_of_delay numeric, finding text)
	LANGUAGE sql STABLE PARALLEL SAFE ROWS 10
BEGIN ATOMIC
	SELECT b.rank, b.stage, b.ordinal, b.usual_days, b.slowdown, b.window_days, b.left_stage, b.expected_to_leave, b.z, b.is_slower,
	       b.excess_days, b.open_deals, b.open_amount, b.win_rate, b.value_per_day, b.cost_of_delay, b.finding
	  FROM salesops.pipeline_bottleneck_by('{}', as_of, period, baseline) b;
END;
COMMENT ON FUNCTION salesops.pipeline_bottleneck_at(timestamptz, interval, interval) IS
	'Which stage holds deals up: departures in the period, or its last third or last 14 days where one of them says more, against those that the time before leads to expect of the same deals at the same ages (one-sample log-rank)';
CREATE VIEW salesops.pipeline_bottleneck WITH (security_invoker = true) AS SELECT * FROM salesops.pipeline_bottleneck_at(pg_catalog.now());
COMMENT ON VIEW salesops.pipeline_bottleneck IS
	'Stages ranked by what their slowness costs in the last 90 days: excess_days times value_per_day, those that are beyond chance (z above 2.81) first';

CREATE FUNCTION salesops.sales_velocity_by(by text[], as_of timestamptz DEFAULT pg_catalog.now(), period interval DEFAULT '90 days', periods integer DEFAULT 4)
	RETURNS TABLE (grp text[], from_at timestamptz, to_at timestamptz, created bigint, won bigint, lost bigint, win_rate double precision,
		average_amount numeric, cycle_days double precision, velocity_per_day numeric, change double precision)
	LANGUAGE sql STABLE PARALLEL SAFE ROWS 4
BEGIN ATOMIC
	WITH span AS (
		SELECT i, as_of - i * period AS from_at, as_of - (i - 1) * period AS to_at FROM generate_series(1, periods + 1) i
	), deal AS (
		-- of the past, stage and amount are those of the history; the row's where there is none
		SELECT coalesce(o.opportunity_id, h.opportunity_id) AS opportunity_id, coalesce(o.created_at, h.first_entered_at) AS created_at,
		       CASE WHEN as_of >= now() OR h.opportunity_id IS NULL OR h.kind = 'open' AND o.closed_at <= as_of AND p.kind <> 'open' THEN p.kind
		            ELSE h.kind END AS kind,
		       coalesce(CASE WHEN o.closed_at <= as_of THEN o.closed_at END, CASE WHEN h.kind <> 'open' THEN h.entered_at END) AS closed_at,
		       CASE WHEN as_of >= now() OR h.opportunity_id IS NULL OR NOT m.known THEN o.amount ELSE h.amount END AS amount
		  FROM salesops.opportunity o
		  LEFT JOIN salesops.pipeline_stage p ON p.stage = o.stage
		  FULL JOIN salesops.history_states(as_of) h ON h.opportunity_id = o.opportunity_id
		 CROSS JOIN (SELECT count(*) > 0 AS known FROM salesops.mapped_history_column c WHERE c.contract_column = 'amount') m
	), grouped AS MATERIALIZED (
		SELECT d.*, CASE WHEN cardinality(by) = 0 THEN '{}' ELSE g.grp END AS grp FROM deal d LEFT JOIN salesops.opportunity_groups(by) g ON cardinality(by) > 0 AND g.opportunity_id = d.opportunity_id
		 WHERE cardinality(by) = 0 OR g.opportunity_id IS NOT NULL
	), grps AS (
		SELECT d.grp FROM grouped d GROUP BY 1
		UNION SELECT '{}'::text[] WHERE cardinality(by) = 0
	), counted AS MATERIALIZED (
		SELECT g.grp, s.i, s.from_at, s.to_at, count(*) FILTER (WHERE d.created_at >= s.from_at AND d.created_at < s.to_at) AS created,
		       count(*) FILTER (WHERE d.kind = 'won' AND d.closed_at >= s.from_at AND d.closed_at < s.to_at) AS won,
		       count(*) FILTER (WHERE d.kind = 'lost' AND d.closed_at >= s.from_at AND d.closed_at < s.to_at) AS lost,
		       avg(d.amount) FILTER (WHERE d.kind = 'won' AND d.closed_at >= s.from_at AND d.closed_at < s.to_at) AS average_amount,
		       avg(salesops.days_between(d.created_at, d.closed_at))
		           FILTER (WHERE d.kind = 'won' AND d.closed_at >= s.from_at AND d.closed_at < s.to_at)::double precision AS cycle_days
		  FROM span s CROSS JOIN grps g
		  LEFT JOIN (SELECT r.* FROM grouped r WHERE r.created_at >= as_of - (periods + 1) * period OR r.closed_at >= as_of - (periods + 1) * period) d
		         ON d.grp = g.grp AND (d.created_at >= s.from_at AND d.created_at < s.to_at OR d.closed_at >= s.from_at AND d.closed_at < s.to_at)
		 GROUP BY 1, 2, 3, 4
	), paced AS (
		SELECT c.*, c.won::double precision / nullif(c.won + c.lost, 0) AS win_rate,
		       round(c.created * (c.won::numeric / nullif(c.won + c.lost, 0)) * c.average_amount / nullif(c.cycle_days, 0)::numeric, 2) AS velocity_per_day
		  FROM counted c
	), changed AS (
		SELECT p.*, (p.velocity_per_day / nullif(lead(p.velocity_per_day) OVER (PARTITION BY p.grp ORDER BY p.i), 0) - 1)::double precision AS change
		  FROM paced p
	)
	SELECT c.grp, c.from_at, c.to_at, c.created, c.won, c.lost, c.win_rate, c.average_amount, c.cycle_days, c.velocity_per_day, c.change
	  FROM changed c WHERE c.i <= periods ORDER BY c.grp, c.i;
END;
COMMENT ON FUNCTION salesops.sales_velocity_by(text[], timestamptz, interval, integer) IS
	'sales_velocity by any columns of opportunity (currency, say), or rep_region, manager_id, industry, country, region, as they are today';

CREATE FUNCTION salesops.sales_velocity_at(as_of timestamptz, period interval DEFAULT '90 days', periods integer DEFAULT 4)
	RETURNS TABLE (from_at timestamptz, to_at timestamptz, created bigint, won bigint, lost bigint, win_rate double precision,
		average_amount numeric, cycle_days double precision, velocity_per_day numeric, change double precision)
	LANGUAGE sql STABLE PARALLEL SAFE ROWS 4
BEGIN ATOMIC
	SELECT v.from_at, v.to_at, v.created, v.won, v.lost, v.win_rate, v.average_amount, v.cycle_days, v.velocity_per_day, v.change
	  FROM salesops.sales_velocity_by('{}', as_of, period, periods) v ORDER BY v.from_at DESC;
END;
COMMENT ON FUNCTION salesops.sales_velocity_at(timestamptz, interval, integer) IS
	'Deals created x win rate x average won amount / cycle length in days, for the last periods; change: of the velocity, against the period before, as a share';
CREATE VIEW salesops.sales_velocity WITH (security_invoker = true) AS SELECT * FROM salesops.sales_velocity_at(pg_catalog.now());
COMMENT ON VIEW salesops.sales_velocity IS 'Money per day: deals x win rate x amount / cycle, for the last four spans of 90 days, and its change against the span before';

-- ---- hygiene ---------------------------------------------------------------------------------------------------------

CREATE FUNCTION salesops.stale_opportunities(as_of timestamptz DEFAULT pg_catalog.now())
	RETURNS TABLE (opportunity_id text, name text, owner_id text, stage text, amount numeric, currency text, entered_at timestamptz,
		days_in_stage double precision, limit_days double precision, limit_source text)
	LANGUAGE sql STABLE PARALLEL SAFE ROWS 100
BEGIN ATOMIC
	WITH usual AS MATERIALIZED (
		SELECT s.stage, CASE WHEN count(*) FILTER (WHERE s.ended) >= 10
		                     THEN salesops.survival_quantile(salesops.survival(salesops.days_between(s.entered_at, coalesce(s.left_at, as_of)), s.ended), 0.8) END AS days
		  FROM salesops.history_spells(as_of, '{stage,entered_at,left_at,ended}', true) s GROUP BY 1
	)
	SELECT o.opportunity_id, o.name, o.owner_id, o.stage, o.amount, o.currency, o.entered_at, o.days_in_stage,
	       coalesce(o.max_days, u.days), CASE WHEN o.max_days IS NOT NULL THEN 'max_days' ELSE 'history' END
	  FROM salesops.open_deals(as_of, true) o LEFT JOIN usual u ON u.stage = o.stage
	 WHERE o.days_in_stage > coalesce(o.max_days, u.days);
END;
COMMENT ON FUNCTION salesops.stale_opportunities(timestamptz) IS
	'Open deals longer in their stage than its max_days, else than 80 % of all deals stay in it (from 10 departures on)';
CREATE VIEW salesops.stale_opportunity WITH (security_invoker = true) AS SELECT * FROM salesops.stale_opportunities(pg_catalog.now());
COMMENT ON VIEW salesops.stale_opportunity IS 'Open deals that have been in their stage for longer than is usual there';

CREATE TABLE salesops.hygiene_setting (
	rule text PRIMARY KEY,
	points integer CHECK (points BETWEEN 0 AND 100),
	threshold double precision,
	is_active boolean NOT NULL DEFAULT true
);
COMMENT ON TABLE salesops.hygiene_setting IS 'What set_hygiene_rule() changed; NULL leaves the rule''s default';
SELECT pg_catalog.pg_extension_config_dump('salesops.hygiene_setting', '');

CREATE VIEW salesops.hygiene_rule AS
SELECT d.rule, coalesce(s.points, d.points) AS points, coalesce(s.threshold, d.threshold) AS threshold, coalesce(s.is_active, true) AS is_active,
       d.description, d.fix
  FROM (VALUES
	('missing_amount', 15, NULL::double precision, 'the amount is missing or not positive', 'enter the amount'),
	('missing_close_date', 15, NULL, 'there is no expected close date', 'enter the date by which the customer will decide'),
	('missing_owner', 15, NULL, 'nobody owns the deal', 'assign an owner'),
	('missing_account', 10, NULL, 'no account is named', 'link the account'),
	('missing_name', 5, NULL, 'the deal has no name', 'name the deal'),
	('no_next_step', 15, NULL, 'there is no next step', 'agree the next step with the customer and write it down'),
	('past_close_date', 25, NULL, 'the expected close date has passed', 'close the deal or agree a new date'),
	('stale', 20, NULL, 'longer in its stage than is usual there', 'move it on, or close it as lost'),
	('pushed', 15, 3, 'the close date was moved out threshold times or more', 'ask the customer for a date and the reason, or lower the category'),
	('no_activity', 15, 30, 'no activity for threshold days', 'contact the customer'),
	('amount_changed_late', 10, 0.2, 'the amount changed by more than this share in the 14 days up to the close date that stood then', 'have the new amount confirmed'),
	('category_at_odds', 10, NULL, 'forecast category and stage contradict each other', 'correct the category or the stage'),
	('unknown_stage', 20, NULL, 'the stage is not one that define_stages() knows', 'move the deal to a stage of the pipeline'),
	('duplicate', 20, NULL, 'another open deal of the same account has the same name or amount', 'merge the two or close one')
  ) AS d (rule, points, threshold, description, fix)
  LEFT JOIN salesops.hygiene_setting s ON s.rule = d.rule;
COMMENT ON VIEW salesops.hygiene_rule IS 'Rules of pipeline hygiene: what a finding costs of a deal''s 100 points, and its threshold; set_hygiene_rule() changes them';

CREATE FUNCTION salesops.set_hygiene_rule(rule text, points integer DEFAULT NULL, threshold double precision DEFAULT NULL, is_active boolean DEFAULT true)
	RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'salesops_set_hygiene_rule';
COMMENT ON FUNCTION salesops.set_hygiene_rule(text, integer, double precision, boolean) IS
	'Change a rule''s points or threshold, or switch it off; NULL goes back to the default';

CREATE FUNCTION salesops.find_hygiene(as_of timestamptz DEFAULT pg_catalog.now())
	RETURNS TABLE (opportunity_id text, name text, owner_id text, stage text, amount numeric, currency text, rule text, points integer,
		finding text, fix text)
	LANGUAGE sql STABLE PARALLEL SAFE ROWS 1000
BEGIN ATOMIC
	WITH deal AS MATERIALIZED (
		SELECT o.* FROM salesops.open_deals(as_of, true) o WHERE o.known_from <> 'nothing'
	), remembered AS (
		-- of the past only what the history has can be found missing
		SELECT as_of >= now() AS is_now, coalesce(bool_or(m.contract_column = 'amount'), false) AS amount,
		       coalesce(bool_or(m.contract_column = 'close_date'), false) AS close_date
		  FROM salesops.mapped_history_column m
	), mapped AS (
		SELECT coalesce(bool_or(m.contract_column = 'amount'), false) AS amount, coalesce(bool_or(m.contract_column = 'close_date'), false) AS close_date,
		       coalesce(bool_or(m.contract_column = 'owner_id'), false) AS owner, coalesce(bool_or(m.contract_column = 'account_id'), false) AS account,
		       coalesce(bool_or(m.contract_column = 'name'), false) AS name, coalesce(bool_or(m.contract_column = 'next_step'), false) AS next_step
		  FROM salesops.mapped_opportunity_column m
	), moved AS MATERIALIZED (
		SELECT c.opportunity_id, count(*) FILTER (WHERE c.close_date > c.close_before) AS pushes,
		       sum(c.close_date - c.close_before) FILTER (WHERE c.close_date > c.close_before) AS days,
		       max(abs(c.amount / nullif(c.amount_before, 0) - 1))
		           FILTER (WHERE coalesce(c.close_before, c.close_date) - (c.entered_at AT TIME ZONE 'UTC')::date BETWEEN 0 AND 14) AS late_change
		  FROM (SELECT h.opportunity_id, h.entered_at, h.close_date, h.amount, lag(h.close_date) OVER w AS close_before, lag(h.amount) OVER w AS amount_before
		          FROM salesops.opportunity_stage_change h WHERE h.entered_at <= as_of
		        WINDOW w AS (PARTITION BY h.opportunity_id ORDER BY h.entered_at, h.change_number, h.close_date, h.amount)) c
		 GROUP BY 1
	), active AS MATERIALIZED (
		SELECT a.opportunity_id, max(a.occurred_at) AS last_at FROM salesops.activity a
		 WHERE a.occurred_at <= as_of AND a.opportunity_id IS NOT NULL GROUP BY 1
	), twin AS MATERIALIZED (
		SELECT d.opportunity_id, count(*) OVER (PARTITION BY d.account_id, lower(btrim(d.name))) AS by_name,
		       count(*) OVER (PARTITION BY d.account_id, d.amount) AS by_amount, d.name IS NOT NULL AS named, d.amount IS NOT NULL AS priced
		  FROM deal d WHERE d.account_id IS NOT NULL
	), late AS MATERIALIZED (
		SELECT l.opportunity_id, l.days_in_stage, l.limit_days FROM salesops.stale_opportunities(as_of) l
	), seen AS (
		SELECT d.opportunity_id, f.rule, f.detail
		  FROM deal d
		 CROSS JOIN (SELECT CASE WHEN r.is_now THEN m.amount ELSE m.amount AND r.amount END AS amount,
		                    CASE WHEN r.is_now THEN m.close_date ELSE m.close_date AND r.close_date END AS close_date, m.owner AND r.is_now AS owner,
		                    m.account AND r.is_now AS account, m.name AND r.is_now AS name, m.next_step AND r.is_now AS next_step
		               FROM mapped m CROSS JOIN remembered r) m
		  LEFT JOIN moved v ON v.opportunity_id = d.opportunity_id
		  LEFT JOIN active a ON a.opportunity_id = d.opportunity_id
		  LEFT JOIN twin t ON t.opportunity_id = d.opportunity_id
		  LEFT JOIN late l ON l.opportunity_id = d.opportunity_id
		 CROSS JOIN LATERAL (VALUES
			('missing_amount', CASE WHEN m.amount AND (d.amount IS NULL OR d.amount <= 0) THEN 'amount is ' || coalesce(d.amount::text, 'empty') END),
			('missing_close_date', CASE WHEN m.close_date AND d.close_date IS NULL THEN 'close date is empty' END),
			('missing_owner', CASE WHEN m.owner AND coalesce(d.owner_id, '') = '' THEN 'owner is empty' END),
			('missing_account', CASE WHEN m.account AND coalesce(d.account_id, '') = '' THEN 'account is empty' END),
			('missing_name', CASE WHEN m.name AND btrim(coalesce(d.name, '')) = '' THEN 'name is empty' END),
			('no_next_step', CASE WHEN m.next_step AND btrim(coalesce(d.next_step, '')) = '' THEN 'next step is empty' END),
			('past_close_date', CASE WHEN d.close_date < (as_of AT TIME ZONE 'UTC')::date
			                         THEN format('close date %s passed %s days ago', to_char(d.close_date, 'YYYY-MM-DD'), (as_of AT TIME ZONE 'UTC')::date - d.close_date) END),
			('stale', CASE WHEN l.opportunity_id IS NOT NULL
			               THEN format('%s days in %s, usual are up to %s', floor(l.days_in_stage), d.stage, ceil(l.limit_days)) END),
			('pushed', CASE WHEN v.pushes >= (SELECT r.threshold FROM salesops.hygiene_rule r WHERE r.rule = 'pushed')
			                THEN format('close date moved out %s times, by %s days in all', v.pushes, v.days) END),
			('no_activity', CASE WHEN (SELECT count(*) > 0 FROM active) AND coalesce(a.last_at, d.created_at) <
			                          as_of - make_interval(secs => 86400 * (SELECT r.threshold FROM salesops.hygiene_rule r WHERE r.rule = 'no_activity'))
			                     THEN coalesce('last activity on ' || to_char(a.last_at AT TIME ZONE 'UTC', 'YYYY-MM-DD'), 'no activity at all') END),
			('amount_changed_late', CASE WHEN v.late_change > (SELECT r.threshold FROM salesops.hygiene_rule r WHERE r.rule = 'amount_changed_late')
			                             THEN format('the amount changed by %s %% shortly before the close date', round(100 * v.late_change)) END),
			('category_at_odds', CASE WHEN lower(d.forecast_category) IN ('commit', 'closed') AND (d.probability < 0.5 OR lower(d.forecast_category) = 'closed')
			                            OR lower(d.forecast_category) = 'omitted' AND d.probability >= 0.5
			                          THEN format('category %s in stage %s', d.forecast_category, d.stage) END),
			('unknown_stage', CASE WHEN d.ordinal IS NULL THEN coalesce('stage ' || d.stage, 'no stage') END),
			('duplicate', CASE WHEN t.by_name > 1 AND t.named THEN format('%s open deals of the account have this name', t.by_name)
			                   WHEN t.by_amount > 1 AND t.priced THEN format('%s open deals of the account have this amount', t.by_amount) END)
		 ) AS f (rule, detail)
		 WHERE f.detail IS NOT NULL
	)
	SELECT d.opportunity_id, d.name, d.owner_id, d.stage, d.amount, d.currency, r.rule, r.points, s.detail, r.fix
	  FROM seen s
	  JOIN deal d ON d.opportunity_id = s.opportunity_id
	  JOIN salesops.hygiene_rule r ON r.rule = s.rule AND r.is_active;
END;
COMMENT ON FUNCTION salesops.find_hygiene(timestamptz) IS
	'Every finding names the deal, the rule, what was found and how to fix it; a field can be missing only where a column of yours is mapped to it, and in the past only where the history has it';

CREATE TABLE salesops.hygiene_finding (
	opportunity_id text NOT NULL,
	rule text NOT NULL,
	first_seen timestamptz NOT NULL,
	last_seen timestamptz NOT NULL,
	resolved_at timestamptz,
	PRIMARY KEY (opportunity_id, rule, first_seen)
);
COMMENT ON TABLE salesops.hygiene_finding IS 'When each finding was first seen, last seen and gone, kept by take_hygiene_snapshot()';
SELECT pg_catalog.pg_extension_config_dump('salesops.hygiene_finding', '');
ALTER TABLE salesops.hygiene_finding ENABLE ROW LEVEL SECURITY;
CREATE POLICY visible_rows ON salesops.hygiene_finding FOR SELECT
	USING (opportunity_id IN (SELECT o.opportunity_id FROM salesops.opportunity o));
COMMENT ON POLICY visible_rows ON salesops.hygiene_finding IS 'What is stored about a deal is shown where the deal is';

CREATE TABLE salesops.hygiene_snapshot (
	taken_at timestamptz PRIMARY KEY,
	open_deals bigint NOT NULL,
	clean_deals bigint NOT NULL,
	findings bigint NOT NULL,
	average_score double precision
);
COMMENT ON TABLE salesops.hygiene_snapshot IS 'The pipeline''s quality at each take_hygiene_snapshot()';
SELECT pg_catalog.pg_extension_config_dump('salesops.hygiene_snapshot', '');

CREATE VIEW salesops.pipeline_hygiene WITH (security_invoker = true) AS
SELECT h.opportunity_id, h.name, h.owner_id, h.stage, h.amount, h.currency, h.rule, h.points, h.finding, h.fix,
       f.first_seen, f.first_seen IS NULL OR f.first_seen > pg_catalog.now() - interval '7 days' AS is_new
  FROM salesops.find_hygiene(pg_catalog.now()) h
  LEFT JOIN salesops.hygiene_finding f ON f.opportunity_id = h.opportunity_id AND f.rule = h.rule AND f.resolved_at IS NULL;
COMMENT ON VIEW salesops.pipeline_hygiene IS
	'What is wrong with open deals, a row a finding, with the fix; first_seen and is_new (this week) from the snapshots';

CREATE VIEW salesops.hygiene_trend WITH (security_invoker = true) AS
WITH week AS (
	SELECT w.from_at::date AS week, w.from_at AT TIME ZONE 'UTC' AS from_at, (w.from_at + interval '7 days') AT TIME ZONE 'UTC' AS to_at
	  FROM pg_catalog.generate_series(pg_catalog.date_trunc('week', pg_catalog.now() AT TIME ZONE 'UTC') - interval '84 days',
	                                  pg_catalog.now() AT TIME ZONE 'UTC', interval '7 days') AS w (from_at)
), counted AS (
	SELECT r.rule, w.week, count(f.rule) FILTER (WHERE f.first_seen >= w.from_at) AS found, count(f.rule) FILTER (WHERE f.resolved_at < w.to_at) AS resolved,
	       count(f.rule) FILTER (WHERE f.resolved_at IS NULL OR f.resolved_at >= w.to_at) AS open_findings
	  FROM salesops.hygiene_rule r CROSS JOIN week w
	  LEFT JOIN salesops.hygiene_finding f ON f.rule = r.rule AND f.first_seen < w.to_at AND (f.resolved_at IS NULL OR f.resolved_at >= w.from_at)
	 WHERE r.is_active AND w.to_at > (SELECT min(s.taken_at) FROM salesops.hygiene_snapshot s)
	 GROUP BY 1, 2
)
SELECT c.rule, c.week, c.found, c.resolved, c.open_findings, c.open_findings - lag(c.open_findings) OVER (PARTITION BY c.rule ORDER BY c.week) AS change
  FROM counted c;
COMMENT ON VIEW salesops.hygiene_trend IS
	'Findings of each rule week by week (of UTC, by its Monday; the last 13), from the snapshots: found, resolved, open at the end, and the change of that';

CREATE VIEW salesops.opportunity_hygiene WITH (security_invoker = true) AS
SELECT o.opportunity_id, o.name, o.owner_id, o.stage, o.amount, o.currency, greatest(100 - coalesce(h.points, 0), 0) AS score,
       coalesce(h.findings, 0) AS findings, h.rules
  FROM salesops.open_deals(pg_catalog.now(), true) o
  LEFT JOIN (SELECT f.opportunity_id, sum(f.points) AS points, count(*) AS findings, array_agg(f.rule ORDER BY f.points DESC, f.rule) AS rules
               FROM salesops.find_hygiene(pg_catalog.now()) f GROUP BY 1) h ON h.opportunity_id = o.opportunity_id;
COMMENT ON VIEW salesops.opportunity_hygiene IS 'Each open deal''s score: 100 less the points of its findings';

CREATE FUNCTION salesops.pipeline_quality_at(as_of timestamptz)
	RETURNS TABLE (measured_at timestamptz, open_deals bigint, clean_deals bigint, quality double precision, findings bigint, average_score double precision,
		unknown_deals bigint)
	LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
BEGIN ATOMIC
	SELECT as_of, count(*) FILTER (WHERE o.known_from <> 'nothing'), count(*) FILTER (WHERE h.findings IS NULL AND o.known_from <> 'nothing'),
	       count(*) FILTER (WHERE h.findings IS NULL AND o.known_from <> 'nothing')::double precision / nullif(count(*) FILTER (WHERE o.known_from <> 'nothing'), 0),
	       coalesce(sum(h.findings), 0)::bigint,
	       (avg(greatest(100 - coalesce(h.points, 0), 0)) FILTER (WHERE o.known_from <> 'nothing'))::double precision,
	       count(*) FILTER (WHERE o.known_from = 'nothing')
	  FROM salesops.open_deals(as_of, true) o
	  LEFT JOIN (SELECT f.opportunity_id, sum(f.points) AS points, count(*) AS findings FROM salesops.find_hygiene(as_of) f GROUP BY 1) h
	         ON h.opportunity_id = o.opportunity_id;
END;
COMMENT ON FUNCTION salesops.pipeline_quality_at(timestamptz) IS 'The share of open deals with no finding; unknown_deals were there then but have no history of that time, and are left out';
CREATE VIEW salesops.pipeline_quality WITH (security_invoker = true) AS
SELECT q.measured_at, q.open_deals, q.clean_deals, q.quality, q.findings, q.average_score FROM salesops.pipeline_quality_at(pg_catalog.now()) q
UNION ALL
SELECT s.taken_at, s.open_deals, s.clean_deals, s.clean_deals::double precision / nullif(s.open_deals, 0), s.findings, s.average_score
  FROM salesops.hygiene_snapshot s;
COMMENT ON VIEW salesops.pipeline_quality IS 'The share of open deals with no finding: now, as the caller sees the deals, and at each snapshot';

INSERT INTO salesops.access_right (level, kind, object)
SELECT 'reader', 'table', 'salesops.' || v FROM pg_catalog.unnest(ARRAY['pipeline_stage', 'mapped_opportunity_column', 'mapped_history_column', 'stage_history',
	'pipeline_by_stage', 'stage_velocity', 'stage_conversion', 'pipeline_bottleneck', 'sales_velocity', 'stale_opportunity', 'hygiene_rule',
	'hygiene_finding', 'hygiene_snapshot', 'pipeline_hygiene', 'hygiene_trend', 'opportunity_hygiene', 'pipeline_quality']) v;

CREATE FUNCTION salesops.take_hygiene_snapshot(as_of timestamptz DEFAULT pg_catalog.now()) RETURNS bigint
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'salesops_take_hygiene_snapshot';
COMMENT ON FUNCTION salesops.take_hygiene_snapshot(timestamptz) IS
	'Note today''s findings and the pipeline''s quality, for the trend; answers the number of findings. Run it daily, as a role that sees all deals';
INSERT INTO salesops.access_right (level, kind, object) VALUES
	('admin', 'function', 'salesops.set_hygiene_rule(text,integer,double precision,boolean)'),
	('operator', 'function', 'salesops.take_hygiene_snapshot(timestamptz)');

CREATE SEQUENCE salesops.hygiene_run;
COMMENT ON SEQUENCE salesops.hygiene_run IS 'Numbers of apply_hygiene()''s runs';
SELECT pg_catalog.pg_extension_config_dump('salesops.hygiene_run', '');
CREATE TABLE salesops.hygiene_action (
	action_id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
	run_id bigint NOT NULL,
	relation regclass NOT NULL,
	opportunity_id text NOT NULL,
	rule text NOT NULL,
	action text NOT NULL,
	column_name name,
	old_value text,
	new_value text,
	done_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	done_by name NOT NULL,
	reverted_at timestamptz
);
CREATE INDEX ON salesops.hygiene_action (run_id);
COMMENT ON TABLE salesops.hygiene_action IS 'What apply_hygiene() did to which deal, for which finding; a flag is an action that writes nothing to the deal';
SELECT pg_catalog.pg_extension_config_dump('salesops.hygiene_action', '');
SELECT pg_catalog.pg_extension_config_dump('salesops.hygiene_action_action_id_seq', '');
ALTER TABLE salesops.hygiene_action ENABLE ROW LEVEL SECURITY;
CREATE POLICY visible_rows ON salesops.hygiene_action FOR SELECT USING (salesops.row_is_visible(relation, opportunity_id));
COMMENT ON POLICY visible_rows ON salesops.hygiene_action IS 'What is stored about a deal is shown where the deal is';

CREATE FUNCTION salesops.apply_hygiene(actions jsonb, dry_run boolean DEFAULT true, as_of timestamptz DEFAULT pg_catalog.now(),
		OUT run_id bigint, OUT opportunity_id text, OUT rule text, OUT action text, OUT column_name text, OUT old_value text,
		OUT new_value text, OUT done boolean) RETURNS SETOF record
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'salesops_apply_hygiene';
COMMENT ON FUNCTION salesops.apply_hygiene(jsonb, boolean, timestamptz) IS
	'Act on findings: {"stale": "close", "no_next_step": "flag"}, or a list of objects with rule, action (flag, close, set), stage, column, value; shows what it would do unless dry_run is false';
CREATE FUNCTION salesops.revert_hygiene(run_id bigint) RETURNS bigint
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'salesops_revert_hygiene';
COMMENT ON FUNCTION salesops.revert_hygiene(bigint) IS 'Take a run of apply_hygiene() back, where what it wrote still stands; answers how many actions';
INSERT INTO salesops.relation_registry (table_name, column_name) VALUES ('hygiene_action', 'relation');
INSERT INTO salesops.access_right (level, kind, object) VALUES
	('reader', 'table', 'salesops.hygiene_action'),
	('operator', 'function', 'salesops.apply_hygiene(jsonb,boolean,timestamptz)'),
	('operator', 'function', 'salesops.revert_hygiene(bigint)');
