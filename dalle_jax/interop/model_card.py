"""The README.md of a model folder: what the model is, what was measured of it, how it is used."""

from collections.abc import Iterator, Mapping
from typing import Any

from dalle_jax.metrics.results import read_rows
from dalle_jax.runs import Run
from dalle_jax.runs.data import read_record

WEIGHTS = {"ema": "averaged (EMA)", "raw": "raw"}
USE = """
## Use

```python
from dalle_jax import DallePipeline

pipe = DallePipeline.from_pretrained("PATH/TO/THIS/FOLDER")
pipe("{caption}").images[0].save("image.png")
```

or `dalle-jax sample "{caption}" --workdir=PATH/TO/THIS/FOLDER`. The folder is a workdir of
dalle_jax whose training can't go on; `dalle-jax evaluate --workdir=…` measures it again.
"""


def model_card(
    runs: Mapping[str, Run],
    num_parameters: Mapping[str, int],
    weights: Mapping[str, str],
    dtype: str,
    bases: Mapping[str, str],
) -> str:
    """Markdown, after a head in YAML as model hubs read it; the same runs give the same text.

    Args:
        runs: by stage, of one workdir, whose results.jsonl holds what was measured of them.
        num_parameters: by stage.
        weights: "ema" or "raw", by stage.
        dtype: of the stored tensors.
        bases: by stage, of which checkpoint it holds only adapters.
    """
    main = list(runs.values())[-1]
    results = read_rows(main.directory.parent / "results.jsonl")
    rows = [row for row in results if _is_of(row, runs, weights)]
    shapes = main.data["source"].startswith("captioned_shapes")
    parts = [
        *("---", "library_name: dalle_jax", "pipeline_tag: text-to-image", "---", ""),
        f"# {' + '.join(runs)}",
        "",
        f"A text-to-image model of dalle_jax, in {dtype}.",
        "",
        "| stage | parameters | steps | image size | weights | fingerprint |",
        "|---|---|---|---|---|---|",
        *(
            f"| {name} | {num_parameters[name]:,} | {run.step:,} | {run.data['image_size']} "
            f"| {WEIGHTS[weights[name]]} | `{run.fingerprint}` |"
            for name, run in runs.items()
        ),
        *(
            f"\n{name} holds only adapters (LoRA) of the weights `{base}`, which are needed where "
            "its config says, in `train.init_from`."
            for name, base in bases.items()
        ),
        USE.format(caption="a large red circle" if shapes else "A CAPTION"),
        "## Training data",
        "",
        *dict.fromkeys(_data(run) for run in runs.values()),
        "",
        f"Licence of images: {main.config['licence']}",
        "",
        *_results(rows, dtype),
    ]
    return "\n".join(parts).rstrip() + "\n"


def _is_of(row: Mapping[str, Any], runs: Mapping[str, Run], weights: Mapping[str, str]) -> bool:
    """Whether a row of results was measured of these weights, before they are rounded."""
    model = row.get("model")
    return isinstance(model, Mapping) and all(
        name in runs
        and (stage["fingerprint"], stage["step"]) == (runs[name].fingerprint, runs[name].step)
        and stage["weights"] == (runs[name].exported_as or weights[name])
        for name, stage in model.items()
    )


def _data(run: Run) -> str:
    """The data of a run in a line: what it is, how many items, and their content's signature."""
    # Of a path only its last part: the folders above are the user's own affair.
    kind, _, where = run.data["source"].partition(":")
    name = f"{kind}: {where.rstrip('/').rpartition('/')[2]}" if where else kind
    record = read_record(run.directory)
    if record is None or not record.readings:
        return f"- {name}"
    reading = record.readings[-1]
    signature = f", content `{reading.signature[:12]}`" if reading.signature else ""
    return f"- {name}, {reading.items.get('train', 0):,} training images{signature}"


def _results(rows: list[dict[str, Any]], dtype: str) -> Iterator[str]:
    if not rows:
        return
    rounded = "" if dtype == "float32" else f" They were measured before rounding to {dtype}."
    yield from ("## Results", "", f"Measured by `dalle-jax evaluate`; 95 % intervals.{rounded}", "")
    yield "| captions | images | metric | value | interval | protocol |"
    yield "|---|---|---|---|---|---|"
    for row in rows:
        protocol = row["protocol"]
        for name, entry in row["metrics"].items():
            low, high = entry.get("interval") or (None, None)
            interval = "" if low is None else f"{low:.4g} – {high:.4g}"
            yield (
                f"| {row.get('data', '')} | {protocol.get('num_images', '')} | {name} "
                f"| {entry['value']:.4g} | {interval} | `{row['protocol_hash']}` |"
            )
