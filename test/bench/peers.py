"""The field's ways to forecast bookings, for the benchmarks of the forecast (forecast_backtest.py, forecast_unseen.py): one book of deals, one
set of peers, each given what was known on the day and nothing later. It runs nothing by itself.

stage-weighted pipeline (open amount times how often deals of that stage were won in the end, no timing), historical win rate by age, a
gradient-boosted model of past snapshots, persistence (the last period), seasonal naive (91 days before). Without a history a peer forecasts 0.
"""
import csv
import io
import os
import subprocess
import sys
from datetime import date

os.environ.setdefault("OMP_NUM_THREADS", "1")     # threads that spin beside a busy server are slower than none
try:
    import numpy as np
    from sklearn.ensemble import HistGradientBoostingClassifier
except ImportError as e:
    sys.exit(f"# peers are not installed ({e}): test/bench/requirements-forecast.txt")

NEVER = date(2999, 1, 1).toordinal()


def ordinal(day):
    return day.toordinal() if day else NEVER


def psql(sql, stdin=None):
    done = subprocess.run(["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-c", sql], input=stdin, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout


def ours(scope, first, last):
    """backtest_forecast's answer by (day, days): predicted, lower, upper, actual; days are ordinals"""
    rows = psql(f"COPY (SELECT as_of::date, extract(day FROM horizon), predicted, lower, upper, actual FROM salesops.backtest_forecast("
                f"'{date.fromordinal(first)}', '{date.fromordinal(last)}', '7 days', '{{30 days,90 days}}', '{scope}')) TO STDOUT CSV")
    number = lambda t: float(t) if t else None
    return {(date.fromisoformat(r[0]).toordinal(), int(float(r[1]))): [number(v) for v in r[2:]] for r in csv.reader(io.StringIO(rows))}


def wape(actual, predicted):
    actual, predicted = np.array(actual, dtype=float), np.array(predicted, dtype=float)
    return np.abs(actual - predicted).sum() / max(np.abs(actual).sum(), 1e-9)


class Book:
    """Deals as arrays: 'worth' is what they are said to bring while open, 'value' what the won ones brought; of 'traits' each is a column of
    names; 'proposal' is the day from which a deal is in its late stage"""

    def __init__(self, created, closed, won, worth, value=None, traits=(), proposal=None):
        self.created = np.array([ordinal(d) for d in created])
        self.closed = np.array([ordinal(d) for d in closed])
        self.won = np.array(won, dtype=bool)
        self.worth = np.array(worth, dtype=float)
        self.value = self.worth if value is None else np.array(value, dtype=float)
        self.proposal = np.full(len(self.created), NEVER) if proposal is None else np.array([ordinal(d) for d in proposal])
        self.codes = []
        for names in traits:
            number = {k: i for i, k in enumerate(sorted(set(names)))}
            self.codes.append(np.array([number[k] for k in names]))

    @classmethod
    def of_deals(cls, deals):
        """From histories.py's dicts"""
        late = lambda d: next((s[0] for s in d["stages"] if s[1].lower() == "proposal"), None)
        book = cls([d["created"] for d in deals], [d["closed"] for d in deals], [d.get("kind", d["stage"]).lower() == "won" for d in deals], [d["amount"] or 0 for d in deals],
                   traits=[[d["type"] for d in deals]], proposal=[late(d) for d in deals])
        book.kind = np.array([d["type"] for d in deals])
        return book

    def open_on(self, d):
        return (self.created <= d) & (self.closed > d)

    def won_between(self, d, h):
        return self.won & (self.closed > d) & (self.closed <= d + h)

    def features(self, d, which):
        today = date.fromordinal(d)
        first = date(today.year, 3 * ((today.month - 1) // 3) + 1, 1).toordinal()
        return np.column_stack([d - self.created[which], self.worth[which], *(c[which] for c in self.codes), self.proposal[which] <= d, np.full(which.sum(), d - first)])


class Peers:
    """The field's methods; snapshots of the past are 'every' days apart, boosting takes so many 'rounds'"""

    def __init__(self, book, every=28, rounds=60):
        self.b = book
        self.every = every
        self.rounds = rounds
        self.first = book.closed.min()

    def snapshots(self, d, h):
        return range(d - h, self.first - 1, -self.every)

    def stage_weighted(self, d, h):
        b, total = self.b, 0.0
        past, which = b.closed <= d, b.open_on(d)
        for reached in (False, True):
            seen = past & (b.proposal < b.closed) if reached else past
            mine = which & ((b.proposal <= d) == reached)
            total += b.worth[mine].sum() * (b.won[seen].mean() if seen.any() else 0)
        return total

    def by_age(self, d, h):
        b = self.b
        buckets = lambda age: np.minimum(age // 15, 12)
        won, seen = np.zeros(13), np.zeros(13)
        for s in self.snapshots(d, h):
            which = b.open_on(s)
            age = buckets(s - b.created[which])
            seen += np.bincount(age, minlength=13)
            won += np.bincount(age, weights=b.won_between(s, h)[which], minlength=13)
        which = b.open_on(d)
        return (np.divide(won, seen, out=np.zeros(13), where=seen > 0)[buckets(d - b.created[which])] * b.worth[which]).sum()

    def boosted(self, d, h):
        b = self.b
        x, y = [], []
        for s in self.snapshots(d, h):
            which = b.open_on(s)
            x.append(b.features(s, which))
            y.append(b.won_between(s, h)[which])
        which = b.open_on(d)
        if not y or len(np.concatenate(y)) < 50 or len(np.unique(np.concatenate(y))) < 2 or not which.any():
            return 0.0
        model = HistGradientBoostingClassifier(max_iter=self.rounds, random_state=1).fit(np.vstack(x), np.concatenate(y))
        return (model.predict_proba(b.features(d, which))[:, 1] * b.worth[which]).sum()

    def lagged(self, d, h, lag, scope):
        b, s = self.b, d - lag
        which = b.won_between(s, h) & (b.closed <= d)
        return b.value[which & b.open_on(s)].sum() if scope == "open" else b.value[which].sum()
