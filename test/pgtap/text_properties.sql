-- Properties of normalisation that must hold for every string: applied twice it changes nothing, and what is equal stays equal.
BEGIN;
SELECT no_plan();

-- each code point that PostgreSQL can hold, alone and between letters (surrogates do not exist)
CREATE TEMP TABLE point AS
  SELECT chr(i) AS c FROM generate_series(1, 1114111) AS i
  WHERE i NOT BETWEEN 55296 AND 57343 AND (i < 12288 OR i % 37 = 0 OR i BETWEEN 64256 AND 65535 OR i BETWEEN 119808 AND 120831);
SELECT is_empty($$ SELECT to_hex(ascii(c)) FROM point
                   WHERE salesops.normalize_name(salesops.normalize_name(c)) <> salesops.normalize_name(c)
                      OR salesops.normalize_name(salesops.normalize_name('a' || c || 'b c')) <> salesops.normalize_name('a' || c || 'b c') $$,
                'normalize_name is idempotent on every kind of code point');
SELECT is_empty($$ SELECT to_hex(ascii(c)) FROM point
                   WHERE salesops.normalize_company(salesops.normalize_company(c || ' Ltd')) <> salesops.normalize_company(c || ' Ltd') $$,
                'normalize_company is idempotent on every kind of code point');
SELECT is_empty($$ SELECT to_hex(ascii(c)) FROM point
                   WHERE salesops.normalize_email(salesops.normalize_email('a' || c || '@b' || c || 'c.de')) IS DISTINCT FROM
                         salesops.normalize_email('a' || c || '@b' || c || 'c.de') $$,
                'normalize_email is idempotent on every kind of code point');
SELECT is_empty($$ SELECT to_hex(ascii(c)) FROM point WHERE salesops.normalize_name(c) ~ '(^ )|( $)|(  )|[A-Z.,;:!?''"-]' $$,
                'no capital, punctuation or doubled blank is left');
-- NFC and NFD of the same text are the same name
SELECT is_empty($$ SELECT to_hex(ascii(c)) FROM point WHERE ascii(c) < 12288
                   AND salesops.normalize_name('x' || normalize(c, NFC)) <> salesops.normalize_name('x' || normalize(c, NFD)) $$,
                'composed and decomposed spellings are the same name');

-- random strings of mixed scripts, deterministic
CREATE TEMP TABLE sample AS
  SELECT i, (SELECT string_agg(substr('abcXYZ .-''&éßøŁşİıΑβςЖщъьЄ王小明さトヨター김철ابم شלוםּऀराम́̈😀®½①Ⅳｱ㈱', 1 + ((hashint8(i * 64 + j)::bigint + 2147483648) % 80)::integer, 1), '' ORDER BY j)
             FROM generate_series(1, 1 + i % 24) AS j) AS s
  FROM generate_series(1, 4000) AS i;
SELECT is_empty($$ SELECT s FROM sample WHERE salesops.normalize_name(salesops.normalize_name(s)) <> salesops.normalize_name(s) $$,
                'normalize_name is idempotent on random strings');
SELECT is_empty($$ SELECT s FROM sample WHERE salesops.normalize_company(salesops.normalize_company(s)) <> salesops.normalize_company(s) $$,
                'normalize_company is idempotent on random strings');
SELECT is_empty($$ SELECT f FROM (SELECT string_agg(form, ' ') AS f FROM (SELECT i, unnest(ARRAY['acme', (ARRAY['gmbh', 'co', 'kg', 'and', 's', 'a', 'de', 'c', 'v', 'the', 'ltd',
                     'x', 'ab', '&', 'sp', 'z', 'o'])[1 + i % 17], (ARRAY['inc', 'a', 's', 'r', 'o', 'oy', 'ltd', 'and', 'b', 'v'])[1 + i / 17 % 10],
                     (ARRAY['pt', 'c', 'llc', 'the', 'k'])[1 + i / 170 % 5]]) AS form FROM generate_series(0, 849) AS i) AS forms GROUP BY i) AS names
                   WHERE salesops.normalize_company(salesops.normalize_company(f)) <> salesops.normalize_company(f) $$,
                'normalize_company is idempotent on heaps of legal forms');

-- idempotent where a result exists
SELECT is(salesops.normalize_phone(n), n, n || ' is its own E.164 form')
FROM (SELECT salesops.normalize_phone(raw, region) AS n FROM (VALUES ('030 123456', 'DE'), ('(415) 555-2671', 'US'), ('020 7946 0958', 'GB')) AS v (raw, region)) AS numbers;
SELECT is(salesops.company_domain(salesops.company_domain(s)), salesops.company_domain(s), s || ': company_domain is idempotent')
FROM unnest(ARRAY['https://www.acme.co.uk/x', 'www.müller.de', 'a@b.c.d.example.com']) AS s;

-- a comparison that means the same in every SQL form
SELECT is_empty($$ SELECT s FROM (SELECT s, lag(s) OVER (ORDER BY i) AS t FROM sample) AS p
                   WHERE salesops.levenshtein_distance(s, t) < abs(length(s) - length(t)) OR salesops.levenshtein_distance(s, t) > greatest(length(s), length(t))
                      OR salesops.damerau_levenshtein_distance(s, t) > salesops.levenshtein_distance(s, t)
                      OR salesops.jaro_winkler_similarity(s, t) < salesops.jaro_similarity(s, t)
                      OR salesops.token_set_similarity(s, t) NOT BETWEEN 0 AND 1 OR salesops.ngram_similarity(s, t, 2) NOT BETWEEN 0 AND 1 $$,
                'distances and similarities stay within their bounds');

-- truthful labels: what is IMMUTABLE reads no table; the one that reads salesops.nickname is STABLE
SELECT is(string_agg(p.proname || ' ' || p.provolatile::text || p.proparallel::text, ', ' ORDER BY p.proname, p.pronargs),
          'canonical_first_name ss, company_domain is, damerau_levenshtein_distance is, email_domain is, jaro_similarity is, jaro_winkler_similarity is, '
          'levenshtein_distance is, levenshtein_distance is, levenshtein_similarity is, ngram_similarity is, normalize_company is, normalize_email is, '
          'normalize_name is, normalize_phone is, token_set_similarity is, token_sort_similarity is',
          'volatility and parallel safety')
FROM pg_proc AS p
WHERE p.pronamespace = 'salesops'::regnamespace AND p.proname ~ '^(levenshtein|damerau|jaro|ngram|token|normalize|email_domain|company_domain|canonical_first)';

-- anyone may use them
CREATE ROLE text_nobody;
GRANT SELECT ON sample TO text_nobody;
SET LOCAL ROLE text_nobody;
SELECT lives_ok($$ SELECT salesops.canonical_first_name('Bill'), salesops.normalize_phone('+49 30 123456'), salesops.jaro_similarity('a', 'b') $$,
                'a role without rights can compare and normalise');
SELECT throws_ok($$ INSERT INTO salesops.nickname VALUES ('a', 'b') $$, '42501', NULL, 'but cannot add nicknames');
RESET ROLE;

SELECT * FROM finish();
ROLLBACK;
