# A full disk under pg_wal: while jobs run and clients write watched rows, there is no room for the next file of the write-ahead log, which is the
# server's PANIC, whoever it hits. With room again and a restart nothing is lost, nothing counted twice, no run is stuck. Needs a small file
# system of its own, which the harness mounts where it may. Once; with SALESOPS_KILLS set that many times, 10 at most.
use strict;
use warnings;
BEGIN { $ENV{PG_TEST_TIMEOUT_DEFAULT} ||= 60 }
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use IPC::Run ();
use Time::HiRes qw(usleep);

plan skip_all => 'no small file system for pg_wal: needs root, and the right to mount' unless $ENV{SALESOPS_SMALL_WAL};

my $node = PostgreSQL::Test::Cluster->new('wal');
my $wal = "$ENV{SALESOPS_SMALL_WAL}/wal";
my $ballast = "$ENV{SALESOPS_SMALL_WAL}/ballast";
$node->init(extra => [ '--wal-segsize=1', "--waldir=$wal" ]);
$node->append_conf('postgresql.conf', "fsync = off\nrestart_after_crash = on\nmin_wal_size = 2MB\nmax_wal_size = 4MB\nmax_worker_processes = 16\nlog_min_messages = log");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION salesops;
	CREATE TABLE mark (at timestamptz DEFAULT clock_timestamp());
	CREATE TABLE bulk (i int, t text);
	CREATE TABLE lead (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, points int);
	CREATE TABLE mirror (key text PRIMARY KEY, points int);
	DELETE FROM salesops.refresh_command;
	INSERT INTO salesops.refresh_command VALUES ('lead', 'mirror', 1,
	  'WITH done AS (INSERT INTO public.mirror SELECT id::text, points FROM public.lead WHERE id::text = ANY ($1)
	   ON CONFLICT (key) DO UPDATE SET points = excluded.points RETURNING 1) SELECT count(*) FROM done');
	SELECT salesops.watch('lead', 'lead');
	SELECT salesops.create_job('tick', 'every 1 second', 'INSERT INTO mark DEFAULT VALUES', '{"retry_delay": "0.1 second"}');
	SELECT salesops.create_job('bulk', 'every 1 second', $$WITH gone AS (DELETE FROM bulk) INSERT INTO bulk SELECT i, repeat(md5(i::text), 10) FROM generate_series(1, 6000) i$$,
	  '{"retry_delay": "0.1 second"}');
	SELECT salesops.create_job('refresh', 'every minute', $$SELECT salesops.refresh_changed('lead')$$, '{"on_change": "lead", "retry_delay": "0.1 second"}');
});
my $script = PostgreSQL::Test::Utils::tempdir() . '/write.sql';
append_to_file($script, "\\set id random(1, 200)\nINSERT INTO lead (points) VALUES (1);\nUPDATE lead SET points = points + 1 WHERE id = :id;\n\\sleep 5 ms\n");
my $writers;
sub write_on
{
	my ($quiet_out, $quiet_err) = ('', '');
	$writers->kill_kill if $writers;
	$writers = IPC::Run::start([ 'pgbench', '-n', '-c', 2, '-T', 100_000, '-f', $script, $node->connstr('postgres') ], '>', \$quiet_out, '2>', \$quiet_err);
	return;
}
sub rows { return $node->safe_psql('postgres', 'SELECT count(*) FROM mark'); }
sub panics { return scalar(() = slurp_file($node->logfile) =~ /PANIC: .*pg_wal.*No space left on device/g); }

# Take all the room, and no more: what is left over of the last block is written byte by byte
sub fill_up
{
	open my $file, '>', $ballast or die $!;
	my $size = 65536;
	while ($size >= 1)
	{
		next if syswrite $file, 'x' x $size;
		$size = int($size / 2);
	}
	close $file;
	return;
}

# The server may have restarted by itself, may be trying to, or have given up: with room it must come up
sub come_back
{
	unlink $ballast or die $!;
	for (1 .. 60)
	{
		return if $node->psql('postgres', 'SELECT 1') == 0;
		# processes of the old server may be unreaped for a while, and hold its shared memory
		system_log('pg_ctl', '-w', '-D', $node->data_dir, '-l', $node->logfile, '-o', '--cluster-name=' . $node->name, 'start') if system('pg_ctl -D ' . $node->data_dir . ' status >/dev/null 2>&1') != 0;
		usleep(200_000);
	}
	die 'the server does not come back';
}

my $rounds = $ENV{SALESOPS_KILLS} || 1;
for my $i (1 .. ($rounds > 10 ? 10 : $rounds))
{
	write_on();
	my $before = rows();
	ok($node->poll_query_until('postgres', "SELECT count(*) > $before FROM mark"), "round $i: jobs run");
	my $seen = panics();
	fill_up();
	for (1 .. 300)
	{
		last if panics() > $seen;
		usleep(100_000);
	}
	cmp_ok(panics(), '>', $seen, "round $i: there is no room for the log, and the server panics");
	usleep(300_000 * ($i % 4));
	come_back();
	$before = rows();
	ok($node->poll_query_until('postgres', "SELECT count(*) > $before FROM mark"), "round $i: with room the jobs go on");
}
$node->_update_pid(1);
$writers->kill_kill;
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM salesops.change_queue'), 'all changes are drained');
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM lead'), '>', 50, 'rows were written');
is($node->safe_psql('postgres', 'SELECT count(*) FROM lead l FULL JOIN mirror m ON m.key = l.id::text WHERE m.points IS DISTINCT FROM l.points'), '0',
	'and what depends on them is what a full run computes');
$node->safe_psql('postgres', q{SELECT salesops.alter_job(name, options => '{"paused": true}') FROM salesops.job});
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM salesops.job_run WHERE outcome = 'running'}), q{nothing stays 'running'});
is($node->safe_psql('postgres', q{SELECT count(*) FROM salesops.job_run WHERE job = 'tick' AND outcome = 'succeeded'}), rows(), 'runs recorded = rows written');
is($node->safe_psql('postgres', 'SELECT count(*) FROM bulk'), '6000', 'the job that filled it is done once, whole');
cmp_ok($node->safe_psql('postgres', q{SELECT count(*) FROM salesops.job_run WHERE outcome = 'lost'}), '>=', 1, 'what was cut off is recorded as lost');
is($node->safe_psql('postgres', q{SELECT count(*) FROM salesops.job_run WHERE outcome = 'failed' AND error NOT LIKE '%No space left on device%'}), '0', 'nothing failed for another reason');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'}), '0', 'no orphan lock');
$node->stop;
done_testing();
