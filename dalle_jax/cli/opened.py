"""What evaluations in one process have in common."""

from pathlib import Path

from dalle_jax.pipelines.raw_weights import choose_weights
from dalle_jax.pipelines.system import load_system
from dalle_jax.pipelines.text_to_image import DallePipeline
from dalle_jax.runs import open_run

IN_SYSTEMS = ("clip", "prior", "decoder", "joint")  # and upsamplers; what else lies there is not


class Opened:
    """The pipeline that was opened last; with it what its networks made of captions is kept."""

    def __init__(self):
        self._of: tuple | None = None
        self._pipeline: DallePipeline | None = None

    def pipeline(self, workdir: Path, weights: str) -> DallePipeline:
        """That of a workdir on EMA or raw weights; the last, if it is of the same runs.

        Raises:
            FileNotFoundError: nothing was trained there.
            ValueError: its stages do not fit each other, or there are no such weights.
        """
        directories = sorted(path.parent for path in workdir.glob("*/config.json"))
        of = (
            weights,
            *(
                (directory.resolve(), open_run(directory).checkpoint_name)
                for directory in directories
                if directory.name in IN_SYSTEMS or directory.name.startswith("upsampler")
            ),
        )
        if of != self._of:
            self._of = self._pipeline = None  # before others are loaded
            self._pipeline = DallePipeline(choose_weights(load_system(workdir), weights))
            self._of = of
        return self._pipeline
