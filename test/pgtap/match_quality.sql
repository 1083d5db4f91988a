-- Quality without labels, one default configuration, on sets with a known truth (SALESOPS_DATA); skipped where they are absent.
-- The floors are the issue's; what other tools reach on the same sets is in doc/match.md.
BEGIN;
SELECT no_plan();
SELECT (pg_stat_file(:'data' || '/febrl1/dataset1.csv', true)).size IS NOT NULL AS present \gset
\if :present

CREATE TABLE febrl (rec_id text PRIMARY KEY, given_name text, surname text, street_number text, address_1 text, address_2 text,
                    suburb text, postcode text, state text, date_of_birth text, soc_sec_id text);
CREATE TABLE fake (unique_id integer PRIMARY KEY, first_name text, surname text, dob text, city text, email text, cluster integer);

-- COPY's file name is no parameter: it is quoted into the statement
SELECT format('COPY febrl FROM %L (FORMAT csv, HEADER)', :'data' || '/febrl1/dataset1.csv') \gexec
SELECT salesops.create_matcher('febrl', 'febrl', 'rec_id', options => '{"exclude": ["soc_sec_id"]}');
SELECT ok(count(*) > 20, 'febrl1 trains') FROM salesops.train_matcher('febrl');
SELECT cmp_ok(f1, '>=', 0.998::float8, 'febrl1 pairs at .95')
  FROM salesops.evaluate_matcher('febrl', 'SELECT rec_id, split_part(rec_id, ''-'', 2) AS cluster FROM febrl');

TRUNCATE febrl;
SELECT format('COPY febrl FROM %L (FORMAT csv, HEADER)', :'data' || '/febrl2/dataset2.csv') \gexec
SELECT ok(count(*) > 20, 'febrl2 trains') FROM salesops.train_matcher('febrl');
SELECT cmp_ok(f1, '>=', 0.998::float8, 'febrl2 pairs at .95')
  FROM salesops.evaluate_matcher('febrl', 'SELECT rec_id, split_part(rec_id, ''-'', 2) AS cluster FROM febrl');

SELECT format('COPY fake FROM %L (FORMAT csv, HEADER)', :'data' || '/splink-fake1000/fake_1000.csv') \gexec
SELECT salesops.create_matcher('fake', 'fake', 'unique_id', options => '{"exclude": ["cluster"]}');
SELECT ok(count(*) > 20, 'fake1000 trains') FROM salesops.train_matcher('fake');
SELECT cmp_ok(f1, '>=', 0.90::float8, 'fake1000 pairs at .95')
  FROM salesops.evaluate_matcher('fake', 'SELECT unique_id, cluster FROM fake', 0.95);
SELECT cmp_ok(max(e.f1), '>=', 0.92::float8, 'fake1000 pairs at the best threshold')
  FROM unnest('{0.3,0.4,0.5}'::float8[]) t, salesops.evaluate_matcher('fake', 'SELECT unique_id, cluster FROM fake', t) e;
SELECT cmp_ok(f1, '>=', 0.96::float8, 'fake1000 clusters')
  FROM salesops.evaluate_matcher('fake', 'SELECT unique_id, cluster FROM fake', 0.5, 'clusters');

\else
SELECT skip('no data sets: set SALESOPS_DATA', 8);
\endif
SELECT * FROM finish();
ROLLBACK;
