# The one door for commands; CI and the hook go through it as well.

# List the recipes.
default:
    @just --list

# Format, lints with and without optional features, documentation.
check:
    cargo fmt --check
    cargo clippy --locked --all-targets -- -D warnings
    cargo clippy --locked --all-targets --no-default-features -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items

# All tests; foreign programs that are missing are named and skipped.
test *ARGS:
    cargo test --locked {{ARGS}}

# The dialogues at the wire alone.
transcripts:
    cargo test --locked --test it transcripts::

# Every fault of a client module at every place of a session, with what became of it.
fault-matrix:
    cargo test --locked --test fault_matrix -- --nocapture

# What holds for any bytes, with so many random cases for each property.
properties CASES="1000000":
    PROPTEST_CASES={{CASES}} cargo test --locked --test it properties:: -- --nocapture

# Cases that break one of these properties, sought by libFuzzer for so many seconds each.
fuzz NAME="all" SECONDS="60":
    tests/fuzz/run {{NAME}} {{SECONDS}}

# Twenty minutes of mail programs, faults, renewals and reloads; every message accounted for.
soak SECONDS="1200":
    KIMGATE_SOAK={{SECONDS}} cargo test --locked --test soak -- --nocapture

# How much memory so many hostile connections cost.
hostile CONNECTIONS="2000":
    KIMGATE_HOSTILE={{CONNECTIONS}} cargo test --locked --test overload hostile -- --nocapture

# How fast a practice works beside floods of connections, refusals, strangers and certificates.
floods:
    cargo test --locked --test overload floods -- --ignored --nocapture

# What kimgate says to some ninety certificates under every policy, as a table to read.
trust-matrix:
    @sed '/^$/q' tests/trust_matrix.txt
    cargo test --locked --test it trust_matrix:: -- --nocapture

# A message of 1 GiB in each direction through the release build.
large:
    .ci/large.sh

# Licences, bans and sources of the dependencies.
deny:
    .ci/dependencies.sh

# Everything that has to hold before a change goes in; installs the foreign programs.
ci:
    .ci/run

# Simulated client module and gateway in one process, until Ctrl-C.
demo *ARGS:
    cargo run --locked -- demo {{ARGS}}

# The same as two processes with config/lab.toml.
lab:
    #!/usr/bin/env bash
    set -euo pipefail
    cargo build --locked
    target=$(cargo metadata --format-version 1 --no-deps | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
    "$target/debug/kimgate" simulate --pop3 127.0.0.1:2995 --smtp 127.0.0.1:2465 &
    trap "kill $!" EXIT
    "$target/debug/kimgate" run --config config/lab.toml

# A certificate authority for a lab, with a gateway's and workstations' certificates, outside the repository.
certs FOLDER *NAMES:
    certs/make-lab-ca.sh {{FOLDER}} {{NAMES}}

# The container image (needs a Docker engine).
image:
    docker build --file docker/Dockerfile --tag kimgate .

# The Debian package, from a release build.
package:
    cargo build --locked --release
    .ci/package.sh

# Run `just check` before each commit, and refuse private keys.
hook:
    install -m 755 .ci/pre-commit "$(git rev-parse --git-path hooks)/pre-commit"
