#!/usr/bin/env python3
"""The forecast type: time against sum(numeric) over the same rows, and quantiles against the exact distribution.

ROWS (default 10000000) sets the size of the race. The exact distribution is computed here by dynamic programming over whole amounts; errors
are in standard deviations, 0 within one lattice step.
"""
import os
import random
import subprocess
import sys

ROWS = int(os.environ.get("ROWS", "10000000"))
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
AMOUNTS = {
    "equal": lambda r: 10,
    "uniform": lambda r: r.randint(1, 100),
    "lognormal": lambda r: max(1, min(400, int(r.lognormvariate(3, 1)))),
    "few large": lambda r: 300 if r.random() < 0.02 else r.randint(1, 10),
    "multiples of 25": lambda r: 25 * r.randint(1, 12),
    "credits among them": lambda r: r.randint(-40, 100) or 1,
}
CHANCES = {"any": lambda r: r.random(), "rare": lambda r: r.random() ** 4, "nearly sure": lambda r: 1 - r.random() ** 4, "half": lambda r: 0.5}


def psql(*statements):
    call = ["psql", "-XqAt", "-F", " ", "-v", "ON_ERROR_STOP=1"]
    for statement in statements:
        call += ["-c", statement]
    done = subprocess.run(call, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout.strip()


def milliseconds(sql):
    out = psql("SET max_parallel_workers_per_gather = 0", "\\timing on", sql)
    return float([line for line in out.split("\n") if line.startswith("Time:")][-1].split()[1])


def race():
    psql(f"CREATE TABLE deal AS SELECT (exp(8 + random() * 3))::numeric(12,2) a, random() p FROM generate_series(1, {ROWS})", "VACUUM ANALYZE deal")
    best = {}
    for _ in range(3):
        for name, sql in (("sum(numeric)", "SELECT sum(a) FROM deal"), ("forecast", "SELECT salesops.deal_count(salesops.forecast(a, p)) FROM deal")):
            best[name] = min(best.get(name, 1e18), milliseconds(sql))
    print(f"{ROWS} rows, one process: sum(numeric) {best['sum(numeric)']:.0f} ms, forecast {best['forecast']:.0f} ms, ratio {best['forecast'] / best['sum(numeric)']:.2f}")
    psql("CREATE TABLE kept AS SELECT salesops.forecast(a, p) f FROM deal")
    for what in ("salesops.quantile(f, 0.9)", "salesops.quantile(f, 0.9, 0.05)", "salesops.probability_at_least(f, salesops.mean(f))"):
        print(f"  {what}: {min(milliseconds(f'SELECT {what} FROM kept') for _ in range(5)):.1f} ms")
    print(f"  state {psql('SELECT pg_column_size(f) FROM kept')} bytes")


def exact(deals):
    low = sum(min(a, 0) for a, _ in deals)
    high = sum(max(a, 0) for a, _ in deals)
    dist = [0.0] * (high - low + 1)
    dist[-low] = 1.0
    for a, p in deals:
        if a > 0:
            dist = [(1 - p) * dist[i] + (p * dist[i - a] if i >= a else 0.0) for i in range(len(dist))]
        else:
            dist = [(1 - p) * dist[i] + (p * dist[i - a] if i - a < len(dist) else 0.0) for i in range(len(dist))]
    total, out = 0.0, []
    levels = list(LEVELS)
    for i, x in enumerate(dist):
        total += x
        while levels and total >= levels[0]:
            out.append(i + low)
            levels.pop(0)
    return out + [high] * len(levels)


def accuracy():
    errors = []
    for name, amount in AMOUNTS.items():
        for chance_name, chance in CHANCES.items():
            for n in (3, 12, 60, 200):
                r = random.Random(f"{name} {chance_name} {n}")
                deals = [(amount(r), chance(r)) for _ in range(n)]
                values = ",".join(f"({a},{p!r}::float8)" for a, p in deals)
                got = [float(v) for v in psql("SELECT " + ",".join(f"salesops.quantile(f, {q})" for q in LEVELS) +
                                              f" FROM (SELECT salesops.forecast(a::numeric, p) f FROM (VALUES {values}) d (a, p)) s").split()]
                deviation = sum(a * a * p * (1 - p) for a, p in deals) ** 0.5
                step = 25 if name.startswith("multiples") else 10 if name == "equal" else 1
                worst = max(max(0.0, abs(g - e) - step) / deviation for g, e in zip(got, exact(deals)))
                errors.append((worst, f"{name}, {chance_name}, {n} deals"))
    errors.sort()
    print(f"{len(errors)} sets of 3 to 200 deals, worst of five quantiles: median {errors[len(errors) // 2][0]:.5f}, 90 % {errors[int(len(errors) * .9)][0]:.5f}, "
          f"worst {errors[-1][0]:.5f} ({errors[-1][1]}) standard deviations beyond one lattice step")


accuracy()
race()
