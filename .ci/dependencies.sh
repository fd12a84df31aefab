#!/usr/bin/env bash
# Licences, bans and sources of the dependency tree, as deny.toml says, and known faults.
# cargo-deny does it where it is installed (`cargo install cargo-deny --locked`). Building it takes
# eight minutes of CPU time, a third of what all of .ci/run may take, so without it dependencies.py
# reads the same file. RustSec's database of advisories is no package; it is cloned where git reaches it.
set -euo pipefail
cd "$(dirname "$0")/.."

database=target/advisory-db
if [ -d $database/.git ]; then
    GIT_TERMINAL_PROMPT=0 timeout 60 git -C $database pull --quiet --depth 1 || echo "advisories: not the newest"
else
    GIT_TERMINAL_PROMPT=0 timeout 60 \
        git clone --quiet --depth 1 https://github.com/rustsec/advisory-db $database 2>/dev/null || rm -rf $database
fi
[ -d $database ] || echo "advisories: NOT CHECKED, RustSec's database cannot be reached from here"

if command -v cargo-deny >/dev/null; then
    cargo deny --offline check licenses bans sources
fi
if [ -d $database ]; then
    python3 .ci/dependencies.py $database
elif ! command -v cargo-deny >/dev/null; then
    python3 .ci/dependencies.py
fi
