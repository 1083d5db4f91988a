-- refresh_changed() of commissions gives what a full calculation gives: after it, calculating everything writes nothing. Random changes.
BEGIN;
SET client_min_messages = warning;
SELECT no_plan();
CREATE TABLE credit (credit_id text PRIMARY KEY, rep_id text, amount numeric, credited_on date);
INSERT INTO credit SELECT 'c' || i, 'r' || i % 5, 1000 + i * 37, date_trunc('quarter', now())::date + 1 FROM generate_series(1, 60) i;
CREATE TABLE rep (rep_id text PRIMARY KEY);
INSERT INTO rep SELECT 'r' || i FROM generate_series(0, 4) i;
SELECT count(*) FROM salesops.attach('commission_credit', 'credit');
SELECT count(*) FROM salesops.attach('sales_rep', 'rep');
SELECT salesops.create_commission_plan('p', '{"period": "quarter", "tiers": [{"from": 0, "rate": 0.05}, {"from": 10000, "rate": 0.08}]}');
SELECT salesops.assign_commission_plan(rep_id, 'p', '[2020-01-01,)') FROM rep;
SELECT count(*) FROM salesops.calculate_commissions(salesops.current_quarter());
SELECT salesops.watch('credit', 'commission_credit');

DELETE FROM credit WHERE credit_id = 'c7';
SELECT cmp_ok(salesops.refresh_changed('commission_credit'), '>', 0::bigint, 'a credit is deleted');
SELECT is(sum(lines), 0::bigint, 'its rep is calculated again') FROM salesops.calculate_commissions(salesops.current_quarter());
UPDATE credit SET rep_id = 'r4' WHERE credit_id = 'c10';
SELECT cmp_ok(salesops.refresh_changed('commission_credit'), '>', 0::bigint, 'a credit goes to another rep');
SELECT is(sum(lines), 0::bigint, 'so are both reps') FROM salesops.calculate_commissions(salesops.current_quarter());

-- random mixtures of inserts, updates, moves and deletes
SELECT setseed(0.42);
CREATE FUNCTION change() RETURNS void LANGUAGE sql AS $$
  DELETE FROM credit WHERE random() < 0.05;
  UPDATE credit SET amount = amount + 100 WHERE random() < 0.1;
  UPDATE credit SET rep_id = 'r' || floor(random() * 5) WHERE random() < 0.05;
  INSERT INTO credit SELECT gen_random_uuid(), 'r' || floor(random() * 5), round((random() * 5000)::numeric, 2) + 1, date_trunc('quarter', now())::date + 2
    FROM generate_series(1, 3);
$$;
CREATE FUNCTION left_over() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
  PERFORM change();
  PERFORM salesops.refresh_changed('commission_credit');
  RETURN (SELECT sum(c.lines) FROM salesops.calculate_commissions(salesops.current_quarter()) c);
END
$$;
SELECT is(left_over(), 0::bigint, 'nothing is left to a full calculation, round ' || i) FROM generate_series(1, 10) i;
SELECT * FROM finish();
ROLLBACK;
