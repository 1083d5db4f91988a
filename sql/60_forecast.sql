-- Forecast: the distribution of a sum of deals as a type with aggregates, and what the deals of attached opportunities will
-- bring and when.

-- ---- the type ---------------------------------------------------------------------------------------------------------
CREATE TYPE salesops.forecast;

CREATE FUNCTION salesops.forecast_in(cstring) RETURNS salesops.forecast
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_forecast_in';
COMMENT ON FUNCTION salesops.forecast_in(cstring) IS 'text (JSON) to forecast';
CREATE FUNCTION salesops.forecast_out(salesops.forecast) RETURNS cstring
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_forecast_out';
COMMENT ON FUNCTION salesops.forecast_out(salesops.forecast) IS 'forecast to text (JSON), without loss';
CREATE FUNCTION salesops.forecast_recv(internal) RETURNS salesops.forecast
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_forecast_recv';
COMMENT ON FUNCTION salesops.forecast_recv(internal) IS 'binary form to forecast';
CREATE FUNCTION salesops.forecast_send(salesops.forecast) RETURNS bytea
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_forecast_send';
COMMENT ON FUNCTION salesops.forecast_send(salesops.forecast) IS 'forecast to its binary form';

CREATE TYPE salesops.forecast (
  INPUT = salesops.forecast_in, OUTPUT = salesops.forecast_out, RECEIVE = salesops.forecast_recv, SEND = salesops.forecast_send,
  INTERNALLENGTH = VARIABLE, ALIGNMENT = double, STORAGE = extended
);
COMMENT ON TYPE salesops.forecast IS
  'distribution of a sum of deals, each worth its amount with its probability; at most 4 kB, mergeable without loss';

CREATE FUNCTION salesops.forecast_accumulate_numeric(salesops.forecast, numeric, double precision) RETURNS salesops.forecast
  LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_forecast_accumulate_numeric';
COMMENT ON FUNCTION salesops.forecast_accumulate_numeric(salesops.forecast, numeric, double precision) IS
  'transition of forecast(numeric, double precision)';
CREATE FUNCTION salesops.forecast_accumulate_float8(salesops.forecast, double precision, double precision)
  RETURNS salesops.forecast
  LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_forecast_accumulate_float8';
COMMENT ON FUNCTION salesops.forecast_accumulate_float8(salesops.forecast, double precision, double precision) IS
  'transition of forecast(double precision, double precision)';
CREATE FUNCTION salesops.forecast_combine(salesops.forecast, salesops.forecast) RETURNS salesops.forecast
  LANGUAGE c IMMUTABLE PARALLEL SAFE COST 10 AS 'MODULE_PATHNAME', 'salesops_forecast_combine';
COMMENT ON FUNCTION salesops.forecast_combine(salesops.forecast, salesops.forecast) IS
  'combines two states of forecast; transition of merge';
CREATE FUNCTION salesops.forecast_final(salesops.forecast) RETURNS salesops.forecast
  LANGUAGE c IMMUTABLE PARALLEL SAFE COST 5 AS 'MODULE_PATHNAME', 'salesops_forecast_final';
COMMENT ON FUNCTION salesops.forecast_final(salesops.forecast) IS
  'the finished forecast in as few bytes as its deals allow; NULL where every amount or probability is';

