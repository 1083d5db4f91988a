# Databases in LATIN1 and SQL_ASCII: the extension installs, attaches and reads there; a standby reads the same.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1);
$node->start;
for my $encoding ('LATIN1', 'SQL_ASCII')
{
	my $db = 'db_' . lc $encoding;
	$node->safe_psql('postgres', "CREATE DATABASE $db ENCODING '$encoding' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
	$node->safe_psql(
		$db, q{
		CREATE EXTENSION salesops;
		CREATE TABLE deal (opportunity_id text, stage text);
		INSERT INTO deal VALUES ('1', 'n' || chr(233));
		SELECT count(*) FROM salesops.attach('opportunity', 'deal')});
	is($node->safe_psql($db, 'SELECT length(stage) FROM salesops.opportunity'), '2', "$encoding: attach and read");
}

$node->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->start;
$node->safe_psql('db_latin1', q{INSERT INTO deal VALUES ('2', 'new')});
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
is($standby->safe_psql('db_latin1', 'SELECT count(*) FROM salesops.opportunity'), '2', 'a standby reads through the contract views');
my ($rc, $out, $err) = $standby->psql('db_latin1', q{SELECT * FROM salesops.attach('opportunity', 'deal')});
isnt($rc, 0, 'attach on a standby fails');
like($err, qr/read-only|recovery/, 'with the server\'s own reason');
$standby->stop;
$node->stop;
done_testing();
