"""Operations of a training, estimated within seconds from one trace of its forward pass.

Counted are the matrix products and convolutions of the loss, on shapes. A step is three forward
passes (its gradient takes two more products for each one) and the optimizer's own products. That
was 3 % more than XLA counts of the quickstart's whole step, which takes six times as long to trace,
and within a fifth of it on smaller networks.
"""

import functools
import math
from typing import Any

import jax
from jax.extend.core import jaxprs_in_params

from dalle_jax.cost.abstract import Config, abstract_batch, abstract_key, abstract_stage
from dalle_jax.files import short_hash
from dalle_jax.stages import OUTSIDE, data_of, upstream_of
from dalle_jax.training.optim import is_kernel

FORWARD_PASSES = 3  # of a step: the loss, and the gradient by activations and by weights


def estimated_operations(stage_name: str, config: Config) -> tuple[float, float]:
    """Floating-point operations of the loss of one item, and of one training step of a batch."""
    train = config[stage_name]["train"]
    stage, params, frozen = abstract_stage(stage_name, config)
    batch = abstract_batch(stage_name, config, train["batch_size"])
    loss = functools.partial(stage.loss, train=True)
    traced = jax.make_jaxpr(loss)(params, frozen, batch, abstract_key())
    forward = count_products(traced.jaxpr)
    step = FORWARD_PASSES * forward
    if train["optimizer"]["name"] == "muon":
        step += muon_operations(params)
    return forward / train["batch_size"], step


def count_products(jaxpr: Any) -> float:
    """Operations of the matrix products and convolutions in a jaxpr, a multiply-add being two.

    A scan's body counts once a turn; of the branches of a `cond` the most expensive counts.
    """
    total = 0.0
    for equation in jaxpr.eqns:
        name, params = equation.primitive.name, equation.params
        outputs = math.prod(equation.outvars[0].aval.shape) if equation.outvars else 0
        if name == "dot_general":
            (contracted, _), _ = params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            total += 2 * outputs * math.prod(left[axis] for axis in contracted)
        elif name == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape
            features = kernel[params["dimension_numbers"].rhs_spec[0]]
            total += 2 * outputs * math.prod(kernel) / features
        else:
            inner = [count_products(one) for one in jaxprs_in_params(params)]
            if name == "cond":
                total += max(inner, default=0.0)
            else:
                total += sum(inner) * (params["length"] if name == "scan" else 1)
    return total


def muon_operations(params: Any) -> float:
    """Of `optim.orthogonalize` for each kernel, as a matrix [m, n] with m ≥ n."""
    total = 0.0
    kernels = is_kernel(params)
    for leaf, chosen in zip(jax.tree.leaves(params), jax.tree.leaves(kernels)):
        if not chosen:
            continue
        last = leaf.shape[-1]
        n, m = sorted((last, leaf.size // last))
        # Five products of n × n each with and without the tall matrix.
        total += 5 * (4 * m * n * n + 2 * n**3) if m < 2 * n else 4 * m * n * n + 26 * n**3
    return total


def shape_of(stage_name: str, config: Config) -> str:
    """A hash of all of a config that the estimate depends on: trainings alike in it are alike."""
    return short_hash(_shape(stage_name, config))


def _shape(stage_name: str, config: Config) -> dict[str, Any]:
    own = config[stage_name]
    # Of a loss only the size of its crops changes how much is computed; the rest are factors.
    parts = {name: own[name] for name in own if name not in (*OUTSIDE, "loss")}
    return {
        "stage": parts,
        "crop": own.get("loss", {}).get("crop_size"),
        "side": data_of(stage_name, config)["image_size"],
        "text": [config["tokenizer"][name] for name in ("vocab_size", "max_length")],
        "batch": own["train"]["batch_size"],
        "optimizer": own["train"]["optimizer"]["name"],
        "upstream": {name: _shape(name, config) for name in upstream_of(stage_name, config)},
    }
