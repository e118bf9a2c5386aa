"""A figure's own measurements, besides `dalle-jax evaluate`: of which points, and which are stored.

A figure without `measure` has none.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from dalle_jax.evaluation.networks import open_features
from dalle_jax.figures.cache import CachedMeasurement, measure_and_save, read
from dalle_jax.figures.figure import Figure, Measured
from dalle_jax.figures.measuring_code import earlier_texts, measuring_code
from dalle_jax.files import short_hash
from dalle_jax.runs import open_run
from dalle_jax.stages import sampling_of
from dalle_jax.sweeps.layout import SweepLayout
from dalle_jax.sweeps.machine import own_machine
from dalle_jax.sweeps.point_evaluation import network_checkpoints
from dalle_jax.sweeps.shared_runs import Graph, PlannedPoint, setting_columns


class Part(NamedTuple):
    """What one call of a figure's `measure` is of: a point, or all of them together.

    Attributes:
        title: for people.
        file: where its measurement is stored.
        is_trained: whether it can be measured.
    """

    title: str
    points: Sequence[PlannedPoint]
    file: Path
    is_trained: bool


@dataclass(frozen=True)
class Measurements:
    """What a figure measures itself.

    Attributes:
        figure: whose `measure` is called.
        source: the figure's file.
        scale: of the figure.
        graph, layout: of its sweep.
        features: the run of the network that distances are on, where it has one.
        num_captions: that `measure` takes; None for the figure's own number.
    """

    figure: Figure
    source: Path
    scale: str
    graph: Graph
    layout: SweepLayout
    features: str | None = None
    num_captions: int | None = None

    @property
    def parts(self) -> list[Part]:
        """In the order in which they are measured."""
        if self.figure.measure is None:
            return []
        points = list(self.graph.points)
        if self.figure.together:
            return [self._part("all points together", points)] if points else []
        return [self._part(point.name, [point]) for point in points]

    def cached(self) -> list[tuple[Part, CachedMeasurement | None]]:
        """All parts with what is stored of them; None where that is not measured."""
        return [(part, read(part.file) if part.is_trained else None) for part in self.parts]

    def print_plan(self) -> None:
        """Print which parts are measured and which would be."""
        for part, cached in self.cached():
            once = "" if part.is_trained else ", once it is trained"
            print(f"own measure of {part.title}: {'is there' if cached else f'measure{once}'}")

    def measure_missing(self, until: float, origin: Mapping[str, Any]) -> None:
        """Measure what can be measured and is not stored, one part after the other.

        None is begun after `until` (of `time.monotonic`); `origin` is without the machine.
        """
        missing = [part for part, cached in self.cached() if cached is None and part.is_trained]
        if not missing or time.monotonic() > until:
            return
        options: dict[str, Any] = {}
        if self.features is not None:
            options["extractor"] = open_features(self.features).extractor
        if self.figure.num_captions is not None:
            options["num_captions"] = self.num_captions or self.figure.num_captions
        for part in missing:
            if time.monotonic() > until:
                return
            systems = [self.layout.system(point) for point in part.points]
            measured = systems if self.figure.together else systems[0]
            measure = lambda measured=measured: self.figure.measure(measured, **options)
            measure_and_save(part.file, measure, {**origin, "machine": own_machine()})

    def measured(self) -> Measured:
        """The rows and images of all that is stored; those of a single point say which it is."""
        rows, images, columns = [], {}, setting_columns(self.graph)
        for part, cached in self.cached():
            if cached is None:
                continue
            head: dict[str, Any] = {}
            if not self.figure.together:
                (point,) = part.points
                settings = {columns[name]: value for name, value in point.overrides.items()}
                head = {"point": point.name, **self.graph.cli_overrides, **settings}
                head |= {"seed": point.config["seed"], "runs": " ".join(point.runs.values())}
            rows += [{**head, **row} for row in cached.measured.table]
            is_only = self.figure.together or len(self.graph.points) == 1
            prefix = "" if is_only else f"{part.title}/"
            images |= {prefix + name: image for name, image in cached.measured.images.items()}
        return Measured(rows, images)

    def _part(self, title: str, points: Sequence[PlannedPoint]) -> Part:
        runs = [self.graph.runs[key] for point in points for key in point.runs.values()]
        networks = () if self.features is None else network_checkpoints({"features": self.features})
        settings = (
            *(self.scale, self.figure.together),
            *(self.num_captions or self.figure.num_captions, networks),
            [[key, self._sampling(stage, key)] for p in points for stage, key in p.runs.items()],
        )
        text = self.source.read_text("utf-8")
        file = self._file(measuring_code(text), settings)
        if not file.exists():
            self._rename_earlier(file, text, settings)
        return Part(title, points, file, all(map(self.layout.is_trained, runs)))

    def _file(self, code: str, settings: Sequence[Any]) -> Path:
        name = f"{self.source.stem}-{short_hash([code, *settings])}.npz"
        return self.layout.workdir / "measures" / name

    def _rename_earlier(self, file: Path, text: str, settings: Sequence[Any]) -> None:
        """Rename a file of an earlier version, whose key was of all of the figure's text."""
        if not any(file.parent.glob(f"{self.source.stem}-*.npz")):
            return
        for earlier in (text, *earlier_texts(self.source)):
            stored = self._file(earlier, settings)
            if stored.exists() and measuring_code(earlier) == measuring_code(text):
                stored.rename(file)
                return

    def _sampling(self, stage: str, key: str) -> Any:
        """The sampling settings of a run's config, which for a shared run are another point's."""
        directory = self.layout.run(key)
        if not (directory / "config.json").exists():
            return None
        return sampling_of(stage, open_run(directory).config)
