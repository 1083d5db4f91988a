#!/usr/bin/env python3
"""Backtest on maven-crm beside the field's methods: the same scored Mondays, the same truth, nothing later than the Monday known.

Peers: stage-weighted pipeline (open amount times the win rate of what has closed, no timing), pooled win rate (the reference file's),
historical win rate by age, a gradient-boosted model of past snapshots, persistence (the last period), seasonal naive (91 days before).
A method without history forecasts 0. WAPE over all weeks and in halves, with a 95 % interval by moving-block bootstrap, since the weeks overlap.
"""
import csv
import io
import os
import sys
from datetime import date

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from peers import Book, Peers, np, ours, psql, wape

DATA = os.path.join(os.environ.get("SALESOPS_DATA", "../shared/data"), "maven-crm")


def text_of(name):
    with open(os.path.join(DATA, name), encoding="utf-8") as f:
        return f.read()


def load():
    psql("CREATE TABLE pipeline (opportunity_id text, sales_agent text, product text, account text, deal_stage text, engage_date date, close_date date, close_value numeric)")
    psql("COPY pipeline FROM STDIN CSV HEADER", text_of("sales_pipeline.csv"))
    psql("""SELECT * FROM salesops.attach('opportunity', 'pipeline', '{"stage": "deal_stage", "amount": "close_value", "created_at": "engage_date",
      "closed_at": "close_date", "owner_id": "sales_agent", "type": "product", "account_id": "account"}')""")
    psql("""SELECT salesops.define_stages('default', '[{"stage": "Prospecting", "ordinal": 1, "kind": "open"}, {"stage": "Engaging", "ordinal": 2, "kind": "open"},
      {"stage": "Won", "ordinal": 3, "kind": "won"}, {"stage": "Lost", "ordinal": 4, "kind": "lost"}]')""")


def history():
    """The deals as the peers want them: while open a deal is worth its product's list price"""
    price = {r["product"].replace(" ", ""): float(r["sales_price"]) for r in csv.DictReader(io.StringIO(text_of("products.csv")))}
    day = lambda t: date.fromisoformat(t) if t else None
    rows = [r for r in csv.DictReader(io.StringIO(text_of("sales_pipeline.csv"))) if r["engage_date"]]
    return Book([day(r["engage_date"]) for r in rows], [day(r["close_date"]) for r in rows], [r["deal_stage"] == "Won" for r in rows],
                [price[r["product"].replace(" ", "")] for r in rows], [float(r["close_value"] or 0) for r in rows], [[r["sales_agent"] for r in rows]])


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


def held(found, days, h):
    inside = [found[d, h][1] <= found[d, h][3] <= found[d, h][2] for d in days]
    half = len(inside) // 2
    print(f"  80 % interval held {np.mean(inside):.2f}, halves {np.mean(inside[:half]):.2f} / {np.mean(inside[half:]):.2f}")


def main():
    if not os.path.isdir(DATA):
        sys.exit(f"# no {DATA}: set SALESOPS_DATA")
    load()
    t = Peers(history(), every=7, rounds=100)
    found = {scope: ours(scope, date(2017, 1, 2).toordinal(), date(2017, 12, 25).toordinal()) for scope in ("open", "total")}
    reference = [r for r in csv.DictReader(io.StringIO(text_of("forecast_backtest.csv"))) if r["scored"] == "True"]
    for h in (30, 90):
        rows = [r for r in reference if int(r["horizon_days"]) == h]
        days = [date.fromisoformat(r["week"]).toordinal() for r in rows]
        open_methods = {
            "salesops": [found["open"][d, h][0] or 0 for d in days],
            "pooled win rate": [float(r["baseline"]) for r in rows],
            "stage-weighted pipeline": [t.stage_weighted(d, h) for d in days],
            "win rate by age": [t.by_age(d, h) for d in days],
            "boosted snapshots": [t.boosted(d, h) for d in days],
            "persistence": [t.lagged(d, h, h, "open") for d in days],
            "seasonal naive, 91 days": [t.lagged(d, h, 91, "open") for d in days],
        }
        report("open deals", np.array([float(r["actual"]) for r in rows]), open_methods, h)
        held(found["open"], days, h)
        total_methods = {
            "salesops": [found["total"][d, h][0] or 0 for d in days],
            "persistence": [t.lagged(d, h, h, "total") for d in days],
            "seasonal naive, 91 days": [t.lagged(d, h, 91, "total") for d in days],
        }
        report("all bookings", np.array([float(r["actual_incl_new_deals"]) for r in rows]), total_methods, h)
        held(found["total"], days, h)


main()
