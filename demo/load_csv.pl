#!/usr/bin/env perl
# Turns a folder of CSV files into SQL that loads them into schema crm, each file a table, with types guessed from the content,
# and writes beside it (map.sql, in the demo's folder) how they attach. Where the folder holds a mapping.sql of its own, that is used.
# Use: demo/load_csv.pl DIR >load.sql    It only guesses: read map.sql, correct it, put it into DIR as mapping.sql, run again.
use strict;
use warnings;
use Cwd 'abs_path';

my $dir = abs_path(shift // die "usage: demo/load_csv.pl DIR\n");
my $out = $ENV{PGHOST} // '.';

sub identifier { my $n = lc shift; $n =~ s/[^a-z0-9]+/_/g; $n =~ s/^_+|_+$//g; $n = "c_$n" if $n !~ /^[a-z]/; return substr($n, 0, 60); }

# one CSV line of a header into its fields
sub fields
{
	my @f;
	my $line = shift;
	$line =~ s/^\x{ef}\x{bb}\x{bf}//;
	$line =~ s/[\r\n]+$//;
	while ($line =~ /\G\s*(?:"((?:[^"]|"")*)"|([^,]*))(,|$)/g)
	{
		push @f, defined $1 ? $1 =~ s/""/"/gr : $2;
		last if $3 eq '';
	}
	return @f;
}

# contract column => names that it goes by in the wild, best first
my %synonyms = (
	opportunity => {
		opportunity_id => [qw(opportunity_id deal_id id)], stage => [qw(stage deal_stage stage_name status)],
		amount => [qw(amount close_value value deal_value)], created_at => [qw(created_at created_date engage_date created inserted_at)],
		closed_at => [qw(closed_at close_date won_date)], close_date => [qw(expected_close_date)], name => [qw(name opportunity_name deal_name)],
		account_id => [qw(account_id account company)], owner_id => [qw(owner_id sales_agent owner rep rep_id)], type => [qw(type product deal_type)],
		currency => [qw(currency)], source => [qw(source lead_source)] },
	account => {
		account_id => [qw(account_id account id)], name => [qw(name account account_name company)], industry => [qw(industry sector)],
		employees => [qw(employees number_of_employees)], annual_revenue => [qw(annual_revenue revenue)], country => [qw(country office_location billing_country)],
		parent_id => [qw(parent_id)], domain => [qw(domain website)] },
	sales_rep => { rep_id => [qw(rep_id sales_agent rep user_id)], name => [qw(name sales_agent)], manager_id => [qw(manager_id manager)],
		region => [qw(region regional_office)] },
	lead => { lead_id => [qw(lead_id lead_number prospect_id mql_id id)], created_at => [qw(created_at created_date first_contact_date)],
		email => [qw(email)], phone => [qw(phone)], first_name => [qw(first_name)], last_name => [qw(last_name surname)], company => [qw(company)],
		converted_at => [qw(converted_at converted_date)], source => [qw(source lead_source origin)], industry => [qw(industry specialization)] });
my %required = (opportunity => [qw(opportunity_id stage)], account => [qw(account_id name)], sales_rep => [qw(rep_id)], lead => [qw(lead_id created_at)]);

my (%columns, @order);
print "SET client_min_messages = warning;\nDROP SCHEMA IF EXISTS crm CASCADE;\nDROP SCHEMA IF EXISTS demo CASCADE;\nCREATE SCHEMA crm;\nCREATE SCHEMA demo;\n";
for my $file (sort glob "\Q$dir\E/*.csv")
{
	my ($table) = map { identifier($_) } $file =~ m{([^/]+)\.csv$};
	open my $in, '<', $file or die "$file: $!\n";
	my $header = <$in> // next;
	close $in;
	my (%seen, @names);
	for (fields($header)) { my $n = identifier($_); $n .= '_' . (@names + 1) if $seen{$n}++; push @names, $n; }
	$columns{$table} = \@names;
	push @order, $table;
	print "CREATE TABLE crm.\"$table\" (" . join(', ', map { "\"$_\" text" } @names) . ");\n";
	print "\\copy crm.\"$table\" FROM '" . ($file =~ s/'/''/gr) . "' WITH (FORMAT csv, HEADER true)\n";
}
die "no CSV files in $dir\n" unless @order;

# text columns whose every value is a number, a date or a time become that
print <<'SQL';
DO $$
DECLARE
  c record;
  kind text;
BEGIN
  FOR c IN SELECT table_name AS t, column_name AS n FROM information_schema.columns WHERE table_schema = 'crm' LOOP
    EXECUTE format($q$SELECT CASE WHEN count(nullif(trim(%2$I), '')) = 0 THEN NULL
        WHEN bool_and(%2$I ~ '^\s*\d{4}-\d{2}-\d{2}\s*$') THEN 'date'
        WHEN bool_and(%2$I ~ '^\s*\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}') THEN 'timestamptz'
        WHEN bool_and(%2$I ~ '^\s*-?\d{1,15}(\.\d+)?\s*$') AND NOT bool_or(%2$I ~ '^\s*0\d') THEN 'numeric' END
      FROM crm.%1$I WHERE nullif(trim(%2$I), '') IS NOT NULL$q$, c.t, c.n) INTO kind;
    IF kind IS NOT NULL THEN
      EXECUTE format('ALTER TABLE crm.%1$I ALTER COLUMN %2$I TYPE %3$s USING nullif(trim(%2$I), '''')::%3$s', c.t, c.n, kind);
    END IF;
  END LOOP;
END
$$;
SQL

# which table is which entity: the one that offers most of its columns, all required ones among them
open my $map, '>', "$out/map.sql" or die "$out/map.sql: $!\n";
my %taken;
my %mapping;
for my $entity (qw(opportunity lead account sales_rep))
{
	my ($best, $score, %found) = (undef, 0);
	for my $table (grep { !$taken{$_} } @order)
	{
		my %has = map { $_ => 1 } @{ $columns{$table} };
		my %m;
		for my $want (keys %{ $synonyms{$entity} }) { for (@{ $synonyms{$entity}{$want} }) { if ($has{$_}) { $m{$want} = $_; last; } } }
		next if grep { !$m{$_} } @{ $required{$entity} };
		next if $entity eq 'sales_rep' && $has{opportunity_id};
		if (keys %m > $score) { ($best, $score, %found) = ($table, scalar keys %m, %m); }
	}
	next unless $best;
	$taken{$best} = 1;
	$mapping{$entity} = { table => $best, %found };
	print $map "SELECT * FROM salesops.attach('$entity', 'crm.\"$best\"', '{" . join(', ', map { "\"$_\": \"$found{$_}\"" } sort keys %found) . "}');\n";
}
if (my $o = $mapping{opportunity})
{
	# stages in the order that deals usually pass them; kinds by their names
	print $map <<"SQL";
SELECT salesops.define_stages('default', (
  SELECT jsonb_agg(jsonb_build_object('stage', s.stage, 'ordinal', s.ordinal, 'kind', s.kind) ORDER BY s.ordinal) FROM (
    SELECT x.stage, x.kind, row_number() OVER (ORDER BY x.kind = 'lost', x.kind = 'won', x.place, x.stage) AS ordinal FROM (
      SELECT DISTINCT d."$o->{stage}" AS stage, CASE WHEN d."$o->{stage}" ~* 'won' THEN 'won' WHEN d."$o->{stage}" ~* '(lost|abandon|cancel)' THEN 'lost' ELSE 'open' END AS kind,
             CASE WHEN d."$o->{stage}" ~* '(prospect|new|lead)' THEN 1 WHEN d."$o->{stage}" ~* 'qualif' THEN 2 WHEN d."$o->{stage}" ~* '(discover|engag|meet|demo|analysis)' THEN 3
                  WHEN d."$o->{stage}" ~* '(propos|quote)' THEN 4 WHEN d."$o->{stage}" ~* '(negotiat|contract|commit)' THEN 5 ELSE 3 END AS place
        FROM crm."$o->{table}" d WHERE d."$o->{stage}" IS NOT NULL) x) s));
SQL
}
close $map;
if (-f "$dir/mapping.sql")
{
	open my $theirs, '<', "$dir/mapping.sql" or die "$dir/mapping.sql: $!\n";
	open my $copy, '>', "$out/map.sql" or die;
	print $copy $_ while <$theirs>;
	close $copy;
}

# the last day that the data knows: the latest day of a deal's or lead's life
my @days;
for my $entity (qw(opportunity lead))
{
	my $m = $mapping{$entity} or next;
	push @days, map { "SELECT max(\"$m->{$_}\"::text) FROM crm.\"$m->{table}\"" } grep { $m->{$_} } qw(created_at closed_at);
}
print 'CREATE TABLE demo.setting AS SELECT COALESCE(left(max(x.m), 10)::date, current_date) AS as_of FROM (' . join(' UNION ALL ', @days, 'SELECT NULL::text') . ") x(m);\n";
