-- The change queue: what is queued by which write, and that a refresh of what changed gives what a full one gives.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS salesops CASCADE;
CREATE EXTENSION salesops;
RESET client_min_messages;
CREATE SCHEMA worker_queue;
SET search_path = worker_queue, public;
SELECT salesops.stop_worker() IS NOT NULL AS stopped;
CREATE TABLE leads (gone int, id int PRIMARY KEY, made timestamptz DEFAULT now(), points int NOT NULL DEFAULT 0);
ALTER TABLE leads DROP COLUMN gone;
SELECT count(*) > 0 AS attached FROM salesops.attach('lead', 'leads', '{"lead_id": "id", "created_at": "made"}');
CREATE TABLE visits (visit int PRIMARY KEY, lead_id varchar(10), score int);
CREATE FUNCTION queued() RETURNS text LANGUAGE sql AS
  $$ SELECT string_agg(entity || ':' || coalesce(key, 'ALL'), ' ' ORDER BY entity, length(key), key) FROM salesops.change_queue $$;

-- bad input
SELECT salesops.watch('leads', 'prospect');
SELECT salesops.watch('leads', 'lead', 'nothing');
SELECT salesops.watch('salesops.lead', 'lead');
CREATE TABLE keyless (a int, b int);
SELECT salesops.watch('keyless', 'lead');
SELECT salesops.refresh_changed('prospect');
SELECT salesops.refresh_changed('lead', 0);

-- every entity, by a table of its own
BEGIN;
SET LOCAL client_min_messages = warning;
SELECT entity, salesops.watch(relation, entity) AS key FROM salesops.create_crm('worker_crm') ORDER BY entity;
SELECT salesops.watch('visits', 'commission_credit', 'visit');
ROLLBACK;
-- every kind of write
SELECT salesops.watch('leads', 'lead'), salesops.watch('visits', 'lead', 'lead_id');
SELECT * FROM salesops.watched ORDER BY relation::text;
INSERT INTO leads SELECT g FROM generate_series(1, 5) g;
SELECT queued();
SELECT salesops.refresh_changed('lead'), queued();
UPDATE leads SET points = 1 WHERE id IN (2, 3);
SELECT salesops.refresh_changed('lead') FROM queued();
UPDATE leads SET points = 1 WHERE id > 99;
SELECT queued() IS NULL AS no_row_no_key;
UPDATE leads SET id = 7 WHERE id = 5;
SELECT queued();
DELETE FROM leads WHERE id = 7;
INSERT INTO leads VALUES (1, now(), 3) ON CONFLICT (id) DO UPDATE SET points = excluded.points;
SELECT queued();
DELETE FROM salesops.change_batch;
INSERT INTO visits SELECT g, (g % 2 + 1)::text FROM generate_series(1, 100) g;
SELECT queued();
INSERT INTO visits VALUES (101, NULL);
BEGIN; INSERT INTO leads VALUES (50); ROLLBACK;
SELECT queued();
DELETE FROM salesops.change_batch;
MERGE INTO leads USING (VALUES (1), (60)) v(id) ON leads.id = v.id WHEN MATCHED THEN UPDATE SET points = 9 WHEN NOT MATCHED THEN INSERT (id) VALUES (v.id);
SELECT queued();
COPY leads (id) FROM stdin;
70
71
\.
SELECT queued();
TRUNCATE visits;
SELECT queued();
DELETE FROM salesops.change_batch;

-- renames are followed, repeating renews, unwatch ends
ALTER TABLE leads RENAME COLUMN id TO lead_number;
UPDATE leads SET points = 2 WHERE lead_number = 2;
SELECT queued();
SELECT salesops.watch('leads', 'lead');
SELECT count(*) AS triggers FROM pg_trigger WHERE tgrelid = 'leads'::regclass;
SELECT salesops.unwatch('leads');
SELECT count(*) AS triggers FROM pg_trigger WHERE tgrelid = 'leads'::regclass;
UPDATE leads SET points = 3;
SELECT queued();
DELETE FROM salesops.change_batch;

