-- Lead scoring: rules and models into one score with a grade and its reasons, now and as of any past date.

-- ---- how leads are judged ---------------------------------------------------------------------------------------------
CREATE TABLE salesops.scoring_rule (
  rule text PRIMARY KEY CHECK (rule <> ''),
  category text NOT NULL CHECK (category IN ('fit', 'technology', 'engagement', 'negative')),
  entity text NOT NULL CHECK (entity IN ('lead', 'activity')),
  expression text NOT NULL,
  points double precision NOT NULL,
  half_life interval,
  cap double precision
);
COMMENT ON TABLE salesops.scoring_rule IS
  'rules that give or take points: on the lead, or on each of its activities, halved with every half-life; made by create_scoring_rule()';
SELECT pg_catalog.pg_extension_config_dump('salesops.scoring_rule', '');

CREATE TABLE salesops.scoring_segment (
  segment text PRIMARY KEY CHECK (segment <> ''),
  expression text NOT NULL,
  model text NOT NULL,
  ordinal integer NOT NULL
);
COMMENT ON TABLE salesops.scoring_segment IS 'which leads are scored by a model of their own; the first that holds counts';
SELECT pg_catalog.pg_extension_config_dump('salesops.scoring_segment', '');

CREATE TABLE salesops.scoring_policy (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  options jsonb NOT NULL
);
COMMENT ON TABLE salesops.scoring_policy IS 'how model and rules become a score and a grade; set by set_scoring_policy()';
SELECT pg_catalog.pg_extension_config_dump('salesops.scoring_policy', '');

CREATE FUNCTION salesops.create_scoring_rule(rule text, category text, expression text, points double precision, options jsonb DEFAULT '{}')
  RETURNS void LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'salesops_create_scoring_rule';
COMMENT ON FUNCTION salesops.create_scoring_rule(text, text, text, double precision, jsonb) IS
  'a rule of category fit, technology, engagement or negative: a boolean expression over salesops.lead, or with {"entity": "activity"} over salesops.activity; options half_life and cap';
CREATE FUNCTION salesops.drop_scoring_rule(rule text) RETURNS void
  LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'salesops_drop_scoring_rule';
COMMENT ON FUNCTION salesops.drop_scoring_rule(text) IS 'forget a scoring rule';
CREATE FUNCTION salesops.create_scoring_segment(segment text, expression text, model text, ordinal integer DEFAULT 1) RETURNS void
  LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'salesops_create_scoring_segment';
COMMENT ON FUNCTION salesops.create_scoring_segment(text, text, text, integer) IS
  'leads for which the expression holds are scored by a model of their own, such as one a team';
CREATE FUNCTION salesops.drop_scoring_segment(segment text) RETURNS void
  LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'salesops_drop_scoring_segment';
COMMENT ON FUNCTION salesops.drop_scoring_segment(text) IS 'forget a scoring segment';
CREATE FUNCTION salesops.set_scoring_policy(options jsonb) RETURNS void
  LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'salesops_set_scoring_policy';
COMMENT ON FUNCTION salesops.set_scoring_policy(jsonb) IS
  'options model_weight (0.7), fit_cap, technology_cap, engagement_cap, negative_cap, total, grade_by (score or probability), grades ([90, 70, 40]), matrix ([75, 50, 25])';

