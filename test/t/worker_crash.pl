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
use IPC::Run ();
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
	CREATE TABLE lead (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, points int);
	CREATE TABLE mirror (key text PRIMARY KEY, points int);
	DELETE FROM salesops.refresh_command;
	INSERT INTO salesops.refresh_command VALUES ('lead', 'mirror', 1,
	  'WITH done AS (INSERT INTO public.mirror SELECT id::text, points FROM public.lead WHERE id::text = ANY ($1)
	   ON CONFLICT (key) DO UPDATE SET points = excluded.points RETURNING 1) SELECT count(*) FROM done');
	SELECT salesops.watch('lead', 'lead');
	SELECT salesops.create_job('refresh', 'every minute', $$SELECT salesops.refresh_changed('lead')$$, '{"on_change": "lead", "retry_delay": "0.1 second"}');
});

# Two clients that insert and update until the server goes under them
my $script = PostgreSQL::Test::Utils::tempdir() . '/write.sql';
append_to_file($script, "\\set id random(1, 200)\nINSERT INTO lead (points) VALUES (1);\nUPDATE lead SET points = points + 1 WHERE id = :id;\n\\sleep 5 ms\n");
my $writers;
sub write_on
{
	my ($quiet_out, $quiet_err) = ('', '');
	$writers->kill_kill if $writers;
	$writers = IPC::Run::start([ 'pgbench', '-n', '-c', 2, '-T', 100_000, '-f', $script, $node->connstr('shop') ], '>', \$quiet_out, '2>', \$quiet_err);
	return;
}

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
	write_on();
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

$writers->kill_kill;
ok($node->poll_query_until('shop', 'SELECT count(*) = 0 FROM salesops.change_queue'), 'all changes are drained');
cmp_ok($node->safe_psql('shop', 'SELECT count(*) FROM lead'), '>', 20 * $kills, 'rows were written all the while');
is($node->safe_psql('shop', 'SELECT count(*) FROM lead l FULL JOIN mirror m ON m.key = l.id::text WHERE m.points IS DISTINCT FROM l.points'), '0',
	'and what depends on them is what a full run computes');
$node->safe_psql('shop', q{SELECT salesops.alter_job(name, options => '{"paused": true}') FROM salesops.job});
ok($node->poll_query_until('shop', q{SELECT count(*) = 0 FROM salesops.job_run WHERE outcome = 'running'}), q{nothing stays 'running'});
my $recorded = $node->safe_psql('shop', q{SELECT count(*) FROM salesops.job_run WHERE job = 'tick' AND outcome = 'succeeded'});
is($recorded, rows(), 'runs recorded = rows written');
is($node->safe_psql('shop', q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'}), '0', 'no orphan lock');
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
