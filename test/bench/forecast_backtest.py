#!/usr/bin/env python3
"""Backtest on maven-crm beside the field's methods: the same scored Mondays, the same truth, nothing later than the Monday known.

Peers: stage-weighted pipeline (open amount times the win rate of what has closed, no timing), pooled win rate (the reference file's),
historical win rate by age, a gradient-boosted model of past snapshots, persistence (the last period), seasonal naive (91 days before).
A method without history forecasts 0. WAPE over all weeks and in halves, with a 95 % interval by moving-block bootstrap, since the weeks overlap.
"""
import csv
import io
import os
import subprocess
import sys
from datetime import date, timedelta

try:
    import numpy as np
    from sklearn.ensemble import HistGradientBoostingClassifier
except ImportError as e:
    sys.exit(f"# peers are not installed ({e}): test/bench/requirements-forecast.txt")

DATA = os.path.join(os.environ.get("SALESOPS_DATA", "../shared/data"), "maven-crm")
NEVER = date(2999, 1, 1)


def psql(sql, stdin=None):
    done = subprocess.run(["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-c", sql], input=stdin, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout


def text_of(name):
    with open(os.path.join(DATA, name), encoding="utf-8") as f:
        return f.read()


def ours(scope):
    """(Monday, days) -> predicted, lower, upper, actual"""
    rows = psql(f"COPY (SELECT as_of::date, extract(day FROM horizon), predicted, lower, upper, actual FROM salesops.backtest_forecast("
                f"'2017-01-02', '2017-12-25', '7 days', '{{30 days,90 days}}', '{scope}')) TO STDOUT CSV")
    number = lambda t: float(t) if t else None
    return {(date.fromisoformat(r[0]), int(float(r[1]))): [number(v) for v in r[2:]] for r in csv.reader(io.StringIO(rows))}


def load():
    psql("CREATE TABLE pipeline (opportunity_id text, sales_agent text, product text, account text, deal_stage text, engage_date date, close_date date, close_value numeric)")
    psql("COPY pipeline FROM STDIN CSV HEADER", text_of("sales_pipeline.csv"))
    psql("""SELECT * FROM salesops.attach('opportunity', 'pipeline', '{"stage": "deal_stage", "amount": "close_value", "created_at": "engage_date",
      "closed_at": "close_date", "owner_id": "sales_agent", "type": "product", "account_id": "account"}')""")
    psql("""SELECT salesops.define_stages('default', '[{"stage": "Prospecting", "ordinal": 1, "kind": "open"}, {"stage": "Engaging", "ordinal": 2, "kind": "open"},
      {"stage": "Won", "ordinal": 3, "kind": "won"}, {"stage": "Lost", "ordinal": 4, "kind": "lost"}]')""")


class History:
    """The deals as arrays, and what was known of them on a day"""

    def __init__(self):
        price = {r["product"].replace(" ", ""): float(r["sales_price"]) for r in csv.DictReader(io.StringIO(text_of("products.csv")))}
        day = lambda t: (date.fromisoformat(t) if t else NEVER).toordinal()
        rows = [r for r in csv.DictReader(io.StringIO(text_of("sales_pipeline.csv"))) if r["engage_date"]]
        self.opened = np.array([day(r["engage_date"]) for r in rows])
        self.closed = np.array([day(r["close_date"]) for r in rows])
        self.won = np.array([r["deal_stage"] == "Won" for r in rows])
        self.value = np.array([float(r["close_value"] or 0) for r in rows])
        self.price = np.array([price[r["product"].replace(" ", "")] for r in rows])
        agents = {a: i for i, a in enumerate(sorted({r["sales_agent"] for r in rows}))}
        self.agent = np.array([agents[r["sales_agent"]] for r in rows])

    def open_on(self, d):
        return (self.opened <= d) & (self.closed > d)

    def won_between(self, d, h):
        return self.won & (self.closed > d) & (self.closed <= d + h)

    def features(self, d, which):
        today = date.fromordinal(d)
        first = date(today.year, 3 * ((today.month - 1) // 3) + 1, 1).toordinal()
        return np.column_stack([d - self.opened[which], self.price[which], self.agent[which], np.full(which.sum(), d - first)])

    def snapshots(self, d, h):
        """Mondays whose horizon was over by d, from the first recorded close on"""
        first = self.closed.min()
        return [s for s in range(d - h - (d - h - date(2017, 1, 2).toordinal()) % 7, first - 1, -7)]


def stage_weighted(t, d, h):
    past = t.closed <= d
    return t.price[t.open_on(d)].sum() * (t.won[past].mean() if past.any() else 0)


def by_age(t, d, h):
    buckets = lambda age: np.minimum(age // 15, 12)
    won, seen = np.zeros(13), np.zeros(13)
    for s in t.snapshots(d, h):
        which = t.open_on(s)
        age = buckets(s - t.opened[which])
        seen += np.bincount(age, minlength=13)
        won += np.bincount(age, weights=t.won_between(s, h)[which], minlength=13)
    which = t.open_on(d)
    return (np.divide(won, seen, out=np.zeros(13), where=seen > 0)[buckets(d - t.opened[which])] * t.price[which]).sum()


def boosted(t, d, h):
    x, y = [], []
    for s in t.snapshots(d, h):
        which = t.open_on(s)
        x.append(t.features(s, which))
        y.append(t.won_between(s, h)[which])
    if not x or np.concatenate(y).min() == np.concatenate(y).max():
        return 0.0
    model = HistGradientBoostingClassifier(max_iter=100, random_state=1).fit(np.vstack(x), np.concatenate(y))
    which = t.open_on(d)
    return (model.predict_proba(t.features(d, which))[:, 1] * t.price[which]).sum()


def lagged(t, d, h, lag, scope):
    s = d - lag
    which = t.won_between(s, h) & (t.closed <= d)
    return t.value[which & t.open_on(s)].sum() if scope == "open" else t.value[which].sum()


def wape(actual, predicted):
    return np.abs(actual - predicted).sum() / np.abs(actual).sum()


def interval(actual, predicted, block):
    rng = np.random.default_rng(7)
    n = len(actual)
    draws = []
    for _ in range(2000):
        start = rng.integers(0, max(1, n - block + 1), size=-(-n // block))
        pick = (start[:, None] + np.arange(block)).ravel()[:n] % n
        draws.append(wape(actual[pick], predicted[pick]))
    return np.percentile(draws, [2.5, 97.5])


def report(title, actual, methods, h):
    half = len(actual) // 2
    print(f"{title}, {h} days: {len(actual)} weeks")
    for name, predicted in methods.items():
        predicted = np.array(predicted, dtype=float)
        low, high = interval(actual, predicted, -(-h // 7))
        print(f"  {name:<26} WAPE {wape(actual, predicted):.3f} (95 % {low:.3f} to {high:.3f})  halves {wape(actual[:half], predicted[:half]):.3f} / "
              f"{wape(actual[half:], predicted[half:]):.3f}")


def held(found, weeks, h):
    inside = [found[w, h][1] <= found[w, h][3] <= found[w, h][2] for w in weeks]
    half = len(inside) // 2
    print(f"  80 % interval held {np.mean(inside):.2f}, halves {np.mean(inside[:half]):.2f} / {np.mean(inside[half:]):.2f}")


def main():
    if not os.path.isdir(DATA):
        sys.exit(f"# no {DATA}: set SALESOPS_DATA")
    load()
    t = History()
    found = {scope: ours(scope) for scope in ("open", "total")}
    reference = [r for r in csv.DictReader(io.StringIO(text_of("forecast_backtest.csv"))) if r["scored"] == "True"]
    for h in (30, 90):
        rows = [r for r in reference if int(r["horizon_days"]) == h]
        weeks = [date.fromisoformat(r["week"]) for r in rows]
        days = [w.toordinal() for w in weeks]
        open_methods = {
            "salesops": [found["open"][w, h][0] or 0 for w in weeks],
            "pooled win rate": [float(r["baseline"]) for r in rows],
            "stage-weighted pipeline": [stage_weighted(t, d, h) for d in days],
            "win rate by age": [by_age(t, d, h) for d in days],
            "boosted snapshots": [boosted(t, d, h) for d in days],
            "persistence": [lagged(t, d, h, h, "open") for d in days],
            "seasonal naive, 91 days": [lagged(t, d, h, 91, "open") for d in days],
        }
        report("open deals", np.array([float(r["actual"]) for r in rows]), open_methods, h)
        held(found["open"], weeks, h)
        total_methods = {
            "salesops": [found["total"][w, h][0] or 0 for w in weeks],
            "persistence": [lagged(t, d, h, h, "total") for d in days],
            "seasonal naive, 91 days": [lagged(t, d, h, 91, "total") for d in days],
        }
        report("all bookings", np.array([float(r["actual_incl_new_deals"]) for r in rows]), total_methods, h)
        held(found["total"], weeks, h)


main()
