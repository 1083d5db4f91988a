-- The printed report. Every number is read from the database; every block names the query it came from.
-- psql variables: as_of, seed, seconds, data (the folder of the user's own files, or empty).
\pset tuples_only on
\pset format unaligned
SET client_min_messages = warning;

CREATE FUNCTION demo.money(value numeric) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE WHEN value IS NULL THEN '-' WHEN abs(value) >= 1e6 THEN round(value / 1e6, 2) || ' M' WHEN abs(value) >= 1e4 THEN round(value / 1e3) || ' k' ELSE round(value)::text END
$$;
CREATE FUNCTION demo.bar(share float8, width int) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT rpad(repeat('█', floor(greatest(share, 0) * width)::int)
              || CASE WHEN share <= 0 THEN '' ELSE (ARRAY['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'])[1 + floor((share * width - floor(share * width)) * 8)::int] END, width)
$$;
CREATE FUNCTION demo.head(title text, what text, query text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT E'\n' || rpad(title, 12) || rpad(what, 54) || lpad(query, 34)
$$;

SELECT rpad('salesops ' || (SELECT extversion FROM pg_extension WHERE extname = 'salesops') || ' on PostgreSQL ' || split_part(current_setting('server_version'), ' ', 1), 40)
       || rpad(CASE WHEN :'data' = '' THEN 'northwind demo, seed ' || :'seed' ELSE :'data' END || ', as of ' || :'as_of', 48) || lpad(:'seconds' || ' s', 12);

-- ---- leads ------------------------------------------------------------------------------------------------------------
SELECT EXISTS (SELECT FROM salesops.lead) AS have_leads, EXISTS (SELECT FROM salesops.opportunity) AS have_deals \gset
\if :have_leads
SELECT demo.head('LEADS', to_char(count(*), 'FM999,999') || ' leads, ' || to_char(count(*) FILTER (WHERE l.status = 'Open'), 'FM999,999') || ' open', 'salesops.lead_score')
  FROM salesops.lead l;
SELECT '  grade     leads   became opportunities';
SELECT '    ' || rpad(s.grade, 1) || lpad(to_char(count(*), 'FM999,999'), 11) || lpad(round(100 * avg((l.converted_at IS NOT NULL)::int), 1) || ' %', 9) || '  '
       || rtrim(demo.bar(avg((l.converted_at IS NOT NULL)::int)::float8, 40))
  FROM salesops.lead_score s JOIN salesops.lead l USING (lead_id) GROUP BY s.grade ORDER BY s.grade;
SELECT '  who to call first (open leads):';
SELECT '    ' || s.lead_id || '  ' || lpad(round(s.score)::text, 3) || '  ' || COALESCE(s.matrix || '  ', '') || rpad(left(concat_ws(', ', l.title, l.company, l.employees || ' people'), 50), 51)
       || left(COALESCE((SELECT string_agg(r.value->>'text', '; ' ORDER BY r.o) FROM jsonb_array_elements(s.reasons) WITH ORDINALITY r(value, o) WHERE r.o <= 1), ''), 32)
  FROM salesops.lead_score s JOIN salesops.lead l USING (lead_id) WHERE l.status = 'Open' ORDER BY s.score DESC, s.lead_id LIMIT 4;
SELECT '  Working the best tenth reaches ' || round(100 * f.share_reached::numeric) || ' % of all conversions (held-out leads; AUC ' || round(m.roc_auc::numeric, 2) || ', calibrated within '
       || round(100 * m.ece::numeric, 1) || ' points).'
  FROM salesops.model m JOIN salesops.model_lift f ON f.name = m.name AND f.version = m.version AND f.tenth = 1 WHERE m.name = 'lead' AND m.active;
SELECT '  Left out of the model: ' || string_agg(e.key || CASE WHEN e.value LIKE 'a key%' THEN ' (a key)' WHEN e.value LIKE 'known%' THEN ' (known only afterwards)'
                                                          WHEN e.value LIKE 'the label%' THEN ' (the label itself)' ELSE ' (' || e.value || ')' END, ', ' ORDER BY e.value DESC, e.key)
  FROM salesops.model m, jsonb_each_text(m.left_out) e WHERE m.name = 'lead' AND m.active AND e.value <> 'no values';
\endif

-- ---- duplicates -------------------------------------------------------------------------------------------------------
SELECT to_regclass('demo.pair') IS NOT NULL AS have_pairs, to_regclass('demo.known_duplicate') IS NOT NULL AS have_truth \gset
\if :have_pairs
SELECT demo.head('DUPLICATES', to_char(count(*), 'FM999,999') || ' records in ' || to_char(count(DISTINCT c.cluster_id), 'FM999,999') || ' groups of people', 'salesops.find_clusters(''leads'')')
  FROM demo.cluster c WHERE c.cluster_id IN (SELECT cluster_id FROM demo.cluster GROUP BY 1 HAVING count(*) > 1);
-- a telling pair: sure, and yet not the same to the letter
SELECT EXISTS (SELECT FROM demo.pair p WHERE p.probability > 0.99) AS have_sure_pair \gset
\if :have_sure_pair
SELECT p.left_key, p.right_key FROM demo.pair p JOIN salesops.lead a ON a.lead_id = p.left_key JOIN salesops.lead b ON b.lead_id = p.right_key
 WHERE p.probability > 0.99 ORDER BY (a.last_name IS DISTINCT FROM b.last_name)::int + (a.first_name IS DISTINCT FROM b.first_name)::int + (a.company IS DISTINCT FROM b.company)::int
       + (a.email IS DISTINCT FROM b.email AND b.email IS NOT NULL)::int DESC, p.weight, p.left_key LIMIT 1 \gset
SELECT '  ' || string_agg(l.lead_id || ' ' || concat_ws(' ', l.first_name, l.last_name) || ', ' || COALESCE(l.company, '-'), '  =  ' ORDER BY l.lead_id)
  FROM salesops.lead l WHERE l.lead_id IN (:'left_key', :'right_key');
SELECT '    ' || left(string_agg(e.comparison || ' ' || to_char(e.weight, 'FMSG90.0'), '   ' ORDER BY abs(e.weight) DESC) FILTER (WHERE abs(e.weight) >= 2), 64) || '   (why: salesops.explain_match)'
  FROM salesops.explain_match('leads', :'left_key', :'right_key') e;
\endif
\if :have_truth
-- the generator knows who was typed in twice; copies of the same person are pairs of each other too
WITH person AS (SELECT id, original AS person FROM demo.known_duplicate UNION SELECT original, original FROM demo.known_duplicate),
     truth AS (SELECT a.id AS l, b.id AS r FROM person a JOIN person b ON a.person = b.person AND a.id < b.id),
     found AS (SELECT least(left_key, right_key) AS l, greatest(left_key, right_key) AS r FROM demo.pair)
SELECT '  Against the generator''s own list: ' || round(100.0 * count(*) FILTER (WHERE f.l IS NOT NULL AND t.l IS NOT NULL) / count(*) FILTER (WHERE f.l IS NOT NULL), 1)
       || ' % of the pairs found are right, ' || round(100.0 * count(*) FILTER (WHERE f.l IS NOT NULL AND t.l IS NOT NULL) / count(*) FILTER (WHERE t.l IS NOT NULL), 1) || ' % of the true ones are found.'
  FROM truth t FULL JOIN found f USING (l, r);
\endif
\endif

-- ---- pipeline ---------------------------------------------------------------------------------------------------------
\if :have_deals
SELECT demo.head('PIPELINE', to_char(sum(p.deals), 'FM999,999') || ' open deals, ' || COALESCE(demo.money(sum(p.amount)), '-') || '; ' || (SELECT round(100 * q.quality::numeric, 1) FROM salesops.pipeline_quality q) || ' % without a finding', 'salesops.pipeline_by_stage')
  FROM salesops.pipeline_by_stage p WHERE p.kind = 'open';
SELECT '  stage            deals    amount   median days   goes on   pace';
SELECT '    ' || rpad(p.stage, 14) || lpad(p.deals::text, 5) || lpad(COALESCE(demo.money(p.amount), '-'), 10) || lpad(COALESCE(round(v.median_days::numeric, 0)::text, '-'), 14)
       || lpad(COALESCE(round(100 * c.conversion::numeric) || ' %', '-'), 10) || '   ' || COALESCE(CASE WHEN b.is_slower THEN '<- ' || round(b.slowdown::numeric, 1) || ' times slower than usual; each day costs about ' || demo.money(b.value_per_day) END, '')
  FROM salesops.pipeline_by_stage p LEFT JOIN salesops.stage_velocity v USING (stage) LEFT JOIN salesops.pipeline_bottleneck b USING (stage)
  LEFT JOIN (SELECT x.stage, sum(x.advanced)::float8 / nullif(sum(x.advanced) + sum(x.lost), 0) AS conversion FROM salesops.stage_conversion x GROUP BY 1) c USING (stage)
 WHERE p.kind = 'open' ORDER BY p.ordinal;
SELECT '  ' || string_agg(h.n || ' ' || h.what, ', ' ORDER BY h.n DESC) || '.   (each with its fix: salesops.pipeline_hygiene)'
  FROM (SELECT count(*) AS n, replace(rule, '_', ' ') AS what FROM salesops.pipeline_hygiene GROUP BY rule ORDER BY 1 DESC LIMIT 5) h;
SELECT '  A deal was refused:  ERROR ' || r.state || ': ' || r.message || E'\n                       DETAIL: ' || replace(r.detail, E'\n', E'\n                               ') FROM demo.refused r;

-- ---- forecast ---------------------------------------------------------------------------------------------------------
SELECT demo.head('FORECAST', 'the quarter, ' || ((date_trunc('quarter', :'as_of'::timestamp + interval '1 day') + interval '3 months')::date - :'as_of'::date - 1) || ' days left', 'salesops.forecast_bookings');
SELECT '  booked ' || demo.money(f.booked) || ' + open ' || demo.money(salesops.mean(f.open_pipeline)::numeric) || ' + not yet created ' || demo.money(salesops.mean(f.new_business)::numeric)
       || ' = ' || demo.money(salesops.mean(f.total)::numeric) || E';\n  80 %: ' || demo.money(salesops.quantile(f.total, 0.1)::numeric) || ' to ' || demo.money(salesops.quantile(f.total, 0.9)::numeric)
       || ';  chance of ' || demo.money(t.target) || ': ' || round(100 * salesops.probability_at_least(f.total, t.target)::numeric) || ' %'
  FROM demo.forecast f, LATERAL (SELECT round(salesops.quantile(f.total, 0.6)::numeric, -5) AS target) t;
SELECT '    ' || demo.money(lo::numeric) || ' ' || string_agg((ARRAY['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'])[1 + least(7, floor(8 * mass / greatest(top, 1e-12)))::int], '' ORDER BY i) || ' ' || demo.money(hi::numeric)
  FROM (SELECT i, lo, hi, salesops.probability_at_least(total, (lo + (hi - lo) * i / 24)::numeric) - salesops.probability_at_least(total, (lo + (hi - lo) * (i + 1) / 24)::numeric) AS mass,
               max(salesops.probability_at_least(total, (lo + (hi - lo) * i / 24)::numeric) - salesops.probability_at_least(total, (lo + (hi - lo) * (i + 1) / 24)::numeric)) OVER () AS top
          FROM demo.forecast f, LATERAL (SELECT salesops.quantile(f.total, 0.005) AS lo, salesops.quantile(f.total, 0.995) AS hi) r, generate_series(0, 23) i) x
 GROUP BY lo, hi;
SELECT '  In the last 26 weeks such 30-day forecasts were off by ' || round(100 * salesops.wape(b.actual, b.predicted)::numeric, 1) || ' % (the same days a quarter before: ' || round(100 * salesops.wape(b.actual, s.actual)::numeric, 1)
       || E' %);\n  the 80 % interval held ' || round(100 * avg((b.actual BETWEEN b.lower AND b.upper)::int)) || ' % of the time.   (salesops.backtest_forecast)'
  FROM demo.backtest b
 CROSS JOIN LATERAL (SELECT COALESCE(sum(o.amount), 0) AS actual FROM salesops.opportunity o JOIN salesops.stage g ON g.stage = o.stage AND g.kind = 'won'
                      WHERE o.closed_at > b.as_of - interval '91 days' AND o.closed_at <= b.as_of - interval '91 days' + b.horizon) s;

-- ---- commissions ------------------------------------------------------------------------------------------------------
SELECT demo.head('COMMISSIONS', 'quarter to date: $' || to_char(sum(c.earned), 'FM999,999,990.00') || ' for ' || count(*) FILTER (WHERE c.lines > 0) || ' reps, ' || to_char(sum(c.lines), 'FM999,999') || ' lines', 'salesops.commission_statement')
  FROM demo.commission c;
SELECT '  ' || left(c.rep_id, 16) || ': ' || l.credit_id || ' moved the quarter from $' || to_char(l.cumulated_before, 'FM999,999,990.00') || ' to $' || to_char(l.cumulated_after, 'FM999,999,990.00')
       || ' and earned $' || to_char(l.amount, 'FM999,990.00') || '.   (salesops.explain_commission(' || l.line_id || '))'
  FROM (SELECT * FROM demo.commission ORDER BY earned DESC, rep_id LIMIT 3) c
 CROSS JOIN LATERAL (SELECT * FROM salesops.commission_line x WHERE x.rep_id = c.rep_id AND x.kind = 'earned' ORDER BY x.amount DESC, x.line_id LIMIT 1) l ORDER BY c.earned DESC;
\endif

-- ---- jobs -------------------------------------------------------------------------------------------------------------
SELECT demo.head('JOBS', j.job || ': ran ' || count(*) FILTER (WHERE j.outcome = 'succeeded') || ' times by itself, took '
       || round(extract(epoch FROM avg(j.finished_at - j.started_at)) * 1000) || ' ms a run', 'salesops.job_run')
  FROM salesops.job_run j GROUP BY j.job;
