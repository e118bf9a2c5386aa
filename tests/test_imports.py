"""Which room imports which: the order of the house, read from the code itself."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "dalle_jax"
GROUND = {"nn", "diffusion", "data", "training"}
MAY_IMPORT = {
    "cpu": set(),
    "files": set(),
    "compilation_cache": {"cpu", "files"},
    "configs": set(),
    "seeds": set(),
    "extras": set(),
    "nearest": set(),
    "console": set(),
    "devices": {"nearest"},
    **{room: {"extras", "files", "nearest", "seeds"} for room in GROUND},
    "models": {"nn"},
    "metrics": {"files", "data"},
    "stages": {"models", "diffusion"},
    "config": {"configs", "nearest", "data"},
    "runs": {"files", "stages", "training", "data"},
    "pipelines": {
        *("seeds", "nearest", "interop", "runs", "stages", "models", "diffusion", "data"),
        "metrics",
        "console",
    },
    "interop": {"files", "metrics", "runs", "models", "nn"},
    "cost": {"files", "runs", "stages", "nn", "training", "data"},
    "evaluation": {
        *("config", "console", "files", "interop", "nearest", "pipelines", "runs", "seeds"),
        *("stages", "training", "metrics", "data"),
    },
    "sweeps": {
        *("console", "cpu", "config", "cost", "devices", "evaluation", "nearest", "runs"),
        *("extras", "files", "pipelines", "stages", "training", "metrics", "data"),
    },
    "figures": {
        *("config", "files", "nearest", "seeds", "sweeps", "evaluation", "pipelines", "runs"),
        *("stages", "diffusion", "metrics", "data"),
    },
    "html": {"files", "config", "evaluation", "sweeps", "pipelines", "metrics", "data"},
    "prepare": {"console", "files", "runs", "pipelines", "data"},
    "trainer": {
        *("console", "config", "evaluation", "nearest", "pipelines", "runs", "stages", "nn"),
        *("seeds", "training", "data"),
    },
    "cli": None,  # everything
    "__main__": {"cli"},
    "__init__": {
        "compilation_cache",
        "cpu",
        "evaluation",
        "figures",
        "pipelines",
        "sweeps",
        "trainer",
    },
}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            if node.module == "dalle_jax":
                rooms |= {alias.name for alias in node.names if not alias.name.startswith("__")}
            else:
                names = [node.module]
                rooms |= {n.split(".")[1] for n in names if n.startswith("dalle_jax.")}
        elif isinstance(node, ast.Import):
            rooms |= {a.name.split(".")[1] for a in node.names if a.name.startswith("dalle_jax.")}
    return rooms


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_room_imports_only_rooms_below_it(path):
    room = room_of(path)
    assert room in MAY_IMPORT, f"say in MAY_IMPORT what the new room {room} may import"
    allowed = MAY_IMPORT[room]
    if allowed is None:
        return
    assert imported_rooms(path) - {room} <= allowed


def test_nothing_imports_the_command_line():
    """Experiments neither: what a command does is a function of the library."""
    others = [path for path in FILES if room_of(path) not in ("cli", "__main__")]
    others += (PACKAGE.parent / "experiments").rglob("*.py")
    users = [path for path in others if "cli" in imported_rooms(path)]
    assert users == []


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_diffusion_never_sees_flax_and_nobody_sees_tensorflow(path):
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module.split(".")[0])
        elif isinstance(node, ast.Import):
            modules |= {a.name.split(".")[0] for a in node.names}
    # interop reads .pth files with torch, under an extra and inside a function.
    assert not modules & {"tensorflow", "pickle", "clu"}
    assert "torch" not in modules or room_of(path) == "interop"
    if room_of(path) == "diffusion":
        assert not modules & {"flax", "optax", "ml_collections"}


def test_importing_the_package_is_quick_and_starts_no_device():
    code = (
        "import sys, time; t = time.process_time(); import dalle_jax; "
        "print(time.process_time() - t, 'jax' in sys.modules)"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    ).stdout.split()
    assert float(out[0]) < 1.0
    assert out[1] == "False"
