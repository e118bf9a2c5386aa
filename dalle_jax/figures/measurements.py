"""What a figure measures itself besides `dalle-jax evaluate`: of which points, and what is kept."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from dalle_jax.evaluation.networks import open_features
from dalle_jax.figures.cache import KeptMeasure, key_of, measure_and_keep, read
from dalle_jax.figures.figure import Figure, Measured
from dalle_jax.runs import open_run
from dalle_jax.stages import sampling_of
from dalle_jax.sweeps.graph import Graph, PlannedPoint, network_checkpoints, setting_columns
from dalle_jax.sweeps.layout import SweepLayout
from dalle_jax.sweeps.machine import own_machine


class Part(NamedTuple):
    """What one call of a figure's `measure` is of: a point, or all of them together.

    Attributes:
        title: for people.
        points: one, or all.
        file: where it is kept.
        is_trained: whether it can be measured.
    """

    title: str
    points: Sequence[PlannedPoint]
    file: Path
    is_trained: bool


@dataclass(frozen=True)
class Own:
    """What a figure measures itself.

    Attributes:
        figure: with `measure`, or without: then there are no parts.
        source: the figure's file.
        scale: that it is made at.
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

    def kept(self) -> list[tuple[Part, KeptMeasure | None]]:
        """All parts with what is kept of them; None where that is not measured."""
        return [(part, read(part.file) if part.is_trained else None) for part in self.parts]

    def print_plan(self) -> None:
        """Tell of each part whether it is there."""
        for part, kept in self.kept():
            once = "" if part.is_trained else ", once it is trained"
            print(f"own measure of {part.title}: {'is there' if kept else f'measure{once}'}")

    def measure_missing(self, until: float, origin: Mapping[str, Any]) -> None:
        """Measure what can be and is not kept, a part after the other.

        Args:
            until: the moment of `time.monotonic` after which no part is begun.
            origin: of this process, without its machine.
        """
        given: dict[str, Any] | None = None
        for part, kept in self.kept():
            if kept is not None or not part.is_trained or time.monotonic() > until:
                continue
            given = self._given() if given is None else given
            systems = [self.layout.system(point) for point in part.points]
            of = systems if self.figure.together else systems[0]
            measure_and_keep(
                part.file,
                lambda of=of, given=given: self.figure.measure(of, **given),
                {**origin, "machine": own_machine()},
            )

    def measured(self) -> Measured:
        """The rows and images of all that is kept; those of a single point say which it is."""
        rows, images, columns = [], {}, setting_columns(self.graph)
        for part, kept in self.kept():
            if kept is None:
                continue
            head = {} if self.figure.together else self._head(part.points[0], columns)
            rows += [{**head, **row} for row in kept.measured.table]
            alone = self.figure.together or len(self.graph.points) == 1
            of_point = "" if alone else f"{part.title}/"
            images |= {of_point + name: image for name, image in kept.measured.images.items()}
        return Measured(rows, images)

    def _head(self, point: PlannedPoint, columns: Mapping[str, str]) -> dict[str, Any]:
        knobs = {columns[knob]: value for knob, value in point.overrides.items()}
        head = {
            "point": point.name,
            **self.graph.cli_overrides,
            **knobs,
            "seed": point.config["seed"],
        }
        return {**head, "runs": " ".join(point.runs.values())}

    def _given(self) -> dict[str, Any]:
        """What `measure` is called with besides workdirs."""
        given = {}
        if self.features is not None:
            given["extractor"] = open_features(self.features).extractor
        if self.figure.num_captions is not None:
            given["num_captions"] = self.num_captions or self.figure.num_captions
        return given

    def _part(self, title: str, points: Sequence[PlannedPoint]) -> Part:
        runs = [self.graph.runs[key] for point in points for key in point.runs.values()]
        networks = () if self.features is None else network_checkpoints({"features": self.features})
        key = key_of(
            *(self.source.read_text("utf-8"), self.scale, self.figure.together),
            *(self.num_captions or self.figure.num_captions, networks),
            [[key, self._sampling(stage, key)] for p in points for stage, key in p.runs.items()],
        )
        file = self.layout.workdir / "measures" / f"{self.source.stem}-{key}.npz"
        return Part(title, points, file, all(map(self.layout.is_trained, runs)))

    def _sampling(self, stage: str, key: str) -> Any:
        """How a run draws where it is not told: of a shared run that is another point's choice."""
        directory = self.layout.run(key)
        if not (directory / "config.json").exists():
            return None
        return sampling_of(stage, open_run(directory).config)
