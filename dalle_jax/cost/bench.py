"""One row of `dalle-jax bench`: a training step, or the sampling of a batch, timed."""

import functools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dalle_jax.cost import compiled
from dalle_jax.cost.flops import forward_flops, step_flops
from dalle_jax.data.loader import make_loader
from dalle_jax.data.tokenizer import Tokenizer, train_tokenizer
from dalle_jax.nn.remat import rematerialized
from dalle_jax.stages import build_stage, data_of, sampling_of, upstream_of
from dalle_jax.training.optim import make_optimizer
from dalle_jax.training.sharding import make_mesh, put_batch, put_tree
from dalle_jax.training.training import Settings, Training, set_up

Row = dict[str, Any]
# By name, how a column is printed: heading, width, format.
COLUMNS = {
    "stage": ("stage", -14, ""),
    "what": ("", -7, ""),
    "point": ("point", -20, ""),
    "compile_seconds": ("compile s", 10, ".1f"),
    "milliseconds": ("ms", 10, ".1f"),
    "steps_per_second": ("steps/s", 9, ".2f"),
    "images_per_second": ("images/s", 10, ".1f"),
    "gflop": ("GFLOP", 10, ".2f"),
    "share_of_peak": ("of peak", 9, ".1%"),
    "peak_mib": ("peak MiB", 10, ".1f"),
    "loop_ratio": ("in loop", 9, ".3f"),
    "data_stall": ("stall", 8, ".1%"),
}


class RandomItems:
    """Images of noise with captions of random words: what a loader has to do, without a disk."""

    def __init__(self, side: int, count: int = 512):
        self._side, self._count = side, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> dict[str, Any]:
        rng = np.random.default_rng(index)
        image = rng.integers(0, 256, (self._side, self._side, 3), dtype=np.uint8)
        return {"image": image, "caption": " ".join(f"w{n}" for n in rng.integers(0, 99, 4))}


def measure_training(
    name: str, config: Mapping[str, Any], label: str, rounds: int, block: int
) -> Row:
    """The step of a stage, bare and in a loop that loads its batches.

    A round is `block` bare steps dispatched one after the other, as many in the loop, and a matrix
    product, in turns, so that what else the machine does falls on all alike.
    """
    settings = config[name]["train"]
    mesh = make_mesh(settings["mesh"])
    stage, loader, frozen, start = _prepared(name, config, mesh)
    wanted = ("steps", "ema_decay", "mesh", "accumulate")
    programs = set_up(
        Training(
            stage,
            loader,
            Path(),
            make_optimizer(**settings["optimizer"], steps=settings["steps"]),
            Settings(**{name: settings[name] for name in wanted}),
            frozen=frozen,
            start=start,
        )
    )
    state, frozen = programs.init(), programs.frozen
    key, batch = programs.root_key, put_batch(next(loader), mesh)
    with rematerialized(settings["remat"]):
        began = time.perf_counter()
        program = programs.step.lower(state, frozen, batch, key).compile()
        compile_seconds = time.perf_counter() - began

    def bare() -> float:
        """Seconds a step."""
        nonlocal state
        began = time.perf_counter()
        for _ in range(block):
            state, metrics = program(state, frozen, batch, key)
        jax.block_until_ready((state, metrics))
        return (time.perf_counter() - began) / block

    def in_loop() -> tuple[float, float]:
        """Seconds a step in a loop like `fit`, and those in which the device had no batch."""
        nonlocal state
        began, stalled, metrics = time.perf_counter(), 0.0, None
        for _ in range(block):
            asked = time.perf_counter()
            loaded = put_batch(next(loader), mesh)
            if metrics is not None and metrics["loss"].is_ready():
                stalled += time.perf_counter() - asked
            before, (state, metrics) = metrics, program(state, frozen, loaded, key)
            if before is not None:
                jax.device_get(before)
        jax.block_until_ready((state, metrics))
        return (time.perf_counter() - began) / block, stalled / block

    matmul = matmul_rate(_dtype(config[name]))
    bare(), in_loop()
    timed = [(bare(), *in_loop(), matmul()) for _ in range(rounds)]
    seconds, looped, stalled, peak = np.median(timed, axis=0)
    ratios = [looped / bare for bare, looped, _, _ in timed]
    row = _row(name, "train", label, compile_seconds, seconds, settings["batch_size"])
    flops = step_flops(name, config)
    return row | {
        "gflop": flops / 1e9,
        "share_of_peak": flops / seconds / peak / jax.device_count(),
        "peak_mib": compiled.memory(program).peak / 2**20,
        "loop_ratio": float(np.median(ratios)),
        "data_stall": stalled / looped,
    }


