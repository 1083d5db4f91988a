-- Leads: learn who converts from those that had sixty days to do so, add rules for what a model cannot know yet, score all.
SELECT EXISTS (SELECT FROM salesops.lead) AS have_leads, EXISTS (SELECT FROM salesops.activity) AS have_activities \gset
\if :have_leads
SELECT * FROM salesops.train_model('lead', format(
  'SELECT lead_id, email, title, company, country, city, industry, employees, source, status, converted_at, opportunity_id,
          converted_at IS NOT NULL AS converted
     FROM salesops.lead WHERE created_at < %L', :'as_of'::date - 60), 'converted');
\if :have_activities
SELECT salesops.create_scoring_rule('visit', 'engagement', 'kind = ''visit''', 10, '{"entity": "activity", "half_life": "14 days", "cap": 40}');
SELECT salesops.create_scoring_rule('webinar', 'engagement', 'kind = ''webinar''', 25, '{"entity": "activity", "half_life": "30 days"}');
SELECT salesops.create_scoring_rule('decision maker', 'fit', 'title ~ ''^(Head|VP|CFO|CTO|Director)''', 20);
SELECT salesops.create_scoring_rule('right size', 'fit', 'employees BETWEEN 80 AND 2500', 20);
SELECT salesops.set_scoring_policy('{"grade_by": "probability"}');
\endif
SELECT salesops.score_leads('lead', :'as_of'::timestamptz + interval '1 day');
\endif
