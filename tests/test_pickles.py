"""No file of the project reads a pickle or runs text that another wrote, and none can make it."""

import ast
import pickle
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dalle_jax.interop.inception import convert
from dalle_jax.metrics.images import open_images
from dalle_jax.metrics.prints import load_prints
from dalle_jax.metrics.reference import is_statistics, load_reference
from dalle_jax.metrics.results import read_scores
from dalle_jax.training.replay import read_batch
from tests.conftest import ROOT

SOURCES = sorted(
    path
    for folder in ("dalle_jax", "configs", "experiments", "launch")
    for path in (ROOT / folder).rglob("*.py")
)
# Modules that read pickles or other code, and functions that do what they are told.
MODULES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
FUNCTIONS = {"eval", "exec", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load"}
METHODS = {"extract", "extractall", "read_pickle", "unsafe_load"}
LIMITS = {"MAX_IMAGE_PIXELS", "LOAD_TRUNCATED_IMAGES"}  # Pillow's; to be left as they are
# A config and an experiment are programs that the user names.
RUNS_CODE = {"dalle_jax/config/user_files.py": {"runpy.run_path"}}


def dotted(node):
    """`np.load` of a call's function, or its last part where it is no plain name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else node.attr
    return ""


def imported(tree):
    """What the names of a program stand for: np -> numpy, load -> torch.load."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname: alias.name for alias in node.names if alias.asname}
        if isinstance(node, ast.ImportFrom):
            names |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return names


def dangers(tree):
    """What in a program reads pickles, runs text or lifts a limit."""
    names = imported(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            of = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules = of or [alias.name for alias in node.names]
            yield from (name for name in modules if name.split(".")[0] in MODULES)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield from {node.attr} & LIMITS
        if not isinstance(node, ast.Call):
            continue
        first, dot, rest = dotted(node.func).partition(".")
        name = names.get(first, first) + dot + rest
        said = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
        if name in FUNCTIONS or name.startswith("runpy."):
            yield name
        if name.rpartition(".")[2] in METHODS and not name.startswith("dalle_jax."):
            yield name
        if said.get("shell") is True or said.get("allow_pickle", False) is not False:
            yield name
        if name in ("numpy.load", "jax.numpy.load") and "allow_pickle" not in said:
            yield name
        if name == "torch.load" and said.get("weights_only") is not True:
            yield name


@pytest.mark.parametrize(
    "program",
    [
        "import pickle",
        "from dill import loads",
        "import numpy as np; np.load(p)",
        "import numpy as np; np.load(p, allow_pickle=True)",
        "import jax.numpy as jnp; jnp.load(p)",
        "from numpy import load as read; read(p)",
        "read_array(file, allow_pickle=asked)",
        "import torch; torch.load(p, weights_only=False)",
        "from torch import load; load(p)",
        "eval(x)",
        "tar.extractall()",
        "tar.extract(member)",
        "import os; os.system(x)",
        "from os import system; system(x)",
        "import yaml; yaml.unsafe_load(x)",
        "subprocess.run(x, shell=True)",
        "Image.MAX_IMAGE_PIXELS = None",
    ],
)
def test_dangers_are_seen(program):
    assert list(dangers(ast.parse(program)))


def test_no_file_reads_a_pickle_or_runs_text():
    found = {}
    for path in SOURCES:
        name = str(path.relative_to(ROOT))
        here = set(dangers(ast.parse(path.read_text())))
        if here - RUNS_CODE.get(name, set()):
            found[name] = here
    assert len(SOURCES) > 100 and not found


class Trap:
    """A pickle of it makes a directory when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.mkdir, (self.path,)


def object_array(trap):
    array = np.empty(1, object)
    array[0] = trap
    return array


def forge_npz(path, trap):
    # The names that the readers ask for.
    names = ("arr_0", "image", "images", "mu", "sigma", "texts", "signature", "keys", "rows")
    np.savez(path, **dict.fromkeys(names, object_array(trap)))


def forge_npy(path, trap):
    np.save(path, object_array(trap), allow_pickle=True)


def forge_pickle(path, trap):
    path.write_bytes(pickle.dumps(trap, 2))


def forge_torch(path, trap):
    """A file as torch.save writes it, without torch: a zip archive around a pickle."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"fc.weight": trap}, 2))
        archive.writestr("archive/version", "3\n")


def scores_of(path):
    return read_scores(path.parent / "results.jsonl", {"scores": path.name})


NPZ_READERS = {
    "open_images": open_images,
    "load_reference": load_reference,
    "load_prints": load_prints,
    "scores": scores_of,
    "replay": read_batch,
}


@pytest.mark.parametrize("forge", [forge_npz, forge_pickle], ids=lambda f: f.__name__)
@pytest.mark.parametrize("read", NPZ_READERS.values(), ids=NPZ_READERS)
def test_a_pickle_in_an_npz_is_not_read(tmp_path, read, forge):
    path, trap = tmp_path / "diverged_00000001.npz", tmp_path / "trap"
    forge(path, Trap(trap))
    with pytest.raises(ValueError):
        read(path)
    is_statistics(path)
    assert not trap.exists()


@pytest.mark.parametrize("forge", [forge_npy, forge_pickle], ids=lambda f: f.__name__)
def test_a_pickle_in_an_npy_is_not_read(tmp_path, forge):
    path, trap = tmp_path / "images.npy", tmp_path / "trap"
    forge(path, Trap(trap))
    with pytest.raises(ValueError, match="can't be read as an array of images"):
        open_images(path)
    assert not trap.exists()


@pytest.mark.parametrize(
    ("suffix", "said"),
    [(".pth", "torch cannot read tensors"), (".pt", r"one must be a published \.pth")],
)
@pytest.mark.parametrize("forge", [forge_torch, forge_pickle], ids=lambda f: f.__name__)
def test_a_pickle_in_a_file_of_torch_is_not_read(tmp_path, forge, suffix, said):
    pytest.importorskip("torch")
    path, trap = tmp_path / f"weights{suffix}", tmp_path / "trap"
    forge(path, Trap(trap))
    with pytest.raises(ValueError, match=said):
        convert(path, tmp_path / "weights.safetensors")
    assert not trap.exists()


@pytest.mark.parametrize("forge", [forge_npz, forge_pickle], ids=lambda f: f.__name__)
def test_the_traps_would_spring(tmp_path, forge):
    path, trap = tmp_path / "file.npz", tmp_path / "trap"
    forge(path, Trap(trap))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive = np.load(path, allow_pickle=True)
        _ = archive["mu"] if forge is forge_npz else None
    assert trap.is_dir()
