-- Leads: learn who converts from those old enough to know, then score them all.
SELECT EXISTS (SELECT FROM salesops.lead) AS have_leads \gset
\if :have_leads
CREATE TABLE demo.trained AS
SELECT m.* FROM salesops.train_model('lead',
  'SELECT *, converted_at IS NOT NULL AS converted FROM salesops.lead', 'converted') m;
SELECT salesops.score_leads('lead', :'as_of'::timestamptz + interval '1 day');
\endif
