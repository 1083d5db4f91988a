#!/usr/bin/env python3
"""Duplicates among a million generated people: find_duplicates against hand-written one-pass SQL in DuckDB.

Same data, the same four blocking rules, the same weights (ours, as trained), the same threshold, in one run, the two taking turns;
prints the best of each and the ratio. PEOPLE (default 1000000) sets the number of records, RUNS (3) the repetitions. The growth
table (GROWTH=1) repeats ours from 100 k to 3 M records. SPLINK=1 races Splink instead of the hand-written SQL, with the same comparisons, rules
and weights: its prediction alone, the table loaded before.
"""
import json
import os
import resource
import subprocess
import sys
import tempfile
import time

PEOPLE = int(os.environ.get("PEOPLE", "1000000"))
RUNS = int(os.environ.get("RUNS", "3"))
HERE = os.path.dirname(os.path.abspath(__file__))
COMPARISONS = [{"column": c, "method": "jaro_winkler", "thresholds": [0.95, 0.88]} for c in ("first_name", "last_name", "email")] + [
    {"column": c} for c in ("birth_year", "phone", "postcode")]
# the rules as SQL over an alias
RULES = ["right({0}.phone, 4) || {0}.birth_year::text", "{0}.email", "{0}.phone", "{0}.postcode || left({0}.last_name, 3)"]


def psql(sql, *more):
    return subprocess.run(["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", *more, "-c", sql], check=True, capture_output=True, text=True).stdout.strip()


def prepare(people):
    subprocess.run(["psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-v", f"people={people}", "-f", f"{HERE}/people.sql"], check=True,
                   capture_output=True)
    psql("SELECT salesops.drop_matcher('scale')")
    rules = [r.format("bench_people").replace("bench_people.", "") for r in RULES]
    psql("SELECT salesops.create_matcher('scale', 'bench_people', 'id', $j$%s$j$, ARRAY[%s])" % (
        json.dumps(COMPARISONS), ",".join("$r$%s$r$" % r for r in rules)))
    start = time.time()
    psql("SELECT count(*) FROM salesops.train_matcher('scale')")
    return time.time() - start


def ours():
    start = time.time()
    found = int(psql("SELECT count(*) FROM salesops.find_duplicates('scale', 0.95)"))
    return time.time() - start, found


def duckdb_sql(model, prior, least):
    """One pass: each rule's join leaves out the pairs of the rules before it; the weight is summed and filtered there."""
    from math import log2
    terms = []
    for c, table in zip(COMPARISONS, model):
        weight = [log2(m / u) for m, u in zip(table["m"], table["u"])]
        a, b = f'l.{c["column"]}', f'r.{c["column"]}'
        if c.get("method"):
            terms.append(f"CASE WHEN {a} IS NULL OR {b} IS NULL THEN 0 WHEN {a} = {b} THEN {weight[3]} "
                         f"WHEN jaro_winkler_similarity({a}, {b}) >= 0.95 THEN {weight[2]} "
                         f"WHEN jaro_winkler_similarity({a}, {b}) >= 0.88 THEN {weight[1]} ELSE {weight[0]} END")
        else:
            terms.append(f"CASE WHEN {a} IS NULL OR {b} IS NULL THEN 0 WHEN {a} = {b} THEN {weight[1]} ELSE {weight[0]} END")
    score = " + ".join(terms)
    parts = []
    for k, rule in enumerate(RULES):
        before = "".join(f" AND ({RULES[e].format('l')} = {RULES[e].format('r')}) IS NOT TRUE" for e in range(k))
        parts.append(f"SELECT l.id, r.id FROM people l JOIN people r ON {rule.format('l')} = {rule.format('r')} AND l.id < r.id "
                     f"WHERE {score} >= {least}{before}")
    return "SELECT count(*) FROM (" + " UNION ALL ".join(parts) + ")"


