-- Forecast snapshots: what was open, closed and forecast at a time, and what became of it.

CREATE TABLE salesops.forecast_snapshot_deal (
  as_of timestamptz NOT NULL,
  opportunity_id text NOT NULL,
  stage text,
  kind text NOT NULL CHECK (kind IN ('open', 'won', 'lost')),
  amount numeric,
  close_date date,
  created_at timestamptz,
  closed_at timestamptz,
  owner_id text,
  forecast_category text,
  probability double precision,
  PRIMARY KEY (as_of, opportunity_id)
);
COMMENT ON TABLE salesops.forecast_snapshot_deal IS
  'deals as take_forecast_snapshot() saw them: open ones, and those closed in the 400 days before; shown only where the deal itself is';
COMMENT ON COLUMN salesops.forecast_snapshot_deal.probability IS 'of an open deal: chance to be won by the end of the quarter of as_of';

CREATE TABLE salesops.forecast_snapshot_total (
  as_of timestamptz NOT NULL,
  period daterange NOT NULL,
  by text[] NOT NULL,
  grp text[] NOT NULL,
  booked numeric NOT NULL,
  open_pipeline salesops.forecast NOT NULL,
  new_business salesops.forecast NOT NULL,
  total salesops.forecast NOT NULL,
  taken_by name NOT NULL,
  taken_at timestamptz NOT NULL,
  lower numeric,
  upper numeric,
  PRIMARY KEY (as_of, period, by, grp)
);
COMMENT ON TABLE salesops.forecast_snapshot_total IS
  'forecasts as take_forecast_snapshot() made them, of all and by owner_id; shown to the role that took them and to its members';
COMMENT ON COLUMN salesops.forecast_snapshot_total.lower IS 'of the 80 % interval of total, and upper: worked out once, when the snapshot is taken';
SELECT pg_catalog.pg_extension_config_dump('salesops.forecast_snapshot_deal', '');
SELECT pg_catalog.pg_extension_config_dump('salesops.forecast_snapshot_total', '');

ALTER TABLE salesops.forecast_snapshot_deal ENABLE ROW LEVEL SECURITY;
CREATE POLICY visible ON salesops.forecast_snapshot_deal FOR SELECT
  USING (opportunity_id IN (SELECT o.opportunity_id FROM salesops.opportunity o));
ALTER TABLE salesops.forecast_snapshot_total ENABLE ROW LEVEL SECURITY;
CREATE POLICY visible ON salesops.forecast_snapshot_total FOR SELECT
  USING (EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = taken_by AND pg_catalog.pg_has_role(r.oid, 'MEMBER')));

CREATE FUNCTION salesops.store_forecast_snapshot(deals salesops.forecast_snapshot_deal[], totals salesops.forecast_snapshot_total[])
  RETURNS integer
  LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  other record;
BEGIN
  -- one after the other where two store the same instant
  PERFORM pg_advisory_xact_lock(hashtextextended('salesops.forecast_snapshot ' || extract(epoch FROM t.as_of), 0))
    FROM (SELECT DISTINCT u.as_of FROM unnest(totals) u ORDER BY 1) t;
  SELECT d.as_of, d.taken_by, t.taken_by AS by_whom INTO other
    FROM salesops.forecast_snapshot_total d JOIN unnest(totals) t ON t.as_of = d.as_of
   WHERE to_regrole(quote_ident(d.taken_by)) IS NOT NULL AND NOT pg_has_role(t.taken_by, d.taken_by, 'MEMBER') LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'the forecast snapshot of % was taken by role "%"', other.as_of, other.taken_by
      USING ERRCODE = 'insufficient_privilege',
            DETAIL = format('Role "%s" may see other deals than that role, which it is no member of; its snapshot must not take the place of that one.', other.by_whom),
            HINT = 'Take it as a member of that role, or of another as_of.';
  END IF;
  DELETE FROM salesops.forecast_snapshot_deal d WHERE d.as_of IN (SELECT t.as_of FROM unnest(totals) t);
  DELETE FROM salesops.forecast_snapshot_total d WHERE d.as_of IN (SELECT t.as_of FROM unnest(totals) t);
  INSERT INTO salesops.forecast_snapshot_total SELECT t.* FROM unnest(totals) t;
  INSERT INTO salesops.forecast_snapshot_deal SELECT d.* FROM unnest(deals) d;
  RETURN cardinality(deals);
END
$$;
COMMENT ON FUNCTION salesops.store_forecast_snapshot(salesops.forecast_snapshot_deal[], salesops.forecast_snapshot_total[]) IS
  'keeps a snapshot, in place of an earlier one of the same as_of by the same role or one it is a member of';

CREATE FUNCTION salesops.take_forecast_snapshot(as_of timestamptz DEFAULT now()) RETURNS integer
  LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  first_day constant date := date_trunc('quarter', take_forecast_snapshot.as_of)::date;
  this_quarter constant daterange := daterange(first_day, (first_day + interval '3 months')::date);
  next_quarter constant daterange := daterange((first_day + interval '3 months')::date, (first_day + interval '6 months')::date);
  past constant boolean := take_forecast_snapshot.as_of < now();
  deals salesops.forecast_snapshot_deal[];
  totals salesops.forecast_snapshot_total[];
  twice text;
