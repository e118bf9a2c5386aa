"""The paths of sweeps in a workdir.

    <workdir>/runs/STAGE-FINGERPRINT/  trained stages, shared by all points of all sweeps here; for
                                       user data a hash of their content follows
    <workdir>/systems/HASH/STAGE       links to the runs of one point; its results and images
    <workdir>/jobs/KEY/                of a job: lock, attempts.jsonl, a log of each attempt, done
    <workdir>/SWEEP/sweep.json         the points, with their configs
    <workdir>/SWEEP/points/NAME        a link to the point's system
    <workdir>/SWEEP/results.csv        and results.parquet, report.html

In a system's directory a stage finds the stages that it depends on, and `dalle-jax evaluate` all of
them, under their usual names. Links are relative, so that a workdir can be moved as a whole, except
those to reused runs elsewhere.
"""

from dataclasses import dataclass
from pathlib import Path

from dalle_jax.sweeps.shared_runs import PlannedPoint, StageRun
from dalle_jax.training import pending
from dalle_jax.training.finished import steps_in


@dataclass(frozen=True)
class SweepLayout:
    """The paths of one sweep in a workdir."""

    workdir: Path
    sweep: str

    @property
    def directory(self) -> Path:
        """The directory of the sweep's definition, points and results."""
        return self.workdir / self.sweep

    def run(self, key: str) -> Path:
        """The directory of a run."""
        return self.workdir / "runs" / key

    def system(self, point: PlannedPoint) -> Path:
        """The workdir that a point is trained and measured in."""
        return self.workdir / "systems" / point.key

    def point(self, point: PlannedPoint) -> Path:
        """The link to it under the point's name."""
        return self.directory / "points" / point.name

    def job(self, key: str) -> Path:
        """The directory of a job: its lock, logs and attempts."""
        return self.workdir / "jobs" / key

    def step(self, run: StageRun) -> int:
        """The step of a run's newest checkpoint, 0 if there is none."""
        steps = steps_in(self.run(run.key) / "checkpoints")
        return steps[-1] if steps else 0

    def is_trained(self, run: StageRun) -> bool:
        """Whether a run is at its last step, and no event is pending there."""
        at_end = self.step(run) >= run.steps
        return at_end and not pending.read(self.run(run.key), run.steps)
