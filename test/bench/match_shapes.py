#!/usr/bin/env python3
"""Default options on generated tables of many shapes, beside match_unseen.py (which runs and prints them): what a CRM holds, and what
the size, the share of duplicates and the columns do to it. Each entity is made from a word stock with a Zipf-like tail, each copy as another
hand would enter it; related entities (families, colleagues, subsidiaries, sizes of an article) are other entities. SEED (90210) makes others,
SETS="name name" runs some only.

 - b2b: accounts with legal forms, web address, phone in many formats, industry, head count; branches elsewhere of the same name and domain
 - family: contacts with nicknames, swapped names, moved house, married names, families that share street and phone
 - hubspot: leads by form fill-in: e-mail, full name in one column, company, phone, source, owner, time of creation
 - clean: two tables of people without duplicates inside, one to one, of which two thirds are in both
 - catalogue: articles with model numbers and long titles of two shops, siblings by colour and capacity
 - textdates: people whose birthday stands as text in five forms
 - three: first name, last name, town
 - wide: thirty columns of which most are empty most of the time
 - small: 200 people; half: every second record a duplicate; rare: 0.5 % duplicates; crowd: up to twenty records an entity
 - orgs: one column of organisations' names; invoices: companies by name and town, whose names share most of their words
 - papers: titles, authors, venue, year: long texts
"""
import os
import random
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import match_unseen as unseen  # noqa: E402
from match_unseen import Rows, by_entity, typo  # noqa: E402

SEED = int(os.environ.get("SEED", "90210"))
ONSETS = "b br c ch d f fr g gr h j k kl l m n p pr r s sch st t tr v w z".split()
VOWELS = "a e i o u ai ei ie oo".split()
CODAS = "l n r s t ck ld mm nd rn rt ss tt x".split()
ENDINGS = ["", "", "er", "son", "man", "ova", "ini", "ez", "ski", "berg", "ley", "ard", "eau"]
NICKNAMES = {"william": "bill", "robert": "bob", "richard": "dick", "elizabeth": "liz", "margaret": "peggy", "james": "jim", "john": "jack",
             "michael": "mike", "jennifer": "jen", "patricia": "pat", "thomas": "tom", "joseph": "joe", "katherine": "kate", "susan": "sue",
             "charles": "chuck", "edward": "ted", "deborah": "deb", "rebecca": "becky", "samuel": "sam", "benjamin": "ben", "anthony": "tony"}
TOWNS = ["Alder", "Birch", "Cold", "Deep", "East", "Fox", "Glen", "High", "Iron", "Lake", "Mill", "North", "Old", "Pine", "Red", "Stone"]
TOWN_ENDS = ["field", "ford", "bury", "ton", "port", "dale", "wick", "mouth"]
ROADS = ["Street", "Road", "Avenue", "Lane", "Drive", "Way"]
FORMS = ["Ltd", "Limited", "Inc.", "LLC", "GmbH", "AG", "B.V.", "S.A.", "SAS", "PLC", "Oy", "AB", "S.r.l.", "Corp."]
TRADES = ["Logistics", "Software", "Foods", "Energy", "Consulting", "Partners", "Systems", "Medical", "Insurance", "Trading", "Services", "Technologies",
          "Engineering", "Media", "Capital", "Motors", "Solutions", "Group", "Industries", "International"]
INDUSTRIES = ["Retail", "Manufacturing", "Health", "Finance", "Transport", "IT", "Education", "Energy"]


class Words:
    """A stock of invented words, of which a few are common and most are rare."""

    def __init__(self, rng, size, exponent):
        self.rng, self.words, seen = rng, [], set()
        while len(self.words) < size:
            word = rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS)
            if rng.random() < 0.5:
                word += rng.choice(VOWELS) + rng.choice(CODAS)
            word += rng.choice(ENDINGS)
            if word not in seen:
                seen.add(word)
                self.words.append(word)
        self.weights, total = [], 0.0
        for i in range(size):
            total += (i + 3) ** -exponent
            self.weights.append(total)

    def draw(self):
        return self.rng.choices(self.words, cum_weights=self.weights)[0]