BEGIN
  IF NOT isfinite(take_forecast_snapshot.as_of) THEN
    RAISE EXCEPTION 'as_of of a forecast snapshot must be a finite time' USING ERRCODE = 'invalid_parameter_value',
      DETAIL = format('It is %s.', take_forecast_snapshot.as_of), HINT = 'SELECT salesops.take_forecast_snapshot() takes one of now.';
  END IF;
  -- one statement: it reads and fits once, and deals and totals are of the same view of the data. Closes are found as forecast_bookings()
  -- finds them; amounts are in the forecasts' currency, to the cent where a rate made them
  WITH kinds AS MATERIALIZED (
    SELECT DISTINCT ON (s.stage) s.stage, s.kind, s.ordinal FROM salesops.stage s ORDER BY s.stage, s.pipeline <> 'default', s.pipeline
  ), own AS MATERIALIZED (
    SELECT o.opportunity_id, o.stage AS stage_now, k.kind, o.close_date, o.owner_id, o.forecast_category, o.created_at, o.closed_at,
           CASE WHEN r.rate IS NULL OR r.rate = 1 THEN o.amount ELSE round(o.amount * r.rate, 2) END AS amount
      FROM salesops.opportunity o LEFT JOIN kinds k ON k.stage = o.stage LEFT JOIN salesops.currency_rate r ON r.currency = o.currency
     WHERE (o.created_at > take_forecast_snapshot.as_of) IS NOT true
       AND (k.kind <> 'open' AND o.closed_at <= take_forecast_snapshot.as_of - interval '400 days') IS NOT true
  ), change AS (   -- of deals that do not say themselves when they began or ended
    SELECT c.opportunity_id, min(c.entered_at) AS first_at, max(c.entered_at) FILTER (WHERE k.kind <> 'open') AS closed_at
      FROM salesops.opportunity_stage_change c LEFT JOIN kinds k ON k.stage = c.stage
     WHERE c.opportunity_id IN (SELECT s.opportunity_id FROM own s WHERE s.created_at IS NULL OR (s.closed_at IS NULL AND s.kind <> 'open'))
     GROUP BY 1
  ), seen AS (
    SELECT s.opportunity_id, s.stage_now, s.kind, s.close_date, s.owner_id, s.forecast_category, s.amount,
           coalesce(s.created_at, h.first_at) AS created_at,
           CASE WHEN s.kind <> 'open' THEN coalesce(s.closed_at, h.closed_at, s.close_date::timestamptz) END AS ended_at
      FROM own s LEFT JOIN change h ON h.opportunity_id = s.opportunity_id
     WHERE coalesce(s.created_at, h.first_at, '-infinity') <= take_forecast_snapshot.as_of
  ), told AS MATERIALIZED (
    SELECT s.*, coalesce(s.ended_at <= take_forecast_snapshot.as_of, false) AS ended FROM seen s
     WHERE (s.ended_at <= take_forecast_snapshot.as_of - interval '400 days') IS NOT true
  ), stage_then AS (   -- of deals not closed then only: sorting all changes would take longer than the forecast
    SELECT DISTINCT ON (c.opportunity_id) c.opportunity_id, c.stage
      FROM salesops.opportunity_stage_change c LEFT JOIN kinds k ON k.stage = c.stage
     WHERE c.entered_at <= take_forecast_snapshot.as_of
       AND c.opportunity_id IN (SELECT s.opportunity_id FROM told s WHERE NOT s.ended AND (past OR s.kind <> 'open'))
     ORDER BY c.opportunity_id, c.entered_at DESC, k.ordinal DESC, c.stage DESC
  )
  SELECT (SELECT array_agg(ROW(take_forecast_snapshot.as_of, s.opportunity_id,
                       CASE WHEN s.ended THEN s.stage_now WHEN s.kind = 'open' AND NOT past THEN s.stage_now
                            ELSE coalesce(h.stage, CASE WHEN s.kind = 'open' THEN s.stage_now END) END,
                       CASE WHEN s.ended THEN s.kind ELSE 'open' END,
                       CASE WHEN s.ended OR (s.kind = 'open' AND (NOT past OR coalesce(d.amount_is_estimate, true))) THEN s.amount
                            WHEN s.amount IS NOT NULL OR NOT d.amount_is_estimate THEN d.amount END,
                       s.close_date, s.created_at, CASE WHEN s.ended THEN s.ended_at END,
                       s.owner_id, s.forecast_category, d.probability)::salesops.forecast_snapshot_deal)
            FROM told s LEFT JOIN salesops.forecast_deals(NULL, take_forecast_snapshot.as_of) d ON d.opportunity_id = s.opportunity_id
            LEFT JOIN stage_then h ON h.opportunity_id = s.opportunity_id),
         (SELECT array_agg(ROW(take_forecast_snapshot.as_of, p.period, p.by, f.grp, f.booked, f.open_pipeline, f.new_business, f.total,
                       current_user, now(), salesops.quantile(f.total, 0.1)::numeric, salesops.quantile(f.total, 0.9)::numeric)::salesops.forecast_snapshot_total)
            FROM (VALUES (this_quarter, '{}'::text[]), (this_quarter, '{owner_id}'), (next_quarter, '{}'), (next_quarter, '{owner_id}')) p(period, by),
                 salesops.forecast_bookings(p.period, p.by, take_forecast_snapshot.as_of) f),
         (SELECT string_agg(format('opportunity "%s" is there %s times', x.opportunity_id, x.times), E'\n' ORDER BY x.opportunity_id)
            FROM (SELECT s.opportunity_id, count(*) AS times FROM told s GROUP BY 1 HAVING count(*) > 1 ORDER BY 1 LIMIT 10) x)
    INTO deals, totals, twice;
  IF twice IS NOT NULL THEN
    RAISE EXCEPTION 'cannot take a forecast snapshot of opportunities that are not unique' USING ERRCODE = 'unique_violation', DETAIL = twice,
      HINT = 'Attach a relation that has each opportunity once, or map opportunity_id to its key.';
  END IF;
  RETURN salesops.store_forecast_snapshot(coalesce(deals, '{}'), totals);
END
$$;
COMMENT ON FUNCTION salesops.take_forecast_snapshot(timestamptz) IS
  'remember the deals and the forecasts of this and the next quarter as known at as_of; answers how many deals; for a job';

CREATE VIEW salesops.forecast_snapshot WITH (security_invoker = true) AS
  SELECT t.as_of, t.period, t.by, t.grp, t.booked, pg_catalog.round(salesops.mean(t.open_pipeline)::numeric, 2) AS open_pipeline,
         pg_catalog.round(salesops.mean(t.new_business)::numeric, 2) AS new_business,
         pg_catalog.round(salesops.mean(t.total)::numeric, 2) AS expected,
         pg_catalog.round(COALESCE(t.lower, salesops.quantile(t.total, 0.1)::numeric), 2) AS lower,
         pg_catalog.round(COALESCE(t.upper, salesops.quantile(t.total, 0.9)::numeric), 2) AS upper, t.total, t.taken_by, t.taken_at
    FROM salesops.forecast_snapshot_total t;
COMMENT ON VIEW salesops.forecast_snapshot IS
  'forecasts as they were made, of all deals (by = {}) and by owner, with the 80 % interval from lower to upper; total is the whole distribution';

-- ---- what changed between two snapshots ---------------------------------------------------------------------------------
CREATE FUNCTION salesops.forecast_change(from_at timestamptz, to_at timestamptz, period daterange DEFAULT NULL, OUT ordinal integer,
                                         OUT change text, OUT deals bigint, OUT amount numeric) RETURNS SETOF record
  LANGUAGE plpgsql STABLE PARALLEL RESTRICTED ROWS 12 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  first_at timestamptz;
  last_at timestamptz;
