#!/usr/bin/env python3
"""The text kernels against rapidfuzz on random and adversarial Unicode pairs; exits 1 at any difference.

Use: text_crosscheck.py [pairs, default 1000000] [seed, default 1]   (test/bench/run makes the virtual environment)
Equal means: integers equal, similarities within 1e-12 (rapidfuzz's ratios are percentages, divided here by 100).
Token functions are compared on strings without U+0085 and U+00A0: rapidfuzz takes these for white space only where
some other character of the same string is beyond Latin-1, salesops always.
"""
import array, ctypes, os, random, subprocess, sys
from rapidfuzz import fuzz
from rapidfuzz.distance import DamerauLevenshtein, Indel, Jaro, JaroWinkler, Levenshtein

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LIMIT = 5
ALPHABETS = ["ab", "abcdefghijklmnopqrstuvwxyz", "aeiou rst-'", "żółćęąśźńÅéüß", "αβγδεζηθ ", "абвгдежзик ", "محمدعلي ",
             "王小明李雷 ", "a\u0301e\u0308o\u0302\u0327", "😀😃a\U0001F468\u200D\U0001F469", "a\u00ff\u0100\U0010ffff", "\u2003a b\tc"]


def build():
    path = os.path.join(ROOT, "build", "bench")
    os.makedirs(path, exist_ok=True)
    library = os.path.join(path, "text_bridge.so")
    sources = [os.path.join(ROOT, "src", "text", n + ".c") for n in
               ("codepoints", "narrow", "pattern", "levenshtein", "damerau", "jaro", "pair", "batch", "lcs", "ngram", "tokens")]
    subprocess.run(["cc", "-std=gnu11", "-O2", "-fPIC", "-shared", "-I" + os.path.join(ROOT, "src"), "-I" + os.path.join(ROOT, "test", "unit"),
                    "-o", library, os.path.join(ROOT, "test", "bench", "text_bridge.c")] + sources, check=True)
    return ctypes.CDLL(library)


def word(rnd, alphabet):
    kind = rnd.random()
    if kind < .80:
        n = rnd.randint(0, 30)
    elif kind < .97:
        n = rnd.choice([31, 32, 33, 62, 63, 64, 65, 66])
    else:
        n = rnd.randint(60, 400)
    return "".join(rnd.choices(alphabet, k=n))


def mutate(rnd, s, alphabet):
    s = list(s)
    for _ in range(rnd.randint(0, 4)):
        i = rnd.randint(0, len(s))
        kind = rnd.randint(0, 3)
        if kind == 0:
            s.insert(i, rnd.choice(alphabet))
        elif s and kind == 1:
            del s[i % len(s)]
        elif s and kind == 2:
            s[i % len(s)] = rnd.choice(alphabet)
        elif len(s) > 1:
            i %= len(s) - 1
            s[i], s[i + 1] = s[i + 1], s[i]
    return "".join(s)


def pairs(count, seed):
    rnd = random.Random(seed)
    for _ in range(count):
        alphabet = rnd.choice(ALPHABETS)
        if rnd.random() < .2:
            alphabet += rnd.choice(ALPHABETS)
        a = word(rnd, alphabet)
        kind = rnd.random()
        if kind < .5:
            b = mutate(rnd, a, alphabet)
        elif kind < .6:
            b = "".join(rnd.sample(a, len(a)))
        elif kind < .65:
            b = a * 2
        else:
            b = word(rnd, rnd.choice([alphabet, rnd.choice(ALPHABETS)]))
        yield (a, b) if rnd.random() < .5 else (b, a)


def packed(strings):
    encoded = [s.encode("utf-8") for s in strings]
    offsets = array.array("Q", [0])
    for e in encoded:
        offsets.append(offsets[-1] + len(e))
    return b"".join(encoded), offsets


def run(entry, function, a, b, count):
    (bytes_a, offset_a), (bytes_b, offset_b) = packed(a), packed(b)
    result = array.array("d", [0.0]) * count
    address = lambda values: ctypes.c_void_p(values.buffer_info()[0])
    entry(function, bytes_a, address(offset_a), bytes_b, address(offset_b), ctypes.c_size_t(count), LIMIT, address(result))
    return result


def jaccard(n):
    def grams(s):
        return {s} if 0 < len(s) < n else {s[i:i + n] for i in range(len(s) - n + 1)}
    def similarity(a, b):
        x, y = grams(a), grams(b)
        return len(x & y) / len(x | y) if x or y else 1.0
    return similarity


FUNCTIONS = [("levenshtein", 0, Levenshtein.distance), ("levenshtein limited", 1, lambda a, b: Levenshtein.distance(a, b, score_cutoff=LIMIT)),
             ("damerau", 2, DamerauLevenshtein.distance), ("jaro", 3, Jaro.similarity), ("jaro_winkler", 4, JaroWinkler.similarity),
             ("indel", 5, Indel.normalized_similarity), ("token_sort", 6, lambda a, b: fuzz.token_sort_ratio(a, b) / 100),
             ("token_set", 7, lambda a, b: fuzz.token_set_ratio(a, b) / 100),
             ("2-gram (Python sets)", 9, jaccard(2)), ("3-gram (Python sets)", 10, jaccard(3)), ("5-gram (Python sets)", 12, jaccard(5))]


def compare(name, got, want, a, b):
    wrong = [i for i in range(len(got)) if abs(got[i] - want[i]) > 1e-12]
    for i in wrong[:5]:
        print(f"  {name}: {a[i]!r} {b[i]!r} got {got[i]!r}, want {want[i]!r}")
    return len(wrong)


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000000
    library = build()
    wrong = done = 0
    chunk = 50000
    for start in range(0, count, chunk):
        a, b = zip(*pairs(min(chunk, count - start), (int(sys.argv[2]) if len(sys.argv) > 2 else 1) * 1000003 + start))
        for name, function, peer in FUNCTIONS:
            wrong += compare(name, run(library.bridge_pairs, function, a, b, len(a)), list(map(peer, a, b)), a, b)
        for first in range(0, len(a), 997):
            others = b[first:first + 97]
            for name, function, peer in (FUNCTIONS[0], FUNCTIONS[1], FUNCTIONS[4]):
                one = [a[first]] * len(others)
                wrong += compare(name + " batch", run(library.bridge_batch, function, [a[first]], others, len(others)),
                                 list(map(peer, one, others)), one, others)
        done += len(a)
    print(f"{done} pairs, {len(FUNCTIONS)} functions and 3 batches: {wrong} differences")
    return 1 if wrong else 0


sys.exit(main())
