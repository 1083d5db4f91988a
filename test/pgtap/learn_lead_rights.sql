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

-- triggers on a table whose owner has no rights on salesops, written to by somebody who has none either
CREATE ROLE learn_writer;
CREATE TABLE plain_visit (activity_id text, kind text, occurred_at timestamptz, lead_id text);
ALTER TABLE plain_visit OWNER TO learn_plain;
GRANT INSERT, UPDATE (created_at), DELETE, SELECT ON plain_lead TO learn_writer;
ALTER TABLE plain_lead DISABLE ROW LEVEL SECURITY;
SELECT count(*) AS n FROM salesops.attach('lead', 'plain_lead') \gset
SELECT count(*) AS n FROM salesops.attach('activity', 'plain_visit') \gset
SELECT lives_ok($$SELECT salesops.create_scoring_rule('visit', 'engagement', $e$kind = 'visit'$e$, 5)$$, 'a rule on activities');
SELECT lives_ok($$SELECT salesops.enforce_lead_scores()$$, 'triggers on it');
INSERT INTO plain_visit VALUES ('1', 'visit', now(), 'w1');
SET ROLE learn_writer;
SELECT lives_ok($$INSERT INTO plain_lead VALUES ('w1'), ('w2')$$, 'a writer without rights on salesops');
SELECT throws_ok($$SELECT * FROM salesops.lead_score$$, '42501', NULL, 'who may not read scores');
RESET ROLE;
SELECT set_eq($$SELECT lead_id, engagement > 0 FROM salesops.lead_score WHERE lead_id LIKE 'w%'$$, $$VALUES ('w1', true), ('w2', false)$$, 'is scored for, by leads and activities');
SET ROLE learn_writer;
DELETE FROM plain_lead WHERE lead_id = 'w2';
RESET ROLE;
SELECT is_empty($$SELECT FROM salesops.lead_score WHERE lead_id = 'w2'$$, 'and forgotten');
SELECT salesops.release_lead_scores() \gset
SELECT salesops.detach('lead') \gset
SELECT salesops.detach('activity') \gset

-- a partitioned table: written by its own name and by a partition's, whose columns are in another order; rows that move
CREATE TABLE parted (lead_id text, created_at timestamptz DEFAULT now(), region text, source text, PRIMARY KEY (lead_id, region)) PARTITION BY LIST (region);
CREATE TABLE parted_e (source text, gone int, region text NOT NULL, lead_id text NOT NULL, created_at timestamptz DEFAULT now());
ALTER TABLE parted_e DROP COLUMN gone;
ALTER TABLE parted ATTACH PARTITION parted_e FOR VALUES IN ('e');
CREATE TABLE parted_w PARTITION OF parted FOR VALUES IN ('w');
CREATE VIEW scored_parted AS SELECT lead_id, score FROM salesops.lead_score WHERE lead_id LIKE 'm%';
SELECT count(*) AS n FROM salesops.attach('lead', 'parted') \gset
SELECT count(salesops.drop_scoring_rule(rule)) AS n FROM salesops.scoring_rule \gset
SELECT salesops.create_scoring_rule('web', 'fit', $$source = 'web'$$, 5) \gset
SELECT lives_ok($$SELECT salesops.enforce_lead_scores()$$, 'triggers on a partitioned table');
SELECT throws_ok($$SELECT salesops.enforce_lead_scores()$$, '42710', NULL, 'once');
INSERT INTO parted VALUES ('m1', now(), 'e', 'web'), ('m2', now(), 'w', 'event');
SELECT set_eq('TABLE scored_parted', $$VALUES ('m1', 100::float8), ('m2', 0)$$, 'inserted by the table''s name');
INSERT INTO parted_e (lead_id, region, source) VALUES ('m3', 'e', 'web'), ('m4', 'e', 'event');
UPDATE parted_w SET source = 'web' WHERE lead_id = 'm2';
SELECT set_eq('TABLE scored_parted', $$VALUES ('m1', 100::float8), ('m2', 100), ('m3', 100), ('m4', 0)$$, 'inserted and updated by a partition''s name');
UPDATE parted SET region = 'w', source = 'event' WHERE lead_id = 'm3';
SELECT set_eq($$SELECT lead_id, score FROM scored_parted WHERE lead_id = 'm3'$$, $$VALUES ('m3', 0::float8)$$, 'moved to another partition: scored, not forgotten');
SELECT is((SELECT count(*) FROM salesops.lead_score_history WHERE lead_id = 'm3') > 0, true, 'with its history');
DELETE FROM parted_e WHERE lead_id = 'm4';
DELETE FROM parted WHERE lead_id = 'm1';
SELECT set_eq('TABLE scored_parted', $$VALUES ('m2', 100::float8), ('m3', 0)$$, 'deleted by either name');
INSERT INTO parted VALUES ('m2', now(), 'w', 'event'), ('m5', now(), 'w', 'web') ON CONFLICT (lead_id, region) DO UPDATE SET source = excluded.source;
INSERT INTO parted VALUES ('m2', now(), 'w', 'web'), ('m6', now(), 'e', 'web') ON CONFLICT DO NOTHING;
SELECT set_eq('TABLE scored_parted', $$VALUES ('m2', 0::float8), ('m3', 0), ('m5', 100), ('m6', 100)$$, 'on conflict, either way');
-- a row that comes in another of the same statement's triggers, and one that is thrown away
CREATE FUNCTION pg_temp.twin() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF NEW.lead_id LIKE '%x' THEN RETURN NULL; END IF;
  IF NEW.lead_id LIKE '%t' THEN INSERT INTO parted_w VALUES (NEW.lead_id || '2', now(), 'w', 'web'); END IF;
  RETURN NEW; END $$;
