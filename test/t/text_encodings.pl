# Other server encodings than UTF8, and what of the nicknames a dump carries.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
for my $encoding ('LATIN1', 'SQL_ASCII', 'EUC_JP', 'UTF8')
{
	$node->safe_psql('postgres',
		'CREATE DATABASE db_' . lc($encoding) . " ENCODING '$encoding' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
	$node->safe_psql('db_' . lc($encoding), 'CREATE EXTENSION salesops');
}

# LATIN1: a byte is a character, and names reach ICU through conversion
my $latin = 'db_latin1';
is($node->safe_psql($latin, q{SELECT salesops.levenshtein_distance('M' || chr(252) || 'ller', 'Muller')}), '1', 'LATIN1: one character differs');
is($node->safe_psql($latin, q{SELECT salesops.normalize_name('M' || chr(252) || 'ller ' || chr(223) || chr(216))}), 'muller sso', 'LATIN1: names');
is($node->safe_psql($latin, q{SELECT salesops.normalize_company('Soci' || chr(233) || 't' || chr(233) || ' X S.A.')}), 'societe x', 'LATIN1: companies');
is($node->safe_psql($latin, q{SELECT salesops.company_domain('www.m' || chr(252) || 'ller.de')}), 'xn--mller-kva.de', 'LATIN1: domains');
is($node->safe_psql($latin, q{SELECT encode(convert_to(salesops.normalize_email('J' || chr(214) || 'RG@x.de'), 'UTF8'), 'hex')}),
	'6ac3b6726740782e6465', 'LATIN1: a local part comes back in the server\'s encoding');

# EUC_JP: several bytes a character
is($node->safe_psql('db_euc_jp', q{SELECT salesops.levenshtein_distance(convert_from('\xe794b0e4b8ad', 'UTF8'), convert_from('\xe794b0e69d91', 'UTF8'))}),
	'1', 'EUC_JP: one of two characters differs');
is($node->safe_psql('db_euc_jp', q{SELECT salesops.normalize_name(convert_from('\xe794b0e4b8ad', 'UTF8'))}), 'tian zhong', 'EUC_JP: names');

# SQL_ASCII: bytes have no meaning: distances count them, normalisation refuses
is($node->safe_psql('db_sql_ascii', q{SELECT salesops.levenshtein_distance(E'M\xc3\xbcller', 'Muller')}), '2', 'SQL_ASCII: two bytes differ');
is($node->safe_psql('db_sql_ascii', q{SELECT salesops.normalize_name('ANNA') || salesops.normalize_email('A@B.de')}), 'annaa@b.de', 'SQL_ASCII: plain ASCII is fine');
for my $call ('normalize_name', 'normalize_company', 'normalize_email', 'normalize_phone', 'company_domain')
{
	my ($rc, $out, $err) = $node->psql('db_sql_ascii', qq{SELECT salesops.$call(E'M\\xc3\\xbcller')});
	like($err, qr/$call\(\) cannot read characters beyond ASCII in a database with encoding SQL_ASCII/, "SQL_ASCII: $call says why it cannot");
}

# what was added travels, what was seeded comes with the extension
$node->safe_psql('db_utf8', q{INSERT INTO salesops.nickname (name, canonical) VALUES ('Bill', 'Wilhelm'), ('Zzz', 'Zedekiah')});
my $question = q{SELECT count(*) || ' ' || count(*) FILTER (WHERE NOT is_seed) || ' ' || salesops.canonical_first_name('bill') || ' ' ||
	salesops.canonical_first_name('bob') FROM salesops.nickname};
my $answer = $node->safe_psql('db_utf8', $question);
like($answer, qr/ 2 wilhelm robert$/, 'two rows of our own beside the seeded ones');
my $dump = $node->backup_dir . '/text.sql';
mkdir $node->backup_dir;
$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('db_utf8') ], 'pg_dump');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr('restored') ], 'psql restores without an error');
is($node->safe_psql('restored', $question), $answer, 'the same nicknames after dump and restore');

$node->stop;
done_testing();
