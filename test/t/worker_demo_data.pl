# The demo on a folder of one's own CSV files (make demo DATA=dir): what make hands to demo/run, then step by step what demo/run does but for
# the build: the files load, the guessed mapping attaches, a job of the worker runs, the report is printed. The folder's name has a blank.
use strict;
use warnings;
BEGIN { $ENV{PG_TEST_TIMEOUT_DEFAULT} ||= 60 }
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $root = $ENV{SALESOPS_ROOT};
my $node = PostgreSQL::Test::Cluster->new('demo');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nmax_worker_processes = 16");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION salesops CASCADE');

my $folder = PostgreSQL::Test::Utils::tempdir() . '/my data';
mkdir $folder or die $!;
my @sources = ('web', 'fair', 'cold call, "hot" list');
my $leads = "Lead ID,Created Date,Lead Source,Company,Email,First Name,Last Name,Employees,Converted Date\n";
for my $i (1 .. 400)
{
	my $day = sprintf '2025-%02d-%02d', 1 + $i % 12, 1 + $i % 28;
	my $source = $sources[ $i % 3 ] =~ s/"/""/gr;
	my $won = ($i * 48271) % 100 < (60, 20, 5)[ $i % 3 ] ? '2026-01-15' : '';
	$leads .= qq{L$i,$day,"$source",Company @{[ $i % 390 ]},p@{[ $i % 395 ]}\@example.com,Ann$i,Smith@{[ $i % 380 ]},@{[ 5 + $i * 37 % 400 ]},$won\n};
}
append_to_file("$folder/leads.csv", $leads);
my $deals = "Opportunity ID,Stage,Amount,Created Date,Closed Date,Close Date,Owner\n";
for my $i (1 .. 300)
{
	my $stage = ('Won', 'Lost', 'Proposal')[ $i % 3 ];
	my $month = 1 + $i % 12;
	my $closed = $stage eq 'Proposal' ? '' : sprintf '2025-%02d-%02d', $month, 1 + $i % 28;
	$deals .= sprintf "D%d,%s,%d,2024-%02d-%02d,%s,2026-%02d-15,R%d\n", $i, $stage, 1000 + $i * 17, $month, 1 + $i % 28, $closed, $month, $i % 4;
}
append_to_file("$folder/deals.csv", $deals);

# make demo, with a demo/run that says what it is called with; upgrade scripts are pgxs's DATA, never the demo's
my $box = PostgreSQL::Test::Utils::tempdir();
mkdir "$box/$_" or die $! for qw(demo tools sql sql/upgrades);
append_to_file("$box/demo/run", "#!/bin/sh\nprintf '%s,%s,%s' \"\$#\" \"\$1\" \"\${MAKEFLAGS-none}\"\n");
append_to_file("$box/tools/deps", "#!/bin/sh\n");
append_to_file("$box/sql/upgrades/salesops--0--1.sql", '');
chmod 0755, "$box/demo/run", "$box/tools/deps";
for my $case ([ 'no folder', '1,,none' ], [ 'a folder', "1,$folder,none", "DATA=$folder" ], [ 'an apostrophe', q{1,it's,none}, q{DATA=it's} ])
{
	my ($name, $expected, @given) = @{$case};
	my ($out, $complaint) = run_command([ 'make', '-s', '-f', "$root/Makefile", '-C', $box, 'demo', @given ]);
	is($out, $expected, "make demo, $name") or diag($complaint);
}

local $ENV{PGHOST} = PostgreSQL::Test::Utils::tempdir();
my ($load, $complaints) = run_command([ 'perl', "$root/demo/load_csv.pl", $folder ]);
like($load, qr/\bcrm\b/, 'load_csv.pl writes SQL') or diag($complaints);
my $map = slurp_file("$ENV{PGHOST}/map.sql");
$node->safe_psql('postgres', $load);
is($node->safe_psql('postgres', 'SELECT count(*) FROM crm.leads'), '400', 'all leads are loaded');
$node->safe_psql('postgres', $map);
is($node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT source) FROM salesops.lead'), '400|3', 'the leads are attached, quotes and commas in place');
is($node->safe_psql('postgres', 'SELECT count(*) FROM salesops.opportunity WHERE amount > 0'), '300', 'so are the deals');
my $as_of = $node->safe_psql('postgres', 'SELECT as_of FROM demo.setting');
my @connection = ('psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-v', "as_of=$as_of");
for my $step (qw(lead match pipeline forecast backtest commission worker))
{
	local $ENV{PGOPTIONS} = '-c client_min_messages=warning';
	my ($out, $err) = run_command([ @connection, '-f', "$root/demo/steps/$step.sql" ]);
	is($err, '', "step $step");
}
cmp_ok($node->safe_psql('postgres', q{SELECT count(*) FROM salesops.job_run WHERE outcome = 'succeeded'}), '>=', 2, 'the worker ran the job');
my ($report, $err) = run_command([ @connection, '-v', 'seed=1', '-v', 'seconds=1', '-v', "data=$folder", '-f', "$root/demo/report.sql" ]);
cmp_ok(length $report, '>', 500, 'the report is printed');
is($err, '', 'without a complaint');
$node->stop;
done_testing();
