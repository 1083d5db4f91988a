-- The quarter that the day after as_of lies in, as a distribution.
SELECT date_trunc('quarter', :'as_of'::timestamp + interval '1 day')::date AS first,
       (date_trunc('quarter', :'as_of'::timestamp + interval '1 day') + interval '3 months')::date AS next \gset
SELECT salesops.train_win_model('default', '{}');
CREATE TABLE demo.forecast AS
SELECT * FROM salesops.forecast_bookings(daterange(:'first', :'next'), '{}', :'as_of'::timestamptz + interval '1 day');
