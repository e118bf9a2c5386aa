"""What an evaluation measures: its options and its settings of sampling, as one checked value."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dalle_jax.config.choices import FITS, PREPROCESSINGS, WEIGHTS
from dalle_jax.console import current_name
from dalle_jax.metrics.preprocess import Preprocessing
from dalle_jax.metrics.table import CAPTION_METRICS, METRICS, NETWORK_OPTIONS, OLD_NAMES
from dalle_jax.nearest import nearest
from dalle_jax.seeds import LIMIT

KNOWN = (*CAPTION_METRICS, *METRICS)
PREPROCESSING = {"preprocess": "resize", "fit": "fit", "round_trip": "round_trip"}
PATHS = ("manifest", "inception", *NETWORK_OPTIONS, "reference")


@dataclass(frozen=True)
class Evaluation:
    """What `dalle-jax evaluate` measures; its help says what each option means.

    Attributes:
        sampling: settings as `DallePipeline.generate` takes them, the main stage's by their names,
            those of another stage as a dict under its name.

    Raises:
        ValueError: an option has a value that it does not take.
    """

    workdir: Path
    metrics: tuple[str, ...] = ("oracle",)
    seeds: tuple[int, ...] = (0,)
    manifest: str | None = None
    images: str | None = None
    data_source: str = ""
    split: str = "test"
    n: int | None = None
    inception: str | None = None
    features: str | None = None
    clip: str | None = None
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    reference: str | None = None
    kid_subset_size: int | None = None
    leakage: bool = False
    weights: str = "ema"
    sampling: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        if not self.metrics:
            raise ValueError(f"metrics names none; known are {', '.join(KNOWN)}")
        for name in self.metrics:
            _check_choice("there is no metric", name, KNOWN)
        _check_choice("weights is", self.weights, WEIGHTS)
        for name in ("n", "kid_subset_size"):
            count = getattr(self, name)
            if count is not None and (type(count) is not int or count < 1):
                raise ValueError(f"{name} is {count!r}; it must be a whole number, 1 or more")
        in_range = all(type(seed) is int and 0 <= seed < LIMIT for seed in self.seeds)
        if not self.seeds or not in_range or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(
                f"seeds is {self.seeds!r}; it must be different whole numbers such as 0,1,2, each "
                "below 2**64"
            )
        if type(self.leakage) is not bool:
            raise ValueError(f"leakage is {self.leakage!r}; it must be True or False")
        if self.images and not self.manifest:
            raise ValueError("images says where a manifest's images lie: give manifest too")


# The options of an evaluation by name, as `dalle-jax evaluate` takes them too.
KNOWN_OPTIONS = sorted(
    {field.name for field in dataclasses.fields(Evaluation)}
    - {"workdir", "preprocessing", "sampling"}
    | PREPROCESSING.keys()
)


def evaluation_of(
    workdir: Path, options: Mapping[str, Any], sampling: Mapping[str, Any]
) -> Evaluation:
    """The evaluation that options of `dalle-jax evaluate`, given by name, ask for.

    Args:
        workdir: of the trained system.
        options: such as {"n": 256, "metrics": "oracle,fid", "seeds": (0, 1)}. Several metrics or
            seeds are a list or one text with commas.
        sampling: settings of sampling, see `Evaluation`.

    Raises:
        ValueError: there is no such option, or it has a value that it does not take.
    """
    for name in options:
        if name not in KNOWN_OPTIONS:
            hint = nearest(name, KNOWN_OPTIONS) or f"; known are {', '.join(KNOWN_OPTIONS)}"
            raise ValueError(f"an evaluation has no option {name!r}{hint}")
    given = dict(options)
    for name in PATHS:
        if given.get(name):
            given[name] = str(Path(given[name]).expanduser())
    for name in ("n", "kid_subset_size"):
        if str(given.get(name)).isdecimal():
            given[name] = int(given[name])
    if "metrics" in given:
        metrics = [current_name("metric", name, OLD_NAMES) for name in _listed(given["metrics"])]
        given["metrics"] = tuple(dict.fromkeys(metrics))
    if "seeds" in given:
        try:
            seeds = _listed(given["seeds"])
            given["seeds"] = tuple(int(one) if isinstance(one, str) else one for one in seeds)
        except ValueError:
            given["seeds"] = (given["seeds"],)  # which is refused as it was given
    if preprocessing := {name: given.pop(name) for name in PREPROCESSING if name in given}:
        for name, choices in (("preprocess", PREPROCESSINGS), ("fit", FITS)):
            _check_choice(f"{name} is", preprocessing.get(name, choices[0]), choices)
        named = {PREPROCESSING[name]: value for name, value in preprocessing.items()}
        given["preprocessing"] = Preprocessing(**named)
    return Evaluation(workdir, **given, sampling=sampling)


def _check_choice(what: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        hint = nearest(str(value), choices) or f"; known are {', '.join(choices)}"
        raise ValueError(f"{what} {value!r}{hint}")


def _listed(value: Any) -> list[Any]:
    if isinstance(value, str):
        return [one.strip() for one in value.split(",") if one.strip()]
    return list(value) if isinstance(value, list | tuple) else [value]
