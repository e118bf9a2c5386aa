"""What a drawing is asked for, checked before weights are read or anything is compiled."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dalle_jax.nearest import nearest
from dalle_jax.pipelines.settings import checked_settings
from dalle_jax.pipelines.system import by_stage, check_source, find_stages
from dalle_jax.pipelines.text_to_image import DallePipeline
from dalle_jax.stages import sampling_of
from dalle_jax.stages.graph import drawing_names

CALLS = (DallePipeline.__call__, DallePipeline.generate_all)
OF_THE_CALL = ("embedding", "images", "until")  # the other settings are those of stages


def check_drawing(workdir: Path, settings: Mapping[str, Any]) -> None:
    """Refuse settings that the stages trained in a workdir can't draw with; no weights are loaded.

    Raises:
        FileNotFoundError: nothing was trained there.
        ValueError: a setting is unknown, or has a value that can't be.
    """
    runs, stages = find_stages(workdir)
    defaults = {name: sampling_of(name, runs[name].config) for name in stages}
    check_source(stages, settings.get("embedding"), settings.get("images"))
    check_settings(stages, defaults, settings)
    drawing, until = drawing_names(stages), settings.get("until")
    if until is not None and until not in drawing:
        raise ValueError(
            f"{workdir} has no trained stage {until!r} that draws; it has {', '.join(drawing)}"
            f"{nearest(until, drawing)}"
        )


def check_settings(
    stages: Mapping[str, Any],
    defaults: Mapping[str, Mapping[str, Any]],
    settings: Mapping[str, Any],
) -> None:
    """Refuse settings of a call of the pipeline that its stages can't be drawn with.

    Raises:
        ValueError: a setting is unknown, or has a value that can't be.
    """
    of_stages = {key: value for key, value in settings.items() if key not in OF_THE_CALL}
    checked_settings(stages, defaults, by_stage(stages, of_stages), CALLS)


def check_sampling_defaults(name: str, stage: Any, settings: Mapping[str, Any]) -> None:
    """Refuse `sample` settings of a stage's config that it can't be drawn with.

    Raises:
        ValueError: a setting is unknown, or has a value that can't be.
    """
    checked_settings({name: stage}, {name: settings}, {}, CALLS)
