#!/usr/bin/env perl
# Checks that doc/commission_plan.schema.json and the parser of plans (src/commission/plan_pg.c) know the same keys, object by object.
# It looks at keys only: types and bounds are the tests' business.
use strict;
use warnings;
use JSON::PP;

local $/;
open my $file, '<', 'src/commission/plan_pg.c' or die "plan_pg.c: $!";
my $source = <$file>;
open $file, '<', 'doc/commission_plan.schema.json' or die "schema: $!";
my $schema = JSON::PP->new->utf8->decode(<$file>);
my $plan = $schema->{properties};
my $rates = $plan->{rates}{items}{properties};
my %objects = (
	plan_specs => $plan,
	tier_specs => $schema->{'$defs'}{tiers}{items}{properties},
	point_specs => $schema->{'$defs'}{curve}{items}{properties},
	component_specs => $rates,
	levels_specs => $rates->{by}{properties},
	level_specs => $rates->{by}{properties}{levels}{items}{properties},
	bonus_specs => $plan->{bonuses}{items}{properties},
	(map { $_ . '_specs' => $plan->{ $_ eq 'override' ? 'manager_override' : $_ }{properties} } qw(draw gate non_payment override)));

my $bad = 0;
my %known = map { $_ => 1 } $source =~ /^static const OptionSpec (\w+)\[\]/mg;
for my $name (sort keys %known)
{
	my ($body) = $source =~ /^static const OptionSpec $name\[\] = \{(.*?)^\};/ms;
	my $parser = join ' ', sort($body =~ /^\t\{"(\w+)"/mg);
	my $page = join ' ', sort keys %{ $objects{$name} // {} };
	next if $parser eq $page;
	print "$name: the parser has $parser, the schema $page\n";
	$bad++;
}
exit($bad ? 1 : 0);
