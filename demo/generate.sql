-- A believable CRM in schema crm: 20,000 leads, 5,000 accounts, 12,000 deals with their stage histories over three years, activities,
-- reps with managers, and known duplicates. Everything is a function of the seed and the day: same seed, same day, same rows.
--
-- psql variables: seed (integer), as_of (date: the last day that the data knows). What is hidden in the data is written down here:
--  * a lead converts by its fit (industry, size, seniority, channel), its engagement (visits, webinars, mails) and noise;
--  * fit and engagement interact: many visits from a company that is far too small are worth little;
--  * a deal's win rate depends on stage, rep, channel and age; deals bunch up at the end of a quarter;
--  * Proposal has become slower in the last four months, and nowhere else;
--  * one lead in twelve is somebody who is already there, typed in again with realistic errors (demo.known_duplicate).

SET client_min_messages = warning;
DROP SCHEMA IF EXISTS crm CASCADE;
DROP SCHEMA IF EXISTS demo CASCADE;
CREATE SCHEMA crm;
CREATE SCHEMA demo;
CREATE TABLE demo.setting AS SELECT :seed::int AS seed, :'as_of'::date AS as_of, :'as_of'::date - 1096 AS first_day;

-- uniform and normal numbers that depend on (row, salt) only, never on the order of evaluation
SELECT set_config('demo.seed', :'seed', false) \g /dev/null
CREATE FUNCTION demo.u(id bigint, salt int) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT ((hashint8extended(id * 1000003 + salt, current_setting('demo.seed')::bigint) >> 11) & 9007199254740991) / 9007199254740992.0
$$;
CREATE FUNCTION demo.n(id bigint, salt int) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT sqrt(-2 * ln(greatest(demo.u(id, salt), 1e-12))) * cos(2 * pi() * demo.u(id, salt + 500000))
$$;
CREATE FUNCTION demo.pick(list text[], id bigint, salt int) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT list[1 + floor(demo.u(id, salt) * cardinality(list))::int]
$$;

