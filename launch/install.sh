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
wanted="$(cat requirements.txt launch/extras.txt pyproject.toml | cksum) $extras"
if [ "$installed" = "$wanted" ]; then
    exit 0
fi
echo "installing into $venv${extras:+, with the extras $extras} …"
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
pip() { "$venv/bin/python" -m pip --quiet --disable-pip-version-check "$@"; }
if [ -n "$extras" ]; then
    pip install --constraint requirements.txt --constraint launch/extras.txt --editable ".[$extras]"
else
    # Python compiles what it imports; of all that is installed, that would be a sixth of the space.
    compile=--no-compile
    [ -z "${PYTHONDONTWRITEBYTECODE:-}" ] || compile=--compile
    # requirements.txt is complete, less what other projects need for what is not used here: TFDS
    # pyarrow for Parquet, tokenizers huggingface_hub for downloads, Orbax uvloop for speed with
    # thousands of arrays. On another Python or system something may lack, which comes after it.
    pip install --no-deps "$compile" --requirement requirements.txt
    lacking=$("$venv/bin/python" -m pip --disable-pip-version-check check 2>/dev/null |
        sed -n 's/.* requires \([^ ,]*\), which is not installed\.$/\1/p' | sort -u |
        grep -vxE 'pyarrow|huggingface[-_]hub|uvloop' || true)
    [ -z "$lacking" ] || pip install --constraint requirements.txt $lacking
    pip install --no-deps --editable .
fi
echo "$wanted" > "$venv/installed"
