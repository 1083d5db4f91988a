#!/usr/bin/env python3
"""Kaplan-Meier, Greenwood's errors, medians and log-rank tests beside lifelines: the same durations, censored, tied, weighted by nothing.

A cross-check rather than a race: prints the largest differences over random samples and lifelines' own data sets, and the time of both
for a million durations. Ends with an error where they differ by more than rounding.
"""
import random
import subprocess
import sys
import time

try:
    import numpy as np
    from lifelines import KaplanMeierFitter, datasets
    from lifelines.statistics import logrank_test
except ImportError as e:
    sys.exit(f"# peers are not installed ({e}): test/bench/requirements-pipeline.txt")


def psql(sql, stdin=None):
    done = subprocess.run(["psql", "-XqAt", "-F", ",", "-v", "ON_ERROR_STOP=1", "-c", sql], input=stdin, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout


def load(arm, weeks, ended):
    psql("DROP TABLE IF EXISTS sample; CREATE TABLE sample (arm integer, duration float8, event boolean)")
    psql("COPY sample FROM STDIN CSV", "".join(f"{a},{w!r},{bool(e)}\n" for a, w, e in zip(arm, map(float, weeks), ended)))


def compare(name, arm, weeks, ended):
    """Largest differences of the curve, its errors, the median and chi-square"""
    load(arm, weeks, ended)
    worst = [0.0, 0.0, 0.0, 0.0]
    for a in (0, 1):
        k = [i for i, x in enumerate(arm) if x == a]
        fit = KaplanMeierFitter().fit([weeks[i] for i in k], [ended[i] for i in k])
        rows = psql(f"SELECT l.duration, l.survival, l.standard_error FROM (SELECT salesops.survival(duration, event) AS s FROM sample WHERE arm = {a}) x, "
                    "salesops.life_table(x.s) l WHERE l.ended > 0").split()
        # Greenwood: S^2 times the sum that lifelines keeps
        greenwood = fit._cumulative_sq_
        for row in rows:
            t, s, e = row.split(",")
            truth = float(fit.predict(float(t)))
            worst[0] = max(worst[0], abs(float(s) - truth))
            if truth > 0 and e:
                worst[1] = max(worst[1], abs(float(e) - truth * float(greenwood.loc[float(t)]) ** 0.5))
        median = psql(f"SELECT salesops.median(salesops.survival(duration, event)) FROM sample WHERE arm = {a}").strip()
        if (median == "") != bool(np.isinf(fit.median_survival_time_)):
            worst[2] = float("inf")
        elif median:
            worst[2] = max(worst[2], abs(float(median) - fit.median_survival_time_))
    parts = [[(weeks[i], ended[i]) for i, x in enumerate(arm) if x == a] for a in (0, 1)]
    test = logrank_test([w for w, _ in parts[0]], [w for w, _ in parts[1]], [e for _, e in parts[0]], [e for _, e in parts[1]])
    chi = float(psql("SELECT t.chi_square FROM salesops.log_rank((SELECT salesops.survival(duration, event) FROM sample WHERE arm = 0), "
                     "(SELECT salesops.survival(duration, event) FROM sample WHERE arm = 1)) t"))
    worst[3] = abs(chi - test.test_statistic) / max(test.test_statistic, 1.0)
    print(f"  {name:30s} curve {worst[0]:.1e}  errors {worst[1]:.1e}  median {worst[2]:.1e}  log-rank {worst[3]:.1e}")
    return max(worst)


def main():
    draw = random.Random(7)
    print("largest differences from lifelines")
    worst = []
    for name, frame, column in (("waltons", datasets.load_waltons(), ("T", "E", "group")), ("leukemia", datasets.load_leukemia(), ("t", "status", "Rx"))):
        t, e, g = column
        first = frame[g].iloc[0]
        worst.append(compare(name, [int(x != first) for x in frame[g]], list(frame[t]), list(frame[e])))
    for size in (20, 200, 5000):
        arm = [i % 2 for i in range(size)]
        weeks = [float(int(draw.expovariate(0.02 if a else 0.03)) + 1) for a in arm]
        worst.append(compare(f"{size} draws, ties", arm, weeks, [draw.random() < 0.6 for _ in arm]))
    size = 1_000_000
    rng = np.random.default_rng(7)
    weeks = np.ceil(rng.exponential(90, size))
    ended = rng.random(size) < 0.7
    load([0] * size, weeks, ended)
    psql("SELECT salesops.median(salesops.survival(duration, event)) FROM sample")
    start = time.perf_counter()
    psql("SELECT salesops.median(salesops.survival(duration, event)) FROM sample")
    ours = time.perf_counter() - start
    start = time.perf_counter()
    KaplanMeierFitter().fit(weeks, ended)
    theirs = time.perf_counter() - start
    print(f"a million durations: salesops {ours:.2f} s from the table, lifelines {theirs:.2f} s from an array; ratio {ours / theirs:.2f}")
    if max(worst) > 1e-9:
        sys.exit("they differ")


main()
