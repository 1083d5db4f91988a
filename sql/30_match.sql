-- Match: record linkage after Fellegi and Sunter. Definitions, fitted models, decisions; finding, explaining, guarding.

CREATE TABLE salesops.matcher (
  matcher text PRIMARY KEY,
  relation regclass NOT NULL,
  key_column name NOT NULL,
  right_relation regclass,
  right_key name,
  comparisons jsonb NOT NULL,
  blocking jsonb NOT NULL,
  options jsonb NOT NULL DEFAULT '{}',
  auto_comparisons boolean NOT NULL DEFAULT false,
  auto_blocking boolean NOT NULL DEFAULT false,
  created_at timestamptz NOT NULL DEFAULT now(),
  model jsonb,
  training jsonb,
  trained_at timestamptz
);
COMMENT ON TABLE salesops.matcher IS 'record linkages: what is compared, how candidates are found, and the model once trained';
COMMENT ON COLUMN salesops.matcher.auto_comparisons IS 'chosen from the columns'' content, again at each training';
COMMENT ON COLUMN salesops.matcher.training IS 'how the last training went: records, candidate pairs, expected matches, passes';
SELECT pg_catalog.pg_extension_config_dump('salesops.matcher', '');

CREATE TABLE salesops.matcher_term (
  matcher text NOT NULL REFERENCES salesops.matcher ON UPDATE CASCADE ON DELETE CASCADE,
  comparison integer NOT NULL,
  value_hash bigint NOT NULL,
  frequency double precision NOT NULL,
  PRIMARY KEY (matcher, comparison, value_hash)
);
COMMENT ON TABLE salesops.matcher_term IS
  'how often a value is shared by records of different entities, by a hash of the value; values not listed are rarer than the floor';
SELECT pg_catalog.pg_extension_config_dump('salesops.matcher_term', '');

INSERT INTO salesops.relation_registry VALUES ('matcher', 'relation'), ('matcher', 'right_relation');

-- ---- values as they are compared ------------------------------------------------------------------------------------
CREATE FUNCTION salesops.match_fold(text) RETURNS text
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 10 AS 'MODULE_PATHNAME', 'salesops_match_fold';
COMMENT ON FUNCTION salesops.match_fold(text) IS 'lower case, single blanks, none at the ends; NULL where nothing is left';
CREATE FUNCTION salesops.match_code(text) RETURNS text
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 10 AS 'MODULE_PATHNAME', 'salesops_match_code';
COMMENT ON FUNCTION salesops.match_code(text) IS 'letters and digits only, in lower case; NULL where nothing is left';
CREATE FUNCTION salesops.match_words(text[]) RETURNS text[]
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 20 AS 'MODULE_PATHNAME', 'salesops_match_words';
COMMENT ON FUNCTION salesops.match_words(text[]) IS 'all words of all elements, of two bytes and more; NULL where there are none';
CREATE FUNCTION salesops.match_date(date) RETURNS text
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 10 AS 'MODULE_PATHNAME', 'salesops_match_date';
COMMENT ON FUNCTION salesops.match_date(date) IS 'YYYY-MM-DD whatever DateStyle says';
CREATE FUNCTION salesops.match_date(timestamp) RETURNS text
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 10 AS 'MODULE_PATHNAME', 'salesops_match_timestamp';
COMMENT ON FUNCTION salesops.match_date(timestamp) IS 'YYYY-MM-DD HH:MI:SS.ffffff whatever DateStyle says';
CREATE FUNCTION salesops.match_date(timestamptz) RETURNS text
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 10 AS 'MODULE_PATHNAME', 'salesops_match_timestamp';
COMMENT ON FUNCTION salesops.match_date(timestamptz) IS 'YYYY-MM-DD HH:MI:SS.ffffff in UTC, whatever DateStyle and TimeZone say';

-- ---- definitions ----------------------------------------------------------------------------------------------------
CREATE FUNCTION salesops.create_matcher(name text, relation regclass, key name, comparisons jsonb DEFAULT NULL,
                                        blocking text[] DEFAULT NULL, options jsonb DEFAULT '{}') RETURNS void
  LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'salesops_create_matcher';
COMMENT ON FUNCTION salesops.create_matcher(text, regclass, name, jsonb, text[], jsonb) IS
  'define a record linkage; comparisons and blocking rules that are NULL are chosen from the columns'' content';
CREATE FUNCTION salesops.drop_matcher(name text) RETURNS boolean
  LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'salesops_drop_matcher';
COMMENT ON FUNCTION salesops.drop_matcher(text) IS 'forget a matcher, its model, decisions and clusters; false where there is none';

CREATE FUNCTION salesops.train_matcher(name text, OUT comparison text, OUT level integer, OUT m double precision,
                                       OUT u double precision, OUT weight double precision) RETURNS SETOF record
  LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE ROWS 30 AS 'MODULE_PATHNAME', 'salesops_train_matcher';
COMMENT ON FUNCTION salesops.train_matcher(text) IS
  'fit a matcher to the present rows without labels; level -1 is unknown, 0 different, the highest equal; weight is log2(m / u)';

-- ---- finding --------------------------------------------------------------------------------------------------------
CREATE FUNCTION salesops.find_duplicates(matcher text, threshold double precision DEFAULT 0.95, OUT left_key text, OUT right_key text,
                                         OUT weight double precision, OUT probability double precision) RETURNS SETOF record
  LANGUAGE c STABLE STRICT PARALLEL UNSAFE COST 1000000 ROWS 10000 AS 'MODULE_PATHNAME', 'salesops_find_duplicates';
