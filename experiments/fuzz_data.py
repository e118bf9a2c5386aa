"""Feeds the readers of one's own data with made-up and damaged inputs.

    python experiments/fuzz_data.py --n=100000 --seed=0
    python experiments/fuzz_data.py --n=2000 --reader=shard

Of each input a reader has to give items, every image with captions of its own, or one sentence
(ValueError or OSError), within --seconds of CPU time. Whatever else happens is a finding: it is
printed with the reader and the seed of its input, which `--reader=… --only=SEED` makes again, and
the exit code is 1.
"""

import argparse
import collections
import faulthandler
import hashlib
import json
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fuzz_inputs as inputs
import numpy as np

from dalle_jax.data.coco_manifest import make_coco_manifest
from dalle_jax.data.images import decode
from dalle_jax.data.manifest import Header, Manifest, Row, read_manifest, write_manifest
from dalle_jax.data.open import open_source
from dalle_jax.data.text import captions_of_lines, captions_of_record, decode_text, is_visible

MAX_SENTENCE = 3000  # characters


class WrongError(Exception):
    """A reader gave something that it must not give."""


class HangError(BaseException):
    """A reader took too long. No `except Exception` of a reader may catch it."""


def check_items(source: Any) -> None:
    """Raise if an item has no visible caption, another item's, or an image of another form."""
    if len(source) != source.report.total - source.report.num_skipped:
        raise WrongError(f"{len(source)} items, but the report says {source.report}")
    for index in range(len(source)):
        item = source[index]
        image = item["image"]
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise WrongError(f"an image of {image.dtype} {image.shape}")
        if not item["captions"] or not all(map(is_visible, item["captions"])):
            raise WrongError(f"captions {item['captions']!r}")
        check_owner(inputs.owner_of_image(image), item["captions"], item["id"])


def check_owner(owner: int | None, captions: Any, name: str) -> None:
    """Raise if one of the captions is another item's."""
    owners = {number for caption in captions for number in inputs.owners_of_caption(caption)}
    if owner is not None and owners - {owner}:
        raise WrongError(f"{name}: the image of item {owner} has the captions {captions}")


def _open(kind: str, make: Callable[[Path, random.Random], None]) -> Callable:
    def run(folder: Path, rng: random.Random) -> None:
        make(folder, rng)
        spec = f"{kind}:{folder}"
        if kind == "webdataset" and rng.random() < 0.2:
            spec += rng.choice(("/*.tar", "/{0..1}*.tar", "/**/*.tar", f"/*.tar::{folder}"))
        encoding = rng.choice((*["utf-8"] * 9, "cp1252", "utf-16"))
        split = {"data_dir": "", "split": "all", "image_size": 2, "encoding": encoding}
        source = open_source(spec, max_bad_share=1.0, **split)
        check_items(source)
        if rng.random() < 0.1:  # Again, from the index and the report.
            again = open_source(spec, max_bad_share=1.0, **split)
            if [again.location(i) for i in range(len(again))] != [
                source.location(i) for i in range(len(source))
            ] or again.signature != source.signature:
                raise WrongError("a second opening gives other items")
            check_items(again)

    return run


def _text(_: Path, rng: random.Random) -> None:
    number = rng.randrange(inputs.ITEMS)
    if rng.random() < 0.3:
        try:
            record = json.loads(inputs.maybe_damaged(inputs.json_file(number, rng), rng))
        except (ValueError, RecursionError):
            return
        captions = captions_of_record(record, rng.choice(("", "", "text", "other,caption"))) or []
    else:
        content = inputs.maybe_damaged(inputs.text_file(number, rng), rng)
        captions = captions_of_lines(decode_text(content, rng.choice(inputs.ENCODINGS)))
    if not all(map(is_visible, captions)):
        raise WrongError(f"captions {captions!r}")
    check_owner(number, captions, "text")


def _image(_: Path, rng: random.Random) -> None:
    content = inputs.huge_png(rng) if rng.random() < 0.05 else inputs.damaged_image(rng)
    image = decode(content)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise WrongError(f"an image of {image.dtype} {image.shape}")


def _check_rows(manifest: Manifest) -> None:
    names = {f"{inputs.name_of(number)}.png": number for number in range(inputs.ITEMS)}
    for row in manifest.rows:
        check_owner(names.get(row.image), [row.caption], row.id)


def _coco(folder: Path, rng: random.Random) -> None:
    inputs.make_coco(folder, rng)
    rule = rng.choice(("one", "all"))
    path = folder / "captions.json"
    _check_rows(make_coco_manifest(path, rule=rule, n=None, max_bad_share=1.0))


