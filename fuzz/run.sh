#!/usr/bin/env bash
# Fuzzes one target on the stable toolchain: fuzz/run.sh TARGET [SECONDS]. Needs g++.
set -euo pipefail
cd "$(dirname "$0")"
target=${1:?a target: v1, v2, json or blob}
seconds=${2:-600}
host=$(rustc -vV | sed -n 's/^host: //p')
export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
 -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing"
cargo build --release --target "$host" --bin "$target"
mkdir -p "found/$target"
# New inputs go to found/; corpus/ holds the committed ones.
"${CARGO_TARGET_DIR:-target}/$host/release/$target" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=10 -max_len=8192 \
    "found/$target" "corpus/$target"
