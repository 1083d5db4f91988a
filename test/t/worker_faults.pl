# What must work while jobs run: DROP DATABASE, CREATE DATABASE from it, DROP EXTENSION, exclusive locks on its tables, a fast
# stop; jobs that loop, raise FATAL, or lose their owner; a thousand due at once; reload; a worker started by hand.
use strict;
use warnings;
BEGIN { $ENV{PG_TEST_TIMEOUT_DEFAULT} ||= 60 }
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('faults');
$node->init;
$node->append_conf('postgresql.conf', "max_worker_processes = 24\nlog_min_messages = log");
$node->start;

# A database with the extension and a job that runs until it is ended
sub busy_database
{
	my ($name, $command) = @_;
	$command ||= 'SELECT pg_sleep(1000)';
	$node->safe_psql('postgres', "CREATE DATABASE $name");
	$node->safe_psql($name, "CREATE EXTENSION salesops; SELECT salesops.create_job('long', 'every second', \$c\$$command\$c\$)");
	$node->poll_query_until($name, q{SELECT count(*) = 1 FROM salesops.job_run WHERE outcome = 'running'}) or die 'no run';
	return;
}

sub sql_ok
{
	my ($database, $sql, $name) = @_;
	my ($out, $err);
	my $rc = $node->psql($database, $sql, stdout => \$out, stderr => \$err, timeout => 20);
	is($rc, 0, $name) or diag($err);
	return;
}

# the server itself gives up on a database in use after 5 seconds
busy_database('drop_me');
is( $node->safe_psql('drop_me', q{SELECT application_name FROM pg_stat_activity WHERE backend_type = 'salesops job'}),
	'salesops job long', 'pg_stat_activity names the job');
sql_ok('postgres', 'DROP DATABASE drop_me', 'DROP DATABASE while a job runs');
busy_database('original');
sql_ok('postgres', 'CREATE DATABASE copy TEMPLATE original', 'CREATE DATABASE from one whose job runs');
ok($node->poll_query_until('copy', q{SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = 'copy' AND application_name = 'salesops job long'}),
	'the jobs of the copy run');
sql_ok('postgres', 'ALTER DATABASE copy RENAME TO copied', 'ALTER DATABASE RENAME while a job runs');
sql_ok('postgres', 'DROP DATABASE copied WITH (FORCE)', 'DROP DATABASE WITH (FORCE)');
ok($node->poll_query_until('original', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = 'original' AND application_name = 'salesops job long'}),
	'the original runs again');

# DDL on the extension
busy_database('extension', 'SELECT count(*) FROM salesops.job_definition, pg_sleep(1000)');
sql_ok('extension', 'BEGIN; LOCK TABLE salesops.job_definition IN ACCESS EXCLUSIVE MODE; COMMIT', 'an exclusive lock on a table of the extension');
sql_ok('extension', 'DROP EXTENSION salesops CASCADE', 'DROP EXTENSION while a job reads its tables');
ok($node->poll_query_until('extension', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = 'extension' AND backend_type LIKE 'salesops%'}),
	'no connection is held for a database without it');
sql_ok('extension', 'BEGIN; CREATE EXTENSION salesops; ROLLBACK; CREATE EXTENSION salesops', 'created again');

# jobs that misbehave do not stop the others
$node->safe_psql('extension', q{
	CREATE TABLE mark (job text);
	SELECT salesops.create_job('loop', 'every second', $$DO 'BEGIN LOOP BEGIN PERFORM pg_sleep(100); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END'$$,
	                           '{"timeout": "0.5 second"}');
	SELECT salesops.create_job('fatal', 'every second', 'SELECT pg_terminate_backend(pg_backend_pid())');
	SELECT salesops.create_job('good', 'every second', $$INSERT INTO mark VALUES ('good')$$);
	CREATE ROLE leaver LOGIN;
	SELECT salesops.create_job('orphan', 'every second', 'SELECT 1', '{"owner": "leaver"}');
	DROP ROLE leaver;
	CREATE PROCEDURE steps() LANGUAGE plpgsql AS $$BEGIN INSERT INTO mark VALUES ('step'); COMMIT; INSERT INTO mark VALUES ('step'); COMMIT; END$$;
	SELECT salesops.create_job('steps', 'every second', 'CALL steps()');
	SELECT salesops.create_job('vacuum', 'every second', 'VACUUM mark');
});
ok($node->poll_query_until('extension', q{SELECT count(*) > 3 FROM mark WHERE job = 'good'}), 'the good job runs');
ok($node->poll_query_until('extension', q{SELECT count(*) > 1 FROM salesops.job_run WHERE job = 'fatal' AND outcome = 'lost'}), 'FATAL: lost, tried again');
ok($node->poll_query_until('extension', q{SELECT count(*) > 0 FROM salesops.job_run WHERE job = 'loop' AND outcome = 'timed out'}), 'an endless loop is ended');
like($node->safe_psql('extension', q{SELECT min(error) FROM salesops.job_run WHERE job = 'orphan'}), qr/role "leaver", does not exist/, 'an owner that is gone');
is($node->safe_psql('extension', q{SELECT bool_or(outcome = 'succeeded') FROM salesops.job_run WHERE job = 'vacuum'}), 't', 'VACUUM');
is($node->safe_psql('extension', q{SELECT bool_or(outcome = 'succeeded') FROM salesops.job_run WHERE job = 'steps'}), 't', 'a procedure that commits');
$node->safe_psql('extension', 'SELECT salesops.drop_job(name) FROM salesops.job');

