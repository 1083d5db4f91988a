# pg_dump | psql into a new database gives the same contract views, also with pg_restore -j2 and after renames.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE source; CREATE DATABASE plain; CREATE DATABASE parallel');
$node->safe_psql(
	'source', q{
	CREATE EXTENSION salesops;
	CREATE SCHEMA app;
	CREATE TABLE app.deal (gone int, id bigint PRIMARY KEY, stage text, value numeric);
	ALTER TABLE app.deal DROP COLUMN gone;
	INSERT INTO app.deal VALUES (1, 'new', 10), (2, 'won', 20);
	SELECT count(*) FROM salesops.attach('opportunity', 'app.deal', '{"opportunity_id": "id", "amount": "value"}');
	ALTER TABLE app.deal RENAME COLUMN value TO worth;
});

my $question = 'SELECT string_agg(opportunity_id || stage || amount, chr(44) ORDER BY 1) FROM salesops.opportunity';
my $answer = $node->safe_psql('source', $question);
is($answer, '1new10,2won20', 'the view reads the table');

my $dump = $node->backup_dir . '/plain.sql';
mkdir $node->backup_dir;
$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('source') ], 'pg_dump');
$node->command_ok([ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr('plain') ], 'psql restores without an error');
is($node->safe_psql('plain', $question), $answer, 'same answer after pg_dump | psql');

my $archive = $node->backup_dir . '/archive';
$node->command_ok([ 'pg_dump', '-Fd', '-f', $archive, $node->connstr('source') ], 'pg_dump -Fd');
$node->command_ok([ 'pg_restore', '-j2', '--exit-on-error', '-d', $node->connstr('parallel'), $archive ], 'pg_restore -j2');
is($node->safe_psql('parallel', $question), $answer, 'same answer after pg_restore -j2');

# the restored mapping follows renames too: its attribute numbers are those of the new table
$node->safe_psql('plain', 'ALTER TABLE app.deal RENAME COLUMN worth TO amount_usd');
is($node->safe_psql('plain', $question), $answer, 'a rename after the restore is followed');
is($node->safe_psql('plain', q{SELECT columns->>'amount' FROM salesops.source}), 'amount_usd', 'the mapping names the new column');

$node->stop;
done_testing();
