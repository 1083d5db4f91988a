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

-- ---- given names ----------------------------------------------------------------------------------------------------
CREATE TABLE salesops.nickname (
  name text NOT NULL CHECK (name <> ''),
  canonical text NOT NULL CHECK (canonical <> ''),
  is_seed boolean NOT NULL DEFAULT false,
  PRIMARY KEY (name, is_seed)
);
COMMENT ON TABLE salesops.nickname IS
  'short and foreign forms of given names and the form they are compared by; your rows win over the seeded ones of the same name';
COMMENT ON COLUMN salesops.nickname.name IS 'as normalize_name gives it';
COMMENT ON COLUMN salesops.nickname.canonical IS 'what the name stands for; the name itself takes a seeded row out of use';
COMMENT ON COLUMN salesops.nickname.is_seed IS 'came with the extension: never dumped, cannot be changed';
-- seeded rows come with CREATE EXTENSION, so that a dump holds only what was added
SELECT pg_catalog.pg_extension_config_dump('salesops.nickname', 'WHERE NOT is_seed');
GRANT SELECT ON salesops.nickname TO PUBLIC;
INSERT INTO salesops.access_right (level, kind, object) VALUES ('reader', 'table', 'salesops.nickname');

-- one line a canonical form: the languages' usual short forms; where a short form serves several names, the most common one has it
INSERT INTO salesops.nickname (name, canonical, is_seed)
SELECT short, canonical, true
FROM (VALUES
  ('abigail', 'abbie abby abi'), ('abraham', 'abe bram'), ('adelaide', 'addie adele'), ('agnes', 'aggie nessa'),
  ('alan', 'al allan allen'), ('albert', 'bert bertie'), ('alberto', 'beto'), ('alejandro', 'ale jandro'),
  ('aleksandr', 'aleksander alexandr oleksandr sanya sasha shura'),
  ('alexander', 'alec aleck alex alexandre lex sandy xander'), ('alexandra', 'lexi lexie'), ('alfred', 'alf alfie'),
  ('alice', 'allie'), ('alison', 'allison'), ('amanda', 'mandy'), ('amelia', 'amy'), ('anastasia', 'nastia nastya stasia'),
  ('andreas', 'andi'), ('andrei', 'andrey andriy'), ('andrew', 'andy drew'), ('angela', 'angie'),
  ('ann', 'anne annie nan nancy'), ('anna', 'ania anja anka anni anya'), ('anthony', 'antony tony'), ('anton', 'antek'),
  ('antonio', 'antonino toni tonio'), ('archibald', 'archie'), ('arnold', 'arnie'), ('arthur', 'artie'),
  ('augustus', 'august gus'), ('barbara', 'babs barb barbie basia'), ('bartholomew', 'bart'),
  ('beatrice', 'bea beatrix trixie'), ('benjamin', 'ben benj benji bennie benny'), ('bernard', 'barney bernie'),
  ('bernhard', 'bernd'), ('boris', 'borya'), ('bradley', 'brad'), ('brian', 'bryan'), ('bridget', 'biddy bridie'),
  ('cameron', 'cam'), ('carmen', 'mamen'), ('caroline', 'caro carol carolyn carrie'), ('cassandra', 'cassie'),
  ('catherine', 'cate cath cathy catie'), ('cecilia', 'cece celia cissy'), ('charles', 'charley charlie chas chaz chuck'),
  ('charlotte', 'char lotte lottie'), ('christina', 'chrissy christa tina'), ('christine', 'chrissie christy kristine'),
  ('christopher', 'chris christoph kit kris topher'), ('claudia', 'claudie'), ('clifford', 'cliff'), ('clinton', 'clint'),
  ('concepcion', 'concha conchita'), ('constance', 'connie'), ('consuelo', 'chelo'), ('cornelius', 'corny'),
  ('curtis', 'curt'), ('cynthia', 'cindy'), ('daniel', 'dan danni danny'), ('danielle', 'dani'),
  ('david', 'dave davey dawid'), ('deborah', 'deb debbie debby debra'), ('dennis', 'denis denny'), ('diana', 'di diane'),
  ('dieter', 'didi'), ('dimitrios', 'dimitris mitsos'), ('dmitriy', 'dima dimitri dmitri dmitry mitya'),
  ('dolores', 'lola lolita'), ('donald', 'don donnie'), ('dorothy', 'dolly dot dottie'), ('douglas', 'doug'),
  ('duncan', 'dunc'), ('edith', 'edie'), ('eduardo', 'edu lalo'), ('edward', 'ed eddie eddy ned ted teddy'),
  ('eleanor', 'elinor ella ellie lenora nell nellie'), ('elena', 'lena lenochka yelena'),
  ('elizabeth', 'bess beth betsy bette betty elisabeth eliza libby lisa liz lizbeth lizzie'), ('emily', 'emmie emmy'),
  ('enrique', 'kike quique'), ('eric', 'erik'), ('ernest', 'ernie'), ('esther', 'essie'), ('eugene', 'gene'),
  ('evelyn', 'eve evie'), ('ezekiel', 'zeke'), ('federico', 'fede'), ('felicity', 'flick fliss'), ('ferdinand', 'ferdy'),
  ('fernando', 'nando'), ('florence', 'flo florrie flossie'), ('frances', 'fran francie franny'), ('francesco', 'checco'),
  ('francis', 'frank'), ('francisco', 'curro kiko paco pancho'), ('franciszek', 'franek'), ('franz', 'franzl'),
  ('frederick', 'fred freddie freddy frederic fredrick'), ('friedrich', 'fiete friedl fritz'), ('gabriel', 'gabe'),
  ('gabriela', 'gabi gabriella gaby'), ('galina', 'galya'), ('geoffrey', 'geoff jeff jeffrey'), ('georg', 'joerg schorsch'),
  ('george', 'geo georgie'), ('georgios', 'giorgos yiorgos'), ('gerald', 'gerry jerry'), ('gerhard', 'gerd gert'),
  ('gertrude', 'gertie trude trudy'), ('gilbert', 'gil'), ('giovanni', 'gianni nanni vanni'),
  ('giuseppe', 'beppe peppe pino'), ('gregory', 'greg gregg'), ('guadalupe', 'lupe lupita'), ('guillermo', 'guille memo'),
  ('gwendolyn', 'gwen wendy'), ('hannah', 'hanna'), ('harriet', 'hattie'), ('heinrich', 'hein heiner heinz'),
  ('helen', 'helena'), ('henrietta', 'etta hettie'), ('henry', 'hal hank harry henri'), ('herbert', 'herb'),
  ('hermann', 'harm'), ('howard', 'howie'), ('ignacio', 'nacho'), ('ignatius', 'iggy'), ('isaac', 'ike zac'),
  ('isabel', 'bella isa isabella isabelle izzy'), ('ivan', 'vanya'), ('jacob', 'jake jakob'),
  ('jacqueline', 'jackie jacqui'), ('james', 'jamie jem jim jimmie jimmy'), ('jan', 'janek jasiek'),
  ('jane', 'janey janie'), ('jean', 'jeannie'), ('jennifer', 'jen jenni jennie jenny'), ('jeremy', 'jez'),
  ('jerzy', 'jurek'), ('jessica', 'jess jessie jessy'), ('jesus', 'chuy'), ('joan', 'joanie'), ('joanna', 'jo joanne'),
  ('joao', 'joaozinho'), ('johann', 'hannes hans hansi johannes'), ('john', 'jack johnnie johnny jon jonny'),
  ('jonathan', 'jonathon'), ('jorge', 'coque'), ('jose', 'chepe pepe zeca'), ('josef', 'josip jupp sepp'),
  ('joseph', 'joe joey jos'), ('josephine', 'fina josie'), ('joshua', 'josh'), ('joyce', 'joy'), ('juan', 'juanito'),
  ('judith', 'judi judy'), ('julia', 'jules julie'), ('justin', 'jus'), ('karl', 'kalle'), ('katarzyna', 'kasia'),
  ('katharina', 'kathe kathi katja katrin'), ('katherine', 'kat kate katharine kathleen kathryn kathy katie kitty'),
  ('kenneth', 'ken kenny'), ('kevin', 'kev'), ('kimberly', 'kim kimberley kimmy'), ('konstantin', 'kosta kostya'),
  ('konstantinos', 'costas dinos kostas'), ('kristina', 'kristen'), ('krzysztof', 'krzys krzysiek'), ('larissa', 'lara'),
  ('laura', 'laurie lori'), ('lawrence', 'larry laurence loren'), ('leonard', 'len lenny leo'), ('leonardo', 'nardo'),
  ('leslie', 'les'), ('leticia', 'lety'), ('lillian', 'lil lilly lily'), ('linda', 'lindy'), ('lorenzo', 'renzo'),
  ('louis', 'lou louie'), ('louise', 'lulu'), ('lucas', 'lukas luke'), ('lucille', 'lucy'), ('ludwig', 'lutz wiggerl'),
  ('luis', 'lucho'), ('lyudmila', 'ludmila lyuda lyudochka'), ('madeleine', 'maddie maddy madeline madelyn'),
  ('malgorzata', 'gosia malgosia'), ('manuel', 'manny manolo'), ('marcus', 'marc'),
  ('margaret', 'greta madge maggie maisie marge margie meg peggy'), ('margarete', 'gretchen grete gretel'),
  ('maria', 'maja mariya marusya marysia masha'), ('mariana', 'mari'), ('martin', 'marty'), ('mary', 'mamie molly polly'),
  ('mathilde', 'tilda tilde'), ('matilda', 'mattie tilly'), ('matthew', 'mat matt matty'), ('matthias', 'matthi matze'),
  ('maureen', 'mo'), ('maurice', 'moe'), ('maximilian', 'max maxi'), ('melanie', 'mel'), ('melissa', 'lissa missy'),
  ('mercedes', 'merche'), ('michael', 'mick mickey micky mikael mike mikey'), ('michal', 'michas'), ('michel', 'michou'),
  ('michele', 'michelle shelly'), ('mikhail', 'mihail misha'), ('mildred', 'millie'), ('miriam', 'mimi'),
  ('mitchell', 'mitch'), ('mohammed', 'mhmd mohamad mohamed mohammad muhammad muhammed'), ('montgomery', 'monty'),
  ('nadezhda', 'nadya'), ('natalia', 'nat natalie nataliya natalya natasha'), ('nathaniel', 'nate nathanael'),
  ('nicholas', 'nick nicky nico nicolas nikolas'), ('nicole', 'nikki'), ('nikolai', 'kolya mykola nikolay'),
  ('nikolaos', 'nikos'), ('nikolaus', 'claus klaus niklas'), ('norman', 'norm'), ('oleg', 'olezhka'), ('olga', 'olya'),
  ('oliver', 'ollie olly'), ('olivia', 'liv livvy'), ('oscar', 'ozzie'), ('oswald', 'oz'), ('otto', 'ott'),
  ('pamela', 'pam pammy'), ('panagiotis', 'panos takis'), ('patricia', 'pat patsy patti patty tricia trish'),
  ('patrick', 'paddy'), ('paul', 'pablo paolo paulie pavel'), ('pedro', 'perico'), ('penelope', 'penny'),
  ('peter', 'pete petey'), ('philip', 'phil phillip pip'), ('philippa', 'pippa'), ('priscilla', 'cilla prissy'),
  ('prudence', 'prue'), ('pyotr', 'petr petro petya'), ('rachel', 'rach rae'), ('rafael', 'rafa'), ('ralph', 'rafe'),
  ('ramon', 'moncho'), ('randall', 'randy'), ('randolph', 'dolph'), ('raymond', 'ray'),
  ('rebecca', 'becca becki becky bex'), ('reginald', 'reg reggie'), ('reinhard', 'reiner'), ('ricardo', 'riccardo'),
  ('richard', 'dick dickie rich richie rick ricky ritchie'), ('robert', 'bob bobby rob robbie robby'),
  ('roberta', 'bobbi bobbie robbi'), ('roberto', 'berto'), ('roderick', 'roddy'), ('rodney', 'rod'),
  ('roger', 'rodger rog'), ('roland', 'rolly'), ('ronald', 'ron ronnie ronny'), ('rosario', 'charo'),
  ('rosemary', 'romy rose rosie'), ('rudolf', 'rolf rudi'), ('rudolph', 'rudy'), ('russell', 'russ rusty'),
  ('ruth', 'ruthie'), ('salvatore', 'sal toto turi'), ('samantha', 'sammie'), ('samuel', 'sam sammy'), ('sandra', 'sandie'),
  ('sarah', 'sadie sally sara'), ('sebastian', 'basti bastian seb'), ('sergei', 'sergey serhiy seryozha'),
  ('sharon', 'shari'), ('sidney', 'sid syd sydney'), ('siegfried', 'sigi'), ('simon', 'si'),
  ('sofia', 'sofiya sonya zosia'), ('sophia', 'sonia sophie'), ('stanislav', 'slava stas'), ('stanislaw', 'stach staszek'),
  ('stanley', 'stan'), ('stephanie', 'stefanie steffi steph stephie'), ('stephen', 'stefan stephan steve steven stevie'),
  ('stuart', 'stewart stu'), ('susan', 'sue susie suzie suzy'), ('susanna', 'sanna susanne susi'),
  ('svetlana', 'lana sveta'), ('sylvester', 'sly'), ('sylvia', 'silvia syl'), ('tabitha', 'tabby'), ('tadeusz', 'tadek'),
  ('tamara', 'tammy toma'), ('tatiana', 'tania tanya tatyana'), ('terence', 'tel terrence terry'), ('teresa', 'resi tere'),
  ('theodore', 'theo'), ('theresa', 'terri tess tessa therese'), ('thomas', 'thom tom tomas tomasz tomek tommy'),
  ('timothy', 'tim timmy'), ('tobias', 'tobi toby'), ('ulrich', 'uli ulli'), ('ursula', 'ulla uschi'),
  ('valentina', 'valya'), ('valerie', 'val'), ('vasilios', 'vasilis'), ('vasiliy', 'vasili vasily vasya'),
  ('veronica', 'roni vero'), ('victor', 'vic viktor'), ('victoria', 'tori vicki vickie vicky viktoria'),
  ('vincent', 'vince vinny'), ('vincenzo', 'enzo'), ('virginia', 'ginger ginnie ginny'),
  ('vladimir', 'vlad volodya volodymyr vova'), ('walter', 'wally walt'), ('wilhelm', 'helmut willi wim'),
  ('wilhelmina', 'mina minnie'), ('william', 'bill billy will willie willy wm'), ('winifred', 'freda winnie'),
  ('wojciech', 'wojtek'), ('wolfgang', 'wolf wolfi'), ('yekaterina', 'ekaterina katia katya'),
  ('yevgeniy', 'evgeni evgeniy evgeny yevgeni zhenya'), ('yuriy', 'iurii jurij yura yuri'), ('yvonne', 'vonnie'),
  ('zachary', 'zach zack zak')
) AS v (canonical, shorts), pg_catalog.unnest(pg_catalog.string_to_array(shorts, ' ')) AS short;

CREATE FUNCTION salesops.nickname_guard() RETURNS trigger
  LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'salesops_nickname_guard';
COMMENT ON FUNCTION salesops.nickname_guard() IS
  'trigger on salesops.nickname: brings names into the form they are looked up by, and keeps the seeded rows as they are';
CREATE TRIGGER nickname_guard BEFORE INSERT OR UPDATE OR DELETE ON salesops.nickname
  FOR EACH ROW EXECUTE FUNCTION salesops.nickname_guard();

CREATE FUNCTION salesops.canonical_first_name(text) RETURNS text
  LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 100
  RETURN coalesce((SELECT n.canonical FROM salesops.nickname AS n WHERE n.name = salesops.normalize_name($1) ORDER BY n.is_seed LIMIT 1),
                  salesops.normalize_name($1));
COMMENT ON FUNCTION salesops.canonical_first_name(text) IS
  'the given name that a short form stands for (Bill: william), by salesops.nickname; a name that is not there, normalised';