BEGIN
  SELECT max(d.as_of) INTO first_at FROM salesops.forecast_snapshot_deal d WHERE d.as_of <= from_at;
  SELECT max(d.as_of) INTO last_at FROM salesops.forecast_snapshot_deal d WHERE d.as_of <= to_at;
  IF from_at > to_at THEN
    RAISE EXCEPTION 'the change of a forecast from % to % would run backwards', from_at, to_at
      USING ERRCODE = 'invalid_parameter_value', DETAIL = 'from_at is later than to_at.',
            HINT = format('SELECT * FROM salesops.forecast_change(%L, %L)', to_at, from_at);
  ELSIF isempty(period) THEN
    RAISE EXCEPTION 'the period of a forecast must have a day' USING ERRCODE = 'invalid_parameter_value', DETAIL = 'The period is empty.',
      HINT = 'Write it as ''[2027-01-01,2027-04-01)''.';
  ELSIF first_at IS NULL OR last_at IS NULL THEN
    RAISE EXCEPTION 'there is no forecast snapshot for a change from % to %', coalesce(from_at::text, 'NULL'), coalesce(to_at::text, 'NULL')
      USING ERRCODE = 'invalid_parameter_value',
            DETAIL = coalesce('Snapshots were taken at: ' || (SELECT string_agg(s.as_of::text, ', ' ORDER BY s.as_of DESC)
                       FROM (SELECT DISTINCT d.as_of FROM salesops.forecast_snapshot_deal d ORDER BY 1 DESC LIMIT 5) s), 'None was taken that you may see.'),
            HINT = 'SELECT salesops.take_forecast_snapshot() takes one.';
  END IF;
  IF period IS NULL THEN
    period := daterange(date_trunc('quarter', from_at)::date, (date_trunc('quarter', from_at) + interval '3 months')::date);
  END IF;
  RETURN QUERY
  WITH pair AS (
    SELECT a.opportunity_id IS NOT NULL AS was, b.opportunity_id IS NOT NULL AS is_there, a.kind AS kind_0, b.kind AS kind_1,
           coalesce(a.amount, 0) AS amount_0, coalesce(b.amount, 0) AS amount_1, a.close_date AS date_0, b.close_date AS date_1,
           coalesce(a.kind = 'open' AND a.close_date <@ period, false) AS in_0,
           coalesce(b.kind = 'open' AND b.close_date <@ period, false) AS in_1,
           b.closed_at > first_at AS closed_between,
           coalesce((b.closed_at AT TIME ZONE current_setting('TimeZone'))::date <@ period, false) AS closed_in
      FROM (SELECT * FROM salesops.forecast_snapshot_deal d WHERE d.as_of = first_at) a
      FULL JOIN (SELECT * FROM salesops.forecast_snapshot_deal d WHERE d.as_of = last_at) b USING (opportunity_id)
  ), step AS (
    SELECT 1 AS ordinal, 'open at the start' AS change, p.amount_0 AS amount FROM pair p WHERE p.in_0
    UNION ALL   -- came in
    SELECT CASE WHEN NOT p.was THEN 2 WHEN p.kind_0 <> 'open' THEN 3 WHEN p.date_0 < lower(period) THEN 5 ELSE 4 END,
           CASE WHEN NOT p.was THEN 'created' WHEN p.kind_0 <> 'open' THEN 'reopened' WHEN p.date_0 < lower(period) THEN 'pushed in' ELSE 'pulled in' END,
           CASE WHEN NOT p.was THEN p.amount_1 ELSE p.amount_0 END
      FROM pair p WHERE NOT p.in_0 AND (p.in_1 OR (p.closed_in AND p.closed_between AND p.kind_1 <> 'open' AND coalesce(p.kind_0, 'open') = 'open'))
    UNION ALL   -- worth more or less, while in the period or on closing in it
    SELECT CASE WHEN p.amount_1 > p.amount_0 THEN 6 ELSE 7 END, CASE WHEN p.amount_1 > p.amount_0 THEN 'up' ELSE 'down' END, p.amount_1 - p.amount_0
      FROM pair p
     WHERE p.was AND p.is_there AND p.amount_1 <> p.amount_0 AND
           (p.in_1 OR (p.kind_1 <> 'open' AND p.kind_0 = 'open' AND (p.in_0 OR (p.closed_in AND p.closed_between))))
    UNION ALL   -- went out
    SELECT CASE p.kind_1 WHEN 'won' THEN 8 WHEN 'lost' THEN 9 END, p.kind_1, -p.amount_1
      FROM pair p WHERE p.kind_1 <> 'open' AND coalesce(p.kind_0, 'open') = 'open' AND (p.in_0 OR (p.closed_in AND p.closed_between))
    UNION ALL
    SELECT CASE WHEN p.date_1 < lower(period) THEN 11 ELSE 10 END, CASE WHEN p.date_1 < lower(period) THEN 'pulled out' ELSE 'pushed' END, -p.amount_0
      FROM pair p WHERE p.in_0 AND p.kind_1 = 'open' AND NOT p.in_1
    UNION ALL
    SELECT 12, 'removed', -p.amount_0 FROM pair p WHERE p.in_0 AND NOT p.is_there
    UNION ALL
    SELECT 13, 'open at the end', p.amount_1 FROM pair p WHERE p.in_1
  )
  SELECT s.ordinal, s.change, count(*), sum(s.amount) FROM step s GROUP BY 1, 2 ORDER BY 1;
END
$$;
COMMENT ON FUNCTION salesops.forecast_change(timestamptz, timestamptz, daterange) IS
  'bridge of the open pipeline due in a period (default: the quarter of from_at) from one snapshot to a later one; the steps add up to the end, to the cent';

-- ---- judgement: kept apart from the base, tied to person and period ---------------------------------------------------------
CREATE TABLE salesops.forecast_adjustment (
  adjustment_id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
  person text NOT NULL CHECK (person <> ''),
  period daterange NOT NULL CHECK (NOT isempty(period) AND NOT lower_inf(period) AND NOT upper_inf(period)),
  category text NOT NULL CHECK (category IN ('commit', 'best case', 'pipeline')),
  amount numeric NOT NULL CHECK (amount > '-Infinity' AND amount < 'Infinity'),
  note text,
  author name NOT NULL,
  made_at timestamptz NOT NULL
);
COMMENT ON TABLE salesops.forecast_adjustment IS
  'what people say a person will book in a period, beside what the deals say; never changed or deleted, the latest counts';
COMMENT ON COLUMN salesops.forecast_adjustment.person IS 'rep_id or manager_id the number is for, or * for everyone; no reorganisation touches it';
SELECT pg_catalog.pg_extension_config_dump('salesops.forecast_adjustment', '');
SELECT pg_catalog.pg_extension_config_dump('salesops.forecast_adjustment_adjustment_id_seq', '');

CREATE FUNCTION salesops.person_period_problem(person text, period daterange) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
  SELECT nullif(concat_ws(E'\n', CASE WHEN coalesce($1, '') = '' THEN 'person is missing: a rep_id, a manager_id, or * for all' END,
    CASE WHEN $2 IS NULL OR isempty($2) OR lower_inf($2) OR upper_inf($2) THEN 'period must have a first and a last day' END), '')
$$;
COMMENT ON FUNCTION salesops.person_period_problem(text, daterange) IS 'what is wrong with a person and a period that a number is to be tied to, or NULL';

CREATE FUNCTION salesops.adjust_forecast(person text, period daterange, amount numeric, category text DEFAULT 'commit',
                                         note text DEFAULT NULL) RETURNS bigint
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  problem text := nullif(concat_ws(E'\n', salesops.person_period_problem(person, period),
    CASE WHEN amount IS NULL OR amount IN ('NaN', 'Infinity', '-Infinity') THEN 'amount must be a number' END,
    CASE WHEN lower(category) IS NULL OR lower(category) NOT IN ('commit', 'best case', 'pipeline')
         THEN 'category must be commit, best case or pipeline' END), '');
  answer bigint;
BEGIN
  IF problem IS NOT NULL THEN
    RAISE EXCEPTION 'invalid forecast adjustment of "%"', coalesce(person, 'NULL') USING ERRCODE = 'invalid_parameter_value', DETAIL = problem,
      HINT = 'SELECT salesops.adjust_forecast(''R1'', ''[2027-01-01,2027-04-01)'', 250000, ''commit'', ''why'')';
  END IF;
  INSERT INTO salesops.forecast_adjustment AS a (person, period, category, amount, note, author, made_at)
    VALUES (adjust_forecast.person, adjust_forecast.period, lower(adjust_forecast.category), adjust_forecast.amount, adjust_forecast.note,
            CASE current_setting('role') WHEN 'none' THEN session_user ELSE current_setting('role')::name END, now())
    RETURNING a.adjustment_id INTO answer;
  RETURN answer;
END
$$;
COMMENT ON FUNCTION salesops.adjust_forecast(text, daterange, numeric, text, text) IS
  'say what a person (or * for all) will book in a period: category commit, best case or pipeline; kept beside the base forecast, with author and time';

