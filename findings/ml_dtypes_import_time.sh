#!/usr/bin/env bash
# ml_dtypes 0.7.0: importing it takes some 50 times the CPU time that 0.6.0 takes, and so does the
# import of all that imports it: half of `import jax` is this. A native profile shows it in
# PyUFunc_AddPromoter: 0.7.0 registers promoters of its types with numpy's ufuncs, and numpy compares
# each with all that are registered.
# Seen: 0.41 s beside 0.009 s, the median of five imports after numpy's, Python 3.11, numpy 2.4.6.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
versions=(0.6.0 0.7.0)
for version in "${versions[@]}"; do
    python3 -m venv "$folder/$version"
    "$folder/$version/bin/pip" install --quiet --disable-pip-version-check \
        numpy==2.4.6 "ml_dtypes==$version"
done
python3 - "$folder" "${versions[@]}" <<'PYTHON'
import statistics
import subprocess
import sys

IMPORT = """
import time, numpy
began = time.process_time()
import ml_dtypes
print(time.process_time() - began)
"""
folder, *versions = sys.argv[1:]
seconds = {version: [] for version in versions}
for _ in range(6):  # the first is not counted: it compiles and reads the files
    for version in versions:
        python = f"{folder}/{version}/bin/python"
        taken = subprocess.run([python, "-c", IMPORT], capture_output=True, text=True, check=True)
        seconds[version].append(float(taken.stdout))
older, newer = (statistics.median(taken[1:]) for taken in seconds.values())
print(f"importing ml_dtypes 0.6.0: {older:.4f} s of CPU, 0.7.0: {newer:.4f} s, {newer / older:.0f} ×")
sys.exit(not newer > 20 * older)
PYTHON
