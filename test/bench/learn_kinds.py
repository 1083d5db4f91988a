"""Kinds of data that the public sets do not show, through the same SQL and default options, against the same peers as learn_accuracy.

Generated, so that the law is known: few rows, a rare class, a column of thousands of categories, many columns of noise, interactions
alone, smooth curves, drift, and 1,500 columns, four of which know something. No label of a test row is looked at but to print the figures.
KINDS="few wide" names the tables of those to run.
"""
import csv, io, os
import numpy as np
from learn_accuracy import psql, quote, run


def load(table, columns):
    head = list(columns)
    out = io.StringIO()
    csv.writer(out).writerows(zip(*columns.values()))
    psql(f"DROP TABLE IF EXISTS {table}; CREATE TABLE {table} ({', '.join(quote(c) + ' text' for c in head)})")
    psql(f"COPY {table} FROM STDIN CSV", out.getvalue())


def lead_like(rng, rows, rate=-1.0, noise=0):
    """a few numbers with gaps, a few categories, an interaction"""
    source = rng.choice(["web", "event", "partner", "cold"], rows, p=[.5, .2, .1, .2])
    industry = rng.choice([f"industry {i}" for i in range(12)], rows)
    size = np.exp(rng.normal(4, 1.5, rows))
    visits = rng.poisson(3, rows)
    age = rng.uniform(0, 365, rows)
    z = rate + 1.5 * (source == "partner") - .8 * (source == "cold") + .25 * visits - .0004 * (age - 100) ** 2 / 10 + \
        .5 * np.log(size) * (source == "web") - 2 * (source == "web") + .6 * (np.char.str_len(industry) == 11)
    columns = {"key": [f"k{i}" for i in range(rows)], "source": source, "industry": industry, "visits": visits, "age": np.round(age, 1),
               "size": np.where(rng.uniform(size=rows) < .2, "", np.round(size, 1).astype(str))}
    for i in range(noise):
        columns[f"noise{i}"] = np.round(rng.normal(size=rows), 3) if i % 2 else rng.choice(["a", "b", "c"], rows)
    return columns, z


def kinds():
    rng = np.random.default_rng(11)
    chance = lambda z: 1 / (1 + np.exp(-z))
    columns, z = lead_like(rng, 4000)
    yield "few rows: 400 to train", "few", columns, chance(z), 1
    columns, z = lead_like(rng, 2000)
    yield "fewer still: 200 to train", "fewer", columns, chance(z), 1
    columns, z = lead_like(rng, 30000, -6.0)
    yield "a rare class", "rare", columns, chance(z), 7
    columns, z = lead_like(rng, 8000, noise=80)
    yield "80 columns of noise", "noise", columns, chance(z), 7
    columns, z = lead_like(rng, 20000)
    campaign = rng.integers(0, 3000, 20000)
    columns["campaign"] = [f"campaign {c}" for c in campaign]
    yield "a column of 3,000 categories", "many", columns, chance(z + rng.normal(0, 1.2, 3000)[campaign]), 7
    x = rng.uniform(-1, 1, (12000, 8))
    columns = {"key": [f"k{i}" for i in range(12000)], **{f"x{i}": np.round(x[:, i], 4) for i in range(8)}}
    yield "interactions alone", "xor", columns, chance(4 * x[:, 0] * x[:, 1] + 4 * x[:, 2] * x[:, 3]), 7
    yield "straight lines alone", "lines", columns, chance(x @ np.array([2, -1.5, 1, -.5, .3, 0, 0, 0])), 7
    yield "smooth curves alone", "curves", columns, chance(2 * np.sin(4 * x[:, 0]) + 3 * x[:, 1] ** 2 - 1 + np.cos(6 * x[:, 2])), 7
    columns, z = lead_like(rng, 12000)
    day = np.sort(rng.integers(0, 700, 12000))
    columns["created"] = np.datetime_as_string(np.datetime64("2024-01-01") + day)
    yield "drift: the rate and the source's effect change over two years", "drift", columns, \
        chance(z + day / 350 - 1 + (day / 350 - 1) * (columns["source"] == "web")), 7
    x = rng.integers(0, 100, (3000, 1500))
    columns = {"key": [f"k{i}" for i in range(3000)], **{f"x{i}": x[:, i] for i in range(1500)}}
    yield "1,500 columns, four in the law", "wide", columns, chance((x[:, 0] - x[:, 1]) / 25 + (x[:, 2] > 70) * 1.5 - (x[:, 3] < 20) * 1.5), 7


def main():
    wanted = os.environ.get("KINDS", "").split()
    for title, table, columns, chance, folds in kinds():
        if wanted and table not in wanted:
            continue
        columns["won"] = np.where(np.random.default_rng(5).uniform(size=len(chance)) < chance, "yes", "no")
        load(table, columns)
        run(title, table, "key", "won", "yes", [], folds)


main()
