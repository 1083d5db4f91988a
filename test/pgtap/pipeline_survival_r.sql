-- Survival beside the figures that R's package survival prints for the data sets of its own documentation (aml, ovarian, lung):
-- survfit() and survdiff() as in Therneau's vignette and the package's help pages. Negative: censored.
BEGIN;
SELECT no_plan();
CREATE TABLE sample (data text, arm text, days float8, ended boolean);
INSERT INTO sample SELECT 'aml', arm, abs(v), v > 0 FROM (VALUES ('Maintained', '{9,13,-13,18,23,-28,31,34,-45,48,-161}'::int[]),
	('Nonmaintained', '{5,5,8,8,12,-16,23,27,30,33,43,45}')) a (arm, days), unnest(a.days) v;
INSERT INTO sample SELECT 'ovarian', arm, abs(v), v > 0 FROM (VALUES ('1', '{59,115,156,268,329,431,638,-448,-477,-803,-855,-1040,-1106}'::int[]),
	('2', '{353,365,464,475,563,-377,-421,-744,-769,-770,-1129,-1206,-1227}')) a (arm, days), unnest(a.days) v;
INSERT INTO sample SELECT 'lung', arm, abs(v), v > 0 FROM (VALUES ('male', '{11,11,11,12,13,13,15,26,30,31,53,53,54,59,60,65,65,71,81,88,88,92,93,95,105,107,110,116,118,131,132,132,135,142,144,147,156,156,163,163,163,166,170,-174,175,176,177,179,
	179,180,181,181,183,-185,-188,189,-191,-196,197,-197,202,207,210,212,218,-221,222,-222,223,-225,-225,229,230,-237,239,246,-259,267,269,270,-279,283,284,-284,285,286,288,
	291,-292,-300,301,-301,303,-303,306,310,320,329,337,353,353,363,364,371,387,390,394,-404,-413,428,429,442,-444,455,457,-458,460,477,519,524,533,558,567,574,583,613,624,
	643,655,689,707,791,-806,814,-840,883,-1010,-1022}'::int[]),
	('female', '{5,60,61,62,79,81,-92,95,-105,107,122,145,145,153,166,167,-173,-175,-177,182,186,-192,194,199,201,201,-202,-203,208,-211,-224,226,-235,239,-240,-243,245,-252,-266,268,
	-269,-272,-276,285,-292,293,-296,305,310,-315,-332,340,345,348,350,351,-356,361,363,-364,371,-376,-382,-384,426,433,444,450,473,-511,-511,520,524,-529,-543,550,-551,-559,
	-588,641,654,687,705,728,731,735,-740,765,-821,-965}')) a (arm, days), unnest(a.days) v;
CREATE VIEW arm AS SELECT data, arm, salesops.survival(days, ended) AS s FROM sample GROUP BY 1, 2;
CREATE VIEW difference AS SELECT a.data, round(t.observed::numeric) AS observed, round(t.expected::numeric, 2) AS expected, round(t.chi_square::numeric, 1) AS chi_square, t.p_value
  FROM arm a JOIN arm b ON b.data = a.data CROSS JOIN LATERAL salesops.log_rank(a.s, b.s) t WHERE (a.arm, b.arm) IN (('Maintained', 'Nonmaintained'), ('1', '2'), ('male', 'female'));

SELECT results_eq($$ SELECT arm, salesops.survival_count(s), salesops.survival_events(s), salesops.median(s) FROM arm WHERE data = 'aml' ORDER BY 1 $$,
	$$ VALUES ('Maintained', 11::bigint, 7::bigint, 31::float8), ('Nonmaintained', 12, 11, 23) $$, 'aml: n, events, median');
SELECT results_eq($$ SELECT l.duration::int, l.at_risk, round(l.survival::numeric, 3), round(l.standard_error::numeric, 4) FROM arm, salesops.life_table(s) l WHERE data = 'aml' AND arm = 'Maintained' AND l.ended > 0 $$,
	$$ VALUES (9, 11::bigint, 0.909, 0.0867), (13, 10, 0.818, 0.1163), (18, 8, 0.716, 0.1397), (23, 7, 0.614, 0.1526), (31, 5, 0.491, 0.1642), (34, 4, 0.368, 0.1627), (48, 2, 0.184, 0.1535) $$,
	'aml, maintained: time, n.risk, survival, std.err');
SELECT results_eq($$ SELECT l.duration::int, l.at_risk, round(l.survival::numeric, 4), round(l.standard_error::numeric, 4) FROM arm, salesops.life_table(s) l WHERE data = 'aml' AND arm = 'Nonmaintained' AND l.ended > 0 AND l.survival > 0 $$,
	$$ VALUES (5, 12::bigint, 0.8333, 0.1076), (8, 10, 0.6667, 0.1361), (12, 8, 0.5833, 0.1423), (23, 6, 0.4861, 0.1481), (27, 5, 0.3889, 0.1470), (30, 4, 0.2917, 0.1387), (33, 3, 0.1944, 0.1219), (43, 2, 0.0972, 0.0919) $$,
	'aml, nonmaintained');
SELECT results_eq($$ SELECT observed, expected, chi_square, round(p_value::numeric, 2) FROM difference WHERE data = 'aml' $$, 'VALUES (7::numeric, 10.69, 3.4, 0.07)', 'aml: survdiff');
SELECT results_eq($$ SELECT arm, salesops.survival_count(s), salesops.survival_events(s), salesops.median(s) FROM arm WHERE data = 'ovarian' ORDER BY 1 $$,
	$$ VALUES ('1', 13::bigint, 7::bigint, 638::float8), ('2', 13, 5, NULL) $$, 'ovarian: n, events, median');
SELECT results_eq($$ SELECT observed, expected, chi_square, round(p_value::numeric, 1) FROM difference WHERE data = 'ovarian' $$, 'VALUES (7::numeric, 5.23, 1.1, 0.3)', 'ovarian: survdiff');
SELECT results_eq($$ SELECT arm, salesops.survival_count(s), salesops.survival_events(s), salesops.median(s) FROM arm WHERE data = 'lung' ORDER BY 1 $$,
	$$ VALUES ('female', 90::bigint, 53::bigint, 426::float8), ('male', 138, 112, 270) $$, 'lung by sex: n, events, median');
SELECT results_eq($$ SELECT observed, round(expected, 1), chi_square, round(p_value::numeric, 3) FROM difference WHERE data = 'lung' $$, 'VALUES (112::numeric, 91.6, 10.3, 0.001)', 'lung by sex: survdiff');
SELECT results_eq($$ SELECT salesops.survival_count(s), salesops.survival_events(s), salesops.median(s) FROM (SELECT salesops.merge(s) AS s FROM arm WHERE data = 'lung') x $$,
	'VALUES (228::bigint, 165::bigint, 310::float8)', 'lung: n, events, median');
SELECT * FROM finish();
ROLLBACK;