-- ---- scores -----------------------------------------------------------------------------------------------------------
CREATE TABLE salesops.lead_score (
  lead_id text PRIMARY KEY,
  score double precision NOT NULL CHECK (score BETWEEN 0 AND 100),
  grade text NOT NULL CHECK (grade IN ('A', 'B', 'C', 'D')),
  fit double precision,
  engagement double precision,
  matrix text,
  probability double precision,
  percentile double precision,
  automatic_score double precision NOT NULL,
  automatic_grade text NOT NULL,
  reasons jsonb NOT NULL,
  model text,
  version integer,
  scored_at timestamptz NOT NULL
);
COMMENT ON TABLE salesops.lead_score IS 'the score of each lead, 0 to 100, with its grade and reasons; shown where the lead is';
COMMENT ON COLUMN salesops.lead_score.score IS 'the automatic score, or the one that override_lead_score() set';
COMMENT ON COLUMN salesops.lead_score.fit IS 'share of the points of fit and technology rules, 0 to 100; NULL without such rules';
COMMENT ON COLUMN salesops.lead_score.engagement IS 'share of the points of engagement rules, 0 to 100; NULL without such rules';
COMMENT ON COLUMN salesops.lead_score.matrix IS 'fit as a letter and engagement as a digit: A1 is the best, D4 the worst';
COMMENT ON COLUMN salesops.lead_score.percentile IS 'where the probability stands among those of held-out leads, 0 to 100';
SELECT pg_catalog.pg_extension_config_dump('salesops.lead_score', '');

CREATE TABLE salesops.lead_score_history (
  lead_id text NOT NULL,
  scored_at timestamptz NOT NULL,
  score double precision NOT NULL,
  grade text NOT NULL,
  fit double precision,
  engagement double precision,
  probability double precision,
  percentile double precision,
  model text,
  version integer,
  PRIMARY KEY (lead_id, scored_at)
);
COMMENT ON TABLE salesops.lead_score_history IS 'automatic scores over time: a row whenever a lead''s score, grade, probability or model changed';
SELECT pg_catalog.pg_extension_config_dump('salesops.lead_score_history', '');

CREATE TABLE salesops.lead_score_override (
  lead_id text PRIMARY KEY,
  score double precision NOT NULL CHECK (score BETWEEN 0 AND 100),
  grade text NOT NULL CHECK (grade IN ('A', 'B', 'C', 'D')),
  reason text NOT NULL,
  until timestamptz,
  set_by name NOT NULL,
  set_at timestamptz NOT NULL
);
COMMENT ON TABLE salesops.lead_score_override IS 'scores set by hand, with reason and end; the automatic score is kept beside';
SELECT pg_catalog.pg_extension_config_dump('salesops.lead_score_override', '');

ALTER TABLE salesops.lead_score ENABLE ROW LEVEL SECURITY;
CREATE POLICY visible_lead ON salesops.lead_score FOR SELECT USING (lead_id IN (SELECT l.lead_id FROM salesops.lead l));
ALTER TABLE salesops.lead_score_history ENABLE ROW LEVEL SECURITY;
CREATE POLICY visible_lead ON salesops.lead_score_history FOR SELECT USING (lead_id IN (SELECT l.lead_id FROM salesops.lead l));
ALTER TABLE salesops.lead_score_override ENABLE ROW LEVEL SECURITY;
CREATE POLICY visible_lead ON salesops.lead_score_override FOR SELECT USING (lead_id IN (SELECT l.lead_id FROM salesops.lead l));

