#!/usr/bin/env bash
# safetensors 0.8.0: whether safetensors.numpy can read bfloat16 depends on the reader. Of bytes, load
# can't read what save wrote; of a file with the same bytes, load_file and safe_open can.
# Seen: of a bfloat16 array (ml_dtypes), load(save(…)) raises KeyError 'BF16'; load_file and
# safe_open(…, "numpy") give it back, equal.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    safetensors==0.8.0 numpy==2.4.6 ml_dtypes==0.7.0
"$folder/venv/bin/python" - "$folder/weights.safetensors" <<'PYTHON'
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import safetensors
from safetensors.numpy import load, load_file, save, save_file

path = Path(sys.argv[1])
array = np.array([0.5, 1.5, -3.0], ml_dtypes.bfloat16)
save_file({"w": array}, path)


def outcome(read):
    """What a reader gives back: "equal", or the error."""
    try:
        return "equal" if np.array_equal(read(), array) else "another array"
    except Exception as error:
        return repr(error)


def by_safe_open():
    with safetensors.safe_open(path, "numpy") as file:
        return file.get_tensor("w")


readers = {
    "load_file": lambda: load_file(path)["w"],
    "load": lambda: load(save({"w": array}))["w"],
    "safe_open": by_safe_open,
}
seen = {name: outcome(read) for name, read in readers.items()}
print(f"safetensors {safetensors.__version__}: {seen}")
sys.exit(seen != {"load_file": "equal", "load": "KeyError('BF16')", "safe_open": "equal"})
PYTHON
