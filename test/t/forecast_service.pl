# Forecasts on a hot standby are the primary's, to the bit, and those that write say so; a job takes a snapshot; a long one can be cancelled,
# times out, and is to be seen in salesops.progress while it runs. What people said
# of teams and deals survives a dump and a restore, and the next number does not collide.
use strict;
use warnings;
BEGIN { $ENV{PG_TEST_TIMEOUT_DEFAULT} ||= 60 }
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', "shared_preload_libraries = 'salesops'\nmax_worker_processes = 16");
$primary->start;
# two deals a day for two years, each open for fifty days in the mean
$primary->safe_psql('postgres', q{
	CREATE EXTENSION salesops;
	CREATE FUNCTION chance(i int, what text) RETURNS float8 LANGUAGE sql IMMUTABLE AS
	  $$ SELECT (hashtextextended(i || what, 0) >> 12 & ((1::bigint << 40) - 1)) / 1099511627776.0 $$;
	CREATE TABLE deal AS
	  SELECT 'D' || i AS opportunity_id, created AS created_at, CASE WHEN created + days < now() THEN created + days END AS closed_at,
	         CASE WHEN created + days >= now() THEN 'Open' WHEN chance(i, 'won') < 0.4 THEN 'Won' ELSE 'Lost' END AS stage,
	         100 + floor(900 * chance(i, 'amount'))::numeric AS amount, 'R' || i % 9 AS owner_id
	    FROM (SELECT i, date_trunc('day', now()) - interval '1 day' * (730 - i / 2) + interval '10 hours' AS created, -50 * ln(1 - chance(i, 'days')) * interval '1 day' AS days
	            FROM generate_series(0, 1459) i) g;
	SELECT salesops.attach('opportunity', 'deal');
	SELECT salesops.define_stages('default', '[{"stage": "Open", "kind": "open"}, {"stage": "Won", "kind": "won"}, {"stage": "Lost", "kind": "lost"}]');
	SELECT salesops.create_job('snapshot', 'every 1 hour', 'SELECT salesops.take_forecast_snapshot()');
});
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

# a job
$primary->safe_psql('postgres', q{SELECT salesops.run_job('snapshot')});
is($primary->safe_psql('postgres', q{SELECT string_agg(DISTINCT outcome || coalesce(error, ''), ', ') FROM salesops.job_run}), 'succeeded', 'a job takes a snapshot');
is($primary->safe_psql('postgres', q{SELECT count(DISTINCT period), count(*) FILTER (WHERE by = '{}'), count(*) FILTER (WHERE by = '{owner_id}') FROM salesops.forecast_snapshot}),
	'2|2|18', '... of two quarters, of all and of nine owners');
$primary->wait_for_catchup($standby);

# what people say of a deal and of a team
my $quarter = q{daterange(date_trunc('quarter', now())::date, (date_trunc('quarter', now()) + interval '3 months')::date)};
$primary->safe_psql('postgres', qq{
	SELECT salesops.adjust_deal((SELECT min(opportunity_id) FROM deal WHERE closed_at IS NULL), $quarter, 'R1', 0.75, note => 'met them');
	SELECT salesops.adjust_forecast('R1', $quarter, 1234.5, 'best case')});
$primary->wait_for_catchup($standby);

# the standby
my $at = $primary->safe_psql('postgres', 'SELECT now()');
my $all = qq{SELECT md5(string_agg(x::text, '' ORDER BY x::text)) FROM (
	SELECT b::text AS x FROM salesops.forecast_bookings(daterange(current_date, current_date + 90), '{owner_id}', '$at') b UNION ALL
	SELECT d::text FROM salesops.forecast_deals(NULL, '$at') d UNION ALL
	SELECT s::text FROM salesops.simulate_forecast('{"win_rate": 1.1}', NULL, '$at') s UNION ALL
	SELECT t::text FROM salesops.forecast_team(daterange(current_date, current_date + 90), '$at') t UNION ALL
	SELECT r::text FROM salesops.opportunity_risk(NULL, '$at') r UNION ALL
	SELECT salesops.win_probability(opportunity_id, '30 days', '$at')::text FROM deal WHERE closed_at IS NULL) y};
is($standby->safe_psql('postgres', $all), $primary->safe_psql('postgres', $all), 'a standby forecasts what the primary does, to the bit');
my ($code, $out, $err) = $standby->psql('postgres', 'SELECT salesops.take_forecast_snapshot()');
like($err, qr/cannot execute \w+ in a read-only transaction/, 'it takes no snapshot, and says why');
($code, $out, $err) = $standby->psql('postgres', 'SELECT salesops.train_win_model()');
like($err, qr/read-only transaction|during recovery/, 'nor does it train');
($code, $out, $err) = $standby->psql('postgres', "SELECT salesops.adjust_deal((SELECT min(opportunity_id) FROM deal WHERE closed_at IS NULL), $quarter, 'R1', 0.5)");
like($err, qr/read-only transaction/, 'nor does it keep what people say');
$standby->stop;

# dump and restore
$primary->safe_psql('postgres', 'CREATE DATABASE restored');
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump.sql';
$primary->command_ok(['pg_dump', '-f', $dump, $primary->connstr('postgres')], 'dumped');
$primary->command_ok(['psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $primary->connstr('restored')], 'restored');
my $said = q{SELECT string_agg(a::text, ',' ORDER BY a::text) FROM (SELECT d::text FROM salesops.forecast_deal_adjustment d UNION ALL SELECT f::text FROM salesops.forecast_adjustment f) a};
like($primary->safe_psql('postgres', $said), qr/met them.*1234[.]5|1234[.]5.*met them/, 'what was said of a deal and a person');
is($primary->safe_psql('restored', $said), $primary->safe_psql('postgres', $said), '... is the same after a restore');
is($primary->safe_psql('restored', qq{SELECT salesops.adjust_deal((SELECT min(opportunity_id) FROM deal WHERE closed_at IS NULL), $quarter, 'R1', 0.5)}), '2', '... and the next one is the next');
is($primary->safe_psql('restored', q{SELECT count(*), min(judged_chance) FROM salesops.opportunity_outlook WHERE judged_by = 'R1'}), '1|0.5', '... and counts');
$primary->safe_psql('postgres', 'DROP DATABASE restored WITH (FORCE)');

# a long one: seen, cancelled, timed out
my $long = q{SELECT count(*) FROM salesops.backtest_forecast(current_date - 600, current_date - 1, '1 day', '{30 days,60 days,90 days}')};
my $session = $primary->background_psql('postgres', on_error_stop => 0);
$session->query_until(qr/begun/, "\\echo begun\n$long;\n");
ok($primary->poll_query_until('postgres', q{SELECT count(*) > 0 FROM salesops.progress WHERE command = 'backtest_forecast' AND phase = 'forecasting' AND done > 0}), 'its progress is shown');
$primary->safe_psql('postgres', q{SELECT pg_cancel_backend(pid) FROM salesops.progress});
ok($primary->poll_query_until('postgres', q{SELECT count(*) = 0 FROM salesops.progress}), 'cancelled, it is shown no more');
($code, $out, $err) = $primary->psql('postgres', "SET statement_timeout = '300ms'; $long");
like($err, qr/canceling statement due to statement timeout/, 'statement_timeout holds');
is($primary->safe_psql('postgres', q{SELECT count(*) FROM salesops.progress}), '0', 'and leaves nothing in the view');
eval { $session->quit };
$primary->stop;
done_testing();
