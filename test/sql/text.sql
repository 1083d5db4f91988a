-- Similarity of strings: published values, limits, bad input.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS salesops CASCADE;
CREATE EXTENSION salesops;
RESET client_min_messages;

-- moj-analytical-services/splink docs/topic_guides/comparisons/comparators.md; CA/ABC: Boytsov (2011), unrestricted 2, restricted 3
SELECT a, b, salesops.levenshtein_distance(a, b), salesops.damerau_levenshtein_distance(a, b),
       round(salesops.levenshtein_similarity(a, b)::numeric, 4) AS similarity
FROM (VALUES ('KITTEN', 'SITTING'), ('CAKE', 'ACKE'), ('MARHTA', 'MARTHA'), ('hippo', 'elephant'), ('CA', 'ABC'), ('Saturday', 'Sunday'),
             ('', 'abc'), ('', ''), ('żółć', 'zolc'), ('王小明', '王晓明'), ('😀a', 'a😀')) AS v (a, b);

-- contrib fuzzystrmatch's documentation: levenshtein_less_equal gives 3 and 4 here; GUMBO and GAMBOL
SELECT salesops.levenshtein_distance('extensive', 'exhaustive', 2), salesops.levenshtein_distance('extensive', 'exhaustive', 4),
       salesops.levenshtein_distance('extensive', 'exhaustive', 0), salesops.levenshtein_distance('same', 'same', 0),
       salesops.levenshtein_distance('GUMBO', 'GAMBOL');

-- jamesturk/jellyfish testdata/jaro_distance.csv and jaro_winkler.csv; splink tests/test_spark_udfs.py; Winkler's table
SELECT a, b, round(salesops.jaro_similarity(a, b)::numeric, 4) AS jaro, round(salesops.jaro_winkler_similarity(a, b)::numeric, 4) AS winkler
FROM (VALUES ('dixon', 'dicksonx'), ('martha', 'marhta'), ('dwayne', 'duane'), ('William', 'Williams'), ('', 'foo'), ('a', 'a'), ('abc', 'xyz'),
             ('aaaa', 'aaaaa'), ('a', 'ab'), ('dave', 'david'), ('hello', 'hallo'), ('hippo', 'elephant'), ('Local', 'Pub'),
             ('SHACKLEFORD', 'SHACKELFORD'), ('DUNNINGHAM', 'CUNNIGHAM'), ('NICHLESON', 'NICHULSON'), ('JONES', 'JOHNSON'),
             ('MASSEY', 'MASSIE'), ('ABROMS', 'ABRAMS'), ('JERALDINE', 'GERALDINE'), ('MICHELLE', 'MICHAEL'), ('JULIES', 'JULIUS'),
             ('TANYA', 'TONYA'), ('SEAN', 'SUSAN'), ('JON', 'JOHN'), ('', ''), ('Straße', 'Strasse')) AS v (a, b);
SELECT salesops.jaro_winkler_similarity('MARTHA', 'MARHTA', 0) = salesops.jaro_similarity('MARTHA', 'MARHTA') AS no_bonus,
       round(salesops.jaro_winkler_similarity('MARTHA', 'MARHTA', 0.25)::numeric, 4) AS greatest_weight;

-- splink comparators.md: DUCK/LUCK letters 3/5; common grams over all grams, no padding
SELECT salesops.ngram_similarity('DUCK', 'LUCK', 1), salesops.ngram_similarity('night', 'nacht', 2), salesops.ngram_similarity('word', 'words'),
       salesops.ngram_similarity('ab', 'ab'), salesops.ngram_similarity('ab', 'abc'), salesops.ngram_similarity('', ''), salesops.ngram_similarity('', 'a'),
       salesops.ngram_similarity('abcdefgh', 'abcdefgx', 7);

-- values of rapidfuzz 3.14.6, fuzz.token_sort_ratio and fuzz.token_set_ratio / 100
SELECT a, b, round(salesops.token_sort_similarity(a, b)::numeric, 6) AS sorted, round(salesops.token_set_similarity(a, b)::numeric, 6) AS set
FROM (VALUES ('fuzzy wuzzy was a bear', 'wuzzy fuzzy was a bear'), ('fuzzy was a bear', 'fuzzy fuzzy was a bear'), ('new york mets', 'new york yankees'),
             ('mary jane watson', 'jane watson-parker mary'), ('one two three', 'four five six'), ('', ''), ('', 'a')) AS v (a, b);

