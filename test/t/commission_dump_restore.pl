# The ledger survives pg_dump and restore: the same lines, the chain verifies, the next calculation continues it, and what
# is forbidden stays forbidden. Also: CREATE EXTENSION rolled back and made again, and identity sequences that go on.
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
	BEGIN; CREATE EXTENSION salesops; ROLLBACK;
	CREATE EXTENSION salesops;
	CREATE TABLE credit (credit_id text PRIMARY KEY, rep_id text, amount numeric, credited_on date, currency text);
	INSERT INTO credit SELECT i, 'r' || i % 3, i * 1.37, date '2027-01-01' + i % 60, CASE WHEN i % 5 = 0 THEN 'EUR' END FROM generate_series(1, 300) i;
	SELECT count(*) FROM salesops.attach('commission_credit', 'credit');
	SELECT salesops.set_exchange_rate('EUR', 'USD', '2027-01-01', 1.123456789012);
	SELECT salesops.create_commission_plan('p', '{"tiers": [{"from": 0, "rate": 0.1}, {"from": 1000, "rate": 0.1275}],
		"where": "amount > 2", "draw": {"amount": 5000}, "bonuses": [{"where": "amount > 400", "amount": 1}]}');
	SELECT salesops.assign_commission_plan('r' || r, 'p', '[2027-01-01,)') FROM generate_series(0, 2) r;
	SELECT count(*) FROM salesops.calculate_commissions('[2027-01-01,2027-03-01)');
	SELECT salesops.close_commission_period('[2027-01-01,2027-02-01)');
	SELECT count(*) FROM salesops.run_commission_payout('[2027-01-01,2027-02-01)');
	SELECT salesops.open_commission_dispute(1, 'why?');
	UPDATE credit SET amount = amount + 1 WHERE credit_id = '7';
	SELECT count(*) FROM salesops.calculate_commissions('[2027-02-01,2027-03-01)');
});

my $question = q{SELECT valid, lines, postings, head FROM salesops.verify_commission_ledger();
	SELECT md5(string_agg(l::text, chr(10) ORDER BY line_id)) FROM salesops.commission_line l;
	SELECT md5(string_agg(s::text, chr(10) ORDER BY rep_id, period)) FROM salesops.commission_statement s;
	SELECT detail FROM salesops.explain_commission(5) WHERE item = 'sentence';
	SELECT count(*) FROM salesops.commission_payroll; SELECT count(*) FROM salesops.commission_dispute};
my $answer = $node->safe_psql('source', $question);
like($answer, qr/^t\|3\d\d\|/, 'the chain is whole');

my $dump = $node->backup_dir . '/plain.sql';
mkdir $node->backup_dir;
$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('source') ], 'pg_dump');
$node->command_ok([ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr('plain') ], 'psql restores without an error');
my $archive = $node->backup_dir . '/archive';
$node->command_ok([ 'pg_dump', '-Fd', '-f', $archive, $node->connstr('source') ], 'pg_dump -Fd');
$node->command_ok([ 'pg_restore', '-j2', '--exit-on-error', '-d', $node->connstr('parallel'), $archive ], 'pg_restore -j2');

for my $database ('plain', 'parallel')
{
	is($node->safe_psql($database, $question), $answer, "$database: same ledger, same chain");
	is($node->safe_psql($database, q{SELECT sum(lines) FROM salesops.calculate_commissions('[2027-01-01,2027-03-01)')}),
		'0', "$database: nothing to calculate");
	$node->safe_psql($database, q{UPDATE credit SET amount = amount + 10 WHERE credit_id = '100'});
	is($node->safe_psql($database, q{SELECT sum(lines) FROM salesops.calculate_commissions('[2027-02-01,2027-03-01)')}),
		'2', "$database: the ledger goes on, a line and the draw's recovery");
	is($node->safe_psql($database, 'SELECT valid FROM salesops.verify_commission_ledger()'), 't', "$database: and so does its chain");
	my ($code, $out, $error) = $node->psql($database, 'DELETE FROM salesops.commission_entry');
	like($error, qr/append-only/, "$database: what is forbidden stays forbidden");
	is($node->safe_psql($database, q{SELECT salesops.assign_commission_plan('r9', 'p', '[2027-01-01,)'), salesops.open_commission_dispute(2, 'x')}),
		'4|2', "$database: numbers go on");
}

# a crash in the middle of a calculation leaves nothing of it
$node->safe_psql('plain', q{UPDATE credit SET amount = amount + 10 WHERE credit_id = '100'});
my $before = $node->safe_psql('plain', 'SELECT count(*) FROM salesops.commission_line');
$node->psql('plain', q{BEGIN; SELECT count(*) FROM salesops.calculate_commissions('[2027-02-01,2027-03-01)'); SELECT pg_terminate_backend(pg_backend_pid())});
$node->stop('immediate');
$node->start;
is($node->safe_psql('plain', 'SELECT count(*) FROM salesops.commission_line'), $before, 'a crash leaves nothing of an unfinished calculation');
is($node->safe_psql('plain', q{SELECT sum(lines) FROM salesops.calculate_commissions('[2027-02-01,2027-03-01)')}), '3', 'it is done again (with the draw of the rep that is new)');
is($node->safe_psql('plain', 'SELECT valid FROM salesops.verify_commission_ledger()'), 't', 'and the chain is whole');

$node->stop;
done_testing();