-- word lists; with a constant kind the planner leaves one constant list
CREATE FUNCTION demo.word(kind text, id bigint, salt int) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT demo.pick(CASE kind
    WHEN 'first' THEN '{James,Mary,Robert,Patricia,John,Jennifer,Michael,Linda,David,Elizabeth,William,Barbara,Richard,Susan,Joseph,Jessica,Thomas,Sarah,Christopher,Karen,Charles,Lisa,Daniel,Nancy,Matthew,Betty,Anthony,Margaret,Mark,Sandra,Donald,Ashley,Steven,Kimberly,Andrew,Emily,Paul,Donna,Joshua,Michelle,Kenneth,Carol,Kevin,Amanda,Brian,Melissa,Timothy,Deborah,Ronald,Stephanie,George,Rebecca,Jason,Laura,Edward,Helen,Jeffrey,Sharon,Ryan,Cynthia,Jacob,Amy,Nicholas,Angela,Gary,Anna,Eric,Ruth,Jonathan,Brenda,Stephen,Pamela,Larry,Nicole,Justin,Katherine,Scott,Virginia,Brandon,Catherine,Benjamin,Christine,Samuel,Samantha,Gregory,Debra,Alexander,Janet,Patrick,Carolyn,Frank,Rachel,Raymond,Heather,Jack,Diane,Dennis,Julie,Jerry,Joyce,Tyler,Victoria,Aaron,Kelly,Jose,Christina,Adam,Joan,Nathan,Evelyn,Henry,Judith,Zachary,Andrea,Douglas,Hannah,Peter,Megan,Kyle,Cheryl,Noah,Jacqueline,Ethan,Martha,Jeremy,Teresa,Hans,Ingrid,Klaus,Ulrike,Pierre,Camille,Lucas,Chloe,Mateo,Sofia,Luca,Giulia,Anders,Freja,Piotr,Agnieszka,Rafael,Beatriz,Hiroshi,Yuki,Wei,Mei,Arjun,Priya,Omar,Fatima}'::text[]
    WHEN 'last' THEN '{Smith,Johnson,Williams,Brown,Jones,Garcia,Miller,Davis,Rodriguez,Martinez,Hernandez,Lopez,Gonzalez,Wilson,Anderson,Thomas,Taylor,Moore,Jackson,Martin,Lee,Perez,Thompson,White,Harris,Sanchez,Clark,Ramirez,Lewis,Robinson,Walker,Young,Allen,King,Wright,Scott,Torres,Nguyen,Hill,Flores,Green,Adams,Nelson,Baker,Hall,Rivera,Campbell,Mitchell,Carter,Roberts,Gomez,Phillips,Evans,Turner,Diaz,Parker,Cruz,Edwards,Collins,Reyes,Stewart,Morris,Morales,Murphy,Cook,Rogers,Gutierrez,Ortiz,Morgan,Cooper,Peterson,Bailey,Reed,Kelly,Howard,Ramos,Kim,Cox,Ward,Richardson,Watson,Brooks,Chavez,Wood,James,Bennett,Gray,Mendoza,Ruiz,Hughes,Price,Alvarez,Castillo,Sanders,Patel,Myers,Long,Ross,Foster,Jimenez,Powell,Jenkins,Perry,Russell,Sullivan,Bell,Coleman,Butler,Henderson,Barnes,Gonzales,Fisher,Vasquez,Simmons,Romero,Jordan,Patterson,Alexander,Hamilton,Graham,Reynolds,Griffin,Wallace,Moreno,West,Cole,Hayes,Bryant,Herrera,Gibson,Ellis,Tran,Medina,Aguilar,Stevens,Murray,Ford,Castro,Marshall,Owens,Harrison,Fernandez,McDonald,Woods,Washington,Kennedy,Wells,Vargas,Henry,Chen,Freeman,Webb,Tucker,Guzman,Burns,Crawford,Olson,Simpson,Porter,Hunter,Gordon,Mendez,Silva,Shaw,Snyder,Mason,Dixon,Munoz,Hunt,Hicks,Holmes,Palmer,Wagner,Black,Robertson,Boyd,Rose,Stone,Salazar,Fox,Warren,Mills,Meyer,Rice,Schmidt,Garza,Daniels,Ferguson,Nichols,Stephens,Soto,Weaver,Ryan,Gardner,Payne,Grant,Dunn,Kelley,Spencer,Hawkins,Arnold,Pierce,Hansen,Peters,Santos,Hart,Bradley,Knight,Elliott,Cunningham,Duncan,Armstrong,Hudson,Carroll,Lane,Riley,Andrews,Alvarado,Ray,Delgado,Berry,Perkins,Hoffman,Johnston,Matthews,Richards,Contreras,Willis,Carpenter,Lawrence,Sandoval,Müller,Weber,Becker,Schulz,Dubois,Lefevre,Rossi,Bianchi,Nowak,Kowalski,Jensen,Nielsen,Lindqvist,Tanaka,Suzuki,Wang,Zhang,Singh,Sharma,Khan,Ali}'::text[]
    WHEN 'stem' THEN '{North,South,East,Blue,Green,Silver,Iron,Bright,Clear,True,Prime,Summit,Harbor,River,Lake,Stone,Oak,Cedar,Maple,Pine,Falcon,Eagle,Lion,Atlas,Orion,Nova,Delta,Sigma,Vertex,Apex,Pioneer,Liberty,Heritage,Union,Central,Global,Pacific,Atlantic,Nordic,Alpine,Metro,Urban,Rapid,Swift,Smart,Open,Deep,High,Core,Fusion}'::text[]
    WHEN 'noun' THEN '{Logistics,Systems,Foods,Energy,Health,Devices,Materials,Robotics,Software,Analytics,Insurance,Capital,Media,Retail,Textiles,Motors,Pharma,Labs,Networks,Security,Tools,Freight,Packaging,Plastics,Chemicals,Optics,Instruments,Airlines,Shipping,Farms,Education,Consulting,Mining,Paper,Steel,Glass,Water,Telecom,Hotels,Studios}'::text[]
    WHEN 'form' THEN '{"Inc.","LLC","Ltd","GmbH","Corp.","Corporation","S.A.","AG","B.V.","Limited"}'::text[]
    WHEN 'industry' THEN '{"Logistics","Manufacturing","Software","Healthcare","Finance","Retail","Energy","Education","Media","Public sector"}'::text[]
    WHEN 'country' THEN '{"US","US","US","US","US","GB","GB","DE","DE","FR","NL","SE","ES","IT","CA","CA","AU","JP","BR","IN"}'::text[]
    WHEN 'title' THEN '{"Head of Operations","VP Sales","CFO","CTO","Director of IT","Operations Manager","Sales Manager","IT Manager","Analyst","Consultant","Student","Assistant","Buyer","Engineer"}'::text[]
    WHEN 'channel' THEN '{"Referral","Web","Web","Web","Webinar","Event","Paid search","Paid search","Cold list","Cold list"}'::text[]
    WHEN 'step' THEN '{"call the CFO on terms","send the revised offer","demo for the operations team","security review","meet the buyer","reference call","legal to return the contract"}'::text[]
  END, id, salt)