def measure_drawing(
    name: str, config: Mapping[str, Any], label: str, rounds: int, block: int
) -> Row | None:
    """A batch of images, drawn as previews are; None for a stage that draws none, and where the
    point is of the gradient only."""
    del block  # one batch is many evaluations
    settings, sampling = config[name]["train"], sampling_of(name, config)
    stage = build_stage(name, config)
    if not stage.has_preview() or label.split()[0] in ("remat", "accumulate"):
        return None
    mesh = make_mesh(settings["mesh"])
    stage, loader, frozen, start = _prepared(name, config, mesh)
    params = jax.jit(stage.init)(jax.random.key(0)) if start is None else start
    params, batch = put_tree(params, mesh), put_batch(next(loader), mesh)
    key = jax.random.key(1)
    draw = jax.jit(functools.partial(stage.preview, **sampling))
    began = time.perf_counter()
    program = draw.lower(params, frozen, batch, key).compile()
    compile_seconds = time.perf_counter() - began

    def drawn() -> float:
        """Seconds a batch."""
        began = time.perf_counter()
        jax.block_until_ready(program(params, frozen, batch, key))
        return time.perf_counter() - began

    matmul = matmul_rate(_dtype(config[name]))
    drawn()
    seconds, peak = np.median([(drawn(), matmul()) for _ in range(rounds)], axis=0)
    row = _row(name, "sample", label, compile_seconds, seconds, settings["batch_size"])
    row["peak_mib"] = compiled.memory(program).peak / 2**20
    if passes := stage.passes(**sampling):
        flops = settings["batch_size"] * passes * forward_flops(name, config)
        row["gflop"] = flops / 1e9
        row["share_of_peak"] = flops / seconds / peak / jax.device_count()
    return row


def matmul_rate(dtype: str) -> Callable[[], float]:
    """A function that measures FLOP/s of one device: the best of five products of two matrices."""
    side = 2048 if jax.default_backend() == "cpu" else 8192
    matrix = jax.random.normal(jax.random.key(2), (side, side), jnp.dtype(dtype))
    product = jax.jit(jnp.matmul)
    product(matrix, matrix).block_until_ready()

    def rate() -> float:
        seconds = []
        for _ in range(5):
            began = time.perf_counter()
            product(matrix, matrix).block_until_ready()
            seconds.append(time.perf_counter() - began)
        return 2 * side**3 / min(seconds)

    return rate


def _dtype(own: Mapping[str, Any]) -> str:
    """What a stage computes in; one without a network of its own, as joint, in float32."""
    return own.get("model", {}).get("dtype", "float32")


def _prepared(name: str, config: Mapping[str, Any], mesh) -> tuple[Any, Any, Any, Any]:
    """The stage, a loader of random items, and random weights: frozen ones, those to start from."""
    stage, data = build_stage(name, config), data_of(name, config)
    items = RandomItems(data["image_size"])
    tokens, settings = config["tokenizer"], config[name]["train"]
    captions = (items[i]["caption"] for i in range(len(items)))
    loader = make_loader(
        items,
        Tokenizer(train_tokenizer(captions, tokens["vocab_size"]), tokens["max_length"]),
        batch_size=settings["batch_size"],
        image_size=data["image_size"],
        flip=data["flip"],
        max_shift=data["max_shift"],
        num_threads=data["num_threads"],
    )
    local = {
        other: jax.jit(build_stage(other, config).init)(jax.random.key(i))
        for i, other in enumerate(upstream_of(name, config))
    }
    start, local = stage.start_from(local)
    start = None if start is None else put_tree(start, mesh)
    stage.prepare(local, loader)
    return stage, loader, put_tree(local, mesh), start


def _row(
    name: str, what: str, label: str, compile_seconds: float, seconds: float, images: int
) -> Row:
    return dict.fromkeys(COLUMNS) | {
        "stage": name,
        "what": what,
        "point": label,
        "compile_seconds": compile_seconds,
        "milliseconds": 1e3 * seconds,
        "steps_per_second": 1 / seconds,
        "images_per_second": images / seconds,
    }
