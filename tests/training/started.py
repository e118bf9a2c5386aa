"""The tiny training as a program of its own that can be stopped, and what it leaves."""

import json
import os
import subprocess
import sys
import time

import jax
import numpy as np

from tests.conftest import PATIENCE, ROOT


def assert_equal(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(np.asarray(x), np.asarray(y)), a, b)


def lines(run_dir):
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def start(run_dir, **environment):
    code = f"from tests.training.tiny import main; main({str(run_dir)!r})"
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **environment},
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_line(run_dir, step):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if (run_dir / "metrics.jsonl").exists() and f'"step": {step},' in (
            run_dir / "metrics.jsonl"
        ).read_text():
            return
        time.sleep(0.01)
    raise TimeoutError(f"step {step} was not reached")
