-- all_true() gives the answers of the server's operators, on values that are hard on comparisons
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS salesops CASCADE;
CREATE EXTENSION salesops;
RESET client_min_messages;
CREATE SCHEMA pipeline_terms;
SET search_path = pipeline_terms;

-- stored, so that short headers and unaligned data are met; long ones are toasted and compressed
CREATE TABLE n AS SELECT v::numeric AS v FROM unnest(ARRAY['0', '-0', '0.000', '1', '-1', '1.0', '1.00001', '0.99999', '9999', '10000', '10001', '-10000', '1e9', '999999999.9999', '1e-20', '-1e-20', '1e200',
	'-1e200', '1e-200', '123456789012345678901234567890.12345', '123456789012345678901234567890.12346', 'NaN', 'Infinity', '-Infinity', repeat('123', 2000), repeat('123', 2000) || '.1']) v UNION ALL SELECT NULL;
CREATE TABLE i (s int2, v int4, b int8, d date, t timestamptz, u timestamp);
INSERT INTO i VALUES (1, 1, 1, '2026-01-01', '2026-01-01 00:00Z', '2026-01-01'), (-32768, -2147483648, -9223372036854775808, '-infinity', '-infinity', '-infinity'),
	(32767, 2147483647, 9223372036854775807, 'infinity', 'infinity', 'infinity'), (0, 0, 0, '2025-12-31', '2025-12-31 23:59:59.999999Z', '2025-12-31 23:59:59.999999'), (NULL, NULL, NULL, NULL, NULL, NULL);
CREATE TABLE t AS SELECT v AS v, v::varchar(20000) AS c FROM unnest(ARRAY['', ' ', 'a', 'abc', 'abcd', 'äöüß', 'ä', '日本語文', U&'e\0301', repeat('x', 10000), NULL]) v;
CREATE TABLE b AS SELECT v FROM unnest(ARRAY[true, false, NULL]) v;

CREATE FUNCTION differences(source text, col text, constants text[], operators text[], program text) RETURNS TABLE (term text) LANGUAGE plpgsql AS $$
DECLARE
	constant text;
	operator text;
	found bigint;
BEGIN
	FOREACH constant IN ARRAY constants LOOP
		FOREACH operator IN ARRAY operators LOOP
			EXECUTE format('SELECT count(*) FROM %s WHERE (%s) IS TRUE <> salesops.all_true(ARRAY[''1'', %L, %s]::text[], %s)', source,
				format(replace(replace(col, 'OP', operator), 'CONST', '%L'), constant), CASE WHEN col LIKE 'length%' THEN 'length ' ELSE '' END || operator, format(program, constant),
				regexp_replace(col, '^(length\()?(\w+).*', '\2')) INTO found;
			IF found > 0 THEN
				term := col || ' ' || operator || ' ' || constant;
				RETURN NEXT;
			END IF;
		END LOOP;
	END LOOP;
END $$;
\set all '{<,<=,=,>=,>,<>}'
SELECT * FROM differences('n', 'v OP CONST::numeric', (SELECT array_agg(v::text) FROM n WHERE v IS NOT NULL), :'all', '%L');
SELECT * FROM differences('i', 's OP CONST::int2', '{1,0,-32768,32767}', :'all', '%L');
SELECT * FROM differences('i', 'v OP CONST::int4', '{1,0,-2147483648,2147483647}', :'all', '%L');
SELECT * FROM differences('i', 'v OP CONST::int8', '{1,0,-2147483649,2147483648}', :'all', '%L');
SELECT * FROM differences('i', 'b OP CONST::int8', '{1,0,-9223372036854775808,9223372036854775807}', :'all', '%L');
SELECT * FROM differences('i', 'd OP CONST::date', '{2026-01-01,infinity,-infinity}', :'all', $$(CASE %1$L WHEN 'infinity' THEN 2147483647 WHEN '-infinity' THEN -2147483648 ELSE 9497 END)$$);
SELECT * FROM differences('t', 'v OP CONST', '{"",a,ab,abcd,äöüß}', '{=,<>}', '%L');
SELECT * FROM differences('t', 'c OP CONST', '{"",a,ab,abcd,äöüß}', '{=,<>}', '%L');
SELECT * FROM differences('t', 'length(v) OP CONST::int', '{-1,0,1,2,4,9999,10000}', :'all', '%L');
SELECT v, salesops.all_true('{1,is true,""}', v) AS is_true, salesops.all_true('{1,is null,""}', v) AS is_null, salesops.all_true('{1,is not null,""}', v) AS is_not_null FROM b;

