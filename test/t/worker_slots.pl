# More databases with the extension than background processes: those without jobs give theirs back at once, so a job in any of them
# runs soon after the server's start, those with jobs take turns, and the log is not flooded.
use strict;
use warnings;
BEGIN { $ENV{PG_TEST_TIMEOUT_DEFAULT} ||= 30 }
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('slots');
$node->init;
# the launchers of logical replication and of salesops take two
$node->append_conf('postgresql.conf', "max_worker_processes = 4\nmax_parallel_workers = 0\nlog_min_messages = log\nfsync = off");
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE crm_1');
$node->safe_psql('crm_1', 'CREATE EXTENSION salesops; CREATE TABLE mark ()');
$node->safe_psql('postgres', "CREATE DATABASE crm_$_ TEMPLATE crm_1") for 2 .. 6;
$node->restart;
$node->safe_psql('crm_6', q{SELECT salesops.create_job('mark', 'every hour', 'INSERT INTO mark DEFAULT VALUES');
	UPDATE salesops.job_definition SET next_run_at = now()});
ok($node->poll_query_until('crm_6', 'SELECT count(*) = 1 FROM mark'), 'the job of the last of six databases runs');

my $log = slurp_file($node->logfile);
cmp_ok(scalar(() = $log =~ /no background worker slot/g), '<=', 2, 'the log is not flooded');

# Jobs in every one of them, and two processes for all: they take turns, one with six jobs due and one whose job has to be ended as
# well; a job that comes due later in a database that rests runs too, and so does what a commit asks for there.
$node->safe_psql("crm_$_", q{SELECT salesops.create_job('tick', 'every second', 'INSERT INTO mark DEFAULT VALUES')}) for 1 .. 6;
$node->safe_psql('crm_1', q{CREATE TABLE pile (i int);
	SELECT count(salesops.create_job('pile' || i, 'every day', format('INSERT INTO pile VALUES (%s); SELECT pg_sleep(0.1)', i))) FROM generate_series(1, 6) i;
	UPDATE salesops.job_definition SET next_run_at = now() WHERE name LIKE 'pile%'});
$node->safe_psql('crm_2', q{SELECT salesops.create_job('loop', 'every minute', 'SELECT pg_sleep(1000)', '{"timeout": "1 second"}');
	UPDATE salesops.job_definition SET next_run_at = now() WHERE name = 'loop'});
for my $i (1 .. 6)
{
	my $before = $node->safe_psql("crm_$i", 'SELECT count(*) FROM mark');
	ok($node->poll_query_until("crm_$i", "SELECT count(*) >= $before + 2 FROM mark"), "jobs of database $i of six run with two processes for all");
}
ok($node->poll_query_until('crm_1', 'SELECT count(*) = 6 AND count(DISTINCT i) = 6 FROM pile'), 'the pile of jobs is worked off, each once');
ok($node->poll_query_until('crm_2', q{SELECT count(*) >= 1 FROM salesops.job_run WHERE job = 'loop' AND outcome = 'timed out'}), 'the loop is ended at its timeout');
$node->safe_psql('crm_6', q{SELECT salesops.drop_job('tick');
	CREATE TABLE lead (id int PRIMARY KEY, created_at timestamptz); SELECT salesops.attach('lead', 'lead', '{"lead_id": "id"}'); SELECT salesops.watch('lead', 'lead');
	SELECT salesops.create_job('changed', 'every day', $$SELECT salesops.refresh_changed('lead')$$, '{"on_change": "lead"}')});
for my $i (1 .. 3)
{
	$node->safe_psql('crm_6', "INSERT INTO lead VALUES ($i)");
	ok($node->poll_query_until('crm_6', 'SELECT count(*) = 0 FROM salesops.change_queue'), "a change is worked off, $i");
}
is($node->safe_psql("crm_$_", q{SELECT count(*) FROM salesops.job_run WHERE outcome NOT IN ('succeeded', 'running') AND job <> 'loop'}), '0', "no run is lost or cut off, $_")
	for 1 .. 6;
# what a connection of ours must not keep anybody from, between two turns or in one
is($node->psql('postgres', 'DROP DATABASE crm_3', timeout => 20), 0, 'DROP DATABASE meanwhile');
# none of them needs a turn any more: one may keep its process
$node->safe_psql("crm_$_", 'SELECT salesops.drop_job(name) FROM salesops.job') for 1, 2, 4, 5;
$node->safe_psql('crm_6', 'INSERT INTO lead VALUES (4)');
ok($node->poll_query_until('crm_6', 'SELECT worker_pid IS NOT NULL AND NOT EXISTS (SELECT FROM salesops.change_queue) FROM salesops.worker_status()'), 'the only one left keeps its worker');

$log = slurp_file($node->logfile);
cmp_ok(scalar(() = $log =~ /no background worker slot/g), '<=', 3, 'the log says once a minute that processes are short');
unlike($log, qr/PANIC|TRAP|signal 11|ERROR:.*salesops/, 'nothing alarming in the log');
$node->stop('fast');
done_testing();
