"""Images a second of the loader, from a folder, tar shards and Parquet, of two trees in turns.

    python experiments/loader_speed.py --trees=../older,.

Each measurement is a process of its own with one tree as PYTHONPATH; both read the same files.
"small" are JPEG files of 64 × 64 pixels, "photos" of 512 × 384. Every batch is read and decoded
from the files anew (`memory_limit=0`), or, "in memory", only at the first, untimed visit.
The figures are images per second of the process's CPU time, which others on the machine disturb
least, and of the clock. Where a tree can't read Parquet, its folder stands in its place.
"""

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

BATCH, SIDE, THREADS = 16, 64, 2
SIZES = {"small": (64, 64), "photos": (512, 384)}
KINDS = ("folder", "shards", "parquet")


def main() -> None:
    """Make the data, measure in turns, print the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trees", default=".", help="folders of checkouts; the first is the base")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=480)
    parser.add_argument("--seconds", type=float, default=2.0, help="of one measurement")
    parser.add_argument("--need", type=float, default=125, help="images/s of a training step")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        spec, memory, seconds = args.measure
        print(json.dumps(measure(spec, memory == "memory", float(seconds))), flush=True)
        os._exit(0)  # the loader's threads are in the midst of a batch
    trees = [str(Path(tree).resolve()) for tree in args.trees.split(",")]
    with tempfile.TemporaryDirectory() as place:
        cases = list(_cases(Path(place), args.images))
        speeds: dict[tuple[str, str], list[dict[str, float]]] = {}
        for _ in range(args.rounds):
            for name, specs, memory in cases:
                for tree in trees:
                    found = _in_a_process(tree, specs, memory, args.seconds)
                    speeds.setdefault((name, tree), []).append(found)
    print(_table(speeds, [name for name, *_ in cases], trees, args.need))


def measure(spec: str, in_memory: bool, seconds: float) -> dict[str, float]:
    """Images per second of CPU time and of the clock that the loader gives in this process."""
    from dalle_jax.data.loader import make_loader
    from dalle_jax.data.open import open_source
    from dalle_jax.data.tokenizer import Tokenizer, train_tokenizer

    source = open_source(spec, data_dir="", split="all", image_size=SIDE)
    tokenizer = Tokenizer(train_tokenizer(["a picture with number 0123456789"], 300), 32)
    loader = make_loader(
        source,
        tokenizer,
        batch_size=BATCH,
        image_size=SIDE,
        num_threads=THREADS,
        **({} if in_memory else {"memory_limit": 0}),
    )
    for _ in range(3 * len(source) // BATCH if in_memory else 3):
        next(loader)
    count, cpu, began = 0, time.process_time(), time.perf_counter()
    while time.perf_counter() - began < seconds:
        next(loader)
        count += BATCH
    used, passed = time.process_time() - cpu, time.perf_counter() - began
    return {"cpu": count / used, "clock": count / passed}


def _cases(place: Path, count: int):
    """(name, sources that are tried in this order, whether the images are kept in memory)."""
    for size in SIZES:
        folder = place / size
        _write(folder, SIZES[size], count)
        specs = {
            "folder": [f"folder:{folder / 'files'}"],
            "shards": [f"webdataset:{folder / 'shards'}/*.tar"],
            "parquet": [f"parquet:{folder / 'images.parquet'}", f"folder:{folder / 'files'}"],
        }
        for kind in KINDS:
            yield f"{size}, {kind}", specs[kind], False
        if size == "small":
            yield f"{size}, folder, in memory", specs["folder"], True


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


def _in_a_process(tree: str, specs: list[str], memory: bool, seconds: float) -> dict[str, float]:
    for spec in specs:
        command = [sys.executable, __file__, "--measure", spec]
        command += ["memory" if memory else "files", str(seconds)]
        environment = {**os.environ, "PYTHONPATH": tree, "JAX_PLATFORMS": "cpu"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tree)
        if done.returncode == 0:
            return json.loads(done.stdout.splitlines()[-1])
    raise RuntimeError(f"{tree} reads none of {specs}: {done.stderr[-2000:]}")


def _table(speeds, names: list[str], trees: list[str], need: float) -> str:
    head = ["images/s", *(f"{Path(tree).name}: CPU (clock)" for tree in trees)]
    lines = [" | ".join([*head, "ratio of CPU", f"of a step's {need:g}/s"])]
    lines.append(" | ".join(["---"] * (len(head) + 2)))
    for name in names:
        found = [speeds[name, tree] for tree in trees]
        cells = [
            f"{statistics.median(one['cpu'] for one in runs):,.0f} "
            f"({statistics.median(one['clock'] for one in runs):,.0f})"
            for runs in found
        ]
        ratio = statistics.median(
            last["cpu"] / first["cpu"] for first, last in zip(found[0], found[-1])
        )
        times = statistics.median(one["clock"] for one in found[-1]) / need
        lines.append(" | ".join([name, *cells, f"{ratio:.2f}", f"{times:.0f} ×"]))
    return "\n".join(f"| {line} |" for line in lines)


if __name__ == "__main__":
    main()
