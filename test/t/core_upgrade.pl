# ALTER EXTENSION UPDATE with data in place leaves what a fresh install has. There is one release yet, so the older version here is the same script
# under a lower number with an empty upgrade script: what is tested is the way, and the comparison that the next release will need.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use File::Copy;
use Test::More;

plan skip_all => 'this server has no folder of the test for extensions' unless slurp_file($ENV{TEMP_CONFIG}) =~ /^extension_/m;
my $folder = (glob "$ENV{SALESOPS_DEST}/usr/share/postgresql/*/extension")[0] // (glob "$ENV{SALESOPS_DEST}/*/*/extension")[0];
my $control = slurp_file("$folder/salesops.control");
my ($version) = $control =~ /default_version\s*=\s*'([^']+)'/;
ok($version, "the control file says version $version");
copy("$folder/salesops--$version.sql", "$folder/salesops--0.0.1.sql") or die $!;
append_to_file("$folder/salesops--0.0.1--$version.sql", "\\echo Use \"ALTER EXTENSION salesops UPDATE\" to load this file. \\quit\n");

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE old; CREATE DATABASE fresh');
$node->safe_psql('fresh', 'CREATE EXTENSION salesops');
$node->safe_psql(
	'old', q{
	CREATE EXTENSION salesops VERSION '0.0.1';
	CREATE TABLE deal (opportunity_id text, stage text, amount numeric);
	INSERT INTO deal VALUES ('1', 'new', 10);
	SELECT count(*) FROM salesops.attach('opportunity', 'deal')});
$node->safe_psql('old', 'ALTER EXTENSION salesops UPDATE');
is($node->safe_psql('old', q{SELECT extversion FROM pg_extension WHERE extname = 'salesops'}), $version, 'the version moved');
is($node->safe_psql('old', 'SELECT amount FROM salesops.opportunity'), '10', 'the data is read as before');

my $members = q{SELECT pg_describe_object(d.classid, d.objid, 0) || ' ' ||
    COALESCE(CASE WHEN d.classid = 'pg_class'::regclass AND c.relkind = 'v' THEN pg_get_viewdef(d.objid) END, '') || ' ' ||
    COALESCE(CASE WHEN d.classid = 'pg_proc'::regclass AND p.prokind IN ('f', 'p') AND p.proname !~ '_rows$' THEN pg_get_functiondef(d.objid) END, '')
  FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND d.refclassid = 'pg_extension'::regclass
  LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
 WHERE d.deptype = 'e' AND e.extname = 'salesops' ORDER BY 1};
is($node->safe_psql('old', $members), $node->safe_psql('fresh', $members), 'an upgraded database has the members that a fresh one has');
unlink "$folder/salesops--0.0.1.sql", "$folder/salesops--0.0.1--$version.sql";
$node->stop;
done_testing();
