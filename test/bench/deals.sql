-- The deals of the benchmarks of stage criteria and of tracked history, and tables that take them in: the same rows under each way to check or to track.
-- Use: psql -v rows=200000 -v key=', PRIMARY KEY (id)' -v criteria=true -v tracking=false -f test/bench/deals.sql     key: '' for tables without one
SET client_min_messages = warning;
CREATE TABLE src AS SELECT i AS id, 'proposal'::text AS stage, (i % 1000 + 1)::numeric AS amount, date '2027-01-01' + i % 300 AS close_date, 'o' || i % 50 AS owner,
	'call' || i AS next_step FROM generate_series(1, :rows) i;
SELECT salesops.define_stages('default', (SELECT jsonb_agg(jsonb_build_object('stage', s, 'kind', CASE s WHEN 'won' THEN 'won' ELSE 'open' END))
	FROM unnest(ARRAY['new', 'proposal', 's3', 's4', 's5', 's6', 's7', 'won']) s));

\if :criteria
-- five terms: as CHECK, as CHECK of the stage, in PL/pgSQL, ours; ours with fifty criteria on later stages besides, and with a sixth term, a division, which might fail
CREATE TABLE c_none (LIKE src :key);
CREATE TABLE c_check (LIKE src :key, CHECK (amount > 0 AND close_date IS NOT NULL AND owner <> '' AND length(next_step) > 3 AND amount < 1e9));
CREATE TABLE c_case (LIKE src :key, CHECK (CASE stage WHEN 'proposal' THEN amount > 0 AND close_date IS NOT NULL AND owner <> '' AND length(next_step) > 3 AND amount < 1e9 END));
CREATE TABLE c_plpgsql (LIKE src :key);
CREATE TABLE c_ours (LIKE src :key);
CREATE TABLE c_other50 (LIKE src :key);
CREATE TABLE c_risky (LIKE src :key);
CREATE FUNCTION check_deal() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
	IF new.stage = 'proposal' THEN
		IF NOT (new.amount > 0) THEN RAISE EXCEPTION 'a'; END IF; IF new.close_date IS NULL THEN RAISE EXCEPTION 'b'; END IF;
		IF NOT (new.owner <> '') THEN RAISE EXCEPTION 'c'; END IF; IF NOT (length(new.next_step) > 3) THEN RAISE EXCEPTION 'd'; END IF;
		IF NOT (new.amount < 1e9) THEN RAISE EXCEPTION 'e'; END IF;
	END IF;
	RETURN new; END$$;
CREATE TRIGGER f BEFORE INSERT OR UPDATE ON c_plpgsql FOR EACH ROW EXECUTE FUNCTION check_deal();
SELECT salesops.add_criterion(t::regclass, 'proposal', 'c' || n, e)
  FROM unnest(ARRAY['c_ours', 'c_other50', 'c_risky']) t, unnest(ARRAY['amount > 0', 'close_date IS NOT NULL', 'owner <> ''''', 'length(next_step) > 3', 'amount < 1e9']) WITH ORDINALITY e (e, n);
SELECT salesops.add_criterion('c_other50', 's' || 3 + i % 5, 'other' || i, 'amount > ' || i) FROM generate_series(1, 50) i;
SELECT salesops.add_criterion('c_risky', 'proposal', 'division', '1000000 / id > 0');
SELECT salesops.enforce_stage_criteria(t::regclass) FROM unnest(ARRAY['c_ours', 'c_other50', 'c_risky']) t;
\endif

\if :tracking
-- each change noted: by a PL/pgSQL trigger, by ours, by ours of a partitioned table
CREATE TABLE h_none (LIKE src :key);
CREATE TABLE h_plpgsql (LIKE src :key);
CREATE TABLE h_ours (LIKE src :key);
CREATE TABLE h_parts (LIKE src :key) PARTITION BY RANGE (id);
CREATE TABLE h_parts_a PARTITION OF h_parts FOR VALUES FROM (0) TO (50000);
CREATE TABLE h_parts_b PARTITION OF h_parts DEFAULT;
SELECT salesops.track_stage_changes('h_ours'), salesops.track_stage_changes('h_parts');
CREATE TABLE history (LIKE salesops.tracked_stage_change INCLUDING ALL);
CREATE FUNCTION note_deal() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
	IF TG_OP = 'DELETE' THEN
		INSERT INTO history (relation, opportunity_id, previous_stage) VALUES (TG_RELID, old.id, old.stage);
	ELSIF TG_OP = 'INSERT' OR (old.stage, old.amount, old.close_date) IS DISTINCT FROM (new.stage, new.amount, new.close_date) THEN
		INSERT INTO history (relation, opportunity_id, stage, previous_stage, amount, close_date)
		VALUES (TG_RELID, new.id, new.stage, CASE TG_OP WHEN 'UPDATE' THEN old.stage END, new.amount, new.close_date);
	END IF;
	RETURN NULL; END$$;
CREATE TRIGGER f AFTER INSERT OR UPDATE OR DELETE ON h_plpgsql FOR EACH ROW EXECUTE FUNCTION note_deal();
\endif
