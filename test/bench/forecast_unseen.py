#!/usr/bin/env python3
"""backtest_forecast on histories it was not made on, whose process is known (histories.py), and on the demo's.

Every seventh day from four weeks after the first close on, 30 and 90 days ahead, open deals and all bookings. WAPE beside the field's
methods on the same days (every fourth of them: "boosted" is slow) and beside the oracle: the true process, conditioned on what of each
deal is known (kind, age, whether it reached the proposal; of the demo's deals rep, channel, type, stage and time in it), simulated. Coverage of the 80 % interval ("exactly": the chance that the
true process gives to it, free of what came by chance) beside the oracle's own, and how much wider ours is than its. SALESOPS_HISTORIES="Steady Tail" runs some, SALESOPS_SEEDS="1 2" more than one, SALESOPS_BOOSTED=0
leaves the slow peer out, SALESOPS_ORACLE=0 the true process: many seeds for coverage then take seconds each. SALESOPS_BARE=1 gives no stage
changes, so that we know no amount before the close (peers keep theirs). "Demo" is demo/generate.sql itself, by its own tables of the truth. Shapes that a
history may have besides (Mondays Rush Few Years Pause Jump Rough) are run when named; Rough without stage changes, and without the true process.
"""
import csv
import io
import json
import os
import subprocess
import sys
from datetime import date

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import histories
from peers import NEVER, Book, Peers, np, ordinal, ours, psql, wape

DRAWS = 400         # lives of a deal of a day and kind
SIMULATIONS = 1000  # futures
BOOSTED = os.environ.get("SALESOPS_BOOSTED", "1") != "0"
ORACLE = os.environ.get("SALESOPS_ORACLE", "1") != "0"
SEEDS = os.environ.get("SALESOPS_SEEDS", "").split()
BARE = os.environ.get("SALESOPS_BARE", "0") != "0"


