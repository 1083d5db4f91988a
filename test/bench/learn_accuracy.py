"""Accuracy with default options against scikit-learn, XGBoost and LightGBM: same rows, same split, same run.

Folds 0-6 of md5(key) train, 7-9 test, as ../shared/data/README.md says. The peers get what a careful user gives them: one-hot levels of
at least 10 training rows, medians and missing flags for logistic regression; XGBoost with 300 trees of depth 5 at .05, LightGBM's
defaults. A difference counts only beyond the noise of a paired bootstrap (500 draws of the test rows). Data sets that
are not there are left out, and said so. SEEDS=12: x-education alone, and how its figures vary with the seeds 1 to 12; SEEDS="3 4": by those.
"""
import csv, io, os, subprocess, sys, time

try:
    import numpy as np
    import lightgbm, xgboost
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss, roc_auc_score
    from sklearn.preprocessing import StandardScaler
except ImportError as e:
    sys.exit(f"# peers are not installed ({e}): pip install -r test/bench/requirements-learn.txt")

DATA = os.environ.get("SALESOPS_DATA", "../shared/data")
LEAKS = ["Tags", "Lead Quality", "Lead Profile", "Last Notable Activity", "Asymmetrique Activity Index", "Asymmetrique Profile Index",
         "Asymmetrique Activity Score", "Asymmetrique Profile Score"]


