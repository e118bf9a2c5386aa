"""Do the paper's sizes fit, and what grows with the machine? The tables of docs/scale.md.

    python experiments/scaling_table.py                # all of configs/dalle2, some minutes
    python experiments/scaling_table.py --config=configs/dalle2/decoder.py

For each config of `configs/dalle2` and each pod of PODS: bytes a device with weights cut over 64
devices, the batch over all, in as few parts as fit, and blocks computed again for the gradient.
Then memory and traffic from 1 to 4,096 devices with eight images on each. All of it is arithmetic
from shapes (`cost/footprint.py`); nothing is compiled, and no device or weight is needed.
"""

import argparse
import os
from pathlib import Path
from typing import NamedTuple

os.environ["JAX_PLATFORMS"] = "cpu"

import jax

from dalle_jax.config.load import load_config
from dalle_jax.cost.abstract import abstract_training
from dalle_jax.cost.footprint import (
    Residuals,
    device_bytes,
    gathered_arrays,
    gradient_residuals,
    num_bytes,
    traffic,
)
from dalle_jax.nn.remat import rematerialized
from dalle_jax.stages.clip import Clip
from dalle_jax.training.sharding import abstract_mesh


class Pod(NamedTuple):
    """Chips, and the memory of each in bytes as its maker states it."""

    name: str
    chips: int
    memory: float


PODS = (
    Pod("TPU v5e, 256 chips of 16 GB", 256, 16e9),
    Pod("TPU v4, 256 chips of 32 GiB", 256, 32 * 2**30),
    Pod("TPU v5p, 128 chips of 95 GB", 128, 95e9),
    Pod("H100, 64 of 80 GB", 64, 80e9),
)
USABLE = 0.9  # of the memory; the rest is the runtime's and what fragments
FSDP = 64  # devices that share one copy of the weights
DEVICES = (1, 8, 64, 512, 4096)
IMAGES_A_DEVICE = 8
GB = 1e9

POD_HEADINGS = """
| config | pod | images a device × parts | state and largest array, GB | rest, GB | sum, GB | |
|---|---|---|---|---|---|---|"""
GROWTH_HEADINGS = """
| config | devices | data × fsdp | state, GB | activations, GB | gathered, GB | scattered, GB | \
averaged, GB |
|---|---|---|---|---|---|---|---|"""


def kept_by(training, policy: str) -> Residuals:
    """What a step keeps for its gradient, for the whole batch at once."""

    def loss(params, frozen, batch, key):
        return training.stage.loss(params, frozen, batch, key, train=True)[0]

    with rematerialized(policy):
        key = jax.eval_shape(lambda: jax.random.key(0))
        return gradient_residuals(loss, training.state.params, training.frozen, training.batch, key)


def state_bytes(training, mesh) -> int:
    """Of one device: parameters, average, optimizer, frozen weights; for each gradient of a step
    its own, and for the second the parameters that it is taken at."""
    params, gradients = device_bytes(training.state.params, mesh), training.stage.num_gradients
    kept = device_bytes(training.state, mesh) + device_bytes(training.frozen, mesh)
    return kept + (2 * gradients - 1) * params


def working_bytes(training, mesh, kept: Residuals, parts: int) -> float:
    """Of one device: batch, activations, the block at work, weights in the computing dtype."""
    shards = mesh.shape["data"] * mesh.shape["fsdp"]
    params = training.state.params
    weights = kept.weights * device_bytes(params, mesh) / num_bytes(params)
    activations = (kept.activations + kept.block) / parts
    return (num_bytes(training.batch) + activations) / shards + weights


def largest_array(training, mesh) -> int:
    """Bytes of the largest array that is gathered before it is used."""
    return max(gathered_arrays(training.state.params, mesh))


def fits(training, pod: Pod, kept: Residuals) -> str:
    """A row of the table of pods, after the pod's name."""
    mesh = abstract_mesh({"data": -1, "fsdp": FSDP}, pod.chips)
    batch = training.settings["batch_size"]
    held = state_bytes(training, mesh) + largest_array(training, mesh)
    # A contrastive loss needs its whole batch at once.
    most = 1 if isinstance(training.stage, Clip) else batch // pod.chips
    for parts in (2**i for i in range(most.bit_length()) if batch % (2**i * pod.chips) == 0):
        total = held + working_bytes(training, mesh, kept, parts)
        if total < USABLE * pod.memory:
            break
    verdict = "fits" if total < USABLE * pod.memory else "**does not fit**"
    return (
        f"{batch // pod.chips // parts} × {parts} | {held / GB:.2f} | {(total - held) / GB:.2f} | "
        f"{total / GB:.2f} of {pod.memory / GB:.1f} | {verdict}"
    )


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", action="append", help="one of configs/dalle2 (default: all)")
    configs = parser.parse_args().config or sorted(
        path for path in Path("configs/dalle2").glob("*.py") if path.stem != "__init__"
    )
    pods, growth = [], []
    for path in configs:
        config = load_config(path)
        name = config.stages[-1]
        training = abstract_training(name, config.to_dict())
        kept = {policy: kept_by(training, policy) for policy in ("none", "blocks")}
        rows = training.settings["batch_size"]
        count = sum(x.size for x in jax.tree.leaves(training.state.params))
        image = {policy: kept[policy].activations / rows / 1e6 for policy in kept}
        print(
            f"{Path(path).stem}: {count / 1e9:.2f} billion parameters, batch {rows}; kept for the "
            f"gradient of an image: {image['none']:,.0f} MB, with blocks computed again "
            f"{image['blocks']:,.0f} MB and {kept['blocks'].block / rows / 1e6:,.0f} MB at work",
            flush=True,
        )
        for pod in PODS:
            pods.append(
                f"| {Path(path).stem} | {pod.name} | {fits(training, pod, kept['blocks'])} |"
            )
            print(pods[-1], flush=True)
        for devices in DEVICES:
            fsdp = min(devices, FSDP)
            for axes in dict.fromkeys(((1, devices), (devices // fsdp, fsdp))):
                mesh = abstract_mesh(dict(zip(("data", "fsdp"), axes)), devices)
                gradients = training.stage.num_gradients
                sent = traffic(training.state.params, training.frozen, mesh, gradients)
                activations = (kept["blocks"].activations + kept["blocks"].block) / rows
                growth.append(
                    f"| {Path(path).stem} | {devices:,} | {axes[0]} × {axes[1]} | "
                    f"{state_bytes(training, mesh) / GB:.2f} | "
                    f"{IMAGES_A_DEVICE * activations / GB:.2f} | {sent.gathered / GB:.2f} | "
                    f"{sent.scattered / GB:.2f} | {sent.reduced / GB:.2f} |"
                )
                print(growth[-1], flush=True)
    print(POD_HEADINGS, *pods, sep="\n")
    print(GROWTH_HEADINGS, *growth, sep="\n")


if __name__ == "__main__":
    main()
