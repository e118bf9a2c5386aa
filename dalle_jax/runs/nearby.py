"""Which runs lie near a directory without one, for the sentence that says so."""

import difflib
from pathlib import Path


def nearby(directory: Path) -> str:
    """A sentence's part that names a run or workdir near a directory without one; "" if none is."""
    stage, workdir = directory.name, directory.parent
    if (workdir / "config.json").exists():
        return f", but {workdir} is a run itself: its workdir is {workdir.parent}"
    if stages := _names(workdir, "config.json"):
        return f"; there are runs of {', '.join(stages)} in {workdir}"
    if not (others := _names(workdir.parent, f"{stage}/config.json")):
        return ""
    near = difflib.get_close_matches(workdir.name, others, n=1, cutoff=0.5) or others[:3]
    return f"; there is one in {', '.join(str(workdir.parent / name) for name in near)}"


def _names(folder: Path, file: str) -> list[str]:
    """The folders in a folder that hold a file."""
    found = folder.glob(f"*/{file}") if folder.is_dir() else ()
    return sorted(path.relative_to(folder).parts[0] for path in found)