CREATE FUNCTION salesops.store_lead_scores(leads text[], scores double precision[], grades text[], fits double precision[],
                                           engagements double precision[], matrices text[], probabilities double precision[],
                                           percentiles double precision[], reasons text[], models text[], versions integer[],
                                           as_of timestamptz) RETURNS bigint
  LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
  INSERT INTO salesops.lead_score_history (lead_id, scored_at, score, grade, fit, engagement, probability, percentile, model, version)
  SELECT n.lead_id, as_of, n.score, n.grade, n.fit, n.engagement, n.probability, n.percentile, n.model, n.version
    FROM unnest(leads, scores, grades, fits, engagements, probabilities, percentiles, models, versions)
         n(lead_id, score, grade, fit, engagement, probability, percentile, model, version)
    LEFT JOIN LATERAL (SELECT h.score, h.grade, h.probability, h.model, h.version FROM salesops.lead_score_history h
                        WHERE h.lead_id = n.lead_id AND h.scored_at <= as_of ORDER BY h.scored_at DESC LIMIT 1) last ON true
   WHERE (last.score, last.grade, last.probability, last.model, last.version) IS DISTINCT FROM
         (n.score, n.grade, n.probability, n.model, n.version)
  ON CONFLICT (lead_id, scored_at) DO UPDATE
     SET (score, grade, fit, engagement, probability, percentile, model, version) =
         (excluded.score, excluded.grade, excluded.fit, excluded.engagement, excluded.probability, excluded.percentile,
          excluded.model, excluded.version);
  INSERT INTO salesops.lead_score AS s (lead_id, score, grade, fit, engagement, matrix, probability, percentile, automatic_score,
                                        automatic_grade, reasons, model, version, scored_at)
  SELECT n.lead_id, coalesce(o.score, n.score), coalesce(o.grade, n.grade), n.fit, n.engagement, n.matrix, n.probability,
         n.percentile, n.score, n.grade, n.reasons::jsonb, n.model, n.version, as_of
    FROM unnest(leads, scores, grades, fits, engagements, matrices, probabilities, percentiles, reasons, models, versions)
         n(lead_id, score, grade, fit, engagement, matrix, probability, percentile, reasons, model, version)
    LEFT JOIN salesops.lead_score_override o ON o.lead_id = n.lead_id AND (o.until IS NULL OR o.until > as_of)
  ON CONFLICT (lead_id) DO UPDATE
     SET (score, grade, fit, engagement, matrix, probability, percentile, automatic_score, automatic_grade, reasons, model, version,
          scored_at) =
         (excluded.score, excluded.grade, excluded.fit, excluded.engagement, excluded.matrix, excluded.probability,
          excluded.percentile, excluded.automatic_score, excluded.automatic_grade, excluded.reasons, excluded.model, excluded.version,
          excluded.scored_at)
   WHERE s.scored_at <= excluded.scored_at;
  SELECT pg_catalog.cardinality(leads)::bigint;
$$;
COMMENT ON FUNCTION salesops.store_lead_scores(text[], double precision[], text[], double precision[], double precision[], text[], double precision[], double precision[], text[], text[], integer[], timestamptz) IS
  'what score_leads() writes a block of scores with; a score as of an earlier time than the one that stands goes to the history only';
REVOKE ALL ON FUNCTION salesops.store_lead_scores(text[], double precision[], text[], double precision[], double precision[], text[], double precision[], double precision[], text[], text[], integer[], timestamptz) FROM PUBLIC;

CREATE FUNCTION salesops.score_leads(model text DEFAULT 'lead', as_of timestamptz DEFAULT now()) RETURNS integer
  LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE COST 100000 AS 'MODULE_PATHNAME', 'salesops_score_leads';
COMMENT ON FUNCTION salesops.score_leads(text, timestamptz) IS
  'score all leads there were at as_of, by the rules and the active version of the model; fills lead_score and its history, answers how many';
CREATE FUNCTION salesops.score_lead(lead_id text, model text DEFAULT 'lead', as_of timestamptz DEFAULT now()) RETURNS double precision
  LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE COST 10000 AS 'MODULE_PATHNAME', 'salesops_score_lead';
COMMENT ON FUNCTION salesops.score_lead(text, text, timestamptz) IS 'score one lead; answers its score';

CREATE FUNCTION salesops.lead_changed() RETURNS trigger
  LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'salesops_lead_changed';
COMMENT ON FUNCTION salesops.lead_changed() IS 'trigger that scores leads in the transaction that wrote them; see enforce_lead_scores()';
-- open to all: who makes a trigger or a partition needs it, and it acts only for the attached relation

CREATE FUNCTION salesops.enforce_lead_scores(model text DEFAULT 'lead') RETURNS void
  LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  target regclass := (SELECT s.relation FROM salesops.source s WHERE s.entity = 'lead');
