# Two clients that insert and update rows that are watched, and jobs beside them, for tests that take the server away meanwhile: what
# must hold afterwards, whatever happened. worker_crash.pl kills it, worker_wal.pl leaves it no room for its log.
package WatchedWriters;
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use IPC::Run ();

# In a database of a node that has the extension: a job of one row a run, and one that brings a table up to date with what was written.
# The options are those of the first job.
sub new
{
	my ($class, $node, $database, $options) = @_;
	$node->safe_psql($database, qq{
		CREATE TABLE mark (at timestamptz DEFAULT clock_timestamp());
		SELECT salesops.create_job('tick', 'every 1 second', 'INSERT INTO mark DEFAULT VALUES', '$options');
		CREATE TABLE lead (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, points int);
		CREATE TABLE mirror (key text PRIMARY KEY, points int);
		DELETE FROM salesops.refresh_command;
		INSERT INTO salesops.refresh_command VALUES ('lead', 'mirror', 1,
		  'WITH done AS (INSERT INTO public.mirror SELECT id::text, points FROM public.lead WHERE id::text = ANY (\$1)
		   ON CONFLICT (key) DO UPDATE SET points = excluded.points RETURNING 1) SELECT count(*) FROM done');
		SELECT salesops.watch('lead', 'lead');
		SELECT salesops.create_job('refresh', 'every minute', \$\$SELECT salesops.refresh_changed('lead')\$\$, '{"on_change": "lead", "retry_delay": "0.1 second"}');
	});
	my $script = PostgreSQL::Test::Utils::tempdir() . '/write.sql';
	append_to_file($script, "\\set id random(1, 200)\nINSERT INTO lead (points) VALUES (1);\nUPDATE lead SET points = points + 1 WHERE id = :id;\n\\sleep 5 ms\n");
	return bless { node => $node, database => $database, script => $script }, $class;
}

# Write until the server goes away, or until told to stop
sub write_on
{
	my ($self) = @_;
	my ($quiet_out, $quiet_err) = ('', '');
	$self->stop;
	$self->{clients} = IPC::Run::start([ 'pgbench', '-n', '-c', 2, '-T', 100_000, '-f', $self->{script}, $self->{node}->connstr($self->{database}) ],
		'>', \$quiet_out, '2>', \$quiet_err);
	return;
}

sub stop
{
	my ($self) = @_;
	$self->{clients}->kill_kill if $self->{clients};
	delete $self->{clients};
	return;
}

# A figure of the database
sub figure
{
	my ($self, $sql) = @_;
	return $self->{node}->safe_psql($self->{database}, $sql);
}

# Rows that the first job has written
sub rows { return $_[0]->figure('SELECT count(*) FROM mark'); }

# The job goes on
sub grows
{
	my ($self, $name) = @_;
	my $before = $self->rows;
	ok($self->{node}->poll_query_until($self->{database}, "SELECT count(*) > $before FROM mark"), $name);
	return;
}

# Once the server is back and has had its time: nothing lost, nothing counted twice, nothing stuck. Jobs are paused afterwards.
sub check
{
	my ($self, $least) = @_;
	my ($node, $database) = ($self->{node}, $self->{database});
	$self->stop;
	ok($node->poll_query_until($database, 'SELECT count(*) = 0 FROM salesops.change_queue'), 'all changes are drained');
	cmp_ok($self->figure('SELECT count(*) FROM lead'), '>', $least, 'rows were written all the while');
	is($self->figure('SELECT count(*) FROM lead l FULL JOIN mirror m ON m.key = l.id::text WHERE m.points IS DISTINCT FROM l.points'), '0',
		'and what depends on them is what a full run computes');
	$self->figure(q{SELECT salesops.alter_job(name, options => '{"paused": true}') FROM salesops.job});
	ok($node->poll_query_until($database, q{SELECT count(*) = 0 FROM salesops.job_run WHERE outcome = 'running'}), q{nothing stays 'running'});
	is($self->figure(q{SELECT count(*) FROM salesops.job_run WHERE job = 'tick' AND outcome = 'succeeded'}), $self->rows, 'runs recorded = rows written');
	is($self->figure(q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'}), '0', 'no orphan lock');
	return;
}

1;
