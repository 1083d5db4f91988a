-- The ledger against whoever would change it, bad input against the ledger, and what is read from it: payouts, balances, liability, payroll,
-- disputes, what-if, credits from opportunities and from a view.
BEGIN;
SET client_min_messages = warning;
SELECT no_plan();
CREATE TABLE credit (credit_id text PRIMARY KEY, rep_id text, amount numeric, credited_on date, opportunity_id text, currency text, deal_type text, split numeric);
CREATE TABLE rep (rep_id text PRIMARY KEY, name text, manager_id text, is_active boolean DEFAULT true);
INSERT INTO rep VALUES ('a', 'Ann', NULL, true), ('b', 'Bob', NULL, true), ('gone', 'Guy', NULL, false);
SELECT ok(count(*) > 0, 'attached') FROM salesops.attach('sales_rep', 'rep');
SELECT ok(count(*) > 0, 'attached') FROM salesops.attach('commission_credit', 'credit');
SELECT salesops.create_commission_plan('p', '{"tiers":[{"from":0,"rate":0.1},{"from":1000,"rate":0.2}]}');
SELECT salesops.create_commission_plan('quota', '{"measure":"attainment","tiers":[{"from":0,"rate":0.1}]}');
SELECT salesops.assign_commission_plan(r, 'p', '[2027-01-01,)') FROM unnest('{a,b}'::text[]) r;
INSERT INTO credit SELECT i, (ARRAY['a', 'b'])[1 + i % 2], 100 * i, date '2027-01-01' + i FROM generate_series(1, 10) i;
SELECT is(sum(lines), 10::bigint, 'lines') FROM salesops.calculate_commissions('[2027-01-01,2027-02-01)');

-- who holds a credit: also one that is gone, lines that the index has no filter of yet, and many ids, for which the lines are scanned
SELECT brin_desummarize_range('salesops.commission_entry_credit', 0);
SELECT results_eq($$SELECT * FROM salesops.commission_reps_of('{2,3,none}') ORDER BY 1$$, $$VALUES ('a'), ('b')$$, 'reps of credits, not in the index yet');
SELECT is(brin_summarize_new_values('salesops.commission_entry_credit'), 1, 'lines are put into the index');
DELETE FROM credit WHERE credit_id = '2';
SELECT results_eq($$SELECT * FROM salesops.commission_reps_of('{2,none}')$$, $$VALUES ('a')$$, 'the rep of a credit that is gone');
INSERT INTO credit VALUES ('2', 'a', 200, '2027-01-03');
CREATE FUNCTION index_scans(ids text[], OUT scans bigint, OUT reps text[]) LANGUAGE plpgsql AS $$
BEGIN
  scans := pg_stat_get_xact_numscans('salesops.commission_entry_credit'::regclass);
  reps := ARRAY(SELECT r FROM salesops.commission_reps_of(ids) r ORDER BY 1);
  scans := pg_stat_get_xact_numscans('salesops.commission_entry_credit'::regclass) - scans;
END
$$;
SELECT results_eq($$SELECT * FROM index_scans('{3}')$$, $$VALUES (1::bigint, '{b}'::text[])$$, 'by the index');
SELECT results_eq('SELECT * FROM index_scans(ARRAY(SELECT g::text FROM generate_series(1, 65) g))', $$VALUES (0::bigint, '{a,b}'::text[])$$, 'many at once are not');
SELECT is(current_setting('enable_seqscan'), 'on', 'and leave the settings as they are');

-- append-only, for the owner and superuser too
SELECT throws_ok(format('%s salesops.%s', how, what), '55000', NULL, how || ' ' || what)
  FROM unnest('{commission_entry,commission_posting,commission_plan,commission_period,commission_payout}'::text[]) what, unnest('{TRUNCATE,DELETE FROM}'::text[]) how;
