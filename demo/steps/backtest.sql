-- How such forecasts would have done over the last half year, with nothing known that was written later.
CREATE TABLE demo.backtest AS
SELECT * FROM salesops.backtest_forecast((:'as_of'::date - 210), (:'as_of'::date - 31), interval '7 days', ARRAY[interval '30 days'], 'total', 0.8);
