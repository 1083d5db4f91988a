-- Learn: models trained on a query's rows, kept by version with their figures, predicted and explained in the row.

-- ---- models ---------------------------------------------------------------------------------------------------------
CREATE TABLE salesops.model_version (
  name text NOT NULL CHECK (name <> ''),
  version integer NOT NULL,
  active boolean NOT NULL,
  method text NOT NULL,
  label text NOT NULL,
  owner name NOT NULL,
  trained_at timestamptz NOT NULL,
  rows bigint NOT NULL,
  positives bigint NOT NULL,
  validation text NOT NULL,
  roc_auc double precision,
  log_loss double precision,
  brier double precision,
  ece double precision,
  precision_at_10 double precision,
  features text[] NOT NULL,
  left_out jsonb NOT NULL,
  leakage jsonb NOT NULL,
  notes text[] NOT NULL,
  query text NOT NULL,
  key text,
  options jsonb NOT NULL,
  details jsonb NOT NULL,
  fingerprint text NOT NULL,
  encoding name NOT NULL,
  content bytea NOT NULL,
  PRIMARY KEY (name, version)
);
COMMENT ON TABLE salesops.model_version IS
  'every training of every model: its figures on rows it was not fitted to, what it left out and why, and the model itself';
COMMENT ON COLUMN salesops.model_version.validation IS 'how the figures were taken: cross-validation, the newest rows, a held-out part, or none';
COMMENT ON COLUMN salesops.model_version.details IS 'tuning found, coefficients or points, out-of-fold score quantiles, distribution over the rows trained on';
COMMENT ON COLUMN salesops.model_version.fingerprint IS 'of the training rows and labels, whatever their order';
COMMENT ON COLUMN salesops.model_version.content IS 'the model in a form that is the same on every machine';
CREATE UNIQUE INDEX model_version_active ON salesops.model_version (name) WHERE active;
SELECT pg_catalog.pg_extension_config_dump('salesops.model_version', '');

CREATE TABLE salesops.model_grant (
  name text NOT NULL,
  grantee name NOT NULL,
  PRIMARY KEY (name, grantee)
);
COMMENT ON TABLE salesops.model_grant IS 'roles other than its owner that may use a model: see grant_model()';
SELECT pg_catalog.pg_extension_config_dump('salesops.model_grant', '');

CREATE FUNCTION salesops.may_use_model(model text) RETURNS boolean
  LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_may_use_model';
COMMENT ON FUNCTION salesops.may_use_model(text) IS 'whether the current role owns the model, is a member of its owner, or was granted it';

