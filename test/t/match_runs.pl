# Record linkage over time: the progress of a search is seen by another session, a search, a training and an update of clusters can be cancelled and
# leave nothing behind, and matchers with their models, decisions and clusters survive dump and restore: the next update has nothing to look at.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
$node->safe_psql('postgres', "CREATE DATABASE $_") for qw(one two);
$node->safe_psql(
	'one', q{
	CREATE EXTENSION salesops;
	CREATE TABLE people AS SELECT i AS id, md5((i / 2)::text) AS name, 'mail' || i / 2 % 4000 || '@example.com' AS email, 'c' || i % 40 AS city
	  FROM generate_series(1, 1000) i;
	CREATE TABLE crowd AS SELECT i AS id, md5((i / 2)::text) AS name, 'mail' || i / 2 % 4000 || '@example.com' AS email FROM generate_series(1, 8000) i;
	ALTER TABLE people ADD PRIMARY KEY (id);
	ALTER TABLE crowd ADD PRIMARY KEY (id);
	SELECT salesops.create_matcher('people', 'people', 'id', '[{"column": "name", "method": "jaro_winkler"}, {"column": "email"}, {"column": "city"}]', '{email,name}');
	SELECT count(*) FROM salesops.train_matcher('people');
	SELECT salesops.reject_match('people', '2', '3'), salesops.confirm_match('people', '1', '7');
	SELECT count(*) FROM salesops.update_clusters('people');
	-- one block of everything: 32 million pairs, ten seconds and more
	SELECT salesops.create_matcher('slow', 'crowd', 'id', '[{"column": "name", "method": "damerau_levenshtein"}, {"column": "email", "method": "damerau_levenshtein"}]',
	  ARRAY['''all''::text'], '{"max_block": 1000000}');
	UPDATE salesops.matcher s SET model = (SELECT jsonb_build_object('prior', 0.0001, 'comparisons', jsonb_agg(jsonb_build_object('m', v, 'u', v, 'floor', 0.0001)))
	    FROM (SELECT (SELECT jsonb_agg(0.25) FROM generate_series(0, jsonb_array_length(c -> 'thresholds') + 1)) AS v FROM jsonb_array_elements(s.comparisons) c) x),
	  trained_at = now() WHERE matcher = 'slow';
});

# ---- progress and cancel
my $slow = $node->background_psql('one', on_error_stop => 0);
$slow->query_until(qr/begun/, "\\echo begun\nSELECT count(*) FROM salesops.find_duplicates('slow', 0.999999);\n");
ok( $node->poll_query_until(
		'one', q{SELECT count(*) = 1 FROM salesops.progress WHERE command = 'find_duplicates' AND target = 'slow' AND phase = 'scoring pairs' AND done > 0 AND done < total}),
	'another session sees how far a search is');
my $seen = $node->safe_psql('one', q{SELECT done FROM salesops.progress});
ok($node->poll_query_until('one', "SELECT done > $seen FROM salesops.progress"), 'and that it goes on');
is($node->safe_psql('one', q{SELECT pg_cancel_backend(pid) FROM salesops.progress}), 't', 'it is cancelled');
ok($node->poll_query_until('one', q{SELECT count(*) = 0 FROM salesops.progress}), 'and gone');
$slow->quit;
for my $call ("salesops.train_matcher('slow')", "salesops.find_clusters('slow')", "salesops.update_clusters('slow')", "salesops.evaluate_matcher('slow', 'SELECT 1 AS key, 2 AS cluster')")
{
	my ($rc, $out, $err) = $node->psql('one', "SET statement_timeout = '200ms'; SELECT count(*) FROM $call");
	like($err, qr/canceling statement due to statement timeout/, "$call can be cancelled");
}
is($node->safe_psql('one', q{SELECT (SELECT count(*) FROM salesops.progress) || ' ' || (SELECT count(*) FROM salesops.match_cluster WHERE matcher = 'slow')}), '0 0', 'and nothing is left');

# ---- dump and restore
my $checksum = q{SELECT md5(string_agg(f::text, ',' ORDER BY f::text)) FROM (SELECT salesops.find_duplicates('people', 0.1)::text UNION ALL SELECT key || cluster_id FROM salesops.match_cluster) f};
my $before = $node->safe_psql('one', $checksum);
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, $node->connstr('one') ], 'dump');
$node->command_ok([ 'pg_restore', '-d', $node->connstr('two'), $dump ], 'restore');
is($node->safe_psql('two', $checksum), $before, 'the restored matcher finds the same, and has the same clusters');
is($node->safe_psql('two', q{SELECT count(*) FROM salesops.update_clusters('people')}), '0', 'an update has nothing to do');
is($node->safe_psql('two', q{SELECT looked_at FROM salesops.match_cluster_state WHERE matcher = 'people'}), '0', 'nor to look at');
$node->safe_psql('two', q{DELETE FROM people WHERE id = 7; SELECT salesops.update_clusters('people')});
cmp_ok($node->safe_psql('two', q{SELECT looked_at FROM salesops.match_cluster_state WHERE matcher = 'people'}), '<', 20, 'one goes: only what it hung together with');
is($node->safe_psql('two', q{SELECT salesops.drop_matcher('people'); SELECT (SELECT count(*) FROM salesops.match_cluster) + (SELECT count(*) FROM salesops.match_cluster_state WHERE matcher = 'people')}),
	"t\n0", 'a matcher that is dropped takes its clusters along');
$node->stop;
done_testing();
