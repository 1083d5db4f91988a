# More databases with the extension than background processes: those without jobs give theirs back at once, so a job in any of them
# runs soon after the server's start, and the log is not flooded. (Databases with jobs hold a process each: max_worker_processes must do.)
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
my %told;
$told{$1}++ while $log =~ /no background worker slot for database (\d+)/g;
cmp_ok((sort { $b <=> $a } values %told, 0)[0], '<=', 3, 'the log says of a database once that it waits');
$node->stop('fast');
done_testing();
