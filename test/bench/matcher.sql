-- The matcher of the benchmarks at write time, of memory and of updates, on the people of people.sql.
SELECT salesops.create_matcher('people', 'bench_people', 'id', '[{"column": "first_name", "method": "jaro_winkler", "thresholds": [0.95, 0.88]},
  {"column": "last_name", "method": "jaro_winkler", "thresholds": [0.95, 0.88]}, {"column": "email", "method": "jaro_winkler", "thresholds": [0.95, 0.88]},
  {"column": "birth_year"}, {"column": "phone"}, {"column": "postcode"}]',
  ARRAY['right(phone, 4) || birth_year::text', 'email', 'phone', 'postcode || left(last_name, 3)']);
