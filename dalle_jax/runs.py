"""A run directory: one trained stage on disk, and the only door to it.

<run>/config.json     stage, project version and the whole config
<run>/fingerprint     hash of all that the trained weights depend on
<run>/tokenizer.json  the tokenizer that its captions were encoded with
<run>/checkpoints/    weights; metrics.jsonl, samples/ and tensorboard/ stand beside them
"""

import copy
import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dalle_jax.data.embeddings import StoredEmbeddings, WithEmbeddings
from dalle_jax.data.loader import Source, read_item
from dalle_jax.data.open import open_source
from dalle_jax.data.tokenizer import Tokenizer, train_tokenizer
from dalle_jax.stages import OUTSIDE, Stage, build_stage, data_of, upstream_of
from dalle_jax.train.checkpoint import load_params, steps_in

FORMAT = 1  # of a run directory; one of another format is refused
UPSTREAM = "upstream "  # before the name of a stage whose dependencies follow

# Knobs that change how a run is watched or laid out, not what it learns: they may differ when it
# goes on, and the fingerprint leaves them out.
FREE_TRAIN_KNOBS = (
    "log_every",
    "validate_every",
    "validation_images",
    "preview_every",
    "evaluate_every",
    "evaluation_images",
    "evaluation_features",
    "checkpoint_every",
    "keep_checkpoints",
    "mesh",
    "remat",
)
FREE_DATA_KNOBS = ("dir", "num_threads", "max_bad_share")

# Settings that configs got after runs of this format had been made: the path in the config, and the
# value by which those runs were trained. A config without the setting is read as having that value,
# and a fingerprint leaves the setting out at it, so that an older run's stays what it was.
LATER_SETTINGS = {
    ("decoder", "model", "layout"): {"size": 0, "width": 128, "depth": 3, "num_heads": 4},
    ("clip", "model", "scan_blocks"): False,
    ("prior", "model", "scan_blocks"): False,
    ("decoder", "model", "scan_blocks"): False,
    ("decoder", "diffusion", "zero_terminal_snr"): False,
    ("data", "encoding"): "utf-8",
    ("data", "image_column"): "",
    ("data", "caption_column"): "",
    ("data", "min_side"): 0,
    ("data", "max_aspect_ratio"): 0.0,
}


