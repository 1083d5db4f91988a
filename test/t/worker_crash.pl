# kill -9 of the whole server, of the worker, and of the process that runs a job, at random points while a job writes one row a
# run and two clients write rows that are watched: runs recorded as succeeded = rows written, the job goes on, nothing stays 'running', and
# what is recomputed of the rows written is what a full run computes. SALESOPS_KILLS scales it
# (3 here; the soak of 50 is SALESOPS_KILLS=50).
use strict;
use warnings;
BEGIN { $ENV{PG_TEST_TIMEOUT_DEFAULT} ||= 60 }
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);
use WatchedWriters;

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
});
my $writers = WatchedWriters->new($node, 'shop', '{}');
$node->safe_psql('shop', q{SELECT salesops.create_job('slow', 'every 1 second', 'SELECT pg_sleep(0.3)', '{"retry_delay": "0.1 second"}')});

$writers->grows('the job runs, the server was not even told');
for my $i (1 .. $kills)
{
	$writers->write_on;
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
	$writers->grows("the job goes on after kill $i");
}

$writers->check(20 * $kills);
is($node->safe_psql('shop', q{SELECT string_agg(DISTINCT error, '; ') FROM salesops.job_run WHERE outcome = 'failed'}), '', 'no run failed, some may be lost');

# a job that computes and never waits ends with the server, its worker killed too: else no server could be started on its shared memory
$node->safe_psql('shop', q{SELECT salesops.create_job('loop', 'every second', $$DO 'BEGIN LOOP PERFORM 1; END LOOP; END'$$)});
ok($node->poll_query_until('shop', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'salesops job loop'}), 'a job computes');
my $job = $node->safe_psql('shop', q{SELECT pid FROM pg_stat_activity WHERE application_name = 'salesops job loop'});
my @workers = split /\n/, $node->safe_psql('shop', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'salesops worker'});
$node->kill9;
kill 'KILL', @workers;
my $state = 'R';
for (1 .. 100)
{
	usleep(50_000);
	$state = `ps -o stat= -p $job`;
	last if $state !~ /^[^Z]/;
}
unlike($state, qr/^[^Z\s]/, 'it ends with the server');
kill 'KILL', $job;
done_testing();
