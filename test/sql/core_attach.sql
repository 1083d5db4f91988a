-- attach: mapping, errors that list everything, renames, drops, kinds of relation, rights.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS salesops CASCADE;
CREATE EXTENSION salesops;
RESET client_min_messages;
\set SHOW_CONTEXT never
CREATE SCHEMA attach_test;
SET search_path = attach_test;
CREATE TABLE deals (id bigint PRIMARY KEY, stage text, value numeric(12,2), opened date, rep text, shape point, "order" text);
INSERT INTO deals VALUES (1, 'new', 10.50, '2026-01-01', 'r1', '(1,2)', 'x'), (2, 'won', NULL, '2026-02-01', NULL, NULL, NULL);

-- everything that is wrong, at once, and nothing changes
SELECT * FROM salesops.attach('opportunity', 'deals', '{"amount": "nothing", "colour": "rep", "created_at": "shape", "stage": 5}');
SELECT * FROM salesops.attach('opportunities', 'deals');
SELECT * FROM salesops.attach('account', 'deals', '[1]');
SELECT * FROM salesops.attach('account', 'deals');
SELECT count(*) FROM salesops.source;

SELECT * FROM salesops.attach('opportunity', 'deals', '{"opportunity_id": "id", "amount": "value", "created_at": "opened", "owner_id": "rep", "name": "order"}')
  WHERE source_column IS NOT NULL;
SELECT opportunity_id, stage, amount, created_at::date, owner_id, name, currency FROM salesops.opportunity ORDER BY 1;
-- inlined: an ordinary scan of the table
EXPLAIN (COSTS OFF) SELECT stage FROM salesops.opportunity WHERE opportunity_id = '1';

-- renames of columns, table and schema are followed; so is a change of type
ALTER TABLE deals RENAME COLUMN value TO amount_usd;
ALTER TABLE deals ALTER COLUMN rep TYPE varchar(20);
ALTER TABLE deals RENAME TO "Deals of ours";
ALTER SCHEMA attach_test RENAME TO attach_test2;
SET search_path = attach_test2;
SELECT opportunity_id, amount, owner_id FROM salesops.opportunity ORDER BY 1;
SELECT entity, relation, columns FROM salesops.source;
-- an optional column goes: NULL; a required one: an error that says what to do
ALTER TABLE "Deals of ours" DROP COLUMN rep;
SELECT opportunity_id, amount, owner_id FROM salesops.opportunity ORDER BY 1;
ALTER TABLE "Deals of ours" DROP COLUMN stage;
SELECT count(*) FROM salesops.opportunity;
-- dropping the table leaves the extension; the view says which entity to attach again
DROP SCHEMA attach_test2 CASCADE;
SELECT count(*) FROM salesops.source;
SELECT count(*) FROM salesops.opportunity;
SELECT salesops.detach('opportunity');
SELECT count(*) FROM salesops.opportunity;
SELECT salesops.detach('opportunity');
SELECT salesops.detach('nonsense');

-- views, partitioned tables and materialized views serve; temporary tables, sequences and salesops's own do not
CREATE SCHEMA attach_test;
SET search_path = attach_test;
CREATE TABLE people (lead_id text, created_at timestamptz, country text) PARTITION BY LIST (country);
CREATE TABLE people_de PARTITION OF people FOR VALUES IN ('DE');
CREATE TABLE people_fr PARTITION OF people FOR VALUES IN ('FR');
INSERT INTO people VALUES ('a', '2026-01-01', 'DE'), ('b', '2026-01-02', 'FR');
SELECT count(*) FROM salesops.attach('lead', 'people');
EXPLAIN (COSTS OFF) SELECT lead_id FROM salesops.lead WHERE country = 'DE';
CREATE VIEW people_view AS SELECT * FROM people WHERE country = 'FR';
SELECT count(*) FROM salesops.attach('lead', 'people_view');
SELECT lead_id, country, email FROM salesops.lead;
CREATE MATERIALIZED VIEW people_mat AS SELECT * FROM people;
SELECT count(*) FROM salesops.attach('lead', 'people_mat');
SELECT count(*) FROM salesops.lead;
CREATE TEMP TABLE temporary_people (lead_id text, created_at timestamptz);
SELECT * FROM salesops.attach('lead', 'pg_temp.temporary_people');
CREATE SEQUENCE counter;
SELECT * FROM salesops.attach('lead', 'counter');
SELECT * FROM salesops.attach('lead', 'salesops.lead');
SELECT * FROM salesops.attach('lead', 0::regclass);
-- an explicit null keeps a column of the same name out
SELECT contract_column FROM salesops.attach('lead', 'people', '{"country": null}') WHERE source_column IS NOT NULL;

-- the caller's rights and row-level security hold
CREATE ROLE attach_reader;
GRANT USAGE ON SCHEMA attach_test TO attach_reader;
SELECT count(*) FROM salesops.attach('lead', 'people');
SELECT salesops.grant_access('attach_reader', 'reader');
SET ROLE attach_reader;
SELECT count(*) FROM salesops.lead;
SELECT * FROM salesops.attach('lead', 'people');
RESET ROLE;
GRANT SELECT ON people TO attach_reader;
ALTER TABLE people ENABLE ROW LEVEL SECURITY;
CREATE POLICY german ON people FOR SELECT TO attach_reader USING (country = 'DE');
SET ROLE attach_reader;
SELECT lead_id FROM salesops.lead;
RESET ROLE;
SELECT salesops.grant_access('attach_reader', 'chief');
SELECT salesops.grant_access('attach_reader', 'admin');
SET ROLE attach_reader;
SELECT count(*) FROM salesops.attach('lead', 'people');
-- an expression or a mapping needs SELECT on the relation
CREATE TEMP TABLE nothing (i int);
SELECT * FROM salesops.attach('account', 'pg_catalog.pg_authid', '{"account_id": "oid", "name": "rolname"}');
RESET ROLE;
SELECT salesops.revoke_access('attach_reader');
SET ROLE attach_reader;
SELECT count(*) FROM salesops.lead;
RESET ROLE;

-- starter tables
SELECT * FROM salesops.create_crm('starter') ORDER BY 1;
INSERT INTO starter.lead (lead_id, email) VALUES ('l1', 'a@example.com');
SELECT lead_id, email FROM salesops.lead;
SELECT * FROM salesops.create_crm('starter');

-- commission credits are the won opportunities until something is attached
SELECT prosrc LIKE '%salesops.opportunity%' AS by_default FROM pg_proc WHERE oid = 'salesops.commission_credit_rows()'::regprocedure;

SET client_min_messages = warning;
DROP SCHEMA attach_test, starter CASCADE;
DROP EXTENSION salesops CASCADE;
DROP OWNED BY attach_reader;
DROP ROLE attach_reader;
