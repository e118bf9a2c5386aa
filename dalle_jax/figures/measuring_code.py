"""The part of a figure's file that its measurements depend on.

That is `get_figure` and the top-level definitions that it uses, directly or through others, except
those that only `draw` and `claims` use; without docstrings, comments and blank lines. So a figure
can be drawn and worded anew without being measured again.
"""

import ast
import io
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SHOWN = {"draw", "claims"}  # they get what was measured
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class Statement(NamedTuple):
    """A top-level statement: the names that it defines and uses, and its code."""

    defines: set[str]
    uses: set[str]
    code: str


def measuring_code(text: str) -> str:
    """The code in the text of a figure's file that its measurements depend on."""
    statements, wanted = list(_statements(text)), {"get_figure"}
    while True:
        # What defines nothing, such as a call, counts always.
        chosen = [s for s in statements if not s.defines or s.defines & wanted]
        more = wanted.union(*(statement.uses for statement in chosen))
        if more == wanted:
            return "\n".join(statement.code for statement in chosen)
        wanted = more


def earlier_texts(path: Path) -> Iterator[str]:
    """The texts that a file had at commits of its repository, the newest first."""
    git = ("git", "-C", str(path.resolve().parent))
    run = lambda *command: subprocess.run([*git, *command], capture_output=True, text=True)
    for commit in run("log", "--format=%H", "--", path.name).stdout.split():
        shown = run("show", f"{commit}:./{path.name}")
        if shown.returncode == 0:
            yield shown.stdout


def _statements(text: str) -> Iterator[Statement]:
    lines = _without_prose(text)
    for node in ast.parse(text).body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:  # of which module does not count: its code does not either
                name = alias.asname or alias.name.partition(".")[0]
                yield Statement({name}, set(), f"import {alias.name} as {name}")
            continue
        names = [name for name in ast.walk(node) if isinstance(name, ast.Name)]
        defines, uses = set(), {name.id for name in names}
        if isinstance(node, FUNCTIONS):
            defines = {node.name}
            uses -= SHOWN if node.name == "get_figure" else set()
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            inside = {name for target in targets for name in ast.walk(target)}
            defines = {n.id for n in names if n in inside and isinstance(n.ctx, ast.Store)}
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
        if code := "\n".join(filter(None, lines[first - 1 : node.end_lineno])):
            yield Statement(defines, uses, code)


def _without_prose(text: str) -> list[str]:
    """The lines of a program; those of comments, docstrings and blank ones are empty."""
    lines = text.split("\n")
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, *FUNCTIONS)) and ast.get_docstring(node) is not None:
            docstring = node.body[0]
            if not lines[docstring.lineno - 1][: docstring.col_offset].strip():
                rows = range(docstring.lineno - 1, docstring.end_lineno)
                lines[rows.start : rows.stop] = [""] * len(rows)
    return [line.rstrip() for line in lines]
