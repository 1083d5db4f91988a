# The clock is set while jobs run, a day back and hours forward (worker_clock.c, preloaded into the server): jobs go on, what
# was jumped over is made up for as each says, nothing is ended before its time or waits for a future that is none.
use strict;
use warnings;
BEGIN { $ENV{PG_TEST_TIMEOUT_DEFAULT} ||= 15 }
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use File::Spec;

# a clock of the test's own, preloaded into the server
my $folder = File::Spec->rel2abs(PostgreSQL::Test::Utils::tempdir());
my $compiler = $ENV{CC} || 'cc';
plan skip_all => "no compiler \"$compiler\"" if system("$compiler --version >/dev/null 2>&1") != 0 || $^O ne 'linux';
system_or_bail($compiler, '-shared', '-fPIC', '-O2', '-o', "$folder/clock.so", "$ENV{SALESOPS_ROOT}/test/t/worker_clock.c");
my $node = PostgreSQL::Test::Cluster->new('clock');
$node->init;
$node->append_conf('postgresql.conf', "max_worker_processes = 24\nlog_min_messages = log\nfsync = off");

# The server's clock from now on: so many seconds off
sub set_clock
{
	my ($offset) = @_;
	open my $file, '+<', "$folder/offset" or die $!;
	syswrite $file, pack 'q', $offset;
	close $file or die $!;
	return;
}
append_to_file("$folder/offset", pack 'q', 0);
{
	local %ENV = (%ENV, LD_PRELOAD => "$folder/clock.so", CLOCK_OFFSET => "$folder/offset");
	$node->start;
}
sub sql { return $node->safe_psql('postgres', $_[0]); }
sub until_true { my ($sql, $name) = @_; return ok($node->poll_query_until('postgres', $sql), $name); }
sub goes_on
{
	my ($name) = @_;
	my $before = sql(q{SELECT count(*) FROM mark WHERE job = 'tick'});
	return until_true("SELECT count(*) > $before + 1 FROM mark WHERE job = 'tick'", $name);
}

sql(q{CREATE EXTENSION salesops; CREATE TABLE mark (job text);
	CREATE TABLE lead (id int PRIMARY KEY, created_at timestamptz); SELECT salesops.attach('lead', 'lead', '{"lead_id": "id"}'); SELECT salesops.watch('lead', 'lead');
	SELECT salesops.create_job('tick', 'every second', $$INSERT INTO mark VALUES ('tick')$$);
	SELECT salesops.create_job(p, 'every hour', format('INSERT INTO mark VALUES (%L)', p), jsonb_build_object('catch_up', p)) FROM unnest('{once,all,skip}'::text[]) p;
	SELECT salesops.create_job('cron', '*/10 * * * * UTC', $$INSERT INTO mark VALUES ('cron')$$);
	SELECT salesops.create_job('bad', 'every hour', 'SELECT 1/0', '{"retries": 1000, "retry_delay": "20 minutes"}');
	SELECT salesops.create_job('changed', 'every day', $$SELECT salesops.refresh_changed('lead')$$, '{"on_change": "lead"}');
	UPDATE salesops.job_definition SET next_run_at = clock_timestamp() WHERE name = 'bad'});
goes_on('jobs run');
until_true(q{SELECT failures = 1 FROM salesops.job_status WHERE job = 'bad'}, 'one has failed');
sql(q{SELECT salesops.create_job('long', 'every day', 'SELECT count(*) FROM generate_series(1, 12000000)', '{"timeout": "1 minute"}'); UPDATE salesops.job_definition SET next_run_at = clock_timestamp() WHERE name = 'long'});
until_true(q{SELECT state = 'running' FROM salesops.job_status WHERE job = 'long'}, 'one runs long');

# three and a half hours on
my $offset = $node->safe_psql('postgres', 'SELECT now()');
set_clock(12_600);
cmp_ok(sql("SELECT extract(epoch FROM now() - '$offset')::int / 60"), '>=', 209, 'the clock is three and a half hours on');
goes_on('jobs go on');
until_true(q{SELECT count(*) >= 3 FROM mark WHERE job = 'all'}, 'all: each hour jumped over is run');
until_true(q{SELECT count(*) FILTER (WHERE next_run_at <= clock_timestamp()) = 0 FROM salesops.job WHERE name IN ('once', 'all', 'skip', 'cron')}, 'nothing is left due');
is(sql(q{SELECT string_agg(job || ' ' || n, ', ' ORDER BY job) FROM (SELECT job, count(*) AS n FROM mark WHERE job <> 'tick' GROUP BY 1) x}), 'all 3, cron 1, once 1',
	'once: one run, skip: none, cron: one');
until_true(q{SELECT last_outcome IS NOT NULL FROM salesops.job_status WHERE job = 'long'}, 'the long run ends');
is(sql(q{SELECT last_outcome FROM salesops.job_status WHERE job = 'long'}), 'succeeded', 'not before its time: a minute has not passed');

# a day back
sql(q{UPDATE salesops.job_definition SET next_run_at = clock_timestamp() WHERE name = 'long'});
until_true(q{SELECT state = 'running' FROM salesops.job_status WHERE job = 'long'}, 'it runs again');
set_clock(-86_400);
goes_on('a day back: jobs go on');
until_true(q{SELECT bool_and(next_run_at < clock_timestamp() + interval '90 minutes') FROM salesops.job WHERE name NOT IN ('long', 'changed')},
	'no job waits for the day to come again, nor does a retry');
sql('INSERT INTO lead VALUES (1)');
until_true('SELECT count(*) = 0 FROM salesops.change_queue', 'changes are drained');
sql('INSERT INTO lead VALUES (2)');
until_true('SELECT count(*) = 0 FROM salesops.change_queue', 'and again');
until_true(q{SELECT state <> 'running' FROM salesops.job_status WHERE job = 'long'}, 'the long run ends');
is(sql(q{SELECT string_agg(DISTINCT outcome, ',') FROM salesops.job_run WHERE job = 'long'}), 'succeeded', 'well');
is(sql(q{SELECT count(*) FROM salesops.job_run WHERE outcome IN ('lost', 'timed out')}), '0', 'no run was lost or ended early');

# a loop that ignores its timeout is ended though the clock goes back meanwhile
sql(q{SELECT salesops.create_job('loop', 'every day', $$DO 'BEGIN LOOP BEGIN PERFORM pg_sleep(100); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END'$$, '{"timeout": "0.5 second"}');
	UPDATE salesops.job_definition SET next_run_at = clock_timestamp() WHERE name = 'loop'});
until_true(q{SELECT state = 'running' FROM salesops.job_status WHERE job = 'loop'}, 'a loop that cannot be cancelled runs');
set_clock(-172_800);
until_true(q{SELECT state <> 'running' FROM salesops.job_status WHERE job = 'loop'}, 'it is ended');
is(sql(q{SELECT outcome FROM salesops.job_run WHERE job = 'loop'}), 'timed out', 'as timed out');
$node->stop('fast');
my $log = slurp_file($node->logfile);
like($log, qr/the clock has been set forward by 1\d{4} s/, 'the log says that the clock was set forward');
like($log, qr/the clock has been set back by 9\d{4} s/, 'and back');
unlike($log, qr/PANIC|TRAP|signal 11/, 'nothing alarming in the log');
done_testing();