@dataclass(frozen=True)
class Run:
    """A run directory that exists, and the config it was made with."""

    directory: Path
    stage_name: str
    config: Mapping[str, Any]

    @property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits; runs with the same one hold the same weights."""
        return fingerprint(self.stage_name, self.config)

    @property
    def tokenizer_path(self) -> Path:
        """Where `tokenizer` keeps it."""
        return self.directory / "tokenizer.json"

    @property
    def data(self) -> dict[str, Any]:
        """The data section of its config."""
        return data_of(self.stage_name, self.config)

    @property
    def step(self) -> int:
        """The newest checkpoint's step, 0 if there is none yet."""
        steps = steps_in(self.directory / "checkpoints")
        return steps[-1] if steps else 0

    @property
    def checkpoint_name(self) -> str:
        """The weights of the newest checkpoint, told from all others."""
        return f"{self.fingerprint} step {self.step}"

    def embeddings_path(self, split: str) -> Path:
        """Where a CLIP run's stored image embeddings are, if they were made."""
        return self.directory / "embeddings" / f"{split}.array_record"

    def build_stage(self) -> Stage:
        """The stage, built anew from the config.

        Raises:
            ValueError: the config lacks a knob, as that of an older version's run does.
        """
        try:
            return build_stage(self.stage_name, self.config)
        except KeyError as error:
            raise ValueError(
                f"the config of {self.directory} has no {error} for {self.stage_name}, so it was "
                "made by an earlier version of dalle_jax: use that one, or train it anew"
            ) from error

    def load_params(self, weights: Literal["ema", "raw"] = "ema") -> Any:
        """The weights of the newest checkpoint: averaged over training, or raw.

        Raises:
            FileNotFoundError: the run has no checkpoint yet.
        """
        if not self.step:
            raise FileNotFoundError(
                f"{self.directory} has no checkpoint yet; train it first with `dalle-jax train`"
            )
        return load_params(self.directory / "checkpoints", weights=weights)

    def upstream(self) -> "dict[str, Run]":
        """The runs that this one stands on, in the same workdir, trained to their end.

        Raises:
            FileNotFoundError: one is not there.
            ValueError: one does not fit this run's config, or is not trained to its end.
        """
        return {
            name: self._fitting(name, open_run(self.directory.parent / name))
            for name in upstream_of(self.stage_name, self.config)
        }

    def load_frozen(self) -> dict[str, Any]:
        """The EMA weights of the runs that this one stands on, by stage."""
        return {name: run.load_params() for name, run in self.upstream().items()}

    def with_embeddings(self, source: Source, split: str) -> Source:
        """`source` with CLIP's stored embeddings, if the run reads them and they were made.

        Raises:
            ValueError: they are not of the CLIP in this workdir, or of other images than training
                sees.
        """
        clip = self.upstream().get("clip")
        path = clip and clip.embeddings_path(split)
        if not path or not path.exists():
            return source
        if self.data["flip"] or self.data["max_shift"]:
            raise ValueError(
                f"{path} holds embeddings of the images as they are, but data.flip or "
                "data.max_shift changes them in training; delete it or set both to nothing"
            )
        return WithEmbeddings(source, StoredEmbeddings(path, clip.checkpoint_name))

    def _fitting(self, name: str, run: "Run") -> "Run":
        wanted = _dependencies(name, with_later_settings(self.config))
        if differences := differing_knobs(_dependencies(name, run.config), wanted):
            raise ValueError(
                f"{self.stage_name} in {self.directory} does not fit {name} in {run.directory}: "
                f"{'; '.join(differences)}. Train {name} anew in another --workdir, or give "
                f"{self.stage_name} the config that {name} was trained with"
            )
        steps = run.config[name]["train"]["steps"]
        if run.step < steps:
            raise ValueError(
                f"{self.stage_name} needs {name} trained to its end, and {run.directory} is at "
                f"step {run.step} of {steps}; go on with `dalle-jax train --stage={name}`"
            )
        both = [r.tokenizer_path for r in (self, run) if r.tokenizer_path.exists()]
        if len({path.read_text() for path in both}) > 1:
            raise ValueError(
                f"{self.stage_name} in {self.directory} was trained with another tokenizer.json "
                f"than {name} in {run.directory}; train one of them anew in another --workdir"
            )
        return run

    def open_source(self, split: str) -> Source:
        """A split of the data that the run is about."""
        data = self.data
        return open_source(
            data["source"],
            data_dir=data["dir"],
            split=split,
            image_size=data["image_size"],
            captions=data["captions"],
            languages=data["languages"],
            max_bad_share=data["max_bad_share"],
            **reading_options(data),
        )

    def tokenizer(self, source: Source) -> Tokenizer:
        """The run's tokenizer; made at the first call, from a given file or `source`'s captions."""
        settings = self.config["tokenizer"]
        if self.tokenizer_path.exists():
            return Tokenizer.load(self.tokenizer_path)
        if upstream := self.upstream():
            tokenizer = Tokenizer.load(next(iter(upstream.values())).tokenizer_path)
        elif settings["file"]:
            tokenizer = Tokenizer.load(settings["file"], settings["max_length"])
        else:
            items = (read_item(source, i) for i in range(len(source)))
            captions = itertools.chain.from_iterable(
                item.get("captions") or (item["caption"],) for item in items
            )
            tokenizer = Tokenizer(
                train_tokenizer(captions, settings["vocab_size"]), settings["max_length"]
            )
        if tokenizer.vocab_size > settings["vocab_size"]:
            raise ValueError(
                f"the tokenizer has {tokenizer.vocab_size} tokens, more than the "
                f"{settings['vocab_size']} of config.tokenizer.vocab_size; raise that knob"
            )
        tokenizer.save(self.tokenizer_path)
        return tokenizer


def reading_options(data: Mapping[str, Any]) -> dict[str, Any]:
    """Options of `open_source` in a data section that were set to other than their defaults.

    Those at their defaults are left out, since built-in data sets take none.
    """
    later = {name: value for (first, name, *_), value in LATER_SETTINGS.items() if first == "data"}
    return {name: data[name] for name, value in later.items() if data.get(name, value) != value}