class World:
    """What people and companies are made of."""

    def __init__(self, offset):
        self.rng = random.Random(SEED * 100 + offset)
        self.surnames = Words(self.rng, 4000, 0.9)
        self.brands = Words(self.rng, 3000, 0.6)
        self.firsts = list(unseen.FIRST)
        self.mailboxes = set()
        self.towns = [(a + b, f"{self.rng.randrange(10, 99)}{self.rng.randrange(100):03}") for a in TOWNS for b in TOWN_ENDS]

    def first(self):
        return self.firsts[min(int(self.rng.expovariate(1 / 25)), len(self.firsts) - 1)].capitalize()

    def last(self):
        return self.surnames.draw().capitalize()

    def date(self, low=1935, high=2004):
        return f"{self.rng.randrange(low, high)}-{self.rng.randrange(1, 13):02}-{self.rng.randrange(1, 29):02}"

    def phone(self):
        return f"{self.rng.randrange(200, 990)}{self.rng.randrange(200, 999)}{self.rng.randrange(10000):04}"

    def home(self):
        town, code = self.rng.choice(self.towns)
        return {"street": f"{self.rng.randrange(1, 400)} {self.brands.draw().capitalize()} {self.rng.choice(ROADS)}", "city": town,
                "postcode": code[:3] + f"{self.rng.randrange(100):02}", "phone": self.phone()}

    def person(self, home=None, last=None):
        first, last = self.first(), last or self.last()
        number = self.rng.choice(["", "", str(self.rng.randrange(100))])
        name = self.rng.choice([f"{first}.{last}", f"{first[0]}{last}", f"{first}{number}", f"{last}{self.rng.randrange(1000)}"]).lower()
        host = self.rng.choice(["gmail.com", "yahoo.com", "outlook.com", self.brands.draw() + ".net"])
        mail, tries = f"{name}@{host}", 1
        while mail in self.mailboxes:
            mail, tries = f"{name}{tries + 1}@{host}", tries + 1
        self.mailboxes.add(mail)
        return dict(home or self.home(), first_name=first, last_name=last, born=self.date(), email=mail)

    def dial(self, number):
        a, b, c = number[:3], number[3:6], number[6:]
        return self.rng.choice([number, f"({a}) {b}-{c}", f"{a}-{b}-{c}", f"+1 {a} {b} {c}", f"{a}.{b}.{c}"])

    def copy(self, record, typos=0.06, gaps=0.08, keep=()):
        """As another hand enters it."""
        made = {}
        for column, value in record.items():
            value = str(value)
            if column not in keep and self.rng.random() < gaps:
                value = ""
            elif column not in keep and value and self.rng.random() < typos:
                value = typo(self.rng, value)
            made[column] = value
        return made

    def company(self):
        kind = self.rng.random()
        a, b, trade = self.brands.draw().capitalize(), self.brands.draw().capitalize(), self.rng.choice(TRADES)
        name = f"{a} {trade}" if kind < 0.5 else f"{a} {b}" if kind < 0.65 else f"{a} & {b}" if kind < 0.8 else a if kind < 0.9 else f"{a} {trade} {self.rng.choice(TRADES)}"
        return name

    def spelt(self, name, form):
        """A company's name as someone writes it."""
        forms = [form, form, "", form.replace(".", ""), self.rng.choice(FORMS) if self.rng.random() < 0.1 else form]
        name = self.rng.choice([name, name, name, name.upper(), name.replace("&", "and"), name.replace(" & ", " + "), f"The {name}" if self.rng.random() < 0.2 else name])
        return f"{name} {self.rng.choice(forms)}".strip()


COPIES = [0, 0, 0, 0, 1, 1, 2]


