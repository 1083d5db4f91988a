-- Text: similarity of strings, and their normalisation. All work on code points; the kernels are in src/text.

-- ---- similarity -----------------------------------------------------------------------------------------------------
CREATE FUNCTION salesops.levenshtein_distance(a text, b text) RETURNS integer
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 3 AS 'MODULE_PATHNAME', 'salesops_levenshtein_distance';
COMMENT ON FUNCTION salesops.levenshtein_distance(text, text) IS
  'insertions, deletions and substitutions of characters that turn one string into the other';

CREATE FUNCTION salesops.levenshtein_distance(a text, b text, max_distance integer) RETURNS integer
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 3 AS 'MODULE_PATHNAME', 'salesops_levenshtein_distance_limited';
COMMENT ON FUNCTION salesops.levenshtein_distance(text, text, integer) IS
  'the edit distance where it is at most max_distance, otherwise max_distance + 1, found sooner';

CREATE FUNCTION salesops.damerau_levenshtein_distance(a text, b text) RETURNS integer
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 20 AS 'MODULE_PATHNAME', 'salesops_damerau_levenshtein_distance';
COMMENT ON FUNCTION salesops.damerau_levenshtein_distance(text, text) IS
  'edit distance in which swapping two neighbours costs 1 as well (unrestricted, Lowrance and Wagner)';

CREATE FUNCTION salesops.levenshtein_similarity(a text, b text) RETURNS double precision
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 3 AS 'MODULE_PATHNAME', 'salesops_levenshtein_similarity';
COMMENT ON FUNCTION salesops.levenshtein_similarity(text, text) IS
  '1 - edit distance / length of the longer string, from 0 to 1';

CREATE FUNCTION salesops.jaro_similarity(a text, b text) RETURNS double precision
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 3 AS 'MODULE_PATHNAME', 'salesops_jaro_similarity';
COMMENT ON FUNCTION salesops.jaro_similarity(text, text) IS
  'Jaro''s similarity, from 0 to 1: common characters near each other, less for transpositions';

CREATE FUNCTION salesops.jaro_winkler_similarity(a text, b text, prefix_weight double precision DEFAULT 0.1) RETURNS double precision
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 3 AS 'MODULE_PATHNAME', 'salesops_jaro_winkler_similarity';
COMMENT ON FUNCTION salesops.jaro_winkler_similarity(text, text, double precision) IS
  'Jaro''s similarity with Winkler''s bonus for a common prefix of up to four characters, given above 0.7; prefix_weight is from 0 to 0.25';

CREATE FUNCTION salesops.ngram_similarity(a text, b text, n integer DEFAULT 3) RETURNS double precision
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 15 AS 'MODULE_PATHNAME', 'salesops_ngram_similarity';
COMMENT ON FUNCTION salesops.ngram_similarity(text, text, integer) IS
  'common n-grams over all n-grams of two strings (Jaccard), from 0 to 1; a string shorter than n is one gram by itself';

CREATE FUNCTION salesops.token_sort_similarity(a text, b text) RETURNS double precision
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 15 AS 'MODULE_PATHNAME', 'salesops_token_sort_similarity';
COMMENT ON FUNCTION salesops.token_sort_similarity(text, text) IS
  'similarity of two strings whose words are sorted first, from 0 to 1';

CREATE FUNCTION salesops.token_set_similarity(a text, b text) RETURNS double precision
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 15 AS 'MODULE_PATHNAME', 'salesops_token_set_similarity';
COMMENT ON FUNCTION salesops.token_set_similarity(text, text) IS
  'similarity of two strings as sets of words, from 0 to 1; 1 where one holds all words of the other';

-- ---- normalisation --------------------------------------------------------------------------------------------------
CREATE FUNCTION salesops.normalize_name(text) RETURNS text
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 20 AS 'MODULE_PATHNAME', 'salesops_normalize_name';
COMMENT ON FUNCTION salesops.normalize_name(text) IS
  'a person''s name as lower-case Latin words, without accents or punctuation, from any script';

CREATE FUNCTION salesops.normalize_company(text) RETURNS text
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 30 AS 'MODULE_PATHNAME', 'salesops_normalize_company';
COMMENT ON FUNCTION salesops.normalize_company(text) IS
  'a company''s name as normalize_name gives it, without its legal form (GmbH, Inc., S.A. de C.V. and so on)';

CREATE FUNCTION salesops.normalize_email(text) RETURNS text
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 10 AS 'MODULE_PATHNAME', 'salesops_normalize_email';
COMMENT ON FUNCTION salesops.normalize_email(text) IS
  'the mailbox that an e-mail address means, in one spelling: lower case, no +tag, no dots at Gmail; NULL where it is no address';

CREATE FUNCTION salesops.normalize_phone(text, region text DEFAULT NULL) RETURNS text
  LANGUAGE c IMMUTABLE PARALLEL SAFE COST 300 AS 'MODULE_PATHNAME', 'salesops_normalize_phone';
COMMENT ON FUNCTION salesops.normalize_phone(text, text) IS
  'a phone number in E.164, or NULL where it is none; region is where numbers without a country code are from (two letters, ISO 3166)';

CREATE FUNCTION salesops.email_domain(text) RETURNS text
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 15 AS 'MODULE_PATHNAME', 'salesops_email_domain';
COMMENT ON FUNCTION salesops.email_domain(text) IS
  'the registrable domain of an e-mail address, NULL where it is no address';

CREATE FUNCTION salesops.company_domain(text) RETURNS text
  LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 15 AS 'MODULE_PATHNAME', 'salesops_company_domain';
COMMENT ON FUNCTION salesops.company_domain(text) IS
  'the registrable domain of a company''s e-mail address, web address or host name; NULL for free-mail providers';