CREATE TABLE salesops.forecast_quota (
  person text NOT NULL CHECK (person <> ''),
  period daterange NOT NULL CHECK (NOT isempty(period) AND NOT lower_inf(period) AND NOT upper_inf(period)),
  quota numeric NOT NULL CHECK (quota > 0 AND quota < 'Infinity'),
  PRIMARY KEY (person, period)
);
COMMENT ON TABLE salesops.forecast_quota IS 'what a person (rep, manager, or * for all) is to book in a period; set with set_quota()';
SELECT pg_catalog.pg_extension_config_dump('salesops.forecast_quota', '');
CREATE FUNCTION salesops.set_quota(person text, period daterange, quota numeric) RETURNS void
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  problem text := nullif(concat_ws(E'\n', salesops.person_period_problem(person, period),
    CASE WHEN quota <= 0 OR quota IN ('NaN', 'Infinity') THEN 'quota must be a number above 0, or NULL for none' END), '');
BEGIN
  IF problem IS NOT NULL THEN
    RAISE EXCEPTION 'invalid quota of "%"', coalesce(person, 'NULL') USING ERRCODE = 'invalid_parameter_value', DETAIL = problem,
      HINT = 'SELECT salesops.set_quota(''R1'', ''[2027-01-01,2027-04-01)'', 1000000)';
  END IF;
  IF quota IS NULL THEN
    DELETE FROM salesops.forecast_quota q WHERE q.person = set_quota.person AND q.period = set_quota.period;
  ELSE
    INSERT INTO salesops.forecast_quota VALUES (set_quota.person, set_quota.period, set_quota.quota)
      ON CONFLICT ON CONSTRAINT forecast_quota_pkey DO UPDATE SET quota = excluded.quota;
  END IF;
END
$$;
COMMENT ON FUNCTION salesops.set_quota(text, daterange, numeric) IS 'set the quota of a person (or * for all) for a period; NULL takes it away';

CREATE FUNCTION salesops.forecast_team(period daterange, as_of timestamptz DEFAULT now(), OUT person text, OUT manager_id text,
                                       OUT people bigint, OUT booked numeric, OUT "commit" numeric, OUT best_case numeric,
                                       OUT pipeline numeric, OUT expected numeric, OUT lower numeric, OUT upper numeric,
                                       OUT adjusted numeric, OUT adjusted_by name, OUT quota numeric, OUT gap numeric,
                                       OUT attainment double precision, OUT total salesops.forecast,
                                       OUT cumulative_commit numeric, OUT cumulative_best_case numeric, OUT cumulative_pipeline numeric,
                                       OUT said_commit numeric, OUT said_commit_by name, OUT said_commit_at timestamptz,
                                       OUT said_best_case numeric, OUT said_best_case_by name, OUT said_best_case_at timestamptz,
                                       OUT said_pipeline numeric, OUT said_pipeline_by name, OUT said_pipeline_at timestamptz,
                                       OUT judged_deals bigint, OUT expected_judged numeric) RETURNS SETOF record
  LANGUAGE sql STABLE STRICT PARALLEL RESTRICTED COST 1000000 ROWS 50 SET search_path = pg_catalog, pg_temp AS $$
  WITH RECURSIVE rep AS MATERIALIZED (
    SELECT DISTINCT ON (r.rep_id) r.rep_id, r.manager_id FROM salesops.sales_rep r ORDER BY r.rep_id, r.manager_id
  ), base AS MATERIALIZED (
    SELECT f.grp[1] AS owner_id, f.booked, f.total FROM salesops.forecast_bookings($1, '{owner_id}', $2) f
  ), owner AS (
    SELECT b.owner_id FROM base b WHERE b.owner_id IS NOT NULL UNION SELECT r.rep_id FROM rep r
    UNION SELECT q.person FROM salesops.forecast_quota q WHERE q.period = $1 AND q.person <> '*'   -- gone, but a number is theirs
    UNION SELECT a.person FROM salesops.forecast_adjustment a WHERE a.period = $1 AND a.made_at <= $2 AND a.person <> '*'
  ), team(person, member) AS (
    SELECT o.owner_id, o.owner_id FROM owner o
    UNION
    SELECT r.manager_id, t.member FROM team t JOIN rep r ON r.rep_id = t.person WHERE r.manager_id IS NOT NULL
  ), everyone AS (
    SELECT t.person, t.member FROM team t
    UNION ALL SELECT '*', o.owner_id FROM owner o
    UNION ALL SELECT '*', NULL
  ), deal AS MATERIALIZED (
    SELECT d.opportunity_id, d.amount, d.probability, o.owner_id, coalesce(replace(pg_catalog.lower(o.forecast_category), '_', ' '), 'pipeline') AS category,
           o.close_date IS NULL OR o.close_date <@ $1 AS due
      FROM salesops.forecast_deals($1, $2) d JOIN salesops.opportunity o ON o.opportunity_id = d.opportunity_id
  ), category AS (
    SELECT d.owner_id, sum(d.amount) FILTER (WHERE d.category = 'commit') AS commit,
           sum(d.amount) FILTER (WHERE d.category IN ('best case', 'bestcase', 'upside')) AS best_case,
           sum(d.amount) FILTER (WHERE d.category NOT IN ('commit', 'best case', 'bestcase', 'upside', 'omitted', 'closed')) AS pipeline
      FROM deal d WHERE d.due GROUP BY 1
  ), judged AS (   -- what judgement of single deals would add
    SELECT d.owner_id, count(*) AS deals, sum(coalesce(j.amount, d.amount) * coalesce(j.chance, d.probability)::numeric - d.amount * d.probability::numeric) AS more
      FROM deal d JOIN salesops.deal_adjustments($1, $2) j ON j.opportunity_id = d.opportunity_id GROUP BY 1
  ), rolled AS (
    SELECT e.person, count(DISTINCT e.member) AS people, coalesce(sum(b.booked), 0) AS booked, coalesce(sum(c.commit), 0) AS commit,
           coalesce(sum(c.best_case), 0) AS best_case, coalesce(sum(c.pipeline), 0) AS pipeline, salesops.merge(b.total) AS total, sum(j.deals)::bigint AS judged_deals, sum(j.more) AS more
      FROM everyone e LEFT JOIN base b ON b.owner_id IS NOT DISTINCT FROM e.member LEFT JOIN category c ON c.owner_id IS NOT DISTINCT FROM e.member
      LEFT JOIN judged j ON j.owner_id IS NOT DISTINCT FROM e.member
     GROUP BY 1
  ), said AS MATERIALIZED (   -- the latest by then of each category
    SELECT DISTINCT ON (a.person, a.category) a.person, a.category, a.amount, a.author, a.made_at FROM salesops.forecast_adjustment a
     WHERE a.period = $1 AND a.made_at <= $2 ORDER BY a.person, a.category, a.made_at DESC, a.adjustment_id DESC
  )
  SELECT r.person, m.manager_id, r.people, r.booked, r.commit, r.best_case, r.pipeline, round(salesops.mean(r.total)::numeric, 2),
         round(salesops.quantile(r.total, 0.1)::numeric, 2), round(salesops.quantile(r.total, 0.9)::numeric, 2), c.amount, c.author,
         q.quota, q.quota - r.booked, salesops.probability_at_least(r.total, q.quota::double precision), r.total,
         r.commit, r.commit + r.best_case, r.commit + r.best_case + r.pipeline,
         c.amount, c.author, c.made_at, b.amount, b.author, b.made_at, p.amount, p.author, p.made_at,
         r.judged_deals, round(salesops.mean(r.total)::numeric + r.more, 2)
    FROM rolled r
    LEFT JOIN rep m ON m.rep_id = r.person
    LEFT JOIN said c ON c.person = r.person AND c.category = 'commit'
    LEFT JOIN said b ON b.person = r.person AND b.category = 'best case'
    LEFT JOIN said p ON p.person = r.person AND p.category = 'pipeline'
    LEFT JOIN salesops.forecast_quota q ON q.person = r.person AND q.period = $1
   ORDER BY r.person <> '*', r.person
