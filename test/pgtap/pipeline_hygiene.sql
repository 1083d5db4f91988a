-- Hygiene rule by rule: for each one a deal that has the finding and one just short of it; every finding names deal, rule, what was
-- found and the fix; scores, acting on findings and taking it back, the trend of each rule and of the pipeline's quality
BEGIN;
SELECT no_plan();
SET client_min_messages = warning;
SET timezone = 'UTC';
SELECT salesops.define_stages('default', '[{"stage": "new"}, {"stage": "proposal"}, {"stage": "contract", "max_days": 5}, {"stage": "won", "kind": "won"}, {"stage": "lost", "kind": "lost"}]') \g /dev/null
CREATE TABLE deal (id text PRIMARY KEY, stage text DEFAULT 'new', amount numeric DEFAULT 10, due date DEFAULT current_date + 90, owner text DEFAULT 'ann', account text, name text,
	next_step text DEFAULT 'call', category text, probability float8, created_at timestamptz DEFAULT now() - interval '1 day', closed_at timestamptz);
CREATE TABLE log (deal text, stage text, at timestamptz, amount numeric, due date);
CREATE TABLE call (id int, deal text, at timestamptz, kind text DEFAULT 'call');
SELECT count(*) FROM salesops.attach('opportunity', 'deal', '{"opportunity_id": "id", "close_date": "due", "owner_id": "owner", "account_id": "account", "forecast_category": "category"}') \g /dev/null
SELECT count(*) FROM salesops.attach('opportunity_stage_change', 'log', '{"opportunity_id": "deal", "entered_at": "at", "close_date": "due"}') \g /dev/null
SELECT count(*) FROM salesops.attach('activity', 'call', '{"activity_id": "id", "opportunity_id": "deal", "occurred_at": "at"}') \g /dev/null
-- each deal is an account and a name of its own, touched today, unless it is said otherwise
CREATE FUNCTION by_default() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	IF new.account IS NULL THEN new.account := 'account of ' || new.id; END IF;
	IF new.name IS NULL THEN new.name := 'deal ' || new.id; END IF;
	RETURN new;
END $$;
CREATE TRIGGER by_default BEFORE INSERT ON deal FOR EACH ROW EXECUTE FUNCTION by_default();
-- stays of other deals: 'new' usually takes 10 days, 'proposal' 40
INSERT INTO deal (id, stage, closed_at) SELECT stage || i, 'lost', now() - interval '100 days' FROM unnest('{new,proposal}'::text[]) stage, generate_series(1, 12) i;
INSERT INTO log SELECT stage || i, stage, now() - interval '100 days' - days * interval '1 day', 10 FROM (VALUES ('new', 10), ('proposal', 40)) v (stage, days), generate_series(1, 12) i;
INSERT INTO log SELECT stage || i, 'lost', now() - interval '100 days', 10 FROM unnest('{new,proposal}'::text[]) stage, generate_series(1, 12) i;

CREATE TABLE wanted (id text, rule text);
INSERT INTO deal (id, amount) VALUES ('amount', NULL), ('amount 0', 0), ('amount ok', 0.01);
INSERT INTO wanted VALUES ('amount', 'missing_amount'), ('amount 0', 'missing_amount');
INSERT INTO deal (id, due) VALUES ('due', NULL), ('past', (now() - interval '1 day')::date), ('past ok', now()::date);
INSERT INTO wanted VALUES ('due', 'missing_close_date'), ('past', 'past_close_date');
INSERT INTO deal (id, owner) VALUES ('owner', NULL), ('owner empty', '');
INSERT INTO wanted VALUES ('owner', 'missing_owner'), ('owner empty', 'missing_owner');
INSERT INTO deal (id, account) VALUES ('account', '');
INSERT INTO wanted VALUES ('account', 'missing_account');
INSERT INTO deal (id, name) VALUES ('name', ' ');
INSERT INTO wanted VALUES ('name', 'missing_name');
INSERT INTO deal (id, next_step) VALUES ('step', NULL), ('step blank', '  ');
INSERT INTO wanted VALUES ('step', 'no_next_step'), ('step blank', 'no_next_step');
-- stale by the stage's own usual duration: 20 days are too long in new, not in proposal; contract has a limit of its own
INSERT INTO deal (id, stage) VALUES ('stale', 'new'), ('stale ok', 'proposal'), ('stale 50', 'proposal'), ('limit', 'contract'), ('limit ok', 'contract');
INSERT INTO log VALUES ('stale', 'new', now() - interval '20 days', 10), ('stale ok', 'proposal', now() - interval '20 days', 10), ('stale 50', 'proposal', now() - interval '50 days', 10),
	('limit', 'contract', now() - interval '6 days', 10), ('limit ok', 'contract', now() - interval '4 days', 10);
