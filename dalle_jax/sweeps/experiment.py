"""An experiment file: the sweep that it defines, and the settings that its config has."""

from pathlib import Path

from dalle_jax.config.choices import SCALES
from dalle_jax.config.load import PREFIX, load_config
from dalle_jax.config.user_files import UserFile, find_config
from dalle_jax.sweeps.grid import OTHER_CONFIG, Sweep, is_sampling


def load_sweep(path: Path, scale: str) -> Sweep:
    """What `get_sweep(scale)` of an experiment file gives.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it defines no sweep, none of this scale, or one that can't be.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give an experiment file in it")
    file = UserFile(path)
    if file.get("get_sweep") is None:
        raise ValueError(f"{path} is no sweep: it defines no get_sweep(scale)")
    try:
        sweep = file.call("get_sweep", scale)
    except ValueError as error:
        if isinstance(error.__cause__, KeyError) and error.__cause__.args == (scale,):
            known = ", ".join(other for other in SCALES if _has_scale(file, other)) or "none"
            raise ValueError(f"{path} has no scale {scale!r}; it has {known}") from error
        raise
    if not isinstance(sweep, Sweep):
        raise ValueError(f"get_sweep of {path} gives a {type(sweep).__name__}, not a Sweep")
    return sweep


def _has_scale(file: UserFile, scale: str) -> bool:
    try:
        file.call("get_sweep", scale)
    except ValueError:
        return False
    return True


def check_overrides(sweep: Sweep, beside: Path, overrides: list[str]) -> None:
    """Refuse overrides that the config of a sweep does not have.

    Those of sampling are not looked at, since they may be options of a sampler, nor those of a
    sweep whose points have configs of their own.

    Raises:
        FileNotFoundError: the sweep's config is nowhere.
        ValueError: an override is unknown or mistyped.
    """
    config = find_config(sweep.config, beside)
    if any(OTHER_CONFIG in point for point in sweep.points):
        return
    names = {option: option.removeprefix(PREFIX).partition("=")[0] for option in overrides}
    load_config(config, [option for option, name in names.items() if not is_sampling(name)])