def _manifest(folder: Path, rng: random.Random) -> None:
    numbers = [*dict.fromkeys(inputs.items_of(rng))] or [0]
    rows = [
        Row(f"test/{n}", inputs.caption_of(n, rng), f"{inputs.name_of(n)}.png", "test")
        for n in numbers
    ]
    path = folder / "manifest.jsonl"
    header = Header("one", "folder:x", {}, "test", 0, len(rows), len(rows))
    written = Manifest(header, tuple(rows))
    write_manifest(path, written)
    path.write_bytes(inputs.maybe_damaged(path.read_bytes(), rng, 0.9))
    read = read_manifest(path)
    if read.sha256 != written.sha256:
        raise WrongError("another manifest than was written")
    _check_rows(read)


READERS: dict[str, Callable[[Path, random.Random], None]] = {
    "folder": _open("folder", inputs.make_folder),
    "table": _open("folder", inputs.make_table),
    "shard": _open("webdataset", inputs.make_shards),
    "parquet": _open("parquet", inputs.make_parquet),
    "text": _text,
    "image": _image,
    "coco": _coco,
    "manifest": _manifest,
}


def run_one(reader: str, seed: int, folder: Path, seconds: float = 10) -> str:
    """What came of one input: "items", "sentence", or the description of a finding."""
    rng = random.Random(int.from_bytes(hashlib.sha256(f"{reader} {seed}".encode()).digest()[:8]))
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        READERS[reader](folder, rng)
        return "items"
    except (ValueError, OSError) as error:
        text = str(error)
        if text.strip() and "\n" not in text and len(text) < MAX_SENTENCE:
            return "sentence"
        return f"no sentence: {text[:500]!r}\n{traceback.format_exc()[-1500:]}"
    except HangError:
        return f"more than {seconds:g} s"
    except Exception:
        return traceback.format_exc()[-3000:]
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def fuzz(
    readers: list[str], n: int, seed: int, seconds: float = 10
) -> tuple[dict[str, collections.Counter], list[tuple[str, int, str]]]:
    """Feed n inputs to the readers in turns.

    Returns:
        How many gave items and how many a sentence, by reader; and the findings: reader, seed of
        the input, description.
    """

    def on_alarm(*_: Any) -> None:
        raise HangError

    counts = {reader: collections.Counter() for reader in readers}
    findings: list[tuple[str, int, str]] = []
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    before, timer = signal.signal(signal.SIGPROF, on_alarm), signal.getitimer(signal.ITIMER_PROF)
    try:
        with tempfile.TemporaryDirectory(dir=place) as top, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            folder = Path(top) / "input"
            for number in range(n):
                reader = readers[number % len(readers)]
                folder.mkdir()
                # A thread that hangs can't be stopped: the process says where it is, and ends.
                faulthandler.dump_traceback_later(3 * seconds + 60, exit=True)
                found = run_one(reader, seed + number // len(readers), folder, seconds)
                faulthandler.cancel_dump_traceback_later()
                shutil.rmtree(folder, ignore_errors=True)
                if found in ("items", "sentence"):
                    counts[reader][found] += 1
                else:
                    counts[reader]["finding"] += 1
                    findings.append((reader, seed + number // len(readers), found))
    finally:
        signal.signal(signal.SIGPROF, before)
        signal.setitimer(signal.ITIMER_PROF, *timer)
    return counts, findings


def main() -> int:
    """Print what was found; 1 if anything was."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=100_000, help="inputs, over all readers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", default="all", help=f"all, or of {', '.join(READERS)}")
    parser.add_argument(
        "--seconds", type=float, default=10, help="of CPU time that one input may take"
    )
    parser.add_argument("--only", type=int, help="the seed of one input to make again")
    args = parser.parse_args()
    readers = [*READERS] if args.reader == "all" else args.reader.split(",")
    if unknown := [reader for reader in readers if reader not in READERS]:
        parser.error(f"there is no reader {unknown[0]}; there are {', '.join(READERS)}")
    seed, n = (args.seed, args.n) if args.only is None else (args.only, len(readers))
    start = time.process_time()
    counts, findings = fuzz(readers, n, seed, args.seconds)
    for reader, seed_of_input, found in findings:
        print(f"--- {reader} {seed_of_input}\n{found}")
    for reader, count in counts.items():
        print(f"{reader:9s} {dict(sorted(count.items()))}")
    print(
        f"{n:,} inputs, {len(findings)} findings, {time.process_time() - start:.0f} s of CPU time"
    )
    return bool(findings)


if __name__ == "__main__":
    sys.exit(main())