$$;

-- ---- reps: a chief, four managers, 24 who sell -----------------------------------------------------------------------
CREATE TABLE crm.reps (rep text PRIMARY KEY, name text NOT NULL, email text, manager text REFERENCES crm.reps, region text, active boolean NOT NULL, capacity int);
INSERT INTO crm.reps
SELECT 'R-' || lpad(i::text, 2, '0'), demo.word('first', i, 11) || ' ' || demo.word('last', i, 12), 'rep' || i || '@northwind.example',
       CASE WHEN i = 1 THEN NULL WHEN i <= 5 THEN 'R-01' ELSE 'R-0' || (2 + i % 4) END,
       CASE WHEN i = 1 THEN NULL ELSE (ARRAY['Americas', 'Europe', 'Asia', 'Nordics'])[1 + i % 4] END, i <> 29, CASE WHEN i > 5 THEN 40 + i END
  FROM generate_series(1, 29) i;
CREATE TABLE demo.rep_skill AS
SELECT rep, 0.35 * demo.n(substr(rep, 3)::int, 13) AS skill FROM crm.reps WHERE substr(rep, 3)::int > 5;

-- ---- accounts -----------------------------------------------------------------------------------------------------
CREATE TABLE crm.accounts (id text PRIMARY KEY, name text NOT NULL, domain text, industry text, country text, employees int, revenue numeric,
                           rep text REFERENCES crm.reps, inserted_at timestamptz NOT NULL);
INSERT INTO crm.accounts
SELECT 'A-' || lpad(i::text, 5, '0'), n.stem || ' ' || n.noun || n.extra || ' ' || demo.word('form', i, 23),
       lower(n.stem || n.noun || replace(n.extra, ' ', '')) || CASE demo.word('country', i, 25) WHEN 'DE' THEN '.de' WHEN 'FR' THEN '.fr' ELSE '.com' END,
       demo.word('industry', i, 24), demo.word('country', i, 25), e.employees, round((e.employees * exp(11.6 + 0.4 * demo.n(i, 27)))::numeric, -3),
       'R-' || lpad((6 + floor(demo.u(i, 28) * 24))::text, 2, '0'), s.first_day + floor(demo.u(i, 29) * 1000)::int
  FROM demo.setting s, generate_series(1, 5000) i
 CROSS JOIN LATERAL (SELECT demo.word('stem', i, 21) AS stem, demo.word('noun', i, 22) AS noun,
                            CASE WHEN i > 900 THEN ' ' || demo.word('last', i, 20) ELSE '' END AS extra) n
 CROSS JOIN LATERAL (SELECT greatest(2, round(exp(4.6 + 1.5 * demo.n(i, 26))))::int AS employees) e;

-- ---- leads ---------------------------------------------------------------------------------------------------------
-- a first day that nobody can know who looks at the lead later: growth over three years
CREATE TABLE demo.lead_truth AS
SELECT i AS n, 'L-' || lpad(i::text, 5, '0') AS id, s.first_day + floor(1095 * power(demo.u(i, 31), 0.8))::int AS day,
       demo.u(i, 32) < 0.35 AS known_account, 1 + floor(demo.u(i, 33) * 5000)::int AS account_n,
       demo.word('first', i, 34) AS first_name, demo.word('last', i, 35) AS last_name, demo.word('title', i, 36) AS title,
       demo.word('channel', i, 37) AS channel, demo.word('industry', i, 38) AS industry,
       greatest(1, round(exp(4.2 + 1.6 * demo.n(i, 39))))::int AS employees, demo.word('country', i, 40) AS country,
       greatest(0, round(exp(0.75 * demo.n(i, 41) + 0.4) - 0.8))::int AS visits, (demo.u(i, 42) < 0.12)::int AS webinars,
       greatest(0, round(exp(0.6 * demo.n(i, 43)) - 0.9))::int AS mails
  FROM demo.setting s, generate_series(1, 18500) i;