# session state does not leak from one job to the next, and a dropped job's work is undone
$node->safe_psql('extension', q{
	TRUNCATE mark;
	SELECT salesops.create_job('leak', 'every second', $$SET work_mem = '77MB'; CREATE TEMPORARY TABLE IF NOT EXISTS trail (x int); INSERT INTO trail VALUES (1);
	  INSERT INTO mark SELECT 'leak' || count(*) FROM trail; SELECT pg_advisory_lock(42)$$);
	SELECT salesops.create_job('see', 'every second', $$INSERT INTO mark SELECT 'seen' WHERE current_setting('work_mem') = '77MB'$$);
});
ok($node->poll_query_until('extension', q{SELECT count(*) > 2 FROM mark WHERE job = 'leak1'}), 'the leaking job runs');
is($node->safe_psql('extension', q{SELECT count(*) FROM mark WHERE job <> 'leak1'}), '0', 'temporary tables and settings do not outlive a run');
$node->safe_psql('extension', 'SELECT salesops.drop_job(name) FROM salesops.job');
$node->safe_psql('extension', q{TRUNCATE mark; SELECT salesops.create_job('gone', 'every second', $$INSERT INTO mark VALUES ('gone'); SELECT pg_sleep(1)$$)});
$node->poll_query_until('extension', q{SELECT count(*) = 1 FROM salesops.job_run WHERE outcome = 'running'});
$node->safe_psql('extension', q{SELECT salesops.drop_job('gone')});
ok($node->poll_query_until('extension', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'salesops job gone'}), 'the dropped job ends');
is($node->safe_psql('extension', 'SELECT count(*) FROM mark'), '0', 'and its work is undone');

# a thousand at once, with NOTIFY on failure for one of them
$node->safe_psql('extension', q{
	SELECT count(salesops.create_job('many' || i, 'every hour', $$INSERT INTO mark VALUES ('many')$$)) FROM generate_series(1, 1000) i;
	UPDATE salesops.job_definition SET next_run_at = now();
});
ok($node->poll_query_until('extension', q{SELECT count(*) = 1000 FROM mark}), 'a thousand jobs due at once');
is($node->safe_psql('extension', q{SELECT count(DISTINCT job) || ' ' || count(*) FROM salesops.job_run WHERE outcome = 'succeeded'}), '1000 1000', 'each once');
$node->safe_psql('extension', 'SELECT count(salesops.drop_job(name)) FROM salesops.job');

# a poll as backstop: a prepared transaction wakes nobody; settings are reloaded
$node->append_conf('postgresql.conf', "max_prepared_transactions = 2\nsalesops.worker_poll_interval = '200ms'\nsalesops.launcher_interval = '1s'");
$node->safe_psql('extension', q{SELECT salesops.create_job('idle', 'every hour', 'SELECT 1')});
$node->restart;
$node->safe_psql('extension', q{BEGIN; SELECT salesops.create_job('two', 'every second', $$INSERT INTO mark VALUES ('two')$$); PREPARE TRANSACTION 'p'});
$node->safe_psql('extension', q{COMMIT PREPARED 'p'});
ok($node->poll_query_until('extension', q{SELECT count(*) > 0 FROM mark WHERE job = 'two'}), 'a job from a prepared transaction runs');

# stop and start by hand
is($node->safe_psql('extension', 'SELECT salesops.stop_worker()'), 't', 'stop_worker');
ok($node->poll_query_until('extension', 'SELECT worker_pid IS NULL AND processes = 0 FROM salesops.worker_status()'), 'it is gone');
$node->safe_psql('extension', 'SELECT pg_sleep(2)');
is($node->safe_psql('extension', 'SELECT worker_pid IS NULL FROM salesops.worker_status()'), 't', 'and stays gone');
cmp_ok($node->safe_psql('extension', 'SELECT salesops.start_worker()'), '>', 0, 'start_worker');
ok($node->poll_query_until('extension', q{SELECT count(*) > 0 FROM salesops.job_run WHERE started_at > now() - interval '1 second'}), 'it works');

# a fast stop does not wait for jobs
$node->safe_psql('extension', q{SELECT salesops.create_job('long', 'every second', 'SELECT pg_sleep(1000)')});
$node->poll_query_until('extension', q{SELECT count(*) = 1 FROM salesops.job_run WHERE job = 'long' AND outcome = 'running'});
$node->command_ok([ 'pg_ctl', '-D', $node->data_dir, '-m', 'fast', '-t', '5', '-w', 'stop' ], 'pg_ctl stop -m fast');
$node->{_pid} = undef;

# without preloading: by hand
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->start;
is($node->safe_psql('extension', 'SELECT worker_pid IS NULL AND launcher_pid IS NULL FROM salesops.worker_status()'), 't', 'nothing runs without preloading');
cmp_ok($node->safe_psql('extension', 'SELECT salesops.start_worker()'), '>', 0, 'start_worker without preloading');
ok($node->poll_query_until('extension', q{SELECT count(*) > 0 FROM salesops.job_run WHERE job = 'long' AND outcome = 'lost'}), 'the run that the stop ended is lost');
ok($node->poll_query_until('extension', q{SELECT count(*) > 0 FROM salesops.job_run WHERE job = 'long' AND outcome = 'running'}), 'and runs again');
$node->stop('fast');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|unexpected SPI|signal 11/, 'nothing alarming in the log');
done_testing();