INSERT INTO wanted VALUES ('stale', 'stale'), ('stale 50', 'stale'), ('limit', 'stale');
-- pushed out three times, twice; pulled in does not count
INSERT INTO deal (id) VALUES ('pushed'), ('pushed ok');
INSERT INTO log SELECT d, 'new', now() - interval '5 days' + n * interval '1 day', 10, current_date + 30 + out FROM (VALUES ('pushed', 0, 0), ('pushed', 1, 10), ('pushed', 2, 20), ('pushed', 3, 30),
	('pushed ok', 0, 0), ('pushed ok', 1, 10), ('pushed ok', 2, 5), ('pushed ok', 3, 20)) v (d, n, out);
INSERT INTO wanted VALUES ('pushed', 'pushed');
INSERT INTO deal (id, created_at) VALUES ('quiet', now() - interval '40 days'), ('silent', now() - interval '31 days'), ('quiet ok', now() - interval '40 days'), ('young ok', now() - interval '29 days');
INSERT INTO log SELECT id, 'new', now() - interval '2 days', 10 FROM deal WHERE id IN ('quiet', 'silent', 'quiet ok', 'young ok');
INSERT INTO call VALUES (1, 'quiet', now() - interval '31 days'), (2, 'quiet ok', now() - interval '29 days');
INSERT INTO wanted VALUES ('quiet', 'no_activity'), ('silent', 'no_activity');
-- the amount changed by half, by a tenth, shortly before the close date; by half long before it
INSERT INTO deal (id) VALUES ('late'), ('late ok'), ('early ok');
INSERT INTO log VALUES ('late', 'new', now() - interval '3 days', 10, current_date + 5), ('late', 'new', now() - interval '2 days', 15, current_date + 5),
	('late ok', 'new', now() - interval '3 days', 10, current_date + 5), ('late ok', 'new', now() - interval '2 days', 11, current_date + 5),
	('early ok', 'new', now() - interval '3 days', 10, current_date + 50), ('early ok', 'new', now() - interval '2 days', 15, current_date + 50);
INSERT INTO wanted VALUES ('late', 'amount_changed_late');
INSERT INTO deal (id, category, probability) VALUES ('commit', 'Commit', 0.2), ('commit ok', 'commit', 0.8), ('closed', 'closed', 0.9), ('omitted', 'omitted', 0.6), ('omitted ok', 'omitted', 0.1);
INSERT INTO wanted VALUES ('commit', 'category_at_odds'), ('closed', 'category_at_odds'), ('omitted', 'category_at_odds');
INSERT INTO deal (id, stage) VALUES ('unknown', 'Proposal'), ('no stage', NULL);
INSERT INTO wanted VALUES ('unknown', 'unknown_stage'), ('no stage', 'unknown_stage');
INSERT INTO deal (id, account, name, amount) VALUES ('twin 1', 'a', 'Big deal', 1), ('twin 2', 'a', ' big DEAL ', 2), ('twin ok', 'b', 'Big deal', 1), ('priced 1', 'c', 'x', 7), ('priced 2', 'c', 'y', 7.00);
INSERT INTO wanted VALUES ('twin 1', 'duplicate'), ('twin 2', 'duplicate'), ('priced 1', 'duplicate'), ('priced 2', 'duplicate');
INSERT INTO deal (id) VALUES ('clean ok');

SELECT set_eq('SELECT opportunity_id, rule FROM salesops.pipeline_hygiene', 'SELECT id, rule FROM wanted', 'each rule finds its deals and no other');
SELECT is((SELECT count(DISTINCT rule) FROM wanted), (SELECT count(*) FROM salesops.hygiene_rule), 'all rules are tried');
SELECT is_empty($$ SELECT * FROM salesops.pipeline_hygiene WHERE finding IS NULL OR finding = '' OR fix IS NULL OR fix = '' OR points IS NULL OR stage IS DISTINCT FROM (SELECT d.stage FROM deal d WHERE d.id = opportunity_id) $$,
	'every finding says what was found and how to fix it');
SELECT set_eq($$ SELECT opportunity_id, finding FROM salesops.pipeline_hygiene WHERE rule = 'stale' $$,
	$$ VALUES ('stale', '20 days in new, usual are up to 10'), ('stale 50', '50 days in proposal, usual are up to 40'), ('limit', '6 days in contract, usual are up to 5') $$, 'stale by the stage''s own duration');
SELECT is((SELECT array_agg(opportunity_id ORDER BY opportunity_id) FROM salesops.opportunity_hygiene WHERE findings = 0), (SELECT array_agg(id ORDER BY id) FROM deal WHERE id LIKE '% ok'), 'the others have none');
SELECT results_eq($$ SELECT score, findings, rules FROM salesops.opportunity_hygiene WHERE opportunity_id IN ('past', 'clean ok') ORDER BY 1 $$,
	$$ VALUES (75::bigint, 1::bigint, '{past_close_date}'::text[]), (100, 0, NULL) $$, 'a score for each deal');
