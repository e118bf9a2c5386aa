"""The held-out losses of runs, and the protocols under which they can be compared."""

import json
from typing import Any

from dalle_jax.sweeps.layout import SweepLayout
from dalle_jax.sweeps.progress import read_curves
from dalle_jax.sweeps.shared_runs import StageRun

LOSS = "validation/loss"  # as trainings log it; `STAGE/validation/loss` in the table
# Settings of a loss that say how weights are found, and not how their loss is computed.
OF_TRAINING = ("sam_radius", "stop_gradient")


def last_loss(run: StageRun, layout: SweepLayout) -> float | None:
    """The last held-out loss of a trained run; None if it is not trained or logged none."""
    _, values = read_curves(layout.run(run.key)).get(LOSS, ((), ()))
    return values[-1] if values and layout.is_trained(run) else None


def loss_protocol(run: StageRun) -> dict[str, Any]:
    """The protocol of a run's held-out loss: losses under different ones can't be compared.

    It is "loss_of" the stage, with what the network predicts, how errors are weighted, the noise
    and the data.
    """
    config = run.config[run.stage]
    loss = {
        name: value
        for name, value in config.get("loss", {}).items()
        if not name.endswith("dropout") and name not in OF_TRAINING
    }
    data = {name: run.config["data"].get(name) for name in ("source", "image_size", "captions")}
    kind = config.get("kind")
    diffusion = config.get("diffusion")
    images = config["train"].get("validation_images")
    return json.loads(
        json.dumps(
            {
                **{"loss_of": run.stage, "loss": loss, "diffusion": diffusion, "kind": kind},
                **{"data": data, "validation_images": images},
            }
        )
    )
