"""Training, prediction and explanation through SQL against libxgboost on one core, same data, same run.

Peers: the libxgboost that salesops itself trains with (the system's, through its C API), and XGBoost from PyPI. Both predict with one
model, get the matrix ready made and one thread; salesops reads a table of double precision columns. Times are the best of several. The table is 30 features, 3 % NULL.
Batch prediction is measured in turns, since the machine's pace changes. BATCH=1: that alone.
"""
import ctypes, ctypes.util, os, re, subprocess, sys, tempfile, time

try:
    import numpy as np
    import xgboost
except ImportError as e:
    sys.exit(f"# peers are not installed ({e}): pip install -r test/bench/requirements-learn.txt")

ROWS, FEATURES, ROUNDS, EXPLAINED = 50000, 30, 300, 1000
PARAMS = {"objective": "binary:logistic", "tree_method": "hist", "nthread": 1, "verbosity": 0, "eta": 0.1, "min_child_weight": 5,
          "subsample": 0.8, "colsample_bytree": 0.8, "max_bin": 255, "seed": 42}


def psql(sql, stdin=None):
    done = subprocess.run(["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-f", "-"] if stdin is None else
                          ["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-c", sql], input=sql if stdin is None else stdin,
                          capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout


def sql_time(statement, setup="", repeats=5, warm=True):
    """Seconds of the best of some runs in one session, after one that warms up; in one process, unless the set-up says otherwise."""
    out = psql(f"SET max_parallel_workers_per_gather = 0; {setup}\n" + (f"{statement};\n" if warm else "") + "\\timing on\n" + f"{statement};\n" * repeats)
    return min(float(t) for t in re.findall(r"Time: ([\d.]+) ms", out)) / 1000


def best(action, repeats=3):
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = action()
        times.append(time.perf_counter() - start)
    return min(times), result


class Library:
    """The system's libxgboost, through the C API that salesops uses."""

    def __init__(self):
        name = ctypes.util.find_library("xgboost")
        if name is None:
            sys.exit("# libxgboost is not installed")
        self.lib = ctypes.CDLL(name)
        self.lib.XGBGetLastError.restype = ctypes.c_char_p
        version = [ctypes.c_int() for _ in range(3)]
        self.lib.XGBoostVersion(*[ctypes.byref(v) for v in version])
        self.name = "libxgboost " + ".".join(str(v.value) for v in version)

    def check(self, code):
        if code:
            sys.exit(self.lib.XGBGetLastError().decode())

    def matrix(self, x, y=None):
        handle = ctypes.c_void_p()
        interface = '{"data": [%d, true], "shape": [%d, %d], "typestr": "<f4", "version": 3}' % (x.ctypes.data, *x.shape)
        self.check(self.lib.XGDMatrixCreateFromDense(interface.encode(), b'{"missing": NaN, "nthread": 1}', ctypes.byref(handle)))
        if y is not None:
            self.check(self.lib.XGDMatrixSetFloatInfo(handle, b"label", y.ctypes.data_as(ctypes.c_void_p), ctypes.c_uint64(len(y))))
        return handle

    def train(self, x, y, depth):
        matrix = self.matrix(x, y)
        booster = ctypes.c_void_p()
        self.check(self.lib.XGBoosterCreate(ctypes.byref(matrix), ctypes.c_uint64(1), ctypes.byref(booster)))
        for key, value in {**PARAMS, "max_depth": depth}.items():
            self.check(self.lib.XGBoosterSetParam(booster, key.encode(), str(value).encode()))
        for i in range(ROUNDS):
            self.check(self.lib.XGBoosterUpdateOneIter(booster, i, matrix))
        return booster

    def save(self, booster):
        path = os.path.join(tempfile.mkdtemp(), "model.json")
        self.check(self.lib.XGBoosterSaveModel(booster, path.encode()))
        return path

    def predict(self, booster, matrix, kind):
        shape, dim, result = ctypes.POINTER(ctypes.c_uint64)(), ctypes.c_uint64(), ctypes.POINTER(ctypes.c_float)()
        config = '{"type": %d, "training": false, "iteration_begin": 0, "iteration_end": 0, "strict_shape": false}' % kind
        self.check(self.lib.XGBoosterPredictFromDMatrix(booster, matrix, config.encode(), ctypes.byref(shape), ctypes.byref(dim),
                                                        ctypes.byref(result)))
        return result


def make_data():
    rng = np.random.default_rng(7)
    x = rng.uniform(-1, 2, (ROWS, FEATURES))
    x[:, 2::3] = x[:, 2::3] > 0.5
    z = sum(x[:, f] * (1 if f % 2 else -1) * (x[:, 0] if f % 4 == 3 else 1) for f in range(10))
    y = (rng.uniform(size=ROWS) < 1 / (1 + np.exp(-z))).astype(np.float32)
    x[rng.uniform(size=x.shape) < 0.03] = np.nan
    columns = ", ".join(f"f{i} double precision" for i in range(FEATURES))
    psql(f"CREATE TABLE bench (id integer, won boolean, {columns})")
    text = "\n".join(f"{i},{bool(y[i])}," + ",".join("" if np.isnan(v) else repr(float(v)) for v in x[i]) for i in range(ROWS))
    psql("COPY bench FROM STDIN CSV", text)
    psql("VACUUM ANALYZE bench")
    return np.ascontiguousarray(x, dtype=np.float32), y


def line(what, ours, peers, wanted):
    """Rates, and the ratio to each peer; the ratio wanted is to the first, the library that salesops trains with."""
    shown = "".join(f"{rate:>12,.0f}/s x {ours / rate:5.1f}" for rate in peers)
    print(f"  {what:<44}{ours:>12,.0f}/s {shown}" + (f"   wanted x {wanted}" if wanted else ""), flush=True)


def bench_depth(lib, x, y, depth, wanted_batch, wanted_row):
    name = f"trees{depth}"
    train = f"SELECT salesops.train_model('{name}', 'SELECT * FROM bench', 'won', 'boosted_trees', 'id', " \
            f"'{{\"rounds\": {ROUNDS}, \"depth\": {depth}, \"validation\": \"none\"}}')"
    ours = sql_time(train, repeats=2 if depth == 5 and not os.environ.get("BATCH") else 1, warm=False)
    seconds, booster = best(lambda: lib.train(x, y, depth), 2 if depth == 5 and not os.environ.get("BATCH") else 1)
    print(f"depth {depth}: training {ours:.2f} s, {lib.name} {seconds:.2f} s: x {ours / seconds:.2f} (wanted <= 1.2)", flush=True)
    lib.predict(booster, lib.matrix(x[:10].copy()), 1)
    batch_query = f"SELECT sum(probability) FROM salesops.predict_batch('{name}', 'SELECT * FROM bench', 'id')"
    model = xgboost.Booster(model_file=lib.save(booster))
    model.set_param({"nthread": 1})
    model.predict(xgboost.DMatrix(x[:10], nthread=1))
    # a matrix never seen before: the library keeps the predictions of one that it has
    turns = [(sql_time(batch_query, repeats=2), best(lambda m=lib.matrix(x): lib.predict(booster, m, 1), 1)[0],
              best(lambda m=xgboost.DMatrix(x, nthread=1): model.predict(m, output_margin=True), 1)[0]) for _ in range(5)]
    ours, *peers = (ROWS / min(times) for times in zip(*turns))
    line("predict_batch", ours, peers, wanted_batch)
    print("    turn by turn, times the first peer: " + " ".join(f"{turn[1] / turn[0]:.1f}" for turn in turns), flush=True)
    if os.environ.get("BATCH"):
        return peers
    line("evaluate_model: predicted, no rows given out",
         ROWS / sql_time(f"SELECT log_loss FROM salesops.evaluate_model('{name}', 'SELECT * FROM bench', 'won')"), peers, None)
    line("predict, row by row", ROWS / sql_time(f"SELECT sum(salesops.predict('{name}', b)) FROM bench b"), peers, wanted_row)
    if depth == 8:  # the library's contributions take seconds a hundred rows here: see learn_trees
        return peers
    few, pip_few = lib.matrix(x[:EXPLAINED].copy()), xgboost.DMatrix(x[:EXPLAINED], nthread=1)
    shap = best(lambda: lib.predict(booster, few, 2))[0]
    pip_shap = best(lambda: model.predict(pip_few, pred_contribs=True))[0]
    ours = sql_time(f"SELECT count(*) FROM (SELECT b FROM bench b LIMIT {EXPLAINED}) q, salesops.explain_prediction('{name}', q.b, {FEATURES})")
    line("explain_prediction, all features", EXPLAINED / ours, (EXPLAINED / shap, EXPLAINED / pip_shap), 5)
    return peers


def main():
    lib = Library()
    x, y = make_data()
    print(f"{ROWS} rows, {FEATURES} features, {ROUNDS} trees; rates a second on one core, of salesops through SQL, {lib.name}, "
          f"XGBoost {xgboost.__version__} from PyPI; ratios to each")
    peers = bench_depth(lib, x, y, 5, 10, 2.5)
    if os.environ.get("BATCH"):
        bench_depth(lib, x, y, 8, 5, None)
        return
    print(f"reading alone: one column's sum {ROWS / sql_time('SELECT sum(f29) FROM bench'):,.0f} rows/s, whole rows handed to count() "
          f"{ROWS / sql_time('SELECT count(b) FROM bench b'):,.0f} rows/s")
    psql("SELECT salesops.train_model('logistic', 'SELECT * FROM bench', 'won', 'logistic', 'id', '{\"fast\": true}')")
    line("logistic, row by row", ROWS / sql_time("SELECT sum(salesops.predict('logistic', b)) FROM bench b"), peers, 5)
    line("logistic, predict_batch", ROWS / sql_time("SELECT sum(probability) FROM salesops.predict_batch('logistic', 'SELECT * FROM bench', 'id')"),
         peers, None)
    # the kinds of columns that a table of leads has: a third double precision, a third numeric, a third categories of nine levels
    kinds = ", ".join([f"f{i}" for i in range(10)] + [f"round(f{i}::numeric, 2) AS f{i}" for i in range(10, 20)] +
                      [f"'level ' || floor(3 * f{i})::text AS f{i}" for i in range(20, 30)])
    psql(f"CREATE TABLE mixed AS SELECT id, won, {kinds} FROM bench; VACUUM ANALYZE mixed; "
         "SELECT salesops.train_model('mixed', 'SELECT * FROM mixed', 'won', 'logistic', 'id', '{\"fast\": true}')")
    line("  of numbers, numeric and categories, row by row", ROWS / sql_time("SELECT sum(salesops.predict('mixed', b)) FROM mixed b"), peers, None)
    line("  the same, predict_batch", ROWS / sql_time("SELECT sum(probability) FROM salesops.predict_batch('mixed', 'SELECT * FROM mixed', 'id')"),
         peers, None)
    # parallel: enough rows that starting workers does not count
    psql("CREATE TABLE large AS SELECT b.* FROM bench b, generate_series(1, 6); VACUUM ANALYZE large; ")
    query = "SELECT sum(salesops.predict('trees5', b)) FROM large b"
    serial = sql_time(query, "SET max_parallel_workers_per_gather = 0;", 2)
    two = sql_time(query, "SET max_parallel_workers_per_gather = 1; SET parallel_leader_participation = on; SET parallel_setup_cost = 0; "
                   "SET parallel_tuple_cost = 0;", 2)
    print(f"parallel: {6 * ROWS} rows row by row in {serial:.2f} s alone, {two:.2f} s with one more process: x {serial / two:.2f}")
    # trigger: what it adds to an INSERT of one row, many times in one transaction
    psql("CREATE TABLE plain (LIKE bench); ALTER TABLE plain ADD p float8; CREATE TABLE scored (LIKE plain); "
         "CREATE FUNCTION score() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.p := salesops.predict('trees5', NEW); RETURN NEW; END $$; "
         "CREATE TRIGGER score BEFORE INSERT ON scored FOR EACH ROW EXECUTE FUNCTION score()")
    insert = "DO $$ DECLARE r bench; BEGIN FOR r IN SELECT * FROM bench LIMIT 10000 LOOP INSERT INTO {} SELECT r.*; END LOOP; END $$"
    plain, scored = (sql_time(insert.format(t), repeats=3) for t in ("plain", "scored"))
    print(f"trigger: an INSERT of one row takes {plain / 10000 * 1e6:.1f} us without and {scored / 10000 * 1e6:.1f} us with predict in a PL/pgSQL "
          f"trigger: {(scored - plain) / 10000 * 1e6:.1f} us more (wanted < 100)")
    bench_depth(lib, x, y, 8, 5, None)


main()
