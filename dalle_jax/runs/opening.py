"""What a run reads: its data, embeddings stored of them, and its tokenizer."""

import itertools
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dalle_jax.data.embeddings import StoredEmbeddings, WithEmbeddings
from dalle_jax.data.index import NotScannedError, without_scan
from dalle_jax.data.open import is_at_path, open_source
from dalle_jax.data.options import reading_options
from dalle_jax.data.source import Source, without_images
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


class RunData:
    """The part of a `Run` that opens its data; see there for the attributes."""

    directory: Path
    stage_name: str
    config: Mapping[str, Any]
    moved_to: str

    @property
    def tokenizer_path(self) -> Path:
        """Where `tokenizer` keeps it."""
        return self.directory / "tokenizer.json"

    @property
    def words_path(self) -> Path:
        """Where the words of the captions are that its tokenizer was trained on, if it was here."""
        return self.directory / "words.json"

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
                sweep, or the data is stated to be the same at another location.
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
        """The run's tokenizer; made at the first call, from a given file or `source`'s captions.

        A run that starts from the weights of another takes its tokenizer unless one is given.
        """
        settings = self.config["tokenizer"]
        if self.tokenizer_path.exists():
            return Tokenizer.load(self.tokenizer_path)
        words, init_from = None, self.config[self.stage_name]["train"]["init_from"]
        captions = itertools.chain.from_iterable(
            item.get("captions") or (item["caption"],) for item in without_images(source)
        )
        if upstream := self.upstream():
            first = next(iter(upstream.values()))
            tokenizer = Tokenizer.load(first.tokenizer_path)
            words = CaptionWords.load(first.words_path)
        elif settings["file"]:
            tokenizer = Tokenizer.load(settings["file"], settings["max_length"])
        elif init_from:
            from dalle_jax.runs.source import open_init  # it imports this

            with open_init(init_from, self.stage_name) as other:
                tokenizer = Tokenizer.load(other.tokenizer_path, settings["max_length"])
                words = CaptionWords.load(other.words_path)
            for caption in captions if words is not None else ():
                words.add(caption)
        else:
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
