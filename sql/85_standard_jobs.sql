-- Standard jobs: what a sales team wants done by itself. The one place where jobs name the domains' functions, as plain SQL;
-- a job whose functions or data are not there is skipped with a word.

-- ---- what refresh_changed() recomputes ------------------------------------------------------------------------------
-- the ledger knows the reps of credits that are gone or went to somebody else (where credits are a view, not by the opportunity: whatever
-- credit of the quarter is gone is looked at); a lead may be younger than the transaction that scores
-- it (or its writer's clock ahead): it is scored as of its creation then
INSERT INTO salesops.refresh_command (entity, name, ordinal, command, everything, bulk_from, needs) VALUES
  ('lead', 'score', 1,
   'WITH present AS MATERIALIZED (SELECT l.lead_id, greatest(now(), l.created_at) AS as_of FROM salesops.lead l WHERE l.lead_id = ANY ($1)) SELECT (SELECT count(salesops.score_lead(p.lead_id, as_of => p.as_of)) FROM present p), salesops.forget_lead_scores(ARRAY(SELECT k FROM unnest($1) k EXCEPT SELECT p.lead_id FROM present p))',
   'SELECT salesops.score_leads(), salesops.forget_lead_scores()', 2000,
   'to_regprocedure(''salesops.score_lead(text,text,timestamptz)'') IS NOT NULL AND EXISTS (SELECT FROM salesops.model_version WHERE name = ''lead'' AND active)'),
  ('commission_credit', 'commission', 1,
   'SELECT count(*) FROM (SELECT c.rep_id FROM salesops.commission_credit c WHERE c.credit_id = ANY ($1) UNION SELECT salesops.commission_reps_of($1)) r, LATERAL salesops.calculate_commission(r.rep_id, salesops.current_quarter())',
   'SELECT count(*) FROM salesops.calculate_commissions(salesops.current_quarter())', 1000,
   'EXISTS (SELECT FROM salesops.commission_assignment)'),
  ('opportunity', 'commission', 1,
   'WITH mine AS MATERIALIZED (SELECT c.credit_id, c.rep_id FROM salesops.commission_credit c WHERE c.opportunity_id = ANY ($1) OR c.credit_id = ANY ($1)), gone AS (SELECT l.rep_id FROM salesops.commission_line l WHERE l.for_period && salesops.current_quarter() AND l.credit_id IS NOT NULL AND NOT EXISTS (SELECT FROM salesops.watched w JOIN salesops.source s USING (entity, relation) WHERE entity = ''commission_credit'') AND NOT EXISTS (SELECT FROM salesops.commission_credit c WHERE c.credit_id = l.credit_id)) SELECT count(*) FROM (SELECT m.rep_id FROM mine m UNION SELECT salesops.commission_reps_of($1 || ARRAY(SELECT m.credit_id FROM mine m)) UNION SELECT g.rep_id FROM gone g) r, LATERAL salesops.calculate_commission(r.rep_id, salesops.current_quarter())',
   'SELECT count(*) FROM salesops.calculate_commissions(salesops.current_quarter())', 1000,
   'EXISTS (SELECT FROM salesops.commission_assignment)');

CREATE FUNCTION salesops.forget_lead_scores(keys text[] DEFAULT NULL) RETURNS bigint
  LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'salesops_forget_lead_scores';
COMMENT ON FUNCTION salesops.forget_lead_scores(text[]) IS
  'remove the scores of leads that are gone, of these keys or all; nothing where there is no lead at all (detached), or where row-level security hides leads even from their owner; the history stays';

CREATE FUNCTION salesops.current_quarter(as_of timestamptz DEFAULT pg_catalog.now()) RETURNS daterange
  LANGUAGE sql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
  SELECT daterange((date_trunc('quarter', as_of - interval '15 days'))::date, (date_trunc('quarter', as_of) + interval '3 months')::date)
$$;
COMMENT ON FUNCTION salesops.current_quarter(timestamptz) IS
  'the quarter that commissions accrue in; in its first fifteen days the one before as well, for what is entered late';

-- ---- duplicates, found by night, and key by key as records change -----------------------------------------------------
CREATE FUNCTION salesops.lock_matcher(matcher text) RETURNS boolean
  LANGUAGE sql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT m.trained_at IS NOT NULL FROM salesops.matcher m WHERE m.matcher = $1 FOR NO KEY UPDATE
$$;
COMMENT ON FUNCTION salesops.lock_matcher(text) IS
  'who brings a matcher''s clusters up to date waits for who does so already; whether it is trained, NULL where there is none';

CREATE FUNCTION salesops.refresh_duplicates() RETURNS bigint
  LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  item record;
BEGIN
  FOR item IN SELECT m.matcher FROM salesops.matcher m WHERE m.trained_at IS NOT NULL ORDER BY 1 LOOP
    PERFORM FROM salesops.update_clusters(item.matcher);
  END LOOP;
  RETURN (SELECT count(*) FROM salesops.match_cluster);
END
$$;
COMMENT ON FUNCTION salesops.refresh_duplicates() IS
  'bring the clusters of every trained matcher up to date (update_clusters); answers how many records are in one';

CREATE FUNCTION salesops.rematch_keys(matcher text, keys text[], threshold double precision) RETURNS bigint
  LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'salesops_rematch_keys';
COMMENT ON FUNCTION salesops.rematch_keys(text, text[], double precision) IS
  'what refresh_matches() does by indexes, with the matcher locked: how many records changed their cluster, NULL where only a full run can tell';

CREATE FUNCTION salesops.refresh_matches(matcher text, keys text[], threshold double precision DEFAULT 0.5) RETURNS bigint
  LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  trained boolean := salesops.lock_matcher(matcher);
  changed bigint;
BEGIN
  IF trained IS NOT TRUE THEN
    RAISE EXCEPTION 'matcher "%" %', matcher, CASE WHEN trained IS NULL THEN 'does not exist' ELSE 'has not been trained' END
      USING ERRCODE = CASE WHEN trained IS NULL THEN 'undefined_object' ELSE 'object_not_in_prerequisite_state' END,
            HINT = 'salesops.create_matcher() defines it, salesops.train_matcher() trains it.';
  END IF;
  changed := salesops.rematch_keys(matcher, keys, threshold);
  IF changed IS NULL THEN
    SELECT coalesce(sum(u.records), 0) INTO changed FROM salesops.update_clusters(matcher, threshold) u;
  END IF;
  RETURN changed;
END
$$;
COMMENT ON FUNCTION salesops.refresh_matches(text, text[], double precision) IS
  'bring the stored clusters of a matcher up to date for some changed keys: what a full run would find; answers how many records changed their cluster';

CREATE FUNCTION salesops.refreshable_matchers(entity text) RETURNS SETOF text
  LANGUAGE sql STABLE STRICT PARALLEL UNSAFE ROWS 1 SET search_path = pg_catalog, pg_temp AS $$
  SELECT m.matcher
    FROM salesops.matcher m
    JOIN salesops.source s ON s.entity = $1 AND s.relation = m.relation AND s.columns ->> ($1 || '_id') = m.key_column
   WHERE m.trained_at IS NOT NULL AND m.right_relation IS NULL
     AND EXISTS (SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                  WHERE i.indrelid = m.relation AND c.relname LIKE 'salesops\_match\_%')
   ORDER BY 1
$$;
COMMENT ON FUNCTION salesops.refreshable_matchers(text) IS
  'trained matchers of the table attached as the entity, by its key, whose look-ups have indexes (index_matcher()): what refresh_changed() rematches';
INSERT INTO salesops.refresh_command (entity, name, ordinal, command, everything, bulk_from, needs)
  SELECT e, 'match', 2, format('SELECT count(*) FROM salesops.refreshable_matchers(%L) m, LATERAL salesops.refresh_matches(m, $1)', e),
         format('SELECT count(*) FROM salesops.refreshable_matchers(%L) m, LATERAL salesops.update_clusters(m)', e),
         500, format('EXISTS (SELECT FROM salesops.refreshable_matchers(%L))', e)
    FROM unnest('{lead,contact,account,opportunity}'::text[]) e;

-- what people decide changes clusters as a change of the records would
CREATE FUNCTION salesops.queue_decision() RETURNS trigger
  LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  decided salesops.match_decision := CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
BEGIN
  INSERT INTO salesops.change_batch (entity, keys, changed_at)
  SELECT s.entity, ARRAY[decided.left_key, decided.right_key], now()
    FROM salesops.matcher m
    JOIN salesops.source s ON s.relation = m.relation AND s.columns ->> (s.entity || '_id') = m.key_column
    JOIN salesops.watched w ON w.entity = s.entity AND w.relation = m.relation
   WHERE m.matcher = decided.matcher AND m.right_relation IS NULL;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION salesops.queue_decision() IS 'trigger: the two records of a decision are changed ones, where their table is watched';
CREATE TRIGGER queue_decision AFTER INSERT OR UPDATE OR DELETE ON salesops.match_decision
  FOR EACH ROW EXECUTE FUNCTION salesops.queue_decision();
COMMENT ON TRIGGER queue_decision ON salesops.match_decision IS 'the two records of a decision are changed ones, where their table is watched';
CREATE TRIGGER wake_worker AFTER INSERT OR UPDATE OR DELETE ON salesops.match_decision
  FOR EACH STATEMENT EXECUTE FUNCTION salesops.wake_worker();
COMMENT ON TRIGGER wake_worker ON salesops.match_decision IS 'wakes this database''s worker when the transaction commits';

-- ---- learning anew ----------------------------------------------------------------------------------------------------
CREATE FUNCTION salesops.model_recipe(model text, OUT version integer, OUT query text, OUT label text, OUT method text, OUT key text,
                                      OUT options jsonb, OUT fingerprint text, OUT log_loss double precision, OUT row_key text)
  LANGUAGE sql STABLE STRICT PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT v.version, v.query, v.label, v.method, v.key, v.options, v.fingerprint, v.log_loss,
         coalesce(v.key, (SELECT l.item FROM jsonb_each_text(v.left_out) l(item, reason) WHERE l.reason LIKE 'a key:%' ORDER BY 1 LIMIT 1))
    FROM salesops.model_version v WHERE v.name = model AND v.active
$$;
COMMENT ON FUNCTION salesops.model_recipe(text) IS
  'how the active version of a model was trained, its log loss on held-out rows, and the column that tells its rows apart';

-- A version that retrain_model() has activated was trained on all rows; beside it stays its twin, trained without every fifth row: the
-- next one is compared with the twin on those rows, which neither has seen.
CREATE TABLE salesops.model_twin (
  name text NOT NULL,
  version integer NOT NULL,
  twin integer NOT NULL,
  PRIMARY KEY (name, version),
  FOREIGN KEY (name, version) REFERENCES salesops.model_version ON DELETE CASCADE,
  FOREIGN KEY (name, twin) REFERENCES salesops.model_version ON DELETE CASCADE
);
COMMENT ON TABLE salesops.model_twin IS
  'for each version that retrain_model() activated, the one that was trained alike but for the rows that retraining compares on';
SELECT pg_catalog.pg_extension_config_dump('salesops.model_twin', '');
CREATE FUNCTION salesops.model_twin_of(model text, version integer) RETURNS integer
  LANGUAGE sql STABLE STRICT PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT t.twin FROM salesops.model_twin t WHERE t.name = $1 AND t.version = $2
$$;
COMMENT ON FUNCTION salesops.model_twin_of(text, integer) IS 'the twin of a version, NULL where it has none';
CREATE FUNCTION salesops.note_model_twin(model text, version integer, twin integer) RETURNS void
  LANGUAGE sql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  INSERT INTO salesops.model_twin VALUES ($1, $2, $3)
$$;
COMMENT ON FUNCTION salesops.note_model_twin(text, integer, integer) IS 'what retrain_model() writes with';

CREATE FUNCTION salesops.retrain_model(model text) RETURNS text
  LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  before record;
  source text;
  held_out text;
  champion integer;
  challenger integer;
  latest integer;
  figures record;
BEGIN
  SELECT * INTO before FROM salesops.model_recipe(model);
  IF before.version IS NULL THEN
    RAISE EXCEPTION 'model "%" does not exist', model USING ERRCODE = 'undefined_object', HINT = 'salesops.train_model() makes it.';
  END IF;
  -- every fifth row, by a hash of its key: the same rows each time, whatever else of them changes
  source := regexp_replace(before.query, '[;[:space:]]+$', '');
  held_out := format('pg_catalog.get_byte(pg_catalog.decode(pg_catalog.md5(%s), ''hex''), 0) %% 5 = 0',
                     CASE WHEN before.row_key IS NULL THEN 'q::text' ELSE format('coalesce(q.%I::text, '''')', before.row_key) END);
  champion := coalesce(salesops.model_twin_of(model, before.version), before.version);
  PERFORM salesops.train_model(model, format('SELECT q.* FROM (%s) q WHERE NOT %s', source, held_out), before.label::name, before.method,
                               before.key::name, before.options);
  challenger := (SELECT m.version FROM salesops.model_recipe(model) m);
  SELECT * INTO figures
    FROM salesops.compare_versions(model, champion, challenger, format('SELECT q.* FROM (%s) q WHERE %s', source, held_out), before.label::name);
  IF figures.gain IS NULL OR figures.gain <= 0 THEN
    PERFORM salesops.activate_model(model, before.version);
    PERFORM salesops.drop_model(model, challenger);
    RETURN format('version %s stays: trained anew it has a log loss of %s against %s on %s held-out rows', before.version,
                  round(figures.challenger_log_loss::numeric, 4), round(figures.champion_log_loss::numeric, 4), figures.rows);
  END IF;
  PERFORM salesops.train_model(model, before.query, before.label::name, before.method, before.key::name, before.options);
  latest := (SELECT m.version FROM salesops.model_recipe(model) m);
  PERFORM salesops.note_model_twin(model, latest, challenger);
  IF champion <> before.version THEN
    PERFORM salesops.drop_model(model, champion);
  END IF;
  RETURN format('version %s is active: trained anew it has a log loss of %s against %s on %s held-out rows', latest,
                round(figures.challenger_log_loss::numeric, 4), round(figures.champion_log_loss::numeric, 4), figures.rows);
END
$$;
COMMENT ON FUNCTION salesops.retrain_model(text) IS
  'train a model again as it was trained; the new version is active only if, trained without every fifth row, it is better on those rows; says what it did';

-- ---- the jobs ---------------------------------------------------------------------------------------------------------
CREATE VIEW salesops.standard_job (job, ordinal, schedule, command, options, objects, needs, hint)
  WITH (security_invoker = true) AS
  SELECT 'refresh ' || r.jobs, 3 + r.ordinal, 'every 1 minute', format('SELECT salesops.refresh_changed(%L)', r.entity),
         jsonb_build_object('on_change', r.entity, 'retention', '1 hour'), '{}'::text[],
         format('salesops.refresh_applies(%L) AND EXISTS (SELECT FROM salesops.watched WHERE entity = %1$L)', r.entity),
         format('nothing depends on changes of entity %s, or no table is watched for it (salesops.watch()): %s', r.entity, r.hint)
    FROM (VALUES ('leads', 1, 'lead', 'salesops.train_model() makes a model "lead", salesops.index_matcher() lets a trained matcher follow changes'),
                 ('contacts', 2, 'contact', 'salesops.index_matcher() lets a trained matcher follow changes'),
                 ('accounts', 3, 'account', 'salesops.index_matcher() lets a trained matcher follow changes'),
                 ('opportunities', 4, 'opportunity', 'salesops.assign_commission_plan(), salesops.index_matcher()'),
                 ('credits', 5, 'commission_credit', 'salesops.assign_commission_plan()')) r(jobs, ordinal, entity, hint)
  UNION ALL VALUES
  ('find duplicates', 1, '0 1 * * *', 'SELECT salesops.refresh_duplicates()', '{"timeout": "4 hours"}'::jsonb,
   '{"salesops.update_clusters(text,double precision)"}'::text[], 'EXISTS (SELECT FROM salesops.matcher WHERE trained_at IS NOT NULL)',
   'no matcher is trained: salesops.create_matcher(), salesops.train_matcher()'),
  ('retrain lead model', 2, '0 3 * * sun', 'SELECT salesops.retrain_model(''lead'')', '{"timeout": "4 hours", "after": ["find duplicates"]}',
   '{"salesops.train_model(text,text,name,text,name,jsonb)"}', '(SELECT version FROM salesops.model_recipe(''lead'')) IS NOT NULL',
   'there is no model "lead": salesops.train_model()'),
  ('score leads', 3, '30 4 * * *', 'SELECT salesops.score_leads(), salesops.forget_lead_scores()', '{"timeout": "4 hours", "after": ["find duplicates", "retrain lead model"]}',
   '{"salesops.score_leads(text,timestamptz)"}', '(SELECT version FROM salesops.model_recipe(''lead'')) IS NOT NULL',
   'there is no model "lead": salesops.train_model()'),
  ('hygiene snapshot', 9, '0 5 * * *', 'SELECT salesops.take_hygiene_snapshot()', '{"timeout": "1 hour"}',
   '{"salesops.take_hygiene_snapshot(timestamptz)"}', 'EXISTS (SELECT FROM salesops.source WHERE entity = ''opportunity'') AND EXISTS (SELECT FROM salesops.stage)',
   'no opportunities are attached, or no stages defined: salesops.attach(), salesops.define_stages()'),
  ('forecast snapshot', 10, '15 5 * * *', 'SELECT salesops.take_forecast_snapshot()', '{"timeout": "1 hour"}',
   '{"salesops.take_forecast_snapshot(timestamptz)"}', 'EXISTS (SELECT FROM salesops.source WHERE entity = ''opportunity'') AND EXISTS (SELECT FROM salesops.stage)',
   'no opportunities are attached, or no stages defined: salesops.attach(), salesops.define_stages()'),
  ('commission accrual', 11, 'every 1 hour', 'SELECT count(*) FROM salesops.calculate_commissions(salesops.current_quarter())', '{"timeout": "1 hour"}',
   '{"salesops.calculate_commissions(daterange)"}', 'EXISTS (SELECT FROM salesops.commission_assignment)',
   'no rep has a plan: salesops.create_commission_plan(), salesops.assign_commission_plan()');
COMMENT ON VIEW salesops.standard_job IS
  'what create_standard_jobs() makes: objects are functions that must be there, needs a condition, hint what to do where it is not met';

-- what refresh_changed() would do something for, and whose jobs create_standard_jobs() therefore makes
CREATE FUNCTION salesops.refresh_applies(entity text) RETURNS boolean
  LANGUAGE sql STABLE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
  SELECT EXISTS (SELECT FROM salesops.refreshable_matchers($1))
      OR CASE WHEN $1 = 'lead' THEN (SELECT m.version FROM salesops.model_recipe('lead') m) IS NOT NULL
              WHEN $1 IN ('opportunity', 'commission_credit') THEN EXISTS (SELECT FROM salesops.commission_assignment) ELSE false END
$$;
COMMENT ON FUNCTION salesops.refresh_applies(text) IS
  'is there something to recompute when records of the entity change: a model "lead", a plan that is assigned, a matcher with indexes';

-- the attached records, and the activities of leads, where they are tables of the caller's, are watched for the refresh
CREATE FUNCTION salesops.watch_attached(entity text) RETURNS void
  LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  item record;
BEGIN
  FOR item IN
    SELECT s.relation, CASE s.entity WHEN 'activity' THEN (s.columns ->> 'lead_id')::name END AS key
      FROM salesops.source s
      JOIN pg_class c ON c.oid = s.relation AND c.relkind IN ('r', 'p') AND pg_has_role(c.relowner, 'USAGE')
     WHERE (s.entity = watch_attached.entity OR watch_attached.entity = 'lead' AND s.entity = 'activity' AND s.columns ->> 'lead_id' IS NOT NULL)
       AND NOT EXISTS (SELECT FROM salesops.watched w WHERE w.relation = s.relation AND w.entity = watch_attached.entity)
  LOOP
    PERFORM salesops.watch(item.relation, watch_attached.entity, item.key);
    RAISE NOTICE 'watching % for changes of entity %', item.relation, watch_attached.entity
      USING HINT = format('salesops.unwatch(%L) ends it.', item.relation);
  END LOOP;
END
$$;
COMMENT ON FUNCTION salesops.watch_attached(text) IS
  'watch what is attached as an entity (of leads also their activities), where the caller owns the tables';

CREATE FUNCTION salesops.create_standard_jobs(OUT job text, OUT schedule text, OUT action text, OUT reason text) RETURNS SETOF record
  LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE ROWS 10 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  item record;
  met boolean;
  extra jsonb;
BEGIN
  PERFORM salesops.watch_attached(e) FROM unnest('{lead,contact,account,opportunity,commission_credit}'::text[]) e
    WHERE salesops.refresh_applies(e);
  FOR item IN SELECT s.* FROM salesops.standard_job s ORDER BY s.ordinal LOOP
    job := item.job;
    schedule := item.schedule;
    reason := NULL;
    IF EXISTS (SELECT FROM salesops.job j WHERE j.name = item.job) THEN
      action := 'kept';
      schedule := (SELECT j.schedule FROM salesops.job j WHERE j.name = item.job);
      RETURN NEXT;
      CONTINUE;
    END IF;
    met := NOT EXISTS (SELECT FROM unnest(item.objects) o WHERE to_regprocedure(o) IS NULL);
    IF met THEN
      EXECUTE 'SELECT ' || item.needs INTO met;
    END IF;
    IF met IS NOT TRUE THEN
      action := 'skipped';
      reason := item.hint;
      RAISE NOTICE 'job "%" skipped: %', item.job, item.hint;
      RETURN NEXT;
      CONTINUE;
    END IF;
    -- it comes after those that are there
    extra := jsonb_build_object('after', coalesce((SELECT jsonb_agg(a) FROM jsonb_array_elements_text(item.options -> 'after') a
                                                    WHERE EXISTS (SELECT FROM salesops.job j WHERE j.name = a)), '[]'));
    PERFORM salesops.create_job(item.job, item.schedule, item.command, item.options || extra);
    -- and those that are there already and come after it wait for it from now on
    PERFORM salesops.alter_job(j.name, options => jsonb_build_object('after', j.after || item.job))
       FROM salesops.job j
       JOIN salesops.standard_job s ON s.job = j.name AND s.options -> 'after' ? item.job
       JOIN pg_roles r ON r.rolname = j.owner AND pg_has_role(r.oid, 'USAGE')
      WHERE item.job <> ALL (j.after);
    action := 'created';
    RETURN NEXT;
  END LOOP;
END
$$;
COMMENT ON FUNCTION salesops.create_standard_jobs() IS
  'make the jobs that keep scores, duplicates, hygiene, forecasts, commissions and the lead model up to date, as far as there is what they need; those that exist are kept';

INSERT INTO salesops.access_right (level, kind, object) VALUES
  ('reader', 'function', 'salesops.current_quarter(timestamptz)'), ('operator', 'function', 'salesops.refresh_duplicates()'),
  ('operator', 'function', 'salesops.forget_lead_scores(text[])'),
  ('operator', 'function', 'salesops.lock_matcher(text)'), ('operator', 'function', 'salesops.rematch_keys(text,text[],double precision)'),
  ('operator', 'function', 'salesops.refresh_matches(text,text[],double precision)'),
  ('operator', 'function', 'salesops.refreshable_matchers(text)'),
  ('admin', 'function', 'salesops.model_recipe(text)'), ('admin', 'function', 'salesops.retrain_model(text)'),
  ('admin', 'function', 'salesops.model_twin_of(text,integer)'), ('admin', 'function', 'salesops.note_model_twin(text,integer,integer)'),
  ('reader', 'table', 'salesops.standard_job'), ('admin', 'function', 'salesops.watch_attached(text)'), ('admin', 'function', 'salesops.refresh_applies(text)'),
  ('admin', 'function', 'salesops.create_standard_jobs()');