-- the views read as their owner what roles cannot read themselves (the model's contents), and show only models the role may use
CREATE VIEW salesops.model WITH (security_invoker = false) AS
  SELECT v.name, v.version, v.active, v.method, v.rows, v.positives, v.validation, v.roc_auc, v.log_loss, v.brier, v.ece,
         v.precision_at_10, v.left_out, v.leakage, v.notes, v.features, v.label, v.owner, v.trained_at, v.fingerprint
    FROM salesops.model_version v
   WHERE salesops.may_use_model(v.name);
COMMENT ON VIEW salesops.model IS 'the models that you may use, a row a version; train_model() answers with such a row';

CREATE FUNCTION salesops.train_model(name text, query text, label name, method text DEFAULT 'auto', key name DEFAULT NULL,
                                     options jsonb DEFAULT '{}') RETURNS salesops.model
  LANGUAGE c VOLATILE PARALLEL UNSAFE COST 1000000 AS 'MODULE_PATHNAME', 'salesops_train_model';
COMMENT ON FUNCTION salesops.train_model(text, text, name, text, name, jsonb) IS
  'learn to predict a yes or no from a query''s other columns; stores a new version, active at once, and says how good it is and what it left out';

CREATE FUNCTION salesops.predict_support(internal) RETURNS internal
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_predict_support';
COMMENT ON FUNCTION salesops.predict_support(internal) IS 'planner support of predict(): over the rows of a table it becomes predict_columns()';
CREATE FUNCTION salesops.predict(model text, features record) RETURNS double precision
  LANGUAGE c STABLE STRICT PARALLEL SAFE COST 20 SUPPORT salesops.predict_support AS 'MODULE_PATHNAME', 'salesops_predict';
COMMENT ON FUNCTION salesops.predict(text, record) IS
  'probability of a yes for a row, whose columns are found by name; unknown categories, NULLs and missing columns are allowed';

CREATE FUNCTION salesops.predict_columns(model text, row_type regtype, VARIADIC columns "any") RETURNS double precision
  LANGUAGE c STABLE PARALLEL SAFE COST 20 AS 'MODULE_PATHNAME', 'salesops_predict_columns';
COMMENT ON FUNCTION salesops.predict_columns(text, regtype, "any") IS
  'what the planner makes of predict(model, row of a table): the columns come one by one, and no row is put together; not to be called by hand, but open to all since the model''s own rights hold';

CREATE FUNCTION salesops.predict_batch(model text, query text, key name, OUT key text, OUT probability double precision)
  RETURNS SETOF record
  LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE ROWS 10000 AS 'MODULE_PATHNAME', 'salesops_predict_batch';
COMMENT ON FUNCTION salesops.predict_batch(text, text, name) IS 'probabilities for all rows of a query, many rows at a time: the quick way for bulk';

CREATE FUNCTION salesops.explain_prediction(model text, features record, top integer DEFAULT 5, OUT feature text, OUT value text,
                                            OUT contribution double precision) RETURNS SETOF record
  LANGUAGE c STABLE STRICT PARALLEL SAFE COST 1000 ROWS 7 AS 'MODULE_PATHNAME', 'salesops_explain_prediction';
COMMENT ON FUNCTION salesops.explain_prediction(text, record, integer) IS
  'what moved a row''s prediction, in log odds: the average row first, the strongest features, the rest as one; together exactly the log odds of predict()';

CREATE FUNCTION salesops.evaluate_model(model text, query text, label name, OUT rows bigint, OUT positives bigint,
                                        OUT roc_auc double precision, OUT log_loss double precision, OUT brier double precision,
                                        OUT ece double precision, OUT precision_at_10 double precision) RETURNS record
  LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'salesops_evaluate_model';
COMMENT ON FUNCTION salesops.evaluate_model(text, text, name) IS 'how a model does on the rows of a query, whose labels are known';

CREATE FUNCTION salesops.activate_model(name text, version integer) RETURNS void
  LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'salesops_activate_model';
COMMENT ON FUNCTION salesops.activate_model(text, integer) IS 'make another version of a model the one that predicts, in all sessions from the commit on';

CREATE FUNCTION salesops.drop_model(name text, version integer DEFAULT NULL) RETURNS integer
  LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'salesops_drop_model';
COMMENT ON FUNCTION salesops.drop_model(text, integer) IS 'forget a version of a model, or all of it; answers how many versions went';

CREATE FUNCTION salesops.grant_model(name text, grantee regrole) RETURNS void
  LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'salesops_grant_model';
COMMENT ON FUNCTION salesops.grant_model(text, regrole) IS 'let another role use a model of yours';
CREATE FUNCTION salesops.revoke_model(name text, grantee regrole) RETURNS void
  LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'salesops_revoke_model';
COMMENT ON FUNCTION salesops.revoke_model(text, regrole) IS 'take back what grant_model() gave';

CREATE VIEW salesops.model_leakage WITH (security_invoker = false) AS
  SELECT m.name, m.version, l.item ->> 'column' AS column_name, l.item ->> 'degree' AS degree, l.item ->> 'reason' AS reason,
         (l.item ->> 'information')::double precision AS information
    FROM salesops.model m, LATERAL pg_catalog.jsonb_array_elements(m.leakage) AS l(item);
COMMENT ON VIEW salesops.model_leakage IS
  'columns that may know the answer: ''left out'', a ''question'' to you, or a ''note''; information is the share of the label that the column alone explains';

CREATE VIEW salesops.model_coefficient WITH (security_invoker = false) AS
  SELECT v.name, v.version, c.item ->> 'feature' AS feature, c.item ->> 'term' AS term,
         (c.item ->> 'coefficient')::double precision AS coefficient,
         (c.item ->> 'standard_error')::double precision AS standard_error,
         (c.item ->> 'z')::double precision AS z, (c.item ->> 'p')::double precision AS p
    FROM salesops.model_version v, LATERAL pg_catalog.jsonb_array_elements(v.details -> 'coefficients') AS c(item)
   WHERE salesops.may_use_model(v.name);
COMMENT ON VIEW salesops.model_coefficient IS
  'terms of logistic models in log odds, with ridge standard errors and Wald p-values; numbers in units of their spread';

CREATE VIEW salesops.scorecard WITH (security_invoker = false) AS
  SELECT v.name, v.version, c.item ->> 'feature' AS feature, c.item ->> 'term' AS value, (c.item ->> 'rows')::bigint AS rows,
         (c.item ->> 'rate')::double precision AS rate, (c.item ->> 'woe')::double precision AS weight_of_evidence,
         (c.item ->> 'points')::double precision AS points
    FROM salesops.model_version v, LATERAL pg_catalog.jsonb_array_elements(v.details -> 'card') AS c(item)
   WHERE salesops.may_use_model(v.name);
COMMENT ON VIEW salesops.scorecard IS 'points of scorecard models: every feature''s values with their rows, rate of yes, weight of evidence and points';

-- ---- metrics --------------------------------------------------------------------------------------------------------
CREATE TYPE salesops.metric_state;
CREATE FUNCTION salesops.metric_state_in(cstring) RETURNS salesops.metric_state
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_metric_state_in';
CREATE FUNCTION salesops.metric_state_out(salesops.metric_state) RETURNS cstring
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_metric_state_out';
CREATE FUNCTION salesops.metric_state_recv(internal) RETURNS salesops.metric_state
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_metric_state_recv';
CREATE FUNCTION salesops.metric_state_send(salesops.metric_state) RETURNS bytea
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_metric_state_send';
CREATE TYPE salesops.metric_state (INPUT = salesops.metric_state_in, OUTPUT = salesops.metric_state_out,
  RECEIVE = salesops.metric_state_recv, SEND = salesops.metric_state_send, ALIGNMENT = double, STORAGE = extended);
COMMENT ON TYPE salesops.metric_state IS 'what a metric aggregate has seen so far; states of one metric merge in any order';
COMMENT ON FUNCTION salesops.metric_state_in(cstring) IS 'text to metric_state';
COMMENT ON FUNCTION salesops.metric_state_out(salesops.metric_state) IS 'metric_state to text, lossless';
COMMENT ON FUNCTION salesops.metric_state_recv(internal) IS 'binary to metric_state';
COMMENT ON FUNCTION salesops.metric_state_send(salesops.metric_state) IS 'metric_state to binary';

CREATE FUNCTION salesops.roc_auc_accumulate(salesops.metric_state, double precision, boolean) RETURNS salesops.metric_state
  LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_roc_auc_accumulate';
CREATE FUNCTION salesops.log_loss_accumulate(salesops.metric_state, double precision, boolean) RETURNS salesops.metric_state
  LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_log_loss_accumulate';
CREATE FUNCTION salesops.brier_score_accumulate(salesops.metric_state, double precision, boolean) RETURNS salesops.metric_state
  LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_brier_score_accumulate';
CREATE FUNCTION salesops.expected_calibration_error_accumulate(salesops.metric_state, double precision, boolean) RETURNS salesops.metric_state
  LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_expected_calibration_error_accumulate';
CREATE FUNCTION salesops.precision_at_accumulate(salesops.metric_state, double precision, boolean, double precision) RETURNS salesops.metric_state
  LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_precision_at_accumulate';
CREATE FUNCTION salesops.decayed_sum_accumulate(salesops.metric_state, double precision, timestamptz, timestamptz, interval) RETURNS salesops.metric_state
  LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_decayed_sum_accumulate';
CREATE FUNCTION salesops.metric_combine(salesops.metric_state, salesops.metric_state) RETURNS salesops.metric_state
  LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_metric_combine';
CREATE FUNCTION salesops.metric_result(salesops.metric_state) RETURNS double precision
  LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_metric_result';
COMMENT ON FUNCTION salesops.roc_auc_accumulate(salesops.metric_state, double precision, boolean) IS 'a row of roc_auc';
COMMENT ON FUNCTION salesops.log_loss_accumulate(salesops.metric_state, double precision, boolean) IS 'a row of log_loss';
COMMENT ON FUNCTION salesops.brier_score_accumulate(salesops.metric_state, double precision, boolean) IS 'a row of brier_score';
COMMENT ON FUNCTION salesops.expected_calibration_error_accumulate(salesops.metric_state, double precision, boolean) IS 'a row of expected_calibration_error';
COMMENT ON FUNCTION salesops.precision_at_accumulate(salesops.metric_state, double precision, boolean, double precision) IS 'a row of precision_at';
COMMENT ON FUNCTION salesops.decayed_sum_accumulate(salesops.metric_state, double precision, timestamptz, timestamptz, interval) IS 'a row of decayed_sum';
COMMENT ON FUNCTION salesops.metric_combine(salesops.metric_state, salesops.metric_state) IS 'two states of one metric as one';
COMMENT ON FUNCTION salesops.metric_result(salesops.metric_state) IS 'the metric of a state; NULL without rows, and for roc_auc with one class only';

CREATE AGGREGATE salesops.roc_auc(score double precision, label boolean) (
  SFUNC = salesops.roc_auc_accumulate, STYPE = salesops.metric_state, SSPACE = 8000, FINALFUNC = salesops.metric_result,
  COMBINEFUNC = salesops.metric_combine, PARALLEL = SAFE);
COMMENT ON AGGREGATE salesops.roc_auc(double precision, boolean) IS
  'area under the ROC curve, ties counted half: the chance that a yes scores above a no; NULL where a class is missing';
CREATE AGGREGATE salesops.log_loss(probability double precision, label boolean) (
  SFUNC = salesops.log_loss_accumulate, STYPE = salesops.metric_state, SSPACE = 64, FINALFUNC = salesops.metric_result,
  COMBINEFUNC = salesops.metric_combine, PARALLEL = SAFE);
COMMENT ON AGGREGATE salesops.log_loss(double precision, boolean) IS 'mean of -ln(probability given to what happened)';
CREATE AGGREGATE salesops.brier_score(probability double precision, label boolean) (
  SFUNC = salesops.brier_score_accumulate, STYPE = salesops.metric_state, SSPACE = 64, FINALFUNC = salesops.metric_result,
  COMBINEFUNC = salesops.metric_combine, PARALLEL = SAFE);
COMMENT ON AGGREGATE salesops.brier_score(double precision, boolean) IS 'mean squared distance of the probability from what happened';
CREATE AGGREGATE salesops.expected_calibration_error(probability double precision, label boolean) (
  SFUNC = salesops.expected_calibration_error_accumulate, STYPE = salesops.metric_state, SSPACE = 304, FINALFUNC = salesops.metric_result,
  COMBINEFUNC = salesops.metric_combine, PARALLEL = SAFE);
COMMENT ON AGGREGATE salesops.expected_calibration_error(double precision, boolean) IS
  'mean distance of probability from frequency over ten bins of equal width, weighted by rows';
CREATE AGGREGATE salesops.precision_at(score double precision, label boolean, fraction double precision) (
  SFUNC = salesops.precision_at_accumulate, STYPE = salesops.metric_state, SSPACE = 8000, FINALFUNC = salesops.metric_result,
  COMBINEFUNC = salesops.metric_combine, PARALLEL = SAFE);
COMMENT ON AGGREGATE salesops.precision_at(double precision, boolean, double precision) IS
  'share of yes among the top fraction of rows by score (rounded up to whole rows), ties at the edge averaged';
CREATE AGGREGATE salesops.decayed_sum(value double precision, at timestamptz, as_of timestamptz, half_life interval) (
  SFUNC = salesops.decayed_sum_accumulate, STYPE = salesops.metric_state, SSPACE = 64, FINALFUNC = salesops.metric_result,
  COMBINEFUNC = salesops.metric_combine, PARALLEL = SAFE);
COMMENT ON AGGREGATE salesops.decayed_sum(double precision, timestamptz, timestamptz, interval) IS
  'sum of values that halve with every half-life before as_of; what lies after as_of does not count';

INSERT INTO salesops.access_right (level, kind, object) VALUES
  ('reader', 'table', 'salesops.model'), ('reader', 'table', 'salesops.model_leakage'),
  ('reader', 'table', 'salesops.model_coefficient'), ('reader', 'table', 'salesops.scorecard'),
  ('operator', 'function', 'salesops.train_model(text,text,name,text,name,jsonb)'),
  ('reader', 'function', 'salesops.predict(text,record)'),
  ('reader', 'function', 'salesops.predict_batch(text,text,name)'),
  ('reader', 'function', 'salesops.explain_prediction(text,record,integer)'),
  ('reader', 'function', 'salesops.evaluate_model(text,text,name)'),
  ('operator', 'function', 'salesops.activate_model(text,integer)'),
  ('operator', 'function', 'salesops.drop_model(text,integer)'),
  ('operator', 'function', 'salesops.grant_model(text,regrole)'),
  ('operator', 'function', 'salesops.revoke_model(text,regrole)');
