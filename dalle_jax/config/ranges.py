"""The values that the settings of a config may have, as plain data, and the check against them.

Each numeric setting is in `RANGES` or in `FREE`, each name of a fixed list in `CHOICES`, all others
in `OTHERS`: a setting in none of them is misspelt. What depends on two settings is in `relations`.
Nothing here imports jax, so a value out of range is refused at once, before data are read.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from numbers import Real
from typing import Any

from ml_collections import ConfigDict

from dalle_jax.config.relations import conflict
from dalle_jax.nearest import nearest


@dataclass(frozen=True)
class Range:
    """Numbers between two bounds; NaN and infinity are in none.

    Attributes:
        low, high: the bounds.
        above, below: whether the lower and the upper bound is excluded.
        also: single values outside the bounds that are allowed as well.
        of_tuple: "each" of a tuple's numbers has to be inside; of a "pair" both, the first not
            greater than the second; "second" is two numbers (or none), the second one inside.
    """

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    below: bool = False
    also: tuple[float, ...] = ()
    of_tuple: str = "each"

    def holds(self, value: Any) -> bool:
        """Whether a number, or the numbers of a tuple or list, are inside."""
        if not isinstance(value, tuple | list):
            return self._holds_number(value)
        if self.of_tuple == "second":
            numbers = all(math.isfinite(x) for x in value)
            return len(value) == 0 or (len(value) == 2 and numbers and self._holds_number(value[1]))
        inside = all(map(self._holds_number, value))
        if self.of_tuple == "pair":
            return inside and len(value) == 2 and value[0] <= value[1]
        return inside and len(value) > 0

    def _holds_number(self, value: float) -> bool:
        if value in self.also:
            return True
        above = value > self.low if self.above else value >= self.low
        below = value < self.high if self.below else value <= self.high
        return above and below and math.isfinite(value)

    def __str__(self) -> str:
        """As in `it must be at least 1`."""
        low = f"above {self.low:,}" if self.above else f"at least {self.low:,}"
        high = f"below {self.high:,}" if self.below else f"at most {self.high:,}"
        bounds = [low] * (self.low > -math.inf) + [high] * (self.high < math.inf)
        text = " and ".join(bounds) or "a finite number"
        if self.of_tuple == "pair":
            text = f"two numbers, the smaller first, each {text}"
        elif self.of_tuple == "second":
            text = f"empty, or two numbers, the second {text}"
        return text + "".join(f", or {value}" for value in self.also)


POSITIVE = Range(0, above=True)
NOT_NEGATIVE = Range(0)
AT_LEAST_ONE = Range(1)
SHARE = Range(0, 1)
BELOW_ONE = Range(0, 1, below=True)
FINITE = Range()

# By dotted name, in which * matches any part of it. The first pattern that fits counts.
RANGES: dict[str, Range] = {
    "seed": Range(0, 2**64 - 1),
    "data.max_bad_share": SHARE,
    "data.min_side": NOT_NEGATIVE,
    "data.max_aspect_ratio": Range(1, also=(0,)),  # 0 is any
    "data.max_shift": NOT_NEGATIVE,
    "data.num_threads": NOT_NEGATIVE,
    "data.disk_cache": NOT_NEGATIVE,
    "*.model.image_size": NOT_NEGATIVE,  # 0 is that of the data
    "*image_size": AT_LEAST_ONE,
    "tokenizer.vocab_size": Range(258),  # 256 bytes, padding and end of text
    "tokenizer.max_length": Range(2),  # a token and end of text
    # Networks
    "*.width": AT_LEAST_ONE,
    "*.model.text.depth": NOT_NEGATIVE,  # 0 reads no captions
    "*.depth": AT_LEAST_ONE,
    "*.num_heads": AT_LEAST_ONE,
    "*.patch_size": AT_LEAST_ONE,
    "*.embedding_width": AT_LEAST_ONE,
    "*.image_embedding.num_tokens": NOT_NEGATIVE,  # 0 is none
    "*.layout.size": NOT_NEGATIVE,  # 0 is no layout
    "*.channels": AT_LEAST_ONE,
    "*.channel_mult": AT_LEAST_ONE,
    "*.num_res_blocks": AT_LEAST_ONE,
    "*.head_channels": AT_LEAST_ONE,
    "*.norm_groups": AT_LEAST_ONE,
    "*.dropout": BELOW_ONE,
    "*.low_res_size": AT_LEAST_ONE,
    # Diffusion and losses
    "*.num_timesteps": NOT_NEGATIVE,  # 0 is continuous time
    "*.num_dimensions": AT_LEAST_ONE,
    "*.num_buckets": Range(2),
    "*.num_fitted": Range(2),
    "*.log_normal_times": Range(0, above=True, of_tuple="second"),
    "*_dropout": SHARE,
    "*.sam_radius": NOT_NEGATIVE,
    "*.crop_size": AT_LEAST_ONE,
    "*.degradation.kernel_size": AT_LEAST_ONE,
    "*.degradation.share": SHARE,
    "*.degradation.sigma": Range(0, above=True, of_tuple="pair"),
    "*.degradation.scale": Range(0, above=True, of_tuple="pair"),
    "*.degradation.noise": Range(0, of_tuple="pair"),
    "*.degradation.quality": Range(1, 100, of_tuple="pair"),
    # Training
    "*.train.steps": AT_LEAST_ONE,
    "*.train.batch_size": AT_LEAST_ONE,
    "*.train.accumulate": AT_LEAST_ONE,
    "*.optimizer.learning_rate": POSITIVE,
    "*.optimizer.warmup_steps": NOT_NEGATIVE,
    "*.optimizer.end_factor": SHARE,
    "*.optimizer.b1": BELOW_ONE,
    "*.optimizer.b2": BELOW_ONE,
    "*.optimizer.eps": POSITIVE,
    "*.optimizer.weight_decay": NOT_NEGATIVE,
    "*.optimizer.clip_norm": POSITIVE,
    "*.train.ema_decay": BELOW_ONE,
    "*.train.lora.rank": NOT_NEGATIVE,  # 0 is no adapters
    "*.train.lora.alpha": POSITIVE,
    "*.train.mesh.*": Range(1, also=(-1,)),
    "*.train.evaluate_every": NOT_NEGATIVE,  # 0 is never
    "*.train.*_every": AT_LEAST_ONE,
    "*.train.validation_images": NOT_NEGATIVE,
    "*.train.evaluation_images": AT_LEAST_ONE,
    "*.train.keep_checkpoints": AT_LEAST_ONE,
    # Sampling
    "*.num_inference_steps": AT_LEAST_ONE,
    "*.num_candidates": AT_LEAST_ONE,
    "*.dot_percentile": SHARE,
    "*.guidance_rescale": SHARE,
    "*.eta": SHARE,
}

# Numbers that may be any finite one, and tuples of which any content has a meaning: guidance below
# 1 leads towards the empty caption, and no attention resolution is no attention but in the middle.
FREE = ("*.guidance_scale", "*.attention_resolutions")

# Text of which any is allowed here, since data say themselves what they have, and yes or no.
OTHERS = (
    *("licence", "stages", "tokenizer.file", "*.evaluation_features"),
    *("*.train.init_from", "*.train.init_only", "*.train.freeze"),
    *("*data.source", "*data.dir", "*data.captions", "*data.languages", "*data.encoding"),
    *("*data.*_column", "*data.flip"),
    *("*.model.scan_blocks", "*.loss.stop_gradient"),
    *("*.diffusion.zero_terminal_snr", "*.diffusion.learned_variance"),
)

CHOICES: dict[str, tuple[str, ...]] = {
    "*.model.dtype": ("float32", "bfloat16"),
    "*.model.resize": ("nearest", "bilinear", "bicubic"),
    "*.diffusion.schedule": (
        *("cosine", "linear", "scaled_linear", "sigmoid", "edm", "rectified_flow"),
    ),
    "*.loss.target": ("eps", "x0", "v", "flow", "score", "edm", "mean"),
    "*.loss.weighting": ("simple", "snr", "truncated_snr", "min_snr", "p2", "edm", "bound"),
    "*.degradation.name": ("none", "blur", "bsr"),
    "prior.kind": ("diffusion", "autoregressive"),
    "*.optimizer.name": ("adamw", "muon"),
    "*.optimizer.decay": ("constant", "cosine", "linear", "inverse_sqrt"),
    "*.train.remat": ("none", "products", "blocks"),
    "*.sampler": (
        *("ddpm", "ddim", "euler", "heun", "dpmpp_1s", "dpmpp_2m", "dpmpp_3m", "dpmpp_sde_2m"),
        "unipc",
    ),
    "*.spacing": (
        *("trailing", "leading", "linspace", "sections", "logsnr", "exponential", "karras", "beta"),
    ),
    "*.threshold": ("static", "dynamic", "none"),
}


def check(config: Mapping[str, Any]) -> None:
    """Refuse the first setting of a whole config that is out of range or does not fit another.

    Raises:
        ValueError: one is; the message says which, and what it may be.
    """
    for name, value in flatten(config):
        if reason := refusal(name, value):
            raise ValueError(reason)
        # Samplers have options of their own, which they check.
        if ".sample." not in name and not is_known(name):
            last = name.rpartition(".")[2]
            known = [pattern.rpartition(".")[2] for pattern in (*RANGES, *FREE, *CHOICES, *OTHERS)]
            hint = nearest(last, [one for one in known if "*" not in one])
            raise ValueError(f"config.{name} is no setting{hint or '; see configs/base.py'}")
    if not config.get("stages", True):
        raise ValueError("config.stages is empty; it must name the stages that are trained")
    for stage in config.get("stages", ()):
        if stage not in config:
            known = [name for name, own in config.items() if isinstance(own, Mapping)]
            known = [name for name in known if name not in ("data", "tokenizer")]
            raise ValueError(
                f"config.stages names {stage!r}, of which the config has no section; it has "
                f"{', '.join(known)}{nearest(stage, known)}"
            )
        if reason := conflict(stage, config):
            raise ValueError(reason)


def refusal(name: str, value: Any) -> str | None:
    """Why a setting, by its dotted name, can't have a value; None if it can."""
    bounds, choices = range_of(name), choices_of(name)
    if choices is not None and (isinstance(value, str) or value is None):
        if value in choices:
            return None
        known = f"one of {', '.join(choices)}{nearest(str(value), choices)}"
        return f"config.{name} is {value!r}; it must be {known}"
    if bounds is None:
        return None
    numbers = value if isinstance(value, tuple | list) else [value]
    are_numbers = all(isinstance(x, Real) and not isinstance(x, bool) for x in numbers)
    if are_numbers and bounds.holds(value):
        return None
    return f"config.{name} is {value!r}; it must be {bounds}"


def range_of(name: str) -> Range | None:
    """The range of a numeric setting; None for what is no number or is not in the table."""
    for pattern, bounds in RANGES.items():
        if fnmatchcase(name, pattern):
            return bounds
    return FINITE if fnmatchcase(name, "*.guidance_scale") else None


def choices_of(name: str) -> tuple[str, ...] | None:
    """The names that a setting may have; None where they are not of a fixed list."""
    return next((known for key, known in CHOICES.items() if fnmatchcase(name, key)), None)


def is_known(name: str) -> bool:
    """Whether there is a setting of this dotted name."""
    return any(fnmatchcase(name, pattern) for pattern in (*RANGES, *FREE, *CHOICES, *OTHERS))


def flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """All settings of a config by dotted name, as ("decoder.train.steps", 4000)."""
    for key, value in config.items():
        if isinstance(value, Mapping | ConfigDict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
