# Record linkage in databases whose encoding is not UTF8: a cut key (a prefix as blocking) counts characters, in memory, through temporary
# files and in the indexes of look-ups alike, so the same people give the same pairs and weights in every encoding.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;

# four characters beyond ASCII of each, as UTF-8
my %letters = (LATIN1 => 'c3a9c3bcc3b6c3a4', EUC_JP => 'e794b0e4b8ade69d91e5b1b1');

# 2,048 pairs of records: their names share the first six characters with one another and with nobody else, the last four with nobody
# or many. Cut by bytes, six would reach to the third character and make blocks of many pairs.
sub fill
{
	my ($db, $hex) = @_;
	$node->safe_psql(
		$db, qq{
		CREATE OR REPLACE FUNCTION letters(n integer, size integer) RETURNS text IMMUTABLE LANGUAGE sql AS \$\$
		  SELECT string_agg(substr(convert_from('\\x$hex', 'UTF8'), 1 + (n / (4 ^ p)::integer) % 4, 1), '' ORDER BY p) FROM generate_series(0, size - 1) p \$\$;
		DROP TABLE IF EXISTS people;
		SELECT salesops.drop_matcher('people');
		CREATE TABLE people (id integer PRIMARY KEY, name text, code text, note text);
		INSERT INTO people SELECT i * 2 + e, letters(i, 6) || letters(i * 7 + e * 5, 4), 'code' || i, repeat(md5(i || ' ' || e), 5)
		  FROM generate_series(0, 2047) i, generate_series(0, 1) e;
		SELECT salesops.create_matcher('people', 'people', 'id', '[{"column": "name", "method": "levenshtein"}, {"column": "code"},
		  {"column": "note", "method": "ngram"}]', '{name}');
		-- (notes only fill the memory)
		-- a cut key, as the defaults store one
		UPDATE salesops.matcher SET blocking = jsonb_set(blocking, '{0,parts,0,prefix}', '6');
		SELECT count(*) FROM salesops.train_matcher('people')});
}

# all pairs, however unlikely, with their weights; and what the search wrote to temporary files
my $pairs = q{SELECT count(*), count(*) FILTER (WHERE left_key::integer / 2 = right_key::integer / 2),
	md5(string_agg(format('%s %s %s', left_key, right_key, weight), ',' ORDER BY left_key, right_key)) FROM salesops.find_duplicates('people', 0)};

sub temporary_blocks
{
	my ($db, $memory) = @_;
	my $plan = $node->safe_psql($db, qq{SET maintenance_work_mem = '$memory';
		EXPLAIN (ANALYZE, BUFFERS, FORMAT json) SELECT FROM salesops.find_duplicates('people', 0)});
	return $plan =~ /"Temp Written Blocks": (\d+)/ ? $1 : undef;
}

for my $server ('LATIN1', 'EUC_JP', 'UTF8')
{
	my $db = 'db_' . lc $server;
	$node->safe_psql('postgres', "CREATE DATABASE $db ENCODING '$server' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
	$node->safe_psql($db, 'CREATE EXTENSION salesops');
}

for my $encoding ('LATIN1', 'EUC_JP')
{
	my %answer;
	for my $server ($encoding, 'UTF8')
	{
		my $db = 'db_' . lc $server;
		my $what = $server eq $encoding ? $encoding : "the same in UTF8";
		fill($db, $letters{$encoding});
		$answer{$server} = $node->safe_psql($db, "SET maintenance_work_mem = '64MB'; $pairs");
		like($answer{$server}, qr/^2048\|2048\|/, "$what: pairs that share six characters, no others");
		cmp_ok(temporary_blocks($db, '1MB'), '>', 10, "$what: through temporary files");
		is($node->safe_psql($db, "SET maintenance_work_mem = '1MB'; $pairs"), $answer{$server}, "$what: the same pairs there");
		is($node->safe_psql($db, q{SELECT count(*) FROM salesops.index_matcher('people') WHERE created}), '1', "$what: the cut key is indexed");
		is($node->safe_psql($db, q{SELECT count(*), bool_and(m.key::integer / 2 = p.id / 2) FROM people p, salesops.find_matches('people', p, 0) m
			WHERE p.id < 200 AND m.key <> p.id::text}), '200|t', "$what: look-ups find the same");
	}
	is($answer{$encoding}, $answer{UTF8}, "$encoding: the pairs and weights of a UTF8 database");

	# a key that is too long for an index is cut between characters: the 512th byte is the first of two in EUC_JP
	my $long = q{('a' || repeat(letters(27, 4), 300))};
	is($node->safe_psql('db_' . lc $encoding,
		qq{SELECT left(salesops.match_key($long), -17) = left($long, length(salesops.match_key($long)) - 17),
			octet_length(salesops.match_key($long)), salesops.match_key($long) <> salesops.match_key($long || letters(0, 1))}),
		$encoding eq 'EUC_JP' ? 't|528|t' : 't|529|t', "$encoding: a long key is cut between characters");
}

$node->stop;
done_testing();