def b2b():
    w = World(1)
    rng, made, entity = w.rng, Rows(["account_name", "website", "phone", "billing_street", "billing_city", "billing_postcode", "industry", "employees", "owner"]), 0
    while len(made.rows) < 7000:
        entity += 1
        name, form, home = w.company(), rng.choice(FORMS), w.home()
        domain = "".join(c for c in name.lower() if c.isalnum()) + rng.choice([".com", ".com", ".net", ".io", ".de", ".co.uk"])
        base = {"account_name": f"{name} {form}", "website": rng.choice(["www.", "https://www.", "http://", ""]) + domain, "phone": w.dial(home["phone"]), "billing_street": home["street"],
                "billing_city": home["city"], "billing_postcode": home["postcode"], "industry": rng.choice(INDUSTRIES), "employees": rng.choice([5, 10, 20, 50, 100, 250, 1000])}
        made.add(entity, dict(base, owner=f"rep{rng.randrange(12)}"))
        for _ in range(rng.choice(COPIES)):
            again = w.copy(base, gaps=0.2)
            again["account_name"] = w.spelt(name, form) if rng.random() < 0.7 else typo(rng, base["account_name"])
            if again["website"]:
                again["website"] = rng.choice(["www.", "https://www.", "http://", ""]) + domain + rng.choice(["", "", "/", "/contact"])
            if again["phone"] == base["phone"]:
                again["phone"] = w.dial(home["phone"])
            if rng.random() < 0.1:
                moved = w.home()
                again.update(billing_street=moved["street"], billing_city=moved["city"], billing_postcode=moved["postcode"])
            if rng.random() < 0.3:
                again["employees"] = str(rng.choice([5, 10, 20, 50, 100, 250, 1000]))
            made.add(entity, dict(again, owner=f"rep{rng.randrange(12)}"))
        for _ in range(rng.choice([0] * 12 + [1, 2])):
            # a branch: an account of its own
            entity += 1
            other = w.home()
            made.add(entity, dict(base, account_name=f"{name} {other['city']} {form}", phone=w.dial(other["phone"]), billing_street=other["street"], billing_city=other["city"],
                                  billing_postcode=other["postcode"], owner=f"rep{rng.randrange(12)}"))
    return made.table()


PEOPLE = ["first_name", "last_name", "born", "street", "city", "postcode", "phone", "email"]


def people(offset, size, copies, columns=PEOPLE, families=(1, 1, 1, 2, 3, 4), dates=None, typos=0.06, gaps=0.08, moves=0.08):
    """People of families with copies; dates writes a date as someone would."""
    w = World(offset)
    rng, made, entity = w.rng, Rows(columns), 0
    while len(made.rows) < size:
        home, last = w.home(), w.last()
        for _ in range(rng.choice(families)):
            entity += 1
            base = w.person(home, last if rng.random() < 0.9 else None)
            if rng.random() < 0.4:
                base["phone"] = w.phone()
            made.add(entity, dict(base, born=dates(rng, base["born"]) if dates else base["born"]))
            for _ in range(rng.choice(copies)):
                again = w.copy(base, typos, gaps)
                if rng.random() < 0.15:
                    again["first_name"] = NICKNAMES.get(again["first_name"].lower(), again["first_name"][:1] + ".").capitalize()
                if rng.random() < 0.03:
                    again["first_name"], again["last_name"] = again["last_name"], again["first_name"]
                if rng.random() < moves:
                    again.update(w.home(), phone=again["phone"])
                if rng.random() < 0.03:
                    again["last_name"] = w.last()
                if again["phone"] == base["phone"]:
                    again["phone"] = w.dial(base["phone"])
                if dates and again["born"] == base["born"]:
                    again["born"] = dates(rng, base["born"])
                made.add(entity, again)
    return made.table()


def hubspot():
    w = World(3)
    rng, made, entity = w.rng, Rows(["email", "full_name", "company", "phone", "source", "owner", "created_at"]), 0
    companies = [(w.company(), rng.choice(FORMS)) for _ in range(1500)]
    while len(made.rows) < 6000:
        entity += 1
        person, (company, form) = w.person(), rng.choice(companies)
        first, last = person["first_name"], person["last_name"]
        domain = "".join(c for c in company.lower() if c.isalnum()) + ".com"
        work = rng.choice([f"{first}.{last}", f"{first[0]}{last}", f"{last}"]).lower() + "@" + domain
        for _ in range(1 + rng.choice(COPIES)):
            name = rng.choice([f"{first} {last}", f"{first} {last}", f"{last}, {first}", f"{first[0]}. {last}", f"{NICKNAMES.get(first.lower(), first).capitalize()} {last}"])
            row = w.copy({"email": work if rng.random() < 0.75 else person["email"], "full_name": name, "company": w.spelt(company, form), "phone": w.dial(person["phone"])}, gaps=0.15)
            made.add(entity, dict(row, source=rng.choice(["web", "event", "referral", "ads"]), owner=f"rep{rng.randrange(8)}",
                                  created_at=f"{w.date(2022, 2026)} {rng.randrange(24):02}:{rng.randrange(60):02}:{rng.randrange(60):02}"))
    return made.table()