-- NULL in, NULL out
SELECT salesops.levenshtein_distance(NULL, 'a') IS NULL AND salesops.levenshtein_distance('a', 'b', NULL) IS NULL AND
       salesops.jaro_winkler_similarity('a', NULL) IS NULL AND salesops.ngram_similarity('a', 'b', NULL) IS NULL AS all_null;

-- symmetric, and 1 only for equal strings
SELECT count(*) FILTER (WHERE salesops.levenshtein_distance(a, b) <> salesops.levenshtein_distance(b, a)) AS levenshtein,
       count(*) FILTER (WHERE salesops.damerau_levenshtein_distance(a, b) <> salesops.damerau_levenshtein_distance(b, a)) AS damerau,
       count(*) FILTER (WHERE salesops.jaro_similarity(a, b) <> salesops.jaro_similarity(b, a)) AS jaro,
       count(*) FILTER (WHERE salesops.ngram_similarity(a, b) <> salesops.ngram_similarity(b, a)) AS ngram,
       count(*) FILTER (WHERE salesops.token_set_similarity(a, b) <> salesops.token_set_similarity(b, a)) AS token_set,
       count(*) FILTER (WHERE (salesops.levenshtein_similarity(a, b) = 1) <> (a = b)) AS identity
FROM (SELECT left(md5(i::text), i % 33) AS a, left(md5((i % 7)::text), (i * 13) % 33) AS b FROM generate_series(1, 2000) AS i) AS pairs;

-- values that are stored compressed or out of line, and strings beyond a machine word
CREATE SCHEMA text_test;
CREATE TABLE text_test.long (a text, b text);
ALTER TABLE text_test.long ALTER b SET STORAGE EXTERNAL;
INSERT INTO text_test.long SELECT repeat('Donaudampfschiff ', 6000), repeat('Donaudampfschiff ', 5999) || 'Donaudampfschiffe';
INSERT INTO text_test.long SELECT repeat('naïve Größe ж', 200), repeat('naïve Größe ж', 199) || 'naïve Größe ш';
SELECT length(a) AS length, salesops.levenshtein_distance(a, b), salesops.levenshtein_distance(a, b, 0) AS limited,
       round(salesops.jaro_winkler_similarity(a, b)::numeric, 6) AS winkler, round(salesops.ngram_similarity(a, b)::numeric, 6) AS ngram,
       round(salesops.token_set_similarity(a, b)::numeric, 6) AS token_set
FROM text_test.long ORDER BY 1;

-- a megabyte: similar strings at once, unrelated ones until cancelled
CREATE TABLE text_test.megabyte AS
  SELECT string_agg(md5(i::text), '' ORDER BY i) AS a, string_agg(md5((i + 1000000)::text), '' ORDER BY i) AS b FROM generate_series(1, 32768) AS i;
SELECT length(a), salesops.levenshtein_distance(a, overlay(a placing 'xyz' from 500000 for 2)), salesops.levenshtein_distance(a, b, 10),
       salesops.jaro_winkler_similarity(a, b) BETWEEN 0.7 AND 1 AS jaro_winkler, salesops.ngram_similarity(a, b, 5) BETWEEN 0.2 AND 0.9 AS ngram,
       salesops.token_sort_similarity(a, a) AS sorted
FROM text_test.megabyte;
SET statement_timeout = '200ms';
SELECT salesops.levenshtein_distance(a, b) FROM text_test.megabyte;
SELECT salesops.damerau_levenshtein_distance(a, b) FROM text_test.megabyte;
SELECT salesops.token_sort_similarity(a, b) FROM text_test.megabyte;
RESET statement_timeout;

-- the same in parallel workers
SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
CREATE TABLE text_test.pairs AS SELECT md5(i::text) AS a, md5((i + 1)::text) AS b FROM generate_series(1, 20000) AS i;
SELECT sum(salesops.levenshtein_distance(a, b)) = (SELECT sum(salesops.levenshtein_distance(a, b, 1000000)) FROM text_test.pairs) AS same
FROM text_test.pairs;

-- mistakes
SELECT salesops.levenshtein_distance('a', 'b', -1);
SELECT salesops.jaro_winkler_similarity('a', 'b', 0.3);
SELECT salesops.jaro_winkler_similarity('a', 'b', 'NaN');
SELECT salesops.ngram_similarity('a', 'b', 0);

DROP TABLE text_test.long, text_test.megabyte, text_test.pairs;
DROP SCHEMA text_test;