-- partitions, written through the parent or themselves
CREATE TABLE deals (id char(5), region text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE deals_eu PARTITION OF deals FOR VALUES IN ('eu');
CREATE TABLE deals_us PARTITION OF deals FOR VALUES IN ('us');
SELECT salesops.watch('deals', 'opportunity', 'id');
INSERT INTO deals VALUES ('a', 'eu'), ('b', 'us');
INSERT INTO deals_us VALUES ('c', 'us');
UPDATE deals SET region = 'us' WHERE id = 'a';
UPDATE deals_us SET id = 'd' WHERE id = 'c';
SELECT queued();
SELECT * FROM salesops.watched ORDER BY relation::text;
DELETE FROM salesops.change_batch;
-- one made or attached later too, by a role that has no right on the extension; one detached no longer
CREATE ROLE regress_worker_carl;
GRANT ALL ON SCHEMA worker_queue TO regress_worker_carl;
ALTER TABLE deals OWNER TO regress_worker_carl;
SELECT salesops.watch('deals', 'opportunity', 'id');
SET ROLE regress_worker_carl;
CREATE TABLE deals_asia PARTITION OF deals FOR VALUES IN ('asia');
CREATE TABLE deals_africa (region text NOT NULL, id char(5) NOT NULL, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE deals_africa_1 PARTITION OF deals_africa FOR VALUES IN ('africa');
ALTER TABLE deals ATTACH PARTITION deals_africa FOR VALUES IN ('africa');
INSERT INTO deals_asia VALUES ('e', 'asia');
INSERT INTO deals_africa_1 (id, region) VALUES ('f', 'africa');
UPDATE deals_africa_1 SET id = 'g' WHERE id = 'f';
RESET ROLE;
ALTER TABLE deals DETACH PARTITION deals_eu;
INSERT INTO deals_eu VALUES ('x', 'eu');
ALTER TABLE deals DETACH PARTITION deals_asia CONCURRENTLY;
INSERT INTO deals_asia VALUES ('y', 'asia');
SELECT queued();
SELECT salesops.unwatch('deals', 'opportunity');
SELECT count(*) FROM pg_trigger WHERE tgfoid = 'salesops.queue_changes'::regproc AND tgrelid::regclass::text LIKE 'deals%';
DELETE FROM salesops.change_batch;
DROP TABLE deals, deals_eu, deals_asia;
DROP OWNED BY regress_worker_carl;
DROP ROLE regress_worker_carl;
-- children by inheritance, there before or made later
CREATE TABLE calls (id int PRIMARY KEY, lead_id int);
CREATE TABLE calls_1 () INHERITS (calls);
SELECT salesops.watch('calls', 'lead', 'lead_id');
CREATE TABLE calls_2 (lead_id int, id int NOT NULL);
ALTER TABLE calls_2 INHERIT calls;
INSERT INTO calls_1 VALUES (1, 100);
INSERT INTO calls_2 VALUES (200, 2);
UPDATE calls_1 SET lead_id = 101;
SELECT queued();
DROP TABLE calls CASCADE;
DELETE FROM salesops.change_batch;

-- a partition that is watched by itself, written through its parent; what is drained before the commit is drained
CREATE TABLE notes (id int, region text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE notes_eu PARTITION OF notes FOR VALUES IN ('eu');
SELECT salesops.watch('notes_eu', 'lead', 'id');
INSERT INTO notes VALUES (1, 'eu'), (2, 'eu');
SELECT queued();
BEGIN;
INSERT INTO notes VALUES (3, 'eu');
SAVEPOINT a;
INSERT INTO notes VALUES (4, 'eu');
ROLLBACK TO a;
SAVEPOINT b;
INSERT INTO notes VALUES (5, 'eu');
RELEASE b;
SELECT salesops.refresh_changed('lead') AS drained_within;
INSERT INTO notes VALUES (6, 'eu');
COMMIT;
SELECT queued();
DROP TABLE notes;
DELETE FROM salesops.change_batch;
-- what triggers of the table's own do: another key than the statement names, writes of the same table within, caught errors
CREATE TABLE odd (id int PRIMARY KEY, x int);
CREATE FUNCTION odd_key() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.id := NEW.id + 1000; RETURN NEW; END $$;
CREATE FUNCTION odd_more() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO worker_queue.odd VALUES (NEW.id + 10);
  BEGIN
    INSERT INTO worker_queue.odd VALUES (NEW.id + 20), (NEW.id + 21);
    INSERT INTO worker_queue.odd VALUES (1 / (NEW.id - NEW.id));
  EXCEPTION WHEN division_by_zero THEN NULL;
  END;
  RETURN NEW;
END $$;
CREATE TRIGGER odd_key BEFORE UPDATE ON odd FOR EACH ROW EXECUTE FUNCTION odd_key();
CREATE TRIGGER odd_more BEFORE INSERT ON odd FOR EACH ROW WHEN (NEW.id < 10) EXECUTE FUNCTION odd_more();
SELECT salesops.watch('odd', 'lead');
INSERT INTO odd VALUES (1), (2);
SELECT queued();
DELETE FROM salesops.change_batch;
UPDATE odd SET x = 1 WHERE id < 5;
SELECT queued();
DELETE FROM salesops.change_batch;
-- many: each once, in rows of some hundred keys
INSERT INTO odd SELECT g FROM generate_series(10000, 11999) g;
SELECT count(*), count(DISTINCT key), (SELECT count(*) < 50 FROM salesops.change_batch) AS few_rows FROM salesops.change_queue;
DELETE FROM salesops.change_batch;
-- a writer needs no right of ours, and what serves him serves nothing else
CREATE ROLE regress_worker_dora;
GRANT USAGE ON SCHEMA worker_queue TO regress_worker_dora;
GRANT INSERT, SELECT ON odd TO regress_worker_dora;
SET ROLE regress_worker_dora;
INSERT INTO odd VALUES (20000);
SELECT salesops.note_lead(1);
SELECT salesops.note_lead(id) FROM odd LIMIT 1;
RESET ROLE;
SELECT queued();
-- where the clause is prepared by hand the function is not asked, nor the right to it; COPY goes the server's way
REVOKE EXECUTE ON FUNCTION salesops.note_lead("any") FROM PUBLIC;
SET ROLE regress_worker_dora;
INSERT INTO odd VALUES (20001);
COPY odd (id) FROM stdin;
20002
\.
RESET ROLE;
SELECT queued();
GRANT EXECUTE ON FUNCTION salesops.note_lead("any") TO PUBLIC;
-- called by other means all the same, in a cursor that outlives its subtransaction: nothing stale is used
BEGIN;
SAVEPOINT gone;
DECLARE calls CURSOR FOR SELECT salesops.note_lead(a.id) FROM odd a JOIN (SELECT id FROM odd) b ON b.id = a.id;
MOVE 200 IN calls;
RELEASE gone;
MOVE ALL IN calls;
COMMIT;
SELECT count(DISTINCT key) = (SELECT count(*) FROM odd) AS all_of_them FROM salesops.change_queue;
DROP TABLE odd;
DROP OWNED BY regress_worker_dora;
DROP ROLE regress_worker_dora;
DELETE FROM salesops.change_batch;

-- what a savepoint takes back is not queued, what it leaves is
BEGIN;
INSERT INTO visits VALUES (301, '31');
SAVEPOINT a;
INSERT INTO visits VALUES (302, '32');
ROLLBACK TO a;
INSERT INTO visits VALUES (303, '33');
RELEASE a;
COMMIT;
SELECT queued();
DELETE FROM salesops.change_batch;
DELETE FROM visits;
DELETE FROM salesops.change_batch;

-- what a subtransaction appends of its parents' keys, to drain or to make room, is there again where it is rolled back
BEGIN;
INSERT INTO visits VALUES (311, '41');
SAVEPOINT a;
INSERT INTO visits VALUES (312, '42');
SAVEPOINT b;
INSERT INTO visits VALUES (313, '43');
SELECT salesops.refresh_changed('lead') AS drained, queued() IS NULL AS empty;
ROLLBACK TO b;
SELECT salesops.refresh_changed('lead') AS drained_again, queued() IS NULL AS empty;
RELEASE b;
ROLLBACK TO a;
RELEASE a;
INSERT INTO visits VALUES (314, '44');
COMMIT;
SELECT queued();
DELETE FROM salesops.change_batch;
BEGIN;
INSERT INTO visits VALUES (321, '51');
SAVEPOINT a;
SAVEPOINT b;
SELECT salesops.refresh_changed('lead') AS drained;
RELEASE b;
RELEASE a;
COMMIT;
SELECT queued() IS NULL AS drained_for_good;
DELETE FROM visits;
DELETE FROM salesops.change_batch;
-- blocks within blocks, some rolled back, some with more keys than fit beside the parent's: exactly the keys of the rows that stayed, each
-- once or more; and a thousand blocks share few rows of the queue
CREATE TABLE nested (id text PRIMARY KEY);
CREATE FUNCTION nest(depth int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE n int;
BEGIN
  FOR i IN 1..1 + floor(random() * 3) LOOP
    n := CASE floor(random() * 4) WHEN 0 THEN 150 WHEN 1 THEN 0 ELSE 1 + floor(random() * 3) END;
    INSERT INTO nested SELECT lpad(md5(random()::text), CASE floor(random() * 20) WHEN 0 THEN 1600 ELSE 8 END, 'x') FROM generate_series(1, n) ON CONFLICT DO NOTHING;
    IF depth < 5 THEN
      BEGIN
        PERFORM nest(depth + 1);
        IF random() < 0.3 THEN RAISE EXCEPTION SQLSTATE 'UT001'; END IF;
      EXCEPTION WHEN SQLSTATE 'UT001' THEN NULL;
      END;
    END IF;
  END LOOP;
END $$;
SELECT salesops.watch('nested', 'lead');
SELECT setseed(0.17);
DO $$ BEGIN FOR i IN 1..10 LOOP PERFORM nest(1); COMMIT; END LOOP; END $$;
SELECT count(*) > 1000 AS many, count(*) FILTER (WHERE length(id) > 1500) > 10 AS long_ones,
       count(*) FILTER (WHERE q.key IS NULL) AS lost, (SELECT count(DISTINCT key) FROM salesops.change_queue) - count(*) AS too_many
  FROM nested LEFT JOIN (SELECT DISTINCT key FROM salesops.change_queue) q ON q.key = id;
DELETE FROM salesops.change_batch;
DO $$
BEGIN
  FOR i IN 1..1000 LOOP
    BEGIN
      INSERT INTO nested VALUES ('block ' || i);
    EXCEPTION WHEN division_by_zero THEN NULL;
    END;
  END LOOP;
END $$;
SELECT count(*), count(DISTINCT key), (SELECT count(*) < 20 FROM salesops.change_batch) AS few_rows FROM salesops.change_queue;
DROP TABLE nested;
DELETE FROM salesops.change_batch;

-- a refresh of what changed leaves what a full refresh computes: random writes, two tables, keys that change
CREATE TABLE mirror (key text PRIMARY KEY, points int);
CREATE FUNCTION one(k text[]) RETURNS void LANGUAGE sql AS $$
  DELETE FROM worker_queue.mirror WHERE key = ANY (k);
  INSERT INTO worker_queue.mirror SELECT l.lead_number::text, l.points + coalesce(sum(v.score), 0)
    FROM worker_queue.leads l LEFT JOIN worker_queue.visits v ON v.lead_id = l.lead_number::text
   WHERE l.lead_number::text = ANY (k) GROUP BY 1, l.points $$;
CREATE FUNCTION entire() RETURNS void LANGUAGE sql AS $$
  SELECT worker_queue.one(ARRAY(SELECT lead_number::text FROM worker_queue.leads) || ARRAY(SELECT key FROM worker_queue.mirror)) $$;
DELETE FROM salesops.refresh_command;
INSERT INTO salesops.refresh_command VALUES ('lead', 'mirror', 1, 'SELECT worker_queue.one($1)', 'SELECT worker_queue.entire()', 30);
INSERT INTO salesops.refresh_command VALUES ('lead', 'never', 0, 'SELECT 1 / 0', NULL, NULL, 'EXISTS (SELECT FROM pg_catalog.pg_class WHERE relname = ''no such table'')');
SELECT salesops.watch('leads', 'lead');
SELECT entire();
SELECT setseed(0.42);
DO $$
DECLARE n int; differ int;
BEGIN
  FOR i IN 1..300 LOOP
    n := 1 + floor(random() * 40);
    CASE floor(random() * 7)
      WHEN 0 THEN INSERT INTO leads (lead_number, points) VALUES (n, i) ON CONFLICT DO NOTHING;
      WHEN 1 THEN UPDATE leads SET points = i WHERE lead_number BETWEEN n AND n + 3;
      WHEN 2 THEN DELETE FROM leads WHERE lead_number = n;
      WHEN 3 THEN UPDATE leads SET lead_number = n + 1000 * (i % 2) WHERE lead_number = n + 1000 AND NOT EXISTS (SELECT FROM leads WHERE lead_number = n + 1000 * (i % 2));
      WHEN 4 THEN INSERT INTO visits VALUES (1000 + i, n, i);
      WHEN 5 THEN UPDATE visits SET lead_id = n WHERE visit % 10 = i % 10;
      ELSE IF i % 50 = 0 THEN TRUNCATE visits; ELSE DELETE FROM visits WHERE lead_id = n::text; END IF;
    END CASE;
    IF i % 7 = 0 THEN
      PERFORM salesops.refresh_changed('lead', CASE i % 3 WHEN 0 THEN 2 ELSE 100 END);
      SELECT count(*) INTO differ FROM (SELECT lead_number::text AS key, l.points + coalesce((SELECT sum(v.score) FROM visits v WHERE v.lead_id = l.lead_number::text), 0) AS points FROM leads l) w
        FULL JOIN mirror m USING (key) WHERE m.points IS DISTINCT FROM w.points;
      IF differ > 0 THEN RAISE EXCEPTION 'after step %: % rows differ', i, differ; END IF;
    END IF;
  END LOOP;
END $$;
SELECT count(*) > 5 AS something_was_compared FROM mirror;

-- a statement that writes several tables; a key that is computed, and one that a BEFORE trigger sets; beside a trigger of somebody else's
DELETE FROM salesops.change_batch;
CREATE TABLE computed (n int PRIMARY KEY, note text, id int GENERATED ALWAYS AS (n * 10) STORED);
CREATE TABLE set_before (n int PRIMARY KEY, id uuid);
CREATE FUNCTION set_key() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.id := lpad(NEW.n::text, 32, '0')::uuid; RETURN NEW; END $$;
CREATE TRIGGER zz_last BEFORE INSERT OR UPDATE ON set_before FOR EACH ROW EXECUTE FUNCTION set_key();
CREATE FUNCTION somebody() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'fired for %', NEW.n; RETURN NULL; END $$;
CREATE TRIGGER somebody AFTER INSERT OR UPDATE ON set_before FOR EACH ROW WHEN (NEW.n > 1) EXECUTE FUNCTION somebody();
SELECT salesops.watch('computed', 'lead', 'id'), salesops.watch('set_before', 'lead', 'id');
WITH a AS (INSERT INTO computed (n) VALUES (1), (2) RETURNING n), b AS (UPDATE leads SET points = 77 WHERE lead_number = (SELECT max(lead_number) FROM leads) RETURNING lead_number)
INSERT INTO set_before SELECT n FROM a;
UPDATE set_before SET n = 5 WHERE n = 2;
DELETE FROM computed WHERE n = 1;
SELECT key = (SELECT max(lead_number)::text FROM leads) AS lead, CASE WHEN key <> (SELECT max(lead_number)::text FROM leads) THEN key END AS key, count(*)
  FROM salesops.change_queue GROUP BY 1, 2 ORDER BY 2 NULLS FIRST;
-- the trigger's clause is read again where the table is watched by another column
SELECT salesops.watch('set_before', 'lead', 'n');
DELETE FROM salesops.change_batch;
UPDATE set_before SET id = NULL WHERE n = 5;
SELECT key FROM salesops.change_queue;
DROP TABLE computed, set_before;

-- an error leaves the queue as it was
DELETE FROM salesops.change_batch;
UPDATE leads SET points = 0 WHERE lead_number = (SELECT min(lead_number) FROM leads);
UPDATE salesops.refresh_command SET needs = NULL WHERE name = 'never';
SELECT salesops.refresh_changed('lead');
SELECT count(*) FROM salesops.change_queue;

SET client_min_messages = warning;
DROP SCHEMA worker_queue CASCADE;
DROP EXTENSION salesops CASCADE;
