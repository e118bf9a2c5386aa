"""Config and experiment files: programs of the user, found by name, run, and their errors named."""

import contextlib
import functools
import runpy
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, TypeVar

from dalle_jax.config.choices import SCALES
from dalle_jax.config.places import CONFIGS, PACKAGE
from dalle_jax.nearest import nearest

T = TypeVar("T")

# Where files lie that are no user's: an error is named by the last line before them.
NO_USERS = (str(PACKAGE), *{str(Path(module.__file__).parent) for module in (runpy, contextlib)})


class UserFile:
    """A program, run once; what it defines is read and called by name.

    While it runs, `from configs import NAME` finds configs of the user's own, beside it or in the
    current folder, and `import NAME` a file beside it; sys.path is left as it was. Those of the
    project are `dalle_jax.configs`, and for now found by the old name `configs` too.
    """

    def __init__(self, path: Path):
        """Run the file.

        Raises:
            ValueError: it fails; the message names file and line.
        """
        self.path = path
        with naming_errors(path):
            self._names = runpy.run_path(str(path))

    def get(self, name: str, default: Any = None) -> Any:
        """What it calls `name`."""
        return self._names.get(name, default)

    def call(self, name: str, *args: Any) -> Any:
        """What its function `name` returns.

        Raises:
            ValueError: it fails; the message names file and line.
        """
        function = self._names[name]
        with naming_errors(self.path, getattr(function, "__code__", None)):
            return function(*args)

    def make(self, name: str, scale: str, kind: type[T]) -> T:
        """The sweep or figure (`kind`) that its function `name(scale)` returns.

        Raises:
            ValueError: there is no such function or scale, or it returns something else.
        """
        if self.get(name) is None:
            what = kind.__name__.lower()
            raise ValueError(f"{self.path} is no {what}: it defines no {name}(scale)")
        try:
            made = self.call(name, scale)
        except ValueError as error:
            if not _is_key_error(error, scale):
                raise
            known = ", ".join(other for other in SCALES if self._has_scale(name, other)) or "none"
            raise ValueError(f"{self.path} has no scale {scale!r}; it has {known}") from error
        if not isinstance(made, kind):
            made = type(made).__name__
            raise ValueError(f"{name} of {self.path} gives a {made}, not a {kind.__name__}")
        return made

    def _has_scale(self, name: str, scale: str) -> bool:
        try:
            self.call(name, scale)
        except ValueError:
            return False
        return True


def _is_key_error(error: ValueError, key: str) -> bool:
    return isinstance(error.__cause__, KeyError) and error.__cause__.args == (key,)


@contextlib.contextmanager
def naming_errors(path: Path, function: CodeType | None = None) -> Iterator[None]:
    """Run code of the user's file `path`, from its `function` on, and name its errors.

    Raises:
        ValueError: it fails, by an exception of any kind, as the file is a program.
    """
    before, folder = list(sys.path), path.resolve().parent
    sys.path.insert(0, str(folder))
    try:
        with _configs_of(folder):
            yield
    except (Exception, SystemExit) as error:
        raise ValueError(f"{path} can't be run, {_where(error, path, function)}") from error
    finally:
        sys.path[:] = before


def _where(error: BaseException, path: Path, function: CodeType | None) -> str:
    """The last line of a user's file that led to an error, and the error."""
    frames = traceback.extract_tb(error.__traceback__)
    users = [frame for frame in frames if not _is_of_others(frame.filename)]
    text = " ".join(str(error).split())
    if isinstance(error, SyntaxError):
        file, line, text = error.filename or path, error.lineno or 1, error.msg
    elif users:
        file, line = users[-1].filename, users[-1].lineno
    else:  # before its first line, as where it is called with another number of arguments
        file, line = path, function.co_firstlineno if function else 1
    what = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return f"line {line} of {file}: {what}"


def _is_of_others(filename: str) -> bool:
    return filename.startswith((*NO_USERS, "<")) or "site-packages" in filename


@contextlib.contextmanager
def _configs_of(folder: Path) -> Iterator[None]:
    """Let `configs` be a package of the files in all of `config_folders(folder)`."""

    def of_configs() -> dict[str, ModuleType]:
        return {
            name: module
            for name, module in sys.modules.items()
            if name == "configs" or name.startswith("configs.")
        }

    before = of_configs()
    for name in before:
        del sys.modules[name]
    package = ModuleType("configs")
    package.__path__ = [str(one) for one in config_folders(folder)]
    sys.modules["configs"] = package
    try:
        yield
    finally:
        used = of_configs()
        for name in used:
            del sys.modules[name]
        sys.modules.update(before)
    for name, module in used.items():
        if CONFIGS in Path(getattr(module, "__file__", None) or "").parents:
            _say_new_name(folder, name.removeprefix("configs."))


@functools.cache
def _say_new_name(folder: Path, name: str) -> None:
    """Once for each config that files of a folder import as those of dalle_jax were called."""
    print(
        f"a file in {folder} imports configs.{name}, which is dalle_jax.configs.{name} now; the "
        "old name will be removed",
        file=sys.stderr,
    )


def config_folders(beside: Path) -> list[Path]:
    """The folders of config files that a file in the folder `beside` sees, nearest first."""
    folders = [folder for folder in (beside, *beside.parents) if folder.name == "configs"]
    folders += [one / "configs" for one in (beside, beside.parent, Path.cwd())]
    return [folder for folder in dict.fromkeys([*folders, CONFIGS]) if folder.is_dir()]


def known_configs(beside: Path) -> list[str]:
    """The names of the configs in `config_folders`, as "quickstart" or "dalle2/clip"."""
    return sorted(
        {
            file.relative_to(folder).with_suffix("").as_posix()
            for folder in config_folders(beside)
            for file in folder.rglob("*.py")
            if not file.name.startswith("_")
        }
    )


def find_config(name: str | Path, beside: Path | None = None) -> Path:
    """The config file that `name` is: a path, or a name such as "quickstart".

    A relative path or a name is looked for in the folder `beside` and those above it, in the
    current folder, and in the configs of dalle_jax.

    Raises:
        FileNotFoundError: it is in none of them.
    """
    path = Path(name).expanduser()
    here = Path.cwd()
    beside = here if beside is None else beside.resolve()
    files = [folder / path for folder in dict.fromkeys([beside, *beside.parents, here])]
    bare = path.relative_to("configs") if path.parts[:1] == ("configs",) else path
    files += [folder / bare for folder in config_folders(beside)]
    for file in files:
        for candidate in (file, file.with_name(f"{file.name}.py")):
            if candidate.is_file():
                return candidate
    if path.is_absolute():
        raise FileNotFoundError(f"there is no config file {path}")
    where = ["in the current folder", f"in {CONFIGS}"]
    where = where if beside == here else [f"beside {beside}", *where]
    hint = nearest(bare.with_suffix("").as_posix(), known_configs(beside))
    raise FileNotFoundError(f"there is no config file {name}, neither {' nor '.join(where)}{hint}")
