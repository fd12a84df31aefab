#!/usr/bin/env bash
# Licences, bans and sources of the dependency tree, as deny.toml says.
# cargo-deny does it where it is installed (`cargo install cargo-deny --locked`). Building it takes
# eight minutes of CPU time, a third of what all of .ci/run may take, so without it dependencies.py
# reads the same file. Neither asks the network for advisories.
set -euo pipefail
cd "$(dirname "$0")/.."

if command -v cargo-deny >/dev/null; then
    cargo deny --offline check licenses bans sources
else
    python3 .ci/dependencies.py
fi
