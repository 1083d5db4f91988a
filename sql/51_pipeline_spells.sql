-- pipeline: a deal's changes gathered by an aggregate, and what they say of its life

CREATE TYPE salesops.deal_change AS (
	stage text, ordinal integer, kind text, entered_at timestamptz, amount numeric, close_date date, change_number bigint, is_row boolean
);
COMMENT ON TYPE salesops.deal_change IS 'One change of a deal with the ordinal and kind of its stage; is_row: the closing that the deal''s own row knows of, not the history';
CREATE TYPE salesops.deal_spell AS (
	entered_at timestamptz, visit bigint, spell_number bigint, ended boolean, stage text, kind text, ordinal integer, left_at timestamptz,
	closes_at timestamptz, gone_at timestamptz, next_stage text, next_ordinal integer, next_kind text, amount numeric, close_date date,
	furthest integer, goes_on_to_win boolean, final_kind text, was_won boolean, was_lost boolean
);
COMMENT ON TYPE salesops.deal_spell IS 'One stay of a deal in a stage: the answer of spells_of()';
CREATE TYPE salesops.deal_state AS (
	entered_at timestamptz, first_entered_at timestamptz, stage text, kind text, amount numeric, close_date date
);
COMMENT ON TYPE salesops.deal_state IS 'Where a deal stands: the answer of last_change_of()';

CREATE TYPE salesops.deal_changes;
CREATE FUNCTION salesops.deal_changes_in(cstring) RETURNS salesops.deal_changes
	LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_deal_changes_in';
CREATE FUNCTION salesops.deal_changes_out(salesops.deal_changes) RETURNS cstring
	LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_deal_changes_out';
CREATE FUNCTION salesops.deal_changes_recv(internal) RETURNS salesops.deal_changes
	LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_deal_changes_recv';
CREATE FUNCTION salesops.deal_changes_send(salesops.deal_changes) RETURNS bytea
	LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_deal_changes_send';
CREATE TYPE salesops.deal_changes (
	INPUT = salesops.deal_changes_in, OUTPUT = salesops.deal_changes_out,
	RECEIVE = salesops.deal_changes_recv, SEND = salesops.deal_changes_send,
	INTERNALLENGTH = VARIABLE, ALIGNMENT = double, STORAGE = extended
);
COMMENT ON TYPE salesops.deal_changes IS 'All changes of one deal, in no order; made by the aggregate collect_changes(), as text an array of deal_change';
COMMENT ON FUNCTION salesops.deal_changes_in(cstring) IS 'input of type deal_changes';
COMMENT ON FUNCTION salesops.deal_changes_out(salesops.deal_changes) IS 'output of type deal_changes';
COMMENT ON FUNCTION salesops.deal_changes_recv(internal) IS 'binary input of type deal_changes';
COMMENT ON FUNCTION salesops.deal_changes_send(salesops.deal_changes) IS 'binary output of type deal_changes';

CREATE FUNCTION salesops.deal_changes_accumulate(salesops.deal_changes, stage text, ordinal integer, kind text, entered_at timestamptz, amount numeric,
		close_date date, change_number bigint, is_row boolean) RETURNS salesops.deal_changes
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_deal_changes_accumulate';
COMMENT ON FUNCTION salesops.deal_changes_accumulate(salesops.deal_changes, text, integer, text, timestamptz, numeric, date, bigint, boolean) IS
	'transition function of collect_changes()';
CREATE FUNCTION salesops.deal_changes_combine(salesops.deal_changes, salesops.deal_changes) RETURNS salesops.deal_changes
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_deal_changes_combine';
COMMENT ON FUNCTION salesops.deal_changes_combine(salesops.deal_changes, salesops.deal_changes) IS 'combine function of collect_changes()';
CREATE AGGREGATE salesops.collect_changes(stage text, ordinal integer, kind text, entered_at timestamptz, amount numeric, close_date date,
		change_number bigint, is_row boolean) (
	SFUNC = salesops.deal_changes_accumulate, STYPE = salesops.deal_changes, SSPACE = 272,
	COMBINEFUNC = salesops.deal_changes_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE salesops.collect_changes(text, integer, text, timestamptz, numeric, date, bigint, boolean) IS
	'Gather the changes of one deal: spells_of() and last_change_of() read them';

CREATE FUNCTION salesops.spells_of(salesops.deal_changes) RETURNS SETOF salesops.deal_spell
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 1000 AS 'MODULE_PATHNAME', 'salesops_spells_of';
COMMENT ON FUNCTION salesops.spells_of(salesops.deal_changes) IS
	'The stays of a deal in stages, in their order: equal stages in a row are one stay, re-entries are visits of their own';
CREATE FUNCTION salesops.last_change_of(salesops.deal_changes) RETURNS salesops.deal_state
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_last_change_of';
COMMENT ON FUNCTION salesops.last_change_of(salesops.deal_changes) IS 'Where a deal stands after its last change, since when, and when its history begins';

CREATE FUNCTION salesops.days_between(from_at timestamptz, until_at timestamptz) RETURNS double precision
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_days_between';
COMMENT ON FUNCTION salesops.days_between(timestamptz, timestamptz) IS 'Days of 86,400 seconds from one time to another, with a fraction';
CREATE FUNCTION salesops.whole_days_between(from_at timestamptz, until_at timestamptz) RETURNS double precision
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_whole_days_between';
COMMENT ON FUNCTION salesops.whole_days_between(timestamptz, timestamptz) IS 'days_between() rounded to whole days';