def clean():
    w = World(4)
    left, right = Rows(PEOPLE, "l"), Rows(PEOPLE, "r")
    for entity in range(4000):
        person = w.person()
        if w.rng.random() < 0.8:
            left.add(entity, person)
        if w.rng.random() < 0.8:
            right.add(entity, w.copy(person, typos=0.1, gaps=0.15))
    return by_entity(left.table(), right.table())


def catalogue():
    w = World(5)
    rng, shop, other = w.rng, Rows(["name", "manufacturer", "price", "description"], "a"), Rows(["name", "manufacturer", "price", "description"], "b")
    nouns = ["LCD TV", "Digital Camera", "Inkjet Printer", "Bluetooth Headset", "Hard Drive", "Memory Card", "Car Stereo", "Microwave Oven", "Dishwasher", "Notebook Case"]
    words = "compact black silver portable series high speed with remote control energy star wall mount stainless steel front loading wireless usb power zoom".split()
    makers = [w.brands.draw().capitalize() for _ in range(60)]
    entity = 0
    for _ in range(1100):
        maker, noun, line = rng.choice(makers), rng.choice(nouns), rng.choice("ABCDKLMST") + rng.choice("CDEHRSX") + str(rng.randrange(10, 999))
        text = " ".join(rng.sample(words, 6))
        for variant in rng.sample(["Black", "Silver", "White", "8GB", "16GB", "Red"], rng.choice([1, 1, 1, 2])):
            entity += 1
            price = rng.randrange(20, 900) + 0.99
            code = f"{line}{variant[0]}"
            if rng.random() < 0.85:
                shop.add(entity, {"name": f"{maker} {noun} {variant} - {code}", "manufacturer": maker if rng.random() < 0.6 else "", "price": f"{price:.2f}" if rng.random() < 0.7 else "",
                                  "description": f"{maker} {noun} {code} {text} {variant}" if rng.random() < 0.9 else ""})
            if rng.random() < 0.85:
                title = [maker, code if rng.random() < 0.9 else line, variant if rng.random() < 0.7 else "", noun, rng.choice(words), rng.choice(["", rng.choice(words)])]
                shuffled = title[:2] + rng.sample(title[2:], len(title) - 2)
                other.add(entity, {"name": " ".join(t for t in shuffled if t), "manufacturer": maker if rng.random() < 0.8 else "", "price": f"{price * rng.choice([1, 0.9, 1.05]):.2f}",
                                   "description": " ".join(rng.sample(words, 5)) if rng.random() < 0.5 else ""})
    return by_entity(shop.table(), other.table())


MONTHS = "January February March April May June July August September October November December".split()


def written_date(rng, iso):
    year, month, day = iso.split("-")
    return rng.choice([f"{day}.{month}.{year}", f"{day}.{month}.{year}", f"{month}/{day}/{year}", f"{int(day)} {MONTHS[int(month) - 1]} {year}", f"{MONTHS[int(month) - 1][:3]} {int(day)}, {year}", iso])


def wide():
    w = World(7)
    extra = [f"custom_{i}" for i in range(22)]
    rng, made, entity = w.rng, Rows(PEOPLE + extra), 0
    while len(made.rows) < 5000:
        entity += 1
        base = w.person()
        base.update({c: rng.choice(["yes", "no", "n/a"]) if i % 3 == 0 else f"{w.brands.draw()} {w.brands.draw()}" if i % 3 == 1 else str(rng.randrange(10 ** (1 + i % 5)))
                     for i, c in enumerate(extra) if rng.random() < 0.07})
        for n in range(1 + rng.choice(COPIES)):
            row = w.copy(base, gaps=0.3) if n else w.copy(base, 0, 0.25)
            if not (row["last_name"] or row["email"] or row["phone"]):
                row["last_name"] = base["last_name"]
            made.add(entity, row)
    return made.table()


