#!/usr/bin/env perl
# Checks the parts of PostgreSQL's C style that a line shows: tabs for indentation, braces on lines of their own, a blank after keywords,
# the return type above the function's name, lines of at most 140 columns (tabs of four). What needs a parser is left to .clang-format in
# an editor, which comes near pgindent but does not align declarations as it does.
use strict;
use warnings;

my $bad = 0;
sub complain { my ($file, $line, $what) = @_; print "$file:$line: $what\n"; $bad++; }

for my $file (@ARGV)
{
	open my $in, '<', $file or die "$file: $!\n";
	my ($in_comment, $last) = (0, "\n");
	while (my $line = <$in>)
	{
		$last = $line;
		my $raw = $line =~ s/\n$//r;
		my $column = 0;
		for my $c (split //, $raw) { $column = $c eq "\t" ? (int($column / 4) + 1) * 4 : ord($c) < 0x80 || ord($c) >= 0xC0 ? $column + 1 : $column; }
		complain($file, $., "$column columns") if $column > 140 && $raw !~ /https?:|"/;
		complain($file, $., 'blanks at the end') if $raw =~ /[ \t]$/;
		my $started = $in_comment;
		$in_comment = 1 if $raw =~ m{/\*} && $raw !~ m{/\*.*\*/};
		$in_comment = 0 if $raw =~ m{\*/};
		next if $started || $raw =~ m{^\s*(?:/?\*|//)};
		complain($file, $., 'indented with blanks') if $raw =~ /^ {2,}\S/ && $raw !~ /^ +\*/;
		complain($file, $., "no blank after $1") if $raw =~ /^\s*(if|for|while|switch)\(/;
		complain($file, $., 'brace not on a line of its own') if $raw =~ /^\s*(?:if|for|while|switch|else)\b[^"]*\{$/ || $raw =~ /^\}\s*else/ || $raw =~ /^\s+\}\s*else/;
		complain($file, $., 'return type beside the function') if $raw =~ /^(?:static\s+)?(?:inline\s+)?(?:void|int|bool|char|double|Datum|Oid|uint64|int64|size_t)\s+\**\w+\([^;]*\)$/;
	}
	complain($file, $., 'no newline at the end') if $last !~ /\n$/;
}
print "$bad complaints\n" if $bad;
exit($bad ? 1 : 0);