-- through a trigger: what is recognised, and what is left to the server, agrees with the same CHECK for every row
SELECT salesops.define_stages('default', '[{"stage": "s"}]');
CREATE TABLE deal (stage text, a numeric, k int, d date, at timestamptz, o text, c varchar(20), f float8, yes boolean, ci text COLLATE "C");
SELECT salesops.add_criterion('deal', 's', e, e) IS NOT NULL AS added, e FROM unnest(ARRAY['a > 0 AND a < 1e9', '5 <= k', 'd >= ''2026-01-01''', 'at < ''2027-01-01Z''', 'o <> ''''', 'c = ''x''', 'length(c) = 1',
	'f > 1', 'yes', 'NOT (k = 7)', 'ci <> ''b''', 'a IS NOT NULL', 'k IS DISTINCT FROM 8', 'o > ''a''', 'd > ''2020-01-01 12:00''::timestamp']) e;
SELECT salesops.enforce_stage_criteria('deal');
SELECT count(*) AS calls FROM pg_trigger WHERE tgrelid = 'deal'::regclass AND pg_get_triggerdef(oid) LIKE '%all_true(%@s,*1,"2> 0",%';
CREATE TABLE wanted AS
SELECT 's' AS stage, a::numeric, k, d::date, at::timestamptz, o, c, f, yes, ci
  FROM unnest(ARRAY['-1', '1', 'NaN', NULL]) a, unnest(ARRAY[4, 5, 7, 8, NULL]) k, unnest(ARRAY['2025-12-31', '2026-01-01']) d, unnest(ARRAY['2026-12-31', 'infinity']) at, unnest(ARRAY['', 'b']) o,
       unnest(ARRAY['x', 'ä', NULL]) c, unnest(ARRAY[1, 2, 'NaN'::float8]) f, unnest(ARRAY[true, NULL]) yes, unnest(ARRAY['b', 'c']) ci;
CREATE FUNCTION passes(w wanted) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO pipeline_terms.deal SELECT w.*;
	RETURN true;
EXCEPTION WHEN check_violation THEN
	RETURN false;
END $$;
SELECT count(*) AS rows, count(*) FILTER (WHERE passes(w) <> ((a > 0 AND a < 1e9 AND 5 <= k AND d >= '2026-01-01' AND at < '2027-01-01Z' AND o <> '' AND c = 'x' AND length(c) = 1 AND f > 1 AND yes AND NOT (k = 7)
	AND ci <> 'b' AND a IS NOT NULL AND k IS DISTINCT FROM 8 AND o > 'a' AND d > '2020-01-01 12:00'::timestamp) IS TRUE)) AS differences FROM wanted w;
SELECT count(*) FROM deal;

-- arms: only the terms of the row's stage are asked; each type that says a stage, compared as the server compares it with a literal
CREATE TYPE stage_enum AS ENUM ('a', 'b', 'c');
CREATE DOMAIN stage_domain AS stage_enum;
CREATE DOMAIN stage_text AS text;
CREATE TABLE arms AS SELECT s, s::varchar AS v, s::char(4) AS c, s::name AS n, s::stage_text AS d, v AS number FROM unnest(ARRAY['a', 'b', 'c', 'A', '', 'a ', NULL]) s, unnest(ARRAY[-1, 0, 1, NULL]) v;
CREATE TABLE enum_arms AS SELECT e, e::stage_domain AS d, v AS number FROM unnest(ARRAY['a', 'b', 'c', NULL]::stage_enum[]) e, unnest(ARRAY[-1, 0, 1, NULL]) v;
CREATE FUNCTION arm_differences(source text, col text) RETURNS TABLE (col_name text, rows bigint, unmet bigint, differences bigint) LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY EXECUTE format($q$SELECT %2$L, count(*), count(*) FILTER (WHERE NOT ours), count(*) FILTER (WHERE ours IS DISTINCT FROM theirs)
		FROM (SELECT salesops.all_true('{@a,@x,@b,2<> 0,*1,2> 0,2< 9,*3,2< 0,*2,2= 5}', %3$I, number) AS ours,
			number <> 0 IS TRUE AND (CASE %2$s WHEN 'a' THEN number > 0 AND number < 9 WHEN 'b' THEN number < 0 ELSE true END) IS TRUE AS theirs FROM %1$I) x$q$, source, col, split_part(col, ':', 1));