def orgs():
    w = World(8)
    rng, made = w.rng, Rows(["organisation"])
    for entity in range(2500):
        name, form = w.company(), rng.choice(FORMS)
        for n in range(1 + rng.choice(COPIES)):
            spelt = w.spelt(name, form)
            made.add(entity, {"organisation": typo(rng, spelt) if rng.random() < 0.2 else spelt})
    return made.table()


def invoices():
    w = World(9)
    rng, made = w.rng, Rows(["supplier", "town"])
    kinds = ["Building Services", "Facility Management", "Office Supplies", "Cleaning Services", "Security Services", "Catering Services", "Engineering Consultants", "Property Management"]
    for entity in range(3000):
        town = rng.choice(w.towns)[0]
        a = w.brands.draw().capitalize() if rng.random() < 0.8 else f"{w.brands.draw().capitalize()} & {w.last()}"
        name, form = f"{a} {rng.choice(kinds)}", rng.choice(FORMS)
        for n in range(1 + rng.choice(COPIES)):
            spelt = w.spelt(name, form)
            made.add(entity, {"supplier": typo(rng, spelt) if rng.random() < 0.15 else spelt, "town": town if rng.random() < 0.85 else rng.choice(["", rng.choice(w.towns)[0]])})
    return made.table()


def papers():
    w = World(10)
    rng, made = w.rng, Rows(["title", "authors", "venue", "year"])
    vocabulary = Words(rng, 900, 1.0)
    writers = [(w.first(), w.last()) for _ in range(1200)]
    venues = [("International Conference on " + " ".join(vocabulary.draw().capitalize() for _ in range(3)), "".join(rng.choice("ABCDEFGIKLMPRSTV") for _ in range(4))) for _ in range(25)]
    for entity in range(2200):
        title = " ".join(vocabulary.draw() for _ in range(rng.randrange(4, 11))).capitalize()
        authors, (venue, short), year = rng.sample(writers, rng.choice([1, 2, 2, 3, 4])), rng.choice(venues), rng.randrange(1985, 2024)
        for n in range(1 + rng.choice([0, 0, 1, 1, 2, 3])):
            style = rng.randrange(3)
            names = [f"{f} {l}" if style == 0 else f"{f[0]}. {l}" if style == 1 else f"{l}, {f[0]}." for f, l in authors]
            made.add(entity, {"title": title if rng.random() < 0.7 else typo(rng, title) if rng.random() < 0.7 else title.rsplit(" ", 2)[0], "authors": rng.choice([", ", " and "]).join(names if rng.random() < 0.85 else names[:1]),
                              "venue": rng.choice([venue, short, f"Proc. {short}", f"{short} {year}", ""]), "year": str(year) if rng.random() < 0.85 else rng.choice(["", str(year + 1)])})
    return made.table()


SETS = {
    "b2b": b2b,
    "family": lambda: people(2, 8000, COPIES),
    "hubspot": hubspot,
    "clean": clean,
    "catalogue": catalogue,
    "textdates": lambda: people(6, 5000, COPIES, dates=written_date),
    "three": lambda: people(11, 5000, COPIES, columns=["first_name", "last_name", "city"], families=(1,), moves=0.02),
    "three-dob": lambda: people(12, 5000, COPIES, columns=["last_name", "born", "postcode"], families=(1, 1, 2)),
    "wide": wide,
    "small": lambda: people(13, 200, COPIES),
    "half": lambda: people(14, 6000, [1], families=(1, 1, 2, 3)),
    "rare": lambda: people(15, 8000, [0] * 199 + [1]),
    "crowd": lambda: people(16, 6000, [0, 1, 2, 4, 8, 12, 19]),
    "orgs": orgs,
    "invoices": invoices,
    "papers": papers,
}
ONE_TO_ONE = {"clean"}

if __name__ == "__main__":
    unseen.SETS.clear()
    unseen.SETS.update(SETS)
    unseen.ONE_TO_ONE = ONE_TO_ONE
    sys.exit(unseen.main())
