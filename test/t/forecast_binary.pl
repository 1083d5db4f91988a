# The forecast's binary form, damaged in a thousand ways: each is refused with 22P03 (or a protocol error), or read as a value whose text
# is read again without loss and whose quantiles are in order; the server lives on.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION salesops;
	CREATE TABLE sound (f salesops.forecast);
	INSERT INTO sound SELECT salesops.forecast((i * 37 % 1000 - 100)::numeric, (i % 19) / 18.0) FROM generate_series(1, 40) i;
	INSERT INTO sound SELECT salesops.forecast((i * 37.31)::numeric, (i % 97) / 96.0) FROM generate_series(1, 400) i;
	CREATE TABLE damaged (f salesops.forecast);
});
my $dir = PostgreSQL::Test::Utils::tempdir;
my @sound;
for my $row (0, 1)
{
	$node->safe_psql('postgres', "\\copy (SELECT f FROM sound OFFSET $row LIMIT 1) to '$dir/sound' binary");
	push @sound, slurp_file("$dir/sound");
}
my $before = $node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()');
srand(7);
my $script = "\\set VERBOSITY sqlstate\n";
for my $i (1 .. 1000)
{
	my $bytes = $sound[ $i % 2 ];
	# the file's header, a tuple's field count and length come before byte 25, its end mark is the last two
	my $room = length($bytes) - 2 - 25;
	my $early = $i % 3 ? $room : 60;
	for (0 .. int(rand(3)))
	{
		my $at = 25 + int(rand($early < $room ? $early : $room));
		substr($bytes, $at, 1) = chr($i % 5 ? int(rand(256)) : (0, 255, 127, 128)[ int(rand(4)) ]);
	}
	open my $out, '>:raw', "$dir/d$i" or die $!;
	print $out $bytes;
	close $out;
	$script .= "\\copy damaged from '$dir/d$i' binary\n";
}
my ($code, $stdout, $stderr) = $node->psql('postgres', $script, on_error_stop => 0);
my %seen;
$seen{$1}++ while $stderr =~ /ERROR:\s+(\w{5})/g;
is(join(' ', grep { !/^(22P03|08P01|22003)$/ } sort keys %seen), '', 'damage is refused as invalid binary input or a protocol violation');
my $refused = 0;
$refused += $_ for values %seen;
my $taken = $node->safe_psql('postgres', 'SELECT count(*) FROM damaged');
is($refused + $taken, 1000, 'each is refused or taken');
cmp_ok($refused, '>', 100, "some are refused: $refused");
cmp_ok($taken, '>', 20, "some are taken: $taken");
is( $node->safe_psql(
		'postgres', q{SELECT count(*) FROM damaged WHERE f::text::salesops.forecast::text <> f::text
		   OR NOT (salesops.quantile(f, 0.1) <= salesops.quantile(f, 0.5) AND salesops.quantile(f, 0.5) <= salesops.quantile(f, 0.9))}),
	0, 'what is taken is a sound value');
is($node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()'), $before, 'no crash');
$node->stop;
done_testing();
