-- pipeline: how long things last when some have not ended yet (Kaplan-Meier)

CREATE TYPE salesops.survival;
CREATE FUNCTION salesops.survival_in(cstring) RETURNS salesops.survival
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_survival_in';
CREATE FUNCTION salesops.survival_out(salesops.survival) RETURNS cstring
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_survival_out';
CREATE FUNCTION salesops.survival_recv(internal) RETURNS salesops.survival
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_survival_recv';
CREATE FUNCTION salesops.survival_send(salesops.survival) RETURNS bytea
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_survival_send';
CREATE TYPE salesops.survival (
	INPUT = salesops.survival_in, OUTPUT = salesops.survival_out,
	RECEIVE = salesops.survival_recv, SEND = salesops.survival_send,
	INTERNALLENGTH = VARIABLE, ALIGNMENT = double, STORAGE = extended
);
COMMENT ON TYPE salesops.survival IS 'Durations, ended and censored: {duration:ended/censored, ...}; made by the aggregate survival(), merged by merge()';
COMMENT ON FUNCTION salesops.survival_in(cstring) IS 'input of type survival';
COMMENT ON FUNCTION salesops.survival_out(salesops.survival) IS 'output of type survival';
COMMENT ON FUNCTION salesops.survival_recv(internal) IS 'binary input of type survival';
COMMENT ON FUNCTION salesops.survival_send(salesops.survival) IS 'binary output of type survival';

CREATE FUNCTION salesops.survival_accumulate(salesops.survival, duration double precision, event boolean) RETURNS salesops.survival
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_survival_accumulate';
COMMENT ON FUNCTION salesops.survival_accumulate(salesops.survival, double precision, boolean) IS 'transition function of survival()';
CREATE FUNCTION salesops.survival_combine(salesops.survival, salesops.survival) RETURNS salesops.survival
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_survival_combine';
COMMENT ON FUNCTION salesops.survival_combine(salesops.survival, salesops.survival) IS 'combine function of survival() and merge()';
CREATE FUNCTION salesops.survival_final(salesops.survival) RETURNS salesops.survival
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_survival_final';
COMMENT ON FUNCTION salesops.survival_final(salesops.survival) IS 'final function of survival() and merge()';

CREATE AGGREGATE salesops.survival(duration double precision, event boolean) (
	SFUNC = salesops.survival_accumulate, STYPE = salesops.survival, SSPACE = 1024,
	COMBINEFUNC = salesops.survival_combine, FINALFUNC = salesops.survival_final, PARALLEL = SAFE
);
COMMENT ON AGGREGATE salesops.survival(double precision, boolean) IS
	'Kaplan-Meier of durations; event is false where the end is not seen yet (an open deal): censored, not left out';
CREATE AGGREGATE salesops.merge(salesops.survival) (
	SFUNC = salesops.survival_combine, STYPE = salesops.survival, SSPACE = 1024,
	COMBINEFUNC = salesops.survival_combine, FINALFUNC = salesops.survival_final, PARALLEL = SAFE
);
COMMENT ON AGGREGATE salesops.merge(salesops.survival) IS 'Put samples together, exactly';

CREATE FUNCTION salesops.median(salesops.survival) RETURNS double precision
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_median';
COMMENT ON FUNCTION salesops.median(salesops.survival) IS 'The duration by which half have ended; NULL where not so many have';
CREATE FUNCTION salesops.survival_quantile(salesops.survival, fraction double precision) RETURNS double precision
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_survival_quantile';
COMMENT ON FUNCTION salesops.survival_quantile(salesops.survival, double precision) IS 'The duration by which the fraction has ended, or NULL';
CREATE FUNCTION salesops.survival_at(salesops.survival, duration double precision) RETURNS double precision
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_survival_at';
COMMENT ON FUNCTION salesops.survival_at(salesops.survival, double precision) IS 'The share that lasts longer than the duration (Kaplan-Meier)';
CREATE FUNCTION salesops.survival_error(salesops.survival, duration double precision) RETURNS double precision
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_survival_error';
COMMENT ON FUNCTION salesops.survival_error(salesops.survival, double precision) IS 'Greenwood''s standard error of survival_at()';
CREATE FUNCTION salesops.cumulative_hazard(salesops.survival, duration double precision) RETURNS double precision
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_cumulative_hazard';
COMMENT ON FUNCTION salesops.cumulative_hazard(salesops.survival, double precision) IS 'Nelson-Aalen: how many ends one would expect by the duration, were each replaced';
CREATE FUNCTION salesops.restricted_mean(salesops.survival, horizon double precision, elapsed double precision DEFAULT 0) RETURNS double precision
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_restricted_mean';
COMMENT ON FUNCTION salesops.restricted_mean(salesops.survival, double precision, double precision) IS
	'Mean time still to go, up to the horizon, of what has lasted for elapsed already';
CREATE FUNCTION salesops.survival_count(salesops.survival) RETURNS bigint
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_survival_count';
COMMENT ON FUNCTION salesops.survival_count(salesops.survival) IS 'Observations, ended or not';
CREATE FUNCTION salesops.survival_events(salesops.survival) RETURNS bigint
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_survival_events';
COMMENT ON FUNCTION salesops.survival_events(salesops.survival) IS 'Observations that ended';
CREATE FUNCTION salesops.life_table(salesops.survival, coverage double precision DEFAULT 0.95,
		OUT duration double precision, OUT at_risk bigint, OUT ended bigint, OUT censored bigint, OUT survival double precision,
		OUT standard_error double precision, OUT lower double precision, OUT upper double precision) RETURNS SETOF record
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 50 AS 'MODULE_PATHNAME', 'salesops_life_table';
COMMENT ON FUNCTION salesops.life_table(salesops.survival, double precision) IS 'The estimate step by step, with its interval by the log-log transform';
CREATE FUNCTION salesops.log_rank(salesops.survival, salesops.survival,
		OUT observed double precision, OUT expected double precision, OUT chi_square double precision, OUT p_value double precision)
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_log_rank';
COMMENT ON FUNCTION salesops.log_rank(salesops.survival, salesops.survival) IS 'Log-rank test: do the first sample''s ends come at another pace than the second''s?';