ALTER TABLE demo.lead_truth ADD COLUMN logit float8, ADD COLUMN converts boolean, ADD COLUMN days int;
UPDATE demo.lead_truth SET logit = -4.1
  + CASE WHEN industry IN ('Logistics', 'Manufacturing') THEN 0.9 WHEN industry IN ('Energy', 'Retail') THEN 0.3 WHEN industry IN ('Education', 'Public sector') THEN -0.8 ELSE 0 END
  + CASE WHEN employees BETWEEN 80 AND 2500 THEN 0.9 WHEN employees < 15 THEN -1.0 ELSE 0 END
  + CASE WHEN title ~ '^(Head|VP|CFO|CTO|Director)' THEN 1.0 WHEN title ~ 'Manager' THEN 0.5 WHEN title IN ('Student', 'Assistant') THEN -1.4 ELSE 0 END
  + CASE channel WHEN 'Referral' THEN 1.3 WHEN 'Webinar' THEN 0.6 WHEN 'Event' THEN 0.3 WHEN 'Cold list' THEN -1.0 ELSE 0 END
  + CASE WHEN employees >= 15 THEN 0.42 * least(visits, 6) ELSE 0.08 * least(visits, 6) END + 0.9 * webinars + 0.25 * least(mails, 4)
  + 0.55 * demo.n(n, 44);
UPDATE demo.lead_truth SET converts = demo.u(n, 45) < 1 / (1 + exp(-logit)), days = 1 + floor(-22 * ln(greatest(demo.u(n, 46), 1e-9)))::int;

CREATE TABLE crm.leads (id text PRIMARY KEY, inserted_at timestamptz NOT NULL, email text, phone text, first_name text, last_name text, company text,
                        title text, website text, country text, city text, zip text, industry text, employees int, channel text, status text NOT NULL,
                        rep text REFERENCES crm.reps, converted_at timestamptz, deal_id text);
INSERT INTO crm.leads
SELECT t.id, t.day + interval '8 hours' + demo.u(t.n, 51) * interval '10 hours',
       CASE WHEN demo.u(t.n, 52) < 0.9 THEN lower(CASE WHEN demo.u(t.n, 53) < 0.5 THEN t.first_name || '.' || t.last_name ELSE left(t.first_name, 1) || t.last_name END)
            || '@' || CASE WHEN demo.u(t.n, 54) < 0.2 THEN demo.pick(ARRAY['gmail.com', 'outlook.com', 'yahoo.com'], t.n, 55) ELSE c.domain END END,
       CASE WHEN demo.u(t.n, 56) < 0.75 THEN '+' || CASE t.country WHEN 'US' THEN '1212' WHEN 'CA' THEN '1416' WHEN 'GB' THEN '4420' WHEN 'DE' THEN '4930' WHEN 'FR' THEN '331' ELSE '3120' END
            || lpad((floor(demo.u(t.n, 57) * 1e7))::bigint::text, 7, '2') END,
       t.first_name, t.last_name, c.name, CASE WHEN demo.u(t.n, 48) < 0.93 THEN t.title END, CASE WHEN demo.u(t.n, 49) < 0.85 THEN 'https://www.' || c.domain END, t.country,
       CASE WHEN demo.u(t.n, 50) < 0.88 THEN demo.pick(ARRAY['New York', 'London', 'Berlin', 'Paris', 'Toronto', 'Chicago', 'Amsterdam', 'Sydney', 'Austin', 'Munich', 'Madrid', 'Leeds'], t.n, 58) END,
       CASE WHEN demo.u(t.n, 47) < 0.9 THEN lpad((floor(demo.u(t.n, 59) * 99999))::text, 5, '0') END, t.industry, CASE WHEN demo.u(t.n, 60) < 0.92 THEN t.employees END, t.channel,
       CASE WHEN t.converts AND t.day + t.days <= s.as_of THEN 'Converted' WHEN t.day < s.as_of - 90 THEN 'Closed' ELSE 'Open' END,
       'R-' || lpad((6 + floor(demo.u(t.n, 61) * 24))::text, 2, '0'),
       CASE WHEN t.converts AND t.day + t.days <= s.as_of THEN t.day + t.days + interval '15 hours' END, NULL
  FROM demo.setting s, demo.lead_truth t
 CROSS JOIN LATERAL (SELECT CASE WHEN t.known_account THEN a.name ELSE demo.word('stem', t.n, 62) || ' ' || demo.word('noun', t.n, 63) || ' ' || demo.word('form', t.n, 64) END AS name,
                            CASE WHEN t.known_account THEN a.domain ELSE lower(demo.word('stem', t.n, 62) || demo.word('noun', t.n, 63)) || '.com' END AS domain
                       FROM crm.accounts a WHERE a.id = 'A-' || lpad(t.account_n::text, 5, '0')) c;

