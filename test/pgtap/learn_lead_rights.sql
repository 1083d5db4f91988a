-- what a view that somebody attaches can do: its functions never run as the extension's owner
BEGIN;
SET client_min_messages = warning;
SELECT no_plan();
CREATE ROLE learn_sly;
SELECT lives_ok($$SELECT salesops.grant_access('learn_sly', 'admin')$$, 'an admin of salesops, no superuser');
CREATE SCHEMA sly AUTHORIZATION learn_sly;
CREATE TABLE sly.who_ran (who name);
GRANT INSERT ON sly.who_ran TO PUBLIC;
GRANT USAGE ON SCHEMA sly TO PUBLIC;
SET ROLE learn_sly;
CREATE TABLE sly.person (id text PRIMARY KEY, made timestamptz DEFAULT now());
INSERT INTO sly.person SELECT 'p' || i FROM generate_series(1, 5) i;
CREATE FUNCTION sly.tell(id text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN INSERT INTO sly.who_ran VALUES (current_user); RETURN id; END $$;
CREATE VIEW sly.people AS SELECT sly.tell(id) AS lead_id, made AS created_at FROM sly.person;
SELECT lives_ok($$SELECT salesops.attach('lead', 'sly.people')$$, 'an admin attaches a view of his own');
RESET ROLE;
INSERT INTO salesops.lead_score (lead_id, score, grade, automatic_score, automatic_grade, reasons, scored_at) SELECT k, 50, 'B', 50, 'B', '[]', now() - interval '1 hour' FROM unnest('{p1,p2,q1,q2,q3}'::text[]) k;
TRUNCATE sly.who_ran;
SET ROLE learn_sly;
SELECT is(salesops.forget_lead_scores('{}'), 0::bigint, 'no keys: nothing is gone');
SELECT is(salesops.forget_lead_scores('{p1,q1}'), 1::bigint, 'of some keys those that are gone');
SELECT is(salesops.forget_lead_scores(), 2::bigint, 'of all those that are gone');
RESET ROLE;
SELECT set_eq('SELECT lead_id FROM salesops.lead_score', '{p1,p2}'::text[], 'the others stay');
SELECT set_eq('SELECT DISTINCT who FROM sly.who_ran', '{learn_sly}'::name[], 'the view''s functions ran as its owner, and they did run');
-- as a superuser calls it
TRUNCATE sly.who_ran;
SELECT is(salesops.forget_lead_scores(), 0::bigint, 'nothing more is gone');
SELECT set_eq('SELECT DISTINCT who FROM sly.who_ran', '{learn_sly}'::name[], 'not as the caller either, were it a superuser');

-- a table whose owner has no rights on salesops
CREATE ROLE learn_plain;
CREATE TABLE plain_lead (lead_id text, created_at timestamptz DEFAULT now());
INSERT INTO plain_lead VALUES ('p1'), ('x');
ALTER TABLE plain_lead OWNER TO learn_plain;
SELECT lives_ok($$SELECT salesops.attach('lead', 'plain_lead')$$, 'somebody else''s table is attached');
SELECT lives_ok($$SELECT salesops.create_scoring_rule('old', 'fit', 'created_at IS NOT NULL', 5)$$, 'a rule to score by');
SELECT is(salesops.score_leads(), 2, 'its leads are scored');
SELECT set_eq('SELECT lead_id FROM salesops.lead_score', '{p1,x}'::text[], 'and the one that is gone has no score any more');
DELETE FROM plain_lead WHERE lead_id = 'x';
SELECT is(salesops.forget_lead_scores(), 1::bigint, 'nor has the next');
-- row-level security that binds the owner too: nobody can be asked; one that does not is no matter
ALTER TABLE plain_lead ENABLE ROW LEVEL SECURITY;
INSERT INTO plain_lead VALUES ('y'), ('z');
SELECT is(salesops.score_leads(), 3, 'all are scored');
DELETE FROM plain_lead WHERE lead_id = 'y';
ALTER TABLE plain_lead FORCE ROW LEVEL SECURITY;
SELECT is(salesops.forget_lead_scores(), 0::bigint, 'nobody can be asked');
ALTER TABLE plain_lead NO FORCE ROW LEVEL SECURITY;
SELECT is(salesops.forget_lead_scores(), 1::bigint, 'the owner is asked');
DELETE FROM plain_lead;
SELECT is(salesops.forget_lead_scores(), 0::bigint, 'where there is no lead at all nothing is forgotten');
SELECT salesops.detach('lead') \gset
SELECT is(salesops.forget_lead_scores(), 0::bigint, 'nor where nothing is attached');
SELECT * FROM finish();
ROLLBACK;