$$;
COMMENT ON FUNCTION salesops.forecast_team(daterange, timestamptz) IS
  'forecast of each person with all who report to them, and of all (*): booked, open deals by category (commit, best_case, pipeline: single; cumulative_: with the surer ones), expected and 80 % interval, quota, gap to it, chance to attain it; beside them the latest that people said of each category (said_, by whom and when; adjusted is said_commit), of all that will be booked; and judged_deals, of which adjust_deal() said something, with what would be expected were they as was said (expected_judged); that changes none of the others';

CREATE VIEW salesops.won_deal WITH (security_invoker = true) AS
  WITH kinds AS MATERIALIZED (
    SELECT DISTINCT ON (g.stage) g.stage, g.kind FROM salesops.stage g ORDER BY g.stage, g.pipeline <> 'default', g.pipeline
  )
  SELECT o.opportunity_id, o.owner_id, o.amount * COALESCE(c.rate, 1) AS amount,
         o.amount IS NOT NULL AND o.currency IS NOT NULL AND c.rate IS NULL
           AND (SELECT pg_catalog.min(p.currency) <> pg_catalog.max(p.currency) FROM salesops.opportunity p WHERE p.amount IS NOT NULL) AS no_rate,
         COALESCE(o.closed_at, h.closed_at, o.close_date::timestamptz)::date AS day
    FROM salesops.opportunity o JOIN kinds k ON k.stage = o.stage AND k.kind = 'won'
    LEFT JOIN salesops.currency_rate c ON c.currency = o.currency
    LEFT JOIN (SELECT g.opportunity_id, pg_catalog.max(g.entered_at) AS closed_at
                 FROM salesops.opportunity_stage_change g JOIN kinds k ON k.stage = g.stage AND k.kind <> 'open' GROUP BY 1) h
      ON h.opportunity_id = o.opportunity_id;
COMMENT ON VIEW salesops.won_deal IS
  'what was won on which day, as forecast_bookings() counts it, in the forecasts'' currency; no_rate: of several currencies one without a rate, so its amount is not known';

CREATE VIEW salesops.forecast_accuracy WITH (security_invoker = true) AS
  WITH RECURSIVE rep AS (
    SELECT DISTINCT r.rep_id, r.manager_id FROM salesops.sales_rep r
  ), team(person, member) AS (
    SELECT r.manager_id, r.rep_id FROM rep r WHERE r.manager_id IS NOT NULL
    UNION
    SELECT r.manager_id, t.member FROM team t JOIN rep r ON r.rep_id = t.person WHERE r.manager_id IS NOT NULL
  ), said AS MATERIALIZED (
    SELECT 'salesops'::text AS forecaster, 'expected'::text AS category, t.as_of, t.period,
           CASE WHEN t.by = '{}' THEN 'all' ELSE 'person' END AS level, t.grp[1] AS person, salesops.mean(t.total)::numeric AS predicted,
           COALESCE(t.lower, salesops.quantile(t.total, 0.1)::numeric) AS lower, COALESCE(t.upper, salesops.quantile(t.total, 0.9)::numeric) AS upper
      FROM salesops.forecast_snapshot_total t WHERE pg_catalog.upper(t.period) <= pg_catalog.now()::date
    UNION ALL   -- what the forecasts of its people said of each team
    SELECT 'salesops', 'expected', x.as_of, x.period, 'team', x.person, salesops.mean(x.total)::numeric,
           salesops.quantile(x.total, 0.1)::numeric, salesops.quantile(x.total, 0.9)::numeric
      FROM (SELECT t.as_of, t.period, m.person, salesops.merge(t.total) AS total
              FROM salesops.forecast_snapshot_total t
              JOIN (SELECT u.person, u.member FROM team u UNION SELECT u.person, u.person FROM team u) m ON m.member = t.grp[1]
             WHERE t.by = '{owner_id}' AND pg_catalog.upper(t.period) <= pg_catalog.now()::date GROUP BY 1, 2, 3) x
    UNION ALL
    SELECT a.author::text, a.category, a.made_at, a.period,
           CASE WHEN a.person = '*' THEN 'all' WHEN EXISTS (SELECT FROM team m WHERE m.person = a.person) THEN 'team' ELSE 'person' END,
           a.person, a.amount, NULL, NULL
      FROM salesops.forecast_adjustment a WHERE pg_catalog.upper(a.period) <= pg_catalog.now()::date
  ), won AS MATERIALIZED (
    SELECT w.owner_id, w.amount, w.no_rate, w.day FROM salesops.won_deal w
  ), outcome AS MATERIALIZED (
    SELECT s.*, COALESCE((SELECT CASE WHEN pg_catalog.bool_or(w.no_rate) THEN 'NaN' ELSE pg_catalog.sum(w.amount) END FROM won w
                           WHERE w.day <@ s.period
                             AND (s.level = 'all' OR w.owner_id IS NOT DISTINCT FROM s.person
                                  OR (s.level = 'team' AND w.owner_id IN (SELECT m.member FROM team m WHERE m.person = s.person)))), 0) AS sum,
           pg_catalog.floor((pg_catalog.upper(s.period) - s.as_of::date) / 30.0)::integer * 30 AS days_ahead
      FROM said s
  ), known AS (
    SELECT o.*, NULLIF(o.sum, 'NaN') AS actual FROM outcome o
  )
  SELECT o.forecaster, o.category, o.level, o.days_ahead, pg_catalog.count(*) AS forecasts,
         salesops.wape(o.actual, o.predicted) AS wape,
         (pg_catalog.sum(o.predicted - o.actual) / NULLIF(pg_catalog.sum(pg_catalog.abs(o.actual)), 0))::double precision AS bias,
         pg_catalog.avg((o.actual BETWEEN o.lower AND o.upper)::integer)::double precision AS coverage_80
    FROM known o GROUP BY 1, 2, 3, 4;
COMMENT ON VIEW salesops.forecast_accuracy IS
  'how right past forecasts of periods that are over were, by forecaster (salesops, or who adjusted), category (expected, commit, best case, pipeline), level (all, team with all who report to it, person) and days ahead (of the end of the period, by 30; below 0: said when it was over): WAPE, bias (forecast over actual, less 1), share held by the 80 % interval';

