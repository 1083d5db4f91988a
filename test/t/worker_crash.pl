# kill -9 of the whole server, of the worker, and of the process that runs a job, at random points while a job writes one row a
# run: runs recorded as succeeded = rows written, the job goes on, nothing stays 'running'. SALESOPS_KILLS scales it
# (3 here; the soak of 50 is SALESOPS_KILLS=50).
use strict;
use warnings;
BEGIN { $ENV{PG_TEST_TIMEOUT_DEFAULT} ||= 60 }
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $kills = $ENV{SALESOPS_KILLS} || 3;
my $node = PostgreSQL::Test::Cluster->new('crash');
$node->init;
$node->append_conf('postgresql.conf', "fsync = on\nrestart_after_crash = on\nlog_min_messages = log");
$node->start;
$node->safe_psql('postgres', q{
	CREATE DATABASE shop;
});
$node->safe_psql('shop', q{
	CREATE EXTENSION salesops;
	CREATE TABLE mark (at timestamptz DEFAULT clock_timestamp());
	SELECT salesops.create_job('tick', 'every 1 second', 'INSERT INTO mark DEFAULT VALUES');
	SELECT salesops.create_job('slow', 'every 1 second', 'SELECT pg_sleep(0.3)', '{"retry_delay": "0.1 second"}');
});

sub rows { return $node->safe_psql('shop', 'SELECT count(*) FROM mark'); }

sub grows
{
	my ($name) = @_;
	my $before = rows();
	ok($node->poll_query_until('shop', "SELECT count(*) > $before FROM mark"), $name);
	return;
}

grows('the job runs, the server was not even told');
for my $i (1 .. $kills)
{
	usleep(300_000 + int(rand(1_200_000)));
	if ($i % 2)
	{
		my $postmaster = $node->{_pid};
		my @children = split /\n/, `pgrep -P $postmaster`;
		$node->kill9;
		kill 'KILL', @children;
		# until they are gone and reaped
		for (1 .. 200)
		{
			last unless grep { kill 0, $_ } $postmaster, @children;
			usleep(50_000);
		}
		unlink $node->data_dir . '/postmaster.pid';
		$node->start;
	}
	else
	{
		my $victim = $node->safe_psql('shop',
			q{SELECT pid FROM pg_stat_activity WHERE backend_type IN ('salesops worker', 'salesops job') ORDER BY random() LIMIT 1});
		kill 'KILL', $victim if $victim;
		usleep(200_000);
		$node->poll_query_until('postgres', 'SELECT true') or die 'no recovery';
	}
	grows("the job goes on after kill $i");
}

$node->safe_psql('shop', q{SELECT salesops.alter_job(name, options => '{"paused": true}') FROM salesops.job});
ok($node->poll_query_until('shop', q{SELECT count(*) = 0 FROM salesops.job_run WHERE outcome = 'running'}), q{nothing stays 'running'});
my $recorded = $node->safe_psql('shop', q{SELECT count(*) FROM salesops.job_run WHERE job = 'tick' AND outcome = 'succeeded'});
is($recorded, rows(), 'runs recorded = rows written');
is($node->safe_psql('shop', q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'}), '0', 'no orphan lock');
is($node->safe_psql('shop', q{SELECT count(*) FROM salesops.job_run WHERE outcome = 'failed'}), '0', 'no run failed, some may be lost');
$node->stop;
done_testing();
