# The demo on a folder of one's own CSV files (make demo DATA=dir), step by step as demo/run does it but for the build: the files load, the
# guessed mapping attaches, a job of the worker runs, the report is printed. The folder's name has a blank.
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