SELECT results_eq('SELECT open_deals, clean_deals, findings, quality FROM salesops.pipeline_quality_at(now())',
	$$ SELECT count(*), count(*) FILTER (WHERE id LIKE '% ok'), (SELECT count(*) FROM wanted), (count(*) FILTER (WHERE id LIKE '% ok'))::float8 / count(*) FROM deal WHERE stage IS DISTINCT FROM 'lost' $$,
	'the share of open deals without a finding');
SELECT salesops.set_hygiene_rule('no_activity', threshold => 28) \g /dev/null
SELECT set_eq($$ SELECT opportunity_id FROM salesops.pipeline_hygiene WHERE rule = 'no_activity' $$, $$ VALUES ('quiet'), ('silent'), ('quiet ok'), ('young ok') $$, 'thresholds can be set');
SELECT salesops.set_hygiene_rule('no_activity') \g /dev/null

-- acting: dry by default, flagged, closed, recorded, taken back
CREATE TABLE proposed AS SELECT * FROM salesops.apply_hygiene('{"stale": "close", "pushed": "flag"}');
SELECT set_eq('SELECT opportunity_id, rule, action, column_name, old_value, new_value, done FROM proposed',
	$$ VALUES ('stale', 'stale', 'close', 'stage', 'new', 'lost', false), ('stale 50', 'stale', 'close', 'stage', 'proposal', 'lost', false), ('limit', 'stale', 'close', 'stage', 'contract', 'lost', false),
	   ('pushed', 'pushed', 'flag', NULL, NULL, NULL, false) $$, 'it says what it would do');
SELECT is((SELECT count(*) FROM deal WHERE stage = 'lost') + (SELECT count(*) FROM salesops.hygiene_action), 24::bigint, 'and does nothing');
CREATE TABLE applied AS SELECT * FROM salesops.apply_hygiene('{"stale": "close", "pushed": "flag"}', dry_run => false);
SELECT set_eq($$ SELECT id FROM deal WHERE stage = 'lost' AND id !~ '[0-9]$' OR id = 'stale 50' AND stage = 'lost' $$, $$ VALUES ('stale'), ('stale 50'), ('limit') $$, 'stale deals are closed');
SELECT is((SELECT count(*) FROM salesops.hygiene_action WHERE done_by = CURRENT_USER AND action IN ('close', 'flag') AND reverted_at IS NULL), 4::bigint, 'recorded');
SELECT is((SELECT salesops.revert_hygiene(run_id) FROM applied LIMIT 1), 4::bigint, 'taken back');
SELECT results_eq($$ SELECT id, stage FROM deal WHERE id IN ('stale', 'stale 50', 'limit') ORDER BY 1 $$, $$ VALUES ('limit', 'contract'), ('stale', 'new'), ('stale 50', 'proposal') $$, 'as it was');

-- the trend: two snapshots in other weeks, what is found in between, what is gone
INSERT INTO salesops.hygiene_snapshot VALUES (now() - interval '14 days', 10, 4, 3, 90);
INSERT INTO salesops.hygiene_finding VALUES ('amount', 'missing_amount', now() - interval '14 days', now() - interval '7 days', NULL),
	('amount ok', 'missing_amount', now() - interval '14 days', now() - interval '7 days', NULL), ('gone', 'stale', now() - interval '14 days', now() - interval '8 days', now() - interval '7 days');
SELECT salesops.take_hygiene_snapshot() \g /dev/null
SELECT results_eq($$ SELECT found, resolved, open_findings, change FROM salesops.hygiene_trend WHERE rule = 'missing_amount' ORDER BY week $$,
	'VALUES (2::bigint, 0::bigint, 2::bigint, NULL::bigint), (0, 0, 2, 0), (1, 1, 2, 0)', 'found, resolved and open, week by week');
SELECT results_eq($$ SELECT found, resolved, open_findings, change FROM salesops.hygiene_trend WHERE rule = 'stale' ORDER BY week $$,
	'VALUES (1::bigint, 0::bigint, 1::bigint, NULL::bigint), (0, 1, 0, -1), (3, 0, 3, 3)', 'and of a rule whose deals have gone');
SELECT results_eq($$ SELECT opportunity_id, is_new FROM salesops.pipeline_hygiene WHERE rule = 'missing_amount' ORDER BY 1 $$, $$ VALUES ('amount', false), ('amount 0', true) $$, 'what is new this week');
SELECT results_eq('SELECT open_deals, clean_deals FROM salesops.pipeline_quality ORDER BY measured_at LIMIT 1', 'VALUES (10::bigint, 4::bigint)', 'the history of quality');
SELECT * FROM finish();
ROLLBACK;