-- people typed in again: a typo, a nickname, swapped names, another phone format, another spelling of the company, fields left out
CREATE FUNCTION demo.typo(value text, id bigint, salt int) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN length(value) < 4 THEN value ELSE
    (SELECT CASE floor(demo.u(id, salt + 1) * 4)::int
       WHEN 0 THEN left(value, p) || substr(value, p + 2)
       WHEN 1 THEN left(value, p) || substr(value, p + 1, 1) || substr(value, p + 1)
       WHEN 2 THEN left(value, p) || substr(value, p + 2, 1) || substr(value, p + 1, 1) || substr(value, p + 3)
       ELSE left(value, p) || chr(97 + floor(demo.u(id, salt + 2) * 26)::int) || substr(value, p + 2) END
       FROM (SELECT 1 + floor(demo.u(id, salt) * (length(value) - 3))::int AS p) x) END
$$;
CREATE TABLE demo.known_duplicate AS
SELECT 'L-' || lpad((18500 + i)::text, 5, '0') AS id, 18500 + i AS n, 'L-' || lpad((1 + floor(demo.u(i, 71) * 18500))::bigint::text, 5, '0') AS original
  FROM generate_series(1, 1643) i;
INSERT INTO crm.leads
SELECT d.id, o.inserted_at + (10 + demo.u(d.n, 72) * 200) * interval '1 day',
       CASE WHEN demo.u(d.n, 73) < 0.25 THEN NULL WHEN demo.u(d.n, 73) < 0.45 THEN demo.typo(o.email, d.n, 74) WHEN demo.u(d.n, 73) < 0.6 THEN upper(o.email) ELSE o.email END,
       CASE WHEN demo.u(d.n, 77) < 0.3 THEN NULL WHEN demo.u(d.n, 77) < 0.7 THEN '00' || substr(o.phone, 2, 2) || ' ' || substr(o.phone, 4, 3) || '-' || substr(o.phone, 7) ELSE o.phone END,
       CASE WHEN demo.u(d.n, 78) < 0.15 THEN o.last_name WHEN demo.u(d.n, 78) < 0.4 THEN demo.typo(o.first_name, d.n, 79) WHEN demo.u(d.n, 78) < 0.5 THEN left(o.first_name, 1) || '.' ELSE o.first_name END,
       CASE WHEN demo.u(d.n, 78) < 0.15 THEN o.first_name WHEN demo.u(d.n, 82) < 0.35 THEN demo.typo(o.last_name, d.n, 83) ELSE o.last_name END,
       CASE WHEN demo.u(d.n, 86) < 0.4 THEN regexp_replace(o.company, ' (Inc\.|LLC|Ltd|GmbH|Corp\.|Corporation|S\.A\.|AG|B\.V\.|Limited)$', '') WHEN demo.u(d.n, 86) < 0.6 THEN upper(o.company) ELSE o.company END,
       CASE WHEN demo.u(d.n, 87) < 0.3 THEN NULL ELSE o.title END, NULL, o.country, CASE WHEN demo.u(d.n, 88) < 0.7 THEN o.city END,
       CASE WHEN demo.u(d.n, 89) < 0.7 THEN o.zip END, o.industry, o.employees, demo.word('channel', d.n, 90), 'Closed', o.rep, NULL, NULL
  FROM demo.known_duplicate d JOIN crm.leads o ON o.id = d.original;
UPDATE crm.leads SET inserted_at = (SELECT as_of FROM demo.setting) - interval '3 hours' WHERE inserted_at > (SELECT as_of FROM demo.setting);
UPDATE crm.leads SET status = 'Open' WHERE status = 'Closed' AND inserted_at > (SELECT as_of - 90 FROM demo.setting);

