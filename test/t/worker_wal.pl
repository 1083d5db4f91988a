# A full disk under pg_wal: while jobs run and clients write watched rows, there is no room for the next file of the write-ahead log, which is the
# server's PANIC, whoever it hits. With room again and a restart nothing is lost, nothing counted twice, no run is stuck. Needs a small file
# system of its own, which the harness mounts where it may. Once; with SALESOPS_KILLS set that many times, 10 at most.
use strict;
use warnings;
BEGIN { $ENV{PG_TEST_TIMEOUT_DEFAULT} ||= 60 }
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);
use WatchedWriters;

plan skip_all => 'no small file system for pg_wal: needs root, and the right to mount' unless $ENV{SALESOPS_SMALL_WAL};

my $node = PostgreSQL::Test::Cluster->new('wal');
my $wal = "$ENV{SALESOPS_SMALL_WAL}/wal";
my $ballast = "$ENV{SALESOPS_SMALL_WAL}/ballast";
$node->init(extra => [ '--wal-segsize=1', "--waldir=$wal" ]);
$node->append_conf('postgresql.conf', "fsync = off\nrestart_after_crash = on\nmin_wal_size = 2MB\nmax_wal_size = 4MB\nmax_worker_processes = 16\nlog_min_messages = log");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION salesops;
	CREATE TABLE bulk (i int, t text);
	SELECT salesops.create_job('bulk', 'every 1 second', $$WITH gone AS (DELETE FROM bulk) INSERT INTO bulk SELECT i, repeat(md5(i::text), 10) FROM generate_series(1, 6000) i$$,
	  '{"retry_delay": "0.1 second"}');
});
my $writers = WatchedWriters->new($node, 'postgres', '{"retry_delay": "0.1 second"}');
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
	$writers->write_on;
	$writers->grows("round $i: jobs run");
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
	$writers->grows("round $i: with room the jobs go on");
}
$node->_update_pid(1);
$writers->check(50);
is($node->safe_psql('postgres', 'SELECT count(*) FROM bulk'), '6000', 'the job that filled it is done once, whole');
# a job may meet the full disk itself, before another process panics
cmp_ok($node->safe_psql('postgres', q{SELECT count(*) FROM salesops.job_run WHERE outcome = 'lost' OR outcome = 'failed' AND error LIKE '%No space left on device%'}), '>=', 1, 'what was cut off is recorded');
is($node->safe_psql('postgres', q{SELECT count(*) FROM salesops.job_run WHERE outcome = 'failed' AND error NOT LIKE '%No space left on device%'}), '0', 'nothing failed for another reason');
$node->stop;
done_testing();