CREATE VIEW salesops.deal_adjustment_accuracy WITH (security_invoker = true) AS
  WITH scored AS (
    SELECT a.person, pg_catalog.floor((pg_catalog.upper(a.period) - a.made_at::date) / 30.0)::integer * 30 AS days_ahead, a.chance, a.base_chance,
           a.amount, a.base_amount, w.opportunity_id IS NOT NULL AS won, w.amount AS booked
      FROM salesops.forecast_deal_adjustment a
      LEFT JOIN (SELECT v.opportunity_id, v.day, CASE WHEN NOT v.no_rate THEN v.amount END AS amount FROM salesops.won_deal v) w
        ON w.opportunity_id = a.opportunity_id AND w.day <@ a.period
     WHERE pg_catalog.upper(a.period) <= pg_catalog.now()::date AND a.opportunity_id IN (SELECT o.opportunity_id FROM salesops.opportunity o)
  )
  SELECT s.person, s.days_ahead, pg_catalog.count(s.chance) AS chances, pg_catalog.count(*) FILTER (WHERE s.chance IS NOT NULL AND s.won) AS won,
         pg_catalog.avg((s.chance - s.won::integer) ^ 2) AS brier,
         pg_catalog.avg((s.base_chance - s.won::integer) ^ 2) FILTER (WHERE s.chance IS NOT NULL) AS brier_of_base,
         pg_catalog.count(s.amount) FILTER (WHERE s.booked IS NOT NULL) AS amounts,
         salesops.wape(s.booked, s.amount) AS amount_wape, salesops.wape(s.booked, s.base_amount) FILTER (WHERE s.amount IS NOT NULL) AS amount_wape_of_base
    FROM scored s WHERE s.chance IS NOT NULL OR s.amount IS NOT NULL GROUP BY 1, 2;
COMMENT ON VIEW salesops.deal_adjustment_accuracy IS
  'how right each person''s judgement of single deals was (adjust_deal, periods that are over, deals that are still there) beside the model''s on the same deals when they were judged, by days ahead of the period''s end (by 30): Brier score of the chances, WAPE of the amounts of those won';

-- ---- why, and what if ------------------------------------------------------------------------------------------------------
CREATE FUNCTION salesops.opportunity_risk(period daterange DEFAULT NULL, as_of timestamptz DEFAULT now(), OUT opportunity_id text,
                                          OUT risk text, OUT contribution numeric, OUT effect text) RETURNS SETOF record
  LANGUAGE sql STABLE PARALLEL RESTRICTED COST 100000 ROWS 1000 SET search_path = pg_catalog, pg_temp AS $$
  -- of the open deals' changes only: sorting all would take longer than the forecast
  WITH deal AS MATERIALIZED (SELECT f.* FROM salesops.forecast_deals($1, $2) f),
  kinds AS MATERIALIZED (SELECT DISTINCT ON (s.stage) s.stage, s.kind, s.ordinal FROM salesops.stage s ORDER BY s.stage, s.pipeline <> 'default', s.pipeline),
  own AS MATERIALIZED (   -- its close_date stands from said_at on
    SELECT DISTINCT ON (o.opportunity_id) o.opportunity_id, o.stage, o.type, o.source, o.close_date, CASE WHEN $2 >= now() THEN 'infinity' ELSE o.updated_at END AS said_at
      FROM salesops.opportunity o WHERE o.opportunity_id IN (SELECT f.opportunity_id FROM deal f)
     ORDER BY o.opportunity_id, o.updated_at DESC, o.stage, o.type, o.source, o.close_date
  ), change AS MATERIALIZED (
    SELECT h.opportunity_id, h.stage, h.entered_at, h.close_date, h.change_number FROM salesops.opportunity_stage_change h
     WHERE h.entered_at <= $2 AND h.opportunity_id IN (SELECT f.opportunity_id FROM deal f)
  ), stood AS (
    SELECT DISTINCT ON (c.opportunity_id) c.opportunity_id, c.stage FROM change c LEFT JOIN kinds e ON e.stage = c.stage
     ORDER BY c.opportunity_id, c.entered_at DESC, e.ordinal DESC, c.stage DESC
  ), dated AS (   -- when its expected close date was what: by the history, where that tells none by the snapshots, and by itself
    SELECT c.opportunity_id, c.entered_at AS at, c.change_number AS place, c.close_date FROM change c
    UNION ALL
    SELECT s.opportunity_id, s.as_of, 0, s.close_date FROM salesops.forecast_snapshot_deal s
     WHERE s.as_of <= $2 AND s.kind = 'open' AND s.opportunity_id IN (SELECT f.opportunity_id FROM deal f)
       AND s.opportunity_id NOT IN (SELECT c.opportunity_id FROM change c WHERE c.close_date IS NOT NULL)
    UNION ALL
    SELECT o.opportunity_id, o.said_at, 0, o.close_date FROM own o WHERE o.said_at <= $2 OR $2 >= now()
  ), moved AS (
    SELECT m.opportunity_id, count(*) FILTER (WHERE m.close_date > m.before) AS times, sum(m.close_date - m.before) FILTER (WHERE m.close_date > m.before) AS days,
           max(m.close_date) FILTER (WHERE m.is_last) AS close_date
      FROM (SELECT x.opportunity_id, x.close_date, lag(x.close_date) OVER w AS before, lead(x.close_date) OVER w IS NULL AS is_last
              FROM dated x WHERE isfinite(x.close_date)
            WINDOW w AS (PARTITION BY x.opportunity_id ORDER BY x.at, x.place, x.close_date)) m
     GROUP BY 1
  ), happened AS (
    SELECT e.opportunity_id, max(e.at) AS at
      FROM (SELECT c.opportunity_id, c.entered_at AS at FROM change c
            UNION ALL
            SELECT a.opportunity_id, a.occurred_at FROM salesops.activity a
             WHERE a.occurred_at <= $2 AND a.opportunity_id IN (SELECT f.opportunity_id FROM deal f)) e
     WHERE isfinite(e.at) GROUP BY 1
  ), waited AS (   -- the longest that each won deal was in a stage; of ten deals on, what four in five did not exceed
    SELECT w.stage, ceil(percentile_disc(0.8) WITHIN GROUP (ORDER BY w.days)) AS days
      FROM (SELECT s.opportunity_id, s.stage, max(salesops.days_between(s.entered_at, s.left_at)) AS days
              FROM salesops.history_spells($2, '{opportunity_id,stage,entered_at,left_at,final_kind}', true) s
             WHERE s.final_kind = 'won' AND s.left_at IS NOT NULL GROUP BY 1, 2) w
     GROUP BY 1 HAVING count(*) >= 10
  )
  SELECT d.opportunity_id, w.risk, w.contribution,
         CASE WHEN w.place = 0 THEN 'start' WHEN w.contribution IS NULL THEN 'fact' WHEN w.contribution < 0 THEN 'against' ELSE 'for' END
    FROM deal d JOIN own o ON o.opportunity_id = d.opportunity_id
    LEFT JOIN kinds k ON k.stage = o.stage
    LEFT JOIN stood c ON c.opportunity_id = d.opportunity_id
    LEFT JOIN moved m ON m.opportunity_id = d.opportunity_id
    LEFT JOIN happened h ON h.opportunity_id = d.opportunity_id
    LEFT JOIN waited u ON u.stage = c.stage,
         -- rounded first: the differences add up to the cent
         LATERAL (SELECT round(d.amount * d.probability_new::numeric, 2) AS fresh, round(d.amount * d.probability_by_age::numeric, 2) AS aged,
                         round(d.amount * d.probability_ever::numeric, 2) AS ever, round(d.amount * d.probability::numeric, 2) AS whole,
                         CASE WHEN $2 >= now() THEN o.close_date ELSE m.close_date END AS due, floor(salesops.days_between(h.at, $2)) AS silent) v,
         LATERAL (VALUES
           (0, format('%s of new deals are won in the end', to_char(100 * d.probability_new, 'FM990.0') || ' %'), v.fresh),
           (1, format('open for %s days: %s of such deals are won in the end, %s of new ones', d.age,
                   to_char(100 * d.probability_by_age, 'FM990.0') || ' %', to_char(100 * d.probability_new, 'FM990.0') || ' %'), v.aged - v.fresh),
           (2, format('%s: deals like it are won %s times as often as others of their age',
                   coalesce(nullif(concat_ws(', ', 'stage ' || coalesce(c.stage, CASE WHEN k.kind = 'open' THEN o.stage END), 'type ' || o.type, 'source ' || o.source, 'amount ' || round(d.amount)), ''), 'the deal'),
                   to_char(d.probability_ever / nullif(d.probability_by_age, 0), 'FM999999990.00')), v.ever - v.aged),
           (3, format('%s of its chance lies outside the period; half of it is used up by %s',
                   to_char(100 * (1 - d.probability / nullif(d.probability_ever, 0)), 'FM990') || ' %', d.expected_on), v.whole - v.ever),
           (4, CASE WHEN m.times > 0 THEN format('its expected close date was pushed %s, by %s in all',
                   CASE m.times WHEN 1 THEN 'once' WHEN 2 THEN 'twice' ELSE m.times || ' times' END, m.days || CASE m.days WHEN 1 THEN ' day' ELSE ' days' END) END, NULL),
           (5, CASE WHEN v.due < $2::date AND isfinite(v.due)
                    THEN format('its expected close date, %s, was %s ago', to_char(v.due, 'YYYY-MM-DD'),
                                ($2::date - v.due) || CASE $2::date - v.due WHEN 1 THEN ' day' ELSE ' days' END) END, NULL),
           (6, CASE WHEN v.silent > u.days THEN format('nothing has happened to it for %s days: four in five won deals were in stage %s for at most %s', v.silent, c.stage, u.days) END, NULL))
           w(place, risk, contribution)
   WHERE w.place = 0 OR w.contribution <> 0 OR (w.contribution IS NULL AND w.risk IS NOT NULL)
   ORDER BY w.contribution, d.opportunity_id, w.place
