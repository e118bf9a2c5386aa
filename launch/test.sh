#!/usr/bin/env bash
# Installs what the tests need and runs them; with --parity also those against torch and diffusers.
# What else is given goes to pytest: `bash launch/test.sh tests/diffusion -k unipc`.
set -euo pipefail
cd "$(dirname "$0")/.."

extras=(test)
if [ "${1:-}" = "--parity" ]; then
    extras+=(parity)
    shift
fi
bash launch/install.sh "${extras[@]}"
.venv/bin/ruff format --check .
.venv/bin/ruff check .
# Two processes, a file at a time: most of the time is spent compiling, on one core each. In the
# order of their names, as files of few tests, which would come last, are those that take longest.
exec .venv/bin/python -m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder "$@"
