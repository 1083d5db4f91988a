# A subscriber of logical replication that tracks stage changes: what is applied there, the first copy included, is written once;
# criteria are not asked again unless their triggers are enabled for it. One server, two databases.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 'logical');
$node->start;
my $table = q{CREATE TABLE deal (id int PRIMARY KEY, stage text, amount numeric);
	CREATE TABLE part (id int, stage text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
	CREATE TABLE part_a PARTITION OF part FOR VALUES FROM (0) TO (10);
	CREATE TABLE part_b PARTITION OF part FOR VALUES FROM (10) TO (20);};
for my $db ('publisher', 'subscriber')
{
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql($db, $table);
}
$node->safe_psql('publisher', q{INSERT INTO deal VALUES (1, 'new', 1); CREATE PUBLICATION p FOR TABLE deal, part WITH (publish_via_partition_root = true)});
$node->safe_psql('publisher', q{SELECT pg_create_logical_replication_slot('s', 'pgoutput')});
$node->safe_psql(
	'subscriber', q{
	CREATE EXTENSION salesops;
	SELECT salesops.define_stages('default', '[{"stage": "new"}, {"stage": "proposal"}, {"stage": "won", "kind": "won"}]');
	SELECT salesops.track_stage_changes('deal', replicated => true), salesops.track_stage_changes('part', replicated => true);
	SELECT salesops.add_criterion('deal', 'proposal', 'amount', 'amount > 0');
	SELECT salesops.enforce_stage_criteria('deal');
});
my $connection = $node->connstr('publisher') =~ s/'/''/gr;
$node->safe_psql('subscriber', "CREATE SUBSCRIPTION s CONNECTION '$connection' PUBLICATION p WITH (create_slot = false, slot_name = 's')");
ok($node->poll_query_until('subscriber', q{SELECT count(*) = 2 AND bool_and(srsubstate = 'r') FROM pg_subscription_rel}), 'the first copy is there');
$node->safe_psql(
	'publisher', q{
	INSERT INTO deal VALUES (2, 'new', -1), (3, 'new', 3);
	UPDATE deal SET stage = 'proposal' WHERE id IN (1, 2);
	UPDATE deal SET amount = 5 WHERE id = 3;
	DELETE FROM deal WHERE id = 3;
	INSERT INTO part VALUES (1, 'new');
	UPDATE part SET stage = 'proposal' WHERE id = 1;
	TRUNCATE deal;
	INSERT INTO deal VALUES (9, 'won', 9);
});
ok($node->poll_query_until('subscriber', q{SELECT count(*) = 1 FROM salesops.tracked_stage_change WHERE opportunity_id = '9'}), 'changes arrive');
is( $node->safe_psql('subscriber', q{SELECT string_agg(concat_ws(' ', relation, opportunity_id, coalesce(previous_stage, '-'), coalesce(stage, '-'), amount), chr(10) ORDER BY relation::text, opportunity_id, change_id)
	FROM salesops.tracked_stage_change}),
	join("\n", 'deal 1 - new 1', 'deal 1 new proposal 1', 'deal 1 proposal -', 'deal 2 - new -1', 'deal 2 new proposal -1', 'deal 2 proposal -',
		'deal 3 - new 3', 'deal 3 new new 5', 'deal 3 new -', 'deal 9 - won 9', 'part 1 - new', 'part 1 new proposal'),
	'each once, the criterion not asked again');
$node->safe_psql('subscriber', 'DROP SUBSCRIPTION s');
$node->stop;
done_testing();
