# libxgboost is wanted for training only: where its module is missing, models predict and explain as before, and training says
# what to do. A training can be cancelled between rounds, again and again, without growth of the backend.
use strict;
use warnings;
use Cwd qw(abs_path);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION salesops;
	CREATE TABLE lead_row AS
	  SELECT i AS id, sin(i) AS a, cos(i * 1.7) AS b, CASE WHEN i % 7 > 0 THEN sin(i * 0.3) END AS c,
	         sin(i) * cos(i * 1.7) + 0.4 * sin(i * 12.9898) > 0.1 AS won
	  FROM generate_series(1, 3000) AS i});
my $train = q{SELECT method FROM salesops.train_model('%s', 'SELECT * FROM lead_row', 'won', 'boosted_trees', 'id',
	'{"depth": 3, "rounds": %d, "seed": 1}')};
is($node->safe_psql('postgres', sprintf($train, 'one', 40)), 'boosted_trees', 'trees are trained');
$node->safe_psql('postgres', sprintf($train, 'two', 40));
is( $node->safe_psql('postgres', q{SELECT count(*) FROM lead_row r WHERE salesops.predict('one', r) <> salesops.predict('two', r)}),
	'0', 'the same data, options and seed give the same model');

my $batch = q{SELECT count(*), count(*) FILTER (WHERE b.probability = salesops.predict('one', r))
	FROM salesops.predict_batch('one', 'SELECT * FROM lead_row', 'id') b JOIN lead_row r ON r.id::text = b.key};
is($node->safe_psql('postgres', $batch), '3000|3000', 'predict_batch gives the very bits of predict');

my $explain = q{SELECT max(abs(ln(p / (1 - p)) - total)) < 1e-12 FROM
	(SELECT salesops.predict('one', r) p, (SELECT sum(contribution) FROM salesops.explain_prediction('one', r, 100)) total
	 FROM lead_row r WHERE id <= 100) x};
is($node->safe_psql('postgres', $explain), 't', 'contributions add up to the log odds');

# cancel: two seconds of rounds, stopped after a tenth
my $memory = q{SELECT sum(total_bytes) FROM pg_backend_memory_contexts};
my $long = sprintf($train, 'long', 10000);
my ($rc, $out, $err) = $node->psql('postgres', "SET statement_timeout = '100ms'; $long");
like($err, qr/canceling statement due to statement timeout/, 'training stops between rounds');
is($node->safe_psql('postgres', q{SELECT count(*) FROM salesops.model_version WHERE name = 'long'}), '0', 'and leaves no version');
is($node->safe_psql('postgres', q{SELECT count(*) FROM salesops.progress}), '0', 'nor a line of progress');
my $cancelled = "SET statement_timeout = '60ms';\n" . join('', map { "$long;\n" } 1 .. 10);
($rc, $out, $err) = $node->psql('postgres', "$cancelled RESET statement_timeout; $memory", on_error_stop => 0);
cmp_ok($out, '<', 20_000_000, 'ten cancelled trainings leave nothing behind in memory contexts');

# the module is gone
my $dest = $ENV{SALESOPS_DEST};
my $copy = abs_path($node->basedir) . '/dest';
my $before = $node->safe_psql('postgres', q{SELECT sum(salesops.predict('one', r)) FROM lead_row r});
my %setting;
for my $name ('dynamic_library_path', 'extension_destdir', 'extension_control_path')
{
	my $value = $node->safe_psql('postgres', "SELECT setting FROM pg_settings WHERE name = '$name'");
	($setting{$name} = $value) =~ s/\Q$dest\E/$copy/g if $value =~ /\Q$dest\E/;
}
SKIP:
{
	skip 'the extension is not loaded from a tree of the test', 6 unless %setting;
	system_or_bail('cp', '-a', $dest, $copy);
	my @modules = split /\n/, `find '$copy' -name salesops_xgboost.so`;
	is(scalar @modules, 1, 'the module is a file of its own');
	unlink @modules;
	$node->append_conf('postgresql.conf', "$_ = '$setting{$_}'") for keys %setting;
	$node->restart;
	($rc, $out, $err) = $node->psql('postgres', sprintf($train, 'three', 40));
	like($err, qr/boosted trees cannot be trained here: libxgboost is not available/, 'without it, training says so');
	like($err, qr/HINT:.*Install libxgboost.*or train with method "logistic"/s, 'and what to do');
	is($node->safe_psql('postgres', q{SELECT sum(salesops.predict('one', r)) FROM lead_row r}),
		$before, 'predictions need no library');
	is($node->safe_psql('postgres', $explain), 't', 'nor do explanations');
	is( $node->safe_psql(
			'postgres', q{SELECT method FROM salesops.train_model('plain', 'SELECT * FROM lead_row', 'won', 'logistic', 'id')}),
		'logistic', 'logistic regression trains on');
}
$node->stop;
done_testing();