-- ---- deals: simulated stage by stage -------------------------------------------------------------------------------------
CREATE TABLE demo.deal_truth AS
SELECT i AS n, 'D-' || lpad(i::text, 5, '0') AS id, s.first_day + floor(1095 * power(demo.u(i, 101), 0.85))::int AS day,
       'A-' || lpad((1 + floor(demo.u(i, 102) * 5000))::bigint::text, 5, '0') AS account,
       'R-' || lpad((6 + floor(demo.u(i, 103) * 24))::text, 2, '0') AS rep, demo.word('channel', i, 104) AS channel,
       demo.pick(ARRAY['New', 'New', 'Expansion', 'Renewal'], i, 105) AS type
  FROM demo.setting s, generate_series(1, 12000) i;
CREATE TABLE demo.deal_stage AS
SELECT t.n, k.ordinal, k.stage,
       -- days in the stage; Proposal is 40 % slower for deals that are in it in the last four months
       1 + round(k.days * exp(0.7 * demo.n(t.n, 110 + k.ordinal) - 0.25) *
                 CASE WHEN k.stage = 'Proposal' AND t.day > s.as_of - 170 THEN 1.4 ELSE 1 END)::int AS days,
       demo.u(t.n, 120 + k.ordinal) < 1 / (1 + exp(-(k.logit + r.skill + CASE t.channel WHEN 'Referral' THEN 0.45 WHEN 'Cold list' THEN -0.35 ELSE 0 END
                                                    + CASE t.type WHEN 'Renewal' THEN 0.6 WHEN 'Expansion' THEN 0.3 ELSE 0 END))) AS goes_on
  FROM demo.setting s, demo.deal_truth t JOIN demo.rep_skill r ON r.rep = t.rep
 CROSS JOIN (VALUES (1, 'Qualify', 9, 0.9), (2, 'Discovery', 14, 1.0), (3, 'Proposal', 21, 0.8), (4, 'Negotiation', 13, 1.1)) k (ordinal, stage, days, logit);
