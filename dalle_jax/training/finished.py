"""Which steps of a run have a finished checkpoint; found without Orbax, which reads one."""

from pathlib import Path


def steps_in(directory: str | Path) -> list[int]:
    """Steps that have a finished checkpoint in `directory`, oldest first."""
    directory = Path(directory)
    if not directory.is_dir():
        return []
    folders = [path for path in directory.iterdir() if path.is_dir()]
    return sorted(int(path.name) for path in folders if path.name.isdecimal())
