"""Sizes of the code at a commit: `python docs/log/house_measure.py [COMMIT]`, by default HEAD.

Prints a Markdown table: lines of the package and of its command line, the longest functions, test
code and the private names that it uses, and how much one reads to follow three things from the
command to the result. The commit is read with `git archive`; nothing of it is imported or run.

How much one reads is given twice. `TRIPS` lists the files that a reader goes through, chosen by
hand: after files move, the lists have to be brought up to date, and a file that a commit lacks is
named. The import closure of the first file of each list, which needs no choice, is an upper bound:
all that it imports, directly or not, imports inside functions included.
"""

import ast
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

PACKAGES = ("dalle_jax", "configs", "experiments")

NETWORK = (
    *("stages/__init__", "stages/decoder", "stages/denoising", "stages/images"),
    *("models/conditioned_unet", "models/unet", "models/text"),
    *("nn/attention", "nn/embeddings", "nn/norms", "nn/residual", "nn/transformer"),
)
DIFFUSION = (
    "diffusion/schedules",
    "diffusion/parameterization",
    "diffusion/losses",
    "diffusion/training_times",
    "diffusion/arrays",
)
TRIPS = {
    "one training step, flag to optimizer": (
        *("cli/train", "config/load", "configs/base", "trainer/__init__", "trainer/data"),
        *("runs/run", "data/loader", "training/training", "training/loop", "training/session"),
        *("training/step", "training/state", "training/optim", "training/sharding"),
        *(*NETWORK, *DIFFUSION),
    ),
    "one FID evaluation, without sampling": (
        *("cli/evaluate", "evaluation/workdir", "evaluation/captions"),
        *("evaluation/measurements", "evaluation/options", "metrics/table", "metrics/metric"),
        *("metrics/sets", "metrics/target", "metrics/features", "metrics/preprocess"),
        *("metrics/inception", "metrics/statistics", "metrics/frechet", "metrics/jackknife"),
        *("metrics/protocol", "metrics/results"),
    ),
    "one figure": (
        *("cli/figure", "figures/make", "figures/sweep", "figures/results", "figures/record"),
        *("figures/figure", "figures/verdict", "figures/rows", "figures/plots"),
        *("sweeps/grid", "sweeps/shared_runs", "sweeps/layout", "sweeps/jobs", "sweeps/run"),
        *("sweeps/launcher", "sweeps/results", "experiments/figures/ddim_steps"),
    ),
}
TRIPS_AT_834F76C = {
    "one training step, flag to optimizer": (
        *("cli/train", "cli/config", "configs/base", "runs", "data/loader"),
        *("train/loop", "train/step", "train/state", "train/optim", "train/sharding"),
        *(*NETWORK, *DIFFUSION),
    ),
    "one FID evaluation, without sampling": (
        *("cli/evaluate_workdir", "cli/evaluate", "cli/held_out", "cli/measurements"),
        *("cli/extractors", "cli/tables", "cli/curves", "cli/counts", "runs", "pipelines/system"),
        *("metrics/distances", "metrics/sets", "metrics/features", "metrics/frechet"),
        *("metrics/statistics", "metrics/preprocess", "metrics/inception", "metrics/reference"),
        *("metrics/intervals", "metrics/protocol", "metrics/results", "metrics/shards"),
    ),
    "one figure": (
        *("cli/figure", "cli/figure_sweep", "cli/figure_own", "cli/figure_record"),
        *("sweeps/figure", "sweeps/figure_axes", "sweeps/figure_rows", "sweeps/figure_measures"),
        *("sweeps/graph", "sweeps/grid", "sweeps/place", "sweeps/job", "sweeps/jobs"),
        *("sweeps/local", "sweeps/results", "sweeps/record", "experiments/figures/ddim_steps"),
    ),
}


def main() -> None:
    """Print the table of one commit."""
    commit = sys.argv[1] if len(sys.argv) > 1 else "HEAD"
    archive = subprocess.run(["git", "archive", commit], capture_output=True, check=True).stdout
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
        print("| measure | lines | |\n|---|---|---|")
        root = Path(folder)
        before = (root / "dalle_jax/cli/evaluate_workdir.py").exists()
        for name, lines, remark in measures(root, TRIPS_AT_834F76C if before else TRIPS):
            print(f"| {name} | {lines:,} | {remark} |")