def psql(sql, stdin=None):
    done = subprocess.run(["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-c", sql], input=stdin, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout


def quote(name):
    return '"' + name.replace('"', '""') + '"'


def load(table, path):
    with open(os.path.join(DATA, path), encoding="utf-8-sig") as f:
        text = f.read()
    head = next(csv.reader(io.StringIO(text)))
    psql(f"DROP TABLE IF EXISTS {table}; CREATE TABLE {table} ({', '.join(quote(c) + ' text' for c in head)})")
    psql(f"COPY {table} FROM STDIN CSV HEADER", text)


def rows_of(sql):
    return list(csv.DictReader(io.StringIO(psql(f"COPY ({sql}) TO STDOUT CSV HEADER"))))


def number(text):
    try:
        return float(text)
    except ValueError:
        return None


def encode(train, test, columns):
    """float columns as they are (NaN missing), others one-hot; dates as days"""
    import datetime
    out_train, out_test, numeric = [], [], []
    for c in columns:
        present = [r[c].strip() for r in train if r[c].strip() != ""]
        # an array's elements stand each on its own
        array = len(present) > 0 and all(v[0] == "{" and v[-1] == "}" for v in present) and any("," in v for v in present)
        if len(set(present)) < 2 or (not array and len(set(present)) >= 0.95 * len(present) and len(set(present)) > 50 and
                                     not (all(number(v) is not None for v in present) and any("." in v for v in present))):
            continue
        def as_number(v):
            v = v.strip()
            if len(v) >= 10 and v[4] == "-":
                try:
                    return datetime.datetime.fromisoformat(v).replace(tzinfo=datetime.timezone.utc).timestamp() / 86400
                except ValueError:
                    return None
            return number(v)
        if all(as_number(v) is not None for v in present):
            get = lambda r: as_number(r[c]) if r[c].strip() != "" else float("nan")
            out_train.append([get(r) for r in train]); out_test.append([get(r) for r in test]); numeric.append(True)
            continue
        held = lambda r: set(r[c].strip()[1:-1].split(",")) if array else {r[c].strip()}
        counts = {}
        for r in train:
            for level in held(r):
                counts[level] = counts.get(level, 0) + 1
        for level, n in sorted(counts.items()):
            if n >= 10:
                out_train.append([float(level in held(r)) for r in train])
                out_test.append([float(level in held(r)) for r in test]); numeric.append(False)
    return np.array(out_train).T, np.array(out_test).T, np.array(numeric)


def ece(p, y):
    b = np.minimum((p * 10).astype(int), 9)
    return sum(abs(p[b == i].sum() - y[b == i].sum()) for i in range(10)) / len(y)


def top(p, y):
    k = int(np.ceil(len(y) / 10 - 1e-9))
    return y[np.argsort(-p, kind="stable")[:k]].mean()


def auc(p, y):
    """Mann-Whitney with ties half: quick enough for a bootstrap"""
    order = np.argsort(p, kind="stable")
    _, first, counts = np.unique(p[order], return_index=True, return_counts=True)
    ranks = np.repeat(first + (counts + 1) / 2, counts)
    positives = y[order] > 0
    n = positives.sum()
    return (ranks[positives].sum() - n * (n + 1) / 2) / (n * (len(y) - n)) if 0 < n < len(y) else np.nan


def paired(p, ours, y):
    """differences (peer's loss less ours, our AUC less the peer's) with 95 % of a paired bootstrap: above 0 is better here"""
    rng = np.random.default_rng(1)
    losses = lambda q: -(y * np.log(np.clip(q, 1e-15, 1)) + (1 - y) * np.log(np.clip(1 - q, 1e-15, 1)))
    d = losses(p) - losses(ours)
    draws = [rng.integers(0, len(d), len(d)) for _ in range(500)]
    won = np.array([(d[i].mean(), auc(ours[i], y[i]) - auc(p[i], y[i])) for i in draws])
    return [(at, *np.nanpercentile(won[:, k], [2.5, 97.5])) for k, at in enumerate((d.mean(), auc(ours, y) - auc(p, y)))]


def show(name, p, y, seconds, ours=None):
    """prints a line; returns {"loss": ..., "auc": ...}, each "better", "WORSE" or "noise", where ours are given"""
    verdicts, text = {}, ""
    if ours is not None:
        for what, (at, low, high) in zip(("loss", "auc"), paired(p, ours, y)):
            verdicts[what] = "better" if low > 0 else "WORSE" if high < 0 else "noise"
            text += f"  {what} {verdicts[what]} ({at:+.4f}, 95 % {low:+.4f} to {high:+.4f})"
    print(f"  {name:<12} AUC {roc_auc_score(y, p):.4f}  log loss {log_loss(y, p):.4f}  ECE {ece(p, y):.4f}  top tenth {top(p, y):.3f}"
          f"  {seconds:6.1f} s{text}", flush=True)
    return verdicts


def add_folds(table, key, fold=None):
    """by md5 of the key, or by an expression of SQL"""
    psql(f"ALTER TABLE {table} ADD COLUMN fold integer")
    psql(f"UPDATE {table} SET fold = " + (fold or f"('x' || substr(md5({quote(key)}::text), 1, 8))::bit(32)::bigint % 10"))


def run(title, table, key, label, positive, leave, folds=7, fold=None):
    """folds of ten train, the others test; returns each peer's verdicts"""
    add_folds(table, key, fold)
    columns = [c for c in psql(f"SELECT attname FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attnum > 0 AND NOT attisdropped").split("\n")
               if c and c not in leave + ["fold", label]]
    listed = ", ".join(quote(c) for c in columns)
    select = f"SELECT {listed}, {quote(label)} = '{positive}' AS label FROM {table} WHERE fold"
    train, test = rows_of(select + f" < {folds}"), rows_of(select + f" >= {folds} ORDER BY " + quote(key))
    y, t = (np.array([r["label"] == "t" for r in rows]).astype(float) for rows in (train, test))
    print(f"{title}: {len(train)} rows to train, {len(test)} to test, base rate {t.mean():.3f}")
    start = time.time()
    psql(f"""SELECT salesops.train_model('{table}', $q${select} < {folds}$q$, 'label', key => '{key}', options => '{{"force": true}}')""")
    seconds = time.time() - start
    result = dict(line.split("|") for line in psql(f"SELECT key, probability FROM salesops.predict_batch('{table}', $q${select} >= {folds}$q$, '{key}')").split("\n") if line)
    ours = np.array([float(result[r[key]]) for r in test])
    show("salesops", ours, t, seconds)
    x, z, numeric = encode(train, test, columns)
    start = time.time()
    median = np.nanmedian(x, axis=0)
    fill = lambda m: np.hstack([np.where(np.isnan(m), median, m), np.isnan(m[:, numeric]).astype(float)])
    scaler = StandardScaler().fit(fill(x))
    model = LogisticRegression(C=1, max_iter=2000).fit(scaler.transform(fill(x)), y)
    verdicts = {}
    verdicts["scikit-learn"] = show("scikit-learn", model.predict_proba(scaler.transform(fill(z)))[:, 1], t, time.time() - start, ours)
    start = time.time()
    model = xgboost.XGBClassifier(n_estimators=300, max_depth=5, learning_rate=0.05, n_jobs=1).fit(x, y)
    verdicts["XGBoost"] = show("XGBoost", model.predict_proba(z)[:, 1], t, time.time() - start, ours)
    start = time.time()
    model = lightgbm.LGBMClassifier(n_jobs=1, verbose=-1).fit(x, y)
    import warnings
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        verdicts["LightGBM"] = show("LightGBM", model.predict_proba(z)[:, 1], t, time.time() - start, ours)
    return verdicts


def seeds(title, table, key, label, positive, leave, numbers):
    """
    how much of the figures is the luck of the deal: the same by several seeds; the ECE of probabilities that are right; and the ECE out
    of fold on the training rows, which is what a calibrator could learn from
    """
    add_folds(table, key)
    columns = [c for c in psql(f"SELECT attname FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attnum > 0 AND NOT attisdropped").split("\n")
               if c and c not in leave + ["fold", label]]
    select = f"SELECT {', '.join(quote(c) for c in columns)}, {quote(label)} = '{positive}' AS label FROM {table} WHERE fold"
    figures = []
    for seed in numbers:
        psql(f"""SELECT salesops.train_model('seeds', $q${select} < 7$q$, 'label', key => '{key}', options => '{{"seed": {seed}, "force": true}}')""")
        line = psql(f"SELECT e.roc_auc, e.log_loss, e.ece, e.precision_at_10, m.ece, m.precision_at_10 FROM salesops.model m, "
                    f"salesops.evaluate_model('seeds', $q${select} >= 7$q$, 'label') e WHERE m.name = 'seeds' AND m.active")
        figures.append([float(v) for v in line.strip().split("|")])
    p = np.array([float(v) for v in psql(f"SELECT probability FROM salesops.predict_batch('seeds', $q${select} >= 7$q$, '{key}')").split()])
    rng = np.random.default_rng(1)
    right = np.array([ece(p, (rng.random(len(p)) < p).astype(float)) for _ in range(1000)])
    print(f"{title}, seeds {' '.join(map(str, numbers))}:")
    for name, v in zip(("AUC", "log loss", "ECE", "top tenth", "ECE out of fold, training rows", "top tenth out of fold, training rows"), np.array(figures).T):
        print(f"  {name:<10} {v.min():.4f} to {v.max():.4f}, median {np.median(v):.4f}: {' '.join(f'{x:.4f}' for x in v)}")
    print(f"  ECE of probabilities that are right, on labels drawn from them: {right.mean():.4f}, standard deviation {right.std():.4f}, "
          f"{100 * (right <= 0.02).mean():.0f} % of draws at .02 or less", flush=True)


def main():
    if not os.path.isdir(os.path.join(DATA, "telco-churn")):
        sys.exit(f"# no data sets in {DATA}: set SALESOPS_DATA")
    load("x_education", "x-education/Leads.csv")
    if os.environ.get("SEEDS"):
        given = [int(s) for s in os.environ["SEEDS"].split()]
        seeds("x-education without its leaks", "x_education", "Lead Number", "Converted", "1", LEAKS, given if len(given) > 1 else range(1, given[0] + 1))
        return
    run("x-education without its leaks", "x_education", "Lead Number", "Converted", "1", LEAKS)
    load("telco", "telco-churn/WA_Fn-UseC_-Telco-Customer-Churn.csv")
    run("telco-churn", "telco", "customerID", "Churn", "Yes", [])
    load("olist", "olist-funnel/olist_marketing_qualified_leads_dataset.csv")
    load("olist_deals", "olist-funnel/olist_closed_deals_dataset.csv")
    psql("ALTER TABLE olist ADD COLUMN closed text; UPDATE olist o SET closed = EXISTS (SELECT FROM olist_deals d WHERE d.mql_id = o.mql_id)")
    run("olist-funnel with its date", "olist", "mql_id", "closed", "true", [])
    psql("ALTER TABLE olist DROP COLUMN fold")
    run("olist-funnel without its date", "olist", "mql_id", "closed", "true", ["first_contact_date"])


if __name__ == "__main__":
    main()
