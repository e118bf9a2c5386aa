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

myst_enable_extensions = ["html_image"]  # of <img src="…" width="…">
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
    result, indent, code_under = [], 0, None
    for line in lines:
        here = len(line) - len(line.lstrip()) if line.strip() else indent
        if code_under is not None and here <= code_under:
            code_under = None
        if code_under is None and here > indent and result and not result[-1].strip():
            result += [" " * indent + "::", ""]
            code_under = indent
        indent = here
        parts = [line] if code_under is not None else re.split("(`[^`]*`)", line)
        if code_under is None:
            parts[::2] = [re.sub(r"[*|]|_(?!\w)", r"\\\g<0>", part) for part in parts[::2]]
        result.append("".join(parts))
    lines[:] = result


def readable_defaults(app, what, name, obj, options, signature, returned):
    """Show a default that is no expression, as a dataclass's `<factory>`, as `...`."""
    return signature and re.sub(r"<[^<>]*>", "...", signature), returned


def setup(app) -> None:
    """Docstrings are made reStructuredText before napoleon reads their sections."""
    app.connect("autodoc-process-docstring", plain_text, priority=400)
    app.connect("autodoc-process-signature", readable_defaults)
