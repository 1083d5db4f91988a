# Criteria, versions, bypasses, tracking and history survive pg_dump | psql and pg_restore -j2: nothing is made twice, all is
# enforced, renames after the restore are followed, and the next ids do not collide.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE source; CREATE DATABASE plain; CREATE DATABASE parallel');
$node->safe_psql(
	'source', q{
	CREATE EXTENSION salesops;
	CREATE SCHEMA app;
	CREATE TABLE app.deal (gone int, id bigint PRIMARY KEY, stage text, amount numeric, parts int, owner text);
	CREATE TABLE app.line (deal_id bigint);
	ALTER TABLE app.deal DROP COLUMN gone;
	SELECT salesops.define_stages('default', '[{"stage": "new", "back": false}, {"stage": "proposal", "probability": 0.4}, {"stage": "won", "kind": "won"}]');
	SELECT count(*) FROM salesops.attach('opportunity', 'app.deal', '{"opportunity_id": "id"}');
	SELECT salesops.track_stage_changes('app.deal');
	SELECT salesops.add_criterion('app.deal', 'proposal', 'has_amount', 'amount > 0', 'an amount is needed');
	SELECT salesops.add_criterion('app.deal', 'proposal', 'share', 'amount / parts > 1');
	SELECT salesops.add_criterion('app.deal', 'won', 'has_line', 'EXISTS (SELECT FROM app.line l WHERE l.deal_id = deal.id)');
	SELECT salesops.add_criterion('app.deal', 'proposal', 'owner', 'owner IS NOT NULL', action => 'record');
	SELECT salesops.enforce_stage_criteria('app.deal');
	SELECT salesops.bypass_criteria('app.deal', 'old paper', now() + interval '1 day', row_key => '7');
	SELECT salesops.set_hygiene_rule('pushed', 7);
	CREATE TABLE app.part (id int PRIMARY KEY, stage text) PARTITION BY RANGE (id);
	CREATE TABLE app.part_a PARTITION OF app.part FOR VALUES FROM (0) TO (10);
	CREATE TABLE app.part_b PARTITION OF app.part FOR VALUES FROM (10) TO (20);
	SELECT salesops.track_stage_changes('app.part', replicated => true);
	INSERT INTO app.part VALUES (1, 'new'), (11, 'new');
	INSERT INTO app.deal VALUES (1, 'new', 10, 2), (2, 'proposal', 20, 2);
	UPDATE app.deal SET stage = 'proposal' WHERE id = 1;
	ALTER TABLE app.deal RENAME COLUMN amount TO worth;
	CREATE SCHEMA "We ird";
	CREATE TABLE "We ird"."De""al" (id int PRIMARY KEY, "St age" text, "Am""ount" numeric);
	CREATE TABLE "We ird"."li ne" ("de al" int, other int);
	SELECT salesops.add_criterion('"We ird"."De""al"', 'proposal', 'odd "name"', '"Am""ount" > 0', 'it''s "missing"');
	SELECT salesops.add_criterion('"We ird"."De""al"', 'won', 'odd query', 'EXISTS (SELECT FROM "We ird"."li ne" l WHERE l."de al" = "De""al".id)');
	SELECT salesops.enforce_stage_criteria('"We ird"."De""al"', 'St age');
	SELECT salesops.bypass_criteria('"We ird"."De""al"', 'old paper', now() + interval '1 day', row_key => '7');
});

my %questions = (
	'stages' => q{SELECT string_agg(s::text, chr(10) ORDER BY ordinal) FROM salesops.stage s},
	'criteria' => q{SELECT string_agg(concat_ws('|', criterion_id, relation, criterion, version, stage, expression, message, action, effective_from), chr(10) ORDER BY criterion_id) FROM salesops.criterion},
	'relation' => q{SELECT string_agg(relation || stage_column || enforced, chr(10) ORDER BY relation::text) FROM salesops.criteria_relation},
	'triggers' => q{SELECT string_agg(pg_get_triggerdef(oid), chr(10) ORDER BY tgname) FROM pg_trigger WHERE tgrelid = 'app.deal'::regclass},
	'history' => q{SELECT string_agg(concat_ws('|', opportunity_id, stage, previous_stage, entered_at, amount), chr(10) ORDER BY change_id) FROM salesops.tracked_stage_change},
	'spells' => q{SELECT count(*) FROM salesops.stage_history},
	'violations' => q{SELECT string_agg(concat_ws('|', row_key, criterion, outcome), chr(10) ORDER BY violation_id) FROM salesops.criterion_violation},
	'bypasses' => q{SELECT string_agg(concat_ws('|', relation, row_key, reason, expires_at), chr(10) ORDER BY bypass_id) FROM salesops.criterion_bypass},
	'triggers of partitions' => q{SELECT string_agg(pg_get_triggerdef(oid) || ' ' || tgenabled::text, chr(10) ORDER BY tgrelid::regclass::text, tgname) FROM pg_trigger WHERE tgrelid::regclass::text ~ 'app.part'},
	'odd triggers' => q{SELECT string_agg(pg_get_triggerdef(oid), chr(10) ORDER BY tgname) FROM pg_trigger WHERE tgrelid = '"We ird"."De""al"'::regclass},
	'rules' => q{SELECT points FROM salesops.hygiene_rule WHERE rule = 'pushed'},
	'trees' => q{SELECT count(*) FROM salesops.criterion_tree});
