"""The ridge strength that cross-validation chooses, against scikit-learn's, for test/pgtap/learn_lambda.sql.

scikit-learn fits LogisticRegression (C = 1 / lambda: the same penalty) to the same rows; ten random deals into five folds of equal
class shares show how much of the answer is the deal's. The data are made so that it is none. Needs no tables.
"""
import warnings
from learn_accuracy import LogisticRegression, np

LAMBDAS = [100, 30, 10, 3, 1, .3]
# kind: rows, columns, scale of the columns, slope on them before they were scaled
KINDS = {"noise alone": (200, 20, 1, 0), "two steep slopes": (400, 2, 1, 5), "many slopes, scaled": (300, 30, 2, .7)}


def rows_of(seed, count, width, scale, slope):
    """the same as the test's function"""
    x, y = np.zeros((count, width)), np.zeros(count, bool)
    for i in range(count):
        for j in range(width):
            seed = seed * 48271 % 2147483647
            x[i, j] = (seed // 1000 % 201 - 100) / 100
        seed = seed * 48271 % 2147483647
        z = sum(x[i, j] * (slope if j % 2 == 0 else -slope) for j in range(width))
        y[i] = seed // 1000 % 10000 / 10000 < 1 / (1 + np.exp(-z))
    return x * scale, y


def losses(x, y, rng):
    fold = np.zeros(len(y), int)
    for label in (False, True):
        rows = np.flatnonzero(y == label)
        rng.shuffle(rows)
        fold[rows] = np.arange(len(rows)) % 5
    sums = np.zeros(len(LAMBDAS))
    for i, penalty in enumerate(LAMBDAS):
        for k in range(5):
            model = LogisticRegression(C=1 / penalty, max_iter=5000, tol=1e-8).fit(x[fold != k], y[fold != k])
            p = model.predict_proba(x[fold == k])[:, 1]
            sums[i] -= np.log(np.where(y[fold == k], p, 1 - p)).sum()
    return sums / len(y)


def main():
    warnings.simplefilter("ignore")
    for kind, of in KINDS.items():
        x, y = rows_of(1, *of)
        rng = np.random.default_rng(0)
        found = np.array([losses(x, y, rng) for _ in range(10)])
        best = found.argmin(axis=1)
        at = found[range(10), best]
        print(f"{kind}: {len(y)} rows, {y.sum()} positive; lambda of ten deals {' '.join(str(LAMBDAS[b]) for b in best)}; "
              f"log loss {at.mean():.4f} ({at.min():.4f} to {at.max():.4f}); by lambda {' '.join(f'{l}: {v:.4f}' for l, v in zip(LAMBDAS, found.mean(axis=0)))}")


main()
