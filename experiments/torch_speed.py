"""The quickstart's decoder beside its PyTorch twin on the CPU: same weights, in turns.

    PYTHONPATH=. taskset -c 1 python experiments/torch_speed.py

Torch eager and compiled, each in its own memory format and in channels_last, of which the faster
counts, with a thread a core. `gradient` is of the loss of 16 images with fresh noise; `step` has
clipping, AdamW and the moving average too; with Muon ours is the quickstart's, torch's still with
AdamW; `sampling` is ten guided evaluations of 32 images, ours with UniPC. Huge pages serve torch as
well. CPU time means speed on one core alone. Needs the `parity` extra and a C++ compiler.
"""

import argparse
import copy
import functools
import os
import time

from dalle_jax import cpu

if __name__ == "__main__":
    cpu.restart_with_heap()

import jax
import jax.numpy as jnp
import numpy as np
import torch

from configs import quickstart
from dalle_jax.stages import build_stage
from dalle_jax.train.optim import make_optimizer
from dalle_jax.train.sharding import make_mesh
from dalle_jax.train.state import create_state
from dalle_jax.train.step import make_train_step
from tests.models import torch_unet
from tests.random_params import random_params

FORMATS = {"": torch.contiguous_format, ", channels_last": torch.channels_last}


def in_jax(stage, decoder, params, batch):
    """What is timed, by name: functions that compute and wait."""
    key, mesh = jax.random.key(0), make_mesh({"data": -1})
    whole = jax.NamedSharding(mesh, jax.P())
    gradient = jax.jit(jax.grad(functools.partial(stage.loss, train=True), has_aux=True))
    draw = jax.jit(functools.partial(stage.sample, **decoder["sample"]))
    inputs = {"tokens": batch["tokens"], "sample_index": jnp.arange(len(batch["tokens"]))}

    def stepper(name):
        optimizer = make_optimizer(**decoder["train"]["optimizer"] | {"name": name}, steps=9999)
        start = jax.tree.map(jnp.copy, params)  # the step consumes its state
        state = jax.device_put(create_state(stage, optimizer, key, start), whole)
        run = make_train_step(stage, optimizer, mesh=mesh, state_shardings=whole, ema_decay=0.998)

        def step():
            nonlocal state
            state, metrics = run(state, {}, batch, key)
            jax.block_until_ready((state, metrics))

        return step

    return {
        "gradient": lambda: jax.block_until_ready(gradient(params, {}, batch, key)),
        "step": stepper("adamw"),
        "step with Muon": stepper("muon"),
        "sampling": lambda: jax.block_until_ready(draw(params, inputs, key)),
    }


def in_torch(twin, batch, wrap, memory_format):
    """As `in_jax`, but for Muon; `wrap` is torch.compile or nothing."""
    model = copy.deepcopy(twin).to(memory_format=memory_format)
    average = [p.detach().clone() for p in model.parameters()]
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, (0.9, 0.99), fused=True)
    images, tokens = torch.from_numpy(batch["image"]), torch.from_numpy(batch["tokens"])
    images = images.permute(0, 3, 1, 2).contiguous(memory_format=memory_format)
    noise = functools.partial(torch.randn_like, images, dtype=torch.float32)
    network = wrap(model.network)

    @wrap
    def loss(images, eps, t):
        x_0 = images / 127.5 - 1
        alpha, sigma = (f(t * torch.pi / 2)[:, None, None, None] for f in (torch.cos, torch.sin))
        v = alpha * eps - sigma * x_0
        return (model(alpha * x_0 + sigma * eps, t, tokens) - v).square().mean()

    def gradient():
        optimizer.zero_grad()
        loss(images, noise(), torch.rand(len(images))).backward()

    def step():
        gradient()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
        optimizer.step()
        torch._foreach_lerp_(average, [p.detach() for p in model.parameters()], 0.002)

    @torch.no_grad()
    def sampling():
        condition, x_t = model.text_transformer(torch.cat([tokens, tokens])), noise()
        for t in torch.linspace(1, 0.1, 10):
            cond, uncond = network(torch.cat([x_t, x_t]), t.expand(32), *condition).chunk(2)
            x_t = x_t - 0.1 * (uncond + 3 * (cond - uncond))

    return {"gradient": gradient, "step": step, "sampling": sampling}


def main() -> None:
    """Time all in turns; print medians and, of the ratios of each round, median and quartiles."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--clock", choices=("cpu", "wall"), default="cpu")
    args = parser.parse_args()
    clock = time.process_time if args.clock == "cpu" else time.perf_counter
    torch.set_num_threads(threads := len(os.sched_getaffinity(0)))

    config = quickstart.get_config().to_dict()
    rng, stage = np.random.default_rng(0), build_stage("decoder", config)
    tokens = rng.integers(1, 512, (16, config["tokenizer"]["max_length"]), np.int32)
    batch = {"image": rng.integers(0, 256, (16, 32, 32, 3), np.uint8), "tokens": tokens}
    params = random_params(stage.init, jax.random.key(0))
    twin = torch_unet.ConditionedUNet(32, stage.network.unet, stage.network.text)
    twin.load_state_dict(torch_unet.from_flax(params))

    runs = {"ours": in_jax(stage, config["decoder"], params, batch)}
    for kind, wrap in {"eager": lambda function: function, "compiled": torch.compile}.items():
        for name, memory_format in FORMATS.items():
            runs[kind + name] = in_torch(twin, batch, wrap, memory_format)
    seconds = {kind: {what: [] for what in functions} for kind, functions in runs.items()}
    for _ in range(args.rounds + 2):  # the first two compile and warm up
        for kind, functions in runs.items():
            for what, function in functions.items():
                for _ in range(2):  # what ran before has left caches and pages in its own state
                    function()
                began = clock()
                function()
                seconds[kind][what].append(clock() - began)

    print(f"{threads} threads, {args.clock} time, {args.rounds} rounds; speed is ours : torch's\n")
    print(f"| ms | {' | '.join(runs)} | speed : eager | speed : compiled |")
    print("|---" * (len(runs) + 3) + "|")
    for row in runs["ours"]:
        times = {k: np.array(own.get(row, own["step"])[2:]) for k, own in seconds.items()}
        cells = [f"{1e3 * np.median(t):.1f}" for t in times.values()]
        for kind in ("eager", "compiled"):
            best = min((times[kind + name] for name in FORMATS), key=np.median)
            low, middle, high = np.quantile(best / times["ours"], (0.25, 0.5, 0.75))
            cells.append(f"**{middle:.2f}** ({low:.2f}–{high:.2f})")
        print(f"| {row} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
