#!/usr/bin/env python3
"""Quality without labels: ours with default options beside Splink with the settings of its own documentation, in one run.

Splink's settings are those of pages of its documentation (repository moj-analytical-services/splink, below docs/demos):
 - fake1000, "tutorial": tutorials/04_Estimating_model_parameters
 - fake1000, "labelled": examples/duckdb/accuracy_analysis_from_labels_column
 - febrl: examples/duckdb/febrl3, without soc_sec_id, which neither may see
Where they differ: dates are read as texts here, predictions begin at 0.01 for the thresholds below, and the random sample has a seed
where the page has none. Pairs: F1 at 0.95 and at the best of the same thresholds; clusters: F1 of the pairs within clusters, at 0.95
and at the best, ours by average linkage at its default and best threshold.
"""
import itertools
import logging
import os
import subprocess
import sys
import time

DATA = os.environ.get("SALESOPS_DATA", "")
THRESHOLDS = [0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999]
SETS = {
    "febrl1": ("febrl1/dataset1.csv", "rec_id", "soc_sec_id", "split_part(rec_id, '-', 2)"),
    "febrl2": ("febrl2/dataset2.csv", "rec_id", "soc_sec_id", "split_part(rec_id, '-', 2)"),
    "fake1000": ("splink-fake1000/fake_1000.csv", "unique_id", "cluster", "cluster"),
}


def psql(sql):
    return subprocess.run(["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-c", sql], check=True, capture_output=True, text=True).stdout.strip()


def ours(name):
    path, key, hidden, truth = SETS[name]
    with open(f"{DATA}/{path}") as source:
        columns = [c.strip() for c in source.readline().split(",")]
    psql(f"DROP TABLE IF EXISTS {name}; CREATE TABLE {name} ({', '.join(c + ' text' for c in columns)}, PRIMARY KEY ({key}))")
    with open(f"{DATA}/{path}") as source:
        subprocess.run(["psql", "-Xq", "-c", f"COPY {name} FROM STDIN (FORMAT csv, HEADER)"], stdin=source, check=True)
    start = time.time()
    psql(f"SELECT salesops.create_matcher('{name}', '{name}', '{key}', options => '{{\"exclude\": [\"{hidden}\"]}}')")
    psql(f"SELECT count(*) FROM salesops.train_matcher('{name}')")
    seconds = time.time() - start

    def f1(of, at):
        return float(psql(f"SELECT f1 FROM salesops.evaluate_matcher('{name}', 'SELECT {key}, {truth.replace(chr(39), chr(39) * 2)} AS cluster "
                          f"FROM {name}', {at}, '{of}')"))
    pairs = {t: f1("pairs", t) for t in THRESHOLDS}
    clusters = {t: f1("clusters", t) for t in THRESHOLDS}
    return pairs, clusters, 0.5, seconds


PAGES = {"febrl1": ["febrl3"], "febrl2": ["febrl3"], "fake1000": ["tutorial", "labelled"]}


def by_page(page, cl, block_on):
    """Comparisons, blocking rules, deterministic rules and their recall, random pairs and seed, rules of EM passes and their options."""
    city = cl.ExactMatch("city").configure(term_frequency_adjustments=True)
    if page == "tutorial":
        return {
            "comparisons": [cl.NameComparison("first_name"), cl.NameComparison("surname"), cl.LevenshteinAtThresholds("dob", 1), city,
                            cl.EmailComparison("email")],
            "blocking": [block_on("first_name", "city"), block_on("surname")],
            "deterministic": [block_on("first_name", "dob"), "l.first_name = r.first_name and levenshtein(r.surname, l.surname) <= 2", block_on("email")],
            "recall": 0.7, "random": {"max_pairs": 2e6, "seed": 42}, "em": [block_on("first_name", "surname"), block_on("dob")], "em_options": {}}
    if page == "labelled":
        return {
            "comparisons": [cl.ForenameSurnameComparison("first_name", "surname"), cl.DateOfBirthComparison("dob", input_is_string=True), city,
                            cl.EmailComparison("email")],
            "blocking": [block_on("first_name"), block_on("surname"), block_on("dob"), block_on("email")],
            "deterministic": ["l.first_name = r.first_name and levenshtein(r.dob, l.dob) <= 1", "l.surname = r.surname and levenshtein(r.dob, l.dob) <= 1",
                              "l.first_name = r.first_name and levenshtein(r.surname, l.surname) <= 2", "l.email = r.email"],
            "recall": 0.7, "random": {"max_pairs": 1e6, "seed": 5}, "em": [block_on("dob"), block_on("email"), block_on("first_name", "surname")],
            "em_options": {"estimate_without_term_frequencies": True}}
    return {
        "comparisons": [cl.NameComparison("given_name"), cl.NameComparison("surname"),
                        cl.DateOfBirthComparison("date_of_birth", input_is_string=True, datetime_format="%Y%m%d"),
                        cl.ExactMatch("street_number").configure(term_frequency_adjustments=True),
                        cl.ExactMatch("postcode").configure(term_frequency_adjustments=True)],
        "blocking": [block_on("given_name"), block_on("surname"), block_on("date_of_birth"), block_on("postcode")],
        "deterministic": [block_on("given_name", "surname", "date_of_birth"),
                          "l.given_name = r.surname and l.surname = r.given_name and l.date_of_birth = r.date_of_birth"],
        "recall": 0.9, "random": {"max_pairs": 1e6, "seed": 2}, "em": [block_on("date_of_birth"), block_on("postcode")], "em_options": {}}