def create_run(directory: str | Path, stage_name: str, config: Mapping[str, Any]) -> Run:
    """Make a run directory, or open the one that is there if it was made with this config.

    Raises:
        ValueError: the run there has another config, or a stage that it needs does not fit it; the
            differing knobs are named.
    """
    directory = Path(directory)
    if not (directory / "config.json").exists():
        run = Run(directory, stage_name, config)
        run.upstream()  # first: nothing is left behind where it can't be trained
        directory.mkdir(parents=True, exist_ok=True)
        document = {"format": FORMAT, "stage": stage_name, "config": config}
        (directory / "fingerprint").write_text(run.fingerprint + "\n")
        # Last, and at once: a directory with a config.json is a whole run directory.
        temporary = directory / "config.json.tmp"
        temporary.write_text(json.dumps(document, indent=2) + "\n")
        temporary.replace(directory / "config.json")
        return run
    there = open_run(directory)
    differences = differing_knobs(
        _dependencies(there.stage_name, there.config),
        _dependencies(stage_name, with_later_settings(config)),
    )
    if differences:
        raise ValueError(
            f"{directory} was made with another config: {'; '.join(differences)}. "
            "Give another --workdir, or the same config"
        )
    return Run(directory, stage_name, config)


def open_run(directory: str | Path) -> Run:
    """The run in a directory.

    Raises:
        FileNotFoundError: there is no run.
        ValueError: it is no run of this version.
    """
    path = Path(directory) / "config.json"
    if not path.exists():
        raise FileNotFoundError(
            f"{directory} holds no run (it has no config.json); train one with `dalle-jax train`"
        )
    try:
        document = json.loads(path.read_text())
        found, stage, config = document["format"], document["stage"], document["config"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not the config of a run: {error!r}") from error
    if found != FORMAT:
        raise ValueError(
            f"{directory} is a run of format {found}; this version reads format {FORMAT}: "
            "use the version of dalle_jax that made it"
        )
    return Run(Path(directory), stage, with_later_settings(config))


def with_later_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config`, and those of `LATER_SETTINGS` that it lacks at the value that it was made by."""
    config = copy.deepcopy(dict(config))
    for (*sections, name), value in LATER_SETTINGS.items():
        if (section := _section(config, sections)) is not None:
            section.setdefault(name, copy.deepcopy(value))
    return config


def fingerprint(stage_name: str, config: Mapping[str, Any]) -> str:
    """Hash of a stage's config, its data and its upstream: all that its weights depend on."""
    dependencies = _without_later_settings(_dependencies(stage_name, config))
    text = json.dumps(dependencies, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _without_later_settings(dependencies: dict[str, Any]) -> dict[str, Any]:
    """What `_dependencies` gives, here and upstream, as it was before the settings came."""
    for (*sections, name), value in LATER_SETTINGS.items():
        section = _section(dependencies, sections) or {}
        if name in section and section[name] == value:
            del section[name]
    for name, upstream in dependencies.items():
        if name.startswith(UPSTREAM):
            _without_later_settings(upstream)
    return dependencies


def _section(config: Mapping[str, Any], path: Sequence[str]) -> dict[str, Any] | None:
    """The section of a config at a path; None where it has none."""
    section: Any = config
    for name in path:
        section = section.get(name)
        if section is None:
            return None
    return section


def differing_knobs(there: Any, given: Any, prefix: str = "") -> list[str]:
    """`decoder.train.batch_size is 16 there, 48 given` for each knob that is not the same."""
    if isinstance(there, Mapping) and isinstance(given, Mapping):
        names = [*there, *(name for name in given if name not in there)]
        return [
            difference
            for name in names
            for difference in differing_knobs(
                there.get(name), given.get(name), f"{prefix}.{name}" if prefix else name
            )
        ]
    return [] if there == given else [f"{prefix} is {there!r} there, {given!r} given"]


def _dependencies(stage_name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a config that a stage's weights depend on, as JSON would hold it."""
    own = {
        name: dict(section) if isinstance(section, Mapping) else section
        for name, section in config[stage_name].items()
        if name not in OUTSIDE or name == "train"
    }
    for name in FREE_TRAIN_KNOBS:
        own["train"].pop(name, None)
    data = data_of(stage_name, config)
    data = {name: value for name, value in data.items() if name not in FREE_DATA_KNOBS}
    dependencies = {
        "seed": config["seed"],
        "data": data,
        "tokenizer": config["tokenizer"],
        stage_name: own,
    }
    for name in upstream_of(stage_name, config):
        dependencies[UPSTREAM + name] = _dependencies(name, config)
    return json.loads(json.dumps(dependencies))
