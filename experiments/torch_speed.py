"""The quickstart's decoder beside its PyTorch twin on the CPU: same weights, in turns.

    PYTHONPATH=. taskset -c 1 python experiments/torch_speed.py

Torch eager and compiled, each in its own memory format and in channels_last, of which the faster
counts, with a thread a core. Each is in a process of its own, as it would be used: in one process
they take each other's memory. One at a time computes, the others wait. `gradient` is of the loss of
16 images with fresh noise; `step` has clipping, AdamW and the moving average too; with Muon ours is
the quickstart's, torch's still with AdamW; `sampling` is ten guided evaluations of 32 images, ours
with UniPC. Huge pages serve torch as well. CPU time means speed on only one core. Needs the
`parity` extra and a C++ compiler.
"""

import argparse
import functools
import multiprocessing
import os
import time

from dalle_jax import cpu

if __name__ == "__main__":
    cpu.restart_with_heap()

import jax
import jax.numpy as jnp
import numpy as np
import torch

from dalle_jax.configs import quickstart
from dalle_jax.stages import build_stage
from dalle_jax.training.optim import make_optimizer
from dalle_jax.training.sharding import make_mesh
from dalle_jax.training.state import create_state
from dalle_jax.training.step import make_train_step
from tests.models import torch_unet
from tests.random_params import random_params

FORMATS = {"": torch.contiguous_format, ", channels_last": torch.channels_last}
WRAPS = {"eager": lambda function: function, "compiled": torch.compile}
KINDS = ("ours", *(kind + name for kind in WRAPS for name in FORMATS))
OURS, THEIRS = ("gradient", "step", "step with Muon", "sampling"), ("gradient", "step", "sampling")


def in_jax(config, params, batch):
    """What is timed, by name: functions that compute and wait."""
    stage, decoder = build_stage("decoder", config), config["decoder"]
    params = jax.tree.map(jnp.asarray, params)
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


def in_torch(config, params, batch, kind):
    """As `in_jax`, but for Muon."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    (wrap,) = (wrap for name, wrap in WRAPS.items() if kind.startswith(name))
    memory_format = FORMATS[kind.removeprefix("eager").removeprefix("compiled")]
    network = build_stage("decoder", config).network
    model = torch_unet.ConditionedUNet(32, network.unet, network.text)
    model.load_state_dict(torch_unet.from_flax(params))
    model = model.to(memory_format=memory_format)
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


def serve(connection, kind, clock, *inputs) -> None:
    """In a separate process: call what is requested, and send back how long it took."""
    functions = in_jax(*inputs) if kind == "ours" else in_torch(*inputs, kind)
    clock = time.process_time if clock == "cpu" else time.perf_counter
    while (what := connection.recv()) is not None:
        for _ in range(2):  # what ran before has left the caches in its own state
            functions[what]()
        began = clock()
        functions[what]()
        connection.send(clock() - began)


def main() -> None:
    """Time all in turns; print medians and, of the ratios of each round, median and quartiles."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--clock", choices=("cpu", "wall"), default="cpu")
    args = parser.parse_args()

    config = quickstart.get_config().to_dict()
    rng, stage = np.random.default_rng(0), build_stage("decoder", config)
    tokens = rng.integers(1, 512, (16, config["tokenizer"]["max_length"]), np.int32)
    batch = {"image": rng.integers(0, 256, (16, 32, 32, 3), np.uint8), "tokens": tokens}
    params = random_params(stage.init, jax.random.key(0))
    inputs = (config, jax.tree.map(np.asarray, params), batch)
    processes, start = {}, multiprocessing.get_context("spawn")
    for kind in KINDS:
        processes[kind], theirs = start.Pipe()
        request = (theirs, kind, args.clock, *inputs)
        start.Process(target=serve, args=request, daemon=True).start()
        theirs.close()  # so that a process that ends is noticed
    functions = {kind: OURS if kind == "ours" else THEIRS for kind in KINDS}
    seconds = {kind: {what: [] for what in functions[kind]} for kind in KINDS}
    for _ in range(args.rounds + 2):  # the first two compile and warm up
        for kind, process in processes.items():
            for what in functions[kind]:
                process.send(what)
                seconds[kind][what].append(process.recv())
    for process in processes.values():
        process.send(None)

    threads = len(os.sched_getaffinity(0))
    print(f"{threads} threads, {args.clock} time, {args.rounds} rounds; speed is ours : torch's\n")
    print(f"| ms | {' | '.join(KINDS)} | speed : eager | speed : compiled |")
    print("|---" * (len(KINDS) + 3) + "|")
    for row in OURS:
        times = {k: np.array(own.get(row, own["step"])[2:]) for k, own in seconds.items()}
        cells = [f"{1e3 * np.median(t):.1f}" for t in times.values()]
        for kind in ("eager", "compiled"):
            best = min((times[kind + name] for name in FORMATS), key=np.median)
            low, middle, high = np.quantile(best / times["ours"], (0.25, 0.5, 0.75))
            cells.append(f"**{middle:.2f}** ({low:.2f}–{high:.2f})")
        print(f"| {row} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
