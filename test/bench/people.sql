-- Generated people for the linkage benchmarks: :people records, a fifth of them second copies with slips. Deterministic.
-- Use: psql -v people=1000000 -f test/bench/people.sql
DROP TABLE IF EXISTS bench_people;
CREATE TABLE bench_people (id integer, person integer, first_name text, last_name text, birth_year integer, email text,
                           phone text, postcode text, city text);
WITH syllable AS (
  SELECT ARRAY['an','ber','ca','do','el','fri','ga','ha','is','jo','ka','lu','ma','ne','ot','pa','ro','sa','ti','ul','ve','wi','xe','yo','za',
               'bra','cla','dre','gri','kru','pla','sto','tra','vla','sch','mei','lan','ner','mann','son'] AS s
), base AS (
  SELECT i, hashint4extended(i, 1) AS a, hashint4extended(i, 2) AS b, hashint4extended(i, 3) AS c, hashint4extended(i, 4) AS d
    FROM generate_series(1, (:people * 4 / 5)::integer) i
), person AS (
  SELECT i, a, b, c, d,
         s[1 + abs(a % 25)] || s[1 + abs(a / 64 % 25)] || CASE WHEN a % 3 = 0 THEN s[1 + abs(a / 4096 % 15)] ELSE '' END AS first_name,
         s[1 + abs(b % 40)] || s[1 + abs(b / 64 % 40)] || s[1 + abs(b / 4096 % 40)] AS last_name,
         1935 + abs(c % 70)::integer AS birth_year,
         '0' || lpad(abs(d % 1000000000)::text, 9, '1') AS phone,
         lpad(abs(c / 128 % 1200)::text, 5, '10') AS postcode
    FROM base, syllable
)
INSERT INTO bench_people
  SELECT i, i, first_name, last_name, birth_year, first_name || '.' || last_name || abs(a % 97) || '@mail' || abs(b % 9) || '.com', phone, postcode,
         'city ' || postcode::integer % 300
    FROM person
  UNION ALL
  SELECT (:people * 4 / 5)::integer + row_number() OVER (ORDER BY i), i,
         CASE WHEN a % 5 = 0 THEN overlay(first_name PLACING 'e' FROM 2 FOR 1) ELSE first_name END,
         CASE WHEN b % 4 = 0 THEN left(last_name, 3) || substr(last_name, 5) WHEN b % 4 = 1 THEN last_name || 'e' ELSE last_name END,
         CASE WHEN c % 10 = 0 THEN birth_year + 1 ELSE birth_year END,
         CASE WHEN d % 3 = 0 THEN NULL WHEN d % 3 = 1 THEN first_name || last_name || '@firm.com'
              ELSE first_name || '.' || last_name || abs(a % 97) || '@mail' || abs(b % 9) || '.com' END,
         CASE WHEN c % 4 = 0 THEN NULL ELSE phone END, CASE WHEN b % 7 = 0 THEN lpad(abs(d % 1200)::text, 5, '10') ELSE postcode END,
         'city ' || postcode::integer % 300
    FROM person WHERE i % 4 = 0;
ALTER TABLE bench_people ADD PRIMARY KEY (id);
ANALYZE bench_people;
