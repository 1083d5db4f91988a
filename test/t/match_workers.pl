# Parallel workers of a search: they come where the settings allow it and where there is enough to read, a cancelled search takes them along, an
# error in a worker is the search's own, and the session goes on.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION salesops;
	CREATE TABLE people AS SELECT i AS id, md5((i / 2)::text) AS name, 'mail' || i / 2 % 4000 || '@example.com' AS email, 'c' || i % 40 AS city
	  FROM generate_series(1, 8000) i;
	ALTER TABLE people ADD PRIMARY KEY (id);
	-- the same rows, slowly
	CREATE VIEW slow AS SELECT id, name || CASE WHEN id % 40 = 0 THEN left(pg_sleep(0.01)::text, 0) ELSE '' END AS name, email, city FROM people OFFSET 0;
	SELECT salesops.create_matcher('people', 'people', 'id', '[{"column": "name", "method": "jaro_winkler"}, {"column": "email"}, {"column": "city"}]', '{email,name}');
	SELECT count(*) FROM salesops.train_matcher('people');
	SELECT salesops.create_matcher('slow', 'slow', 'id', '[{"column": "name", "method": "jaro_winkler"}, {"column": "email"}, {"column": "city"}]', '{email,name}');
	UPDATE salesops.matcher s SET model = p.model, trained_at = now() FROM salesops.matcher p WHERE s.matcher = 'slow' AND p.matcher = 'people';
});
my $find = "SELECT md5(string_agg(f::text, ',')) FROM salesops.find_duplicates('people', 0.1) f";
my $plain = $node->safe_psql('postgres', "SET max_parallel_workers_per_gather = 0; $find");

# ---- where they come
sub search
{
	my ($settings) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', "SET client_min_messages = debug1; SET min_parallel_table_scan_size = 0; $settings; $find");
	my ($workers) = $err =~ /interned by (\d+) parallel workers/;
	return (($workers // 0), $out);
}
for my $case (
	[ 'SET max_parallel_workers_per_gather = 2', '[12]' ],
	[ 'SET max_parallel_workers_per_gather = 1', '1' ],
	[ 'SET max_parallel_workers_per_gather = 0', '0' ],
	[ 'SET max_parallel_workers = 0', '0' ],
	[ 'SET min_parallel_table_scan_size = default', '0' ],
	[ 'BEGIN ISOLATION LEVEL SERIALIZABLE', '[12]' ])
{
	my ($workers, $out) = search($case->[0]);
	like($workers, qr/^$case->[1]$/, "$case->[0]: workers");
	is($out, $plain, "$case->[0]: the answer");
}

# ---- cancelled, or without its worker
my $workers = q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'parallel worker'};
my $slow = "SET min_parallel_table_scan_size = 0; SELECT count(*) FROM salesops.find_duplicates('slow')";
my ($rc, $out, $err) = $node->psql('postgres', "SET statement_timeout = '800ms'; $slow");
like($err, qr/canceling statement due to statement timeout/, 'a search with workers can be cancelled');
ok($node->poll_query_until('postgres', "SELECT ($workers) = 0"), 'they go with it');
my $session = $node->background_psql('postgres', on_error_stop => 0);
$session->query_until(qr/begun/, "\\echo begun\n$slow;\nSELECT 'alive ' || count(*) FROM salesops.find_duplicates('people', 0.1);\n");
ok($node->poll_query_until('postgres', "SELECT ($workers) > 0"), 'a search has a worker');
$node->safe_psql('postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'parallel worker'});
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM salesops.progress}), 'a search whose worker is ended ends too');
$session->quit;
is($node->safe_psql('postgres', "SELECT ($workers) || ' ' || (SELECT count(*) FROM salesops.progress)"), '0 0', 'nothing is left');
is((search(''))[1], $plain, 'and the next search answers');
$node->stop;
done_testing();
