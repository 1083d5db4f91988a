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
  SELECT E'\n' || rpad(title, 12) || rpad(what, 58) || lpad(query, 30)
$$;

SELECT rpad('salesops ' || (SELECT extversion FROM pg_extension WHERE extname = 'salesops') || ' on PostgreSQL ' || split_part(current_setting('server_version'), ' ', 1), 40)
       || rpad(CASE WHEN :'data' = '' THEN 'northwind demo, seed ' || :'seed' ELSE :'data' END || ', as of ' || :'as_of', 48) || lpad(:'seconds' || ' s', 12);

-- ---- leads ------------------------------------------------------------------------------------------------------------
SELECT EXISTS (SELECT FROM salesops.lead) AS have_leads, EXISTS (SELECT FROM salesops.opportunity) AS have_deals \gset
\if :have_leads
SELECT demo.head('LEADS', to_char(count(*), 'FM999,999') || ' leads, ' || to_char(count(*) FILTER (WHERE l.status = 'Open'), 'FM999,999') || ' open', 'salesops.lead_score')
  FROM salesops.lead l;
SELECT '  grade     leads   became opportunities';
SELECT '    ' || s.grade || lpad(to_char(count(*), 'FM999,999'), 11) || lpad(round(100 * avg((l.converted_at IS NOT NULL)::int), 1) || ' %', 9) || '  '
       || demo.bar(avg((l.converted_at IS NOT NULL)::int)::float8, 40)
  FROM salesops.lead_score s JOIN salesops.lead l USING (lead_id) GROUP BY s.grade ORDER BY s.grade;
SELECT '  who to call first (open leads):';
SELECT '    ' || s.lead_id || '  ' || lpad(round(s.score)::text, 3) || '  ' || left(concat_ws(', ', l.title, l.company, l.employees || ' people', l.source), 48) || '  ' || left(COALESCE((
         SELECT string_agg(r.value->>'text', '; ') FROM (SELECT value FROM jsonb_array_elements(s.reasons) WITH ORDINALITY e(value, o) WHERE (value->>'contribution')::float8 > 0 ORDER BY o LIMIT 1) r), ''), 30)
  FROM salesops.lead_score s JOIN salesops.lead l USING (lead_id) WHERE l.status = 'Open' ORDER BY s.score DESC, s.lead_id LIMIT 3;
\endif
