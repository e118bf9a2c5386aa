#!/usr/bin/env bash
# Installs what the tests need and runs them; with --parity also those against torch and diffusers.
# Other arguments go to pytest: `bash launch/test.sh tests/diffusion -k unipc`. PYTHON and VENV name
# an interpreter and its environment: `PYTHON=python3.13 VENV=.venv-3.13 bash launch/test.sh`.
set -euo pipefail
cd "$(dirname "$0")/.."

extras=(test)
if [ "${1:-}" = "--parity" ]; then
    extras+=(parity)
    shift
fi
venv=${VENV:-.venv}
bash launch/install.sh "${extras[@]}"
"$venv/bin/ruff" format --check .
"$venv/bin/ruff" check .
# Two processes, a file at a time: most of the time is spent compiling, on one core each. In the
# order of their names, as files of few tests, which would come last, are those that take longest.
exec "$venv/bin/python" -m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder "$@"