-- the day a deal enters each stage it reaches, and how and when it ends
CREATE TABLE demo.deal_entry AS
SELECT d.n, d.ordinal, d.stage, t.day + COALESCE(sum(d.days) OVER (w ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)::int AS day, d.days, d.goes_on,
       COALESCE(bool_and(d.goes_on) OVER (w ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), true) AS reached
  FROM demo.deal_stage d JOIN demo.deal_truth t USING (n) WINDOW w AS (PARTITION BY d.n ORDER BY d.ordinal);
DELETE FROM demo.deal_entry WHERE NOT reached;
CREATE INDEX ON demo.deal_entry (n);
ANALYZE demo.deal_entry, demo.deal_truth, demo.lead_truth;
CREATE TABLE demo.deal_end AS
SELECT n, won, CASE WHEN demo.u(n, 130) < 0.35 AND won AND day > quarter_end - 40 THEN greatest(day, quarter_end - floor(demo.u(n, 131) * 9)::int) ELSE day END AS day
  FROM (SELECT DISTINCT ON (n) n, goes_on AS won, e.day + e.days AS day,
               (date_trunc('quarter', (e.day + e.days)::timestamp) + interval '3 months - 1 day')::date AS quarter_end
          FROM demo.deal_entry e ORDER BY n, ordinal DESC) x;

CREATE TABLE crm.deals (id text PRIMARY KEY, name text, stage text NOT NULL, amount numeric(14,2), account_id text REFERENCES crm.accounts, rep text REFERENCES crm.reps,
                        type text, channel text, inserted_at timestamptz NOT NULL, closed_at timestamptz, close_date date, next_step text, category text,
                        updated_at timestamptz NOT NULL DEFAULT now());
INSERT INTO crm.deals
SELECT t.id, a.name || ' - ' || t.type, CASE WHEN e.day <= s.as_of THEN CASE WHEN e.won THEN 'Won' ELSE 'Lost' END ELSE c.stage END,
       CASE WHEN c.ordinal = 1 AND e.day > s.as_of AND demo.u(t.n, 141) < 0.25 THEN NULL
            ELSE round((exp(8.1 + 0.38 * ln(a.employees) + 0.55 * demo.n(t.n, 142)))::numeric, -1) END,
       t.account, t.rep, t.type, t.channel, t.day + interval '9 hours', CASE WHEN e.day <= s.as_of THEN e.day + interval '16 hours' END,
       CASE WHEN e.day <= s.as_of THEN e.day WHEN demo.u(t.n, 143) < 0.04 THEN NULL
            ELSE greatest(t.day + 20, CASE WHEN demo.u(t.n, 144) < 0.08 THEN s.as_of - 12 ELSE s.as_of + 3 + floor(demo.u(t.n, 145) * 75)::int END) END,
       CASE WHEN e.day > s.as_of AND demo.u(t.n, 146) < 0.9 THEN demo.word('step', t.n, 147) END,
       CASE WHEN e.day <= s.as_of THEN 'closed' WHEN c.ordinal = 4 THEN 'commit' WHEN c.ordinal = 3 THEN 'best case' ELSE 'pipeline' END, least(e.day, s.as_of) + interval '17 hours'
  FROM demo.setting s, demo.deal_truth t JOIN demo.deal_end e USING (n) JOIN crm.accounts a ON a.id = t.account
 CROSS JOIN LATERAL (SELECT x.stage, x.ordinal FROM demo.deal_entry x WHERE x.n = t.n AND (x.day <= s.as_of OR x.ordinal = 1) ORDER BY x.ordinal DESC LIMIT 1) c;

CREATE TABLE crm.deal_history (deal_id text NOT NULL REFERENCES crm.deals ON DELETE CASCADE, stage text NOT NULL, entered_at timestamptz NOT NULL, amount numeric(14,2), close_date date);
INSERT INTO crm.deal_history
SELECT d.id, h.stage, h.entered_at, d.amount, NULL
  FROM demo.setting s, crm.deals d JOIN demo.deal_truth t ON t.id = d.id
 CROSS JOIN LATERAL (SELECT e.stage, e.day + interval '9 hours' + e.ordinal * interval '1 minute' AS entered_at FROM demo.deal_entry e WHERE e.n = t.n AND e.day <= s.as_of
                     UNION ALL SELECT d.stage, d.closed_at WHERE d.closed_at IS NOT NULL) h;
CREATE INDEX ON crm.deal_history (deal_id, entered_at);

CREATE INDEX ON crm.deals (inserted_at);
ANALYZE crm.deals, crm.leads;
-- converted leads point at a deal of the same time
UPDATE crm.leads l SET deal_id = d.id FROM (
  SELECT l.id AS lead_id, (SELECT d.id FROM crm.deals d WHERE d.inserted_at >= l.converted_at - interval '2 days' ORDER BY d.inserted_at, d.id LIMIT 1) AS id
    FROM crm.leads l WHERE l.converted_at IS NOT NULL) d
 WHERE l.id = d.lead_id;

-- ---- activities -----------------------------------------------------------------------------------------------------
CREATE TABLE crm.activities (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, kind text NOT NULL, at timestamptz NOT NULL, lead_id text REFERENCES crm.leads ON DELETE CASCADE,
                             deal_id text REFERENCES crm.deals ON DELETE CASCADE, rep text, outcome text);
INSERT INTO crm.activities (kind, at, lead_id)
SELECT k.kind, l.inserted_at + demo.u(t.n * 50 + g, k.salt) * least(interval '14 days', greatest(s.as_of - l.inserted_at, interval '1 hour')), l.id
  FROM demo.setting s, demo.lead_truth t JOIN crm.leads l ON l.id = t.id
 CROSS JOIN LATERAL (VALUES ('visit', t.visits, 201), ('webinar', t.webinars, 202), ('mail opened', t.mails, 203)) k (kind, times, salt)
 CROSS JOIN LATERAL generate_series(1, k.times) g;
INSERT INTO crm.activities (kind, at, deal_id, rep, outcome)
SELECT demo.pick(ARRAY['call', 'mail', 'meeting'], t.n * 10 + g, 211), d.inserted_at + demo.u(t.n * 10 + g, 212) * (COALESCE(d.closed_at, s.as_of::timestamptz) - d.inserted_at), d.id, d.rep,
       demo.pick(ARRAY['reached', 'no answer', 'sent'], t.n * 10 + g, 213)
  FROM demo.setting s, demo.deal_truth t JOIN crm.deals d ON d.id = t.id CROSS JOIN LATERAL generate_series(1, 1 + floor(demo.u(t.n, 214) * 7)::int) g;
CREATE INDEX ON crm.activities (lead_id);
CREATE INDEX ON crm.activities (deal_id);
ANALYZE crm.reps, crm.accounts, crm.leads, crm.deals, crm.deal_history, crm.activities;
