"""One trained stage on disk: its config, its weights, the stages below it, and its data."""

import itertools
import json
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dalle_jax.data.embeddings import StoredEmbeddings, WithEmbeddings
from dalle_jax.data.index import NotScannedError, without_scan
from dalle_jax.data.loader import Source, read_item
from dalle_jax.data.open import is_at_path, open_source
from dalle_jax.data.options import reading_options
from dalle_jax.data.tokenizer import Tokenizer, train_tokenizer
from dalle_jax.data.words import CaptionWords
from dalle_jax.runs.data import (
    Reading,
    content_of,
    count_items,
    how_changed,
    is_seen_at_once,
    may_have_changed,
    read_record,
    record_reading,
    signature_of,
)
from dalle_jax.runs.fingerprint import dependencies, differing_knobs, fingerprint
from dalle_jax.runs.nearby import nearby
from dalle_jax.stages import STAGES, Stage, build_stage, data_of, upstream_of
from dalle_jax.training.finished import steps_in

FORMAT = 2  # of a run directory; one of another format is refused
MIGRATION = "launch/migrate_run.py"  # brings a run of format 1 to this one


@dataclass(frozen=True)
class Run:
    """A run directory that exists, and the config it was made with.

    Attributes:
        moved_to: where its data lies now, as `config.data.source` would name it; "" for where its
            config says.
    """

    directory: Path
    stage_name: str
    config: Mapping[str, Any]
    moved_to: str = ""

    @property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits; runs with the same one hold the same weights."""
        return fingerprint(self.stage_name, self.config)

    @property
    def tokenizer_path(self) -> Path:
        """Where `tokenizer` keeps it."""
        return self.directory / "tokenizer.json"

    @property
    def words_path(self) -> Path:
        """Where the words of the captions are that its tokenizer was trained on, if it was here."""
        return self.directory / "words.json"

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
            ValueError: the config lacks a setting or has one that the stage does not take.
        """
        return build_stage(self.stage_name, self.config)

    def load_params(self, weights: Literal["ema", "raw"] = "ema") -> Any:
        """The weights of the newest checkpoint: averaged over training, or raw.

        Raises:
            FileNotFoundError: the run has no checkpoint yet.
        """
        if not self.step:
            raise FileNotFoundError(
                f"{self.directory} has no checkpoint yet; train it first with `dalle-jax train`"
            )
        from dalle_jax.training.checkpoint import load_params  # it brings Orbax along

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
        """`source` with stored embeddings, as CLIP's, if the run reads them and they were made.

        Raises:
            ValueError: they are not of the run in this workdir, or of other images than training
                sees.
        """
        encoders = (run for run in self.upstream().values() if run.embeddings_path(split).exists())
        encoder = next(encoders, None)
        if encoder is None:
            return source
        path = encoder.embeddings_path(split)
        if self.data["flip"] or self.data["max_shift"]:
            raise ValueError(
                f"{path} holds embeddings of the images as they are, but data.flip or "
                "data.max_shift changes them in training; delete it or set both to nothing"
            )
        stored = StoredEmbeddings(path, encoder.checkpoint_name, signature_of(source))
        return WithEmbeddings(source, stored)

    def _fitting(self, name: str, run: "Run") -> "Run":
        if differences := run.differences(name, self.config):
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

    def differences(self, stage_name: str, config: Mapping[str, Any]) -> list[str]:
        """By which settings weights of `stage_name` under `config` would differ from this run's.

        Each as `decoder.train.batch_size is 16 there, 48 given`; none if they would be the same.
        """
        there = dependencies(self.stage_name, self.config)
        return differing_knobs(there, dependencies(stage_name, config))

    def open_source(self, split: str) -> Source:
        """A split of the data that the run is about.

        A warning says how the data differs from what its training read, if it does.
        """
        source = self._open_source(split)
        if changed := self.data_changed(split, source):
            # From this line, whoever opens it: so that it is said once.
            warnings.warn(changed, stacklevel=1)
        return source

    def _open_source(self, split: str) -> Source:
        data = self.data
        try:
            return open_source(
                self.moved_to or data["source"],
                data_dir=data["dir"],
                split=split,
                image_size=data["image_size"],
                captions=data["captions"],
                languages=data["languages"],
                max_bad_share=data["max_bad_share"],
                **reading_options(data),
            )
        except FileNotFoundError as error:
            if self.moved_to or not self.step or not is_at_path(data["source"]):
                raise
            raise FileNotFoundError(
                f"{error}. If the data of {self.directory} lies elsewhere now, tell `train` or "
                f"`evaluate`: --data_source={data['source'].partition(':')[0]}:PLACE"
            ) from error

    def known_change(self) -> str | None:
        """A sentence on how its data differs from what the training read, if no scan is needed.

        None where it does not, and where that can't be seen at once: of data by URL, of TFDS' data,
        and of data that is not there or was never scanned.
        """
        then = self.last_reading
        if then is None or not then.signature or not is_seen_at_once(then.source):
            return None
        try:
            with without_scan(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return self.data_changed("all", self._open_source("all"))
        except NotScannedError as error:
            return may_have_changed(self.directory, then, error)
        except (OSError, ValueError):
            return None

    @property
    def last_reading(self) -> Reading | None:
        """The data that its training read last; None if that is not recorded.

        Where the data moved and the run itself has no record, that of a run upstream counts.
        """
        record = read_record(self.directory)
        if record and record.readings:
            return record.readings[-1]
        upstream = self.upstream().values() if self.moved_to else ()
        readings = (run.last_reading for run in upstream)
        return next((r for r in readings if r and r.source == self.data["source"]), None)

    def data_changed(self, split: str, source: Source) -> str | None:
        """A sentence on how a split of data differs from what the training read last, or None."""
        then = self.last_reading
        return then and how_changed(self.directory, then, split, source, self.moved_to)

    def check_known_data(self) -> None:
        """Refuse a run to be made on data that moved if nothing here was trained on the data.

        Raises:
            ValueError: so it is.
        """
        if self.moved_to and self.last_reading is None:
            raise ValueError(
                f"{self.directory} holds no run whose data could have moved to {self.moved_to}; "
                f"for a new training give --config.data.source={self.moved_to}"
            )

    def record_data(self, train: Source, validation: Source) -> None:
        """Write to data.json what the training reads from now on.

        Raises:
            ValueError: it is other data than before, and the run is shared by the points of a
                sweep, or the data is stated to be the same at another place.
        """
        changed = self.data_changed("train", train)
        upstream = {name: run.content for name, run in self.upstream().items()}
        signature = signature_of(train)
        reading = Reading(
            step=self.step,
            source=self.data["source"],
            signature=signature,
            content=content_of(signature, upstream),
            items={**count_items(train), "train": len(train), "validation": len(validation)},
        )
        record_reading(self.directory, reading, train, changed, self.moved_to)

    @property
    def content(self) -> str:
        """Of the data that it and the runs upstream were trained on, see `data.content_of`."""
        record = read_record(self.directory)
        return record.content if record else ""

    def tokenizer(self, source: Source) -> Tokenizer:
        """The run's tokenizer; made at the first call, from a given file or `source`'s captions."""
        settings = self.config["tokenizer"]
        if self.tokenizer_path.exists():
            return Tokenizer.load(self.tokenizer_path)
        words = None
        if upstream := self.upstream():
            first = next(iter(upstream.values()))
            tokenizer = Tokenizer.load(first.tokenizer_path)
            words = CaptionWords.load(first.words_path)
        elif settings["file"]:
            tokenizer = Tokenizer.load(settings["file"], settings["max_length"])
        else:
            items = (read_item(source, i) for i in range(len(source)))
            captions = itertools.chain.from_iterable(
                item.get("captions") or (item["caption"],) for item in items
            )
            words = CaptionWords()
            tokenizer = Tokenizer(
                train_tokenizer(words.watch(captions), settings["vocab_size"]),
                settings["max_length"],
            )
        if tokenizer.vocab_size > settings["vocab_size"]:
            raise ValueError(
                f"the tokenizer has {tokenizer.vocab_size} tokens, more than the "
                f"{settings['vocab_size']} of config.tokenizer.vocab_size; raise that setting"
            )
        if words is not None:
            words.save(self.words_path)
        tokenizer.save(self.tokenizer_path)
        return tokenizer


def warn_of_changed_data(runs: Iterable[Run]) -> None:
    """Warn of data that changed since the training of one of the runs; of each data set once."""
    changes = ((run.data["source"], change) for run in runs if (change := run.known_change()))
    for change in dict(changes).values():
        warnings.warn(change, stacklevel=3)


def open_run(directory: str | Path) -> Run:
    """The run in a directory.

    Raises:
        FileNotFoundError: there is no run.
        ValueError: it is no run of this version.
    """
    directory = Path(directory).expanduser()
    path = directory / "config.json"
    if not path.exists():
        raise FileNotFoundError(
            f"{directory} holds no run (it has no config.json){nearby(path.parent)}; train one "
            "with `dalle-jax train`"
        )
    try:
        document = json.loads(path.read_text())
        found, stage, config = document["format"], document["stage"], document["config"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not the config of a run: {error!r}") from error
    if found != FORMAT:
        raise ValueError(
            f"{directory} is a run of format {found}, and this version reads format {FORMAT}: "
            + (
                f"bring it there with `python {MIGRATION} {directory}`"
                if found == FORMAT - 1
                else "use the version of dalle_jax that made it"
            )
        )
    return Run(directory, stage, config)


def runs_in(workdir: str | Path) -> dict[str, Run]:
    """The runs of a workdir by stage, in the order of the table of stages.

    Raises:
        FileNotFoundError: there is none.
        ValueError: one is no run of this version.
    """
    workdir = Path(workdir).expanduser()
    found = {name: workdir / name for name in STAGES if (workdir / name / "config.json").exists()}
    if not found:
        raise FileNotFoundError(
            f"{workdir} holds no run (no folder in it has a config.json){nearby(workdir / '*')}; "
            "train one with `dalle-jax train`"
        )
    return {name: open_run(directory) for name, directory in found.items()}


def clip_in(workdir: str | Path) -> Run | None:
    """The run of a workdir that puts images and captions into one space; None if none does.

    Raises:
        FileNotFoundError: the workdir holds no run.
    """
    runs = runs_in(workdir).values()
    return next((run for run in runs if STAGES[run.stage_name].embeds_captions()), None)
