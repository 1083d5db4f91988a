-- Normalisation: names of all scripts, companies, e-mail, domains, phone numbers, nicknames.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS salesops CASCADE;
CREATE EXTENSION salesops;
RESET client_min_messages;

-- psql 15 and 17 count a character without width differently
SELECT replace(name, U&'\200B', '<200B>') AS name, salesops.normalize_name(name)
FROM unnest(ARRAY['  Jean-Luc   O’Brien ', 'O''BRIEN', 'Łukasz Żółć', 'Straße', 'Åse Ødegård', 'Þór Æsir', 'Đặng Thị', 'İpek Işık', 'J.R.R. Tolkien',
  'Παπαδόπουλος Γιώργος', 'Юрий Щербаков', 'Олена Київ', 'محمد علي', 'שלום', '王小明', '田中・太郎', 'さくら', '김철수', 'ＦＵＬＬ ｗｉｄｔｈ', 'ﬁnn',
  'Dr. Anna "Annie" Smith, Jr.', '', '!!!', E'tab\tand\nline', U&'zero\200Bwidth', '李 Li']) AS name;
-- one letter, three spellings: composed, decomposed, with its marks in another order
SELECT count(DISTINCT salesops.normalize_name(name)) AS spellings
FROM unnest(ARRAY[U&'Jos\00E9 \1EC7', U&'Jose\0301 e\0323\0302', U&'JOSE\0301 E\0302\0323', 'jose e']) AS name;

SELECT company, salesops.normalize_company(company)
FROM unnest(ARRAY['ACME GmbH & Co. KG', 'Acme, Inc.', 'The Acme Company', 'S.A.R.L. Dupont', 'Grupo Bimbo, S.A.B. de C.V.', 'Orlen S.A.',
  'Kowalski Sp. z o.o.', 'Novák, s.r.o.', 'Kovács Kft.', 'Novo Nordisk A/S', 'AB Volvo', 'Nokia Oyj', 'Össur hf.', 'Ferrari N.V.', 'Enel S.p.A.',
  'Müller Bau AG', 'Red Bull GesmbH', 'Sonae SGPS', 'Magazine Luiza Ltda.', 'Petronas Sdn. Bhd.', 'Infosys Pvt. Ltd.', 'DBS Pte Ltd', 'BHP Pty Ltd',
  'ООО «Ромашка»', 'ПАТ Укрнафта', 'Ферма ЕООД', 'ΔΕΗ Α.Ε.', 'Türk Hava Yolları A.Ş.', 'חברה בע"מ', 'شركة النور ش.م.م', '株式会社トヨタ', 'トヨタ(株)', '㈱日立',
  '삼성전자 주식회사', '(주)카카오', '華為技術有限公司', 'Công ty TNHH Vinamilk', 'PT Telkom Indonesia Tbk', 'AT&T Inc.',
  'J.P. Morgan & Co.', 'Smith + Sons Ltd', 'GmbH', 'Limited Company', 'SIA Rimi', 'UAB Maxima', 'Tallink AS', '']) AS company;

SELECT email, salesops.normalize_email(email), salesops.email_domain(email)
FROM unnest(ARRAY['John.Doe+news@GMail.com', 'j.o.h.n.doe@googlemail.com', 'Bob <BOB+crm@Sales.Firm.CO.UK>', 'mailto:a@b.de', ' a@b.de ', 'jörg@Müller.de',
  'ＡＢＣ＠ｅｘａｍｐｌｅ.com', 'o''neil_x-y@x.ie', 'a@b.de.', '+tag@x.de', 'x@y', 'a b@c.de', '@x.de', 'a@', 'a@@b.de', 'a@10.0.0.1', 'a@[10.0.0.1]', '"a b"@c.de',
  'a@b..de', 'a@-b.de', 'none', '', 'a,b@c.de', '+@gmail.com', '...@gmail.com', repeat('a', 65) || '@x.de']) AS email
ORDER BY length(email), email COLLATE "C";

SELECT site, salesops.company_domain(site)
FROM unnest(ARRAY['https://www.acme.co.uk:8080/path?q=a@b.com', 'anna@mail.acme.co.uk', 'Anna <anna@acme.io>', 'www.müller.de', 'http://u:p@sub.acme.com/', 'ACME.COM.',
  'shop.acme.github.io', 'acme.github.io', 'github.io', 'anna@gmail.com', 'x@web.de', 'http://www.yahoo.co.jp/', 'co.uk', 'localhost', '10.0.0.1', 'http://[::1]/', '', 'not a domain',
  '中国银行.中国']) AS site;

