-- the ridge strength that cross-validation chooses, and the loss it saw there, against scikit-learn's LogisticRegression (C = 1 / lambda)
-- on the same rows: any deal of the rows into five folds has the same answer (test/bench/learn_lambda.py makes the data and the numbers)
BEGIN;
SELECT no_plan();

-- rows of whole hundredths by Park and Miller's generator, and a label whose log odds are the slopes by turns upwards and downwards
CREATE FUNCTION rows_of(seed bigint, count integer, width integer, scale float8, slope float8) RETURNS TABLE (x float8[], y boolean) LANGUAGE plpgsql AS $$
DECLARE
  z float8;
BEGIN
  FOR i IN 1..count LOOP
    x := '{}';
    z := 0;
    FOR j IN 1..width LOOP
      seed := seed * 48271 % 2147483647;
      x := x || (seed / 1000 % 201 - 100) / 100.0::float8 * scale;
      z := z + x[j] / scale * CASE WHEN j % 2 = 1 THEN slope ELSE -slope END;
    END LOOP;
    seed := seed * 48271 % 2147483647;
    y := (seed / 1000 % 10000) / 10000.0 < 1 / (1 + exp(-z));
    RETURN NEXT;
  END LOOP;
END $$;

CREATE TABLE answer (kind text, lambda float8, log_loss float8);
CREATE FUNCTION choose(kind text, count integer, width integer, scale float8, slope float8, seed integer) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
  told salesops.model;
  lambda float8;
  want answer;
BEGIN
  SET LOCAL client_min_messages = warning;
  DROP TABLE IF EXISTS data;
  EXECUTE format('CREATE TEMPORARY TABLE data AS SELECT y, %s FROM rows_of(1, %s, %s, %s, %s)',
                 (SELECT string_agg(format('x[%s] AS x%s', j, j), ', ') FROM generate_series(1, width) j), count, width, scale, slope);
  told := salesops.train_model('chosen', 'TABLE data', 'y', 'logistic', NULL, jsonb_build_object('linear_numbers', true, 'force', true, 'seed', seed, 'calibration', 'none'));
  SELECT (details ->> 'lambda')::float8 INTO lambda FROM salesops.model_version v WHERE v.name = 'chosen' AND v.version = told.version;
  SELECT * INTO want FROM answer a WHERE a.kind = choose.kind;
  RETURN NEXT is(lambda, want.lambda, kind || ', seed ' || seed || ': the lambda of scikit-learn''s folds');
  RETURN NEXT ok(abs(told.log_loss - want.log_loss) < 0.02, kind || ', seed ' || seed || ': and their log loss: ' || told.log_loss);
END $$;
INSERT INTO answer VALUES ('noise alone', 100, 0.6922), ('two steep slopes', 0.3, 0.2747), ('many slopes, scaled', 10, 0.5272);
SELECT choose(kind, count, width, scale, slope, seed)
  FROM (VALUES ('noise alone', 200, 20, 1, 0), ('two steep slopes', 400, 2, 1, 5), ('many slopes, scaled', 300, 30, 2, 0.7)) k(kind, count, width, scale, slope),
       generate_series(1, 3) seed;

-- the last of them: the loss that is told at each lambda that is given is least at the one that was chosen by the same folds
CREATE TABLE curve AS SELECT l AS lambda, m.log_loss FROM unnest('{100,30,10,3,1,0.3}'::float8[]) l,
  LATERAL salesops.train_model('given ' || l, 'TABLE data', 'y', 'logistic', NULL, jsonb_build_object('linear_numbers', true, 'seed', 3, 'lambda', l, 'validation', 'folds', 'calibration', 'none')) m;
SELECT results_eq('SELECT lambda FROM curve ORDER BY log_loss LIMIT 1', 'VALUES (10::float8)', 'least at 10');
SELECT is((SELECT max(abs(c.log_loss - w.log_loss)) < 0.02 FROM curve c JOIN (VALUES (100, 0.5793), (30, 0.5374), (10, 0.5272), (3, 0.5384), (1, 0.5516), (0.3, 0.5599)) w(lambda, log_loss) USING (lambda)),
          true, 'and near scikit-learn''s everywhere');
SELECT * FROM finish();
ROLLBACK;
