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
  trained_at timestamptz,
  calibration_slope double precision NOT NULL DEFAULT 1,
  calibration_offset double precision NOT NULL DEFAULT 0
);
COMMENT ON TABLE salesops.matcher IS 'record linkages: what is compared, how candidates are found, and the model once trained';
COMMENT ON COLUMN salesops.matcher.auto_comparisons IS 'chosen from the columns'' content, again at each training';
COMMENT ON COLUMN salesops.matcher.calibration_slope IS
  'probability = logistic(slope * log2 odds + offset, to base 2), fitted to confirmed and rejected pairs; 1 and 0 without';
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
CREATE FUNCTION salesops.match_sorted(text) RETURNS text
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 10 AS 'MODULE_PATHNAME', 'salesops_match_sorted';
COMMENT ON FUNCTION salesops.match_sorted(text) IS 'the words of a text in ascending order, with single blanks; NULL where there are none';
CREATE FUNCTION salesops.match_model(text) RETURNS text
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 10 AS 'MODULE_PATHNAME', 'salesops_match_model';
COMMENT ON FUNCTION salesops.match_model(text) IS 'the code in a text, such as the model number in an article''s title; NULL where there is none';
CREATE FUNCTION salesops.match_first(text) RETURNS text
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 5 AS 'MODULE_PATHNAME', 'salesops_match_first';
COMMENT ON FUNCTION salesops.match_first(text) IS 'the first word of a folded text; NULL where there is none';
CREATE FUNCTION salesops.match_rest(text) RETURNS text
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 5 AS 'MODULE_PATHNAME', 'salesops_match_rest';
COMMENT ON FUNCTION salesops.match_rest(text) IS 'what follows the first word of a folded text; NULL where nothing does';
CREATE FUNCTION salesops.match_host(text) RETURNS text
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 5 AS 'MODULE_PATHNAME', 'salesops_match_host';
COMMENT ON FUNCTION salesops.match_host(text) IS 'the host of a web address without www; the text itself where it is none';
CREATE FUNCTION salesops.match_day(text, day_first boolean) RETURNS text
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 5 AS 'MODULE_PATHNAME', 'salesops_match_day';
COMMENT ON FUNCTION salesops.match_day(text, boolean) IS 'a date written in numbers or with the month in English, in lower case, as YYYY-MM-DD; the text itself where it is none';
CREATE FUNCTION salesops.match_words(text[]) RETURNS text[]
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 20 AS 'MODULE_PATHNAME', 'salesops_match_words';
COMMENT ON FUNCTION salesops.match_words(text[]) IS 'all words of all elements, of two bytes and more; NULL where there are none';
CREATE FUNCTION salesops.match_elements(text[]) RETURNS text
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 20 AS 'MODULE_PATHNAME', 'salesops_match_elements';
COMMENT ON FUNCTION salesops.match_elements(text[]) IS 'the elements that are neither NULL nor empty as one text, kept apart by chr(31); NULL where there are none';
CREATE FUNCTION salesops.match_key(text) RETURNS text
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 2 AS 'MODULE_PATHNAME', 'salesops_match_key';
COMMENT ON FUNCTION salesops.match_key(text) IS 'a blocking key as an index can hold it: beyond 512 bytes its beginning and a hash of the whole';
CREATE FUNCTION salesops.match_key(text[]) RETURNS text[]
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 10 AS 'MODULE_PATHNAME', 'salesops_match_keys';
COMMENT ON FUNCTION salesops.match_key(text[]) IS 'the same of each element; NULL elements are left out';
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

-- ---- decisions ------------------------------------------------------------------------------------------------------
CREATE TABLE salesops.match_decision (
  matcher text NOT NULL REFERENCES salesops.matcher ON UPDATE CASCADE ON DELETE CASCADE,
  left_key text NOT NULL,
  right_key text NOT NULL,
  confirmed boolean NOT NULL,
  decided_by text NOT NULL,
  decided_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (matcher, left_key, right_key)
);
CREATE INDEX match_decision_right ON salesops.match_decision (matcher, right_key);
COMMENT ON TABLE salesops.match_decision IS 'pairs that people confirmed or rejected: later runs respect them, probabilities are recalibrated by them';
SELECT pg_catalog.pg_extension_config_dump('salesops.match_decision', '');

CREATE FUNCTION salesops.confirm_match(matcher text, left_key text, right_key text) RETURNS void
  LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'salesops_confirm_match';
COMMENT ON FUNCTION salesops.confirm_match(text, text, text) IS 'the two records are the same, whatever the scores say';
CREATE FUNCTION salesops.reject_match(matcher text, left_key text, right_key text) RETURNS void
  LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'salesops_reject_match';
COMMENT ON FUNCTION salesops.reject_match(text, text, text) IS 'the two records are different, whatever the scores say';
CREATE FUNCTION salesops.withdraw_decision(matcher text, left_key text, right_key text) RETURNS boolean
  LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'salesops_withdraw_decision';