def f1_of(found, truth):
    hits = len(found & truth)
    return 2 * hits / (len(found) + len(truth)) if found or truth else 0.0


def within(groups):
    return {pair for members in groups.values() for pair in itertools.combinations(sorted(members), 2)}


def splink(name, page):
    import pandas as pd
    import splink.comparison_library as cl
    from splink import DuckDBAPI, Linker, SettingsCreator, block_on
    logging.disable(logging.WARNING)
    path, key, hidden, _ = SETS[name]
    frame = pd.read_csv(f"{DATA}/{path}", skipinitialspace=True, dtype=str)
    frame[key] = frame[key].str.strip()
    entity = dict(zip(frame[key], frame[key].str.split("-").str[1] if hidden == "soc_sec_id" else frame[hidden]))
    truth = {}
    for record, who in entity.items():
        truth.setdefault(who, []).append(record)
    truth = within(truth)
    use = by_page(page, cl, block_on)
    settings = SettingsCreator(link_type="dedupe_only", unique_id_column_name=key, comparisons=use["comparisons"],
                               blocking_rules_to_generate_predictions=use["blocking"])
    start = time.time()
    linker = Linker(frame.drop(columns=[hidden]), settings, DuckDBAPI())
    linker.training.estimate_probability_two_random_records_match(use["deterministic"], recall=use["recall"])
    linker.training.estimate_u_using_random_sampling(**use["random"])
    for rule in use["em"]:
        linker.training.estimate_parameters_using_expectation_maximisation(rule, **use["em_options"])
    seconds = time.time() - start
    predictions = linker.inference.predict(threshold_match_probability=0.01)
    rows = predictions.as_pandas_dataframe()
    scored = [(tuple(sorted((a, b))), p) for a, b, p in zip(rows[key + "_l"], rows[key + "_r"], rows["match_probability"])]
    pair_f1 = {t: f1_of({pair for pair, p in scored if p >= t}, truth) for t in THRESHOLDS}
    cluster_f1 = {}
    for t in THRESHOLDS:
        groups = {}
        found = linker.clustering.cluster_pairwise_predictions_at_threshold(predictions, t).as_pandas_dataframe()
        for record, cluster in zip(found[key], found["cluster_id"]):
            groups.setdefault(cluster, []).append(record)
        cluster_f1[t] = f1_of(within(groups), truth)
    return pair_f1, cluster_f1, 0.95, seconds


def line(name, who, result):
    pairs, clusters, default, seconds = result
    best = max(pairs, key=pairs.get)
    best_clusters = max(clusters, key=clusters.get)
    print(f"{name:<9} {who:<16} pairs {pairs[0.95]:.4f} at .95, {pairs[best]:.4f} at best ({best:g}); "
          f"clusters {clusters[default]:.4f} at {default:g}, {clusters[best_clusters]:.4f} at best ({best_clusters:g}); trained in {seconds:.1f} s", flush=True)


def main():
    if not os.path.exists(f"{DATA}/febrl1/dataset1.csv"):
        print("no data sets: set SALESOPS_DATA")
        return
    for name in SETS:
        line(name, "ours", ours(name))
        try:
            for page in PAGES[name]:
                line(name, f"splink {page}", splink(name, page))
        except ImportError:
            print("splink is not installed (test/bench/requirements-match.txt): ours alone")


if __name__ == "__main__":
    sys.exit(main())
