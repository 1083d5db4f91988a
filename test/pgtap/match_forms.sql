-- The forms in which defaults compare columns, by what they hold, and what these forms are.
BEGIN;
SELECT plan(17);

SELECT is(salesops.match_sorted('smith, john o''brien'), 'john obrien smith', 'words in order');
SELECT is(salesops.match_sorted(' ., '), NULL, 'no words, nothing');
SELECT is(salesops.match_host('https://www.acme.co.uk/contact'), 'acme.co.uk', 'host of an address');
SELECT is(salesops.match_host('no address'), 'no address', 'what is no address stays');
SELECT is(salesops.match_day('march 23, 1980', true) || ' ' || salesops.match_day('03/04/1980', false) || ' ' || salesops.match_day('soon', true),
          '1980-03-23 1980-03-04 soon', 'written days');
SELECT is(salesops.match_model('acme cordless drill ab-1234 18v'), 'ab1234', 'the code in a title');
SELECT is(salesops.match_model('kettle'), NULL, 'a title without one');
SELECT is(salesops.match_first('acme') || coalesce(salesops.match_rest('acme'), ''), 'acme', 'one word has no rest');
SELECT is(salesops.match_rest('acme steel works'), 'steel works', 'the rest of several');

-- 300 companies, every third twice: another form, another order of the contact's names, another way to write the day
CREATE TABLE firm AS
  SELECT i AS id, i AS firm, initcap(w) || ' ' || initcap(translate(left(md5('t' || i % 47), 5), '0123456789', 'ghijklmnop')) || ' ' || (ARRAY['Ltd', 'GmbH', 'Inc.'])[1 + i % 3] AS name,
         'www.' || w || '.com' AS site, to_char(date '1970-01-01' + i * 37, 'DD.MM.YYYY') AS founded, initcap(left(md5(i || 'a'), 6)) || ' ' || initcap(left(md5(i || 'b'), 7)) AS contact
    FROM generate_series(1, 300) i, LATERAL translate(left(md5(i::text), 8), '0123456789', 'ghijklmnop') w;
UPDATE firm SET contact = translate(contact, '0123456789', 'ghijklmnop');
INSERT INTO firm
  SELECT id + 1000, firm, upper(regexp_replace(name, ' [^ ]*$', '')), 'https://' || site || '/about', to_char(to_date(founded, 'DD.MM.YYYY'), 'FMMonth FMDD, YYYY'),
         split_part(contact, ' ', 2) || ', ' || split_part(contact, ' ', 1) FROM firm WHERE id % 3 = 0;
ALTER TABLE firm ADD PRIMARY KEY (id);
SELECT salesops.create_matcher('firm', 'firm', 'id', options => '{"exclude": ["firm"]}');
SELECT is(c->>'expression', e, 'column ' || (c->>'name'))
  FROM salesops.matcher m, jsonb_array_elements(m.comparisons) c
       JOIN (VALUES ('name', 'salesops.normalize_company(salesops.match_fold((name)::pg_catalog.text))'), ('site', 'salesops.match_host(salesops.match_fold((site)::pg_catalog.text))'),
                    ('founded', 'salesops.match_day(salesops.match_fold((founded)::pg_catalog.text), true)'),
                    ('contact', 'salesops.match_sorted(salesops.match_fold((contact)::pg_catalog.text))')) v (n, e) ON v.n = c->>'name'
 WHERE m.matcher = 'firm' ORDER BY 1;
SELECT ok(count(*) > 10, 'companies train') FROM salesops.train_matcher('firm');
SELECT is(f1, 1::float8, 'and are all found') FROM salesops.evaluate_matcher('firm', 'SELECT id, firm FROM firm');

-- one column of names and nothing else
SELECT salesops.create_matcher('alone', 'firm', 'id', options => '{"exclude": ["firm", "site", "founded", "contact"]}');
SELECT is(string_agg(c->>'name', ', ' ORDER BY n), 'name (first word), name (other words)', 'an only column is compared in two parts')
  FROM salesops.matcher m, jsonb_array_elements(m.comparisons) WITH ORDINALITY a (c, n) WHERE m.matcher = 'alone';
SELECT cmp_ok(f1, '>', 0.9::float8, 'and something is found')
  FROM (SELECT count(*) FROM salesops.train_matcher('alone')) t, salesops.evaluate_matcher('alone', 'SELECT id, firm FROM firm', CASE WHEN t.count > 0 THEN 0.5 END);

SELECT * FROM finish();
ROLLBACK;