def splink_predict(connection, model):
    """Seconds and pairs of one prediction by Splink with our model."""
    import logging
    import splink.comparison_library as cl
    from splink import DuckDBAPI, Linker, SettingsCreator
    from splink.blocking_rule_library import CustomRule
    logging.disable(logging.WARNING)
    comparisons = []
    for c, table in zip(COMPARISONS, model["comparisons"]):
        made = cl.JaroWinklerAtThresholds(c["column"], c["thresholds"]) if c.get("method") else cl.ExactMatch(c["column"])
        comparisons.append(made.configure(m_probabilities=table["m"][::-1], u_probabilities=table["u"][::-1]))
    settings = SettingsCreator(link_type="dedupe_only", unique_id_column_name="id", comparisons=comparisons,
                               blocking_rules_to_generate_predictions=[CustomRule(f"{r.format('l')} = {r.format('r')}") for r in RULES],
                               probability_two_random_records_match=model["prior"], retain_intermediate_calculation_columns=False,
                               retain_matching_columns=False)
    linker = Linker("people", settings, DuckDBAPI(connection))
    start = time.time()
    found = linker.inference.predict(threshold_match_probability=0.95)
    seconds = time.time() - start
    return seconds, connection.execute(f"SELECT count(*) FROM {found.physical_name}").fetchone()[0]


def main():
    from math import log2
    if os.environ.get("GROWTH"):
        for people in (100000, 300000, 1000000, 3000000):
            trained = prepare(people)
            best = min(ours()[0] for _ in range(RUNS))
            print(f"{people:>9} people  train {trained:6.2f} s  find {best:6.2f} s  {best / people * 1e6:5.2f} us a record")
        return
    trained = prepare(PEOPLE)
    model = json.loads(psql("SELECT model FROM salesops.matcher WHERE matcher = 'scale'"))
    pairs = psql("SELECT training->>'candidate_pairs' FROM salesops.matcher WHERE matcher = 'scale'")
    print(f"{PEOPLE} people, {pairs} candidate pairs, trained in {trained:.1f} s")
    try:
        import duckdb
    except ImportError:
        print("duckdb is not installed (test/bench/requirements-match.txt): ours alone")
        print(f"find_duplicates {min(ours()[0] for _ in range(RUNS)):.2f} s")
        return
    prior = log2(model["prior"] / (1 - model["prior"]))
    sql = duckdb_sql(model["comparisons"], prior, log2(0.95 / 0.05) - prior)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "people.csv")
        with open(path, "w") as out:
            subprocess.run(["psql", "-Xq", "-c", "COPY (SELECT id, first_name, last_name, birth_year, email, phone, postcode FROM bench_people) "
                            "TO STDOUT (FORMAT csv, HEADER)"], stdout=out, check=True)
        connection = duckdb.connect()
        connection.execute("SET threads = 2")
        connection.execute("CREATE TABLE people AS SELECT * FROM read_csv(?, header = true, types = {'phone': 'VARCHAR', 'postcode': 'VARCHAR'})", [path])
    if os.environ.get("SPLINK"):
        mine, found = min(ours() for _ in range(RUNS))
        theirs, pairs = splink_predict(connection, model)
        print(f"find_duplicates      {mine:6.2f} s  {found} pairs at .95 (from the table, psql's start included)")
        print(f"Splink's predict     {theirs:6.2f} s  {pairs} pairs (two threads, table already loaded)")
        print(f"ratio                {mine / theirs:6.3f}")
        return
    best = {"ours": 1e9, "duckdb": 1e9}
    for _ in range(RUNS):
        seconds, found = ours()
        best["ours"] = min(best["ours"], seconds)
        start = time.time()
        theirs = connection.execute(sql).fetchone()[0]
        best["duckdb"] = min(best["duckdb"], time.time() - start)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"find_duplicates      {best['ours']:6.2f} s  {found} pairs at .95 (from the table, psql's start included)")
    print(f"DuckDB one-pass SQL  {best['duckdb']:6.2f} s  {theirs} pairs (two threads, table already loaded, {memory:.0f} MB)")
    print(f"ratio                {best['ours'] / best['duckdb']:6.2f}")


if __name__ == "__main__":
    sys.exit(main())