class Oracle:
    """The known process: lives of deals drawn from it, conditioned on what is known of each"""

    def __init__(self, process, seed):
        self.p = process
        r = histories.random.Random(f"oracle {seed}")
        shocks, process.shocks = process.shocks, [1.0] * len(process.shocks)
        self.lives, self.amounts = {}, {}
        for t in range(process.days + 1):
            drawn = [process.deal(r, 0, t, cut=False) for _ in range(DRAWS * len(process.types))]
            b = Book.of_deals(drawn)
            for kind in process.types:
                m = b.kind == kind
                if m.any():
                    self.lives[t + histories.EPOCH.toordinal(), kind] = b.closed[m], b.won[m], b.proposal[m], m.mean()
                    self.amounts.setdefault(kind, []).extend(b.worth[m][:50])
        self.amounts = {k: np.array(v) for k, v in self.amounts.items()}
        process.shocks = shocks
        self.rng = np.random.default_rng(seed)

    def factors(self, d, h):
        """What the months that the days fall in multiply win rates by, drawn; the present month is known"""
        t = d - histories.EPOCH.toordinal()
        months = range(t // 30, (t + h) // 30 + 1)
        level = np.full(SIMULATIONS, np.log(self.p.shocks[months[0]]))
        out = []
        for m in months:
            if m > months[0]:
                level = self.p.memory * level + self.rng.normal(0, self.p.shock, SIMULATIONS)
            out.append(np.exp(level))
        return np.array(out)

    def by_month(self, life, mask, d, h):
        closed, won = life[0][mask], life[1][mask]
        t0 = histories.EPOCH.toordinal()
        within = won & (closed > d) & (closed <= d + h)
        return np.bincount((closed[within] - t0) // 30 - (d - t0) // 30, minlength=(d - t0 + h) // 30 - (d - t0) // 30 + 1) / max(mask.sum(), 1)

    def futures(self, b, d, h):
        """Simulated bookings of open deals, and of new ones"""
        factor = self.factors(d, h)
        came = np.zeros(SIMULATIONS)
        for i in np.flatnonzero(b.open_on(d)):
            life = self.lives[b.created[i], b.kind[i]]
            mask = life[0] > d
            reached = mask & ((life[2] <= d) == (b.proposal[i] <= d))
            if reached.sum() >= 5:
                mask = reached
            p = np.minimum(self.by_month(life, mask, d, h) @ factor, 1.0)
            came += b.worth[i] * (self.rng.random(SIMULATIONS) < p)
        fresh = np.zeros(SIMULATIONS)
        for kind in self.p.types:
            rate = 0.0
            for day in range(d + 1, d + h + 1):
                life = self.lives.get((day, kind))
                if life is not None:
                    rate = rate + self.p.arrivals(day - histories.EPOCH.toordinal()) * life[3] * self.by_month(life, np.ones(len(life[0]), bool), d, h)
            counts = self.rng.poisson(np.atleast_1d(rate) @ factor if np.ndim(rate) else np.zeros(SIMULATIONS))
            draws = self.rng.choice(self.amounts[kind], counts.sum())
            fresh += np.add.reduceat(np.append(draws, 0.0), np.minimum(np.cumsum(counts) - counts, len(draws))) * (counts > 0)
        return came, fresh


class DemoOracle:
    """demo/generate.sql's process, from its own tables: stage by stage, a lognormal time and a logistic chance to go on"""
    BASE, LOGIT = np.array([9, 14, 21, 13.0]), np.array([0.9, 1.0, 0.8, 1.1])
    CHANNEL = {"Referral": 0.45, "Cold list": -0.35}
    TYPE = {"Renewal": 0.6, "Expansion": 0.3}

    def __init__(self):
        rows = list(csv.reader(io.StringIO(psql("""COPY (SELECT t.day, d.amount, r.skill, t.channel, t.type, x.day + x.days, e1.day, e2.day, e3.day, e4.day, z.day
            FROM demo.deal_truth t JOIN crm.deals d ON d.id = t.id JOIN demo.rep_skill r ON r.rep = t.rep JOIN demo.deal_end z ON z.n = t.n
            JOIN LATERAL (SELECT e.day, e.days FROM demo.deal_entry e WHERE e.n = t.n ORDER BY e.ordinal DESC LIMIT 1) x ON true
            LEFT JOIN demo.deal_entry e1 ON e1.n = t.n AND e1.ordinal = 1 LEFT JOIN demo.deal_entry e2 ON e2.n = t.n AND e2.ordinal = 2
            LEFT JOIN demo.deal_entry e3 ON e3.n = t.n AND e3.ordinal = 3 LEFT JOIN demo.deal_entry e4 ON e4.n = t.n AND e4.ordinal = 4
            WHERE d.amount IS NOT NULL ORDER BY t.n) TO STDOUT CSV"""))))
        known = lambda t: ordinal(date.fromisoformat(t)) if t else NEVER
        self.created = np.array([known(r[0]) for r in rows])
        self.amount = np.array([float(r[1]) for r in rows])
        self.lean = np.array([float(r[2]) + self.CHANNEL.get(r[3], 0) + self.TYPE.get(r[4], 0) for r in rows])
        self.entered = np.array([[known(v) for v in r[6:10]] for r in rows])
        self.end = np.array([known(r[10]) for r in rows])
        self.first, self.as_of = (date.fromisoformat(v).toordinal() for v in psql("SELECT first_day, as_of FROM demo.setting").strip().split("|"))
        self.rng = np.random.default_rng(1)

    def lives(self, created, lean, stage, waited, d):
        """Closing days, and whether won, of deals in a stage for so many days, by SIMULATIONS columns"""
        from scipy.special import ndtr, ndtri
        shape = (len(created), SIMULATIONS)
        day = np.repeat((d - waited)[:, None], SIMULATIONS, 1).astype(float)
        alive, won = np.ones(shape, bool), np.zeros(shape, bool)
        for k in range(4):
            here = (stage <= k)[:, None]
            scale = (self.BASE[k] * np.where((k == 2) & (created > self.as_of - 170), 1.4, 1.0))[:, None]
            least = np.where((stage == k) & (waited > 0), (np.log(np.maximum(waited - 0.5, 0.5) / scale[:, 0]) + 0.25) / 0.7, -9.0)[:, None]
            u = ndtr(least) + (1 - ndtr(least)) * self.rng.random(shape)
            time = 1 + np.round(scale * np.exp(0.7 * ndtri(np.minimum(u, 1 - 1e-12)) - 0.25))
            go = self.rng.random(shape) < 1 / (1 + np.exp(-(self.LOGIT[k] + lean[:, None])))
            day = np.where(here & alive, day + time, day)
            won = np.where(here & alive, go & (k == 3), won)
            alive &= ~here | go
        ends = np.array([histories.quarter_end(date.fromordinal(int(v))).toordinal() for v in range(int(day.min()), int(day.max()) + 1)])[(day - day.min()).astype(int)]
        late = won & (day > ends - 40) & (self.rng.random(shape) < 0.35)
        return np.where(late, np.maximum(day, ends - np.floor(self.rng.random(shape) * 9)), day), won

    def futures(self, b, d, h):
        d -= 1      # at midnight the days before are known
        which = (self.created <= d) & (self.end > d)
        stage = (self.entered[which] <= d).sum(1) - 1
        waited = d - self.entered[which][np.arange(which.sum()), stage]
        closed, won = self.lives(self.created[which], self.lean[which], stage, waited, d)
        came = (self.amount[which][:, None] * (won & (closed > d) & (closed <= d + h))).sum(0)
        share = lambda t: (min(max(t, 0), 1095) / 1095) ** (1 / 0.85)
        days = np.arange(d + 1, d + h + 1)
        rate = np.array([12000 * (share(t + 1 - self.first) - share(t - self.first)) for t in days]) * len(self.amount) / 12000
        pick = self.rng.integers(0, len(self.amount), 3000)
        new = self.rng.choice(days, 3000, p=rate / rate.sum()) if rate.sum() > 0 else np.full(3000, d + h)
        closed, won = self.lives(new, self.lean[pick], np.zeros(3000, int), np.zeros(3000, int), new)
        hit = np.flatnonzero((won & (closed <= d + h)).any(1))
        chance = (won & (closed <= d + h)).mean()
        wins = self.rng.poisson(rate.sum() * chance, SIMULATIONS)
        weight = (won & (closed <= d + h))[hit].sum(1)
        drawn = self.rng.choice(hit, wins.sum(), p=weight / weight.sum()) if len(hit) else np.zeros(0, int)
        worth = np.append(self.amount[pick][drawn], 0.0)
        fresh = np.add.reduceat(worth, np.minimum(np.cumsum(wins) - wins, len(worth) - 1)) * (wins > 0)
        return came, fresh


def demo(seed):
    """The demo's tables, attached as the demo does; its book as the peers want it"""
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "demo")
    for script in ("generate.sql", "steps/attach.sql"):
        done = subprocess.run(["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-v", f"seed={seed}", "-v", "as_of=2026-11-20", "-f", os.path.join(root, script)], capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
    rows = csv.reader(io.StringIO(psql("""COPY (SELECT d.inserted_at::date, d.closed_at::date, d.stage, coalesce(d.amount, 0), d.type,
        (SELECT min(h.entered_at)::date FROM crm.deal_history h WHERE h.deal_id = d.id AND h.stage = 'Proposal') FROM crm.deals d) TO STDOUT CSV""")))
    day = lambda t: date.fromisoformat(t) if t else None
    return Book.of_deals([{"created": day(r[0]), "closed": day(r[1]), "stage": r[2], "amount": float(r[3]), "type": r[4], "stages": [(day(r[5]), "proposal")] if r[5] else []} for r in rows])


def load(deals):
    psql("TRUNCATE deal, change")
    text = lambda rows: "\n".join("\t".join("\\N" if v is None else str(v) for v in r) for r in rows) + "\n"
    psql("COPY deal FROM STDIN", text((d["id"], d["created"], d["closed"], d["stage"], d["amount"], d["type"], d["owner"], d["source"]) for d in deals))
    psql("SELECT count(*) FROM salesops.define_stages('default', $stages$" + json.dumps(stages(deals)) + "$stages$)")
    if not BARE and "kind" not in deals[0]:
        psql("COPY change FROM STDIN", text((d["id"], day, stage, d["amount"]) for d in deals for day, stage in d["stages"]))
    psql("ANALYZE deal, change")


def stages(deals):
    """Every name of a stage that is there, and what kind it is"""
    kinds = {s: s for s in ("new", "proposal", "won", "lost")} if "kind" not in deals[0] else {d["stage"]: d["kind"] for d in deals}
    return [{"stage": s, "ordinal": i + 1, "kind": k if k in ("won", "lost") else "open"} for i, (s, k) in enumerate(sorted(kinds.items()))]


def prepare():
    psql("""CREATE TABLE deal (opportunity_id text, created_at date, closed_at date, stage text, amount numeric, type text, owner_id text, source text);
      CREATE TABLE change (opportunity_id text, entered_at date, stage text, amount numeric)""")
    psql("SELECT count(*) FROM salesops.attach('opportunity', 'deal')")
    psql("SELECT count(*) FROM salesops.attach('opportunity_stage_change', 'change')")


def report(name, b, first, last, oracle):
    """One line a scope and horizon; returns what was covered"""
    peers, found_out = Peers(b), []
    for scope in ("open", "total"):
        found = ours(scope, first, last)
        for h in (30, 90):
            days = [d for d in range(first, last - h + 1, 7) if found.get((d, h), [None] * 4)[3] is not None]
            if len(days) < 8:
                continue
            cover = np.array([found[d, h][1] <= found[d, h][3] <= found[d, h][2] for d in days])
            some = days[::4]
            actual = [found[d, h][3] for d in some]
            methods = {"ours": [found[d, h][0] for d in some]}
            true_cover, wider, exact = np.nan, np.nan, np.nan
            if oracle is not None:
                futures = [oracle.futures(b, d, h) for d in some]
                sums = [f[0] if scope == "open" else f[0] + f[1] for f in futures]
                lower, upper = np.quantile(sums, 0.1, axis=1), np.quantile(sums, 0.9, axis=1)
                methods["oracle"] = [s.mean() for s in sums]
                exact = np.mean([np.mean((found[d, h][1] <= s) & (s <= found[d, h][2])) for d, s in zip(some, sums)])
                true_cover = np.mean((lower <= actual) & (actual <= upper))
                wider = np.mean([found[d, h][2] - found[d, h][1] for d in some]) / np.mean(upper - lower)
            if scope == "open":
                methods["stages"] = [peers.stage_weighted(d, h) for d in some]
                methods["age"] = [peers.by_age(d, h) for d in some]
                if BOOSTED:
                    methods["boosted"] = [peers.boosted(d, h) for d in some]
            methods["last"] = [peers.lagged(d, h, h, scope) for d in some]
            methods["quarter"] = [peers.lagged(d, h, 91, scope) for d in some]
            figures = "  ".join(f"{k} {wape(actual, v):.3f}" for k, v in methods.items())
            half = len(days) // 2
            off = wape(methods["oracle"], methods["ours"]) if oracle is not None else np.nan
            print(f"{name:<11}{scope:<6}{h:>3}  {figures}   held {cover.mean():.2f} ({cover[:half].mean():.2f}/{cover[half:].mean():.2f}), exactly {exact:.2f}, oracle {true_cover:.2f}, "
                  f"width {wider:.2f}, off the true mean {off:.3f}", flush=True)
            others = [wape(actual, v) for k, v in methods.items() if k not in ("ours", "oracle", "boosted")]
            found_out.append((scope, h, cover.mean(), exact, off, wape(actual, methods["ours"]), min(others)))
    return found_out


def main():
    prepare()
    wanted = os.environ.get("SALESOPS_HISTORIES", "").split()
    all_found = {}
    for kind in histories.HISTORIES + histories.SHAPES:
        if kind.__name__ not in (wanted or [k.__name__ for k in histories.HISTORIES]):
            continue
        for seed in SEEDS or ["1"]:
            process = kind()
            _, last, deals = process.generate(seed)
            load(deals)
            b = Book.of_deals(deals)
            for scope, h, *cell in report(kind.__name__, b, int(b.closed.min()) + 28, last.toordinal(), Oracle(process, int(seed)) if ORACLE and kind is not histories.Rough else None):
                all_found.setdefault((scope, h), []).append(cell)
    for seed in (SEEDS or ["42"]) if not wanted or "Demo" in wanted else []:
        b = demo(seed)
        for scope, h, *cell in report("Demo", b, int(b.closed.min()) + 28, date(2026, 11, 20).toordinal(), DemoOracle() if ORACLE else None):
            all_found.setdefault((scope, h), []).append(cell)
    for (scope, h), cells in all_found.items():
        share, exact, off, ours_wape, other = np.array(cells).T
        known = f"off the true mean {np.exp(np.nanmean(np.log(off))):.3f}, exactly {np.nanmean(exact):.2f}; " if ORACLE and not np.isnan(off).all() else ""
        print(f"{scope}, {h} days, {len(cells)} histories: WAPE {np.exp(np.log(ours_wape).mean()):.3f} (geometric mean); {known}80 % interval held {share.mean():.2f}, "
              f"outside .70 to .90 in {np.sum((share < 0.7) | (share > 0.9))}; a peer other than the boosted one better in {np.sum(other < ours_wape)}")


main()