CREATE AGGREGATE salesops.forecast(amount numeric, probability double precision) (
  SFUNC = salesops.forecast_accumulate_numeric, STYPE = salesops.forecast, SSPACE = 4096, FINALFUNC = salesops.forecast_final,
  COMBINEFUNC = salesops.forecast_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE salesops.forecast(numeric, double precision) IS
  'distribution of the sum of deals: amount (negative for credits) in one currency, probability in [0, 1] of winning it';
CREATE AGGREGATE salesops.forecast(amount double precision, probability double precision) (
  SFUNC = salesops.forecast_accumulate_float8, STYPE = salesops.forecast, SSPACE = 4096, FINALFUNC = salesops.forecast_final,
  COMBINEFUNC = salesops.forecast_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE salesops.forecast(double precision, double precision) IS
  'distribution of the sum of deals: amount (negative for credits) in one currency, probability in [0, 1] of winning it';
CREATE AGGREGATE salesops.merge(forecast salesops.forecast) (
  SFUNC = salesops.forecast_combine, STYPE = salesops.forecast, SSPACE = 4096, FINALFUNC = salesops.forecast_final,
  COMBINEFUNC = salesops.forecast_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE salesops.merge(salesops.forecast) IS
  'forecast of the union of the deals: reps into regions into the company; the same as forecast over all deals';

-- ---- reading ------------------------------------------------------------------------------------------------------------
CREATE FUNCTION salesops.mean(forecast salesops.forecast) RETURNS double precision
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_mean';
COMMENT ON FUNCTION salesops.mean(salesops.forecast) IS 'expected sum';
CREATE FUNCTION salesops.variance(forecast salesops.forecast) RETURNS double precision
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_variance';
COMMENT ON FUNCTION salesops.variance(salesops.forecast) IS 'variance of the sum';
CREATE FUNCTION salesops.stddev(forecast salesops.forecast) RETURNS double precision
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_stddev';
COMMENT ON FUNCTION salesops.stddev(salesops.forecast) IS 'standard deviation of the sum';
CREATE FUNCTION salesops.deal_count(forecast salesops.forecast) RETURNS bigint
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_deal_count';
COMMENT ON FUNCTION salesops.deal_count(salesops.forecast) IS 'number of deals in it, certain and impossible ones included';
CREATE FUNCTION salesops.unknown_count(forecast salesops.forecast) RETURNS bigint
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_unknown_count';
COMMENT ON FUNCTION salesops.unknown_count(salesops.forecast) IS
  'number of rows that are not in it because their amount or probability is NULL';
CREATE FUNCTION salesops.quantile(forecast salesops.forecast, p double precision, correlation double precision DEFAULT 0)
  RETURNS double precision
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 5000 AS 'MODULE_PATHNAME', 'salesops_quantile';
COMMENT ON FUNCTION salesops.quantile(salesops.forecast, double precision, double precision) IS
  'smallest sum reached or undercut with probability p; correlation in [0, 1): of the deals, by one common normal factor';
CREATE FUNCTION salesops.probability_at_least(forecast salesops.forecast, target double precision,
                                              correlation double precision DEFAULT 0) RETURNS double precision
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 5000 AS 'MODULE_PATHNAME', 'salesops_probability_at_least';
COMMENT ON FUNCTION salesops.probability_at_least(salesops.forecast, double precision, double precision) IS
  'chance that the sum is the target or more';
CREATE FUNCTION salesops.prediction_interval(forecast salesops.forecast, coverage double precision,
                                             correlation double precision DEFAULT 0,
                                             OUT lower double precision, OUT upper double precision) RETURNS record
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 5000 AS 'MODULE_PATHNAME', 'salesops_prediction_interval';
COMMENT ON FUNCTION salesops.prediction_interval(salesops.forecast, double precision, double precision) IS
  'central interval that holds the sum with the given probability, equal chances left out below and above';

-- ---- accuracy -----------------------------------------------------------------------------------------------------------
CREATE FUNCTION salesops.wape_accumulate(double precision[], numeric, numeric) RETURNS double precision[]
  LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_wape_accumulate';
COMMENT ON FUNCTION salesops.wape_accumulate(double precision[], numeric, numeric) IS 'transition of wape';
CREATE FUNCTION salesops.wape_combine(double precision[], double precision[]) RETURNS double precision[]
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_wape_combine';
COMMENT ON FUNCTION salesops.wape_combine(double precision[], double precision[]) IS 'combines two states of wape';
CREATE FUNCTION salesops.wape_final(double precision[]) RETURNS double precision
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'salesops_wape_final';
COMMENT ON FUNCTION salesops.wape_final(double precision[]) IS 'sum of absolute errors over sum of absolute actuals';
CREATE AGGREGATE salesops.wape(actual numeric, predicted numeric) (
  SFUNC = salesops.wape_accumulate, STYPE = double precision[], INITCOND = '{0,0}', FINALFUNC = salesops.wape_final,
  COMBINEFUNC = salesops.wape_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE salesops.wape(numeric, numeric) IS
  'weighted absolute percentage error: sum |actual - predicted| / sum |actual|; rows with a NULL left out; NULL where all actuals are 0';

-- ---- bookings -----------------------------------------------------------------------------------------------------------
CREATE TABLE salesops.currency_rate (
  currency text PRIMARY KEY CHECK (currency <> ''),
  rate numeric NOT NULL CHECK (rate > 0 AND rate < 'Infinity')
);
COMMENT ON TABLE salesops.currency_rate IS
  'what one unit of a currency is worth in the currency forecasts are made in; needed only where opportunities have several';
COMMENT ON COLUMN salesops.currency_rate.rate IS 'units of the forecasts'' currency for one unit; 1 for that currency itself';
SELECT pg_catalog.pg_extension_config_dump('salesops.currency_rate', '');

CREATE FUNCTION salesops.forecast_bookings(period daterange, by text[] DEFAULT '{}', as_of timestamptz DEFAULT now(),
                                           OUT grp text[], OUT booked numeric, OUT open_pipeline salesops.forecast,
                                           OUT new_business salesops.forecast, OUT total salesops.forecast) RETURNS SETOF record
  LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 100000 ROWS 20 AS 'MODULE_PATHNAME', 'salesops_forecast_bookings';
COMMENT ON FUNCTION salesops.forecast_bookings(daterange, text[], timestamptz) IS
  'bookings of a period as known at as_of: won already, from open deals, from deals yet to come; by owner_id, manager, region, type, ...';

CREATE FUNCTION salesops.backtest_forecast(from_date date, to_date date, every interval, horizons interval[],
                                           scope text DEFAULT 'total', coverage double precision DEFAULT 0.8,
                                           OUT as_of timestamptz, OUT horizon interval, OUT predicted numeric, OUT lower numeric,
                                           OUT upper numeric, OUT actual numeric) RETURNS SETOF record
  LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 1000000 ROWS 100 AS 'MODULE_PATHNAME', 'salesops_backtest_forecast';
COMMENT ON FUNCTION salesops.backtest_forecast(date, date, interval, interval[], text, double precision) IS
  'the forecasts that would have been made on past days, with intervals, beside what came; scope open: deals open on the day, total: all bookings';

-- ---- single deals -------------------------------------------------------------------------------------------------------
CREATE FUNCTION salesops.forecast_deals(period daterange DEFAULT NULL, as_of timestamptz DEFAULT now(), OUT opportunity_id text,
                                        OUT amount numeric, OUT amount_is_estimate boolean, OUT age integer,
                                        OUT probability double precision, OUT probability_30 double precision,
                                        OUT probability_90 double precision, OUT probability_ever double precision,
                                        OUT probability_new double precision, OUT expected_on date,
                                        OUT probability_by_age double precision, OUT amount_spread double precision,
                                        OUT amount_unrounded double precision)
  RETURNS SETOF record
  LANGUAGE c STABLE PARALLEL RESTRICTED COST 100000 ROWS 1000 AS 'MODULE_PATHNAME', 'salesops_forecast_deals';
COMMENT ON FUNCTION salesops.forecast_deals(daterange, timestamptz) IS
  'each deal open at as_of: amount as seen then, age in days, chance to be won in the period (default: the quarter of as_of), in 30 and 90 days and ever, ever by age and calendar alone, and of a new deal; amount_spread is the mean square of amounts like an estimated one over its square, 1 where the amount is stated; amount_unrounded is what the forecasts add up';

-- what people judge of single deals, beside their chances
CREATE TABLE salesops.forecast_deal_adjustment (
  adjustment_id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
  opportunity_id text NOT NULL CHECK (opportunity_id <> ''),
  person text NOT NULL CHECK (person NOT IN ('', '*')),
  period daterange NOT NULL CHECK (NOT isempty(period) AND NOT lower_inf(period) AND NOT upper_inf(period)),
  chance double precision CHECK (chance BETWEEN 0 AND 1),
  amount numeric CHECK (amount BETWEEN -1e18 AND 1e18),
  note text,
  base_chance double precision NOT NULL CHECK (base_chance BETWEEN 0 AND 1),
  base_amount numeric NOT NULL,
  author name NOT NULL,
  made_at timestamptz NOT NULL
);
CREATE INDEX ON salesops.forecast_deal_adjustment (period, opportunity_id);
COMMENT ON TABLE salesops.forecast_deal_adjustment IS
  'what people judge of an open deal''s chance to be won in a period, and of its amount; beside the model''s, which it does not change; never changed or deleted, the latest of a deal and period counts; shown only where the deal itself is';
COMMENT ON COLUMN salesops.forecast_deal_adjustment.person IS 'whose judgement it is: a rep_id or manager_id; no reorganisation touches it';
COMMENT ON COLUMN salesops.forecast_deal_adjustment.chance IS 'NULL leaves it to the model; where amount is NULL too an earlier judgement is taken back';
COMMENT ON COLUMN salesops.forecast_deal_adjustment.base_chance IS 'what the model gave the deal when it was judged, and base_amount: what judgement is measured against';
SELECT pg_catalog.pg_extension_config_dump('salesops.forecast_deal_adjustment', '');
SELECT pg_catalog.pg_extension_config_dump('salesops.forecast_deal_adjustment_adjustment_id_seq', '');
ALTER TABLE salesops.forecast_deal_adjustment ENABLE ROW LEVEL SECURITY;
CREATE POLICY visible ON salesops.forecast_deal_adjustment FOR SELECT
  USING (opportunity_id IN (SELECT o.opportunity_id FROM salesops.opportunity o));
COMMENT ON POLICY visible ON salesops.forecast_deal_adjustment IS 'What is stored about a deal is shown where the deal is';

CREATE FUNCTION salesops.store_deal_adjustment(opportunity_id text, period daterange, person text, chance double precision, amount numeric,
                                               note text, base_chance double precision, base_amount numeric) RETURNS bigint
  LANGUAGE sql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
  INSERT INTO salesops.forecast_deal_adjustment (opportunity_id, period, person, chance, amount, note, base_chance, base_amount, author, made_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, CASE current_setting('role') WHEN 'none' THEN session_user ELSE current_setting('role')::name END, now())
    RETURNING adjustment_id
$$;
COMMENT ON FUNCTION salesops.store_deal_adjustment(text, daterange, text, double precision, numeric, text, double precision, numeric) IS
  'keeps what adjust_deal() has checked';

CREATE FUNCTION salesops.adjust_deal(opportunity_id text, period daterange, person text, chance double precision DEFAULT NULL,
                                     amount numeric DEFAULT NULL, note text DEFAULT NULL) RETURNS bigint
  LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  problem text := salesops.person_period_problem('*', period);
  base record;
BEGIN
  -- by the caller's own rights: who may not see the deal may not judge it
  SELECT d.probability, d.amount INTO base
    FROM salesops.forecast_deals(CASE WHEN problem IS NULL THEN adjust_deal.period END, now()) d
   WHERE d.opportunity_id = adjust_deal.opportunity_id ORDER BY d.amount DESC, d.probability LIMIT 1;
  problem := nullif(concat_ws(E'\n', CASE WHEN NOT FOUND THEN 'it is not open, or not yours to see' END,
    CASE WHEN coalesce(person, '') IN ('', '*') THEN 'person is missing: the rep_id or manager_id whose judgement it is' END, problem,
    CASE WHEN upper(period) <= now()::date THEN 'period is over' END,
    CASE WHEN NOT chance BETWEEN 0 AND 1 THEN 'chance must be between 0 and 1, or NULL for the model''s' END,
    CASE WHEN NOT amount BETWEEN -1e18 AND 1e18 THEN 'amount must be a number within 1e18 either way, or NULL for the deal''s' END), '');
  IF problem IS NOT NULL THEN
    RAISE EXCEPTION 'invalid adjustment of opportunity "%"', coalesce(opportunity_id, 'NULL') USING ERRCODE = 'invalid_parameter_value', DETAIL = problem,
      HINT = 'SELECT salesops.adjust_deal(''D1'', ''[2027-01-01,2027-04-01)'', ''R1'', chance => 0.8, note => ''why''); without chance and amount it takes back what was said.';
  END IF;
  RETURN salesops.store_deal_adjustment(opportunity_id, period, person, chance, amount, note, base.probability, base.amount);
END
$$;
COMMENT ON FUNCTION salesops.adjust_deal(text, daterange, text, double precision, numeric, text) IS
  'a person''s judgement of one open deal: its chance to be won in a period, its amount in the forecasts'' currency, or both; kept beside what the model says then, with author and time; neither takes back';

CREATE FUNCTION salesops.deal_adjustments(period daterange, as_of timestamptz, OUT opportunity_id text, OUT chance double precision,
                                          OUT amount numeric, OUT person text, OUT made_at timestamptz) RETURNS SETOF record
  LANGUAGE sql STABLE STRICT PARALLEL SAFE ROWS 100 SET search_path = pg_catalog, pg_temp AS $$
  SELECT j.opportunity_id, j.chance, j.amount, j.person, j.made_at
    FROM (SELECT DISTINCT ON (a.opportunity_id) a.* FROM salesops.forecast_deal_adjustment a WHERE a.period = $1 AND a.made_at <= $2
           ORDER BY a.opportunity_id, a.made_at DESC, a.adjustment_id DESC) j
   WHERE j.chance IS NOT NULL OR j.amount IS NOT NULL
$$;
COMMENT ON FUNCTION salesops.deal_adjustments(daterange, timestamptz) IS
  'the latest that people had said of each deal and a period by as_of, unless they took it back';

CREATE VIEW salesops.opportunity_outlook WITH (security_invoker = true) AS
  SELECT o.opportunity_id, o.name, o.owner_id, o.account_id, o.stage, o.close_date, d.amount, d.amount_is_estimate, d.age,
         d.probability AS probability_this_quarter, d.probability_30, d.probability_90, d.probability_ever, d.expected_on,
         pg_catalog.round(d.amount * d.probability::numeric, 2) AS expected_this_quarter,
         j.chance AS judged_chance, j.amount AS judged_amount, j.person AS judged_by, j.made_at AS judged_at,
         CASE WHEN j.opportunity_id IS NOT NULL
              THEN pg_catalog.round(COALESCE(j.amount, d.amount) * COALESCE(j.chance, d.probability)::numeric, 2) END AS expected_judged
    FROM salesops.forecast_deals() d JOIN salesops.opportunity o ON o.opportunity_id = d.opportunity_id
    LEFT JOIN salesops.deal_adjustments(pg_catalog.daterange(pg_catalog.date_trunc('quarter', pg_catalog.now())::date,
                                          (pg_catalog.date_trunc('quarter', pg_catalog.now()) + interval '3 months')::date), pg_catalog.now()) j
      ON j.opportunity_id = d.opportunity_id;
COMMENT ON VIEW salesops.opportunity_outlook IS
  'each open deal with its chance of being won by the end of the quarter, in 30 and 90 days and ever, and the day half of that chance is used up; judged_: what people said of it and this quarter last, beside it';

CREATE TABLE salesops.win_model (
  name text NOT NULL CHECK (name <> ''),
  version integer NOT NULL,
  active boolean NOT NULL,
  owner name NOT NULL,
  trained_at timestamptz NOT NULL,
  as_of timestamptz NOT NULL,
  deals integer NOT NULL,
  closed integer NOT NULL,
  won integer NOT NULL,
  calendar integer NOT NULL,
  correction double precision NOT NULL,
  win double precision[] NOT NULL,
  lose double precision[] NOT NULL,
  checked integer NOT NULL,
  roc_auc double precision,
  log_loss double precision,
  brier double precision,
  options jsonb NOT NULL,
  covariates jsonb NOT NULL,
  PRIMARY KEY (name, version)
);
COMMENT ON TABLE salesops.win_model IS
  'stored time-to-win models: daily hazards of winning and losing by age bucket (40) and calendar cell (12), then factors of the seven days of the week (Saturday first), and figures of their own past';
COMMENT ON COLUMN salesops.win_model.calendar IS
  '0 none, 1 month of the quarter, 2 month of the quarter and how near its end is, 3 thirds of the month, 4 month of the year, 5 day of the week';
COMMENT ON COLUMN salesops.win_model.covariates IS
  'what sets deals of an age apart: family none, ratios or regression, and by type, source, stage and size (half powers of two) its effects on the logarithm of the ratio, or on the log odds, for the days named; stages: by group of ages (10) each stage''s factors on both hazards, daily chances of going on, and where to';
COMMENT ON COLUMN salesops.win_model.checked IS 'past 90-day chances, each given by a fit to what was known then, that roc_auc, log_loss and brier judge';
SELECT pg_catalog.pg_extension_config_dump('salesops.win_model', '');

CREATE FUNCTION salesops.fit_win_model(options jsonb, as_of timestamptz, OUT deals integer, OUT closed integer, OUT won integer,
                                       OUT calendar integer, OUT correction double precision, OUT win double precision[],
                                       OUT lose double precision[], OUT checked integer, OUT roc_auc double precision,
                                       OUT log_loss double precision, OUT brier double precision, OUT covariates jsonb) RETURNS record
  LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 1000000 AS 'MODULE_PATHNAME', 'salesops_fit_win_model';
COMMENT ON FUNCTION salesops.fit_win_model(jsonb, timestamptz) IS 'what train_win_model() stores; writes nothing';
CREATE FUNCTION salesops.win_probability_now(opportunity_id text, within interval, as_of timestamptz) RETURNS double precision
  LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 100000 AS 'MODULE_PATHNAME', 'salesops_win_probability_now';
COMMENT ON FUNCTION salesops.win_probability_now(text, interval, timestamptz) IS
  'a deal''s chance to be won within an interval after as_of, by a fit to all that was known then';
CREATE FUNCTION salesops.win_probability_by(win double precision[], lose double precision[], calendar integer,
                                            correction double precision, covariates jsonb, created date, known date, days integer,
                                            stage text, stage_since date, type text, source text, amount double precision)
  RETURNS double precision
  LANGUAGE c IMMUTABLE PARALLEL SAFE COST 100 AS 'MODULE_PATHNAME', 'salesops_win_probability_by';
COMMENT ON FUNCTION salesops.win_probability_by(double precision[], double precision[], integer, double precision, jsonb, date, date, integer,
                                                text, date, text, text, double precision) IS
  'the chance that a deal created on a day and open on another is won in the days after it, by the hazards and covariates of a stored model; stage, type, source and amount may be NULL: not known';

CREATE FUNCTION salesops.win_probability(opportunity_id text, within interval, as_of timestamptz DEFAULT now()) RETURNS double precision
  LANGUAGE sql STABLE STRICT PARALLEL RESTRICTED COST 100000 SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE
           WHEN m.name IS NULL OR extract(epoch FROM $2) < 0 OR $2 > interval '10 years' THEN salesops.win_probability_now($1, $2, $3)
           WHEN s.kind = 'won' AND o.ended_at <= $3 THEN 1
           WHEN s.kind = 'lost' AND o.ended_at <= $3 THEN 0
           WHEN o.created_at <= $3 THEN
             salesops.win_probability_by(m.win, m.lose, m.calendar, m.correction, m.covariates, o.created_at::date, $3::date,
                                         round(extract(epoch FROM $3 + $2 - $3) / 86400)::integer, c.stage, c.entered_at::date, o.type, o.source,
                                         (a.amount * coalesce(r.rate, 1))::double precision)
         END
    FROM (SELECT) one
    LEFT JOIN LATERAL (SELECT w.* FROM salesops.win_model w WHERE w.name = 'default' AND w.active AND w.as_of <= $3) m ON true
    LEFT JOIN LATERAL (SELECT p.stage, p.created_at, p.type, p.source, p.amount, p.currency, p.updated_at,
                              coalesce(p.closed_at, (SELECT max(e.entered_at) FROM salesops.opportunity_stage_change e
                                                      WHERE e.opportunity_id = $1 AND EXISTS (SELECT FROM salesops.stage g WHERE g.stage = e.stage AND g.kind <> 'open')),
                                       p.close_date::timestamptz) AS ended_at
                         FROM salesops.opportunity p WHERE p.opportunity_id = $1 LIMIT 1) o ON m.name IS NOT NULL
    LEFT JOIN LATERAL (SELECT g.kind FROM salesops.stage g WHERE g.stage = o.stage ORDER BY g.pipeline <> 'default', g.pipeline LIMIT 1) s ON true
    LEFT JOIN LATERAL (SELECT h.stage, h.entered_at FROM salesops.opportunity_stage_change h
                        WHERE m.name IS NOT NULL AND h.opportunity_id = $1 AND h.entered_at <= $3
                        ORDER BY h.entered_at DESC, (SELECT g.ordinal FROM salesops.stage g WHERE g.stage = h.stage
                                                      ORDER BY g.pipeline <> 'default', g.pipeline LIMIT 1) DESC, h.stage DESC LIMIT 1) c ON true
    LEFT JOIN LATERAL (SELECT k.amount FROM (
                         SELECT h.amount, h.entered_at AS at FROM salesops.opportunity_stage_change h
                          WHERE m.name IS NOT NULL AND h.opportunity_id = $1 AND h.entered_at <= $3 AND h.amount IS NOT NULL
                         UNION ALL
                         SELECT o.amount, coalesce(o.updated_at, $3) WHERE o.amount IS NOT NULL AND coalesce(o.updated_at, now()) <= $3) k
                        ORDER BY k.at DESC, k.amount DESC LIMIT 1) a ON true
    LEFT JOIN salesops.currency_rate r ON r.currency = o.currency
$$;
COMMENT ON FUNCTION salesops.win_probability(text, interval, timestamptz) IS
  'a deal''s chance to be won within an interval after as_of: by the model that train_win_model() stored, where it knew nothing later, else by a fit made now';

INSERT INTO salesops.access_right (level, kind, object) VALUES
  ('reader', 'table', 'salesops.opportunity_outlook'), ('reader', 'table', 'salesops.forecast_deal_adjustment'),
  ('reader', 'function', 'salesops.deal_adjustments(daterange,timestamptz)'),
  ('operator', 'function', 'salesops.adjust_deal(text,daterange,text,double precision,numeric,text)'),
  ('operator', 'function', 'salesops.store_deal_adjustment(text,daterange,text,double precision,numeric,text,double precision,numeric)'),
  ('reader', 'table', 'salesops.win_model'),
  ('reader', 'function', 'salesops.forecast_deals(daterange,timestamptz)'),
  ('reader', 'function', 'salesops.win_probability_now(text,interval,timestamptz)'),
  ('reader', 'function', 'salesops.win_probability(text,interval,timestamptz)'),
  ('operator', 'function', 'salesops.fit_win_model(jsonb,timestamptz)');
INSERT INTO salesops.access_right (level, kind, object) VALUES
  ('reader', 'table', 'salesops.currency_rate'),
  ('reader', 'function', 'salesops.forecast_bookings(daterange,text[],timestamptz)'),
  ('reader', 'function', 'salesops.backtest_forecast(date,date,interval,interval[],text,double precision)');
