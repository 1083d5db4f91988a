# What an administrator sees of the worker and of the jobs: processes, wait events, progress, log, monitoring; and what he may count on:
# no connection for a database without jobs, a worker that is terminated comes back, a job's rights and search_path are its owner's.
use strict;
use warnings;
BEGIN { $ENV{PG_TEST_TIMEOUT_DEFAULT} ||= 30 }
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = PostgreSQL::Test::Cluster->new('shown');
$node->init;
# the level that a server has by default
$node->append_conf('postgresql.conf', "max_worker_processes = 24\nlog_min_messages = warning\nlog_statement = none\nlog_line_prefix = ''\nfsync = off");
$node->start;
sub sql { return $node->safe_psql('postgres', $_[0]); }
sub until_true { my ($sql, $name) = @_; return ok($node->poll_query_until('postgres', $sql), $name); }

# a database with the extension and without jobs holds no connection; with one it does, and again none once it is dropped
sql('CREATE DATABASE empty');
$node->safe_psql('empty', 'CREATE EXTENSION salesops');
$node->restart;
until_true(q{SELECT launcher_pid IS NOT NULL FROM (SELECT pid AS launcher_pid FROM pg_stat_activity WHERE backend_type = 'salesops launcher') l}, 'a launcher is there');
is(sql(q{SELECT coalesce(datname, 'none') FROM pg_stat_activity WHERE backend_type = 'salesops launcher'}), 'none', 'connected to no database');
my $there = q{SELECT count(*) = %s FROM pg_stat_activity WHERE datname = 'empty' AND backend_type LIKE 'salesops%%'};
until_true(sprintf($there, 0), 'no connection to a database without jobs');
$node->safe_psql('empty', q{SELECT salesops.create_job('later', 'every day', 'SELECT 1')});
until_true(sprintf($there, 1), 'one to a database with a job');
is($node->safe_psql('empty', q{SELECT backend_type || ' ' || wait_event_type FROM pg_stat_activity WHERE pid = (SELECT worker_pid FROM salesops.worker_status())}),
	'salesops worker Extension', 'its worker waits in a wait event of an extension');
$node->safe_psql('empty', q{SELECT salesops.drop_job('later')});
until_true(sprintf($there, 0), 'none any more');

# a worker that is terminated comes back by itself
sql(q{CREATE EXTENSION salesops; CREATE TABLE mark (job text, who text); SELECT salesops.create_job('tick', 'every second', $$INSERT INTO mark VALUES ('tick')$$)});
until_true('SELECT worker_pid IS NOT NULL FROM salesops.worker_status()', 'a worker is there');
my $worker = sql('SELECT worker_pid FROM salesops.worker_status()');
sql("SELECT pg_terminate_backend($worker)");
until_true("SELECT worker_pid <> $worker FROM salesops.worker_status()", 'one that is terminated comes back');
my $before = sql('SELECT count(*) FROM mark');
until_true("SELECT count(*) > $before FROM mark", 'and works');

# a job's session is its owner's: name, rights, search_path as at creation, temporary tables last
sql(q{CREATE ROLE ann LOGIN; CREATE SCHEMA one; CREATE SCHEMA two; GRANT USAGE ON SCHEMA one, two TO ann;
	CREATE TABLE one.seen (who text, path text, process int); CREATE TABLE two.seen (LIKE one.seen); GRANT INSERT ON one.seen, two.seen TO ann;
	CREATE TABLE secret (x int); SELECT salesops.grant_access('ann', 'admin')});
sql(q{SET SESSION AUTHORIZATION ann; SET search_path = two, one;
	SELECT salesops.create_job('who', 'every hour', $$INSERT INTO seen VALUES (session_user || '/' || current_user, current_setting('search_path'), pg_backend_pid())$$);
	SELECT salesops.create_job('pry', 'every hour', 'SELECT count(*) FROM public.secret', '{"retries": 0}')});
sql(q{SET search_path = one; UPDATE salesops.job_definition SET next_run_at = now() WHERE name IN ('who', 'pry')});
until_true(q{SELECT count(*) = 2 FROM salesops.job_run WHERE job IN ('who', 'pry') AND outcome <> 'running'}, 'both run');
is(sql(q{SELECT who || ' ' || path FROM two.seen}), 'ann/ann two, one, pg_temp', 'as their owner, with the search_path of the creation');
is(sql(q{SELECT outcome || ': ' || error FROM salesops.job_run WHERE job = 'pry'}), 'failed: permission denied for table secret', 'with its rights only');

# progress: of a job as of a command by hand
sql(q{CREATE TABLE lead (id int PRIMARY KEY, source text, won bool); INSERT INTO lead SELECT i, 's' || i % 7, i % 3 = 0 FROM generate_series(1, 300) i;
	SELECT salesops.create_job('train', 'every day', $$SELECT salesops.train_model('m', 'SELECT l.*, pg_sleep(0.01)::text AS waited FROM public.lead l', 'won', 'logistic')$$);
	UPDATE salesops.job_definition SET next_run_at = now() WHERE name = 'train'});
until_true(q{SELECT count(*) = 1 FROM salesops.progress p JOIN pg_stat_activity a USING (pid)
	WHERE p.command = 'train_model' AND p.target = 'm' AND a.application_name = 'salesops job train' AND a.state = 'active' AND a.query LIKE 'train: SELECT salesops.train_model%'},
	'salesops.progress shows what a job does, pg_stat_activity whose it is and its command');
is(sql(q{SELECT salesops.drop_job('train')}), '', 'it is dropped');

# the monitoring view, as an exporter reads it: a role that may only read
sql(q{CREATE ROLE exporter LOGIN; SELECT salesops.grant_access('exporter', 'reader');
	SELECT salesops.create_job('bad', 'every hour', 'SELECT 1/0', '{"retries": 0}'); UPDATE salesops.job_definition SET next_run_at = now() WHERE name = 'bad'});
until_true(q{SELECT failures = 1 FROM salesops.job_status WHERE job = 'bad'}, 'a job fails');
sql(q{SELECT salesops.stop_worker(); SET session_replication_role = replica;
	UPDATE salesops.job_definition SET next_run_at = now() - interval '10 minutes', occurrence = now() - interval '10 minutes' WHERE name = 'tick'});
is(sql(q{SET SESSION AUTHORIZATION exporter;
	SELECT job, last_success_at IS NOT NULL, failures, last_outcome, last_error IS NULL, extract(epoch FROM lateness)::int / 60 FROM salesops.job_status WHERE job IN ('bad', 'tick') ORDER BY job}),
	"bad|f|1|failed|t|0\ntick|t|0|succeeded|t|10", 'last success, failures and lateness of each; what it raised is not for everybody');

# the log at the server's default level: failures, and nothing of what went well
$node->stop('fast');
my @lines = grep { /salesops/ && !/^(HINT|DETAIL|STATEMENT|CONTEXT|QUERY)/ } split /\n/, slurp_file($node->logfile);
ok((grep { /^LOG:  salesops: job "bad" failed: division by zero/ } @lines), 'the log has the failure');
is((grep { !/job "(bad|pry)" failed|job "train"/ && !/background worker "salesops/ && !/terminating/ } @lines)[0], undef, 'and no word of what succeeds');
done_testing();
