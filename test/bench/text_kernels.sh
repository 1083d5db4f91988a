#!/usr/bin/env bash
# Nanoseconds a pair of the kernels against rapidfuzz's C++ core, whose headers come with the package's source distribution. pip asks a source
# for its metadata, for which this package would compile all of itself (minutes); told to leave its extension out it only unpacks.
set -eu
cd "$(dirname "$0")/../.."
version=$(sed -n 's/^rapidfuzz==//p' test/bench/requirements-text.txt)
peer=build/bench/rapidfuzz-$version/extern/rapidfuzz-cpp
if [ ! -d "$peer" ]; then
  mkdir -p build/bench
  SKBUILD_WHEEL_CMAKE=false RAPIDFUZZ_BUILD_EXTENSION=0 "${PYTHON:-python3}" -m pip download -q --no-deps --no-binary rapidfuzz "rapidfuzz==$version" -d build/bench || true
  tar xzf "build/bench/rapidfuzz-$version.tar.gz" -C build/bench || { echo "# the source of rapidfuzz $version could not be had"; exit 0; }
fi
make -s build/kernels/libkernels.a
g++ -std=c++17 -O2 -DNDEBUG -Isrc -I"$peer" test/bench/text_kernels.cpp build/kernels/libkernels.a -lm -o build/bench/text_kernels
build/bench/text_kernels
