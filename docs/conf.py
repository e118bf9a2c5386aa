"""How Sphinx builds the pages: `bash launch/docs.sh`.

The source directory is the root of the project, so that links between pages of docs/, launch/ and
experiments/ are the same here and where Markdown is read as files.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

project = "dalle_jax"
author = copyright = "The dalle_jax contributors"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
root_doc = "docs/index"
include_patterns = [
    "docs/**.md",
    "experiments/**.md",
    "launch/*.md",
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
]
exclude_patterns = [".*", "build", "data", "dist", "runs", "tests", "docs/_build"]

myst_heading_anchors = 4
suppress_warnings = [
    "myst.header"
]  # pages whose sections begin at another level, as included lists

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_inherit_docstrings = False
napoleon_use_ivar = True
default_role = "code"  # docstrings write `name` for code
# Types of other libraries are not looked up: the pages are built without a network.
nitpick_ignore_regex = [("py:.*", r"(?!dalle_jax).*")]

html_theme = "furo"
html_title = "dalle_jax"
html_copy_source = False


def plain_text(app, what, name, obj, options, lines: list[str]) -> None:
    """Make a docstring, which is plain text, reStructuredText that shows the same.

    Stars, bars and closing underscores outside of `code` stand for themselves, and what is indented
    after a blank line is a block of code.
    """
    result, indent = [], 0
    for line in lines:
        here = len(line) - len(line.lstrip())
        if line.strip() and result and not result[-1].strip() and here > indent:
            result += [" " * indent + "::", ""]
        if line.strip():
            indent = here
        parts = re.split("(`[^`]*`)", line)
        parts[::2] = [re.sub(r"[*|]|_(?!\w)", r"\\\g<0>", part) for part in parts[::2]]
        result.append("".join(parts))
    lines[:] = result


def setup(app) -> None:
    """Docstrings are made reStructuredText before napoleon reads their sections."""
    app.connect("autodoc-process-docstring", plain_text, priority=400)