$$;
COMMENT ON FUNCTION salesops.opportunity_risk(daterange, timestamptz) IS
  'why a deal is at risk, and what speaks for it, in words: effect start is what a new deal of its amount would bring in the end; from there what is against and for it leads, to the cent, to its expected booking of the period (default: the quarter of as_of); facts (close date pushed, overdue, longer silent than won deals were) have no contribution';

CREATE FUNCTION salesops.forecast_scale(forecast salesops.forecast, factor double precision) RETURNS salesops.forecast
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_forecast_scale';
COMMENT ON FUNCTION salesops.forecast_scale(salesops.forecast, double precision) IS
  'the forecast with every probability times a factor (at most 1 each): more or fewer arrivals; its common deviation grows alike';
CREATE FUNCTION salesops.forecast_with_deviation(forecast salesops.forecast, relative double precision) RETURNS salesops.forecast
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_forecast_with_deviation';
COMMENT ON FUNCTION salesops.forecast_with_deviation(salesops.forecast, double precision) IS
  'the forecast with a common deviation of so much of its uncertain mean: deals that rise and fall together';
CREATE FUNCTION salesops.relative_deviation(forecast salesops.forecast) RETURNS double precision
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_relative_deviation';
COMMENT ON FUNCTION salesops.relative_deviation(salesops.forecast) IS
  'common deviation of a forecast as a share of its uncertain mean; 0 where deals are independent';