my %answers = map { $_ => $node->safe_psql('source', $questions{$_}) } keys %questions;
is($answers{trees}, '6', 'six criteria have trees');
is($answers{spells}, '3', 'history is there: two for the deal that moved, one for the other');
is(scalar(() = $answers{'triggers of partitions'} =~ /history_partition .* ON app.part_[ab] .*A$/mg), 2, 'each partition has a trigger of its own');

mkdir $node->backup_dir;
my $dump = $node->backup_dir . '/plain.sql';
my $archive = $node->backup_dir . '/archive';
$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('source') ], 'pg_dump');
$node->command_ok([ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr('plain') ], 'psql restores');
$node->command_ok([ 'pg_dump', '-Fd', '-f', $archive, $node->connstr('source') ], 'pg_dump -Fd');
$node->command_ok([ 'pg_restore', '-j2', '--exit-on-error', '-d', $node->connstr('parallel'), $archive ], 'pg_restore -j2');

for my $db ('plain', 'parallel')
{
	is($node->safe_psql($db, $questions{$_}), $answers{$_}, "$db: same $_") for sort keys %questions;
	my ($rc, $out, $err) = $node->psql($db, q{INSERT INTO app.deal VALUES (20, 'proposal', -5, 1)});
	like($err, qr/has_amount: .*an amount is needed/, "$db: enforced, and the message is there");
	($rc, $out, $err) = $node->psql($db, q{INSERT INTO app.deal VALUES (20, 'proposal', 5, 0)});
	like($err, qr/division by zero.*criterion "share"/s, "$db: a failing criterion is named");
	($rc, $out, $err) = $node->psql($db, q{UPDATE app.deal SET stage = 'won' WHERE id = 1});
	like($err, qr/has_line/, "$db: a criterion with a subquery holds");
	($rc, $out, $err) = $node->psql($db, q{UPDATE app.deal SET stage = 'new' WHERE id = 1});
	like($err, qr/may not go back/, "$db: moves hold");
	is($node->safe_psql($db, q{INSERT INTO app.deal VALUES (7, 'proposal', -5, 1) RETURNING id}), '7', "$db: the bypass holds");
	$node->safe_psql($db, 'ALTER TABLE app.deal RENAME COLUMN worth TO value; ALTER TABLE app.deal RENAME COLUMN stage TO phase');
	($rc, $out, $err) = $node->psql($db, q{INSERT INTO app.deal VALUES (20, 'proposal', -5, 1)});
	like($err, qr/has_amount: \(value > /, "$db: a rename after the restore is followed");
	is($node->safe_psql($db, q{SELECT stage_column FROM salesops.criteria_relation WHERE relation = 'app.deal'::regclass}), 'phase', "$db: so is the stage column's");
	($rc, $out, $err) = $node->psql($db, q{INSERT INTO "We ird"."De""al" VALUES (1, 'proposal', -5)});
	like($err, qr/row of "We ird"\."De""al" .*odd "name": \("Am""ount" > .*it's "missing"/s, "$db: odd names hold");
	($rc, $out, $err) = $node->psql($db, q{INSERT INTO "We ird"."De""al" VALUES (1, 'won', 5)});
	like($err, qr/odd query: /, "$db: with a subquery too");
	is($node->safe_psql($db, q{INSERT INTO "We ird"."De""al" VALUES (7, 'won', 5) RETURNING id}), '7', "$db: and their bypass");
	($rc, $out, $err) = $node->psql($db, q{ALTER TABLE "We ird"."li ne" DROP COLUMN "de al"});
	like($err, qr/trigger zz_salesops_criteria_query on table .* depends on column de al/, "$db: what a subquery reads is minded");
	is($node->safe_psql($db, q{ALTER TABLE "We ird"."li ne" DROP COLUMN other}), '', "$db: and nothing else");
	is($node->safe_psql($db, q{SELECT salesops.add_criterion('app.deal', 'new', 'later', 'true') > 6}), 't', "$db: ids go on");
	is($node->safe_psql($db, q{TRUNCATE app.part_a; CREATE TABLE app.part_c PARTITION OF app.part FOR VALUES FROM (20) TO (30); INSERT INTO app.part VALUES (21, 'new'); TRUNCATE app.part_c;
		SELECT string_agg(opportunity_id, ' ' ORDER BY change_id) FROM salesops.tracked_stage_change WHERE relation = 'app.part'::regclass AND stage IS NULL}), '1 21', "$db: partitions are minded");
	is($node->safe_psql($db, q{INSERT INTO app.deal VALUES (8, 'new', 1, 1); SELECT count(*) FROM salesops.tracked_stage_change WHERE opportunity_id = '8'}), '1', "$db: tracked once");
}

# the extension goes, the user's table and rows stay; then it comes back
$node->safe_psql('plain', 'SET client_min_messages = warning; DROP EXTENSION salesops CASCADE');
is($node->safe_psql('plain', q{SELECT count(*) FROM pg_trigger WHERE tgrelid = 'app.deal'::regclass}), '0', 'DROP EXTENSION takes its triggers along');
is($node->safe_psql('plain', q{INSERT INTO app.deal VALUES (21, 'proposal', -5, 1); SELECT count(*) FROM app.deal}), '5', 'and leaves the rows');
$node->safe_psql('plain', 'BEGIN; CREATE EXTENSION salesops; ROLLBACK; CREATE EXTENSION salesops');
is($node->safe_psql('plain', q{SELECT count(*) FROM salesops.criterion}), '0', 'a new extension knows nothing of the old');

$node->stop;
done_testing();