CREATE TRIGGER a_twin BEFORE INSERT ON parted FOR EACH ROW EXECUTE FUNCTION pg_temp.twin();
CREATE TRIGGER z_twin BEFORE INSERT ON parted_w FOR EACH ROW WHEN (NEW.lead_id LIKE '%y') EXECUTE FUNCTION pg_temp.twin();
DELETE FROM parted;
INSERT INTO parted VALUES ('m7', now(), 'w', 'web'), ('m8t', now(), 'e', 'web'), ('m9x', now(), 'e', 'web'), ('m10', now(), 'e', 'event');
SELECT set_eq('TABLE scored_parted', $$VALUES ('m7', 100::float8), ('m8t', 100), ('m8t2', 100), ('m10', 0)$$, 'rows written within the statement, and rows given up');
-- a statement that failed leaves nothing behind
SAVEPOINT before;
SELECT throws_ok($$INSERT INTO parted VALUES ('m11', now(), 'w', 'web'), ('m7', now(), 'w', 'web')$$, '23505', NULL, 'a statement fails half-way');
INSERT INTO parted VALUES ('m12', now(), 'w', 'web'), ('m13', now(), 'w', 'event');
SELECT set_eq('TABLE scored_parted', $$VALUES ('m7', 100::float8), ('m8t', 100), ('m8t2', 100), ('m10', 0), ('m12', 100), ('m13', 0)$$, 'and the next is scored as ever');
-- a deletion that does not happen: kept by another trigger, or rolled back half-way
CREATE FUNCTION pg_temp.keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF OLD.lead_id = 'm8t2' THEN RAISE EXCEPTION 'not this one'; END IF;
  RETURN NULL; END $$;
CREATE TRIGGER t_keep BEFORE DELETE ON parted FOR EACH ROW EXECUTE FUNCTION pg_temp.keep();
DELETE FROM parted WHERE lead_id = 'm12';
SELECT throws_ok($$DELETE FROM parted WHERE lead_id LIKE 'm8%'$$, 'P0001', 'not this one', 'a deletion fails half-way');
DROP TRIGGER t_keep ON parted;
CREATE TRIGGER zzz_keep BEFORE DELETE ON parted FOR EACH ROW WHEN (OLD.lead_id = 'm8t2') EXECUTE FUNCTION pg_temp.keep();
SELECT throws_ok($$DELETE FROM parted WHERE lead_id LIKE 'm8%' OR lead_id = 'm7'$$, 'P0001', 'not this one', 'and another');
UPDATE parted SET source = 'web' WHERE lead_id = 'm13';
SELECT set_eq('TABLE scored_parted', $$VALUES ('m7', 100::float8), ('m8t', 100), ('m8t2', 100), ('m10', 0), ('m12', 100), ('m13', 100)$$,
              'whose leads keep their scores');
