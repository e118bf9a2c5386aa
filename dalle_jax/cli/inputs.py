"""What a command reads has to be there: seen before jax is imported, which takes a second."""

from collections.abc import Iterable
from pathlib import Path

from dalle_jax.nearest import nearest


def check_workdir(workdir: Path) -> None:
    """Refuse a workdir without runs.

    Raises:
        FileNotFoundError: it has none; a workdir of nearly that name beside it is named.
    """
    if not any(workdir.glob("*/config.json")):
        trained = workdir.absolute().parent.glob("*/*/config.json")
        names = sorted({config.parents[1].name for config in trained})
        known = [str(workdir.parent / name) for name in names]
        hint = nearest(str(workdir), known) or "; train one with `dalle-jax train`"
        raise FileNotFoundError(f"{workdir} holds no run (no folder in it has a config.json){hint}")


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
