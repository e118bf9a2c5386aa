#!/usr/bin/env bash
# orbax-checkpoint 0.12.8: one checkpoint whose metric is NaN makes CheckpointManager delete the best
# one. Its ranking sorts the metrics as they are, and a sort with a NaN in it leaves any order.
# Seen: of the losses 0.5, 0.1, NaN, 0.3 (keep one, the smallest is best) step 1 with 0.1 is gone, and
# best_step() is a step with a larger loss.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    orbax-checkpoint==0.12.8 jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - "$folder/checkpoints" <<'PYTHON'
import sys

import numpy as np
import orbax.checkpoint as ocp

options = ocp.CheckpointManagerOptions(
    max_to_keep=1, best_fn=lambda metrics: metrics["loss"], best_mode="min"
)


def kept(folder, losses):
    """The steps that are left, and which of them is said to be the best."""
    with ocp.CheckpointManager(folder, options=options) as manager:
        for step, loss in enumerate(losses):
            weights = ocp.args.StandardSave({"w": np.zeros(2)})
            manager.save(step, args=weights, metrics={"loss": loss})
        manager.wait_until_finished()
        return manager.all_steps(), manager.best_step()


finite = kept(f"{sys.argv[1]}/finite", (0.5, 0.1, 0.4, 0.3))
with_nan = kept(f"{sys.argv[1]}/nan", (0.5, 0.1, float("nan"), 0.3))
print(f"orbax-checkpoint {ocp.__version__}: of the losses 0.5, 0.1, 0.4, 0.3 (steps, best) {finite}")
print(f"with NaN in the place of 0.4: {with_nan}")
sys.exit(not (1 in finite[0] and 1 not in with_nan[0]))
PYTHON
