#!/usr/bin/env bash
# A message of 1 GiB in each direction through the release build: its memory and its speed.
# The test itself stays a debug build, so that nothing is built twice for it.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --locked --release
target=$(cargo metadata --locked --format-version 1 --no-deps |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
KIMGATE_BINARY="$target/release/kimgate" KIMGATE_LARGE=1 \
    cargo test --locked --test large -- --nocapture