COMMENT ON FUNCTION salesops.withdraw_decision(text, text, text) IS 'take back a confirmation or rejection; false where there is none';

-- ---- clusters that last ------------------------------------------------------------------------------------------------
CREATE SEQUENCE salesops.match_cluster_id;
SELECT pg_catalog.pg_extension_config_dump('salesops.match_cluster_id', '');
CREATE TABLE salesops.match_cluster (
  matcher text NOT NULL,
  right_side boolean NOT NULL,
  key text NOT NULL,
  cluster_id text NOT NULL,
  entity text,
  since timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (matcher, key, right_side)
);
COMMENT ON TABLE salesops.match_cluster IS
  'groups of records that are probably the same, under ids that last; kept by update_clusters(); shown where the record of an attached entity is';
COMMENT ON COLUMN salesops.match_cluster.right_side IS 'the record is of the right one of two linked relations';
CREATE INDEX match_cluster_id_key ON salesops.match_cluster (matcher, cluster_id);
CREATE TABLE salesops.match_cluster_history (
  matcher text NOT NULL,
  right_side boolean NOT NULL,
  key text NOT NULL,
  event text NOT NULL CHECK (event IN ('joined', 'bridged', 'split', 'left')),
  from_cluster text,
  to_cluster text,
  at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE salesops.match_cluster_history IS
  'every change of a record''s cluster: joined one, went with its cluster into another (bridged), was split off, left';
CREATE INDEX match_cluster_history_key ON salesops.match_cluster_history (matcher, key);
SELECT pg_catalog.pg_extension_config_dump('salesops.match_cluster', '');
SELECT pg_catalog.pg_extension_config_dump('salesops.match_cluster_history', '');
ALTER TABLE salesops.match_cluster ENABLE ROW LEVEL SECURITY;
CREATE POLICY visible_records ON salesops.match_cluster FOR SELECT USING (
  CASE entity WHEN 'lead' THEN key IN (SELECT l.lead_id FROM salesops.lead l)
              WHEN 'contact' THEN key IN (SELECT c.contact_id FROM salesops.contact c)
              WHEN 'account' THEN key IN (SELECT a.account_id FROM salesops.account a)
              WHEN 'opportunity' THEN key IN (SELECT o.opportunity_id FROM salesops.opportunity o)
              ELSE false END);
COMMENT ON POLICY visible_records ON salesops.match_cluster IS 'a record''s cluster is shown where the record is';

-- Instead of foreign keys, which would check each row of a matcher's clusters: store_clusters holds the matcher's row while it writes, and
-- this goes after it.
CREATE FUNCTION salesops.follow_matcher() RETURNS trigger
  LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF TG_OP = 'DELETE' THEN
    DELETE FROM salesops.match_cluster c WHERE c.matcher = OLD.matcher;
    DELETE FROM salesops.match_cluster_history h WHERE h.matcher = OLD.matcher;
    DELETE FROM salesops.match_component c WHERE c.matcher = OLD.matcher;
    DELETE FROM salesops.match_touched t WHERE t.matcher = OLD.matcher;
    DELETE FROM salesops.match_block b WHERE b.matcher = OLD.matcher;
  ELSIF NEW.matcher <> OLD.matcher THEN
    UPDATE salesops.match_cluster c SET matcher = NEW.matcher WHERE c.matcher = OLD.matcher;
    UPDATE salesops.match_cluster_history h SET matcher = NEW.matcher WHERE h.matcher = OLD.matcher;
    UPDATE salesops.match_component c SET matcher = NEW.matcher WHERE c.matcher = OLD.matcher;
    UPDATE salesops.match_touched t SET matcher = NEW.matcher WHERE t.matcher = OLD.matcher;
    UPDATE salesops.match_block b SET matcher = NEW.matcher WHERE b.matcher = OLD.matcher;
  END IF;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION salesops.follow_matcher() IS 'clusters go with their matcher, and are renamed with it';
CREATE TRIGGER follow_matcher AFTER DELETE OR UPDATE OF matcher ON salesops.matcher
  FOR EACH ROW EXECUTE FUNCTION salesops.follow_matcher();
COMMENT ON TRIGGER follow_matcher ON salesops.matcher IS 'clusters go with their matcher, and are renamed with it';

CREATE TABLE salesops.match_cluster_state (
  matcher text PRIMARY KEY REFERENCES salesops.matcher ON UPDATE CASCADE ON DELETE CASCADE,
  signature text NOT NULL,
  records integer NOT NULL,
  looked_at integer NOT NULL,
  updated_at timestamptz NOT NULL DEFAULT now(),
  changes bigint NOT NULL DEFAULT 0,
  stored bigint NOT NULL DEFAULT 0,
  state bytea
);
ALTER TABLE salesops.match_cluster_state ALTER COLUMN state SET STORAGE EXTERNAL;
COMMENT ON TABLE salesops.match_cluster_state IS
  'what the last update_clusters went by, so that the next looks at what has changed since; without its row the next looks at everything';
COMMENT ON COLUMN salesops.match_cluster_state.signature IS 'hashes of what all pairs have in common: definition, model, threshold, blocks left out';
COMMENT ON COLUMN salesops.match_cluster_state.looked_at IS 'records whose pairs the last run scored';
COMMENT ON COLUMN salesops.match_cluster_state.changes IS 'changed keys that refresh_matches() has been given in all';
COMMENT ON COLUMN salesops.match_cluster_state.stored IS
  'of the rows of match_cluster: cluster_hash() of all, combined by exclusive or; where something else has changed them, everything is looked at';
COMMENT ON COLUMN salesops.match_cluster_state.state IS 'a hash of each record and the number of the component it was in; NULL: look at everything';
SELECT pg_catalog.pg_extension_config_dump('salesops.match_cluster_state', '');

-- What refresh_matches() has to know of the records that have not changed, beside their clusters: who hung together with whom, and which
-- blocks are too large to be paired. Kept by update_clusters() and by itself; of matchers of one relation only.
CREATE TABLE salesops.match_component (
  matcher text NOT NULL,
  key text NOT NULL,
  component text NOT NULL,
  PRIMARY KEY (matcher, key)
);
COMMENT ON TABLE salesops.match_component IS
  'records that hang together by their pairs (the same component: the least of their keys), where that is more than one cluster';
CREATE INDEX match_component_members ON salesops.match_component (matcher, component);
SELECT pg_catalog.pg_extension_config_dump('salesops.match_component', '');
CREATE TABLE salesops.match_block (
  matcher text NOT NULL,
  rule bigint NOT NULL,
  key text NOT NULL,
  count_again bigint NOT NULL,
  PRIMARY KEY (matcher, rule, key)
);
COMMENT ON TABLE salesops.match_block IS 'blocking keys that more records have than are paired';
COMMENT ON COLUMN salesops.match_block.rule IS 'a hash of the rule''s expression';
COMMENT ON COLUMN salesops.match_block.count_again IS
  'so many changes of match_cluster_state at the least bring it down to the size that is paired; it is counted again then';
CREATE INDEX match_block_count_again ON salesops.match_block (matcher, count_again);
SELECT pg_catalog.pg_extension_config_dump('salesops.match_block', '');
CREATE TABLE salesops.match_touched (
  matcher text NOT NULL,
  key text NOT NULL,
  PRIMARY KEY (matcher, key)
);
COMMENT ON TABLE salesops.match_touched IS 'keys that refresh_matches() has stored clusters of since the last update_clusters(), which looks at them again';
SELECT pg_catalog.pg_extension_config_dump('salesops.match_touched', '');

CREATE FUNCTION salesops.cluster_hash(key text, right_side boolean, cluster_id text) RETURNS bigint
  LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT pg_catalog.hashtextextended(key, pg_catalog.hashtextextended(cluster_id, CASE WHEN right_side THEN 1 ELSE 0 END))
$$;
COMMENT ON FUNCTION salesops.cluster_hash(text, boolean, text) IS 'a hash of a row of match_cluster';

CREATE FUNCTION salesops.store_clusters(matcher text, keys text[], groups integer[], right_sides boolean[], entity text,
                                        scope text[] DEFAULT NULL, scope_sides boolean[] DEFAULT NULL, OUT event text, OUT records bigint) RETURNS SETOF record
  LANGUAGE sql VOLATILE PARALLEL UNSAFE ROWS 4 SET search_path = pg_catalog, pg_temp AS $$
  SELECT FROM salesops.matcher m WHERE m.matcher = $1 FOR KEY SHARE;
  WITH present AS (
    SELECT t.key, t.grp, t.right_side FROM unnest($2, $3, $4) AS t (key, grp, right_side)
  ), overlap AS (
    SELECT p.grp, c.cluster_id, count(*) AS shared
      FROM present p JOIN salesops.match_cluster c ON c.matcher = $1 AND c.key = p.key AND c.right_side = p.right_side GROUP BY 1, 2
  ), heir AS (
    -- a group takes over the id that most of its records had, if most of that id's records went there
    SELECT r.grp, r.cluster_id
      FROM (SELECT o.grp, o.cluster_id, row_number() OVER (PARTITION BY o.grp ORDER BY o.shared DESC, length(o.cluster_id), o.cluster_id) AS by_group,
                   row_number() OVER (PARTITION BY o.cluster_id ORDER BY o.shared DESC, o.grp) AS by_id FROM overlap o) r
     WHERE r.by_group = 1 AND r.by_id = 1
  ), id AS (
    SELECT g.grp, coalesce(h.cluster_id, nextval('salesops.match_cluster_id')::text) AS cluster_id
      FROM (SELECT DISTINCT p.grp FROM present p ORDER BY 1) g LEFT JOIN heir h USING (grp)
  ), change AS (
    SELECT coalesce(n.key, c.key) AS key, coalesce(n.right_side, c.right_side) AS right_side, c.cluster_id AS from_cluster, n.cluster_id AS to_cluster
      FROM (SELECT p.key, p.right_side, i.cluster_id FROM present p JOIN id i USING (grp)) n
      FULL JOIN (SELECT m.* FROM salesops.match_cluster m WHERE m.matcher = $1 AND $6 IS NULL
                 UNION ALL
                 SELECT m.* FROM (SELECT DISTINCT u.key, coalesce(u.side, false) AS side FROM unnest($6, $7) AS u (key, side)) u
                   JOIN salesops.match_cluster m ON m.matcher = $1 AND m.key = u.key AND m.right_side = u.side) c
        ON c.key = n.key AND c.right_side = n.right_side
     WHERE c.cluster_id IS DISTINCT FROM n.cluster_id
  ), gone AS (
    DELETE FROM salesops.match_cluster m USING change c
     WHERE m.matcher = $1 AND m.key = c.key AND m.right_side = c.right_side AND c.to_cluster IS NULL
  ), put AS (
    INSERT INTO salesops.match_cluster AS m (matcher, right_side, key, cluster_id, entity)
    SELECT $1, c.right_side, c.key, c.to_cluster, $5 FROM change c WHERE c.to_cluster IS NOT NULL
    ON CONFLICT (matcher, key, right_side) DO UPDATE SET cluster_id = excluded.cluster_id, entity = excluded.entity, since = excluded.since
  ), state AS (
    UPDATE salesops.match_cluster_state s SET stored = s.stored # x.hash
      FROM (SELECT bit_xor(coalesce(salesops.cluster_hash(c.key, c.right_side, c.from_cluster), 0) #
                           coalesce(salesops.cluster_hash(c.key, c.right_side, c.to_cluster), 0)) AS hash FROM change c) x
     WHERE s.matcher = $1 AND x.hash <> 0
  ), history AS (
    INSERT INTO salesops.match_cluster_history AS h (matcher, right_side, key, event, from_cluster, to_cluster)
    SELECT $1, c.right_side, c.key,
           CASE WHEN c.from_cluster IS NULL THEN 'joined' WHEN c.to_cluster IS NULL THEN 'left'
                WHEN c.from_cluster IN (SELECT i.cluster_id FROM id i) THEN 'split' ELSE 'bridged' END, c.from_cluster, c.to_cluster
      FROM change c
    RETURNING h.event
  )
  SELECT h.event, count(*) FROM history h GROUP BY 1 ORDER BY 1
$$;
COMMENT ON FUNCTION salesops.store_clusters(text, text[], integer[], boolean[], text, text[], boolean[]) IS
  'what update_clusters writes with: groups into match_cluster under ids that last, changes into its history; of the records of scope only, where it is given';
CREATE FUNCTION salesops.update_clusters(matcher text, threshold double precision DEFAULT 0.5, OUT event text, OUT records bigint)
  RETURNS SETOF record
  LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE ROWS 4 AS 'MODULE_PATHNAME', 'salesops_update_clusters';
COMMENT ON FUNCTION salesops.update_clusters(text, double precision) IS
  'bring match_cluster up to the present rows: records join, bridge, split and leave clusters whose ids last; answers how many did';

CREATE FUNCTION salesops.entity_clusters(entity text, OUT matcher text, OUT cluster_id text, OUT key text) RETURNS SETOF record
  LANGUAGE sql STABLE STRICT PARALLEL UNSAFE ROWS 1000 SET search_path = pg_catalog, pg_temp AS $$
  SELECT c.matcher, c.cluster_id, c.key FROM salesops.match_cluster c WHERE c.entity = $1 AND NOT c.right_side
  UNION ALL
  SELECT m.matcher, f.cluster_id, f.key
    FROM salesops.matcher m, LATERAL salesops.find_clusters(m.matcher) f
   WHERE m.trained_at IS NOT NULL AND m.right_relation IS NULL
     AND (m.relation = to_regclass('salesops.' || $1) OR m.relation = (SELECT s.relation FROM salesops.source s WHERE s.entity = $1))
     AND NOT EXISTS (SELECT FROM salesops.match_cluster c WHERE c.matcher = m.matcher)
$$;
COMMENT ON FUNCTION salesops.entity_clusters(text) IS
  'clusters of a contract entity: as update_clusters kept them, or found now where it has not been run';

CREATE VIEW salesops.duplicate_lead WITH (security_invoker = true) AS
  SELECT c.matcher, c.cluster_id, l.* FROM salesops.entity_clusters('lead') c JOIN salesops.lead l ON l.lead_id = c.key;
COMMENT ON VIEW salesops.duplicate_lead IS 'leads that are in there twice, by cluster: once a matcher is trained on the attached relation';
CREATE VIEW salesops.duplicate_contact WITH (security_invoker = true) AS
  SELECT c.matcher, c.cluster_id, l.* FROM salesops.entity_clusters('contact') c JOIN salesops.contact l ON l.contact_id = c.key;
COMMENT ON VIEW salesops.duplicate_contact IS 'contacts that are in there twice, by cluster';
CREATE VIEW salesops.duplicate_account WITH (security_invoker = true) AS
  SELECT c.matcher, c.cluster_id, a.* FROM salesops.entity_clusters('account') c JOIN salesops.account a ON a.account_id = c.key;
COMMENT ON VIEW salesops.duplicate_account IS 'accounts that are in there twice, by cluster';
CREATE VIEW salesops.duplicate_opportunity WITH (security_invoker = true) AS
  SELECT c.matcher, c.cluster_id, o.* FROM salesops.entity_clusters('opportunity') c JOIN salesops.opportunity o ON o.opportunity_id = c.key;
COMMENT ON VIEW salesops.duplicate_opportunity IS 'opportunities that are in there twice, by cluster';

-- ---- merging: only when told, and back again ----------------------------------------------------------------------------
CREATE TABLE salesops.match_merge (
  merge_id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
  matcher text,
  cluster_id text NOT NULL,
  relation regclass NOT NULL,
  key_column name NOT NULL,
  survivor text NOT NULL,
  merged_by text NOT NULL,
  merged_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  undone_at timestamptz
);
COMMENT ON TABLE salesops.match_merge IS 'merges of clusters into their survivors';
CREATE TABLE salesops.match_merge_row (
  merge_id bigint NOT NULL REFERENCES salesops.match_merge ON DELETE CASCADE,
  ordinal integer NOT NULL,
  kind text NOT NULL CHECK (kind IN ('survivor', 'merged', 'child')),
  relation regclass NOT NULL,
  identity jsonb NOT NULL,
  before jsonb NOT NULL,
  after jsonb,
  PRIMARY KEY (merge_id, ordinal)
);
COMMENT ON TABLE salesops.match_merge_row IS
  'what undo_merge needs: the survivor before and after, the rows that were merged away, the rows that pointed to them';
SELECT pg_catalog.pg_extension_config_dump('salesops.match_merge', '');
SELECT pg_catalog.pg_extension_config_dump('salesops.match_merge_merge_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('salesops.match_merge_row', '');
INSERT INTO salesops.relation_registry VALUES ('match_merge', 'relation'), ('match_merge_row', 'relation');

CREATE FUNCTION salesops.cluster_members(matcher text, cluster_id text, OUT relation regclass, OUT key_column name, OUT keys text[])
  LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  definition salesops.matcher;
BEGIN
  SELECT * INTO definition FROM salesops.matcher m WHERE m.matcher = $1;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'matcher "%" does not exist', $1 USING ERRCODE = 'undefined_object';
  END IF;
  IF definition.right_relation IS NOT NULL THEN
    RAISE EXCEPTION 'matcher "%" links two relations: there is nothing to merge', $1 USING ERRCODE = 'object_not_in_prerequisite_state';
  END IF;
  relation := definition.relation;
  key_column := definition.key_column;
  SELECT array_agg(c.key ORDER BY length(c.key), c.key) INTO keys FROM salesops.match_cluster c
   WHERE c.matcher = $1 AND c.cluster_id = $2 AND NOT c.right_side;
  IF keys IS NULL THEN
    SELECT array_agg(f.key ORDER BY length(f.key), f.key) INTO keys FROM salesops.find_clusters($1) f WHERE f.cluster_id = $2;
  END IF;
  IF keys IS NULL THEN
    RAISE EXCEPTION 'matcher "%" has no cluster "%"', $1, $2
      USING ERRCODE = 'no_data_found', HINT = 'Ids are those of salesops.match_cluster after update_clusters(), or those of find_clusters().';
  END IF;
END
$$;
COMMENT ON FUNCTION salesops.cluster_members(text, text) IS 'keys of a cluster''s records, and where they are';

CREATE FUNCTION salesops.merge_preview(matcher text, cluster_id text, OUT column_name name, OUT value text, OUT from_key text, OUT rule text,
                                       OUT candidates jsonb) RETURNS SETOF record
  LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE ROWS 20 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  found record;
BEGIN
  SELECT * INTO found FROM salesops.cluster_members($1, $2);
  RETURN QUERY EXECUTE format($query$
    WITH member AS (
      SELECT r.%2$I::text AS k, to_jsonb(r) AS j FROM %1$s r WHERE r.%2$I::text = ANY ($1)
    ), survivor AS (
      SELECT m.k FROM member m
       ORDER BY (SELECT count(*) FROM jsonb_each_text(m.j) e WHERE e.value IS NOT NULL AND btrim(e.value) <> '') DESC, length(m.k), m.k LIMIT 1
    ), cell AS (
      SELECT a.attnum, a.attname, m.k, NULLIF(btrim(m.j->>a.attname::text), '') AS v, m.k = s.k AS own
        FROM member m, survivor s, pg_attribute a WHERE a.attrelid = $2 AND a.attnum > 0 AND NOT a.attisdropped
    ), tally AS (
      SELECT c.attname, c.v, count(*) AS n, bool_or(c.own) AS own, (array_agg(c.k ORDER BY c.own DESC, length(c.k), c.k))[1] AS k,
             sum(count(*)) OVER (PARTITION BY c.attname) AS of, count(*) OVER (PARTITION BY c.attname) AS different
        FROM cell c WHERE c.v IS NOT NULL GROUP BY c.attname, c.v
    ), winner AS (
      SELECT DISTINCT ON (t.attname) t.attname, t.v, t.k,
             CASE WHEN t.different = 1 THEN 'all agree' WHEN t.n * 2 > t.of AND t.n > 1 THEN 'majority' WHEN t.own THEN 'survivor' ELSE 'most frequent' END AS rule
        FROM tally t ORDER BY t.attname, (t.n * 2 > t.of AND t.n > 1) DESC, t.own DESC, t.n DESC, length(t.k), t.k
    )
    SELECT a.attname::name, CASE WHEN a.attname = %2$L THEN s.k ELSE w.v END,
           CASE WHEN a.attname = %2$L THEN s.k ELSE w.k END,
           CASE WHEN a.attname = %2$L THEN 'key of the fullest record' ELSE coalesce(w.rule, 'unknown everywhere') END,
           (SELECT jsonb_object_agg(c.k, c.v) FROM cell c WHERE c.attname = a.attname)
      FROM pg_attribute a CROSS JOIN survivor s LEFT JOIN winner w ON w.attname = a.attname
     WHERE a.attrelid = $2 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum$query$, found.relation, found.key_column)
    USING found.keys, found.relation::oid;
END
$$;
COMMENT ON FUNCTION salesops.merge_preview(text, text) IS
  'what merge_cluster would keep: per column the value, the record it is from, the rule that chose it, and all candidates';

CREATE FUNCTION salesops.note_merge(matcher text, cluster_id text, relation regclass, key_column name, survivor text, merged_by text, merged jsonb)
  RETURNS bigint
  LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH merge AS (
    INSERT INTO salesops.match_merge (matcher, cluster_id, relation, key_column, survivor, merged_by) VALUES ($1, $2, $3, $4, $5, $6) RETURNING merge_id
  ), lines AS (
    INSERT INTO salesops.match_merge_row (merge_id, ordinal, kind, relation, identity, before, after)
    SELECT m.merge_id, r.ordinal, r.line->>'kind', (r.line->>'relation')::oid::regclass, r.line->'identity', r.line->'before', r.line->'after'
      FROM merge m, jsonb_array_elements($7) WITH ORDINALITY AS r (line, ordinal)
  )
  SELECT m.merge_id FROM merge m
$$;
COMMENT ON FUNCTION salesops.note_merge(text, text, regclass, name, text, text, jsonb) IS 'what merge_cluster writes with';
CREATE FUNCTION salesops.note_merge_undone(merge_id bigint) RETURNS void
  LANGUAGE sql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  UPDATE salesops.match_merge m SET undone_at = clock_timestamp() WHERE m.merge_id = $1
$$;
COMMENT ON FUNCTION salesops.note_merge_undone(bigint) IS 'what undo_merge writes with';
CREATE FUNCTION salesops.merge_rows(merge_id bigint) RETURNS SETOF salesops.match_merge_row
  LANGUAGE sql STABLE STRICT PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT r.* FROM salesops.match_merge_row r WHERE r.merge_id = $1
$$;
COMMENT ON FUNCTION salesops.merge_rows(bigint) IS 'what undo_merge reads with';

CREATE FUNCTION salesops.merge_cluster(matcher text, cluster_id text) RETURNS bigint
  LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  found record;
  kept record;
  fk record;
  child record;
  losers text[];
  own jsonb;
  lines jsonb := '[]';
  settings text;
BEGIN
  SELECT * INTO found FROM salesops.cluster_members($1, $2);
  SELECT p.value AS key INTO kept FROM salesops.merge_preview($1, $2) p WHERE p.column_name = found.key_column;
  losers := array_remove(found.keys, kept.key);
  EXECUTE format('SELECT count(*) FROM (SELECT FROM %s r WHERE r.%I::text = ANY ($1) FOR UPDATE) x', found.relation, found.key_column)
    INTO STRICT own USING found.keys;
  IF own::text::bigint <> cardinality(found.keys) THEN
    RAISE EXCEPTION 'records of cluster "%" have changed or are not yours to change', $2
      USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'SELECT * FROM salesops.update_clusters(...); then look at the preview again.';
  END IF;
  -- rows that point to those that go: by foreign keys on the matcher's key
  FOR fk IN
    SELECT c.conrelid::regclass AS relation, a.attname AS referring,
           (SELECT array_agg(k.attname ORDER BY k.attnum) FROM pg_index i JOIN pg_attribute k ON k.attrelid = i.indrelid AND k.attnum = ANY (i.indkey)
             WHERE i.indrelid = c.conrelid AND i.indisprimary) AS primary_key
      FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
      JOIN pg_attribute r ON r.attrelid = c.confrelid AND r.attnum = c.confkey[1]
     WHERE c.contype = 'f' AND c.confrelid = found.relation AND cardinality(c.conkey) = 1 AND r.attname = found.key_column AND c.conparentid = 0
     ORDER BY 1, 2
  LOOP
    IF fk.primary_key IS NULL THEN
      EXECUTE format('SELECT EXISTS (SELECT FROM %s r WHERE r.%I::text = ANY ($1))', fk.relation, fk.referring) INTO STRICT own USING losers;
      IF own::text::boolean THEN
        RAISE EXCEPTION 'cannot merge: rows of % point to merged records, but it has no primary key to bring them back by', fk.relation
          USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Give it a primary key.';
      END IF;
      CONTINUE;
    END IF;
    FOR child IN EXECUTE format(
      'UPDATE %1$s r SET %2$I = (SELECT s.%3$I FROM %4$s s WHERE s.%3$I::text = $1) FROM (SELECT o.ctid AS place, o.%2$I::text AS pointed FROM %1$s o WHERE o.%2$I::text = ANY ($2) FOR UPDATE) b
       WHERE r.ctid = b.place RETURNING jsonb_build_object(%5$s) AS identity, b.pointed', fk.relation, fk.referring, found.key_column, found.relation,
      (SELECT string_agg(format('%L, r.%I', c, c), ', ') FROM unnest(fk.primary_key) c)) USING kept.key, losers
    LOOP
      lines := lines || jsonb_build_object('kind', 'child', 'relation', fk.relation::oid, 'identity', child.identity,
                                           'before', jsonb_build_object(fk.referring, child.pointed), 'after', jsonb_build_object(fk.referring, kept.key));
    END LOOP;
  END LOOP;
  -- the survivor takes the winning values; the others go
  EXECUTE format('SELECT to_jsonb(r) FROM %s r WHERE r.%I::text = $1', found.relation, found.key_column) INTO STRICT own USING kept.key;
  SELECT string_agg(format('%1$I = (SELECT s.%1$I FROM %2$s s WHERE s.%3$I::text = %4$L)', p.column_name, found.relation, found.key_column, p.from_key), ', ')
    INTO settings
    FROM salesops.merge_preview($1, $2) p JOIN pg_attribute a ON a.attrelid = found.relation AND a.attname = p.column_name
   WHERE p.column_name <> found.key_column AND p.from_key <> kept.key AND a.attgenerated = '';
  FOR child IN EXECUTE format('SELECT r.%2$I::text AS key, to_jsonb(r) AS line FROM %1$s r WHERE r.%2$I::text = ANY ($1)', found.relation, found.key_column) USING losers LOOP
    lines := lines || jsonb_build_object('kind', 'merged', 'relation', found.relation::oid, 'identity', jsonb_build_object(found.key_column, child.key), 'before', child.line);
  END LOOP;
  IF settings IS NOT NULL THEN
    -- in two steps, so that a value under a unique index is free when the survivor takes it
    EXECUTE format('CREATE TEMP TABLE salesops_merged ON COMMIT DROP AS SELECT * FROM %s r WHERE r.%I::text = ANY ($1)', found.relation, found.key_column) USING found.keys;
    settings := replace(settings, format('FROM %s s', found.relation), 'FROM pg_temp.salesops_merged s');
  END IF;
  EXECUTE format('DELETE FROM %s r WHERE r.%I::text = ANY ($1)', found.relation, found.key_column) USING losers;
  IF settings IS NOT NULL THEN
    EXECUTE format('UPDATE %s r SET %s WHERE r.%I::text = $1', found.relation, settings, found.key_column) USING kept.key;
    DROP TABLE pg_temp.salesops_merged;
  END IF;
  EXECUTE format('SELECT jsonb_build_object(''kind'', ''survivor'', ''relation'', $2::oid, ''identity'', jsonb_build_object($3::text, $1), ''before'', $4::jsonb, ''after'', to_jsonb(r)) FROM %s r WHERE r.%I::text = $1',
                 found.relation, found.key_column) INTO STRICT own USING kept.key, found.relation, found.key_column, own;
  RETURN salesops.note_merge($1, $2, found.relation, found.key_column, kept.key, current_user, lines || own);
END
$$;
COMMENT ON FUNCTION salesops.merge_cluster(text, text) IS
  'merge a cluster as merge_preview says: child rows follow by their foreign keys, the merged rows go; answers the merge''s id for undo_merge';

CREATE FUNCTION salesops.undo_merge(merge_id bigint) RETURNS integer
  LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  line record;
  names text;
  restored integer := 0;
  touched bigint;
BEGIN
  IF NOT EXISTS (SELECT FROM salesops.merge_rows($1)) THEN
    RAISE EXCEPTION 'merge % does not exist', $1 USING ERRCODE = 'no_data_found';
  END IF;
  IF EXISTS (SELECT FROM salesops.match_merge m WHERE m.merge_id = $1 AND m.undone_at IS NOT NULL) THEN
    RAISE EXCEPTION 'merge % is undone already', $1 USING ERRCODE = 'object_not_in_prerequisite_state';
  END IF;
  -- the survivor first (it may hold values that the merged rows need back), then the merged rows, then the children
  FOR line IN SELECT r.* FROM salesops.merge_rows($1) r ORDER BY array_position('{survivor,merged,child}', r.kind), r.ordinal LOOP
    IF line.kind = 'merged' THEN
      SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) INTO names FROM pg_attribute a
       WHERE a.attrelid = line.relation AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '';
      EXECUTE format('INSERT INTO %1$s (%2$s) OVERRIDING SYSTEM VALUE SELECT %2$s FROM jsonb_populate_record(NULL::%1$s, $1)', line.relation, names) USING line.before;
    ELSE
      -- only what is still as the merge left it: later changes are the user's
      SELECT string_agg(format('%1$I = CASE WHEN to_jsonb(r.%1$I) IS NOT DISTINCT FROM NULLIF(a.j->%2$L, ''null''::jsonb) OR r.%1$I::text = a.j->>%2$L THEN b.%1$I ELSE r.%1$I END', k, k), ', ')
        INTO names FROM (SELECT k FROM jsonb_object_keys(line.before) k
                           JOIN pg_attribute a ON a.attrelid = line.relation AND a.attname = k AND NOT a.attisdropped AND a.attgenerated = ''
                          WHERE line.before->k IS DISTINCT FROM line.after->k) x;
      CONTINUE WHEN names IS NULL;
      EXECUTE format('UPDATE %1$s r SET %2$s FROM jsonb_populate_record(NULL::%1$s, $1) b, (SELECT $2::jsonb AS j) a WHERE %3$s', line.relation, names,
                     (SELECT string_agg(format('r.%I::text = %L', k, v), ' AND ') FROM jsonb_each_text(line.identity) e (k, v))) USING line.before, line.after;
    END IF;
    GET DIAGNOSTICS touched = ROW_COUNT;
    restored := restored + touched;
  END LOOP;
  PERFORM salesops.note_merge_undone($1);
  RETURN restored;
END
$$;
COMMENT ON FUNCTION salesops.undo_merge(bigint) IS
  'bring back what a merge changed: the merged rows, the survivor''s values, the child rows; values changed since stay; answers how many rows';

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
  ('operator', 'function', 'salesops.confirm_match(text,text,text)'),
  ('operator', 'function', 'salesops.reject_match(text,text,text)'),
  ('operator', 'function', 'salesops.withdraw_decision(text,text,text)'),
  ('operator', 'function', 'salesops.update_clusters(text,double precision)'),
  ('admin', 'function', 'salesops.store_clusters(text,text[],integer[],boolean[],text,text[],boolean[])'),
  ('reader', 'function', 'salesops.entity_clusters(text)'),
  ('reader', 'function', 'salesops.cluster_members(text,text)'),
  ('reader', 'function', 'salesops.merge_preview(text,text)'),
  ('admin', 'function', 'salesops.merge_cluster(text,text)'),
  ('admin', 'function', 'salesops.undo_merge(bigint)'),
  ('admin', 'function', 'salesops.note_merge(text,text,regclass,name,text,text,jsonb)'),
  ('admin', 'function', 'salesops.note_merge_undone(bigint)'),
  ('admin', 'function', 'salesops.merge_rows(bigint)'),
  ('admin', 'table', 'salesops.match_merge'),
  ('reader', 'table', 'salesops.match_cluster'),
  ('reader', 'table', 'salesops.duplicate_lead'), ('reader', 'table', 'salesops.duplicate_contact'),
  ('reader', 'table', 'salesops.duplicate_account'), ('reader', 'table', 'salesops.duplicate_opportunity'),
  ('reader', 'function', 'salesops.evaluate_matcher(text,text,double precision,text)'),
  ('reader', 'table', 'salesops.matcher');
