-- Duplicates: no labels, no configuration.
SELECT EXISTS (SELECT FROM salesops.lead) AS have_leads \gset
\if :have_leads
SELECT s.relation AS leads, s.columns->>'lead_id' AS key FROM salesops.source s WHERE s.entity = 'lead' \gset
SELECT salesops.create_matcher('leads', :'leads', :'key');
SELECT * FROM salesops.train_matcher('leads');
CREATE TABLE demo.cluster AS SELECT * FROM salesops.find_clusters('leads');
CREATE TABLE demo.pair AS SELECT * FROM salesops.find_duplicates('leads');
\endif
