-- What a session keeps of the clauses of triggers is bounded: watches that were renewed or have gone leave nothing behind in a session that lasts.
SET client_min_messages = warning;
SELECT plan(4);
DELETE FROM salesops.refresh_command;
CREATE TABLE lead (id int PRIMARY KEY, points int);
-- each round makes three triggers anew, and a statement whose parts may be of every kind reads all three
CREATE PROCEDURE rounds(first int, last int) LANGUAGE plpgsql AS $$
BEGIN
  FOR i IN first .. last LOOP
    PERFORM salesops.watch('lead', 'lead');
    WITH added AS (INSERT INTO lead VALUES (i, 0) RETURNING id) UPDATE lead SET points = points + 1 WHERE id = i - 1;
    COMMIT;
  END LOOP;
END $$;
CREATE FUNCTION kept() RETURNS bigint LANGUAGE sql AS $$ SELECT sum(used_bytes) FROM pg_backend_memory_contexts WHERE 'salesops watched' IN (name, parent) $$;
CALL rounds(1, 97);
CREATE TABLE early AS SELECT kept();
SELECT cmp_ok((SELECT kept FROM early), '>', 95000::bigint, 'clauses are kept');
CALL rounds(98, 210);
SELECT cmp_ok(kept(), '<=', (SELECT kept FROM early) + 65536, 'but no more of them than at first');
SELECT results_eq('SELECT key FROM salesops.change_queue GROUP BY 1 ORDER BY key::int', 'SELECT i::text FROM generate_series(1, 210) i', 'and every key that was written is queued');
-- a table made again under another's watch is not taken for the old one
DROP TABLE lead;
DELETE FROM salesops.change_batch;
CREATE TABLE lead (note text, points int, id int PRIMARY KEY);
SELECT salesops.watch('lead', 'lead', 'id');
INSERT INTO lead VALUES ('x', 1, 7);
SELECT results_eq('SELECT key FROM salesops.change_queue', $$VALUES ('7'::text)$$, 'by the new key');
SELECT * FROM finish();