BEGIN
  IF target IS NULL THEN
    RAISE EXCEPTION 'no relation is attached as lead'
      USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'SELECT * FROM salesops.attach(''lead'', ''schema.table'', ''{...}'');';
  END IF;
  IF EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = target AND t.tgfoid = 'salesops.lead_changed()'::regprocedure) THEN
    RAISE EXCEPTION 'leads of % are scored by trigger already', target
      USING ERRCODE = 'duplicate_object', HINT = 'SELECT salesops.release_lead_scores(); first.';
  END IF;
  IF (SELECT c.relkind = 'p' FROM pg_class c WHERE c.oid = target) THEN
    -- row-level ones are cloned for each partition: they fire for what is written to a partition by its own name, too
    EXECUTE format('CREATE TRIGGER zz_salesops_score_gathered BEFORE INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW '
                   'EXECUTE FUNCTION salesops.lead_changed(%L)', target, model);
    EXECUTE format('CREATE TRIGGER salesops_score_written AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW '
                   'EXECUTE FUNCTION salesops.lead_changed(%L)', target, model);
    EXECUTE format('ALTER TRIGGER zz_salesops_score_gathered ON %s DEPENDS ON EXTENSION salesops', target);
    EXECUTE format('ALTER TRIGGER salesops_score_written ON %s DEPENDS ON EXTENSION salesops', target);
    RETURN;
  END IF;
  EXECUTE format('CREATE TRIGGER salesops_score_inserted AFTER INSERT ON %s REFERENCING NEW TABLE AS written '
                 'FOR EACH STATEMENT EXECUTE FUNCTION salesops.lead_changed(%L)', target, model);
  EXECUTE format('CREATE TRIGGER salesops_score_updated AFTER UPDATE ON %s REFERENCING NEW TABLE AS written '
                 'FOR EACH STATEMENT EXECUTE FUNCTION salesops.lead_changed(%L)', target, model);
  EXECUTE format('CREATE TRIGGER salesops_score_deleted AFTER DELETE ON %s REFERENCING OLD TABLE AS gone '
                 'FOR EACH STATEMENT EXECUTE FUNCTION salesops.lead_changed(%L)', target, model);
  EXECUTE format('ALTER TRIGGER salesops_score_inserted ON %s DEPENDS ON EXTENSION salesops', target);
  EXECUTE format('ALTER TRIGGER salesops_score_updated ON %s DEPENDS ON EXTENSION salesops', target);
  EXECUTE format('ALTER TRIGGER salesops_score_deleted ON %s DEPENDS ON EXTENSION salesops', target);
END
$$;
COMMENT ON FUNCTION salesops.enforce_lead_scores(text) IS
  'triggers on the attached leads: whoever is inserted or updated is scored in the same transaction, whoever is deleted loses the score; those of a partitioned table hold on its partitions';
CREATE FUNCTION salesops.release_lead_scores(relation regclass DEFAULT NULL) RETURNS void
  LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  target regclass := coalesce(relation, (SELECT s.relation FROM salesops.source s WHERE s.entity = 'lead'));
  item record;
BEGIN
  FOR item IN SELECT t.tgname FROM pg_trigger t
               WHERE t.tgrelid = target AND t.tgfoid = 'salesops.lead_changed()'::regprocedure ORDER BY 1 LOOP
    EXECUTE format('DROP TRIGGER %I ON %s', item.tgname, target);
  END LOOP;
END
$$;
COMMENT ON FUNCTION salesops.release_lead_scores(regclass) IS 'take the triggers of enforce_lead_scores() away';

CREATE FUNCTION salesops.override_lead_score(lead_id text, score double precision, reason text, until timestamptz DEFAULT NULL) RETURNS void
  LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'salesops_override_lead_score';
COMMENT ON FUNCTION salesops.override_lead_score(text, double precision, text, timestamptz) IS
  'set a lead''s score by hand, for a reason and perhaps until a time; a NULL score lifts the override; automatic_score goes on beside it';