COMMENT ON FUNCTION salesops.find_duplicates(text, double precision) IS
  'pairs of records that are probably the same, best first; weight is log2 of the Bayes factor';
CREATE FUNCTION salesops.find_clusters(matcher text, threshold double precision DEFAULT 0.5, OUT cluster_id text, OUT key text)
  RETURNS SETOF record
  LANGUAGE c STABLE STRICT PARALLEL UNSAFE COST 1000000 ROWS 10000 AS 'MODULE_PATHNAME', 'salesops_find_clusters';
COMMENT ON FUNCTION salesops.find_clusters(text, double precision) IS
  'groups of two and more records that are probably the same: average linkage, weak bridges cut';
CREATE FUNCTION salesops.explain_match(matcher text, left_key text, right_key text, OUT comparison text, OUT left_value text,
                                       OUT right_value text, OUT level integer, OUT m double precision, OUT u double precision,
                                       OUT weight double precision) RETURNS SETOF record
  LANGUAGE c STABLE STRICT PARALLEL UNSAFE ROWS 10 AS 'MODULE_PATHNAME', 'salesops_explain_match';
COMMENT ON FUNCTION salesops.explain_match(text, text, text) IS
  'what each comparison says about two records; the weights add up to the weight of the pair';

-- ---- one record -----------------------------------------------------------------------------------------------------
CREATE FUNCTION salesops.find_matches(matcher text, candidate record, threshold double precision DEFAULT 0.95, OUT key text,
                                      OUT weight double precision, OUT probability double precision) RETURNS SETOF record
  LANGUAGE c STABLE STRICT PARALLEL UNSAFE COST 1000 ROWS 3 AS 'MODULE_PATHNAME', 'salesops_find_matches';
COMMENT ON FUNCTION salesops.find_matches(text, record, double precision) IS
  'records that are probably this one, best first; the candidate''s columns are taken by name; quick after index_matcher()';
CREATE FUNCTION salesops.index_matcher(name text, OUT rule text, OUT index text, OUT created boolean) RETURNS SETOF record
  LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE ROWS 9 AS 'MODULE_PATHNAME', 'salesops_index_matcher';
COMMENT ON FUNCTION salesops.index_matcher(text) IS
  'indexes on your table for the blocking keys that find_matches and guards look up; those that are there are left as they are';

-- ---- at write time ----------------------------------------------------------------------------------------------------
CREATE TABLE salesops.duplicate_finding (
  matcher text NOT NULL REFERENCES salesops.matcher ON UPDATE CASCADE ON DELETE CASCADE,
  left_key text NOT NULL,
  right_key text NOT NULL,
  weight double precision NOT NULL,
  probability double precision NOT NULL,
  found_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (matcher, left_key, right_key)
);
COMMENT ON TABLE salesops.duplicate_finding IS
  'probable duplicates that a guard with action record let in: left_key is the new row, right_key the existing one';
SELECT pg_catalog.pg_extension_config_dump('salesops.duplicate_finding', '');

CREATE FUNCTION salesops.guard_row() RETURNS trigger
  LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'salesops_guard_row';
COMMENT ON FUNCTION salesops.guard_row() IS 'trigger that guard_duplicates makes: looks a new row up';
CREATE FUNCTION salesops.guard_duplicates(relation regclass, matcher text, action text DEFAULT 'warn') RETURNS void
  LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'salesops_guard_duplicates';
COMMENT ON FUNCTION salesops.guard_duplicates(regclass, text, text) IS
  'look each inserted row up: reject probable duplicates (SQLSTATE 23505), warn of them, or record them';
CREATE FUNCTION salesops.release_duplicates(relation regclass, matcher text DEFAULT NULL) RETURNS integer
  LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'salesops_release_duplicates';
COMMENT ON FUNCTION salesops.release_duplicates(regclass, text) IS 'take the guard of a matcher, or all guards, off a relation; returns how many';

CREATE FUNCTION salesops.evaluate_matcher(matcher text, truth text, threshold double precision DEFAULT 0.95, "of" text DEFAULT 'pairs',
                                          OUT pairs bigint, OUT true_positive bigint, OUT false_positive bigint,
                                          OUT false_negative bigint, OUT "precision" double precision,
                                          OUT recall double precision, OUT f1 double precision)
  LANGUAGE c STABLE STRICT PARALLEL UNSAFE COST 1000000 AS 'MODULE_PATHNAME', 'salesops_evaluate_matcher';
COMMENT ON FUNCTION salesops.evaluate_matcher(text, text, double precision, text) IS
  'precision, recall and F1 against a truth: a query of (left_key, right_key) or of (key, cluster_id); of ''pairs'' or ''clusters''';

INSERT INTO salesops.access_right (level, kind, object) VALUES
  ('admin', 'function', 'salesops.create_matcher(text,regclass,name,jsonb,text[],jsonb)'),
  ('admin', 'function', 'salesops.drop_matcher(text)'),
  ('operator', 'function', 'salesops.train_matcher(text)'),
  ('reader', 'function', 'salesops.find_duplicates(text,double precision)'),
  ('reader', 'function', 'salesops.find_clusters(text,double precision)'),
  ('reader', 'function', 'salesops.explain_match(text,text,text)'),
  ('reader', 'function', 'salesops.find_matches(text,record,double precision)'),
  ('admin', 'function', 'salesops.index_matcher(text)'),
  ('admin', 'function', 'salesops.guard_duplicates(regclass,text,text)'),
  ('admin', 'function', 'salesops.release_duplicates(regclass,text)'),
  ('reader', 'function', 'salesops.evaluate_matcher(text,text,double precision,text)'),
  ('reader', 'table', 'salesops.matcher');