def measures(root: Path, trips: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, int, str]]:
    """Name, number of lines and a remark of each measure of the source tree at `root`."""
    for folder in ("dalle_jax", "dalle_jax/cli", "dalle_jax/sweeps", "experiments", "configs"):
        files = sorted((root / folder).rglob("*.py"))
        yield f"`{folder}/`", sum(map(lines_of, files)), f"{len(files)} files"
    files = sorted((root / "dalle_jax").rglob("*.py"), key=lines_of)
    yield "longest file", lines_of(files[-1]), f"`{files[-1].relative_to(root)}`"
    functions = sorted(functions_of(root / "dalle_jax"), reverse=True)
    for length, where in functions[:3]:
        yield "longest functions", length, f"`{where}`"
    yield "functions over 90 lines", sum(length > 90 for length, _ in functions), "(a count)"
    tests = sorted((root / "tests").rglob("*.py"))
    yield "`tests/`", sum(map(lines_of, tests)), f"{len(tests)} files"
    private = {path: names for path in tests if (names := private_names(path))}
    named = sorted({name for names in private.values() for name in names})
    yield (
        "tests that use private names of the package",
        sum(map(len, private.values())),
        f"(a count) in {len(private)} files: {', '.join(f'`{name}`' for name in named) or 'none'}",
    )
    for name, trip in trips.items():
        paths = [place(root, file) for file in trip]
        missing = [file for file, path in zip(trip, paths) if not path.exists()]
        there = [path for path in paths if path.exists()]
        remark = f"{len(there)} files" + (f"; missing: {', '.join(missing)}" if missing else "")
        yield f"{name}: files one reads", sum(map(lines_of, there)), remark
        if there:
            closure = import_closure(root, there[0])
            remark = f"{len(closure)} files, from `{there[0].relative_to(root)}`"
            yield f"{name}: import closure", sum(map(lines_of, closure)), remark


def place(root: Path, file: str) -> Path:
    """The path of a file of `TRIPS`, which names those of the package without `dalle_jax/`."""
    inside = file.split("/")[0] in PACKAGES
    return root / ("" if inside else "dalle_jax") / f"{file}.py"


def lines_of(path: Path) -> int:
    """How many lines a file has, blank ones and comments included."""
    return len(path.read_text().splitlines())


def functions_of(folder: Path) -> Iterator[tuple[int, str]]:
    """Length in lines, decorators excluded, and `file:line name` of each function."""
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                where = f"{path.relative_to(folder.parent)}:{node.lineno} {node.name}"
                yield node.end_lineno - node.lineno + 1, where


def private_names(test: Path) -> list[str]:
    """Private names of the package that a test file imports, reads or replaces, with repeats."""
    tree = ast.parse(test.read_text())
    modules, found = set(), []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PACKAGES:
            modules |= {alias.asname or alias.name for alias in node.names}
            found += [alias.name for alias in node.names if is_private(alias.name)]
        elif isinstance(node, ast.Import):
            imported = [alias for alias in node.names if alias.name.split(".")[0] in PACKAGES]
            modules |= {alias.asname or alias.name.split(".")[0] for alias in imported}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            if root_name(node.value) in modules:
                found.append(node.attr)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("setattr", "object"):
            texts = [
                arg.value
                for arg in node.args
                if isinstance(arg, ast.Constant) and isinstance(arg.value, str)
            ]
            found += [text for text in texts if is_private(text.rsplit(".", 1)[-1])]
    return found


def is_private(name: str) -> bool:
    """Whether a name starts with one underscore."""
    return name.startswith("_") and not name.startswith("__")


def root_name(node: ast.expr) -> str | None:
    """`a` of the expression `a.b.c`, None of any other."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def import_closure(root: Path, first: Path) -> set[Path]:
    """The files of the project that `first` imports, directly or through others, and itself."""
    found, left = set(), [first]
    while left:
        path = left.pop()
        if path in found:
            continue
        found.add(path)
        for module in imported_modules(path):
            parts = module.split(".")
            if parts[0] not in PACKAGES:
                continue
            for count in range(1, len(parts) + 1):
                base = root.joinpath(*parts[:count])
                left += [
                    file
                    for file in (base / "__init__.py", base.with_suffix(".py"))
                    if file.exists()
                ]
    return found


def imported_modules(path: Path) -> Iterator[str]:
    """Full names of all that a file may import; of `from a import b` both `a` and `a.b`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


if __name__ == "__main__":
    main()
