"""What a command reads has to be there: seen before jax is imported, which takes a second."""

from collections.abc import Iterable
from pathlib import Path

from dalle_jax.config.choices import SCALES
from dalle_jax.config.load import PREFIX, load_config
from dalle_jax.config.user_files import UserFile, find_config
from dalle_jax.nearest import nearest
from dalle_jax.sweeps.grid import OTHER_CONFIG, Sweep, is_sampling


def check_run(workdir: Path, stage: str) -> None:
    """Refuse a workdir in which a stage has no run.

    Raises:
        FileNotFoundError: it has none; a workdir of nearly that name beside it is named.
    """
    if not (workdir / stage / "config.json").exists():
        trained = workdir.absolute().parent.glob(f"*/{stage}/config.json")
        known = [str(workdir.parent / config.parents[1].name) for config in trained]
        hint = nearest(str(workdir), known) or "; train one with `dalle-jax train`"
        raise FileNotFoundError(f"{workdir / stage} holds no run (it has no config.json){hint}")


def check_files(what: str, paths: Iterable[str | Path | None]) -> None:
    """Refuse files and folders that are not there; URLs are looked at later.

    Raises:
        FileNotFoundError: one is not; one of nearly that name beside it is named.
    """
    for given in paths:
        if given is None or "://" in str(given):
            continue
        path = Path(given).expanduser()
        if not path.exists():
            beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
            hint = nearest(path.name, beside)
            typed = f"{what}={given}: there is no such file or folder{hint}"
            raise FileNotFoundError(
                typed if what.startswith("--") else f"there is no {what} {path}{hint}"
            )


def load_sweep(path: Path, scale: str) -> Sweep:
    """What `get_sweep(scale)` of an experiment file gives.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it defines no sweep, none of this scale, or one that can't be.
    """
    check_files("experiment file", [path])
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
