-- Storing time-to-win models: after learn, whose row type for models they answer with.

CREATE FUNCTION salesops.store_win_model(model salesops.win_model) RETURNS integer
  LANGUAGE sql VOLATILE STRICT SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
  SELECT pg_advisory_xact_lock(hashtextextended('salesops.win_model ' || ($1).name, 0));
  UPDATE salesops.win_model w SET active = false WHERE w.name = ($1).name AND w.active;
  INSERT INTO salesops.win_model
    SELECT ($1).name, 1 + coalesce((SELECT max(w.version) FROM salesops.win_model w WHERE w.name = ($1).name), 0), true, ($1).owner,
           now(), ($1).as_of, ($1).deals, ($1).closed, ($1).won, ($1).calendar, ($1).correction, ($1).win, ($1).lose,
           ($1).checked, ($1).roc_auc, ($1).log_loss, ($1).brier, ($1).options, ($1).covariates
    RETURNING version
$$;
COMMENT ON FUNCTION salesops.store_win_model(salesops.win_model) IS 'keeps a fitted model as the next version of its name, and makes it the active one';

CREATE FUNCTION salesops.train_win_model(name text DEFAULT 'default', options jsonb DEFAULT '{}') RETURNS salesops.model
  LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  fit record;
  stored integer;
  answer salesops.model;
  cells constant text[] := '{none,month of the quarter,month of the quarter and how near its end is,thirds of the month,month of the year,day of the week}';
BEGIN
  IF train_win_model.name = '' THEN
    RAISE EXCEPTION 'a win model needs a name' USING ERRCODE = 'invalid_parameter_value', DETAIL = 'The name is empty.',
      HINT = 'SELECT salesops.train_win_model(); its name is then "default", which win_probability() uses.';
  END IF;
  SELECT f.* INTO fit FROM salesops.fit_win_model(train_win_model.options, now()) f;
  stored := salesops.store_win_model(ROW(train_win_model.name, 0, true, current_user, now(), now(), fit.deals, fit.closed, fit.won,
    fit.calendar, fit.correction, fit.win, fit.lose, fit.checked, fit.roc_auc, fit.log_loss, fit.brier, train_win_model.options, fit.covariates)::salesops.win_model);
  answer.name := train_win_model.name;
  answer.version := stored;
  answer.active := true;
  answer.method := 'competing hazards';
  answer.rows := fit.deals;
  answer.positives := fit.won;
  answer.validation := format('%s 90-day chances of open deals at past days, each from what was known then', fit.checked);
  answer.roc_auc := fit.roc_auc;
  answer.log_loss := fit.log_loss;
  answer.brier := fit.brier;
  answer.notes := ARRAY[format('calendar: %s', cells[fit.calendar + 1]), format('correction by own past forecasts: %s', round(fit.correction::numeric, 3)),
    format('what sets deals apart: %s', fit.covariates ->> 'family')];
  answer.features := ARRAY['age', 'calendar'] || ARRAY(SELECT k FROM unnest('{stage,size,type,source}'::text[]) k WHERE fit.covariates -> k <> '{}' OR k = 'stage' AND fit.covariates -> 'stages' <> '[]');
  answer.label := 'won';
  answer.owner := current_user;
  answer.trained_at := now();
  RETURN answer;
END
$$;
COMMENT ON FUNCTION salesops.train_win_model(text, jsonb) IS
  'fit the time to win, lost as a competing risk, to the attached opportunities and store it; options: half_life (days), cell_events, age_events, calendar';

INSERT INTO salesops.access_right (level, kind, object) VALUES
  ('operator', 'function', 'salesops.store_win_model(salesops.win_model)'),
  ('operator', 'function', 'salesops.train_win_model(text,jsonb)');
