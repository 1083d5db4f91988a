# Models over time: other sessions see a new version at commit and not before, a model survives dump and restore with the same
# predictions, a training can be cancelled, and the progress of one is seen.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE one');
$node->safe_psql('postgres', 'CREATE DATABASE two');
$node->safe_psql('one', q{
	CREATE EXTENSION salesops;
	CREATE TABLE t AS SELECT i AS id, (i * 7919 % 1000) / 1000.0::float8 AS a, (ARRAY['x','y','z'])[1 + i % 3] AS b,
		(i * 104729::bigint % 997) / 997.0 < 0.2 + 0.2 * (i % 3) AS y FROM generate_series(1, 4000) i;
	SELECT salesops.train_model('m', 'SELECT a, b, y FROM t', 'y', 'logistic');
});

# a session that holds the model in its cache
my $other = $node->background_psql('one');
my $predict = q{SELECT round(salesops.predict('m', t)::numeric, 6) FROM t WHERE id = 1;};
my $first = $other->query_safe($predict);
my $writer = $node->background_psql('one');
$writer->query_safe('BEGIN;');
$writer->query_safe(q{SELECT salesops.train_model('m', 'SELECT b, y FROM t WHERE id < 2000', 'y', 'boosted_trees');});
is($other->query_safe($predict), $first, 'a version not committed predicts in its own session only');
isnt($writer->query_safe($predict), $first, 'where it does');
$writer->query_safe('COMMIT;');
my $second = $other->query_safe($predict);
isnt($second, $first, 'once committed it predicts in the other session as well');
$node->safe_psql('one', q{SELECT salesops.activate_model('m', 1)});
is($other->query_safe($predict), $first, 'and the old one, once it is active again');
$node->safe_psql('one', q{SELECT salesops.activate_model('m', 2)});
$other->quit;
$writer->quit;

# dump and restore
my $checksum = q{SELECT sum(salesops.predict('m', t)) || ' ' || (SELECT count(*) FROM salesops.model) FROM t};
my $before = $node->safe_psql('one', $checksum);
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, $node->connstr('one') ], 'dump');
$node->command_ok([ 'pg_restore', '-d', $node->connstr('two'), $dump ], 'restore');
is($node->safe_psql('two', $checksum), $before, 'the restored model predicts the same');

# cancel
my ($rc, $out, $err) = $node->psql('one', q{
	CREATE TABLE wide AS SELECT t.*, random() c, random() d, random() e, random() f FROM t, generate_series(1, 10);
	SET statement_timeout = '300ms';
	SELECT salesops.train_model('slow', 'SELECT * FROM wide', 'y', 'boosted_trees', 'id', '{"rounds": 5000, "depth": 10}');
});
like($err, qr/canceling statement due to statement timeout/, 'a training can be cancelled');
is($node->safe_psql('one', q{SELECT count(*) FROM salesops.model WHERE name = 'slow'}), '0', 'and leaves nothing behind');
is($node->safe_psql('one', q{SELECT count(*) FROM salesops.progress}), '0', 'nor a progress entry');

# seen while it runs, round by round
my $busy = $node->background_psql('one', on_error_stop => 0);
$busy->query_until(qr/begun/, "\\echo begun\n"
	. q{SELECT salesops.train_model('slow', 'SELECT * FROM wide', 'y', 'boosted_trees', 'id', '{"rounds": 10000, "depth": 8, "validation": "none"}');} . "\n");
ok($node->poll_query_until('one', q{SELECT count(*) = 1 FROM salesops.progress
	WHERE command = 'train_model' AND target = 'slow' AND phase = 'fitting trees' AND done > 2 AND total = 10000}), 'the rounds of a training are seen');
$node->safe_psql('one', 'SELECT pg_cancel_backend(pid) FROM salesops.progress');
ok($node->poll_query_until('one', 'SELECT count(*) = 0 FROM salesops.progress'), 'and it can be cancelled between them');
$busy->quit;

# DROP EXTENSION forgets the cache, a new one starts afresh
my $session = $node->background_psql('one', on_error_stop => 0);
$session->query($predict);
$session->query_safe('DROP EXTENSION salesops;');
$session->query_safe('CREATE EXTENSION salesops;');
$session->query($predict);
like($session->{stderr}, qr/model "m" does not exist/, 'a new extension has no old models');
$session->quit;
$node->stop;
done_testing();