CREATE FUNCTION salesops.simulation_problem(changes jsonb) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
  WITH known(key, type, wanted) AS (
    VALUES ('drop', 'array', 'a list of opportunity ids'), ('amount', 'object', 'an object of id: amount'),
           ('probability', 'object', 'an object of id: probability'), ('move', 'object', 'an object of id: date'),
           ('win_rate', 'number', 'a number'), ('new_business', 'number', 'a number'), ('add_reps', 'number', 'a number')
  ), entry AS (   -- of the keys that hold what they should
    SELECT k.key, k.type, $1 -> k.key AS value FROM known k WHERE jsonb_typeof($1) = 'object' AND jsonb_typeof($1 -> k.key) = k.type
  ), deal AS (
    SELECT e.key, d.key AS id, d.value, d.value #>> '{}' AS said FROM entry e, jsonb_each(CASE WHEN e.type = 'object' THEN e.value ELSE '{}' END) d
  ), dropped AS (
    SELECT d.id, jsonb_typeof(d.id) AS type, d.place
      FROM entry e, jsonb_array_elements(CASE WHEN e.type = 'array' THEN e.value ELSE '[]' END) WITH ORDINALITY d(id, place)
  ), day AS (
    SELECT d.id, CASE WHEN d.said ~ '^(?!0000)\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$' AND jsonb_typeof(d.value) = 'string'
                      THEN regexp_split_to_array(d.said, '-')::integer[] END AS part
      FROM deal d WHERE d.key = 'move'
  )
  SELECT CASE WHEN $1 IS NULL OR jsonb_typeof($1) <> 'object' THEN 'it is not a JSON object' ELSE (
    SELECT string_agg(p.problem, E'\n' ORDER BY p.problem) FROM (
      SELECT format('"%s" is not known', o.k) AS problem FROM jsonb_object_keys($1) o(k) WHERE o.k NOT IN (SELECT k.key FROM known k)
      UNION ALL
      SELECT format('"%s" must be %s', k.key, k.wanted) FROM known k WHERE $1 ? k.key AND jsonb_typeof($1 -> k.key) <> k.type
      UNION ALL
      SELECT format('"%s" must be between %s and %s', e.key, CASE e.key WHEN 'add_reps' THEN -1000000 ELSE 0 END, CASE e.key WHEN 'add_reps' THEN 1000000 ELSE 100 END)
        FROM entry e WHERE CASE WHEN e.type = 'number' THEN NOT (e.value #>> '{}')::numeric
                             BETWEEN CASE e.key WHEN 'add_reps' THEN -1000000 ELSE 0 END AND CASE e.key WHEN 'add_reps' THEN 1000000 ELSE 100 END END
      UNION ALL
      SELECT format('element %s of "drop" must be an opportunity id', d.place) FROM dropped d WHERE d.type NOT IN ('string', 'number')
      UNION ALL
      SELECT format('"probability" of "%s" must be a number between 0 and 1', d.id) FROM deal d
       WHERE d.key = 'probability' AND CASE WHEN jsonb_typeof(d.value) = 'number' THEN NOT d.said::numeric BETWEEN 0 AND 1 ELSE true END
      UNION ALL
      SELECT format('"amount" of "%s" must be a number within 1e18 either way', d.id) FROM deal d
       WHERE d.key = 'amount' AND CASE WHEN jsonb_typeof(d.value) = 'number' THEN abs(d.said::numeric) > 1e18 ELSE true END
      UNION ALL
      SELECT format('"move" of "%s" must be a date as YYYY-MM-DD', d.id) FROM day d
       WHERE CASE WHEN d.part IS NOT NULL THEN d.part[3] > extract(day FROM make_date(d.part[1], d.part[2], 1) + interval '1 month' - interval '1 day') ELSE true END
      UNION ALL
      SELECT DISTINCT format('opportunity "%s" is dropped and changed', d.id) FROM deal d WHERE d.id IN (SELECT x.id #>> '{}' FROM dropped x)) p) END
$$;
COMMENT ON FUNCTION salesops.simulation_problem(jsonb) IS 'all that is wrong with the changes of simulate_forecast(), a line each, or NULL';

CREATE FUNCTION salesops.simulate_forecast(changes jsonb, period daterange DEFAULT NULL, as_of timestamptz DEFAULT now(), OUT scenario text,
                                           OUT expected numeric, OUT lower numeric, OUT median numeric, OUT upper numeric,
                                           OUT total salesops.forecast) RETURNS SETOF record
  LANGUAGE plpgsql STABLE PARALLEL RESTRICTED COST 1000000 ROWS 2 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  base record;
  deals salesops.forecast;
  fresh salesops.forecast;
  growth float8 := 1;
  reps bigint;
  win_rate float8;
  dropped text[];
  named text[];
  problem text := salesops.simulation_problem(changes);
BEGIN
  IF as_of IS NULL OR NOT isfinite(as_of) THEN
    problem := concat_ws(E'\n', problem, 'as_of must be a finite time');
  ELSIF period IS NULL THEN
    period := daterange(date_trunc('quarter', as_of)::date, (date_trunc('quarter', as_of) + interval '3 months')::date);
  END IF;
  IF problem IS NULL THEN
    SELECT f.* INTO base FROM salesops.forecast_bookings(period, '{}', as_of) f;
    dropped := ARRAY(SELECT jsonb_array_elements_text(coalesce(changes -> 'drop', '[]')));
    named := dropped || ARRAY(SELECT k.id FROM jsonb_each(changes) c, jsonb_object_keys(CASE jsonb_typeof(c.value) WHEN 'object' THEN c.value ELSE '{}' END) k(id));
    win_rate := coalesce((changes ->> 'win_rate')::float8, 1);
    -- one by one, as forecast_bookings() adds them up; an estimated amount varies: a larger and less likely deal of the same mean
    WITH deal AS MATERIALIZED (
      SELECT d.opportunity_id, d.amount_unrounded, d.amount_spread, d.probability, d.probability_ever,
             (changes -> 'amount' ->> d.opportunity_id)::float8 AS new_amount, (changes -> 'probability' ->> d.opportunity_id)::float8 AS new_probability,
             (changes -> 'move' ->> d.opportunity_id)::date AS new_date
        FROM salesops.forecast_deals(period, as_of) d
    ), changed AS (
      SELECT coalesce(d.new_amount, d.amount_unrounded) AS amount, CASE WHEN d.new_amount IS NULL THEN d.amount_spread ELSE 1 END AS spread,
             CASE WHEN NOT d.new_date <@ period THEN 0
                  ELSE least(1, win_rate * coalesce(d.new_probability, CASE WHEN d.new_date <@ period THEN d.probability_ever END, d.probability)) END AS probability
        FROM deal d WHERE d.opportunity_id <> ALL (dropped)
    )
    SELECT (SELECT salesops.forecast(c.amount * c.spread, c.probability / c.spread) FROM changed c),
           (SELECT string_agg(format('opportunity "%s" is not open at as_of', n.id), E'\n' ORDER BY n.id)
              FROM (SELECT DISTINCT unnest(named) AS id) n WHERE NOT EXISTS (SELECT FROM deal d WHERE d.opportunity_id = n.id))
      INTO deals, problem;
  END IF;
  IF problem IS NOT NULL THEN
    RAISE EXCEPTION 'invalid changes for a simulation' USING ERRCODE = 'invalid_parameter_value', DETAIL = problem,
      HINT = '{"drop": ["id"], "amount": {"id": 1000}, "probability": {"id": 0.5}, "move": {"id": "2027-05-01"}, "win_rate": 1.1, "new_business": 1.2, "add_reps": 2}';
  END IF;
  IF changes ? 'add_reps' THEN
    SELECT coalesce(nullif(count(DISTINCT r.rep_id), 0), (SELECT count(DISTINCT o.owner_id) FROM salesops.opportunity o)) INTO reps
      FROM salesops.sales_rep r WHERE r.is_active IS NOT false;
    growth := greatest(0, 1 + (changes ->> 'add_reps')::float8 / greatest(reps, 1));
  END IF;
  fresh := salesops.forecast_scale(base.new_business, growth * coalesce((changes ->> 'new_business')::float8, 1) * win_rate);
  SELECT v.scenario, round(salesops.mean(v.total)::numeric, 2), round(salesops.quantile(v.total, 0.1)::numeric, 2),
         round(salesops.quantile(v.total, 0.5)::numeric, 2), round(salesops.quantile(v.total, 0.9)::numeric, 2), v.total
    INTO scenario, expected, lower, median, upper, total FROM (VALUES ('as it is', base.total)) v(scenario, total);
  RETURN NEXT;
  SELECT v.scenario, round(salesops.mean(v.total)::numeric, 2), round(salesops.quantile(v.total, 0.1)::numeric, 2),
         round(salesops.quantile(v.total, 0.5)::numeric, 2), round(salesops.quantile(v.total, 0.9)::numeric, 2), v.total
    INTO scenario, expected, lower, median, upper, total
    FROM (SELECT 'changed' AS scenario, salesops.forecast_with_deviation(salesops.merge(f.part), salesops.relative_deviation(base.total)) AS total
            FROM (VALUES (deals), (fresh), ((SELECT salesops.forecast(base.booked, 1.0)))) f(part)) v;
  RETURN NEXT;
END
$$;
COMMENT ON FUNCTION salesops.simulate_forecast(jsonb, daterange, timestamptz) IS
  'the forecast of a period (default: the quarter of as_of) as it is and with changes: drop deals, amount, probability (to be won in the period), move (a date in the period: the deal''s chance ever; outside: none), win_rate and new_business (factors), add_reps (new business per active rep)';

INSERT INTO salesops.access_right (level, kind, object) VALUES
  ('reader', 'table', 'salesops.forecast_snapshot_deal'), ('reader', 'table', 'salesops.forecast_snapshot_total'),
  ('reader', 'table', 'salesops.forecast_snapshot'), ('reader', 'table', 'salesops.forecast_accuracy'),
  ('reader', 'table', 'salesops.won_deal'), ('reader', 'table', 'salesops.deal_adjustment_accuracy'),
  ('reader', 'table', 'salesops.forecast_adjustment'), ('reader', 'table', 'salesops.forecast_quota'),
  ('operator', 'function', 'salesops.store_forecast_snapshot(salesops.forecast_snapshot_deal[],salesops.forecast_snapshot_total[])'),
  ('operator', 'function', 'salesops.take_forecast_snapshot(timestamptz)'),
  ('reader', 'function', 'salesops.forecast_change(timestamptz,timestamptz,daterange)'),
  ('operator', 'function', 'salesops.adjust_forecast(text,daterange,numeric,text,text)'),
  ('operator', 'function', 'salesops.set_quota(text,daterange,numeric)'),
  ('reader', 'function', 'salesops.forecast_team(daterange,timestamptz)'),
  ('reader', 'function', 'salesops.opportunity_risk(daterange,timestamptz)'),
  ('reader', 'function', 'salesops.simulate_forecast(jsonb,daterange,timestamptz)');
