#!/usr/bin/env bash
# Makes .venv with the tested versions and this project in it; `install.sh test parity` adds extras.
# Does nothing if that is done already. PYTHON is the interpreter (python3), VENV the environment's
# folder (.venv): `PYTHON=python3.13 VENV=.venv-3.13 bash launch/install.sh test`.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
venv=${VENV:-.venv}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "dalle_jax needs Python 3.11 or newer, but $python is $("$python" --version 2>&1);" \
        "name another with PYTHON=…" >&2
    exit 1
fi

# $venv/installed lists the installed versions and extras; extras of earlier calls stay.
installed=$(cat "$venv/installed" 2>/dev/null || true)
extras=$(printf '%s\n' "$@" "${installed##* }" | tr , '\n' | grep . | sort -u | paste -sd, || true)
wanted="$(cat requirements.txt pyproject.toml | cksum) $extras"
if [ "$installed" = "$wanted" ]; then
    exit 0
fi
echo "installing into $venv …"
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --requirement requirements.txt
"$venv/bin/python" -m pip install --quiet --constraint requirements.txt --editable ".${extras:+[$extras]}"
echo "$wanted" > "$venv/installed"
