#!/usr/bin/env bash
# Boosted trees: prediction in batch and row by row, and contributions, against libxgboost on one core, without a server.
# Use: test/bench/learn_trees.sh [DEPTH …]   (default 3 5 8), or --reference to print test/unit/trees_model.h
set -eu
cd "$(dirname "$0")/../.."
mkdir -p build
make -s build/kernels/libkernels.a >&2
gcc -O2 -std=gnu11 -Isrc -Itest/unit test/bench/learn_trees.c build/kernels/libkernels.a -lxgboost -lm -o build/learn_trees
[ $# -gt 0 ] || set -- 3 5 8
OMP_NUM_THREADS=1 build/learn_trees "$@"
