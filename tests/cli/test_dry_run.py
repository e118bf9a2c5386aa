"""What a dry run takes: CPU time, the packages that it imports, and what it compiles."""

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

# They read and write weights, batches and tables, or draw; each takes a tenth of a second or more.
NOT_NEEDED = {"orbax", "grain", "pyarrow", "matplotlib", "tensorboardX", "torch", "tensorflow"}


@pytest.mark.parametrize(
    ("command", "estimates"),
    [
        (("sweep", "experiments/guidance.py", "--workdir"), ["decoder"]),
        (("figure", "unclip_pca", "--sweeps"), ["clip", "decoder"]),
    ],
    ids=["a sweep of 24 points", "a figure of a system"],
)
def test_a_dry_run_takes_seconds_imports_what_it_needs_and_compiles_nothing(
    command, estimates, tmp_path
):
    *verb, workdir = command
    compiled = {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    program = [sys.executable, "-X", "importtime", "-m", "dalle_jax"]
    with open(tmp_path / "out", "w") as out, open(tmp_path / "imports", "w") as imports:
        process = subprocess.Popen(
            [*program, *verb, f"{workdir}={tmp_path / 'new'}", "--dry-run"],
            cwd=ROOT,
            env={**os.environ, "JAX_PLATFORMS": "cpu", **compiled},
            stdout=out,
            stderr=imports,
        )
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    said, lines = (tmp_path / "out").read_text(), (tmp_path / "imports").read_text().splitlines()
    assert process.returncode == 0 and "hours, guessed from how fast this machine" in said
    assert used.ru_utime + used.ru_stime < 30  # of a core, however busy it is

    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}
    assert "jax" in imported and not NOT_NEEDED & imported
    assert not list((tmp_path / "compiled").glob("*"))
    # Each network is traced once, however many points and stages have it.
    counted = json.loads((tmp_path / "new/flops.json").read_text())
    forward = [name.split()[2] for name in counted if name.startswith("estimated forward")]
    assert forward == estimates
