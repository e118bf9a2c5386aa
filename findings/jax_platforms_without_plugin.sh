#!/usr/bin/env bash
# jax 0.10.2: JAX_PLATFORMS=cuda where the CUDA plugin is not installed ends in an AssertionError
# without a text, so nothing says what is missing; JAX_PLATFORMS=rocm gives a RuntimeError that names
# the platform.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import os
import subprocess
import sys

script = "import jax\ntry: jax.devices()\nexcept Exception as e: print(type(e).__name__, repr(str(e)))"
found = {}
for platform in ("cuda", "rocm"):
    environment = {**os.environ, "JAX_PLATFORMS": platform}
    run = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True
    )
    found[platform] = run.stdout.strip().splitlines()[-1]
    print(f"JAX_PLATFORMS={platform}: {found[platform][:150]}")
named = found["rocm"].startswith("RuntimeError") and "rocm" in found["rocm"]
sys.exit(not (found["cuda"] == "AssertionError ''" and named))
PYTHON
