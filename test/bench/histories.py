"""Histories of deals whose process is known: what the forecast must cope with beside the one real history that is at hand (forecast_unseen.py).

Each is (first day, last day, deals); a deal is a dict: id, created, closed (or None), stage, amount, type, owner, source, stages (day, stage).
Everything is drawn from random.Random(name and seed): runs repeat. Closes after the last day are cut off: those deals are open.
"""
import math
import random
from datetime import date, timedelta

EPOCH = date(2022, 1, 1)


def quarter_end(day):
    month = (day.month - 1) // 3 * 3 + 3
    return date(day.year + (month == 12), month % 12 + 1, 1) - timedelta(1)


class Process:
    """How deals arrive, live and end; subclasses change what is peculiar to them"""
    days = 900
    rate = 6.0                  # arrivals a day
    cycle = 45.0                # median days to a close
    spread = 0.7                # of its logarithm
    win_rate = 0.35
    types = {"standard": (1.0, 1.0, 1.0)}   # share, win rate factor, cycle factor
    amount = (8.5, 0.8)         # of its logarithm
    shock = 0.0                 # deviation of a month's log win rate
    memory = 0.6                # of which so much stays to the next month

    def arrivals(self, t):
        return self.rate

    def shares(self, t):
        return {kind: v[0] for kind, v in self.types.items()}

    def draw_amount(self, r, kind):
        return r.lognormvariate(*self.amount)

    def close_day(self, r, day):
        return day

    def win_chance(self, r, kind, t):
        return min(0.95, self.win_rate * self.types[kind][1] * self.shocks[min(t // 30, len(self.shocks) - 1)])

    def poisson(self, r, mean):
        n, p, floor = 0, r.random(), math.exp(-mean)
        while p > floor:
            p *= r.random()
            n += 1
        return n

    def deal(self, r, i, t, cut=True):
        share = self.shares(t)
        kind = r.choices(list(share), list(share.values()))[0]
        length = max(1, round(r.lognormvariate(math.log(self.cycle * self.types[kind][2]), self.spread)))
        won = r.random() < self.win_chance(r, kind, t + length)
        if not won:
            length = max(1, round(length * 0.8))
        created = EPOCH + timedelta(t)
        closed = self.close_day(r, created + timedelta(length))
        proposal = created + timedelta(max(1, round((closed - created).days * (0.55 if won else r.uniform(0.3, 1.6)))))
        last = EPOCH + timedelta(self.days if cut else 100000)
        stages = [(created, "new")] + ([(proposal, "proposal")] if proposal < closed else []) + [(closed, "won" if won else "lost")]
        stages = [s for s in stages if s[0] <= last]
        return {"id": f"d{i}", "created": created, "closed": closed if closed <= last else None, "stage": stages[-1][1],
                "amount": round(self.draw_amount(r, kind), 2), "type": kind, "owner": f"rep{r.randrange(8)}", "source": r.choice(["web", "event", "partner"]),
                "stages": stages}

    def generate(self, seed):
        r = random.Random(f"{type(self).__name__} {seed}")
        self.shocks, level = [], 0.0
        for _ in range(self.days // 30 + 40):
            level = self.memory * level + r.gauss(0, self.shock)
            self.shocks.append(math.exp(level))
        deals = []
        for t in range(self.days):
            for _ in range(self.poisson(r, self.arrivals(t))):
                deals.append(self.deal(r, len(deals), t))
        return EPOCH, EPOCH + timedelta(self.days), deals


class Steady(Process):
    """Nothing changes"""


class Seasonal(Process):
    """Arrivals swing by half over the year; three years"""
    days = 1300

    def arrivals(self, t):
        return self.rate * (1 + 0.5 * math.sin(2 * math.pi * t / 365.25))


class Long(Process):
    """Cycles of 200 days"""
    days = 1200
    rate = 3.0
    cycle = 200.0
    spread = 0.4


class Weekly(Process):
    """Closes on Fridays only"""

    def close_day(self, r, day):
        return day + timedelta((4 - day.weekday()) % 7)


class QuarterEnd(Process):
    """Half the closes of a quarter's second half move to its last ten days"""

    def close_day(self, r, day):
        end = quarter_end(day)
        left = (end - day).days
        return end - timedelta(r.randrange(10)) if 10 <= left < 45 and r.random() < 0.5 else day


class Segments(Process):
    """Four types of very different win rates and cycles, whose mix drifts"""
    days = 1000
    win_rate = 0.4
    types = {"renewal": (0.25, 1.9, 0.7), "upsell": (0.25, 1.2, 0.8), "new": (0.3, 0.6, 1.4), "tender": (0.2, 0.2, 1.6)}

    worth = {"renewal": 0.6, "upsell": 0.5, "new": 1.5, "tender": 4.0}

    def shares(self, t):
        drift = 0.5 * math.sin(2 * math.pi * t / 500)
        return {"renewal": 0.25 * (1 + drift), "upsell": 0.25, "new": 0.3 * (1 - drift), "tender": 0.2}

    def draw_amount(self, r, kind):
        return super().draw_amount(r, kind) * self.worth[kind]


class Short(Process):
    """Half a year on record"""
    days = 270
    rate = 8.0
    cycle = 30.0


class Gaps(Process):
    """Nothing arrives for two months of each year, and nothing closes in August"""
    days = 1100

    def arrivals(self, t):
        return 0.0 if t % 365 in range(300, 345) else self.rate

    def close_day(self, r, day):
        return date(day.year, 9, 1) + timedelta(r.randrange(14)) if day.month == 8 else day


class Small(Process):
    """A deal every other day, amounts of a heavy tail"""
    days = 1100
    rate = 0.5
    amount = (9.0, 1.3)


class Growth(Process):
    """Arrivals double every year"""
    days = 1000
    rate = 3.0

    def arrivals(self, t):
        return self.rate * 2 ** (t / 365)


class Shocks(Process):
    """Win rates wander from month to month: deals rise and fall together"""
    shock = 0.18


class Break(Process):
    """Win rates halve overnight after 500 days"""

    def win_chance(self, r, kind, t):
        return self.win_rate * (1.0 if t < 500 else 0.5)


class Batch(Process):
    """All deals of a quarter are created in its first ten days"""
    cycle = 60.0

    def arrivals(self, t):
        day = EPOCH + timedelta(t)
        return self.rate * 9 if day.month % 3 == 1 and day.day <= 10 else 0.0


class Drift(Process):
    """Win rates double, little by little, over the history"""

    def win_chance(self, r, kind, t):
        return self.win_rate * (0.7 + 0.7 * t / self.days)


class Tail(Process):
    """Amounts of a Pareto tail of index 1.6: no variance"""
    rate = 3.0

    def draw_amount(self, r, kind):
        return 2000.0 * min((1.0 - r.random()) ** (-1 / 1.6), 1000.0)


class Mondays(Process):
    """Everything is entered on Mondays: deals when they are created, and their closes"""

    def arrivals(self, t):
        return self.rate * 7 if (EPOCH + timedelta(t)).weekday() == 0 else 0.0

    def close_day(self, r, day):
        return day + timedelta(-day.weekday() % 7)


class Rush(Process):
    """Nine in ten closes of a quarter's second half move to its last week"""

    def close_day(self, r, day):
        end = quarter_end(day)
        left = (end - day).days
        return end - timedelta(r.randrange(7)) if 7 <= left < 45 and r.random() < 0.9 else day


class Few(Process):
    """Three hundred deals in a year and a half"""
    days = 550
    rate = 0.55
    cycle = 30.0


class Years(Process):
    """Ten thousand deals in five years"""
    days = 1826
    rate = 5.5


class Pause(Process):
    """Three months without a deal or a close, in the middle"""

    def arrivals(self, t):
        return 0.0 if 450 <= t < 540 else self.rate

    def close_day(self, r, day):
        t = (day - EPOCH).days
        return day + timedelta(90) if 450 <= t < 540 else day


class Jump(Process):
    """Amounts double overnight after 500 days"""

    def deal(self, r, i, t, cut=True):
        d = super().deal(r, i, t, cut)
        d["amount"] *= 1 if t < 500 else 2
        return d


class Rough(Process):
    """Kept badly: amounts of 0, of credits, none; no owner, no type, no source; creations typed in after the close; names of stages in several tongues"""
    names = {"new": ["Prospecting", "Erstkontakt"], "proposal": ["Proposal/Quote", "Angebot"], "won": ["Closed Won", "Gagn\u00e9", "Gewonnen"], "lost": ["Closed Lost", "Perdu", "Verloren \u2013 Preis"]}

    def deal(self, r, i, t, cut=True):
        d = super().deal(r, i, t, cut)
        luck = r.random()
        d["amount"] = 0 if luck < 0.05 else None if luck < 0.1 else -0.2 * d["amount"] if luck < 0.12 else d["amount"]
        d["owner"] = None if r.random() < 0.3 else d["owner"]
        d["source"] = None if r.random() < 0.5 else d["source"]
        if d["closed"] and r.random() < 0.02:
            d["created"] = d["closed"] + timedelta(r.randrange(1, 20))
        if cut:
            d["kind"], d["stage"] = d["stage"], r.choice(self.names[d["stage"]])
        return d


HISTORIES = [Steady, Growth, Seasonal, Small, Tail, Long, Batch, Drift, Gaps, Weekly, QuarterEnd, Segments, Short, Shocks, Break]
SHAPES = [Mondays, Rush, Few, Years, Pause, Jump, Rough]