SELECT throws_ok('UPDATE salesops.commission_entry SET amount = 0', '55000', NULL, 'update of lines');
SELECT throws_ok('UPDATE salesops.commission_posting SET earned = 0', '55000', NULL, 'update of postings');
SELECT throws_ok('MERGE INTO salesops.commission_entry e USING (VALUES (1)) v(i) ON e.line_id = v.i WHEN MATCHED THEN DELETE', '55000', NULL, 'merge');

-- whoever takes the triggers away is found out, whatever is done
CREATE FUNCTION tampered(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE result text;
BEGIN
  ALTER TABLE salesops.commission_entry DISABLE TRIGGER append_only;
  ALTER TABLE salesops.commission_posting DISABLE TRIGGER append_only;
  EXECUTE statement;
  SELECT CASE WHEN valid THEN 'valid' ELSE coalesce(broken_line::text, '-') || ': ' || problem END INTO result FROM salesops.verify_commission_ledger();
  RAISE EXCEPTION USING ERRCODE = 'P7777', MESSAGE = result;
EXCEPTION WHEN SQLSTATE 'P7777' THEN
  RETURN SQLERRM;
END
$$;
SELECT is(tampered('SELECT 1'), 'valid', 'nothing changed');
SELECT matches(tampered(format('UPDATE salesops.commission_entry SET %s WHERE line_id = 4', change)), '^4: line 4 does not have the content', 'changed: ' || change)
  FROM unnest('{amount = amount + 0.01,"credit_id = ''x''",cumulated_after = cumulated_after + 1,credited_on = credited_on + 1,"kind = ''b''",corrects = 1,component = 1,posting_id = 2,hash = sha256(hash)}'::text[]) change;
SELECT matches(tampered('DELETE FROM salesops.commission_entry WHERE line_id = 4'), '^4: line 4 is missing', 'deleted');
SELECT matches(tampered('INSERT INTO salesops.commission_entry SELECT 11, posting_id, kind, component, credited_on, corrects, ''forged'', amount, cumulated_before, cumulated_after, total_before, source_amount, split, factor, exchange_rate, source_currency, hash FROM salesops.commission_entry WHERE line_id = 10'),
  '^11: line 11 does not have the content', 'inserted at the end');
SELECT matches(tampered('UPDATE salesops.commission_entry e SET credit_id = o.credit_id, amount = o.amount, cumulated_before = o.cumulated_before, cumulated_after = o.cumulated_after FROM salesops.commission_entry o WHERE (e.line_id, o.line_id) IN ((3, 4), (4, 3))'),
  '^3: line 3 does not have the content', 'swapped');
SELECT matches(tampered('UPDATE salesops.commission_entry SET line_id = line_id + 1 WHERE line_id = 10'), '^10: line 10 is missing', 'renumbered');
SELECT matches(tampered(format('UPDATE salesops.commission_posting SET %s WHERE posting_id = 1', change)), 'posting 1 ', 'posting changed: ' || change)
  FROM unnest('{earned = earned + 1,"rep_id = ''b''",quota = 1,"created_by = ''x''","period = ''[2027-02-01,2027-03-01)''",line_count = 4,fingerprint = 0}'::text[]) change;
SELECT matches(tampered('DELETE FROM salesops.commission_posting WHERE posting_id = 2; DELETE FROM salesops.commission_entry WHERE posting_id = 2'), 'valid', 'an end cut off needs the head that was kept');
SELECT is(tampered('DELETE FROM salesops.commission_posting WHERE posting_id = 1'), '-: posting 1 is missing', 'a posting deleted');

-- bad input: each is an error that lists all, and nothing is written
CREATE FUNCTION failure(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE detail text; state text; lines bigint := (SELECT count(*) FROM salesops.commission_entry);
BEGIN
  EXECUTE statement;
  RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, state = RETURNED_SQLSTATE;
  IF (SELECT count(*) FROM salesops.commission_entry) <> lines THEN RETURN 'something was written'; END IF;
  RETURN state || ' ' || detail;
END
$$;
CREATE FUNCTION failure_with(credits text, statement text DEFAULT $$SELECT count(*) FROM salesops.calculate_commissions('[2027-01-01,2027-02-01)')$$) RETURNS text LANGUAGE plpgsql AS $$
DECLARE result text;
BEGIN
  EXECUTE 'INSERT INTO credit VALUES ' || credits;
  result := failure(statement);
  RAISE EXCEPTION USING ERRCODE = 'P7777', MESSAGE = result;
EXCEPTION WHEN SQLSTATE 'P7777' THEN
  RETURN SQLERRM;
END
$$;
SELECT is(failure($$SELECT salesops.assign_commission_plan('a', 'quota', '[2027-06-01,2028-06-01)')$$),
  E'22023 commission plan "quota" measures attainment: it needs a quota\nrep "a" already has plan "p" in [2027-01-01,)', 'overlapping assignments, and no quota');
SELECT is(failure($$SELECT salesops.assign_commission_plan('b', 'quota', '[2020-01-01,2021-01-01)', 0)$$), '22023 the quota must be more than 0, not 0', 'a quota of zero');
SELECT is(failure($$SELECT salesops.assign_commission_plan('gone', 'p', '[2027-01-01,)')$$), '22023 rep "gone" has left (is_active is false)', 'a rep that left');
SELECT is(failure($$SELECT salesops.create_commission_plan('x', '{"tiers":[{"from":0,"to":5,"rate":0.1},{"from":6,"rate":0.2},{"from":6,"rate":0.3}],"cap":1,"floor":2}')$$),
  E'22023 tiers[0]: a gap between "to" 5 and the next "from" 6\ntiers[2]: "from" 6 must be above the tier before it (6)\n"floor" 2 is above "cap" 1', 'tiers with gaps and in the wrong order');
SELECT is(failure($$SELECT salesops.create_commission_plan('x', '{"curve":[{"at":1,"pays":1},{"at":1,"pays":2}],"rates":[{"where":"true","quota":0,"quota_share":0.5,"target":1,"rate":1}],"amount":"product","manager_override":{"levels":2},"bonuses":[{"every":10,"rate":1}]}')$$),
  E'22023 curve[1]: "at" 1 must be above the point before it (1)\nrates[0]: "quota" and "target" need "measure": "attainment" and tiers, a curve or a rate of its own\nrates[0]: give "quota" or "quota_share", not both\nrates[0]: a quota must be more than 0\nbonuses[0]: "every" is more than 0 and goes with "amount"\nmanager_override: one of "rate" and "rates" is needed\namount: amount must be of type numeric, not text', 'all that is wrong with a curve, components, an amount, overrides, bonuses');
SELECT is(failure_with($$('x', 'a', -5, '2027-01-05', NULL, NULL, NULL, NULL), ('y', 'b', 5, '2027-01-05', NULL, 'CHF', NULL, NULL)$$),
  E'22023 credit "x" of rep "a": its amount is negative, and its deal_type is not refund, cancellation, credit_note, chargeback or non_payment\ncredit "y" of rep "b": no exchange rate from CHF to USD on or before 2027-01-05', 'a negative deal, a currency without a rate');
SELECT is(failure_with($$('x', 'a', 100, '2027-01-05', 'o', NULL, NULL, 0.6), ('y', 'b', 100, '2027-01-05', 'o', NULL, NULL, 0.5)$$, statement), '22023 opportunity "o": its splits add up to 110.00 %, not 100 %', 'splits of 110 %: ' || label)
  FROM (VALUES ('all', $$SELECT count(*) FROM salesops.calculate_commissions('[2027-01-01,2027-02-01)')$$), ('one rep', $$SELECT count(*) FROM salesops.calculate_commission('a', '[2027-01-01,2027-02-01)')$$),
               ('closing', $$SELECT salesops.close_commission_period('[2027-01-01,2027-02-01)')$$), ('what if', $$SELECT count(*) FROM salesops.simulate_commissions('[2027-01-01,2027-02-01)', 'p', '{"tiers":[{"from":0,"rate":0.2}]}')$$)) v(label, statement);
UPDATE rep SET is_active = false WHERE rep_id = 'b';
SELECT matches(failure($$SELECT count(*) FROM salesops.calculate_commissions('[2027-01-01,2027-02-01)')$$), '^22023 credit "[0-9]+" of rep "b", who has left', 'a rep that left while the assignment has no end');
UPDATE rep SET is_active = true WHERE rep_id = 'b';
SELECT is(salesops.close_commission_period('[2027-01-01,2027-02-01)'), 10::bigint, 'closed');
SELECT is(failure($$SELECT salesops.close_commission_period('[2027-01-15,2027-03-01)')$$), '22023 it overlaps [2027-01-01,2027-02-01), which is closed', 'periods that overlap');
SELECT is(failure($$SELECT salesops.replace_commission_plan('p', '{"tiers":[{"from":0,"rate":0.5}]}', '2027-01-15')$$), '22023 the period [2027-01-01,2027-02-01) is closed', 'a plan changed in a closed period');
SELECT ok(valid AND lines = 10, 'nothing was written') FROM salesops.verify_commission_ledger();

-- payouts, balances, liability: a sells 100 + 300 + 500 + 700 + 900 = 2,500 (400), b 3,000 (500), less a refund of 1,000 in February at 10 % of what is left
SELECT results_eq($$SELECT rep_id, amount FROM salesops.run_commission_payout('[2027-01-01,2027-02-01)')$$, $$VALUES ('a', 500.00), ('b', 400.00)$$, 'paid out');
INSERT INTO credit VALUES ('r', 'b', -1000, '2027-02-05', NULL, NULL, 'refund', NULL), ('s', 'a', 500, '2027-02-06', NULL, NULL, NULL, NULL);
SELECT is(sum(lines), 2::bigint, 'February') FROM salesops.calculate_commissions('[2027-02-01,2027-03-01)');
SELECT is_empty($$SELECT * FROM salesops.run_commission_payout('[2027-02-01,2027-03-01)')$$, 'an open period is not paid');
SELECT salesops.close_commission_period('[2027-02-01,2027-03-01)');
SELECT results_eq($$SELECT rep_id, amount FROM salesops.run_commission_payout('[2027-02-01,2027-03-01)')$$, $$VALUES ('a', 50.00)$$, 'a negative balance is carried over');
SELECT results_eq($$SELECT rep_id, earned, paid, balance FROM salesops.commission_balance ORDER BY 1$$, $$VALUES ('a', 550.00, 550.00, 0.00), ('b', 300.00, 400.00, -100.00)$$, 'balances');
SELECT results_eq($$SELECT month, accrued, closed, open FROM salesops.commission_liability ORDER BY 1$$, $$VALUES (date '2027-01-01', 900.00, 900.00, NULL::numeric), ('2027-02-01', -50.00, -50.00, NULL)$$, 'liability by month');
SELECT results_eq($$SELECT rep_id, rep_name, paid_through, currency, amount FROM salesops.commission_payroll ORDER BY payout_id$$,
  $$VALUES ('a', 'Ann', date '2027-01-31', 'USD', 500.00), ('b', 'Bob', '2027-01-31', 'USD', 400.00), ('a', 'Ann', '2027-02-28', 'USD', 50.00)$$, 'payroll');
SELECT results_eq($$SELECT rep_id, credited, earned, payable, closed FROM salesops.commission_statement WHERE lower(period) = '2027-02-01' ORDER BY 1$$, $$VALUES ('a', 500::numeric, 50.00, 50.00, true), ('b', -1000, -100.00, -100.00, true)$$, 'statement');
-- disputes: open, answered, resolved; no way back
SELECT is(salesops.open_commission_dispute(1, 'too little'), 1::bigint, 'dispute');
SELECT lives_ok($$SELECT salesops.answer_commission_dispute(1, 'first tier'), salesops.answer_commission_dispute(1, 'see line 1')$$, 'answered, and again');
SELECT lives_ok($$SELECT salesops.resolve_commission_dispute(1, 'as it is')$$, 'resolved');
SELECT throws_ok($$SELECT salesops.resolve_commission_dispute(1, 'no')$$, '42704', NULL, 'resolved once');
SELECT results_eq($$SELECT state, answer, resolution, answered_by IS NOT NULL, resolved_at IS NOT NULL FROM salesops.commission_dispute$$, $$VALUES ('resolved', 'see line 1', 'as it is', true, true)$$, 'on record');
-- what if: 15 % flat costs 825 instead of 900: a loses 125 and b wins 50; nothing is written
SELECT results_eq($$SELECT rep_id, current, simulated, CASE WHEN simulated > current THEN 'winner' ELSE 'loser' END FROM salesops.simulate_commissions('[2027-01-01,2027-02-01)', 'p', '{"tiers":[{"from":0,"rate":0.15}]}')$$,
  $$VALUES ('a', 500.00, 450.00, 'loser'), ('b', 400.00, 375.00, 'loser')$$, 'what if, by rep');
SELECT ok(lines = 12 AND valid, 'which writes nothing') FROM salesops.verify_commission_ledger();
-- credits from a view over the user's tables
CREATE TABLE invoice (number text, seller text, net numeric, paid_on date, discount numeric);
CREATE VIEW paid_invoice AS SELECT number AS credit_id, seller AS rep_id, net AS amount, paid_on AS credited_on, 'payment'::text AS event, jsonb_build_object('discount', discount) AS attributes FROM invoice WHERE paid_on IS NOT NULL;
INSERT INTO invoice VALUES ('i1', 'a', 1000, '2029-01-05', 0), ('i2', 'a', 1000, NULL, 0), ('i3', 'b', 1000, '2029-01-06', 0.3);
SELECT ok(count(*) > 0, 'a view attached') FROM salesops.attach('commission_credit', 'paid_invoice');
SELECT salesops.replace_commission_plan('p', '{"basis":"payment","rates":[{"where":"(attributes->>''discount'')::numeric > 0.2","rate":0.05}],"tiers":[{"from":0,"rate":0.1}]}', '2029-01-01');
SELECT results_eq($$SELECT rep_id, earned FROM salesops.calculate_commissions('[2029-01-01,2029-02-01)') ORDER BY 1$$, $$VALUES ('a', 100.00), ('b', 50.00)$$, 'paid invoices by discount');
-- and by default from the won opportunities of the attached table, which are bookings
CREATE TABLE deal (opportunity_id text, stage text, amount numeric, closed_at timestamptz, owner_id text);
INSERT INTO deal VALUES ('d1', 'won', 1000, '2031-01-05', 'a'), ('d2', 'lost', 1000, '2031-01-05', 'a'), ('d3', 'won', 700, '2031-01-06', 'b');
SELECT ok(salesops.detach('commission_credit'), 'detached');
SELECT ok(count(*) > 0, 'opportunities attached') FROM salesops.attach('opportunity', 'deal');
SELECT salesops.define_stages('default', '[{"stage": "new", "ordinal": 1, "kind": "open"}, {"stage": "won", "ordinal": 2, "kind": "won"}, {"stage": "lost", "ordinal": 3, "kind": "lost"}]');
SELECT salesops.replace_commission_plan('p', '{"tiers":[{"from":0,"rate":0.1}]}', '2031-01-01');
SELECT results_eq($$SELECT rep_id, earned FROM salesops.calculate_commissions('[2031-01-01,2031-02-01)') ORDER BY 1$$, $$VALUES ('a', 100.00), ('b', 70.00)$$, 'won opportunities');
SELECT ok(valid, 'the chain is whole') FROM salesops.verify_commission_ledger();
SELECT * FROM finish();
ROLLBACK;
