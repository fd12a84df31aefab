#!/usr/bin/env bash
# Licences, bans and sources of the dependency tree, as deny.toml says.
# cargo-deny does it where it is installed (`cargo install cargo-deny --locked`); building it takes
# longer than everything else here, so without it dependencies.py reads the same file.
set -euo pipefail
cd "$(dirname "$0")/.."

if command -v cargo-deny >/dev/null; then
    cargo deny check licenses bans sources
else
    python3 .ci/dependencies.py
fi