-- ---- what came of it ----------------------------------------------------------------------------------------------------
CREATE VIEW salesops.lead_score_drift WITH (security_invoker = true) AS
  WITH trained AS (
    -- models of before the distribution was kept have none: tenths of the held-out probabilities stand in
    SELECT v.name AS model, v.version, v.details #> '{fitted,shares}' AS shares,
           CASE WHEN v.details ? 'fitted' THEN ARRAY(SELECT e::double precision FROM jsonb_array_elements_text(v.details #> '{fitted,edges}') AS e ORDER BY 1) END AS edges
      FROM salesops.model_version v
  ), counted AS (
    SELECT t.model, t.version, CASE WHEN t.edges IS NULL THEN least(floor(s.percentile / 10), 9)::integer WHEN t.edges = '{}' THEN 0
                                    ELSE width_bucket(s.probability, t.edges) END AS part, count(*) AS leads
      FROM salesops.lead_score s JOIN trained t ON t.model = s.model AND t.version = s.version
     WHERE s.probability IS NOT NULL GROUP BY 1, 2, 3
  ), share AS (
    SELECT m.model, m.version, coalesce(c.leads, 0) AS leads, coalesce((t.shares ->> p.part)::double precision, 0.1) AS expected,
           greatest(coalesce(c.leads, 0) / m.leads, 0.0001)::double precision AS share
      FROM (SELECT model, version, sum(leads) AS leads FROM counted GROUP BY 1, 2) m
      JOIN trained t ON t.model = m.model AND t.version = m.version
     CROSS JOIN LATERAL generate_series(0, coalesce(jsonb_array_length(t.shares), 10) - 1) AS p(part)
      LEFT JOIN counted c ON c.model = m.model AND c.version = m.version AND c.part = p.part
  )
  SELECT s.model, s.version, sum(s.leads)::bigint AS leads, sum((s.share - s.expected) * ln(s.share / s.expected)) AS stability_index,
         CASE WHEN sum((s.share - s.expected) * ln(s.share / s.expected)) > 0.25 THEN 'act: train again'
              WHEN sum((s.share - s.expected) * ln(s.share / s.expected)) > 0.10 THEN 'alert' ELSE 'stable' END AS verdict
    FROM share s GROUP BY s.model, s.version;
COMMENT ON VIEW salesops.lead_score_drift IS
  'population stability index of today''s probabilities against those of the rows that the model was trained on; above .10 an alert, above .25 a call to act';

CREATE VIEW salesops.lead_grade_outcome WITH (security_invoker = true) AS
  SELECT h.grade, count(*) AS leads, count(l.converted_at) AS converted,
         count(l.converted_at)::double precision / count(*) AS conversion, avg(h.probability) AS expected
    FROM salesops.lead l
   CROSS JOIN LATERAL (SELECT g.grade, g.probability FROM salesops.lead_score_history g
                        WHERE g.lead_id = l.lead_id AND (l.converted_at IS NULL OR g.scored_at < l.converted_at)
                        ORDER BY g.scored_at DESC LIMIT 1) h
   GROUP BY h.grade;
COMMENT ON VIEW salesops.lead_grade_outcome IS
  'realised conversion by the grade that leads had before they converted; leads that were never scored before do not count';

CREATE VIEW salesops.model_lift WITH (security_invoker = false) AS
  SELECT v.name, v.version, v.active, t.tenth::integer AS tenth, (t.item ->> 'rows')::bigint AS rows, (t.item ->> 'positives')::bigint AS positives,
         (t.item ->> 'positives')::double precision / nullif((t.item ->> 'rows')::double precision, 0) AS rate,
         (t.item ->> 'positives')::double precision / nullif((t.item ->> 'rows')::double precision, 0)
           / nullif(sum((t.item ->> 'positives')::double precision) OVER (PARTITION BY v.name, v.version)
                    / nullif(sum((t.item ->> 'rows')::double precision) OVER (PARTITION BY v.name, v.version), 0), 0) AS lift,
         sum((t.item ->> 'positives')::double precision) OVER (PARTITION BY v.name, v.version ORDER BY t.tenth)
           / nullif(sum((t.item ->> 'positives')::double precision) OVER (PARTITION BY v.name, v.version), 0) AS share_reached
    FROM salesops.model_version v, LATERAL jsonb_array_elements(v.details -> 'tenths') WITH ORDINALITY AS t(item, tenth)
   WHERE salesops.may_use_model(v.name);
COMMENT ON VIEW salesops.model_lift IS
  'held-out rows by tenth of their probability, best first: rate of yes, lift over the base rate of the held-out rows, and share of all yes reached by working down to here';

CREATE VIEW salesops.champion_challenger WITH (security_invoker = true) AS
  SELECT c.name, c.version AS champion, o.version AS challenger, c.log_loss AS champion_log_loss, o.log_loss AS challenger_log_loss,
         c.roc_auc AS champion_roc_auc, o.roc_auc AS challenger_roc_auc, c.validation AS champion_validation,
         o.validation AS challenger_validation, c.fingerprint = o.fingerprint AS same_data
    FROM salesops.model c JOIN salesops.model o ON o.name = c.name AND o.version <> c.version
   WHERE c.active;
COMMENT ON VIEW salesops.champion_challenger IS
  'the active version of each model beside its others, by held-out figures; compare_versions() sets them against each other on the same rows';

CREATE FUNCTION salesops.compare_versions(model text, champion integer, challenger integer, query text, label name, OUT rows bigint,
                                          OUT champion_log_loss double precision, OUT challenger_log_loss double precision,
                                          OUT champion_roc_auc double precision, OUT challenger_roc_auc double precision,
                                          OUT gain double precision, OUT standard_error double precision, OUT verdict text) RETURNS record
  LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'salesops_compare_versions';
COMMENT ON FUNCTION salesops.compare_versions(text, integer, integer, text, name) IS
  'two versions of a model on the same rows: gain is the challenger''s log loss won a row, with the standard error of the paired difference';

INSERT INTO salesops.access_right (level, kind, object) VALUES
  ('reader', 'table', 'salesops.lead_score'), ('reader', 'table', 'salesops.lead_score_history'),
  ('reader', 'table', 'salesops.lead_score_override'), ('reader', 'table', 'salesops.scoring_rule'),
  ('reader', 'table', 'salesops.scoring_segment'), ('reader', 'table', 'salesops.scoring_policy'),
  ('reader', 'table', 'salesops.lead_score_drift'), ('reader', 'table', 'salesops.lead_grade_outcome'),
  ('reader', 'table', 'salesops.model_lift'), ('reader', 'table', 'salesops.champion_challenger'),
  ('admin', 'function', 'salesops.create_scoring_rule(text,text,text,double precision,jsonb)'),
  ('admin', 'function', 'salesops.drop_scoring_rule(text)'),
  ('admin', 'function', 'salesops.create_scoring_segment(text,text,text,integer)'),
  ('admin', 'function', 'salesops.drop_scoring_segment(text)'),
  ('admin', 'function', 'salesops.set_scoring_policy(jsonb)'),
  ('admin', 'function', 'salesops.enforce_lead_scores(text)'),
  ('admin', 'function', 'salesops.release_lead_scores(regclass)'),
  ('operator', 'function', 'salesops.score_leads(text,timestamptz)'),
  ('operator', 'function', 'salesops.score_lead(text,text,timestamptz)'),
  ('operator', 'function', 'salesops.override_lead_score(text,double precision,text,timestamptz)'),
  ('reader', 'function', 'salesops.compare_versions(text,integer,integer,text,name)');