DROP TRIGGER zzz_keep ON parted;
CREATE TABLE parted_n PARTITION OF parted FOR VALUES IN ('n');
INSERT INTO parted_n VALUES ('m14', now(), 'n', 'web');
SELECT is((SELECT score FROM scored_parted WHERE lead_id = 'm14'), 100::float8, 'a partition made later');
SELECT salesops.release_lead_scores() \gset
SELECT is_empty($$SELECT FROM pg_trigger WHERE tgfoid = 'salesops.lead_changed'::regproc$$, 'all triggers go, the partitions'' too');

-- an admin of salesops who is no superuser, on tables of his own; partitions that he makes later
SELECT salesops.drop_scoring_rule('web') \gset
SELECT salesops.detach('lead') \gset
SET ROLE learn_sly;
CREATE TABLE sly.owned (lead_id text, created_at timestamptz DEFAULT now(), source text, region text) PARTITION BY LIST (region);
CREATE TABLE sly.owned_e PARTITION OF sly.owned FOR VALUES IN ('e');
SELECT count(*) AS n FROM salesops.attach('lead', 'sly.owned') \gset
SELECT lives_ok($$SELECT salesops.create_scoring_rule('web', 'fit', $e$source = 'web'$e$, 5)$$, 'an admin makes a rule');
SELECT lives_ok($$SELECT salesops.enforce_lead_scores()$$, 'and triggers on his partitioned table');
SELECT lives_ok($$CREATE TABLE sly.owned_w PARTITION OF sly.owned FOR VALUES IN ('w')$$, 'and a partition');
INSERT INTO sly.owned_w VALUES ('s1', now(), 'web', 'w');
SELECT is((SELECT score FROM salesops.lead_score WHERE lead_id = 's1'), 100::float8, 'whose leads are scored');
SELECT salesops.release_lead_scores() \gset
CREATE TABLE sly.plain (lead_id text PRIMARY KEY, created_at timestamptz DEFAULT now(), source text);
SELECT salesops.detach('lead') \gset
SELECT count(*) AS n FROM salesops.attach('lead', 'sly.plain') \gset
SELECT lives_ok($$SELECT salesops.enforce_lead_scores()$$, 'and triggers on his plain one');
INSERT INTO sly.plain VALUES ('s2', now(), 'web');
SELECT is((SELECT score FROM salesops.lead_score WHERE lead_id = 's2'), 100::float8, 'whose leads are scored');
-- the trigger on a table that is not the attached one
CREATE TABLE sly.other (LIKE sly.plain);
INSERT INTO sly.other VALUES ('s2');
CREATE TRIGGER forged AFTER DELETE ON sly.other REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION salesops.lead_changed('lead');
SELECT throws_ok($$DELETE FROM sly.other$$, '55000', 'relation "other" is not attached as lead any more', 'forgets no scores of others');
RESET ROLE;

-- a model that the statement itself trains
CREATE TABLE fresh AS SELECT i AS id, i % 10 AS x, (i * 16807::bigint * 48271 % 2147483647 % 10007) / 10007.0 < (i % 10) / 10.0 AS y FROM generate_series(1, 300) i;
SELECT throws_ok($$SELECT count(*) FROM salesops.train_model('fresh', 'TABLE fresh', 'y', 'logistic', 'id') m, LATERAL salesops.predict_batch(m.name, 'TABLE fresh', 'id')$$,
                 '55000', 'model "fresh" was trained after this statement began', 'trained and used in one statement');
SELECT * FROM finish();
ROLLBACK;
