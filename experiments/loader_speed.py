"""Images a second of the loader, from a folder, tar shards and Parquet, of two trees in turns.

    python experiments/loader_speed.py --trees=../older,. --need=230
    taskset -c 0 python experiments/loader_speed.py --step=unclip_folder:clip

Both trees are imported into one process, where they take turns of a tenth of a second or so on the
same files: two processes of the very same code differ by up to 15 %. "small" are JPEG files of
64 × 64 pixels, "photos" of 512 × 384, which become batches of 16 images of 64 × 64. Every batch is
read and decoded from the files anew (`memory_limit=0`), or, "in memory" and "on disk" (the cache of
what does not fit in memory), only at the first, untimed visit. The figures are medians of images
per second of CPU time, which others on the machine disturb less than the clock; batches are made
when asked for, without threads, and on the heap that `dalle-jax` sets. Where a tree can't read
Parquet, its folder is used instead; where it has no cache on disk, it decodes. All files lie in
the system's page cache. `--step` prints what they have to be compared with: the images that a
training step takes per second of CPU time.
"""

import argparse
import io
import json
import statistics
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

BATCH, SIDE = 16, 64
SIZES = {"small": (64, 64), "photos": (512, 384)}
# Batches of a turn.
FROM_FILES, IN_MEMORY, ON_DISK = {"small": 16, "photos": 3}, 40, 12
KINDS = ("folder", "shards", "parquet")


def main() -> None:
    """Make the data, measure in turns, print the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trees", default=".", help="folders of checkouts; the first is the base")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--images", type=int, default=240)
    parser.add_argument("--need", type=float, default=125, help="images/s of a training step")
    parser.add_argument("--step", metavar="CONFIG:STAGE", help="measure its need, and no loader")
    args = parser.parse_args()
    if args.step:
        return _print_need(*args.step.split(":"))
    trees = [str(Path(tree).resolve()) for tree in args.trees.split(",")]
    print("| images per CPU second | " + " | ".join(Path(tree).name for tree in trees), end="")
    print(f" | ratio | of a step's {args.need:g}/s |\n|" + "---|" * (len(trees) + 3))
    with tempfile.TemporaryDirectory() as place:
        for name, specs, batches in _cases(Path(place), args.images):
            loaders = [_open(tree, specs, name, Path(place)) for tree in trees]
            turns = [_turn(loaders, batches, number) for number in range(args.rounds)]
            medians = [statistics.median(speeds) for speeds in zip(*turns)]
            ratio = statistics.median(speeds[-1] / speeds[0] for speeds in turns)
            cells = [f"{median:,.0f}" for median in medians]
            times = f"{medians[-1] / args.need:.1f} ×"
            print(f"| {' | '.join([name, *cells, f'{ratio:.2f}', times])} |", flush=True)


def _print_need(config_name: str, stage: str) -> None:
    """Measure a stage's step as `dalle-jax bench` does, but by CPU time."""
    from dalle_jax.config.load import load_config
    from dalle_jax.cost import bench

    bench.time = SimpleNamespace(perf_counter=time.process_time)
    row = bench.measure_training(stage, load_config(config_name).to_dict(), "", rounds=9, block=1)
    print(f"{config_name}, {stage}: {row['images_per_second']:.0f} images per CPU second")


def _open(tree: str, specs: list[str], case: str, place: Path) -> Iterator[dict]:
    """The loader of a tree on the first of the sources that the tree can read."""
    in_memory, on_disk = case.endswith("in memory"), case.endswith("on disk")
    for name in [name for name in sys.modules if name.partition(".")[0] == "dalle_jax"]:
        del sys.modules[name]
    sys.path.insert(0, tree)
    try:
        from dalle_jax.data.loader import make_loader
        from dalle_jax.data.open import open_source
        from dalle_jax.data.tokenizer import Tokenizer, train_tokenizer

        assert sys.modules["dalle_jax"].__file__.startswith(tree)
        source = None
        for spec in specs:
            try:
                source = open_source(spec, data_dir="", split="all", image_size=SIDE)
                break
            except ValueError as error:
                if spec is specs[-1] or "There is no data set" not in str(error):
                    raise
        if on_disk and find_spec("dalle_jax.data.disk_cache"):
            from dalle_jax.data.disk_cache import on_disk as cached

            source = cached(source, SIDE, limit=2**30, memory_limit=0, folder=place)
        tokenizer = Tokenizer(train_tokenizer(["a picture with number 0123456789"], 300), 32)
        limit = {} if in_memory else {"memory_limit": 0}
        loader = make_loader(
            source, tokenizer, batch_size=BATCH, image_size=SIDE, num_threads=0, **limit
        )
        for _ in range(2 * len(source) // BATCH if in_memory or on_disk else 3):
            next(loader)
        return loader
    finally:
        sys.path.remove(tree)


def _turn(loaders: list[Iterator[dict]], batches: int, number: int) -> list[float]:
    """Images per second of CPU time of each loader; who begins alternates."""
    order = range(len(loaders))
    speeds = [0.0] * len(loaders)
    for i in reversed(order) if number % 2 else order:
        began = time.process_time()
        for _ in range(batches):
            next(loaders[i])
        speeds[i] = batches * BATCH / (time.process_time() - began)
    return speeds


def _cases(place: Path, count: int):
    """(name, sources that are tried in this order, batches of a turn)."""
    for size in SIZES:
        folder = place / size
        _write(folder, SIZES[size], count)
        specs = {
            "folder": [f"folder:{folder / 'files'}"],
            "shards": [f"webdataset:{folder / 'shards'}/*.tar"],
            "parquet": [f"parquet:{folder / 'images.parquet'}", f"folder:{folder / 'files'}"],
        }
        for kind in KINDS:
            yield f"{size}, {kind}", specs[kind], FROM_FILES[size]
        yield f"{size}, folder, in memory", specs["folder"], IN_MEMORY
    for kind in KINDS:
        yield f"photos, {kind}, on disk", specs[kind], ON_DISK


def _write(folder: Path, size: tuple[int, int], count: int) -> None:
    """The same images and captions as a folder, as two shards and as Parquet."""
    import numpy as np
    import pyarrow
    from PIL import Image
    from pyarrow import parquet

    (folder / "files").mkdir(parents=True)
    (folder / "shards").mkdir()
    rng = np.random.default_rng(0)
    encoded = []
    for _ in range(count):
        # Smooth, with some noise: about as many bytes a pixel as a photo.
        coarse = rng.integers(0, 256, (6, 8, 3), np.uint8)
        image = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC), int)
        image = np.clip(image + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=90)
        encoded.append(file.getvalue())
    captions = [f"a picture with number {i}" for i in range(count)]
    for i, content in enumerate(encoded):
        (folder / f"files/{i:05d}.jpg").write_bytes(content)
    rows = [{"file_name": f"{i:05d}.jpg", "text": text} for i, text in enumerate(captions)]
    (folder / "files/metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for shard in range(2):
        with tarfile.open(folder / f"shards/{shard}.tar", "w") as tar:
            for i in range(shard, count, 2):
                for suffix, content in (("jpg", encoded[i]), ("txt", captions[i].encode())):
                    info = tarfile.TarInfo(f"{i:05d}.{suffix}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
    images = [{"bytes": content, "path": f"{i:05d}.jpg"} for i, content in enumerate(encoded)]
    table = pyarrow.table({"image": images, "text": captions})
    parquet.write_table(table, folder / "images.parquet", row_group_size=100)


if __name__ == "__main__":
    from dalle_jax import cpu

    cpu.restart_with_heap()
    main()
