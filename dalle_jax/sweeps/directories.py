"""The directories of a sweep: links that make a system of shared runs, and reused runs."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from dalle_jax.runs import Run, open_run
from dalle_jax.runs.data import FILE as DATA_FILE
from dalle_jax.runs.data import DataRecord, Reading, read_record, write_record
from dalle_jax.runs.history import has_phases
from dalle_jax.stages import data_of
from dalle_jax.sweeps.layout import SweepLayout
from dalle_jax.sweeps.shared_runs import Graph, StageRun


def lay_out(layout: SweepLayout, graph: Graph, reuse: Sequence[Path] = ()) -> None:
    """Make the directories and links of a sweep; what is there stays.

    Trained stages of the workdirs `reuse` are linked if fingerprint and data are the same.

    Raises:
        FileNotFoundError: a workdir of `reuse` is not there.
        ValueError: something else is where a link is to be.
    """
    for key, path in find_reusable(layout, graph, reuse).items():
        if not (layout.run(key) / "config.json").exists():
            (layout.run(key) / DATA_FILE).unlink(missing_ok=True)  # of a run that never began
        beside = path.parent == layout.run(key).parent.resolve()
        _link(layout.run(key), Path(path.name) if beside else path)
    for key, run in graph.runs.items():
        layout.run(key).mkdir(parents=True, exist_ok=True)
        if run.content and not layout.step(run):
            _note_content(layout.run(key), run)
    for point in graph.points:
        system = layout.system(point)
        for stage, key in point.runs.items():
            _link(system / stage, _relative(layout.run(key), system))
        _link(layout.point(point), _relative(system, layout.point(point).parent))


def find_reusable(layout: SweepLayout, graph: Graph, reuse: Iterable[Path]) -> dict[str, Path]:
    """Runs of other workdirs that are trained as the graph wants them, by their key here.

    A run that has no record of its data, as a migrated one, is taken by its fingerprint.
    """
    found = {}
    for workdir in reuse:
        if not workdir.is_dir():
            raise FileNotFoundError(f"there is no workdir {workdir} to reuse runs of")
        if not any(workdir.glob("*/config.json")):
            raise FileNotFoundError(f"{workdir} holds no runs to reuse (no */config.json)")
    for key, run in graph.runs.items():
        if layout.step(run):
            continue
        for directory in (workdir / run.stage for workdir in reuse):
            if (directory / "config.json").exists() and _is_trained_as(run, open_run(directory)):
                found[key] = directory.resolve()
    return found


def _is_trained_as(run: StageRun, there: Run) -> bool:
    same_data = not run.content or there.content in ("", run.content)
    same_settings = not there.differences(run.stage, run.config) and not has_phases(there.history)
    return same_data and same_settings and there.step >= run.steps


def _note_content(directory: Path, run: StageRun) -> None:
    """Let the training of a run refuse other data than the sweep shares it by."""
    if read_record(directory) is None:
        source = data_of(run.stage, run.config)["source"]
        reading = Reading(0, source, run.signature, run.content)
        write_record(directory, DataRecord([reading], shared=True))


def _relative(target: Path, start: Path) -> Path:
    return Path(os.path.relpath(target, start))


def _link(path: Path, target: Path) -> None:
    """Let `path` be a link to `target`; another launcher may do the same at this moment."""
    if path.is_symlink() and Path(os.readlink(path)) == target:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir() and not path.is_symlink():
        try:
            path.rmdir()  # made for a run that never began
        except OSError as error:
            raise ValueError(
                f"{path} is in the way of a link to {target}; move it elsewhere"
            ) from error
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(path)