-- numbers in forms that people write
SELECT number, region, salesops.normalize_phone(number, region)
FROM (VALUES ('030 123456', 'DE'), ('+49 (0)30 123456', NULL), ('0049 30 123456', 'DE'), ('(415) 555-2671', 'us'), ('1-415-555-2671', 'US'), ('415.555.2671 ext. 12', 'US'),
  ('020 7946 0958', 'GB'), ('+44 20 7946 0958', 'DE'), ('01 42 68 53 00', 'FR'), ('٠١٢', 'EG'), ('+1 415 555 2671', NULL), ('415 555 2671', NULL), ('12', 'US'), ('0000000000', 'US'),
  ('no number', 'US'), ('', 'US'), (NULL, 'US')) AS v (number, region)
ORDER BY length(number), number COLLATE "C", region;
SELECT salesops.normalize_phone('+49 30 123456');
SELECT salesops.normalize_phone('030 123456', 'XX');
SELECT salesops.normalize_phone('030 123456', 'Germany');
SELECT salesops.normalize_phone('030 123456', '');
SELECT salesops.normalize_phone('030 123456', 'usa');
SELECT salesops.normalize_phone('+49 30 123456', 'usa');
SELECT salesops.normalize_phone('+49 30 123456', NULL), salesops.normalize_phone('030 123456', NULL) IS NULL AS unknown;

SELECT name, salesops.canonical_first_name(name)
FROM unnest(ARRAY['Bill', 'WILL', 'Bob', 'Peggy', 'Jack', 'Hans', 'Paco', 'Саша', 'Kasia', 'Unknown', '']) AS name;
-- no canonical name is the short form of another, so the answer is its own answer
SELECT count(*) FROM salesops.nickname WHERE salesops.canonical_first_name(canonical) <> canonical;
-- your rows win, seeded rows stay
INSERT INTO salesops.nickname (name, canonical) VALUES (' BÍLL ', 'Wilhelm'), ('jack', 'jack');
SELECT * FROM salesops.nickname WHERE name IN ('bill', 'jack') ORDER BY name, is_seed;
SELECT salesops.canonical_first_name('Bill'), salesops.canonical_first_name('Jack');
UPDATE salesops.nickname SET canonical = 'billy' WHERE name = 'bill' AND NOT is_seed;
DELETE FROM salesops.nickname WHERE name = 'jack' AND NOT is_seed;
SELECT salesops.canonical_first_name('Bill'), salesops.canonical_first_name('Jack');
DELETE FROM salesops.nickname WHERE name = 'bob';
UPDATE salesops.nickname SET canonical = 'x' WHERE name = 'bob';
INSERT INTO salesops.nickname (name, canonical, is_seed) VALUES ('zed', 'zedekiah', true);
INSERT INTO salesops.nickname (name, canonical) VALUES ('!!', 'x');
SELECT salesops.nickname_guard();

-- an index on a normalised column is used
CREATE SCHEMA text_test;
CREATE TABLE text_test.people (id integer, name text);
INSERT INTO text_test.people SELECT i, 'Person ' || i FROM generate_series(1, 2000) AS i;
CREATE INDEX ON text_test.people (salesops.normalize_name(name));
ANALYZE text_test.people;
SET enable_seqscan = off;
SELECT id FROM text_test.people WHERE salesops.normalize_name(name) = salesops.normalize_name('PERSON  77');

-- a megabyte of every kind
SELECT length(salesops.normalize_name(repeat('Müller ', 150000))), length(salesops.normalize_name(repeat('王', 20000))),
       length(salesops.normalize_company(repeat('Acme Ltd ', 110000))), salesops.company_domain(repeat('a.', 500000)) IS NULL AS no_domain,
       salesops.normalize_email(repeat('a', 1000000) || '@b.de') IS NULL AS no_address, salesops.normalize_phone(repeat('5', 1000000), 'US') IS NULL AS no_number;
SET statement_timeout = '200ms';
SELECT length(salesops.normalize_name(repeat('Щербаков ', 1000000)));
RESET statement_timeout;
DROP TABLE text_test.people;
DROP SCHEMA text_test;