END $$;
SELECT d.* FROM unnest(ARRAY['s', 'v', 'c', 'n', 'd']) c, arm_differences('arms', c) d UNION ALL SELECT d.* FROM unnest(ARRAY['e', 'd::stage_enum']) c, arm_differences('enum_arms', c) d;

-- numerics whose first twelve digits agree, numbers of one column in any order, lengths about a limit in characters of several bytes
SELECT count(*) FILTER (WHERE salesops.all_true(ARRAY['1', '>=', low, '2', '>', '0', '1', '<', high], v::numeric, 1) <> (v::numeric >= low::numeric AND v::numeric < high::numeric)) AS differences, count(*)
  FROM unnest(ARRAY['123456789012', '123456789012.1', '123456789012.12345678', '123456789012.12345679', '-123456789012.12345678', '-123456789012.12345679', '1234567890120000', '12345678901200000001']) WITH ORDINALITY v (v, n),
       unnest(ARRAY['123456789012', '123456789012.12345678', '-123456789012.12345678', '1234567890120000']) low, unnest(ARRAY['123456789012.12345679', '-123456789012.1234', '12345678901200000001', 'NaN']) high;
SELECT count(*) FILTER (WHERE salesops.all_true(ARRAY['1', 'length ' || o, n::text], v) <> CASE o WHEN '<' THEN length(v) < n WHEN '=' THEN length(v) = n ELSE length(v) > n END) AS differences, count(*)
  FROM generate_series(0, 9) a, generate_series(0, 9) b, LATERAL (SELECT repeat('x', a) || repeat('ä', b) UNION ALL SELECT repeat('日', a) || repeat('x', b)) t (v), generate_series(-1, 20) n, unnest(ARRAY['<', '=', '>']) o;

-- the words of a program, and lists of stages
SELECT v, salesops.all_true('{1true}', v) AS is_true, salesops.all_true('{1null}', v) AS is_null, salesops.all_true('{1set}', v) AS is_set FROM b;
SELECT s, salesops.all_true('{@a,@b,@c,@d,@e,@f,@g,@h,@i,@j,*1-3\,5\,9-10,2> 0}', s, 0) AS met FROM unnest(ARRAY['a', 'c', 'd', 'e', 'f', 'h', 'i', 'j', 'k']) s;
SELECT salesops.all_true('{"1<> ","1#> 2","1= a b "}', 'a b '::text), salesops.all_true('{"1= "}', ''::text), salesops.all_true('{"1<> "}', ''::text);

-- a program that is not ours
SELECT salesops.all_true(NULL, 1);
SELECT salesops.all_true('{1,>}', 1);
SELECT salesops.all_true('{2,>,1}', 1);
SELECT salesops.all_true('{1,~,1}', 1);
SELECT salesops.all_true('{1,>,x}', 1);
SELECT salesops.all_true('{1,>,x}', 'a'::text);
SELECT salesops.all_true('{1,=,1}', 1::float8);
SELECT salesops.all_true('{}', 1);
SELECT salesops.all_true('{@a,*1,2~ 1}', 'a'::text, 1);
SELECT salesops.all_true('{@a,*1,2> 1}', 1, 1);
SELECT salesops.all_true('{@a,*1;2,2> 1}', 'a'::text, 1);
SELECT salesops.all_true('{@a,*1,3> 1}', 'a'::text, 1);
SELECT salesops.all_true('{@a,*1,""}', 'a'::text, 1);
SET client_min_messages = warning;
DROP SCHEMA pipeline_terms CASCADE;
